//! What stands in a certificate of the authority, and the request for one.

use instant_acme::CertificateIdentifier;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use safeport_settings::Said;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::plan::Key;
use super::trouble::{Trouble, both};

/// The private keys of this server, as PEM. The authority certifies them, and never gets them.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerKeys {
    /// `pki/server-rsa.key`.
    pub rsa: String,
    /// `pki/server-p256.key`.
    pub p256: String,
}

impl ServerKeys {
    pub(super) fn pair(&self, key: Key) -> Result<KeyPair, Trouble> {
        let pem = match key {
            Key::Rsa => &self.rsa,
            Key::P256 => &self.p256,
        };
        KeyPair::from_pem(pem).map_err(|error| Trouble::own_key(&error))
    }

    /// As PEM.
    pub(super) fn pem(&self, key: Key) -> &str {
        match key {
            Key::Rsa => &self.rsa,
            Key::P256 => &self.p256,
        }
    }
}

/// The first certificate of a chain: the server's own.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) names: Vec<String>,
    pub(super) not_before: u64,
    pub(super) not_after: u64,
    der: CertificateDer<'static>,
}

impl Leaf {
    /// Reads a chain in PEM form whose first certificate has to be for `key`.
    pub(super) fn read(chain: &str, key: &KeyPair) -> Result<Leaf, Said> {
        let der = CertificateDer::from_pem_slice(chain.as_bytes()).map_err(|error| {
            both!(
                "it holds no certificate in PEM form ({error})",
                "其中没有 PEM 格式的证书（{error}）"
            )
        })?;
        let (_, certificate) = X509Certificate::from_der(&der)
            .map_err(|error| both!("it cannot be read ({error})", "无法解析（{error}）"))?;
        if certificate.public_key().raw != key.subject_public_key_info() {
            return Err(both!(
                "it is for another key than this server's",
                "它不是为本服务器的密钥签发的"
            ));
        }
        let names = match certificate.subject_alternative_name() {
            Ok(Some(names)) => names.value.general_names.iter(),
            _ => [].iter(),
        };
        let names = names.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        });
        let names = names.collect();
        let moment =
            |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
        Ok(Leaf {
            names,
            not_before: moment(certificate.validity().not_before),
            not_after: moment(certificate.validity().not_after),
            der,
        })
    }

    /// Whether a certificate that has just come can be served.
    pub(super) fn check(&self, wanted: &[String], now: u64) -> Result<(), Said> {
        let covers = |name: &String| self.names.contains(&name.to_ascii_lowercase());
        if let Some(missing) = wanted.iter().find(|name| !covers(name)) {
            return Err(both!("{missing} is not in it", "其中没有 {missing}"));
        }
        let (from, until) = (
            crate::time::stamp(self.not_before),
            crate::time::stamp(self.not_after),
        );
        // Authorities date back by an hour; ours may be as much behind.
        if self.not_after <= now || self.not_before > now + CLOCKS_DIFFER {
            let clock = crate::time::stamp(now);
            return Err(both!(
                "it is good from {from} to {until}, and the clock of this machine says {clock}",
                "其有效期为 {from} 至 {until}，而本机时钟为 {clock}"
            ));
        }
        Ok(())
    }

    /// Under which the authority knows it (RFC 9773 section 4.1).
    pub(super) fn identifier(&self) -> Option<CertificateIdentifier<'static>> {
        let identifier = CertificateIdentifier::try_from(&self.der).ok()?;
        Some(identifier.into_owned())
    }
}

/// The request to certify `key` for `names` (a PKCS #10 in DER form), signed with it.
pub(super) fn request(key: &KeyPair, names: &[String]) -> Result<Vec<u8>, Trouble> {
    let request = CertificateParams::new(names).and_then(|mut params| {
        // Authorities look at the alternative names alone.
        params.distinguished_name = DistinguishedName::new();
        params.serialize_request(key)
    });
    match request {
        Ok(request) => Ok(request.der().to_vec()),
        Err(error) => Err(Trouble::own_key(&error)),
    }
}

/// Seconds that a certificate may begin after this machine's clock.
const CLOCKS_DIFFER: u64 = 3600;

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{PKCS_ECDSA_P256_SHA256, date_time_ymd};

    fn issued(key: &KeyPair) -> String {
        let mut params =
            CertificateParams::new(["hub.example.com".to_owned()]).expect("parameters");
        params.not_before = date_time_ymd(2026, 11, 1);
        params.not_after = date_time_ymd(2027, 1, 30);
        params.self_signed(key).expect("a certificate").pem()
    }

    #[test]
    fn a_certificate_is_taken_if_it_is_for_our_key_our_names_and_this_time() {
        let new = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let (key, other) = (new(), new());
        let chain = issued(&key);
        let leaf = Leaf::read(&chain, &key).expect("a certificate");
        assert_eq!(leaf.names, ["hub.example.com"]);
        let within = leaf.not_before + 5;
        let names = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        leaf.check(&names(&["Hub.example.com"]), within)
            .expect("it fits");
        let missing = leaf.check(&names(&["hub.example.com", "www.example.com"]), within);
        assert_eq!(missing.expect_err("www").en, "www.example.com is not in it");
        let late = leaf.check(&names(&["hub.example.com"]), leaf.not_after + 1);
        assert!(late.expect_err("ended").en.contains("2027-01-30"));
        assert!(leaf.check(&[], leaf.not_before - 2 * 3600).is_err());
        assert!(
            Leaf::read(&chain, &other)
                .expect_err("a key")
                .en
                .contains("another key")
        );
        assert!(Leaf::read("no PEM", &key).is_err());
    }
}
