"""Subscribers that are away, slow, or never read: their publishers are slowed or told, nobody else notices, and the
server's memory stays bounded."""

import contextlib
import os
import socket
import time

import pytest

import wire
from conftest import eventually
from test_restart import again, back, said, subscriber, until_quiet, waiting
from wire import PING, PINGRESP, PUBACK, V311, V5

BIG = b"." * 20_000


def limits(**values):
    return {f"SAFEPORT__LIMITS__{name.upper()}": str(value) for name, value in values.items()}


def memory(server):
    """Bytes of the process in memory."""
    with open(f"/proc/{server.process.pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


def narrow(server, name, topic, version=V5, qos=1, clean=False):
    """A connected subscriber with a small receive buffer, which reads nothing more."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    sock.connect(server.mqtt)
    made = wire.Client(None, version, sock=sock)
    answer = made.hello(name, clean=clean, props={"session_expiry": 3600} if version == V5 else (), keep_alive=0)
    assert answer.code == 0
    assert made.subscribe(topic, qos=qos) == [qos]
    return made


def pour(client, topic, qos=1, most=5000, quiet=1.0, payload=BIG):
    """Publishes, one acknowledgement after the other, until none comes for `quiet` seconds: the codes."""
    codes = []
    for number in range(1, most + 1):
        client.send(wire.publish(client.version, topic, b"%d:" % number + payload, qos, number))
        try:
            codes.append(client.expect(PUBACK, quiet).code)
        except TimeoutError:
            return codes
        if codes[-1]:
            return codes
    raise AssertionError(f"{most} messages found room")


def numbers(payloads):
    return [int(payload.split(":")[0]) for payload in payloads]


@pytest.mark.parametrize("version", [V311, V5])
@pytest.mark.parametrize("limit", ["max_queued_messages", "max_queued_bytes", "max_stored_bytes"])
def test_a_full_queue_of_somebody_who_is_away_is_refused_at_once(own_server, version, limit):
    """0x97; 3.1.1 gets no PUBACK and stays connected. What was acknowledged arrives."""
    value = {"max_queued_messages": 20, "max_queued_bytes": "400KiB", "max_stored_bytes": "1MiB"}[limit]
    server = own_server(environment=limits(**{limit: value}))
    subscriber(server, "away", "mail")
    with wire.Client(server.mqtt, version) as publisher:
        publisher.hello("publisher")
        codes = pour(publisher, "mail", quiet=0.5)
        taken = codes.count(0)
        assert 20 <= taken <= 53
        assert codes[taken:] == ([0x97] if version == V5 else [])
        publisher.alive()
        assert publisher.publish("elsewhere", "x", 1).code in (0, 0x10)
    full = [line for line in said(server).splitlines() if limit in line or "limits." in line]
    assert len(full) == 1 and f"limits.{limit}" in full[0] or limit == "max_queued_bytes" and len(full) == 1, full
    again(server)
    assert numbers(waiting(server, "away")) == list(range(1, taken + 1))


@pytest.mark.parametrize("version", [V311, V5])
def test_a_publisher_is_held_back_while_a_connected_subscriber_does_not_read(own_server, version):
    """It is not answered and not read; everybody else is. It goes on when the subscriber does, and nothing is missing."""
    server = own_server(environment=limits(max_queued_messages=50, max_inflight=20, patience="60s"))
    reader = narrow(server, "reader", "mail", version)
    publisher = wire.Client(server.mqtt, version)
    publisher.hello("publisher")
    codes = pour(publisher, "mail")
    taken = len(codes)
    assert set(codes) == {0} and taken >= 70
    with wire.Client(server.mqtt, V5) as other, wire.Client(server.mqtt, V311) as listener:
        other.hello("other")
        listener.hello("listener")
        listener.subscribe("talk", qos=1)
        for number in range(50):
            began = time.monotonic()
            assert other.publish("talk", b"%d" % number, 1).code == 0
            assert listener.message().payload == b"%d" % number
            other.alive()
            assert time.monotonic() - began < 1
    publisher.send(PING)
    publisher.nothing()
    # Its socket is not read: it fills.
    publisher.sock.settimeout(1)
    with pytest.raises(TimeoutError):
        for number in range(2000):
            publisher.sock.sendall(wire.publish(version, "talk", BIG, 0))
    publisher.close()
    assert server.metric("safeport_mqtt_publishers_held_back_total") >= 1
    got = numbers(until_quiet(reader, 0.5))
    # The one that was held back may have been taken when its publisher left.
    assert got[:taken] == list(range(1, taken + 1)) and len(got) <= taken + 1
    reader.close()


def test_a_publisher_goes_on_when_the_reader_reads(own_server):
    server = own_server(environment=limits(max_queued_messages=50, max_inflight=20, patience="60s"))
    reader = narrow(server, "reader", "mail")
    with wire.Client(server.mqtt, V5) as publisher:
        publisher.hello("publisher")
        taken = len(pour(publisher, "mail"))
        publisher.send(PING)
        got = numbers(until_quiet(reader, 0.5))
        assert got == list(range(1, taken + 2))  # the one that waited, too
        assert publisher.expect(PUBACK).code == 0
        publisher.expect(PINGRESP)
        assert publisher.publish("mail", "0:", 1).code == 0
        assert reader.message().payload == b"0:"
    reader.close()


@pytest.mark.parametrize("version", [V311, V5])
def test_patience_ends(own_server, version):
    """Then 0x97, or no PUBACK; the publisher is read again. The log tells why."""
    server = own_server(environment=limits(max_queued_messages=50, patience="2s"))
    reader = narrow(server, "reader", "mail")
    with wire.Client(server.mqtt, version) as publisher:
        publisher.hello("publisher")
        began = time.monotonic()
        taken = len(pour(publisher, "mail", quiet=1))
        if version == V5:
            assert publisher.expect(PUBACK).code == 0x97
            assert 1.5 < time.monotonic() - began < 20
            publisher.alive()
        else:
            publisher.send(PING).expect(PINGRESP, 10)
            # The same once more: the log has told it.
            publisher.send(wire.publish(V311, "mail", b"x", 1, 60_000), PING).expect(PINGRESP, 10)
        lines = [line for line in said(server).splitlines() if "limits." in line and "WARN" in line]
        refused, held = ([line for line in lines if words in line] for words in ("refused", "held back"))
        assert len(refused) == len(held) == 1, "\n".join(lines)
    assert numbers(until_quiet(reader, 0.5))[:taken] == list(range(1, taken + 1))
    reader.close()


def test_two_that_publish_to_each_other_and_do_not_read_do_not_hang_for_ever(own_server):
    server = own_server(environment=limits(max_queued_messages=20, max_inflight=10, patience="100ms"))
    pair = [narrow(server, name, f"to/{name}", version) for name, version in (("a", V5), ("b", V311))]
    for client, to in zip(pair, ("to/b", "to/a")):
        client.sock.setblocking(False)
        for number in range(1, 40):
            with contextlib.suppress(BlockingIOError):
                client.sock.send(wire.publish(client.version, to, BIG, 1, number))
    with wire.Client(server.mqtt, V5) as other:
        other.hello("other")
        other.alive()
    time.sleep(0.5)
    for client in pair:
        client.sock.setblocking(True)
    # Whoever starts to read finds the server there, as long as it was not cut off in the middle of a packet.
    for client in pair:
        deadline = time.monotonic() + 15
        codes = []
        while time.monotonic() < deadline:
            try:
                got = client.receive(1)
            except TimeoutError:
                break
            if got.kind == wire.PUBLISH:
                with contextlib.suppress(OSError):
                    client.sock.settimeout(0.2)
                    client.sock.sendall(wire.ack(PUBACK, got.pid))
            elif got.kind == PUBACK:
                codes.append(got.code)
        assert codes, "nothing was ever answered"
        client.close()
    with wire.Client(server.mqtt, V5) as other:
        other.hello("other")
        other.alive()


@pytest.mark.parametrize("qos", [0, 1])
def test_memory_is_bounded_when_one_never_reads_and_another_never_stops(own_server, qos):
    server = own_server(environment=limits(patience="600s"))
    reader = narrow(server, "reader", "flood", qos=qos)
    publisher = wire.Client(server.mqtt, V5)
    publisher.hello("publisher")
    before = memory(server)
    publisher.sock.setblocking(False)
    payload, number, sent, highest = b"." * 4000, 0, 0, 0
    deadline = time.monotonic() + 2.5
    chunk = b""
    while time.monotonic() < deadline:
        if not chunk:
            number = number % 60_000 + 1
            chunk = b"".join(wire.publish(V5, "flood", payload, qos, number if qos else None) for _ in range(16 if not qos else 1))
        try:
            done = publisher.sock.send(chunk)
            sent, chunk = sent + done, chunk[done:]
        except BlockingIOError:
            time.sleep(0.002)
        with contextlib.suppress(BlockingIOError):
            publisher.sock.recv(1 << 16)
        highest = max(highest, memory(server) - before)
    assert highest < 48 << 20, f"{highest >> 20} MiB"
    if qos == 0:
        assert sent > 64 << 20, "the publisher of QoS 0 is not held back"
        assert eventually(lambda: server.metric("safeport_mqtt_messages_dropped_total") > 100)
    else:
        assert sent < 64 << 20, "the publisher is held back"
    with wire.Client(server.mqtt, V5) as other:
        other.hello("other")
        other.alive()
    publisher.close()
    reader.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_flood_for_an_offline_session_costs_little_memory_and_comes_back_in_order(own_server, capsys):
    """SAFEPORT_MILLION=1 for a million messages."""
    count = 1_000_000 if os.environ.get("SAFEPORT_MILLION") else 100_000
    server = own_server(environment=limits(max_queued_messages=2_000_000, max_queued_bytes="4GiB", max_stored_bytes="4GiB",
                                           max_inflight=1000))
    subscriber(server, "away", "mail")
    before = memory(server)
    began = time.monotonic()
    with wire.Client(server.mqtt, V311, timeout=30) as publisher:
        publisher.hello("publisher")
        for start in range(0, count, 1000):
            publisher.send(b"".join(wire.publish(V311, "mail", b"%016d" % (start + n), 1, n + 1) for n in range(1000)))
            left = 4000  # a PUBACK has four bytes
            publisher.sock.settimeout(30)
            while left:
                left -= len(publisher.sock.recv(left))
    published = time.monotonic() - began
    grown = (memory(server) - before) / count
    server.kill()
    began = time.monotonic()
    server.start()
    recovered = time.monotonic() - began
    after = memory(server) - before
    began = time.monotonic()
    with back(server, "away", V311) as away:
        away.sock.settimeout(20)
        got, rest, away.buffer = 0, away.buffer, b""
        while got < count:
            data = rest if len(rest) >= 26 else rest + away.sock.recv(1 << 20)
            size = 2 + 6 + 2 + 16  # fixed header, topic, packet identifier, payload
            acks = []
            for at in range(0, len(data) - size + 1, size):
                assert int(data[at + 10:at + 26]) == got
                acks.append(b"\x40\x02" + data[at + 8:at + 10])
                got += 1
            rest = data[len(acks) * size:]
            away.sock.sendall(b"".join(acks))
        away.nothing()
    delivered = time.monotonic() - began
    with capsys.disabled():
        print(f"\n{count} messages of 16 B for an offline session: {grown:.0f} bytes of memory each, published in "
              f"{published:.1f} s, killed and back in {recovered:.1f} s ({after / count:.0f} bytes each), "
              f"delivered in order in {delivered:.1f} s")
    assert grown < 400 and after / count < 600, (grown, after / count)
    assert recovered < 5 + count / 50_000


@pytest.mark.slow
def test_a_hundred_thousand_retained_messages_come_back(own_server, capsys):
    count = 100_000
    server = own_server()
    before = memory(server)
    with wire.Client(server.mqtt, V311, timeout=30) as publisher:
        publisher.hello("publisher")
        for start in range(0, count, 1000):
            publisher.send(b"".join(wire.publish(V311, f"home/{start // 1000}/{n}", b"%d" % (start + n), 1, n + 1, True)
                                    for n in range(1000)))
            left = 4000  # a PUBACK has four bytes
            while left:
                left -= len(publisher.sock.recv(left))
    grown = (memory(server) - before) / count
    server.kill()
    began = time.monotonic()
    server.start()
    recovered = time.monotonic() - began
    with wire.Client(server.mqtt, V311, timeout=30) as reader:
        reader.hello("reader")
        reader.send(wire.subscribe(V311, 1, [("home/#", 0)]))
        found = {}
        while len(found) < count:
            got = reader.receive()
            if got.kind == wire.PUBLISH:
                assert got.retain and got.topic not in found
                found[got.topic] = int(got.payload)
    assert all(found[f"home/{n // 1000}/{n % 1000}"] == n for n in range(count))
    with capsys.disabled():
        print(f"\n{count} retained messages: {grown:.0f} bytes of memory each, killed and back in {recovered:.1f} s")
    assert recovered < 10
