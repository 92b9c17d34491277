//! The other implementation, mqtt-protocol-core: parse as it parses, build as it builds.

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{
    PacketBuildResult, PacketBuilder, PacketData, RawPacket,
};
use mqtt_protocol_core::mqtt::packet::{
    self as theirs, GenericPacket, GenericPacketTrait, PayloadFormat, Properties as List,
    Property as TheirProperty, Qos, RetainHandling as TheirHandling, SubEntry, SubOpts, v3_1_1,
    v5_0,
};
use mqtt_protocol_core::mqtt::result_code::MqttError;
use safeport_mqtt::{
    Ack, Connect, Packet, PacketType, Properties, Property, Publish, QoS, RetainHandling, Version,
};

/// Their packet of any kind.
pub(crate) type Theirs = GenericPacket<u16>;

/// Their bytes.
pub(crate) fn encode(packet: &Theirs) -> Vec<u8> {
    packet.to_continuous_buffer()
}

/// What they make of `bytes`; `None` while they want more.
pub(crate) fn parse(version: Version, bytes: &[u8]) -> Option<Result<Theirs, MqttError>> {
    let mut cursor = Cursor::new(bytes);
    match PacketBuilder::new().feed(&mut cursor) {
        PacketBuildResult::Incomplete => None,
        PacketBuildResult::Error(error) => Some(Err(error)),
        PacketBuildResult::Complete(raw) => Some(parse_raw(version, &raw)),
    }
}

fn parse_raw(version: Version, raw: &RawPacket) -> Result<Theirs, MqttError> {
    macro_rules! exact {
        ($module:ident :: $name:ident) => {
            raw.parse_exact($module::$name::parse).map(Theirs::from)
        };
    }
    let packet_type = PacketType::from_u8(raw.packet_type()).ok_or(MqttError::MalformedPacket)?;
    if let PacketData::Publish(data) = &raw.data {
        return match version {
            Version::V5 => v5_0::Publish::parse(raw.flags(), data.clone()).map(|it| it.0.into()),
            _ => v3_1_1::Publish::parse(raw.flags(), data.clone()).map(|it| it.0.into()),
        };
    }
    // CONNECT carries its own level; their connection looks at it before it parses.
    let version = match (packet_type, raw.data_as_slice().get(6)) {
        (PacketType::Connect, Some(5)) => Version::V5,
        (PacketType::Connect, _) => Version::V311,
        _ => version,
    };
    match (version, packet_type) {
        (Version::V5, PacketType::Connect) => exact!(v5_0::Connect),
        (Version::V5, PacketType::ConnAck) => exact!(v5_0::Connack),
        (Version::V5, PacketType::PubAck) => exact!(v5_0::Puback),
        (Version::V5, PacketType::PubRec) => exact!(v5_0::Pubrec),
        (Version::V5, PacketType::PubRel) => exact!(v5_0::Pubrel),
        (Version::V5, PacketType::PubComp) => exact!(v5_0::Pubcomp),
        (Version::V5, PacketType::Subscribe) => exact!(v5_0::Subscribe),
        (Version::V5, PacketType::SubAck) => exact!(v5_0::Suback),
        (Version::V5, PacketType::Unsubscribe) => exact!(v5_0::Unsubscribe),
        (Version::V5, PacketType::UnsubAck) => exact!(v5_0::Unsuback),
        (Version::V5, PacketType::PingReq) => exact!(v5_0::Pingreq),
        (Version::V5, PacketType::PingResp) => exact!(v5_0::Pingresp),
        (Version::V5, PacketType::Disconnect) => exact!(v5_0::Disconnect),
        (Version::V5, PacketType::Auth) => exact!(v5_0::Auth),
        (_, PacketType::Connect) => exact!(v3_1_1::Connect),
        (_, PacketType::ConnAck) => exact!(v3_1_1::Connack),
        (_, PacketType::PubAck) => exact!(v3_1_1::Puback),
        (_, PacketType::PubRec) => exact!(v3_1_1::Pubrec),
        (_, PacketType::PubRel) => exact!(v3_1_1::Pubrel),
        (_, PacketType::PubComp) => exact!(v3_1_1::Pubcomp),
        (_, PacketType::Subscribe) => exact!(v3_1_1::Subscribe),
        (_, PacketType::SubAck) => exact!(v3_1_1::Suback),
        (_, PacketType::Unsubscribe) => exact!(v3_1_1::Unsubscribe),
        (_, PacketType::UnsubAck) => exact!(v3_1_1::Unsuback),
        (_, PacketType::PingReq) => exact!(v3_1_1::Pingreq),
        (_, PacketType::PingResp) => exact!(v3_1_1::Pingresp),
        (_, PacketType::Disconnect) => exact!(v3_1_1::Disconnect),
        (_, PacketType::Auth | PacketType::Publish) => Err(MqttError::MalformedPacket),
    }
}

