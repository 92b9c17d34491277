//! What must hold of the place that a person types, whatever it is.

use safeport_doctor::target::{Dialect, Target};

use crate::flight::show;

/// The text of a stranger. Reading never panics; what was mended needs no mending again; what is
/// shown can be shown, and holds no password.
pub fn typed(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Target::read(&text) {
        Err(clues) => show(&clues),
        Ok(target) => {
            let url = target.url();
            let again = Target::read(&url).unwrap_or_else(|clues| panic!("{url}: {clues:?}"));
            assert_eq!(again.host, target.host, "{text:?} -> {url}");
            assert_eq!(again.port, target.port, "{text:?} -> {url}");
            assert_eq!(again.url(), url, "{text:?}");
            for dialect in DIALECTS {
                show(&target.clues(dialect));
                let _ = target.dialled(dialect);
            }
        }
    }
    // A password before the host, in whatever it stands.
    let secret = format!("mqtt://plug:hunter2@{text}");
    let shown = match Target::read(&secret) {
        Err(clues) => clues,
        Ok(target) => {
            assert!(!target.typed.contains("hunter2"), "{}", target.typed);
            let clues = DIALECTS.iter().flat_map(|dialect| target.clues(*dialect));
            clues.collect()
        }
    };
    if !text.contains("hunter2") {
        for clue in shown {
            assert!(!clue.quote.en.contains("hunter2"), "{}", clue.quote.en);
        }
    }
}

const DIALECTS: [Dialect; 10] = [
    Dialect::XiaozhiOta,
    Dialect::XiaozhiWebsocket,
    Dialect::XiaozhiMqtt,
    Dialect::Ml307Ota,
    Dialect::EspIdf,
    Dialect::TasmotaMqtt,
    Dialect::TasmotaOta,
    Dialect::EspEasy,
    Dialect::EspHome,
    Dialect::Shelly,
];
