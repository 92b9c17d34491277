//! The sound of turns: what is kept, and what makes it go.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use safeport_store::{DataFolder, Recording, Recordings, Side, TalkRow, Track, TrackBytes, limits};
use tempfile::TempDir;

use super::{BY, again, at, device, open};

fn place(folder: &TempDir) -> Recordings {
    DataFolder::open(folder.path()).unwrap().recordings()
}

fn track(bytes: &[u8]) -> Option<TrackBytes<'_>> {
    Some(TrackBytes {
        bytes,
        lasts: Duration::from_millis(1_500),
    })
}

fn turn(device: &str, at: u64, sound: Recording) -> TalkRow {
    TalkRow {
        device: device.to_string(),
        at,
        until: at + 1_000,
        heard: format!("question {at}"),
        sound: Some(sound),
        ..TalkRow::default()
    }
}

/// Every file with sound.
fn files(folder: &TempDir) -> Vec<PathBuf> {
    let list = |path: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(path).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let shelves = list(&folder.path().join("recordings"));
    shelves.iter().flat_map(|shelf| list(shelf)).collect()
}

fn heard(place: &Recordings, talk: &TalkRow, side: Side) -> Option<Vec<u8>> {
    let mut file = place.open(talk.sound.as_ref()?, side).unwrap()?.file;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    Some(bytes)
}

#[test]
fn sound_is_found_with_its_turn_and_nobody_else_may_read_it() {
    let (folder, mut registry) = open();
    registry.add_device(&device("box"), BY).unwrap();
    let place = place(&folder);
    let both = place.write(track(b"hello"), track(b"yes?"), 100).unwrap();
    let notice = place.write(None, track(b"dinner"), 100).unwrap();
    registry
        .add_talks(&[turn("box", 1, both), turn("box", 2, notice)])
        .unwrap();
    let found = registry.talks("box", None, 10, 5).unwrap();
    assert_eq!(heard(&place, &found[1], Side::Heard).unwrap(), b"hello");
    assert_eq!(heard(&place, &found[1], Side::Said).unwrap(), b"yes?");
    assert_eq!(heard(&place, &found[0], Side::Heard), None);
    assert_eq!(heard(&place, &found[0], Side::Said).unwrap(), b"dinner");
    let sound = found[1].sound.as_ref().unwrap();
    let expected = Track {
        bytes: 5,
        ms: 1_500,
    };
    assert_eq!(sound.heard, Some(expected));
    assert_eq!(
        registry.talk("box", found[1].id, 5).unwrap().unwrap(),
        found[1]
    );
    assert_eq!(registry.talk("lamp", found[1].id, 5).unwrap(), None);
    let files = files(&folder);
    assert_eq!(files.len(), 3);
    for file in &files {
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(file), 0o600, "{file:?}");
        assert_eq!(mode(file.parent().unwrap()), 0o700, "{file:?}");
    }
}

#[test]
fn sound_goes_before_its_turn_and_is_not_given_out_once_its_time_is_over() {
    let (folder, mut registry) = open();
    registry.add_device(&device("box"), BY).unwrap();
    let place = place(&folder);
    let sound = place.write(track(b"hello"), track(b"yes?"), 100).unwrap();
    registry.add_talks(&[turn("box", 1, sound)]).unwrap();
    assert!(
        registry.talks("box", None, 1, 99).unwrap()[0]
            .sound
            .is_some()
    );
    assert!(
        registry.talks("box", None, 1, 100).unwrap()[0]
            .sound
            .is_none()
    );
    assert_eq!(files(&folder).len(), 2);
    let tidied = registry.tidy(100, &Default::default()).unwrap();
    assert_eq!((tidied.recordings, tidied.talks), (1, 0));
    assert_eq!(registry.remove_gone_recordings().unwrap(), 1);
    assert_eq!(files(&folder), Vec::<PathBuf>::new());
    assert_eq!(
        registry.talks("box", None, 1, 100).unwrap()[0].heard,
        "question 1"
    );
}

#[test]
fn sound_goes_with_its_turn_with_all_turns_of_a_device_and_with_the_device() {
    let (folder, mut registry) = open();
    let place = place(&folder);
    for name in ["box", "lamp", "oven"] {
        registry.add_device(&device(name), BY).unwrap();
        let sound = place.write(track(b"hello"), track(b"yes?"), 5_000).unwrap();
        registry.add_talks(&[turn(name, 1, sound)]).unwrap();
    }
    assert_eq!(files(&folder).len(), 6);
    registry.forget_talks("box", at(5)).unwrap();
    assert_eq!(files(&folder).len(), 4);
    registry.forget_device("lamp", at(6)).unwrap();
    assert_eq!(files(&folder).len(), 2);
    // The turn's time is over before that of its sound.
    assert_eq!(registry.tidy(2_000, &Default::default()).unwrap().talks, 1);
    assert_eq!(registry.remove_gone_recordings().unwrap(), 1);
    assert_eq!(files(&folder).len(), 0);
}

