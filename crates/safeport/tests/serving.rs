//! The running server, from the outside.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use safeport_mqtt::Version;
use support::{Client, Folder, Server, connect, connect_packet, feed, stderr};

/// CONNACK return codes of MQTT 3.1.1, table 3.1.
const ACCEPTED: u8 = 0;
const IDENTIFIER_REJECTED: u8 = 2;
const SERVER_UNAVAILABLE: u8 = 3;
const BAD_USER_NAME_OR_PASSWORD: u8 = 4;
const NOT_AUTHORIZED: u8 = 5;

#[test]
fn an_open_server_accepts_everyone_within_200_ms() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--open"]);
    let mut client = server.mqtt();
    let start = Instant::now();
    assert_eq!(client.login("plug", None), ACCEPTED);
    assert!(start.elapsed() < Duration::from_millis(200));
    assert_eq!(
        server.mqtt().login("other", Some(("any", "thing"))),
        ACCEPTED
    );
    server.says("anonymous clients are admitted");
}

#[test]
fn a_server_without_logins_refuses_everyone_and_says_how_to_add_one() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    assert_eq!(server.info["logins"], 0);
    assert_eq!(server.mqtt().login("plug", None), NOT_AUTHORIZED);
    assert_eq!(
        server.mqtt().login("plug", Some(("a", "b"))),
        BAD_USER_NAME_OR_PASSWORD
    );
    server.says("safeport device add` or `");
}

#[test]
fn the_banner_names_listeners_data_folder_and_the_next_command_as_the_server_was_called() {
    let path = Path::new(env!("CARGO_BIN_EXE_safeport"));
    for program in [path, Path::new("safeport")] {
        let said = banner(program, path.parent().expect("its folder"));
        assert!(said.contains("Data folder: "), "{said}");
        for command in ["device add tasmota --name plug-1", "user add me"] {
            let line = format!("\n  {} {command} --data ", program.display());
            assert!(said.contains(&line), "no {line:?} in\n{said}");
        }
    }
}

/// What `program serve` says when it is up, with `search` as the place where programs are found.
fn banner(program: &Path, search: &Path) -> String {
    let folder = Folder::new();
    let [mqtt, http, ..] = support::free_ports();
    let mut command = std::process::Command::new(program);
    command
        .arg("serve")
        .env_clear()
        .env("PATH", search)
        .env("HOME", folder.path())
        .env("LANG", "C")
        .env("SAFEPORT__SERVER__DATA", folder.data())
        .current_dir(folder.path())
        .env("SAFEPORT__MQTT__BIND", format!("127.0.0.1:{mqtt}"))
        .env("SAFEPORT__MQTTS__ENABLED", "false")
        .env("SAFEPORT__HTTP__BIND", format!("127.0.0.1:{http}"))
        .env("SAFEPORT__HTTPS__ENABLED", "false")
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("safeport starts");
    let mut said = String::new();
    let mut stderr = std::io::BufReader::new(child.stderr.take().expect("stderr"));
    while !said.contains("mosquitto_sub") {
        let mut line = String::new();
        let count = std::io::BufRead::read_line(&mut stderr, &mut line).expect("a line");
        assert!(count > 0, "ended early:\n{said}");
        said.push_str(&line);
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    said
}

#[test]
fn a_taken_port_names_key_holder_and_way_out() {
    let folder = Folder::new();
    let held = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = held.local_addr().expect("an address").port();
    let mut command = folder.safeport(&["serve"]);
    command.env("SAFEPORT__MQTT__BIND", format!("127.0.0.1:{port}"));
    let output = support::finish(command);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = stderr(&output);
    let holder = format!("pid {}", std::process::id());
    for part in ["mqtt.bind", &port.to_string(), &holder, "another port"] {
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
}

#[test]
fn a_second_server_on_the_same_folder_is_refused_and_the_first_one_named() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--open"]);
    let command = folder.safeport(&["serve"]);
    let output = support::finish(command);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = stderr(&output);
    assert!(said.contains(&server.pid().to_string()), "{said}");
    assert!(said.contains("--data"), "{said}");
}

#[test]
fn a_login_added_while_the_server_runs_works_and_its_removal_ends_its_connections() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    folder.add_user("anna", "secret", &[]);
    folder.add_user("bert", "secret", &[]);
    let mut anna = logged_in(&server, "a", ("anna", "secret"));
    let mut bert = logged_in(&server, "b", ("bert", "secret"));
    folder.stdout(&["user", "remove", "anna"]);
    let after = anna.closed_after();
    assert!(after < Duration::from_secs(1), "{after:?}");
    assert!(bert.is_alive());
    assert_eq!(
        server.mqtt().login("a", Some(("anna", "secret"))),
        BAD_USER_NAME_OR_PASSWORD
    );
}

