"""Many clients on one selector, each with the memory that the specification asks of a client: what it has not had
acknowledged it sends again with DUP, and what it has received at QoS 2 it knows by its packet identifier.

They outlive the server: `Crowd.cut` reads what a dead server had still said, and `Crowd.join` connects them again.
"""

from __future__ import annotations

import selectors
import socket
import time

import wire
from wire import CONNACK, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, UNSUBACK, V5

CLOSED = (ConnectionResetError, BrokenPipeError, ConnectionRefusedError, ConnectionAbortedError)


class Member:
    """A client. What it hears goes to `hear(member, topic, payload, qos, dup, retain)`, what is acknowledged to
    `acked(member, entry)`; entries are what `publish` made."""

    def __init__(self, name, version=V5, *, clean=False, will=None, receive_maximum=None, patient=0):
        self.name, self.version, self.clean, self.will = name, version, clean, will
        self.receive_maximum = receive_maximum
        self.patient = patient  # acknowledges only so many at once
        self.hear = self.acked = lambda *_: None
        self.refused = None
        self.has_session = self.maybe_session = False
        self.crowd = self.sock = None
        self.up = False
        self.open: dict[int, list] = {}  # packet id -> [topic, payload, qos, retain, released, sends, mark]
        self.unreleased: set[int] = set()
        self.requests: dict[int, object] = {}
        self.answered = lambda *_: None
        self.next_pid = 0

    # connecting

    def join(self, crowd, address):
        self.crowd = crowd
        self.sock = socket.create_connection(address, 5)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.inbox, self.outbox, self.held = b"", bytearray(), []
        self.up, self.writing = False, False
        props = {"session_expiry": 0 if self.clean else 3600} if self.version == V5 else {}
        if self.version == V5 and self.receive_maximum:
            props["receive_maximum"] = self.receive_maximum
        crowd.selector.register(self.sock, selectors.EVENT_READ, self)
        self.maybe_session = not self.clean
        self.send(wire.connect(self.version, self.name, self.clean, 300, self.will, props=props))

    def leave(self):
        """Without a word."""
        if self.sock is not None:
            self.crowd.selector.unregister(self.sock)
            self.sock.close()
            self.sock, self.up = None, False

    def _connected(self, present, code):
        assert code == 0, f"{self.name}: CONNACK {code:#x}"
        if self.clean:
            assert not present
            self.open.clear()
            self.unreleased.clear()
        elif self.has_session:
            assert present, f"{self.name}: the session that was acknowledged is gone"
        elif not present:
            self.open.clear()
            self.unreleased.clear()
        self.has_session = not self.clean
        self.up = True
        for pid, entry in self.open.items():  # in the order they were first sent [MQTT-4.4.0-1, MQTT-4.6.0-1]
            if entry[4]:
                self.send(wire.ack(PUBREL, pid))
            else:
                self._send_publish(pid, entry, True)

    # sending

    def pid(self):
        while True:
            self.next_pid = self.next_pid % 65535 + 1
            if self.next_pid not in self.open and self.next_pid not in self.requests:
                return self.next_pid

    def publish(self, topic, payload, qos=1, retain=False, mark=None):
        pid = self.pid()
        entry = self.open[pid] = [topic, payload, qos, retain, False, 0, mark]
        self._send_publish(pid, entry, False)
        return entry

    def _send_publish(self, pid, entry, dup):
        entry[5] += 1
        topic, payload, qos, retain = entry[:4]
        self.send(wire.publish(self.version, topic, payload, qos, pid, retain, dup))

    def request(self, make, filters, mark):
        """`wire.subscribe` or `wire.unsubscribe`; `answered(member, mark, codes)` when it is acknowledged."""
        pid = self.pid()
        self.requests[pid] = mark
        self.send(make(self.version, pid, filters))

    def send(self, data):
        if self.sock is None or self.crowd.is_cut:
            return
        if not self.outbox:
            try:
                done = self.sock.send(data)
            except BlockingIOError:
                done = 0
            except CLOSED:
                return
            if done == len(data):
                return
            data = data[done:]
        self.outbox += data
        if not self.writing:
            self.writing = True
            self.crowd.selector.modify(self.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, self)

    def drain(self):
        try:
            done = self.sock.send(self.outbox)
        except BlockingIOError:
            return
        except CLOSED:
            done = len(self.outbox)
        del self.outbox[:done]
        if not self.outbox:
            self.writing = False
            self.crowd.selector.modify(self.sock, selectors.EVENT_READ, self)

    def answer(self, data):
        if self.patient:
            self.held.append(data)
            if len(self.held) < self.patient:
                return
            data, self.held = b"".join(self.held), []
        self.send(data)

    def hurry(self):
        if self.sock is not None and self.held:
            data, self.held = b"".join(self.held), []
            self.send(data)

    # receiving

    def read(self):
        """False at the end of the stream."""
        try:
            got = self.sock.recv(1 << 16)
        except BlockingIOError:
            return True
        except CLOSED:
            return False
        if not got:
            return False
        data = self.inbox + got if self.inbox else got
        at, size = 0, len(data)
        while size - at >= 2:
            length, start, shift = data[at + 1] & 0x7F, at + 2, 7
            if data[at + 1] & 0x80:
                more = 1
                while more:
                    if start >= size:
                        break
                    length |= (data[start] & 0x7F) << shift
                    more, shift, start = data[start] & 0x80, shift + 7, start + 1
                if more:
                    break
            if start + length > size:
                break
            self.packet(data[at], data, start, start + length)
            at = start + length
            if self.sock is None:
                return True
        self.inbox = data[at:]
        return True

    def packet(self, first, data, at, end):
        kind = first >> 4
        if kind == PUBLISH:
            after = at + 2 + (data[at] << 8 | data[at + 1])
            topic, qos = data[at + 2:after].decode(), first >> 1 & 3
            pid = 0
            if qos:
                pid = data[after] << 8 | data[after + 1]
                after += 2
            if self.version == V5:
                assert data[after] < 0x80
                after += 1 + data[after]
            if qos == 2:
                new = pid not in self.unreleased
                self.unreleased.add(pid)
                if new:
                    self.hear(self, topic, data[after:end], qos, bool(first & 8), bool(first & 1))
                self.answer(wire.ack(PUBREC, pid))
                return
            self.hear(self, topic, data[after:end], qos, bool(first & 8), bool(first & 1))
            if qos:
                self.answer(wire.ack(PUBACK, pid))
            return
        if kind == CONNACK:
            return self._connected(bool(data[at] & 1), data[at + 1])
        pid = data[at] << 8 | data[at + 1] if end - at >= 2 else 0
        code = data[at + 2] if end - at > 2 else 0
        if kind in (PUBACK, PUBREC, PUBCOMP):
            entry = self.open.get(pid)
            if entry is None:
                # PUBREC for something unknown would need an answer; nothing unknown is open here.
                raise AssertionError(f"{self.name}: {wire.NAMES[kind]} for {pid}, which is not open")
            if code >= 0x80 and not (kind == PUBCOMP and code == 0x92):
                del self.open[pid]
                if self.refused is None:
                    raise AssertionError(f"{self.name}: {wire.NAMES[kind]} {code:#x} for {entry}")
                self.refused(self, entry, code)
                return
            if kind == PUBREC:
                first_time, entry[4] = not entry[4], True
                self.send(wire.ack(PUBREL, pid))
                if first_time:
                    self.acked(self, entry)
            elif kind == PUBCOMP:
                assert entry[2] == 2 and entry[4]
                del self.open[pid]
                self.crowd.completed(self)
            else:
                assert entry[2] == 1
                del self.open[pid]
                self.acked(self, entry)
                self.crowd.completed(self)
        elif kind == PUBREL:
            self.unreleased.discard(pid)
            self.answer(wire.ack(PUBCOMP, pid))
        elif kind in (SUBACK, UNSUBACK):
            mark = self.requests.pop(pid)
            props = 1 + data[at + 2] if self.version == V5 else 0
            self.answered(self, mark, list(data[at + 2 + props:end]))


class Crowd:
    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.completed = lambda _: None
        self.stopped = self.is_cut = False

    def members(self) -> list[Member]:
        return [key.data for key in self.selector.get_map().values()]

    def run(self, until=lambda: False, seconds=10.0):
        """Turns until `until()` is true (then True), `stopped` is set, or the time is over (then False)."""
        deadline = time.monotonic() + seconds
        while True:
            if self.stopped or until():
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            events = self.selector.select(min(left, 0.02))
            if not events:
                for member in self.members():
                    member.hurry()
            for key, mask in events:
                member = key.data
                if mask & selectors.EVENT_WRITE and member.sock is not None:
                    member.drain()
                if mask & selectors.EVENT_READ and member.sock is not None and not member.read():
                    raise AssertionError(f"{member.name}: the server hung up")
                if self.stopped:
                    return True

    def cut(self):
        """The server is dead: what it had said is read, then every connection is over."""
        self.is_cut = True
        for member in self.members():
            sock = member.sock
            sock.setblocking(True)
            sock.settimeout(5)
            while member.sock is not None and member.read():
                pass
            if member.sock is not None:
                self.selector.unregister(sock)
                sock.close()
                member.sock, member.up = None, False
            member.requests.clear()
        self.is_cut = False
