//! What is known of one physical device, enrolled or only seen.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::sighting::{Facts, Identity, IdentityKind, Source, Text};
use crate::{Chip, DeviceName, Family, Layout, MacAddress, Slot, limits};

/// The number of a member, given once and never again. Shown as `dev_` and
/// lower-case base32: `dev_b4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemberId(pub u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 13];
        let mut rest = self.0;
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = DIGITS[(rest % 32) as usize];
            rest /= 32;
            if rest == 0 {
                break;
            }
        }
        let digits = core::str::from_utf8(&digits[at..]).map_err(|_| fmt::Error)?;
        write!(f, "dev_{digits}")
    }
}

impl FromStr for MemberId {
    type Err = MemberIdError;

    fn from_str(text: &str) -> Result<MemberId, MemberIdError> {
        let digits = text.strip_prefix("dev_").ok_or(MemberIdError)?;
        if digits.is_empty() || digits.len() > 1 && digits.starts_with('a') {
            return Err(MemberIdError);
        }
        let mut number: u64 = 0;
        for digit in digits.bytes() {
            let value = DIGITS.iter().position(|known| *known == digit);
            let value = value.ok_or(MemberIdError)? as u64;
            number = number
                .checked_mul(32)
                .and_then(|number| number.checked_add(value))
                .ok_or(MemberIdError)?;
        }
        Ok(MemberId(number))
    }
}

/// RFC 4648, lower case.
const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The text is no number of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the number of a device: it looks like dev_b4 (see `safeport device list`)")]
pub struct MemberIdError;

/// One physical device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its number.
    pub id: MemberId,
    /// Under which name it is enrolled; none for a device that was only seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolment: Option<DeviceName>,
    /// What names it, at most [`limits::MAX_IDENTITIES`].
    #[serde(default)]
    pub identities: Vec<Known>,
    /// What it said of itself.
    #[serde(default)]
    pub facts: Facts,
    /// Bits of the facts that came with proof; see [`Facts`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) proved_facts: u64,
    /// The address that it came from last, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub came_from: Option<CameFrom>,
    /// What an operator has set; it holds against what the device says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<Box<Set>>,
    /// Addresses of ours that it was told, newest last, at most
    /// [`limits::MAX_TOLD`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<Told>,
    /// Its tags: `kitchen`, or a key and a value, `room=kitchen`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Text>,
    /// When it was seen first, in seconds since 1970.
    pub first_seen: u64,
    /// When it was seen last; of a device that is online, when it came.
    pub last_seen: u64,
    /// Where it was seen last.
    pub last_source: Source,
    /// What happened to it, newest last, at most [`limits::MAX_EVENTS`].
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub events: VecDeque<Event>,
}

/// An identity that a member has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The identity.
    #[serde(flatten)]
    pub identity: Identity,
    /// Whether it came with a login, a token, or from an operator.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub proved: bool,
    /// When it was seen first, in seconds since 1970.
    pub first: u64,
    /// When it was seen last.
    pub last: u64,
}

/// Where a device came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CameFrom {
    /// The address.
    pub ip: IpAddr,
    /// When, in seconds since 1970.
    pub at: u64,
    /// Whether it proved then who it was.
    pub proved: bool,
}

/// What an operator has set for a device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Set {
    /// Where its own web pages are: `HOST:PORT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web: Option<Text>,
    /// Which firmware it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// Its chip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chip: Option<Chip>,
    /// Size of its flash, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flash_size: Option<u32>,
    /// How its flash is divided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// What fits into each slot, in bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub room: Vec<(Slot, u32)>,
    /// Its board.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub board: Option<Text>,
    /// The access password of its own web pages is kept elsewhere; this is the
    /// user's free note.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<Text>,
}

/// An address of ours that a device was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The address as it was told.
    pub address: Text,
    /// When last, in seconds since 1970.
    pub at: u64,
}

