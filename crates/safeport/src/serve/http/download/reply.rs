//! The answer to a request for a file, before its bytes.

use std::fmt::Write;
use std::ops::Range;
use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::{NotServed, Served};

/// Status, headers, and which bytes follow.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    /// Bytes of the file. Empty for HEAD and for refusals.
    pub(super) range: Range<u64>,
    /// A refusal's words.
    pub(super) words: String,
}

/// Which part of a file was asked for.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Bytes(Range<u64>),
    /// It begins behind the end.
    Nothing,
}

impl Reply {
    /// Answers with a file: `range` and `if_range` are the headers of these names.
    pub(super) fn of(
        served: &Served,
        is_head: bool,
        range: Option<&str>,
        if_range: Option<&str>,
    ) -> Reply {
        let length = served.length;
        let etag = served.sha256.map(|sha256| format!("\"{}\"", hex(&sha256)));
        let fresh = match (if_range, &etag) {
            (Some(asked), Some(etag)) => asked.trim() == etag,
            (Some(_), None) => false,
            (None, _) => true,
        };
        let part = match range {
            Some(range) if fresh => part(range, length),
            _ => Part::Whole,
        };
        let mut headers = vec![("Content-Type", served.content_type.to_owned())];
        let (status, bytes) = match part {
            Part::Whole => (200, 0..length),
            Part::Bytes(bytes) => {
                let (first, last) = (bytes.start, bytes.end - 1);
                headers.push(("Content-Range", format!("bytes {first}-{last}/{length}")));
                (206, bytes)
            }
            Part::Nothing => {
                let mut reply = Reply::refusal(
                    &NotServed {
                        status: 416,
                        why: format!(
                            "the file has {length} bytes, and the range begins behind them; ask \
                             for a part of it, or without a range for all"
                        ),
                    },
                    is_head,
                );
                let of = ("Content-Range", format!("bytes */{length}"));
                reply.headers.push(of);
                return reply;
            }
        };
        headers.push(("Content-Length", (bytes.end - bytes.start).to_string()));
        headers.push(("Accept-Ranges", "bytes".to_owned()));
        headers.push(("Cache-Control", "no-store".to_owned()));
        headers.extend(etag.map(|etag| ("ETag", etag)));
        // Tasmota compares it with what it has written; of a part it would be wrong.
        if let (200, Some(md5)) = (status, &served.md5) {
            headers.push(("x-MD5", hex(md5)));
        }
        Reply {
            status,
            headers,
            range: if is_head { 0..0 } else { bytes },
            words: String::new(),
        }
    }

    /// Answers with words instead.
    pub(super) fn refusal(not: &NotServed, is_head: bool) -> Reply {
        let words = format!("{}\n", not.why);
        let mut headers = vec![
            ("Content-Type", "text/plain; charset=utf-8".to_owned()),
            ("Content-Length", words.len().to_string()),
            ("Cache-Control", "no-store".to_owned()),
        ];
        if not.status == 503 {
            headers.push(("Retry-After", "30".to_owned()));
        }
        Reply {
            status: not.status,
            headers,
            range: 0..0,
            words: if is_head { String::new() } else { words },
        }
    }

    /// As it goes over the wire, up to the empty line and with its words.
    pub(super) fn to_bytes(&self, is_old: bool, keep_alive: bool, now: SystemTime) -> Vec<u8> {
        let version = if is_old { "1.0" } else { "1.1" };
        let reason = match self.status {
            200 => "OK",
            206 => "Partial Content",
            400 => "Bad Request",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            410 => "Gone",
            416 => "Range Not Satisfiable",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        let mut text = format!("HTTP/{version} {} {reason}\r\n", self.status);
        for (name, value) in &self.headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        const DATE: &[BorrowedFormatItem<'_>] = format_description!(
            "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
        );
        if let Ok(date) = OffsetDateTime::from(now).format(DATE) {
            let _ = write!(text, "Date: {date}\r\n");
        }
        if !keep_alive {
            text.push_str("Connection: close\r\n");
        }
        text.push_str("\r\n");
        text.push_str(&self.words);
        text.into_bytes()
    }
}

/// What a Range header means for a file of this length. One that cannot be read, and one with
/// several ranges, means the whole file (RFC 9110 §14.2).
fn part(range: &str, length: u64) -> Part {
    let Some(set) = range.trim().strip_prefix("bytes=") else {
        return Part::Whole;
    };
    let Some((first, last)) = set.trim().split_once('-') else {
        return Part::Whole;
    };
    let number = |text: &str| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u64>().ok()).flatten()
    };
    match (first.trim(), last.trim()) {
        // The last so many.
        ("", last) => match number(last) {
            Some(0) => Part::Nothing,
            Some(count) => Part::Bytes(length.saturating_sub(count)..length),
            None => Part::Whole,
        },
        (first, last) => {
            let Some(first) = number(first) else {
                return Part::Whole;
            };
            // esp_https_ota asks for one byte more than there is: it gets what there is.
            let last = match last {
                "" => Some(length - 1),
                last => number(last).map(|last| last.min(length - 1)),
            };
            match last {
                _ if first >= length => Part::Nothing,
                Some(last) if first <= last => Part::Bytes(first..last + 1),
                _ => Part::Whole,
            }
        }
    }
}

