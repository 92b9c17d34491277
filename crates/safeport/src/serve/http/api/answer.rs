//! The shape of answers: data, or `{"error": {"code", "what", "next", …}}`.

use std::fs::File;

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use safeport_store::StoreError;
use serde_json::{Value, json};

use crate::reading::ReadError;
use crate::say;
use crate::streamed;
use crate::text::{Language, Texts};

/// What was asked for.
pub(super) enum Answer {
    Json {
        status: StatusCode,
        body: Value,
    },
    /// The bytes of a file.
    File {
        file: File,
        length: u64,
        name: String,
        kind: &'static str,
    },
}

impl Answer {
    pub(super) fn ok(body: Value) -> Answer {
        Answer::Json {
            status: StatusCode::OK,
            body,
        }
    }

    /// Something new.
    pub(super) fn created(body: Value) -> Answer {
        Answer::Json {
            status: StatusCode::CREATED,
            body,
        }
    }

    /// Begun, and not known yet how it ends.
    pub(super) fn accepted(body: Value) -> Answer {
        Answer::Json {
            status: StatusCode::ACCEPTED,
            body,
        }
    }

    pub(super) fn file(file: File, length: u64, name: &str) -> Answer {
        Answer::File {
            file,
            length,
            name: name.to_owned(),
            kind: "application/octet-stream",
        }
    }

    /// A recording that players open.
    pub(super) fn sound(file: File, length: u64, name: String) -> Answer {
        Answer::File {
            file,
            length,
            name,
            kind: "audio/ogg",
        }
    }

    pub(super) fn response(self, language: Language) -> Response {
        match self {
            Answer::Json { status, body } => respond(status, Vec::new(), body, language),
            Answer::File {
                file,
                length,
                name,
                kind,
            } => {
                // Whatever stands in the name, it ends no header and leaves no quotes.
                let plain: String = name
                    .chars()
                    .map(|c| {
                        if c.is_ascii_graphic() && c != '"' && c != '\\' {
                            c
                        } else {
                            '_'
                        }
                    })
                    .collect();
                let headers = [
                    (header::CONTENT_TYPE, kind.to_owned()),
                    (header::CONTENT_LENGTH, length.to_string()),
                    (
                        header::CONTENT_DISPOSITION,
                        format!("attachment; filename=\"{plain}\""),
                    ),
                    (header::CACHE_CONTROL, "no-store".to_owned()),
                    (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
                ];
                (headers, streamed::of_file(file, length)).into_response()
            }
        }
    }
}

/// Why a request was not done.
pub(super) struct Refusal {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    error: Value,
}

impl Refusal {
    /// `code` is for programs, the rest for people.
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        what: String,
        next: String,
    ) -> Refusal {
        Refusal {
            status,
            headers: Vec::new(),
            error: json!({"code": code, "what": what, "next": next}),
        }
    }

    /// With a fact that programs may want.
    pub(super) fn with(mut self, name: &str, fact: Value) -> Refusal {
        self.error[name] = fact;
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Refusal {
        self.headers.push((name, value));
        self
    }

    pub(super) fn retry_after(self, seconds: u64) -> Refusal {
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    pub(super) fn nothing_here(texts: &Texts) -> Refusal {
        Refusal::new(
            StatusCode::NOT_FOUND,
            "nothing-here",
            say!(texts, "api-nothing-here"),
            say!(texts, "api-nothing-here-next"),
        )
    }

    pub(super) fn wrong_method(texts: &Texts) -> Refusal {
        Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "wrong-method",
            say!(texts, "api-wrong-method"),
            say!(texts, "api-nothing-here-next"),
        )
    }

    /// A part of the server that this one does not run.
    pub(super) fn not_served(texts: &Texts) -> Refusal {
        Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not-served",
            say!(texts, "api-not-served"),
            say!(texts, "api-not-served-next"),
        )
    }

