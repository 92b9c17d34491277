//! Where a value came from.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// Everything that may set a key, in text. Default: nothing is set.
#[derive(Debug, Clone, Default)]
pub struct Sources<'a> {
    /// Settings files. Two files that set one key to different values are a
    /// problem naming both places; their order means nothing.
    pub files: Vec<FileSource<'a>>,
    /// Names and values of environment variables. Others than `SAFEPORT__…` are
    /// left alone, so the whole environment may be handed over.
    pub env: Vec<(&'a str, &'a str)>,
    /// Values given on the command line.
    pub flags: Vec<FlagSource<'a>>,
}

/// One settings file, already read.
#[derive(Debug, Clone, Copy)]
pub struct FileSource<'a> {
    /// Its path as the person knows it; used in messages only.
    pub path: &'a str,
    /// Its text.
    pub text: &'a str,
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
}

impl Source {
    /// The higher rank wins: default 0, file 10, environment 20, flag 25.
    pub fn rank(&self) -> u8 {
        match self {
            Source::Default => 0,
            Source::File { .. } => 10,
            Source::Env { .. } => 20,
            Source::Flag { .. } => 25,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File { path, location } => {
                write!(f, "{path}:{}:{}", location.line, location.column)
            }
            Source::Env { variable } => f.write_str(variable),
            Source::Flag { flag } => f.write_str(flag),
        }
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
