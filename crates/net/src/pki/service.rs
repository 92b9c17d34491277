//! What one listener presents to a TLS client: certificates by its wishes, and the rules of the
//! handshake. The door asks it once per ClientHello.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello as RustlsHello, NoClientAuth, ProducesTickets, ResolvesServerCert,
    ServerSessionMemoryCache, StoresServerSessions, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use super::certificates::{Certificates, Choice};
use super::chain::{Chain, Origin};
use super::challenge;
use super::error::PkiError;
use super::key;
use super::offer::Offer;
use crate::hello::ClientHello;
use crate::limits::TLS_SESSIONS;

/// The TLS side of one listener. Copies share it, and changes hold from the next handshake on.
///
/// TLS 1.2 and 1.3, whole handshake records, tickets and a session cache of its own; one ticket
/// per TLS 1.3 handshake; ALPN `mqtt` and `http/1.1` where offered, none needed. Renegotiation
/// and heartbeats do not exist in rustls.
#[derive(Clone)]
pub struct TlsService(Arc<Shared>);

struct Shared {
    certificates: Certificates,
    state: Mutex<State>,
}

/// What a listener does that others do not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsProfile {
    /// Which certificates it prefers.
    pub choice: Choice,
    /// How long its outgoing records are.
    pub record_size: RecordSize,
    /// Roots, one of which must have issued the certificate that every client has to show.
    /// `None`: clients show none, which is what all device firmwares do by default.
    pub client_roots: Option<Vec<CertificateDer<'static>>>,
}

/// Plaintext bytes in an outgoing application record, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RecordSize {
    /// 16 KiB to clients that are known to have room, 1024 to all others.
    #[default]
    Auto,
    /// So many bytes, 512 to 16384.
    Fixed(u16),
}

struct State {
    profile: TlsProfile,
    session: Sessions,
    clients: Arc<dyn ClientCertVerifier>,
    prepared: Vec<Prepared>,
}

/// What lets a client resume. Made anew when client certificates are asked for, so that nobody
/// gets in with a ticket from before.
#[derive(Clone)]
struct Sessions {
    ticketer: Arc<dyn ProducesTickets>,
    store: Arc<dyn StoresServerSessions>,
}

/// A configuration for one chain; they are made when first needed.
struct Prepared {
    chain: Arc<Chain>,
    with_alpn: Arc<ServerConfig>,
    without_alpn: Arc<ServerConfig>,
}

/// How to go on with one client.
pub(crate) struct Begun {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) record_size: RecordSize,
    /// The chain that is sent, unless a session is resumed.
    pub(crate) served: Option<Arc<Chain>>,
    /// Whether this is the validation of an ACME authority: the connection is over with the
    /// handshake.
    pub(crate) is_challenge: bool,
}

impl TlsService {
    /// A listener that presents `certificates` by the rules of `profile`.
    ///
    /// # Errors
    ///
    /// Roots for client certificates that cannot be used.
    pub fn new(certificates: &Certificates, profile: TlsProfile) -> Result<TlsService, PkiError> {
        let state = State {
            session: Sessions::new()?,
            clients: verifier(&profile)?,
            profile,
            prepared: Vec::new(),
        };
        Ok(TlsService(Arc::new(Shared {
            certificates: certificates.clone(),
            state: Mutex::new(state),
        })))
    }

    /// Changes the rules.
    ///
    /// # Errors
    ///
    /// Roots for client certificates that cannot be used; the old rules hold then.
    pub fn set(&self, profile: TlsProfile) -> Result<(), PkiError> {
        let clients = verifier(&profile)?;
        let session = Sessions::new()?;
        let mut state = self.state();
        if state.profile.client_roots != profile.client_roots {
            state.clients = clients;
            state.session = session;
            state.prepared.clear();
        }
        state.profile = profile;
        Ok(())
    }

    /// The certificates that it chooses from.
    pub fn certificates(&self) -> &Certificates {
        &self.0.certificates
    }

    /// The rules as they are.
    pub fn profile(&self) -> TlsProfile {
        self.state().profile.clone()
    }

    /// Which certificates it prefers.
    pub fn choice(&self) -> Choice {
        self.state().profile.choice
    }

