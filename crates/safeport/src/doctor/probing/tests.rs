use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use safeport_doctor::plan::Stage;
use safeport_doctor::{Cause, Strength};

use super::*;

/// A server on a port of 127.0.0.1, for as long as the test runs.
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = std::sync::Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    port
}

/// Answers each request with these bytes.
fn http_server(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> u16 {
    server(move |mut stream| {
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&request).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("Content-Length: "))
                    .map_or(0, |length| length.parse().unwrap());
                if body.len() >= length {
                    break;
                }
            }
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(count) => request.extend_from_slice(&buffer[..count]),
            }
            if request
                .first()
                .is_some_and(|byte| !byte.is_ascii_uppercase())
            {
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
                return;
            }
        }
        let _ = stream.write_all(answer(&String::from_utf8_lossy(&request)).as_bytes());
    })
}

fn ok(kind: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}")
}

async fn run(target: String) -> Examination {
    examine(Order::of(target, Authorities::default()), |_| {}).await
}

/// The cause of the foremost clue of the deepest strength.
fn causes(examination: &Examination) -> Vec<Cause> {
    let clues = examination.evidence.clues.iter();
    clues
        .filter(|clue| clue.strength >= Strength::Specific)
        .map(|clue| clue.cause)
        .collect()
}

fn stages(examination: &Examination) -> Vec<Stage> {
    examination.steps.iter().map(|step| step.stage).collect()
}

#[tokio::test]
async fn a_port_on_which_nothing_listens_is_refused_and_other_ports_are_tried_once_each() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let seen = run(format!("http://127.0.0.1:{port}/")).await;
    assert!(causes(&seen).contains(&Cause::NothingListens), "{seen:?}");
    assert!(stages(&seen).contains(&Stage::Alternates));
    assert!(!stages(&seen).contains(&Stage::App));
}

