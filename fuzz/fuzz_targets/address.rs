//! `cargo +nightly fuzz run address`: see `safeport_fuzz::address::parse`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| safeport_fuzz::address::parse(data));
