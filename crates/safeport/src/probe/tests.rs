//! Every outcome of a probe, against real sockets on 127.0.0.1.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use safeport_net::PrivateCa;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

/// A folder with an authority in it, removed at the end.
struct Authority {
    folder: TempDir,
    ca: PrivateCa,
}

impl Authority {
    fn new(names: &[&str]) -> Authority {
        let folder = tempfile::tempdir().expect("a folder");
        let now = SystemTime::now();
        let mut ca = PrivateCa::open_or_create(folder.path(), now).expect("an authority");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        ca.ensure_leaf(&names, now).expect("a certificate");
        Authority { folder, ca }
    }

    fn config(&self) -> Arc<ServerConfig> {
        let read = |name| std::fs::read(self.folder.path().join(name)).expect("a file");
        let (chain, key) = (read("server-p256.pem"), read("server-p256.key"));
        let chain = CertificateDer::from_pem_slice(&chain).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(&key).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![chain], key);
        Arc::new(config.expect("a key of this certificate"))
    }
}

/// Roots for tests without TLS.
fn any_trust() -> Trust {
    static PEM: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let pem = PEM.get_or_init(|| Authority::new(&["localhost"]).ca.ca_pem().to_owned());
    Trust::of_roots(pem, Vec::new(), Vec::new).expect("an authority")
}

fn ours() -> Arc<Proofs> {
    Arc::new(Proofs::new([1; 32]))
}

/// What stands at a port, for as many connections as come.
type Script = Arc<dyn Fn(Vec<u8>) -> Vec<Vec<u8>> + Send + Sync>;

/// Reads what comes, answers each read with what the script says, and closes when it says
/// nothing. The port.
async fn stand(tls: Option<Arc<ServerConfig>>, script: Script) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, script) = (tls.clone(), script.clone());
            tokio::spawn(async move {
                match tls {
                    None => play(stream, &script).await,
                    Some(config) => {
                        if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
                            play(stream, &script).await;
                        }
                    }
                }
            });
        }
    });
    port
}

async fn play(mut stream: impl Stream, script: &Script) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        let answers = script(buffer[..count].to_vec());
        if answers.is_empty() {
            break;
        }
        for answer in answers {
            let _ = stream.write_all(&answer).await;
            let _ = stream.flush().await;
        }
    }
    let _ = stream.shutdown().await;
}

/// A server that gives the same answer to everything.
fn says(answer: &[u8]) -> Script {
    let answer = answer.to_vec();
    Arc::new(move |_| vec![answer.clone()])
}

fn closes() -> Script {
    Arc::new(|_| Vec::new())
}

/// The word behind `before` in a request.
fn behind<'a>(request: &'a str, before: &str) -> Option<&'a str> {
    let rest = &request[request.find(before)? + before.len()..];
    rest.split([' ', '\r']).next()
}

/// What our HTTP listener says, as far as probes are concerned; `upgrade` is the answer to an
/// upgrade instead of the right one, `connack` the code in it.
fn site(proofs: Arc<Proofs>, upgrade: Option<&'static str>, connack: Option<u8>) -> Script {
    Arc::new(move |bytes| {
        let request = String::from_utf8_lossy(&bytes).into_owned();
        if let Some(nonce) = behind(&request, "GET /.well-known/safeport/") {
            let body = format!("safeport {}", proofs.answer(nonce).unwrap_or_default());
            let length = body.len();
            return vec![
                format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes(),
            ];
        }
        if request.starts_with("GET /mqtt ") {
            if let Some(answer) = upgrade {
                return vec![answer.as_bytes().to_vec()];
            }
            let proof = behind(&request, "safeport-nonce: ").and_then(|n| proofs.answer(n));
            let proof = proof.unwrap_or_default();
            return vec![
                format!(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: \
                     Upgrade\r\nSec-WebSocket-Protocol: mqtt\r\nSafeport-Proof: {proof}\r\n\r\n"
                )
                .into_bytes(),
            ];
        }
        match connack {
            // A ping first, as keep-alive of a proxy might, then CONNACK in two frames.
            Some(code) => vec![
                vec![0x89, 0x00, 0x02, 0x02, 0x20, 0x02],
                // The end of the WebSocket may come in the same piece.
                vec![0x80, 0x02, 0x00, code, 0x88, 0x02, 0x03, 0xE8],
            ],
            None => Vec::new(),
        }
    })
}

