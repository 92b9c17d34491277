//! How many new devices one address may bring a minute.

use core::net::IpAddr;

use alloc::collections::BTreeMap;

use crate::limits;

/// Counts by address, begun anew each minute.
#[derive(Debug, Default)]
pub(super) struct Flood {
    minute: u64,
    counts: BTreeMap<Whence, u32>,
}

/// Where newcomers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Whence {
    /// IPv4 address, or the 64 bits of IPv6 that one home has.
    Address(u128),
    /// A message that somebody published: the address is the broker's to bound.
    Message,
    /// Addresses beyond those that are counted one by one.
    Others,
}

impl Flood {
    /// Counts one more, and says whether it is within `limit`.
    pub(super) fn admits(&mut self, peer: Option<IpAddr>, now: u64, limit: u32) -> bool {
        // A clock that is set back begins a new minute as well.
        if now / 60 != self.minute {
            self.minute = now / 60;
            self.counts.clear();
        }
        let whence = match peer.map(|ip| ip.to_canonical()) {
            Some(IpAddr::V4(ip)) => Whence::Address(ip.to_bits().into()),
            Some(IpAddr::V6(ip)) => Whence::Address(ip.to_bits() >> 64 << 64),
            None => Whence::Message,
        };
        let whence = if self.counts.len() >= limits::MAX_COUNTED_ADDRESSES
            && !self.counts.contains_key(&whence)
        {
            Whence::Others
        } else {
            whence
        };
        let limit = match whence {
            Whence::Address(_) => limit,
            Whence::Message | Whence::Others => limit.saturating_mul(MANY),
        };
        let count = self.counts.entry(whence).or_default();
        *count = count.saturating_add(1);
        *count <= limit
    }
}

/// What stands for many addresses may bring so many times as many.
const MANY: u32 = 64;