/// The same packet, built field by field with their builders.
pub(crate) fn build(version: Version, packet: &Packet<'_>) -> Result<Theirs, MqttError> {
    match version {
        Version::V5 => build_5(packet),
        _ => build_3(packet),
    }
}

fn build_3(packet: &Packet<'_>) -> Result<Theirs, MqttError> {
    macro_rules! ack {
        ($name:ident, $ack:expr) => {
            v3_1_1::$name::builder()
                .packet_id($ack.packet_id.get())
                .build()?
                .into()
        };
    }
    Ok(match packet {
        Packet::Connect(it) => connect_3(it)?,
        Packet::ConnAck(it) => {
            let code = it.code.connect_return_code().expect("a code of 3.1.1");
            v3_1_1::Connack::builder()
                .session_present(it.session_present)
                .return_code(code_of(code)?)
                .build()?
                .into()
        }
        Packet::Publish(it) => {
            let mut builder = v3_1_1::Publish::builder()
                .topic_name(it.topic)?
                .qos(qos(it.qos))
                .dup(it.dup)
                .retain(it.retain)
                .payload(it.payload);
            if let Some(id) = it.packet_id {
                builder = builder.packet_id(id.get());
            }
            builder.build()?.into()
        }
        Packet::PubAck(it) => ack!(Puback, it),
        Packet::PubRec(it) => ack!(Pubrec, it),
        Packet::PubRel(it) => ack!(Pubrel, it),
        Packet::PubComp(it) => ack!(Pubcomp, it),
        Packet::Subscribe(it) => {
            let entries: Result<Vec<_>, _> = it
                .filters
                .iter()
                .map(|(filter, options)| {
                    SubEntry::new(filter, SubOpts::new().set_qos(qos(options.qos)))
                })
                .collect();
            v3_1_1::Subscribe::builder()
                .packet_id(it.packet_id.get())
                .entries(entries?)
                .build()?
                .into()
        }
        Packet::SubAck(it) => v3_1_1::Suback::builder()
            .packet_id(it.packet_id.get())
            .return_codes(codes(it.codes)?)
            .build()?
            .into(),
        Packet::Unsubscribe(it) => v3_1_1::Unsubscribe::builder()
            .packet_id(it.packet_id.get())
            .entries(it.filters.iter())?
            .build()?
            .into(),
        Packet::UnsubAck(it) => v3_1_1::Unsuback::builder()
            .packet_id(it.packet_id.get())
            .build()?
            .into(),
        Packet::PingReq => v3_1_1::Pingreq::new().into(),
        Packet::PingResp => v3_1_1::Pingresp::new().into(),
        Packet::Disconnect(_) => v3_1_1::Disconnect::builder().build()?.into(),
        Packet::Auth(_) => unreachable!("no packet of 3.1.1"),
    })
}

