//! `cargo +nightly fuzz run xiaozhi_check`: see `safeport_fuzz::xiaozhi`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| safeport_fuzz::xiaozhi::check(data));
