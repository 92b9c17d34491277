//! The pretend plug against a broker made of a list: hours of its life in no time.

use safeport_mqtt::{
    ConnAck, Decoded, Packet, Properties, Publish, QoS, ReasonCode, Version, decode, limits,
};
use safeport_sim::tasmota::{
    Failure, MAX_PACKET_SIZE, MacAddress, Note, Output, Plug, PlugOptions,
};
use serde_json::Value;
use std::time::Duration;

/// What the plug sent, or did.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Dial(String, u16),
    Connect(String),
    /// Topic, payload, retained.
    Message(String, String, bool),
    Subscribe(String),
    Ping,
    Close,
}

/// A plug, its time, and everything it did, with the time at which it did.
struct Bench {
    plug: Plug,
    now: Duration,
    seen: Vec<(Duration, Seen)>,
    notes: Vec<Note>,
    answers_pings: bool,
}

const UTC: u64 = 1_767_225_600; // 2026-01-01T00:00:00

fn options() -> PlugOptions {
    let mut options = PlugOptions::new(
        MacAddress([0xa0, 0xb1, 0xc2, 0x3d, 0x5e, 0x26]),
        "broker",
        1883,
    );
    options.topic = Some("plug-1".into());
    options
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Bench {
    fn new(options: PlugOptions) -> Self {
        let mut bench = Bench {
            plug: Plug::new(options, UTC),
            now: Duration::ZERO,
            seen: Vec::new(),
            notes: Vec::new(),
            answers_pings: true,
        };
        bench.plug.handle_timeout(Duration::ZERO);
        bench.collect();
        bench
    }

    /// A plug that has just been accepted for the first time.
    fn connected() -> Self {
        let mut bench = Bench::new(options());
        bench.accept();
        bench
    }

    /// A plug that has sent all it sends after its first connect.
    fn settled() -> Self {
        let mut bench = Bench::connected();
        bench.run(s(20));
        bench.seen.clear();
        bench
    }

    fn accept(&mut self) {
        self.plug.handle_open(self.now);
        self.connack(ReasonCode::Success);
    }

    fn connack(&mut self, code: ReasonCode) {
        let connack = Packet::ConnAck(ConnAck {
            session_present: false,
            code,
            properties: Properties::EMPTY,
        });
        self.plug.handle_packet(&connack, self.now);
        self.collect();
    }

    fn lose(&mut self) {
        self.plug.handle_failure(Failure::Lost, self.now);
        self.collect();
    }

    fn receive(&mut self, topic: &str, payload: &[u8]) {
        let publish = Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic,
            packet_id: None,
            properties: Properties::EMPTY,
            payload,
        });
        self.plug.handle_packet(&publish, self.now);
        self.collect();
    }

    /// Sends a command and returns what was published at once, topic and payload.
    fn command(&mut self, name: &str, payload: &str) -> Vec<(String, String)> {
        self.seen.clear();
        self.receive(&format!("cmnd/plug-1/{name}"), payload.as_bytes());
        self.messages()
    }

    /// The one answer to a command.
    fn answer(&mut self, name: &str, payload: &str) -> String {
        let messages = self.command(name, payload);
        let [(topic, payload)] = &messages[..] else {
            panic!("{name}: {messages:?}");
        };
        assert_eq!(topic, "stat/plug-1/RESULT");
        payload.clone()
    }

    fn messages(&self) -> Vec<(String, String)> {
        self.seen
            .iter()
            .filter_map(|(_, seen)| match seen {
                Seen::Message(topic, payload, _) => Some((topic.clone(), payload.clone())),
                _ => None,
            })
            .collect()
    }

    fn topics(&self) -> Vec<String> {
        self.messages()
            .into_iter()
            .map(|(topic, _)| topic)
            .collect()
    }

    /// When the first message to `topic` was seen.
    fn time_of(&self, wanted: &str) -> Option<Duration> {
        self.seen.iter().find_map(|(at, seen)| match seen {
            Seen::Message(topic, ..) if topic == wanted => Some(*at),
            _ => None,
        })
    }

    /// Lets time pass, waking the plug exactly when it asks to be.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.plug.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.plug.handle_timeout(self.now);
            self.collect();
            assert_ne!(self.plug.poll_timeout(), Some(at), "the plug spins");
        }
        self.now = end;
    }

    fn collect(&mut self) {
        let mut pinged = false;
        while let Some(output) = self.plug.poll_output() {
            let seen = match output {
                Output::Dial { host, port, .. } => Seen::Dial(host, port),
                Output::Close => Seen::Close,
                Output::Note(note) => {
                    self.notes.push(note);
                    continue;
                }
                Output::Send(bytes) => {
                    let Ok(Decoded::Packet(packet, used)) =
                        decode(&bytes, Version::V311, limits::MAX_PACKET)
                    else {
                        panic!("not a packet: {bytes:?}");
                    };
                    assert_eq!(used, bytes.len());
                    pinged |= matches!(packet, Packet::PingReq);
                    seen(&packet)
                }
            };
            self.seen.push((self.now, seen));
        }
        if pinged && self.answers_pings {
            self.plug.handle_packet(&Packet::PingResp, self.now);
            self.collect();
        }
    }
}

