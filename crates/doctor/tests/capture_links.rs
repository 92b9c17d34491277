//! The same refused connection as each kind of link and file shows it, and what routers and clocks say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use safeport_doctor::{Cause, Diagnosis, Texts, judge, read_capture};

const DEVICE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 7));
const BROKER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 2));
const DEVICE_6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 7));
const BROKER_6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));

const SYN: u8 = 2;
const RST_ACK: u8 = 0x14;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// An IP packet.
fn packet(from: IpAddr, to: IpAddr, protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            packet.extend([0x45, 0]);
            packet.extend((20 + body.len() as u16).to_be_bytes());
            packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend((body.len() as u16).to_be_bytes());
            packet.extend([protocol, 64]);
            packet.extend(from.octets());
            packet.extend(to.octets());
        }
        _ => unreachable!("both are of one family"),
    }
    packet.extend(body);
    packet
}

fn segment(from: u16, to: u16, flags: u8, sequence: u32, acknowledged: u32) -> Vec<u8> {
    let mut body = from.to_be_bytes().to_vec();
    body.extend(to.to_be_bytes());
    body.extend(sequence.to_be_bytes());
    body.extend(acknowledged.to_be_bytes());
    body.extend([0x50, flags, 0x10, 0, 0, 0, 0, 0]);
    body
}

fn datagram(from: u16, to: u16, data: &[u8]) -> Vec<u8> {
    let mut body = from.to_be_bytes().to_vec();
    body.extend(to.to_be_bytes());
    body.extend((8 + data.len() as u16).to_be_bytes());
    body.extend([0, 0]);
    body.extend(data);
    body
}

/// A SYN and the reset that answers it.
fn refused(device: IpAddr, broker: IpAddr) -> Vec<Vec<u8>> {
    vec![
        packet(device, broker, TCP, &segment(50_000, 1883, SYN, 99, 0)),
        packet(broker, device, TCP, &segment(1883, 50_000, RST_ACK, 0, 100)),
    ]
}

/// The packets as pcap of this kind of link, `in_front` of each, one second apart.
fn pcap(link: u32, in_front: &[u8], packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, link] {
        file.extend(u32::to_le_bytes(word));
    }
    for (at, packet) in packets.iter().enumerate() {
        let length = (in_front.len() + packet.len()) as u32;
        for word in [1_760_000_000 + at as u32, 0, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(in_front);
        file.extend(packet);
    }
    file
}

fn judged(file: &[u8]) -> Diagnosis {
    judge(read_capture(file).evidence, &Texts::new())
}

#[test]
fn every_kind_of_link_shows_the_same_refused_connection() {
    let old = refused(DEVICE, BROKER);
    let new = refused(DEVICE_6, BROKER_6);
    let addresses = [2; 12];
    let ethernet = |rest: &[u8]| [&addresses[..], rest].concat();
    let cooked = |kind: [u8; 2]| [&[0, 0, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0], &kind[..]].concat();
    let cooked_2 = |kind: [u8; 2]| {
        let rest = [0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0];
        [&kind[..], &rest[..]].concat()
    };
    for (name, link, in_front, packets) in [
        ("Ethernet", 1, ethernet(&[8, 0]), &old),
        ("a VLAN", 1, ethernet(&[0x81, 0, 0, 42, 8, 0]), &old),
        (
            "a VLAN in a VLAN",
            1,
            ethernet(&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 42, 8, 0]),
            &old,
        ),
        ("IPv6", 1, ethernet(&[0x86, 0xdd]), &new),
        ("Linux cooked", 113, cooked([8, 0]), &old),
        ("Linux cooked, IPv6", 113, cooked([0x86, 0xdd]), &new),
        ("Linux cooked 2", 276, cooked_2([8, 0]), &old),
        ("Linux cooked 2, IPv6", 276, cooked_2([0x86, 0xdd]), &new),
        ("raw", 101, Vec::new(), &old),
        ("raw, IPv6", 101, Vec::new(), &new),
        ("loopback of BSD", 0, vec![2, 0, 0, 0], &old),
    ] {
        let finding = judged(&pcap(link, &in_front, packets)).finding;
        assert_eq!(finding.cause, Cause::NothingListens, "{name}");
    }
}

