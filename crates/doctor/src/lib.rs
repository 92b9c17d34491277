//! On which layer a connection breaks, why, and what to do about it.
//!
//! Everything here is a value or a decision: no socket, file or clock. A device's log, a packet
//! capture, what our own listeners saw and what probes bring back are each read into [`Evidence`],
//! and [`Evidence`] of one incident is judged into one [`Finding`]. Time is an argument.
#![no_std]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod capture;
mod catalogue;
mod cause;
mod confidence;
pub mod dns;
mod evidence;
mod explain;
mod finding;
mod layer;
pub mod limits;
mod log;
mod mask;
pub mod plan;
pub mod profile;
mod structure;
pub mod target;
mod texts;
pub mod tls;
mod verdict;
pub mod watch;

pub use capture::{CaptureReading, Trusted, read_capture, read_capture_trusting};
pub use catalogue::{Catalogue, Entry, Severity, catalogue};
pub use cause::Cause;
pub use confidence::Confidence;
pub use evidence::{Clue, Evidence, Facts, Moment, Passed, Place, Strength};
pub use explain::{Explained, explain};
pub use finding::{Diagnosis, Excluded, Finding, Sight};
pub use layer::Layer;
pub use log::{Boot, LogReading, read_log, read_log_bytes};
pub use mask::{line, mask, quote};
pub use texts::Texts;
pub use verdict::judge;
