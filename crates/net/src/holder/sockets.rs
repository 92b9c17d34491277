//! The kernel's tables of sockets: `/proc/net/{tcp,tcp6,udp,udp6}` (proc_pid_net(5)).
#![cfg_attr(not(target_os = "linux"), allow(dead_code))]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use super::Protocol;

/// One socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    state: u8,
    /// Bytes that were written to it and that its peer has not acknowledged.
    pub(super) unacknowledged: u32,
    pub(super) user: u32,
    /// 0 for a socket that its process has closed.
    pub(super) inode: u64,
}

impl Row {
    /// Columns: number, local address, remote address, state, queues, timer, retransmits, user
    /// id, timeout, inode. `None` for the title row.
    pub(super) fn parse(row: &str) -> Option<Row> {
        let mut columns = row.split_whitespace().skip(1);
        Some(Row {
            local: parse_address(columns.next()?)?,
            remote: parse_address(columns.next()?)?,
            state: u8::from_str_radix(columns.next()?, 16).ok()?,
            unacknowledged: {
                let (sending, _) = columns.next()?.split_once(':')?;
                u32::from_str_radix(sending, 16).ok()?
            },
            user: columns.nth(2)?.parse().ok()?,
            inode: columns.nth(1)?.parse().ok()?,
        })
    }

    /// TCP_LISTEN of the kernel's `tcp_states.h`.
    pub(super) fn is_listening(&self) -> bool {
        self.state == 0x0A
    }

    /// How well this socket explains that `address` is taken: `None` if it cannot be the reason,
    /// more if it is nearer. Another address on the same port is none, unless either side means
    /// all addresses.
    fn nearness(&self, protocol: Protocol, address: SocketAddr) -> Option<u8> {
        if self.local.port() != address.port() {
            return None;
        }
        let (ours, theirs) = (address.ip().to_canonical(), self.local.ip().to_canonical());
        let place = if ours == theirs {
            2
        } else if (ours.is_unspecified() || theirs.is_unspecified())
            && (ours.is_ipv4() == theirs.is_ipv4() || is_any_ipv6(ours) || is_any_ipv6(theirs))
        {
            1
        } else {
            return None;
        };
        let listens = protocol == Protocol::Udp || self.is_listening();
        Some(if listens { place + 10 } else { place })
    }
}

/// The socket that best explains why `address` is taken; a listening one before a connection.
pub(super) fn blocking(rows: &[Row], protocol: Protocol, address: SocketAddr) -> Option<&Row> {
    rows.iter()
        .filter_map(|row| Some((row.nearness(protocol, address)?, row)))
        .max_by_key(|(nearness, _)| *nearness)
        .map(|(_, row)| row)
}

/// The two numbers of `/proc/sys/net/ipv4/ip_local_port_range`.
pub(super) fn port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_whitespace().map(str::parse);
    let (first, last) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(first..=last)
}

/// Only this wildcard reaches into the other family: it takes IPv4 connections too, unless it was
/// told not to, which the table does not show.
fn is_any_ipv6(ip: IpAddr) -> bool {
    ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
}

fn parse_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(SocketAddr::new(parse_ip(ip)?, port))
}

