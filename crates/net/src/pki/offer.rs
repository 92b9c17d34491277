//! What a client says it can verify, and whether a chain is among it.

use std::fmt;
use std::net::IpAddr;

use super::certificate::{KeyKind, SignatureKind};
use super::chain::Chain;
use crate::hello::{ClientHello, TLS12, TLS13};

/// The part of a ClientHello that decides which certificate is served.
#[derive(Debug, Clone, Copy, Default)]
pub struct Offer<'a> {
    /// The name that the client connected to (SNI).
    pub server_name: Option<&'a str>,
    /// The address of ours that it connected to, which stands in for a name that it does not
    /// send: clients send none when they were told an address.
    pub reached: Option<IpAddr>,
    /// Whether TLS 1.3 is offered, and will therefore be spoken.
    pub tls13: bool,
    /// Cipher suites, which in TLS 1.2 name the kind of key.
    pub suites: &'a [u16],
    /// Groups; in TLS 1.2 they limit the curves of certificates too (RFC 8422 §5.1.1). `None`
    /// when the client sets no limit.
    pub groups: Option<&'a [u16]>,
    /// signature_algorithms.
    pub signatures: &'a [u16],
    /// signature_algorithms_cert, where the client tells certificates apart.
    pub certificate_signatures: Option<&'a [u16]>,
    /// ALPN protocols.
    pub alpn: &'a [String],
}

/// What stands between a client and a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyNot {
    /// It cannot check a handshake that is signed with such a key.
    Key(KeyKind),
    /// None of its TLS 1.2 suites works with such a key.
    Suites(KeyKind),
    /// In TLS 1.2 it does not know the curve of a key in the chain.
    Curve {
        /// The key.
        key: KeyKind,
        /// Whose key: 0 for the server certificate, 1 for its issuer, and so on.
        position: usize,
    },
    /// It cannot check the signature of a certificate.
    Signature {
        /// The signature.
        signature: SignatureKind,
        /// Of which certificate: 0 for the server certificate, 1 for its issuer, and so on.
        position: usize,
    },
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WhyNot::Key(key) => write!(f, "it cannot check a handshake with an {key} key"),
            WhyNot::Suites(key) => write!(f, "none of its cipher suites uses an {key} key"),
            WhyNot::Curve { key, position } => {
                write!(
                    f,
                    "it does not know {key}, the key of certificate {}",
                    position + 1
                )
            }
            WhyNot::Signature {
                signature,
                position,
            } => write!(
                f,
                "it cannot check {signature}, the signature of certificate {}",
                position + 1
            ),
        }
    }
}

impl<'a> From<&'a ClientHello> for Offer<'a> {
    fn from(hello: &'a ClientHello) -> Offer<'a> {
        let given = |list: &'a Vec<u16>| (!list.is_empty()).then_some(list.as_slice());
        Offer {
            server_name: hello.server_name.as_deref(),
            reached: None,
            tls13: hello.speaks(TLS13),
            suites: &hello.suites,
            groups: given(&hello.groups),
            // Without the extension a client of TLS 1.2 stands for SHA-1 only (RFC 5246
            // §7.4.1.4.1), and nothing of ours has that.
            signatures: &hello.signatures,
            certificate_signatures: given(&hello.certificate_signatures),
            alpn: &hello.alpn,
        }
    }
}

impl Offer<'_> {
    /// A Tasmota or ESPEasy device in its usual RSA mode, as captured from one: TLS 1.2 with one
    /// suite, one curve and one signature (tasmota `MqttFingerprint1`, `SetOption132`).
    pub fn of_tasmota(host: Option<&str>) -> Offer<'_> {
        Offer {
            server_name: host,
            suites: &[0xc02f],
            groups: Some(&[0x0017]),
            signatures: &[0x0401],
            ..Offer::default()
        }
    }

    /// Whether the handshake itself can be made with this key; who trusts no signature but a
    /// pinned key needs no more.
    pub(super) fn takes_key(&self, key: KeyKind) -> Result<(), WhyNot> {
        let lists = |schemes: &[u16]| schemes.iter().any(|s| self.signatures.contains(s));
        let signs = match key {
            KeyKind::Rsa(_) if self.tls13 => lists(RSA_PSS),
            KeyKind::Rsa(_) => lists(RSA_PSS) || lists(RSA_PKCS1),
            KeyKind::P256 => lists(&[0x0403]),
            KeyKind::P384 => lists(&[0x0503]),
            KeyKind::P521 => lists(&[0x0603]),
            KeyKind::Ed25519 => lists(&[0x0807]),
        };
        if !signs {
            return Err(WhyNot::Key(key));
        }
        if self.tls13 {
            return Ok(());
        }
        let suites = match key {
            KeyKind::Rsa(_) => RSA_SUITES,
            _ => ECDSA_SUITES,
        };
        if !suites.iter().any(|suite| self.suites.contains(suite)) {
            return Err(WhyNot::Suites(key));
        }
        self.takes_curve(key, 0)
    }

    /// Whether it can check the signatures of the first `length` certificates of the chain as it
    /// is sent.
    pub(super) fn takes_signatures(&self, chain: &Chain, length: usize) -> Result<(), WhyNot> {
        let known = self.certificate_signatures.unwrap_or(self.signatures);
        for (position, certificate) in chain.certificates()[..length].iter().enumerate() {
            let signature = certificate.signature;
            if !signature.schemes().iter().any(|s| known.contains(s)) {
                return Err(WhyNot::Signature {
                    signature,
                    position,
                });
            }
            if let Some(key) = certificate.signed_by
                && !self.tls13
            {
                self.takes_curve(key, position + 1)?;
            }
        }
        Ok(())
    }

    fn takes_curve(&self, key: KeyKind, position: usize) -> Result<(), WhyNot> {
        match (key.group(), self.groups) {
            (Some(group), Some(groups)) if !groups.contains(&group) => {
                Err(WhyNot::Curve { key, position })
            }
            _ => Ok(()),
        }
    }

    /// The version that will be spoken, as on the wire.
    pub fn version(&self) -> u16 {
        if self.tls13 { TLS13 } else { TLS12 }
    }
}

const RSA_PKCS1: &[u16] = &[0x0401, 0x0501, 0x0601];
const RSA_PSS: &[u16] = &[0x0804, 0x0805, 0x0806];
/// ECDHE_RSA with AES-128-GCM, AES-256-GCM and ChaCha20-Poly1305: all that rustls has.
const RSA_SUITES: &[u16] = &[0xc02f, 0xc030, 0xcca8];
/// The same with ECDSA.
const ECDSA_SUITES: &[u16] = &[0xc02b, 0xc02c, 0xcca9];
