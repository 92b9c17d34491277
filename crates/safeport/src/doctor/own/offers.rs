//! What became of the firmware that a device was offered last: fetched or not, broken off, too large,
//! taken back.

use std::time::Duration;

use safeport_doctor::{Cause, Clue, Evidence, Facts, Layer, Moment, Place, Strength};
use safeport_fleet::{Member, Slot, Source};
use safeport_store::{OfferQuery, OfferRow, Registry, StoreError};
use serde_json::Value;

use super::Inquiry;
use crate::probe::both;
use crate::time::stamp;

/// An open offer that has not moved for so long while something should happen stands still.
const STANDS_STILL: u64 = 120;
/// What is installed has started and come back after so many seconds.
const INSTALLED_WITHIN: u64 = 300;
/// No image takes so many seconds, also over a slow mobile network.
const SLOW: u64 = 1800;

/// What is known of an offer and of whom it is for.
struct Offered<'a> {
    row: &'a OfferRow,
    body: Value,
    /// How often any of it was fetched to an end, good or bad.
    fetched: u64,
    /// Bytes that fit where it goes.
    room: Option<u32>,
    /// When the device was here last, in a way in which it learns of the offer.
    here: Option<u64>,
    /// The version that it says it runs.
    runs: Option<&'a str>,
    /// From when on what ended counts.
    since: u64,
    now: u64,
}

impl Inquiry<'_> {
    /// What became of the newest offer, if that was lately.
    pub(super) fn read_offers(
        &self,
        registry: &Registry,
        member: &Member,
        evidence: &mut Evidence,
    ) -> Result<(), StoreError> {
        let newest = registry.offers(&OfferQuery {
            member: Some(member.id.0),
            limit: 1,
            ..OfferQuery::default()
        })?;
        let Some(row) = newest.first() else {
            return Ok(());
        };
        let body: Value = serde_json::from_str(&row.body).unwrap_or_default();
        let mut fetched = 0;
        if row.open {
            for token in registry.downloads_of_offer(row.id)? {
                fetched += token.files.iter().map(|file| file.gets).sum::<u64>();
            }
        }
        let by_check = body["upgrade"]["plan"]["adapter"] == "xiaozhi";
        let learns = member.last_source == Source::Check || !by_check && member.is_online();
        let offered = Offered {
            row,
            body,
            fetched,
            room: member.room(Slot::Main),
            here: learns.then_some(member.last_seen),
            runs: member.facts.version(),
            since: self.since(),
            now: self.now,
        };
        if let Some((clue, facts)) = offered.clue() {
            // An update restarts the device, and so does each try.
            if clue.layer == Layer::Ota && evidence.facts.get("restart_reason").is_none() {
                evidence
                    .clues
                    .retain(|other| other.cause != Cause::Restarts);
            }
            evidence.clues.push(clue);
            evidence.join(Evidence {
                facts,
                ..Evidence::default()
            });
        }
        Ok(())
    }
}

