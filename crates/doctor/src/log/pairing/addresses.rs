//! What is wrong with an address that a device was given.

use alloc::vec::Vec;

use super::super::Seen;
use super::{Case, class_at_most, name};
use crate::mask::quote;
use crate::{Cause, Layer, Strength};

impl Case<'_> {
    /// An address of a container or of the server's own loopback was handed to the device.
    pub(super) fn handed_out_inside(&mut self) {
        let Some(host) = self
            .tried()
            .filter(|tried| tried.is_inside())
            .map(|tried| tried.host.clone())
        else {
            return;
        };
        // A device that is in that network itself may reach it.
        let near = self.life.facts.iter().any(|(name, value)| {
            *name == "device_address" && net16(value).is_some() && net16(value) == net16(&host)
        });
        if near || !self.device.iter().any(is_of_tcp) {
            return;
        }
        let named = self.device.iter_mut().filter(|seen| is_of_tcp(seen));
        for seen in named {
            if seen.quote.contains(&host[..]) {
                name(seen, Cause::HandedOutUnreachable, &[]);
            } else {
                seen.strength = seen.strength.min(Strength::Class);
            }
        }
        self.quote_tried(Cause::HandedOutUnreachable);
    }

    /// No port in an address means 80 or 443, where a home server seldom listens.
    pub(super) fn url_without_port(&mut self) {
        let Some(tried) = self.tried() else { return };
        let local = tried.ipv4().is_some_and(is_private)
            || !tried.host.contains('.')
            || [".local", ".lan", ".home", ".fritz.box"]
                .iter()
                .any(|end| tried.host.ends_with(end));
        let unported = tried.port.is_none() && !tried.scheme.is_empty() && local;
        // Where something answers, another thing is wrong.
        let failed = self.device.iter().any(|seen| {
            matches!(
                seen.cause,
                Cause::NothingListens
                    | Cause::ConnectionReset
                    | Cause::TcpConnectFailed
                    | Cause::TcpTimeout
                    | Cause::TcpFailed
                    | Cause::ConnectionLost
            )
        });
        let lower = self.device.iter().any(|seen| {
            seen.strength > Strength::Carrier && seen.cause.layer().rank() < Layer::Tcp.rank()
        });
        if !unported || !failed || lower {
            return;
        }
        for seen in self.device.iter_mut().filter(|seen| is_of_tcp(seen)) {
            seen.strength = seen.strength.min(Strength::Class);
        }
        self.quote_tried(Cause::UrlWithoutPort);
    }

    /// Adds the line in which the address stands, as what names the cause.
    fn quote_tried(&mut self, cause: Cause) {
        let Some(tried) = self.tried() else { return };
        let line = self
            .life
            .tried
            .iter()
            .rev()
            .find(|(_, other)| other == tried)
            .map(|(line, _)| *line);
        let quoted = self
            .life
            .tried_lines
            .iter()
            .find(|(at, _)| Some(*at) == line);
        let (Some((line, named)), Some(first)) = (quoted, self.device.first()) else {
            return;
        };
        let known = self
            .device
            .iter()
            .any(|seen| seen.line == *line && seen.cause == cause);
        if !known {
            let told = Seen {
                line: *line,
                entry: None,
                cause,
                or: Vec::new(),
                strength: Strength::Specific,
                quote: quote(named),
                ..first.clone()
            };
            self.device.push(told);
        }
    }

    /// What stands in place of a host or a port is none: no device can connect there.
    pub(super) fn malformed_address(&mut self) {
        let failed = self.device.iter().rev().find(|seen| {
            matches!(
                seen.cause.layer(),
                Layer::Dns | Layer::Tcp | Layer::Websocket | Layer::Http | Layer::Mqtt
            )
        });
        let Some(failed) = failed.cloned() else {
            return;
        };
        let lower = self.device.iter().any(|seen| {
            seen.strength > Strength::Carrier && seen.cause.layer().rank() < Layer::Dns.rank()
        });
        // The latest address, whole or where it was looked up.
        let tried = self.life.tried.iter().zip(&self.life.tried_lines);
        let latest = tried.rev().find(|((line, _), _)| *line <= failed.line);
        let malformed = latest.filter(|((_, tried), _)| tried.malformed);
        let scheme_as_name = self
            .device
            .iter()
            .find(|seen| seen.cause.layer() == Layer::Dns && seen.quote.contains("://"))
            .map(|seen| (seen.line, seen.quote.clone()));
        let told = malformed
            .map(|(_, (line, named))| (*line, quote(named)))
            .or(scheme_as_name);
        let Some((line, quoted)) = told.filter(|_| !lower) else {
            return;
        };
        self.device.iter_mut().for_each(class_at_most);
        self.device.push(Seen {
            line,
            entry: None,
            cause: Cause::UrlMalformed,
            or: Vec::new(),
            strength: Strength::Specific,
            quote: quoted,
            ..failed
        });
    }
}

fn is_of_tcp(seen: &Seen) -> bool {
    seen.cause.layer() == Layer::Tcp
}

fn is_private(address: [u8; 4]) -> bool {
    matches!(
        address,
        [10, ..] | [127, ..] | [192, 168, ..] | [172, 16..=31, ..] | [169, 254, ..]
    )
}

/// The first two bytes of an address.
fn net16(address: &str) -> Option<(&str, &str)> {
    let mut parts = address.split('.');
    Some((parts.next()?, parts.next()?))
}
