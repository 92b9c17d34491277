//! The listeners on real sockets, with an engine behind them.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use safeport_engine::{Carries, Engine, EngineSettings, ListenerLimits, ListenerSpec};
use safeport_net::attempt::{Attempt, Witness};
use safeport_net::rustls::crypto::aws_lc_rs;
use safeport_net::rustls::pki_types::pem::PemObject;
use safeport_net::rustls::pki_types::{CertificateDer, ServerName};
use safeport_net::rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};
use safeport_net::{Certificates, Layer, PrivateCa, TlsProfile, TlsService};
use safeport_settings::AdvertisedAddress;
use safeport_store::{DataFolder, Registry};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;
use crate::probe::{Proofs, proof};
use crate::reading::Asked;
use crate::serve::access::Access;
use crate::serve::attempts::Attempts;
use crate::serve::metrics::Metrics;
use crate::tasks;

mod door;
mod downloads;

const KEY: [u8; 32] = [7; 32];
const UPGRADE: &str = "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
     Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n";
/// CONNECT of MQTT 3.1.1: clean session, keep alive 60 s, no client identifier.
const CONNECT: &[u8] = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00";
/// CONNACK without a session, in one frame.
const CONNACK: [u8; 6] = [0x82, 4, 0x20, 2, 0, 0];

/// What the server shows of itself, and the root that clients trust.
pub(super) struct Authority {
    pub(super) certificates: Certificates,
    server: TlsService,
    root: CertificateDer<'static>,
    roots: Arc<RootCertStore>,
}

impl Authority {
    /// The server's side of a connection.
    pub(super) fn layer(&self) -> Layer {
        Layer::tls(&self.server, None)
    }
}

/// Remembers what was told.
#[derive(Default)]
struct Ledger(Mutex<Vec<Attempt>>);

impl Witness for Ledger {
    fn saw(&self, attempt: Attempt) {
        self.0.lock().unwrap().push(attempt);
    }
}

/// One certificate authority for all tests: its keys take a while.
pub(super) fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let now = SystemTime::now();
        let mut ca = PrivateCa::open_or_create(folder.path(), now).expect("an authority");
        ca.ensure_leaf(&["localhost".to_owned()], now)
            .expect("certificates");
        let certificates = Certificates::new();
        certificates.set_private(ca.chains());
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(ca.ca_pem().as_bytes()).expect("a certificate");
        roots.add(root.clone()).expect("a root");
        Authority {
            root,
            server: TlsService::new(&certificates, TlsProfile::default()).expect("a service"),
            certificates,
            roots: roots.into(),
        }
    })
}

/// A client that trusts the authority and speaks these versions.
pub(super) fn client_config(versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_protocol_versions(versions)
        .expect("TLS 1.2 and 1.3")
        .with_root_certificates(authority().roots.clone())
        .with_no_client_auth()
        .into()
}

/// What the server was told of.
#[derive(Default)]
struct Ears {
    addresses: Vec<AdvertisedAddress>,
    seen: Mutex<Vec<String>>,
    confirmed: Mutex<Vec<String>>,
}

impl Seen for Ears {
    fn addresses(&self) -> Vec<AdvertisedAddress> {
        self.addresses.clone()
    }

    fn seen(&self, address: &AdvertisedAddress, peer: IpAddr) -> bool {
        assert_eq!(peer, IpAddr::V4(Ipv4Addr::LOCALHOST));
        self.seen.lock().unwrap().push(address.to_string());
        true
    }
}

impl Confirm for Ears {
    fn confirm(&self, token: &str, _: Option<SocketAddr>) -> Confirmed {
        self.confirmed.lock().unwrap().push(token.to_owned());
        match token {
            "right" => Confirmed::Kept,
            "old" => Confirmed::Late,
            _ => Confirmed::Unknown,
        }
    }
}

struct Hub {
    listeners: HttpListeners,
    site: Arc<Site>,
    ears: Arc<Ears>,
    ledger: Arc<Ledger>,
    proofs: Arc<Proofs>,
    engine: Option<Engine>,
    runtime: Runtime,
    _ends: tasks::Ends,
    _folder: TempDir,
}

impl Hub {
    fn new() -> Hub {
        Hub::advertising(&[])
    }

