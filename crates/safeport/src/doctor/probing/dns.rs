//! Stage 2: from the name to addresses, as this system knows them and as each name server does.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use safeport_doctor::dns::{Code, Kind, Reply, multicast_question, question};
use safeport_doctor::{Cause, Layer, Strength};
use safeport_net::surroundings::{self, ResolveError};
use safeport_settings::Said;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::run::Run;
use super::{Told, Vantage};
use crate::limits::{DOCTOR_LOOKUP, DOCTOR_NAME_SERVERS, DOCTOR_QUESTION};
use crate::probe::both;

pub(super) async fn look(run: &mut Run) -> Told {
    let Some(host) = run.target.as_ref().map(|target| target.host.clone()) else {
        return Told::nothing(Said::default(), Said::default());
    };
    let name = host.to_string();
    let tried = both!(
        "the name {name}, with this system's resolver and its name servers",
        "用本机解析器及其域名服务器查询 {name}"
    );
    if host.is_mdns() {
        return multicast(run, &name, tried).await;
    }
    let mut servers = run.order.name_servers.clone();
    let is_given = !servers.is_empty() && !host.is_loopback();
    if !is_given && !host.is_loopback() {
        servers.extend(configured_servers());
    }
    servers.truncate(DOCTOR_NAME_SERVERS);
    let system = async {
        match is_given {
            true => None,
            false => Some(system(&name).await),
        }
    };
    let (system, servers) = tokio::join!(system, ask_all(&name, &servers));
    let answers = Answers { system, servers };
    judge(run, &name, answers, tried)
}

/// What everybody said.
struct Answers {
    /// None: the owner named the servers to ask.
    system: Option<Result<Vec<IpAddr>, ResolveError>>,
    servers: Vec<(SocketAddr, Option<Heard>)>,
}

/// What one name server said of both families.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Heard {
    code: Code,
    addresses: Vec<IpAddr>,
}

