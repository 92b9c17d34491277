use super::table::{OPTIONS, fate};
use super::*;
use crate::import::{Left, Mapped};

fn no_folder(path: &str) -> Result<Vec<(String, String)>, String> {
    Err(format!("no folder {path}"))
}

fn beside(text: &str, acl: Option<&str>, passwords: Option<&str>) -> Imported {
    let input = |path, text| Input { path, text };
    let beside = Beside {
        acl: acl.map(|text| input("acl", text)),
        passwords: passwords.map(|text| input("passwd", text)),
    };
    read(input("m.conf", text), &no_folder, beside).expect("a settings file")
}

fn imported(text: &str) -> Imported {
    beside(text, None, None)
}

fn value<'a>(imported: &'a Imported, key: &str) -> Option<&'a str> {
    let found: Vec<&Mapped> = imported.settings.iter().filter(|m| m.key == key).collect();
    assert!(found.len() <= 1, "{key} twice: {found:?}");
    found.first().map(|mapped| mapped.value.as_str())
}

fn left<'a>(imported: &'a Imported, name: &str) -> Vec<&'a Left> {
    let named = imported.not_mapped.iter().filter(|left| left.name == name);
    named.collect()
}

/// All that is said of a line: keys that it became and names in the list.
fn said_of(imported: &Imported, line: usize) -> Vec<&str> {
    let mapped = imported
        .settings
        .iter()
        .filter(|mapped| mapped.from.iter().any(|place| place.line == line))
        .map(|mapped| mapped.key.as_str());
    let left = imported
        .not_mapped
        .iter()
        .filter(|left| left.place.as_ref().is_some_and(|p| p.line == line))
        .map(|left| left.name.as_str());
    mapped.chain(left).collect()
}

fn holds(imported: &Imported) {
    let file = imported.settings_file(safeport_settings::Language::En, "test");
    if let Err(problems) = crate::import::parsed(&file) {
        panic!("{file}\n{problems:#?}");
    }
}

const HOUSE: &str = "\
# A house with a TLS listener, a plain one and WebSockets
per_listener_settings false
persistence true
persistence_location /var/lib/mosquitto/
log_dest file /var/log/mosquitto/mosquitto.log
log_type error
log_type warning
allow_anonymous false
password_file /etc/mosquitto/passwd
acl_file /etc/mosquitto/acl
max_inflight_messages 40
max_queued_messages 5000
max_packet_size 65536
max_keepalive 300
persistent_client_expiration 2w

listener 1883 192.168.1.10
max_connections 500

listener 8883
cafile /etc/mosquitto/ca.crt
certfile /etc/mosquitto/server.crt
keyfile /etc/mosquitto/server.key
require_certificate false

listener 9001
protocol websockets
socket_domain ipv4

connection cloud
address mqtt.example.com:8883
remote_username me
remote_password hunter2secret
bridge_psk c0ffee
topic # both 1
";

#[test]
fn a_house_with_three_listeners_becomes_settings_that_hold() {
    let imported = imported(HOUSE);
    for (key, expected) in [
        ("mqtt.bind", "\"192.168.1.10:1883\""),
        ("mqtt.max_connections", "500"),
        ("mqtts.bind", "\"[::]:8883\""),
        ("http.bind", "\"0.0.0.0:9001\""),
        ("mqtts.max_packet", "65536"),
        ("storage.durability", "\"os\""),
        ("log.level", "\"warn\""),
        ("access.anonymous", "false"),
        ("limits.max_inflight", "40"),
        ("limits.max_queued_messages", "5000"),
        ("limits.max_keep_alive", "\"300s\""),
        ("limits.session_expiry_max", "\"14d\""),
    ] {
        assert_eq!(value(&imported, key), Some(expected), "{key}");
    }
    assert!(left(&imported, "require_certificate")[0].already_so);
    assert!(!left(&imported, "certfile")[0].already_so);
    assert_eq!(left(&imported, "connection").len(), 1);
    holds(&imported);
    let file = imported.settings_file(safeport_settings::Language::En, "test");
    assert!(file.contains("# m.conf:11\nmax_inflight = 40"), "{file}");
}

