use std::sync::Arc;

use proptest::prelude::*;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::stub::{Stub, dial, within};
use super::*;

const LONG: Duration = Duration::from_secs(20);

async fn refused(answer: &'static str) -> Trouble {
    let stub = Stub::answering(answer).await;
    let opened = within(WebSocket::open(&dial(), &stub.url, &[], LONG)).await;
    opened.err().expect("no WebSocket")
}

#[tokio::test]
async fn texts_and_bytes_go_both_ways() {
    let stub = Stub::talking(|_, mut peer| async move {
        while let Some(message) = peer.next().await {
            peer.send(message).await;
        }
    })
    .await;
    let mut socket = WebSocket::open(&dial(), &stub.url, &[], LONG)
        .await
        .unwrap();
    socket.send_text("hello".to_owned(), LONG).await.unwrap();
    socket.send_bytes(vec![1, 2, 3], LONG).await.unwrap();
    assert_eq!(
        within(socket.next()).await,
        Ok(Arrival::Text("hello".to_owned()))
    );
    assert_eq!(
        within(socket.next()).await,
        Ok(Arrival::Bytes(vec![1, 2, 3]))
    );
    socket.close().await;
    stub.until_ended(1).await;
}

#[tokio::test]
async fn a_refused_upgrade_says_why() {
    for (answer, kind) in [
        (
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
            FailureKind::NotAllowed,
        ),
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
            FailureKind::NotAllowed,
        ),
        (
            "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n",
            FailureKind::Exhausted,
        ),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            FailureKind::Refused,
        ),
        (
            "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
            FailureKind::Failed,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            FailureKind::Misunderstood,
        ),
        ("SSH-2.0-OpenSSH_9.2\r\n", FailureKind::Misunderstood),
        ("", FailureKind::Unreachable),
    ] {
        let trouble = refused(answer).await;
        assert_eq!(trouble.kind, kind, "{answer:?}: {}", trouble.detail);
    }
}

#[tokio::test]
async fn what_a_refusal_says_is_shown() {
    let answer = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 17\r\n\r\nno key\n was  sent";
    let trouble = refused(answer).await;
    assert!(
        trouble.detail.contains("(no key was sent)"),
        "{}",
        trouble.detail
    );
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let opened = within(WebSocket::open(
        &dial(),
        &url,
        &[],
        Duration::from_millis(50),
    ))
    .await;
    assert_eq!(opened.err().unwrap().kind, FailureKind::TimedOut);
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let stub = Stub::nobody().await;
    let opened = within(WebSocket::open(&dial(), &stub.url, &[], LONG)).await;
    assert_eq!(opened.err().unwrap().kind, FailureKind::Unreachable);
    let opened = within(WebSocket::open(
        &dial(),
        "ws://no-such-host.invalid/",
        &[],
        LONG,
    ))
    .await;
    assert_eq!(opened.err().unwrap().kind, FailureKind::Unreachable);
}

#[tokio::test]
async fn an_address_that_is_none_is_told_without_connecting() {
    for url in [
        "",
        "https://host/",
        "host:1",
        "ws://",
        "wss:///path",
        "ws://a b/",
    ] {
        let opened = WebSocket::open(&dial(), url, &[], LONG).await;
        let trouble = opened.err().unwrap();
        assert_eq!(trouble.kind, FailureKind::Refused, "{url}");
        assert!(
            trouble.detail.contains("wss://host:port"),
            "{}",
            trouble.detail
        );
    }
    let headers = [("authorization", "Bearer a\nb".to_owned())];
    let opened = WebSocket::open(&dial(), "ws://127.0.0.1:1/", &headers, LONG).await;
    let trouble = opened.err().unwrap();
    assert_eq!(trouble.kind, FailureKind::Refused);
    assert!(!trouble.detail.contains("a\nb"), "a key is never shown");
}

