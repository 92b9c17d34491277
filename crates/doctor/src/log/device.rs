//! What one device printed: its boots, and in the last of them what points to a trouble.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::facts::{Given, Tried};
use super::speaker::{Speaker, Spoken};
use super::stamp::{Clock, Stamp};
use super::{Boot, Seen, passing};
use crate::limits::{BOOTS, CLUES, TO_PROBE};
use crate::mask::quote;
use crate::{Facts, Strength};

/// A device, as its lines show it.
pub(super) struct Device {
    /// The name that syslog or a container engine put in front of its lines.
    pub(super) host: Option<String>,
    pub(super) speaker: Speaker,
    xiaozhi: bool,
    boots: Vec<Boot>,
    /// Which sorts of boot lines the present boot has had: a second one of a sort is a new boot.
    boot_lines: u8,
    life: Life,
    /// The life before, while the present one shows no trouble: a log may end right after a restart.
    before: Option<Life>,
    /// What lives that remarks call older gave away.
    older_facts: Vec<(&'static str, String)>,
    older: bool,
    last_line: u32,
    last_at: Option<Stamp>,
}

/// From a start of a device to the next.
#[derive(Default)]
pub(super) struct Life {
    pub(super) seen: Vec<Seen>,
    pub(super) passed: Vec<passing::Mark>,
    pub(super) tried: Vec<(u32, Tried)>,
    /// The line in which each address was named, as it stood.
    pub(super) tried_lines: Vec<(u32, String)>,
    pub(super) facts: Vec<(&'static str, String)>,
    /// The line that shows the device's time.
    pub(super) time: Option<Timed>,
    /// The banner of a safeboot.
    pub(super) safeboot: Option<(u32, String, Option<Stamp>)>,
    /// Whether it says anything of MQTT.
    pub(super) speaks_mqtt: bool,
    pub(super) modem: Option<String>,
    /// Whether somebody uploads firmware to it over the network.
    pub(super) uploaded_to: bool,
    /// The first and the last stamp.
    pub(super) from: Option<Stamp>,
    pub(super) until: Option<Stamp>,
    /// Bursts of trouble in the whole life.
    pub(super) bursts: u32,
}

/// A line that shows the device's time.
pub(super) struct Timed {
    pub(super) line: u32,
    pub(super) at: Option<Stamp>,
    pub(super) value: String,
    pub(super) quote: String,
}

/// What of a device was at work, so that a later success is not taken for another one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Mqtt,
    Websocket,
    Http,
    /// Not said: sockets and TLS serve all of them.
    Any,
}

impl Service {
    pub(super) fn of(spoken: &Spoken<'_>, line: &str) -> Service {
        let tag = spoken.tag;
        if matches!(tag, "MQT" | "MQTT" | "mqtt" | "mqtt_client") || tag.starts_with("mqtt") {
            Service::Mqtt
        } else if matches!(tag, "WS" | "WebSocket" | "TRANSPORT_WS" | "transport_ws") {
            Service::Websocket
        } else if matches!(
            tag,
            "Ota" | "EspHttp" | "HTTP_CLIENT" | "HTP" | "OTA" | "UPL" | "esp_https_ota" | "HTTP"
        ) || line.starts_with("HTTP")
        {
            Service::Http
        } else {
            Service::Any
        }
    }
}

/// Tasmota may write its heap behind the time: `00:00:01.200-043/38 MQT: …`.
pub(super) fn without_heap(line: &str) -> &str {
    let Some(rest) = line.strip_prefix(['-', '/']) else {
        return line;
    };
    match rest.split_once(' ') {
        Some((heap, rest))
            if heap
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'/') =>
        {
            rest.trim_start()
        }
        _ => line,
    }
}

impl Device {
    pub(super) fn new(host: Option<String>, speaker: Speaker) -> Device {
        Device {
            host,
            speaker,
            xiaozhi: false,
            boots: Vec::new(),
            boot_lines: 0,
            life: Life::default(),
            before: None,
            older_facts: Vec::new(),
            older: false,
            last_line: 0,
            last_at: None,
        }
    }

