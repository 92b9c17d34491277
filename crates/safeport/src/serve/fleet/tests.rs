use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::time::{Instant, SystemTime};

use safeport_broker::Publisher;
use safeport_fleet::{Identity, MacAddress, Member, Proof, Query, Source};
use safeport_net::attempt::Ending;
use safeport_store::{By, DataFolder, DeviceRecord, Rights, Secret};

use super::*;

const DISCOVERY: &str = r#"{"ip":"192.168.1.31","dn":"Kitchen","hn":"tasmota-1","mac":"A0B1C23D5E26","md":"Plug","sw":"15.0.1","t":"plug-1","ft":"%prefix%/%topic%/","tp":["cmnd","stat","tele"],"ver":1}"#;
const DISCOVERY_TOPIC: &str = "tasmota/discovery/A0B1C23D5E26/config";
const BY: By<'_> = By { who: "test", at: 1 };
const SOON: Duration = Duration::from_secs(20);

/// A data folder, and the fleet of a server that works on it.
struct House {
    data: DataFolder,
    fleet: Arc<Fleet>,
    _folder: tempfile::TempDir,
}

impl House {
    fn new() -> House {
        let folder = tempfile::tempdir().expect("a folder");
        let data = DataFolder::open(folder.path()).expect("a data folder");
        let fleet = start(&data);
        House {
            data,
            fleet,
            _folder: folder,
        }
    }

    /// As after `kill`: nothing is finished by hand.
    fn restart(&mut self) {
        self.fleet.finish(SOON);
        self.fleet = start(&self.data);
    }

    fn registry(&self) -> Registry {
        self.data.registry().expect("the registry")
    }

    fn add(&self, name: &str) {
        let record = DeviceRecord {
            name: name.to_owned(),
            family: "tasmota".to_owned(),
            topic: name.to_owned(),
            client_id: name.to_owned(),
            username: name.to_owned(),
            mac: None,
            password_hash: Secret::new("x"),
            extra: Rights {
                // It may write anything, and still speaks for itself only in its own topics.
                publish: vec!["#".to_owned()],
                subscribe: Vec::new(),
            },
            tags: vec!["kitchen".to_owned()],
            created: 5,
        };
        self.registry().add_device(&record, BY).expect("a device");
    }

    fn publish(&self, user: Option<&str>, topic: &str, payload: &str) {
        let publisher = Some(Publisher {
            client_id: user.unwrap_or("DVES_123456").into(),
            user: user.map(Into::into),
        });
        self.fleet.observe(Observed {
            publisher,
            topic: topic.into(),
            payload: payload.as_bytes().into(),
            retain: true,
        });
    }

    fn member<T>(&self, name: &str, look: impl Fn(&Member) -> Option<T>) -> T {
        self.until(name, |roster| look(roster.by_name(name)?))
    }