#[test]
fn no_secret_of_a_file_is_repeated() {
    let text = format!(
        "{HOUSE}local_password swordfish\npassword letmein\nauth_opt_db_pass x9y8\nplugin_opt_token q7\ntls_engine_kpass_sha1 deadbeef\nnew_token abc123\npsk_hint topsecret\n"
    );
    let all = format!(
        "{:?}",
        beside(&text, None, Some("anna:$7$101$c2FsdA==$aGFzaA==\n"))
    );
    for secret in [
        "hunter2secret",
        "c0ffee",
        "swordfish",
        "letmein",
        "x9y8",
        "\"q7\"",
        "deadbeef",
        "abc123",
        "topsecret",
        "c2FsdA",
        "aGFzaA",
    ] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
}

#[test]
fn every_option_of_the_manual_page_is_known() {
    for name in MANUAL.split_whitespace() {
        let name = name.replace('*', "anything");
        assert!(fate(&name).is_some(), "{name}");
    }
    assert_eq!(fate("no_such_option"), None);
    let mut names: Vec<&str> = OPTIONS.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), OPTIONS.len(), "an option is there twice");
}

#[test]
fn every_line_ends_up_as_a_setting_or_in_the_list_whatever_its_value() {
    let values = [
        "",
        "true",
        "false",
        "0",
        "1",
        "-1",
        "20",
        "70000",
        "99999999999999999999",
        "abc",
        "ipv4",
        "websockets",
        "none",
        "all",
        "12w",
        "é\u{1}",
        "1883 ::1",
        "0 /tmp/socket",
        "subscribe",
    ];
    let names = OPTIONS.iter().map(|(name, _)| *name);
    for name in names.chain(["auth_opt_x", "no_such_option"]) {
        for value in values {
            for text in [
                format!("{name} {value}\n"),
                format!("listener 1884\n{name} {value}\n"),
                format!("{name} {value}\nlistener 1884\n"),
                format!("listener abc\n{name} {value}\n{name} 7\n"),
            ] {
                let imported = imported(&text);
                for line in 1..=text.lines().count() {
                    let said = said_of(&imported, line);
                    assert!(!said.is_empty(), "line {line} of {text:?}: {imported:#?}");
                }
                holds(&imported);
            }
        }
    }
}

#[test]
fn mosquitto_without_a_listener_is_for_this_machine_and_so_are_we() {
    let local = imported("persistence false\n");
    let bind = "[\"127.0.0.1:1883\", \"[::1]:1883\"]";
    assert_eq!(value(&local, "mqtt.bind"), Some(bind));
    assert_eq!(value(&local, "storage.durability"), Some("\"none\""));
    // These lines open the default listener to everyone.
    for (line, bind) in [
        ("port 1884", "\"[::]:1884\""),
        ("max_connections 5", "\"[::]:1883\""),
        ("socket_domain ipv4", "\"0.0.0.0:1883\""),
        ("bind_address ::1", "\"[::1]:1883\""),
    ] {
        assert_eq!(value(&imported(line), "mqtt.bind"), Some(bind), "{line}");
    }
    let both = imported("max_connections 5\nlistener 1999\n");
    assert_eq!(
        value(&both, "mqtt.bind"),
        Some("[\"[::]:1883\", \"[::]:1999\"]")
    );
}

#[test]
fn listeners_that_mosquitto_had_not_are_not_opened_to_the_network() {
    let one = imported("listener 1883 127.0.0.1\nallow_anonymous true\n");
    assert_eq!(value(&one, "mqtt.bind"), Some("\"127.0.0.1:1883\""));
    assert_eq!(value(&one, "mqtts.enabled"), Some("false"));
    assert_eq!(value(&one, "https.enabled"), Some("false"));
    assert_eq!(value(&one, "voice.enabled"), Some("false"));
    assert_eq!(value(&one, "http.bind"), Some("\"127.0.0.1:8002\""));
    holds(&one);
}