#[test]
fn an_address_leads_to_a_host_and_a_port() {
    let of = |url| {
        Place::of(url)
            .map(|place| (place.host, place.port, place.tls))
            .unwrap()
    };
    assert_eq!(of("ws://asr/x?y=z"), ("asr".to_owned(), 80, false));
    assert_eq!(of("wss://asr.lan"), ("asr.lan".to_owned(), 443, true));
    assert_eq!(of("wss://[::1]:10095/"), ("::1".to_owned(), 10_095, true));
}

#[tokio::test]
async fn over_tls_the_certificate_decides() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let certificate = made.cert.der().clone();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://localhost:{}/", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let Ok(tls) = acceptor.accept(socket).await else {
                continue;
            };
            let Ok(mut stream) = tokio_tungstenite::accept_async(tls).await else {
                continue;
            };
            stream.send(Message::text("in")).await.unwrap();
        }
    });

    let opened = within(WebSocket::open(&dial(), &url, &[], LONG)).await;
    let trouble = opened.err().expect("nobody vouches for it");
    assert_eq!(trouble.kind, FailureKind::Unreachable);
    assert!(trouble.detail.contains("TLS"), "{}", trouble.detail);

    let open = Dial {
        tls: Arc::new(unverified(&dial().tls)),
        ..dial()
    };
    let mut socket = within(WebSocket::open(&open, &url, &[], LONG))
        .await
        .unwrap();
    assert_eq!(
        within(socket.next()).await,
        Ok(Arrival::Text("in".to_owned()))
    );

    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let trusting = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let dial = Dial::new(trusting).unwrap();
    let mut socket = within(WebSocket::open(&dial, &url, &[], LONG))
        .await
        .unwrap();
    assert_eq!(
        within(socket.next()).await,
        Ok(Arrival::Text("in".to_owned()))
    );
}

#[tokio::test]
async fn a_message_that_is_too_large_ends_it_before_it_is_read() {
    let stub = Stub::talking(|_, mut peer| async move {
        peer.send(Message::binary(vec![0; WEBSOCKET_MESSAGE_BYTES + 1]))
            .await;
        peer.until_gone().await;
    })
    .await;
    let mut socket = WebSocket::open(&dial(), &stub.url, &[], LONG)
        .await
        .unwrap();
    let trouble = within(socket.next()).await.unwrap_err();
    assert_eq!(
        trouble.kind,
        FailureKind::Misunderstood,
        "{}",
        trouble.detail
    );
    drop(socket);
    stub.until_ended(1).await;
}

#[tokio::test]
async fn an_open_connection_that_is_closed_or_spoken_to_is_not_quiet() {
    let stub = Stub::talking(|number, mut peer| async move {
        peer.next().await;
        match number {
            0 => peer.send(Message::Ping(vec![1].into())).await,
            1 => peer.send(Message::text("unasked")).await,
            _ => return,
        }
        peer.send(Message::text("that was it")).await;
        peer.until_gone().await;
    })
    .await;
    for _ in 0..3 {
        let mut socket = WebSocket::open(&dial(), &stub.url, &[], LONG)
            .await
            .unwrap();
        assert!(socket.is_quiet());
        socket.send_text("now".to_owned(), LONG).await.unwrap();
        within(async {
            while socket.is_quiet() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

#[test]
fn a_key_is_taken_out_of_what_is_told() {
    let trouble = Trouble::new(FailureKind::NotAllowed, "no such key: sk-secret");
    let failure = trouble.into_failure(Stage::Synthesizer, "voice", Some("sk-secret"));
    assert_eq!(
        failure.to_string(),
        "voice: does not let this server in: no such key: (the key)"
    );
}

proptest! {
    #[test]
    fn any_address_is_read_or_refused(url in "(wss?://)?.{0,40}") {
        let _ = Place::of(&url);
        let _ = request(&url, &[]);
    }

    #[test]
    fn any_body_can_be_shown(body in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(excerpt(&body).chars().count() <= SHOWN + 4);
    }
}
