//! The one roster of all devices, in memory: answers lists and look-ups, takes in what is seen of
//! them, and is written down behind.
//!
//! What comes often (MQTT messages, attempts to connect) is handed over by [`Fleet::observe`] and
//! [`Fleet::tried`] in well under a microsecond and read by a thread of its own. What needs an
//! answer (an OTA check, a download) calls [`Fleet::sight`], a few microseconds under one lock. A
//! second thread follows the registry's enrolments and writes changed members down once a second.

mod accounts;
mod held;
mod metrics;
mod notes;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use safeport_broker::Observed;
use safeport_engine::Observer;
use safeport_fleet::{Counts, Roster, RosterLimits, Sighted, Sighting};
use safeport_net::attempt::Attempt;
use safeport_settings::Settings;
use safeport_store::{Registry, StoreError};

use self::accounts::Logins;
use self::held::{Held, Looks};
pub use self::metrics::FleetMetrics;
use self::notes::Notes;
use self::watch::Seen;
use crate::limits::{FLEET_FOLLOW, FLEET_WAITING};
use crate::serve::access::unix_now;
use crate::tasks::Tasks;

/// Is told of every sighting after it was folded in, outside the lock; must be quick.
pub type Onlooker = Arc<dyn Fn(&Sighting, &Sighted) + Send + Sync>;

/// Is shown every message that is observed of a device that proved who it is, with the device's
/// number.
pub type Reader = Arc<dyn Fn(safeport_fleet::MemberId, &str, &[u8]) + Send + Sync>;

/// All devices of this server.
pub struct Fleet {
    roster: Mutex<Roster>,
    logins: RwLock<Arc<Logins>>,
    /// At the registry, for those logins.
    looks: Looks,
    /// Who writes down and follows; held while somebody does. None in a roster of a test.
    notes: OnceLock<Mutex<Notes>>,
    inbox: Mutex<Inbox>,
    arrived: Condvar,
    onlookers: RwLock<Vec<Onlooker>>,
    readers: RwLock<Vec<Reader>>,
    dropped: AtomicU64,
    unwritten: AtomicU64,
    stopping: Mutex<Stopping>,
    stopped: Condvar,
}

#[derive(Default)]
struct Inbox {
    waiting: VecDeque<Seen>,
    /// Their thread waits for the next one.
    idle: bool,
}

#[derive(Default)]
struct Stopping {
    wanted: bool,
    done: bool,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fleet(…)")
    }
}

