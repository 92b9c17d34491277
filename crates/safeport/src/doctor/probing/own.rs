//! Stage 0: this machine, if it is the target: who holds the port, for whom it is bound, which
//! certificates its settings name, and whether its clock was ever set.

use std::net::SocketAddr;
use std::time::SystemTime;

use safeport_doctor::{Cause, Strength};
use safeport_net::holder::{Holder, Holding, Protocol, holder_of};
use safeport_net::ntp::{NEVER_BEFORE, since_1970};
use safeport_net::surroundings::Surroundings;
use safeport_settings::Said;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::run::Run;
use super::{OwnPort, Told};
use crate::probe::{both, certificates_in};

pub(super) async fn look(run: &mut Run) -> Told {
    let here = Surroundings::look();
    run.is_own = run.addresses.iter().any(|ip| here.is_own(*ip));
    let tried = Said::new(
        "who holds the port, certificates, the clock",
        "端口占用者、证书、时钟",
    );
    let mut saw: Vec<Said> = Vec::new();
    let mut is_broken = false;
    let now = since_1970(SystemTime::now());
    if now < NEVER_BEFORE {
        let shown = crate::time::stamp(now.as_secs());
        run.clue(
            Cause::ServerClockWrong,
            Strength::Proof,
            both!("this machine's clock shows {shown}", "本机时钟显示 {shown}"),
        );
        run.evidence.facts.note("server_time", shown.clone());
        saw.push(both!("the clock shows {shown}", "时钟显示 {shown}"));
        is_broken = true;
    }
    let ports: Vec<OwnPort> = match (run.is_own, run.port(), run.target.is_none()) {
        (true, Some(port), _) => {
            let configured = run.order.own_ports.iter();
            let configured: Vec<OwnPort> =
                configured.filter(|own| own.port == port).cloned().collect();
            if configured.is_empty() {
                saw.extend(held_by(run, port).await);
            }
            configured
        }
        (_, _, true) => run.order.own_ports.clone(),
        _ => Vec::new(),
    };
    for own in ports {
        let (said, broken) = judge_own(run, own).await;
        saw.push(said);
        is_broken |= broken;
    }
    if run.is_own || run.target.is_none() {
        for path in run.order.certificate_files.clone() {
            if let Some((said, cause)) = judge_file(&path, now.as_secs()) {
                run.clue(cause, Strength::Specific, said.clone());
                saw.push(said);
                is_broken = true;
            }
        }
    }
    let said = joined(&saw);
    match (saw.is_empty(), is_broken) {
        // What is wrong here need not be what keeps the device away; all else is looked at, too.
        (false, _) if is_broken && run.target.is_none() => Told::failed(tried, said),
        (false, _) => Told::passed(tried, said),
        (true, _) => Told::nothing(
            tried,
            if run.is_own {
                Said::new(
                    "the target is this machine; nothing stands out",
                    "目标就是本机，没有异常",
                )
            } else {
                Said::new("the target is another machine", "目标是另一台机器")
            },
        ),
    }
}

/// Who holds a port that no setting of ours names.
async fn held_by(run: &mut Run, port: u16) -> Option<Said> {
    let ip = *run.addresses.first()?;
    let holding = holder(SocketAddr::new(ip, port)).await;
    let Holding::Program(holder) = &holding else {
        return None;
    };
    note_holder(run, holder);
    let who = holding.to_string();
    Some(both!(
        "port {port} is held by {who}",
        "端口 {port} 由 {who} 占用"
    ))
}

