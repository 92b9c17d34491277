//! Sightings at random, from few identities so that they meet often.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::query::Where;

#[derive(Debug, Clone)]
enum Step {
    Sight(Box<Sighting>),
    Enrol(u8, Option<u8>),
    Release(u8),
    Settle(u8, bool),
    Expire(u64),
    Forget(u8),
    Write,
}

fn device(number: u8) -> DeviceName {
    name(["plug", "lamp", "door", "mill"][usize::from(number % 4)])
}

fn address(number: u8) -> MacAddress {
    // Neighbours within a row of four, and twins.
    MacAddress([number & 2, 0, 0, 0, 0, number % 12])
}

fn identity() -> impl Strategy<Value = Identity> {
    prop_oneof![
        any::<u8>().prop_map(|n| Identity::Mac(address(n))),
        (0..4_u8).prop_map(|n| Identity::Topic(device(n).as_str().into())),
        (0..4_u8).prop_map(|n| Identity::ClientId(device(n).as_str().into())),
        (0..4_u8).prop_map(|n| Identity::Uuid(format!("uuid-{n}").into())),
        (0..2_u8).prop_map(|n| Identity::Serial(format!("serial-{n}").into())),
    ]
}

fn sighting() -> impl Strategy<Value = Sighting> {
    let proof = prop_oneof![
        3 => Just(Proof::Claim),
        2 => (0..4_u8).prop_map(|n| Proof::Login(device(n))),
        1 => (1..12_u64).prop_map(|n| Proof::Token(MemberId(n))),
    ];
    let source = prop_oneof![
        Just(Source::Message),
        Just(Source::Check),
        Just(Source::Download),
        Just(Source::Attempt),
        Just(Source::Retained),
    ];
    let chip = prop_oneof![
        Just(None),
        Just(Some(Chip::Esp32)),
        Just(Some(Chip::Esp8266))
    ];
    let peer = proptest::option::of((0..3_u8).prop_map(|n| IpAddr::from([10, 0, 0, n])));
    let identities = proptest::collection::vec(identity(), 0..4);
    let label = prop_oneof![
        3 => Just(None),
        1 => proptest::sample::select(&LABELS[..]).prop_map(Some)
    ];
    let rest = (chip, label, 0..3_u8);
    (0..5_000_u64, source, proof, identities, peer, rest).prop_map(
        |(at, source, proof, identities, peer, (chip, label, number))| {
            let mut facts = version(["14.0.0", "15.0.1", "15.1.0"][usize::from(number)]);
            if number > 0 {
                let safeboot = ["13.0.0", "15.0.1"][usize::from(number - 1)];
                let safeboot = (Slot::Safeboot, Installed::reported(safeboot, 0));
                facts.images.push(safeboot);
                facts.layout = Some(crate::Layout::Safeboot);
            }
            facts.chip = chip;
            facts.online = [None, Some(true), Some(false)][usize::from(number)];
            facts.label = label.map(Into::into);
            Sighting {
                at,
                source,
                proof,
                identities,
                peer,
                facts,
            }
        },
    )
}

const LABELS: [&str; 5] = ["Küche", "KÜCHE", "Plug", "plug-2", "厨房"];
const TAGS: [&str; 3] = ["kitchen", "room-hall", "room=Attic"];

/// A comparison; many find somebody.
fn comparison() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(
        &[
            "name==plug",
            "name==PLUG",
            "name==küche",
            "name==plug*",
            "name==*U*G*",
            "name==厨*",
            "name==uuid-1",
            "name==02:*",
            "name==dev_b",
            "name=in=(plug,lamp)",
            "name!=plug",
            "id==dev_c",
            "id==DEV_D",
            "family==tasmota",
            "family!=Tasmota",
            "chip==ESP32",
            "version==15.0.1",
            "version=lt=15.1",
            "tag==Kitchen",
            "tag.room==hall",
            "tag.room==attic",
            "tag.room==*a*",
            "topic==door",
            "mac==02-00-00-00-00-01",
            "mac==020000*",
            "online==true",
            "enrolled==false",
            "seen<100",
            "seen<=2000",
            "seen>3000",
            "seen>=3000",
            "seen>=0",
            "seen<0",
            "seen==007",
            "seen>99999999999999999999",
            "seen>x",
            "seen!=5",
            "safeboot=lt=13.5",
            "safeboot==13.0.0",
            "layout==safeboot",
        ][..],
    )
}

fn question() -> impl Strategy<Value = Where> {
    let joined = (comparison(), comparison(), 0..5_u8).prop_map(|(one, other, how)| {
        let text = match how {
            0 => one.into(),
            1 => format!("{one},{other}"),
            2 => format!("{one};({other},{one})"),
            _ => format!("{one};{other}"),
        };
        Where::parse(&text).expect("a question")
    });
    joined.boxed()
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => sighting().prop_map(|seen| Step::Sight(seen.into())),
        2 => (0..4_u8, proptest::option::of(any::<u8>())).prop_map(|(n, m)| Step::Enrol(n, m)),
        1 => (0..4_u8).prop_map(Step::Release),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(n, pass)| Step::Settle(n, pass)),
        1 => (0..10_000_u64).prop_map(Step::Expire),
        1 => any::<u8>().prop_map(Step::Forget),
        1 => Just(Step::Write),
    ]
}

fn small() -> Roster {
    let limits = RosterLimits {
        max_seen: 6,
        new_per_address: 5,
        forget_unseen: 3_000,
    };
    Roster::new(limits, 7)
}

