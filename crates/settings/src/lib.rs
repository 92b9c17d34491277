//! safeport-settings
#![no_std]
extern crate alloc;