    /// How to go on with a client that said `hello` to our address `reached`; `None` for a hello
    /// that could not be read, which rustls is left to refuse.
    pub(crate) fn begin(&self, hello: Option<&ClientHello>, reached: Option<IpAddr>) -> Begun {
        let mut offer = hello.map_or_else(Offer::default, Offer::from);
        // A small stack that sends no name has none to compare either (ESPEasy with an address as
        // its broker), so the address decides nothing for it.
        let is_small = hello.is_some_and(|hello| hello.max_fragment.is_some());
        offer.reached = reached.filter(|_| !is_small);
        let mut state = self.state();
        let record_size = state.profile.record_size;
        let Some(chain) = self.0.certificates.choose(&offer, state.profile.choice) else {
            return Begun {
                config: Arc::new(state.config(None, &[])),
                record_size,
                served: None,
                is_challenge: false,
            };
        };
        if *chain.origin() == Origin::Challenge {
            return Begun {
                config: Arc::new(challenge_config(&chain)),
                record_size,
                served: Some(chain),
                is_challenge: true,
            };
        }
        // rustls ends the handshake of a client whose protocols are all unknown. That is right
        // where protocols must not be mixed up; here the port has settled it.
        let known = |name: &String| ALPN.contains(&name.as_bytes());
        let with_alpn = offer.alpn.iter().any(known);
        let prepared = state.prepared(&chain);
        Begun {
            config: match with_alpn {
                true => prepared.with_alpn.clone(),
                false => prepared.without_alpn.clone(),
            },
            record_size,
            served: Some(chain),
            is_challenge: false,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn prepared(&mut self, chain: &Arc<Chain>) -> &Prepared {
        let known = self
            .prepared
            .iter()
            .position(|p| Arc::ptr_eq(&p.chain, chain));
        let at = known.unwrap_or_else(|| {
            // Chains that nobody else holds were exchanged, and are not asked for again.
            self.prepared.retain(|p| Arc::strong_count(&p.chain) > 1);
            self.prepared.push(Prepared {
                chain: chain.clone(),
                with_alpn: Arc::new(self.config(Some(chain), &ALPN)),
                without_alpn: Arc::new(self.config(Some(chain), &[])),
            });
            self.prepared.len() - 1
        });
        &self.prepared[at]
    }

    fn config(&self, chain: Option<&Arc<Chain>>, alpn: &[&[u8]]) -> ServerConfig {
        let mut config = bare(chain, self.clients.clone());
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.ticketer = self.session.ticketer.clone();
        config.session_storage = self.session.store.clone();
        // Each ticket costs a write and bytes; a device resumes with the newest one only.
        config.send_tls13_tickets = 1;
        config
    }
}

/// Without client certificates and without sessions, and with the one protocol of the challenge.
fn challenge_config(chain: &Arc<Chain>) -> ServerConfig {
    let mut config = bare(Some(chain), Arc::new(NoClientAuth));
    config.alpn_protocols = vec![challenge::PROTOCOL.as_bytes().to_vec()];
    config.send_tls13_tickets = 0;
    config
}

fn bare(chain: Option<&Arc<Chain>>, clients: Arc<dyn ClientCertVerifier>) -> ServerConfig {
    ServerConfig::builder_with_provider(key::provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .expect("the provider has suites for both versions")
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(Chosen(chain.map(|chain| chain.certified()))))
}

impl Sessions {
    fn new() -> Result<Sessions, PkiError> {
        let ticketer = aws_lc_rs::Ticketer::new().map_err(|error| PkiError::Tls {
            what: error.to_string(),
        })?;
        Ok(Sessions {
            ticketer,
            store: ServerSessionMemoryCache::new(TLS_SESSIONS),
        })
    }
}

fn verifier(profile: &TlsProfile) -> Result<Arc<dyn ClientCertVerifier>, PkiError> {
    let Some(certificates) = &profile.client_roots else {
        return Ok(Arc::new(NoClientAuth));
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots
            .add(certificate.clone())
            .map_err(|error| PkiError::ClientRoots {
                what: error.to_string(),
            })?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), key::provider())
        .build()
        .map_err(|error| PkiError::ClientRoots {
            what: error.to_string(),
        })
}

/// The chain has been chosen before rustls is asked.
#[derive(Debug)]
struct Chosen(Option<Arc<CertifiedKey>>);

impl ResolvesServerCert for Chosen {
    fn resolve(&self, _: RustlsHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
}

impl fmt::Debug for TlsService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsService")
            .field("profile", &self.profile())
            .finish_non_exhaustive()
    }
}

const ALPN: [&[u8]; 2] = [b"mqtt", b"http/1.1"];
