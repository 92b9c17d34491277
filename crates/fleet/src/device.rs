//! One physical board: its identities and the topics it needs.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::name::check_topic_path;
use crate::{DeviceName, Family, Grant, MacAddress, NameError, TopicPathError, limits};

/// A device as the registry knows it. The password is not part of it: only its
/// hash is kept, by the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its one name.
    pub name: DeviceName,
    /// Which firmware it runs.
    pub family: Family,
    /// Where its own topics grow: Tasmota's `Topic`, ESPEasy's and plain
    /// firmware's first level, ESPHome's `topic_prefix`. Default: the name.
    pub topic: String,
    /// The client identifier that setup tells it to use.
    pub client_id: String,
    /// The login name. The name itself.
    pub username: String,
    /// Its hardware address, once known.
    pub mac: Option<MacAddress>,
    /// Rights beyond the family's pattern.
    pub extra: Grant,
    /// When it was added, in seconds since 1970.
    pub created: u64,
}

impl Device {
    /// A device whose topic, client identifier and login name follow from its
    /// name. (For xiaozhi, from its hardware address when that is known.)
    ///
    /// # Errors
    /// The name is longer than this family's firmware can store.
    pub fn new(
        name: DeviceName,
        family: Family,
        mac: Option<MacAddress>,
        created: u64,
    ) -> Result<Device, NameError> {
        let (limit, who) = match family {
            Family::EspEasy => (limits::MAX_ESPEASY_NAME, "an ESPEasy unit name"),
            Family::EspHome => (limits::MAX_ESPHOME_NAME, "an ESPHome node name"),
            Family::Tasmota | Family::Xiaozhi | Family::Plain => {
                (limits::MAX_NAME, "a device name")
            }
        };
        if name.as_str().len() > limit {
            return Err(NameError::TooLong {
                name: name.to_string(),
                length: name.as_str().len(),
                limit,
                who,
            });
        }
        let (topic, client_id) = match (family, mac) {
            (Family::Xiaozhi, Some(mac)) => {
                let mac = mac.with_underscores();
                (mac.clone(), format!("GID_default@@@{mac}@@@{mac}"))
            }
            _ => (name.to_string(), name.to_string()),
        };
        Ok(Device {
            username: name.to_string(),
            name,
            family,
            topic,
            client_id,
            mac,
            extra: Grant::default(),
            created,
        })
    }

    /// The same device under another topic, for instance `kitchen/plug`.
    ///
    /// # Errors
    /// The topic has wildcards, empty levels or characters that firmware
    /// mangles, or belongs to many devices.
    pub fn with_topic(mut self, topic: &str) -> Result<Device, TopicPathError> {
        let below_prefix = matches!(self.family, Family::Tasmota | Family::Xiaozhi);
        check_topic_path(topic, below_prefix)?;
        self.topic = topic.to_string();
        Ok(self)
    }

    /// What the device may publish and subscribe: its family's pattern filled
    /// in, and `extra`.
    pub fn grant(&self) -> Grant {
        let topic = &self.topic;
        let name = &self.name;
        let mut grant = match self.family {
            Family::Tasmota => self.tasmota_grant(),
            // C005 subscribes to `%sysname%/#` and so hears its own values.
            Family::EspEasy | Family::Plain => Grant {
                publish: list([format!("{topic}/#")]),
                subscribe: list([format!("{topic}/#")]),
            },
            // Discovery and ping ignore `topic_prefix`. A server that answers
            // them with a disconnect makes the device reconnect for ever.
            Family::EspHome => Grant {
                publish: list([
                    format!("{topic}/#"),
                    format!("homeassistant/+/{name}/#"),
                    format!("esphome/discover/{name}"),
                    format!("esphome/ping/{name}"),
                ]),
                subscribe: list([
                    format!("{topic}/#"),
                    "esphome/discover".to_string(),
                    format!("esphome/discover/{name}"),
                    format!("esphome/ping/{name}"),
                ]),
            },
            // Every xiaozhi publishes to one shared topic: who spoke is told by
            // the authenticated client, never by the payload. Only old firmware
            // subscribes, to its own topic.
            Family::Xiaozhi => Grant {
                publish: list(["device-server".to_string()]),
                subscribe: list([format!("devices/p2p/{topic}")]),
            },
        };
        grant.extend(&self.extra);
        grant
    }

