"""What MQTT 3.1.1 and 5.0 promise, seen on the wire by a client that controls every packet."""

import time

import pytest

import wire
from conftest import eventually
from wire import V31, V311, V5

NO_LOCAL, RETAIN_AS_PUBLISHED, SEND_IF_NEW, DO_NOT_SEND = 0x04, 0x08, 0x10, 0x20
FOREVER = {"session_expiry": 0xFFFFFFFF}


def persistent(dial, version, name, clean=False, **kwargs):
    """A connection whose session outlives it; with `clean` a new one. In 3.1.1 one flag says both, so there a
    session is new only because no other test uses its name."""
    if version == V5:
        kwargs["props"] = {**FOREVER, **kwargs.get("props", {})}
    return dial(version, name, clean=clean and version == V5, **kwargs)


# ------------------------------------------------------------ delivery

@pytest.mark.parametrize("subscribed", [0, 1, 2])
@pytest.mark.parametrize("published", [0, 1, 2])
@pytest.mark.parametrize("version", [V31, V311, V5])
def test_a_message_arrives_at_the_lower_of_both_qos(dial, topic, version, published, subscribed):
    client = dial(version)
    assert client.subscribe(topic, qos=subscribed) == [subscribed]
    other = dial(version)
    other.publish(topic, "hello", published)
    got = client.message()
    assert (got.topic, got.payload, got.qos, got.retain, got.dup) == (
        topic, b"hello", min(published, subscribed), False, False)
    client.nothing()


@pytest.mark.parametrize("sender, receiver", [(V31, V5), (V311, V5), (V5, V31), (V5, V311)])
def test_versions_understand_each_other(dial, topic, sender, receiver):
    client = dial(receiver)
    client.subscribe(topic, qos=2)
    props = {"user": [("k", "v")], "content_type": "text/plain"} if sender == V5 else ()
    dial(sender).publish(topic, "across", 2, props=props)
    got = client.message()
    assert (got.payload, got.qos, got.props) == (b"across", 2, {})


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("version", [V311, V5])
def test_messages_of_one_publisher_arrive_in_order(dial, topic, version, qos):
    """[MQTT-4.6.0-6] / [MQTT-4.6.0-5]"""
    client, other = dial(version), dial(version)
    client.subscribe(topic, qos=qos)
    count, window = 200, 10
    for start in range(0, count, window):
        pids = range(start + 1, start + window + 1)
        other.send(*(wire.publish(version, topic, b"%d" % (pid - 1), qos, pid if qos else None) for pid in pids))
        for kind in {0: [], 1: [wire.PUBACK], 2: [wire.PUBREC, wire.PUBCOMP]}[qos]:
            assert [other.expect(kind).pid for _ in pids] == list(pids)  # [MQTT-4.6.0-2], -3
            if kind == wire.PUBREC:
                other.send(*(wire.ack(wire.PUBREL, pid) for pid in pids))
    assert [int(m.payload) for m in client.messages(count, 20)] == list(range(count))


def test_a_qos2_message_sent_again_with_dup_is_delivered_once(dial, topic):
    """[MQTT-4.3.3-10]: until PUBREL, the packet identifier marks the same message."""
    client, other = dial(), dial()
    client.subscribe(topic, qos=2)
    other.send(wire.publish(V5, topic, b"once", 2, 9)).expect(wire.PUBREC)
    other.send(wire.publish(V5, topic, b"once", 2, 9, dup=True)).expect(wire.PUBREC)
    other.send(wire.ack(wire.PUBREL, 9)).expect(wire.PUBCOMP)
    assert client.message().payload == b"once"
    client.nothing()
    other.publish(topic, "second", 2)
    assert client.message().payload == b"second"


@pytest.mark.parametrize("code", [0x80, 0x83, 0x97, 0x99])
def test_a_client_may_refuse_a_message_and_is_not_asked_again(dial, name, topic, code):
    """PUBACK and PUBREC with an error end the exchange [MQTT-4.3.3-4]; nothing comes again on a new connection."""
    client = persistent(dial, V5, name, clean=True, props={"receive_maximum": 2})
    client.subscribe(topic, qos=2)
    other = dial()
    for qos in (1, 2, 1, 2):
        other.publish(topic, f"refused {qos}", qos)
        got = client.expect(wire.PUBLISH)
        client.send(wire.ack(wire.PUBACK if qos == 1 else wire.PUBREC, got.pid, code))
        client.nothing()
    client.reset()
    again = persistent(dial, V5, name)
    again.nothing()
    other.publish(topic, "next", 2)
    assert again.message().payload == b"next"


@pytest.mark.slow
def test_packet_identifiers_wrap_around_without_0_or_repeats_in_flight(dial, topic):
    """[MQTT-2.2.1-3], [MQTT-2.2.1-4]: one identifier is held open while 70,000 others come and go."""
    client, other = dial(keep_alive=0), dial(keep_alive=0)
    client.subscribe(topic, qos=1)
    other.publish(topic, "held", 1)
    held = client.expect(wire.PUBLISH).pid
    total, window = 70_000, 50
    for start in range(0, total, window):
        other.send(*(wire.publish(V5, topic, b"x", 1, pid) for pid in range(1, window + 1)))
        seen = [client.expect(wire.PUBLISH).pid for _ in range(window)]
        assert held not in seen and len(set(seen)) == window and 0 not in seen
        client.send(*(wire.ack(wire.PUBACK, pid) for pid in seen))
        for _ in range(window):
            other.expect(wire.PUBACK)
    client.send(wire.ack(wire.PUBACK, held))
    client.alive()


