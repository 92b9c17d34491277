#!/usr/bin/env python3
"""The fault lab: each row sets up one fault on this machine, as it happens to devices, with real servers.

    e2e/doctor_lab.py                lists the rows
    e2e/doctor_lab.py 9              holds row 9 up until Enter, and says what to ask the doctor
    e2e/doctor_lab.py 9 --ask        asks the doctor, and ends

`test_doctor_lab.py` asks about every row and compares with the verdict that stands here.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import dataclasses
import hashlib
import os
import pathlib
import select
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import typing

import slow_way
from lab_pki import NAME, Lab, openssl
from nginx import Nginx
from server import BINARY, client, free_ports, serving

HERE = pathlib.Path(__file__).resolve().parent
LOGS = HERE.parent / "crates" / "doctor" / "tests" / "logs"
HOST = "127.0.0.1"
# The two engines that were measured: BearSSL as in Tasmota, mbedTLS as in ESP-IDF.
BEARSSL, MBEDTLS = "tasmota-esp8266", "idf-5-bundle"


@dataclasses.dataclass
class Question:
    """What the doctor is asked, and what it has to answer."""
    arguments: list[str]
    # A word of the doctor; "healthy_tls" where TLS is sound and the server behind it speaks no MQTT.
    cause: str
    # What the screen has to name beside the cause: an address, a program, a setting.
    says: tuple[str, ...] = ()
    # The command that runs the doctor where the fault is.
    within: tuple[str, ...] = ()


@dataclasses.dataclass
class Row:
    number: int
    fault: str
    # Called with the lab; a context manager that holds the fault up and gives the questions.
    set_up: typing.Callable[["Bench"], typing.ContextManager[list[Question]]]


ROWS: dict[int, Row] = {}


def row(number: int, fault: str):
    def take(function):
        ROWS[number] = Row(number, fault, contextlib.contextmanager(function))
        return function
    return take


class Impossible(Exception):
    """A row that this machine cannot set up."""


class Bench:
    """A folder, the certificates in it, and everything that was started; all of it ends with the `with` block."""

    def __init__(self, folder: pathlib.Path, lab: Lab):
        self.folder, self.lab = folder, lab
        self.stack = contextlib.ExitStack()

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_):
        self.stack.close()

    def spawn(self, *command, port: int | None = None, **options) -> subprocess.Popen:
        """A server that ends with the bench. With a port, it is up when that takes connections."""
        log = self.stack.enter_context(open(self.folder / f"{pathlib.Path(command[0]).name}.log", "ab"))
        process = subprocess.Popen([client(command[0]), *map(str, command[1:])], stdin=subprocess.PIPE, stdout=log,
                                   stderr=log, **options)
        self.stack.callback(end, process)
        if port is not None:
            up(port, process, pathlib.Path(log.name))
        return process

    def s_server(self, leaf, *options, chain=None) -> int:
        """OpenSSL's own server with a leaf, and with the intermediates of `chain` behind it."""
        port, = free_ports(1)
        command = ["openssl", "s_server", "-accept", f"{HOST}:{port}", "-cert", leaf.chain, "-key", leaf.key, "-quiet", "-naccept", "100"]
        if chain:
            command += ["-cert_chain", self.lab.write(f"{leaf.chain.stem}-above", *chain)]
        # It echoes nothing and reads its standard input, which stays open.
        self.spawn(*command, *options, port=port)
        return port

    def mosquitto(self, *lines: str, tls=False) -> int:
        port, = free_ports(1)
        # It keeps the rights of the test, or it could not enter the test's folder.
        config = [f"listener {port} {HOST}", *(["user root"] if os.geteuid() == 0 else []), *lines]
        if not any(line.startswith("allow_anonymous") for line in lines):
            config.append("allow_anonymous true")
        if tls:
            leaf = self.lab.leaf()
            config += [f"certfile {self.lab.write('mosquitto', leaf, self.lab.intermediate)}", f"keyfile {leaf.key}"]
        file = self.folder / f"mosquitto-{port}.conf"
        file.write_text("\n".join(config) + "\n")
        self.spawn("mosquitto", "-c", file, port=port)
        return port

    def listen(self, serve: typing.Callable[[socket.socket], None], host=HOST, port=0) -> int:
        """A server of ours: `serve` has each connection to itself."""
        listener = socket.create_server((host, port))
        self.stack.callback(listener.close)

        def each(connection):
            with contextlib.suppress(OSError):
                serve(connection)
            with contextlib.suppress(OSError):
                connection.close()

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=each, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return listener.getsockname()[1]

    def slow_way(self, milliseconds: int) -> tuple[str, ...]:
        """A network of its own, in which every packet to slow_way.FAR takes so long; the command that runs another in it."""
        if not slow_way.is_possible():
            raise Impossible(f"this machine does not let us open {slow_way.TUN}, so it has no slow way")
        alone = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
        process = subprocess.Popen([*alone, sys.executable, str(HERE / "slow_way.py"), str(milliseconds)], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True)
        self.stack.callback(end, process)
        assert process.stdout.readline() == "ready\n", "no network of its own: slow_way.py says why"
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        return ("nsenter", *user, "--net", f"--target={process.pid}")

    def nginx(self, backend: str, *, upgrade=True, path="/", idle="3600s") -> Nginx:
        port, = free_ports(1)
        nginx = Nginx(self.folder / f"nginx-{port}", HOST, port, backend)
        nginx.write(backend, upgrade)
        text = nginx.file.read_text().replace("location / {", f"location {path} {{")
        nginx.file.write_text(text.replace("proxy_read_timeout 3600s", f"proxy_read_timeout {idle}"))
        self.stack.callback(nginx.stop)
        return nginx.start()

    def name_server(self, answers: dict[str, str]) -> int:
        """A DNS server for A records; every other name does not exist."""
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind((HOST, 0))
        self.stack.callback(server.close)

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    query, peer = server.recvfrom(512)
                    server.sendto(answer(query, answers), peer)

        threading.Thread(target=serve, daemon=True).start()
        return server.getsockname()[1]

    def at(self, scheme: str, port: int, path="", host=NAME) -> list[str]:
        """The arguments for a target on this machine under the name of its certificates."""
        arguments = [f"{scheme}://{host}:{port}{path}", "--ca", str(self.lab.root.chain)]
        return arguments + (["--address", HOST] if host == NAME else [])

    def log(self, name: str, text: str) -> pathlib.Path:
        path = self.folder / name
        path.write_text(text)
        return path


