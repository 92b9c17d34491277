//! `cargo +nightly fuzz run voice_sentences`: see `safeport_fuzz::voice`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| safeport_fuzz::voice::sentences(data));
