//! `safeport doctor`: which layer broke, why, and what to do.

use std::io::{IsTerminal, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use safeport_doctor::profile::Profile;
use safeport_doctor::{Evidence, Texts as Causes, explain, judge, read_log_bytes};
use safeport_settings::{Listener, Said, Settings};
use serde_json::json;

use super::attempts::time_span;
use super::{Place, gather, read};
use crate::console::{Console, Failure};
use crate::doctor::{
    Authorities, Examination, Login, Order, OwnPort, State, Step, Vantage, examine,
};
use crate::log;
use crate::reading::Gathered;
use crate::say;
use crate::shown::doctor::{Screen, Subject, diagnosis_json, explained, explained_json, screen};
use crate::text::Language;

mod here;
mod own;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct DoctorArgs {
    #[command(subcommand)]
    command: Option<DoctorCommand>,
    /// URL, host:port or host to probe from this machine; or a device of this server. With nothing at
    /// all: this server itself
    #[arg(value_name = "TARGET")]
    target: Option<String>,
    /// A log of the device or of its server to read; - reads standard input
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// What this server saw of a device: by its name, client id, login name or IP address
    #[arg(long, value_name = "NAME|CLIENT-ID|IP")]
    device: Option<String>,
    /// How far to look back for --device, such as 90s, 10m or 2h
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time_span)]
    since: Duration,
    /// A packet capture (pcap or pcapng) to read, of the same incident as a log; - reads standard input
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
    /// Probe as this device would: a name of the list that an unknown one prints
    #[arg(long = "as", value_name = "PROFILE")]
    profile: Option<String>,
    /// From where devices come
    #[arg(long, value_enum, default_value = "lan")]
    from: From,
    /// Certificates of the authority that the devices were given (PEM)
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Connect to this address instead of looking the name up
    #[arg(long, value_name = "IP", conflicts_with = "dns")]
    address: Option<IpAddr>,
    /// Ask this name server instead of the system's, port 53 unless it says another; twice compares
    #[arg(long, value_name = "IP[:PORT]", value_parser = name_server)]
    dns: Vec<SocketAddr>,
    /// Log in with this name
    #[arg(long, value_name = "NAME", requires = "password_file")]
    user: Option<String>,
    /// File with the password for it; - reads standard input
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Send that password also over a connection without TLS
    #[arg(long)]
    yes: bool,
    /// Also watch an idle connection, through pauses up to this one
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "4m", value_parser = pause)]
    long: Option<Duration>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum From {
    /// The network at home
    Lan,
    /// Anywhere: mobile networks, other homes
    Public,
}

#[derive(Debug, Subcommand)]
enum DoctorCommand {
    /// What an error number, a word or a line of a log means, and what to do
    Explain {
        /// Such as -1002, "rc 5", -0x7200, 62, or a whole line
        #[arg(
            required = true,
            allow_hyphen_values = true,
            value_name = "CODE-OR-LINE"
        )]
        text: Vec<String>,
    },
}

/// Logs are cut by their reader; this keeps the rest of a larger file out of memory.
const MOST_READ: u64 = safeport_doctor::limits::LOG_BYTES as u64 + 1;

/// The same for captures.
const MOST_CAPTURED: u64 = safeport_doctor::limits::CAPTURE_BYTES as u64 + 1;

