//! The log on a disk that crashes at each of its operations, runs full and fails.

use safeport_store::log::simulated::SimDisk;
use safeport_store::log::{AppendError, Disk, Log, LogOptions, Recovery};

const OPTIONS: LogOptions = LogOptions {
    segment_bytes: 1000,
    skip_damaged: false,
    key: 0x0123_4567_89AB_CDEF,
};

fn open(disk: &SimDisk) -> (Log<SimDisk>, Recovery, Vec<Vec<u8>>) {
    let mut groups = Vec::new();
    let each = &mut |group: &[u8]| {
        groups.push(group.to_vec());
        Ok(())
    };
    let (log, recovery) =
        Log::open(disk.clone(), OPTIONS, each, &mut |_| {}).expect("a crash is no damage");
    (log, recovery, groups)
}

fn sync(log: &mut Log<SimDisk>) -> bool {
    let Some(task) = log.sync_task() else {
        return true;
    };
    task.run().map(|position| log.was_synced(position)).is_ok()
}

/// What a server had been told when it ended.
#[derive(Default)]
struct Told {
    appended: Vec<Vec<u8>>,
    synced: usize,
    /// How many groups at the front were given up.
    forgotten: usize,
}

/// A day of a small server: turns, syncs, two compactions, and a restart in between.
fn day(disk: &SimDisk) -> Told {
    let mut told = Told::default();
    let opened = Log::open(disk.clone(), OPTIONS, &mut |_| Ok(()), &mut |_| {});
    let Ok((mut log, _)) = opened else {
        return told;
    };
    for turn in 0..48_u8 {
        let payload = vec![turn + 1; 20 + usize::from(turn) % 5 * 40];
        if log.append(&payload).is_err() {
            return told;
        }
        told.appended.push(payload);
        if turn % 3 == 1 {
            if !sync(&mut log) {
                return told;
            }
            told.synced = log.synced().get() as usize;
        }
        if turn % 20 == 15 {
            let Ok(start) = log.cut() else { return told };
            let before = told.appended.len();
            if log.append(&[200 + turn / 20]).is_err() {
                return told;
            }
            told.appended.push(vec![200 + turn / 20]);
            if !sync(&mut log) {
                return told;
            }
            told.synced = log.synced().get() as usize;
            // Even if it fails half-way, some may be gone.
            told.forgotten = before;
            if log.forget_before(start).is_err() {
                return told;
            }
        }
        if turn == 25 {
            if log.give_back().is_err() {
                return told;
            }
            drop(log);
            let opened = Log::open(disk.clone(), OPTIONS, &mut |_| Ok(()), &mut |_| {});
            match opened {
                Ok((again, _)) => log = again,
                Err(_) => return told,
            }
            told.synced = log.synced().get() as usize;
        }
    }
    told
}

fn check(disk: &SimDisk, told: &Told, least: usize, case: &str) {
    let (log, _, groups) = open(disk);
    let end = log.end().get() as usize;
    let first = end - groups.len();
    assert!(first <= told.forgotten, "{case}: begins with {first}");
    assert!(end >= least, "{case}: {end} of {least}");
    assert!(end <= told.appended.len() + 1, "{case}");
    for (group, written) in groups.iter().zip(&told.appended[first..]) {
        assert_eq!(group, written, "{case}");
    }
    drop(log);
    let (log, recovery, again) = open(disk);
    assert_eq!(again, groups, "{case}: the same at the next start");
    assert_eq!(recovery.dropped, None, "{case}: reported once");
    assert_eq!(log.end().get() as usize, end, "{case}");
}

