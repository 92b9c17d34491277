//! One pretend plug as a value: its MQTT connection around its firmware.

use super::firmware::{Firmware, Message, Prefix, Route};
use super::{Act, PlugOptions};
use safeport_mqtt::{
    Connect, EncodeError, Packet, PacketId, Properties, Publish, QoS, ReasonCode, Subscribe,
    SubscribeBuf, SubscribeOptions, Version, Will,
};
use serde_json::Value;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// A pretend plug. It holds no socket and no clock: the caller reports what happened with the time
/// since the plug was first powered, carries out what [`Plug::poll_output`] asks for, and calls
/// [`Plug::handle_timeout`] when [`Plug::poll_timeout`] says so.
pub struct Plug {
    firmware: Firmware,
    link: Link,
    /// Whether INFO1 to 3 and the relay state have been sent since boot.
    greeted: bool,
    /// What `MqttRetry` is multiplied with for the next wait; grows by one per failure.
    retry_step: u32,
    next_packet_id: PacketId,
    outputs: VecDeque<Output>,
}

/// What the caller has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Open a socket, then call [`Plug::handle_open`] or [`Plug::handle_failure`].
    Dial {
        /// `MqttHost`.
        host: String,
        /// `MqttPort`.
        port: u16,
        /// How long to wait for it.
        timeout: Duration,
    },
    /// Write these bytes: one whole packet.
    Send(Vec<u8>),
    /// Close the socket without another word. The firmware never sends DISCONNECT, so its will is
    /// published.
    Close,
    /// Nothing to do; something worth telling.
    Note(Note),
}

impl Plug {
    /// A plug that boots on a board with what it has kept in flash. Its time zero is this boot.
    pub(crate) fn boot(options: PlugOptions, kept: Option<&Value>, tls: bool, utc: u64) -> Self {
        let mut plug = Plug::new(options, utc);
        plug.firmware.set_options.switch(103, tls);
        plug.firmware.set_options.switch(132, tls);
        if let Some(kept) = kept {
            plug.firmware.restore(kept);
        }
        plug
    }

    /// Never tries to connect: what images without MQTT over TLS do when it is asked of them.
    pub(crate) fn leave_mqtt(&mut self) {
        self.link = Link::Down {
            retry_at: Duration::MAX,
        };
    }

    /// `MqttHost` and `MqttPort`.
    pub(crate) fn target(&self) -> (&str, u16) {
        let options = &self.firmware.options;
        (&options.host, options.port)
    }

    /// What the firmware keeps in flash, as [`Plug::boot`] takes it.
    pub(crate) fn kept(&self) -> Value {
        self.firmware.kept()
    }

    /// Whether a switch is on.
    pub(crate) fn is_on_option(&self, option: u16) -> bool {
        self.firmware.set_options.is_on(option)
    }

    pub(crate) fn switch_option(&mut self, option: u16, on: bool) {
        self.firmware.set_options.switch(option, on);
    }

    pub(crate) fn hostname(&self) -> String {
        self.firmware.hostname()
    }

    pub(crate) fn ota_url(&self) -> &str {
        &self.firmware.options.ota_url
    }

    /// The next thing that the firmware wants its board to do.
    pub(crate) fn poll_act(&mut self) -> Option<Act> {
        self.firmware.acts.pop()
    }

    /// How an upgrade ended; lost without a connection, as on the device.
    pub(crate) fn report_upgrade(&mut self, text: &str, now: Duration) {
        self.firmware.publish_upgrade(text);
        self.post(now);
    }

    /// A command by the web: what it answers, in one object. MQTT hears the same.
    pub(crate) fn web_command(&mut self, command: &str, now: Duration) -> String {
        self.post(now);
        self.firmware
            .backlog_command(command.trim(), Route::Own, now);
        let mut merged = serde_json::Map::new();
        for message in &self.firmware.outbox {
            if let Ok(Value::Object(object)) = serde_json::from_str(&message.payload) {
                merged.extend(object);
            }
        }
        self.post(now);
        Value::Object(merged).to_string()
    }
}

/// What happened to the plug.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// CONNACK accepted.
    Connected {
        /// The client identifier.
        client_id: String,
    },
    /// No connection, or lost.
    Failed {
        /// Why.
        failure: Failure,
        /// Until the next attempt.
        retry_in: Duration,
        /// A standing connection was lost.
        was_connected: bool,
    },
    /// A message was published.
    Published {
        /// Its topic name.
        topic: String,
        /// What it said.
        payload: String,
        /// As a retained message.
        retain: bool,
    },
    /// A command arrived.
    Command {
        /// Its topic name.
        topic: String,
        /// Its argument.
        payload: String,
    },
    /// A message of at least [`MAX_PACKET_SIZE`] bytes arrived and was not read, as on the device.
    TooLong {
        /// Its topic name.
        topic: String,
        /// Its length in bytes.
        length: usize,
    },
    /// A subscription was refused.
    NotSubscribed {
        /// The reason code of SUBACK.
        code: ReasonCode,
    },
    /// A packet that MQTT does not allow, for instance because `FullTopic` holds a wildcard.
    NotSent {
        /// The rule it breaks.
        error: EncodeError,
    },
    /// The device restarts.
    Restarting {
        /// A standing connection goes with it.
        was_connected: bool,
    },
}

