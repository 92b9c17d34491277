//! Why a connection to a server is over, in words that may be shown.

use std::error::Error;

use reqwest::StatusCode;
use rmcp::service::ClientInitializeError;
use rmcp::transport::streamable_http_client::StreamableHttpError;

use super::McpWay;
use crate::limits::ERROR_CHARACTERS;
use crate::provider::FailureKind;

/// Why a connection to a server is over, or did not come about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Over {
    pub(super) kind: FailureKind,
    /// In English.
    pub(super) why: String,
}

impl Over {
    pub(super) fn new(kind: FailureKind, why: impl Into<String>) -> Over {
        let why = why.into();
        Over { kind, why }
    }

    /// It could not be begun.
    pub(super) fn of_beginning(error: &ClientInitializeError) -> Over {
        match error {
            ClientInitializeError::TransportError { error, .. } => Over::of_way(error),
            ClientInitializeError::ConnectionClosed(_) => {
                let why = "it closed the connection before it said who it is";
                Over::new(FailureKind::Broken, why)
            }
            ClientInitializeError::JsonRpcError(said) => {
                let why: String = said.message.chars().take(ERROR_CHARACTERS).collect();
                Over::new(FailureKind::Refused, why)
            }
            other => {
                let why: String = other.to_string().chars().take(ERROR_CHARACTERS).collect();
                Over::new(FailureKind::Misunderstood, why)
            }
        }
    }

    /// An error of the way there, as far as it tells what it was.
    pub(super) fn of_way(error: &(dyn Error + 'static)) -> Over {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(error) = error.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
                return Over::of_http(error);
            }
            next = error.source();
        }
        let why: String = error.to_string().chars().take(ERROR_CHARACTERS).collect();
        Over::new(FailureKind::Misunderstood, why)
    }

    fn of_http(error: &StreamableHttpError<reqwest::Error>) -> Over {
        let kind = match error {
            StreamableHttpError::Client(error) => {
                let (kind, what) = match error.status() {
                    Some(status) => (kind_of_status(status), "it answered with an error"),
                    None if error.is_timeout() => (FailureKind::TimedOut, "no connection"),
                    None if error.is_connect() => (FailureKind::Unreachable, "no connection"),
                    None => (FailureKind::Broken, "it closed the connection"),
                };
                return Over::new(kind, format!("{what}: {}", cause(error)));
            }
            StreamableHttpError::AuthRequired(_) | StreamableHttpError::InsufficientScope(_) => {
                return Over::new(FailureKind::NotAllowed, "it wants to know who asks (401)");
            }
            StreamableHttpError::HttpStatus(status) => {
                let kind = StatusCode::from_u16(status.status).map(kind_of_status);
                let why = format!("it answered with HTTP {}", status.status);
                return Over::new(kind.unwrap_or(FailureKind::Failed), why);
            }
            StreamableHttpError::UnexpectedServerResponse(said) => {
                // `HTTP 401 Unauthorized: ` and what it said.
                let status = said.strip_prefix("HTTP ").and_then(|said| said.get(..3));
                let status = status.and_then(|status| status.parse::<StatusCode>().ok());
                status.map_or(FailureKind::Misunderstood, kind_of_status)
            }
            _ => FailureKind::Misunderstood,
        };
        let why: String = error.to_string().chars().take(ERROR_CHARACTERS).collect();
        Over::new(kind, why)
    }
}

/// What only we and the server may know: the key, and what stands behind `?` in the address, where some have theirs.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    url: String,
    query: String,
    key: String,
}

impl Secrets {
    pub(super) fn of(way: &McpWay) -> Secrets {
        let McpWay::Http { url, key } = way else {
            return Secrets::default();
        };
        Secrets {
            url: url.clone(),
            query: url.split_once('?').unwrap_or_default().1.to_owned(),
            key: key.clone().unwrap_or_default(),
        }
    }

    /// The text without them.
    pub(super) fn taken_out(&self, mut text: String) -> String {
        if !self.query.is_empty() {
            let place = self.url.split_once('?').map_or("", |(place, _)| place);
            text = text.replace(&self.url, place).replace(&self.query, "…");
        }
        match self.key.is_empty() {
            true => text,
            false => text.replace(&self.key, "…"),
        }
    }
}

fn kind_of_status(status: StatusCode) -> FailureKind {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => FailureKind::NotAllowed,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYMENT_REQUIRED => FailureKind::Exhausted,
        status if status.is_server_error() => FailureKind::Failed,
        _ => FailureKind::Refused,
    }
}

/// The innermost reason: what is around it only says that something failed, and shows the whole URL.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match std::ptr::addr_eq(cause, error) {
        true => error.status().map_or_else(
            || "for no reason that is known".to_owned(),
            |status| status.to_string(),
        ),
        false => cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_out_wherever_they_stand() {
        let way = |url: &str, key: &str| McpWay::Http {
            url: url.to_owned(),
            key: Some(key.to_owned()),
        };
        let url = "https://mcp.example.com/mcp?api_key=sesame";
        let said = format!("error for url ({url}): api_key=sesame and open-up are unknown");
        assert_eq!(
            Secrets::of(&way(url, "open-up")).taken_out(said),
            "error for url (https://mcp.example.com/mcp): … and … are unknown"
        );
        let said = "nothing secret in https://mcp.example.com/mcp";
        let none = Secrets::of(&way("https://mcp.example.com/mcp", ""));
        assert_eq!(none.taken_out(said.to_owned()), said);
    }

    #[test]
    fn the_status_of_a_refusal_says_what_it_means() {
        for (said, kind) in [
            ("HTTP 401 Unauthorized: who?", FailureKind::NotAllowed),
            ("HTTP 404 Not Found: <html>", FailureKind::Refused),
            ("HTTP 500 Internal Server Error: {}", FailureKind::Failed),
            ("it said 401", FailureKind::Misunderstood),
        ] {
            let error = StreamableHttpError::UnexpectedServerResponse(said.into());
            let over = Over::of_http(&error);
            assert_eq!(over.kind, kind, "{said}");
            assert!(over.why.contains(said), "{}", over.why);
        }
    }
}
