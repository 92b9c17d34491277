"""Every class of malformed or forbidden packet, and what the specification demands of the server.

Tables, one row per fault: what is wrong, the statement of the specification, the bytes, and the reason codes
that fit it. For MQTT 5 the server must close and should say why first (section 4.13); safeport always says why,
so the reason code is asserted. For 3.1.1 it may only close.
"""

import pytest

import wire
from wire import V311, V5, packet, properties, raw_properties, text, u16, varint

MALFORMED, PROTOCOL = 0x81, 0x82
M, P, MP = {MALFORMED}, {PROTOCOL}, {MALFORMED, PROTOCOL}
NOT_UTF8 = b"\xc3\x28"
SURROGATE = b"\xed\xa0\x80"
OVERLONG = b"\xc0\xaf"


def rows(*table):
    return [pytest.param(*row[1:], id=f"{row[0]} [{row[1]}]") for row in table]


# ---------------------------------------------------------------- CONNECT

BEFORE_CONNECT = rows(
    ("PUBLISH first", "MQTT-3.1.0-1", wire.publish(V311, "a", b"x")),
    ("SUBSCRIBE first", "MQTT-3.1.0-1", wire.subscribe(V311, 1, [("a", 0)])),
    ("PINGREQ first", "MQTT-3.1.0-1", wire.PING),
    ("DISCONNECT first", "MQTT-3.1.0-1", wire.disconnect(V311)),
    ("AUTH first", "MQTT-3.1.0-1", wire.auth(0x18)),
    ("a CONNACK from the client", "MQTT-3.1.0-1", packet(0x20, b"\0\0")),
    ("packet type 0", "section 2.1.2", packet(0x00)),
    ("remaining length of five bytes", "section 2.1.4", b"\x10\xff\xff\xff\xff\x7f"),
    ("zeros", "section 2.1.2", bytes(64)),
    ("line noise", "section 2.1.2", bytes(range(200, 256)) * 3),
)


@pytest.mark.parametrize("statement, sent", BEFORE_CONNECT)
def test_a_connection_that_does_not_begin_with_connect_is_closed(dial, statement, sent):
    client = dial(raw=True)
    client.send(sent)
    said = client.ended()
    assert all(p.kind != wire.CONNACK or p.code >= 0x80 for p in said), [str(p) for p in said]


WILL = wire.Will("w/t", b"bye")
HEAD5 = text("MQTT") + b"\x05"


def connect5(raw: bytes) -> bytes:
    """A CONNECT whose property bytes are given."""
    return wire.connect(V5, "bad", raw_props=raw_properties(raw))


def prop(name, value):
    return wire.one_property(name, value)


def will5(raw: bytes) -> bytes:
    """A CONNECT whose will property bytes are given."""
    return packet(0x10, HEAD5, b"\x06", u16(60), properties(), text("bad"), raw_properties(raw), text("w"), text("m"))


