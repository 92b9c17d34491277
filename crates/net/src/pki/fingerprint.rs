//! Tasmota's fingerprint of an RSA public key (tasmota `MqttFingerprint1`, SetOption132 1).

use sha1::{Digest, Sha1};

/// Version 2: SHA-1 over the key in the form of an SSH public key (RFC 4253 §6.6), except that
/// numbers keep no leading zero.
pub(super) fn v2(exponent: &[u8], modulus: &[u8]) -> [u8; 20] {
    let mut hash = Sha1::new();
    for part in [b"ssh-rsa", exponent, modulus] {
        // An RSA key is far shorter than 4 GiB.
        hash.update((part.len() as u32).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// As Tasmota prints it: `DA 39 A3 …`.
pub(super) fn to_text(fingerprint: &[u8; 20]) -> String {
    fingerprint.map(|byte| format!("{byte:02X}")).join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_measured_with_a_tasmota_client_comes_out() {
        let mut modulus: Vec<u8> = (0..=255).collect();
        modulus[0] = 0xc1;
        assert_eq!(
            to_text(&v2(&[1, 0, 1], &modulus)),
            "F5 42 76 B3 A7 D7 6F 94 CF 23 BB 82 67 D4 64 53 B2 50 83 15"
        );
    }
}
