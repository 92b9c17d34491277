//! The first two layers: where the name leads, and who takes the connection there.

use std::io;
use std::net::{IpAddr, SocketAddr};

use safeport_net::surroundings::{self, ResolveError, Surroundings};
use safeport_settings::gate::Layer;
use safeport_settings::{AdvertisedAddress, HostName, Outcome, Reach, Said};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{Step, both, failed};
use crate::limits::{PROBE_ANSWERS, PROBE_CONNECT, PROBE_LOOKUP};

/// All addresses of the host.
pub(super) async fn resolve(address: &AdvertisedAddress, until: Instant) -> Step<Vec<IpAddr>> {
    let name = match address.host() {
        HostName::Ip(ip) => return Ok(vec![*ip]),
        HostName::Name(name) => name.as_str().to_owned(),
    };
    let patience = PROBE_LOOKUP.min(until.saturating_duration_since(Instant::now()));
    let asked = name.clone();
    let answer = tokio::task::spawn_blocking(move || surroundings::resolve(&asked, patience))
        .await
        .unwrap_or_else(|ended| {
            Err(ResolveError::Failed {
                name: name.clone(),
                said: ended.to_string(),
            })
        });
    match answer {
        Ok(answers) => judge_answers(address.host(), answers),
        Err(error) => Err(judge_resolver(address.host(), &error)),
    }
}

/// A name that leads to this machine alone, or into Docker, does so through this machine's own
/// hosts file or resolver. Devices ask another one.
fn judge_answers(host: &HostName, answers: Vec<IpAddr>) -> Step<Vec<IpAddr>> {
    let list = list(&answers);
    if host.reach() != Reach::Loopback && answers.iter().all(|ip| ip.to_canonical().is_loopback()) {
        return Err(Outcome::Unverifiable {
            why: both!(
                "{host} leads to {list} here, which is every machine itself (mostly a line in \
                 /etc/hosts); what devices get for it cannot be seen from this machine",
                "{host} 在本机解析为 {list}，即每台机器自己（多半是 /etc/hosts 中的一行）；设备得到的结果无法从本机看到"
            ),
        });
    }
    if host.reach() != Reach::Container
        && answers.iter().all(|ip| Reach::of(*ip) == Reach::Container)
    {
        return Err(Outcome::Unverifiable {
            why: both!(
                "{host} leads to {list} here, which is inside Docker's network; what devices get \
                 for it cannot be seen from this machine",
                "{host} 在本机解析为 {list}，属于 Docker 内部网络；设备得到的结果无法从本机看到"
            ),
        });
    }
    Ok(answers)
}

fn judge_resolver(host: &HostName, error: &ResolveError) -> Outcome {
    match error {
        // Names of mDNS need a program on this machine that many servers do not have.
        ResolveError::Unknown { .. } if host.reach() == Reach::Mdns => Outcome::Unverifiable {
            why: both!(
                "this machine does not look up names that end in .local (Debian: install \
                 libnss-mdns), so {host} cannot be tried from here",
                "本机不解析以 .local 结尾的名称（Debian：安装 libnss-mdns），因此无法从本机验证 {host}"
            ),
        },
        ResolveError::Unknown { said, .. } => failed(
            Layer::Dns,
            both!(
                "the name {host} has no address ({said}); check its spelling and its DNS entry",
                "名称 {host} 没有对应的地址（{said}）；请检查拼写和 DNS 记录"
            ),
        ),
        ResolveError::Failed { said, .. } => Outcome::Unverifiable {
            why: both!(
                "the DNS server of this machine could not look {host} up ({said}); check \
                 /etc/resolv.conf",
                "本机的 DNS 服务器无法解析 {host}（{said}）；请检查 /etc/resolv.conf"
            ),
        },
        ResolveError::TimedOut { .. } | ResolveError::Busy { .. } => Outcome::Unverifiable {
            why: both!(
                "the DNS server of this machine does not answer, so {host} cannot be tried from \
                 here; check /etc/resolv.conf",
                "本机的 DNS 服务器没有回应，无法从本机验证 {host}；请检查 /etc/resolv.conf"
            ),
        },
    }
}

/// What came of connecting.
pub(super) struct Reached {
    /// The first that took the connection.
    pub(super) stream: Step<(TcpStream, SocketAddr)>,
    /// Those before it that did not.
    pub(super) missed: Vec<(SocketAddr, Said)>,
}

