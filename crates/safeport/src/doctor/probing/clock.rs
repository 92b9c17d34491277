//! Stage 7: the clocks of both sides. Certificates are judged by the device's clock, which most
//! devices get from the server or from NTP.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use safeport_doctor::target::Service;
use safeport_doctor::{Cause, Layer, Strength};
use safeport_net::ntp::{NEVER_BEFORE, since_1970};
use safeport_settings::Said;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::Told;
use super::http::{self, Answer};
use super::run::Run;
use crate::limits::{DOCTOR_CLOCKS_APART, DOCTOR_NTP};
use crate::probe::both;
use crate::time::stamp;

pub(super) async fn look(run: &mut Run) -> Told {
    let tried = Said::new(
        "this machine's clock, the server's Date, NTP",
        "本机时钟、服务器的 Date、NTP",
    );
    let peer = run.peer;
    let ntp = match peer {
        Some(peer) => ask_ntp(SocketAddr::new(peer.ip(), 123)).await,
        None => None,
    };
    // Stage 8 asks for pages anyway, if it comes to that.
    if run.is_broken && run.server_time.is_none() && run.is_web() && run.can_connect() {
        ask_date(run).await;
    }
    let now = since_1970(SystemTime::now());
    let mut saw = vec![same_clock(now)];
    let mut apart = Vec::new();
    if let Some((theirs, ours)) = run.server_time {
        let shown = stamp(theirs.as_secs());
        run.evidence.facts.note("server_time", shown.clone());
        saw.push(both!("the server says {shown}", "服务器时间为 {shown}"));
        apart.push((theirs, ours, "Date"));
    }
    match (ntp, peer) {
        (Some((theirs, ours)), Some(peer)) => {
            let (shown, ip) = (stamp(theirs.as_secs()), peer.ip());
            saw.push(both!("NTP at {ip}: {shown}", "{ip} 的 NTP：{shown}"));
            apart.push((theirs, ours, "NTP"));
        }
        (None, Some(peer)) => {
            let ip = peer.ip();
            saw.push(both!("no NTP at {ip}", "{ip} 没有 NTP"));
        }
        _ => {}
    }
    let said = super::own::joined(&saw);
    let worst = apart
        .iter()
        .find(|(theirs, ours, _)| theirs.abs_diff(*ours) > DOCTOR_CLOCKS_APART);
    if let Some((theirs, ours, source)) = worst {
        let (theirs, ours) = (stamp(theirs.as_secs()), stamp(ours.as_secs()));
        let quote = both!(
            "the server's {source} says {theirs}, this machine {ours}",
            "服务器的 {source} 显示 {theirs}，本机为 {ours}"
        );
        run.evidence.facts.note("other", ours);
        run.clue(Cause::ServerClockWrong, Strength::Specific, quote);
        return Told::failed(tried, said).proving(Said::new(
            "one of the two clocks is wrong, and devices take theirs from the server",
            "两个时钟中有一个不对，而设备的时间来自服务器",
        ));
    }
    if now < NEVER_BEFORE {
        return Told::failed(tried, said);
    }
    if !apart.is_empty() {
        run.pass(
            Layer::Clock,
            format!("the clocks agree: {}", stamp(now.as_secs())),
        );
        return Told::passed(tried, said)
            .excluding(Said::new("a wrong clock of the server", "服务器时钟错误"));
    }
    Told::passed(tried, said)
}

fn same_clock(now: Duration) -> Said {
    let shown = stamp(now.as_secs());
    both!("this machine: {shown}", "本机：{shown}")
}

/// Asks the server for its Date, where it speaks HTTP.
async fn ask_date(run: &mut Run) {
    let Some((host, peer)) = run
        .target
        .as_ref()
        .zip(run.peer)
        .map(|(target, peer)| (http::host_header(target, peer.port()), peer))
    else {
        return;
    };
    let _ = peer;
    let Ok(mut stream) = run.dial().await else {
        return;
    };
    let request = http::get("GET", &host, "/", "");
    let got = run
        .ask(&mut stream, &request, DOCTOR_NTP * 2, Answer::has_head)
        .await;
    if let Some(date) = Answer::read(&got.bytes).and_then(|answer| answer.date()) {
        run.note_date(date);
    }
}

/// The time of an NTP server, and ours when the answer came.
async fn ask_ntp(server: SocketAddr) -> Option<(Duration, Duration)> {
    let any: SocketAddr = if server.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0_u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any).await.ok()?;
    socket.connect(server).await.ok()?;
    let mut question = [0; safeport_net::ntp::PACKET];
    // Version 4, mode 3: a client's question (RFC 5905 §7.3). Its own time is any number.
    question[0] = 4 << 3 | 3;
    question[40..48].copy_from_slice(&super::dns::random::<8>());
    socket.send(&question).await.ok()?;
    let mut answer = [0; 128];
    let until = Instant::now() + DOCTOR_NTP;
    let count = timeout_at(until, socket.recv(&mut answer))
        .await
        .ok()?
        .ok()?;
    let ours = since_1970(SystemTime::now());
    let is_answer = count >= safeport_net::ntp::PACKET
        && answer[0] & 7 == 4
        && answer[24..32] == question[40..48]
        // Stratum 0 is no time (a kiss of death).
        && answer[1] != 0;
    let seconds = u32::from_be_bytes(answer[40..44].try_into().ok()?);
    // From 1900 to 1970; after 2036 the count begins anew (RFC 5905 §6).
    let since_1900 = u64::from(seconds) + if seconds < 1 << 31 { 1 << 32 } else { 0 };
    let theirs = since_1900.checked_sub(2_208_988_800)?;
    is_answer.then_some((Duration::from_secs(theirs), ours))
}

impl Run {
    /// The server's clock showed this just now.
    pub(super) fn note_date(&mut self, date: Duration) {
        self.server_time = Some((date, since_1970(SystemTime::now())));
    }

    fn is_web(&self) -> bool {
        use super::spoken::Spoken;
        match self.service() {
            Service::Mqtt => false,
            Service::Unknown => self.spoken == Some(Spoken::Http),
            _ => matches!(self.spoken, Some(Spoken::Http | Spoken::Tls)),
        }
    }
}
