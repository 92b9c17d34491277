//! Frames of some packets put into others, without a codec: what a provider sends in packets of
//! 20 ms goes to a device in packets of 60 ms, and what a client sends in 120 ms goes in two.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use super::{MAX_FRAMES, OpusError, OpusPacket, Toc};
use crate::limits::MAX_WAITING_FRAMES;

/// Puts frames into packets of a wanted length. Its buffers are kept, so that a stream costs no
/// memory after its first packets.
///
/// Frames are never changed: those of 40 ms stay alone where 60 are wanted, and a change of mode,
/// bandwidth or channels ends the packet that was begun.
#[derive(Debug)]
pub struct Repacketizer {
    wanted_micros: u32,
    max_packet: usize,
    /// Bytes of the frames that wait, from `start` on.
    bytes: Vec<u8>,
    start: usize,
    frames: VecDeque<(Toc, u16)>,
}

/// Frames at the front that go into one packet.
struct Run {
    toc: Toc,
    count: usize,
    bytes: usize,
    equal: bool,
    /// No other frame can join them.
    ended: bool,
}

impl Repacketizer {
    /// Packets that play for `wanted` (2.5 to 120 ms; 60 ms for devices) and are no longer than
    /// `max_packet` bytes, which ends a packet early.
    pub fn new(wanted: Duration, max_packet: usize) -> Repacketizer {
        let micros = u32::try_from(wanted.as_micros()).unwrap_or(u32::MAX);
        Repacketizer {
            wanted_micros: micros.clamp(2_500, super::MAX_MICROS),
            max_packet,
            bytes: Vec::new(),
            start: 0,
            frames: VecDeque::new(),
        }
    }

    /// Takes the frames of a packet. Then take packets with [`take`](Repacketizer::take) until
    /// there is none.
    ///
    /// # Errors
    /// It is no Opus packet, a frame of it is too long, or more than [`MAX_WAITING_FRAMES`] would
    /// wait. Nothing of it was taken then.
    pub fn push(&mut self, packet: &[u8]) -> Result<(), OpusError> {
        let packet = OpusPacket::parse(packet)?;
        if self.frames.len() + packet.frame_count() > MAX_WAITING_FRAMES {
            return Err(OpusError::Full);
        }
        // One byte before a frame that is alone.
        let limit = self.max_packet.saturating_sub(1);
        if let Some(frame) = packet.frames().find(|frame| frame.len() > limit) {
            return Err(OpusError::FrameDoesNotFit {
                bytes: frame.len(),
                limit,
            });
        }
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        for frame in packet.frames() {
            self.bytes.extend_from_slice(frame);
            self.frames.push_back((packet.toc(), frame.len() as u16));
        }
        Ok(())
    }

    /// Writes the next packet that no frame can join any more into `out`, whose content it
    /// replaces. False if there is none.
    pub fn take(&mut self, out: &mut Vec<u8>) -> bool {
        self.take_run(out, false)
    }

    /// The same at the end of a sentence: a packet may be shorter than wanted.
    pub fn flush(&mut self, out: &mut Vec<u8>) -> bool {
        self.take_run(out, true)
    }

    /// Forgets the frames that wait: their turn was given up.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
        self.frames.clear();
    }

    /// How long the frames that wait play.
    pub fn waiting(&self) -> Duration {
        let micros = self.frames.iter().map(|(toc, _)| toc.frame_micros());
        Duration::from_micros(micros.map(u64::from).sum())
    }

    fn take_run(&mut self, out: &mut Vec<u8>, at_the_end: bool) -> bool {
        out.clear();
        let Some(run) = self.run().filter(|run| run.ended || at_the_end) else {
            return false;
        };
        self.write(&run, out);
        self.frames.drain(..run.count);
        self.start += run.bytes;
        true
    }

    fn run(&self) -> Option<Run> {
        let &(toc, first) = self.frames.front()?;
        let most = (self.wanted_micros / toc.frame_micros()).max(1) as usize;
        let mut run = Run {
            toc,
            count: 1,
            bytes: usize::from(first),
            equal: true,
            ended: most == 1,
        };
        // What code 3 adds: the number of frames, and the length of each but the last.
        let mut lengths = length_size(first);
        for &(next, size) in self.frames.iter().skip(1).take(most - 1) {
            let bytes = run.bytes + usize::from(size);
            if !next.agrees_with(toc) || 2 + lengths + bytes > self.max_packet {
                run.ended = true;
                return Some(run);
            }
            run.equal &= size == first;
            run.count += 1;
            run.bytes = bytes;
            lengths += length_size(size);
        }
        run.ended = run.count == most;
        Some(run)
    }

    /// The shortest of the layouts that hold these frames.
    fn write(&self, run: &Run, out: &mut Vec<u8>) {
        debug_assert!(run.count <= MAX_FRAMES);
        let sizes = self.frames.iter().take(run.count).map(|(_, size)| *size);
        match (run.count, run.equal) {
            (1, _) => out.push(run.toc.with_code(0)),
            (2, true) => out.push(run.toc.with_code(1)),
            (2, false) => {
                out.push(run.toc.with_code(2));
                sizes.take(1).for_each(|size| push_length(size, out));
            }
            (count, true) => out.extend([run.toc.with_code(3), count as u8]),
            (count, false) => {
                out.extend([run.toc.with_code(3), 0x80 | count as u8]);
                sizes
                    .take(count - 1)
                    .for_each(|size| push_length(size, out));
            }
        }
        out.extend_from_slice(&self.bytes[self.start..self.start + run.bytes]);
    }
}

fn length_size(length: u16) -> usize {
    if length < 252 { 1 } else { 2 }
}

/// [RFC 6716 section 3.2.1]
fn push_length(length: u16, out: &mut Vec<u8>) {
    if length < 252 {
        out.push(length as u8);
    } else {
        let first = 252 + (length & 3);
        out.extend([first as u8, ((length - first) >> 2) as u8]);
    }
}
