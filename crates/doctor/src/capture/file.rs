//! The frames of a capture file: pcap in both byte orders and both precisions, and pcapng.

use alloc::vec::Vec;
use core::time::Duration;

use pcap_parser::pcapng::Block;
use pcap_parser::{
    LegacyPcapBlock, PcapBlockOwned, PcapHeader, PcapNGSlice, parse_pcap_frame,
    parse_pcap_frame_be, parse_pcap_frame_modified, parse_pcap_header,
};

use crate::limits::CAPTURE_PACKETS;

/// One frame as it was captured.
pub(super) struct Frame<'a> {
    /// Counted from 1.
    pub(super) number: u32,
    /// Since 1970, by the clock of the machine that captured.
    pub(super) at: Duration,
    /// What it begins with: a number of the registry of link types.
    pub(super) link: i32,
    pub(super) data: &'a [u8],
    /// Whether it was longer than what was kept of it.
    pub(super) cut: bool,
}

/// How the reading of a file came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// At its end.
    Whole,
    /// It is neither pcap nor pcapng.
    NoCapture,
    /// It breaks off or contradicts itself behind the last frame.
    Damaged,
    /// Too many frames.
    TooMany,
}

/// Hands out each frame in order.
pub(super) fn frames<'a>(bytes: &'a [u8], mut each: impl FnMut(Frame<'a>)) -> End {
    if let Ok((left, header)) = parse_pcap_header(bytes) {
        return legacy(&header, left, &mut each);
    }
    match PcapNGSlice::from_slice(bytes) {
        Ok(blocks) => next_generation(blocks, &mut each),
        Err(_) => End::NoCapture,
    }
}

fn legacy<'a>(header: &PcapHeader, mut left: &'a [u8], each: &mut impl FnMut(Frame<'a>)) -> End {
    let read = match (header.is_modified_format(), header.is_bigendian()) {
        (true, _) => parse_pcap_frame_modified,
        (false, true) => parse_pcap_frame_be,
        (false, false) => parse_pcap_frame,
    };
    let unit = match header.is_nanosecond_precision() {
        true => 1,
        false => 1000,
    };
    let mut number = 0;
    while !left.is_empty() {
        let Ok((rest, frame)) = read(left) else {
            return End::Damaged;
        };
        if number == CAPTURE_PACKETS {
            return End::TooMany;
        }
        let LegacyPcapBlock {
            ts_sec,
            ts_usec,
            origlen,
            data,
            ..
        } = frame;
        number += 1;
        each(Frame {
            number,
            at: Duration::from_secs(ts_sec.into())
                + Duration::from_nanos(u64::from(ts_usec) * unit),
            // The upper bits say whether a checksum follows each frame.
            link: header.network.0 & 0x0fff_ffff,
            data,
            cut: (origlen as usize) > data.len(),
        });
        left = rest;
    }
    End::Whole
}

/// An interface of a pcapng section.
struct Interface {
    link: i32,
    /// Ticks in a second.
    resolution: u64,
    offset: i64,
}

fn next_generation<'a>(blocks: PcapNGSlice<'a>, each: &mut impl FnMut(Frame<'a>)) -> End {
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut number = 0;
    let mut last = Duration::ZERO;
    for (count, block) in blocks.enumerate() {
        if number == CAPTURE_PACKETS || count / 4 > CAPTURE_PACKETS as usize {
            return End::TooMany;
        }
        let block = match block {
            Ok(PcapBlockOwned::NG(block)) => block,
            _ => return End::Damaged,
        };
        match block {
            Block::SectionHeader(_) => interfaces.clear(),
            Block::InterfaceDescription(it) => interfaces.push(Interface {
                link: it.linktype.0,
                resolution: it.ts_resolution().unwrap_or(1_000_000).max(1),
                offset: it.if_tsoffset,
            }),
            Block::EnhancedPacket(it) => {
                number += 1;
                let Some(interface) = interfaces.get(it.if_id as usize) else {
                    continue;
                };
                last = interface.time(u64::from(it.ts_high) << 32 | u64::from(it.ts_low));
                let kept = it.data.len().min(it.caplen as usize);
                each(Frame {
                    number,
                    at: last,
                    link: interface.link,
                    data: &it.data[..kept],
                    cut: (it.origlen as usize) > kept,
                });
            }
            Block::SimplePacket(it) => {
                number += 1;
                let Some(interface) = interfaces.first() else {
                    continue;
                };
                let kept = it.data.len().min(it.origlen as usize);
                each(Frame {
                    number,
                    at: last,
                    link: interface.link,
                    data: &it.data[..kept],
                    cut: (it.origlen as usize) > kept,
                });
            }
            _ => {}
        }
    }
    End::Whole
}

impl Interface {
    fn time(&self, ticks: u64) -> Duration {
        let seconds = ticks / self.resolution;
        let part = u128::from(ticks % self.resolution) * 1_000_000_000;
        let nanos = part / u128::from(self.resolution);
        let seconds = seconds.saturating_add_signed(self.offset);
        Duration::new(seconds, u32::try_from(nanos).unwrap_or(0))
    }
}
