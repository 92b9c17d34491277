//! Changes of settings beside a running server, and what is left of them when something goes wrong
//! at the worst moment.

mod support;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::{Folder, Server, finish, free_ports, stderr};

/// A server whose listeners stand in its settings file, so that they can be changed there.
struct House {
    // Dropped before its folder: what still writes there would leave files behind.
    server: Server,
    folder: Folder,
    mqtt: u16,
    http: u16,
}

impl House {
    fn new(more: &str) -> House {
        let folder = Folder::new();
        let [mqtt, http, ..] = free_ports();
        folder.settings(&format!(
            "[mqtt]\nbind = \"127.0.0.1:{mqtt}\"\n[mqtts]\nenabled = false\n\
             [http]\nbind = \"127.0.0.1:{http}\"\n[https]\nenabled = false\n{more}"
        ));
        let server = Server::start_from_file(&folder);
        House {
            server,
            folder,
            mqtt,
            http,
        }
    }

    fn file(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("safeport.toml")).expect("the file")
    }

    fn set(&self, arguments: &[&str]) -> std::process::Output {
        self.folder.run(&[&["config", "set"], arguments].concat())
    }

    /// `config set` that goes on by itself.
    fn begin(&self, arguments: &[&str]) -> Child {
        self.folder
            .safeport(&[&["config", "set"], arguments].concat())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("safeport starts")
    }

    fn newest(&self) -> Value {
        self.folder.json(&["config", "history", "--limit", "1"])[0].clone()
    }

    /// Stops the server in its tracks, at a moment when it writes nothing.
    fn freeze(&self) {
        self.eventually("first proofs", |house| {
            let ports = house.folder.json(&["ports"]);
            let addresses = ports["advertised"].as_array().expect("addresses");
            addresses.iter().all(|row| row["state"] == "verified")
        });
        std::thread::sleep(Duration::from_millis(300));
        self.server.signal(Signal::STOP);
    }

    fn eventually(&self, what: &str, is_so: impl Fn(&House) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_so(self) {
            assert!(
                Instant::now() < deadline,
                "{what}: {}\n{}",
                self.newest(),
                self.server.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(
            Path::new("/proc")
                .join(self.server.pid().to_string())
                .join("fd"),
        )
        .expect("our own server's descriptors")
        .count()
    }
}

/// What the server uses, as `config show --json` tells it.
fn running(shown: &Value, key: &str) -> String {
    shown
        .as_array()
        .expect("values")
        .iter()
        .find(|entry| entry["key"] == key)
        .and_then(|entry| entry["running"].as_str().or(entry["value"].as_str()))
        .expect("the key")
        .trim_matches('"')
        .to_owned()
}

fn answers(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

#[test]
fn a_listener_that_moves_to_another_address_of_the_same_port_can_be_confirmed() {
    let house = House::new("");
    let to = format!("127.0.0.2:{}", house.http);
    let done = house.set(&["http.bind", &to, "--confirm"]);
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    assert_eq!(house.newest()["state"], "live");
    assert!(house.file().contains(&to));
}

#[test]
fn changes_of_a_port_leave_no_descriptor_behind() {
    let house = House::new("");
    let [one, two, ..] = free_ports();
    let change = |port: u16| {
        let done = house.set(&["mqtt.bind", &format!("127.0.0.1:{port}")]);
        assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    };
    change(one);
    let before = house.descriptors();
    for _ in 0..10 {
        change(two);
        change(one);
    }
    // Probes of the addresses come and go.
    house.eventually("descriptors", |house| house.descriptors() <= before + 2);
    assert!(answers(one) && !answers(two) && !answers(house.mqtt));
}

#[test]
fn changes_made_at_once_all_hold_and_the_file_agrees_with_the_server() {
    let house = House::new("");
    let keys = [
        ("limits.max_inflight", "11"),
        ("limits.max_topic_levels", "12"),
        ("limits.receive_maximum", "13"),
        ("server.name", "Attic"),
    ];
    let begun = keys.map(|(key, value)| house.begin(&[key, value, "--file"]));
    for mut child in begun {
        assert!(child.wait().expect("an end").success());
    }
    let shown = house.folder.json(&["config", "show"]);
    for (key, value) in keys {
        assert_eq!(running(&shown, key), value, "{key}");
        assert!(house.file().contains(value), "{}", house.file());
    }
}

#[test]
fn a_refused_change_is_put_back_although_its_command_is_gone() {
    let house = House::new("");
    let before = house.file();
    let theirs = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = theirs.local_addr().expect("an address");
    // The command has staged it, the server has not looked yet: then the command dies.
    house.freeze();
    let mut command = house.begin(&["mqtt.bind", &taken.to_string()]);
    house.eventually("staged", |house| house.newest()["state"] == "staged");
    assert_ne!(house.file(), before);
    command.kill().expect("killed");
    command.wait().expect("an end");
    house.server.signal(Signal::CONT);
    house.eventually("refused", |house| house.newest()["state"] == "refused");
    assert_eq!(house.file(), before);
    assert!(answers(house.mqtt));
}

#[test]
fn a_change_that_was_staged_when_its_server_died_is_taken_up_by_the_next_one() {
    let mut house = House::new("");
    house.freeze();
    let mut command = house.begin(&["limits.max_inflight", "17"]);
    house.eventually("staged", |house| house.newest()["state"] == "staged");
    command.kill().expect("killed");
    command.wait().expect("an end");
    house.server.signal(Signal::KILL);
    house.server.ended(Duration::from_secs(5));
    house.server = Server::start_from_file(&house.folder);
    house.eventually("taken up", |house| house.newest()["state"] == "live");
    let done = house.set(&["limits.max_inflight", "18"]);
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
}

#[test]
fn a_file_that_the_server_does_not_read_is_not_written_for_it() {
    let house = House::new("");
    let other = house.folder.path().join("other.toml");
    std::fs::write(&other, house.file()).expect("a second file");
    let before = house.file();
    let done = house.set(&[
        "mqtt.bind",
        "127.0.0.1:1",
        "--config",
        other.to_str().expect("text"),
    ]);
    assert_eq!(done.status.code(), Some(64), "{}", stderr(&done));
    let said = stderr(&done);
    assert!(
        said.contains("safeport.toml") && said.contains("other.toml"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(&other).expect("a file"), before);
    // By another name it is the same file.
    let link = house.folder.path().join("link.toml");
    std::os::unix::fs::symlink(house.folder.path().join("safeport.toml"), &link).expect("a link");
    let done = house.set(&[
        "limits.max_inflight",
        "21",
        "--file",
        "--config",
        link.to_str().expect("text"),
    ]);
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    assert!(house.file().contains("max_inflight = 21"));
}

#[test]
fn whoever_writes_a_key_that_a_drop_in_sets_is_told_who_wins() {
    let house = House::new("");
    let drop_ins = house.folder.path().join("conf.d");
    std::fs::create_dir(&drop_ins).expect("a folder");
    std::fs::write(drop_ins.join("10.toml"), "[limits]\nmax_inflight = 7\n").expect("a drop-in");
    house.folder.stdout(&["config", "reload"]);
    let done = house.set(&["limits.max_inflight", "9", "--file"]);
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    assert!(stderr(&done).contains("10.toml"), "{}", stderr(&done));
}

#[test]
fn managed_values_hold_on_when_a_reloaded_file_names_another_data_folder() {
    let folder = Folder::new();
    let [mqtt, http, ..] = free_ports();
    let text = |data: &str| {
        format!(
            "[server]\ndata = \"{}\"\n[mqtt]\nbind = \"127.0.0.1:{mqtt}\"\n\
             [mqtts]\nenabled = false\n[http]\nbind = \"127.0.0.1:{http}\"\n\
             [https]\nenabled = false\n",
            folder.path().join(data).display()
        )
    };
    let run = |arguments: &[&str]| {
        let mut command = folder.safeport(arguments);
        command.env_remove("SAFEPORT__SERVER__DATA");
        command
    };
    folder.settings(&text("one"));
    let server = Server::spawn(run(&["serve", "--json"]));
    let done = finish(run(&["config", "set", "limits.max_inflight", "19"]));
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    folder.settings(&text("two"));
    server.signal(Signal::HUP);
    server.says("server.data");
    let one = folder.path().join("one");
    let one = one.to_str().expect("text");
    let shown = finish(run(&["config", "show", "--json", "--data", one]));
    let shown = String::from_utf8(shown.stdout).expect("text");
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(running(&shown, "limits.max_inflight"), "19");
}

#[test]
fn what_was_reloaded_by_a_command_is_what_a_later_start_falls_back_to() {
    let mut house = House::new("");
    house
        .folder
        .settings(&format!("{}[limits]\nmax_inflight = 23\n", house.file()));
    house.folder.stdout(&["config", "reload"]);
    let good = house.file();
    house.folder.settings("[limits]\nmax_inflight = many\n");
    house.server.signal(Signal::KILL);
    house.server.ended(Duration::from_secs(5));
    house.server = Server::start_from_file(&house.folder);
    assert!(answers(house.mqtt), "{}", house.server.log());
    house.folder.settings(&good);
    let explained = house
        .folder
        .stdout(&["config", "explain", "limits.max_inflight"]);
    assert!(explained.contains("23"), "{explained}");
    let shown = house.folder.json(&["config", "show"]);
    assert_eq!(running(&shown, "limits.max_inflight"), "23");
}

#[test]
fn names_that_belong_to_the_server_itself_are_no_users() {
    let folder = Folder::new();
    let done = finish(folder.safeport(&["user", "add", "$safeport"]));
    assert_eq!(done.status.code(), Some(64), "{}", stderr(&done));
}

#[test]
fn a_listener_never_moves_onto_a_port_that_another_one_of_ours_wants() {
    let folder = Folder::new();
    let theirs = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = theirs.local_addr().expect("an address").port();
    let [http, ..] = free_ports();
    // The only port of the range is free now, and HTTP's a moment later.
    folder.settings(&format!(
        "[mqtt]\nbind = \"127.0.0.1:{taken}\"\non_conflict = \"{http}-{http}\"\n\
         [mqtts]\nenabled = false\n[http]\nbind = \"127.0.0.1:{http}\"\n[https]\nenabled = false\n"
    ));
    let done = finish(folder.safeport(&["serve", "--json"]));
    assert_eq!(done.status.code(), Some(1), "{}", stderr(&done));
    assert!(
        stderr(&done).contains("mqtt.on_conflict"),
        "{}",
        stderr(&done)
    );
}