/// The kernel prints addresses as 32-bit words in the byte order of the machine.
fn parse_ip(hex: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for start in (0..hex.len()).step_by(8) {
        let word = u32::from_str_radix(hex.get(start..start + 8)?, 16).ok()?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = "   0: 0100007F:075B 00000000:0000 0A 00000000:00000000 00:00000000 \
                       00000000   110        0 34567 1 0000000000000000 100 0 0 10 0";

    fn socket(local: &str, state: u8) -> Row {
        Row {
            local: local.parse().unwrap(),
            remote: "0.0.0.0:0".parse().unwrap(),
            state,
            unacknowledged: 0,
            user: 0,
            inode: 1,
        }
    }

    fn blocker(rows: &[Row], protocol: Protocol, address: &str) -> Option<String> {
        let address = address.parse().unwrap();
        blocking(rows, protocol, address).map(|row| row.local.to_string())
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_listening_row_is_understood() {
        let row = Row::parse(ROW).unwrap();
        assert_eq!(row.local, "127.0.0.1:1883".parse().unwrap());
        assert_eq!((row.user, row.inode), (110, 34567));
        assert!(row.is_listening());
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_row_of_ipv6_is_understood() {
        let row = "  1: 00000000000000000000000001000000:1F42 \
                   0000000000000000FFFF00000100007F:BEEF 01 00000000:00000000 00:00000000 \
                   00000000  1000        0 99 1 0000000000000000 100 0 0 10 0";
        let row = Row::parse(row).unwrap();
        assert_eq!(row.local, "[::1]:8002".parse().unwrap());
        assert_eq!(row.remote, "[::ffff:127.0.0.1]:48879".parse().unwrap());
        assert!(!row.is_listening());
    }

    #[test]
    fn what_waits_for_the_peer_is_read() {
        let row = ROW.replace("00000000:00000000 00:", "00000C80:00000007 01:");
        assert_eq!(Row::parse(&row).unwrap().unacknowledged, 3200);
        assert_eq!(Row::parse(&row).unwrap().user, 110);
    }

    #[test]
    fn the_title_row_and_broken_rows_are_passed_over() {
        assert_eq!(
            Row::parse("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when"),
            None
        );
        assert_eq!(Row::parse(""), None);
        assert_eq!(Row::parse(&ROW.replace("0100007F", "01")), None);
    }

    #[test]
    fn a_socket_blocks_its_own_address_and_wildcards_block_all() {
        let wanted = "127.0.0.1:1883";
        for blocking in [
            "127.0.0.1:1883",
            "0.0.0.0:1883",
            "[::]:1883",
            "[::ffff:127.0.0.1]:1883",
        ] {
            let found = blocker(&[socket(blocking, 0x0A)], Protocol::Tcp, wanted);
            assert_eq!(found.as_deref(), Some(blocking));
        }
        for other in ["127.0.0.1:1884", "10.0.0.1:1883", "[::1]:1883"] {
            let found = blocker(&[socket(other, 0x0A)], Protocol::Tcp, wanted);
            assert_eq!(found, None, "{other}");
        }
        let specific = [socket("10.0.0.1:1883", 0x0A)];
        for wildcard in ["0.0.0.0:1883", "[::]:1883"] {
            assert!(blocker(&specific, Protocol::Tcp, wildcard).is_some());
        }
        let specific = [socket("[fd00::1]:1883", 0x0A)];
        assert_eq!(blocker(&specific, Protocol::Tcp, "0.0.0.0:1883"), None);
    }

    #[test]
    fn a_listener_is_named_before_its_connections_and_the_nearest_before_a_wildcard() {
        let rows = [
            socket("127.0.0.1:1883", 0x01),
            socket("[::]:1883", 0x0A),
            socket("127.0.0.1:1883", 0x06),
        ];
        let found = blocker(&rows, Protocol::Tcp, "127.0.0.1:1883");
        assert_eq!(found.as_deref(), Some("[::]:1883"));
        let rows = [socket("[::]:1883", 0x0A), socket("127.0.0.1:1883", 0x0A)];
        let found = blocker(&rows, Protocol::Tcp, "127.0.0.1:1883");
        assert_eq!(found.as_deref(), Some("127.0.0.1:1883"));
    }

    #[test]
    fn a_udp_socket_needs_no_state_to_block() {
        let rows = [socket("0.0.0.0:8884", 0x07)];
        assert!(blocker(&rows, Protocol::Udp, "192.168.1.20:8884").is_some());
    }

    #[test]
    fn the_range_of_outgoing_ports_is_read() {
        assert_eq!(port_range("32768\t60999\n"), Some(32768..=60999));
        assert_eq!(port_range("32768"), None);
    }
}