impl DoctorArgs {
    /// Diagnoses, and returns what the process exits with: 0 when nothing is wrong, else 10 to 19.
    pub(super) fn run(&self, console: &mut Console, lang: Option<Language>) -> Result<u8, Failure> {
        if let Some(DoctorCommand::Explain { text }) = &self.command {
            return explain_words(&text.join(" "), &Causes::new(), console);
        }
        // Settings with mistakes, or none at all, are no reason not to look.
        let gathered = gather(&self.place.asked(), console, lang);
        let (device, target) = match (&self.device, &self.target) {
            (None, Some(name)) if own::is_device(name, gathered.as_ref().ok(), console) => {
                (Some(name), None)
            }
            (device, target) => (device.as_ref(), target.as_ref()),
        };
        let mut evidence = Evidence::default();
        let mut known_as = None;
        let settings = match (device, gathered) {
            (None, gathered) => gathered.ok(),
            (Some(called), gathered) => {
                let gathered = gathered?;
                let known = own::look(called, self.since, &gathered, console)?;
                evidence.join(known.evidence);
                known_as = Some(known.name);
                Some(gathered)
            }
        };
        let mut to_probe = Vec::new();
        let mut steps = Vec::new();
        if self.stdin_asked() > 1 {
            return Err(Failure::usage(say!(console.texts, "doctor-stdin-twice"))
                .next(say!(console.texts, "doctor-stdin-twice-next")));
        }
        if let Some(file) = &self.log {
            let bytes = bytes_of(file, console)?;
            if !is_text(&bytes) {
                return Err(nothing_in(file, "doctor-log-empty", console)
                    .next(say!(console.texts, "doctor-log-empty-next")));
            }
            let reading = read_log_bytes(&bytes);
            for left_out in &reading.left_out {
                console.talk(in_words(left_out, console));
            }
            evidence.join(reading.evidence);
            to_probe = reading.to_probe;
        }
        if let Some(file) = &self.capture {
            let authorities = self.authorities(settings.as_ref(), console)?;
            let reading = authorities.read_capture(&some_bytes_of(file, MOST_CAPTURED, console)?);
            if reading.packets == 0 {
                let failure = nothing_in(file, "doctor-capture-empty", console);
                let why = reading.left_out.first();
                return Err(match why {
                    Some(why) => failure.detail(in_words(why, console)),
                    None => failure,
                }
                .next(say!(console.texts, "doctor-capture-empty-next")));
            }
            for left_out in &reading.left_out {
                console.talk(in_words(left_out, console));
            }
            evidence.join(reading.evidence);
        }
        if let Some(target) = target {
            let order = self.order(target, settings.as_ref(), &evidence, console)?;
            let examination = probe(order, console)?;
            evidence.join(examination.evidence);
            steps = examination.steps;
        } else if self.is_about_nothing_else() && known_as.is_none() {
            // Here mistakes in the settings are what is wrong.
            let read = read(&self.place.asked(), console, lang)?;
            let here = here::look(&read);
            evidence.join(here.evidence);
            let order = Order {
                own_ports: here.own_ports,
                ..self.order("", settings.as_ref(), &evidence, console)?
            };
            let examination = probe(order, console)?;
            evidence.join(examination.evidence);
            steps = examination.steps;
        }
        // Read only now: while probes run, people wait for the first line of them.
        let causes = Causes::new();
        let diagnosis = judge(evidence, &causes);
        if console.json {
            let mut value = diagnosis_json(&diagnosis, &json!(steps));
            value["to_probe"] = json!(to_probe);
            console.json(&value)?;
            return Ok(diagnosis.exit_code());
        }
        let subject = match (known_as, target) {
            (Some(name), _) => Subject::Device(name),
            (None, Some(target)) => Subject::Target(covered(target)),
            (None, None) if self.is_about_nothing_else() => Subject::Here,
            (None, None) => Subject::Records,
        };
        let how = on_this_terminal();
        console.data(&screen(&diagnosis, &subject, &causes, &console.texts, how))?;
        if let (None, Some(url)) = (target, to_probe.first()) {
            console.talk(&say!(console.texts, "doctor-probe-next", target = url));
        }
        Ok(diagnosis.exit_code())
    }

    /// Neither a log nor a capture is to be read.
    fn is_about_nothing_else(&self) -> bool {
        self.log.is_none() && self.capture.is_none()
    }

    /// How many of the files are standard input.
    fn stdin_asked(&self) -> usize {
        let files = [&self.log, &self.capture, &self.password_file];
        let files = files.into_iter().flatten();
        files.filter(|file| *file == Path::new("-")).count()
    }

    fn authorities(
        &self,
        settings: Option<&Gathered>,
        console: &Console,
    ) -> Result<Authorities, Failure> {
        let data = settings.and_then(Gathered::data_folder);
        let own_root =
            data.and_then(|data| std::fs::read_to_string(data.join("pki").join("ca.pem")).ok());
        Authorities::read(self.ca.as_deref(), own_root.as_deref())
            .map_err(|said| Failure::usage(in_words(&said, console).to_owned()))
    }

