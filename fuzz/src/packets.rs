//! Any valid packet of any version, made from chosen bytes.

use safeport_mqtt::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketId, PacketType, PropertiesBuf, Property,
    Publish, QoS, ReasonCode, RetainHandling, SubAck, Subscribe, SubscribeBuf, SubscribeOptions,
    UnsubAck, Unsubscribe, UnsubscribeBuf, Version, Will,
};

use crate::source::Source;

/// Makes a packet and hands it to `use_it` with the version to write it in.
pub fn with_packet<R>(source: &mut Source<'_>, use_it: impl FnOnce(Version, Packet<'_>) -> R) -> R {
    let version = source.pick(&[Version::V5, Version::V311, Version::V31]);
    with_packet_of(version, source, |packet| use_it(version, packet))
}

/// Makes a packet of this version and hands it to `use_it`.
pub fn with_packet_of<R>(
    version: Version,
    source: &mut Source<'_>,
    use_it: impl FnOnce(Packet<'_>) -> R,
) -> R {
    let last = match version {
        Version::V5 => PacketType::Auth,
        _ => PacketType::Disconnect,
    };
    let packet_type = PacketType::from_u8(1 + source.below(last as usize) as u8);
    match packet_type.expect("1 to 15 are packet types") {
        PacketType::Connect => with_connect(version, source, use_it),
        PacketType::ConnAck => {
            let properties = properties(version, source, CONNACK);
            let code = match version {
                Version::V5 => code(source, PacketType::ConnAck),
                _ => ReasonCode::from_connect_return_code(source.below(6) as u8)
                    .expect("0 to 5 are return codes"),
            };
            use_it(Packet::ConnAck(ConnAck {
                session_present: version != Version::V31
                    && code == ReasonCode::Success
                    && source.flag(),
                code,
                properties: properties.as_properties(),
            }))
        }
        PacketType::Publish => with_publish(version, source, use_it),
        PacketType::PubAck => with_ack(version, source, PacketType::PubAck, |ack| {
            use_it(Packet::PubAck(ack))
        }),
        PacketType::PubRec => with_ack(version, source, PacketType::PubRec, |ack| {
            use_it(Packet::PubRec(ack))
        }),
        PacketType::PubRel => with_ack(version, source, PacketType::PubRel, |ack| {
            use_it(Packet::PubRel(ack))
        }),
        PacketType::PubComp => with_ack(version, source, PacketType::PubComp, |ack| {
            use_it(Packet::PubComp(ack))
        }),
        PacketType::Subscribe => with_subscribe(version, source, use_it),
        PacketType::SubAck => {
            let codes: Vec<u8> = (0..1 + source.below(4))
                .map(|_| match version {
                    Version::V5 => code(source, PacketType::SubAck) as u8,
                    _ => source.pick(&[0, 1, 2, 0x80]),
                })
                .collect();
            use_it(Packet::SubAck(SubAck {
                packet_id: packet_id(source),
                properties: properties(version, source, ANSWER).as_properties(),
                codes: &codes,
            }))
        }
        PacketType::Unsubscribe => {
            let mut filters = UnsubscribeBuf::new();
            for _ in 0..1 + source.below(4) {
                filters.push(&topic_filter(source)).expect("a valid filter");
            }
            use_it(Packet::Unsubscribe(Unsubscribe {
                packet_id: packet_id(source),
                properties: properties(version, source, &[0x26]).as_properties(),
                filters: filters.as_filters(),
            }))
        }
        PacketType::UnsubAck => {
            let codes: Vec<u8> = match version {
                Version::V5 => (0..1 + source.below(4))
                    .map(|_| code(source, PacketType::UnsubAck) as u8)
                    .collect(),
                _ => Vec::new(),
            };
            use_it(Packet::UnsubAck(UnsubAck {
                packet_id: packet_id(source),
                properties: properties(version, source, ANSWER).as_properties(),
                codes: &codes,
            }))
        }
        PacketType::PingReq => use_it(Packet::PingReq),
        PacketType::PingResp => use_it(Packet::PingResp),
        PacketType::Disconnect => use_it(Packet::Disconnect(Disconnect {
            code: match version {
                Version::V5 => code(source, PacketType::Disconnect),
                _ => ReasonCode::Success,
            },
            properties: properties(version, source, DISCONNECT).as_properties(),
        })),
        PacketType::Auth => {
            let mut properties = properties(version, source, &[0x16, 0x1F, 0x26]);
            properties
                .push(Property::AuthenticationMethod(&source.text(9)))
                .expect("a valid text");
            use_it(Packet::Auth(Auth {
                code: code(source, PacketType::Auth),
                properties: properties.as_properties(),
            }))
        }
    }
}

fn with_connect<R>(
    version: Version,
    source: &mut Source<'_>,
    use_it: impl FnOnce(Packet<'_>) -> R,
) -> R {
    let client_id = source.text(23);
    let (topic, payload) = (topic_name(source), source.data(20));
    let will_properties = properties(version, source, WILL);
    let will = source.flag().then(|| Will {
        topic: &topic,
        payload: &payload,
        qos: qos(source),
        retain: source.flag(),
        properties: will_properties.as_properties(),
    });
    let (username, password) = (source.text(9), source.data(9));
    let username = source.flag().then_some(username.as_str());
    let password_allowed = version == Version::V5 || username.is_some();
    let password = (password_allowed && source.flag()).then_some(password.as_slice());
    let mut properties = properties(version, source, CONNECT);
    if version == Version::V5 && source.flag() {
        properties
            .push(Property::AuthenticationMethod(&source.text(9)))
            .and_then(|()| properties.push(Property::AuthenticationData(&source.data(9))))
            .expect("valid data");
    }
    use_it(Packet::Connect(Connect {
        version,
        clean_start: source.flag(),
        keep_alive: source.u16(),
        client_id: &client_id,
        will,
        username,
        password,
        properties: properties.as_properties(),
        bridge: version != Version::V5 && source.byte() > 0xF0,
    }))
}

fn with_publish<R>(
    version: Version,
    source: &mut Source<'_>,
    use_it: impl FnOnce(Packet<'_>) -> R,
) -> R {
    let qos = qos(source);
    let mut properties = properties(version, source, PUBLISH);
    let mut topic = topic_name(source);
    if version == Version::V5 {
        for _ in 0..source.below(3) {
            push(&mut properties, source, 0x0B);
        }
        if source.flag() {
            push(&mut properties, source, 0x23);
            if source.flag() {
                topic.clear();
            }
        }
    }
    let payload = source.data(40);
    use_it(Packet::Publish(Publish {
        dup: qos != QoS::AtMostOnce && source.flag(),
        qos,
        retain: source.flag(),
        topic: &topic,
        packet_id: (qos != QoS::AtMostOnce).then(|| packet_id(source)),
        properties: properties.as_properties(),
        payload: &payload,
    }))
}

fn with_ack<R>(
    version: Version,
    source: &mut Source<'_>,
    packet_type: PacketType,
    use_it: impl FnOnce(Ack<'_>) -> R,
) -> R {
    use_it(Ack {
        packet_id: packet_id(source),
        code: match version {
            Version::V5 => code(source, packet_type),
            _ => ReasonCode::Success,
        },
        properties: properties(version, source, ANSWER).as_properties(),
    })
}

fn with_subscribe<R>(
    version: Version,
    source: &mut Source<'_>,
    use_it: impl FnOnce(Packet<'_>) -> R,
) -> R {
    let mut filters = SubscribeBuf::new();
    for _ in 0..1 + source.below(4) {
        let filter = topic_filter(source);
        let qos = qos(source);
        let options = match version {
            Version::V5 => SubscribeOptions {
                qos,
                no_local: source.flag() && !filter.starts_with("$share/"),
                retain_as_published: source.flag(),
                retain_handling: source.pick(&[
                    RetainHandling::SendAtSubscribe,
                    RetainHandling::SendIfNew,
                    RetainHandling::DoNotSend,
                ]),
            },
            _ => SubscribeOptions {
                qos,
                ..SubscribeOptions::default()
            },
        };
        filters.push(&filter, options).expect("a valid filter");
    }
    use_it(Packet::Subscribe(Subscribe {
        packet_id: packet_id(source),
        properties: properties(version, source, &[0x0B, 0x26]).as_properties(),
        filters: filters.as_filters(),
    }))
}

fn packet_id(source: &mut Source<'_>) -> PacketId {
    PacketId::new(source.u16()).unwrap_or(PacketId::MAX)
}

fn qos(source: &mut Source<'_>) -> QoS {
    source.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

fn code(source: &mut Source<'_>, packet_type: PacketType) -> ReasonCode {
    let allowed: Vec<ReasonCode> = ReasonCode::ALL
        .into_iter()
        .filter(|code| code.is_allowed_in(packet_type))
        .collect();
    source.pick(&allowed)
}

/// A topic name of one to seven short levels, some empty; `$` now and then.
pub fn topic_name(source: &mut Source<'_>) -> String {
    let mut name = String::new();
    for index in 0..1 + source.below(7) {
        if index > 0 {
            name.push('/');
        }
        name.push_str(&level(source));
    }
    match name.is_empty() {
        true => String::from("t"),
        false => name,
    }
}

/// A topic filter of the same shape with wildcards, sometimes shared.
pub fn topic_filter(source: &mut Source<'_>) -> String {
    let mut filter = String::new();
    if source.byte() > 0xC0 {
        filter.push_str("$share/g");
        filter.push_str(&level(source));
        filter.push('/');
    }
    let start = filter.len();
    for index in 0..1 + source.below(7) {
        if index > 0 {
            filter.push('/');
        }
        match source.below(4) {
            0 => filter.push('+'),
            1 => {
                filter.push('#');
                return filter;
            }
            _ => filter.push_str(&level(source)),
        }
    }
    // An unshared filter must not begin with `$share/` by chance; levels hold no such word.
    if filter.len() == start {
        filter.push('f');
    }
    filter
}

fn level(source: &mut Source<'_>) -> String {
    match source.below(8) {
        0 => String::new(),
        1 => String::from("$SYS"),
        2 => source.text(5).replace(['+', '#', '/', '\0'], "_"),
        _ => String::from(source.pick(&["a", "b", "tele", "plug-1", "SENSOR", "温度"])),
    }
}

// Which properties a packet may carry, by identifier (section 2.2.2.2). Those with a condition of
// their own are added where the packet is made.
const CONNECT: &[u8] = &[0x11, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27];
const WILL: &[u8] = &[0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26];
const CONNACK: &[u8] = &[
    0x11, 0x12, 0x13, 0x15, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2A,
];
const PUBLISH: &[u8] = &[0x01, 0x02, 0x03, 0x08, 0x09, 0x26];
const ANSWER: &[u8] = &[0x1F, 0x26];
const DISCONNECT: &[u8] = &[0x11, 0x1C, 0x1F, 0x26];

/// Some of the `allowed` properties, each once; user properties up to three times.
fn properties(version: Version, source: &mut Source<'_>, allowed: &[u8]) -> PropertiesBuf {
    let mut properties = PropertiesBuf::new();
    if version != Version::V5 || source.below(3) == 0 {
        return properties;
    }
    for id in allowed {
        let times = match (source.below(4), *id) {
            (3, 0x26) => 3,
            (2 | 3, _) => 1,
            _ => 0,
        };
        for _ in 0..times {
            push(&mut properties, source, *id);
        }
    }
    properties
}

fn push(properties: &mut PropertiesBuf, source: &mut Source<'_>, id: u8) {
    let (text, other, data) = (source.text(9), source.text(9), source.data(9));
    let topic = topic_name(source);
    let flag = source.flag();
    let number = source.u32();
    let small = source.u16();
    let property = match id {
        0x01 => Property::PayloadFormatIndicator(flag),
        0x02 => Property::MessageExpiryInterval(number),
        0x03 => Property::ContentType(&text),
        0x08 => Property::ResponseTopic(&topic),
        0x09 => Property::CorrelationData(&data),
        0x0B => Property::SubscriptionIdentifier((number >> source.below(32)) % 268_435_455 + 1),
        0x11 => Property::SessionExpiryInterval(number),
        0x12 => Property::AssignedClientIdentifier(&text),
        0x13 => Property::ServerKeepAlive(small),
        0x15 => Property::AuthenticationMethod(&text),
        0x16 => Property::AuthenticationData(&data),
        0x17 => Property::RequestProblemInformation(flag),
        0x18 => Property::WillDelayInterval(number),
        0x19 => Property::RequestResponseInformation(flag),
        0x1A => Property::ResponseInformation(&text),
        0x1C => Property::ServerReference(&text),
        0x1F => Property::ReasonString(&text),
        0x21 => Property::ReceiveMaximum(small.max(1)),
        0x22 => Property::TopicAliasMaximum(small),
        0x23 => Property::TopicAlias(small.max(1)),
        0x24 => Property::MaximumQoS(u8::from(flag)),
        0x25 => Property::RetainAvailable(flag),
        0x26 => Property::UserProperty(&text, &other),
        0x27 => Property::MaximumPacketSize(number.max(1)),
        0x28 => Property::WildcardSubscriptionAvailable(flag),
        0x29 => Property::SubscriptionIdentifierAvailable(flag),
        _ => Property::SharedSubscriptionAvailable(flag),
    };
    properties.push(property).expect("a valid property");
}
