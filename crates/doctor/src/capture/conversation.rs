//! TCP conversations, followed from the first SYN to the end.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::packet::Segment;
use super::stream::{Stamp, Stream};
use crate::limits::CONVERSATIONS;

/// One TCP conversation.
#[derive(Debug)]
pub(super) struct Conversation {
    /// Who opened it.
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
    /// The first SYN, and how many there were.
    pub(super) asked: Option<Stamp>,
    pub(super) asked_times: u32,
    /// The SYN with the ACK of the server.
    pub(super) accepted: Option<Stamp>,
    /// What the client did next, data or not.
    pub(super) confirmed: bool,
    pub(super) up: Side,
    pub(super) down: Side,
    pub(super) first: Stamp,
    pub(super) last: Stamp,
}

/// What one end of a conversation did.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) stream: Stream,
    /// The sequence number of its first byte.
    base: Option<u32>,
    pub(super) fin: Option<Stamp>,
    pub(super) rst: Option<Stamp>,
    /// How many bytes of the other end it has acknowledged.
    pub(super) acknowledged: u32,
}

impl Side {
    /// When it ended the conversation on its part.
    pub(super) fn ended(&self) -> Option<Stamp> {
        match (self.fin, self.rst) {
            (Some(fin), Some(rst)) => Some(fin.min(rst)),
            (fin, rst) => fin.or(rst),
        }
    }
}

/// Who ended a conversation, or how it stands at the end of the capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The client, after so long without a byte of the server.
    Client(Stamp, Duration),
    /// The server, orderly.
    Closed(Stamp),
    /// The server or something on the way, by a reset.
    Reset(Stamp),
    /// Nobody; nothing came for so long.
    Open(Duration),
}

impl Conversation {
    /// Who ended it. `until` is the end of the capture.
    pub(super) fn ending(&self, until: Duration) -> Ending {
        let server = self.down.ended();
        let client = self.up.ended();
        let waited_from = [self.accepted, self.up.stream.last, self.down.stream.last];
        let waited_from = waited_from
            .into_iter()
            .flatten()
            .max()
            .unwrap_or(self.first);
        match (client, server) {
            (Some(client), server) if server.is_none_or(|server| client < server) => {
                // The last thing that it was waiting for begins with the later one of both streams.
                let before = [self.accepted, self.down.stream.last, self.up.stream.first];
                let before = before.into_iter().flatten().filter(|it| *it < client).max();
                Ending::Client(client, client.after(before.unwrap_or(self.first)))
            }
            (_, Some(server)) if self.down.rst == Some(server) => Ending::Reset(server),
            (_, Some(server)) => Ending::Closed(server),
            (_, None) => Ending::Open(until.saturating_sub(waited_from.at)),
        }
    }

    fn take(&mut self, segment: &Segment<'_>, stamp: Stamp, budget: &mut usize) {
        self.last = stamp;
        let of_client = segment.from == self.client;
        if of_client && segment.syn {
            self.asked.get_or_insert(stamp);
            self.asked_times += 1;
        } else if of_client && self.accepted.is_some() && !segment.rst {
            self.confirmed = true;
        } else if !of_client && segment.syn && segment.acknowledged.is_some() {
            self.accepted.get_or_insert(stamp);
        }
        let (side, other) = match of_client {
            true => (&mut self.up, &mut self.down),
            false => (&mut self.down, &mut self.up),
        };
        let start = match segment.syn {
            true => segment.sequence.wrapping_add(1),
            false => segment.sequence,
        };
        // A reset has a number of its own when it answers a SYN.
        if !segment.rst || side.base.is_some() {
            let base = *side.base.get_or_insert(start);
            let at = start.wrapping_sub(base);
            side.stream.feed(at, segment.data, stamp, budget);
        }
        if let (Some(acknowledged), Some(base)) = (segment.acknowledged, other.base) {
            let count = acknowledged.wrapping_sub(base);
            if count <= u32::MAX / 2 {
                side.acknowledged = side.acknowledged.max(count);
            }
        }
        if segment.fin {
            side.fin.get_or_insert(stamp);
        }
        if segment.rst {
            side.rst.get_or_insert(stamp);
        }
    }

    /// Whether this SYN begins another conversation between the same ports.
    fn is_over_for(&self, segment: &Segment<'_>) -> bool {
        let begins = segment.syn && segment.acknowledged.is_none();
        let side = match segment.from == self.client {
            true => &self.up,
            false => &self.down,
        };
        let again = side.base == Some(segment.sequence.wrapping_add(1));
        begins && !again
    }

    fn new(segment: &Segment<'_>, stamp: Stamp) -> Conversation {
        // Without a SYN the end with the lower port is taken for the server.
        let from_server = match (segment.syn, segment.acknowledged.is_some()) {
            (true, answers) => answers,
            (false, _) => segment.from.port() < segment.to.port(),
        };
        let (client, server) = match from_server {
            true => (segment.to, segment.from),
            false => (segment.from, segment.to),
        };
        Conversation {
            client,
            server,
            asked: None,
            asked_times: 0,
            accepted: None,
            confirmed: false,
            up: Side::default(),
            down: Side::default(),
            first: stamp,
            last: stamp,
        }
    }
}

/// All conversations of a capture, in the order of their first packets.
#[derive(Debug, Default)]
pub(super) struct Conversations {
    pub(super) all: Vec<Conversation>,
    current: BTreeMap<(SocketAddr, SocketAddr), usize>,
    /// Packets of conversations beyond the limit.
    pub(super) left_out: u32,
}

impl Conversations {
    /// Takes a segment to its conversation.
    pub(super) fn take(&mut self, segment: &Segment<'_>, stamp: Stamp, budget: &mut usize) {
        let key = (segment.from.min(segment.to), segment.from.max(segment.to));
        let known = self.current.get(&key).copied();
        let index = match known.filter(|index| !self.all[*index].is_over_for(segment)) {
            Some(index) => index,
            None if self.all.len() == CONVERSATIONS => {
                self.left_out += 1;
                return;
            }
            None => {
                self.all.push(Conversation::new(segment, stamp));
                self.current.insert(key, self.all.len() - 1);
                self.all.len() - 1
            }
        };
        self.all[index].take(segment, stamp, budget);
    }
}