BAD_CONNECT_5 = rows(
    ("fixed header flags", "MQTT-2.1.3-1", b"\x11" + wire.connect(V5, "bad")[1:], M),
    ("wrong protocol name", "MQTT-3.1.2-1", wire.connect(V5, "bad", name="MQTX"), {0x84, MALFORMED}),
    ("protocol name in lower case", "MQTT-3.1.2-1", wire.connect(V5, "bad", name="mqtt"), {0x84, MALFORMED}),
    ("empty protocol name", "MQTT-3.1.2-1", wire.connect(V5, "bad", name=""), {0x84, MALFORMED}),
    ("protocol version 6", "MQTT-3.1.2-2", wire.connect(V5, "bad", level=6), {0x84, 0x01}),
    ("protocol version 0", "MQTT-3.1.2-2", wire.connect(V5, "bad", level=0), {0x84, 0x01}),
    ("protocol version 255", "MQTT-3.1.2-2", wire.connect(V5, "bad", level=255), {0x84, 0x01}),
    ("reserved connect flag", "MQTT-3.1.2-3", wire.connect(V5, "bad", flags=0x03), M),
    ("will QoS without will", "MQTT-3.1.2-11", wire.connect(V5, "bad", flags=0x0A), MP),
    ("will QoS 3", "MQTT-3.1.2-12", wire.connect(V5, "bad", will=WILL, flags=0x1E), MP),
    ("will retain without will", "MQTT-3.1.2-13", wire.connect(V5, "bad", flags=0x22), MP),
    ("user name flag without user name", "MQTT-3.1.2-17", wire.connect(V5, "bad", flags=0x82), M),
    ("password flag without password", "MQTT-3.1.2-19", wire.connect(V5, "bad", flags=0x42), M),
    ("user name without its flag", "MQTT-3.1.2-16", wire.connect(V5, "bad", tail=text("me")), MP),
    ("client identifier not UTF-8", "MQTT-1.5.4-1", wire.connect(V5, NOT_UTF8), {MALFORMED, 0x85}),
    ("client identifier with a surrogate", "MQTT-1.5.4-1", wire.connect(V5, SURROGATE), {MALFORMED, 0x85}),
    ("client identifier overlong UTF-8", "MQTT-1.5.4-1", wire.connect(V5, OVERLONG), {MALFORMED, 0x85}),
    ("client identifier with U+0000", "MQTT-1.5.4-2", wire.connect(V5, b"a\0b"), {MALFORMED, 0x85}),
    ("user name with U+0000", "MQTT-1.5.4-2", wire.connect(V5, "bad", username=b"a\0b"), {MALFORMED, 0x86}),
    ("will topic not UTF-8", "MQTT-3.1.3-11", wire.connect(V5, "bad", will=wire.Will(NOT_UTF8)), M | {0x90}),
    ("will topic with a wildcard", "MQTT-3.3.2-2", wire.connect(V5, "bad", will=wire.Will("w/#")), MP | {0x90}),
    ("empty will topic", "MQTT-4.7.3-1", wire.connect(V5, "bad", will=wire.Will("")), MP | {0x90}),
    ("cut after the protocol name", "MQTT-3.1.4-1", packet(0x10, text("MQTT")), M),
    ("cut inside the client identifier", "MQTT-3.1.4-1", packet(0x10, HEAD5, b"\x02", u16(9), b"\0", u16(9), b"a"), M),
    ("nothing after the fixed header", "MQTT-3.1.4-1", packet(0x10), M),
    ("bytes after the payload", "MQTT-3.1.4-1", wire.connect(V5, "bad", tail=b"!"), M),
    ("property length past the end", "MQTT-2.2.2-1", packet(0x10, HEAD5, b"\x02", u16(9), b"\x70", text("x")), M),
    ("property length of five bytes", "section 1.5.5",
     packet(0x10, HEAD5, b"\x02", u16(9), b"\xff\xff\xff\xff\x01", text("x")), M),
    ("unknown property", "section 2.2.2.2", connect5(b"\x7f\x01"), M),
    ("property of another packet", "section 2.2.2.2", connect5(prop("topic_alias", 1)), M),
    ("property cut short", "section 2.2.2.2", connect5(b"\x11\x00\x00"), M),
    ("session expiry twice", "section 3.1.2.11.2", connect5(prop("session_expiry", 1) * 2), P),
    ("receive maximum 0", "section 3.1.2.11.3", connect5(prop("receive_maximum", 0)), P),
    ("receive maximum twice", "section 3.1.2.11.3", connect5(prop("receive_maximum", 5) * 2), P),
    ("maximum packet size 0", "section 3.1.2.11.4", connect5(prop("maximum_packet_size", 0)), P),
    ("maximum packet size twice", "section 3.1.2.11.4", connect5(prop("maximum_packet_size", 99) * 2), P),
    ("topic alias maximum twice", "section 3.1.2.11.5", connect5(prop("topic_alias_maximum", 9) * 2), P),
    ("request response information 2", "section 3.1.2.11.6", connect5(prop("request_response_info", 2)), P),
    ("request problem information 2", "section 3.1.2.11.7", connect5(prop("request_problem_info", 2)), P),
    ("user property not UTF-8", "MQTT-1.5.7-1", connect5(b"\x26" + text(NOT_UTF8) + text("v")), M),
    ("authentication method twice", "section 3.1.2.11.9", connect5(prop("auth_method", "X") * 2), P | {0x8C}),
    ("authentication data without method", "section 3.1.2.11.10", connect5(prop("auth_data", b"x")), P),
    ("will delay twice", "section 3.1.3.2.2", will5(prop("will_delay", 1) * 2), P),
    ("will payload format 2", "section 3.1.3.2.3", will5(prop("payload_format", 2)), MP),
    ("will response topic with a wildcard", "MQTT-3.3.2-14", will5(prop("response_topic", "a/+")), MP | {0x90}),
    ("will with a CONNECT property", "section 2.2.2.2", will5(prop("session_expiry", 5)), M),
    ("will properties missing", "section 3.1.3.2", packet(0x10, HEAD5, b"\x06", u16(60), b"\0", text("bad")), M),
)


