//! Which way a device is told to its voice server: what the settings want, of what is proved, as
//! far as this device can go it.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use safeport_settings::{
    AdvertisedAddress, Listener, Outcome, Said, Scheme, Settings, XiaozhiTransport,
};
use safeport_xiaozhi::{Client, Endpoint, Misses, Network, Quirks, WebSocketUrl};
use tokio::sync::Notify;

use crate::limits::{
    PROBE_DEADLINE, XIAOZHI_FIRST_WAYS, XIAOZHI_VOICE_AGAIN, XIAOZHI_WAYS, XIAOZHI_WAYS_PAUSE,
};
use crate::serve::gate::GateDriver;

/// What can be told now. Every change of `known` is made under its lock. Kept up by [`Ways::run`], read at every check.
pub(super) struct Ways {
    gate: Arc<GateDriver>,
    wanted: Mutex<Wanted>,
    known: RwLock<Arc<Known>>,
    changed: Notify,
    started: Instant,
}

/// What the settings say.
#[derive(Clone, Default)]
struct Wanted {
    websocket: Option<WebSocketUrl>,
    /// How often it is tried.
    every: std::time::Duration,
    /// Of the settings: another one means that they changed.
    number: u64,
}

/// What is known of the ways.
#[derive(Debug, Clone, Default)]
struct Known {
    websocket: Voice,
    /// Proved addresses of MQTT, the best first; those that xiaozhi firmware can use.
    mqtt: Vec<Mqtt>,
    /// Why there is none.
    no_mqtt: Option<Said>,
    /// Proved addresses of this server's own conversations, the best first.
    own: Vec<Own>,
    /// Why there is none.
    no_own: Option<Said>,
    /// Whether the first looks are over: what is not usable now may still become so otherwise.
    settled: bool,
    /// Addresses with TLS whose certificate was looked at, and those of them that stock firmware
    /// trusts.
    examined: Vec<String>,
    public: Vec<String>,
}

/// The voice server of `xiaozhi.websocket_url`.
#[derive(Debug, Clone, Default, PartialEq)]
enum Voice {
    /// None is named.
    #[default]
    Unset,
    /// Not looked at yet.
    Probing(WebSocketUrl),
    /// It opens WebSockets.
    Proved { url: WebSocketUrl, is_public: bool },
    /// It does not.
    Broken { url: WebSocketUrl, why: Said },
}

/// An address of MQTT.
#[derive(Debug, Clone, PartialEq)]
struct Mqtt {
    endpoint: Endpoint,
    place: Place,
}

/// An address at which this server talks itself.
#[derive(Debug, Clone, PartialEq)]
struct Own {
    url: WebSocketUrl,
    place: Place,
}

/// Where an address of ours is.
#[derive(Debug, Clone, PartialEq)]
struct Place {
    address: String,
    host: String,
    ip: Option<IpAddr>,
    is_public: bool,
}

/// What a device is told.
#[derive(Debug, Clone)]
pub(super) enum Chosen {
    WebSocket(WebSocketUrl),
    Mqtt(Endpoint),
    /// Neither, and why.
    None(String),
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Chosen::WebSocket(url) => write!(f, "{url}"),
            Chosen::Mqtt(endpoint) if endpoint.port() == Endpoint::TLS_PORT => {
                write!(f, "MQTT at {endpoint}, port 8883, with TLS")
            }
            Chosen::Mqtt(endpoint) => write!(f, "MQTT at {endpoint}"),
            Chosen::None(why) => f.write_str(why),
        }
    }
}

impl Chosen {
    /// In both languages; `None` if it is told nothing.
    fn said(&self) -> Option<Said> {
        let zh = match self {
            Chosen::WebSocket(url) => url.to_string(),
            Chosen::Mqtt(endpoint) if endpoint.port() == Endpoint::TLS_PORT => {
                format!("MQTT，{endpoint}，端口 8883，使用 TLS")
            }
            Chosen::Mqtt(endpoint) => format!("MQTT，{endpoint}"),
            Chosen::None(_) => return None,
        };
        Some(Said::new(self.to_string(), zh))
    }
}

/// A device that wants to know its way.
#[derive(Debug, Clone)]
pub(super) struct Traveller {
    pub(super) client: Client,
    pub(super) quirks: Quirks,
    pub(super) transport: XiaozhiTransport,
    /// The host that it is to be told, where that is proved.
    pub(super) host: Option<String>,
    /// Our address at which it arrived.
    pub(super) came_to: Option<IpAddr>,
}

