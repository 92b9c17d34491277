//! Markdown and its kin taken off, character by character.
//!
//! Each step decides about the first character that waits, from as few of those behind it as it takes. So the outcome
//! does not depend on how the text was cut into pieces.

use std::collections::VecDeque;

use crate::limits::{LINK_TARGET, LINK_TEXT};

/// Characters in, those without marks out.
#[derive(Debug)]
pub(super) struct Marks {
    waiting: VecDeque<char>,
    /// The last that was handed out.
    before: Option<char>,
    /// So many that wait are text, whatever they look like.
    literal: usize,
    /// Only spaces and marks so far on this line.
    line_start: bool,
    /// In a block of code, whose characters are no marks.
    code: bool,
    /// Between `<think>` and `</think>`: what the model tells itself.
    thought: bool,
}

impl Default for Marks {
    fn default() -> Marks {
        Marks {
            waiting: VecDeque::new(),
            before: None,
            literal: 0,
            line_start: true,
            code: false,
            thought: false,
        }
    }
}

/// What becomes of the first characters that wait.
enum Step {
    /// More must be known.
    Wait,
    /// So many are text.
    Keep(usize),
    /// So many are marks.
    Drop(usize),
    /// So many stand for this one.
    Become(usize, char),
    /// A link: its text from the first to the second place stays, all else before the third goes.
    Link(usize, usize, usize),
}

impl Marks {
    pub(super) fn push(&mut self, c: char) {
        self.waiting.push_back(c);
    }

    /// The next character of the text; `None` if that depends on what comes. `ended`: nothing comes.
    pub(super) fn next(&mut self, ended: bool) -> Option<char> {
        loop {
            if self.literal > 0 {
                self.literal -= 1;
                let c = self.waiting.pop_front()?;
                return Some(self.hand_out(c));
            }
            match self.step(ended)? {
                Step::Wait => return None,
                Step::Keep(count) => self.literal = count,
                Step::Drop(count) => drop(self.waiting.drain(..count)),
                Step::Become(count, c) => {
                    self.waiting.drain(..count);
                    return Some(self.hand_out(c));
                }
                Step::Link(start, end, behind) => {
                    self.waiting.drain(end..behind);
                    self.waiting.drain(..start);
                }
            }
        }
    }