@pytest.mark.parametrize("statement, sent, codes", BAD_CONNECT_5)
def test_a_bad_mqtt5_connect_is_refused(dial, statement, sent, codes):
    client = dial(raw=True)
    client.version = V311 if codes & {0x01} else V5  # a version nobody knows may be answered in the oldest form
    client.send(sent)
    try:
        said = client.ended()
    except wire.Bad:
        client.version, client.buffer = V5, b""
        return  # the CONNACK of version 5 to a version that we read as 3.1.1; closing is asserted by the next test
    assert len(said) <= 1
    for answer in said:
        assert answer.kind == wire.CONNACK, str(answer)
        assert answer.code in codes, f"{answer}; wanted one of {[hex(c) for c in codes]}"


@pytest.mark.parametrize("level", [0, 1, 2, 6, 7, 64, 255])
def test_an_unknown_protocol_version_is_told_so(dial, level):
    """[MQTT-3.1.2-2]: CONNACK 0x84 (or 0x01 in the form of 3.1.1), then the connection is closed."""
    client = dial(raw=True)
    client.send(wire.connect(V5, "bad", level=level))
    client.sock.settimeout(5)
    got = b""
    try:
        while chunk := client.sock.recv(4096):
            got += chunk
    except ConnectionResetError:
        pass
    assert got[:1] == b"\x20" and got[3] in (0x84, 0x01), got.hex()


BAD_CONNECT_311 = rows(
    ("fixed header flags", "MQTT-2.2.2-2", b"\x12" + wire.connect(V311, "bad")[1:]),
    ("wrong protocol name", "MQTT-3.1.2-1", wire.connect(V311, "bad", name="hj")),
    ("reserved connect flag", "MQTT-3.1.2-3", wire.connect(V311, "bad", flags=0x03)),
    ("will QoS without will", "MQTT-3.1.2-13", wire.connect(V311, "bad", flags=0x0A)),
    ("will QoS 3", "MQTT-3.1.2-14", wire.connect(V311, "bad", will=WILL, flags=0x1E)),
    ("will retain without will", "MQTT-3.1.2-15", wire.connect(V311, "bad", flags=0x22)),
    ("user name flag without user name", "MQTT-3.1.2-19", wire.connect(V311, "bad", flags=0x82)),
    ("password without user name", "MQTT-3.1.2-22", wire.connect(V311, "bad", password="p")),
    ("user name without its flag", "MQTT-3.1.2-18", wire.connect(V311, "bad", tail=text("me"))),
    ("client identifier not UTF-8", "MQTT-1.5.3-1", wire.connect(V311, NOT_UTF8)),
    ("client identifier with a surrogate", "MQTT-1.5.3-1", wire.connect(V311, SURROGATE)),
    ("client identifier with U+0000", "MQTT-1.5.3-2", wire.connect(V311, b"a\0b")),
    ("will topic not UTF-8", "MQTT-3.1.3-10", wire.connect(V311, "bad", will=wire.Will(NOT_UTF8))),
    ("will topic with a wildcard", "MQTT-3.3.2-2", wire.connect(V311, "bad", will=wire.Will("a/+/b"))),
    ("cut inside the variable header", "MQTT-4.8.0-1", packet(0x10, text("MQTT"), b"\x04")),
    ("no client identifier field", "MQTT-3.1.3-3", packet(0x10, text("MQTT"), b"\x04\x02", u16(60))),
    ("bytes after the payload", "MQTT-4.8.0-1", wire.connect(V311, "bad", tail=b"!")),
)


@pytest.mark.parametrize("statement, sent", BAD_CONNECT_311)
def test_a_bad_mqtt311_connect_is_closed(dial, statement, sent):
    client = dial(V311, raw=True)
    said = client.send(sent).ended()
    assert all(p.kind == wire.CONNACK and p.code for p in said), [str(p) for p in said]


def test_an_empty_client_identifier_without_clean_session_is_refused_with_code_2(dial):
    """[MQTT-3.1.3-8] of 3.1.1."""
    client = dial(V311, raw=True)
    said = client.send(wire.connect(V311, "", clean=False)).ended()
    assert [p.code for p in said] == [2]


def test_enhanced_authentication_is_refused_as_a_bad_method(dial):
    """[MQTT-4.12.0-1]: a method that the server does not support."""
    client = dial(raw=True)
    client.send(wire.connect(V5, "sasl", props={"auth_method": "SCRAM-SHA-256", "auth_data": b"n,,n=me"}))
    said = client.ended()
    assert [p.code for p in said] == [0x8C]


# ------------------------------------------------------- after CONNECT, MQTT 5