    /// Too many requests at once.
    pub(super) fn busy(texts: &Texts) -> Refusal {
        Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            say!(texts, "api-busy"),
            say!(texts, "api-busy-next"),
        )
        .retry_after(1)
    }

    /// A request that cannot be understood.
    pub(super) fn bad_request(what: String, texts: &Texts) -> Refusal {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "bad-request",
            what,
            say!(texts, "api-bad-request-next"),
        )
    }

    pub(super) fn slow_body(language: Language) -> Refusal {
        let texts = Texts::new(language);
        Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "slow-body",
            say!(texts, "api-slow-body"),
            say!(texts, "api-bad-request-next"),
        )
    }

    /// A body that is too long or did not come.
    pub(super) fn bad_body(error: &axum::Error, limit: usize, language: Language) -> Refusal {
        let texts = Texts::new(language);
        let is_too_long = std::error::Error::source(error)
            .is_some_and(|source| source.to_string().contains("length limit"));
        if !is_too_long {
            let what = say!(texts, "api-broken-body", error = error);
            return Refusal::bad_request(what, &texts);
        }
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            say!(texts, "api-too-large", kib = limit / 1024),
            say!(texts, "api-too-large-next"),
        )
    }

    /// A thread of ours that did not come to its end.
    pub(super) fn broken(language: Language) -> Refusal {
        let texts = Texts::new(language);
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "broken",
            say!(texts, "api-broken"),
            say!(texts, "api-failed-next"),
        )
    }

    /// Everything that is wrong with what was asked for, or with the files as they are.
    pub(super) fn problems(problems: Vec<Value>, texts: &Texts) -> Refusal {
        Refusal::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "problems",
            say!(texts, "api-problems", count = problems.len()),
            say!(texts, "api-problems-next"),
        )
        .with("problems", Value::Array(problems))
    }

    pub(super) fn of_read(error: &ReadError, texts: &Texts) -> Refusal {
        let problems = error.problems(texts);
        if !problems.is_empty() {
            return Refusal::problems(problems, texts);
        }
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "unreadable",
            error.failure(texts, false).one_text(),
            say!(texts, "api-failed-next"),
        )
    }

    pub(super) fn of_store(error: &StoreError, texts: &Texts) -> Refusal {
        match error {
            StoreError::RevisionConflict {
                key,
                scope,
                base,
                theirs,
                their_author,
                their_at,
                yours,
            } => Refusal::new(
                StatusCode::CONFLICT,
                "conflict",
                say!(
                    texts,
                    "change-conflict",
                    key = key,
                    base = base,
                    theirs = theirs,
                    author = their_author,
                    yours = yours
                ),
                say!(texts, "api-conflict-next", theirs = theirs),
            )
            .with("key", json!(key))
            .with("scope", json!(scope.to_string()))
            .with("base", json!(base))
            .with(
                "theirs",
                json!({"revision": theirs, "who": their_author, "at": their_at}),
            )
            .with("yours", json!({"who": yours})),
            StoreError::ChangePending {
                id,
                who,
                at,
                state,
                confirm_by,
            } => Refusal::new(
                StatusCode::LOCKED,
                "pending",
                say!(texts, "change-pending", revision = id, who = who),
                say!(texts, "api-pending-next", revision = id),
            )
            .with(
                "pending",
                json!({
                    "revision": id,
                    "who": who,
                    "at": at,
                    "state": state.word(),
                    "confirm_by": confirm_by,
                }),
            )
            .retry_after(1),
            StoreError::Changing { .. } => Refusal::new(
                StatusCode::LOCKED,
                "changing",
                say!(texts, "api-changing"),
                say!(texts, "api-busy-next"),
            )
            .retry_after(1),
            StoreError::NoRevision { id } => Refusal::new(
                StatusCode::NOT_FOUND,
                "unknown-revision",
                say!(texts, "revision-unknown", revision = id),
                say!(texts, "api-revisions-next"),
            ),
            StoreError::RevisionFolded { id, oldest } => Refusal::new(
                StatusCode::GONE,
                "folded-revision",
                say!(texts, "revision-folded", revision = id, oldest = oldest),
                say!(texts, "api-revisions-next"),
            ),
            _ => {
                if let Some(refusal) = Refusal::of_names(error, texts) {
                    return refusal;
                }
                let status = match error {
                    StoreError::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
                    StoreError::Full { .. } => StatusCode::INSUFFICIENT_STORAGE,
                    _ => StatusCode::INTERNAL_SERVER_ERROR,
                };
                Refusal::new(
                    status,
                    "registry",
                    format!("{}: {error}", say!(texts, "registry-failed")),
                    say!(texts, "api-failed-next"),
                )
            }
        }
    }

    pub(super) fn response(self, language: Language) -> Response {
        let body = json!({"error": self.error});
        respond(self.status, self.headers, body, language)
    }
}

fn respond(
    status: StatusCode,
    more: Vec<(HeaderName, HeaderValue)>,
    body: Value,
    language: Language,
) -> Response {
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_LANGUAGE, language.tag()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, HeaderMap::from_iter(more), Json(body)).into_response()
}