#[test]
fn a_new_password_and_new_rights_end_connections_with_the_old_ones() {
    let folder = Folder::new();
    folder.add_user("anna", "secret", &[]);
    let server = Server::start(&folder, &[]);
    let mut anna = logged_in(&server, "a", ("anna", "secret"));
    let changed = feed(
        folder.safeport(&["user", "passwd", "anna", "--password-stdin"]),
        "other",
    );
    assert_eq!(changed.status.code(), Some(0), "{changed:?}");
    assert!(anna.closed_after() < Duration::from_secs(1));
    assert_eq!(
        server.mqtt().login("a", Some(("anna", "secret"))),
        BAD_USER_NAME_OR_PASSWORD
    );
    let mut anna = logged_in(&server, "a", ("anna", "other"));
    folder.stdout(&["user", "rights", "anna", "--subscribe", "tele/#"]);
    assert!(anna.closed_after() < Duration::from_secs(1));
    assert_eq!(server.mqtt().login("a", Some(("anna", "other"))), ACCEPTED);
}

#[test]
fn what_a_command_has_just_changed_holds_for_the_very_next_login() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    for name in ["u1", "u2", "u3"] {
        // Known to be no login, and so remembered.
        assert_eq!(
            server.mqtt().login(name, Some((name, "secret"))),
            BAD_USER_NAME_OR_PASSWORD
        );
        folder.add_user(name, "secret", &[]);
        logged_in(&server, name, (name, "secret"));
        folder.stdout(&["user", "disable", name]);
        folder.stdout(&["user", "enable", name]);
        logged_in(&server, name, (name, "secret"));
        assert_eq!(
            server.mqtt().login(name, Some((name, "other"))),
            BAD_USER_NAME_OR_PASSWORD
        );
        let changed = feed(
            folder.safeport(&["user", "passwd", name, "--password-stdin"]),
            "other",
        );
        assert_eq!(changed.status.code(), Some(0), "{changed:?}");
        logged_in(&server, name, (name, "other"));
    }
}

#[test]
fn too_many_wrong_passwords_shut_the_name_out_and_are_logged_once() {
    let folder = Folder::new();
    folder.add_user("anna", "secret", &[]);
    let server = Server::start_with(
        &folder,
        &[],
        &[
            ("SAFEPORT__MQTTS__ENABLED", "false"),
            ("SAFEPORT__LIMITS__FAILED_LOGINS_PER_MINUTE", "9"),
        ],
    );
    for _ in 0..3 {
        let code = server.mqtt().login("a", Some(("anna", "wrong")));
        assert_eq!(code, BAD_USER_NAME_OR_PASSWORD);
    }
    let start = Instant::now();
    let code = server.mqtt().login("a", Some(("anna", "secret")));
    assert_eq!(code, SERVER_UNAVAILABLE);
    assert!(start.elapsed() < Duration::from_millis(200));
    server.says("limits.failed_logins_per_minute");
    let log = server.log();
    assert_eq!(log.matches("the password is wrong").count(), 1, "{log}");
    let metrics = server.http("/metrics", "");
    assert!(
        metrics.contains("safeport_logins_total{outcome=\"wrong_password\"} 3"),
        "{metrics}"
    );
    assert!(
        metrics.contains("safeport_logins_total{outcome=\"too_many_failures\"} 1"),
        "{metrics}"
    );
}

