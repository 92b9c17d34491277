//! Transcription: what somebody said goes out as one WAV, its text comes back.

use reqwest::Body;
use reqwest::multipart::{Form, Part};
use serde_json::Value;

use super::exchange::{Exchange, Miss, Service, refusal_in};
use super::refusal::is_page;
use super::{Endpoint, EndpointError};
use crate::limits::{SPEECH_SAMPLES, TRANSCRIPT_BYTES};
use crate::provider::{FailureKind, Job, Recognizer, Speech, Stage, Transcript};
use crate::wav::wav;

/// A recogniser behind `POST {url}/audio/transcriptions`.
///
/// It takes what is said as a whole, so it begins when somebody has finished. At most two
/// minutes ([`SPEECH_SAMPLES`]) are sent.
#[derive(Debug)]
pub struct OpenAiTranscription {
    service: Service,
}

impl OpenAiTranscription {
    /// Without asking anything yet.
    ///
    /// # Errors
    /// When its URL is none.
    pub fn new(endpoint: Endpoint) -> Result<OpenAiTranscription, EndpointError> {
        Ok(OpenAiTranscription {
            service: Service::new(endpoint, Stage::Recognizer, "audio/transcriptions")?,
        })
    }

    async fn ask(
        &self,
        exchange: &mut Exchange<'_>,
        sound: &[u8],
        language: Option<&str>,
    ) -> Result<Transcript, Miss> {
        let form = self.form(sound, language);
        let mut reply = exchange.post(|request| request.multipart(form)).await?;
        let body = exchange.whole(&mut reply, TRANSCRIPT_BYTES).await?;
        let text = self.text(&body)?;
        Ok(Transcript {
            text: without_marks(&text),
        })
    }

    fn form(&self, sound: &[u8], language: Option<&str>) -> Form {
        let length = sound.len() as u64;
        let file = Part::stream_with_length(Body::from(sound.to_vec()), length);
        let file = file.file_name("speech.wav");
        let file = file.mime_str("audio/wav").expect("a media type");
        let endpoint = &self.service.endpoint;
        let mut fields = vec![
            ("model", endpoint.model.clone()),
            ("response_format", "json".to_string()),
        ];
        if let Some(language) = language.and_then(language_code) {
            fields.push(("language", language));
        }
        fields.retain(|(name, _)| !endpoint.extra.contains_key(*name));
        let extra = endpoint.extra.iter().filter(|(_, value)| !value.is_null());
        let extra = extra.map(|(name, value)| match value {
            Value::String(text) => (name.as_str(), text.clone()),
            value => (name.as_str(), value.to_string()),
        });
        let fields = fields.into_iter().chain(extra);
        // The file last: some servers stop reading fields at it.
        let form = fields.fold(Form::new(), |form, (name, value)| {
            form.text(name.to_string(), value)
        });
        form.part("file", file)
    }

    /// The text of an answer in JSON, or one that is nothing but text.
    fn text(&self, body: &[u8]) -> Result<String, Miss> {
        if let Some(refusal) = refusal_in(body) {
            return Err(self.service.misread(refusal.kind, &refusal.words));
        }
        let strange = |seen: &str| Err(self.service.misread(FailureKind::Misunderstood, seen));
        if is_page(body) && !body.trim_ascii_start().starts_with(b"<|") {
            return strange("it answered with a web page");
        }
        let plain = String::from_utf8_lossy(body);
        match serde_json::from_slice(body) {
            Ok(Value::String(text)) => Ok(text),
            Ok(Value::Object(answer)) => match answer.get("text") {
                Some(Value::String(text)) => Ok(text.clone()),
                Some(Value::Null) => Ok(String::new()),
                _ => strange(&format!("there is no text in its answer: {plain}")),
            },
            // A number, for instance, is what somebody said.
            _ if !plain.trim_start().starts_with('{') => Ok(plain.into_owned()),
            _ => strange(&format!("its answer is no JSON: {plain}")),
        }
    }
}

impl Recognizer for OpenAiTranscription {
    fn recognize<'a>(
        &'a self,
        mut speech: Speech,
        language: Option<&'a str>,
    ) -> Job<'a, Transcript> {
        Box::pin(async move {
            let mut samples = Vec::new();
            while let Some(piece) = speech.next().await {
                let room = SPEECH_SAMPLES - samples.len();
                samples.extend_from_slice(&piece[..room.min(piece.len())]);
            }
            if samples.is_empty() {
                return Ok(Transcript::default());
            }
            let sound = wav(16_000, &samples);
            drop(samples);
            let mut exchange = Exchange::new(&self.service);
            loop {
                match self.ask(&mut exchange, &sound, language).await {
                    Ok(transcript) => return Ok(transcript),
                    Err(miss) => exchange.ask_again(miss, false).await?,
                }
            }
        })
    }
}

/// ISO 639-1, as the interface wants it: `zh` of `zh-CN`.
fn language_code(language: &str) -> Option<String> {
    let code = language.split(['-', '_']).next().unwrap_or_default();
    (!code.is_empty()).then(|| code.to_ascii_lowercase())
}

/// Without the marks of SenseVoice: `<|zh|><|NEUTRAL|><|Speech|><|withitn|>`.
pub(crate) fn without_marks(text: &str) -> String {
    let mut rest = text;
    let mut words = String::new();
    while let Some(at) = rest.find("<|") {
        words.push_str(&rest[..at]);
        rest = &rest[at..];
        let mark = rest[2..].find("|>").filter(|&length| {
            let name = &rest[2..2 + length];
            length <= MARK_BYTES && !name.contains(['<', '\n'])
        });
        let used = mark.map_or(2, |length| length + 4);
        if mark.is_none() {
            words.push_str(&rest[..2]);
        }
        rest = &rest[used..];
    }
    words.push_str(rest);
    words.trim().to_string()
}

/// The longest name of a mark.
const MARK_BYTES: usize = 32;

#[cfg(test)]
mod tests;
