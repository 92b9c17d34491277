//! `/api/v1/` and the tokens that open it, with the real binary.

mod support;

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Folder, Server, connect, stderr};

/// What came back.
struct Answer {
    status: u16,
    head: String,
    body: Value,
}

impl Answer {
    fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    fn problems(&self) -> Vec<(&str, &str)> {
        let problems = self.body["error"]["problems"].as_array();
        problems
            .into_iter()
            .flatten()
            .map(|problem| {
                let text = |name: &str| problem[name].as_str().unwrap_or_default();
                (text("key"), text("what"))
            })
            .collect()
    }
}

fn send(server: &Server, request: &str, headers: &str, body: &str) -> Answer {
    let mut socket = connect(server.address("http"));
    socket
        .set_read_timeout(Some(Duration::from_secs(40)))
        .expect("a timeout");
    let length = body.len();
    let text = format!(
        "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\
         {headers}\r\n{body}"
    );
    // What is refused by its headers may be answered before all of the body is gone.
    let _ = socket.write_all(text.as_bytes());
    let mut answer = String::new();
    let _ = socket.read_to_string(&mut answer);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Answer {
        status: status.expect("a status"),
        head: head.to_ascii_lowercase(),
        body: serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")),
    }
}

fn ask(server: &Server, token: &str, request: &str, body: &Value) -> Answer {
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let headers = format!("Authorization: Bearer {token}\r\n");
    send(server, request, &headers, &body)
}

fn get(server: &Server, token: &str, path: &str) -> Answer {
    ask(server, token, &format!("GET /api/v1/{path}"), &Value::Null)
}

fn patch(server: &Server, token: &str, body: &Value) -> Answer {
    ask(server, token, "PATCH /api/v1/settings", body)
}

fn set(key: &str, value: Value) -> Value {
    json!({"changes": [{"key": key, "value": value}]})
}

/// Makes a token and returns it.
fn token(folder: &Folder, name: &str, more: &[&str]) -> String {
    let mut arguments = vec!["token", "add", name];
    arguments.extend_from_slice(more);
    let printed = folder.stdout(&arguments);
    let token = printed.trim_end();
    assert_eq!(
        printed,
        format!("{token}\n"),
        "nothing but the token on stdout"
    );
    assert!(token.starts_with("sp_") && token.len() == 67, "{token}");
    token.to_owned()
}

/// The value of a key as `config show` has it.
fn shown(folder: &Folder, key: &str) -> Value {
    let values = folder.json(&["config", "show"]);
    let mut values = values.as_array().expect("values").iter();
    values
        .find(|value| value["key"] == key)
        .map(|value| value["value"].clone())
        .expect("the key")
}

#[test]
fn nobody_gets_in_without_a_token_even_if_the_server_is_open() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--open"]);
    for (headers, code) in [
        ("", "no-token"),
        ("Authorization: Basic YTpi\r\n", "no-token"),
        ("Authorization: Bearer \r\n", "no-token"),
        ("Authorization: Bearer sp_00\r\n", "unknown-token"),
    ] {
        for request in [
            "GET /api/v1/settings",
            "PATCH /api/v1/settings",
            "POST /api/v1/settings/reload",
            "GET /api/v1/ports",
            "GET /api/v1/nothing",
            "DELETE /api/v1/settings",
            "OPTIONS /api/v1/settings",
        ] {
            let answer = send(&server, request, headers, "");
            assert_eq!(
                (answer.status, answer.code()),
                (401, code),
                "{request} {headers}"
            );
            assert!(
                answer.head.contains("www-authenticate: bearer"),
                "{}",
                answer.head
            );
            assert!(
                answer.head.contains("cache-control: no-store"),
                "{}",
                answer.head
            );
            assert!(!answer.head.contains("access-control"), "{}", answer.head);
            assert!(
                answer.body["error"]["next"]
                    .as_str()
                    .unwrap()
                    .contains("token add")
            );
        }
    }
    let chinese = send(
        &server,
        "GET /api/v1/settings",
        "Accept-Language: zh-CN\r\n",
        "",
    );
    assert_eq!(chinese.body["error"]["what"], "需要令牌");
}