#[test]
fn a_kill_at_any_operation_loses_nothing_that_was_appended() {
    let disk = SimDisk::new();
    day(&disk);
    let operations = disk.operations();
    assert!(operations > 100, "{operations}");
    for operation in 0..operations {
        for seed in 0..4 {
            let disk = SimDisk::new();
            disk.seed(seed);
            disk.crash_at(operation);
            let told = day(&disk);
            assert!(disk.crashed());
            disk.kill();
            let case = format!("killed in operation {operation}, seed {seed}");
            check(&disk, &told, told.appended.len(), &case);
        }
    }
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_that_was_synced() {
    for reserve in [true, false] {
        let disk = SimDisk::new();
        day(&disk);
        for operation in 0..disk.operations() {
            for seed in 0..24 {
                let disk = SimDisk::new();
                disk.seed(seed);
                if !reserve {
                    disk.cannot_reserve();
                }
                disk.crash_at(operation);
                let told = day(&disk);
                disk.lose_power();
                let case = format!("no power in operation {operation}, seed {seed}");
                check(&disk, &told, told.synced, &case);
            }
        }
    }
}

#[test]
fn a_full_disk_is_noticed_a_segment_early_and_room_is_found_again() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(2500));
    let (mut log, ..) = open(&disk);
    let payload = [7; 40];
    let mut written = 0;
    while log.has_room() {
        log.append(&payload).expect("has room");
        written += 1;
        assert!(written < 100, "2500 bytes are soon full");
    }
    assert!(!log.try_to_make_room());
    let mut within = 0;
    let error = loop {
        match log.append(&payload) {
            Ok(_) => within += 1,
            Err(error) => break error,
        }
    };
    assert!(within >= 1, "what is reserved can be used");
    assert!(matches!(&error, AppendError::Full { .. }), "{error}");
    let end = log.end();
    assert!(log.append(&payload).is_err());
    assert_eq!(log.end(), end, "nothing has changed");
    disk.set_capacity(Some(5000));
    assert!(!log.has_room(), "nobody looked yet");
    assert!(log.try_to_make_room());
    log.append(&payload).expect("has room");
    drop(log);
    let (_, recovery, groups) = open(&disk);
    assert_eq!(groups.len(), written + within + 1);
    assert_eq!(recovery.dropped, None);
}

#[test]
fn a_disk_without_any_room_still_opens_and_reads() {
    let disk = SimDisk::new();
    let (mut log, ..) = open(&disk);
    log.append(b"kept").expect("room");
    drop(log);
    disk.kill();
    disk.set_capacity(Some(0));
    let (mut log, _, groups) = open(&disk);
    assert_eq!(groups, [b"kept"]);
    assert!(!log.has_room());
    assert!(matches!(log.append(b"x"), Err(AppendError::Full { .. })));

    let empty = SimDisk::new();
    empty.set_capacity(Some(10));
    let (mut log, ..) = open(&empty);
    assert!(!log.has_room());
    empty.set_capacity(None);
    assert!(log.try_to_make_room());
    log.append(b"first").expect("room");
    drop(log);
    empty.kill();
    assert_eq!(open(&empty).2, [b"first"]);
}

#[test]
fn compaction_finds_a_smaller_segment_on_a_full_disk() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(1100));
    let (mut log, ..) = open(&disk);
    while log.has_room() {
        log.append(&[1; 20]).expect("has room");
    }
    assert!(!log.try_to_make_room());
    let end = log.end();
    let start = log
        .cut()
        .expect("what the last segment does not use is enough");
    log.append(b"all that is needed").expect("room");
    assert!(sync(&mut log));
    log.forget_before(start).expect("synced");
    assert!(log.end() > end);
    assert!(!log.has_room(), "nobody looked yet");
    disk.set_capacity(Some(2500));
    assert!(log.try_to_make_room());
    for _ in 0..20 {
        log.append(&[2; 20]).expect("room");
    }
}

