//! `/api/v1/`: settings, their history, ports, attempts to connect and certificates for programs that hold a token.
//!
//! Every request carries its token, also on a server that lets MQTT clients in without a login: a
//! header that no page of another origin can send, so there is nothing to forge. What changes
//! settings stages a revision as the command line does, and waits for what the server makes of it.

mod admission;
mod answer;
mod attempts;
mod certificates;
mod change;
mod desk;
mod look;

use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use safeport_store::{Registry, TokenScope};

use self::answer::{Answer, Refusal};
pub use self::desk::Api;
use self::desk::Desk;
use super::caller::Caller;
use super::page::texts;
use super::site::Site;
use crate::limits::{API_BODY_BYTES, API_BODY_PATIENCE, API_TURN_PATIENCE};
use crate::say;
use crate::text::{Language, Texts};

/// Everything under `/api/v1`.
pub(super) fn router() -> Router<Arc<Site>> {
    use TokenScope::{Read, Write};
    Router::new()
        .route(
            "/settings",
            get(async |site, caller, request| {
                serve(site, caller, request, Read, |desk| desk.settings()).await
            })
            .patch(async |site, caller, request| {
                serve(site, caller, request, Write, |desk| desk.change()).await
            }),
        )
        .route(
            "/settings/reload",
            post(async |site, caller, request| {
                serve(site, caller, request, Write, |desk| desk.reload()).await
            }),
        )
        .route(
            "/settings/{key}",
            get(
                async |site, caller, Path(key): Path<String>, query: RawQuery, request| {
                    let work = move |desk: &mut Desk<'_>| {
                        let query = look::query(query.0.as_deref(), &["device"], desk.texts)?;
                        desk.explain(&key, query.get("device").map(String::as_str))
                    };
                    serve(site, caller, request, Read, work).await
                },
            ),
        )
        .route(
            "/revisions",
            get(async |site, caller, query: RawQuery, request| {
                let work = move |desk: &mut Desk<'_>| {
                    let query = look::query(query.0.as_deref(), &["limit"], desk.texts)?;
                    desk.revisions(query.get("limit").map(String::as_str))
                };
                serve(site, caller, request, Read, work).await
            }),
        )
        .route(
            "/revisions/{id}",
            get(async |site, caller, Path(id): Path<String>, request| {
                let work = move |desk: &mut Desk<'_>| desk.revision(&id);
                serve(site, caller, request, Read, work).await
            }),
        )
        .route(
            "/revisions/{id}/rollback",
            post(async |site, caller, Path(id): Path<String>, request| {
                let work = move |desk: &mut Desk<'_>| desk.roll_back(&id);
                serve(site, caller, request, Write, work).await
            }),
        )
        .route(
            "/ports",
            get(async |site, caller, request| {
                serve(site, caller, request, Read, |desk| desk.ports()).await
            }),
        )
        .route(
            "/attempts",
            get(async |site, caller, query: RawQuery, request| {
                let work = move |desk: &mut Desk<'_>| {
                    let query = look::query(query.0.as_deref(), &attempts::KNOWN, desk.texts)?;
                    desk.attempts(&query)
                };
                serve(site, caller, request, Read, work).await
            }),
        )
        .route(
            "/attempts/counted",
            get(async |site, caller, query: RawQuery, request| {
                let work = move |desk: &mut Desk<'_>| {
                    let query = look::query(query.0.as_deref(), &attempts::KNOWN, desk.texts)?;
                    desk.counted_attempts(&query)
                };
                serve(site, caller, request, Read, work).await
            }),
        )
        .route(
            "/certificates",
            get(async |site, caller, request| {
                serve(site, caller, request, Read, |desk| desk.certificates()).await
            }),
        )
        .fallback(async |site, caller, request| {
            serve(site, caller, request, Read, |desk| Err(desk.nothing_here())).await
        })
        .method_not_allowed_fallback(async |site, caller, request| {
            serve(site, caller, request, Read, |desk| Err(desk.wrong_method())).await
        })
}

/// Answers one request: who asks, what with, and what comes of it.
async fn serve(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    request: Request,
    needs: TokenScope,
    work: impl FnOnce(&mut Desk<'_>) -> Result<Answer, Refusal> + Send + 'static,
) -> Response {
    let (head, body) = request.into_parts();
    let language = texts(&head.headers).language();
    match answer(&site, &caller, &head.headers, body, needs, language, work).await {
        Ok(answer) => answer.response(language),
        Err(refusal) => refusal.response(language),
    }
}

async fn answer(
    site: &Arc<Site>,
    caller: &Caller,
    headers: &HeaderMap,
    body: axum::body::Body,
    needs: TokenScope,
    language: Language,
    work: impl FnOnce(&mut Desk<'_>) -> Result<Answer, Refusal> + Send + 'static,
) -> Result<Answer, Refusal> {
    let peer = caller.peer.ip();
    let admission = &site.api.admission;
    let known = admission.judge_now(headers, peer, &Texts::new(language))?;
    let busy = || {
        let texts = Texts::new(language);
        Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            say!(texts, "api-busy"),
            say!(texts, "api-busy-next"),
        )
        .retry_after(1)
    };
    let places = site.api.places.clone();
    let place = tokio::time::timeout(API_TURN_PATIENCE, places.acquire_owned())
        .await
        .map_err(|_| busy())?
        .map_err(|_| busy())?;
    let at_work = site.clone();
    let admitted = tokio::task::spawn_blocking(move || {
        let texts = Texts::new(language);
        let api = &at_work.api;
        let token = api.with_registry(
            |registry| known.settle(&api.admission, registry, peer, &texts),
            &texts,
        );
        (token, place)
    });
    let (token, place) = admitted.await.map_err(|_| Refusal::broken(language))?;
    let token = token?;
    // Strangers are not read from any further than their headers.
    admission::must_have(&token, needs, &Texts::new(language))?;
    let body = tokio::time::timeout(API_BODY_PATIENCE, to_bytes(body, API_BODY_BYTES))
        .await
        .map_err(|_| Refusal::slow_body(language))?
        .map_err(|error| Refusal::bad_body(&error, language))?;
    let at_work = site.clone();
    let worked = tokio::task::spawn_blocking(move || {
        let _place = place;
        let texts = Texts::new(language);
        let api = &at_work.api;
        let work = |registry: &mut Registry| {
            work(&mut Desk {
                api,
                registry,
                texts: &texts,
                who: format!("api:{}", token.name),
                body,
            })
        };
        api.with_registry(work, &texts)
    });
    worked.await.map_err(|_| Refusal::broken(language))?
}
