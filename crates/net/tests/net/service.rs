//! [`TlsService`]: what one listener asks of its clients, and what it shows to whom.

use std::sync::Arc;

use safeport_net::pki::{Origin, ServerKey};
use safeport_net::rustls::pki_types::pem::PemObject;
use safeport_net::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use safeport_net::rustls::{
    ClientConfig, ClientConnection, Error, HandshakeKind, ProtocolVersion, RootCertStore,
};
use safeport_net::{Certificates, Layer, PrivateCa, TlsProfile, TlsService};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::authority::issued;
use crate::folder::{Folder, june_2026};
use crate::lab::{Authority, Kind, Made};
use crate::peer::{Client, Failure};

struct Listener {
    ca: PrivateCa,
    certificates: Certificates,
    service: TlsService,
    _folder: Folder,
}

fn listener(profile: TlsProfile) -> Listener {
    let folder = Folder::with_authority();
    // The clients of this file look at the clock of this machine.
    let ca = issued(&folder, std::time::SystemTime::now().max(june_2026()));
    let certificates = Certificates::new();
    certificates.set_private(ca.chains());
    let service = TlsService::new(&certificates, profile).unwrap();
    Listener {
        ca,
        certificates,
        service,
        _folder: folder,
    }
}

fn config(ca: &PrivateCa, own: Option<&Made>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(ca.ca_der().clone()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots);
    match own {
        None => config.with_no_client_auth(),
        Some(made) => {
            let chain = vec![CertificateDer::from_pem_slice(made.pem.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
    }
}

fn connect(service: &TlsService, config: &Arc<ClientConfig>) -> Result<(Client, Layer), Failure> {
    let name = ServerName::try_from("safeport.lan").unwrap();
    let mut client = Client(ClientConnection::new(config.clone(), name).unwrap());
    let mut server = Layer::tls(service, None);
    client.shake_hands(&mut server)?;
    // What follows the handshake: tickets here, the verdict on a client certificate there.
    let mut out = Vec::new();
    server.send(b"hello", &mut out).map_err(Failure::Server)?;
    client.read(&out).map_err(Failure::Client)?;
    Ok((client, server))
}

fn client_certificate(root: &Authority) -> Made {
    root.leaf_with("plug-3", Kind::P256, |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = std::time::UNIX_EPOCH.into();
        params.not_after = (std::time::SystemTime::now() + 400 * crate::folder::DAY).into();
    })
}

fn asking(root: &Authority) -> TlsProfile {
    TlsProfile {
        client_roots: Some(vec![root.der.clone()]),
        ..TlsProfile::default()
    }
}

#[test]
fn a_listener_that_asks_for_client_certificates_lets_in_only_those_of_its_roots() {
    let (ours, others) = (
        Authority::root("Ours", Kind::P256),
        Authority::root("Others", Kind::P256),
    );
    let Listener { ca, service, .. } = &listener(asking(&ours));
    let (right, wrong) = (client_certificate(&ours), client_certificate(&others));
    connect(service, &config(ca, Some(&right)).into()).unwrap();
    for config in [config(ca, None), config(ca, Some(&wrong))] {
        let refused = connect(service, &config.into());
        assert!(matches!(
            refused,
            Err(Failure::Server(_) | Failure::Client(_))
        ));
    }
}

#[test]
fn nobody_gets_in_with_a_ticket_from_before_certificates_were_asked_for() {
    let Listener { ca, service, .. } = &listener(TlsProfile::default());
    let config: Arc<ClientConfig> = config(ca, None).into();
    connect(service, &config).unwrap();
    let (client, _) = connect(service, &config).unwrap();
    assert_eq!(client.0.handshake_kind(), Some(HandshakeKind::Resumed));
    // Another record size leaves sessions alone.
    let mut profile = service.profile();
    profile.record_size = safeport_net::RecordSize::Fixed(4096);
    service.set(profile).unwrap();
    let (client, _) = connect(service, &config).unwrap();
    assert_eq!(client.0.handshake_kind(), Some(HandshakeKind::Resumed));

    service
        .set(asking(&Authority::root("Ours", Kind::P256)))
        .unwrap();
    assert!(connect(service, &config).is_err());
    service.set(TlsProfile::default()).unwrap();
    connect(service, &config).unwrap();
}

#[test]
fn sessions_go_on_over_a_renewal_and_not_from_one_listener_to_another() {
    let Listener {
        ca,
        certificates,
        service,
        ..
    } = &mut listener(TlsProfile::default());
    let config: Arc<ClientConfig> = config(ca, None).into();
    connect(service, &config).unwrap();
    certificates.set_private(ca.chains());
    let (client, _) = connect(service, &config).unwrap();
    assert_eq!(client.0.handshake_kind(), Some(HandshakeKind::Resumed));
    let other = TlsService::new(certificates, TlsProfile::default()).unwrap();
    let (client, _) = connect(&other, &config).unwrap();
    assert_eq!(client.0.handshake_kind(), Some(HandshakeKind::Full));
}

#[test]
fn roots_that_are_none_are_refused_and_the_old_rules_hold() {
    let Listener { ca, service, .. } = &listener(TlsProfile::default());
    for roots in [Vec::new(), vec![CertificateDer::from(vec![1, 2, 3])]] {
        let profile = TlsProfile {
            client_roots: Some(roots),
            ..TlsProfile::default()
        };
        let error = service.set(profile).unwrap_err().to_string();
        assert!(error.contains("client certificates"), "{error}");
    }
    assert_eq!(service.profile(), TlsProfile::default());
    connect(service, &config(ca, None).into()).unwrap();
}

#[test]
fn the_facts_of_a_handshake_name_the_chain_that_was_sent() {
    let Listener {
        ca,
        certificates,
        service,
        ..
    } = &listener(TlsProfile::default());
    let (client, server) = connect(service, &config(ca, None).into()).unwrap();
    let served = server.facts().unwrap().served.clone().unwrap();
    assert_eq!(client.0.peer_certificates().unwrap(), served.der());
    let mut presented = certificates.presented(service.choice()).into_iter();
    assert!(presented.any(|chain| Arc::ptr_eq(&chain, &served)));
    assert_eq!(client.0.protocol_version(), Some(ProtocolVersion::TLSv1_3));
}

#[test]
fn a_key_that_was_changed_is_served_from_the_next_handshake_on() {
    let Listener {
        ca,
        certificates,
        service,
        ..
    } = &mut listener(TlsProfile::default());
    let fresh = |ca: &PrivateCa| Arc::new(config(ca, None));
    let (before, _) = connect(service, &fresh(ca)).unwrap();
    ca.prepare_next(ServerKey::P256).unwrap();
    ca.rotate(ServerKey::P256, std::time::SystemTime::now())
        .unwrap();
    certificates.set_private(ca.chains());
    let (after, _) = connect(service, &fresh(ca)).unwrap();
    assert_ne!(before.0.peer_certificates(), after.0.peer_certificates());
}

#[test]
fn only_the_validation_of_an_acme_authority_sees_its_certificate() {
    let Listener {
        ca,
        certificates,
        service,
        ..
    } = &listener(TlsProfile::default());
    let digest = [0xab; 32];
    certificates.set_challenge("safeport.lan", digest).unwrap();
    let offering = |protocols: &[&str]| {
        let mut config = config(ca, None);
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        connect_blindly(service, config)
    };
    let (client, server) = offering(&["acme-tls/1"]);
    assert!(server.is_challenge());
    assert_eq!(client.0.alpn_protocol(), Some(&b"acme-tls/1"[..]));
    assert_eq!(
        *server.facts().unwrap().served.as_ref().unwrap().origin(),
        Origin::Challenge
    );
    let shown = &client.0.peer_certificates().unwrap()[0];
    let (_, shown) = X509Certificate::from_der(shown).unwrap();
    let names = shown.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names.len(), 1);
    let proof = shown
        .extensions()
        .iter()
        .find(|e| e.oid.to_id_string() == "1.3.6.1.5.5.7.1.31");
    let proof = proof.unwrap();
    assert!(proof.critical);
    assert_eq!(proof.value, [&[4, 32][..], &digest].concat());

    for protocols in [&["acme-tls/1", "mqtt"][..], &["mqtt"], &[]] {
        let (_, server) = offering(protocols);
        assert!(!server.is_challenge(), "{protocols:?}");
    }
    certificates.clear_challenge("safeport.lan");
    let (client, server) = offering(&["acme-tls/1"]);
    assert!(!server.is_challenge());
    assert_eq!(client.0.alpn_protocol(), None);
    assert!(certificates.set_challenge("no name", digest).is_err());
}

/// For a certificate that no client trusts.
fn connect_blindly(service: &TlsService, mut config: ClientConfig) -> (Client, Layer) {
    #[derive(Debug)]
    struct Blind;
    use safeport_net::rustls::client::danger::{
        HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
    };
    use safeport_net::rustls::pki_types::UnixTime;
    use safeport_net::rustls::{DigitallySignedStruct, SignatureScheme, crypto};
    impl ServerCertVerifier for Blind {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            let provider = crypto::aws_lc_rs::default_provider();
            provider
                .signature_verification_algorithms
                .supported_schemes()
        }
    }
    config.dangerous().set_certificate_verifier(Arc::new(Blind));
    let name = ServerName::try_from("safeport.lan").unwrap();
    let mut client = Client(ClientConnection::new(config.into(), name).unwrap());
    let mut server = Layer::tls(service, None);
    client.shake_hands(&mut server).unwrap();
    (client, server)
}

#[test]
fn without_any_certificate_a_client_is_refused_with_an_alert() {
    let Listener {
        ca,
        certificates,
        service,
        ..
    } = &listener(TlsProfile::default());
    certificates.set_private(Vec::<safeport_net::Chain>::new());
    let refused = connect(service, &config(ca, None).into());
    assert!(matches!(refused, Err(Failure::Server(_))));
}
