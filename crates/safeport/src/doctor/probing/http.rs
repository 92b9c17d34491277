//! Requests as devices write them, and answers as they came.

use std::time::Duration;

use safeport_doctor::target::Target;

/// Headers of an answer that are read; one with more is none.
const HEADERS: usize = 64;

/// An answer: of its body, as much as was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// `HTTP/1.1 404 Not Found`.
    pub(super) line: String,
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Reads an answer whose head is whole. None for what is no answer, or not yet.
    pub(super) fn read(bytes: &[u8]) -> Option<Answer> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(head) = response.parse(bytes).ok()? else {
            return None;
        };
        let line = bytes.split(|byte| *byte == b'\n').next()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        Some(Answer {
            line: text(line),
            status: response.code?,
            headers: response
                .headers
                .iter()
                .map(|header| (header.name.to_owned(), text(header.value)))
                .collect(),
            body: bytes[head..].to_vec(),
        })
    }

    /// Whether all of it is there, as far as its head says.
    pub(super) fn is_whole(bytes: &[u8]) -> bool {
        let Some(answer) = Answer::read(bytes) else {
            // What does not begin like an answer never becomes one.
            return bytes.len() >= 5 && !bytes.starts_with(b"HTTP/");
        };
        let length = answer
            .header("content-length")
            .and_then(|length| length.parse::<usize>().ok());
        match length {
            Some(length) => answer.body.len() >= length,
            None if answer.header("transfer-encoding").is_some() => {
                answer.body.ends_with(b"0\r\n\r\n")
            }
            None => matches!(answer.status, 100..=199 | 204 | 304),
        }
    }

    /// Whether its head is there.
    pub(super) fn has_head(bytes: &[u8]) -> bool {
        (bytes.len() >= 5 && !bytes.starts_with(b"HTTP/"))
            || bytes.windows(4).any(|window| window == b"\r\n\r\n")
    }

    /// The first header of that name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// `HTTP/1.1 404 Not Found (server: nginx/1.24)`.
    pub(super) fn described(&self) -> String {
        match self.header("server") {
            Some(server) => format!("{} (server: {server})", self.line),
            None => self.line.clone(),
        }
    }

    /// The server's time, since 1970.
    pub(super) fn date(&self) -> Option<Duration> {
        let format = time::format_description::well_known::Rfc2822;
        let text = self.header("date")?.replace("GMT", "+0000");
        let at = time::OffsetDateTime::parse(&text, &format).ok()?;
        u64::try_from(at.unix_timestamp())
            .ok()
            .map(Duration::from_secs)
    }

    /// The body, without the marks of chunks.
    pub(super) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        if self.header("transfer-encoding").is_none() {
            return text.into_owned();
        }
        let mut whole = String::new();
        let mut rest: &str = &text;
        while let Some((length, behind)) = rest.split_once("\r\n") {
            let digits = length.split(';').next().unwrap_or_default().trim();
            let Ok(length @ 1..) = usize::from_str_radix(digits, 16) else {
                break;
            };
            let Some(chunk) = behind.get(..length) else {
                whole.push_str(behind);
                break;
            };
            whole.push_str(chunk);
            rest = behind[length..].trim_start_matches("\r\n");
        }
        whole
    }

    /// Whether a web page came.
    pub(super) fn is_page(&self) -> bool {
        let begins = |text: &str| {
            let body = self.text();
            let body = body.trim_start();
            body.len() >= text.len()
                && body.is_char_boundary(text.len())
                && body[..text.len()].eq_ignore_ascii_case(text)
        };
        self.header("content-type")
            .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"))
            || begins("<!doctype html")
            || begins("<html")
    }

    /// The host that it sends clients on to, if it is another than `host`.
    pub(super) fn other_host(&self, host: &str) -> Option<String> {
        let to = self.header("location")?;
        let target = Target::read(to)
            .ok()
            .filter(|target| target.scheme.is_some())?;
        let other = target.host.to_string();
        (!other.eq_ignore_ascii_case(host)).then_some(other)
    }
}

/// `host:port` as most clients write it into a request: the scheme's own port is left away.
pub(super) fn host_header(target: &Target, port: u16) -> String {
    let standard = match target.wants_tls() {
        Some(true) => 443,
        _ => 80,
    };
    if port == standard {
        target.host.in_url().into_owned()
    } else {
        format!("{}:{port}", target.host.in_url())
    }
}

/// The path to ask for.
pub(super) fn path(target: &Target) -> &str {
    if target.path.is_empty() {
        "/"
    } else {
        &target.path
    }
}

/// What a client that fetches something asks. `headers` are whole lines.
pub(super) fn get(method: &str, host: &str, path: &str, headers: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: safeport-doctor/{}\r\n\
         Accept: */*\r\n{headers}Connection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION"),
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let head =
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nDate: Mon, 23 Nov 2026 03:33:08 GMT\r\n\r\n";
        assert!(!Answer::is_whole(head.as_bytes()));
        assert!(Answer::has_head(head.as_bytes()));
        let whole = format!("{head}body");
        assert!(Answer::is_whole(whole.as_bytes()));
        let answer = Answer::read(whole.as_bytes()).unwrap();
        assert_eq!(answer.date(), Some(Duration::from_secs(1_795_404_788)));
        assert!(Answer::is_whole(b"SSH-2.0-x"));
        assert!(!Answer::is_whole(b"HTT"));
    }

    #[test]
    fn the_marks_of_chunks_are_left_out() {
        let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4;x\r\n\":1}\r\n0\r\n\r\n";
        assert!(Answer::is_whole(bytes));
        assert_eq!(Answer::read(bytes).unwrap().text(), "{\"a\":1}");
    }

    #[test]
    fn a_redirect_to_another_host_is_told_from_one_within_the_host() {
        let to = |location: &str| {
            let bytes = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n");
            Answer::read(bytes.as_bytes())
                .unwrap()
                .other_host("hub.example")
        };
        assert_eq!(
            to("http://login.example/x"),
            Some("login.example".to_owned())
        );
        assert_eq!(to("https://hub.example/x"), None);
        assert_eq!(to("/x"), None);
    }
}
