//! One connection of HTTP, from its first bytes until it ends or becomes the engine's.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use safeport_net::attempt::{Ending, Limit, Stage, Witness};
use safeport_net::{FirstBytes, Handshakes, Layer, TlsService, Turn, holder};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::caller::Caller;
use super::room::Place;
use super::stranger::{NO_TLS_HERE, Opening, Refusal, say_last, where_mqtt_is};
use super::tls_socket::{Broken, TlsSocket};
use super::visit::Visit;
use super::{Site, Transport, download};
use crate::limits::{
    FIRST_BYTES_PAUSE, FIRST_BYTES_PAUSE_MOST, HTTP_CONNECTION_LIFETIME, HTTP_HEADER_BYTES,
    HTTP_HEADER_TIMEOUT, HTTP_HEADERS, HTTP_STRANGER_BYTES, KERNEL_LOOK_PAUSE, SHUTDOWN_GRACE,
};
use crate::throttle::Throttle;

/// What every connection is served with.
pub(super) struct Answers {
    pub(super) site: Arc<Site>,
    pub(super) router: Router,
    /// Answers plain HTTP on the port of HTTPS.
    pub(super) wrong_port: Router,
    /// Each connection begins with those of its moment.
    pub(super) live: RwLock<Live>,
    pub(super) throttle: Throttle,
    /// When the kernel's table of connections was read last.
    pub(super) looked: Mutex<Option<std::time::Instant>>,
}

/// What may change while serving.
#[derive(Clone)]
pub(super) struct Live {
    /// `None` before there are certificates.
    pub(super) tls: Option<TlsService>,
    pub(super) handshakes: Handshakes,
    pub(super) witness: Arc<dyn Witness>,
}

impl Answers {
    pub(super) fn live(&self) -> Live {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.clone()
    }

    /// Whether the kernel's table of connections, which may be long, can be read once more.
    fn may_look(&self) -> bool {
        let now = std::time::Instant::now();
        let looked = self.looked.lock();
        let mut looked = looked.unwrap_or_else(PoisonError::into_inner);
        if looked.is_some_and(|before| now.duration_since(before) < KERNEL_LOOK_PAUSE) {
            return false;
        }
        *looked = Some(now);
        true
    }

    /// Logs `line` unless `cause` was logged a short while ago. For what concerns us all; what
    /// happens to one peer is the witness's.
    pub(super) fn warn(&self, cause: &str, line: impl FnOnce() -> String) {
        if let Some(left_out) = self.throttle.admit(cause, std::time::Instant::now()) {
            tracing::warn!(target: "safeport::http", left_out, "{}", line());
        }
    }
}

/// A connection that was accepted.
pub(super) struct Accepted {
    pub(super) listener: Transport,
    /// Whether it may come in the clear and inside TLS alike.
    pub(super) takes_both: bool,
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) place: Place,
    pub(super) visit: Arc<Visit>,
}

/// Serves a connection until it ends or `end` changes.
pub(super) async fn serve(answers: &Answers, accepted: Accepted, mut end: watch::Receiver<()>) {
    let Accepted {
        listener,
        takes_both,
        stream,
        peer,
        place,
        visit,
    } = accepted;
    // Answers are written in large pieces; the last one must not wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let mut caller = Caller {
        local: stream.local_addr().ok(),
        peer,
        listener,
        transport: Transport::Plain,
        place: Arc::new(place),
        visit,
    };
    let begun = {
        let greeting = Greeting {
            answers,
            live: answers.live(),
            caller: &caller,
            takes_both,
        };
        tokio::select! {
            begun = greeting.begin(stream) => begun,
            _ = end.changed() => return,
        }
    };
    match begun {
        Ok(Begun::Plain(stream)) => {
            Box::pin(drive(stream, caller, Role::Site, answers, end)).await;
        }
        // The others are boxed: connections of downloads are many and slow, and need none of it.
        Ok(Begun::File(stream)) => {
            if let Some(stream) = download::carry(stream, &caller, answers, &mut end).await {
                Box::pin(drive(stream, caller, Role::Site, answers, end)).await;
            }
        }
        Ok(Begun::WrongPort(stream)) => {
            Box::pin(drive(stream, caller, Role::WrongPort, answers, end)).await;
        }
        Ok(Begun::Tls(stream)) => {
            caller.transport = Transport::Tls;
            Box::pin(drive(stream, caller, Role::Site, answers, end)).await;
        }
        Err(over) => {
            caller.visit.tell(over.ending);
            if let Some(stream) = over.stream {
                say_last(stream, &over.words).await;
            }
        }
    }
}

