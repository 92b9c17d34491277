//! Questions to name servers and their replies (RFC 1035), as far as addresses go: one name server
//! may know another answer than the next, and the system's resolver tells neither which it asked
//! nor why there is none.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::limits::{DNS_ADDRESSES, DNS_REPLY};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// IPv4.
    A,
    /// IPv6.
    Aaaa,
}

impl Kind {
    const fn number(self) -> u16 {
        match self {
            Kind::A => 1,
            Kind::Aaaa => 28,
        }
    }
}

/// One question as it goes onto the wire; recursion is wanted. None for a name that DNS cannot
/// carry: more than 253 bytes, or a label that is empty or longer than 63.
pub fn question(name: &str, kind: Kind, id: u16) -> Option<Vec<u8>> {
    build(name, kind, id, 0x0100, 1)
}

/// The same for mDNS (RFC 6762): no recursion, and the answer is wanted by unicast.
pub fn multicast_question(name: &str, kind: Kind) -> Option<Vec<u8>> {
    build(name, kind, 0, 0, 0x8001)
}

fn build(name: &str, kind: Kind, id: u16, flags: u16, class: u16) -> Option<Vec<u8>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() || name.len() > 253 {
        return None;
    }
    let mut packet = Vec::with_capacity(name.len() + 18);
    for word in [id, flags, 1, 0, 0, 0] {
        packet.extend(word.to_be_bytes());
    }
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 {
            return None;
        }
        packet.push(label.len() as u8);
        packet.extend(label.as_bytes());
    }
    packet.push(0);
    packet.extend(kind.number().to_be_bytes());
    packet.extend(class.to_be_bytes());
    Some(packet)
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Of the question.
    pub id: u16,
    /// How it came out.
    pub code: Code,
    /// The addresses in it, aliases followed by the server.
    pub addresses: Vec<IpAddr>,
    /// It did not fit; the rest would come over TCP.
    pub truncated: bool,
}

/// How a question came out (RCODE).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// 0: there is such a name, with or without addresses.
    Known,
    /// 3: there is no such name.
    NoSuchName,
    /// 2: the server could not find out.
    ServerFailed,
    /// 5: the server does not answer such questions, or not to us.
    Refused,
    /// Any other.
    Other(u8),
}

impl Code {
    /// As programs print it.
    pub fn word(self) -> String {
        match self {
            Code::Known => "NOERROR".to_string(),
            Code::NoSuchName => "NXDOMAIN".to_string(),
            Code::ServerFailed => "SERVFAIL".to_string(),
            Code::Refused => "REFUSED".to_string(),
            Code::Other(code) => alloc::format!("RCODE {code}"),
        }
    }
}

impl Reply {
    /// Reads a reply. None for what is none, or contradicts itself.
    pub fn read(packet: &[u8]) -> Option<Reply> {
        if packet.len() > DNS_REPLY {
            return None;
        }
        let word = |at: usize| {
            packet
                .get(at..at + 2)
                .map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
        };
        let flags = word(2)?;
        if flags & 0x8000 == 0 {
            return None;
        }
        let (questions, answers) = (word(4)?, word(6)?);
        word(10)?;
        let mut at = 12;
        for _ in 0..questions {
            at = behind_name(packet, at)? + 4;
        }
        let mut addresses = Vec::new();
        for _ in 0..answers {
            at = behind_name(packet, at)?;
            let (kind, length) = (word(at)?, usize::from(word(at + 8)?));
            let data = packet.get(at + 10..at + 10 + length)?;
            at += 10 + length;
            let ip = match kind {
                1 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?)),
                28 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?)),
                _ => continue,
            };
            if addresses.len() < DNS_ADDRESSES && !addresses.contains(&ip) {
                addresses.push(ip);
            }
        }
        Some(Reply {
            id: word(0)?,
            code: match flags & 0xF {
                0 => Code::Known,
                2 => Code::ServerFailed,
                3 => Code::NoSuchName,
                5 => Code::Refused,
                other => Code::Other(other as u8),
            },
            addresses,
            truncated: flags & 0x0200 != 0,
        })
    }
}

/// Behind the name at `at`: labels up to an empty one or a pointer back (RFC 1035 §4.1.4), which
/// ends it. What the name is does not matter here.
fn behind_name(packet: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = *packet.get(at)?;
        match length {
            0 => return Some(at + 1),
            1..=63 => at += 1 + usize::from(length),
            0xC0..=0xFF => return Some(at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    /// A reply to `hub.example` with these records behind it.
    fn reply(flags: u16, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut packet = question("hub.example", Kind::A, 7).unwrap();
        packet[2..4].copy_from_slice(&flags.to_be_bytes());
        packet[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
        for (kind, data) in records {
            packet.extend([0xC0, 12]);
            packet.extend(kind.to_be_bytes());
            packet.extend([0, 1, 0, 0, 0, 60]);
            packet.extend((data.len() as u16).to_be_bytes());
            packet.extend(*data);
        }
        packet
    }

    #[test]
    fn addresses_of_both_families_are_read_behind_an_alias() {
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        let packet = reply(
            0x8180,
            &[
                (5, &[1, b'x', 0]),
                (1, &[192, 168, 1, 20]),
                (28, &v6.octets()),
            ],
        );
        let read = Reply::read(&packet).unwrap();
        assert_eq!((read.id, read.code), (7, Code::Known));
        let expected: Vec<IpAddr> = vec![Ipv4Addr::new(192, 168, 1, 20).into(), v6.into()];
        assert_eq!(read.addresses, expected);
        assert!(!read.truncated);
    }

    #[test]
    fn no_such_name_is_told_from_a_server_that_failed_and_from_a_name_without_addresses() {
        let code = |flags| Reply::read(&reply(flags, &[])).unwrap().code;
        assert_eq!(code(0x8183), Code::NoSuchName);
        assert_eq!(code(0x8182), Code::ServerFailed);
        assert_eq!(code(0x8185), Code::Refused);
        assert_eq!(code(0x8180), Code::Known);
    }

    #[test]
    fn a_question_is_no_reply_and_names_that_dns_cannot_carry_are_not_asked() {
        let packet = question("hub.example.", Kind::Aaaa, 1).unwrap();
        assert_eq!(Reply::read(&packet), None);
        assert_eq!(&packet[12..17], b"\x03hub\x07");
        for name in ["", ".", "a..b", &"x".repeat(64), &"a.".repeat(130)] {
            assert_eq!(question(name, Kind::A, 1), None, "{name}");
        }
    }

    #[test]
    fn a_reply_that_ends_early_is_none() {
        let whole = reply(0x8180, &[(1, &[192, 168, 1, 20])]);
        for end in 0..whole.len() {
            assert_eq!(Reply::read(&whole[..end]), None, "{end}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(packet in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Some(reply) = Reply::read(&packet) {
                prop_assert!(reply.addresses.len() <= DNS_ADDRESSES);
            }
        }
    }
}
