//! Proofs over HTTP that an address reaches this server, and the page that looks at all addresses
//! from a second vantage point: a phone on the home network, or outside of it.
//!
//! The page tries every address with a nonce of its own. The nonce that comes in tells the server
//! which address was used; the proof that goes back tells the page that it met this server.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use safeport_settings::{AdvertisedAddress, Scheme};
use serde_json::json;

use super::caller::Caller;
use super::page::{Page, escaped, texts};
use super::{Site, Transport};
use crate::limits::{VANTAGE_ADDRESSES, VANTAGE_NONCE_LIFE, VANTAGE_NONCES};
use crate::probe::proof;
use crate::say;
use crate::text::Texts;

/// The nonces of pages that are open somewhere, oldest first, each with the address it is for.
#[derive(Debug, Default)]
pub(super) struct Questions(Mutex<VecDeque<Question>>);

#[derive(Debug)]
struct Question {
    nonce: String,
    address: AdvertisedAddress,
    until: Instant,
}

impl Questions {
    /// A new nonce for `address`; of more than [`VANTAGE_NONCES`] the oldest is forgotten.
    fn ask(&self, address: AdvertisedAddress, now: Instant) -> Result<String, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        let nonce = format!("{:032x}", u128::from_ne_bytes(bytes));
        let mut questions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        questions.retain(|question| question.until > now);
        if questions.len() >= VANTAGE_NONCES {
            questions.pop_front();
        }
        questions.push_back(Question {
            nonce: nonce.clone(),
            address,
            until: now + VANTAGE_NONCE_LIFE,
        });
        Ok(nonce)
    }

    /// The address that a page was to try with `nonce`.
    pub(super) fn asked(&self, nonce: &str) -> Option<AdvertisedAddress> {
        let now = Instant::now();
        let questions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        questions
            .iter()
            .find(|question| question.nonce == nonce && question.until > now)
            .map(|question| question.address.clone())
    }
}

/// Answers a nonce with the proof that only this server has.
pub(super) async fn prove(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    Path(nonce): Path<String>,
) -> Response {
    let Some(proof) = site.proofs.answer(&nonce) else {
        let text = "a nonce is 32 small hexadecimal digits\n";
        return (StatusCode::BAD_REQUEST, text).into_response();
    };
    if let Some(address) = site.questions.asked(&nonce) {
        site.seen.seen(&address, caller.peer.ip());
    }
    if site.proofs.is_asked(&nonce) {
        // No attempt of a device.
        caller.visit.names(None, Some(proof::USER.to_owned()));
    }
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    (headers, format!("{} {proof}", proof::ANSWER_WORD)).into_response()
}

/// Lets a page from outside look at an address of the home network, which browsers ask for
/// beforehand.
pub(super) async fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET"),
        (
            HeaderName::from_static("access-control-allow-private-network"),
            "true",
        ),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// The page. That it was loaded is already the proof of one address.
pub(super) async fn show(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Response {
    let texts = texts(&headers);
    let title = &site.settings().name;
    // A clock before 1970 lets every token in that this server has made.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    if !site.proofs.opens_vantage(&token, now) {
        let page = Page {
            status: StatusCode::NOT_FOUND,
            title,
            body: &format!("<p>{}</p>\n", say!(texts, "vantage-expired")),
            may: "",
        };
        return page.response(texts.language());
    }
    let mut addresses = site.seen.addresses();
    addresses.truncate(VANTAGE_ADDRESSES);
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let here = reached_by(host, caller.transport, &addresses);
    let counts = here.is_none_or(|here| site.seen.seen(here, caller.peer.ip()));
    match tests(&site, &texts, host, here, counts, &addresses) {
        Ok((body, script_nonce)) => {
            let page = Page {
                status: StatusCode::OK,
                title,
                body: &body,
                may: &format!(
                    "script-src 'nonce-{script_nonce}'; style-src 'nonce-{script_nonce}'; \
                     connect-src http: https: ws: wss:"
                ),
            };
            page.response(texts.language())
        }
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the system gives no random numbers: {error}\n"),
        )
            .into_response(),
    }
}

/// The address of ours that a request came by, told from its `Host`. A proxy takes TLS off, so
/// what came in the clear may have begun with `https`.
fn reached_by<'a>(
    host: &str,
    transport: Transport,
    addresses: &'a [AdvertisedAddress],
) -> Option<&'a AdvertisedAddress> {
    let host = host.to_ascii_lowercase();
    let by = |scheme: Scheme| {
        addresses.iter().find(|address| {
            let name = address.host().to_string();
            address.scheme() == scheme
                && (host == format!("{name}:{}", address.port())
                    || host == name && address.port() == scheme.standard_port())
        })
    };
    match transport {
        Transport::Plain => by(Scheme::Http).or_else(|| by(Scheme::Https)),
        Transport::Tls => by(Scheme::Https),
    }
}

