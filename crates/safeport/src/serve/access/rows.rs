//! Registry rows for the tests of this folder.

use safeport_store::{DataFolder, DeviceRecord, Rights, Secret, Snapshot, User};

/// A snapshot of these users and these devices of the plain family, each with its hash.
pub(super) fn snapshot(users: &[(&str, &str)], devices: &[(&str, &str)]) -> Snapshot {
    // A snapshot's version can only come from a registry.
    let folder = tempfile::tempdir().expect("a folder");
    let data = DataFolder::open(folder.path()).expect("a folder");
    let mut registry = data.registry().expect("a registry");
    let mut snapshot = registry.load().expect("a snapshot");
    snapshot.users = users
        .iter()
        .map(|(name, hash)| User {
            name: (*name).to_owned(),
            password_hash: Secret::new(*hash),
            rights: Rights {
                publish: vec!["#".to_owned()],
                subscribe: vec!["#".to_owned()],
            },
            enabled: true,
            created: 0,
        })
        .collect();
    snapshot.devices = devices
        .iter()
        .map(|(name, hash)| DeviceRecord {
            name: (*name).to_owned(),
            family: "plain".to_owned(),
            topic: (*name).to_owned(),
            client_id: (*name).to_owned(),
            username: (*name).to_owned(),
            mac: None,
            password_hash: Secret::new(*hash),
            extra: Rights {
                publish: Vec::new(),
                subscribe: Vec::new(),
            },
            tags: Vec::new(),
            created: 0,
        })
        .collect();
    snapshot
}
