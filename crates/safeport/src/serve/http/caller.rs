//! Who makes a request, and by which way.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Transport;
use super::room::Place;
use super::visit::Visit;

/// Who asks; every request carries one as an extension.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// The other end of the socket: the client, or a proxy in front of us.
    pub(super) peer: SocketAddr,
    /// Our end.
    pub(super) local: Option<SocketAddr>,
    /// Where it came in.
    pub(super) listener: Transport,
    /// How it is carried, which need not be what the listener is for.
    pub(super) transport: Transport,
    /// Held until the last that came of this connection is done, or the engine counts it.
    pub(super) place: Arc<Place>,
    pub(super) visit: Arc<Visit>,
}
