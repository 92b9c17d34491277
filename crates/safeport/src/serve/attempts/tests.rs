use super::*;
use std::net::SocketAddr;
use std::time::SystemTime;

use safeport_net::attempt::{Ending, Limit, Stage, TlsFacts};
use safeport_net::hello::ClientHello;
use safeport_store::{AttemptQuery, AttemptRow, DataFolder};
use tempfile::TempDir;

/// A data folder of its own, removed at the end.
struct Scratch(TempDir);

impl Scratch {
    fn new() -> Scratch {
        Scratch(tempfile::tempdir().expect("a folder"))
    }

    fn registry(&self) -> Registry {
        DataFolder::open(self.0.path())
            .expect("a folder")
            .registry()
            .expect("a registry")
    }

    fn rows(&self) -> Vec<AttemptRow> {
        self.registry()
            .attempts(&AttemptQuery::default())
            .expect("rows")
    }
}

fn attempt(peer: &str, listener: &str, ending: Ending) -> Attempt {
    let peer: SocketAddr = peer.parse().expect("a peer");
    Attempt::new(SystemTime::now(), listener.into(), peer, ending)
}

/// One with a ClientHello like Tasmota's.
fn over_tls(peer: &str, ending: Ending) -> Attempt {
    let hello = ClientHello {
        legacy_version: 0x0303,
        suites: vec![0xc02f],
        groups: vec![0x0017],
        signatures: vec![0x0401],
        extensions: vec![0xff01, 0, 1, 13, 10, 11],
        server_name: Some("hub.lan\n".to_owned()),
        max_fragment: Some(1024),
        ..ClientHello::default()
    };
    let facts = TlsFacts {
        hello: Some(hello),
        version: Some(0x0303),
        suite: Some(0xc02f),
        record_size: 1024,
        ..TlsFacts::default()
    };
    Attempt {
        tls: Some(Box::new(facts)),
        ..attempt(peer, "mqtts", ending)
    }
}

/// An attempt that was judged.
pub(super) fn seen(peer: &str, cause: Cause) -> Seen {
    let judged = safeport_net::attempt::Judgement {
        cause,
        certainty: safeport_net::attempt::Certainty::Certain,
        others: vec![],
    };
    Seen::new(&attempt(peer, "mqtt", Ending::WrongProtocol), None, judged)
}

fn closed_on_us() -> Ending {
    Ending::Closed {
        stage: Stage::Certificate,
        reset: false,
    }
}

#[test]
fn what_loops_hand_over_is_kept_counted_and_written_down() {
    let scratch = Scratch::new();
    let (tasks, _ends) = crate::tasks::tasks();
    let attempts = Attempts::start(scratch.registry(), &tasks).expect("a thread");
    for port in 0..3 {
        attempts.saw(over_tls(
            &format!("[::ffff:192.168.1.40]:500{port}"),
            closed_on_us(),
        ));
    }
    let mut connected = over_tls("192.168.1.41:5000", Ending::Connected);
    connected.user = Some("plug-1".to_owned());
    connected.client_id = Some("x".repeat(70_000));
    attempts.saw(connected);
    let mut probe = attempt("127.0.0.1:5000", "mqtt", Ending::Connected);
    probe.user = Some("$safeport".to_owned());
    attempts.saw(probe);
    attempts.finish(Duration::from_secs(20));

    let recent = attempts.recent();
    assert_eq!(recent.len(), 4, "the server's own probes are no attempts");
    assert_eq!(recent[0].cause, Cause::Healthy);
    assert_eq!(recent[0].client_id.as_ref().map(String::len), Some(131));
    assert_eq!(recent[3].address().to_string(), "192.168.1.40");
    assert_eq!(recent[3].server_name.as_deref(), Some("hub.lan\u{fffd}"));
    let counts: u64 = attempts.counts().iter().map(|(.., count)| count).sum();
    assert_eq!((counts, attempts.dropped()), (4, 0));

    let rows = scratch.rows();
    assert_eq!(rows.len(), 2);
    let failed = rows.iter().find(|row| row.last.failure).expect("a failure");
    assert_eq!(failed.count, 3);
    assert_eq!(failed.key.address, "192.168.1.40");
    assert!(
        failed.last.why.contains("certificate"),
        "{}",
        failed.last.why
    );
    assert!(!failed.key.hello.is_empty());
    let other = rows.iter().find(|row| !row.last.failure).expect("success");
    assert_eq!(other.key.user, "plug-1");
    assert!(other.last.why.is_empty());
}

