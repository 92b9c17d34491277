//! Conversations in virtual time, with a device that is strict about what it is sent.

use super::*;
use crate::{Client, Emotion, Version};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

/// Opus packets with a number in them: SILK of 60 ms, or CELT of 20 and 2.5 ms.
pub(super) fn packet(milliseconds: u32, number: u32) -> Arc<[u8]> {
    let toc = match milliseconds {
        60 => 3 << 3,
        20 => 19 << 3,
        2 => 16 << 3,
        other => panic!("no packet of {other} ms"),
    };
    let mut bytes = vec![toc];
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.into()
}

/// The number in a packet of these tests.
fn number(packet: &[u8]) -> Option<u32> {
    let bytes = packet.get(1..5)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes))
}

/// What the device was sent, and when; and a device that is strict about it.
pub(super) struct World {
    pub(super) session: VoiceSession,
    pub(super) now: Time,
    pub(super) log: Vec<(u64, String)>,
    pub(super) current: Option<TurnId>,
    pub(super) ended: Option<End>,
    queue: usize,
    speaks: Option<Speech>,
    last_turn: u32,
    last_stamp: u32,
    stopped: Option<TurnId>,
    /// Whether it had not played all when it was told the end.
    cut_off: bool,
    /// Numbers of the packets that were taken and that were sent in the turn that is on.
    taken: Vec<u32>,
    pub(super) heard: Vec<u32>,
}

/// A device that speaks.
struct Speech {
    turn: TurnId,
    since: Time,
    /// When each of the packets that it still has is played, in microseconds.
    ends: VecDeque<u64>,
    last: u64,
}

pub(super) fn opening() -> Opening {
    Opening {
        session_id: "s1".into(),
        way: HelloWay::WebSocket,
        audio: AudioParams::SERVER,
        habits: Habits::by(None, Client::Device),
        waits: Waits::default(),
    }
}

