//! New connections: from a listener, from the HTTP server, from another loop.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Token};
use safeport_net::attempt::{Ending, Limit};
use tracing::warn;

use crate::connection::{Arrival, Connection, State, Wrapped};
use crate::door::Visitor;
use crate::limits::{ACCEPT_PAUSE, ACCEPTS_IN_A_ROW};
use crate::mailbox::{Carries, Command, Incoming};

use super::{Due, EventLoop};

impl EventLoop {
    pub(super) fn accept(&mut self) {
        self.accept_at = None;
        let mut sockets = std::mem::take(&mut self.sockets);
        for listening in sockets.ready() {
            let socket = &listening.socket;
            for turn in 0.. {
                if turn == ACCEPTS_IN_A_ROW {
                    // Edge-triggered: nobody reminds us of the rest.
                    self.accept_at = Some(self.now);
                    break;
                }
                match socket.accept() {
                    Ok((stream, peer)) => {
                        listening.let_in(&stream);
                        self.welcome(listening.listener, stream, peer);
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        listening.ready = false;
                        break;
                    }
                    // The client was gone before it was accepted, and the like.
                    Err(e) if is_about_one_connection(&e) => {}
                    Err(e) => {
                        self.turn_away(socket, listening.listener, &e);
                        break;
                    }
                }
            }
        }
        self.sockets = sockets;
    }

    pub(super) fn welcome(&mut self, index: u8, stream: TcpStream, peer: SocketAddr) {
        self.io.accepted += 1;
        let listener = &self.listeners[usize::from(index)];
        let here = listener.open.load(Ordering::Relaxed);
        let all: usize = self
            .listeners
            .iter()
            .map(|l| l.open.load(Ordering::Relaxed))
            .sum();
        let most = listener.limits().max_connections;
        if all < self.max_connections && here < most {
            listener.open.fetch_add(1, Ordering::Relaxed);
            let arrival = Arrival::now(peer, self.now);
            if listener.carries == Carries::Tls {
                return self.knock(stream, index, arrival, Vec::new());
            }
            // Not read yet: if the first packet is there already, the event queue says so in the
            // next turn; if it is not, which is as likely, reading now would be in vain.
            self.add(stream, index, None, arrival);
            return;
        }
        let name = listener.name.clone();
        let ending = Ending::TurnedAway(Limit::TooManyConnections);
        let attempt = Arrival::now(peer, self.now).attempt(&name, ending);
        self.witness.saw(attempt);
        if self.journal.may_tell_once("too many connections", self.now) {
            warn!(
                target: "safeport::mqtt", open = all,
                "new connections to `{name}` are closed at once: no more are allowed by \
                 `{name}.max_connections` ({}) or by the limit of open files ({} connections; \
                 raise LimitNOFILE= of the unit, or `ulimit -n`)",
                most, self.max_connections,
            );
        }
    }

    /// Whoever speaks TLS shakes hands at the door. `early` was read already.
    fn knock(&mut self, stream: TcpStream, index: u8, arrival: Box<Arrival>, early: Vec<u8>) {
        let come_in = arrival.clone();
        let visitor = Visitor {
            stream,
            listener: index,
            arrival,
            early,
        };
        if let Err(limit) = self.doors.take_in(visitor) {
            let listener = &self.listeners[usize::from(index)];
            listener.open.fetch_sub(1, Ordering::Relaxed);
            let ending = Ending::TurnedAway(limit);
            self.witness.saw(come_in.attempt(&listener.name, ending));
        }
    }

