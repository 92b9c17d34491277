"""MQTT over WebSocket (section 6 of the specification, RFC 6455), frame by frame."""

import base64
import hashlib
import os
import socket
import struct
import time

import pytest

import wire
from wire import V5

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


@pytest.fixture(autouse=True)
def only_safeport(server):
    if server.name != "safeport":
        pytest.skip("safeport's own listener")


def frame(opcode, payload=b"", fin=True, masked=True, reserved=0, length=None):
    """One client frame; the keyword arguments break it."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    size = len(payload) if length is None else length
    bit = 0x80 if masked else 0
    if size < 126:
        head = bytes([first, bit | size])
    elif size < 65536:
        head = bytes([first, bit | 126]) + struct.pack(">H", size)
    else:
        head = bytes([first, bit | 127]) + struct.pack(">Q", size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


class WebSocket:
    """A raw connection: HTTP upgrade, then frames."""

    def __init__(self, server, path="/mqtt", protocol="mqtt", upgrade=True, early=b"", **headers):
        self.sock = socket.create_connection(server.http, 5)
        self.key = base64.b64encode(os.urandom(16)).decode()
        lines = {"Host": "x", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": self.key,
                 "Sec-WebSocket-Version": "13", "Sec-WebSocket-Protocol": protocol}
        if not upgrade:
            del lines["Upgrade"], lines["Connection"]
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        request = f"GET {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items() if v is not None) + "\r\n"
        self.sock.sendall(request.encode() + early)
        self.buffer = b""
        while b"\r\n\r\n" not in self.buffer:
            got = self.sock.recv(4096)
            if not got:
                break
            self.buffer += got
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        status, *fields = head.decode().split("\r\n")
        self.status = int(status.split()[1]) if status else 0
        self.headers = {k.strip().lower(): v.strip() for k, _, v in (field.partition(":") for field in fields)}

    def send(self, *frames):
        self.sock.sendall(b"".join(frames))
        return self

    def take(self, count):
        while len(self.buffer) < count:
            got = self.sock.recv(65536)
            if not got:
                raise wire.Closed("end of stream")
            self.buffer += got
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def receive(self, timeout=5.0):
        self.sock.settimeout(timeout)
        first, second = self.take(2)
        assert not second & 0x80, "a server must not mask"
        size = second & 0x7F
        if size == 126:
            size, = struct.unpack(">H", self.take(2))
        elif size == 127:
            size, = struct.unpack(">Q", self.take(8))
        assert first & 0x70 == 0, "reserved bits"
        return first & 0x0F, self.take(size)

    def mqtt(self, *packets):
        return self.send(frame(BINARY, b"".join(packets)))

    def packet(self):
        opcode, payload = self.receive()
        assert opcode == BINARY, (opcode, payload)
        return wire.parse(V5, payload[0], payload[2:]) if payload[1] < 128 else payload

    def ended(self, timeout=4.0):
        """Reads until the end; the close code, if one was sent."""
        code, deadline = None, time.monotonic() + timeout
        try:
            while time.monotonic() < deadline:
                opcode, payload = self.receive(max(0.01, deadline - time.monotonic()))
                if opcode == CLOSE:
                    code = struct.unpack(">H", payload[:2])[0] if payload else 1005
        except (wire.Closed, ConnectionResetError):
            return code
        except TimeoutError:
            pass
        raise AssertionError("the server keeps the connection open")


@pytest.fixture
def web(server):
    opened = []

    def connect(*args, hello=True, **kwargs):
        made = WebSocket(server, *args, **kwargs)
        opened.append(made)
        if hello:
            assert made.status == 101, (made.status, made.headers)
            made.mqtt(wire.connect(V5, ""))
            assert made.packet().code == 0
        return made

    yield connect
    for each in opened:
        each.sock.close()


def test_the_upgrade_is_answered_as_rfc_6455_says(web):
    """[MQTT-6.0.0-4]: the subprotocol is `mqtt`."""
    one = web()
    accept = base64.b64encode(hashlib.sha1((one.key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
    assert one.headers["sec-websocket-accept"] == accept
    assert one.headers["sec-websocket-protocol"] == "mqtt"
    assert one.headers["upgrade"].lower() == "websocket" and "upgrade" in one.headers["connection"].lower()


@pytest.mark.parametrize("offered, chosen", [("mqtt", "mqtt"), ("mqttv3.1, mqtt", "mqtt"), ("MQTT", None), ("mqttv3.1", "mqttv3.1")])
def test_subprotocols(web, offered, chosen):
    """Old clients offer `mqttv3.1`; it is welcome or refused, never renamed."""
    one = web(protocol=offered, hello=False)
    if one.status == 101:
        got = one.headers.get("sec-websocket-protocol")
        assert got in [o.strip() for o in offered.split(",")] + [None] and (chosen is None or got in (chosen, None))
    else:
        assert chosen != "mqtt" and 400 <= one.status < 500


@pytest.mark.parametrize("what, options, statuses", [
    ("no upgrade", dict(upgrade=False), {400, 426}),
    ("another path", dict(path="/nothing"), {404, 400}),
    ("version 8", dict(Sec_WebSocket_Version="8"), {400, 426}),
    ("no key", dict(Sec_WebSocket_Key=None), {400}),
    ("a key that is not 16 bytes", dict(Sec_WebSocket_Key="abc"), {400}),
    ("no MQTT among the subprotocols", dict(protocol="chat"), {400, 403, 406, 426}),
])
def test_a_bad_upgrade_is_refused_with_an_http_status(web, what, options, statuses):
    assert web(hello=False, **options).status in statuses


def test_mqtt_bytes_behind_the_upgrade_request_are_not_lost(web):
    """A client may send its first frame before it has read the answer."""
    one = web(hello=False, early=frame(BINARY, wire.connect(V5, "")))
    assert one.status == 101 and one.packet().kind == wire.CONNACK


def test_packets_need_not_align_with_frames(web, topic):
    """[MQTT-6.0.0-2]"""
    one = web()
    stream = wire.subscribe(V5, 1, [(topic, 0)]) + wire.publish(V5, topic, b"x" * 50) + wire.PING
    for byte in stream[:20]:
        one.send(frame(BINARY, bytes([byte])))
    one.mqtt(stream[20:])
    kinds, rest = [], b""
    while len(kinds) < 3:
        rest += one.receive()[1]
        while len(rest) >= 2 and len(rest) >= 2 + rest[1]:  # several packets may share a frame
            kinds.append(rest[0] >> 4)
            rest = rest[2 + rest[1]:]
    assert kinds[0] == wire.SUBACK and sorted(kinds[1:]) == [wire.PUBLISH, wire.PINGRESP]


def test_frames_may_be_fragmented_and_empty_with_pings_between(web):
    one = web()
    one.send(frame(BINARY, wire.PING[:1], fin=False), frame(PING, b"hi"), frame(CONTINUATION, b"", fin=False),
             frame(CONTINUATION, wire.PING[1:]), frame(BINARY, b""))
    answers = sorted([one.receive(), one.receive()])
    assert answers == [(BINARY, b"\xd0\x00"), (PONG, b"hi")]


def test_frames_may_arrive_byte_by_byte(web):
    one = web()
    for byte in frame(BINARY, wire.PING):
        one.send(bytes([byte]))
    assert one.receive() == (BINARY, b"\xd0\x00")


BAD_FRAMES = {
    "a text frame [MQTT-6.0.0-1]": (frame(TEXT, b"hello"), {1003, 1002}),
    "an unmasked frame": (frame(BINARY, wire.PING, masked=False), {1002}),
    "a reserved opcode": (frame(3, b"x"), {1002}),
    "a reserved control opcode": (frame(11, b"x"), {1002}),
    "a reserved bit": (frame(BINARY, wire.PING, reserved=4), {1002}),
    "a fragmented ping": (frame(PING, b"x", fin=False), {1002}),
    "a ping of 126 bytes": (frame(PING, b"x" * 126), {1002}),
    "a continuation of nothing": (frame(CONTINUATION, b"x"), {1002}),
    "a message within a message": (frame(BINARY, b"\xc0", fin=False) + frame(BINARY, b"\0"), {1002}),
    "a frame of 2^62 bytes": (frame(BINARY, b"", length=1 << 62), {1002, 1009}),
    "a frame with the top bit of its length": (frame(BINARY, b"", length=1 << 63), {1002, 1009}),
    "a frame of 1 GiB": (frame(BINARY, b"", length=1 << 30), {1009, 1002}),
    "a close frame of one byte": (frame(CLOSE, b"x"), {1002}),
}


@pytest.mark.parametrize("what", list(BAD_FRAMES))
def test_a_bad_frame_ends_the_connection(web, what):
    sent, codes = BAD_FRAMES[what]
    code = web().send(sent).ended()
    assert code in codes | {None}, code


def test_a_close_frame_is_answered_and_publishes_the_will(web, dial, topic):
    """Closing the WebSocket without an MQTT DISCONNECT is a lost connection."""
    watcher = dial()
    watcher.subscribe(topic)
    one = web(hello=False)
    one.mqtt(wire.connect(V5, "", will=wire.Will(topic)))
    assert one.packet().code == 0
    assert one.send(frame(CLOSE, struct.pack(">H", 1000))).ended() == 1000
    assert watcher.message().payload == b"gone"


def test_an_mqtt_error_is_told_before_the_websocket_closes(web):
    one = web()
    one.mqtt(wire.connect(V5, "again"))
    got = one.packet()
    assert (got.kind, got.code) == (wire.DISCONNECT, 0x82)
    one.ended()


def test_mqtt_disconnect_over_websocket_ends_both(web):
    one = web()
    one.mqtt(wire.disconnect(V5))
    one.ended()


@pytest.mark.slow
def test_a_websocket_without_connect_is_closed_after_the_connect_timeout(web):
    one = web(hello=False)
    began = time.monotonic()
    one.ended(16)
    assert 5 < time.monotonic() - began < 14


def test_keep_alive_counts_mqtt_packets_not_websocket_pings(web):
    one = web(hello=False)
    one.mqtt(wire.connect(V5, "", keep_alive=1))
    assert one.packet().code == 0
    ended = time.monotonic() + 5
    with pytest.raises((wire.Closed, ConnectionError, BrokenPipeError)):
        while time.monotonic() < ended:
            one.send(frame(PING))
            opcode, payload = one.receive()
            if opcode == BINARY:
                assert payload[0] == 0xE0 and payload[2] == 0x8D
        raise AssertionError("pings of the WebSocket kept an MQTT client alive that was silent")


def test_many_requests_of_a_scanner_leave_the_http_port_well(server):
    for junk in (b"\0" * 100, b"GET " + b"/a" * 20000 + b" HTTP/1.1\r\n\r\n", b"GET /mqtt HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
                 b"POST /mqtt HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00"):
        with socket.create_connection(server.http, 5) as sock:
            sock.sendall(junk)
            sock.settimeout(0.3)
            try:
                while sock.recv(4096):
                    pass
            except (TimeoutError, ConnectionError):
                pass
    assert server.get("/healthz")[0] == 200
