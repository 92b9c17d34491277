//! `cargo +nightly fuzz run ntp`: see `safeport_fuzz::ntp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    safeport_fuzz::ntp::packet(data);
    safeport_fuzz::ntp::rhythm(data);
});
