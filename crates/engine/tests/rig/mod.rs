//! A broker, a log and a simulated disk, wired as an event loop wires them, with random clients
//! in front.

mod clients;

use std::collections::BTreeMap;

use clients::Clients;
use safeport_broker::{Broker, BrokerSetup, DiskRoom, Limits, Time};
use safeport_store::log::simulated::SimDisk;
use safeport_store::log::{BadRecord, Log, LogOptions};

/// How a run differs from another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) turns: u32,
    pub(crate) ending: Ending,
    /// the disk runs full and has room again; writes fail for a while
    pub(crate) faults: bool,
    /// everything is written anew now and then
    pub(crate) checkpoints: bool,
}

/// What becomes of unsynced writes at the end of a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// All are there, but for the one under way.
    Kill,
    /// Any part of them is there or not.
    PowerCut,
}

/// A stream of numbers from a seed (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// One life after the other on the same disk.
pub(crate) struct Rig {
    plan: Plan,
    random: Random,
    disk: SimDisk,
    now: Time,
    /// What the state was, in words, when this group was handed to the log; several if it was
    /// handed in again after an error.
    words: BTreeMap<u64, Vec<Vec<String>>>,
    /// the last group that has to come back
    promised: u64,
}

/// A life: what a process has in memory.
struct Life {
    broker: Broker,
    log: Log<SimDisk>,
    clients: Clients,
    waiting: Vec<u8>,
    stuck: bool,
    checkpoint: Checkpoint,
}

#[derive(Clone, Copy)]
enum Checkpoint {
    Resting,
    Writing(u64),
    Waiting(u64, u64),
}

/// The disk ended the process.
struct Stopped;

impl Rig {
    /// Three lives; the first ends in the disk's operation of that number, or after all its turns,
    /// the others somewhere. Each is compared with what the one before was promised. Returns how
    /// many operations the first one did.
    pub(crate) fn live(seed: u64, plan: Plan, stop_in: Option<u64>) -> u64 {
        let mut rig = Rig {
            plan,
            random: Random(seed),
            disk: SimDisk::new(),
            now: Time(1_000_000),
            words: BTreeMap::from([(0, vec![Vec::new()])]),
            promised: 0,
        };
        rig.disk.seed(seed ^ stop_in.unwrap_or(0) << 20);
        if let Some(operation) = stop_in {
            rig.disk.crash_at(operation);
        }
        let _ = rig.one_life(plan.turns);
        let operations = rig.disk.operations();
        // What happens from here on depends on where the first life ended.
        rig.random = Random(seed ^ operations << 32);
        for _ in 0..2 {
            rig.end_life();
            let more = rig.random.below(40);
            rig.disk.crash_at(rig.disk.operations() + more);
            let _ = rig.one_life(12);
        }
        rig.end_life();
        // Nothing disturbs the last start.
        assert!(rig.one_life(1).is_ok(), "a healthy disk is enough to start");
        operations
    }

    fn end_life(&mut self) {
        self.disk.set_capacity(None);
        match self.plan.ending {
            Ending::Kill => self.disk.kill(),
            Ending::PowerCut => self.disk.lose_power(),
        }
    }

    fn one_life(&mut self, turns: u32) -> Result<(), Stopped> {
        let mut life = self.wake_up()?;
        for _ in 0..turns {
            self.disturb();
            for _ in 0..=self.random.below(3) {
                life.clients
                    .do_something(&mut life.broker, &mut self.random, &mut self.now);
            }
            self.turn(&mut life)?;
        }
        Ok(())
    }

