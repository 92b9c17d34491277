//! The web pages of Tasmota that a server uses (tasmota.md §3).

use super::super::web::{WebReply, WebRequest};
use super::{Board, Kind, Running};
use crate::image::{Variant, unpack, verify};
use crate::tasmota::Act;
use serde_json::{Value, json};
use std::time::Duration;

impl Board {
    /// Answers, and says what is to be done then.
    pub(super) fn page(&mut self, running: &mut Running, request: WebRequest) -> Option<Act> {
        let (reply, act) = self.reply(running, &request);
        let version = &running.marks.version;
        let hardware = self.options.chip.hardware_name();
        // Every answer names the firmware; the image tag is not in it.
        let reply =
            reply.map(|reply| reply.with("Server", format!("Tasmota/{version} ({hardware})")));
        request.answer(&self.events, reply);
        act
    }

    fn reply(
        &mut self,
        running: &mut Running,
        asked: &WebRequest,
    ) -> (Option<WebReply>, Option<Act>) {
        let now = running.now(&self.clock);
        if asked.path == "/" {
            return (Some(self.front(running)), None);
        }
        if !self.is_from_here(running, asked) {
            // Dropped; the device writes a line into its log.
            return (None, None);
        }
        let password = self.options.web_password.clone().unwrap_or_default();
        let by_query = asked.query("user").as_deref() == Some("admin")
            && asked.query("password").as_deref() == Some(&password);
        let may = password.is_empty() || asked.is_login("admin", &password);
        match asked.path.as_str() {
            "/cm" => {
                if !may && !by_query {
                    let warning = "{\"WARNING\":\"Need user=<username>&password=<password>\"}";
                    return (Some(WebReply::new(401, "application/json", warning)), None);
                }
                let command = asked.query("cmnd").unwrap_or_default();
                if command.len() >= crate::tasmota::MAX_PACKET_SIZE {
                    let warning = "{\"WARNING\":\"Enter command cmnd=\"}";
                    return (Some(WebReply::json(warning)), None);
                }
                self.events
                    .tell("command", json!({ "command": command, "by": "web" }));
                let answer = running.plug.web_command(&command, now);
                (Some(WebReply::json(answer)), None)
            }
            _ if !may => {
                let reply = WebReply::new(401, "text/plain", "Unauthorized");
                (
                    Some(reply.with("WWW-Authenticate", "Basic realm=\"Login Required\"")),
                    None,
                )
            }
            "/dl" => (Some(self.settings_file(running)), None),
            "/rs" | "/up" => {
                self.restoring = asked.path == "/rs";
                (
                    Some(WebReply::html(
                        "<html><form method=post action=u2 enctype=multipart/form-data><input type=file name=u2></form></html>",
                    )),
                    None,
                )
            }
            "/u2" if asked.method == "POST" => self.uploaded(running, asked),
            "/u4" => self.switch(running, asked),
            _ => (
                Some(WebReply::new(404, "text/plain", "File Not Found")),
                None,
            ),
        }
    }

    /// The page that anybody sees: name and version, and a banner in the small images.
    fn front(&self, running: &Running) -> WebReply {
        let marks = &running.marks;
        let banner = match marks.variant {
            Variant::Main => "",
            Variant::Safeboot | Variant::Minimal => "<h3>MINIMAL firmware - please upgrade</h3>",
        };
        let ready = if marks.variant == Variant::Main {
            "<div id='l1' name='l1'></div>"
        } else {
            ""
        };
        WebReply::html(format!(
            "<!DOCTYPE html><html lang=\"en\"><head><title>{name} - Main Menu</title></head><body>\
             {banner}<h2>{name}</h2>{ready}<div>Tasmota {version}({tag}) by Theo Arends</div>\
             </body></html>",
            name = self.options.name,
            version = marks.version,
            tag = marks.tag,
        ))
    }

    /// Unless SetOption128 is on, what has no `Referer` of this very device is not answered.
    fn is_from_here(&self, running: &Running, asked: &WebRequest) -> bool {
        if running.plug.is_on_option(128) {
            return true;
        }
        let referer = asked.header("referer").unwrap_or_default();
        let rest = referer.strip_prefix("http://").unwrap_or_default();
        let hostname = running.plug.hostname();
        let address = asked.local.ip().to_string();
        rest.starts_with(&hostname) || rest.starts_with(&address)
    }

