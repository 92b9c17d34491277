//! Who holds a port, as far as this system tells this user.
//!
//! Linux only: `/proc/net/{tcp,tcp6,udp,udp6}` say which socket it is and of which user, the
//! descriptors in `/proc/PID/fd` say which process has it open, `/proc/PID/cgroup` in which
//! service or container that runs. Processes of other users are closed to an ordinary user, and
//! those outside a container to everyone in it; each of these has a sentence of its own instead
//! of a guess. Reading is apart from understanding (`process.rs`, `sockets.rs`), so that the latter
//! is tested with texts.

use std::fmt;
use std::net::SocketAddr;

mod process;
mod sockets;

pub use crate::cgroup::ContainerId;

/// A space of port numbers: a TCP and a UDP socket never clash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        })
    }
}

/// What is known about whoever holds a port. `Display` is a noun phrase in English: "mosquitto
/// (pid 812, user mosquitto, mosquitto.service)".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holding {
    /// This process itself: two of its settings name the same port.
    ThisProcess,
    /// A process that we may look into.
    Program(Box<Holder>),
    /// A socket of this user, whose processes we may not look into.
    OtherUser {
        /// Name, or `user id 1234` if the id has none.
        user: String,
    },
    /// A socket that is open in none of the processes we see, although we may look into all: it
    /// is the kernel's, or that of a process in a container which shares this network.
    OutsideOurProcesses {
        /// Name, or `user id 1234` if the id has none.
        user: String,
    },
    /// Nobody listens; a connection that goes out from (or lingers on) this port blocks it.
    Connection {
        /// The other end.
        remote: SocketAddr,
        /// Whose connection, if that can be seen.
        holder: Option<Box<Holder>>,
        /// The port lies in the range that the system hands out to outgoing connections
        /// (`net.ipv4.ip_local_port_range`), so this will happen again.
        ephemeral: bool,
    },
    /// No socket can be seen on the port.
    OutOfSight {
        /// We run in a container: the holder may be outside of it.
        in_container: bool,
    },
}

/// A process that holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Its short name (`comm`, at most 15 characters); `None` if it ended while we looked.
    pub program: Option<String>,
    /// Its arguments in one line, at most 200 characters, what looks like a secret replaced by
    /// `***`. `None` for kernel threads and where it cannot be read.
    pub command_line: Option<String>,
    /// Owner of the socket: a name, or `user id 1234`.
    pub user: String,
    /// The systemd unit that it runs in: `mosquitto.service`.
    pub unit: Option<String>,
    /// The container that it runs in.
    pub container: Option<ContainerId>,
    /// Docker's proxy holds the port for this address in a container.
    pub forwards_to: Option<String>,
}

