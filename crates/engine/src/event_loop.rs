//! One loop: a thread, its connections, its broker.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use safeport_broker::{
    Broker, BrokerSetup, ConnectionId, Effect, Effects, PeerMessage, Publication, Stats, Time,
    sys_topics,
};
use safeport_mqtt::{Decoded, Packet, ReasonCode, Version, decode};
use safeport_net::{Layer, Received};
use slab::Slab;
use tracing::{error, warn};

use crate::connection::{Connection, Flushed, State, Wrapped};
use crate::engine::{Command, Drained, Incoming, ListenerInfo, Mailbox};
use crate::gatekeeper::Gatekeeper;
use crate::journal::Journal;
use crate::limits::{
    ACCEPT_PAUSE, ACCEPTS_IN_A_ROW, CLOSING, CONGESTED_AT, LONGEST_WAIT, PEER_BACKLOG, READ_BUFFER,
    READ_PER_TURN, RESERVED, SHARE_INTERVAL, STOP_READING_AT, SYS_INTERVAL,
};

pub(crate) const WAKE: Token = Token(usize::MAX);
/// Tokens from here up to [`WAKE`] are listeners.
const FIRST_LISTENER: usize = usize::MAX - 256;

/// What a loop is made of.
pub(crate) struct LoopParts {
    pub(crate) poll: Poll,
    pub(crate) inbox: Receiver<Command>,
    pub(crate) mailboxes: Arc<[Mailbox]>,
    pub(crate) listeners: Arc<[ListenerInfo]>,
    pub(crate) sockets: Vec<(u8, TcpListener)>,
    pub(crate) gatekeeper: Arc<dyn Gatekeeper>,
    pub(crate) start: Instant,
    pub(crate) connect_timeout: Duration,
    pub(crate) max_connections: usize,
    pub(crate) version: String,
}

/// A connection that has to have moved on by a certain time.
pub(crate) struct Due {
    pub(crate) at: Instant,
    pub(crate) key: usize,
    pub(crate) serial: u32,
}

pub(crate) struct EventLoop {
    pub(crate) me: u8,
    poll: Poll,
    inbox: Receiver<Command>,
    pub(crate) mailboxes: Arc<[Mailbox]>,
    pub(crate) listeners: Arc<[ListenerInfo]>,
    sockets: Vec<(u8, TcpListener)>,
    pub(crate) gatekeeper: Arc<dyn Gatekeeper>,
    start: Instant,
    /// as of the beginning of this turn
    pub(crate) now: Instant,
    pub(crate) connect_timeout: Duration,
    max_connections: usize,
    version: String,

    pub(crate) broker: Broker,
    pub(crate) connections: Slab<Connection>,
    serial: u32,
    pub(crate) connecting: VecDeque<Due>,
    pub(crate) closing: VecDeque<Due>,
    /// connections with something to write
    dirty: Vec<usize>,
    /// connections to read from, in turn
    ready: VecDeque<usize>,
    /// slots to free at the end of the turn
    dead: Vec<usize>,
    /// by peer: what to send at the end of the turn
    outbound: Vec<Vec<PeerMessage>>,
    effects: Effects,
    read_buffer: Vec<u8>,
    plain: Vec<u8>,
    pool: Vec<Vec<u8>>,
    pub(crate) journal: Journal,
    /// sockets, accepted, bytes: what the broker does not see
    io: Stats,
    /// when the counters are shared next; `None` while nothing happens
    share_at: Option<Instant>,
    sys_at: Instant,
    /// accepting rests until then
    accept_at: Option<Instant>,
    /// given up for a moment when descriptors run out, so that a waiting client can be told
    spare: Option<File>,
    stopping: Option<(Instant, Drained)>,
}

