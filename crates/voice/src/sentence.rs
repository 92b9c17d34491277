//! Text as a model writes it, made into sentences that can be spoken one after the other.
//!
//! A model writes pieces of words, with marks for a screen (Markdown). What comes out are sentences: what a device
//! shows, and what a voice says of it. However the text was cut into pieces, the sentences are the same.

mod marks;
mod script;

use std::collections::VecDeque;

use crate::limits::{FIRST_CUT, SENTENCE_STOPS, SENTENCE_WEIGHT};
use marks::Marks;
use script::{closes, is_emoji, is_extending, is_strong_stop, is_wide, stands_for_a_word, weight};

/// One sentence of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sentence {
    /// Without the marks of Markdown; with its emoji. Never empty.
    pub shown: String,
    /// What a voice says; empty if it is only emoji.
    pub spoken: String,
}

/// Makes sentences of the pieces of a text.
///
/// A sentence ends behind `。！？；…`, a line break, or `. ! ?` before a space, and what closes a quote or bracket goes
/// with it. Numbers, abbreviations, addresses and dots that only trail off end none. The first one may end at a comma
/// after [`FIRST_CUT`], so that speech begins early; none is longer than [`SENTENCE_WEIGHT`] and
/// [`SENTENCE_STOPS`] behind it.
#[derive(Debug, Default)]
pub struct Sentences {
    marks: Marks,
    /// What has not become a sentence yet.
    text: Vec<char>,
    /// So many of it end no sentence.
    scanned: usize,
    weight: usize,
    /// A sentence that is spoken has come.
    has_begun: bool,
    ready: VecDeque<Sentence>,
}

impl Sentences {
    /// Takes a piece; then take what is ready with [`Sentences::next`].
    pub fn push(&mut self, piece: &str) {
        for c in piece.chars() {
            self.marks.push(c);
            self.carry_on(false);
        }
    }

    /// The text is at its end: what is left is a sentence. What comes behind it begins anew.
    pub fn finish(&mut self) {
        self.carry_on(true);
        self.cut(self.text.len());
        self.marks = Marks::default();
    }

    /// The next sentence that is complete.
    #[expect(clippy::should_implement_trait, reason = "more may come after none")]
    pub fn next(&mut self) -> Option<Sentence> {
        self.ready.pop_front()
    }

    fn carry_on(&mut self, ended: bool) {
        while let Some(c) = self.marks.next(ended) {
            self.take(c);
            self.scan(false);
        }
        if ended {
            self.scan(true);
        }
    }

    fn take(&mut self, c: char) {
        let is_doubled = match self.text.last() {
            None => c.is_whitespace(),
            Some(last) => c == ' ' && *last == ' ',
        };
        if !is_doubled {
            self.text.push(c);
        }
    }

    /// Cuts where sentences end, as far as that is certain.
    fn scan(&mut self, ended: bool) {
        while let Some(c) = self.text.get(self.scanned) {
            match self.end_at(self.scanned, ended) {
                End::Unknown => return,
                End::Behind(end) => self.cut(end),
                End::None => {
                    self.weight += weight(*c);
                    self.scanned += 1;
                    if self.weight >= SENTENCE_WEIGHT {
                        self.cut(self.sensible_place());
                    }
                }
            }
        }
    }

    /// Whether the character at `at` ends a sentence.
    fn end_at(&self, at: usize, ended: bool) -> End {
        let text = &self.text[..];
        match text[at] {
            '\n' => End::Behind(at + 1),
            c if is_strong_stop(c) => match self.behind_stops(at, ended) {
                Some(end) => End::Behind(end),
                None => End::Unknown,
            },
            '!' | '?' => self.latin_end(at, ended, After::Space),
            '…' => self.latin_end(at, ended, After::Trailing),
            '.' => match text.get(at + 1) {
                None if !ended => End::Unknown,
                Some('.' | '…') => self.latin_end(at, ended, After::Trailing),
                Some('!' | '?') => self.latin_end(at, ended, After::Space),
                _ if stands_for_a_word(&text[..at], text.get(at + 1)) => End::None,
                _ => self.latin_end(at, ended, After::Trailing),
            },
            '，' | '：' if self.may_begin() => End::Behind(at + 1),
            ',' | ':' | ';' if self.may_begin() => match text.get(at + 1) {
                None if !ended => End::Unknown,
                Some(next) if next.is_whitespace() => End::Behind(at + 1),
                _ => End::None,
            },
            _ => End::None,
        }
    }

