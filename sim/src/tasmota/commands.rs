//! Commands: what arrives below `cmnd/…`, or stands in a `Backlog`, and what is answered.

use super::firmware::{Firmware, Prefix, Route};
use super::messages::Text;
use super::set_options::Setting;
use super::{Act, Updates};
use std::time::Duration;

/// The argument of a command, read the ways the firmware reads it.
struct Argument<'a> {
    /// Without leading blanks; empty for a query (`?` or nothing).
    text: &'a str,
    /// As a number, if it begins with one, or is one of the words for 0, 1 and 2.
    number: Option<i64>,
}

/// What a command answers on its result topic.
enum Answer {
    /// `{"<command>": <this>}`.
    Value(String),
    /// A whole JSON object.
    Object(String),
    /// The command has published what it had to say.
    Silent,
    /// `{"Command":"Error"}`: known, but not with this index or argument.
    Error,
}

impl Answer {
    fn text(text: &str) -> Answer {
        Answer::Value(Text(text).to_string())
    }
}

impl Firmware {
    /// Runs the command that stands at the end of a topic name, such as `Power1` or `so19`.
    pub(super) fn command(&mut self, name: &str, payload: &str, route: Route, now: Duration) {
        let (word, index) = split_index(name);
        let argument = Argument::read(payload);
        let Some(known) = COMMANDS
            .iter()
            .find(|known| known.eq_ignore_ascii_case(word))
        else {
            self.publish_result("Command", "{\"Command\":\"Unknown\"}".into(), route);
            return;
        };
        // What the firmware answers as, where the topic may say it otherwise.
        let (known, shown) = match *known {
            "So" | "SetOption" => ("SetOption", format!("SetOption{}", index.unwrap_or(1))),
            "FriendlyName" => (
                "FriendlyName",
                format!("FriendlyName{}", index.unwrap_or(1)),
            ),
            "Upload" => ("Upgrade", "Upload".to_owned()),
            known => (known, known.to_owned()),
        };
        self.backlog_at = now + self.set_options.backlog_delay();
        let answer = self.execute(known, index, &argument, route, now);
        let payload = match answer {
            Answer::Silent => return,
            Answer::Value(value) => format!("{{\"{shown}\":{value}}}"),
            Answer::Object(object) => object,
            Answer::Error => "{\"Command\":\"Error\"}".into(),
        };
        self.publish_result(word, payload, route);
    }

    /// One command of a `Backlog`: name, blank, argument.
    pub(super) fn backlog_command(&mut self, command: &str, route: Route, now: Duration) {
        let (name, payload) = command
            .split_once(char::is_whitespace)
            .unwrap_or((command, ""));
        self.command(name, payload, route, now);
    }

    fn execute(
        &mut self,
        command: &str,
        index: Option<u32>,
        argument: &Argument<'_>,
        route: Route,
        now: Duration,
    ) -> Answer {
        match command {
            "Power" => self.power(index, argument, route, now),
            "Status" => self.report_status(index, argument, route, now),
            "State" => Answer::Object(self.state(now)),
            "TelePeriod" => self.tele_period(argument, now),
            "Topic" => self.rename(argument, now),
            "GroupTopic" => self.change_setting(argument, now, |options| &mut options.group_topic),
            "FullTopic" => self.change_setting(argument, now, |options| &mut options.full_topic),
            "MqttHost" => self.change_setting(argument, now, |options| &mut options.host),
            "MqttUser" => self.change_setting(argument, now, |options| {
                options.username.get_or_insert_default()
            }),
            "MqttPassword" => self.password(argument, now),
            "MqttPort" => self.port(argument, now),
            "MqttClient" => Answer::text(&self.client_id),
            "MqttKeepAlive" => {
                change(&mut self.options.keep_alive, argument, 1..=100);
                Answer::Value(self.options.keep_alive.to_string())
            }
            "MqttRetry" => {
                change(&mut self.options.retry, argument, 10..=32_000);
                Answer::Value(self.options.retry.to_string())
            }
            "DeviceName" | "FriendlyName" if index.unwrap_or(1) == 1 => {
                if !argument.text.is_empty() {
                    self.options.name = argument.text.to_owned();
                }
                Answer::text(&self.options.name)
            }
            "SetOption" => self.set_option(index.unwrap_or(1), argument, now),
            "OtaUrl" => self.ota_url(argument),
            "Upgrade" => self.upgrade(argument, now),
            "Restart" => self.restart(argument, now),
            "Backlog" => self.append_backlog(index, argument, route, now),
            "Delay" => self.delay(argument, now),
            _ => Answer::Error,
        }
    }

