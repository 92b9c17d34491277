//! A loop's log, and what waits for it: records are kept before anything that was made of them
//! leaves through a socket.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use safeport_broker::{DiskRoom, Stats};
use safeport_store::log::{AppendError, FolderFile, Log, Position, SyncTask};
use tracing::{debug, error, info, warn};

use crate::limits::{CHECKPOINT_FROM, COMPACT_STEP, LOG_RETRY, SYNC_INTERVAL};
use crate::mailbox::{Command, Mailbox};
use crate::recovery::{Durability, Kept};

/// The group commit of one loop: what its broker wrote down in a turn becomes one group of the
/// log.
pub(crate) struct Ledger {
    log: Log,
    durability: Durability,
    /// what the broker wrote down and the log does not have yet
    records: Vec<u8>,
    /// to the thread that waits for the disk
    syncer: Sender<SyncTask<FolderFile>>,
    syncing: bool,
    /// when what was written is to be made durable although nobody waits for it
    sync_at: Option<Instant>,
    /// the last write failed
    stuck: bool,
    /// when to try again
    retry_at: Option<Instant>,
    /// when to look for room again
    room_at: Option<Instant>,
    checkpoint: Checkpoint,
    /// size of the log at which everything is written anew
    checkpoint_at: u64,
    /// the same on a full disk
    compact_at: u64,
}

/// Writing everything anew, so that what is outdated can go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Checkpoint {
    Resting,
    /// The broker writes; segments before this one will go.
    Writing(u64),
    /// All is written up to this group; once it is durable, segments before this one go.
    Waiting(u64, Position),
}

