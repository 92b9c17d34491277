//! The updater of Tasmota: its request byte for byte, its checks, its texts (tasmota.md §2.1, §2.3).

use super::super::http::{self, HttpError, Url, Waits};
use super::super::tls::Tls;
use super::super::update::{Death, Download, download, tell_answer, tell_downloaded};
use super::names;
use super::{Board, Kind};
use crate::image::{ImageChip, Marks, verify};
use crate::tasmota::{Fingerprint, Trust};
use serde_json::json;
use std::time::Duration;

/// How an attempt ended without a new image.
pub(super) enum Failed {
    /// The text behind `Failed`.
    Text(String),
    /// The board died over it.
    Dead(Death),
}

fn text(words: &str) -> Failed {
    Failed::Text(words.to_owned())
}

impl Board {
    /// Tries as often as the firmware does. `to` is where the image goes.
    pub(super) async fn upgrade(
        &mut self,
        url: &str,
        to: &'static str,
        running: &Marks,
    ) -> Result<(), Failed> {
        let mut last = text("");
        for attempt in 1..=ATTEMPTS {
            let mut asked = names::with_chip(url, self.options.mac.tail());
            if self.flash.flag("minimal_next") {
                asked = names::beside(&asked, "minimal");
            }
            if self.kind() == Kind::Esp8266 && attempt == ATTEMPTS {
                asked = names::packed(&asked);
            }
            match self.attempt(&asked, to, running).await {
                Ok(()) => return Ok(()),
                Err(Failed::Dead(death)) => return Err(Failed::Dead(death)),
                Err(Failed::Text(why)) => {
                    self.events.tell(
                        "failed",
                        json!({ "what": "download", "why": why, "attempt": attempt }),
                    );
                    // What does not fit beside the running image may fit beside a small one.
                    let is_small = running.variant == crate::image::Variant::Minimal;
                    let by_size = why == TOO_LARGE_8266 || why == WRONG_FLASH_8266;
                    if by_size && !is_small {
                        self.flash.set("minimal_next", true);
                    }
                    last = Failed::Text(why);
                }
            }
            self.clock.wait(BETWEEN_ATTEMPTS).await;
        }
        Err(last)
    }

