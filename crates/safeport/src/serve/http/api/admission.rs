//! Who may ask: tokens by their hash, and how often an address may be wrong.
//!
//! The tokens are kept in memory and looked at again four times a second at most while requests
//! come, so that a removed one stops working soon and wrong ones cost no look at the disk. A token
//! that is right is let in however many wrong ones came from its address: it cannot be guessed,
//! and behind a proxy all programs have one address.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use safeport_store::{Registry, ScopeArea, ScopeLevel, Scopes, Token, TokenHash};

use super::super::caller::Caller;
use super::answer::Refusal;
use super::endpoint::Need;
use super::local::Local;
use crate::limits::{API_FAILURES_PER_MINUTE, LOOK_PAUSE, REVOCATION_INTERVAL, WHO_BYTES};
use crate::serve::access::failures::Failures;
use crate::serve::access::unix_now;
use crate::text::Texts;
use crate::throttle::Throttle;
use crate::{say, token};

/// Knows the tokens and who was wrong.
pub(super) struct Admission {
    seen: Mutex<Seen>,
    throttle: Throttle,
}

struct Seen {
    tokens: Vec<Token>,
    looked: Option<Instant>,
    failures: Failures,
}

impl Default for Admission {
    fn default() -> Self {
        Admission {
            seen: Mutex::new(Seen {
                tokens: Vec::new(),
                looked: None,
                failures: Failures::new(API_FAILURES_PER_MINUTE),
            }),
            throttle: Throttle::default(),
        }
    }
}

/// Who asks.
pub(super) enum Bearer {
    Token(Token),
    /// A program on this machine that may read the data folder.
    Local,
}

/// What is known of a caller without a look at the registry.
pub(super) enum Known {
    Admitted(Token),
    Local,
    /// Nobody with this hash yet.
    Unknown(TokenHash),
}

