//! One look at a device: what it showed of itself, where, and how sure we are
//! that it was really that device. The [`Roster`](crate::Roster) folds sightings
//! into members.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{Chip, DeviceName, Family, Layout, MacAddress, MemberId, Slot, limits};

/// One look at a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// When, in seconds since 1970.
    pub at: u64,
    /// Where it was seen.
    pub source: Source,
    /// How sure we are that it was this device.
    pub proof: Proof,
    /// What names it. At most [`limits::MAX_SIGHTED`] count, the rest is left
    /// out.
    pub identities: Vec<Identity>,
    /// The address that it really came from; none for what was relayed.
    pub peer: Option<IpAddr>,
    /// What it said of itself.
    pub facts: Facts,
}

impl Sighting {
    /// A sighting that names nothing yet.
    pub fn new(at: u64, source: Source, proof: Proof) -> Sighting {
        Sighting {
            at,
            source,
            proof,
            identities: Vec::new(),
            peer: None,
            facts: Facts::default(),
        }
    }

    /// The same with one more identity, if it is one.
    #[must_use]
    pub fn with(mut self, identity: impl Into<Option<Identity>>) -> Sighting {
        self.identities.extend(identity.into());
        self
    }

    /// The same from this address.
    #[must_use]
    pub fn from_peer(mut self, peer: impl Into<Option<IpAddr>>) -> Sighting {
        self.peer = peer.into();
        self
    }
}

/// Where a device was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// It logged in to MQTT.
    Login,
    /// It published a message.
    Message,
    /// A message that the broker had kept: old, and not seen now.
    Retained,
    /// Its OTA check (xiaozhi).
    Check,
    /// It fetched a file.
    Download,
    /// It connected and did not get as far as a login.
    Attempt,
    /// It answered a request of ours to its own web pages.
    Web,
    /// A person or a program entered it.
    Operator,
}

impl Source {
    /// The word in lists and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Login => "login",
            Source::Message => "message",
            Source::Retained => "retained",
            Source::Check => "check",
            Source::Download => "download",
            Source::Attempt => "attempt",
            Source::Web => "web",
            Source::Operator => "operator",
        }
    }
}

/// What stands behind a sighting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// The login of this enrolment, and what it said lies in its own topics.
    Login(DeviceName),
    /// A token in the URL that was given to this member and to nobody else.
    Token(MemberId),
    /// Nothing: anybody can say it.
    Claim,
}

/// What tells one device from another. Make it by the functions: they bring
/// spellings into one form and refuse what names nobody.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// The hardware address of its station or Ethernet interface.
    Mac(MacAddress),
    /// The serial number in its fuses (xiaozhi: 32 characters).
    Serial(Text),
    /// The SHA-256 of the public key of its client certificate.
    CertKey(Box<[u8; 32]>),
    /// The UUID that its firmware drew; a new one after its flash was erased.
    Uuid(Text),
    /// Its MQTT client identifier.
    ClientId(Text),
    /// Where its own topics grow, without Tasmota's `cmnd`, `stat`, `tele`:
    /// `plug-1`, `home/plug-1`.
    Topic(Text),
}

/// A short text that is kept: two words in memory, no spare room.
pub type Text = Box<str>;

/// The kinds of [`Identity`], strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // named like the identities
pub enum IdentityKind {
    Mac,
    Serial,
    CertKey,
    Uuid,
    ClientId,
    Topic,
}

impl IdentityKind {
    /// The word in tables and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            IdentityKind::Mac => "mac",
            IdentityKind::Serial => "serial",
            IdentityKind::CertKey => "cert_key",
            IdentityKind::Uuid => "uuid",
            IdentityKind::ClientId => "client_id",
            IdentityKind::Topic => "topic",
        }
    }

    /// Whether it is burnt or drawn, so that no second device comes by it
    /// honestly. People give two devices the same client identifier or topic.
    pub fn is_strong(self) -> bool {
        self <= IdentityKind::Uuid
    }
}

