//! The door: threads on which TLS handshakes are made, so that no event loop waits for one.
//!
//! A connection of a TLS listener comes here right after `accept`, one that speaks TLS to a plain
//! listener that takes both comes with its first bytes. Here the first bytes are looked at, the
//! handshake is made, and whoever speaks the wrong protocol is told so. A finished connection
//! goes to a loop with what was decrypted behind its handshake; no more is read from it here.

mod answers;
mod guest;
mod unacknowledged;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use safeport_net::attempt::{Ending, Limit, Stage, Witness};
use safeport_net::{Handshakes, Turn};
use tracing::error;

use crate::connection::Arrival;
use crate::event_loop::WAKE;
use crate::limits::{CLOSING, DOOR_BUFFER, DOOR_STEPS, LONGEST_WAIT};
use crate::mailbox::{Command, ListenerInfo, Mailbox};
use crate::shared::Shared;

pub(crate) use answers::{ALERT_UNEXPECTED, Signpost, asks_for_websocket, http_answer};
use guest::{Guest, Next, Written};
use unacknowledged::Unacknowledged;

/// The way to all doors.
#[derive(Clone)]
pub(crate) struct Doors {
    list: Arc<[Entrance]>,
    handshakes: Handshakes,
    next: Arc<AtomicUsize>,
}

/// The way into one door.
#[derive(Clone)]
struct Entrance {
    sender: Sender<Knock>,
    waker: Arc<Waker>,
    shared: Arc<Shared>,
}

/// What other threads tell a door.
enum Knock {
    Visitor(Box<Visitor>, Turn),
    /// The handshake of this turn makes room for another one.
    PushOut(u64),
    /// The listener was switched off. Answered with how many connections that ended.
    EndListener {
        listener: u8,
        done: SyncSender<usize>,
    },
    Shutdown,
}

/// A connection on its way to a door.
pub(crate) struct Visitor {
    pub(crate) stream: TcpStream,
    pub(crate) listener: u8,
    pub(crate) arrival: Box<Arrival>,
    /// What was read from it already.
    pub(crate) early: Vec<u8>,
}

/// What a door is made of, before it has a thread.
pub(crate) struct DoorParts {
    poll: Poll,
    inbox: Receiver<Knock>,
    shared: Arc<Shared>,
}

impl Entrance {
    fn send(&self, knock: Knock) {
        // A door that is gone has nobody to tell; its end is reported by `healthy` and join.
        if self.sender.send(knock).is_ok() {
            let _ = self.waker.wake();
        }
    }
}

/// What all doors have in common.
#[derive(Clone)]
pub(crate) struct House {
    pub(crate) loops: Arc<[Mailbox]>,
    pub(crate) listeners: Arc<[ListenerInfo]>,
    pub(crate) witness: Arc<dyn Witness>,
    pub(crate) handshakes: Handshakes,
    pub(crate) signpost: Signpost,
}