impl Admission {
    /// Judges a request from memory.
    pub(super) fn judge_now(
        &self,
        headers: &HeaderMap,
        caller: &Caller,
        local: Option<&Local>,
        texts: &Texts,
    ) -> Result<Known, Refusal> {
        let Some(given) = bearer(headers) else {
            return Err(unauthorized("no-token", say!(texts, "api-no-token"), texts));
        };
        let hash = token::hash(given);
        if local.is_some_and(|local| local.is_it(hash, caller)) {
            return Ok(Known::Local);
        }
        let peer = caller.peer.ip();
        let now = Instant::now();
        let mut seen = self.seen();
        if !seen.is_fresh(now) {
            return Ok(Known::Unknown(hash));
        }
        match seen.find(hash) {
            Some(token) => Ok(Known::Admitted(token)),
            None if seen.failures.address_is_over(peer, now) => Err(too_many(texts)),
            None => Ok(Known::Unknown(hash)),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn is_fresh(&self, now: Instant) -> bool {
        self.looked
            .is_some_and(|looked| now.saturating_duration_since(looked) < REVOCATION_INTERVAL)
    }

    /// Compares with every token, so that the time tells nothing of where one stands.
    fn find(&self, hash: TokenHash) -> Option<Token> {
        self.tokens
            .iter()
            .fold(None, |found, token| match token.hash == hash {
                true => Some(token),
                false => found,
            })
            .cloned()
    }
}

impl Known {
    /// Who asks, where there is nothing to look up and nothing to write down: no thread has to wait
    /// for the disk then.
    pub(super) fn at_once(self, now: u64) -> Result<Bearer, Known> {
        match self {
            Known::Local => Ok(Bearer::Local),
            Known::Admitted(token) if !token.use_is_news(now) => Ok(Bearer::Token(token)),
            known => Err(known),
        }
    }

    /// The token, after a look at the registry where that is needed; writes down that it is used.
    pub(super) fn settle(
        self,
        admission: &Admission,
        registry: &mut Registry,
        peer: IpAddr,
        texts: &Texts,
    ) -> Result<Bearer, Refusal> {
        let token = match self {
            Known::Local => return Ok(Bearer::Local),
            Known::Admitted(token) => token,
            Known::Unknown(hash) => look(admission, registry, hash, peer, texts)?,
        };
        // A full disk keeps nobody from looking at why.
        let _ = registry.note_token_use(&token, unix_now());
        Ok(Bearer::Token(token))
    }
}

fn look(
    admission: &Admission,
    registry: &mut Registry,
    hash: TokenHash,
    peer: IpAddr,
    texts: &Texts,
) -> Result<Token, Refusal> {
    // Who has just been given a token finds it known, and who tries many waits.
    let last = admission.seen().looked;
    if let Some(last) = last {
        std::thread::sleep(LOOK_PAUSE.saturating_sub(last.elapsed()));
    }
    let now = Instant::now();
    let tokens = registry
        .tokens()
        .map_err(|error| Refusal::of_store(&error, texts))?;
    let mut seen = admission.seen();
    seen.tokens = tokens;
    seen.looked = Some(now);
    if let Some(token) = seen.find(hash) {
        return Ok(token);
    }
    if seen.failures.address_is_over(peer, now) {
        return Err(too_many(texts));
    }
    seen.failures.count(peer, "", now);
    drop(seen);
    if let Some(left_out) = admission.throttle.admit(&peer.to_string(), now) {
        tracing::warn!(
            target: "safeport::http",
            left_out,
            "api: {peer} came with a token that does not exist, or no longer; `safeport token list` \
             shows which do"
        );
    }
    Err(unauthorized(
        "unknown-token",
        say!(texts, "api-unknown-token"),
        texts,
    ))
}

impl Bearer {
    /// Refuses a token that is not good for this.
    pub(super) fn must_have(&self, needs: Need, texts: &Texts) -> Result<(), Refusal> {
        let (Bearer::Token(token), Need::Scope(area, level)) = (self, needs) else {
            return Ok(());
        };
        if token.scopes.allows(area, level) {
            return Ok(());
        }
        let scope = needs.word().unwrap_or_default();
        let held = token.scopes.to_string();
        let (code, next) = match level {
            // The word of the time when tokens could be nothing but read-only.
            ScopeLevel::Write if token.scopes == Scopes::all(ScopeLevel::Read) => {
                ("read-only-token", say!(texts, "api-read-only-next"))
            }
            _ => (
                "missing-scope",
                say!(texts, "api-scope-next", scope = scope),
            ),
        };
        let what = say!(
            texts,
            "api-scope",
            name = token.name,
            scope = scope,
            held = held
        );
        Err(Refusal::new(StatusCode::FORBIDDEN, code, what, next)
            .with("scope", scope.into())
            .with("held", held.into()))
    }

    /// Whether nothing is refused.
    pub(super) fn may_do_everything(&self) -> bool {
        match self {
            Bearer::Token(token) => ScopeArea::ALL
                .into_iter()
                .all(|area| token.scopes.allows(area, ScopeLevel::Write)),
            Bearer::Local => true,
        }
    }

    /// Who asks, for the audit. The command line says which person it works for.
    pub(super) fn who(&self, headers: &HeaderMap) -> String {
        match self {
            Bearer::Token(token) => format!("api:{}", token.name),
            Bearer::Local => headers
                .get(WHO)
                .and_then(|who| who.to_str().ok())
                .filter(|who| who.starts_with("cli") && who.len() <= WHO_BYTES)
                .unwrap_or("cli")
                .to_owned(),
        }
    }
}

/// The header in which the command line says for whom it asks.
pub const WHO: &str = "safeport-who";

/// The token that a request carries.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn unauthorized(code: &'static str, what: String, texts: &Texts) -> Refusal {
    let ask = HeaderValue::from_static("Bearer realm=\"safeport\"");
    Refusal::new(
        StatusCode::UNAUTHORIZED,
        code,
        what,
        say!(texts, "api-token-next"),
    )
    .header(header::WWW_AUTHENTICATE, ask)
}

fn too_many(texts: &Texts) -> Refusal {
    Refusal::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too-many-failures",
        say!(texts, "api-too-many"),
        say!(texts, "api-token-next"),
    )
    .retry_after(60 / u64::from(API_FAILURES_PER_MINUTE))
}
