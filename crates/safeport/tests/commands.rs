//! What people type, and what they get: data on stdout, talk on stderr, exit codes 0, 1 and 64.

mod support;

use support::{Folder, feed, stderr};

#[test]
fn bad_settings_exit_with_64_and_name_every_key_line_and_way_out() {
    let folder = Folder::new();
    let file =
        folder.settings("[mqtt]\nbnd = \"0.0.0.0:1883\"\n\n[limits]\nconnect_timeout = \"9h\"\n");
    let file = file.to_str().expect("text");
    for command in ["check", "serve"] {
        let output = folder.run(&[command, "--config", file]);
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let said = stderr(&output);
        for part in [
            "bnd",
            "safeport.toml:2:",
            "bind",
            "connect_timeout",
            "safeport.toml:5:",
            "60s",
            "help",
        ] {
            assert!(said.contains(part), "no {part:?} in\n{said}");
        }
    }
    assert!(!folder.data().exists(), "nothing was started");
}

#[test]
fn check_prints_problems_as_json_with_lines() {
    let folder = Folder::new();
    let file = folder.settings("[mqtt]\nbnd = 1\n");
    let output = folder.run(&["check", "--json", "--config", file.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(64));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["fine"], false);
    assert_eq!(json["problems"][0]["source"]["line"], 2);
    assert!(json["problems"][0]["help"].is_string());
}

