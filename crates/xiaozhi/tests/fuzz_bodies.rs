//! The bodies of the fuzz targets on stable Rust: fixed seeds, then thousands of mutations of
//! them. The same every time; `FUZZ_ROUNDS=1000000` for a long evening.

#[path = "../../../fuzz/src/xiaozhi.rs"]
#[allow(dead_code, unreachable_pub)]
mod xiaozhi;

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
fn checks_of_mutated_bodies_are_answered_and_never_panic() {
    let body = r#"aa:bb:cc:dd:ee:ff
7b94d69a-9808-4c59-9c9b-704333b38aff
bread-compact-wifi/2.4.2
{"version":2,"flash_size":16777216,"minimum_free_heap_size":"8318916","mac_address":"aa:bb:cc:dd:ee:ff","uuid":"u","chip_model_name":"esp32s3","chip_info":{"model":9,"revision":2},"application":{"name":"xiaozhi","version":"2.4.2","elf_sha256":"c8a8"},"partition_table":[{"label":"ota_0","type":0,"subtype":16,"address":131072,"size":4128768}],"ota":{"label":"ota_0"},"display":{"width":240},"board":{"type":"b","ssid":"ho\"me","rssi":-55,"ip":"192.168.1.20"}}"#;
    let seeds = [
        body.as_bytes().to_vec(),
        b"AA-BB-CC-DD-EE-FF\nweb_test_client\nMozilla/5.0\n{}".to_vec(),
        b"x\n\nb/v2.0..1\n[[[{".to_vec(),
        b"\n\n\n".to_vec(),
    ];
    attack(
        xiaozhi::check,
        &seeds,
        b"{}[]\":,\\0129.-eE+tfnul/\n \xff\xc3",
    );
}

#[test]
fn texts_of_strangers_are_refused_or_read_back() {
    let seeds = [
        &b"GID_board@@@aa_bb_cc_dd_ee_ff@@@uuid"[..],
        b"ws://192.168.1.10:8000/xiaozhi/v1/",
        b"9dvI-eZgxgevdgsR_HeA-NWZin2aR7u3b_PdjUvEWVM.1700000000",
        b"eyJpcCI6ICJ1bmtub3duIn0=",
        b"{\"Payload\":{\"hmac\":\"00\",\"challenge\":\"c\",\"serial_number\":\"s\"}}",
        b"048 291",
        b"2.4.2-beta",
    ]
    .map(<[u8]>::to_vec);
    attack(xiaozhi::texts, &seeds, b"@_.:/=|0aA{}\"\\ -+%\xff");
}