    /// Reads back what is there, which has to be what was promised.
    fn wake_up(&mut self) -> Result<Life, Stopped> {
        let mut broker = Broker::new(BrokerSetup {
            limits: limits(),
            seed: [self.random.below(u64::MAX), 3],
            durable: true,
            ..BrokerSetup::default()
        });
        let options = LogOptions {
            // Long enough for some turns on a full disk.
            segment_bytes: if self.plan.faults { 4096 } else { 1024 },
            skip_damaged: false,
            key: 7,
        };
        let mut first = true;
        let opened = Log::open(
            self.disk.clone(),
            options,
            &mut |group| {
                if std::mem::take(&mut first) {
                    broker.take_records(&mut Vec::new());
                }
                broker.replay(group).map_err(|bad| BadRecord {
                    offset: bad.offset,
                    what: bad.what.to_owned(),
                })
            },
            &mut |_| {},
        );
        let (log, _) = match opened {
            Ok(opened) => opened,
            Err(_) if self.disk.crashed() => return Err(Stopped),
            Err(error) => panic!("what a crash leaves behind is no damage: {error}"),
        };
        let end = log.end().get();
        assert!(
            end >= self.promised,
            "group {end} is the last one, {} was promised",
            self.promised
        );
        assert!(broker.replay_is_whole() || end == 0);
        let found = broker.kept_in_words();
        let known = &self.words[&end];
        assert!(
            known.contains(&found),
            "what comes back with group {end} is not what there was:\n{found:#?}\n{known:#?}"
        );
        // What was read is durable.
        self.promised = end;
        self.words = BTreeMap::from([(end, vec![found])]);
        self.now = self.now.max(broker.replayed_until());
        let _ = broker.finish_replay(self.now);
        Ok(Life {
            broker,
            log,
            clients: Clients::new(),
            waiting: Vec::new(),
            stuck: false,
            checkpoint: Checkpoint::Resting,
        })
    }

    fn disturb(&mut self) {
        if !self.plan.faults {
            return;
        }
        match self.random.below(30) {
            0..3 => self
                .disk
                .set_capacity(Some(5_000 + self.random.below(5_000))),
            20..22 => self.disk.set_capacity(None),
            3 => self.disk.fail_writes(true),
            4..14 => self.disk.fail_writes(false),
            _ => {}
        }
    }

    /// As `event_loop/keeping.rs` and the ledger do it.
    fn turn(&mut self, life: &mut Life) -> Result<(), Stopped> {
        if !life.log.has_room() && self.random.chance(50) {
            life.log.try_to_make_room();
            self.alive()?;
        }
        let resting = matches!(life.checkpoint, Checkpoint::Resting);
        if self.plan.checkpoints && resting && life.log.bytes() > 2500 && !life.stuck {
            self.write(life)?;
            if life.waiting.is_empty() {
                match life.log.cut() {
                    Ok(segment) => {
                        life.broker.begin_checkpoint();
                        life.checkpoint = Checkpoint::Writing(segment);
                    }
                    Err(_) => self.alive()?,
                }
            }
        }
        if let Checkpoint::Writing(segment) = life.checkpoint
            && !life.stuck
        {
            let more = life.broker.checkpoint(150);
            self.write(life)?;
            if !more && !life.stuck {
                life.checkpoint = Checkpoint::Waiting(segment, life.log.end().get());
            }
        }
        self.write(life)?;
        if self.random.chance(30)
            && let Some(task) = life.log.sync_task()
        {
            // Groups may come while the disk works.
            let result = task.run();
            self.alive()?;
            life.log.was_synced(result.expect("syncs do not fail here"));
        }
        if let Checkpoint::Waiting(segment, position) = life.checkpoint
            && life.log.synced().get() >= position
        {
            life.checkpoint = Checkpoint::Resting;
            let forgotten = life.log.forget_before(segment);
            self.alive()?;
            forgotten.expect("what is written anew replaces what was there");
        }
        self.promised = self.promised.max(match self.plan.ending {
            Ending::Kill => life.log.end().get(),
            Ending::PowerCut => life.log.synced().get(),
        });
        Ok(())
    }

    fn write(&mut self, life: &mut Life) -> Result<(), Stopped> {
        let mut records = Vec::new();
        life.broker.take_records(&mut records);
        life.waiting.append(&mut records);
        if !life.waiting.is_empty() {
            let next = life.log.end().get() + 1;
            let words = life.broker.kept_in_words();
            self.words.entry(next).or_default().push(words);
            let result = life.log.append(&life.waiting);
            self.alive()?;
            life.stuck = result.is_err();
            if result.is_ok() {
                life.waiting.clear();
            }
        }
        life.broker
            .set_disk_room(match (life.stuck, life.log.has_room()) {
                (true, _) => DiskRoom::Nothing,
                (false, false) => DiskRoom::Scarce,
                (false, true) => DiskRoom::Enough,
            });
        Ok(())
    }

    fn alive(&self) -> Result<(), Stopped> {
        match self.disk.crashed() {
            true => Err(Stopped),
            false => Ok(()),
        }
    }
}

fn limits() -> Limits {
    Limits {
        max_inflight: 3,
        max_queued_messages: 12,
        // Publishers are refused at once: who waits has changed nothing yet.
        patience: 0,
        ..Limits::default()
    }
}
