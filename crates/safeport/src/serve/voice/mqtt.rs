//! Conversations over MQTT and UDP: messages come and go through the broker, sound beside it
//! (`udp.rs`).
//!
//! A device publishes to one topic, which the broker hands to `Postbox` with the login of who
//! published; what it is sent is delivered to its connection, for it never subscribes to anything.
//! One `Desk` sorts what came. A device costs something here only while it talks: then a task
//! drives its conversation, until one of the two has enough or the device's connection ends.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use safeport_engine::{Addressed, Addressee, EngineHandle, Publication};
use safeport_xiaozhi::{ClientId, End, FromDevice, HelloWay, Time, ToDevice, UdpOffer};
use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc::{self, error::TrySendError};

use super::conversation::{Conversation, Order};
use super::lobby::{IdlePost, Lobby};
use super::udp::{Line, Lines};
use super::websocket::{passed_over, session_id, until, word};
use super::{Seat, Voice};
use crate::limits::{VOICE_MESSAGES, VOICE_NAMED_SESSION, VOICE_POST, VOICE_POST_EACH};
use crate::serve::xiaozhi::{Guest, Xiaozhi};
use crate::tasks::Tasks;
use crate::throttle::Throttle;

/// What conversations over MQTT are made with.
pub struct House {
    /// Who talks.
    pub voice: Arc<Voice>,
    /// Who may, and where they reach us.
    pub xiaozhi: Arc<Xiaozhi>,
    /// Delivers messages.
    pub engine: EngineHandle,
    /// Carries sound.
    pub lines: Lines,
    /// Who is connected.
    pub lobby: Arc<Lobby>,
}

/// Begins to talk with devices over MQTT, on the current runtime: that of [`runtime`].
pub fn start(house: House, tasks: &Tasks) {
    let (sender, news) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    house.engine.set_addressee(Arc::new(Postbox {
        news: sender.clone(),
        waiting: waiting.clone(),
        throttle: Throttle::default(),
    }));
    let post = IdlePost {
        lobby: house.lobby.clone(),
        engine: house.engine.clone(),
        xiaozhi: house.xiaozhi.clone(),
        agents: house.voice.agents().clone(),
        notices: house.voice.notices().clone(),
    };
    house.voice.toolroom().reach().set_post(Arc::new(post));
    let desk = Desk {
        house: Arc::new(house),
        news: sender,
        waiting,
        open: HashMap::new(),
        last: 0,
    };
    tasks.spawn("voice over MQTT", desk.run(news));
}

/// The runtime of conversations over MQTT and their sound, on a thread of its own: what a packet
/// wakes is woken on the thread that took it (decision 0019).
///
/// # Errors
/// If the system gives no thread.
pub fn runtime(tasks: &Tasks) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    // It carries what is spawned for as long as the server runs.
    tasks.spawn_thread("voice over MQTT", move || {
        runtime.block_on(std::future::pending())
    })?;
    Ok(handle)
}

/// Something that happened to a device.
enum News {
    Said(Addressed),
    /// Its connection has ended.
    Left(String),
    /// The task with this number has ended.
    Over(String, u64),
}

/// Takes what devices say, on the event loops' threads, and no time.
struct Postbox {
    news: mpsc::UnboundedSender<News>,
    /// Bytes of messages that wait.
    waiting: Arc<AtomicUsize>,
    throttle: Throttle,
}

impl Addressee for Postbox {
    fn heard(&self, said: Addressed) {
        let weight = weight(&said);
        if self.waiting.fetch_add(weight, Ordering::Relaxed) + weight > VOICE_POST {
            self.waiting.fetch_sub(weight, Ordering::Relaxed);
            if let Some(left_out) = self.throttle.admit("post", Instant::now()) {
                tracing::warn!(
                    target: "safeport::voice",
                    left_out, client = said.client_id,
                    "devices say more over MQTT than is read in time; messages are passed over"
                );
            }
            return;
        }
        // Who would read it is gone only when the server stops.
        let _ = self.news.send(News::Said(said));
    }

    fn left(&self, client_id: &str) {
        // What every identifier of such a device has, and hardly any other.
        if client_id.contains("@@@") {
            let _ = self.news.send(News::Left(client_id.to_owned()));
        }
    }
}

fn weight(said: &Addressed) -> usize {
    said.payload.len() + VOICE_POST_EACH
}

