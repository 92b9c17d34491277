//! The data folder: layout, permissions, one server at a time.

use safeport_store::{By, DataFolder, StoreError};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_folder_is_made_with_its_layout_for_the_owner_only() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(scratch.path().join("deep/data")).unwrap();
    let _registry = folder.registry().unwrap();
    let _lock = folder.lock().unwrap();
    for path in [folder.path().to_path_buf(), folder.pki(), folder.log()] {
        assert_eq!(mode(&path), 0o700, "{}", path.display());
    }
    for name in ["safeport.db", "safeport.db-wal", "safeport.lock"] {
        assert_eq!(mode(&folder.path().join(name)), 0o600, "{name}");
    }
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert!(left.is_empty(), "write test left {left:?}");
}

#[test]
fn opening_a_folder_again_keeps_what_is_in_it_and_its_permissions() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(scratch.path().join("data")).unwrap();
    fs::write(folder.pki().join("ca.pem"), "kept").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o750)).unwrap();
    let again = DataFolder::open(folder.path()).unwrap();
    assert_eq!(
        fs::read_to_string(again.pki().join("ca.pem")).unwrap(),
        "kept"
    );
    assert_eq!(mode(again.path()), 0o750);
}

#[test]
fn a_path_that_is_a_file_or_lies_below_one_is_refused_with_the_way_out() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("file");
    fs::write(&file, "").unwrap();
    let error = DataFolder::open(&file).unwrap_err();
    assert!(matches!(error, StoreError::NotAFolder { .. }), "{error}");
    assert!(error.to_string().contains("--data"), "{error}");
    let error = DataFolder::open(file.join("below")).unwrap_err();
    assert!(matches!(error, StoreError::Create { .. }), "{error}");
    assert!(error.to_string().contains("--data"), "{error}");
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_with_the_way_out() {
    // Root may write everywhere but where the kernel says no.
    for path in ["/proc", "/sys"] {
        let error = DataFolder::open(path).unwrap_err();
        assert!(matches!(error, StoreError::NotWritable { .. }), "{error}");
        assert!(error.to_string().contains("--data"), "{error}");
    }
}

#[test]
fn a_part_of_the_layout_that_is_a_file_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("pki"), "").unwrap();
    let error = DataFolder::open(scratch.path()).unwrap_err();
    assert!(error.to_string().contains("pki"), "{error}");
}

#[test]
fn looking_for_a_folder_makes_nothing_whatever_is_there() {
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data");
    assert_eq!(DataFolder::open_existing(&data).unwrap(), None);
    assert!(!data.exists());
    fs::create_dir(&data).unwrap();
    let folder = DataFolder::open_existing(&data).unwrap().unwrap();
    assert!(folder.registry_to_read().unwrap().is_none());
    assert_eq!(folder.server().unwrap(), None);
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
    fs::write(scratch.path().join("file"), "").unwrap();
    let error = DataFolder::open_existing(scratch.path().join("file")).unwrap_err();
    assert!(matches!(error, StoreError::NotAFolder { .. }), "{error}");
}

#[test]
fn a_registry_opened_to_read_sees_everything_changes_nothing_and_leaves_no_files_behind() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(scratch.path()).unwrap();
    let by = By { who: "test", at: 1 };
    let listed = || {
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let mut writer = folder.registry().unwrap();
    writer.note(by, "noted").unwrap();
    // Beside a writer, whose log is not in the database yet.
    let mut reader = folder.registry_to_read().unwrap().unwrap();
    assert_eq!(reader.audit(1).unwrap()[0].what, "noted");
    assert!(reader.note(by, "never").is_err());
    drop((reader, writer));
    let (before, bytes) = (listed(), fs::read(folder.database()).unwrap());
    let reader = folder.registry_to_read().unwrap().unwrap();
    assert_eq!(reader.audit(9).unwrap().len(), 1);
    drop(reader);
    assert_eq!(listed(), before);
    assert_eq!(fs::read(folder.database()).unwrap(), bytes);
}

#[test]
fn a_running_server_is_found_by_its_pid_and_looking_never_keeps_one_from_starting() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(scratch.path()).unwrap();
    assert_eq!(folder.server().unwrap(), None);
    let lock = folder.lock().unwrap();
    let found = folder.server().unwrap().unwrap();
    assert_eq!(found.pid, Some(std::process::id()));
    drop(lock);
    assert_eq!(folder.server().unwrap(), None);

    // Whoever looks holds the lock for a moment: a server waits for that.
    let looking = fs::File::open(folder.path().join("safeport.lock")).unwrap();
    looking.try_lock_shared().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            drop(looking);
        });
        folder.lock().unwrap();
    });
}

#[test]
fn the_lock_is_free_again_once_it_is_dropped() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(scratch.path()).unwrap();
    let first = folder.lock().unwrap();
    assert!(matches!(folder.lock(), Err(StoreError::Locked { .. })));
    drop(first);
    folder.lock().unwrap();
}

#[test]
fn a_second_server_is_told_the_first_ones_pid_and_gets_the_folder_when_it_is_killed() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(scratch.path()).unwrap();
    let mut first = OtherServer::start(&folder);
    let error = folder.lock().unwrap_err();
    let StoreError::Locked { pid, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*pid, Some(first.child.id()));
    let text = error.to_string();
    assert!(text.contains(&first.child.id().to_string()), "{text}");
    assert!(
        text.contains(&folder.path().display().to_string()),
        "{text}"
    );
    // The registry stays open to everybody meanwhile.
    folder.registry().unwrap().users().unwrap();
    // SIGKILL: nothing is cleaned up, and nothing has to be.
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    let _lock = folder.lock().unwrap();
    let pid = fs::read_to_string(folder.path().join("safeport.lock")).unwrap();
    assert_eq!(pid.trim(), std::process::id().to_string());
}

/// This test program, run once more to hold the lock.
struct OtherServer {
    child: Child,
}

impl OtherServer {
    fn start(folder: &DataFolder) -> OtherServer {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "other_server", "--nocapture"])
            .env("SAFEPORT_TEST_FOLDER", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(
            lines.any(|line| line.unwrap().contains("locked")),
            "the other server took the lock"
        );
        OtherServer { child }
    }
}

impl Drop for OtherServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "the second process of another test"]
fn other_server() {
    let Some(folder) = std::env::var_os("SAFEPORT_TEST_FOLDER") else {
        return;
    };
    let _lock = DataFolder::open(folder).unwrap().lock().unwrap();
    println!("locked");
    // Until the test kills us; or a minute, should it be killed itself.
    std::thread::sleep(std::time::Duration::from_secs(60));
}

#[test]
fn settings_are_changed_by_one_at_a_time_and_a_turn_ends_with_its_holder() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(scratch.path()).unwrap();
    let short = std::time::Duration::from_millis(60);
    let turn = folder.change_turn(short).unwrap();
    let refused = folder.change_turn(short).unwrap_err();
    assert!(matches!(refused, StoreError::Changing { .. }), "{refused}");
    // The server's own lock is another one.
    let _server = folder.lock().unwrap();
    drop(turn);
    folder.change_turn(short).unwrap();
}