def test_overlapping_subscriptions_deliver_once_at_the_highest_qos_with_all_identifiers(dial, topic):
    """[MQTT-3.3.4-2], [MQTT-3.3.4-4]"""
    client = dial()
    client.subscribe(f"{topic}/#", qos=0, props={"subscription_id": 1})
    client.subscribe(f"{topic}/+", qos=2, props={"subscription_id": 2})
    client.subscribe(f"{topic}/x", qos=1, props={"subscription_id": 268435455})
    dial().publish(f"{topic}/x", "one", 2)
    got = client.message()
    assert got.qos == 2 and sorted(got.props["subscription_id"]) == [1, 2, 268435455]
    client.nothing()


def test_a_subscription_is_replaced_by_the_same_filter(dial, topic):
    """[MQTT-3.8.4-3]"""
    client = dial()
    client.subscribe(topic, qos=2, props={"subscription_id": 5})
    assert client.subscribe(topic, qos=0, props={"subscription_id": 6}) == [0]
    dial().publish(topic, "x", 2)
    got = client.message()
    assert got.qos == 0 and got.props["subscription_id"] == [6]
    client.nothing()


def test_one_subscribe_may_hold_many_filters_and_is_answered_in_their_order(dial, topic):
    """[MQTT-3.8.4-6]"""
    client = dial()
    client.send(wire.subscribe(V5, 7, [(f"{topic}/a", 1), (f"{topic}/b", 0), (f"{topic}/c", 2), (f"{topic}/a", 0)]))
    assert client.expect(wire.SUBACK).codes == [1, 0, 2, 0]


def test_unsubscribing_stops_the_messages(dial, topic):
    client, other = dial(), dial()
    client.subscribe(f"{topic}/a", f"{topic}/b", qos=1)
    assert client.unsubscribe(f"{topic}/a", f"{topic}/none") == [0, 0x11]
    other.publish(f"{topic}/a", "no", 1)
    other.publish(f"{topic}/b", "yes", 1)
    assert client.message().payload == b"yes"
    client.nothing()


@pytest.mark.parametrize("pattern, matching, others", [
    ("+", ["a", "é"], ["a/b", "/a", "$a"]),
    ("#", ["a", "a/b", "/", "/a"], ["$a", "$a/b"]),
    ("a/#", ["a", "a/", "a/b", "a/b/c"], ["b", "ab", "a0"]),
    ("a/+", ["a/", "a/b"], ["a", "a/b/c"]),
    ("+/+", ["a/b", "/a", "a/"], ["a", "a/b/c", "$a/b"]),
    ("/+", ["/a", "/"], ["a", "a/b"]),
    ("+/b/#", ["a/b", "/b", "a/b/c"], ["b", "a/c", "$a/b"]),
    ("a//b", ["a//b"], ["a/b", "a/x/b"]),
    ("$a/#", ["$a/b", "$a"], ["a/b"]),
    ("$a/+", ["$a/b"], ["$a/b/c", "$b/b"]),
])
def test_filters_match_as_section_4_7_says(dial, name, pattern, matching, others):
    client, other = dial(), dial()
    mark = name.encode()
    client.subscribe(pattern)
    for each in [*others, *matching]:
        other.publish(each, mark)
    other.publish("z/z/z", mark)
    wanted = list(matching) + (["z/z/z"] if pattern == "#" else [])
    got = []
    while len(got) < len(wanted):
        message = client.message()
        if message.payload == mark:
            got.append(message.topic)
    assert got == wanted
    try:
        while True:
            assert client.receive(0.2).payload != mark
    except TimeoutError:
        pass


def test_no_local_keeps_a_client_from_hearing_itself(dial, topic):
    """[MQTT-3.8.3-3]"""
    client, other = dial(), dial()
    client.subscribe(topic, qos=1, options=NO_LOCAL)
    client.publish(topic, "mine", 1)
    other.publish(topic, "theirs", 1)
    assert client.message().payload == b"theirs"
    client.nothing()


def test_a_client_hears_itself_without_no_local(dial, topic):
    for version in (V311, V5):
        client = dial(version)
        client.subscribe(topic)
        client.publish(topic, "echo")
        assert client.message().payload == b"echo"


def test_properties_of_a_message_arrive_unaltered_and_in_order(dial, topic):
    """[MQTT-3.3.2-4], -15, -16, -17, -18, -20"""
    client, other = dial(), dial()
    client.subscribe(topic, qos=1)
    pairs = [("b", "2"), ("a", "1"), ("b", "2"), ("", ""), ("ключ", "値")]
    props = [("payload_format", 1), ("content_type", "application/json"), ("response_topic", "answers/here"),
             ("correlation_data", b"\x00\x01\xff"), *(("user", pair) for pair in pairs)]
    other.publish(topic, "{}", 1, props=props)
    assert client.message().props == {"payload_format": 1, "content_type": "application/json",
                                      "response_topic": "answers/here", "correlation_data": b"\x00\x01\xff",
                                      "user": pairs}


def test_request_and_response(dial, topic):
    asker, answerer = dial(), dial()
    asker.subscribe(f"{topic}/answers", qos=1)
    answerer.subscribe(f"{topic}/questions", qos=1)
    asker.publish(f"{topic}/questions", "6*7", 1,
                  props={"response_topic": f"{topic}/answers", "correlation_data": b"q1"})
    question = answerer.message()
    answerer.publish(question.props["response_topic"], "42", 1,
                     props={"correlation_data": question.props["correlation_data"]})
    answer = asker.message()
    assert (answer.payload, answer.props["correlation_data"]) == (b"42", b"q1")


