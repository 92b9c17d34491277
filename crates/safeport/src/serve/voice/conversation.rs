//! One session without its transport.

use std::collections::VecDeque;
use std::sync::Arc;

use safeport_xiaozhi::{
    Action, AudioParams, End, FromDevice, Habits, HelloWay, MessageError, Opening, Output, Taken,
    Time, TurnId, Uplink, VoiceSession, Waits, Why,
};

use super::echo::Echo;
use crate::text::Texts;

/// What the transport has to do.
#[derive(Debug)]
pub(super) enum Order {
    /// Send this message.
    Message(String),
    /// Send this packet of sound.
    Audio { packet: Arc<[u8]>, timestamp: u32 },
    /// It is over.
    End(End),
}

/// A session and the agent that answers in it.
pub(super) struct Conversation {
    session: VoiceSession,
    echo: Option<Echo>,
    orders: VecDeque<Order>,
    texts: Arc<Texts>,
    /// Minutes by which the device's clock is ahead of UTC.
    offset_minutes: i16,
}

impl Conversation {
    /// Waits for the hello of a device.
    pub(super) fn new(
        session_id: Box<str>,
        way: HelloWay,
        habits: Habits,
        offset_minutes: i16,
        texts: Arc<Texts>,
        now: Time,
    ) -> Conversation {
        let opening = Opening {
            session_id,
            way,
            audio: AudioParams::SERVER,
            habits,
            waits: Waits::default(),
        };
        Conversation {
            session: VoiceSession::new(opening, now),
            echo: None,
            orders: VecDeque::new(),
            texts,
            offset_minutes,
        }
    }

    pub(super) fn id(&self) -> &str {
        self.session.id()
    }

    /// What its hello said of binary frames.
    pub(super) fn version(&self) -> Option<u64> {
        self.session.hello()?.version
    }

    /// Takes a message.
    ///
    /// # Errors
    /// It is none; it was passed over.
    pub(super) fn hear_message(&mut self, text: &[u8], now: Time) -> Result<(), MessageError> {
        let heard = FromDevice::read(text)?;
        self.session.handle_message(&heard, now);
        // Sound of the turn that it began may be right behind it.
        self.drive(now);
        Ok(())
    }

    /// Takes a packet of sound.
    pub(super) fn hear_audio(&mut self, packet: &[u8], now: Time) {
        let Uplink::Hear(turn) = self.session.handle_audio(packet) else {
            return;
        };
        let Some(echo) = self.echo.as_mut().filter(|echo| echo.turn() == turn) else {
            return;
        };
        let heard = echo.hear(packet);
        if heard.voice {
            self.session.handle_output(turn, Output::Voice, now);
        }
        if heard.finished {
            self.finish(turn);
        }
    }

    /// Says goodbye.
    pub(super) fn close(&mut self) {
        self.session.close();
    }

    /// What is to be done now: to be asked until there is nothing, after everything that was heard
    /// and at [`Conversation::next_wake`].
    pub(super) fn poll(&mut self, now: Time) -> Option<Order> {
        self.drive(now);
        self.orders.pop_front()
    }

    /// Carries the session and the agent on as far as they come.
    fn drive(&mut self, now: Time) {
        loop {
            let Some(action) = self.session.poll(now) else {
                if self.speak(now) {
                    continue;
                }
                return;
            };
            let order = match action {
                Action::Send(message) => Order::Message(message.to_json(Some(self.session.id()))),
                Action::Audio {
                    packet, timestamp, ..
                } => Order::Audio { packet, timestamp },
                Action::End(end) => Order::End(end),
                Action::TurnStarted { turn, why } => {
                    self.begin(turn, why, now);
                    continue;
                }
                Action::SpeechEnded { turn } => {
                    self.finish(turn);
                    continue;
                }
                Action::TurnEnded { turn, .. } => {
                    self.echo = self.echo.take().filter(|echo| echo.turn() != turn);
                    continue;
                }
            };
            self.orders.push_back(order);
        }
    }

    /// When [`Conversation::poll`] has something to do though nothing is heard.
    pub(super) fn next_wake(&self) -> Option<Time> {
        self.session.next_wake()
    }

    fn begin(&mut self, turn: TurnId, why: Why, now: Time) {
        self.echo = match why {
            Why::Listens(mode) => match Echo::listening(turn, mode) {
                Ok(echo) => Some(echo),
                Err(error) => {
                    tracing::error!(target: "safeport::voice", "nobody can be heard: {error}");
                    self.session.handle_output(turn, Output::Done, now);
                    None
                }
            },
            Why::Asked(text) => Some(Echo::asked(turn, text, &self.clock(), &self.texts)),
            Why::Announces | Why::Farewell => {
                self.session.handle_output(turn, Output::Done, now);
                None
            }
        };
    }

    fn finish(&mut self, turn: TurnId) {
        let clock = self.clock();
        if let Some(echo) = self.echo.as_mut().filter(|echo| echo.turn() == turn) {
            echo.finish(&clock, &self.texts);
        }
    }

    /// Hands on one thing that is to be said; whether there was one.
    fn speak(&mut self, now: Time) -> bool {
        let Some(echo) = &mut self.echo else {
            return false;
        };
        let turn = echo.turn();
        let Some(output) = echo.next(self.session.room(turn)) else {
            return false;
        };
        if self.session.handle_output(turn, output, now) == Taken::Stale {
            self.echo = None;
        }
        true
    }

    /// The time that the device shows.
    fn clock(&self) -> String {
        let offset = jiff::tz::Offset::from_seconds(i32::from(self.offset_minutes) * 60);
        let offset = offset.unwrap_or(jiff::tz::Offset::UTC);
        let now = jiff::Timestamp::now().to_zoned(offset.to_time_zone());
        now.strftime("%H:%M").to_string()
    }
}