#[test]
fn a_router_that_knows_no_way_is_believed() {
    let router = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 1));
    let far = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
    let syn = packet(DEVICE, far, TCP, &segment(50_000, 8883, SYN, 99, 0));
    // Host unreachable (RFC 792), about the first bytes of the SYN.
    let mut about = vec![3, 1, 0, 0, 0, 0, 0, 0];
    about.extend(&syn[..28]);
    let said = packet(router, DEVICE, 1, &about);
    let ethernet = [&[2; 12][..], &[8, 0]].concat();
    let finding = judged(&pcap(1, &ethernet, &[syn.clone(), said, syn])).finding;
    assert_eq!(finding.cause, Cause::HostUnreachable);
}

#[test]
fn a_time_server_that_never_answers_is_seen_and_one_that_does_is_no_trouble() {
    let mut ask = vec![0x23];
    ask.extend([0; 47]);
    let mut answer = vec![0x24, 2];
    answer.extend([0; 38]);
    // 2025-10-09, as NTP counts from 1900.
    answer.extend(3_968_988_800_u32.to_be_bytes());
    answer.extend([0; 4]);
    let clock = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 123));
    let ethernet = [&[2; 12][..], &[8, 0]].concat();
    let asked = || packet(DEVICE, clock, UDP, &datagram(40_000, 123, &ask));
    let silent: Vec<Vec<u8>> = (0..6).map(|_| asked()).collect();
    let silent = judged(&pcap(1, &ethernet, &silent));
    assert!(
        silent
            .finding
            .saw
            .iter()
            .any(|sight| sight.quote.en.contains("NTP"))
    );
    assert_ne!(silent.finding.cause, Cause::Healthy);

    let answered = packet(clock, DEVICE, UDP, &datagram(123, 40_000, &answer));
    let well = judged(&pcap(1, &ethernet, &[asked(), answered]));
    assert_eq!(well.finding.cause, Cause::Healthy, "{:?}", well.finding.saw);
}

#[test]
fn frames_of_which_only_the_headers_were_kept_still_tell_a_refusal() {
    let mut file = pcap(101, &[], &[]);
    for (at, packet) in refused(DEVICE, BROKER).iter().enumerate() {
        let kept = packet.len() as u32;
        // What was on the wire was longer: `tcpdump -s 40`.
        for word in [1_760_000_000 + at as u32, 0, kept, kept + 900] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    assert_eq!(judged(&file).finding.cause, Cause::NothingListens);
}

#[test]
fn a_pcapng_of_several_interfaces_reads_each_by_its_own_link_and_clock() {
    let block = |kind: u32, body: &[u8]| {
        let padding = body.len().next_multiple_of(4) - body.len();
        let length = (12 + body.len() + padding) as u32;
        let mut block = kind.to_le_bytes().to_vec();
        block.extend(length.to_le_bytes());
        block.extend(body);
        block.extend(vec![0; padding]);
        block.extend(length.to_le_bytes());
        block
    };
    let mut section = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
    section.extend([1, 0, 0, 0]);
    section.extend(u64::MAX.to_le_bytes());
    let mut file = block(0x0a0d_0d0a, &section);
    // Ethernet in microseconds, and raw IP in nanoseconds (option 9, if_tsresol).
    file.extend(block(1, &[1, 0, 0, 0, 0xff, 0xff, 0, 0]));
    let nanos = [
        101, 0, 0, 0, 0xff, 0xff, 0, 0, 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0,
    ];
    file.extend(block(1, &nanos));
    let [syn, reset] = &refused(DEVICE, BROKER)[..] else {
        unreachable!("two packets");
    };
    let seconds = 1_760_000_000_u64;
    let framed = [&[2; 12][..], &[8, 0], syn].concat();
    for (interface, ticks, data) in [
        (0_u32, seconds * 1_000_000, &framed),
        (1, seconds * 1_000_000_000 + 2_000_000, reset),
    ] {
        let mut body = interface.to_le_bytes().to_vec();
        body.extend(((ticks >> 32) as u32).to_le_bytes());
        body.extend((ticks as u32).to_le_bytes());
        body.extend((data.len() as u32).to_le_bytes());
        body.extend((data.len() as u32).to_le_bytes());
        body.extend(data);
        file.extend(block(6, &body));
    }
    assert_eq!(judged(&file).finding.cause, Cause::NothingListens);
}
