"""QoS 1 and 2 between two clients whose connections break all the time, by their own reset or by a takeover.

Both ends keep their session state as the specification asks of a client, so every loss would be the server's.
Replay: the seed is in the test's name.
"""

import random

import pytest

import wire
from wire import V311, V5

MESSAGES = 150


class Endpoint:
    """A client with a session: connects again after every break, with what it must send again."""

    def __init__(self, server, version, name, rnd):
        self.server, self.version, self.name, self.rnd = server, version, name, rnd
        self.client, self.breaks, self.left = None, 0, 1
        self.fresh = True

    def connect(self):
        while True:
            try:
                self.client = wire.Client(self.server.mqtt, self.version)
                props = {"session_expiry": 600, "receive_maximum": 5} if self.version == V5 else ()
                answer = self.client.hello(self.name, clean=False, props=props)
                assert answer.code == 0
                assert answer.session_present != self.fresh, "the session was lost"
                self.fresh = False
                self.left = self.rnd.randrange(1, 40)
                self.resume()
                return
            except wire.Closed:
                self.breaks += 1

    def step(self):
        """One thing; a break now and then."""
        if self.client is None:
            return self.connect()
        self.left -= 1
        try:
            if self.left <= 0:
                self.breaks += 1
                if self.rnd.random() < 0.5:
                    self.client.reset()
                elif self.rnd.random() < 0.5:
                    self.client.close()
                else:  # the old socket stays open and is taken over
                    self.old = self.client
                self.client = None
                return None
            self.act()
        except wire.Closed:
            self.client = None
        return None


class Publisher(Endpoint):
    def __init__(self, *arguments, topic, qos):
        super().__init__(*arguments)
        self.topic, self.qos, self.next, self.open = topic, qos, 0, {}

    def packet(self, pid, dup=False):
        number, released = self.open[pid]
        if released:
            return wire.ack(wire.PUBREL, pid)
        return wire.publish(self.version, self.topic, b"%d" % number, self.qos, pid, dup=dup)

    def resume(self):
        for pid in list(self.open):  # in the order they were first sent [MQTT-4.6.0-1]
            self.client.send(self.packet(pid, dup=True))

    @property
    def done(self):
        return self.next == MESSAGES and not self.open

    def act(self):
        if self.next < MESSAGES and len(self.open) < 4:
            pid = next(p for p in range(1, 9) if p not in self.open)
            self.open[pid] = (self.next, False)
            self.next += 1
            self.client.send(self.packet(pid))
        try:
            got = self.client.receive(0.02)
        except TimeoutError:
            return
        assert got.code in (0, 0x10, 0x92), str(got)
        if got.kind in (wire.PUBACK, wire.PUBCOMP):
            self.open.pop(got.pid, None)
        elif got.kind == wire.PUBREC and got.pid in self.open:
            self.open[got.pid] = (self.open[got.pid][0], True)
            self.client.send(self.packet(got.pid))


class Subscriber(Endpoint):
    def __init__(self, *arguments, topic, qos):
        super().__init__(*arguments)
        self.topic, self.qos, self.heard, self.unreleased = topic, qos, [], set()

    def resume(self):
        pass

    def act(self):
        try:
            got = self.client.receive(0.02)
        except TimeoutError:
            return
        if got.kind == wire.PUBLISH:
            if got.qos == 1 or got.pid not in self.unreleased:
                self.heard.append(int(got.payload))
            if got.qos == 2:
                self.unreleased.add(got.pid)
            if self.rnd.random() < 0.9:  # sometimes the answer is lost with the connection
                self.client.send(wire.ack(wire.PUBACK if got.qos == 1 else wire.PUBREC, got.pid))
            else:
                self.left = 0
        elif got.kind == wire.PUBREL:
            self.unreleased.discard(got.pid)
            if self.rnd.random() < 0.9:
                self.client.send(wire.ack(wire.PUBCOMP, got.pid))
            else:
                self.left = 0
        elif got.kind == wire.DISCONNECT:
            raise wire.Closed(str(got))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("version", [V311, V5])
@pytest.mark.parametrize("qos", [1, 2])
def test_nothing_is_lost_or_doubled_over_breaking_connections(server, name, topic, qos, version, seed):
    rnd = random.Random(seed * 100 + version * 10 + qos)
    subscriber = Subscriber(server, version, f"{name}-sub", rnd, topic=topic, qos=qos)
    subscriber.connect()
    assert subscriber.client.subscribe(topic, qos=qos) == [qos]
    publisher = Publisher(server, version, f"{name}-pub", rnd, topic=topic, qos=qos)
    quiet = 0
    while quiet < 60:
        rnd.choice((publisher, subscriber)).step()
        complete = publisher.done and len(set(subscriber.heard)) == MESSAGES
        quiet = quiet + 1 if complete else 0
        assert publisher.breaks + subscriber.breaks < 2000, (publisher.open, len(subscriber.heard))
    if qos == 2:
        assert subscriber.heard == list(range(MESSAGES))  # exactly once, in order
    else:
        first = list(dict.fromkeys(subscriber.heard))
        assert first == list(range(MESSAGES))  # at least once; first deliveries in order
    assert publisher.breaks > 3 and subscriber.breaks > 3
