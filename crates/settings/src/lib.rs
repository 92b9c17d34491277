//! The settings of a server: every key with its type, default, limits and
//! meaning in one table; the sources that may set it; and what is wrong with
//! them, all at once.
//!
//! Nothing here reads a file or the environment. The binary hands over texts
//! ([`Sources`]) and gets [`Settings`] in which each value knows its
//! [`Source`], or a list of [`Problem`]s with line, column and the way out.
//!
//! Order of the sources: default < `safeport.toml` < `conf.d` < environment <
//! flag < managed < tag < device.
#![no_std]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod address;
mod check;
mod chinese;
mod compare;
mod data_path;
mod edit;
mod example;
mod file;
pub mod gate;
mod kind;
mod ladder;
mod listener;
mod mask;
mod merge;
mod nearest;
mod place;
mod policy;
mod ports;
mod problem;
mod resolve;
mod said;
mod source;
mod spec;
mod table;
mod toml_words;
mod units;
mod view;

pub use address::{AddressError, AdvertisedAddress, HostName, Name, Reach, Scheme};
pub use data_path::DataPath;
pub use edit::{set_in_file, unset_in_file};
pub use gate::{
    BoundSocket, Candidate, Gate, GateSettings, InterfaceAddress, Outcome, Surroundings, Told,
    Vantage, candidates,
};
pub use kind::{
    Accept, AcmeKey, AdvertisedHost, AgentChoice, Argument, Bind, Binds, CertificateChoice,
    Challenge, DnsName, Durability, FilePath, Language, LogFormat, Memory, Network, OnConflict,
    Pin, PortRange, ProviderKind, ProviderNeed, ProviderRole, RecordSize, SafebootPolicy, Secret,
    Tag, ToolSource, UtcOffset, XiaozhiActivation, XiaozhiTransport,
};
pub use ladder::{Fate, Rung};
pub use listener::Listener;
pub use mask::mask_secrets;
pub use policy::Policy;
pub use ports::{PlannedAddress, PlannedBind, PortClaim, PortPlan, Protocol, Via};
pub use problem::Problem;
pub use said::Said;
pub use source::{
    Audience, FileSource, FlagSource, Location, ManagedValue, Names, Scope, Source, Sources,
};
pub use table::{
    Access, Acme, Advertise, Agent, Config, Engine, Http, Https, Limits, Log, Mqtt, Mqtts, Ntp,
    Provider, Proxy, Server, Settings, Storage, Tags, Tls, Voice, Xiaozhi,
};
pub use units::{ByteSize, show_duration};
pub use view::{
    Entry, Explained, KeyInfo, SectionInfo, key_info, nearest_key, read_value, sections,
};

/// Limits of this crate. Reaching one is a [`Problem`], never a silent cut.
pub mod limits {
    /// Longest settings file, in bytes.
    pub const MAX_FILE: usize = 1 << 20;
    /// Most mistakes in the form of one file that are reported in one go; the
    /// rest of the file is then left unread and a last problem says so.
    pub const MAX_FORM_PROBLEMS: usize = 16;
    /// Most addresses that one listener listens at.
    pub const MAX_BINDS: usize = 8;
    /// Most ports that are tried when one is taken.
    pub const MAX_PORT_RANGE: usize = 1000;
    /// Most entries of a list.
    pub const MAX_LIST: usize = 64;
    /// Most named entries of one section: `[proxy.NAME]`, `[provider.NAME]`, `[agent.NAME]`.
    pub const MAX_ENTRIES: usize = 32;
    /// Longest name for which a nearest known one is looked for, in characters.
    pub const MAX_SUGGESTION: usize = 64;
}