#[test]
fn no_login_takes_over_the_session_of_a_device() {
    let folder = Folder::new();
    let add = |name| {
        folder.json(&[
            "device",
            "add",
            "plain",
            "--name",
            name,
            "--host",
            "127.0.0.1",
        ])["password"]
            .as_str()
            .expect("a password")
            .to_owned()
    };
    let (one, two) = (add("plug-1"), add("plug-2"));
    folder.add_user("anna", "secret", &[]);
    let server = Server::start(&folder, &[]);
    let mut plug = logged_in(&server, "plug-1", ("plug-1", &one));
    for login in [("plug-2", two.as_str()), ("anna", "secret")] {
        assert_eq!(
            server.mqtt().login("plug-1", Some(login)),
            IDENTIFIER_REJECTED
        );
    }
    assert!(plug.is_alive());
}

#[test]
fn a_burst_of_devices_after_a_power_cut_is_let_in_within_tasmotas_patience() {
    let folder = Folder::new();
    let added = folder.json(&[
        "device",
        "add",
        "plain",
        "--name",
        "plug-1",
        "--host",
        "127.0.0.1",
    ]);
    let password = added["password"].as_str().expect("a password");
    let server = Server::start(&folder, &[]);
    let start = Instant::now();
    let mut clients: Vec<Client> = (0..300).map(|_| server.mqtt()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let packet = connect_packet(
            Version::V311,
            &format!("board-{number}"),
            Some(("plug-1", password)),
        );
        client.0.write_all(&packet).expect("sent");
    }
    for client in &mut clients {
        let mut connack = [0; 4];
        client.0.read_exact(&mut connack).expect("a CONNACK");
        assert_eq!(connack[3], ACCEPTED);
    }
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn health_metrics_and_pages_answer() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--open"]);
    let mut client = server.mqtt();
    client.login("plug", None);
    assert!(server.http("/healthz", "").starts_with("HTTP/1.1 200 "));
    std::thread::sleep(Duration::from_millis(1200));
    let metrics = server.http("/metrics", "");
    for line in [
        "safeport_mqtt_connections 1\n",
        "# TYPE safeport_mqtt_messages_received counter\n",
        "safeport_logins_total{outcome=\"admitted\"} 1\n",
        "process_resident_memory_bytes ",
        "process_open_fds ",
        "process_cpu_seconds_total ",
    ] {
        assert!(metrics.contains(line), "no {line:?} in\n{metrics}");
    }
    assert!(metrics.contains("text/plain; version=0.0.4"));
    let modern = server.http("/metrics", "Accept: application/openmetrics-text\r\n");
    assert!(modern.contains("application/openmetrics-text; version=1.0.0"));
    assert!(modern.ends_with("# EOF\n"));
    assert!(server.http("/", "").contains("Safeport"));
    assert!(
        server
            .http("/", "Accept-Language: zh-CN,zh\r\n")
            .contains("服务器")
    );
    let missing = server.http("/nothing", "");
    assert!(
        missing.starts_with("HTTP/1.1 404 ") && missing.contains("/mqtt"),
        "{missing}"
    );
}

#[test]
fn metrics_show_what_waits_for_clients_and_how_large_the_log_is() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--open"]);
    let empty = metric(&server, "safeport_mqtt_log_bytes");
    let mut sleeper = server.mqtt();
    let mut connect = connect_packet(Version::V311, "sleeper", None);
    // No clean session: the session stays when the client has gone.
    connect[9] = 0;
    sleeper.exchange(&connect, &[0x20, 2, 0, ACCEPTED]);
    sleeper.exchange(b"\x82\x08\0\x01\0\x03a/b\x01", b"\x90\x03\0\x01\x01");
    drop(sleeper);
    let mut publisher = server.mqtt();
    assert_eq!(publisher.login("publisher", None), ACCEPTED);
    publisher.exchange(b"\x32\x09\0\x03a/b\0\x01hi", b"\x40\x02\0\x01");
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(metric(&server, "safeport_mqtt_stored_messages"), 1);
    // Three bytes of topic, two of payload.
    assert_eq!(metric(&server, "safeport_mqtt_stored_bytes"), 5);
    assert!(metric(&server, "safeport_mqtt_log_bytes") > empty);
}

