//! The bodies of the fuzz targets on stable Rust: fixed seeds, then thousands of mutations of
//! them. The same every time; `FUZZ_ROUNDS=1000000` for a long evening.

#[path = "../../../fuzz/src/address.rs"]
#[allow(dead_code, unreachable_pub)]
mod address;
#[path = "../../../fuzz/src/source.rs"]
#[allow(dead_code, unreachable_pub)]
mod source;

/// Mutations of each target. Default 20,000, about a second.
fn rounds() -> usize {
    std::env::var("FUZZ_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20_000)
}

/// A generator of numbers that is the same on every machine (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Changes, inserts or removes a few bytes; the new ones are such that mean something.
    fn mutate(&mut self, bytes: &mut Vec<u8>, meaningful: &[u8]) {
        for _ in 0..1 + self.below(4) {
            let at = self.below(bytes.len() + 1);
            let byte = match self.below(4) {
                0 => self.next() as u8,
                _ => meaningful[self.below(meaningful.len())],
            };
            match (self.below(3), at < bytes.len()) {
                (0, true) => bytes[at] = byte,
                (1, true) => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
    }
}

/// Runs `body` on the seeds and on mutations of them.
fn attack(body: fn(&[u8]), seeds: &[Vec<u8>], meaningful: &[u8]) {
    let mut dice = Dice(0x5AFE_0047);
    for seed in seeds {
        body(seed);
    }
    for _ in 0..rounds() {
        let mut bytes = seeds[dice.below(seeds.len())].clone();
        dice.mutate(&mut bytes, meaningful);
        body(&bytes);
    }
}

#[test]
fn mutated_addresses_never_panic_and_what_is_accepted_reads_back_as_itself() {
    let seeds = [
        "ws://192.168.1.20:8002",
        "HTTPS://Hub.example.com/",
        "mqtts://[fd00::20]:8883",
        "http://[::ffff:192.0.2.1]:80",
        "ws://192.168.1:4",
        "fd00::20",
        "hub.local",
        "ws：//192。168。1。20：8002",
    ]
    .map(|text| text.as_bytes().to_vec());
    attack(address::parse, &seeds, b":/[].@%?#0123456789afx- \\");
}

#[test]
fn the_gate_tells_nothing_broken_whatever_happens_in_whatever_order() {
    let mut dice = Dice(11);
    let seeds: Vec<Vec<u8>> = (0..200)
        .map(|_| {
            let events = 1 + dice.below(120);
            (0..events).map(|_| dice.next() as u8).collect()
        })
        .collect();
    attack(address::gate, &seeds, &[0, 1, 2, 3, 4, 5, 6, 7]);
}