impl Holder {
    /// A command that frees the port, where one is known: ends the service or the container, or
    /// lists the containers that publish `port`.
    pub fn command_to_stop(&self, port: u16) -> Option<String> {
        if self.forwards_to.is_some() {
            return Some(format!("docker ps --filter publish={port}"));
        }
        match (&self.container, &self.unit) {
            (Some(container), _) if matches!(container.runtime, "docker" | "podman") => {
                Some(format!("{} stop {}", container.runtime, container.id))
            }
            (Some(container), _) if container.runtime == "lxc" => {
                Some(format!("lxc-stop -n {}", container.id))
            }
            (None, Some(unit)) => Some(format!("sudo systemctl stop {unit}")),
            (None, None) => Some(format!("kill {}", self.pid)),
            (Some(_), _) => None,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.program {
            Some(program) => write!(f, "{program} (pid {}", self.pid)?,
            None => write!(f, "the process {} (", self.pid)?,
        }
        if self.program.is_some() {
            f.write_str(", ")?;
        }
        if self.user.starts_with("user id ") {
            f.write_str(&self.user)?;
        } else {
            write!(f, "user {}", self.user)?;
        }
        if let Some(unit) = &self.unit {
            write!(f, ", {unit}")?;
        }
        if let Some(container) = &self.container {
            write!(f, ", {} container {}", container.runtime, container.id)?;
        }
        if let Some(target) = &self.forwards_to {
            write!(f, ", for {target} in a container")?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |user: &str| {
            if user.starts_with("user id ") {
                user.to_owned()
            } else {
                format!("user {user}")
            }
        };
        match self {
            Holding::ThisProcess => {
                f.write_str("this process itself: two settings name the same port")
            }
            Holding::Program(holder) => holder.fmt(f),
            Holding::OtherUser { user } => write!(
                f,
                "a program of {}, whose programs we may not look into (`sudo ss -ltnup` names it)",
                of(user)
            ),
            Holding::OutsideOurProcesses { user } => write!(
                f,
                "a socket of {} that none of the processes we see has open: the kernel's, or that \
                 of a container which shares this network",
                of(user)
            ),
            Holding::Connection { remote, holder, .. } => {
                write!(f, "a connection to {remote}")?;
                match holder {
                    Some(holder) => write!(f, " of {holder}"),
                    None => Ok(()),
                }?;
                f.write_str(", no listener")
            }
            Holding::OutOfSight { in_container: true } => f.write_str(
                "something that cannot be seen from inside this container (look on the machine \
                 that runs it, with `sudo ss -ltnup`)",
            ),
            Holding::OutOfSight {
                in_container: false,
            } => f.write_str("something that this system does not show us"),
        }
    }
}

/// Who holds the port of `address`, so that nothing else can listen on that address: the best
/// that can be told now. Reads `/proc` each time and takes some milliseconds on a machine with
/// thousands of processes.
pub fn holder_of(protocol: Protocol, address: SocketAddr) -> Holding {
    #[cfg(target_os = "linux")]
    if let Some(holding) = linux::look(protocol, address) {
        return holding;
    }
    let _ = (protocol, address);
    Holding::OutOfSight {
        in_container: crate::surroundings::container().is_some(),
    }
}

/// How many bytes of ours the other end of a TCP connection has not acknowledged, by the kernel's
/// table of connections; `None` if it has no such connection, or on another system than Linux.
///
/// Reads the whole table, some microseconds for each connection of the machine.
pub fn unacknowledged(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    #[cfg(target_os = "linux")]
    {
        linux::unacknowledged(local, remote)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (local, remote);
        None
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::io::ErrorKind;
    use std::net::SocketAddr;
    use std::path::Path;

    use super::process::{self, Facts};
    use super::sockets::{self, Row};
    use super::{Holder, Holding, Protocol};

    pub(super) fn look(protocol: Protocol, address: SocketAddr) -> Option<Holding> {
        let files = match protocol {
            Protocol::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
            Protocol::Udp => ["/proc/net/udp", "/proc/net/udp6"],
        };
        let rows: Vec<Row> = files
            .iter()
            .filter_map(|file| fs::read_to_string(file).ok())
            .flat_map(|table| table.lines().filter_map(Row::parse).collect::<Vec<_>>())
            .collect();
        let row = sockets::blocking(&rows, protocol, address)?;
        let user = user_name(row.user);
        let search = if row.inode == 0 {
            // Sockets that linger after their process closed them.
            Search::Nowhere {
                may_be_hidden: false,
            }
        } else {
            search(row.inode)
        };
        if protocol == Protocol::Tcp && !row.is_listening() {
            let holder = match search {
                Search::Found(pid) => Some(Box::new(describe(pid, user))),
                Search::Nowhere { .. } => None,
            };
            return Some(Holding::Connection {
                remote: row.remote,
                holder,
                ephemeral: is_ephemeral(address.port()),
            });
        }
        Some(match search {
            Search::Found(pid) if pid == std::process::id() => Holding::ThisProcess,
            Search::Found(pid) => Holding::Program(Box::new(describe(pid, user))),
            Search::Nowhere {
                may_be_hidden: true,
            } => Holding::OtherUser { user },
            Search::Nowhere {
                may_be_hidden: false,
            } => Holding::OutsideOurProcesses { user },
        })
    }

    pub(super) fn unacknowledged(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
        let plain = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
        let (local, remote) = (plain(local), plain(remote));
        ["/proc/net/tcp6", "/proc/net/tcp"].iter().find_map(|file| {
            let table = fs::read_to_string(file).ok()?;
            let mut rows = table.lines().filter_map(Row::parse);
            let row = rows.find(|row| plain(row.local) == local && plain(row.remote) == remote)?;
            Some(row.unacknowledged)
        })
    }

    enum Search {
        Found(u32),
        Nowhere { may_be_hidden: bool },
    }

    fn search(inode: u64) -> Search {
        let wanted = format!("socket:[{inode}]");
        let mut may_be_hidden = false;
        for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = process
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            match has_open(&process.path(), &wanted) {
                Look::Yes => return Search::Found(pid),
                Look::No => {}
                Look::MayNot => may_be_hidden = true,
            }
        }
        Search::Nowhere { may_be_hidden }
    }

    enum Look {
        Yes,
        No,
        MayNot,
    }

    fn has_open(process: &Path, wanted: &str) -> Look {
        match fs::read_dir(process.join("fd")) {
            Ok(files) => {
                let is_open = files.flatten().any(|file| {
                    fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == wanted)
                });
                if is_open { Look::Yes } else { Look::No }
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Look::MayNot,
            // It ended meanwhile.
            Err(_) => Look::No,
        }
    }

    fn describe(pid: u32, user: String) -> Holder {
        let folder = Path::new("/proc").join(pid.to_string());
        let read = |file: &str| fs::read(folder.join(file)).unwrap_or_default();
        let text = |file: &str| String::from_utf8_lossy(&read(file)).into_owned();
        process::holder(
            pid,
            user,
            Facts {
                comm: &text("comm"),
                cmdline: &read("cmdline"),
                cgroup: &text("cgroup"),
            },
        )
    }

    fn user_name(id: u32) -> String {
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        process::user_name(id, &users)
    }

    fn is_ephemeral(port: u16) -> bool {
        fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
            .ok()
            .and_then(|text| sockets::port_range(&text))
            .is_some_and(|range| range.contains(&port))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::unacknowledged;

    #[test]
    fn what_the_peer_has_taken_is_acknowledged_and_what_does_not_fit_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        assert_eq!(unacknowledged(local, remote), Some(0));
        client.set_nonblocking(true).unwrap();
        while client.write(&[0; 65536]).is_ok() {}
        assert!(unacknowledged(local, remote).unwrap() > 10_000);
        assert_eq!(unacknowledged(local, "127.0.0.1:1".parse().unwrap()), None);
    }
}