/// Why there is no connection; displays as the firmware's `rc` number and words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// -5: the host name was not found.
    Dns,
    /// -4: CONNACK or PINGRESP did not come in time.
    Timeout,
    /// -3: the connection ended.
    Lost,
    /// -2: TCP or TLS failed.
    Connect,
    /// 1 to 5: the return code of CONNACK.
    Refused(u8),
}

enum Link {
    /// No connection; the next attempt is due then.
    Down { retry_at: Duration },
    /// The caller is opening a socket.
    Dialing,
    /// CONNECT is sent.
    Waiting { until: Duration },
    /// CONNACK has come.
    Up {
        last_in: Duration,
        last_out: Duration,
        ping_outstanding: bool,
    },
}

impl Plug {
    /// A plug that is powered now, at time zero, which is `utc` seconds after 1970. It wants to
    /// connect at once.
    pub fn new(options: PlugOptions, utc: u64) -> Self {
        Plug {
            firmware: Firmware::new(options, utc),
            link: Link::Down {
                retry_at: Duration::ZERO,
            },
            greeted: false,
            retry_step: 1,
            next_packet_id: PacketId::MIN,
            outputs: VecDeque::new(),
        }
    }

    /// The `Topic` it has now.
    pub fn topic(&self) -> &str {
        &self.firmware.topic
    }

    /// The client identifier it connects with.
    pub fn client_id(&self) -> &str {
        &self.firmware.client_id
    }

    /// Where its will is published: `tele/<topic>/LWT` by default.
    pub fn will_topic(&self) -> String {
        self.firmware.topic_of(Prefix::Tele, "LWT", Route::Own)
    }

    /// Whether the relay is on.
    pub fn is_on(&self) -> bool {
        self.firmware.relay_on
    }

    /// Whether CONNACK has come and the connection stands.
    pub fn is_connected(&self) -> bool {
        matches!(self.link, Link::Up { .. })
    }

