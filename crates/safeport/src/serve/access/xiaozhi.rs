//! Logins of xiaozhi devices: their passwords are made of a key when they check, and none is
//! stored.
//!
//! Such a login names its device in the client identifier. It holds for the device that was
//! enrolled with that hardware address and that Client-Id, and comes in as any other login of
//! the device: under its name, with its rights, gone when it is forgotten.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use safeport_engine::Verdict;
use safeport_fleet::{Device, Family, MacAddress};
use safeport_xiaozhi::{ClientId, Username, verify_mqtt_password};

use super::door::{Caller, Refusal};
use super::{Access, Ordering};

/// xiaozhi devices by hardware address.
pub(super) type Enrolled = HashMap<MacAddress, Arc<XiaozhiDevice>>;

/// A xiaozhi device that somebody has taken in.
#[derive(Debug, PartialEq, Eq)]
pub struct XiaozhiDevice {
    /// Its name, under which it logs in.
    pub name: String,
    /// The identifier that it drew for itself, as it stands in its client identifier. `None` if it
    /// was added by its hardware address alone: then whoever has that is the device.
    pub uuid: Option<String>,
    /// When it was taken in, in seconds since 1970. A login that was made before belonged to an
    /// earlier enrolment.
    pub created: u64,
    /// Its tags, by which it may be told something else than others.
    pub tags: Vec<String>,
}

impl XiaozhiDevice {
    pub(super) fn of(device: &Device, tags: Vec<String>) -> Option<Arc<XiaozhiDevice>> {
        if device.family != Family::Xiaozhi {
            return None;
        }
        let id = device.client_id.parse::<ClientId>().ok();
        // Without a Client-Id the registry has the address twice, as other servers write it.
        let address = device.mac.map(MacAddress::with_underscores);
        let uuid = id
            .and_then(|id| id.uuid)
            .filter(|uuid| Some(uuid) != address.as_ref());
        Some(Arc::new(XiaozhiDevice {
            name: device.name.as_str().to_owned(),
            uuid,
            created: device.created,
            tags,
        }))
    }

    /// Whether a device that calls itself so is this one.
    pub fn is(&self, client_id: &ClientId) -> bool {
        self.uuid.is_none() || self.uuid == client_id.uuid
    }
}

/// What such logins are judged by.
#[derive(Debug)]
pub(super) struct XiaozhiLogins {
    enrolled: RwLock<Arc<Enrolled>>,
    /// Empty: none is admitted.
    key: RwLock<Arc<[u8]>>,
}

impl XiaozhiLogins {
    pub(super) fn new(enrolled: Arc<Enrolled>) -> XiaozhiLogins {
        XiaozhiLogins {
            enrolled: RwLock::new(enrolled),
            key: RwLock::new(Arc::from([])),
        }
    }

    pub(super) fn replace(&self, enrolled: Arc<Enrolled>) {
        *self
            .enrolled
            .write()
            .unwrap_or_else(PoisonError::into_inner) = enrolled;
    }

    fn enrolled(&self, mac: MacAddress) -> Option<Arc<XiaozhiDevice>> {
        let enrolled = self.enrolled.read();
        let enrolled = enrolled.unwrap_or_else(PoisonError::into_inner);
        enrolled.get(&mac).cloned()
    }
}

impl Access {
    /// The xiaozhi device that is enrolled with this hardware address. From memory, at most
    /// 250 ms old.
    pub fn xiaozhi(&self, mac: MacAddress) -> Option<Arc<XiaozhiDevice>> {
        self.xiaozhi.enrolled(mac)
    }

    /// The key of their passwords from now on; empty admits nobody by such a password.
    pub fn set_xiaozhi_key(&self, key: &[u8]) {
        *self
            .xiaozhi
            .key
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::from(key);
    }

