//! What must hold of conversations with xiaozhi devices, for any bytes and in any order.

use std::sync::Arc;

use safeport_xiaozhi::{
    Action, AudioParams, Client, Ending, Framed, Framing, FromDevice, Habits, HelloWay, Opening,
    Output, Taken, Time, ToDevice, Tts, TurnId, VoiceSession, Waits, limits,
};

/// A binary frame of a WebSocket from a stranger: what is read of it lies in it, and is written as
/// it was.
pub fn frames(data: &[u8]) {
    let pairs = [
        (Framing::V1, Framing::V1),
        (Framing::V2, Framing::V2),
        (Framing::V3, Framing::V3),
        (Framing::GatewayServer, Framing::Gateway),
        (Framing::Gateway, Framing::GatewayServer),
    ];
    for (reads, writes) in pairs {
        let Ok(framed) = reads.decode(data) else {
            continue;
        };
        match framed {
            Framed::Text(text) => assert_eq!(text.len() + reads.header(), data.len()),
            Framed::Audio { packet, timestamp } => {
                assert!(!packet.is_empty() && packet.len() <= limits::MAX_OPUS_PACKET);
                let mut out = Vec::new();
                writes
                    .encode(packet, timestamp, 1, &mut out)
                    .expect("it was one");
                assert_eq!(writes.decode(&out), Ok(framed));
            }
        }
    }
}

/// A JSON message from a stranger, in both directions: what is understood is said again in words
/// that mean the same.
pub fn messages(data: &[u8]) {
    // A zero cannot be said to a device, and so is lost.
    let exact = !data.windows(6).any(|six| six == b"\\u0000");
    if let Ok(heard) = FromDevice::read(data) {
        let json = heard.message.to_json(heard.session_id.as_deref());
        let again = FromDevice::read(json.as_bytes());
        if exact && json.len() <= limits::MAX_MESSAGE {
            let again = again.expect("what we wrote");
            assert_eq!(again.message, heard.message);
            assert_eq!(again.session_id, heard.session_id);
        }
        talk(&[], |session, now| session.handle_message(&heard, now));
    }
    if let Ok(heard) = ToDevice::read(data) {
        let json = heard.message.to_json(heard.session_id.as_deref());
        let again = ToDevice::read(json.as_bytes());
        if exact && json.len() <= limits::MAX_MESSAGE {
            assert_eq!(again.expect("what we wrote").message, heard.message);
        }
    }
}

/// A conversation: two bytes are one event. The device never hears anything of a turn that is
/// over, speech only between its beginning and its end, and one end of each.
pub fn turns(data: &[u8]) {
    talk(data, |_, _| ());
}

fn talk(data: &[u8], extra: impl FnOnce(&mut VoiceSession, Time)) {
    let mut now = Time(0);
    let opening = Opening {
        session_id: "s".into(),
        way: HelloWay::WebSocket,
        audio: AudioParams::SERVER,
        habits: Habits::by(None, Client::Device),
        waits: Waits::default(),
    };
    let mut session = VoiceSession::new(opening, now);
    let mut device = Strict::default();
    say(&mut session, r#"{"type":"hello"}"#, now);
    device.follow(&mut session, now);
    extra(&mut session, now);
    device.follow(&mut session, now);
    for event in data.chunks_exact(2) {
        let (what, how) = (event[0], event[1]);
        let turn = TurnId(device.last.wrapping_sub(u32::from(how & 1)));
        let mode = ["auto", "manual", "realtime"][usize::from(how) % 3];
        let output = |session: &mut VoiceSession, output| {
            let taken = session.handle_output(turn, output, now);
            assert!(device.turn == Some(turn) || taken == Taken::Stale);
        };
        match what % 12 {
            0 => {
                let start = format!(r#"{{"type":"listen","state":"start","mode":"{mode}"}}"#);
                say(&mut session, &start, now);
            }
            1 => say(&mut session, r#"{"type":"listen","state":"stop"}"#, now),
            2 => say(
                &mut session,
                r#"{"type":"listen","state":"detect","text":"x"}"#,
                now,
            ),
            3 => say(&mut session, r#"{"type":"abort"}"#, now),
            4 => output(&mut session, Output::Heard("x".into())),
            5 => output(&mut session, Output::Sentence("y".into())),
            6 => output(&mut session, Output::Audio(Arc::from([how, 1, 2, 3]))),
            7 => output(&mut session, Output::Voice),
            8 => output(&mut session, Output::Done),
            9 => drop(session.announce(now)),
            10 => now = now + u64::from(how),
            _ => now = now + u64::from(how) * 1000,
        }
        device.follow(&mut session, now);
    }
    session.handle_closed();
    device.follow(&mut session, now);
    assert!(device.has_ended && device.turn.is_none());
}

fn say(session: &mut VoiceSession, text: &str, now: Time) {
    let heard = FromDevice::read(text.as_bytes()).expect("a message");
    session.handle_message(&heard, now);
}

/// A device that is strict about what it is sent.
#[derive(Default)]
struct Strict {
    turn: Option<TurnId>,
    last: u32,
    speaks: bool,
    stops: u32,
    has_ended: bool,
}

impl Strict {
    fn follow(&mut self, session: &mut VoiceSession, now: Time) {
        while let Some(action) = session.poll(now) {
            assert!(!self.has_ended, "{action:?}");
            match action {
                Action::TurnStarted { turn, .. } => {
                    assert!(self.turn.is_none() && turn.0 > self.last);
                    (self.turn, self.last, self.stops) = (Some(turn), turn.0, 0);
                }
                Action::TurnEnded { turn, how } => {
                    assert_eq!(self.turn.take(), Some(turn));
                    if how == Ending::Closed {
                        self.speaks = false;
                    }
                    assert!(!self.speaks);
                }
                Action::Audio { turn, .. } => {
                    assert!(self.speaks && self.turn == Some(turn));
                }
                Action::Send(ToDevice::Tts(Tts::Start)) => {
                    assert!(!self.speaks && self.turn.is_some());
                    self.speaks = true;
                }
                Action::Send(ToDevice::Tts(Tts::Stop)) => {
                    self.speaks = false;
                    self.stops += 1;
                    assert_eq!(self.stops, 1);
                }
                Action::Send(ToDevice::Tts(_) | ToDevice::Llm { .. }) => assert!(self.speaks),
                Action::Send(ToDevice::Stt { .. }) => assert!(!self.speaks),
                Action::Send(_) => {}
                Action::SpeechEnded { turn } => assert_eq!(self.turn, Some(turn)),
                Action::End(_) => self.has_ended = true,
            }
        }
        assert!(session.next_wake().is_none_or(|wake| wake > now));
    }
}
