//! `cargo +nightly fuzz run images`: see `safeport_fuzz::images`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| safeport_fuzz::images::inspection(data));
