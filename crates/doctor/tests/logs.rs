//! Logs of real incidents, and what the reader makes of each.

use std::path::{Path, PathBuf};

use safeport_doctor::{Cause, Clue, LogReading, Strength, read_log_bytes};
use toml_edit::DocumentMut;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logs")
}

fn read(file: &str) -> LogReading {
    let path = folder().join(file);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    read_log_bytes(&bytes)
}

/// The clue that a judge takes first: the strongest, of these the lowest layer, of these the latest.
fn foremost(reading: &LogReading) -> Option<&Clue> {
    let clues = reading.evidence.clues.iter();
    clues.min_by_key(|clue| {
        (
            std::cmp::Reverse(clue.strength.min(Strength::Specific)),
            clue.layer.rank(),
            std::cmp::Reverse(clue.at),
        )
    })
}

struct Expected {
    file: String,
    layer: String,
    cause: String,
    confidence: String,
    evidence: String,
}

fn expected(list: &str) -> Vec<Expected> {
    let text = std::fs::read_to_string(folder().join(list)).expect("the list of logs");
    let document: DocumentMut = text.parse().expect("the list is TOML");
    let cases = document["case"].as_array_of_tables().expect("cases");
    let text =
        |case: &toml_edit::Table, key: &str| case[key].as_str().unwrap_or_default().to_string();
    cases
        .iter()
        .map(|case| Expected {
            file: text(case, "file"),
            layer: text(case, "layer"),
            cause: text(case, "cause"),
            confidence: text(case, "confidence"),
            evidence: text(case, "key_evidence"),
        })
        .collect()
}

fn misses(case: &Expected) -> Vec<String> {
    let reading = read(&case.file);
    let mut misses = Vec::new();
    if case.cause.is_empty() {
        let clues = &reading.evidence.clues;
        if !clues.is_empty() {
            misses.push(format!("{}: is healthy\n{clues:#?}", case.file));
        }
        return misses;
    }
    let Some(clue) = foremost(&reading) else {
        return vec![format!("{}: no clue", case.file)];
    };
    let shown = format!("{:#?}", reading.evidence.clues);
    if clue.cause.code() != case.cause {
        misses.push(format!(
            "{}: {} instead of {}\n{shown}",
            case.file, clue.cause, case.cause
        ));
        return misses;
    }
    if clue.layer.code() != case.layer {
        misses.push(format!(
            "{}: on {} instead of {}",
            case.file, clue.layer, case.layer
        ));
    }
    let quoted = reading
        .evidence
        .clues
        .iter()
        .filter(|other| other.cause == clue.cause)
        .any(|clue| clue.quote.en.contains(&case.evidence));
    if !quoted {
        misses.push(format!(
            "{}: does not quote {}\n{shown}",
            case.file, case.evidence
        ));
    }
    let sure = clue.strength >= Strength::Specific && clue.or.is_empty();
    if sure != (case.confidence == "high") {
        misses.push(format!(
            "(step) {}: {:?}, or {:?}, instead of {}",
            case.file, clue.strength, clue.or, case.confidence
        ));
    }
    misses
}

fn leads_to_causes(list: &str) -> usize {
    let cases = expected(list);
    let misses: Vec<String> = cases.iter().flat_map(misses).collect();
    let (steps, wrong): (Vec<_>, Vec<_>) = misses
        .into_iter()
        .partition(|miss| miss.starts_with("(step)"));
    println!("{}", steps.join("\n"));
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    cases.len()
}

#[test]
fn every_known_log_leads_to_its_cause_with_its_evidence() {
    assert_eq!(leads_to_causes("expected.toml"), 32);
}

#[test]
fn other_stamps_terminals_boots_and_devices_lead_there_too_and_healthy_logs_nowhere() {
    assert!(leads_to_causes("more/expected.toml") >= 46);
}

