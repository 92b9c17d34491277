//! Who listens on a port, as far as `/proc` tells this user.

use std::net::SocketAddr;

/// "mosquitto, pid 812", or "a program of user id 110"; `None` where nothing can be learned.
#[cfg(target_os = "linux")]
pub(super) fn of(address: SocketAddr) -> Option<String> {
    let socket = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .find_map(|table| {
            table
                .lines()
                .filter_map(Listening::parse)
                .find(|l| l.blocks(address))
        })?;
    Some(match program_with(socket.inode) {
        Some(program) => program,
        None => format!(
            "a program of {} (run `ss -ltnp` as root to see its name)",
            user_name(socket.user)
        ),
    })
}

#[cfg(not(target_os = "linux"))]
pub(super) fn of(_address: SocketAddr) -> Option<String> {
    None
}

#[cfg(target_os = "linux")]
use linux::{Listening, program_with, user_name};

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
    use std::path::Path;

    /// A row of `/proc/net/tcp` or `tcp6` in the state LISTEN.
    #[derive(Debug, PartialEq, Eq)]
    pub(super) struct Listening {
        address: SocketAddr,
        pub(super) user: u32,
        pub(super) inode: u64,
    }

    impl Listening {
        /// Columns: number, local address, remote address, state, queues, timer, retransmits,
        /// user id, timeout, inode (proc_pid_net(5)).
        pub(super) fn parse(row: &str) -> Option<Listening> {
            let columns: Vec<&str> = row.split_whitespace().collect();
            let (local, state, user, inode) = (
                columns.get(1)?,
                columns.get(3)?,
                columns.get(7)?,
                columns.get(9)?,
            );
            if *state != "0A" {
                return None;
            }
            let (ip, port) = local.split_once(':')?;
            let port = u16::from_str_radix(port, 16).ok()?;
            Some(Listening {
                address: SocketAddr::new(parse_ip(ip)?, port),
                user: user.parse().ok()?,
                inode: inode.parse().ok()?,
            })
        }

        /// Whether this socket can be why `address` is taken: same port, and the same address or
        /// all addresses on either side.
        pub(super) fn blocks(&self, address: SocketAddr) -> bool {
            let (ours, theirs) = (
                address.ip().to_canonical(),
                self.address.ip().to_canonical(),
            );
            self.address.port() == address.port()
                && (ours == theirs || ours.is_unspecified() || theirs.is_unspecified())
        }
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

    /// The process that has this socket open. Those of other users are closed to us, unless we
    /// are root.
    pub(super) fn program_with(inode: u64) -> Option<String> {
        let wanted = format!("socket:[{inode}]");
        let own = std::process::id();
        for process in fs::read_dir("/proc").ok()?.flatten() {
            let Some(pid) = process
                .file_name()
                .to_str()
                .and_then(|n| n.parse::<u32>().ok())
            else {
                continue;
            };
            if has_open(&process.path(), &wanted) {
                let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                let name = name.trim();
                return Some(if pid == own {
                    format!("{name} itself (this process): two settings name the same port")
                } else {
                    format!("{name}, pid {pid}")
                });
            }
        }
        None
    }

    fn has_open(process: &Path, wanted: &str) -> bool {
        fs::read_dir(process.join("fd")).is_ok_and(|files| {
            files
                .flatten()
                .any(|file| fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == wanted))
        })
    }

    pub(super) fn user_name(id: u32) -> String {
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        users
            .lines()
            .find_map(|line| {
                let mut fields = line.split(':');
                let (name, wanted) = (fields.next()?, fields.nth(1)?);
                (wanted.parse() == Ok(id)).then(|| format!("user {name}"))
            })
            .unwrap_or_else(|| format!("user id {id}"))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        const ROW: &str = "   0: 0100007F:075B 00000000:0000 0A 00000000:00000000 00:00000000 \
                           00000000   110        0 34567 1 0000000000000000 100 0 0 10 0";

        #[test]
        #[cfg(target_endian = "little")]
        fn a_listening_row_is_understood() {
            let row = Listening::parse(ROW).unwrap();
            let address = "127.0.0.1:1883".parse().unwrap();
            assert_eq!(
                row,
                Listening {
                    address,
                    user: 110,
                    inode: 34567
                }
            );
        }

        #[test]
        fn connections_and_the_title_row_are_passed_over() {
            assert_eq!(Listening::parse(&ROW.replace(" 0A ", " 01 ")), None);
            assert_eq!(
                Listening::parse("  sl  local_address rem_address   st tx_queue"),
                None
            );
            assert_eq!(Listening::parse(""), None);
        }

        #[test]
        fn a_socket_blocks_its_own_address_and_wildcards_block_all() {
            let on = |address: &str| Listening {
                address: address.parse().unwrap(),
                user: 0,
                inode: 1,
            };
            let wanted = "127.0.0.1:1883".parse().unwrap();
            for blocking in [
                "127.0.0.1:1883",
                "0.0.0.0:1883",
                "[::]:1883",
                "[::ffff:127.0.0.1]:1883",
            ] {
                assert!(on(blocking).blocks(wanted), "{blocking}");
            }
            for other in ["127.0.0.1:1884", "10.0.0.1:1883", "[::1]:1883"] {
                assert!(!on(other).blocks(wanted), "{other}");
            }
            assert!(on("10.0.0.1:1883").blocks("0.0.0.0:1883".parse().unwrap()));
        }

        #[test]
        fn root_has_a_name_and_a_strange_id_stays_a_number() {
            assert_eq!(user_name(0), "user root");
            assert_eq!(user_name(4_000_000_001), "user id 4000000001");
        }
    }
}
