//! Changes that are undone unless somebody comes over the new address: who may confirm them, and the
//! way back.

use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use safeport_store::{FileSnapshot, RevisionState};

use super::swap::Proofs;
use super::{Event, Live};
use crate::app::sockets::Bound;
use crate::reading::{Read, put_back};
use crate::say;
use crate::serve::http::{Confirm, Confirmed};

/// A change that serves, but is undone unless somebody comes over its address.
pub(crate) struct Unconfirmed {
    pub(super) revision: u64,
    pub(super) token: String,
    pub(super) until: Instant,
    pub(super) before: Read,
    pub(super) files: Vec<FileSnapshot>,
    /// Sockets of before the change, still listening so that the way back is open.
    pub(super) old: Vec<Bound>,
}

impl Live {
    /// Who confirms a change that the last server has undone is told so.
    pub(super) fn remember_undone(&self) {
        let newest = self.registry.history(1).unwrap_or_default();
        if let Some(newest) = newest.first()
            && newest.state == RevisionState::Reverted
        {
            self.awaited
                .set(self.gate.proofs().confirm_token(newest.id));
        }
    }

    /// Somebody came to say that the new address works; `at` is our end of their connection.
    pub(super) fn confirm(&mut self, token: &str, at: Option<SocketAddr>) -> Confirmed {
        match self.unconfirmed.take() {
            Some(unconfirmed)
                if unconfirmed.token == token && is_old(at, &unconfirmed.old, &self.bound) =>
            {
                self.unconfirmed = Some(unconfirmed);
                Confirmed::OldAddress
            }
            Some(unconfirmed) if unconfirmed.token == token => {
                let verdict = say!(self.texts, "change-confirmed");
                if let Err(failure) = self.retire(unconfirmed.old) {
                    tracing::error!(target: "safeport::serve", "{}", failure.one_text());
                }
                self.settle(unconfirmed.revision, RevisionState::Live, &verdict, None);
                tracing::info!(
                    target: "safeport::serve",
                    revision = unconfirmed.revision,
                    "confirmed over the new address"
                );
                Confirmed::Kept
            }
            other => {
                let late = self
                    .registry
                    .history(1)
                    .ok()
                    .and_then(|newest| newest.into_iter().next())
                    .is_some_and(|newest| {
                        newest.state == RevisionState::Reverted
                            && self.gate.proofs().confirm_token(newest.id) == token
                    });
                self.unconfirmed = other;
                if late {
                    Confirmed::Late
                } else {
                    Confirmed::Unknown
                }
            }
        }
    }

    /// Nobody came over the new address in time.
    pub(super) fn revert(&mut self) {
        let Some(unconfirmed) = self.unconfirmed.take() else {
            return;
        };
        // The old sockets still listen: the way back needs no port that somebody else could have
        // taken meanwhile.
        self.bound.extend(unconfirmed.old);
        let mut verdict = say!(self.texts, "change-reverted");
        let restored = match self.swap(unconfirmed.before, Proofs::Spared) {
            Ok(applied) => self.retire(applied.old),
            Err(failure) => Err(failure),
        };
        if let Err(failure) = restored {
            verdict = format!("{verdict} {}", failure.one_text());
        }
        for file in &unconfirmed.files {
            if let Err(error) = put_back(file) {
                let path = file.path.clone();
                verdict = format!(
                    "{verdict} {}",
                    say!(self.texts, "file-not-put-back", path = path, error = error)
                );
            }
        }
        tracing::warn!(
            target: "safeport::serve",
            revision = unconfirmed.revision,
            "{verdict}"
        );
        self.settle(
            unconfirmed.revision,
            RevisionState::Reverted,
            &verdict,
            None,
        );
        self.write_live();
    }
}

/// Whether a connection came by a socket of before a change and by none that stays.
fn is_old(at: Option<SocketAddr>, old: &[Bound], bound: &[Bound]) -> bool {
    let takes = |sockets: &[Bound], at: SocketAddr| {
        sockets.iter().any(|socket| takes_at(socket.actual, at))
    };
    at.is_some_and(|at| takes(old, at) && !takes(bound, at))
}

/// Whether a connection whose our end is `at` comes by a socket that is bound to `bound`.
fn takes_at(bound: SocketAddr, at: SocketAddr) -> bool {
    let (ip, came_to) = (bound.ip().to_canonical(), at.ip().to_canonical());
    bound.port() == at.port()
        && (ip == came_to || ip.is_unspecified() && (ip.is_ipv6() || came_to.is_ipv4()))
}

/// Hands a confirmation to the thread that owns the settings.
pub(in super::super) struct AskLive {
    awaited: Awaited,
    events: Mutex<Sender<Event>>,
}

impl AskLive {
    pub(in super::super) fn new(awaited: Awaited, events: Sender<Event>) -> AskLive {
        AskLive {
            awaited,
            events: Mutex::new(events),
        }
    }
}

impl Confirm for AskLive {
    fn confirm(&self, token: &str, at: Option<SocketAddr>) -> Confirmed {
        if !self.awaited.is(token) {
            return Confirmed::Unknown;
        }
        let (answer, answered) = channel();
        let asked = self
            .events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send(Event::Confirm(token.to_owned(), at, answer));
        if asked.is_err() {
            return Confirmed::Unknown;
        }
        answered
            .recv_timeout(CONFIRM_REPLY)
            .unwrap_or(Confirmed::Unknown)
    }
}

/// The token of the change that waits for its confirmation, or that was undone last. Whoever asks
/// with another one is answered at the door and wakes nobody.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Awaited(Arc<Mutex<Option<String>>>);

impl Awaited {
    fn is(&self, token: &str) -> bool {
        self.lock().as_deref() == Some(token)
    }

    pub(super) fn set(&self, token: String) {
        *self.lock() = Some(token);
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a person who confirms waits for what comes of it.
const CONFIRM_REPLY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confirmation_is_told_from_one_over_the_old_address_by_address_and_port() {
        let takes = |bound: &str, at: &str| {
            takes_at(
                bound.parse().expect("an address"),
                at.parse().expect("an address"),
            )
        };
        for (bound, at) in [
            ("127.0.0.1:8002", "127.0.0.1:8002"),
            ("0.0.0.0:8002", "192.168.1.20:8002"),
            ("[::]:8002", "[::ffff:192.168.1.20]:8002"),
            ("[::]:8002", "[fd00::2]:8002"),
            ("192.168.1.20:8002", "[::ffff:192.168.1.20]:8002"),
        ] {
            assert!(takes(bound, at), "{bound} {at}");
        }
        for (bound, at) in [
            ("127.0.0.1:8002", "127.0.0.2:8002"),
            ("127.0.0.1:8002", "127.0.0.1:8003"),
            ("0.0.0.0:8002", "[fd00::2]:8002"),
        ] {
            assert!(!takes(bound, at), "{bound} {at}");
        }
    }
}
