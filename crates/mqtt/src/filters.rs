//! The payloads of SUBSCRIBE and UNSUBSCRIBE: topic filters, read from checked bytes or built.

use alloc::vec::Vec;
use core::fmt;

use crate::error::{DecodeErrorKind as Kind, EncodeError, Fault};
use crate::read::Reader;
use crate::topic::{TopicFilter, check_filter};
use crate::wire::{QoS, Version};
use crate::write::put_binary;

/// What a client wants of one subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubscribeOptions {
    /// Highest QoS at which the client wants the messages.
    pub qos: QoS,
    /// Do not return the client's own messages. `false` before MQTT 5.
    pub no_local: bool,
    /// Keep the retain flag as published. `false` before MQTT 5.
    pub retain_as_published: bool,
    /// Whether retained messages are sent now. `SendAtSubscribe` before MQTT 5.
    pub retain_handling: RetainHandling,
}

/// Whether a SUBSCRIBE brings retained messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    /// Always.
    #[default]
    SendAtSubscribe = 0,
    /// Only if the subscription did not exist yet.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

impl SubscribeOptions {
    /// The options byte of MQTT 5 (section 3.8.3.1); before MQTT 5 the same byte holds the QoS.
    pub const fn to_u8(self) -> u8 {
        self.qos as u8
            | (self.no_local as u8) << 2
            | (self.retain_as_published as u8) << 3
            | (self.retain_handling as u8) << 4
    }

    /// Reads a byte that passed the decoder. Anything else gives `None`.
    pub const fn from_u8(byte: u8) -> Option<SubscribeOptions> {
        let retain_handling = match byte >> 4 {
            0 => RetainHandling::SendAtSubscribe,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return None,
        };
        match QoS::from_u8(byte & 3) {
            Some(qos) => Some(SubscribeOptions {
                qos,
                no_local: byte & 0b0100 != 0,
                retain_as_published: byte & 0b1000 != 0,
                retain_handling,
            }),
            None => None,
        }
    }
}

/// The filters of a SUBSCRIBE: checked bytes, read anew by each [`iter`](Self::iter).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SubscribeFilters<'a> {
    bytes: &'a [u8],
}

impl<'a> SubscribeFilters<'a> {
    /// Checks the payload of a SUBSCRIBE.
    pub(crate) fn checked(bytes: &'a [u8], version: Version) -> Result<Self, Fault> {
        // [MQTT-3.8.3-2] (3.1.1: [MQTT-3.8.3-3])
        if bytes.is_empty() {
            return Err(Kind::NoTopicFilters.into());
        }
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let filter = check_filter(reader.string_unchecked()?)?;
            let options = reader.u8()?;
            let reserved = match version {
                Version::V5 => 0b1100_0000,
                _ => 0b1111_1100,
            };
            // [MQTT-3.8.3-5] (3.1.1: [MQTT-3-8.3-4])
            if options & reserved != 0 {
                return Err(Kind::SubscribeReservedBits.found(options));
            }
            if options & 0b11 == 0b11 {
                return Err(Kind::SubscribeQosThree.found(options));
            }
            let Some(parsed) = SubscribeOptions::from_u8(options) else {
                return Err(Kind::RetainHandlingThree.found(options));
            };
            // [MQTT-3.8.3-4]
            if parsed.no_local && filter.share_group().is_some() {
                return Err(Kind::NoLocalOnShared.into());
            }
        }
        Ok(SubscribeFilters { bytes })
    }

    /// The bytes as they stand in the packet.
    pub(crate) const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The topic filters and their options, in the order of the packet.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, SubscribeOptions)> + Clone + use<'a> {
        let mut reader = Reader::new(self.bytes);
        core::iter::from_fn(move || {
            let filter = reader.string().ok()?;
            Some((filter, SubscribeOptions::from_u8(reader.u8().ok()?)?))
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none; never so in a decoded packet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl fmt::Debug for SubscribeFilters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Builds the filters of a SUBSCRIBE. Reusable: [`clear`](Self::clear) keeps the memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscribeBuf {
    bytes: Vec<u8>,
}

impl SubscribeBuf {
    /// No filters, no memory.
    pub const fn new() -> SubscribeBuf {
        SubscribeBuf { bytes: Vec::new() }
    }

    /// Removes all filters.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Appends a filter; refuses what is none, and no local on a shared one [MQTT-3.8.3-4].
    pub fn push(&mut self, filter: &str, options: SubscribeOptions) -> Result<(), EncodeError> {
        let filter = TopicFilter::new(filter)?;
        if options.no_local && filter.share_group().is_some() {
            return Err(Kind::NoLocalOnShared.into());
        }
        put_binary(&mut self.bytes, filter.as_str().as_bytes());
        self.bytes.push(options.to_u8());
        Ok(())
    }

    /// The filters, for a [`Subscribe`](crate::Subscribe).
    pub fn as_filters(&self) -> SubscribeFilters<'_> {
        SubscribeFilters { bytes: &self.bytes }
    }
}

/// The filters of an UNSUBSCRIBE: checked bytes, read anew by each [`iter`](Self::iter).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UnsubscribeFilters<'a> {
    bytes: &'a [u8],
}

impl<'a> UnsubscribeFilters<'a> {
    /// Checks the payload of an UNSUBSCRIBE.
    pub(crate) fn checked(bytes: &'a [u8]) -> Result<Self, Fault> {
        // [MQTT-3.10.3-2]
        if bytes.is_empty() {
            return Err(Kind::NoTopicFilters.into());
        }
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            check_filter(reader.string_unchecked()?)?;
        }
        Ok(UnsubscribeFilters { bytes })
    }

    /// The bytes as they stand in the packet.
    pub(crate) const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The topic filters, in the order of the packet.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        let mut reader = Reader::new(self.bytes);
        core::iter::from_fn(move || reader.string().ok())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none; never so in a decoded packet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl fmt::Debug for UnsubscribeFilters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Builds the filters of an UNSUBSCRIBE. Reusable: [`clear`](Self::clear) keeps the memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnsubscribeBuf {
    bytes: Vec<u8>,
}

impl UnsubscribeBuf {
    /// No filters, no memory.
    pub const fn new() -> UnsubscribeBuf {
        UnsubscribeBuf { bytes: Vec::new() }
    }

    /// Removes all filters.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Appends a filter; refuses what is none.
    pub fn push(&mut self, filter: &str) -> Result<(), EncodeError> {
        let filter = TopicFilter::new(filter)?;
        put_binary(&mut self.bytes, filter.as_str().as_bytes());
        Ok(())
    }

    /// The filters, for an [`Unsubscribe`](crate::Unsubscribe).
    pub fn as_filters(&self) -> UnsubscribeFilters<'_> {
        UnsubscribeFilters { bytes: &self.bytes }
    }
}
