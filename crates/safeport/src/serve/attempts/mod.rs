//! What comes of attempts to connect: kept, counted, logged and written down.
//!
//! The event loops and HTTP hand each [`Attempt`] over and go on at once. One thread judges them,
//! keeps the newest ones for the API, gathers like ones into rows of the registry, and says each
//! cause once per address and ten minutes in the log.

mod gather;
mod hellos;
mod known;
mod metrics;
mod saw;
mod seen;
mod telling;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use safeport_doctor::watch::{Came, Contact, Parting, Service, Subject, Told, Watch};
use safeport_net::attempt::{Attempt, Cause, Certainty, Departed, Departure, Witness, judge};
use safeport_store::Registry;

use self::gather::Gathered;
use self::hellos::Hellos;
use self::known::Known;
pub use self::metrics::AttemptMetrics;
pub use self::seen::{Hello, Seen};
use self::telling::Telling;
use crate::doctor::Sighted;
use crate::limits::{
    ATTEMPTS_FLUSH, ATTEMPTS_PAUSE, ATTEMPTS_RECENT, ATTEMPTS_WAITING, WATCH_SWEEP,
};
use crate::probe::proof;
use crate::serve::access::{shown, unix_now};
use crate::tasks::Tasks;
use crate::throttle::Throttle;

/// All attempts of this server.
pub struct Attempts {
    inbox: Mutex<Inbox>,
    arrived: Condvar,
    recent: Mutex<VecDeque<Arc<Seen>>>,
    counts: Mutex<BTreeMap<(Arc<str>, Cause), u64>>,
    /// Who fails right now.
    watch: Mutex<Watch>,
    dropped: AtomicU64,
    trusted_since: AtomicU64,
}

#[derive(Default)]
struct Inbox {
    waiting: Vec<Attempt>,
    /// Connections that are over; beyond the same limit they are forgotten.
    gone: Vec<Departure>,
    /// Their thread waits for the next one.
    idle: bool,
    stopping: bool,
    stopped: bool,
}

impl fmt::Debug for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attempts(…)")
    }
}

impl Witness for Attempts {
    fn saw(&self, attempt: Attempt) {
        if is_own(&attempt) {
            return;
        }
        let mut inbox = lock(&self.inbox);
        if inbox.waiting.len() >= ATTEMPTS_WAITING {
            drop(inbox);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        inbox.waiting.push(attempt);
        let wake = std::mem::take(&mut inbox.idle);
        drop(inbox);
        if wake {
            self.arrived.notify_all();
        }
    }

    /// They matter only beside the next connection of the same client, so nobody is woken.
    fn left(&self, departure: Departure) {
        let mut inbox = lock(&self.inbox);
        if inbox.gone.len() < ATTEMPTS_WAITING {
            inbox.gone.push(departure);
        }
    }
}

impl Attempts {
    /// Starts their thread, which writes into `registry`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(registry: Registry, tasks: &Tasks) -> io::Result<Arc<Attempts>> {
        let attempts = Arc::new(Attempts::new());
        let working = attempts.clone();
        tasks.spawn_thread("attempts", move || working.work(registry))?;
        Ok(attempts)
    }

    fn new() -> Attempts {
        Attempts {
            inbox: Mutex::default(),
            arrived: Condvar::new(),
            recent: Mutex::default(),
            counts: Mutex::default(),
            watch: Mutex::default(),
            dropped: AtomicU64::new(0),
            trusted_since: AtomicU64::new(0),
        }
    }

    /// From this moment (in seconds since 1970) on the server presents other certificates, so that
    /// who connected before may not trust them.
    pub fn certificates_changed(&self, at: u64) {
        self.trusted_since.store(at, Ordering::Relaxed);
    }

    /// The newest ones, newest first; at most 4,096.
    pub fn recent(&self) -> Vec<Arc<Seen>> {
        lock(&self.recent).iter().rev().cloned().collect()
    }

    /// Lets `work` look at who fails right now.
    pub fn watched<T>(&self, work: impl FnOnce(&Watch) -> T) -> T {
        work(&lock(&self.watch))
    }

    /// A device said that it has started; a message that says so does not tell from where it came.
    pub fn started(&self, subject: Subject, peer: Option<IpAddr>, at: u64, reason: Option<String>) {
        lock(&self.watch).saw(Contact {
            at: Duration::from_secs(at),
            subject,
            address: peer.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
            service: Service::Mqtt,
            came: Came::Started { reason },
        });
    }

    /// How many there were since the start, by listener and cause.
    pub fn counts(&self) -> Vec<(Arc<str>, Cause, u64)> {
        lock(&self.counts)
            .iter()
            .map(|((listener, cause), count)| (listener.clone(), *cause, *count))
            .collect()
    }