def end(process: subprocess.Popen):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def up(port: int, process: subprocess.Popen, log: pathlib.Path):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        # Looking for the listening socket, and not connecting: some servers here take a set number of connections.
        listening = f"{struct.unpack('<I', socket.inet_aton(HOST))[0]:08X}:{port:04X}"
        if any(line.split()[1] == listening and line.split()[3] == "0A"
               for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]):
            return
        time.sleep(0.02)
    raise AssertionError(f"{process.args[0]} did not come up:\n{log.read_text()}")


def answer(query: bytes, answers: dict[str, str]) -> bytes:
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    question, kind = query[12:at + 5], struct.unpack(">H", query[at + 1:at + 3])[0]
    address = answers.get(".".join(labels).lower())
    code = 0 if address else 3
    found = address is not None and kind == 1
    head = query[:2] + struct.pack(">HHHHH", 0x8580 | code, 1, int(found), 0, 0)
    body = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton(address) if found else b""
    return head + question + body


def http_reply(body: str, status="200 OK", kind="application/json", **headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return (f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body.encode())}\r\n{lines}Connection: close\r\n\r\n"
            f"{body}").encode()


def reads_then(reply: bytes):
    def serve(connection: socket.socket):
        connection.settimeout(10)
        connection.recv(65536)
        connection.sendall(reply)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
    return serve


def silent(connection: socket.socket):
    connection.settimeout(60)
    with contextlib.suppress(OSError):
        while connection.recv(65536):
            pass


def both(bench: Bench, port: int, bearssl: str, mbedtls: str, host=NAME) -> list[Question]:
    """The same server through the eyes of both engines."""
    at = bench.at("mqtts", port, host=host)
    return [Question(at + ["--as", BEARSSL], bearssl), Question(at + ["--as", MBEDTLS], mbedtls)]


# --- certificates and handshakes ---------------------------------------------------------------------------------


@row(1, "good")
def good(bench):
    port = bench.mosquitto(tls=True)
    yield both(bench, port, "healthy", "healthy")