    /// Takes a line of the device, which may begin a new boot.
    pub(super) fn line(
        &mut self,
        number: u32,
        line: &str,
        rest: &str,
        at: Option<Stamp>,
        spoken: &Spoken<'_>,
        older: bool,
    ) {
        let kind = boot_line(rest, spoken);
        let back = match (at, self.last_at) {
            (Some(at), Some(last)) => stepped_back(at, last),
            _ => false,
        };
        let again = kind != 0 && self.boot_lines & kind != 0;
        // What a boot prints stands together at its begin.
        let late = kind != 0
            && self
                .boots
                .last()
                .is_none_or(|boot| number > boot.first_line + 60);
        if self.boots.is_empty() || back || again || late || older != self.older {
            self.begin(number, at, older);
        }
        self.boot_lines |= kind;
        self.older = older;
        self.last_line = number;
        self.last_at = at.or(self.last_at);
        if let Some(boot) = self.boots.last_mut() {
            boot.last_line = number;
            if kind & RESET != 0 && boot.because.is_none() {
                boot.because = Some(quote(line));
            }
        }
        self.xiaozhi |= matches!(
            spoken.tag,
            "Ota" | "WS" | "EspHttp" | "EspTcp" | "EspSsl" | "Application" | "WebSocket"
        ) || spoken.tag.starts_with("Ml307")
            || spoken.tag.starts_with("Ec801E")
            || spoken.tag.starts_with("Nt26")
            // The IDF's own client is called mqtt_client.
            || (spoken.tag == "MQTT" && rest.contains("endpoint"));
        let life = &mut self.life;
        life.from = life.from.or(at);
        life.until = at.or(life.until);
        life.speaks_mqtt |= spoken.tag == "MQT" || spoken.tag == "MQTT";
        if life.passed.len() < CLUES
            && let Some(mark) = passing::mark(number, line, rest, at, spoken)
        {
            life.passed.push(mark);
        }
        life.uploaded_to |=
            rest.contains("ending invitation") || rest.starts_with("Authenticating...");
        if rest.contains("(safeboot)") {
            life.safeboot = Some((number, quote(line), at));
        }
    }

    fn begin(&mut self, number: u32, at: Option<Stamp>, older: bool) {
        let ended = core::mem::take(&mut self.life);
        if self.older {
            self.older_facts.extend(ended.facts);
        } else if !self.boots.is_empty() && older {
            // What a remark calls older does not take the place of what stands above it.
            self.before = Some(ended);
        } else if ended.has_trouble() {
            self.before = Some(ended);
        }
        self.boot_lines = 0;
        if self.boots.len() == BOOTS {
            self.boots.remove(0);
        }
        self.boots.push(Boot {
            first_line: number,
            last_line: number,
            at: at.map(Stamp::moment),
            because: None,
            earlier: older,
        });
    }

    /// Takes what a line gave away.
    pub(super) fn give(&mut self, number: u32, line: &str, at: Option<Stamp>, given: Vec<Given>) {
        let life = &mut self.life;
        for given in given {
            match given {
                Given::Tried(tried) => {
                    if life.tried.len() == TO_PROBE {
                        life.tried.remove(0);
                        life.tried_lines.remove(0);
                    }
                    life.tried.push((number, tried));
                    life.tried_lines.push((number, String::from(line)));
                }
                Given::Fact("device_time", value) => {
                    life.time = Some(Timed {
                        line: number,
                        at,
                        value,
                        quote: quote(line),
                    });
                }
                Given::Fact(name, value) => life.note(name, value),
                Given::Tasmota { version, safeboot } => {
                    let name = if safeboot {
                        "safeboot_version"
                    } else {
                        "version"
                    };
                    life.note(name, version);
                }
                Given::Modem(modem) => life.modem = Some(modem),
            }
        }
    }

    /// Takes a line that points to something.
    pub(super) fn see(&mut self, seen: Seen) {
        if seen.is("tasmota-safeboot-silent") {
            // It is one only if nothing of MQTT follows; known at the end of the boot.
            return;
        }
        self.xiaozhi |= seen.is_of("xiaozhi-log");
        if self.life.seen.len() == CLUES {
            self.life.seen.remove(0);
        }
        let new = self.life.seen.last().is_none_or(|last| apart(last, &seen));
        self.life.bursts += u32::from(new);
        self.life.seen.push(seen);
    }

