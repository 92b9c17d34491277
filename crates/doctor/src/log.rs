//! From a pasted log to evidence.
//!
//! Lines are told apart by who printed them: the device, a server beside it, or the person who
//! reports (`# …`). Each is looked up in the [catalogue](crate::catalogue()) of its own speaker, or
//! classed by its form. Of the device the last boot counts, and of that the last burst of failures;
//! servers have other clocks, so all that they say counts. Then neighbouring lines that mean more
//! together are paired.

mod device;
mod facts;
mod lines;
mod pairing;
mod passing;
pub(crate) mod speaker;
mod stamp;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use safeport_settings::Said;

use crate::catalogue::{Entry, Severity, catalogue, find_all};
use crate::limits::{CLUES, LINE_BYTES, LOG_DEVICES, TO_PROBE};
use crate::mask::quote;
use crate::structure::{self, Guess};
use crate::{Cause, Clue, Evidence, Facts, Moment, Place, Strength};
use device::{Device, Life, Service};
use facts::{Given, Tried};
use speaker::{Level, Speaker, Spoken};
use stamp::Stamp;

/// What a log says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogReading {
    /// What points to a cause, in the order of the log, and what was seen to work. No clues when the
    /// log shows nothing wrong, or nothing wrong any more.
    pub evidence: Evidence,
    /// The boots of the device that is judged, the last one last.
    pub boots: Vec<Boot>,
    /// Whose lines were seen, the device that is judged first: `tasmota`, `espeasy`, `esphome`,
    /// `xiaozhi`, `idf`, `arduino`, `shelly`, `server`.
    pub stacks: Vec<&'static str>,
    /// How many lines were read.
    pub lines: u32,
    /// What was not read, and why.
    pub left_out: Vec<Said>,
    /// Where the device tried to connect, the failing one first; without secrets.
    pub to_probe: Vec<String>,
}

/// One run of a device from its start.
#[derive(Debug, Clone, PartialEq)]
pub struct Boot {
    /// Its first line, counted from 1.
    pub first_line: u32,
    /// Its last line.
    pub last_line: u32,
    /// When it began, if the first line says so.
    pub at: Option<Moment>,
    /// The line that gives the reason of the restart.
    pub because: Option<String>,
    /// Whether a remark says that it was before the others.
    pub earlier: bool,
}

/// Reads the bytes of a file or of standard input: UTF-16, or UTF-8 with anything between.
pub fn read_log_bytes(bytes: &[u8]) -> LogReading {
    read_log(&lines::decode(bytes))
}

/// Reads a log.
pub fn read_log(text: &str) -> LogReading {
    let (text, first, left_out) = lines::within_limits(text);
    let mut reader = Reader {
        left_out,
        ..Reader::default()
    };
    let mut number = first;
    // A file of Windows has both, a serial monitor may have written only the first.
    for line in text.split('\n').flat_map(|line| {
        let line = line.strip_suffix('\r').unwrap_or(line);
        line.split('\r')
    }) {
        reader.line(number, line);
        number = number.saturating_add(1);
    }
    reader.finish()
}

/// A line without what is in front of its words.
#[cfg(test)]
pub(crate) fn peeled(line: &str) -> &str {
    device::without_heap(stamp::peel(line).2)
}

/// A line that points to something.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    line: u32,
    at: Option<Stamp>,
    speaker: Speaker,
    service: Service,
    entry: Option<&'static Entry>,
    cause: Cause,
    or: Vec<Cause>,
    strength: Strength,
    /// The line as it stood; as people are shown it from [`Reader::finish`] on.
    quote: String,
}

impl Seen {
    fn is(&self, id: &str) -> bool {
        self.entry.is_some_and(|entry| entry.id == id)
    }

    fn is_of(&self, stack: &str) -> bool {
        self.entry.is_some_and(|entry| entry.stack == stack)
    }

    fn place(&self) -> Place {
        place(self.speaker, self.line)
    }

    fn clue(self) -> Clue {
        Clue {
            at: self.at.map(Stamp::moment),
            entry: self.entry.map(|entry| entry.id.clone()),
            ..Clue::new(
                self.cause,
                self.strength,
                self.place(),
                Said::same(&self.quote),
            )
            .or(&self.or)
        }
    }
}

fn place(speaker: Speaker, line: u32) -> Place {
    if speaker.is_beside() {
        Place::ServerLog { line }
    } else {
        Place::DeviceLog { line }
    }
}

