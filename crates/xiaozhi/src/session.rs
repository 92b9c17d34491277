//! One conversation with a device, from its hello to its end.
//!
//! A machine without a clock or a socket. The driver hands in what the device said
//! ([`VoiceSession::handle_message`], [`VoiceSession::handle_audio`]) and what the pipeline has to
//! say ([`VoiceSession::handle_output`]), then calls [`VoiceSession::poll`] until there is nothing
//! left to do, and again at [`VoiceSession::next_wake`]. Whatever the order in which all of that
//! comes, the device hears one turn at a time: its words, `tts start`, its audio at the speed of
//! speech, and one `tts stop` when the last of it was played. Nothing of a turn that has ended
//! leaves any more.

mod action;
mod habits;
mod pace;
mod waits;

#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;

pub use action::{Action, End, Ending, NotHeard, Output, Taken, TurnId, Uplink, Why};
pub use habits::Habits;
pub use waits::Waits;

use crate::limits::{
    MAX_OPUS_PACKET, MAX_QUEUED_PACKETS, MAX_QUEUED_WORDS, MAX_SENTENCE, MAX_UDP_PACKET,
};
use crate::{
    AudioParams, DeviceHello, FromDevice, Heard, HelloWay, Listen, Mode, ServerHello, Time,
    ToDevice, Tts, opus_duration,
};
use pace::Pace;

/// Milliseconds that are added after the last packet, for builds that cut off what they have not
/// played when they are told the end.
const TAIL: u64 = 120;

/// What a voice session begins with.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Its name, drawn at random; the device repeats it in its messages.
    pub session_id: Box<str>,
    /// How audio travels, with what the device needs for it.
    pub way: HelloWay,
    /// Of the audio that we send.
    pub audio: AudioParams,
    /// What this device is like.
    pub habits: Habits,
    /// How long what is waited for.
    pub waits: Waits,
}

/// One conversation with a device, from its hello to its end: a machine without a clock or a socket.
#[derive(Debug)]
pub struct VoiceSession {
    opening: Opening,
    hello: Option<Box<DeviceHello>>,
    state: State,
    /// How its microphone is open, as far as it told us.
    microphone: Option<Mode>,
    /// The device was told the end of an answer, and will say once more that its microphone is
    /// open, as it has been all the time.
    will_repeat: bool,
    turn: Option<Turn>,
    last_turn: u32,
    /// What the turn still has to say, in order.
    queue: VecDeque<Item>,
    /// Packets among them.
    queued_packets: usize,
    pace: Pace,
    /// What is to be done at once.
    actions: VecDeque<Action>,
    /// When somebody last said something.
    spoken: Time,
    /// When the device last got something.
    sent: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The hello must come before this.
    Awaited(Time),
    /// Both hellos were said.
    Open,
    /// A farewell is said; whatever becomes of it, this is the end.
    Leaving(Time),
    /// Nothing happens any more.
    Ended,
}

/// One utterance and its answer.
#[derive(Debug)]
struct Turn {
    id: TurnId,
    phase: Phase,
    /// In which mode the user speaks; `None` if the turn did not begin by listening.
    mode: Option<Mode>,
    /// Whether the device has already opened its microphone while we answer a text or announce
    /// something: the first time is no interruption. A farewell ends at the first.
    accompanied: bool,
    /// The pipeline has nothing to add.
    done: bool,
    /// When the pipeline last gave a sign.
    sign: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The user speaks.
    Hearing,
    /// The pipeline recognises or thinks.
    Thinking,
    /// `tts start` was said.
    Speaking,
}

#[derive(Debug)]
enum Item {
    Words(ToDevice<'static>),
    Packet(Arc<[u8]>, u32),
}

impl VoiceSession {
    /// A connection was opened, or a hello came over MQTT, which is then handed in.
    pub fn new(opening: Opening, now: Time) -> VoiceSession {
        VoiceSession {
            state: State::Awaited(now + opening.waits.hello),
            opening,
            hello: None,
            microphone: None,
            will_repeat: false,
            turn: None,
            last_turn: 0,
            queue: VecDeque::new(),
            queued_packets: 0,
            pace: Pace::default(),
            actions: VecDeque::new(),
            spoken: now,
            sent: now,
        }
    }

    /// Its name, which stands in every message to the device.
    pub fn id(&self) -> &str {
        &self.opening.session_id
    }

