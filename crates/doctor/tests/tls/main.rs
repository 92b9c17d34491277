//! TLS as devices speak it: against the rows of the fault lab, against ClientHellos that were captured
//! from the real libraries, and against what real servers answered.

mod answers;
mod chains;
mod hellos;
mod lab;
mod mutations;
mod targets;

#[path = "../../../../fuzz/src/dice.rs"]
#[allow(dead_code, unreachable_pub)]
mod dice;
#[path = "../../../../fuzz/src/flight.rs"]
#[allow(unreachable_pub)]
mod flight;
#[path = "../../../../fuzz/src/target.rs"]
#[allow(unreachable_pub)]
mod target;