#[test]
fn sound_of_a_device_that_is_not_enrolled_any_more_is_not_kept() {
    let (folder, mut registry) = open();
    let sound = place(&folder).write(track(b"hello"), None, 100).unwrap();
    registry.add_talks(&[turn("gone", 1, sound)]).unwrap();
    assert_eq!(registry.remove_gone_recordings().unwrap(), 1);
    assert_eq!(files(&folder).len(), 0);
}

#[test]
fn the_oldest_sound_goes_first_where_a_device_or_all_have_too_much() {
    let (folder, mut registry) = open();
    let place = place(&folder);
    let half = limits::MAX_RECORDINGS_PER_DEVICE / 2;
    let big = |until| {
        let mut sound = place.write(track(b"x"), None, until).unwrap();
        sound.heard = Some(Track { bytes: half, ms: 1 });
        sound
    };
    let devices = 2 * limits::MAX_RECORDINGS / limits::MAX_RECORDINGS_PER_DEVICE / 2;
    for number in 0..=devices {
        let name = format!("box-{number}");
        registry.add_device(&device(&name), BY).unwrap();
        let turns: Vec<TalkRow> = (1..=3).map(|at| turn(&name, at, big(900))).collect();
        registry.add_talks(&turns).unwrap();
    }
    let sounds = |name: &str| -> Vec<bool> {
        let found = registry.talks(name, None, 10, 5).unwrap();
        found.iter().map(|talk| talk.sound.is_some()).collect()
    };
    // Newest first: two halves each, but for the device that spoke longest ago.
    assert_eq!(sounds("box-0"), [false, false, false]);
    assert_eq!(sounds("box-1"), [true, true, false]);
    assert_eq!(sounds(&format!("box-{devices}")), [true, true, false]);
    assert_eq!(files(&folder).len() as u64, 3 * (devices + 1));
    registry.remove_gone_recordings().unwrap();
    assert_eq!(files(&folder).len() as u64, 2 * devices);
}

#[test]
fn what_a_crash_left_between_a_file_and_its_row_goes_at_the_next_start() {
    let (folder, mut registry) = open();
    registry.add_device(&device("box"), BY).unwrap();
    let place = place(&folder);
    // Written, and the row did not come.
    drop(
        place
            .write(track(b"orphan"), track(b"orphan"), 100)
            .unwrap(),
    );
    // The row came, and a power cut took a part of the file, or all of it.
    for cut in [Some("hel"), None] {
        let sound = place.write(track(b"hello"), track(b"yes?"), 100).unwrap();
        let before = files(&folder);
        registry.add_talks(&[turn("box", 1, sound)]).unwrap();
        let newest = registry.talks("box", None, 1, 5).unwrap().remove(0);
        let file = before
            .iter()
            .find(|path| std::fs::read(path).unwrap() == b"hello")
            .unwrap();
        match cut {
            Some(left) => std::fs::write(file, left).unwrap(),
            None => std::fs::remove_file(file).unwrap(),
        }
        assert_eq!(heard(&place, &newest, Side::Heard), None);
    }
    let whole = place.write(track(b"whole"), None, 100).unwrap();
    registry.add_talks(&[turn("box", 3, whole)]).unwrap();
    // Removed, and the server ended before its files were.
    let gone = place.write(track(b"gone"), None, 100).unwrap();
    registry.add_talks(&[turn("gone", 3, gone)]).unwrap();
    // Of somebody else.
    let stranger = folder.path().join("recordings/ab");
    std::fs::create_dir_all(&stranger).unwrap();
    std::fs::write(stranger.join("notes.txt"), "mine").unwrap();
    drop(registry);

    let mut registry = again(&folder);
    // Two files of the orphan, two turns without theirs, one that was removed.
    assert_eq!(place.sweep(&mut registry).unwrap(), 5);
    assert_eq!(place.sweep(&mut registry).unwrap(), 0);
    let sounds: Vec<bool> = registry
        .talks("box", None, 10, 5)
        .unwrap()
        .iter()
        .map(|talk| talk.sound.is_some())
        .collect();
    assert_eq!(sounds, [true, false, false]);
    let left = files(&folder);
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(stranger.join("notes.txt").exists());
}

#[test]
fn what_cannot_be_written_leaves_no_file() {
    let (folder, _registry) = open();
    std::fs::write(folder.path().join("recordings"), "in the way").unwrap();
    let place = place(&folder);
    assert!(place.write(track(b"hello"), None, 100).is_err());
    assert_eq!(files(&folder).len(), 0);
}