    /// `Power`, `Power1` and `Power0` (all). Blinking (3 and 4) is not simulated and reads as a
    /// query.
    fn power(
        &mut self,
        index: Option<u32>,
        argument: &Argument<'_>,
        route: Route,
        now: Duration,
    ) -> Answer {
        if index.unwrap_or(1) > 1 {
            return Answer::Error;
        }
        match argument.number {
            Some(0) => self.set_relay(false, now),
            Some(1) => self.set_relay(true, now),
            Some(2) => self.set_relay(!self.relay_on, now),
            _ => {}
        }
        self.publish_power(route);
        Answer::Silent
    }

    /// `Status n`, `Status 0` (all, a message each), `Status0` (all in one message).
    fn report_status(
        &mut self,
        index: Option<u32>,
        argument: &Argument<'_>,
        route: Route,
        now: Duration,
    ) -> Answer {
        const ALL: [u32; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11];
        let publish = |firmware: &mut Self, number: u32, payload| {
            let name = match number {
                0 => "STATUS".into(),
                number => format!("STATUS{number}"),
            };
            let topic = firmware.topic_of(Prefix::Stat, &name, route);
            firmware.publish(topic, payload, false);
        };
        if index == Some(0) {
            let parts: Vec<_> = ALL
                .into_iter()
                .filter_map(|number| self.status(number, now))
                .collect();
            let topic = self.topic_of(Prefix::Stat, "STATUS0", route);
            self.publish(topic, parts.concat().replace("}{", ","), false);
            return Answer::Silent;
        }
        let wanted = match argument.number {
            Some(0) => ALL.to_vec(),
            Some(number @ 1..=13) => vec![number as u32],
            Some(14..) => return Answer::Error,
            Some(_) | None => {
                let payload = self.status0();
                publish(self, 0, payload);
                return Answer::Silent;
            }
        };
        for number in wanted {
            match self.status(number, now) {
                Some(payload) => publish(self, number, payload),
                None => return Answer::Error,
            }
        }
        Answer::Silent
    }

    /// Any form of it, the query too, sends telemetry at once.
    fn tele_period(&mut self, argument: &Argument<'_>, now: Duration) -> Answer {
        match argument.number {
            Some(0) => self.options.tele_period = 0,
            Some(1) => self.options.tele_period = 300,
            Some(seconds @ 2..=3600) => self.options.tele_period = (seconds as u16).max(10),
            _ => {}
        }
        self.tele_at = Some(now + Duration::from_secs(1));
        Answer::Value(self.options.tele_period.to_string())
    }

    /// A new `Topic` first says Offline under the old one, for good, and restarts.
    fn rename(&mut self, argument: &Argument<'_>, now: Duration) -> Answer {
        let topic = argument.text.replace(['/', '+', '#', ' '], "");
        if !topic.is_empty() && topic != self.topic {
            let old = self.topic_of(Prefix::Tele, "LWT", Route::Own);
            self.publish(old, "Offline".into(), true);
            self.topic = topic;
            self.restart_soon(now);
        }
        Answer::text(&self.topic)
    }

    /// A text setting of the connection: changing it restarts.
    fn change_setting(
        &mut self,
        argument: &Argument<'_>,
        now: Duration,
        field: impl Fn(&mut super::PlugOptions) -> &mut String,
    ) -> Answer {
        if !argument.text.is_empty() {
            // `"` is the firmware's word for "empty".
            *field(&mut self.options) = argument.text.replace('"', "");
            self.restart_soon(now);
        }
        Answer::text(field(&mut self.options))
    }