    /// What the device said of itself.
    pub fn hello(&self) -> Option<&DeviceHello> {
        self.hello.as_deref()
    }

    /// The turn that is on.
    pub fn turn(&self) -> Option<TurnId> {
        self.turn.as_ref().map(|turn| turn.id)
    }

    /// Whether an answer is being said: from `tts start` to `tts stop`.
    pub fn is_speaking(&self) -> bool {
        let turn = self.turn.as_ref();
        turn.is_some_and(|turn| turn.phase == Phase::Speaking)
    }

    /// The device said something. An `mcp` message only counts as a sign of life here: its payload
    /// is for the device's tools.
    pub fn handle_message(&mut self, heard: &Heard<'_, FromDevice<'_>>, now: Time) {
        match (&heard.message, self.state) {
            (_, State::Ended) => {}
            (FromDevice::Hello(hello), _) => self.handle_hello(hello, now),
            (FromDevice::Goodbye, _) => {
                // One with another name is late: it ends a voice session that is over.
                let id = heard.session_id.as_deref().unwrap_or_default();
                if id.is_empty() || id == self.id() {
                    self.end(End::Goodbye);
                }
            }
            (FromDevice::UdpTimeout, _) => self.leave(End::Unheard),
            (_, State::Awaited(_)) => {}
            (FromDevice::Listen(Listen::Start { mode }), _) => self.handle_start(*mode, now),
            (FromDevice::Listen(Listen::Stop), _) => self.handle_stop(now),
            (FromDevice::Listen(Listen::Detect { text }), _) => {
                self.stay(now);
                self.drop_turn(Ending::Replaced);
                self.begin(Why::Asked(text.clone().into_owned()), now);
            }
            (FromDevice::Abort { .. }, _) => self.handle_abort(now),
            (FromDevice::Ping, _) => self.send(ToDevice::Pong { timestamp: None }),
            (
                FromDevice::Mcp { .. }
                | FromDevice::Iot { .. }
                | FromDevice::SpeakReady { .. }
                | FromDevice::Server { .. }
                | FromDevice::Unknown { .. },
                _,
            ) => {}
        }
    }

    fn handle_hello(&mut self, hello: &DeviceHello, now: Time) {
        if self.hello.is_some() && matches!(self.opening.way, HelloWay::Udp(_)) {
            // A new hello wants a new key, and so a new voice session.
            return self.end(End::Renewed);
        }
        self.drop_turn(Ending::Replaced);
        self.microphone = None;
        self.hello = Some(Box::new(hello.clone()));
        self.state = State::Open;
        self.spoken = now;
        self.send(ToDevice::Hello(ServerHello {
            way: self.opening.way.clone(),
            audio: self.opening.audio,
        }));
    }

    fn handle_start(&mut self, mode: Mode, now: Time) {
        let repeats = core::mem::take(&mut self.will_repeat) && self.microphone == Some(mode);
        self.microphone = Some(mode);
        if repeats && self.turn.is_some() {
            return;
        }
        if let Some(turn) = &mut self.turn {
            match (turn.phase, turn.mode) {
                // It goes on listening.
                (Phase::Hearing, Some(before)) if before == mode && mode != Mode::Manual => return,
                // After a wake word the device reports the word, and then opens its microphone
                // while the answer to the word may already be on its way. Who interrupts says
                // `abort` first.
                (Phase::Thinking | Phase::Speaking, None)
                    if !turn.accompanied && mode != Mode::Manual =>
                {
                    turn.accompanied = true;
                    if turn.phase == Phase::Speaking && mode != Mode::Realtime {
                        self.microphone = None;
                    }
                    return;
                }
                _ => {}
            }
        }
        self.stay(now);
        self.drop_turn(Ending::Replaced);
        self.begin(Why::Listens(mode), now);
    }

    fn handle_stop(&mut self, now: Time) {
        self.microphone = None;
        let Some(turn) = &mut self.turn else { return };
        if turn.phase != Phase::Hearing {
            return;
        }
        turn.phase = Phase::Thinking;
        turn.sign = now;
        self.spoken = now;
        let turn = turn.id;
        self.actions.push_back(Action::SpeechEnded { turn });
    }