def publish5(raw: bytes, topic="bad/t", **kwargs) -> bytes:
    return wire.publish(V5, topic, b"x", raw_props=raw_properties(raw), **kwargs)


def subscribe5(raw: bytes) -> bytes:
    return wire.subscribe(V5, 1, [("bad/t", 0)], raw_props=raw_properties(raw))


def sub(*filters) -> bytes:
    return wire.subscribe(V5, 1, filters)


TOPIC = MP | {0x90}
FILTER = MP | {0x8F}

BAD_PACKETS_5 = rows(
    ("a second CONNECT", "MQTT-3.1.0-2", wire.connect(V5, "again"), P),
    ("packet type 0", "section 2.1.2", packet(0x00), M | P),
    ("a CONNACK from the client", "section 2.1.2", packet(0x20, b"\0\0\0"), MP),
    ("a SUBACK from the client", "section 2.1.2", packet(0x90, u16(1), b"\0\0"), MP),
    ("an UNSUBACK from the client", "section 2.1.2", packet(0xB0, u16(1), b"\0\0"), MP),
    ("a PINGRESP from the client", "section 2.1.2", packet(0xD0), MP),
    ("remaining length of five bytes", "section 2.1.4", b"\x30\xff\xff\xff\xff\x7f", M),
    # PUBLISH
    ("QoS 3", "MQTT-3.3.1-4", packet(0x36, text("bad/t"), u16(1), b"\0", b"x"), MP),
    ("DUP with QoS 0", "MQTT-3.3.1-2", wire.publish(V5, "bad/t", b"x", dup=True), MP),
    ("packet identifier 0", "MQTT-2.2.1-3", wire.publish(V5, "bad/t", b"x", 1, 0), MP),
    ("topic with +", "MQTT-3.3.2-2", wire.publish(V5, "bad/+"), TOPIC),
    ("topic with #", "MQTT-3.3.2-2", wire.publish(V5, "bad/#"), TOPIC),
    ("topic with # inside a level", "MQTT-3.3.2-2", wire.publish(V5, "bad#t"), TOPIC),
    ("topic not UTF-8", "MQTT-1.5.4-1", wire.publish(V5, b"bad/" + NOT_UTF8), TOPIC),
    ("topic with a surrogate", "MQTT-1.5.4-1", wire.publish(V5, b"bad/" + SURROGATE), TOPIC),
    ("topic with U+0000", "MQTT-1.5.4-2", wire.publish(V5, b"bad/\0t"), TOPIC),
    ("topic longer than the packet", "MQTT-2.2.2-1", packet(0x30, u16(500), b"bad/t"), M),
    ("no properties field", "MQTT-2.2.2-1", packet(0x30, text("bad/t")), M),
    ("empty topic without alias", "section 3.3.2.3.4", wire.publish(V5, ""), P),
    ("empty topic with an alias never set", "section 3.3.2.3.4", publish5(prop("topic_alias", 1), ""), P | {0x94}),
    ("topic alias 0", "MQTT-3.3.2-8", publish5(prop("topic_alias", 0)), {0x94}),
    ("topic alias above the maximum", "MQTT-3.3.2-9", publish5(prop("topic_alias", 65535)), {0x94}),
    ("topic alias twice", "section 3.3.2.3.4", publish5(prop("topic_alias", 1) * 2), P),
    ("message expiry twice", "section 3.3.2.3.3", publish5(prop("message_expiry", 1) * 2), P),
    ("content type twice", "section 3.3.2.3.9", publish5(prop("content_type", "a") * 2), P),
    ("content type not UTF-8", "MQTT-3.3.2-19", publish5(b"\x03" + text(NOT_UTF8)), M),
    ("response topic with a wildcard", "MQTT-3.3.2-14", publish5(prop("response_topic", "r/#")), TOPIC),
    ("response topic twice", "section 3.3.2.3.5", publish5(prop("response_topic", "r") * 2), P),
    ("correlation data twice", "section 3.3.2.3.6", publish5(prop("correlation_data", b"r") * 2), P),
    ("payload format 2", "section 3.3.2.3.2", publish5(prop("payload_format", 2)), MP),
    ("subscription identifier from a client", "MQTT-3.3.4-6", publish5(prop("subscription_id", 1)), MP),
    ("property of another packet", "section 2.2.2.2", publish5(prop("session_expiry", 1)), M),
    ("unknown property", "section 2.2.2.2", publish5(b"\x50\0"), M),
    ("property length past the end", "MQTT-2.2.2-1", packet(0x30, text("bad/t"), varint(99), b"\x01\x01"), M),
    # acknowledgements
    ("PUBACK with flags", "MQTT-2.1.3-1", packet(0x41, u16(1)), M),
    ("PUBACK with identifier 0", "MQTT-2.2.1-3", wire.ack(wire.PUBACK, 0), MP),
    ("PUBACK cut short", "MQTT-2.2.1-2", packet(0x40, b"\0"), M),
    ("PUBACK with an unknown reason code", "section 3.4.2.1", wire.ack(wire.PUBACK, 1, 0x01), MP),
    ("PUBACK with a foreign property", "section 2.2.2.2", wire.ack(wire.PUBACK, 1, 0, {"topic_alias": 1}), M),
    ("PUBREC with flags", "MQTT-2.1.3-1", packet(0x52, u16(1)), M),
    ("PUBREL with flags 0", "MQTT-3.6.1-1", packet(0x60, u16(1)), M),
    ("PUBREL with flags 3", "MQTT-3.6.1-1", packet(0x63, u16(1)), M),
    ("PUBREL with an unknown reason code", "section 3.6.2.1", wire.ack(wire.PUBREL, 1, 0x80), MP),
    ("PUBCOMP with flags", "MQTT-2.1.3-1", packet(0x72, u16(1)), M),
    # SUBSCRIBE
    ("SUBSCRIBE with flags 0", "MQTT-3.8.1-1", b"\x80" + sub(("bad/t", 0))[1:], M),
    ("SUBSCRIBE with flags 3", "MQTT-3.8.1-1", b"\x83" + sub(("bad/t", 0))[1:], M),
    ("SUBSCRIBE without filters", "MQTT-3.8.3-2", wire.subscribe(V5, 1, []), P | M),
    ("SUBSCRIBE with identifier 0", "MQTT-2.2.1-3", wire.subscribe(V5, 0, [("bad/t", 0)]), MP),
    ("SUBSCRIBE with QoS 3", "section 3.8.3.1", sub(("bad/t", 3)), MP),
    ("SUBSCRIBE with retain handling 3", "section 3.8.3.1", sub(("bad/t", 0x30)), MP),
    ("SUBSCRIBE with a reserved option bit", "MQTT-3.8.3-5", sub(("bad/t", 0x40)), M),
    ("no local on a shared subscription", "MQTT-3.8.3-4", sub(("$share/g/bad/t", 0x04)), P),
    ("filter without options", "section 3.8.3", packet(0x82, u16(1), b"\0", text("bad/t")), M),
    ("empty filter", "MQTT-4.7.3-1", sub(("", 0)), FILTER),
    ("# not at the end", "MQTT-4.7.1-1", sub(("bad/#/t", 0)), FILTER),
    ("# not a whole level", "MQTT-4.7.1-1", sub(("bad#", 0)), FILTER),
    ("+ not a whole level", "MQTT-4.7.1-2", sub(("bad+/t", 0)), FILTER),
    ("good filter before a bad one", "MQTT-4.7.1-1", sub(("bad/t", 0), ("bad/#/", 0)), FILTER),
    ("filter not UTF-8", "MQTT-3.8.3-1", sub((NOT_UTF8, 0)), FILTER),
    ("filter with U+0000", "MQTT-4.7.3-2", sub((b"a/\0", 0)), FILTER),
    ("subscription identifier 0", "section 3.8.2.1.2", subscribe5(prop("subscription_id", 0)), P),
    ("subscription identifier twice", "section 3.8.2.1.2", subscribe5(prop("subscription_id", 1) * 2), P),
    ("subscription identifier of five bytes", "section 1.5.5", subscribe5(b"\x0b\xff\xff\xff\xff\x01"), M),
    ("SUBSCRIBE with a foreign property", "section 2.2.2.2", subscribe5(prop("topic_alias", 1)), M),
    # UNSUBSCRIBE
    ("UNSUBSCRIBE with flags 0", "MQTT-3.10.1-1", b"\xa0" + wire.unsubscribe(V5, 1, ["bad/t"])[1:], M),
    ("UNSUBSCRIBE without filters", "MQTT-3.10.3-2", wire.unsubscribe(V5, 1, []), P | M),
    ("UNSUBSCRIBE with identifier 0", "MQTT-2.2.1-3", wire.unsubscribe(V5, 0, ["bad/t"]), MP),
    ("UNSUBSCRIBE with a bad filter", "MQTT-4.7.1-1", wire.unsubscribe(V5, 1, ["a/#/b"]), FILTER),
    ("UNSUBSCRIBE filter not UTF-8", "MQTT-3.10.3-1", wire.unsubscribe(V5, 1, [NOT_UTF8]), FILTER),
    # the rest
    ("PINGREQ with flags", "MQTT-2.1.3-1", packet(0xC1), M),
    ("PINGREQ with a body", "section 3.12", packet(0xC0, b"x"), M),
    ("AUTH without a method", "MQTT-4.12.0-7", wire.auth(0x18), P),
    ("AUTH with a method out of the blue", "MQTT-4.12.0-7", wire.auth(0x19, {"auth_method": "X"}), P | {0x8C}),
    ("AUTH with flags", "MQTT-3.15.1-1", packet(0xF1, b"\x18\0"), M | P),
)


