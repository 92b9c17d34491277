//! `cargo +nightly fuzz run xiaozhi_datagrams`: see `safeport_fuzz::xiaozhi_voice`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| safeport_fuzz::xiaozhi_voice::datagrams(data));
