//! What one conversation shows, with the words for it.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use safeport_settings::Said;

use super::stream::Stamp;
use crate::{Cause, Clue, Facts, Layer, Moment, Passed, Place, Strength};

/// The evidence of one conversation.
pub(super) struct Seen<'a> {
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
    /// The time of the last packet of the capture.
    pub(super) until: Duration,
    /// Whether packets of the capture are cut off.
    pub(super) cut: bool,
    /// The server's name, where it was looked up.
    pub(super) name: Option<String>,
    pub(super) found: &'a mut Vec<Found>,
    pub(super) facts: Facts,
}

/// A piece of evidence, and whose it is.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) device: IpAddr,
    pub(super) server: SocketAddr,
    pub(super) stamp: Stamp,
    pub(super) what: What,
    pub(super) facts: Facts,
    /// How often it was seen, this one being the last.
    pub(super) times: u32,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    Clue(Clue),
    Passed(Passed),
}

impl Seen<'_> {
    /// Something that points to a cause.
    pub(super) fn clue(
        &mut self,
        cause: Cause,
        strength: Strength,
        stamp: Stamp,
        en: String,
        zh: String,
    ) {
        self.clue_or(cause, &[], strength, stamp, en, zh);
    }

    /// The same, with what else it could be.
    pub(super) fn clue_or(
        &mut self,
        cause: Cause,
        or: &[Cause],
        strength: Strength,
        stamp: Stamp,
        en: String,
        zh: String,
    ) {
        let quote = self.quote(stamp, &Said::new(en, zh));
        let clue = Clue::new(cause, strength, place(stamp), quote).or(or);
        self.take(stamp, clue);
    }

    /// A clue that others have worded.
    pub(super) fn worded(&mut self, stamp: Stamp, mut clue: Clue) {
        let quote = self.quote(stamp, &clue.quote);
        clue.quote = Clue::new(clue.cause, clue.strength, clue.place, quote).quote;
        clue.place = place(stamp);
        self.take(stamp, clue);
    }

    fn take(&mut self, stamp: Stamp, mut clue: Clue) {
        clue.at = Some(moment(stamp));
        self.push(stamp, What::Clue(clue));
    }

    /// A layer that worked.
    pub(super) fn passed(&mut self, layer: Layer, stamp: Stamp, en: String, zh: String) {
        let quote = self.quote(stamp, &Said::new(en, zh));
        let passed = Passed {
            layer,
            place: place(stamp),
            quote,
        };
        self.push(stamp, What::Passed(passed));
    }

    fn push(&mut self, stamp: Stamp, what: What) {
        let mut facts = self.facts.clone();
        facts.note("address", self.server.ip().to_string());
        facts.note("port", self.server.port().to_string());
        if let Some(name) = &self.name {
            facts.note("host", name.clone());
        }
        self.found.push(Found {
            device: self.client.ip(),
            server: self.server,
            stamp,
            what,
            facts,
            times: 1,
        });
    }

    /// Notes a fact for what is found from now on.
    pub(super) fn fact(&mut self, name: &'static str, value: String) {
        self.facts.note(name, crate::quote(&value));
    }

    fn quote(&self, stamp: Stamp, said: &Said) -> Said {
        let (packet, client, server) = (stamp.packet, self.client.ip(), self.server);
        let ends = format!("{client} → {server}");
        Said::new(
            format!("packet {packet}: {ends} {}", crate::quote(&said.en)),
            format!("第 {packet} 个包：{ends} {}", crate::quote(&said.zh)),
        )
    }
}

impl Found {
    /// The clue in it.
    pub(super) fn clue(&self) -> Option<&Clue> {
        match &self.what {
            What::Clue(clue) => Some(clue),
            What::Passed(_) => None,
        }
    }

    /// The layer that worked.
    pub(super) fn passed(&self) -> Option<&Passed> {
        match &self.what {
            What::Clue(_) => None,
            What::Passed(passed) => Some(passed),
        }
    }
}

pub(super) fn place(stamp: Stamp) -> Place {
    Place::Capture {
        packet: stamp.packet,
    }
}

fn moment(stamp: Stamp) -> Moment {
    Moment {
        since: stamp.at,
        // Before 2001 it counts from the start of whatever captured.
        wall: stamp.at >= Duration::from_secs(978_307_200),
    }
}
