//! `cargo +nightly fuzz run decode`: see `safeport_fuzz::mqtt::decode_stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| safeport_fuzz::mqtt::decode_stream(data));