#[test]
fn attempts_that_come_faster_than_they_are_judged_are_counted_as_dropped() {
    // Nobody works here.
    let attempts = Attempts::new();
    for _ in 0..ATTEMPTS_WAITING + 5 {
        attempts.saw(attempt("192.168.1.40:5000", "mqtt", Ending::WrongProtocol));
    }
    assert_eq!(attempts.dropped(), 5);
    assert_eq!(lock(&attempts.inbox).waiting.len(), ATTEMPTS_WAITING);
}

#[test]
fn only_the_newest_attempts_are_kept_one_by_one() {
    let attempts = Attempts::new();
    for number in 0..ATTEMPTS_RECENT + 10 {
        let peer = format!("10.0.{}.{}:1", number / 250, number % 250);
        attempts.keep(Arc::new(seen(&peer, Cause::Silent)));
    }
    let recent = attempts.recent();
    assert_eq!(recent.len(), ATTEMPTS_RECENT);
    assert_eq!(
        recent.last().expect("some").address().to_string(),
        "10.0.0.10"
    );
    assert_eq!(attempts.counts()[0].2, ATTEMPTS_RECENT as u64 + 10);
}

#[test]
fn a_storm_of_ever_new_client_ids_from_one_address_makes_few_rows() {
    let mut gathered = Gathered::default();
    for number in 0..1000 {
        let mut one = seen("192.168.1.40:1", Cause::Healthy);
        one.client_id = Some(format!("c{number}"));
        assert!(gathered.add(&Arc::new(one)));
    }
    let mut other = seen("192.168.1.41:1", Cause::Healthy);
    other.client_id = Some("other".to_owned());
    gathered.add(&Arc::new(other));
    let rows = gathered.take();
    assert_eq!(rows.len(), 65);
    // The newest ones.
    assert!(rows.iter().any(|row| row.key.client_id == "c999"));
    assert!(rows.iter().any(|row| row.key.client_id == "c936"));
    assert!(!rows.iter().any(|row| row.key.client_id == "c935"));
    assert!(gathered.is_empty());
}

#[test]
fn more_rows_than_there_is_room_for_are_refused_until_the_next_writing() {
    let mut gathered = Gathered::default();
    let from = |number: usize| {
        Arc::new(seen(
            &format!("10.{}.{}.1:1", number / 250, number % 250),
            Cause::Silent,
        ))
    };
    for number in 0..crate::limits::ATTEMPT_ROWS {
        assert!(gathered.add(&from(number)));
    }
    assert!(!gathered.add(&from(crate::limits::ATTEMPT_ROWS)));
    assert!(gathered.add(&from(0)), "one that is known still counts");
    gathered.take();
    assert!(gathered.add(&from(crate::limits::ATTEMPT_ROWS)));
}

#[test]
fn a_client_id_that_is_taken_over_again_and_again_within_a_minute_is_a_quarrel() {
    let scratch = Scratch::new();
    let registry = scratch.registry();
    let mut known = Known::default();
    let start = Instant::now();
    let mut count = |id: &str, seconds: u64| {
        let mut over = attempt("192.168.1.40:1", "mqtt", Ending::TakenOver);
        over.client_id = Some(id.to_owned());
        let now = start + Duration::from_secs(seconds);
        known
            .circumstances(&over, None, 0, &registry, now)
            .take_overs
    };
    assert_eq!(count("a", 0), 1);
    assert_eq!(count("b", 1), 1);
    assert_eq!(count("a", 10), 2);
    assert_eq!(count("a", 20), 3);
    assert_eq!(count("a", 75), 2);
}

