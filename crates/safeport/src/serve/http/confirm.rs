//! The page that keeps a change which could have locked everybody out: who can open it over the
//! new address has shown that the address works.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::caller::Caller;
use super::page::{Page, texts, wants_html};
use super::{Confirmed, Site};
use crate::say;

/// Path of the page: `PATH` + token. GET asks, POST keeps the change.
pub const PATH: &str = "/.well-known/safeport/confirm/";

/// Asks. It changes nothing, since programs that preview links open them too.
pub(super) async fn ask(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let texts = texts(&headers);
    let question = say!(texts, "confirm-question");
    let button = say!(texts, "confirm-button");
    if !wants_html(&headers) {
        return format!("{question}\n{}\n", say!(texts, "confirm-by-post")).into_response();
    }
    let page = Page {
        status: StatusCode::OK,
        title: &site.settings().name,
        // Without `action` the form comes back to the address that this page was opened by.
        body: &format!(
            "<p>{question}</p>\n<form method=\"post\"><button>{button}</button></form>\n"
        ),
        may: "form-action 'self'",
    };
    page.response(texts.language())
}

/// Keeps the change.
pub(super) async fn keep(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Response {
    let texts = texts(&headers);
    let (asked, at) = (site.clone(), caller.local);
    // Whoever holds the change may be in the middle of one.
    let confirmed = tokio::task::spawn_blocking(move || asked.confirm.confirm(&token, at)).await;
    let (status, text) = match confirmed {
        Ok(Confirmed::Kept) => (StatusCode::OK, say!(texts, "confirm-kept")),
        Ok(Confirmed::Unknown) => (StatusCode::NOT_FOUND, say!(texts, "confirm-unknown")),
        Ok(Confirmed::Late) => (StatusCode::GONE, say!(texts, "confirm-late")),
        Ok(Confirmed::OldAddress) => (
            StatusCode::MISDIRECTED_REQUEST,
            say!(texts, "confirm-old-address"),
        ),
        Err(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            say!(texts, "confirm-failed"),
        ),
    };
    if !wants_html(&headers) {
        return (status, format!("{text}\n")).into_response();
    }
    let page = Page {
        status,
        title: &site.settings().name,
        body: &format!("<p>{text}</p>\n"),
        may: "",
    };
    page.response(texts.language())
}
