//! From bytes to lines: encodings, colours, and the limits of what is read.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use safeport_settings::Said;

use crate::limits::{LINE_BYTES, LOG_BYTES, LOG_LINES};

/// Text from bytes of a file: UTF-16 with a byte order mark or recognised by its zeros, else UTF-8
/// with what is none replaced.
pub(super) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    let looks_wide = |odd: usize| {
        let part = &bytes[..bytes.len().min(512)];
        let zeros = part.iter().skip(odd).step_by(2).filter(|byte| **byte == 0);
        part.len() >= 8 && zeros.count() * 4 > part.len()
    };
    let wide = match bytes {
        [0xff, 0xfe, rest @ ..] => Some((rest, u16::from_le_bytes as fn([u8; 2]) -> u16)),
        [0xfe, 0xff, rest @ ..] => Some((rest, u16::from_be_bytes as fn([u8; 2]) -> u16)),
        _ if looks_wide(1) => Some((bytes, u16::from_le_bytes as fn([u8; 2]) -> u16)),
        _ if looks_wide(0) => Some((bytes, u16::from_be_bytes as fn([u8; 2]) -> u16)),
        _ => None,
    };
    match wide {
        Some((bytes, unit)) => {
            // What is in front of the last part that is read would only be thrown away again.
            let skip = bytes.len().saturating_sub(2 * LOG_BYTES) / 2 * 2;
            let (pairs, _) = bytes[skip..].as_chunks::<2>();
            char::decode_utf16(pairs.iter().map(|pair| unit(*pair)))
                .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect::<String>()
                .into()
        }
        None => String::from_utf8_lossy(bytes),
    }
}

/// The part of a text that is read, the number of its first line, and what was left out.
pub(super) fn within_limits(text: &str) -> (&str, u32, Vec<Said>) {
    let mut from = 0;
    if text.len() > LOG_BYTES {
        from = text.len() - LOG_BYTES;
        // The first whole line.
        from += text.as_bytes()[from..]
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        while !text.is_char_boundary(from) {
            from += 1;
        }
    }
    let ends = text.as_bytes()[from..].iter().enumerate().rev();
    let mut ends = ends.filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    // A last line may have no end.
    let spare = usize::from(text.ends_with('\n'));
    if let Some(end) = ends.nth(LOG_LINES - 1 + spare) {
        from += end + 1;
    }
    let skipped = text.as_bytes()[..from]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count();
    let mut left_out = Vec::new();
    if from > 0 {
        left_out.push(Said::new(
            format!(
                "the log is longer than what is read ({} MiB, {LOG_LINES} lines): its first {skipped} lines were left out",
                LOG_BYTES >> 20
            ),
            format!(
                "日志超过读取上限（{} MiB、{LOG_LINES} 行）：开头 {skipped} 行未读",
                LOG_BYTES >> 20
            ),
        ));
    }
    let first = u32::try_from(skipped).unwrap_or(u32::MAX - 1) + 1;
    (&text[from..], first, left_out)
}

/// A line without colours and other control characters, at most [`LINE_BYTES`] long, and whether
/// that cut it.
pub(super) fn clean(line: &str) -> (Cow<'_, str>, bool) {
    let mut end = line.len().min(LINE_BYTES);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    let cut = end < line.len();
    let line = line[..end].trim_end();
    let plain = |byte: &u8| *byte >= 0x20 && *byte != 0x7f || *byte == b'\t';
    if line.bytes().all(|byte| plain(&byte)) && !line.contains("[0") && !line.contains("[1;") {
        return (Cow::Borrowed(line), cut);
    }
    let mut cleaned = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if let Some(length) = escape(rest) {
            rest = &rest[length..];
            continue;
        }
        if c == '\t' || !c.is_control() {
            cleaned.push(c);
        }
        rest = &rest[c.len_utf8()..];
    }
    (Cow::Owned(cleaned), cut)
}

/// The length of the terminal sequence that a text begins with. Copying from a terminal or a web
/// page often loses its first character, so `[0;31m` alone is one too.
fn escape(text: &str) -> Option<usize> {
    let after_escape = text.strip_prefix('\u{1b}');
    let body = after_escape.unwrap_or(text).strip_prefix('[')?;
    let numbers = body
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || matches!(byte, b';' | b'?'))
        .count();
    let last = *body.as_bytes().get(numbers)?;
    let whole = match after_escape {
        Some(_) => last.is_ascii_alphabetic(),
        None => last == b'm' && numbers > 0,
    };
    whole.then_some(text.len() - body.len() + numbers + 1)
}