    fn until<T>(&self, what: &str, look: impl Fn(&Roster) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = self.fleet.with(&look) {
                return found;
            }
            assert!(start.elapsed() < SOON, "{what} did not come");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn start(data: &DataFolder) -> Arc<Fleet> {
    let (tasks, ends) = crate::tasks::tasks();
    // Their ends are nobody's business here.
    std::mem::forget(ends);
    let registry = data.registry().expect("the registry");
    Fleet::start(registry, RosterLimits::default(), &tasks).expect("a fleet")
}

fn mac() -> MacAddress {
    "a0:b1:c2:3d:5e:26".parse().expect("a MAC address")
}

fn attempt(client_id: &str, user: Option<&str>, ending: Ending) -> Attempt {
    let peer = SocketAddr::from(([192, 168, 1, 31], 4711));
    let mut attempt = Attempt::new(SystemTime::now(), "mqtt".into(), peer, ending);
    attempt.client_id = Some(client_id.to_owned());
    attempt.user = user.map(str::to_owned);
    attempt
}

#[test]
fn what_an_enrolled_device_publishes_in_its_own_topics_is_its_own_word_and_outlives_a_restart() {
    let mut house = House::new();
    house.add("plug-1");
    house.member("plug-1", |_| Some(()));
    house.publish(Some("plug-1"), DISCOVERY_TOPIC, DISCOVERY);
    house.publish(Some("plug-1"), "tele/plug-1/LWT", "Online");
    let id = house.member("plug-1", |member| member.is_online().then_some(member.id));
    house.restart();
    let (same, proved) = house.member("plug-1", |member| {
        assert_eq!(member.facts.version(), Some("15.0.1"));
        assert_eq!(&*member.tags, ["kitchen".into()]);
        assert!(!member.is_online(), "nobody is connected yet");
        let known = member
            .identities
            .iter()
            .find(|known| known.identity == Identity::Mac(mac()))?;
        Some((member.id, known.proved))
    });
    assert_eq!((same, proved), (id, true));
    let events = house
        .registry()
        .member_events(id.0, None, 10)
        .expect("events");
    assert!(events.iter().any(|event| event.kind == "version"));
}

#[test]
fn what_a_device_says_as_soon_as_it_was_added_is_its_own_word() {
    let house = House::new();
    for number in 1..=5 {
        let name = format!("plug-{number}");
        house.add(&name);
        let own = DISCOVERY.replace("plug-1", &name);
        let own = own.replace("A0B1C23D5E26", &format!("A0B1C23D5E0{number}"));
        let topic = format!("tasmota/discovery/A0B1C23D5E0{number}/config");
        house
            .fleet
            .tried(&attempt(&name, Some(&name), Ending::Connected));
        house.publish(Some(&name), &topic, &own);
        house.publish(Some(&name), &format!("tele/{name}/LWT"), "Online");
        house.member(&name, |member| {
            member.is_online().then_some(())?;
            assert!(member.identities.iter().all(|known| known.proved));
            assert_eq!(member.mac().map(|mac| mac.0[5]), Some(number));
            assert!(member.came_from.is_some_and(|from| from.proved));
            Some(())
        });
    }
    assert_eq!(house.fleet.with(Roster::len), 5, "nobody else was seen");
}

#[test]
fn who_is_nobody_and_who_is_a_person_are_heard_without_end_and_in_their_order() {
    let house = House::new();
    let known = DISCOVERY.replace("15.0.1", "15.0.2");
    for round in [DISCOVERY, &known] {
        house.publish(Some("nobody"), DISCOVERY_TOPIC, round);
    }
    let seen = |roster: &Roster| roster.by_mac(mac())?.facts.version().map(str::to_owned);
    house.until("the last word", |roster| {
        seen(roster).filter(|version| version == "15.0.2")
    });
    // More than may wait.
    for _ in 0..3_000 {
        house.publish(Some("nobody"), DISCOVERY_TOPIC, DISCOVERY);
    }
    house.publish(
        Some("nobody"),
        DISCOVERY_TOPIC,
        &known.replace("15.0.2", "15.0.3"),
    );
    house.until("the very last word", |roster| {
        seen(roster).filter(|version| version == "15.0.3")
    });
}

#[test]
fn what_is_kept_is_in_the_registry_before_anybody_is_told_so() {
    let house = House::new();
    house.add("plug-1");
    let id = house.member("plug-1", |member| Some(member.id));
    for round in 0..3 {
        let note = format!("round {round}");
        house.fleet.with_mut(|roster| roster.note(id, &note, 5));
        house.fleet.keep().expect("kept");
        let events = house.registry().member_events(id.0, None, 1);
        let newest = events.expect("events").remove(0);
        assert!(newest.body.contains(&note), "{newest:?}");
    }
}

#[test]
fn a_device_speaks_for_itself_only_in_its_own_topics_however_far_its_rights_go() {
    let house = House::new();
    house.add("plug-1");
    house.add("plug-2");
    house.member("plug-2", |_| Some(()));
    house.publish(Some("plug-1"), "tele/plug-2/LWT", "Online");
    house.publish(
        Some("plug-2"),
        "tele/plug-2/INFO3",
        r#"{"Info3":{"BootCount":3}}"#,
    );
    house.member("plug-2", |member| member.facts.boot_count);
    let first = house.fleet.with(|roster| {
        let member = roster.by_name("plug-1").expect("there");
        (member.facts.online, member.topic().map(str::to_owned))
    });
    assert_eq!(first, (None, Some("plug-1".to_owned())));
}

#[test]
fn a_device_that_was_only_seen_becomes_the_one_that_is_enrolled_and_is_released_again() {
    let house = House::new();
    house.publish(None, DISCOVERY_TOPIC, DISCOVERY);
    let seen = house.until("the device", |roster| roster.by_mac(mac()).map(|m| m.id));
    house.add("plug-1");
    let enrolled = house.member("plug-1", |member| Some(member.id));
    assert_eq!(enrolled, seen, "by its topic");
    house
        .registry()
        .forget_device("plug-1", BY)
        .expect("forgotten");
    house.until("its release", |roster| {
        let free = roster.get(seen)?.enrolment.is_none();
        (free && roster.by_name("plug-1").is_none()).then_some(())
    });
}

#[test]
fn logins_tell_where_a_device_comes_from_and_programs_are_no_devices() {
    let house = House::new();
    house.add("plug-1");
    house.member("plug-1", |_| Some(()));
    let connected = || Ending::Connected;
    house
        .fleet
        .tried(&attempt("home-assistant", Some("ha"), connected()));
    house.fleet.tried(&attempt("mqttx_1234", None, connected()));
    house
        .fleet
        .tried(&attempt("DVES_3D5E26", None, connected()));
    let plug = attempt("plug-1", Some("plug-1"), connected());
    house.fleet.tried(&plug);
    house.member("plug-1", |member| {
        let from = member.came_from?;
        assert!(from.proved);
        assert_eq!(member.facts.tls, Some(false));
        assert_eq!(member.last_source, Source::Login);
        Some(())
    });
    assert_eq!(house.fleet.with(Roster::len), 2, "the plug and the Tasmota");
}

#[test]
fn what_the_broker_had_kept_says_nothing_of_who_is_here_now() {
    let house = House::new();
    house.fleet.observe(Observed {
        publisher: None,
        topic: "tele/plug-9/LWT".into(),
        payload: b"Online".as_slice().into(),
        retain: true,
    });
    let topic = Identity::Topic("plug-9".into());
    house.until("the device", |roster| {
        let member = roster.by_identity(&topic)?;
        assert_eq!(member.facts.online, None);
        assert_eq!(member.last_source, Source::Retained);
        Some(())
    });
}

#[test]
fn those_who_look_on_are_told_of_every_sighting_and_readers_of_proved_messages_only() {
    let house = House::new();
    house.add("plug-1");
    let id = house.member("plug-1", |member| Some(member.id));
    let told = Arc::new(AtomicUsize::new(0));
    let counting = told.clone();
    house.fleet.listen(Arc::new(move |sighting, sighted| {
        assert!(sighted.member.is_some(), "{sighting:?}");
        counting.fetch_add(1, Ordering::Relaxed);
    }));
    let read = Arc::new(Mutex::new(Vec::new()));
    let reading = read.clone();
    house.fleet.read(Arc::new(move |member, topic, _| {
        lock(&reading).push((member, topic.to_owned()));
    }));
    house.publish(None, "stat/plug-1/UPGRADE", r#"{"Upgrade":"Failed x"}"#);
    house.publish(
        Some("plug-1"),
        "stat/plug-1/UPGRADE",
        r#"{"Upgrade":"Successful. Restarting"}"#,
    );
    house.publish(Some("plug-1"), "tele/plug-1/LWT", "Offline");
    house.member("plug-1", |member| member.facts.online);
    let start = Instant::now();
    while lock(&read).len() < 2 && start.elapsed() < SOON {
        std::thread::sleep(Duration::from_millis(5));
    }
    let read = lock(&read).clone();
    assert_eq!(
        read,
        [
            (id, "stat/plug-1/UPGRADE".to_owned()),
            (id, "tele/plug-1/LWT".to_owned())
        ]
    );
    assert_eq!(told.load(Ordering::Relaxed), 1);
}

#[test]
fn contradictions_outlive_a_restart_and_are_gone_when_settled() {
    let mut house = House::new();
    house.add("plug-1");
    house.member("plug-1", |_| Some(()));
    house.publish(Some("plug-1"), DISCOVERY_TOPIC, DISCOVERY);
    house.member("plug-1", |member| member.mac());
    let thief = Sighting::new(unix_now(), Source::Message, Proof::Claim)
        .with(Identity::mac(
            "02:00:00:00:00:01".parse().expect("a MAC address"),
        ))
        .with(Identity::topic("plug-1"));
    let conflict = house.fleet.sight(&thief).conflict.expect("a contradiction");
    house.restart();
    let kept = house.fleet.with(|roster| {
        let all = roster.quarantine();
        all.iter().map(|conflict| conflict.id).collect::<Vec<_>>()
    });
    assert_eq!(kept, [conflict]);
    house
        .fleet
        .with_mut(|roster| roster.settle(conflict, safeport_fleet::Settle::Keep, unix_now()))
        .expect("settled");
    house.restart();
    assert!(house.fleet.with(|roster| roster.quarantine().is_empty()));
}

#[test]
fn more_than_can_be_read_is_counted_and_left_out() {
    let fleet = Fleet::of(Roster::new(RosterLimits::default(), 1));
    for _ in 0..FLEET_WAITING + 10 {
        fleet.tried(&attempt("DVES_3D5E26", None, Ending::Connected));
    }
    assert_eq!(fleet.dropped(), 10);
}

#[test]
fn many_devices_that_appear_at_once_are_all_written_down() {
    let mut house = House::new();
    for number in 0..3_000_u32 {
        let [_, b, c, d] = number.to_be_bytes();
        let seen = Sighting::new(unix_now(), Source::Retained, Proof::Claim)
            .with(Identity::mac(MacAddress([2, 1, 1, b, c, d])));
        house.fleet.sight(&seen);
    }
    house.restart();
    assert_eq!(
        house.fleet.with(|roster| roster.count(&Query::default())),
        3_000
    );
    assert_eq!(house.fleet.unwritten(), 0);
}
