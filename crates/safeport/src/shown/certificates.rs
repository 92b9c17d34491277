//! What listeners present: as data and as text.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use safeport_net::PrivateCa;
use safeport_net::pki::{
    self, AnchorKind, CertificateFacts, Certificates, Chain, ChainNote, FamilyVerdict, Origin,
    Route,
};
use safeport_settings::{
    Accept, AdvertisedAddress, AdvertisedHost, CertificateChoice, HostName, Listener, Settings,
};
use safeport_store::{AddressRow, ChainRow, DataFolder, RunningServer};
use serde_json::{Value, json};

use super::families;
use crate::acme::state::Words;
use crate::acme::{AcmeState, Alarm};
use crate::certificates::{Refused, choice};
use crate::say;
use crate::text::{Language, Texts};
use crate::time::stamp;

/// Everything that is shown of the certificates.
pub struct View<'a> {
    /// The settings in force.
    pub settings: &'a Settings,
    /// All chains that can be presented.
    pub certificates: &'a Certificates,
    /// Files that cannot be presented, and why: as just read.
    pub refused: &'a [Refused],
    /// What the running server has written down about its chains.
    pub written: &'a [ChainRow],
    /// The server that runs on the data folder.
    pub server: Option<RunningServer>,
    /// Our own authority.
    pub ca: &'a PrivateCa,
    /// The data folder.
    pub folder: &'a DataFolder,
    /// The host that devices are told for each listener, where one is known.
    pub hosts: &'a [(Listener, String)],
    /// The moment that days are counted from.
    pub now: SystemTime,
}

/// A listener and what it presents.
struct Row {
    listener: Listener,
    setting: CertificateChoice,
    chains: Vec<Arc<Chain>>,
}

