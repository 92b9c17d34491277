//! What devices say of themselves, and the roster that takes it in.

use std::collections::HashMap;

use safeport_fleet::heard;
use safeport_fleet::{
    DeviceName, Enrolment, Family, Identity, MacAddress, Member, MemberId, Proof, Query, Roster,
    RosterLimits, Settle, Sighting, Source,
};

use crate::source::Source as Bytes;

/// Messages: the first byte chooses where it was published, the rest is the payload. What is made
/// of it goes into a roster, is written down and read again.
pub fn messages(data: &[u8]) {
    let Some((first, payload)) = data.split_first() else {
        return;
    };
    let topics = [
        "tele/plug/LWT",
        "tele/plug/INFO1",
        "tele/plug/INFO2",
        "tele/plug/INFO3",
        "stat/plug/STATUS0",
        "stat/plug/UPGRADE",
        "tasmota/discovery/A0B1C23D5E26/config",
        "lamp/status/LWT",
        "door/status",
        "door/update/firmware/state",
        "esphome/discover/door",
        "homeassistant/update/door/firmware/config",
    ];
    let topic = topics[usize::from(*first) % topics.len()];
    let _ = safeport_fleet::tasmota::UpgradeReply::read(payload);
    let _ = safeport_fleet::tasmota::RestartReply::read(payload);
    let _ = safeport_fleet::espeasy::json(payload, 1_000_000);
    let _ = safeport_fleet::espeasy::sysinfo(payload, 1_000_000);
    let text = String::from_utf8_lossy(payload);
    // The payload as a topic, too.
    let _ = heard::read(&text, b"Online", 1_000_000);
    let Some(heard) = heard::read(topic, payload, 1_000_000) else {
        return;
    };
    let mut sighting = Sighting::new(1_000_000, Source::Message, Proof::Claim);
    sighting.identities = heard.identities;
    sighting.facts = heard.facts;
    let mut roster = Roster::new(RosterLimits::default(), 1);
    let first = roster.sight(&sighting);
    assert!(!roster.sight(&sighting).is_new, "known now");
    let Some(member) = first.member.and_then(|id| roster.get(id)) else {
        return;
    };
    let json = serde_json::to_string(member).expect("a member is JSON");
    assert!(json.len() < 16 * 1024, "a member stays small");
    let read: Member = serde_json::from_str(&json).expect("its own JSON");
    assert_eq!(&read, member);
}

/// Sightings, enrolments and settlements in any order: no identity belongs to two, and every look-up
/// finds what the list shows.
pub fn roster(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let limits = RosterLimits {
        max_seen: 8,
        new_per_address: 6,
        forget_unseen: 100,
    };
    let mut roster = Roster::new(limits, 3);
    let mut now = 0;
    while !bytes.is_empty() {
        now += u64::from(bytes.byte() % 4);
        step(&mut roster, &mut bytes, now);
    }
    let mut owners: HashMap<Identity, MemberId> = HashMap::new();
    for member in roster.matching(&Query::default(), None) {
        for known in &member.identities {
            let other = owners.insert(known.identity.clone(), member.id);
            assert_eq!(other, None, "{} belongs to two", known.identity);
            let found = roster.by_identity(&known.identity).map(|found| found.id);
            assert_eq!(found, Some(member.id));
        }
    }
    assert!(roster.len() <= 8 + 8, "bounded");
}

fn step(roster: &mut Roster, bytes: &mut Bytes<'_>, now: u64) {
    match bytes.byte() % 16 {
        0 => {
            let name = name(bytes.byte());
            roster.enrol(
                &Enrolment {
                    client_id: name.as_str().into(),
                    topic: name.as_str().into(),
                    mac: Some(mac(bytes.byte())).filter(|mac| mac.is_of_one_device()),
                    name,
                    family: Family::Tasmota,
                    tags: Vec::new(),
                    created: 0,
                },
                now,
            );
        }
        1 => {
            roster.release(name(bytes.byte()).as_str(), now);
        }
        2 => {
            let all = roster.quarantine();
            let chosen = all.get(usize::from(bytes.byte()) % all.len().max(1));
            if let Some(id) = chosen.map(|conflict| conflict.id) {
                let how = if bytes.flag() {
                    Settle::Keep
                } else {
                    Settle::Pass
                };
                let _ = roster.settle(id, how, now);
            }
        }
        3 => {
            roster.expire(now, 2);
        }
        4 => {
            roster.take_dirty(3);
        }
        _ => {
            roster.sight(&sighting(bytes, now));
        }
    }
}

fn sighting(bytes: &mut Bytes<'_>, now: u64) -> Sighting {
    let proof = match bytes.byte() % 4 {
        0 => Proof::Login(name(bytes.byte())),
        1 => Proof::Token(MemberId(u64::from(bytes.byte() % 16))),
        _ => Proof::Claim,
    };
    let sources = [
        Source::Message,
        Source::Check,
        Source::Download,
        Source::Attempt,
        Source::Retained,
        Source::Login,
    ];
    let source = sources[usize::from(bytes.byte()) % sources.len()];
    let mut sighting = Sighting::new(now, source, proof);
    for _ in 0..bytes.byte() % 5 {
        let value = bytes.byte();
        sighting.identities.extend(match bytes.byte() % 5 {
            0 | 1 => Some(Identity::Mac(mac(value))),
            2 => Identity::topic(name(value).as_str()),
            3 => Identity::client_id(name(value).as_str()),
            _ => Identity::uuid(&format!("uuid-{}", value % 4)),
        });
    }
    let peer = bytes.byte();
    sighting.peer = (!peer.is_multiple_of(4)).then(|| [10, 0, 0, peer % 4].into());
    sighting
}

fn name(number: u8) -> DeviceName {
    let names = ["plug", "lamp", "door", "mill"];
    DeviceName::new(names[usize::from(number) % names.len()]).expect("a name")
}

fn mac(number: u8) -> MacAddress {
    MacAddress([number & 2, 0, 0, 0, 0, number % 12])
}
