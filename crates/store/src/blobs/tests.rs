//! Where files are after a power cut at any moment, and what else may befall them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::disk::Step;
use super::{Blob, BlobStore};
use crate::{BlobHash, StoreError};

/// What this thread's stores did to the disk, and what is to go wrong.
#[derive(Default)]
struct World {
    done: Vec<Done>,
    /// The step with this number, from 0, and all later ones fail.
    ends_at: Option<usize>,
    error: Option<io::ErrorKind>,
}

#[derive(Debug, Clone)]
enum Done {
    Create(PathBuf),
    Write(PathBuf, Vec<u8>),
    SyncFile(PathBuf),
    MakeFolder(PathBuf),
    Rename(PathBuf, PathBuf),
    SyncFolder(PathBuf),
    Remove(PathBuf),
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

/// Called before every step.
pub(super) fn look_on(step: Step<'_>) -> io::Result<()> {
    WORLD.with_borrow_mut(|world| {
        if world.ends_at.is_some_and(|end| world.done.len() >= end) {
            return Err(world.error.unwrap_or(io::ErrorKind::Other).into());
        }
        world.done.push(match step {
            Step::Create(path) => Done::Create(path.into()),
            Step::Write(path, bytes) => Done::Write(path.into(), bytes.into()),
            Step::SyncFile(path) => Done::SyncFile(path.into()),
            Step::MakeFolder(path) => Done::MakeFolder(path.into()),
            Step::Rename(from, to) => Done::Rename(from.into(), to.into()),
            Step::SyncFolder(path) => Done::SyncFolder(path.into()),
            Step::Remove(path) => Done::Remove(path.into()),
        });
        Ok(())
    })
}

fn steps() -> usize {
    WORLD.with_borrow(|world| world.done.len())
}

fn begin_world(ends_at: Option<usize>, error: io::ErrorKind) {
    WORLD.set(World {
        done: Vec::new(),
        ends_at,
        error: Some(error),
    });
}

fn open() -> (TempDir, BlobStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = BlobStore::open(&folder.path().join("blobs")).unwrap();
    (folder, store)
}

fn hash_of(bytes: &[u8]) -> BlobHash {
    BlobHash::new(Sha256::digest(bytes).into())
}

fn put(store: &BlobStore, bytes: &[u8]) -> Result<Blob, StoreError> {
    let mut writer = store.begin(1 << 20)?;
    for piece in bytes.chunks(700) {
        writer.write(piece)?;
    }
    writer.finish(Some(&hash_of(bytes)))
}

fn content(store: &BlobStore, hash: &BlobHash) -> Vec<u8> {
    let mut opened = store.file(hash).unwrap();
    let mut bytes = Vec::new();
    opened.file.read_to_end(&mut bytes).unwrap();
    assert_eq!(opened.bytes, bytes.len() as u64);
    bytes
}

/// Bytes that lie on the same shelf as `like` and are others.
fn neighbour(like: &[u8]) -> Vec<u8> {
    (0_u32..)
        .map(|number| number.to_le_bytes().repeat(300))
        .find(|bytes| bytes != like && hash_of(bytes).bytes()[0] == hash_of(like).bytes()[0])
        .unwrap()
}

/// What was promised, and from which step on.
#[derive(Default)]
struct Promises {
    kept: Vec<(usize, BlobHash)>,
    /// May be gone from this step on.
    removed: Vec<(usize, BlobHash)>,
}

/// A day: uploads, one given up, one of what is there already, a removal.
fn day(store: &BlobStore) -> Promises {
    let first = vec![1; 2000];
    let beside = neighbour(&first);
    let mut promises = Promises::default();
    let mut promise = |blob: Result<Blob, StoreError>| {
        if let Ok(blob) = blob {
            promises.kept.push((steps(), blob.hash));
        }
    };
    promise(put(store, &first));
    promise(put(store, &beside));
    if let Ok(mut given_up) = store.begin(10_000) {
        let _ = given_up.write(&[9; 4000]);
    }
    promise(put(store, &first));
    promise(put(store, &[]));
    promise(put(store, &[3; 5000]));
    promises.removed.push((steps(), hash_of(&beside)));
    let _ = store.remove(&hash_of(&beside));
    promise(put(store, &[4; 100]));
    promises
}

/// A file system that keeps the order of names, as journals do, and of what was
/// not synced keeps what the dice say.
struct Disk<'a> {
    root: &'a Path,
    dice: u64,
}

