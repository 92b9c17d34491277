"""xiaozhi devices check, are taken in by their codes, and log in with what they were told.

Requests are those of real firmware and clients, put together from their sources; they are sent through raw sockets,
curl, and MQTT by paho."""

import base64
import contextlib
import hmac
import json
import re
import socket
import subprocess
import threading
import time
import uuid

import paho.mqtt.client as paho
import pytest

import server as servers
from conftest import eventually
from nginx import own_address

BODY_24 = {
    "version": 2, "language": "zh-CN", "flash_size": 16777216, "minimum_free_heap_size": "8318916",
    "mac_address": "", "uuid": "", "chip_model_name": "esp32s3",
    "chip_info": {"model": 9, "cores": 2, "revision": 2, "features": 18},
    "application": {"name": "xiaozhi", "version": "2.4.2", "compile_time": "Aug  8 2026T10:00:00Z",
                    "idf_version": "v6.0", "elf_sha256": "c8a8ecb6" + "0" * 56},
    "partition_table": [{"label": "ota_0", "type": 0, "subtype": 16, "address": 131072, "size": 4128768},
                        {"label": "assets", "type": 1, "subtype": 130, "address": 8388608, "size": 8388608}],
    "ota": {"label": "ota_0"}, "display": {"monochrome": False, "width": 240, "height": 240},
    "board": {"type": "bread-compact-wifi", "name": "bread-compact-wifi", "ssid": "home", "rssi": -55, "channel": 1,
              "ip": "192.168.1.20", "mac": ""},
}


class Answer:
    def __init__(self, data: bytes):
        head, _, self.body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.line = lines[0]
        self.status = int(lines[0].split(" ")[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}

    def json(self):
        return json.loads(self.body)


def exchange(address, data: bytes, timeout=10.0) -> Answer:
    """Sends a request and reads until the server closes, as firmware does."""
    with socket.create_connection(address, timeout=timeout) as stream:
        stream.sendall(data)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while block := stream.recv(65536):
                received += block
    return Answer(received)


class Device:
    """Checks as firmware does: its headers in its order, Connection: close."""

    def __init__(self, server, version="2.4.2", mac=None, client_id=None, board="bread-compact-wifi", body=None,
                 headers=None):
        self.server, self.version, self.board = server, version, board
        self.mac = mac or ":".join(["02"] + [f"{byte:02x}" for byte in uuid.uuid4().bytes[:5]])
        self.client_id = client_id or str(uuid.uuid4())
        self.headers = headers or {}
        self.body = body

    def system_info(self) -> bytes:
        if self.body is not None:
            return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        info = json.loads(json.dumps(BODY_24))
        info["mac_address"] = info["board"]["mac"] = self.mac
        info["uuid"] = self.client_id
        info["application"]["version"] = self.version
        info["board"]["type"] = self.board
        return json.dumps(info).encode()

    def request(self, path: str, body: bytes, protocol="HTTP/1.1") -> bytes:
        headers = {
            "Host": f"{self.server.host}:{self.server.http_port}", "Accept-Language": "zh-CN", "Activation-Version": "1",
            "Client-Id": self.client_id, "Connection": "close", "Content-Length": str(len(body)),
            "Content-Type": "application/json", "Device-Id": self.mac, "User-Agent": f"{self.board}/{self.version}",
        } | self.headers
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value is not None)
        return f"POST {path} {protocol}\r\n{lines}\r\n".encode() + body

    def check(self, path="/xiaozhi/ota/", protocol="HTTP/1.1") -> Answer:
        return exchange(self.server.http, self.request(path, self.system_info(), protocol))

    def activate(self, body=b"{}", path="/xiaozhi/ota/activate") -> Answer:
        return exchange(self.server.http, self.request(path, body))

    def taken_in(self, name=None) -> "Device":
        code = self.check().json()["activation"]["code"]
        self.server.cli("device", "activate", code, *(["--name", name] if name else []))
        assert eventually(lambda: self.activate().status == 200, seconds=10)
        return self


def walk(value, path=()):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from walk(inner, path + (key,))
    else:
        yield path, value


