//! The HTTP request that opens a WebSocket, judged without any HTTP server: the binary hands over
//! method and headers and writes the answer it is given. After the 101 it makes a
//! [`crate::Layer::websocket`] or [`crate::Layer::websocket_over`].

use std::fmt;

use tungstenite::handshake::derive_accept_key;

/// Subprotocols of MQTT, best first. The standard name is `mqtt` [MQTT-6.0.0-3]; `mqttv3.1` is
/// what clients written for MQTT 3.1 ask for.
pub const MQTT_SUBPROTOCOLS: &[&str] = &["mqtt", "mqttv3.1"];

/// The answer to a good request: status 101 and these headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Value of `Sec-WebSocket-Accept`.
    pub accept_key: String,
    /// Value of `Sec-WebSocket-Protocol`; `None` if no subprotocol was required.
    pub subprotocol: Option<&'static str>,
}

impl Accepted {
    /// Status of the answer.
    pub const STATUS: u16 = 101;

    /// All headers of the answer. It has no body.
    pub fn headers(&self) -> Vec<(&'static str, &str)> {
        let mut headers = vec![
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", self.accept_key.as_str()),
        ];
        if let Some(subprotocol) = self.subprotocol {
            headers.push(("Sec-WebSocket-Protocol", subprotocol));
        }
        headers
    }
}

/// Why a request opens no WebSocket. `Display` is the body of the answer: what was seen and what
/// to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The method is not GET.
    Method,
    /// `Upgrade: websocket` or `Connection: Upgrade` is missing: a browser's address bar, or a
    /// proxy that drops these headers.
    NotAnUpgrade,
    /// `Sec-WebSocket-Version` is not 13.
    Version,
    /// `Sec-WebSocket-Key` is not 16 bytes in base64.
    Key,
    /// None of the offered subprotocols is ours.
    Subprotocol {
        /// What the client offered; empty if nothing.
        offered: String,
        /// What we speak here.
        wanted: &'static str,
    },
}

impl Refused {
    /// HTTP status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Refused::Method => 405,
            // 426 makes the client name the protocol it lacks (RFC 9110 §15.5.22).
            Refused::NotAnUpgrade | Refused::Version => 426,
            Refused::Key | Refused::Subprotocol { .. } => 400,
        }
    }

    /// Headers that the answer needs beside `Content-Type: text/plain` and its length.
    pub fn headers(&self) -> Vec<(&'static str, &'static str)> {
        match self {
            Refused::Method => vec![("Allow", "GET")],
            Refused::NotAnUpgrade => vec![("Upgrade", "websocket"), ("Connection", "Upgrade")],
            Refused::Version => vec![
                ("Upgrade", "websocket"),
                ("Connection", "Upgrade"),
                ("Sec-WebSocket-Version", "13"),
            ],
            Refused::Key | Refused::Subprotocol { .. } => Vec::new(),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Method => f.write_str(
                "a WebSocket is opened with GET; use a WebSocket client on this address",
            ),
            Refused::NotAnUpgrade => f.write_str(
                "this address speaks WebSocket, and the request did not ask for it; use a \
                 WebSocket client, and if a proxy stands in front, let it pass the headers \
                 Upgrade and Connection on (nginx: proxy_http_version 1.1; proxy_set_header \
                 Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\")",
            ),
            Refused::Version => f.write_str(
                "only WebSocket version 13 (RFC 6455) is spoken here; use a newer WebSocket \
                 library",
            ),
            Refused::Key => f.write_str(
                "Sec-WebSocket-Key has to be 16 random bytes in base64; use a WebSocket library \
                 instead of a request written by hand",
            ),
            Refused::Subprotocol { offered, wanted } if offered.is_empty() => write!(
                f,
                "the request names no subprotocol; set the WebSocket subprotocol of the client \
                 to `{wanted}`"
            ),
            Refused::Subprotocol { offered, wanted } => write!(
                f,
                "the request offers the subprotocol `{offered}`, spoken here is `{wanted}`; set \
                 the WebSocket subprotocol of the client to that"
            ),
        }
    }
}

impl std::error::Error for Refused {}

/// Judges a request. Header names and the tokens of `Upgrade` and `Connection` are compared
/// without case; repeated headers count as one list.
///
/// `subprotocols` are those spoken at this address, best first ([`MQTT_SUBPROTOCOLS`] for MQTT);
/// one of them must be offered [MQTT-6.0.0-3] and is named in the answer [MQTT-6.0.0-4]. An empty
/// slice requires and names none.
///
/// # Errors
///
/// [`Refused`], with status, headers and advice.
pub fn answer<'a>(
    method: &str,
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    subprotocols: &'static [&'static str],
) -> Result<Accepted, Refused> {
    if method != "GET" {
        return Err(Refused::Method);
    }
    let seen = Seen::of(headers);
    if !seen.upgrade || !seen.connection {
        return Err(Refused::NotAnUpgrade);
    }
    if seen.version.as_deref() != Some("13") {
        return Err(Refused::Version);
    }
    let key = seen
        .key
        .filter(|key| is_sixteen_bytes_in_base64(key))
        .ok_or(Refused::Key)?;
    let subprotocol = subprotocols
        .iter()
        .copied()
        .find(|name| seen.offered.iter().any(|offered| offered == name));
    match subprotocols {
        [wanted, ..] if subprotocol.is_none() => Err(Refused::Subprotocol {
            offered: seen.offered.join(", "),
            wanted,
        }),
        _ => Ok(Accepted {
            accept_key: derive_accept_key(key.as_bytes()),
            subprotocol,
        }),
    }
}

