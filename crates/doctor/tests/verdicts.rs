//! One finding for what was seen: of the logs of real incidents, and of several sources together.

use std::path::{Path, PathBuf};
use std::time::Duration;

use safeport_doctor::{
    Cause, Clue, Confidence, Diagnosis, Evidence, Layer, Passed, Place, Strength, Texts, judge,
    read_log_bytes,
};
use safeport_settings::Said;
use toml_edit::DocumentMut;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logs")
}

fn verdict_of(file: &str, texts: &Texts) -> Diagnosis {
    let bytes = std::fs::read(folder().join(file)).expect("the log");
    judge(read_log_bytes(&bytes).evidence, texts)
}

fn steps_between(one: Confidence, word: &str) -> u8 {
    let all = [
        Confidence::Low,
        Confidence::Medium,
        Confidence::High,
        Confidence::Certain,
    ];
    let of = |code: &str| all.iter().position(|each| each.code() == code).unwrap() as u8;
    of(one.code()).abs_diff(of(word))
}

#[test]
fn every_log_of_a_real_incident_comes_to_its_verdict() {
    let texts = Texts::new();
    let list = std::fs::read_to_string(folder().join("expected.toml")).unwrap();
    let document: DocumentMut = list.parse().unwrap();
    let mut wrong = Vec::new();
    let cases = document["case"].as_array_of_tables().unwrap();
    for case in cases {
        let wanted = |key: &str| case[key].as_str().unwrap();
        let diagnosis = verdict_of(wanted("file"), &texts);
        let finding = &diagnosis.finding;
        let quoted = finding
            .saw
            .iter()
            .any(|sight| sight.quote.en.contains(wanted("key_evidence")))
            || diagnosis
                .evidence
                .facts
                .0
                .values()
                .any(|fact| fact.contains(wanted("key_evidence")));
        let right = finding.cause.code() == wanted("cause")
            && finding.layer.code() == wanted("layer")
            && steps_between(finding.confidence, wanted("confidence")) <= 1
            && quoted
            && !finding.means.en.is_empty()
            && !finding.means.zh.is_empty()
            && !finding.fix.en.is_empty()
            && !finding.fix.zh.is_empty();
        if !right {
            wrong.push(format!(
                "{}: {} on {}, {}, saw {:?}",
                wanted("file"),
                finding.cause,
                finding.layer,
                finding.confidence.code(),
                finding.saw
            ));
        }
    }
    assert_eq!(cases.len(), 32);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn logs_after_reports_of_real_incidents_come_to_a_true_cause_and_no_surer_than_they_allow() {
    let texts = Texts::new();
    let list = std::fs::read_to_string(folder().join("real.toml")).unwrap();
    let document: DocumentMut = list.parse().unwrap();
    let cases = document["case"].as_array_of_tables().unwrap();
    let mut wrong = Vec::new();
    let mut sure = 0;
    for case in cases {
        let log = case["log"].as_str().unwrap();
        let finding = judge(read_log_bytes(log.as_bytes()).evidence, &texts).finding;
        let causes: Vec<&str> = case["causes"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|cause| cause.as_str())
            .collect();
        let known = causes.iter().all(|cause| Cause::of_code(cause).is_some());
        let right = match &causes[..] {
            [] => finding.cause == Cause::Healthy,
            causes => causes.contains(&finding.cause.code()),
        };
        let at_most = case.get("at_most").and_then(|word| word.as_str());
        let too_sure = match at_most {
            Some("medium") => finding.confidence > Confidence::Medium,
            Some("high") => finding.confidence > Confidence::High,
            _ => false,
        };
        sure += usize::from(!causes.is_empty() && finding.confidence >= Confidence::High);
        if !known || !right || too_sure {
            wrong.push(format!(
                "{}: {}, {}, instead of {causes:?}, at most {at_most:?}",
                case["name"],
                finding.cause,
                finding.confidence.code(),
            ));
        }
    }
    assert_eq!(cases.len(), 137);
    assert!(sure >= 40, "only {sure} logs lead to a sure finding");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn clue(cause: Cause, strength: Strength, place: Place, or: &[Cause]) -> Clue {
    Clue {
        cause,
        layer: cause.layer(),
        strength,
        place,
        at: None,
        quote: Said::same(cause.code()),
        entry: None,
        or: or.to_vec(),
    }
}

fn seen(clues: Vec<Clue>, passed: &[(Layer, Place)]) -> Evidence {
    Evidence {
        clues,
        passed: passed
            .iter()
            .map(|(layer, place)| Passed {
                layer: *layer,
                place: *place,
                quote: Said::same("ok"),
            })
            .collect(),
        ..Evidence::default()
    }
}

const LOG: Place = Place::DeviceLog { line: 1 };
const PROBE: Place = Place::Probe { stage: 5 };

fn judged(evidence: Evidence) -> Diagnosis {
    judge(evidence, &Texts::new())
}

#[test]
fn what_names_a_cause_goes_before_what_only_carries_the_news_even_from_a_lower_layer() {
    let diagnosis = judged(seen(
        vec![
            clue(Cause::TcpFailed, Strength::Carrier, LOG, &[]),
            clue(Cause::AuthFailed, Strength::Specific, LOG, &[]),
        ],
        &[],
    ));
    assert_eq!(diagnosis.finding.cause, Cause::AuthFailed);
    assert_eq!(diagnosis.finding.confidence, Confidence::High);
    assert_eq!(diagnosis.exit_code(), 16);
}

#[test]
fn of_two_named_causes_the_lower_layer_hides_the_other() {
    let diagnosis = judged(seen(
        vec![
            clue(Cause::AuthFailed, Strength::Specific, LOG, &[]),
            clue(Cause::NameNotResolved, Strength::Specific, LOG, &[]),
        ],
        &[],
    ));
    assert_eq!(diagnosis.finding.cause, Cause::NameNotResolved);
    assert_eq!(diagnosis.alternatives[0].cause, Cause::AuthFailed);
}

#[test]
fn a_probe_settles_which_of_several_causes_a_line_stands_for() {
    let open = [Cause::TimeoutTooShort, Cause::NothingListens];
    let line = || clue(Cause::TcpConnectFailed, Strength::Class, LOG, &open);
    let alone = judged(seen(vec![line()], &[]));
    assert_eq!(alone.finding.cause, Cause::TcpConnectFailed);
    assert_eq!(alone.finding.confidence, Confidence::Medium);
    let refused = clue(Cause::NothingListens, Strength::Proof, PROBE, &[]);
    let settled = judged(seen(vec![line(), refused], &[]));
    assert_eq!(settled.finding.cause, Cause::NothingListens);
    assert_eq!(settled.finding.confidence, Confidence::High);
}

#[test]
fn our_own_listener_and_the_devices_log_together_are_certain() {
    let diagnosis = judged(seen(
        vec![
            clue(Cause::ChainNotTrusted, Strength::Specific, LOG, &[]),
            clue(
                Cause::ChainNotTrusted,
                Strength::Proof,
                Place::Listener,
                &[],
            ),
        ],
        &[],
    ));
    assert_eq!(diagnosis.finding.confidence, Confidence::Certain);
    assert_eq!(diagnosis.note, None);
}

#[test]
fn a_certificate_that_is_seen_to_be_in_date_leaves_the_devices_clock() {
    let line = clue(Cause::CertificateExpired, Strength::Specific, LOG, &[]);
    let diagnosis = judged(seen(vec![line], &[(Layer::Certificate, PROBE)]));
    assert_eq!(diagnosis.finding.cause, Cause::DeviceClockWrong);
    assert_eq!(diagnosis.finding.layer, Layer::Clock);
    let mut evidence = diagnosis.evidence;
    evidence.facts.note("device_time", "1970-01-01T00:00:09");
    assert_eq!(judged(evidence).finding.cause, Cause::DeviceClockUnset);
}

#[test]
fn the_stamp_of_the_devices_own_line_tells_a_clock_that_was_never_set() {
    let mut line = clue(Cause::CertificateExpired, Strength::Specific, LOG, &[]);
    line.at = Some(safeport_doctor::Moment {
        since: Duration::from_secs(9),
        wall: true,
    });
    let unset = judged(seen(vec![line.clone()], &[]));
    assert_eq!(unset.finding.cause, Cause::DeviceClockUnset);
    // Counted since the start it says nothing about the time.
    line.at = line
        .at
        .map(|at| safeport_doctor::Moment { wall: false, ..at });
    let expired = judged(seen(vec![line], &[]));
    assert_eq!(expired.finding.cause, Cause::CertificateExpired);
}

#[test]
fn a_finer_word_for_the_same_trouble_leaves_nothing_open() {
    let line = clue(
        Cause::ChainNotTrusted,
        Strength::Specific,
        LOG,
        &[Cause::ChainIncomplete],
    );
    assert_eq!(
        judged(seen(vec![line], &[])).finding.confidence,
        Confidence::High
    );
}

#[test]
fn nothing_wrong_is_said_with_what_was_seen_to_work_and_what_that_does_not_prove() {
    let by_probe = judged(seen(vec![], &[(Layer::Tcp, PROBE), (Layer::Mqtt, PROBE)]));
    assert_eq!(by_probe.finding.cause, Cause::Healthy);
    assert_eq!(by_probe.finding.layer, Layer::Mqtt);
    assert_eq!(by_probe.exit_code(), 0);
    assert!(by_probe.note.is_some());
    let by_listener = judged(seen(vec![], &[(Layer::Mqtt, Place::Listener)]));
    assert_eq!(by_listener.finding.confidence, Confidence::Certain);
    assert_eq!(by_listener.note, None);
}

#[test]
fn judging_never_depends_on_how_long_the_log_is() {
    // 10,000 clues, the limit of several sources together: no step of it is quadratic.
    let clues: Vec<Clue> = (0..10_000)
        .map(|n| Clue {
            at: Some(safeport_doctor::Moment {
                since: Duration::from_secs(n),
                wall: false,
            }),
            ..clue(Cause::TlsFailed, Strength::Class, LOG, &[])
        })
        .collect();
    let diagnosis = judged(seen(clues, &[]));
    assert_eq!(diagnosis.finding.cause, Cause::TlsFailed);
    assert_eq!(diagnosis.finding.saw.len(), 1);
}
