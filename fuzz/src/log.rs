//! What must hold of the append log, whatever the disk does.

use safeport_store::log::simulated::{SimDisk, SimFile};
use safeport_store::log::{AppendError, Disk, Log, LogError, LogOptions, Recovery, SyncTask};

use crate::source::Source;

/// A log on a disk that fills up, fails, tears and loses, with crashes at any operation.
///
/// What was synced is all there, in order; what else is there continues it without a gap; after
/// a kill everything appended is there; and no crash makes the log refuse to open.
pub fn operations(data: &[u8]) {
    let mut source = Source::new(data);
    let mut run = Run::new(&mut source);
    while !source.is_empty() {
        run.step(&mut source);
    }
    run.restart(true);
}

/// A small log, then any bytes of it changed, cut off, moved or missing.
///
/// Opening recovers a run of the groups or refuses; with `skip_damaged` it always opens, and
/// whatever it hands out was written, in that order.
pub fn damage(data: &[u8]) {
    let mut source = Source::new(data);
    let mut run = Run::new(&mut source);
    for _ in 0..2 + source.below(16) {
        run.write_step(&mut source);
    }
    run.log = None;
    run.disk.kill();
    let disk = run.disk;
    for _ in 0..1 + source.below(4) {
        spoil(&disk, &mut source);
    }
    let strict = disk.copy();
    if let Ok((_, report, groups)) = open(&strict, run.options) {
        let mut places = run.groups.iter().enumerate();
        let found: Vec<usize> = groups
            .iter()
            .map(|group| places.find(|(_, it)| *it == group).expect("written").0)
            .collect();
        assert!(found.windows(2).all(|pair| pair[0] + 1 == pair[1]));
        assert_eq!(report.skipped_places, 0);
    }
    let mut options = run.options;
    options.skip_damaged = true;
    let mut expected = None;
    for _ in 0..2 {
        let (mut log, _, groups) = open(&disk, options).expect("skipping gets past any damage");
        let mut places = run.groups.iter();
        for group in &groups {
            assert!(places.any(|it| it == group), "written, in this order");
        }
        if let Some(expected) = expected {
            assert_eq!(groups, expected, "skipping is the same each time");
        }
        let payload = run.counter.to_be_bytes().to_vec();
        run.counter += 1;
        log.append(&payload).expect("writing goes on");
        run.groups.push(payload.clone());
        expected = Some([groups, vec![payload]].concat());
        drop(log);
        disk.kill();
    }
}

type Opened = (Log<SimDisk>, Recovery, Vec<Vec<u8>>);

fn open(disk: &SimDisk, options: LogOptions) -> Result<Opened, LogError> {
    let mut groups = Vec::new();
    let each = &mut |group: &[u8]| {
        groups.push(group.to_vec());
        Ok(())
    };
    let (log, report) = Log::open(disk.clone(), options, each, &mut |_| {})?;
    Ok((log, report, groups))
}

fn spoil(disk: &SimDisk, source: &mut Source<'_>) {
    let Ok(mut entries) = disk.list() else { return };
    entries.sort();
    if entries.is_empty() {
        return;
    }
    let entry = entries[source.below(entries.len().min(256))];
    match source.below(8) {
        0 => disk.put(entry.number, None),
        1 => {
            let other = entries[source.below(entries.len().min(256))];
            disk.put(other.number, disk.read(entry.number).ok());
        }
        2 => {
            let noise = source.data(200);
            disk.put(entry.number, Some(noise));
        }
        kind => {
            let (at, len) = (usize::from(source.u16()), source.below(256));
            let byte = source.byte();
            disk.damage(entry.number, |bytes| {
                let at = at % (bytes.len() + 1);
                let end = (at + len).min(bytes.len());
                match kind {
                    3 => bytes.truncate(at),
                    4 => bytes[at..end].fill(0),
                    5 => bytes.extend(std::iter::repeat_n(byte, len)),
                    6 => drop(bytes.drain(at..end)),
                    _ if at < bytes.len() => bytes[at] ^= byte.max(1),
                    _ => {}
                }
            });
        }
    }
}

struct Run {
    disk: SimDisk,
    options: LogOptions,
    log: Option<Log<SimDisk>>,
    /// What was appended; the first has sequence number 1.
    groups: Vec<Vec<u8>>,
    /// What failed, and at which sequence number: it may be there nevertheless.
    tried: Vec<(u64, Vec<u8>)>,
    /// The first sequence number that must still be there.
    floor: u64,
    durable: u64,
    tasks: Vec<SyncTask<SimFile>>,
    cuts: Vec<(u64, u64)>,
    /// Whether a failed sync lost what was written.
    lossy: bool,
    counter: u32,
}

impl Run {
    fn new(source: &mut Source<'_>) -> Run {
        let disk = SimDisk::new();
        disk.seed(u64::from(source.u32()));
        if source.below(4) == 0 {
            disk.cannot_reserve();
        }
        let options = LogOptions {
            segment_bytes: source.pick(&[150, 300, 700, 4000]),
            skip_damaged: false,
            key: u64::from(source.u32()) << 32 | u64::from(source.u32()),
        };
        let (log, ..) = open(&disk, options).expect("a new log on a sound disk");
        Run {
            disk,
            options,
            log: Some(log),
            groups: Vec::new(),
            tried: Vec::new(),
            floor: 1,
            durable: 0,
            tasks: Vec::new(),
            cuts: Vec::new(),
            lossy: false,
            counter: 0,
        }
    }

