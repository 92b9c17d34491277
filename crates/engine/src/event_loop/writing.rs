//! The broker's effects to bytes on sockets, and the ends of connections.

use std::net::Shutdown;
use std::sync::atomic::Ordering;

use mio::{Interest, Token};
use safeport_broker::{ConnectionId, Effect};
use safeport_mqtt::{Packet, ReasonCode, Version};
use safeport_net::attempt::Ending;

use crate::connection::{Connection, Flushed, State};
use crate::limits::{CLOSING, CONGESTED_AT};

use super::{Due, EventLoop};

impl EventLoop {
    /// Carries out what the broker wants done.
    pub(super) fn apply(&mut self) {
        while self.broker.has_effects() {
            let mut effects = std::mem::take(&mut self.effects);
            self.set_gate();
            self.broker.take_effects(&mut effects);
            for effect in effects.list.drain(..) {
                self.carry_out(effect, &effects.wire);
            }
            effects.clear();
            self.effects = effects;
        }
    }

    pub(super) fn carry_out(&mut self, effect: Effect, wire: &[u8]) {
        match effect {
            Effect::Send { to, frame } => {
                let key = to.0 as usize;
                if let Some(connection) = self.connections.get_mut(key) {
                    if let Some(group) = self.gate {
                        connection.wait_for(group);
                    }
                    connection.out.push(&frame, wire, &mut self.pool);
                    self.written_to(key);
                }
            }
            Effect::SendShared { to, head, message } => {
                let key = to.0 as usize;
                if let Some(connection) = self.connections.get_mut(key) {
                    if let Some(group) = self.gate {
                        connection.wait_for(group);
                    }
                    connection
                        .out
                        .push_shared(&head, wire, message, &mut self.pool);
                    self.written_to(key);
                }
            }
            Effect::WatchDrain { to } => {
                let key = to.0 as usize;
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.watch_drain = true;
                    self.mark_dirty(key);
                }
            }
            Effect::Resume { to } => self.resumed.push(to.0 as usize),
            Effect::Close { to } => self.close(to.0 as usize),
            Effect::Tell { mut peers, message } => {
                while peers != 0 {
                    let peer = peers.trailing_zeros() as usize;
                    peers &= peers - 1;
                    self.tell(peer, (*message).clone());
                }
            }
            Effect::Observed(observed) => {
                if let Some(observer) = &self.observer {
                    observer.published(*observed);
                }
            }
            Effect::Addressed { from, message } => self.hand_on(from, *message),
            Effect::Event(event) => {
                self.tell_witness(&event);
                self.tell_addressee(&event);
                let connections = &self.connections;
                let peer = |connection: ConnectionId| {
                    let connection = connections.get(connection.0 as usize)?;
                    connection.stream.peer_addr().ok()
                };
                self.journal.event(&event, peer, self.now);
            }
        }
    }

    #[inline]
    pub(super) fn written_to(&mut self, key: usize) {
        let connection = &self.connections[key];
        let congested = connection.out.len() > CONGESTED_AT;
        if !connection.dirty {
            self.mark_dirty(key);
        }
        if congested {
            self.relieve(key);
        }
    }

    /// Much waits for one connection: try the socket now, and if it is full, tell the broker.
    pub(super) fn relieve(&mut self, key: usize) {
        if !self.may_leave(key) {
            self.write_records();
        }
        let may_leave = self.may_leave(key);
        let connection = &mut self.connections[key];
        if !connection.full && may_leave {
            match connection.flush(&mut self.pool, self.clock.0 as u32) {
                Ok((flushed, written)) => {
                    self.io.bytes_sent += written as u64;
                    if flushed == Flushed::Partly {
                        self.wait_until_writable(key);
                    }
                }
                // The flush at the end of the turn finds the same error and acts on it.
                Err(_) => return,
            }
        }
        let connection = &mut self.connections[key];
        if connection.waiting() > CONGESTED_AT
            && let State::Live(session) = connection.state
        {
            self.broker
                .handle_congested(session, ConnectionId(key as u32));
        }
    }

    /// The socket is full. Most never are, so the event queue is told of the first time only:
    /// asked from the beginning, it would report each new socket as writable, in vain.
    fn wait_until_writable(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        if std::mem::replace(&mut connection.told_when_writable, true) {
            return;
        }
        let registered = self.poll.registry().reregister(
            &mut connection.stream,
            Token(key),
            Interest::READABLE | Interest::WRITABLE,
        );
        if registered.is_err() {
            // Nobody would tell when to go on.
            self.lost(key, false);
        }
    }

    pub(super) fn mark_dirty(&mut self, key: usize) {
        if let Some(connection) = self.connections.get_mut(key)
            && !connection.dirty
        {
            connection.dirty = true;
            self.dirty.push(key);
        }
    }

    /// Writes a packet that is not the broker's (CONNACK before there is a session).
    pub(super) fn write_packet(&mut self, key: usize, packet: &Packet<'_>, version: Version) {
        let mut bytes = Vec::new();
        if packet.encode(version, &mut bytes).is_ok() {
            self.connections[key].out.push_bytes(&bytes);
            self.mark_dirty(key);
        }
    }

    /// Once a turn: everything that was written to goes to its sockets.
    pub(super) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for key in dirty.drain(..) {
            if !self.may_leave(key) {
                self.gated.push(key);
                continue;
            }
            let Some(connection) = self.connections.get_mut(key) else {
                continue;
            };
            connection.dirty = false;
            if connection.full || matches!(connection.state, State::Dead) {
                continue;
            }
            match connection.flush(&mut self.pool, self.clock.0 as u32) {
                Ok((flushed, written)) => {
                    self.io.bytes_sent += written as u64;
                    match flushed {
                        Flushed::All => self.emptied(key),
                        Flushed::Partly => self.wait_until_writable(key),
                    }
                }
                Err(_) => {
                    // The peer's last words (a DISCONNECT) may still be there to read.
                    connection.full = true;
                    let mut buffer = std::mem::take(&mut self.read_buffer);
                    // A CONNECT among them may send the connection to another loop.
                    while self.connections.contains(key) && self.read(key, &mut buffer) > 0 {}
                    self.read_buffer = buffer;
                    self.lost(key, true);
                }
            }
        }
        // What became dirty meanwhile waits for the next turn, which comes at once.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
        self.apply();
    }

    /// Everything is with the kernel.
    pub(super) fn emptied(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        match connection.state {
            State::Live(session) => {
                if std::mem::take(&mut connection.watch_drain) {
                    let (id, now) = (ConnectionId(key as u32), self.time());
                    self.broker.handle_drained(session, id, now);
                }
                self.read_on(key);
            }
            // It was not read while the answers of its layer waited.
            State::Connecting(_) => self.read_on(key),
            State::Closing(false) => {
                // Closing a socket with unread data resets it, and the peer may never see our
                // last words: say that no more comes, then read until it goes.
                if connection.read_closed || connection.stream.shutdown(Shutdown::Write).is_err() {
                    return self.kill(key);
                }
                connection.state = State::Closing(true);
                self.list_for_reading(key);
            }
            _ => {}
        }
    }

    /// Lists a connection that was not read for a while, and may be by now.
    fn read_on(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        if connection.unread && connection.may_read() {
            connection.unread = false;
            self.list_for_reading(key);
        }
    }

    /// We close: what waits is written first.
    pub(super) fn close(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if matches!(connection.state, State::Closing(true) | State::Dead) {
            return;
        }
        if connection.waiting() == 0 && connection.layer.is_none() {
            return self.kill(key);
        }
        connection.state = State::Closing(false);
        connection.tail = Vec::new();
        self.closing.push_back(Due {
            at: self.clock + CLOSING,
            key: key as u32,
            serial: connection.serial,
        });
        self.mark_dirty(key);
    }

    /// Its listener was switched off: all its connections end. Returns how many.
    pub(super) fn end_listener(&mut self, listener: u8) -> usize {
        let on_it = |c: &Connection| {
            c.listener == listener && !matches!(c.state, State::Closing(_) | State::Dead)
        };
        let keys: Vec<usize> = self
            .connections
            .iter()
            .filter(|(_, connection)| on_it(connection))
            .map(|(key, _)| key)
            .collect();
        let now = self.time();
        for &key in &keys {
            match self.connections[key].state {
                State::Live(session) => {
                    let reason = ReasonCode::AdministrativeAction;
                    let id = ConnectionId(key as u32);
                    self.broker.close(session, id, reason, now);
                }
                _ => self.close(key),
            }
        }
        keys.len()
    }

    /// The peer said goodbye in the layer's way, or broke its rules: last words are written.
    pub(super) fn gone(&mut self, key: usize) {
        self.tell_lost(key, false);
        self.close(key);
    }

    /// The socket is gone; `reset`: with an error.
    pub(super) fn lost(&mut self, key: usize, reset: bool) {
        self.tell_lost(key, reset);
        self.kill(key);
    }

    pub(super) fn tell_lost(&mut self, key: usize, reset: bool) {
        match self
            .connections
            .get(key)
            .map(|connection| &connection.state)
        {
            Some(State::Live(session)) => {
                let (session, now) = (*session, self.time());
                self.connections[key].reset = reset;
                self.broker
                    .handle_closed(session, ConnectionId(key as u32), now);
            }
            Some(State::Connecting(_) | State::Deciding(_) | State::Leaving(_)) => {
                let stage = self.stage(key);
                self.report(key, Ending::Closed { stage, reset });
            }
            _ => {}
        }
    }

    /// Frees the connection at the end of this turn, when no event of it can be left.
    pub(super) fn kill(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if !matches!(connection.state, State::Dead) {
            connection.state = State::Dead;
            self.dead.push(key);
        }
    }

    pub(super) fn bury(&mut self) {
        for key in self.dead.drain(..) {
            let connection = self.connections.remove(key);
            let listener = &self.listeners[usize::from(connection.listener)];
            listener.open.fetch_sub(1, Ordering::Relaxed);
            self.io.sockets -= 1;
            // The lists of dirty and ready connections may still name the slot. Whoever has it
            // next is then flushed or read once in vain, which is cheaper than searching.
        }
    }
}
