//! From what was typed to what was meant.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use safeport_settings::Said;

use super::{Host, Scheme, Slip, Target, clues};
use crate::limits::TARGET_BYTES;
use crate::{Cause, Clue};

/// Reads a text from left to right: dirt, scheme, user name, host, port, path.
pub(super) fn target(typed: &str) -> Result<Target, Vec<Clue>> {
    if typed.len() > TARGET_BYTES {
        let bytes = typed.len();
        let said = Said::new(
            format!("{bytes} bytes, where an address was expected"),
            format!("这里应是一个地址，却有 {bytes} 字节"),
        );
        return Err(vec![clues::at_parse(Cause::UrlMalformed, said)]);
    }
    let mut slips = Vec::new();
    let raw = trimmed(typed);
    let text = clean(raw, &mut slips);
    let (scheme, rest) = scheme(&text, &mut slips)?;
    let end = authority_end(rest, matches!(scheme, Some(Scheme::Mqtt | Scheme::Mqtts)));
    let (authority, path) = rest.split_at(end);
    let place = match authority.rsplit_once('@') {
        Some((_, place)) => {
            slips.push(Slip::Credentials);
            place
        }
        None => authority,
    };
    let (host, port) = host_and_port(place, scheme.is_some(), &mut slips);
    let Some(host) = Host::of(host) else {
        return Err(vec![clues::no_host(raw, host)]);
    };
    // Words with blanks between them are a sentence.
    let sentence = scheme.is_none() && port.is_none() && slips.contains(&Slip::Blank);
    if sentence && host.name().is_some_and(|name| !name.contains('.')) {
        return Err(vec![clues::no_host(raw, raw)]);
    }
    // Without a scheme two slashes would look like the end of one.
    let path = match scheme {
        None => path.strip_prefix("//").map_or(path, |_| {
            let rest = path.trim_start_matches('/');
            &path[path.len() - rest.len() - 1..]
        }),
        Some(_) => path,
    };
    let (path, behind) = path_of(path, port.is_none());
    let port = match (port, behind) {
        (None, Some(port)) => {
            slips.push(Slip::PortBehindPath);
            Some(port)
        }
        (port, _) => port,
    };
    Ok(Target {
        typed: clues::masked(raw),
        scheme,
        host,
        port,
        path,
        raw: raw.to_string(),
        slips,
    })
}

/// Where host and port end. An MQTT server has no path, so that a `/` before an `@` is part of a password.
pub(super) fn authority_end(rest: &str, is_mqtt: bool) -> usize {
    let login = match is_mqtt {
        true => rest.rfind(['@', '＠']).unwrap_or(0),
        false => 0,
    };
    let end = rest[login..].find(['/', '?', '#', '／', '？']);
    end.map_or(rest.len(), |end| login + end)
}

/// Without what a paste brings along on both sides. No firmware trims, but neither do people see a
/// blank at an end: it is the settings page that took it over, and a clue of its own.
fn trimmed(typed: &str) -> &str {
    const AROUND: [char; 14] = [
        '"', '\'', '`', '<', '>', '“', '”', '‘', '’', '，', '。', ',', ';', '；',
    ];
    typed.trim_matches(|c: char| c.is_whitespace() || is_invisible(c) || AROUND.contains(&c))
}

fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}'
    ) || c.is_control()
}

/// The text with ASCII in place of its Chinese-width twins, without blanks, with `/` for `\`.
fn clean(raw: &str, slips: &mut Vec<Slip>) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut noted = |slip: Slip| {
        if !slips.contains(&slip) {
            slips.push(slip);
        }
    };
    // `host 8002`: the blank stands for the colon.
    let spaced = raw.rsplit_once(char::is_whitespace).filter(|(host, port)| {
        !port.is_empty()
            && port.bytes().all(|b| b.is_ascii_digit())
            && host
                .trim_end()
                .ends_with(|c: char| c.is_ascii_alphanumeric())
            && !host.rsplit('/').next().unwrap_or(host).contains(':')
    });
    let raw = match spaced {
        Some((host, port)) => {
            noted(Slip::Colon(' '));
            format!("{}:{port}", host.trim_end())
        }
        None => raw.to_string(),
    };
    for c in raw.chars() {
        match c {
            '\u{ff01}'..='\u{ff5e}' => {
                noted(Slip::FullWidth);
                let narrow = char::from_u32(u32::from(c) - 0xfee0);
                text.extend(narrow.map(|c| if c == '\\' { '/' } else { c }));
            }
            '。' => {
                noted(Slip::FullWidth);
                text.push('.');
            }
            '\\' => {
                noted(Slip::Backslash);
                text.push('/');
            }
            c if c.is_whitespace() || is_invisible(c) => noted(Slip::Blank),
            c => text.push(c),
        }
    }
    text
}