def test_publishing_to_nobody_may_be_told(dial, topic):
    """0x00 or 0x10 (No matching subscribers), section 3.4.2.1."""
    client = dial()
    assert client.publish(f"{topic}/void", "x", 1).code in (0, 0x10)
    assert client.publish(f"{topic}/void", "x", 2).code in (0, 0x10)


# ------------------------------------------------------------ CONNACK

def test_a_client_without_identifier_is_given_a_unique_one(dial):
    """[MQTT-3.1.3-6], [MQTT-3.1.3-7]"""
    given = {dial(V5, "").connack.props["assigned_client_id"] for _ in range(5)}
    assert len(given) == 5 and all(given)


def test_no_identifier_is_assigned_to_a_client_that_has_one(dial, name):
    assert "assigned_client_id" not in dial(V5, name).connack.props


def test_a_client_of_311_without_identifier_is_served_with_a_clean_session(dial):
    """[MQTT-3.1.3-6] of 3.1.1"""
    client = dial(V311, "")
    assert not client.connack.session_present
    client.alive()


def test_an_assigned_identifier_can_resume_its_session(dial, topic):
    first = persistent(dial, V5, "", clean=True)
    name = first.connack.props["assigned_client_id"]
    first.subscribe(topic, qos=1)
    first.bye()
    assert persistent(dial, V5, name).connack.session_present


def test_connack_of_mqtt5_tells_its_limits_in_legal_values(dial):
    props = dial().connack.props
    assert "maximum_qos" not in props  # 2 is told by its absence, and all three are served
    assert props.get("retain_available", 1) == 1 and props.get("wildcard_available", 1) == 1
    assert props.get("shared_available", 1) == 1 and props.get("subscription_ids_available", 1) == 1
    assert props.get("receive_maximum", 65535) > 0 and props.get("maximum_packet_size", 1) > 0


def test_server_keep_alive_is_absent_or_the_one_that_counts(dial):
    """[MQTT-3.1.2-21]: a value in CONNACK replaces the client's."""
    assert dial(keep_alive=30).connack.props.get("server_keep_alive", 30) > 0


# ------------------------------------------------- sessions and their queue

@pytest.mark.parametrize("version", [V31, V311, V5])
def test_a_session_is_present_only_when_it_was_kept(dial, name, topic, version):
    first = persistent(dial, version, name, clean=True)
    assert not first.connack.session_present
    first.subscribe(topic, qos=1)
    first.bye()
    second = persistent(dial, version, name)
    assert second.connack.session_present == (version != V31)  # 3.1 has no such flag
    second.bye()
    third = dial(version, name, clean=True)
    assert not third.connack.session_present
    third.bye()
    assert not persistent(dial, version, name).connack.session_present


@pytest.mark.parametrize("version", [V311, V5])
def test_messages_wait_for_an_offline_subscriber_and_arrive_in_order(dial, name, topic, version):
    first = persistent(dial, version, name, clean=True)
    first.subscribe(f"{topic}/1", qos=1)
    first.subscribe(f"{topic}/2", qos=2)
    first.bye()
    other = dial(version)
    for number in range(100):
        other.publish(f"{topic}/{1 + number % 2}", str(number), 1 + number % 2)
    other.publish(f"{topic}/1", "end", 1)
    again = persistent(dial, version, name)
    assert again.connack.session_present
    got = again.messages(101)
    assert [m.payload for m in got[:-1]] == [b"%d" % n for n in range(100)]
    assert {m.dup for m in got} == {False}  # never sent before, so not marked as repeated


@pytest.mark.parametrize("version", [V311, V5])
def test_unacknowledged_messages_are_sent_again_in_order_with_dup(dial, name, topic, version):
    """[MQTT-4.4.0-1], [MQTT-4.6.0-1]: same packet identifiers, DUP set."""
    first = persistent(dial, version, name, clean=True)
    first.subscribe(topic, qos=1)
    other = dial(version)
    for number in range(5):
        other.publish(topic, str(number), 1)
    seen = [first.expect(wire.PUBLISH) for _ in range(5)]
    first.reset()
    again = persistent(dial, version, name)
    repeated = [again.expect(wire.PUBLISH) for _ in range(5)]
    assert [(m.pid, m.payload) for m in repeated] == [(m.pid, m.payload) for m in seen]
    assert all(m.dup for m in repeated) and not any(m.dup for m in seen)
    for message in repeated:
        again.send(wire.ack(wire.PUBACK, message.pid))
    again.nothing()
    again.alive()


@pytest.mark.parametrize("version", [V311, V5])
def test_a_qos2_exchange_resumes_where_it_stood(dial, name, topic, version):
    """After PUBREC the server repeats PUBREL, not PUBLISH [MQTT-4.3.3-5]."""
    first = persistent(dial, version, name, clean=True)
    first.subscribe(topic, qos=2)
    dial(version).publish(topic, "exactly once", 2)
    message = first.expect(wire.PUBLISH)
    first.send(wire.ack(wire.PUBREC, message.pid)).expect(wire.PUBREL)
    first.reset()
    again = persistent(dial, version, name)
    assert again.expect(wire.PUBREL).pid == message.pid
    again.send(wire.ack(wire.PUBCOMP, message.pid))
    again.nothing()