/// Something that happened to a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in seconds since 1970.
    pub at: u64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened to a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// It was seen for the first time.
    FirstSeen {
        /// Where.
        source: Source,
    },
    /// It was enrolled.
    Enrolled {
        /// Under this name.
        name: DeviceName,
    },
    /// Its enrolment was removed.
    Released {
        /// It was this one.
        name: DeviceName,
    },
    /// It started.
    Started {
        /// Why, in its own words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Text>,
        /// Whether after a crash.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        crashed: bool,
    },
    /// A slot holds another version.
    Version {
        /// Which slot.
        slot: Slot,
        /// What was known before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Text>,
        /// What it holds now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<Text>,
    },
    /// It comes from another address.
    Moved {
        /// The address before.
        from: IpAddr,
        /// The address now.
        to: IpAddr,
    },
    /// It has an identity of this kind for the first time or a new one: renamed,
    /// or under another client identifier.
    Identified {
        /// The new one.
        identity: Identity,
    },
    /// The same hardware drew a new UUID: its flash was erased.
    Erased {
        /// The UUID before.
        from: Text,
        /// The UUID now.
        to: Text,
    },
    /// An identity passed from one member to another.
    Passed {
        /// Which one.
        identity: Identity,
        /// Who had it.
        from: MemberId,
        /// Who has it now.
        to: MemberId,
    },
    /// Another entry turned out to be the same device and was joined to this.
    Joined {
        /// The number that is no more.
        with: MemberId,
    },
    /// Somebody contradicted what is known; see the quarantine.
    Contradicted {
        /// By this identity.
        identity: Identity,
    },
    /// It said another family than before.
    Family {
        /// What it was before.
        from: Family,
        /// What it is now.
        to: Family,
    },
    /// Something that another part of the server did with it.
    Note {
        /// In words.
        text: Text,
    },
}

impl What {
    /// The word for it, as in JSON.
    pub fn as_str(&self) -> &'static str {
        match self {
            What::FirstSeen { .. } => "first_seen",
            What::Enrolled { .. } => "enrolled",
            What::Released { .. } => "released",
            What::Started { .. } => "started",
            What::Version { .. } => "version",
            What::Moved { .. } => "moved",
            What::Identified { .. } => "identified",
            What::Erased { .. } => "erased",
            What::Passed { .. } => "passed",
            What::Joined { .. } => "joined",
            What::Contradicted { .. } => "contradicted",
            What::Family { .. } => "family",
            What::Note { .. } => "note",
        }
    }
}

impl Member {
    pub(crate) fn new(id: MemberId, at: u64, source: Source) -> Member {
        let mut member = Member {
            id,
            enrolment: None,
            identities: Vec::new(),
            facts: Facts::default(),
            proved_facts: 0,
            came_from: None,
            set: None,
            told: Vec::new(),
            tags: Vec::new(),
            first_seen: at,
            last_seen: at,
            last_source: source,
            events: VecDeque::new(),
        };
        member.note(at, What::FirstSeen { source });
        member
    }

    /// Its hardware address; of several the one known longest, others being
    /// those of its other interfaces.
    pub fn mac(&self) -> Option<MacAddress> {
        self.identities
            .iter()
            .find_map(|known| match known.identity {
                Identity::Mac(mac) => Some(mac),
                _ => None,
            })
    }

    /// The identity of this kind that was seen last, if it has one: of those that
    /// it has proved, if there are any.
    pub fn newest(&self, kind: IdentityKind) -> Option<&Known> {
        let of_kind = self.identities.iter().filter(|k| k.identity.kind() == kind);
        of_kind.max_by_key(|known| (known.proved, known.last))
    }

    /// Where its topics grow, as it uses them now.
    pub fn topic(&self) -> Option<&str> {
        match &self.newest(IdentityKind::Topic)?.identity {
            Identity::Topic(topic) => Some(topic),
            _ => None,
        }
    }

    /// Where it takes Tasmota's commands, with the closing `/`: where it says, if that is a topic
    /// of its own, else by its topic and the usual FullTopic.
    ///
    /// What it says is not taken at its word: whoever names the topic of another device would have
    /// our orders for itself carried out there.
    pub fn command_topic(&self) -> Option<String> {
        let said = [&self.facts.command_topic, &self.facts.fallback_topic];
        let own = said.into_iter().flatten().find(|topic| self.is_own(topic));
        match own {
            Some(own) => Some(own.to_string()),
            None => Some(format!("cmnd/{}/", self.topic()?)),
        }
    }