def sound(answer: Answer) -> dict:
    """What every good answer must be for firmware to survive it."""
    assert answer.line == "HTTP/1.1 200 OK", answer.line
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.headers["content-type"].startswith("application/json")
    assert "transfer-encoding" not in answer.headers and "content-encoding" not in answer.headers
    assert "location" not in answer.headers
    reply = answer.json()
    assert not ("mqtt" in reply and "websocket" in reply)
    for path, value in walk(reply):
        assert value is not None, path
        if path[0] in ("mqtt", "websocket"):
            assert len(path) == 2 and len(path[1]) <= 15 and isinstance(value, (str, int)), path
    if "firmware" in reply:
        assert re.fullmatch(r"(\d+(\.\d+)*)?", reply["firmware"]["version"])
        assert isinstance(reply["firmware"]["url"], str)
    timestamp = reply["server_time"]["timestamp"]
    assert abs(timestamp / 1000 - time.time()) < 5
    return reply


@pytest.fixture(scope="module")
def hub():
    """A server that takes devices in by their codes and sends them to MQTT. Clients need logins."""
    with servers.serving(servers.Safeport, open_to_all=False,
                         settings={"advertise": 'xiaozhi = "mqtt"'}, host=own_address()) as running:
        yield running
        assert running.process.poll() is None, running.log_text()[-4000:]


# --- what is told ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("version", ["1.5.2", "1.5.9", "1.6.0", "1.6.6", "1.7.0", "1.8.0", "2.0.0", "2.4.2"])
@pytest.mark.parametrize("path", ["/xiaozhi/ota/", "/xiaozhi/ota"])
def test_a_new_device_of_any_version_gets_a_code_and_its_own_version_back(hub, version, path):
    device = Device(hub, version, headers={"Activation-Version": None, "Ota-Version": "2"} if version < "1.6" else {})
    reply = sound(device.check(path))
    assert reply["firmware"] == {"version": version, "url": ""}
    code = reply["activation"]["code"]
    assert re.fullmatch(r"\d{6}", code)
    assert reply["activation"]["message"].endswith(code) and reply["activation"]["challenge"]
    assert "mqtt" not in reply and "websocket" not in reply, "a stranger is told no secrets"
    assert sound(device.check(path))["activation"] == reply["activation"], "the code stays"


def test_http_1_0_and_1_1_are_answered_with_an_exact_length(hub):
    device = Device(hub)
    old = device.check(protocol="HTTP/1.0")
    assert old.status == 200 and old.headers["content-length"] == str(len(old.body))
    sound(device.check())


def test_a_device_whose_own_version_would_crash_its_parser_is_told_none(hub):
    assert "firmware" not in sound(Device(hub, "v2.0-custom").check())


def test_a_device_is_taken_in_by_its_code_and_told_a_way(hub):
    device = Device(hub)
    code = sound(device.check())["activation"]["code"]
    assert device.activate().status == 202
    assert device.activate(path="/xiaozhi/ota/activate/").status == 202
    hub.cli("device", "activate", code, "--name", "kitchen-voice")
    assert eventually(lambda: device.activate().status == 200, seconds=10)
    reply = sound(device.check())
    assert "activation" not in reply
    mqtt = reply["mqtt"]
    assert mqtt["endpoint"] == f"{hub.host}:{hub.mqtt_port}"
    own = device.mac.replace(":", "_")
    assert mqtt["client_id"] == f"GID_bread-compact-wifi@@@{own}@@@{device.client_id}"
    assert mqtt["publish_topic"] == "device-server" and mqtt["subscribe_topic"] == f"devices/p2p/{own}"
    # A code serves once.
    again = hub.cli("device", "activate", code, check=False)
    assert again.returncode != 0
    assert "kitchen-voice" in hub.cli("device", "list").stdout


def test_another_client_id_with_the_same_address_is_a_stranger(hub):
    device = Device(hub).taken_in()
    assert "mqtt" in sound(device.check())
    thief = Device(hub, mac=device.mac)
    reply = sound(thief.check())
    assert "mqtt" not in reply and "activation" in reply
    assert thief.activate().status == 202
    refused = hub.cli("device", "activate", reply["activation"]["code"], check=False)
    assert refused.returncode != 0, "the address is a known device's"
    assert "mqtt" in sound(device.check()), "the device keeps its place"


def test_addresses_are_one_device_in_any_spelling(hub):
    device = Device(hub).taken_in()
    loud = Device(hub, mac=device.mac.upper(), client_id=device.client_id)
    assert "mqtt" in sound(loud.check())


