//! Downloading an image as a device does: written piece by piece, with the accidents of a
//! [`Fault`](super::Fault) on the way. The rules that differ are the caller's.

use super::clock::Clock;
use super::events::Events;
use super::fault::{FaultKind, Faults};
use super::http::{Answer, HttpError};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How far a download came.
pub(super) enum Download {
    /// Every byte that was promised.
    Whole(Vec<u8>),
    /// The connection ended, or nothing came in time; this much is written.
    Broken(Vec<u8>, HttpError),
    /// The power went, or the firmware crashed; this much is written.
    Dead(Vec<u8>, Death),
}

/// How a board's life ends for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    /// Without power.
    Power,
    /// By an exception.
    Crash,
}

/// Reads the body behind `done` bytes that are there already, until there are `total`. Accidents
/// come by their share of `whole`, which is more where `total` ends a part only.
pub(super) async fn download(
    answer: &mut Answer,
    mut done: Vec<u8>,
    total: u64,
    whole: u64,
    silence: Duration,
    faults: &mut Faults,
    events: &Events,
) -> Download {
    loop {
        if let Some(kind) = faults.in_download(done.len() as u64, whole) {
            let part = done.len() as f64 / whole.max(1) as f64;
            let point = format!("download:{:.0}%", part * 100.0);
            tell_fault(events, kind, &point);
            match kind {
                FaultKind::Power => return Download::Dead(done, Death::Power),
                FaultKind::Crash => return Download::Dead(done, Death::Crash),
                FaultKind::Drop => return Download::Broken(done, HttpError::Lost),
                FaultKind::Stall => {
                    // Not reading for so long is what the server sees; then the device gives up.
                    tokio::time::sleep(silence).await;
                    return Download::Broken(done, HttpError::Silent);
                }
            }
        }
        let left = total.saturating_sub(done.len() as u64);
        if left == 0 {
            return Download::Whole(done);
        }
        match answer.piece(left.min(PIECE) as usize, silence).await {
            Ok(piece) if piece.is_empty() => return Download::Broken(done, HttpError::Lost),
            Ok(piece) => done.extend_from_slice(&piece),
            Err(error) => return Download::Broken(done, error),
        }
    }
}

pub(super) fn tell_fault(events: &Events, kind: FaultKind, point: &str) {
    events.tell("fault", json!({ "kind": kind.word(), "point": point }));
    if kind == FaultKind::Power {
        events.tell("power_cut", json!({ "point": point }));
    }
}

pub(super) fn tell_downloaded(events: &Events, slot: &str, bytes: &[u8]) {
    events.tell(
        "downloaded",
        json!({
            "slot": slot,
            "bytes": bytes.len(),
            "md5": md5_hex(bytes),
            "sha256": sha256_hex(bytes),
        }),
    );
}

pub(super) fn tell_answer(events: &Events, answer: &Answer) {
    events.tell(
        "ota_answer",
        json!({
            "status": answer.status,
            "length": answer.length(),
            "md5": answer.header("x-md5"),
            "etag": answer.header("etag"),
        }),
    );
}

/// Without power for a while.
pub(super) async fn dark(clock: &Clock) {
    clock.wait(Duration::from_secs(2)).await;
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn md5_hex(bytes: &[u8]) -> String {
    hex(&md5::Md5::digest(bytes))
}

pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// A page of flash: what is written at once.
const PIECE: u64 = 4096;
