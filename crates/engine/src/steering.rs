//! What can be changed while the engine serves: listening sockets, limits, whole listeners.
//!
//! Called by whoever applies new settings, from any thread but a loop's own. What waits for an
//! answer blocks its thread, at most 5 s. Nothing here touches a connection, but
//! [`EngineHandle::end_listener_connections`].

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use safeport_broker::Limits;

use crate::engine::{EngineHandle, prepare};
use crate::limits::STEERING_TIMEOUT;
use crate::mailbox::{Command, ListenerLimits, SocketChange};

/// Why the engine did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum SteeringError {
    /// Listeners are named when the engine starts.
    #[error("the engine has no listener named `{listener}`; it knows {known}")]
    UnknownListener {
        /// The name that was given.
        listener: String,
        /// Those that there are.
        known: String,
    },
    /// The operating system, or the limit of 16 sockets, refused. Everything is as it was.
    #[error("the sockets of listener `{listener}` stay as they are: {source}")]
    Sockets {
        /// Its name.
        listener: String,
        /// What was wrong.
        source: io::Error,
    },
    /// The server ends.
    #[error("the engine is stopping and takes no changes")]
    Stopping,
    /// A loop has not answered within 5 s: it is stuck, or very busy. The change is on its way and
    /// may still happen.
    #[error(
        "the engine did not answer within 5 s; the change may still happen: look at what listens, \
         and at the server's health, before you try again"
    )]
    NoAnswer,
}

impl EngineHandle {
    /// The listener accepts on these sockets, and on no others; none switches it off. They have
    /// to be bound and listening. No connection is touched, and no other listener.
    ///
    /// Waits until it is done: new sockets accept before old ones leave; those then finish the
    /// handshakes that are under way, give up what waits in their queues, and are closed, which
    /// takes 0.3 s. A socket whose address the listener has already stays as it is.
    ///
    /// # Errors
    ///
    /// See [`SteeringError`]. Of a change that was refused nothing remains; the given sockets are
    /// closed.
    pub fn set_sockets(
        &self,
        listener: &str,
        sockets: Vec<TcpListener>,
    ) -> Result<(), SteeringError> {
        self.change_sockets(listener, prepare(sockets).map(SocketChange::Set))
    }

    /// The listener accepts on these sockets, too: so that a new address can be tried before
    /// [`Self::remove_sockets`] takes the old one away. A socket whose address the listener has
    /// already is closed.
    ///
    /// # Errors
    ///
    /// As for [`Self::set_sockets`].
    pub fn add_sockets(
        &self,
        listener: &str,
        sockets: Vec<TcpListener>,
    ) -> Result<(), SteeringError> {
        self.change_sockets(listener, prepare(sockets).map(SocketChange::Add))
    }

    /// The listener does not accept any more on sockets that are bound to these addresses, as
    /// [`Self::listening`] names them. On return they are closed and their ports free. Addresses
    /// that it does not have are no mistake.
    ///
    /// # Errors
    ///
    /// As for [`Self::set_sockets`].
    pub fn remove_sockets(
        &self,
        listener: &str,
        addresses: &[SocketAddr],
    ) -> Result<(), SteeringError> {
        self.change_sockets(listener, Ok(SocketChange::Remove(addresses.to_vec())))
    }

    /// Where a listener accepts: the addresses that its sockets are bound to, without those that
    /// are closing. Empty if no listener has that name.
    pub fn listening(&self, listener: &str) -> Vec<SocketAddr> {
        let info = self.listeners.iter().find(|info| *info.name == *listener);
        info.map_or_else(Vec::new, |info| {
            let bound = info.bound.lock().unwrap_or_else(PoisonError::into_inner);
            bound.clone()
        })
    }

    /// Other limits for a listener. They hold for connections from now on; see each of
    /// [`ListenerLimits`] for those that are open.
    ///
    /// # Errors
    ///
    /// [`SteeringError::UnknownListener`].
    pub fn set_limits(&self, listener: &str, limits: &ListenerLimits) -> Result<(), SteeringError> {
        let index = self.index_of(listener)?;
        self.listeners[usize::from(index)].set_limits(limits);
        Ok(())
    }

