//! Where a value came from.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::ops::Range;

use crate::Said;
use crate::said::said;

/// Everything that may set a key, in text. Default: nothing is set.
#[derive(Debug, Clone, Default)]
pub struct Sources<'a> {
    /// Settings files. Two files of one rank that set one key to different
    /// values are a problem naming both places; their order means nothing.
    pub files: Vec<FileSource<'a>>,
    /// Names and values of environment variables. Others than `SAFEPORT__…` are
    /// left alone, so the whole environment may be handed over.
    pub env: Vec<(&'a str, &'a str)>,
    /// Values given on the command line.
    pub flags: Vec<FlagSource<'a>>,
    /// Values that were set while the server ran. Their order means nothing;
    /// of two for one key and scope, that of the higher revision holds.
    pub managed: Vec<ManagedValue<'a>>,
    /// For whom the settings are resolved. Values of a tag or a device count
    /// only for those whom they concern; `None`: for the server as a whole.
    pub audience: Option<Audience<'a>>,
    /// What the names in the settings resolve to, as far as it is known.
    pub names: Names<'a>,
}

/// Names and the addresses they resolve to. [`crate::Settings::names`] says
/// which are needed; a name without an entry is not yet looked up.
pub type Names<'a> = Vec<(&'a str, Vec<IpAddr>)>;

/// One settings file, already read.
#[derive(Debug, Clone, Copy)]
pub struct FileSource<'a> {
    /// Its path as the person knows it; used in messages, and to tell files apart.
    pub path: &'a str,
    /// Its text.
    pub text: &'a str,
    /// Whether it lies in `conf.d`, and so wins over `safeport.toml`.
    pub drop_in: bool,
}

/// One value from the command line.
#[derive(Debug, Clone, Copy)]
pub struct FlagSource<'a> {
    /// The flag as typed, for instance `--data`.
    pub flag: &'a str,
    /// The key that it sets, for instance `server.data`.
    pub key: &'a str,
    /// The value as text.
    pub value: &'a str,
}

/// One value that was set while the server ran.
#[derive(Debug, Clone)]
pub struct ManagedValue<'a> {
    /// For whom.
    pub scope: Scope,
    /// The key, for instance `limits.max_inflight`.
    pub key: &'a str,
    /// The value as TOML.
    pub value: &'a str,
    /// The revision that set it.
    pub revision: u64,
    /// Who set it, for instance `cli:anna`.
    pub who: &'a str,
    /// When, in seconds since 1970 (UTC).
    pub at: u64,
}

/// For whom a managed value holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// For all.
    Everyone,
    /// For devices with this tag.
    Tag(String),
    /// For this device.
    Device(String),
}

/// Whom a value is told.
#[derive(Debug, Clone)]
pub struct Audience<'a> {
    /// The device's name.
    pub device: &'a str,
    /// Its tags.
    pub tags: Vec<&'a str>,
}

/// The origin of one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The binary itself.
    Default,
    /// A settings file.
    File {
        /// The file's path as it was given.
        path: String,
        /// Where in it.
        location: Location,
        /// Whether it lies in `conf.d`.
        drop_in: bool,
    },
    /// An environment variable.
    Env {
        /// Its name.
        variable: String,
    },
    /// The command line.
    Flag {
        /// The flag as typed.
        flag: String,
    },
    /// Set while the server ran.
    Managed {
        /// For whom.
        scope: Scope,
        /// The revision that set it.
        revision: u64,
        /// Who set it.
        who: String,
        /// When, in seconds since 1970 (UTC).
        at: u64,
    },
}

impl Source {
    /// The higher rank wins: default 0, `safeport.toml` 10, `conf.d` 12,
    /// environment 20, flag 25, managed 30, tag 40, device 50.
    pub fn rank(&self) -> u8 {
        match self {
            Source::Default => 0,
            Source::File { drop_in: false, .. } => 10,
            Source::File { drop_in: true, .. } => 12,
            Source::Env { .. } => 20,
            Source::Flag { .. } => 25,
            Source::Managed { scope, .. } => match scope {
                Scope::Everyone => 30,
                Scope::Tag(_) => 40,
                Scope::Device(_) => 50,
            },
        }
    }

    /// Where it is, for people: `safeport.toml:4:12`, `SAFEPORT__MQTT__BIND`,
    /// `--data`, `revision 12 by cli:anna`, `tag kitchen, revision 12 by cli:anna`.
    pub fn said(&self) -> Said {
        match self {
            Source::Default => said!("default", "默认值"),
            Source::File { path, location, .. } => Said::same(alloc::format!(
                "{path}:{}:{}",
                location.line,
                location.column
            )),
            Source::Env { variable } => Said::same(variable),
            Source::Flag { flag } => Said::same(flag),
            Source::Managed {
                scope,
                revision,
                who,
                ..
            } => match scope {
                Scope::Everyone => {
                    said!("revision {revision} by {who}", "修订 {revision}（{who}）")
                }
                Scope::Tag(tag) => said!(
                    "tag {tag}, revision {revision} by {who}",
                    "标签 {tag}，修订 {revision}（{who}）"
                ),
                Scope::Device(device) => said!(
                    "device {device}, revision {revision} by {who}",
                    "设备 {device}，修订 {revision}（{who}）"
                ),
            },
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said().en)
    }
}

/// A place in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Bytes from the beginning of the text. Begins and ends between
    /// characters, and within the text.
    pub span: Range<usize>,
}

impl Location {
    /// Finds line and column of a span. A span that leaves the text or cuts a
    /// character is drawn in to the nearest one that does not.
    pub(crate) fn of(text: &str, span: Range<usize>) -> Location {
        let start = text.floor_char_boundary(span.start);
        let end = text.floor_char_boundary(span.end).max(start);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Location {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            span: start..end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn columns_count_characters_and_lines_count_from_one() {
        let text = "a = 1\n# 家\nname = 2";
        let at = Location::of(text, 19..20);
        assert_eq!((at.line, at.column), (3, 8));
        let end_of_comment = Location::of(text, 11..11);
        assert_eq!((end_of_comment.line, end_of_comment.column), (2, 4));
    }

    proptest! {
        #[test]
        fn any_span_in_any_text_gives_a_place_inside_it(text: String, start: usize, length in 0usize..50) {
            let at = Location::of(&text, start..start.saturating_add(length));
            prop_assert!(text.get(at.span.clone()).is_some());
            prop_assert!(at.line >= 1 && at.column >= 1);
        }
    }
}