@pytest.mark.parametrize("version", [V311, V5])
def test_a_half_sent_qos2_publish_of_the_client_survives_its_reconnect(dial, name, topic, version):
    watcher = dial(version)
    watcher.subscribe(topic, qos=2)
    first = persistent(dial, version, name, clean=True)
    first.send(wire.publish(version, topic, b"x", 2, 3)).expect(wire.PUBREC)
    first.reset()
    again = persistent(dial, version, name)
    again.send(wire.publish(version, topic, b"x", 2, 3, dup=True)).expect(wire.PUBREC)
    again.send(wire.ack(wire.PUBREL, 3)).expect(wire.PUBCOMP)
    assert watcher.message().payload == b"x"
    watcher.nothing()


def test_a_clean_start_forgets_what_was_waiting(dial, name, topic):
    """[MQTT-3.1.2-4]"""
    client = persistent(dial, V5, name, clean=True)
    client.subscribe(topic, qos=1)
    client.bye()
    dial().publish(topic, "old", 1)
    client = persistent(dial, V5, name, clean=True)
    assert not client.connack.session_present
    dial().publish(topic, "new", 1)
    client.nothing()


def test_a_session_of_mqtt5_ends_with_its_connection_unless_asked_to_stay(dial, name, topic):
    client = dial(V5, name, clean=True)
    client.subscribe(topic)
    client.bye()
    time.sleep(0.2)
    assert not dial(V5, name, clean=False).connack.session_present


def test_a_session_expires_after_its_interval_and_not_before(dial, name, topic):
    """[MQTT-3.1.2-23]"""
    client = dial(V5, name, props={"session_expiry": 2})
    client.subscribe(topic)
    client.bye()
    time.sleep(0.8)
    again = dial(V5, name, clean=False, props={"session_expiry": 2})
    assert again.connack.session_present
    again.bye()
    time.sleep(3.5)
    assert not dial(V5, name, clean=False).connack.session_present


def test_disconnect_can_shorten_or_lengthen_the_session(dial, name, topic):
    """Section 3.14.2.2.2"""
    client = dial(V5, name, props={"session_expiry": 1})
    client.subscribe(topic)
    client.bye(0, {"session_expiry": 60})
    time.sleep(2.2)
    client = dial(V5, name, clean=False, props={"session_expiry": 60})
    assert client.connack.session_present
    client.bye(0, {"session_expiry": 0})
    time.sleep(0.2)
    assert not dial(V5, name, clean=False).connack.session_present


def test_a_subscriber_may_change_its_version_and_keep_its_session(dial, name, topic):
    first = persistent(dial, V311, name, clean=True)
    first.subscribe(topic, qos=1)
    first.bye()
    dial().publish(topic, "kept", 1, props={"user": ("a", "b")})
    again = persistent(dial, V5, name)
    assert again.connack.session_present
    assert again.message().payload == b"kept"


# ------------------------------------------------------------- takeover

@pytest.mark.parametrize("old", [V311, V5])
@pytest.mark.parametrize("new", [V311, V5])
def test_a_second_connection_with_the_same_identifier_takes_over(dial, name, topic, old, new):
    """[MQTT-3.1.4-3] (5), [MQTT-3.1.4-2] (3.1.1)"""
    first = persistent(dial, old, name, clean=True)
    first.subscribe(topic, qos=1)
    second = persistent(dial, new, name)
    assert second.connack.session_present
    said = first.ended()
    assert [p.code for p in said] == ([0x8E] if old == V5 else [])
    dial().publish(topic, "to the new one", 1)
    assert second.message().payload == b"to the new one"


def test_many_takeovers_in_a_row_leave_one_connection(dial, server, name, topic):
    clients = []
    for _ in range(50):
        client = dial(V5, raw=True)
        client.send(wire.connect(V5, name, props=FOREVER, clean=False))
        clients.append(client)
    alive = []
    for client in clients:
        try:
            assert client.expect(wire.CONNACK).code == 0
            client.send(wire.PING)
            if client.receive(2).kind == wire.PINGRESP:
                alive.append(client)
        except (wire.Closed, AssertionError):
            pass
    time.sleep(0.3)
    still = []
    for client in alive:
        try:
            client.alive()
            still.append(client)
        except (wire.Closed, AssertionError):
            pass
    assert len(still) == 1


# -------------------------------------------------------------- retained

@pytest.mark.parametrize("version", [V31, V311, V5])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_retained_message_greets_a_new_subscriber(dial, topic, version, qos):
    other = dial(version)
    other.publish(topic, "old", qos, retain=True)
    other.publish(topic, "kept", qos, retain=True)
    eventually(lambda: False, 0.1)
    client = dial(version)
    client.subscribe(f"{topic}/#", qos=2)
    got = client.message()
    assert (got.payload, got.retain, got.qos) == (b"kept", True, qos)
    client.nothing()
    other.publish(topic, "live", qos, retain=True)
    got = client.message()
    assert (got.payload, got.retain) == (b"live", False)  # [MQTT-3.3.1-9] of 3.1.1, [MQTT-3.3.1-12] of 5


@pytest.mark.parametrize("version", [V311, V5])
def test_an_empty_retained_message_clears_the_topic_and_is_still_delivered(dial, topic, version):
    """[MQTT-3.3.1-10], [MQTT-3.3.1-11] of 3.1.1; [MQTT-3.3.1-6], -7 of 5"""
    other, live = dial(version), dial(version)
    live.subscribe(topic)
    other.publish(topic, "x", 1, retain=True)
    other.publish(topic, "", 1, retain=True)
    assert [live.message().payload for _ in range(2)] == [b"x", b""]
    late = dial(version)
    late.subscribe(topic)
    late.nothing()


