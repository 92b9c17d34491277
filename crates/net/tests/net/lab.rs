//! Authorities and certificates of every kind, made for a test, right or wrong on purpose.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_RSA_SHA256, PKCS_RSA_SHA384, RsaKeySize, SignatureAlgorithm,
};
use safeport_net::Chain;
use safeport_net::rustls::client::WebPkiServerVerifier;
use safeport_net::rustls::client::danger::ServerCertVerifier;
use safeport_net::rustls::crypto::aws_lc_rs;
use safeport_net::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use safeport_net::rustls::{self, RootCertStore};

use crate::folder::{DAY, june_2026};

/// Kinds of keys together with the hash that they sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Rsa,
    RsaSha384,
    Rsa4096,
    P256,
    P384,
}

impl Kind {
    fn algorithm(self) -> &'static SignatureAlgorithm {
        match self {
            Kind::Rsa | Kind::Rsa4096 => &PKCS_RSA_SHA256,
            Kind::RsaSha384 => &PKCS_RSA_SHA384,
            Kind::P256 => &PKCS_ECDSA_P256_SHA256,
            Kind::P384 => &PKCS_ECDSA_P384_SHA384,
        }
    }

    pub(crate) fn key(self) -> KeyPair {
        match self {
            Kind::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
            _ => KeyPair::generate_for(self.algorithm()),
        }
        .unwrap()
    }
}

/// Somebody who signs.
pub(crate) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pub(crate) pem: String,
    pub(crate) der: CertificateDer<'static>,
}

/// A server certificate and its key, both PEM.
pub(crate) struct Made {
    pub(crate) pem: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn root(name: &str, kind: Kind) -> Authority {
        let (params, key) = (authority(name), kind.key());
        let made = params.self_signed(&key).unwrap();
        Authority {
            pem: made.pem(),
            der: made.der().clone(),
            params,
            key,
        }
    }

    /// An intermediate authority.
    pub(crate) fn authority(&self, name: &str, kind: Kind) -> Authority {
        self.sign(authority(name), kind.key())
    }

    /// The same subject and key as `other`, signed by this one.
    pub(crate) fn cross_sign(&self, other: &Authority) -> String {
        let made = other.params.signed_by(&other.key, &self.issuer());
        made.unwrap().pem()
    }

    pub(crate) fn sign(&self, params: CertificateParams, key: KeyPair) -> Authority {
        let made = params.signed_by(&key, &self.issuer()).unwrap();
        Authority {
            pem: made.pem(),
            der: made.der().clone(),
            params,
            key,
        }
    }

    pub(crate) fn leaf(&self, name: &str, kind: Kind) -> Made {
        self.leaf_with(name, kind, |_| {})
    }

    pub(crate) fn leaf_with(
        &self,
        name: &str,
        kind: Kind,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Made {
        let mut params = leaf(name);
        change(&mut params);
        let key = kind.key();
        Made {
            pem: params.signed_by(&key, &self.issuer()).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// The PEM of a server certificate for a key that exists.
    pub(crate) fn leaf_for(&self, name: &str, key: &KeyPair) -> String {
        leaf(name).signed_by(key, &self.issuer()).unwrap().pem()
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }
}

/// A certificate that signed itself, as of an authority or not.
pub(crate) fn self_signed(name: &str, is_ca: bool) -> Made {
    let mut params = leaf(name);
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let key = Kind::Rsa.key();
    Made {
        pem: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

pub(crate) fn authority(name: &str) -> CertificateParams {
    let mut params = blank(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_after = (june_2026() + 3000 * DAY).into();
    params
}

fn leaf(name: &str) -> CertificateParams {
    let mut params = blank(name);
    params.subject_alt_names = vec![rcgen::SanType::DnsName(name.try_into().unwrap())];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_after = (june_2026() + 64 * DAY).into();
    params
}

fn blank(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = (june_2026() - 10 * DAY).into();
    params
}

/// Whether a strict client that trusts `root` would accept the chain as it is sent.
pub(crate) fn verify(
    root: &CertificateDer<'static>,
    chain: &Chain,
    name: &str,
    at: SystemTime,
) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = aws_lc_rs::default_provider().into();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let since: Duration = at.duration_since(std::time::UNIX_EPOCH).unwrap();
    let (leaf, intermediates) = chain.der().split_first().unwrap();
    let verified = verifier.build().unwrap().verify_server_cert(
        leaf,
        intermediates,
        &name,
        &[],
        UnixTime::since_unix_epoch(since),
    );
    verified.map(|_| ())
}
