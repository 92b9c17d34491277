//! Which way a device is told to its voice server: what the settings want, of what is proved, as
//! far as this device can go it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use safeport_settings::{
    AdvertisedAddress, Listener, Outcome, Said, Scheme, Settings, XiaozhiTransport,
};
use safeport_xiaozhi::{CheckRequest, Client, Endpoint, Network, Quirks, WebSocketUrl};
use tokio::sync::Notify;

use crate::limits::{PROBE_DEADLINE, XIAOZHI_VOICE_AGAIN, XIAOZHI_WAYS};
use crate::serve::gate::GateDriver;

/// What can be told now. Kept up by [`Ways::run`], read at every check.
pub(super) struct Ways {
    gate: Arc<GateDriver>,
    wanted: Mutex<Wanted>,
    known: RwLock<Arc<Known>>,
    changed: Notify,
}

/// What the settings say.
#[derive(Clone, Default)]
struct Wanted {
    websocket: Option<WebSocketUrl>,
    /// The same text as it is in the settings, for the logs.
    every: std::time::Duration,
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
    host: Option<IpAddr>,
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

/// What current devices are told, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The address that people enter into devices, without its path.
    pub ota: Option<AdvertisedAddress>,
    /// The address that a current device on Wi-Fi is told; `None`: it is told none.
    pub told: Option<String>,
    /// The voice server of the settings, and what is wrong with it.
    pub websocket: Option<(String, Option<Said>)>,
    /// Addresses of MQTT that could be told.
    pub mqtt: Vec<String>,
    /// Why there are none.
    pub no_mqtt: Option<Said>,
}