    fn handle_abort(&mut self, now: Time) {
        let Some(turn) = &self.turn else { return };
        if turn.phase == Phase::Hearing {
            return;
        }
        self.stay(now);
        self.end_turn(Ending::Aborted, now);
    }

    /// The device sent a packet: whose it is. The driver hands it to the pipeline of that turn,
    /// after it has done what [`VoiceSession::poll`] says.
    pub fn handle_audio(&mut self, packet: &[u8]) -> Uplink {
        if packet.is_empty() || packet.len() > MAX_OPUS_PACKET {
            return Uplink::Dropped(NotHeard::NoPacket);
        }
        let Some(mode) = self.microphone else {
            return Uplink::Dropped(NotHeard::NotListening);
        };
        match &self.turn {
            Some(turn) if turn.phase == Phase::Hearing => Uplink::Hear(turn.id),
            // Who speaks into an answer in this mode interrupts it, if the pipeline hears a voice.
            Some(turn) if mode == Mode::Realtime => Uplink::Hear(turn.id),
            _ => Uplink::Dropped(NotHeard::Answering),
        }
    }

    /// The pipeline of a turn has something to say.
    pub fn handle_output(&mut self, turn: TurnId, output: Output, now: Time) -> Taken {
        // Who has said all still listens for a voice until it was played.
        let is_on = |t: &&mut Turn| t.id == turn && (!t.done || output == Output::Voice);
        let Some(current) = self.turn.as_mut().filter(is_on) else {
            return Taken::Stale;
        };
        let item = match output {
            Output::Audio(packet) => {
                let most = match self.opening.way {
                    HelloWay::WebSocket => MAX_OPUS_PACKET,
                    HelloWay::Udp(_) => MAX_UDP_PACKET,
                };
                let duration = match opus_duration(&packet) {
                    Ok(duration) if packet.len() <= most => duration.as_micros() as u32,
                    _ => return Taken::NotSendable,
                };
                Item::Packet(packet, duration)
            }
            Output::Sentence(text) => Item::Words(ToDevice::Tts(Tts::SentenceStart {
                text: cut(text).into(),
            })),
            Output::Emotion(emotion) => Item::Words(ToDevice::Llm {
                emotion: emotion.name().into(),
                text: String::from(emotion.emoji()).into(),
            }),
            Output::Voice => {
                current.sign = now;
                self.stay(now);
                self.handle_voice(now);
                return Taken::Queued;
            }
            Output::Heard(text) => return self.handle_heard(text, now),
            Output::Done => {
                current.done = true;
                if current.phase != Phase::Speaking {
                    self.end_turn(Ending::Nothing, now);
                }
                return Taken::Queued;
            }
        };
        let is_packet = matches!(item, Item::Packet(..));
        let (waiting, most) = match is_packet {
            true => (self.queued_packets, MAX_QUEUED_PACKETS),
            false => (self.queue.len() - self.queued_packets, MAX_QUEUED_WORDS),
        };
        if waiting >= most {
            return Taken::Full;
        }
        self.queued_packets += usize::from(is_packet);
        current.sign = now;
        self.start_speech(now);
        self.queue.push_back(item);
        Taken::Queued
    }

    fn handle_heard(&mut self, text: String, now: Time) -> Taken {
        let Some(turn) = &mut self.turn else {
            return Taken::Stale;
        };
        turn.sign = now;
        if turn.phase == Phase::Speaking {
            // The words of the user come before the answer or not at all.
            return Taken::Late;
        }
        turn.phase = Phase::Thinking;
        self.spoken = now;
        let text = cut(text).into();
        self.send(ToDevice::Stt { text });
        // At once, though there is nothing to say yet: the device closes its microphone, can be
        // interrupted, and has reset its decoder when the first word comes.
        self.start_speech(now);
        Taken::Queued
    }

    /// Somebody speaks into the answer.
    fn handle_voice(&mut self, now: Time) {
        let answers = self
            .turn
            .as_ref()
            .is_some_and(|turn| turn.phase != Phase::Hearing);
        if answers && self.microphone == Some(Mode::Realtime) {
            self.end_turn(Ending::Interrupted, now);
        }
    }

    /// Packets that [`VoiceSession::handle_output`] takes now for this turn: 0 if it is over.
    pub fn room(&self, turn: TurnId) -> usize {
        match &self.turn {
            Some(current) if current.id == turn && !current.done => {
                MAX_QUEUED_PACKETS - self.queued_packets
            }
            _ => 0,
        }
    }

