//! Which login is which device's, as the registry says.

use std::collections::{BTreeMap, HashMap, HashSet};

use safeport_fleet::{Device, DeviceName, Enrolment, Grant, Text};
use safeport_mqtt::TopicFilter;
use safeport_store::DeviceRecord;

use crate::serve::access;

/// Logins of devices, by user name, and who else has a login.
#[derive(Debug, Default)]
pub(super) struct Logins {
    by_user: HashMap<String, Own>,
    people: HashSet<String>,
}

/// What a device's login may speak of.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) name: DeviceName,
    /// Its own topics, without what it was granted beyond them.
    publish: Vec<String>,
}

/// What the registry says, made ready.
pub(super) struct Enrolled {
    pub(super) logins: Logins,
    pub(super) enrolments: BTreeMap<DeviceName, Enrolment>,
}

impl Logins {
    pub(super) fn device(&self, user: &str) -> Option<&Own> {
        self.by_user.get(user)
    }

    /// Whether nobody has this login, as far as we know: its device may be new.
    pub(super) fn lack(&self, user: &str) -> bool {
        !self.by_user.contains_key(user) && !self.people.contains(user)
    }
}

impl Own {
    /// Whether the topic is the device's own: what it says there it says of itself.
    pub(super) fn speaks_of_itself(&self, topic: &str) -> bool {
        self.publish
            .iter()
            .filter_map(|filter| TopicFilter::new(filter).ok())
            .any(|filter| filter.matches(topic))
    }
}

impl Enrolled {
    /// Rows that cannot be understood are left out: the gate says so.
    pub(super) fn of(records: Vec<DeviceRecord>, people: impl Iterator<Item = String>) -> Enrolled {
        let mut logins = Logins {
            people: people.collect(),
            ..Logins::default()
        };
        let mut enrolments = BTreeMap::new();
        for record in records {
            let tags: Vec<Text> = record.tags.iter().map(|tag| tag.as_str().into()).collect();
            let Ok(device) = access::device(record) else {
                continue;
            };
            let enrolment = Enrolment {
                name: device.name.clone(),
                family: device.family,
                mac: device.mac,
                client_id: device.client_id.as_str().into(),
                topic: device.topic.as_str().into(),
                tags,
                created: device.created,
            };
            enrolments.insert(device.name.clone(), enrolment);
            let user = device.username.clone();
            logins.by_user.insert(user, Own::of(device));
        }
        Enrolled { logins, enrolments }
    }
}

impl Own {
    fn of(device: Device) -> Own {
        let own = Device {
            extra: Grant::default(),
            ..device
        };
        Own {
            publish: own.grant().publish,
            name: own.name,
        }
    }
}
