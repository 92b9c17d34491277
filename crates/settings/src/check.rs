//! How the values of several keys go together.

mod certificates;

use alloc::string::String;
use alloc::string::ToString;
use alloc::vec::Vec;

use crate::said::said;
use crate::table::keys;
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
}

/// xiaozhi devices that are to connect by WebSocket, and no voice server to tell them of.
fn voice(settings: &mut Settings, failed: &[String]) {
    let is_unsure = failed.iter().any(|key| key.contains("xiaozhi"));
    if is_unsure
        || !settings.xiaozhi.enabled
        || settings.advertise.xiaozhi != XiaozhiTransport::WebSocket
        || !settings.xiaozhi.websocket_url.is_empty()
    {
        return;
    }
    settings.notes.push(Problem {
        source: settings
            .source("advertise.xiaozhi")
            .cloned()
            .unwrap_or(Source::Default),
        key: Some("advertise.xiaozhi".to_string()),
        what: said!(
            "xiaozhi devices are to connect by WebSocket, and no voice server is set, so they are \
             told nothing",
            "xiaozhi 设备要用 WebSocket 连接，但没有设置语音服务器，因此不会告知任何地址"
        ),
        help: said!(
            "set xiaozhi.websocket_url to the address of a voice server, or advertise.xiaozhi = \
             \"auto\"",
            "请把 xiaozhi.websocket_url 设为语音服务器的地址，或设 advertise.xiaozhi = \"auto\""
        ),
        related: None,
    });
}

/// A pin that covers no key would protect nothing, unnoticed.
fn pins(settings: &Settings, problems: &mut Vec<Problem>) {
    for pin in &settings.config.pin {
        let section = pin.to_string();
        let proxies = section.starts_with("proxy.");
        if proxies || keys().any(|spec| pin.covers(&spec.full_name(None))) {
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