impl Ledger {
    pub(crate) fn new(
        kept: Kept,
        state: &Stats,
        durability: Durability,
        name: &str,
        mailbox: Mailbox,
    ) -> io::Result<Self> {
        let (syncer, tasks) = channel();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || wait_for_the_disk(&tasks, &mailbox))?;
        let Kept { log, is_damaged } = kept;
        let checkpoint_at = match is_damaged {
            true => 0,
            false => (2 * alive(state)).max(CHECKPOINT_FROM),
        };
        Ok(Self {
            log,
            durability,
            records: Vec::new(),
            syncer,
            syncing: false,
            sync_at: None,
            stuck: false,
            retry_at: None,
            room_at: None,
            checkpoint: Checkpoint::Resting,
            checkpoint_at,
            compact_at: 0,
        })
    }

    /// The group that the next records will be in. What is made of them may not leave before
    /// [`Self::safe`] has reached it.
    pub(crate) fn next(&self) -> u64 {
        self.log.end().get() + 1
    }

    /// The last group that is kept as the settings want it.
    pub(crate) fn safe(&self) -> u64 {
        match self.durability {
            Durability::Os => self.log.end().get(),
            Durability::Disk => self.log.synced().get(),
        }
    }

    /// Bytes of the log.
    pub(crate) fn bytes(&self) -> u64 {
        self.log.bytes()
    }

    /// Where to put records for the next group.
    pub(crate) fn records(&mut self) -> &mut Vec<u8> {
        &mut self.records
    }

    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// What the disk has left.
    pub(crate) fn room(&self) -> DiskRoom {
        match (self.stuck, self.log.has_room()) {
            (true, _) => DiskRoom::Nothing,
            (false, false) => DiskRoom::Scarce,
            (false, true) => DiskRoom::Enough,
        }
    }

    /// Writes what waits. What is written is safe, or on its way to be.
    pub(crate) fn write(&mut self, now: Instant) {
        if self.records.is_empty() || self.retry_at.is_some_and(|at| at > now) {
            return;
        }
        match self.log.append(&self.records) {
            Ok(_) => {
                self.records.clear();
                self.records.shrink_to(1 << 20);
                self.retry_at = None;
                if std::mem::take(&mut self.stuck) {
                    info!(target: "safeport::log", "the log is written again");
                }
                match self.durability {
                    Durability::Os => {
                        self.sync_at.get_or_insert(now + SYNC_INTERVAL);
                    }
                    Durability::Disk => self.sync(),
                }
            }
            Err(error) => {
                self.retry_at = Some(now + LOG_RETRY);
                if !std::mem::replace(&mut self.stuck, true) {
                    self.tell(&error);
                }
            }
        }
    }

    fn tell(&self, error: &AppendError) {
        error!(
            target: "safeport::log",
            "{error}; until it can be written, nothing that has to be kept is acknowledged: \
             publishes to persistent sessions, retained messages and new persistent sessions are \
             refused"
        );
    }

    /// Sets the disk to work, if it is not: what comes meanwhile is the next group, so a busy
    /// disk makes larger groups and a fast one short waits.
    fn sync(&mut self) {
        if self.syncing {
            return;
        }
        self.sync_at = None;
        if let Some(task) = self.log.sync_task() {
            self.syncing = self.syncer.send(task).is_ok();
        }
    }

    /// The disk has answered.
    ///
    /// # Errors
    ///
    /// What was written may be gone, and nobody can tell what: the process has to stop, and reads
    /// back what is there when it starts again.
    pub(crate) fn was_synced(&mut self, result: io::Result<Position>) -> io::Result<()> {
        self.syncing = false;
        self.log.was_synced(result?);
        if self.durability == Durability::Disk {
            self.sync();
        }
        if let Checkpoint::Waiting(segment, position) = self.checkpoint {
            if self.log.synced() >= position {
                self.checkpoint = Checkpoint::Resting;
                let before = self.log.bytes();
                if let Err(error) = self.log.forget_before(segment) {
                    warn!(target: "safeport::log", "old segments of the log stay: {error}");
                }
                self.checkpoint_at = (self.log.bytes() * 2).max(CHECKPOINT_FROM);
                self.compact_at = self.log.bytes() + COMPACT_STEP;
                info!(
                    target: "safeport::log",
                    before, after = self.log.bytes(), "the log was written anew"
                );
            } else {
                self.sync();
            }
        }
        Ok(())
    }

    /// What has to be done whether or not there is something to write.
    pub(crate) fn timeouts(&mut self, now: Instant) {
        if self.sync_at.is_some_and(|at| at <= now) {
            self.sync();
        }
        // Room comes before the write that it is for. Until there is some, what shrinks the state
        // is written at once to what was set aside for it.
        if !self.log.has_room() && self.room_at.is_none_or(|at| at <= now) {
            self.room_at = match self.log.try_to_make_room() {
                true => {
                    info!(target: "safeport::log", "the disk has room again");
                    None
                }
                false => Some(now + LOG_RETRY),
            };
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.write(now);
        }
    }

    /// When [`Self::timeouts`] is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.sync_at
            .filter(|_| !self.syncing)
            .into_iter()
            .chain(self.retry_at)
            .chain(self.room_at.filter(|_| !self.log.has_room()))
            .min()
    }

    /// Whether everything should be written anew now: more than half of the log is outdated. On
    /// a full disk, also when that surely fits into what is left: it is how an emptied queue
    /// becomes room.
    pub(crate) fn wants_checkpoint(&self, state: impl FnOnce() -> Stats) -> bool {
        self.checkpoint == Checkpoint::Resting
            && match self.room() {
                DiskRoom::Enough => self.log.bytes() >= self.checkpoint_at,
                DiskRoom::Scarce => {
                    let alive = alive(&state());
                    alive <= self.log.left() / 4
                        && alive <= self.log.bytes() / 2
                        && self.log.bytes() >= self.compact_at
                }
                DiskRoom::Nothing => false,
            }
    }

    /// Begins to. False if the disk does not let us.
    pub(crate) fn begin_checkpoint(&mut self) -> bool {
        match self.log.cut() {
            Ok(segment) => {
                self.checkpoint = Checkpoint::Writing(segment);
                true
            }
            Err(error) => {
                warn!(target: "safeport::log", "the log cannot be written anew: {error}");
                // Not again with every turn.
                self.checkpoint_at = self.log.bytes() + CHECKPOINT_FROM;
                self.compact_at = self.log.bytes() + COMPACT_STEP;
                false
            }
        }
    }

    /// Whether the broker is to go on writing.
    pub(crate) fn is_writing_checkpoint(&self) -> bool {
        matches!(self.checkpoint, Checkpoint::Writing(_)) && !self.stuck
    }

    /// All is written, the last of it with the next group.
    pub(crate) fn checkpoint_is_complete(&mut self) {
        if let Checkpoint::Writing(segment) = self.checkpoint {
            self.checkpoint = Checkpoint::Waiting(segment, self.log.end());
            self.sync();
        }
    }

    /// The last thing before the loop ends.
    pub(crate) fn finish(&mut self, now: Instant) {
        self.retry_at = None;
        self.write(now);
        if let Some(task) = self.log.sync_task()
            && let Err(error) = task.run()
        {
            error!(target: "safeport::log", "the log could not be made durable: {error}");
        }
        if let Err(error) = self.log.give_back() {
            // The next start does it, some milliseconds later.
            debug!(target: "safeport::log", "what is set aside for the log stays: {error}");
        }
    }
}

/// About the bytes that a state takes when it is written anew.
fn alive(state: &Stats) -> u64 {
    state.stored_bytes + state.retained_bytes + 300 * state.sessions + 60 * state.stored
}

/// Runs on a thread of its own: an fsync takes from a tenth of a millisecond to far more than
/// any loop may stand still.
fn wait_for_the_disk(tasks: &Receiver<SyncTask<FolderFile>>, mailbox: &Mailbox) {
    while let Ok(task) = tasks.recv() {
        mailbox.send(Command::Synced(task.run()));
    }
}
