//! What a person typed as the place to reach, what they meant, and what each firmware makes of it.
//!
//! A person pastes an address from a chat, a screen or a device's settings page. [`Target::read`] takes
//! out of it what was meant, however it is spelt. A device is less forgiving: [`Target::dialled`] says
//! which host and port its own parser gets out of the same text, and [`Target::clues`] what follows
//! from the difference.

mod clues;
mod dialect;
mod host;
mod read;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

pub use dialect::{Dialect, Dialled};
pub use host::Host;
use safeport_settings::Said;
pub use safeport_settings::Scheme;

use crate::{Clue, Facts};

/// A place to reach, as it was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As it was typed, user names and passwords covered.
    pub typed: String,
    /// None when only a host was given.
    pub scheme: Option<Scheme>,
    /// The host.
    pub host: Host,
    /// None when none was given, or when what was given is no port.
    pub port: Option<u16>,
    /// Path and query: empty, or beginning with `/`.
    pub path: String,
    /// As it was typed, for the parsers of firmware; not for people, it may hold a password.
    pub(crate) raw: String,
    /// What had to be mended, in the order found.
    pub(crate) slips: Vec<Slip>,
}

/// What stands at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// An MQTT broker.
    Mqtt,
    /// A WebSocket server, as xiaozhi uses it.
    Websocket,
    /// The address at which a xiaozhi device asks for its settings.
    Ota,
    /// Other HTTP: a firmware file, a web page.
    Http,
    /// Not told by the text.
    Unknown,
}

/// Something in the text that a person reads over and a parser does not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Slip {
    /// Characters of Chinese width: `：` for `:`.
    FullWidth,
    /// Blanks or invisible characters in the middle.
    Blank,
    /// `\` for `/`.
    Backslash,
    /// The mark behind the scheme is not `://`.
    SchemeMark,
    /// The scheme is misspelt: as typed.
    SchemeSpelling(String),
    /// A scheme of another program for the same thing, such as `ssl://`: as typed.
    SchemeForeign(String),
    /// A scheme in capitals.
    SchemeCapitals,
    /// A user name or password before the host.
    Credentials,
    /// An IPv6 address without brackets, behind a scheme.
    BareIpv6,
    /// Between host and port stands something else than a colon.
    Colon(char),
    /// A colon and no port behind it.
    PortEmpty,
    /// What stands where the port belongs is none: as typed.
    PortInvalid(String),
    /// The port stands behind the path.
    PortBehindPath,
}

impl Target {
    /// What a text means, whichever slips are in it.
    ///
    /// # Errors
    /// There is no host in it that anything could be sent to. The clues say why.
    pub fn read(typed: &str) -> Result<Target, Vec<Clue>> {
        read::target(typed)
    }

    /// What stands there, as far as the text tells: by scheme, then port, then path.
    pub fn service(&self) -> Service {
        let xiaozhi_ota = self.path.contains("/ota");
        match self.scheme {
            Some(Scheme::Mqtt | Scheme::Mqtts) => return Service::Mqtt,
            Some(Scheme::Ws | Scheme::Wss) => return Service::Websocket,
            Some(Scheme::Http | Scheme::Https) => {
                // The one who gives a page and not a file gives it to a voice box.
                let file = self.path.ends_with(".bin") || self.path.ends_with(".gz");
                return match xiaozhi_ota && !file {
                    true => Service::Ota,
                    false => Service::Http,
                };
            }
            None => {}
        }
        match self.port {
            Some(1883 | 8883) => Service::Mqtt,
            _ if xiaozhi_ota => Service::Ota,
            _ if self.path.contains("/xiaozhi/v1") => Service::Websocket,
            Some(80 | 443 | 8080) => Service::Http,
            _ if self.path.is_empty() => Service::Unknown,
            _ => Service::Http,
        }
    }

    /// Whether TLS is meant: by the scheme. None without one.
    pub fn wants_tls(&self) -> Option<bool> {
        self.scheme.map(Scheme::is_tls)
    }

    /// The port that is given, else the scheme's own.
    pub fn likely_port(&self) -> Option<u16> {
        self.port.or(self.scheme.map(Scheme::standard_port))
    }

    /// The proper form of what was typed: nothing is added, all slips are mended.
    pub fn url(&self) -> String {
        let port = self.port.map_or(String::new(), |port| format!(":{port}"));
        match self.scheme {
            Some(scheme) => format!("{scheme}://{}{port}{}", self.host.in_url(), self.path),
            None => format!("{}{port}{}", self.host.in_url(), self.path),
        }
    }

    /// What is known by it: `url`, `host`, `port`, `scheme`. A port that follows from the scheme counts.
    pub fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        if self.scheme.is_some() {
            facts.note("url", self.url());
        }
        facts.note("host", self.host.to_string());
        if let Some(port) = self.likely_port() {
            facts.note("port", port.to_string());
        }
        if let Some(scheme) = self.scheme {
            facts.note("scheme", scheme.name());
        }
        facts
    }

    /// The same place with this port.
    pub fn with_port(&self, port: u16) -> Target {
        Target {
            port: Some(port),
            ..self.clone()
        }
    }

    /// The same place with this scheme.
    pub fn with_scheme(&self, scheme: Scheme) -> Target {
        Target {
            scheme: Some(scheme),
            ..self.clone()
        }
    }

    /// What stands where the port belongs and is none: `65536`, `80o2`.
    pub fn invalid_port(&self) -> Option<String> {
        self.slips.iter().find_map(|slip| match slip {
            Slip::PortInvalid(typed) => Some(clues::number_or_stars(typed)),
            _ => None,
        })
    }

    /// What a firmware's parser gets out of the text as it was typed.
    ///
    /// # Errors
    /// It gets nothing out of it: what it says or does instead.
    pub fn dialled(&self, dialect: Dialect) -> Result<Dialled, Said> {
        dialect.dialled(self)
    }

    /// How it has to be written for this firmware, if that differs from what was typed: a whole URL, or
    /// the two fields of a settings page.
    pub fn proposal(&self, dialect: Dialect) -> Option<String> {
        let proper = dialect.written(self);
        (proper != self.raw).then_some(proper)
    }

    /// What is wrong with the text for this firmware, the worst first; empty when it dials what was
    /// meant.
    pub fn clues(&self, dialect: Dialect) -> Vec<Clue> {
        clues::of(self, dialect)
    }
}