    fn order(
        &self,
        target: &str,
        settings: Option<&Gathered>,
        known: &Evidence,
        console: &Console,
    ) -> Result<Order, Failure> {
        let authorities = self.authorities(settings, console)?;
        let profile = match &self.profile {
            None => known
                .facts
                .get("family")
                .and_then(|family| Profile::of_family(family, None)),
            Some(name) => Some(Profile::of(name).ok_or_else(|| {
                let names: Vec<&str> = Profile::ALL.iter().map(|profile| profile.name).collect();
                let names = names.join(", ");
                Failure::usage(say!(
                    console.texts,
                    "doctor-no-profile",
                    name = name,
                    names = names
                ))
            })?),
        };
        let login = match (&self.user, &self.password_file) {
            (Some(user), Some(file)) => {
                let bytes = bytes_of(file, console)?;
                let text = String::from_utf8_lossy(&bytes);
                Some(Login {
                    user: user.clone(),
                    password: text.trim_end_matches(['\r', '\n']).to_owned(),
                })
            }
            _ => None,
        };
        let settings = settings.map(Gathered::lenient);
        Ok(Order {
            profile,
            vantage: match self.from {
                From::Lan => Vantage::Lan,
                From::Public => Vantage::Public,
            },
            long: self.long,
            yes: self.yes,
            login,
            address: self.address,
            own_ports: settings.as_ref().map(own_ports).unwrap_or_default(),
            certificate_files: settings
                .iter()
                .flat_map(|settings| &settings.tls.chain_files)
                .map(|file| file.as_str().into())
                .collect(),
            name_servers: self.dns.clone(),
            ..Order::of(target, authorities)
        })
    }
}

/// Whether there are words in it, and not a file of a program: those are full of control characters,
/// which text in any encoding hardly has. The noise of a serial line among the words is no trouble.
fn is_text(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(64 << 10)];
    let count = |is: fn(&u8) -> bool| start.iter().filter(|byte| is(byte)).count();
    let words = count(|byte| matches!(byte, b'!'..=b'~' | 0x80..));
    // Every other byte of UTF-16 is one.
    let zeros = count(|byte| *byte == 0);
    let controls = count(|byte| matches!(byte, 1..=8 | 0x0e..=0x1a | 0x1c..=0x1f | 0x7f));
    let is_utf16 = start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]);
    words > 0 && (is_utf16 || controls * 20 <= start.len() - zeros)
}

fn nothing_in(file: &Path, why: &str, console: &Console) -> Failure {
    let name = file.display().to_string();
    Failure::new(match why {
        "doctor-log-empty" => say!(console.texts, "doctor-log-empty", file = name),
        _ => say!(console.texts, "doctor-capture-empty", file = name),
    })
}

/// What was typed without what stands before the last `@`, wherever a password has one itself, and
/// without what a terminal would obey.
fn covered(typed: &str) -> String {
    let (scheme, rest) = match typed.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), typed),
    };
    let shown = match rest.rsplit_once('@') {
        Some((_, place)) => format!("{scheme}***@{place}"),
        None => typed.to_owned(),
    };
    safeport_doctor::quote(&shown).trim().to_owned()
}

/// The ports that the settings give to listeners.
fn own_ports(settings: &Settings) -> Vec<OwnPort> {
    let mut ports = Vec::new();
    for listener in Listener::ALL {
        let (enabled, binds) = settings.binds(listener);
        for address in binds.iter().filter_map(|bind| bind.address()) {
            if enabled {
                ports.push(OwnPort {
                    port: address.port(),
                    key: format!("{}.bind", listener.name()),
                    bind: address.ip(),
                });
            }
        }
    }
    ports
}

/// Runs the probes; each stage is told on stderr while they run.
fn probe(order: Order, console: &Console) -> Result<Examination, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(say!(console.texts, "doctor-no-runtime")).detail(error))?;
    let quiet = console.json;
    Ok(runtime.block_on(examine(order, |step| {
        if !quiet {
            tell(step, console);
        }
    })))
}

