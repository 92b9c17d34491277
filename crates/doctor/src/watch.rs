//! Who fails to connect to us right now, without anyone asking: each contact of a device with a
//! listener of ours is remembered as long as it matters, and forgotten once the device connects.
//!
//! Three take-overs of one client identifier within a minute are two clients that throw each other
//! out; many connections within ten minutes are one that does not last; many starts, or checks of
//! firmware that checks when it starts, are a device that restarts. All survive a connection that
//! succeeds: each of theirs does. And whoever checks in and never comes to the broker that it was
//! told cannot reach it, although nothing of that failure arrives here.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use safeport_settings::Said;

use crate::limits::{WATCHED, WATCHED_CONNECTIONS};
use crate::{Cause, Clue, Evidence, Facts, Layer, Moment, Passed, Place, Strength};

/// How long a failure counts after it was seen last: longer than any firmware waits before it tries
/// again (ESPHome and xiaozhi wait at most minutes), so that what has stopped trying is forgotten.
pub const KEPT: Duration = Duration::from_secs(3600);
/// The time in which connections of one client are counted.
pub const FLAPPING_WINDOW: Duration = Duration::from_secs(600);
/// So many connections of one client within [`FLAPPING_WINDOW`] do not last: a healthy device
/// connects once, and once more after each restart.
pub const FLAPPING: usize = 6;
/// The time in which take-overs of one client identifier are counted.
pub const QUARREL_WINDOW: Duration = Duration::from_secs(60);
/// So many take-overs within [`QUARREL_WINDOW`] are a quarrel of two clients.
pub const QUARREL: usize = 3;
/// So many starts within [`FLAPPING_WINDOW`] are no work of a person.
pub const RESTARTS: usize = 3;
/// So many checks within [`FLAPPING_WINDOW`] are as many starts: xiaozhi firmware checks when it
/// starts. One comes with an update, and one with being taken in.
pub const CHECKS: usize = 4;
/// Who has checked in comes to the broker that it was told within seconds, or tries again every
/// minute (xiaozhi).
pub const COMES_WITHIN: Duration = Duration::from_secs(90);

/// By what somebody is known who comes to a listener: by the most telling of what was said.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A client identifier.
    Client(String),
    /// A login name, where no client identifier was told.
    User(String),
    /// An address, where nothing was told.
    Address(IpAddr),
}

impl Subject {
    /// The subject of who told this; empty texts count as not told.
    pub fn of(client_id: Option<&str>, user: Option<&str>, address: IpAddr) -> Subject {
        let told = |text: Option<&str>| {
            text.filter(|text| !text.is_empty())
                .map(ToString::to_string)
        };
        match (told(client_id), told(user)) {
            (Some(client_id), _) => Subject::Client(client_id),
            (None, Some(user)) => Subject::User(user),
            (None, None) => Subject::Address(address),
        }
    }
}

/// What a listener carries: a device that can do one may fail at the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// MQTT.
    Mqtt,
    /// HTTP, and WebSocket within it.
    Http,
}

impl Service {
    /// Of a listener, by its name.
    pub fn of_listener(listener: &str) -> Service {
        if listener.starts_with("http") {
            Service::Http
        } else {
            Service::Mqtt
        }
    }

    fn layer(self) -> Layer {
        match self {
            Service::Mqtt => Layer::Mqtt,
            Service::Http => Layer::Http,
        }
    }
}

/// Somebody came to a listener.
#[derive(Debug, Clone)]
pub struct Contact {
    /// When it was over, since 1970.
    pub at: Duration,
    /// Who.
    pub subject: Subject,
    /// From where; unspecified where that is not known.
    pub address: IpAddr,
    /// To which kind of listener.
    pub service: Service,
    /// What came of it.
    pub came: Came,
}

/// What came of a contact.
#[derive(Debug, Clone)]
pub enum Came {
    /// It connected; the words for that.
    Connected(Said),
    /// It failed.
    Failed {
        /// What that points to.
        clue: Clue,
        /// What else was met on the way.
        facts: Facts,
    },
    /// Its connection was ended by a newer one with the same client identifier.
    TakenOver,
    /// It checked in and was answered.
    Checked {
        /// The words for that.
        said: Said,
        /// Where it was told to go.
        told: Option<Told>,
        /// Whether it checks when it starts, and only then.
        starts: bool,
    },
    /// It said that it has started.
    Started {
        /// Why, in its own words.
        reason: Option<String>,
    },
}

