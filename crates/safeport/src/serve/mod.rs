//! Drivers: they move bytes, logins and effects between sockets, the registry and the engine.

pub mod access;
pub mod attempts;
pub mod backups;
pub mod datagrams;
pub mod device_web;
pub mod fleet;
pub mod gate;
pub mod http;
pub mod metrics;
pub mod ntp;
pub mod revocation;
pub mod upgrades;
pub mod voice;
pub mod xiaozhi;
