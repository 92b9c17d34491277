//! The TLS layer of a probe: the handshake by the advertised name, and who vouches for the
//! certificate.

use std::fmt;
use std::io;
use std::sync::{Arc, LazyLock, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme, StreamOwned,
};
use safeport_settings::gate::Layer;
use safeport_settings::{AdvertisedAddress, HostName, Outcome, Said};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Step, bare_host, both, ended, failed};

/// Who vouches for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustedBy {
    /// This server's private authority: devices need its root, or the fingerprint of the key.
    OwnAuthority,
    /// One that the settings name (`advertise.ca_file`): devices need its root, too.
    GivenAuthority,
    /// A public authority that this system trusts, as browsers and stock firmware do.
    PublicAuthority,
}

/// Who accepts certificates of public authorities, if the system has any.
type Public = LazyLock<Verifies, Box<dyn FnOnce() -> Verifies + Send>>;
type Verifies = Option<Arc<WebPkiServerVerifier>>;

/// The roots that a probe accepts: this server's own authority, those that the settings name, and
/// those of the system.
#[derive(Clone)]
pub struct Trust {
    provider: Arc<CryptoProvider>,
    own: Arc<WebPkiServerVerifier>,
    given: Option<Arc<WebPkiServerVerifier>>,
    /// Made for the first certificate that no other authority vouches for: reading the system's
    /// takes longer than the rest of a start, and at home most servers never need them.
    public: Arc<Public>,
}

/// Why no [`Trust`] could be made.
#[derive(Debug, Error)]
#[error("the certificate of this server's authority cannot be used: {0}")]
pub struct TrustError(String);

impl Trust {
    /// `own_root` is the certificate of this server's authority as PEM. Those of the system are
    /// read when they are needed first: from the files of OpenSSL, or from `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR`. A system without any is no error; then no public certificate is accepted.
    ///
    /// # Errors
    /// If `own_root` holds no usable certificate.
    pub fn new(own_root: &str) -> Result<Trust, TrustError> {
        Trust::with(own_root, "")
    }

    /// The same with further authorities, as PEM: `advertise.ca_file`. What of it cannot be read
    /// is left out.
    ///
    /// # Errors
    /// If `own_root` holds no usable certificate.
    pub fn with(own_root: &str, further: &str) -> Result<Trust, TrustError> {
        let public = || rustls_native_certs::load_native_certs().certs;
        Trust::of_roots(own_root, certificates_in(further), public)
    }

    /// With these public roots instead of the system's.
    pub(super) fn of_roots(
        own_root: &str,
        given: Vec<CertificateDer<'static>>,
        public: impl FnOnce() -> Vec<CertificateDer<'static>> + Send + 'static,
    ) -> Result<Trust, TrustError> {
        let refused = |error: &dyn fmt::Display| TrustError(error.to_string());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let for_verifier = provider.clone();
        let verifier = move |roots: RootCertStore| {
            let provider = for_verifier.clone();
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()
        };
        let mut own = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(own_root.as_bytes()) {
            own.add(certificate.map_err(|error| refused(&error))?)
                .map_err(|error| refused(&error))?;
        }
        let own = verifier(own).map_err(|error| refused(&error))?;
        let lenient = move |certificates: Vec<CertificateDer<'static>>| {
            let mut roots = RootCertStore::empty();
            // System stores hold a few that webpki does not read; the others serve.
            roots.add_parsable_certificates(certificates);
            // Without any root there is no verifier.
            verifier(roots).ok()
        };
        Ok(Trust {
            given: lenient(given),
            public: Arc::new(LazyLock::new(Box::new(move || lenient(public())))),
            own,
            provider,
        })
    }

    /// For one handshake; the verifier knows afterwards whose certificate it was.
    fn client_config(&self) -> Result<(Arc<ClientConfig>, Arc<Verifier>), Error> {
        let verifier = Arc::new(Verifier {
            trust: self.clone(),
            accepted: OnceLock::new(),
        });
        let config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_no_client_auth();
        Ok((Arc::new(config), verifier))
    }

    /// A TLS connection over this stream that blocks, with `host` as server name; the handshake
    /// is made by the first read or write.
    pub(super) fn wrap<S: io::Read + io::Write>(
        &self,
        host: &HostName,
        stream: S,
    ) -> io::Result<StreamOwned<ClientConnection, S>> {
        let (config, _) = self.client_config().map_err(io::Error::other)?;
        let name = ServerName::try_from(bare_host(host)).map_err(io::Error::other)?;
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Ok(StreamOwned::new(connection, stream))
    }

    /// Whether this system trusts any public authority.
    pub fn has_public_roots(&self) -> bool {
        self.public.is_some()
    }

    fn verifier(&self, by: TrustedBy) -> Option<&Arc<WebPkiServerVerifier>> {
        match by {
            TrustedBy::OwnAuthority => Some(&self.own),
            TrustedBy::GivenAuthority => self.given.as_ref(),
            TrustedBy::PublicAuthority => self.public.as_ref().as_ref(),
        }
    }
}

