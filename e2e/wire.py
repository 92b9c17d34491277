"""A small MQTT client on a raw socket, for tests that must control every byte.

It is written from the OASIS specifications of MQTT 3.1.1 and 5.0 and shares no
code with the server, so that the two can disagree. Used by every test module
that needs what a polite client library refuses to do.
"""

from __future__ import annotations

import dataclasses
import socket
import ssl
import struct
import time

V31, V311, V5 = 3, 4, 5

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = range(8, 16)

NAMES = dict(enumerate(
    "RESERVED CONNECT CONNACK PUBLISH PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE SUBACK "
    "UNSUBSCRIBE UNSUBACK PINGREQ PINGRESP DISCONNECT AUTH".split()))

# Property identifiers and the shape of their values (MQTT 5, section 2.2.2.2).
PROPERTIES = {
    "payload_format": (0x01, "byte"),
    "message_expiry": (0x02, "u32"),
    "content_type": (0x03, "text"),
    "response_topic": (0x08, "text"),
    "correlation_data": (0x09, "binary"),
    "subscription_id": (0x0B, "varint"),
    "session_expiry": (0x11, "u32"),
    "assigned_client_id": (0x12, "text"),
    "server_keep_alive": (0x13, "u16"),
    "auth_method": (0x15, "text"),
    "auth_data": (0x16, "binary"),
    "request_problem_info": (0x17, "byte"),
    "will_delay": (0x18, "u32"),
    "request_response_info": (0x19, "byte"),
    "response_info": (0x1A, "text"),
    "server_reference": (0x1C, "text"),
    "reason_string": (0x1F, "text"),
    "receive_maximum": (0x21, "u16"),
    "topic_alias_maximum": (0x22, "u16"),
    "topic_alias": (0x23, "u16"),
    "maximum_qos": (0x24, "byte"),
    "retain_available": (0x25, "byte"),
    "user": (0x26, "pair"),
    "maximum_packet_size": (0x27, "u32"),
    "wildcard_available": (0x28, "byte"),
    "subscription_ids_available": (0x29, "byte"),
    "shared_available": (0x2A, "byte"),
}
BY_ID = {number: (name, shape) for name, (number, shape) in PROPERTIES.items()}
REPEATABLE = {"user", "subscription_id"}


class Closed(Exception):
    """The server ended the connection (orderly or by reset)."""


class Bad(Exception):
    """The server sent bytes that are not MQTT."""


def varint(number: int) -> bytes:
    out = bytearray()
    while True:
        number, digit = divmod(number, 128)
        out.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(out)


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack(">H", len(raw)) + raw


def u16(value: int) -> bytes:
    return struct.pack(">H", value)


def packet(first: int, *parts: bytes) -> bytes:
    """Fixed header with an honest remaining length, then the parts."""
    body = b"".join(parts)
    return bytes([first]) + varint(len(body)) + body


def one_property(name: str, value) -> bytes:
    number, shape = PROPERTIES[name]
    head = varint(number)
    match shape:
        case "byte":
            return head + bytes([value])
        case "u16":
            return head + struct.pack(">H", value)
        case "u32":
            return head + struct.pack(">I", value)
        case "varint":
            return head + varint(value)
        case "text" | "binary":
            return head + text(value)
        case "pair":
            return head + text(value[0]) + text(value[1])
    raise AssertionError(shape)


def properties(items=()) -> bytes:
    """Length-prefixed properties from a dict or from (name, value) pairs (repeats allowed)."""
    pairs = items.items() if isinstance(items, dict) else items
    flat = []
    for name, value in pairs:
        if name in REPEATABLE and isinstance(value, list):
            flat += [one_property(name, each) for each in value]
        else:
            flat.append(one_property(name, value))
    body = b"".join(flat)
    return varint(len(body)) + body


def raw_properties(body: bytes) -> bytes:
    return varint(len(body)) + body


@dataclasses.dataclass
class Will:
    topic: str
    payload: bytes = b"gone"
    qos: int = 0
    retain: bool = False
    props: dict = dataclasses.field(default_factory=dict)


