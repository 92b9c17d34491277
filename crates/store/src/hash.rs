//! The SHA-256 under which bytes lie.

use std::fmt;
use std::str::FromStr;

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

/// The SHA-256 of some bytes. Shown and parsed as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobHash([u8; 32]);

impl BlobHash {
    /// A hash that somebody has computed.
    pub const fn new(bytes: [u8; 32]) -> BlobHash {
        BlobHash(bytes)
    }

    /// Its bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for BlobHash {
    fn from(bytes: [u8; 32]) -> BlobHash {
        BlobHash(bytes)
    }
}

impl fmt::Display for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobHash({self})")
    }
}

/// A text that is no SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no SHA-256; that is 64 hexadecimal digits")]
pub struct BadHash {
    /// The text.
    pub text: String,
}

impl FromStr for BlobHash {
    type Err = BadHash;

    fn from_str(text: &str) -> Result<BlobHash, BadHash> {
        let bad = || BadHash {
            text: text.chars().take(80).collect(),
        };
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or_else(bad);
        if text.len() != 64 {
            return Err(bad());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let value = digit(pair[0])? * 16 + digit(pair[1])?;
            *byte = u8::try_from(value).map_err(|_| bad())?;
        }
        Ok(BlobHash(bytes))
    }
}

impl ToSql for BlobHash {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(&self.0)))
    }
}

impl FromSql for BlobHash {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<BlobHash> {
        <[u8; 32]>::column_result(value).map(BlobHash)
    }
}

#[cfg(test)]
mod tests {
    use super::BlobHash;

    #[test]
    fn a_hash_is_read_back_from_its_digits_in_either_case_and_from_nothing_else() {
        let hash = BlobHash::new(std::array::from_fn(|at| (at * 37 % 256) as u8));
        let text = hash.to_string();
        assert_eq!(text.parse(), Ok(hash));
        assert_eq!(text.to_uppercase().parse(), Ok(hash));
        for bad in [
            "",
            &text[1..],
            &format!("{text}0"),
            &text.replace('0', "g"),
            &format!("+{}", &text[1..]),
            &format!("é{}", &text[2..]),
        ] {
            assert!(bad.parse::<BlobHash>().is_err(), "{bad}");
        }
    }
}
