//! A ClientHello as it was seen on the wire: who sent it, and what it can do.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::offer::{Offer, Shape};
use super::wire::Cursor;
use crate::profile::{Profile, Sni};

/// What a client offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello {
    /// TLS versions, the highest first; below TLS 1.3 only the highest one.
    pub versions: Vec<u16>,
    /// Cipher suites in order.
    pub suites: Vec<u16>,
    /// Groups in order.
    pub groups: Vec<u16>,
    /// Signature algorithms in order.
    pub signatures: Vec<u16>,
    /// The server's name, as it was sent.
    pub name: Option<String>,
    /// Protocols of ALPN.
    pub alpn: Vec<String>,
    /// The longest plaintext of a record that is asked for, in bytes.
    pub max_fragment: Option<u16>,
}

impl ClientHello {
    /// Reads the ClientHello at the start of what a client sent, over several records if need be. None
    /// for what is none, and for one that is not whole.
    pub fn read(bytes: &[u8]) -> Option<ClientHello> {
        let mut message = Vec::new();
        for (kind, content) in records(bytes) {
            if kind != 22 {
                break;
            }
            message.extend_from_slice(content);
            let [1, high, middle, low, ..] = message[..] else {
                if message.len() < 4 {
                    continue;
                }
                return None;
            };
            let length = u32::from_be_bytes([0, high, middle, low]) as usize;
            if let Some(body) = message.get(4..4 + length) {
                return ClientHello::body(body);
            }
        }
        None
    }

    fn body(body: &[u8]) -> Option<ClientHello> {
        let mut body = Cursor(body);
        let legacy = body.u16()?;
        body.take(32)?;
        body.short()?;
        let suites = numbers(body.long()?);
        body.short()?;
        let mut hello = ClientHello {
            versions: alloc::vec![legacy],
            suites,
            groups: Vec::new(),
            signatures: Vec::new(),
            name: None,
            alpn: Vec::new(),
            max_fragment: None,
        };
        let mut extensions = Cursor(body.long().unwrap_or_default());
        while let (Some(kind), Some(content)) = (extensions.u16(), extensions.long()) {
            hello.extension(kind, Cursor(content));
        }
        Some(hello)
    }

    fn extension(&mut self, kind: u16, mut content: Cursor<'_>) -> Option<()> {
        match kind {
            0 => {
                let mut list = Cursor(content.long()?);
                list.u8()?;
                let name = String::from_utf8_lossy(list.long()?).to_string();
                self.name = (!name.is_empty()).then_some(name);
            }
            1 => self.max_fragment = Some(256_u16 << content.u8()?.clamp(1, 4)),
            10 => self.groups = numbers(content.long()?),
            13 => self.signatures = numbers(content.long()?),
            16 => {
                let mut list = Cursor(content.long()?);
                while let Some(name) = list.short() {
                    self.alpn.push(String::from_utf8_lossy(name).to_string());
                }
            }
            43 => self.versions = numbers(content.short()?),
            _ => {}
        }
        Some(())
    }

    /// The profile that sends such a ClientHello. Where several do, the record size and the name tell
    /// them apart, and else the one with the narrowest limits is taken.
    pub fn profile(&self) -> Option<&'static Profile> {
        let fits = |profile: &&'static Profile| {
            profile.suites == self.suites && profile.groups == self.groups
        };
        let all: Vec<&'static Profile> = Profile::ALL.iter().filter(fits).collect();
        let same_size = all
            .iter()
            .find(|profile| profile.max_fragment == self.max_fragment);
        same_size.or(all.first()).copied()
    }

    /// The same as something to compare answers by: in the form of the device, if it is one's.
    pub fn offer(&self) -> Offer {
        if let Some(profile) = self.profile() {
            return Offer::of(profile);
        }
        Offer {
            versions: self.versions.clone(),
            suites: self.suites.clone(),
            groups: self.groups.clone(),
            signatures: self.signatures.clone(),
            sni: match self.name {
                Some(_) => Sni::Names,
                None => Sni::Never,
            },
            alpn: self.alpn.clone(),
            max_fragment: self.max_fragment,
            shape: Shape::Own,
        }
    }

    /// The highest version.
    pub fn highest(&self) -> u16 {
        // Values made up to keep servers tolerant (RFC 8701) are no versions.
        let real = self.versions.iter().filter(|version| **version >> 8 == 3);
        real.copied().max().unwrap_or(0x0303)
    }
}

/// The whole records at the start of what one side sent: their types and contents. It ends where
/// something else than a record of TLS comes.
pub fn records(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut left = Cursor(bytes);
    core::iter::from_fn(move || {
        let kind = left.u8().filter(|kind| (20..=24).contains(kind))?;
        let version = left.u16()?;
        if version >> 8 != 3 {
            return None;
        }
        left.long().map(|content| (kind, content))
    })
}

fn numbers(bytes: &[u8]) -> Vec<u16> {
    let pairs = bytes.chunks_exact(2);
    pairs
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Host;

    #[test]
    fn the_profile_is_told_from_the_client_hello_that_it_sends() {
        let host = Host::of("hub.example.org").unwrap();
        for profile in Profile::ALL {
            let offer = Offer::of(profile);
            let shares: Vec<(u16, Vec<u8>)> = offer
                .shares()
                .iter()
                .map(|group| (*group, alloc::vec![7; 32]))
                .collect();
            let bytes = offer.bytes(&host, [9; 32], &shares);
            let hello = ClientHello::read(&bytes).unwrap();
            assert_eq!(hello.suites, offer.suites);
            assert_eq!(hello.max_fragment, offer.max_fragment);
            assert_eq!(hello.highest(), offer.highest());
            assert_eq!(hello.name.is_some(), offer.names(&host));
            let told = hello.profile().unwrap();
            assert!(Offer::of(told).suites == offer.suites, "{}", profile.name);
            for end in 0..bytes.len() {
                assert_eq!(ClientHello::read(&bytes[..end]), None);
            }
        }
    }

    #[test]
    fn a_client_hello_cut_over_records_is_put_together() {
        let host = Host::of("hub.example.org").unwrap();
        let whole = Offer::wide().bytes(&host, [1; 32], &[]);
        let mut cut = Vec::new();
        for piece in whole[5..].chunks(40) {
            cut.extend([22, 3, 1, 0, piece.len() as u8]);
            cut.extend(piece);
        }
        assert_eq!(ClientHello::read(&cut), ClientHello::read(&whole));
        assert!(ClientHello::read(&cut).is_some());
    }
}