    /// `Config_<name>_<version>.dmp`: the settings as one block of 4096 bytes.
    fn settings_file(&self, running: &Running) -> WebReply {
        let mut bytes = SETTINGS_MAGIC.to_vec();
        bytes.extend_from_slice(running.plug.kept().to_string().as_bytes());
        bytes.resize(bytes.len().max(4096), 0);
        let name = self.options.name.replace(' ', "_");
        let file = format!("Config_{name}_{}.dmp", running.marks.version);
        WebReply::new(200, "application/octet-stream", bytes).with(
            "Content-Disposition",
            format!("attachment; filename={file}"),
        )
    }

    /// `/u2`: settings after `/rs`, else an image. A safeboot goes into its own partition while the
    /// main image runs; the main image cannot be replaced under itself on a board with two.
    fn uploaded(
        &mut self,
        running: &mut Running,
        asked: &WebRequest,
    ) -> (Option<WebReply>, Option<Act>) {
        let restoring = std::mem::take(&mut self.restoring);
        let Some(upload) = asked.upload().filter(|upload| upload.field == "u2") else {
            return (Some(failed(1)), None);
        };
        if upload.bytes.is_empty() {
            return (Some(failed(1)), None);
        }
        if restoring {
            let kept = upload.bytes.strip_prefix(SETTINGS_MAGIC).map(|rest| {
                let end = rest.iter().position(|byte| *byte == 0);
                serde_json::from_slice::<Value>(&rest[..end.unwrap_or(rest.len())])
            });
            let Some(Ok(kept)) = kept else {
                return (Some(failed(8)), None);
            };
            self.events.tell("restored", json!({ "settings": kept }));
            self.flash.set("kept", kept);
            // What runs still has the old settings, and must not keep them.
            running.keeps = false;
            return (Some(succeeded()), Some(Act::Restart));
        }
        let esp8266 = self.kind() == Kind::Esp8266;
        let packed = upload.bytes.starts_with(&[0x1f, 0x8b]) && esp8266;
        if upload.bytes[0] != 0xe9 && !packed {
            return (Some(failed(3)), None);
        }
        let to = match self.kind() {
            Kind::Safeboot if running.slot == "main" => {
                if !upload.file_name.contains("safeboot") {
                    return (Some(failed(2)), None);
                }
                "safeboot"
            }
            _ => self.other_slot(running.slot),
        };
        if upload.bytes.len() > self.room(to) {
            return (Some(failed(2)), None);
        }
        if esp8266 && packed && unpack(&upload.bytes).is_err() {
            return (Some(failed(8)), None);
        }
        if !esp8266 && let Err(fault) = verify(&upload.bytes, self.options.chip) {
            let why = fault.to_string();
            self.events
                .tell("failed", json!({ "what": "image", "why": why }));
            self.flash.write(to, upload.bytes);
            return (Some(failed(6)), None);
        }
        super::super::update::tell_downloaded(&self.events, to, &upload.bytes);
        self.flash.write(to, upload.bytes);
        if to == "safeboot" {
            self.tell_installed(to);
        } else {
            self.activate(to);
        }
        (Some(succeeded()), Some(Act::Restart))
    }

    /// `/u4?u4=fct&api=` into safeboot, `u4=ota` back.
    fn switch(&mut self, running: &Running, asked: &WebRequest) -> (Option<WebReply>, Option<Act>) {
        if self.kind() != Kind::Safeboot {
            return (Some(WebReply::json("none")), None);
        }
        let wanted = match asked.query("u4").as_deref() {
            Some("ota") => "main",
            _ => "safeboot",
        };
        if running.slot == wanted {
            (Some(WebReply::json("true")), None)
        } else {
            (Some(WebReply::json("false")), Some(Act::Switch))
        }
    }
}

fn succeeded() -> WebReply {
    WebReply::html(
        "<html><body><div style='text-align:center;'><b>Upload <font color='#008000'>\
         Successful</font></b><br></div><p>Device will restart in a few seconds</p></body></html>",
    )
}

fn failed(number: u8) -> WebReply {
    let why = match number {
        1 => "No file selected",
        2 => "Not enough space",
        3 => "Magic byte is not 0xE9",
        6 => "Upload failed. Enable logging 3",
        _ => "File invalid",
    };
    WebReply::html(format!(
        "<html><body><div style='text-align:center;'><b>Upload <font color='#ff0000'>Failed</font>\
         </b><br><br>Upload error {number}: {why}</div></body></html>"
    ))
}

/// From a page that restarts to the restart.
pub(super) const RESTART_DELAY: Duration = Duration::from_secs(1);
/// What a settings file begins with.
const SETTINGS_MAGIC: &[u8] = b"SPTASMOTA1\n";