/// In lower case.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::{Content, Ticket};
    use super::*;
    use axum::body::Bytes;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn served(length: u64) -> Served {
        Served {
            content: Content::Bytes(Bytes::new()),
            length,
            md5: Some([0xab; 16]),
            sha256: Some([0xcd; 32]),
            content_type: "application/octet-stream",
            ticket: Ticket(1),
        }
    }

    #[test]
    fn a_whole_file_has_its_length_and_md5_and_is_neither_chunked_nor_redirected() {
        let reply = Reply::of(&served(1000), false, None, None);
        let at = UNIX_EPOCH + Duration::from_secs(1_795_392_000);
        let text = String::from_utf8(reply.to_bytes(true, false, at)).unwrap();
        assert!(text.starts_with("HTTP/1.0 200 OK\r\n"), "{text}");
        assert!(text.contains("\r\nContent-Length: 1000\r\n"), "{text}");
        assert!(
            text.contains(&format!("\r\nx-MD5: {}\r\n", "ab".repeat(16))),
            "{text}"
        );
        assert!(
            text.contains("\r\nDate: Mon, 23 Nov 2026 00:00:00 GMT\r\n"),
            "{text}"
        );
        assert!(text.ends_with("Connection: close\r\n\r\n"), "{text}");
        for never in ["Transfer-Encoding", "Location", "Content-Encoding"] {
            assert!(!text.contains(never), "{text}");
        }
        assert_eq!(reply.range, 0..1000);
    }

    #[test]
    fn ranges_are_clamped_and_only_a_beginning_behind_the_end_is_refused() {
        for (range, status, bytes) in [
            ("bytes=0-", 206, 0..1000),
            ("bytes=0-0", 206, 0..1),
            ("bytes=500-999", 206, 500..1000),
            // esp_https_ota's last one ends one past the last byte.
            ("bytes=500-1000", 206, 500..1000),
            ("bytes=999-1000", 206, 999..1000),
            ("bytes=999-18446744073709551615", 206, 999..1000),
            ("bytes=-10", 206, 990..1000),
            ("bytes=-5000", 206, 0..1000),
            ("bytes=1000-", 416, 0..0),
            ("bytes=1000-1000", 416, 0..0),
            ("bytes=-0", 416, 0..0),
            ("bytes=5-4", 200, 0..1000),
            ("bytes=+5-10", 200, 0..1000),
            ("bytes=a-b", 200, 0..1000),
            ("bytes=0-1,5-6", 200, 0..1000),
            ("items=0-1", 200, 0..1000),
            ("bytes=99999999999999999999999-", 200, 0..1000),
        ] {
            let reply = Reply::of(&served(1000), false, Some(range), None);
            assert_eq!((reply.status, reply.range), (status, bytes), "{range}");
        }
    }

    #[test]
    fn a_range_behind_the_end_is_told_how_long_the_file_is() {
        let reply = Reply::of(&served(1000), false, Some("bytes=1000-"), None);
        assert!(reply.words.contains("1000 bytes"), "{}", reply.words);
        let of = ("Content-Range", "bytes */1000".to_owned());
        assert!(reply.headers.contains(&of), "{:?}", reply.headers);
        let head = Reply::of(&served(1000), true, Some("bytes=1000-"), None);
        assert_eq!(head.headers, reply.headers);
        assert!(head.words.is_empty());
    }

    #[test]
    fn a_part_is_sent_only_of_the_file_that_the_client_knows() {
        let etag = format!("\"{}\"", "cd".repeat(32));
        let reply = |if_range| Reply::of(&served(10), false, Some("bytes=5-"), Some(if_range));
        assert_eq!(reply(etag.as_str()).range, 5..10);
        assert_eq!(reply("\"other\"").range, 0..10);
        assert_eq!(reply("Mon, 23 Nov 2026 00:00:00 GMT").range, 0..10);
    }

    #[test]
    fn head_is_answered_like_get_without_the_bytes() {
        let get = Reply::of(&served(10), false, Some("bytes=0-0"), None);
        let head = Reply::of(&served(10), true, Some("bytes=0-0"), None);
        assert_eq!((get.status, &get.headers), (head.status, &head.headers));
        assert_eq!((get.range, head.range), (0..1, 0..0));
    }

    proptest! {
        #[test]
        fn whatever_is_asked_the_range_lies_within_the_file_and_its_length_is_told(
            length in 1u64..5_000_000_000,
            range in "bytes=[0-9]{0,12}-[0-9]{0,12}|.{0,40}",
        ) {
            let reply = Reply::of(&served(length), false, Some(&range), None);
            prop_assert!(reply.range.end <= length);
            let told = reply.headers.iter().find(|(name, _)| *name == "Content-Length").unwrap();
            let sent = match reply.status {
                416 => reply.words.len() as u64,
                _ => reply.range.end - reply.range.start,
            };
            prop_assert_eq!(told.1.parse::<u64>().unwrap(), sent);
        }
    }
}