    fn step(&mut self, source: &mut Source<'_>) {
        match source.below(24) {
            0 => {
                let capacity = self.used() + u64::from(source.u16() % 2000);
                let limited = source.below(3) > 0;
                self.disk.set_capacity(limited.then_some(capacity));
            }
            1 => self.disk.fail_writes(source.flag()),
            2 => self.disk.fail_syncs(source.below(4) == 0),
            3 => self.forget(source),
            4 => self.restart(source.flag()),
            5 => {
                let at = self.disk.operations() + source.below(12) as u64;
                self.disk.crash_at(at);
            }
            6 => {
                if let Some(log) = &mut self.log {
                    log.try_to_make_room();
                }
            }
            _ => self.write_step(source),
        }
        if self.disk.crashed() {
            let kill = source.flag();
            // Starting may be cut short as well, again and again.
            let again = source.below(12) as u64;
            self.start_cut_short(kill, again);
            self.restart(kill);
        }
    }

    fn write_step(&mut self, source: &mut Source<'_>) {
        match source.below(12) {
            0 => self.cut(),
            1 | 2 => {
                let task = self.log.as_mut().and_then(Log::sync_task);
                self.tasks.extend(task);
            }
            3 | 4 => self.run_task(source),
            5 => {
                let task = self.log.as_mut().and_then(Log::sync_task);
                self.tasks.extend(task);
                while !self.tasks.is_empty() {
                    self.run_task(source);
                }
            }
            _ => {
                let len = match source.below(16) {
                    0 => 500 + usize::from(source.byte()) * 4,
                    _ => source.below(120),
                };
                self.append(len, source.byte());
            }
        }
    }

    fn append(&mut self, len: usize, fill: u8) {
        let Some(log) = &mut self.log else { return };
        let mut payload = self.counter.to_be_bytes().to_vec();
        self.counter += 1;
        payload.resize(4 + len, fill);
        match log.append(&payload) {
            Ok(position) => {
                self.groups.push(payload);
                assert_eq!(position.get(), self.groups.len() as u64);
            }
            Err(error) => {
                assert!(!matches!(error, AppendError::TooLarge { .. }));
                self.tried.push((log.end().get() + 1, payload));
            }
        }
        assert_eq!(log.end().get(), self.groups.len() as u64);
    }

    fn cut(&mut self) {
        let Some(log) = &mut self.log else { return };
        if let Ok(segment) = log.cut() {
            self.cuts.push((segment, log.end().get() + 1));
        }
    }

    fn run_task(&mut self, source: &mut Source<'_>) {
        if self.tasks.is_empty() {
            return;
        }
        let task = self.tasks.remove(source.below(self.tasks.len().min(256)));
        let Some(log) = &mut self.log else { return };
        match task.run() {
            Ok(position) => {
                log.was_synced(position);
                self.durable = self.durable.max(position.get());
                assert_eq!(log.synced().get(), self.durable);
            }
            Err(_) if self.disk.crashed() => {}
            Err(_) => {
                self.lossy = true;
                assert!(matches!(
                    log.append(b"x"),
                    Err(AppendError::SyncFailed { .. })
                ));
                self.restart(source.flag());
            }
        }
    }

    fn forget(&mut self, source: &mut Source<'_>) {
        let Some(log) = &mut self.log else { return };
        if self.cuts.is_empty() {
            return;
        }
        let (segment, first) = self.cuts[source.below(self.cuts.len().min(256))];
        let allowed = first <= self.durable || first <= self.floor;
        match log.forget_before(segment) {
            Ok(()) => {
                assert!(allowed, "nothing goes before its successor is durable");
                self.floor = self.floor.max(first);
            }
            Err(_) if self.disk.crashed() => self.floor = self.floor.max(first),
            Err(_) => assert!(first > self.durable),
        }
    }

    /// Starts, but the power goes or the process ends after some operations.
    fn start_cut_short(&mut self, kill: bool, operations: u64) {
        self.log = None;
        self.tasks.clear();
        match kill {
            true => self.disk.kill(),
            false => self.disk.lose_power(),
        }
        self.disk.crash_at(self.disk.operations() + operations);
        // Whether it got that far does not matter.
        drop(open(&self.disk, self.options));
    }

    fn restart(&mut self, kill: bool) {
        self.log = None;
        self.tasks.clear();
        self.cuts.clear();
        let crashed = self.disk.crashed();
        match kill {
            true => self.disk.kill(),
            false => {
                self.lossy = true;
                self.disk.lose_power();
            }
        }
        let (log, report, groups) = open(&self.disk, self.options).expect("a crash is no damage");
        let end = log.end().get();
        let first = end + 1 - groups.len() as u64;
        assert!(first <= self.floor, "{first} {}", self.floor);
        assert!(end >= self.durable, "{end} of {} durable", self.durable);
        if !self.lossy {
            assert!(end >= self.groups.len() as u64, "a kill loses nothing");
            assert!(
                report.dropped.is_none() || crashed || !self.tried.is_empty(),
                "nothing was torn"
            );
        }
        for (sequence, group) in (first..).zip(&groups) {
            if self.groups.get(sequence as usize - 1) == Some(group) {
                continue;
            }
            // It failed, but the disk had it already; nothing can follow it.
            assert_eq!(sequence, end);
            assert!(self.tried.contains(&(sequence, group.clone())));
            assert!(
                sequence
                    > if self.lossy {
                        self.durable
                    } else {
                        self.groups.len() as u64
                    }
            );
            self.groups.truncate(end as usize - 1);
            self.groups.push(group.clone());
        }
        self.groups.truncate(end as usize);
        self.tried.clear();
        self.floor = first;
        self.durable = end;
        self.lossy = false;
        assert_eq!(log.synced().get(), end, "what was read is durable");
        assert_eq!(report.groups, groups.len() as u64);
        self.log = Some(log);
    }

    fn used(&self) -> u64 {
        let entries = self.disk.list().unwrap_or_default();
        entries.iter().map(|entry| entry.bytes).sum()
    }
}