impl Identity {
    /// A hardware address; none for one that belongs to no single device (all
    /// zeros, all ones, a group's).
    pub fn mac(mac: MacAddress) -> Option<Identity> {
        mac.is_of_one_device().then_some(Identity::Mac(mac))
    }

    /// A client identifier.
    pub fn client_id(id: &str) -> Option<Identity> {
        text(id).map(Identity::ClientId)
    }

    /// The topic that a device's own topics grow under.
    pub fn topic(topic: &str) -> Option<Identity> {
        text(topic.trim_matches('/')).map(Identity::Topic)
    }

    /// A UUID in any case.
    pub fn uuid(uuid: &str) -> Option<Identity> {
        text(&uuid.trim().to_ascii_lowercase()).map(Identity::Uuid)
    }

    /// A serial number.
    pub fn serial(serial: &str) -> Option<Identity> {
        text(serial.trim()).map(Identity::Serial)
    }

    /// What a client identifier tells: itself, and what known firmware builds
    /// into it (xiaozhi: `group@@@aa_bb_cc_dd_ee_ff@@@uuid`; ESPHome:
    /// `name-aabbccddeeff`).
    pub fn in_client_id(id: &str) -> Vec<Identity> {
        let mut found: Vec<Identity> = Identity::client_id(id).into_iter().collect();
        let mut parts = id.split("@@@").skip(1);
        match (parts.next(), parts.next()) {
            (Some(mac), uuid) => {
                let mac = mac.parse::<MacAddress>().ok();
                found.extend(mac.and_then(Identity::mac));
                // Some servers put the MAC where the UUID belongs.
                let drawn = uuid.filter(|uuid| uuid.parse::<MacAddress>().is_err());
                if mac.is_some() {
                    found.extend(drawn.and_then(Identity::uuid));
                }
            }
            (None, _) => {
                let last = id.rsplit_once('-').map(|(_, last)| last);
                let mac = last.filter(|last| last.len() == 12);
                found.extend(mac.and_then(|mac| mac.parse().ok()).and_then(Identity::mac));
            }
        }
        found
    }

    /// Whether it names one device in a form that is kept, however it was made.
    pub(crate) fn is_usable(&self) -> bool {
        match self {
            Identity::Mac(mac) => mac.is_of_one_device(),
            Identity::CertKey(_) => true,
            Identity::Serial(value)
            | Identity::Uuid(value)
            | Identity::ClientId(value)
            | Identity::Topic(value) => text(value).is_some(),
        }
    }

    /// Which kind it is.
    pub fn kind(&self) -> IdentityKind {
        match self {
            Identity::Mac(_) => IdentityKind::Mac,
            Identity::Serial(_) => IdentityKind::Serial,
            Identity::CertKey(_) => IdentityKind::CertKey,
            Identity::Uuid(_) => IdentityKind::Uuid,
            Identity::ClientId(_) => IdentityKind::ClientId,
            Identity::Topic(_) => IdentityKind::Topic,
        }
    }

    /// The value in the form that tables store.
    pub fn value(&self) -> String {
        match self {
            Identity::Mac(mac) => mac.to_string(),
            Identity::CertKey(hash) => {
                let mut hex = String::with_capacity(64);
                for byte in hash.iter() {
                    let _ = fmt::Write::write_fmt(&mut hex, format_args!("{byte:02x}"));
                }
                hex
            }
            Identity::Serial(text)
            | Identity::Uuid(text)
            | Identity::ClientId(text)
            | Identity::Topic(text) => text.to_string(),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind().as_str(), self.value())
    }
}