    /// The next thing to do, if any. Ask until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Plug::handle_timeout`] at the latest. `None` while a socket is being opened.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let link = match self.link {
            Link::Down { retry_at } => Some(retry_at),
            Link::Dialing => None,
            Link::Waiting { until } => Some(until),
            Link::Up {
                last_in, last_out, ..
            } => Some(last_in.min(last_out) + self.keep_alive()),
        };
        [link, self.firmware.next_timer()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The socket is open (and TLS agreed on).
    pub fn handle_open(&mut self, now: Duration) {
        if !matches!(self.link, Link::Dialing) {
            return;
        }
        let firmware = &self.firmware;
        let will_topic = self.will_topic();
        // An empty setting is not sent, and no password goes without a user name.
        let username = firmware.options.username.as_deref();
        let username = username.filter(|name| !name.is_empty());
        let password = firmware.options.password.as_deref();
        let password = password.filter(|word| !word.is_empty() && username.is_some());
        let connect = Packet::Connect(Connect {
            version: Version::V311,
            // SetOption140 asks for a session that outlives the connection.
            clean_start: !firmware.set_options.is_on(140),
            keep_alive: firmware.options.keep_alive,
            client_id: &firmware.client_id,
            will: Some(Will {
                topic: &will_topic,
                payload: b"Offline",
                qos: QoS::AtLeastOnce,
                retain: !firmware.set_options.is_on(104),
                properties: Properties::EMPTY,
            }),
            username,
            password: password.map(str::as_bytes),
            properties: Properties::EMPTY,
            bridge: false,
        });
        let until = now + firmware.options.connack_timeout;
        let bytes = encode(&connect);
        self.link = Link::Waiting { until };
        self.send(bytes, now);
    }

    /// No socket could be opened, or the one that was open has ended.
    pub fn handle_failure(&mut self, failure: Failure, now: Duration) {
        if matches!(self.link, Link::Down { .. }) {
            return;
        }
        let was_connected = self.is_connected();
        if !matches!(self.link, Link::Dialing) {
            self.outputs.push_back(Output::Close);
        }
        let seconds = u32::from(self.firmware.options.retry) * self.retry_step;
        if seconds < LONGEST_RETRY {
            self.retry_step += 1;
        }
        let retry_in = f64::from(seconds) * self.firmware.options.retry_factor;
        let retry_in = Duration::try_from_secs_f64(retry_in).unwrap_or(Duration::ZERO);
        self.link = Link::Down {
            retry_at: now.saturating_add(retry_in),
        };
        self.note(Note::Failed {
            failure,
            retry_in,
            was_connected,
        });
    }

    /// The broker sent a packet.
    pub fn handle_packet(&mut self, packet: &Packet<'_>, now: Duration) {
        if let Link::Up {
            last_in,
            ping_outstanding,
            ..
        } = &mut self.link
        {
            *last_in = now;
            if matches!(packet, Packet::PingResp) {
                *ping_outstanding = false;
            }
        }
        match (packet, &self.link) {
            (Packet::ConnAck(connack), Link::Waiting { .. }) => match return_code(connack.code) {
                0 => self.connected(now),
                code => self.handle_failure(Failure::Refused(code), now),
            },
            // The client library reads nothing but CONNACK before it is connected.
            (_, Link::Waiting { .. }) => self.handle_failure(Failure::Lost, now),
            (Packet::Publish(publish), Link::Up { .. }) => self.message(publish, now),
            (Packet::SubAck(suback), Link::Up { .. }) => {
                for code in suback.reason_codes().filter(|code| code.is_error()) {
                    self.note(Note::NotSubscribed { code });
                }
            }
            _ => {}
        }
        self.post(now);
    }

    /// Time has come as far as [`Plug::poll_timeout`] said. Harmless at any other time.
    pub fn handle_timeout(&mut self, now: Duration) {
        match self.link {
            Link::Down { retry_at } if retry_at <= now => {
                self.link = Link::Dialing;
                let options = &self.firmware.options;
                self.outputs.push_back(Output::Dial {
                    host: options.host.clone(),
                    port: options.port,
                    timeout: options.connect_timeout,
                });
            }
            Link::Waiting { until } if until <= now => {
                self.handle_failure(Failure::Timeout, now);
            }
            _ => {}
        }
        self.firmware.tick(now);
        self.post(now);
        if self.firmware.restart_due(now) {
            if self.firmware.options.board.is_some() {
                self.firmware.restart_at = None;
                let act = self.firmware.restart_act;
                self.firmware.acts.push(act);
            } else {
                self.restart(now);
            }
        }
        self.keep_alive_due(now);
    }

    /// What is sent on every connect, in the firmware's order (tasmota.md §1.2).
    fn connected(&mut self, now: Duration) {
        self.link = Link::Up {
            last_in: now,
            last_out: now,
            ping_outstanding: false,
        };
        self.retry_step = 1;
        self.firmware.mqtt_count += 1;
        self.note(Note::Connected {
            client_id: self.firmware.client_id.clone(),
        });

        let lwt = self.will_topic();
        self.firmware.publish(lwt, "Online".into(), true);
        if !self.firmware.set_options.is_on(90) {
            let power = self.firmware.topic_of(Prefix::Cmnd, "POWER", Route::Own);
            self.firmware.publish(power, String::new(), false);
        }
        self.post(now);
        for filter in self.firmware.filters() {
            self.subscribe(&filter, now);
        }
        if self.greeted {
            self.firmware.reconnected(now);
        } else {
            self.greeted = true;
            self.firmware.first_connected(now);
        }
    }

    /// A SUBSCRIBE for each filter, at QoS 0.
    fn subscribe(&mut self, filter: &str, now: Duration) {
        let mut filters = SubscribeBuf::new();
        if let Err(error) = filters.push(filter, SubscribeOptions::default()) {
            self.note(Note::NotSent { error });
            return;
        }
        let packet_id = self.next_packet_id;
        self.next_packet_id = packet_id.checked_add(1).unwrap_or(PacketId::MIN);
        let bytes = encode(&Packet::Subscribe(Subscribe {
            packet_id,
            properties: Properties::EMPTY,
            filters: filters.as_filters(),
        }));
        self.send(bytes, now);
    }

    fn message(&mut self, publish: &Publish<'_>, now: Duration) {
        let topic = publish.topic.to_owned();
        if publish.payload.len() >= MAX_PACKET_SIZE {
            self.note(Note::TooLong {
                topic,
                length: publish.payload.len(),
            });
            return;
        }
        let payload = String::from_utf8_lossy(publish.payload).into_owned();
        let fallback = self.firmware.topic_of(Prefix::Cmnd, "", Route::Fallback);
        let route = if topic.starts_with(&fallback) {
            Route::Fallback
        } else {
            Route::Own
        };
        let name = topic.rsplit('/').next().unwrap_or(&topic).to_owned();
        self.note(Note::Command {
            topic,
            payload: payload.clone(),
        });
        self.firmware.command(&name, &payload, route, now);
    }

    /// Sends what the firmware wants published. Without a connection it is lost, as on the device.
    fn post(&mut self, now: Duration) {
        for message in std::mem::take(&mut self.firmware.outbox) {
            if !self.is_connected() {
                continue;
            }
            let Message {
                topic,
                payload,
                retain,
            } = message;
            let bytes = encode(&Packet::Publish(Publish {
                dup: false,
                qos: QoS::AtMostOnce,
                retain,
                topic: &topic,
                packet_id: None,
                properties: Properties::EMPTY,
                payload: payload.as_bytes(),
            }));
            if self.send(bytes, now) {
                self.note(Note::Published {
                    topic,
                    payload,
                    retain,
                });
            }
        }
    }

    fn restart(&mut self, now: Duration) {
        if !matches!(self.link, Link::Down { .. } | Link::Dialing) {
            self.outputs.push_back(Output::Close);
        }
        self.note(Note::Restarting {
            was_connected: self.is_connected(),
        });
        self.firmware.reboot(now);
        self.greeted = false;
        self.retry_step = 1;
        if !matches!(self.link, Link::Dialing) {
            self.link = Link::Down {
                retry_at: now + BOOT_TIME,
            };
        }
    }

    /// A ping after a keep alive of silence in either direction; a second one without an answer to
    /// the first ends the connection.
    fn keep_alive_due(&mut self, now: Duration) {
        let keep_alive = self.keep_alive();
        let Link::Up {
            last_in,
            last_out,
            ping_outstanding,
        } = &mut self.link
        else {
            return;
        };
        if now < (*last_in).min(*last_out) + keep_alive {
            return;
        }
        if *ping_outstanding {
            self.handle_failure(Failure::Timeout, now);
            return;
        }
        (*last_in, *last_out, *ping_outstanding) = (now, now, true);
        self.send(encode(&Packet::PingReq), now);
    }

    fn send(&mut self, packet: Result<Vec<u8>, EncodeError>, now: Duration) -> bool {
        if let Link::Up { last_out, .. } = &mut self.link {
            *last_out = now;
        }
        let output = match packet {
            Ok(bytes) => Output::Send(bytes),
            Err(error) => Output::Note(Note::NotSent { error }),
        };
        let sent = matches!(output, Output::Send(_));
        self.outputs.push_back(output);
        sent
    }

    fn note(&mut self, note: Note) {
        self.outputs.push_back(Output::Note(note));
    }

    fn keep_alive(&self) -> Duration {
        Duration::from_secs(self.firmware.options.keep_alive.max(1).into())
    }
}

