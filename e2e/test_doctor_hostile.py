"""What the doctor makes of servers that lie, never end, or paint on the terminal, and of people who ask it oddly."""

import concurrent.futures
import contextlib
import json
import os
import re
import socket
import ssl
import struct
import subprocess
import threading
import time

import pytest

from doctor_lab import BINARY, HOST, Bench, http_reply
from lab_pki import NAME, Lab

OTA = "/xiaozhi/ota/"
# What a terminal obeys, and what turns the direction of text: as one string of a server.
PAINT = "\x1b[2J\x1b]0;x\x07\u202eevil\u2066\x9b31m"
PAINTED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")
UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
CASES = {}


def case(name, scheme, path="", *, expect, code, says="", silent=""):
    """A server, and what the doctor is to say of it: one of these causes, this exit code; `says` stands in the finding,
    `silent` nowhere."""
    def take(serve):
        CASES[name] = (serve, scheme, path, expect, code, says, silent)
        return serve
    return take


def for_ever(piece: bytes, after: bytes = b"", asked=True):
    def serve(connection):
        connection.settimeout(30)
        if asked:
            connection.recv(65536)
        connection.sendall(after)
        while True:
            connection.sendall(piece)
    return serve


def in_tls(serve):
    serve.in_tls = True
    return serve


def answers(reply: bytes, *then: bytes):
    def serve(connection):
        connection.settimeout(10)
        connection.recv(65536)
        for part in (reply, *then):
            connection.sendall(part)
        time.sleep(0.5)
    return serve


def connack(code_of_version):
    def serve(connection):
        connection.settimeout(10)
        asked = connection.recv(4096)
        if asked[:1] == b"\x10":
            connection.sendall(bytes(code_of_version(asked[8])))
            connection.recv(10)
    return serve


# --- without end -------------------------------------------------------------------------------------------------

