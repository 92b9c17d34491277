//! The keys behind the certificates, and the cryptography that makes and uses them.

use std::sync::Arc;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// The two keys of a server: the kinds that devices between them understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerKey {
    /// 2048 bits: Tasmota on ESP8266 refuses more.
    Rsa,
    /// Five times cheaper, for everything that is no BearSSL.
    P256,
}

impl ServerKey {
    pub(super) fn generate(self) -> Result<KeyPair, rcgen::Error> {
        match self {
            ServerKey::Rsa => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
            ServerKey::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        }
    }

    pub(super) fn fits(self, key: &KeyPair) -> bool {
        match self {
            ServerKey::Rsa => {
                key.algorithm() == &PKCS_RSA_SHA256
                    && rsa_numbers(key.public_key_raw())
                        .is_some_and(|(_, modulus)| modulus.len() == 2048 / 8)
            }
            ServerKey::P256 => key.algorithm() == &PKCS_ECDSA_P256_SHA256,
        }
    }

    pub(super) fn described(self) -> &'static str {
        match self {
            ServerKey::Rsa => "an RSA key of 2048 bits",
            ServerKey::P256 => "a P-256 key",
        }
    }

    pub(super) fn stem(self) -> &'static str {
        match self {
            ServerKey::Rsa => "server-rsa",
            ServerKey::P256 => "server-p256",
        }
    }
}

/// Exponent and modulus of an `RSAPublicKey` (RFC 8017 §A.1.1), without leading zeros.
pub(super) fn rsa_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sequence, _) = der_element(der, 0x30)?;
    let (modulus, rest) = der_element(sequence, 0x02)?;
    let (exponent, _) = der_element(rest, 0x02)?;
    Some((without_zeros(exponent), without_zeros(modulus)))
}

/// Content of the element with this tag at the front, and what follows it.
pub(super) fn der_element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x82 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
            (
                digits
                    .iter()
                    .fold(0, |sum, &byte| sum << 8 | usize::from(byte)),
                rest,
            )
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    (found == tag).then_some((content, rest))
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// The one crypto provider of this crate.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