fn apply(roster: &mut Roster, step: &Step) {
    match step {
        Step::Sight(sighting) => {
            roster.sight(sighting);
        }
        Step::Enrol(number, hardware) => {
            let mut enrolment = enrolment(device(*number).as_str());
            enrolment.tags = TAGS[..usize::from(*number % 4)]
                .iter()
                .map(|tag| (*tag).into())
                .collect();
            enrolment.mac = hardware.map(address).filter(|mac| mac.is_of_one_device());
            roster.enrol(&enrolment, 1);
        }
        Step::Release(number) => {
            roster.release(device(*number).as_str(), 1);
        }
        Step::Settle(number, pass) => {
            let all = roster.quarantine();
            let chosen = all.get(usize::from(*number) % all.len().max(1));
            if let Some(id) = chosen.map(|conflict| conflict.id) {
                let how = if *pass { Settle::Pass } else { Settle::Keep };
                let _ = roster.settle(id, how, 1);
            }
        }
        Step::Expire(now) => {
            roster.expire(*now, 2);
        }
        Step::Forget(number) => {
            roster.forget(MemberId(u64::from(*number % 20)));
        }
        Step::Write => {
            roster.take_dirty(3);
        }
    }
}

/// Every member with what is public of it.
fn everything(roster: &Roster) -> Vec<Member> {
    roster.matching(&Query::default(), None).cloned().collect()
}

fn proved(roster: &Roster) -> BTreeMap<Identity, MemberId> {
    let mut proved = BTreeMap::new();
    for member in everything(roster) {
        for known in member.identities.iter().filter(|known| known.proved) {
            proved.insert(known.identity.clone(), member.id);
        }
    }
    proved
}

fn check(roster: &Roster) {
    let members = everything(roster);
    assert_eq!(members.len(), roster.len());
    let mut owners = BTreeMap::new();
    for member in &members {
        assert!(member.identities.len() <= limits::MAX_IDENTITIES);
        for known in &member.identities {
            let other = owners.insert(known.identity.clone(), member.id);
            assert_eq!(other, None, "{} belongs to two", known.identity);
            let found = roster.by_identity(&known.identity).map(|found| found.id);
            assert_eq!(found, Some(member.id), "{} is not found", known.identity);
        }
        if let Some(name) = &member.enrolment {
            assert_eq!(roster.by_name(name.as_str()).map(|m| m.id), Some(member.id));
        }
    }
    let enrolled = members.iter().filter(|m| m.enrolment.is_some()).count();
    assert_eq!(enrolled, roster.enrolled());
    assert_eq!(members.len() - enrolled, roster.seen.len(), "who may go");
    assert!(members.len() - enrolled <= 6 + 4, "bounded");
    let mut versions = BTreeMap::new();
    let safeboot = |member: &'_ Member| -> Option<Text> {
        let image = member.facts.image(Slot::Safeboot)?;
        image.version.clone()
    };
    let safeboots: Vec<Text> = members.iter().filter_map(safeboot).collect();
    let main = members.iter().filter_map(|member| member.facts.version());
    for version in main.chain(safeboots.iter().map(|text| &**text)) {
        *versions.entry(version).or_insert(0_u32) += 1;
    }
    assert_eq!(
        roster.table.versions().counted(),
        versions,
        "each text once"
    );
    for conflict in roster.quarantine() {
        assert!(roster.get(conflict.holder).is_some());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn no_identity_ever_belongs_to_two_and_every_index_is_right(
        steps in proptest::collection::vec(step(), 1..80)
    ) {
        let mut roster = small();
        for step in &steps {
            apply(&mut roster, step);
            check(&roster);
        }
    }

    #[test]
    fn a_question_narrowed_down_finds_all_whom_it_means_and_nobody_else(
        steps in proptest::collection::vec(step(), 1..60),
        questions in proptest::collection::vec(question(), 1..8)
    ) {
        let mut roster = small();
        for step in &steps {
            apply(&mut roster, step);
            for question in &questions {
                let meant = |member: &Member| question.matches(&Asked { member, now: 5_000 });
                let all = everything(&roster);
                let expected: Vec<MemberId> =
                    all.iter().filter(|member| meant(member)).map(|m| m.id).collect();
                let query = Query::narrowed(question);
                let page = roster.select(&query, None, 99, meant);
                let found: Vec<MemberId> = page.members.iter().map(|m| m.id).collect();
                prop_assert_eq!(&found, &expected, "{:?}", question);
                // The same in short looks.
                let (mut after, mut same) = (None, Vec::new());
                loop {
                    let look = (after, 2, 3);
                    let page = roster.select_where(&query, Some(question), 5_000, look);
                    same.extend(page.members.iter().map(|m| m.id));
                    after = page.next;
                    if after.is_none() {
                        break;
                    }
                }
                prop_assert_eq!(&same, &expected, "{:?}", question);
            }
        }
    }

    #[test]
    fn what_is_proved_is_never_lost_to_a_claim(
        steps in proptest::collection::vec(step(), 1..60),
        claims in proptest::collection::vec(sighting(), 1..20)
    ) {
        let mut roster = small();
        for step in &steps {
            apply(&mut roster, step);
        }
        // Who is only seen may be forgotten, with all it had.
        let before: BTreeMap<_, _> = proved(&roster)
            .into_iter()
            .filter(|(_, id)| roster.get(*id).is_some_and(|m| m.enrolment.is_some()))
            .collect();
        for mut claim in claims {
            claim.proof = Proof::Claim;
            roster.sight(&claim);
        }
        let after = proved(&roster);
        for (identity, id) in before {
            prop_assert_eq!(after.get(&identity), Some(&id), "{}", identity);
        }
    }

    #[test]
    fn the_same_sightings_make_the_same_roster(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let (mut one, mut other) = (small(), Roster::new(small().limits, 99));
        for step in &steps {
            apply(&mut one, step);
            apply(&mut other, step);
        }
        prop_assert_eq!(everything(&one), everything(&other));
        prop_assert_eq!(one.counts(), other.counts());
    }
}
