//! Reads what [`Records`](super::Records) has written.

use alloc::vec::Vec;
use core::num::NonZeroU16;
use safeport_mqtt::{QoS, Version};

use super::{
    AWAY, BadRecord, COMPLETE, COMPLETED, ENDED, IN_FLIGHT, MESSAGE, OwedRecord, QUEUED, RECEIVED,
    RELEASED, RETAINED, Record, SEED, SENT, SESSION, SETTLED, SKIPPED, SUBSCRIBED, SessionRecord,
    UNRETAINED, UNSUBSCRIBED, WILL_DONE, WillIs, WillRecord,
};
use crate::message::Outgoing;
use crate::session::Identifiers;
use crate::time::Time;

/// Reads the records of one group.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    /// The next record, `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Record<'a>>, BadRecord> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let start = self.at;
        let kind = self.byte()?;
        let record = match kind {
            SEED => Record::Seed(self.eight()?),
            SESSION => Record::Session(self.session()?),
            ENDED => Record::Ended(self.number()?),
            AWAY => Record::Away {
                key: self.number()?,
                at: Time(self.long()?),
                expiry: self.number()?,
                will: match self.byte()? {
                    0 => WillIs::Gone,
                    1 => WillIs::Due,
                    _ => WillIs::Waiting,
                },
            },
            WILL_DONE => Record::WillDone(self.number()?),
            SUBSCRIBED => Record::Subscribed {
                key: self.number()?,
                options: self.byte()?,
                identifier: self.number()?,
                filter: self.string()?,
            },
            UNSUBSCRIBED => Record::Unsubscribed {
                key: self.number()?,
                filter: self.string()?,
            },
            MESSAGE => Record::Message(self.long()?, self.body()?),
            QUEUED => Record::Queued {
                key: self.number()?,
                owed: self.owed()?,
            },
            IN_FLIGHT => Record::InFlight {
                key: self.number()?,
                packet_id: self.packet_id()?,
                owed: self.owed()?,
            },
            SENT => Record::Sent {
                key: self.number()?,
                packet_id: self.packet_id()?,
            },
            SKIPPED => Record::Skipped(self.number()?),
            SETTLED => Record::Settled {
                key: self.number()?,
                packet_id: self.packet_id()?,
            },
            RELEASED => Record::Released {
                key: self.number()?,
                packet_id: self.packet_id()?,
            },
            RECEIVED => Record::Received {
                key: self.number()?,
                packet_id: self.packet_id()?,
            },
            COMPLETED => Record::Completed {
                key: self.number()?,
                packet_id: self.packet_id()?,
            },
            RETAINED => Record::Retained(self.long()?),
            UNRETAINED => Record::Unretained(self.string()?),
            COMPLETE => Record::Complete,
            _ => {
                self.at = start;
                return Err(self.bad("a record of an unknown kind"));
            }
        };
        Ok(Some(record))
    }

    fn session(&mut self) -> Result<SessionRecord<'a>, BadRecord> {
        let key = self.number()?;
        let flags = self.byte()?;
        let flag = |at: u8| flags >> at & 1 != 0;
        let version = match self.byte()? {
            v if v == Version::V31 as u8 => Version::V31,
            v if v == Version::V311 as u8 => Version::V311,
            v if v == Version::V5 as u8 => Version::V5,
            _ => return Err(self.bad("a protocol version that does not exist")),
        };
        let expiry = self.number()?;
        let client_id = self.string()?;
        let user = if flag(3) { Some(self.string()?) } else { None };
        let away_since = if flag(4) {
            Some(Time(self.long()?))
        } else {
            None
        };
        let will = if flag(5) { Some(self.will()?) } else { None };
        Ok(SessionRecord {
            key,
            fresh: flag(0),
            whole: flag(1),
            bridge: flag(2),
            version,
            client_id,
            user,
            expiry,
            away_since,
            will,
            interrupted: flag(6),
        })
    }

    fn will(&mut self) -> Result<WillRecord<'a>, BadRecord> {
        let delay = self.number()?;
        let expiry = self.long()?.checked_sub(1);
        let message = self.body()?;
        Ok(WillRecord {
            message,
            delay,
            expiry: expiry.map(|seconds| seconds.min(u64::from(u32::MAX)) as u32),
        })
    }

    fn body(&mut self) -> Result<Outgoing<'a>, BadRecord> {
        let flags = self.byte()?;
        let qos = self.qos(flags)?;
        let expires_at = if flags & 8 != 0 {
            Some(Time(self.long()?))
        } else {
            None
        };
        let origin = self.eight()?;
        let stamp = self.long()?;
        let topic = self.string()?;
        if topic.len() > usize::from(u16::MAX) {
            return Err(self.bad("a topic longer than 65,535 bytes"));
        }
        Ok(Outgoing {
            topic,
            properties: self.blob()?,
            payload: self.blob()?,
            qos,
            retain: flags & 4 != 0,
            expires_at,
            origin,
            stamp,
        })
    }

    fn owed(&mut self) -> Result<OwedRecord, BadRecord> {
        let message = self.long()?;
        let flags = self.byte()?;
        let qos = self.qos(flags)?;
        let mut identifiers = Vec::new();
        if flags & 8 != 0 {
            for _ in 0..self.number()? {
                identifiers.push(self.number()?);
            }
        }
        Ok(OwedRecord {
            message,
            qos,
            retain: flags & 4 != 0,
            identifiers: Identifiers::collect(identifiers.into_iter()),
        })
    }

    fn qos(&self, flags: u8) -> Result<QoS, BadRecord> {
        match flags & 3 {
            0 => Ok(QoS::AtMostOnce),
            1 => Ok(QoS::AtLeastOnce),
            2 => Ok(QoS::ExactlyOnce),
            _ => Err(self.bad("a QoS that does not exist")),
        }
    }

    fn packet_id(&mut self) -> Result<NonZeroU16, BadRecord> {
        let bytes = self.take(2)?;
        NonZeroU16::new(u16::from_le_bytes([bytes[0], bytes[1]]))
            .ok_or_else(|| self.bad("a packet identifier of 0"))
    }

    fn byte(&mut self) -> Result<u8, BadRecord> {
        Ok(self.take(1)?[0])
    }

    fn eight(&mut self) -> Result<u64, BadRecord> {
        let bytes = self.take(8)?;
        Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
    }

    fn number(&mut self) -> Result<u32, BadRecord> {
        let long = self.long()?;
        u32::try_from(long).map_err(|_| self.bad("a number that is too large"))
    }

    fn long(&mut self) -> Result<u64, BadRecord> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.bad("a number without an end"))
    }

    fn string(&mut self) -> Result<&'a str, BadRecord> {
        let bytes = self.blob()?;
        core::str::from_utf8(bytes).map_err(|_| self.bad("a text that is not UTF-8"))
    }

    fn blob(&mut self) -> Result<&'a [u8], BadRecord> {
        let len = self.number()? as usize;
        self.take(len)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], BadRecord> {
        let end = self
            .at
            .checked_add(len)
            .filter(|end| *end <= self.bytes.len());
        let Some(end) = end else {
            return Err(self.bad("a record that is cut off"));
        };
        let bytes = &self.bytes[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    fn bad(&self, what: &'static str) -> BadRecord {
        BadRecord {
            offset: self.at,
            what,
        }
    }
}