impl EventLoop {
    pub(crate) fn new(parts: LoopParts, setup: BrokerSetup) -> io::Result<Self> {
        let mut sockets = parts.sockets;
        for (index, socket) in &mut sockets {
            let token = Token(FIRST_LISTENER + usize::from(*index));
            parts
                .poll
                .registry()
                .register(socket, token, Interest::READABLE)?;
        }
        Ok(Self {
            me: setup.me,
            poll: parts.poll,
            inbox: parts.inbox,
            outbound: parts.mailboxes.iter().map(|_| Vec::new()).collect(),
            mailboxes: parts.mailboxes,
            listeners: parts.listeners,
            sockets,
            gatekeeper: parts.gatekeeper,
            start: parts.start,
            now: parts.start,
            connect_timeout: parts.connect_timeout,
            max_connections: parts.max_connections,
            version: parts.version,
            broker: Broker::new(setup),
            connections: Slab::with_capacity(RESERVED),
            serial: 0,
            connecting: VecDeque::with_capacity(RESERVED),
            closing: VecDeque::new(),
            dirty: Vec::new(),
            ready: VecDeque::new(),
            dead: Vec::new(),
            effects: Effects::default(),
            read_buffer: vec![0; READ_BUFFER],
            plain: Vec::new(),
            pool: Vec::new(),
            journal: Journal::new(),
            io: Stats::default(),
            share_at: None,
            sys_at: parts.start,
            accept_at: None,
            spare: spare_descriptor(),
            stopping: None,
        })
    }

    /// Turns until told to stop.
    pub(crate) fn run(&mut self) -> Drained {
        let mut events = Events::with_capacity(1024);
        loop {
            let wait = self.longest_wait();
            if let Err(e) = self.poll.poll(&mut events, Some(wait))
                && e.kind() != io::ErrorKind::Interrupted
            {
                error!(target: "safeport::mqtt", "waiting for events failed, the loop ends: {e}");
                return Drained::default();
            }
            self.now = Instant::now();
            self.turn(&events);
            if let Some((deadline, drained)) = self.stopping
                && (self.connections.is_empty() || self.now >= deadline)
            {
                let waiting = self.connections.iter().filter(|(_, c)| c.waiting() > 0);
                return Drained {
                    cut_off: waiting.count(),
                    ..drained
                };
            }
        }
    }

    fn turn(&mut self, events: &Events) {
        let mut accept = self.accept_at.is_some_and(|at| at <= self.now);
        let mut inbox = false;
        for event in events {
            match event.token() {
                WAKE => inbox = true,
                token if token.0 >= FIRST_LISTENER => accept = true,
                token => self.socket_event(token.0, event),
            }
        }
        if inbox {
            self.read_inbox();
        }
        if accept {
            self.accept();
        }
        self.read_ready();
        self.timeouts();
        self.flush();
        self.tell_peers();
        self.bury();
        let shared = &self.mailboxes[usize::from(self.me)].shared;
        match self.share_at {
            Some(at) if at > self.now => {}
            Some(_) => {
                shared.store(&self.stats());
                self.share_at = None;
            }
            None if events.is_empty() => {}
            None => self.share_at = Some(self.now + SHARE_INTERVAL),
        }
        shared.turned(self.now);
    }

