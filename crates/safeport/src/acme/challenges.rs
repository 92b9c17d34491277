//! What the authority fetches for `http-01`: tokens and their answers, for the HTTP listeners.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Where the authority looks (RFC 8555 section 8.3); the token stands behind.
pub const PATH: &str = "/.well-known/acme-challenge/";

/// The tokens that are answered now. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Challenges(Arc<Mutex<HashMap<String, String>>>);

impl Challenges {
    /// None yet.
    pub fn new() -> Challenges {
        Challenges::default()
    }

    /// Answers `token` until what is returned is dropped.
    pub(super) fn answer_with(&self, token: &str, authorization: &str) -> Answered {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(token.to_owned(), authorization.to_owned());
        Answered {
            challenges: self.clone(),
            token: token.to_owned(),
        }
    }

    /// The answer to a token.
    pub fn answer(&self, token: &str) -> Option<String> {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(token).cloned()
    }

    /// The same as an HTTP response: the answer as `application/octet-stream`, or 404. An answer
    /// is no secret: whoever knows the token learns which account asks.
    pub fn response(&self, token: &str) -> Response {
        match self.answer(token) {
            Some(answer) => {
                let headers = [
                    (header::CONTENT_TYPE, "application/octet-stream"),
                    (header::CACHE_CONTROL, "no-store"),
                ];
                (headers, answer).into_response()
            }
            None => (StatusCode::NOT_FOUND, "no such challenge\n").into_response(),
        }
    }
}

/// One token that is answered.
#[derive(Debug)]
pub(super) struct Answered {
    challenges: Challenges,
    token: String,
}

impl Drop for Answered {
    fn drop(&mut self) {
        let mut tokens = self
            .challenges
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        tokens.remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_answered_while_its_order_is_under_way() {
        let challenges = Challenges::new();
        let answered = challenges.answer_with("token", "token.thumb");
        let response = challenges.response("token");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "application/octet-stream"
        );
        assert_eq!(challenges.response("other").status(), StatusCode::NOT_FOUND);
        drop(answered);
        assert_eq!(challenges.answer("token"), None);
    }
}
