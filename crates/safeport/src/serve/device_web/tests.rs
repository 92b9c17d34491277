//! The client against web servers that answer what a test says.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use super::http::{Answer, Fault, Form, Request, ask};

/// A web server. It lives until the test process ends.
pub(in crate::serve) struct Pretend {
    pub(in crate::serve) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// A request that came.
#[derive(Debug, Clone)]
pub(in crate::serve) struct Asked {
    pub(in crate::serve) line: String,
    pub(in crate::serve) head: String,
    pub(in crate::serve) body: Vec<u8>,
}

impl Asked {
    pub(in crate::serve) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| {
            let (given, value) = line.split_once(": ")?;
            given.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(in crate::serve) fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }
}

impl Pretend {
    /// Answers each connection with the bytes that `answer` makes of its request.
    pub(in crate::serve) fn new(
        answer: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static,
    ) -> Pretend {
        Pretend::by_hand(move |asked, socket| {
            // The client may have had enough.
            let _ = socket.write_all(&answer(asked));
        })
    }

    /// Lets `work` do what it likes with the connection once a request has come.
    fn by_hand(work: impl Fn(&Asked, &mut TcpStream) + Send + Sync + 'static) -> Pretend {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (noted, work) = (asked.clone(), Arc::new(work));
        spawn(move || {
            for socket in listener.incoming() {
                let (Ok(mut socket), noted, work) = (socket, noted.clone(), work.clone()) else {
                    return;
                };
                spawn(move || {
                    let Some(asked) = take(&mut socket) else {
                        return;
                    };
                    noted.lock().expect("a list").push(asked.clone());
                    work(&asked, &mut socket);
                });
            }
        });
        Pretend { address, asked }
    }

    pub(in crate::serve) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("a list").clone()
    }
}

fn take(socket: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        let read = socket.read(&mut chunk).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut asked = Asked {
        line: head.lines().next()?.to_owned(),
        head,
        body: bytes[end + 4..].to_vec(),
    };
    let length: usize = asked
        .header("content-length")
        .map_or(Some(0), |length| length.parse().ok())?;
    while asked.body.len() < length {
        let read = socket.read(&mut chunk).ok().filter(|read| *read > 0)?;
        asked.body.extend_from_slice(&chunk[..read]);
    }
    Some(asked)
}

/// An answer with a body of known length.
pub(in crate::serve) fn page(status: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn request(most: usize, patience: Duration) -> Request<'static> {
    Request {
        method: "GET",
        path: "/x?y=1",
        host: "plug-1:81",
        referer: "http://plug-1/",
        authorization: None,
        most,
        patience,
    }
}

fn get(server: &Pretend) -> Result<Answer, Fault> {
    ask(server.address, &request(1000, Duration::from_secs(2)), None)
}

#[test]
fn a_request_says_where_it_comes_from_and_the_answer_is_read_whole() {
    let server = Pretend::new(|_| {
        b"HTTP/1.1 200 OK\r\nServer: Tasmota/14.3.0 (ESP32-C3)\r\nContent-Length: 5\r\n\r\nhello, and more"
            .to_vec()
    });
    let answer = get(&server).expect("an answer");
    assert_eq!((answer.status, &answer.body[..]), (200, &b"hello"[..]));
    assert_eq!(answer.server.as_deref(), Some("Tasmota/14.3.0 (ESP32-C3)"));
    let asked = &server.asked()[0];
    assert_eq!(asked.line, "GET /x?y=1 HTTP/1.1");
    assert_eq!(asked.header("referer"), Some("http://plug-1/"));
    assert_eq!(asked.header("host"), Some("plug-1:81"));
    assert_eq!(asked.header("connection"), Some("close"));
}

#[test]
fn bodies_in_chunks_and_bodies_until_the_end_are_read() {
    let server = Pretend::by_hand(|_, socket| {
        let parts: [&[u8]; 4] = [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
            b"lo\r\n",
            b"7;x=y\r\n, world\r",
            b"\n0\r\n\r\n",
        ];
        for part in parts {
            let _ = socket.write_all(part);
            sleep(Duration::from_millis(20));
        }
    });
    let answer = get(&server).expect("an answer");
    assert_eq!(answer.body, b"hello, world");
    assert!(!answer.is_cut);

    let server = Pretend::new(|_| b"HTTP/1.0 200 OK\r\n\r\nold style".to_vec());
    let answer = get(&server).expect("an answer");
    assert_eq!((answer.body, answer.is_cut), (b"old style".to_vec(), false));
}

#[test]
fn an_answer_that_ends_too_early_says_so() {
    for whole in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf",
    ] {
        let server = Pretend::new(move |_| whole.to_vec());
        let answer = get(&server).expect("an answer");
        assert_eq!((&answer.body[..], answer.is_cut), (&b"half"[..], true));
    }
}