/// A broker that answers CONNECT with this code; `proofs` if it is this server's.
fn broker(proofs: Option<Arc<Proofs>>, code: u8) -> Script {
    Arc::new(move |bytes| {
        if bytes[0] != 0x10 {
            return Vec::new();
        }
        // The password is the last field.
        let nonce = String::from_utf8_lossy(&bytes[bytes.len() - 32..]).into_owned();
        if let Some(proofs) = &proofs {
            let peer = "127.0.0.1:9".parse().expect("an address");
            assert!(proofs.arrived(&nonce, "mqtt", peer));
        }
        vec![vec![0x20, 0x02, 0x00, code]]
    })
}

async fn look(url: &str, proofs: &Proofs) -> Report {
    let address = AdvertisedAddress::parse(url).expect("an address");
    examine(&address, proofs, &any_trust(), PATIENCE).await
}

fn foreign(report: &Report) -> String {
    match &report.outcome {
        Outcome::Foreign { saw } => both_languages(saw),
        other => panic!("{other:?}"),
    }
}

fn failed_at(report: &Report, wanted: Layer) -> String {
    match &report.outcome {
        Outcome::Failed { layer, saw } if *layer == wanted => both_languages(saw),
        other => panic!("{other:?}"),
    }
}

/// The English text, once it is sure that there is a Chinese one.
fn both_languages(said: &Said) -> String {
    let is_han = |c: char| ('\u{4e00}'..='\u{9fff}').contains(&c);
    assert!(said.zh.chars().any(is_han), "{said:?}");
    assert!(!said.en.chars().any(is_han), "{said:?}");
    assert!(!said.en.contains("  "), "{said:?}");
    said.en.clone()
}

#[tokio::test]
async fn http_that_answers_with_the_proof_is_proved_and_the_way_is_told() {
    let proofs = ours();
    let port = stand(None, site(proofs.clone(), None, None)).await;
    let report = look(&format!("http://localhost:{port}"), &proofs).await;
    assert_eq!(report.outcome, Outcome::Proved);
    assert!(report.resolved.iter().all(IpAddr::is_loopback));
    assert_eq!(report.reached.map(|peer| peer.port()), Some(port));
    assert_eq!(report.trusted_by, None);
}

#[tokio::test]
async fn a_proof_in_chunks_or_on_an_open_connection_counts_too() {
    let proofs = ours();
    let answering = proofs.clone();
    let port = stand(
        None,
        Arc::new(move |bytes| {
            let request = String::from_utf8_lossy(&bytes).into_owned();
            let nonce = behind(&request, "/safeport/").expect("a nonce");
            let body = format!("safeport {}", answering.answer(nonce).expect("a nonce"));
            vec![
                b"HTTP/1.1 200 OK\r\nTransfer-".to_vec(),
                b"Encoding: chunked\r\n\r\n".to_vec(),
                format!("{:x}\r\n{body}\r\n", body.len()).into_bytes(),
            ]
        }),
    )
    .await;
    let report = look(&format!("http://127.0.0.1:{port}"), &proofs).await;
    assert_eq!(report.outcome, Outcome::Proved);
}

#[tokio::test]
async fn another_safeport_and_another_web_server_are_foreign() {
    let proofs = ours();
    let other = Arc::new(Proofs::new([2; 32]));
    let port = stand(None, site(other, None, None)).await;
    for scheme in ["http", "ws"] {
        let report = look(&format!("{scheme}://127.0.0.1:{port}"), &proofs).await;
        assert!(foreign(&report).contains("another Safeport"), "{report:?}");
    }
    for answer in [
        "HTTP/1.1 404 Not Found\r\nServer: nginx/1.24\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nServer: nginx/1.24\r\nContent-Length: 3\r\n\r\nhi\n",
    ] {
        let port = stand(None, says(answer.as_bytes())).await;
        let report = look(&format!("http://127.0.0.1:{port}"), &proofs).await;
        assert!(foreign(&report).contains("nginx/1.24"), "{report:?}");
    }
}

#[tokio::test]
async fn programs_that_speak_no_http_are_foreign_and_one_with_tls_gets_the_right_scheme() {
    let proofs = ours();
    let port = stand(None, says(b"220 mail.example.com ESMTP\r\n")).await;
    let report = look(&format!("http://127.0.0.1:{port}"), &proofs).await;
    assert!(foreign(&report).contains("no HTTP"), "{report:?}");
    let port = stand(None, says(&[0x20, 0x02, 0, 0])).await;
    let report = look(&format!("http://127.0.0.1:{port}"), &proofs).await;
    assert!(foreign(&report).contains("MQTT"), "{report:?}");
    let alert = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x32];
    let port = stand(None, says(&alert)).await;
    let report = look(&format!("http://127.0.0.1:{port}"), &proofs).await;
    assert!(failed_at(&report, Layer::Http).contains("https://"));
    let report = look(&format!("mqtt://127.0.0.1:{port}"), &proofs).await;
    assert!(failed_at(&report, Layer::Mqtt).contains("mqtts://"));
}

