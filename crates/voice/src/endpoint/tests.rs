use super::*;
use proptest::prelude::*;

/// Scores of so many milliseconds each.
fn sound(parts: &[(u32, f32)]) -> Vec<f32> {
    parts
        .iter()
        .flat_map(|&(ms, score)| std::iter::repeat_n(score, (ms / WINDOW_MS) as usize))
        .collect()
}

fn changes(parts: &[(u32, f32)]) -> Vec<(u32, Change)> {
    let mut endpointer = Endpointer::new(Patience::default());
    sound(parts)
        .into_iter()
        .zip(1..)
        .filter_map(|(score, number)| Some((number * WINDOW_MS, endpointer.hear(score)?)))
        .collect()
}

#[test]
fn a_click_is_no_speech() {
    assert_eq!(changes(&[(320, 0.1), (48, 0.9), (2000, 0.1)]), []);
}

#[test]
fn pauses_within_a_sentence_do_not_end_it() {
    let heard = changes(&[(320, 0.0), (640, 0.9), (640, 0.1), (640, 0.8), (1600, 0.1)]);
    assert_eq!(
        heard,
        [
            (384, Change::Began { ago: 64 }),
            (2240 + 720, Change::Finished)
        ]
    );
}

#[test]
fn who_never_stops_is_answered_after_half_a_minute() {
    let heard = changes(&[(31_000, 0.9)]);
    assert_eq!(heard[0], (64, Change::Began { ago: 64 }));
    assert_eq!(heard[1].1, Change::Finished);
    assert!((30_000..30_016).contains(&heard[1].0));
}

#[test]
fn a_soft_end_of_a_word_is_no_pause() {
    let mut parts = vec![(320, 0.9)];
    parts.extend([(160, 0.4); 20]);
    assert_eq!(changes(&parts).len(), 1, "it began and goes on");
}

proptest! {
    #[test]
    fn began_and_finished_take_turns_and_what_began_is_within_what_was_heard(
        scores in proptest::collection::vec(0f32..1.0, 0..4000),
    ) {
        let mut endpointer = Endpointer::new(Patience::default());
        let mut speaking = false;
        for (number, score) in scores.into_iter().enumerate() {
            match endpointer.hear(score) {
                Some(Change::Began { ago }) => {
                    prop_assert!(!speaking);
                    prop_assert!(ago <= (number as u32 + 1) * WINDOW_MS);
                    speaking = true;
                }
                Some(Change::Finished) => {
                    prop_assert!(speaking);
                    speaking = false;
                }
                None => {}
            }
            prop_assert_eq!(endpointer.is_speaking(), speaking);
        }
    }
}
