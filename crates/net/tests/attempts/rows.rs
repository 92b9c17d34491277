//! The fault lab of the doctor, row by row: what our listeners write down when it happens to
//! them, and the verdict.

use std::time::Duration;

use safeport_net::FirstBytes;
use safeport_net::attempt::{
    Attempt, Certainty, Circumstances, Ending, Limit, SentRecord, Service, Stage, judge,
};
use safeport_net::hello::ClientHello;

use crate::scene::{
    CHAINS, CLOSED, MQTTS, attempt, failed, hello, idf, later, served, tasmota, unserved, wrong,
};

use Certainty::{Certain, Likely, Possible};

/// A row: its number, what is tried, the verdict and how sure it is.
type Row = (u8, Attempt, Circumstances, &'static str, Certainty);

/// Rows that cannot happen at our listeners, and why. Those above 38 are no attempts.
const IMPOSSIBLE: [(u8, &str); 15] = [
    (
        2,
        "a chain without its intermediates is refused when it is read",
    ),
    (
        8,
        "a certificate that signed itself is refused when it is read",
    ),
    (12, "a chain with SHA-1 is refused when it is read"),
    (13, "a chain out of order is refused when it is read"),
    (
        14,
        "a certificate that is not for servers is refused when it is read",
    ),
    (
        18,
        "ECDHE is always offered beside it; the client without it is row 17",
    ),
    (21, "there is always a certificate, also without SNI"),
    (22, "another server answers"),
    (23, "another server answers"),
    (27, "we never reset on accept"),
    (28, "we answer; the silent client is tried beside row 31"),
    (
        29,
        "we answer; the client that closes is tried beside row 5",
    ),
    (30, "nobody listens, so nobody sees it"),
    (35, "handshake records are never split"),
    (16, "TLS 1.2 is always on; the client without it is row 15"),
];

fn rows() -> Vec<Row> {
    let chains = &*CHAINS;
    let alert = Ending::AlertReceived;
    let http = Circumstances {
        service: Service::Http,
        ..MQTTS
    };
    let plain = Circumstances {
        tls: false,
        ..MQTTS
    };
    let fought_over = Circumstances {
        take_overs: 3,
        ..MQTTS
    };
    let only = |suites: &[u16]| ClientHello {
        suites: suites.to_vec(),
        ..tasmota("hub.local")
    };
    let old = ClientHello {
        legacy_version: 0x0302,
        ..idf("hub.local")
    };
    let brainpool = ClientHello {
        groups: vec![0x001a, 0x001b],
        ..idf("hub.local")
    };
    let x25519 = ClientHello {
        groups: vec![0x001d],
        ..tasmota("hub.local")
    };
    let refused = |reason| {
        attempt(Ending::Refused {
            reason,
            why: "as the CONNACK says it".into(),
        })
    };
    let mut too_large = served(
        tasmota("hub.example"),
        &chains.public,
        Ending::Closed {
            stage: Stage::Established,
            reset: true,
        },
    );
    too_large.tls.as_mut().unwrap().largest_sent = Some(SentRecord {
        bytes: 5000,
        before_end: Duration::from_millis(30),
    });
    let lost = |unacknowledged| Ending::TimedOut {
        stage: Stage::Certificate,
        unacknowledged,
    };
    let mut upgrade = wrong(FirstBytes::Http);
    upgrade.asked_websocket = true;
    let public = |hello| served(hello, &chains.public, CLOSED);
    vec![
        (1, attempt(Ending::Connected), MQTTS, "healthy", Certain),
        (
            3,
            later(public(tasmota("hub.example")), 70),
            MQTTS,
            "certificate_expired",
            Likely,
        ),
        (
            3,
            later(served(idf("hub.example"), &chains.public, alert(45)), 70),
            MQTTS,
            "certificate_expired",
            Certain,
        ),
        (
            4,
            Attempt {
                at: chains.public.not_before() - Duration::from_secs(3600),
                ..public(tasmota("hub.example"))
            },
            MQTTS,
            "not_yet_valid",
            Likely,
        ),
        (
            4,
            Attempt {
                at: chains.public.not_before() - Duration::from_secs(3600),
                ..served(idf("hub.example"), &chains.public, alert(46))
            },
            MQTTS,
            "not_yet_valid",
            Certain,
        ),
        (
            5,
            public(tasmota("hub.elsewhere.example")),
            MQTTS,
            "name_mismatch",
            Likely,
        ),
        (
            5,
            served(idf("hub.elsewhere.example"), &chains.public, alert(42)),
            MQTTS,
            "name_mismatch",
            Certain,
        ),
        (
            6,
            served(tasmota("hub.example"), &chains.cn_only, CLOSED),
            MQTTS,
            "name_mismatch",
            Likely,
        ),
        (
            6,
            served(idf("hub.example"), &chains.cn_only, alert(42)),
            MQTTS,
            "name_mismatch",
            Certain,
        ),
        (
            7,
            served(tasmota("192.168.1.20"), &chains.with_address, CLOSED),
            MQTTS,
            "name_mismatch",
            Likely,
        ),
        (
            7,
            served(
                hello("mbedtls-2", "192.168.1.20"),
                &chains.with_address,
                alert(42),
            ),
            MQTTS,
            "name_mismatch",
            Certain,
        ),
        (
            9,
            served(tasmota("hub.example"), &chains.p256, failed(40)),
            MQTTS,
            "no_common_cipher",
            Certain,
        ),
        (
            10,
            served(
                hello("bearssl-tasmota-ecdsa", "hub.example"),
                &chains.p384,
                CLOSED,
            ),
            MQTTS,
            "chain_unsupported_curve",
            Likely,
        ),
        (
            11,
            served(tasmota("hub.example"), &chains.sha384, CLOSED),
            MQTTS,
            "hash_unsupported",
            Likely,
        ),
        // The client that is older than our oldest version, as TLS and as SSL 2.0.
        (15, unserved(old, failed(70)), MQTTS, "tls_version", Certain),
        (15, attempt(failed(70)), MQTTS, "tls_version", Certain),
        (
            15,
            served(idf("hub.local"), &chains.private, alert(70)),
            MQTTS,
            "tls_version",
            Certain,
        ),
        (
            17,
            unserved(only(&[0x0035, 0x003c]), failed(40)),
            MQTTS,
            "no_common_cipher",
            Certain,
        ),
        (
            19,
            unserved(brainpool, failed(40)),
            MQTTS,
            "no_common_group",
            Certain,
        ),
        // Not a fault here: X25519 is ours too, so nothing but the alert is left to go by.
        (
            19,
            unserved(x25519, failed(40)),
            MQTTS,
            "no_common_cipher",
            Likely,
        ),
        (
            20,
            served(tasmota("hub.local"), &chains.private, failed(116)),
            MQTTS,
            "client_cert_required",
            Certain,
        ),
        (
            24,
            wrong(FirstBytes::Tls),
            plain,
            "tls_to_plain_port",
            Certain,
        ),
        (
            25,
            wrong(FirstBytes::Mqtt),
            MQTTS,
            "plain_to_tls_port",
            Certain,
        ),
        (26, wrong(FirstBytes::Http), MQTTS, "http_to_tls", Certain),
        (
            31,
            served(idf("hub.example"), &chains.public, lost(Some(1460))),
            MQTTS,
            "mtu_black_hole",
            Likely,
        ),
        (
            32,
            public(tasmota("hub.example")),
            MQTTS,
            "device_clock_unset",
            Possible,
        ),
        (
            32,
            served(idf("hub.example"), &chains.public, alert(46)),
            MQTTS,
            "device_clock_unset",
            Likely,
        ),
        (
            33,
            served(idf("hub.example"), &chains.public, alert(45)),
            MQTTS,
            "device_clock_wrong",
            Likely,
        ),
        (34, too_large, MQTTS, "record_too_large", Likely),
        (
            34,
            served(idf("hub.example"), &chains.public, alert(22)),
            MQTTS,
            "record_too_large",
            Certain,
        ),
        (36, refused(0x86), MQTTS, "auth_failed", Certain),
        (36, refused(0x87), MQTTS, "auth_failed", Certain),
        (
            37,
            attempt(Ending::TakenOver),
            fought_over,
            "duplicate_client_id",
            Certain,
        ),
        (38, refused(0x84), MQTTS, "protocol_version", Certain),
        // Row 48, the reason for which the module of a 4G box gets its own word.
        (48, upgrade.clone(), http, "wss_in_clear", Certain),
        // What a client does where rows 28 and 29 are about a server.
        (
            28,
            attempt(Ending::TimedOut {
                stage: Stage::Silent,
                unacknowledged: None,
            }),
            MQTTS,
            "silent",
            Certain,
        ),
        (
            29,
            served(
                hello("openssl-s_client", "hub.example"),
                &chains.public,
                CLOSED,
            ),
            MQTTS,
            "closes_in_handshake",
            Possible,
        ),
    ]
}

#[test]
fn every_row_of_the_fault_lab_gets_its_verdict() {
    for (number, attempt, known, verdict, certainty) in rows() {
        let found = judge(&attempt, &known);
        let expected = (verdict, certainty);
        assert_eq!(
            (found.cause.code(), found.certainty),
            expected,
            "row {number}: {found:?}"
        );
        assert!(
            !found.others.contains(&found.cause),
            "row {number}: {found:?}"
        );
        if certainty == Certain {
            assert_eq!(found.others, [], "row {number}");
        }
        assert_eq!(found.cause.is_failure(), number != 1, "row {number}");
    }
}

#[test]
fn every_row_about_a_server_is_tried_or_said_to_be_impossible() {
    let tried: Vec<u8> = rows().iter().map(|row| row.0).collect();
    for number in 1..=38 {
        let impossible = IMPOSSIBLE.iter().find(|(row, _)| *row == number);
        assert!(
            tried.contains(&number) || impossible.is_some(),
            "row {number}"
        );
    }
}

#[test]
fn who_is_turned_away_is_told_by_which_bound() {
    for (limit, code) in [
        (Limit::PushedOut, "pushed_out"),
        (Limit::TooManyHandshakes, "too_many_handshakes"),
        (Limit::TooManyFromAddress, "too_many_from_address"),
        (Limit::TooManyConnections, "too_many_connections"),
        (Limit::NoDescriptors, "no_descriptors"),
    ] {
        let found = judge(&attempt(Ending::TurnedAway(limit)), &MQTTS);
        assert_eq!((found.cause.code(), found.certainty), (code, Certain));
    }
}

#[test]
fn protocols_that_change_places_without_tls_are_the_wrong_service() {
    let known = |service, tls| Circumstances {
        service,
        tls,
        ..MQTTS
    };
    let verdict = |first, known| judge(&wrong(first), &known).cause.code();
    assert_eq!(
        verdict(FirstBytes::Http, known(Service::Mqtt, false)),
        "wrong_service"
    );
    assert_eq!(
        verdict(FirstBytes::Mqtt, known(Service::Http, false)),
        "wrong_service"
    );
    assert_eq!(
        verdict(FirstBytes::Mqtt, known(Service::Http, true)),
        "wrong_service"
    );
    assert_eq!(
        verdict(FirstBytes::Http, known(Service::Http, true)),
        "http_to_tls"
    );
    assert_eq!(
        verdict(FirstBytes::Unknown, known(Service::Http, true)),
        "garbage"
    );
}