def test_before_1_6_2_no_way_is_told_that_the_firmware_would_not_go(hub):
    """It knows no other port than 8883, and the certificate here is a private one."""
    device = Device(hub, "1.6.0").taken_in()
    reply = sound(device.check())
    assert "mqtt" not in reply and "websocket" not in reply
    assert "8883" in hub.log_text()


# --- logins -----------------------------------------------------------------------------------------------------------

def log_in(hub, client_id, username, password) -> int:
    """The reason code of CONNACK."""
    codes = []
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv311)
    client.username_pw_set(username, password)
    client.on_connect = lambda *arguments: codes.append(arguments[3].value)
    client.connect(hub.host, hub.mqtt_port, keepalive=60)
    deadline = time.monotonic() + 10
    while not codes and time.monotonic() < deadline:
        client.loop(0.1)
    client.disconnect()
    assert codes, "no CONNACK"
    return codes[0]


def credentials(reply) -> tuple[str, str, str]:
    return reply["mqtt"]["client_id"], reply["mqtt"]["username"], reply["mqtt"]["password"]


def test_a_device_logs_in_with_what_it_was_told_and_only_with_that(hub):
    device = Device(hub).taken_in()
    client_id, username, password = credentials(sound(device.check()))
    assert log_in(hub, client_id, username, password) == 0
    said = json.loads(base64.b64decode(username))
    assert said["ip"] == hub.host
    forged = base64.b64encode(json.dumps(said | {"ip": "10.0.0.1"}).encode()).decode()
    other = "GID_x@@@02_00_00_00_00_99@@@" + device.client_id
    guess = base64.b64encode(hmac.digest(b"", f"{client_id}|{username}".encode(), "sha256")).decode()
    for attempt in [(client_id, username, "wrong"), (client_id, forged, password), (other, username, password),
                    (client_id, username, guess), (client_id.rsplit("@@@", 1)[0], username, password)]:
        assert log_in(hub, *attempt) != 0, attempt


def test_a_login_is_the_devices_own_its_topic_and_nothing_else(hub):
    device = Device(hub).taken_in()
    reply = sound(device.check())
    client_id, username, password = credentials(reply)
    heard = []
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv311)
    client.username_pw_set(username, password)
    client.on_subscribe = lambda *arguments: heard.append([code.value for code in arguments[3]])
    client.connect(hub.host, hub.mqtt_port)
    client.loop_start()
    try:
        assert eventually(client.is_connected, seconds=5)
        client.subscribe([(reply["mqtt"]["subscribe_topic"], 0), ("#", 0), ("devices/p2p/02_00_00_00_00_01", 0)])
        assert eventually(lambda: heard, seconds=5)
        assert heard[0] == [0, 128, 128]
    finally:
        client.loop_stop()
        client.disconnect()


def test_a_forgotten_device_is_out_and_its_old_login_stays_out_when_it_comes_back(hub):
    device = Device(hub).taken_in("porch-voice")
    old = credentials(sound(device.check()))
    hub.cli("device", "forget", "porch-voice")
    assert eventually(lambda: log_in(hub, *old) != 0, seconds=5)
    reply = sound(device.check())
    assert "mqtt" not in reply and "activation" in reply
    # Enrolments are counted in seconds.
    time.sleep(1.1)
    device.taken_in("porch-voice")
    assert log_in(hub, *old) != 0, "it was made for the enrolment of before"
    assert log_in(hub, *credentials(sound(device.check()))) == 0


def test_settings_give_the_key_of_a_gateway(home):
    key = "Safeport-Gateway-Key-77"
    server = home(settings={"xiaozhi": f'mqtt_key = "{key}"\nutc_offset = "+08:00"',
                            "advertise": 'xiaozhi = "mqtt"'}, host=own_address()).start()
    device = Device(server).taken_in()
    reply = sound(device.check())
    assert reply["server_time"]["timezone_offset"] == 480
    client_id, username, password = credentials(reply)
    signed = hmac.digest(key.encode(), f"{client_id}|{username}".encode(), "sha256")
    assert password == base64.b64encode(signed).decode()
    # A login that the gateway itself made for this device.
    theirs = base64.b64encode(b'{"ip": "unknown"}').decode()
    signed = hmac.digest(key.encode(), f"{client_id}|{theirs}".encode(), "sha256")
    assert log_in(server, client_id, theirs, base64.b64encode(signed).decode()) == 0


