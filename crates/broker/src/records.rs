//! What a broker writes down so that a restart changes nothing: a stream of small records, each
//! a change of a session or of the retained messages.
//!
//! A record starts with its kind (one byte). Numbers are LEB128, strings and bytes carry their
//! length in front. Sessions are named by their place in the broker (`key`), messages by a number
//! of their own: the body is written once and then referred to. The driver keeps the bytes in
//! groups (one for each turn of its loop) that are there whole or not at all.

mod reader;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU16;
use safeport_mqtt::{QoS, Version};

use crate::ids::SessionId;
use crate::message::{Message, Outgoing};
use crate::retained::is_own;
use crate::session::{Identifiers, Owed, Will};
use crate::time::Time;

pub(crate) use reader::Reader;

const SEED: u8 = 1;
const SESSION: u8 = 2;
const ENDED: u8 = 3;
const AWAY: u8 = 4;
const WILL_DONE: u8 = 5;
const SUBSCRIBED: u8 = 6;
const UNSUBSCRIBED: u8 = 7;
const MESSAGE: u8 = 8;
const QUEUED: u8 = 9;
const IN_FLIGHT: u8 = 10;
const SENT: u8 = 11;
const SKIPPED: u8 = 12;
const SETTLED: u8 = 13;
const RELEASED: u8 = 14;
const RECEIVED: u8 = 15;
const COMPLETED: u8 = 16;
const RETAINED: u8 = 17;
const UNRETAINED: u8 = 18;
const COMPLETE: u8 = 19;

/// One record, borrowed from the bytes it was read from.
#[derive(Debug)]
pub(crate) enum Record<'a> {
    /// A new account of everything begins. Seed of the fingerprints of client identifiers.
    Seed(u64),
    /// Everything has been written since the last [`Record::Seed`].
    Complete,
    /// A session was made (`fresh`: whatever was known under this key is void) or was taken up
    /// by a new connection.
    Session(SessionRecord<'a>),
    /// The session is gone.
    Ended(u32),
    /// Its connection ended.
    Away {
        key: u32,
        at: Time,
        expiry: u32,
        will: WillIs,
    },
    /// Its will was published.
    WillDone(u32),
    Subscribed {
        key: u32,
        /// with `$share/<group>/`
        filter: &'a str,
        options: u8,
        identifier: u32,
    },
    Unsubscribed {
        key: u32,
        filter: &'a str,
    },
    /// Body of a message that later records name by its number.
    Message(u64, Outgoing<'a>),
    /// A message waits at the end of the queue.
    Queued {
        key: u32,
        owed: OwedRecord,
    },
    /// A message was sent without waiting.
    InFlight {
        key: u32,
        packet_id: NonZeroU16,
        owed: OwedRecord,
    },
    /// The first of the queue was sent.
    Sent {
        key: u32,
        packet_id: NonZeroU16,
    },
    /// The first of the queue was dropped.
    Skipped(u32),
    /// A message in flight is done with.
    Settled {
        key: u32,
        packet_id: NonZeroU16,
    },
    /// PUBREC has come: PUBREL is owed in its place.
    Released {
        key: u32,
        packet_id: NonZeroU16,
    },
    /// A QoS 2 publish of the client is open.
    Received {
        key: u32,
        packet_id: NonZeroU16,
    },
    /// It is complete.
    Completed {
        key: u32,
        packet_id: NonZeroU16,
    },
    /// The message is retained for its topic.
    Retained(u64),
    Unretained(&'a str),
}

#[derive(Debug)]
pub(crate) struct SessionRecord<'a> {
    pub(crate) key: u32,
    pub(crate) fresh: bool,
    /// false: only its will outlives the connection
    pub(crate) whole: bool,
    pub(crate) bridge: bool,
    pub(crate) version: Version,
    pub(crate) client_id: &'a str,
    pub(crate) user: Option<&'a str>,
    pub(crate) expiry: u32,
    /// since when it has no connection; `None` while it has one
    pub(crate) away_since: Option<Time>,
    pub(crate) will: Option<WillRecord<'a>>,
    /// its last connection ended with the process
    pub(crate) interrupted: bool,
}

#[derive(Debug)]
pub(crate) struct WillRecord<'a> {
    pub(crate) message: Outgoing<'a>,
    pub(crate) delay: u32,
    pub(crate) expiry: Option<u32>,
}

