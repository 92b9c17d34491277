//! The doctor's senses: probes of a target, and what this machine's own listeners saw. What they
//! bring back is judged by [`safeport_doctor`].

mod own;
mod probing;

pub use own::{Inquiry, LATELY, Remembered, Sighted, TOLD};
pub use probing::{Authorities, Examination, Login, Order, OwnPort, State, Step, Vantage, examine};
