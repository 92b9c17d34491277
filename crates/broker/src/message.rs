//! A message that somebody has to keep: queued, in flight, retained, or on its way to a peer.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use safeport_mqtt::QoS;

use crate::time::Time;

/// An application message with everything that travels on: topic, payload, and the
/// properties that the specification tells a server to forward unaltered.
#[derive(Debug)]
pub struct Message {
    /// topic, then forwarded properties (without message expiry), then payload
    data: Box<[u8]>,
    topic_len: u16,
    properties_len: u32,
    /// QoS the publisher used.
    pub qos: QoS,
    /// RETAIN as the publisher set it.
    pub retain: bool,
    /// When it stops being worth delivering [MQTT-3.3.2-5]; `None` = never.
    pub expires_at: Option<Time>,
    /// Fingerprint of the publisher's client identifier, 0 for the server itself; lets
    /// No Local hold for retained messages too [MQTT-3.8.3-3].
    pub(crate) origin: u64,
    /// Place among the retained messages of its topic: peers agree on the highest. 0 if it was
    /// never to be retained.
    pub(crate) stamp: u64,
    /// which log has it, and under which number; 0 = none
    mark: AtomicU64,
}

impl Message {
    pub(crate) fn new(out: &Outgoing<'_>) -> Self {
        let properties = out.properties;
        let mut data = Vec::with_capacity(out.topic.len() + properties.len() + out.payload.len());
        data.extend_from_slice(out.topic.as_bytes());
        data.extend_from_slice(properties);
        data.extend_from_slice(out.payload);
        Self {
            data: data.into_boxed_slice(),
            topic_len: out.topic.len() as u16,
            properties_len: properties.len() as u32,
            qos: out.qos,
            retain: out.retain,
            expires_at: out.expires_at,
            origin: out.origin,
            stamp: out.stamp,
            mark: AtomicU64::new(0),
        }
    }

    /// Topic name.
    pub fn topic(&self) -> &str {
        core::str::from_utf8(&self.data[..usize::from(self.topic_len)])
            .expect("topics are checked when they are decoded")
    }

    /// Application payload.
    pub fn payload(&self) -> &[u8] {
        &self.data[usize::from(self.topic_len) + self.properties_len as usize..]
    }

    /// Forwarded property bytes.
    pub(crate) fn properties(&self) -> &[u8] {
        let start = usize::from(self.topic_len);
        &self.data[start..start + self.properties_len as usize]
    }

    /// Bytes it counts against a queue's or the retained store's limit.
    pub fn weight(&self) -> usize {
        self.data.len()
    }

    /// Other threads may mark the message for logs of their own: what is read is some log's mark,
    /// and says whose.
    pub(crate) fn mark(&self) -> u64 {
        self.mark.load(Ordering::Relaxed)
    }

    pub(crate) fn set_mark(&self, mark: u64) {
        self.mark.store(mark, Ordering::Relaxed);
    }

    pub(crate) fn is_expired(&self, now: Time) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    pub(crate) fn outgoing(&self) -> Outgoing<'_> {
        Outgoing {
            topic: self.topic(),
            payload: self.payload(),
            properties: self.properties(),
            qos: self.qos,
            retain: self.retain,
            expires_at: self.expires_at,
            origin: self.origin,
            stamp: self.stamp,
        }
    }
}

/// A message on its way through the broker, still borrowed from wherever it came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    /// Only what is forwarded: no expiry, alias or subscription identifiers.
    pub(crate) properties: &'a [u8],
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) expires_at: Option<Time>,
    pub(crate) origin: u64,
    pub(crate) stamp: u64,
}

impl Outgoing<'_> {
    pub(crate) fn weight(&self) -> usize {
        self.topic.len() + self.properties.len() + self.payload.len()
    }
}

/// A message that the server itself publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Topic name: not empty, no wildcards.
    pub topic: alloc::string::String,
    /// Payload bytes.
    pub payload: Vec<u8>,
    /// QoS it is published with.
    pub qos: QoS,
    /// Whether it replaces the retained message of its topic (an empty payload removes it).
    pub retain: bool,
}

impl Publication {
    /// A QoS 0 message that is not retained.
    pub fn new(topic: impl Into<alloc::string::String>, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos: QoS::AtMostOnce,
            retain: false,
        }
    }

    pub(crate) fn outgoing(&self) -> Outgoing<'_> {
        Outgoing {
            topic: &self.topic,
            payload: &self.payload,
            properties: &[],
            qos: self.qos,
            retain: self.retain,
            expires_at: None,
            origin: 0,
            stamp: 0,
        }
    }
}

/// What to do about a receiver whose queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenFull {
    /// Nobody gets the message, and its publisher hears so: it can try again.
    Refuse,
    /// That receiver goes without, which is counted and told to the operator. For messages
    /// whose publisher cannot be asked to try again.
    Drop,
    /// A connected one gets it all the same, and the publisher is answered when there is room
    /// again; one that is away goes without, and the publisher hears so. For messages from a
    /// peer, others of whose receivers have it already.
    Tell,
}