    /// Shown only at the moment it is set.
    fn password(&mut self, argument: &Argument<'_>, now: Duration) -> Answer {
        if argument.text.is_empty() {
            return Answer::text("****");
        }
        self.options.password = Some(argument.text.to_owned());
        self.restart_soon(now);
        Answer::text(argument.text)
    }

    fn port(&mut self, argument: &Argument<'_>, now: Duration) -> Answer {
        if let Some(port @ 1..=65_535) = argument.number {
            self.options.port = if port == 1 { 1883 } else { port as u16 };
            self.restart_soon(now);
        }
        Answer::Value(self.options.port.to_string())
    }

    fn set_option(&mut self, option: u32, argument: &Argument<'_>, now: Duration) -> Answer {
        let Ok(option) = u16::try_from(option) else {
            return Answer::Error;
        };
        if let Some(value @ 0..) = argument.number {
            let is_tls = matches!(option, 103 | 132) && self.options.board.is_some();
            if is_tls && value < 2 {
                self.set_options.switch(option, value == 1);
                self.restart_soon(now);
            } else if !self.set_options.set(option, value) {
                return Answer::Error;
            }
            match option {
                19 => self.rediscover(now),
                104 => self.restart_soon(now),
                _ => {}
            }
        }
        match self.set_options.get(option) {
            Some(Setting::Switch(on)) => Answer::text(if on { "ON" } else { "OFF" }),
            Some(Setting::Number(number)) => Answer::Value(number.to_string()),
            None => Answer::Error,
        }
    }

    /// The documented limit is 100 characters; this plug refuses more, so that a server that sends
    /// such an address is found out.
    fn ota_url(&mut self, argument: &Argument<'_>) -> Answer {
        match argument.text {
            "" => {}
            "1" => {
                self.options.ota_url =
                    "http://ota.tasmota.com/tasmota32/release/tasmota32.bin".into();
            }
            url if url.chars().count() > 100 => return Answer::Error,
            url => self.options.ota_url = url.to_owned(),
        }
        Answer::text(&self.options.ota_url)
    }

    fn upgrade(&mut self, argument: &Argument<'_>, now: Duration) -> Answer {
        let updates = self.options.board.as_ref().map(|board| board.updates);
        let newer = argument.text.len() >= 3
            && numbers_of(argument.text) > numbers_of(&self.options.version);
        if argument.text == "1" || newer {
            self.upgrade_act = Act::Upgrade;
            self.upgrade_at = Some(now + UPGRADE_DELAY);
            Answer::text(&format!(
                "Version {} from {}",
                self.options.version, self.options.ota_url
            ))
        } else if argument.text == "2" && matches!(updates, None | Some(Updates::MainOfTwo)) {
            self.upgrade_act = Act::UpgradeSafeboot;
            self.upgrade_at = Some(now + UPGRADE_DELAY);
            Answer::text("Safeboot")
        } else {
            Answer::text(&format!("1 or >{} to upgrade", self.options.version))
        }
    }

    /// `Restart 1`, and on a board with a safeboot `Restart 3`. Halting (2) is not simulated.
    fn restart(&mut self, argument: &Argument<'_>, now: Duration) -> Answer {
        let updates = self.options.board.as_ref().map(|board| board.updates);
        match argument.number {
            Some(1) => {
                self.restart_soon(now);
                Answer::text("Restarting")
            }
            Some(3) if matches!(updates, Some(Updates::MainOfTwo | Updates::Safeboot)) => {
                self.restart_act = Act::Switch;
                self.restart_soon(now);
                Answer::text("Switching")
            }
            Some(2 | 3) => Answer::Error,
            _ => Answer::text("1 to restart"),
        }
    }

