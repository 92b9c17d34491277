//! `cargo +nightly fuzz run roster`: see `safeport_fuzz::fleet`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| safeport_fuzz::fleet::roster(data));