    /// How many came faster than they could be judged or written down, since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The same as figures for Prometheus.
    pub fn metrics(self: &Arc<Attempts>) -> AttemptMetrics {
        AttemptMetrics(self.clone())
    }

    /// Writes down what is left and waits until it is written, for at most `patience`. What comes
    /// later is forgotten. The thread stays until the process ends: that it ends would stop the
    /// server.
    pub fn finish(&self, patience: Duration) {
        let mut inbox = lock(&self.inbox);
        inbox.stopping = true;
        self.arrived.notify_all();
        let _ = self
            .arrived
            .wait_timeout_while(inbox, patience, |inbox| !inbox.stopped)
            .unwrap_or_else(PoisonError::into_inner);
    }

    fn work(&self, registry: Registry) {
        let mut desk = Desk::new(registry);
        let (mut batch, mut gone) = (Vec::new(), Vec::new());
        loop {
            let stopping = self.wait(&mut batch, &mut gone, desk.due(Instant::now()));
            self.let_go(&mut gone);
            for attempt in batch.drain(..) {
                desk.take(&attempt, self);
            }
            // Some came and went since the last turn.
            self.let_go(&mut gone);
            gone.clear();
            desk.flush(Instant::now(), stopping, &self.dropped);
            desk.telling.sweep(Instant::now());
            desk.sweep(Instant::now(), self);
            if stopping {
                lock(&self.inbox).stopped = true;
                self.arrived.notify_all();
                return park();
            }
            std::thread::sleep(ATTEMPTS_PAUSE);
        }
    }

