//! safeport-fleet
#![no_std]
extern crate alloc;
