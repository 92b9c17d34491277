//! What was seen of an attempt, in English: for the log, and to search for.

use safeport_net::FirstBytes;
use safeport_net::attempt::{Attempt, Ending, Limit, Stage};

use super::seen::printable;
use crate::limits::ATTEMPT_WHY_BYTES;

/// Empty for one that went well.
pub(super) fn in_words(attempt: &Attempt) -> String {
    let text = match &attempt.ending {
        Ending::Connected => return String::new(),
        Ending::Refused { reason, why } => format!("refused with 0x{reason:02x}: {why}"),
        Ending::WrongProtocol => wrong_protocol(attempt),
        Ending::AlertReceived(alert) => {
            format!("the client sent the TLS alert {}", alert_name(*alert))
        }
        Ending::Failed { alert: None, why } => why.clone(),
        Ending::Failed {
            alert: Some(alert),
            why,
        } => format!("{why}; it was sent the TLS alert {}", alert_name(*alert)),
        Ending::Closed { stage, reset } => {
            let how = match reset {
                true => "the client reset the connection",
                false => "the client closed",
            };
            format!("{how} {}", stage_words(*stage))
        }
        Ending::TimedOut {
            stage,
            unacknowledged,
        } => {
            let seconds = attempt.took.as_secs();
            let mut text = format!("nothing for {seconds} s {}", stage_words(*stage));
            if let Some(bytes @ 1..) = unacknowledged {
                text.push_str(&format!(
                    "; {bytes} bytes that were sent to it never arrived"
                ));
            }
            text
        }
        Ending::TurnedAway(limit) => match limit {
            Limit::PushedOut => "pushed out by newer ones while it was silent".to_owned(),
            Limit::TooManyHandshakes => "closed at once: no place for a handshake".to_owned(),
            Limit::TooManyFromAddress => {
                "closed at once: too many handshakes from its address".to_owned()
            }
            Limit::TooManyConnections => {
                let key = format!("{}.max_connections", attempt.listener);
                format!("closed at once: as many connections as {key} allows are open")
            }
            Limit::NoDescriptors => "not accepted: no file descriptor is left".to_owned(),
        },
        Ending::Noted { why, .. } => why.clone(),
        Ending::TakenOver => "ended by a newer connection with the same client id".to_owned(),
    };
    printable(&text, ATTEMPT_WHY_BYTES)
}

fn wrong_protocol(attempt: &Attempt) -> String {
    match attempt.first {
        Some(FirstBytes::Tls) => "a TLS ClientHello",
        Some(FirstBytes::Mqtt) => "an MQTT CONNECT",
        Some(FirstBytes::Http) if attempt.asked_websocket => "a WebSocket request in clear text",
        Some(FirstBytes::Http) => "an HTTP request",
        Some(FirstBytes::Unknown) | None => "bytes of no protocol that is spoken here",
    }
    .to_owned()
}

fn stage_words(stage: Stage) -> &'static str {
    match stage {
        Stage::Silent => "before it sent anything",
        Stage::Hello => "within its first message",
        Stage::Certificate => "after the server's certificate was sent",
        Stage::Finished => "after the TLS handshake, before a CONNECT or request",
        Stage::Established => "after it was connected",
    }
}

/// A TLS alert with its name (RFC 8446 §6, RFC 5246 §7.2).
pub(crate) fn alert_name(alert: u8) -> String {
    match safeport_doctor::tls::names::known_alert(alert) {
        Some(name) => format!("{alert} {name}"),
        None => alert.to_string(),
    }
}
