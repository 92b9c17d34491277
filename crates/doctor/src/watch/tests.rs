use super::*;
use crate::{Texts, judge};

const HOME: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(192, 168, 1, 40));
const OTHER: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(192, 168, 1, 41));

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(1_795_000_000 + seconds)
}

fn plug() -> Subject {
    Subject::Client("plug".to_string())
}

fn failed(subject: Subject, at: u64, cause: Cause) -> Contact {
    Contact {
        at: seconds(at),
        subject,
        address: HOME,
        service: Service::Mqtt,
        came: Came::Failed {
            clue: Clue::new(cause, Strength::Proof, Place::Listener, Said::same("seen")),
            facts: Facts::default(),
        },
    }
}

fn connected(subject: Subject, at: u64, address: IpAddr) -> Contact {
    Contact {
        address,
        came: Came::Connected(Said::same("CONNACK 0")),
        ..failed(subject, at, Cause::AuthFailed)
    }
}

fn taken_over(at: u64) -> Contact {
    Contact {
        came: Came::TakenOver,
        ..failed(plug(), at, Cause::AuthFailed)
    }
}

fn verdict(watch: &Watch, subjects: &[Subject], at: u64) -> Cause {
    judge(watch.evidence(subjects, seconds(at)), &Texts::new())
        .finding
        .cause
}

#[test]
fn a_failure_is_a_finding_until_the_device_connects() {
    let mut watch = Watch::default();
    watch.saw(failed(plug(), 0, Cause::AuthFailed));
    watch.saw(failed(plug(), 10, Cause::AuthFailed));
    assert_eq!(verdict(&watch, &[plug()], 11), Cause::AuthFailed);
    let evidence = watch.evidence(&[plug()], seconds(11));
    assert!(
        evidence.clues[0]
            .quote
            .en
            .ends_with("(2 times within 10 s)")
    );
    assert_eq!(evidence.facts.get("client_id"), Some("plug"));
    assert_eq!(watch.troubled(seconds(11)), [(plug(), seconds(10))]);
    watch.saw(connected(plug(), 20, HOME));
    assert_eq!(verdict(&watch, &[plug()], 21), Cause::Healthy);
    assert_eq!(watch.troubled(seconds(21)), []);
}

#[test]
fn who_connects_at_last_has_failed_before_it_could_tell_its_name() {
    let mut watch = Watch::default();
    watch.saw(failed(Subject::Address(HOME), 0, Cause::ChainNotTrusted));
    watch.saw(failed(Subject::Address(OTHER), 0, Cause::ChainNotTrusted));
    watch.saw(connected(plug(), 5, HOME));
    assert_eq!(
        watch.troubled(seconds(6)),
        [(Subject::Address(OTHER), seconds(0))]
    );
}

#[test]
fn to_reach_one_service_is_not_to_reach_the_other() {
    let mut watch = Watch::default();
    watch.saw(failed(plug(), 0, Cause::TlsToPlainPort));
    let mut page = connected(plug(), 5, HOME);
    page.service = Service::Http;
    watch.saw(page);
    assert_eq!(verdict(&watch, &[plug()], 6), Cause::TlsToPlainPort);
}

#[test]
fn two_clients_with_one_identifier_are_told_with_both_addresses() {
    let mut watch = Watch::default();
    for at in 0..4 {
        let from = if at % 2 == 0 { HOME } else { OTHER };
        watch.saw(connected(plug(), at * 5, from));
        if at > 0 {
            watch.saw(taken_over(at * 5));
        }
    }
    let diagnosis = judge(watch.evidence(&[plug()], seconds(20)), &Texts::new());
    assert_eq!(diagnosis.finding.cause, Cause::DuplicateClientId);
    let quote = &diagnosis.finding.saw[0].quote.en;
    assert!(quote.contains("192.168.1.41 and 192.168.1.40"), "{quote}");
    // They have stopped.
    assert_eq!(verdict(&watch, &[plug()], 800), Cause::Healthy);
}

#[test]
fn a_device_that_comes_back_after_losing_its_network_is_no_quarrel() {
    let mut watch = Watch::default();
    for at in [0, 100, 200, 300] {
        watch.saw(connected(plug(), at, HOME));
        watch.saw(taken_over(at));
    }
    assert_eq!(verdict(&watch, &[plug()], 301), Cause::Healthy);
}

