//! TLS with whoever answers: certificates are collected here and judged elsewhere, as devices judge
//! them.

use std::io;
use std::sync::{Arc, Mutex};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    SupportedProtocolVersion,
};
use safeport_doctor::profile::{Profile, Sni};
use safeport_doctor::target::Host;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::meter::{Meter, Metered};

/// A connection with TLS.
pub(super) struct Secured {
    pub(super) stream: TlsStream<Metered>,
    /// Of its records.
    pub(super) meter: Meter,
    /// The certificates as sent, DER.
    pub(super) chain: Vec<Vec<u8>>,
    /// Whether the server has the key of its certificate.
    pub(super) signed: Signed,
    /// As on the wire: 0x0303 or 0x0304.
    pub(super) version: u16,
    pub(super) suite: u16,
    pub(super) alpn: Option<String>,
}

/// What the signature in a handshake shows. Chains are public: who shows one need not be its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Signed {
    /// The server has the key.
    Rightly,
    /// It was made with another key.
    Wrongly,
    /// It was made in a way that is not verified here, such as with keys too short.
    #[default]
    Unknown,
}

/// Shakes hands, whoever vouches for the certificate: with the versions, suites and groups that
/// `profile` has and this program, too; without a profile as a client that can do everything.
pub(super) async fn connect(
    stream: TcpStream,
    host: &Host,
    profile: Option<&Profile>,
) -> io::Result<Secured> {
    let provider = Arc::new(provider_of(profile));
    let collector = Arc::new(Collector {
        provider: provider.clone(),
        seen: Mutex::default(),
    });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions_of(profile))
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(collector.clone())
        .with_no_client_auth();
    config.enable_sni = profile.is_none_or(|profile| profile.sni != Sni::Never);
    // Each connection looks at a whole handshake.
    config.resumption = rustls::client::Resumption::disabled();
    let name = ServerName::try_from(host.to_string()).map_err(io::Error::other)?;
    let meter = Meter::default();
    let stream = Metered::new(stream, meter.clone());
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let (_, connection) = stream.get_ref();
    let version = connection.protocol_version().map_or(0, u16::from);
    let suite = connection
        .negotiated_cipher_suite()
        .map_or(0, |suite| u16::from(suite.suite()));
    let alpn = connection
        .alpn_protocol()
        .map(|name| String::from_utf8_lossy(name).into_owned());
    let seen = collector.seen.lock().map(|seen| seen.clone());
    let (chain, signed) = seen.unwrap_or_default();
    Ok(Secured {
        version,
        suite,
        alpn,
        chain,
        signed,
        stream,
        meter,
    })
}

/// The suites and groups that both have; all, where that would leave none.
fn provider_of(profile: Option<&Profile>) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    let Some(profile) = profile else {
        return provider;
    };
    let known = provider.clone();
    let versions = versions_of(Some(profile));
    provider.cipher_suites.retain(|suite| {
        profile.suites.contains(&u16::from(suite.suite()))
            && versions
                .iter()
                .any(|version| version.version == suite.version().version)
    });
    provider
        .kx_groups
        .retain(|group| profile.groups.contains(&u16::from(group.name())));
    if provider.cipher_suites.is_empty() || provider.kx_groups.is_empty() {
        return known;
    }
    provider
}

/// As rustls wants them.
static ONLY_TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

fn versions_of(profile: Option<&Profile>) -> &'static [&'static SupportedProtocolVersion] {
    match profile {
        Some(profile) if !profile.versions.contains(&0x0304) => ONLY_TLS12,
        _ => rustls::ALL_VERSIONS,
    }
}

/// Accepts every certificate and remembers it.
#[derive(Debug)]
struct Collector {
    provider: Arc<CryptoProvider>,
    seen: Mutex<(Vec<Vec<u8>>, Signed)>,
}

impl Collector {
    fn note(&self, verified: Result<HandshakeSignatureValid, Error>) -> HandshakeSignatureValid {
        let signed = match verified {
            Ok(_) => Signed::Rightly,
            Err(Error::InvalidCertificate(CertificateError::BadSignature)) => Signed::Wrongly,
            Err(_) => Signed::Unknown,
        };
        if let Ok(mut seen) = self.seen.lock() {
            seen.1 = signed;
        }
        HandshakeSignatureValid::assertion()
    }
}

impl ServerCertVerifier for Collector {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Ok(mut seen) = self.seen.lock() {
            seen.0 = std::iter::once(end_entity)
                .chain(intermediates)
                .map(|certificate| certificate.to_vec())
                .collect();
        }
        Ok(ServerCertVerified::assertion())
    }

    // A wrong signature ends no handshake: what comes behind it is looked at, too. No password goes to
    // such a server.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        Ok(self.note(verify_tls12_signature(
            message,
            certificate,
            signature,
            known,
        )))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        Ok(self.note(verify_tls13_signature(
            message,
            certificate,
            signature,
            known,
        )))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
