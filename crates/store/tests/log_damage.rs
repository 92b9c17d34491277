//! What opening makes of a damaged log: recovered with a report, or refused by file and offset;
//! never other groups, never fewer than later groups vouch for.

use safeport_store::log::simulated::SimDisk;
use safeport_store::log::{BadRecord, Disk, Log, LogError, LogOptions, Recovery};

const OPTIONS: LogOptions = LogOptions {
    segment_bytes: 400,
    skip_damaged: false,
    key: 0x0123_4567_89AB_CDEF,
};
const SKIPPING: LogOptions = LogOptions {
    skip_damaged: true,
    ..OPTIONS
};

type Opened = (Log<SimDisk>, Recovery, Vec<Vec<u8>>);

fn open(disk: &SimDisk, options: LogOptions) -> Result<Opened, LogError> {
    let mut groups = Vec::new();
    let each = &mut |group: &[u8]| {
        groups.push(group.to_vec());
        Ok(())
    };
    let (log, recovery) = Log::open(disk.clone(), options, each, &mut |_| {})?;
    Ok((log, recovery, groups))
}

fn sync(log: &mut Log<SimDisk>) {
    if let Some(task) = log.sync_task() {
        log.was_synced(task.run().expect("a sound disk"));
    }
}

/// A group as it lies on the disk.
struct Written {
    segment: u64,
    begin: u64,
    end: u64,
    payload: Vec<u8>,
    /// What it vouches for.
    synced: u64,
}

/// Three segments and a bit, synced now and then; the last groups are not.
fn small_log() -> (SimDisk, Vec<Written>) {
    let disk = SimDisk::new();
    let (mut log, ..) = open(&disk, OPTIONS).expect("a new log");
    let mut written = Vec::new();
    for index in 0..22_u8 {
        let payload = vec![index; usize::from(index) % 7 * 9];
        let synced = log.synced().get();
        let before = lengths(&disk);
        log.append(&payload).expect("room");
        let (segment, end) = grown(&before, &lengths(&disk));
        written.push(Written {
            segment,
            begin: end - 32 - payload.len() as u64,
            end,
            payload,
            synced,
        });
        if index % 5 == 3 {
            sync(&mut log);
        }
    }
    drop(log);
    disk.kill();
    (disk, written)
}

/// Bytes in use of each segment, by number.
fn lengths(disk: &SimDisk) -> Vec<(u64, u64)> {
    let mut lengths: Vec<(u64, u64)> = disk
        .list()
        .expect("a list")
        .into_iter()
        .map(|entry| {
            let bytes = disk.read(entry.number).expect("it is there");
            let used = bytes.iter().rposition(|byte| *byte != 0);
            (entry.number, used.map_or(0, |at| at as u64 + 1))
        })
        .collect();
    lengths.sort_unstable();
    lengths
}

fn grown(before: &[(u64, u64)], after: &[(u64, u64)]) -> (u64, u64) {
    let changed = after
        .iter()
        .rev()
        .find(|entry| !before.contains(entry) && entry.1 > 0);
    *changed.expect("an append writes")
}

/// What must hold after one place of a log was changed: `hit` says which groups it touched.
fn check(disk: &SimDisk, written: &[Written], at: (u64, u64), hit: impl Fn(&Written) -> bool) {
    let proven = written
        .iter()
        .filter(|group| !hit(group))
        .map(|group| group.synced)
        .max()
        .unwrap_or(0) as usize;
    match open(disk, OPTIONS) {
        Ok((_, recovery, groups)) => {
            assert!(
                groups.len() >= proven,
                "{at:?}: {} of {proven}",
                groups.len()
            );
            for (group, written) in groups.iter().zip(written) {
                assert_eq!(*group, written.payload, "{at:?}");
            }
            assert!(groups.len() <= written.len());
            if groups.len() < written.len() {
                let place = recovery.dropped.expect("what is dropped is reported");
                assert!(place.bytes > 0 && place.offset <= at.1, "{at:?}: {place}");
                assert_eq!(place.file, disk.name(at.0), "{at:?}: {place}");
            }
        }
        Err(LogError::Damaged { file, offset, .. }) => {
            assert_eq!(file, disk.name(at.0), "{at:?}");
            assert!(offset <= at.1, "{at:?}: {offset}");
        }
        Err(error) => panic!("{at:?}: {error}"),
    }
}

