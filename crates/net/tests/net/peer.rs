//! The other end of a connection: rustls as a client, and readers of raw records.

use std::io::{Read, Write};
use std::sync::Arc;

use safeport_net::rustls::client::WebPkiServerVerifier;
use safeport_net::rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use safeport_net::rustls::crypto::{CryptoProvider, SupportedKxGroup, WebPkiSupportedAlgorithms};
use safeport_net::rustls::pki_types::pem::PemObject;
use safeport_net::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use safeport_net::rustls::time_provider::TimeProvider;
use safeport_net::rustls::{
    self, ClientConfig, ClientConnection, RootCertStore, SignatureScheme, SupportedCipherSuite,
    SupportedProtocolVersion,
};
use safeport_net::{Layer, LayerError, PrivateCa, Received};

use crate::folder::june_2026;

pub(crate) const TLS12: &SupportedProtocolVersion = &rustls::version::TLS12;
pub(crate) const TLS13: &SupportedProtocolVersion = &rustls::version::TLS13;

/// What a client is able to do.
pub(crate) struct Abilities {
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    pub(crate) suites: Vec<SupportedCipherSuite>,
    pub(crate) groups: Vec<&'static dyn SupportedKxGroup>,
    pub(crate) schemes: Option<Vec<SignatureScheme>>,
    pub(crate) alpn: Vec<Vec<u8>>,
    /// Seconds since 1970 on the clock of the client.
    pub(crate) clock: u64,
}

impl Abilities {
    pub(crate) fn of(version: &'static SupportedProtocolVersion) -> Abilities {
        let provider = aws_lc_rs::default_provider();
        Abilities {
            versions: vec![version],
            suites: provider.cipher_suites,
            groups: provider.kx_groups,
            schemes: None,
            alpn: Vec::new(),
            clock: june_2026()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap()
                .as_secs(),
        }
    }

    /// The classic Tasmota profile: one suite, one curve, one signature.
    pub(crate) fn of_tasmota() -> Abilities {
        Abilities {
            suites: vec![cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256],
            groups: vec![kx_group::SECP256R1],
            schemes: Some(vec![SignatureScheme::RSA_PKCS1_SHA256]),
            ..Abilities::of(TLS12)
        }
    }

    pub(crate) fn connect(self, ca: &PrivateCa, name: &str) -> Client {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = self.suites;
        provider.kx_groups = self.groups;
        if let Some(schemes) = &self.schemes {
            provider.signature_verification_algorithms = only(schemes, &provider);
        }
        let provider = Arc::new(provider);
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(ca.ca_pem().as_bytes()).unwrap())
            .unwrap();
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone())
            .build()
            .unwrap();
        let mut config = ClientConfig::builder_with_details(provider, Arc::new(Clock(self.clock)))
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_webpki_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = self.alpn;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        Client(ClientConnection::new(Arc::new(config), name).unwrap())
    }
}

fn only(schemes: &[SignatureScheme], provider: &CryptoProvider) -> WebPkiSupportedAlgorithms {
    let all = provider.signature_verification_algorithms;
    let mapping: Vec<_> = all
        .mapping
        .iter()
        .copied()
        .filter(|(scheme, _)| schemes.contains(scheme))
        .collect();
    WebPkiSupportedAlgorithms {
        all: all.all,
        mapping: mapping.leak(),
    }
}

#[derive(Debug)]
struct Clock(u64);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(
            self.0,
        )))
    }
}

pub(crate) struct Client(pub(crate) ClientConnection);

impl Client {
    /// What the client wants to write now.
    pub(crate) fn flight(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.0.wants_write() {
            self.0.write_tls(&mut out).unwrap();
        }
        out
    }

    /// Plaintext that comes out of `raw`.
    pub(crate) fn read(&mut self, mut raw: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let mut plain = Vec::new();
        while !raw.is_empty() {
            self.0.read_tls(&mut raw).unwrap();
            self.0.process_new_packets()?;
            // Ends with "would block", or with the end after close_notify.
            let _ = self.0.reader().read_to_end(&mut plain);
        }
        Ok(plain)
    }

    pub(crate) fn write(&mut self, plain: &[u8]) -> Vec<u8> {
        self.0.writer().write_all(plain).unwrap();
        self.flight()
    }

    /// Runs the handshake to its end and returns every flight of the server.
    pub(crate) fn shake_hands(&mut self, server: &mut Layer) -> Result<Vec<Vec<u8>>, Failure> {
        let mut flights = Vec::new();
        while self.0.is_handshaking() || server.is_handshaking() {
            let ours = self.flight();
            let (received, out) = feed(server, &ours);
            assert_eq!(
                received.map_err(Failure::Server)?,
                (Vec::new(), Received::Open)
            );
            assert!(
                !ours.is_empty() || !out.is_empty(),
                "the handshake stands still"
            );
            self.read(&out).map_err(Failure::Client)?;
            flights.push(out);
        }
        // Tickets of TLS 1.3 may still be on their way.
        Ok(flights)
    }

    pub(crate) fn has_rsa_certificate_of_server(&self) -> bool {
        const RSA_ENCRYPTION: [u8; 11] = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
        let certificates = self.0.peer_certificates().unwrap();
        // The object identifier of the key stands once in the certificate; that of the signature
        // differs in its last byte.
        certificates[0]
            .windows(RSA_ENCRYPTION.len())
            .any(|w| w == RSA_ENCRYPTION)
    }
}

#[derive(Debug)]
pub(crate) enum Failure {
    Client(rustls::Error),
    #[allow(dead_code)] // seen in the output of a failed test
    Server(LayerError),
}

pub(crate) type Fed = Result<(Vec<u8>, Received), LayerError>;

/// What `layer` makes of `raw`, and what it writes back.
pub(crate) fn feed(layer: &mut Layer, raw: &[u8]) -> (Fed, Vec<u8>) {
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    let received = layer.receive(raw, &mut plain, &mut out);
    (received.map(|received| (plain, received)), out)
}

/// Type and content of every record in `raw`.
pub(crate) fn records(mut raw: &[u8]) -> Vec<(u8, &[u8])> {
    let mut records = Vec::new();
    while !raw.is_empty() {
        let length = usize::from(u16::from_be_bytes([raw[3], raw[4]]));
        records.push((raw[0], &raw[5..5 + length]));
        raw = &raw[5 + length..];
    }
    records
}