@row(2, "missing intermediate")
def missing_intermediate(bench):
    yield both(bench, bench.s_server(bench.lab.leaf()), "chain_incomplete", "chain_incomplete")


def one_leaf(bench, bearssl: str, mbedtls: str, *options, **leaf):
    made = bench.lab.leaf(leaf.pop("name"), **leaf)
    port = bench.s_server(made, *options, chain=[bench.lab.intermediate])
    return both(bench, port, bearssl, mbedtls)


@row(3, "expired leaf")
def expired(bench):
    yield one_leaf(bench, "certificate_expired", "certificate_expired", name="expired", start=-90, end=-2)


@row(4, "not yet valid")
def not_yet_valid(bench):
    yield one_leaf(bench, "not_yet_valid", "not_yet_valid", name="future", start=3, end=90)


@row(5, "wrong SAN")
def wrong_san(bench):
    yield one_leaf(bench, "name_mismatch", "name_mismatch", name="other", names=("other.example",))


@row(6, "CN right, SAN wrong")
def wrong_san_right_cn(bench):
    # Certificates of this lab all have the right name as CN.
    yield one_leaf(bench, "name_mismatch", "name_mismatch", name="cn", names=("elsewhere.example",))


@row(7, "connect by IP")
def by_address(bench):
    port = bench.s_server(bench.lab.leaf(), chain=[bench.lab.intermediate])
    yield both(bench, port, "name_mismatch", "name_mismatch", host=HOST)


@row(8, "self-signed")
def self_signed(bench):
    port = bench.s_server(bench.lab.issue("self", names=(NAME,)))
    yield both(bench, port, "untrusted_self_signed", "untrusted_self_signed")


@row(9, "ECDSA only")
def ecdsa_only(bench):
    yield one_leaf(bench, "no_common_cipher_ecdsa_only", "healthy_tls", name="p256", key="p256")


@row(10, "P-384 intermediate")
def p384_intermediate(bench):
    above = bench.lab.issue("p384-intermediate", bench.lab.root, key="p384", authority=True, start=-2000, end=2000)
    leaf = bench.lab.leaf("under-p384", above, key="p256")
    port = bench.s_server(leaf, chain=[above])
    at = bench.at("mqtts", port)
    yield [Question(at + ["--as", "tasmota-ecdsa"], "chain_unsupported_curve"), Question(at + ["--as", MBEDTLS], "healthy_tls")]


@row(11, "SHA-384 leaf")
def sha384(bench):
    yield one_leaf(bench, "hash_unsupported", "healthy_tls", name="sha384", digest="sha384")


@row(12, "SHA-1 leaf")
def sha1(bench):
    yield one_leaf(bench, "hash_weak", "hash_weak", "-cipher", "DEFAULT@SECLEVEL=0", name="sha1", digest="sha1")


@row(13, "chain order wrong")
def chain_order(bench):
    port = bench.s_server(bench.lab.leaf(), chain=[bench.lab.root, bench.lab.intermediate])
    yield both(bench, port, "chain_order", "healthy_tls")


@row(14, "clientAuth-only EKU")
def wrong_eku(bench):
    yield one_leaf(bench, "healthy_tls", "wrong_eku", name="eku", usage="clientAuth")


def one_server(bench, bearssl: str, mbedtls: str | None, *options):
    port = bench.s_server(bench.lab.leaf(), *options, chain=[bench.lab.intermediate])
    asked = both(bench, port, bearssl, mbedtls or "")
    return asked if mbedtls else asked[:1]


@row(15, "TLS 1.3 only")
def tls13_only(bench):
    yield one_server(bench, "tls_version", "tls_version", "-tls1_3")


@row(16, "TLS 1.1 only")
def tls11_only(bench):
    # mbedTLS 2.28 still spoke it; the mbedTLS 3 of the profile does not.
    yield one_server(bench, "tls_version", "tls_version", "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0")


@row(17, "AES-256 only")
def aes256_only(bench):
    yield one_server(bench, "no_common_cipher", "healthy_tls", "-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384")


@row(18, "static RSA only")
def static_rsa_only(bench):
    yield one_server(bench, "no_common_cipher", "healthy_tls", "-tls1_2", "-cipher", "AES256-GCM-SHA384")


