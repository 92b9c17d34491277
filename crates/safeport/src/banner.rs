//! What a newcomer reads when the server is up: what listens where, what devices are told, and
//! the next command to type.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use safeport_settings::{AdvertisedAddress, HostName, Said, Scheme};

use crate::program::{self, quoted};
use crate::text::Texts;
use crate::{lan, say};

/// One bound listener.
#[derive(Clone, Debug)]
pub struct Listening {
    /// `mqtt`, `mqtts`, `http`, `https`, `ntp` or `voice`.
    pub name: &'static str,
    /// Where it is bound; a port of 0 in the settings has become a real one.
    pub address: SocketAddr,
}

/// A server that is up.
#[derive(Debug)]
pub struct Banner {
    /// Every bound listener.
    pub listening: Vec<Listening>,
    /// The data folder.
    pub data: PathBuf,
    /// The addresses that devices are told, and why one is not proved to reach this server.
    pub told: Vec<(AdvertisedAddress, Option<Said>)>,
    /// Whether commands must name the data folder to find this one.
    pub data_is_unusual: bool,
    /// Whether clients come in without a login.
    pub anonymous: bool,
    /// Users and devices that may log in.
    pub logins: usize,
    /// Whether addresses typed without a port could be made to work.
    pub suggest_standard: bool,
}

impl Banner {
    /// The banner as text, without a line break at its end.
    pub fn text(&self, texts: &Texts) -> String {
        let mut text = say!(texts, "banner-serving", version = env!("CARGO_PKG_VERSION"));
        text.push('\n');
        for listening in &self.listening {
            let about = match listening.name {
                "mqtt" => say!(texts, "banner-mqtt"),
                "mqtts" => say!(texts, "banner-mqtts"),
                "https" => say!(texts, "banner-https"),
                "ntp" => say!(texts, "banner-ntp"),
                "voice" => say!(texts, "banner-voice"),
                _ => say!(texts, "banner-http"),
            };
            let (name, address) = (listening.name, listening.address.to_string());
            let _ = write!(text, "\n  {name:<6} {address:<21}  {about}");
        }
        text.push('\n');
        if self.told.is_empty() {
            text.push_str("\n  ");
            text.push_str(&say!(texts, "banner-told-nothing"));
        }
        let listed = |wanted: bool| {
            let addresses: Vec<String> = self
                .told
                .iter()
                .filter(|(_, doubt)| doubt.is_none() == wanted)
                .map(|(address, _)| address.to_string())
                .collect();
            (!addresses.is_empty()).then(|| addresses.join(", "))
        };
        if let Some(addresses) = listed(true) {
            text.push_str("\n  ");
            text.push_str(&say!(texts, "banner-advertised", addresses = addresses));
        }
        if let Some(addresses) = listed(false) {
            text.push_str("\n  ");
            text.push_str(&say!(texts, "banner-unproved", addresses = addresses));
            if let Some(why) = self.told.iter().find_map(|(_, doubt)| doubt.as_ref()) {
                text.push_str("\n    ");
                text.push_str(why.in_language(texts.language().into()));
            }
        }
        text.push_str("\n  ");
        text.push_str(&say!(texts, "banner-data", path = self.data.display()));
        text.push_str("\n  ");
        text.push_str(&if self.anonymous {
            say!(texts, "banner-anonymous")
        } else {
            say!(texts, "banner-logins", count = self.logins)
        });
        if self.suggest_standard {
            text.push_str("\n  ");
            text.push_str(&say!(texts, "suggest-standard"));
        }
        text.push_str("\n\n");
        text.push_str(&self.next_step(texts));
        text
    }

