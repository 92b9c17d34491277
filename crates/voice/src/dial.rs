//! How providers are reached.

use std::sync::Arc;
use std::time::Duration;

/// What connections to providers are made with; cheap to clone.
#[derive(Debug, Clone)]
pub struct Dial {
    /// For HTTP and HTTPS. Connections are kept and used again.
    pub http: reqwest::Client,
    /// For WebSockets over TLS; the same roots.
    pub tls: Arc<rustls::ClientConfig>,
}

impl Dial {
    /// With these roots of trust.
    ///
    /// # Errors
    /// When the TLS configuration does not suit the HTTP client.
    pub fn new(tls: rustls::ClientConfig) -> Result<Dial, reqwest::Error> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("safeport/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Dial {
            http,
            tls: Arc::new(tls),
        })
    }
}

/// Longest wait for a connection, its handshake included.
const CONNECT: Duration = Duration::from_secs(10);
