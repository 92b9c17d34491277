//! The log in a real folder: names, permissions, restarts, generations.

#[allow(dead_code)]
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use safeport_store::log::{Folder, Log, LogError, LogLayout, LogOptions, Recovery};

fn open(folder: Folder) -> (Log, Recovery, Vec<Vec<u8>>) {
    let options = LogOptions {
        segment_bytes: 64 << 10,
        ..LogOptions::default()
    };
    let mut groups = Vec::new();
    let each = &mut |group: &[u8]| {
        groups.push(group.to_vec());
        Ok(())
    };
    let mut last = None;
    let progress = &mut |progress| last = Some(progress);
    let (log, recovery) = Log::open(folder, options, each, progress).expect("a sound log");
    if let Some(progress) = last {
        assert_eq!(progress.done_bytes, progress.total_bytes);
    }
    (log, recovery, groups)
}

fn sync(log: &mut Log) {
    let task = log.sync_task().expect("something to sync");
    let thread = std::thread::spawn(move || task.run());
    let position = thread.join().expect("no panic").expect("a sound disk");
    log.was_synced(position);
    assert_eq!(log.synced(), position);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path)
        .expect("it is there")
        .permissions()
        .mode()
        & 0o777
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path)
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    names.sort();
    names
}

#[test]
fn groups_come_back_in_order_after_restarts_and_compaction_gives_space_back() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("log");
    let mut expected = Vec::new();
    let mut start = None;
    for round in 0..6_u32 {
        let (mut log, recovery, groups) = open(Folder::open(&path).expect("a folder"));
        assert_eq!(groups, expected, "round {round}");
        assert_eq!(recovery.dropped, None);
        assert_eq!(log.synced(), log.end());
        for index in 0..40_u32 {
            let payload = [round.to_le_bytes(), index.to_le_bytes()]
                .concat()
                .repeat(300);
            log.append(&payload).expect("room");
            expected.push(payload);
        }
        if round == 3 {
            start = Some(log.cut().expect("room"));
            log.append(b"all of it").expect("room");
            expected = vec![b"all of it".to_vec()];
            assert!(
                log.forget_before(start.expect("cut")).is_err(),
                "not synced yet"
            );
            sync(&mut log);
            let before = log.bytes();
            log.forget_before(start.expect("cut")).expect("synced");
            assert!(log.bytes() < before / 100);
        }
    }
    let first = names(&path).into_iter().next().expect("a segment");
    assert_eq!(first, format!("{:010}.log", start.expect("cut")));
    let large: u64 = fs::read_dir(&path)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").metadata().expect("data").len())
        .sum();
    // 80 groups of 2.4 kB are left; only the newest segments are longer than what is in them.
    assert!(large < 80 * 2500 + 3 * (64 << 10), "{large}");
}

#[test]
fn only_the_owner_may_read_the_log() {
    let scratch = tempfile::tempdir().unwrap();
    let mut layout = LogLayout::open(scratch.path().join("log")).expect("a new folder");
    let generation = layout.begin(1).expect("room");
    layout.switch(&generation).expect("room");
    let (mut log, ..) = open(generation.folder(0).expect("a folder"));
    log.append(b"secret").expect("room");
    for folder in [
        scratch.path().join("log"),
        generation.path.clone(),
        generation.path.join("0"),
    ] {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
    }
    assert_eq!(mode(&scratch.path().join("log").join("CURRENT")), 0o600);
    assert_eq!(mode(&generation.path.join("0/0000000001.log")), 0o600);
}

#[test]
fn a_group_longer_than_a_segment_gets_a_longer_one() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("log");
    let long = vec![7; 1 << 20];
    let (mut log, ..) = open(Folder::open(&path).expect("a folder"));
    for payload in [b"before".to_vec(), long.clone(), b"after".to_vec()] {
        log.append(&payload).expect("room");
    }
    drop(log);
    let (_, _, groups) = open(Folder::open(&path).expect("a folder"));
    assert_eq!(groups, [b"before".to_vec(), long, b"after".to_vec()]);
}

#[test]
fn an_orderly_end_leaves_nothing_set_aside_and_writing_goes_on_after_it() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("log");
    let stored = || -> u64 {
        let lengths = names(&path).into_iter().map(|name| {
            let file = fs::metadata(path.join(name)).expect("it is there");
            file.len()
        });
        lengths.sum()
    };
    let (mut log, ..) = open(Folder::open(&path).expect("a folder"));
    log.give_back().expect("nothing but the header");
    assert_eq!(stored(), log.bytes());
    log.append(b"one").expect("room");
    assert!(stored() > log.bytes(), "reserved again");
    log.give_back().expect("given back");
    assert_eq!(stored(), log.bytes());
    log.append(b"two").expect("room");
    log.give_back().expect("given back");
    drop(log);
    let (_, recovery, groups) = open(Folder::open(&path).expect("a folder"));
    assert_eq!(groups, [b"one", b"two"]);
    assert_eq!(recovery.dropped, None);
}