#[test]
fn a_token_works_from_its_first_request_until_a_second_after_its_removal() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let panel = token(&folder, "panel", &[]);
    assert_eq!(get(&server, &panel, "settings").status, 200);
    let list = folder.json(&["token", "list"]);
    assert_eq!(list[0]["name"], "panel");
    assert_eq!(list[0]["scopes"], json!(["all:write"]));
    assert!(list[0]["last_used"].is_u64(), "{list}");
    assert!(!list.to_string().contains("sp_"));

    let twice = folder.run(&["token", "add", "panel"]);
    assert_eq!(twice.status.code(), Some(1), "{twice:?}");
    let bad = folder.run(&["token", "add", "two words"]);
    assert_eq!(bad.status.code(), Some(64), "{bad:?}");
    assert!(stderr(&bad).contains("two words"));

    assert_eq!(folder.stdout(&["token", "remove", "panel"]), "");
    let removed = Instant::now();
    while get(&server, &panel, "settings").status == 200 {
        assert!(removed.elapsed() < Duration::from_secs(1));
    }
    assert_eq!(get(&server, &panel, "settings").status, 401);
    let gone = folder.run(&["token", "remove", "panel"]);
    assert_eq!(gone.status.code(), Some(1), "{gone:?}");
}

#[test]
fn wrong_tokens_are_limited_and_the_right_one_is_let_in_beside_them() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let panel = token(&folder, "panel", &[]);
    let limited = (0..100)
        .map(|number| get(&server, &format!("sp_{number}"), "settings"))
        .find(|answer| answer.status != 401)
        .expect("a limit");
    assert_eq!((limited.status, limited.code()), (429, "too-many-failures"));
    assert!(limited.head.contains("retry-after: "), "{}", limited.head);
    assert_eq!(get(&server, &panel, "settings").status, 200);
    // One that is new must not be taken for one of the wrong ones.
    let other = token(&folder, "other", &[]);
    let since = Instant::now();
    while get(&server, &other, "settings").status != 200 {
        assert!(since.elapsed() < Duration::from_secs(1));
    }
}

#[test]
fn a_read_only_token_looks_at_everything_and_changes_nothing() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let look = token(&folder, "look", &["--read-only"]);
    for path in [
        "settings",
        "settings/limits.max_inflight",
        "revisions",
        "ports",
    ] {
        assert_eq!(get(&server, &look, path).status, 200, "{path}");
    }
    for request in [
        "PATCH /api/v1/settings",
        "POST /api/v1/settings/reload",
        "POST /api/v1/revisions/1/rollback",
    ] {
        let answer = ask(
            &server,
            &look,
            request,
            &set("limits.max_inflight", json!(7)),
        );
        assert_eq!(
            (answer.status, answer.code()),
            (403, "read-only-token"),
            "{request}"
        );
    }
    assert_eq!(shown(&folder, "limits.max_inflight"), "64");
}

#[test]
fn a_change_holds_at_once_and_the_history_names_the_token() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let panel = token(&folder, "panel", &[]);
    folder.stdout(&[
        "device", "add", "--name", "plug-1", "--tag", "kitchen", "--host", "hub.lan", "tasmota",
    ]);
    let body = json!({"reason": "busy plugs", "changes": [
        {"key": "limits.max_inflight", "value": 100},
        {"key": "advertise.avoid", "value": ["10.9.0.0/16"]},
        {"key": "advertise.tls", "value": true, "tag": "kitchen"},
    ]});
    let done = patch(&server, &panel, &body);
    assert_eq!(done.status, 200, "{}", done.body);
    assert_eq!(done.body["state"], "live");
    assert_eq!(done.body["who"], "api:panel");
    let revision = done.body["revision"].as_u64().expect("a revision");
    assert_eq!(shown(&folder, "limits.max_inflight"), "100");
    assert_eq!(shown(&folder, "advertise.avoid"), "[\"10.9.0.0/16\"]");

    let history = folder.json(&["config", "history"]);
    assert_eq!(history[0]["who"], "api:panel");
    assert_eq!(history[0]["reason"], "busy plugs");
    assert_eq!(history[0]["changes"].as_array().map(Vec::len), Some(3));
    let one = get(&server, &panel, &format!("revisions/{revision}"));
    assert_eq!(one.body, history[0]);
    let newest = get(&server, &panel, "revisions?limit=1");
    assert_eq!(newest.body["revisions"], json!([history[0]]));

    let key = get(&server, &panel, "settings/limits.max_inflight");
    let explained = folder.json(&["config", "explain", "limits.max_inflight"]);
    assert_eq!(key.body, explained);
    assert_eq!(key.body["running"], "100");

    let told = get(&server, &panel, "settings/advertise.tls?device=plug-1");
    assert_eq!(told.body["value"], "true", "{}", told.body);
    assert_eq!(
        get(&server, &panel, "settings/advertise.tls").body["value"],
        "false"
    );

    // The same again is no change, and null takes a value back.
    let again = patch(&server, &panel, &body);
    assert_eq!(
        (again.status, &again.body["state"]),
        (200, &json!("unchanged"))
    );
    let back = patch(&server, &panel, &set("limits.max_inflight", Value::Null));
    assert_eq!(back.status, 200, "{}", back.body);
    assert_eq!(shown(&folder, "limits.max_inflight"), "64");
    let all = get(&server, &panel, "settings");
    assert_eq!(all.body["revision"], back.body["revision"]);
}

