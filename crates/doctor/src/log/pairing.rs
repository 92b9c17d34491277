//! Lines that mean more together than alone.
//!
//! Each rule looks at the last burst of the device and at what stands beside it, and either names
//! a cause, or takes weight from a line that another one explains.

mod addresses;

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::device::Life;
use super::facts::Tried;
use super::speaker::Speaker;
use super::stamp::Clock;
use super::{Seen, Service};
use crate::{Cause, Layer, Strength};

/// One incident as the log shows it.
pub(super) struct Case<'a> {
    /// The device's last burst.
    pub(super) device: Vec<Seen>,
    /// What servers said, and remarks.
    pub(super) beside: Vec<Seen>,
    pub(super) life: &'a Life,
    pub(super) retransmitted: Option<(u32, String)>,
    /// The port of a broker on which somebody came and went without a CONNECT.
    pub(super) nameless_on: Option<u16>,
}

impl Case<'_> {
    /// The clues of this incident, in the order of the log.
    pub(super) fn paired(mut self) -> Vec<Seen> {
        self.login_refused();
        self.opening_given_up();
        self.status_behind_a_failed_update();
        self.image_in_detail();
        self.login_of_an_upload();
        self.left_before_connect();
        self.refused_in_words();
        self.server_says_why();
        self.silent_engine();
        self.server_errors();
        self.only_ecdsa();
        self.clock();
        self.modem_in_clear();
        self.handed_out_inside();
        self.url_without_port();
        self.malformed_address();
        self.clear_text_by_port();
        self.alert_seen();
        self.black_hole();
        self.taken_over();
        self.memory_first();
        self.image_missing();
        self.silent_safeboot();
        let mut all = self.device;
        all.extend(self.beside);
        all.sort_by_key(|seen| seen.line);
        once_each(all)
    }

    fn device_has(&self, id: &str) -> bool {
        self.device.iter().any(|seen| seen.is(id))
    }

    fn beside_has(&self, id: &str) -> bool {
        self.beside.iter().any(|seen| seen.is(id))
    }

    /// Whether the device spoke TLS where it failed.
    fn spoke_tls(&self) -> bool {
        self.device.iter().any(|seen| {
            seen.is_of("bearssl") || seen.is_of("mbedtls") || seen.is_of("mbedtls-flags")
        }) || self.tried().is_some_and(Tried::is_tls)
    }

    /// What was tried last before or in the failing lines.
    fn tried(&self) -> Option<&Tried> {
        super::failing(self.life, &self.device)
    }

    /// TLS without an error and CONNACK 4 or 5: the login.
    fn login_refused(&mut self) {
        if !self.device_has("rc-4") && !self.device_has("rc-5") {
            return;
        }
        for seen in &mut self.device {
            if seen.is("rc-4") || seen.is("rc-5") {
                name(seen, Cause::AuthFailed, &[]);
            } else if seen.is("bearssl-0") {
                seen.strength = Strength::Carrier;
            }
        }
    }

    /// A connection that is given up while it opens had no answer; one that was open was cut off by the
    /// device itself.
    fn opening_given_up(&mut self) {
        for seen in self.device.iter_mut().filter(|seen| seen.is("errno-113")) {
            let numbered = seen.quote.contains("113") || seen.quote.contains("0x71");
            if numbered && seen.quote.contains("onnect") {
                class(
                    seen,
                    Cause::TcpTimeout,
                    &[Cause::HostUnreachable, Cause::WifiLost],
                );
            }
        }
    }

    /// An update that failed for "the wrong HTTP code" failed for the code beside it.
    fn status_behind_a_failed_update(&mut self) {
        let status = |seen: &Seen| {
            let told = seen.is_of("http") || (seen.entry.is_none() && seen.speaker.is_beside());
            told && seen.cause.layer() == Layer::Http && seen.strength >= Strength::Class
        };
        if self.device.iter().chain(&self.beside).any(status) {
            for seen in &mut self.device {
                if seen.is("httpupdate-m104") {
                    seen.strength = Strength::Carrier;
                }
            }
        }
    }

    /// An image that is not valid: what it lacks stands in the line before.
    fn image_in_detail(&mut self) {
        let detail = |seen: &Seen| {
            let finer = matches!(
                seen.cause,
                Cause::ImageWrongChip
                    | Cause::ImageChecksum
                    | Cause::ImageTooLarge
                    | Cause::ImageInterrupted
            );
            finer && seen.strength >= Strength::Class
        };
        if self.device.iter().any(detail) {
            for seen in &mut self.device {
                if seen.cause == Cause::ImageNotValid {
                    seen.strength = Strength::Carrier;
                }
            }
        }
    }

    /// Who uploads firmware to a device and is refused has the device's password wrong.
    fn login_of_an_upload(&mut self) {
        if !self.life.uploaded_to {
            return;
        }
        for seen in &mut self.device {
            if seen.cause == Cause::AuthFailed && seen.entry.is_none() {
                class(seen, Cause::OtaPassword, &[]);
            }
        }
    }

    /// A broker saw somebody come and go who never gave a name. On a port for TLS that is a handshake
    /// that was not finished.
    fn left_before_connect(&mut self) {
        let Some(port) = self.nameless_on else { return };
        let spoke_tls = self.spoke_tls();
        for seen in &mut self.beside {
            let nameless = seen.cause == Cause::ConnectionLost
                && (seen.quote.contains("<unknown>") || seen.quote.contains("(null)"));
            if !nameless {
                continue;
            }
            if matches!(port, 8883..=8886 | 443) {
                class(
                    seen,
                    Cause::DeviceCloses,
                    &[Cause::CertificateRefused, Cause::ClosesInHandshake],
                );
            } else if port == 1883 && spoke_tls {
                name(seen, Cause::TlsToPlainPort, &[]);
            }
        }
    }

    /// The IDF's client says in words what the broker answered.
    fn refused_in_words(&mut self) {
        let words = [
            ("bad username", Cause::AuthFailed),
            ("not authorized", Cause::AuthFailed),
            ("id rejected", Cause::ClientIdRefused),
            ("server unavailable", Cause::ServerBusy),
            ("bad protocol", Cause::ProtocolVersion),
        ];
        for seen in self
            .device
            .iter_mut()
            .filter(|seen| seen.is("mqttc-refused"))
        {
            let told = words.iter().find(|(words, _)| seen.quote.contains(words));
            if let Some((_, cause)) = told {
                name(seen, *cause, &[]);
            }
        }
    }

    /// A device that waits in vain for a server's hello does not know why; the server may.
    fn server_says_why(&mut self) {
        let why = self.beside.iter().any(|seen| {
            seen.strength >= Strength::Specific
                && matches!(seen.cause.layer(), Layer::Websocket | Layer::Http)
        });
        for seen in self.device.iter_mut().filter(|seen| seen.is("xz-ws-hello")) {
            if why {
                seen.strength = Strength::Class;
            }
        }
    }

    /// BearSSL's 0: its engine has no error, so the peer went away, or what comes next failed.
    fn silent_engine(&mut self) {
        if !self.device_has("bearssl-0") {
            return;
        }
        let answered = self.device.iter().any(|seen| {
            seen.is_of("pubsubclient") && seen.entry.and_then(|entry| entry.code) >= Some(1)
        });
        let silent = self.device_has("rc-m4");
        let plain_port = self.tried().is_some_and(|tried| tried.port == Some(1883));
        for seen in self.device.iter_mut().filter(|seen| seen.is("bearssl-0")) {
            if answered || silent {
                seen.strength = Strength::Carrier;
            } else if plain_port {
                class(
                    seen,
                    Cause::TlsToPlainPort,
                    &[Cause::ClosesInHandshake, Cause::ResetOnAccept],
                );
            } else {
                class(
                    seen,
                    Cause::ClosesInHandshake,
                    &[
                        Cause::TlsToPlainPort,
                        Cause::ResetOnAccept,
                        Cause::AcceptsThenSilent,
                    ],
                );
            }
        }
    }

    /// A broker's `protocol error` follows the line that says why, and without one means that the
    /// bytes were not MQTT.
    fn server_errors(&mut self) {
        let why = self.beside.iter().any(|seen| {
            matches!(
                seen.entry.map(|entry| &entry.id[..]),
                Some(
                    "mosq-wrongver"
                        | "ossl-httpreq"
                        | "ossl-nocipher"
                        | "ossl-unsup"
                        | "ossl-unkca"
                        | "ossl-badcert"
                        | "ossl-exp"
                        | "mosq-ver"
                )
            )
        });
        let spoke_tls = self.spoke_tls();
        for seen in self.beside.iter_mut().filter(|seen| seen.is("mosq-proto")) {
            if why {
                seen.strength = Strength::Carrier;
            } else if spoke_tls {
                name(seen, Cause::TlsToPlainPort, &[]);
            } else {
                class(
                    seen,
                    Cause::TlsToPlainPort,
                    &[Cause::HttpToTls, Cause::ProtocolError],
                );
            }
        }
    }

    /// The device finds nothing in common with the server, and the server with the device: that
    /// takes a certificate of a kind the device does not know.
    fn only_ecdsa(&mut self) {
        if !self.device_has("bearssl-296") || !self.beside_has("ossl-nocipher") {
            return;
        }
        for seen in self.device.iter_mut().chain(&mut self.beside) {
            if seen.is("bearssl-296") || seen.is("ossl-nocipher") {
                name(
                    seen,
                    Cause::NoCommonCipherEcdsaOnly,
                    &[Cause::NoCommonCipher],
                );
            }
        }
    }

    /// Out of date for a device is what its clock makes of it.
    fn clock(&mut self) {
        let dated = |seen: &Seen| {
            matches!(
                seen.cause,
                Cause::CertificateExpired | Cause::NotYetValid | Cause::DeviceClockUnset
            )
        };
        if !self.device.iter().any(dated) {
            return;
        }
        let year = |value: &str| value.get(..4).and_then(|year| year.parse::<u32>().ok());
        let time = self.life.time.as_ref();
        let shown = time.and_then(|time| Some((year(&time.value)?, time)));
        match shown {
            Some((year, time)) if !(2024..2036).contains(&year) => {
                let cause = if year < 2024 {
                    Cause::DeviceClockUnset
                } else {
                    Cause::DeviceClockWrong
                };
                self.device
                    .iter_mut()
                    .filter(|seen| dated(seen))
                    .for_each(|seen| name(seen, cause, &[]));
                let told = Seen {
                    line: time.line,
                    at: time.at,
                    entry: None,
                    cause,
                    or: Vec::new(),
                    strength: Strength::Specific,
                    quote: time.quote.clone(),
                    ..self.device[0].clone()
                };
                self.device.push(told);
            }
            Some(_) => {
                for seen in self.device.iter_mut().filter(|seen| dated(seen)) {
                    let cause = match seen.cause {
                        Cause::DeviceClockUnset => Cause::NotYetValid,
                        other => other,
                    };
                    settle(seen, cause, &[Cause::DeviceClockWrong]);
                }
            }
            None => {
                let just_booted = |seen: &Seen| {
                    self.life.uptime(seen.at).is_some_and(|up| up < SOON)
                        || seen
                            .at
                            .is_some_and(|at| at.clock == Clock::Day && at.since < SOON)
                            && self.life.from.is_some_and(|from| from.since < SOON)
                };
                for seen in self.device.iter_mut().filter(|seen| dated(seen)) {
                    match seen.cause {
                        Cause::DeviceClockUnset if just_booted(seen) => {
                            settle(seen, Cause::DeviceClockUnset, &[])
                        }
                        Cause::DeviceClockUnset => {
                            settle(seen, Cause::DeviceClockUnset, &[Cause::NotYetValid])
                        }
                        // Midnight of a clock that was never set.
                        _ if seen.is_of("bearssl") && just_booted(seen) => {
                            settle(seen, Cause::DeviceClockUnset, &[Cause::CertificateExpired]);
                        }
                        // Flags of mbedTLS tell too late from too early.
                        cause if seen.is_of("mbedtls-flags") => {
                            settle(seen, cause, &[Cause::DeviceClockWrong]);
                        }
                        cause => {
                            settle(seen, cause, &[Cause::DeviceClockUnset, Cause::NotYetValid])
                        }
                    }
                }
            }
        }
    }

    /// A modem whose driver speaks TLS only on port 443.
    fn modem_in_clear(&mut self) {
        let modem = self
            .life
            .modem
            .as_deref()
            .is_some_and(|modem| modem == "ML307");
        let off_443 = self.tried().is_some_and(|tried| {
            tried.scheme == "wss" && tried.port.is_some_and(|port| port != 443)
        });
        if !modem || !off_443 {
            return;
        }
        let in_clear = |seen: &Seen| {
            matches!(seen.cause, Cause::HttpToTls | Cause::PlainToTlsPort)
                || (seen.speaker.is_beside() && seen.cause == Cause::HttpRefused)
        };
        let told = self.beside.iter().any(in_clear);
        for seen in self.beside.iter_mut().filter(|seen| in_clear(seen)) {
            name(seen, Cause::ModemNoTls, &[]);
        }
        for seen in &mut self.device {
            if seen.is("xz-ws-hs") || seen.is("xz-ws-timeout") {
                if told {
                    class(seen, Cause::ModemNoTls, &[Cause::UpgradeRefused]);
                } else {
                    name(seen, Cause::ModemNoTls, &[Cause::UpgradeRefused]);
                }
            }
        }
    }

    /// xiaozhi speaks TLS to brokers on port 8883 alone: to any other port it speaks in clear.
    fn clear_text_by_port(&mut self) {
        let other_port = self
            .tried()
            .and_then(|tried| tried.port)
            .is_some_and(|port| port != 8883 && port != 1883);
        let endpoint = self.life.tried_lines.last();
        let xiaozhi = endpoint.is_some_and(|(_, quote)| quote.contains("to endpoint"));
        if !other_port || !xiaozhi || self.beside_has("mosq-wrongver") {
            return;
        }
        for seen in &mut self.device {
            if seen.service == Service::Mqtt && seen.cause == Cause::ConnectionLost {
                class(seen, Cause::PlainToTlsPort, &[Cause::ConnectionLost]);
            }
        }
    }

    /// The device says only that an alert came; what it was stands in the server's log.
    fn alert_seen(&mut self) {
        let alerted = self.device.iter().any(|seen| {
            seen.is("mbedtls-7780") || (seen.is_of("bearssl") && seen.cause == Cause::TlsVersion)
        });
        if !alerted {
            return;
        }
        for seen in &mut self.beside {
            match seen.cause {
                Cause::TlsVersion => name(seen, Cause::TlsVersionMismatch, &[]),
                Cause::NoCommonCipher | Cause::SniNeeded | Cause::ClientCertRequired => {
                    seen.strength = Strength::Specific;
                }
                _ => {}
            }
        }
    }

    /// Large packets are lost on the way, so the handshake ends nowhere.
    fn black_hole(&mut self) {
        let Some((line, quote)) = self.retransmitted.take() else {
            return;
        };
        let unfinished = self.device.iter().find(|seen| {
            matches!(
                seen.cause,
                Cause::TlsTimeout | Cause::TcpTimeout | Cause::ClosesInHandshake | Cause::NoConnack
            )
        });
        if let Some(seen) = unfinished {
            let told = Seen {
                line,
                at: None,
                speaker: Speaker::Remark,
                entry: None,
                cause: Cause::MtuBlackHole,
                or: vec![Cause::AcceptsThenSilent],
                strength: Strength::Specific,
                quote,
                ..seen.clone()
            };
            self.beside.push(told);
        }
    }

    /// One connection in place of another is a device that came back; time and again it is two
    /// devices with one name.
    fn taken_over(&mut self) {
        let is_one =
            |seen: &Seen| seen.cause == Cause::DuplicateClientId && seen.speaker.is_beside();
        let times = self.beside.iter().filter(|seen| is_one(seen)).count();
        for seen in self.beside.iter_mut().filter(|seen| is_one(seen)) {
            if times > 1 {
                name(seen, Cause::DuplicateClientId, &[]);
            } else {
                class(seen, Cause::DuplicateClientId, &[Cause::ConnectionLost]);
            }
        }
    }

    /// What cannot be verified for want of memory, or because the list of roots says so itself, says
    /// nothing else.
    fn memory_first(&mut self) {
        let specific = |seen: &Seen| seen.strength >= Strength::Specific;
        let memory = self
            .device
            .iter()
            .any(|seen| specific(seen) && seen.cause.layer() == Layer::Memory);
        let roots = self.device.iter().any(|seen| seen.is_of("esp-crt-bundle"));
        for seen in &mut self.device {
            let of_roots = seen.is_of("esp-crt-bundle") || seen.is("mbedtls-3000");
            if (memory && of_roots) || (roots && seen.is("mbedtls-3000")) {
                seen.strength = seen.strength.min(Strength::Class);
            }
        }
    }

    /// A path that is not there, while firmware is fetched.
    fn image_missing(&mut self) {
        let image = self.tried().is_some_and(|tried| {
            let path = tried.url.split('?').next().unwrap_or_default();
            path.ends_with(".bin") || path.ends_with(".bin.gz") || path.ends_with(".ota")
        });
        for seen in &mut self.device {
            let updating = image || seen.quote.contains("UPGRADE") || seen.quote.contains("UPL:");
            if seen.cause == Cause::PathMissing && updating {
                name(seen, Cause::ImageNotFound, &[]);
            }
        }
    }

    /// A safeboot that says nothing of MQTT does not even try: it has no TLS, or is too old for the
    /// settings.
    fn silent_safeboot(&mut self) {
        let Some((line, quote, at)) = &self.life.safeboot else {
            return;
        };
        if self.life.speaks_mqtt {
            return;
        }
        let told = Seen {
            line: *line,
            at: *at,
            speaker: Speaker::Tasmota,
            service: Service::Mqtt,
            entry: crate::catalogue().entry("tasmota-safeboot-silent"),
            cause: Cause::SafebootSilent,
            or: Vec::new(),
            strength: Strength::Specific,
            quote: quote.clone(),
        };
        self.device.push(told);
    }
}