@row(19, "X25519 only")
def x25519_only(bench):
    yield one_server(bench, "no_common_group", "healthy_tls", "-tls1_2", "-curves", "X25519")


@row(20, "client certificate demanded")
def client_certificate(bench):
    yield one_server(bench, "client_cert_required", "client_cert_required", "-Verify", "1", "-CAfile", str(bench.lab.root.chain))


@row(21, "no SNI, default self-signed")
def sni_needed(bench):
    leaf, other = bench.lab.issue("default", names=("default.example",)), bench.lab.leaf()
    chained = bench.lab.write("leaf-whole", other, bench.lab.intermediate)
    port = bench.s_server(leaf, "-servername", NAME, "-cert2", chained, "-key2", other.key,
                          "-chainCAfile", bench.lab.root.chain)
    # The drivers of these modems send no name.
    yield [Question(bench.at("wss", port, "/xiaozhi/v1/") + ["--as", "ec801e"], "sni_needed")]


# --- ports and protocols -----------------------------------------------------------------------------------------


@row(22, "HTTP on the TLS port")
def http_on_tls_port(bench):
    port = bench.listen(reads_then(http_reply("Bad Request", "400 Bad Request", "text/plain")))
    yield [Question(bench.at("https", port, "/xiaozhi/ota/"), "tls_to_plain_http"),
           Question(bench.at("mqtts", port), "tls_to_plain_http")]


@row(23, "SSH banner")
def ssh_banner(bench):
    def serve(connection):
        connection.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
        silent(connection)
    yield [Question(bench.at("mqtts", bench.listen(serve)), "wrong_service", ("SSH",))]


@row(24, "TLS to plain MQTT")
def tls_to_plain_mqtt(bench):
    yield [Question(bench.at("mqtts", bench.mosquitto()), "tls_to_plain_port")]


@row(25, "MQTT to TLS port")
def mqtt_to_tls_port(bench):
    yield [Question(bench.at("mqtt", bench.mosquitto(tls=True)), "plain_to_tls_port")]


@row(26, "HTTP to TLS port")
def http_to_tls_port(bench):
    yield [Question(bench.at("http", bench.mosquitto(tls=True), "/xiaozhi/ota/"), "http_to_tls")]


@row(27, "reset on accept")
def reset_on_accept(bench):
    def serve(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    yield [Question(bench.at("mqtts", bench.listen(serve)), "reset_on_accept")]


@row(28, "accept then silent")
def accept_then_silent(bench):
    yield [Question(bench.at("mqtts", bench.listen(silent)), "accepts_then_silent")]


@row(29, "accept then close")
def accept_then_close(bench):
    def serve(connection):
        connection.settimeout(5)
        connection.recv(65536)
    yield [Question(bench.at("mqtts", bench.listen(serve)), "closes_in_handshake")]


@row(30, "refused")
def refused(bench):
    port, = free_ports(1)
    yield [Question(bench.at("mqtts", port), "nothing_listens")]


@row(31, "large flight lost")
def large_flight_lost(bench):
    behind = bench.s_server(bench.lab.leaf(), chain=[bench.lab.intermediate])

    def relay(connection):
        with socket.create_connection((HOST, behind), 5) as server:
            def back():
                left = 800
                with contextlib.suppress(OSError):
                    while data := server.recv(65536):
                        connection.sendall(data[:left])
                        left -= min(left, len(data))
            threading.Thread(target=back, daemon=True).start()
            connection.settimeout(30)
            while data := connection.recv(65536):
                server.sendall(data)
    yield [Question(bench.at("mqtts", bench.listen(relay)), "mtu_black_hole")]


def with_clock(bench, year: int) -> list[str]:
    """A Tasmota whose log tells its time, and the server that it tried."""
    port = bench.mosquitto(tls=True)
    text = (f"00:00:04.912 WIF: Connected\n{year}-01-01T00:00:09 MQT: Attempting connection...\n"
            f"{year}-01-01T00:00:10 MQT: TLS connection error: 54\n"
            f"{year}-01-01T00:00:10 MQT: Connect failed to {NAME}:{port}, rc -2. Retry in 10 sec\n")
    return bench.at("mqtts", port) + ["--as", BEARSSL, "--log", str(bench.log(f"clock-{year}.log", text))]


@row(32, "device clock 1970")
def clock_1970(bench):
    yield [Question(with_clock(bench, 1970), "device_clock_unset")]


@row(33, "device clock 2040")
def clock_2040(bench):
    yield [Question(with_clock(bench, 2040), "device_clock_wrong")]


@row(34, "record too large")
def record_too_large(bench):
    leaf = bench.lab.leaf()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bench.lab.write("records", leaf, bench.lab.intermediate), leaf.key)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 5000\r\nConnection: close\r\n\r\n"
    body = head + b"\xe9" + bytes(4999)

    def serve(connection):
        with context.wrap_socket(connection, server_side=True) as tls:
            tls.settimeout(10)
            tls.recv(65536)
            tls.sendall(body)
    port = bench.listen(serve)
    at = bench.at("https", port, "/firmware.bin")
    yield [Question(at + ["--as", BEARSSL], "record_too_large"), Question(at + ["--as", MBEDTLS], "healthy_tls")]


