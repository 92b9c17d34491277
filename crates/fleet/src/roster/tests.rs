use alloc::format;
use alloc::vec;
use core::net::IpAddr;

use super::*;
use crate::query::Where;
use crate::sighting::{Facts, Proof, Sighting};
use crate::{Chip, Confidence};

const DAY: u64 = 86_400;

fn roster() -> Roster {
    Roster::new(RosterLimits::default(), 1)
}

fn mac(text: &str) -> MacAddress {
    text.parse().expect("a MAC address")
}

fn name(text: &str) -> DeviceName {
    DeviceName::new(text).expect("a name")
}

fn claim(at: u64) -> Sighting {
    Sighting::new(at, Source::Message, Proof::Claim)
}

fn login(at: u64, device: &str) -> Sighting {
    Sighting::new(at, Source::Message, Proof::Login(name(device)))
}

fn enrolment(device: &str) -> Enrolment {
    Enrolment {
        name: name(device),
        family: Family::Tasmota,
        mac: None,
        client_id: device.into(),
        topic: device.into(),
        tags: Vec::new(),
        created: 1,
    }
}

fn version(text: &str) -> Facts {
    Facts {
        images: vec![(Slot::Main, Installed::reported(text, 0))],
        ..Facts::default()
    }
}

const A: &str = "a0:b1:c2:00:00:10";
const B: &str = "a0:b1:c2:00:00:20";

#[test]
fn what_is_seen_by_several_ways_is_one_device_once_something_joins_them() {
    let mut roster = roster();
    let by_topic = roster.sight(&claim(1).with(Identity::topic("plug")));
    let by_mac = roster.sight(&claim(2).with(Identity::mac(mac(A))));
    assert!(by_topic.is_new && by_mac.is_new);
    assert_eq!(roster.len(), 2);
    let both = claim(3)
        .with(Identity::topic("plug"))
        .with(Identity::mac(mac(A)));
    let joined = roster.sight(&both);
    assert_eq!(roster.len(), 1);
    assert!(matches!(joined.events[..], [What::Joined { .. }]));
    let member = roster.get(joined.member.expect("a member")).expect("there");
    assert_eq!((member.mac(), member.topic()), (Some(mac(A)), Some("plug")));
    assert_eq!(member.first_seen, 1);
    assert_eq!(joined.conflict, None);
}

#[test]
fn two_boards_that_share_a_topic_stay_two_devices_and_are_shown() {
    let mut roster = roster();
    let one = claim(1)
        .with(Identity::mac(mac(A)))
        .with(Identity::topic("plug"));
    let other = claim(2)
        .with(Identity::mac(mac(B)))
        .with(Identity::topic("plug"));
    let first = roster.sight(&one).member.expect("a member");
    let second = roster.sight(&other);
    assert_eq!(roster.len(), 2);
    let conflict = second.conflict.expect("a contradiction");
    let conflict = roster.conflict(conflict).expect("there");
    assert_eq!(conflict.holder, first);
    assert_eq!(conflict.claimant, second.member);
    assert_eq!(conflict.identity, Identity::Topic("plug".into()));
    // The same again is counted, not added.
    roster.sight(&other);
    assert_eq!(roster.quarantine().len(), 1);
    assert_eq!(roster.quarantine()[0].count, 2);
    let topic = Identity::Topic("plug".into());
    assert_eq!(roster.by_identity(&topic).map(|m| m.id), Some(first));
}

#[test]
fn a_claim_takes_nothing_from_who_has_proved_it() {
    let mut roster = roster();
    let id = roster.enrol(&enrolment("plug-1"), 1);
    let own = login(2, "plug-1")
        .with(Identity::mac(mac(A)))
        .with(Identity::topic("plug-1"));
    assert_eq!(roster.sight(&own).member, Some(id));
    let thief = claim(3)
        .with(Identity::mac(mac(B)))
        .with(Identity::topic("plug-1"));
    let sighted = roster.sight(&thief);
    assert_ne!(sighted.member, Some(id));
    assert!(sighted.conflict.is_some());
    assert_eq!(roster.by_name("plug-1").and_then(Member::mac), Some(mac(A)));
    assert_eq!(
        roster
            .by_identity(&Identity::Topic("plug-1".into()))
            .map(|m| m.id),
        Some(id)
    );
}

#[test]
fn a_login_proves_what_was_claimed_before_and_the_claims_join_it() {
    let mut roster = roster();
    let seen = Sighting::new(1, Source::Check, Proof::Claim).with(Identity::mac(mac(A)));
    roster.sight(&seen);
    let id = roster.enrol(&enrolment("plug-1"), 2);
    assert_eq!(roster.len(), 2);
    roster.sight(&login(3, "plug-1").with(Identity::mac(mac(A))));
    assert_eq!(roster.len(), 1);
    let member = roster.get(id).expect("there");
    assert_eq!(member.first_seen, 1);
    assert!(member.identities.iter().all(|known| known.proved));
}