#[test]
fn plain_mqtt_stays_shut_where_mosquitto_had_only_tls() {
    let tls = imported("listener 8883\ncertfile /c\nkeyfile /k\n");
    assert_eq!(value(&tls, "mqtt.enabled"), Some("false"));
    assert_eq!(value(&tls, "mqtts.enabled"), None);
}

#[test]
fn a_default_port_that_is_taken_by_another_listener_switches_its_owner_off() {
    let plain = imported("listener 8883\nlistener 1883\n");
    assert_eq!(value(&plain, "mqtts.enabled"), Some("false"));
    holds(&plain);
}

#[test]
fn what_we_would_open_wider_is_left_out() {
    for line in ["bind_interface eth0", "psk_hint house"] {
        let imported = imported(&format!("listener 1883\n{line}\nlistener 1884 127.0.0.1\n"));
        assert_eq!(
            value(&imported, "mqtt.bind"),
            Some("\"127.0.0.1:1884\""),
            "{line}"
        );
        assert_eq!(left(&imported, "listener").len(), 1);
        // With nothing else to take its place, the default would be wider still.
        let alone = self::imported(&format!("listener 1883\n{line}\n"));
        assert_eq!(value(&alone, "mqtt.enabled"), Some("false"), "{line}");
    }
}

#[test]
fn anonymous_with_an_acl_file_is_not_everything_for_everyone() {
    let plain = imported("listener 1883\nallow_anonymous true\n");
    assert_eq!(value(&plain, "access.anonymous"), Some("true"));
    let twice = imported("allow_anonymous false\nallow_anonymous true\n");
    assert_eq!(value(&twice, "access.anonymous"), Some("true"));
    assert_eq!(left(&twice, "access.anonymous").len(), 1);
    let ruled = imported("listener 1883\nallow_anonymous true\nacl_file /acl\n");
    assert_eq!(value(&ruled, "access.anonymous"), None);
    assert_eq!(left(&ruled, "allow_anonymous").len(), 1);
    let mixed = imported(
        "per_listener_settings true\nlistener 1883\nallow_anonymous true\nlistener 1884\nallow_anonymous false\n",
    );
    assert_eq!(value(&mixed, "access.anonymous"), None);
    assert_eq!(left(&mixed, "allow_anonymous").len(), 2);
}

#[test]
fn of_two_lines_the_last_holds_and_the_first_is_listed() {
    let imported = imported("max_inflight_messages 5\nmax_inflight_messages 6\n");
    assert_eq!(value(&imported, "limits.max_inflight"), Some("6"));
    let lost = left(&imported, "limits.max_inflight");
    assert_eq!(lost[0].value.as_deref(), Some("5"));
    assert!(lost[0].why.en.contains("m.conf:2"));
}

#[test]
fn included_files_are_read_where_they_are_named_and_their_lines_named_with_them() {
    let folder = |path: &str| {
        assert_eq!(path, "/etc/mosquitto/conf.d");
        Ok(vec![
            ("a.conf".to_owned(), "max_inflight_messages 7\n".to_owned()),
            ("b.conf".to_owned(), "include_dir /more\n".to_owned()),
        ])
    };
    let text = "max_inflight_messages 5\ninclude_dir /etc/mosquitto/conf.d\n";
    let main = Input {
        path: "m.conf",
        text,
    };
    let imported = read(main, &folder, Beside::default()).expect("settings");
    assert_eq!(value(&imported, "limits.max_inflight"), Some("7"));
    let mapped = imported
        .settings
        .iter()
        .find(|m| m.key == "limits.max_inflight");
    assert_eq!(mapped.expect("mapped").from[0].to_string(), "a.conf:1");
    let includes = left(&imported, "include_dir");
    assert_eq!(includes.len(), 2);
    assert_eq!(includes.iter().filter(|left| left.already_so).count(), 1);
    assert!(
        left(&self::imported(text), "include_dir")[0]
            .why
            .en
            .contains("no folder")
    );
}

const ACL: &str = "\
# anonymous
topic read public/#
user anna
topic home/#
topic read $SYS/#
topic deny home/safe/#
user plug
topic write tele/plug/+
user ghost
pattern readwrite own/%u/#
pattern write seen/%c
topic write bad/#/filter
";