@pytest.mark.parametrize("handling, first, second", [(0, True, True), (SEND_IF_NEW, True, False),
                                                     (DO_NOT_SEND, False, False)])
def test_retain_handling_decides_when_retained_messages_are_sent(dial, topic, handling, first, second):
    """[MQTT-3.3.1-9], -10, -11"""
    dial().publish(topic, "kept", 1, retain=True)
    client = dial()
    for wanted in (first, second):
        client.subscribe(topic, options=handling)
        if wanted:
            assert client.message().retain
        client.nothing()


@pytest.mark.parametrize("version", [V31, V311])
def test_subscribing_again_sends_the_retained_messages_again(dial, topic, version):
    """[MQTT-3.8.4-3] of 3.1.1"""
    dial(version).publish(topic, "kept", 0, retain=True)
    client = dial(version)
    for _ in range(2):
        client.subscribe(topic)
        assert client.message().retain


def test_send_if_new_counts_a_resumed_subscription_as_old(dial, name, topic):
    dial().publish(topic, "kept", 1, retain=True)
    client = persistent(dial, V5, name, clean=True)
    client.subscribe(topic, options=SEND_IF_NEW)
    client.message()
    client.bye()
    client = persistent(dial, V5, name)
    client.subscribe(topic, options=SEND_IF_NEW)
    client.nothing()


def test_retain_as_published_keeps_the_flag(dial, topic):
    """[MQTT-3.3.1-12], -13"""
    client, other = dial(), dial()
    client.subscribe(topic, options=RETAIN_AS_PUBLISHED)
    other.publish(topic, "a", 1, retain=True)
    other.publish(topic, "b", 1)
    assert [client.message().retain for _ in range(2)] == [True, False]


def test_retained_messages_carry_their_properties_and_the_subscription_identifier(dial, topic):
    dial().publish(topic, "kept", 1, retain=True, props={"content_type": "t", "user": [("a", "b")]})
    client = dial()
    client.subscribe(topic, props={"subscription_id": 44})
    assert client.message().props == {"content_type": "t", "user": [("a", "b")], "subscription_id": [44]}


def test_a_retained_message_expires(dial, topic):
    other = dial()
    other.publish(topic, "short", 1, retain=True, props={"message_expiry": 1})
    other.publish(f"{topic}/long", "long", 1, retain=True, props={"message_expiry": 60})
    time.sleep(2.2)
    client = dial()
    client.subscribe(f"{topic}/#")
    got = client.message()
    assert got.payload == b"long" and 55 <= got.props["message_expiry"] <= 59
    client.nothing()


def test_shared_subscriptions_get_no_retained_messages(dial, topic):
    """Section 4.8.2"""
    dial().publish(topic, "kept", 1, retain=True)
    client = dial()
    client.subscribe(f"$share/g/{topic}", qos=1)
    client.nothing()


def test_wildcards_find_retained_messages_at_every_depth_but_not_below_dollar(dial, topic):
    other = dial()
    for tail in ("", "/a", "/a/b", "/a/b/c", "/x/b"):
        other.publish(topic + tail, tail or "root", 1, retain=True)
    client = dial()
    client.subscribe(f"{topic}/+/b")
    assert {client.message().payload for _ in range(2)} == {b"/a/b", b"/x/b"}
    client.nothing()
    client.subscribe(f"{topic}/a/#")
    assert {client.message().payload for _ in range(3)} == {b"/a", b"/a/b", b"/a/b/c"}
    client.nothing()


# ----------------------------------------------------------------- wills

@pytest.mark.parametrize("version", [V31, V311, V5])
@pytest.mark.parametrize("qos, retain", [(0, False), (1, True), (2, False)])
def test_a_will_is_published_when_the_connection_breaks(dial, topic, version, qos, retain):
    watcher = dial(version)
    watcher.subscribe(topic, qos=2)
    client = dial(version, will=wire.Will(topic, b"gone", qos, retain))
    client.reset()
    got = watcher.message()
    assert (got.payload, got.qos, got.retain) == (b"gone", qos, False)
    late = dial(version)
    late.subscribe(topic)
    if retain:
        assert late.message().retain
    else:
        late.nothing()


@pytest.mark.parametrize("version", [V311, V5])
def test_a_will_is_published_when_the_peer_closes_without_disconnect(dial, topic, version):
    watcher = dial(version)
    watcher.subscribe(topic)
    dial(version, will=wire.Will(topic)).close()
    assert watcher.message().payload == b"gone"


@pytest.mark.parametrize("version", [V311, V5])
def test_a_will_is_dropped_by_a_normal_disconnect(dial, topic, version):
    """[MQTT-3.14.4-3]"""
    watcher = dial(version)
    watcher.subscribe(topic)
    dial(version, will=wire.Will(topic)).bye()
    watcher.nothing(0.5)


def test_disconnect_with_will_publishes_it(dial, topic):
    """Reason code 0x04 and every error code, section 3.14.2.1"""
    watcher = dial()
    watcher.subscribe(topic)
    for code in (0x04, 0x80, 0x83):
        dial(will=wire.Will(topic, bytes([code]))).bye(code)
        assert watcher.message().payload == bytes([code])


def test_a_will_is_published_when_a_connection_is_taken_over(dial, name, topic):
    watcher = dial()
    watcher.subscribe(topic)
    dial(V5, name, will=wire.Will(topic))
    dial(V5, name)
    assert watcher.message().payload == b"gone"


