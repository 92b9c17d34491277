//! Pretend boards: a flash memory with images in it, a web server, MQTT, and the updater of each
//! family. Called by `safeport simulate tasmota32`, `tasmota8266`, `espeasy`, `xiaozhi`, `esphome`
//! and `idf`, and by tests in-process.
//!
//! A board downloads real bytes, checks them as its firmware does, writes them into its flash, and
//! boots what it finds there; version, chip and abilities that it then shows come out of the image
//! ([`crate::image::Marks`]). Everything that happens is told as an [`Event`].

mod clock;
pub mod espeasy;
pub mod esphome;
mod events;
mod fault;
mod flash;
mod http;
pub mod idf;
mod link;
mod slots;
pub mod tasmota;
mod tls;
mod update;
mod web;
pub mod xiaozhi;

pub use events::{Event, Events};
pub use fault::{Fault, FaultKind, FaultPoint};
pub use flash::FlashError;
pub use tasmota::BoardError;
pub use tls::Tls;