    async fn attempt(
        &mut self,
        asked: &str,
        to: &'static str,
        running: &Marks,
    ) -> Result<(), Failed> {
        let waits = Waits {
            connect: self.clock.limit(CONNECT_WAIT),
            read: self.clock.limit(READ_WAIT),
        };
        let is_esp32 = self.kind() != Kind::Esp8266;
        let tls = is_esp32
            .then(|| Tls::Light(Trust::Fingerprint(Fingerprint([0xff; 20]))).connector())
            .transpose()
            .map_err(|why| text(&why))?;
        let mut address = asked.to_owned();
        let mut hops = 0;
        let mut answer = loop {
            let url = Url::read(&address).ok_or(text("HTTP error: connection refused"))?;
            self.events
                .tell("ota_request", json!({ "url": address, "slot": to }));
            let head = self.request(&url, to, running);
            let answer = http::ask(&url, &head, &[], waits, tls.as_ref()).await;
            let answer = answer.map_err(|error| {
                self.trouble(&error);
                text(match error {
                    HttpError::Connect(_) => "HTTP error: connection refused",
                    HttpError::Send => "HTTP error: send header failed",
                    HttpError::Lost => "HTTP error: connection lost",
                    HttpError::Silent => "HTTP error: read Timeout",
                    HttpError::NotHttp => "HTTP error: no HTTP server",
                })
            })?;
            tell_answer(&self.events, &answer);
            let moved = matches!(answer.status, 301 | 302 | 303 | 307);
            match answer.header("location") {
                // The updater of the ESP8266 does not follow.
                Some(to) if moved && is_esp32 && hops < MAX_REDIRECTS => {
                    hops += 1;
                    address = to.to_owned();
                }
                _ => break answer,
            }
        };
        match answer.status {
            200 => {}
            304 => return Err(text("No update")),
            404 => return Err(text("File Not Found (404)")),
            403 => return Err(text("Forbidden (403)")),
            _ => return Err(text("Wrong HTTP Code")),
        }
        // An updater that speaks HTTP/1.0 takes nothing in chunks.
        if answer.is_chunked() {
            return Err(text("HTTP error: Transfer-Encoding not supported"));
        }
        let Some(total @ 1..) = answer.length() else {
            return Err(text(if is_esp32 {
                "Server Did Not Report Size"
            } else {
                "Server not Report Size"
            }));
        };
        if total > self.room(to) as u64 {
            return Err(text(if is_esp32 {
                "Not Enough space"
            } else {
                TOO_LARGE_8266
            }));
        }
        let md5 = answer.header("x-md5").map(str::to_owned);
        if md5.as_ref().is_some_and(|md5| md5.len() != 32) {
            return Err(text("Wrong MD5"));
        }
        let first = answer.piece(4096.min(total as usize), waits.read).await;
        let first = first.map_err(|_| text("HTTP error: connection lost"))?;
        self.look_at_header(&first)?;
        if is_esp32 {
            // The partition is erased as it is written; what was in it is gone.
            self.flash.write(to, Vec::new());
        }
        let silence = self.clock.limit(STREAM_WAIT);
        let faults = &mut self.faults;
        match download(
            &mut answer,
            first,
            total,
            total,
            silence,
            faults,
            &self.events,
        )
        .await
        {
            Download::Whole(image) => self.take(image, md5, to).await,
            Download::Broken(part, error) => {
                self.trouble(&error);
                if is_esp32 {
                    self.flash.write(to, part);
                }
                Err(text("Update error: Stream Read Timeout"))
            }
            Download::Dead(part, death) => {
                if is_esp32 {
                    self.flash.write(to, part);
                }
                Err(Failed::Dead(death))
            }
        }
    }

    /// The first bytes: magic, and on an ESP8266 the flash size (esp-image.md §1).
    fn look_at_header(&self, first: &[u8]) -> Result<(), Failed> {
        let esp8266 = self.kind() == Kind::Esp8266;
        match first.first() {
            Some(0xe9) => {}
            Some(0x1f) if esp8266 => return Ok(()),
            _ => return Err(text("Verify Bin Header Failed")),
        }
        let nibble = first.get(3).copied().unwrap_or_default() >> 4;
        let wanted_kib = if esp8266 {
            match nibble {
                0 => 512,
                1 => 256,
                2 => 1024,
                3 | 5 => 2048,
                4 | 6 => 4096,
                8 => 8192,
                _ => 16_384,
            }
        } else {
            1024_usize << nibble.min(7)
        };
        if wanted_kib > self.options.flash_kib {
            return Err(text(if esp8266 {
                WRONG_FLASH_8266
            } else {
                "New Binary Does Not Fit Flash Size"
            }));
        }
        Ok(())
    }

    /// All bytes are there: the sum that the server named, then what the chip itself demands.
    async fn take(
        &mut self,
        image: Vec<u8>,
        md5: Option<String>,
        to: &'static str,
    ) -> Result<(), Failed> {
        tell_downloaded(&self.events, to, &image);
        let sum = super::super::update::md5_hex(&image);
        if md5.is_some_and(|md5| !md5.eq_ignore_ascii_case(&sum)) {
            self.keep_if_erased(to, image);
            return Err(text("Update error: MD5 Check Failed"));
        }
        if let Some(kind) = self.faults.at_installed() {
            self.keep_if_erased(to, image);
            super::super::update::tell_fault(&self.events, kind, "installed");
            return Err(Failed::Dead(super::death(kind)));
        }
        if self.options.chip != ImageChip::ESP8266 {
            let checked = verify(&image, self.options.chip);
            self.flash.write(to, image);
            if let Err(fault) = checked {
                let why = fault.to_string();
                self.events
                    .tell("failed", json!({ "what": "image", "why": why }));
                return Err(text("Update error: Could Not Activate The Firmware"));
            }
        } else {
            // Copied over the running image by the boot loader, which looks at nothing.
            self.flash.write(to, image);
        }
        self.activate(to);
        Ok(())
    }

