//! The head of a request for a file.

use crate::limits::HTTP_HEADERS;

use super::PATH;

/// What of a head matters here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// HEAD instead of GET.
    pub(super) is_head: bool,
    /// HTTP/1.0: answered in kind, and closed.
    pub(super) is_old: bool,
    pub(super) keep_alive: bool,
    pub(super) token: String,
    pub(super) file: String,
    pub(super) headers: Vec<(String, String)>,
}

/// Why a head is no request for a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadHead {
    /// Not HTTP/1.
    Malformed,
    /// More header lines than are read.
    Headers,
    /// HTTP, but with a method that files do not have.
    Method,
    /// No token and file, or with characters that none has.
    Path,
}

/// Whether what a connection says next looks like a request for a file; `None` if more is needed.
pub(super) fn wants_file(bytes: &[u8]) -> Option<bool> {
    let mut undecided = false;
    for method in ["GET ", "HEAD "] {
        let wanted = method.bytes().chain(PATH.bytes());
        if bytes.iter().copied().zip(wanted).all(|(a, b)| a == b) {
            if bytes.len() >= method.len() + PATH.len() {
                return Some(true);
            }
            undecided = true;
        }
    }
    (!undecided).then_some(false)
}

/// Where the head ends, behind its empty line; lines may end without a carriage return (RFC 9112
/// §2.2).
pub(super) fn end_of(bytes: &[u8]) -> Option<usize> {
    let ends = |at: usize| match &bytes[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    };
    let mut lines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    lines.find_map(|(at, _)| ends(at))
}

impl Head {
    /// Reads a whole head.
    pub(super) fn read(bytes: &[u8]) -> Result<Head, BadHead> {
        let mut headers = [httparse::EMPTY_HEADER; HTTP_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(bytes) {
            Ok(httparse::Status::Complete(_)) => {}
            Err(httparse::Error::TooManyHeaders) => return Err(BadHead::Headers),
            Ok(httparse::Status::Partial) | Err(_) => return Err(BadHead::Malformed),
        }
        let is_head = match request.method {
            Some("GET") => false,
            Some("HEAD") => true,
            _ => return Err(BadHead::Method),
        };
        let is_old = request.version == Some(0);
        let (token, file) = split(request.path.unwrap_or_default()).ok_or(BadHead::Path)?;
        let (token, file) = (token.to_owned(), file.to_owned());
        let headers: Vec<(String, String)> = request
            .headers
            .iter()
            .map(|header| {
                let value = String::from_utf8_lossy(header.value).into_owned();
                (header.name.to_owned(), value)
            })
            .collect();
        let all = |name: &'static str| {
            let named = headers
                .iter()
                .filter(move |(known, _)| known.eq_ignore_ascii_case(name));
            named.map(|(_, value)| value.as_str())
        };
        let mut options = all("connection").flat_map(|value| value.split(','));
        let closes = options.any(|option| option.trim().eq_ignore_ascii_case("close"));
        // A request for a file needs no body. Were the bytes behind this one taken for the next
        // request, a proxy that keeps connections would give the answer to somebody else.
        let has_body = all("content-length").any(|length| length.trim() != "0")
            || all("transfer-encoding").next().is_some();
        // Who speaks 1.0 and asks to stay would have to be told so; no device does.
        let keep_alive = !is_old && !closes && !has_body;
        Ok(Head {
            is_head,
            is_old,
            keep_alive,
            token,
            file,
            headers,
        })
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(&found.1)
    }
}

/// Token and file of a path. Nothing is unescaped: no name of ours needs it.
pub(super) fn split(path: &str) -> Option<(&str, &str)> {
    let path = path.split('?').next()?;
    let (token, file) = path.strip_prefix(PATH)?.split_once('/')?;
    (is_token(token) && is_file(file)).then_some((token, file))
}

/// 96 bits in lower-case base32.
pub(super) fn is_token(text: &str) -> bool {
    text.len() == 20 && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
}

