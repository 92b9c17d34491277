//! Passwords: made, hashed for storage, verified. Only [`crate::serve::access`] verifies, on
//! threads of its own; only the command line hashes.

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::password_hash::{Error, PasswordVerifier};
use argon2::{Algorithm, Argon2, CustomizedPasswordHasher, Params, Version};
use safeport_fleet::Password;
use safeport_store::Secret;

use crate::limits::PASSWORD_BYTES;

/// How much work one verification is meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// A person chose it, so it can be guessed: argon2id, 19 MiB, two passes (about 25 ms on a
    /// desktop core).
    Chosen,
    /// We drew 128 random bits, which nobody guesses at any price. argon2id with 512 KiB and one
    /// pass keeps a house full of plugs that all come back after a power cut inside Tasmota's
    /// 4 s wait for CONNACK.
    Generated,
}

impl Cost {
    fn argon2(self) -> Argon2<'static> {
        let (memory_kib, passes) = match self {
            Cost::Chosen => (19 * 1024, 2),
            Cost::Generated => (512, 1),
        };
        let params = Params::new(memory_kib, passes, 1, None).expect("constants within the limits");
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
    }
}

/// Why a password could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Nothing was given.
    #[error("the password is empty; give at least one character")]
    Empty,
    /// Longer than any login is verified for.
    #[error("the password has {0} bytes; at most {PASSWORD_BYTES} are accepted")]
    TooLong(usize),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}; try again once it has started up")]
    NoRandomness(getrandom::Error),
    /// The hash function refused.
    #[error("hashing the password failed: {0}")]
    Hash(Error),
}

/// A fresh password of 128 random bits.
///
/// # Errors
/// [`PasswordError::NoRandomness`] if the system has none to give.
pub fn generate() -> Result<Password, PasswordError> {
    let mut entropy = [0; 16];
    getrandom::fill(&mut entropy).map_err(PasswordError::NoRandomness)?;
    Ok(Password::from_entropy(entropy))
}

/// The PHC string (`$argon2id$…`) to store for `password`, with a fresh salt.
///
/// # Errors
/// If the password is empty or longer than [`PASSWORD_BYTES`], or the system gives no salt.
pub fn hash(password: &[u8], cost: Cost) -> Result<Secret, PasswordError> {
    match password.len() {
        0 => return Err(PasswordError::Empty),
        length if length > PASSWORD_BYTES => return Err(PasswordError::TooLong(length)),
        _ => {}
    }
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(PasswordError::NoRandomness)?;
    let argon2 = cost.argon2();
    let params = argon2.params().clone();
    argon2
        .hash_password_customized(password, &salt, None, None, params)
        .map(|hash: argon2::password_hash::phc::PasswordHash| Secret::new(hash.to_string()))
        .map_err(PasswordError::Hash)
}

/// A PHC string that takes as long to verify against as that of a chosen password, and that no
/// password is known for: its hash was drawn, not computed, so making it costs a start nothing.
///
/// # Errors
/// [`PasswordError::NoRandomness`] if the system has none to give.
pub fn of_nobody() -> Result<Secret, PasswordError> {
    let mut drawn = [0; 16 + Params::DEFAULT_OUTPUT_LEN];
    getrandom::fill(&mut drawn).map_err(PasswordError::NoRandomness)?;
    let (salt, output) = drawn.split_at(16);
    let argon2 = Cost::Chosen.argon2();
    let invalid = |_| PasswordError::Hash(Error::EncodingInvalid);
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(argon2.params()).map_err(PasswordError::Hash)?,
        salt: Some(Salt::new(salt).map_err(invalid)?),
        hash: Some(Output::new(output).map_err(invalid)?),
    };
    Ok(Secret::new(hash.to_string()))
}

/// A stored hash that cannot be read; its owner needs a new password.
#[derive(Debug, thiserror::Error)]
#[error("the stored password hash is unreadable ({0}); set a new password")]
pub struct UnreadableHash(Error);

/// Whether `password` is the one that `hash` was made from. Takes as long as the cost it was
/// hashed at: never on an event loop.
///
/// # Errors
/// [`UnreadableHash`] if `hash` is no PHC string of argon2.
pub fn verify(password: &[u8], hash: &str) -> Result<bool, UnreadableHash> {
    let parsed = PasswordHash::new(hash).map_err(|_| UnreadableHash(Error::EncodingInvalid))?;
    match Argon2::default().verify_password(password, &parsed) {
        Ok(()) => Ok(true),
        Err(Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(UnreadableHash(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_verifies_against_its_own_hash_only() {
        for cost in [Cost::Chosen, Cost::Generated] {
            let stored = hash(b"correct horse", cost).expect("hashed");
            assert!(stored.expose().starts_with("$argon2id$v=19$"));
            assert!(verify(b"correct horse", stored.expose()).expect("readable"));
            assert!(!verify(b"correct house", stored.expose()).expect("readable"));
        }
    }

    #[test]
    fn the_same_password_is_stored_differently_each_time() {
        let one = hash(b"same", Cost::Generated).expect("hashed");
        let other = hash(b"same", Cost::Generated).expect("hashed");
        assert_ne!(one.expose(), other.expose());
    }

    #[test]
    fn empty_and_endless_passwords_are_not_stored() {
        assert!(matches!(hash(b"", Cost::Chosen), Err(PasswordError::Empty)));
        assert!(matches!(
            hash(&[b'a'; PASSWORD_BYTES + 1], Cost::Chosen),
            Err(PasswordError::TooLong(_))
        ));
    }

    #[test]
    fn verifying_for_nobody_is_the_work_of_a_chosen_password_and_never_succeeds() {
        let (nobody, chosen) = (
            of_nobody().expect("drawn"),
            hash(b"a", Cost::Chosen).expect("hashed"),
        );
        assert!(!verify(b"", nobody.expose()).expect("readable"));
        assert_ne!(nobody.expose(), of_nobody().expect("drawn").expose());
        let parts =
            |secret: &Secret| -> Vec<usize> { secret.expose().split('$').map(str::len).collect() };
        assert_eq!(parts(&nobody), parts(&chosen));
        let work = |secret: &Secret| -> Vec<String> {
            let parts = secret.expose().split('$');
            parts.take(4).map(str::to_owned).collect()
        };
        assert_eq!(work(&nobody), work(&chosen));
    }

    #[test]
    fn a_damaged_hash_is_an_error_and_no_match() {
        assert!(verify(b"x", "not a hash").is_err());
    }

    #[test]
    fn generated_passwords_differ() {
        let one = generate().expect("randomness");
        assert_ne!(one.as_str(), generate().expect("randomness").as_str());
        assert_eq!(one.as_str().len(), 26);
    }
}
