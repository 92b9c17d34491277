//! A cursor over bytes whose end is known.

use core::str;

use crate::error::DecodeErrorKind as Kind;
use crate::wire::PacketId;

/// What is left to read of one packet, or of a part of it.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that is left.
    #[inline]
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    /// Refuses bytes behind the last field.
    #[inline]
    pub(crate) fn end(&self) -> Result<(), Kind> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Kind::TrailingBytes)
        }
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, Kind> {
        let (byte, rest) = self.rest.split_first().ok_or(Kind::Truncated)?;
        self.rest = rest;
        Ok(*byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, Kind> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Kind::Truncated)?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, Kind> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Kind::Truncated)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Kind> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Kind::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A variable byte integer of MQTT 5, which must be as short as it can be [MQTT-1.5.5-1].
    #[inline]
    pub(crate) fn variable_integer(&mut self) -> Result<u32, Kind> {
        match self.rest {
            [byte, rest @ ..] if byte & 0x80 == 0 => {
                self.rest = rest;
                Ok(u32::from(*byte))
            }
            _ => self.long_variable_integer(),
        }
    }

    fn long_variable_integer(&mut self) -> Result<u32, Kind> {
        let mut value = 0;
        for (index, byte) in self.rest.iter().take(4).enumerate() {
            value |= u32::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                if *byte == 0 {
                    return Err(Kind::VariableIntegerNotMinimal);
                }
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 4 {
            Kind::Truncated
        } else {
            Kind::VariableIntegerTooLong
        })
    }

    /// A packet identifier, which must not be zero [MQTT-2.2.1-3] (3.1.1: [MQTT-2.3.1-1]).
    #[inline]
    pub(crate) fn packet_id(&mut self) -> Result<PacketId, Kind> {
        PacketId::new(self.u16()?).ok_or(Kind::PacketIdZero)
    }

    /// Binary data: two bytes of length and as many bytes.
    #[inline]
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], Kind> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// A string: well-formed UTF-8 [MQTT-1.5.4-1] without U+0000 [MQTT-1.5.4-2]
    /// (3.1.1: [MQTT-1.5.3-1], [MQTT-1.5.3-2]). A byte order mark stays [MQTT-1.5.4-3].
    #[inline]
    pub(crate) fn string(&mut self) -> Result<&'a str, Kind> {
        let text = str::from_utf8(self.binary()?).map_err(|_| Kind::IllFormedUtf8)?;
        if text.as_bytes().contains(&0) {
            return Err(Kind::NullCharacter);
        }
        Ok(text)
    }

    /// A string whose characters the caller checks.
    #[inline]
    pub(crate) fn string_unchecked(&mut self) -> Result<&'a str, Kind> {
        str::from_utf8(self.binary()?).map_err(|_| Kind::IllFormedUtf8)
    }
}
