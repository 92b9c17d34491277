//! Every packet of every version, byte for byte, in both directions.

use safeport_mqtt::{
    Ack, Auth, ConnAck, Connect, Decoded, Disconnect, Packet, PacketId, Properties, PropertiesBuf,
    Property, Publish, QoS, ReasonCode, RetainHandling, SubAck, Subscribe, SubscribeBuf,
    SubscribeOptions, UnsubAck, Unsubscribe, UnsubscribeBuf, Version, Will, decode, limits,
};

use Version::{V5, V31, V311};

/// `bytes` and `packet` are the same thing in each of `versions`.
#[track_caller]
fn same(versions: &[Version], bytes: &[u8], packet: Packet<'_>) {
    for version in versions {
        assert_eq!(
            decode(bytes, *version, limits::MAX_PACKET),
            Ok(Decoded::Packet(packet, bytes.len())),
            "decoded as {version}"
        );
        let mut out = Vec::new();
        packet.encode(*version, &mut out).expect("a valid packet");
        assert_eq!(out, bytes, "encoded as {version}");
        assert_eq!(packet.encoded_len(*version), Ok(bytes.len()));
    }
}

/// `bytes` decode to `packet`, which is written in fewer bytes.
#[track_caller]
fn reads_as(version: Version, bytes: &[u8], packet: Packet<'_>) {
    assert_eq!(
        decode(bytes, version, limits::MAX_PACKET),
        Ok(Decoded::Packet(packet, bytes.len()))
    );
}

fn id(value: u16) -> PacketId {
    PacketId::new(value).expect("not zero")
}

fn properties(list: &[Property<'_>]) -> PropertiesBuf {
    let mut buf = PropertiesBuf::new();
    for property in list {
        buf.push(*property).expect("a valid property");
    }
    buf
}

const PLAIN: Connect<'_> = Connect {
    version: V311,
    clean_start: true,
    keep_alive: 30,
    client_id: "DVES",
    will: None,
    username: None,
    password: None,
    properties: Properties::EMPTY,
    bridge: false,
};

#[test]
fn connect_of_each_version() {
    // The version given to decode does not matter: CONNECT carries its own.
    let all = [V31, V311, V5];
    same(
        &all,
        b"\x10\x12\x00\x06MQIsdp\x03\x02\x00\x1E\x00\x04DVES",
        Packet::Connect(Connect {
            version: V31,
            ..PLAIN
        }),
    );
    same(
        &all,
        b"\x10\x10\x00\x04MQTT\x04\x02\x00\x1E\x00\x04DVES",
        Packet::Connect(PLAIN),
    );
    same(
        &all,
        b"\x10\x11\x00\x04MQTT\x05\x02\x00\x1E\x00\x00\x04DVES",
        Packet::Connect(Connect {
            version: V5,
            ..PLAIN
        }),
    );
}

#[test]
fn connect_as_tasmota_sends_it_with_will_and_login() {
    same(
        &[V311],
        b"\x10\x36\x00\x04MQTT\x04\xEE\x00\x1E\x00\x0BDVES_3D5E26\x00\x0Dtele/plug/LWT\
          \x00\x07Offline\x00\x01u\x00\x02pw",
        Packet::Connect(Connect {
            client_id: "DVES_3D5E26",
            will: Some(Will {
                topic: "tele/plug/LWT",
                payload: b"Offline",
                qos: QoS::AtLeastOnce,
                retain: true,
                properties: Properties::EMPTY,
            }),
            username: Some("u"),
            password: Some(b"pw"),
            ..PLAIN
        }),
    );
}

#[test]
fn connect_of_a_bridge_sets_the_top_bit_of_the_level() {
    same(
        &[V311],
        b"\x10\x10\x00\x04MQTT\x84\x02\x00\x1E\x00\x04DVES",
        Packet::Connect(Connect {
            bridge: true,
            ..PLAIN
        }),
    );
    same(
        &[V31],
        b"\x10\x12\x00\x06MQIsdp\x83\x02\x00\x1E\x00\x04DVES",
        Packet::Connect(Connect {
            version: V31,
            bridge: true,
            ..PLAIN
        }),
    );
}