    /// The banner as data, for `serve --json`.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "listeners": self.listening.iter().map(|listening| serde_json::json!({
                "name": listening.name,
                "address": listening.address.to_string(),
            })).collect::<Vec<_>>(),
            "advertised": self.told.iter().map(|(address, doubt)| serde_json::json!({
                "url": address.to_string(),
                "proved": doubt.is_none(),
            })).collect::<Vec<_>>(),
            "data": self.data,
            "anonymous": self.anonymous,
            "logins": self.logins,
        })
    }

    /// Whether the listener that devices are told about is reachable from this machine only.
    fn is_loopback(&self) -> bool {
        self.listening
            .iter()
            .all(|listening| listening.address.ip().to_canonical().is_loopback())
    }

    fn next_step(&self, texts: &Texts) -> String {
        let data = if self.data_is_unusual {
            format!(" --data {}", quoted(&self.data.to_string_lossy()))
        } else {
            String::new()
        };
        let mqtt = self
            .listening
            .iter()
            .find(|listening| listening.name == "mqtt");
        let to = mqtt.map(|listening| {
            let told = self
                .told
                .iter()
                .find(|(address, _)| address.scheme() == Scheme::Mqtt);
            match told {
                Some((address, _)) => match address.host() {
                    HostName::Ip(ip) => format!("-h {ip} -p {}", address.port()),
                    HostName::Name(name) => format!("-h {} -p {}", name.as_str(), address.port()),
                },
                None => {
                    let host = lan::advertised_host(listening.address);
                    format!("-h {host} -p {}", listening.address.port())
                }
            }
        });
        let program = program::name();
        let mut lines = Vec::new();
        if self.anonymous {
            if self.is_loopback() {
                lines.push(say!(texts, "next-open-loopback"));
            } else {
                lines.push(say!(texts, "next-open-everywhere"));
            }
            if let (Some(to), Some(mqtt)) = (&to, mqtt) {
                lines.push(say!(texts, "next-try"));
                lines.push(format!("  mosquitto_sub {to} -v -t '#'"));
                lines.push(format!("  mosquitto_pub {to} -t hello -m world"));
                lines.push(format!(
                    "  {program} simulate tasmota{}",
                    route(mqtt.address)
                ));
            }
        } else if self.logins == 0 {
            lines.push(say!(texts, "next-first-login"));
            lines.push(say!(texts, "next-device"));
            lines.push(format!(
                "  {program} device add tasmota --name plug-1{data}"
            ));
            lines.push(say!(texts, "next-user"));
            lines.push(format!("  {program} user add me{data}"));
            if let Some(to) = to {
                lines.push(format!("  mosquitto_sub {to} -u me -P PASSWORD -v -t '#'"));
            }
        } else {
            lines.push(say!(texts, "next-more"));
            lines.push(format!(
                "  {program} device add tasmota --name plug-1{data}"
            ));
            if let Some(to) = to {
                lines.push(say!(texts, "next-watch"));
                lines.push(format!(
                    "  mosquitto_sub {to} -u NAME -P PASSWORD -v -t '#'"
                ));
            }
        }
        lines.join("\n")
    }
}

/// The options that lead `safeport simulate` to `bound`; none where its defaults do.
fn route(bound: SocketAddr) -> String {
    let host = lan::advertised_host(bound);
    let mut options = String::new();
    if !host.is_loopback() || host.is_ipv6() {
        let _ = write!(options, " --host {host}");
    }
    if bound.port() != 1883 {
        let _ = write!(options, " --port {}", bound.port());
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Language;

    fn banner() -> Banner {
        Banner {
            listening: vec![
                Listening {
                    name: "mqtt",
                    address: "127.0.0.1:1883".parse().expect("an address"),
                },
                Listening {
                    name: "http",
                    address: "127.0.0.1:8002".parse().expect("an address"),
                },
            ],
            data: PathBuf::from("/tmp/my data"),
            data_is_unusual: true,
            anonymous: false,
            logins: 0,
            suggest_standard: false,
            told: vec![(
                AdvertisedAddress::parse("mqtt://127.0.0.1:1883").expect("an address"),
                None,
            )],
        }
    }

    #[test]
    fn a_server_without_logins_says_how_to_add_the_first_in_both_languages() {
        for language in [Language::English, Language::Chinese] {
            let text = banner().text(&Texts::new(language));
            assert!(
                text.contains(" device add tasmota --name plug-1 --data '/tmp/my data'"),
                "{text}"
            );
            assert!(
                text.contains("mosquitto_sub -h 127.0.0.1 -p 1883 -u me"),
                "{text}"
            );
        }
    }

    #[test]
    fn an_open_server_shows_a_line_that_works_without_a_login() {
        let mut open = banner();
        open.anonymous = true;
        let text = open.text(&Texts::new(Language::English));
        assert!(
            text.contains("mosquitto_sub -h 127.0.0.1 -p 1883 -v -t '#'"),
            "{text}"
        );
        assert!(text.ends_with(" simulate tasmota"), "{text}");
    }

    #[test]
    fn an_address_that_is_not_proved_says_why_and_what_would_prove_it() {
        let mut doubtful = banner();
        let address = AdvertisedAddress::parse("mqtt://172.18.0.2:1883").expect("an address");
        let why = Said::new("a container's own address", "容器自己的地址");
        doubtful.told = vec![(address, Some(why))];
        let english = doubtful.text(&Texts::new(Language::English));
        assert!(
            english.contains("mqtt://172.18.0.2:1883\n    a container's own address"),
            "{english}"
        );
        let chinese = doubtful.text(&Texts::new(Language::Chinese));
        assert!(chinese.contains("容器自己的地址"), "{chinese}");
        doubtful.told.clear();
        let none = doubtful.text(&Texts::new(Language::English));
        assert!(none.contains(" ports` shows why"), "{none}");
    }

    #[test]
    fn the_pretend_plug_is_told_only_what_its_defaults_do_not_say() {
        let route = |bound: &str| route(bound.parse().expect("an address"));
        assert_eq!(route("127.0.0.1:1883"), "");
        assert_eq!(route("127.0.0.1:2883"), " --port 2883");
        assert_eq!(route("192.168.1.20:1883"), " --host 192.168.1.20");
        assert_eq!(route("[::1]:1883"), " --host ::1");
    }

    #[test]
    fn the_json_names_every_listener_with_its_real_port() {
        let json = banner().json();
        assert_eq!(json["listeners"][1]["address"], "127.0.0.1:8002");
    }
}