#[test]
fn an_enrolment_is_linked_to_what_was_seen_with_its_address() {
    let mut roster = roster();
    let seen = roster.sight(&claim(1).with(Identity::mac(mac(A))));
    let mut with_mac = enrolment("plug-1");
    with_mac.mac = Some(mac(A));
    assert_eq!(Some(roster.enrol(&with_mac, 2)), seen.member);
    assert_eq!((roster.len(), roster.enrolled()), (1, 1));
    let again = roster.enrol(&with_mac, 3);
    assert_eq!(Some(again), seen.member, "once is enough");
}

#[test]
fn a_forgotten_enrolment_leaves_a_device_that_is_only_seen() {
    let mut roster = roster();
    let id = roster.enrol(&enrolment("plug-1"), 1);
    roster.sight(&login(2, "plug-1").with(Identity::mac(mac(A))));
    assert_eq!(roster.release("plug-1", 3), Some(id));
    assert_eq!(roster.release("plug-1", 3), None);
    let member = roster.get(id).expect("there");
    assert_eq!(member.enrolment, None);
    assert!(member.identities.iter().all(|known| !known.proved));
    assert!(roster.by_name("plug-1").is_none());
    // Now it is as good as any other that was seen.
    roster.expire(2 + 31 * DAY, 10);
    assert!(roster.is_empty());
}

#[test]
fn other_hardware_under_a_login_is_shown_and_a_person_may_accept_it() {
    let mut roster = roster();
    let id = roster.enrol(&enrolment("plug-1"), 1);
    roster.sight(&login(2, "plug-1").with(Identity::mac(mac(A))));
    let mut other = login(3, "plug-1").with(Identity::mac(mac(B)));
    other.facts = version("15.0.1");
    let sighted = roster.sight(&other);
    let conflict = sighted.conflict.expect("a contradiction");
    assert_eq!(
        roster.conflict(conflict).map(|c| c.why),
        Some(Why::OtherHardware)
    );
    let member = roster.get(id).expect("there");
    assert_eq!(member.mac(), Some(mac(A)));
    assert_eq!(member.facts.version(), Some("15.0.1"), "the login's word");
    assert_eq!(roster.settle(conflict, Settle::Pass, 4), Ok(()));
    assert_eq!(roster.get(id).and_then(Member::mac), Some(mac(B)));
    assert_eq!(roster.sight(&other).conflict, None);
    assert!(roster.by_mac(mac(A)).is_none());
}

#[test]
fn a_token_that_other_hardware_uses_tells_nothing_of_its_owner() {
    let mut roster = roster();
    let id = roster.enrol(&enrolment("plug-1"), 1);
    roster.sight(&login(2, "plug-1").with(Identity::mac(mac(A))));
    let mut stolen = Sighting::new(3, Source::Download, Proof::Token(id));
    stolen.identities.extend(Identity::mac(mac(B)));
    stolen.facts = version("6.6.6");
    let sighted = roster.sight(&stolen);
    assert_eq!(sighted.member, None);
    assert!(sighted.conflict.is_some());
    assert_eq!(roster.get(id).and_then(|m| m.facts.version()), None);
}

#[test]
fn facts_that_came_with_proof_are_not_overwritten_by_claims() {
    let mut roster = roster();
    let id = roster.enrol(&enrolment("plug-1"), 1);
    let mut own = login(2, "plug-1").with(Identity::mac(mac(A)));
    own.facts = version("14.0.0");
    roster.sight(&own);
    let mut said = claim(3).with(Identity::mac(mac(A)));
    said.facts = version("9.9.9");
    said.facts.board = Some("sonoff".into());
    roster.sight(&said);
    let facts = &roster.get(id).expect("there").facts;
    assert_eq!(facts.version(), Some("14.0.0"));
    assert_eq!(facts.board.as_deref(), Some("sonoff"), "nothing was known");
}

#[test]
fn a_new_uuid_on_the_same_hardware_is_an_event_and_no_contradiction() {
    let mut roster = roster();
    let check = |at, uuid: &str| {
        Sighting::new(at, Source::Check, Proof::Claim)
            .with(Identity::mac(mac(A)))
            .with(Identity::uuid(uuid))
    };
    let first = roster.sight(&check(1, "AAAA-1"));
    let second = roster.sight(&check(2, "bbbb-2"));
    assert_eq!(first.member, second.member);
    assert_eq!(second.conflict, None);
    assert_eq!(
        second.events,
        [What::Erased {
            from: "aaaa-1".into(),
            to: "bbbb-2".into()
        }]
    );
    assert!(
        roster
            .by_identity(&Identity::Uuid("aaaa-1".into()))
            .is_none()
    );
}

