//! Where a file is after a power cut at any moment, and what else may befall it.

use std::io;

use super::disk::Step;

/// Lets every step happen.
pub(super) fn look_on(_: Step<'_>) -> io::Result<()> {
    Ok(())
}