impl Doors {
    /// Doors for this machine: a thread for every second core, at most four.
    pub(crate) fn new(
        handshakes: &Handshakes,
        start: Instant,
    ) -> io::Result<(Doors, Vec<DoorParts>)> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut list = Vec::new();
        let mut parts = Vec::new();
        for _ in 0..(cores / 2).clamp(1, 4) {
            let poll = Poll::new()?;
            let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
            let (sender, inbox) = channel();
            let shared = Arc::new(Shared::new(start));
            list.push(Entrance {
                sender,
                waker,
                shared: shared.clone(),
            });
            parts.push(DoorParts {
                poll,
                inbox,
                shared,
            });
        }
        let doors = Doors {
            list: list.into(),
            handshakes: handshakes.clone(),
            next: Arc::default(),
        };
        Ok((doors, parts))
    }

    /// Takes in a connection, unless a limit of handshakes turns it away; it is closed then.
    pub(crate) fn take_in(&self, visitor: Visitor) -> Result<(), Limit> {
        let which = self.next.fetch_add(1, Ordering::Relaxed) % self.list.len();
        let entrance = self.list[which].clone();
        let push_out = move |turn| entrance.send(Knock::PushOut(turn));
        let turn = self.handshakes.enter(visitor.arrival.peer.ip(), push_out)?;
        self.list[which].send(Knock::Visitor(Box::new(visitor), turn));
        Ok(())
    }

    /// Ends what is half open of a listener; each door answers.
    pub(crate) fn end_listener(&self, listener: u8, done: &SyncSender<usize>) {
        for entrance in self.list.iter() {
            let done = done.clone();
            entrance.send(Knock::EndListener { listener, done });
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn shutdown(&self) {
        for entrance in self.list.iter() {
            entrance.send(Knock::Shutdown);
        }
    }

    /// Whether every door has turned lately.
    pub(crate) fn are_alive(&self) -> bool {
        self.list.iter().all(|entrance| entrance.shared.is_alive())
    }
}

/// One door: a thread with its guests.
pub(crate) struct Door {
    poll: Poll,
    inbox: Receiver<Knock>,
    shared: Arc<Shared>,
    house: House,
    /// by the number of their turn, which is their token too
    guests: HashMap<usize, Guest>,
    /// guests to read from, in turn
    ready: VecDeque<usize>,
    /// guests in the order in which they were accepted, with that time
    handshakes: VecDeque<(Instant, usize)>,
    /// guests that are to read our last words, and until when
    leaving: VecDeque<(Instant, usize)>,
    buffer: Vec<u8>,
    /// the loop that gets the next connection
    next_loop: usize,
    unacknowledged: Unacknowledged,
    now: Instant,
    over: bool,
}

impl Door {
    pub(crate) fn new(parts: DoorParts, house: House) -> Door {
        Door {
            poll: parts.poll,
            inbox: parts.inbox,
            shared: parts.shared,
            house,
            guests: HashMap::new(),
            ready: VecDeque::new(),
            handshakes: VecDeque::new(),
            leaving: VecDeque::new(),
            buffer: vec![0; DOOR_BUFFER],
            next_loop: 0,
            unacknowledged: Unacknowledged::new(),
            now: Instant::now(),
            over: false,
        }
    }

    /// Turns until told to stop.
    pub(crate) fn run(&mut self) {
        let mut events = Events::with_capacity(1024);
        while !self.over {
            let wait = self.longest_wait();
            if let Err(e) = self.poll.poll(&mut events, Some(wait))
                && e.kind() != io::ErrorKind::Interrupted
            {
                error!(target: "safeport::mqtt", "waiting for events failed, TLS ends: {e}");
                return;
            }
            self.now = Instant::now();
            for event in &events {
                match event.token() {
                    WAKE => self.read_inbox(),
                    Token(key) => self.socket_event(key, event),
                }
            }
            // Few at once, so that neither limits nor new guests wait for long.
            for _ in 0..DOOR_STEPS {
                let Some(key) = self.ready.pop_front() else {
                    break;
                };
                self.read(key);
            }
            self.now = Instant::now();
            self.end_overdue();
            self.shared.turned(self.now);
        }
    }

    fn longest_wait(&self) -> Duration {
        if !self.ready.is_empty() {
            return Duration::ZERO;
        }
        let timeout = self.house.handshakes.limits().timeout;
        let handshake = self.handshakes.front().map(|(since, _)| *since + timeout);
        let leaving = self.leaving.front().map(|(until, _)| *until);
        match handshake.into_iter().chain(leaving).min() {
            Some(at) => (at.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
                .min(LONGEST_WAIT),
            None => LONGEST_WAIT,
        }
    }

    fn read_inbox(&mut self) {
        while let Ok(knock) = self.inbox.try_recv() {
            match knock {
                Knock::Visitor(visitor, turn) => self.let_in(*visitor, turn),
                Knock::PushOut(turn) => {
                    self.end(turn as usize, Ending::TurnedAway(Limit::PushedOut));
                }
                Knock::EndListener { listener, done } => {
                    let on_it = self
                        .guests
                        .iter()
                        .filter(|(_, guest)| guest.listener == listener);
                    let keys: Vec<usize> = on_it.map(|(key, _)| *key).collect();
                    keys.iter().for_each(|key| self.remove(*key));
                    // Who asked may have gone.
                    let _ = done.send(keys.len());
                }
                Knock::Shutdown => self.over = true,
            }
        }
    }

    fn let_in(&mut self, mut visitor: Visitor, turn: Turn) {
        let key = turn.number() as usize;
        let registered =
            self.poll
                .registry()
                .register(&mut visitor.stream, Token(key), Interest::READABLE);
        let accepted = visitor.arrival.accepted;
        let pushed_out = turn.is_pushed_out();
        let guest = Guest::new(visitor, turn);
        let brought = guest.brought;
        self.guests.insert(key, guest);
        if registered.is_err() {
            return self.remove(key);
        }
        if pushed_out {
            // It was told so before it was here.
            return self.end(key, Ending::TurnedAway(Limit::PushedOut));
        }
        // Nearly always the last one.
        let place = self
            .handshakes
            .partition_point(|(since, _)| *since <= accepted);
        self.handshakes.insert(place, (accepted, key));
        if brought {
            // Its step waits for its turn as all others do.
            self.list(key);
        }
    }

    /// Lists a guest for reading, once.
    fn list(&mut self, key: usize) {
        if let Some(guest) = self.guests.get_mut(&key)
            && !std::mem::replace(&mut guest.listed, true)
        {
            self.ready.push_back(key);
        }
    }

    fn socket_event(&mut self, key: usize, event: &Event) {
        let Some(guest) = self.guests.get_mut(&key) else {
            return;
        };
        if event.is_read_closed() || event.is_error() {
            guest.read_closed = true;
        }
        if event.is_writable() && guest.told_when_writable {
            self.flush(key);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.list(key);
        }
    }

    /// Reads once; first what it was brought with.
    fn read(&mut self, key: usize) {
        let Some(guest) = self.guests.get_mut(&key) else {
            return;
        };
        guest.listed = false;
        if std::mem::take(&mut guest.brought) {
            self.hear(key, 0);
            // An event of its socket may have come meanwhile, and come only once.
            return self.list(key);
        }
        match guest.read(&mut self.buffer) {
            Ok(0) => self.gone(key, false),
            Ok(n) => {
                // A short read has emptied the socket: the next bytes bring a new event.
                let more = n == self.buffer.len() || guest.read_closed;
                self.hear(key, n);
                if more {
                    self.list(key);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => self.list(key),
            Err(_) => self.gone(key, true),
        }
    }

    /// Lets a guest have the first bytes of the buffer.
    fn hear(&mut self, key: usize, bytes: usize) {
        let Some(guest) = self.guests.get_mut(&key) else {
            return;
        };
        match guest.hear(&self.buffer[..bytes], &self.house) {
            Next::Stay => self.flush(key),
            Next::Leave(attempt) => {
                self.leaving.push_back((self.now + CLOSING_TIME, key));
                self.flush(key);
                if let Some(attempt) = attempt {
                    self.house.witness.saw(*attempt);
                }
            }
            Next::Enter => {
                self.flush(key);
                self.pass_on(key);
            }
        }
    }

    fn flush(&mut self, key: usize) {
        let Some(guest) = self.guests.get_mut(&key) else {
            return;
        };
        match guest.flush() {
            Written::All => {}
            Written::Partly => {
                if std::mem::replace(&mut guest.told_when_writable, true) {
                    return;
                }
                let registered = self.poll.registry().reregister(
                    &mut guest.stream,
                    Token(key),
                    Interest::READABLE | Interest::WRITABLE,
                );
                if registered.is_err() {
                    // Nobody would tell when to go on.
                    self.remove(key);
                }
            }
            Written::Never => {
                guest.read_closed = true;
                self.list(key);
            }
        }
    }

    /// Sends a connection to a loop.
    fn pass_on(&mut self, key: usize) {
        let Some(mut guest) = self.guests.remove(&key) else {
            return;
        };
        let listener = &self.house.listeners[usize::from(guest.listener)];
        if self.poll.registry().deregister(&mut guest.stream).is_err() {
            listener.open.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        self.next_loop = (self.next_loop + 1) % self.house.loops.len();
        self.house.loops[self.next_loop].send(Command::Incoming(Box::new(guest.enter())));
    }

    /// The peer has closed.
    fn gone(&mut self, key: usize, reset: bool) {
        if let Some(guest) = self.guests.get(&key) {
            let stage = guest.stage();
            self.end(key, Ending::Closed { stage, reset });
        }
    }

    fn end(&mut self, key: usize, ending: Ending) {
        if let Some(guest) = self.guests.get_mut(&key)
            && let Some(attempt) = guest.end(ending, &self.house)
        {
            self.house.witness.saw(attempt);
        }
        self.remove(key);
    }

    fn end_overdue(&mut self) {
        while let Some((until, key)) = self.leaving.front().copied()
            && until <= self.now
        {
            self.leaving.pop_front();
            self.remove(key);
        }
        let timeout = self.house.handshakes.limits().timeout;
        while let Some((since, key)) = self.handshakes.front().copied()
            && (since + timeout <= self.now || !self.is_waited_for(key))
        {
            self.handshakes.pop_front();
            if let Some(guest) = self.guests.get(&key)
                && self.is_waited_for(key)
            {
                let stage = guest.stage();
                let unacknowledged = match stage {
                    Stage::Certificate => self.unacknowledged.of(&guest.stream),
                    _ => None,
                };
                self.end(
                    key,
                    Ending::TimedOut {
                        stage,
                        unacknowledged,
                    },
                );
            }
        }
    }

    /// Whether its handshake is not over.
    fn is_waited_for(&self, key: usize) -> bool {
        let guest = self.guests.get(&key);
        guest.is_some_and(|guest| !guest.is_leaving())
    }

    fn remove(&mut self, key: usize) {
        let Some(mut guest) = self.guests.remove(&key) else {
            return;
        };
        // Closing it does so too, unless a copy of the descriptor exists.
        let _ = self.poll.registry().deregister(&mut guest.stream);
        let listener = &self.house.listeners[usize::from(guest.listener)];
        listener.open.fetch_sub(1, Ordering::Relaxed);
    }
}

const CLOSING_TIME: Duration = Duration::from_millis(CLOSING);
