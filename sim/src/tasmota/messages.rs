//! The JSON that the firmware publishes, with its keys in its order: some consumers compare text.

use super::clock::{DateTime, Uptime};
use super::firmware::{Firmware, Prefix, Route};
use super::plug::MAX_PACKET_SIZE;
use std::fmt::{self, Write};
use std::time::Duration;

impl Firmware {
    pub(super) fn info1(&self) -> String {
        format!(
            "{{\"Info1\":{{\"Module\":{},\"Version\":{},\"FallbackTopic\":{},\"GroupTopic\":{}}}}}",
            Text(MODULE),
            Text(&self.full_version()),
            Text(&self.topic_of(Prefix::Cmnd, "", Route::Fallback)),
            Text(&self.full_topic(Prefix::Cmnd, &self.options.group_topic, "")),
        )
    }

    pub(super) fn info2(&self) -> String {
        format!(
            "{{\"Info2\":{{\"WebServerMode\":\"Admin\",\"Hostname\":{},\"IPAddress\":\"{}\",\
             \"IP6Global\":\"\",\"IP6Local\":\"\"}}}}",
            Text(&self.hostname()),
            IP,
        )
    }

    pub(super) fn info3(&self) -> String {
        format!(
            "{{\"Info3\":{{\"RestartReason\":{},\"BootCount\":{}}}}}",
            self.reason(),
            self.boot_count
        )
    }

    /// `tele/…/STATE`, STATUS11 and the answer to `State`.
    pub(super) fn state(&self, now: Duration) -> String {
        let uptime = now.saturating_sub(self.booted);
        format!(
            "{{\"Time\":\"{}\",\"Uptime\":\"{}\",\"UptimeSec\":{},\"Heap\":162,\
             \"SleepMode\":\"Dynamic\",\"Sleep\":50,\"LoadAvg\":19,\"MqttCount\":{},\
             \"POWER\":\"{}\",\"Wifi\":{{\"AP\":1,\"SSId\":\"home\",\
             \"BSSId\":\"02:00:00:00:00:01\",\"Channel\":6,\"Mode\":\"HT20\",\"RSSI\":76,\
             \"Signal\":-62,\"LinkCount\":1,\"Downtime\":\"0T00:00:03\"}}}}",
            self.time(now),
            Uptime(uptime),
            uptime.as_secs(),
            self.mqtt_count,
            self.power_text(),
        )
    }

    /// `tele/…/SENSOR`, STATUS10 and the sensors part of discovery.
    pub(super) fn sensor(&mut self, now: Duration, telemetry: bool) -> String {
        let unix = self.unix(now);
        self.meter.advance(now, unix, self.relay_on);
        format!(
            "{{\"Time\":\"{}\",\"ENERGY\":{}}}",
            DateTime(unix),
            self.meter.json(&DateTime(self.meter_start), telemetry)
        )
    }

    /// `tasmota/discovery/<MAC>/config`: every key of tasmota.md §1.3, the battery and shutter ones
    /// of newer releases among them.
    pub(super) fn discovery_config(&self) -> String {
        let on = |option| u8::from(self.set_options.is_on(option));
        let mut config = format!(
            "{{\"ip\":\"{ip}\",\"dn\":{name},\"fn\":[{name},null,null,null,null,null,null,null],\
             \"hn\":{},\"mac\":\"{}\",\"md\":{},\"ty\":0,\"if\":0,\"ofln\":\"Offline\",\
             \"onln\":\"Online\",\"state\":[\"OFF\",\"ON\",\"TOGGLE\",\"HOLD\"],\"sw\":{},\
             \"t\":{},\"ft\":{},\"tp\":[\"cmnd\",\"stat\",\"tele\"]",
            Text(&self.hostname()),
            self.options.mac,
            Text(MODULE),
            Text(&self.options.version),
            Text(&self.topic),
            Text(&self.options.full_topic),
            name = Text(&self.options.name),
            ip = IP,
        );
        let mut row = |key: &str, first: &str, others: &str, length: usize| {
            let values: Vec<_> = std::iter::once(first)
                .chain(std::iter::repeat(others))
                .take(length)
                .collect();
            let _ = write!(config, ",\"{key}\":[{}]", values.join(","));
        };
        // One relay, no switch, no button that MQTT would be told of.
        row("rl", "1", "0", 32);
        row("swc", "-1", "-1", 28);
        row("swn", "null", "null", 28);
        row("btn", "0", "0", 32);
        let _ = write!(
            config,
            ",\"so\":{{\"4\":{},\"11\":{},\"13\":{},\"17\":{},\"20\":{},\"30\":{},\"68\":{},\
             \"73\":{},\"82\":{},\"114\":{},\"117\":{}}},\"lk\":0,\"lt_st\":0,\"bat\":0,\
             \"dslp\":0,\"sho\":[],\"sht\":[],\"ver\":1}}",
            on(4),
            on(11),
            on(13),
            on(17),
            on(20),
            on(30),
            on(68),
            on(73),
            on(82),
            on(114),
            on(117),
        );
        config
    }

