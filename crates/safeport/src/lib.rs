//! The `safeport` command. [`cli`] reads what was asked for, [`app`] composes a server out of the
//! crates below, [`serve`] drives it; beside a running server, [`cli`] works on the same data
//! folder.

pub mod acme;
pub mod app;
pub mod banner;
pub mod certificates;
pub mod cli;
pub mod console;
pub mod descriptors;
pub mod doctor;
pub mod enrol;
pub mod holding;
pub mod import;
pub mod lan;
pub mod limits;
pub mod log;
pub mod password;
pub mod probe;
pub mod program;
pub mod reading;
pub mod serve;
pub mod service_manager;
pub mod shown;
pub mod streamed;
pub mod tasks;
pub mod text;
pub mod throttle;
pub mod time;
pub mod token;
pub mod trust;
