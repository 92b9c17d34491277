//! What came of each connection, told to the witness.

use std::net::SocketAddr;
use std::time::SystemTime;

use safeport_broker::{ConnectionId, DisconnectCause, Event, Observed};
use safeport_mqtt::{Decoded, Packet, Version, decode};
use safeport_net::FirstBytes;
use safeport_net::attempt::{Attempt, Departed, Departure, Ending, Stage};

use crate::connection::{Arrival, State};
use crate::observer::Addressed;

use super::EventLoop;

impl EventLoop {
    /// The attempt of a connection that has no session yet is over.
    pub(super) fn report(&mut self, key: usize, ending: Ending) {
        if let Some(attempt) = self.attempt(key, ending) {
            self.witness.saw(attempt);
        }
    }

    /// What is known of a connection without a session; once: what TLS showed is taken.
    pub(super) fn attempt(&mut self, key: usize, ending: Ending) -> Option<Attempt> {
        let connection = self.connections.get_mut(key)?;
        let (arrival, connect) = match &mut connection.state {
            State::Connecting(arrival) => (arrival, None),
            State::Deciding(undecided) => (&mut undecided.arrival, Some(&undecided.connect)),
            State::Leaving(leaving) => (&mut leaving.arrival, Some(&leaving.connect)),
            _ => return None,
        };
        if arrival.first.is_none() {
            arrival.first = FirstBytes::of(&connection.tail);
        }
        let listener = &self.listeners[usize::from(connection.listener)];
        let mut attempt = arrival.attempt(&listener.name, ending);
        if let Some(connect) = connect
            && let Ok(Decoded::Packet(Packet::Connect(connect), _)) =
                decode(connect, Version::V311, u32::MAX)
        {
            attempt.client_id = Some(connect.client_id.to_owned());
            attempt.user = connect.username.map(str::to_owned);
        }
        if let Some(wrapped) = &mut connection.layer {
            attempt.tls = wrapped.layer.take_facts();
        }
        Some(attempt)
    }

    /// How far a connection without a session has come.
    pub(super) fn stage(&self, key: usize) -> Stage {
        let Some(connection) = self.connections.get(key) else {
            return Stage::Silent;
        };
        match (&connection.layer, &connection.state) {
            (Some(wrapped), _) => wrapped.layer.stage(),
            (None, State::Connecting(_)) if connection.tail.is_empty() => Stage::Silent,
            (None, _) => Stage::Hello,
        }
    }

    /// The broker has answered a CONNECT, or ended a connection.
    pub(super) fn tell_witness(&mut self, event: &Event) {
        if let Event::Disconnected {
            client_id, cause, ..
        } = event
        {
            self.witness.left(Departure {
                at: SystemTime::now(),
                client_id: client_id.clone(),
                how: departed(*cause),
            });
        }
        match event {
            Event::Connected {
                connection,
                client_id,
                user,
                ..
            } => {
                if let Some(mut attempt) = self.answered_attempt(*connection, Ending::Connected) {
                    attempt.client_id = Some(client_id.clone());
                    attempt.user.clone_from(user);
                    self.witness.saw(attempt);
                }
            }
            Event::Refused {
                connection,
                client_id,
                user,
                reason,
                why,
            } => {
                let ending = Ending::Refused {
                    reason: *reason as u8,
                    why: why.to_string(),
                };
                if let Some(mut attempt) = self.answered_attempt(*connection, ending) {
                    attempt.client_id = Some(client_id.clone());
                    attempt.user.clone_from(user);
                    self.witness.saw(attempt);
                }
            }
            Event::Disconnected {
                connection,
                client_id,
                cause: DisconnectCause::Lost,
            } => {
                let key = connection.0 as usize;
                let Some(lost) = self.connections.get(key) else {
                    return;
                };
                let ending = Ending::Closed {
                    stage: Stage::Established,
                    reset: lost.reset,
                };
                if let Some(mut attempt) = self.choked_attempt(*connection, ending) {
                    attempt.client_id = Some(client_id.clone());
                    self.witness.saw(attempt);
                }
            }
            Event::Disconnected {
                connection,
                client_id,
                cause: DisconnectCause::TakenOver,
            } => {
                if let Some(mut attempt) = self.late_attempt(*connection, None, Ending::TakenOver) {
                    attempt.client_id = Some(client_id.clone());
                    self.witness.saw(attempt);
                }
            }
            _ => {}
        }
    }

    /// A client speaks to the server itself.
    pub(super) fn hand_on(&self, from: ConnectionId, message: Observed) {
        let (Some(addressee), Some(publisher)) = (&self.addressee, message.publisher) else {
            return;
        };
        let connection = self.connections.get(from.0 as usize);
        addressee.heard(Addressed {
            client_id: publisher.client_id,
            user: publisher.user,
            payload: message.payload,
            local: connection.and_then(|connection| connection.stream.local_addr().ok()),
        });
    }

    /// Who speaks to the server itself may have left.
    pub(super) fn tell_addressee(&self, event: &Event) {
        if let (Some(addressee), Event::Disconnected { client_id, .. }) = (&self.addressee, event) {
            addressee.left(client_id);
        }
    }

    fn answered_attempt(&mut self, id: ConnectionId, ending: Ending) -> Option<Attempt> {
        let place = self.answered.iter().position(|(whose, _)| *whose == id)?;
        let (_, arrival) = self.answered.swap_remove(place);
        let connection = self.connections.get_mut(id.0 as usize)?;
        let listener = &self.listeners[usize::from(connection.listener)];
        let mut attempt = arrival.attempt(&listener.name, ending);
        if let Some(wrapped) = &mut connection.layer {
            attempt.tls = wrapped.take_facts(arrival.peer);
        }
        Some(attempt)
    }

    /// Of an established connection that ended right after the first large record that it was
    /// sent; of any other that ends there is nothing to tell.
    pub(super) fn choked_attempt(&mut self, id: ConnectionId, ending: Ending) -> Option<Attempt> {
        let now = self.time().0 as u32;
        let connection = self.connections.get_mut(id.0 as usize)?;
        let (peer, facts) = connection.layer.as_mut()?.take_large_record(now)?;
        let mut attempt = self.late_attempt(id, Some(peer), ending)?;
        attempt.first = Some(FirstBytes::Tls);
        attempt.tls = Some(Box::new(facts));
        Some(attempt)
    }

    /// Of a connection that had a session: how it came in is forgotten, but for its socket.
    fn late_attempt(
        &self,
        id: ConnectionId,
        peer: Option<SocketAddr>,
        ending: Ending,
    ) -> Option<Attempt> {
        let connection = self.connections.get(id.0 as usize)?;
        let peer = peer.or_else(|| connection.stream.peer_addr().ok())?;
        let listener = &self.listeners[usize::from(connection.listener)];
        let arrival = Arrival::now(peer, self.now);
        Some(arrival.attempt(&listener.name, ending))
    }
}

fn departed(cause: DisconnectCause) -> Departed {
    match cause {
        DisconnectCause::Client | DisconnectCause::ClientWithWill => Departed::Goodbye,
        DisconnectCause::Lost => Departed::Lost,
        DisconnectCause::KeepAlive => Departed::KeepAlive,
        DisconnectCause::TakenOver => Departed::TakenOver,
        DisconnectCause::Protocol(_) => Departed::Protocol,
        DisconnectCause::Server(_) => Departed::Server,
    }
}