#[test]
fn every_mistake_of_a_request_is_named_and_nothing_of_it_is_done() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let panel = token(&folder, "panel", &[]);
    let answer = patch(
        &server,
        &panel,
        &json!({"changes": [
            {"key": "limits.max_queued_messages", "value": 500},
            {"key": "mqtt.bind", "value": "127.0.0.1:1"},
            {"key": "limits.max_infligt", "value": 1},
            {"key": "limits.max_inflight", "value": 0},
            {"key": "limits.max_inflight", "value": {"a": 1}},
            {"key": "limits.max_inflight", "value": 9, "tag": "kitchen"},
            {"key": "advertise.tls", "value": true, "device": "nobody"},
            {"key": "advertise.tls", "value": true, "device": "a", "tag": "b"},
        ]}),
    );
    assert_eq!(
        (answer.status, answer.code()),
        (422, "problems"),
        "{}",
        answer.body
    );
    let keys: Vec<&str> = answer.problems().into_iter().map(|(key, _)| key).collect();
    assert_eq!(
        keys,
        [
            "mqtt.bind",
            "limits.max_infligt",
            "limits.max_inflight",
            "limits.max_inflight",
            "limits.max_inflight",
            "advertise.tls",
            "advertise.tls"
        ]
    );
    assert_eq!(
        answer.problems()[0].1,
        "mqtt.bind can only be set on the machine itself"
    );
    for problem in answer.body["error"]["problems"].as_array().unwrap() {
        assert_eq!(problem["source"], "request", "{problem}");
        assert_ne!(problem["help"], "", "{problem}");
    }
    assert!(
        get(&server, &panel, "revisions")
            .body
            .to_string()
            .find("api:")
            .is_none()
    );
    assert_ne!(shown(&folder, "limits.max_queued_messages"), "500");

    for (body, why) in [
        ("{", "EOF"),
        ("[]", "invalid"),
        (
            "{\"changes\": [{\"key\": \"a.b\"}]}",
            "missing field `value`",
        ),
        (
            "{\"changes\": [], \"force\": true}",
            "unknown field `force`",
        ),
    ] {
        let headers = format!("Authorization: Bearer {panel}\r\n");
        let answer = send(&server, "PATCH /api/v1/settings", &headers, body);
        assert_eq!(
            (answer.status, answer.code()),
            (400, "bad-request"),
            "{body}"
        );
        assert!(answer.body.to_string().contains(why), "{}", answer.body);
    }
    let long = "x".repeat(65 * 1024);
    let answer = patch(&server, &panel, &set("server.name", json!(long)));
    assert_eq!(
        (answer.status, answer.code()),
        (413, "too-large"),
        "{}",
        answer.body
    );
    for path in [
        "revisions?limit=0",
        "revisions?limit=x",
        "revisions?deep=1",
        "revisions/x",
    ] {
        assert_eq!(get(&server, &panel, path).status, 400, "{path}");
    }
    for path in [
        "nothing",
        "settings/mqtt.bin",
        "revisions/999",
        "settings/advertise.tls?device=x",
    ] {
        assert_eq!(get(&server, &panel, path).status, 404, "{path}");
    }
    assert_eq!(
        ask(&server, &panel, "DELETE /api/v1/settings", &Value::Null).status,
        405
    );
}