fn judge(run: &mut Run, name: &str, answers: Answers, tried: Said) -> Told {
    let lines: Vec<String> = answers
        .servers
        .iter()
        .map(|(server, heard)| match heard {
            None => format!("{server}: no answer"),
            Some(heard) if heard.addresses.is_empty() => format!("{server}: {}", heard.code.word()),
            Some(heard) => format!("{server}: {}", list(&heard.addresses)),
        })
        .collect();
    let told_by_servers = lines.join("; ");
    let heard = || {
        answers
            .servers
            .iter()
            .filter_map(|(_, heard)| heard.as_ref())
    };
    let of_servers: Vec<IpAddr> = heard().flat_map(|heard| heard.addresses.clone()).collect();
    let addresses = match &answers.system {
        Some(Ok(addresses)) => addresses.clone(),
        Some(Err(_)) | None => of_servers.clone(),
    };
    let by_system = answers.system.as_ref().map(|system| match system {
        Ok(addresses) => format!("system: {}", list(addresses)),
        Err(error) => format!("system: {error}"),
    });
    let parts: Vec<String> = by_system
        .into_iter()
        .chain((!told_by_servers.is_empty()).then_some(told_by_servers))
        .collect();
    let saw = parts.join("; ");
    if addresses.is_empty() {
        let is_known_not_to_be = heard().any(|heard| heard.code == Code::NoSuchName)
            || matches!(answers.system, Some(Err(ResolveError::Unknown { .. })));
        // A name with other records than addresses leads no device anywhere either.
        let is_without_address = heard().any(|heard| heard.code == Code::Known);
        let (cause, strength) = match heard().next() {
            _ if is_known_not_to_be => (Cause::NameNotResolved, Strength::Proof),
            _ if is_without_address => (Cause::NameNotResolved, Strength::Specific),
            Some(_) => (Cause::DnsFailed, Strength::Specific),
            None => (Cause::DnsSilent, Strength::Specific),
        };
        run.clue(cause, strength, format!("{name}: {saw}"));
        return Told::failed(tried, Said::same(saw)).proving(both!(
            "no device that asks these servers finds {name}",
            "向这些服务器查询的设备都找不到 {name}"
        ));
    }
    // Devices are built for IPv4 first, and many for nothing else.
    run.addresses = addresses.clone();
    run.addresses.sort_by_key(|ip| ip.is_ipv6());
    let shown = list(&run.addresses);
    run.evidence
        .facts
        .note("address", run.addresses[0].to_string());
    let mut told = Told::passed(tried, Said::same(&saw));
    if let Some(differing) = split(run, &answers) {
        let (one, other) = differing;
        run.evidence.facts.note("other", other.clone());
        let quote = both!(
            "{name} is {one}, and {other} elsewhere: {saw}",
            "{name} 是 {one}，在别处是 {other}：{saw}"
        );
        run.clue(Cause::SplitHorizon, Strength::Specific, quote);
        told.proves = Some(both!(
            "who asks another name server comes to another machine",
            "使用不同域名服务器的设备会到达不同的机器"
        ));
        return told;
    }
    let public = run.order.vantage == Vantage::Public;
    // A resolver on this machine knows what its hosts file says.
    let by_servers = answers.servers.iter().any(|(server, heard)| {
        let heard = heard.as_ref().filter(|_| !server.ip().is_loopback());
        heard.is_some_and(|heard| heard.addresses.contains(&run.addresses[0]))
    });
    if run
        .addresses
        .iter()
        .all(|ip| ip.to_canonical().is_loopback())
        && !by_servers
    {
        // Its hosts file leads this machine to itself (Debian does so with its own name); what
        // devices get is not to be seen from here.
        told.proves = Some(both!(
            "{name} is this machine itself here (/etc/hosts); what devices get for it cannot be \
             seen from here",
            "{name} 在这里就是本机（/etc/hosts）；设备得到的结果无法从这里看到"
        ));
        return told;
    }
    let no_server_knows = !answers.servers.is_empty()
        && answers.servers.iter().all(|(server, heard)| {
            !server.ip().is_loopback() && heard.as_ref().is_some_and(|h| h.code == Code::NoSuchName)
        });
    if no_server_knows && matches!(answers.system, Some(Ok(_))) {
        let quote = both!(
            "{name}: {saw}; only this machine knows it (/etc/hosts)",
            "{name}：{saw}；只有本机知道它（/etc/hosts）"
        );
        run.clue(Cause::NameNotResolved, Strength::Class, quote);
        return told;
    }
    if run.addresses.iter().all(IpAddr::is_ipv6) {
        let quote = both!(
            "{name} has only IPv6 addresses ({shown}); most firmware is built without IPv6",
            "{name} 只有 IPv6 地址（{shown}）；多数固件不支持 IPv6"
        );
        run.clue(Cause::WrongAddress, Strength::Specific, quote);
    } else if let Some((strength, Said { en, zh })) = unfit(&run.addresses[0], public) {
        run.clue(
            Cause::WrongAddress,
            strength,
            both!("{name}: {en}", "{name}：{zh}"),
        );
    } else {
        run.pass(Layer::Dns, both!("{name} is {shown}", "{name} 是 {shown}"));
    }
    told
}