    fn advertising(addresses: &[&str]) -> Hub {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let inside = runtime.enter();
        let folder = tempfile::tempdir().expect("a folder");
        let mut registry = Registry::open(&folder.path().join("registry")).expect("a registry");
        let (tasks, ends) = tasks::tasks();
        let proofs = Arc::new(Proofs::new(KEY));
        let snapshot = registry.load().expect("a snapshot");
        let access =
            Access::start(snapshot, true, 0, proofs.clone(), &tasks).expect("verifier threads");
        let specs = Transport::ALL.map(|transport| ListenerSpec {
            name: transport.listener().to_owned(),
            sockets: Vec::new(),
            tls: authority().server.clone(),
            carries: Carries::Plain,
            limits: ListenerLimits {
                max_connections: 100,
                max_packet: 1024,
                ..ListenerLimits::default()
            },
        });
        let ledger = Arc::new(Ledger::default());
        let engine = Engine::start(
            EngineSettings::default(),
            access.clone(),
            ledger.clone(),
            specs.into(),
        )
        .expect("an engine");
        let kept = Registry::open(&folder.path().join("registry")).expect("a registry");
        let attempts = Attempts::start(kept, &tasks).expect("a thread");
        let parse = |text: &&str| AdvertisedAddress::parse(text).expect("an address");
        let ears = Arc::new(Ears {
            addresses: addresses.iter().map(parse).collect(),
            ..Ears::default()
        });
        let site = Arc::new(Site::new(
            settings(""),
            Services {
                engine: engine.handle(),
                metrics: Metrics::new(engine.handle(), access),
                stopping: Arc::new(AtomicBool::new(false)),
                proofs: proofs.clone(),
                seen: ears.clone(),
                confirm: ears.clone(),
                xiaozhi: None,
                voice: None,
                challenges: crate::acme::Challenges::new(),
                api: Api::new(
                    Asked::default(),
                    DataFolder::open(folder.path().join("data")).expect("a data folder"),
                    attempts,
                ),
            },
        ));
        let listeners = HttpListeners::new(site.clone(), tasks);
        listeners.set_room(100, 100);
        listeners.set_tls(authority().server.clone());
        listeners.set_witness(ledger.clone());
        drop(inside);
        Hub {
            listeners,
            site,
            ears,
            ledger,
            proofs,
            engine: Some(engine),
            runtime,
            _ends: ends,
            _folder: folder,
        }
    }

    /// A further socket for a listener.
    fn listen(&self, transport: Transport) -> SocketAddr {
        let (socket, address) = socket();
        self.listeners
            .add(transport, vec![socket])
            .expect("it is driven");
        address
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.ears.seen.lock().unwrap())
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.shutdown(Duration::from_secs(1));
        }
    }
}

fn settings(metrics_token: &str) -> SiteSettings {
    SiteSettings {
        name: "hub <1>".to_owned(),
        anonymous: true,
        metrics_token: metrics_token.to_owned(),
    }
}

fn socket() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}

fn plain(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    stream
}

fn tls(address: SocketAddr) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("localhost").expect("a name");
    let config = client_config(ALL_VERSIONS);
    let client = ClientConnection::new(config, name).expect("a client");
    StreamOwned::new(client, plain(address))
}

/// Sends a request and reads the whole answer, head and body.
fn ask(stream: &mut (impl Read + Write), method: &str, path: &str, headers: &str) -> String {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    answer(stream)
}

const HOST: &str = "hub.lan:8002";

fn answer(stream: &mut impl Read) -> String {
    let mut answer = head(stream);
    let length = answer
        .to_ascii_lowercase()
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("a body");
    answer.push_str(&String::from_utf8(body).expect("text"));
    answer
}

fn head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the head of an answer");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("text")
}

/// A binary frame as a client sends it.
fn masked(payload: &[u8]) -> Vec<u8> {
    let key = [1, 2, 3, 4];
    let mut frame = vec![0x82, 0x80 | u8::try_from(payload.len()).expect("short")];
    frame.extend(key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k));
    frame
}

fn is_alive(websocket: &mut (impl Read + Write)) -> bool {
    let mut pong = [0; 4];
    websocket.write_all(&masked(&[0xc0, 0])).is_ok()
        && websocket.read_exact(&mut pong).is_ok()
        && pong == [0x82, 2, 0xd0, 0]
}

