//! `cargo +nightly fuzz run doctor_capture`: see `safeport_fuzz::doctor_capture`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| safeport_fuzz::doctor_capture::read(data));