fn seen(packet: &Packet<'_>) -> Seen {
    match packet {
        Packet::Connect(connect) => Seen::Connect(connect.client_id.to_owned()),
        Packet::Subscribe(subscribe) => {
            let filters: Vec<_> = subscribe.filters.iter().collect();
            let [(filter, options)] = filters[..] else {
                panic!("one filter per SUBSCRIBE: {filters:?}");
            };
            assert_eq!(options.qos, QoS::AtMostOnce);
            Seen::Subscribe(filter.to_owned())
        }
        Packet::Publish(publish) => {
            assert_eq!(publish.qos, QoS::AtMostOnce);
            let payload = std::str::from_utf8(publish.payload).expect("text");
            if payload.starts_with('{') {
                serde_json::from_str::<Value>(payload).expect("valid JSON");
            }
            Seen::Message(publish.topic.to_owned(), payload.to_owned(), publish.retain)
        }
        Packet::PingReq => Seen::Ping,
        other => panic!("a plug never sends {other:?}"),
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("valid JSON")
}

#[test]
fn connect_carries_the_will_and_what_the_firmware_sends_by_default() {
    let mut with_user = options();
    with_user.username = Some("plug".into());
    with_user.password = Some("secret".into());
    let mut plug = Plug::new(with_user, UTC);
    plug.handle_timeout(Duration::ZERO);
    assert!(matches!(
        plug.poll_output(),
        Some(Output::Dial { port: 1883, .. })
    ));
    plug.handle_open(Duration::ZERO);
    let Some(Output::Send(bytes)) = plug.poll_output() else {
        panic!("CONNECT is the first thing on an open socket");
    };
    let Ok(Decoded::Packet(Packet::Connect(connect), _)) =
        decode(&bytes, Version::V311, limits::MAX_PACKET)
    else {
        panic!("not a CONNECT: {bytes:?}");
    };
    let will = connect.will.expect("a will");
    assert_eq!(connect.version, Version::V311);
    assert_eq!(connect.client_id, "DVES_3D5E26");
    assert!(connect.clean_start);
    assert_eq!(connect.keep_alive, 30);
    assert_eq!(connect.username, Some("plug"));
    assert_eq!(connect.password, Some(&b"secret"[..]));
    assert_eq!(will.topic, "tele/plug-1/LWT");
    assert_eq!(
        (will.payload, will.qos, will.retain),
        (&b"Offline"[..], QoS::AtLeastOnce, true)
    );
}

#[test]
fn the_first_connect_sends_everything_in_the_firmwares_order() {
    let mut bench = Bench::connected();
    bench.run(s(15));
    let kinds: Vec<String> = bench
        .seen
        .iter()
        .map(|(_, seen)| match seen {
            Seen::Dial(host, port) => format!("dial {host}:{port}"),
            Seen::Connect(id) => format!("CONNECT {id}"),
            Seen::Subscribe(filter) => format!("SUBSCRIBE {filter}"),
            Seen::Message(topic, _, true) => format!("{topic} retained"),
            Seen::Message(topic, ..) => topic.clone(),
            Seen::Ping | Seen::Close => format!("{seen:?}"),
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "dial broker:1883",
            "CONNECT DVES_3D5E26",
            "tele/plug-1/LWT retained",
            "cmnd/plug-1/POWER",
            "SUBSCRIBE cmnd/plug-1/#",
            "SUBSCRIBE cmnd/tasmotas/#",
            "SUBSCRIBE cmnd/DVES_3D5E26_fb/#",
            "tele/plug-1/INFO1",
            "tele/plug-1/INFO2",
            "tele/plug-1/INFO3",
            "stat/plug-1/RESULT",
            "stat/plug-1/POWER",
            "tele/plug-1/STATE",
            "tele/plug-1/SENSOR",
            "tasmota/discovery/A0B1C23D5E26/config retained",
            "tasmota/discovery/A0B1C23D5E26/sensors retained",
        ]
    );
    assert_eq!(bench.time_of("tele/plug-1/STATE"), Some(s(5)));
    assert_eq!(
        bench.time_of("tasmota/discovery/A0B1C23D5E26/config"),
        Some(s(10))
    );
    let said = bench.messages();
    assert_eq!(said[0].1, "Online");
    assert_eq!(said[1].1, "", "the POWER query is empty");
    assert_eq!(
        said[2].1,
        "{\"Info1\":{\"Module\":\"Generic\",\"Version\":\"15.0.1(release-tasmota32)\",\
         \"FallbackTopic\":\"cmnd/DVES_3D5E26_fb/\",\"GroupTopic\":\"cmnd/tasmotas/\"}}"
    );
    assert_eq!(json(&said[4].1)["Info3"]["BootCount"], 1);
    assert_eq!(
        (said[5].1.as_str(), said[6].1.as_str()),
        ("{\"POWER\":\"ON\"}", "ON")
    );
}

#[test]
fn a_reconnect_repeats_discovery_after_a_second_and_leaves_out_what_belongs_to_a_boot() {
    let mut bench = Bench::settled();
    bench.lose();
    bench.run(s(10));
    assert_eq!(
        bench.seen.pop().map(|(_, seen)| seen),
        Some(Seen::Dial("broker".into(), 1883))
    );
    bench.seen.clear();
    bench.accept();
    let connected_at = bench.now;
    bench.run(s(8));
    assert_eq!(
        bench.topics(),
        [
            "tele/plug-1/LWT",
            "cmnd/plug-1/POWER",
            "tasmota/discovery/A0B1C23D5E26/config",
            "tasmota/discovery/A0B1C23D5E26/sensors",
        ]
    );
    let config_at = bench.time_of("tasmota/discovery/A0B1C23D5E26/config");
    assert_eq!(config_at, Some(connected_at + s(1)));
}

#[test]
fn waits_between_attempts_grow_by_ten_seconds_up_to_120_and_begin_anew_after_success() {
    let mut bench = Bench::new(options());
    for wait in [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120, 120, 120] {
        bench.plug.handle_failure(Failure::Connect, bench.now);
        bench.collect();
        bench.seen.clear();
        bench.run(s(wait) - ms(1));
        assert_eq!(bench.seen, [], "nothing before {wait} s");
        bench.run(ms(1));
        assert_eq!(bench.seen.len(), 1, "one attempt after {wait} s");
    }
    bench.accept();
    bench.seen.clear();
    bench.lose();
    assert_eq!(bench.seen, [(bench.now, Seen::Close)]);
    let Some(Note::Failed { retry_in, .. }) = bench.notes.last() else {
        panic!("{:?}", bench.notes);
    };
    assert_eq!(*retry_in, s(10));
}

#[test]
fn a_retry_factor_shortens_every_wait() {
    let mut quick = options();
    quick.retry_factor = 0.01;
    let mut bench = Bench::new(quick);
    for wait in [100, 200, 300] {
        bench.plug.handle_failure(Failure::Dns, bench.now);
        bench.collect();
        assert_eq!(bench.plug.poll_timeout(), Some(bench.now + ms(wait)));
        bench.run(ms(wait));
    }
}

#[test]
fn a_connack_that_is_late_or_says_no_is_a_failure_with_the_firmwares_number() {
    let mut bench = Bench::new(options());
    bench.plug.handle_open(Duration::ZERO);
    bench.run(s(4));
    let failure = |bench: &Bench| match bench.notes.last() {
        Some(Note::Failed { failure, .. }) => *failure,
        other => panic!("{other:?}"),
    };
    assert_eq!(failure(&bench), Failure::Timeout);
    assert_eq!(failure(&bench).to_string(), "rc -4, no answer in time");

    bench.run(s(10));
    bench.plug.handle_open(bench.now);
    bench.connack(ReasonCode::BadUserNameOrPassword);
    assert_eq!(failure(&bench), Failure::Refused(4));
    bench.run(s(20));
    bench.plug.handle_open(bench.now);
    bench.connack(ReasonCode::NotAuthorized);
    assert_eq!(failure(&bench), Failure::Refused(5));
    assert!(!bench.plug.is_connected());
}

#[test]
fn silence_is_broken_by_a_ping_and_two_unanswered_keep_alives_end_the_connection() {
    let mut bench = Bench::settled();
    let start = bench.now;
    bench.run(s(60));
    let pings = bench
        .seen
        .iter()
        .filter(|(_, seen)| *seen == Seen::Ping)
        .count();
    assert_eq!(pings, 2, "{:?}", bench.seen);
    assert!(bench.plug.is_connected());

    bench.answers_pings = false;
    bench.run(s(60));
    assert!(
        !bench.plug.is_connected(),
        "since {start:?}: {:?}",
        bench.seen
    );
    let lost = bench.notes.iter().any(|note| {
        matches!(
            note,
            Note::Failed {
                failure: Failure::Timeout,
                was_connected: true,
                ..
            }
        )
    });
    assert!(lost, "{:?}", bench.notes.last());
}

#[test]
fn telemetry_comes_every_period_and_its_energy_grows() {
    let mut bench = Bench::settled();
    bench.run(s(3000));
    let sensors: Vec<Value> = bench
        .messages()
        .into_iter()
        .filter(|(topic, _)| topic == "tele/plug-1/SENSOR")
        .map(|(_, payload)| json(&payload))
        .collect();
    assert_eq!(sensors.len(), 10);
    let totals: Vec<f64> = sensors
        .iter()
        .map(|sensor| sensor["ENERGY"]["Total"].as_f64().expect("a number"))
        .collect();
    assert!(totals.is_sorted() && totals[0] < totals[9], "{totals:?}");
    assert_eq!(sensors[0]["Time"], "2026-01-01T00:05:05");
    assert!(sensors[0]["ENERGY"]["Power"].as_f64() > Some(0.0));
}

#[test]
fn power_switches_by_any_spelling_and_answers_twice() {
    let mut bench = Bench::settled();
    for (name, payload, state) in [
        ("POWER", "OFF", "OFF"),
        ("Power1", "on", "ON"),
        ("power", "TOGGLE", "OFF"),
        ("POWER", "1", "ON"),
        ("POWER", "", "ON"),
        ("power1", "?", "ON"),
        ("POWER0", "0", "OFF"),
        ("POWER", "2", "ON"),
        ("POWER", "nonsense", "ON"),
    ] {
        let messages = bench.command(name, payload);
        assert_eq!(
            messages,
            [
                (
                    "stat/plug-1/RESULT".into(),
                    format!("{{\"POWER\":\"{state}\"}}")
                ),
                ("stat/plug-1/POWER".into(), state.into()),
            ],
            "{name} {payload}"
        );
        assert_eq!(bench.plug.is_on(), state == "ON");
    }
    assert_eq!(bench.answer("POWER2", "ON"), "{\"Command\":\"Error\"}");
}

#[test]
fn a_switched_off_plug_reports_no_load() {
    let mut bench = Bench::settled();
    bench.command("POWER", "OFF");
    let messages = bench.command("STATUS", "10");
    let energy = json(&messages[0].1)["StatusSNS"]["ENERGY"].clone();
    assert_eq!(
        (energy["Power"].as_f64(), energy["Current"].as_f64()),
        (Some(0.0), Some(0.0))
    );
    assert!(energy["Voltage"].as_f64() > Some(200.0));
}

#[test]
fn simple_commands_answer_in_the_firmwares_form() {
    let mut bench = Bench::settled();
    for (name, payload, answer) in [
        ("teleperiod", "", "{\"TelePeriod\":300}"),
        ("TelePeriod", "60", "{\"TelePeriod\":60}"),
        ("TELEPERIOD", "5", "{\"TelePeriod\":10}"),
        ("TelePeriod", "4000", "{\"TelePeriod\":10}"),
        ("TelePeriod", "1", "{\"TelePeriod\":300}"),
        ("Topic", "?", "{\"Topic\":\"plug-1\"}"),
        ("Topic", "", "{\"Topic\":\"plug-1\"}"),
        ("GroupTopic", "", "{\"GroupTopic\":\"tasmotas\"}"),
        ("FullTopic", "", "{\"FullTopic\":\"%prefix%/%topic%/\"}"),
        ("MqttHost", "", "{\"MqttHost\":\"broker\"}"),
        ("MqttPort", "", "{\"MqttPort\":1883}"),
        ("MqttClient", "", "{\"MqttClient\":\"DVES_3D5E26\"}"),
        ("MqttPassword", "", "{\"MqttPassword\":\"****\"}"),
        (
            "DeviceName",
            "Lamp \"1\"",
            "{\"DeviceName\":\"Lamp \\\"1\\\"\"}",
        ),
        ("FriendlyName", "", "{\"FriendlyName1\":\"Lamp \\\"1\\\"\"}"),
        ("SetOption4", "", "{\"SetOption4\":\"OFF\"}"),
        ("SO26", "1", "{\"SetOption26\":\"ON\"}"),
        ("SetOption34", "", "{\"SetOption34\":200}"),
        ("SetOption103", "1", "{\"Command\":\"Error\"}"),
        ("SetOption999", "1", "{\"Command\":\"Error\"}"),
        (
            "OtaUrl",
            "http://10.0.0.2:8002/t/tasmota32.bin",
            "{\"OtaUrl\":\"http://10.0.0.2:8002/t/tasmota32.bin\"}",
        ),
        (
            "Upgrade",
            "14.9.9",
            "{\"Upgrade\":\"1 or >15.0.1 to upgrade\"}",
        ),
        ("Upgrade", "", "{\"Upgrade\":\"1 or >15.0.1 to upgrade\"}"),
        (
            "Upgrade",
            "15.1.0",
            "{\"Upgrade\":\"Version 15.0.1 from http://10.0.0.2:8002/t/tasmota32.bin\"}",
        ),
        (
            "Upload",
            "1",
            "{\"Upload\":\"Version 15.0.1 from http://10.0.0.2:8002/t/tasmota32.bin\"}",
        ),
        ("Upgrade", "2", "{\"Upgrade\":\"Safeboot\"}"),
        ("Restart", "", "{\"Restart\":\"1 to restart\"}"),
        ("Backlog", "", "{\"Backlog\":\"Empty\"}"),
        ("NoSuchCommand", "1", "{\"Command\":\"Unknown\"}"),
        ("Status", "12", "{\"Command\":\"Error\"}"),
        ("Status", "13", "{\"Command\":\"Error\"}"),
        ("Status", "14", "{\"Command\":\"Error\"}"),
    ] {
        assert_eq!(bench.answer(name, payload), answer, "{name} {payload}");
    }
}

#[test]
fn an_ota_address_of_more_than_100_characters_is_not_taken() {
    let mut bench = Bench::settled();
    let longest = format!("http://10.0.0.2/{}.bin", "x".repeat(80));
    assert_eq!(longest.len(), 100);
    assert_eq!(
        bench.answer("OtaUrl", &longest),
        format!("{{\"OtaUrl\":\"{longest}\"}}")
    );
    let longer = format!("{longest}x");
    assert_eq!(bench.answer("OtaUrl", &longer), "{\"Command\":\"Error\"}");
    assert_eq!(
        bench.answer("OtaUrl", ""),
        format!("{{\"OtaUrl\":\"{longest}\"}}")
    );
}

#[test]
fn an_accepted_upgrade_is_reported_as_failed_after_three_seconds() {
    let mut bench = Bench::settled();
    bench.command("Upgrade", "1");
    let asked_at = bench.now;
    bench.run(s(4));
    assert_eq!(bench.time_of("stat/plug-1/UPGRADE"), Some(asked_at + s(3)));
    let (_, payload) = bench.messages().pop().expect("the report");
    assert_eq!(
        payload,
        "{\"Upgrade\":\"Failed HTTP error: connection refused\"}"
    );
}

#[test]
fn the_query_of_the_tele_period_sends_telemetry_at_once() {
    let mut bench = Bench::settled();
    bench.command("TelePeriod", "");
    bench.run(s(1));
    assert_eq!(
        bench.topics()[1..],
        ["tele/plug-1/STATE", "tele/plug-1/SENSOR"]
    );
    bench.command("TelePeriod", "0");
    bench.run(s(1));
    bench.seen.clear();
    bench.run(s(10_000));
    assert_eq!(bench.topics(), [""; 0]);
}

#[test]
fn status_0_sends_each_part_and_status0_all_of_them_at_once() {
    let mut bench = Bench::settled();
    let parts = bench.command("Status", "0");
    let numbers: Vec<&str> = parts
        .iter()
        .map(|(topic, _)| topic.strip_prefix("stat/plug-1/STATUS").expect("a STATUS"))
        .collect();
    assert_eq!(
        numbers,
        ["", "1", "2", "3", "4", "5", "6", "7", "9", "10", "11"]
    );
    let all = bench.command("Status0", "");
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].0, "stat/plug-1/STATUS0");
    let all = json(&all[0].1);
    for (_, part) in &parts {
        for key in json(part).as_object().expect("an object").keys() {
            assert!(all.get(key).is_some(), "{key} is missing");
        }
    }
    assert_eq!(all["StatusFWR"]["Version"], "15.0.1(release-tasmota32)");
    assert_eq!(all["StatusFWR"]["Hardware"], "ESP32-C3 v0.4");
    assert_eq!(all["StatusNET"]["Mac"], "A0:B1:C2:3D:5E:26");
    assert_eq!(all["StatusMQT"]["MAX_PACKET_SIZE"], 1200);
    assert_eq!(all["StatusMQT"]["MqttCount"], 1);
    assert_eq!(
        all["StatusLOG"]["SetOption"].as_array().map(Vec::len),
        Some(6)
    );
    assert_eq!(all["StatusPRM"]["BootCount"], 1);
}