#[test]
fn users_and_their_rights_become_logins() {
    let passwords = "anna:$7$x\nplug:$7$y\nghost:$6$z\nnobody\n";
    let imported = beside(
        "listener 1883\nacl_file /acl\npassword_file /p\n",
        Some(ACL),
        Some(passwords),
    );
    let login = |name: &str| {
        let found = imported.logins.iter().find(|login| login.name == name);
        found.unwrap_or_else(|| panic!("{name} in {imported:#?}"))
    };
    assert_eq!(login("anna").publish, ["home/#", "own/anna/#"]);
    assert_eq!(login("anna").subscribe, ["home/#", "$SYS/#", "own/anna/#"]);
    assert!(login("anna").remark.is_some(), "deny cannot be taken over");
    assert_eq!(login("plug").publish, ["tele/plug/+", "own/plug/#"]);
    assert_eq!(login("plug").subscribe, ["own/plug/#"]);
    assert_eq!(login("ghost").publish, ["own/ghost/#"]);
    let lines = |name: &str| -> Vec<usize> {
        let left = left(&imported, name).into_iter();
        left.map(|left| left.place.as_ref().expect("a place").line)
            .collect()
    };
    assert_eq!(lines("topic"), [2, 6, 12]);
    assert_eq!(lines("pattern"), [11]);
}

#[test]
fn a_user_without_rights_gets_no_command_that_gives_all() {
    let imported = beside(
        "acl_file /acl\n",
        Some("user anna\ntopic a\n"),
        Some("bob:x\n"),
    );
    assert_eq!(imported.logins.len(), 1);
    assert!(left(&imported, "user")[0].why.en.contains("every topic"));
    // Without an ACL file mosquitto gives every topic, and so does `user add`.
    let open = beside("password_file /p\n", None, Some("bob:x\n"));
    assert_eq!(open.logins[0].name, "bob");
}

#[test]
fn a_file_that_is_too_long_is_named_with_the_line_it_was_left_at() {
    let text = "max_qos 2\n".repeat(1 << 20);
    let input = Input {
        path: "m.conf",
        text: &text,
    };
    let error = read(input, &no_folder, Beside::default()).expect_err("too long");
    assert_eq!(error.place.line, crate::import::MAX_FILE / 10 + 1);
}

/// The options of mosquitto.conf(5), mosquitto 2.0.
const MANUAL: &str = "
    acl_file allow_anonymous allow_duplicate_messages allow_zero_length_clientid auth_opt_*
    auth_plugin auth_plugin_deny_special_chars auto_id_prefix autosave_interval
    autosave_on_changes check_retain_source clientid_prefixes connection_messages include_dir
    log_dest log_facility log_timestamp log_timestamp_format log_type max_inflight_bytes
    max_inflight_messages max_keepalive max_packet_size max_queued_bytes max_queued_messages
    memory_limit message_size_limit password_file per_listener_settings persistence
    persistence_file persistence_location persistent_client_expiration pid_file psk_file
    queue_qos0_messages retain_available set_tcp_nodelay sys_interval upgrade_outgoing_qos user
    bind_address bind_interface http_dir listener max_connections max_qos max_topic_alias
    mount_point port protocol socket_domain use_username_as_clientid websockets_log_level
    websockets_headers_size cafile capath certfile ciphers ciphers_tls1.3 crlfile dhparamfile
    keyfile require_certificate tls_engine tls_engine_kpass_sha1 tls_keyform tls_version
    use_identity_as_username use_subject_as_username psk_hint address addresses
    bridge_attempt_unsubscribe bridge_bind_address bridge_max_packet_size bridge_outgoing_retain
    bridge_protocol_version cleansession local_cleansession connection keepalive_interval
    idle_timeout local_clientid local_password local_username notifications
    notifications_local_only notification_topic remote_clientid remote_password remote_username
    restart_timeout round_robin start_type threshold topic try_private bridge_alpn bridge_cafile
    bridge_capath bridge_certfile bridge_identity bridge_insecure bridge_keyfile bridge_psk
    bridge_require_ocsp bridge_tls_version";