/// What becomes of the will when a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WillIs {
    Gone,
    Due,
    /// Due unless the client comes back: the connection ended with the process.
    Waiting,
}

#[derive(Debug)]
pub(crate) struct OwedRecord {
    pub(crate) message: u64,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) identifiers: Identifiers,
}

/// Bytes that are no records of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset} of the group")]
pub struct BadRecord {
    /// Where in the group.
    pub offset: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// What the driver's disk has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskRoom {
    /// Room for whatever comes.
    Enough,
    /// Only for what shrinks the state: messages, subscriptions and sessions that would have to
    /// be kept are refused before anybody gets them.
    Scarce,
    /// None: records wait in memory. Sessions that are kept are not taken up either, since each
    /// return of a client makes a record.
    Nothing,
}

/// Writes records, if the broker keeps any.
pub(crate) struct Records {
    pub(crate) on: bool,
    pub(crate) room: DiskRoom,
    bytes: Vec<u8>,
    me: u8,
    /// Since when bodies are where the log still has them: a body that was last written in an
    /// earlier cycle may be in a part of the log that is about to go.
    cycle: u16,
    next_message: u64,
}

/// Messages are numbered up to here.
const MESSAGES: u64 = 1 << 40;

impl Records {
    pub(crate) fn new(on: bool, me: u8) -> Self {
        Self {
            on,
            room: DiskRoom::Enough,
            bytes: Vec::new(),
            me,
            cycle: 1,
            next_message: 1,
        }
    }

