//! What this server itself knows of a device: what its listeners saw of it lately, what became of
//! its offers of firmware, and what it said of itself.
//!
//! It reads the registry alone, so it works beside a running server, too.

mod offers;
mod sighted;

use std::net::IpAddr;
use std::time::Duration;

use safeport_doctor::watch::{
    COMES_WITHIN, FLAPPING, FLAPPING_WINDOW, RESTARTS, Service, Subject, Watch, never_came,
    restarting,
};
use safeport_doctor::{Cause, Clue, Evidence, Layer, Passed, Place, Strength, limits::QUOTE_CHARS};
use safeport_fleet::{Family, Member, Slot};
use safeport_net::attempt::Cause as Seen;
use safeport_settings::{AdvertisedAddress, Listener, Said, Scheme, Settings};
use safeport_store::{AttemptQuery, AttemptRow, LiveValue, Registry, StoreError};

pub use self::sighted::{Sighted, TOLD};
use crate::limits::{OWN_CLUES, OWN_EVENTS};
use crate::probe::both;
use crate::shown::attempts::of_device;
use crate::time::stamp;

/// How far is looked back where nothing else is said.
pub const LATELY: Duration = Duration::from_secs(600);

/// Less free memory than this, in bytes, is too little for a TLS handshake: BearSSL takes about 12 KB
/// (Tasmota), mbedTLS more than 30.
const LOW_HEAP: u32 = 12 * 1024;

/// Which device is asked about, and what is known where it is asked.
pub struct Inquiry<'a> {
    /// As somebody called it: by name, client identifier, login name, or IP address.
    pub called: &'a str,
    /// The device, where one is known by that.
    pub member: Option<&'a Member>,
    /// The settings, for the ports of listeners.
    pub settings: Option<&'a Settings>,
    /// What the server that runs remembers of it, where this is that server.
    pub remembered: Option<Remembered>,
    /// Whether a server runs on the data folder.
    pub serves: bool,
    /// How far to look back.
    pub within: Duration,
    /// Seconds since 1970.
    pub now: u64,
}

/// What a server remembers of a device, more exactly than it writes it down.
#[derive(Debug, Clone, Default)]
pub struct Remembered {
    /// Whether it has come through since it failed last.
    settled: bool,
    /// A quarrel about its client identifier, or connections that do not last.
    unrest: Evidence,
}

impl Remembered {
    /// Of who is watched as `subjects`.
    pub fn of(watch: &Watch, subjects: &[Subject], now: Duration) -> Remembered {
        let evidence = watch.evidence(subjects, now);
        Remembered {
            settled: !evidence.passed.is_empty() && evidence.clues.is_empty(),
            unrest: watch.unrest(subjects, now),
        }
    }
}

