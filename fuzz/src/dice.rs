//! What runs the bodies of fuzz targets on stable Rust: fixed seeds, then mutations of them, the same
//! every time and on every machine.

/// How often: `FUZZ_ROUNDS`, or `usual`.
pub fn rounds(usual: usize) -> usize {
    let wished = std::env::var("FUZZ_ROUNDS").ok();
    wished.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// A generator of numbers (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// One of `0..end`, 0 where there is none.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// Up to so many bytes of any kind.
    pub fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1))
            .map(|_| self.next() as u8)
            .collect()
    }

    /// Changes, inserts, removes or repeats a few bytes; new ones are mostly such that mean
    /// something.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>, meaningful: &[&[u8]]) {
        for _ in 0..1 + self.below(4) {
            let at = self.below(bytes.len() + 1);
            let new = match self.below(4) {
                0 => vec![self.next() as u8],
                _ => meaningful[self.below(meaningful.len())].to_vec(),
            };
            match (self.below(6), at < bytes.len()) {
                (0, true) => drop(bytes.splice(at..=at, new)),
                (1, true) => drop(bytes.remove(at)),
                (2, true) => {
                    let end = bytes.len().min(at + 1 + self.below(40));
                    let again = bytes[at..end].to_vec();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, again);
                }
                (3, true) => bytes[at] ^= 1 << self.below(8),
                _ => drop(bytes.splice(at..at, new)),
            }
        }
    }
}

/// Runs `body` on the seeds, and on so many mutations of them.
pub fn attack(body: fn(&[u8]), seeds: &[Vec<u8>], meaningful: &[&[u8]], rounds: usize) {
    let mut dice = Dice(0x5AFE_0047);
    for seed in seeds {
        body(seed);
    }
    for _ in 0..rounds {
        let mut bytes = seeds[dice.below(seeds.len())].clone();
        dice.mutate(&mut bytes, meaningful);
        body(&bytes);
    }
}

/// Each byte for itself.
pub fn each(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.chunks(1).collect()
}