#[test]
fn a_disk_that_fills_up_within_a_write_leaves_no_trace_of_the_failed_group() {
    let disk = SimDisk::new();
    disk.cannot_reserve();
    let (mut log, ..) = open(&disk);
    log.append(&[1; 100]).expect("room");
    let used = log.bytes();
    disk.set_capacity(Some(used + 60));
    assert!(matches!(
        log.append(&[2; 100]),
        Err(AppendError::Full { .. })
    ));
    assert!(!log.has_room());
    assert_eq!(log.bytes(), used);
    disk.set_capacity(None);
    // Shorter than what the failed one left behind.
    log.append(&[3; 10]).expect("room");
    assert!(sync(&mut log));
    log.cut().expect("room");
    log.append(&[4; 10]).expect("room");
    drop(log);
    disk.kill();
    let (_, recovery, groups) = open(&disk);
    assert_eq!(groups, [vec![1; 100], vec![3; 10], vec![4; 10]]);
    assert_eq!(recovery.dropped, None);
}

#[test]
fn a_write_error_can_be_tried_again_and_a_sync_error_cannot() {
    let disk = SimDisk::new();
    let (mut log, ..) = open(&disk);
    log.append(b"one").expect("sound");
    disk.fail_writes(true);
    for _ in 0..3 {
        let error = log.append(b"two").expect_err("a write error");
        assert!(matches!(&error, AppendError::Write { .. }), "{error}");
    }
    disk.fail_writes(false);
    log.append(b"two, again").expect("sound");
    disk.fail_syncs(true);
    assert!(!sync(&mut log));
    // The disk says it is fine now, but what it forgot does not come back.
    disk.fail_syncs(false);
    assert!(!sync(&mut log));
    assert_eq!(log.synced().get(), 0);
    let error = log.append(b"three").expect_err("it must not go on");
    assert!(matches!(error, AppendError::SyncFailed { .. }));
}

#[test]
fn a_group_that_failed_never_stands_before_one_that_followed_its_replacement() {
    let mut came_back = 0;
    for seed in 0..2000 {
        let disk = SimDisk::new();
        disk.seed(seed);
        let (mut log, ..) = open(&disk);
        disk.fail_writes(true);
        log.append(b"failed").expect_err("a write error");
        disk.fail_writes(false);
        log.append(b"second").expect("sound");
        log.append(b"follow").expect("sound");
        drop(log);
        disk.lose_power();
        let (_, _, groups) = open(&disk);
        match groups.first().map(Vec::as_slice) {
            Some(b"failed") => {
                came_back += 1;
                assert_eq!(groups.len(), 1, "seed {seed}");
            }
            Some(first) => assert_eq!(first, b"second"),
            None => {}
        }
    }
    assert!(came_back > 10, "the case must occur: {came_back}");
}

#[test]
fn only_what_was_replaced_durably_is_forgotten() {
    let disk = SimDisk::new();
    let (mut log, ..) = open(&disk);
    for _ in 0..20 {
        log.append(&[1; 100]).expect("room");
    }
    assert!(sync(&mut log));
    let current = disk.list().expect("a list").len() as u64;
    assert!(log.forget_before(2).is_err(), "no cut began it: {current}");
    let start = log.cut().expect("room");
    assert!(log.forget_before(start).is_err(), "nothing is in it");
    log.append(b"new").expect("room");
    assert!(log.forget_before(start).is_err(), "it is not durable");
    assert!(sync(&mut log));
    log.forget_before(start).expect("durable");
    log.forget_before(start).expect("and again");
    let mut left = disk.list().expect("a list");
    left.sort();
    assert_eq!(left[0].number, start);
}

#[test]
fn a_sync_covers_what_was_there_when_it_was_asked_for() {
    let disk = SimDisk::new();
    let (mut log, ..) = open(&disk);
    assert!(log.sync_task().is_none(), "nothing to do");
    let first = log.append(b"first").expect("room");
    let task = log.sync_task().expect("something to do");
    let second = log.append(b"second").expect("room");
    log.was_synced(task.run().expect("sound"));
    assert_eq!(log.synced(), first);
    let task = log.sync_task().expect("something to do");
    log.was_synced(task.run().expect("sound"));
    assert_eq!((log.synced(), log.end()), (second, second));
    assert!(log.sync_task().is_none());
}