@pytest.mark.parametrize("statement, sent, codes", BAD_PACKETS_5)
def test_a_bad_mqtt5_packet_is_answered_with_its_reason_and_a_close(dial, statement, sent, codes):
    client = dial()
    said = client.send(sent).ended()
    assert [p.kind for p in said] == [wire.DISCONNECT], [str(p) for p in said]
    assert said[0].code in codes, f"{said[0]}; wanted one of {[hex(c) for c in codes]}"


# A shared filter that is not well formed may be refused in the SUBACK or by closing.
@pytest.mark.parametrize("bad", ["$share//t", "$share/g", "$share/g/", "$share/+/t", "$share/g#/t"])
def test_a_malformed_shared_filter_is_refused(dial, bad):
    """[MQTT-4.8.2-1], [MQTT-4.8.2-2]"""
    client = dial()
    client.send(wire.subscribe(V5, 1, [(bad, 0)]))
    got = client.receive()
    if got.kind == wire.SUBACK:
        assert got.codes[0] >= 0x80, str(got)
    else:
        assert got.kind == wire.DISCONNECT and got.code in FILTER, str(got)
        client.ended()


# For a bad DISCONNECT nobody may be listening any more: a close is enough.
BAD_DISCONNECT_5 = rows(
    ("flags", "MQTT-3.14.1-1", packet(0xE1), M),
    ("unknown reason code", "section 3.14.2.1", wire.disconnect(V5, 0x05), MP),
    ("reason code of the server", "section 3.14.2.1", wire.disconnect(V5, 0x89), MP),
    ("session expiry after 0 in CONNECT", "section 3.14.2.2.2", wire.disconnect(V5, 0, {"session_expiry": 9}), P),
    ("session expiry twice", "section 3.14.2.2.2", packet(0xE0, b"\0", raw_properties(prop("session_expiry", 0) * 2)), P),
    ("unknown property", "section 2.2.2.2", packet(0xE0, b"\0", raw_properties(b"\x60\0")), M),
)