/// Gives each message to the conversation that it belongs to.
struct Desk {
    house: Arc<House>,
    news: mpsc::UnboundedSender<News>,
    waiting: Arc<AtomicUsize>,
    /// By client identifier: who talks.
    open: HashMap<String, Open>,
    last: u64,
}

struct Open {
    number: u64,
    messages: mpsc::Sender<Addressed>,
}

impl Desk {
    async fn run(mut self, mut news: mpsc::UnboundedReceiver<News>) {
        while let Some(news) = news.recv().await {
            match news {
                News::Said(said) => {
                    self.waiting.fetch_sub(weight(&said), Ordering::Relaxed);
                    self.said(said);
                }
                // Its task notices that nobody can say anything to it any more.
                News::Left(client_id) => drop(self.open.remove(&client_id)),
                News::Over(client_id, number) => {
                    let open = self.open.get(&client_id);
                    if open.is_some_and(|open| open.number == number) {
                        self.open.remove(&client_id);
                    }
                }
            }
        }
    }

    fn said(&mut self, said: Addressed) {
        let Some(open) = self.open.get(&said.client_id) else {
            return self.begin(said);
        };
        match open.messages.try_send(said) {
            Ok(()) => {}
            Err(TrySendError::Full(said)) => tracing::debug!(
                target: "safeport::voice",
                client = said.client_id, "passed over: the device says more than can be read"
            ),
            Err(TrySendError::Closed(said)) => self.begin(said),
        }
    }

    /// A message of a device that does not talk: only a hello begins a conversation.
    fn begin(&mut self, said: Addressed) {
        let heard = match FromDevice::read(&said.payload) {
            Ok(heard) => heard,
            Err(error) => {
                tracing::debug!(target: "safeport::voice", client = said.client_id, "passed over: {error}");
                return;
            }
        };
        let Ok(id) = said.client_id.parse::<ClientId>() else {
            return;
        };
        match heard.message {
            FromDevice::Hello(_) => {}
            // Firmware answers a goodbye with one.
            FromDevice::Goodbye => return,
            FromDevice::Mcp { payload } => {
                if let Some(device) = &said.user {
                    let reach = self.house.voice.toolroom().reach();
                    reach.hear(device, payload.as_str());
                }
                return;
            }
            // It missed the end of its conversation, or this server was restarted: told so, it
            // says hello when it is woken the next time.
            _ => {
                let named = heard.session_id.unwrap_or_default();
                if named.len() <= VOICE_NAMED_SESSION {
                    self.house.goodbye(&said.client_id, &id, &named);
                }
                return;
            }
        }
        let came_to = said.local.map(|local| local.ip().to_canonical());
        let user = said.user.as_deref();
        let guest = match self.house.xiaozhi.admit_login(&id, user, came_to) {
            Ok(guest) => guest,
            Err(why) => {
                tracing::warn!(
                    target: "safeport::voice",
                    client = said.client_id, "a device wants to talk over MQTT, and may not: {why}"
                );
                return self.house.goodbye(&said.client_id, &id, "");
            }
        };
        self.last += 1;
        let (sender, messages) = mpsc::channel(VOICE_MESSAGES);
        let open = Open {
            number: self.last,
            messages: sender,
        };
        self.open.insert(said.client_id.clone(), open);
        let talk = Talk {
            house: self.house.clone(),
            seat: self.house.voice.enter(&guest),
            guest,
            client_id: said.client_id.clone(),
            id,
            messages,
        };
        let over = Over {
            news: self.news.clone(),
            client_id: said.client_id.clone(),
            number: self.last,
        };
        tokio::spawn(async move {
            talk.run(said).await;
            drop(over);
        });
    }
}

/// Says that a task has ended, however it did.
struct Over {
    news: mpsc::UnboundedSender<News>,
    client_id: String,
    number: u64,
}

impl Drop for Over {
    fn drop(&mut self) {
        let client_id = std::mem::take(&mut self.client_id);
        let _ = self.news.send(News::Over(client_id, self.number));
    }
}

impl House {
    /// Sends a message to the connection of a device, wherever that is.
    fn send(&self, client_id: &str, id: &ClientId, message: String) {
        let topic = format!("devices/p2p/{}", id.mac.with_underscores());
        self.engine
            .deliver(client_id, Publication::new(topic, message));
    }

    fn goodbye(&self, client_id: &str, id: &ClientId, session: &str) {
        self.send(client_id, id, ToDevice::Goodbye.to_json(Some(session)));
    }
}

