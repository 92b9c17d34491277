//! Tasmota's fingerprint of an RSA public key (tasmota `MqttFingerprint1`, SetOption132 1).

use std::fmt;

use sha1::{Digest, Sha1};

/// Both fingerprints of one RSA key. They hash the key alone, so they stay true across renewals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprints {
    /// The old algorithm. Images of some years accept it and store the new one in its place;
    /// newer ones know it no more.
    pub v1: Fingerprint,
    /// The current algorithm, since Tasmota 8.4.
    pub v2: Fingerprint,
}

/// Twenty bytes, shown as Tasmota prints and takes them: `DA 39 A3 …`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 20]);

impl Fingerprints {
    pub(super) fn of(exponent: &[u8], modulus: &[u8]) -> Fingerprints {
        Fingerprints {
            v1: v1(exponent, modulus),
            v2: v2(exponent, modulus),
        }
    }
}

impl Fingerprint {
    /// Forty hexadecimal digits in lower case, for storing and comparing.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let space = if at == 0 { "" } else { " " };
            write!(f, "{space}{byte:02X}")?;
        }
        Ok(())
    }
}

/// Version 1: SHA-1 over the bare parts of the key one after the other.
fn v1(exponent: &[u8], modulus: &[u8]) -> Fingerprint {
    let mut hash = Sha1::new();
    for part in [b"ssh-rsa", exponent, modulus] {
        hash.update(part);
    }
    Fingerprint(hash.finalize().into())
}

/// Version 2: SHA-1 over the key in the form of an SSH public key (RFC 4253 §6.6), except that
/// numbers keep no leading zero.
fn v2(exponent: &[u8], modulus: &[u8]) -> Fingerprint {
    let mut hash = Sha1::new();
    for part in [b"ssh-rsa", exponent, modulus] {
        // An RSA key is far shorter than 4 GiB.
        hash.update((part.len() as u32).to_be_bytes());
        hash.update(part);
    }
    Fingerprint(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_measured_with_a_tasmota_client_come_out() {
        let mut modulus: Vec<u8> = (0..=255).collect();
        modulus[0] = 0xc1;
        let both = Fingerprints::of(&[1, 0, 1], &modulus);
        assert_eq!(
            both.v2.to_string(),
            "F5 42 76 B3 A7 D7 6F 94 CF 23 BB 82 67 D4 64 53 B2 50 83 15"
        );
        assert_eq!(both.v1.hex(), "8388d2ebf46be225ace73d8d1b62716f127bf216");
    }
}
