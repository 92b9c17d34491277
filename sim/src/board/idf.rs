//! A program of one's own with `esp_https_ota` of ESP-IDF (espeasy.md §8): a plain GET, a HEAD and
//! ranges, or a download that goes on where it was left. It reads the descriptor at the beginning of
//! the file, compares the version, and closes the connection or goes on.

use super::clock::Clock;
use super::events::Events;
use super::fault::{Fault, FaultKind, Faults};
use super::flash::Flash;
use super::http::{self, Answer, Url, Waits};
use super::slots;
use super::tasmota::BoardError;
use super::tls::Tls;
use super::update::{Death, Download, dark, download, tell_answer, tell_downloaded, tell_fault};
use crate::image::{ImageChip, ImageFamily, Marks};
use serde_json::json;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{sleep, sleep_until};

/// How it downloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One GET.
    Plain,
    /// `partial_http_download`: HEAD, then ranges of so many bytes. The end of the last one is one
    /// past the last byte.
    Partial(u64),
    /// `ota_resumption`: `Range: bytes=<offset>-`, from 0 on.
    Resume,
}

/// A pretend board with a program of one's own.
#[derive(Debug, Clone)]
pub struct IdfBoard {
    /// Address of the image.
    pub url: String,
    /// How it downloads.
    pub mode: Mode,
    /// Between two tries.
    pub every: Duration,
    /// Whether it compares the version of the file with its own. A program that does not installs
    /// whatever it finds, each time. Default true.
    pub compares: bool,
    /// Whom it trusts.
    pub tls: Tls,
    /// Its chip.
    pub chip: ImageChip,
    /// What a blank flash is filled with.
    pub image: Vec<u8>,
    /// Folder of the flash; none keeps it in memory.
    pub flash_folder: Option<PathBuf>,
    /// Every wait of the device is multiplied with it, but not `every`. Default 1.
    pub time_scale: f64,
    /// Accidents.
    pub faults: Vec<Fault>,
}

impl IdfBoard {
    /// An ESP32-C3 that asks every minute.
    pub fn new(url: impl Into<String>, image: Vec<u8>) -> Self {
        IdfBoard {
            url: url.into(),
            mode: Mode::Plain,
            every: Duration::from_secs(60),
            compares: true,
            tls: Tls::Anyone,
            chip: ImageChip::ESP32C3,
            image,
            flash_folder: None,
            time_scale: 1.0,
            faults: Vec::new(),
        }
    }
}

/// Runs the board until `stop` is ready.
pub async fn run(
    options: IdfBoard,
    events: Events,
    stop: impl Future<Output = ()>,
) -> Result<(), BoardError> {
    options.tls.connector().map_err(BoardError::Tls)?;
    let mut flash = Flash::open(options.flash_folder.clone(), &REGIONS)?;
    slots::fill(&mut flash, &options.image);
    let mut board = Board {
        faults: Faults::new(&options.faults),
        clock: Clock::new(options.time_scale),
        options,
        flash,
        events,
    };
    tokio::select! {
        () = stop => {}
        () = board.live() => {}
    }
    board.events.tell(
        "stopped",
        json!({ "boots": board.flash.number("boot_count") }),
    );
    Ok(())
}

struct Board {
    options: IdfBoard,
    flash: Flash,
    events: Events,
    faults: Faults,
    clock: Clock,
}

/// Why there is no new image.
enum Stopped {
    Failed(String),
    Dead(Death),
}

fn failed(why: impl ToString) -> Stopped {
    Stopped::Failed(why.to_string())
}

impl Board {
    async fn live(&mut self) {
        let mut reason = "power on";
        loop {
            let (chip, family) = (self.options.chip, ImageFamily::Idf);
            let booted = slots::boot(&mut self.flash, chip, family, &self.events, reason);
            let Some((_, marks)) = booted else {
                return std::future::pending().await;
            };
            let end = match self.faults.at_boot() {
                Some(kind) => {
                    tell_fault(&self.events, kind, "boot");
                    Some(death(kind))
                }
                None => self.until_accident(&marks).await,
            };
            reason = match end {
                None => "software reset",
                Some(Death::Crash) => "panic",
                Some(Death::Power) => {
                    dark(&self.clock).await;
                    "power on"
                }
            };
            self.events.tell("restarting", json!({ "reason": reason }));
        }
    }

