//! Stages 5 and 6: TLS as a client that can do everything, and as the device would.

use std::time::{Duration, SystemTime};

use rustls::crypto::aws_lc_rs::ALL_KX_GROUPS;
use rustls::pki_types::CertificateDer;
use safeport_doctor::profile::Profile;
use safeport_doctor::target::{Host, Service};
use safeport_doctor::tls::{
    Anchor, Answer, Certificate, Circumstances, Flight, FlightReader, How, Offer, Outcome, Seen,
    Verdict, distinct_offers, inspect_chain, judge_chain, names, table,
};
use safeport_doctor::{Cause, Clue, Layer, Strength};
use safeport_net::ntp::since_1970;
use safeport_settings::Said;
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use super::Told;
use super::meter::Meter;
use super::own::joined;
use super::run::{End, Got, Run};
use super::secure::{self, Secured, Signed};
use crate::limits::{DOCTOR_CONNECT, DOCTOR_FIRST_ANSWER};
use crate::probe::both;

/// What is known of the TLS of one port.
#[derive(Debug, Default)]
pub(super) struct Known {
    seen: Seen,
    /// Of a whole handshake.
    chain: Vec<Vec<u8>>,
    agreed: Option<Agreed>,
    /// Of the connections on which data came.
    meters: Vec<Meter>,
    anchors: Option<Anchors>,
    /// The chain with which nothing is wrong, for whoever looks at all of it. Empty: there is none.
    vouched_for: Vec<Vec<u8>>,
    /// The chain that the last connection showed, if that was to its owner.
    owned: Vec<Vec<u8>>,
}

#[derive(Debug, Clone)]
struct Agreed {
    version: u16,
    suite: u16,
    alpn: Option<String>,
}

#[derive(Debug, Clone)]
struct Anchors {
    public: Vec<Anchor>,
    given: Vec<Anchor>,
    known: Vec<Anchor>,
}

impl Known {
    /// A whole handshake went through.
    pub(super) fn note(&mut self, secured: &Secured) {
        if self.chain.is_empty() {
            self.chain.clone_from(&secured.chain);
        }
        self.owned = match secured.signed {
            Signed::Rightly => secured.chain.clone(),
            Signed::Wrongly | Signed::Unknown => Vec::new(),
        };
        self.meters.push(secured.meter.clone());
        self.agreed.get_or_insert(Agreed {
            version: secured.version,
            suite: secured.suite,
            alpn: secured.alpn.clone(),
        });
    }

    /// Whether an answer began and never came to its end.
    pub(super) fn is_cut_off(&self) -> bool {
        self.seen.answers.iter().any(|(_, flight)| {
            flight.answer == Answer::Tls
                && flight.how == How::Silent
                && !flight.whole
                && !flight.encrypted
                && flight.refusal().is_none()
        })
    }

    /// Whether the last connection ends where the certificate says, so that a secret may go there.
    pub(super) fn is_trusted(&self) -> bool {
        // One chain: a good one on one connection says nothing of another on the next.
        !self.owned.is_empty() && self.owned == self.vouched_for
    }

    /// Whether the server agrees with some clients and not with this program.
    pub(super) fn is_foreign(&self) -> bool {
        let mut answers = self.seen.answers.iter();
        self.agreed.is_none() && answers.any(|(_, flight)| flight.accepted() && flight.whole)
    }

    fn wide(&self) -> Option<&Flight> {
        self.seen.answers.first().map(|(_, flight)| flight)
    }
}

/// Sends the ClientHello that shows most, and reads what is answered in clear.
pub(super) async fn hello(
    run: &mut Run,
    stream: &mut TcpStream,
    patience: Duration,
) -> Option<Got> {
    say(run, stream, &Offer::wide(), patience).await
}

/// A ClientHello that no server can agree to, so that any of them answers with an alert, which is a
/// few bytes long: whether small answers come through where large ones do not.
pub(super) async fn small(run: &mut Run, patience: Duration) -> bool {
    let offer = Offer {
        // A signal and no suite (RFC 5746 §3.3).
        suites: vec![0x00ff],
        ..Offer::wide()
    };
    let Some(host) = run.target.as_ref().map(|target| target.host.clone()) else {
        return false;
    };
    let Ok(mut stream) = run.connect().await else {
        return false;
    };
    let question = offer.bytes(&host, super::dns::random(), &[]);
    let enough = |bytes: &[u8]| bytes.len() >= 7;
    let got = run.ask(&mut stream, &question, patience, enough).await;
    super::spoken::Spoken::of(&got) == super::spoken::Spoken::Tls
}

