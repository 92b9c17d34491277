//! What commands with `--json` and the HTTP API show alike.

pub mod agents;
pub mod attempts;
pub mod causes;
pub mod certificates;
pub mod devices;
pub mod doctor;
pub mod families;
pub mod images;
pub mod offers;
pub mod ports;
pub mod revisions;
pub mod settings;
pub mod talks;
pub mod wording;