@row(35, "handshake split")
def handshake_split(bench):
    port = bench.s_server(bench.lab.leaf(), "-max_send_frag", "1024", chain=[bench.lab.intermediate])
    yield both(bench, port, "healthy_tls", "handshake_fragmented")


# --- MQTT --------------------------------------------------------------------------------------------------------


@row(36, "login wrong")
def login_wrong(bench):
    passwords = bench.folder / "passwords"
    passwords.write_text("plug:right\n")
    subprocess.run([client("mosquitto_passwd"), "-U", str(passwords)], check=True, timeout=10)
    passwords.chmod(0o644)
    port = bench.mosquitto("allow_anonymous false", f"password_file {passwords}")
    secret = bench.log("password", "wrong\n")
    at = bench.at("mqtt", port) + ["--user", "plug", "--password-file", str(secret), "--yes"]
    yield [Question(at, "auth_failed")]


@row(37, "duplicate id")
def duplicate_id(bench):
    with serving() as server:
        import wire
        ends = time.monotonic() + 3
        while time.monotonic() < ends:
            for _ in range(2):
                other = socket.create_connection(server.mqtt, 5)
                bench.stack.callback(other.close)
                other.sendall(wire.connect(client_id="livingroom"))
                other.recv(64)
            time.sleep(0.2)
        yield [Question(["--device", "livingroom", "--data", str(server.data)], "duplicate_client_id", ("livingroom",))]


@row(38, "protocol level 9")
def protocol_level(bench):
    with serving() as server:
        with socket.create_connection(server.mqtt, 5) as plug:
            plug.sendall(b"\x10\x10\x00\x04MQTT\x09\x02\x00\x3c\x00\x04plug")
            plug.recv(64)
        time.sleep(1.5)
        yield [Question(["--device", HOST, "--data", str(server.data)], "protocol_version")]


# --- addresses, ports, proxies, names ----------------------------------------------------------------------------


@row(39, "port taken")
def port_taken(bench):
    port, = free_ports(1)
    holder = bench.spawn("python3", "-c", f"import socket, time; s = socket.create_server(('{HOST}', {port})); time.sleep(120)", port=port)
    settings = bench.log("safeport.toml", f'[http]\nbind = "{HOST}:{port}"\n[mqtt]\nbind = "{HOST}:0"\n')
    yield [Question([f"ws://{HOST}:{port}/xiaozhi/v1/", "--config", str(settings)], "port_in_use", (str(holder.pid), "python3"))]


@row(40, "URL without port")
def url_without_port(bench):
    # An address of this machine alone, so that the port of the other server is free there.
    host = "127.0.0.40"
    bench.listen(reads_then(http_reply('{"websocket":{"url":"ws://127.0.0.40:8000/xiaozhi/v1/"},"server_time":{"timestamp":1}}')),
                 host=host, port=8002)
    yield [Question([f"http://{host}/xiaozhi/ota/"], "url_without_port", (f"http://{host}:8002/xiaozhi/ota/",))]


@row(41, "proxy drops Upgrade")
def proxy_drops_upgrade(bench):
    with serving() as server:
        nginx = bench.nginx(f"http://{HOST}:{server.http_port}", upgrade=False)
        yield [Question(bench.at("ws", nginx.port, "/mqtt"), "proxy_drops_upgrade", ("Upgrade",))]


