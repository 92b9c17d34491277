//! Tokens of the HTTP API: drawn here, shown once, and known by their hash afterwards.

use blake2::{Blake2s256, Digest};
use safeport_store::TokenHash;

/// What every token begins with, so that people and scanners for leaked secrets know it.
pub const PREFIX: &str = "sp_";

/// Bytes of randomness in a token.
const RANDOM: usize = 32;

/// A new token: `sp_` and 64 hexadecimal digits.
///
/// # Errors
/// The system has no randomness to give.
pub fn draw() -> Result<String, getrandom::Error> {
    let mut random = [0; RANDOM];
    getrandom::fill(&mut random)?;
    let mut token = String::from(PREFIX);
    for byte in random {
        token.push_str(&format!("{byte:02x}"));
    }
    Ok(token)
}

/// A new token of a device, under which it finds its firmware: `d` and 19 letters or digits, 95
/// random bits.
///
/// # Errors
/// The system has no randomness to give.
pub fn draw_for_device() -> Result<String, getrandom::Error> {
    // RFC 4648 in lower case: nothing to be mistaken for one another in a URL.
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut random = [0; 19];
    getrandom::fill(&mut random)?;
    let digits = random.map(|byte| char::from(DIGITS[usize::from(byte % 32)]));
    Ok(String::from_iter(std::iter::once('d').chain(digits)))
}

/// What is kept of a token. Nobody can guess 256 bits, so one round of a fast hash is enough.
pub fn hash(token: &str) -> TokenHash {
    TokenHash::new(Blake2s256::digest(token).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_devices_differ_and_fit_into_a_folder_of_a_url() {
        let (one, two) = (
            draw_for_device().expect("randomness"),
            draw_for_device().expect("randomness"),
        );
        assert_ne!(one, two);
        assert!(one.len() == 20 && one.starts_with('d'), "{one}");
        assert!(
            one.bytes()
                .all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b))
        );
    }

    #[test]
    fn tokens_are_long_differ_and_are_known_by_their_hash() {
        let (one, two) = (draw().expect("randomness"), draw().expect("randomness"));
        assert_ne!(one, two);
        assert!(
            one.starts_with(PREFIX) && one.len() == PREFIX.len() + 2 * RANDOM,
            "{one}"
        );
        assert!(hash(&one) == hash(&one) && hash(&one) != hash(&two));
    }
}
