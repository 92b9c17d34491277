//! Looking at settings and at the table: every key with what is known of it.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::kind::Raw;
use crate::ladder::{Resolved, Rung};
use crate::nearest::nearest;
use crate::place::Place;
use crate::said::said;
use crate::spec::KeySpec;
use crate::table::{SECTIONS, keys};
use crate::{HostName, Listener, Pin, Policy, Problem, Said, Settings, Source, chinese};

/// One key, its value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// `section.name`.
    pub key: String,
    /// The value as TOML; `"(secret)"` for a secret.
    pub value: String,
    /// The default as plain text; empty for a key that has to be set.
    pub default: &'static str,
    /// Where the value was set; of joined lists, the highest place.
    pub source: &'a Source,
    /// What the key means, in English.
    pub doc: String,
    /// Who may set the key, and how sources go together.
    pub policy: Policy,
    /// What every source said, lowest rank first.
    pub ladder: &'a [Rung],
}

/// Everything about one key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// `section.name`.
    pub key: String,
    /// The value as TOML; `"(secret)"` for a secret.
    pub value: String,
    /// The default as plain text; empty for a key that has to be set.
    pub default: &'static str,
    /// What the key means.
    pub doc: Said,
    /// Least and greatest value.
    pub limits: Option<(&'static str, &'static str)>,
    /// Who may set the key, and how sources go together.
    pub policy: Policy,
    /// Whether a change holds at once; otherwise at the next start.
    pub live: bool,
    /// Whether it may be set for a tag or for one device.
    pub told: bool,
    /// What every source said, lowest rank first, the default included.
    pub ladder: Vec<Rung>,
}

/// What the table says of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// `section.name`.
    pub key: String,
    /// The default as plain text; empty for a key that has to be set.
    pub default: &'static str,
    /// Whether it has to be set.
    pub required: bool,
    /// What an example says where the default is of no use.
    pub example: Option<&'static str>,
    /// What the key means.
    pub doc: Said,
    /// Least and greatest value.
    pub limits: Option<(&'static str, &'static str)>,
    /// Who may set the key, and how sources go together.
    pub policy: Policy,
    /// [`Policy::local`].
    pub local: bool,
    /// [`Policy::secret`].
    pub secret: bool,
    /// [`Policy::live`].
    pub live: bool,
    /// [`Policy::told`].
    pub told: bool,
    /// [`Policy::lockout`].
    pub lockout: bool,
}

/// What the table says of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectionInfo {
    /// Its heading: `mqtt`, `proxy.NAME`.
    pub heading: String,
    /// The heading with the name that examples give it: `proxy.front`.
    pub example: String,
    /// What it is for.
    pub doc: Said,
    /// Its keys.
    pub keys: Vec<KeyInfo>,
}

impl Settings {
    /// Where the value of a key (`mqtt.bind`) was set; `None` for an unknown
    /// key.
    pub fn source(&self, key: &str) -> Option<&Source> {
        self.find(key).map(|resolved| &resolved.source)
    }

