//! What is told of backups, and what goes wrong with them.

use std::fmt;
use std::str::FromStr;

use safeport_fleet::MemberId;
use safeport_store::{BackupRow, StoreError};
use serde::Serialize;

use super::form::Difference;
use crate::serve::upgrades::WebError;

/// The number of a backup, written `bak_b4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupId(pub u64);

/// The text is no number of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the number of a backup: it looks like bak_b4")]
pub struct BackupIdError;

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The digits are those of devices.
        let text = MemberId(self.0).to_string();
        write!(f, "bak_{}", text.trim_start_matches("dev_"))
    }
}

impl FromStr for BackupId {
    type Err = BackupIdError;

    fn from_str(text: &str) -> Result<BackupId, BackupIdError> {
        let digits = text.strip_prefix("bak_").ok_or(BackupIdError)?;
        let MemberId(number) = format!("dev_{digits}").parse().map_err(|_| BackupIdError)?;
        // What the registry can hold.
        i64::try_from(number).map_err(|_| BackupIdError)?;
        Ok(BackupId(number))
    }
}

/// A backup as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackupView {
    /// Its number.
    pub id: String,
    /// The number of the device.
    pub device: String,
    /// When it was taken, in seconds since 1970.
    pub at: u64,
    /// When the same bytes were found on the device again.
    pub again_at: Option<u64>,
    /// The firmware that it is of.
    pub family: String,
    /// The version that the device ran.
    pub version: Option<String>,
    /// In bytes.
    pub size: u64,
    /// Of its bytes, 64 hex digits.
    pub sha256: String,
    /// The name that the device gave it.
    pub file_name: String,
    /// What it was taken for.
    pub why: String,
    /// Who took it.
    pub who: String,
}

impl BackupView {
    pub(super) fn of(row: BackupRow) -> BackupView {
        BackupView {
            id: BackupId(row.id).to_string(),
            device: MemberId(row.member).to_string(),
            at: row.at,
            again_at: row.again_at,
            family: row.kind,
            version: row.version,
            size: row.bytes,
            sha256: row.hash.to_string(),
            file_name: row.file_name,
            why: row.why,
            who: row.who,
        }
    }
}

/// What came of asking for a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Made {
    /// The new one, or the one that has the same bytes.
    pub backup: BackupView,
    /// The device gave the very bytes of its newest backup; none was added.
    pub unchanged: bool,
    /// How it differs from the one before; none if there is none before, or it is unchanged.
    pub compared: Option<Comparison>,
}

/// Two backups beside each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The number of the other one.
    pub with: String,
    /// How they differ.
    #[serde(flatten)]
    pub difference: Difference,
}

/// What came of putting settings back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// What is to be minded.
    pub warnings: Vec<String>,
    /// The backup of what the device had before; none if nothing was done.
    pub saved: Option<String>,
    /// What the device said; none if nothing was done.
    pub said: Option<String>,
}

/// Why something about backups could not be done.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is no such device.
    #[error("there is no device {0}; see `safeport device list`")]
    NoDevice(MemberId),
    /// There is no such backup.
    #[error("there is no backup {0}; see `safeport device backups`")]
    Unknown(BackupId),
    /// There is none to compare with.
    #[error("{0} is the oldest backup of its device, there is none before it to compare with")]
    NothingBefore(BackupId),
    /// They are of different families.
    #[error("{0} and {1} are settings of different firmware and cannot be compared")]
    Unlike(BackupId, BackupId),
    /// They are of another device.
    #[error(
        "{backup} holds the settings of {of}, not of {to}; if {to} is to get a copy of them, say \
         so with `safeport device restore {backup} --to {to}`"
    )]
    OtherDevice {
        /// The backup.
        backup: BackupId,
        /// Whose it is.
        of: MemberId,
        /// Who was to get it.
        to: String,
    },
    /// They are of another firmware.
    #[error("{backup} holds settings of {family}, and {device} does not run that")]
    OtherFamily {
        /// The backup.
        backup: BackupId,
        /// Whose settings.
        family: String,
        /// Who was to get it.
        device: String,
    },
    /// They are of another chip.
    #[error(
        "{backup} holds settings for another chip than that of {device}, {chip}, which would \
         refuse them"
    )]
    OtherChip {
        /// The backup.
        backup: BackupId,
        /// Who was to get it.
        device: String,
        /// Its chip.
        chip: String,
    },
    /// What the device gave is something else.
    #[error("what {device} gives is no settings file: {why}")]
    NotSettings {
        /// The device.
        device: String,
        /// What it is instead.
        why: String,
    },
    /// Somebody else does the same.
    #[error("the settings of {0} are being read or changed right now; try again in a moment")]
    Busy(MemberId),
    /// It cannot be sent.
    #[error("a password of a device's pages has at most 64 bytes and no control characters")]
    BadPassword,
    /// The file of a backup is not what it was.
    #[error("the file of {0} cannot be used: {1}")]
    Unreadable(BackupId, String),
    /// The device's pages.
    #[error(transparent)]
    Web(#[from] WebError),
    /// The registry or the disk.
    #[error(transparent)]
    Store(StoreError),
}

impl BackupError {
    /// The word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            BackupError::NoDevice(_) => "unknown-device",
            BackupError::Unknown(_) => "unknown-backup",
            BackupError::NothingBefore(_) => "nothing-before",
            BackupError::Unlike(..) => "unlike",
            BackupError::OtherDevice { .. } => "other-device",
            BackupError::OtherFamily { .. } => "other-family",
            BackupError::OtherChip { .. } => "other-chip",
            BackupError::NotSettings { .. } => "not-settings",
            BackupError::Busy(_) => "busy",
            BackupError::BadPassword => "bad-password",
            BackupError::Unreadable(..) => "backup-damaged",
            BackupError::Web(WebError::Unreachable(_)) => "device-unreachable",
            BackupError::Web(WebError::Refused(_)) => "device-refused",
            BackupError::Store(_) => "store",
        }
    }

    /// The status of an answer over HTTP that tells of it.
    pub fn status(&self) -> u16 {
        match self {
            BackupError::NoDevice(_) | BackupError::Unknown(_) => 404,
            BackupError::Busy(_)
            | BackupError::NothingBefore(_)
            | BackupError::OtherDevice { .. }
            | BackupError::OtherFamily { .. }
            | BackupError::OtherChip { .. }
            | BackupError::Unlike(..) => 409,
            BackupError::BadPassword => 422,
            BackupError::NotSettings { .. } | BackupError::Web(_) => 502,
            BackupError::Store(StoreError::Full { .. }) => 507,
            BackupError::Unreadable(..) | BackupError::Store(_) => 500,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_backup_is_read_as_it_is_written() {
        for number in [0, 1, 31, 32, 1_000_000, i64::MAX as u64] {
            assert_eq!(BackupId(number).to_string().parse(), Ok(BackupId(number)));
        }
        for wrong in [
            "",
            "bak_",
            "dev_b",
            "bak_B",
            "bak_!",
            "bak_777777777777777777",
        ] {
            assert_eq!(wrong.parse::<BackupId>(), Err(BackupIdError), "{wrong}");
        }
    }
}