    /// The topic that makes its update entity install (ESPHome), if it has told one of its own.
    pub fn update_topic(&self) -> Option<&str> {
        let said = self.facts.update_topic.as_deref()?;
        let is_below = |own: &str| {
            let rest = said.strip_prefix(own);
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        let mut topics = self.known_as(IdentityKind::Topic);
        topics.any(is_below).then_some(said)
    }

    /// Whether a topic for commands is its topic with one more level, the prefix, or that of its
    /// client identifier.
    fn is_own(&self, command_topic: &str) -> bool {
        let levels: Vec<&str> = command_topic.trim_end_matches('/').split('/').collect();
        let without = |gone: usize| {
            let mut rest = levels.clone();
            rest.remove(gone);
            rest.join("/")
        };
        (0..levels.len()).map(without).any(|path| {
            self.known_as(IdentityKind::Topic).any(|own| own == path)
                || path.strip_suffix("_fb").is_some_and(|client_id| {
                    self.known_as(IdentityKind::ClientId)
                        .any(|own| own == client_id)
                })
        })
    }

    /// What it is known as, of a kind that is a text. Of an enrolled device only what it has
    /// proved counts.
    fn known_as(&self, kind: IdentityKind) -> impl Iterator<Item = &str> {
        let enrolled = self.enrolment.is_some();
        self.identities
            .iter()
            .filter(move |known| known.identity.kind() == kind && (known.proved || !enrolled))
            .filter_map(|known| match &known.identity {
                Identity::Topic(text) | Identity::ClientId(text) => Some(&**text),
                _ => None,
            })
    }

    /// Its MQTT client identifier, as it uses it now.
    pub fn client_id(&self) -> Option<&str> {
        match &self.newest(IdentityKind::ClientId)?.identity {
            Identity::ClientId(id) => Some(id),
            _ => None,
        }
    }

    /// What to call it: its enrolment, else its own name for itself, else
    /// whatever names it.
    pub fn name(&self) -> Text {
        self.with_name(|name| name.into())
    }

    /// Hands out [`Member::name`] without a copy where one can be spared.
    pub fn with_name<T>(&self, look: impl FnOnce(&str) -> T) -> T {
        if let Some(name) = &self.enrolment {
            return look(name.as_str());
        }
        let own = [&self.facts.label, &self.facts.hostname];
        if let Some(own) = own.into_iter().flatten().find(|own| !own.is_empty()) {
            return look(own);
        }
        match self.identities.first() {
            Some(known) => look(&known.identity.value()),
            None => look(&self.id.to_string()),
        }
    }

    /// The family, as set by an operator, else as seen.
    pub fn family(&self) -> Option<Family> {
        let set = self.set.as_deref().and_then(|set| set.family);
        set.or(self.facts.family)
    }

    /// The chip, as set by an operator, else as seen.
    pub fn chip(&self) -> Option<Chip> {
        let set = self.set.as_deref().and_then(|set| set.chip);
        set.or(self.facts.chip)
    }

    /// The board, as set by an operator, else as seen.
    pub fn board(&self) -> Option<&str> {
        let set = self.set.as_deref().and_then(|set| set.board.as_deref());
        set.or(self.facts.board.as_deref())
    }

    /// The size of its flash in bytes, as set by an operator, else as seen.
    pub fn flash_size(&self) -> Option<u32> {
        let set = self.set.as_deref().and_then(|set| set.flash_size);
        set.or(self.facts.flash_size)
    }

    /// How its flash is divided, as set by an operator, else as seen.
    pub fn layout(&self) -> Option<Layout> {
        let set = self.set.as_deref().and_then(|set| set.layout);
        set.or(self.facts.layout)
    }

    /// What fits into the slot in bytes, as set by an operator, else as seen.
    pub fn room(&self, slot: Slot) -> Option<u32> {
        let set = self.set.as_deref().and_then(|set| {
            let entry = set.room.iter().find(|(of, _)| *of == slot);
            entry.map(|(_, bytes)| *bytes)
        });
        set.or_else(|| self.facts.room(slot))
    }

    /// Whether it is connected, as far as we know.
    pub fn is_online(&self) -> bool {
        self.facts.online == Some(true)
    }

    /// Where requests to its own web pages may go: where an operator says, else
    /// to the address that it has come from itself, never to one that it or
    /// somebody else only named. Its own word counts for the port.
    pub fn web(&self) -> Option<Web> {
        if let Some(set) = self.set.as_deref().and_then(|set| set.web.clone()) {
            return Some(Web::Set(set));
        }
        let from = self.came_from?;
        let port = match self.facts.web {
            Some(said) if said.ip() == from.ip => said.port(),
            _ => 80,
        };
        Some(Web::Seen {
            address: SocketAddr::new(from.ip, port),
            proved: from.proved,
        })
    }

    /// Notes something that happened. Of more than [`limits::MAX_EVENTS`] the
    /// oldest is forgotten here; the registry keeps more.
    pub(crate) fn note(&mut self, at: u64, what: What) {
        while self.events.len() >= limits::MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(Event { at, what });
    }
}

/// Where the own web pages of a device are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Web {
    /// An operator says so: `HOST:PORT` or `HOST`.
    Set(Text),
    /// It has come from there.
    Seen {
        /// The address, and the port that it says or 80.
        address: SocketAddr,
        /// Whether it proved then who it was.
        proved: bool,
    },
}

fn is_zero(bits: &u64) -> bool {
    *bits == 0
}