    /// Every key with its value and origin, in the order of the example file.
    pub fn values(&self) -> impl Iterator<Item = Entry<'_>> {
        self.resolved.iter().map(|resolved| Entry {
            key: resolved.name(),
            value: resolved.shown(),
            default: resolved.spec.default.unwrap_or(""),
            source: &resolved.source,
            doc: joined(resolved.spec.doc),
            policy: resolved.spec.policy,
            ladder: &resolved.ladder,
        })
    }

    /// Everything about one key: its value, and why it is this one. `None` for
    /// an unknown key and for a proxy that nothing sets.
    pub fn explain(&self, key: &str) -> Option<Explained> {
        let resolved = self.find(key)?;
        let spec = resolved.spec;
        Some(Explained {
            key: resolved.name(),
            value: resolved.shown(),
            default: spec.default.unwrap_or(""),
            doc: doc(spec),
            limits: spec.range,
            policy: spec.policy,
            live: spec.policy.live,
            told: spec.policy.told,
            ladder: resolved.ladder.clone(),
        })
    }

    /// The names that have to be resolved before the listeners can be opened,
    /// each once.
    pub fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for listener in Listener::ALL {
            let (enabled, binds) = self.binds(listener);
            for bind in binds.iter().filter(|_| enabled) {
                if let HostName::Name(name) = &bind.host
                    && !names.contains(&name.as_str())
                {
                    names.push(name.as_str());
                }
            }
        }
        names
    }

    /// Whether a listener is enabled, and where it listens.
    pub fn binds(&self, listener: Listener) -> (bool, &crate::Binds) {
        match listener {
            Listener::Mqtt => (self.mqtt.enabled, &self.mqtt.bind),
            Listener::Mqtts => (self.mqtts.enabled, &self.mqtts.bind),
            Listener::Http => (self.http.enabled, &self.http.bind),
            Listener::Https => (self.https.enabled, &self.https.bind),
            Listener::Ntp => (self.ntp.enabled, &self.ntp.bind),
            Listener::Voice => (self.voice.enabled, &self.voice.bind),
        }
    }

    /// Whether a key may be set while the server runs.
    ///
    /// # Errors
    /// The key is unknown, may only be set on the machine itself, or is pinned.
    #[expect(clippy::result_large_err, reason = "asked once for a command")]
    pub fn may_manage(&self, key: &str) -> Result<(), Problem> {
        let problem = |source: Source, what: Said, help: Said| Problem {
            source,
            key: Some(key.to_owned()),
            what,
            help,
            related: None,
        };
        let Some(info) = key_info(key) else {
            return Err(unknown_key(argument("KEY"), key));
        };
        if info.local {
            return Err(problem(
                argument("KEY"),
                said!(
                    "{key} can only be set on the machine itself",
                    "{key} 只能在本机上设置"
                ),
                said!(
                    "set it in the settings file, in the environment or with a flag",
                    "请在设置文件、环境变量或命令行参数中设置"
                ),
            ));
        }
        match self.config.pin.iter().find(|pin| pin.covers(key)) {
            None => Ok(()),
            Some(pin) => Err(problem(
                self.pinned_by(pin),
                said!("{key} is pinned", "{key} 已固定"),
                said!(
                    "take \"{}\" out of config.pin, or set {key} in the settings file",
                    "请从 config.pin 中去掉 \"{}\"，或在设置文件中设置 {key}",
                    pin.to_string()
                ),
            )),
        }
    }

    /// The place that wrote a pin.
    pub(crate) fn pinned_by(&self, pin: &Pin) -> Source {
        let Some(pins) = self.find("config.pin") else {
            return Source::Default;
        };
        let written = crate::kind::quote(&pin.to_string());
        pins.ladder
            .iter()
            .rfind(|rung| rung.value.contains(&written))
            .map_or_else(|| pins.source.clone(), |rung| rung.source.clone())
    }

    pub(crate) fn find(&self, key: &str) -> Option<&Resolved> {
        self.resolved.iter().find(|resolved| resolved.name() == key)
    }
}

/// What is known of a key; `None` where there is no such key. Of a proxy any
/// name will do: `proxy.front.url`.
pub fn key_info(key: &str) -> Option<KeyInfo> {
    Place::named(key).map(|place| info(place.spec(), key.to_owned()))
}

/// Every section with its keys, in the order of the example file.
pub fn sections() -> impl Iterator<Item = SectionInfo> {
    SECTIONS.iter().map(|section| {
        let entry = section.named.then_some("NAME");
        let heading = |entry: Option<&str>| match entry {
            None => section.name.to_owned(),
            Some(entry) => alloc::format!("{}.{entry}", section.name),
        };
        SectionInfo {
            heading: heading(entry),
            example: heading(section.named.then_some(section.example)),
            doc: Said::new(joined(section.doc), chinese::section(section.name)),
            keys: section
                .keys
                .iter()
                .map(|spec| info(spec, spec.full_name(entry)))
                .collect(),
        }
    })
}

