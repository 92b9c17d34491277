//! The devices' own web pages: commands, settings files and uploads for devices that MQTT does not
//! reach, or for what MQTT cannot do.
//!
//! A request goes only where [`Member::web`] says: to the address that an operator has set, or
//! from which the device has come itself. Before anything is sent that another device must not
//! get, the device at that address has to name a hardware address of this device.

mod espeasy;
mod http;
mod limits;
mod page;
mod tasmota;
#[cfg(test)]
pub(super) mod tests;

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use safeport_fleet::{
    Family, Identity, MacAddress, Member, MemberId, Proof, Sighting, Source, Web, heard::Heard,
};
use safeport_store::Secret;

use self::http::{Answer, Fault, Form, Request};
use super::access::unix_now;
use super::upgrades::WebError;

/// A settings file as a device gave it.
#[derive(Debug)]
pub(super) struct SettingsFile {
    /// The plain name that the device gave it.
    pub name: String,
    pub bytes: Vec<u8>,
}

/// Who was met where; see [`Acquaintances::pages`].
#[derive(Default)]
pub(super) struct Acquaintances(Mutex<HashMap<MemberId, (SocketAddr, Instant)>>);

/// The pages of one device.
pub(super) struct Pages<'a> {
    met: &'a Acquaintances,
    member: &'a Member,
    family: Family,
    address: SocketAddr,
    /// As in `Host`.
    host: String,
    /// What stands in `Referer`, the usual one first: Tasmota wants its own address or host name
    /// there (tasmota.md §3).
    referers: Vec<String>,
    /// The one that was answered last.
    referer: Cell<usize>,
    authorization: Option<String>,
    is_proved: bool,
}

impl fmt::Debug for Pages<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pages({} at {})", self.member.id, self.address)
    }
}

impl Acquaintances {
    /// The pages of a device, with the password that is set for them. Nothing is sent yet.
    ///
    /// # Errors
    /// It has none, or there is no address that may be asked.
    pub(super) fn pages<'a>(
        &'a self,
        member: &'a Member,
        password: Option<&Secret>,
    ) -> Result<Pages<'a>, WebError> {
        let family = match member.family() {
            Some(family @ (Family::Tasmota | Family::EspEasy)) => family,
            Some(other) => {
                return Err(WebError::Refused(format!(
                    "{} runs {other}, whose own pages this server does not know",
                    member.name()
                )));
            }
            None => {
                return Err(WebError::Refused(format!(
                    "it is not known which firmware {} runs; set it with `safeport device set`",
                    member.name()
                )));
            }
        };
        let (address, host, is_proved) = whereabouts(member)?;
        let mut referers = vec![match address.ip() {
            IpAddr::V4(ip) => format!("http://{ip}/"),
            IpAddr::V6(ip) => format!("http://[{ip}]/"),
        }];
        let hostname = member.facts.hostname.as_deref();
        if let Some(hostname) = hostname.filter(|name| is_host_name(name)) {
            referers.push(format!("http://{hostname}/"));
        }
        let authorization = password
            .map(|password| basic("admin", password.expose()))
            .filter(|_| is_proved);
        Ok(Pages {
            met: self,
            member,
            family,
            address,
            host,
            referers,
            referer: Cell::new(0),
            authorization,
            is_proved,
        })
    }

    fn has_met(&self, member: MemberId, address: SocketAddr) -> bool {
        let met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        met.get(&member)
            .is_some_and(|(at, when)| *at == address && when.elapsed() < limits::IDENTITY)
    }

    fn meets(&self, member: MemberId, address: SocketAddr) {
        let mut met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if met.len() >= limits::IDENTITIES {
            met.clear();
        }
        met.insert(member, (address, Instant::now()));
    }
}

