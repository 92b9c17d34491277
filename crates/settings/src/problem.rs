//! What is wrong with the settings, in a shape that can be pointed at.

use alloc::string::String;
use core::fmt;

use crate::{Language, Said, Source};

/// One thing wrong, with the place, what was seen and the way out.
///
/// `Display` gives `place: key: what` and a second line `  help: …`, in English;
/// [`Problem::text`] gives either language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where the value or the unknown name stands.
    pub source: Source,
    /// The key concerned, or the unknown name as it was written.
    pub key: Option<String>,
    /// What was seen and why it does not fit.
    pub what: Said,
    /// What to do about it.
    pub help: Said,
    /// A second key that takes part in the problem, and where it was set.
    pub related: Option<(String, Source)>,
}

impl Problem {
    /// The whole problem in a language: `place: key: what`, and a line each for
    /// the second key and for the way out.
    pub fn text(&self, language: Language) -> String {
        let chinese = language == Language::ZhCn;
        let (with, help) = if chinese {
            ("相关", "办法")
        } else {
            ("with", "help")
        };
        let said = |said: &Said| String::from(said.in_language(language));
        let mut text = said(&self.source.said());
        text.push_str(": ");
        if let Some(key) = &self.key {
            text.push_str(key);
            text.push_str(": ");
        }
        text.push_str(self.what.in_language(language));
        if let Some((key, source)) = &self.related {
            let source = said(&source.said());
            text.push_str(&alloc::format!("\n  {with}: {key} ({source})"));
        }
        let way_out = self.help.in_language(language);
        text.push_str(&alloc::format!("\n  {help}: {way_out}"));
        text
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(Language::En))
    }
}

impl core::error::Error for Problem {}
