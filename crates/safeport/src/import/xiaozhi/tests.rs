use super::table::SETTINGS;
use super::*;
use crate::import::{Left, Mapped};

fn both(main: &str, wins: Option<&str>) -> Imported {
    let input = |path, text| Input { path, text };
    let wins = wins.map(|text| input(".config.yaml", text));
    read(input("config.yaml", main), wins).expect("settings")
}

fn imported(text: &str) -> Imported {
    both(text, None)
}

fn refused(text: &str) -> ImportError {
    let input = Input {
        path: "config.yaml",
        text,
    };
    read(input, None).expect_err("no settings")
}

fn value<'a>(imported: &'a Imported, key: &str) -> Option<&'a str> {
    let found: Vec<&Mapped> = imported.settings.iter().filter(|m| m.key == key).collect();
    assert!(found.len() <= 1, "{key} twice: {found:?}");
    found.first().map(|mapped| mapped.value.as_str())
}

fn left<'a>(imported: &'a Imported, name: &str) -> &'a Left {
    let found = imported.not_mapped.iter().find(|left| left.name == name);
    found.unwrap_or_else(|| panic!("{name} in {imported:#?}"))
}

fn holds(imported: &Imported) {
    let file = imported.settings_file(safeport_settings::Language::En, "test");
    if let Err(problems) = crate::import::parsed(&file) {
        panic!("{file}\n{problems:#?}");
    }
}

const SIMPLE: &str = "\
server:
  ip: 0.0.0.0
  port: 8000
  http_port: 8003
  websocket: ws://192.168.1.25:8000/xiaozhi/v1/
  vision_explain: http://192.168.1.25:8003/mcp/vision/explain
  timezone_offset: +8
  auth:
    enabled: true
    tokens:
      - token: \"swordfish1\"
        name: box
  auth_key: swordfish2
  mqtt_gateway: 192.168.1.25:1883
  mqtt_signature_key: swordfish3
log:
  log_level: DEBUG
  log_dir: tmp