/// The page's body, and the nonce that lets its script and style in.
fn tests(
    site: &Site,
    texts: &Texts,
    host: &str,
    here: Option<&AdvertisedAddress>,
    counts: bool,
    addresses: &[AdvertisedAddress],
) -> Result<(String, String), getrandom::Error> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    let script_nonce = format!("{:032x}", u128::from_ne_bytes(random));
    let arrived = match here {
        Some(_) if !counts => say!(texts, "vantage-own-machine"),
        Some(here) => say!(texts, "vantage-here", address = code(&here.to_string())),
        None => say!(texts, "vantage-elsewhere", address = code(host)),
    };
    let waiting = say!(texts, "vantage-waiting");
    let by_browser = say!(texts, "vantage-not-by-browser");
    let no_script = say!(texts, "vantage-no-script");
    let mut lines = String::new();
    let mut tried = Vec::new();
    let now = Instant::now();
    for (number, address) in addresses.iter().enumerate() {
        let path = |nonce: &str| match address.scheme() {
            Scheme::Http | Scheme::Https => Some(format!("{}{nonce}", proof::PATH)),
            Scheme::Ws | Scheme::Wss => Some(format!("/mqtt?nonce={nonce}")),
            Scheme::Mqtt | Scheme::Mqtts => None,
        };
        let state = match path("").is_some() {
            true => &waiting,
            false => &by_browser,
        };
        let shown = code(&address.to_string());
        lines.push_str(&format!(
            "<li>{shown} <span id=\"a{number}\">{state}</span></li>\n"
        ));
        if path("").is_some() {
            let nonce = site.questions.ask(address.clone(), now)?;
            tried.push(json!({
                "id": format!("a{number}"),
                "url": path(&nonce).map(|path| address.url(&path)),
                "socket": matches!(address.scheme(), Scheme::Ws | Scheme::Wss),
                "tls": address.scheme().is_tls(),
                "answer": format!(
                    "{} {}",
                    proof::ANSWER_WORD,
                    site.proofs.answer(&nonce).unwrap_or_default()
                ),
            }));
        }
    }
    let data = json!({
        "tests": tried,
        "words": {
            "reached": say!(texts, "vantage-reached"),
            "foreign": say!(texts, "vantage-foreign"),
            "failed": say!(texts, "vantage-failed"),
            "untrusted": say!(texts, "vantage-untrusted"),
            "mixed": say!(texts, "vantage-mixed"),
        },
    });
    // No text of ours can end the element it stands in.
    let data = data.to_string().replace('<', "\\u003c");
    let lead = say!(texts, "vantage-lead");
    let body = format!(
        "<p>{arrived}</p>\n<p>{lead}</p>\n<noscript><p>{no_script}</p></noscript>\n<ul>\n{lines}</ul>\n\
         <style nonce=\"{script_nonce}\">{STYLE}</style>\n\
         <script type=\"application/json\" id=\"tests\">{data}</script>\n\
         <script nonce=\"{script_nonce}\">{SCRIPT}</script>\n"
    );
    Ok((body, script_nonce))
}

fn code(text: &str) -> String {
    format!("<code>{}</code>", escaped(text))
}

const SCRIPT: &str = include_str!("vantage.js");
const STYLE: &str = "body{font-family:sans-serif;max-width:40em;margin:auto;padding:1em}\
                     li{margin:.6em 0}span{display:block}.reached{color:#070}\
                     .foreign,.failed,.untrusted{color:#a00}";

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<AdvertisedAddress> {
        list.iter()
            .map(|text| AdvertisedAddress::parse(text).expect("an address"))
            .collect()
    }

    #[test]
    fn the_host_header_tells_which_address_a_page_was_loaded_by() {
        let ours = addresses(&[
            "ws://192.168.1.20:8002",
            "http://192.168.1.20:8002",
            "https://hub.example.com",
            "https://hub.lan:8443",
            "http://[fd00::7]:80",
        ]);
        for (host, transport, by) in [
            ("192.168.1.20:8002", Transport::Plain, Some(1)),
            ("192.168.1.20", Transport::Plain, None),
            ("192.168.1.20:8002", Transport::Tls, None),
            ("Hub.Example.com", Transport::Plain, Some(2)),
            ("hub.example.com:443", Transport::Tls, Some(2)),
            ("hub.lan:8443", Transport::Tls, Some(3)),
            ("hub.lan", Transport::Tls, None),
            ("[fd00::7]", Transport::Plain, Some(4)),
            ("evil.example", Transport::Plain, None),
            ("", Transport::Plain, None),
        ] {
            let found = reached_by(host, transport, &ours);
            assert_eq!(found, by.map(|place: usize| &ours[place]), "{host:?}");
        }
    }

    #[test]
    fn a_nonce_stands_for_its_address_until_it_is_too_old_or_too_many_came_after_it() {
        let questions = Questions::default();
        let [one, two] = ["http://a.lan:80", "http://b.lan:80"]
            .map(|text| AdvertisedAddress::parse(text).expect("an address"));
        let now = Instant::now();
        let first = questions.ask(one.clone(), now).expect("random numbers");
        assert_eq!(questions.asked(&first), Some(one.clone()));
        assert_eq!(questions.asked(&"0".repeat(32)), None);
        for _ in 0..VANTAGE_NONCES {
            questions.ask(two.clone(), now).expect("random numbers");
        }
        assert_eq!(questions.asked(&first), None);
        let Some(old) = now.checked_sub(VANTAGE_NONCE_LIFE) else {
            return;
        };
        let late = questions.ask(one, old).expect("random numbers");
        assert_eq!(questions.asked(&late), None);
    }
}
