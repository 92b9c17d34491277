//! `cargo +nightly fuzz run log_damage`: see `safeport_fuzz::log::damage`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| safeport_fuzz::log::damage(data));
