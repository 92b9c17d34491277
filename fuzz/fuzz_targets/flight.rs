//! `cargo +nightly fuzz run flight`: see `safeport_fuzz::flight::answer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    safeport_fuzz::flight::answer(data);
});