@pytest.mark.parametrize("statement, sent, codes", BAD_DISCONNECT_5)
def test_a_bad_disconnect_is_an_error_and_so_publishes_the_will(dial, topic, statement, sent, codes):
    watcher = dial()
    watcher.subscribe(topic)
    client = dial(will=wire.Will(topic, b"will"))
    said = client.send(sent).ended()
    assert all(p.kind == wire.DISCONNECT and p.code in codes for p in said), [str(p) for p in said]
    assert watcher.message().payload == b"will"


# ------------------------------------------------------ after CONNECT, 3.1.1

def sub311(*filters, pid=1) -> bytes:
    return wire.subscribe(V311, pid, filters)


BAD_PACKETS_311 = rows(
    ("a second CONNECT", "MQTT-3.1.0-2", wire.connect(V311, "again")),
    ("packet type 0", "section 2.2.1", packet(0x00)),
    ("packet type 15", "section 2.2.1", packet(0xF0, b"\x18\0")),
    ("a CONNACK from the client", "section 2.2.1", packet(0x20, b"\0\0")),
    ("a SUBACK from the client", "section 2.2.1", packet(0x90, u16(1), b"\0")),
    ("an UNSUBACK from the client", "section 2.2.1", packet(0xB0, u16(1))),
    ("a PINGRESP from the client", "section 2.2.1", packet(0xD0)),
    ("remaining length of five bytes", "section 2.2.3", b"\x30\xff\xff\xff\xff\x7f"),
    ("QoS 3", "MQTT-3.3.1-4", packet(0x36, text("bad/t"), u16(1), b"x")),
    ("DUP with QoS 0", "MQTT-3.3.1-2", wire.publish(V311, "bad/t", b"x", dup=True)),
    ("packet identifier 0", "MQTT-2.3.1-1", wire.publish(V311, "bad/t", b"x", 1, 0)),
    ("topic with +", "MQTT-3.3.2-2", wire.publish(V311, "bad/+")),
    ("topic with #", "MQTT-3.3.2-2", wire.publish(V311, "bad/#")),
    ("empty topic", "MQTT-4.7.3-1", wire.publish(V311, "")),
    ("topic not UTF-8", "MQTT-1.5.3-1", wire.publish(V311, b"bad/" + NOT_UTF8)),
    ("topic with a surrogate", "MQTT-1.5.3-1", wire.publish(V311, b"bad/" + SURROGATE)),
    ("topic with U+0000", "MQTT-1.5.3-2", wire.publish(V311, b"bad/\0t")),
    ("topic longer than the packet", "MQTT-4.8.0-1", packet(0x30, u16(500), b"bad/t")),
    ("no packet identifier at QoS 1", "MQTT-4.8.0-1", packet(0x32, text("bad/t"))),
    ("PUBACK with flags", "MQTT-2.2.2-2", packet(0x41, u16(1))),
    ("PUBACK cut short", "MQTT-4.8.0-1", packet(0x40, b"\0")),
    ("PUBACK with a byte too many", "MQTT-4.8.0-1", packet(0x40, u16(1), b"\0")),
    ("PUBREC with flags", "MQTT-2.2.2-2", packet(0x52, u16(1))),
    ("PUBREL with flags 0", "MQTT-3.6.1-1", packet(0x60, u16(1))),
    ("PUBCOMP with flags", "MQTT-2.2.2-2", packet(0x72, u16(1))),
    ("SUBSCRIBE with flags 0", "MQTT-3.8.1-1", b"\x80" + sub311(("bad/t", 0))[1:]),
    ("SUBSCRIBE without filters", "MQTT-3.8.3-3", sub311()),
    ("SUBSCRIBE with identifier 0", "MQTT-2.3.1-1", sub311(("bad/t", 0), pid=0)),
    ("SUBSCRIBE with QoS 3", "MQTT-3.8.3-4", sub311(("bad/t", 3))),
    ("SUBSCRIBE with a reserved bit", "MQTT-3.8.3-4", sub311(("bad/t", 0x04))),
    ("filter without QoS", "MQTT-4.8.0-1", packet(0x82, u16(1), text("bad/t"))),
    ("empty filter", "MQTT-4.7.3-1", sub311(("", 0))),
    ("# not at the end", "MQTT-4.7.1-2", sub311(("bad/#/t", 0))),
    ("# not a whole level", "MQTT-4.7.1-2", sub311(("bad#", 0))),
    ("+ not a whole level", "MQTT-4.7.1-3", sub311(("bad+/t", 0))),
    ("filter not UTF-8", "MQTT-3.8.3-1", sub311((NOT_UTF8, 0))),
    ("UNSUBSCRIBE with flags 0", "MQTT-3.10.1-1", b"\xa0" + wire.unsubscribe(V311, 1, ["bad/t"])[1:]),
    ("UNSUBSCRIBE without filters", "MQTT-3.10.3-2", wire.unsubscribe(V311, 1, [])),
    ("UNSUBSCRIBE with a bad filter", "MQTT-4.7.1-2", wire.unsubscribe(V311, 1, ["a/#/b"])),
    ("PINGREQ with flags", "MQTT-2.2.2-2", packet(0xC1)),
    ("PINGREQ with a body", "MQTT-4.8.0-1", packet(0xC0, b"x")),
    ("DISCONNECT with flags", "MQTT-3.14.1-1", packet(0xE1)),
    ("DISCONNECT with a body", "MQTT-4.8.0-1", packet(0xE0, b"\0")),
)


