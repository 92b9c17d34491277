//! A small client of HTTP/1.1 for the web servers of such devices: one request a connection,
//! everything bounded in time and bytes, and nothing followed.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::limits::{
    CONNECT, HEAD_BYTES, HEADERS, UPLOAD_ANSWER, UPLOAD_PATIENCE, UPLOAD_RATE, UPLOAD_STALL,
};

/// What is asked.
pub(super) struct Request<'a> {
    pub method: &'static str,
    /// With its query, encoded.
    pub path: &'a str,
    pub host: &'a str,
    pub referer: &'a str,
    /// The whole value of `Authorization`.
    pub authorization: Option<&'a str>,
    /// Bytes of the body of the answer; a longer one is none.
    pub most: usize,
    /// From the request to the end of the answer.
    pub patience: Duration,
}

/// A form with one file.
pub(super) struct Form<'a> {
    pub boundary: &'a str,
    /// What stands before the file.
    pub head: &'a [u8],
    pub file: &'a mut dyn Read,
    /// Bytes of the file.
    pub length: u64,
    /// What stands behind it.
    pub tail: &'a [u8],
    /// Is told of the bytes of the file that are over there.
    pub progress: &'a mut dyn FnMut(u64),
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub server: Option<String>,
    pub disposition: Option<String>,
    pub location: Option<String>,
    pub body: Vec<u8>,
    /// The connection ended before the body did: devices restart under their last words.
    pub is_cut: bool,
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum Fault {
    /// No connection.
    Connect(io::Error),
    /// It was closed without a word. Tasmota does so to a request without its `Referer`.
    Dropped,
    /// It was lost under way.
    Lost(io::Error),
    /// The time was over.
    Slow(Duration),
    /// The device takes no more of an upload.
    Stalled(u64),
    /// More came than an answer may have.
    TooLong(usize),
    /// What came is not HTTP.
    NotHttp,
    /// The file that is to be sent could not be read.
    File(io::Error),
}

/// Asks, and waits for the whole answer.
pub(super) fn ask(
    address: SocketAddr,
    request: &Request<'_>,
    form: Option<Form<'_>>,
) -> Result<Answer, Fault> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT).map_err(Fault::Connect)?;
    stream.set_nodelay(true).map_err(Fault::Connect)?;
    let mut deadline = Instant::now() + request.patience;
    let sent = match form {
        None => {
            write_timeout(&stream, request.patience)?;
            stream
                .write_all(&head_of(request, None))
                .map_err(|error| lost(error, request.patience))
        }
        Some(form) => {
            let sent = upload(&mut stream, request, form);
            deadline = Instant::now() + UPLOAD_ANSWER;
            sent
        }
    };
    match sent {
        Ok(()) => {}
        // A device that refuses answers at once and hangs up under the rest.
        Err(Fault::Lost(error)) => {
            let soon = Instant::now() + CONNECT;
            let answer = read(&mut stream, request, soon.min(deadline));
            return answer.map_err(|_| Fault::Lost(error));
        }
        Err(fault) => return Err(fault),
    }
    let answer = read(&mut stream, request, deadline);
    // Its end may be there already.
    let _ = stream.shutdown(Shutdown::Both);
    answer
}

fn head_of(request: &Request<'_>, form: Option<(&str, u64)>) -> Vec<u8> {
    use std::fmt::Write as _;
    let mut head = format!(
        "{} {} HTTP/1.1\r\nHost: {}\r\nReferer: {}\r\nUser-Agent: safeport\r\nAccept: */*\r\n\
         Connection: close\r\n",
        request.method, request.path, request.host, request.referer
    );
    if let Some(authorization) = request.authorization {
        let _ = write!(head, "Authorization: {authorization}\r\n");
    }
    if let Some((boundary, length)) = form {
        let _ = write!(
            head,
            "Content-Type: multipart/form-data; boundary={boundary}\r\nContent-Length: {length}\r\n"
        );
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// Sends a form, as fast as the device takes it.
fn upload(stream: &mut TcpStream, request: &Request<'_>, form: Form<'_>) -> Result<(), Fault> {
    let around = (form.head.len() + form.tail.len()) as u64;
    let patience = UPLOAD_PATIENCE + Duration::from_secs(form.length / UPLOAD_RATE);
    let deadline = Instant::now() + patience;
    write_timeout(stream, UPLOAD_STALL)?;
    let stalled = |sent| {
        move |error| match lost(error, UPLOAD_STALL) {
            Fault::Slow(_) => Fault::Stalled(sent),
            fault => fault,
        }
    };
    let mut first = head_of(request, Some((form.boundary, form.length + around)));
    first.extend_from_slice(form.head);
    stream.write_all(&first).map_err(stalled(0))?;
    let mut chunk = [0; 16 * 1024];
    let mut sent = 0;
    while sent < form.length {
        let wanted = usize::try_from(form.length - sent).unwrap_or(usize::MAX);
        let wanted = wanted.min(chunk.len());
        form.file
            .read_exact(&mut chunk[..wanted])
            .map_err(Fault::File)?;
        let mut part = &chunk[..wanted];
        while !part.is_empty() {
            if Instant::now() >= deadline {
                return Err(Fault::Slow(patience));
            }
            match stream.write(part) {
                Ok(0) => return Err(Fault::Lost(ErrorKind::WriteZero.into())),
                Ok(written) => part = &part[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(stalled(sent)(error)),
            }
        }
        sent += wanted as u64;
        (form.progress)(sent);
    }
    stream.write_all(form.tail).map_err(stalled(sent))
}

fn write_timeout(stream: &TcpStream, timeout: Duration) -> Result<(), Fault> {
    stream
        .set_write_timeout(Some(timeout))
        .map_err(Fault::Connect)
}

fn lost(error: io::Error, patience: Duration) -> Fault {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Fault::Slow(patience),
        _ => Fault::Lost(error),
    }
}

/// Reads with an end in time and in bytes.
struct Incoming<'a> {
    stream: &'a mut TcpStream,
    deadline: Instant,
    patience: Duration,
    bytes: Vec<u8>,
    at_end: bool,
}

impl Incoming<'_> {
    /// Some more bytes; false at the end of the connection.
    fn more(&mut self) -> Result<bool, Fault> {
        if self.at_end {
            return Ok(false);
        }
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Fault::Slow(self.patience));
            }
            self.stream
                .set_read_timeout(Some(left))
                .map_err(Fault::Lost)?;
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    self.at_end = true;
                    return Ok(false);
                }
                Ok(read) => {
                    self.bytes.extend_from_slice(&chunk[..read]);
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // It restarts instead of closing in order.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    self.at_end = true;
                    return Ok(false);
                }
                Err(error) => return Err(lost(error, self.patience)),
            }
        }
    }
}