/// Where somebody was told to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The address.
    pub address: String,
    /// Whether it goes there at once, and to a listener that is watched.
    pub comes_here: bool,
}

/// How a connection with a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Parting {
    /// Nothing came for one and a half keep alives.
    KeepAlive,
    /// The socket closed without a goodbye.
    Lost,
    /// The device said goodbye.
    Goodbye,
    /// It connected again before the end was noticed.
    TakenOver,
    /// It broke the protocol.
    Protocol,
    /// The server ended it.
    Server,
}

/// Remembers those who fail, at most [`WATCHED`]; of more, those not seen for the longest time are
/// forgotten first.
#[derive(Debug, Default)]
pub struct Watch {
    traces: BTreeMap<Subject, Trace>,
}

/// What is remembered of one subject.
#[derive(Debug, Default)]
struct Trace {
    last: Duration,
    mqtt: Standing,
    http: Standing,
    /// Its connections with a client identifier, newest last.
    connections: VecDeque<(Duration, IpAddr)>,
    /// When it was taken over, newest last.
    take_overs: VecDeque<Duration>,
    /// The last take-over that was one too many.
    quarrel: Option<Duration>,
    /// How its connections ended, newest last.
    partings: VecDeque<(Duration, Parting)>,
    /// When it checked in because it started, newest last.
    checks: VecDeque<Duration>,
    /// When it said that it started, and why, newest last.
    starts: VecDeque<(Duration, Option<String>)>,
    /// Where it was told to go and has not come since.
    awaited: Option<Awaited>,
    /// From where it came last.
    address: Option<IpAddr>,
}

/// Somebody was told to come.
#[derive(Debug)]
struct Awaited {
    told: Told,
    first: Duration,
    last: Duration,
    times: u32,
}

/// How somebody stands with one service.
#[derive(Debug, Default)]
struct Standing {
    failing: Option<Failing>,
    connected: Option<(Duration, Said)>,
}

#[derive(Debug)]
struct Failing {
    clue: Clue,
    facts: Facts,
    first: Duration,
    last: Duration,
    times: u32,
}

impl Watch {
    /// Takes note of a contact. Times may come out of order by a little.
    pub fn saw(&mut self, contact: Contact) {
        if let Came::Connected(_) | Came::Checked { .. } = contact.came {
            self.clear_nameless(&contact);
        }
        if !self.traces.contains_key(&contact.subject) {
            if matches!(contact.came, Came::Connected(_)) && contact.service == Service::Http {
                // It never failed, and how often it asks is nobody's trouble.
                return;
            }
            if self.traces.len() >= WATCHED {
                self.forget_some();
            }
        }
        let trace = self.traces.entry(contact.subject).or_default();
        trace.last = trace.last.max(contact.at);
        if !contact.address.is_unspecified() {
            trace.address = Some(contact.address);
        }
        if contact.service == Service::Mqtt && !matches!(contact.came, Came::Started { .. }) {
            trace.awaited = None;
        }
        let standing = match contact.service {
            Service::Mqtt => &mut trace.mqtt,
            Service::Http => &mut trace.http,
        };
        match contact.came {
            Came::Connected(said) => {
                standing.clear(false);
                standing.connected = Some((contact.at, said));
                if contact.service == Service::Mqtt {
                    push(&mut trace.connections, (contact.at, contact.address));
                }
            }
            Came::Failed { clue, facts } => standing.fail(clue, facts, contact.at),
            Came::TakenOver => {
                let recent = |at: &Duration| contact.at.saturating_sub(*at) < QUARREL_WINDOW;
                trace.take_overs.retain(recent);
                push(&mut trace.take_overs, contact.at);
                if trace.take_overs.len() >= QUARREL {
                    trace.quarrel = Some(contact.at);
                }
            }
            Came::Checked { said, told, starts } => {
                standing.clear(true);
                standing.connected = Some((contact.at, said));
                if starts {
                    push(&mut trace.checks, contact.at);
                }
                trace.expect(told, contact.at);
            }
            Came::Started { reason } => push(&mut trace.starts, (contact.at, reason)),
        }
    }