/// What current devices are told, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The address that people enter into devices, without its path.
    pub ota: Option<AdvertisedAddress>,
    /// The address that a current device on Wi-Fi is told; `None`: it is told none.
    pub told: Option<Said>,
    /// The voice server of the settings, and what is wrong with it.
    pub websocket: Option<(String, Option<Said>)>,
    /// Addresses of MQTT that could be told.
    pub mqtt: Vec<String>,
    /// Why there are none.
    pub no_mqtt: Option<Said>,
}

impl Ways {
    /// Ways of a server that started then.
    pub(super) fn new(gate: Arc<GateDriver>, started: Instant) -> Ways {
        Ways {
            gate,
            wanted: Mutex::default(),
            known: RwLock::default(),
            changed: Notify::new(),
            started,
        }
    }

    /// Other settings.
    pub(super) fn set(&self, settings: &Settings) {
        let text = &settings.xiaozhi.websocket_url;
        let websocket = match WebSocketUrl::parse(text) {
            Ok(url) => Some(url),
            Err(_) if text.is_empty() => None,
            Err(error) => {
                tracing::error!(
                    target: "safeport::xiaozhi",
                    "xiaozhi.websocket_url {text} cannot be told to any device: {error}"
                );
                None
            }
        };
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.websocket = websocket;
        wanted.every = settings.advertise.verify_every;
        wanted.number += 1;
        drop(wanted);
        self.look();
        self.changed.notify_one();
    }

    /// Keeps looking until the runtime ends.
    pub(super) async fn run(self: Arc<Self>) {
        tokio::join!(self.keep_looking(), self.keep_proving());
    }

    async fn keep_looking(&self) {
        loop {
            self.look();
            tokio::time::sleep(XIAOZHI_WAYS).await;
        }
    }

