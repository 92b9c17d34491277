//! Where certificates and proofs are shown to whoever connects.

use std::time::SystemTime;

use safeport_net::pki::{Certificates, Chain, Origin, Roots};
use safeport_settings::Said;

use super::plan::Key;
use crate::certificates::chain_said;

/// What ACME needs of the listeners. Everything takes effect from the next handshake on; no
/// connection is dropped.
pub trait Desk: Send + Sync + 'static {
    /// Serves exactly these certificates of ACME from now on, without those that cannot be served.
    ///
    /// # Errors
    /// What is wrong with these.
    fn serve(&self, certificates: &[Issued<'_>]) -> Result<(), Said>;

    /// Presents the proof of `tls-alpn-01` for `name` (RFC 8737): `digest` is the SHA-256 of the
    /// key authorization.
    ///
    /// # Errors
    /// If no certificate can be made for it.
    fn present_proof(&self, name: &str, digest: &[u8]) -> Result<(), String>;

    /// No longer.
    fn clear_proof(&self, name: &str);
}

/// A certificate to serve.
#[derive(Debug, Clone, Copy)]
pub struct Issued<'a> {
    /// Which key.
    pub key: Key,
    /// The certificates as PEM, this server's first.
    pub chain: &'a str,
    /// The private key as PEM.
    pub private_key: &'a str,
}

impl Desk for Certificates {
    fn serve(&self, certificates: &[Issued<'_>]) -> Result<(), Said> {
        let now = SystemTime::now();
        let (mut chains, mut faults) = (Vec::new(), Vec::new());
        for issued in certificates {
            let (chain, key) = (issued.chain.as_bytes(), issued.private_key.as_bytes());
            match Chain::from_pem(Origin::Acme, chain, key, &Roots::public(), now) {
                Ok(chain) => chains.push(chain),
                Err(error) => faults.push(chain_said(&error)),
            }
        }
        self.set_acme(chains);
        if faults.is_empty() {
            return Ok(());
        }
        let joined =
            |of: fn(&Said) -> &str, mark| faults.iter().map(of).collect::<Vec<_>>().join(mark);
        Err(Said::new(
            joined(|said| &said.en, "; "),
            joined(|said| &said.zh, "；"),
        ))
    }

    fn present_proof(&self, name: &str, digest: &[u8]) -> Result<(), String> {
        let digest = digest.try_into();
        let digest = digest.map_err(|_| "the proof is no SHA-256".to_owned())?;
        self.set_challenge(name, digest)
            .map_err(|error| error.to_string())
    }

    fn clear_proof(&self, name: &str) {
        self.clear_challenge(name);
    }
}
