//! `SetOption0` to `SetOption177`: switches, and small numbers from 32 to 49.

/// The values of all options, at the firmware's defaults as far as a server can see them.
#[derive(Debug, Clone)]
pub(super) struct SetOptions {
    /// Options 0, 50, 82, 114 and 146 onwards, as bits.
    words: [u32; 5],
    /// Options 32 to 49.
    numbers: [u8; 18],
}

/// The value of one option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    /// Reported as `ON` or `OFF`.
    Switch(bool),
    /// Reported as a number.
    Number(u8),
}

/// Options that have commands of their own, or that would change what the simulation is built on
/// (3 MQTT off, 103 and 132 TLS): the first kind answers `Error` on the device too.
const REFUSED: [u16; 12] = [3, 5, 6, 7, 9, 14, 22, 23, 25, 27, 103, 132];

/// Milliseconds between the commands of a `Backlog`.
const BACKLOG_DELAY: u16 = 34;

impl SetOptions {
    pub(super) fn new() -> Self {
        let mut options = SetOptions {
            words: [0; 5],
            numbers: [0; 18],
        };
        options.numbers[usize::from(BACKLOG_DELAY - 32)] = 200;
        // Save the relay's state (0) and skip the check of the Referer header (128).
        options.set(0, 1);
        options.set(128, 1);
        options
    }

    pub(super) fn get(&self, option: u16) -> Option<Setting> {
        if let 32..=49 = option {
            return Some(Setting::Number(self.numbers[usize::from(option - 32)]));
        }
        let (word, bit) = place(option)?;
        Some(Setting::Switch(self.words[word] >> bit & 1 == 1))
    }

    pub(super) fn is_on(&self, option: u16) -> bool {
        self.get(option) == Some(Setting::Switch(true))
    }

    /// False when the firmware answers `{"Command":"Error"}`.
    pub(super) fn set(&mut self, option: u16, value: i64) -> bool {
        if REFUSED.contains(&option) {
            return false;
        }
        if let 32..=49 = option {
            let Ok(value) = u8::try_from(value) else {
                return false;
            };
            self.numbers[usize::from(option - 32)] = value;
            return true;
        }
        match (place(option), value) {
            (Some((word, bit)), 0 | 1) => {
                self.words[word] = self.words[word] & !(1 << bit) | (value as u32) << bit;
                true
            }
            _ => false,
        }
    }

    /// Sets a switch that a plug without a board refuses.
    pub(super) fn switch(&mut self, option: u16, on: bool) {
        if let Some((word, bit)) = place(option) {
            self.words[word] = self.words[word] & !(1 << bit) | u32::from(on) << bit;
        }
    }

    /// As they are kept in a flash memory.
    pub(super) fn kept(&self) -> (Vec<u32>, Vec<u8>) {
        (self.words.to_vec(), self.numbers.to_vec())
    }

    /// From what was kept; nothing changes where that does not fit.
    pub(super) fn restore(&mut self, words: &[u32], numbers: &[u8]) {
        if let (Ok(words), Ok(numbers)) = (words.try_into(), numbers.try_into()) {
            (self.words, self.numbers) = (words, numbers);
        }
    }

    pub(super) fn backlog_delay(&self) -> std::time::Duration {
        let milliseconds = self.numbers[usize::from(BACKLOG_DELAY - 32)];
        std::time::Duration::from_millis(milliseconds.into())
    }

    /// The six words of STATUS3, in its order.
    pub(super) fn hex_words(&self) -> [String; 6] {
        let [first, third, fourth, fifth, sixth] = self.words.map(|word| format!("{word:08X}"));
        let numbers = self.numbers.iter().map(|n| format!("{n:02X}")).collect();
        [first, numbers, third, fourth, fifth, sixth]
    }
}

fn place(option: u16) -> Option<(usize, u16)> {
    match option {
        0..=31 => Some((0, option)),
        50..=81 => Some((1, option - 50)),
        82..=113 => Some((2, option - 82)),
        114..=145 => Some((3, option - 114)),
        146..=177 => Some((4, option - 146)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_where_a_server_looks_for_them_in_status_3() {
        let mut options = SetOptions::new();
        assert!(options.set(90, 1));
        assert!(options.set(165, 1));
        // 90 is bit 8 of the fourth word, 165 bit 19 of the sixth (tasmota.md §1.4).
        let words = options.hex_words();
        assert_eq!(words[3], "00000100");
        assert_eq!(words[5], "00080000");
        assert_eq!(words[1].len(), 36);
        assert!(options.is_on(90) && !options.is_on(91));
    }

    #[test]
    fn numbers_and_unknown_options_are_told_apart() {
        let mut options = SetOptions::new();
        assert_eq!(options.get(34), Some(Setting::Number(200)));
        assert!(options.set(34, 250) && !options.set(34, 256));
        assert!(!options.set(4, 2) && !options.set(178, 1));
        assert_eq!(options.get(178), None);
    }
}