#[tokio::test]
async fn what_a_proxy_does_instead_of_forwarding_is_named() {
    let proofs = ours();
    for (answer, word) in [
        (
            "HTTP/1.1 502 Bad Gateway\r\nServer: nginx\r\n\r\n",
            "cannot reach this server",
        ),
        ("HTTP/1.1 500 Oops\r\n\r\n", "HTTP 500"),
        (
            "HTTP/1.1 301 Moved\r\nLocation: https://hub.example.com/\r\n\r\n",
            "https://hub.example.com/",
        ),
        ("HTTP/1.1 401 Who\r\n\r\n", "wants a login"),
        (
            "HTTP/1.1 400 Bad\r\n\r\nThe plain HTTP request was sent to HTTPS port",
            "https://",
        ),
    ] {
        let answer = answer.as_bytes().to_vec();
        // Closes behind the answer, as the missing length promises.
        let port = stand(None, once(answer)).await;
        let report = look(&format!("http://127.0.0.1:{port}"), &proofs).await;
        let saw = failed_at(&report, Layer::Http);
        assert!(saw.contains(word), "{saw}");
    }
}

/// Answers, and closes when the client has closed its side or says more.
fn once(answer: Vec<u8>) -> Script {
    use std::sync::atomic::{AtomicBool, Ordering};
    let said = AtomicBool::new(false);
    Arc::new(move |_| {
        if said.swap(true, Ordering::Relaxed) {
            return Vec::new();
        }
        let mut padded = answer.clone();
        // As long as a probe reads.
        padded.resize(padded.len() + crate::limits::PROBE_ANSWER, b' ');
        vec![padded]
    })
}

#[tokio::test]
async fn a_server_that_closes_or_says_nothing_fails_at_its_protocol() {
    let proofs = ours();
    let port = stand(None, closes()).await;
    for (scheme, layer) in [
        ("http", Layer::Http),
        ("ws", Layer::WebSocket),
        ("mqtt", Layer::Mqtt),
    ] {
        let report = look(&format!("{scheme}://127.0.0.1:{port}"), &proofs).await;
        let saw = failed_at(&report, layer);
        assert!(saw.contains("the connection"), "{saw}");
    }
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = silent.local_addr().expect("bound").port();
    for (scheme, layer) in [
        ("http", Layer::Http),
        ("https", Layer::Tls),
        ("ws", Layer::WebSocket),
        ("mqtt", Layer::Mqtt),
    ] {
        let address = AdvertisedAddress::parse(&format!("{scheme}://127.0.0.1:{port}"));
        let address = address.expect("an address");
        let report = examine(&address, &proofs, &any_trust(), SHORT).await;
        let saw = failed_at(&report, layer);
        assert!(saw.contains("does not answer"), "{saw}");
    }
}

#[tokio::test]
async fn a_port_where_nothing_listens_fails_at_tcp_and_names_this_machine() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    let report = look(&format!("mqtts://127.0.0.1:{port}"), &ours()).await;
    let saw = failed_at(&report, Layer::Tcp);
    assert!(
        saw.contains("this machine") && saw.contains(&port.to_string()),
        "{saw}"
    );
    assert_eq!(report.missed.len(), 1);
    assert_eq!(report.reached, None);
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_no_way_to_this_server() {
    // Reserved never to exist (RFC 6761). Without a resolver it cannot even be told that.
    let report = look("http://nothing.invalid:8002", &ours()).await;
    match &report.outcome {
        Outcome::Failed {
            layer: Layer::Dns,
            saw: said,
        }
        | Outcome::Unverifiable { why: said } => {
            assert!(both_languages(said).contains("nothing.invalid"));
        }
        other => panic!("{other:?}"),
    }
    assert!(report.resolved.is_empty());
}

#[tokio::test]
async fn a_websocket_with_the_proof_and_an_answered_login_is_proved() {
    let proofs = ours();
    let port = stand(None, site(proofs.clone(), None, Some(0))).await;
    let report = look(&format!("ws://127.0.0.1:{port}"), &proofs).await;
    assert_eq!(report.outcome, Outcome::Proved);
}