fn build_5(packet: &Packet<'_>) -> Result<Theirs, MqttError> {
    macro_rules! ack {
        ($name:ident, $ack:expr) => {{
            let ack: &Ack<'_> = $ack;
            let mut builder = v5_0::$name::builder().packet_id(ack.packet_id.get());
            if ack.code as u8 != 0 || !ack.properties.is_empty() {
                builder = builder.reason_code(code_of(ack.code as u8)?);
            }
            if !ack.properties.is_empty() {
                builder = builder.props(list(ack.properties)?);
            }
            builder.build()?.into()
        }};
    }
    Ok(match packet {
        Packet::Connect(it) => connect_5(it)?,
        Packet::ConnAck(it) => v5_0::Connack::builder()
            .session_present(it.session_present)
            .reason_code(code_of(it.code as u8)?)
            .props(list(it.properties)?)
            .build()?
            .into(),
        Packet::Publish(it) => publish_5(it)?,
        Packet::PubAck(it) => ack!(Puback, it),
        Packet::PubRec(it) => ack!(Pubrec, it),
        Packet::PubRel(it) => ack!(Pubrel, it),
        Packet::PubComp(it) => ack!(Pubcomp, it),
        Packet::Subscribe(it) => {
            let entries: Result<Vec<_>, _> = it
                .filters
                .iter()
                .map(|(filter, options)| {
                    let handling = match options.retain_handling {
                        RetainHandling::SendAtSubscribe => TheirHandling::SendRetained,
                        RetainHandling::SendIfNew => TheirHandling::SendRetainedIfNotExists,
                        RetainHandling::DoNotSend => TheirHandling::DoNotSendRetained,
                    };
                    let options = SubOpts::new()
                        .set_qos(qos(options.qos))
                        .set_nl(options.no_local)
                        .set_rap(options.retain_as_published)
                        .set_rh(handling);
                    SubEntry::new(filter, options)
                })
                .collect();
            v5_0::Subscribe::builder()
                .packet_id(it.packet_id.get())
                .props(list(it.properties)?)
                .entries(entries?)
                .build()?
                .into()
        }
        Packet::SubAck(it) => v5_0::Suback::builder()
            .packet_id(it.packet_id.get())
            .props(list(it.properties)?)
            .reason_codes(codes(it.codes)?)
            .build()?
            .into(),
        Packet::Unsubscribe(it) => v5_0::Unsubscribe::builder()
            .packet_id(it.packet_id.get())
            .props(list(it.properties)?)
            .entries(it.filters.iter())?
            .build()?
            .into(),
        Packet::UnsubAck(it) => v5_0::Unsuback::builder()
            .packet_id(it.packet_id.get())
            .props(list(it.properties)?)
            .reason_codes(codes(it.codes)?)
            .build()?
            .into(),
        Packet::PingReq => v5_0::Pingreq::new().into(),
        Packet::PingResp => v5_0::Pingresp::new().into(),
        Packet::Disconnect(it) => {
            let mut builder = v5_0::Disconnect::builder();
            if it.code as u8 != 0 || !it.properties.is_empty() {
                builder = builder.reason_code(code_of(it.code as u8)?);
            }
            if !it.properties.is_empty() {
                builder = builder.props(list(it.properties)?);
            }
            builder.build()?.into()
        }
        Packet::Auth(it) => v5_0::Auth::builder()
            .reason_code(code_of(it.code as u8)?)
            .props(list(it.properties)?)
            .build()?
            .into(),
    })
}

fn connect_3(it: &Connect<'_>) -> Result<Theirs, MqttError> {
    let mut builder = v3_1_1::Connect::builder()
        .clean_session(it.clean_start)
        .keep_alive(it.keep_alive)
        .client_id(it.client_id)?;
    if let Some(will) = it.will {
        builder = builder.will_message(
            will.topic,
            will.payload.to_vec(),
            qos(will.qos),
            will.retain,
        )?;
    }
    if let Some(username) = it.username {
        builder = builder.user_name(username)?;
    }
    if let Some(password) = it.password {
        builder = builder.password(password.to_vec())?;
    }
    Ok(builder.build()?.into())
}