# --- an external voice server -----------------------------------------------------------------------------------------

class Voice:
    """A voice server that opens WebSockets and looks at tokens, or does not."""

    def __init__(self, answer=b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"):
        self.answer, self.requests = answer, []
        # Settings refuse 127.0.0.1 here, since to a device that is the device itself.
        self.socket = socket.create_server((own_address(), 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                stream, _ = self.socket.accept()
                with stream:
                    self.requests.append(stream.recv(4096))
                    stream.sendall(self.answer)

    def close(self):
        self.socket.close()


def test_a_voice_server_is_told_while_it_opens_websockets_with_a_token_that_it_can_verify(home):
    voice, key = Voice(), "the key of the voice server"[:22].replace(" ", "-")
    url = f"ws://{own_address()}:{voice.port}/xiaozhi/v1/"
    server = home(settings={"xiaozhi": f'websocket_url = "{url}"\nauth_key = "{key}"'}).start()
    device = Device(server).taken_in()
    assert eventually(lambda: "websocket" in sound(device.check()), seconds=10)
    reply = sound(device.check())
    assert reply["websocket"]["url"] == url and reply["websocket"]["version"] == 1 and "mqtt" not in reply
    digest, at = reply["websocket"]["token"].split(".")
    signed = hmac.digest(key.encode(), f"{device.client_id}|{device.mac}|{at}".encode(), "sha256")
    assert digest == base64.urlsafe_b64encode(signed).decode().rstrip("=")
    # It was asked as firmware asks: no port behind the host.
    assert f"\r\nHost: {own_address()}\r\n".encode() in voice.requests[0]
    # Old firmware has its address built in, and would go nowhere: it gets MQTT only where that works.
    old = Device(server, "1.6.1").taken_in()
    assert "websocket" not in sound(old.check())
    browser = Device(server, client_id="web_test_client", mac="AA:" + device.mac[3:].upper(),
                     body={"version": 0, "application": {"name": "xiaozhi-web-test", "version": "1.0.0"},
                           "board": {"type": "Web测试设备"}}).taken_in()
    assert "websocket" in sound(browser.check())
    voice.close()


def test_a_voice_server_that_opens_no_websocket_is_told_to_nobody_and_the_page_says_so(home):
    voice = Voice(answer=b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    url = f"ws://{own_address()}:{voice.port}/xiaozhi/v1/"
    server = home(settings={"xiaozhi": f'websocket_url = "{url}"', "advertise": 'xiaozhi = "websocket"'}).start()
    device = Device(server).taken_in()
    assert eventually(lambda: "404" in server.get("/xiaozhi/ota/")[1], seconds=10)
    reply = sound(device.check())
    assert "websocket" not in reply and "mqtt" not in reply
    status, page = server.get("/xiaozhi/ota/")
    assert status == 200 and url in page and "is told to no device" in page
    assert "is told no voice server" in server.log_text()
    assert Answer(exchange_get(server, "/xiaozhi/v1/")).status == 426, "this server talks, too, but is not told"
    voice.close()


def exchange_get(server, path, headers="") -> bytes:
    with socket.create_connection(server.http, timeout=10) as stream:
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n".encode())
        received = b""
        while block := stream.recv(65536):
            received += block
    return received


# --- activation, version 2 ---------------------------------------------------------------------------------------------

def test_a_chip_with_a_key_signs_its_challenge_in_the_shape_of_firmware(hub):
    device = Device(hub, headers={"Activation-Version": "2", "Serial-Number": "SN-" + "0" * 29})
    challenge = sound(device.check())["activation"]["challenge"]

    def signed(challenge):
        return json.dumps({"algorithm": "hmac-sha256", "serial_number": "SN-" + "0" * 29, "challenge": challenge,
                           "hmac": hmac.new(bytes(range(32)), challenge.encode(), "sha256").hexdigest()}).encode()
    assert device.activate(signed(challenge)).status == 202
    assert device.activate(signed("another")).status == 403, "a challenge of another device or day"
    assert device.activate(b"{broken").status == 400
    assert device.activate(b"null").status == 400


def test_py_xiaozhi_wraps_its_answer_and_signs_with_the_text_of_the_key_that_it_sent(hub):
    key = "ab" * 32
    device = Device(hub, version="2.1.1", board="py-xiaozhi",
                    headers={"Activation-Version": "2.1.1", "Serial-Number": "SN-7"},
                    body={"application": {"name": "py-xiaozhi", "version": "2.1.1", "elf_sha256": key},
                          "board": {"type": "bread-compact-wifi", "name": "py-xiaozhi", "ip": "192.168.1.9"}})
    activation = sound(device.check())["activation"]

    def signed(key):
        return json.dumps({"Payload": {"algorithm": "hmac-sha256", "serial_number": "SN-7",
                                       "challenge": activation["challenge"],
                                       "hmac": hmac.new(key, activation["challenge"].encode(), "sha256").hexdigest()}})
    device.headers["Activation-Version"] = "2"
    assert device.activate(signed(key.encode()).encode()).status == 202
    assert device.activate(signed(b"another").encode()).status == 403
    hub.cli("device", "activate", activation["code"])
    assert eventually(lambda: device.activate(signed(key.encode()).encode()).status == 200, seconds=10)
    assert key not in hub.log_text()


def test_codes_survive_a_restart(home):
    server = home().start()
    device = Device(server)
    before = sound(device.check())["activation"]
    server.stop()
    server.start()
    assert sound(device.check())["activation"] == before


# --- bad input ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("body", [
    b"", b"{", b"not json", b"null", b"[]", b'{"board":{"ssid":"Bob"s "wifi"","rssi":-55}}',
    b'{"board":{"ssid":"caf\xe9"}}', b'{"application":{"version":{"a":[]}},"flash_size":"x"}', b"\x00" * 100,
    b'{"a":' * 1500 + b"1" + b"}" * 1500,
])
def test_a_body_that_is_no_json_is_an_unknown_device_and_no_error(hub, body):
    reply = sound(Device(hub, "2.3.1", body=body).check())
    assert reply["firmware"]["version"] == "2.3.1", "the headers tell it"


@pytest.mark.parametrize("headers, word", [
    ({"Device-Id": None}, "Device-Id"), ({"Client-Id": None}, "Client-Id"), ({"Device-Id": "plug-1"}, "MAC"),
    ({"Device-Id": "../../etc/passwd"}, "MAC"), ({"Device-Id": "00:00:00:00:00:00"}, "MAC"),
    ({"Client-Id": "x" * 200}, "Client-Id"), ({"Device-Id": "aa:bb:cc:dd:ee:ff' OR 1=1"}, "MAC"),
])
def test_a_request_that_does_not_say_who_asks_is_refused_with_words_that_are_no_json(hub, headers, word):
    answer = Device(hub, body=b"{}", headers=headers).check()
    assert answer.status == 400 and word.encode() in answer.body
    with pytest.raises(json.JSONDecodeError):
        answer.json()


def test_bodies_of_16_kib_are_read_and_longer_ones_are_refused_without_being_read(hub):
    info = json.loads(json.dumps(BODY_24))
    padding = 16 * 1024 - len(json.dumps(info)) - 12
    info["padding"] = "x" * padding
    body = json.dumps(info).encode()[:16 * 1024]
    assert len(body) == 16 * 1024
    assert Device(hub, body=body).check().status == 200
    assert Device(hub, body=body + b" ").check().status == 413
    # Announced, not sent: the answer comes at once.
    device = Device(hub)
    request = device.request("/xiaozhi/ota/", b"").replace(b"Content-Length: 0", b"Content-Length: 16777216")
    began = time.monotonic()
    assert exchange(hub.http, request).status == 413
    assert time.monotonic() - began < 2
    # And from a real client that sends it all.
    done = subprocess.run(
        [servers.client("curl"), "-s", "-o", "/dev/null", "-w", "%{http_code}", "--data-binary", "@-",
         "-H", f"Device-Id: {device.mac}", "-H", "Client-Id: x", f"http://{hub.host}:{hub.http_port}/xiaozhi/ota/"],
        input=b"x" * (16 << 20), capture_output=True, timeout=30)
    assert done.stdout == b"413", done.stderr


@pytest.mark.parametrize("path", ["/xiaozhi/ota/../../etc/passwd", "/xiaozhi/ota/activate/x", "/xiaozhi/",
                                  "/xiaozhi/ota/%2e%2e/"])
def test_no_other_path_is_anything(hub, path):
    assert Answer(exchange_get(hub, path)).status == 404


def test_one_address_gets_so_many_codes_a_minute_and_known_devices_are_served_all_the_same(home):
    server = home().start()
    known = Device(server).taken_in()
    statuses = [Device(server).check().status for _ in range(140)]
    assert 429 in statuses and set(statuses) == {200, 429}
    assert statuses.count(200) <= 130
    sound(known.check())
    refused = Device(server).check()
    assert refused.status == 429 or refused.status == 200


def test_other_methods_are_named_and_nothing_redirects(hub):
    put = exchange(hub.http, b"PUT /xiaozhi/ota/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    assert put.status == 405 and "POST" in put.headers["allow"]
    activate = Answer(exchange_get(hub, "/xiaozhi/ota/activate"))
    assert activate.status == 405
    assert b"POST" in put.body and b"POST" in activate.body
    for path in ("/xiaozhi/ota", "/xiaozhi/ota/"):
        assert Answer(exchange_get(hub, path)).status == 200
    stranger = Device(hub)
    assert stranger.activate().status == 410


def test_a_server_without_xiaozhi_says_so(home):
    server = home(settings={"xiaozhi": "enabled = false"}).start()
    answer = Device(server).check()
    assert answer.status == 404 and b"xiaozhi.enabled" in answer.body
    assert "xiaozhi.enabled" in server.get("/xiaozhi/ota/")[1]


# --- people and browsers -----------------------------------------------------------------------------------------------

def test_the_page_says_in_both_languages_what_devices_are_told(hub):
    english = exchange_get(hub, "/xiaozhi/ota/", "Accept: text/html\r\n").decode()
    assert "<html lang=\"en\"" in english and "device activate" in english
    assert f"{hub.host}:{hub.mqtt_port}" in english
    chinese = exchange_get(hub, "/xiaozhi/ota/", "Accept: text/html\r\nAccept-Language: zh-CN\r\n").decode()
    assert "激活码" in chinese and f"{hub.host}:{hub.mqtt_port}" in chinese
    plain = exchange_get(hub, "/xiaozhi/ota").decode()
    assert "<p>" not in plain


def test_pages_of_other_servers_may_check_from_a_browser(hub):
    preflight = exchange(hub.http, b"OPTIONS /xiaozhi/ota/ HTTP/1.1\r\nHost: x\r\nOrigin: http://192.168.1.5:8006\r\n"
                                   b"Access-Control-Request-Method: POST\r\nConnection: close\r\n\r\n")
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "POST" in preflight.headers["access-control-allow-methods"]
    for name in ("client-id", "content-type", "device-id", "authorization"):
        assert name in preflight.headers["access-control-allow-headers"]
    device = Device(hub, headers={"Origin": "http://192.168.1.5:8006"})
    assert device.check().headers["access-control-allow-origin"] == "*"


def test_on_an_open_server_devices_come_in_at_once_and_strange_pages_learn_nothing(home):
    server = home(settings={"xiaozhi": 'activation = "open"', "advertise": 'xiaozhi = "mqtt"'}, host=own_address()).start()
    device = Device(server, headers={"Origin": "https://evil.example"})
    answer = device.check()
    reply = sound(answer)
    assert "activation" not in reply and "mqtt" in reply
    assert "access-control-allow-origin" not in answer.headers
    home_page = Device(server, headers={"Origin": "http://192.168.1.5:8006"}).check()
    assert home_page.headers["access-control-allow-origin"] == "*"
    # On a busy machine the door may hear of it a moment later; devices try again.
    assert eventually(lambda: log_in(server, *credentials(reply)) == 0)
    # The address is taken now, on an open server, too.
    thief = Device(server, mac=device.mac)
    assert "mqtt" not in sound(thief.check())
    assert len([line for line in server.log_text().splitlines() if "checked in" in line]) == 2
    for _ in range(5):
        sound(device.check())
    assert len([line for line in server.log_text().splitlines() if "checked in" in line]) == 2, "one line per change"