def test_a_will_carries_its_properties(dial, topic):
    watcher = dial()
    watcher.subscribe(topic, qos=1)
    props = {"payload_format": 1, "content_type": "text", "response_topic": "r", "correlation_data": b"c",
             "user": [("a", "1"), ("a", "2")], "message_expiry": 100}
    dial(will=wire.Will(topic, b"w", 1, props=props)).reset()
    got = watcher.message().props
    assert 99 <= got.pop("message_expiry") <= 100
    del props["message_expiry"]
    assert got == props


def test_a_delayed_will_waits_and_then_comes(dial, name, topic):
    """[MQTT-3.1.3-9] and section 3.1.3.2.2"""
    watcher = dial()
    watcher.subscribe(topic)
    began = time.monotonic()
    dial(V5, name, props={"session_expiry": 60}, will=wire.Will(topic, props={"will_delay": 2})).reset()
    watcher.nothing(1.2)
    watcher.message(4)
    assert 1.5 < time.monotonic() - began < 4


def test_a_delayed_will_is_cancelled_when_the_client_returns(dial, name, topic):
    watcher = dial()
    watcher.subscribe(topic)
    dial(V5, name, props={"session_expiry": 60}, will=wire.Will(topic, props={"will_delay": 2})).reset()
    time.sleep(0.3)
    dial(V5, name, clean=False, props={"session_expiry": 60})
    watcher.nothing(3)


def test_a_delayed_will_comes_at_once_when_the_session_ends(dial, name, topic):
    """The will is due at the earlier of its delay and the end of the session."""
    watcher = dial()
    watcher.subscribe(topic)
    dial(V5, name, props={"session_expiry": 1}, will=wire.Will(topic, props={"will_delay": 60})).reset()
    watcher.message(4)
    dial(V5, name, props={"session_expiry": 60}, will=wire.Will(topic, b"2", props={"will_delay": 60})).reset()
    time.sleep(0.2)
    watcher.nothing()
    dial(V5, name, clean=True)  # a clean start ends the old session
    assert watcher.message().payload == b"2"


# ------------------------------------------------------------- keep alive

@pytest.mark.parametrize("version", [V311, V5])
def test_a_silent_client_is_dropped_after_one_and_a_half_keep_alives(dial, topic, version):
    """[MQTT-3.1.2-24] (3.1.1), [MQTT-3.1.2-22] (5)"""
    watcher = dial(version)
    watcher.subscribe(topic)
    client = dial(version, keep_alive=2, will=wire.Will(topic))
    began = time.monotonic()
    said = client.ended(8)
    took = time.monotonic() - began
    assert 2.4 < took < 5.5, took
    assert [p.code for p in said] == ([0x8D] if version == V5 else [])
    assert watcher.message().payload == b"gone"


def test_pings_and_other_packets_keep_a_connection(dial, topic):
    client = dial(keep_alive=1)
    for number in range(6):
        time.sleep(0.7)
        client.publish(topic, "x") if number % 2 else client.alive()
    client.alive()


def test_keep_alive_zero_never_times_out(dial):
    client = dial(keep_alive=0)
    client.nothing(4)
    client.alive()


# ------------------------------------------------------ flow and size limits

def test_no_more_than_receive_maximum_messages_are_in_flight_to_a_client(dial, topic):
    """[MQTT-3.3.4-9]"""
    client = dial(props={"receive_maximum": 3})
    client.subscribe(topic, qos=2)
    other = dial()
    for number in range(10):
        other.publish(topic, str(number), 1 + number % 2)
    other.publish(topic, "free", 0)
    first = [client.expect(wire.PUBLISH) for _ in range(3)]
    seen = [m.payload for m in first]
    try:  # QoS 0 is not counted; it may come now or later
        extra = client.receive(0.5)
        assert extra.qos == 0, str(extra)
        seen.append(extra.payload)
    except TimeoutError:
        pass
    for message in first:
        client.send(wire.ack(wire.PUBACK if message.qos == 1 else wire.PUBREC, message.pid))
    while len(seen) < 11:
        got = client.receive()
        if got.kind == wire.PUBREL:
            client.send(wire.ack(wire.PUBCOMP, got.pid))
        else:
            assert got.kind == wire.PUBLISH
            seen.append(got.payload)
            if got.qos:
                client.send(wire.ack(wire.PUBACK if got.qos == 1 else wire.PUBREC, got.pid))
    assert [p for p in seen if p != b"free"] == [b"%d" % n for n in range(10)]


def test_a_client_that_exceeds_the_servers_receive_maximum_is_cut_off_with_0x93(dial, topic):
    """[MQTT-3.3.4-7], [MQTT-3.3.4-8]"""
    client = dial()
    limit = client.connack.props.get("receive_maximum")
    if limit is None:
        pytest.fail("no receive maximum in CONNACK: the server takes 65535 open QoS 2 exchanges of every client")
    client.send(*(wire.publish(V5, topic, b"x", 2, pid) for pid in range(1, limit + 2)))
    said = client.ended()
    assert said[-1].kind == wire.DISCONNECT and said[-1].code == 0x93, str(said[-1])
    assert [p.kind for p in said[:-1]] == [wire.PUBREC] * len(said[:-1])


def test_a_client_that_goes_on_talking_still_reads_why_it_was_cut_off(dial, topic):
    """Bytes that arrive after the DISCONNECT must not make the kernel reset the connection: a reset takes the unread
    DISCONNECT with it."""
    client = dial()
    limit = client.connack.props.get("receive_maximum", 65535)
    client.send(*(wire.publish(V5, topic, b"x", 2, pid) for pid in range(1, limit + 2)))
    time.sleep(0.3)
    while (got := client.receive()).kind == wire.PUBREC:
        try:
            client.send(wire.ack(wire.PUBREL, got.pid))
        except wire.Closed:
            pass
        time.sleep(0.001)
    assert (got.kind, got.code) == (wire.DISCONNECT, 0x93), str(got)


