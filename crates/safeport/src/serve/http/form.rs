//! Reads a body of `multipart/form-data` that has come whole (RFC 7578, RFC 2046 5.1).

use thiserror::Error;

/// One part of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// A body that is no form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum BadForm {
    /// The boundary does not stand where it should.
    #[error(
        "the form ends before its last part does; it was cut off, or its boundary is another one"
    )]
    Unfinished,
    /// A part has no end of its headers, or no name.
    #[error("a part of the form has no name")]
    Nameless,
    /// More than anybody sends.
    #[error("the form has more than {PARTS} parts")]
    TooMany,
}

/// Parts that are read; a form with more is refused.
const PARTS: usize = 16;

/// The boundary in a `Content-Type` of a form.
pub(super) fn boundary(content_type: &str) -> Option<String> {
    let mut pieces = content_type.split(';');
    let kind = pieces.next()?.trim();
    if !kind.eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = pieces.find_map(|piece| {
        let (name, value) = piece.split_once('=')?;
        let is_it = name.trim().eq_ignore_ascii_case("boundary");
        is_it.then(|| value.trim().trim_matches('"'))
    })?;
    (1..=70)
        .contains(&boundary.len())
        .then(|| boundary.to_owned())
}

/// The parts of a form. What stands before the first and behind the last is nobody's: some modems add line ends.
pub(super) fn parts(body: &[u8], boundary: &str) -> Result<Vec<Part>, BadForm> {
    let first = format!("--{boundary}");
    let next = format!("\r\n--{boundary}");
    let at = find(body, first.as_bytes()).ok_or(BadForm::Unfinished)?;
    let mut rest = &body[at + first.len()..];
    let mut parts = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Ok(parts);
        }
        let end_of_line = find(rest, b"\r\n").ok_or(BadForm::Unfinished)?;
        rest = &rest[end_of_line + 2..];
        let end = find(rest, next.as_bytes()).ok_or(BadForm::Unfinished)?;
        if parts.len() == PARTS {
            return Err(BadForm::TooMany);
        }
        parts.push(part(&rest[..end])?);
        rest = &rest[end + next.len()..];
    }
}

fn part(bytes: &[u8]) -> Result<Part, BadForm> {
    let head = find(bytes, b"\r\n\r\n").ok_or(BadForm::Nameless)?;
    let headers = std::str::from_utf8(&bytes[..head]).map_err(|_| BadForm::Nameless)?;
    let name = headers.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_it = name.trim().eq_ignore_ascii_case("content-disposition");
        let named = value.split(';').find_map(|piece| {
            let value = piece.trim().strip_prefix("name=")?;
            Some(value.trim_matches('"').to_owned())
        });
        named.filter(|_| is_it)
    });
    Ok(Part {
        name: name.ok_or(BadForm::Nameless)?,
        bytes: bytes[head + 4..].to_vec(),
    })
}

/// Where `wanted` stands first. A picture has millions of bytes, so only places of its first byte are looked at.
fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let (first, most) = (*wanted.first()?, bytes.len().checked_sub(wanted.len())?);
    let mut from = 0;
    while from <= most {
        from += bytes[from..=most].iter().position(|byte| *byte == first)?;
        if bytes[from..].starts_with(wanted) {
            return Some(from);
        }
        from += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &[u8] =
        b"--B\r\nContent-Disposition: form-data; name=\"question\"\r\n\r\nwhat?\r\n--B\r\n\
        Content-Disposition: form-data; name=\"file\"; filename=\"camera.jpg\"\r\n\
        Content-Type: image/jpeg\r\n\r\n\xff\xd8\r\n--\r\n--C\r\n--B--\r\n";

    #[test]
    fn parts_are_what_stands_between_the_boundaries_byte_for_byte() {
        let read = parts(FORM, "B").expect("a form");
        assert_eq!(read.len(), 2);
        assert_eq!(
            (&*read[0].name, &*read[0].bytes),
            ("question", &b"what?"[..])
        );
        assert_eq!(read[1].name, "file");
        assert_eq!(read[1].bytes, b"\xff\xd8\r\n--\r\n--C");
        let padded = [b"\r\n", FORM, b"\r\n\r\n"].concat();
        assert_eq!(parts(&padded, "B"), Ok(read), "a modem adds line ends");
    }

    #[test]
    fn a_form_that_was_cut_off_is_refused_wherever_that_was() {
        let whole = FORM.len() - b"--\r\n".len();
        for end in 0..whole {
            assert_eq!(parts(&FORM[..end], "B"), Err(BadForm::Unfinished), "{end}");
        }
        assert_eq!(parts(FORM, "other"), Err(BadForm::Unfinished));
        let nameless = b"--B\r\nContent-Type: a/b\r\n\r\nx\r\n--B--";
        assert_eq!(parts(nameless, "B"), Err(BadForm::Nameless));
        let many = "--B\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n".repeat(PARTS + 1);
        assert_eq!(
            parts((many + "--B--").as_bytes(), "B"),
            Err(BadForm::TooMany)
        );
    }

    #[test]
    fn the_boundary_is_read_with_and_without_quotes() {
        let firmware = "multipart/form-data; boundary=----ESP32_CAMERA_BOUNDARY";
        assert_eq!(
            boundary(firmware).as_deref(),
            Some("----ESP32_CAMERA_BOUNDARY")
        );
        let quoted = "Multipart/Form-Data; charset=utf-8; Boundary=\"a b\"";
        assert_eq!(boundary(quoted).as_deref(), Some("a b"));
        for other in [
            "image/jpeg",
            "multipart/form-data",
            "multipart/form-data; boundary=",
        ] {
            assert_eq!(boundary(other), None, "{other}");
        }
    }
}
