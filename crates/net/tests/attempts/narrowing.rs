//! What narrows a cause where the wire leaves several.

use std::collections::HashSet;
use std::time::Duration;

use safeport_net::attempt::{
    Cause, Certainty, Circumstances, Ending, Judgement, SentRecord, Stage, judge,
};

use crate::scene::{CHAINS, CLOSED, MQTTS, attempt, failed, hello, idf, served, tasmota, unserved};

use Certainty::{Certain, Likely, Possible};

fn verdict(found: &Judgement) -> (Cause, Certainty) {
    (found.cause, found.certainty)
}

#[test]
fn a_tasmota_that_does_not_know_the_private_root_is_named_so_beside_a_pinned_key() {
    let attempt = served(tasmota("hub.local"), &CHAINS.private, CLOSED);
    let found = judge(&attempt, &MQTTS);
    assert_eq!(verdict(&found), (Cause::Untrusted, Likely));
    assert!(
        found.others.contains(&Cause::FingerprintMismatch),
        "{found:?}"
    );
    assert!(!found.others.contains(&Cause::NameMismatch), "{found:?}");
}

#[test]
fn a_tasmota_with_another_pinned_key_looks_at_neither_name_nor_root_nor_date() {
    let attempt = served(tasmota("elsewhere.example"), &CHAINS.private, CLOSED);
    let pinned = |right| Circumstances {
        pinned: Some(right),
        ..MQTTS
    };
    let found = judge(&attempt, &pinned(false));
    assert_eq!(verdict(&found), (Cause::FingerprintMismatch, Likely));
    // With the right key there is nothing about the certificate left to refuse.
    let found = judge(&attempt, &pinned(true));
    assert_eq!(verdict(&found), (Cause::LowHeap, Likely));
    assert_eq!(found.others, []);
}

#[test]
fn a_chain_that_fits_leaves_clock_or_pin_and_never_the_name() {
    let attempt = served(tasmota("hub.example"), &CHAINS.public, CLOSED);
    let found = judge(&attempt, &MQTTS);
    assert_eq!(verdict(&found), (Cause::DeviceClockUnset, Possible));
    let left = [
        Cause::FingerprintMismatch,
        Cause::DeviceClockWrong,
        Cause::LowHeap,
    ];
    assert_eq!(found.others, left);
}

#[test]
fn an_address_that_stands_in_the_certificate_as_a_dns_name_too_is_no_mismatch() {
    // The private authority writes it both ways for this reason.
    let attempt = served(tasmota("192.168.1.20"), &CHAINS.private, CLOSED);
    let found = judge(&attempt, &MQTTS);
    assert_eq!(found.cause, Cause::Untrusted, "{found:?}");
    assert!(!found.others.contains(&Cause::NameMismatch), "{found:?}");
    // Stacks that compare addresses find it where the standard puts it.
    let attempt = served(
        idf("192.168.1.20"),
        &CHAINS.with_address,
        Ending::AlertReceived(48),
    );
    assert_eq!(judge(&attempt, &MQTTS).cause, Cause::Untrusted);
}

#[test]
fn a_root_that_was_trusted_before_is_not_blamed() {
    let attempt = served(tasmota("hub.local"), &CHAINS.private, CLOSED);
    let known = Circumstances {
        trusted_before: true,
        ..MQTTS
    };
    let found = judge(&attempt, &known);
    assert_ne!(found.cause, Cause::Untrusted);
    assert!(!found.others.contains(&Cause::Untrusted), "{found:?}");
}

#[test]
fn a_young_root_without_its_bridge_is_an_incomplete_chain_for_devices_only() {
    let alert = Ending::AlertReceived(48);
    let device = served(tasmota("hub.example"), &CHAINS.unbridged, CLOSED);
    assert_eq!(
        verdict(&judge(&device, &MQTTS)),
        (Cause::ChainIncomplete, Likely)
    );
    let device = served(idf("hub.example"), &CHAINS.unbridged, alert.clone());
    assert_eq!(
        verdict(&judge(&device, &MQTTS)),
        (Cause::ChainIncomplete, Certain)
    );
    let program = served(hello("curl", "hub.example"), &CHAINS.unbridged, alert);
    assert_eq!(judge(&program, &MQTTS).cause, Cause::Untrusted);
}