#[test]
fn each_changed_byte_is_dropped_with_a_report_or_refused_by_file_and_offset() {
    let (disk, written) = small_log();
    let (mut dropped, mut refused) = (0, 0);
    for (segment, _) in lengths(&disk) {
        let len = disk.read(segment).expect("it is there").len();
        for at in 0..len {
            for flip in [0x01, 0x80, 0xFF] {
                let copy = disk.copy();
                copy.damage(segment, |bytes| bytes[at] ^= flip);
                let place = (segment, at as u64);
                check(&copy, &written, place, |group| {
                    group.segment == segment && (group.begin..group.end).contains(&place.1)
                });
                match open(&copy, OPTIONS) {
                    Ok(_) => dropped += 1,
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(dropped > 100 && refused > 100, "{dropped} {refused}");
}

#[test]
fn each_cut_off_end_is_dropped_with_a_report_or_refused_by_file_and_offset() {
    let (disk, written) = small_log();
    for (segment, used) in lengths(&disk) {
        for len in 0..used {
            let copy = disk.copy();
            copy.damage(segment, |bytes| bytes.truncate(len as usize));
            let later = written.iter().any(|group| {
                group.segment > segment
                    || group.segment == segment && group.begin < len && len < group.end
            });
            if (len == 0 || len >= 88) && !later {
                // Cut between two groups at the very end: nobody could tell. None of those that
                // are gone is vouched for, since none follows.
                continue;
            }
            // What is missing is noticed where it should have begun.
            let begin = written
                .iter()
                .find(|group| group.segment == segment && group.end > len)
                .map_or(len, |group| group.begin.max(len));
            check(&copy, &written, (segment, begin), |group| {
                group.segment == segment && group.end > len
            });
        }
    }
}

#[test]
fn a_byte_changed_in_each_group_is_skipped_when_the_operator_says_so() {
    let (disk, written) = small_log();
    for (index, group) in written.iter().enumerate() {
        let copy = disk.copy();
        copy.damage(group.segment, |bytes| bytes[group.begin as usize + 9] ^= 1);
        let (mut log, recovery, groups) = open(&copy, SKIPPING).expect("skipped");
        let expected: Vec<Vec<u8>> = written
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index)
            .map(|(_, group)| group.payload.clone())
            .collect();
        assert_eq!(groups, expected, "all but group {index}");
        let last = index + 1 == written.len();
        assert_eq!(recovery.skipped_places, u64::from(!last));
        assert_eq!(recovery.dropped.is_some(), last);
        if !last {
            let place = &recovery.skipped[0];
            assert_eq!(
                (&place.file, place.offset),
                (&copy.name(group.segment), group.begin)
            );
        }
        // The damage stays, and so does the need to skip it, until it is compacted away.
        log.append(b"more").expect("room");
        let start = log.cut().expect("room");
        log.append(b"all that is needed").expect("room");
        sync(&mut log);
        drop(log);
        if !last {
            assert!(matches!(
                open(&copy, OPTIONS),
                Err(LogError::Damaged { .. })
            ));
        }
        let (mut log, ..) = open(&copy, SKIPPING).expect("skipped again");
        log.forget_before(start).expect("synced");
        drop(log);
        let (_, recovery, groups) = open(&copy, OPTIONS).expect("sound again");
        assert_eq!(groups, [b"all that is needed"]);
        assert_eq!(recovery.skipped_places, 0);
    }
}

#[test]
fn a_missing_segment_is_named() {
    let (disk, written) = small_log();
    let last = lengths(&disk).iter().rfind(|it| it.1 > 0).expect("some").0;
    for missing in 1..last {
        let copy = disk.copy();
        copy.put(missing, None);
        let proven = written.iter().any(|group| {
            group.segment > missing
                && written
                    .iter()
                    .position(|it| it.segment == missing)
                    .is_some_and(|first| group.synced > first as u64)
        });
        assert!(proven, "the sample must be one where it matters");
        let Err(error) = open(&copy, OPTIONS) else {
            panic!("segment {missing} is missing");
        };
        let LogError::Missing { file } = &error else {
            panic!("{error}");
        };
        assert_eq!(*file, copy.name(missing));
        assert!(error.to_string().contains("storage.skip_damaged"));
        let (_, recovery, groups) = open(&copy, SKIPPING).expect("skipped");
        let kept = written.iter().filter(|group| group.segment != missing);
        assert_eq!(groups.len(), kept.count());
        assert!(recovery.skipped_places > 0);
    }
}

#[test]
fn a_cut_that_came_to_nothing_does_not_replace_what_is_missing_before_it() {
    let (disk, _) = small_log();
    let (mut log, ..) = open(&disk, OPTIONS).expect("sound");
    let start = log.cut().expect("room");
    log.append(b"all that is needed").expect("room");
    drop(log);
    disk.kill();
    disk.put(1, None);
    let copy = disk.copy();
    copy.damage(start, |bytes| bytes[88 + 32] ^= 1);
    let Err(LogError::Missing { file }) = open(&copy, OPTIONS) else {
        panic!("nothing to begin with is left");
    };
    assert_eq!(file, copy.name(1));
    // With the group, this is what an interrupted `forget_before` leaves behind.
    let (_, recovery, groups) = open(&disk, OPTIONS).expect("begins at the cut");
    assert_eq!(groups, [b"all that is needed"]);
    assert_eq!(recovery.forgotten, start - 2);
    assert_eq!(recovery.dropped, None);
}

#[test]
fn a_segment_under_another_ones_name_is_refused() {
    let (disk, _) = small_log();
    let copy = disk.copy();
    copy.put(2, disk.read(3).ok());
    assert!(matches!(
        open(&copy, OPTIONS),
        Err(LogError::WrongNumber { file, found: 3 }) if file == copy.name(2)
    ));
    copy.put(3, disk.read(2).ok());
    assert!(matches!(
        open(&copy, OPTIONS),
        Err(LogError::WrongNumber { file, found: 3 }) if file == copy.name(2)
    ));
    let copy = disk.copy();
    let last = lengths(&disk).last().expect("some").0;
    copy.put(last + 1, disk.read(1).ok());
    let refused = open(&copy, OPTIONS);
    // Only behind everything may it pass for something unfinished; it is still not used.
    match refused {
        Err(LogError::WrongNumber { file, found: 1 }) => assert_eq!(file, copy.name(last + 1)),
        Ok((_, recovery, _)) => assert!(recovery.dropped.is_some()),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_newer_format_is_refused_and_never_skipped() {
    let (disk, _) = small_log();
    disk.damage(2, |bytes| {
        for copy in [0, 44] {
            bytes[copy + 8] = 2;
            let crc = crc32c::crc32c(&bytes[copy..copy + 40]);
            bytes[copy + 40..copy + 44].copy_from_slice(&crc.to_le_bytes());
        }
    });
    for options in [OPTIONS, SKIPPING] {
        let Err(error) = open(&disk, options) else {
            panic!("format 2 is not known");
        };
        assert!(matches!(&error, LogError::NewerFormat { found: 2, .. }));
        let text = error.to_string();
        assert!(
            text.contains("log format 2, this one knows up to 1"),
            "{text}"
        );
    }
}

#[test]
fn a_record_that_its_owner_refuses_is_named_by_file_and_offset() {
    let (disk, written) = small_log();
    let mut count = 0;
    let mut refuse = |_: &[u8]| {
        count += 1;
        match count {
            10 => Err(BadRecord {
                offset: 5,
                what: "record type 99 is unknown".to_owned(),
            }),
            _ => Ok(()),
        }
    };
    let refused = Log::open(disk.clone(), OPTIONS, &mut refuse, &mut |_| {});
    let Err(LogError::Damaged { file, offset, what }) = refused else {
        panic!("refused");
    };
    assert_eq!(file, disk.name(written[9].segment));
    assert_eq!(offset, written[9].begin + 32 + 5);
    assert_eq!(what, "record type 99 is unknown");
}

#[test]
fn a_payload_that_looks_like_a_group_is_no_evidence() {
    let (disk, _) = small_log();
    // Somebody publishes the bytes of a sound group of another log, that claims everything.
    let group = {
        let other = SimDisk::new();
        let options = LogOptions { key: 99, ..OPTIONS };
        let (mut log, ..) = open(&other, options).expect("a new log");
        for _ in 0..40 {
            log.append(b"").expect("room");
            sync(&mut log);
        }
        let last = lengths(&other).iter().rfind(|it| it.1 > 0).expect("some").0;
        other.read(last).expect("there")[88..].to_vec()
    };
    let (mut log, ..) = open(&disk, OPTIONS).expect("sound");
    sync(&mut log);
    log.append(b"torn").expect("room");
    log.append(&group[..200]).expect("room");
    let end = log.end().get();
    drop(log);
    let (segment, used) = *lengths(&disk).iter().rfind(|it| it.1 > 0).expect("some");
    disk.damage(segment, |bytes| bytes[used as usize - 230] ^= 1);
    let (log, recovery, _) = open(&disk, OPTIONS).expect("a torn end");
    assert!(log.end().get() < end);
    assert!(recovery.dropped.is_some());
}
