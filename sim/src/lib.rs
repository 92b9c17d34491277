//! Pretend devices for trying Safeport out, for end-to-end tests and for load.
//!
//! * [`load`] drives any MQTT broker hard and says what that costs it (`safeport bench mqtt`).
//! * [`tasmota`] is a pretend plug true to the firmware in what a server sees of it
//!   (`safeport simulate tasmota`).

mod descriptors;
pub mod load;
mod roots;
pub mod tasmota;

pub use descriptors::TooFewDescriptors;
