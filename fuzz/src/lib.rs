//! Bodies of the fuzz targets, as plain functions from bytes to panics.
//!
//! `fuzz_targets/` hands them to libFuzzer. The crates that they attack include the same source
//! files in their tests and run them on stable Rust over fixed seeds and mutations of them
//! (`dice.rs`), so each module here uses its siblings by `crate::`.

pub mod address;
pub mod broker;
pub mod conversation;
pub mod doctor_capture;
pub mod doctor_log;
pub mod fleet;
pub mod flight;
pub mod hello;
pub mod images;
pub mod log;
pub mod mqtt;
pub mod ntp;
pub mod packets;
pub mod source;
pub mod target;
pub mod voice;
pub mod xiaozhi;
pub mod xiaozhi_voice;
