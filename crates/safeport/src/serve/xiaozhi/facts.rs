//! A check as a sighting.

use std::net::IpAddr;

use safeport_fleet::{Facts, Family, Identity, Installed, Proof, Sighting, Slot, Source};
use safeport_xiaozhi::{CheckRequest, Client, ClientId};

/// What a check tells of a device.
pub(super) fn sighting(
    check: &CheckRequest,
    id: &ClientId,
    proof: Proof,
    peer: IpAddr,
    now: u64,
) -> Sighting {
    let mut sighting = Sighting::new(now, Source::Check, proof)
        .with(Identity::mac(check.mac))
        .with(check.serial_number.as_deref().and_then(Identity::serial))
        .from_peer(peer);
    // Every browser has the same one.
    if check.client != Client::Browser {
        sighting = sighting
            .with(Identity::uuid(&check.client_id))
            .with(Identity::client_id(&id.to_string()));
    }
    sighting.facts = facts(check, now);
    sighting
}

fn facts(check: &CheckRequest, now: u64) -> Facts {
    let info = &check.info;
    let text = |text: &Option<String>| text.as_deref().map(Into::into);
    let mut installed = Installed::reported(check.version_text.as_deref().unwrap_or_default(), now);
    installed.version = text(&check.version_text);
    installed.variant = text(&info.application);
    installed.built = text(&info.compile_time);
    installed.sdk = text(&info.idf_version);
    // Of py-xiaozhi it is a key.
    if check.client == Client::Device {
        installed.elf_sha256 = info.elf_sha256.as_deref().and_then(hash_of);
    }
    let room = check
        .update_slot_size()
        .and_then(|size| u32::try_from(size).ok());
    Facts {
        family: Some(Family::Xiaozhi),
        chip: info.chip.as_deref().and_then(|chip| chip.parse().ok()),
        board: (!check.board.is_empty()).then(|| check.board.as_str().into()),
        label: text(&info.board_name),
        flash_size: info.flash_size.and_then(|size| u32::try_from(size).ok()),
        room: room.map(|room| (Slot::Main, room)).into_iter().collect(),
        images: vec![(Slot::Main, installed)],
        rssi: info.rssi.and_then(|rssi| rssi.try_into().ok()),
        free_heap: info
            .minimum_free_heap
            .and_then(|bytes| bytes.try_into().ok()),
        language: text(&check.language),
        ..Facts::default()
    }
}

/// 64 hex digits as bytes.
pub(super) fn hash_of(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u32> = text
        .chars()
        .map(|c| c.to_digit(16))
        .collect::<Option<_>>()?;
    let pairs = digits
        .chunks_exact(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8);
    let bytes: Vec<u8> = pairs.collect();
    (digits.len() == 64)
        .then(|| bytes.try_into().ok())
        .flatten()
}
