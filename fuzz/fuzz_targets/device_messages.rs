//! `cargo +nightly fuzz run device_messages`: see `safeport_fuzz::fleet`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| safeport_fuzz::fleet::messages(data));