#[test]
fn what_a_file_pins_is_left_to_the_file() {
    let folder = Folder::new();
    folder.settings("[config]\npin = [\"limits.max_inflight\"]\n");
    let server = Server::start(&folder, &[]);
    let panel = token(&folder, "panel", &[]);
    let answer = patch(&server, &panel, &set("limits.max_inflight", json!(30)));
    assert_eq!(
        answer.problems(),
        [("limits.max_inflight", "limits.max_inflight is pinned")]
    );
    let source = &answer.body["error"]["problems"][0]["source"];
    assert_eq!(source["line"], 2, "{source}");
}

#[test]
fn of_two_writers_on_one_key_the_second_learns_who_was_first() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let (anna, ben) = (token(&folder, "anna", &[]), token(&folder, "ben", &[]));
    let base = get(&server, &anna, "settings").body["revision"].clone();
    let on_base =
        |key: &str, value: u32| json!({"base": base, "changes": [{"key": key, "value": value}]});
    let first = patch(&server, &anna, &on_base("limits.max_inflight", 30));
    assert_eq!(first.status, 200, "{}", first.body);
    let second = patch(&server, &ben, &on_base("limits.max_inflight", 40));
    assert_eq!(
        (second.status, second.code()),
        (409, "conflict"),
        "{}",
        second.body
    );
    let error = &second.body["error"];
    assert_eq!(error["key"], "limits.max_inflight");
    assert_eq!(error["theirs"]["who"], "api:anna");
    assert_eq!(error["theirs"]["revision"], first.body["revision"]);
    assert_eq!(error["theirs"]["at"], first.body["at"]);
    assert_eq!(error["yours"]["who"], "api:ben");
    assert_eq!(shown(&folder, "limits.max_inflight"), "30");
    // Another key is nobody's conflict.
    let other = patch(&server, &ben, &on_base("limits.max_queued_messages", 50));
    assert_eq!(other.status, 200, "{}", other.body);
}

#[test]
fn writers_at_the_same_time_are_all_told_what_became_of_their_change() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let panel = token(&folder, "panel", &[]);
    let mut landed = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..6)
            .map(|number| {
                let (server, panel) = (&server, &panel);
                let value = 100 + number;
                scope.spawn(move || {
                    let answer = patch(
                        server,
                        panel,
                        &set("limits.max_queued_messages", json!(value)),
                    );
                    assert!(matches!(answer.status, 200 | 423), "{}", answer.body);
                    (answer.status == 200).then(|| (answer.body["revision"].as_u64(), value))
                })
            })
            .collect();
        let ended = writers
            .into_iter()
            .map(|writer| writer.join().expect("an answer"));
        ended.flatten().collect::<Vec<_>>()
    });
    landed.sort_unstable();
    let (_, value) = landed.last().expect("at least one lands");
    assert_eq!(
        shown(&folder, "limits.max_queued_messages"),
        value.to_string()
    );
}

#[test]
fn a_change_that_waits_for_its_confirmation_keeps_others_out() {
    let folder = Folder::new();
    let [mqtt, http, other, _] = support::free_ports();
    folder.settings(&format!(
        "[mqtt]\nbind = \"127.0.0.1:{mqtt}\"\n[mqtts]\nenabled = false\n\
         [http]\nbind = \"127.0.0.1:{http}\"\n[https]\nenabled = false\n"
    ));
    let server = Server::start_from_file(&folder);
    let panel = token(&folder, "panel", &[]);
    let moved = folder.json(&["config", "set", "http.bind", &format!("127.0.0.1:{other}")]);
    assert_eq!(moved["state"], "unconfirmed", "{moved}");
    let refused = patch(&server, &panel, &set("limits.max_inflight", json!(30)));
    assert_eq!(
        (refused.status, refused.code()),
        (423, "pending"),
        "{}",
        refused.body
    );
    let pending = &refused.body["error"]["pending"];
    assert_eq!(pending["revision"], moved["revision"]);
    assert_eq!(pending["who"], "cli:tester");
    assert_eq!(pending["state"], "unconfirmed");
}