    pub(super) fn discovery_sensors(&mut self, now: Duration) -> String {
        format!("{{\"sn\":{},\"ver\":1}}", self.sensor(now, false))
    }

    /// One STATUS message, or `None` where this device answers `{"Command":"Error"}`: 12 without a
    /// crash, 13 without shutters, and what does not exist.
    pub(super) fn status(&mut self, number: u32, now: Duration) -> Option<String> {
        Some(match number {
            0 => self.status0(),
            1 => self.status1(now),
            2 => self.status2(),
            3 => self.status3(),
            4 => self.status4(),
            5 => self.status5(),
            6 => self.status6(),
            7 => self.status7(now),
            9 => STATUS9.into(),
            8 | 10 => format!("{{\"StatusSNS\":{}}}", self.sensor(now, false)),
            11 => format!("{{\"StatusSTS\":{}}}", self.state(now)),
            _ => return None,
        })
    }

    pub(super) fn status0(&self) -> String {
        let modes = ["0"; 28].join(",");
        format!(
            "{{\"Status\":{{\"Module\":0,\"DeviceName\":{name},\"FriendlyName\":[{name}],\
             \"Topic\":{},\"ButtonTopic\":\"0\",\"Power\":{},\"PowerOnState\":3,\"LedState\":1,\
             \"LedMask\":\"FFFF\",\"SaveData\":1,\"SaveState\":{},\"SwitchTopic\":\"0\",\
             \"SwitchMode\":[{modes}],\"ButtonRetain\":0,\"SwitchRetain\":0,\"SensorRetain\":0,\
             \"PowerRetain\":0,\"InfoRetain\":0,\"StateRetain\":0}}}}",
            Text(&self.topic),
            u8::from(self.relay_on),
            u8::from(self.set_options.is_on(0)),
            name = Text(&self.options.name),
        )
    }

    fn status1(&self, now: Duration) -> String {
        format!(
            "{{\"StatusPRM\":{{\"Baudrate\":115200,\"SerialConfig\":\"8N1\",\"GroupTopic\":{},\
             \"OtaUrl\":{},\"RestartReason\":{},\"Uptime\":\"{}\",\"StartupUTC\":\"{}\",\
             \"Sleep\":50,\"CfgHolder\":4617,\"BootCount\":{},\"BCResetTime\":\"{}\",\
             \"SaveCount\":{}}}}}",
            Text(&self.options.group_topic),
            Text(&self.options.ota_url),
            self.reason(),
            Uptime(now.saturating_sub(self.booted)),
            self.time(self.booted),
            self.boot_count,
            DateTime(self.meter_start),
            self.boot_count + 20,
        )
    }

    fn status2(&self) -> String {
        format!(
            "{{\"StatusFWR\":{{\"Version\":{},\"BuildDateTime\":\"2025-06-01T12:00:00\",\
             \"Core\":\"3_1_3\",\"SDK\":\"5.3.3\",\"CpuFrequency\":160,\
             \"Hardware\":\"{}\",\"CR\":\"380/699\"}}}}",
            Text(&self.full_version()),
            self.hardware(),
        )
    }

    fn status3(&self) -> String {
        let options = self.set_options.hex_words();
        format!(
            "{{\"StatusLOG\":{{\"SerialLog\":2,\"WebLog\":2,\"MqttLog\":0,\"SysLog\":0,\
             \"LogHost\":\"\",\"LogPort\":514,\"SSId\":[\"home\",\"\"],\"TelePeriod\":{},\
             \"Resolution\":\"558180C0\",\"SetOption\":[\"{}\"]}}}}",
            self.options.tele_period,
            options.join("\",\""),
        )
    }