impl View<'_> {
    /// All of it as data.
    pub fn json(&self, texts: &Texts) -> Value {
        let listeners: Vec<Value> = self
            .rows()
            .iter()
            .map(|row| {
                let chains = row.chains.iter();
                json!({
                    "listener": row.listener.name(),
                    "certificate": setting_word(row.setting),
                    "presents": chains.map(|chain| self.chain_json(chain, texts)).collect::<Vec<_>>(),
                    "tasmota_fingerprint": self.tasmota(row.listener),
                    "host": self.host(row.listener),
                    "families": self
                        .families(row)
                        .iter()
                        .map(|verdict| families::json(verdict, texts))
                        .collect::<Vec<_>>(),
                })
            })
            .collect();
        let refused = self.refusals(texts).into_iter();
        json!({
            "server": self.server.map(|server| server.pid),
            "listeners": listeners,
            "not_presented": refused
                .map(|(path, why)| json!({"path": path, "why": why}))
                .collect::<Vec<_>>(),
            "root": {
                "path": self.folder.pki().join("ca.pem"),
                "not_after": seconds(self.ca.ca_until()),
                "days_left": self.days_to(self.ca.ca_until()),
            },
            "acme": self.acme(),
            "ca_pem": self.ca.ca_pem(),
            "tasmota_fingerprint": self.tasmota(Listener::Mqtts),
            "folder": self.folder.pki(),
        })
    }

    /// All of it for people.
    pub fn text(&self, texts: &Texts) -> String {
        let mut text = String::new();
        let mut before: Option<Row> = None;
        for row in self.rows() {
            let name = row.listener.name();
            text.push_str(&say!(
                texts,
                "cert-listener",
                listener = name,
                key = deciding_key(row.listener),
                setting = setting_word(row.setting)
            ));
            match &before {
                Some(other) if same(&other.chains, &row.chains) => {
                    text.push_str("\n  ");
                    let name = other.listener.name();
                    text.push_str(&say!(texts, "cert-same-as", listener = name));
                }
                _ => {
                    for chain in &row.chains {
                        text.push_str(&self.chain_text(chain, texts));
                    }
                }
            }
            if row.chains.is_empty() {
                text.push_str("\n  -");
            }
            text.push_str("\n  ");
            text.push_str(&match self.host(row.listener) {
                None => say!(texts, "cert-families"),
                Some(host) => say!(texts, "cert-families-host", host = host),
            });
            for verdict in self.families(&row) {
                text.push_str("\n    ");
                text.push_str(&families::line(&verdict, texts));
            }
            text.push_str("\n\n");
            before = Some(row);
        }
        let refused = self.refusals(texts);
        if !refused.is_empty() {
            text.push_str(&say!(texts, "cert-not-presented"));
            for (path, why) in refused {
                text.push_str(&format!("\n  {}: {why}", path.as_deref().unwrap_or("-")));
            }
            text.push_str("\n\n");
        }
        text.push_str(&say!(
            texts,
            "cert-root",
            path = self.folder.pki().join("ca.pem").display(),
            at = stamp(seconds(self.ca.ca_until())),
            days = self.days_to(self.ca.ca_until())
        ));
        if let Some(acme) = self.acme() {
            text.push_str("\n\n");
            text.push_str(&acme_text(&acme, texts));
        }
        text
    }

    /// Every listener that speaks TLS, by itself or beside its own protocol.
    fn rows(&self) -> Vec<Row> {
        let settings = self.settings;
        let (mqtts, https) = (settings.mqtts.certificate, settings.https.certificate);
        let (mqtt, http) = (&settings.mqtt, &settings.http);
        let all = [
            (Listener::Mqtts, settings.mqtts.enabled, mqtts),
            (Listener::Https, settings.https.enabled, https),
            (
                Listener::Mqtt,
                mqtt.enabled && mqtt.accept == Accept::Both,
                mqtts,
            ),
            (
                Listener::Http,
                http.enabled && http.accept == Accept::Both,
                https,
            ),
        ];
        all.into_iter()
            .filter(|(_, speaks, _)| *speaks)
            .map(|(listener, _, setting)| Row {
                listener,
                setting,
                chains: self.certificates.presented(choice(settings, listener)),
            })
            .collect()
    }

    fn host(&self, listener: Listener) -> Option<&str> {
        let mut hosts = self.hosts.iter();
        let found = hosts.find(|(of, _)| *of == listener);
        found.map(|(_, host)| host.as_str())
    }

    /// Those kinds of device that come to a listener, and whether they can connect.
    fn families(&self, row: &Row) -> Vec<FamilyVerdict> {
        let web = matches!(row.listener, Listener::Http | Listener::Https);
        let choice = choice(self.settings, row.listener);
        let mut all = pki::families(&row.chains, choice, self.host(row.listener), self.now);
        all.retain(|verdict| match verdict.route {
            Route::Browser | Route::Phone => web,
            Route::TasmotaEsp32Fingerprint
            | Route::TasmotaEsp32Roots
            | Route::TasmotaEsp32Ecdsa
            | Route::TasmotaEsp8266Fingerprint
            | Route::TasmotaEsp8266Roots
            | Route::EspEasyRoots
            | Route::EspEasyUnchecked => !web,
            _ => true,
        });
        all
    }

    /// Files that are not presented: what the running server says, else what was just read.
    fn refusals(&self, texts: &Texts) -> Vec<(Option<String>, String)> {
        let in_language = |(en, zh): &(String, String)| match texts.language() {
            Language::English => en.clone(),
            Language::Chinese => zh.clone(),
        };
        if self.server.is_some() {
            let rows = self.written.iter();
            return rows
                .filter_map(|row| Some((row.path.clone(), in_language(row.refused.as_ref()?))))
                .collect();
        }
        self.refused
            .iter()
            .map(|refused| {
                let why = refused.why.in_language(texts.language().into());
                (Some(refused.path.display().to_string()), why.to_owned())
            })
            .collect()
    }

    fn chain_json(&self, chain: &Chain, texts: &Texts) -> Value {
        let path = match chain.origin() {
            Origin::Files { path } => Some(path),
            _ => None,
        };
        let certificates = chain.certificates().iter();
        let anchors = chain.anchors().iter();
        let notes = chain.notes().iter();
        json!({
            "origin": origin(chain.origin()),
            "path": path,
            "names": chain.names(),
            "key": chain.key().to_string(),
            "not_before": seconds(chain.not_before()),
            "not_after": seconds(chain.not_after()),
            "days_left": chain.days_left(self.now),
            "certificates": certificates.map(|facts| self.facts_json(facts)).collect::<Vec<_>>(),
            "leads_to": anchors
                .map(|anchor| json!({"root": anchor.name, "known_from": known_from(anchor.kind)}))
                .collect::<Vec<_>>(),
            "notes": notes.map(|note| note_words(note, texts)).collect::<Vec<_>>(),
            "in_use": self.is_written(chain),
        })
    }

    fn facts_json(&self, facts: &CertificateFacts) -> Value {
        json!({
            "name": facts.name,
            "subject": facts.subject,
            "issuer": facts.issuer,
            "key": facts.key.to_string(),
            "signature": facts.signature.to_string(),
            "serial": facts.serial,
            "not_before": seconds(facts.not_before),
            "not_after": seconds(facts.not_after),
            "days_left": self.days_to(facts.not_after),
            "bytes": facts.bytes,
        })
    }

    fn chain_text(&self, chain: &Chain, texts: &Texts) -> String {
        let whence = match chain.origin() {
            Origin::Files { path } => format!("{} {}", origin(chain.origin()), path.display()),
            other => origin(other).to_owned(),
        };
        let mut text = format!(
            "\n  {whence}, {}: {}",
            chain.key(),
            chain.names().join(", ")
        );
        for (number, facts) in (1..).zip(chain.certificates()) {
            text.push_str("\n    ");
            text.push_str(&say!(
                texts,
                "cert-link",
                number = number,
                subject = facts.subject,
                issuer = facts.issuer,
                key = facts.key,
                signature = facts.signature,
                at = stamp(seconds(facts.not_after)),
                days = self.days_to(facts.not_after)
            ));
        }
        for note in chain.notes() {
            text.push_str("\n    ! ");
            text.push_str(&note_words(note, texts));
        }
        if self.is_written(chain) == Some(false) {
            text.push_str("\n    ! ");
            text.push_str(&say!(texts, "cert-not-yet-in-use"));
        }
        text
    }

    /// Whether the running server presents this chain; `None` where none runs or it has not said.
    fn is_written(&self, chain: &Chain) -> Option<bool> {
        if self.server.is_none() || self.written.is_empty() {
            return None;
        }
        let pem = chain.pem();
        let mut served = self.written.iter().filter(|row| row.refused.is_none());
        Some(served.any(|row| row.pem == pem))
    }

    /// What Tasmota finds on a listener.
    fn tasmota(&self, listener: Listener) -> Option<String> {
        let chain = self
            .certificates
            .for_tasmota(choice(self.settings, listener), None)?;
        Some(chain.tasmota_fingerprints()?.v2.to_string())
    }

    fn days_to(&self, moment: SystemTime) -> u64 {
        let left = moment.duration_since(self.now).unwrap_or_default();
        left.as_secs() / 86_400
    }

    /// How the certificates of an ACME authority stand, if one is in the settings.
    fn acme(&self) -> Option<AcmeState> {
        if self.settings.acme.names.is_empty() {
            return None;
        }
        let path = self.folder.pki().join("acme").join("state.json");
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }
}