/// The scheme and what follows it.
fn scheme<'a>(
    text: &'a str,
    slips: &mut Vec<Slip>,
) -> Result<(Option<Scheme>, &'a str), Vec<Clue>> {
    let text = text.trim_start_matches('/');
    if let Some((word, rest)) = text.split_once("://") {
        let is_word = !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        if is_word {
            let rest = rest.trim_start_matches('/');
            return Ok((Some(scheme_of(word, slips)?), rest));
        }
    }
    // http:/host, http//host, http;//host, and http:host where no port can be meant.
    let letters = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(0);
    let (word, rest) = text.split_at(letters);
    let mut spelling = Vec::new();
    let scheme = match known(&word.to_ascii_lowercase()) {
        Some(scheme) => Some(scheme),
        // A misspelt one only where a slash shows that one was meant.
        None if rest.get(..2).is_some_and(|mark| mark.contains('/')) && !word.is_empty() => {
            scheme_of(word, &mut spelling).ok()
        }
        None => None,
    };
    if let Some(scheme) = scheme {
        let behind = rest.trim_start_matches([':', ';', '/', '.', ',']);
        let mark = &rest[..rest.len() - behind.len()];
        let place = behind.split(['/', '?', '#']).next().unwrap_or(behind);
        let number = place.bytes().all(|b| b.is_ascii_digit());
        if !behind.is_empty() && (mark.len() > 1 || (mark == ":" && !number)) && mark != "." {
            slips.append(&mut spelling);
            slips.push(Slip::SchemeMark);
            return Ok((Some(scheme), behind));
        }
    }
    Ok((None, text))
}

fn scheme_of(word: &str, slips: &mut Vec<Slip>) -> Result<Scheme, Vec<Clue>> {
    let small: String = word.to_ascii_lowercase().chars().take(20).collect();
    if let Some(scheme) = known(&small) {
        if small != word {
            slips.push(Slip::SchemeCapitals);
        }
        return Ok(scheme);
    }
    let foreign = match small.as_str() {
        "tcp" | "mqtt+tcp" | "mqtt3" => Some(Scheme::Mqtt),
        "ssl" | "tls" | "mqtt+ssl" | "mqtt+tls" | "mqttssl" | "mqtt-ssl" => Some(Scheme::Mqtts),
        _ => None,
    };
    if let Some(scheme) = foreign {
        slips.push(Slip::SchemeForeign(small));
        return Ok(scheme);
    }
    let near = Scheme::ALL
        .into_iter()
        .map(|scheme| (distance(&small, scheme.name()), scheme))
        .min_by_key(|(distance, _)| *distance);
    match near {
        // Two letters off a word of two letters is any word.
        Some((off, scheme)) if off <= 2 && off < scheme.name().len().min(small.len()) - 1 => {
            slips.push(Slip::SchemeSpelling(small));
            Ok(scheme)
        }
        _ => Err(vec![clues::at_parse(
            Cause::WrongScheme,
            Said::new(
                format!("{small}:// is none of http, https, ws, wss, mqtt and mqtts"),
                format!("{small}:// 不是 http、https、ws、wss、mqtt、mqtts 之一"),
            ),
        )]),
    }
}

fn known(word: &str) -> Option<Scheme> {
    Scheme::ALL.into_iter().find(|scheme| scheme.name() == word)
}

/// How many letters have to be put in, taken out or changed. Words of a few letters.
fn distance(one: &str, other: &str) -> usize {
    let other = other.as_bytes();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().take(16).enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let changed = before + usize::from(a != *b);
            before = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(before + 1);
        }
    }
    row[other.len()]
}

/// Host and port of the part between scheme and path.
fn host_and_port<'a>(
    place: &'a str,
    behind_scheme: bool,
    slips: &mut Vec<Slip>,
) -> (&'a str, Option<u16>) {
    if let Some(end) = place.find(']').filter(|_| place.starts_with('[')) {
        let (host, rest) = place.split_at(end + 1);
        return (host, port(rest.strip_prefix(':').unwrap_or(rest), slips));
    }
    if place.matches(':').count() > 1 && Host::of(place).is_some() {
        if behind_scheme {
            slips.push(Slip::BareIpv6);
        }
        return (place, None);
    }
    if let Some((host, rest)) = place.split_once(':') {
        if rest.is_empty() {
            slips.push(Slip::PortEmpty);
            return (host, None);
        }
        return (host, port(rest.trim_end_matches(':'), slips));
    }
    for mark in [';', ',', '.', '-', '|'] {
        let Some((host, rest)) = place.rsplit_once(mark) else {
            continue;
        };
        let digits = !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit());
        // `192.168.1.5.8002`, and `hub.example;8002`; a name may well end in `-8002`.
        let address = host.parse::<core::net::Ipv4Addr>().is_ok();
        if digits && (address || (mark != '.' && mark != '-' && Host::of(host).is_some())) {
            slips.push(Slip::Colon(mark));
            return (host, port(rest, slips));
        }
    }
    (place, None)
}

fn port(text: &str, slips: &mut Vec<Slip>) -> Option<u16> {
    if text.is_empty() {
        return None;
    }
    let number = text
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse::<u16>().ok())
        .flatten()
        .filter(|port| *port != 0);
    if number.is_none() {
        slips.push(Slip::PortInvalid(text.into()));
    }
    number
}

/// The path with its `/`, without a fragment, and a port that was put behind it when none stands
/// before.
fn path_of(path: &str, without_port: bool) -> (String, Option<u16>) {
    let path = trimmed(path.split('#').next().unwrap_or(path));
    let whole = match path.starts_with('?') {
        true => format!("/{path}"),
        false => path.to_string(),
    };
    if let Some((before, after)) = whole.rsplit_once(':') {
        let digits = (2..=5).contains(&after.len()) && after.bytes().all(|b| b.is_ascii_digit());
        let port = after.parse::<u16>().ok().filter(|port| *port != 0);
        if digits && without_port && port.is_some() && !before.contains('?') {
            return (trimmed(before).to_string(), port);
        }
    }
    (whole, None)
}