/// Every certificate of a PEM text.
pub fn certificates_in(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .flatten()
        .collect()
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("given", &self.given.is_some())
            .finish_non_exhaustive()
    }
}

/// Makes the handshake, with the advertised host as server name.
pub(super) async fn connect(
    stream: TcpStream,
    address: &AdvertisedAddress,
    trust: &Trust,
) -> Step<(TlsStream<TcpStream>, TrustedBy)> {
    let impossible = |error: &dyn fmt::Display| {
        let host = address.host();
        failed(
            Layer::Tls,
            both!(
                "TLS cannot be spoken to {host} ({error})",
                "无法对 {host} 使用 TLS（{error}）"
            ),
        )
    };
    let (config, verifier) = trust.client_config().map_err(|error| impossible(&error))?;
    let name = ServerName::try_from(bare_host(address.host())).map_err(|e| impossible(&e))?;
    let connected = TlsConnector::from(config).connect(name, stream).await;
    match (connected, verifier.accepted.get()) {
        (Ok(stream), Some(trusted_by)) => Ok((stream, *trusted_by)),
        (Ok(_), None) => Err(impossible(&"no certificate was shown")),
        (Err(error), _) => Err(judge(address, &error)),
    }
}

/// Accepts what either set of roots accepts, and remembers which.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    accepted: OnceLock<TrustedBy>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut why = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        for trusted_by in [
            TrustedBy::OwnAuthority,
            TrustedBy::GivenAuthority,
            TrustedBy::PublicAuthority,
        ] {
            let Some(verifier) = self.trust.verifier(trusted_by) else {
                continue;
            };
            match verifier.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ) {
                Ok(verified) => {
                    let _ = self.accepted.set(trusted_by);
                    return Ok(verified);
                }
                // Its own authority has more to say about a certificate than a strange one.
                Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {}
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.trust.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.trust.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.trust.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

/// Why the handshake failed.
fn judge(address: &AdvertisedAddress, error: &io::Error) -> Outcome {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    let saw = match inner {
        Some(Error::InvalidCertificate(why)) => bad_certificate(address, why),
        Some(Error::InvalidMessage(_)) => both!(
            "what answers at {address} speaks no TLS; the port or the scheme is another one's",
            "{address} 上的程序不使用 TLS；端口或协议写错了"
        ),
        Some(Error::AlertReceived(alert)) => both!(
            "{address} refuses the TLS handshake (alert {alert:?})",
            "{address} 拒绝 TLS 握手（警报 {alert:?}）"
        ),
        Some(Error::PeerIncompatible(why)) => both!(
            "{address} offers no TLS version or cipher that is still safe ({why:?})",
            "{address} 不提供仍然安全的 TLS 版本或加密套件（{why:?}）"
        ),
        Some(other) => both!(
            "the TLS handshake with {address} failed ({other})",
            "与 {address} 的 TLS 握手失败（{other}）"
        ),
        None => {
            let Said { en, zh } = ended(error);
            Said::new(
                format!(
                    "{address} {en} in the TLS handshake; it may speak no TLS, or a proxy there \
                     does not know the name"
                ),
                format!("{address} 在 TLS 握手中{zh}；它可能不使用 TLS，或那里的代理不认识该名称"),
            )
        }
    };
    failed(Layer::Tls, saw)
}

fn bad_certificate(address: &AdvertisedAddress, why: &CertificateError) -> Said {
    let host = address.host();
    match why {
        CertificateError::UnknownIssuer => both!(
            "the certificate that {address} shows is signed neither by this server's authority nor \
             by a public one: it is self-signed, or the proxy leaves the intermediate certificate \
             out (use the full chain); if it comes from an authority of your own, name that \
             authority's certificate in advertise.ca_file",
            "{address} 出示的证书既不是本服务器的机构签发，也不是公共机构签发：它是自签名的，或代理漏掉了中间证书（请使用完整证书链）；若由您自己的机构签发，请在 advertise.ca_file 中指定该机构的证书"
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => both!(
            "the certificate that {address} shows has expired; renew it, and check this machine's \
             clock",
            "{address} 出示的证书已过期；请续期，并检查本机时钟"
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => both!(
            "the certificate that {address} shows is not valid yet; check this machine's clock",
            "{address} 出示的证书尚未生效；请检查本机时钟"
        ),
        CertificateError::NotValidForName => both!(
            "the certificate that {address} shows is for another name than {host}",
            "{address} 出示的证书不适用于 {host}"
        ),
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names = super::shown(&presented.join(", ")).to_string();
            both!(
                "the certificate that {address} shows is for other names than {host}: {names}",
                "{address} 出示的证书不适用于 {host}，而是用于：{names}"
            )
        }
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => both!(
            "the certificate that {address} shows is one of an authority (`openssl req -x509` makes \
             such), which clients refuse from a server; issue a server certificate",
            "{address} 出示的是机构证书（`openssl req -x509` 会生成这种证书），客户端不接受；请签发服务器证书"
        ),
        other => both!(
            "the certificate that {address} shows is not usable ({other:?})",
            "{address} 出示的证书无法使用（{other:?}）"
        ),
    }
}