/// A port that a setting gives to our server.
async fn judge_own(run: &mut Run, own: OwnPort) -> (Said, bool) {
    let OwnPort { port, key, bind } = own;
    let address = SocketAddr::new(bind, port);
    match holder(address).await {
        Holding::ThisProcess => (
            both!(
                "port {port} of {key}: this server",
                "{key} 的端口 {port}：本服务器"
            ),
            false,
        ),
        Holding::Program(holder) if is_safeport(&holder) => {
            let who = holder.to_string();
            (
                both!("port {port} of {key}: {who}", "{key} 的端口 {port}：{who}"),
                false,
            )
        }
        Holding::Program(holder) => {
            let who = holder.to_string();
            note_holder(run, &holder);
            run.evidence.facts.note("port", port.to_string());
            run.clue(
                Cause::PortInUse,
                Strength::Proof,
                both!(
                    "port {port} of {key} is held by {who}",
                    "{key} 的端口 {port} 被 {who} 占用"
                ),
            );
            (
                both!(
                    "port {port} of {key} is held by {who}",
                    "{key} 的端口 {port} 被 {who} 占用"
                ),
                true,
            )
        }
        Holding::OutOfSight { .. } => (
            both!(
                "port {port} of {key}: nothing listens",
                "{key} 的端口 {port}：没有程序监听"
            ),
            false,
        ),
        other => {
            let who = other.to_string();
            (
                both!("port {port} of {key}: {who}", "{key} 的端口 {port}：{who}"),
                false,
            )
        }
    }
}

/// Whether it is a server of this program, whatever its file is called.
fn is_safeport(holder: &Holder) -> bool {
    let this = std::env::current_exe().ok();
    let this = this
        .as_ref()
        .and_then(|path| path.file_name()?.to_str())
        // As the kernel cuts it.
        .map(|name| name.get(..15).unwrap_or(name));
    let program = holder.program.as_deref();
    program.is_some() && (program == Some("safeport") || program == this)
}

pub(super) fn note_holder(run: &mut Run, holder: &Holder) {
    let facts = &mut run.evidence.facts;
    facts.note("pid", holder.pid.to_string());
    if let Some(program) = &holder.program {
        facts.note("program", program);
    }
    if let Some(command) = &holder.command_line {
        facts.note("command", command);
    }
}

/// Reading `/proc` takes some milliseconds on a busy machine.
async fn holder(at: SocketAddr) -> Holding {
    let look = move || holder_of(Protocol::Tcp, at);
    tokio::task::spawn_blocking(look)
        .await
        .unwrap_or(Holding::OutOfSight {
            in_container: false,
        })
}

/// What is wrong with a file of certificates, if anything.
fn judge_file(path: &std::path::Path, now: u64) -> Option<(Said, Cause)> {
    let shown = path.display();
    let pem = match std::fs::read(path) {
        Ok(pem) => pem,
        Err(error) => {
            let said = both!(
                "{shown} cannot be read ({error})",
                "无法读取 {shown}（{error}）"
            );
            return Some((said, Cause::CertificateUnreadable));
        }
    };
    let certificates = certificates_in(&String::from_utf8_lossy(&pem));
    let leaf = certificates
        .first()
        .and_then(|der| X509Certificate::from_der(der).ok());
    let Some((_, leaf)) = leaf else {
        let said = both!(
            "{shown} holds no certificate that can be read",
            "{shown} 中没有可读取的证书"
        );
        return Some((said, Cause::CertificateUnreadable));
    };
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let validity = leaf.validity();
    if now > validity.not_after.timestamp() {
        let end = validity.not_after.to_string();
        let said = both!(
            "the certificate in {shown} has expired ({end})",
            "{shown} 中的证书已过期（{end}）"
        );
        return Some((said, Cause::CertificateExpired));
    }
    if now < validity.not_before.timestamp() {
        let begin = validity.not_before.to_string();
        let said = both!(
            "the certificate in {shown} is not valid before {begin}",
            "{shown} 中的证书在 {begin} 之前尚未生效"
        );
        return Some((said, Cause::NotYetValid));
    }
    None
}

/// Several sentences as one.
pub(super) fn joined(said: &[Said]) -> Said {
    let en: Vec<&str> = said.iter().map(|said| said.en.as_str()).collect();
    let zh: Vec<&str> = said.iter().map(|said| said.zh.as_str()).collect();
    Said::new(en.join("; "), zh.join("；"))
}
