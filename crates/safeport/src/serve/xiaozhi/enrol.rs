//! Taking xiaozhi devices in.

use std::iter;

use blake2::Blake2sMac256;
use blake2::digest::{KeyInit, Mac};
use safeport_fleet::{Device, DeviceName, Family, MacAddress, NameError};
use safeport_store::{ActivationRow, By, DeviceRecord, Registry, Rights, StoreError};
use safeport_xiaozhi::{ClientId, Code};
use thiserror::Error;

use super::codes::Described;
use crate::limits::XIAOZHI_NAMES;
use crate::password::{self, Cost, PasswordError};
use crate::program;
use crate::serve::access::XiaozhiDevice;

/// A device that was taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activated {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: MacAddress,
    /// The type of its board, as it says; may be empty.
    pub board: String,
    /// What it ran when it asked.
    pub version: Option<String>,
}

/// Why a code takes nothing in.
#[derive(Debug, Error)]
pub enum ActivateError {
    /// It is none.
    #[error("a code has six digits; the device shows it on its screen and says it")]
    NoCode,
    /// Nobody shows it.
    #[error(
        "no device shows the code {0} now: codes hold for 24 hours, and a device that was taken in \
         has none any more. Restart the device and enter what it shows then"
    )]
    Unknown(String),
    /// The name cannot be one.
    #[error("{0}")]
    Name(#[from] NameError),
    /// The hardware address is a known device's.
    #[error(
        "this device is known as `{name}`, and comes with another Client-Id: its flash was erased, \
         or another device claims its MAC address. If it is yours, `{program} device forget {name}` \
         and enter the code again",
        program = program::name()
    )]
    Known {
        /// Its name.
        name: String,
    },
    /// The registry refused.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// No password could be made.
    #[error("{0}")]
    Password(#[from] PasswordError),
}

/// Takes in the device that shows `code`, under `name` or one made of its hardware address
/// (`xiaozhi-ddeeff`). The running server notices within 250 ms, and the device within three
/// seconds more, when it asks again.
///
/// # Errors
/// Why it does not. The code stays good.
pub fn activate(
    registry: &mut Registry,
    code: &str,
    name: Option<&str>,
    by: By<'_>,
) -> Result<Activated, ActivateError> {
    let code: Code = code.parse().map_err(|_| ActivateError::NoCode)?;
    let code = code.to_string();
    let waiting = registry
        .activation(&code, by.at)?
        .ok_or_else(|| ActivateError::Unknown(code.clone()))?;
    let described: Described = serde_json::from_str(&waiting.body).unwrap_or_default();
    let unreadable = || ActivateError::Unknown(code.clone());
    let mac: MacAddress = waiting.mac.parse().map_err(|_| unreadable())?;
    let uuid = waiting.uuid.clone().ok_or_else(unreadable)?;
    if let Some(known) = registry.device_with_mac(&mac.to_string())? {
        return Err(ActivateError::Known { name: known.name });
    }
    let name = match name {
        Some(name) => DeviceName::new(name)?,
        None => free_name(mac, |name| is_taken(registry, name))?,
    };
    let id = ClientId::new(&described.board, mac, &uuid);
    let record = record(name, &id, by.at)?;
    let ActivationRow { .. } = registry.enrol_with_code(&code, &record, by)?;
    Ok(Activated {
        name: record.name,
        mac,
        board: described.board,
        version: described.version,
    })
}

/// Takes in a device without a code.
pub(super) fn take_in(
    registry: &mut Registry,
    id: &ClientId,
    now: u64,
) -> Result<XiaozhiDevice, ActivateError> {
    if let Some(known) = registry.device_with_mac(&id.mac.to_string())? {
        // Another check of it was a moment faster, or the registry's news has not arrived.
        let held: Option<ClientId> = known.client_id.parse().ok();
        if held.is_some_and(|held| held.uuid == id.uuid) {
            return Ok(XiaozhiDevice {
                name: known.name,
                uuid: id.uuid.clone(),
                created: known.created,
                tags: known.tags,
            });
        }
        return Err(ActivateError::Known { name: known.name });
    }
    let name = free_name(id.mac, |name| is_taken(registry, name))?;
    let record = record(name, id, now)?;
    let by = By {
        who: "xiaozhi.activation",
        at: now,
    };
    registry.add_device(&record, by)?;
    Ok(XiaozhiDevice {
        name: record.name,
        uuid: id.uuid.clone(),
        created: now,
        tags: Vec::new(),
    })
}

