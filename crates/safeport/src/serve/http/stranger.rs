//! Last words to clients that came to a port of HTTP with something else, each in its own protocol.

use std::io;

use safeport_mqtt::{
    ConnAck, Decoded, Packet, Properties, PropertiesBuf, Property, ReasonCode, Version, decode,
};
use safeport_net::FirstBytes;
use safeport_settings::{AdvertisedAddress, Scheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::limits::{HTTP_GOODBYE, HTTP_GOODBYE_BYTES, HTTP_STRANGER_BYTES};

/// To TLS where none is spoken: the fatal alert unexpected_message (RFC 8446 §6.2). Tasmota prints
/// 266 then, which nothing else makes it print.
pub(super) const NO_TLS_HERE: [u8; 7] = [21, 3, 3, 0, 2, 2, 10];

/// What a connection begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// Maybe HTTP, which is for hyper to say: it knows methods that [`FirstBytes`] does not.
    Http(FirstBytes),
    Tls,
    Mqtt(Refusal),
    Garbage,
}

/// The answer to a CONNECT, and what stood in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Refusal {
    /// CONNACK; empty if it was no CONNECT after all.
    pub(super) words: Vec<u8>,
    pub(super) client_id: Option<String>,
    pub(super) user: Option<String>,
}

impl Opening {
    /// Recognises the first bytes of a connection; `None` if more are needed, which can only be
    /// with fewer than [`HTTP_STRANGER_BYTES`]. `where_to` is asked for MQTT, see [`where_mqtt_is`].
    pub(super) fn of(bytes: &[u8], where_to: impl Fn() -> String) -> Option<Opening> {
        Some(match FirstBytes::of(bytes)? {
            FirstBytes::Mqtt => Opening::Mqtt(Refusal::of(bytes, where_to)?),
            FirstBytes::Tls => Opening::Tls,
            FirstBytes::Unknown if !bytes[0].is_ascii_uppercase() => Opening::Garbage,
            first => Opening::Http(first),
        })
    }

    pub(super) fn first_bytes(&self) -> FirstBytes {
        match self {
            Opening::Http(first) => *first,
            Opening::Tls => FirstBytes::Tls,
            Opening::Mqtt(_) => FirstBytes::Mqtt,
            Opening::Garbage => FirstBytes::Unknown,
        }
    }
}

impl Refusal {
    /// 3.1 and 3.1.1 have no better word than code 3, server unavailable; MQTT 5 is told to use
    /// another server (0x9C), with a Reason String.
    fn of(bytes: &[u8], where_to: impl Fn() -> String) -> Option<Refusal> {
        let mut refusal = Refusal::default();
        let version = match decode(bytes, Version::V311, u32::MAX) {
            Ok(Decoded::Packet(Packet::Connect(connect), _)) => {
                refusal.client_id = Some(connect.client_id.to_owned());
                refusal.user = connect.username.map(str::to_owned);
                connect.version
            }
            Ok(Decoded::Incomplete(_)) if bytes.len() < HTTP_STRANGER_BYTES => return None,
            // Broken, it still gets an answer if it has told its version.
            Err(error) if error.level() >= 5 => Version::V5,
            Err(error) if error.level() > 0 => Version::V311,
            _ => return Some(refusal),
        };
        refusal.words = connack(version, &where_to());
        Some(refusal)
    }
}

fn connack(version: Version, where_to: &str) -> Vec<u8> {
    let mut reason = PropertiesBuf::new();
    let (code, properties) = match version {
        Version::V5 => {
            // The code says enough if the words are too many.
            let _ = reason.push(Property::ReasonString(where_to));
            (ReasonCode::UseAnotherServer, reason.as_properties())
        }
        Version::V31 | Version::V311 => (ReasonCode::ServerUnavailable, Properties::EMPTY),
    };
    let answer = ConnAck {
        session_present: false,
        code,
        properties,
    };
    let mut words = Vec::new();
    // Nothing in it can be refused.
    let _ = answer.encode(version, &mut words);
    words
}