impl Fleet {
    /// Loads what was written down and starts the threads. `registry` is one that does not wait
    /// for the disk.
    ///
    /// # Errors
    /// What is written down cannot be read, or the system gives no threads or random bytes.
    pub fn start(
        mut registry: Registry,
        limits: RosterLimits,
        tasks: &Tasks,
    ) -> Result<Arc<Fleet>, FleetError> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| FleetError::System(io::Error::other(error)))?;
        let mut roster = Roster::new(limits, u64::from_le_bytes(seed));
        notes::load(&mut registry, &mut roster)?;
        let fleet = Arc::new(Fleet::of(roster));
        let mut notes = Notes::new(registry);
        notes.follow(&fleet)?;
        let _ = fleet.notes.set(Mutex::new(notes));
        let writing = fleet.clone();
        tasks
            .spawn_thread("fleet notes", move || notes::work(&writing))
            .map_err(FleetError::System)?;
        let watching = fleet.clone();
        tasks
            .spawn_thread("fleet", move || watching.work())
            .map_err(FleetError::System)?;
        Ok(fleet)
    }

    fn of(roster: Roster) -> Fleet {
        Fleet {
            roster: Mutex::new(roster),
            logins: RwLock::default(),
            looks: Looks::default(),
            notes: OnceLock::new(),
            inbox: Mutex::default(),
            arrived: Condvar::new(),
            onlookers: RwLock::default(),
            readers: RwLock::default(),
            dropped: AtomicU64::new(0),
            unwritten: AtomicU64::new(0),
            stopping: Mutex::default(),
            stopped: Condvar::new(),
        }
    }

    /// How many devices are remembered, as settings say.
    pub fn limits(settings: &Settings) -> RosterLimits {
        RosterLimits {
            max_seen: settings.devices.max_seen as usize,
            forget_unseen: settings.devices.forget_unseen.as_secs(),
            ..RosterLimits::default()
        }
    }

    /// Folds a sighting in now.
    pub fn sight(&self, sighting: &Sighting) -> Sighted {
        let sighted = lock(&self.roster).sight(sighting);
        self.tell(sighting, &sighted);
        sighted
    }

    /// Looks something up. Everybody else waits meanwhile: copy what takes longer to use.
    pub fn with<T>(&self, look: impl FnOnce(&Roster) -> T) -> T {
        look(&lock(&self.roster))
    }

    /// Changes something.
    pub fn with_mut<T>(&self, change: impl FnOnce(&mut Roster) -> T) -> T {
        change(&mut lock(&self.roster))
    }

    /// Writes down what has changed and waits until it is on the disk: for changes that somebody is
    /// told of as done.
    ///
    /// # Errors
    /// The registry cannot be written. The change holds, and is written when it can be.
    pub fn keep(&self) -> Result<(), StoreError> {
        self.notes
            .get()
            .map_or(Ok(()), |notes| lock(notes).keep(self))
    }

    /// From now on `onlooker` is told of sightings.
    pub fn listen(&self, onlooker: Onlooker) {
        let mut onlookers = self
            .onlookers
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        onlookers.push(onlooker);
    }

    /// From now on `reader` is shown what devices publish on the topics that are observed.
    pub fn read(&self, reader: Reader) {
        let mut readers = self.readers.write().unwrap_or_else(PoisonError::into_inner);
        readers.push(reader);
    }

    /// Takes note of a message; called on the event loops.
    pub fn observe(&self, observed: Observed) {
        self.hand_over(Seen::Message(Box::new(observed), unix_now()));
    }

    /// Takes note of an attempt to connect.
    pub fn tried(&self, attempt: &Attempt) {
        if let Some(seen) = Seen::of_attempt(attempt) {
            self.hand_over(seen);
        }
    }

    fn hand_over(&self, seen: Seen) {
        let mut inbox = lock(&self.inbox);
        if inbox.waiting.len() >= FLEET_WAITING {
            drop(inbox);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        inbox.waiting.push_back(seen);
        let wake = std::mem::take(&mut inbox.idle);
        drop(inbox);
        if wake {
            self.arrived.notify_one();
        }
    }

    /// Other limits from now on.
    pub fn set_limits(&self, limits: RosterLimits) {
        lock(&self.roster).set_limits(limits);
    }

    /// Messages and attempts that came faster than they could be read, since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Members whose changes wait to be written down.
    pub fn unwritten(&self) -> u64 {
        self.unwritten.load(Ordering::Relaxed)
    }

    /// What the roster could not take, since the start.
    pub fn counts(&self) -> Counts {
        lock(&self.roster).counts()
    }

    /// Writes down what is left and waits until it is written, for at most `patience`. The threads
    /// stay until the process ends: that one ends would stop the server.
    pub fn finish(&self, patience: Duration) {
        let mut stopping = lock(&self.stopping);
        stopping.wanted = true;
        self.stopped.notify_all();
        let _ = self
            .stopped
            .wait_timeout_while(stopping, patience, |stopping| !stopping.done)
            .unwrap_or_else(PoisonError::into_inner);
    }

    /// Reads what is handed over, for ever.
    fn work(&self) {
        let mut batch = VecDeque::new();
        let mut held = Held::default();
        loop {
            self.wait(&mut batch, !held.is_empty());
            // In this order: the logins are those of this look, or of a later one.
            let done = self.looks.done();
            let logins = self.logins();
            for seen in held.release(&logins, done) {
                self.take(seen, &logins);
            }
            for seen in batch.drain(..) {
                if let Some(seen) = held.pass(seen, &logins, &self.looks) {
                    self.take(seen, &logins);
                }
            }
        }
    }

    /// For something to read; if something is `held`, at most until the registry was followed.
    fn wait(&self, batch: &mut VecDeque<Seen>, held: bool) {
        let mut inbox = lock(&self.inbox);
        while inbox.waiting.is_empty() {
            inbox.idle = true;
            if held {
                let waited = self.arrived.wait_timeout(inbox, FLEET_FOLLOW);
                inbox = waited.unwrap_or_else(PoisonError::into_inner).0;
                break;
            }
            inbox = self
                .arrived
                .wait(inbox)
                .unwrap_or_else(PoisonError::into_inner);
        }
        inbox.idle = false;
        std::mem::swap(&mut inbox.waiting, batch);
    }

    fn logins(&self) -> Arc<Logins> {
        self.logins
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn tell(&self, sighting: &Sighting, sighted: &Sighted) {
        let onlookers = self
            .onlookers
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        for onlooker in onlookers.iter() {
            onlooker(sighting, sighted);
        }
    }
}

impl Observer for Fleet {
    fn published(&self, observed: Observed) {
        self.observe(observed);
    }
}

/// The fleet cannot start.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The registry cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No threads or no random bytes.
    #[error("the system gives no threads or random bytes: {0}")]
    System(io::Error),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