    /// A connection with a session is over. Of a client that is not remembered nothing is noted, and
    /// the answer is `false`.
    pub fn left(&mut self, client_id: &str, at: Duration, how: Parting) -> bool {
        let subject = Subject::Client(client_id.to_string());
        let trace = self.traces.get_mut(&subject);
        trace
            .map(|trace| push(&mut trace.partings, (at, how)))
            .is_some()
    }

    /// What is seen of these, who are all one device, at this moment. Empty of a device that nothing
    /// is known of.
    pub fn evidence(&self, subjects: &[Subject], now: Duration) -> Evidence {
        let mut evidence = Evidence::default();
        for subject in subjects {
            if let Some(trace) = self.traces.get(subject) {
                trace.tell(subject, now, &mut evidence);
                self.tell_awaited(trace, now, &mut evidence);
            }
        }
        evidence
    }

    /// What beside failures is wrong with these: a quarrel about the client identifier, connections
    /// that do not last, restarts, or that they do not come where they were told to.
    pub fn unrest(&self, subjects: &[Subject], now: Duration) -> Evidence {
        let mut evidence = Evidence::default();
        for subject in subjects {
            if let Some(trace) = self.traces.get(subject) {
                trace.tell_unrest(subject, now, &mut evidence);
                self.tell_awaited(trace, now, &mut evidence);
            }
        }
        evidence
    }

    /// Whether anything is wrong with these now.
    pub fn is_troubled(&self, subjects: &[Subject], now: Duration) -> bool {
        subjects
            .iter()
            .filter_map(|subject| self.traces.get(subject))
            .any(|trace| self.is_wrong(trace, now))
    }

    /// All with whom something is wrong now, the one seen last first.
    pub fn troubled(&self, now: Duration) -> Vec<(Subject, Duration)> {
        let mut found: Vec<(Subject, Duration)> = self
            .traces
            .iter()
            .filter(|(_, trace)| self.is_wrong(trace, now))
            .map(|(subject, trace)| (subject.clone(), trace.last))
            .collect();
        found.sort_by(|one, other| (other.1, &one.0).cmp(&(one.1, &other.0)));
        found
    }

    /// Forgets what is too old to matter. To be called now and then.
    pub fn sweep(&mut self, now: Duration) {
        self.traces
            .retain(|_, trace| now.saturating_sub(trace.last) < KEPT);
    }

    fn is_wrong(&self, trace: &Trace, now: Duration) -> bool {
        trace.is_troubled(now) || self.missed(trace, now).is_some()
    }

    /// That somebody was told to come long enough ago, and did not.
    fn missed<'a>(&self, trace: &'a Trace, now: Duration) -> Option<&'a Awaited> {
        let awaited = trace.awaited.as_ref()?;
        let is_due = now.saturating_sub(awaited.first) >= COMES_WITHIN
            && now.saturating_sub(awaited.last) < KEPT
            && awaited.told.comes_here
            && !trace.is_connected();
        // A handshake that fails tells no name, but it has arrived.
        let arrived = trace.address.is_some_and(|address| {
            let nameless = self.traces.get(&Subject::Address(address));
            nameless.is_some_and(|nameless| {
                let failing = nameless.mqtt.failing(now);
                failing.is_some_and(|failing| failing.last >= awaited.first)
            })
        });
        (is_due && !arrived).then_some(awaited)
    }

    fn tell_awaited(&self, trace: &Trace, now: Duration, evidence: &mut Evidence) {
        let Some(missed) = self.missed(trace, now) else {
            return;
        };
        let minutes = (now.saturating_sub(missed.first).as_secs() / 60).max(1);
        let (clue, facts) = never_came(&missed.told.address, missed.times, minutes);
        evidence.clues.push(clue);
        evidence.join(Evidence {
            facts,
            ..Evidence::default()
        });
    }

    /// Failures before a name was told are those of who connects from the same address now.
    fn clear_nameless(&mut self, contact: &Contact) {
        let checked = matches!(contact.came, Came::Checked { .. });
        if let Some(trace) = self.traces.get_mut(&Subject::Address(contact.address)) {
            match contact.service {
                Service::Mqtt => trace.mqtt.clear(checked),
                Service::Http => trace.http.clear(checked),
            }
        }
    }

    /// Makes room for a quarter at least, so that a storm of strangers does not look through all for
    /// each. Who only connected goes before who failed, or came back.
    fn forget_some(&mut self) {
        self.traces.retain(|_, trace| {
            let failed = trace.mqtt.failing.is_some() || trace.http.failing.is_some();
            failed || trace.connections.len() > 1
        });
        if self.traces.len() * 4 < WATCHED * 3 {
            return;
        }
        let mut times: Vec<Duration> = self.traces.values().map(|trace| trace.last).collect();
        let place = times.len() / 4;
        let (_, last, _) = times.select_nth_unstable(place);
        let limit = *last;
        self.traces.retain(|_, trace| trace.last > limit);
    }
}