struct Head {
    answer: Answer,
    /// Where the body begins.
    at: usize,
    length: Option<usize>,
    is_chunked: bool,
}

fn read(stream: &mut TcpStream, request: &Request<'_>, deadline: Instant) -> Result<Answer, Fault> {
    let mut incoming = Incoming {
        stream,
        deadline,
        patience: request.patience,
        bytes: Vec::new(),
        at_end: false,
    };
    let Head {
        mut answer,
        at,
        length,
        is_chunked,
    } = loop {
        if let Some(head) = parse(&incoming.bytes)? {
            if head.answer.status == 100 {
                incoming.bytes.drain(..head.at);
                continue;
            }
            break head;
        }
        if incoming.bytes.len() > HEAD_BYTES {
            return Err(Fault::NotHttp);
        }
        if !incoming.more()? {
            return Err(if incoming.bytes.is_empty() {
                Fault::Dropped
            } else {
                Fault::NotHttp
            });
        }
    };
    incoming.bytes.drain(..at);
    if matches!(answer.status, 204 | 304) {
        return Ok(answer);
    }
    if is_chunked {
        answer.is_cut = !read_chunks(&mut incoming, &mut answer.body, request.most)?;
        return Ok(answer);
    }
    if length.is_some_and(|length| length > request.most) {
        return Err(Fault::TooLong(request.most));
    }
    while length.is_none_or(|length| incoming.bytes.len() < length) {
        if incoming.bytes.len() > request.most {
            return Err(Fault::TooLong(request.most));
        }
        if !incoming.more()? {
            answer.is_cut = length.is_some();
            break;
        }
    }
    if incoming.bytes.len() > length.unwrap_or(request.most) {
        match length {
            Some(length) => incoming.bytes.truncate(length),
            None => return Err(Fault::TooLong(request.most)),
        }
    }
    answer.body = incoming.bytes;
    Ok(answer)
}

fn parse(bytes: &[u8]) -> Result<Option<Head>, Fault> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(at) = response.parse(bytes).map_err(|_| Fault::NotHttp)? else {
        return Ok(None);
    };
    let text = |name: &str| {
        let found = response
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| String::from_utf8_lossy(header.value).trim().to_owned())
    };
    let length = match text("content-length") {
        None => None,
        Some(length) => Some(length.parse().map_err(|_| Fault::NotHttp)?),
    };
    let is_chunked =
        text("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    Ok(Some(Head {
        answer: Answer {
            status: response.code.unwrap_or_default(),
            server: text("server"),
            disposition: text("content-disposition"),
            location: text("location"),
            body: Vec::new(),
            is_cut: false,
        },
        at,
        length,
        is_chunked,
    }))
}

/// Whether the last chunk came.
fn read_chunks(
    incoming: &mut Incoming<'_>,
    body: &mut Vec<u8>,
    most: usize,
) -> Result<bool, Fault> {
    let mut done = 0;
    loop {
        let parsed = httparse::parse_chunk_size(&incoming.bytes[done..]);
        match parsed.map_err(|_| Fault::NotHttp)? {
            httparse::Status::Partial => {
                // The line of a chunk is short.
                if incoming.bytes.len() - done > 256 {
                    return Err(Fault::NotHttp);
                }
                if !incoming.more()? {
                    return Ok(false);
                }
            }
            httparse::Status::Complete((_, 0)) => return Ok(true),
            httparse::Status::Complete((at, size)) => {
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                if size > most.saturating_sub(body.len()) {
                    return Err(Fault::TooLong(most));
                }
                let from = done + at;
                // Behind the chunk stands a line end.
                while incoming.bytes.len() < from + size + 2 {
                    if !incoming.more()? {
                        let came = incoming.bytes.len().min(from + size);
                        body.extend_from_slice(&incoming.bytes[from.min(came)..came]);
                        return Ok(false);
                    }
                }
                body.extend_from_slice(&incoming.bytes[from..from + size]);
                incoming.bytes.drain(..from + size + 2);
                done = 0;
            }
        }
    }
}