#[test]
fn connect_of_3_1_may_announce_a_login_that_is_missing() {
    reads_as(
        V31,
        b"\x10\x12\x00\x06MQIsdp\x03\xC2\x00\x1E\x00\x04DVES",
        Packet::Connect(Connect {
            version: V31,
            ..PLAIN
        }),
    );
    // And may set bits that it does not use.
    reads_as(
        V31,
        b"\x10\x12\x00\x06MQIsdp\x03\x3B\x00\x1E\x00\x04DVES",
        Packet::Connect(Connect {
            version: V31,
            ..PLAIN
        }),
    );
}

#[test]
fn connect_of_5_with_every_property() {
    let outer = properties(&[
        Property::SessionExpiryInterval(3600),
        Property::ReceiveMaximum(20),
        Property::MaximumPacketSize(65_536),
        Property::TopicAliasMaximum(10),
        Property::RequestResponseInformation(true),
        Property::RequestProblemInformation(false),
        Property::UserProperty("k", "v"),
        Property::AuthenticationMethod("m"),
        Property::AuthenticationData(b"\x00"),
    ]);
    let inner = properties(&[
        Property::WillDelayInterval(5),
        Property::PayloadFormatIndicator(true),
        Property::MessageExpiryInterval(60),
        Property::ContentType("t"),
        Property::ResponseTopic("r"),
        Property::CorrelationData(b"c"),
        Property::UserProperty("a", "b"),
    ]);
    let connect = Connect {
        version: V5,
        clean_start: false,
        client_id: "",
        // MQTT 5 allows a password alone.
        password: Some(b"p"),
        will: Some(Will {
            topic: "w",
            payload: b"!",
            qos: QoS::ExactlyOnce,
            retain: false,
            properties: inner.as_properties(),
        }),
        properties: outer.as_properties(),
        ..PLAIN
    };
    same(
        &[V5],
        b"\x10\x59\x00\x04MQTT\x05\x54\x00\x1E\
          \x23\x11\x00\x00\x0E\x10\x21\x00\x14\x27\x00\x01\x00\x00\x22\x00\x0A\x19\x01\x17\x00\
          \x26\x00\x01k\x00\x01v\x15\x00\x01m\x16\x00\x01\x00\
          \x00\x00\
          \x1F\x18\x00\x00\x00\x05\x01\x01\x02\x00\x00\x00\x3C\x03\x00\x01t\x08\x00\x01r\
          \x09\x00\x01c\x26\x00\x01a\x00\x01b\
          \x00\x01w\x00\x01!\x00\x01p",
        Packet::Connect(connect),
    );
    let outer = outer.as_properties();
    assert_eq!(outer.session_expiry(), Some(3600));
    assert_eq!(outer.receive_maximum(), Some(20));
    assert_eq!(outer.maximum_packet_size(), Some(65_536));
    assert_eq!(outer.topic_alias_maximum(), Some(10));
    assert_eq!(outer.request_response_information(), Some(true));
    assert_eq!(outer.request_problem_information(), Some(false));
    assert_eq!(outer.authentication_method(), Some("m"));
    assert_eq!(outer.authentication_data(), Some(&b"\x00"[..]));
    assert_eq!(outer.user_properties().collect::<Vec<_>>(), [("k", "v")]);
    assert_eq!(outer.will_delay(), None);
    let inner = inner.as_properties();
    assert_eq!(inner.will_delay(), Some(5));
    assert_eq!(inner.payload_format(), Some(true));
    assert_eq!(inner.message_expiry(), Some(60));
    assert_eq!(inner.content_type(), Some("t"));
    assert_eq!(inner.response_topic(), Some("r"));
    assert_eq!(inner.correlation_data(), Some(&b"c"[..]));
}

