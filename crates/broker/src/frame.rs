//! Encoding of PUBLISH towards receivers: once per protocol version, QoS and flags, then
//! shared.

use core::num::NonZeroU16;
use safeport_mqtt::{Packet, QoS, Version, put_variable_integer, variable_integer_len};

use crate::effect::{Effects, Frame};
use crate::message::Outgoing;
use crate::time::Time;

/// How one receiver wants the message.
pub(crate) struct Form<'a> {
    pub(crate) v5: bool,
    pub(crate) qos: QoS,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    pub(crate) identifiers: &'a [u32],
    pub(crate) alias: Alias,
}

/// Lengths in bytes.
pub(crate) struct Sizes {
    properties: usize,
    body: usize,
    /// the whole packet
    pub(crate) packet: usize,
}

impl Form<'_> {
    fn topic<'a>(&self, out: &Outgoing<'a>) -> &'a str {
        match self.alias {
            Alias::Use(_) => "",
            _ => out.topic,
        }
    }

    /// How long the packet will be.
    pub(crate) fn sizes(&self, out: &Outgoing<'_>) -> Sizes {
        let identifiers = self
            .identifiers
            .iter()
            .map(|id| 1 + variable_integer_len(*id));
        let properties = out.properties.len()
            + if out.expires_at.is_some() { 5 } else { 0 }
            + if self.alias == Alias::None { 0 } else { 3 }
            + identifiers.sum::<usize>();
        let body = 2
            + self.topic(out).len()
            + if self.qos == QoS::AtMostOnce { 0 } else { 2 }
            + if self.v5 {
                variable_integer_len(properties as u32) + properties
            } else {
                0
            }
            + out.payload.len();
        Sizes {
            properties,
            body,
            packet: 1 + variable_integer_len(body as u32) + body,
        }
    }
}

/// Topic alias on a packet to the client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alias {
    None,
    /// Topic and alias: from now on the alias is enough.
    Set(u16),
    /// Alias only.
    Use(u16),
}

/// Bytes of everything before the payload, and of the whole packet.
#[derive(Clone, Copy)]
pub(crate) struct Encoded {
    pub(crate) frame: Frame,
    /// whole packet with its payload, for Maximum Packet Size
    pub(crate) packet_len: usize,
}

impl Effects {
    /// Encodes a PUBLISH with (`inline`) or without its payload. The packet id is left as 0
    /// and patched for each receiver.
    pub(crate) fn encode_publish(
        &mut self,
        out: &Outgoing<'_>,
        form: &Form<'_>,
        now: Time,
        inline: bool,
    ) -> Encoded {
        let start = self.wire.len();
        let topic = form.topic(out);
        let with_id = form.qos != QoS::AtMostOnce;
        let expiry = out.expires_at.map(|at| now.seconds_until(at));
        let Sizes {
            properties: properties_len,
            body,
            packet: packet_len,
        } = form.sizes(out);
        let wire = &mut self.wire;
        wire.push(0x30 | u8::from(form.dup) << 3 | (form.qos as u8) << 1 | u8::from(form.retain));
        put_variable_integer(wire, body as u32);
        wire.extend_from_slice(&(topic.len() as u16).to_be_bytes());
        wire.extend_from_slice(topic.as_bytes());
        let packet_id_at = if with_id {
            let at = wire.len() - start;
            wire.extend_from_slice(&[0, 0]);
            at as u32
        } else {
            0
        };
        if form.v5 {
            put_variable_integer(wire, properties_len as u32);
            wire.extend_from_slice(out.properties);
            if let Some(expiry) = expiry {
                // What is left, not what the publisher set [MQTT-3.3.2-6].
                wire.push(0x02);
                wire.extend_from_slice(&expiry.to_be_bytes());
            }
            for id in form.identifiers {
                wire.push(0x0B);
                put_variable_integer(wire, *id);
            }
            if let Alias::Set(alias) | Alias::Use(alias) = form.alias {
                wire.push(0x23);
                wire.extend_from_slice(&alias.to_be_bytes());
            }
        }
        if inline {
            wire.extend_from_slice(out.payload);
        }
        let mut frame = self.frame_since(start);
        frame.packet_id_at = packet_id_at;
        Encoded { packet_len, frame }
    }

    /// Encodes any other packet. `None` if it is larger than `max_packet` bytes, or says what
    /// the version has no words for (a CONNACK of 3.x that refuses for a reason of version 5).
    pub(crate) fn encode(
        &mut self,
        packet: &Packet<'_>,
        version: Version,
        max_packet: u32,
    ) -> Option<Frame> {
        let start = self.wire.len();
        packet.encode(version, &mut self.wire).ok()?;
        if self.wire.len() - start > max_packet as usize {
            self.wire.truncate(start);
            return None;
        }
        Some(self.frame_since(start))
    }
}

impl Frame {
    pub(crate) fn for_packet_id(mut self, id: Option<NonZeroU16>) -> Frame {
        self.packet_id = id.map_or(0, NonZeroU16::get);
        self
    }
}
