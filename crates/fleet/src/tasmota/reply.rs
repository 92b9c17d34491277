//! Answers to `Upgrade` and `Restart`, on `stat/<topic>/RESULT` and
//! `stat/<topic>/UPGRADE`.

use crate::heard::{object, short};
use crate::sighting::Text;

/// What `Upgrade` answered, at once or after the download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpgradeReply {
    /// It fetches in some seconds: its version and where from, in its words.
    Started(Text),
    /// It writes the safeboot image.
    Safeboot,
    /// It runs what was named or something newer; or, to `Upgrade 2`, it has no
    /// safeboot.
    NotNewer(Text),
    /// The image is written, it restarts.
    Successful,
    /// It did not work. The reason in its words, which may be empty or of an
    /// earlier try.
    Failed(Text),
    /// Something else, in its words.
    Other(Text),
}

impl UpgradeReply {
    /// Reads the payload of `RESULT`, `UPGRADE` or of a request to `/cm`. None
    /// if it answers something else.
    pub fn read(payload: &[u8]) -> Option<UpgradeReply> {
        let object = object(payload)?;
        let said = object
            .get("Upgrade")
            .or_else(|| object.get("Upload"))?
            .as_str()?;
        Some(UpgradeReply::of(said))
    }

    /// Reads the text behind `"Upgrade":`.
    pub fn of(said: &str) -> UpgradeReply {
        let text = short(said).unwrap_or_default();
        let starts = |with: &str| {
            said.get(..with.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(with))
        };
        if starts("Version ") {
            UpgradeReply::Started(text)
        } else if said.eq_ignore_ascii_case("Safeboot") {
            UpgradeReply::Safeboot
        } else if starts("Successful") {
            UpgradeReply::Successful
        } else if starts("Failed") {
            UpgradeReply::Failed(short(&said["Failed".len()..]).unwrap_or_default())
        } else if starts("1 or >") {
            UpgradeReply::NotNewer(text)
        } else {
            UpgradeReply::Other(text)
        }
    }
}

/// What `Restart` answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestartReply {
    /// It changes between safeboot and the main image.
    Switching,
    /// It restarts.
    Restarting,
    /// Something else, in its words.
    Other(Text),
}

impl RestartReply {
    /// Reads the payload of `RESULT` or of a request to `/cm`. None if it
    /// answers something else.
    pub fn read(payload: &[u8]) -> Option<RestartReply> {
        let object = object(payload)?;
        let said = object.get("Restart")?.as_str()?;
        Some(match said {
            "Switching" => RestartReply::Switching,
            "Restarting" => RestartReply::Restarting,
            other => RestartReply::Other(short(other).unwrap_or_default()),
        })
    }
}