    pub(crate) fn take(&mut self, into: &mut Vec<u8>) {
        core::mem::swap(&mut self.bytes, into);
        self.bytes.clear();
        self.bytes.shrink_to(1 << 20);
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// From now on every body is written again before anything refers to it.
    pub(crate) fn begin_cycle(&mut self) {
        self.cycle = match self.cycle {
            u16::MAX => 1,
            cycle => cycle + 1,
        };
    }

    /// Numbers of messages that the log knows are not given again.
    pub(crate) fn saw_message(&mut self, number: u64) {
        self.next_message = self.next_message.max(number % MESSAGES + 1);
    }

    /// The log has the message under this number.
    pub(crate) fn knows(&self, number: u64, message: &Message) {
        let here = u64::from(self.me) << 16 | u64::from(self.cycle);
        message.set_mark((here << 40) | (number % MESSAGES));
    }

    pub(crate) fn seed(&mut self, seed: u64) {
        self.byte(SEED);
        self.bytes.extend_from_slice(&seed.to_le_bytes());
    }

    pub(crate) fn complete(&mut self) {
        self.byte(COMPLETE);
    }

    pub(crate) fn session(&mut self, record: &SessionRecord<'_>) {
        self.byte(SESSION);
        self.number(record.key);
        let flags = [
            record.fresh,
            record.whole,
            record.bridge,
            record.user.is_some(),
            record.away_since.is_some(),
            record.will.is_some(),
            record.interrupted,
        ];
        let flags = flags.iter().enumerate();
        self.byte(flags.fold(0, |byte, (at, flag)| byte | u8::from(*flag) << at));
        self.byte(record.version as u8);
        self.number(record.expiry);
        self.string(record.client_id);
        if let Some(user) = record.user {
            self.string(user);
        }
        if let Some(at) = record.away_since {
            self.long(at.0);
        }
        if let Some(will) = &record.will {
            self.number(will.delay);
            self.long(will.expiry.map_or(0, |seconds| u64::from(seconds) + 1));
            self.body(&will.message);
        }
    }

    pub(crate) fn ended(&mut self, key: SessionId) {
        self.of(ENDED, key);
    }

    pub(crate) fn away(&mut self, key: SessionId, at: Time, expiry: u32, will: WillIs) {
        self.of(AWAY, key);
        self.long(at.0);
        self.number(expiry);
        self.byte(will as u8);
    }

    pub(crate) fn will_done(&mut self, key: SessionId) {
        self.of(WILL_DONE, key);
    }

    pub(crate) fn subscribed(
        &mut self,
        key: SessionId,
        filter: &str,
        options: u8,
        identifier: u32,
    ) {
        self.of(SUBSCRIBED, key);
        self.byte(options);
        self.number(identifier);
        self.string(filter);
    }

    pub(crate) fn unsubscribed(&mut self, key: SessionId, filter: &str) {
        self.of(UNSUBSCRIBED, key);
        self.string(filter);
    }

    pub(crate) fn queued(&mut self, key: SessionId, owed: &Owed) {
        let message = self.message(&owed.message);
        self.of(QUEUED, key);
        self.owed(message, owed);
    }

    pub(crate) fn in_flight(&mut self, key: SessionId, packet_id: NonZeroU16, owed: &Owed) {
        let message = self.message(&owed.message);
        self.of_packet(IN_FLIGHT, key, packet_id);
        self.owed(message, owed);
    }

    pub(crate) fn sent(&mut self, key: SessionId, packet_id: NonZeroU16) {
        self.of_packet(SENT, key, packet_id);
    }

    pub(crate) fn skipped(&mut self, key: SessionId) {
        self.of(SKIPPED, key);
    }

    pub(crate) fn settled(&mut self, key: SessionId, packet_id: NonZeroU16) {
        self.of_packet(SETTLED, key, packet_id);
    }

    pub(crate) fn released(&mut self, key: SessionId, packet_id: NonZeroU16) {
        self.of_packet(RELEASED, key, packet_id);
    }

    pub(crate) fn received(&mut self, key: SessionId, packet_id: NonZeroU16) {
        self.of_packet(RECEIVED, key, packet_id);
    }

    pub(crate) fn completed(&mut self, key: SessionId, packet_id: NonZeroU16) {
        self.of_packet(COMPLETED, key, packet_id);
    }

    pub(crate) fn retained(&mut self, message: &Arc<Message>) {
        let number = self.message(message);
        self.byte(RETAINED);
        self.long(number);
    }

    pub(crate) fn unretained(&mut self, topic: &str) {
        self.byte(UNRETAINED);
        self.string(topic);
    }

    /// The message's number; its body is written if the log may not have it.
    pub(crate) fn message(&mut self, message: &Arc<Message>) -> u64 {
        // Who wrote it (8 bits), when (16), under which number (40): loops share messages, each
        // has its own log, and they mark them without asking each other.
        let here = u64::from(self.me) << 16 | u64::from(self.cycle);
        let mark = message.mark();
        if mark >> 40 == here && mark != 0 && !is_own(message.topic()) {
            return mark % MESSAGES;
        }
        // A body that this log has under a number keeps it: it is one message, not two.
        let mine = mark >> 56 == u64::from(self.me) && mark != 0 && !is_own(message.topic());
        let number = match mine {
            true => mark % MESSAGES,
            false => {
                let number = self.next_message;
                self.next_message = (number + 1) % MESSAGES;
                number
            }
        };
        message.set_mark(here << 40 | number);
        self.byte(MESSAGE);
        self.long(number);
        self.body(&message.outgoing());
        number
    }

    fn body(&mut self, out: &Outgoing<'_>) {
        self.byte(
            out.qos as u8 | u8::from(out.retain) << 2 | u8::from(out.expires_at.is_some()) << 3,
        );
        if let Some(at) = out.expires_at {
            self.long(at.0);
        }
        self.bytes.extend_from_slice(&out.origin.to_le_bytes());
        self.long(out.stamp);
        self.string(out.topic);
        self.blob(out.properties);
        self.blob(out.payload);
    }

    fn owed(&mut self, message: u64, owed: &Owed) {
        self.long(message);
        let identifiers = owed.identifiers.as_slice();
        self.byte(
            owed.qos as u8 | u8::from(owed.retain) << 2 | u8::from(!identifiers.is_empty()) << 3,
        );
        if !identifiers.is_empty() {
            self.number(identifiers.len() as u32);
            for id in identifiers {
                self.number(*id);
            }
        }
    }

    fn of(&mut self, kind: u8, key: SessionId) {
        self.byte(kind);
        self.number(key.0);
    }

    fn of_packet(&mut self, kind: u8, key: SessionId, packet_id: NonZeroU16) {
        self.of(kind, key);
        self.bytes.extend_from_slice(&packet_id.get().to_le_bytes());
    }

    fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    fn number(&mut self, number: u32) {
        self.long(u64::from(number));
    }

    fn long(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    fn string(&mut self, text: &str) {
        self.blob(text.as_bytes());
    }

    fn blob(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u32);
        self.bytes.extend_from_slice(bytes);
    }
}

impl<'a> WillRecord<'a> {
    pub(crate) fn of(will: &'a Will) -> Self {
        Self {
            message: will.message.outgoing(),
            delay: will.delay,
            expiry: will.expiry,
        }
    }
}