fn metric(server: &Server, name: &str) -> u64 {
    let metrics = server.http("/metrics", "");
    let line = metrics.lines().find_map(|line| {
        let value = line.strip_prefix(name)?.strip_prefix(' ')?;
        value.trim().parse().ok()
    });
    line.unwrap_or_else(|| panic!("no {name} in\n{metrics}"))
}

const UPGRADE: &str = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n";

#[test]
fn mqtt_over_websocket_works_even_when_connect_comes_with_the_upgrade() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--open"]);
    let mut socket = connect(server.address("http"));
    let mut sent = format!("{UPGRADE}\r\n").into_bytes();
    sent.extend(masked(&connect_packet(Version::V311, "page", None)));
    socket.write_all(&sent).expect("sent");
    let head = until_blank_line(&mut socket);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    // RFC 6455 §1.3 gives this key and its answer.
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    assert!(
        head.to_ascii_lowercase()
            .contains("sec-websocket-protocol: mqtt"),
        "{head}"
    );
    let mut frame = [0; 6];
    socket.read_exact(&mut frame).expect("a frame");
    assert_eq!(
        frame,
        [0x82, 4, 0x20, 2, 0, 0],
        "a binary frame with CONNACK"
    );
    socket.write_all(&masked(&[0xc0, 0])).expect("sent");
    let mut pong = [0; 4];
    socket.read_exact(&mut pong).expect("a frame");
    assert_eq!(pong, [0x82, 2, 0xd0, 0]);
}

#[test]
fn a_websocket_counts_as_one_connection_of_http_until_it_is_closed() {
    let folder = Folder::new();
    let server = Server::start_with(
        &folder,
        &["--open"],
        &[
            ("SAFEPORT__MQTTS__ENABLED", "false"),
            ("SAFEPORT__HTTP__MAX_CONNECTIONS", "2"),
        ],
    );
    let websocket = |client_id| {
        let mut socket = connect(server.address("http"));
        let mut sent = format!("{UPGRADE}\r\n").into_bytes();
        sent.extend(masked(&connect_packet(Version::V311, client_id, None)));
        socket.write_all(&sent).expect("sent");
        assert!(until_blank_line(&mut socket).starts_with("HTTP/1.1 101 "));
        socket
            .read_exact(&mut [0; 6])
            .expect("a frame with CONNACK");
        socket
    };
    let one = websocket("one");
    assert!(server.http("/healthz", "").starts_with("HTTP/1.1 200 "));
    std::thread::sleep(Duration::from_millis(50));
    let two = websocket("two");
    std::thread::sleep(Duration::from_millis(50));
    let mut third = connect(server.address("http"));
    assert_eq!(third.read(&mut [0; 1]).unwrap_or(0), 0, "closed");
    server.says("http.max_connections");
    drop(one);
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        std::thread::sleep(Duration::from_millis(50));
        let mut socket = connect(server.address("http"));
        let request = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let mut answer = String::new();
        let _ = socket.write_all(request.as_bytes());
        let _ = socket.read_to_string(&mut answer);
        if answer.starts_with("HTTP/1.1 200 ") {
            break;
        }
        assert!(Instant::now() < deadline, "no room again: {answer:?}");
    }
    drop(two);
}