#[test]
fn connections_that_do_not_last_are_a_finding_although_each_succeeds() {
    let mut watch = Watch::default();
    for at in 0..5 {
        watch.saw(connected(plug(), at * 60, HOME));
    }
    assert_eq!(verdict(&watch, &[plug()], 301), Cause::Healthy);
    watch.saw(connected(plug(), 310, HOME));
    assert_eq!(verdict(&watch, &[plug()], 311), Cause::ConnectionLost);
    assert!(watch.is_troubled(&[plug()], seconds(311)));
    // It holds since ten minutes.
    assert_eq!(verdict(&watch, &[plug()], 920), Cause::Healthy);
}

#[test]
fn what_stopped_trying_is_forgotten_and_strangers_cannot_fill_the_memory() {
    let mut watch = Watch::default();
    watch.saw(failed(plug(), 0, Cause::AuthFailed));
    let hour = KEPT.as_secs();
    assert_eq!(verdict(&watch, &[plug()], hour - 1), Cause::AuthFailed);
    assert_eq!(verdict(&watch, &[plug()], hour), Cause::Healthy);
    watch.sweep(seconds(hour));
    assert!(watch.traces.is_empty());
    for number in 0..2 * WATCHED as u64 {
        let stranger = Subject::Client(format!("stranger-{number}"));
        watch.saw(failed(stranger, number, Cause::AuthFailed));
        assert!(watch.traces.len() <= WATCHED);
    }
    let healthy = |number: u64| Subject::Client(format!("healthy-{number}"));
    let late = 2 * WATCHED as u64;
    for number in 0..2 * WATCHED as u64 {
        watch.saw(connected(healthy(number), late + number, HOME));
        assert!(watch.traces.len() <= WATCHED);
    }
    let newest = Subject::Client(format!("stranger-{}", 2 * WATCHED - 1));
    assert!(watch.traces.contains_key(&newest));
}

#[test]
fn a_storm_of_failures_at_one_moment_is_forgotten_at_once_and_nothing_grows() {
    let mut watch = Watch::default();
    for number in 0..2 * WATCHED {
        let stranger = Subject::Client(format!("stranger-{number}"));
        watch.saw(failed(stranger, 0, Cause::AuthFailed));
        assert!(watch.traces.len() <= WATCHED);
    }
}

fn checked(at: u64, told: &str) -> Contact {
    Contact {
        service: Service::Http,
        came: Came::Checked {
            said: Said::same("checked in"),
            told: Some(Told {
                address: told.to_string(),
                comes_here: told.starts_with("mqtt"),
            }),
            starts: true,
        },
        ..failed(plug(), at, Cause::AuthFailed)
    }
}

fn started(at: u64, reason: Option<&str>) -> Contact {
    Contact {
        came: Came::Started {
            reason: reason.map(ToString::to_string),
        },
        ..failed(plug(), at, Cause::AuthFailed)
    }
}

#[test]
fn connections_that_do_not_last_are_told_by_how_they_ended() {
    for (how, cause, words) in [
        (
            Parting::KeepAlive,
            Cause::KeepAliveTimeout,
            "one and a half keep alives 6x",
        ),
        (
            Parting::Goodbye,
            Cause::ConnectionLost,
            "said goodbye itself 6x",
        ),
        (
            Parting::Protocol,
            Cause::ProtocolError,
            "broke the protocol 6x",
        ),
        (Parting::Lost, Cause::ConnectionLost, "without a goodbye 6x"),
    ] {
        let mut watch = Watch::default();
        for at in 0..7 {
            watch.saw(connected(plug(), at * 60, HOME));
            if at < 6 {
                watch.left("plug", seconds(at * 60 + 30), how);
            }
        }
        let finding = judge(watch.evidence(&[plug()], seconds(370)), &Texts::new()).finding;
        assert_eq!(finding.cause, cause, "{how:?}");
        let quote = &finding.saw[0].quote;
        assert!(quote.en.contains(words), "{}", quote.en);
        assert!(quote.zh.contains("6 次"), "{}", quote.zh);
    }
}

#[test]
fn of_a_client_that_is_not_remembered_no_parting_is_kept() {
    let mut watch = Watch::default();
    assert!(!watch.left("nobody", seconds(0), Parting::Lost));
    assert!(watch.traces.is_empty());
}

