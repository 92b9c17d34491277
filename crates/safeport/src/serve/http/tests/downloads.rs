//! Files for devices over real sockets, in the clear and inside TLS.

use std::fs::File;
use std::os::unix::fs::FileExt;

use axum::body::Bytes;

use super::super::download::{
    Asked as Wanted, Content, End, NotServed, Sent, Served, Shelf, Ticket,
};
use super::*;

const TOKEN: &str = "aaaabbbbccccdddd2345";
const LENGTH: usize = 3_000_000;
/// More than kernels hold of a connection, so that it is under way until somebody reads it.
const LARGE: u64 = 1 << 30;

/// Two files under one token, and what was asked and told.
struct Stock {
    file: Arc<File>,
    /// Begins like `file` and goes on with zeros, which take no room.
    large: Arc<File>,
    bytes: Vec<u8>,
    asked: Mutex<Vec<String>>,
    told: Mutex<Vec<Sent>>,
    _folder: TempDir,
}

impl Stock {
    fn new() -> Arc<Stock> {
        let folder = tempfile::tempdir().expect("a folder");
        let bytes: Vec<u8> = (0..LENGTH as u32).map(|n| ((n * 31) >> 5) as u8).collect();
        let path = folder.path().join("blob");
        std::fs::write(&path, &bytes).expect("a file");
        let file = Arc::new(File::open(&path).expect("a file"));
        let mut first = [0; 1];
        file.read_exact_at(&mut first, 0).expect("readable");
        let path = folder.path().join("large");
        std::fs::write(&path, &bytes).expect("a file");
        let large = File::options().write(true).read(true).open(&path);
        let large = Arc::new(large.expect("a file"));
        large.set_len(LARGE).expect("room");
        Arc::new(Stock {
            file,
            large,
            bytes,
            asked: Mutex::default(),
            told: Mutex::default(),
            _folder: folder,
        })
    }

    fn ends(&self) -> Vec<(u64, u64, Option<End>)> {
        let told = self.told.lock().unwrap();
        let ended = told.iter().filter(|sent| sent.ended.is_some());
        ended
            .map(|sent| (sent.start, sent.bytes, sent.ended))
            .collect()
    }
}

impl Shelf for Stock {
    fn find(&self, asked: &Wanted<'_>) -> Result<Served, NotServed> {
        let version = asked.header("x-esp32-version").unwrap_or("-");
        let line = format!("{} {version} tls={}", asked.file, asked.tls);
        self.asked.lock().unwrap().push(line);
        let content = match (asked.token, asked.file) {
            (TOKEN, "tasmota32.bin") => Content::File(self.file.clone()),
            (TOKEN, "large.bin") => Content::File(self.large.clone()),
            (TOKEN, "manifest.json") => Content::Bytes(Bytes::from_static(b"{}")),
            _ => {
                return Err(NotServed {
                    status: 404,
                    why: "no such file in this folder".to_owned(),
                });
            }
        };
        let length = match &content {
            Content::File(_) if asked.file == "large.bin" => LARGE,
            Content::File(_) => LENGTH as u64,
            Content::Bytes(bytes) => bytes.len() as u64,
        };
        Ok(Served {
            content,
            length,
            md5: Some([0x5a; 16]),
            sha256: Some([0xa5; 32]),
            content_type: "application/octet-stream",
            ticket: Ticket(7),
        })
    }

    fn progress(&self, ticket: Ticket, sent: Sent) {
        assert_eq!(ticket, Ticket(7));
        self.told.lock().unwrap().push(sent);
    }
}

fn stocked() -> (Hub, Arc<Stock>) {
    let hub = Hub::new();
    let stock = Stock::new();
    hub.site.set_shelf(stock.clone());
    (hub, stock)
}

fn get(stream: &mut (impl Read + Write), file: &str, headers: &str) -> (String, Vec<u8>) {
    let request = format!("GET /ota/{TOKEN}/{file} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    read(stream)
}

fn read(stream: &mut impl Read) -> (String, Vec<u8>) {
    let head = head(stream);
    let length = head
        .to_ascii_lowercase()
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok())
        .expect("a length");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("the file");
    (head, body)
}

