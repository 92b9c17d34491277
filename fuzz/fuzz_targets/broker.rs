//! `cargo +nightly fuzz run broker`: see `safeport_fuzz::broker::operations`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| safeport_fuzz::broker::operations(data));
