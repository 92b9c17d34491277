//! A line in which many words are looked for.

use super::numbers::{find, number_behind};

/// A line, and which pairs of neighbouring letters it has: most words are told to be absent from it
/// without a search.
pub(super) struct Text<'a> {
    pub(super) line: &'a str,
    pairs: [u64; 16],
}

impl<'a> Text<'a> {
    pub(super) fn of(line: &'a str) -> Text<'a> {
        let mut pairs = [0; 16];
        for pair in line.as_bytes().windows(2) {
            let at = place(pair[0], pair[1]);
            pairs[at / 64] |= 1 << (at % 64);
        }
        Text { line, pairs }
    }

    /// Whether one of these is in it, in either case.
    pub(super) fn has(&self, words: &[&str]) -> bool {
        let mut words = words.iter();
        words.any(|word| self.may_have(word) && find(self.line, word).is_some())
    }

    /// The number behind one of these words and at most a few signs.
    pub(super) fn number_behind(&self, words: &[&str]) -> Option<i64> {
        let mut words = words.iter().filter(|word| self.may_have(word));
        words.find_map(|word| number_behind(self.line, &[word]))
    }

    pub(super) fn may_have(&self, word: &str) -> bool {
        word.as_bytes().windows(2).all(|pair| {
            let at = place(pair[0], pair[1]);
            self.pairs[at / 64] & (1 << (at % 64)) != 0
        })
    }
}

fn place(one: u8, next: u8) -> usize {
    let (one, next) = (one.to_ascii_lowercase(), next.to_ascii_lowercase());
    (usize::from(one) * 37 + usize::from(next)) % 1024
}
