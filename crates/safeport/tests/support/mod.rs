//! The built binary, a data folder of its own for each test, and a client made of bytes.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use safeport_mqtt::{Connect, Packet, Properties, Version};
use serde_json::Value;
use tempfile::TempDir;

/// A folder that goes away with the test.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Writes a settings file.
    pub(crate) fn settings(&self, text: &str) -> PathBuf {
        let path = self.path().join("safeport.toml");
        std::fs::write(&path, text).expect("a settings file");
        path
    }

    /// `safeport`, in an environment without anything of this machine's owner.
    pub(crate) fn safeport(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_safeport"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.path())
            .env("USER", "tester")
            .env("LANG", "C")
            .env("SAFEPORT__SERVER__DATA", self.data())
            .current_dir(self.path());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        finish(self.safeport(arguments))
    }

    /// Runs a command that has to succeed and returns its stdout.
    pub(crate) fn stdout(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let mut with_json = arguments.to_vec();
        with_json.push("--json");
        serde_json::from_str(&self.stdout(&with_json)).expect("JSON on stdout")
    }

    /// Adds a login with this password.
    pub(crate) fn add_user(&self, name: &str, password: &str, more: &[&str]) {
        let mut arguments = vec!["user", "add", name, "--password-stdin"];
        arguments.extend_from_slice(more);
        let output = feed(self.safeport(&arguments), password);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
}

/// Runs a command to its end, which must come within half a minute.
pub(crate) fn finish(mut command: Command) -> Output {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("safeport starts");
    ended(child)
}

/// Like [`finish`], with something on stdin.
pub(crate) fn feed(mut command: Command, stdin: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("safeport starts");
    let mut pipe = child.stdin.take().expect("stdin");
    pipe.write_all(stdin.as_bytes()).expect("stdin takes it");
    drop(pipe);
    ended(child)
}

fn ended(mut child: Child) -> Output {
    let deadline = Instant::now() + Duration::from_secs(30);
    while child.try_wait().expect("a status").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("killed");
            panic!("did not end: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("output")
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Ports that were free a moment ago; all are held until all are chosen, so none repeats.
pub(crate) fn free_ports() -> [u16; 4] {
    let holders = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    holders.map(|holder| holder.local_addr().expect("an address").port())
}

/// A running server on free ports of 127.0.0.1, without TLS unless a test wants it.
pub(crate) struct Server {
    child: Child,
    pub(crate) info: Value,
    log: Arc<Mutex<String>>,
}

impl Server {
    pub(crate) fn start(folder: &Folder, arguments: &[&str]) -> Server {
        Server::start_with(folder, arguments, &[("SAFEPORT__MQTTS__ENABLED", "false")])
    }

    pub(crate) fn start_with(folder: &Folder, arguments: &[&str], env: &[(&str, &str)]) -> Server {
        let mut command = folder.safeport(&["serve", "--json"]);
        command
            .args(arguments)
            .env("SAFEPORT__HTTPS__ENABLED", "false");
        for (listener, port) in ["MQTT", "MQTTS", "HTTP", "HTTPS"].iter().zip(free_ports()) {
            command.env(
                format!("SAFEPORT__{listener}__BIND"),
                format!("127.0.0.1:{port}"),
            );
        }
        command.envs(env.iter().copied());
        Server::spawn(command)
    }

    /// A server whose listeners are those of its settings file.
    pub(crate) fn start_from_file(folder: &Folder) -> Server {
        Server::spawn(folder.safeport(&["serve", "--json"]))
    }

    pub(crate) fn spawn(mut command: Command) -> Server {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("safeport starts");
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().expect("stderr");
        let shared = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = shared.lock().expect("the log");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let stdout = child.stdout.take().expect("stdout");
        let mut text = String::new();
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            text.push_str(&line);
            if line == "}" {
                break;
            }
        }
        let info = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text:?}\n{}", log.lock().expect("the log")));
        Server { child, info, log }
    }

    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        self.info["listeners"]
            .as_array()
            .expect("listeners")
            .iter()
            .find(|found| found["name"] == listener)
            .and_then(|found| found["address"].as_str())
            .expect("the listener")
            .parse()
            .expect("an address")
    }

    pub(crate) fn port(&self, listener: &str) -> String {
        self.address(listener).port().to_string()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("the log").clone()
    }

    /// Waits until the log holds `text`.
    pub(crate) fn says(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !self.log().contains(text) {
            assert!(
                Instant::now() < deadline,
                "no {text:?} in the log:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
        rustix::process::kill_process(pid, signal).expect("the signal is sent");
    }

    /// Waits for the end; returns the exit code.
    pub(crate) fn ended(&mut self, within: Duration) -> Option<i32> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().expect("a status") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "still running:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// One HTTP request; returns status line, headers and body as they came.
    pub(crate) fn http(&self, path: &str, headers: &str) -> String {
        let mut socket = connect(self.address("http"));
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        socket.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer");
        answer
    }

    pub(crate) fn mqtt(&self) -> Client {
        Client(connect(self.address("mqtt")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("a connection");
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    socket
}

/// A CONNECT packet.
pub(crate) fn connect_packet(
    version: Version,
    client_id: &str,
    login: Option<(&str, &str)>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    Packet::Connect(Connect {
        version,
        clean_start: true,
        keep_alive: 60,
        client_id,
        will: None,
        username: login.map(|(username, _)| username),
        password: login.map(|(_, password)| password.as_bytes()),
        properties: Properties::EMPTY,
        bridge: false,
    })
    .encode(version, &mut bytes)
    .expect("a CONNECT");
    bytes
}

/// A client that speaks MQTT 3.1.1, byte by byte.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    /// Sends CONNECT and returns the return code of CONNACK.
    pub(crate) fn login(&mut self, client_id: &str, login: Option<(&str, &str)>) -> u8 {
        self.0
            .write_all(&connect_packet(Version::V311, client_id, login))
            .expect("sent");
        let mut connack = [0; 4];
        self.0.read_exact(&mut connack).expect("a CONNACK");
        assert_eq!(connack[0], 0x20, "{connack:?}");
        connack[3]
    }

    /// Sends bytes and gets exactly these back.
    pub(crate) fn exchange(&mut self, bytes: &[u8], answer: &[u8]) {
        self.0.write_all(bytes).expect("sent");
        let mut got = vec![0; answer.len()];
        self.0.read_exact(&mut got).expect("an answer");
        assert_eq!(got, answer);
    }

    /// How long it takes until the server closes this connection.
    pub(crate) fn closed_after(&mut self) -> Duration {
        let start = Instant::now();
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("not closed: {error}"),
        }
        start.elapsed()
    }

    /// Whether the connection still answers a PINGREQ.
    pub(crate) fn is_alive(&mut self) -> bool {
        let mut pong = [0; 2];
        self.0.write_all(&[0xc0, 0]).is_ok()
            && self.0.read_exact(&mut pong).is_ok()
            && pong == [0xd0, 0]
    }
}
