//! The data folder: layout, permissions, one server at a time.

mod scratch;

use safeport_store::{DataFolder, StoreError};
use scratch::Scratch;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_folder_is_made_with_its_layout_for_the_owner_only() {
    let scratch = Scratch::new();
    let folder = DataFolder::open(scratch.join("deep/data")).unwrap();
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
    let scratch = Scratch::new();
    let folder = DataFolder::open(scratch.join("data")).unwrap();
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
    let scratch = Scratch::new();
    let file = scratch.join("file");
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
    let scratch = Scratch::new();
    fs::write(scratch.join("pki"), "").unwrap();
    let error = DataFolder::open(scratch.path()).unwrap_err();
    assert!(error.to_string().contains("pki"), "{error}");
}

#[test]
fn the_lock_is_free_again_once_it_is_dropped() {
    let scratch = Scratch::new();
    let folder = DataFolder::open(scratch.path()).unwrap();
    let first = folder.lock().unwrap();
    assert!(matches!(folder.lock(), Err(StoreError::Locked { .. })));
    drop(first);
    folder.lock().unwrap();
}

#[test]
fn a_second_server_is_told_the_first_ones_pid_and_gets_the_folder_when_it_is_killed() {
    let scratch = Scratch::new();
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
