//! `cargo +nightly fuzz run xiaozhi_texts`: see `safeport_fuzz::xiaozhi`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| safeport_fuzz::xiaozhi::texts(data));