    /// The limits that a listener has now; `None` if no listener has that name.
    pub fn limits(&self, listener: &str) -> Option<ListenerLimits> {
        let info = self.listeners.iter().find(|info| *info.name == *listener);
        info.map(|info| info.limits())
    }

    /// Other limits for the brokers of all loops, from their next turn on. What happens to
    /// sessions over a lowered one stands with each of [`Limits`]: nothing that was acknowledged
    /// is dropped.
    pub fn set_broker_limits(&self, limits: &Limits) {
        self.tell_all(|| Command::BrokerLimits(Box::new(limits.clone())));
    }

    /// How long a new connection may take to send its CONNECT. Those that have not sent it yet get
    /// at most this long from now on.
    pub fn set_connect_timeout(&self, timeout: Duration) {
        self.tell_all(|| Command::ConnectTimeout(timeout));
    }

    /// Open sockets over all listeners. Further ones are closed at once; lowered, those that are
    /// open stay.
    pub fn set_max_connections(&self, most: usize) {
        self.tell_all(|| Command::MaxConnections(most));
    }

    /// Ends every connection of a listener that was switched off, wherever it is on its way to a
    /// session; returns how many there were. Version 5 clients get DISCONNECT 0x98. Sessions stay
    /// for as long as they were granted, and wills are published, as for any end that an
    /// administrator decides.
    ///
    /// Take its sockets away first ([`Self::set_sockets`] with none), and stop bringing
    /// connections by [`Self::adopt`]: what comes during the call may stay.
    ///
    /// # Errors
    ///
    /// See [`SteeringError`].
    pub fn end_listener_connections(&self, listener: &str) -> Result<usize, SteeringError> {
        let index = self.index_of(listener)?;
        let mut ended = 0;
        // From the door to a loop, and from a loop to its home: a connection that moves while all
        // are asked one after the other is found where it went. The second time is for those that
        // went from a loop to the door.
        for _ in 0..2 {
            let (done, answers) = sync_channel(self.doors.len());
            self.doors.end_listener(index, &done);
            drop(done);
            let deadline = Instant::now() + STEERING_TIMEOUT;
            for _ in 0..self.doors.len() {
                ended += answer(&answers, deadline)?;
            }
            let (done, answers) = sync_channel(self.loops.len());
            self.tell_all(|| Command::EndListener {
                listener: index,
                done: done.clone(),
            });
            drop(done);
            let deadline = Instant::now() + STEERING_TIMEOUT;
            for _ in 0..self.loops.len() {
                ended += answer(&answers, deadline)?;
            }
        }
        Ok(ended)
    }

    pub(crate) fn index_of(&self, listener: &str) -> Result<u8, SteeringError> {
        let index = self
            .listeners
            .iter()
            .position(|info| *info.name == *listener);
        index.map(|index| index as u8).ok_or_else(|| {
            let known = self.listeners.iter().map(|info| format!("`{}`", info.name));
            SteeringError::UnknownListener {
                listener: listener.to_owned(),
                known: known.collect::<Vec<_>>().join(", "),
            }
        })
    }

    fn change_sockets(
        &self,
        listener: &str,
        change: io::Result<SocketChange>,
    ) -> Result<(), SteeringError> {
        let index = self.index_of(listener)?;
        let refused = |source| SteeringError::Sockets {
            listener: listener.to_owned(),
            source,
        };
        let change = change.map_err(refused)?;
        let (done, answers) = sync_channel(1);
        // The first loop accepts.
        self.loops[0].send(Command::Sockets {
            listener: index,
            change,
            done,
        });
        answer(&answers, Instant::now() + STEERING_TIMEOUT)?.map_err(refused)
    }

    fn tell_all(&self, command: impl Fn() -> Command) {
        for mailbox in self.loops.iter() {
            mailbox.send(command());
        }
    }
}

fn answer<T>(answers: &Receiver<T>, deadline: Instant) -> Result<T, SteeringError> {
    let left = deadline.saturating_duration_since(Instant::now());
    answers.recv_timeout(left).map_err(|error| match error {
        RecvTimeoutError::Timeout => SteeringError::NoAnswer,
        RecvTimeoutError::Disconnected => SteeringError::Stopping,
    })
}