#[test]
fn a_uuid_that_comes_from_other_hardware_is_a_copied_flash_and_is_shown() {
    let mut roster = roster();
    let check = |at, address: &str| {
        Sighting::new(at, Source::Check, Proof::Claim)
            .with(Identity::mac(mac(address)))
            .with(Identity::uuid("aaaa-1"))
    };
    let first = roster.sight(&check(1, A));
    let second = roster.sight(&check(2, B));
    assert!(second.is_new);
    assert_ne!(first.member, second.member);
    assert!(second.conflict.is_some());
}

#[test]
fn the_other_interfaces_of_an_esp32_are_no_new_devices_and_those_of_an_esp8266_are() {
    for (chip, devices) in [(Chip::Esp32, 1), (Chip::Esp8266, 2)] {
        let mut roster = roster();
        let mut seen = claim(1).with(Identity::mac(mac(A)));
        seen.facts.chip = Some(chip);
        roster.sight(&seen);
        roster.sight(&claim(2).with(Identity::mac(mac("a0:b1:c2:00:00:13"))));
        assert_eq!(roster.len(), devices, "{chip:?}");
        // The access point's, by the bit for locally given addresses.
        roster.sight(&claim(3).with(Identity::mac(mac("a2:b1:c2:00:00:10"))));
        assert_eq!(roster.len(), devices, "{chip:?}");
        let member = roster.by_mac(mac(A)).expect("there");
        assert_eq!(member.mac(), Some(mac(A)), "{chip:?}");
    }
}

#[test]
fn a_renamed_device_leaves_its_old_topic_to_who_comes_next() {
    let mut roster = roster();
    let sight = |roster: &mut Roster, at, address: &str, topic: &str| {
        let seen = claim(at).with(Identity::mac(mac(address)));
        roster.sight(&seen.with(Identity::topic(topic)))
    };
    sight(&mut roster, 1, A, "plug");
    sight(&mut roster, 2, A, "lamp");
    let next = sight(&mut roster, 3, B, "plug");
    assert_eq!(next.conflict, None);
    assert_eq!(roster.by_mac(mac(A)).and_then(Member::topic), Some("lamp"));
    assert_eq!(roster.by_mac(mac(B)).and_then(Member::topic), Some("plug"));
}

#[test]
fn a_member_that_is_seen_again_and_again_is_written_once_a_minute() {
    let mut roster = roster();
    let seen = |at| claim(at).with(Identity::mac(mac(A)));
    roster.sight(&seen(100));
    assert_eq!(roster.take_dirty(10).members.len(), 1);
    roster.sight(&seen(110));
    assert!(roster.take_dirty(10).members.is_empty());
    roster.sight(&seen(170));
    assert_eq!(roster.take_dirty(10).members.len(), 1);
}

#[test]
fn one_address_adds_so_many_devices_a_minute_and_no_more() {
    let mut roster = roster();
    let peer: IpAddr = "192.168.1.66".parse().expect("an address");
    let mut dropped = 0;
    for number in 0..1000_u32 {
        let [_, _, c, d] = number.to_be_bytes();
        let seen = Sighting::new(60, Source::Check, Proof::Claim)
            .with(Identity::mac(MacAddress([2, 0, 0, 1, c, d])))
            .from_peer(peer);
        dropped += u32::from(roster.sight(&seen).dropped);
    }
    assert_eq!((roster.len(), dropped), (64, 936));
    assert_eq!(roster.counts().flooded, 936);
    let other: IpAddr = "192.168.1.67".parse().expect("an address");
    let seen = Sighting::new(61, Source::Check, Proof::Claim)
        .with(Identity::mac(mac(A)))
        .from_peer(other);
    assert!(roster.sight(&seen).is_new, "others still may");
}

#[test]
fn of_too_many_that_are_only_seen_the_one_longest_unseen_goes() {
    let limits = RosterLimits {
        max_seen: 3,
        ..RosterLimits::default()
    };
    let mut roster = Roster::new(limits, 1);
    let seen = |at, last| claim(at).with(Identity::mac(MacAddress([2, 0, 0, 0, 0, last])));
    let kept = roster.enrol(&enrolment("plug-1"), 1);
    for last in 1..=3 {
        roster.sight(&seen(u64::from(last), last));
    }
    roster.sight(&seen(10, 1));
    roster.sight(&seen(11, 4));
    assert_eq!(roster.len(), 4);
    assert!(roster.by_mac(MacAddress([2, 0, 0, 0, 0, 2])).is_none());
    assert!(roster.by_mac(MacAddress([2, 0, 0, 0, 0, 1])).is_some());
    assert!(roster.get(kept).is_some());
    assert_eq!(roster.counts().crowded_out, 1);
}