/// A plain name that leads nowhere else.
pub(super) fn is_file(text: &str) -> bool {
    (1..=100).contains(&text.len())
        && !text.starts_with('.')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'+'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "aaaabbbbccccdddd2345";

    #[test]
    fn a_tasmota_s_request_is_read_with_its_headers() {
        let text = format!(
            "GET /ota/{TOKEN}/tasmota32-safeboot.bin HTTP/1.0\r\nHost: 192.168.1.2:8002\r\n\
             User-Agent: ESP32-http-Update\r\nConnection: close\r\n\
             x-ESP32-version: 14.3.0(release-safeboot)\r\n\r\n"
        );
        let head = Head::read(text.as_bytes()).unwrap();
        assert_eq!(
            (head.token.as_str(), head.file.as_str()),
            (TOKEN, "tasmota32-safeboot.bin")
        );
        assert!(head.is_old && !head.keep_alive && !head.is_head);
        assert_eq!(
            head.header("x-esp32-version"),
            Some("14.3.0(release-safeboot)")
        );
    }

    #[test]
    fn a_connection_is_kept_when_http_1_1_does_not_close_it() {
        for (version, connection, kept) in [
            ("1.1", "", true),
            ("1.1", "Connection: close\r\n", false),
            ("1.1", "Connection: Keep-Alive\r\n", true),
            ("1.1", "Connection: TE, Close\r\nTE: trailers\r\n", false),
            ("1.1", "Content-Length: 0\r\n", true),
            ("1.0", "Connection: keep-alive\r\n", false),
        ] {
            let text =
                format!("HEAD /ota/{TOKEN}/a.bin HTTP/{version}\r\nHost: h\r\n{connection}\r\n");
            let head = Head::read(text.as_bytes()).unwrap();
            assert_eq!(head.keep_alive, kept, "{text}");
            assert!(head.is_head);
        }
    }

    #[test]
    fn what_follows_a_request_with_a_body_is_never_taken_for_another_request() {
        for body in [
            "Content-Length: 5",
            "content-length: 0\r\nContent-Length: 5",
            "Content-Length: ?",
            "Transfer-Encoding: chunked",
            "Transfer-Encoding: identity",
        ] {
            let text = format!("GET /ota/{TOKEN}/a.bin HTTP/1.1\r\nHost: h\r\n{body}\r\n\r\n");
            assert!(!Head::read(text.as_bytes()).unwrap().keep_alive, "{body}");
        }
    }

    #[test]
    fn a_head_ends_with_its_empty_line_however_its_lines_end() {
        for (text, end) in [
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\nrest", Some(27)),
            ("GET / HTTP/1.1\nHost: h\n\nrest", Some(24)),
            ("GET / HTTP/1.1\nHost: h\n\r\n", Some(25)),
            ("GET / HTTP/1.1\r\nHost: h\r\n\r", None),
            ("GET / HTTP/1.1\r\n", None),
            ("", None),
        ] {
            assert_eq!(end_of(text.as_bytes()), end, "{text:?}");
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_none() {
        for path in [
            "/ota/",
            "/ota//a.bin",
            &format!("/ota/{TOKEN}"),
            &format!("/ota/{TOKEN}/"),
            &format!("/ota/{TOKEN}/../a.bin"),
            &format!("/ota/{TOKEN}/.."),
            &format!("/ota/{TOKEN}/%2e%2e"),
            &format!("/ota/{TOKEN}/a/b.bin"),
            &format!("/ota/{TOKEN}/a\\b.bin"),
            &format!("/ota/../{TOKEN}/a.bin"),
            &format!("/ota/{}/a.bin", TOKEN.to_uppercase()),
            &format!("/ota/{TOKEN}a/a.bin"),
            &format!("/ota/{TOKEN}/{}", "a".repeat(101)),
        ] {
            assert_eq!(split(path), None, "{path}");
        }
        let fine = format!("/ota/{TOKEN}/tasmota32c3.bin?x=1");
        assert_eq!(split(&fine), Some((TOKEN, "tasmota32c3.bin")));
    }

    #[test]
    fn what_begins_like_a_request_for_a_file_is_known_as_soon_as_it_can_be() {
        assert_eq!(wants_file(b"GET /ota/abc"), Some(true));
        assert_eq!(wants_file(b"HEAD /ota/"), Some(true));
        for open in ["", "G", "GET /o", "HEAD /ota"] {
            assert_eq!(wants_file(open.as_bytes()), None, "{open}");
        }
        for other in ["GET /otb/", "POST /ota/", "GET / HTTP/1.1", "HEAD  /ota/"] {
            assert_eq!(wants_file(other.as_bytes()), Some(false), "{other}");
        }
    }

    #[test]
    fn more_header_lines_than_are_read_are_told_from_what_is_no_request() {
        let head = |headers: usize| {
            let lines = "A: b\r\n".repeat(headers);
            format!("GET /ota/{TOKEN}/a.bin HTTP/1.1\r\n{lines}\r\n")
        };
        assert!(Head::read(head(HTTP_HEADERS).as_bytes()).is_ok());
        let many = Head::read(head(HTTP_HEADERS + 1).as_bytes());
        assert_eq!(many, Err(BadHead::Headers));
    }

    #[test]
    fn other_methods_and_garbage_are_told_apart() {
        let put = format!("PUT /ota/{TOKEN}/a.bin HTTP/1.1\r\n\r\n");
        assert_eq!(Head::read(put.as_bytes()), Err(BadHead::Method));
        assert_eq!(
            Head::read(b"GET /ota/x HTTP/1.1\r\n\r\n"),
            Err(BadHead::Path)
        );
        assert_eq!(
            Head::read(b"GET \x01 HTTP/1.1\r\n\r\n"),
            Err(BadHead::Malformed)
        );
    }
}
