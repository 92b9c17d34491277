//! What commands with `--json` and the HTTP API show alike.

pub mod causes;
pub mod ports;
pub mod revisions;
pub mod settings;
