//! How the values of several keys go together.

use alloc::string::String;
use alloc::vec::Vec;

use crate::{Names, Problem, Settings, overlap};

/// Holds the settings against the rules about several keys. Keys in `failed`
/// have a problem already and are left out.
pub(crate) fn together(
    settings: &mut Settings,
    _names: &Names<'_>,
    failed: &[String],
    problems: &mut Vec<Problem>,
) {
    overlap::check(settings, failed, problems);
}