impl Pages<'_> {
    pub(super) fn family(&self) -> Family {
        self.family
    }

    /// What the pages tell about the device, which is this one for sure as far as hardware
    /// addresses can tell.
    pub(super) fn look(&self) -> Result<Sighting, WebError> {
        let heard = match self.family {
            Family::EspEasy => espeasy::look(self),
            _ => tasmota::look(self),
        }?;
        self.recognise(&heard)?;
        let mut sighting = Sighting::new(unix_now(), Source::Web, Proof::Token(self.member.id))
            .from_peer(self.is_proved.then(|| self.address.ip()));
        // The router that forwards a port to it is not where it is.
        if matches!(self.member.web(), Some(Web::Set(_))) {
            sighting.peer = None;
        }
        sighting.identities = heard.identities;
        sighting.facts = heard.facts;
        Ok(sighting)
    }

    /// Makes sure that it is this device that answers there.
    pub(super) fn meet(&self) -> Result<(), WebError> {
        if self.met.has_met(self.member.id, self.address) {
            return Ok(());
        }
        self.look().map(drop)
    }

    /// Tasmota: the answer to a command.
    pub(super) fn command(&self, text: &str) -> Result<String, WebError> {
        if self.family != Family::Tasmota {
            return Err(WebError::Refused(
                "only the pages of Tasmota take commands of Tasmota".to_owned(),
            ));
        }
        self.meet()?;
        tasmota::command(self, text)
    }

    /// The file with all settings of the device.
    pub(super) fn settings(&self) -> Result<SettingsFile, WebError> {
        self.meet()?;
        match self.family {
            Family::EspEasy => espeasy::settings(self),
            _ => tasmota::settings(self),
        }
    }

    /// Puts settings back; the device restarts. Its words.
    pub(super) fn restore(&self, name: &str, bytes: &[u8]) -> Result<String, WebError> {
        if !self.is_proved {
            return Err(WebError::Refused(format!(
                "the device has never proved that it is at {}: settings hold passwords and go \
                 nowhere else; set its address with `safeport device set --web`",
                self.address
            )));
        }
        self.meet()?;
        match self.family {
            Family::EspEasy => espeasy::restore(self, name, bytes),
            _ => tasmota::restore(self, name, bytes),
        }
    }

    /// Sends firmware. The device's words.
    pub(super) fn install(
        &self,
        file: &mut dyn Read,
        length: u64,
        name: &str,
        progress: &mut dyn FnMut(u64),
    ) -> Result<String, WebError> {
        self.meet()?;
        match self.family {
            Family::EspEasy => espeasy::install(self, file, length, name, progress),
            _ => tasmota::install(self, file, length, name, progress),
        }
    }

    /// Another device may have got its address since.
    fn recognise(&self, heard: &Heard) -> Result<(), WebError> {
        let macs = |identities: &mut dyn Iterator<Item = &Identity>| -> Vec<MacAddress> {
            identities
                .filter_map(|identity| match identity {
                    Identity::Mac(mac) => Some(*mac),
                    _ => None,
                })
                .collect()
        };
        let known = macs(&mut self.member.identities.iter().map(|known| &known.identity));
        let said = macs(&mut heard.identities.iter());
        if !known.is_empty() && !said.is_empty() && !said.iter().any(|mac| known.contains(mac)) {
            return Err(WebError::Refused(format!(
                "another device answers at {}: {}; {} has {}. Nothing was sent to it. If the \
                 address is right, set it anew with `safeport device set --web`",
                self.address,
                said[0],
                self.member.name(),
                known[0]
            )));
        }
        self.met.meets(self.member.id, self.address);
        Ok(())
    }

    /// One page; an answer that is no success is an error.
    fn get(&self, path: &str, most: usize, patience: Duration) -> Result<Answer, WebError> {
        let answer = self.get_any(path, most, patience)?;
        self.judge(&answer)?;
        Ok(answer)
    }

    /// One page, whatever its status.
    fn get_any(&self, path: &str, most: usize, patience: Duration) -> Result<Answer, WebError> {
        let first = self.referer.get();
        for tried in 0..self.referers.len() {
            let number = (first + tried) % self.referers.len();
            let request = self.request("GET", path, &self.referers[number], most, patience);
            match http::ask(self.address, &request, None) {
                // Nothing was done: the next name may be the one that it knows itself by.
                Err(Fault::Dropped) => {}
                Err(fault) => return Err(self.failed(fault)),
                Ok(answer) => {
                    self.referer.set(number);
                    return Ok(answer);
                }
            }
        }
        Err(self.failed(Fault::Dropped))
    }

    /// Sends a file in a form, with exactly its length.
    fn post(
        &self,
        path: &str,
        field: &str,
        name: &str,
        (file, length): (&mut dyn Read, u64),
        progress: &mut dyn FnMut(u64),
    ) -> Result<Answer, WebError> {
        let mut drawn = [0; 12];
        getrandom::fill(&mut drawn).map_err(|error| {
            WebError::Unreachable(format!("the system gives no random bytes: {error}"))
        })?;
        let boundary = format!("safeport-{}", hex(&drawn));
        let name: String = name
            .chars()
            .filter(|letter| letter.is_ascii_graphic() && !"\"\\/;%".contains(*letter))
            .collect();
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"; \
             filename=\"{name}\"\r\nContent-Type: application/octet-stream\r\n\r\n"
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        let form = Form {
            boundary: &boundary,
            head: head.as_bytes(),
            file,
            length,
            tail: tail.as_bytes(),
            progress,
        };
        // Which name it goes by was found out by the pages asked before.
        let referer = &self.referers[self.referer.get()];
        let request = self.request("POST", path, referer, limits::PAGE_BYTES, limits::ANSWER);
        let answer =
            http::ask(self.address, &request, Some(form)).map_err(|fault| self.failed(fault))?;
        self.judge(&answer)?;
        Ok(answer)
    }

    fn request<'r>(
        &'r self,
        method: &'static str,
        path: &'r str,
        referer: &'r str,
        most: usize,
        patience: Duration,
    ) -> Request<'r> {
        Request {
            method,
            path,
            host: &self.host,
            referer,
            authorization: self.authorization.as_deref(),
            most,
            patience,
        }
    }

    fn judge(&self, answer: &Answer) -> Result<(), WebError> {
        let at = self.address;
        match answer.status {
            200..=299 => Ok(()),
            401 | 403 if self.authorization.is_some() => Err(WebError::Refused(format!(
                "{at} does not take the password that is set for the device's pages; set the \
                 right one with `safeport device set NAME --web-password-stdin`"
            ))),
            401 | 403 if !self.is_proved => Err(WebError::Refused(format!(
                "{at} wants the password of the device's pages, which goes only to an address \
                 that it has proved; set the address with `safeport device set --web`"
            ))),
            401 | 403 => Err(WebError::Refused(format!(
                "{at} wants the password of the device's pages; set it with \
                 `safeport device set NAME --web-password-stdin`"
            ))),
            404 => Err(WebError::Refused(format!(
                "{at} has no such page: its firmware was built without it{}",
                self.said_itself(answer)
            ))),
            300..=399 => Err(WebError::Refused(format!(
                "{at} sends elsewhere{}, where this server does not follow{}",
                answer
                    .location
                    .as_deref()
                    .map(|to| format!(" ({})", page::words(to.as_bytes())))
                    .unwrap_or_default(),
                self.said_itself(answer)
            ))),
            status => Err(WebError::Refused(format!(
                "{at} answers with status {status}: {}",
                page::words(&answer.body)
            ))),
        }
    }

    /// ` (it calls itself Tasmota 14.3.0)`: every page of Tasmota names it.
    fn said_itself(&self, answer: &Answer) -> String {
        let Some(server) = &answer.server else {
            return String::new();
        };
        match safeport_fleet::tasmota::server_header(server) {
            Some((version, Some(chip))) => {
                format!(" (it calls itself Tasmota {version} on {})", chip.name())
            }
            Some((version, None)) => format!(" (it calls itself Tasmota {version})"),
            None => format!(" (it calls itself {:?})", page::words(server.as_bytes())),
        }
    }

    fn failed(&self, fault: Fault) -> WebError {
        let at = self.address;
        match fault {
            Fault::Connect(error) => WebError::Unreachable(format!("{at} is not there: {error}")),
            Fault::Dropped if self.family == Family::Tasmota => WebError::Unreachable(format!(
                "{at} hung up without an answer. Tasmota does so when it does not know itself by \
                 {}; `SetOption128 1` turns that off",
                self.referers.join(" or ")
            )),
            Fault::Dropped => WebError::Unreachable(format!("{at} hung up without an answer")),
            Fault::Lost(error) => {
                WebError::Unreachable(format!("the connection to {at} was lost: {error}"))
            }
            Fault::Slow(patience) => WebError::Unreachable(format!(
                "{at} did not answer within {} s",
                patience.as_secs()
            )),
            Fault::Stalled(sent) => WebError::Unreachable(format!(
                "{at} took {sent} bytes and then nothing for {} s",
                limits::UPLOAD_STALL.as_secs()
            )),
            Fault::TooLong(most) => WebError::Refused(format!(
                "{at} answers with more than {most} bytes; that is no page of such a device"
            )),
            Fault::NotHttp => {
                WebError::Refused(format!("what {at} answers is not HTTP; is the port right?"))
            }
            Fault::File(error) => {
                WebError::Unreachable(format!("the file could not be read: {error}"))
            }
        }
    }
}

