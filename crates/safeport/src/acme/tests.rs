//! The driver against Let's Encrypt's test authority `pebble`, which really validates. The whole
//! server, with TLS-ALPN-01 and moved clocks, is driven by `e2e/test_acme.py`.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{Path as UrlPath, State};
use axum::routing::get;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use safeport_settings::Said;
use tempfile::TempDir;

use super::*;

/// Ends its children, then removes the folder.
struct Pebble {
    /// What the authority finds at port 80.
    challenges: Challenges,
    children: Vec<Child>,
    folder: TempDir,
    api: SocketAddr,
    http: SocketAddr,
    management: SocketAddr,
}

fn free_ports<const N: usize>() -> [SocketAddr; N] {
    let sockets: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
    sockets.map(|socket| socket.local_addr().expect("its address"))
}

impl Pebble {
    /// `None`, told on stderr, where it is not installed.
    fn start(further: serde_json::Value) -> Option<Pebble> {
        let [api, pebble_management, http, tls, dns, management] = free_ports();
        let mut pebble = Pebble {
            challenges: Challenges::new(),
            children: Vec::new(),
            folder: tempfile::tempdir().expect("a folder"),
            api,
            http,
            management,
        };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()])
            .and_then(|params| params.self_signed(&key))
            .expect("a certificate");
        std::fs::write(pebble.path("api.pem"), certificate.pem()).expect("written");
        std::fs::write(pebble.path("api.key"), key.serialize_pem()).expect("written");
        let mut config = serde_json::json!({
            "listenAddress": api.to_string(),
            "managementListenAddress": pebble_management.to_string(),
            "certificate": pebble.path("api.pem"),
            "privateKey": pebble.path("api.key"),
            "httpPort": http.port(),
            "tlsPort": tls.port(),
            "ocspResponderURL": "",
        });
        for (name, value) in further.as_object().into_iter().flatten() {
            config[name] = value.clone();
        }
        let config = serde_json::json!({ "pebble": config });
        std::fs::write(pebble.path("pebble.json"), config.to_string()).expect("written");
        let names = Command::new("pebble-challtestsrv")
            .args([
                "-http01",
                "",
                "-https01",
                "",
                "-tlsalpn01",
                "",
                "-defaultIPv6",
                "",
            ])
            .args([
                "-dns01",
                &dns.to_string(),
                "-management",
                &management.to_string(),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(names) = names else {
            eprintln!("skipped: pebble is not installed (apt-get install pebble)");
            return None;
        };
        pebble.children.push(names);
        let log = std::fs::File::create(pebble.path("pebble.log")).expect("a log");
        let authority = Command::new("pebble")
            .args(["-dnsserver", &dns.to_string(), "-config"])
            .arg(pebble.path("pebble.json"))
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0")
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn();
        pebble.children.push(authority.expect("pebble"));
        for address in [api, management] {
            let deadline = Instant::now() + Duration::from_secs(10);
            while std::net::TcpStream::connect(address).is_err() {
                assert!(Instant::now() < deadline, "no pebble at {address}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        pebble.serve();
        Some(pebble)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self, names: &[&str], challenge: Challenge) -> AcmeConfig {
        AcmeConfig {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            keys: vec![Key::Rsa],
            directory: format!("https://{}/dir", self.api),
            contact: Some("me@example.com".to_owned()),
            challenge,
            dns_hook: None,
            ca_file: Some(self.path("api.pem")),
            eab: None,
        }
    }

    /// A program that sets records at the name server of the tests.
    fn hook(&self, before: &str) -> PathBuf {
        let path = self.path("hook.sh");
        let server = self.management;
        let script = format!(
            "#!/bin/bash\n{before}\necho \"$1 $2\" >> {0}/hook.log\n\
             exec 3<>/dev/tcp/{1}/{2}\n\
             if [ $1 = present ]; then p=set; b='{{\"host\":\"'$2'.\",\"value\":\"'$3'\"}}'\n\
             else p=clear; b='{{\"host\":\"'$2'.\"}}'; fi\n\
             printf 'POST /%s-txt HTTP/1.0\\r\\nContent-Length: %s\\r\\n\\r\\n%s' $p ${{#b}} \"$b\" >&3\n\
             cat <&3 >/dev/null\n",
            self.folder.path().display(),
            server.ip(),
            server.port()
        );
        super::hook::write_program(&path, &script);
        path
    }

    /// Answers what the authority fetches.
    fn serve(&self) {
        let router = axum::Router::new()
            .route(
                &format!("{CHALLENGE_PATH}{{token}}"),
                get(|State(challenges): State<Challenges>, UrlPath(token): UrlPath<String>| async move {
                    challenges.response(&token)
                }),
            )
            .with_state(self.challenges.clone());
        let address = self.http;
        tokio::spawn(async move {
            let socket = tokio::net::TcpListener::bind(address)
                .await
                .expect("a port");
            axum::serve(socket, router).await
        });
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.path("pebble.log"));
            eprintln!("pebble said:\n{}", log.unwrap_or_default());
        }
    }
}

/// Remembers what is served.
#[derive(Default)]
struct Shown(Mutex<BTreeMap<Key, String>>);

impl Desk for Shown {
    fn serve(&self, certificates: &[Issued<'_>]) -> Result<(), Said> {
        let served = certificates
            .iter()
            .map(|issued| (issued.key, issued.chain.to_owned()));
        *self.0.lock().expect("the desk") = served.collect();
        Ok(())
    }

    fn present_proof(&self, _: &str, _: &[u8]) -> Result<(), String> {
        Err("this desk shows no proofs".to_owned())
    }

    fn clear_proof(&self, _: &str) {}
}

impl Shown {
    fn chain(&self, key: Key) -> Option<String> {
        self.0.lock().expect("the desk").get(&key).cloned()
    }
}

fn keys() -> ServerKeys {
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
    let p256 = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    ServerKeys {
        rsa: rsa.serialize_pem(),
        p256: p256.serialize_pem(),
    }
}

/// A running driver.
struct Running {
    handle: AcmeHandle,
    desk: Arc<Shown>,
    task: tokio::task::JoinHandle<()>,
}

fn run(pebble: &Pebble, config: &AcmeConfig, keys: &ServerKeys) -> Running {
    run_with(pebble, config, keys, pebble.challenges.clone())
}

fn run_with(
    pebble: &Pebble,
    config: &AcmeConfig,
    keys: &ServerKeys,
    challenges: Challenges,
) -> Running {
    let desk = Arc::new(Shown::default());
    let (acme, handle) = Acme::new(
        Some(config.clone()),
        keys.clone(),
        &pebble.path("acme"),
        desk.clone(),
        challenges,
    );
    Running {
        handle,
        desk,
        task: tokio::spawn(acme.run()),
    }
}

impl Running {
    /// Waits until the state is so.
    async fn until(&self, what: &str, is: impl Fn(&AcmeState) -> bool) -> AcmeState {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let state = self.handle.state();
            if is(&state) {
                return state;
            }
            assert!(Instant::now() < deadline, "not {what}: {state:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn issued(&self, key: Key) -> String {
        self.until("issued", |_| self.desk.chain(key).is_some())
            .await;
        self.desk.chain(key).expect("just seen")
    }

    async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .expect("a file")
        .permissions()
        .mode()
        & 0o777
}

fn key_of(chain: &str) -> Vec<u8> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use x509_parser::prelude::{FromDer, X509Certificate};
    let der = CertificateDer::from_pem_slice(chain.as_bytes()).expect("a certificate");
    let (_, certificate) = X509Certificate::from_der(&der).expect("a certificate");
    certificate.public_key().raw.to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_for_both_keys_come_by_http_01_and_again_for_the_same_keys_when_asked() {
    let Some(pebble) = Pebble::start(serde_json::json!({})) else {
        return;
    };
    let mut config = pebble.config(&["hub.example.com", "www.example.com"], Challenge::Http01);
    config.keys = vec![Key::Rsa, Key::P256];
    let keys = keys();
    let running = run(&pebble, &config, &keys);
    let rsa = running.issued(Key::Rsa).await;
    let p256 = running.issued(Key::P256).await;
    let state = running
        .until("settled", |state| {
            state.certificates.len() == 2
                && state.certificates.iter().all(|one| one.doing.is_empty())
        })
        .await;
    assert_eq!(state.alarm(), Alarm::Fine);
    let held = state
        .certificate(Key::Rsa)
        .and_then(|one| one.held.clone())
        .expect("held");
    assert_eq!(held.names, config.names);
    assert!(state.certificates.iter().all(|one| one.trouble.is_none()));
    assert_eq!(mode(&pebble.path("acme/account.json")), 0o600);
    let account = std::fs::read_to_string(pebble.path("acme/account.json")).expect("an account");
    assert!(!pebble.path("acme/order.json").exists(), "no order is left");

    running.handle.renew_now();
    running
        .until("renewed", |_| {
            running.desk.chain(Key::Rsa) != Some(rsa.clone())
        })
        .await;
    let new = running.desk.chain(Key::Rsa).expect("one");
    assert_eq!(key_of(&new), key_of(&rsa), "devices pin the key");
    assert_ne!(key_of(&p256), key_of(&rsa));
    running
        .until("written", |state| {
            state.certificates.iter().all(|c| c.doing.is_empty())
        })
        .await;
    running.stop().await;

    // The next start serves what is there and asks for nothing.
    let again = run(&pebble, &config, &keys);
    assert_eq!(again.desk.chain(Key::Rsa), Some(new));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(
        again
            .handle
            .state()
            .certificates
            .iter()
            .all(|one| one.doing.is_empty())
    );
    let same = std::fs::read_to_string(pebble.path("acme/account.json")).expect("an account");
    assert_eq!(same, account, "there is one account");
    // Another key of the server: what is there cannot be served.
    let handle = again.handle.clone();
    let other = super::tests::keys();
    handle.set_keys(other);
    again
        .until("ordered anew", |_| {
            again
                .desk
                .chain(Key::Rsa)
                .is_some_and(|chain| key_of(&chain) != key_of(&rsa))
        })
        .await;
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_and_every_name_under_it_are_proved_by_records_that_the_hook_sets_and_takes_away() {
    let Some(pebble) = Pebble::start(serde_json::json!({})) else {
        return;
    };
    let mut config = pebble.config(&["example.com", "*.example.com"], Challenge::Dns01);
    config.dns_hook = Some(pebble.hook(""));
    let running = run(&pebble, &config, &keys());
    running.issued(Key::Rsa).await;
    running
        .until("settled", |state| {
            state.certificates.iter().all(|c| c.doing.is_empty())
        })
        .await;
    running.stop().await;
    let log = std::fs::read_to_string(pebble.path("hook.log")).expect("what the hook did");
    let record = "_acme-challenge.example.com";
    let lines: Vec<&str> = log.lines().collect();
    let expected =
        ["present", "present", "cleanup", "cleanup"].map(|verb| format!("{verb} {record}"));
    assert_eq!(lines, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_was_cut_off_goes_on_after_the_restart_and_leaves_no_record_behind() {
    let Some(pebble) = Pebble::start(serde_json::json!({})) else {
        return;
    };
    let mut config = pebble.config(&["hub.example.com"], Challenge::Dns01);
    // Hangs the first time, after it has set the record.
    let first = format!(
        "[ $1 = present ] && [ ! -e {0}/hung ] && touch {0}/hung && sleep 600",
        pebble.folder.path().display()
    );
    config.dns_hook = Some(pebble.hook(&first));
    let keys = keys();
    let running = run(&pebble, &config, &keys);
    let hung = pebble.path("hung");
    running.until("hanging", |_| hung.exists()).await;
    let note = || -> serde_json::Value {
        let text = std::fs::read_to_string(pebble.path("acme/order.json")).expect("a note");
        serde_json::from_str(&text).expect("JSON")
    };
    let before = note();
    assert_eq!(before["step"], "proving");
    assert_eq!(before["records"].as_array().map(Vec::len), Some(1));
    running.stop().await;

    let running = run(&pebble, &config, &keys);
    running.issued(Key::Rsa).await;
    running.stop().await;
    let log = std::fs::read_to_string(pebble.path("pebble.log")).expect("its log");
    let orders = log.matches("Added order").count();
    assert_eq!(orders, 1, "the same order went on: {log}");
    let did = std::fs::read_to_string(pebble.path("hook.log")).expect("what the hook did");
    let verbs: Vec<&str> = did
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(verbs, ["cleanup", "present", "cleanup"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_cannot_be_proved_is_told_with_the_way_out_and_tried_again_later() {
    let Some(pebble) = Pebble::start(serde_json::json!({})) else {
        return;
    };
    let config = pebble.config(&["hub.example.com"], Challenge::Http01);
    // At port 80 another web server answers.
    let elsewhere = Challenges::new();
    let running = run_with(&pebble, &config, &keys(), elsewhere);
    let failed = running
        .until("failed", |state| {
            state
                .certificate(Key::Rsa)
                .is_some_and(|one| one.trouble.is_some())
        })
        .await;
    let one = failed.certificate(Key::Rsa).expect("one");
    let trouble = one.trouble.as_ref().expect("trouble");
    assert_eq!(trouble.code, "not_proved");
    assert!(
        trouble
            .what
            .en
            .contains("by http-01 that hub.example.com is yours"),
        "{trouble:?}"
    );
    assert!(
        trouble
            .next
            .en
            .starts_with("another web server answers at port 80"),
        "{trouble:?}"
    );
    assert!(trouble.next.zh.contains("80"), "{trouble:?}");
    let wait = one.next_attempt.expect("a next attempt") - trouble.at;
    assert!((55..=90).contains(&wait), "{wait} s");
    assert_eq!(one.alarm, Alarm::Warning);
    assert!(
        !pebble.path("acme/order.json").exists(),
        "that order is dead"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_wants_a_known_account_gets_the_key_of_the_settings() {
    let further = serde_json::json!({
        "externalAccountBindingRequired": true,
        "externalAccountMACKeys": {
            "kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
        },
    });
    let Some(pebble) = Pebble::start(further) else {
        return;
    };
    let mut config = pebble.config(&["hub.example.com"], Challenge::Http01);
    let running = run(&pebble, &config, &keys());
    let failed = running
        .until("failed", |state| {
            state
                .certificate(Key::Rsa)
                .is_some_and(|one| one.trouble.is_some())
        })
        .await;
    let trouble = failed
        .certificate(Key::Rsa)
        .and_then(|one| one.trouble.clone());
    let trouble = trouble.expect("trouble");
    assert!(trouble.next.en.contains("acme.eab_key_id"), "{trouble:?}");
    // Settings that are mended are tried at once.
    config.eab = Some(Eab {
        key_id: "kid-1".to_owned(),
        key: "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W".to_owned(),
    });
    running.handle.apply(Some(config));
    running.issued(Key::Rsa).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_away_or_a_stranger_is_told_and_what_is_there_stays_served() {
    let Some(mut pebble) = Pebble::start(serde_json::json!({})) else {
        return;
    };
    let config = pebble.config(&["hub.example.com"], Challenge::Http01);
    let running = run(&pebble, &config, &keys());
    let served = running.issued(Key::Rsa).await;
    for child in &mut pebble.children {
        child.kill().and_then(|()| child.wait()).expect("stopped");
    }
    running
        .until("settled", |state| {
            state.certificates.iter().all(|c| c.doing.is_empty())
        })
        .await;
    running.handle.renew_now();
    let failed = running
        .until("failed", |state| {
            state
                .certificate(Key::Rsa)
                .is_some_and(|one| one.trouble.is_some())
        })
        .await;
    let one = failed.certificate(Key::Rsa).expect("one");
    assert_eq!(
        one.trouble.as_ref().expect("trouble").code,
        "authority_unreachable"
    );
    assert_eq!(one.alarm, Alarm::Fine, "the certificate is young");
    assert_eq!(running.desk.chain(Key::Rsa), Some(served));
    // Names without an authority that we trust.
    let mut untrusted = pebble.config(&["hub.example.com"], Challenge::Http01);
    untrusted.ca_file = Some(pebble.path("nothing.pem"));
    running.handle.apply(Some(untrusted.clone()));
    running.handle.renew_now();
    running
        .until("told", |state| {
            let trouble = state
                .certificate(Key::Rsa)
                .and_then(|one| one.trouble.as_ref());
            trouble.is_some_and(|trouble| trouble.code == "ca_file_unusable")
        })
        .await;
    running.stop().await;
}

/// An authority that makes accounts, gives no certificates, and suggests renewals.
async fn busy_authority() -> SocketAddr {
    use axum::http::{HeaderMap, StatusCode};
    use axum::response::IntoResponse;
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = socket.local_addr().expect("its address");
    let url = move |path: &str| format!("http://{address}{path}");
    let nonce = || [("replay-nonce", "bm9uY2U")];
    let router = axum::Router::new()
        .route(
            "/dir",
            get(move || async move {
                axum::Json(serde_json::json!({
                    "newNonce": url("/nonce"),
                    "newAccount": url("/account"),
                    "newOrder": url("/order"),
                    "renewalInfo": url("/ari"),
                }))
            }),
        )
        .route("/nonce", get(move || async move { nonce() }))
        .route(
            "/account",
            axum::routing::post(move |body: String| async move {
                assert!(body.contains("signature"), "{body}");
                let place = [("location", url("/account/1"))];
                (StatusCode::CREATED, nonce(), place, "{}")
            }),
        )
        .route(
            "/order",
            axum::routing::post(move || async move {
                let problem = serde_json::json!({
                    "type": "urn:ietf:params:acme:error:rateLimited",
                    "detail": "too many certificates for hub.example.com",
                });
                let headers = [
                    ("retry-after", "7200"),
                    ("content-type", "application/problem+json"),
                ];
                (
                    StatusCode::TOO_MANY_REQUESTS,
                    nonce(),
                    headers,
                    problem.to_string(),
                )
            }),
        )
        .route(
            "/ari/{certificate}",
            get(
                |UrlPath(certificate): UrlPath<String>, headers: HeaderMap| async move {
                    assert!(certificate.contains('.'), "{certificate}");
                    let agent = headers["user-agent"].to_str().expect("text");
                    assert!(agent.starts_with("safeport/"), "{agent}");
                    let info = serde_json::json!({ "suggestedWindow": {
                        "start": "2027-01-02T04:00:00Z",
                        "end": "2027-01-03T04:00:00Z",
                    }});
                    ([("retry-after", "21600")], axum::Json(info)).into_response()
                },
            ),
        );
    tokio::spawn(async move { axum::serve(socket, router).await });
    address
}

fn config_at(directory: String, folder: &Path) -> AcmeConfig {
    AcmeConfig {
        names: vec!["hub.example.com".to_owned()],
        keys: vec![Key::P256],
        directory,
        contact: None,
        challenge: Challenge::Http01,
        dns_hook: Some(folder.join("none")),
        ca_file: None,
        eab: None,
    }
}

#[tokio::test]
async fn an_authority_that_counts_is_left_alone_for_as_long_as_it_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = busy_authority().await;
    let config = config_at(format!("http://{address}/dir"), folder.path());
    let desk = Arc::new(Shown::default());
    let (acme, handle) = Acme::new(
        Some(config),
        keys(),
        folder.path(),
        desk.clone(),
        Challenges::new(),
    );
    let task = tokio::spawn(acme.run());
    let running = Running { handle, desk, task };
    let failed = running
        .until("refused", |state| {
            state
                .certificate(Key::P256)
                .is_some_and(|one| one.trouble.is_some())
        })
        .await;
    let one = failed.certificate(Key::P256).expect("one");
    let trouble = one.trouble.as_ref().expect("trouble");
    assert_eq!(trouble.code, "rate_limited");
    assert!(
        trouble.what.en.contains("too many certificates"),
        "{trouble:?}"
    );
    let wait = one.next_attempt.expect("a next attempt") - trouble.at;
    assert!((7199..=7201).contains(&wait), "{wait} s");
    running.stop().await;
}

#[tokio::test]
async fn an_authority_is_asked_when_it_would_like_a_renewal() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = busy_authority().await;
    let config = config_at(format!("http://{address}/dir"), folder.path());
    let keys = keys();
    // A certificate that came earlier, with the key identifier of its authority in it.
    let pair = KeyPair::from_pem(&keys.p256).expect("a key");
    let authority = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let mut params = CertificateParams::new(config.names.clone()).expect("parameters");
    params.use_authority_key_identifier_extension = true;
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now - time::Duration::days(1);
    params.not_after = now + time::Duration::days(89);
    let root = CertificateParams::new(Vec::new()).expect("parameters");
    let issuer = rcgen::Issuer::new(root, authority);
    let chain = params
        .signed_by(&pair, &issuer)
        .expect("a certificate")
        .pem();
    std::fs::write(folder.path().join("acme-p256.pem"), &chain).expect("written");
    let shelf = shelf::Shelf::new(folder.path());
    let client = client::AuthorityClient::new(None).expect("a client");
    account::open(&shelf, &config, &client)
        .await
        .expect("an account");

    let desk = Arc::new(Shown::default());
    let (acme, handle) = Acme::new(
        Some(config),
        keys,
        folder.path(),
        desk.clone(),
        Challenges::new(),
    );
    assert_eq!(
        desk.chain(Key::P256),
        Some(chain),
        "served from the first moment on"
    );
    let task = tokio::spawn(acme.run());
    let running = Running { handle, desk, task };
    let state = running
        .until("told", |state| {
            let held = state
                .certificate(Key::P256)
                .and_then(|one| one.held.as_ref());
            held.is_some_and(|held| held.suggested.is_some())
        })
        .await;
    let one = state.certificate(Key::P256).expect("one");
    let window = one
        .held
        .as_ref()
        .and_then(|held| held.suggested)
        .expect("a window");
    assert_eq!((window.start, window.end), (1_798_862_400, 1_798_948_800));
    let at = one.next_attempt.expect("a next attempt");
    assert!((window.start..window.end).contains(&at), "{at}");
    let suggestion = one.suggestion.expect("when to ask again");
    let pause = suggestion.again - suggestion.asked;
    assert!((21_590..=21_600).contains(&pause), "{pause} s");
    running.stop().await;
}

/// Refuses a while, as certificates are by a clock that is behind at a start.
struct Reluctant {
    refusals: AtomicU32,
    shown: Shown,
}

impl Desk for Reluctant {
    fn serve(&self, certificates: &[Issued<'_>]) -> Result<(), Said> {
        let left = self.refusals.load(Ordering::Relaxed);
        if left > 0 && !certificates.is_empty() {
            self.refusals.store(left - 1, Ordering::Relaxed);
            return Err(Said::new("not yet", "还没到时候"));
        }
        self.shown.serve(certificates)
    }

    fn present_proof(&self, name: &str, digest: &[u8]) -> Result<(), String> {
        self.shown.present_proof(name, digest)
    }

    fn clear_proof(&self, _: &str) {}
}

#[tokio::test]
async fn what_could_not_be_served_at_the_start_is_served_as_soon_as_it_can_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = keys();
    let pair = KeyPair::from_pem(&keys.rsa).expect("a key");
    let names = vec!["hub.example.com".to_owned()];
    let certificate = rcgen::CertificateParams::new(names)
        .and_then(|params| params.self_signed(&pair))
        .expect("a certificate")
        .pem();
    std::fs::write(folder.path().join("acme-rsa.pem"), &certificate).expect("a file");
    let mut config = config_at("https://127.0.0.1:9/directory".to_owned(), folder.path());
    config.names = vec!["hub.example.com".to_owned()];
    config.keys = vec![Key::Rsa];
    // Once when it is made, once when it begins to run.
    let desk = Arc::new(Reluctant {
        refusals: AtomicU32::new(2),
        shown: Shown::default(),
    });
    let (acme, handle) = Acme::new(
        Some(config),
        keys,
        folder.path(),
        desk.clone(),
        Challenges::new(),
    );
    assert_eq!(desk.shown.chain(Key::Rsa), None);
    let task = tokio::spawn(acme.run());
    for _ in 0..200 {
        if desk.shown.chain(Key::Rsa).is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(desk.shown.chain(Key::Rsa), Some(certificate));
    drop(handle);
    task.abort();
}
