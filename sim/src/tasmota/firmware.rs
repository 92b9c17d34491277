//! What runs on the device beside its MQTT connection: settings, relay, timers, topic names.

use super::clock::{DateTime, SECONDS_PER_DAY};
use super::energy::Meter;
use super::set_options::SetOptions;
use super::{Act, PlugOptions};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::Duration;

/// A message that the firmware wants published. It is lost when no connection is up.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: String,
    pub(super) retain: bool,
}

/// First part of a topic name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefix {
    Cmnd,
    Stat,
    Tele,
}

impl Prefix {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Prefix::Cmnd => "cmnd",
            Prefix::Stat => "stat",
            Prefix::Tele => "tele",
        }
    }
}

/// Where a command came from decides where its answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// `cmnd/<topic>/…` or a group: answers below `stat/<topic>/`.
    Own,
    /// `cmnd/<client id>_fb/…`: answers below `stat/<client id>_fb/`.
    Fallback,
}

pub(super) struct Firmware {
    pub(super) options: PlugOptions,
    pub(super) topic: String,
    pub(super) client_id: String,
    pub(super) set_options: SetOptions,
    pub(super) relay_on: bool,
    pub(super) meter: Meter,
    /// Seconds since 1970 when the plug's time was zero.
    utc: u64,
    /// Start of the meter's total, in the same seconds.
    pub(super) meter_start: u64,
    pub(super) booted: Duration,
    pub(super) boot_count: u32,
    pub(super) restart_reason: String,
    /// Connections since boot.
    pub(super) mqtt_count: u32,
    pub(super) tele_at: Option<Duration>,
    pub(super) discovery_at: Option<Duration>,
    pub(super) restart_at: Option<Duration>,
    pub(super) upgrade_at: Option<Duration>,
    pub(super) backlog: VecDeque<(String, Route)>,
    pub(super) backlog_at: Duration,
    pub(super) outbox: Vec<Message>,
    /// What waits behind `upgrade_at` and `restart_at` on a board.
    pub(super) upgrade_act: Act,
    pub(super) restart_act: Act,
    pub(super) acts: Vec<Act>,
}

impl Firmware {
    pub(super) fn new(options: PlugOptions, utc: u64) -> Self {
        let tail = options.mac.tail();
        let mut firmware = Firmware {
            topic: options
                .topic
                .clone()
                .unwrap_or_else(|| format!("tasmota_{tail:06X}")),
            client_id: options
                .client_id
                .clone()
                .unwrap_or_else(|| format!("DVES_{tail:06X}")),
            set_options: SetOptions::new(),
            relay_on: true,
            meter: Meter::new(options.seed, Duration::ZERO, utc / SECONDS_PER_DAY),
            utc,
            meter_start: utc,
            booted: Duration::ZERO,
            boot_count: 1,
            restart_reason: "Vbat power on reset".into(),
            mqtt_count: 0,
            tele_at: None,
            discovery_at: None,
            restart_at: None,
            upgrade_at: None,
            backlog: VecDeque::new(),
            backlog_at: Duration::ZERO,
            outbox: Vec::new(),
            upgrade_act: Act::Upgrade,
            restart_act: Act::Restart,
            acts: Vec::new(),
            options,
        };
        if let Some(board) = &firmware.options.board {
            firmware.boot_count = board.boot_count;
            firmware.restart_reason = board.restart_reason.clone();
        }
        firmware
    }

    /// Begins again as after `Restart 1`: settings and relay stay, everything of this boot goes.
    pub(super) fn reboot(&mut self, now: Duration) {
        self.booted = now;
        self.boot_count += 1;
        self.restart_reason = "Software reset CPU".into();
        self.mqtt_count = 0;
        self.tele_at = None;
        self.discovery_at = None;
        self.restart_at = None;
        self.upgrade_at = None;
        self.backlog.clear();
        self.outbox.clear();
    }

    /// After LWT and SUBSCRIBE of the first connection since boot.
    pub(super) fn first_connected(&mut self, now: Duration) {
        for (name, payload) in [
            ("INFO1", self.info1()),
            ("INFO2", self.info2()),
            ("INFO3", self.info3()),
        ] {
            self.publish_tele(name, payload);
        }
        self.publish_power(Route::Own);
        if self.options.tele_period > 0 {
            self.tele_at = Some(now + FIRST_TELEMETRY);
        }
        // Discovery is switched on at every boot, whatever SetOption19 said before.
        self.set_options.set(19, 0);
        if !self.is_minimal() {
            self.discovery_at = Some(now + FIRST_DISCOVERY);
        }
    }

    /// After LWT and SUBSCRIBE of any later connection.
    pub(super) fn reconnected(&mut self, now: Duration) {
        self.rediscover(now);
    }

