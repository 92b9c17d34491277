//! The broker to load, and how to speak to it.

use super::LoadError;
use crate::roots;
use safeport_mqtt::Version;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, ClientConnection};

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

/// How connections of a load speak TLS: full handshakes only, nothing is resumed.
#[derive(Debug, Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    version: TlsVersion,
}

impl Tls {
    /// Trusts the certificates in the PEM file `ca`; the broker's certificate has to be for `host`.
    ///
    /// # Errors
    ///
    /// [`LoadError::Trust`] when the file holds no certificate or `host` is no name or address.
    pub fn new(ca: &Path, host: &str, version: TlsVersion) -> Result<Tls, LoadError> {
        let roots = roots::from_file(ca).map_err(LoadError::Trust)?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| LoadError::Trust(format!("`{host}` is neither a DNS name nor an IP")))?;
        let only = match version {
            TlsVersion::V12 => &TLS12,
            TlsVersion::V13 => &TLS13,
        };
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(&[only])
                .map_err(|error| LoadError::Trust(error.to_string()))?
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Tls {
            config: Arc::new(config),
            name,
            version,
        })
    }

    pub(super) fn version(&self) -> TlsVersion {
        self.version
    }

    pub(super) fn begin(&self) -> Result<ClientConnection, LoadError> {
        let mut connection = ClientConnection::new(self.config.clone(), self.name.clone())
            .map_err(|error| LoadError::Trust(error.to_string()))?;
        // The caller bounds what waits; a limit here would cut a CONNECT or a batch in two.
        connection.set_buffer_limit(None);
        Ok(connection)
    }
}