/// Where the pages are, what stands in `Host`, and whether the device or an operator vouches for it.
fn whereabouts(member: &Member) -> Result<(SocketAddr, String, bool), WebError> {
    match member.web() {
        Some(Web::Set(text)) => Ok((resolve(&text)?, text.into_string(), true)),
        Some(Web::Seen { address, proved }) => {
            let ip = address.ip().to_canonical();
            // What comes through a proxy beside this server comes from this machine, and its
            // other pages are none of the device's.
            if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() {
                return Err(WebError::Unreachable(format!(
                    "{} came from {ip}, which is this machine; say where its pages are with \
                     `safeport device set --web HOST`",
                    member.name()
                )));
            }
            let address = SocketAddr::new(ip, address.port());
            let host = match address {
                SocketAddr::V4(v4) if v4.port() == 80 => v4.ip().to_string(),
                other => other.to_string(),
            };
            Ok((address, host, proved))
        }
        None => Err(WebError::Unreachable(format!(
            "{} has not come here yet, so it is not known where its pages are; say so with \
             `safeport device set --web HOST`",
            member.name()
        ))),
    }
}

/// `HOST` or `HOST:PORT` as an address; looking up a name takes only so long.
fn resolve(text: &str) -> Result<SocketAddr, WebError> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse() {
        return Ok(SocketAddr::new(ip, 80));
    }
    let unknown = |why: &dyn fmt::Display| {
        WebError::Unreachable(format!("{text}, set as the device's address: {why}"))
    };
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().map_err(|error| unknown(&error))?),
        None => (text, 80),
    };
    let name = name.to_owned();
    let (found, waiting) = channel();
    // The system's own look-up cannot be given an end; the thread has one when it comes.
    std::thread::Builder::new()
        .name("name of a device".to_owned())
        .spawn(move || {
            // Nobody may be waiting any more.
            let _ = found.send((name.as_str(), port).to_socket_addrs());
        })
        .map_err(|error| unknown(&error))?;
    let mut addresses = waiting
        .recv_timeout(limits::RESOLVE)
        .map_err(|_| unknown(&"its name was not found in time"))?
        .map_err(|error| unknown(&error))?;
    // Such devices speak IPv4 first.
    let first = addresses.next();
    first
        .filter(SocketAddr::is_ipv4)
        .or_else(|| addresses.find(SocketAddr::is_ipv4))
        .or(first)
        .ok_or_else(|| unknown(&"its name has no address"))
}

/// Letters that cannot break a header or a URL.
fn is_host_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// `Basic …` (RFC 7617).
fn basic(user: &str, password: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let plain = format!("{user}:{password}");
    let mut text = "Basic ".to_owned();
    for three in plain.as_bytes().chunks(3) {
        let at = |place: usize| u32::from(three.get(place).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            if place <= three.len() {
                text.push(DIGITS[(bits >> (18 - 6 * place) & 63) as usize].into());
            } else {
                text.push('=');
            }
        }
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