#[test]
fn a_device_that_is_only_seen_is_forgotten_after_its_time_and_an_enrolled_one_never() {
    let mut roster = roster();
    roster.enrol(&enrolment("plug-1"), 1);
    roster.sight(&claim(DAY).with(Identity::mac(mac(A))));
    roster.sight(&claim(DAY).with(Identity::mac(mac(B))));
    roster.sight(&claim(20 * DAY).with(Identity::mac(mac(B))));
    assert_eq!(roster.expire(32 * DAY, 10), 1);
    assert!(roster.by_mac(mac(A)).is_none());
    assert_eq!(roster.expire(365 * DAY, 10), 1);
    assert_eq!(roster.len(), 1);
}

#[test]
fn what_was_written_down_is_taken_up_again_as_it_was_but_not_as_connected() {
    let mut roster = roster();
    roster.enrol(&enrolment("plug-1"), 1);
    let mut own = login(2, "plug-1")
        .with(Identity::mac(mac(A)))
        .from_peer("10.0.0.5".parse::<IpAddr>().expect("an address"));
    own.facts = version("14.0.0");
    own.facts.online = Some(true);
    own.facts.chip = Some(Chip::Esp32C3);
    roster.sight(&own);
    let dirty = roster.take_dirty(10);
    let json = serde_json::to_string(&dirty.members[0]).expect("JSON");
    let read: Member = serde_json::from_str(&json).expect("the same");
    assert_eq!(read, dirty.members[0]);
    let mut again = Roster::new(RosterLimits::default(), 2);
    again.load(read);
    let member = again.by_name("plug-1").expect("there");
    assert_eq!(member.facts.version(), Some("14.0.0"));
    assert_eq!(member.facts.online, None);
    assert_eq!(again.dirty(), 0);
    assert_eq!(
        again.sight(&claim(3).with(Identity::mac(mac(B)))).member,
        Some(MemberId(2))
    );
}

