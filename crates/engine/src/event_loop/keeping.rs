//! What has to survive a restart goes to the log before its effects go to sockets.

use std::io;

use safeport_broker::{DiskRoom, PeerMessage};
use safeport_store::log::Position;
use tracing::error;

use crate::ledger::Ledger;
use crate::limits::CHECKPOINT_STEP;

use super::EventLoop;

impl EventLoop {
    /// Once a turn, before anything is flushed: what the broker wrote down becomes one group.
    pub(super) fn keep(&mut self) {
        let Some(ledger) = &mut self.ledger else {
            return;
        };
        ledger.timeouts(self.now);
        if ledger.wants_checkpoint(|| self.broker.stats()) {
            self.begin_checkpoint();
        }
        let writing = self.ledger.as_ref();
        let writing = writing.is_some_and(Ledger::is_writing_checkpoint);
        let more = writing && self.broker.checkpoint(CHECKPOINT_STEP);
        self.write_records();
        if let Some(ledger) = &mut self.ledger
            && writing
            && !more
            && !ledger.is_stuck()
        {
            ledger.checkpoint_is_complete();
        }
    }

    /// Records made so far belong before the cut: what they refer to may be gone behind it.
    fn begin_checkpoint(&mut self) {
        self.write_records();
        if let Some(ledger) = &mut self.ledger
            && ledger.records().is_empty()
            && ledger.begin_checkpoint()
        {
            self.broker.begin_checkpoint();
        }
    }

    /// Writes what the broker has written down since the last time.
    pub(super) fn write_records(&mut self) {
        let Some(ledger) = &mut self.ledger else {
            return;
        };
        if self.broker.records_len() > 0 {
            let waiting = ledger.records();
            if waiting.is_empty() {
                self.broker.take_records(waiting);
            } else {
                // The disk has refused them so far: all go together, in order.
                let mut records = Vec::new();
                self.broker.take_records(&mut records);
                waiting.append(&mut records);
            }
        }
        self.records_seen = 0;
        ledger.write(self.now);
        let room = ledger.room();
        if room != self.disk_room {
            self.disk_room = room;
            self.broker.set_disk_room(room);
            if room == DiskRoom::Scarce {
                error!(
                    target: "safeport::log",
                    "the disk has no room for more of the log: publishes to persistent sessions, \
                     retained messages and new persistent sessions are refused until some is \
                     freed; what is there is safe"
                );
            }
        }
        if !self.gated.is_empty() {
            let safe = ledger.safe();
            let (connections, dirty) = (&self.connections, &mut self.dirty);
            self.gated.retain(|&key| {
                let waits = connections.get(key).is_some_and(|c| c.waits(safe));
                if !waits {
                    dirty.push(key);
                }
                waits
            });
        }
        self.release_promises();
    }

    /// Before effects are carried out: which group of the log they have to wait for. Only those of
    /// calls that wrote something down do; what went to the same connection before keeps its place
    /// in line, so a later answer does not overtake one that waits.
    pub(super) fn set_gate(&mut self) {
        let Some(ledger) = &self.ledger else {
            return;
        };
        let records = self.broker.records_len();
        let unsafe_yet = records > self.records_seen;
        self.records_seen = records;
        self.gate = unsafe_yet.then(|| ledger.next());
        if self.from_peer && self.gate.is_none() && ledger.safe() + 1 < ledger.next() {
            // A SUBACK that waited for peers was written down in an earlier group.
            self.gate = Some(ledger.next() - 1);
        }
    }

    /// Puts a message into a peer's batch. What says that something is kept waits until it is.
    pub(super) fn tell(&mut self, peer: usize, message: PeerMessage) {
        match (&message, self.gate) {
            (PeerMessage::Taken { .. }, Some(group)) => {
                self.promises.push_back((group, peer, message));
            }
            _ => self.outbound[peer].push(message),
        }
    }

    /// Promises to peers that hold by now.
    fn release_promises(&mut self) {
        let Some(ledger) = &self.ledger else {
            return;
        };
        let safe = ledger.safe();
        while self
            .promises
            .front()
            .is_some_and(|(group, ..)| *group <= safe)
            && let Some((_, peer, message)) = self.promises.pop_front()
        {
            self.outbound[peer].push(message);
        }
    }

    /// Whether what waits for the connection may leave.
    pub(super) fn may_leave(&self, key: usize) -> bool {
        match (&self.ledger, self.connections.get(key)) {
            (Some(ledger), Some(connection)) => !connection.waits(ledger.safe()),
            _ => true,
        }
    }

    /// Whether a turn has to come at once to write something.
    pub(super) fn has_to_keep(&self) -> bool {
        self.ledger.as_ref().is_some_and(|ledger| {
            ledger.is_writing_checkpoint() || self.broker.records_len() > 0 && !ledger.is_stuck()
        })
    }

    pub(super) fn was_synced(&mut self, result: io::Result<Position>) {
        let outcome = self
            .ledger
            .as_mut()
            .map(|ledger: &mut Ledger| ledger.was_synced(result));
        if let Some(Err(error)) = outcome {
            error!(
                target: "safeport::log",
                "the disk did not keep what was written to the log ({error}): nobody can tell what \
                 it has, so the server stops and reads back what is there when it starts again; \
                 check the disk"
            );
            self.failed = true;
        }
    }
}