def connect(version=V5, client_id: str | bytes = "", clean=True, keep_alive=60, will: Will | None = None,
            username=None, password=None, props=(), *, name=None, level=None, flags=None,
            raw_props: bytes | None = None, tail=b"") -> bytes:
    """CONNECT; the keyword-only arguments replace a correct part by a wrong one."""
    bits = 0x02 if clean else 0
    payload = text(client_id)
    if will:
        bits |= 0x04 | will.qos << 3 | (0x20 if will.retain else 0)
        if version == V5:
            payload += properties(will.props)
        payload += text(will.topic) + text(will.payload)
    if username is not None:
        bits |= 0x80
        payload += text(username)
    if password is not None:
        bits |= 0x40
        payload += text(password)
    bits = bits if flags is None else flags
    name = name if name is not None else ("MQIsdp" if version == V31 else "MQTT")
    head = text(name) + bytes([version if level is None else level, bits]) + u16(keep_alive)
    if version == V5:
        head += properties(props) if raw_props is None else raw_props
    return packet(0x10, head, payload, tail)


def publish(version, topic: str | bytes, payload: bytes = b"", qos=0, pid=None, retain=False, dup=False,
            props=(), *, raw_props: bytes | None = None) -> bytes:
    first = 0x30 | (0x08 if dup else 0) | qos << 1 | (1 if retain else 0)
    parts = [text(topic)]
    if pid is not None:
        parts.append(u16(pid))
    if version == V5:
        parts.append(properties(props) if raw_props is None else raw_props)
    return packet(first, *parts, payload)


def subscribe(version, pid: int, filters, props=(), *, raw_props: bytes | None = None) -> bytes:
    """`filters`: pairs of filter and option byte."""
    head = u16(pid)
    if version == V5:
        head += properties(props) if raw_props is None else raw_props
    return packet(0x82, head, *(text(name) + bytes([options]) for name, options in filters))


def unsubscribe(version, pid: int, filters, props=()) -> bytes:
    head = u16(pid) + (properties(props) if version == V5 else b"")
    return packet(0xA2, head, *(text(name) for name in filters))


def ack(kind: int, pid: int, code: int | None = None, props=None) -> bytes:
    """PUBACK, PUBREC, PUBREL or PUBCOMP; without `code` the short form that both versions share."""
    first = kind << 4 | (2 if kind == PUBREL else 0)
    tail = b"" if code is None else bytes([code])
    if props is not None:
        tail += properties(props)
    return packet(first, u16(pid), tail)


def disconnect(version, code: int | None = None, props=None) -> bytes:
    if version != V5 or code is None:
        return packet(0xE0)
    return packet(0xE0, bytes([code]), b"" if props is None else properties(props))


def auth(code: int, props=()) -> bytes:
    return packet(0xF0, bytes([code]), properties(props))


PING = packet(0xC0)


@dataclasses.dataclass
class Packet:
    """One packet from the server; only the fields of its kind are set."""
    kind: int
    flags: int
    size: int
    pid: int | None = None
    code: int | None = None
    codes: list | None = None
    session_present: bool | None = None
    topic: str | None = None
    payload: bytes | None = None
    qos: int | None = None
    retain: bool | None = None
    dup: bool | None = None
    props: dict = dataclasses.field(default_factory=dict)

    def __str__(self):
        shown = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)
                 if f.name not in ("kind", "flags", "size") and getattr(self, f.name) not in (None, {})}
        return f"{NAMES[self.kind]}({', '.join(f'{k}={v!r}' for k, v in shown.items())})"