    /// The verdict on a login that names an enrolled xiaozhi device; `None` if it does not, or
    /// logs in with a password that is stored.
    pub(super) fn xiaozhi_login(&self, caller: &Caller<'_>, again: bool) -> Option<Verdict> {
        let id: ClientId = caller.client_id.parse().ok()?;
        let device = self.xiaozhi.enrolled(id.mac)?;
        let username = caller.username?;
        if username == device.name {
            return None;
        }
        let key = self.xiaozhi.key.read();
        let key = key.unwrap_or_else(PoisonError::into_inner).clone();
        let said: Option<Username> = username.parse().ok();
        let fits = !key.is_empty()
            && id.uuid.is_some()
            && device.is(&id)
            && said.is_some_and(|said| said.at.is_none_or(|at| at >= device.created))
            && caller.password.is_some_and(|password| {
                verify_mqtt_password(&key, caller.client_id, username, password)
            });
        if !fits {
            // A name that is none of these is a person's or a program's, whose password is stored.
            username.parse::<Username>().ok()?;
            return Some(self.refuse(self.door(), caller, &Refusal::WrongPassword));
        }
        let mut door = self.door();
        match door.admit_xiaozhi(caller, &device.name) {
            Ok(permissions) => {
                let new = u64::from(!again);
                self.counts.admitted.fetch_add(new, Ordering::Relaxed);
                Some(Verdict::Admit(permissions))
            }
            Err(refusal) => Some(self.refuse(door, caller, &refusal)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    use safeport_engine::{Gatekeeper, Login};
    use safeport_xiaozhi::mqtt_password;

    use super::super::rows;
    use crate::probe::Proofs;

    const KEY: &[u8] = b"key of this server";
    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

    /// A gate with one device, taken in at second 100.
    fn access(client_id: &str) -> Access {
        let mut snapshot = rows::snapshot(&[("anna", "hash")], &[("voice-1", "hash")]);
        let device = &mut snapshot.devices[0];
        device.family = "xiaozhi".to_owned();
        device.mac = Some(MAC.to_string());
        device.client_id = client_id.to_owned();
        device.created = 100;
        let proofs = Arc::new(Proofs::new([7; 32]));
        let (access, jobs) = Access::new(snapshot, false, 30, proofs).expect("a gate");
        // Nothing here is verified by argon2.
        drop(jobs);
        access.set_xiaozhi_key(KEY);
        access
    }

    fn id(uuid: &str) -> String {
        ClientId::new("board", MAC, uuid).to_string()
    }

    fn come(access: &Access, client_id: &str, username: &str, password: &str) -> Option<String> {
        let verdict = access.decide_now(&Login {
            client_id,
            username: Some(username),
            password: Some(password.as_bytes()),
            peer: SocketAddr::from(([192, 168, 1, 66], 4711)),
            listener: "mqtt",
            tls: false,
            again: false,
        });
        match verdict? {
            Verdict::Admit(permissions) => permissions.user.clone(),
            Verdict::Refuse(_) => None,
        }
    }

    fn signed(client_id: &str, username: &str) -> String {
        mqtt_password(KEY, client_id, username)
    }

    #[test]
    fn a_device_comes_in_under_its_own_name_with_a_password_made_of_the_key() {
        let access = access(&id("uuid-1"));
        let username = Username::text(None, 200);
        let client_id = id("uuid-1");
        let password = signed(&client_id, &username);
        assert_eq!(
            come(&access, &client_id, &username, &password).as_deref(),
            Some("voice-1")
        );
        // The board's name is its own to change.
        let other_board = ClientId::new("other board", MAC, "uuid-1").to_string();
        let password = signed(&other_board, &username);
        assert!(come(&access, &other_board, &username, &password).is_some());
        access.set_xiaozhi_key(b"another key");
        assert!(come(&access, &other_board, &username, &password).is_none());
        access.set_xiaozhi_key(b"");
        let empty = mqtt_password(b"", &client_id, &username);
        assert!(come(&access, &client_id, &username, &empty).is_none());
    }

    #[test]
    fn another_device_another_enrolment_and_a_changed_name_stay_out() {
        let access = access(&id("uuid-1"));
        let username = Username::text(None, 200);
        let before = Username::text(None, 99);
        let other_mac = ClientId::new("board", MacAddress([2, 0, 0, 0, 0, 2]), "uuid-1");
        let short = format!("GID_board@@@{}", MAC.with_underscores());
        for (client_id, username) in [
            (id("uuid-2"), &username),
            (id("uuid-1"), &before),
            (other_mac.to_string(), &username),
            (short, &username),
        ] {
            let password = signed(&client_id, username);
            assert_eq!(
                come(&access, &client_id, username, &password),
                None,
                "{client_id}"
            );
        }
        let client_id = id("uuid-1");
        let password = signed(&client_id, &username);
        let later = Username::text(None, 201);
        assert_eq!(come(&access, &client_id, &later, &password), None);
        assert_eq!(access.xiaozhi(MAC).map(|device| device.created), Some(100));
    }

    #[test]
    fn a_device_that_was_added_by_its_address_alone_comes_with_any_client_id() {
        let twice = ClientId::new("default", MAC, &MAC.with_underscores()).to_string();
        let access = access(&twice);
        let username = Username::text(None, 200);
        for uuid in ["uuid-1", "uuid-2"] {
            let password = signed(&id(uuid), &username);
            assert!(come(&access, &id(uuid), &username, &password).is_some());
        }
    }
}