    /// Characters about which nothing is known yet.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn hand_out(&mut self, c: char) -> char {
        self.before = Some(c);
        self.line_start = c == '\n' || (self.line_start && c.is_whitespace());
        c
    }

    fn step(&mut self, ended: bool) -> Option<Step> {
        let first = *self.waiting.front()?;
        if self.thought && first != '<' {
            return Some(Step::Drop(1));
        }
        if self.code && first != '`' {
            return Some(Step::Keep(1));
        }
        Some(match first {
            '<' => self.tag(ended),
            '`' => self.backticks(ended),
            '*' | '_' | '~' | '-' | '=' | '#' | '+' => self.run(first, ended),
            '>' | '•' if self.line_start => Step::Drop(1),
            '|' => Step::Become(1, ' '),
            '[' => self.link(0, ended),
            '!' => match self.waiting.get(1) {
                None if !ended => Step::Wait,
                Some('[') => self.link(1, ended),
                _ => Step::Keep(1),
            },
            '\\' => match self.waiting.get(1) {
                None if !ended => Step::Wait,
                Some(next) if next.is_ascii_punctuation() => {
                    self.literal = 1;
                    Step::Drop(1)
                }
                _ => Step::Keep(1),
            },
            '\t' | '\u{a0}' => Step::Become(1, ' '),
            '\n' => Step::Keep(1),
            '\u{200b}' | '\u{feff}' => Step::Drop(1),
            c if c.is_control() => Step::Drop(1),
            _ => Step::Keep(1),
        })
    }

    /// `*`, `_`, `~`, `-`, `=`, `#` or `+`, once or more.
    fn run(&self, mark: char, ended: bool) -> Step {
        let count = self.count(mark);
        let next = self.waiting.get(count);
        if next.is_none() && count < RUN && !ended {
            return Step::Wait;
        }
        let before = self.before.filter(|_| !self.line_start);
        let next_is = |test: fn(char) -> bool| next.is_some_and(|c| test(*c));
        let both_are = |test: fn(char) -> bool| before.is_some_and(test) && next_is(test);
        let begins_item = self.line_start && next_is(|c| c == ' ');
        match mark {
            // 2 * 3, 2*3.
            '*' if count == 1 && both_are(char::is_whitespace) => Step::Keep(1),
            '*' if count == 1 && both_are(|c| c.is_ascii_digit()) => Step::Keep(1),
            '*' => Step::Drop(count),
            // some_name.
            '_' if count < 3 && both_are(char::is_alphanumeric) => Step::Keep(count),
            '_' => Step::Drop(count),
            '#' if count <= 6 && begins_item => Step::Drop(count),
            '#' => Step::Keep(count),
            '-' | '+' if count == 1 && begins_item => Step::Drop(1),
            '+' => Step::Keep(count),
            '~' if count == 2 => Step::Drop(2),
            _ if count >= 3 => Step::Drop(count),
            _ => Step::Keep(count),
        }
    }

    fn backticks(&mut self, ended: bool) -> Step {
        let count = self.count('`');
        if self.waiting.len() == count && count < RUN && !ended {
            return Step::Wait;
        }
        if count < 3 {
            return match self.code {
                true => Step::Keep(count),
                false => Step::Drop(count),
            };
        }
        if self.code || !self.line_start {
            self.code = false;
            return Step::Drop(count);
        }
        // The name of a language stands alone behind the first marks.
        let is_name =
            |c: &&char| c.is_ascii_alphanumeric() || matches!(c, '+' | '#' | '-' | '_' | '.');
        let name = self.waiting.iter().skip(count).take(LANGUAGE);
        let behind = count + name.take_while(is_name).count();
        match self.waiting.get(behind) {
            None if !ended => return Step::Wait,
            Some('\n') => self.code = true,
            _ => return Step::Drop(count),
        }
        Step::Drop(behind)
    }

    /// `<think>`, `</think>`, and the commonest of HTML.
    fn tag(&mut self, ended: bool) -> Step {
        let mut name = String::new();
        let mut end = None;
        for (at, c) in self.waiting.iter().enumerate().skip(1).take(TAG) {
            match c {
                '/' => {}
                c if c.is_ascii_alphanumeric() => name.push(c.to_ascii_lowercase()),
                ' ' if at > 1 => {}
                '>' => {
                    end = Some(at + 1);
                    break;
                }
                _ => return self.no_tag(),
            }
        }
        let Some(end) = end else {
            return match ended || self.waiting.len() > TAG {
                true => self.no_tag(),
                false => Step::Wait,
            };
        };
        let closes = self.waiting[1] == '/';
        match name.as_str() {
            "think" | "thinking" => {
                self.thought = !closes;
                Step::Drop(end)
            }
            _ if self.thought => Step::Drop(1),
            "br" | "p" | "li" | "tr" | "div" => Step::Become(end, '\n'),
            "b" | "i" | "u" | "s" | "em" | "strong" | "sub" | "sup" | "span" | "ul" | "ol"
            | "code" | "pre" => Step::Drop(end),
            _ => Step::Keep(1),
        }
    }

    fn no_tag(&self) -> Step {
        match self.thought {
            true => Step::Drop(1),
            false => Step::Keep(1),
        }
    }

    /// `[text](address)`, whose bracket is at `open`; `![text](address)`.
    fn link(&self, open: usize, ended: bool) -> Step {
        let text = match self.closing(open, ('[', ']'), LINK_TEXT, ended) {
            Closing::At(at) => at,
            Closing::Unknown => return Step::Wait,
            Closing::None => return Step::Keep(1),
        };
        match self.waiting.get(text + 1) {
            None if !ended => return Step::Wait,
            Some('(') => {}
            _ => return Step::Keep(1),
        }
        match self.closing(text + 1, ('(', ')'), LINK_TARGET, ended) {
            Closing::At(end) => Step::Link(open + 1, text, end + 1),
            Closing::Unknown => Step::Wait,
            Closing::None => Step::Keep(1),
        }
    }

    /// Where the bracket at `open` is closed, on the same line.
    fn closing(
        &self,
        open: usize,
        (left, right): (char, char),
        most: usize,
        ended: bool,
    ) -> Closing {
        let mut depth = 0;
        for (at, c) in self.waiting.iter().enumerate().skip(open).take(most) {
            match *c {
                '\n' => return Closing::None,
                c if c == left => depth += 1,
                c if c == right => {
                    depth -= 1;
                    if depth == 0 {
                        return Closing::At(at);
                    }
                }
                _ => {}
            }
        }
        match ended || self.waiting.len() >= open + most {
            true => Closing::None,
            false => Closing::Unknown,
        }
    }

    /// How often the mark stands at the front, up to [`RUN`].
    fn count(&self, mark: char) -> usize {
        let same = self.waiting.iter().take(RUN).take_while(|c| **c == mark);
        same.count()
    }
}

enum Closing {
    At(usize),
    Unknown,
    None,
}

/// Marks that are looked at as one.
const RUN: usize = 16;
/// Characters of a tag.
const TAG: usize = 12;
/// Characters of the name of a language.
const LANGUAGE: usize = 20;
