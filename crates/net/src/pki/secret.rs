//! A server key on its way to an ACME order. It never prints itself.

use std::fmt;
use std::net::IpAddr;

use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};

use super::error::PkiError;
use super::issue;

/// The private key of the server, as PEM (PKCS#8). What holds it can be the server, so it goes to
/// files of mode 0600 and nowhere else.
#[derive(Clone)]
pub struct SecretKey(String);

impl SecretKey {
    pub(super) fn of(key: &KeyPair) -> SecretKey {
        SecretKey(key.serialize_pem())
    }

    /// The key itself, for [`super::Chain::from_pem`].
    pub fn pem(&self) -> &str {
        &self.0
    }

    /// A request for a certificate of this key (PKCS#10, DER) for `names`: host names, wildcards
    /// or addresses.
    ///
    /// # Errors
    ///
    /// A name that cannot stand in a certificate.
    pub fn request(&self, names: &[String]) -> Result<Vec<u8>, PkiError> {
        let names = issue::check_names(names)?;
        let make = || -> Result<_, rcgen::Error> {
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            for name in &names {
                params.subject_alt_names.push(match name.parse::<IpAddr>() {
                    Ok(address) => SanType::IpAddress(address),
                    Err(_) => SanType::DnsName(name.as_str().try_into()?),
                });
            }
            params.serialize_request(&KeyPair::from_pem(&self.0)?)
        };
        match make() {
            Ok(request) => Ok(request.der().to_vec()),
            Err(error) => Err(PkiError::Request {
                names: names.join(", "),
                what: error.to_string(),
            }),
        }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}