#[tokio::test]
async fn a_server_that_resets_at_once_is_told_from_one_that_refuses() {
    let port = server(|stream| {
        let socket = socket2::SockRef::from(&stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    });
    let seen = run(format!("mqtt://127.0.0.1:{port}")).await;
    assert_eq!(causes(&seen), [Cause::ResetOnAccept], "{seen:?}");
}

#[tokio::test]
async fn a_server_that_never_answers_costs_its_time_and_no_more() {
    let port = server(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let begun = Instant::now();
    let seen = run(format!("https://127.0.0.1:{port}/")).await;
    assert_eq!(causes(&seen), [Cause::AcceptsThenSilent], "{seen:?}");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_server_that_sends_garbage_without_end_is_read_up_to_the_stages_limit() {
    let port = server(|mut stream| {
        let _ = stream.read(&mut [0; 64]);
        while stream.write_all(&[0xA7; 8192]).is_ok() {}
    });
    for scheme in ["http", "https", "mqtt"] {
        let begun = Instant::now();
        let seen = run(format!("{scheme}://127.0.0.1:{port}/")).await;
        assert_eq!(causes(&seen), [Cause::WrongService], "{seen:?}");
        assert!(begun.elapsed() < Duration::from_secs(15), "{scheme}");
    }
}

#[tokio::test]
async fn an_answer_of_http_that_never_ends_is_given_up() {
    let port = server(|mut stream| {
        let _ = stream.read(&mut [0; 512]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream
            .write_all(b"X-More: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n")
            .is_ok()
        {}
    });
    let seen = run(format!("http://127.0.0.1:{port}/x")).await;
    assert!(!causes(&seen).is_empty(), "{seen:?}");
}

#[tokio::test]
async fn a_server_that_speaks_first_is_another_service() {
    let port = server(|mut stream| {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let seen = run(format!("https://127.0.0.1:{port}/")).await;
    assert_eq!(causes(&seen), [Cause::WrongService]);
    let quote = &seen.evidence.clues[0].quote.en;
    assert!(quote.contains("SSH-2.0"), "{quote}");
}

#[tokio::test]
async fn http_behind_a_scheme_of_tls_is_named_with_the_right_url() {
    let port = http_server(|_| ok("text/plain", "hello"));
    let seen = run(format!("https://127.0.0.1:{port}/ota/x.bin")).await;
    assert_eq!(causes(&seen), [Cause::TlsToPlainHttp], "{seen:?}");
    let proposal = seen.evidence.facts.get("proposal").unwrap();
    assert_eq!(proposal, format!("http://127.0.0.1:{port}/ota/x.bin"));
}

fn broker(code: u8) -> u16 {
    server(move |mut stream| {
        let mut packet = [0; 512];
        let count = stream.read(&mut packet).unwrap_or(0);
        if count > 0 && packet[0] == 0x10 {
            let _ = stream.write_all(&[0x20, 2, 0, code]);
            let _ = stream.read(&mut packet);
        }
    })
}

#[tokio::test]
async fn tls_to_a_plain_broker_is_named() {
    let port = broker(0);
    let seen = run(format!("mqtts://127.0.0.1:{port}")).await;
    assert_eq!(causes(&seen), [Cause::TlsToPlainPort], "{seen:?}");
}

#[tokio::test]
async fn a_broker_that_takes_the_login_is_healthy_in_less_than_three_seconds() {
    let port = broker(0);
    let begun = Instant::now();
    let seen = run(format!("mqtt://127.0.0.1:{port}")).await;
    assert_eq!(seen.evidence.clues, [], "{seen:?}");
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert!(seen.evidence.facts.get("rtt_ms").is_some());
}

#[tokio::test]
async fn a_broker_that_wants_a_login_is_no_fault_and_a_wrong_password_is() {
    let port = broker(5);
    let seen = run(format!("mqtt://127.0.0.1:{port}")).await;
    assert_eq!(seen.evidence.clues, [], "{seen:?}");
    let mut order = Order::of(
        format!("mqtt://plug:wrong@127.0.0.1:{port}"),
        Authorities::default(),
    );
    order.yes = true;
    let seen = examine(order, |_| {}).await;
    assert_eq!(causes(&seen), [Cause::AuthFailed], "{seen:?}");
    let all = format!("{seen:?}");
    assert!(!all.contains("wrong@"), "{all}");
}

#[tokio::test]
async fn a_kept_password_does_not_go_over_a_plain_connection() {
    let (sender, received) = std::sync::mpsc::channel();
    let port = server(move |mut stream| {
        let mut packet = [0; 512];
        let count = stream.read(&mut packet).unwrap_or(0);
        if count > 0 {
            let _ = sender.send(packet[..count].to_vec());
            let _ = stream.write_all(&[0x20, 2, 0, 0]);
        }
    });
    let mut order = Order::of(format!("mqtt://127.0.0.1:{port}"), Authorities::default());
    order.login = Some(Login {
        user: "plug".to_owned(),
        password: "kept-secret".to_owned(),
    });
    examine(order.clone(), |_| {}).await;
    let sent: Vec<u8> = received.try_iter().flatten().collect();
    assert!(!sent.is_empty() && !contains(&sent, b"kept-secret"));
    order.yes = true;
    examine(order, |_| {}).await;
    let sent: Vec<u8> = received.try_iter().flatten().collect();
    assert!(contains(&sent, b"kept-secret"));
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn an_update_address_is_asked_as_a_device_asks_and_what_it_hands_out_is_tried() {
    let other = http_server(|_| "HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned());
    let reply = format!(r#"{{"websocket":{{"url":"ws://127.0.0.1:{other}/xiaozhi/v1/"}}}}"#);
    let port = http_server(move |request| {
        if request.starts_with("POST /xiaozhi/ota/ ") && request.contains("Device-Id: ") {
            ok("application/json", &reply)
        } else {
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned()
        }
    });
    let seen = run(format!("http://127.0.0.1:{port}/xiaozhi/ota/")).await;
    assert_eq!(seen.evidence.clues, [], "{seen:?}");
    let seen = run(format!("http://127.0.0.1:{port}/xiaozhi/otta/ota/")).await;
    assert_eq!(causes(&seen), [Cause::PathMissing], "{seen:?}");
}

#[tokio::test]
async fn a_websocket_address_that_is_handed_out_and_serves_something_else_is_named() {
    let other = broker(0);
    let told = format!("ws://127.0.0.1:{other}/xiaozhi/v1/");
    let reply = format!(r#"{{"websocket":{{"url":"{told}"}}}}"#);
    let port = http_server(move |_| ok("application/json", &reply));
    let seen = run(format!("http://127.0.0.1:{port}/xiaozhi/ota/")).await;
    // Both ports are this very process's, so nobody holds another's port.
    assert_eq!(causes(&seen), [Cause::HandedOutMismatch], "{seen:?}");
    assert_eq!(seen.evidence.facts.get("told"), Some(&told[..]));
}

#[tokio::test]
async fn an_address_that_is_handed_out_and_refuses_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = free.local_addr().unwrap().port();
    drop(free);
    let reply = format!(r#"{{"websocket":{{"url":"ws://127.0.0.1:{dead}/xiaozhi/v1/"}}}}"#);
    let port = http_server(move |_| ok("application/json", &reply));
    let seen = run(format!("http://127.0.0.1:{port}/xiaozhi/ota/")).await;
    assert_eq!(causes(&seen), [Cause::HandedOutUnreachable], "{seen:?}");
}

#[tokio::test]
async fn replies_that_no_device_can_use_are_told_apart() {
    for (answer, cause) in [
        (ok("application/json", r#"{"firmware":{}}"#), Cause::ReplyWithoutProtocol),
        (ok("text/html", "<html>Login</html>"), Cause::WrongServiceOrPortal),
        (ok("text/plain", "moved"), Cause::ReplyNotJson),
        (
            "HTTP/1.1 502 Bad Gateway\r\nServer: nginx/1.24\r\nContent-Length: 0\r\n\r\n".to_owned(),
            Cause::BackendDown,
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://login.example/portal\r\nContent-Length: 0\r\n\r\n".to_owned(),
            Cause::CaptivePortal,
        ),
    ] {
        let port = http_server(move |_| answer.clone());
        let seen = run(format!("http://127.0.0.1:{port}/xiaozhi/ota/")).await;
        assert_eq!(causes(&seen), [cause], "{seen:?}");
    }
}

#[tokio::test]
async fn a_proxy_that_drops_the_upgrade_is_told_from_a_path_that_is_missing() {
    for (answer, cause) in [
        (
            "HTTP/1.1 400 Bad Request\r\nServer: nginx/1.24\r\nContent-Length: 0\r\n\r\n",
            Cause::ProxyDropsUpgrade,
        ),
        (
            "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n",
            Cause::ProxyDropsUpgrade,
        ),
        (
            "HTTP/1.1 404 Not Found\r\nServer: nginx/1.24\r\nContent-Length: 0\r\n\r\n",
            Cause::PathMissing,
        ),
        (
            "HTTP/1.0 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
            Cause::UpgradeRefused,
        ),
    ] {
        let port = http_server(move |_| answer.to_owned());
        let seen = run(format!("ws://127.0.0.1:{port}/xiaozhi/v1/")).await;
        assert_eq!(causes(&seen), [cause], "{seen:?}");
    }
}

#[tokio::test]
async fn the_first_line_of_progress_comes_at_once_and_each_stage_is_told_twice() {
    let port = broker(0);
    let begun = Instant::now();
    let mut first = None;
    let mut told = Vec::new();
    let order = Order::of(format!("mqtt://127.0.0.1:{port}"), Authorities::default());
    let seen = examine(order, |step| {
        first.get_or_insert_with(|| begun.elapsed());
        told.push((step.stage, step.state == State::Running));
    })
    .await;
    assert!(first.unwrap() < Duration::from_millis(200));
    assert_eq!(told.len(), 2 * seen.steps.len());
    assert!(
        told.chunks(2)
            .all(|pair| pair[0].0 == pair[1].0 && pair[0].1 && !pair[1].1)
    );
}

/// A broker that hangs up after so long without a packet.
fn impatient(idle: Duration) -> u16 {
    server(move |mut stream| {
        stream.set_read_timeout(Some(idle)).unwrap();
        let mut packet = [0; 256];
        while let Ok(1..) = stream.read(&mut packet) {
            let answer: &[u8] = match packet[0] {
                0x10 => &[0x20, 2, 0, 0],
                0xC0 => &[0xD0, 0],
                _ => return,
            };
            let _ = stream.write_all(answer);
        }
    })
}

#[tokio::test]
async fn an_idle_connection_is_watched_through_longer_and_longer_pauses() {
    for (idle, lives) in [(1500, false), (10_000, true)] {
        let port = impatient(Duration::from_millis(idle));
        let order = Order {
            long: Some(Duration::from_secs(3)),
            ..Order::of(format!("mqtt://127.0.0.1:{port}"), Authorities::default())
        };
        let seen = examine(order, |_| {}).await;
        let last = seen.steps.last().unwrap();
        assert_eq!(last.stage, Stage::Session, "{seen:?}");
        if lives {
            assert_eq!((last.state, causes(&seen)), (State::Passed, Vec::new()));
            continue;
        }
        assert_eq!(causes(&seen), [Cause::NatIdleTimeout], "{seen:?}");
        let facts = &seen.evidence.facts;
        assert_eq!(
            facts.get("closed_by"),
            Some(&format!("127.0.0.1:{port}")[..])
        );
        assert!(
            facts
                .get("idle_s")
                .is_some_and(|idle| idle.starts_with("1.")),
            "{facts:?}"
        );
    }
}

#[tokio::test]
async fn a_connection_that_is_silently_forgotten_is_told_from_one_that_is_closed() {
    // It answers the login, and then nothing any more.
    let port = server(|mut stream| {
        let mut packet = [0; 256];
        if let Ok(1..) = stream.read(&mut packet) {
            let _ = stream.write_all(&[0x20, 2, 0, 0]);
        }
        while let Ok(1..) = stream.read(&mut packet) {}
    });
    let order = Order {
        long: Some(Duration::from_secs(1)),
        ..Order::of(format!("mqtt://127.0.0.1:{port}"), Authorities::default())
    };
    let seen = examine(order, |_| {}).await;
    assert!(causes(&seen).contains(&Cause::NatIdleTimeout), "{seen:?}");
    assert_eq!(seen.evidence.facts.get("closed_by"), None);
}

#[tokio::test]
async fn no_target_looks_at_this_machine_alone() {
    let seen = run(String::new()).await;
    assert_eq!(stages(&seen), [Stage::Parse, Stage::Own, Stage::Clock]);
}

#[tokio::test]
async fn a_name_that_another_name_server_leads_elsewhere_is_a_split_horizon() {
    let name_server = |address: [u8; 4]| {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = socket.local_addr().unwrap();
        thread::spawn(move || {
            let mut packet = [0; 512];
            while let Ok((count, from)) = socket.recv_from(&mut packet) {
                let mut reply = packet[..count].to_vec();
                reply[2] = 0x81;
                reply[3] = 0x80;
                if packet[count - 3] == 1 {
                    reply[7] = 1;
                    reply.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                    reply.extend(address);
                }
                let _ = socket.send_to(&reply, from);
            }
        });
        at
    };
    let mut order = Order::of(
        "http://hub.safeport-test.invalid:9/",
        Authorities::default(),
    );
    order.name_servers = vec![name_server([127, 0, 0, 1]), name_server([127, 0, 0, 2])];
    let seen = examine(order, |_| {}).await;
    assert!(causes(&seen).contains(&Cause::SplitHorizon), "{seen:?}");
}

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
/// A CONNACK, and much more in the same record.
const LONG: [u8; 5004] = {
    let mut long = [0; 5004];
    (long[0], long[1]) = (0x20, 2);
    long
};

/// A server with a certificate for `localhost` by an authority of its own, and these versions.
async fn tls_server(
    versions: &[&'static rustls::SupportedProtocolVersion],
    answer: &'static [u8],
) -> (u16, Authorities) {
    let (port, authorities, _) = tls_server_with(versions, answer, true).await;
    (port, authorities)
}

/// The same with its own key, or one that somebody has who copied the certificate; and what it hears.
async fn tls_server_with(
    versions: &[&'static rustls::SupportedProtocolVersion],
    answer: &'static [u8],
    is_owner: bool,
) -> (
    u16,
    Authorities,
    std::sync::Arc<std::sync::Mutex<Vec<Vec<u8>>>>,
) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority
        .distinguished_name
        .push(rcgen::DnType::CommonName, "Lab");
    let authority_key = KeyPair::generate().unwrap();
    let root = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver({
            let other = KeyPair::generate().unwrap();
            let key = if is_owner { &key } else { &other };
            let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
            let shown = rustls::sign::CertifiedKey::new(vec![leaf.der().clone()], key);
            std::sync::Arc::new(rustls::sign::SingleCertAndKey::from(shown))
        });
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = heard.clone();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, told) = (acceptor.clone(), told.clone());
            tokio::spawn(async move {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let mut stream = acceptor.accept(stream).await.ok()?;
                let mut packet = [0; 512];
                let count = stream.read(&mut packet).await.ok()?;
                told.lock().unwrap().push(packet[..count].to_vec());
                stream.write_all(answer).await.ok()?;
                stream.flush().await.ok()?;
                stream.read(&mut packet).await.ok()
            });
        }
    });
    let authorities = Authorities {
        given: vec![root.der().clone()],
        own: Vec::new(),
    };
    (port, authorities, heard)
}

#[tokio::test]
async fn a_good_broker_with_tls_is_healthy_for_a_client_that_knows_its_authority() {
    let (port, authorities) = tls_server(rustls::ALL_VERSIONS, &CONNACK).await;
    let mut order = Order::of(format!("mqtts://localhost:{port}"), authorities);
    order.profile = Profile::of("idf-5-bundle");
    let begun = Instant::now();
    let seen = examine(order.clone(), |_| {}).await;
    assert_eq!(seen.evidence.clues, [], "{seen:?}");
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert!(stages(&seen).contains(&Stage::AsDevice));
    order.authorities = Authorities::default();
    let seen = examine(order, |_| {}).await;
    assert!(
        seen.evidence
            .clues
            .iter()
            .any(|clue| clue.layer == safeport_doctor::Layer::Certificate),
        "{seen:?}"
    );
    assert!(!stages(&seen).contains(&Stage::App));
}

#[tokio::test]
async fn a_password_goes_to_the_owner_of_a_certificate_and_not_to_whoever_copied_it() {
    // The first comes to TLS 1.3.
    for versions in [rustls::ALL_VERSIONS, &[&rustls::version::TLS12]] {
        for (is_owner, is_known) in [(true, true), (false, true), (true, false)] {
            let (port, authorities, heard) = tls_server_with(versions, &CONNACK, is_owner).await;
            // A device that looks at no certificate comes as far as the login anyway.
            let mut order = Order::of(
                format!("mqtts://localhost:{port}"),
                match is_known {
                    true => authorities,
                    false => Authorities::default(),
                },
            );
            order.profile = Profile::of("ml307").filter(|_| !is_known);
            order.login = Some(Login {
                user: "plug".to_owned(),
                password: "hunter2".to_owned(),
            });
            let seen = examine(order, |_| {}).await;
            let heard = heard.lock().unwrap();
            let got = heard.iter().any(|said| said.ends_with(b"hunter2"));
            assert_eq!(got, is_owner && is_known, "{is_owner} {is_known}: {seen:?}");
            if !is_owner {
                assert_eq!(causes(&seen), [Cause::TlsBroken], "{seen:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_server_of_tls_1_3_alone_stops_a_device_of_1_2() {
    let (port, authorities) = tls_server(&[&rustls::version::TLS13], &CONNACK).await;
    let mut order = Order::of(format!("mqtts://localhost:{port}"), authorities);
    order.profile = Profile::of("idf-5-bundle");
    let seen = examine(order, |_| {}).await;
    assert_eq!(causes(&seen), [Cause::TlsVersion], "{seen:?}");
    assert_eq!(seen.evidence.facts.get("number"), Some("-0x7780"));
}

#[tokio::test]
async fn no_run_opens_more_connections_than_it_may() {
    use std::sync::atomic::{AtomicU32, Ordering};
    static OPENED: AtomicU32 = AtomicU32::new(0);
    let port = server(|mut stream| {
        OPENED.fetch_add(1, Ordering::Relaxed);
        let mut packet = [0; 512];
        let count = stream.read(&mut packet).unwrap_or(0);
        let answer: &[u8] = match packet[0] {
            // A fatal alert: handshake_failure.
            0x16 if count > 0 => &[0x15, 3, 3, 0, 2, 2, 40],
            _ => b"HTTP/1.1 400 Bad Request\r\nContent-Length: 4\r\n\r\nTLS?",
        };
        let _ = stream.write_all(answer);
    });
    for target in ["https", "wss", "mqtts", "http"] {
        OPENED.store(0, Ordering::Relaxed);
        let seen = run(format!("{target}://127.0.0.1:{port}/xiaozhi/v1/")).await;
        let opened = OPENED.load(Ordering::Relaxed);
        assert!(
            opened <= u32::from(safeport_doctor::limits::CONNECTS),
            "{opened}: {seen:?}"
        );
    }
}

#[tokio::test]
async fn a_record_that_is_longer_than_the_device_has_room_for_is_measured() {
    let (port, authorities) = tls_server(rustls::ALL_VERSIONS, &LONG).await;
    for (profile, is_large) in [("tasmota-ecdsa", true), ("idf-5-bundle", false)] {
        let mut order = Order::of(format!("mqtts://localhost:{port}"), authorities.clone());
        order.profile = Profile::of(profile);
        let seen = examine(order, |_| {}).await;
        let found = causes(&seen).contains(&Cause::RecordTooLarge);
        assert_eq!(found, is_large, "{profile}: {seen:?}");
    }
}

#[tokio::test]
async fn tokens_in_what_a_server_sends_are_not_shown() {
    let port = http_server(|_| ok("text/plain", "token=abcdef123456 is yours"));
    let seen = run(format!("http://127.0.0.1:{port}/xiaozhi/ota/")).await;
    assert_eq!(causes(&seen), [Cause::ReplyNotJson]);
    let all = format!("{seen:?}");
    assert!(!all.contains("abcdef123456"), "{all}");
}