fn record(name: DeviceName, id: &ClientId, now: u64) -> Result<DeviceRecord, ActivateError> {
    let mut device = Device::new(name, Family::Xiaozhi, Some(id.mac), now)?;
    device.client_id = id.to_string();
    // It logs in with what it is told at each check; this one is known to nobody.
    let drawn = password::generate()?;
    let hash = password::hash(drawn.as_str().as_bytes(), Cost::Generated)?;
    Ok(DeviceRecord {
        name: device.name.as_str().to_owned(),
        family: device.family.to_string(),
        topic: device.topic,
        client_id: device.client_id,
        username: device.username,
        mac: Some(id.mac.to_string()),
        password_hash: hash,
        extra: Rights::default(),
        tags: Vec::new(),
        created: now,
    })
}

/// `xiaozhi-ddeeff`, or with a number behind it where that is taken; after [`XIAOZHI_NAMES`] tries
/// with the whole address, which no other device has. So a newcomer costs a few looks, however many
/// there are already, and whoever gives many devices one end of their address wins nothing by it.
fn free_name(
    mac: MacAddress,
    mut is_taken: impl FnMut(&str) -> Result<bool, StoreError>,
) -> Result<DeviceName, ActivateError> {
    let short = format!("xiaozhi-{}", mac.last_six().to_ascii_lowercase());
    let numbered = (2..=XIAOZHI_NAMES).map(|number| format!("{short}-{number}"));
    for name in iter::once(short.clone()).chain(numbered) {
        if !is_taken(&name)? {
            return Ok(DeviceName::new(&name)?);
        }
    }
    let whole = mac.to_string().replace(':', "");
    Ok(DeviceName::new(&format!("xiaozhi-{whole}"))?)
}

/// Whether a device has this name, or a user this login.
fn is_taken(registry: &Registry, name: &str) -> Result<bool, StoreError> {
    Ok(registry.device(name)?.is_some() || registry.account(name)?.is_some())
}

