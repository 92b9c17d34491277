"""Settings that bound what a client may take, and the answer on the wire when a bound is reached."""

import pytest

import wire
from conftest import eventually
from wire import V311, V5


def limits(**values):
    return {f"SAFEPORT__LIMITS__{name.upper()}": str(value) for name, value in values.items()}


def connected(server, version=V5, client_id="", **kwargs):
    client = wire.Client(server.mqtt, version)
    client.connack = client.hello(client_id, **kwargs)
    assert client.connack.code == 0, str(client.connack)
    return client


@pytest.mark.parametrize("asked", [120, 0, 61])
def test_a_longer_keep_alive_than_allowed_is_replaced_and_told(own_server, asked):
    """[MQTT-3.1.2-21]; 3.1.1 cannot be told and keeps its own."""
    server = own_server(environment=limits(max_keep_alive="60s"))
    assert connected(server, keep_alive=asked).connack.props["server_keep_alive"] == 60
    assert "server_keep_alive" not in connected(server, keep_alive=60).connack.props
    connected(server, V311, keep_alive=asked).alive()


def test_the_servers_keep_alive_is_the_one_that_counts(own_server):
    server = own_server(environment=limits(max_keep_alive="1s"))
    client = connected(server, keep_alive=600)
    assert [p.code for p in client.ended(4)] == [0x8D]


def test_a_longer_session_than_allowed_is_cut_and_told(own_server):
    """Section 3.2.2.3.2"""
    server = own_server(environment=limits(session_expiry_max="2s"))
    assert connected(server, client_id="a", props={"session_expiry": 100}).connack.props["session_expiry"] == 2
    assert connected(server, client_id="b", props={"session_expiry": 1}).connack.props.get("session_expiry", 1) == 1


def test_what_was_acknowledged_to_a_publisher_reaches_the_offline_subscriber(own_server):
    """A full queue is answered on the wire, never acknowledged and dropped: 0x97 in MQTT 5."""
    server = own_server(environment=limits(max_queued_messages=100))
    props = {"session_expiry": 1000}
    subscriber = connected(server, client_id="sleepy", props=props)
    subscriber.subscribe("t", qos=1)
    subscriber.bye()
    publisher = connected(server)
    accepted = []
    for number in range(200):
        code = publisher.publish("t", str(number), 1).code
        assert code in (0, 0x97), hex(code)
        if code == 0:
            accepted.append(number)
    assert 90 <= len(accepted) <= 110, len(accepted)
    again = connected(server, client_id="sleepy", clean=False, props=props)
    assert [int(m.payload) for m in again.messages(len(accepted))] == accepted
    again.nothing()
    assert publisher.publish("t", "after", 1).code == 0
    assert again.message().payload == b"after"


def test_a_full_queue_does_not_hold_up_a_subscriber_that_reads(own_server):
    server = own_server(environment=limits(max_queued_messages=50))
    sleepy = connected(server, V311, "sleepy", clean=False)
    sleepy.subscribe("t", qos=1)
    sleepy.bye()
    reader, publisher = connected(server), connected(server)
    reader.subscribe("t")
    for number in range(200):
        publisher.publish("t", str(number), 0)
        assert reader.message().payload == b"%d" % number
    publisher.alive()


def test_more_subscriptions_than_allowed_are_refused_with_quota_exceeded(own_server):
    server = own_server(environment=limits(max_subscriptions_per_client=3))
    five, three = connected(server), connected(server, V311)
    assert five.subscribe("a", "b", "c", "d", "a") == [0, 0, 0, 0x97, 0]
    assert three.subscribe("a", "b", "c", "d") == [0, 0, 0, 0x80]
    assert five.unsubscribe("a") == [0]
    assert five.subscribe("d") == [0]