/// Tries the answers in their order; the first good one is kept.
pub(super) async fn connect(
    address: &AdvertisedAddress,
    answers: &[IpAddr],
    until: Instant,
) -> Reached {
    let mut misses = Vec::new();
    for (place, ip) in answers.iter().take(PROBE_ANSWERS).enumerate() {
        let target = SocketAddr::new(*ip, address.port());
        let left = until.saturating_duration_since(Instant::now());
        let is_last = place + 1 == answers.len().min(PROBE_ANSWERS);
        // A silent first answer leaves time for the others and for the layers above.
        let patience = PROBE_CONNECT.min(if is_last { left } else { left / 2 });
        let miss = match tokio::time::timeout(patience, TcpStream::connect(target)).await {
            Ok(Ok(stream)) => {
                // Each question is one small write.
                let _ = stream.set_nodelay(true);
                return Reached {
                    stream: Ok((stream, target)),
                    missed: said_of(&misses),
                };
            }
            // That tells of this process, and nothing of the address.
            Ok(Err(error)) if is_ours(&error) => {
                return Reached {
                    stream: Err(no_descriptor(&error)),
                    missed: said_of(&misses),
                };
            }
            Ok(Err(error)) => Miss::of(&error),
            Err(_) => Miss::Silent,
        };
        misses.push((target, miss));
    }
    Reached {
        stream: Err(judge(address, &misses, &Surroundings::look())),
        missed: said_of(&misses),
    }
}

/// Whether this process, or the system, has run out of descriptors.
fn is_ours(error: &io::Error) -> bool {
    let errno = error
        .raw_os_error()
        .map(rustix::io::Errno::from_raw_os_error);
    matches!(
        errno,
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE)
    )
}

fn no_descriptor(error: &io::Error) -> Outcome {
    Outcome::Unverifiable {
        why: both!(
            "this server could not look ({error}); raise LimitNOFILE in the systemd unit, or the \
             hard limit of ulimit -n",
            "本服务器无法进行探测（{error}）；请提高 systemd 单元中的 LimitNOFILE，或 ulimit -n 的硬限制"
        ),
    }
}

/// Why a connection was not to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Miss {
    Refused,
    Silent,
    Unreachable,
    Other(String),
}

impl Miss {
    fn of(error: &io::Error) -> Miss {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Miss::Refused,
            io::ErrorKind::TimedOut => Miss::Silent,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Miss::Unreachable,
            _ => Miss::Other(error.to_string()),
        }
    }

    fn said(&self) -> Said {
        match self {
            Miss::Refused => Said::new("refuses the connection", "拒绝连接"),
            Miss::Silent => Said::new("does not answer", "没有回应"),
            Miss::Unreachable => Said::new("cannot be reached", "无法到达"),
            Miss::Other(error) => both!("cannot be connected to ({error})", "无法连接（{error}）"),
        }
    }
}

fn said_of(misses: &[(SocketAddr, Miss)]) -> Vec<(SocketAddr, Said)> {
    misses
        .iter()
        .map(|(target, miss)| (*target, miss.said()))
        .collect()
}

/// What it means that none of the answers took the connection.
///
/// Silence of an address outside our networks may only mean that the router does not lead
/// connections from inside to its own outer address back in, or that Docker does not lead a
/// container's back to its machine: devices elsewhere may get through all the same.
fn judge(
    address: &AdvertisedAddress,
    misses: &[(SocketAddr, Miss)],
    here: &Surroundings,
) -> Outcome {
    let port = address.port();
    if let Some((target, miss)) = misses
        .iter()
        .find(|(_, miss)| matches!(miss, Miss::Refused | Miss::Other(_)))
    {
        let Said { en, zh } = miss.said();
        let ip = target.ip();
        return failed(
            Layer::Tcp,
            if here.is_own(ip) {
                Said::new(
                    format!(
                        "{target} {en}: nothing listens on port {port} of this machine, or not on \
                         this address; compare `safeport ports`"
                    ),
                    format!(
                        "{target} {zh}：本机的端口 {port} 上没有监听，或没有监听该地址；请对照 `safeport ports`"
                    ),
                )
            } else {
                Said::new(
                    format!(
                        "{target} {en}: nothing there listens on port {port}, or a firewall rejects \
                         it; forward the port to this server, or publish it from the container"
                    ),
                    format!(
                        "{target} {zh}：那里的端口 {port} 上没有监听，或被防火墙拒绝；请把该端口转发到本服务器，或从容器发布它"
                    ),
                )
            },
        );
    }
    let Some((target, miss)) = misses.first() else {
        return failed(
            Layer::Dns,
            both!(
                "{address} has no address to connect to",
                "{address} 没有可连接的地址"
            ),
        );
    };
    let Said { en, zh } = miss.said();
    let ip = target.ip();
    if here.is_own(ip) {
        return failed(
            Layer::Tcp,
            Said::new(
                format!(
                    "{target} {en}, although {ip} is this machine's own address; look for a \
                     firewall rule on port {port}"
                ),
                format!("{target} {zh}，尽管 {ip} 是本机地址；请检查针对端口 {port} 的防火墙规则"),
            ),
        );
    }
    if here.addresses.iter().any(|own| own.has_neighbour(ip)) {
        return failed(
            Layer::Tcp,
            Said::new(
                format!(
                    "{target} {en}: no machine with the address {ip} answers on this network, and \
                     it is not this one's"
                ),
                format!("{target} {zh}：本网络中没有使用地址 {ip} 的机器回应，它也不是本机地址"),
            ),
        );
    }
    Outcome::Unverifiable {
        why: Said::new(
            format!(
                "{target} {en} from here, and it is not this machine's own address: many routers \
                 do not lead connections from inside back in, nor does Docker from a container to \
                 its machine; a device or a phone outside can show that it works"
            ),
            format!(
                "从本机看，{target} {zh}，而它不是本机地址：许多路由器不支持从内网经外网地址回连，Docker 容器也未必能回连宿主机；请用外部的设备或手机验证"
            ),
        ),
    }
}

