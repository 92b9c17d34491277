//! Rules that hold alike for a packet that was read and for one to be written.

use crate::error::{DecodeErrorKind as Kind, Fault};
use crate::properties::Properties;
use crate::reason::ReasonCode;
use crate::wire::{PacketType, Version};

/// An empty topic name needs an alias (section 3.3.2.1); before MQTT 5 it is never right
/// [MQTT-4.7.3-1].
#[cold]
pub(crate) fn check_empty_topic(version: Version, properties: Properties<'_>) -> Result<(), Kind> {
    if version != Version::V5 {
        return Err(Kind::EmptyTopicName);
    }
    match properties.topic_alias() {
        Some(_) => Ok(()),
        None => Err(Kind::EmptyTopicNameWithoutAlias),
    }
}

/// The payload of SUBACK and UNSUBACK: [MQTT-3.9.3-2], [MQTT-3.11.3-2]. Before MQTT 5 the only
/// failure is 0x80.
pub(crate) fn check_codes(
    codes: &[u8],
    packet_type: PacketType,
    version: Version,
) -> Result<(), Fault> {
    if codes.is_empty() {
        return Err(Kind::NoReasonCodes.into());
    }
    for byte in codes {
        let allowed = match version {
            Version::V5 => {
                ReasonCode::from_u8(*byte).is_some_and(|code| code.is_allowed_in(packet_type))
            }
            _ => matches!(byte, 0..=2 | 0x80),
        };
        if !allowed {
            return Err(Kind::ReasonCodeNotAllowed.found(*byte));
        }
    }
    Ok(())
}
