//! One errand to a service: asked, waited for, asked once more, and what became of it.

use std::error::Error;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use tokio::time::{Instant, sleep, timeout};

use super::refusal::{Refusal, kind_of_status, next_step, shown, words_of};
use super::{Endpoint, EndpointError};
use crate::limits::ERROR_BODY_BYTES;
use crate::provider::{Failure, FailureKind, Stage};

/// One function of a service.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) endpoint: Endpoint,
    stage: Stage,
    url: Url,
    /// The address without what may be secret in it.
    place: String,
}

impl Service {
    pub(super) fn new(
        endpoint: Endpoint,
        stage: Stage,
        function: &str,
    ) -> Result<Service, EndpointError> {
        let url = endpoint.address(function)?;
        Ok(Service {
            stage,
            place: place(&url),
            url,
            endpoint,
        })
    }

    /// A failure that has its own words.
    pub(super) fn failure(&self, kind: FailureKind, detail: String) -> Failure {
        Failure {
            stage: self.stage,
            provider: self.endpoint.provider.clone(),
            kind,
            detail: detail.into_boxed_str(),
        }
    }

    /// An answer that is not what was asked for. `seen` may have the service's words in it.
    pub(super) fn misread(&self, kind: FailureKind, seen: &str) -> Miss {
        Miss::new(self.told(kind, None, seen))
    }

    fn told(&self, kind: FailureKind, status: Option<StatusCode>, seen: &str) -> Failure {
        let seen = shown(seen, self.endpoint.key.as_ref());
        let key = self.endpoint.key.is_some();
        let step = next_step(kind, status, key, &self.endpoint.model);
        let place = &self.place;
        let detail = match (status, seen.as_str()) {
            (Some(status), "") => format!("{place}: {status}; {step}"),
            (Some(status), seen) => format!("{place}: {status}: {seen}; {step}"),
            (None, seen) => format!("{place}: {seen}; {step}"),
        };
        self.failure(kind, detail)
    }
}

/// Scheme, host, port and path.
fn place(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// A failure, and whether it is worth asking again.
#[derive(Debug)]
pub(super) struct Miss {
    failure: Failure,
    /// After so long.
    again: Option<Duration>,
}

impl Miss {
    fn new(failure: Failure) -> Miss {
        let again = failure.kind.is_passing().then_some(PAUSE);
        Miss { failure, again }
    }
}

/// Asking a service for one thing, with the time that is left for it.
pub(super) struct Exchange<'a> {
    service: &'a Service,
    left: Duration,
    asked_again: bool,
}

/// An answer that has begun.
pub(super) struct Reply {
    response: Response,
    /// How long it took so far, as long as nothing of its body is here.
    waited: Option<Duration>,
}

impl Reply {
    /// In lower case, without parameters; empty if it says none.
    pub(super) fn content_type(&self) -> String {
        let value = self.header(CONTENT_TYPE.as_str());
        let kind = value.split(';').next().unwrap_or_default();
        kind.trim().to_ascii_lowercase()
    }

