//! The versions that devices run, each text once: a fleet has few of them, and a number is compared
//! faster than a text.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::sighting::Text;

/// See the module. Numbers begin with 1; [`NO_VERSION`] is none.
#[derive(Debug, Default)]
pub(super) struct Versions {
    numbers: BTreeMap<Text, u32>,
    /// The text of number 1 and how many have it, and so on.
    rows: Vec<(Text, u32)>,
    /// Numbers whose text nobody has any more.
    free: Vec<u32>,
}

/// Of a device whose version is not known.
pub(super) const NO_VERSION: u32 = 0;

impl Versions {
    /// The number of a text that somebody has.
    pub(super) fn number(&self, text: &str) -> Option<u32> {
        self.numbers.get(text).copied()
    }

    /// Somebody had `old` and has `text` now, which is this number.
    pub(super) fn exchange(&mut self, old: u32, text: Option<&str>) -> u32 {
        let before = Versions::at(old).and_then(|at| self.rows.get(at));
        if before.map(|(text, _)| &**text) == text {
            return old;
        }
        self.give_back(old);
        text.map_or(NO_VERSION, |text| self.take(text))
    }

    fn take(&mut self, text: &str) -> u32 {
        let number = self.number(text).unwrap_or_else(|| self.add(text));
        if let Some((_, having)) = Versions::at(number).and_then(|at| self.rows.get_mut(at)) {
            *having += 1;
        }
        number
    }

    fn add(&mut self, text: &str) -> u32 {
        let row = (Text::from(text), 0);
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                self.rows.push((Text::default(), 0));
                u32::try_from(self.rows.len()).unwrap_or(u32::MAX)
            }
        };
        self.numbers.insert(row.0.clone(), number);
        if let Some(free) = Versions::at(number).and_then(|at| self.rows.get_mut(at)) {
            *free = row;
        }
        number
    }

    fn give_back(&mut self, number: u32) {
        let Some((text, having)) = Versions::at(number).and_then(|at| self.rows.get_mut(at)) else {
            return;
        };
        *having -= 1;
        if *having == 0 {
            self.numbers.remove(text);
            *text = Text::default();
            self.free.push(number);
        }
    }

    fn at(number: u32) -> Option<usize> {
        number.checked_sub(1).map(|at| at as usize)
    }

    /// How many have each.
    #[cfg(test)]
    pub(super) fn counted(&self) -> BTreeMap<&str, u32> {
        let rows = self.rows.iter().filter(|(_, having)| *having > 0);
        rows.map(|(text, having)| (&**text, *having)).collect()
    }
}