@row(42, "proxy wrong path")
def proxy_wrong_path(bench):
    with serving() as server:
        nginx = bench.nginx(f"http://{HOST}:{server.http_port}", path="/other/")
        yield [Question(bench.at("ws", nginx.port, "/mqtt"), "path_missing")]


@row(43, "backend down")
def backend_down(bench):
    closed, = free_ports(1)
    nginx = bench.nginx(f"http://{HOST}:{closed}")
    yield [Question(bench.at("ws", nginx.port, "/xiaozhi/v1/"), "backend_down", ("502",)),
           Question(bench.at("http", nginx.port, "/xiaozhi/ota/"), "backend_down", ("502",))]


@row(44, "NXDOMAIN")
def nxdomain(bench):
    server = bench.name_server({})
    yield [Question([f"mqtts://{NAME}:8883", "--dns", f"{HOST}:{server}"], "name_not_resolved", (NAME,))]


@row(45, "split horizon")
def split_horizon(bench):
    port = bench.mosquitto()
    inside, outside = bench.name_server({NAME: HOST}), bench.name_server({NAME: "127.0.0.45"})
    yield [Question([f"mqtt://{NAME}:{port}", "--dns", f"{HOST}:{outside}", "--dns", f"{HOST}:{inside}"], "split_horizon",
                    ("127.0.0.45", HOST))]


@row(46, "captive portal")
def captive_portal(bench):
    login = http_reply("", "302 Found", "text/html", Location="http://login.hotspot.example/?from=x")
    port = bench.listen(reads_then(login))
    yield [Question(bench.at("http", port, "/xiaozhi/ota/"), "captive_portal", ("login.hotspot.example",))]


@row(47, "safeboot silent")
def safeboot_silent(bench):
    yield [Question(["--log", str(LOGS / "story-1-tasmota-safeboot.log")], "safeboot_lacks_tls_or_outdated", ("Upgrade 2",))]


@row(48, "wss off 443 on old ML307")
def modem_in_clear(bench):
    with serving() as server:
        request = (f"GET /xiaozhi/v1/ HTTP/1.1\r\nHost: {NAME}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nProtocol-Version: 1\r\n\r\n")
        with socket.create_connection(server.https, 5) as box:
            box.sendall(request.encode())
            box.recv(1024)
        time.sleep(1.5)
        yield [Question(["--device", HOST, "--data", str(server.data)], "modem_component_no_tls_off_443", ("443",)),
               Question(["--log", str(LOGS / "story-4-xiaozhi-4g-wss.log")], "modem_component_no_tls_off_443")]


# --- what the stories of the README need ------------------------------------------------------------------------


@row(49, "way slower than the device waits")
def slower_than_the_device(bench):
    within = bench.slow_way(90)
    folder = bench.folder
    settings = folder / "far.conf"
    settings.write_text(f"listener 1883 {slow_way.HERE}\nallow_anonymous true\n" + ("user root\n" if os.geteuid() == 0 else ""))
    bench.spawn(*within, client("mosquitto"), "-c", settings)
    until = time.monotonic() + 10
    while ":075B " not in subprocess.run([*within, "cat", "/proc/self/net/tcp"], capture_output=True, text=True, timeout=10).stdout:
        assert time.monotonic() < until, "mosquitto did not come up"
        time.sleep(0.05)
    log = ["--log", str(LOGS / "story-2-espeasy-1002.log")]
    yield [Question([f"mqtt://{slow_way.FAR}:1883", *log], "timeout_too_short", ("Client Timeout to 1000 ms", "100 ms"), within),
           Question([f"mqtt://{slow_way.FAR}:1883", "--as", "espeasy"], "timeout_too_short", ("Client Timeout",), within),
           # The same log, and the other two causes that it leaves open.
           Question([f"mqtt://{slow_way.FAR}:8883", *log], "nothing_listens", (f"mqtt://{slow_way.FAR}:1883",), within),
           Question([f"mqtt://{slow_way.LOST}:8883", *log], "tcp_timeout_filtered", ("ufw allow 8883/tcp",), within),
           # Who waits for a second gets there.
           Question([f"mqtt://{slow_way.FAR}:1883", "--as", "tasmota-esp32"], "healthy", (), within)]