/// Where MQTT is spoken, in words for who came to a port of HTTP instead.
pub(super) fn where_mqtt_is(told: &[AdvertisedAddress]) -> String {
    let port = |scheme| {
        let of_scheme = told.iter().find(|address| address.scheme() == scheme);
        of_scheme.map(AdvertisedAddress::port)
    };
    match (port(Scheme::Mqtts), port(Scheme::Mqtt)) {
        (Some(tls), Some(clear)) => {
            format!("this port speaks HTTP; use port {tls} for MQTT over TLS, {clear} for MQTT")
        }
        (Some(tls), None) => format!("this port speaks HTTP; use port {tls} for MQTT over TLS"),
        (None, Some(clear)) => format!("this port speaks HTTP; use port {clear} for MQTT"),
        (None, None) => {
            "this port speaks HTTP; use that of mqtts.bind or mqtt.bind for MQTT".to_owned()
        }
    }
}

/// Writes `words`, closes our side, and waits a moment for the peer's: closing with bytes unread
/// would reset the connection, and the words might be lost on their way.
pub(super) async fn say_last(mut stream: impl AsyncRead + AsyncWrite + Unpin, words: &[u8]) {
    let said = async {
        stream.write_all(words).await?;
        stream.shutdown().await?;
        let mut unread = stream.take(HTTP_GOODBYE_BYTES);
        tokio::io::copy(&mut unread, &mut tokio::io::sink()).await?;
        io::Result::Ok(())
    };
    // Whoever is gone has heard enough.
    let _ = tokio::time::timeout(HTTP_GOODBYE, said).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> Option<Refusal> {
        Opening::of(bytes, || "go".to_owned()).map(|opening| match opening {
            Opening::Mqtt(refusal) => refusal,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn a_connect_is_refused_in_the_words_of_its_version() {
        for (connect, answer) in [
            (
                &b"\x10\x11\x00\x04MQTT\x04\x82\x00\x3c\x00\x01a\x00\x02me"[..],
                &b"\x20\x02\x00\x03"[..],
            ),
            (
                b"\x10\x13\x00\x06MQIsdp\x03\x82\x00\x3c\x00\x01a\x00\x02me",
                b"\x20\x02\x00\x03",
            ),
            (
                b"\x10\x12\x00\x04MQTT\x05\x82\x00\x3c\x00\x00\x01a\x00\x02me",
                b"\x20\x08\x00\x9c\x05\x1f\x00\x02go",
            ),
        ] {
            for end in 1..connect.len() {
                assert_eq!(refused(&connect[..end]), None, "{end}");
            }
            let refusal = refused(connect).expect("enough");
            assert_eq!(refusal.words, answer);
            assert_eq!(refusal.client_id.as_deref(), Some("a"));
            assert_eq!(refusal.user.as_deref(), Some("me"));
        }
        let nonsense = refused(b"\x10\x0c\x00\x04HTTP\x04\x02\x00\x3c\x00\x00").expect("enough");
        assert_eq!(nonsense, Refusal::default());
    }

    #[test]
    fn a_connect_that_never_ends_is_not_waited_for() {
        let mut connect = b"\x10\xff\xff\xff\x7f\x00\x04MQTT\x05\x82\x00\x3c".to_vec();
        connect.resize(HTTP_STRANGER_BYTES - 1, 0);
        let before = refused(&connect);
        connect.push(0);
        assert!(before.is_none() || before == refused(&connect));
        assert!(refused(&connect).is_some());
    }

    #[test]
    fn unknown_methods_are_left_to_http_and_other_bytes_are_garbage() {
        let of = |bytes: &[u8]| Opening::of(bytes, || "go".to_owned());
        assert_eq!(of(b"GET /"), Some(Opening::Http(FirstBytes::Http)));
        assert_eq!(of(b"PROPFIND /"), Some(Opening::Http(FirstBytes::Unknown)));
        assert_eq!(of(b"\x16\x03\x01"), Some(Opening::Tls));
        for garbage in [&b"\0"[..], b"get /", b"\x82\x80", b"\r\n"] {
            assert_eq!(of(garbage), Some(Opening::Garbage), "{garbage:?}");
        }
    }

    #[test]
    fn ports_are_named_as_devices_are_told_them() {
        let told = |urls: &[&str]| {
            let parsed = urls.iter().map(|url| AdvertisedAddress::parse(url));
            let addresses: Vec<_> = parsed.map(|address| address.expect("an address")).collect();
            where_mqtt_is(&addresses)
        };
        let both = told(&["http://a:8002", "mqtt://a:1883", "mqtts://a:8883"]);
        assert!(
            both.contains("8883 for MQTT over TLS") && both.contains("1883"),
            "{both}"
        );
        assert!(told(&["mqtt://a:1884"]).contains("use port 1884 for MQTT"));
        assert!(told(&["http://a:8002"]).contains("mqtts.bind"));
    }
}