#[test]
fn a_device_that_trusted_the_certificate_before_is_known_even_after_a_restart() {
    let scratch = Scratch::new();
    let first = |desk: &mut Desk, attempts: &Attempts| {
        desk.take(&over_tls("192.168.1.40:1", Ending::Connected), attempts);
    };
    let trusted = |known: &mut Known, hellos: &mut Hellos, registry: &Registry, since: u64| {
        let failed = over_tls("192.168.1.40:2", closed_on_us());
        let hello = failed.tls.as_ref().and_then(|facts| facts.hello.as_ref());
        let hello = hello.map(|hello| hellos.of(hello));
        known
            .circumstances(&failed, hello.as_ref(), since, registry, Instant::now())
            .trusted_before
    };
    let attempts = Attempts::new();
    let mut desk = Desk::new(scratch.registry());
    assert!(!trusted(
        &mut desk.known,
        &mut desk.hellos,
        &desk.registry,
        0
    ));
    first(&mut desk, &attempts);
    assert!(trusted(
        &mut desk.known,
        &mut desk.hellos,
        &desk.registry,
        0
    ));
    // Other certificates since then.
    let later = crate::serve::access::unix_now() + 60;
    assert!(!trusted(
        &mut desk.known,
        &mut desk.hellos,
        &desk.registry,
        later
    ));
    desk.flush(Instant::now(), true, &attempts.dropped);

    let mut desk = Desk::new(scratch.registry());
    assert!(trusted(
        &mut desk.known,
        &mut desk.hellos,
        &desk.registry,
        0
    ));
}

#[test]
fn what_was_seen_is_said_for_every_way_an_attempt_can_end() {
    let said = |ending: Ending| saw::in_words(&attempt("192.168.1.40:1", "mqtts", ending));
    assert_eq!(said(Ending::Connected), "");
    assert_eq!(
        said(Ending::AlertReceived(48)),
        "the client sent the TLS alert 48 unknown_ca"
    );
    assert!(
        said(Ending::Failed {
            alert: Some(70),
            why: "no common version".to_owned()
        })
        .ends_with("it was sent the TLS alert 70 protocol_version")
    );
    assert_eq!(
        said(closed_on_us()),
        "the client closed after the server's certificate was sent"
    );
    assert!(
        said(Ending::TimedOut {
            stage: Stage::Certificate,
            unacknowledged: Some(2900)
        })
        .contains("2900 bytes that were sent to it never arrived")
    );
    assert!(said(Ending::TurnedAway(Limit::PushedOut)).contains("pushed out"));
    let long = said(Ending::Refused {
        reason: 0x87,
        why: "x\n".repeat(1000),
    });
    assert!(long.starts_with("refused with 0x87: x\u{fffd}"));
    assert!(long.len() <= crate::limits::ATTEMPT_WHY_BYTES);
}

#[test]
fn a_storm_from_ever_new_addresses_asks_the_registry_fifty_times_a_second() {
    let scratch = Scratch::new();
    let mut desk = Desk::new(scratch.registry());
    let attempts = Attempts::new();
    // They connected before.
    for number in 0..60 {
        let peer = format!("10.0.0.{number}:1");
        desk.take(&over_tls(&peer, Ending::Connected), &attempts);
    }
    desk.flush(Instant::now(), true, &attempts.dropped);
    let mut known = Known::default();
    let start = Instant::now();
    let mut trusted = |number: u32, seconds: u64| {
        let failed = over_tls(&format!("10.0.0.{number}:2"), closed_on_us());
        let hello = failed.tls.as_ref().and_then(|facts| facts.hello.as_ref());
        let hello = hello.map(|hello| desk.hellos.of(hello));
        let now = start + Duration::from_secs(seconds);
        known
            .circumstances(&failed, hello.as_ref(), 0, &desk.registry, now)
            .trusted_before
    };
    for number in 0..50 {
        assert!(trusted(number, 5), "{number}");
    }
    assert!(!trusted(50, 5), "judged from memory alone");
    assert!(trusted(0, 5), "which has this one");
    assert!(trusted(50, 6), "found in the next second");
}