#[test]
fn secrets_are_in_no_answer() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let panel = token(&folder, "panel", &[]);
    let secret = "hunter2-hunter2-hunter2";
    let done = patch(&server, &panel, &set("http.metrics_token", json!(secret)));
    assert_eq!(done.status, 200, "{}", done.body);
    let metrics = server.http("/metrics", &format!("Authorization: Bearer {secret}\r\n"));
    assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
    let short = patch(
        &server,
        &panel,
        &set("http.metrics_token", json!("hunter2")),
    );
    assert_eq!(short.status, 422);
    assert!(
        !short.body.to_string().contains("hunter2"),
        "{}",
        short.body
    );
    assert!(done.body.to_string().contains("(secret)"));
    assert!(!done.body.to_string().contains("hunter2"));
    for path in [
        "settings",
        "settings/http.metrics_token",
        "revisions",
        "ports",
    ] {
        let body = get(&server, &panel, path).body.to_string();
        assert!(!body.contains("hunter2"), "{path}: {body}");
    }
    assert!(!server.log().contains("hunter2") && !server.log().contains(&panel));
}

#[test]
fn a_rollback_takes_managed_values_back_and_leaves_files_to_the_command_line() {
    let folder = Folder::new();
    let file = folder.settings("[limits]\nmax_queued_messages = 70\n");
    let server = Server::start(&folder, &[]);
    let panel = token(&folder, "panel", &[]);
    let first = patch(&server, &panel, &set("limits.max_inflight", json!(30)));
    patch(&server, &panel, &set("limits.max_inflight", json!(40)));
    let path = format!("POST /api/v1/revisions/{}/rollback", first.body["revision"]);
    let back = ask(&server, &panel, &path, &json!({"reason": "too many"}));
    assert_eq!(back.status, 200, "{}", back.body);
    assert_eq!(back.body["kind"], "rollback");
    assert_eq!(back.body["who"], "api:panel");
    assert_eq!(back.body["reason"], "too many");
    assert_eq!(shown(&folder, "limits.max_inflight"), "30");

    std::fs::write(&file, "[limits]\nmax_queued_messages = 80\n").expect("written");
    let reloaded = ask(
        &server,
        &panel,
        "POST /api/v1/settings/reload",
        &Value::Null,
    );
    assert_eq!(reloaded.status, 200, "{}", reloaded.body);
    let key = get(&server, &panel, "settings/limits.max_queued_messages");
    assert_eq!(key.body["running"], "80");
    let refused = ask(&server, &panel, &path, &Value::Null);
    assert_eq!(
        (refused.status, refused.code()),
        (409, "files-differ"),
        "{}",
        refused.body
    );
    let next = refused.body["error"]["next"].as_str().expect("a next step");
    assert!(next.contains("config rollback"), "{next}");
    assert_eq!(shown(&folder, "limits.max_queued_messages"), "80");

    std::fs::write(&file, "[limits]\nmax_queued_messages = none\n").expect("written");
    let broken = ask(
        &server,
        &panel,
        "POST /api/v1/settings/reload",
        &Value::Null,
    );
    assert_eq!(
        (broken.status, broken.code()),
        (422, "problems"),
        "{}",
        broken.body
    );
    // What is in force can be looked at although the files of now have mistakes.
    let look = get(&server, &panel, "settings");
    assert_eq!(look.status, 200, "{}", look.body);
    assert!(look.body["degraded"].is_string(), "{}", look.body);
}

#[test]
fn ports_are_as_the_command_shows_them() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let panel = token(&folder, "panel", &[]);
    let ports = get(&server, &panel, "ports");
    assert_eq!(ports.status, 200, "{}", ports.body);
    let listed = ports.body["ports"].as_array().expect("ports");
    assert!(!listed.is_empty());
    for port in listed {
        assert_eq!(port["state"], "bound", "{port}");
    }
    assert_eq!(ports.body["server"], server.pid());
}
