//! Stage 4: which protocol the port speaks, whatever was wanted of it.

use std::time::Duration;

use safeport_doctor::target::{Scheme, Service};
use safeport_doctor::{Cause, Layer, Strength};
use safeport_settings::Said;

use super::Told;
use super::app::mqtt;
use super::http::{self, Answer};
use super::run::{End, Got, Run};
use super::spoken::Spoken;
use crate::limits::{DOCTOR_FIRST_ANSWER, DOCTOR_NEXT_ANSWER};
use crate::probe::both;

/// What a port can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Hello,
    Get,
    Connect,
}

pub(super) async fn look(run: &mut Run) -> Told {
    let tried = Said::new(
        "what the port answers to a ClientHello, a GET, a CONNECT",
        "端口对 ClientHello、GET、CONNECT 的回应",
    );
    if !run.banner.is_empty() {
        run.close_all();
        let spoken = Spoken::of(&Got {
            bytes: run.banner.clone(),
            end: End::Enough,
        });
        return speaks_first(run, tried, spoken);
    }
    let wanted = Wanted::of(run);
    let mut heard = Vec::new();
    let mut found = None;
    // What is said to be polite to strangers proves nothing of the port, unless nobody says more.
    let mut polite = None;
    for question in wanted.questions() {
        let patience = match heard.is_empty() {
            true => DOCTOR_FIRST_ANSWER,
            false => DOCTOR_NEXT_ANSWER,
        };
        let Some(got) = ask(run, question, patience).await else {
            break;
        };
        let spoken = Spoken::of(&got);
        let asks_for_tls = spoken == Spoken::Http
            && question == Question::Get
            && Answer::read(&got.bytes).is_some_and(|answer| wants_tls(&answer));
        match &spoken {
            Spoken::Http if asks_for_tls => {}
            Spoken::Tls | Spoken::Mqtt if is_polite(&got.bytes) => {
                polite.get_or_insert(spoken.clone());
            }
            Spoken::Tls | Spoken::Http | Spoken::Mqtt | Spoken::Text(_) => {
                found = Some(spoken.clone());
            }
            Spoken::Strange(_) | Spoken::Nothing(_) => {}
        }
        heard.push((question, spoken, got));
        if found.is_some() {
            break;
        }
    }
    // Whoever is asked for TLS in clear text may be the only one to ask.
    run.close_stale();
    let found = found.or(polite);
    run.spoken = found.clone();
    let Some(found) = found else {
        let is_silent = heard.first().is_some_and(|(question, _, got)| {
            *question == Question::Hello && got.end == End::Silent
        });
        if is_silent && super::tls::small(run, DOCTOR_NEXT_ANSWER).await {
            run.spoken = Some(Spoken::Tls);
            return black_hole(run, tried);
        }
        return speaks_nothing(run, tried, wanted, &heard);
    };
    judge(run, tried, wanted, &found)
}

/// What the port should speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Tls,
    Http,
    Mqtt,
    Anything,
}

impl Wanted {
    fn of(run: &Run) -> Wanted {
        let tls = run.target.as_ref().and_then(|target| target.wants_tls());
        match (tls, run.service()) {
            (Some(true), _) => Wanted::Tls,
            (Some(false), Service::Mqtt) => Wanted::Mqtt,
            (Some(false), _) => Wanted::Http,
            (None, _) if matches!(run.port(), Some(443 | 8443 | 8883 | 8884)) => Wanted::Anything,
            (None, Service::Mqtt) => Wanted::Mqtt,
            (None, Service::Unknown) => Wanted::Anything,
            (None, _) => Wanted::Http,
        }
    }

    fn questions(self) -> [Question; 3] {
        match self {
            Wanted::Tls | Wanted::Anything => [Question::Hello, Question::Get, Question::Connect],
            Wanted::Http => [Question::Get, Question::Hello, Question::Connect],
            Wanted::Mqtt => [Question::Connect, Question::Hello, Question::Get],
        }
    }

    fn word(self) -> &'static str {
        match self {
            Wanted::Tls => "TLS",
            Wanted::Http => "HTTP",
            Wanted::Mqtt => "MQTT",
            Wanted::Anything => "-",
        }
    }
}

