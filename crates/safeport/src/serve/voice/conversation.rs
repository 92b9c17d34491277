//! One session without its transport.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use safeport_voice::{Agent, Begin, Happened, Scene, Told, Toolbox, Turn};
use safeport_xiaozhi::{
    Action, AudioParams, End, Ending, FromDevice, HelloWay, MessageError, Opening, Output, Taken,
    Time, ToDevice, TurnId, Uplink, VoiceSession, Waits, Why,
};

use super::Voice;
use super::agents::Chosen;
use super::answer::Answer;
use super::echo::Echo;
use super::history::TalkNote;
use super::recording::{Recording, Sound};
use super::talks::{Shared, lock};
use super::tools::{DeviceDriver, NotSaid, Presence, Request, Said, Say, Tools, Which, WhyShown};
use crate::limits::VOICE_ANNOUNCED;
use crate::say;
use crate::serve::xiaozhi::Guest;

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

/// Something that happened elsewhere; [`Conversation::take`] takes it.
pub(super) enum News {
    Told(Told),
    Asked(Request),
}

/// A session and the agent that answers in it.
pub(super) struct Conversation {
    session: VoiceSession,
    cast: Cast,
    speaker: Option<Speaker>,
    orders: VecDeque<Order>,
    /// What people had it say, until that is said.
    announced: VecDeque<(TurnId, Say)>,
}

/// Who takes part, and what they share.
struct Cast {
    voice: Arc<Voice>,
    device: String,
    /// Minutes by which the device's clock is ahead of UTC.
    offset_minutes: i16,
    chosen: Chosen,
    talk: Shared,
    driver: DeviceDriver,
    tools: Arc<Tools>,
    _presence: Presence,
}

/// Who answers in a turn.
enum Speaker {
    Echo(Echo),
    Agent(Box<Answer>),
}

impl Conversation {
    /// Waits for the hello of a device.
    pub(super) fn new(
        voice: &Arc<Voice>,
        guest: &Guest,
        session_id: Box<str>,
        way: HelloWay,
        now: Time,
    ) -> Conversation {
        let chosen = voice.agents.for_device(&guest.name, &guest.tags);
        let driver = DeviceDriver::new(&guest.name, Some(&session_id), guest.vision.clone());
        let tools = voice.toolroom.tools_for(
            &chosen.name,
            Some(driver.handle()),
            Which::from_settings(&chosen.tools),
        );
        let cast = Cast {
            talk: voice
                .talks
                .of(&guest.name, &chosen.name, chosen.memory, now),
            _presence: voice.toolroom.reach().enter(&guest.name, driver.handle()),
            voice: voice.clone(),
            device: guest.name.clone(),
            offset_minutes: guest.offset_minutes,
            chosen,
            driver,
            tools,
        };
        let opening = Opening {
            session_id,
            way,
            audio: AudioParams::SERVER,
            habits: guest.habits,
            waits: Waits::default(),
        };
        Conversation {
            session: VoiceSession::new(opening, now),
            cast,
            speaker: None,
            orders: VecDeque::new(),
            announced: VecDeque::new(),
        }
    }

    pub(super) fn id(&self) -> &str {
        self.session.id()
    }

    /// What its hello said of binary frames.
    pub(super) fn version(&self) -> Option<u64> {
        self.session.hello()?.version
    }

    /// Whether the device was told that it speaks.
    pub(super) fn is_speaking(&self) -> bool {
        self.session.is_speaking()
    }

    /// Takes a message.
    ///
    /// # Errors
    /// It is none; it was passed over.
    pub(super) fn hear_message(&mut self, text: &[u8], now: Time) -> Result<(), MessageError> {
        let heard = FromDevice::read(text)?;
        self.session.handle_message(&heard, now);
        if let FromDevice::Mcp { payload } = &heard.message {
            self.cast.driver.hear(payload.as_str(), now);
        }
        // Sound of the turn that it began may be right behind it.
        self.drive(now);
        Ok(())
    }