impl Ways {
    pub(super) fn new(gate: Arc<GateDriver>) -> Ways {
        Ways {
            gate,
            wanted: Mutex::default(),
            known: RwLock::default(),
            changed: Notify::new(),
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
        let mut probed: Option<(Instant, u64)> = None;
        loop {
            let wanted = self.wanted();
            let broken = matches!(self.known().websocket, Voice::Broken { .. });
            let pause = if broken {
                XIAOZHI_VOICE_AGAIN
            } else {
                wanted.every
            };
            let is_due =
                probed.is_none_or(|(at, number)| number != wanted.number || at.elapsed() >= pause);
            if is_due {
                self.prove(&wanted).await;
                probed = Some((Instant::now(), wanted.number));
            }
            self.look();
            tokio::select! {
                () = tokio::time::sleep(XIAOZHI_WAYS) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// What a device is told.
    pub(super) fn choose(
        &self,
        check: &CheckRequest,
        quirks: &Quirks,
        transport: XiaozhiTransport,
        local: Option<SocketAddr>,
    ) -> Chosen {
        let known = self.known();
        let websocket = || known.websocket(quirks);
        let mqtt = |tls| known.mqtt(check.client, quirks, tls, local);
        let first = match transport {
            XiaozhiTransport::WebSocket => websocket(),
            XiaozhiTransport::Mqtt => mqtt(Some(false)),
            XiaozhiTransport::Mqtts => mqtt(Some(true)),
            XiaozhiTransport::Auto => match known.websocket {
                Voice::Unset => mqtt(None),
                _ => websocket().or_else(|why| mqtt(None).map_err(|also| format!("{why}; {also}"))),
            },
        };
        first.unwrap_or_else(Chosen::None)
    }

    /// What current devices are told.
    pub(super) fn standing(&self, transport: XiaozhiTransport) -> Standing {
        let known = self.known();
        let quirks = Quirks::by(None, Network::Lan, Client::Device);
        let websocket = known.websocket(&quirks);
        let mqtt = |tls| known.mqtt(Client::Device, &quirks, tls, None);
        let told = match transport {
            XiaozhiTransport::WebSocket => websocket,
            XiaozhiTransport::Mqtt => mqtt(Some(false)),
            XiaozhiTransport::Mqtts => mqtt(Some(true)),
            XiaozhiTransport::Auto => websocket.or_else(|_| mqtt(None)),
        };
        let http = self.gate.told(Listener::Http, Scheme::Http);
        Standing {
            ota: http.address().cloned(),
            told: told.ok().map(|chosen| chosen.to_string()),
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

    /// Takes over what the gate knows.
    fn look(&self) {
        let wanted = self.wanted();
        let mut known = (*self.known()).clone();
        let is_public = |address: &AdvertisedAddress| {
            known
                .mqtt
                .iter()
                .any(|one| one.is_public && one.endpoint.to_string() == endpoint_text(address))
        };
        let mut mqtt = Vec::new();
        let mut no_mqtt = None;
        for (listener, scheme) in [
            (Listener::Mqtt, Scheme::Mqtt),
            (Listener::Mqtts, Scheme::Mqtts),
        ] {
            match self.gate.usable(listener, scheme) {
                Ok(addresses) => {
                    for address in addresses {
                        let host = address.host().to_string();
                        let endpoint = Endpoint::new(&host, address.port(), scheme.is_tls());
                        match endpoint {
                            Ok(endpoint) => mqtt.push(Mqtt {
                                endpoint,
                                host: address.host().ip(),
                                is_public: is_public(&address),
                            }),
                            Err(error) => {
                                no_mqtt.get_or_insert(Said::new(
                                    format!("{address}: {error}"),
                                    format!("{address}：{error}"),
                                ));
                            }
                        }
                    }
                }
                Err(why) => {
                    no_mqtt.get_or_insert(why);
                }
            }
        }
        known.no_mqtt = if mqtt.is_empty() { no_mqtt } else { None };
        known.mqtt = mqtt;
        let is_of = |voice: &Voice| match (voice, &wanted.websocket) {
            (Voice::Unset, None) => true,
            (
                Voice::Probing(url) | Voice::Proved { url, .. } | Voice::Broken { url, .. },
                Some(wanted),
            ) => url == wanted,
            _ => false,
        };
        if !is_of(&known.websocket) {
            known.websocket = wanted.websocket.map_or(Voice::Unset, Voice::Probing);
        }
        self.set_known(known);
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
        let mut public = Vec::new();
        if let Ok(addresses) = self.gate.usable(Listener::Mqtts, Scheme::Mqtts) {
            let at_8883 = addresses
                .into_iter()
                .filter(|address| address.port() == Endpoint::TLS_PORT);
            for address in at_8883 {
                if self
                    .gate
                    .has_public_certificate(&address, PROBE_DEADLINE)
                    .await
                {
                    public.push(endpoint_text(&address));
                }
            }
        }
        let mut known = (*self.known()).clone();
        known.websocket = voice;
        for one in &mut known.mqtt {
            one.is_public = public.contains(&one.endpoint.to_string());
        }
        self.set_known(known);
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

    fn set_known(&self, known: Known) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
    }
}

impl Known {
    fn websocket(&self, quirks: &Quirks) -> Result<Chosen, String> {
        match &self.websocket {
            Voice::Proved { url, is_public } => quirks
                .websocket(url.is_tls(), url.port(), *is_public)
                .map(|()| Chosen::WebSocket(url.clone()))
                .map_err(|misses| misses.to_string()),
            Voice::Unset => Err(
                "no voice server is set; write its address into xiaozhi.websocket_url".to_owned(),
            ),
            Voice::Probing(url) => Err(format!("{url} has not been tried yet")),
            Voice::Broken { why, .. } => Err(why.en.clone()),
        }
    }

    /// `tls`: only with it or without it; `None`: without it where that works.
    fn mqtt(
        &self,
        client: Client,
        quirks: &Quirks,
        tls: Option<bool>,
        local: Option<SocketAddr>,
    ) -> Result<Chosen, String> {
        let local = local.map(|local| local.ip().to_canonical());
        let mut misses = None;
        let mut best: Option<(bool, &Mqtt)> = None;
        for one in &self.mqtt {
            let port = one.endpoint.port();
            if tls.is_some_and(|tls| tls != (port == Endpoint::TLS_PORT)) {
                continue;
            }
            if let Err(miss) = quirks.mqtt(client, port, one.is_public) {
                misses.get_or_insert(miss);
                continue;
            }
            // The address by which the device came here is one that it can reach.
            let is_local = local.is_some() && one.host == local;
            if best.is_none_or(|(was_local, _)| is_local && !was_local) {
                best = Some((is_local, one));
            }
        }
        match (best, misses, &self.no_mqtt) {
            (Some((_, one)), ..) => Ok(Chosen::Mqtt(one.endpoint.clone())),
            (None, Some(misses), _) => Err(misses.to_string()),
            (None, None, Some(why)) => Err(why.en.clone()),
            (None, None, None) => Err(
                "no address of MQTT is proved that xiaozhi firmware could use; `ports` shows why"
                    .to_owned(),
            ),
        }
    }
}

fn endpoint_text(address: &AdvertisedAddress) -> String {
    Endpoint::new(
        &address.host().to_string(),
        address.port(),
        address.scheme().is_tls(),
    )
    .map(|endpoint| endpoint.to_string())
    .unwrap_or_default()
}