def test_exactly_receive_maximum_open_exchanges_are_served(dial, topic):
    client = dial()
    limit = client.connack.props.get("receive_maximum", 65535)
    client.send(*(wire.publish(V5, topic, b"x", 2, pid) for pid in range(1, limit + 1)))
    for _ in range(limit):
        client.expect(wire.PUBREC)
    client.send(*(wire.ack(wire.PUBREL, pid) for pid in range(1, limit + 1)))
    for _ in range(limit):
        client.expect(wire.PUBCOMP)
    client.alive()


def test_messages_larger_than_the_clients_maximum_packet_size_are_dropped_for_it_alone(dial, topic):
    """[MQTT-3.1.2-24], [MQTT-3.1.2-25]: dropped as if delivered, the next one comes."""
    small, large = dial(props={"maximum_packet_size": 100}), dial()
    small.subscribe(topic, qos=1)
    large.subscribe(topic, qos=1)
    other = dial()
    other.publish(topic, b"x" * 200, 1)
    other.publish(topic, b"fits", 1)
    assert [len(large.message().payload) for _ in range(2)] == [200, 4]
    assert small.message().payload == b"fits"
    small.nothing()


def test_a_packet_over_the_servers_maximum_is_refused_with_0x95(dial, topic):
    """[MQTT-3.2.2-15]"""
    client = dial()
    limit = client.connack.props.get("maximum_packet_size")
    if limit is None:
        pytest.fail("no maximum packet size in CONNACK: one packet may ask for 256 MB of memory")
    client.send(b"\x30" + wire.varint(limit) + wire.text(topic))
    said = client.ended()
    assert [p.code for p in said] == [0x95]


def test_the_largest_allowed_packet_is_delivered(dial, topic):
    client = dial(keep_alive=0)
    limit = min(client.connack.props.get("maximum_packet_size", 1 << 20), 1 << 20)
    client.subscribe(topic)
    payload = bytes(limit - 100 - len(topic))
    client.publish(topic, payload)
    assert client.message(20).payload == payload


# ---------------------------------------------------------- message expiry

def test_a_waiting_message_expires_or_arrives_with_the_time_that_is_left(dial, name, topic):
    """[MQTT-3.3.2-5], [MQTT-3.3.2-6]"""
    client = persistent(dial, V5, name, clean=True)
    client.subscribe(topic, qos=2)
    client.bye()
    other = dial()
    other.publish(topic, "short 1", 1, props={"message_expiry": 1})
    other.publish(topic, "long 1", 1, props={"message_expiry": 60})
    other.publish(topic, "short 2", 2, props={"message_expiry": 1})
    other.publish(topic, "forever", 2)
    time.sleep(2.3)
    again = persistent(dial, V5, name)
    got = again.messages(2)
    assert [m.payload for m in got] == [b"long 1", b"forever"]
    assert 55 <= got[0].props["message_expiry"] <= 58 and "message_expiry" not in got[1].props
    again.nothing()


def test_a_message_that_passes_at_once_keeps_its_expiry(dial, topic):
    client = dial()
    client.subscribe(topic)
    dial().publish(topic, "x", props={"message_expiry": 30})
    assert client.message().props["message_expiry"] in (29, 30)


# ------------------------------------------------------------ topic alias

def test_a_client_may_publish_by_topic_alias(dial, topic):
    client, other = dial(), dial()
    assert other.connack.props.get("topic_alias_maximum", 0) > 0, "no topic aliases for clients"
    client.subscribe(f"{topic}/#", qos=1)
    other.publish(f"{topic}/a", "1", 1, props={"topic_alias": 1})
    other.publish("", "2", 1, props={"topic_alias": 1})
    other.publish(f"{topic}/b", "3", 1, props={"topic_alias": 1})  # the alias is set anew
    other.publish("", "4", 1, props={"topic_alias": 1})
    other.publish(f"{topic}/a", "5", 1)
    got = [client.message() for _ in range(5)]
    assert [(m.topic[-1], m.payload) for m in got] == [("a", b"1"), ("a", b"2"), ("b", b"3"), ("b", b"4"), ("a", b"5")]
    assert all("topic_alias" not in m.props for m in got)  # [MQTT-3.3.2-7]: an alias is of one connection


def test_aliases_end_with_the_connection(dial, name, topic):
    client = persistent(dial, V5, name, clean=True)
    client.publish(topic, "x", 1, props={"topic_alias": 1})
    client.bye()
    client = persistent(dial, V5, name)
    said = client.send(wire.publish(V5, "", b"x", props={"topic_alias": 1})).ended()
    assert said[-1].code in (0x82, 0x94)


def test_the_server_uses_only_the_aliases_that_the_client_allows(dial, topic):
    """[MQTT-3.1.2-26], -27. Aliases are optional for a sender: whatever it sends must resolve to the topics."""
    allowed = 2
    client = dial(props={"topic_alias_maximum": allowed})
    plain = dial()
    for each in (client, plain):
        each.subscribe(f"{topic}/#", qos=1)
    other = dial()
    sent = [f"{topic}/{n % 4}" for n in range(16)]
    for each in sent:
        other.publish(each, each, 1)
    known = {}
    for each in sent:
        got = client.message()
        alias = got.props.get("topic_alias")
        if alias is not None:
            assert 1 <= alias <= allowed
            if got.topic:
                known[alias] = got.topic
        assert (got.topic or known[alias]) == each == got.payload.decode()
        bare = plain.message()
        assert bare.topic == each and "topic_alias" not in bare.props


