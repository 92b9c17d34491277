//! What a restart brings back: brokers as their logs tell.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use safeport_broker::{Broker, BrokerSetup, Restored, Time, home_of};
use safeport_store::log::{
    BadRecord, Folder, Generation, Log, LogError, LogLayout, LogOptions, Progress, Recovery,
};
use tracing::{info, warn};

use crate::limits::{CHECKPOINT_STEP, PROGRESS_INTERVAL};

/// Where the engine keeps what has to survive a restart.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// The folder of the logs (`log/` in the data folder). One engine at a time may use it.
    pub folder: PathBuf,
    /// What an acknowledged message survives.
    pub durability: Durability,
    /// Go on without what is damaged, instead of refusing to start. For once, by an operator
    /// who has no backup.
    pub skip_damaged: bool,
}

/// What an acknowledged message survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The end of the process, however it ends (`kill -9`). The operating system writes it to
    /// the disk within about a second: that much a power cut may take.
    #[default]
    Os,
    /// A power cut, too: nothing is acknowledged before the disk has it.
    Disk,
}

/// Why the engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The operating system gives no event queue or thread, or a listener cannot be registered.
    #[error(transparent)]
    System(#[from] io::Error),
    /// The log cannot be read or written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Segments at the beginning of the log are gone.
    #[error("the log in {folder} begins in the middle: its first segments are missing; restore them from a backup, or set storage.skip_damaged to start with what is there", folder = folder.display())]
    Beheaded {
        /// The folder.
        folder: PathBuf,
    },
    /// The log was read, but what it says makes no sense.
    #[error("the log in {folder} cannot be taken over: {problem}; restore a backup, or move the folder aside to start without sessions and retained messages", folder = folder.display())]
    Records {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        problem: safeport_broker::BadRecord,
    },
}

/// A log that was read.
pub(crate) struct Kept {
    pub(crate) log: Log,
    /// something in it was left out: it should be written anew, without the damage
    pub(crate) is_damaged: bool,
}

/// Brokers with their logs, one for each loop.
pub(crate) struct Recovered {
    pub(crate) loops: Vec<(Broker, Option<Kept>)>,
    /// What the brokers' clock shows now.
    pub(crate) now: Time,
}

/// Makes the brokers of all loops, with what their logs hold.
pub(crate) fn recover(
    settings: Option<&LogSettings>,
    setups: Vec<BrokerSetup>,
) -> Result<Recovered, StartError> {
    let Some(settings) = settings else {
        let loops = setups.into_iter().map(|setup| (Broker::new(setup), None));
        return Ok(Recovered {
            loops: loops.collect(),
            now: wall_clock(),
        });
    };
    let mut layout = LogLayout::open(&settings.folder)?;
    let loops = setups.len() as u16;
    let current = match layout.current() {
        Some(current) => current.clone(),
        None => {
            let first = layout.begin(loops)?;
            layout.switch(&first)?;
            first
        }
    };
    let old = setups_of(&setups, current.loops);
    let mut read = Reading::new();
    let mut brokers = Vec::new();
    for (number, setup) in old.into_iter().enumerate() {
        brokers.push(read.broker(settings, &current, number as u16, setup)?);
    }
    let latest = brokers.iter().map(|(broker, _)| broker.replayed_until());
    // A clock that was set back, or is not set yet, must not make time run backwards.
    let now = latest.fold(wall_clock(), Time::max);
    let mut restored = Restored::default();
    for (broker, _) in &mut brokers {
        let one = broker.finish_replay(now);
        restored.sessions += one.sessions;
        restored.messages += one.messages;
        restored.retained = restored.retained.max(one.retained);
    }
    let mut loops: Vec<(Broker, Option<Kept>)> = brokers
        .into_iter()
        .map(|(broker, kept)| (broker, Some(kept)))
        .collect();
    if current.loops != setups.len() as u16 {
        loops = share_out_anew(settings, &mut layout, loops, setups, now)?;
    }
    introduce(&mut loops);
    if read.groups > 0 {
        info!(
            target: "safeport::log",
            sessions = restored.sessions,
            messages = restored.messages,
            retained = restored.retained,
            milliseconds = read.start.elapsed().as_millis() as u64,
            "the log was read back"
        );
    }
    Ok(Recovered { loops, now })
}

/// The same brokers, but for another number of loops.
fn setups_of(setups: &[BrokerSetup], loops: u16) -> Vec<BrokerSetup> {
    let like = |me| BrokerSetup {
        me,
        brokers: loops as u8,
        ..setups[0].clone()
    };
    match setups.len() as u16 == loops {
        true => setups.to_vec(),
        false => (0..loops as u8).map(like).collect(),
    }
}

/// Reading logs, with word of how far it has come.
struct Reading {
    start: Instant,
    told: Instant,
    groups: u64,
}

