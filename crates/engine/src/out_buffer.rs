//! What waits to be written to one connection: bytes, and payloads shared with other receivers.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use safeport_broker::{Frame, Message};

use crate::pool::Pool;

/// Small packets are copied into one buffer; large payloads stay where they are and are written
/// from there. Empty, it owns no memory.
#[derive(Default)]
pub(crate) struct OutBuffer {
    bytes: Vec<u8>,
    /// bytes already written
    at: usize,
    shared: Option<Box<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// after `bytes[..split]` comes the payload
    splices: VecDeque<(usize, Arc<Message>)>,
    /// bytes of the first payload already written
    payload_at: usize,
    /// payload bytes not yet written
    left: usize,
}

impl OutBuffer {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.at + self.shared.as_ref().map_or(0, |shared| shared.left)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends an encoded packet. A buffer from `pool` is used where there was none.
    pub(crate) fn push(&mut self, frame: &Frame, wire: &[u8], pool: &mut Pool) {
        if self.bytes.capacity() == 0 {
            self.bytes = pool.take();
        }
        frame.write_to(wire, &mut self.bytes);
    }

    /// Appends bytes that are not the broker's.
    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends a packet whose payload is shared.
    pub(crate) fn push_shared(
        &mut self,
        head: &Frame,
        wire: &[u8],
        message: Arc<Message>,
        pool: &mut Pool,
    ) {
        self.push(head, wire, pool);
        let shared = self.shared.get_or_insert_default();
        shared.left += message.payload().len();
        shared.splices.push_back((self.bytes.len(), message));
    }

    /// What waits, if none of it is shared.
    pub(crate) fn unshared(&self) -> Option<&[u8]> {
        match self.shared {
            None => Some(&self.bytes[self.at..]),
            Some(_) => None,
        }
    }

    /// Fills `slices` with what comes next and returns how many were filled.
    pub(crate) fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut used = 0;
        let mut at = self.at;
        let mut payload_at = self.shared.as_ref().map_or(0, |shared| shared.payload_at);
        let splices = self.shared.iter().flat_map(|shared| &shared.splices);
        for (split, message) in splices {
            for part in [&self.bytes[at..*split], &message.payload()[payload_at..]] {
                if used == slices.len() {
                    return used;
                }
                if !part.is_empty() {
                    slices[used] = IoSlice::new(part);
                    used += 1;
                }
            }
            at = *split;
            payload_at = 0;
        }
        if at < self.bytes.len() && used < slices.len() {
            slices[used] = IoSlice::new(&self.bytes[at..]);
            used += 1;
        }
        used
    }

    /// Forgets the first `written` bytes of what [`Self::gather`] gave.
    pub(crate) fn advance(&mut self, mut written: usize) {
        if let Some(shared) = &mut self.shared {
            while let Some((split, message)) = shared.splices.front() {
                let before = split - self.at;
                if written < before {
                    break;
                }
                written -= before;
                self.at = *split;
                let left = message.payload().len() - shared.payload_at;
                if written < left {
                    shared.payload_at += written;
                    shared.left -= written;
                    return;
                }
                written -= left;
                shared.left -= left;
                shared.payload_at = 0;
                shared.splices.pop_front();
            }
            if shared.splices.is_empty() {
                self.shared = None;
            }
        }
        self.at += written;
        if self.shared.is_none() && self.at >= 64 << 10 && self.at * 2 >= self.bytes.len() {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
    }

    /// Gives the empty buffer back.
    pub(crate) fn release(&mut self, pool: &mut Pool) {
        debug_assert!(self.is_empty());
        self.at = 0;
        pool.give(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safeport_broker::{
        Admission, Broker, BrokerSetup, ConnectionId, Effect, Effects, Permissions, Publication,
        Time,
    };
    use safeport_mqtt::{
        Connect, Packet, Properties, QoS, RetainHandling, SubscribeBuf, SubscribeOptions, Version,
    };

    /// Effects of a broker that delivers these payloads to one subscriber.
    fn delivered(payloads: &[Vec<u8>]) -> Effects {
        let mut broker = Broker::new(BrokerSetup::default());
        let connect = Connect {
            version: Version::V311,
            clean_start: true,
            keep_alive: 0,
            client_id: "reader",
            will: None,
            username: None,
            password: None,
            properties: Properties::EMPTY,
            bridge: false,
        };
        let admission = Admission {
            permissions: Arc::new(Permissions::open()),
            max_packet: u32::MAX,
        };
        let id = broker
            .handle_connect(ConnectionId(0), &connect, &admission, Time(0))
            .expect("admitted");
        let mut filters = SubscribeBuf::new();
        filters
            .push(
                "t",
                SubscribeOptions {
                    qos: QoS::AtMostOnce,
                    no_local: false,
                    retain_as_published: false,
                    retain_handling: RetainHandling::SendAtSubscribe,
                },
            )
            .expect("a filter");
        let subscribe = Packet::Subscribe(safeport_mqtt::Subscribe {
            packet_id: 1.try_into().expect("not zero"),
            properties: Properties::EMPTY,
            filters: filters.as_filters(),
        });
        let _ = broker.handle_packet(id, ConnectionId(0), &subscribe, Time(0));
        let mut effects = Effects::default();
        broker.take_effects(&mut effects);
        effects.clear();
        for payload in payloads {
            broker.publish(&Publication::new("t", payload.clone()), Time(0));
        }
        broker.take_effects(&mut effects);
        effects
    }

    #[test]
    fn bytes_come_out_in_order_whatever_the_socket_takes_at_once() {
        let payloads: Vec<Vec<u8>> = [10usize, 5000, 2048, 1, 9000, 3]
            .iter()
            .enumerate()
            .map(|(i, len)| vec![i as u8; *len])
            .collect();
        for step in [1usize, 2, 3, 7, 100, 1000, 4096, 100_000] {
            let effects = delivered(&payloads);
            let mut pool = Pool::default();
            let mut out = OutBuffer::default();
            let mut expected = Vec::new();
            for effect in &effects.list {
                match effect {
                    Effect::Send { frame, .. } => {
                        frame.write_to(&effects.wire, &mut expected);
                        out.push(frame, &effects.wire, &mut pool);
                    }
                    Effect::SendShared { head, message, .. } => {
                        head.write_to(&effects.wire, &mut expected);
                        expected.extend_from_slice(message.payload());
                        out.push_shared(head, &effects.wire, message.clone(), &mut pool);
                    }
                    other => panic!("unexpected {other:?}"),
                }
            }
            assert_eq!(out.len(), expected.len());
            let mut got = Vec::new();
            while !out.is_empty() {
                let mut slices = [IoSlice::new(&[]); 4];
                let used = out.gather(&mut slices);
                let mut room = step;
                for slice in &slices[..used] {
                    let part = &slice[..slice.len().min(room)];
                    got.extend_from_slice(part);
                    room -= part.len();
                }
                out.advance(step - room);
            }
            assert!(got == expected, "with {step} bytes at once");
        }
    }
}