/// A clock is set within this time after a boot, or not at all.
const SOON: Duration = Duration::from_secs(120);

/// Settles what was named already: what only looks like it stays a class.
fn settle(seen: &mut Seen, cause: Cause, or: &[Cause]) {
    let strength = seen.strength;
    name(seen, cause, or);
    seen.strength = strength;
}

fn name(seen: &mut Seen, cause: Cause, or: &[Cause]) {
    seen.cause = cause;
    seen.or = or.to_vec();
    seen.strength = Strength::Specific;
}

/// Leaves it below what another line names.
fn class_at_most(seen: &mut Seen) {
    seen.strength = seen.strength.min(Strength::Class);
}

fn class(seen: &mut Seen, cause: Cause, or: &[Cause]) {
    seen.cause = cause;
    seen.or = or.to_vec();
    seen.strength = Strength::Class;
}

/// Of lines that say the same only the last is kept.
fn once_each(mut all: Vec<Seen>) -> Vec<Seen> {
    let mut kept: Vec<Seen> = Vec::new();
    while let Some(seen) = all.pop() {
        let same = |other: &Seen| {
            let entry = |seen: &Seen| seen.entry.map(|entry| &entry.id[..]);
            match (entry(other), entry(&seen)) {
                (Some(one), Some(other)) => one == other,
                (None, None) => other.quote == seen.quote,
                _ => false,
            }
        };
        let says_more = |other: &Seen| other.cause == seen.cause && other.strength >= seen.strength;
        if !kept.iter().any(|other| same(other) && says_more(other)) {
            kept.push(seen);
        }
    }
    kept.reverse();
    kept
}