    async fn until_accident(&mut self, marks: &Marks) -> Option<Death> {
        let accident_at = self.clock.at(self.faults.next_time());
        let ended = tokio::select! {
            end = self.operate(marks) => Some(end),
            () = async {
                match accident_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            } => None,
        };
        ended.unwrap_or_else(|| {
            let kind = self
                .faults
                .by_time(self.clock.now())
                .unwrap_or(FaultKind::Power);
            tell_fault(&self.events, kind, "time");
            Some(death(kind))
        })
    }

    /// `None` for a restart into a new image.
    async fn operate(&mut self, marks: &Marks) -> Option<Death> {
        self.clock.wait(BOOT_TIME).await;
        // The program has come so far; that is all it asks of an image.
        slots::confirm(&mut self.flash, &self.events, &marks.version);
        loop {
            match self.upgrade(marks).await {
                Ok(true) => return None,
                Ok(false) => {}
                Err(Stopped::Dead(death)) => return Some(death),
                Err(Stopped::Failed(why)) => self
                    .events
                    .tell("failed", json!({ "what": "upgrade", "why": why })),
            }
            sleep(self.options.every).await;
        }
    }

    /// Whether a new image was installed.
    async fn upgrade(&mut self, marks: &Marks) -> Result<bool, Stopped> {
        let url = Url::read(&self.options.url).ok_or_else(|| failed("the address is no URL"))?;
        let to = slots::other(slots::running(&self.flash));
        self.events.tell(
            "ota_request",
            json!({ "url": self.options.url, "slot": to }),
        );
        let image = match self.options.mode {
            Mode::Plain => {
                let mut answer = self.ask(&url, "GET", None).await?;
                let total = expected(&answer, &[200])?;
                self.unless_it_runs(marks, &mut answer, Vec::new(), (total, total), to)
                    .await?
            }
            Mode::Partial(size) => self.in_parts(&url, size.max(1), marks, to).await?,
            Mode::Resume => self.resumed(&url, marks, to).await?,
        };
        let Some(image) = image else {
            self.events
                .tell("up_to_date", json!({ "version": marks.version }));
            self.flash.write(HELD, Vec::new());
            return Ok(false);
        };
        tell_downloaded(&self.events, to, &image);
        if let Some(kind) = self.faults.at_installed() {
            self.flash.write(to, image);
            tell_fault(&self.events, kind, "installed");
            return Err(Stopped::Dead(death(kind)));
        }
        self.flash.write(HELD, Vec::new());
        slots::finish(
            &mut self.flash,
            self.options.chip,
            image,
            true,
            &self.events,
        )
        .map_err(Stopped::Failed)?;
        Ok(true)
    }

    /// Reads on from `done` up to `total`, unless the descriptor shows that this version runs
    /// (`None`): then the connection is closed on whatever else was sent.
    async fn unless_it_runs(
        &mut self,
        marks: &Marks,
        answer: &mut Answer,
        done: Vec<u8>,
        (total, whole): (u64, u64),
        to: &'static str,
    ) -> Result<Option<Vec<u8>>, Stopped> {
        let head = DESCRIBED.min(total);
        let done = self.body(answer, done, (head, whole), to).await?;
        if self.options.compares {
            let offered = Marks::guess(&done, ImageFamily::Idf, self.options.chip);
            if !offered.version.is_empty() && offered.version == marks.version {
                return Ok(None);
            }
        }
        self.body(answer, done, (total, whole), to).await.map(Some)
    }

    async fn in_parts(
        &mut self,
        url: &Url,
        size: u64,
        marks: &Marks,
        to: &'static str,
    ) -> Result<Option<Vec<u8>>, Stopped> {
        let head = self.ask(url, "HEAD", None).await?;
        self.events.tell(
            "head",
            json!({ "status": head.status, "length": head.length() }),
        );
        let total = if head.status == 200 {
            head.length().filter(|total| *total > 0)
        } else {
            // The length then comes from the answer to one byte.
            let one = self.ask(url, "GET", Some("bytes=0-0".into())).await?;
            let range = one.header("content-range").unwrap_or_default();
            range
                .rsplit_once('/')
                .and_then(|(_, total)| total.parse().ok())
        };
        let total = total.ok_or_else(|| failed("the length of the image is not known"))?;
        let mut image = Vec::new();
        while (image.len() as u64) < total {
            let from = image.len() as u64;
            // The end is not lowered by one in the last request: it is the length itself.
            let until = from + size;
            let end = if until >= total { total } else { until - 1 };
            let range = format!("bytes={from}-{end}");
            let mut answer = self.ask(url, "GET", Some(range.clone())).await?;
            self.events
                .tell("range", json!({ "range": range, "status": answer.status }));
            let length = expected(&answer, &[200, 206])?;
            let until = from + length.min(total - from);
            image = if from < DESCRIBED {
                let whole = (until, total);
                let read = self.unless_it_runs(marks, &mut answer, image, whole, to);
                let Some(image) = read.await? else {
                    return Ok(None);
                };
                image
            } else {
                self.body(&mut answer, image, (until, total), to).await?
            };
        }
        Ok(Some(image))
    }

