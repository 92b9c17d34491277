//! From what the fleet saw to what the machine of an offer understands.

use safeport_fleet::release::version_of;
use safeport_fleet::upgrade::{Running, Saw};
use safeport_fleet::{Facts, Installed, Proof, Sighting, Slot, Source, What};

/// What a sighting tells an offer. `events` is what the fleet made of it.
pub(super) fn saw(sighting: &Sighting, events: &[What]) -> Saw {
    let facts = &sighting.facts;
    let is_login = sighting.source == Source::Login;
    let (running, installed) = speaks(facts);
    let text = |text: &Option<safeport_fleet::Text>| text.as_deref().map(str::to_owned);
    Saw {
        online: match sighting.source {
            // A page that answers says nothing of MQTT.
            Source::Web => None,
            Source::Login => Some(facts.online != Some(false)),
            // Who speaks of itself is there, unless it is its will that speaks.
            Source::Message if matches!(sighting.proof, Proof::Login(_)) => {
                facts.online.or(Some(true))
            }
            Source::Message => facts.online,
            _ => None,
        },
        connected: is_login && facts.online != Some(false),
        over_tls: if is_login { facts.tls } else { None },
        booted: sighting.source == Source::Check
            || events
                .iter()
                .any(|event| matches!(event, What::Started { .. })),
        running,
        version: installed.and_then(version_of).map(str::to_owned),
        build: installed.and_then(|image| text(&image.built)),
        variant: None,
        hash: installed.and_then(|image| image.elf_sha256.as_ref().map(hex)),
        boot_count: facts.boot_count.map(u64::from),
        uptime: facts
            .started_at
            .map(|started| sighting.at.saturating_sub(started)),
        crashed: (facts.crashed == Some(true)).then(|| {
            text(&facts.restart_reason).unwrap_or_else(|| "the device reports a crash".to_owned())
        }),
        ota_url: text(&facts.ota_url),
        safeboot_version: facts
            .image(Slot::Safeboot)
            .and_then(|image| text(&image.version)),
    }
}

/// Which image speaks, and what is known of it.
fn speaks(facts: &Facts) -> (Option<Running>, Option<&Installed>) {
    match facts.running {
        Some(Slot::Safeboot) => (Some(Running::Safeboot), facts.image(Slot::Safeboot)),
        Some(Slot::Minimal) => (Some(Running::Minimal), facts.image(Slot::Minimal)),
        Some(Slot::Main) => (Some(Running::Main), facts.image(Slot::Main)),
        _ => (None, facts.image(Slot::Main)),
    }
}

pub(super) fn hex<const N: usize>(bytes: &[u8; N]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use safeport_fleet::DeviceName;

    fn sighting(source: Source) -> Sighting {
        let name: DeviceName = "plug-1".parse().expect("a name");
        Sighting::new(100, source, Proof::Login(name))
    }

    #[test]
    fn a_login_is_a_connection_and_tells_whether_it_is_over_tls() {
        let mut login = sighting(Source::Login);
        login.facts.tls = Some(true);
        let saw = saw(&login, &[]);
        assert!(saw.connected && saw.online == Some(true));
        assert_eq!(saw.over_tls, Some(true));
        assert!(!saw.booted);
    }

    #[test]
    fn a_page_that_answers_is_no_connection_and_a_check_is_a_boot() {
        assert_eq!(saw(&sighting(Source::Web), &[]).online, None);
        let mut will = sighting(Source::Message);
        assert_eq!(saw(&will, &[]).online, Some(true));
        will.facts.online = Some(false);
        assert_eq!(saw(&will, &[]).online, Some(false));
        assert!(saw(&sighting(Source::Check), &[]).booted);
    }

    #[test]
    fn the_version_is_that_of_the_image_that_speaks() {
        let mut said = sighting(Source::Message);
        let image = |version: &str| Installed {
            version: Some(version.into()),
            ..Installed::default()
        };
        said.facts.images = vec![
            (Slot::Main, image("14.0.0")),
            (Slot::Safeboot, image("13.0.0")),
        ];
        said.facts.running = Some(Slot::Safeboot);
        let heard = saw(&said, &[]);
        assert_eq!(heard.version.as_deref(), Some("13.0.0"));
        assert_eq!(heard.running, Some(Running::Safeboot));
        said.facts.running = None;
        assert_eq!(saw(&said, &[]).version.as_deref(), Some("14.0.0"));
    }
}