    /// Tasmota with its default FullTopic `%prefix%/%topic%/`.
    fn tasmota_grant(&self) -> Grant {
        let topic = &self.topic;
        let discovery = match self.mac {
            Some(mac) => mac.to_plain_upper(),
            // Unknown until the device has spoken. `+` lets it write the
            // discovery entry of another device, not control that device.
            None => "+".to_string(),
        };
        let mut subscribe = list([
            format!("cmnd/{topic}/#"),
            // The default GroupTopic: what is sent there is meant for all.
            "cmnd/tasmotas/#".to_string(),
            // The fallback topic follows MqttClient, which setup sets to a name
            // that we know. With the factory's `DVES_%06X` it would hang on the
            // MAC, unknown when the device is added.
            format!("cmnd/{}_fb/#", self.client_id),
        ]);
        if let Some(mac) = self.mac {
            subscribe.push(format!("cmnd/DVES_{}_fb/#", mac.last_six()));
        }
        Grant {
            publish: list([
                format!("stat/{topic}/#"),
                format!("tele/{topic}/#"),
                format!("tasmota/discovery/{discovery}/config"),
                format!("tasmota/discovery/{discovery}/sensors"),
                // Sent empty on every connect to ask itself for its state.
                format!("cmnd/{topic}/POWER"),
            ]),
            subscribe,
        }
    }

    /// Whether `id` is this device's client identifier: the one that setup
    /// gave it, or one that its firmware forms by itself.
    ///
    /// A second connection under a client identifier ends the first
    /// [MQTT-3.1.4-3]. So a login under an identifier that *another* device
    /// owns is to be refused, or one device could push out another.
    pub fn owns_client_id(&self, id: &str) -> bool {
        if id == self.client_id || id == self.name.as_str() {
            return true;
        }
        let after_name = || id.strip_prefix(self.name.as_str());
        match self.family {
            // MqttClient's default is `DVES_%06X`.
            Family::Tasmota => self
                .mac
                .is_some_and(|mac| id.strip_prefix("DVES_") == Some(&mac.last_six())),
            // `%sysname%_%unit%`, and an option appends `_<reconnects>`.
            Family::EspEasy => after_name().is_some_and(|rest| {
                rest.starts_with('_') && rest.split('_').skip(1).all(is_digits)
            }),
            // `<name>-<mac>`.
            Family::EspHome => after_name()
                .and_then(|rest| rest.strip_prefix('-'))
                .and_then(|rest| rest.parse::<MacAddress>().ok())
                .is_some_and(|mac| self.mac.is_none_or(|own| own == mac)),
            // `<group>@@@<mac with underscores>@@@<uuid>`.
            Family::Xiaozhi => id
                .split("@@@")
                .nth(1)
                .and_then(|mac| mac.parse::<MacAddress>().ok())
                .is_some_and(|mac| self.mac == Some(mac)),
            // ESP-IDF's default is `ESP32_%CHIPID%`.
            Family::Plain => self
                .mac
                .is_some_and(|mac| id.strip_prefix("ESP32_") == Some(&mac.last_six())),
        }
    }

    /// Whether the two would write or hear each other's own topics: one topic
    /// equals the other or lies below it. Two such devices cannot be kept
    /// apart, so the second is not to be added.
    pub fn clashes_with(&self, other: &Device) -> bool {
        self.roots()
            .iter()
            .any(|mine| other.roots().iter().any(|theirs| nested(mine, theirs)))
    }

    /// The topics that this device has for itself, without the `/#`.
    fn roots(&self) -> Vec<String> {
        let topic = &self.topic;
        match self.family {
            Family::Tasmota => list([
                format!("cmnd/{topic}"),
                format!("cmnd/{}_fb", self.client_id),
                format!("stat/{topic}"),
                format!("tele/{topic}"),
            ]),
            Family::EspEasy | Family::EspHome | Family::Plain => list([topic.clone()]),
            Family::Xiaozhi => list([format!("devices/p2p/{topic}")]),
        }
    }
}

fn nested(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() <= other.len() {
        (one, other)
    } else {
        (other, one)
    };
    long.strip_prefix(short)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn list<const N: usize>(filters: [String; N]) -> Vec<String> {
    Vec::from(filters)
}

#[cfg(test)]
mod tests;
