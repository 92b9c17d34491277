//! Who decides whether a client may come in.

use std::net::SocketAddr;
use std::sync::Arc;

use safeport_broker::Permissions;
use safeport_mqtt::ReasonCode;

/// What a CONNECT claims, and where it came from.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// Client identifier; empty if the server is to assign one.
    pub client_id: &'a str,
    /// User name, if any.
    pub username: Option<&'a str>,
    /// Password, if any. Never log it.
    pub password: Option<&'a [u8]>,
    /// Address of the peer.
    pub peer: SocketAddr,
    /// Name of the listener, as `mqtt` or `mqtts`.
    pub listener: &'a str,
    /// Whether TLS protects the connection.
    pub tls: bool,
    /// Asked again, because the connection has moved to another loop since: not a new login.
    pub again: bool,
}

/// The same, to take to another thread.
pub struct OwnedLogin {
    /// Client identifier; empty if the server is to assign one.
    pub client_id: String,
    /// User name, if any.
    pub username: Option<String>,
    /// Password, if any. Never log it.
    pub password: Option<Vec<u8>>,
    /// Address of the peer.
    pub peer: SocketAddr,
    /// Name of the listener.
    pub listener: String,
    /// Whether TLS protects the connection.
    pub tls: bool,
}

impl Login<'_> {
    /// A copy that owns its strings.
    pub fn to_owned(&self) -> OwnedLogin {
        OwnedLogin {
            client_id: self.client_id.to_owned(),
            username: self.username.map(str::to_owned),
            password: self.password.map(<[u8]>::to_vec),
            peer: self.peer,
            listener: self.listener.to_owned(),
            tls: self.tls,
        }
    }
}

/// The decision about one CONNECT.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Come in, with these rights.
    Admit(Arc<Permissions>),
    /// Stay out; the client is told the reason.
    Refuse(ReasonCode),
}

/// Decides about CONNECTs.
pub trait Gatekeeper: Send + Sync + 'static {
    /// Called on the event loop: answer from memory only. `None` = ask [`Self::decide`].
    fn decide_now(&self, login: &Login<'_>) -> Option<Verdict>;

    /// May take long (a password hash on another thread). Call `answer` exactly once, from any
    /// thread; a connection that gets no answer is closed when its time to connect is over.
    fn decide(&self, login: OwnedLogin, answer: Box<dyn FnOnce(Verdict) + Send>);
}

/// What a client is told that the gatekeeper turned away.
pub(crate) const TURNED_AWAY: &str =
    "the server does not let this client in with these credentials";