    fn keep_if_erased(&mut self, to: &'static str, image: Vec<u8>) {
        if self.kind() != Kind::Esp8266 {
            self.flash.write(to, image);
        }
    }

    fn trouble(&self, error: &HttpError) {
        self.events.tell(
            "failed",
            json!({ "what": "http", "why": error.to_string() }),
        );
    }

    /// Request line and headers, in the order of the library.
    fn request(&self, url: &Url, to: &'static str, running: &Marks) -> String {
        let mac = self
            .options
            .mac
            .0
            .map(|byte| format!("{byte:02X}"))
            .join(":");
        let mut ap = self.options.mac.0;
        ap[5] = ap[5].wrapping_add(1);
        let ap = ap.map(|byte| format!("{byte:02X}")).join(":");
        let sketch = self.running_image();
        let md5 = super::super::update::md5_hex(&sketch);
        let version = format!("{}({})", running.version, running.tag);
        let (free, size) = (self.room(to), sketch.len());
        let flash = self.options.flash_kib * 1024;
        let begin = format!(
            "GET {} HTTP/1.0\r\nHost: {}\r\n",
            url.path,
            url.host_header()
        );
        if self.kind() == Kind::Esp8266 {
            return format!(
                "{begin}User-Agent: ESP8266-http-Update\r\nConnection: close\r\n\
                 x-ESP8266-Chip-ID: {}\r\nx-ESP8266-STA-MAC: {mac}\r\nx-ESP8266-AP-MAC: {ap}\r\n\
                 x-ESP8266-free-space: {free}\r\nx-ESP8266-sketch-size: {size}\r\n\
                 x-ESP8266-sketch-md5: {md5}\r\nx-ESP8266-chip-size: {flash}\r\n\
                 x-ESP8266-sdk-version: 2.2.2-dev(38a443e)\r\nx-ESP8266-mode: sketch\r\n\
                 x-ESP8266-version: {version}\r\n",
                self.options.mac.tail(),
            );
        }
        // The digest that ESP-IDF gives for an application is the one appended to it.
        let digest = sketch
            .len()
            .checked_sub(32)
            .map_or(&[][..], |at| &sketch[at..]);
        let sha256 = super::super::update::hex(digest);
        format!(
            "{begin}User-Agent: ESP32-http-Update\r\nConnection: close\r\n\
             Cache-Control: no-cache\r\nx-ESP32-STA-MAC: {mac}\r\nx-ESP32-AP-MAC: {ap}\r\n\
             x-ESP32-free-space: {free}\r\nx-ESP32-sketch-size: {size}\r\n\
             x-ESP32-sketch-md5: {md5}\r\nx-ESP32-sketch-sha256: {sha256}\r\n\
             x-ESP32-chip-size: {flash}\r\nx-ESP32-sdk-version: v5.3.3.250801\r\n\
             x-ESP32-mode: sketch\r\nx-ESP32-version: {version}\r\n"
        )
    }
}

/// `OTA_ATTEMPTS` is 5 and counted down before it is asked for.
const ATTEMPTS: u32 = 4;
/// From a failure to the next attempt.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(500);
/// For TCP and TLS.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// For the head of the answer.
const READ_WAIT: Duration = Duration::from_secs(8);
/// Silence in the body after which it is given up.
const STREAM_WAIT: Duration = Duration::from_secs(30);
/// Of the ESP32's library.
const MAX_REDIRECTS: u32 = 10;
const TOO_LARGE_8266: &str = "To less space";
const WRONG_FLASH_8266: &str = "bin for wrong flash size";