#[test]
fn filters_find_whom_they_mean_page_by_page() {
    let mut roster = roster();
    for number in 0..250_u8 {
        let mut seen = claim(1)
            .with(Identity::mac(MacAddress([2, 0, 0, 0, 1, number])))
            .with(Identity::topic(&format!("plug-{number}")));
        seen.source = Source::Retained;
        seen.facts = version(if number % 2 == 0 { "14.0.0" } else { "15.0.1" });
        seen.facts.online = Some(number % 5 == 0);
        seen.facts.family = Some(Family::Tasmota);
        roster.sight(&seen);
    }
    let query = Query {
        version: Some("15.0.1".into()),
        family: Some(Family::Tasmota),
        online: Some(true),
        ..Query::default()
    };
    assert_eq!(roster.count(&query), 25);
    let mut after = None;
    let mut found = Vec::new();
    loop {
        let page = roster.select(&query, after, 10, |_| true);
        found.extend(page.members.iter().map(|member| member.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found.len(), 25);
    assert!(found.is_sorted());
    // The same in short looks, with a filter of one's own.
    let everybody = Query::default();
    let (mut after, mut same) = (None, Vec::new());
    loop {
        let wanted = |member: &Member| found.contains(&member.id);
        let page = roster.select_within(&everybody, after, 4, 7, wanted);
        same.extend(page.members.iter().map(|member| member.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(same, found);
    let text = |text: &str| Query {
        text: Some(text.into()),
        ..Query::default()
    };
    assert_eq!(roster.count(&text("PLUG-24")), 11);
    assert_eq!(roster.count(&text("g-249")), 1);
    assert_eq!(roster.count(&text("lamp")), 0);
    assert_eq!(roster.count(&text("02:00:00:00:01:f9")), 1);
    let none = Query {
        family: Some(Family::EspHome),
        ..Query::default()
    };
    assert_eq!(roster.count(&none), 0);
}

#[test]
fn a_question_that_few_meet_is_asked_of_few() {
    let mut roster = roster();
    for number in 0..10_000 {
        let mut plug = enrolment(&format!("plug-{number}"));
        plug.tags = vec![format!("room-{}", number % 100).into()];
        roster.enrol(&plug, 1);
    }
    for (text, meant, most) in [
        ("family==tasmota;name==plug-9999", 1, 2),
        ("name==PLUG-77", 1, 2),
        ("id==dev_b", 1, 1),
        ("tag==room-7", 100, 400),
        ("tag.room==7", 100, 800),
        // By the pairs of letters in what it is called.
        ("name==*-9999", 1, 600),
        ("topic==plug-9999", 1, 600),
        ("tag==nowhere", 0, 400),
        ("name==nobody", 0, 2),
    ] {
        let question = Where::parse(text).expect(text);
        let mut asked = 0;
        let page = roster.select(&Query::narrowed(&question), None, 1_000, |member| {
            asked += 1;
            question.matches(&Asked { member, now: 1 })
        });
        assert_eq!(page.members.len(), meant, "{text}");
        assert!(asked <= most, "{text}: {asked} were asked");
    }
}

#[test]
fn a_question_of_versions_is_asked_once_of_all_who_run_the_same() {
    let mut roster = roster();
    for number in 0..1_000_u32 {
        let [_, _, high, low] = number.to_be_bytes();
        let mut seen = claim(1).with(Identity::mac(MacAddress([2, 0, 0, 0, high, low])));
        seen.source = Source::Retained;
        seen.facts = version(if number % 2 == 0 { "14.0.0" } else { "15.0.1" });
        seen.facts.family = Some(Family::Tasmota);
        roster.sight(&seen);
    }
    let looked_at = |text: &str| {
        let question = Where::parse(text).expect(text);
        let (query, mut looks, mut after) = (Query::narrowed(&question), 0, None);
        let mut found = 0;
        loop {
            let page = roster.select_where(&query, Some(&question), 1, (after, 9_999, 10));
            (found, looks, after) = (found + page.members.len(), looks + 1, page.next);
            if after.is_none() {
                return (found, looks);
            }
        }
    };
    // Who is ruled out by the class is not looked at: there is one look, and all are seen.
    assert_eq!(looked_at("version=lt=9"), (0, 1));
    assert_eq!(looked_at("version=lt=9,family==plain"), (0, 1));
    assert_eq!(looked_at("version=lt=15;topic==none"), (0, 1));
    assert_eq!(looked_at("version=lt=15;seen>100"), (0, 1));
    assert_eq!(looked_at("version=lt=15;topic=in=(one,other)"), (0, 50));
    assert_eq!(looked_at("version=lt=15;seen<100").0, 500);
    assert_eq!(looked_at("version==15.0.1;seen<100").0, 500);
    let query = Query {
        version: Some("13.0.0".into()),
        ..Query::default()
    };
    assert_eq!(roster.count(&query), 0, "nobody runs it");
}

#[test]
fn a_member_is_found_by_whatever_it_is_called() {
    let mut roster = roster();
    let id = roster.enrol(&enrolment("plug-1"), 1);
    let mut own = login(2, "plug-1").with(Identity::mac(mac(A)));
    own.facts.label = Some("Kitchen lamp".into());
    roster.sight(&own);
    for called in [
        "plug-1",
        &format!("{id}"),
        "A0B1C2000010",
        "a0-b1-c2-00-00-10",
        "kitchen LAMP",
    ] {
        match roster.find(called) {
            Found::One(found) => assert_eq!(found.id, id, "{called}"),
            other => panic!("{called}: {other:?}"),
        }
    }
    assert!(matches!(roster.find("plug-2"), Found::Nobody));
    assert!(matches!(roster.find(""), Found::Nobody));
}

#[test]
fn commands_go_only_where_the_device_has_come_from_or_an_operator_says() {
    let mut roster = roster();
    let id = roster.enrol(&enrolment("plug-1"), 1);
    let mut own = login(2, "plug-1");
    own.facts.web = Some("10.0.0.9:8080".parse().expect("an address"));
    roster.sight(&own);
    let web = |roster: &Roster| roster.get(id).expect("there").web();
    assert_eq!(web(&roster), None, "it only said so");
    let here: IpAddr = "10.0.0.5".parse().expect("an address");
    roster.sight(&login(3, "plug-1").from_peer(here));
    let seen = |address: &str, proved| {
        let address = address.parse().expect("an address");
        Some(crate::Web::Seen { address, proved })
    };
    assert_eq!(web(&roster), seen("10.0.0.5:80", true));
    // A stranger who only knows its client identifier does not move it.
    let stranger: IpAddr = "10.0.0.66".parse().expect("an address");
    let mut attempt = Sighting::new(4, Source::Attempt, Proof::Claim);
    attempt.peer = Some(stranger);
    roster.sight(&attempt.with(Identity::client_id("plug-1")));
    assert_eq!(web(&roster), seen("10.0.0.5:80", true));
    assert_eq!(roster.get(id).expect("there").last_seen, 3);
    roster.set(
        id,
        Set {
            web: Some("plug.lan:8081".into()),
            ..Set::default()
        },
    );
    assert_eq!(web(&roster), Some(crate::Web::Set("plug.lan:8081".into())));
}

#[test]
fn what_we_wrote_stands_until_the_device_says_otherwise() {
    let mut roster = roster();
    let id = roster.enrol(&enrolment("plug-1"), 1);
    let image = Installed {
        version: Some("15.0.1".into()),
        ..Installed::default()
    };
    roster.installed(id, Slot::Safeboot, image, 5);
    let known = roster.get(id).expect("there").facts.image(Slot::Safeboot);
    assert_eq!(known.map(|i| i.confidence), Some(Confidence::InstalledByUs));
    let mut own = login(6, "plug-1");
    own.facts.images = vec![(Slot::Safeboot, Installed::reported("15.0.1", 6))];
    let sighted = roster.sight(&own);
    assert!(sighted.changed && sighted.events.is_empty());
    let known = roster.get(id).expect("there").facts.image(Slot::Safeboot);
    assert_eq!(known.map(|i| i.confidence), Some(Confidence::Reported));
    assert_eq!(known.map(|i| i.at), Some(5));
}

#[test]
fn an_image_without_a_version_takes_none_from_the_slot_that_the_device_runs() {
    let mut roster = roster();
    let id = roster.enrol(&enrolment("plug-1"), 1);
    let mut own = login(2, "plug-1");
    own.facts = version("15.1.0");
    own.facts.running = Some(Slot::Main);
    let safeboot = Installed::reported("14.3.0", 0);
    own.facts.images.push((Slot::Safeboot, safeboot));
    roster.sight(&own);
    let events = roster.get(id).expect("there").events.len();
    // Files of Tasmota do not tell their version.
    assert!(roster.installed(id, Slot::Main, Installed::default(), 3));
    let main = |roster: &Roster| {
        let facts = &roster.get(id).expect("there").facts;
        facts.image(Slot::Main).cloned().expect("an image")
    };
    assert_eq!(main(&roster).version.as_deref(), Some("15.1.0"));
    assert_eq!(main(&roster).confidence, Confidence::Reported);
    assert_eq!(roster.get(id).expect("there").events.len(), events);
    // What it does not run, it has not told anything new of.
    assert!(roster.installed(id, Slot::Safeboot, Installed::default(), 4));
    let facts = &roster.get(id).expect("there").facts;
    let safeboot = facts.image(Slot::Safeboot).expect("an image");
    assert_eq!(safeboot.version, None);
    assert_eq!(safeboot.confidence, Confidence::InstalledByUs);
    // And a version of ours counts.
    let image = Installed {
        version: Some("15.2.0".into()),
        ..Installed::default()
    };
    assert!(roster.installed(id, Slot::Main, image, 5));
    assert_eq!(main(&roster).version.as_deref(), Some("15.2.0"));
    assert!(!roster.installed(MemberId(99), Slot::Main, Installed::default(), 6));
}

#[test]
fn what_one_login_has_proved_another_login_does_not_take_and_what_was_claimed_it_does() {
    let topic = |name: &str| Identity::topic(name);
    for (first, kept) in [(login(2, "plug-1"), true), (claim(2), false)] {
        let mut roster = roster();
        let one = roster.enrol(&enrolment("plug-1"), 1);
        let other = roster.enrol(&enrolment("plug-2"), 1);
        let said = first.with(Identity::mac(mac(A))).with(topic("plug-1"));
        assert_eq!(roster.sight(&said).member, Some(one));
        let said = login(3, "plug-2").with(Identity::mac(mac(A)));
        let sighted = roster.sight(&said.with(topic("plug-2")));
        let owner = roster.by_mac(mac(A)).map(|member| member.id);
        assert_eq!(owner, Some(if kept { one } else { other }));
        let why = sighted.conflict.and_then(|id| roster.conflict(id));
        let why = why.map(|conflict| (conflict.why, conflict.holder, conflict.claimant));
        let twice = (Why::ProvedTwice, one, Some(other));
        assert_eq!(why, kept.then_some(twice));
    }
}

#[test]
fn who_is_counted_on_is_neither_forgotten_nor_crowded_out_nor_joined_to_another() {
    let limits = RosterLimits {
        max_seen: 1,
        ..RosterLimits::default()
    };
    let mut roster = Roster::new(limits, 1);
    let seen = roster.sight(&claim(1).with(Identity::mac(mac(A))));
    let id = seen.member.expect("a member");
    // Two offers, one after the other, overlap for a moment.
    roster.pin(id);
    roster.pin(id);
    roster.unpin(id);
    roster.sight(&claim(2).with(Identity::mac(mac(B))));
    roster.sight(&claim(3).with(Identity::mac(mac("a0:b1:c2:00:00:30"))));
    assert!(roster.get(id).is_some(), "another made room");
    assert_eq!(roster.len(), 2);
    roster.expire(365 * DAY, 10);
    assert!(!roster.forget(id));
    assert_eq!(roster.len(), 1);
    // A login proves the address: it is taken, and the member stays.
    let plug = roster.enrol(&enrolment("plug-1"), 4);
    roster.sight(&login(5, "plug-1").with(Identity::mac(mac(A))));
    assert_eq!(roster.by_mac(mac(A)).map(|m| m.id), Some(plug));
    assert!(roster.get(id).is_some());
    // An enrolment that is taken back under an offer is counted on, too.
    roster.pin(plug);
    roster.release("plug-1", 6);
    roster.expire(365 * DAY, 10);
    assert_eq!(roster.len(), 2);
    for pinned in [id, plug, MemberId(99)] {
        roster.unpin(pinned);
    }
    assert_eq!(roster.expire(365 * DAY, 10), 2);
    assert!(roster.is_empty());
}

#[test]
fn what_could_not_be_written_down_is_taken_again_once() {
    let mut roster = roster();
    let id = roster.enrol(&enrolment("plug-1"), 1);
    roster.sight(&login(2, "plug-1").with(Identity::mac(mac(A))));
    let settled = roster.sight(&login(3, "plug-1").with(Identity::mac(mac(B))));
    let gone = roster.sight(&claim(4).with(Identity::mac(mac("a0:b1:c2:00:00:30"))));
    let settled = settled.conflict.expect("a contradiction");
    roster.take_dirty(10);
    roster.note(id, &"é".repeat(80_000), 5);
    assert_eq!(roster.settle(settled, Settle::Keep, 5), Ok(()));
    assert!(roster.forget(gone.member.expect("a member")));
    let open = roster.sight(&login(6, "plug-1").with(Identity::mac(mac(B))));
    let unwritten = roster.take_dirty(10);
    roster.put_back(unwritten.clone());
    roster.note(id, "second", 7);
    let again = roster.take_dirty(10);
    assert_eq!(again.members.len(), 1);
    assert_eq!(again.removed, unwritten.removed);
    assert_eq!(again.settled, [settled]);
    assert_eq!(Some(again.conflicts[0].id), open.conflict);
    assert_eq!(again.events.len(), unwritten.events.len() + 1);
    assert_eq!(again.events[0], unwritten.events[0]);
    let What::Note { text } = &again.events[0].1.what else {
        panic!("{:?}", again.events[0]);
    };
    assert_eq!(text.len(), limits::MAX_NOTE);
    assert!(roster.take_dirty(10).is_empty());
}

mod random;

fn check(at: u64, device: &str) -> Sighting {
    let mut check = Sighting::new(at, Source::Check, Proof::Claim)
        .with(Identity::mac(mac(device)))
        .with(Identity::uuid("11111111-2222-3333-4444-555555555555"))
        .from_peer(IpAddr::from([192, 168, 1, 66]));
    check.facts = version("99.0");
    check.facts.family = Some(Family::Xiaozhi);
    check.facts.chip = Some(Chip::Esp32S3);
    check.facts.room = vec![(Slot::Main, 16)];
    check.facts.restart_reason = Some("made up".into());
    check
}

/// A plug that has proved its hardware, its version and where it is.
fn plug(roster: &mut Roster) -> MemberId {
    let id = roster.enrol(&enrolment("plug"), 1);
    let mut own = login(10, "plug")
        .with(Identity::mac(mac(A)))
        .with(Identity::topic("plug"))
        .from_peer(IpAddr::from([192, 168, 1, 31]));
    own.facts = version("15.0.1");
    own.facts.family = Some(Family::Tasmota);
    own.facts.chip = Some(Chip::Esp32);
    own.facts.room = vec![(Slot::Main, 2_949_120)];
    own.facts.started_at = Some(5);
    own.facts.restart_reason = Some("Power On".into());
    assert_eq!(roster.sight(&own).member, Some(id));
    id
}

#[test]
fn a_check_with_the_address_of_an_enrolled_device_changes_nothing_of_it() {
    let mut roster = roster();
    let id = plug(&mut roster);
    let before = roster.get(id).cloned().expect("the plug");
    let sighted = roster.sight(&check(5_000, A));
    assert_eq!(sighted.member, Some(id));
    assert!(!sighted.is_itself);
    let after = roster.get(id).expect("the plug");
    assert_eq!(after.facts, before.facts);
    assert_eq!(after.last_seen, before.last_seen);
    assert_eq!(after.came_from, before.came_from);
    let started = |what: &What| matches!(what, What::Started { .. });
    assert!(!sighted.events.iter().any(started));
}

#[test]
fn whose_word_counts_as_the_devices_own_is_told() {
    let mut roster = roster();
    let id = plug(&mut roster);
    let own = login(20, "plug").with(Identity::topic("plug"));
    assert!(roster.sight(&own).is_itself);
    let claimed = claim(21).with(Identity::topic("plug"));
    let sighted = roster.sight(&claimed);
    assert_eq!((sighted.member, sighted.is_itself), (Some(id), false));
    // Another board under the same login.
    let other = login(22, "plug").with(Identity::mac(mac(B)));
    let sighted = roster.sight(&other);
    assert_eq!((sighted.member, sighted.is_itself), (Some(id), false));
    // Where nobody has a login, a claim is all there is.
    let open = claim(23).with(Identity::mac(mac("a0:b1:c2:00:00:30")));
    assert!(roster.sight(&open).is_itself);
}

#[test]
fn what_joins_an_enrolled_device_leaves_what_it_has_proved() {
    let mut roster = roster();
    let id = plug(&mut roster);
    // Somebody claims a client identifier that was seen alone before.
    let alone = claim(30).with(Identity::client_id("DVES_000010"));
    assert!(roster.sight(&alone).is_new);
    let both = claim(31)
        .with(Identity::mac(mac(A)))
        .with(Identity::client_id("DVES_000010"));
    assert_eq!(roster.sight(&both).member, Some(id));
    assert_eq!(roster.len(), 1);
    let mut lie = claim(32).with(Identity::mac(mac(A)));
    lie.facts = version("99.0");
    lie.facts.chip = Some(Chip::Esp32C3);
    lie.facts.started_at = Some(31);
    lie.facts.room = vec![(Slot::Main, 16)];
    roster.sight(&lie);
    let member = roster.get(id).expect("the plug");
    assert_eq!(member.facts.version(), Some("15.0.1"));
    assert_eq!(member.chip(), Some(Chip::Esp32));
    assert_eq!(member.facts.started_at, Some(5));
    assert_eq!(member.room(Slot::Main), Some(2_949_120));
}

#[test]
fn a_claimed_topic_does_not_become_the_one_that_a_device_goes_by() {
    let mut roster = roster();
    let id = plug(&mut roster);
    let lie = claim(40)
        .with(Identity::mac(mac(A)))
        .with(Identity::topic("evil"))
        .with(Identity::client_id("evil"));
    assert_eq!(roster.sight(&lie).member, Some(id));
    let member = roster.get(id).expect("the plug");
    assert_eq!(
        (member.topic(), member.client_id()),
        (Some("plug"), Some("plug"))
    );
}

#[test]
fn a_clock_that_was_wrong_does_not_stay_with_the_devices_it_was_wrong_for() {
    let mut roster = roster();
    let id = plug(&mut roster);
    let years = 10 * 365 * DAY;
    let own = |at: u64| login(at, "plug").with(Identity::topic("plug"));
    roster.sight(&own(years));
    // What overtakes by seconds is no clock that was set back.
    roster.sight(&own(years - 2));
    assert_eq!(roster.get(id).expect("the plug").last_seen, years);
    roster.sight(&own(100));
    assert_eq!(roster.get(id).expect("the plug").last_seen, 100);
}

#[test]
fn of_an_identity_that_two_were_written_down_with_the_one_that_proved_it_keeps_it() {
    let mut first = roster();
    let seen = first.sight(&claim(1).with(Identity::topic("plug"))).member;
    let claimed = first.get(seen.expect("seen")).cloned().expect("a member");
    let mut second = roster();
    second.reserve_ids(7);
    let id = second.enrol(&enrolment("plug"), 2);
    let proved = second.get(id).cloned().expect("a member");
    let mut loaded = roster();
    loaded.load(claimed);
    loaded.load(proved);
    let owner = loaded.by_identity(&Identity::Topic("plug".into()));
    assert_eq!(owner.map(|member| member.id), Some(id));
}

#[test]
fn orders_for_a_device_go_to_no_topic_but_its_own() {
    let mut roster = roster();
    let id = plug(&mut roster);
    roster.enrol(&enrolment("lamp"), 1);
    let topic = |roster: &Roster| roster.get(id).expect("the plug").command_topic();
    assert_eq!(topic(&roster).as_deref(), Some("cmnd/plug/"));
    let says = |at, command: &str| {
        let mut own = login(at, "plug").with(Identity::topic("plug"));
        own.facts.command_topic = Some(command.into());
        own.facts.update_topic = Some(command.into());
        own
    };
    for another in ["cmnd/lamp/", "cmnd/lamp_fb/", "cmnd/", "", "lamp/plug/x/"] {
        roster.sight(&says(50, another));
        assert_eq!(topic(&roster).as_deref(), Some("cmnd/plug/"), "{another:?}");
        assert_eq!(roster.get(id).expect("the plug").update_topic(), None);
    }
    // Whatever its prefix and its FullTopic are.
    for own in ["plug/cmnd/", "orders/plug/", "cmnd/plug_fb/"] {
        roster.sight(&says(51, own));
        assert_eq!(topic(&roster).as_deref(), Some(own));
    }
    roster.sight(&says(52, "plug/update/firmware/command"));
    let plug = roster.get(id).expect("the plug");
    assert_eq!(plug.update_topic(), Some("plug/update/firmware/command"));
}

#[test]
fn who_fetches_with_a_devices_token_from_elsewhere_is_not_taken_for_its_page() {
    let mut roster = roster();
    let id = plug(&mut roster);
    let home = roster.get(id).expect("the plug").web();
    let thief = Sighting::new(60, Source::Download, Proof::Token(id))
        .from_peer(IpAddr::from([192, 168, 1, 66]));
    roster.sight(&thief);
    assert_eq!(roster.get(id).expect("the plug").web(), home);
}
