//! What the witness is told of one connection.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use safeport_net::FirstBytes;
use safeport_net::attempt::{Attempt, Ending, TlsFacts, Witness};

/// One connection, of which the witness is told once: when it is answered, or when it ends without
/// having been.
#[derive(Debug)]
pub(super) struct Visit(Mutex<Option<Untold>>);

/// A connection of which nothing has been told yet. Dropped, nothing is: it ended with the server,
/// or somebody else tells of it.
pub(super) struct Untold {
    witness: Arc<dyn Witness>,
    begun: Instant,
    attempt: Attempt,
}

impl Visit {
    /// A connection that was accepted just now on the listener of this name.
    pub(super) fn new(witness: Arc<dyn Witness>, listener: &str, peer: SocketAddr) -> Visit {
        // What its ending is, is told later.
        let attempt = Attempt::new(SystemTime::now(), listener.into(), peer, Ending::Connected);
        Visit(Mutex::new(Some(Untold {
            witness,
            begun: Instant::now(),
            attempt,
        })))
    }

    /// What its first bytes are: those inside TLS if they do not belong there.
    pub(super) fn speaks(&self, first: FirstBytes) {
        self.note(|attempt| attempt.first = Some(first));
    }

    /// `None` also when it was told.
    pub(super) fn first_bytes(&self) -> Option<FirstBytes> {
        self.lock().as_ref()?.attempt.first
    }

    /// What stands in its CONNECT.
    pub(super) fn names(&self, client_id: Option<String>, user: Option<String>) {
        self.note(|attempt| {
            attempt.client_id = client_id;
            attempt.user = user;
        });
    }

    /// It asks for a WebSocket.
    pub(super) fn asks_websocket(&self) {
        self.note(|attempt| attempt.asked_websocket = true);
    }

    /// What is known of its TLS so far.
    pub(super) fn showed(&self, facts: Option<&TlsFacts>) {
        self.note(|attempt| attempt.tls = facts.cloned().map(Box::new));
    }

    /// Tells the witness, unless it was told before or somebody has taken that over.
    pub(super) fn tell(&self, ending: Ending) {
        if let Some(untold) = self.take() {
            untold.tell(ending);
        }
    }

    /// Takes over the telling; `None` if it was told before.
    pub(super) fn take(&self) -> Option<Untold> {
        self.lock().take()
    }

    fn note(&self, change: impl FnOnce(&mut Attempt)) {
        if let Some(untold) = &mut *self.lock() {
            change(&mut untold.attempt);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Untold>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Untold {
    pub(super) fn tell(mut self, ending: Ending) {
        self.attempt.took = self.begun.elapsed();
        self.attempt.ending = ending;
        self.witness.saw(self.attempt);
    }
}

impl std::fmt::Debug for Untold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Untold")
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
