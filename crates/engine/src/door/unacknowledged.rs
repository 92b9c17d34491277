//! Whether a client that fell silent has got what we sent: the one sign of a path that swallows
//! large packets.

use std::time::{Duration, Instant};

use mio::net::TcpStream;
use safeport_net::holder;

/// Asks the kernel's table of connections, which takes the longer the more there are, and all
/// handshakes of this door wait meanwhile: so seldom that it costs no more than a fiftieth of the
/// time, and a thousandth where one look is long enough to be felt.
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
        self.next = Some(end + pause_after(end.duration_since(start)));
        bytes
    }
}

fn pause_after(look: Duration) -> Duration {
    let times = if look < LONG { 50 } else { 1000 };
    (look * times).max(AT_LEAST)
}

const AT_LEAST: Duration = Duration::from_millis(250);
const LONG: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_a_look_takes_the_rarer_it_is() {
        let pause = |millis| pause_after(Duration::from_millis(millis));
        assert_eq!(pause(1), AT_LEAST);
        assert_eq!(pause(10), Duration::from_millis(500));
        // Some hundred thousand connections.
        assert_eq!(pause(300), Duration::from_secs(300));
    }
}
