//! One loop: a thread, its connections, its broker.

mod accepting;
mod admission;
mod keeping;
mod listening;
mod reading;
mod witnessing;
mod writing;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Poll, Token};
use safeport_broker::{
    Broker, ConnectionId, DiskRoom, Effects, Load, PeerMessage, Publication, Stats, Time,
    sys_topics,
};
use safeport_mqtt::{QoS, ReasonCode};
use safeport_net::attempt::Witness;
use slab::Slab;
use tracing::error;

use crate::connection::{Arrival, Connection, State};
use crate::door::{Doors, House, Signpost};
use crate::gatekeeper::Gatekeeper;
use crate::journal::Journal;
use crate::ledger::Ledger;
use crate::limits::{
    LONGEST_WAIT, PEER_BACKLOG, READ_BUFFER, RESERVED, SHARE_INTERVAL, SYS_INTERVAL,
};
use crate::mailbox::{Command, Drained, ListenerInfo, Mailbox};
use crate::observer::{Addressee, Observer};
use crate::pool::Pool;

use listening::Listening;

pub(crate) const WAKE: Token = Token(usize::MAX);
/// Tokens from here up to [`WAKE`] are listeners.
const FIRST_LISTENER: usize = usize::MAX - 256;

/// What a loop is made of.
pub(crate) struct LoopParts {
    pub(crate) poll: Poll,
    pub(crate) inbox: Receiver<Command>,
    pub(crate) house: House,
    pub(crate) doors: Doors,
    /// by listener
    pub(crate) sockets: Vec<(u8, Vec<TcpListener>)>,
    pub(crate) gatekeeper: Arc<dyn Gatekeeper>,
    pub(crate) start: Instant,
    /// what the broker's clock showed at `start`
    pub(crate) epoch: Time,
    pub(crate) connect_timeout: Duration,
    pub(crate) max_connections: usize,
    pub(crate) version: String,
}

/// A connection that has to have moved on by a certain time. Small: there is one for each
/// connection of the last ten seconds.
pub(crate) struct Due {
    pub(crate) at: Time,
    pub(crate) key: u32,
    pub(crate) serial: u32,
}

pub(crate) struct EventLoop {
    pub(crate) me: u8,
    poll: Poll,
    inbox: Receiver<Command>,
    pub(crate) mailboxes: Arc<[Mailbox]>,
    pub(crate) listeners: Arc<[ListenerInfo]>,
    pub(crate) witness: Arc<dyn Witness>,
    observer: Option<Arc<dyn Observer>>,
    addressee: Option<Arc<dyn Addressee>>,
    signpost: Signpost,
    doors: Doors,
    sockets: Listening,
    pub(crate) gatekeeper: Arc<dyn Gatekeeper>,
    start: Instant,
    epoch: Time,
    /// as of the beginning of this turn
    pub(crate) now: Instant,
    /// the same on the broker's clock
    clock: Time,
    pub(crate) connect_timeout: Duration,
    max_connections: usize,
    version: String,

    pub(crate) broker: Broker,
    ledger: Option<Ledger>,
    /// how much of the broker's records was there when effects were last carried out
    records_seen: usize,
    /// group of the log that the effects at hand have to wait for
    gate: Option<u64>,
    /// connections with something to write that has to wait for the log
    gated: Vec<usize>,
    /// by group of the log: what peers may hear once it is safe
    promises: VecDeque<(u64, usize, PeerMessage)>,
    /// a peer's message is being handled
    from_peer: bool,
    disk_room: DiskRoom,
    /// the log cannot be trusted any more
    failed: bool,
    pub(crate) connections: Slab<Connection>,
    serial: u32,
    pub(crate) connecting: VecDeque<Due>,
    pub(crate) closing: VecDeque<Due>,
    /// connections with something to write
    dirty: Vec<usize>,
    /// connections to read from, in turn
    ready: VecDeque<usize>,
    /// connections that were held back and may go on
    pub(crate) resumed: Vec<usize>,
    /// slots to free at the end of the turn
    dead: Vec<usize>,
    /// by peer: what to send at the end of the turn
    outbound: Vec<Vec<PeerMessage>>,
    effects: Effects,
    read_buffer: Vec<u8>,
    plain: Vec<u8>,
    pool: Pool,
    pub(crate) journal: Journal,
    /// how those came in whose CONNECT the broker has just answered
    pub(crate) answered: Vec<(ConnectionId, Arrival)>,
    /// sockets, accepted, bytes: what the broker does not see
    io: Stats,
    /// when the counters are shared next; `None` while nothing happens
    share_at: Option<Instant>,
    sys_at: Instant,
    load: Load,
    /// accepting rests until then
    accept_at: Option<Instant>,
    /// given up for a moment when descriptors run out, so that a waiting client can be told
    spare: Option<File>,
    stopping: Option<(Instant, Drained)>,
}

