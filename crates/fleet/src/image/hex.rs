//! Hashes are stored as people compare them: lower-case hexadecimal.

use alloc::string::String;
use core::fmt;

use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;

pub(super) fn serialize<S: Serializer, const N: usize>(
    bytes: &[u8; N],
    out: S,
) -> Result<S::Ok, S::Error> {
    out.collect_str(&Hex(bytes))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
    from: D,
) -> Result<[u8; N], D::Error> {
    from.deserialize_str(Text::<N>)
}

pub(super) mod option {
    use super::{Deserializer, Hex, Serializer, String, parse};
    use serde::de::Error;

    pub(in super::super) fn serialize<S: Serializer, const N: usize>(
        bytes: &Option<[u8; N]>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => out.collect_str(&Hex(bytes)),
            None => out.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        from: D,
    ) -> Result<Option<[u8; N]>, D::Error> {
        let text = <Option<String> as serde::Deserialize>::deserialize(from)?;
        text.map(|text| parse(&text).ok_or_else(|| D::Error::custom("not a hash")))
            .transpose()
    }
}

struct Hex<'a, const N: usize>(&'a [u8; N]);

impl<const N: usize> fmt::Display for Hex<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

struct Text<const N: usize>;

impl<const N: usize> Visitor<'_> for Text<N> {
    type Value = [u8; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hexadecimal digits", N * 2)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<[u8; N], E> {
        parse(text).ok_or_else(|| E::custom("not a hash"))
    }
}

fn parse<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N * 2 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = (digit(0)? * 16 + digit(1)?) as u8;
    }
    Some(bytes)
}