#[test]
fn who_checked_in_and_never_came_was_told_an_address_that_it_cannot_reach() {
    let mut watch = Watch::default();
    watch.saw(checked(0, "mqtt://172.17.0.2:1883"));
    let patience = COMES_WITHIN.as_secs();
    assert_eq!(verdict(&watch, &[plug()], patience - 1), Cause::Healthy);
    let diagnosis = judge(watch.evidence(&[plug()], seconds(patience)), &Texts::new());
    assert_eq!(diagnosis.finding.cause, Cause::HandedOutUnreachable);
    assert!(
        diagnosis
            .finding
            .means
            .en
            .contains("mqtt://172.17.0.2:1883")
    );
    assert!(watch.is_troubled(&[plug()], seconds(patience)));
    // Whatever comes of it, it has arrived.
    watch.saw(failed(plug(), patience + 1, Cause::AuthFailed));
    assert_eq!(verdict(&watch, &[plug()], patience + 2), Cause::AuthFailed);
    watch.saw(connected(plug(), patience + 3, HOME));
    assert_eq!(verdict(&watch, &[plug()], patience + 4), Cause::Healthy);
    // It checks again while it is connected: by hand.
    watch.saw(checked(200, "mqtt://172.17.0.2:1883"));
    assert_eq!(verdict(&watch, &[plug()], 500), Cause::Healthy);
    watch.left("plug", seconds(510), Parting::KeepAlive);
    assert_eq!(verdict(&watch, &[plug()], 520), Cause::HandedOutUnreachable);
}

#[test]
fn a_handshake_that_fails_at_its_address_is_its_arrival_and_a_websocket_is_opened_only_to_speak() {
    let mut watch = Watch::default();
    watch.saw(checked(0, "mqtts://hub.lan:8883"));
    watch.saw(failed(Subject::Address(HOME), 5, Cause::ChainNotTrusted));
    let both = [plug(), Subject::Address(HOME)];
    assert_eq!(verdict(&watch, &both, 300), Cause::ChainNotTrusted);
    let mut watch = Watch::default();
    watch.saw(checked(0, "ws://hub.lan:8000/xiaozhi/v1/"));
    assert_eq!(verdict(&watch, &[plug()], 300), Cause::Healthy);
}

#[test]
fn check_after_check_is_start_after_start() {
    let mut watch = Watch::default();
    for at in 0..3 {
        watch.saw(checked(at * 20, "ws://hub.lan:8000/xiaozhi/v1/"));
    }
    assert_eq!(verdict(&watch, &[plug()], 61), Cause::Healthy);
    watch.saw(checked(60, "ws://hub.lan:8000/xiaozhi/v1/"));
    assert_eq!(verdict(&watch, &[plug()], 61), Cause::Restarts);
    assert_eq!(verdict(&watch, &[plug()], 700), Cause::Healthy);
}

#[test]
fn a_device_that_says_why_it_starts_is_told_its_way_out() {
    for (reason, fix) in [
        ("Brownout", "supply"),
        ("Software Watchdog", "crash"),
        ("Software/System restart", "power supply first"),
    ] {
        let mut watch = Watch::default();
        for at in 0..3 {
            watch.saw(started(at * 60, Some(reason)));
        }
        let finding = judge(watch.evidence(&[plug()], seconds(130)), &Texts::new()).finding;
        assert_eq!(finding.cause, Cause::Restarts);
        assert!(finding.means.en.contains(reason), "{}", finding.means.en);
        assert!(finding.fix.en.contains(fix), "{}", finding.fix.en);
    }
}

#[test]
fn that_a_request_was_answered_is_no_good_check() {
    let mut watch = Watch::default();
    let refused = |at| Contact {
        service: Service::Http,
        ..failed(plug(), at, Cause::NotActivated)
    };
    watch.saw(refused(0));
    let mut answered = connected(plug(), 1, HOME);
    answered.service = Service::Http;
    watch.saw(answered);
    assert_eq!(verdict(&watch, &[plug()], 2), Cause::NotActivated);
    watch.saw(checked(3, "ws://hub.lan:8000/xiaozhi/v1/"));
    assert_eq!(verdict(&watch, &[plug()], 4), Cause::Healthy);
}
