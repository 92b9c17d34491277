//! The certificate that answers the ACME challenge TLS-ALPN-01 (RFC 8737).

use rcgen::{CertificateParams, CustomExtension, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::PrivateKeyDer;

use super::certificate::KeyKind;
use super::chain::{Chain, Origin};
use super::error::PkiError;
use super::issue;

/// The one protocol in the ClientHello of an authority that validates.
pub(super) const PROTOCOL: &str = "acme-tls/1";

/// A certificate that signs itself, for `name` alone, with the digest in the critical extension
/// that tells the authority that this server knows of its challenge.
pub(super) fn chain(name: &str, digest: &[u8; 32]) -> Result<Chain, PkiError> {
    issue::check_names(&[name.to_owned()])?;
    let failed = |what: String| PkiError::Challenge {
        name: name.to_owned(),
        what,
    };
    let make = || -> Result<_, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params
            .custom_extensions
            .push(CustomExtension::new_acme_identifier(digest));
        Ok((params.self_signed(&key)?, key))
    };
    let (certificate, key) = make().map_err(|error| failed(error.to_string()))?;
    let key = PrivateKeyDer::try_from(key.serialized_der()).map_err(|e| failed(e.to_owned()))?;
    let signers = [Some(KeyKind::P256)];
    Chain::new(
        Origin::Challenge,
        vec![certificate.der().clone()],
        &signers,
        &key,
        Vec::new(),
        Vec::new(),
    )
    .ok_or_else(|| failed("the certificate made for it cannot be read back".to_owned()))
}
