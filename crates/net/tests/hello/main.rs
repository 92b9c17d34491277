//! ClientHellos of real programs, captured on loopback, and such that nobody sends.

mod captured;
#[path = "../../../../fuzz/src/hello.rs"]
#[allow(dead_code, unreachable_pub)]
mod hello;
mod reading;
#[path = "../../../../fuzz/src/source.rs"]
#[allow(dead_code, unreachable_pub)]
mod source;
mod stacks;