impl Standing {
    /// It came through. That a request was answered says nothing of a check: one that is refused is
    /// answered, too.
    fn clear(&mut self, checked: bool) {
        let is_of_check = |failing: &Failing| {
            matches!(
                failing.clue.cause,
                Cause::HttpRefused | Cause::NotActivated | Cause::ReplyWithoutProtocol
            )
        };
        if checked || !self.failing.as_ref().is_some_and(is_of_check) {
            self.failing = None;
        }
    }

    fn fail(&mut self, clue: Clue, facts: Facts, at: Duration) {
        let before = self.failing.take();
        let same = before.filter(|before| before.clue.cause == clue.cause);
        self.failing = Some(Failing {
            first: same.as_ref().map_or(at, |before| before.first),
            times: same.map_or(1, |before| before.times.saturating_add(1)),
            clue,
            facts,
            last: at,
        });
    }

    fn failing(&self, now: Duration) -> Option<&Failing> {
        self.failing
            .as_ref()
            .filter(|failing| now.saturating_sub(failing.last) < KEPT)
    }
}

impl Trace {
    fn is_troubled(&self, now: Duration) -> bool {
        self.mqtt.failing(now).is_some()
            || self.http.failing(now).is_some()
            || self.quarrels(now)
            || self.flaps(now) >= FLAPPING
            || self.restarts(now).is_some()
    }

    fn is_connected(&self) -> bool {
        let came = self.connections.back().map(|(at, _)| *at);
        let left = self.partings.back().map(|(at, _)| *at);
        came.is_some_and(|came| left.is_none_or(|left| left < came))
    }

    /// It was told to go there.
    fn expect(&mut self, told: Option<Told>, at: Duration) {
        let Some(told) = told else {
            self.awaited = None;
            return;
        };
        match &mut self.awaited {
            Some(awaited) if awaited.told == told => {
                awaited.last = at;
                awaited.times = awaited.times.saturating_add(1);
            }
            _ => {
                self.awaited = Some(Awaited {
                    told,
                    first: at,
                    last: at,
                    times: 1,
                });
            }
        }
    }

    /// How often it has started lately, if that is too often, and why by its own words.
    fn restarts(&self, now: Duration) -> Option<(usize, Option<&str>)> {
        let recent = |at: &Duration| now.saturating_sub(*at) < FLAPPING_WINDOW;
        let started = self.starts.iter().filter(|(at, _)| recent(at));
        let count = started.clone().count();
        if count >= RESTARTS {
            let reason = started.rev().find_map(|(_, reason)| reason.as_deref());
            return Some((count, reason));
        }
        let checks = self.checks.iter().filter(|at| recent(at)).count();
        (checks >= CHECKS).then_some((checks, None))
    }

    fn quarrels(&self, now: Duration) -> bool {
        self.quarrel
            .is_some_and(|at| now.saturating_sub(at) < FLAPPING_WINDOW)
    }

    fn flaps(&self, now: Duration) -> usize {
        self.connections
            .iter()
            .filter(|(at, _)| now.saturating_sub(*at) < FLAPPING_WINDOW)
            .count()
    }

    fn tell(&self, subject: &Subject, now: Duration, evidence: &mut Evidence) {
        self.tell_unrest(subject, now, evidence);
        for (service, standing) in [(Service::Mqtt, &self.mqtt), (Service::Http, &self.http)] {
            if let Some(failing) = standing.failing(now) {
                evidence.join(failing.evidence());
            } else if let Some((_, said)) = &standing.connected {
                evidence.passed.push(Passed {
                    layer: service.layer(),
                    place: Place::Listener,
                    quote: said.clone(),
                });
            }
        }
        note_subject(subject, &mut evidence.facts);
    }

