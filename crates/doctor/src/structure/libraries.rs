//! Numbers of libraries that the catalogue has no entries for: wolfSSL, lwIP's own, Espressif's old
//! sockets, and what MicroPython passes on.

use alloc::format;

use super::{Guess, Text};
use crate::Cause;
use crate::catalogue::{Entry, catalogue};

/// A number of one of these in a line that names whose it is.
pub(super) fn in_line(text: &Text<'_>) -> Option<Guess> {
    if text.has(&["wolfssl"]) || text.has(&["asn_"]) {
        let words = ["error", "err", "code", "ret", "returned", "failed", "="];
        let mut numbers = words.iter().filter_map(|word| text.number_behind(&[word]));
        if let Some(number) = numbers.find(|number| *number < -100) {
            return wolfssl(number);
        }
    }
    if let Some(number) = text.number_behind(&["err_t", "lwip err", "lwip error"]) {
        return err_t(number);
    }
    if let Some(guess) = err_t_by_name(text.line) {
        return Some(guess);
    }
    if let Some(number) = text.number_behind(&["espconn", "discon err", "recon err"]) {
        return espconn(number);
    }
    // Names of addresses: MicroPython's EAI numbers are those of lwIP with a sign.
    if let Some(number) = text.number_behind(&["oserror"])
        && (-210..=-200).contains(&number)
    {
        return Some(Guess::new(
            Cause::NameNotResolved,
            format!("getaddrinfo gave {number}: a name was not resolved"),
            format!("getaddrinfo 返回 {number}：域名未能解析"),
        ));
    }
    None
}

/// The entry for a number that stands behind another language's exception, or in BearSSL's own words.
pub(super) fn entry(text: &Text<'_>) -> Option<&'static Entry> {
    let catalogue = catalogue();
    if let Some(number) = text.number_behind(&["mqttexception"]) {
        return catalogue.number("pubsubclient", number);
    }
    if text.has(&["mbedtls_err"]) || text.has(&["oserror"]) {
        let number = text.number_behind(&["oserror", "mbedtls_err"])?;
        return catalogue.number("mbedtls", number);
    }
    if let Some(number) = text.number_behind(&["sslerror()", "sslerror", "ssl error code"]) {
        return catalogue.number("bearssl", number);
    }
    let (_, number) = BEARSSL.iter().find(|(words, _)| text.has(&[words]))?;
    catalogue.number("bearssl", *number)
}

/// What BearSSL's errors are called where a program prints them in words.
const BEARSSL: &[(&str, i64)] = &[
    ("protocol or record version is unsupported", 3),
    ("record version does not match", 4),
    ("incoming record is too large", 6),
    ("certificate is expired or not yet valid", 54),
    ("server name was not found in the chain", 56),
    ("chain could not be linked to a trust anchor", 62),
];

/// wolfSSL counts certificates from -130 to -300, and the handshake below.
fn wolfssl(number: i64) -> Option<Guess> {
    let (cause, text) = match number {
        -125 | -303 => (Cause::OutOfMemoryTls, "out of memory"),
        -150 => (Cause::NotYetValid, "a certificate is not valid yet"),
        -151 => (Cause::CertificateExpired, "a certificate is out of date"),
        -188 => (
            Cause::ChainNotTrusted,
            "nobody trusted signed the certificate",
        ),
        -275 => (Cause::UntrustedSelfSigned, "a certificate is self-signed"),
        -299..=-130 | -329 => (Cause::CertificateRefused, "a certificate was refused"),
        -308 => (Cause::ConnectionLost, "the connection broke"),
        -397 => (Cause::ClosesInHandshake, "the peer closed"),
        -313 => (Cause::TlsFailed, "the peer sent an alert"),
        -322 | -325 => (Cause::NameMismatch, "a certificate is for another name"),
        -326 => (Cause::TlsVersion, "another version of TLS"),
        -501 => (Cause::NoCommonCipher, "no suite in common"),
        -328 | -312..=-304 => (Cause::TlsBroken, "a record was not as it must be"),
        // It only waits.
        -323 | -327 => return None,
        -600..=-301 => (Cause::TlsFailed, "the handshake"),
        _ => return None,
    };
    Some(Guess::new(
        cause,
        format!("error {number} of wolfSSL: {text}"),
        format!("wolfSSL 错误 {number}"),
    ))
}

/// lwIP's own numbers, which are not errno.
fn err_t(number: i64) -> Option<Guess> {
    let cause = match number {
        -1 | -2 => Cause::OutOfMemory,
        -3 => Cause::TcpTimeout,
        -4 => Cause::HostUnreachable,
        -8 => Cause::PortInUse,
        -11 | -13 | -15 => Cause::ConnectionLost,
        -14 => Cause::ConnectionReset,
        -12 => Cause::WifiLost,
        -16 | -6 => Cause::DeviceFault,
        _ => return None,
    };
    Some(Guess::new(
        cause,
        format!("err_t {number} of lwIP"),
        format!("lwIP err_t {number}"),
    ))
}

fn err_t_by_name(line: &str) -> Option<Guess> {
    let names = [
        ("ERR_MEM", -1),
        ("ERR_BUF", -2),
        ("ERR_TIMEOUT", -3),
        ("ERR_RTE", -4),
        ("ERR_ABRT", -13),
        ("ERR_RST", -14),
        ("ERR_CLSD", -15),
    ];
    let stands = |name: &str| {
        line.match_indices(name).any(|(at, _)| {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            !line[..at].ends_with(word) && !line[at + name.len()..].starts_with(word)
        })
    };
    let (_, number) = names.iter().find(|(name, _)| stands(name))?;
    err_t(*number)
}

/// The sockets of Espressif's first kit for the ESP8266.
fn espconn(number: i64) -> Option<Guess> {
    let cause = match number {
        -1 => Cause::OutOfMemory,
        -3 => Cause::TcpTimeout,
        -4 => Cause::HostUnreachable,
        -8 | -10 | -11 => Cause::ConnectionLost,
        -9 => Cause::ConnectionReset,
        -28 | -61 => Cause::TlsFailed,
        _ => return None,
    };
    Some(Guess::new(
        cause,
        format!("error {number} of espconn"),
        format!("espconn 错误 {number}"),
    ))
}