@row(50, "WebSocket port held, and handed out")
def handed_out_port_is_held(bench):
    held, ota = free_ports(2)
    holder = bench.spawn("python3", "-m", "http.server", "--bind", HOST, str(held), port=held)
    told = f"ws://{HOST}:{held}/xiaozhi/v1/"
    reply = http_reply(f'{{"websocket":{{"url":"{told}"}},"server_time":{{"timestamp":1}}}}')
    bench.listen(reads_then(reply), port=ota)
    at = f"http://{HOST}:{ota}/xiaozhi/ota/"
    log = bench.log("server.log", (LOGS / "story-5-port-conflict.log").read_text().replace(":8000", f":{held}").replace(" 8000)", f" {held})"))
    yield [Question([at], "port_in_use", (told, str(holder.pid), "python3")),
           Question([at, "--log", str(log)], "port_in_use", (str(holder.pid),))]


@row(51, "idle connection closed")
def idle_connection_closed(bench):
    behind = bench.mosquitto()

    def relay(connection):
        # As a proxy does: after 1.5 s without a byte from either side the connection ends.
        with socket.create_connection((HOST, behind), 5) as server:
            ends = {connection: server, server: connection}
            while ready := select.select(list(ends), [], [], 1.5)[0]:
                for one in ready:
                    if not (data := one.recv(65536)):
                        return
                    ends[one].sendall(data)
    port = bench.listen(relay)
    yield [Question(bench.at("mqtt", port, host=HOST) + ["--long=4s", "--as", BEARSSL], "nat_idle_timeout",
                    (f"{HOST}:{port}", "MqttKeepAlive"))]


@row(52, "proxy closes an idle WebSocket")
def proxy_closes_idle(bench):
    def serve(connection):
        # A voice server that never says anything by itself.
        connection.settimeout(30)
        request = connection.recv(65536).decode()
        key = next((line.split()[1] for line in request.splitlines() if line.startswith("Sec-WebSocket-Key")), None)
        if key is None:
            return connection.sendall(http_reply("WebSocket only", "426 Upgrade Required", "text/plain"))
        accept = base64.b64encode(hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
        connection.sendall(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            f"Sec-WebSocket-Accept: {accept}\r\n\r\n").encode())
        hello = b'{"type":"hello","transport":"websocket","session_id":"1"}'
        while data := connection.recv(65536):
            # To the hello its like, to a ping (an empty one) a pong.
            connection.sendall(b"\x8a\x00" if data[0] & 15 == 9 else bytes([0x81, len(hello)]) + hello)
    nginx = bench.nginx(f"http://{HOST}:{bench.listen(serve)}", idle="2s")
    at = bench.at("ws", nginx.port, "/xiaozhi/v1/", host=HOST)
    yield [Question(at + ["--long=5s", "--as", "xiaozhi"], "nat_idle_timeout", ("proxy_read_timeout",)),
           Question(at + ["--long=1s", "--as", "xiaozhi"], "healthy")]


def ask(question: Question, *, json=True, timeout=60) -> subprocess.CompletedProcess:
    command = [*question.within, str(BINARY), "doctor", *question.arguments] + (["--json"] if json else [])
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SAFEPORT__")}
    return subprocess.run(command, text=True, capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL,
                          env=environment | {"LC_ALL": "C.UTF-8", "COLUMNS": "100"})


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("row", type=int, nargs="?", choices=sorted(ROWS), metavar="ROW")
    arguments.add_argument("--ask", action="store_true", help="ask the doctor instead of waiting")
    arguments.add_argument("--lang", default="en", help="the language of its answers")
    asked = arguments.parse_args()
    if asked.row is None:
        for each in sorted(ROWS.values(), key=lambda each: each.number):
            print(f"{each.number:2}  {each.fault}")
        return
    with tempfile.TemporaryDirectory(prefix="safeport-lab-") as folder:
        path = pathlib.Path(folder)
        with Bench(path, Lab(path)) as bench, ROWS[asked.row].set_up(bench) as questions:
            for question in questions:
                print(f"safeport doctor {' '.join(question.arguments)}\n  -> {question.cause}", flush=True)
                if asked.ask:
                    question.arguments += ["--lang", asked.lang]
                    print(ask(question, json=False).stdout)
            if not asked.ask:
                input("Enter ends it. ")


if __name__ == "__main__":
    sys.exit(main())