    fn status5(&self) -> String {
        let mac = self
            .options
            .mac
            .0
            .map(|byte| format!("{byte:02X}"))
            .join(":");
        format!(
            "{{\"StatusNET\":{{\"Hostname\":{},\"IPAddress\":\"{}\",\"Gateway\":\"127.0.0.1\",\
             \"Subnetmask\":\"255.0.0.0\",\"DNSServer1\":\"127.0.0.1\",\"DNSServer2\":\"0.0.0.0\",\
             \"Mac\":\"{mac}\",\"Webserver\":2,\"HTTP_API\":{},\"WifiConfig\":4,\
             \"WifiPower\":16.0}}}}",
            Text(&self.hostname()),
            IP,
            u8::from(self.set_options.is_on(128)),
        )
    }

    fn status6(&self) -> String {
        format!(
            "{{\"StatusMQT\":{{\"MqttHost\":{},\"MqttPort\":{},\"MqttClientMask\":{},\
             \"MqttClient\":{},\"MqttUser\":{},\"MqttCount\":{},\
             \"MAX_PACKET_SIZE\":{MAX_PACKET_SIZE},\"KEEPALIVE\":{},\"SOCKET_TIMEOUT\":{}}}}}",
            Text(&self.options.host),
            self.options.port,
            Text(self.options.client_id.as_deref().unwrap_or("DVES_%06X")),
            Text(&self.client_id),
            Text(self.options.username.as_deref().unwrap_or_default()),
            self.mqtt_count,
            self.options.keep_alive,
            self.options.connack_timeout.as_secs(),
        )
    }

    fn status7(&self, now: Duration) -> String {
        let time = self.time(now);
        format!(
            "{{\"StatusTIM\":{{\"UTC\":\"{time}\",\"Local\":\"{time}\",\
             \"StartDST\":\"2026-03-29T02:00:00\",\"EndDST\":\"2026-10-25T03:00:00\",\
             \"Timezone\":\"+00:00\",\"Sunrise\":\"06:00\",\"Sunset\":\"18:00\"}}}}",
        )
    }

    /// Sizes as the board has them.
    fn status4(&self) -> String {
        let Some(board) = &self.options.board else {
            return STATUS4.into();
        };
        STATUS4
            .replace(
                "\"ProgramSize\":1917,\"Free\":962",
                &format!(
                    "\"ProgramSize\":{},\"Free\":{}",
                    board.program_size, board.free
                ),
            )
            .replace(
                "\"ProgramFlashSize\":4096,\"FlashSize\":4096",
                &format!(
                    "\"ProgramFlashSize\":{0},\"FlashSize\":{0}",
                    board.flash_size
                ),
            )
    }

    pub(super) fn hardware(&self) -> &'static str {
        let board = self.options.board.as_ref();
        board.map_or("ESP32-C3 v0.4", |board| board.hardware)
    }

    /// Text, or after a crash an object.
    fn reason(&self) -> String {
        if self.restart_reason.starts_with('{') {
            self.restart_reason.clone()
        } else {
            Text(&self.restart_reason).to_string()
        }
    }

    /// As INFO1 and STATUS2 have it; discovery leaves the image tag out.
    pub(super) fn full_version(&self) -> String {
        format!("{}({})", self.options.version, self.options.image)
    }
}

/// A string as JSON, quotes included.
pub(super) struct Text<'a>(pub(super) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c < ' ' => write!(f, "\\u{:04x}", c as u32)?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// A pretend plug has no address of its own on the network.
const IP: &str = "127.0.0.1";

const MODULE: &str = "Generic";

const STATUS4: &str = "{\"StatusMEM\":{\"ProgramSize\":1917,\"Free\":962,\"Heap\":162,\
    \"StackLowMark\":3,\"PsrMax\":0,\"PsrFree\":0,\"ProgramFlashSize\":4096,\"FlashSize\":4096,\
    \"FlashChipId\":\"16405E\",\"FlashFrequency\":80,\"FlashMode\":\"DIO\",\
    \"Features\":[\"00000809\",\"9F9AD7CF\",\"0015A001\",\"B7F7BFCF\",\"05DA9BC4\",\"E0360DC7\",\
    \"480840D2\",\"20200000\",\"D4BC482D\",\"810A80F1\",\"00000014\"],\
    \"Drivers\":\"1,2,!3,7,9,10,12,24,26,29,38,50,52,62,66,82,!86,87,!88,121\",\
    \"Sensors\":\"1,2,3,5,6,127\"}}";

const STATUS9: &str = "{\"StatusPTH\":{\"PowerDelta\":[0,0,0],\"PowerLow\":0,\"PowerHigh\":0,\
    \"VoltageLow\":0,\"VoltageHigh\":0,\"CurrentLow\":0,\"CurrentHigh\":0}}";