impl Disk<'_> {
    fn roll(&mut self, sides: usize) -> usize {
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) as usize % sides
    }

    /// What is found after a power cut behind `done`, made in `to`.
    fn after_power_cut(&mut self, done: &[Done], to: &Path) {
        let mut files: Vec<(Vec<u8>, usize)> = Vec::new();
        let mut now: BTreeMap<&Path, usize> = BTreeMap::new();
        let mut names: Vec<(&Done, Option<usize>)> = Vec::new();
        let mut durable = 0;
        for step in done {
            match step {
                Done::Create(path) => {
                    files.push((Vec::new(), 0));
                    now.insert(path, files.len() - 1);
                    names.push((step, Some(files.len() - 1)));
                }
                Done::Write(path, bytes) => files[now[&**path]].0.extend(bytes),
                Done::SyncFile(path) => {
                    let file = &mut files[now[&**path]];
                    file.1 = file.0.len();
                }
                Done::MakeFolder(_) => names.push((step, None)),
                Done::Rename(from, to) => {
                    let file = now.remove(&**from).unwrap();
                    now.insert(to, file);
                    names.push((step, Some(file)));
                }
                Done::Remove(path) => {
                    now.remove(&**path);
                    names.push((step, None));
                }
                Done::SyncFolder(folder) => {
                    let in_it = |path: &Path| path.parent() == Some(folder);
                    let last = names.iter().rposition(|(step, _)| match step {
                        Done::Create(path) | Done::MakeFolder(path) | Done::Remove(path) => {
                            in_it(path)
                        }
                        Done::Rename(from, to) => in_it(from) || in_it(to),
                        _ => false,
                    });
                    durable = durable.max(last.map_or(0, |last| last + 1));
                }
            }
        }
        let kept = durable + self.roll(names.len() - durable + 1);
        let mut left: BTreeMap<&Path, usize> = BTreeMap::new();
        fs::create_dir_all(to.join("new")).unwrap();
        for (step, file) in &names[..kept] {
            match step {
                Done::Create(path) => {
                    left.insert(path, file.unwrap());
                }
                Done::Rename(from, to) => {
                    left.remove(&**from);
                    left.insert(to, file.unwrap());
                }
                Done::Remove(path) => {
                    left.remove(&**path);
                }
                Done::MakeFolder(path) => {
                    fs::create_dir_all(to.join(path.strip_prefix(self.root).unwrap())).unwrap();
                }
                _ => {}
            }
        }
        for (path, file) in left {
            let (bytes, synced) = &files[file];
            let mut bytes = bytes.clone();
            match self.roll(4) {
                0 => {}
                1 => bytes.truncate(*synced),
                2 => bytes[*synced..].fill(0),
                _ => bytes.truncate(synced + self.roll(bytes.len() - synced + 1)),
            }
            fs::write(to.join(path.strip_prefix(self.root).unwrap()), bytes).unwrap();
        }
    }
}

/// What is wrong with a store that was opened after `steps` steps.
fn fault(store: &BlobStore, promises: &Promises, steps: usize) -> Option<String> {
    let unfinished = fs::read_dir(store.unfinished()).unwrap().count();
    if unfinished != 0 {
        return Some(format!("{unfinished} files are left over"));
    }
    let mut there = BTreeSet::new();
    for blob in store.list().unwrap() {
        if let Err(error) = store.verify(&blob.hash) {
            return Some(error.to_string());
        }
        there.insert(blob.hash);
    }
    let lost = promises.kept.iter().find(|(since, hash)| {
        let is_removed = promises
            .removed
            .iter()
            .any(|(from, removed)| removed == hash && *from <= steps);
        *since <= steps && !is_removed && !there.contains(hash)
    });
    lost.map(|(_, hash)| format!("{hash} is lost"))
}

/// Plays a day, leaves out steps of it, and cuts the power at every step of the
/// rest, with several throws each: the first thing that is wrong afterwards.
fn fault_after_power_cuts(is_done: impl Fn(&Done) -> bool) -> Option<String> {
    let (_folder, store) = open();
    begin_world(None, io::ErrorKind::Other);
    let promises = day(&store);
    assert_eq!(promises.kept.len(), 6);
    let done = WORLD.with_borrow(|world| world.done.clone());
    let scratch = tempfile::tempdir().unwrap();
    let mut disk = Disk {
        root: &store.root,
        dice: 7,
    };
    for cut in 0..=done.len() {
        let before: Vec<Done> = done[..cut]
            .iter()
            .filter(|step| is_done(step))
            .cloned()
            .collect();
        for throw in 0..8 {
            let root = scratch.path().join(format!("{cut}-{throw}"));
            disk.after_power_cut(&before, &root);
            let again = BlobStore::open(&root).unwrap();
            if let Some(fault) = fault(&again, &promises, cut) {
                return Some(format!("at step {cut}, throw {throw}: {fault}"));
            }
            fs::remove_dir_all(&root).unwrap();
        }
    }
    None
}