class Reader:
    def __init__(self, body: bytes):
        self.body, self.at = body, 0

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.body):
            raise Bad(f"a field of {count} bytes runs past the end of the packet: {self.body.hex()}")
        self.at += count
        return self.body[self.at - count:self.at]

    def u8(self):
        return self.take(1)[0]

    def u16(self):
        return struct.unpack(">H", self.take(2))[0]

    def u32(self):
        return struct.unpack(">I", self.take(4))[0]

    def binary(self):
        return self.take(self.u16())

    def text(self):
        return self.binary().decode("utf-8", "strict")

    def varint(self):
        value = 0
        for place in range(4):
            byte = self.u8()
            value |= (byte & 0x7F) << 7 * place
            if not byte & 0x80:
                return value
        raise Bad("variable byte integer of more than four bytes")

    @property
    def left(self):
        return len(self.body) - self.at

    def rest(self):
        return self.take(self.left)

    def properties(self) -> dict:
        end_length = self.varint()
        end = self.at + end_length
        found: dict = {}
        while self.at < end:
            number = self.varint()
            if number not in BY_ID:
                raise Bad(f"unknown property {number:#x}")
            name, shape = BY_ID[number]
            value = {"byte": self.u8, "u16": self.u16, "u32": self.u32, "varint": self.varint, "text": self.text,
                     "binary": self.binary, "pair": lambda: (self.text(), self.text())}[shape]()
            if name in REPEATABLE:
                found.setdefault(name, []).append(value)
            elif name in found:
                raise Bad(f"property {name} twice")
            else:
                found[name] = value
        if self.at != end:
            raise Bad("properties run past their length")
        return found


def parse(version: int, first: int, body: bytes) -> Packet:
    """Decodes one packet from the server, strictly."""
    kind, flags = first >> 4, first & 0x0F
    found = Packet(kind, flags, 1 + len(varint(len(body))) + len(body))
    read = Reader(body)
    if kind != PUBLISH and flags != (2 if kind == PUBREL else 0):
        raise Bad(f"{NAMES[kind]} with flags {flags:#x}")
    if kind == CONNACK:
        present = read.u8()
        if present > 1:
            raise Bad("reserved CONNACK flags set")
        found.session_present, found.code = bool(present), read.u8()
        if version == V5:
            found.props = read.properties()
    elif kind == PUBLISH:
        found.dup, found.qos, found.retain = bool(flags & 8), flags >> 1 & 3, bool(flags & 1)
        found.topic = read.text()
        if found.qos == 3:
            raise Bad("PUBLISH with QoS 3")
        if found.qos:
            found.pid = read.u16()
            if not found.pid:
                raise Bad("packet identifier 0")
        if version == V5:
            found.props = read.properties()
        found.payload = read.rest()
    elif kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
        found.pid, found.code = read.u16(), 0
        if version == V5 and read.left:
            found.code = read.u8()
            if read.left:
                found.props = read.properties()
    elif kind in (SUBACK, UNSUBACK):
        found.pid = read.u16()
        if version == V5:
            found.props = read.properties()
        found.codes = list(read.rest())
    elif kind == PINGRESP:
        pass
    elif kind in (DISCONNECT, AUTH) and version == V5:
        found.code = 0
        if read.left:
            found.code = read.u8()
            if read.left:
                found.props = read.properties()
    else:
        raise Bad(f"a server must not send {NAMES[kind]} to a version {version} client")
    if read.left:
        raise Bad(f"{read.left} bytes too many in {NAMES[kind]}")
    return found