#[tokio::test]
async fn a_websocket_that_carries_no_data_fails_at_mqtt() {
    let proofs = ours();
    let port = stand(None, site(proofs.clone(), None, None)).await;
    let report = look(&format!("ws://127.0.0.1:{port}"), &proofs).await;
    let saw = failed_at(&report, Layer::Mqtt);
    assert!(saw.contains("not carry their data"), "{saw}");
}

#[tokio::test]
async fn a_server_of_ours_that_is_too_busy_for_a_login_is_ours_all_the_same() {
    let proofs = ours();
    let port = stand(None, site(proofs.clone(), None, Some(3))).await;
    let report = look(&format!("ws://127.0.0.1:{port}"), &proofs).await;
    assert_eq!(report.outcome, Outcome::Proved);
    let port = stand(None, broker(Some(proofs.clone()), 3)).await;
    let report = look(&format!("mqtt://127.0.0.1:{port}"), &proofs).await;
    assert_eq!(report.outcome, Outcome::Proved);
    assert!(report.arrival.is_some());
}

#[tokio::test]
async fn a_strange_websocket_is_foreign() {
    let port = stand(
        None,
        says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"),
    )
    .await;
    let report = look(&format!("ws://127.0.0.1:{port}"), &ours()).await;
    assert!(foreign(&report).contains("safeport-proof"), "{report:?}");
}

#[tokio::test]
async fn a_proxy_that_drops_the_upgrade_is_told_from_one_that_lacks_the_path_or_the_server() {
    let proofs = ours();
    for (answer, word) in [
        (
            "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n",
            "proxy_set_header Upgrade",
        ),
        (
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
            "proxy_set_header Upgrade",
        ),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "the path /mqtt",
        ),
        (
            "HTTP/1.1 504 Gateway Timeout\r\n\r\n",
            "cannot reach this server",
        ),
    ] {
        let port = stand(None, site(proofs.clone(), Some(answer), None)).await;
        let report = look(&format!("ws://127.0.0.1:{port}"), &proofs).await;
        let saw = failed_at(&report, Layer::WebSocket);
        assert!(saw.contains(word), "{saw}");
    }
    let moved = b"HTTP/1.1 301 Moved\r\nLocation: https://x.example/\r\nContent-Length: 0\r\n\r\n";
    let port = stand(None, says(moved)).await;
    let report = look(&format!("ws://127.0.0.1:{port}"), &proofs).await;
    assert!(failed_at(&report, Layer::WebSocket).contains("https://x.example/"));
    // Where plain HTTP leads to another server, so does the WebSocket.
    let port = stand(
        None,
        says(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    )
    .await;
    let report = look(&format!("ws://127.0.0.1:{port}"), &proofs).await;
    foreign(&report);
}

#[tokio::test]
async fn a_login_that_comes_in_here_is_proved_and_told_with_its_listener() {
    let proofs = ours();
    let port = stand(None, broker(Some(proofs.clone()), 0)).await;
    let report = look(&format!("mqtt://127.0.0.1:{port}"), &proofs).await;
    assert_eq!(report.outcome, Outcome::Proved);
    assert_eq!(report.arrival.expect("it came in").listener, "mqtt");
}

#[tokio::test]
async fn a_login_that_another_broker_takes_or_refuses_is_foreign() {
    let proofs = ours();
    for code in [0, 5] {
        let port = stand(None, broker(None, code)).await;
        let report = look(&format!("mqtt://127.0.0.1:{port}"), &proofs).await;
        assert!(foreign(&report).contains("another broker"), "{report:?}");
        assert_eq!(report.arrival, None);
    }
    let port = stand(None, says(b"HTTP/1.1 400 Bad Request\r\n\r\n")).await;
    let report = look(&format!("mqtt://127.0.0.1:{port}"), &proofs).await;
    assert!(foreign(&report).contains("HTTP server"), "{report:?}");
}