    pub(super) fn rediscover(&mut self, now: Duration) {
        if self.is_minimal() {
            return;
        }
        self.discovery_at = Some(now + REDISCOVERY);
    }

    /// When [`Firmware::tick`] is due.
    pub(super) fn next_timer(&self) -> Option<Duration> {
        // A restart waits for the backlog.
        let next_step = if self.backlog.is_empty() {
            self.restart_at
        } else {
            Some(self.backlog_at)
        };
        [self.tele_at, self.discovery_at, self.upgrade_at, next_step]
            .into_iter()
            .flatten()
            .min()
    }

    /// Runs what is due. The restart is left to the connection, which has to end first.
    pub(super) fn tick(&mut self, now: Duration) {
        if due(&mut self.tele_at, now) {
            self.telemetry(now);
            self.schedule_telemetry(now);
        }
        if due(&mut self.discovery_at, now) {
            self.discovery(now);
        }
        if due(&mut self.upgrade_at, now) {
            if self.options.board.is_some() {
                self.acts.push(self.upgrade_act);
            } else {
                self.publish_upgrade(UPGRADE_FAILED);
            }
        }
        while self.backlog_at <= now
            && let Some((command, route)) = self.backlog.pop_front()
        {
            self.backlog_command(&command, route, now);
        }
    }

    pub(super) fn restart_due(&self, now: Duration) -> bool {
        self.backlog.is_empty() && self.restart_at.is_some_and(|at| at <= now)
    }

    pub(super) fn schedule_telemetry(&mut self, now: Duration) {
        let period = u64::from(self.options.tele_period);
        self.tele_at = (period > 0).then(|| now + Duration::from_secs(period));
    }

    /// The end of an upgrade, on its own topic.
    pub(super) fn publish_upgrade(&mut self, text: &str) {
        let topic = self.topic_of(Prefix::Stat, "UPGRADE", Route::Own);
        self.publish(topic, format!("{{\"Upgrade\":\"{text}\"}}"), false);
    }

    /// Safeboot and minimal images: what is not needed for an upgrade is left out.
    fn is_minimal(&self) -> bool {
        self.options
            .board
            .as_ref()
            .is_some_and(|board| board.minimal)
    }

    fn telemetry(&mut self, now: Duration) {
        let state = self.state(now);
        self.publish_tele("STATE", state);
        if self.is_minimal() {
            return;
        }
        let sensor = self.sensor(now, true);
        self.publish_tele("SENSOR", sensor);
        self.meter.end_period();
    }

    /// `SetOption19 1` clears what an earlier boot left.
    fn discovery(&mut self, now: Duration) {
        let (config, sensors) = if self.set_options.is_on(19) {
            (String::new(), String::new())
        } else {
            (self.discovery_config(), self.discovery_sensors(now))
        };
        let base = format!("tasmota/discovery/{}", self.options.mac);
        self.publish(format!("{base}/config"), config, true);
        self.publish(format!("{base}/sensors"), sensors, true);
    }

    pub(super) fn set_relay(&mut self, on: bool, now: Duration) {
        let unix = self.unix(now);
        self.relay_on = on;
        self.meter.advance(now, unix, on);
    }

    /// The JSON result first, the plain text second.
    pub(super) fn publish_power(&mut self, route: Route) {
        let state = self.power_text();
        self.publish_result("POWER", format!("{{\"POWER\":\"{state}\"}}"), route);
        if !self.set_options.is_on(90) {
            let topic = self.topic_of(Prefix::Stat, "POWER", route);
            self.publish(topic, state.into(), false);
        }
    }

