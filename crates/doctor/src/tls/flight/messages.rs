//! The handshake messages of a server, put together from its records.

use alloc::string::String;
use alloc::vec::Vec;

use crate::limits::{CERTIFICATE_BYTES, CHAIN_CERTIFICATES, FLIGHT_BYTES};
use crate::tls::names::{Exchange, exchange};
use crate::tls::wire::Cursor;

/// What the messages said so far.
#[derive(Debug, Default)]
pub(super) struct Messages {
    pending: Vec<u8>,
    pub(super) split: bool,
    pub(super) version: Option<u16>,
    pub(super) suite: Option<u16>,
    pub(super) group: Option<u16>,
    pub(super) signature: Option<u16>,
    pub(super) chain: Vec<Vec<u8>>,
    pub(super) client_certificate: bool,
    pub(super) alpn: Option<String>,
    pub(super) max_fragment: bool,
    pub(super) encrypted: bool,
    pub(super) whole: bool,
    pub(super) damaged: bool,
}

const TLS12: u16 = 0x0303;
const TLS13: u16 = 0x0304;

/// The random of a ServerHello that is a HelloRetryRequest (RFC 8446 §4.1.3).
const RETRY: [u8; 8] = [0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11];

impl Messages {
    /// Whether nothing that follows can be read.
    pub(super) fn is_over(&self) -> bool {
        self.whole || self.damaged
    }

    /// Takes the content of a handshake record.
    pub(super) fn record(&mut self, content: &[u8]) {
        // What is left of an earlier record belongs to the message that goes on here.
        self.split |= !self.pending.is_empty();
        self.pending.extend_from_slice(content);
        let pending = core::mem::take(&mut self.pending);
        let mut rest = Cursor(&pending);
        while !self.is_over() {
            let mut ahead = rest;
            let (Some(kind), Some(length)) = (ahead.u8(), ahead.u24()) else {
                break;
            };
            if length > FLIGHT_BYTES {
                self.damaged = true;
                break;
            }
            let Some(body) = ahead.take(length) else {
                break;
            };
            rest = ahead;
            if self.message(kind, body).is_none() {
                self.damaged = true;
            }
        }
        self.pending = rest.0.to_vec();
    }

    /// Reads a message. None: its lengths contradict each other.
    fn message(&mut self, kind: u8, body: &[u8]) -> Option<()> {
        let mut body = Cursor(body);
        match kind {
            2 => self.server_hello(&mut body)?,
            11 => self.certificates(&mut body)?,
            12 => self.key_exchange(&mut body)?,
            13 => self.client_certificate = true,
            14 => self.whole = true,
            // CertificateStatus, SupplementalData and whatever comes later.
            _ => {}
        }
        Some(())
    }

    fn server_hello(&mut self, body: &mut Cursor<'_>) -> Option<()> {
        let mut version = body.u16()?;
        let random = body.take(32)?;
        body.short()?;
        self.suite = Some(body.u16()?);
        body.u8()?;
        if !body.is_empty() {
            let mut extensions = Cursor(body.long()?);
            while !extensions.is_empty() {
                let kind = extensions.u16()?;
                let mut content = Cursor(extensions.long()?);
                match kind {
                    43 => version = content.u16()?,
                    // Group and key; in a request to try again the group alone.
                    51 => self.group = Some(content.u16()?),
                    1 => self.max_fragment = true,
                    16 => {
                        let name = Cursor(content.long()?).short()?;
                        let shown = String::from_utf8_lossy(name);
                        let shown = shown.chars().filter(|c| !c.is_control());
                        self.alpn = Some(shown.collect());
                    }
                    _ => {}
                }
            }
        }
        self.version = Some(version);
        if version >= TLS13 {
            self.encrypted = true;
            // The server waits for another ClientHello; nothing else is coming.
            self.whole = random.starts_with(&RETRY);
        }
        Some(())
    }

    fn certificates(&mut self, body: &mut Cursor<'_>) -> Option<()> {
        let mut list = Cursor(body.longer()?);
        while !list.is_empty() {
            let der = list.longer()?;
            if self.chain.len() < CHAIN_CERTIFICATES && der.len() <= CERTIFICATE_BYTES {
                self.chain.push(der.to_vec());
            }
        }
        Some(())
    }

    fn key_exchange(&mut self, body: &mut Cursor<'_>) -> Option<()> {
        let known = self.suite.and_then(exchange);
        match known {
            Some(Exchange::EcdheRsa | Exchange::EcdheEcdsa) => {
                // Explicit curves are long dead: 3 is a named one.
                if body.u8()? != 3 {
                    return Some(());
                }
                self.group = Some(body.u16()?);
                body.short()?;
            }
            Some(Exchange::Dhe) => {
                for _ in 0..3 {
                    body.long()?;
                }
            }
            _ => return Some(()),
        }
        if self.version == Some(TLS12) {
            self.signature = Some(body.u16()?);
        }
        Some(())
    }
}