#[test]
fn a_bad_environment_variable_is_named() {
    let folder = Folder::new();
    let mut command = folder.safeport(&["check"]);
    command.env("SAFEPORT__MQTT__BIND", "somewhere");
    let output = support::finish(command);
    assert_eq!(output.status.code(), Some(64));
    assert!(
        stderr(&output).contains("SAFEPORT__MQTT__BIND"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn the_example_file_is_fine_and_holds_every_key() {
    let folder = Folder::new();
    let example = folder.stdout(&["config", "example"]);
    let file = folder.settings(&example);
    let file = file.to_str().expect("text");
    let checked = folder.stdout(&["check", "--config", file]);
    assert!(checked.contains("[::]:1883"), "{checked}");
    for entry in folder
        .json(&["config", "show", "--config", file])
        .as_array()
        .expect("a list")
    {
        let key = entry["key"].as_str().expect("a key");
        let (_, name) = key.split_once('.').expect("section.name");
        assert!(example.contains(name), "{key}");
    }
}

#[test]
fn a_missing_settings_file_and_bad_usage_exit_with_64() {
    let folder = Folder::new();
    let output = folder.run(&["check", "--config", "nowhere.toml"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(stderr(&output).contains("nowhere.toml"));
    for arguments in [
        &["frobnicate"][..],
        &["user", "add"],
        &["serve", "--bind", "x"],
        &[],
    ] {
        let output = folder.run(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_and_version_are_data() {
    let folder = Folder::new();
    assert!(folder.stdout(&["--help"]).contains("serve"));
    assert!(folder.stdout(&["--version"]).starts_with("safeport "));
}

#[test]
fn a_new_user_gets_a_password_that_is_all_of_stdout() {
    let folder = Folder::new();
    let password = folder.stdout(&["user", "add", "anna"]);
    assert_eq!(password.trim_end().len(), 26, "{password:?}");
    assert!(password.ends_with('\n'));
    let users = folder.json(&["user", "list"]);
    assert_eq!(users[0]["name"], "anna");
    assert_eq!(users[0]["publish"], serde_json::json!(["#"]));
    assert!(!users.to_string().contains("argon2"), "{users}");
}

#[test]
fn users_are_listed_changed_and_removed_and_unknown_ones_are_an_error() {
    let folder = Folder::new();
    folder.add_user("anna", "secret\n", &["--subscribe", "tele/#"]);
    let added = folder.json(&["user", "add", "root", "--admin"]);
    assert_eq!(added["password"].as_str().expect("a password").len(), 26);
    assert_eq!(added["subscribe"], serde_json::json!(["#", "$SYS/#"]));
    let users = folder.json(&["user", "list"]);
    assert_eq!(users[0]["publish"], serde_json::json!([]));
    assert_eq!(users[0]["subscribe"], serde_json::json!(["tele/#"]));

    let taken = folder.run(&["user", "add", "anna"]);
    assert_eq!(taken.status.code(), Some(1));
    assert!(taken.stdout.is_empty());
    assert!(stderr(&taken).contains("anna"));

    folder.stdout(&["user", "disable", "anna"]);
    assert_eq!(folder.json(&["user", "list"])[0]["enabled"], false);
    folder.stdout(&["user", "remove", "anna"]);
    let again = folder.run(&["user", "remove", "anna"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("user list"), "{}", stderr(&again));
}

#[test]
fn bad_filters_names_and_passwords_exit_with_64_and_change_nothing() {
    let folder = Folder::new();
    for arguments in [
        &["user", "add", "anna", "--publish", "a/#/b"][..],
        &["user", "add", " anna"],
        &["user", "add", ""],
        &["device", "add", "tasmota", "--name", "Plug 1"],
        &["device", "add", "toaster", "--name", "plug-1"],
        &[
            "device", "add", "plain", "--name", "plug-1", "--topic", "a/+",
        ],
    ] {
        let output = folder.run(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?} {output:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    let empty = feed(
        folder.safeport(&["user", "add", "anna", "--password-stdin"]),
        "\n",
    );
    assert_eq!(empty.status.code(), Some(64), "{empty:?}");
    assert_eq!(folder.json(&["user", "list"]), serde_json::json!([]));
    assert_eq!(folder.json(&["device", "list"]), serde_json::json!([]));
}

#[test]
fn a_new_tasmota_prints_exactly_the_line_to_paste() {
    let folder = Folder::new();
    let output = folder.run(&[
        "device",
        "add",
        "tasmota",
        "--name",
        "plug-1",
        "--host",
        "192.168.1.20",
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let line = String::from_utf8(output.stdout.clone()).expect("text");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(
        line.starts_with("Backlog MqttHost 192.168.1.20; MqttPort 1883; SetOption103 0; "),
        "{line}"
    );
    assert!(line.contains("MqttUser plug-1; MqttPassword "), "{line}");
    assert!(stderr(&output).contains("Console"), "{}", stderr(&output));

    let shown = folder.json(&["device", "show", "plug-1"]);
    assert_eq!(shown["client_id"], "plug-1");
    assert_eq!(folder.json(&["device", "list"])[0]["family"], "tasmota");
    let renewed = folder.stdout(&["device", "passwd", "plug-1", "--host", "192.168.1.20"]);
    assert!(renewed.starts_with("Backlog ") && renewed != line);
    folder.stdout(&["device", "forget", "plug-1"]);
    assert_eq!(
        folder.run(&["device", "show", "plug-1"]).status.code(),
        Some(1)
    );
}

#[test]
fn every_family_gets_its_own_setup_text() {
    let folder = Folder::new();
    for (family, name, part) in [
        ("espeasy", "node1", "Unit Name"),
        ("esphome", "lamp", "mqtt:"),
        ("plain", "meter", "meter"),
    ] {
        let added = folder.json(&["device", "add", family, "--name", name, "--host", "hub.lan"]);
        assert!(
            added["setup"].as_str().expect("text").contains(part),
            "{added}"
        );
        assert_eq!(added["port"], 1883);
    }
}

#[test]
fn a_tls_device_gets_the_fingerprint_that_cert_prints() {
    let folder = Folder::new();
    let printed = folder.stdout(&["cert", "fingerprint"]);
    let current = printed.lines().next().expect("a line");
    let line = folder.stdout(&[
        "device", "add", "tasmota", "--name", "plug-1", "--host", "10.0.0.1", "--tls",
    ]);
    assert_eq!(current.split_whitespace().count(), 21, "{printed}");
    assert!(current.starts_with("MqttFingerprint1 "), "{printed}");
    assert!(line.contains("MqttPort 8883"), "{line}");
    assert!(line.contains(current), "{line}");
    // The same key for images that hash it in the old way.
    let old = printed.lines().nth(1).expect("a second line");
    assert!(old.starts_with("MqttFingerprint1 "), "{printed}");
    assert_ne!(old, current);
}

#[test]
fn the_root_is_exported_as_pem_and_der_which_goes_into_files_only() {
    let folder = Folder::new();
    let pem = folder.stdout(&["cert", "export"]);
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
    let path = folder.path().join("root.der");
    let path = path.to_str().expect("a path");
    folder.stdout(&["cert", "export", "--der", "--output", path]);
    let der = std::fs::read(path).expect("the file");
    // SEQUENCE, long form.
    assert_eq!(der[..2], [0x30, 0x82]);
    assert!(der.len() < pem.len());
}

#[test]
fn cert_show_tells_what_is_presented_and_which_devices_can_connect() {
    let folder = Folder::new();
    let shown = folder.json(&["cert", "show"]);
    let listeners = shown["listeners"].as_array().expect("listeners");
    let names: Vec<_> = listeners.iter().map(|row| &row["listener"]).collect();
    assert_eq!(names, ["mqtts", "https"]);
    let presented = listeners[0]["presents"].as_array().expect("chains");
    let keys: Vec<_> = presented.iter().map(|chain| &chain["key"]).collect();
    assert!(keys.contains(&&serde_json::json!("RSA 2048")), "{shown}");
    assert!(keys.contains(&&serde_json::json!("ECDSA P-256")), "{shown}");
    let families = listeners[0]["families"].as_array().expect("families");
    let of = |family: &str| {
        let mut all = families.iter();
        all.find(|row| row["family"] == family).expect("a family")
    };
    assert_eq!(of("tasmota-esp32-fingerprint")["can"], true, "{shown}");
    assert_eq!(of("tasmota-esp32-roots")["can"], false, "{shown}");
    assert_eq!(of("tasmota-esp32-roots")["reason"], "private-root");
    let text = folder.stdout(&["cert", "show"]);
    assert!(
        text.contains("NO: Tasmota (ESP32), built-in roots"),
        "{text}"
    );
}

#[test]
fn a_key_that_a_device_checks_is_not_changed_until_the_device_is_named() {
    let folder = Folder::new();
    let print = |folder: &Folder| folder.json(&["cert", "fingerprint"]);
    let before = print(&folder);
    folder.stdout(&[
        "device", "add", "tasmota", "--name", "plug-1", "--host", "10.0.0.1", "--tls",
    ]);
    let shown = folder.json(&["device", "show", "plug-1"]);
    let pin = shown["fingerprint"].as_str().expect("a pin").to_uppercase();
    let current = before["served"]["v2"].as_str().expect("a fingerprint");
    assert_eq!(pin, current.replace(' ', ""));

    let refused = folder.run(&["cert", "rotate"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("plug-1") && said.contains("--strand"),
        "{said}"
    );
    let unknown = folder.run(&["cert", "rotate", "--strand", "plug-9"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert_eq!(print(&folder), before);

    // The next key can be told before it is used.
    folder.stdout(&["cert", "rotate", "--prepare"]);
    let prepared = print(&folder);
    assert_eq!(prepared["served"], before["served"]);
    assert!(prepared["next"]["v2"].is_string(), "{prepared}");
    folder.stdout(&["cert", "rotate", "--strand", "plug-1"]);
    assert_eq!(print(&folder)["served"], prepared["next"]);
    let shown = folder.json(&["device", "show", "plug-1"]);
    assert!(shown["fingerprint_stranded"].is_u64(), "{shown}");
}

#[test]
fn new_certificates_keep_the_key() {
    let folder = Folder::new();
    let before = folder.json(&["cert", "show"]);
    folder.stdout(&["cert", "renew"]);
    let after = folder.json(&["cert", "show"]);
    let serial = |shown: &serde_json::Value| {
        shown["listeners"][0]["presents"][0]["certificates"][0]["serial"].clone()
    };
    assert_ne!(serial(&before), serial(&after));
    assert_eq!(before["tasmota_fingerprint"], after["tasmota_fingerprint"]);
}

#[test]
fn attempts_can_be_asked_for_without_a_server() {
    let folder = Folder::new();
    let none = folder.json(&["attempts", "--failed", "--since", "10m"]);
    assert_eq!(none, serde_json::json!([]));
    let bad = folder.run(&["attempts", "--since", "soon"]);
    assert_eq!(bad.status.code(), Some(64));
    let unknown = folder.run(&["attempts", "--device", "plug-9"]);
    assert_eq!(unknown.status.code(), Some(1));
}

#[test]
fn a_host_that_the_device_cannot_use_adds_no_device() {
    let folder = Folder::new();
    let output = folder.run(&[
        "device",
        "add",
        "tasmota",
        "--name",
        "plug-1",
        "--host",
        "hub.local",
    ]);
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    assert!(stderr(&output).contains("hub.local"));
    assert_eq!(folder.json(&["device", "list"]), serde_json::json!([]));
}

#[test]
fn people_are_spoken_to_in_chinese_by_flag_setting_and_environment() {
    let folder = Folder::new();
    let by_flag = folder.run(&["--lang", "zh-CN", "user", "list"]);
    assert!(stderr(&by_flag).contains("还没有用户"), "{by_flag:?}");

    let mut command = folder.safeport(&["user", "list"]);
    command.env("LANG", "zh_CN.UTF-8");
    assert!(stderr(&support::finish(command)).contains("还没有用户"));

    let file = folder.settings("[server]\nlanguage = \"zh-CN\"\n");
    let file = file.to_str().expect("text");
    let by_setting = folder.run(&["user", "list", "--config", file]);
    assert!(stderr(&by_setting).contains("还没有用户"));
    let flag_wins = folder.run(&["--lang", "en", "user", "list", "--config", file]);
    assert!(stderr(&flag_wins).contains("no users yet"));
}

#[test]
fn errors_are_json_on_stderr_when_asked_for() {
    let folder = Folder::new();
    let output = folder.run(&["user", "remove", "nobody", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert!(
        error["error"]["headline"]
            .as_str()
            .expect("text")
            .contains("nobody")
    );
}

#[test]
fn a_data_folder_that_cannot_be_made_is_named_with_the_way_out() {
    let folder = Folder::new();
    let file = folder.settings("");
    let below_a_file = file.join("data");
    for command in [&["user", "list"][..], &["serve", "--open"]] {
        let mut arguments = command.to_vec();
        arguments.extend(["--data", below_a_file.to_str().expect("text")]);
        let output = folder.run(&arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = stderr(&output);
        assert!(said.contains("safeport.toml/data"), "{said}");
        assert!(said.contains("--data"), "{said}");
    }
}