#[test]
fn a_torn_end_is_reported_with_its_path_and_removed() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("log");
    let (mut log, ..) = open(Folder::open(&path).expect("a folder"));
    log.append(b"whole").expect("room");
    log.append(b"torn").expect("room");
    drop(log);
    let file = path.join("0000000001.log");
    let mut bytes = fs::read(&file).expect("a segment");
    let torn = 88 + 32 + 5;
    bytes[torn + 34] ^= 1;
    fs::write(&file, &bytes).expect("writable");
    let (log, recovery, groups) = open(Folder::open(&path).expect("a folder"));
    assert_eq!(groups, [b"whole"]);
    let place = recovery.dropped.expect("a torn end");
    assert_eq!(place.file, file.display().to_string());
    assert_eq!((place.offset, place.bytes), (torn as u64, 36));
    drop(log);
    assert_eq!(fs::metadata(&file).expect("there").len(), torn as u64);
    let (_, recovery, _) = open(Folder::open(&path).expect("a folder"));
    assert_eq!(recovery.dropped, None, "reported once");
}

#[test]
fn a_segment_that_cannot_be_read_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("log");
    drop(open(Folder::open(&path).expect("a folder")));
    fs::remove_file(path.join("0000000001.log")).expect("there");
    fs::create_dir(path.join("0000000001.log")).expect("a folder in its place");
    let folder = Folder::open(&path).expect("a folder");
    let opened = Log::open(folder, LogOptions::default(), &mut |_| Ok(()), &mut |_| {});
    let Err(LogError::Unreadable { file, .. }) = opened else {
        panic!("a folder is no segment");
    };
    assert!(file.ends_with("0000000001.log"), "{file}");
}

#[test]
fn files_of_other_names_are_left_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("log");
    drop(open(Folder::open(&path).expect("a folder")));
    for name in ["1.log", "0000000007.log.bak", "notes", "00000000001.log"] {
        fs::write(path.join(name), b"not a segment").expect("writable");
    }
    let (_, recovery, _) = open(Folder::open(&path).expect("a folder"));
    assert_eq!(recovery.dropped, None);
    for name in ["1.log", "0000000007.log.bak", "notes", "00000000001.log"] {
        assert!(path.join(name).exists(), "{name}");
    }
}

#[test]
fn a_new_generation_counts_only_after_the_switch_and_then_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("log");
    let mut layout = LogLayout::open(&path).expect("a new folder");
    assert_eq!(layout.current(), None);
    let first = layout.begin(2).expect("room");
    assert_eq!((first.number, first.loops), (1, 2));
    layout.switch(&first).expect("room");
    let (mut log, ..) = open(first.folder(1).expect("a folder"));
    log.append(b"of loop 1").expect("room");
    drop(log);

    let mut layout = LogLayout::open(&path).expect("sound");
    assert_eq!(layout.current(), Some(&first));
    let unfinished = layout.begin(3).expect("room");
    assert_eq!(unfinished.number, 2);
    assert_eq!(names(&path), ["1", "2", "CURRENT"]);
    drop(layout);

    let mut layout = LogLayout::open(&path).expect("sound");
    assert_eq!(layout.current(), Some(&first));
    assert_eq!(names(&path), ["1", "CURRENT"], "leftovers go");
    let (_, _, groups) = open(first.folder(1).expect("a folder"));
    assert_eq!(groups, [b"of loop 1"]);
    let second = layout.begin(1).expect("room");
    layout.switch(&second).expect("room");
    assert_eq!(names(&path), ["2", "CURRENT"]);
    let layout = LogLayout::open(&path).expect("sound");
    assert_eq!(layout.current(), Some(&second));
}

#[test]
fn each_changed_byte_of_current_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("log");
    let mut layout = LogLayout::open(&path).expect("a new folder");
    let generation = layout.begin(2).expect("room");
    layout.switch(&generation).expect("room");
    let file = path.join("CURRENT");
    let sound = fs::read(&file).expect("there");
    for at in 0..sound.len() {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        fs::write(&file, &bytes).expect("writable");
        let error = LogLayout::open(&path).expect_err("changed");
        assert!(
            error.to_string().contains(&file.display().to_string()),
            "{at}: {error}"
        );
        assert!(
            generation.path.is_dir(),
            "nothing is removed on doubtful grounds"
        );
    }
    fs::write(&file, sound).expect("writable");
    fs::remove_dir(generation.path.join("1")).expect("empty");
    assert!(matches!(
        LogLayout::open(&path),
        Err(LogError::Missing { .. })
    ));
}

#[test]
fn a_log_without_current_is_not_thrown_away() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("log");
    let mut layout = LogLayout::open(&path).expect("a new folder");
    let generation = layout.begin(1).expect("room");
    drop(open(generation.folder(0).expect("a folder")));
    // Cut short before the very first switch: nothing was acknowledged yet.
    let mut layout = LogLayout::open(&path).expect("a new folder");
    assert_eq!(names(&path), [""; 0]);

    let generation = layout.begin(1).expect("room");
    layout.switch(&generation).expect("room");
    let (mut log, ..) = open(generation.folder(0).expect("a folder"));
    log.append(b"acknowledged").expect("room");
    drop(log);
    fs::remove_file(path.join("CURRENT")).expect("there");
    assert!(matches!(
        LogLayout::open(&path),
        Err(LogError::NoCurrent { .. })
    ));
    assert_eq!(names(&path), ["1"]);
}