async fn say(
    run: &mut Run,
    stream: &mut TcpStream,
    offer: &Offer,
    patience: Duration,
) -> Option<Got> {
    let host = run.target.as_ref()?.host.clone();
    let shares: Vec<(u16, Vec<u8>)> = offer
        .shares()
        .iter()
        .filter_map(|group| Some((*group, share(*group)?)))
        .collect();
    let question = offer.bytes(&host, super::dns::random(), &shares);
    let mut reader = FlightReader::new();
    let mut read = 0;
    let got = run
        .ask(stream, &question, patience, |bytes| {
            let is_over = reader.feed(&bytes[read..]);
            read = bytes.len();
            is_over
        })
        .await;
    let flight = reader.end(match got.end {
        End::Enough | End::Full => How::Enough,
        End::Closed => How::Closed,
        End::Reset => How::Reset,
        End::Silent => How::Silent,
    });
    run.tls.seen.note(offer.clone(), flight);
    Some(got)
}

/// A public key for a group of TLS 1.3.
fn share(group: u16) -> Option<Vec<u8>> {
    let group = ALL_KX_GROUPS
        .iter()
        .find(|known| u16::from(known.name()) == group)?;
    Some(group.start().ok()?.pub_key().to_vec())
}

/// Stage 5.
pub(super) async fn look(run: &mut Run) -> Told {
    let tried = Said::new(
        "TLS handshakes as a client that can do everything, with and without the server's name",
        "以支持所有参数的客户端进行 TLS 握手，带与不带服务器名称",
    );
    let Some(host) = run.target.as_ref().map(|target| target.host.clone()) else {
        return Told::nothing(tried, Said::default());
    };
    let whole = shake(run, &host).await;
    if host.name().is_some()
        && let Ok(mut stream) = run.connect().await
    {
        let offer = Offer::wide().without_sni();
        say(run, &mut stream, &offer, DOCTOR_FIRST_ANSWER).await;
    }
    if let Some(told) = refused(run, tried.clone(), whole.as_ref()) {
        note_number(run, &host).await;
        return told;
    }
    run.close_all();
    let mut chain = run.tls.known_chain();
    run.learn_anchors();
    let mut verdict = run.circumstances(&host, |circumstances| match run.order.profile {
        Some(profile) => judge_chain(profile, &chain, circumstances),
        None => inspect_chain(&chain, circumstances),
    });
    // A server with several certificates shows each device the one that it can verify.
    if let Some(profile) = run.order.profile.filter(|_| !verdict.clues.is_empty())
        && let Some(shown) = shown_to(run, profile).await
        && shown != chain
    {
        verdict = run.circumstances(&host, |circumstances| {
            judge_chain(profile, &shown, circumstances)
        });
        chain = shown;
    }
    // Not every device looks at all of it; who sends a password does.
    let is_good = match run.order.profile {
        None => verdict.clues.is_empty(),
        Some(_) => run
            .circumstances(&host, |circumstances| inspect_chain(&chain, circumstances))
            .clues
            .is_empty(),
    };
    if is_good {
        run.tls.vouched_for.clone_from(&chain);
    }
    let agreed = agreed(run);
    let mut saw = vec![Said::same(&agreed)];
    saw.extend(verdict.served.iter().map(Said::same));
    if let Some(other) = other_without_name(run) {
        saw.push(both!(
            "without the server's name another certificate: {other}",
            "不带服务器名称时是另一张证书：{other}"
        ));
    }
    run.pass(Layer::Tls, Said::same(&agreed));
    for (name, value) in verdict.facts.0 {
        run.evidence.facts.note(name, value);
    }
    let worst = verdict.clues.first().map(|clue| clue.quote.clone());
    if let Some(worst) = worst {
        run.evidence.clues.extend(verdict.clues);
        return Told::failed(tried, joined(&saw)).proving(worst);
    }
    let days = days_left(&chain);
    if let Some(days) = days.filter(|days| *days < RENEWED_BY) {
        run.evidence.facts.note("ends_in_days", days.to_string());
    }
    let good = match days {
        Some(days) => both!(
            "the certificate is complete, valid and for {host}; {days} days left",
            "证书完整、有效且适用于 {host}；剩余 {days} 天"
        ),
        None => Said::new("the certificate is in order", "证书没有问题"),
    };
    run.pass(Layer::Certificate, good.clone());
    Told::passed(tried, joined(&saw))
        .proving(good)
        .excluding(Said::new(
            "an expired, incomplete or foreign certificate",
            "证书过期、不完整或不匹配",
        ))
}

