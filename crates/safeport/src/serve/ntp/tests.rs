use super::*;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// A question as lwIP asks it, with a time of its own to recognise the answer by.
fn question() -> [u8; 48] {
    let mut packet = [0; 48];
    packet[0] = 0x23;
    packet[40..].copy_from_slice(b"it is me");
    packet
}

fn listen(at: &str) -> (NtpListeners, SocketAddr) {
    let (tasks, _ends) = crate::tasks::tasks();
    let ntp = NtpListeners::new(tasks);
    let socket = bind(at);
    let address = socket.local_addr().expect("bound");
    ntp.add(vec![socket]).expect("answered");
    (ntp, address)
}

fn bind(at: &str) -> UdpSocket {
    safeport_net::bind_udp("ntp.bind", at.parse().expect("an address")).expect("a free port")
}

/// Asks as devices do, and takes an answer of nobody but the one that was asked.
fn ask(at: impl Into<SocketAddr>, packet: &[u8]) -> io::Result<Vec<u8>> {
    let at = at.into();
    let own = if at.is_ipv4() {
        "127.0.0.1:0"
    } else {
        "[::1]:0"
    };
    let socket = UdpSocket::bind(own)?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    socket.connect(at)?;
    socket.send(packet)?;
    let mut buffer = [0; 128];
    let length = socket.recv(&mut buffer)?;
    Ok(buffer[..length].to_vec())
}

fn outcome(ntp: &NtpListeners, name: &str) -> u64 {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(ntp.metrics()));
    let mut text = String::new();
    encode(&mut text, &registry).expect("text");
    let line = format!("safeport_ntp_packets_total{{outcome=\"{name}\"}} ");
    let value = text.lines().find_map(|text| text.strip_prefix(&line));
    value.and_then(|value| value.parse().ok()).expect(name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_device_gets_this_machines_time_within_a_moment() {
    let (ntp, address) = listen("127.0.0.1:0");
    let before = since_1970(SystemTime::now());
    let answer = ask(address, &question()).expect("an answer");
    let after = since_1970(SystemTime::now());
    assert_eq!(answer.len(), 48);
    assert_eq!(answer[0], 0x24);
    assert_eq!(&answer[24..32], b"it is me");
    let seconds = |at: usize| {
        let bytes: [u8; 8] = answer[at..at + 8].try_into().expect("eight bytes");
        // Until 2036 the era is the first.
        u64::from_be_bytes(bytes) as f64 / f64::powi(2.0, 32) - 2_208_988_800.0
    };
    let (received, sent) = (seconds(32), seconds(40));
    let slack = 0.000_001;
    assert!(before.as_secs_f64() - slack <= received && received <= sent + slack);
    assert!(sent <= after.as_secs_f64() + slack, "{sent} {after:?}");
    assert_eq!(outcome(&ntp, "answered"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_answer_comes_from_the_address_that_was_asked() {
    for all in ["0.0.0.0:0", "[::]:0"] {
        let (_ntp, address) = listen(all);
        // Linux gives all of 127.0.0.0/8 to this machine; its own choice would be 127.0.0.1.
        let asked = SocketAddr::from(([127, 0, 0, 5], address.port()));
        assert_eq!(ask(asked, &question()).expect(all).len(), 48, "{all}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_no_question_gets_silence_and_is_counted() {
    let (ntp, address) = listen("127.0.0.1:0");
    let mut peer = question();
    peer[0] = 0x21;
    let mut version = question();
    version[0] = 0x33;
    for packet in [&peer[..], &version, b"GET / HTTP/1.1\r\n\r\n", b""] {
        assert!(ask(address, packet).is_err());
    }
    assert_eq!(outcome(&ntp, "no_question"), 1);
    assert_eq!(outcome(&ntp, "wrong_version"), 1);
    assert!(outcome(&ntp, "malformed") >= 1);
    assert!(ask(address, &question()).is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_asks_too_often_is_told_once_and_then_nothing() {
    let (ntp, address) = listen("127.0.0.1:0");
    let mut kisses = 0;
    let mut answers = 0;
    for _ in 0..20 {
        if let Ok(answer) = ask(address, &question()) {
            answers += 1;
            kisses += u32::from(&answer[12..16] == b"RATE");
        }
    }
    // Silence takes half a second each, in which a question becomes free.
    assert!(answers >= 17, "{answers}");
    assert_eq!(kisses, 1);
    assert_eq!(outcome(&ntp, "told_to_slow_down"), 1);
    assert!(outcome(&ntp, "silenced") >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sockets_come_and_go_and_a_closed_one_leaves_its_port() {
    let (ntp, first) = listen("127.0.0.1:0");
    let second = bind("127.0.0.1:0");
    let at = second.local_addr().expect("bound");
    let steering = ntp.clone();
    tokio::task::spawn_blocking(move || steering.set(vec![second]))
        .await
        .expect("no panic")
        .expect("swapped");
    assert_eq!(ntp.addresses(), [at]);
    assert!(ask(at, &question()).is_ok());
    drop(bind(&first.to_string()));
    let steering = ntp.clone();
    tokio::task::spawn_blocking(move || steering.set(Vec::new()))
        .await
        .expect("no panic")
        .expect("closed");
    drop(bind(&at.to_string()));
}

#[test]
fn the_kernels_time_of_arrival_is_believed_unless_the_clock_was_set_since() {
    let now = since_1970(SystemTime::now());
    let a_moment_ago = now - Duration::from_millis(5);
    assert_eq!(received_at(Some(a_moment_ago)), a_moment_ago);
    assert!(received_at(Some(now - Duration::from_secs(3600))) >= now);
    assert!(received_at(Some(now + Duration::from_secs(3600))) < now + Duration::from_secs(60));
    assert!(received_at(None) >= now);
}