    pub(super) fn power_text(&self) -> &'static str {
        if self.relay_on { "ON" } else { "OFF" }
    }

    /// The answer to `command`: on `RESULT`, or on the command's own name with SetOption4.
    pub(super) fn publish_result(&mut self, command: &str, payload: String, route: Route) {
        let name = if self.set_options.is_on(4) {
            command.to_ascii_uppercase()
        } else {
            "RESULT".into()
        };
        let topic = self.topic_of(Prefix::Stat, &name, route);
        self.publish(topic, payload, false);
    }

    pub(super) fn publish_tele(&mut self, name: &str, payload: String) {
        let topic = self.topic_of(Prefix::Tele, name, Route::Own);
        self.publish(topic, payload, false);
    }

    /// SetOption104 takes the retain flag off everything.
    pub(super) fn publish(&mut self, topic: String, payload: String, retain: bool) {
        self.outbox.push(Message {
            topic,
            payload,
            retain: retain && !self.set_options.is_on(104),
        });
    }

    /// A topic name of the device by its `FullTopic` (tasmota.md §1.1).
    pub(super) fn topic_of(&self, prefix: Prefix, name: &str, route: Route) -> String {
        if route == Route::Fallback {
            return format!("{}/{}_fb/{name}", prefix.text(), self.client_id);
        }
        self.full_topic(prefix, &self.topic, name)
    }

    /// Topic filters of a fresh connection, in their order.
    pub(super) fn filters(&self) -> Vec<String> {
        let mut filters = vec![self.topic_of(Prefix::Cmnd, "#", Route::Own)];
        if self.options.full_topic.contains("%topic%") {
            if !self.options.group_topic.is_empty() {
                filters.push(self.full_topic(Prefix::Cmnd, &self.options.group_topic, "#"));
            }
            filters.push(self.topic_of(Prefix::Cmnd, "#", Route::Fallback));
        }
        filters
    }

    pub(super) fn full_topic(&self, prefix: Prefix, topic: &str, name: &str) -> String {
        let mut template = self.options.full_topic.clone();
        if prefix == Prefix::Cmnd && !template.contains("%prefix%") {
            template.push_str("/%prefix%");
        }
        let mut full = template
            .replace("%prefix%", prefix.text())
            .replace("%topic%", topic)
            .replace("%hostname%", &self.hostname())
            .replace("%id%", &self.options.mac.to_string())
            .replace('#', "");
        full.push('/');
        while full.contains("//") {
            full = full.replace("//", "/");
        }
        full + name
    }

    /// What the firmware keeps in flash.
    pub(super) fn kept(&self) -> Value {
        let options = &self.options;
        let (words, numbers) = self.set_options.kept();
        json!({
            "topic": self.topic,
            "client_id": self.client_id,
            "name": options.name,
            "group_topic": options.group_topic,
            "full_topic": options.full_topic,
            "host": options.host,
            "port": options.port,
            "username": options.username,
            "password": options.password,
            "keep_alive": options.keep_alive,
            "retry": options.retry,
            "tele_period": options.tele_period,
            "ota_url": options.ota_url,
            "relay": self.relay_on,
            "set_options": words,
            "set_numbers": numbers,
        })
    }

    /// Takes what was kept; what is missing stays at its default.
    pub(super) fn restore(&mut self, kept: &Value) {
        let text = |key: &str, into: &mut String| {
            if let Some(text) = kept[key].as_str() {
                *into = text.to_owned();
            }
        };
        let number = |key: &str, into: &mut u16| {
            if let Some(number) = kept[key].as_u64().and_then(|n| n.try_into().ok()) {
                *into = number;
            }
        };
        text("topic", &mut self.topic);
        text("client_id", &mut self.client_id);
        let options = &mut self.options;
        text("name", &mut options.name);
        text("group_topic", &mut options.group_topic);
        text("full_topic", &mut options.full_topic);
        text("host", &mut options.host);
        text("ota_url", &mut options.ota_url);
        for (key, into) in [
            ("username", &mut options.username),
            ("password", &mut options.password),
        ] {
            if let Some(text) = kept[key].as_str() {
                *into = Some(text.to_owned());
            }
        }
        number("port", &mut options.port);
        number("keep_alive", &mut options.keep_alive);
        number("retry", &mut options.retry);
        number("tele_period", &mut options.tele_period);
        self.relay_on = kept["relay"].as_bool().unwrap_or(self.relay_on);
        let numbers = |key: &str| -> Vec<u64> {
            let list = kept[key].as_array().into_iter().flatten();
            list.filter_map(Value::as_u64).collect()
        };
        let words: Vec<u32> = numbers("set_options").iter().map(|n| *n as u32).collect();
        let small: Vec<u8> = numbers("set_numbers").iter().map(|n| *n as u8).collect();
        self.set_options.restore(&words, &small);
    }

    /// Default `Hostname`: topic and the last digits of the address.
    pub(super) fn hostname(&self) -> String {
        format!("{}-{:04}", self.topic, self.options.mac.tail() & 0x1fff)
    }

    /// Seconds since 1970.
    pub(super) fn unix(&self, now: Duration) -> u64 {
        self.utc + now.as_secs()
    }

    pub(super) fn time(&self, now: Duration) -> DateTime {
        DateTime(self.unix(now))
    }
}

fn due(timer: &mut Option<Duration>, now: Duration) -> bool {
    timer.take_if(|at| *at <= now).is_some()
}

/// The first STATE and SENSOR after a boot come this long after the connection.
const FIRST_TELEMETRY: Duration = Duration::from_secs(5);
/// The first discovery after a boot.
const FIRST_DISCOVERY: Duration = Duration::from_secs(10);
/// Discovery after any later connection, or when SetOption19 changes.
const REDISCOVERY: Duration = Duration::from_secs(1);
/// What a device says whose download found nobody listening. This plug never tries one.
const UPGRADE_FAILED: &str = "Failed HTTP error: connection refused";
