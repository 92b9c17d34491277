//! What a sighting says, laid over what is known.

use alloc::vec::Vec;
use core::mem;

use crate::member::{Member, What};
use crate::sighting::{Confidence, Facts, Identity, IdentityKind, Installed, Text};
use crate::{Chip, Family, MacAddress, limits};

/// How much the facts of a sighting count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// It is the device.
    Proved,
    /// It is how devices of its kind always speak to us, without a login.
    Usual,
    /// Anybody may have said so: it counts where nothing is proved.
    Claimed,
}

/// What came of laying facts over others.
#[derive(Debug, Default)]
pub(super) struct Learnt {
    pub(super) changed: bool,
    pub(super) events: Vec<What>,
}

/// One fact after the other, each with its bit.
macro_rules! lay_over {
    ($known:expr, $proved:expr, $said:expr, $weight:expr, $learnt:expr; $($fact:ident),+ $(,)?) => {{
        let mut bit: u64 = 1;
        $(
            if let Some(said) = &$said.$fact
                && ($weight != Weight::Claimed || *$proved & bit == 0)
            {
                match $weight {
                    Weight::Proved => *$proved |= bit,
                    Weight::Usual | Weight::Claimed => *$proved &= !bit,
                }
                if $known.$fact.as_ref() != Some(said) {
                    $known.$fact = Some(said.clone());
                    $learnt.changed = true;
                }
            }
            bit <<= 1;
        )+
        bit
    }};
}

/// Lays what `said` tells over what is known of `member`, and says what is new.
pub(super) fn learn(member: &mut Member, said: &Facts, weight: Weight, at: u64) -> Learnt {
    let mut learnt = Learnt::default();
    let before = Before::of(member);
    let (known, proved) = (&mut member.facts, &mut member.proved_facts);
    let bit = lay_over!(known, proved, said, weight, learnt;
        family, chip, chip_rev, single_core, board, hostname, label, online, sleeps, web,
        flash_size, layout, running, tls, ota_url, boot_count, restart_reason, crashed,
        mqtt_count, mqtt_host, mqtt_port, command_topic, fallback_topic, update_topic,
        access_point, language,
    );
    lay_images(known, proved, said, weight, bit, at, &mut learnt);
    // Four bits for the slots of `room`, and one for `started_at`.
    let room_bit = bit << SLOTS;
    let mut may = |bit: u64| {
        let may = weight != Weight::Claimed || *proved & bit == 0;
        match weight {
            Weight::Proved => *proved |= bit,
            Weight::Usual => *proved &= !bit,
            Weight::Claimed => {}
        }
        may
    };
    for (slot, bytes) in said.room.iter().take(SLOTS) {
        let free = may(room_bit << (*slot as u8))
            && (weight != Weight::Claimed || known.room(*slot).is_none());
        if free && known.room(*slot) != Some(*bytes) {
            known.room.retain(|(of, _)| of != slot);
            known.room.reserve_exact(1);
            known.room.push((*slot, *bytes));
            learnt.changed = true;
        }
    }
    // Uptime is counted in seconds by a clock that drifts, and reception moves
    // all the time: small differences are no news.
    if let Some(said) = said.started_at
        && may(room_bit << SLOTS)
        && known
            .started_at
            .is_none_or(|known| known.abs_diff(said) > START_GRAIN)
    {
        known.started_at = Some(said);
        learnt.changed = true;
    }
    if said.rssi.is_some() {
        known.rssi = said.rssi;
    }
    if said.free_heap.is_some() {
        known.free_heap = said.free_heap;
    }
    trim(known);
    // A start that anybody may have made up is none of a device that speaks for itself.
    let may_start = weight != Weight::Claimed || member.proved_facts == 0;
    before.compare(&member.facts, said, may_start, &mut learnt);
    learnt
}

/// A clock that drifts this many seconds has not started anew.
const START_GRAIN: u64 = 120;
/// Slots that a sighting may tell of.
const SLOTS: usize = 4;

/// What events compare with.
struct Before {
    boot_count: Option<u32>,
    started_at: Option<u64>,
    family: Option<crate::Family>,
}

impl Before {
    fn of(member: &Member) -> Before {
        Before {
            boot_count: member.facts.boot_count,
            started_at: member.facts.started_at,
            family: member.facts.family,
        }
    }

    fn compare(&self, now: &Facts, said: &Facts, may_start: bool, learnt: &mut Learnt) {
        let counted = said.boot_count.is_some() && self.boot_count.is_some();
        let started = if counted {
            self.boot_count != now.boot_count
        } else {
            // A later start than was known; the first one that is heard of is
            // no event.
            match (self.started_at, now.started_at) {
                (Some(before), Some(now)) => now > before.saturating_add(START_GRAIN),
                _ => said.restart_reason.is_some() && said.boot_count.is_none(),
            }
        };
        if started && may_start {
            learnt.events.push(What::Started {
                reason: said.restart_reason.clone(),
                crashed: said.crashed == Some(true),
            });
        }
        if let (Some(from), Some(to)) = (self.family, now.family)
            && from != to
        {
            learnt.events.push(What::Family { from, to });
        }
    }
}

