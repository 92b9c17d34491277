//! The certificate authorities that a client of ours trusts: a PEM file.

use std::fmt;
use std::path::Path;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

/// Every certificate in the file, or in words why there is none to use.
pub(crate) fn from_file(path: &Path) -> Result<RootCertStore, String> {
    let unreadable = |error: &dyn fmt::Display| format!("CA file {}: {error}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))? {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        roots.add(certificate).map_err(|error| unreadable(&error))?;
    }
    if roots.is_empty() {
        return Err(unreadable(&"it holds no certificate; give one in PEM form"));
    }
    Ok(roots)
}
