//! TLS as devices speak it: the ClientHello of each, the server's answer to it, and its chain judged as
//! each would judge it. Bytes in, bytes and verdicts out; the binary carries them.

mod answer;
mod certificate;
mod flight;
mod hello;
mod judge;
pub mod names;
mod number;
mod offer;
mod outcome;
mod wire;

pub use answer::Answer;
pub use certificate::{Anchor, Certificate, Curve, Hash, Key, tasmota_fingerprint};
pub use flight::{Alert, Flight, FlightReader, How};
pub use hello::{ClientHello, records};
pub use judge::{ChainVerdict, Circumstances, Pin, inspect_chain, judge_chain};
pub use number::Number;
pub use offer::{Offer, distinct_offers};
pub use outcome::{Outcome, Seen, Verdict, as_device, table};
