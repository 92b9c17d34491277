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
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use safeport_net::attempt::{Attempt, Cause, Witness, judge};
use safeport_store::Registry;

use self::gather::Gathered;
use self::hellos::Hellos;
use self::known::Known;
pub use self::metrics::AttemptMetrics;
pub use self::seen::{Hello, Seen};
use self::telling::Telling;
use crate::limits::{ATTEMPTS_FLUSH, ATTEMPTS_PAUSE, ATTEMPTS_RECENT, ATTEMPTS_WAITING};
use crate::probe::proof;
use crate::tasks::Tasks;
use crate::throttle::Throttle;

/// All attempts of this server.
pub struct Attempts {
    inbox: Mutex<Inbox>,
    arrived: Condvar,
    recent: Mutex<VecDeque<Arc<Seen>>>,
    counts: Mutex<BTreeMap<(Arc<str>, Cause), u64>>,
    dropped: AtomicU64,
    trusted_since: AtomicU64,
}

#[derive(Default)]
struct Inbox {
    waiting: Vec<Attempt>,
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
        let mut batch = Vec::new();
        loop {
            let stopping = self.wait(&mut batch, desk.due(Instant::now()));
            for attempt in batch.drain(..) {
                desk.take(&attempt, self);
            }
            desk.flush(Instant::now(), stopping, &self.dropped);
            desk.telling.sweep(Instant::now());
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
    fn wait(&self, batch: &mut Vec<Attempt>, due: Option<Duration>) -> bool {
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
        inbox.stopping
    }

    fn keep(&self, seen: Arc<Seen>) {
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
        self.telling.tell(&seen, now);
        if !self.gathered.add(&seen) {
            attempts.dropped.fetch_add(1, Ordering::Relaxed);
        }
        attempts.keep(seen);
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