/// The chain that the server shows to this device, if it does so in clear.
async fn shown_to(run: &mut Run, profile: &'static Profile) -> Option<Vec<Vec<u8>>> {
    let offer = Offer::of(profile);
    let mut stream = run.connect().await.ok()?;
    say(run, &mut stream, &offer, DOCTOR_FIRST_ANSWER).await?;
    let mut answers = run.tls.seen.answers.iter();
    let (_, flight) = answers.find(|(asked, _)| *asked == offer)?;
    (flight.accepted() && !flight.chain.is_empty()).then(|| flight.chain.clone())
}

/// A whole handshake. None: the connection did not even open.
async fn shake(run: &mut Run, host: &Host) -> Option<std::io::Result<Signed>> {
    let stream = run.connect().await.ok()?;
    let until = run
        .until
        .min(tokio::time::Instant::now() + DOCTOR_CONNECT * 2);
    let shaken = timeout_at(until, secure::connect(stream, host, None)).await;
    let asked_for_certificate = run
        .tls
        .wide()
        .is_some_and(|flight| flight.client_certificate);
    Some(match shaken {
        Ok(Ok(mut secured)) => {
            run.tls.note(&secured);
            // What a client that can do everything gets says nothing of the device.
            run.tls.meters.clear();
            // In TLS 1.3 the refusal comes behind the handshake.
            if asked_for_certificate {
                let got = run
                    .ask(&mut secured.stream, b"", DOCTOR_FIRST_ANSWER / 6, |_| false)
                    .await;
                run.tls.seen.without_certificate = Some(got.end == End::Silent);
            }
            Ok(secured.signed)
        }
        Ok(Err(error)) => {
            if asked_for_certificate {
                run.tls.seen.without_certificate = Some(false);
            }
            Err(error)
        }
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    })
}

/// No client comes through here.
fn refused(run: &mut Run, tried: Said, whole: Option<&std::io::Result<Signed>>) -> Option<Told> {
    if run.tls.seen.without_certificate == Some(false) {
        let saw = Said::new(
            "the server wants a certificate of the client, and takes none without",
            "服务器要求客户端证书，没有证书就拒绝连接",
        );
        run.clue(Cause::ClientCertRequired, Strength::Specific, saw.clone());
        return Some(Told::failed(tried, saw));
    }
    if matches!(whole, Some(Ok(Signed::Wrongly))) {
        let saw = Said::new(
            "the server does not have the key of the certificate that it shows",
            "服务器没有它所出示证书的私钥",
        );
        run.clue(Cause::TlsBroken, Strength::Proof, saw.clone());
        return Some(Told::failed(tried, saw).proving(Said::new(
            "certificate and key of the server do not belong together, or somebody stands in between",
            "服务器的证书与私钥不匹配，或中间有人冒充",
        )));
    }
    if matches!(whole, Some(Ok(_))) {
        return None;
    }
    let error = match whole {
        Some(Err(error)) => error.to_string(),
        _ => "no connection".to_owned(),
    };
    let place = run.place();
    let flight = run.tls.wide()?;
    if flight.accepted() && flight.version.is_some_and(|version| version < 0x0303) {
        let version = names::version(flight.version.unwrap_or_default()).to_string();
        let saw = both!(
            "the server speaks {version} at most, which most devices refuse",
            "服务器最高只支持 {version}，大多数设备会拒绝"
        );
        run.clue(Cause::TlsVersion, Strength::Specific, saw.clone());
        return Some(Told::failed(tried, saw));
    }
    // Old suites that only devices of the past have: the chain was shown all the same.
    if flight.accepted() && flight.whole {
        return None;
    }
    let clues = flight.clues(place);
    let alert = flight
        .refusal()
        .map(|alert| names::alert(alert).to_string());
    let saw = match (clues.first(), alert) {
        (Some(clue), _) => clue.quote.clone(),
        (None, Some(alert)) => both!(
            "the server refuses every handshake ({alert}; {error})",
            "服务器拒绝所有握手（{alert}；{error}）"
        ),
        (None, None) => both!("the handshake fails ({error})", "握手失败（{error}）"),
    };
    if clues.is_empty() {
        run.clue(Cause::TlsFailed, Strength::Class, saw.clone());
    }
    run.evidence.clues.extend(clues);
    Some(Told::failed(tried, saw))
}