def test_more_retained_messages_than_allowed_are_refused_but_may_be_replaced(own_server):
    server = own_server(environment=limits(max_retained_messages=3))
    client = connected(server)
    codes = [client.publish(f"r/{n}", "x", 1, retain=True).code for n in range(5)]
    assert all(code in (0, 0x10) for code in codes[:3]) and codes[3:] == [0x97, 0x97], codes
    assert client.publish("r/1", "y", 1, retain=True).code in (0, 0x10)
    assert client.publish("r/2", "", 1, retain=True).code in (0, 0x10)
    assert client.publish("r/4", "z", 1, retain=True).code in (0, 0x10)
    late = connected(server)
    late.subscribe("r/#")
    assert {m.payload for m in late.messages(3)} == {b"x", b"y", b"z"}


def test_connections_over_the_limit_are_closed_and_come_in_when_others_leave(own_server):
    server = own_server(environment={"SAFEPORT__MQTT__MAX_CONNECTIONS": "5"})
    inside = []

    def admitted():
        try:
            inside.append(connected(server, V311))
            return True
        except (wire.Closed, AssertionError):
            return False
    # The server's own probes have a place for a moment after the start.
    while len(inside) < 5:
        assert eventually(admitted)
    with pytest.raises((wire.Closed, AssertionError)):
        connected(server, V311)
    inside.pop().bye()
    assert eventually(admitted)
    for client in inside:
        client.alive()
        client.close()


def test_the_packet_limit_is_told_and_kept_per_listener(own_server):
    server = own_server(environment={"SAFEPORT__MQTT__MAX_PACKET": "2KiB"})
    client = connected(server)
    assert client.connack.props["maximum_packet_size"] == 2048
    client.publish("t", bytes(2000))
    client.alive()
    assert [p.code for p in client.send(wire.publish(V5, "t", bytes(2100))).ended()] == [0x95]
    with wire.Client(server.mqtts, V5, tls=server.tls_context()) as tls:
        assert tls.hello("").props["maximum_packet_size"] == 1 << 20


def test_topic_aliases_can_be_switched_off(own_server):
    server = own_server(environment=limits(topic_alias_maximum=0))
    client = connected(server)
    assert client.connack.props.get("topic_alias_maximum", 0) == 0
    assert [p.code for p in client.send(wire.publish(V5, "t", props={"topic_alias": 1})).ended()] == [0x94]


def test_several_loops_serve_as_one_broker(own_server):
    """Clients on different loops share topics, retained messages, sessions and groups."""
    server = own_server(environment={"SAFEPORT__ENGINE__LOOPS": "3"})
    crowd = [connected(server, client_id=f"c{n}", clean=True, props={"session_expiry": 60}) for n in range(12)]
    for client in crowd:
        client.subscribe("all/#", qos=1)
    for number, client in enumerate(crowd):
        assert client.publish("all/x", str(number), 0) is None
    for client in crowd:
        assert sorted(int(m.payload) for m in client.messages(12)) == list(range(12))
    crowd[0].publish("kept/1", "k", 0, retain=True)
    crowd[0].alive()

    def kept_everywhere():
        found = 0
        for _ in range(6):
            with wire.Client(server.mqtt, V5) as late:
                late.hello("")
                late.send(wire.subscribe(V5, 1, [("kept/#", 0)]))
                try:  # a retained message may come before its SUBACK [section 3.8.4]
                    found += any(p.payload == b"k" for p in (late.receive(), late.receive(0.5)))
                except TimeoutError:
                    pass
        return found == 6
    assert eventually(kept_everywhere)
    for client in crowd:
        client.unsubscribe("all/#")
        client.subscribe("$share/g/jobs", qos=1)
    speaker = connected(server)
    for number in range(60):
        assert speaker.publish("jobs", str(number), 1).code == 0
    done = []
    for client in crowd:
        try:
            while True:
                done.append(int(client.message(0.3).payload))
        except TimeoutError:
            pass
    assert sorted(done) == list(range(60))
    # a session follows its client to whichever loop it lands on; a takeover reaches the other loop
    for _ in range(6):
        other = connected(server, client_id="c0", clean=False, props={"session_expiry": 60})
        assert other.connack.session_present
        speaker.publish("jobs", "x", 1)
    assert [p.code for p in crowd[0].ended() if p.kind == wire.DISCONNECT] == [0x8E]
