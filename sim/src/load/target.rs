//! The broker to load, and how to speak to it.

use super::LoadError;
use crate::roots;
use safeport_mqtt::Version;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{ServerName, SignatureVerificationAlgorithm};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{CipherSuite, ClientConfig, ClientConnection, SignatureScheme};

/// The broker to load.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where it listens for MQTT.
    pub address: SocketAddr,
    /// Its process on this machine, whose CPU time and memory are to be measured. Without it only
    /// rates and exactness are reported.
    pub pid: Option<u32>,
    /// User name of every connection, if the broker wants one.
    pub username: Option<String>,
    /// Password of every connection.
    pub password: Option<String>,
    /// 3.1.1, the default, or 5. MQTT 3.1 is refused.
    pub version: Version,
    /// TLS on every connection; `None`, the default, is plain MQTT.
    pub tls: Option<Tls>,
}

impl Target {
    /// Plain MQTT 3.1.1 without a login, no process to measure.
    pub fn new(address: SocketAddr) -> Self {
        Target {
            address,
            pid: None,
            username: None,
            password: None,
            version: Version::V311,
            tls: None,
        }
    }
}

/// Version of TLS to speak. Nothing else is offered, so that a row of figures is of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// 1.2, as ESP8266-class devices speak it.
    V12,
    /// 1.3.
    V13,
}

/// How connections of a load shake hands, so that a row of figures is of one kind of handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// The only version that is offered.
    pub version: TlsVersion,
    /// The key of the certificate that is asked for.
    pub key: Key,
    /// Connections that come and go take up the session of the one before; otherwise every
    /// handshake is a full one.
    pub resume: bool,
}

impl Handshake {
    /// A full handshake of this version, with whatever key the broker prefers.
    pub fn full(version: TlsVersion) -> Self {
        Handshake {
            version,
            key: Key::Any,
            resume: false,
        }
    }
}

/// Keys of certificates that are offered to be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// All that the TLS library knows.
    Any,
    /// RSA alone, as devices in fingerprint mode ask for it.
    Rsa,
}

/// How connections of a load speak TLS.
#[derive(Debug, Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    handshake: Handshake,
}

impl Tls {
    /// Trusts the certificates in the PEM file `ca`; the broker's certificate has to be for `host`.
    ///
    /// # Errors
    ///
    /// [`LoadError::Trust`] when the file holds no certificate or `host` is no name or address.
    pub fn new(ca: &Path, host: &str, handshake: Handshake) -> Result<Tls, LoadError> {
        let roots = roots::from_file(ca).map_err(LoadError::Trust)?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| LoadError::Trust(format!("`{host}` is neither a DNS name nor an IP")))?;
        let only = match handshake.version {
            TlsVersion::V12 => &TLS12,
            TlsVersion::V13 => &TLS13,
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(offering(handshake.key)))
            .with_protocol_versions(&[only])
            .map_err(|error| LoadError::Trust(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Tls {
            config: Arc::new(config),
            name,
            handshake,
        })
    }

    pub(super) fn handshake(&self) -> Handshake {
        self.handshake
    }

    /// The same for one device: if sessions are resumed, with a memory of its own for them.
    pub(super) fn of_one_device(&self) -> Tls {
        let mut one = self.clone();
        if self.handshake.resume {
            let mut config = ClientConfig::clone(&self.config);
            config.resumption = Resumption::in_memory_sessions(1);
            one.config = Arc::new(config);
        }
        one
    }

    pub(super) fn begin(&self) -> Result<ClientConnection, LoadError> {
        let mut connection = ClientConnection::new(self.config.clone(), self.name.clone())
            .map_err(|error| LoadError::Trust(error.to_string()))?;
        // The caller bounds what waits; a limit here would cut a CONNECT or a batch in two.
        connection.set_buffer_limit(None);
        Ok(connection)
    }
}

/// What a client offers that wants a certificate with this key.
fn offering(key: Key) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if key == Key::Rsa {
        provider.cipher_suites.retain(|suite| {
            !matches!(
                suite.suite(),
                CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                    | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
                    | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            )
        });
        let known = provider.signature_verification_algorithms;
        provider.signature_verification_algorithms = WebPkiSupportedAlgorithms {
            mapping: rsa_of(known.mapping),
            ..known
        };
    }
    provider
}

type Mapping = [(
    SignatureScheme,
    &'static [&'static dyn SignatureVerificationAlgorithm],
)];

/// The RSA rows of `all`. The library wants them for as long as the process lives.
fn rsa_of(all: &'static Mapping) -> &'static Mapping {
    static RSA: OnceLock<Box<Mapping>> = OnceLock::new();
    RSA.get_or_init(|| {
        all.iter()
            .filter(|(scheme, _)| {
                matches!(
                    scheme,
                    SignatureScheme::RSA_PKCS1_SHA256
                        | SignatureScheme::RSA_PKCS1_SHA384
                        | SignatureScheme::RSA_PKCS1_SHA512
                        | SignatureScheme::RSA_PSS_SHA256
                        | SignatureScheme::RSA_PSS_SHA384
                        | SignatureScheme::RSA_PSS_SHA512
                )
            })
            .copied()
            .collect()
    })
}
