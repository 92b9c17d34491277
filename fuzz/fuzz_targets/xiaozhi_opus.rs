//! `cargo +nightly fuzz run xiaozhi_opus`: see `safeport_fuzz::xiaozhi_voice`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| safeport_fuzz::xiaozhi_voice::opus(data));
