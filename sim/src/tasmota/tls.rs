//! TLS as the firmware speaks it: version 1.2, ECDHE-RSA-AES128-GCM-SHA256, P-256, signatures with
//! RSA and SHA-256. A server that cannot do that cannot serve the device either.
//!
//! Two differences from the device remain: it sends `max_fragment_length`, which this TLS library
//! does not know, and it ignores addresses in certificates.

use crate::roots;
use sha1::{Digest, Sha1};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::version::TLS12;
use tokio_rustls::rustls::{
    self, CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

/// How a plug knows the server's certificate.
#[derive(Debug, Clone)]
pub enum Trust {
    /// SetOption132 0: it must lead to a certificate in this PEM file and bear the host name.
    CaFile(PathBuf),
    /// SetOption132 1: its RSA key must have this fingerprint; name, issuer and dates are ignored.
    Fingerprint(Fingerprint),
}

/// `MqttFingerprint`: SHA-1 over the server's RSA public key (version 2, tasmota.md §4.1). All FF
/// accepts any RSA key; so does all 00, with which the device would learn the first key it meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 20]);

impl Fingerprint {
    /// The fingerprint of an RSA key: modulus and exponent, big endian.
    pub fn of_rsa_key(modulus: &[u8], exponent: &[u8]) -> Self {
        let mut hash = Sha1::new();
        for part in [b"ssh-rsa", without_zeros(exponent), without_zeros(modulus)] {
            hash.update((part.len() as u32).to_be_bytes());
            hash.update(part);
        }
        Fingerprint(hash.finalize().into())
    }

    /// The fingerprint of a certificate's key; `None` unless that is an RSA key.
    fn of_certificate(certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        match certificate.public_key().parsed().ok()? {
            PublicKey::RSA(key) => Some(Self::of_rsa_key(key.modulus, key.exponent)),
            _ => None,
        }
    }

    fn accepts(&self, key: Fingerprint) -> bool {
        self.0 == [0; 20] || self.0 == [0xff; 20] || *self == key
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// A fingerprint is 20 bytes in hexadecimal, with blanks or colons between them or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a fingerprint: give 20 bytes in hexadecimal, such as `F5 42 76 …`")]
pub struct FingerprintError;

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let digits: Option<Vec<u8>> = text
            .chars()
            .filter(|c| !matches!(c, ' ' | ':'))
            .map(|c| c.to_digit(16).map(|digit| digit as u8))
            .collect();
        let digits = digits
            .filter(|digits| digits.len() == 40)
            .ok_or(FingerprintError)?;
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Fingerprint(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            let blank = if place > 0 { " " } else { "" };
            write!(f, "{blank}{byte:02X}")?;
        }
        Ok(())
    }
}

/// Why the plug's TLS could not be set up, in words.
pub(crate) fn connector(trust: &Trust) -> Result<TlsConnector, String> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256];
    provider.kx_groups = vec![aws_lc_rs::kx_group::SECP256R1];
    let provider = Arc::new(provider);
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS12])
        .map_err(|error| error.to_string())?;
    let config = match trust {
        Trust::CaFile(path) => builder
            .with_root_certificates(roots::from_file(path)?)
            .with_no_client_auth(),
        Trust::Fingerprint(fingerprint) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ByFingerprint {
                fingerprint: *fingerprint,
                provider,
            }))
            .with_no_client_auth(),
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Accepts a server by its key alone.
#[derive(Debug)]
struct ByFingerprint {
    fingerprint: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ByFingerprint {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(key) = Fingerprint::of_certificate(end_entity) else {
            return Err(rustls::Error::General(
                "TLS error 296 on the device: the certificate has no RSA key".into(),
            ));
        };
        if self.fingerprint.accepts(key) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General(format!(
            "TLS error 1 on the device: the server's fingerprint is {key}, not {}",
            self.fingerprint
        )))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // Only TLS 1.2 is offered.
        Err(CertificateError::BadSignature.into())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::RSA_PKCS1_SHA256]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_of_the_measured_key_is_the_measured_one() {
        // tasmota.md §4.1: computed alike by the firmware's C code and by Python.
        let mut modulus: Vec<u8> = (0..=255).collect();
        modulus[0] = 0xc1;
        let fingerprint = Fingerprint::of_rsa_key(&modulus, &[1, 0, 1]);
        let expected: Fingerprint = "f54276b3a7d76f94cf23bb8267d46453b2508315"
            .parse()
            .expect("20 bytes");
        assert_eq!(fingerprint, expected);
        modulus.insert(0, 0);
        assert_eq!(Fingerprint::of_rsa_key(&modulus, &[0, 1, 0, 1]), expected);
    }

    #[test]
    fn a_fingerprint_reads_as_it_is_pasted_and_prints_as_the_device_does() {
        let text = "F5 42 76 B3 A7 D7 6F 94 CF 23 BB 82 67 D4 64 53 B2 50 83 15";
        let fingerprint: Fingerprint = text.parse().expect("20 bytes");
        assert_eq!(fingerprint.to_string(), text);
        assert_eq!(
            text.replace(' ', ":").to_lowercase().parse(),
            Ok(fingerprint)
        );
        assert_eq!("F5 42".parse::<Fingerprint>(), Err(FingerprintError));
        assert_eq!(
            text.replace('F', "G").parse::<Fingerprint>(),
            Err(FingerprintError)
        );
    }

    #[test]
    fn all_ff_accepts_any_key_and_one_wrong_byte_refuses() {
        let key = Fingerprint([7; 20]);
        assert!(Fingerprint([0xff; 20]).accepts(key) && Fingerprint([0; 20]).accepts(key));
        let mut other = key;
        assert!(other.accepts(key));
        other.0[19] = 8;
        assert!(!other.accepts(key));
    }

    #[test]
    fn a_ca_file_that_is_missing_or_holds_no_certificate_is_named() {
        let missing = Trust::CaFile("/nowhere/ca.pem".into());
        let error = connector(&missing).err().expect("refused");
        assert!(error.contains("/nowhere/ca.pem"), "{error}");
        let empty = Trust::CaFile("/dev/null".into());
        let error = connector(&empty).err().expect("refused");
        assert!(error.contains("/dev/null"), "{error}");
    }
}
