//! Services that speak as OpenAI's does: chat, transcription, speech and pictures over HTTP.
//!
//! Whoever serves models has this interface, and nobody quite the same. So all of it is read as what it may have meant:
//! an answer that comes whole though a stream was asked for, calls without numbers, an error with status 200. What is
//! read lies in values of its own, without a socket ([`AnswerReader`], [`SoundReader`]); one connection's errands and
//! what its failures mean are in `exchange` and `refusal`.

use std::fmt;
use std::time::Duration;

use reqwest::Url;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::dial::Dial;

mod chat;
mod exchange;
mod refusal;
mod speech;
mod transcription;
mod vision;

#[cfg(test)]
mod stub;

pub use chat::{AnswerError, AnswerReader, OpenAiChat};
pub use speech::{NoFormat, OpenAiSpeech, SoundReader, SpeechFormat, SpeechStyle, UnreadableSound};
pub use transcription::OpenAiTranscription;
pub use vision::OpenAiEye;

/// Where a service is and how it is asked.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The provider's name in the settings.
    pub provider: Box<str>,
    /// The base URL, `https://host/v1`, with or without a slash at its end. A query stays.
    pub url: String,
    /// `None`: services of one's own often want none.
    pub key: Option<ApiKey>,
    /// Which of its models.
    pub model: String,
    /// Members of the request beside those of OpenAI (`"enable_thinking": false`), or instead of them.
    pub extra: Map<String, Value>,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// What connections are made with.
    pub dial: Dial,
}

impl Endpoint {
    /// The address of one of its functions, such as `chat/completions`.
    fn address(&self, function: &str) -> Result<Url, EndpointError> {
        let mut url = Url::parse(self.url.trim()).map_err(|_| EndpointError::NoUrl)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(EndpointError::NoUrl);
        }
        if self.key.is_some() {
            // The key and a password would both want the same header.
            let _ = url.set_username("");
            let _ = url.set_password(None);
        }
        let base = url.path().trim_end_matches('/');
        // Some write the whole address of the function that they want.
        let path = match base.ends_with(function) {
            true => base.to_string(),
            false => format!("{base}/{function}"),
        };
        url.set_path(&path);
        url.set_fragment(None);
        Ok(url)
    }
}

/// Why a provider cannot be set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EndpointError {
    /// The base URL is none.
    // It is not shown: it may hold a password.
    #[error(
        "the provider's url is no address of HTTP; write it with http:// or https://, as in `https://host/v1`"
    )]
    NoUrl,
}

/// What lets us in. Shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(Box<str>);

impl ApiKey {
    /// As it goes behind `Authorization: Bearer`.
    pub fn new(key: impl Into<String>) -> ApiKey {
        ApiKey(key.into().into_boxed_str())
    }

    /// For the request itself; never to be written anywhere.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(key)")
    }
}

/// How long a service may take. Only waiting for the service counts, not for whoever listens to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From the request to the first byte of the answer. Default 30 s.
    pub first: Duration,
    /// From one piece of the answer to the next. Default 15 s.
    pub between: Duration,
    /// For everything, asking again included. Default 60 s.
    pub whole: Duration,
}

impl Timeouts {
    /// So much for everything. The first byte may take all of it: some do not begin before they are done.
    pub fn within(whole: Duration) -> Timeouts {
        Timeouts {
            first: whole,
            between: Timeouts::default().between.min(whole),
            whole,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            first: Duration::from_secs(30),
            between: Duration::from_secs(15),
            whole: Duration::from_secs(60),
        }
    }
}

#[cfg(test)]
mod tests;