@pytest.mark.parametrize("statement, sent", BAD_PACKETS_311)
def test_a_bad_mqtt311_packet_closes_the_connection_without_a_word(dial, statement, sent):
    client = dial(V311)
    said = client.send(sent).ended()
    assert said == [], [str(p) for p in said]


# ------------------------------------------- odd, but to be accepted

ODD_BUT_LEGAL_5 = rows(
    ("PUBACK that nobody waits for", "section 4.4", wire.ack(wire.PUBACK, 77)),
    ("PUBCOMP that nobody waits for", "section 4.3.3", wire.ack(wire.PUBCOMP, 77)),
    ("PUBACK in its long form", "section 3.4.2.1", wire.ack(wire.PUBACK, 77, 0, {"reason_string": "ok"})),
    ("empty payload", "section 3.3.3", wire.publish(V5, "odd/t")),
    ("topic of one slash", "section 4.7.3", wire.publish(V5, "/")),
    ("topic with spaces and empty levels", "section 4.7.3", wire.publish(V5, "/odd// t/")),
    ("topic with U+FEFF", "MQTT-1.5.4-3", wire.publish(V5, "\ufeffodd")),
    ("topic beyond the basic plane", "section 1.5.4", wire.publish(V5, "odd/\U0001F50C")),
    ("user properties with empty and equal names", "section 3.3.2.3.7",
     wire.publish(V5, "odd/t", props=[("user", ("", "")), ("user", ("a", "1")), ("user", ("a", "1"))])),
    ("message expiry 0", "section 3.3.2.3.3", wire.publish(V5, "odd/t", props={"message_expiry": 0})),
    ("empty correlation data and content type", "section 3.3.2.3.6",
     wire.publish(V5, "odd/t", props={"correlation_data": b"", "content_type": ""})),
    ("publishing to a name that begins with $", "section 4.7.2", wire.publish(V5, "$odd/t")),
    ("longest topic", "section 1.5.4", wire.publish(V5, "o" * 65535)),
    ("payload of 200 kB", "section 3.3.3", wire.publish(V5, "odd/t", bytes(200_000))),
)


