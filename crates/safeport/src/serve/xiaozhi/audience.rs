//! What single devices and tags are told in place of the others (`config set --device`, `--tag`).

use std::collections::HashMap;

use safeport_settings::{AdvertisedHost, Settings, XiaozhiTransport};
use safeport_store::{ManagedRow, Scope};

use crate::serve::access::XiaozhiDevice;

/// The way of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) transport: Option<XiaozhiTransport>,
    /// The host that it is told, of the addresses that are proved.
    pub(super) host: Option<String>,
}

/// All that is told to some and not to others.
#[derive(Debug, Default)]
pub(super) struct Audience {
    devices: HashMap<String, Wish>,
    /// The tag that wins first.
    tags: Vec<(String, Wish)>,
}

impl Audience {
    pub(super) fn of(settings: &Settings, managed: &[ManagedRow]) -> Audience {
        let mut audience = Audience::default();
        for row in managed {
            let wish = match &row.scope {
                Scope::Everyone => continue,
                Scope::Device(name) => audience.devices.entry(name.clone()).or_default(),
                Scope::Tag(tag) => {
                    let at = audience.tags.iter().position(|(known, _)| known == tag);
                    let at = at.unwrap_or_else(|| {
                        audience.tags.push((tag.clone(), Wish::default()));
                        audience.tags.len() - 1
                    });
                    &mut audience.tags[at].1
                }
            };
            match row.key.as_str() {
                "advertise.xiaozhi" => wish.transport = XiaozhiTransport::parse_toml(&row.value),
                "advertise.host" => {
                    wish.host = match AdvertisedHost::parse_toml(&row.value) {
                        Some(AdvertisedHost::Host(host)) => Some(host.to_string()),
                        Some(AdvertisedHost::Auto) | None => None,
                    }
                }
                _ => {}
            }
        }
        // The later of `tags.order` wins; what does not stand there, last of all.
        let order = &settings.tags.order;
        let place = |tag: &str| order.iter().position(|known| known.to_string() == tag);
        audience
            .tags
            .sort_by_key(|(tag, _)| std::cmp::Reverse(place(tag)));
        audience
    }

    /// What this device is told; empty for what all are told.
    pub(super) fn wish(&self, device: &XiaozhiDevice) -> Wish {
        if self.devices.is_empty() && self.tags.is_empty() {
            return Wish::default();
        }
        let mut wish = self.devices.get(&device.name).cloned().unwrap_or_default();
        for (tag, of_tag) in &self.tags {
            if device.tags.contains(tag) {
                wish.transport = wish.transport.or(of_tag.transport);
                wish.host = wish.host.or_else(|| of_tag.host.clone());
            }
        }
        wish
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safeport_settings::{FileSource, Sources};

    fn row(scope: Scope, key: &str, value: &str) -> ManagedRow {
        ManagedRow {
            scope,
            key: key.to_owned(),
            value: value.to_owned(),
            secret: false,
            revision: 1,
            who: "test".to_owned(),
            at: 0,
        }
    }

    fn device(name: &str, tags: &[&str]) -> XiaozhiDevice {
        XiaozhiDevice {
            name: name.to_owned(),
            uuid: None,
            created: 0,
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        }
    }

    #[test]
    fn a_device_goes_before_its_tags_and_a_later_tag_before_an_earlier_one() {
        let sources = Sources {
            files: vec![FileSource {
                path: "safeport.toml",
                text: "tags.order = ['home', 'attic']",
                drop_in: false,
            }],
            ..Sources::default()
        };
        let settings = Settings::parse(&sources).expect("settings");
        let tag = |tag: &str| Scope::Tag(tag.to_owned());
        let audience = Audience::of(
            &settings,
            &[
                row(tag("home"), "advertise.xiaozhi", "\"mqtt\""),
                row(tag("attic"), "advertise.xiaozhi", "\"websocket\""),
                row(tag("home"), "advertise.host", "\"10.0.0.7\""),
                row(
                    Scope::Device("one".to_owned()),
                    "advertise.xiaozhi",
                    "\"mqtts\"",
                ),
            ],
        );
        let wish = |name: &str, tags: &[&str]| audience.wish(&device(name, tags));
        assert_eq!(
            wish("one", &["home"]).transport,
            Some(XiaozhiTransport::Mqtts)
        );
        assert_eq!(wish("one", &["home"]).host.as_deref(), Some("10.0.0.7"));
        assert_eq!(
            wish("two", &["home", "attic"]).transport,
            Some(XiaozhiTransport::WebSocket)
        );
        assert_eq!(
            wish("two", &["home"]).transport,
            Some(XiaozhiTransport::Mqtt)
        );
        assert_eq!(wish("two", &[]), Wish::default());
    }
}
