//! The bodies of the fuzz targets of the log on stable Rust: choices drawn from a fixed seed,
//! the same every time. `FUZZ_ROUNDS=1000000` for a long evening, `FUZZ_SEED=17` for one round.

#[path = "../../../fuzz/src/log.rs"]
#[allow(dead_code, unreachable_pub)]
mod log;
#[path = "../../../fuzz/src/source.rs"]
#[allow(dead_code, unreachable_pub)]
mod source;

#[test]
fn whatever_the_disk_does_what_was_synced_is_there_and_a_crash_never_stops_the_start() {
    rounds(1000, 3000, log::operations);
}

#[test]
fn any_damage_is_recovered_or_refused_and_can_be_skipped() {
    rounds(6000, 900, log::damage);
}

fn rounds(usual: u64, max: u64, body: fn(&[u8])) {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds = match number("FUZZ_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FUZZ_ROUNDS").unwrap_or(usual),
    };
    for seed in seeds {
        let mut dice = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
        let mut word = || {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice
        };
        let len = word() % max;
        let data: Vec<u8> = (0..len).map(|_| (word() >> 32) as u8).collect();
        if let Err(panic) = std::panic::catch_unwind(|| body(&data)) {
            eprintln!("FUZZ_SEED={seed} repeats this");
            std::panic::resume_unwind(panic);
        }
    }
}
