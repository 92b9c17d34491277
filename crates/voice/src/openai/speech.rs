//! Speech: a sentence out, its sound back while it is made.

use std::str::FromStr;

use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::exchange::{Exchange, Miss, Reply, Service, refusal_in};
use super::refusal::{is_page, words_of};
use super::{Endpoint, EndpointError};
use crate::limits::ERROR_BODY_BYTES;
use crate::provider::{FailureKind, Job, Sound, Stage, Synthesizer};

mod ogg;
mod sound;

pub use sound::{SoundReader, UnreadableSound};

/// A voice behind `POST {url}/audio/speech`.
#[derive(Debug)]
pub struct OpenAiSpeech {
    service: Service,
    style: SpeechStyle,
}

/// How it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpeechStyle {
    /// The name that the service has for the voice; empty: none is asked for.
    pub voice: String,
    /// What the sound comes as.
    pub format: SpeechFormat,
}

/// What sound comes as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpeechFormat {
    /// Bare samples, 16-bit, mono. They do not say their rate; the service's words of it are believed before these.
    Pcm {
        /// Samples a second, 8,000 to 48,000. OpenAI: 24,000.
        rate: u32,
    },
    /// Samples that say their rate.
    Wav,
    /// Opus in Ogg. The packets are handed on as they are.
    Opus,
}

impl SpeechFormat {
    /// As the interface calls it.
    fn word(self) -> &'static str {
        match self {
            SpeechFormat::Pcm { .. } => "pcm",
            SpeechFormat::Wav => "wav",
            SpeechFormat::Opus => "opus",
        }
    }
}

impl Default for SpeechFormat {
    /// Bare samples, 24,000 a second: nothing has to be decoded, and nothing comes late.
    fn default() -> SpeechFormat {
        SpeechFormat::Pcm { rate: 24_000 }
    }
}

impl FromStr for SpeechFormat {
    type Err = NoFormat;

    /// `pcm`, `pcm@16000`, `wav` or `opus`; nothing is the default.
    fn from_str(text: &str) -> Result<SpeechFormat, NoFormat> {
        match text.trim() {
            "" | "pcm" => Ok(SpeechFormat::default()),
            "wav" => Ok(SpeechFormat::Wav),
            "opus" => Ok(SpeechFormat::Opus),
            text => {
                let rate = text.strip_prefix("pcm@").and_then(|rate| rate.parse().ok());
                let rate = rate.filter(|rate| sound::RATES.contains(rate));
                rate.map(|rate| SpeechFormat::Pcm { rate }).ok_or(NoFormat)
            }
        }
    }
}

/// A word that is no format of speech.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the format of speech is `pcm` (24,000 samples a second), `pcm@16000` (another number of 8,000 to 48,000), `wav` or `opus`"
)]
pub struct NoFormat;

impl OpenAiSpeech {
    /// Without asking anything yet.
    ///
    /// # Errors
    /// When its URL is none.
    pub fn new(endpoint: Endpoint, style: SpeechStyle) -> Result<OpenAiSpeech, EndpointError> {
        Ok(OpenAiSpeech {
            service: Service::new(endpoint, Stage::Synthesizer, "audio/speech")?,
            style,
        })
    }

    async fn ask(
        &self,
        exchange: &mut Exchange<'_>,
        body: &Value,
        sound: &mpsc::Sender<Sound>,
        handed: &mut bool,
    ) -> Result<(), Miss> {
        let mut reply = exchange.post(|request| request.json(body)).await?;
        let mut piece = exchange.piece(&mut reply).await?;
        if says_words(&reply, piece.as_deref().unwrap_or_default()) {
            let begun = piece.unwrap_or_default();
            return Err(self.words_instead(exchange, &mut reply, begun).await);
        }
        let mut reader = SoundReader::new(told_format(self.style.format, &reply));
        let mut pieces = Vec::new();
        loop {
            let read = match &piece {
                Some(bytes) => reader.feed(bytes, &mut pieces),
                None => reader.finish(),
            };
            for piece in pieces.drain(..) {
                *handed = true;
                if sound.send(piece).await.is_err() {
                    return Ok(());
                }
            }
            read.map_err(|error| self.service.misread(error.kind(), &error.to_string()))?;
            if piece.is_none() {
                return Ok(());
            }
            piece = exchange.piece(&mut reply).await?;
        }
    }

    /// The failure that an answer in words means.
    async fn words_instead(
        &self,
        exchange: &mut Exchange<'_>,
        reply: &mut Reply,
        begun: Vec<u8>,
    ) -> Miss {
        let mut body = begun;
        while body.len() < ERROR_BODY_BYTES {
            match exchange.piece(reply).await {
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) | Err(_) => break,
            }
        }
        body.truncate(ERROR_BODY_BYTES);
        if let Some(refusal) = refusal_in(&body) {
            return self.service.misread(refusal.kind, &refusal.words);
        }
        let what = match is_page(&body) {
            true => "it answered with a web page instead of sound",
            false => "it answered with words instead of sound",
        };
        let seen = format!("{what}: {}", words_of(&body));
        self.service.misread(FailureKind::Misunderstood, &seen)
    }
}

impl Synthesizer for OpenAiSpeech {
    fn speak<'a>(
        &'a self,
        text: &'a str,
        _language: Option<&'a str>,
        sound: mpsc::Sender<Sound>,
    ) -> Job<'a, ()> {
        Box::pin(async move {
            let body = body(&self.service.endpoint, &self.style, text);
            let mut exchange = Exchange::new(&self.service);
            loop {
                let mut handed = false;
                match self.ask(&mut exchange, &body, &sound, &mut handed).await {
                    Ok(()) => return Ok(()),
                    Err(miss) => exchange.ask_again(miss, handed).await?,
                }
            }
        })
    }
}

fn body(endpoint: &Endpoint, style: &SpeechStyle, text: &str) -> Value {
    let mut body = Map::new();
    body.insert("model".into(), endpoint.model.as_str().into());
    body.insert("input".into(), text.into());
    if !style.voice.is_empty() {
        body.insert("voice".into(), style.voice.as_str().into());
    }
    body.insert("response_format".into(), style.format.word().into());
    body.extend(endpoint.extra.clone());
    body.into()
}

/// Whether an answer is words and no sound.
fn says_words(reply: &Reply, begun: &[u8]) -> bool {
    let kind = reply.content_type();
    // Sound may begin with any bytes, so they only tell if nothing else does.
    let by_bytes = kind.is_empty() && matches!(begun.trim_ascii_start().first(), Some(b'{' | b'<'));
    by_bytes || kind.contains("json") || kind.contains("xml") || kind.starts_with("text/")
}

/// What was asked for, with the rate that the answer says.
fn told_format(asked: SpeechFormat, reply: &Reply) -> SpeechFormat {
    let rate = reply.content_parameter("rate");
    let rate = rate.and_then(|rate| rate.parse().ok());
    match (asked, rate.filter(|rate| sound::RATES.contains(rate))) {
        (SpeechFormat::Pcm { .. }, Some(rate)) => SpeechFormat::Pcm { rate },
        (asked, _) => asked,
    }
}

#[cfg(test)]
mod tests;
