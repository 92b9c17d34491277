//! CONNECT, which is read by the level that it carries.

use crate::error::{DecodeError, DecodeErrorKind as Kind, Fault};
use crate::packet::{Connect, Will};
use crate::properties::Properties;
use crate::property::Place;
use crate::read::Reader;
use crate::topic::check_name;
use crate::wire::{PacketType, QoS, Version};

#[inline(never)]
pub(crate) fn connect(body: &[u8], padded: bool) -> Result<Connect<'_>, DecodeError> {
    let fail = |fault, level| DecodeError::new(fault, PacketType::Connect as u8, level);
    let mut reader = Reader::new(body);
    let level = protocol_level(&mut reader).map_err(|(fault, level)| fail(fault, level))?;
    let version = level.version;
    if padded && version == Version::V5 {
        return Err(fail(Kind::VariableIntegerNotMinimal.into(), version as u8));
    }
    connect_fields(&mut reader, level).map_err(|fault| fail(fault, version as u8))
}

struct Level {
    version: Version,
    bridge: bool,
}

/// Protocol name and level. A wrong one is told apart from a broken packet, since it is answered:
/// CONNACK 0x84, or return code 1 of MQTT 3 [MQTT-3.1.2-1], [MQTT-3.1.2-2].
fn protocol_level(reader: &mut Reader<'_>) -> Result<Level, (Fault, u8)> {
    let name = reader.binary().map_err(|kind| (kind.into(), 0))?;
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err((Kind::ProtocolName.into(), 0));
    }
    let level = reader.u8().map_err(|kind| (kind.into(), 0))?;
    let (version, bridge) = match (name, level) {
        (b"MQIsdp", 3) => (Version::V31, false),
        (b"MQIsdp", 0x83) => (Version::V31, true),
        (b"MQTT", 4) => (Version::V311, false),
        (b"MQTT", 0x84) => (Version::V311, true),
        (b"MQTT", 5) => (Version::V5, false),
        _ => return Err((Kind::ProtocolLevel.found(level), level)),
    };
    Ok(Level { version, bridge })
}

fn connect_fields<'a>(reader: &mut Reader<'a>, level: Level) -> Result<Connect<'a>, Fault> {
    let Level { version, bridge } = level;
    let flags = ConnectFlags(reader.u8()?);
    flags.check(version)?;
    let keep_alive = reader.u16()?;
    let properties = Properties::read(reader, version, Place::Connect)?;
    // In this order [MQTT-3.1.3-1]; the client identifier is never left out [MQTT-3.1.3-3].
    let client_id = reader.string()?;
    let will = match flags.will() {
        true => Some(will(reader, flags, version)?),
        false => None,
    };
    // MQTT 3.1 lets the remaining length win over the flags, for clients older than them.
    let announced =
        |flag: bool, reader: &Reader<'_>| flag && !(version == Version::V31 && reader.is_empty());
    let username = match announced(flags.username(), reader) {
        true => Some(reader.string()?),
        false => None,
    };
    let password = match announced(flags.password(), reader) {
        true => Some(reader.binary()?),
        false => None,
    };
    reader.end()?;
    Ok(Connect {
        version,
        clean_start: flags.clean_start(),
        keep_alive,
        client_id,
        will,
        username,
        password,
        properties,
        bridge,
    })
}

fn will<'a>(
    reader: &mut Reader<'a>,
    flags: ConnectFlags,
    version: Version,
) -> Result<Will<'a>, Fault> {
    let properties = Properties::read(reader, version, Place::Will)?;
    // [MQTT-3.1.3-11]
    let topic = reader.string_unchecked()?;
    if topic.is_empty() {
        return Err(Kind::EmptyTopicName.into());
    }
    check_name(topic)?;
    Ok(Will {
        topic,
        payload: reader.binary()?,
        // [MQTT-3.1.2-12] (3.1.1: [MQTT-3.1.2-14])
        qos: QoS::from_u8(flags.will_qos()).ok_or(Kind::WillQosThree)?,
        retain: flags.will_retain(),
        properties,
    })
}

#[derive(Clone, Copy)]
struct ConnectFlags(u8);

impl ConnectFlags {
    fn check(self, version: Version) -> Result<(), Fault> {
        // MQTT 3.1 does not use the lowest bit, and ignores the will's bits without a will.
        if version != Version::V31 {
            // [MQTT-3.1.2-3]
            if self.0 & 1 != 0 {
                return Err(Kind::ReservedConnectFlag.found(self.0));
            }
            // [MQTT-3.1.2-11], [MQTT-3.1.2-13] (3.1.1: [MQTT-3.1.2-13], [MQTT-3.1.2-15])
            if !self.will() && (self.will_qos() != 0 || self.will_retain()) {
                return Err(Kind::WillFlagsWithoutWill.found(self.0));
            }
        }
        // [MQTT-3.1.2-12] (3.1.1: [MQTT-3.1.2-14])
        if self.will() && self.will_qos() == 3 {
            return Err(Kind::WillQosThree.found(self.0));
        }
        // [MQTT-3.1.2-22] of 3.1.1
        if version != Version::V5 && self.password() && !self.username() {
            return Err(Kind::PasswordWithoutUsername.found(self.0));
        }
        Ok(())
    }

    fn clean_start(self) -> bool {
        self.0 & 0b10 != 0
    }

    fn will(self) -> bool {
        self.0 & 0b100 != 0
    }

    fn will_qos(self) -> u8 {
        self.0 >> 3 & 3
    }

    fn will_retain(self) -> bool {
        self.0 & 0b10_0000 != 0
    }

    fn password(self) -> bool {
        self.0 & 0b100_0000 != 0
    }

    fn username(self) -> bool {
        self.0 & 0b1000_0000 != 0
    }
}
