//! CONNECT, which is written in its own version.

use alloc::vec::Vec;

use crate::error::{DecodeErrorKind as Kind, EncodeError};
use crate::packet::{Connect, Will};
use crate::property::Place;
use crate::topic::check_name;
use crate::wire::{PacketType, Version};
use crate::write::{field_len, put_binary, put_header, put_u16, text_len, whole_len, within_limit};

impl Connect<'_> {
    /// Appends the packet to `out` in its own version, or leaves `out` as it is.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let remaining = within_limit(self.remaining_len()?)?;
        put_header(out, PacketType::Connect, remaining);
        self.put(out);
        Ok(())
    }

    /// Size of the whole packet in bytes; fails where [`encode`](Self::encode) fails.
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        Ok(whole_len(within_limit(self.remaining_len()?)?))
    }

    fn remaining_len(&self) -> Result<usize, EncodeError> {
        let version = self.version;
        if version == Version::V5 && self.bridge {
            return Err(EncodeError::NotInVersion {
                packet: PacketType::Connect,
                version,
                what: "the bridge bit",
            });
        }
        // [MQTT-3.1.2-22] of 3.1.1
        if version != Version::V5 && self.password.is_some() && self.username.is_none() {
            return Err(Kind::PasswordWithoutUsername.into());
        }
        // Name and its length, level, flags, keep alive.
        let mut len = 2 + protocol_name(version).len() + 4;
        len += self.properties.written_len(version, Place::Connect)?;
        len += text_len(self.client_id)?;
        if let Some(will) = &self.will {
            len += will.len(version)?;
        }
        if let Some(username) = self.username {
            len += text_len(username)?;
        }
        if let Some(password) = self.password {
            len += field_len(password)?;
        }
        Ok(len)
    }

    fn put(&self, out: &mut Vec<u8>) {
        let version = self.version;
        put_binary(out, protocol_name(version));
        out.push(version as u8 | u8::from(self.bridge) << 7);
        out.push(self.flags());
        put_u16(out, self.keep_alive);
        self.properties.put(version, out);
        put_binary(out, self.client_id.as_bytes());
        if let Some(will) = &self.will {
            will.properties.put(version, out);
            put_binary(out, will.topic.as_bytes());
            put_binary(out, will.payload);
        }
        if let Some(username) = self.username {
            put_binary(out, username.as_bytes());
        }
        if let Some(password) = self.password {
            put_binary(out, password);
        }
    }

    fn flags(&self) -> u8 {
        let will = self.will.as_ref().map_or(0, |will| {
            0b100 | (will.qos as u8) << 3 | u8::from(will.retain) << 5
        });
        u8::from(self.clean_start) << 1
            | will
            | u8::from(self.password.is_some()) << 6
            | u8::from(self.username.is_some()) << 7
    }
}

const fn protocol_name(version: Version) -> &'static [u8] {
    match version {
        Version::V31 => b"MQIsdp",
        Version::V311 | Version::V5 => b"MQTT",
    }
}

impl Will<'_> {
    fn len(&self, version: Version) -> Result<usize, EncodeError> {
        if self.topic.is_empty() {
            return Err(Kind::EmptyTopicName.into());
        }
        check_name(self.topic)?;
        Ok(self.properties.written_len(version, Place::Will)?
            + field_len(self.topic.as_bytes())?
            + field_len(self.payload)?)
    }
}
