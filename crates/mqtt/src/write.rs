//! Fields and fixed headers to bytes: how long they are, and how they are written.

use alloc::vec::Vec;

use crate::error::{DecodeErrorKind as Kind, EncodeError};
use crate::limits::{MAX_FIELD, MAX_FIXED_HEADER, MAX_REMAINING_LENGTH};
use crate::wire::PacketType;

#[inline]
pub(crate) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(crate) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a variable byte integer (section 1.5.5 of MQTT 5): at most 268,435,455, which the
/// caller has made sure of.
#[inline]
pub fn put_variable_integer(out: &mut Vec<u8>, value: u32) {
    match value {
        0..=0x7F => out.push(value as u8),
        0x80..=0x3FFF => out.extend_from_slice(&[value as u8 | 0x80, (value >> 7) as u8]),
        _ => put_long_variable_integer(out, value),
    }
}

fn put_long_variable_integer(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// At most 65,535 bytes, which the caller has made sure of.
#[inline]
pub(crate) fn put_binary(out: &mut Vec<u8>, data: &[u8]) {
    put_u16(out, data.len() as u16);
    out.extend_from_slice(data);
}

/// Bytes of a field with its length in front.
#[inline]
pub(crate) fn field_len(data: &[u8]) -> Result<usize, EncodeError> {
    if data.len() > MAX_FIELD {
        return Err(EncodeError::FieldTooLong { len: data.len() });
    }
    Ok(2 + data.len())
}

/// Bytes of a string with its length in front; no U+0000 [MQTT-1.5.4-2].
pub(crate) fn text_len(text: &str) -> Result<usize, EncodeError> {
    if text.as_bytes().contains(&0) {
        return Err(Kind::NullCharacter.into());
    }
    field_len(text.as_bytes())
}

/// Bytes that [`put_variable_integer`] appends: 1 to 4.
pub const fn variable_integer_len(value: u32) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

#[inline]
pub(crate) fn within_limit(len: usize) -> Result<u32, EncodeError> {
    match u32::try_from(len) {
        Ok(value) if value <= MAX_REMAINING_LENGTH => Ok(value),
        _ => Err(EncodeError::PacketTooLarge { len }),
    }
}

/// Bytes of the whole packet by its remaining length.
pub(crate) fn whole_len(remaining: u32) -> usize {
    1 + variable_integer_len(remaining) + remaining as usize
}

/// Writes the fixed header of any packet but PUBLISH, and makes room for the whole packet.
pub(crate) fn put_header(out: &mut Vec<u8>, packet_type: PacketType, remaining: u32) {
    out.reserve(MAX_FIXED_HEADER + remaining as usize);
    out.push((packet_type as u8) << 4 | packet_type.flags());
    put_variable_integer(out, remaining);
}