case("garbage at once", "mqtt", expect="wrong_service", code=12)(for_ever(os.urandom(65536), asked=False))
case("records of one byte", "mqtts", expect=("tls_broken", "tls_failed"), code=14)(for_ever(b"\x16\x03\x03\x00\x01\x02" * 4000))
case("warnings", "mqtts", expect="tls_failed", code=14)(for_ever(b"\x15\x03\x03\x00\x02\x01\x00" * 4000))
case("headers", "http", "/x", expect="http_failed", code=18)(for_ever(b"X-A: y\r\n" * 99, b"HTTP/1.1 200 OK\r\n"))
case("chunks", "http", OTA, expect="reply_not_json", code=18)(
    for_ever(b"1\r\nx\r\n" * 1000, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"))
case("a chunk of 2^64", "http", OTA, expect="reply_not_json", code=18)(
    for_ever(b"x" * 9999, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"))
case("a frame of 2^63", "ws", "/xiaozhi/v1/", expect="websocket_closed", code=17)(
    for_ever(b"x" * 65536, UPGRADED + b"\x81\x7f" + b"\xff" * 8))
case("pings", "ws", "/xiaozhi/v1/", expect="websocket_closed", code=17)(for_ever(b"\x89\x00" * 2000, UPGRADED))
case("brackets", "http", OTA, expect="reply_not_json", code=18)(answers(http_reply("[" * 200_000)))
case("garbage behind CONNACK", "mqtt", expect="protocol_error", code=16)(for_ever(b"\xff" * 4096, b"\x20\x02\x00\x00" + b"\xff" * 64))
case("data in records of one byte", "mqtts", expect="wrong_service", code=12)(in_tls(for_ever(b"\x07\x07\x07\x07\x07")))

# --- paint and secrets -------------------------------------------------------------------------------------------

case("paint in a key", "http", OTA, expect="ota_reply_without_protocol", code=18)(answers(http_reply(json.dumps({PAINT: 1}))))
case("paint in a reason", "http", "/x", expect="path_missing", code=18)(answers(http_reply("", "404 N\u202eot\x9b31m".encode().decode("utf-8"))))
case("paint in a server's name", "http", "/x", expect="http_server_error", code=18)(answers(http_reply("", "500 x", Server="a\u202e\x9b2J")))
case("paint in a body", "http", OTA, expect="reply_not_json", code=18)(answers(http_reply("hello " + PAINT)))
case("paint behind the upgrade", "ws", "/xiaozhi/v1/", expect="server_no_hello", code=17)(
    answers(UPGRADED, b"\x81" + bytes([len(PAINT.encode())]) + PAINT.encode()))
case("a token that is handed out", "http", OTA, expect="handed_out_unreachable_address", code=12, silent="hunter2")(
    answers(http_reply(json.dumps({"websocket": {"url": "ws://u:hunter2@127.0.0.1:1/x?token=hunter2", "token": "hunter2"}}))))

# --- verdicts that are not in the lab ----------------------------------------------------------------------------

case("closes after CONNECT", "mqtt", expect="mqtt_failed", code=16)(lambda connection: connection.recv(4096))
case("MQTT 5 alone", "mqtt", expect="protocol_version", code=16, says="MQTT 5")(
    connack(lambda version: b"\x20\x02\x00\x01" if version == 4 else b"\x20\x03\x00\x00\x00"))
case("too many requests", "http", OTA, expect="server_busy", code=16)(answers(http_reply("", "429 Too Many Requests")))
case("busy without a proxy", "http", OTA, expect="server_busy", code=16)(answers(http_reply("", "503 Service Unavailable")))
case("busy behind a proxy", "http", OTA, expect="backend_down", code=18)(answers(http_reply("", "503 x", Server="nginx/1.24")))
case("Cloudflare", "http", OTA, expect="backend_down", code=18)(answers(http_reply("", "525 x", Server="cloudflare")))
case("token refused", "ws", "/xiaozhi/v1/", expect="http_unauthorized", code=18, says="1008")(answers(UPGRADED, b"\x88\x02\x03\xf0"))
case("firmware larger than any chip", "http", "/a.bin", expect="image_too_large", code=19)(
    answers(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n\xe9" + bytes(99)))
case("redis", "mqtt", expect="wrong_service", code=12, says="-ERR")(answers(b"-ERR unknown command\r\n"))


def ask(*arguments, **options) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SAFEPORT__")}
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([str(BINARY), "doctor", *map(str, arguments)], capture_output=True, timeout=60,
                          env=environment | {"LC_ALL": "C.UTF-8", "COLUMNS": "100"}, **options)


@pytest.fixture(scope="module")
def answered(kind, tmp_path_factory):
    """Every server asked once for people and once for programs, several at a time: most of it is waiting."""
    if kind.name != "safeport":
        pytest.skip("asks Safeport's own command line")
    folder = tmp_path_factory.mktemp("hostile")
    lab = Lab(folder)
    leaf = lab.leaf()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(lab.write("hostile", leaf, lab.intermediate), leaf.key)
    with Bench(folder, lab) as bench, concurrent.futures.ThreadPoolExecutor(8) as pool:
        def one(name):
            serve, scheme, path, *_ = CASES[name]
            opened = []

            def counted(connection):
                opened.append(1)
                if getattr(serve, "in_tls", False):
                    with context.wrap_socket(connection, server_side=True) as tls:
                        return serve(tls)
                return serve(connection)
            port = bench.listen(counted)
            named = bench.at(scheme, port, path) if scheme.endswith("s") and scheme != "ws" else [f"{scheme}://{HOST}:{port}{path}"]
            began = time.monotonic()
            data = ask(*named, "--json")
            return data, time.monotonic() - began, len(opened), ask(*named)
        yield dict(zip(CASES, pool.map(one, CASES)))


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_server_gets_its_verdict_costs_little_and_paints_nothing(answered, name):
    _, _, _, expect, code, says, silent = CASES[name]
    data, took, opened, page = answered[name]
    shown = page.stdout.decode() + page.stderr.decode()
    diagnosis = json.loads(data.stdout)
    finding = diagnosis["finding"]
    assert finding["cause"] in (expect if isinstance(expect, tuple) else (expect,)), shown
    assert data.returncode == page.returncode == diagnosis["exit_code"] == code, shown
    assert says in json.dumps(finding), shown
    assert not PAINTED.search(shown) and not PAINTED.search(data.stdout.decode()), repr(shown)
    if silent:
        assert silent not in shown + data.stdout.decode(), shown
    assert opened <= 12 and took < 45, (opened, took)
    # Whoever has just probed is not sent to probe the same again.
    assert not re.search(r"`safeport doctor (?!--|explain)", finding["fix"]["en"]), finding["fix"]


# --- our own listeners, asked in the wrong way --------------------------------------------------------------------


def test_our_own_listeners_are_known_by_what_they_speak_however_they_are_asked(own_server):
    server = own_server()
    mqtt, mqtts = f"{HOST}:{server.mqtt[1]}", f"{HOST}:{server.mqtts[1]}"
    http, https = f"{HOST}:{server.http_port}", f"{HOST}:{server.https[1]}"
    asked = {mqtt: "healthy", http: "healthy", f"mqtt://{mqtt}": "healthy", f"http://{http}": "healthy",
             f"mqtts://{mqtt}": "tls_to_plain_port", f"mqtt://{mqtts}": "plain_to_tls_port",
             f"https://{http}": "tls_to_plain_http", f"http://{https}": "http_to_tls",
             f"mqtt://{http}": "wrong_service", f"http://{mqtt}": "wrong_service",
             mqtts: "healthy", https: "healthy", f"mqtts://{mqtts}": "healthy", f"wss://{https}/mqtt": "healthy"}
    folder = ["--data", str(server.data), "--ca", str(server.ca())] if callable(server.ca) else ["--data", str(server.data), "--ca", str(server.ca)]
    # A device that takes keys of either kind; else those that take RSA alone have their say.
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        done = dict(zip(asked, pool.map(lambda target: ask(target, *folder, "--as", "idf-5-bundle", "--json"), asked)))
    found = {target: json.loads(answer.stdout)["finding"]["cause"] for target, answer in done.items()}
    assert found == asked


# --- passwords ----------------------------------------------------------------------------------------------------


def test_a_password_goes_over_a_plain_port_only_with_yes_and_is_never_shown(kind, lab_bench, tmp_path):
    heard = []

    def broker(connection):
        connection.settimeout(5)
        asked = connection.recv(4096)
        heard.append(asked)
        if asked[:1] == b"\x10":
            connection.sendall(b"\x20\x02\x00\x05")
    port = lab_bench.listen(broker)
    kept = tmp_path / "password"
    kept.write_text("hunter2\n")
    for target in ([f"mqtt://plug:hunter2@{HOST}:{port}"], [f"plug:hunter2@{HOST}:{port}"],
                   [f"mqtt://plug:a@b/hunter2@{HOST}:{port}"], [f"mqtt://{HOST}:{port}", "--user", "plug", "--password-file", kept]):
        for how in ([], ["--json"]):
            done = ask(*target, *how)
            assert b"hunter2" not in done.stdout + done.stderr, done
    assert not any(b"hunter2" in said for said in heard), heard
    done = ask(f"mqtt://plug:hunter2@{HOST}:{port}", "--yes", "--json")
    assert any(b"hunter2" in said for said in heard)
    assert json.loads(done.stdout)["finding"]["cause"] == "auth_failed" and b"hunter2" not in done.stdout


@pytest.fixture
def lab_bench(kind, tmp_path):
    if kind.name != "safeport":
        pytest.skip("asks Safeport's own command line")
    with Bench(tmp_path, Lab(tmp_path)) as bench:
        yield bench


# --- asked oddly --------------------------------------------------------------------------------------------------


def test_a_file_with_nothing_in_it_is_not_taken_for_good_news(kind, tmp_path):
    empty, noise, text = tmp_path / "empty", tmp_path / "noise", tmp_path / "text"
    empty.write_bytes(b"")
    noise.write_bytes(os.urandom(20_000))
    text.write_text("I am no capture\n")
    for arguments, code in ((["--log", empty], 1), (["--log", noise], 1), (["--capture", empty], 1), (["--capture", noise], 1),
                            (["--capture", text], 1), (["--log", "-", "--capture", "-"], 64)):
        for language, error in (("en", "error: "), ("zh", "错误：")):
            done = ask("--lang", language, *arguments)
            assert done.returncode == code and not done.stdout, (arguments, done)
            headline, *rest = done.stderr.decode().splitlines()
            assert headline.startswith(error) and rest, done.stderr.decode()


def test_what_is_no_port_is_said_to_be_none_and_no_other_is_tried(kind):
    for typed in ("0", "65536", "abc", "18830:18831"):
        done = ask(f"mqtt://{HOST}:{typed}", "--json")
        diagnosis = json.loads(done.stdout)
        assert diagnosis["finding"]["cause"] == "url_malformed" and done.returncode == 12, diagnosis["finding"]
        assert "3" not in {step["stage"] for step in diagnosis["steps"]}


def test_a_host_on_which_nothing_answers_is_not_healthy(kind):
    # An address of this machine on which nobody listens.
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.77", 0))
        except OSError:
            pytest.skip("no such address here")
    done = ask("127.0.0.77", "--json")
    finding = json.loads(done.stdout)["finding"]
    assert finding["cause"] == "nothing_listens" and done.returncode == 12, finding


def test_a_certificate_that_ends_soon_is_healthy_and_said_to_end(lab_bench):
    leaf = lab_bench.lab.leaf("soon", end=2.5)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(lab_bench.lab.write("soon-whole", leaf, lab_bench.lab.intermediate), leaf.key)

    def broker(connection):
        with context.wrap_socket(connection, server_side=True) as tls:
            connack(lambda _: b"\x20\x02\x00\x00")(tls)
    done = ask(*lab_bench.at("mqtts", lab_bench.listen(broker)), "--json")
    diagnosis = json.loads(done.stdout)
    assert diagnosis["finding"]["cause"] == "healthy" and "ends in 2 days" in diagnosis["note"]["en"], diagnosis["finding"]


def test_a_name_server_that_lies_or_fails_is_named_for_what_it_does(kind):
    def head(query, code, answers=0):
        return query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, answers, 0, 0) + query[12:]
    pointing = b"\xc0\x0c" + struct.pack(">HHIH", 5, 1, 60, 2) + b"\xc0\x0c"
    lies = {"SERVFAIL": (lambda query: head(query, 2), "dns_failed"),
            "REFUSED": (lambda query: head(query, 5), "dns_failed"),
            "no address": (lambda query: head(query, 0), "name_not_resolved"),
            "a name that is itself": (lambda query: head(query, 0, 2) + pointing * 2, "name_not_resolved"),
            "an address of 40,000 bytes": (lambda query: head(query, 0, 1) + pointing[:6] + b"\0\0\0\x3c\x9c\x40" + b"\x7f\0\0\1",
                                           "dns_server_silent"),
            "another question's answer": (lambda query: bytes([query[0] ^ 1]) + head(query, 0)[1:], "dns_server_silent"),
            "noise": (lambda _: os.urandom(300), "dns_server_silent")}
    for name, (lie, cause) in lies.items():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind((HOST, 0))

            def serve():
                with contextlib.suppress(OSError):
                    while True:
                        query, peer = server.recvfrom(512)
                        server.sendto(lie(query), peer)
            threading.Thread(target=serve, daemon=True).start()
            done = ask(f"mqtt://{NAME}:9", "--dns", f"{HOST}:{server.getsockname()[1]}", "--json")
            found = json.loads(done.stdout)["finding"]
            assert (found["cause"], done.returncode) == (cause, 11), (name, found)


def test_a_probe_of_the_api_ends_when_its_client_goes_away(own_server):
    server = own_server(open_to_all=False)
    token = server.json("token", "add", "tests")["token"]
    ended = threading.Event()

    def silent(connection):
        connection.settimeout(30)
        with contextlib.suppress(OSError):
            while connection.recv(4096):
                pass
        ended.set()
    with Bench(server.folder, None) as bench:
        body = json.dumps({"target": f"http://{HOST}:{bench.listen(silent)}{OTA}"})
        with socket.create_connection((HOST, server.http_port), 5) as client:
            client.sendall(f"POST /api/v1/doctor/probe HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
                           f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            time.sleep(0.8)
            ended.clear()
        # Left alone it would wait 3 s for its first answer.
        assert ended.wait(1.5)


def test_options_behind_a_number_are_no_part_of_it(kind):
    assert json.loads(ask("explain", "-1002", "--json").stdout)[0]["code"]