    /// Begins a turn in which only we speak, such as a notice. `None` while we already do, and
    /// before the hello.
    pub fn announce(&mut self, now: Time) -> Option<TurnId> {
        if self.state != State::Open {
            return None;
        }
        if self
            .turn
            .as_ref()
            .is_some_and(|turn| turn.phase != Phase::Hearing)
        {
            return None;
        }
        self.spoken = now;
        self.drop_turn(Ending::Replaced);
        Some(self.begin(Why::Announces, now))
    }

    /// Ends the voice session from our side.
    pub fn close(&mut self) {
        self.leave(End::Closed);
    }

    /// The connection is gone.
    pub fn handle_closed(&mut self) {
        self.end(End::Gone);
    }

    /// The next thing to do. To be called until it is `None`, after everything that was handed in
    /// and at [`VoiceSession::next_wake`].
    pub fn poll(&mut self, now: Time) -> Option<Action> {
        if self.actions.is_empty() {
            self.handle_time(now);
        }
        let action = match self.actions.pop_front() {
            Some(action) => action,
            None => self.next_of_queue(now)?,
        };
        if self.actions.is_empty() {
            // It is empty nearly always: an idle voice session keeps no buffer for it.
            self.actions = VecDeque::new();
        }
        if matches!(action, Action::Send(_) | Action::Audio { .. }) {
            self.sent = now;
        }
        Some(action)
    }

    /// When [`VoiceSession::poll`] has something to do if nothing else happens. `None` after the
    /// end.
    pub fn next_wake(&self) -> Option<Time> {
        if !self.actions.is_empty() {
            return Some(Time::default());
        }
        let waits = &self.opening.waits;
        let mut wake = match self.state {
            State::Ended => return None,
            State::Awaited(until) => return Some(until),
            State::Leaving(until) => until,
            State::Open => match waits.idle.filter(|_| self.is_quiet()) {
                Some(idle) => self.spoken + idle,
                None => Time(u64::MAX),
            },
        };
        wake = wake.min(self.sent + waits.keep_alive);
        if let Some(at) = self.answer_due() {
            wake = wake.min(at);
        }
        if let Some(at) = self.item_due() {
            wake = wake.min(at);
        }
        Some(wake)
    }

    /// What becomes due by nothing but time.
    fn handle_time(&mut self, now: Time) {
        match self.state {
            State::Ended => return,
            State::Awaited(until) => {
                if until <= now {
                    self.end(End::NoHello);
                }
                return;
            }
            State::Leaving(until) if until <= now => return self.leave(End::Idle),
            State::Leaving(_) => {}
            State::Open => {
                let idle = self.opening.waits.idle;
                let is_over = idle.is_some_and(|idle| self.spoken + idle <= now);
                if is_over && self.is_quiet() {
                    self.drop_turn(Ending::Replaced);
                    self.state = State::Leaving(now + self.opening.waits.farewell);
                    self.begin(Why::Farewell, now);
                    return;
                }
            }
        }
        if self.answer_due().is_some_and(|due| due <= now) {
            return self.end_turn(Ending::TimedOut, now);
        }
        if self.sent + self.opening.waits.keep_alive <= now {
            self.send(ToDevice::Pong { timestamp: None });
        }
    }

    /// Whether nobody has anything to say.
    fn is_quiet(&self) -> bool {
        match &self.turn {
            Some(turn) => turn.phase == Phase::Hearing,
            None => true,
        }
    }

    /// When the pipeline is given up on.
    fn answer_due(&self) -> Option<Time> {
        let turn = self.turn.as_ref()?;
        let waits = turn.phase != Phase::Hearing && !turn.done && self.queue.is_empty();
        let since = turn.sign.max(match turn.phase {
            Phase::Speaking => self.pace.played(),
            _ => Time::default(),
        });
        waits.then(|| since + self.opening.waits.answer)
    }

    /// When the front of the queue may leave, or the end be told.
    fn item_due(&self) -> Option<Time> {
        let turn = self.turn.as_ref()?;
        match self.queue.front() {
            Some(Item::Words(_)) => Some(Time::default()),
            Some(Item::Packet(_, duration)) => Some(self.pace.next(
                *duration,
                self.opening.waits.lead,
                self.opening.habits.most_ahead(),
            )),
            None if turn.done => Some(self.pace.played() + self.tail(turn)),
            None => None,
        }
    }