/// Nobody comes through: the number with which the given device reports that.
async fn note_number(run: &mut Run, host: &Host) {
    let Some(profile) = run.order.profile else {
        return;
    };
    let Ok(mut stream) = run.connect().await else {
        return;
    };
    say(run, &mut stream, &Offer::of(profile), DOCTOR_FIRST_ANSWER).await;
    let outcomes = run.circumstances(host, |circumstances| {
        table(&run.tls.seen, circumstances, &[profile])
    });
    for (name, value) in outcomes.into_iter().flat_map(|outcome| outcome.facts.0) {
        run.evidence.facts.note(name, value);
    }
}

/// `TLS 1.3, TLS_AES_128_GCM_SHA256; in clear: TLS 1.2, …`.
fn agreed(run: &Run) -> String {
    let mut said = Vec::new();
    if let Some(agreed) = &run.tls.agreed {
        let (version, suite) = (names::version(agreed.version), names::suite(agreed.suite));
        said.push(format!("{version}, {suite}"));
        if let Some(alpn) = &agreed.alpn {
            said.push(format!("ALPN {alpn}"));
        }
    }
    if let Some(flight) = run.tls.wide().filter(|flight| flight.accepted()) {
        said.push(flight.agreed());
    }
    said.dedup();
    said.join("; ")
}

/// The certificate that a client gets which does not name the server, if it is another.
fn other_without_name(run: &Run) -> Option<String> {
    let mut answers = run.tls.seen.answers.iter();
    let (_, flight) = answers.find(|(offer, _)| *offer == Offer::wide().without_sni())?;
    let theirs = flight.chain.first()?;
    let chain = run.tls.known_chain();
    let named = run.tls.wide().map_or(&chain, |wide| &wide.chain);
    if named.first().is_none_or(|ours| ours == theirs) {
        return None;
    }
    Some(Certificate::read(theirs)?.line())
}

/// Programs that renew certificates by themselves have done so by then, in days: certbot 30 before the
/// end, others a third of 90 days.
const RENEWED_BY: i64 = 14;

/// Until the first certificate of the chain ends.
fn days_left(chain: &[Vec<u8>]) -> Option<i64> {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let now = i64::try_from(since_1970(SystemTime::now()).as_secs()).ok()?;
    let ends = chain.iter().filter_map(|der| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(certificate.validity().not_after.timestamp())
    });
    Some((ends.min()? - now) / 86_400)
}

/// Stage 6.
pub(super) async fn as_device(run: &mut Run) -> Told {
    let profiles = match run.order.profile {
        Some(profile) => vec![profile],
        None => usual(run.service()),
    };
    let named: Vec<&str> = profiles.iter().map(|profile| profile.name).collect();
    let named = named.join(", ");
    let tried = both!(
        "TLS as these devices: {named}",
        "以这些设备身份的 TLS：{named}"
    );
    let Some(host) = run.target.as_ref().map(|target| target.host.clone()) else {
        return Told::nothing(tried, Said::default());
    };
    for (offer, _) in distinct_offers(&profiles) {
        let Ok(mut stream) = run.connect().await else {
            break;
        };
        say(run, &mut stream, &offer, DOCTOR_FIRST_ANSWER).await;
    }
    // What is encrypted in TLS 1.3 was shown by the whole handshake.
    let chain = run.tls.known_chain();
    for (_, flight) in &mut run.tls.seen.answers {
        if flight.encrypted && flight.chain.is_empty() {
            flight.chain.clone_from(&chain);
        }
    }
    run.learn_anchors();
    let outcomes = run.circumstances(&host, |circumstances| {
        table(&run.tls.seen, circumstances, &profiles)
    });
    let lines: Vec<Said> = outcomes.iter().map(line).collect();
    let saw = joined(&lines);
    let stopped: Vec<&Outcome> = outcomes
        .iter()
        .filter(|outcome| outcome.cause().is_some())
        .collect();
    if stopped.is_empty() {
        run.pass(Layer::Tls, saw.clone());
        return Told::passed(tried, saw).excluding(Said::new(
            "suites, curves and versions that the device lacks",
            "设备不支持的加密套件、曲线和版本",
        ));
    }
    // One kind of device that stops is a matter of that device, as long as it was not asked for.
    let is_general = run.order.profile.is_some() || stopped.len() * 2 > outcomes.len();
    for (names, mut clue) in grouped(&stopped) {
        if !is_general {
            clue.strength = clue.strength.min(Strength::Class);
        }
        if run.order.profile.is_none() {
            let Said { en, zh } = clue.quote;
            clue.quote = Said::new(format!("{names}: {en}"), format!("{names}：{zh}"));
        }
        run.evidence.clues.push(clue);
    }
    for (name, value) in stopped.iter().flat_map(|outcome| &outcome.facts.0) {
        run.evidence.facts.note(name, value);
    }
    match is_general {
        true => Told::failed(tried, saw),
        false => Told::passed(tried, saw),
    }
}