/// A connection of which it is not known yet what it speaks.
struct Greeting<'a> {
    answers: &'a Answers,
    live: Live,
    caller: &'a Caller,
    takes_both: bool,
}

/// A connection that goes on.
enum Begun {
    Plain(TcpStream),
    /// It may want a file.
    File(TcpStream),
    /// HTTP where TLS is spoken.
    WrongPort(TcpStream),
    Tls(Box<TlsSocket<TcpStream>>),
}

/// A connection that does not.
struct Over {
    ending: Ending,
    /// Where the last words go; without, it is closed at once.
    stream: Option<TcpStream>,
    words: Vec<u8>,
}

/// A handshake that counts among those that are open.
struct Handshake {
    turn: Turn,
    pushed_out: Arc<Notify>,
    deadline: Instant,
}

impl Greeting<'_> {
    /// Finds out what the peer speaks, and shakes hands.
    async fn begin(&self, stream: TcpStream) -> Result<Begun, Over> {
        let handshake = match self.caller.listener {
            Transport::Tls => Some(self.enter()?),
            Transport::Plain => None,
        };
        let deadline = match &handshake {
            Some(handshake) => handshake.deadline,
            None => Instant::now() + HTTP_HEADER_TIMEOUT,
        };
        let mut stage = Stage::Silent;
        let looked = tokio::select! {
            looked = timeout_at(deadline, self.opening(&stream, &mut stage)) => looked,
            () = pushed_out(handshake.as_ref()) => {
                return Err(Over::silently(Ending::TurnedAway(Limit::PushedOut)));
            }
        };
        let (opening, wants_file) = match looked {
            Ok(Ok(looked)) => looked,
            Ok(Err(error)) => return Err(Over::silently(ending(&error, stage))),
            Err(_) => {
                return Err(Over::silently(Ending::TimedOut {
                    stage,
                    unacknowledged: None,
                }));
            }
        };
        let visit = &self.caller.visit;
        visit.speaks(opening.first_bytes());
        match (opening, self.caller.listener) {
            (Opening::Http(_), Transport::Plain) if wants_file => Ok(Begun::File(stream)),
            (Opening::Http(_), Transport::Plain) => Ok(Begun::Plain(stream)),
            (Opening::Http(_), Transport::Tls) if self.takes_clear() => Ok(Begun::Plain(stream)),
            (Opening::Http(FirstBytes::Http), Transport::Tls) => Ok(Begun::WrongPort(stream)),
            (Opening::Tls, Transport::Tls) => match handshake {
                Some(handshake) => self.shake_hands_aside(stream, handshake).await,
                None => self.shake_hands_aside(stream, self.enter()?).await,
            },
            (Opening::Tls, Transport::Plain) if self.takes_both => {
                self.shake_hands_aside(stream, self.enter()?).await
            }
            (Opening::Tls, Transport::Plain) => {
                Err(Over::wrong_protocol(stream, NO_TLS_HERE.into()))
            }
            (Opening::Mqtt(refusal), _) => {
                visit.names(refusal.client_id, refusal.user);
                Err(Over::wrong_protocol(stream, refusal.words))
            }
            (Opening::Garbage | Opening::Http(_), _) => {
                Err(Over::wrong_protocol(stream, Vec::new()))
            }
        }
    }

    /// Whether a listener that speaks TLS takes clients without: never where they have to show a
    /// certificate. Settings that ask for both are refused, but this is not the place to rely on it.
    fn takes_clear(&self) -> bool {
        let asks = |tls: &TlsService| tls.profile().client_roots.is_some();
        self.takes_both && !self.live.tls.as_ref().is_some_and(asks)
    }

    /// What the peer speaks. Leaves the bytes in the socket. `stage` tells how far it came
    /// meanwhile.
    /// Says with it whether it may want a file.
    async fn opening(&self, stream: &TcpStream, stage: &mut Stage) -> io::Result<(Opening, bool)> {
        let mut pause = FIRST_BYTES_PAUSE;
        loop {
            let seen = poll_fn(|context| self.glance(stream, context)).await?;
            *stage = Stage::Hello;
            if let Some(seen) = seen {
                return Ok(seen);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(FIRST_BYTES_PAUSE_MOST);
        }
    }

    /// `None` while too little is there. Its buffer is gone whenever it waits: many connections may.
    fn glance(
        &self,
        stream: &TcpStream,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Option<(Opening, bool)>>> {
        let mut bytes = [0; HTTP_STRANGER_BYTES];
        let mut seen = ReadBuf::new(&mut bytes);
        if ready!(stream.poll_peek(context, &mut seen))? == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        let seen = seen.filled();
        let opening = Opening::of(seen, || self.where_to());
        Poll::Ready(Ok(
            opening.map(|opening| (opening, download::wants_file(seen)))
        ))
    }

    fn where_to(&self) -> String {
        where_mqtt_is(&self.answers.site.seen.addresses())
    }

    /// Counts a handshake from now on.
    fn enter(&self) -> Result<Handshake, Over> {
        let pushed_out = Arc::new(Notify::new());
        let push_out = pushed_out.clone();
        let handshakes = &self.live.handshakes;
        let turn = handshakes
            .enter(self.caller.peer.ip(), move |_| push_out.notify_one())
            .map_err(|limit| Over::silently(Ending::TurnedAway(limit)))?;
        Ok(Handshake {
            turn,
            pushed_out,
            deadline: Instant::now() + handshakes.limits().timeout,
        })
    }

    /// In a box of its own: connections in the clear have no room for it.
    async fn shake_hands_aside(
        &self,
        stream: TcpStream,
        handshake: Handshake,
    ) -> Result<Begun, Over> {
        Box::pin(self.shake_hands(stream, handshake)).await
    }

    async fn shake_hands(&self, stream: TcpStream, handshake: Handshake) -> Result<Begun, Over> {
        let Some(service) = &self.live.tls else {
            self.answers.warn("certificates", || {
                let (name, peer) = (self.caller.listener.listener(), self.caller.peer);
                format!("{name}: there are no certificates yet; {peer} was closed")
            });
            let why = "there are no certificates yet".to_owned();
            return Err(Over::silently(Ending::Failed { alert: None, why }));
        };
        let reached = self.caller.local.map(|local| local.ip().to_canonical());
        let mut socket = TlsSocket::new(stream, Layer::tls(service, reached));
        let heard = |layer: &Layer| {
            handshake.turn.heard();
            if layer.facts().is_some() {
                handshake.turn.said_hello();
            }
        };
        let shaken = tokio::select! {
            shaken = timeout_at(handshake.deadline, socket.shake_hands(heard)) => Some(shaken),
            () = handshake.pushed_out.notified() => None,
        };
        self.caller.visit.showed(socket.layer().facts());
        let stage = socket.layer().stage();
        match shaken {
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => return Err(Over::broken(socket, ending(&error, stage))),
            Some(Err(_)) => {
                return Err(Over::silently(Ending::TimedOut {
                    stage,
                    unacknowledged: self.unacknowledged(stage).await,
                }));
            }
            None => return Err(Over::silently(Ending::TurnedAway(Limit::PushedOut))),
        }
        drop(handshake);
        if socket.layer().is_challenge() {
            return Err(Over::inside(socket, Ending::Connected, &[]));
        }
        self.look_inside(socket).await
    }

    /// Whether HTTP is spoken inside TLS, too.
    async fn look_inside(&self, mut socket: TlsSocket<TcpStream>) -> Result<Begun, Over> {
        let ahead = socket.ahead(|bytes| Opening::of(bytes, || self.where_to()));
        let (stage, reset) = (Stage::Finished, false);
        let opening = match timeout(HTTP_HEADER_TIMEOUT, ahead).await {
            Ok(Ok(Some(opening))) => opening,
            Ok(Ok(None)) => return Err(Over::broken(socket, Ending::Closed { stage, reset })),
            Ok(Err(error)) => return Err(Over::broken(socket, ending(&error, stage))),
            Err(_) => {
                let unacknowledged = None;
                let ending = Ending::TimedOut {
                    stage,
                    unacknowledged,
                };
                return Err(Over::inside(socket, ending, &[]));
            }
        };
        let words = match opening {
            Opening::Http(_) => return Ok(Begun::Tls(Box::new(socket))),
            Opening::Mqtt(Refusal {
                words,
                client_id,
                user,
            }) => {
                self.caller.visit.speaks(FirstBytes::Mqtt);
                self.caller.visit.names(client_id, user);
                words
            }
            Opening::Tls | Opening::Garbage => {
                self.caller.visit.speaks(FirstBytes::Unknown);
                Vec::new()
            }
        };
        Err(Over::inside(socket, Ending::WrongProtocol, &words))
    }

    /// What the peer's kernel never acknowledged, where that says something.
    async fn unacknowledged(&self, stage: Stage) -> Option<u32> {
        let (local, peer) = (self.caller.local?, self.caller.peer);
        if stage != Stage::Certificate || !self.answers.may_look() {
            return None;
        }
        let ask = move || holder::unacknowledged(local, peer);
        tokio::task::spawn_blocking(ask).await.ok().flatten()
    }
}

impl Over {
    fn silently(ending: Ending) -> Over {
        Over {
            ending,
            stream: None,
            words: Vec::new(),
        }
    }

    fn wrong_protocol(stream: TcpStream, words: Vec<u8>) -> Over {
        Over {
            ending: Ending::WrongProtocol,
            stream: Some(stream),
            words,
        }
    }

    /// TLS has said its last word itself.
    fn broken(socket: TlsSocket<TcpStream>, ending: Ending) -> Over {
        let (stream, ..) = socket.into_parts();
        Over {
            ending,
            stream: Some(stream),
            words: Vec::new(),
        }
    }

    /// `said` inside TLS, and goodbye.
    fn inside(socket: TlsSocket<TcpStream>, ending: Ending, said: &[u8]) -> Over {
        let (stream, mut layer, _) = socket.into_parts();
        let mut words = Vec::new();
        // Who has closed already hears no more.
        let _ = layer.send(said, &mut words);
        layer.close(&mut words);
        Over {
            ending,
            stream: Some(stream),
            words,
        }
    }
}

async fn pushed_out(handshake: Option<&Handshake>) {
    match handshake {
        Some(handshake) => handshake.pushed_out.notified().await,
        None => std::future::pending().await,
    }
}

/// How a connection ended with this error at this stage.
fn ending(error: &io::Error, stage: Stage) -> Ending {
    let broken = error.get_ref().and_then(|inner| inner.downcast_ref());
    match broken {
        Some(Broken(ending)) => ending.clone(),
        None => Ending::Closed {
            stage,
            reset: error.kind() == io::ErrorKind::ConnectionReset,
        },
    }
}

/// What a connection is answered with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Site,
    WrongPort,
}