/// Opens a WebSocket that is logged in.
fn websocket(stream: &mut (impl Read + Write)) {
    let mut sent = format!("{UPGRADE}\r\n").into_bytes();
    sent.extend(masked(CONNECT));
    stream.write_all(&sent).expect("sent");
    let head = head(stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let mut connack = [0; 6];
    stream.read_exact(&mut connack).expect("a frame");
    assert_eq!(connack, CONNACK);
}

fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn https_answers_what_http_answers() {
    let hub = Hub::new();
    let (http, https) = (hub.listen(Transport::Plain), hub.listen(Transport::Tls));
    for path in ["/healthz", "/nothing", "/"] {
        let strip = |answer: String| {
            let lines = answer.lines().filter(|line| !line.starts_with("date: "));
            lines.collect::<Vec<_>>().join("\n")
        };
        let plain = strip(ask(&mut plain(http), "GET", path, ""));
        assert_eq!(strip(ask(&mut tls(https), "GET", path, "")), plain);
    }
    let page = ask(&mut tls(https), "GET", "/", "");
    assert!(page.contains("hub &lt;1&gt;"), "{page}");
}

#[test]
fn a_websocket_inside_tls_loses_nothing_that_came_right_behind_its_request() {
    let hub = Hub::new();
    let https = hub.listen(Transport::Tls);
    let behind = [masked(CONNECT), masked(&[0xc0, 0])].concat();
    // Nothing, half of a frame, one and a half, and all in the record of the request; the rest in
    // a second record, of which the first segment holds everything, a part or nothing.
    for in_first in [0, 5, masked(CONNECT).len() + 3, behind.len()] {
        for held_back in [0, 1, 20] {
            let mut client = tls(https);
            client.flush().expect("a handshake");
            let first = [format!("{UPGRADE}\r\n").as_bytes(), &behind[..in_first]].concat();
            client.conn.writer().write_all(&first).expect("room");
            let mut wire = Vec::new();
            while client.conn.is_handshaking() {
                client
                    .conn
                    .complete_io(&mut client.sock)
                    .expect("a handshake");
            }
            while client.conn.wants_write() {
                client.conn.write_tls(&mut wire).expect("memory");
            }
            if in_first < behind.len() {
                let rest = &behind[in_first..];
                client.conn.writer().write_all(rest).expect("room");
                while client.conn.wants_write() {
                    client.conn.write_tls(&mut wire).expect("memory");
                }
            }
            let (now, later) = wire.split_at(wire.len() - held_back.min(wire.len()));
            client.sock.write_all(now).expect("sent");
            std::thread::sleep(Duration::from_millis(30));
            client.sock.write_all(later).expect("sent");
            assert!(head(&mut client).starts_with("HTTP/1.1 101 "));
            // In one frame or in two.
            let mut answers = Vec::new();
            while answers.len() < 6 {
                let mut frame = [0; 2];
                client.read_exact(&mut frame).expect("a frame");
                let start = answers.len();
                answers.resize(start + usize::from(frame[1]), 0);
                client
                    .read_exact(&mut answers[start..])
                    .expect("its payload");
            }
            assert_eq!(answers, [0x20, 2, 0, 0, 0xd0, 0], "{in_first} {held_back}");
            assert!(is_alive(&mut client));
        }
    }
}

#[test]
fn other_sockets_take_over_while_connections_and_websockets_live_on() {
    let hub = Hub::new();
    let (http, https) = (hub.listen(Transport::Plain), hub.listen(Transport::Tls));
    let mut keeping = plain(http);
    assert!(ask(&mut keeping, "GET", "/healthz", "").contains("ok"));
    let mut keeping_tls = tls(https);
    assert!(ask(&mut keeping_tls, "GET", "/healthz", "").contains("ok"));
    let mut socket_plain = plain(http);
    websocket(&mut socket_plain);
    let mut socket_tls = tls(https);
    websocket(&mut socket_tls);
    for (transport, old) in [(Transport::Plain, http), (Transport::Tls, https)] {
        let (one, first) = socket();
        let (two, second) = socket();
        hub.listeners
            .set(transport, vec![one, two])
            .expect("they are driven");
        assert_eq!(hub.listeners.addresses(transport), [first, second]);
        let refused = TcpStream::connect(old).expect_err("closed");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        for new in [first, second] {
            match transport {
                Transport::Plain => {
                    assert!(ask(&mut plain(new), "GET", "/healthz", "").contains("ok"));
                }
                Transport::Tls => {
                    assert!(ask(&mut tls(new), "GET", "/healthz", "").contains("ok"));
                }
            }
        }
        hub.listeners
            .retain(transport, |address| address == second)
            .expect("closed");
        assert_eq!(hub.listeners.addresses(transport), [second]);
        assert!(TcpStream::connect(first).is_err());
    }
    assert!(ask(&mut keeping, "GET", "/healthz", "").contains("ok"));
    assert!(ask(&mut keeping_tls, "GET", "/healthz", "").contains("ok"));
    assert!(is_alive(&mut socket_plain));
    assert!(is_alive(&mut socket_tls));
}

#[test]
fn a_socket_that_stays_may_be_handed_in_as_its_own_copy() {
    let hub = Hub::new();
    let (socket, address) = socket();
    let copy = socket.try_clone().expect("a copy");
    hub.listeners
        .set(Transport::Plain, vec![socket])
        .expect("it is driven");
    for _ in 0..20 {
        let again = copy.try_clone().expect("a copy");
        hub.listeners
            .set(Transport::Plain, vec![again])
            .expect("it is driven");
        assert!(ask(&mut plain(address), "GET", "/healthz", "").contains("ok"));
    }
    drop(copy);
    hub.listeners
        .set(Transport::Plain, Vec::new())
        .expect("closed");
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn clients_that_wait_in_the_queue_of_a_socket_are_served_before_it_closes() {
    let hub = Hub::new();
    let old = hub.listen(Transport::Plain);
    // Both workers are busy, so that nobody accepts meanwhile.
    let (busy, free) = (
        Arc::new(AtomicU32::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    for _ in 0..2 {
        let (busy, free) = (busy.clone(), free.clone());
        hub.runtime.spawn(async move {
            busy.fetch_add(1, Ordering::Relaxed);
            while !free.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    }
    eventually("busy workers", || busy.load(Ordering::Relaxed) == 2);
    let mut waiting: Vec<TcpStream> = (0..50).map(|_| plain(old)).collect();
    for stream in &mut waiting {
        let request = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("sent");
    }
    let listeners = hub.listeners.clone();
    let swap = std::thread::spawn(move || listeners.set(Transport::Plain, vec![socket().0]));
    std::thread::sleep(Duration::from_millis(50));
    free.store(true, Ordering::Relaxed);
    swap.join().expect("no panic").expect("swapped");
    for stream in &mut waiting {
        assert!(answer(stream).starts_with("HTTP/1.1 200 "));
    }
    assert!(TcpStream::connect(old).is_err());
}

#[test]
fn room_is_counted_for_each_listener_and_may_change_while_serving() {
    let hub = Hub::new();
    let (http, https) = (hub.listen(Transport::Plain), hub.listen(Transport::Tls));
    let also_http = hub.listen(Transport::Plain);
    hub.listeners.set_room(2, 100);
    let mut one = plain(http);
    assert!(ask(&mut one, "GET", "/healthz", "").contains("ok"));
    let mut two = plain(also_http);
    websocket(&mut two);
    let refused = |address| plain(address).read(&mut [0]).unwrap_or(0) == 0;
    assert!(refused(http));
    assert!(ask(&mut tls(https), "GET", "/healthz", "").contains("ok"));
    hub.listeners.set_max_connections(Transport::Plain, 3);
    assert!(ask(&mut plain(http), "GET", "/healthz", "").contains("ok"));
    hub.listeners.set_max_connections(Transport::Plain, 1);
    assert!(refused(also_http));
    assert!(ask(&mut one, "GET", "/healthz", "").contains("ok"));
    assert!(is_alive(&mut two));
}

#[test]
fn connections_of_a_listener_that_was_switched_off_end_and_others_do_not() {
    let hub = Hub::new();
    let (http, https) = (hub.listen(Transport::Plain), hub.listen(Transport::Tls));
    let mut idle = plain(http);
    assert!(ask(&mut idle, "GET", "/healthz", "").contains("ok"));
    let mut mute = plain(http);
    let mut other = tls(https);
    assert!(ask(&mut other, "GET", "/healthz", "").contains("ok"));
    hub.listeners
        .set(Transport::Plain, Vec::new())
        .expect("closed");
    hub.listeners.end_connections(Transport::Plain);
    let start = Instant::now();
    assert_eq!(idle.read(&mut [0]).unwrap_or(0), 0);
    assert_eq!(mute.read(&mut [0]).unwrap_or(0), 0);
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(ask(&mut other, "GET", "/healthz", "").contains("ok"));
}

#[test]
fn a_nonce_is_answered_with_the_proof_of_this_server_over_http_and_in_the_upgrade() {
    let hub = Hub::new();
    let (http, https) = (hub.listen(Transport::Plain), hub.listen(Transport::Tls));
    let nonce = hub.proofs.issue().expect("random numbers");
    let proof = hub.proofs.answer(nonce.as_str()).expect("a nonce");
    let path = format!("{}{nonce}", proof::PATH);
    for said in [
        ask(&mut plain(http), "GET", &path, ""),
        ask(&mut tls(https), "GET", &path, ""),
    ] {
        assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
        assert!(
            said.ends_with(&format!("\r\n\r\nsafeport {proof}")),
            "{said}"
        );
        assert!(said.contains("access-control-allow-origin: *"), "{said}");
        assert!(said.contains("cache-control: no-store"), "{said}");
    }
    for wrong in ["abc", "ABCDEF0123456789ABCDEF0123456789", "%2e%2e"] {
        let path = format!("{}{wrong}", proof::PATH);
        let said = ask(&mut plain(http), "GET", &path, "");
        assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
    }
    let mut stream = plain(http);
    let upgrade = format!("{UPGRADE}Safeport-Nonce: {nonce}\r\n\r\n");
    stream.write_all(upgrade.as_bytes()).expect("sent");
    let said = head(&mut stream);
    assert!(said.contains(&format!("safeport-proof: {proof}")), "{said}");
    // It goes on as any other WebSocket.
    stream.write_all(&masked(CONNECT)).expect("sent");
    stream.read_exact(&mut [0; 6]).expect("CONNACK");
    // A nonce in the query marks where it arrived.
    let marked = UPGRADE.replace("/mqtt", &format!("/mqtt?nonce={nonce}"));
    websocket_of(&mut tls(https), &marked);
    let arrival = hub.proofs.settle(&nonce).expect("it arrived");
    assert_eq!(arrival.listener, "https");
}

fn websocket_of(stream: &mut (impl Read + Write), upgrade: &str) -> String {
    stream
        .write_all(format!("{upgrade}\r\n").as_bytes())
        .expect("sent");
    let head = head(stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    head
}

#[test]
fn the_page_for_a_phone_proves_its_own_address_and_lets_the_phone_prove_others() {
    let hub = Hub::advertising(&[
        "http://hub.lan:8002",
        "ws://hub.lan:8002",
        "wss://hub.example.com:443",
        "mqtt://hub.lan:1883",
    ]);
    let http = hub.listen(Transport::Plain);
    let until = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("a clock")
        .as_secs()
        + 60;
    let path = |until| format!("{}{}", proof::VANTAGE_PATH, hub.proofs.vantage_token(until));
    let expired = ask(&mut plain(http), "GET", &path(until - 120), "");
    assert!(expired.starts_with("HTTP/1.1 404 "), "{expired}");
    assert!(hub.seen().is_empty());
    let chinese = "Accept-Language: zh-CN\r\n";
    let page = ask(&mut plain(http), "GET", &path(until), chinese);
    assert!(page.contains("<html lang=\"zh-CN\">"), "{page}");
    let page = ask(&mut plain(http), "GET", &path(until), "");
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    assert_eq!(hub.seen(), ["http://hub.lan:8002", "http://hub.lan:8002"]);
    // The script and its data are let in by a nonce that each page has anew.
    let (_, policy) = page.split_once("script-src 'nonce-").expect("a policy");
    assert!(page.contains(&format!("<script nonce=\"{}\">", &policy[..32])));
    let (_, data) = page.split_once("id=\"tests\">").expect("data");
    let (data, _) = data.split_once("</script>").expect("data");
    let data: serde_json::Value = serde_json::from_str(data).expect("JSON");
    let tests = data["tests"].as_array().expect("a list");
    assert_eq!(tests.len(), 3, "a browser cannot try MQTT");
    let (by_fetch, by_socket, by_tls) = (&tests[0], &tests[1], &tests[2]);

    let url = by_fetch["url"].as_str().expect("a URL");
    let path = url
        .strip_prefix("http://hub.lan:8002")
        .expect("our address");
    let said = ask(&mut plain(http), "GET", path, "");
    assert!(
        said.ends_with(by_fetch["answer"].as_str().expect("an answer")),
        "{said}"
    );
    assert_eq!(hub.seen(), ["http://hub.lan:8002"]);

    let mut stream = plain(http);
    proves(&mut stream, by_socket, "ws://hub.lan:8002");
    assert_eq!(hub.seen(), ["ws://hub.lan:8002"]);
    let mut stream = tls(hub.listen(Transport::Tls));
    proves(&mut stream, by_tls, "wss://hub.example.com:443");
    assert_eq!(hub.seen(), ["wss://hub.example.com:443"]);
    // Only pages with a question of ours come in from elsewhere.
    let strange = format!("{UPGRADE}Origin: https://hub.example.com\r\n\r\n");
    let mut stream = plain(http);
    stream.write_all(strange.as_bytes()).expect("sent");
    assert!(head(&mut stream).starts_with("HTTP/1.1 403 "));
}

/// Opens the WebSocket of a test of the page and gets the proof instead of an MQTT session.
fn proves(stream: &mut (impl Read + Write), test: &serde_json::Value, address: &str) {
    let url = test["url"].as_str().expect("a URL");
    let path = url.strip_prefix(address).expect("our address");
    let upgrade = UPGRADE.replace("/mqtt", path) + "Origin: https://hub.example.com\r\n";
    websocket_of(stream, &upgrade);
    let expected = test["answer"].as_str().expect("an answer");
    let mut frames = vec![0; 2 + expected.len() + 4];
    stream
        .read_exact(&mut frames)
        .expect("a message and the end");
    assert_eq!(&frames[2..2 + expected.len()], expected.as_bytes());
    assert_eq!(frames[2 + expected.len()..], [0x88, 2, 0x03, 0xe8]);
    // It never was a client, although the server is open and the page a stranger's.
    stream.write_all(&masked(CONNECT)).expect("sent");
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
}

#[test]
fn a_change_is_kept_by_the_button_and_not_by_looking_at_the_page() {
    let hub = Hub::new();
    let http = hub.listen(Transport::Plain);
    let path = |token: &str| format!("{CONFIRM_PATH}{token}");
    let browser = "Accept: text/html,*/*\r\n";
    let page = ask(&mut plain(http), "GET", &path("right"), browser);
    assert!(page.contains("<form method=\"post\">"), "{page}");
    let text = ask(&mut plain(http), "GET", &path("right"), "");
    assert!(text.contains("curl -X POST"), "{text}");
    assert!(hub.ears.confirmed.lock().unwrap().is_empty());
    let post = |token: &str, headers: &str| {
        let headers = format!("Content-Length: 0\r\n{headers}");
        ask(&mut plain(http), "POST", &path(token), &headers)
    };
    let kept = post("right", browser);
    assert!(
        kept.starts_with("HTTP/1.1 200 ") && kept.contains("<p>"),
        "{kept}"
    );
    let kept = post("right", "Accept-Language: zh\r\n");
    assert!(
        kept.starts_with("HTTP/1.1 200 ") && kept.ends_with("更改已保留。\n"),
        "{kept}"
    );
    assert!(post("old", "").starts_with("HTTP/1.1 410 "));
    assert!(post("other", "").starts_with("HTTP/1.1 404 "));
    assert_eq!(
        *hub.ears.confirmed.lock().unwrap(),
        ["right", "right", "old", "other"]
    );
}

#[test]
fn settings_of_the_pages_hold_for_the_next_request_of_a_connection_that_is_open() {
    let hub = Hub::new();
    let mut stream = plain(hub.listen(Transport::Plain));
    assert!(ask(&mut stream, "GET", "/metrics", "").starts_with("HTTP/1.1 200 "));
    hub.site.set(settings("0123456789abcdef"));
    let refused = ask(&mut stream, "GET", "/metrics", "");
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    assert!(refused.contains("www-authenticate: Bearer"), "{refused}");
    let token = "Authorization: Bearer 0123456789abcdef\r\n";
    assert!(ask(&mut stream, "GET", "/metrics", token).starts_with("HTTP/1.1 200 "));
    hub.site
        .set_degraded(Some("safeport.toml has mistakes".to_owned()));
    let health = ask(&mut stream, "GET", "/healthz", "");
    assert!(health.starts_with("HTTP/1.1 200 "), "{health}");
    assert!(
        health.ends_with("degraded: safeport.toml has mistakes\n"),
        "{health}"
    );
    hub.site.set_degraded(None);
    assert!(ask(&mut stream, "GET", "/healthz", "").ends_with("\r\n\r\nok\n"));
}
