//! Who may log in and what they may do, as the loops need it: read from the registry as a whole,
//! replaced as a whole.

use std::collections::HashMap;
use std::sync::Arc;

use safeport_broker::{Permissions, TopicRights};
use safeport_fleet::{Device, Family, Grant};
use safeport_store::{DeviceRecord, Rights, Secret, Snapshot};

use super::recent::Recent;
use super::xiaozhi::{Enrolled, XiaozhiDevice};
use crate::limits::CLAIMS;

/// One login.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) hash: Secret,
    pub(super) enabled: bool,
    pub(super) permissions: Arc<Permissions>,
    /// The name of the device that this login belongs to; `None` for a person or a program.
    pub(super) device: Option<String>,
}

impl Account {
    /// Whether a connection admitted under `self` must end now that `later` is what the registry
    /// says.
    fn is_revoked_by(&self, later: Option<&Account>) -> bool {
        later.is_none_or(|later| {
            self.hash != later.hash
                || self.enabled != later.enabled
                || self.permissions != later.permissions
                || self.device != later.device
        })
    }
}

/// A row of the registry that cannot be understood, so that its login is refused.
#[derive(Debug, thiserror::Error)]
#[error("device `{name}` in the registry is unreadable ({why}); forget it and add it again")]
pub(super) struct UnreadableDevice {
    /// The name in the row.
    pub(super) name: String,
    /// What is wrong with it.
    pub(super) why: String,
}

/// Every login, by user name, and every device, by the client ids it owns.
#[derive(Debug)]
pub(super) struct Accounts {
    logins: HashMap<String, Account>,
    devices: Vec<Device>,
    /// Client id → name of the device that owns it, so that a login costs one look-up and not a
    /// walk over all devices.
    owners: Recent<String, Option<String>>,
    /// xiaozhi devices by hardware address: they log in with passwords that are made of a key.
    xiaozhi: Arc<Enrolled>,
}

impl Accounts {
    /// The accounts of `snapshot`, and the rows that could not be understood.
    pub(super) fn new(snapshot: Snapshot) -> (Accounts, Vec<UnreadableDevice>) {
        let mut logins = HashMap::new();
        let mut devices = Vec::new();
        let mut unreadable = Vec::new();
        let mut xiaozhi = Enrolled::new();
        for user in snapshot.users {
            let account = Account {
                hash: user.password_hash,
                enabled: user.enabled,
                permissions: permissions(&user.name, user.rights, None),
                device: None,
            };
            logins.insert(user.name, account);
        }
        for record in snapshot.devices {
            let hash = record.password_hash.clone();
            let name = record.name.clone();
            let tags = record.tags.clone();
            match device(record) {
                Ok(device) => {
                    if let Some(mac) = device.mac
                        && let Some(enrolled) = XiaozhiDevice::of(&device, tags)
                    {
                        xiaozhi.insert(mac, enrolled);
                    }
                    let grant = device.grant();
                    let rights = Rights {
                        publish: grant.publish,
                        subscribe: grant.subscribe,
                    };
                    let account = Account {
                        hash,
                        enabled: true,
                        permissions: permissions(&device.username, rights, Some(device.family)),
                        device: Some(name),
                    };
                    logins.insert(device.username.clone(), account);
                    devices.push(device);
                }
                Err(why) => unreadable.push(UnreadableDevice { name, why }),
            }
        }
        let accounts = Accounts {
            logins,
            devices,
            owners: Recent::new(CLAIMS),
            xiaozhi: Arc::new(xiaozhi),
        };
        (accounts, unreadable)
    }

    pub(super) fn get(&self, username: &str) -> Option<&Account> {
        self.logins.get(username)
    }

    pub(super) fn xiaozhi(&self) -> &Arc<Enrolled> {
        &self.xiaozhi
    }

    pub(super) fn len(&self) -> usize {
        self.logins.len()
    }

    /// Logins whose connections must end because `later` no longer admits them as they were.
    pub(super) fn revoked_by(&self, later: &Accounts) -> Vec<String> {
        let mut names: Vec<String> = self
            .logins
            .iter()
            .filter(|(name, account)| account.is_revoked_by(later.get(name)))
            .map(|(name, _)| name.clone())
            .collect();
        names.sort();
        names
    }

    /// The name of the device that owns `client_id`.
    pub(super) fn owner(&mut self, client_id: &str) -> Option<String> {
        if self.devices.is_empty() {
            return None;
        }
        if let Some(owner) = self.owners.get(client_id) {
            return owner.clone();
        }
        let owner = self
            .devices
            .iter()
            .find(|device| device.owns_client_id(client_id))
            .map(|device| device.name.as_str().to_owned());
        self.owners.insert(client_id.to_owned(), owner.clone());
        owner
    }
}

fn permissions(username: &str, rights: Rights, family: Option<Family>) -> Arc<Permissions> {
    Arc::new(Permissions {
        user: Some(username.to_owned()),
        publish: TopicRights::Filters(rights.publish),
        subscribe: TopicRights::Filters(rights.subscribe),
        to_server: family.and_then(Family::server_topic).map(str::to_owned),
    })
}

/// The device of a row; the error says which field is unreadable.
pub(crate) fn device(record: DeviceRecord) -> Result<Device, String> {
    Ok(Device {
        name: record
            .name
            .parse()
            .map_err(|error: safeport_fleet::NameError| error.to_string())?,
        family: record
            .family
            .parse()
            .map_err(|error: safeport_fleet::FamilyError| error.to_string())?,
        topic: record.topic,
        client_id: record.client_id,
        username: record.username,
        mac: record
            .mac
            .map(|mac| mac.parse())
            .transpose()
            .map_err(|error: safeport_fleet::MacAddressError| error.to_string())?,
        extra: Grant {
            publish: record.extra.publish,
            subscribe: record.extra.subscribe,
        },
        created: record.created,
    })
}