/// What is known while lines come in.
#[derive(Default)]
struct Reader {
    devices: Vec<Device>,
    /// The device that spoke last, to whom lines of unknown form belong.
    last: Option<usize>,
    /// What servers said, and remarks.
    beside: Vec<Seen>,
    beside_tried: Vec<Tried>,
    beside_facts: Vec<(&'static str, String)>,
    /// A remark that tells of packets sent again and again.
    retransmitted: Option<(u32, String)>,
    /// The port on which a broker saw the last connection come in.
    came_in_on: Option<u16>,
    /// The port of one that went without a name.
    nameless_on: Option<u16>,
    section: Section,
    lines: u32,
    long_lines: u32,
    servers_spoke: bool,
    left_out: Vec<Said>,
    lowered: String,
}

/// What the last remark says of the lines below it.
#[derive(Default, Clone, Copy)]
struct Section {
    /// They are a server's.
    server: bool,
    /// They are older than what stands above.
    earlier: bool,
}

impl Reader {
    fn line(&mut self, number: u32, raw: &str) {
        let (line, cut) = lines::clean(raw);
        self.long_lines += u32::from(cut);
        let line = line.trim();
        if line.is_empty() {
            return;
        }
        self.lines += 1;
        let (stamp, host, rest) = stamp::peel(line);
        let rest = device::without_heap(rest);
        let mut spoken = speaker::listen(rest);
        let at = spoken.stamp.or(stamp);
        match spoken.speaker {
            Speaker::Remark => self.section = section_of(rest),
            Speaker::Unknown if self.section.server => spoken.speaker = Speaker::Server,
            _ => {}
        }
        let found = self.found(rest, &spoken);
        if spoken.speaker == Speaker::Unknown
            && let Found::Entry(entry) = &found
            && Speaker::Server.speaks(&entry.stack)
            && !matches!(&entry.stack[..], "http" | "websocket" | "mqtt311" | "mqtt5")
        {
            spoken.speaker = Speaker::Server;
        }
        let given = facts::given(rest, spoken.speaker);
        if spoken.speaker.is_beside() {
            self.beside_line(number, line, at, &spoken, found, given);
        } else {
            let device = self.device(host, spoken.speaker);
            let earlier = self.section.earlier;
            let device = &mut self.devices[device];
            device.line(number, line, rest, at, &spoken, earlier);
            device.give(number, line, at, given);
            if let Some(seen) = seen(number, line, at, &spoken, rest, found) {
                device.see(seen);
            }
        }
    }

    fn beside_line(
        &mut self,
        number: u32,
        line: &str,
        at: Option<Stamp>,
        spoken: &Spoken<'_>,
        found: Found,
        given: Vec<Given>,
    ) {
        if spoken.speaker == Speaker::Server {
            self.servers_spoke = true;
        }
        let again = [
            "etransmi",
            "esend",
            "esent",
            "not acked",
            "unacked",
            "ot acknowledged",
            "ever acknowledged",
            "othing acknowledged",
            "重传",
            "未确认",
        ]
        .iter()
        .any(|word| line.contains(word));
        let large = [
            "ertificate",
            "erverHello",
            "flight",
            "above",
            "bytes",
            "MSS",
            "MTU",
            "大包",
        ];
        if again && large.iter().any(|word| line.contains(word)) {
            self.retransmitted = Some((number, quote(line)));
        }
        if line.contains("New connection from") {
            let port = structure::number_behind(line, &["on port"]);
            self.came_in_on = port.and_then(|port| u16::try_from(port).ok());
        } else if line.contains("<unknown>") || line.contains("(null)") {
            self.nameless_on = self.came_in_on.or(self.nameless_on);
        }
        for given in given {
            match given {
                Given::Tried(tried) => self.beside_tried.push(tried),
                Given::Fact(name, value) => self.beside_facts.push((name, value)),
                Given::Tasmota { .. } | Given::Modem(_) => {}
            }
        }
        self.beside_tried.truncate(TO_PROBE);
        self.beside_facts.truncate(CLUES);
        if let Some(seen) = seen(number, line, at, spoken, line, found) {
            if self.beside.len() == CLUES {
                self.beside.remove(0);
            }
            self.beside.push(seen);
        }
    }

