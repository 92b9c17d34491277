//! `cargo +nightly fuzz run hello`: see `safeport_fuzz::hello::read`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    safeport_fuzz::hello::read(data);
    safeport_fuzz::hello::round_trip(data);
});