#[test]
fn nothing_secret_of_a_log_is_quoted_or_kept() {
    let reading = read("more/15-esphome-password-and-token.log");
    let everything = format!("{reading:?}");
    for secret in ["sunny-Day-42", "hunter2", "abcdef0123456789"] {
        assert!(!everything.contains(secret), "{secret} in {everything}");
    }
    assert_eq!(reading.evidence.facts.get("host"), Some("api.example"));
}

#[test]
fn names_addresses_and_versions_are_taken_from_the_log() {
    let facts = |file: &str| read(file).evidence.facts;
    let safeboot = facts("story-1-tasmota-safeboot.log");
    assert_eq!(safeboot.get("safeboot_version"), Some("13.2.0"));
    assert_eq!(safeboot.get("version"), Some("14.3.0"));
    assert_eq!(safeboot.get("device_address"), Some("192.168.40.31"));
    assert_eq!(safeboot.get("device"), Some("powr-attic"));
    let ota = facts("story-3-xiaozhi-ota-no-port.log");
    assert_eq!(ota.get("family"), Some("xiaozhi"));
    assert_eq!(ota.get("version"), Some("1.5.9"));
    assert_eq!(ota.get("url"), Some("http://192.168.88.200/xiaozhi/ota/"));
    assert_eq!(ota.get("host"), Some("192.168.88.200"));
    assert_eq!(ota.get("port"), Some("80"));
    let modem = facts("story-4-xiaozhi-4g-wss.log");
    assert_eq!(modem.get("modem"), Some("ML307"));
    assert_eq!(
        modem.get("url"),
        Some("wss://voice.example:8902/xiaozhi/v1/")
    );
    let clock = facts("07-tasmota-54-clock.log");
    assert_eq!(clock.get("device_time"), Some("1970-01-01T00:00:18"));
    assert_eq!(clock.get("host"), Some("mqtt.example.net"));
    assert_eq!(clock.get("port"), Some("8883"));
    assert_eq!(
        facts("27-esphome-takeover.log").get("client_id"),
        Some("livingroom")
    );
    assert_eq!(facts("story-5-port-conflict.log").get("port"), Some("8000"));
    let modem = read("story-4-xiaozhi-4g-wss.log");
    assert_eq!(modem.to_probe, ["wss://voice.example:8902/xiaozhi/v1/"]);
    let docker = read("26-xiaozhi-docker-ip.log");
    assert_eq!(docker.to_probe[0], "ws://172.18.0.3:8000/xiaozhi/v1/");
}

#[test]
fn what_must_have_worked_for_a_device_to_fail_as_it_did_is_said_to_work() {
    let passed = |file: &str| -> Vec<&'static str> {
        let passed = read(file).evidence.passed;
        passed.iter().map(|passed| passed.layer.code()).collect()
    };
    assert_eq!(
        passed("06-tasmota-62-missing-intermediate.log"),
        ["dns", "tcp"]
    );
    assert_eq!(passed("09-tasmota-rc5.log"), ["dns", "tcp", "tls"]);
    assert!(passed("story-2-espeasy-1002.log").is_empty());
    assert_eq!(passed("story-3-xiaozhi-ota-no-port.log"), ["wifi"]);
}

#[test]
fn a_boot_after_another_is_the_one_that_counts() {
    let reading = read("more/07-serial-monitor-two-boots.log");
    assert_eq!(reading.boots.len(), 2);
    assert!(
        reading.boots[1]
            .because
            .as_deref()
            .is_some_and(|line| line.contains("rst cause:2"))
    );
    assert!(
        reading
            .evidence
            .clues
            .iter()
            .all(|clue| clue.cause != Cause::WifiWrongPassword)
    );
    // A remark says that the second one was before the first.
    let reading = read("story-1-tasmota-safeboot.log");
    let earlier: Vec<bool> = reading.boots.iter().map(|boot| boot.earlier).collect();
    assert_eq!(earlier, [false, true]);
}

#[test]
fn every_cause_in_the_lists_is_one_we_have() {
    for case in expected("expected.toml") {
        assert!(Cause::of_code(&case.cause).is_some(), "{}", case.cause);
    }
}