    /// From where the last try stopped.
    async fn resumed(
        &mut self,
        url: &Url,
        marks: &Marks,
        to: &'static str,
    ) -> Result<Option<Vec<u8>>, Stopped> {
        let mut held = self.flash.region(HELD).to_vec();
        let range = format!("bytes={}-", held.len());
        let mut answer = self.ask(url, "GET", Some(range.clone())).await?;
        self.events
            .tell("range", json!({ "range": range, "status": answer.status }));
        if answer.status == 416 {
            // It begins again at 0, at the next try.
            self.flash.write(HELD, Vec::new());
            return Err(failed("status 416: from the beginning at the next try"));
        }
        let length = expected(&answer, &[200, 206])?;
        if answer.status == 200 {
            held.clear();
        }
        let total = held.len() as u64 + length;
        self.unless_it_runs(marks, &mut answer, held, (total, total), to)
            .await
    }

    /// What was read before an accident is held in the flash, for a download that can go on.
    async fn body(
        &mut self,
        answer: &mut Answer,
        done: Vec<u8>,
        (total, whole): (u64, u64),
        to: &'static str,
    ) -> Result<Vec<u8>, Stopped> {
        let wait = self.clock.limit(READ_WAIT);
        let faults = &mut self.faults;
        let (part, why) =
            match download(answer, done, total, whole, wait, faults, &self.events).await {
                Download::Whole(image) => return Ok(image),
                Download::Broken(part, error) => (part, failed(error)),
                Download::Dead(part, death) => (part, Stopped::Dead(death)),
            };
        if self.options.mode == Mode::Resume {
            self.flash.write(HELD, part);
        } else {
            self.flash.write(to, part);
        }
        Err(why)
    }

    async fn ask(&self, url: &Url, method: &str, range: Option<String>) -> Result<Answer, Stopped> {
        let mut url = url.clone();
        let waits = Waits {
            connect: self.clock.limit(READ_WAIT),
            read: self.clock.limit(READ_WAIT),
        };
        let tls = self.options.tls.connector().map_err(Stopped::Failed)?;
        for _ in 0..=MAX_REDIRECTS {
            let mut head = format!(
                "{method} {} HTTP/1.1\r\nUser-Agent: ESP32 HTTP Client/1.0\r\nHost: {}\r\n",
                url.path,
                url.host_header()
            );
            if let Some(range) = &range {
                head += &format!("Range: {range}\r\n");
            }
            let answer = http::ask(&url, &head, &[], waits, Some(&tls)).await;
            let answer = answer.map_err(failed)?;
            tell_answer(&self.events, &answer);
            let moved = matches!(answer.status, 301 | 302 | 303 | 307 | 308);
            match answer.header("location").and_then(Url::read) {
                Some(to) if moved => url = to,
                _ => return Ok(answer),
            }
        }
        Err(failed("too many redirects"))
    }
}

/// The length of a body that comes with a status that is taken.
fn expected(answer: &Answer, taken: &[u16]) -> Result<u64, Stopped> {
    if !taken.contains(&answer.status) {
        return Err(Stopped::Failed(format!("status {}", answer.status)));
    }
    match answer.length() {
        Some(length @ 1..) => Ok(length),
        _ => Err(failed("no content length")),
    }
}

fn death(kind: FaultKind) -> Death {
    match kind {
        FaultKind::Crash => Death::Crash,
        _ => Death::Power,
    }
}

/// What was downloaded before an accident.
const HELD: &str = "held";
const REGIONS: [&str; 3] = ["ota_0", "ota_1", HELD];
/// What is read at first: image header, first segment header and descriptor take 288 bytes, and the
/// buffer of the HTTP client has at least 1 KiB.
const DESCRIBED: u64 = 1024;
/// From power to Wi-Fi.
const BOOT_TIME: Duration = Duration::from_secs(3);
/// For a connection, and for the next bytes.
const READ_WAIT: Duration = Duration::from_secs(10);
/// Of the HTTP client.
const MAX_REDIRECTS: u32 = 10;
