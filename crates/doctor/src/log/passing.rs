//! What a log shows to work.

use alloc::boxed::Box;
use alloc::string::String;

use aho_corasick::AhoCorasick;
use once_cell::race::OnceBox;
use safeport_settings::Said;

use super::device::{Life, Service};
use super::speaker::Spoken;
use super::stamp::Stamp;
use super::{Seen, place};
use crate::mask::quote;
use crate::{Evidence, Layer, Passed, Strength};

/// A line that shows a layer to work.
pub(super) struct Mark {
    pub(super) line: u32,
    pub(super) layer: Layer,
    pub(super) service: Service,
    quote: String,
    speaker: super::speaker::Speaker,
}

/// What devices print when something works.
const WORDS: &[(&str, Layer)] = &[
    ("wif: connected", Layer::Wifi),
    ("got ip", Layer::Wifi),
    ("sta ip:", Layer::Wifi),
    ("with ip address", Layer::Wifi),
    ("wifi : wifi connected", Layer::Wifi),
    ("wifi : connected", Layer::Wifi),
    ("wifi: connected", Layer::Wifi),
    ("wifi connected", Layer::Wifi),
    ("certificate validated", Layer::Certificate),
    ("tls connected", Layer::Tls),
    ("mqt: connected", Layer::Mqtt),
    ("mqtt : connected", Layer::Mqtt),
    ("mqtt : subscribed", Layer::Mqtt),
    ("connected to mqtt", Layer::Mqtt),
    ("mqtt connected", Layer::Mqtt),
    ("mqtt: connected to endpoint", Layer::Mqtt),
    ("mqtt_event_connected", Layer::Mqtt),
    ("mqtt: session id", Layer::Mqtt),
    ("mqtt connection...connected", Layer::Mqtt),
    ("reg: 0,1", Layer::Wifi),
    ("reg: 0,5", Layer::Wifi),
    ("reg: 1,1", Layer::Wifi),
    ("reg: 2,1", Layer::Wifi),
    ("+cmqttconnect: 0,0", Layer::Mqtt),
    ("+qmtconn: 0,0,0", Layer::Mqtt),
    ("ws: session id", Layer::Websocket),
    ("websocket: connected", Layer::Websocket),
    ("websocket connected", Layer::Websocket),
    ("ws: received server hello", Layer::Websocket),
    ("ota: current is the latest version", Layer::Http),
    ("ota: new version available", Layer::Http),
    ("ota: activation code", Layer::Http),
    ("status = 200", Layer::Http),
    ("status code: 200", Layer::Http),
    ("upgrade successful", Layer::Ota),
    ("upgrade success", Layer::Ota),
    ("firmware upgrade successful", Layer::Ota),
];

/// What a line shows to work.
pub(super) fn mark(
    line_number: u32,
    line: &str,
    rest: &str,
    _at: Option<Stamp>,
    spoken: &Spoken<'_>,
) -> Option<Mark> {
    static FINDER: OnceBox<AhoCorasick> = OnceBox::new();
    let finder = FINDER.get_or_init(|| {
        let words = WORDS.iter().map(|(word, _)| word);
        let finder = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(words)
            .expect("a few words make a finder");
        Box::new(finder)
    });
    let found = finder.find(rest)?;
    let (_, layer) = WORDS[found.pattern().as_usize()];
    Some(Mark {
        line: line_number,
        layer,
        service: match layer {
            Layer::Mqtt => Service::Mqtt,
            Layer::Websocket => Service::Websocket,
            Layer::Http | Layer::Ota => Service::Http,
            _ => Service::of(spoken, rest),
        },
        quote: quote(line),
        speaker: spoken.speaker,
    })
}

/// Notes what worked: what the device said, and what must have worked for it to fail as it did.
pub(super) fn note(life: &Life, clues: &[Seen], evidence: &mut Evidence) {
    let broken = clues
        .iter()
        .filter(|seen| seen.strength > Strength::Carrier)
        .map(|seen| seen.cause.layer().rank())
        .min();
    // The last word of each layer, unless what is broken lies below it.
    for mark in life.passed.iter().rev() {
        let hidden = broken.is_some_and(|broken| mark.layer.rank() > broken);
        let known = evidence
            .passed
            .iter()
            .any(|passed| passed.layer == mark.layer);
        if !hidden && !known {
            evidence.passed.push(Passed {
                layer: mark.layer,
                place: place(mark.speaker, mark.line),
                quote: Said::same(&mark.quote),
            });
        }
    }
    let mut implied = |layer: Layer, seen: &Seen| {
        let known = evidence.passed.iter().any(|passed| passed.layer == layer);
        if !known {
            evidence.passed.push(Passed {
                layer,
                place: seen.place(),
                quote: Said::same(&seen.quote),
            });
        }
    };
    for seen in clues.iter().filter(|seen| !seen.speaker.is_beside()) {
        let number = seen.entry.and_then(|entry| entry.code);
        // An answer of TLS can only come over an open connection to an address.
        let answered = (seen.is_of("bearssl") && number.is_some_and(|number| number > 0))
            || (seen.is_of("mbedtls") && number.is_some_and(|number| number < -0x2000))
            || seen.is_of("mbedtls-flags")
            || seen.is_of("esp-crt-bundle");
        let refused = (seen.is_of("pubsubclient") || seen.is_of("mqtt311"))
            && number.is_some_and(|number| number > 0);
        let memory = seen.cause.layer() == Layer::Memory;
        if (answered || refused) && !memory {
            implied(Layer::Dns, seen);
            implied(Layer::Tcp, seen);
        }
        // Whom the broker refuses has got through TLS, where it spoke TLS.
        if refused && let Some(fine) = clues.iter().find(|seen| seen.is("bearssl-0")) {
            implied(Layer::Tls, fine);
        }
    }
}
