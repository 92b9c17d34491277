//! What one side of a TCP conversation sent, put together from segments that come twice, late or not
//! at all.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use crate::limits::{CONVERSATION_BYTES, SEGMENTS};

/// Where in the capture something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp {
    /// Counted from 1.
    pub(super) packet: u32,
    /// Since 1970.
    pub(super) at: Duration,
}

impl Stamp {
    /// How long after `earlier`; nothing when the clock was set back in between.
    pub(super) fn after(self, earlier: Stamp) -> Duration {
        self.at.saturating_sub(earlier.at)
    }
}

/// A segment with bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) length: u32,
    /// How often it was seen.
    pub(super) times: u32,
    pub(super) last: Stamp,
}

/// The bytes of one direction, at most [`CONVERSATION_BYTES`].
#[derive(Debug, Default)]
pub(super) struct Stream {
    bytes: Vec<u8>,
    /// What came before what precedes it, by its place.
    later: BTreeMap<u32, Vec<u8>>,
    waiting: usize,
    /// Up to which byte each packet brought the stream.
    marks: Vec<(u32, Stamp)>,
    /// Segments by their place.
    sent: BTreeMap<u32, Sent>,
    /// The end of the furthest segment.
    reach: u32,
    pub(super) first: Option<Stamp>,
    pub(super) last: Option<Stamp>,
}

impl Stream {
    /// Takes a segment whose first byte is number `at` of the stream. `budget` is what may still be
    /// kept of all streams.
    pub(super) fn feed(&mut self, at: u32, data: &[u8], stamp: Stamp, budget: &mut usize) {
        // What lies two gigabytes ahead lies behind: TCP counts in a circle.
        if data.is_empty() || at > u32::MAX / 2 {
            return;
        }
        self.first.get_or_insert(stamp);
        self.last = Some(stamp);
        let length = data.len() as u32;
        self.reach = self.reach.max(at.saturating_add(length));
        let room = self.sent.len() < SEGMENTS;
        match self.sent.get_mut(&at) {
            Some(sent) => {
                sent.times += 1;
                sent.length = sent.length.max(length);
                sent.last = stamp;
            }
            None if room => {
                let sent = Sent {
                    length,
                    times: 1,
                    last: stamp,
                };
                self.sent.insert(at, sent);
            }
            None => {}
        }
        let at = at as usize;
        if at >= CONVERSATION_BYTES {
            return;
        }
        let data = &data[..data.len().min(CONVERSATION_BYTES - at)];
        match self.bytes.len().checked_sub(at) {
            Some(known) => self.append(data.get(known..).unwrap_or_default(), stamp, budget),
            None => self.keep(at as u32, data, budget),
        }
        while let Some(entry) = self.later.first_entry() {
            let at = *entry.key() as usize;
            let Some(known) = self.bytes.len().checked_sub(at) else {
                break;
            };
            let data = entry.remove();
            self.waiting -= data.len();
            *budget += data.len();
            self.append(data.get(known..).unwrap_or_default(), stamp, budget);
        }
    }

    fn append(&mut self, data: &[u8], stamp: Stamp, budget: &mut usize) {
        let taken = data.len().min(*budget);
        if taken > 0 {
            *budget -= taken;
            self.bytes.extend_from_slice(&data[..taken]);
            self.marks.push((self.bytes.len() as u32, stamp));
        }
    }

    fn keep(&mut self, at: u32, data: &[u8], budget: &mut usize) {
        let shorter = self
            .later
            .get(&at)
            .is_none_or(|kept| kept.len() < data.len());
        let room = self.waiting + data.len() <= CONVERSATION_BYTES && data.len() <= *budget;
        if shorter && room {
            *budget -= data.len();
            self.waiting += data.len();
            if let Some(before) = self.later.insert(at, data.to_vec()) {
                self.waiting -= before.len();
                *budget += before.len();
            }
        }
    }

    /// The bytes up to the first that is missing.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether nothing was sent.
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Whether bytes are missing before others that came.
    pub(super) fn gap(&self) -> Option<(u32, u32)> {
        let next = self.later.keys().next()?;
        Some((self.bytes.len() as u32, *next))
    }

    /// The packet that brought the byte at this place.
    pub(super) fn stamp_at(&self, at: usize) -> Option<Stamp> {
        let mark = self.marks.iter().find(|(end, _)| *end as usize > at);
        mark.map(|(_, stamp)| *stamp).or(self.last)
    }

    /// All segments with their places.
    pub(super) fn sent(&self) -> impl Iterator<Item = (u32, Sent)> {
        self.sent.iter().map(|(at, sent)| (*at, *sent))
    }
}