#[test]
fn an_alert_and_the_chain_that_agree_are_certain() {
    for (name, alert, host, cause) in [
        ("mbedtls-3-idf", 48, "hub.local", Cause::Untrusted),
        ("mbedtls-2", 48, "hub.local", Cause::Untrusted),
        ("openssl-s_client", 48, "hub.local", Cause::Untrusted),
        (
            "openssl-s_client",
            42,
            "elsewhere.local",
            Cause::NameMismatch,
        ),
        ("python", 42, "elsewhere.local", Cause::NameMismatch),
    ] {
        let attempt = served(
            hello(name, host),
            &CHAINS.private,
            Ending::AlertReceived(alert),
        );
        assert_eq!(
            verdict(&judge(&attempt, &MQTTS)),
            (cause, Certain),
            "{name}"
        );
    }
}

#[test]
fn an_alert_that_a_stack_uses_for_everything_is_read_with_what_is_known() {
    // Go says 42 and Chromium 46 to any fault.
    for (name, alert) in [("go", 42), ("chromium", 46), ("java", 46), ("gnutls", 42)] {
        let ending = Ending::AlertReceived(alert);
        let wrong = served(
            hello(name, "elsewhere.example"),
            &CHAINS.public,
            ending.clone(),
        );
        let found = judge(&wrong, &MQTTS);
        assert_eq!(verdict(&found), (Cause::NameMismatch, Likely), "{name}");
        let private = served(hello(name, "hub.local"), &CHAINS.private, ending.clone());
        assert_eq!(
            verdict(&judge(&private, &MQTTS)),
            (Cause::Untrusted, Likely),
            "{name}"
        );
        let good = served(hello(name, "hub.example"), &CHAINS.public, ending);
        assert_eq!(
            verdict(&judge(&good, &MQTTS)),
            (Cause::CertificateRefused, Possible),
            "{name}"
        );
    }
}

#[test]
fn a_stack_that_would_have_sent_an_alert_is_not_said_to_refuse_the_certificate() {
    let idf = served(idf("hub.local"), &CHAINS.private, CLOSED);
    let found = judge(&idf, &MQTTS);
    assert_eq!(verdict(&found), (Cause::ClosesInHandshake, Possible));
    assert_eq!(found.others, [Cause::LowHeap, Cause::Untrusted]);
    let program = served(hello("curl", "hub.local"), &CHAINS.private, CLOSED);
    assert_eq!(judge(&program, &MQTTS).cause, Cause::ClosesInHandshake);
}

#[test]
fn a_program_that_looks_at_the_name_after_the_handshake_closes_then() {
    let closed = Ending::Closed {
        stage: Stage::Finished,
        reset: false,
    };
    let node = served(
        hello("node", "elsewhere.example"),
        &CHAINS.public,
        closed.clone(),
    );
    assert_eq!(
        verdict(&judge(&node, &MQTTS)),
        (Cause::NameMismatch, Likely)
    );
    let fits = served(hello("node", "hub.example"), &CHAINS.public, closed.clone());
    assert_eq!(judge(&fits, &MQTTS).cause, Cause::ClosesAfterHandshake);
    let device = served(tasmota("hub.example"), &CHAINS.public, closed);
    assert_eq!(judge(&device, &MQTTS).cause, Cause::ClosesAfterHandshake);
}

#[test]
fn a_resumed_session_has_no_certificate_to_refuse() {
    let attempt = unserved(tasmota("hub.local"), CLOSED);
    assert_eq!(judge(&attempt, &MQTTS).cause, Cause::ClosesInHandshake);
}

#[test]
fn a_record_is_too_large_only_beyond_what_the_client_holds_and_only_just_before_the_end() {
    let judged = |hello, bytes, millis, reset| {
        let ending = Ending::Closed {
            stage: Stage::Established,
            reset,
        };
        let mut attempt = served(hello, &CHAINS.public, ending);
        attempt.tls.as_mut().unwrap().largest_sent = Some(SentRecord {
            bytes,
            before_end: Duration::from_millis(millis),
        });
        verdict(&judge(&attempt, &MQTTS))
    };
    let small = || tasmota("hub.example");
    // Measured: a client that asks for 1024 takes 1320 and not one byte more.
    assert_eq!(
        judged(small(), 1320, 10, true),
        (Cause::ConnectionLost, Certain)
    );
    assert_eq!(
        judged(small(), 1321, 10, true),
        (Cause::RecordTooLarge, Likely)
    );
    assert_eq!(
        judged(small(), 1321, 10, false),
        (Cause::RecordTooLarge, Possible)
    );
    assert_eq!(
        judged(small(), 5000, 2001, true),
        (Cause::ConnectionLost, Certain)
    );
    let medium = hello("bearssl-tasmota-2048", "hub.example");
    assert_eq!(
        judged(medium, 2344, 10, true),
        (Cause::ConnectionLost, Certain)
    );
    let mfl = hello("mbedtls-2-mfl", "hub.example");
    assert_eq!(
        judged(mfl.clone(), 4096, 10, true),
        (Cause::ConnectionLost, Certain)
    );
    assert_eq!(judged(mfl, 4097, 10, true), (Cause::RecordTooLarge, Likely));
    let unasked = idf("hub.example");
    assert_eq!(
        judged(unasked, 16_384, 10, true),
        (Cause::RecordTooLarge, Possible)
    );
    let program = hello("curl", "hub.example");
    assert_eq!(
        judged(program, 16_384, 10, true),
        (Cause::ConnectionLost, Certain)
    );
    // Whoever closes in good order after small records was simply done.
    assert_eq!(judged(small(), 1024, 10, false), (Cause::Healthy, Certain));
}