#[derive(Default)]
struct Seen {
    upgrade: bool,
    connection: bool,
    version: Option<String>,
    key: Option<String>,
    offered: Vec<String>,
}

impl Seen {
    fn of<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Seen {
        let mut seen = Seen::default();
        for (name, value) in headers {
            let mut tokens = value.split(',').map(str::trim);
            if name.eq_ignore_ascii_case("upgrade") {
                seen.upgrade |= tokens.any(|token| token.eq_ignore_ascii_case("websocket"));
            } else if name.eq_ignore_ascii_case("connection") {
                seen.connection |= tokens.any(|token| token.eq_ignore_ascii_case("upgrade"));
            } else if name.eq_ignore_ascii_case("sec-websocket-version") {
                seen.version = Some(value.trim().to_owned());
            } else if name.eq_ignore_ascii_case("sec-websocket-key") {
                seen.key = Some(value.trim().to_owned());
            } else if name.eq_ignore_ascii_case("sec-websocket-protocol") {
                seen.offered
                    .extend(tokens.filter(|t| !t.is_empty()).map(str::to_owned));
            }
        }
        seen
    }
}

/// 22 characters and two for padding (RFC 6455 §4.1).
fn is_sixteen_bytes_in_base64(key: &str) -> bool {
    let is_base64 = |c: u8| c.is_ascii_alphanumeric() || c == b'+' || c == b'/';
    match key.strip_suffix("==") {
        Some(digits) => digits.len() == 22 && digits.bytes().all(is_base64),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn request(protocol: &'static str) -> Vec<(&'static str, &'static str)> {
        vec![
            ("Host", "plug.lan"),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", KEY),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Protocol", protocol),
        ]
    }

    fn without(name: &str) -> Vec<(&'static str, &'static str)> {
        request("mqtt")
            .into_iter()
            .filter(|(n, _)| *n != name)
            .collect()
    }

    fn with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
        let mut headers = without(name);
        headers.push((name, value));
        headers
    }

    #[test]
    fn the_sample_of_the_rfc_gets_the_key_of_the_rfc_and_mqtt() {
        let accepted = answer("GET", request("mqtt"), MQTT_SUBPROTOCOLS).unwrap();
        assert_eq!(
            accepted.headers(),
            [
                ("Upgrade", "websocket"),
                ("Connection", "Upgrade"),
                ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
                ("Sec-WebSocket-Protocol", "mqtt"),
            ]
        );
    }

    #[test]
    fn mqtt_is_chosen_before_mqttv31_whatever_the_client_lists_first() {
        for (offer, chosen) in [
            ("mqttv3.1, mqtt", "mqtt"),
            ("mqttv3.1", "mqttv3.1"),
            ("soap,mqtt", "mqtt"),
        ] {
            let accepted = answer("GET", request(offer), MQTT_SUBPROTOCOLS).unwrap();
            assert_eq!(accepted.subprotocol, Some(chosen), "{offer}");
        }
    }

    #[test]
    fn a_missing_or_foreign_subprotocol_is_refused_with_the_right_one_named() {
        for headers in [
            without("Sec-WebSocket-Protocol"),
            request(""),
            request("MQTT, chat"),
        ] {
            let refused = answer("GET", headers, MQTT_SUBPROTOCOLS).unwrap_err();
            assert_eq!(refused.status(), 400);
            assert!(refused.to_string().contains("`mqtt`"), "{refused}");
        }
    }

    #[test]
    fn no_subprotocol_is_named_where_none_is_required() {
        let accepted = answer("GET", request("whatever"), &[]).unwrap();
        assert!(
            accepted
                .headers()
                .iter()
                .all(|(name, _)| *name != "Sec-WebSocket-Protocol")
        );
    }

    #[test]
    fn header_names_and_tokens_have_no_case_and_lists_may_be_split() {
        let headers = [
            ("upgrade", "h2c, WebSocket"),
            ("connection", "keep-alive"),
            ("CONNECTION", "UPGRADE"),
            ("sec-websocket-key", KEY),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "chat"),
            ("sec-websocket-protocol", "mqtt"),
        ];
        assert!(answer("GET", headers, MQTT_SUBPROTOCOLS).is_ok());
    }

    #[test]
    fn headers_dropped_by_a_proxy_are_answered_with_426_and_the_proxy_settings() {
        for name in ["Upgrade", "Connection"] {
            let refused = answer("GET", without(name), MQTT_SUBPROTOCOLS).unwrap_err();
            assert_eq!(refused.status(), 426);
            assert!(refused.headers().contains(&("Upgrade", "websocket")));
            assert!(refused.to_string().contains("proxy_set_header"));
        }
    }

    #[test]
    fn an_old_version_is_told_thirteen() {
        for headers in [
            with("Sec-WebSocket-Version", "8"),
            without("Sec-WebSocket-Version"),
        ] {
            let refused = answer("GET", headers, MQTT_SUBPROTOCOLS).unwrap_err();
            assert_eq!(refused.status(), 426);
            assert!(refused.headers().contains(&("Sec-WebSocket-Version", "13")));
        }
    }

    #[test]
    fn a_key_that_is_not_sixteen_bytes_is_refused() {
        for key in [
            "",
            "abc",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25j!!==",
            "AAAA==",
        ] {
            let refused = answer("GET", with("Sec-WebSocket-Key", key), MQTT_SUBPROTOCOLS);
            assert_eq!(refused, Err(Refused::Key), "{key}");
        }
    }

    #[test]
    fn other_methods_are_refused() {
        let refused = answer("POST", request("mqtt"), MQTT_SUBPROTOCOLS).unwrap_err();
        assert_eq!(
            (refused.status(), refused.headers()),
            (405, vec![("Allow", "GET")])
        );
    }
}
