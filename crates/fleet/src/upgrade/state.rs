//! The words for where an offer stands, and why it ended.

use core::fmt;

use serde::{Deserialize, Serialize};

/// Where an offer stands, as people and programs see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing can be done before something else happens.
    Waiting(Cause),
    /// The device is asked about itself, and its settings are saved.
    Preparing,
    /// The device has been told, or will be at its next check; it has not fetched anything yet.
    Offered,
    /// Bytes are on their way.
    Downloading,
    /// The device has everything, and writes or restarts.
    Installing,
    /// The new safeboot has to show that it reaches us.
    Proving,
    /// The device runs its safeboot or `-minimal`, and the main image is still to come.
    Recovery,
    /// It has restarted; the evidence is gathered.
    Verifying,
    /// The evidence is complete; now it has to stay so.
    Soaking,
    /// The device gets back its own `OtaUrl`.
    Restoring,
    /// It has not been seen again. Goes on as soon as it is.
    Unreachable,
    /// It runs the image, and has stayed healthy.
    Succeeded,
    /// It runs its old image again.
    Reverted,
    /// It will not come to anything without a person.
    Failed(Reason),
    /// It ran the image already.
    Skipped,
    /// A newer offer has taken its place.
    Superseded,
    /// A person ended it.
    Cancelled,
    /// The device did not come in time.
    Expired,
}

impl State {
    /// The word, without cause or reason.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Waiting(_) => "waiting",
            State::Preparing => "preparing",
            State::Offered => "offered",
            State::Downloading => "downloading",
            State::Installing => "installing",
            State::Proving => "proving",
            State::Recovery => "recovery",
            State::Verifying => "verifying",
            State::Soaking => "soaking",
            State::Restoring => "restoring",
            State::Unreachable => "unreachable",
            State::Succeeded => "succeeded",
            State::Reverted => "reverted",
            State::Failed(_) => "failed",
            State::Skipped => "skipped",
            State::Superseded => "superseded",
            State::Cancelled => "cancelled",
            State::Expired => "expired",
        }
    }

    /// Whether nothing can follow.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            State::Succeeded
                | State::Reverted
                | State::Failed(_)
                | State::Skipped
                | State::Superseded
                | State::Cancelled
                | State::Expired
        )
    }

    /// The cause or reason as a word, if the state has one.
    pub fn detail(self) -> Option<&'static str> {
        match self {
            State::Waiting(cause) => Some(cause.as_str()),
            State::Failed(reason) => Some(reason.code()),
            _ => None,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail() {
            Some(detail) => write!(out, "{}({detail})", self.as_str()),
            None => out.pad(self.as_str()),
        }
    }
}

/// What a waiting offer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The device is not connected.
    Offline,
    /// No address of ours is proved, so none may be told.
    UrlGate,
    /// The next try is due later.
    Retry,
}

impl Cause {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Offline => "offline",
            Cause::UrlGate => "url_gate",
            Cause::Retry => "retry",
        }
    }
}

/// Why an offer failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The safeboot was switched to and never came to the TLS listener.
    SafebootWithoutTls,
    /// The device sits in its safeboot and the ladder has no rung left.
    StuckInSafeboot,
    /// The device says that this file is not for it.
    WrongFile,
    /// The device or its page refused, in its own words.
    Refused,
    /// The same file was fetched three times and is still not what runs.
    InstallLoop,
    /// Three boots within ten minutes.
    BootLoop,
    /// The new image restarted by an exception or a watchdog.
    Crashed,
    /// Something else runs than what was installed.
    OtherBuild,
    /// The device does not say enough to tell what it runs.
    NotProved,
    /// It keeps losing its connection.
    Unstable,
    /// The device's pages do not give its settings.
    BackupRefused,
    /// The address is longer than the device can store.
    UrlTooLong,
    /// Not seen again.
    Unreachable,
    /// Lost messages, broken downloads or power cuts, again and again.
    Interrupted,
}

impl Reason {
    /// The word for programs.
    pub fn code(self) -> &'static str {
        match self {
            Reason::SafebootWithoutTls => "safeboot_without_tls",
            Reason::StuckInSafeboot => "stuck_in_safeboot",
            Reason::WrongFile => "wrong_file",
            Reason::Refused => "refused",
            Reason::InstallLoop => "install_loop",
            Reason::BootLoop => "boot_loop",
            Reason::Crashed => "crashed",
            Reason::OtherBuild => "other_build",
            Reason::NotProved => "not_proved",
            Reason::Unstable => "unstable",
            Reason::BackupRefused => "backup_refused",
            Reason::UrlTooLong => "url_too_long",
            Reason::Unreachable => "unreachable",
            Reason::Interrupted => "interrupted",
        }
    }

    /// What to do, in a sentence or two.
    pub fn advice(self) -> &'static str {
        match self {
            Reason::SafebootWithoutTls => {
                "The safeboot in this release does not reach the TLS listener, so the main image \
                 was not touched. Offer a release whose safeboot is built with MQTT over TLS, or \
                 let the device use the plain listener (SetOption103 0, port 1883) for upgrades."
            }
            Reason::StuckInSafeboot => {
                "Open http://<the device's address>/ in a browser, choose Firmware Upgrade, and \
                 upload the main image there; then offer the release again."
            }
            Reason::WrongFile => {
                "The device says that this file does not fit it. Compare chip, partition layout \
                 and size with `safeport firmware inspect`, and offer the image for this device."
            }
            Reason::Refused => {
                "The device refused in its own words, given above. Put that right on the device, \
                 then offer it again."
            }
            Reason::InstallLoop => {
                "The device fetches the image and does not keep it. Look whether its own upgrade \
                 check compares versions, and whether the image boots on this board."
            }
            Reason::BootLoop => {
                "The device keeps restarting. Offer its former image again, or look at its serial \
                 console."
            }
            Reason::Crashed => {
                "The new image restarted by an exception or a watchdog. Offer the former image \
                 again, and report the crash with its trace."
            }
            Reason::OtherBuild => {
                "Something else runs than what was fetched. Look whether the version given at the \
                 upload of the image is the one it reports, and whether somebody else upgrades \
                 this device too."
            }
            Reason::NotProved => {
                "The image was fetched, but the device does not tell what it runs. Look at the \
                 device; if all is well, let it report its version."
            }
            Reason::Unstable => {
                "The device loses its connection again and again with the new image. Look at \
                 `safeport attempts` for the cause, or offer the former image again."
            }
            Reason::BackupRefused => {
                "The device does not give its settings for a backup. Tell Safeport its web \
                 password, or set `firmware.backup_before = false`."
            }
            Reason::UrlTooLong => {
                "Tasmota stores at most 100 characters of OtaUrl. Advertise a shorter name or an \
                 IP address (`advertise.host`), or give the image a shorter file name."
            }
            Reason::Unreachable => {
                "The device has not come back. Look at the board and its Wi-Fi; the offer can be \
                 made again when it is here."
            }
            Reason::Interrupted => {
                "Something kept interrupting: lost messages, broken downloads or power cuts. Look \
                 at the device's Wi-Fi signal and power supply, then offer it again."
            }
        }
    }
}

/// The four ticks: when each piece of evidence was complete, in seconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// E1: what runs is what was meant.
    pub build: Option<u64>,
    /// E2: it has booted freshly.
    pub boot: Option<u64>,
    /// E3: it stayed for the soak.
    pub stays: Option<u64>,
    /// E4: no crash.
    pub sane: Option<u64>,
}