    /// The last line with a trouble.
    pub(super) fn last_trouble(&self) -> u32 {
        let trouble = |life: &Life| {
            let seen = life.seen.iter().rev();
            let mut seen = seen.filter(|seen| seen.strength > Strength::Carrier);
            let safeboot = life.safeboot.as_ref().filter(|_| !life.speaks_mqtt);
            seen.next()
                .map(|seen| seen.line)
                .max(safeboot.map(|(line, ..)| *line))
        };
        let lives = [Some(&self.life), self.before.as_ref()];
        lives
            .into_iter()
            .flatten()
            .filter_map(trouble)
            .max()
            .unwrap_or(0)
    }

    pub(super) fn last_line(&self) -> u32 {
        self.last_line
    }

    pub(super) fn boots(&mut self) -> Vec<Boot> {
        core::mem::take(&mut self.boots)
    }

    /// The family, in one word; nothing for lines of no known form.
    pub(super) fn family(&self) -> Option<&'static str> {
        Some(match self.speaker {
            _ if self.xiaozhi => "xiaozhi",
            Speaker::Tasmota => "tasmota",
            Speaker::Espeasy => "espeasy",
            Speaker::Esphome => "esphome",
            Speaker::Arduino => "arduino",
            Speaker::Shelly => "shelly",
            Speaker::Idf => "idf",
            Speaker::Unknown | Speaker::Server | Speaker::Remark => return None,
        })
    }

    /// Puts what is known of the device into `facts`; later lines and newer boots go first.
    pub(super) fn note_facts(&self, facts: &mut Facts) {
        if let Some(family) = self.family() {
            facts.note("family", family);
        }
        if let Some(host) = &self.host {
            facts.note("device", &host[..]);
        }
        let lives = match (&self.before, self.older) {
            (Some(before), true) => [Some(before), Some(&self.life)],
            (before, _) => [Some(&self.life), before.as_ref()],
        };
        for life in lives.into_iter().flatten() {
            for (name, value) in life.facts.iter().rev() {
                facts.note(name, &value[..]);
            }
            if let Some(modem) = &life.modem {
                facts.note("modem", &modem[..]);
            }
            if let Some(time) = &life.time {
                facts.note("device_time", &time.value[..]);
            }
        }
        for (name, value) in self.older_facts.iter().rev() {
            facts.note(name, &value[..]);
        }
    }

    /// The life that is judged, and in it the last burst of trouble.
    pub(super) fn into_trouble(self) -> (Life, Vec<Seen>) {
        let mut life = match self.before {
            Some(before) if self.older || !self.life.says_enough() => before,
            _ => self.life,
        };
        let seen = core::mem::take(&mut life.seen);
        let burst = last_burst(seen);
        if life.is_well_again(&burst) {
            return (life, Vec::new());
        }
        (life, burst)
    }
}

impl Life {
    fn note(&mut self, name: &'static str, value: String) {
        match self.facts.iter_mut().find(|(other, _)| *other == name) {
            Some((_, known)) => *known = value,
            None => self.facts.push((name, value)),
        }
    }

    fn has_trouble(&self) -> bool {
        self.seen
            .iter()
            .any(|seen| seen.strength > Strength::Carrier)
    }

    /// Whether it can be judged without the life before it.
    fn says_enough(&self) -> bool {
        self.has_trouble()
            || self.safeboot.is_some()
            || self.passed.iter().any(|mark| mark.layer.rank() >= 4)
    }

    /// Whether what failed worked later, and did not fail time and again.
    fn is_well_again(&self, burst: &[Seen]) -> bool {
        let (Some(last), true) = (burst.last(), self.bursts < 3) else {
            return false;
        };
        let service = burst
            .iter()
            .map(|seen| seen.service)
            .find(|service| *service != Service::Any)
            .unwrap_or(Service::Any);
        let rank = burst.iter().map(|seen| seen.cause.layer().rank()).min();
        self.passed.iter().any(|mark| {
            mark.line > last.line
                && Some(mark.layer.rank()) >= rank
                && (mark.service == service || service == Service::Any || mark.layer.rank() == 0)
        })
    }

