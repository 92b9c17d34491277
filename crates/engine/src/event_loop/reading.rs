//! Bytes from sockets to packets.

use std::io::{self, Read};

use mio::event::Event;
use safeport_broker::{ConnectionId, Handled};
use safeport_mqtt::{Decoded, decode};
use safeport_net::{FirstBytes, LayerError, Received};

use crate::connection::{Connection, State};
use crate::limits::{READ_BUFFER, READ_PER_TURN, STOP_READING_AT};

use super::EventLoop;

/// The first byte of a CONNECT, without its flags: the decoder judges those.
const CONNECT: u8 = 0x10;

/// The first byte of TLS, which has the type of CONNECT with flags that no CONNECT has.
const TLS: u8 = 0x16;

impl EventLoop {
    pub(super) fn socket_event(&mut self, key: usize, event: &Event) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if event.is_read_closed() || event.is_error() {
            connection.read_closed = true;
        }
        if event.is_writable() && connection.full {
            connection.full = false;
            self.mark_dirty(key);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.list_for_reading(key);
        }
    }

    pub(super) fn list_for_reading(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if std::mem::replace(&mut connection.listed, true) {
            return;
        }
        // A first packet waits for nobody: devices give up within a fraction of a second. One
        // that comes in pieces has had its turn.
        match connection.state {
            State::Connecting(_) if connection.tail.is_empty() => self.ready.push_front(key),
            _ => self.ready.push_back(key),
        }
    }

    /// Reads from those who have something, one after the other, as much as a turn may hold.
    pub(super) fn read_ready(&mut self) {
        let mut left = READ_PER_TURN;
        let mut buffer = std::mem::take(&mut self.read_buffer);
        while left > 0
            && let Some(key) = self.ready.pop_front()
        {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.listed = false;
                left = left.saturating_sub(self.read(key, &mut buffer));
            }
        }
        self.read_buffer = buffer;
    }

    /// Reads once; lists the connection again if there may be more. Returns the bytes read.
    pub(super) fn read(&mut self, key: usize, buffer: &mut [u8]) -> usize {
        let connection = &mut self.connections[key];
        if !connection.may_read() {
            connection.unread = true;
            return 0;
        }
        match connection.stream.read(buffer) {
            Ok(0) => self.lost(key, false),
            Ok(n) => {
                // A short read has emptied the socket: the next bytes bring a new event.
                let more = n == buffer.len() || connection.read_closed;
                self.io.bytes_received += n as u64;
                self.received(key, &buffer[..n]);
                self.apply();
                if more {
                    self.list_for_reading(key);
                }
                return n;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => self.list_for_reading(key),
            Err(_) => self.lost(key, true),
        }
        self.apply();
        0
    }

    /// Bytes from the socket.
    pub(super) fn received(&mut self, key: usize, bytes: &[u8]) {
        let Some(wrapped) = &mut self.connections[key].layer else {
            return self.protocol_bytes(key, bytes);
        };
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let result = wrapped.layer.receive(bytes, &mut plain, &mut wrapped.raw);
        self.unwrapped(key, plain, result);
    }

    /// Bytes that came before the connection had its layer.
    pub(super) fn received_early(&mut self, key: usize, bytes: &[u8]) {
        let Some(wrapped) = &mut self.connections[key].layer else {
            return self.protocol_bytes(key, bytes);
        };
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let layer = &mut wrapped.layer;
        let mut result = layer.receive_early(bytes, &mut plain, &mut wrapped.raw);
        if matches!(result, Ok(Received::Open)) {
            result = layer.receive(&[], &mut plain, &mut wrapped.raw);
        }
        self.unwrapped(key, plain, result);
    }

    fn unwrapped(&mut self, key: usize, plain: Vec<u8>, result: Result<Received, LayerError>) {
        let Some(wrapped) = &self.connections[key].layer else {
            return;
        };
        if !wrapped.raw.is_empty() {
            self.mark_dirty(key);
        }
        self.protocol_bytes(key, &plain);
        let mut plain = plain;
        plain.shrink_to(READ_BUFFER);
        self.plain = plain;
        match result {
            Ok(Received::Open) => {}
            Ok(Received::Closed) => self.gone(key),
            Err(error) => self.broke_layer(key, &error),
        }
    }

    /// The peer broke the rules of TLS or WebSocket, or said that we did.
    fn broke_layer(&mut self, key: usize, error: &LayerError) {
        // It may be on its way home by now, where the layer says the same again.
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        match (&connection.state, &connection.layer) {
            (State::Live(_), layer) => {
                let ending = layer.as_ref().map(|wrapped| wrapped.layer.ending(error));
                let line = format!("{}: {error}", self.describe(key));
                self.journal.warn("layer", line, self.now);
                let id = ConnectionId(key as u32);
                if let Some(ending) = ending
                    && let Some(attempt) = self.choked_attempt(id, ending)
                {
                    self.witness.saw(attempt);
                }
                self.gone(key);
            }
            (_, Some(wrapped)) => {
                let ending = wrapped.layer.ending(error);
                self.report(key, ending);
                self.close(key);
            }
            (_, None) => self.close(key),
        }
    }

    /// Bytes of the protocol: packets, or pieces of them.
    pub(super) fn protocol_bytes(&mut self, key: usize, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let mut tail = std::mem::take(&mut connection.tail);
        if tail.is_empty() {
            let used = self.packets(key, bytes);
            if used < bytes.len() {
                tail.extend_from_slice(&bytes[used..]);
            }
        } else {
            tail.extend_from_slice(bytes);
            if tail.len() >= connection.needed as usize {
                let used = self.packets(key, &tail);
                tail.drain(..used);
            }
        }
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if tail.is_empty() {
            self.pool.give(std::mem::take(&mut tail));
        }
        connection.tail = tail;
        match connection.state {
            State::Leaving(_) => self.send_home(key),
            State::Knocking(_) => self.send_to_door(key),
            _ => {}
        }
    }

    /// Decodes and handles packets; returns how many bytes were used.
    pub(super) fn packets(&mut self, key: usize, bytes: &[u8]) -> usize {
        let mut at = 0;
        let now = self.time();
        while at < bytes.len() {
            let connection = &mut self.connections[key];
            connection.needed = 0;
            if connection.held {
                break;
            }
            match connection.state {
                State::Live(_) | State::Connecting(_) => {}
                State::Deciding(_) | State::Leaving(_) => break,
                State::Knocking(_) | State::Closing(_) | State::Dead => return bytes.len(),
            }
            let is_connect = bytes[at] & 0xF0 == CONNECT && bytes[at] != TLS;
            if matches!(connection.state, State::Connecting(_)) && !is_connect {
                // Whatever it is, it will not become a CONNECT [MQTT-3.1.0-1].
                match FirstBytes::of(&bytes[at..]) {
                    Some(first) => self.not_connect(key, first, &bytes[at..]),
                    // What it is decides about the answer.
                    None => break,
                }
                return bytes.len();
            }
            match decode(&bytes[at..], connection.version, connection.max_packet) {
                Ok(Decoded::Packet(packet, used)) => {
                    match connection.state {
                        State::Live(session) => {
                            let id = ConnectionId(key as u32);
                            let handled = self.broker.handle_packet(session, id, &packet, now);
                            if handled == Handled::Later {
                                self.connections[key].held = true;
                                break;
                            }
                        }
                        _ => self.first_packet(key, &packet, &bytes[at..at + used], false),
                    }
                    at += used;
                }
                Ok(Decoded::Incomplete(needed)) => {
                    connection.needed = needed as u32;
                    break;
                }
                Err(error) => {
                    self.malformed(key, error);
                    return bytes.len();
                }
            }
        }
        at
    }

    /// Those whose subscribers have caught up go on.
    pub(super) fn resume(&mut self) {
        // Who is held back again waits for the next turn.
        let mut resumed = std::mem::take(&mut self.resumed);
        for key in resumed.drain(..) {
            if let Some(connection) = self.connections.get_mut(key)
                && std::mem::take(&mut connection.held)
            {
                self.go_on(key);
            }
        }
        resumed.append(&mut self.resumed);
        self.resumed = resumed;
    }

    /// Handles what waited while a connection was held back.
    pub(super) fn go_on(&mut self, key: usize) {
        self.apply();
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.needed = 0;
        // Also with nothing behind it: the connection may be at home elsewhere.
        self.protocol_bytes(key, &[]);
        self.apply();
        if let Some(connection) = self.connections.get_mut(key)
            && std::mem::take(&mut connection.unread)
        {
            self.list_for_reading(key);
        }
    }
}

impl Connection {
    /// A connection is not read while the gatekeeper thinks, while its own answers pile up
    /// unread (those of its layer too: pongs), and while a subscriber of its messages does not
    /// keep up.
    pub(super) fn may_read(&self) -> bool {
        match self.state {
            State::Connecting(_) | State::Closing(_) => self.waiting() < STOP_READING_AT,
            State::Live(_) => !self.held && self.waiting() < STOP_READING_AT,
            State::Deciding(_) | State::Leaving(_) | State::Knocking(_) | State::Dead => false,
        }
    }
}
