//! A disk that is full for files and for rows. Wants a small file system of its
//! own, empty, its path in SAFEPORT_TEST_SMALL_DISK:
//!
//! ```text
//! mount -t tmpfs -o size=2m none /mnt/small
//! SAFEPORT_TEST_SMALL_DISK=/mnt/small cargo test -p safeport-store --test full_disk -- --ignored
//! ```

use safeport_store::{DataFolder, MemberRow, StoreError};

fn member(id: u64) -> MemberRow {
    MemberRow {
        id,
        device: None,
        family: String::new(),
        first_at: 1,
        last_at: id,
        body: "x".repeat(2000),
        identities: Vec::new(),
    }
}

#[test]
#[ignore = "wants a small file system"]
fn a_full_disk_is_named_refuses_whole_changes_and_works_again_once_there_is_room() {
    let Some(small) = std::env::var_os("SAFEPORT_TEST_SMALL_DISK") else {
        return;
    };
    let folder = DataFolder::open(small).unwrap();
    let blobs = folder.blobs().unwrap();
    let mut registry = folder.registry().unwrap();
    registry.write_members(&[member(1)]).unwrap();

    let mut writer = blobs.begin(64 << 20).unwrap();
    let full = loop {
        if let Err(error) = writer.write(&[7; 50_000]) {
            break error;
        }
    };
    assert!(matches!(full, StoreError::Full { .. }), "{full}");
    assert!(writer.written() > 0);
    // While the upload still holds the room, nothing can be written down.
    let mut refused = None;
    for id in 2..2000 {
        if let Err(error) = registry.write_members(&[member(id), member(id + 5000)]) {
            refused = Some((id, error));
            break;
        }
    }
    let (id, error) = refused.expect("a full disk");
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(writer.finish(None).is_err());
    // What was kept of the upload is gone, and so there is room.
    assert_eq!(blobs.list().unwrap(), []);
    assert_eq!(registry.member(id).unwrap(), None);
    assert_eq!(registry.member(id + 5000).unwrap(), None, "all or nothing");
    registry
        .write_members(&[member(id), member(id + 5000)])
        .unwrap();
    let mut writer = blobs.begin(64 << 20).unwrap();
    writer.write(&[8; 100_000]).unwrap();
    let blob = writer.finish(None).unwrap();
    drop(registry);
    let registry = folder.registry().unwrap();
    let mut count = 0;
    registry.load_members(|_| count += 1).unwrap();
    assert_eq!(count, 1 + 2 * (id - 1));
    folder.blobs().unwrap().verify(&blob.hash).unwrap();
}
