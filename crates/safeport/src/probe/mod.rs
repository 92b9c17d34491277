//! Probes of advertised addresses: whether a device that uses one reaches this server.

pub mod proof;

pub use proof::{Arrival, Nonce, Proofs};
