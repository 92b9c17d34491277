//! Pretend devices for trying Safeport out, for end-to-end tests and for load.
//!
//! * [`load`] drives any MQTT broker hard and says what that costs it (`safeport bench mqtt`).
//! * [`tasmota`] is a pretend plug true to the firmware in what a server sees of it
//!   (`safeport simulate tasmota`).
//! * [`image`] makes firmware files, sound ones and spoilt ones (`safeport simulate image`).
//! * [`board`] is pretend boards with a flash memory: they fetch such files, check them as the
//!   real ones do, boot them, and become what stands in them (`safeport simulate tasmota32` and
//!   others).

pub mod board;
mod descriptors;
mod dial;
pub mod image;
pub mod load;
mod roots;
pub mod tasmota;

pub use descriptors::TooFewDescriptors;