impl Reading {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            start: now,
            told: now,
            groups: 0,
        }
    }

    fn broker(
        &mut self,
        settings: &LogSettings,
        generation: &Generation,
        number: u16,
        setup: BrokerSetup,
    ) -> Result<(Broker, Kept), StartError> {
        let mut broker = Broker::new(setup);
        let options = LogOptions {
            skip_damaged: settings.skip_damaged,
            ..LogOptions::default()
        };
        let mut first = true;
        let mut misfits = 0u64;
        let (log, recovery) = Log::open(
            generation.folder(number)?,
            options,
            &mut |group| {
                if std::mem::take(&mut first) {
                    // What a broker without a past would begin its log with.
                    broker.take_records(&mut Vec::new());
                }
                match broker.replay(group) {
                    Err(_) if settings.skip_damaged => {
                        misfits += 1;
                        Ok(())
                    }
                    result => result.map_err(|bad| BadRecord {
                        offset: bad.offset,
                        what: bad.what.to_owned(),
                    }),
                }
            },
            &mut |progress| self.tell(progress),
        )?;
        self.groups += recovery.groups;
        tell_losses(&recovery);
        if misfits > 0 {
            warn!(
                target: "safeport::log",
                groups = misfits,
                "some later groups of the log refer to something that was left out: what they say \
                 from there on was left out, too"
            );
        }
        if !broker.replay_is_whole() && !settings.skip_damaged {
            return Err(StartError::Beheaded {
                folder: generation.path.join(number.to_string()),
            });
        }
        let is_damaged = recovery.skipped_places > 0;
        Ok((broker, Kept { log, is_damaged }))
    }

    fn tell(&mut self, progress: Progress) {
        if self.told.elapsed() < PROGRESS_INTERVAL || progress.total_bytes == 0 {
            return;
        }
        self.told = Instant::now();
        let percent = progress.done_bytes * 100 / progress.total_bytes;
        info!(
            target: "safeport::log",
            "reading back the log: {percent} % of {} MiB; clients are let in when it is done",
            progress.total_bytes >> 20
        );
    }
}

fn tell_losses(recovery: &Recovery) {
    if let Some(place) = &recovery.dropped {
        warn!(
            target: "safeport::log",
            "{} ends at byte {} in the middle of a group ({}): the process or the machine stopped \
             while it was written. The last {} bytes, which nobody had an acknowledgement for that \
             the settings promise, were dropped",
            place.file, place.offset, place.what, place.bytes
        );
    }
    for place in &recovery.skipped {
        warn!(
            target: "safeport::log",
            "{} is damaged at byte {} ({}): {} bytes were left out, as you wished",
            place.file, place.offset, place.what, place.bytes
        );
    }
}

/// The number of loops has changed, and with it the home of each client identifier.
fn share_out_anew(
    settings: &LogSettings,
    layout: &mut LogLayout,
    old: Vec<(Broker, Option<Kept>)>,
    mut setups: Vec<BrokerSetup>,
    now: Time,
) -> Result<Vec<(Broker, Option<Kept>)>, StartError> {
    info!(
        target: "safeport::log",
        before = old.len(), after = setups.len(),
        "the number of loops has changed: sessions are shared out anew"
    );
    for setup in &mut setups {
        // Fingerprints in retained messages were made with it.
        setup.seed[0] = old[0].0.seed();
    }
    let mut brokers: Vec<Broker> = setups.into_iter().map(Broker::new).collect();
    let count = brokers.len() as u8;
    let mut problem = None;
    for (mut broker, _) in old {
        broker.export(|client_id, records| {
            let result = match client_id {
                Some(client_id) => brokers[usize::from(home_of(client_id, count))].adopt(records),
                None => brokers.iter_mut().try_for_each(|each| each.adopt(records)),
            };
            problem = problem.take().or(result.err());
        });
    }
    if let Some(problem) = problem {
        return Err(StartError::Records {
            folder: settings.folder.clone(),
            problem,
        });
    }
    let generation = layout.begin(u16::from(count))?;
    let mut loops = Vec::new();
    for (number, mut broker) in brokers.into_iter().enumerate() {
        let _ = broker.finish_replay(now);
        let folder = generation.folder(number as u16)?;
        let mut log = write_whole(&mut broker, folder)?;
        if let Some(task) = log.sync_task() {
            log.was_synced(task.run()?);
        }
        let is_damaged = false;
        loops.push((broker, Some(Kept { log, is_damaged })));
    }
    layout.switch(&generation)?;
    Ok(loops)
}

/// A log that holds all of a broker.
fn write_whole(broker: &mut Broker, folder: Folder) -> Result<Log, StartError> {
    let nothing = &mut |_: &[u8]| Ok(());
    let (mut log, _) = Log::open(folder, LogOptions::default(), nothing, &mut |_| {})?;
    let mut records = Vec::new();
    broker.take_records(&mut records);
    broker.begin_checkpoint();
    let mut more = true;
    while more {
        more = broker.checkpoint(CHECKPOINT_STEP);
        broker.take_records(&mut records);
        log.append(&records).map_err(io::Error::other)?;
    }
    Ok(log)
}

/// Each broker hears from all others what their sessions want.
fn introduce(loops: &mut [(Broker, Option<Kept>)]) {
    let count = loops.len() as u8;
    for (me, (broker, _)) in loops.iter_mut().enumerate() {
        for peer in (0..count).filter(|peer| usize::from(*peer) != me) {
            broker.introduce(peer);
        }
    }
}

/// Milliseconds since 1970: expiry and delays go on counting over a restart.
fn wall_clock() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Time(since.unwrap_or(Duration::ZERO).as_millis() as u64)
}