impl EventLoop {
    pub(crate) fn new(
        parts: LoopParts,
        me: u8,
        broker: Broker,
        ledger: Option<Ledger>,
    ) -> io::Result<Self> {
        let mut event_loop = Self {
            me,
            poll: parts.poll,
            inbox: parts.inbox,
            outbound: parts.house.loops.iter().map(|_| Vec::new()).collect(),
            mailboxes: parts.house.loops,
            listeners: parts.house.listeners,
            witness: parts.house.witness,
            observer: None,
            addressee: None,
            signpost: parts.house.signpost,
            doors: parts.doors,
            sockets: Listening::default(),
            gatekeeper: parts.gatekeeper,
            start: parts.start,
            epoch: parts.epoch,
            now: parts.start,
            clock: parts.epoch,
            connect_timeout: parts.connect_timeout,
            max_connections: parts.max_connections,
            version: parts.version,
            broker,
            ledger,
            records_seen: 0,
            gate: None,
            gated: Vec::new(),
            promises: VecDeque::new(),
            from_peer: false,
            disk_room: DiskRoom::Enough,
            failed: false,
            connections: Slab::with_capacity(RESERVED),
            serial: 0,
            connecting: VecDeque::with_capacity(RESERVED),
            closing: VecDeque::new(),
            dirty: Vec::new(),
            ready: VecDeque::new(),
            resumed: Vec::new(),
            dead: Vec::new(),
            effects: Effects::default(),
            read_buffer: vec![0; READ_BUFFER],
            plain: Vec::new(),
            pool: Pool::default(),
            journal: Journal::new(),
            answered: Vec::new(),
            io: Stats::default(),
            share_at: None,
            sys_at: parts.start,
            load: Load::default(),
            accept_at: None,
            spare: accepting::spare_descriptor(),
            stopping: None,
        };
        for (listener, sockets) in parts.sockets {
            event_loop.listen(listener, sockets)?;
        }
        Ok(event_loop)
    }

    /// Turns until told to stop.
    pub(crate) fn run(&mut self) -> Drained {
        let mut events = Events::with_capacity(1024);
        // What came back after a restart is told to peers, and noted.
        self.tick();
        self.apply();
        self.keep();
        self.tell_peers();
        loop {
            let wait = self.longest_wait();
            if let Err(e) = self.poll.poll(&mut events, Some(wait))
                && e.kind() != io::ErrorKind::Interrupted
            {
                error!(target: "safeport::mqtt", "waiting for events failed, the loop ends: {e}");
                return Drained::default();
            }
            self.tick();
            self.turn(&events);
            if self.failed {
                return Drained::default();
            }
            if let Some((deadline, drained)) = self.stopping
                && (self.connections.is_empty() || self.now >= deadline)
            {
                let waiting = self.connections.iter().filter(|(_, c)| c.waiting() > 0);
                let cut_off = waiting.count();
                if let Some(ledger) = &mut self.ledger {
                    ledger.finish(self.now);
                }
                return Drained { cut_off, ..drained };
            }
        }
    }

