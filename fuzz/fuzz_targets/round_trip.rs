//! `cargo +nightly fuzz run round_trip`: see `safeport_fuzz::mqtt::round_trip`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| safeport_fuzz::mqtt::round_trip(data));
