//! What devices and agents said to each other.

use safeport_store::{Kind, StoreError, TalkRow, limits};

use super::{BY, at, device, open};

fn talk(device: &str, at: u64) -> TalkRow {
    TalkRow {
        device: device.to_string(),
        at,
        until: at + 100,
        conversation: "c1".to_string(),
        agent: "kitchen".to_string(),
        heard: format!("question {at}"),
        said: format!("answer {at}"),
        transcript_ms: Some(120),
        token_ms: Some(300),
        audio_ms: Some(480),
        ..TalkRow::default()
    }
}

#[test]
fn turns_are_kept_whole_in_their_order_until_their_time_is_over() {
    let (_folder, mut registry) = open();
    for name in ["box", "lamp"] {
        registry.add_device(&device(name), BY).unwrap();
    }
    registry
        .add_talks(&[
            talk("box", 1),
            talk("lamp", 2),
            talk("box", 3),
            talk("gone", 3),
        ])
        .unwrap();
    let found = registry.talks("box", None, 10, 3).unwrap();
    assert_eq!(found.len(), 2);
    let expected = TalkRow {
        id: found[0].id,
        ..talk("box", 3)
    };
    assert_eq!(found[0], expected);
    // Paged from the newest on.
    let earlier = registry.talks("box", Some(found[0].id), 10, 3).unwrap();
    assert_eq!(earlier, found[1..]);
    assert_eq!(registry.talks("gone", None, 10, 3).unwrap(), []);
    // Over at 101: not shown any more, and gone with the next tidying.
    assert_eq!(registry.talks("box", None, 10, 101).unwrap().len(), 1);
    let tidied = registry.tidy(101, &Default::default()).unwrap();
    assert_eq!(tidied.talks, 1);
    assert_eq!(registry.talks("box", None, 10, 0).unwrap().len(), 1);
}

#[test]
fn the_newest_of_each_device_are_kept() {
    let (_folder, mut registry) = open();
    for name in ["box", "lamp"] {
        registry.add_device(&device(name), BY).unwrap();
    }
    registry.add_talks(&[talk("lamp", 1)]).unwrap();
    let most = u64::from(limits::MAX_TALKS_PER_DEVICE);
    let many: Vec<TalkRow> = (1..=most + 5).map(|at| talk("box", at)).collect();
    registry.add_talks(&many).unwrap();
    let found = registry.talks("box", None, u32::MAX, 0).unwrap();
    assert_eq!(found.len() as u64, most);
    assert_eq!(found.last().unwrap().at, 6);
    assert_eq!(registry.talks("lamp", None, 10, 0).unwrap().len(), 1);
}

#[test]
fn a_device_is_forgotten_with_all_that_it_said() {
    let (_folder, mut registry) = open();
    for name in ["box", "lamp"] {
        registry.add_device(&device(name), BY).unwrap();
    }
    registry
        .add_talks(&[talk("box", 1), talk("box", 2), talk("lamp", 3)])
        .unwrap();
    assert_eq!(registry.forget_talks("box", at(5)).unwrap(), 2);
    assert_eq!(registry.talks("box", None, 10, 0).unwrap(), []);
    assert!(
        registry.audit(1).unwrap()[0]
            .what
            .contains("2 talks of device box")
    );
    let refused = registry.forget_talks("nobody", at(5));
    assert!(
        matches!(
            refused,
            Err(StoreError::NotFound {
                kind: Kind::Device,
                ..
            })
        ),
        "{refused:?}"
    );
    registry.forget_device("lamp", at(6)).unwrap();
    registry.add_device(&device("lamp"), at(7)).unwrap();
    assert_eq!(registry.talks("lamp", None, 10, 0).unwrap(), []);
}

#[test]
fn a_turn_that_is_too_long_is_refused_and_nothing_of_its_batch_is_written() {
    let (_folder, mut registry) = open();
    registry.add_device(&device("box"), BY).unwrap();
    let long = TalkRow {
        said: "x".repeat(limits::MAX_BODY_BYTES + 1),
        ..talk("box", 2)
    };
    let refused = registry.add_talks(&[talk("box", 1), long]);
    assert!(matches!(refused, Err(StoreError::TooLong { .. })));
    assert_eq!(registry.talks("box", None, 10, 0).unwrap(), []);
}