/// Each fault once, with the devices that stop at it.
fn grouped(stopped: &[&Outcome]) -> Vec<(String, Clue)> {
    let mut groups: Vec<(Vec<&str>, Clue)> = Vec::new();
    for outcome in stopped {
        let name = outcome.profile.name;
        for clue in &outcome.clues {
            let known = groups
                .iter_mut()
                .find(|(_, known)| known.cause == clue.cause);
            match known {
                Some((names, _)) if names.contains(&name) => {}
                Some((names, _)) => names.push(name),
                None => groups.push((vec![name], clue.clone())),
            }
        }
    }
    let joined = |(names, clue): (Vec<&str>, Clue)| (names.join(", "), clue);
    groups.into_iter().map(joined).collect()
}

/// One device in one line: `tasmota-esp8266: stops with 296, …`.
fn line(outcome: &Outcome) -> Said {
    let name = outcome.profile.name;
    match &outcome.verdict {
        Verdict::Connects { with } => Said::new(
            format!("{name}: connects ({})", with.en),
            format!("{name}：可以连接（{}）", with.zh),
        ),
        Verdict::Stops {
            number, because, ..
        } => {
            let with = number
                .map(|number| format!(" {number}"))
                .unwrap_or_default();
            Said::new(
                format!("{name}: stops here{with}: {}", because.en),
                format!("{name}：在此失败{with}：{}", because.zh),
            )
        }
        Verdict::Unknown { because } => Said::new(
            format!("{name}: not known: {}", because.en),
            format!("{name}：未知：{}", because.zh),
        ),
    }
}

/// The devices that come to such a service.
fn usual(service: Service) -> Vec<&'static Profile> {
    let fits = |profile: &&'static Profile| match service {
        Service::Ota | Service::Websocket => matches!(profile.family, "xiaozhi" | "idf"),
        _ => true,
    };
    Profile::ALL.iter().filter(fits).collect()
}

/// Data has come by now: whether its records fit into the device.
pub(super) fn judge_records(run: &mut Run) -> Option<Said> {
    let profile = run.order.profile?;
    // Where TLS 1.3 is spoken, the handshake looks like data.
    if profile.versions.contains(&0x0304) {
        return None;
    }
    let longest = run.tls.meters.iter().map(Meter::longest).max()?;
    // AES-GCM adds a nonce of 8 bytes and a tag of 16 (RFC 5288 §3).
    let longest = longest.saturating_sub(24);
    if longest <= profile.record_in {
        return None;
    }
    let (name, room) = (profile.name, profile.record_in);
    let saw = both!(
        "the server sends a record of {longest} bytes, and {name} has room for {room}",
        "服务器发送了 {longest} 字节的记录，而 {name} 只能容纳 {room} 字节"
    );
    run.evidence.facts.note("other", longest.to_string());
    run.clue(Cause::RecordTooLarge, Strength::Specific, saw.clone());
    Some(saw)
}

impl Known {
    /// The chain, however it was learnt.
    fn known_chain(&self) -> Vec<Vec<u8>> {
        match (&self.chain, self.wide()) {
            (chain, Some(wide)) if chain.is_empty() => wide.chain.clone(),
            (chain, _) => chain.clone(),
        }
    }
}

impl Run {
    /// Reads the roots; those of the system take some milliseconds.
    fn learn_anchors(&mut self) {
        if self.tls.anchors.is_some() {
            return;
        }
        let read = |roots: &[CertificateDer<'static>]| -> Vec<Anchor> {
            roots
                .iter()
                .filter_map(|der| Anchor::of_certificate(der))
                .collect()
        };
        let authorities = &self.order.authorities;
        self.tls.anchors = Some(Anchors {
            public: read(&authorities.system()),
            given: read(&authorities.given),
            known: read(&authorities.own),
        });
    }

    fn circumstances<T>(&self, host: &Host, judge: impl FnOnce(&Circumstances<'_>) -> T) -> T {
        let none = Anchors {
            public: Vec::new(),
            given: Vec::new(),
            known: Vec::new(),
        };
        let anchors = self.tls.anchors.as_ref().unwrap_or(&none);
        judge(&Circumstances {
            host,
            anchors: &anchors.public,
            own: &anchors.given,
            known: &anchors.known,
            now: since_1970(SystemTime::now()),
            device_time: self.order.device_time,
            pin: None,
            place: self.place(),
        })
    }
}
