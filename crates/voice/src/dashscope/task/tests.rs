use proptest::prelude::*;

use super::*;
use crate::limits::SOUND_BYTES;

fn started() -> Task {
    let mut task = Task::named(SpeechFormat::default(), "one".to_owned());
    let step = task.take(text(
        r#"{"header":{"task_id":"one","event":"task-started"}}"#,
    ));
    assert_eq!(step, Ok(Step::Started));
    task
}

fn text(json: &str) -> Arrival {
    Arrival::Text(json.to_owned())
}

#[test]
fn a_task_has_a_name_of_its_own() {
    let (one, other) = (
        Task::new(SpeechFormat::default()).unwrap(),
        Task::new(SpeechFormat::default()).unwrap(),
    );
    assert_eq!(one.id.len(), 32);
    assert_ne!(one.id, other.id);
}

#[test]
fn events_of_another_task_are_passed_over() {
    let mut task = started();
    let other = text(r#"{"header":{"task_id":"two","event":"task-finished"}}"#);
    assert_eq!(task.take(other), Ok(Step::Nothing));
    let twice = text(r#"{"header":{"task_id":"one","event":"task-started"}}"#);
    assert_eq!(task.take(twice), Ok(Step::Nothing));
    let unknown =
        text(r#"{"header":{"task_id":"one","event":"something-new"},"payload":{"a":[1]}}"#);
    assert_eq!(task.take(unknown), Ok(Step::Nothing));
}

#[test]
fn a_sentence_that_never_ends_is_a_failure() {
    let mut task = started();
    let piece = vec![0; 1 << 20];
    for _ in 0..SOUND_BYTES >> 20 {
        assert!(task.take(Arrival::Bytes(piece.clone())).is_ok());
    }
    let more = task.take(Arrival::Bytes(piece)).unwrap_err();
    assert_eq!(more.kind, FailureKind::Misunderstood);
}

#[test]
fn what_is_said_of_an_error_is_not_shown_without_end() {
    let long = format!(
        r#"{{"header":{{"event":"task-failed","error_code":"X","error_message":"{}"}}}}"#,
        "é".repeat(5000)
    );
    let trouble = started().take(text(&long)).unwrap_err();
    assert!(trouble.detail.chars().count() < 300);
}

proptest! {
    #[test]
    fn samples_are_put_together_however_they_are_cut(
        samples in proptest::collection::vec(-9_000..9_000i16, 2..400),
        cuts in proptest::collection::vec(1..9usize, 1..200),
    ) {
        let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let (mut task, mut heard, mut rest, mut cut) = (started(), Vec::new(), &bytes[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(rest.len().min(*cut.next().unwrap()));
            match task.take(Arrival::Bytes(piece.to_vec())) {
                Ok(Step::Sound(pieces)) => {
                    for piece in pieces {
                        let Sound::Samples { rate: 24_000, samples } = piece else {
                            panic!("not what was asked for: {piece:?}");
                        };
                        heard.extend(samples);
                    }
                }
                Ok(Step::Nothing) => {}
                other => prop_assert!(false, "{:?}", other),
            }
            rest = more;
        }
        prop_assert_eq!(heard, samples);
    }

    #[test]
    fn any_message_is_a_step_or_a_failure(message in ".{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..99)) {
        let mut task = started();
        let _ = task.take(Arrival::Text(message));
        let _ = task.take(Arrival::Bytes(bytes));
    }

    #[test]
    fn any_event_is_a_step_or_a_failure(event in "[a-z-]{0,14}|task-(finished|failed|started)", code in ".{0,30}", id in "one|two") {
        let message = json!({ "header": { "task_id": id, "event": event, "error_code": code } });
        let step = started().take(Arrival::Text(message.to_string()));
        if event == "task-failed" && id == "one" {
            prop_assert!(step.is_err());
        }
    }
}
