//! What a device can do on the way to its server, by profile: the facts that decide whether it connects.
//!
//! The sources of the facts stand with each profile in the table. Where a fact differs between releases
//! the profile has what most devices in the field have, and says so.

mod table;

use core::time::Duration;

use crate::tls::{Curve, Hash};

/// The facts of one kind of device, for `safeport doctor --as NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The name on the command line.
    pub name: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// The family as the rest of the program writes it: `tasmota`, `espeasy`, `esphome`, `xiaozhi`,
    /// `shelly`, or `idf` for a program of one's own.
    pub family: &'static str,
    /// For people: what it stands for, in English.
    pub says: &'static str,
    /// The same in Chinese.
    pub says_zh: &'static str,
    /// The TLS implementation.
    pub stack: Stack,
    /// TLS versions as on the wire, the highest first.
    pub versions: &'static [u16],
    /// Cipher suites as in its ClientHello, in its order, signals included.
    pub suites: &'static [u16],
    /// Groups as in its ClientHello, in its order.
    pub groups: &'static [u16],
    /// Signature algorithms as in its ClientHello, in its order.
    pub signatures: &'static [u16],
    /// Whether it names the server in its ClientHello.
    pub sni: Sni,
    /// Protocols that it asks for by ALPN; none of these devices does by default.
    pub alpn: &'static [&'static str],
    /// The longest plaintext of a record that it asks for (max_fragment_length), in bytes.
    pub max_fragment: Option<u16>,
    /// The longest plaintext of an application record that it takes, in bytes.
    pub record_in: usize,
    /// Whether it puts a handshake message together that comes in several records.
    pub joins_handshake: bool,
    /// Whose certificates it accepts.
    pub trust: Trust,
    /// Whether it can be told the fingerprint of the server's key instead.
    pub pins: bool,
    /// What of the certificate it compares with the host.
    pub names: NameRule,
    /// The keys that it can use.
    pub keys: Keys,
    /// The hashes under the signatures of certificates that it takes.
    pub hashes: &'static [Hash],
    /// How it follows the chain.
    pub order: Order,
    /// Whether the server's certificate must be meant for servers (extended key usage).
    pub usage: bool,
    /// Which time it takes for the dates of certificates.
    pub clock: ClockRule,
    /// How long it waits.
    pub patience: Patience,
}

/// A TLS implementation, as far as its error numbers differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stack {
    /// BearSSL as Tasmota and ESPEasy cut it down: prints a number, 256 more for an alert it got.
    BearSsl,
    /// mbedTLS 3 (ESP-IDF 5) and its kin: prints -0x…, and flags for a certificate.
    MbedTls,
    /// The same with TLS 1.3: mbedTLS 4 (ESP-IDF 6).
    MbedTls13,
    /// TLS of a cellular module: no number that says anything.
    Modem,
}

/// Whether a device names the server in its ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sni {
    /// Whatever stands in the settings, even an address.
    Always,
    /// Names only.
    Names,
    /// Never.
    Never,
}

/// Whose certificates a device accepts. Roots that its owner built in are added in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trust {
    /// Roots with these common names.
    Roots(&'static [&'static str]),
    /// About what browsers trust.
    Bundle,
    /// It does not look.
    Anyone,
}

/// What of the server's certificate is compared with the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameRule {
    /// DNS names; an address must stand there written out as one. Common name without any.
    Dns,
    /// DNS names, and addresses as addresses.
    DnsAndAddress,
    /// Nothing.
    Nothing,
}

/// The keys that a device can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Keys {
    /// Shortest RSA key, in bits.
    pub rsa_least: usize,
    /// Longest RSA key of a server, in bits.
    pub rsa_server: usize,
    /// Longest RSA key of an authority, in bits.
    pub rsa_authority: usize,
    /// Curves for the server's own key; empty where ECDSA is not built in.
    pub curves: &'static [Curve],
}

/// How a device follows the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    /// Each certificate must be that of the issuer of the one before it.
    AsSent,
    /// It looks for an issuer in all that follow.
    Searched,
}

/// Which time a device takes for the dates of certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClockRule {
    /// The later one of its clock and the moment of its last save or build: an unset clock shows only
    /// with certificates that are newer than that.
    NotBefore,
    /// Its clock; an unset one stands at 1970.
    Clock,
    /// Only builds with `MBEDTLS_HAVE_TIME_DATE` look at dates, by their clock: a certificate that is
    /// really out of date is told, and the clock is not blamed.
    IfBuilt,
    /// Dates are not looked at.
    Ignored,
}

/// How long a device waits before it gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Patience {
    /// For a name to be looked up.
    pub dns: Duration,
    /// For a connection to open.
    pub connect: Duration,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For CONNACK, or for the answer to a request.
    pub answer: Duration,
    /// For the server's first message on a WebSocket.
    pub hello: Duration,
}

impl Profile {
    /// The profile with this name or alias, however its letters are.
    pub fn of(name: &str) -> Option<&'static Profile> {
        let is = |other: &&str| other.eq_ignore_ascii_case(name);
        Profile::ALL
            .iter()
            .find(|profile| is(&profile.name) || profile.aliases.iter().any(is))
    }

    /// The profile to take when only the family of a device is known, and perhaps its chip, such as
    /// `ESP8266` or `ESP32-S3`. Of Tasmota only the images for ESP32 are published with TLS, so they
    /// are meant unless the chip says otherwise.
    pub fn of_family(family: &str, chip: Option<&str>) -> Option<&'static Profile> {
        let small = chip.is_some_and(|chip| {
            let chip = chip.to_ascii_uppercase();
            chip.starts_with("ESP82")
        });
        match family {
            "tasmota" if small => Profile::of("tasmota-esp8266"),
            "tasmota" => Profile::of("tasmota-esp32"),
            "idf" | "esp-idf" => Profile::of("idf-5-bundle"),
            family => Profile::ALL.iter().find(|profile| profile.family == family),
        }
    }

    /// Whether a certificate is looked at at all.
    pub fn verifies(&self) -> bool {
        self.trust != Trust::Anyone
    }
}