#[test]
fn a_power_cut_at_any_step_leaves_nothing_half_there_and_loses_nothing_acknowledged() {
    assert_eq!(fault_after_power_cuts(|_| true), None);
}

#[test]
fn without_its_syncs_a_power_cut_would_do_harm() {
    let without_files = fault_after_power_cuts(|step| !matches!(step, Done::SyncFile(_)));
    assert!(without_files.is_some_and(|fault| fault.contains("is damaged")));
    let without_folders = fault_after_power_cuts(|step| !matches!(step, Done::SyncFolder(_)));
    assert!(without_folders.is_some_and(|fault| fault.contains("is lost")));
}

#[test]
fn a_disk_that_fails_at_any_step_loses_nothing_acknowledged_and_works_again_afterwards() {
    let (_folder, store) = open();
    begin_world(None, io::ErrorKind::Other);
    day(&store);
    let all = steps();
    for end in 0..all {
        let (_folder, store) = open();
        begin_world(Some(end), io::ErrorKind::StorageFull);
        let promises = day(&store);
        let full = put(&store, &[8; 10]).unwrap_err();
        assert!(matches!(full, StoreError::Full { .. }), "{full}");
        begin_world(None, io::ErrorKind::Other);
        // What ran into the failure is swept when somebody looks.
        store.sweep().unwrap();
        assert_eq!(fault(&store, &promises, end), None, "after {end} steps");
        day(&store);
        assert_eq!(store.list().unwrap().len(), 4);
    }
}

#[test]
fn a_file_is_found_under_its_hash_once_it_is_finished_and_not_before() {
    let (_folder, store) = open();
    let bytes = b"firmware".repeat(1000);
    let mut writer = store.begin(8000).unwrap();
    writer.write(&bytes).unwrap();
    assert_eq!(writer.written(), 8000);
    let hash = hash_of(&bytes);
    assert_eq!(store.bytes(&hash).unwrap(), None);
    let missing = store.file(&hash).unwrap_err();
    assert!(matches!(missing, StoreError::NoBlob { .. }), "{missing}");
    let blob = writer.finish(None).unwrap();
    assert_eq!(blob, Blob { hash, bytes: 8000 });
    assert_eq!(content(&store, &hash), bytes);
    assert_eq!(store.list().unwrap(), [blob]);
    assert_eq!(store.bytes(&hash).unwrap(), Some(8000));

    // Whoever reads it reads on when it is removed.
    let mut open = store.file(&hash).unwrap();
    assert!(store.remove(&hash).unwrap());
    assert!(!store.remove(&hash).unwrap());
    let mut read = Vec::new();
    open.file.read_to_end(&mut read).unwrap();
    assert_eq!(read, bytes);
    assert_eq!(store.list().unwrap(), []);
}

#[cfg(unix)]
#[test]
fn nobody_else_may_read_what_is_stored() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, store) = open();
    let writer = store.begin(1).unwrap();
    let blob = put(&store, b"secret").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&store.root), 0o700);
    assert_eq!(mode(&store.unfinished()), 0o700);
    assert_eq!(mode(&store.shelf_of(&blob.hash)), 0o700);
    assert_eq!(mode(&store.path_of(&blob.hash)), 0o600);
    let unfinished = fs::read_dir(store.unfinished()).unwrap().next().unwrap();
    assert_eq!(mode(&unfinished.unwrap().path()), 0o600);
    drop(writer);
}

