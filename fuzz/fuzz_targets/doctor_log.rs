//! `cargo +nightly fuzz run doctor_log`: see `safeport_fuzz::doctor_log`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| safeport_fuzz::doctor_log::read(data));
