//! Opus packets out of Ogg pages (RFC 3533, RFC 7845), from pieces of any length.
//!
//! A packet is given out as soon as its last byte is here. Check sums are not looked at: TCP and TLS have their own.

use thiserror::Error;

use crate::limits::PACKET_BYTES;

/// The reader of one stream of pages.
#[derive(Debug, Default)]
pub(super) struct OggReader {
    page: Page,
    /// Bytes of the head of a page that is not whole yet.
    head: Vec<u8>,
    /// The packet that is being read, as far as it is kept.
    packet: Vec<u8>,
    /// It goes on with the next segment.
    open: bool,
    /// Which logical stream is Opus, and what of it comes next.
    stream: Option<(u32, Expect)>,
    /// A page was read to its end.
    begun: bool,
}

/// The page whose body is being read.
#[derive(Debug, Default)]
struct Page {
    serial: u32,
    first: bool,
    /// Its segments, the next one at `next`, of which `left` bytes are missing.
    table: Vec<u8>,
    next: usize,
    left: usize,
    /// Begins with the rest of a packet whose beginning is not here.
    orphan: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Tags,
    Sound,
}

/// Why bytes are no Ogg that can be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum OggError {
    /// It is something else, or goes wrong somewhere.
    #[error("this is no Ogg, or a damaged one; it has {0:?} where a page begins")]
    NotOgg(String),
    /// Nothing of it is Opus.
    #[error("this Ogg has no Opus in it")]
    NotOpus,
    /// More channels than two.
    #[error("this Opus has {0} channels; one or two are needed")]
    Channels(u8),
    /// A packet is longer than [`PACKET_BYTES`].
    #[error("this Opus has a packet of more than {PACKET_BYTES} bytes")]
    TooLong,
    /// It ended in the middle of a page.
    #[error("this Ogg ends in the middle")]
    Cut,
}

impl OggReader {
    /// Before the first byte.
    pub(super) fn new() -> OggReader {
        OggReader::default()
    }

    /// Takes the next bytes and calls `hand` for each packet of sound that they complete.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        mut hand: impl FnMut(&[u8]),
    ) -> Result<(), OggError> {
        let mut rest = bytes;
        loop {
            if self.page.is_read() {
                if rest.is_empty() {
                    return Ok(());
                }
                rest = self.page_head(rest)?;
            } else if self.page.left == 0 {
                self.end_segment(&mut hand)?;
            } else if rest.is_empty() {
                return Ok(());
            } else {
                rest = self.segment(rest)?;
            }
        }
    }

    /// Says whether what ended here was whole.
    pub(super) fn finish(&self) -> Result<(), OggError> {
        let is_whole = self.page.is_read() && self.head.is_empty() && !self.open;
        match (self.stream, is_whole) {
            (_, false) => Err(OggError::Cut),
            (None, true) if self.begun => Err(OggError::NotOpus),
            (None, true) => Err(OggError::Cut),
            (Some(_), true) => Ok(()),
        }
    }

    /// Reads as much of the head of a page as there is; gives back what is left.
    fn page_head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], OggError> {
        let known = self.head.len();
        let wanted = match self.head.get(26) {
            Some(segments) => 27 + usize::from(*segments),
            None => 27,
        };
        let (more, rest) = bytes.split_at(bytes.len().min(wanted - known));
        self.head.extend_from_slice(more);
        let magic = self.head.len().min(4);
        let version = self.head.get(4).copied().unwrap_or(0);
        if self.head[..magic] != b"OggS"[..magic] || version != 0 {
            let shown = &self.head[..self.head.len().min(16)];
            return Err(OggError::NotOgg(String::from_utf8_lossy(shown).into()));
        }
        if self.head.len() < wanted || (wanted == 27 && self.head[26] > 0) {
            return Ok(rest);
        }
        let head = std::mem::take(&mut self.head);
        self.begin_page(&head);
        Ok(rest)
    }

    fn begin_page(&mut self, head: &[u8]) {
        let goes_on = head[5] & 1 != 0;
        let serial = u32::from_le_bytes([head[14], head[15], head[16], head[17]]);
        self.page = Page {
            serial,
            first: head[5] & 2 != 0,
            table: head[27..].to_vec(),
            next: 0,
            left: 0,
            orphan: goes_on && !self.open,
        };
        self.begun = true;
        if self.open && !goes_on && self.is_ours() {
            // The rest of it does not come.
            self.packet.clear();
            self.open = false;
        }
        self.page.begin_segment();
    }

    /// Whether the page may have something of the Opus stream.
    fn is_ours(&self) -> bool {
        let ours = self
            .stream
            .is_some_and(|(serial, _)| serial == self.page.serial);
        ours || self.page.first
    }

    fn segment<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], OggError> {
        let (part, rest) = bytes.split_at(bytes.len().min(self.page.left));
        self.page.left -= part.len();
        if self.is_ours() && !self.page.orphan {
            let is_sound = matches!(self.stream, Some((_, Expect::Sound))) && !self.page.first;
            if is_sound && self.packet.len() + part.len() > PACKET_BYTES {
                return Err(OggError::TooLong);
            }
            // Of a packet that tells something, its beginning is enough: pictures of albums are in there, too.
            let room = PACKET_BYTES - self.packet.len();
            self.packet.extend_from_slice(&part[..part.len().min(room)]);
        }
        Ok(rest)
    }

    fn end_segment(&mut self, hand: &mut impl FnMut(&[u8])) -> Result<(), OggError> {
        let full = self.page.table[self.page.next] == 255;
        self.page.next += 1;
        self.page.begin_segment();
        if !self.is_ours() {
            return Ok(());
        }
        if full {
            // A page may end here; then the packet goes on in the next.
            self.open = !self.page.orphan;
            return Ok(());
        }
        self.open = false;
        if std::mem::take(&mut self.page.orphan) {
            return Ok(());
        }
        let packet = std::mem::take(&mut self.packet);
        self.end_packet(&packet, hand)
    }

    fn end_packet(&mut self, packet: &[u8], hand: &mut impl FnMut(&[u8])) -> Result<(), OggError> {
        if self.page.first {
            // Streams of other kinds may begin beside ours. Behind its end another one may follow.
            let Some(head) = packet.strip_prefix(b"OpusHead") else {
                return Ok(());
            };
            if let Some(channels) = head.get(1).filter(|channels| !(1..=2).contains(*channels)) {
                return Err(OggError::Channels(*channels));
            }
            self.stream = Some((self.page.serial, Expect::Tags));
            return Ok(());
        }
        match &mut self.stream {
            Some((_, expect @ Expect::Tags)) => *expect = Expect::Sound,
            Some((_, Expect::Sound)) if !packet.is_empty() => hand(packet),
            _ => {}
        }
        Ok(())
    }
}

impl Page {
    fn is_read(&self) -> bool {
        self.next == self.table.len()
    }

    fn begin_segment(&mut self) {
        self.left = self
            .table
            .get(self.next)
            .map_or(0, |length| usize::from(*length));
    }
}

#[cfg(test)]
mod tests;