#[test]
fn connack_of_3_carries_return_codes() {
    let codes = [
        ReasonCode::Success,
        ReasonCode::UnsupportedProtocolVersion,
        ReasonCode::ClientIdentifierNotValid,
        ReasonCode::ServerUnavailable,
        ReasonCode::BadUserNameOrPassword,
        ReasonCode::NotAuthorized,
    ];
    for (value, code) in codes.into_iter().enumerate() {
        same(
            &[V31, V311],
            &[0x20, 2, 0, value as u8],
            Packet::ConnAck(ConnAck {
                session_present: false,
                code,
                properties: Properties::EMPTY,
            }),
        );
    }
    let present = ConnAck {
        session_present: true,
        code: ReasonCode::Success,
        properties: Properties::EMPTY,
    };
    same(&[V311], &[0x20, 2, 1, 0], Packet::ConnAck(present));
    // MQTT 3.1 has no such flag.
    let mut out = Vec::new();
    present.encode(V31, &mut out).expect("a valid packet");
    assert_eq!(out, [0x20, 2, 0, 0]);
}

#[test]
fn connack_of_5_with_every_property() {
    let buf = properties(&[
        Property::SessionExpiryInterval(u32::MAX),
        Property::ReceiveMaximum(1),
        Property::MaximumQoS(1),
        Property::RetainAvailable(true),
        Property::MaximumPacketSize(1),
        Property::AssignedClientIdentifier("c"),
        Property::TopicAliasMaximum(0),
        Property::ReasonString("r"),
        Property::UserProperty("", ""),
        Property::WildcardSubscriptionAvailable(true),
        Property::SubscriptionIdentifierAvailable(false),
        Property::SharedSubscriptionAvailable(true),
        Property::ServerKeepAlive(60),
        Property::ResponseInformation("i"),
        Property::ServerReference("s"),
        Property::AuthenticationMethod("m"),
        Property::AuthenticationData(b"d"),
    ]);
    same(
        &[V5],
        b"\x20\x3D\x01\x00\x3A\
          \x11\xFF\xFF\xFF\xFF\x21\x00\x01\x24\x01\x25\x01\x27\x00\x00\x00\x01\x12\x00\x01c\
          \x22\x00\x00\x1F\x00\x01r\x26\x00\x00\x00\x00\x28\x01\x29\x00\x2A\x01\x13\x00\x3C\
          \x1A\x00\x01i\x1C\x00\x01s\x15\x00\x01m\x16\x00\x01d",
        Packet::ConnAck(ConnAck {
            session_present: true,
            code: ReasonCode::Success,
            properties: buf.as_properties(),
        }),
    );
    let all = buf.as_properties();
    assert_eq!(all.session_expiry(), Some(u32::MAX));
    assert_eq!(all.receive_maximum(), Some(1));
    assert_eq!(all.maximum_qos(), Some(1));
    assert_eq!(all.retain_available(), Some(true));
    assert_eq!(all.maximum_packet_size(), Some(1));
    assert_eq!(all.assigned_client_id(), Some("c"));
    assert_eq!(all.topic_alias_maximum(), Some(0));
    assert_eq!(all.reason_string(), Some("r"));
    assert_eq!(all.wildcard_subscription_available(), Some(true));
    assert_eq!(all.subscription_identifiers_available(), Some(false));
    assert_eq!(all.shared_subscription_available(), Some(true));
    assert_eq!(all.server_keep_alive(), Some(60));
    assert_eq!(all.response_information(), Some("i"));
    assert_eq!(all.server_reference(), Some("s"));
    assert_eq!(all.iter().count(), 17);
    same(
        &[V5],
        &[0x20, 3, 0, 0x86, 0],
        Packet::ConnAck(ConnAck {
            session_present: false,
            code: ReasonCode::BadUserNameOrPassword,
            properties: Properties::EMPTY,
        }),
    );
}