/// Asks over a connection of its own. None when there is none.
async fn ask(run: &mut Run, question: Question, patience: Duration) -> Option<Got> {
    let mut stream = run.connect().await.ok()?;
    match question {
        Question::Hello => super::tls::hello(run, &mut stream, patience).await,
        Question::Get => {
            let target = run.target.as_ref()?;
            let host = http::host_header(target, run.peer?.port());
            let request = http::get("GET", &host, "/", "");
            let got = run
                .ask(&mut stream, &request, patience, Answer::is_whole)
                .await;
            if let Some(date) = Answer::read(&got.bytes).and_then(|answer| answer.date()) {
                run.note_date(date);
            }
            Some(got)
        }
        Question::Connect => {
            let packet = mqtt::connect(4, &mqtt::made_up_id(), None);
            let enough = |bytes: &[u8]| bytes.len() >= 4;
            Some(run.ask(&mut stream, &packet, patience, enough).await)
        }
    }
}

/// Whether this is how a server turns away who speaks another protocol than its own: an alert where no
/// TLS is spoken, and CONNACK 3 where no broker is (this server tells devices so).
fn is_polite(answer: &[u8]) -> bool {
    matches!(answer, [0x15, 0x03, ..] | [0x20, 0x02, _, 3])
}

/// nginx, Go, Python and this server say so to plain HTTP on a port of HTTPS.
fn wants_tls(answer: &Answer) -> bool {
    let text = answer.text().to_ascii_lowercase();
    matches!(answer.status, 400 | 426 | 497)
        && (text.contains("https") || text.contains("tls") || text.contains("ssl"))
}

fn speaks_first(run: &mut Run, tried: Said, spoken: Spoken) -> Told {
    let port = run.port().unwrap_or_default();
    let word = spoken.word();
    run.clue(
        Cause::WrongService,
        Strength::Proof,
        both!(
            "port {port} speaks first: {word}",
            "端口 {port} 先发言：{word}"
        ),
    );
    run.spoken = Some(spoken);
    Told::misplaced(
        tried,
        both!("it speaks first: {word}", "对方先发言：{word}"),
        true,
    )
    .proving(Said::new(
        "another program listens there: HTTP, TLS and MQTT wait to be asked",
        "那里是另一个程序：HTTP、TLS 和 MQTT 服务器都等待对方先发言",
    ))
}

fn judge(run: &mut Run, tried: Said, wanted: Wanted, found: &Spoken) -> Told {
    let port = run.port().unwrap_or_default();
    let (word, want) = (found.word(), wanted.word());
    let saw = both!("port {port} speaks {word}", "端口 {port} 使用 {word}");
    let service = run.service();
    let (cause, better) = match (wanted, found) {
        (Wanted::Tls, Spoken::Tls)
        | (Wanted::Http, Spoken::Http)
        | (Wanted::Mqtt, Spoken::Mqtt)
        | (Wanted::Anything, Spoken::Tls | Spoken::Http | Spoken::Mqtt) => {
            if *found == Spoken::Tls && run.tls.is_cut_off() {
                return black_hole(run, tried);
            }
            run.pass(Layer::Tcp, saw.clone());
            return Told::passed(tried, saw);
        }
        (Wanted::Tls, Spoken::Http) => (Cause::TlsToPlainHttp, plain_scheme(service)),
        (Wanted::Tls, Spoken::Mqtt) => (Cause::TlsToPlainPort, Some(Scheme::Mqtt)),
        (Wanted::Http, Spoken::Tls) if service == Service::Mqtt => {
            (Cause::PlainToTlsPort, Some(Scheme::Mqtts))
        }
        (Wanted::Http, Spoken::Tls) => (Cause::HttpToTls, tls_scheme(service)),
        (Wanted::Mqtt, Spoken::Tls) => (Cause::PlainToTlsPort, Some(Scheme::Mqtts)),
        _ => (Cause::WrongService, None),
    };
    run.clue(
        cause,
        Strength::Proof,
        both!(
            "port {port} speaks {word}, and {want} is wanted of it",
            "端口 {port} 使用 {word}，而期望的是 {want}"
        ),
    );
    // The same port with the right scheme: that it speaks so was just seen.
    let is_same_service =
        !matches!((wanted, found), (Wanted::Tls, Spoken::Mqtt) if service != Service::Mqtt);
    if let Some(url) = better
        .filter(|_| is_same_service)
        .and_then(|scheme| run.url_with(scheme, port))
    {
        run.evidence.facts.note("proposal", url);
    }
    Told::misplaced(tried, saw, true).proving(both!(
        "{want} is wanted of it: scheme and port do not go together",
        "期望的是 {want}：协议与端口不匹配"
    ))
}

