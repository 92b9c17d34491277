//! Certificates from an authority that hands them out by ACME (RFC 8555), such as Let's Encrypt:
//! asked for and renewed without anybody, for the keys that this server has anyway, so that a
//! fingerprint that a device was given stays true.
//!
//! [`plan`] says what is to be done next, as a value; [`Acme`] does it; [`AcmeState`] tells people.
//! The HTTP listeners answer [`Challenges`]; a [`Desk`] serves what comes.

mod account;
mod challenges;
mod client;
mod config;
mod desk;
mod driver;
mod hook;
mod leaf;
mod order;
pub mod plan;
mod shelf;
pub mod state;
mod trouble;

pub use challenges::{Challenges, PATH as CHALLENGE_PATH};
pub use config::{AcmeConfig, Challenge, Eab};
pub use desk::{Desk, Issued};
pub use driver::{Acme, AcmeHandle};
pub use leaf::ServerKeys;
pub use plan::{Alarm, Key};
pub use state::AcmeState;

#[cfg(test)]
mod tests;