/// What a device said of itself. All of it optional: no source tells all. Where
/// a fact is missing, what was known before stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Which firmware it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// Its chip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chip: Option<Chip>,
    /// The chip's revision, hundreds for the major part: v3.1 is 301.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chip_rev: Option<u16>,
    /// Whether the chip has one core only: Tasmota's standard image does not
    /// start there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub single_core: Option<bool>,
    /// The board or module: what xiaozhi selects firmware by, Tasmota's
    /// template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub board: Option<Text>,
    /// Its host name on the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Text>,
    /// The name that people see on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<Text>,
    /// Whether it is connected, by its own word: login, birth and will.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
    /// Whether it sleeps most of the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sleeps: Option<bool>,
    /// Where its own web pages are *by its word*. Commands go there only if the
    /// device has come from that address; see [`Member::web`](crate::Member::web).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web: Option<SocketAddr>,
    /// Size of its flash, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flash_size: Option<u32>,
    /// How its flash is divided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// What fits into each slot, in bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub room: Vec<(Slot, u32)>,
    /// What each slot holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<(Slot, Installed)>,
    /// Which slot's image runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<Slot>,
    /// Whether it reaches MQTT over TLS (Tasmota: SetOption103).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<bool>,
    /// Where it fetches firmware by its own settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ota_url: Option<Text>,
    /// How often it has started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_count: Option<u32>,
    /// When it started last, in seconds since 1970, from its uptime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    /// Why it started last, in its own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_reason: Option<Text>,
    /// Whether it started last after a crash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crashed: Option<bool>,
    /// How often it has connected to MQTT since it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtt_count: Option<u32>,
    /// The MQTT server in its settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtt_host: Option<Text>,
    /// Its port there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtt_port: Option<u16>,
    /// The topic for its commands, with the closing `/`: `cmnd/plug-1/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_topic: Option<Text>,
    /// The same for Tasmota's way that stays when `Topic` changes:
    /// `cmnd/DVES_3D5E26_fb/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback_topic: Option<Text>,
    /// The topic of its update entity's command (ESPHome).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_topic: Option<Text>,
    /// The access point that it is connected to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_point: Option<MacAddress>,
    /// How it receives it, in dBm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rssi: Option<i8>,
    /// The least heap that was free since it started (xiaozhi), or that is free (Tasmota), in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_heap: Option<u32>,
    /// The language of its firmware.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<Text>,
}

/// What is known of the image in one slot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Installed {
    /// Its version as the device says it, without Tasmota's tag in parentheses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Text>,
    /// Its build: Tasmota's image name (`tasmota32`), ESPEasy's file name,
    /// ESPHome's or xiaozhi's project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<Text>,
    /// When it was built, in the device's spelling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub built: Option<Text>,
    /// The SDK that it was built with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdk: Option<Text>,
    /// SHA-256 of the application as the device computes it (ESP32: over the
    /// image without padding of its partition).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<[u8; 32]>,
    /// MD5 of the application as the device computes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub md5: Option<[u8; 16]>,
    /// SHA-256 of the ELF file that the application descriptor names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elf_sha256: Option<[u8; 32]>,
    /// How we know.
    pub confidence: Confidence,
    /// Since when we know, in seconds since 1970.
    pub at: u64,
}

/// How we know what a slot holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// We do not.
    #[default]
    Unknown,
    /// We wrote it there and have not heard the device say so since.
    InstalledByUs,
    /// The device said so.
    Reported,
}

impl Installed {
    /// An image of this version, said by the device.
    pub fn reported(version: &str, at: u64) -> Installed {
        Installed {
            version: Some(version.into()),
            confidence: Confidence::Reported,
            at,
            ..Installed::default()
        }
    }
}

impl Facts {
    /// What the slot holds, if anything is known.
    pub fn image(&self, slot: Slot) -> Option<&Installed> {
        let entry = self.images.iter().find(|(of, _)| *of == slot);
        entry.map(|(_, installed)| installed)
    }

    /// What fits into the slot, in bytes, if it is known.
    pub fn room(&self, slot: Slot) -> Option<u32> {
        let entry = self.room.iter().find(|(of, _)| *of == slot);
        entry.map(|(_, bytes)| *bytes)
    }

    /// The version of the main image.
    pub fn version(&self) -> Option<&str> {
        self.image(Slot::Main)?.version.as_deref()
    }
}

/// A text as devices send it, in the form that is kept; none if it says nothing
/// or is longer than [`limits::MAX_IDENTITY`] bytes.
fn text(text: &str) -> Option<Text> {
    let fits = !text.is_empty() && text.len() <= limits::MAX_IDENTITY;
    (fits && !text.contains(char::is_control)).then(|| text.into())
}