/// Two servers whose answers have nothing in common and cannot be two doors of one big service.
fn split(run: &Run, answers: &Answers) -> Option<(String, String)> {
    let given = |server: &SocketAddr| run.order.name_servers.contains(server);
    let mut seen: Vec<(bool, &[IpAddr])> = Vec::new();
    if let Some(Ok(system)) = &answers.system {
        seen.push((false, system));
    }
    for (server, heard) in &answers.servers {
        if let Some(heard) = heard.as_ref().filter(|heard| !heard.addresses.is_empty()) {
            seen.push((given(server), &heard.addresses));
        }
    }
    let v4 = |addresses: &[IpAddr]| -> Vec<IpAddr> {
        addresses.iter().copied().filter(IpAddr::is_ipv4).collect()
    };
    for (place, (given, one)) in seen.iter().enumerate() {
        for (other_given, other) in &seen[place + 1..] {
            let (one, other) = (v4(one), v4(other));
            if one.is_empty() || other.is_empty() || one.iter().any(|ip| other.contains(ip)) {
                continue;
            }
            let is_public = |ips: &[IpAddr]| ips.iter().all(is_public);
            // Big services answer with other public addresses each time.
            if *given || *other_given || !is_public(&one) || !is_public(&other) {
                return Some((list(&one), list(&other)));
            }
        }
    }
    None
}

/// Why an address is of no use to devices.
pub(super) fn unfit(ip: &IpAddr, for_public: bool) -> Option<(Strength, Said)> {
    let (strength, en, zh) = match ip.to_canonical() {
        ip if ip.is_loopback() => (Strength::Specific, "every machine itself", "每台机器自己"),
        ip if ip.is_unspecified() => (
            Strength::Specific,
            "no address of a machine",
            "不是机器地址",
        ),
        IpAddr::V4(v4) => match v4.octets() {
            [172, 17, ..] => (
                Strength::Specific,
                "inside Docker's network",
                "属于 Docker 内部网络",
            ),
            [172, 18..=31, ..] if !is_near(v4) => (
                Strength::Class,
                "in the range of Docker's networks",
                "属于 Docker 网络的地址范围",
            ),
            _ if for_public && !is_public(&IpAddr::V4(v4)) => (
                Strength::Specific,
                "an address of a home network",
                "是家庭网络地址",
            ),
            _ => return None,
        },
        IpAddr::V6(_) => return None,
    };
    Some((strength, both!("{ip} is {en}", "{ip} {zh}")))
}

/// Whether it lies in a network of an ordinary interface of this machine.
fn is_near(ip: Ipv4Addr) -> bool {
    let here = surroundings::Surroundings::look();
    here.addresses.iter().any(|address| {
        address.kind == surroundings::InterfaceKind::Ordinary && address.has_neighbour(ip.into())
    })
}

fn is_public(ip: &IpAddr) -> bool {
    safeport_settings::Reach::of(*ip) == safeport_settings::Reach::Public
}

async fn system(name: &str) -> Result<Vec<IpAddr>, ResolveError> {
    let asked = name.to_owned();
    let look = move || surroundings::resolve(&asked, DOCTOR_LOOKUP);
    tokio::task::spawn_blocking(look)
        .await
        .unwrap_or_else(|ended| {
            Err(ResolveError::Failed {
                name: name.to_owned(),
                said: ended.to_string(),
            })
        })
}

/// The name servers of this system: those that DHCP or its owner gave.
fn configured_servers() -> Vec<SocketAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.trim().parse::<IpAddr>().ok())
        .map(|ip| SocketAddr::new(ip, 53))
        .collect()
}

async fn ask_all(name: &str, servers: &[SocketAddr]) -> Vec<(SocketAddr, Option<Heard>)> {
    let mut tasks = JoinSet::new();
    for (place, server) in servers.iter().copied().enumerate() {
        let name = name.to_owned();
        tasks.spawn(async move { (place, server, ask_both(&name, server).await) });
    }
    let mut heard = Vec::new();
    while let Some(done) = tasks.join_next().await {
        heard.extend(done);
    }
    heard.sort_by_key(|(place, ..)| *place);
    heard
        .into_iter()
        .map(|(_, server, heard)| (server, heard))
        .collect()
}