/// Answers requests until the connection ends, at the latest after [`HTTP_CONNECTION_LIFETIME`].
async fn drive<S>(
    stream: S,
    caller: Caller,
    role: Role,
    answers: &Answers,
    mut end: watch::Receiver<()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let visit = caller.visit.clone();
    let stage = match caller.transport {
        Transport::Plain => Stage::Hello,
        Transport::Tls => Stage::Finished,
    };
    let router = match role {
        Role::Site => answers.router.clone(),
        Role::WrongPort => answers.wrong_port.clone(),
    };
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        if role == Role::WrongPort && asks_websocket(&request) {
            caller.visit.asks_websocket();
        }
        let visit = caller.visit.clone();
        request.extensions_mut().insert(caller.clone());
        let answer = router.call(request);
        async move {
            let answer: Result<Response<Body>, Infallible> = answer.await;
            if let Ok(response) = &answer {
                tell_answered(&visit, role, response.status());
            }
            answer
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HTTP_HEADER_TIMEOUT)
        .max_buf_size(HTTP_HEADER_BYTES)
        .max_headers(HTTP_HEADERS);
    let mut served = pin!(
        http.serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    let lifetime = tokio::time::sleep(HTTP_CONNECTION_LIFETIME);
    let served = tokio::select! {
        served = served.as_mut() => served,
        () = lifetime => return,
        _ = end.changed() => {
            served.as_mut().graceful_shutdown();
            match tokio::time::timeout(SHUTDOWN_GRACE, served).await {
                Ok(served) => served,
                Err(_) => return,
            }
        }
    };
    visit.tell(match &served {
        Ok(()) => Ending::Closed {
            stage,
            reset: false,
        },
        Err(error) => ending_of_http(error, stage, visit.first_bytes()),
    });
}

fn asks_websocket(request: &Request<Incoming>) -> bool {
    let asked = request.headers().get(header::UPGRADE);
    asked.is_some_and(|what| what.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Tells of the first answer. What becomes of an upgrade is told by who does it.
fn tell_answered(visit: &Visit, role: Role, status: StatusCode) {
    match role {
        Role::WrongPort => visit.tell(Ending::WrongProtocol),
        Role::Site if status == StatusCode::SWITCHING_PROTOCOLS => {}
        Role::Site => visit.tell(Ending::Connected),
    }
}

/// How a connection ended that was never answered by a page.
fn ending_of_http(error: &hyper::Error, stage: Stage, first: Option<FirstBytes>) -> Ending {
    if error.is_timeout() {
        return Ending::TimedOut {
            stage,
            unacknowledged: None,
        };
    }
    if error.is_parse() {
        return match first {
            Some(FirstBytes::Http | FirstBytes::Tls) => Ending::Refused {
                // Malformed packet, as MQTT calls it.
                reason: 0x81,
                why: format!("this is no request of HTTP/1: {error}"),
            },
            _ => Ending::WrongProtocol,
        };
    }
    let of_socket = error.source().and_then(|source| source.downcast_ref());
    match of_socket {
        Some(error) => ending(error, stage),
        None => Ending::Closed {
            stage,
            reset: false,
        },
    }
}
