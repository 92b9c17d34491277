//! Who looks at what clients publish, and whom they speak to, inside the server.

use std::net::SocketAddr;
use std::sync::Arc;

use safeport_broker::Observed;

/// Is shown messages on the event loops' own threads: whoever takes longer than a few microseconds
/// hands them on.
pub trait Observer: Send + Sync + 'static {
    /// A client has published a message that is observed, or its will was published.
    fn published(&self, observed: Observed);
}

/// Hears what clients say to the server itself, on the event loops' own threads: whoever takes longer
/// than a few microseconds hands it on. What one client says, and that it has left, comes in order.
pub trait Addressee: Send + Sync + 'static {
    /// A client has said something.
    fn heard(&self, said: Addressed);

    /// The connection of a client that may speak to the server, or of any other, has ended; also
    /// when it came again over another one. What it says from now on belongs to its next one.
    fn left(&self, client_id: &str);
}

/// What a client has said to the server itself. Who it is, is told by its login alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressed {
    /// Client identifier with which it was let in.
    pub client_id: String,
    /// User that it logged in as.
    pub user: Option<String>,
    /// Application payload, at most 64 KiB.
    pub payload: Box<[u8]>,
    /// Our end of its connection: an address by which it reaches us, unless somebody between
    /// rewrites them.
    pub local: Option<SocketAddr>,
}

/// What somebody looks at.
pub(crate) struct Watch {
    pub(crate) filters: Vec<String>,
    pub(crate) observer: Arc<dyn Observer>,
}