fn encode(packet: &Packet<'_>) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::new();
    packet.encode(Version::V311, &mut bytes)?;
    Ok(bytes)
}

/// The return code that a client of MQTT 3.1.1 saw.
fn return_code(code: ReasonCode) -> u8 {
    match code {
        ReasonCode::Success => 0,
        ReasonCode::UnsupportedProtocolVersion => 1,
        ReasonCode::ClientIdentifierNotValid => 2,
        ReasonCode::ServerUnavailable => 3,
        ReasonCode::BadUserNameOrPassword => 4,
        _ => 5,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Dns => f.write_str("rc -5, host name not found"),
            Failure::Timeout => f.write_str("rc -4, no answer in time"),
            Failure::Lost => f.write_str("rc -3, connection lost"),
            Failure::Connect => f.write_str("rc -2, no connection (TCP or TLS)"),
            Failure::Refused(code) => {
                let words = match code {
                    1 => "bad protocol",
                    2 => "client identifier refused",
                    3 => "broker unavailable",
                    4 => "bad user name or password",
                    _ => "not authorized",
                };
                write!(f, "rc {code}, {words}")
            }
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Connected { client_id } => write!(f, "connected as {client_id}"),
            Note::Failed {
                failure, retry_in, ..
            } => {
                write!(f, "connect failed, {failure}; retry in {retry_in:?}")
            }
            Note::Published {
                topic,
                payload,
                retain,
            } => {
                let retained = if *retain { " (retained)" } else { "" };
                write!(f, "{topic} = {payload}{retained}")
            }
            Note::Command { topic, payload } => write!(f, "received {topic} {payload}"),
            Note::TooLong { topic, length } => {
                write!(
                    f,
                    "ignored {topic}: {length} bytes are too many for the device"
                )
            }
            Note::NotSubscribed { code } => write!(f, "a subscription was refused: {code}"),
            Note::NotSent { error } => write!(f, "a packet could not be sent: {error}"),
            Note::Restarting { .. } => f.write_str("restarting"),
        }
    }
}

/// `MQTT_MAX_PACKET_SIZE` of the official images: an incoming payload of this length or more is
/// dropped without a word.
pub const MAX_PACKET_SIZE: usize = 1200;
/// Waits grow by `MqttRetry` until one reaches this many seconds.
const LONGEST_RETRY: u32 = 120;
/// From a restart to the first attempt to connect: boot and Wi-Fi.
const BOOT_TIME: Duration = Duration::from_secs(3);
