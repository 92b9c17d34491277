//! New connections: from a listener, from the HTTP server, from another loop.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Token};
use safeport_net::Layer;
use tracing::warn;

use crate::connection::{Connection, State, Wrapped};
use crate::limits::{ACCEPT_PAUSE, ACCEPTS_IN_A_ROW};
use crate::mailbox::{Command, Incoming};

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
                        self.turn_away(socket, &e);
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
            let layer = listener
                .tls
                .clone()
                .map(|tls| Wrapped::new(Layer::tls(tls)));
            let key = self.add(stream, index, layer);
            // Not read yet: if the first packet is there already, the event queue says so in the
            // next turn; if it is not, which is as likely, reading now would be in vain.
            let connection = &mut self.connections[key];
            if matches!(connection.state, State::Connecting(_)) {
                connection.state = State::Connecting(Some(Box::new(peer)));
            }
            return;
        }
        let name = &listener.name;
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

    /// Descriptors have run out: the waiting client is accepted with the spare one and closed,
    /// so that it knows, and accepting rests for a moment.
    pub(super) fn turn_away(&mut self, socket: &TcpListener, error: &io::Error) {
        if self.journal.may_tell_once("descriptors", self.now) {
            warn!(
                target: "safeport::mqtt", connections = self.connections.len(),
                "cannot accept: {error}; connections wait until others close. Raise the limit of \
                 open files (LimitNOFILE= of the unit, or `ulimit -n`)"
            );
        }
        if self.spare.take().is_some() {
            drop(socket.accept());
            self.spare = spare_descriptor();
        }
        self.accept_at = Some(self.now + ACCEPT_PAUSE);
    }

    pub(super) fn add(
        &mut self,
        mut stream: TcpStream,
        listener: u8,
        layer: Option<Box<Wrapped>>,
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
        let connection = Connection::new(stream, listener, max_packet, serial, layer);
        entry.insert(connection);
        self.io.sockets += 1;
        self.connecting.push_back(Due {
            at: self.clock + self.connect_timeout.as_millis() as u64,
            key: key as u32,
            serial,
        });
        if registered.is_err() {
            self.kill(key);
        }
        key
    }

    pub(super) fn adopt(&mut self, incoming: Incoming) {
        if self.stopping.is_some() {
            return;
        }
        let key = self.add(incoming.stream, incoming.listener, incoming.layer);
        self.connections[key].tail = incoming.tail;
        if let Some(admitted) = incoming.admitted {
            self.arrive(key, &admitted);
            self.go_on(key);
        } else if self.connections[key].layer.is_some() {
            // Also with nothing early: the layer may hold plaintext that nobody has read.
            self.received(key, &incoming.early);
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