    /// Takes a packet of sound.
    pub(super) fn hear_audio(&mut self, packet: &[u8], now: Time) {
        let Uplink::Hear(turn) = self.session.handle_audio(packet) else {
            return;
        };
        let heard = match &mut self.speaker {
            Some(Speaker::Echo(echo)) if echo.turn() == turn => echo.hear(packet),
            Some(Speaker::Agent(answer)) if answer.turn() == turn => answer.hear(packet),
            _ => return,
        };
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

    /// Waits until something happens that is neither of the device nor of the clock. Nothing is lost
    /// when it is dropped.
    pub(super) async fn news(&mut self) -> News {
        poll_fn(|context| self.poll_news(context)).await
    }

    /// [`Conversation::news`], for who polls.
    pub(super) fn poll_news(&mut self, context: &mut Context<'_>) -> Poll<News> {
        if let Some(Speaker::Agent(answer)) = &mut self.speaker
            && let Poll::Ready(told) = answer.poll_told(context)
        {
            return Poll::Ready(News::Told(told));
        }
        let request = ready!(self.cast.driver.poll_request(context));
        Poll::Ready(News::Asked(request))
    }

    /// Takes what has happened.
    pub(super) fn take(&mut self, news: News, now: Time) {
        match news {
            News::Told(told) => {
                if let Some(Speaker::Agent(answer)) = &mut self.speaker {
                    answer.take(told);
                }
            }
            News::Asked(request) => {
                if let Some(say) = self.cast.driver.take(request, now) {
                    self.announce(say, now);
                }
            }
        }
    }

    /// What is to be done now: to be asked until there is nothing, after everything that was heard
    /// and at [`Conversation::next_wake`].
    pub(super) fn poll(&mut self, now: Time) -> Option<Order> {
        self.drive(now);
        self.orders.pop_front()
    }

    /// When [`Conversation::poll`] has something to do though nothing is heard.
    pub(super) fn next_wake(&self) -> Option<Time> {
        let wakes = [self.session.next_wake(), self.cast.driver.next_wake()];
        wakes.into_iter().flatten().min()
    }

    /// Carries the session and the agent on as far as they come.
    fn drive(&mut self, now: Time) {
        loop {
            let Some(action) = self.session.poll(now) else {
                if self.speak(now) {
                    continue;
                }
                break;
            };
            let order = match action {
                Action::Send(message) => {
                    let text = message.to_json(Some(self.session.id()));
                    if matches!(message, ToDevice::Hello(_)) {
                        self.greet(text, now);
                        continue;
                    }
                    Order::Message(text)
                }
                Action::Audio {
                    turn,
                    packet,
                    timestamp,
                } => {
                    if let Some(Speaker::Agent(answer)) = &mut self.speaker
                        && answer.turn() == turn
                    {
                        answer.sent(&packet);
                    }
                    Order::Audio { packet, timestamp }
                }
                Action::End(end) => Order::End(end),
                Action::TurnStarted { turn, why } => {
                    self.begin(turn, why, now);
                    continue;
                }
                Action::SpeechEnded { turn } => {
                    self.finish(turn);
                    continue;
                }
                Action::TurnEnded { turn, how } => {
                    self.end_turn(turn, how);
                    continue;
                }
            };
            self.orders.push_back(order);
        }
        while let Some(message) = self.cast.driver.poll(now) {
            self.orders.push_back(Order::Message(message));
        }
    }

    /// The device is told who we are, and asked what it can do: in this order.
    fn greet(&mut self, hello: String, now: Time) {
        self.orders.push_back(Order::Message(hello));
        if self.session.hello().is_some_and(|hello| hello.features.mcp) {
            self.cast.driver.start(now);
        }
    }

    fn begin(&mut self, turn: TurnId, why: Why, now: Time) {
        let begun = match (&self.cast.chosen.agent, why) {
            (None, Why::Listens(mode)) => Echo::listening(turn, mode).map(Speaker::Echo),
            (None, Why::Asked(text)) => {
                let (clock, texts) = (self.cast.clock(), &self.cast.voice.texts);
                Ok(Speaker::Echo(Echo::asked(turn, text, &clock, texts)))
            }
            (None, Why::Announces) => match self.announcement(turn) {
                Some(text) => Ok(Speaker::Echo(Echo::shows(turn, text))),
                None => return self.pass(turn, now),
            },
            (Some(agent), Why::Listens(mode)) => {
                let work = self.cast.turn(agent, Begin::Listening);
                Answer::listening(turn, work, mode).map(Speaker::agent)
            }
            (Some(agent), Why::Asked(text)) => {
                let work = self.cast.turn(agent, Begin::Asked(text));
                Ok(Speaker::agent(Answer::speaking(turn, work)))
            }
            (Some(agent), Why::Announces) => match self.announcement(turn) {
                Some(text) => {
                    let work = self.cast.turn(agent, Begin::Announce(text));
                    Ok(Speaker::agent(Answer::speaking(turn, work)))
                }
                None => return self.pass(turn, now),
            },
            (_, Why::Farewell) => return self.pass(turn, now),
        };
        match begun {
            Ok(mut speaker) => {
                if let Speaker::Agent(answer) = &mut speaker {
                    self.cast.record(answer);
                }
                self.speaker = Some(speaker);
            }
            Err(error) => {
                tracing::error!(target: "safeport::voice", "nobody can be heard: {error}");
                self.pass(turn, now);
            }
        }
    }

    /// Has nothing to say in this turn.
    fn pass(&mut self, turn: TurnId, now: Time) {
        self.speaker = None;
        self.session.handle_output(turn, Output::Done, now);
    }

    fn finish(&mut self, turn: TurnId) {
        match &mut self.speaker {
            Some(Speaker::Echo(echo)) if echo.turn() == turn => {
                echo.finish(&self.cast.clock(), &self.cast.voice.texts);
            }
            Some(Speaker::Agent(answer)) if answer.turn() == turn => answer.finish(),
            _ => {}
        }
    }

    fn end_turn(&mut self, turn: TurnId, how: Ending) {
        if how == Ending::TimedOut {
            let texts = &self.cast.voice.texts;
            let alert = ToDevice::Alert {
                status: say!(texts, "voice-alert").into(),
                message: say!(texts, "voice-no-answer").into(),
                emotion: "sad".into(),
            };
            let text = alert.to_json(Some(self.session.id()));
            self.orders.push_back(Order::Message(text));
        }
        let ours = self.speaker.take_if(|speaker| speaker.turn() == turn);
        let mut failure = None;
        if let Some(Speaker::Agent(answer)) = ours {
            let (happened, sound) = answer.end();
            failure = happened.failures.last().map(ToString::to_string);
            self.cast.remember(happened, sound, how, self.session.id());
        }
        self.settle(turn, how, failure);
        if how == Ending::Said && self.cast.tools.wants_to_end() {
            self.session.close();
        }
    }

    /// Somebody has it say something.
    fn announce(&mut self, say: Say, now: Time) {
        if self.announced.len() >= VOICE_ANNOUNCED {
            return say.done(Err(NotSaid::Busy));
        }
        // Its turn begins with the next `drive`.
        match self.session.announce(now) {
            Some(turn) => self.announced.push_back((turn, say)),
            None => say.done(Err(NotSaid::Busy)),
        }
    }

    fn announcement(&self, turn: TurnId) -> Option<String> {
        let mut announced = self.announced.iter();
        let (_, say) = announced.find(|(of, _)| *of == turn)?;
        Some(say.text.clone())
    }

    /// Tells who asked for it what became of an announcement.
    fn settle(&mut self, turn: TurnId, how: Ending, failure: Option<String>) {
        let Some(at) = self.announced.iter().position(|(of, _)| *of == turn) else {
            return;
        };
        let Some((_, say)) = self.announced.remove(at) else {
            return;
        };
        say.done(match (how, failure) {
            (_, Some(why)) => Err(NotSaid::NoVoice(why)),
            (Ending::Said | Ending::Nothing, None) => Ok(self.cast.said()),
            (Ending::Closed, None) => Err(NotSaid::Gone),
            (_, None) => Err(NotSaid::Busy),
        });
    }

    /// Hands on one thing that is to be said; whether there was one.
    fn speak(&mut self, now: Time) -> bool {
        let Some(speaker) = &mut self.speaker else {
            return false;
        };
        let turn = speaker.turn();
        let room = self.session.room(turn);
        match speaker {
            Speaker::Echo(echo) => {
                let Some(output) = echo.next(room) else {
                    return false;
                };
                if self.session.handle_output(turn, output, now) == Taken::Stale {
                    self.speaker = None;
                }
            }
            Speaker::Agent(answer) => {
                let Some(output) = answer.next(room) else {
                    return false;
                };
                if self.session.handle_output(turn, output.clone(), now) == Taken::Full {
                    answer.give_back(output);
                    return false;
                }
            }
        }
        true
    }
}

impl Drop for Conversation {
    /// Whatever ended it: what was said is remembered.
    fn drop(&mut self) {
        if let Some(Speaker::Agent(answer)) = self.speaker.take() {
            let (happened, sound) = answer.end();
            let id = self.session.id();
            self.cast.remember(happened, sound, Ending::Closed, id);
        }
    }
}

impl Speaker {
    fn agent(answer: Answer) -> Speaker {
        Speaker::Agent(Box::new(answer))
    }