/// The known key that a person probably meant.
pub fn nearest_key(key: &str) -> Option<String> {
    let known: Vec<String> = keys().map(|spec| spec.full_name(None)).collect();
    if let Some(near) = nearest(key, known.iter().map(String::as_str)) {
        return Some(near.to_owned());
    }
    // One of a named entry: `agent.kitchen.promt`.
    if let Some((section, rest)) = key.split_once('.')
        && let Some((entry, name)) = rest.split_once('.')
        && let Some(section) = SECTIONS
            .iter()
            .find(|spec| spec.named && spec.name == section)
        && let Some(near) = nearest(name, section.keys.iter().map(|spec| spec.name))
    {
        return Some(alloc::format!("{}.{entry}.{near}", section.name));
    }
    // A key without its section, if only one section has it.
    let mut homes = keys().filter(|spec| spec.name == key);
    match (homes.next(), homes.next()) {
        (Some(only), None) => Some(only.full_name(None)),
        _ => None,
    }
}

/// Reads a value as a person types it at a shell, and gives it as TOML. Lists
/// are parted by commas or written as TOML.
///
/// # Errors
/// The key is unknown or the value does not fit it.
#[expect(clippy::result_large_err, reason = "asked once for a command")]
pub fn read_value(key: &str, text: &str) -> Result<String, Problem> {
    let Some(place) = Place::named(key) else {
        return Err(unknown_key(argument("KEY"), key));
    };
    let spec = place.spec();
    let read = |raw: Raw<'_>| {
        let toml = spec.judge_raw(raw, &Source::Default)?;
        Ok(if raw.resets() {
            with_reset(&toml)
        } else {
            toml
        })
    };
    if text.starts_with(['[', '"', '\''])
        && let Ok(value) = text.parse::<toml_edit::Value>()
    {
        let typed = read(Raw::Toml(&value));
        if typed.is_ok() || value.is_array() {
            return typed.map_err(|misfit| unfit(key, misfit));
        }
    }
    read(Raw::Text(text)).map_err(|misfit| unfit(key, misfit))
}

/// What a person typed: the argument of a command.
pub(crate) fn argument(name: &str) -> Source {
    Source::Flag {
        flag: name.to_owned(),
    }
}

fn unfit(key: &str, misfit: crate::kind::Misfit) -> Problem {
    Problem {
        source: argument("VALUE"),
        key: Some(key.to_owned()),
        what: misfit.what,
        help: misfit.help,
        related: None,
    }
}

/// The problem of a key that does not exist.
pub(crate) fn unknown_key(source: Source, key: &str) -> Problem {
    let help = match nearest_key(key) {
        Some(near) => crate::nearest::did_you_mean(&near),
        None => said!(
            "keys are written section.key, for example mqtt.bind",
            "键写作“节.键”，例如 mqtt.bind"
        ),
    };
    Problem {
        source,
        key: Some(key.to_owned()),
        what: said!("there is no such key", "没有这个键"),
        help,
        related: None,
    }
}

/// A list with the word in front that drops what lower ranks have said.
pub(crate) fn with_reset(list: &str) -> String {
    match list.strip_prefix('[') {
        Some("]") => String::from("[\"!reset\"]"),
        Some(rest) => alloc::format!("[\"!reset\", {rest}"),
        None => list.to_owned(),
    }
}

fn info(spec: &'static KeySpec, key: String) -> KeyInfo {
    let policy = spec.policy;
    KeyInfo {
        key,
        default: spec.default.unwrap_or(""),
        required: spec.default.is_none(),
        example: spec.example,
        doc: doc(spec),
        limits: spec.range,
        policy,
        local: policy.local,
        secret: policy.secret,
        live: policy.live,
        told: policy.told,
        lockout: policy.lockout,
    }
}

/// What a key means.
fn doc(spec: &KeySpec) -> Said {
    Said::new(joined(spec.doc), chinese::key(&spec.full_name(None)))
}

/// The lines of a doc comment as one.
fn joined(lines: &[&str]) -> String {
    lines
        .iter()
        .map(|line| line.trim())
        .collect::<Vec<_>>()
        .join(" ")
}