#[test]
fn websocket_requests_that_cannot_work_get_advice() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--open"]);
    let plain = server.http("/mqtt", "");
    assert!(
        plain.starts_with("HTTP/1.1 426 ") && plain.contains("proxy"),
        "{plain}"
    );
    let answer = |request: String| {
        let mut socket = connect(server.address("http"));
        socket.write_all(request.as_bytes()).expect("sent");
        until_blank_line(&mut socket)
    };
    let without = UPGRADE.replace("Sec-WebSocket-Protocol: mqtt\r\n", "");
    assert!(answer(format!("{without}\r\n")).starts_with("HTTP/1.1 400 "));
    let foreign = answer(format!("{UPGRADE}Origin: https://evil.example\r\n\r\n"));
    assert!(foreign.starts_with("HTTP/1.1 403 "), "{foreign}");
    let own = answer(format!("{UPGRADE}Origin: http://192.168.1.20:8123\r\n\r\n"));
    assert!(own.starts_with("HTTP/1.1 101 "), "{own}");
}

#[test]
fn mqtt_and_tls_on_the_http_port_are_named_in_the_log() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--open"]);
    let mut mqtt = connect(server.address("http"));
    mqtt.write_all(&connect_packet(Version::V311, "x", None))
        .expect("sent");
    let mut answer = Vec::new();
    mqtt.read_to_end(&mut answer)
        .expect("an answer and the end");
    assert_eq!(answer, b"\x20\x02\0\x03", "CONNACK: server unavailable");
    server.says("cause=\"wrong_service\"");
    let mut tls = connect(server.address("http"));
    tls.write_all(b"\x16\x03\x01\x00\x05hello").expect("sent");
    let mut answer = Vec::new();
    tls.read_to_end(&mut answer).expect("an answer and the end");
    assert_eq!(
        answer, b"\x15\x03\x03\0\x02\x02\x0a",
        "alert: unexpected message"
    );
    server.says("cause=\"tls_to_plain_port\"");
}

#[test]
fn sigterm_says_goodbye_and_exits_with_0_within_the_grace() {
    let folder = Folder::new();
    let mut server = Server::start(&folder, &["--open"]);
    let mut client = connect(server.address("mqtt"));
    client
        .write_all(&connect_packet(Version::V5, "five", None))
        .expect("sent");
    let mut head = [0; 2];
    client.read_exact(&mut head).expect("a CONNACK");
    let mut rest = vec![0; usize::from(head[1])];
    client.read_exact(&mut rest).expect("a CONNACK");
    server.signal(Signal::TERM);
    let mut goodbye = Vec::new();
    client
        .read_to_end(&mut goodbye)
        .expect("a DISCONNECT and the end");
    assert_eq!(goodbye.first(), Some(&0xe0), "{goodbye:?}");
    assert_eq!(goodbye.get(2), Some(&0x8b), "{goodbye:?}");
    assert_eq!(server.ended(Duration::from_secs(5)), Some(0));
    // The folder is free again.
    let again = Server::start(&folder, &["--open"]);
    assert_eq!(again.mqtt().login("x", None), ACCEPTED);
}

#[test]
fn systemd_is_told_ready_and_stopping() {
    let folder = Folder::new();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a timeout");
    let mut server = Server::start_with(
        &folder,
        &["--open"],
        &[
            ("SAFEPORT__MQTTS__ENABLED", "false"),
            ("NOTIFY_SOCKET", path.to_str().expect("text")),
            ("WATCHDOG_USEC", "200000"),
        ],
    );
    let mut told = String::new();
    let mut hear = |part: &str| {
        while !told.contains(part) {
            let mut message = [0; 512];
            let count = socket.recv(&mut message).expect("a message");
            told.push_str(&String::from_utf8_lossy(&message[..count]));
        }
    };
    hear("READY=1");
    hear("WATCHDOG=1");
    server.signal(Signal::INT);
    hear("STOPPING=1");
    assert_eq!(server.ended(Duration::from_secs(5)), Some(0));
}