    /// The catalogue's entry for a line, or its class by its form.
    fn found(&mut self, line: &str, spoken: &Spoken<'_>) -> Found {
        let speaker = spoken.speaker;
        // A line of no form can only be of a device that spoke here, or of a server.
        let known = self.last.map(|last| self.devices[last].speaker);
        let admits = |entry: &Entry| match (speaker, known) {
            (Speaker::Unknown, Some(known)) => {
                known.speaks(&entry.stack) || Speaker::Server.speaks(&entry.stack)
            }
            _ => speaker.speaks(&entry.stack),
        };
        let hits = find_all(line, &mut self.lowered, admits);
        if let Some(first) = hits.first() {
            let mut entry = first.entry;
            if entry.strength == Strength::Carrier {
                // It only carries what else is in the line.
                let carried = hits.iter().map(|hit| hit.entry);
                let carried = carried.chain(inner_number(line.get(first.start..).unwrap_or(line)));
                let mut carried = carried.filter(|entry| entry.strength > Strength::Carrier);
                entry = carried.next().unwrap_or(entry);
            } else if entry.strength < Strength::Specific {
                // The status that the server answered says more than that it answered otherwise.
                let mut status = hits.iter().map(|hit| hit.entry);
                let status = status
                    .find(|other| other.stack == "http" && other.strength == Strength::Specific);
                entry = status.unwrap_or(entry);
            }
            return Found::Entry(entry);
        }
        if let Some(entry) = structure::entry_of_number(line, spoken) {
            return Found::Entry(entry);
        }
        if spoken.level == Level::Info && !speaker.is_beside() {
            return Found::Nothing;
        }
        let guess = if speaker == Speaker::Remark {
            structure::guess_number(line, spoken)
        } else {
            structure::guess(line, spoken)
        };
        guess.map_or(Found::Nothing, Found::Class)
    }

    /// The device that a line is of.
    fn device(&mut self, host: Option<&str>, speaker: Speaker) -> usize {
        let same = |device: &Device| {
            device.host.as_deref() == host
                && (speaker == Speaker::Unknown
                    || device.speaker == Speaker::Unknown
                    || family(device.speaker) == family(speaker))
        };
        let found = match (self.last, speaker) {
            (Some(last), Speaker::Unknown) if host.is_none() => Some(last),
            _ => self.devices.iter().position(same),
        };
        let index = found.unwrap_or_else(|| {
            if self.devices.len() < LOG_DEVICES {
                self.devices.push(Device::new(host.map(quote), speaker));
            }
            self.devices.len() - 1
        });
        if self.devices[index].speaker == Speaker::Unknown {
            self.devices[index].speaker = speaker;
        }
        self.last = Some(index);
        index
    }

    fn finish(mut self) -> LogReading {
        if self.long_lines > 0 {
            let lines = self.long_lines;
            self.left_out.push(Said::new(
                format!(
                    "{lines} lines are longer than {LINE_BYTES} bytes: their ends were left out"
                ),
                format!("{lines} 行超过 {LINE_BYTES} 字节：行尾未读"),
            ));
        }
        // The device whose trouble is the latest is the one that the log is about.
        let judged = (0..self.devices.len()).max_by_key(|&index| {
            let device = &self.devices[index];
            (device.last_trouble(), device.last_line())
        });
        let mut stacks = Vec::new();
        let mut add = |name: Option<&'static str>| {
            stacks.extend(name.filter(|name| !stacks.contains(name)));
        };
        if let Some(index) = judged {
            add(self.devices[index].family());
        }
        for device in &self.devices {
            add(device.family());
        }
        if self.servers_spoke {
            add(Some("server"));
        }
        let mut reading = LogReading {
            stacks,
            lines: self.lines,
            left_out: self.left_out,
            ..LogReading::default()
        };
        let mut device = match judged {
            Some(index) => self.devices.swap_remove(index),
            None => Device::new(None, Speaker::Unknown),
        };
        device.note_facts(&mut reading.evidence.facts);
        for (name, value) in self.beside_facts {
            reading.evidence.facts.note(name, value);
        }
        reading.boots = device.boots();
        let (life, mut burst) = device.into_trouble();
        // Only what is left of millions of lines is worth the search for secrets.
        for seen in burst.iter_mut().chain(&mut self.beside) {
            seen.quote = quote(&seen.quote);
        }
        let case = pairing::Case {
            device: burst,
            beside: self.beside,
            life: &life,
            retransmitted: self.retransmitted,
            nameless_on: self.nameless_on,
        };
        let clues = case.paired();
        passing::note(&life, &clues, &mut reading.evidence);
        reading.to_probe = to_probe(&life, &clues, &self.beside_tried);
        if clues.iter().any(|seen| seen.cause == Cause::PortInUse) {
            note_told(&self.beside_tried, &mut reading.evidence.facts);
        }
        if let Some(tried) = failing(&life, &clues).or(self.beside_tried.first()) {
            note_tried(tried, &mut reading.evidence);
        }
        reading.evidence.clues = clues.into_iter().map(Seen::clue).collect();
        reading
    }
}