/// Both families; what one of them says of the name holds for the other.
async fn ask_both(name: &str, server: SocketAddr) -> Option<Heard> {
    let (v4, v6) = tokio::join!(ask(name, Kind::A, server), ask(name, Kind::Aaaa, server));
    let (v4, v6) = match (v4, v6) {
        (None, None) => return None,
        (v4, v6) => (v4, v6),
    };
    let code = v4.as_ref().or(v6.as_ref())?.code;
    let addresses = [v4, v6]
        .into_iter()
        .flatten()
        .flat_map(|reply| reply.addresses);
    Some(Heard {
        code,
        addresses: addresses.collect(),
    })
}

async fn ask(name: &str, kind: Kind, server: SocketAddr) -> Option<Reply> {
    let id = u16::from_be_bytes(random());
    let packet = question(name, kind, id)?;
    let until = Instant::now() + DOCTOR_QUESTION;
    // One packet may be lost.
    for half in [DOCTOR_QUESTION / 2, DOCTOR_QUESTION] {
        let attempt = until - DOCTOR_QUESTION + half;
        if let Some(reply) = exchange(&packet, server, attempt).await
            && reply.id == id
        {
            return Some(reply);
        }
    }
    None
}

async fn exchange(packet: &[u8], server: SocketAddr, until: Instant) -> Option<Reply> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await.ok()?;
    // Only this server's packets come in.
    socket.connect(server).await.ok()?;
    socket.send(packet).await.ok()?;
    let mut buffer = [0; safeport_doctor::limits::DNS_REPLY];
    let count = timeout_at(until, socket.recv(&mut buffer))
        .await
        .ok()?
        .ok()?;
    Reply::read(&buffer[..count])
}

/// `.local`: asked into the local network, where whoever has the name answers.
async fn multicast(run: &mut Run, name: &str, tried: Said) -> Told {
    let (system, heard) = tokio::join!(system(name), ask_network(name));
    let heard: Vec<IpAddr> = heard.map(|reply| reply.addresses).unwrap_or_default();
    run.addresses = heard.clone();
    for ip in system.iter().flatten() {
        if !run.addresses.contains(ip) {
            run.addresses.push(*ip);
        }
    }
    run.addresses.sort_by_key(|ip| ip.is_ipv6());
    let shown = list(&run.addresses);
    if run.addresses.is_empty() {
        let quote = both!(
            "{name}: no machine of the local network answers to this name (mDNS)",
            "{name}：局域网中没有机器回应这个名称（mDNS）"
        );
        run.clue(Cause::NameNotResolved, Strength::Specific, quote);
        return Told::failed(
            tried,
            both!(
                "no machine of the local network answers to {name} (mDNS)",
                "局域网中没有机器回应名称 {name}（mDNS）"
            ),
        );
    }
    run.evidence
        .facts
        .note("address", run.addresses[0].to_string());
    run.pass(
        Layer::Dns,
        both!("{name} is {shown} (mDNS)", "{name} 是 {shown}（mDNS）"),
    );
    Told::passed(tried, both!("{shown} (mDNS)", "{shown}（mDNS）"))
}

async fn ask_network(name: &str) -> Option<Reply> {
    let packet = multicast_question(name, Kind::A)?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.ok()?;
    socket.send_to(&packet, (MULTICAST, 5353)).await.ok()?;
    let until = Instant::now() + DOCTOR_QUESTION;
    let mut buffer = [0; safeport_doctor::limits::DNS_REPLY];
    loop {
        let received = timeout_at(until, socket.recv_from(&mut buffer)).await;
        let (count, _) = received.ok()?.ok()?;
        if let Some(reply) = Reply::read(&buffer[..count]).filter(|r| !r.addresses.is_empty()) {
            return Some(reply);
        }
    }
}

/// RFC 6762 §3.
const MULTICAST: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);

pub(super) fn list(addresses: &[IpAddr]) -> String {
    let texts: Vec<String> = addresses.iter().take(8).map(IpAddr::to_string).collect();
    texts.join(", ")
}

/// Random bytes; zeros where the system has none, which only makes them guessable.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let _ = getrandom::fill(&mut bytes);
    bytes
}
