//! What pages for people say, in plain words.

use super::limits::WORDS;

/// The text of a page or of a header: no tags, no scripts, no line ends, short.
pub(super) fn words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut plain = String::new();
    let mut rest = &*text;
    while !rest.is_empty() {
        let Some(open) = rest.find('<') else {
            plain.push_str(rest);
            break;
        };
        plain.push_str(&rest[..open]);
        plain.push(' ');
        rest = &rest[open..];
        rest = ["script", "style", "title"]
            .iter()
            .find_map(|name| behind_element(rest, name))
            .or_else(|| rest.find('>').map(|close| &rest[close + 1..]))
            .unwrap_or("");
    }
    let mut said = String::new();
    for word in plain.split(|letter: char| letter.is_whitespace() || letter.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !said.is_empty() {
            said.push(' ');
        }
        said.push_str(word);
        if said.len() > WORDS {
            let end = (0..=WORDS).rev().find(|end| said.is_char_boundary(*end));
            said.truncate(end.unwrap_or(0));
            said.push('…');
            break;
        }
    }
    said.replace("&nbsp;", " ")
}

/// What stands behind an element of this name that begins here.
fn behind_element<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let opening = text.get(1..=name.len())?;
    if !opening.eq_ignore_ascii_case(name) {
        return None;
    }
    let close = format!("</{name}>");
    let at = text.find(&close)?;
    Some(&text[at + close.len()..])
}

/// The plain file name of a `Content-Disposition`.
pub(super) fn file_name(disposition: Option<&str>) -> Option<String> {
    let at = disposition?.find("filename=")?;
    let name = disposition?[at + "filename=".len()..].trim_start_matches('"');
    let end = name.find(['"', ';', '\r', '\n']).unwrap_or(name.len());
    let plain: String = name[..end]
        .trim()
        .chars()
        .map(|letter| match letter {
            letter if letter.is_ascii_alphanumeric() => letter,
            '.' | '-' | '_' => letter,
            _ => '_',
        })
        .take(100)
        .collect();
    let plain = plain.trim_start_matches('.').to_owned();
    (!plain.is_empty()).then_some(plain)
}

/// Text in a URL.
pub(super) fn encoded(text: &str) -> String {
    let mut url = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            url.push(byte.into());
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_told_in_plain_short_words() {
        let page = b"<html><head><title>plug</title><script>x<y</script></head>\
                     <b>Upload <font color='#ff0000'>Failed</font></b><br>No file selected\r\n";
        assert_eq!(words(page), "Upload Failed No file selected");
        assert_eq!(words(b"a\x1b[31mb\0c"), "a [31mb c");
        assert_eq!(words(b"<never closed"), "");
        assert!(words("\u{00fc} ".repeat(500).as_bytes()).len() < WORDS + 8);
        assert!(words(&[b'x'; 5000]).len() < WORDS + 8);
    }

    #[test]
    fn a_file_name_is_plain_whatever_the_device_says() {
        let name = |text| file_name(Some(text));
        assert_eq!(
            name("attachment; filename=Config_plug_15.0.1.dmp").as_deref(),
            Some("Config_plug_15.0.1.dmp")
        );
        assert_eq!(
            name("attachment; filename=\"a b.dat\"; x=1").as_deref(),
            Some("a_b.dat")
        );
        assert_eq!(
            name("attachment; filename=../../etc/x").as_deref(),
            Some("_.._etc_x")
        );
        assert_eq!(name("attachment; filename="), None);
        assert_eq!(name("inline"), None);
    }

    #[test]
    fn commands_are_encoded_byte_by_byte() {
        assert_eq!(encoded("Status 0"), "Status%200");
        assert_eq!(encoded("a;b&c=ü#"), "a%3Bb%26c%3D%C3%BC%23");
    }
}