/// What a line is found to say.
enum Found {
    Entry(&'static Entry),
    Class(Guess),
    Nothing,
}

fn seen(
    number: u32,
    line: &str,
    at: Option<Stamp>,
    spoken: &Spoken<'_>,
    rest: &str,
    found: Found,
) -> Option<Seen> {
    let (entry, cause, or, strength) = match found {
        Found::Nothing => return None,
        Found::Entry(entry) if entry.cause == Cause::Healthy => return None,
        Found::Entry(entry) if entry.severity == Severity::Info => return None,
        // An earlier call left it behind, unless the line says that connecting gave it.
        Found::Entry(entry)
            if matches!(&entry.id[..], "errno-119" | "errno-11")
                && !rest.contains("connect error") =>
        {
            return None;
        }
        Found::Entry(entry) => (Some(entry), entry.cause, entry.or.clone(), entry.strength),
        Found::Class(guess) => (None, guess.cause, guess.or, guess.strength),
    };
    Some(Seen {
        line: number,
        at,
        speaker: spoken.speaker,
        service: Service::of(spoken, rest),
        entry,
        cause,
        or,
        strength,
        quote: String::from(line),
    })
}

/// The entry for the number that a carrier line brings: of esp-tls or its HTTP client, of the TLS
/// library, or of the sockets.
fn inner_number(line: &str) -> Option<&'static Entry> {
    let number = structure::number_behind(line, &["code", "esp-tls:", "connection:", "error"])?;
    let catalogue = catalogue();
    match number {
        0x7001..=0x70ff => catalogue.number("esp_http_client", number),
        0x8001..=0x80ff => catalogue.number("esp-tls", number),
        1..=140 => catalogue.number("lwip-errno", number),
        210 => catalogue.number("lwip-dns", number),
        -0x7fff..=-0x10 => catalogue.number("mbedtls", number),
        _ => None,
    }
}

fn section_of(remark: &str) -> Section {
    let remark = remark.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| remark.contains(word));
    Section {
        server: has(&[
            "broker",
            "server",
            "proxy",
            "nginx",
            "backend",
            "mosquitto",
            "haproxy",
            "traefik",
            "caddy",
            "emqx",
            "docker",
            "服务器",
            "服务端",
            "代理",
            "后端",
        ]),
        earlier: has(&[
            "earlier",
            "before that",
            "previous",
            "之前",
            "早些",
            "先前",
            "ago",
        ]),
    }
}

/// Lines of these come out of one board: ESPHome and Arduino print through the IDF.
fn family(speaker: Speaker) -> u8 {
    match speaker {
        Speaker::Tasmota => 1,
        Speaker::Espeasy => 2,
        _ => 3,
    }
}

/// What the device was connecting to when it failed: named in a failing line, else tried last
/// before it.
fn failing<'a>(life: &'a Life, clues: &[Seen]) -> Option<&'a Tried> {
    let of_device = || clues.iter().filter(|seen| !seen.speaker.is_beside());
    let strongest = of_device().max_by_key(|seen| seen.strength);
    let named =
        of_device().find_map(|seen| life.tried.iter().rev().find(|(line, _)| *line == seen.line));
    let before = |line: u32| life.tried.iter().rev().find(move |(at, _)| *at <= line);
    let (_, found) = named
        .or_else(|| strongest.and_then(|seen| before(seen.line)))
        .or(match strongest {
            Some(_) => None,
            None => life.tried.last(),
        })?;
    // The same with its scheme, where another line has it.
    let mut whole = life.tried.iter().rev().map(|(_, tried)| tried);
    let whole = whole.find(|tried| {
        !tried.scheme.is_empty()
            && tried.host == found.host
            && (tried.port.is_none() || tried.port == found.port)
    });
    Some(match whole {
        Some(whole) if found.scheme.is_empty() => whole,
        _ => found,
    })
}

fn to_probe(life: &Life, clues: &[Seen], beside: &[Tried]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let tried = failing(life, clues).into_iter();
    let tried = tried.chain(life.tried.iter().rev().map(|(_, tried)| tried));
    for tried in tried.chain(beside) {
        let masked = tried.url.contains("***");
        if !masked && all.len() < TO_PROBE && !all.contains(&tried.url) {
            all.push(tried.url.clone());
        }
    }
    all
}

/// A server that did not get its port may hand out an address with it all the same.
fn note_told(named: &[Tried], facts: &mut Facts) {
    let port = facts.get("port").and_then(|port| port.parse::<u16>().ok());
    let told = named
        .iter()
        .find(|tried| port.is_some() && tried.port == port);
    if let Some(told) = told {
        facts.note("told", &told.url[..]);
    }
}

fn note_tried(tried: &Tried, evidence: &mut Evidence) {
    let facts = &mut evidence.facts;
    facts.note("host", &tried.host[..]);
    if tried.ipv4().is_some() {
        facts.note("address", &tried.host[..]);
    }
    let usual = match &tried.scheme[..] {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        "mqtt" => Some(1883),
        "mqtts" => Some(8883),
        _ => None,
    };
    if let Some(port) = tried.port.or(usual) {
        facts.note("port", port.to_string());
    }
    if !tried.scheme.is_empty() {
        facts.note("scheme", &tried.scheme[..]);
        facts.note("url", &tried.url[..]);
    }
}

#[cfg(test)]
mod tests;