    fn turn(&self) -> TurnId {
        match self {
            Speaker::Echo(echo) => echo.turn(),
            Speaker::Agent(answer) => answer.turn(),
        }
    }
}

impl Cast {
    /// How it says what people want it to say.
    fn said(&self) -> Said {
        let agent = self.chosen.agent.as_ref();
        match agent.is_some_and(|agent| agent.synthesizer.is_some()) {
            true => Said::Spoken,
            false => Said::Shown(WhyShown::NoVoice),
        }
    }

    /// Has the agent begin.
    fn turn(&self, agent: &Arc<Agent>, begin: Begin) -> Turn {
        let _inside = self.voice.runtime.enter();
        let offset = self.offset_minutes;
        let device = self.device.clone();
        let toolbox: Arc<dyn Toolbox> = self.tools.clone();
        let scene = Scene {
            toolbox: Some(toolbox),
            history: lock(&self.talk).history(),
            facts: Box::new(move || {
                let now = local_time(offset)
                    .strftime("%A, %Y-%m-%d %H:%M (UTC%:z)")
                    .to_string();
                format!("It is {now}. You speak through the device {device:?}.")
            }),
        };
        Turn::start(agent.clone(), scene, begin)
    }

    /// Keeps the sound of this turn, if the agent is to.
    fn record(&self, answer: &mut Answer) {
        if let Some(keep) = self.voice.agents.keeps_sound_of(&self.chosen.name) {
            let memory = self.voice.history.sound_memory();
            answer.record(Recording::new(answer.turn().0, keep, memory));
        }
    }

    fn remember(&self, happened: Happened, sound: Option<Sound>, how: Ending, session: &str) {
        if let Some(agent) = &self.chosen.agent
            && !happened.messages.is_empty()
        {
            let _inside = self.voice.runtime.enter();
            lock(&self.talk).append(happened.messages.clone(), &agent.model.provider);
        }
        self.voice.history.note(TalkNote {
            device: self.device.clone(),
            agent: self.chosen.name.clone(),
            keep: self.chosen.history,
            session: session.to_owned(),
            interrupted: !matches!(how, Ending::Said | Ending::Nothing),
            happened,
            sound,
        });
    }

    /// The time that the device shows.
    fn clock(&self) -> String {
        local_time(self.offset_minutes)
            .strftime("%H:%M")
            .to_string()
    }
}

fn local_time(offset_minutes: i16) -> jiff::Zoned {
    let offset = jiff::tz::Offset::from_seconds(i32::from(offset_minutes) * 60);
    let offset = offset.unwrap_or(jiff::tz::Offset::UTC);
    jiff::Timestamp::now().to_zoned(offset.to_time_zone())
}
