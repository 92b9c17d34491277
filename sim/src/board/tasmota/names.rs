//! Which file an updater asks for (tasmota.md §2.2).

/// The address of another image beside the main one: the file name, cut at its last `-` or else at
/// its first `.`, then `-safeboot` or `-minimal`, then everything from its first `.` on. What comes
/// out of a name with other dashes or with a query is what the device makes of it, too.
pub(super) fn beside(url: &str, variant: &str) -> String {
    let name_at = url.rfind('/').map_or(0, |slash| slash + 1);
    let (path, name) = url.split_at(name_at);
    let extension = name.find('.').map_or("", |dot| &name[dot..]);
    let cut = name.rfind('-').or(name.find('.')).unwrap_or(name.len());
    format!("{path}{}-{variant}{extension}", &name[..cut])
}

/// `OtaUrl` with the chip's number in it: `%d` whole, `%04d` its last 13 bits.
pub(super) fn with_chip(url: &str, chip: u32) -> String {
    url.replace("%04d", &format!("{:04}", chip & 0x1fff))
        .replace("%d", &chip.to_string())
}

/// As the last attempt of an ESP8266 asks for it.
pub(super) fn packed(url: &str) -> String {
    if url.ends_with(".gz") {
        url.to_owned()
    } else {
        format!("{url}.gz")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_beside_is_derived_as_the_firmware_does_traps_included() {
        for (main, safeboot) in [
            ("tasmota32.bin", "tasmota32-safeboot.bin"),
            ("tasmota32-DE.bin", "tasmota32-safeboot.bin"),
            ("tasmota32c3-bluetooth.bin", "tasmota32c3-safeboot.bin"),
            ("my-build.bin", "my-safeboot.bin"),
            (
                "tasmota32.bin?v=1-2",
                "tasmota32.bin?v=1-safeboot.bin?v=1-2",
            ),
        ] {
            let folder = "http://10.0.0.2:8002/ota/a-b.c/";
            assert_eq!(
                beside(&format!("{folder}{main}"), "safeboot"),
                format!("{folder}{safeboot}")
            );
        }
        assert_eq!(
            beside("http://x/tasmota.bin.gz", "minimal"),
            "http://x/tasmota-minimal.bin.gz"
        );
    }

    #[test]
    fn chip_numbers_and_gz_go_into_the_address() {
        assert_eq!(
            with_chip("http://x/%d/%04d.bin", 0x3d5e26),
            "http://x/4021798/7718.bin"
        );
        assert_eq!(packed("http://x/tasmota.bin"), "http://x/tasmota.bin.gz");
        assert_eq!(packed("http://x/tasmota.bin.gz"), "http://x/tasmota.bin.gz");
    }
}