impl Offered<'_> {
    fn clue(&self) -> Option<(Clue, Facts)> {
        let (cause, strength) = self.cause()?;
        let mut facts = Facts::default();
        let (at, state) = (stamp(self.row.updated), &self.row.state);
        let what = self.body["what"].as_str().unwrap_or("?");
        let mut said = both!(
            "{at} the offer of {what}: {state}",
            "{at} 推送 {what}：{state}"
        );
        let mut add = |en: String, zh: String| {
            said.en.push_str(&en);
            said.zh.push_str(&zh);
        };
        let detail = safeport_doctor::mask(self.detail());
        if !detail.is_empty() {
            add(format!(", {detail}"), format!("，{detail}"));
        }
        let (bytes, total) = (self.number("bytes"), self.number("total"));
        let broken = self.number("interruptions");
        match cause {
            Cause::ImageInterrupted if broken > 0 => add(
                format!("; {broken}x broken off"),
                format!("；已中断 {broken} 次"),
            ),
            Cause::ImageInterrupted if total > 0 && !detail.contains(" of ") => add(
                format!("; {bytes} of {total} bytes"),
                format!("；{total} 字节中的 {bytes} 字节"),
            ),
            Cause::HandedOutUnreachable => add(
                "; it was here since, and has fetched nothing".to_owned(),
                "；之后设备来过，但没有下载任何内容".to_owned(),
            ),
            Cause::RolledBack => {
                if let Some(runs) = self.runs {
                    facts.note("version", runs);
                    add(
                        format!("; it says that it runs {runs}"),
                        format!("；它报告正在运行 {runs}"),
                    );
                }
            }
            Cause::ImageTooLarge => {
                if let (Some(size), Some(room)) = (self.size(), self.room) {
                    facts.note("size", size.to_string());
                    facts.note("room", room.to_string());
                    add(
                        format!("; the image has {size} bytes, its place {room}"),
                        format!("；固件 {size} 字节，可用空间 {room} 字节"),
                    );
                }
            }
            _ => {}
        }
        let mut clue = Clue::new(cause, strength, Place::Listener, said);
        clue.at = Some(Moment {
            since: Duration::from_secs(self.row.updated),
            wall: true,
        });
        Some((clue.or(others(cause, strength)), facts))
    }

    fn cause(&self) -> Option<(Cause, Strength)> {
        let (word, reason) = match self.row.state.split_once('(') {
            Some((word, rest)) => (word, rest.trim_end_matches(')')),
            None => (self.row.state.as_str(), ""),
        };
        let still = self.now.saturating_sub(self.row.updated);
        let lately = self.row.updated >= self.since;
        let open = self.row.open;
        let broke_off = self.detail().contains("broke off");
        let cause = match (word, reason) {
            ("failed", _) if lately && self.is_too_large() => Cause::ImageTooLarge,
            ("failed", reason) if lately => cause_of_reason(reason),
            ("reverted", _) if lately => Cause::RolledBack,
            ("waiting", "retry") if open && broke_off => Cause::ImageInterrupted,
            ("waiting", "retry") if open && self.is_too_large() => Cause::ImageTooLarge,
            ("waiting", "retry") if open && self.number("full_gets") > 0 => {
                return Some((Cause::RolledBack, Strength::Class));
            }
            ("waiting", "retry") if open && self.is_never_fetched() => {
                return Some((Cause::HandedOutUnreachable, Strength::Class));
            }
            ("waiting", "retry") if open => return Some((Cause::OtaFailed, Strength::Class)),
            ("offered", _)
                if open
                    && still > STANDS_STILL
                    && self.is_never_fetched()
                    && self.was_here_since() =>
            {
                return Some((Cause::HandedOutUnreachable, Strength::Class));
            }
            ("downloading", _) if open && still > SLOW => {
                return Some((Cause::ImageInterrupted, Strength::Class));
            }
            ("installing" | "verifying", _)
                if open && still > INSTALLED_WITHIN && self.runs_as_before() =>
            {
                return Some((Cause::RolledBack, Strength::Class));
            }
            ("recovery", _) if open && broke_off => Cause::ImageInterrupted,
            ("recovery" | "proving", _) if open && still > STANDS_STILL => Cause::SafebootSilent,
            _ => return None,
        };
        Some((cause, Strength::Specific))
    }

    fn detail(&self) -> &str {
        self.body["upgrade"]["detail"].as_str().unwrap_or_default()
    }

    fn number(&self, name: &str) -> u64 {
        self.body["upgrade"][name].as_u64().unwrap_or_default()
    }

    /// The step that it is at.
    fn step(&self) -> &Value {
        let upgrade = &self.body["upgrade"];
        let at = usize::try_from(self.number("step")).unwrap_or(usize::MAX);
        &upgrade["plan"]["steps"][at]
    }

    fn size(&self) -> Option<u64> {
        self.step()["image"]["size"].as_u64()
    }

    fn is_never_fetched(&self) -> bool {
        self.fetched == 0 && self.number("bytes") == 0 && self.number("full_gets") == 0
    }

    fn was_here_since(&self) -> bool {
        self.here.is_some_and(|at| at > self.row.updated)
    }

    /// It has fetched everything, and says the version of before.
    fn runs_as_before(&self) -> bool {
        let before = self.body["upgrade"]["before"]["version"].as_str();
        let offered = self.step()["image"]["identity"]["version"].as_str();
        self.runs.is_some() && self.runs == before && before != offered
    }

    /// Larger than its place, by what is known of both, or by the device's own word: `Not enough
    /// space` (Tasmota, ESPEasy, Arduino), `Firmware too large`.
    fn is_too_large(&self) -> bool {
        let detail = self.detail().to_ascii_lowercase();
        let says = ["not enough space", "no space", "too large", "too big"]
            .into_iter()
            .any(|words| detail.contains(words));
        // The safeboot has a place of its own.
        let is_main = self.step()["part"] == "main";
        let larger = is_main
            && self
                .size()
                .zip(self.room)
                .is_some_and(|(size, room)| size > u64::from(room));
        says || larger
    }
}

/// What else it can be.
fn others(cause: Cause, strength: Strength) -> &'static [Cause] {
    match (cause, strength) {
        (Cause::RolledBack, Strength::Class) => &[Cause::ImageNotValid],
        (Cause::HandedOutUnreachable, _) => &[Cause::ImageNotFound],
        _ => &[],
    }
}

/// The reason of a failed offer in the doctor's words.
fn cause_of_reason(reason: &str) -> Cause {
    match reason {
        "safeboot_without_tls" | "stuck_in_safeboot" => Cause::SafebootSilent,
        "wrong_file" | "install_loop" => Cause::ImageNotValid,
        "boot_loop" | "crashed" => Cause::Restarts,
        "other_build" => Cause::RolledBack,
        "interrupted" => Cause::ImageInterrupted,
        "unstable" => Cause::ConnectionLost,
        "url_too_long" => Cause::UrlMalformed,
        "unreachable" => Cause::NothingArrived,
        _ => Cause::OtaFailed,
    }
}

#[cfg(test)]
mod tests;