#[test]
fn a_flight_that_arrived_is_no_black_hole() {
    let waited = |unacknowledged| {
        let ending = Ending::TimedOut {
            stage: Stage::Certificate,
            unacknowledged,
        };
        judge(&served(idf("hub.local"), &CHAINS.private, ending), &MQTTS)
    };
    assert_eq!(verdict(&waited(Some(0))), (Cause::HandshakeTimeout, Likely));
    let found = waited(None);
    assert_eq!(verdict(&found), (Cause::HandshakeTimeout, Possible));
    assert!(found.others.contains(&Cause::MtuBlackHole));
}

#[test]
fn one_take_over_is_a_reconnect_and_three_are_two_clients() {
    for (take_overs, cause) in [
        (1, Cause::TakenOver),
        (2, Cause::TakenOver),
        (3, Cause::DuplicateClientId),
    ] {
        let known = Circumstances {
            take_overs,
            ..MQTTS
        };
        assert_eq!(Cause::of(&attempt(Ending::TakenOver), &known), cause);
    }
}

#[test]
fn a_silent_close_is_a_monitor_and_a_silent_reset_a_short_timeout() {
    let closed = |reset| {
        judge(
            &attempt(Ending::Closed {
                stage: Stage::Silent,
                reset,
            }),
            &MQTTS,
        )
    };
    assert_eq!(verdict(&closed(false)), (Cause::PortCheck, Likely));
    assert!(!closed(false).cause.is_failure());
    assert_eq!(verdict(&closed(true)), (Cause::TimeoutTooShort, Likely));
}

#[test]
fn our_own_alerts_about_certificates_are_about_the_client_s() {
    for alert in [42, 43, 44, 45, 46, 48] {
        let attempt = served(tasmota("hub.local"), &CHAINS.private, failed(alert));
        assert_eq!(
            Cause::of(&attempt, &MQTTS),
            Cause::ClientCertRefused,
            "{alert}"
        );
    }
    let damaged = served(tasmota("hub.local"), &CHAINS.private, failed(20));
    assert_eq!(Cause::of(&damaged, &MQTTS), Cause::TlsBroken);
    let alpn = unserved(tasmota("hub.local"), failed(120));
    assert_eq!(Cause::of(&alpn, &MQTTS), Cause::NoCommonAlpn);
}

#[test]
fn no_alert_of_any_stack_is_left_without_a_judgement() {
    for name in crate::captured::all() {
        for alert in 0..=255 {
            for ending in [Ending::AlertReceived(alert), failed(alert)] {
                let attempt = served(hello(&name, "hub.local"), &CHAINS.private, ending);
                let found = judge(&attempt, &MQTTS);
                assert!(found.cause.is_failure(), "{name}, {alert}: {found:?}");
                assert!(
                    !found.others.contains(&found.cause),
                    "{name}, {alert}: {found:?}"
                );
                let others: HashSet<_> = found.others.iter().collect();
                assert_eq!(
                    others.len(),
                    found.others.len(),
                    "{name}, {alert}: {found:?}"
                );
            }
        }
    }
}

#[test]
fn codes_of_causes_are_words_and_tell_them_apart() {
    let codes: HashSet<_> = Cause::ALL.iter().map(|cause| cause.code()).collect();
    assert_eq!(codes.len(), Cause::ALL.len());
    let word = |code: &str| {
        code.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    assert!(codes.iter().all(|code| word(code)));
}