impl World {
    /// A session that waits for the hello.
    pub(super) fn closed(opening: Opening) -> World {
        let now = Time(5_000);
        World {
            queue: opening.habits.queue.into(),
            session: VoiceSession::new(opening, now),
            now,
            log: Vec::new(),
            current: None,
            ended: None,
            speaks: None,
            last_turn: 0,
            last_stamp: 0,
            stopped: None,
            cut_off: false,
            taken: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// A session that had its hello.
    pub(super) fn open(opening: Opening) -> World {
        let mut world = World::closed(opening);
        world.says(r#"{"type":"hello","version":1,"transport":"websocket"}"#);
        assert_eq!(world.take(), ["hello"]);
        world
    }

    pub(super) fn says(&mut self, text: &str) {
        let heard = FromDevice::read(text.as_bytes()).expect("a message");
        self.session.handle_message(&heard, self.now);
        self.drain();
    }

    pub(super) fn listens(&mut self, mode: &str) {
        self.says(&format!(
            r#"{{"type":"listen","state":"start","mode":"{mode}"}}"#
        ));
    }

    pub(super) fn stops(&mut self) {
        self.says(r#"{"type":"listen","state":"stop"}"#);
    }

    pub(super) fn types(&mut self, text: &str) {
        self.says(&format!(
            r#"{{"type":"listen","state":"detect","text":"{text}"}}"#
        ));
    }

    pub(super) fn aborts(&mut self) {
        self.says(r#"{"type":"abort"}"#);
    }

    /// The pipeline of the turn that is on says this.
    pub(super) fn answers(&mut self, output: Output) -> Taken {
        let turn = self.current.expect("a turn");
        self.outputs(turn, output)
    }

    pub(super) fn outputs(&mut self, turn: TurnId, output: Output) -> Taken {
        let number = match &output {
            Output::Audio(packet) => number(packet),
            _ => None,
        };
        let taken = self.session.handle_output(turn, output, self.now);
        self.taken.extend(number.filter(|_| taken == Taken::Queued));
        self.drain();
        taken
    }

    /// Time passes, and the session is polled exactly when it wants to be.
    pub(super) fn passes(&mut self, milliseconds: u64) {
        let until = self.now + milliseconds;
        while let Some(wake) = self.session.next_wake().filter(|wake| *wake <= until) {
            assert!(wake > self.now, "it wants to be polled at once, forever");
            self.now = wake;
            let before = self.log.len();
            self.drain();
            assert!(self.log.len() > before, "woken at {wake:?} for nothing");
        }
        self.now = until;
        self.drain();
    }

    /// What happened since this was last asked.
    pub(super) fn take(&mut self) -> Vec<String> {
        let log = core::mem::take(&mut self.log);
        log.into_iter().map(|(_, what)| what).collect()
    }

    pub(super) fn drain(&mut self) {
        while let Some(action) = self.session.poll(self.now) {
            assert_eq!(self.ended, None, "after the end: {action:?}");
            let what = self.check(action);
            self.log.push((self.now.0, what));
        }
        let wake = self.session.next_wake();
        assert!(wake.is_none_or(|wake| wake > self.now), "{wake:?}");
    }

    fn check(&mut self, action: Action) -> String {
        match action {
            Action::Send(message) => {
                let json = message.to_json(Some(self.session.id()));
                let heard = ToDevice::read(json.as_bytes()).expect("a message");
                assert_eq!(heard.wrong, [""; 0]);
                assert_eq!(heard.message, message);
                self.check_message(message)
            }
            Action::Audio {
                turn,
                packet,
                timestamp,
            } => {
                assert!(timestamp > self.last_stamp, "a time stamp comes twice");
                self.last_stamp = timestamp;
                assert_eq!(Some(turn), self.current, "audio of an old turn");
                let speech = self.speaks.as_mut().expect("audio outside of speech");
                assert_eq!(speech.turn, turn);
                assert!(self.now.since(speech.since) >= SETTLE, "audio too early");
                let now = self.now.0 * 1000;
                while speech.ends.front().is_some_and(|end| *end <= now) {
                    speech.ends.pop_front();
                }
                let length = opus_duration(&packet).expect("Opus").as_micros() as u64;
                speech.last = speech.last.max(now) + length;
                speech.ends.push_back(speech.last);
                assert!(speech.ends.len() <= self.queue, "the device drops packets");
                assert!(speech.last - now <= 1_000_000, "too far ahead");
                let number = number(&packet).expect("a number");
                self.heard.push(number);
                format!("audio {number}")
            }
            Action::TurnStarted { turn, why } => {
                assert_eq!(self.current, None, "two turns at once");
                assert!(turn.0 > self.last_turn, "a turn comes twice");
                self.last_turn = turn.0;
                self.current = Some(turn);
                self.heard.clear();
                self.taken.clear();
                format!("turn {} {why:?}", turn.0)
            }
            Action::SpeechEnded { turn } => {
                assert_eq!(self.current, Some(turn));
                "speech ended".to_string()
            }
            Action::TurnEnded { turn, how } => {
                assert_eq!(self.current.take(), Some(turn));
                if how == Ending::Closed {
                    self.speaks = None;
                }
                assert!(self.speaks.is_none(), "it still speaks");
                match how {
                    Ending::Said => {
                        assert_eq!(self.heard, self.taken, "some was not said");
                        assert!(!self.cut_off, "the end was cut off");
                    }
                    _ => assert!(self.taken.starts_with(&self.heard), "not in order"),
                }
                if matches!(how, Ending::Said | Ending::Aborted) {
                    assert_eq!(self.stopped, Some(turn), "its end was not told");
                }
                format!("{how:?}")
            }
            Action::End(end) => {
                assert_eq!(self.current, None);
                self.ended = Some(end);
                format!("end {end:?}")
            }
        }
    }

    fn check_message(&mut self, message: ToDevice<'static>) -> String {
        match &message {
            ToDevice::Stt { text } => {
                assert!(self.current.is_some() && self.speaks.is_none());
                format!("stt {text}")
            }
            ToDevice::Llm { emotion, .. } => {
                assert!(self.speaks.is_some());
                format!("llm {emotion}")
            }
            ToDevice::Tts(Tts::Start) => {
                assert!(self.speaks.is_none(), "it speaks already");
                self.speaks = Some(Speech {
                    turn: self.current.expect("a turn"),
                    since: self.now,
                    ends: VecDeque::new(),
                    last: 0,
                });
                "start".to_string()
            }
            ToDevice::Tts(Tts::SentenceStart { text }) => {
                assert!(self.speaks.is_some());
                format!("says {text}")
            }
            ToDevice::Tts(Tts::Stop) => {
                assert_ne!(self.stopped, self.current, "its end was told twice");
                self.stopped = self.current;
                let speech = self.speaks.take();
                self.cut_off = speech.is_some_and(|speech| speech.last > self.now.0 * 1000);
                "stop".to_string()
            }
            other => other.kind().to_string(),
        }
    }
}

/// Milliseconds between `tts start` and the first packet.
const SETTLE: u64 = 100;

fn sentence(text: &str) -> Output {
    Output::Sentence(text.to_string())
}

fn audio(milliseconds: u32, number: u32) -> Output {
    Output::Audio(packet(milliseconds, number))
}

#[test]
fn a_turn_goes_in_the_order_that_devices_know() {
    let mut world = World::open(opening());
    world.listens("auto");
    let turn = TurnId(1);
    assert_eq!(world.session.handle_audio(&[0x58]), Uplink::Hear(turn));
    assert_eq!(world.answers(Output::Heard("你好".into())), Taken::Queued);
    world.answers(Output::Emotion(Emotion::Happy));
    world.answers(sentence("a"));
    world.answers(audio(60, 1));
    world.answers(sentence("b"));
    world.answers(audio(60, 2));
    world.answers(Output::Done);
    world.passes(1000);
    assert_eq!(
        world.take(),
        [
            "turn 1 Listens(Auto)",
            "stt 你好",
            "start",
            "llm happy",
            "says a",
            "audio 1",
            "says b",
            "audio 2",
            "stop",
            "Said"
        ]
    );
    let dropped = Uplink::Dropped(NotHeard::NotListening);
    assert_eq!(world.session.handle_audio(&[0x58]), dropped);
}

#[test]
fn five_packets_leave_at_once_and_then_one_in_60_ms_until_all_were_played() {
    let mut world = World::open(opening());
    world.listens("manual");
    world.stops();
    let began = world.now.0;
    for number in 0..10 {
        world.answers(audio(60, number));
    }
    world.answers(Output::Done);
    world.passes(2000);
    let times = |what: &str| -> Vec<u64> {
        let log = world.log.iter().filter(|(_, said)| said.starts_with(what));
        log.map(|(at, _)| at - began).collect()
    };
    assert_eq!(times("start"), [0]);
    assert_eq!(
        times("audio"),
        [100, 100, 100, 100, 100, 160, 220, 280, 340, 400]
    );
    // Ten packets are played at 700; builds that cut off get a little more time.
    assert_eq!(times("stop"), [820]);
}

#[test]
fn a_device_that_plays_out_by_itself_is_told_the_end_without_delay() {
    let version: Version = "2.2.2".parse().expect("a version");
    let habits = Habits::by(Some(&version), Client::Device);
    let mut world = World::open(Opening {
        habits,
        ..opening()
    });
    let ends = |world: &mut World, mode: &str| {
        world.listens(mode);
        let began = world.now.0;
        world.answers(audio(60, 1));
        world.answers(Output::Done);
        world.passes(1000);
        let (at, _) = world
            .log
            .iter()
            .find(|(_, what)| what == "stop")
            .expect("an end");
        let after = at - began;
        world.take();
        after
    };
    assert_eq!(ends(&mut world, "auto"), 160);
    assert_eq!(ends(&mut world, "manual"), 280);
}

#[test]
fn a_pipeline_that_pauses_is_taken_up_where_the_device_fell_silent() {
    let mut world = World::open(opening());
    world.types("hi");
    for number in 0..5 {
        world.answers(audio(60, number));
    }
    world.passes(3000);
    world.take();
    for number in 5..12 {
        world.answers(audio(60, number));
    }
    // Not all seven at once, as if the pause had been played.
    assert_eq!(world.take().len(), 5);
    world.passes(120);
    assert_eq!(world.take().len(), 2);
}

#[test]
fn short_packets_never_outgrow_the_queue_of_the_device() {
    for (version, queue) in [("2.4.2", 40), ("2.5.0", 20)] {
        let version: Version = version.parse().expect("a version");
        let habits = Habits::by(Some(&version), Client::Device);
        assert_eq!(habits.queue, queue);
        let mut world = World::open(Opening {
            habits,
            ..opening()
        });
        world.types("hi");
        for number in 0..60 {
            world.answers(audio(2, number));
        }
        world.passes(SETTLE);
        assert_eq!(world.heard.len(), usize::from(queue) - 4);
        world.passes(120);
        assert_eq!(world.heard.len(), 60);
    }
}

#[test]
fn habits_change_with_the_version_that_changed_them() {
    let of = |text: &str, client| {
        let version: Version = text.parse().expect("a version");
        let habits = Habits::by(Some(&version), client);
        (habits.queue, habits.drains)
    };
    assert_eq!(of("1.6.2", Client::Device), (40, false));
    assert_eq!(of("2.2.1", Client::Device), (40, false));
    assert_eq!(of("2.2.2", Client::Device), (40, true));
    assert_eq!(of("2.4.2", Client::Device), (40, true));
    assert_eq!(of("2.5", Client::Device), (20, true));
    assert_eq!(of("1.0.0", Client::Browser), (20, false));
    let unknown = Habits::by(None, Client::Device);
    assert_eq!((unknown.queue, unknown.drains), (20, false));
}

#[test]
fn after_an_abort_nothing_old_leaves_and_the_next_turn_begins_at_once() {
    let mut world = World::open(opening());
    world.listens("auto");
    world.answers(Output::Heard("a".into()));
    for number in 0..20 {
        world.answers(audio(60, number));
    }
    world.passes(150);
    let old = world.current.expect("a turn");
    world.take();
    world.aborts();
    world.listens("auto");
    assert_eq!(world.take(), ["stop", "Aborted", "turn 2 Listens(Auto)"]);
    assert_eq!(world.outputs(old, audio(60, 99)), Taken::Stale);
    assert_eq!(world.outputs(old, Output::Done), Taken::Stale);
    world.passes(1000);
    assert_eq!(world.take(), [""; 0]);
    world.answers(audio(60, 100));
    world.passes(SETTLE);
    assert_eq!(world.take(), ["start", "audio 100"]);
}

#[test]
fn an_abort_while_the_answer_is_thought_of_is_answered_and_one_without_an_answer_is_not() {
    let mut world = World::open(opening());
    world.aborts();
    assert_eq!(world.take(), [""; 0]);
    world.listens("auto");
    world.aborts();
    assert_eq!(world.take(), ["turn 1 Listens(Auto)"]);
    world.stops();
    world.aborts();
    world.aborts();
    assert_eq!(world.take(), ["speech ended", "stop", "Aborted"]);
}

#[test]
fn an_open_microphone_after_a_wake_word_does_not_interrupt_the_answer_to_the_word() {
    let mut world = World::open(opening());
    assert_eq!(
        world.session.handle_audio(&[0x58]),
        Uplink::Dropped(NotHeard::NotListening),
        "the audio of the word itself is no question"
    );
    world.types("你好小智");
    world.listens("auto");
    assert_eq!(
        world.session.handle_audio(&[0x58]),
        Uplink::Dropped(NotHeard::Answering)
    );
    world.answers(audio(60, 1));
    world.answers(Output::Done);
    world.passes(1000);
    assert_eq!(
        world.take(),
        [
            "turn 1 Asked(\"你好小智\")",
            "start",
            "audio 1",
            "stop",
            "Said"
        ]
    );
    world.listens("auto");
    assert_eq!(world.take(), ["turn 2 Listens(Auto)"]);
}

#[test]
fn an_agent_that_does_not_answer_wake_words_hears_what_follows() {
    let mut world = World::open(opening());
    world.types("你好小智");
    world.listens("auto");
    world.take();
    world.answers(Output::Done);
    assert_eq!(world.take(), ["Nothing", "turn 2 Listens(Auto)"]);
    assert_eq!(world.session.handle_audio(&[0x58]), Uplink::Hear(TurnId(2)));
}

#[test]
fn a_button_pressed_while_the_answer_is_thought_of_begins_anew() {
    let mut world = World::open(opening());
    world.listens("manual");
    world.stops();
    world.listens("manual");
    assert_eq!(
        world.take(),
        [
            "turn 1 Listens(Manual)",
            "speech ended",
            "Replaced",
            "turn 2 Listens(Manual)"
        ]
    );
}

#[test]
fn text_typed_into_an_answer_takes_its_place() {
    let mut world = World::open(opening());
    world.types("a");
    world.answers(audio(60, 1));
    world.passes(SETTLE);
    world.take();
    world.types("b");
    assert_eq!(world.take(), ["stop", "Replaced", "turn 2 Asked(\"b\")"]);
}

#[test]
fn in_realtime_mode_a_voice_interrupts_and_the_microphone_goes_on() {
    let mut world = World::open(opening());
    world.listens("realtime");
    world.answers(Output::Heard("a".into()));
    world.answers(audio(60, 1));
    assert_eq!(world.session.handle_audio(&[0x58]), Uplink::Hear(TurnId(1)));
    world.passes(SETTLE);
    world.take();
    world.answers(Output::Voice);
    assert_eq!(
        world.take(),
        ["stop", "Interrupted", "turn 2 Listens(Realtime)"]
    );
    assert_eq!(world.session.handle_audio(&[0x58]), Uplink::Hear(TurnId(2)));
    // The device says once more that it listens, and may do so after the pipeline has answered.
    world.answers(Output::Heard("b".into()));
    world.take();
    world.listens("realtime");
    assert_eq!(world.take(), [""; 0]);
    world.answers(audio(60, 2));
    world.passes(SETTLE);
    assert_eq!(world.take(), ["audio 2"]);
}

#[test]
fn in_auto_mode_a_voice_does_not_interrupt() {
    let mut world = World::open(opening());
    world.listens("auto");
    world.answers(Output::Heard("a".into()));
    world.take();
    world.answers(Output::Voice);
    assert_eq!(world.take(), [""; 0]);
}

#[test]
fn a_pipeline_without_an_answer_says_nothing_and_auto_listening_goes_on() {
    let mut world = World::open(opening());
    world.listens("auto");
    world.answers(Output::Done);
    assert_eq!(
        world.take(),
        ["turn 1 Listens(Auto)", "Nothing", "turn 2 Listens(Auto)"]
    );
    world.listens("manual");
    world.stops();
    world.take();
    world.answers(Output::Done);
    assert_eq!(world.take(), ["Nothing"]);
}

#[test]
fn a_pipeline_that_gives_no_sign_is_given_up() {
    let mut world = World::open(opening());
    world.listens("manual");
    world.stops();
    world.take();
    world.passes(59_999);
    assert_eq!(world.take(), [""; 0]);
    world.passes(1);
    assert_eq!(world.take(), ["TimedOut"]);
    // Also in the middle of an answer, counted from the end of what it did say.
    world.types("x");
    world.answers(audio(60, 1));
    world.take();
    world.passes(60_159);
    assert_eq!(world.take(), ["audio 1"]);
    world.passes(1);
    assert_eq!(world.take(), ["stop", "TimedOut"]);
}

#[test]
fn the_queue_takes_four_seconds_and_then_what_was_played() {
    let mut world = World::open(opening());
    world.types("x");
    let turn = world.current.expect("a turn");
    for number in 0..MAX_QUEUED_PACKETS as u32 {
        assert_eq!(world.answers(audio(60, number)), Taken::Queued);
    }
    assert_eq!(world.session.room(turn), 0);
    assert_eq!(world.answers(audio(60, 64)), Taken::Full);
    world.passes(SETTLE);
    assert_eq!(world.session.room(turn), 5);
    assert_eq!(world.answers(audio(60, 64)), Taken::Queued);
    for _ in 0..MAX_QUEUED_WORDS {
        assert_eq!(world.answers(sentence("a")), Taken::Queued);
    }
    assert_eq!(world.answers(sentence("a")), Taken::Full);
    assert_eq!(world.answers(Output::Done), Taken::Queued);
    world.passes(60_000);
    assert_eq!(world.heard, (0..65).collect::<Vec<u32>>());
    assert_eq!(world.take().last().expect("an end"), "Said");
    assert_eq!(world.session.room(turn), 0);
}

#[test]
fn what_a_device_could_not_take_is_not_queued() {
    let mut world = World::open(opening());
    world.types("x");
    for bytes in [&[][..], &[0x1b][..], &[0x18; 4097][..]] {
        let taken = world.answers(Output::Audio(bytes.into()));
        assert_eq!(taken, Taken::NotSendable);
    }
    let large: Arc<[u8]> = vec![0x1a; MAX_UDP_PACKET + 1].into();
    let offer = crate::UdpOffer {
        server: "hub".into(),
        port: 8884,
        key: [1; 16],
        nonce: [0; 16],
    };
    let mut udp = World::closed(Opening {
        way: HelloWay::Udp(Box::new(offer)),
        ..opening()
    });
    udp.says(r#"{"type":"hello","version":3,"transport":"udp"}"#);
    udp.types("x");
    assert_eq!(udp.answers(Output::Audio(large)), Taken::NotSendable);
    assert_eq!(udp.answers(sentence(&"你".repeat(2000))), Taken::Queued);
    let said = udp.take().pop().expect("a sentence");
    assert!(said.len() < MAX_SENTENCE + 8, "{}", said.len());
}

#[test]
fn words_of_the_user_that_come_after_the_answer_began_are_not_shown() {
    let mut world = World::open(opening());
    world.types("x");
    world.answers(audio(60, 1));
    world.take();
    assert_eq!(world.answers(Output::Heard("late".into())), Taken::Late);
    assert_eq!(world.take(), [""; 0]);
}

#[test]
fn a_session_without_a_hello_ends_after_ten_seconds() {
    let mut world = World::closed(opening());
    world.listens("auto");
    world.aborts();
    world.passes(9_999);
    assert_eq!(world.take(), [""; 0]);
    world.passes(1);
    assert_eq!(world.take(), ["end NoHello"]);
    assert_eq!(world.session.next_wake(), None);
    world.says(r#"{"type":"hello"}"#);
    assert_eq!(world.take(), [""; 0]);
}

#[test]
fn an_idle_session_is_told_farewell_and_ends() {
    let mut world = World::open(opening());
    world.listens("auto");
    world.take();
    world.passes(120_000);
    assert_eq!(world.take(), ["pong", "Replaced", "turn 2 Farewell"]);
    world.answers(audio(60, 1));
    world.answers(Output::Done);
    world.passes(1000);
    assert_eq!(
        world.take(),
        ["start", "audio 1", "stop", "Said", "end Idle"]
    );
}

#[test]
fn a_farewell_that_does_not_come_ends_the_session_all_the_same() {
    let mut world = World::open(opening());
    world.passes(180_000);
    assert_eq!(
        world.take(),
        ["pong", "turn 1 Farewell", "Closed", "end Idle"]
    );
}

#[test]
fn who_speaks_up_during_the_farewell_stays() {
    let mut world = World::open(opening());
    world.passes(120_000);
    world.take();
    world.answers(audio(60, 1));
    world.passes(SETTLE);
    world.aborts();
    world.listens("auto");
    assert_eq!(
        world.take(),
        [
            "start",
            "audio 1",
            "stop",
            "Aborted",
            "turn 2 Listens(Auto)"
        ]
    );
    world.passes(119_000);
    assert_eq!(world.ended, None);
}

#[test]
fn a_voice_keeps_a_session_from_being_idle_and_noise_does_not() {
    let mut world = World::open(opening());
    world.listens("auto");
    for _ in 0..10 {
        world.passes(60_000);
        world.answers(Output::Voice);
        assert_eq!(world.current, Some(TurnId(1)));
    }
    for _ in 0..100 {
        world.session.handle_audio(&[0x58]);
        world.passes(1_200);
    }
    assert_eq!(world.current, Some(TurnId(2)), "the farewell");
}

#[test]
fn a_session_that_never_idles_is_kept_alive_by_messages() {
    let waits = Waits {
        idle: None,
        ..Waits::default()
    };
    let mut world = World::open(Opening { waits, ..opening() });
    world.passes(500_000);
    assert_eq!(world.take(), ["pong"; 5]);
}

#[test]
fn goodbyes_end_a_session_unless_they_name_another_one() {
    let offer = || {
        HelloWay::Udp(Box::new(crate::UdpOffer {
            server: "hub".into(),
            port: 8884,
            key: [1; 16],
            nonce: [0; 16],
        }))
    };
    for (goodbye, ends) in [
        (r#"{"type":"goodbye","session_id":"s1"}"#, true),
        (r#"{"type":"goodbye","session_id":""}"#, true),
        (r#"{"type":"goodbye"}"#, true),
        (r#"{"type":"goodbye","session_id":"s0"}"#, false),
    ] {
        let way = offer();
        let mut world = World::closed(Opening { way, ..opening() });
        world.says(r#"{"type":"hello","version":3,"transport":"udp"}"#);
        world.types("x");
        world.says(goodbye);
        assert_eq!(world.ended == Some(End::Goodbye), ends, "{goodbye}");
        assert_eq!(world.current.is_none(), ends);
    }
    let mut world = World::closed(Opening {
        way: offer(),
        ..opening()
    });
    world.says(r#"{"type":"hello","version":3,"transport":"udp"}"#);
    world.session.close();
    world.drain();
    assert_eq!(world.take(), ["hello", "goodbye", "end Closed"]);
}

#[test]
fn a_second_hello_renews_datagrams_and_is_answered_over_a_websocket() {
    let hello = r#"{"type":"hello"}"#;
    let mut world = World::open(opening());
    world.listens("auto");
    world.says(hello);
    assert_eq!(world.take(), ["turn 1 Listens(Auto)", "Replaced", "hello"]);
    let way = HelloWay::Udp(Box::new(crate::UdpOffer {
        server: "hub".into(),
        port: 8884,
        key: [1; 16],
        nonce: [0; 16],
    }));
    let mut world = World::closed(Opening { way, ..opening() });
    world.says(hello);
    world.says(hello);
    assert_eq!(world.take(), ["hello", "end Renewed"]);
}

#[test]
fn a_notice_waits_for_silence() {
    let mut world = World::open(opening());
    world.listens("auto");
    world.take();
    let turn = world.session.announce(world.now);
    world.drain();
    assert_eq!(turn, Some(TurnId(2)));
    assert_eq!(world.take(), ["Replaced", "turn 2 Announces"]);
    assert_eq!(world.session.announce(world.now), None);
    let mut world = World::closed(opening());
    assert_eq!(world.session.announce(world.now), None);
}

#[test]
fn a_connection_that_is_gone_stops_its_pipeline_and_is_sent_nothing() {
    let mut world = World::open(opening());
    world.types("x");
    world.answers(audio(60, 1));
    world.take();
    world.session.handle_closed();
    world.drain();
    assert_eq!(world.take(), ["Closed", "end Gone"]);
    assert_eq!(world.outputs(TurnId(1), audio(60, 2)), Taken::Stale);
}

#[test]
fn messages_that_mean_nothing_here_change_nothing() {
    let mut world = World::open(opening());
    world.types("x");
    world.take();
    for text in [
        r#"{"type":"mcp","payload":{}}"#,
        r#"{"type":"iot","descriptors":[]}"#,
        r#"{"type":"server","action":"restart"}"#,
        r#"{"type":"speak_ready","state":"ready"}"#,
        r#"{"type":"gossip"}"#,
    ] {
        world.says(text);
        assert_eq!(world.take(), [""; 0], "{text}");
    }
    world.says(r#"{"type":"ping"}"#);
    assert_eq!(world.take(), ["pong"]);
}

#[test]
fn an_idle_session_is_small() {
    let bytes = size_of::<VoiceSession>();
    std::eprintln!("a voice session: {bytes} bytes");
    assert!(bytes <= 512, "{bytes}");
    let mut world = World::open(opening());
    world.types("x");
    for number in 0..20 {
        world.answers(audio(60, number));
    }
    world.answers(Output::Done);
    world.passes(5000);
    // What an answer took is given back.
    let session = &world.session;
    assert_eq!(session.queue.capacity() + session.actions.capacity(), 0);
}