    async fn keep_proving(&self) {
        let mut proved: Option<(Instant, u64, Vec<String>)> = None;
        loop {
            let wanted = self.wanted();
            let with_tls = texts(&self.with_tls());
            let broken = matches!(self.known().websocket, Voice::Broken { .. });
            let pause = if broken {
                XIAOZHI_VOICE_AGAIN
            } else {
                wanted.every
            };
            let is_due = proved.as_ref().is_none_or(|(at, number, examined)| {
                *number != wanted.number || at.elapsed() >= pause || *examined != with_tls
            });
            if is_due {
                self.prove(&wanted).await;
                proved = Some((Instant::now(), wanted.number, with_tls));
            }
            tokio::select! {
                () = tokio::time::sleep(XIAOZHI_WAYS) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// Proved addresses at which devices would speak TLS.
    fn with_tls(&self) -> Vec<AdvertisedAddress> {
        let mqtts = self.gate.usable(Listener::Mqtts, Scheme::Mqtts);
        let mut addresses = mqtts.unwrap_or_default();
        addresses.retain(|address| address.port() == Endpoint::TLS_PORT);
        let wss = self.gate.usable(Listener::Https, Scheme::Wss);
        addresses.extend(wss.unwrap_or_default());
        addresses
    }

    /// What a device is told. While nothing is known yet (the server has just started, or the voice
    /// server is being tried), it waits for that: a device that is told nothing stays mute until
    /// somebody restarts it.
    pub(super) async fn choose(&self, traveller: &Traveller) -> Chosen {
        loop {
            let known = self.known();
            let chosen = known.choose(traveller);
            let waits = match (&chosen, &known.websocket) {
                // MQTT is second best.
                (Chosen::Mqtt(_), Voice::Probing(_)) => {
                    traveller.transport == XiaozhiTransport::Auto
                }
                (Chosen::None(_), voice) => !known.settled || matches!(voice, Voice::Probing(_)),
                (Chosen::WebSocket(_) | Chosen::Mqtt(_), _) => false,
            };
            if !waits || self.started.elapsed() >= XIAOZHI_FIRST_WAYS {
                return chosen;
            }
            drop(known);
            tokio::time::sleep(XIAOZHI_WAYS_PAUSE).await;
            self.look();
        }
    }

    /// The host of MQTT that a device reaches, for datagrams beside it: the best of those that are
    /// proved, or our own address at which it came. As [`Ways::choose`], it waits while the first
    /// looks are under way.
    pub(super) async fn voice_host(
        &self,
        host: Option<String>,
        came_to: Option<IpAddr>,
    ) -> Option<String> {
        let traveller = Traveller {
            client: Client::Device,
            quirks: Quirks::by(None, Network::Lan, Client::Device),
            transport: XiaozhiTransport::Mqtt,
            host,
            came_to,
        };
        loop {
            let known = self.known();
            let ways = known.mqtt.iter().map(|one| (one, &one.place));
            if let Ok(Some(one)) = best(&traveller, ways, |_| Ok(())) {
                return Some(one.place.host.clone());
            }
            if known.settled || self.started.elapsed() >= XIAOZHI_FIRST_WAYS {
                let reached = came_to.filter(|ip| ip.is_ipv4() && !ip.is_unspecified());
                return reached.map(|ip| ip.to_string());
            }
            drop(known);
            tokio::time::sleep(XIAOZHI_WAYS_PAUSE).await;
            self.look();
        }
    }

    /// What current devices are told.
    pub(super) fn standing(&self, transport: XiaozhiTransport) -> Standing {
        let known = self.known();
        let told = known.choose(&Traveller {
            client: Client::Device,
            quirks: Quirks::by(None, Network::Lan, Client::Device),
            transport,
            host: None,
            came_to: None,
        });
        let http = self.gate.told(Listener::Http, Scheme::Http);
        Standing {
            ota: http.address().cloned(),
            told: told.said(),
            websocket: match &known.websocket {
                Voice::Unset => None,
                Voice::Probing(url) | Voice::Proved { url, .. } => Some((url.to_string(), None)),
                Voice::Broken { url, why } => Some((url.to_string(), Some(why.clone()))),
            },
            mqtt: known
                .mqtt
                .iter()
                .map(|one| one.endpoint.to_string())
                .collect(),
            no_mqtt: known.no_mqtt.clone(),
        }
    }

    /// Where a device can send what does not fit into a conversation: the host that was named for it, or that it came
    /// to, before others; without TLS before with it, since firmware knows only public authorities.
    pub(super) fn http(
        &self,
        host: Option<&str>,
        came_to: Option<IpAddr>,
    ) -> Option<AdvertisedAddress> {
        let plain = self.gate.usable(Listener::Http, Scheme::Http);
        let tls = self.gate.usable(Listener::Https, Scheme::Https);
        nearest(plain.into_iter().chain(tls).flatten(), host, came_to)
    }

    /// Takes over what the gate knows.
    fn look(&self) {
        let wanted = self.wanted().websocket;
        let (mqtt, no_mqtt) = self.proved(
            [
                (Listener::Mqtt, Scheme::Mqtt),
                (Listener::Mqtts, Scheme::Mqtts),
            ],
            |address, place| {
                Endpoint::new(&place.host, address.port(), address.scheme().is_tls())
                    .map(|endpoint| Mqtt { endpoint, place })
            },
        );
        let (own, no_own) = self.proved(
            [(Listener::Http, Scheme::Ws), (Listener::Https, Scheme::Wss)],
            |address, place| {
                WebSocketUrl::parse(&address.url(OWN_PATH)).map(|url| Own { url, place })
            },
        );
        let with_tls = texts(&self.with_tls());
        let of_own = [
            Listener::Mqtt,
            Listener::Mqtts,
            Listener::Http,
            Listener::Https,
        ];
        let is_settled = self.gate.is_settled(&of_own);
        self.update(|known| {
            known.no_mqtt = if mqtt.is_empty() { no_mqtt } else { None };
            known.mqtt = mqtt;
            known.no_own = if own.is_empty() { no_own } else { None };
            known.own = own;
            known.mark_public();
            known.settled = is_settled && with_tls.iter().all(|one| known.examined.contains(one));
            let of = known.websocket.url();
            if of != wanted.as_ref() {
                known.websocket = wanted.map_or(Voice::Unset, Voice::Probing);
            }
        });
    }

    /// What devices can be told of these listeners' proved addresses, or why nothing.
    fn proved<T, E: fmt::Display>(
        &self,
        listeners: [(Listener, Scheme); 2],
        told: impl Fn(&AdvertisedAddress, Place) -> Result<T, E>,
    ) -> (Vec<T>, Option<Said>) {
        let mut all = Vec::new();
        let mut why_not = None;
        for (listener, scheme) in listeners {
            let addresses = match self.gate.usable(listener, scheme) {
                Ok(addresses) => addresses,
                Err(why) => {
                    why_not.get_or_insert(why);
                    continue;
                }
            };
            for address in addresses {
                let place = Place {
                    address: address.to_string(),
                    host: address.host().to_string(),
                    ip: address.host().ip(),
                    is_public: false,
                };
                match told(&address, place) {
                    Ok(one) => all.push(one),
                    Err(error) => {
                        why_not.get_or_insert(Said::new(
                            format!("{address}: {error}"),
                            format!("{address}：{error}"),
                        ));
                    }
                }
            }
        }
        (all, why_not)
    }

    /// Looks at what the gate does not: an external voice server, and whether stock firmware
    /// would trust our certificate.
    async fn prove(&self, wanted: &Wanted) {
        let voice = match &wanted.websocket {
            None => Voice::Unset,
            Some(url) => self.probe_voice(url).await,
        };
        let before = self.known().websocket.clone();
        if voice != before {
            match &voice {
                Voice::Broken { url, why } if !matches!(&before, Voice::Broken { .. }) => {
                    tracing::warn!(
                        target: "safeport::xiaozhi",
                        "the voice server {url} (xiaozhi.websocket_url) is told to no device: {why}"
                    );
                }
                Voice::Proved { url, .. } => tracing::info!(
                    target: "safeport::xiaozhi",
                    "the voice server {url} opens WebSockets; xiaozhi devices are told of it"
                ),
                _ => {}
            }
        }
        // Settings may have changed meanwhile.
        if voice.url() == self.wanted().websocket.as_ref() {
            self.update(|known| known.websocket = voice);
        }
        let with_tls = self.with_tls();
        let mut public = Vec::new();
        for address in &with_tls {
            if self
                .gate
                .has_public_certificate(address, PROBE_DEADLINE)
                .await
            {
                public.extend(texts(std::slice::from_ref(address)));
            }
        }
        self.update(|known| {
            known.examined = texts(&with_tls);
            known.public = public;
            known.mark_public();
        });
    }

    async fn probe_voice(&self, url: &WebSocketUrl) -> Voice {
        let headers = "Client-Id: safeport-probe\r\nDevice-Id: 02:00:00:00:00:00\r\n";
        let seen = self.gate.probe_voice(url, headers, PROBE_DEADLINE).await;
        match seen.outcome {
            Outcome::Proved => Voice::Proved {
                url: url.clone(),
                is_public: seen.is_public,
            },
            Outcome::Foreign { saw } | Outcome::Failed { saw, .. } => Voice::Broken {
                url: url.clone(),
                why: saw,
            },
            // It cannot be told from here; that is no reason to hide it.
            Outcome::Unverifiable { .. } => Voice::Proved {
                url: url.clone(),
                is_public: false,
            },
        }
    }

    fn wanted(&self) -> Wanted {
        let wanted = self.wanted.lock();
        wanted.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn known(&self) -> Arc<Known> {
        let known = self.known.read();
        known.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn update(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut known));
    }
}

impl Voice {
    fn url(&self) -> Option<&WebSocketUrl> {
        match self {
            Voice::Unset => None,
            Voice::Probing(url) | Voice::Proved { url, .. } | Voice::Broken { url, .. } => {
                Some(url)
            }
        }
    }
}

impl Known {
    fn mark_public(&mut self) {
        let mqtt = self.mqtt.iter_mut().map(|one| &mut one.place);
        for place in mqtt.chain(self.own.iter_mut().map(|one| &mut one.place)) {
            place.is_public = self.public.contains(&place.address);
        }
    }

    fn choose(&self, traveller: &Traveller) -> Chosen {
        let websocket = || self.websocket(traveller);
        let first = match traveller.transport {
            XiaozhiTransport::WebSocket => websocket(),
            XiaozhiTransport::Mqtt => self.mqtt(traveller, Some(false)),
            XiaozhiTransport::Mqtts => self.mqtt(traveller, Some(true)),
            XiaozhiTransport::Auto => websocket().or_else(|why| {
                self.mqtt(traveller, None)
                    .map_err(|also| format!("{why}; {also}"))
            }),
        };
        first.unwrap_or_else(Chosen::None)
    }

    fn websocket(&self, traveller: &Traveller) -> Result<Chosen, String> {
        match &self.websocket {
            Voice::Proved { url, is_public } => traveller
                .quirks
                .websocket(url.is_tls(), url.port(), *is_public)
                .map(|()| Chosen::WebSocket(url.clone()))
                .map_err(|misses| misses.to_string()),
            Voice::Unset => self.own(traveller),
            Voice::Probing(url) => Err(format!("{url} has not been tried yet")),
            Voice::Broken { why, .. } => Err(why.en.clone()),
        }
    }

    /// This server's own conversations; without TLS where that works.
    fn own(&self, traveller: &Traveller) -> Result<Chosen, String> {
        let quirks = &traveller.quirks;
        let ways = self.own.iter().map(|one| (one, &one.place));
        let best = best(traveller, ways, |one| {
            quirks.websocket(one.url.is_tls(), one.url.port(), one.place.is_public)
        });
        match (best, &self.no_own) {
            (Ok(Some(one)), _) => Ok(Chosen::WebSocket(one.url.clone())),
            (Err(misses), _) => Err(misses.to_string()),
            (Ok(None), Some(why)) => Err(why.en.clone()),
            (Ok(None), None) => Err(
                "no address is proved at which this server could talk with devices; `ports` shows \
                 why"
                .to_owned(),
            ),
        }
    }

    /// `tls`: only with it or without it; `None`: without it where that works.
    fn mqtt(&self, traveller: &Traveller, tls: Option<bool>) -> Result<Chosen, String> {
        let has_tls = |one: &&Mqtt| one.endpoint.port() == Endpoint::TLS_PORT;
        let ways = self
            .mqtt
            .iter()
            .filter(|one| tls.is_none_or(|tls| tls == has_tls(one)))
            .map(|one| (one, &one.place));
        let best = best(traveller, ways, |one| {
            let (port, is_public) = (one.endpoint.port(), one.place.is_public);
            traveller.quirks.mqtt(traveller.client, port, is_public)
        });
        match (best, &self.no_mqtt) {
            (Ok(Some(one)), _) => Ok(Chosen::Mqtt(one.endpoint.clone())),
            (Err(misses), _) => Err(misses.to_string()),
            (Ok(None), Some(why)) => Err(why.en.clone()),
            (Ok(None), None) => Err(
                "no address of MQTT is proved that xiaozhi firmware could use; `ports` shows why"
                    .to_owned(),
            ),
        }
    }
}

/// The best of these ways that the traveller can go, the first of those that are alike.
///
/// # Errors
/// Why it can go none, if there are some.
fn best<'a, T>(
    traveller: &Traveller,
    ways: impl Iterator<Item = (&'a T, &'a Place)>,
    goes: impl Fn(&T) -> Result<(), Misses>,
) -> Result<Option<&'a T>, Misses> {
    let mut misses = None;
    let mut best: Option<(u8, &T)> = None;
    for (way, place) in ways {
        if let Err(miss) = goes(way) {
            misses.get_or_insert(miss);
            continue;
        }
        // The address by which the device came here is one that it can reach; one that somebody
        // named for it goes before that.
        let came_there = place.ip.is_some() && place.ip == traveller.came_to;
        let is_named = traveller.host.as_ref() == Some(&place.host);
        let worth = u8::from(came_there) + 2 * u8::from(is_named);
        if best.is_none_or(|(most, _)| worth > most) {
            best = Some((worth, way));
        }
    }
    match (best, misses) {
        (Some((_, way)), _) => Ok(Some(way)),
        (None, Some(misses)) => Err(misses),
        (None, None) => Ok(None),
    }
}

/// As these addresses are written.
fn texts(addresses: &[AdvertisedAddress]) -> Vec<String> {
    addresses.iter().map(AdvertisedAddress::to_string).collect()
}

/// Where this server talks itself.
const OWN_PATH: &str = "/xiaozhi/v1/";

/// The first of the addresses with the most in favour of it: that its host was named, or that somebody came to it.
fn nearest(
    all: impl Iterator<Item = AdvertisedAddress>,
    host: Option<&str>,
    came_to: Option<IpAddr>,
) -> Option<AdvertisedAddress> {
    let worth = |address: &AdvertisedAddress| {
        let is_named = host.is_some_and(|host| address.host().to_string() == host);
        let came_there = came_to.is_some() && address.host().ip() == came_to;
        2 * u8::from(is_named) + u8::from(came_there)
    };
    let mut best: Option<(u8, AdvertisedAddress)> = None;
    for address in all {
        let worth = worth(&address);
        if best.as_ref().is_none_or(|(most, _)| worth > *most) {
            best = Some((worth, address));
        }
    }
    best.map(|(_, address)| address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_go_to_the_host_that_was_named_then_to_where_the_device_came_then_to_the_first() {
        let urls = [
            "http://192.168.1.10:8002",
            "http://10.0.0.5:8002",
            "https://hub.lan:8443",
        ];
        let all = || urls.map(|url| AdvertisedAddress::parse(url).expect("an address"));
        let chosen = |host, came_to: Option<[u8; 4]>| {
            let came_to = came_to.map(IpAddr::from);
            nearest(all().into_iter(), host, came_to).map(|address| address.to_string())
        };
        assert_eq!(chosen(None, None).as_deref(), Some(urls[0]));
        assert_eq!(chosen(None, Some([10, 0, 0, 5])).as_deref(), Some(urls[1]));
        assert_eq!(
            chosen(None, Some([172, 16, 0, 9])).as_deref(),
            Some(urls[0])
        );
        let named = chosen(Some("hub.lan"), Some([10, 0, 0, 5]));
        assert_eq!(named.as_deref(), Some(urls[2]));
        assert_eq!(nearest(std::iter::empty(), None, None), None);
    }
}
