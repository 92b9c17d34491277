//! Stage 8: the protocol that the device came for, as the device speaks it.

use safeport_doctor::target::{Service, Target};
use safeport_doctor::{Cause, Layer, Strength};
use safeport_settings::Said;

use super::Told;
use super::http::Answer;
use super::run::{Got, Run};
use super::spoken::Spoken;
use crate::probe::both;
use websocket::is_proxy;

mod fetch;
pub(super) mod mqtt;
pub(super) mod ota;
pub(super) mod websocket;

pub(super) async fn look(run: &mut Run) -> Told {
    let told = match (run.service(), run.spoken.clone()) {
        (Service::Mqtt, _) => mqtt::look(run).await,
        (Service::Websocket, _) => websocket::look(run).await,
        (Service::Ota, _) => ota::look(run).await,
        (Service::Http, _) => fetch::look(run).await,
        (Service::Unknown, Some(Spoken::Mqtt)) => mqtt::look(run).await,
        (Service::Unknown, Some(Spoken::Http)) => fetch::look(run).await,
        (Service::Unknown, _) if speaks_http(run).await => fetch::look(run).await,
        (Service::Unknown, _) => mqtt::look(run).await,
    };
    run.judge_date();
    match super::tls::judge_records(run) {
        Some(saw) => Told::failed(told.tried, saw),
        None => told,
    }
}

/// Inside TLS no first byte shows what is spoken: whether a request is answered tells.
async fn speaks_http(run: &mut Run) -> bool {
    let Some((target, peer)) = run.target.clone().zip(run.peer) else {
        return false;
    };
    if matches!(peer.port(), 8883 | 8884) {
        return false;
    }
    let Ok(mut stream) = run.dial().await else {
        return false;
    };
    let host = super::http::host_header(&target, peer.port());
    let request = super::http::get("GET", &host, "/", "");
    let patience = crate::limits::DOCTOR_NEXT_ANSWER;
    let got = run
        .ask(&mut stream, &request, patience, Answer::has_head)
        .await;
    Spoken::of(&got) == Spoken::Http
}

impl Run {
    /// A Date that came late is compared all the same.
    fn judge_date(&mut self) {
        let Some((theirs, ours)) = self.server_time else {
            return;
        };
        let is_known = self
            .evidence
            .clues
            .iter()
            .any(|clue| clue.cause == Cause::ServerClockWrong);
        if theirs.abs_diff(ours) > crate::limits::DOCTOR_CLOCKS_APART && !is_known {
            let stamp = crate::time::stamp;
            let (theirs, ours) = (stamp(theirs.as_secs()), stamp(ours.as_secs()));
            self.evidence.facts.note("server_time", theirs.clone());
            self.clue(
                Cause::ServerClockWrong,
                Strength::Specific,
                both!(
                    "the server's Date says {theirs}, this machine {ours}",
                    "服务器的 Date 显示 {theirs}，本机为 {ours}"
                ),
            );
        }
    }
}

/// What is wrong with the answer to a device's request, if that can be told from its head: the
/// same for all that is asked by HTTP.
fn judge_status(run: &mut Run, answer: &Answer, what: &str) -> Option<Said> {
    let line = answer.described();
    let (cause, strength) = match answer.status {
        200..=299 | 101 => return None,
        511 => (Cause::CaptivePortal, Strength::Proof),
        300..=399 => (Cause::HttpRedirect, Strength::Specific),
        401 | 403 | 407 => (Cause::HttpUnauthorized, Strength::Specific),
        404 | 410 => (Cause::PathMissing, Strength::Specific),
        429 => (Cause::ServerBusy, Strength::Specific),
        // Whoever is no proxy speaks of itself.
        503 if !is_proxy(answer.header("server").unwrap_or_default()) => {
            (Cause::ServerBusy, Strength::Specific)
        }
        // Those from 520 on are Cloudflare's, of the server behind it.
        502..=504 | 520..=527 | 530 => (Cause::BackendDown, Strength::Specific),
        500..=599 => (Cause::HttpServerError, Strength::Specific),
        _ => (Cause::HttpRefused, Strength::Specific),
    };
    run.evidence.facts.note("status", answer.status.to_string());
    let location = answer.header("location").unwrap_or_default();
    let quote = match location {
        "" => format!("{what}: {line}"),
        to => format!("{what}: {line}, Location: {to}"),
    };
    run.clue(cause, strength, quote.as_str());
    Some(Said::same(quote))
}

/// There is no connection at the layer of the protocol.
fn undialled(run: &mut Run, tried: Said, cause: Cause, why: Said) -> Told {
    if run.tls.is_foreign() {
        // Devices get further than this program here: what they have in common with the server is
        // too old for it.
        return Told::nothing(tried, why);
    }
    run.clue(cause, Strength::Class, why.clone());
    Told::failed(tried, why)
}

/// There is no answer, or none of HTTP.
fn no_answer(run: &mut Run, got: &Got, what: &str) -> Said {
    let Said { en, zh } = got.end.said();
    let (cause, quote) = match Spoken::of(got) {
        Spoken::Nothing(super::run::End::Silent) => (Cause::HttpTimeout, format!("{what}: {en}")),
        Spoken::Nothing(_) => (Cause::HttpFailed, format!("{what}: {en}")),
        Spoken::Http if got.end == super::run::End::Silent => (
            Cause::HttpTimeout,
            format!("{what}: half an answer, then {en}"),
        ),
        Spoken::Http => (Cause::HttpFailed, format!("{what}: an answer without end")),
        other => {
            let word = other.word();
            (Cause::WrongService, format!("{what}: {word}"))
        }
    };
    run.clue(cause, Strength::Specific, quote);
    Said::new(en, zh)
}

/// Whether a page of a network's gate answers for every host: it answers a path that nobody has
/// with the same redirect.
async fn is_captive(run: &mut Run, answer: &Answer) -> bool {
    let Some(target) = run.target.clone() else {
        return false;
    };
    if answer.other_host(&target.host.to_string()).is_none() {
        return false;
    }
    let Ok(mut stream) = run.dial().await else {
        return false;
    };
    let name = mqtt::made_up_id();
    let port = run.peer.map_or(80, |peer| peer.port());
    let host = super::http::host_header(&target, port);
    let request = super::http::get("GET", &host, &format!("/{name}"), "");
    let patience = crate::limits::DOCTOR_NEXT_ANSWER;
    let got = run
        .ask(&mut stream, &request, patience, Answer::has_head)
        .await;
    let Some(other) = Answer::read(&got.bytes) else {
        return false;
    };
    let to = |answer: &Answer| {
        let target = Target::read(answer.header("location")?).ok()?;
        Some((target.host, target.path))
    };
    // A site that moved leads each path to its own place there.
    to(&other).is_some() && to(&other) == to(answer)
}

fn captive(run: &mut Run, answer: &Answer) -> Said {
    let to = answer.header("location").unwrap_or_default().to_owned();
    run.clue(
        Cause::CaptivePortal,
        Strength::Proof,
        both!("every path is sent on to {to}", "所有路径都被重定向到 {to}"),
    );
    both!(
        "every path is sent on to {to}: the login page of this network",
        "所有路径都被重定向到 {to}：这是当前网络的登录页面"
    )
}

/// HTTP works.
fn http_passed(run: &mut Run, what: &str, answer: &Answer) {
    let line = answer.described();
    run.pass(Layer::Http, format!("{what}: {line}"));
}
