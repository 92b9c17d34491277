//! What the machine is told, and what it asks for.

use alloc::string::String;

use serde::{Deserialize, Serialize};

/// Which of its images a device runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Running {
    /// The ordinary one.
    Main,
    /// Tasmota's safeboot.
    Safeboot,
    /// Tasmota's `-minimal` on an ESP8266.
    Minimal,
}

/// What one look at the device showed. Everything that the look did not show is `None` or false.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saw {
    /// The device is connected (true) or its connection has ended (false).
    pub online: Option<bool>,
    /// A connection has just begun.
    pub connected: bool,
    /// That connection is over TLS.
    pub over_tls: Option<bool>,
    /// The look itself proves a fresh boot: Tasmota's INFO1, a check of xiaozhi.
    pub booted: bool,
    /// Which image speaks.
    pub running: Option<Running>,
    /// Version without Tasmota's tag.
    pub version: Option<String>,
    /// When that was built, in the device's words.
    pub build: Option<String>,
    /// Tasmota's tag, ESPEasy's file name stem.
    pub variant: Option<String>,
    /// A hash of what runs, as the device says it.
    pub hash: Option<String>,
    /// Counted by the device.
    pub boot_count: Option<u64>,
    /// Seconds since its boot.
    pub uptime: Option<u64>,
    /// The reason of the last restart tells of an exception or a watchdog, or there is a dump.
    pub crashed: Option<String>,
    /// Its own `OtaUrl`.
    pub ota_url: Option<String>,
    /// Version of the safeboot, learnt from the headers of a download.
    pub safeboot_version: Option<String>,
}

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A look at the device.
    Saw(Saw),
    /// A text that the device sent as the result of an order: `stat/…/RESULT` and
    /// `stat/…/UPGRADE` of Tasmota, the JSON object as it came.
    Result(String),
    /// The files of a step can be fetched below this URL (ends with the name told).
    TokenReady {
        /// The step it was asked for.
        step: usize,
        /// The whole URL.
        url: String,
    },
    /// No address of ours may be told at the moment; `why` and the way out.
    NoAddress {
        /// In words.
        why: String,
    },
    /// A device fetches a file of a step.
    Fetched {
        /// The step whose folder it is.
        step: usize,
        /// It is the `-minimal` by which a small ESP8266 makes room, not the image of the step.
        minimal: bool,
        /// Bytes handed over so far.
        bytes: u64,
        /// Length of the file.
        total: u64,
        /// The transfer is over: all of it if `bytes == total`.
        ended: bool,
    },
    /// An ESPHome has read its manifest: from now on it knows of the image, and `INSTALL` does
    /// something.
    ManifestRead,
    /// What became of an [`Effect::Web`].
    Web {
        /// What had been asked.
        request: WebRequest,
        /// How it went.
        answer: WebAnswer,
    },
    /// What became of [`Effect::Backup`].
    Backup(BackupAnswer),
    /// An order could not be given, for example since no topic for it is known.
    CannotCommand {
        /// In words.
        why: String,
    },
    /// A person wants it to end.
    Cancel,
    /// A newer offer takes the place of this one.
    Supersede,
}

/// Something asked of the device's own pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebRequest {
    /// Tasmota `/cm?cmnd=…`.
    Command(String),
    /// Tasmota `Status 2` (and for main images `Status 1`) over `/cm`; answered with
    /// [`WebAnswer::Saw`].
    Look,
    /// The file of a step to `/u2` (Tasmota) or `/update` (ESPEasy).
    Upload {
        /// Which step.
        step: usize,
    },
}

/// How a request to the device's own pages went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebAnswer {
    /// Done; what the page said, in short.
    Done(String),
    /// What the page says about the device.
    Saw(Saw),
    /// So many bytes of an upload are over there. More will come.
    Progress(u64),
    /// The device refused, in its own words.
    Refused(String),
    /// Not reachable, not answered, and why.
    Unreachable(String),
}

/// How saving the device's settings went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupAnswer {
    /// Saved.
    Done,
    /// The device's pages cannot be reached: the offer goes on without.
    Unreachable(String),
    /// They can be reached but do not give it, for example since a password is set.
    Refused(String),
}

/// What the driver is to do. Each may come again after a restart of ours, so the driver makes
/// them idempotent by (offer, step).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Tasmota: publish to `cmnd/<topic>/<command>`, or to `cmnd/<fallback>/<command>`.
    Command {
        /// `OtaUrl`, `Upgrade`, `Restart`, `Status`.
        command: &'static str,
        /// The argument.
        payload: String,
    },
    /// ESPHome: tell the update entity `INSTALL`.
    Install,
    /// Ask the device's own pages; answered with [`Event::Web`].
    Web(WebRequest),
    /// Save the device's settings; answered with [`Event::Backup`].
    Backup,
    /// Let the files of this step be fetched; answered with [`Event::TokenReady`] or
    /// [`Event::NoAddress`], again whenever the address changes.
    IssueToken {
        /// Which step.
        step: usize,
    },
    /// From now on nothing of this step can be fetched.
    RevokeToken {
        /// Which step.
        step: usize,
    },
    /// Ask the device about itself by whatever way its family has (ESPEasy `/json`).
    Look,
}
