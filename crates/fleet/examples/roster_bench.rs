//! How long the roster takes with very many devices, and what it weighs.
//!
//! Linux only, since it reads `/proc/self/statm`.
//! `cargo run --release -p safeport-fleet --example roster_bench -- [--json] [--members N]`

use std::hint::black_box;
use std::time::Instant;

use safeport_fleet::{
    Chip, DeviceName, Enrolment, Facts, Family, Identity, Installed, MacAddress, Member, Proof,
    Query, Roster, RosterLimits, Sighting, Slot, Source,
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    let members = arguments
        .iter()
        .position(|argument| argument == "--members")
        .and_then(|at| arguments.get(at + 1)?.parse().ok())
        .unwrap_or(100_000);
    let house = House::new(members);
    let rows = house.measure();
    if json {
        let rows: Vec<String> = rows
            .iter()
            .map(|row| {
                format!(
                    "{{\"what\":\"{}\",\"unit\":\"us\",\"p50\":{:.2},\"p99\":{:.2},\"max\":{:.2},\"times\":{}}}",
                    row.what, row.p50, row.p99, row.max, row.times
                )
            })
            .collect();
        println!(
            "{{\"members\":{members},\"bytes_per_member\":{},\"rows\":[{}]}}",
            house.bytes / members,
            rows.join(",")
        );
        return;
    }
    println!("{members} members, {} bytes each", house.bytes / members);
    println!(
        "{:32} {:>10} {:>10} {:>10}",
        "microseconds", "p50", "p99", "max"
    );
    for row in rows {
        println!(
            "{:32} {:10.2} {:10.2} {:10.2}",
            row.what, row.p50, row.p99, row.max
        );
    }
}

struct House {
    roster: Roster,
    members: usize,
    bytes: usize,
}

struct Row {
    what: &'static str,
    p50: f64,
    p99: f64,
    max: f64,
    times: usize,
}

impl House {
    /// Nine in ten enrolled and talkative as a Tasmota is, the others only seen.
    fn new(members: usize) -> House {
        let before = resident();
        let mut roster = Roster::new(RosterLimits::default(), 42);
        for number in 0..members {
            if number % 10 != 9 {
                roster.enrol(&enrolment(number), 1);
            }
            roster.sight(&discovery(number, 2));
            if number % 1_000 == 999 {
                roster.take_dirty(2_000);
            }
        }
        roster.take_dirty(usize::MAX);
        House {
            roster,
            members,
            bytes: resident().saturating_sub(before),
        }
    }

