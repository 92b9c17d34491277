//! What a line or number says by its form, where the catalogue has no entry for it.
//!
//! Libraries number their errors in blocks, and people name them with the same few words in two
//! languages. That tells the class of a trouble, never its cause: nothing here is more than
//! [`Strength::Class`].

mod libraries;
mod modem;
mod numbers;
mod text;
mod words;

use alloc::vec::Vec;

use safeport_settings::Said;

use crate::catalogue::Entry;
use crate::log::speaker::{Level, Spoken};
use crate::{Cause, Strength};

use text::Text;

pub(crate) use numbers::{by_number, leading_number, number_behind};

/// A class of trouble, told from the form of a line or number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Guess {
    /// The likeliest cause of this class.
    pub(crate) cause: Cause,
    /// What else it could be.
    pub(crate) or: Vec<Cause>,
    /// What the form says.
    pub(crate) meaning: Said,
    /// [`Strength::Carrier`] where it says only that something failed.
    pub(crate) strength: Strength,
}

impl Guess {
    fn new(
        cause: Cause,
        en: impl Into<alloc::string::String>,
        zh: impl Into<alloc::string::String>,
    ) -> Guess {
        Guess {
            cause,
            or: Vec::new(),
            meaning: Said::new(en, zh),
            strength: Strength::Class,
        }
    }

    /// It says no more than that something failed.
    fn vague(mut self) -> Guess {
        self.strength = Strength::Carrier;
        self
    }

    fn or(mut self, others: &[Cause]) -> Guess {
        self.or = others.to_vec();
        self
    }
}

/// What a line without an entry says, if it says that something failed.
pub(crate) fn guess(line: &str, spoken: &Spoken<'_>) -> Option<Guess> {
    let text = Text::of(line);
    numbers::in_line(&text, spoken).or_else(|| words::guess(&text, spoken))
}

/// The entry for a number whose form names its stack, though its words are of no entry.
pub(crate) fn entry_of_number(line: &str, spoken: &Spoken<'_>) -> Option<&'static Entry> {
    numbers::entry(&Text::of(line), spoken)
}

/// What the numbers of a line say, its words aside.
pub(crate) fn guess_number(line: &str, spoken: &Spoken<'_>) -> Option<Guess> {
    numbers::in_line(&Text::of(line), spoken)
}

/// What a text says that nobody is known to have printed.
pub(crate) fn guess_alone(text: &str) -> Option<Guess> {
    guess(text, &Spoken::of_nobody(Level::Warning))
}

#[cfg(test)]
mod tests;