#[test]
fn what_is_too_large_or_not_what_was_announced_leaves_nothing() {
    let (_folder, store) = open();
    let mut writer = store.begin(10).unwrap();
    writer.write(&[1; 10]).unwrap();
    let error = writer.write(&[1]).unwrap_err();
    assert!(
        matches!(error, StoreError::BlobTooLarge { limit: 10 }),
        "{error}"
    );
    // Not as if the last piece had never come.
    assert!(writer.finish(None).is_err());

    let mut writer = store.begin(10).unwrap();
    writer.write(&[1; 10]).unwrap();
    let error = writer.finish(Some(&hash_of(b"other"))).unwrap_err();
    assert!(matches!(error, StoreError::BlobDiffers { .. }), "{error}");
    assert_eq!(store.list().unwrap(), []);
    assert_eq!(fs::read_dir(store.unfinished()).unwrap().count(), 0);
}

#[test]
fn a_sweep_takes_what_the_dead_have_left_and_not_what_somebody_writes() {
    let (_folder, store) = open();
    let mut writer = store.begin(10).unwrap();
    writer.write(&[1; 10]).unwrap();
    fs::write(store.unfinished().join("0123456789abcdef"), [0; 500]).unwrap();
    let beside = BlobStore::open(&store.root).unwrap();
    assert_eq!(fs::read_dir(store.unfinished()).unwrap().count(), 1);
    fs::write(store.unfinished().join("0123456789abcdef"), [0; 500]).unwrap();
    let swept = beside.sweep().unwrap();
    assert_eq!((swept.files, swept.bytes), (1, 500));
    let blob = writer.finish(None).unwrap();
    assert_eq!(content(&beside, &blob.hash), [1; 10]);
}

#[test]
fn damage_is_found_and_mended_by_the_same_file_once_more() {
    let (_folder, store) = open();
    let blob = put(&store, &[5; 3000]).unwrap();
    store.verify(&blob.hash).unwrap();
    let mut bytes = vec![5; 3000];
    bytes[1234] ^= 1;
    fs::write(store.path_of(&blob.hash), &bytes).unwrap();
    let error = store.verify(&blob.hash).unwrap_err();
    let StoreError::BlobDamaged { found, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*found, hash_of(&bytes));
    put(&store, &[5; 3000]).unwrap();
    store.verify(&blob.hash).unwrap();
    assert_eq!(store.list().unwrap().len(), 1);
}

#[test]
fn only_what_nobody_needs_and_is_old_enough_goes() {
    let (_folder, store) = open();
    let hour = Duration::from_secs(3_600);
    let needed = put(&store, b"needed").unwrap().hash;
    let unused = put(&store, b"unused").unwrap().hash;
    let young = put(&store, b"young").unwrap().hash;
    let make_old = |hash| {
        let file = File::options().append(true).open(store.path_of(hash));
        let then = SystemTime::now() - 2 * hour;
        file.unwrap().set_modified(then).unwrap();
    };
    make_old(&needed);
    make_old(&unused);
    let used = |hash: &BlobHash| Ok(*hash == needed);
    assert_eq!(store.remove_unused(hour, used).unwrap(), 1);
    let there: BTreeSet<_> = store.list().unwrap().iter().map(|blob| blob.hash).collect();
    assert_eq!(there, BTreeSet::from([needed, young]));

    // Written once more while somebody looks: young again, whatever was thought.
    make_old(&young);
    let mut asked = 0;
    let write_meanwhile = |hash: &BlobHash| {
        if *hash == young {
            asked += 1;
            put(&store, b"young").unwrap();
        }
        Ok(*hash == needed)
    };
    assert_eq!(store.remove_unused(hour, write_meanwhile).unwrap(), 0);
    assert_eq!(asked, 1);
    store.verify(&young).unwrap();
    assert_eq!(store.bytes(&unused).unwrap(), None);
}

#[test]
fn many_that_write_sweep_and_remove_at_once_never_see_half_a_file() {
    let (_folder, store) = open();
    let contents: Vec<Vec<u8>> = (0..6).map(|number| vec![number; 40_000]).collect();
    let end = std::time::Instant::now() + Duration::from_millis(700);
    let is_on = || std::time::Instant::now() < end;
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while is_on() {
                    for bytes in &contents {
                        put(&store, bytes).unwrap();
                    }
                }
            });
        }
        scope.spawn(|| {
            while is_on() {
                // One that is just made and not locked yet may go; its writer then
                // makes another.
                assert_eq!(store.sweep().unwrap().bytes, 0);
                store.remove_unused(Duration::ZERO, |_| Ok(false)).unwrap();
            }
        });
        scope.spawn(|| {
            while is_on() {
                for bytes in &contents {
                    match store.verify(&hash_of(bytes)) {
                        Ok(()) | Err(StoreError::NoBlob { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        });
    });
}