/// Whether the same is presented.
fn same(some: &[Arc<Chain>], others: &[Arc<Chain>]) -> bool {
    let mut pairs = some.iter().zip(others);
    some.len() == others.len() && pairs.all(|(one, other)| one.der() == other.der())
}

/// The host that devices are told for each listener: one that is proved, else the one in the
/// settings.
pub fn told_hosts(settings: &Settings, addresses: &[AddressRow]) -> Vec<(Listener, String)> {
    let all = [
        Listener::Mqtts,
        Listener::Https,
        Listener::Mqtt,
        Listener::Http,
    ];
    all.into_iter()
        .filter_map(|listener| Some((listener, told_host(settings, addresses, listener)?)))
        .collect()
}

fn told_host(settings: &Settings, addresses: &[AddressRow], listener: Listener) -> Option<String> {
    let proved = addresses
        .iter()
        .find(|row| row.listener == listener.name() && row.state == "verified")
        .and_then(|row| AdvertisedAddress::parse(&row.url).ok());
    let host = match (&proved, &settings.advertise.host) {
        (Some(address), _) => address.host(),
        (None, AdvertisedHost::Host(host)) => host,
        (None, AdvertisedHost::Auto) => return None,
    };
    Some(match host {
        HostName::Ip(ip) => ip.to_string(),
        HostName::Name(name) => name.to_string(),
    })
}

