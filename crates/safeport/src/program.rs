//! What this program was called as, so that the commands it tells people to type are the ones that
//! work for them.

use std::ffi::OsStr;
use std::sync::OnceLock;

/// The program in commands for people to type: the path it was called by, as one word of a shell,
/// or `safeport` if it was found by name.
pub fn name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| as_called(std::env::args_os().next().as_deref()))
}

fn as_called(word: Option<&OsStr>) -> String {
    match word.and_then(OsStr::to_str) {
        Some(path) if path.contains('/') => quoted(path),
        _ => "safeport".to_owned(),
    }
}

/// `text` as one word of a shell.
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_called_by_its_path_is_named_by_it_and_one_found_by_name_by_that() {
        let named = |word: &str| as_called(Some(OsStr::new(word)));
        assert_eq!(named("target/release/safeport"), "target/release/safeport");
        assert_eq!(named("./safeport"), "./safeport");
        assert_eq!(
            named("/opt/my server/safeport"),
            "'/opt/my server/safeport'"
        );
        assert_eq!(named("safeport"), "safeport");
        assert_eq!(as_called(None), "safeport");
    }
}