fn plain_scheme(service: Service) -> Option<Scheme> {
    match service {
        Service::Websocket => Some(Scheme::Ws),
        Service::Ota | Service::Http => Some(Scheme::Http),
        Service::Mqtt | Service::Unknown => None,
    }
}

fn tls_scheme(service: Service) -> Option<Scheme> {
    match service {
        Service::Websocket => Some(Scheme::Wss),
        Service::Ota | Service::Http => Some(Scheme::Https),
        Service::Mqtt | Service::Unknown => None,
    }
}

/// Small answers come and large ones do not.
fn black_hole(run: &mut Run, tried: Said) -> Told {
    let port = run.port().unwrap_or_default();
    let saw = both!(
        "port {port} answers TLS, and its certificates, the first large packets, never come whole",
        "端口 {port} 使用 TLS，但证书（第一批大数据包）始终没有完整到达"
    );
    run.clue(Cause::MtuBlackHole, Strength::Specific, saw.clone());
    Told::failed(tried, saw).proving(Said::new(
        "something on the way drops large packets and does not say so (a tunnel, PPPoE, a VPN)",
        "途中有设备（隧道、PPPoE、VPN）丢弃大数据包且不作通知",
    ))
}

/// No protocol was recognised: how the connections ended says what kind of silence it is.
fn speaks_nothing(
    run: &mut Run,
    tried: Said,
    wanted: Wanted,
    heard: &[(Question, Spoken, Got)],
) -> Told {
    let port = run.port().unwrap_or_default();
    let Some((_, first, got)) = heard.first() else {
        let saw = Said::new(
            "the port took no further connection",
            "端口不再接受新的连接",
        );
        run.clue(
            Cause::ConnectionLost,
            Strength::Class,
            both!(
                "port {port} takes no second connection",
                "端口 {port} 不接受第二个连接"
            ),
        );
        return Told::failed(tried, saw);
    };
    let Said { en, zh } = got.end.said();
    let (cause, strength, quote) = match (first, got.end) {
        (Spoken::Strange(hex), End::Full) => (
            Cause::WrongService,
            Strength::Proof,
            both!(
                "port {port} sends without end: {hex} …",
                "端口 {port} 不停地发送数据：{hex} …"
            ),
        ),
        (Spoken::Strange(hex), _) => (
            Cause::WrongService,
            Strength::Proof,
            both!(
                "port {port} answers with no protocol of devices: {hex}",
                "端口 {port} 的回应不是设备使用的协议：{hex}"
            ),
        ),
        (_, End::Silent) => {
            let seconds = DOCTOR_FIRST_ANSWER.as_secs();
            let cause = match wanted {
                Wanted::Mqtt => Cause::NoConnack,
                Wanted::Http => Cause::HttpTimeout,
                Wanted::Tls | Wanted::Anything => Cause::AcceptsThenSilent,
            };
            let quote = both!(
                "port {port} takes connections and answers nothing it is asked within {seconds} s",
                "端口 {port} 接受连接，但 {seconds} 秒内对任何询问都没有回应"
            );
            (cause, Strength::Specific, quote)
        }
        _ if wanted == Wanted::Tls => (
            Cause::ClosesInHandshake,
            Strength::Specific,
            both!(
                "port {port}: after the ClientHello {en}",
                "端口 {port}：收到 ClientHello 后{zh}"
            ),
        ),
        (_, End::Reset) => (
            Cause::ConnectionReset,
            Strength::Specific,
            both!(
                "port {port}: after the question {en}",
                "端口 {port}：收到询问后{zh}"
            ),
        ),
        _ => (
            match wanted {
                Wanted::Mqtt => Cause::MqttFailed,
                Wanted::Http => Cause::HttpFailed,
                Wanted::Tls | Wanted::Anything => Cause::ConnectionLost,
            },
            Strength::Specific,
            both!(
                "port {port}: after the question {en}",
                "端口 {port}：收到询问后{zh}"
            ),
        ),
    };
    // Behind a reset on accept every question ends alike.
    let has_cause = run
        .evidence
        .clues
        .iter()
        .any(|clue| clue.cause == Cause::ResetOnAccept);
    let strength = if has_cause {
        Strength::Carrier
    } else {
        strength
    };
    run.clue(cause, strength, quote);
    let word = first.word();
    Told::misplaced(
        tried,
        both!(
            "no protocol of devices ({word}); {en}",
            "不是设备使用的协议（{word}）；{zh}"
        ),
        true,
    )
}