def test_an_alias_set_by_a_qos2_publish_serves_the_next_one(dial, topic):
    client, other = dial(), dial()
    client.subscribe(topic, qos=2)
    other.send(wire.publish(V5, topic, b"1", 2, 1, props={"topic_alias": 2})).expect(wire.PUBREC)
    other.send(wire.publish(V5, "", b"2", 2, 2, props={"topic_alias": 2})).expect(wire.PUBREC)
    for pid in (1, 2):
        other.send(wire.ack(wire.PUBREL, pid)).expect(wire.PUBCOMP)
    assert [m.payload for m in client.messages(2)] == [b"1", b"2"]


# ---------------------------------------------------- shared subscriptions

@pytest.mark.parametrize("version", [V311, V5])
def test_a_shared_subscription_gives_each_message_to_one_member(dial, topic, version):
    """Section 4.8.2; 3.1.1 clients may share as well, as other brokers allow."""
    members = [dial(version) for _ in range(3)]
    for member in members:
        member.subscribe(f"$share/crew/{topic}/#", qos=1)
    alone = dial()
    alone.subscribe(f"$share/other/{topic}/#", qos=1)
    plain = dial()
    plain.subscribe(f"{topic}/#", qos=1)
    other = dial()
    for number in range(30):
        other.publish(f"{topic}/{number}", str(number), 1)
    counts, seen = [], []
    for member in members:
        mine = []
        try:
            while True:
                mine.append(member.message(0.5).payload)
        except TimeoutError:
            counts.append(len(mine))
            seen += mine
    assert sorted(seen, key=int) == [b"%d" % n for n in range(30)]
    assert min(counts) > 0, counts
    assert len(alone.messages(30)) == len(plain.messages(30)) == 30


def test_a_group_passes_a_dead_members_messages_on(dial, topic):
    first, second = dial(), dial()
    for member in (first, second):
        member.subscribe(f"$share/g/{topic}", qos=1)
    first.reset()
    time.sleep(0.3)
    other = dial()
    for number in range(10):
        other.publish(topic, str(number), 1)
    assert [m.payload for m in second.messages(10)] == [b"%d" % n for n in range(10)]


def test_a_shared_subscription_is_left_by_its_full_name(dial, topic):
    client = dial()
    client.subscribe(f"$share/g/{topic}", qos=1)
    assert client.unsubscribe(topic) == [0x11]
    assert client.unsubscribe(f"$share/g/{topic}") == [0]
    dial().publish(topic, "x", 1)
    client.nothing()


def test_a_shared_and_a_plain_subscription_of_one_client_are_two(dial, topic):
    """Section 4.8.2: non-shared and shared deliveries do not exclude each other."""
    client = dial()
    client.subscribe(topic, qos=1, props={"subscription_id": 1})
    client.subscribe(f"$share/g/{topic}", qos=1, props={"subscription_id": 2})
    dial().publish(topic, "x", 1)
    got = client.messages(2)
    assert sorted(sum((m.props["subscription_id"] for m in got), [])) == [1, 2]


# ---------------------------------------------------------------- $SYS

def test_sys_topics_tell_about_the_server_as_mosquittos_users_know_them(dial):
    client = dial()
    client.subscribe("$SYS/#")
    wanted = {"$SYS/broker/version", "$SYS/broker/uptime", "$SYS/broker/clients/connected",
              "$SYS/broker/messages/received", "$SYS/broker/messages/sent", "$SYS/broker/subscriptions/count",
              "$SYS/broker/retained messages/count"}
    seen = {}
    deadline = time.monotonic() + 15
    while not wanted <= set(seen) and time.monotonic() < deadline:
        try:
            got = client.message(1)
            seen[got.topic] = got.payload
        except TimeoutError:
            pass
    assert wanted <= set(seen), f"missing: {sorted(wanted - set(seen))}; there are {sorted(seen)}"
    assert int(seen["$SYS/broker/clients/connected"]) >= 1


def test_nobody_publishes_to_sys(dial):
    watcher = dial()
    watcher.subscribe("$SYS/broker/forged")
    client = dial()
    client.publish("$SYS/broker/forged", "x", 0)
    assert client.publish("$SYS/broker/forged", "x", 1).code in (0x87, 0, 0x10)
    watcher.nothing(0.5)


def test_wildcards_at_the_front_do_not_show_sys(dial):
    """[MQTT-4.7.2-1]"""
    client = dial()
    client.subscribe("#", "+/broker/#", options=DO_NOT_SEND)
    try:
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            assert not client.message(1).topic.startswith("$")
    except TimeoutError:
        pass


# --------------------------------------------------- problem information

def test_no_reason_strings_when_the_client_asked_for_none(dial, topic):
    """[MQTT-3.1.2-29]: only PUBLISH, CONNACK and DISCONNECT may then carry them."""
    client = dial(props={"request_problem_info": 0})
    for got in (client.publish("$SYS/no", "x", 1), client.send(wire.ack(wire.PUBREL, 9)).expect(wire.PUBCOMP)):
        assert "reason_string" not in got.props and "user" not in got.props
    client.send(wire.subscribe(V5, 1, [(topic, 0)]))
    assert "reason_string" not in client.expect(wire.SUBACK).props


def test_response_information_is_sent_only_when_asked(dial):
    assert "response_info" not in dial().connack.props