#[test]
fn a_pretend_plug_logs_in_with_what_device_add_printed_in_the_clear_and_by_tls() {
    let folder = Folder::new();
    let added = folder.json(&[
        "device",
        "add",
        "tasmota",
        "--name",
        "plug-1",
        "--host",
        "127.0.0.1",
    ]);
    let password = added["password"].as_str().expect("a password");
    let server = Server::start_with(&folder, &[], &[]);
    let printed = folder.stdout(&["cert", "fingerprint"]);
    let fingerprint = printed.lines().next().expect("a line");
    let (mqtt, mqtts) = (server.port("mqtt"), server.port("mqtts"));
    for route in [
        &["--port", &mqtt][..],
        &["--port", &mqtts, "--fingerprint", fingerprint],
    ] {
        let mut arguments = vec![
            "simulate",
            "tasmota",
            "--username",
            "plug-1",
            "--password",
            password,
            "--seconds",
            "2",
        ];
        arguments.extend_from_slice(route);
        let summary = folder.json(&arguments);
        assert_eq!(
            summary["connected"],
            1,
            "{route:?} {summary}\n{}",
            server.log()
        );
        assert_eq!(summary["failures"], 0, "{summary}");
    }
}

#[test]
fn logs_can_be_json_and_the_banner_is_then_an_event() {
    let folder = Folder::new();
    let server = Server::start_with(
        &folder,
        &["--open"],
        &[
            ("SAFEPORT__MQTTS__ENABLED", "false"),
            ("SAFEPORT__LOG__FORMAT", "json"),
        ],
    );
    server.mqtt().login("plug", None);
    server.says("anonymous");
    for line in server.log().lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect("JSON lines");
        assert!(event["level"].is_string(), "{line}");
    }
}

#[test]
fn a_server_with_few_descriptors_survives_more_clients_than_it_can_hold() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--open"]);
    let pid = i32::try_from(server.pid()).expect("a pid");
    let held = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("what it holds");
    let few = Some(held.count() as u64 + 12);
    let limit = rustix::process::Rlimit {
        current: few,
        maximum: few,
    };
    rustix::process::prlimit(
        rustix::process::Pid::from_raw(pid),
        rustix::process::Resource::Nofile,
        limit,
    )
    .expect("the limit is set");
    let crowd: Vec<_> = (0..80).map(|_| connect(server.address("mqtt"))).collect();
    let pages: Vec<_> = (0..40).map(|_| connect(server.address("http"))).collect();
    std::thread::sleep(Duration::from_millis(300));
    drop((crowd, pages));
    let deadline = Instant::now() + Duration::from_secs(5);
    let answer = loop {
        let answer = server.http("/healthz", "");
        if answer.starts_with("HTTP/1.1 200 ") || Instant::now() > deadline {
            break answer;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(
        answer.starts_with("HTTP/1.1 200 "),
        "{answer}\n{}",
        server.log()
    );
    // The engine may still be closing what the crowd left open.
    let connect = connect_packet(Version::V311, "late", None);
    let accepted = loop {
        let mut client = server.mqtt();
        let mut connack = [0; 4];
        let answered = client
            .0
            .write_all(&connect)
            .and_then(|()| client.0.read_exact(&mut connack));
        if answered.is_ok() || Instant::now() > deadline {
            break connack;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(accepted, [0x20, 2, 0, ACCEPTED], "{}", server.log());
    assert!(server.log().lines().count() < 60, "{}", server.log());
}

/// A client that is let in at its first try.
fn logged_in(server: &Server, client_id: &str, login: (&str, &str)) -> Client {
    let mut client = server.mqtt();
    let code = client.login(client_id, Some(login));
    assert_eq!(code, ACCEPTED, "{}", server.log());
    client
}

/// A binary WebSocket frame as a client sends it, masked with a key of 1, 2, 3, 4.
fn masked(payload: &[u8]) -> Vec<u8> {
    let key = [1, 2, 3, 4];
    let length = u8::try_from(payload.len()).expect("a short payload");
    assert!(length < 126);
    let mut frame = vec![0x82, 0x80 | length];
    frame.extend(key);
    frame.extend(
        payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    frame
}

fn until_blank_line(socket: &mut std::net::TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).expect("the head of an answer");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("text")
}