    /// Takes all that wait into `batch`; blocks until one comes, `due` is over, or the server
    /// stops, which it says.
    fn wait(
        &self,
        batch: &mut Vec<Attempt>,
        gone: &mut Vec<Departure>,
        due: Option<Duration>,
    ) -> bool {
        let mut inbox = lock(&self.inbox);
        let patience = Instant::now() + due.unwrap_or(Duration::from_secs(3600));
        while inbox.waiting.is_empty() && !inbox.stopping {
            let left = patience.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            inbox.idle = true;
            inbox = self
                .arrived
                .wait_timeout(inbox, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        inbox.idle = false;
        std::mem::swap(&mut inbox.waiting, batch);
        std::mem::swap(&mut inbox.gone, gone);
        inbox.stopping
    }

    /// Notes how connections ended; what is left is of clients that are not known yet.
    fn let_go(&self, gone: &mut Vec<Departure>) {
        if gone.is_empty() {
            return;
        }
        let mut watch = lock(&self.watch);
        gone.retain(|departure| {
            let at = departure.at.duration_since(UNIX_EPOCH).unwrap_or_default();
            !watch.left(&shown(&departure.client_id), at, parting(departure.how))
        });
    }

    /// What a connection that went well is the last of too many of.
    fn unrest(&self, seen: &Seen) -> Option<Seen> {
        if !matches!(seen.cause, Cause::Healthy | Cause::Checked) || seen.client_id.is_none() {
            return None;
        }
        let subject = subject(seen);
        let watch = lock(&self.watch);
        if !watch.is_troubled(std::slice::from_ref(&subject), seen.at) {
            return None;
        }
        let evidence = watch.unrest(&[subject], seen.at);
        drop(watch);
        let clue = evidence.clues.into_iter().next()?;
        let cause = match clue.cause {
            safeport_doctor::Cause::KeepAliveTimeout => Cause::KeepAliveTimeout,
            safeport_doctor::Cause::Restarts => Cause::Restarts,
            safeport_doctor::Cause::ConnectionLost | safeport_doctor::Cause::ProtocolError => {
                Cause::Flapping
            }
            // Those who throw each other out are counted where that is noticed.
            _ => return None,
        };
        Some(Seen {
            cause,
            why: clue.quote.en,
            certainty: match cause {
                Cause::Flapping => Certainty::Possible,
                _ => Certainty::Likely,
            },
            hello: None,
            ..seen.clone()
        })
    }

    fn keep(&self, seen: Arc<Seen>) {
        if let Some(contact) = contact(&seen).filter(|_| !seen.cause.is_unrest()) {
            lock(&self.watch).saw(contact);
        }
        let key = (seen.listener.clone(), seen.cause);
        *lock(&self.counts).entry(key).or_default() += 1;
        let mut recent = lock(&self.recent);
        if recent.len() >= ATTEMPTS_RECENT {
            recent.pop_front();
        }
        recent.push_back(seen);
    }
}

/// What the thread works with.
struct Desk {
    registry: Registry,
    hellos: Hellos,
    known: Known,
    gathered: Gathered,
    telling: Telling,
    flushed: Option<Instant>,
    swept: Instant,
    trouble: Throttle,
}

impl Desk {
    fn new(registry: Registry) -> Desk {
        Desk {
            registry,
            hellos: Hellos::default(),
            known: Known::default(),
            gathered: Gathered::default(),
            telling: Telling::default(),
            flushed: None,
            swept: Instant::now(),
            trouble: Throttle::default(),
        }
    }

    fn take(&mut self, attempt: &Attempt, attempts: &Attempts) {
        let now = Instant::now();
        let hello = attempt
            .tls
            .as_ref()
            .and_then(|facts| facts.hello.as_ref())
            .map(|hello| self.hellos.of(hello));
        let since = attempts.trusted_since.load(Ordering::Relaxed);
        let circumstances =
            self.known
                .circumstances(attempt, hello.as_ref(), since, &self.registry, now);
        let seen = Arc::new(Seen::new(attempt, hello, judge(attempt, &circumstances)));
        self.known.learn(&seen);
        self.note(seen.clone(), attempts, now);
        if let Some(unrest) = attempts.unrest(&seen) {
            self.note(Arc::new(unrest), attempts, now);
        }
    }

    fn note(&mut self, seen: Arc<Seen>, attempts: &Attempts, now: Instant) {
        self.telling.tell(&seen, now);
        if !self.gathered.add(&seen) {
            attempts.dropped.fetch_add(1, Ordering::Relaxed);
        }
        attempts.keep(seen);
    }

    /// Has failures forgotten that are too old to matter.
    fn sweep(&mut self, now: Instant, attempts: &Attempts) {
        if now.saturating_duration_since(self.swept) >= WATCH_SWEEP {
            self.swept = now;
            lock(&attempts.watch).sweep(Duration::from_secs(unix_now()));
        }
    }

    /// When there is something to do although no attempt comes.
    fn due(&self, now: Instant) -> Option<Duration> {
        let flush = (!self.gathered.is_empty()).then(|| {
            self.flushed.map_or(Duration::ZERO, |at| {
                (at + ATTEMPTS_FLUSH).saturating_duration_since(now)
            })
        });
        [flush, self.telling.due(now)].into_iter().flatten().min()
    }

    fn flush(&mut self, now: Instant, at_once: bool, dropped: &AtomicU64) {
        let is_time = self
            .flushed
            .is_none_or(|at| now.saturating_duration_since(at) >= ATTEMPTS_FLUSH);
        if self.gathered.is_empty() || !(is_time || at_once) {
            return;
        }
        self.flushed = Some(now);
        let rows = self.gathered.take();
        if let Err(error) = self.registry.add_attempts(&rows) {
            let lost: u64 = rows.iter().map(|row| row.count).sum();
            dropped.fetch_add(lost, Ordering::Relaxed);
            if let Some(left_out) = self.trouble.admit("attempts", now) {
                tracing::error!(
                    target: "safeport::serve",
                    left_out,
                    "attempts to connect cannot be written down, {lost} are forgotten: {error}"
                );
            }
        }
    }
}

/// What the watch is told of an attempt; nothing of a monitor that only looks at the port.
fn contact(seen: &Seen) -> Option<Contact> {
    let sighted = Sighted::of_seen(seen);
    let came = match seen.cause {
        Cause::Healthy => Came::Connected(sighted.connected()),
        Cause::Checked => Came::Checked {
            said: sighted.connected(),
            told: sighted.told().map(|address| Told {
                address: address.to_owned(),
                // Firmware opens a WebSocket when somebody speaks, and MQTT at once.
                comes_here: address.starts_with("mqtt"),
            }),
            starts: true,
        },
        // It counts by itself how many are too many.
        Cause::TakenOver | Cause::DuplicateClientId => Came::TakenOver,
        _ => {
            let (clue, facts) = sighted.clue()?;
            Came::Failed { clue, facts }
        }
    };
    Some(Contact {
        at: seen.at,
        subject: subject(seen),
        address: seen.address(),
        service: sighted.service(),
        came,
    })
}

fn subject(seen: &Seen) -> Subject {
    Subject::of(
        seen.client_id.as_deref(),
        seen.user.as_deref(),
        seen.address(),
    )
}

fn parting(how: Departed) -> Parting {
    match how {
        Departed::KeepAlive => Parting::KeepAlive,
        Departed::Lost => Parting::Lost,
        Departed::Goodbye => Parting::Goodbye,
        Departed::TakenOver => Parting::TakenOver,
        Departed::Protocol => Parting::Protocol,
        Departed::Server => Parting::Server,
    }
}

/// Our own probes are no attempts of devices.
fn is_own(attempt: &Attempt) -> bool {
    attempt
        .user
        .as_deref()
        .is_some_and(|user| user.starts_with(proof::USER))
}

/// The end of a thread stops the server, and this one has nothing left to do.
fn park() {
    loop {
        std::thread::park();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
