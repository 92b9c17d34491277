//! `cargo +nightly fuzz run topic_filter`: see `safeport_fuzz::mqtt::topic_filter`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| safeport_fuzz::mqtt::topic_filter(data));