fn connect_5(it: &Connect<'_>) -> Result<Theirs, MqttError> {
    let mut builder = v5_0::Connect::builder()
        .clean_start(it.clean_start)
        .keep_alive(it.keep_alive)
        .client_id(it.client_id)?
        .props(list(it.properties)?);
    if let Some(will) = it.will {
        builder = builder
            .will_message(
                will.topic,
                will.payload.to_vec(),
                qos(will.qos),
                will.retain,
            )?
            .will_props(list(will.properties)?);
    }
    if let Some(username) = it.username {
        builder = builder.user_name(username)?;
    }
    if let Some(password) = it.password {
        builder = builder.password(password.to_vec())?;
    }
    Ok(builder.build()?.into())
}

fn publish_5(it: &Publish<'_>) -> Result<Theirs, MqttError> {
    let mut builder = v5_0::Publish::builder()
        .qos(qos(it.qos))
        .dup(it.dup)
        .retain(it.retain)
        .props(list(it.properties)?)
        .payload(it.payload);
    if !it.topic.is_empty() {
        builder = builder.topic_name(it.topic)?;
    }
    if let Some(id) = it.packet_id {
        builder = builder.packet_id(id.get());
    }
    Ok(builder.build()?.into())
}

fn qos(qos: QoS) -> Qos {
    match qos {
        QoS::AtMostOnce => Qos::AtMostOnce,
        QoS::AtLeastOnce => Qos::AtLeastOnce,
        QoS::ExactlyOnce => Qos::ExactlyOnce,
    }
}

fn code_of<T: TryFrom<u8>>(code: u8) -> Result<T, MqttError> {
    T::try_from(code).map_err(|_| MqttError::MalformedPacket)
}

fn codes<T: TryFrom<u8>>(codes: &[u8]) -> Result<Vec<T>, MqttError> {
    codes.iter().map(|code| code_of(*code)).collect()
}

fn list(properties: Properties<'_>) -> Result<List, MqttError> {
    properties.iter().map(property).collect()
}

fn property(property: Property<'_>) -> Result<TheirProperty, MqttError> {
    macro_rules! same {
        ($($ours:ident => $theirs:ident ($value:ident) $make:expr;)*) => {
            Ok(match property {
                $( Property::$ours($value) => TheirProperty::$theirs(theirs::$theirs::new($make)?), )*
                Property::UserProperty(name, value) => {
                    TheirProperty::UserProperty(theirs::UserProperty::new(name, value)?)
                }
            })
        };
    }
    same! {
        PayloadFormatIndicator => PayloadFormatIndicator(value) match value {
            true => PayloadFormat::String,
            false => PayloadFormat::Binary,
        };
        MessageExpiryInterval => MessageExpiryInterval(value) value;
        ContentType => ContentType(value) value;
        ResponseTopic => ResponseTopic(value) value;
        CorrelationData => CorrelationData(value) value.to_vec();
        SubscriptionIdentifier => SubscriptionIdentifier(value) value;
        SessionExpiryInterval => SessionExpiryInterval(value) value;
        AssignedClientIdentifier => AssignedClientIdentifier(value) value;
        ServerKeepAlive => ServerKeepAlive(value) value;
        AuthenticationMethod => AuthenticationMethod(value) value;
        AuthenticationData => AuthenticationData(value) value.to_vec();
        RequestProblemInformation => RequestProblemInformation(value) u8::from(value);
        WillDelayInterval => WillDelayInterval(value) value;
        RequestResponseInformation => RequestResponseInformation(value) u8::from(value);
        ResponseInformation => ResponseInformation(value) value;
        ServerReference => ServerReference(value) value;
        ReasonString => ReasonString(value) value;
        ReceiveMaximum => ReceiveMaximum(value) value;
        TopicAliasMaximum => TopicAliasMaximum(value) value;
        TopicAlias => TopicAlias(value) value;
        MaximumQoS => MaximumQos(value) value;
        RetainAvailable => RetainAvailable(value) u8::from(value);
        MaximumPacketSize => MaximumPacketSize(value) value;
        WildcardSubscriptionAvailable => WildcardSubscriptionAvailable(value) u8::from(value);
        SubscriptionIdentifierAvailable => SubscriptionIdentifierAvailable(value) u8::from(value);
        SharedSubscriptionAvailable => SharedSubscriptionAvailable(value) u8::from(value);
    }
}
