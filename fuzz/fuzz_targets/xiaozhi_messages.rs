//! `cargo +nightly fuzz run xiaozhi_messages`: see `safeport_fuzz::conversation`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| safeport_fuzz::conversation::messages(data));