    fn tell_unrest(&self, subject: &Subject, now: Duration, evidence: &mut Evidence) {
        let who = match subject {
            Subject::Client(id) | Subject::User(id) => id.clone(),
            Subject::Address(address) => address.to_string(),
        };
        let mut addresses: Vec<IpAddr> = Vec::new();
        for (_, address) in self.connections.iter().rev() {
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        let listed: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let (from, from_zh) = (listed.join(" and "), listed.join(" 和 "));
        let count = self.flaps(now);
        let minutes = FLAPPING_WINDOW.as_secs() / 60;
        let mut clue = if self.quarrels(now) {
            let kicks = self.take_overs.len();
            let said = Said::new(
                format!(
                    "connections with the client id {who} took each other's place {kicks} times within a minute, from {from}"
                ),
                format!("客户端标识 {who} 的连接一分钟内互相取代了 {kicks} 次，来自 {from_zh}"),
            );
            Clue::new(
                Cause::DuplicateClientId,
                Strength::Proof,
                Place::Listener,
                said,
            )
        } else if let Some((times, reason)) = self.restarts(now) {
            let (clue, facts) = restarting(&who, times, reason);
            evidence.join(Evidence {
                facts,
                ..Evidence::default()
            });
            clue
        } else if count >= FLAPPING {
            let (ends, why) = self.ends(now);
            let said = Said::new(
                format!(
                    "{who} connected {count} times within {minutes} minutes, from {from}{}",
                    ends.en
                ),
                format!(
                    "{who} 在 {minutes} 分钟内连接了 {count} 次，来自 {from_zh}{}",
                    ends.zh
                ),
            );
            unlasting(why, said)
        } else {
            return;
        };
        let last_start = self.starts.back().map(|(at, _)| *at);
        let last = self.connections.back().map(|(at, _)| *at).or(last_start);
        clue.at = last.map(|since| Moment { since, wall: true });
        evidence.clues.push(clue);
        if let [first, rest @ ..] = &listed[..] {
            evidence.facts.note("device_address", first.clone());
            if let Some(other) = rest.first() {
                evidence.facts.note("other", other.clone());
            }
        }
        note_subject(subject, &mut evidence.facts);
    }

    /// How the connections of late ended, in words, and how most of them did.
    fn ends(&self, now: Duration) -> (Said, Option<Parting>) {
        let mut counts: BTreeMap<Parting, usize> = BTreeMap::new();
        for (at, how) in &self.partings {
            if now.saturating_sub(*at) < FLAPPING_WINDOW {
                *counts.entry(*how).or_default() += 1;
            }
        }
        let total: usize = counts.values().sum();
        let most = counts.iter().find(|(_, count)| **count * 2 > total);
        let most = most.map(|(how, _)| *how);
        if total == 0 {
            return (Said::default(), most);
        }
        let parts = |chinese: bool| {
            let parts: Vec<String> = counts
                .iter()
                .map(|(how, count)| match chinese {
                    false => format!("{} {count}x", how.words().en),
                    true => format!("{} {count} 次", how.words().zh),
                })
                .collect();
            parts.join(if chinese { "，" } else { ", " })
        };
        let said = Said::new(
            format!("; they ended: {}", parts(false)),
            format!("；结束方式：{}", parts(true)),
        );
        (said, most)
    }
}

impl Parting {
    /// What a person reads.
    pub fn words(self) -> Said {
        let (en, zh) = match self {
            Parting::KeepAlive => (
                "nothing came for one and a half keep alives",
                "1.5 倍 keep alive 时间内没有任何内容",
            ),
            Parting::Lost => (
                "the connection closed without a goodbye",
                "连接未告别就关闭",
            ),
            Parting::Goodbye => ("the device said goodbye itself", "设备自己告别"),
            Parting::TakenOver => (
                "it came back before its loss was noticed",
                "还没发现断线它就又连了回来",
            ),
            Parting::Protocol => ("it broke the protocol", "它违反了协议"),
            Parting::Server => ("the server ended it", "由服务器结束"),
        };
        Said::new(en, zh)
    }
}

/// Connections that do not last, by how most of them ended.
fn unlasting(why: Option<Parting>, said: Said) -> Clue {
    let (cause, strength, or): (_, _, &[Cause]) = match why {
        Some(Parting::KeepAlive) => (
            Cause::KeepAliveTimeout,
            Strength::Specific,
            &[Cause::WifiLost, Cause::NatIdleTimeout],
        ),
        Some(Parting::Protocol) => (Cause::ProtocolError, Strength::Specific, &[]),
        // It is no accident: whoever uses this name connects for each message.
        Some(Parting::Goodbye) => (Cause::ConnectionLost, Strength::Class, &[]),
        Some(Parting::Server) => (Cause::ConnectionLost, Strength::Class, &[]),
        Some(Parting::Lost) => (
            Cause::ConnectionLost,
            Strength::Class,
            &[Cause::WifiLost, Cause::Restarts, Cause::NatIdleTimeout],
        ),
        Some(Parting::TakenOver) | None => (
            Cause::ConnectionLost,
            Strength::Class,
            &[
                Cause::WifiLost,
                Cause::KeepAliveTimeout,
                Cause::NatIdleTimeout,
            ],
        ),
    };
    Clue::new(cause, strength, Place::Listener, said).or(or)
}

/// A device that has started so often lately; why, by its own words.
pub fn restarting(who: &str, times: usize, reason: Option<&str>) -> (Clue, Facts) {
    let minutes = FLAPPING_WINDOW.as_secs() / 60;
    let mut facts = Facts::default();
    let said = match reason {
        Some(reason) => {
            let lower = reason.to_ascii_lowercase();
            let names = |words: &[&str]| words.iter().any(|word| lower.contains(word));
            let fact = if names(&["brownout", "power", "vbat"]) {
                "power_reason"
            } else if names(&["exception", "panic", "watchdog", "wdt", "fatal", "abort"]) {
                "crash_reason"
            } else {
                "restart_reason"
            };
            facts.note(fact, reason);
            facts.note("restart_reason", reason);
            Said::new(
                format!(
                    "{who} started {times} times within {minutes} minutes, and says why: {reason}"
                ),
                format!("{who} 在 {minutes} 分钟内启动了 {times} 次，它说的原因：{reason}"),
            )
        }
        None => Said::new(
            format!("{who} started {times} times within {minutes} minutes"),
            format!("{who} 在 {minutes} 分钟内启动了 {times} 次"),
        ),
    };
    let clue = Clue::new(Cause::Restarts, Strength::Specific, Place::Listener, said);
    (clue, facts)
}

/// A device that was told to come to `address`, so often, and has not come in all these minutes.
pub fn never_came(address: &str, times: u32, minutes: u64) -> (Clue, Facts) {
    let said = Said::new(
        format!(
            "it checked in {times}x in {minutes} minutes, was told {address}, and nothing of it came there"
        ),
        format!(
            "它在 {minutes} 分钟内签到了 {times} 次，得到的地址是 {address}，但没有任何连接到达那里"
        ),
    );
    let mut facts = Facts::default();
    facts.note("url", address);
    let clue = Clue::new(
        Cause::HandedOutUnreachable,
        Strength::Specific,
        Place::Listener,
        said,
    );
    (clue, facts)
}

impl Failing {
    fn evidence(&self) -> Evidence {
        let mut clue = self.clue.clone();
        if self.times > 1 {
            let (times, seconds) = (self.times, (self.last.saturating_sub(self.first)).as_secs());
            let Said { en, zh } = clue.quote;
            clue.quote = Said::new(
                format!("{en} ({times} times within {seconds} s)"),
                format!("{zh}（{seconds} 秒内 {times} 次）"),
            );
        }
        Evidence {
            clues: Vec::from([clue]),
            passed: Vec::new(),
            facts: self.facts.clone(),
        }
    }
}

fn note_subject(subject: &Subject, facts: &mut Facts) {
    match subject {
        Subject::Client(id) => facts.note("client_id", id.clone()),
        Subject::User(_) => {}
        Subject::Address(address) => facts.note("device_address", address.to_string()),
    }
}

fn push<T>(queue: &mut VecDeque<T>, value: T) {
    if queue.len() >= WATCHED_CONNECTIONS {
        queue.pop_front();
    }
    queue.push_back(value);
}

#[cfg(test)]
mod tests;