    fn measure(&self) -> Vec<Row> {
        let all = self.members;
        let roster = &self.roster;
        let mut chance = Chance(1);
        let mut rows = vec![
            timed("look up by name", 20_000, || {
                roster.by_name(&name(chance.below(all))).map(|m| m.id)
            }),
            timed("look up by MAC", 20_000, || {
                roster.by_mac(mac(chance.below(all))).map(|m| m.id)
            }),
        ];
        let everybody = Query::default();
        rows.push(timed("page of 100 anywhere", 5_000, || {
            let after = safeport_fleet::MemberId(chance.below(all) as u64);
            roster
                .select(&everybody, Some(after), 100, |_| true)
                .members
                .len()
        }));
        let filters: [(&'static str, Query); 6] = [
            (
                "filter family and chip, page",
                query(|q| {
                    q.family = Some(Family::Tasmota);
                    q.chip = Some(Chip::Esp32C3);
                }),
            ),
            (
                "filter that one passes",
                query(|q| {
                    q.version = Some("15.0.1".into());
                    q.enrolled = Some(false);
                    q.online = Some(true);
                }),
            ),
            (
                "filter that none passes",
                query(|q| q.family = Some(Family::EspEasy)),
            ),
            (
                "filter by tag, page",
                query(|q| q.tags = vec!["room-7".into()]),
            ),
            (
                "search part of a name, page",
                query(|q| q.text = Some("plug-77".into())),
            ),
            (
                "search that finds nothing",
                query(|q| q.text = Some("nowhere".into())),
            ),
        ];
        for (what, query) in &filters {
            rows.push(timed(what, 500, || {
                roster.select(query, None, 100, |_| true).members.len()
            }));
        }
        rows.push(timed("count by family and state", 500, || {
            roster.count(&query(|q| {
                q.family = Some(Family::Tasmota);
                q.online = Some(true);
            }))
        }));
        rows.push(timed("predicate over all members", 100, || {
            let nobody = |member: &Member| member.facts.version() == Some("0.0.0");
            roster.select(&everybody, None, 100, nobody).members.len()
        }));
        rows.extend(self.folds());
        rows
    }

    fn folds(&self) -> Vec<Row> {
        let all = self.members;
        // Its own, to be changed.
        let mut house = House::new(all);
        let mut chance = Chance(2);
        let mut at = 1_000;
        let same = timed("fold what is known", 20_000, || {
            at += 1;
            house
                .roster
                .sight(&discovery(chance.below(all), at))
                .changed
        });
        let changed = timed("fold a new version", 20_000, || {
            at += 1;
            let mut seen = discovery(chance.below(all), at);
            seen.facts.images[0].1.version = Some(format!("16.0.{at}").into());
            house.roster.sight(&seen).changed
        });
        let mut next = all;
        let new = timed("fold a new device", 20_000, || {
            at += 1;
            next += 10;
            house.roster.sight(&discovery(next + 9, at)).is_new
        });
        let dirty = timed("take 1,000 to be written", 20, || {
            house.roster.take_dirty(1_000).members.len()
        });
        vec![same, changed, new, dirty]
    }
}

fn query(set: impl FnOnce(&mut Query)) -> Query {
    let mut query = Query::default();
    set(&mut query);
    query
}

fn name(number: usize) -> String {
    format!("plug-{number}")
}

fn mac(number: usize) -> MacAddress {
    let [.., d, e, f] = (number * 4).to_be_bytes();
    MacAddress([0xa0, 0xb1, 0xc2, d, e, f])
}

fn enrolment(number: usize) -> Enrolment {
    Enrolment {
        name: DeviceName::new(&name(number)).expect("a name"),
        family: Family::Tasmota,
        mac: Some(mac(number)),
        client_id: name(number).into(),
        topic: name(number).into(),
        tags: vec![format!("room-{}", number % 50).into()],
        created: 1,
    }
}

fn discovery(number: usize, at: u64) -> Sighting {
    let proof = if number % 10 == 9 {
        Proof::Claim
    } else {
        Proof::Login(DeviceName::new(&name(number)).expect("a name"))
    };
    let mut seen = Sighting::new(at, Source::Retained, proof)
        .with(Identity::mac(mac(number)))
        .with(Identity::topic(&name(number)))
        .from_peer(std::net::IpAddr::from([
            10,
            1,
            (number >> 8) as u8,
            number as u8,
        ]));
    let version = if number.is_multiple_of(3) {
        "15.0.1"
    } else {
        "14.6.0"
    };
    let mut image = Installed::reported(version, at);
    image.variant = Some("tasmota32c3".into());
    seen.facts = Facts {
        family: Some(Family::Tasmota),
        chip: Some(if number.is_multiple_of(4) {
            Chip::Esp32C3
        } else {
            Chip::Esp32
        }),
        board: Some("Athom Plug V2".into()),
        hostname: Some(format!("tasmota-{number:06X}").into()),
        label: Some(format!("Plug {number}").into()),
        online: Some(number % 10 != 9 || number % 1_000 == 999 && number < 1_000),
        flash_size: Some(4 << 20),
        images: vec![(Slot::Main, image)],
        running: Some(Slot::Main),
        command_topic: Some(format!("cmnd/plug-{number}/").into()),
        fallback_topic: Some(format!("cmnd/DVES_{number:06X}_fb/").into()),
        boot_count: Some(7),
        ..Facts::default()
    };
    seen
}

fn timed<T>(what: &'static str, times: usize, mut run: impl FnMut() -> T) -> Row {
    let mut took: Vec<f64> = (0..times)
        .map(|_| {
            let start = Instant::now();
            black_box(run());
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    took.sort_by(f64::total_cmp);
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    Row {
        what,
        p50: at(0.5),
        p99: at(0.99),
        max: at(1.0),
        times,
    }
}

/// A generator without a state worth the name.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Resident bytes of this process: the second field, in pages of 4,096 bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1);
    pages.and_then(|pages| pages.parse().ok()).unwrap_or(0) * 4096
}