#[test]
fn a_tasmota_gets_the_whole_file_over_http_1_0_and_its_connection_is_closed_in_peace() {
    let (hub, stock) = stocked();
    let http = hub.listen(Transport::Plain);
    let mut stream = plain(http);
    let request = format!(
        "GET /ota/{TOKEN}/tasmota32.bin HTTP/1.0\r\nHost: x\r\nUser-Agent: ESP32-http-Update\r\n\
         x-ESP32-version: 14.3.0(release-safeboot)\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut all = Vec::new();
    stream
        .read_to_end(&mut all)
        .expect("the answer, then the end");
    drop(stream);
    let at = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8(all[..at].to_vec()).unwrap();
    assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{head}");
    assert!(
        head.contains(&format!("x-MD5: {}\r\n", "5a".repeat(16))),
        "{head}"
    );
    assert!(all[at..] == stock.bytes, "every byte");
    eventually("the end is told", || !stock.ends().is_empty());
    assert_eq!(stock.ends(), [(0, LENGTH as u64, Some(End::Complete))]);
    assert_eq!(
        *stock.asked.lock().unwrap(),
        ["tasmota32.bin 14.3.0(release-safeboot) tls=false"]
    );
}

#[test]
fn an_esp_idf_fetches_in_ranges_over_one_connection_and_its_last_range_is_clamped() {
    let (hub, stock) = stocked();
    let http = hub.listen(Transport::Plain);
    let https = hub.listen(Transport::Tls);
    fn fetch(stream: &mut (impl Read + Write), stock: &Stock) {
        let request = format!("HEAD /ota/{TOKEN}/tasmota32.bin HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let told = head(stream).to_ascii_lowercase();
        assert!(
            told.contains(&format!("content-length: {LENGTH}\r\n")),
            "{told}"
        );
        assert!(told.contains("accept-ranges: bytes\r\n"), "{told}");
        let mut file = Vec::new();
        while file.len() < LENGTH {
            // The end is one past the last byte when it is the last one.
            let end = (file.len() + 1_000_000).min(LENGTH);
            let range = format!("Range: bytes={}-{end}\r\n", file.len());
            let (head, part) = get(stream, "tasmota32.bin", &range);
            assert!(head.starts_with("HTTP/1.1 206 "), "{head}");
            file.extend(part);
        }
        assert!(file == stock.bytes);
    }
    fetch(&mut plain(http), &stock);
    fetch(&mut tls(https), &stock);
    assert!(
        stock
            .asked
            .lock()
            .unwrap()
            .last()
            .unwrap()
            .ends_with("tls=true")
    );
}

#[test]
fn a_connection_may_fetch_files_and_look_at_pages_in_any_order() {
    let (hub, stock) = stocked();
    let http = hub.listen(Transport::Plain);
    for order in ["fpf", "pfp", "ffpp", "mfpm"] {
        let mut stream = plain(http);
        for what in order.chars() {
            match what {
                'f' => assert!(get(&mut stream, "tasmota32.bin", "").1 == stock.bytes),
                'm' => assert_eq!(get(&mut stream, "manifest.json", "").1, b"{}"),
                _ => assert!(ask(&mut stream, "GET", "/healthz", "").starts_with("HTTP/1.1 200")),
            }
        }
    }
}

#[test]
fn a_head_that_comes_in_pieces_is_waited_for() {
    let (hub, stock) = stocked();
    let mut stream = plain(hub.listen(Transport::Plain));
    let request = format!("GET /ota/{TOKEN}/tasmota32.bin HTTP/1.1\r\nHost: x\r\n\r\n");
    for piece in request.as_bytes().chunks(23) {
        stream.write_all(piece).expect("sent");
        std::thread::sleep(Duration::from_millis(15));
    }
    assert!(read(&mut stream).1 == stock.bytes);
}

#[test]
fn a_client_that_goes_in_the_middle_is_told_as_gone() {
    let (hub, stock) = stocked();
    let http = hub.listen(Transport::Plain);
    let https = hub.listen(Transport::Tls);
    let request = format!("GET /ota/{TOKEN}/large.bin HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut stream = plain(http);
    stream.write_all(request.as_bytes()).expect("sent");
    head(&mut stream);
    drop(stream);
    eventually("its end is told", || stock.ends().len() == 1);
    let mut stream = tls(https);
    stream.write_all(request.as_bytes()).expect("sent");
    head(&mut stream);
    drop(stream);
    eventually("its end is told", || stock.ends().len() == 2);
    for (_, sent, ended) in stock.ends() {
        assert_eq!(ended, Some(End::Gone));
        assert!(sent < LARGE);
    }
}

#[test]
fn strange_paths_and_methods_get_one_sentence_by_either_way() {
    let (hub, stock) = stocked();
    let http = hub.listen(Transport::Plain);
    let https = hub.listen(Transport::Tls);
    let other = format!("/ota/{}/tasmota32.bin", "z".repeat(20));
    for (method, path, status) in [
        ("GET", "/ota/x", "404"),
        ("GET", "/ota/../api/v1/settings", "404"),
        ("GET", &format!("/ota/{TOKEN}/../../registry.db"), "404"),
        ("GET", &format!("/ota/{TOKEN}/%2e%2e%2fregistry.db"), "404"),
        ("GET", &format!("/ota/{TOKEN}/nothing.bin"), "404"),
        ("GET", &other, "404"),
        ("PUT", &format!("/ota/{TOKEN}/tasmota32.bin"), "405"),
    ] {
        let by_http = ask(&mut plain(http), method, path, "");
        let by_https = ask(&mut tls(https), method, path, "");
        for answer in [&by_http, &by_https] {
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{path}: {answer}"
            );
        }
        let body = |answer: &str| answer.split_once("\r\n\r\n").unwrap().1.to_owned();
        assert_eq!(body(&by_http), body(&by_https), "{path}");
        assert_eq!(body(&by_http).lines().count(), 1, "{path}");
    }
    assert!(stock.ends().is_empty());
}

#[test]
fn downloads_beyond_the_limit_wait_and_are_then_asked_to_come_again() {
    let (hub, stock) = stocked();
    let http = hub.listen(Transport::Plain);
    hub.site.pace().set(0, 0, 1);
    let request = |file| format!("GET /ota/{TOKEN}/{file} HTTP/1.1\r\nHost: x\r\n\r\n");
    let ask = |file| {
        let mut stream = plain(http);
        stream.write_all(request(file).as_bytes()).expect("sent");
        stream
    };
    let mut first = ask("large.bin");
    head(&mut first);
    assert!(head(&mut ask("tasmota32.bin")).starts_with("HTTP/1.1 503 "));
    let mut third = ask("tasmota32.bin");
    drop(first);
    assert!(read(&mut third).1 == stock.bytes);
}

#[test]
fn a_ceiling_holds_for_all_downloads_together() {
    let (hub, stock) = stocked();
    let addresses = [hub.listen(Transport::Plain), hub.listen(Transport::Tls)];
    hub.site.pace().set(6_000_000, 16_384, 100);
    let began = Instant::now();
    std::thread::scope(|scope| {
        let (stock, addresses) = (&stock, &addresses);
        scope.spawn(move || {
            assert!(get(&mut plain(addresses[0]), "tasmota32.bin", "").1 == stock.bytes)
        });
        scope.spawn(move || {
            assert!(get(&mut tls(addresses[1]), "tasmota32.bin", "").1 == stock.bytes)
        });
    });
    // Six million bytes at six million a second, less what may go ahead.
    assert!(
        began.elapsed() > Duration::from_millis(700),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_thousand_downloads_share_one_open_file() {
    let (hub, stock) = stocked();
    let http = hub.listen(Transport::Plain);
    hub.listeners.set_room(2000, 100);
    let mut streams: Vec<TcpStream> = (0..1000).map(|_| plain(http)).collect();
    let request = format!("GET /ota/{TOKEN}/large.bin HTTP/1.0\r\nHost: x\r\n\r\n");
    for stream in &mut streams {
        stream.write_all(request.as_bytes()).expect("sent");
    }
    for stream in &mut streams {
        head(stream);
        let mut first = [0; 1000];
        stream.read_exact(&mut first).expect("bytes");
        assert!(first == stock.bytes[..1000]);
    }
    assert!(hub.site.pace().active() > 900);
    drop(streams);
    eventually("all have ended", || hub.site.pace().active() == 0);
    assert_eq!(stock.ends().len(), 1000);
}

/// A thousand slow devices may cost 4 MB: a task for each, and as much again around it.
#[test]
fn the_task_of_a_connection_is_small() {
    fn size<'a, F: Future>(
        _: impl FnOnce(
            &'a connection::Answers,
            connection::Accepted,
            tokio::sync::watch::Receiver<()>,
        ) -> F,
    ) -> usize {
        size_of::<F>()
    }
    let bytes = size(connection::serve);
    assert!(bytes <= 2304, "{bytes}");
}
