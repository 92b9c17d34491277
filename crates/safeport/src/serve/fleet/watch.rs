//! Messages and attempts to connect, as sightings.

use std::net::IpAddr;
use std::time::UNIX_EPOCH;

use safeport_broker::Observed;
use safeport_fleet::heard::{self, Heard};
use safeport_fleet::{Facts, Family, Identity, MemberId, Proof, Sighting, Source};
use safeport_net::attempt::{Attempt, Ending};

use super::accounts::{Logins, Own};
use super::{Fleet, lock};
use crate::probe::proof;

/// What the thread of the fleet is handed.
pub(super) enum Seen {
    /// A message, and when it was published.
    Message(Box<Observed>, u64),
    /// An attempt that named a client.
    Attempt(Box<Tried>),
}

/// What counts of an attempt.
pub(super) struct Tried {
    at: u64,
    client_id: String,
    user: Option<String>,
    peer: IpAddr,
    connected: bool,
    tls: bool,
}

impl Seen {
    /// Under which login.
    pub(super) fn user(&self) -> Option<&str> {
        match self {
            Seen::Message(observed, _) => observed.publisher.as_ref()?.user.as_deref(),
            // Who was not let in has proved no login.
            Seen::Attempt(tried) => tried.user.as_deref().filter(|_| tried.connected),
        }
    }

    /// None for attempts that name nobody, and for our own probes.
    pub(super) fn of_attempt(attempt: &Attempt) -> Option<Seen> {
        let client_id = attempt.client_id.as_deref().filter(|id| !id.is_empty())?;
        if attempt.user.as_deref() == Some(proof::USER) {
            return None;
        }
        Some(Seen::Attempt(Box::new(Tried {
            at: attempt
                .at
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            client_id: client_id.to_owned(),
            user: attempt.user.clone(),
            peer: attempt.peer.ip().to_canonical(),
            connected: attempt.ending == Ending::Connected,
            tls: attempt.tls.is_some(),
        })))
    }
}

impl Fleet {
    pub(super) fn take(&self, seen: Seen, logins: &Logins) {
        match seen {
            Seen::Message(observed, at) => self.take_message(&observed, at, logins),
            Seen::Attempt(tried) => {
                if let Some(sighting) = tried.sighting(logins) {
                    self.sight(&sighting);
                }
            }
        }
    }

    fn take_message(&self, observed: &Observed, at: u64, logins: &Logins) {
        let topic = &*observed.topic;
        let login = observed
            .publisher
            .as_ref()
            .and_then(|publisher| logins.device(publisher.user.as_deref()?))
            .filter(|own| own.speaks_of_itself(topic));
        let known = login.and_then(|own| self.member_of(own));
        if let Some(heard) = heard::read(topic, &observed.payload, at)
            && (!heard.vague || login.is_some() || self.knows(&heard))
        {
            self.sight(&message(observed, heard, login, at));
        }
        if let Some(member) = known {
            let readers = self
                .readers
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            for reader in readers.iter() {
                reader(member, topic, &observed.payload);
            }
        }
    }

    fn member_of(&self, own: &Own) -> Option<MemberId> {
        let roster = lock(&self.roster);
        roster.by_name(own.name.as_str()).map(|member| member.id)
    }

    /// Whether somebody that is known goes by what the message names.
    fn knows(&self, heard: &Heard) -> bool {
        let roster = lock(&self.roster);
        let mut named = heard.identities.iter();
        named.any(|identity| roster.by_identity(identity).is_some())
    }
}

fn message(observed: &Observed, heard: Heard, login: Option<&Own>, at: u64) -> Sighting {
    let (source, proof) = match (&observed.publisher, login) {
        (None, _) => (Source::Retained, Proof::Claim),
        (Some(_), Some(own)) => (Source::Message, Proof::Login(own.name.clone())),
        (Some(_), None) => (Source::Message, Proof::Claim),
    };
    let mut sighting = Sighting::new(at, source, proof);
    sighting.identities = heard.identities;
    sighting.facts = heard.facts;
    if source == Source::Retained {
        // It was so when the message was published.
        sighting.facts.online = None;
        sighting.facts.running = None;
    }
    // Who publishes for others, as bridges and Home Assistant do, is none of them.
    if let (Some(publisher), Some(_)) = (&observed.publisher, login) {
        let own = Identity::client_id(&publisher.client_id);
        sighting.identities.extend(own);
    }
    sighting
}

impl Tried {
    /// None for what is no device: people's programs come under names of their own.
    fn sighting(self, logins: &Logins) -> Option<Sighting> {
        let own = self.user.as_deref().and_then(|user| logins.device(user));
        let (source, proof) = match (self.connected, own) {
            (true, Some(own)) => (Source::Login, Proof::Login(own.name.clone())),
            (true, None) => (Source::Login, Proof::Claim),
            (false, _) => (Source::Attempt, Proof::Claim),
        };
        let family = family_of(&self.client_id);
        if family.is_none() && !matches!(proof, Proof::Login(_)) {
            return None;
        }
        let mut sighting = Sighting::new(self.at, source, proof);
        sighting.identities = Identity::in_client_id(&self.client_id);
        sighting.peer = Some(self.peer);
        sighting.facts = Facts {
            family: family.filter(|_| own.is_none()),
            tls: self.connected.then_some(self.tls),
            ..Facts::default()
        };
        Some(sighting)
    }
}

/// Which firmware forms such client identifiers by itself.
fn family_of(client_id: &str) -> Option<Family> {
    let six = |rest: &str| rest.len() == 6 && rest.bytes().all(|b| b.is_ascii_hexdigit());
    if client_id.strip_prefix("DVES_").is_some_and(six) {
        return Some(Family::Tasmota);
    }
    if client_id.strip_prefix("ESP32_").is_some_and(six) {
        return Some(Family::Plain);
    }
    let with_mac = Identity::in_client_id(client_id)
        .iter()
        .any(|identity| matches!(identity, Identity::Mac(_)));
    with_mac.then(|| {
        if client_id.contains("@@@") {
            Family::Xiaozhi
        } else {
            Family::EspHome
        }
    })
}