    /// TLS came to a plain listener that takes both.
    pub(super) fn send_to_door(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        let State::Knocking(knocking) = std::mem::replace(&mut connection.state, State::Dead)
        else {
            return;
        };
        let mut connection = self.connections.remove(key);
        self.io.sockets -= 1;
        let registry = self.poll.registry();
        if registry.deregister(&mut connection.stream).is_err() {
            let listener = &self.listeners[usize::from(connection.listener)];
            listener.open.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let (arrival, early) = *knocking;
        self.knock(
            connection.stream,
            connection.listener,
            Box::new(arrival),
            early,
        );
    }

    /// Descriptors have run out: the waiting client is accepted with the spare one and closed,
    /// so that it knows, and accepting rests for a moment.
    pub(super) fn turn_away(&mut self, socket: &TcpListener, index: u8, error: &io::Error) {
        if self.journal.may_tell_once("descriptors", self.now) {
            warn!(
                target: "safeport::mqtt", connections = self.connections.len(),
                "cannot accept: {error}; connections wait until others close. Raise the limit of \
                 open files (LimitNOFILE= of the unit, or `ulimit -n`)"
            );
        }
        if self.spare.take().is_some() {
            if let Ok((stream, peer)) = socket.accept() {
                drop(stream);
                let ending = Ending::TurnedAway(Limit::NoDescriptors);
                let listener = &self.listeners[usize::from(index)];
                let attempt = Arrival::now(peer, self.now).attempt(&listener.name, ending);
                self.witness.saw(attempt);
            }
            self.spare = spare_descriptor();
        }
        self.accept_at = Some(self.now + ACCEPT_PAUSE);
    }

    pub(super) fn add(
        &mut self,
        mut stream: TcpStream,
        listener: u8,
        layer: Option<Box<Wrapped>>,
        arrival: Box<Arrival>,
    ) -> usize {
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        let registered = self
            .poll
            .registry()
            .register(&mut stream, Token(key), Interest::READABLE);
        let max_packet = self.listeners[usize::from(listener)].limits().max_packet;
        let waited = self.now.saturating_duration_since(arrival.accepted);
        let connection = Connection::new(stream, listener, max_packet, serial, layer, arrival);
        entry.insert(connection);
        self.io.sockets += 1;
        let left = self.connect_timeout.saturating_sub(waited);
        let due = Due {
            at: self.clock + left.as_millis() as u64,
            key: key as u32,
            serial,
        };
        // The last place, but for one whose handshake took a while.
        let place = match self.connecting.back() {
            Some(last) if last.at > due.at => self.connecting.partition_point(|d| d.at <= due.at),
            _ => self.connecting.len(),
        };
        self.connecting.insert(place, due);
        if registered.is_err() {
            self.kill(key);
        }
        key
    }

    pub(super) fn adopt(&mut self, incoming: Incoming) {
        if self.stopping.is_some() {
            let listener = &self.listeners[usize::from(incoming.listener)];
            listener.open.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let (listener, layer) = (incoming.listener, incoming.layer);
        let key = self.add(incoming.stream, listener, layer, incoming.arrival);
        self.connections[key].tail = incoming.tail;
        if let Some(admitted) = incoming.admitted {
            self.arrive(key, &admitted);
            self.go_on(key);
        } else {
            // Also with nothing early: the layer may hold plaintext that nobody has read, or have
            // seen the end.
            self.received_early(key, &incoming.early);
        }
        self.mark_dirty(key);
    }

    /// Sends a connection that turned out to be at home elsewhere on its way.
    pub(super) fn send_home(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        let State::Leaving(admitted) = std::mem::replace(&mut connection.state, State::Dead) else {
            return;
        };
        let mut connection = self.connections.remove(key);
        self.io.sockets -= 1;
        if self
            .poll
            .registry()
            .deregister(&mut connection.stream)
            .is_err()
        {
            let listener = &self.listeners[usize::from(connection.listener)];
            listener.open.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        self.mailboxes[usize::from(admitted.home)].send(Command::Incoming(Box::new(Incoming {
            stream: connection.stream,
            listener: connection.listener,
            layer: connection.layer,
            tail: connection.tail,
            early: Vec::new(),
            arrival: admitted.arrival.clone(),
            admitted: Some(admitted),
        })));
    }
}

/// Errors of accept(2) that concern the one connection that was waiting.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::PermissionDenied
    )
}

pub(super) fn spare_descriptor() -> Option<File> {
    File::open("/dev/null").ok()
}
