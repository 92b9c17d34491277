//! Speech that an idle xiaozhi device was told to fetch. Firmware asks once, follows no redirection and brings no login:
//! the name of the file is what it knows alone.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Site;

/// Gives out a file, and notes that it was fetched.
pub(super) async fn fetch(
    State(site): State<Arc<Site>>,
    method: Method,
    Path(name): Path<String>,
) -> Response {
    let notices = site.voice.as_ref().map(|voice| voice.notices());
    // Who asks for the head alone plays nothing.
    let file = notices.and_then(|notices| notices.file(&name, method == Method::GET));
    match file {
        Some(file) => {
            let headers = [
                (header::CONTENT_TYPE, "audio/ogg"),
                (header::CACHE_CONTROL, "no-store"),
            ];
            (headers, file).into_response()
        }
        None => (
            StatusCode::NOT_FOUND,
            "there is no such file; one lies here only until its device has played it\n",
        )
            .into_response(),
    }
}