    fn longest_wait(&self) -> Duration {
        let accept = self.accept_at.is_some_and(|at| at <= self.now);
        if accept || !self.dirty.is_empty() || !self.ready.is_empty() {
            return Duration::ZERO;
        }
        let broker = self
            .broker
            .poll_timeout()
            .map(|at| self.start + Duration::from_millis(at.0));
        let due = [
            broker,
            self.connecting.front().map(|due| due.at),
            self.closing.front().map(|due| due.at),
            (self.me == 0).then_some(self.sys_at),
            self.accept_at,
            self.share_at,
            self.stopping.map(|(deadline, _)| deadline),
        ];
        // A millisecond more: timers are rounded down to whole milliseconds.
        match due.into_iter().flatten().min() {
            Some(at) => (at.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
                .min(LONGEST_WAIT),
            None => LONGEST_WAIT,
        }
    }

    /// The broker's clock.
    pub(crate) fn time(&self) -> Time {
        Time(self.now.duration_since(self.start).as_millis() as u64)
    }

    fn stats(&self) -> Stats {
        let mut stats = self.broker.stats();
        stats += self.io;
        stats
    }

    // --- other threads -------------------------------------------------------------------

    fn read_inbox(&mut self) {
        while let Ok(command) = self.inbox.try_recv() {
            let now = self.time();
            match command {
                Command::Verdict {
                    key,
                    serial,
                    verdict,
                } => self.verdict(key, serial, verdict),
                Command::Incoming(incoming) => self.adopt(*incoming),
                Command::Peer { from, batch } => {
                    let shared = &self.mailboxes[usize::from(self.me)].shared;
                    shared.backlog.fetch_sub(batch.len(), Ordering::Relaxed);
                    for message in batch {
                        self.broker.handle_peer(from, message, now);
                    }
                }
                Command::Publish(publication) => self.broker.publish(&publication, now),
                Command::Deliver(client_id, publication) => {
                    if !self.broker.deliver(&client_id, &publication, now) {
                        self.journal.warn(
                            "deliver",
                            format_args!(
                                "client `{client_id}` has no session that takes a message"
                            ),
                            self.now,
                        );
                    }
                }
                Command::DisconnectUser(user) => self.broker.close_user(&user, now),
                Command::DisconnectClient(client_id) => {
                    let reason = ReasonCode::AdministrativeAction;
                    self.broker.close_client(&client_id, reason, now);
                }
                Command::Shutdown { deadline } => self.stop(deadline),
            }
            self.apply();
        }
    }

    fn stop(&mut self, deadline: Instant) {
        for (_, socket) in &mut self.sockets {
            // The socket closes with the list; deregistering only saves an event.
            let _ = self.poll.registry().deregister(socket);
        }
        self.sockets.clear();
        let drained = Drained {
            connections: self.connections.len(),
            cut_off: 0,
        };
        self.stopping = Some((deadline, drained));
        let now = self.time();
        self.broker.close_all(ReasonCode::ServerShuttingDown, now);
        self.apply();
        let waiting: Vec<usize> = self
            .connections
            .iter()
            .filter(|(_, c)| !matches!(c.state, State::Live(_) | State::Closing(_) | State::Dead))
            .map(|(key, _)| key)
            .collect();
        for key in waiting {
            self.close(key);
        }
    }

    /// Sends each peer its batch of this turn, with one wake-up.
    fn tell_peers(&mut self) {
        for (peer, batch) in self.outbound.iter_mut().enumerate() {
            if batch.is_empty() {
                continue;
            }
            let mailbox = &self.mailboxes[peer];
            let backlog = mailbox.shared.backlog.load(Ordering::Relaxed);
            let mut batch = std::mem::take(batch);
            if backlog + batch.len() > PEER_BACKLOG {
                let before = batch.len();
                batch.retain(|message| !is_droppable(message));
                let dropped = before - batch.len();
                self.io.publish_dropped += dropped as u64;
                self.journal.warn(
                    "peer backlog",
                    format_args!(
                        "loop {peer} is {backlog} messages behind; {dropped} of QoS 0 were dropped"
                    ),
                    self.now,
                );
            }
            mailbox
                .shared
                .backlog
                .fetch_add(batch.len(), Ordering::Relaxed);
            let from = self.me;
            mailbox.send(Command::Peer { from, batch });
        }
    }

    // --- accepting -----------------------------------------------------------------------

    fn accept(&mut self) {
        self.accept_at = None;
        let sockets = std::mem::take(&mut self.sockets);
        for (index, socket) in &sockets {
            for turn in 0.. {
                if turn == ACCEPTS_IN_A_ROW {
                    // Edge-triggered: nobody reminds us of the rest.
                    self.accept_at = Some(self.now);
                    break;
                }
                match socket.accept() {
                    Ok((stream, _)) => self.welcome(*index, stream),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
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

    fn welcome(&mut self, index: u8, stream: TcpStream) {
        self.io.accepted += 1;
        let listener = &self.listeners[usize::from(index)];
        let here = listener.open.load(Ordering::Relaxed);
        let all: usize = self
            .listeners
            .iter()
            .map(|l| l.open.load(Ordering::Relaxed))
            .sum();
        if all < self.max_connections && here < listener.limits.max_connections {
            listener.open.fetch_add(1, Ordering::Relaxed);
            let layer = listener
                .tls
                .clone()
                .map(|tls| Wrapped::new(Layer::tls(tls)));
            let key = self.add(stream, index, layer);
            // The first packet is often there already.
            self.list_for_reading(key);
            return;
        }
        let name = &listener.name;
        if self.journal.may_tell_once("too many connections", self.now) {
            warn!(
                target: "safeport::mqtt", open = all,
                "new connections to `{name}` are closed at once: no more are allowed by \
                 `{name}.max_connections` ({}) or by the limit of open files ({} connections; \
                 raise LimitNOFILE= of the unit, or `ulimit -n`)",
                listener.limits.max_connections, self.max_connections,
            );
        }
    }

    /// Descriptors have run out: the waiting client is accepted with the spare one and closed,
    /// so that it knows, and accepting rests for a moment.
    fn turn_away(&mut self, socket: &TcpListener, error: &io::Error) {
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

    fn add(&mut self, mut stream: TcpStream, listener: u8, layer: Option<Box<Wrapped>>) -> usize {
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        let registered = self.poll.registry().register(
            &mut stream,
            Token(key),
            Interest::READABLE | Interest::WRITABLE,
        );
        let max_packet = self.listeners[usize::from(listener)].limits.max_packet;
        let connection = Connection::new(stream, listener, max_packet, serial, layer);
        entry.insert(connection);
        self.io.sockets += 1;
        self.connecting.push_back(Due {
            at: self.now + self.connect_timeout,
            key,
            serial,
        });
        if registered.is_err() {
            self.kill(key);
        }
        key
    }

    fn adopt(&mut self, incoming: Incoming) {
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
    fn send_home(&mut self, key: usize) {
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

    // --- reading -------------------------------------------------------------------------

    fn socket_event(&mut self, key: usize, event: &Event) {
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

    fn list_for_reading(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if std::mem::replace(&mut connection.listed, true) {
            return;
        }
        // A first packet waits for nobody: devices give up within a fraction of a second.
        match connection.state {
            State::Connecting => self.ready.push_front(key),
            _ => self.ready.push_back(key),
        }
    }

    /// Reads from those who have something, one after the other, as much as a turn may hold.
    fn read_ready(&mut self) {
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
    fn read(&mut self, key: usize, buffer: &mut [u8]) -> usize {
        let connection = &mut self.connections[key];
        if !connection.may_read() {
            connection.unread = true;
            return 0;
        }
        match connection.stream.read(buffer) {
            Ok(0) => self.lost(key),
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
            Err(_) => self.lost(key),
        }
        self.apply();
        0
    }

    /// Bytes from the socket.
    fn received(&mut self, key: usize, bytes: &[u8]) {
        let Some(wrapped) = &mut self.connections[key].layer else {
            return self.protocol_bytes(key, bytes);
        };
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let result = wrapped.layer.receive(bytes, &mut plain, &mut wrapped.raw);
        if !wrapped.raw.is_empty() {
            self.mark_dirty(key);
        }
        self.protocol_bytes(key, &plain);
        plain.shrink_to(READ_BUFFER);
        self.plain = plain;
        match result {
            Ok(Received::Open) => {}
            Ok(Received::Closed) => self.gone(key),
            Err(e) => {
                let what = match safeport_net::FirstBytes::of(bytes) {
                    Some(safeport_net::FirstBytes::Mqtt) if matches!(self.connections.get(key), Some(c) if matches!(c.state, State::Connecting)) => {
                        "plain MQTT came to the TLS port; switch the device's TLS on, or point it \
                         to the `mqtt` port"
                            .to_owned()
                    }
                    _ => e.to_string(),
                };
                let line = format!("{}: {what}", self.describe(key));
                self.journal.warn("layer", line, self.now);
                self.gone(key);
            }
        }
    }

    /// Bytes of the protocol: packets, or pieces of them.
    fn protocol_bytes(&mut self, key: usize, bytes: &[u8]) {
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
            crate::connection::recycle(&mut tail, &mut self.pool);
        }
        connection.tail = tail;
        if matches!(connection.state, State::Leaving(_)) {
            self.send_home(key);
        }
    }

    /// Decodes and handles packets; returns how many bytes were used.
    fn packets(&mut self, key: usize, bytes: &[u8]) -> usize {
        let mut at = 0;
        let now = self.time();
        while at < bytes.len() {
            let connection = &mut self.connections[key];
            connection.needed = 0;
            match connection.state {
                State::Live(_) | State::Connecting => {}
                State::Deciding(_) | State::Leaving(_) => break,
                State::Closing(_) | State::Dead => return bytes.len(),
            }
            if matches!(connection.state, State::Connecting) && bytes[at] & 0xF0 != CONNECT {
                // Whatever it is, it will not become a CONNECT [MQTT-3.1.0-1].
                self.not_connect(key, &bytes[at..]);
                return bytes.len();
            }
            match decode(&bytes[at..], connection.version, connection.max_packet) {
                Ok(Decoded::Packet(packet, used)) => {
                    match connection.state {
                        State::Live(session) => {
                            let id = ConnectionId(key as u32);
                            self.broker.handle_packet(session, id, &packet, now);
                        }
                        _ => self.first_packet(key, &packet, &bytes[at..at + used]),
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

    /// Handles what waited while a connection was held back.
    pub(crate) fn go_on(&mut self, key: usize) {
        self.apply();
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if !connection.tail.is_empty() {
            connection.needed = 0;
            self.protocol_bytes(key, &[]);
            self.apply();
        }
        if let Some(connection) = self.connections.get_mut(key)
            && std::mem::take(&mut connection.unread)
        {
            self.list_for_reading(key);
        }
    }

    // --- effects -------------------------------------------------------------------------

    /// Carries out what the broker wants done.
    pub(crate) fn apply(&mut self) {
        while self.broker.has_effects() {
            let mut effects = std::mem::take(&mut self.effects);
            self.broker.take_effects(&mut effects);
            for effect in effects.list.drain(..) {
                self.carry_out(effect, &effects.wire);
            }
            effects.clear();
            self.effects = effects;
        }
    }

    fn carry_out(&mut self, effect: Effect, wire: &[u8]) {
        match effect {
            Effect::Send { to, frame } => {
                let key = to.0 as usize;
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.out.push(&frame, wire, &mut self.pool);
                    self.written_to(key);
                }
            }
            Effect::SendShared { to, head, message } => {
                let key = to.0 as usize;
                if let Some(connection) = self.connections.get_mut(key) {
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
            Effect::Close { to } => self.close(to.0 as usize),
            Effect::Tell { mut peers, message } => {
                while peers != 0 {
                    let peer = peers.trailing_zeros() as usize;
                    peers &= peers - 1;
                    if let Some(batch) = self.outbound.get_mut(peer) {
                        batch.push((*message).clone());
                    }
                }
            }
            Effect::Event(event) => {
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
    fn written_to(&mut self, key: usize) {
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
    fn relieve(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        if !connection.full {
            match connection.flush(&mut self.pool) {
                Ok((_, written)) => self.io.bytes_sent += written as u64,
                // The flush at the end of the turn finds the same error and acts on it.
                Err(_) => return,
            }
        }
        if connection.waiting() > CONGESTED_AT
            && let State::Live(session) = connection.state
        {
            self.broker
                .handle_congested(session, ConnectionId(key as u32));
        }
    }

    pub(crate) fn mark_dirty(&mut self, key: usize) {
        if let Some(connection) = self.connections.get_mut(key)
            && !connection.dirty
        {
            connection.dirty = true;
            self.dirty.push(key);
        }
    }

    /// Writes a packet that is not the broker's (CONNACK before there is a session).
    pub(crate) fn write_packet(&mut self, key: usize, packet: &Packet<'_>, version: Version) {
        let mut bytes = Vec::new();
        if packet.encode(version, &mut bytes).is_ok() {
            self.connections[key].out.push_bytes(&bytes);
            self.mark_dirty(key);
        }
    }

    // --- writing -------------------------------------------------------------------------

    /// Once a turn: everything that was written to goes to its sockets.
    fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for key in dirty.drain(..) {
            let Some(connection) = self.connections.get_mut(key) else {
                continue;
            };
            connection.dirty = false;
            if connection.full || matches!(connection.state, State::Dead) {
                continue;
            }
            match connection.flush(&mut self.pool) {
                Ok((flushed, written)) => {
                    self.io.bytes_sent += written as u64;
                    if flushed == Flushed::All {
                        self.emptied(key);
                    }
                }
                Err(_) => {
                    // The peer's last words (a DISCONNECT) may still be there to read.
                    connection.full = true;
                    let mut buffer = std::mem::take(&mut self.read_buffer);
                    while self.read(key, &mut buffer) > 0 {}
                    self.read_buffer = buffer;
                    self.lost(key);
                }
            }
        }
        // What became dirty meanwhile waits for the next turn, which comes at once.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
        self.apply();
    }

    /// Everything is with the kernel.
    fn emptied(&mut self, key: usize) {
        let now = self.time();
        let connection = &mut self.connections[key];
        let id = ConnectionId(key as u32);
        match connection.state {
            State::Live(session) => {
                if std::mem::take(&mut connection.watch_drain) {
                    self.broker.handle_drained(session, id, now);
                }
                let connection = &mut self.connections[key];
                if connection.unread && connection.may_read() {
                    connection.unread = false;
                    self.list_for_reading(key);
                }
            }
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

    // --- ends ----------------------------------------------------------------------------

    /// We close: what waits is written first.
    pub(crate) fn close(&mut self, key: usize) {
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
            at: self.now + CLOSING,
            key,
            serial: connection.serial,
        });
        self.mark_dirty(key);
    }

    /// The peer said goodbye in the layer's way, or broke its rules: last words are written.
    fn gone(&mut self, key: usize) {
        self.tell_lost(key);
        self.close(key);
    }

    /// The socket is gone.
    pub(crate) fn lost(&mut self, key: usize) {
        self.tell_lost(key);
        self.kill(key);
    }

    fn tell_lost(&mut self, key: usize) {
        if let Some(connection) = self.connections.get(key)
            && let State::Live(session) = connection.state
        {
            let now = self.time();
            self.broker
                .handle_closed(session, ConnectionId(key as u32), now);
        }
    }

    /// Frees the connection at the end of this turn, when no event of it can be left.
    pub(crate) fn kill(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if !matches!(connection.state, State::Dead) {
            connection.state = State::Dead;
            self.dead.push(key);
        }
    }

    fn bury(&mut self) {
        for key in self.dead.drain(..) {
            let connection = self.connections.remove(key);
            let listener = &self.listeners[usize::from(connection.listener)];
            listener.open.fetch_sub(1, Ordering::Relaxed);
            self.io.sockets -= 1;
            // The lists of dirty and ready connections may still name the slot. Whoever has it
            // next is then flushed or read once in vain, which is cheaper than searching.
        }
    }

    // --- time ----------------------------------------------------------------------------

    fn timeouts(&mut self) {
        let now = self.time();
        if self.broker.poll_timeout().is_some_and(|at| at <= now) {
            self.broker.handle_timeout(now);
        }
        self.close_overdue(self.now);
        if self.me == 0 && self.now >= self.sys_at {
            self.sys_at = self.now + SYS_INTERVAL;
            self.publish_sys();
        }
        self.apply();
    }

    fn publish_sys(&mut self) {
        let me = usize::from(self.me);
        self.mailboxes[me].shared.store(&self.stats());
        let mut sum = Stats::default();
        for mailbox in self.mailboxes.iter() {
            sum += mailbox.shared.load();
        }
        let uptime = self.now.duration_since(self.start).as_secs();
        let now = self.time();
        for (topic, value) in sys_topics(&sum, uptime, &self.version) {
            let mut publication = Publication::new(topic, value);
            publication.retain = true;
            self.broker.publish(&publication, now);
        }
    }
}

/// The first byte of a CONNECT, without its flags: the decoder judges those.
const CONNECT: u8 = 0x10;

impl Connection {
    /// A connection is not read while the gatekeeper thinks, and while its own answers pile up
    /// unread.
    fn may_read(&self) -> bool {
        match self.state {
            State::Connecting | State::Closing(_) => true,
            State::Live(_) => self.out.len() < STOP_READING_AT,
            State::Deciding(_) | State::Leaving(_) | State::Dead => false,
        }
    }
}

fn is_droppable(message: &PeerMessage) -> bool {
    matches!(message, PeerMessage::Publish { message, retain: false, .. }
        if message.qos == safeport_mqtt::QoS::AtMostOnce)
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

fn spare_descriptor() -> Option<File> {
    File::open("/dev/null").ok()
}
