//! Passwords for devices: made here, shown once, stored only as a hash.

use alloc::string::String;
use core::fmt;

/// Crockford's base 32 in lower case: no `i`, `l`, `o`, `u`, so that a password
/// read from one screen can be typed into another.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A generated password of 26 letters and digits carrying 128 bits.
///
/// No character of it means anything to a Tasmota `Backlog`, to YAML, to a URL
/// or to a shell, and every family's field is long enough for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Spells 16 random bytes. The caller takes them from the system's secure
    /// source; equal bytes give an equal password.
    pub fn from_entropy(bytes: [u8; 16]) -> Password {
        let mut bits = u128::from_be_bytes(bytes);
        // 26 digits of 5 bits hold 130: the first digit carries only 3.
        let mut digits = [0u8; 26];
        for digit in digits.iter_mut().rev() {
            *digit = ALPHABET[(bits & 31) as usize];
            bits >>= 5;
        }
        Password(digits.iter().map(|&digit| digit as char).collect())
    }

    /// The password in clear, to hash it and to show it once.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use std::collections::HashSet;

    #[test]
    fn every_bit_of_entropy_changes_the_password() {
        let mut seen = HashSet::new();
        for bit in 0..128 {
            let password = Password::from_entropy((1u128 << bit).to_be_bytes());
            assert_eq!(password.as_str().len(), 26);
            assert!(seen.insert(password.as_str().bytes().collect::<std::vec::Vec<_>>()));
        }
    }

    #[test]
    fn only_lower_case_letters_and_digits_without_look_alikes_occur() {
        for byte in 0..=255u8 {
            let password = Password::from_entropy([byte; 16]);
            assert!(
                password.as_str().bytes().all(
                    |b| b.is_ascii_digit() || (b.is_ascii_lowercase() && !b"ilou".contains(&b))
                ),
                "{}",
                password.as_str()
            );
        }
    }

    #[test]
    fn a_password_never_reaches_a_log_through_debug() {
        let password = Password::from_entropy([7; 16]);
        assert!(!format!("{password:?}").contains(password.as_str()));
    }
}