const MESSAGE: Publish<'_> = Publish {
    dup: false,
    qos: QoS::AtMostOnce,
    retain: false,
    topic: "a/b",
    packet_id: None,
    properties: Properties::EMPTY,
    payload: b"hi",
};

#[test]
fn publish_at_each_qos() {
    let v3 = [V31, V311];
    same(&v3, b"\x30\x07\x00\x03a/bhi", Packet::Publish(MESSAGE));
    same(
        &v3,
        b"\x3B\x09\x00\x03a/b\x00\x01hi",
        Packet::Publish(Publish {
            dup: true,
            qos: QoS::AtLeastOnce,
            retain: true,
            packet_id: Some(id(1)),
            ..MESSAGE
        }),
    );
    let twice = Publish {
        qos: QoS::ExactlyOnce,
        packet_id: Some(id(0xFFFF)),
        ..MESSAGE
    };
    same(
        &v3,
        b"\x34\x09\x00\x03a/b\xFF\xFFhi",
        Packet::Publish(twice),
    );
    same(
        &[V5],
        b"\x34\x0A\x00\x03a/b\xFF\xFF\x00hi",
        Packet::Publish(twice),
    );
    same(
        &[V5],
        b"\x31\x06\x00\x03a/b\x00",
        Packet::Publish(Publish {
            retain: true,
            payload: b"",
            ..MESSAGE
        }),
    );
}

#[test]
fn publish_of_5_with_every_property() {
    let buf = properties(&[
        Property::PayloadFormatIndicator(false),
        Property::MessageExpiryInterval(1),
        Property::TopicAlias(7),
        Property::ResponseTopic("r/s"),
        Property::CorrelationData(b"\xFF"),
        Property::UserProperty("k", "1"),
        Property::UserProperty("k", "2"),
        Property::SubscriptionIdentifier(1),
        Property::SubscriptionIdentifier(268_435_455),
        Property::ContentType("t"),
    ]);
    // An alias may stand for the topic.
    same(
        &[V5],
        b"\x30\x32\x00\x00\x2D\
          \x01\x00\x02\x00\x00\x00\x01\x23\x00\x07\x08\x00\x03r/s\x09\x00\x01\xFF\
          \x26\x00\x01k\x00\x011\x26\x00\x01k\x00\x012\x0B\x01\x0B\xFF\xFF\xFF\x7F\x03\x00\x01thi",
        Packet::Publish(Publish {
            topic: "",
            properties: buf.as_properties(),
            ..MESSAGE
        }),
    );
    let all = buf.as_properties();
    assert_eq!(all.payload_format(), Some(false));
    assert_eq!(all.topic_alias(), Some(7));
    assert_eq!(all.subscription_identifier(), Some(1));
    let ids: Vec<u32> = all.subscription_identifiers().collect();
    assert_eq!(ids, [1, 268_435_455]);
    let users: Vec<_> = all.user_properties().collect();
    assert_eq!(users, [("k", "1"), ("k", "2")]);
}

#[test]
fn the_head_of_a_publish_counts_the_payload_that_follows_it() {
    let mut out = Vec::new();
    MESSAGE.encode_head(V311, &mut out).expect("a valid packet");
    assert_eq!(out, b"\x30\x07\x00\x03a/b");
}

#[test]
fn a_publish_for_3_leaves_its_properties_behind() {
    let buf = properties(&[Property::ContentType("t")]);
    let mut out = Vec::new();
    Publish {
        properties: buf.as_properties(),
        ..MESSAGE
    }
    .encode(V311, &mut out)
    .expect("a valid packet");
    assert_eq!(out, b"\x30\x07\x00\x03a/bhi");
}