/// A key for one purpose, made of the instance key: the same after every start, and of no use for
/// anything else.
pub(super) fn derived_key(instance_key: &[u8; 32], purpose: &str) -> Vec<u8> {
    let mut mac = Blake2sMac256::new(instance_key.into());
    mac.update(b"derived:");
    mac.update(purpose.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use safeport_store::{DataFolder, Secret, User};

    const MAC: MacAddress = MacAddress([2, 0, 0, 0xdd, 0xee, 0xff]);
    const BY: By<'static> = By {
        who: "test",
        at: 1000,
    };

    fn fresh() -> (tempfile::TempDir, Registry) {
        let folder = tempfile::tempdir().expect("a folder");
        let data = DataFolder::open(folder.path()).expect("a data folder");
        let registry = data.registry().expect("a registry");
        (folder, registry)
    }

    fn user(name: &str) -> User {
        User {
            name: name.to_owned(),
            password_hash: Secret::new("hash"),
            rights: Rights::default(),
            enabled: true,
            created: 900,
        }
    }

    fn waits(registry: &mut Registry, code: &str, mac: MacAddress, uuid: &str) {
        let described = Described {
            board: "bread-compact-wifi".to_owned(),
            version: Some("2.4.2".to_owned()),
            challenge: "c".to_owned(),
        };
        let row = ActivationRow {
            code: code.to_owned(),
            mac: mac.to_string(),
            uuid: Some(uuid.to_owned()),
            body: serde_json::to_string(&described).expect("JSON"),
            created: 900,
            expires: 2000,
        };
        assert!(registry.add_activation(&row, 900).expect("written"));
    }

    #[test]
    fn a_code_takes_in_the_device_that_shows_it_with_its_client_id_and_serves_once() {
        let (_folder, mut registry) = fresh();
        waits(&mut registry, "048291", MAC, "uuid-1");
        let activated = activate(&mut registry, "048 291", None, BY).expect("taken in");
        assert_eq!(activated.name, "xiaozhi-ddeeff");
        assert_eq!(activated.board, "bread-compact-wifi");
        let device = registry
            .device("xiaozhi-ddeeff")
            .expect("read")
            .expect("there");
        assert_eq!(
            device.client_id,
            "GID_bread-compact-wifi@@@02_00_00_dd_ee_ff@@@uuid-1"
        );
        assert_eq!((device.family.as_str(), device.created), ("xiaozhi", 1000));
        assert!(matches!(
            activate(&mut registry, "048291", None, BY),
            Err(ActivateError::Unknown(_))
        ));
        assert!(matches!(
            activate(&mut registry, "48291", None, BY),
            Err(ActivateError::NoCode)
        ));
    }

    #[test]
    fn the_address_of_a_known_device_and_a_bad_name_keep_the_code_for_another_try() {
        let (_folder, mut registry) = fresh();
        waits(&mut registry, "111111", MAC, "uuid-1");
        assert!(matches!(
            activate(&mut registry, "111111", Some("No Name!"), BY),
            Err(ActivateError::Name(_))
        ));
        activate(&mut registry, "111111", Some("kitchen"), BY).expect("taken in");
        waits(&mut registry, "222222", MAC, "uuid-2");
        let known = activate(&mut registry, "222222", Some("other"), BY);
        assert!(matches!(known, Err(ActivateError::Known { name }) if name == "kitchen"));
        registry.forget_device("kitchen", BY).expect("forgotten");
        activate(&mut registry, "222222", Some("other"), BY).expect("taken in");
    }

    #[test]
    fn codes_run_out_and_names_that_are_taken_get_a_number() {
        let (_folder, mut registry) = fresh();
        waits(&mut registry, "333333", MAC, "uuid-1");
        let late = By { at: 2000, ..BY };
        assert!(matches!(
            activate(&mut registry, "333333", None, late),
            Err(ActivateError::Unknown(_))
        ));
        let other = MacAddress([4, 0, 0, 0xdd, 0xee, 0xff]);
        let first = take_in(&mut registry, &ClientId::new("b", MAC, "u"), 1000).expect("taken in");
        let second = take_in(&mut registry, &ClientId::new("b", other, "u"), 1000);
        assert_eq!(first.name, "xiaozhi-ddeeff");
        assert_eq!(second.expect("taken in").name, "xiaozhi-ddeeff-2");
        registry
            .add_user(&user("xiaozhi-ddeef0"), BY)
            .expect("added");
        let beside = MacAddress([2, 0, 0, 0xdd, 0xee, 0xf0]);
        let beside = take_in(&mut registry, &ClientId::new("b", beside, "u"), 1000);
        assert_eq!(beside.expect("taken in").name, "xiaozhi-ddeef0-2");
        // A second check of the same device, before the news of the first arrived.
        let again = take_in(&mut registry, &ClientId::new("b", MAC, "u"), 1001).expect("known");
        assert_eq!(again, first);
        assert!(take_in(&mut registry, &ClientId::new("b", MAC, "v"), 1001).is_err());
    }
    #[test]
    fn a_newcomer_is_named_after_a_few_looks_however_many_have_the_same_end_of_their_address() {
        let mut looks = 0;
        let name = free_name(MAC, |_| {
            looks += 1;
            Ok(true)
        });
        assert_eq!(name.expect("a name").as_str(), "xiaozhi-020000ddeeff");
        assert_eq!(looks, XIAOZHI_NAMES);

        let (_folder, mut registry) = fresh();
        let mut names = std::collections::BTreeSet::new();
        for first in 0..2 * XIAOZHI_NAMES as u8 {
            let mac = MacAddress([2, first, 0, 0xdd, 0xee, 0xff]);
            let taken = take_in(&mut registry, &ClientId::new("b", mac, "u"), 1000);
            assert!(names.insert(taken.expect("taken in").name), "{first}");
        }
        assert!(names.contains("xiaozhi-ddeeff"));
        assert!(names.contains("xiaozhi-ddeeff-2"));
        assert!(names.contains(&format!("xiaozhi-02{:02x}00ddeeff", 2 * XIAOZHI_NAMES - 1)));
    }
}