#[test]
fn a_connection_that_closes_without_a_word_is_told_from_one_that_says_nonsense() {
    let silent = Pretend::new(|_| Vec::new());
    assert!(matches!(get(&silent), Err(Fault::Dropped)));
    for nonsense in [
        &b"\x16\x03\x01\x02\x00\x01"[..],
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200",
    ] {
        let server = Pretend::new(move |_| nonsense.to_vec());
        let fault = get(&server).expect_err("no answer");
        assert!(matches!(fault, Fault::NotHttp), "{nonsense:?}: {fault:?}");
    }
}

#[test]
fn an_answer_without_an_end_costs_neither_memory_nor_patience_beyond_the_limit() {
    let endless = |start: &'static [u8], again: &'static [u8]| {
        Pretend::by_hand(move |_, socket| {
            let _ = socket.write_all(start);
            while socket.write_all(again).is_ok() {}
        })
    };
    let cases = [
        (&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[b'x'; 1000][..]),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"3\r\nabc\r\n",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n",
            b"xxxx",
        ),
    ];
    for (start, again) in cases {
        let server = endless(start, again);
        let fault = get(&server).expect_err("no answer");
        assert!(matches!(fault, Fault::TooLong(1000)), "{fault:?}");
    }
    let server = endless(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n");
    assert!(matches!(get(&server), Err(Fault::NotHttp)));
    let server = endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n");
    let fault = get(&server).expect_err("no answer");
    assert!(
        matches!(fault, Fault::Slow(_) | Fault::NotHttp),
        "{fault:?}"
    );
}

#[test]
fn a_device_that_dribbles_or_keeps_silent_is_given_up_in_time() {
    let dribble = Pretend::by_hand(|_, socket| {
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n");
        while socket.write_all(b"x").is_ok() {
            sleep(Duration::from_millis(50));
        }
    });
    let mute = Pretend::by_hand(|_, _| sleep(Duration::from_secs(5)));
    for server in [dribble, mute] {
        let begun = Instant::now();
        let patience = Duration::from_millis(400);
        let fault = ask(server.address, &request(1000, patience), None).expect_err("no answer");
        assert!(matches!(fault, Fault::Slow(_)), "{fault:?}");
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
}

#[test]
fn a_file_is_sent_in_a_form_with_its_exact_length_and_progress() {
    let server = Pretend::new(|_| page("200 OK", "fine"));
    let file = vec![7; 100_000];
    let mut told = Vec::new();
    let form = Form {
        boundary: "b",
        head: b"--b\r\nhead\r\n\r\n",
        file: &mut &file[..],
        length: file.len() as u64,
        tail: b"\r\n--b--\r\n",
        progress: &mut |sent| told.push(sent),
    };
    let answer = ask(
        server.address,
        &request(1000, Duration::from_secs(2)),
        Some(form),
    );
    assert_eq!(answer.expect("an answer").body, b"fine");
    let asked = &server.asked()[0];
    let length = 13 + file.len() + 9;
    assert_eq!(asked.header("content-length"), Some(&*length.to_string()));
    assert_eq!(asked.body.len(), length);
    assert_eq!(
        asked.header("content-type"),
        Some("multipart/form-data; boundary=b")
    );
    assert_eq!(told.last(), Some(&100_000));
    assert!(told.is_sorted());
}

#[test]
fn a_device_that_refuses_a_file_early_is_heard() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address");
    spawn(move || {
        let (mut socket, _) = listener.accept().expect("a connection");
        let mut some = [0; 1024];
        let _ = socket.read(&mut some);
        let _ = socket.write_all(&page("413 Too Large", "no room"));
        let _ = socket.shutdown(std::net::Shutdown::Write);
        // A reset would take the answer with it.
        sleep(Duration::from_secs(1));
    });
    let file = vec![0; 20 << 20];
    let form = Form {
        boundary: "b",
        head: b"",
        file: &mut &file[..],
        length: file.len() as u64,
        tail: b"",
        progress: &mut |_| {},
    };
    let answer = ask(address, &request(1000, Duration::from_secs(2)), Some(form));
    match answer {
        Ok(answer) => assert_eq!((answer.status, &answer.body[..]), (413, &b"no room"[..])),
        // The kernel may have thrown the answer away.
        Err(fault) => assert!(matches!(fault, Fault::Lost(_)), "{fault:?}"),
    }
}

#[test]
fn nobody_there_is_said_at_once() {
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a port");
    let fault = ask(port, &request(1000, Duration::from_secs(2)), None).expect_err("no answer");
    assert!(matches!(fault, Fault::Connect(_)), "{fault:?}");
}