    /// How long the device had run at a line, where its clock counts from the boot.
    pub(super) fn uptime(&self, at: Option<Stamp>) -> Option<Duration> {
        let at = at?;
        match at.clock {
            Clock::Boot => Some(at.since),
            _ => None,
        }
    }
}

/// The last burst in which anything more than a carrier line is, else the last one; and where that
/// names no cause, what an earlier try on the same layer said more exactly.
fn last_burst(seen: Vec<Seen>) -> Vec<Seen> {
    let mut bursts: Vec<Vec<Seen>> = Vec::new();
    for seen in seen {
        match bursts.last_mut() {
            Some(burst) if burst.last().is_some_and(|last| !apart(last, &seen)) => burst.push(seen),
            _ => bursts.push(alloc::vec![seen]),
        }
    }
    let telling = |burst: &Vec<Seen>| burst.iter().any(|seen| seen.strength > Strength::Carrier);
    let Some(last) = bursts.iter().rposition(telling) else {
        return bursts.pop().unwrap_or_default();
    };
    let mut burst = bursts.swap_remove(last);
    bursts.truncate(last);
    let of_strength = |least: Strength| move |seen: &&Seen| seen.strength >= least;
    let lowest = burst
        .iter()
        .filter(of_strength(Strength::Class))
        .map(|seen| seen.cause.layer())
        .min_by_key(|layer| layer.rank());
    if !burst.iter().any(|seen| seen.strength >= Strength::Specific) {
        let earlier = bursts.iter().rev().flatten();
        let mut exact = earlier.filter(of_strength(Strength::Specific));
        if let Some(seen) = exact.find(|seen| Some(seen.cause.layer()) == lowest) {
            burst.insert(0, seen.clone());
        }
    }
    burst
}

/// Failures belong together that are not more than this apart.
const BURST: Duration = Duration::from_secs(2);

/// Lines that belong together where one of them has no time.
const NEIGHBOURS: u32 = 12;

fn apart(earlier: &Seen, later: &Seen) -> bool {
    match (earlier.at, later.at) {
        (Some(earlier_at), Some(at)) if earlier_at.is_like(at) => {
            at.after(earlier_at).is_none_or(|gap| gap > BURST)
        }
        _ => later.line - earlier.line > NEIGHBOURS,
    }
}

/// Whether a clock that counts from the boot, or a clock that was never set, began again.
fn stepped_back(at: Stamp, last: Stamp) -> bool {
    if !at.is_like(last) {
        return false;
    }
    // Two cores and the radio print a little out of turn.
    let back = last.since.saturating_sub(at.since) > Duration::from_secs(1);
    match at.clock {
        Clock::Boot => back,
        Clock::Day => {
            let midnight = last.since > Duration::from_secs(86_400 - 600);
            back && at.since < Duration::from_secs(60) && !midnight
        }
        Clock::Wall => false,
    }
}

const RESET: u8 = 1;

/// The sort of line with which a boot begins, as one bit; 0 for any other line.
fn boot_line(line: &str, spoken: &Spoken<'_>) -> u8 {
    let sorts: &[(u8, &[&str])] = &[
        (RESET, &["rst:0x", "rst cause:", "Restart Reason"]),
        (2, &["ets Jun ", "ets Jul ", "ets Jan ", "ESP-ROM:"]),
        (4, &["boot: ESP-IDF", "cpu_start: Project name"]),
        (8, &["Project ", "Tasmota Version"]),
        (16, &["ESPHome version "]),
        (32, &["Booting version"]),
        (64, &["Running through setup()", "HDW: ESP"]),
    ];
    if matches!(spoken.speaker, Speaker::Idf) && !matches!(spoken.tag, "boot" | "cpu_start") {
        return 0;
    }
    let found = sorts.iter().find(|(sort, texts)| match sort {
        8 => texts.iter().all(|text| line.contains(text)),
        _ => texts.iter().any(|text| line.contains(text)),
    });
    found.map_or(0, |(sort, _)| *sort)
}
