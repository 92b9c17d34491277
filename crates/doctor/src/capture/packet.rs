//! A frame taken apart: who sends what to whom.

use core::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, TcpSlice, TransportSlice};

use super::file::Frame;

/// What a frame carries.
pub(super) enum Carried<'a> {
    Tcp(Segment<'a>),
    Udp {
        from: SocketAddr,
        to: SocketAddr,
        data: &'a [u8],
    },
    /// A router or the host itself says that there is no way: the packet that it is about.
    Unreachable {
        by: IpAddr,
        from: IpAddr,
        to: IpAddr,
        port: u16,
    },
    /// A piece of a larger packet.
    Fragment,
    /// Something else: ARP, multicast management and such.
    Other,
    /// A kind of link that is not read.
    UnknownLink,
}

/// A TCP segment.
pub(super) struct Segment<'a> {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) sequence: u32,
    pub(super) acknowledged: Option<u32>,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
    pub(super) data: &'a [u8],
}

/// Takes a frame apart.
pub(super) fn carried<'a>(frame: &Frame<'a>) -> Carried<'a> {
    let data = frame.data;
    let ether_type = |at: usize, header: usize| {
        let kind = data.get(at..at + 2)?;
        let kind = EtherType(u16::from_be_bytes([kind[0], kind[1]]));
        Some(LaxSlicedPacket::from_ether_type(kind, data.get(header..)?))
    };
    let packet = match frame.link {
        ETHERNET => LaxSlicedPacket::from_ethernet(data).ok(),
        COOKED => ether_type(14, 16),
        COOKED_2 => ether_type(0, 20),
        RAW | RAW_BSD | RAW_OPENBSD | IPV4 | IPV6 => LaxSlicedPacket::from_ip(data).ok(),
        // Four bytes say which family follows, which its first bits say as well.
        NULL | LOOP => data
            .get(4..)
            .and_then(|data| LaxSlicedPacket::from_ip(data).ok()),
        _ => return Carried::UnknownLink,
    };
    packet.map_or(Carried::Other, |packet| of_packet(&packet))
}

fn of_packet<'a>(packet: &LaxSlicedPacket<'a>) -> Carried<'a> {
    let (from, to, fragment): (IpAddr, IpAddr, bool) = match &packet.net {
        Some(LaxNetSlice::Ipv4(net)) => (
            net.header().source_addr().into(),
            net.header().destination_addr().into(),
            net.is_payload_fragmented(),
        ),
        Some(LaxNetSlice::Ipv6(net)) => (
            net.header().source_addr().into(),
            net.header().destination_addr().into(),
            net.is_payload_fragmented(),
        ),
        _ => return Carried::Other,
    };
    if fragment {
        return Carried::Fragment;
    }
    match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => Carried::Tcp(segment(from, to, tcp)),
        Some(TransportSlice::Udp(udp)) => Carried::Udp {
            from: SocketAddr::new(from, udp.source_port()),
            to: SocketAddr::new(to, udp.destination_port()),
            data: udp.payload(),
        },
        Some(TransportSlice::Icmpv4(icmp)) if icmp.type_u8() == 3 => {
            unreachable(from, icmp.payload())
        }
        Some(TransportSlice::Icmpv6(icmp)) if icmp.type_u8() == 1 => {
            unreachable(from, icmp.payload())
        }
        _ => Carried::Other,
    }
}

fn segment<'a>(from: IpAddr, to: IpAddr, tcp: &TcpSlice<'a>) -> Segment<'a> {
    Segment {
        from: SocketAddr::new(from, tcp.source_port()),
        to: SocketAddr::new(to, tcp.destination_port()),
        sequence: tcp.sequence_number(),
        acknowledged: tcp.ack().then(|| tcp.acknowledgment_number()),
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        data: tcp.payload(),
    }
}

/// The start of the packet that could not be delivered stands in the message (RFC 792, RFC 4443).
fn unreachable(by: IpAddr, about: &[u8]) -> Carried<'static> {
    let Ok(about) = LaxSlicedPacket::from_ip(about) else {
        return Carried::Other;
    };
    let (from, to, payload): (IpAddr, IpAddr, &[u8]) = match &about.net {
        Some(LaxNetSlice::Ipv4(net)) => (
            net.header().source_addr().into(),
            net.header().destination_addr().into(),
            net.payload().payload,
        ),
        Some(LaxNetSlice::Ipv6(net)) => (
            net.header().source_addr().into(),
            net.header().destination_addr().into(),
            net.payload().payload,
        ),
        _ => return Carried::Other,
    };
    // TCP and UDP both have the destination's port there.
    let [_, _, high, low, ..] = *payload else {
        return Carried::Other;
    };
    Carried::Unreachable {
        by,
        from,
        to,
        port: u16::from_be_bytes([high, low]),
    }
}

/// What a kind of link that is not read is called.
pub(super) fn link_name(link: i32) -> &'static str {
    match link {
        105 | 119 | 127 | 163 => "802.11",
        192 => "PPI",
        195 | 215 | 230 => "802.15.4",
        187 | 201 | 251 | 272 => "Bluetooth",
        189 | 220 => "USB",
        _ => "?",
    }
}

const NULL: i32 = 0;
const ETHERNET: i32 = 1;
const RAW_BSD: i32 = 12;
const RAW_OPENBSD: i32 = 14;
const RAW: i32 = 101;
const LOOP: i32 = 108;
const COOKED: i32 = 113;
const IPV4: i32 = 228;
const IPV6: i32 = 229;
const COOKED_2: i32 = 276;