#[tokio::test]
async fn tls_is_proved_under_the_own_authority_and_under_a_public_one() {
    let proofs = ours();
    let authority = Authority::new(&["127.0.0.1", "localhost"]);
    let other = Authority::new(&["127.0.0.1"]);
    let pem = |authority: &Authority| authority.ca.ca_pem().to_owned();
    let own = Trust::of_roots(&pem(&authority), Vec::new(), Vec::new).expect("an authority");
    let certificates = certificates_in(&pem(&authority));
    let roots = move || certificates.clone();
    let given = Trust::of_roots(&pem(&other), roots(), Vec::new).expect("an authority");
    let public = Trust::of_roots(&pem(&other), Vec::new(), roots).expect("an authority");
    assert!(!own.has_public_roots() && public.has_public_roots());
    let site = site(proofs.clone(), None, Some(0));
    let web = stand(Some(authority.config()), site).await;
    let mqtts = stand(Some(authority.config()), broker(Some(proofs.clone()), 0)).await;
    for url in [
        format!("https://localhost:{web}"),
        format!("wss://127.0.0.1:{web}"),
        format!("mqtts://127.0.0.1:{mqtts}"),
    ] {
        let address = AdvertisedAddress::parse(&url).expect("an address");
        for (trust, trusted_by) in [
            (&own, TrustedBy::OwnAuthority),
            (&given, TrustedBy::GivenAuthority),
            (&public, TrustedBy::PublicAuthority),
        ] {
            let report = examine(&address, &proofs, trust, PATIENCE).await;
            assert_eq!(report.outcome, Outcome::Proved, "{url}");
            assert_eq!(report.trusted_by, Some(trusted_by), "{url}");
        }
    }
}

#[tokio::test]
async fn a_post_goes_over_tls_to_a_server_that_is_known_and_to_no_other() {
    let authority = Authority::new(&["127.0.0.1"]);
    let port = stand(
        Some(authority.config()),
        says(b"HTTP/1.1 204 No Content\r\n\r\n"),
    )
    .await;
    let own = Trust::of_roots(authority.ca.ca_pem(), Vec::new(), Vec::new);
    for (trust, is_known) in [(own.expect("an authority"), true), (any_trust(), false)] {
        let url = format!("https://127.0.0.1:{port}/x");
        let posted = tokio::task::spawn_blocking(move || post_trusting(&url, &trust, PATIENCE));
        match posted.await.expect("no panic") {
            Ok(status) => assert!(is_known && status == 204),
            Err(error) => assert!(!is_known, "{error}"),
        }
    }
}

#[tokio::test]
async fn a_certificate_of_a_stranger_or_for_another_name_fails_at_tls() {
    let proofs = ours();
    let authority = Authority::new(&["hub.example.com"]);
    let port = stand(
        Some(authority.config()),
        site(proofs.clone(), None, Some(0)),
    )
    .await;
    let url = format!("https://127.0.0.1:{port}");

    let report = look(&url, &proofs).await;
    let saw = failed_at(&report, Layer::Tls);
    assert!(saw.contains("self-signed"), "{saw}");
    assert_eq!(report.trusted_by, None);

    let trust = Trust::of_roots(authority.ca.ca_pem(), Vec::new(), Vec::new).expect("an authority");
    let address = AdvertisedAddress::parse(&url).expect("an address");
    let report = examine(&address, &proofs, &trust, PATIENCE).await;
    let saw = failed_at(&report, Layer::Tls);
    assert!(
        saw.contains("hub.example.com") && saw.contains("127.0.0.1"),
        "{saw}"
    );
}

#[tokio::test]
async fn a_port_without_tls_fails_at_tls() {
    let proofs = ours();
    let port = stand(None, says(b"HTTP/1.1 400 Bad Request\r\n\r\n")).await;
    let report = look(&format!("https://127.0.0.1:{port}"), &proofs).await;
    let saw = failed_at(&report, Layer::Tls);
    assert!(saw.contains("speaks no TLS"), "{saw}");
    let port = stand(None, closes()).await;
    let report = look(&format!("mqtts://127.0.0.1:{port}"), &proofs).await;
    failed_at(&report, Layer::Tls);
}

#[tokio::test]
async fn no_question_stays_open_behind_a_probe() {
    let proofs = ours();
    let seen = Arc::new(std::sync::Mutex::new(String::new()));
    let keeping = seen.clone();
    let port = stand(
        None,
        Arc::new(move |bytes| {
            let nonce = String::from_utf8_lossy(&bytes[bytes.len() - 32..]).into_owned();
            *keeping.lock().expect("no panic") = nonce;
            Vec::new()
        }),
    )
    .await;
    let report = look(&format!("mqtt://127.0.0.1:{port}"), &proofs).await;
    failed_at(&report, Layer::Mqtt);
    let nonce = seen.lock().expect("no panic").clone();
    assert!(Nonce::is_shaped_like(&nonce));
    let peer = "127.0.0.1:9".parse().expect("an address");
    assert!(!proofs.arrived(&nonce, "mqtt", peer));
}

#[test]
fn an_unreadable_authority_is_refused() {
    for pem in [
        "",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        assert!(
            Trust::of_roots(pem, Vec::new(), Vec::new).is_err(),
            "{pem:?}"
        );
    }
}
