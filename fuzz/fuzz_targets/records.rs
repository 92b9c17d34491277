//! `cargo +nightly fuzz run records`: see `safeport_fuzz::broker::records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| safeport_fuzz::broker::records(data));
