//! A file server, and a board that runs beside the test.

// Each test file uses a part of it.
#![allow(dead_code)]

use safeport_sim::board::{BoardError, Event, Events};
use std::collections::HashMap;
use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A board, everything it tells, and its web port.
pub(crate) struct Bench {
    told: mpsc::UnboundedReceiver<Event>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), BoardError>>,
    pub(crate) web_port: u16,
    pub(crate) seen: Vec<Event>,
}

impl Bench {
    pub(crate) async fn start<F>(name: &str, board: impl FnOnce(Events, Stop) -> F) -> Bench
    where
        F: Future<Output = Result<(), BoardError>> + Send + 'static,
    {
        let (events, told) = Events::new(name);
        let (stop, stopped) = oneshot::channel::<()>();
        let stop_future: Stop = Box::pin(async move {
            let _ = stopped.await;
        });
        let task = tokio::spawn(board(events, stop_future));
        Bench {
            told,
            stop: Some(stop),
            task,
            web_port: 0,
            seen: Vec::new(),
        }
    }

    /// The next event of that name for which `is_it` holds.
    pub(crate) async fn until(&mut self, name: &str, is_it: impl Fn(&Event) -> bool) -> Event {
        let found = timeout(Duration::from_secs(20), async {
            loop {
                let Some(event) = self.told.recv().await else {
                    panic!("the board has gone before `{name}`: {:#?}", self.seen);
                };
                if event.name == "web_listening" {
                    self.web_port = event.fields["port"].as_u64().unwrap_or(0) as u16;
                }
                self.seen.push(event.clone());
                if event.name == name && is_it(&event) {
                    return event;
                }
            }
        });
        match found.await {
            Ok(event) => event,
            Err(_) => {
                let seen: Vec<_> = self.seen.iter().map(Event::to_string).collect();
                panic!("no `{name}` in time; seen:\n{}", seen.join("\n"))
            }
        }
    }

    pub(crate) async fn get(&mut self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        http(self.web_port, &request, b"").await.2
    }

    pub(crate) async fn upload(
        &mut self,
        path: &str,
        field: &str,
        name: &str,
        file: &[u8],
    ) -> String {
        let mut body = format!(
            "--edge\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        )
        .into_bytes();
        body.extend_from_slice(file);
        body.extend_from_slice(b"\r\n--edge--\r\n");
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nReferer: http://127.0.0.1/\r\n\
             Content-Type: multipart/form-data; boundary=edge\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        http(self.web_port, &head, &body).await.2
    }

    pub(crate) async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        let ended = timeout(Duration::from_secs(5), self.task).await;
        ended
            .expect("the board stops")
            .expect("no panic")
            .expect("no error");
    }
}

/// Status (0 for a connection that was closed without an answer), head and body.
pub(crate) async fn http(port: u16, head: &str, body: &[u8]) -> (u16, String, String) {
    let answer = raw(port, head, body).await;
    let Some(at) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return (0, String::new(), String::new());
    };
    let head = String::from_utf8_lossy(&answer[..at]).into_owned();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let body = String::from_utf8_lossy(&answer[at + 4..]).into_owned();
    (status.unwrap_or(0), head, body)
}

pub(crate) async fn bytes(port: u16, head: &str) -> Vec<u8> {
    let answer = raw(port, head, b"").await;
    let at = answer.windows(4).position(|four| four == b"\r\n\r\n");
    answer[at.expect("an answer") + 4..].to_vec()
}

async fn raw(port: u16, head: &str, body: &[u8]) -> Vec<u8> {
    timeout(Duration::from_secs(20), async {
        let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .expect("the web server");
        socket.write_all(head.as_bytes()).await.expect("sent");
        socket.write_all(body).await.expect("sent");
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer).await;
        answer
    })
    .await
    .expect("an answer in time")
}

#[derive(Default)]
struct Shelf {
    files: HashMap<String, (u16, String, Vec<u8>)>,
    asked: Vec<String>,
}

/// A file server that remembers what was asked of it.
#[derive(Clone)]
pub(crate) struct Files {
    shelf: Arc<Mutex<Shelf>>,
    port: u16,
}

impl Files {
    pub(crate) fn serve() -> Files {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("a port").port();
        let shelf = Arc::new(Mutex::new(Shelf::default()));
        let files = Files {
            shelf: shelf.clone(),
            port,
        };
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let shelf = shelf.clone();
                std::thread::spawn(move || answer(socket, &shelf));
            }
        });
        files
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn put(&self, path: &str, file: &[u8]) {
        let head = format!("Content-Length: {}", file.len());
        self.put_raw(path, 200, &head, file);
    }

    pub(crate) fn put_raw(&self, path: &str, status: u16, head: &str, body: &[u8]) {
        let entry = (status, head.to_owned(), body.to_vec());
        self.lock().files.insert(path.to_owned(), entry);
    }

    pub(crate) fn remove(&self, path: &str) {
        self.lock().files.remove(path);
    }

    /// The heads of all requests so far, bodies behind them.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.lock().asked.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shelf> {
        self.shelf.lock().expect("no panic in the server")
    }
}

fn answer(mut socket: std::net::TcpStream, shelf: &Mutex<Shelf>) {
    let mut reader = BufReader::new(socket.try_clone().expect("a socket"));
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let mut words = head.split(' ');
    let (method, path) = (
        words.next().unwrap_or(""),
        words.next().unwrap_or("").to_owned(),
    );
    let range = head
        .lines()
        .find_map(|line| line.strip_prefix("Range: bytes="))
        .and_then(|range| range.split_once('-'))
        .map(|(from, to)| (from.parse().unwrap_or(0_usize), to.parse::<usize>().ok()));
    let is_head = method == "HEAD";
    let (status, headers, content) = {
        let mut shelf = shelf.lock().expect("no panic");
        let text = String::from_utf8_lossy(&body).into_owned();
        shelf.asked.push(format!("{head}{text}"));
        match shelf.files.get(&path) {
            Some((200, head, file)) if range.is_some() && head.starts_with("Content-Length") => {
                let (from, to) = range.unwrap_or_default();
                let to = to.unwrap_or(file.len()).min(file.len() - 1);
                let part = file[from.min(file.len())..=to].to_vec();
                let head = format!(
                    "Content-Length: {}\r\nContent-Range: bytes {from}-{to}/{}",
                    part.len(),
                    file.len()
                );
                (206, head, part)
            }
            Some(found) => found.clone(),
            None => (404, "Content-Length: 0".into(), Vec::new()),
        }
    };
    let _ = write!(
        socket,
        "HTTP/1.1 {status} X\r\n{headers}\r\nConnection: close\r\n\r\n"
    );
    if !is_head {
        let _ = socket.write_all(&content);
    }
}
