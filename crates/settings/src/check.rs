//! How the values of several keys go together.

mod agents;
mod certificates;

pub(crate) use agents::{CHOICE, scoped_choice};

use alloc::string::String;
use alloc::string::ToString;
use alloc::vec::Vec;

use crate::said::said;
use crate::table::{SECTIONS, keys};
use crate::view::nearest_key;
use crate::{Names, Problem, Settings, Source, XiaozhiTransport, ports};

/// Holds the settings against the rules about several keys. Keys in `failed`
/// have a problem already and are left out.
pub(crate) fn together(
    settings: &mut Settings,
    names: &Names<'_>,
    failed: &[String],
    problems: &mut Vec<Problem>,
) {
    pins(settings, problems);
    ports::plan(settings, names, failed, problems);
    certificates::certificates(settings, failed, problems);
    voice(settings, failed);
    agents::agents(settings, failed, problems);
}

/// xiaozhi devices that are to talk over MQTT, and no socket for their sound.
fn voice(settings: &mut Settings, failed: &[String]) {
    let is_unsure = failed
        .iter()
        .any(|key| key.contains("xiaozhi") || key.starts_with("voice."));
    let over_mqtt = matches!(
        settings.advertise.xiaozhi,
        XiaozhiTransport::Mqtt | XiaozhiTransport::Mqtts
    );
    if is_unsure || !settings.xiaozhi.enabled || !over_mqtt || settings.voice.enabled {
        return;
    }
    settings.notes.push(Problem {
        source: settings
            .source("advertise.xiaozhi")
            .cloned()
            .unwrap_or(Source::Default),
        key: Some("advertise.xiaozhi".to_string()),
        what: said!(
            "xiaozhi devices are to talk over MQTT, and voice.enabled is false, so nothing takes \
             their sound: they are told goodbye when they begin",
            "xiaozhi 设备要通过 MQTT 对话，但 voice.enabled 为 false，没有地方接收它们的声音：它们一开始对话就会被告知结束"
        ),
        help: said!(
            "set voice.enabled = true, or advertise.xiaozhi = \"websocket\"",
            "请设 voice.enabled = true，或 advertise.xiaozhi = \"websocket\""
        ),
        related: None,
    });
}

/// A pin that covers no key would protect nothing, unnoticed.
fn pins(settings: &Settings, problems: &mut Vec<Problem>) {
    for pin in &settings.config.pin {
        let section = pin.to_string();
        let entries = SECTIONS
            .iter()
            .filter(|spec| spec.named)
            .filter_map(|spec| section.strip_prefix(spec.name))
            .any(|rest| rest.starts_with('.'));
        if entries || keys().any(|spec| pin.covers(&spec.full_name(None))) {
            continue;
        }
        let help = match nearest_key(&section) {
            Some(near) => crate::nearest::did_you_mean(&near),
            None => said!(
                "write a key such as \"limits.max_inflight\", or a section such as \"advertise.*\"",
                "请写键名，例如 \"limits.max_inflight\"，或整节，例如 \"advertise.*\""
            ),
        };
        problems.push(Problem {
            source: settings.pinned_by(pin),
            key: Some("config.pin".to_string()),
            what: said!(
                "there is no key {section} to pin",
                "没有可固定的键 {section}"
            ),
            help,
            related: None,
        });
    }
}
