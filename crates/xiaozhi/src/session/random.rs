//! Devices, pipelines and clocks in any order whatever. What must hold is checked by [`World`]:
//! no audio of an old turn or outside of speech, never more than the device keeps, the order of
//! the messages, one end of each answer and nothing said after it, nothing lost, no clock that
//! wakes for nothing.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::tests::{World, opening, packet};
use super::*;
use crate::{Client, Emotion, Version};

#[derive(Debug, Clone)]
enum Step {
    Listens(&'static str),
    Stops,
    Types,
    Aborts,
    /// The device interrupts as firmware does.
    Interrupts(&'static str),
    Says(&'static str),
    Sound(usize),
    /// The pipeline of this many turns ago says something.
    Output(u32, Said),
    Announces,
    /// Time passes and the driver is there at every moment.
    Passes(u64),
    /// Time passes and the driver is late.
    Sleeps(u64),
    Closes,
    Breaks,
}

#[derive(Debug, Clone)]
enum Said {
    Heard,
    Emotion,
    Sentence,
    Audio(u32, usize),
    Voice,
    Done,
}

fn modes() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("auto"), Just("manual"), Just("realtime")]
}

fn outputs() -> impl Strategy<Value = Said> {
    let length = prop_oneof![Just(60_u32), Just(20), Just(2)];
    prop_oneof![
        2 => Just(Said::Heard),
        1 => Just(Said::Emotion),
        2 => Just(Said::Sentence),
        6 => (length, 1..40_usize).prop_map(|(length, count)| Said::Audio(length, count)),
        1 => Just(Said::Voice),
        3 => Just(Said::Done),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    let texts = prop_oneof![
        Just(r#"{"type":"hello","version":1}"#),
        Just(r#"{"type":"ping"}"#),
        Just(r#"{"type":"mcp","payload":{}}"#),
        Just(r#"{"type":"goodbye","session_id":"other"}"#),
        Just(r#"{"type":"what"}"#),
    ];
    let times = prop_oneof![0..200_u64, 200..3_000_u64, Just(61_000), Just(130_000)];
    prop_oneof![
        60 => modes().prop_map(Step::Listens),
        40 => Just(Step::Stops),
        20 => Just(Step::Types),
        30 => Just(Step::Aborts),
        30 => modes().prop_map(Step::Interrupts),
        10 => texts.prop_map(Step::Says),
        20 => (0..5_000_usize).prop_map(Step::Sound),
        250 => outputs().prop_map(|said| Step::Output(0, said)),
        30 => (1..3_u32, outputs()).prop_map(|(ago, said)| Step::Output(ago, said)),
        10 => Just(Step::Announces),
        100 => times.clone().prop_map(Step::Passes),
        40 => times.prop_map(Step::Sleeps),
        1 => Just(Step::Closes),
        1 => Just(Step::Breaks),
    ]
}

fn begin(version: &str, way: bool) -> World {
    let version: Version = version.parse().expect("a version");
    let offer = crate::UdpOffer {
        server: "hub".into(),
        port: 8884,
        key: [7; 16],
        nonce: [0; 16],
    };
    World::open(Opening {
        habits: Habits::by(Some(&version), Client::Device),
        way: match way {
            true => HelloWay::WebSocket,
            false => HelloWay::Udp(Box::new(offer)),
        },
        ..opening()
    })
}

impl World {
    fn step(&mut self, step: Step, next: &mut u32) {
        match step {
            Step::Listens(mode) => self.listens(mode),
            Step::Stops => self.stops(),
            Step::Types => self.types("x"),
            Step::Aborts => {
                self.aborts();
                assert!(
                    self.ended.is_some() || self.session.is_quiet(),
                    "an abort is obeyed"
                );
            }
            Step::Interrupts(mode) => {
                self.aborts();
                self.listens(mode);
                let listens = self.ended.is_some() || self.session.is_quiet();
                assert!(listens && self.current.is_some() != self.ended.is_some());
            }
            Step::Says(text) => self.says(text),
            Step::Sound(bytes) => {
                let uplink = self.session.handle_audio(&vec![0x58; bytes]);
                if let Uplink::Hear(turn) = uplink {
                    assert_eq!(Some(turn), self.current);
                }
            }
            Step::Output(ago, said) => self.output(ago, said, next),
            Step::Announces => {
                let turn = self.session.announce(self.now);
                self.drain();
                assert!(turn.is_none() || turn == self.current);
            }
            Step::Passes(time) => self.passes(time),
            Step::Sleeps(time) => {
                self.now = self.now + time;
                self.drain();
            }
            Step::Closes => {
                self.session.close();
                self.drain();
                assert!(self.ended.is_some());
            }
            Step::Breaks => {
                self.session.handle_closed();
                self.drain();
                assert!(self.ended.is_some());
            }
        }
    }

    fn output(&mut self, ago: u32, said: Said, next: &mut u32) {
        let Some(turn) = self.current else { return };
        let old = TurnId(turn.0.wrapping_sub(ago));
        let (output, count) = match said {
            Said::Heard => (Output::Heard("x".into()), 1),
            Said::Emotion => (Output::Emotion(Emotion::Sad), 1),
            Said::Sentence => (Output::Sentence("y".into()), 1),
            Said::Audio(length, count) => (Output::Audio(packet(length, 0)), count),
            Said::Voice => (Output::Voice, 1),
            Said::Done => (Output::Done, 1),
        };
        for _ in 0..count {
            let output = match (&output, &said) {
                (Output::Audio(_), Said::Audio(length, _)) => {
                    *next += 1;
                    Output::Audio(packet(*length, *next))
                }
                _ => output.clone(),
            };
            let room = self.session.room(old);
            let is_audio = matches!(output, Output::Audio(_));
            let taken = self.outputs(old, output);
            if ago > 0 {
                assert_eq!((taken, room), (Taken::Stale, 0));
            } else if is_audio {
                assert_eq!(taken == Taken::Queued, room > 0, "{taken:?} {room}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_happens_devices_hear_one_turn_at_a_time(
        steps in proptest::collection::vec(steps(), 1..120),
        version in prop_oneof![Just("1.6.2"), Just("2.2.2"), Just("2.5.0")],
        way: bool,
    ) {
        let mut world = begin(version, way);
        let mut next = 0;
        for step in steps {
            world.step(step, &mut next);
        }
        // In the end, silence ends every session.
        world.passes(1_000_000);
        prop_assert!(world.ended.is_some());
        prop_assert_eq!(world.session.next_wake(), None);
        let ends: Vec<_> = world.log.iter().filter(|(_, what)| what.starts_with("end ")).collect();
        prop_assert_eq!(ends.len(), 1);
    }
}
