//! `cargo +nightly fuzz run target`: see `safeport_fuzz::target::typed`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    safeport_fuzz::target::typed(data);
});