/// One line when a stage begins, one when it has ended. On a terminal the second replaces the first.
fn tell(step: &Step, console: &Console) {
    let terminal = std::io::stderr().is_terminal();
    let number = step.stage.code();
    let tried = in_words(&step.tried, console);
    match step.state {
        State::Running if terminal => eprint!("\r\u{1b}[K  … {number:>2}  {tried}"),
        State::Running => {}
        state => {
            let mark = match state {
                State::Passed => "✓",
                State::Failed => "✗",
                State::Nothing | State::Running => "·",
            };
            let came = in_words(&step.came, console);
            let clear = if terminal { "\r\u{1b}[K" } else { "" };
            let took = step.took.as_millis();
            console.talk(&format!(
                "{clear}  {mark} {number:>2}  {tried}: {came} ({took} ms)"
            ));
        }
    }
}

fn in_words<'a>(said: &'a Said, console: &Console) -> &'a str {
    said.in_language(console.texts.language().into())
}

fn explain_words(text: &str, causes: &Causes, console: &mut Console) -> Result<u8, Failure> {
    // Numbers begin with a minus, so options behind them are taken for words, too.
    let (text, wants_json) = match text.strip_suffix(" --json") {
        Some(text) => (text, true),
        None => (text, false),
    };
    console.json |= wants_json;
    let found = explain(text);
    if found.is_empty() {
        return Err(
            Failure::new(say!(console.texts, "doctor-unknown", what = text))
                .next(say!(console.texts, "doctor-unknown-next")),
        );
    }
    if console.json {
        console.json(&explained_json(&found, causes))?;
    } else {
        console.data(&explained(
            &found,
            causes,
            &console.texts,
            on_this_terminal(),
        ))?;
    }
    Ok(0)
}

fn bytes_of(file: &Path, console: &Console) -> Result<Vec<u8>, Failure> {
    some_bytes_of(file, MOST_READ, console)
}

fn some_bytes_of(file: &Path, most: u64, console: &Console) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|opened| opened.take(most).read_to_end(&mut bytes))
    };
    read.map_err(|error| {
        let name = file.display().to_string();
        Failure::new(say!(console.texts, "doctor-unreadable", file = name)).detail(error)
    })?;
    Ok(bytes)
}

/// An address, with port 53 unless it says another.
fn name_server(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
    address
        .or_else(|_| text.parse())
        .map_err(|_| "write an IP address, or IP:PORT".to_owned())
}

/// A pause of an idle connection: from 1 s to 1 h.
fn pause(text: &str) -> Result<Duration, String> {
    match time_span(text)? {
        time if (1..=3600).contains(&time.as_secs()) => Ok(time),
        _ => Err("from 1s to 1h".to_owned()),
    }
}

/// The width is that of the terminal, where it says so.
fn on_this_terminal() -> Screen {
    let columns = std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok());
    Screen {
        columns: columns.unwrap_or(100),
        colour: std::io::stdout().is_terminal() && !log::no_color(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_told_from_files_of_programs() {
        assert!(is_text(b"\x1b[0;31mE (123) esp-tls: failed\x1b[0m\r\n"));
        assert!(is_text("设备连接失败 1\n".as_bytes()));
        let wide: Vec<u8> = "rc -2\r\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert!(is_text(&wide));
        assert!(is_text(b"a line with one bad \xff byte in it"));
        // GBK.
        assert!(is_text(b"\xc1\xac\xbd\xd3\xca\xa7\xb0\xdc\r\n"));
        assert!(!is_text(b""));
        assert!(!is_text(&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0]));
        let noise: Vec<u8> = (0..4096_u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        assert!(!is_text(&noise));
    }

    #[test]
    fn no_part_of_a_password_is_shown_whatever_is_in_it() {
        assert_eq!(
            covered("mqtt://u:p@x/secret@hub:1883"),
            "mqtt://***@hub:1883"
        );
        assert_eq!(covered("u:secret@hub:1883"), "***@hub:1883");
        assert_eq!(
            covered("http://hub/x?token=secret"),
            "http://hub/x?token=***"
        );
        assert_eq!(covered("hub\u{1b}[2J\u{202e}"), "hub [2J");
    }

    #[test]
    fn a_name_server_is_an_address_with_or_without_a_port() {
        assert_eq!(name_server("192.168.1.1").unwrap().port(), 53);
        assert_eq!(name_server("127.0.0.1:5353").unwrap().port(), 5353);
        assert_eq!(name_server("fd00::1").unwrap().port(), 53);
        assert_eq!(name_server("[fd00::1]:54").unwrap().port(), 54);
        assert!(name_server("router.lan").is_err());
    }
}
