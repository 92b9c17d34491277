//! `cargo +nightly fuzz run gate`: see `safeport_fuzz::address::gate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| safeport_fuzz::address::gate(data));