    fn turn(&mut self, events: &Events) {
        let mut accept = self.accept_at.is_some_and(|at| at <= self.now);
        let mut inbox = false;
        for event in events {
            match event.token() {
                WAKE => inbox = true,
                token if token.0 >= FIRST_LISTENER => {
                    self.sockets.is_ready(token);
                    accept = true;
                }
                token => self.socket_event(token.0, event),
            }
        }
        if inbox {
            self.read_inbox();
        }
        accept |= self.sockets.last_call(self.now);
        if accept {
            self.accept();
        }
        self.close_retired();
        self.read_ready();
        self.timeouts();
        self.resume();
        self.keep();
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
        let work = [&self.dirty, &self.resumed]
            .iter()
            .any(|list| !list.is_empty());
        if accept || work || !self.ready.is_empty() || self.has_to_keep() {
            return Duration::ZERO;
        }
        let by_clock = [
            self.broker.poll_timeout(),
            self.connecting.front().map(|due| due.at),
            self.closing.front().map(|due| due.at),
        ];
        let by_clock = by_clock
            .into_iter()
            .flatten()
            .min()
            .map(|at| self.start + Duration::from_millis(at.0.saturating_sub(self.epoch.0)));
        let due = [
            by_clock,
            (self.me == 0).then_some(self.sys_at),
            self.accept_at,
            self.sockets.due(),
            self.share_at,
            self.ledger.as_ref().and_then(Ledger::due),
            self.stopping.map(|(deadline, _)| deadline),
        ];
        // A millisecond more: timers are rounded down to whole milliseconds.
        match due.into_iter().flatten().min() {
            Some(at) => (at.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
                .min(LONGEST_WAIT),
            None => LONGEST_WAIT,
        }
    }

    /// A new turn begins.
    fn tick(&mut self) {
        self.now = Instant::now();
        self.clock = self.epoch + self.now.duration_since(self.start).as_millis() as u64;
    }

    /// The broker's clock, as of the beginning of this turn.
    pub(crate) fn time(&self) -> Time {
        self.clock
    }

    fn stats(&self) -> Stats {
        let mut stats = self.broker.stats();
        stats += self.io;
        stats.log_bytes = self.ledger.as_ref().map_or(0, Ledger::bytes);
        stats
    }

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
                    self.from_peer = true;
                    self.apply();
                    self.from_peer = false;
                }
                Command::Publish(publication) => self.broker.publish(&publication, now),
                Command::Observe(watch) => {
                    let filters: Vec<&str> = watch.filters.iter().map(String::as_str).collect();
                    self.observer = Some(watch.observer.clone());
                    self.broker.observe(&filters, now);
                }
                Command::Hear(addressee) => self.addressee = Some(addressee),
                Command::Deliver(client_id, publication) => {
                    let delivered = self.broker.deliver(&client_id, &publication, now);
                    if !delivered && publication.qos != QoS::AtMostOnce {
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
                Command::Sockets {
                    listener,
                    change,
                    done,
                } => self.change_sockets(listener, change, done),
                Command::EndListener { listener, done } => {
                    let ended = self.end_listener(listener);
                    // Who asked may have gone.
                    let _ = done.send(ended);
                }
                Command::BrokerLimits(limits) => self.broker.set_limits(*limits),
                Command::ConnectTimeout(timeout) => self.set_connect_timeout(timeout),
                Command::MaxConnections(most) => self.max_connections = most,
                Command::Synced(result) => self.was_synced(result),
                Command::Shutdown { deadline } => self.stop(deadline),
            }
            self.apply();
        }
    }

    fn stop(&mut self, deadline: Instant) {
        self.stop_listening();
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

    fn timeouts(&mut self) {
        let now = self.time();
        if self.broker.poll_timeout().is_some_and(|at| at <= now) {
            self.broker.handle_timeout(now);
        }
        self.close_overdue(now);
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
        self.load.update(&sum);
        let fixed = sys_topics(&sum, uptime, &self.version);
        let fixed = fixed
            .into_iter()
            .map(|(topic, value)| (topic.to_owned(), value));
        for (topic, value) in fixed.chain(self.load.topics()) {
            let mut publication = Publication::new(topic, value);
            publication.retain = true;
            self.broker.publish(&publication, now);
        }
    }
}

fn is_droppable(message: &PeerMessage) -> bool {
    matches!(message, PeerMessage::Publish { message, retain: false, .. }
        if message.qos == safeport_mqtt::QoS::AtMostOnce)
}
