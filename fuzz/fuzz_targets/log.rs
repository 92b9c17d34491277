//! `cargo +nightly fuzz run log`: see `safeport_fuzz::log::operations`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| safeport_fuzz::log::operations(data));