fn list(addresses: &[IpAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    addresses.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use safeport_net::surroundings::{InterfaceAddress, InterfaceKind};

    fn home() -> Surroundings {
        let ip = "192.168.1.20".parse().unwrap();
        Surroundings {
            addresses: vec![InterfaceAddress {
                interface: "eth0".to_owned(),
                kind: InterfaceKind::Ordinary,
                ip,
                prefix: 24,
                is_passing: false,
            }],
            outgoing: Some(ip),
            container: None,
        }
    }

    fn judged(misses: &[(&str, Miss)]) -> Outcome {
        let address = AdvertisedAddress::parse("ws://hub.example.com:8002").unwrap();
        let misses: Vec<(SocketAddr, Miss)> = misses
            .iter()
            .map(|(target, miss)| (target.parse().unwrap(), miss.clone()))
            .collect();
        judge(&address, &misses, &home())
    }

    fn is_tcp(outcome: &Outcome) -> bool {
        matches!(
            outcome,
            Outcome::Failed {
                layer: Layer::Tcp,
                ..
            }
        )
    }

    #[test]
    fn a_process_without_descriptors_blames_no_address() {
        let error = io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
        assert!(is_ours(&error));
        let outcome = no_descriptor(&error);
        assert!(
            matches!(outcome, Outcome::Unverifiable { .. }),
            "{outcome:?}"
        );
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert!(!is_ours(&refused));
    }

    #[test]
    fn silence_of_an_outer_address_cannot_be_judged_from_inside() {
        for miss in [Miss::Silent, Miss::Unreachable] {
            let outcome = judged(&[("203.0.113.7:8002", miss)]);
            assert!(
                matches!(outcome, Outcome::Unverifiable { .. }),
                "{outcome:?}"
            );
        }
    }

    #[test]
    fn silence_of_a_neighbour_or_of_this_machine_is_a_failure() {
        assert!(is_tcp(&judged(&[("192.168.1.99:8002", Miss::Silent)])));
        assert!(is_tcp(&judged(&[("192.168.1.20:8002", Miss::Silent)])));
        assert!(is_tcp(&judged(&[("192.168.1.99:8002", Miss::Unreachable)])));
    }

    #[test]
    fn a_refusal_is_a_failure_wherever_it_comes_from() {
        assert!(is_tcp(&judged(&[("203.0.113.7:8002", Miss::Refused)])));
        let mixed = [
            ("[2001:db8::7]:8002", Miss::Unreachable),
            ("203.0.113.7:8002", Miss::Refused),
        ];
        assert!(is_tcp(&judged(&mixed)));
    }

    #[test]
    fn a_name_that_leads_to_this_machine_alone_says_nothing_about_devices() {
        let answers = |host: &str, ips: &[&str]| {
            let host = HostName::parse(host).unwrap();
            judge_answers(&host, ips.iter().map(|ip| ip.parse().unwrap()).collect())
        };
        for ips in [&["127.0.1.1"][..], &["::1", "127.0.0.1"], &["172.17.0.2"]] {
            let outcome = answers("hub.home", ips);
            assert!(
                matches!(outcome, Err(Outcome::Unverifiable { .. })),
                "{outcome:?}"
            );
        }
        assert!(answers("hub.home", &["127.0.1.1", "192.168.1.20"]).is_ok());
        assert!(answers("localhost", &["127.0.0.1"]).is_ok());
    }

    #[test]
    fn an_unknown_name_fails_and_a_resolver_that_is_down_does_not() {
        let host = |text: &str| HostName::parse(text).unwrap();
        let unknown = |name: &str| ResolveError::Unknown {
            name: name.to_owned(),
            said: "Name or service not known".to_owned(),
        };
        let outcome = judge_resolver(&host("hub.example.com"), &unknown("hub.example.com"));
        assert!(
            matches!(
                outcome,
                Outcome::Failed {
                    layer: Layer::Dns,
                    ..
                }
            ),
            "{outcome:?}"
        );
        for (name, error) in [
            ("hub.local", unknown("hub.local")),
            (
                "hub.example.com",
                ResolveError::Busy {
                    name: "hub.example.com".to_owned(),
                },
            ),
        ] {
            let outcome = judge_resolver(&host(name), &error);
            assert!(
                matches!(outcome, Outcome::Unverifiable { .. }),
                "{outcome:?}"
            );
        }
    }
}
