//! Chains to serve, clients that connect, and attempts as listeners write them down.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use rcgen::SanType;
use safeport_net::attempt::{Attempt, Circumstances, Ending, Service, Stage, TlsFacts};
use safeport_net::hello::ClientHello;
use safeport_net::pki::{AnchorKind, Origin, Roots};
use safeport_net::{Chain, FirstBytes, PrivateCa};

use crate::captured::captured;
use crate::folder::{DAY, Folder, june_2026};
use crate::lab::{Authority, Kind, Made};

/// The chains that are served in these tests. Making RSA keys is slow, so each is made once.
pub(crate) struct Chains {
    /// For hub.example, ends at a root that every family has.
    pub(crate) public: Arc<Chain>,
    /// For hub.local and 192.168.1.20, of this installation's own authority.
    pub(crate) private: Arc<Chain>,
    /// For other.example only, with hub.example as the common name.
    pub(crate) cn_only: Arc<Chain>,
    /// For hub.example, and 192.168.1.20 as an address.
    pub(crate) with_address: Arc<Chain>,
    /// For hub.example with a P-256 key, all of it P-256 and SHA-256.
    pub(crate) p256: Arc<Chain>,
    /// For hub.example with a P-256 key, signed on P-384.
    pub(crate) p384: Arc<Chain>,
    /// For hub.example with an RSA key, signed with SHA-384.
    pub(crate) sha384: Arc<Chain>,
    /// For hub.example, ends at a young root whose bridge to X1 is not sent.
    pub(crate) unbridged: Arc<Chain>,
}

pub(crate) static CHAINS: LazyLock<Chains> = LazyLock::new(|| {
    let folder = Folder::with_authority();
    let mut ca = PrivateCa::open_or_create(folder.path(), june_2026()).unwrap();
    let names = ["hub.local".to_owned(), "192.168.1.20".to_owned()];
    ca.ensure_leaf(&names, june_2026()).unwrap();
    let chains = ca.chains();
    let rsa = chains
        .into_iter()
        .find(|chain| chain.tasmota_fingerprints().is_some());
    let x1 = Authority::root("ISRG Root X1", Kind::Rsa);
    let other = x1.leaf_with("other.example", Kind::Rsa, |params| {
        let name = rcgen::DnType::CommonName;
        params.distinguished_name.push(name, "hub.example");
    });
    let with_address = x1.leaf_with("hub.example", Kind::Rsa, |params| {
        let address = SanType::IpAddress("192.168.1.20".parse().unwrap());
        params.subject_alt_names.push(address);
    });
    let p256 = Authority::root("ISRG Root X1", Kind::P256);
    let p384 = Authority::root("ISRG Root X2", Kind::P384);
    let sha384 = Authority::root("ISRG Root X1", Kind::RsaSha384);
    let young = Authority::root("ISRG Root YR", Kind::Rsa);
    let public = |root: &Authority, made: Made| {
        let roots = Roots::none().with_certificate(AnchorKind::Public, &root.der);
        let path = PathBuf::from("/etc/ssl/hub.pem");
        let (pem, key) = (made.pem.as_bytes(), made.key.as_bytes());
        let chain = Chain::from_pem(Origin::Files { path }, pem, key, &roots, june_2026());
        Arc::new(chain.unwrap())
    };
    Chains {
        public: public(&x1, x1.leaf("hub.example", Kind::Rsa)),
        private: Arc::new(rsa.expect("one of them is RSA")),
        cn_only: public(&x1, other),
        with_address: public(&x1, with_address),
        p256: public(&p256, p256.leaf("hub.example", Kind::P256)),
        p384: public(&p384, p384.leaf("hub.example", Kind::P256)),
        sha384: public(&sha384, sha384.leaf("hub.example", Kind::Rsa)),
        unbridged: public(&young, young.leaf("hub.example", Kind::Rsa)),
    }
});

/// The ClientHello of `captured/NAME.hex`, connecting to `host`.
pub(crate) fn hello(name: &str, host: &str) -> ClientHello {
    let hello = ClientHello::read(&captured(name)).unwrap().unwrap();
    ClientHello {
        server_name: Some(host.to_owned()),
        ..hello
    }
}

/// Tasmota that was told to connect to `host`.
pub(crate) fn tasmota(host: &str) -> ClientHello {
    hello("bearssl-tasmota", host)
}

/// ESP-IDF that was told to connect to `host`.
pub(crate) fn idf(host: &str) -> ClientHello {
    hello("mbedtls-3-idf", host)
}

/// An attempt on a TLS listener on 2026-06-01.
pub(crate) fn attempt(ending: Ending) -> Attempt {
    let peer = SocketAddr::from(([192, 168, 1, 40], 50_000));
    Attempt {
        took: Duration::from_millis(400),
        ..Attempt::new(june_2026(), "mqtts".into(), peer, ending)
    }
}

/// The same by a client whose hello was read, and who was sent `chain`.
pub(crate) fn served(hello: ClientHello, chain: &Arc<Chain>, ending: Ending) -> Attempt {
    let facts = TlsFacts {
        hello: Some(hello),
        served: Some(chain.clone()),
        ..TlsFacts::default()
    };
    Attempt {
        first: Some(FirstBytes::Tls),
        tls: Some(Box::new(facts)),
        ..attempt(ending)
    }
}

/// The same before any certificate.
pub(crate) fn unserved(hello: ClientHello, ending: Ending) -> Attempt {
    let mut attempt = served(hello, &CHAINS.private, ending);
    attempt.tls.as_mut().unwrap().served = None;
    attempt
}

/// What came first belongs elsewhere.
pub(crate) fn wrong(first: FirstBytes) -> Attempt {
    Attempt {
        first: Some(first),
        ..attempt(Ending::WrongProtocol)
    }
}

/// The client closes when it has our certificate.
pub(crate) const CLOSED: Ending = Ending::Closed {
    stage: Stage::Certificate,
    reset: false,
};

/// We end the handshake with this alert.
pub(crate) fn failed(alert: u8) -> Ending {
    Ending::Failed {
        alert: Some(alert),
        why: "as rustls says it".into(),
    }
}

/// So many days later.
pub(crate) fn later(attempt: Attempt, days: u32) -> Attempt {
    let at: SystemTime = attempt.at + days * DAY;
    Attempt { at, ..attempt }
}

/// Nothing is known of the device; MQTT over TLS.
pub(crate) const MQTTS: Circumstances = Circumstances {
    service: Service::Mqtt,
    tls: true,
    pinned: None,
    trusted_before: false,
    take_overs: 0,
};