    /// A parameter of its kind, as in `audio/pcm;rate=24000`.
    pub(super) fn content_parameter(&self, name: &str) -> Option<String> {
        let value = self.header(CONTENT_TYPE.as_str()).to_ascii_lowercase();
        value.split(';').skip(1).find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            (key.trim() == name).then(|| value.trim().trim_matches('"').to_string())
        })
    }

    fn header(&self, name: &str) -> &str {
        let value = self.response.headers().get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

impl<'a> Exchange<'a> {
    pub(super) fn new(service: &'a Service) -> Exchange<'a> {
        Exchange {
            service,
            left: service.endpoint.timeouts.whole,
            asked_again: false,
        }
    }

    /// Asks, and waits until the answer begins, well.
    pub(super) async fn post(
        &mut self,
        fill: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Reply, Miss> {
        let endpoint = &self.service.endpoint;
        let mut request = endpoint.dial.http.post(self.service.url.clone());
        if let Some(key) = &endpoint.key {
            request = request.bearer_auth(key.reveal());
        }
        let first = endpoint.timeouts.first;
        let started = Instant::now();
        let sent = self.within(first, fill(request).send()).await;
        let response = sent.ok_or_else(|| self.silent(first, "the answer did not begin"))?;
        let response = response.map_err(|error| self.unsent(&error))?;
        let reply = Reply {
            response,
            waited: Some(started.elapsed()),
        };
        match reply.response.status().is_success() {
            true => Ok(reply),
            false => Err(self.refused(reply).await),
        }
    }

    /// The next piece of an answer; `None` at its end.
    pub(super) async fn piece(&mut self, reply: &mut Reply) -> Result<Option<Vec<u8>>, Miss> {
        let timeouts = self.service.endpoint.timeouts;
        let (limit, what) = match reply.waited {
            Some(waited) => (
                timeouts.first.saturating_sub(waited),
                "the answer did not begin",
            ),
            None => (timeouts.between, "the answer did not go on"),
        };
        let came = self.within(limit, reply.response.chunk()).await;
        let whole = match reply.waited {
            Some(_) => timeouts.first,
            None => timeouts.between,
        };
        let came = came.ok_or_else(|| self.silent(whole, what))?;
        reply.waited = None;
        match came {
            Ok(piece) => Ok(piece.map(|bytes| bytes.to_vec())),
            Err(error) => {
                let seen = format!("the answer broke off: {}", cause(&error));
                Err(self.service.misread(FailureKind::Broken, &seen))
            }
        }
    }

    /// The rest of an answer that is complete. Its end is only waited for so that its connection can be used again.
    pub(super) async fn rest(&mut self, reply: &mut Reply, wait: Duration) -> Option<Vec<u8>> {
        let came = self.within(wait, reply.response.chunk()).await;
        came?.ok()?.map(|bytes| bytes.to_vec())
    }

    /// The whole of an answer that is short.
    pub(super) async fn whole(&mut self, reply: &mut Reply, limit: usize) -> Result<Vec<u8>, Miss> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece(reply).await? {
            body.extend_from_slice(&piece);
            if body.len() > limit {
                let seen = format!("the answer is longer than {limit} bytes");
                return Err(self.service.misread(FailureKind::Misunderstood, &seen));
            }
        }
        Ok(body)
    }

    /// Waits, if it is worth asking once more. `handed`: somebody has something of the answer already.
    ///
    /// # Errors
    /// The failure, if not.
    pub(super) async fn ask_again(&mut self, miss: Miss, handed: bool) -> Result<(), Failure> {
        let wait = miss.again.filter(|wait| !handed && *wait < self.left);
        let Some(wait) = wait.filter(|_| !self.asked_again) else {
            return Err(miss.failure);
        };
        tracing::debug!(failure = %miss.failure, "asking a provider once more");
        self.asked_again = true;
        self.left -= wait;
        sleep(wait).await;
        Ok(())
    }

    /// `None`: too late. What it took is no longer there for the rest.
    async fn within<T>(&mut self, limit: Duration, what: impl Future<Output = T>) -> Option<T> {
        let started = Instant::now();
        let done = timeout(limit.min(self.left), what).await;
        self.left = self.left.saturating_sub(started.elapsed());
        done.ok()
    }

    fn silent(&self, limit: Duration, what: &str) -> Miss {
        let timeouts = self.service.endpoint.timeouts;
        let seen = match self.left.is_zero() {
            true => format!("not done within {:?} in all", timeouts.whole),
            false => format!("{what} within {limit:?}"),
        };
        self.service.misread(FailureKind::TimedOut, &seen)
    }

    /// No answer at all.
    fn unsent(&self, error: &reqwest::Error) -> Miss {
        let cause = cause(error);
        let (kind, seen) = if error.is_builder() {
            let seen = "the request cannot be written; the key or the url has characters that no request can carry";
            (FailureKind::Refused, seen.to_string())
        } else if error.is_timeout() {
            (FailureKind::TimedOut, format!("no connection: {cause}"))
        } else if error.is_connect() {
            (FailureKind::Unreachable, format!("no connection: {cause}"))
        } else {
            (
                FailureKind::Broken,
                format!("it closed the connection without an answer: {cause}"),
            )
        };
        self.service.misread(kind, &seen)
    }

    /// An answer with a status that is no success.
    async fn refused(&mut self, mut reply: Reply) -> Miss {
        let status = reply.response.status();
        let kind = kind_of_status(status);
        let wait = reply.header(RETRY_AFTER.as_str()).trim().parse::<f64>();
        let wait = wait.ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
        let target = reply.header(LOCATION.as_str()).to_string();
        let mut seen = words_of(&self.error_body(&mut reply).await);
        if status.is_redirection() {
            let target = self.service.url.join(&target);
            seen = target.map_or(seen, |target| format!("it leads to {}", place(&target)));
        }
        let mut miss = Miss::new(self.service.told(kind, Some(status), &seen));
        if status == StatusCode::TOO_MANY_REQUESTS {
            miss.again = wait.filter(|wait| *wait <= LONGEST_PAUSE);
        }
        miss
    }

    /// As much of it as comes in good time.
    async fn error_body(&mut self, reply: &mut Reply) -> Vec<u8> {
        let started = Instant::now();
        let mut body = Vec::new();
        while body.len() < ERROR_BODY_BYTES {
            let left = ERROR_BODY_WAIT.saturating_sub(started.elapsed());
            let Some(piece) = self.rest(reply, left).await else {
                break;
            };
            body.extend_from_slice(&piece);
        }
        body.truncate(ERROR_BODY_BYTES);
        body
    }
}

/// The innermost reason: what is around it only says that something failed.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match std::ptr::addr_eq(cause, error) {
        // It would show the whole URL.
        true => "for no reason that is known".to_string(),
        false => cause.to_string(),
    }
}

/// The error of an answer with a good status.
pub(super) fn refusal_in(body: &[u8]) -> Option<Refusal> {
    Refusal::of(&serde_json::from_slice(body).ok()?)
}

/// Before a service that failed is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// A service that wants more time than this is not asked again: somebody waits.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// For an error message, once its status is here.
const ERROR_BODY_WAIT: Duration = Duration::from_secs(2);