fn lay_images(
    known: &mut Facts,
    proved: &mut u64,
    said: &Facts,
    weight: Weight,
    first_bit: u64,
    at: u64,
    learnt: &mut Learnt,
) {
    for (slot, said) in said.images.iter().take(SLOTS) {
        let bit = first_bit << (*slot as u8);
        if weight == Weight::Claimed && *proved & bit != 0 {
            continue;
        }
        match weight {
            Weight::Proved => *proved |= bit,
            Weight::Usual | Weight::Claimed => *proved &= !bit,
        }
        let index = known.images.iter().position(|(of, _)| of == slot);
        let Some(index) = index else {
            let mut new = said.clone();
            new.at = at;
            if new.version.is_some() {
                learnt.events.push(What::Version {
                    slot: *slot,
                    from: None,
                    to: new.version.clone(),
                });
            }
            // Most devices have one or two: no spare room.
            known.images.reserve_exact(1);
            known.images.push((*slot, new));
            learnt.changed = true;
            continue;
        };
        let image = &mut known.images[index].1;
        if is_same(image, said) {
            learnt.changed |= fill(image, said);
            continue;
        }
        let mut new = said.clone();
        new.at = at;
        let old = mem::replace(image, new);
        learnt.changed = true;
        learnt.events.push(What::Version {
            slot: *slot,
            from: old.version,
            to: image.version.clone(),
        });
    }
}

/// Whether both may be of one image: nothing that both tell differs.
fn is_same(known: &Installed, said: &Installed) -> bool {
    fn agree<T: PartialEq>(one: &Option<T>, other: &Option<T>) -> bool {
        match (one, other) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        }
    }
    // Who names no version may still tell hashes; who names nothing new agrees.
    agree(&known.version, &said.version)
        && agree(&known.variant, &said.variant)
        && agree(&known.built, &said.built)
        && agree(&known.sha256, &said.sha256)
        && agree(&known.md5, &said.md5)
        && agree(&known.elf_sha256, &said.elf_sha256)
}

/// Whether the device itself has told a version, and all that is known of
/// `other` agrees with what it told.
pub(super) fn is_told(known: &Installed, other: &Installed) -> bool {
    known.version.is_some() && known.confidence == Confidence::Reported && is_same(known, other)
}

fn fill(known: &mut Installed, said: &Installed) -> bool {
    fn one<T: Clone + PartialEq>(known: &mut Option<T>, said: &Option<T>) -> bool {
        let new = said.is_some() && known != said;
        if new {
            known.clone_from(said);
        }
        new
    }
    let mut new = one(&mut known.version, &said.version);
    new |= one(&mut known.variant, &said.variant);
    new |= one(&mut known.built, &said.built);
    new |= one(&mut known.sdk, &said.sdk);
    new |= one(&mut known.sha256, &said.sha256);
    new |= one(&mut known.md5, &said.md5);
    new |= one(&mut known.elf_sha256, &said.elf_sha256);
    if said.confidence > known.confidence {
        known.confidence = said.confidence;
        new = true;
    }
    new
}

/// Cuts texts that are longer than is kept.
fn trim(facts: &mut Facts) {
    fn cut(text: &mut Option<Text>) {
        if let Some(long) = text
            && long.len() > limits::MAX_IDENTITY
        {
            let mut end = limits::MAX_IDENTITY;
            while !long.is_char_boundary(end) {
                end -= 1;
            }
            *text = Some(long[..end].into());
        }
    }
    for text in [
        &mut facts.board,
        &mut facts.hostname,
        &mut facts.label,
        &mut facts.ota_url,
        &mut facts.restart_reason,
        &mut facts.mqtt_host,
        &mut facts.command_topic,
        &mut facts.fallback_topic,
        &mut facts.update_topic,
        &mut facts.language,
    ] {
        cut(text);
    }
    for (_, image) in &mut facts.images {
        for text in [
            &mut image.version,
            &mut image.variant,
            &mut image.built,
            &mut image.sdk,
        ] {
            cut(text);
        }
    }
}

/// Whether this hardware address is one of the member's: its own, or another
/// interface's of the same chip.
pub(super) fn has_mac(member: &Member, mac: MacAddress) -> bool {
    let row = has_row(member.chip(), member.family());
    member.identities.iter().any(|known| match &known.identity {
        Identity::Mac(own) => {
            *own == mac || own.twin() == mac || row && own.siblings().contains(&mac)
        }
        _ => false,
    })
}

/// Whether such a chip has four hardware addresses in a row. On an ESP8266, and
/// on chips that may have two, the next address can be the next device's.
pub(super) fn has_row(chip: Option<Chip>, family: Option<Family>) -> bool {
    match chip {
        Some(
            Chip::Esp32
            | Chip::Esp32S3
            | Chip::Esp32C2
            | Chip::Esp32C3
            | Chip::Esp32C5
            | Chip::Esp32C6,
        ) => true,
        Some(_) => false,
        // It has never run on anything but these.
        None => family == Some(Family::Xiaozhi),
    }
}

/// Whether the member has an identity of this kind that it proved.
pub(super) fn has_proved(member: &Member, kind: IdentityKind) -> bool {
    let mut all = member.identities.iter();
    all.any(|known| known.proved && known.identity.kind() == kind)
}

/// Whether the member is known by another value of this kind.
pub(super) fn has_other(member: &Member, identity: &Identity) -> bool {
    let kind = identity.kind();
    let mut all = member.identities.iter();
    all.any(|known| known.identity.kind() == kind && known.identity != *identity)
}
