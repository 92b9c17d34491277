//! The settings of a server: every key with its type, default, limits and
//! meaning in one table; the sources that may set it; and what is wrong with
//! them, all at once.
//!
//! Nothing here reads a file or the environment. The binary hands over texts
//! ([`Sources`]) and gets [`Settings`] in which each value knows its
//! [`Source`], or a list of [`Problem`]s with line, column and the way out.
//!
//! Order of the sources: default < file < environment < flag.
#![no_std]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod data_path;
mod example;
mod file;
mod kind;
mod nearest;
mod overlap;
mod problem;
mod resolve;
mod said;
mod source;
mod table;
mod units;

pub use data_path::DataPath;
pub use kind::{Durability, Language, LogFormat};
pub use problem::Problem;
pub use resolve::Entry;
pub use said::Said;
pub use source::{FileSource, FlagSource, Location, Source, Sources};
pub use table::{Access, Engine, Http, Limits, Log, Mqtt, Mqtts, Server, Settings};
pub use units::ByteSize;

/// Limits of this crate. Reaching one is a [`Problem`], never a silent cut.
pub mod limits {
    /// Longest settings file, in bytes.
    pub const MAX_FILE: usize = 1 << 20;
    /// Most mistakes in the form of one file that are reported in one go; the
    /// rest of the file is then left unread and a last problem says so.
    pub const MAX_FORM_PROBLEMS: usize = 16;
    /// Longest name for which a nearest known one is looked for, in characters.
    pub const MAX_SUGGESTION: usize = 64;
}