#[test]
fn the_four_acknowledgements() {
    type Wrap = for<'a> fn(Ack<'a>) -> Packet<'a>;
    let kinds: [(u8, Wrap, ReasonCode); 4] = [
        (
            0x40,
            |ack| Packet::PubAck(ack),
            ReasonCode::NoMatchingSubscribers,
        ),
        (0x50, |ack| Packet::PubRec(ack), ReasonCode::QuotaExceeded),
        (
            0x62,
            |ack| Packet::PubRel(ack),
            ReasonCode::PacketIdentifierNotFound,
        ),
        (
            0x70,
            |ack| Packet::PubComp(ack),
            ReasonCode::PacketIdentifierNotFound,
        ),
    ];
    let buf = properties(&[
        Property::ReasonString("r"),
        Property::UserProperty("k", "v"),
    ]);
    for (first, wrap, code) in kinds {
        let plain = Ack {
            packet_id: id(0x1234),
            code: ReasonCode::Success,
            properties: Properties::EMPTY,
        };
        same(&[V31, V311, V5], &[first, 2, 0x12, 0x34], wrap(plain));
        same(
            &[V5],
            &[first, 3, 0x12, 0x34, code as u8],
            wrap(Ack { code, ..plain }),
        );
        let mut full = vec![first, 15, 0x12, 0x34, 0, 11];
        full.extend(b"\x1F\x00\x01r\x26\x00\x01k\x00\x01v");
        same(
            &[V5],
            &full,
            wrap(Ack {
                properties: buf.as_properties(),
                ..plain
            }),
        );
        // The long way to say nothing.
        reads_as(V5, &[first, 3, 0x12, 0x34, 0], wrap(plain));
        reads_as(V5, &[first, 4, 0x12, 0x34, 0, 0], wrap(plain));
    }
}