    fn tail(&self, turn: &Turn) -> u64 {
        let listens_again = turn.mode == Some(Mode::Auto);
        match self.opening.habits.drains && listens_again {
            true => 0,
            false => TAIL,
        }
    }

    fn next_of_queue(&mut self, now: Time) -> Option<Action> {
        if self.item_due()? > now {
            return None;
        }
        let turn = self.turn()?;
        match self.queue.pop_front() {
            Some(Item::Words(message)) => Some(Action::Send(message)),
            Some(Item::Packet(packet, duration)) => {
                self.queued_packets -= 1;
                let timestamp = self.pace.send(duration, now);
                Some(Action::Audio {
                    turn,
                    packet,
                    timestamp,
                })
            }
            None => {
                self.spoken = now;
                self.end_turn(Ending::Said, now);
                self.actions.pop_front()
            }
        }
    }

    /// Says `tts start`, if this turn did not yet.
    fn start_speech(&mut self, now: Time) {
        let Some(turn) = &mut self.turn else { return };
        if turn.phase == Phase::Speaking {
            return;
        }
        turn.phase = Phase::Speaking;
        if self.microphone != Some(Mode::Realtime) {
            self.microphone = None;
        }
        self.pace.begin(now);
        self.send(ToDevice::Tts(Tts::Start));
    }

    fn begin(&mut self, why: Why, now: Time) -> TurnId {
        self.last_turn += 1;
        let turn = TurnId(self.last_turn);
        let mode = match why {
            Why::Listens(mode) => Some(mode),
            _ => None,
        };
        self.turn = Some(Turn {
            id: turn,
            phase: match mode {
                Some(_) => Phase::Hearing,
                None => Phase::Thinking,
            },
            mode,
            accompanied: why == Why::Farewell,
            done: false,
            sign: now,
        });
        self.actions.push_back(Action::TurnStarted { turn, why });
        turn
    }

    /// Ends the turn; a microphone that is still open begins the next one.
    fn end_turn(&mut self, how: Ending, now: Time) {
        let spoke = self
            .turn
            .as_ref()
            .is_some_and(|turn| turn.phase == Phase::Speaking);
        self.will_repeat = spoke && self.microphone == Some(Mode::Realtime);
        self.drop_turn(how);
        match (self.state, self.microphone) {
            (State::Leaving(_), _) => self.leave(End::Idle),
            (State::Open, Some(mode @ (Mode::Auto | Mode::Realtime))) => {
                self.begin(Why::Listens(mode), now);
            }
            _ => {}
        }
    }

    /// Ends the turn, with all that it still had to say.
    fn drop_turn(&mut self, how: Ending) {
        let Some(turn) = self.turn.take() else { return };
        self.queue = VecDeque::new();
        self.queued_packets = 0;
        self.pace.end();
        let is_there = how != Ending::Closed;
        // A device that interrupts waits for this, whether it was told of a beginning or not.
        if is_there && (turn.phase == Phase::Speaking || how == Ending::Aborted) {
            self.send(ToDevice::Tts(Tts::Stop));
        }
        let turn = turn.id;
        self.actions.push_back(Action::TurnEnded { turn, how });
    }

    /// Somebody is there after all.
    fn stay(&mut self, now: Time) {
        self.spoken = now;
        if let State::Leaving(_) = self.state {
            self.state = State::Open;
        }
    }

    /// Says goodbye, and ends.
    fn leave(&mut self, why: End) {
        if self.state == State::Ended {
            return;
        }
        if matches!(self.opening.way, HelloWay::Udp(_)) && self.hello.is_some() {
            self.drop_turn(Ending::Closed);
            self.send(ToDevice::Goodbye);
        }
        self.end(why);
    }

    fn end(&mut self, why: End) {
        if self.state == State::Ended {
            return;
        }
        self.state = State::Ended;
        self.microphone = None;
        self.drop_turn(Ending::Closed);
        self.actions.push_back(Action::End(why));
    }

    fn send(&mut self, message: ToDevice<'static>) {
        self.actions.push_back(Action::Send(message));
    }
}

/// As much of a text as a device shows.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_SENTENCE));
    text
}