@pytest.mark.parametrize("statement, sent", ODD_BUT_LEGAL_5)
def test_an_odd_but_legal_packet_leaves_the_connection_alone(dial, statement, sent):
    dial().send(sent).alive()


@pytest.mark.parametrize("version", [V311, V5])
def test_unknown_exchanges_of_qos_2_are_answered(dial, version):
    """PUBREL for an unknown identifier is answered by PUBCOMP (0x92 in 5); PUBREC by PUBREL (0x92 in 5)."""
    client = dial(version)
    got = client.send(wire.ack(wire.PUBREL, 500)).expect(wire.PUBCOMP)
    assert (got.pid, got.code) == (500, 0x92 if version == V5 else 0)
    if version == V5:
        got = client.send(wire.ack(wire.PUBREC, 501)).expect(wire.PUBREL)
        assert (got.pid, got.code) == (501, 0x92)
    client.alive()


@pytest.mark.parametrize("version", [V311, V5])
def test_unsubscribing_from_nothing_is_acknowledged(dial, version):
    client = dial(version)
    assert client.unsubscribe("never/subscribed") == ([0x11] if version == V5 else [])


@pytest.mark.parametrize("client_id", ["a" * 23, "b" * 1000, "with space/and+#", "ünïcødé-设备", "c" * 65535],
                         ids=["23 characters", "1000 characters", "special characters", "unicode", "65535 bytes"])
@pytest.mark.parametrize("version", [V311, V5])
def test_any_client_identifier_of_utf8_is_welcome_or_refused_with_its_code(dial, version, client_id):
    """A server may limit identifiers beyond 23 characters, then with 0x85 or 2 (section 3.1.3.1)."""
    client = dial(version, raw=True)
    answer = client.hello(client_id)
    if len(client_id) <= 1000:
        assert answer.code == 0, str(answer)
    else:
        assert answer.code in (0, 0x85 if version == V5 else 2), str(answer)


def test_a_password_without_a_user_name_is_legal_in_mqtt5(dial):
    client = dial(raw=True)
    client.send(wire.connect(V5, "pw-only", password="secret"))
    answer = client.receive()
    assert answer.kind == wire.CONNACK and answer.code in (0, 0x86, 0x87), str(answer)


@pytest.mark.parametrize("version", [V311, V5])
def test_packets_sent_on_the_heels_of_connect_are_served(dial, version, topic, name):
    """A client need not wait for the CONNACK (section 3.1.4)."""
    client = dial(version, raw=True)
    client.send(wire.connect(version, name), wire.subscribe(version, 1, [(topic, 1)]),
                wire.publish(version, topic, b"early", 1, 2), wire.PING)
    kinds = [client.expect(wire.CONNACK).kind, client.expect(wire.SUBACK).kind]
    rest = {client.receive().kind for _ in range(3)}
    assert rest == {wire.PUBLISH, wire.PUBACK, wire.PINGRESP}, (kinds, rest)


@pytest.mark.parametrize("version", [V311, V5])
def test_packets_may_arrive_one_byte_at_a_time(dial, version, topic, name):
    client = dial(version, raw=True)
    stream = (wire.connect(version, name), wire.subscribe(version, 1, [(topic, 0)]),
              wire.publish(version, topic, b"slow"))
    for byte in b"".join(stream):
        client.send(bytes([byte]))
    client.expect(wire.CONNACK)
    client.expect(wire.SUBACK)
    assert client.message().payload == b"slow"