#[test]
fn subscribe_of_3_and_5() {
    let plain = |qos| SubscribeOptions {
        qos,
        ..SubscribeOptions::default()
    };
    let mut filters = SubscribeBuf::new();
    filters.push("a/#", plain(QoS::AtMostOnce)).expect("valid");
    filters.push("+", plain(QoS::ExactlyOnce)).expect("valid");
    same(
        &[V31, V311],
        b"\x82\x0C\x00\x0A\x00\x03a/#\x00\x00\x01+\x02",
        Packet::Subscribe(Subscribe {
            packet_id: id(10),
            properties: Properties::EMPTY,
            filters: filters.as_filters(),
        }),
    );
    let all = SubscribeOptions {
        qos: QoS::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    let shared = SubscribeOptions {
        retain_handling: RetainHandling::SendIfNew,
        ..SubscribeOptions::default()
    };
    filters.clear();
    filters.push("a", all).expect("valid");
    filters.push("$share/g/b", shared).expect("valid");
    let buf = properties(&[
        Property::SubscriptionIdentifier(128),
        Property::UserProperty("k", "v"),
    ]);
    let packet = Subscribe {
        packet_id: id(10),
        properties: buf.as_properties(),
        filters: filters.as_filters(),
    };
    same(
        &[V5],
        b"\x82\x1E\x00\x0A\x0A\x0B\x80\x01\x26\x00\x01k\x00\x01v\x00\x01a\x2D\x00\x0A$share/g/b\x10",
        Packet::Subscribe(packet),
    );
    assert_eq!(packet.properties.subscription_identifier(), Some(128));
    let listed: Vec<_> = packet.filters.iter().collect();
    assert_eq!(listed, [("a", all), ("$share/g/b", shared)]);
    assert_eq!(packet.filters.len(), 2);
}

#[test]
fn subscribe_unsubscribe_and_pubrel_of_3_1_may_be_marked_as_repeated() {
    let mut filters = SubscribeBuf::new();
    filters
        .push("a", SubscribeOptions::default())
        .expect("valid");
    reads_as(
        V31,
        b"\x8A\x06\x00\x01\x00\x01a\x00",
        Packet::Subscribe(Subscribe {
            packet_id: id(1),
            properties: Properties::EMPTY,
            filters: filters.as_filters(),
        }),
    );
    reads_as(
        V31,
        b"\x6A\x02\x00\x01",
        Packet::PubRel(Ack {
            packet_id: id(1),
            code: ReasonCode::Success,
            properties: Properties::EMPTY,
        }),
    );
    reads_as(V31, b"\x38\x07\x00\x03a/bhi", Packet::Publish(MESSAGE));
}

#[test]
fn suback_of_3_and_5() {
    let packet = SubAck {
        packet_id: id(10),
        properties: Properties::EMPTY,
        codes: &[0, 1, 2, 0x80],
    };
    same(
        &[V31, V311],
        &[0x90, 6, 0, 10, 0, 1, 2, 0x80],
        Packet::SubAck(packet),
    );
    let codes = [
        0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2,
    ];
    let five = SubAck {
        codes: &codes,
        ..packet
    };
    let mut bytes = vec![0x90, 15, 0, 10, 0];
    bytes.extend(codes);
    same(&[V5], &bytes, Packet::SubAck(five));
    let words: Vec<_> = five.reason_codes().take(2).collect();
    assert_eq!(words, [ReasonCode::GRANTED_QOS_0, ReasonCode::GrantedQoS1]);
    // MQTT 3 knows one failure.
    let mut out = Vec::new();
    SubAck {
        codes: &[1, 0x87, 0xA2],
        ..packet
    }
    .encode(V311, &mut out)
    .expect("a valid packet");
    assert_eq!(out, [0x90, 5, 0, 10, 1, 0x80, 0x80]);
}

#[test]
fn unsubscribe_and_unsuback_of_3_and_5() {
    let mut filters = UnsubscribeBuf::new();
    filters.push("a/+").expect("valid");
    filters.push("#").expect("valid");
    let packet = Unsubscribe {
        packet_id: id(3),
        properties: Properties::EMPTY,
        filters: filters.as_filters(),
    };
    same(
        &[V31, V311],
        b"\xA2\x0A\x00\x03\x00\x03a/+\x00\x01#",
        Packet::Unsubscribe(packet),
    );
    same(
        &[V5],
        b"\xA2\x0B\x00\x03\x00\x00\x03a/+\x00\x01#",
        Packet::Unsubscribe(packet),
    );
    assert_eq!(packet.filters.iter().collect::<Vec<_>>(), ["a/+", "#"]);
    let ack = UnsubAck {
        packet_id: id(3),
        properties: Properties::EMPTY,
        codes: &[],
    };
    same(&[V31, V311], &[0xB0, 2, 0, 3], Packet::UnsubAck(ack));
    let codes = [0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
    let mut bytes = vec![0xB0, 10, 0, 3, 0];
    bytes.extend(codes);
    same(
        &[V5],
        &bytes,
        Packet::UnsubAck(UnsubAck {
            codes: &codes,
            ..ack
        }),
    );
}

#[test]
fn pings() {
    let all = [V31, V311, V5];
    same(&all, &[0xC0, 0], Packet::PingReq);
    same(&all, &[0xD0, 0], Packet::PingResp);
}

#[test]
fn disconnect_of_3_and_5() {
    let plain = Disconnect {
        code: ReasonCode::NORMAL_DISCONNECTION,
        properties: Properties::EMPTY,
    };
    same(&[V31, V311, V5], &[0xE0, 0], Packet::Disconnect(plain));
    same(
        &[V5],
        &[0xE0, 1, 0x8B],
        Packet::Disconnect(Disconnect {
            code: ReasonCode::ServerShuttingDown,
            ..plain
        }),
    );
    let buf = properties(&[
        Property::SessionExpiryInterval(0),
        Property::ServerReference("s"),
    ]);
    same(
        &[V5],
        b"\xE0\x0B\x00\x09\x11\x00\x00\x00\x00\x1C\x00\x01s",
        Packet::Disconnect(Disconnect {
            properties: buf.as_properties(),
            ..plain
        }),
    );
    reads_as(V5, &[0xE0, 1, 0], Packet::Disconnect(plain));
    reads_as(V5, &[0xE0, 2, 0, 0], Packet::Disconnect(plain));
}

#[test]
fn auth_of_5() {
    let buf = properties(&[
        Property::AuthenticationMethod("SCRAM"),
        Property::AuthenticationData(b"\x01"),
    ]);
    for code in [
        ReasonCode::Success,
        ReasonCode::ContinueAuthentication,
        ReasonCode::ReAuthenticate,
    ] {
        let mut bytes = b"\xF0\x0E\x00\x0C\x15\x00\x05SCRAM\x16\x00\x01\x01".to_vec();
        bytes[2] = code as u8;
        same(
            &[V5],
            &bytes,
            Packet::Auth(Auth {
                code,
                properties: buf.as_properties(),
            }),
        );
    }
    same(
        &[V5],
        &[0xF0, 0],
        Packet::Auth(Auth {
            code: ReasonCode::Success,
            properties: Properties::EMPTY,
        }),
    );
}

#[test]
fn lengths_are_written_in_the_fewest_bytes_and_read_in_up_to_four() {
    for (payload, header) in [
        (124, &[0x30, 0x7F][..]),
        (125, &[0x30, 0x80, 0x01]),
        (16_380, &[0x30, 0xFF, 0x7F]),
        (16_381, &[0x30, 0x80, 0x80, 0x01]),
        (2_097_148, &[0x30, 0xFF, 0xFF, 0x7F]),
        (2_097_149, &[0x30, 0x80, 0x80, 0x80, 0x01]),
    ] {
        let payload = vec![b'x'; payload];
        let packet = Packet::Publish(Publish {
            topic: "t",
            payload: &payload,
            ..MESSAGE
        });
        let mut bytes = header.to_vec();
        bytes.extend(b"\x00\x01t");
        bytes.extend(&payload);
        same(&[V311], &bytes, packet);
    }
    // MQTT 3.1.1 does not ask for the fewest.
    reads_as(V311, &[0xC0, 0x80, 0x80, 0x80, 0x00], Packet::PingReq);
}

#[test]
fn packets_behind_each_other_are_read_one_by_one() {
    let stream = b"\xC0\x00\x30\x07\x00\x03a/bhi\xD0";
    let Ok(Decoded::Packet(Packet::PingReq, 2)) = decode(stream, V311, 100) else {
        panic!("PINGREQ comes first");
    };
    let Ok(Decoded::Packet(Packet::Publish(message), 9)) = decode(&stream[2..], V311, 100) else {
        panic!("PUBLISH comes second");
    };
    assert_eq!(message, MESSAGE);
    assert_eq!(decode(&stream[11..], V311, 100), Ok(Decoded::Incomplete(0)));
    assert_eq!(decode(b"", V311, 100), Ok(Decoded::Incomplete(0)));
    assert_eq!(
        decode(b"\x30\x07\x00", V311, 100),
        Ok(Decoded::Incomplete(9))
    );
}

#[test]
fn a_byte_order_mark_is_kept() {
    // [MQTT-1.5.4-3]
    reads_as(
        V311,
        b"\x30\x05\x00\x03\xEF\xBB\xBF",
        Packet::Publish(Publish {
            topic: "\u{FEFF}",
            payload: b"",
            ..MESSAGE
        }),
    );
}

#[test]
fn reason_codes_are_43_and_know_their_numbers() {
    for code in ReasonCode::ALL {
        assert_eq!(ReasonCode::from_u8(code as u8), Some(code));
        assert_eq!(code.is_error(), code as u8 >= 0x80);
        assert!(!code.to_string().is_empty());
    }
    let known = (0..=255).filter(|value| ReasonCode::from_u8(*value).is_some());
    assert_eq!(known.count(), 43);
}
