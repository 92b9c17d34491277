//! Choices drawn from bytes, so that a fuzzer or a property test can steer a generator.

/// Bytes that decide. When they run out, every further choice is 0.
pub struct Source<'a> {
    bytes: &'a [u8],
}

impl<'a> Source<'a> {
    /// Draws from `bytes`, first to last.
    pub fn new(bytes: &'a [u8]) -> Source<'a> {
        Source { bytes }
    }

    /// Whether every byte was used.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        match self.bytes.split_first() {
            Some((byte, rest)) => {
                self.bytes = rest;
                *byte
            }
            None => 0,
        }
    }

    /// A number below `end`, which is at least 1 and at most 256.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    /// Yes or no.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 != 0
    }

    /// Two bytes as a number.
    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// Four bytes as a number.
    pub fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    /// One of `choices`, which is not empty.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Up to `max` bytes, `max` below 256; now and then many more.
    pub fn data(&mut self, max: usize) -> Vec<u8> {
        let len = self.below(max + 1);
        let mut data: Vec<u8> = (0..len).map(|_| self.byte()).collect();
        // Lengths on both sides of the one and two byte length limits.
        if self.byte() == 0xFF {
            let len = self.pick(&[127, 128, 300, 16_383, 16_384, 65_535]);
            data.resize(len, b'x');
        }
        data
    }

    /// A text of up to `max` characters without U+0000.
    pub fn text(&mut self, max: usize) -> String {
        let len = self.below(max + 1);
        (0..len).map(|_| self.character()).collect()
    }

    fn character(&mut self) -> char {
        match self.byte() {
            byte @ 1..=0x7F => char::from(byte),
            0 => '\u{FEFF}',
            0x80..=0xBF => 'é',
            0xC0..=0xDF => '温',
            0xE0..=0xEF => '\u{1F525}',
            0xF0..=0xFF => '\u{10FFFF}',
        }
    }
}