impl Inquiry<'_> {
    /// Everything that was seen.
    ///
    /// # Errors
    /// The registry cannot be read.
    pub fn look(&self, registry: &Registry) -> Result<Evidence, StoreError> {
        let mut evidence = Evidence::default();
        self.note_device(&mut evidence);
        let rows = self.rows(registry)?;
        let all: Vec<Sighted<'_>> = rows.iter().filter_map(Sighted::of_row).collect();
        let live = registry.live()?.map(|live| live.values).unwrap_or_default();
        self.read_attempts(&rows, &all, &live, &mut evidence);
        self.read_unrest(&rows, &all, &mut evidence);
        self.read_checks(registry, &all, &mut evidence)?;
        if let Some(member) = self.member {
            self.read_starts(registry, member, &mut evidence)?;
            self.read_offers(registry, member, &mut evidence)?;
            self.read_state(member, &all, &mut evidence);
        }
        if evidence.clues.is_empty() && evidence.passed.is_empty() {
            self.miss(&mut evidence);
        }
        self.note_server(registry, &mut evidence)?;
        Ok(evidence)
    }

    /// As what the device is watched.
    pub fn subjects(&self, registry: &Registry) -> Result<Vec<Subject>, StoreError> {
        let Some(member) = self.member else {
            let called = self.called.to_owned();
            return Ok(match self.address() {
                Some(address) => vec![Subject::Address(address)],
                None => vec![Subject::Client(called.clone()), Subject::User(called)],
            });
        };
        let (user, client_id) = login_of(registry, member)?;
        let mut subjects: Vec<Subject> = Vec::new();
        if !client_id.is_empty() {
            subjects.push(Subject::Client(client_id));
        }
        if !user.is_empty() {
            subjects.push(Subject::User(user));
        }
        Ok(subjects)
    }

    fn address(&self) -> Option<IpAddr> {
        let address: IpAddr = self.called.parse().ok()?;
        Some(address.to_canonical())
    }

    fn since(&self) -> u64 {
        self.now.saturating_sub(self.within.as_secs())
    }

    fn note_device(&self, evidence: &mut Evidence) {
        let facts = &mut evidence.facts;
        facts.note("minutes", (self.within.as_secs() / 60).max(1).to_string());
        let Some(member) = self.member else {
            facts.note("device", self.called);
            return;
        };
        facts.note("device", member.name());
        if let Some(family) = member.family() {
            facts.note("family", family.as_str());
        }
        if let Some(version) = member.facts.version() {
            facts.note("version", version);
        }
        let safeboot = member.facts.image(Slot::Safeboot);
        if let Some(version) = safeboot.and_then(|image| image.version.as_deref()) {
            facts.note("safeboot_version", version);
        }
    }

    /// The attempts of the device, newest first.
    fn rows(&self, registry: &Registry) -> Result<Vec<AttemptRow>, StoreError> {
        let query = AttemptQuery {
            since: self.since(),
            ..AttemptQuery::default()
        };
        if let Some(address) = self.address().filter(|_| self.member.is_none()) {
            let address = address.to_string();
            return registry.attempts(&AttemptQuery {
                address: Some(&address),
                ..query
            });
        }
        let (user, client_id) = match self.member {
            Some(member) => login_of(registry, member)?,
            None => (self.called.to_owned(), self.called.to_owned()),
        };
        // An empty name would mean all that told none.
        let name = |name: String| {
            if name.is_empty() {
                "\0".to_owned()
            } else {
                name
            }
        };
        let (user, client_id) = (name(user), name(client_id));
        let mut rows = of_device(registry, (&user, &client_id), &query)?;
        if rows.is_empty()
            && let Some(address) = self.member.and_then(|member| member.came_from)
        {
            // It never told a name: who tells none at its address is most likely the device.
            let address = address.ip.to_string();
            rows = registry.attempts(&AttemptQuery {
                address: Some(&address),
                ..query
            })?;
            // A page that somebody asked for from there proves nothing of the device.
            let nameless =
                |row: &AttemptRow| row.key.client_id.is_empty() && row.key.user.is_empty();
            rows.retain(|row| row.last.failure && nameless(row));
        }
        Ok(rows)
    }

    /// Failures since the device connected last, or that it connected.
    fn read_attempts(
        &self,
        rows: &[AttemptRow],
        all: &[Sighted<'_>],
        live: &[LiveValue],
        evidence: &mut Evidence,
    ) {
        let cleared = |failed: &Sighted<'_>| {
            let through = match failed.cause {
                // A check that is refused is answered, too.
                Seen::CheckRefused | Seen::NotActivated | Seen::NoVoiceServer => Seen::Checked,
                _ => Seen::Healthy,
            };
            let mut later = all.iter().filter(|one| {
                one.cause == through && one.service() == failed.service() && one.at > failed.at
            });
            later.any(|one| self.is_same(one, failed, rows))
        };
        let failing: Vec<&Sighted<'_>> = all
            .iter()
            .filter(|one| one.cause.is_failure() && !one.cause.is_unrest())
            .filter(|one| !cleared(one) && !self.is_over())
            .collect();
        for one in failing.iter().take(OWN_CLUES) {
            let Some((clue, facts)) = one.clue() else {
                continue;
            };
            let is_new = |clue: &Clue| {
                let known = evidence.clues.iter();
                known.clone().all(|known| known.cause != clue.cause)
            };
            if is_new(&clue) {
                evidence.clues.push(clue);
                evidence.passed.extend(one.passed());
                if let Some(port) = self.port_of(one.listener, live) {
                    evidence.facts.note("port", port.to_string());
                }
                evidence.join(Evidence {
                    facts,
                    ..Evidence::default()
                });
            }
        }
        let connected = |service| {
            let mut healthy = all.iter().filter(move |one| {
                matches!(one.cause, Seen::Healthy | Seen::Checked) && one.service() == service
            });
            healthy.next()
        };
        for service in [Service::Mqtt, Service::Http] {
            let fails = failing.iter().any(|one| one.service() == service);
            if let Some(one) = connected(service).filter(|_| !fails) {
                // Requests tell no name: who else lives at its address may have made them.
                let is_sure = service == Service::Mqtt || connected(Service::Mqtt).is_none();
                if failing.is_empty() && is_sure {
                    evidence.passed.extend(one.passed());
                }
                evidence
                    .facts
                    .note("device_address", one.address.to_string());
                if !one.client_id.is_empty() {
                    evidence.facts.note("client_id", one.client_id);
                }
            }
        }
    }

    /// Whether a connection shows that who failed before has come through. Of one device each does;
    /// behind an address there may be several.
    fn is_same(&self, connected: &Sighted<'_>, failed: &Sighted<'_>, rows: &[AttemptRow]) -> bool {
        if self.member.is_some() || self.address().is_none() {
            return true;
        }
        let key = |of: &Sighted<'_>| {
            let mut found = rows.iter().filter(|row| {
                row.last_at == of.at
                    && row.key.cause == of.cause.code()
                    && row.key.listener == of.listener
                    && row.key.client_id == of.client_id
            });
            found.next().map(|row| &row.key)
        };
        let (Some(connected), Some(failed)) = (key(connected), key(failed)) else {
            return false;
        };
        let named = !failed.client_id.is_empty() || !failed.user.is_empty();
        if named {
            return failed.client_id == connected.client_id && failed.user == connected.user;
        }
        failed.hello.is_empty() || connected.hello.is_empty() || failed.hello == connected.hello
    }

    /// Whether the server knows to the millisecond that the device has come through since. Behind an
    /// address there may be others.
    fn is_over(&self) -> bool {
        let of_one = self.member.is_some() || self.address().is_none();
        of_one && self.remembered.as_ref().is_some_and(|known| known.settled)
    }

    /// Two clients with one identifier, connections that do not last, restarts.
    fn read_unrest(&self, rows: &[AttemptRow], all: &[Sighted<'_>], evidence: &mut Evidence) {
        let sleeps = self
            .member
            .is_some_and(|member| member.facts.sleeps == Some(true));
        if let Some(quarrel) = evidence
            .clues
            .iter_mut()
            .find(|clue| clue.cause == Cause::DuplicateClientId)
        {
            let mut addresses: Vec<&str> = Vec::new();
            for row in rows.iter().filter(|row| !row.key.client_id.is_empty()) {
                if !addresses.contains(&row.key.address.as_str()) {
                    addresses.push(&row.key.address);
                }
            }
            if let [_, other, ..] = addresses[..] {
                evidence.facts.note("other", other);
            }
            let client_id = evidence.facts.get("client_id").unwrap_or(self.called);
            let Said { en, zh } = quarrel.quote.clone();
            let (from, from_zh) = (addresses.join(" and "), addresses.join(" 和 "));
            quarrel.quote = clipped(both!(
                "{en}; client id {client_id}, from {from}",
                "{zh}；客户端标识 {client_id}，来自 {from_zh}"
            ));
            return;
        }
        if let Some(remembered) = &self.remembered {
            if !sleeps {
                evidence.join(remembered.unrest.clone());
            }
            return;
        }
        // The server that saw it has written it down.
        let recent = self.now.saturating_sub(FLAPPING_WINDOW.as_secs());
        let noted = all.iter().find(|one| {
            one.cause.is_unrest() && one.at >= recent && !(sleeps && one.cause != Seen::Restarts)
        });
        if let Some((clue, facts)) = noted.and_then(Sighted::clue) {
            evidence.clues.push(clue);
            evidence.join(Evidence {
                facts,
                ..Evidence::default()
            });
            return;
        }
        // The registry counts without times: it tells only of who came first within that time.
        let restless = rows.iter().find(|row| {
            row.key.cause == Seen::Healthy.code()
                && row.key.listener.starts_with("mqtt")
                && !row.key.client_id.is_empty()
                && row.first_at >= recent
                && row.count >= FLAPPING as u64
        });
        if let Some(row) = restless.filter(|_| !sleeps) {
            let (count, minutes) = (row.count, FLAPPING_WINDOW.as_secs() / 60);
            let (id, address) = (&row.key.client_id, &row.key.address);
            let quote = both!(
                "{id} connected {count} times within {minutes} minutes, from {address}",
                "{id} 在 {minutes} 分钟内连接了 {count} 次，来自 {address}"
            );
            let clue = Clue::new(
                Cause::ConnectionLost,
                Strength::Class,
                Place::Listener,
                quote,
            );
            evidence.clues.push(clue.or(&[
                Cause::WifiLost,
                Cause::KeepAliveTimeout,
                Cause::NatIdleTimeout,
            ]));
        }
    }

    /// Whoever checked in was told where to go, and has to come there. Asked without the server that
    /// runs: of a device that has ever come it is not known whether it is still connected.
    fn read_checks(
        &self,
        registry: &Registry,
        all: &[Sighted<'_>],
        evidence: &mut Evidence,
    ) -> Result<(), StoreError> {
        let checked = all.iter().find(|one| one.cause == Seen::Checked);
        let Some((checked, told)) = checked.and_then(|one| Some((one, one.told()?))) else {
            return Ok(());
        };
        let waited = self.now.saturating_sub(checked.at);
        let is_due = told.starts_with("mqtt") && waited >= COMES_WITHIN.as_secs();
        let came = all.iter().any(|one| one.service() == Service::Mqtt);
        if self.remembered.is_some() || !is_due || came {
            return Ok(());
        }
        let ever = registry.attempts(&AttemptQuery {
            who: Some((checked.client_id, checked.client_id)),
            ..AttemptQuery::default()
        })?;
        if ever.iter().any(|row| row.key.listener.starts_with("mqtt")) {
            return Ok(());
        }
        let times = u32::try_from(checked.count).unwrap_or(u32::MAX);
        let (clue, facts) = never_came(told, times, (waited / 60).max(1));
        evidence.clues.push(clue);
        evidence.join(Evidence {
            facts,
            ..Evidence::default()
        });
        Ok(())
    }

    /// Starts that the device told of, and why it starts.
    fn read_starts(
        &self,
        registry: &Registry,
        member: &Member,
        evidence: &mut Evidence,
    ) -> Result<(), StoreError> {
        let recent = self.now.saturating_sub(FLAPPING_WINDOW.as_secs());
        let events = registry.member_events(member.id.0, None, OWN_EVENTS)?;
        let started: Vec<serde_json::Value> = events
            .iter()
            .filter(|event| event.kind == "started" && event.at >= recent)
            .map(|event| serde_json::from_str(&event.body).unwrap_or_default())
            .collect();
        if started.len() < RESTARTS {
            return Ok(());
        }
        let mut reasons = started.iter().filter_map(|body| body["reason"].as_str());
        let reason = reasons.next().map(safeport_doctor::mask);
        let (clue, facts) = restarting(&member.name(), started.len(), reason.as_deref());
        // The server may have written down that it restarts, in words: the reason as a fact is only here.
        let mut known = evidence.clues.iter();
        if !known.any(|clue| clue.cause == Cause::Restarts) {
            // Each start brings a new connection: why they do not last is told by that.
            evidence
                .clues
                .retain(|clue| clue.cause != Cause::ConnectionLost);
            evidence.clues.push(clue);
        }
        evidence.join(Evidence {
            facts,
            ..Evidence::default()
        });
        Ok(())
    }

    /// What the device said of itself, where that explains why it does not come.
    fn read_state(&self, member: &Member, all: &[Sighted<'_>], evidence: &mut Evidence) {
        let connected = all
            .iter()
            .any(|one| one.cause == Seen::Healthy && one.service() == Service::Mqtt);
        let facts = &member.facts;
        let version = |slot| facts.image(slot).and_then(|image| image.version.as_deref());
        let (main, safeboot) = (version(Slot::Main), version(Slot::Safeboot));
        let (main_said, safeboot_said) = (main.unwrap_or("?"), safeboot.unwrap_or("?"));
        if facts.running == Some(Slot::Safeboot) && !connected && !member.is_online() {
            let quote = both!(
                "by its own last word it runs its safeboot {safeboot_said}; its main image is {main_said}",
                "据它最后的报告，正在运行 safeboot {safeboot_said}；主固件为 {main_said}"
            );
            let place = Place::Listener;
            let clue = Clue::new(Cause::SafebootSilent, Strength::Specific, place, quote);
            evidence.clues.push(clue);
        }
        if let (Some(main), Some(safeboot), Some(family)) = (main, safeboot, member.family()) {
            let differ = safeport_fleet::version::compare(family, safeboot, main)
                .is_some_and(std::cmp::Ordering::is_lt);
            // An older safeboot harms nobody until the device has to use it.
            let matters = evidence.clues.iter().any(|clue| clue.layer == Layer::Ota);
            if differ && matters {
                let quote = both!(
                    "its main image is {main}, its safeboot {safeboot}",
                    "主固件为 {main}，safeboot 为 {safeboot}"
                );
                let place = Place::Listener;
                evidence.clues.push(Clue::new(
                    Cause::VersionMismatch,
                    Strength::Class,
                    place,
                    quote,
                ));
            }
        }
        // What little is left explains a handshake that breaks, and starts without end.
        let starves = evidence.clues.iter().any(|clue| {
            matches!(clue.layer, Layer::Tls | Layer::Memory)
                || clue.cause == Cause::CertificateRefused
        });
        if let Some(bytes) = facts.free_heap.filter(|bytes| *bytes < LOW_HEAP)
            && starves
        {
            let quote = both!(
                "by its own word it had {bytes} bytes of memory left",
                "据它报告，剩余内存只有 {bytes} 字节"
            );
            let place = Place::Listener;
            evidence
                .clues
                .push(Clue::new(Cause::LowHeap, Strength::Class, place, quote));
        }
        if member.is_online() && evidence.clues.is_empty() {
            let at = stamp(member.last_seen);
            evidence.passed.push(Passed {
                layer: Layer::Mqtt,
                place: Place::Listener,
                quote: both!(
                    "connected, seen last at {at}",
                    "已连接，最近一次见到是 {at}"
                ),
            });
        }
    }

    /// Nothing was seen at all.
    fn miss(&self, evidence: &mut Evidence) {
        if !self.serves {
            let quote = both!(
                "no Safeport runs on this data folder, so nothing listens",
                "该数据文件夹上没有运行 Safeport，因此没有监听"
            );
            let clue = Clue::new(
                Cause::NothingListens,
                Strength::Specific,
                Place::Listener,
                quote,
            );
            evidence.clues.push(clue);
            return;
        }
        let (called, minutes) = (self.called, (self.within.as_secs() / 60).max(1));
        let quote = match self.member {
            Some(member) => {
                let at = stamp(member.last_seen);
                both!(
                    "no connection in {minutes} minutes; seen last at {at}",
                    "{minutes} 分钟内没有连接；最近一次见到是 {at}"
                )
            }
            None if self.address().is_some() => both!(
                "no connection from {called} in {minutes} minutes",
                "{minutes} 分钟内没有来自 {called} 的连接"
            ),
            None => both!(
                "no connection in {minutes} minutes, and no device, client id or login name {called} is known here",
                "{minutes} 分钟内没有连接，这里也没有名为 {called} 的设备、客户端标识或登录名"
            ),
        };
        let clue = Clue::new(
            Cause::NothingArrived,
            Strength::Carrier,
            Place::Listener,
            quote,
        );
        evidence.clues.push(clue);
    }

    /// Where the device should go: an address that is proved.
    fn note_server(&self, registry: &Registry, evidence: &mut Evidence) -> Result<(), StoreError> {
        let Some(clue) = evidence.clues.first() else {
            return Ok(());
        };
        let wanted: &[Scheme] = match clue.cause {
            Cause::TlsToPlainPort => &[Scheme::Mqtts],
            Cause::PlainToTlsPort => &[Scheme::Mqtt],
            Cause::TlsToPlainHttp | Cause::HttpToTls => &[],
            Cause::NothingArrived if is_xiaozhi(self.member) => &[Scheme::Https, Scheme::Http],
            Cause::NothingArrived => &[Scheme::Mqtts, Scheme::Mqtt],
            _ => &[],
        };
        let rows = registry.addresses()?;
        let proved: Vec<AdvertisedAddress> = rows
            .iter()
            .filter(|row| row.state == "verified")
            .filter_map(|row| row.url.parse().ok())
            .collect();
        for scheme in wanted {
            let Some(address) = proved.iter().find(|address| address.scheme() == *scheme) else {
                continue;
            };
            let proposal = match scheme {
                Scheme::Http | Scheme::Https => address.url("/xiaozhi/ota/"),
                _ => address.to_string(),
            };
            evidence.facts.note("proposal", proposal);
            break;
        }
        if clue.cause != Cause::NothingListens
            && let Some(address) = proved.first()
        {
            evidence.facts.note("host", address.host().to_string());
        }
        Ok(())
    }

    /// The port of a listener: that of the server that runs, else by the settings.
    fn port_of(&self, name: &str, live: &[LiveValue]) -> Option<u16> {
        let key = format!("{name}.bind");
        let running = live
            .iter()
            .find(|value| value.key == key)
            .and_then(|value| {
                let first = value.value.split(',').next()?;
                let port = first.rsplit(':').next()?;
                port.trim_matches(|c: char| !c.is_ascii_digit())
                    .parse()
                    .ok()
            });
        let planned = || {
            let listener = Listener::ALL.into_iter().find(|one| one.name() == name)?;
            let (_, binds) = self.settings?.binds(listener);
            let mut addresses = binds.iter().filter_map(|bind| bind.address());
            addresses.next().map(|address| address.port())
        };
        running.or_else(planned).filter(|port| *port > 0)
    }
}

/// The login name and client identifier of a device; empty where it has none.
fn login_of(registry: &Registry, member: &Member) -> Result<(String, String), StoreError> {
    if let Some(name) = &member.enrolment
        && let Some(record) = registry.device(name.as_str())?
    {
        return Ok((record.username, record.client_id));
    }
    Ok((String::new(), client_id_of(member).unwrap_or_default()))
}

/// By what client identifier a device goes.
fn client_id_of(member: &Member) -> Option<String> {
    member.client_id().map(str::to_owned)
}

fn is_xiaozhi(member: Option<&Member>) -> bool {
    member.and_then(Member::family) == Some(Family::Xiaozhi)
}

fn clipped(said: Said) -> Said {
    let clip = |text: String| text.chars().take(QUOTE_CHARS).collect::<String>();
    Said::new(clip(said.en), clip(said.zh))
}

#[cfg(test)]
mod tests;
