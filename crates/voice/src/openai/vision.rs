//! Pictures: a chat model that sees.

use serde_json::{Map, Value, json};

use super::chat::{FUNCTION, Listener, ask};
use super::exchange::{Exchange, Service};
use super::{Endpoint, EndpointError};
use crate::limits::PICTURE_BYTES;
use crate::provider::{Eye, FailureKind, Job, Stage};

/// A model that sees, behind `POST {url}/chat/completions`, with the picture in the request.
#[derive(Debug)]
pub struct OpenAiEye {
    service: Service,
}

impl OpenAiEye {
    /// Without asking anything yet.
    ///
    /// # Errors
    /// When its URL is none.
    pub fn new(endpoint: Endpoint) -> Result<OpenAiEye, EndpointError> {
        Ok(OpenAiEye {
            service: Service::new(endpoint, Stage::Eye, FUNCTION)?,
        })
    }
}

impl Eye for OpenAiEye {
    fn look<'a>(&'a self, question: &'a str, kind: &'a str, picture: Vec<u8>) -> Job<'a, String> {
        Box::pin(async move {
            let size = picture.len();
            if size == 0 || size > PICTURE_BYTES {
                let detail = format!(
                    "a picture of {size} bytes is not sent; it may have 1 to {PICTURE_BYTES}"
                );
                return Err(self.service.failure(FailureKind::Refused, detail));
            }
            let body = body(&self.service.endpoint, question, kind, &picture);
            drop(picture);
            let mut exchange = Exchange::new(&self.service);
            loop {
                let mut text = String::new();
                let mut listener = Listener::Text(&mut text);
                let asked = ask(&self.service, &mut exchange, &body, 0, &mut listener).await;
                let missed = match asked {
                    Ok(()) if !text.trim().is_empty() => return Ok(text.trim().to_string()),
                    Ok(()) => {
                        let seen = "the answer has no text";
                        self.service.misread(FailureKind::Misunderstood, seen)
                    }
                    Err(miss) => miss,
                };
                exchange.ask_again(missed, false).await?;
            }
        })
    }
}

fn body(endpoint: &Endpoint, question: &str, kind: &str, picture: &[u8]) -> Value {
    let url = format!("data:{kind};base64,{}", base64(picture));
    let content = json!([
        { "type": "text", "text": question },
        { "type": "image_url", "image_url": { "url": url } },
    ]);
    let mut body = Map::new();
    body.insert("model".into(), endpoint.model.as_str().into());
    body.insert(
        "messages".into(),
        json!([{ "role": "user", "content": content }]),
    );
    body.insert("stream".into(), false.into());
    body.extend(endpoint.extra.clone());
    body.into()
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group
            .iter()
            .zip([16, 8, 0])
            .fold(0u32, |word, (byte, shift)| word | u32::from(*byte) << shift);
        for (position, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let digit = ALPHABET[(word >> shift) as usize & 63];
            text.push(if position <= group.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    text
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests;
