//! Packets of Opus as a file that players open: Ogg pages (RFC 3533) as RFC 7845 wants them for Opus.
//!
//! Nothing is coded anew: packets stand in the file as they came. It is made in memory, page after page, and whole only
//! when it was [finished](OggOpus::finish).

use std::time::Duration;

use crate::limits::{OGG_PAGE_MS, OGG_STEP, PACKET_BYTES, PACKET_MS};

/// A recording of one voice, in the making.
#[derive(Debug)]
pub struct OggOpus {
    serial: u32,
    /// Pages that are done.
    pages: Vec<u8>,
    /// How many.
    number: u32,
    /// The page that is being filled: lengths of segments, and what lies in them.
    table: Vec<u8>,
    body: Vec<u8>,
    /// What this page lasts, in samples at 48 kHz.
    page_samples: u64,
    /// What all lasts, in samples at 48 kHz: a file of Opus is counted in these, whatever it was made of.
    samples: u64,
}

impl OggOpus {
    /// An empty one. `serial` tells it apart from others in one file, should somebody put several into one; `rate` is
    /// what the sound was sampled at before it was coded, in Hz, and only a note.
    pub fn new(serial: u32, rate: u32) -> OggOpus {
        let mut made = OggOpus {
            serial,
            pages: Vec::new(),
            number: 0,
            table: Vec::new(),
            body: Vec::new(),
            page_samples: 0,
            samples: 0,
        };
        made.body.extend_from_slice(b"OpusHead\x01\x01");
        made.body.extend_from_slice(&PRE_SKIP.to_le_bytes());
        made.body.extend_from_slice(&rate.to_le_bytes());
        // As loud as it is, and one channel without a table of them.
        made.body.extend_from_slice(&[0, 0, 0]);
        made.segments(made.body.len());
        made.end_page(FIRST);
        made.body.extend_from_slice(b"OpusTags");
        made.body
            .extend_from_slice(&(VENDOR.len() as u32).to_le_bytes());
        made.body.extend_from_slice(VENDOR.as_bytes());
        // No comments: who spoke to whom stands nowhere in the file.
        made.body.extend_from_slice(&0_u32.to_le_bytes());
        made.segments(made.body.len());
        made.end_page(0);
        made
    }

    /// Appends a packet that plays for `lasts`. Says whether it did: one without a byte, longer than
    /// [`PACKET_BYTES`], or that plays longer than Opus allows is left out.
    pub fn push(&mut self, packet: &[u8], lasts: Duration) -> bool {
        if packet.is_empty()
            || packet.len() > PACKET_BYTES
            || lasts > Duration::from_millis(PACKET_MS as u64)
        {
            return false;
        }
        let is_long = self.page_samples >= OGG_PAGE_MS * SAMPLES_PER_MS;
        if is_long || self.table.len() + packet.len() / 255 + 1 > SEGMENTS {
            self.end_page(0);
        }
        self.body.extend_from_slice(packet);
        self.segments(packet.len());
        let samples = lasts.as_micros() as u64 * SAMPLES_PER_MS / 1000;
        self.page_samples += samples;
        self.samples += samples;
        true
    }

    /// Whether nothing could be heard in it.
    pub fn is_empty(&self) -> bool {
        self.samples <= u64::from(PRE_SKIP)
    }

    /// What it lasts.
    pub fn lasts(&self) -> Duration {
        Duration::from_micros(self.samples * 1000 / SAMPLES_PER_MS)
    }

    /// The size of the file if it was finished now, in bytes.
    pub fn bytes(&self) -> usize {
        self.pages.len() + HEAD + self.table.len() + self.body.len()
    }

    /// The file. Nothing can be heard in it if nothing was put in.
    pub fn finish(mut self) -> Vec<u8> {
        self.end_page(LAST);
        self.pages
    }

    /// Notes the length of a packet: segments of 255 bytes, and one that is shorter.
    fn segments(&mut self, length: usize) {
        self.table.extend(std::iter::repeat_n(255, length / 255));
        self.table.push((length % 255) as u8);
    }

    fn end_page(&mut self, flags: u8) {
        let size = HEAD + self.table.len() + self.body.len();
        if self.pages.capacity() - self.pages.len() < size {
            // In steps, and not twice as much each time: many may be in the making.
            self.pages.reserve_exact(size.max(OGG_STEP));
        }
        let start = self.pages.len();
        self.pages.extend_from_slice(b"OggS\0");
        self.pages.push(flags);
        self.pages.extend_from_slice(&self.samples.to_le_bytes());
        self.pages.extend_from_slice(&self.serial.to_le_bytes());
        self.pages.extend_from_slice(&self.number.to_le_bytes());
        self.pages.extend_from_slice(&[0; 4]);
        self.pages.push(self.table.len() as u8);
        self.pages.append(&mut self.table);
        self.pages.append(&mut self.body);
        let sum = check_sum(&self.pages[start..]);
        self.pages[start + SUM_AT..start + SUM_AT + 4].copy_from_slice(&sum.to_le_bytes());
        self.number += 1;
        self.page_samples = 0;
    }
}

/// The check sum of a page whose own field is zero (RFC 3533 section 6).
fn check_sum(page: &[u8]) -> u32 {
    page.iter().fold(0, |sum, byte| {
        (sum << 8) ^ SUMS[usize::from((sum >> 24) as u8 ^ byte)]
    })
}

/// Of each byte.
static SUMS: [u32; 256] = {
    let mut sums = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = (byte as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            sum = (sum << 1) ^ if sum >> 31 == 1 { 0x04c1_1db7 } else { 0 };
            bit += 1;
        }
        sums[byte] = sum;
        byte += 1;
    }
    sums
};

/// Samples at 48 kHz that a player leaves out at the beginning: 6.5 ms, what an encoder puts there until it is under way.
const PRE_SKIP: u16 = 312;
const SAMPLES_PER_MS: u64 = 48;
const VENDOR: &str = "safeport";

/// Bytes before the table of segments.
const HEAD: usize = 27;
/// Where the check sum stands.
const SUM_AT: usize = 22;
/// Segments of one page, at most.
const SEGMENTS: usize = 255;
const FIRST: u8 = 2;
const LAST: u8 = 4;

#[cfg(test)]
mod tests;
