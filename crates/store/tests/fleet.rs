//! What is known of devices, what is offered to them, and what goes with what.

#[path = "fleet/members.rs"]
mod members;
#[path = "fleet/offers.rs"]
mod offers;
#[path = "fleet/promises.rs"]
mod promises;
#[path = "fleet/recordings.rs"]
mod recordings;
#[path = "fleet/talks.rs"]
mod talks;
#[path = "fleet/tidy.rs"]
mod tidy;

use safeport_store::{
    BlobHash, By, DataFolder, DeviceRecord, IdentityRow, ImageRow, MemberRow, Registry, Rights,
    Secret,
};
use tempfile::TempDir;

const BY: By<'static> = By {
    who: "cli:ada",
    at: 1_000,
};

fn at(at: u64) -> By<'static> {
    By { at, ..BY }
}

/// A registry in a folder of its own.
fn open() -> (TempDir, Registry) {
    let folder = tempfile::tempdir().unwrap();
    let registry = again(&folder);
    (folder, registry)
}

fn again(folder: &TempDir) -> Registry {
    DataFolder::open(folder.path()).unwrap().registry().unwrap()
}

fn device(name: &str) -> DeviceRecord {
    DeviceRecord {
        name: name.to_string(),
        family: "xiaozhi".to_string(),
        topic: name.to_string(),
        client_id: format!("id-{name}"),
        username: format!("{name}-login"),
        mac: None,
        password_hash: Secret::new("hash"),
        extra: Rights::default(),
        tags: vec![],
        created: 1,
    }
}

fn claimed(kind: &str, value: &str) -> IdentityRow {
    IdentityRow {
        kind: kind.to_string(),
        value: value.to_string(),
        proved: false,
    }
}

fn proved(kind: &str, value: &str) -> IdentityRow {
    IdentityRow {
        proved: true,
        ..claimed(kind, value)
    }
}

/// A device with a hardware address of its own.
fn member(id: u64) -> MemberRow {
    MemberRow {
        id,
        device: None,
        family: "tasmota".to_string(),
        first_at: 10,
        last_at: 10 + id,
        body: format!("{{\"id\":{id}}}"),
        identities: vec![
            proved("client_id", &format!("DVES_{id:06X}")),
            claimed("mac", &format!("{id:012x}")),
        ],
    }
}

fn hash(number: u8) -> BlobHash {
    BlobHash::new([number; 32])
}

fn image(number: u8) -> ImageRow {
    ImageRow {
        hash: hash(number),
        bytes: 1000 + u64::from(number),
        file_name: format!("tasmota32-{number}.bin"),
        family: Some("tasmota".to_string()),
        body: "{}".to_string(),
        created: u64::from(number),
        who: "cli:ada".to_string(),
    }
}

fn all(registry: &Registry) -> Vec<MemberRow> {
    let mut rows = Vec::new();
    registry.load_members(|row| rows.push(row)).unwrap();
    rows
}