plugins:
  get_weather: {\"api_key\": \"swordfish4\"}
mcp_endpoint: ws://host:8004/mcp/?token=swordfish5
prompt: |
  You are swordfish6.
selected_module:
  LLM: ChatGLMLLM
LLM:
  ChatGLMLLM:
    type: openai
    api_key: swordfish7
my_own_key: swordfish8
";

#[test]
fn both_ports_become_addresses_of_http_and_devices_keep_theirs() {
    let imported = imported(SIMPLE);
    let bind = "[\"0.0.0.0:8000\", \"0.0.0.0:8003\"]";
    assert_eq!(value(&imported, "http.bind"), Some(bind));
    assert_eq!(value(&imported, "advertise.host"), Some("\"192.168.1.25\""));
    assert_eq!(value(&imported, "log.level"), Some("\"debug\""));
    assert!(left(&imported, "server.vision_explain").already_so);
    assert_eq!(
        left(&imported, "server.mqtt_gateway")
            .place
            .as_ref()
            .expect("a place")
            .line,
        14
    );
    holds(&imported);
    let file = imported.settings_file(safeport_settings::Language::En, "test");
    assert!(
        file.contains("# config.yaml:2, config.yaml:3, config.yaml:4\nbind ="),
        "{file}"
    );
}

#[test]
fn no_secret_of_a_file_is_repeated() {
    let all = format!("{:?}", imported(SIMPLE));
    assert!(!all.contains("swordfish"), "{all}");
    let urls = "server:\n  websocket: ws://me:swordfish@h.example/?token=swordfish\n";
    assert!(!format!("{:?}", imported(urls)).contains("swordfish"));
}

#[test]
fn an_address_in_front_of_the_server_becomes_a_proxy() {
    let imported = imported(
        "server:\n  port: 8000\n  websocket: wss://voice.example.com/xiaozhi/v1/\n  vision_explain: https://voice.example.com/mcp/vision/explain\n",
    );
    let url = "\"https://voice.example.com:443\"";
    assert_eq!(value(&imported, "proxy.xiaozhi.url"), Some(url));
    assert_eq!(value(&imported, "proxy.xiaozhi.to"), Some("\"http\""));
    assert_eq!(value(&imported, "advertise.host"), None);
    assert!(left(&imported, "server.vision_explain").already_so);
    holds(&imported);
}

#[test]
fn a_port_mapped_by_a_container_becomes_a_proxy_too() {
    let imported = imported("server:\n  port: 8000\n  websocket: ws://10.0.0.5:9000/xiaozhi/v1/\n");
    assert_eq!(
        value(&imported, "proxy.xiaozhi.url"),
        Some("\"http://10.0.0.5:9000\"")
    );
    assert_eq!(
        value(&imported, "http.bind"),
        Some("[\"0.0.0.0:8000\", \"0.0.0.0:8003\"]")
    );
    holds(&imported);
}

#[test]
fn the_example_texts_of_the_file_are_no_addresses() {
    for text in [
        "ws://你的ip或者域名:端口号/xiaozhi/v1/",
        "ws://YOUR_IP_OR_DOMAIN:PORT/xiaozhi/v1/",
        "ws://your-ip:8000/xiaozhi/v1/",
    ] {
        let imported = imported(&format!("server:\n  port: 8000\n  websocket: {text}\n"));
        assert_eq!(value(&imported, "advertise.host"), None, "{text}");
        assert!(
            left(&imported, "server.websocket")
                .why
                .en
                .contains("example")
        );
    }
}

#[test]
fn bad_addresses_and_ports_are_listed_with_what_is_wrong() {
    for (line, word) in [
        ("websocket: ws://h:70000/", "65535"),
        ("websocket: ws://h:/", "65535"),
        ("websocket: h:8000", "URL"),
        ("websocket: ftp://h/", "scheme"),
        ("websocket: ws://a b/", "URL"),
        ("port: eight", "65535"),
        ("port: [1, 2]", "single"),
        ("ip: not an address", "address"),
    ] {
        let imported = imported(&format!("server:\n  http_port: 8003\n  {line}\n"));
        let name = format!("server.{}", line.split(':').next().expect("a name"));
        let left = left(&imported, &name);
        assert!(left.why.en.contains(word), "{line}: {}", left.why);
        assert_eq!(left.place.as_ref().expect("a place").line, 3);
        holds(&imported);
    }
}

#[test]
fn the_override_wins_value_by_value_and_the_list_says_who_lost() {
    let imported = both(
        SIMPLE,
        Some("server:\n  port: 9000\nlog:\n  log_dir: tmp\n"),
    );
    let bind = "[\"0.0.0.0:9000\", \"0.0.0.0:8003\"]";
    assert_eq!(value(&imported, "http.bind"), Some(bind));
    let lost = left(&imported, "server.port");
    assert_eq!(
        lost.place.as_ref().expect("a place").to_string(),
        "config.yaml:3"
    );
    assert_eq!(lost.value.as_deref(), Some("8000"));
    assert!(lost.why.en.contains(".config.yaml:2"), "{}", lost.why);
}

#[test]
fn a_section_written_twice_holds_once() {
    let imported = imported("server:\n  port: 8000\n  ip: 127.0.0.1\nserver:\n  port: 9000\n");
    let bind = "[\"0.0.0.0:9000\", \"0.0.0.0:8003\"]";
    assert_eq!(value(&imported, "http.bind"), Some(bind));
    assert!(left(&imported, "server.ip").why.en.contains("second time"));
}

#[test]
fn with_a_manager_only_what_that_server_reads_locally_is_taken() {
    let imported = imported(
        "server:\n  port: 8000\n  websocket: ws://10.0.0.5:8000/xiaozhi/v1/\nmanager-api:\n  url: http://127.0.0.1:8002/xiaozhi\n  secret: swordfish\nlog:\n  log_level: DEBUG\n",
    );
    assert!(value(&imported, "http.bind").is_some());
    assert_eq!(value(&imported, "advertise.host"), None);
    assert_eq!(value(&imported, "log.level"), None);
    assert!(
        left(&imported, "server.websocket")
            .why
            .en
            .contains("manager")
    );
    assert!(
        left(&imported, "manager-api.url")
            .why
            .en
            .contains("http.bind")
    );
}

#[test]
fn every_known_setting_ends_up_as_a_setting_or_in_the_list_whatever_its_value() {
    let values = [
        "",
        "null",
        "1",
        "true",
        "[]",
        "[1]",
        "{}",
        "{a: 1}",
        "\"\"",
        "ws://10.0.0.5:8000/x",
        "https://h.example/x",
        "http://[fd00::1]:8000/",
        "ws://127.0.0.1:8000/",
        "INFO",
        "::1",
        "0.0.0.0",
        "1883",
        "ws://172.17.0.2:8000/",
    ];
    for (path, _) in SETTINGS.iter().chain([&("unknown", Fate::Mapped)]) {
        for value in values {
            let mut text = String::new();
            let mut names = path.split('.').peekable();
            let mut depth = 0;
            while let Some(name) = names.next() {
                let value = if names.peek().is_none() { value } else { "" };
                text.push_str(&format!("{}{name}: {value}\n", "  ".repeat(depth)));
                depth += 1;
            }
            let imported = imported(&text);
            // A map with nothing in it is nothing to speak of.
            let opened = OPENED.contains(path) && value == "{}";
            let said = !imported.settings.is_empty() || !imported.not_mapped.is_empty();
            assert!(said || opened, "{text}");
            holds(&imported);
        }
    }
}

#[test]
fn what_is_no_settings_file_is_refused_with_its_line() {
    assert_eq!(refused("server:\n\tport: 8000\n").place.line, 2);
    assert_eq!(refused("\n- a\n- b\n").place.line, 2);
    assert_eq!(refused("just words\n").place.line, 1);
    assert!(imported("# empty\n").settings.is_empty());
    assert!(imported("null\n").settings.is_empty());
}
