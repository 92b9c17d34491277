//! The `safeport` command.
fn main() {}