    /// Appends up to 30 commands; without any, drops those that wait.
    fn append_backlog(
        &mut self,
        index: Option<u32>,
        argument: &Argument<'_>,
        route: Route,
        now: Duration,
    ) -> Answer {
        if argument.text.is_empty() {
            let none = self.backlog.is_empty();
            self.backlog.clear();
            return Answer::text(if none { "Empty" } else { "Aborted" });
        }
        for command in split_commands(argument.text) {
            let mut command = command.trim();
            while let Some(rest) = strip_word(command, "backlog") {
                command = rest.trim_start_matches(|c: char| c.is_ascii_digit()).trim();
            }
            let resets = strip_word(command, "reset").is_some();
            if !command.is_empty() && !resets && self.backlog.len() < MAX_BACKLOG {
                self.backlog.push_back((command.to_owned(), route));
            }
        }
        self.backlog_at = now;
        if index == Some(0) {
            while let Some((command, route)) = self.backlog.pop_front() {
                self.backlog_command(&command, route, now);
            }
        }
        Answer::Silent
    }

    /// Tenths of a second before the next command of the `Backlog`.
    fn delay(&mut self, argument: &Argument<'_>, now: Duration) -> Answer {
        if let Some(tenths @ 2..=3600) = argument.number {
            self.backlog_at = now + Duration::from_millis(100 * tenths as u64);
        }
        let left = self.backlog_at.saturating_sub(now).as_millis() / 100;
        Answer::Value(left.to_string())
    }

    fn restart_soon(&mut self, now: Duration) {
        self.restart_at.get_or_insert(now + RESTART_DELAY);
    }
}

impl<'a> Argument<'a> {
    fn read(payload: &'a str) -> Self {
        let text = payload.trim_start();
        let text = if text == "?" { "" } else { text };
        let number = match text.to_ascii_uppercase().as_str() {
            "OFF" | "FALSE" | "STOP" | "CELSIUS" => Some(0),
            "ON" | "TRUE" | "START" | "FAHRENHEIT" | "USER" => Some(1),
            "TOGGLE" | "ADMIN" => Some(2),
            _ => leading_number(text),
        };
        Argument { text, number }
    }
}

/// Decimal digits at the beginning, with a sign.
fn leading_number(text: &str) -> Option<i64> {
    let digits = text
        .char_indices()
        .find(|&(at, c)| !(c.is_ascii_digit() || at == 0 && (c == '-' || c == '+')))
        .map_or(text.len(), |(at, _)| at);
    text[..digits].parse().ok()
}

/// `SetOption19` into the word and the number behind it.
fn split_index(name: &str) -> (&str, Option<u32>) {
    let word = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (word, name[word.len()..].parse().ok())
}

/// What stands behind `word`, if `text` begins with it in any case.
fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let head = text.get(..word.len())?;
    head.eq_ignore_ascii_case(word).then(|| &text[word.len()..])
}

/// Splits at `;`, except between braces.
fn split_commands(list: &str) -> Vec<&str> {
    let mut depth = 0i32;
    list.split(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        c == ';' && depth <= 0
    })
    .collect()
}

/// The numbers of a version, for comparing: `14.3.0` is newer than `9.5.0`.
fn numbers_of(version: &str) -> Vec<u32> {
    version
        .split('.')
        .map(|part| {
            leading_number(part)
                .and_then(|n| n.try_into().ok())
                .unwrap_or(0)
        })
        .collect()
}

fn change(setting: &mut u16, argument: &Argument<'_>, range: std::ops::RangeInclusive<i64>) {
    if let Some(number) = argument.number
        && range.contains(&number)
    {
        *setting = number as u16;
    }
}

/// In the case in which answers name them.
const COMMANDS: [&str; 24] = [
    "Power",
    "Status",
    "State",
    "TelePeriod",
    "Topic",
    "GroupTopic",
    "FullTopic",
    "DeviceName",
    "FriendlyName",
    "MqttHost",
    "MqttPort",
    "MqttUser",
    "MqttPassword",
    "MqttClient",
    "MqttKeepAlive",
    "MqttRetry",
    "SetOption",
    "So",
    "OtaUrl",
    "Upgrade",
    "Upload",
    "Restart",
    "Backlog",
    "Delay",
];

/// Commands that may wait.
const MAX_BACKLOG: usize = 30;
/// From `Restart 1` to the moment the device is gone.
const RESTART_DELAY: Duration = Duration::from_secs(2);
/// From `Upgrade 1` to its end.
const UPGRADE_DELAY: Duration = Duration::from_secs(3);
