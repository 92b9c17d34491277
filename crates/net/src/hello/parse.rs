//! From the body of a ClientHello to its value.

use super::error::Part;
use super::{ClientHello, GREASE, HelloError};
use crate::limits::{HELLO_NAME, HELLO_PROTOCOLS};

/// Reads the body of a ClientHello (RFC 8446 §4.1.2), behind its type and length.
pub(super) fn body(bytes: &[u8]) -> Result<ClientHello, HelloError> {
    let mut hello = ClientHello::default();
    let mut body = Cursor::new(bytes, Part::Start);
    hello.legacy_version = body.u16()?;
    body.take(32)?;
    hello.session_id = !body.short_list()?.is_empty();
    body.at = Part::Suites;
    let suites = body.long_list()?;
    hello.suites = numbers(suites, Part::Suites)?;
    body.at = Part::Compressions;
    body.short_list()?;
    body.at = Part::Extensions;
    // SSL 3.0 and the oldest TLS stacks end here.
    if !body.is_empty() {
        let list = body.long_list()?;
        body.end()?;
        extensions(list, &mut hello)?;
    }
    hello.secure_renegotiation |= hello.suites.contains(&RENEGOTIATION_SIGNAL);
    Ok(hello)
}

fn extensions(list: &[u8], hello: &mut ClientHello) -> Result<(), HelloError> {
    let mut list = Cursor::new(list, Part::Extensions);
    while !list.is_empty() {
        let number = list.u16()?;
        let content = list.long_list()?;
        // Two GREASE extensions have different numbers until they are made one here.
        let number = ungrease(number);
        if number != GREASE && hello.extensions.contains(&number) {
            return Err(HelloError::Twice { extension: number });
        }
        hello.extensions.push(number);
        extension(number, content, hello)?;
    }
    Ok(())
}

fn extension(number: u16, content: &[u8], hello: &mut ClientHello) -> Result<(), HelloError> {
    let at = Part::Extension(number);
    let mut inside = Cursor::new(content, at);
    match number {
        0 => hello.server_name = server_name(&mut inside)?,
        1 => {
            let code = inside.u8()?;
            hello.max_fragment = (1..=4).contains(&code).then(|| 256 << code);
        }
        10 => hello.groups = numbers(inside.long_list()?, at)?,
        11 => hello.point_formats = inside.short_list()?.to_vec(),
        13 => hello.signatures = numbers(inside.long_list()?, at)?,
        16 => {
            let mut protocols = Cursor::new(inside.long_list()?, at);
            while !protocols.is_empty() {
                let name = protocols.short_list()?;
                if hello.alpn.len() < HELLO_PROTOCOLS {
                    hello.alpn.push(text(name));
                }
            }
        }
        22 => hello.encrypt_then_mac = true,
        23 => hello.extended_master_secret = true,
        28 => hello.record_size_limit = Some(inside.u16()?).filter(|limit| *limit >= 64),
        35 => {
            hello.ticket = Some(!content.is_empty());
            return Ok(());
        }
        41 => {
            hello.psk = true;
            return Ok(());
        }
        43 => hello.versions = numbers(inside.short_list()?, at)?,
        50 => hello.certificate_signatures = numbers(inside.long_list()?, at)?,
        51 => {
            let mut shares = Cursor::new(inside.long_list()?, at);
            while !shares.is_empty() {
                hello.key_shares.push(ungrease(shares.u16()?));
                shares.long_list()?;
            }
        }
        0xff01 => {
            hello.secure_renegotiation = true;
            inside.short_list()?;
        }
        _ => return Ok(()),
    }
    inside.end()
}

/// The first host name of the list; other kinds of names were never defined. An empty extension
/// is what servers answer, and some clients send it too.
fn server_name(inside: &mut Cursor<'_>) -> Result<Option<String>, HelloError> {
    if inside.is_empty() {
        return Ok(None);
    }
    let mut names = Cursor::new(inside.long_list()?, inside.at);
    let mut found = None;
    while !names.is_empty() {
        let kind = names.u8()?;
        let name = names.long_list()?;
        if kind == 0 && !name.is_empty() && found.is_none() {
            found = Some(text(&name[..name.len().min(HELLO_NAME)]));
        }
    }
    Ok(found)
}

/// Text that can be shown and logged: it comes from a stranger.
fn text(bytes: &[u8]) -> String {
    let shown = |c: char| match c.is_control() {
        true => char::REPLACEMENT_CHARACTER,
        false => c,
    };
    String::from_utf8_lossy(bytes).chars().map(shown).collect()
}

fn numbers(bytes: &[u8], at: Part) -> Result<Vec<u16>, HelloError> {
    let (pairs, []) = bytes.as_chunks::<2>() else {
        return Err(HelloError::Malformed { at });
    };
    let number = |pair: &[u8; 2]| ungrease(u16::from_be_bytes(*pair));
    Ok(pairs.iter().map(number).collect())
}

/// The sixteen values 0x0a0a, 0x1a1a … 0xfafa of RFC 8701 as one.
fn ungrease(number: u16) -> u16 {
    let [high, low] = number.to_be_bytes();
    match high == low && low & 0x0f == 0x0a {
        true => GREASE,
        false => number,
    }
}

/// Bytes that are left to read, and what to name when they end too early.
struct Cursor<'a> {
    rest: &'a [u8],
    at: Part,
}

impl<'a> Cursor<'a> {
    fn new(rest: &'a [u8], at: Part) -> Cursor<'a> {
        Cursor { rest, at }
    }

    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn fault(&self) -> HelloError {
        HelloError::Malformed { at: self.at }
    }

    fn end(&self) -> Result<(), HelloError> {
        match self.is_empty() {
            true => Ok(()),
            false => Err(self.fault()),
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], HelloError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| self.fault())?;
        self.rest = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, HelloError> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Result<u16, HelloError> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// Bytes behind a length of one byte.
    fn short_list(&mut self) -> Result<&'a [u8], HelloError> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// Bytes behind a length of two bytes.
    fn long_list(&mut self) -> Result<&'a [u8], HelloError> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }
}

/// TLS_EMPTY_RENEGOTIATION_INFO_SCSV (RFC 5746 §3.3).
const RENEGOTIATION_SIGNAL: u16 = 0x00ff;