/// A device that talks.
struct Talk {
    house: Arc<House>,
    guest: Guest,
    client_id: String,
    id: ClientId,
    messages: mpsc::Receiver<Addressed>,
    seat: Seat,
}

impl Talk {
    /// One conversation after the other, as long as each ends with the hello of the next.
    async fn run(mut self, mut hello: Addressed) {
        while let Some(next) = self.converse(hello).await {
            hello = next;
        }
    }

    /// One conversation; the hello that ended it, if it was one.
    async fn converse(&mut self, hello: Addressed) -> Option<Addressed> {
        let voice = self.house.voice.clone();
        let (mut conversation, mut line) = match self.open(&hello).await {
            Ok(opened) => opened,
            Err(why) => {
                tracing::warn!(
                    target: "safeport::voice",
                    device = self.guest.name, "a device wants to talk over MQTT, and cannot: {why}"
                );
                self.house.goodbye(&self.client_id, &self.id, "");
                return None;
            }
        };
        let mut last = hello;
        hear(&mut conversation, &last, voice.now());
        let why = loop {
            if let Some(why) = self.act(&mut conversation, &mut line, voice.now()) {
                break why;
            }
            let due = [conversation.next_wake(), keep_alive(&conversation, &line)];
            let due = due.into_iter().flatten().min();
            let wake = async {
                match due {
                    Some(at) => tokio::time::sleep(until(at, voice.now())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                said = self.messages.recv() => {
                    let Some(said) = said else {
                        break End::Gone;
                    };
                    last = said;
                    hear(&mut conversation, &last, voice.now());
                }
                packet = line.hear(|| voice.now()) => {
                    conversation.hear_audio(&packet, voice.now());
                    while let Some(packet) = line.heard() {
                        conversation.hear_audio(&packet, voice.now());
                    }
                }
                news = conversation.news() => conversation.take(news, voice.now()),
                () = wake => {}
                () = self.seat.over() => conversation.close(),
            }
        };
        tracing::info!(
            target: "safeport::voice",
            device = self.guest.name, session = conversation.id(),
            "conversation over MQTT over: {}", word(why)
        );
        (why == End::Renewed).then_some(last)
    }

    /// What a conversation needs, with a key of its own.
    async fn open(&self, hello: &Addressed) -> Result<(Conversation, Line), String> {
        let local = hello.local.map(|local| local.ip().to_canonical());
        let host = self.house.xiaozhi.voice_host(&self.id, local).await;
        let host = host.ok_or(
            "no address of MQTT is proved that it could send its sound to; `ports` shows why",
        )?;
        let place = self.house.lines.place(&host);
        let (server, port) = place.ok_or(
            "no socket takes its sound; set voice.enabled = true, and voice.bind to an IPv4 \
             address or \"[::]:8884\", or let devices talk by WebSocket \
             (advertise.xiaozhi = \"websocket\")",
        )?;
        let now = self.house.voice.now();
        let line = self.house.lines.open(now).map_err(|no| no.to_string())?;
        let session_id = session_id().map_err(|error| error.to_string())?;
        let way = HelloWay::Udp(Box::new(UdpOffer {
            server,
            port,
            key: line.key().key(),
            nonce: line.key().nonce(),
        }));
        let conversation = Conversation::new(&self.house.voice, &self.guest, session_id, way, now);
        Ok((conversation, line))
    }

    /// Does what is due; `Some` when it is over.
    fn act(&self, conversation: &mut Conversation, line: &mut Line, now: Time) -> Option<End> {
        while let Some(order) = conversation.poll(now) {
            match order {
                Order::Message(message) => self.house.send(&self.client_id, &self.id, message),
                Order::Audio { packet, timestamp } => line.say(&packet, timestamp, now),
                Order::End(why) => return Some(why),
            }
        }
        if keep_alive(conversation, line).is_some_and(|at| at <= now) {
            line.keep_alive(now);
        }
        None
    }
}

fn hear(conversation: &mut Conversation, said: &Addressed, now: Time) {
    if let Err(error) = conversation.hear_message(&said.payload, now) {
        passed_over(conversation, &error);
    }
}

/// When the way to the device has to be kept open. Not while it speaks: its decoder would be given
/// the empty packet.
fn keep_alive(conversation: &Conversation, line: &Line) -> Option<Time> {
    match conversation.is_speaking() {
        true => None,
        false => line.next_keep_alive(),
    }
}