fn acme_text(acme: &AcmeState, texts: &Texts) -> String {
    let mut text = say!(
        texts,
        "cert-acme",
        directory = acme.directory,
        challenge = acme.challenge,
        names = acme.names.join(", ")
    );
    let words = |words: &Words| match texts.language() {
        Language::English => words.en.clone(),
        Language::Chinese => words.zh.clone(),
    };
    for state in &acme.certificates {
        let key = state.key.word();
        text.push_str("\n  ");
        text.push_str(&match &state.held {
            Some(held) => {
                let at = stamp(held.not_after);
                say!(texts, "cert-acme-held", key = key, at = at)
            }
            None => say!(texts, "cert-acme-none", key = key),
        });
        match state.alarm {
            Alarm::Fine => {}
            Alarm::Warning => text.push_str(" (warning)"),
            Alarm::Alarm => text.push_str(" (ALARM)"),
        }
        if let Some(at) = state.next_attempt {
            text.push_str("\n    ");
            text.push_str(&say!(texts, "cert-acme-next", at = stamp(at)));
        }
        if let Some(trouble) = &state.trouble {
            text.push_str(&format!(
                "\n    ! {} {}: {}\n      → {}",
                stamp(trouble.at),
                trouble.code,
                words(&trouble.what),
                words(&trouble.next)
            ));
        }
    }
    text
}

/// Where a chain comes from, as in settings.
pub fn origin(origin: &Origin) -> &'static str {
    match origin {
        Origin::Private => "private",
        Origin::Files { .. } => "files",
        Origin::Acme => "acme",
        Origin::Challenge => "challenge",
    }
}

/// The setting that decides what a listener presents: TLS beside the listener's own protocol
/// presents what the listener for TLS does.
fn deciding_key(listener: Listener) -> &'static str {
    match listener {
        Listener::Http | Listener::Https => "https.certificate",
        _ => "mqtts.certificate",
    }
}

fn setting_word(setting: CertificateChoice) -> &'static str {
    match setting {
        CertificateChoice::Auto => "auto",
        CertificateChoice::Private => "private",
        CertificateChoice::Files => "files",
        CertificateChoice::Acme => "acme",
    }
}

fn known_from(kind: AnchorKind) -> &'static str {
    match kind {
        AnchorKind::Public => "public",
        AnchorKind::Given => "tls.ca_file",
        AnchorKind::Private => "private",
        AnchorKind::InFile => "file",
    }
}

fn note_words(note: &ChainNote, texts: &Texts) -> String {
    match note {
        ChainNote::WithoutCrossSigned { root, older } => {
            say!(
                texts,
                "cert-note-no-cross-sign",
                root = root,
                older = *older
            )
        }
        ChainNote::RootNotSent(root) => say!(texts, "cert-note-root-not-sent", root = root),
        ChainNote::UnknownRoot(root) => say!(texts, "cert-note-unknown-root", root = root),
        ChainNote::LongKey(key) => say!(texts, "cert-note-long-key", key = key),
        ChainNote::LargeHash { name, signature } => say!(
            texts,
            "cert-note-large-hash",
            name = name,
            signature = signature
        ),
        ChainNote::LargeCurve { name, key } => {
            say!(texts, "cert-note-large-curve", name = name, key = key)
        }
    }
}

fn seconds(moment: SystemTime) -> u64 {
    moment
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