class Client:
    """A socket that speaks MQTT one packet at a time. Nothing is answered automatically
    except by `messages`, so a test decides what is acknowledged and when."""

    def __init__(self, address, version=V5, timeout=5.0, tls: ssl.SSLContext | None = None, sock=None):
        self.version, self.timeout = version, timeout
        self.sock = sock or socket.create_connection(address, timeout=timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")
        self.buffer = b""
        self.next_pid = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """Drops the connection as a power cut with a waking router does: RST, no DISCONNECT."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def send(self, *parts: bytes):
        try:
            self.sock.sendall(b"".join(parts))
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed(str(error)) from error
        return self

    def fill(self, deadline: float):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("nothing from the server in time")
        self.sock.settimeout(left)
        try:
            got = self.sock.recv(65536)
        except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError) as error:
            raise Closed(str(error)) from error
        except (socket.timeout, ssl.SSLWantReadError) as error:
            raise TimeoutError("nothing from the server in time") from error
        if not got:
            raise Closed("end of stream")
        self.buffer += got

    def receive(self, timeout: float | None = None) -> Packet:
        """The next packet; TimeoutError or Closed otherwise."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            read = Reader(self.buffer)
            try:
                first, length = read.u8(), read.varint()
                whole = read.left >= length
            except Bad:
                if len(self.buffer) > 4:
                    raise
                whole = False
            if whole:
                body = read.take(length)
                self.buffer = self.buffer[read.at:]
                return parse(self.version, first, body)
            self.fill(deadline)

    def expect(self, kind: int, timeout: float | None = None) -> Packet:
        got = self.receive(timeout)
        assert got.kind == kind, f"wanted {NAMES[kind]}, got {got}"
        return got

    def nothing(self, seconds=0.3):
        """Fails when the server says anything (or hangs up) within `seconds`."""
        try:
            got = self.receive(seconds)
        except TimeoutError:
            return
        raise AssertionError(f"wanted silence, got {got}")

    def ended(self, timeout: float | None = None) -> list[Packet]:
        """Waits for the server to close; returns what it said before."""
        said, deadline = [], time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            try:
                said.append(self.receive(max(0.001, deadline - time.monotonic())))
            except Closed:
                return said
            except TimeoutError:
                raise AssertionError(f"the server kept the connection open; it said {[str(p) for p in said]}") from None

    def alive(self):
        """A PINGREQ is answered, with nothing before it: the connection lives and is idle."""
        self.send(PING).expect(PINGRESP)

    def pid(self) -> int:
        self.next_pid = self.next_pid % 65535 + 1
        return self.next_pid

    def hello(self, client_id="", **kwargs) -> Packet:
        """CONNECT and the CONNACK to it, whatever its code."""
        return self.send(connect(self.version, client_id, **kwargs)).expect(CONNACK)

    def subscribe(self, *filters, qos=0, options=0, props=()) -> list:
        """SUBSCRIBE; the codes of the SUBACK. Retained messages may follow it, never precede it here."""
        pid = self.pid()
        self.send(subscribe(self.version, pid, [(f, qos | options) for f in filters], props))
        got = self.expect(SUBACK)
        assert got.pid == pid
        return got.codes

    def unsubscribe(self, *filters) -> list:
        pid = self.pid()
        self.send(unsubscribe(self.version, pid, filters))
        got = self.expect(UNSUBACK)
        assert got.pid == pid
        return got.codes

    def publish(self, topic, payload=b"", qos=0, retain=False, props=()) -> Packet | None:
        """PUBLISH and its whole acknowledgement; the first acknowledgement is returned."""
        payload = payload.encode() if isinstance(payload, str) else payload
        pid = self.pid() if qos else None
        self.send(publish(self.version, topic, payload, qos, pid, retain, props=props))
        if qos == 1:
            got = self.expect(PUBACK)
            assert got.pid == pid
            return got
        if qos == 2:
            got = self.expect(PUBREC)
            assert got.pid == pid
            if got.code < 0x80:
                done = self.send(ack(PUBREL, pid)).expect(PUBCOMP)
                assert (done.pid, done.code) == (pid, 0)
            return got
        return None

    def message(self, timeout: float | None = None) -> Packet:
        """The next PUBLISH, acknowledged in full."""
        got = self.expect(PUBLISH, timeout)
        if got.qos == 1:
            self.send(ack(PUBACK, got.pid))
        elif got.qos == 2:
            self.send(ack(PUBREC, got.pid))
            assert self.expect(PUBREL).pid == got.pid
            self.send(ack(PUBCOMP, got.pid))
        return got

    def messages(self, count: int, timeout=5.0) -> list[Packet]:
        """`count` messages, acknowledged in full, other packets of their exchanges handled in between."""
        got, deadline = [], time.monotonic() + timeout
        open_exchanges = set()
        while len(got) < count or open_exchanges:
            each = self.receive(max(0.001, deadline - time.monotonic()))
            if each.kind == PUBLISH:
                got.append(each)
                if each.qos == 1:
                    self.send(ack(PUBACK, each.pid))
                elif each.qos == 2:
                    open_exchanges.add(each.pid)
                    self.send(ack(PUBREC, each.pid))
            elif each.kind == PUBREL:
                open_exchanges.discard(each.pid)
                self.send(ack(PUBCOMP, each.pid))
            else:
                raise AssertionError(f"wanted messages, got {each}")
        return got

    def bye(self, code=None, props=None):
        self.send(disconnect(self.version, code, props))
        self.close()
