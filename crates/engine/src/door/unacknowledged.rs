//! Whether a client that fell silent has got what we sent: the one sign of a path that swallows
//! large packets.

use std::time::{Duration, Instant};

use mio::net::TcpStream;
use safeport_net::holder;

/// Asks the kernel's table of connections, which takes the longer the more there are: so seldom
/// that it costs no more than a fiftieth of the time.
pub(super) struct Unacknowledged {
    next: Option<Instant>,
}

impl Unacknowledged {
    pub(super) fn new() -> Unacknowledged {
        Unacknowledged { next: None }
    }

    /// Bytes of ours that the peer's kernel has not acknowledged; `None` if that is not known, or
    /// was asked too often.
    pub(super) fn of(&mut self, stream: &TcpStream) -> Option<u32> {
        let start = Instant::now();
        if self.next.is_some_and(|next| start < next) {
            return None;
        }
        let (local, peer) = (stream.local_addr().ok()?, stream.peer_addr().ok()?);
        let bytes = holder::unacknowledged(local, peer);
        let end = Instant::now();
        self.next = Some(end + (end.duration_since(start) * 50).max(AT_LEAST));
        bytes
    }
}

const AT_LEAST: Duration = Duration::from_millis(250);
