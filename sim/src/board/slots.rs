//! Two application slots as ESP-IDF keeps them: the new image goes into the other one, and where
//! rollback is built in, a boot that is not confirmed before the next one is taken back.

use super::events::Events;
use super::flash::Flash;
use super::update::sha256_hex;
use crate::image::{ImageChip, ImageFamily, Marks, verify};
use serde_json::json;

/// Names of the slots.
pub(super) const SLOTS: [&str; 2] = ["ota_0", "ota_1"];

/// Fills a blank flash.
pub(super) fn fill(flash: &mut Flash, image: &[u8]) {
    if flash.is_blank() {
        flash.write(SLOTS[0], image.to_vec());
        flash.set("boot", SLOTS[0]);
    }
}

/// What the boot loader starts now; tells `rolled_back`, `boot_failed` and `booted`. `None` where
/// no slot holds a bootable image.
pub(super) fn boot(
    flash: &mut Flash,
    chip: ImageChip,
    family: ImageFamily,
    events: &Events,
    reason: &str,
) -> Option<(&'static str, Marks)> {
    let chosen = running(flash);
    if flash.flag("pending") {
        if flash.flag("tried") {
            let back = other(chosen);
            flash.remove("pending");
            flash.remove("tried");
            flash.set("boot", back);
            events.tell("rolled_back", json!({ "from": chosen, "to": back }));
        } else {
            flash.set("tried", true);
        }
    }
    let chosen = running(flash);
    for slot in [chosen, other(chosen)] {
        let image = flash.region(slot);
        if image.is_empty() {
            continue;
        }
        if let Err(fault) = verify(image, chip) {
            let why = fault.to_string();
            events.tell("boot_failed", json!({ "slot": slot, "why": why }));
            continue;
        }
        let marks = Marks::of(image).unwrap_or_else(|| Marks::guess(image, family, chip));
        let sha256 = sha256_hex(image);
        flash.set("boot", slot);
        let boot = flash.count_boot();
        events.tell(
            "booted",
            json!({
                "slot": slot,
                "version": marks.version,
                "tag": marks.tag,
                "chip": chip.as_str(),
                "boot": boot,
                "reason": reason,
                "sha256": sha256,
                "pending": flash.flag("pending"),
            }),
        );
        return Some((slot, marks));
    }
    None
}

/// The slot that was booted.
pub(super) fn running(flash: &Flash) -> &'static str {
    let boot = flash.text("boot");
    SLOTS
        .into_iter()
        .find(|slot| Some(*slot) == boot)
        .unwrap_or(SLOTS[0])
}

pub(super) fn other(slot: &str) -> &'static str {
    if slot == SLOTS[0] { SLOTS[1] } else { SLOTS[0] }
}

/// The running image has proved itself.
pub(super) fn confirm(flash: &mut Flash, events: &Events, version: &str) {
    if flash.flag("pending") {
        flash.remove("pending");
        flash.remove("tried");
        events.tell("confirmed", json!({ "version": version }));
    }
}

/// Checks what was written into the other slot, as `esp_ota_end` does, and makes it the next to
/// boot.
pub(super) fn finish(
    flash: &mut Flash,
    chip: ImageChip,
    image: Vec<u8>,
    with_rollback: bool,
    events: &Events,
) -> Result<(), String> {
    let to = other(running(flash));
    let checked = verify(&image, chip);
    let marks = Marks::of(&image);
    let sha256 = sha256_hex(&image);
    flash.write(to, image);
    checked.map_err(|fault| fault.to_string())?;
    flash.set("boot", to);
    if with_rollback {
        flash.set("pending", true);
        flash.remove("tried");
    }
    events.tell(
        "installed",
        json!({
            "slot": to,
            "version": marks.map(|marks| marks.version),
            "sha256": sha256,
        }),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{ImageSpec, build};

    #[test]
    fn an_image_that_is_not_confirmed_is_taken_back_at_the_second_boot() {
        let chip = ImageChip::ESP32S3;
        let family = ImageFamily::Xiaozhi;
        let image = |version: &str| build(&ImageSpec::new(family, chip, version));
        let (events, _told) = Events::new("box");
        let mut flash = Flash::open(None, &SLOTS).expect("memory");
        fill(&mut flash, &image("2.4.0"));
        let start = |flash: &mut Flash| {
            let (_, marks) = boot(flash, chip, family, &events, "").expect("bootable");
            marks.version
        };
        assert_eq!(start(&mut flash), "2.4.0");
        finish(&mut flash, chip, image("2.5.0"), true, &events).expect("a sound image");
        assert_eq!(start(&mut flash), "2.5.0");
        assert_eq!(start(&mut flash), "2.4.0");
        finish(&mut flash, chip, image("2.5.0"), true, &events).expect("a sound image");
        assert_eq!(start(&mut flash), "2.5.0");
        confirm(&mut flash, &events, "2.5.0");
        assert_eq!(start(&mut flash), "2.5.0");
    }
}
