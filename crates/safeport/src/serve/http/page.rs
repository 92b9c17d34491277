//! The frame of every page, in the reader's language.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::text::{Language, Texts};

/// A page for a person.
pub(super) struct Page<'a> {
    pub(super) status: StatusCode,
    pub(super) title: &'a str,
    /// HTML; whatever comes from outside went through [`escaped`].
    pub(super) body: &'a str,
    /// What the page may do beside showing text (`Content-Security-Policy`).
    pub(super) may: &'a str,
}

impl Page<'_> {
    pub(super) fn response(&self, language: Language) -> Response {
        let lang = language.tag();
        let title = escaped(self.title);
        let body = self.body;
        let page = format!(
            "<!doctype html>\n<html lang=\"{lang}\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
             <h1>{title}</h1>\n{body}</html>\n"
        );
        let may = format!("default-src 'none'; frame-ancestors 'none'; {}", self.may);
        let headers = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, may.as_str()),
            (header::VARY, "Accept, Accept-Language"),
            (header::CACHE_CONTROL, "no-store"),
            // Addresses of pages may carry a token.
            (header::REFERRER_POLICY, "no-referrer"),
        ];
        (self.status, headers, page).into_response()
    }
}

/// The messages for whoever sent these headers.
pub(super) fn texts(headers: &HeaderMap) -> Texts {
    let language: Language = headers
        .get(header::ACCEPT_LANGUAGE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split([',', ';']).next())
        .and_then(|first| first.trim().parse().ok())
        .unwrap_or_default();
    Texts::new(language)
}

/// Whether these headers come from a browser, which asks for HTML by name; `curl` does not.
pub(super) fn wants_html(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}

/// `text` as it may stand in HTML, between tags and inside quoted attributes.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_name_cannot_write_html() {
        assert_eq!(escaped("<b>\"&'"), "&lt;b&gt;&quot;&amp;&#39;");
    }
}