    /// At a stop that needs a space behind it.
    fn latin_end(&self, at: usize, ended: bool, after: After) -> End {
        let Some(end) = self.behind_stops(at, ended) else {
            return End::Unknown;
        };
        let Some(next) = self.text.get(end) else {
            return End::Behind(end);
        };
        if is_wide(*next) || is_emoji(*next) || *next == '\n' {
            return End::Behind(end);
        }
        if !next.is_whitespace() {
            return End::None;
        }
        match (after, self.text.get(end + 1)) {
            (After::Space, _) => End::Behind(end),
            (After::Trailing, None) if !ended => End::Unknown,
            // “Well … you know”, “approx. five”.
            (After::Trailing, Some(next)) if next.is_lowercase() => End::None,
            (After::Trailing, _) => End::Behind(end),
        }
    }

    /// Where the stops from `at` on end, with what closes behind them; `None` if more may come.
    fn behind_stops(&self, at: usize, ended: bool) -> Option<usize> {
        let most = at + SENTENCE_STOPS;
        let mut end = at;
        let mut closed = false;
        while end < most {
            let Some(c) = self.text.get(end) else {
                return ended.then_some(end);
            };
            let is_stop = !closed && (is_strong_stop(*c) || matches!(c, '.' | '!' | '?' | '…'));
            closed |= closes(*c, &self.text[..end]);
            if !is_stop && !closes(*c, &self.text[..end]) {
                break;
            }
            end += 1;
        }
        Some(end)
    }

    /// Whether the first sentence is long enough to end at a comma.
    fn may_begin(&self) -> bool {
        !self.has_begun && self.weight >= FIRST_CUT
    }

    /// Where a sentence that is too long is cut: behind a comma, at a space, or anywhere.
    fn sensible_place(&self) -> usize {
        let text = &self.text[..self.scanned];
        let least = text.len() / 3;
        let is_pause = |at: &usize| match text[*at] {
            '，' | '、' | '；' | '：' | '—' | '–' => true,
            ',' | ';' | ':' | ')' => text.get(at + 1).is_some_and(|c| c.is_whitespace()),
            _ => false,
        };
        let mut places = (least..text.len()).rev();
        if let Some(at) = places.clone().find(is_pause) {
            return at + 1;
        }
        if let Some(at) = places.find(|at| text[*at].is_whitespace()) {
            return at + 1;
        }
        // Not between a letter and its accent, or the parts of one emoji.
        let joins = |at: &usize| is_extending(text[*at]) || text[*at - 1] == '\u{200d}';
        let last = text.len() - 1;
        let place = (least.max(1)..=last).rev().find(|at| !joins(at));
        place.unwrap_or(text.len())
    }

    /// Makes a sentence of what stands before `end`.
    fn cut(&mut self, end: usize) {
        let sentence = Sentence::of(&self.text[..end]);
        let spaces = self.text[end..].iter().take_while(|c| c.is_whitespace());
        let start = end + spaces.count();
        self.text.drain(..start);
        self.scanned = 0;
        self.weight = 0;
        if let Some(sentence) = sentence {
            self.has_begun |= !sentence.spoken.is_empty();
            self.ready.push_back(sentence);
        }
    }
}

impl Sentence {
    /// That is shown and spoken as it is.
    pub fn plain(text: impl Into<String>) -> Sentence {
        let shown = text.into();
        Sentence {
            spoken: shown.clone(),
            shown,
        }
    }

    fn of(text: &[char]) -> Option<Sentence> {
        let shown = String::from_iter(text).trim().to_owned();
        let says = |c: char| c.is_alphanumeric();
        if !shown.chars().any(|c| says(c) || is_emoji(c)) {
            return None;
        }
        let spoken: String = shown.chars().filter(|c| !is_emoji(*c)).collect();
        let spoken = spoken.split_whitespace().collect::<Vec<_>>().join(" ");
        Some(Sentence {
            spoken: match spoken.chars().any(says) {
                true => spoken,
                false => String::new(),
            },
            shown,
        })
    }
}

/// Puts a sentence behind others, with a space where the script has them.
pub(crate) fn append(text: &mut String, sentence: &str) {
    let joins = match (text.chars().last(), sentence.chars().next()) {
        (Some(before), Some(behind)) => !is_wide(before) && !is_wide(behind),
        _ => false,
    };
    if joins {
        text.push(' ');
    }
    text.push_str(sentence);
}

enum End {
    /// What follows must be known first.
    Unknown,
    /// It does not.
    None,
    /// It ends before this place.
    Behind(usize),
}

#[derive(Clone, Copy)]
enum After {
    /// Whatever comes behind the space.
    Space,
    /// What goes on in small letters is the same sentence.
    Trailing,
}

#[cfg(test)]
mod tests;