#[test]
fn one_status_and_the_short_form_have_topics_of_their_own() {
    let mut bench = Bench::settled();
    for (payload, topic, object) in [
        ("", "stat/plug-1/STATUS", "Status"),
        ("2", "stat/plug-1/STATUS2", "StatusFWR"),
        ("8", "stat/plug-1/STATUS8", "StatusSNS"),
        ("10", "stat/plug-1/STATUS10", "StatusSNS"),
        ("11", "stat/plug-1/STATUS11", "StatusSTS"),
    ] {
        let messages = bench.command("STATUS", payload);
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert_eq!(messages[0].0, topic);
        assert!(json(&messages[0].1).get(object).is_some());
    }
}

#[test]
fn backlog_runs_its_commands_in_order_200_ms_apart() {
    let mut bench = Bench::settled();
    let start = bench.now;
    let at_once = bench.command(
        "Backlog",
        "Power OFF; TelePeriod 60 ;; Delay 10; backlog Topic",
    );
    assert_eq!(at_once, []);
    bench.run(s(2));
    let results: Vec<(Duration, &str)> = bench
        .seen
        .iter()
        .filter_map(|(at, seen)| match seen {
            Seen::Message(topic, payload, _) if topic == "stat/plug-1/RESULT" => {
                Some((*at - start, payload.as_str()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        results,
        [
            (ms(0), "{\"POWER\":\"OFF\"}"),
            (ms(200), "{\"TelePeriod\":60}"),
            (ms(400), "{\"Delay\":10}"),
            (ms(1400), "{\"Topic\":\"plug-1\"}"),
        ]
    );
}

#[test]
fn backlog0_waits_for_nothing_and_an_empty_backlog_drops_what_waits() {
    let mut bench = Bench::settled();
    let results = bench.command("Backlog0", "SetOption4;SetOption19");
    assert_eq!(
        results
            .iter()
            .map(|(_, payload)| payload.as_str())
            .collect::<Vec<_>>(),
        ["{\"SetOption4\":\"OFF\"}", "{\"SetOption19\":\"OFF\"}"]
    );
    bench.command("Backlog", "Delay 100;Power OFF");
    bench.run(ms(500));
    assert_eq!(bench.answer("Backlog", ""), "{\"Backlog\":\"Aborted\"}");
    bench.run(s(20));
    assert!(bench.plug.is_on());
}

#[test]
fn the_group_answers_as_the_plug_and_the_fallback_topic_under_its_own_name() {
    let mut bench = Bench::settled();
    bench.receive("cmnd/tasmotas/POWER", b"OFF");
    assert_eq!(bench.topics(), ["stat/plug-1/RESULT", "stat/plug-1/POWER"]);
    bench.seen.clear();
    bench.receive("cmnd/DVES_3D5E26_fb/Status", b"2");
    bench.receive("cmnd/DVES_3D5E26_fb/Topic", b"");
    assert_eq!(
        bench.topics(),
        ["stat/DVES_3D5E26_fb/STATUS2", "stat/DVES_3D5E26_fb/RESULT"]
    );
}

#[test]
fn a_payload_of_1200_bytes_is_never_seen_and_one_of_1199_is() {
    let mut bench = Bench::settled();
    let mut payload = b"OFF".to_vec();
    payload.resize(MAX_PACKET_SIZE, b' ');
    bench.receive("cmnd/plug-1/Backlog", &payload);
    assert_eq!(bench.seen, []);
    assert!(matches!(
        bench.notes.last(),
        Some(Note::TooLong { length: 1200, .. })
    ));
    payload.truncate(MAX_PACKET_SIZE - 1);
    bench.receive("cmnd/plug-1/DeviceName", &payload);
    assert_eq!(bench.topics(), ["stat/plug-1/RESULT"]);
}

#[test]
fn restart_drops_the_connection_without_a_word_and_boots_again() {
    let mut bench = Bench::settled();
    assert_eq!(bench.answer("Restart", "1"), "{\"Restart\":\"Restarting\"}");
    bench.seen.clear();
    bench.run(s(6));
    let acts: Vec<_> = bench.seen.iter().map(|(_, seen)| seen.clone()).collect();
    assert_eq!(acts, [Seen::Close, Seen::Dial("broker".into(), 1883)]);
    bench.seen.clear();
    bench.accept();
    let info3 = bench
        .messages()
        .into_iter()
        .find(|(topic, _)| topic == "tele/plug-1/INFO3")
        .expect("a boot sends INFO3");
    assert_eq!(
        info3.1,
        "{\"Info3\":{\"RestartReason\":\"Software reset CPU\",\"BootCount\":2}}"
    );
}

#[test]
fn a_restart_waits_until_the_backlog_has_run() {
    let mut bench = Bench::settled();
    bench.command("Backlog", "Restart 1;Delay 50;Power OFF");
    bench.run(s(12));
    assert!(!bench.plug.is_on());
    let closed_at = bench.seen.iter().find(|(_, seen)| *seen == Seen::Close);
    let off_at = bench.time_of("stat/plug-1/POWER");
    assert!(closed_at.map(|(at, _)| *at) >= off_at, "{:?}", bench.seen);
}

#[test]
fn provisioning_by_backlog_takes_the_plug_to_another_broker() {
    let mut bench = Bench::settled();
    bench.command(
        "Backlog",
        "MqttHost other; MqttPort 8883; MqttUser u; MqttPassword p; Topic lamp",
    );
    bench.run(s(6));
    assert!(bench.seen.iter().any(|(_, seen)| *seen == Seen::Close));
    assert_eq!(
        bench.seen.last().map(|(_, seen)| seen.clone()),
        Some(Seen::Dial("other".into(), 8883))
    );
    assert_eq!(bench.plug.topic(), "lamp");
    let said = bench.messages();
    assert!(
        said.contains(&("tele/plug-1/LWT".into(), "Offline".into())),
        "{said:?}"
    );
    assert!(said.contains(&("stat/plug-1/RESULT".into(), "{\"MqttPort\":8883}".into())));
}

#[test]
fn set_option_4_names_the_result_after_its_command() {
    let mut bench = Bench::settled();
    bench.command("SetOption4", "1");
    assert_eq!(bench.topics(), ["stat/plug-1/SETOPTION"]);
    assert_eq!(
        bench.command("TelePeriod", "")[0].0,
        "stat/plug-1/TELEPERIOD"
    );
    bench.command("Power", "ON");
    assert_eq!(bench.topics(), ["stat/plug-1/POWER", "stat/plug-1/POWER"]);
    assert_eq!(bench.command("Nothing", "")[0].0, "stat/plug-1/COMMAND");
}

#[test]
fn set_option_90_leaves_out_what_is_not_json() {
    let mut bench = Bench::settled();
    bench.command("SetOption90", "1");
    assert_eq!(bench.command("Power", "ON").len(), 1);
    bench.lose();
    bench.run(s(10));
    bench.seen.clear();
    bench.accept();
    assert_eq!(bench.topics(), ["tele/plug-1/LWT"]);
}

#[test]
fn set_option_19_clears_discovery_and_brings_it_back() {
    let mut bench = Bench::settled();
    let discovery = |bench: &Bench| -> Vec<(bool, bool)> {
        bench
            .seen
            .iter()
            .filter_map(|(_, seen)| match seen {
                Seen::Message(topic, payload, retain) if topic.starts_with("tasmota/") => {
                    Some((payload.is_empty(), *retain))
                }
                _ => None,
            })
            .collect()
    };
    bench.command("SetOption19", "1");
    bench.run(s(2));
    assert_eq!(discovery(&bench), [(true, true), (true, true)]);
    bench.command("SetOption19", "0");
    bench.run(s(2));
    assert_eq!(discovery(&bench), [(false, true), (false, true)]);
}

#[test]
fn discovery_has_every_key_in_order_and_fits_the_devices_buffer() {
    let mut bench = Bench::connected();
    bench.run(s(11));
    let said = bench.messages();
    let [.., (_, config), (_, sensors)] = &said[..] else {
        panic!("{said:?}");
    };
    let keys = [
        "ip", "dn", "fn", "hn", "mac", "md", "ty", "if", "ofln", "onln", "state", "sw", "t", "ft",
        "tp", "rl", "swc", "swn", "btn", "so", "lk", "lt_st", "bat", "dslp", "sho", "sht", "ver",
    ];
    let mut at = 0;
    for key in keys {
        let needle = format!("\"{key}\":");
        at += config[at..]
            .find(&needle)
            .unwrap_or_else(|| panic!("{key} after {at}: {config}"));
    }
    let config = json(config);
    assert_eq!(
        config.as_object().map(|object| object.len()),
        Some(keys.len())
    );
    assert_eq!(config["sw"], "15.0.1", "without the image tag");
    assert_eq!(config["mac"], "A0B1C23D5E26");
    assert_eq!(config["fn"].as_array().map(Vec::len), Some(8));
    assert_eq!(config["rl"][0], 1);
    let length = said[said.len() - 2].1.len();
    assert!((800..MAX_PACKET_SIZE).contains(&length), "{length}");
    let sensors = json(sensors);
    assert_eq!(sensors["ver"], 1);
    assert!(sensors["sn"]["ENERGY"]["Power"].is_number());
    assert!(sensors["sn"]["ENERGY"].get("Period").is_none());
}

#[test]
fn full_topic_templates_are_filled_as_the_firmware_does() {
    for (template, command, lwt) in [
        ("%prefix%/%topic%/", "cmnd/plug-1/#", "tele/plug-1/LWT"),
        (
            "home/%topic%/%prefix%",
            "home/plug-1/cmnd/#",
            "home/plug-1/tele/LWT",
        ),
        ("flat/%topic%", "flat/plug-1/cmnd/#", "flat/plug-1/LWT"),
        (
            "%prefix%//#%id%/",
            "cmnd/A0B1C23D5E26/#",
            "tele/A0B1C23D5E26/LWT",
        ),
    ] {
        let mut own = options();
        own.full_topic = template.into();
        let mut bench = Bench::new(own);
        bench.accept();
        let filters: Vec<_> = bench
            .seen
            .iter()
            .filter_map(|(_, seen)| match seen {
                Seen::Subscribe(filter) => Some(filter.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(filters[0], command, "{template}");
        let expected = if template.contains("%topic%") { 3 } else { 1 };
        assert_eq!(filters.len(), expected, "{template}");
        assert_eq!(bench.topics()[0], lwt, "{template}");
    }
}
