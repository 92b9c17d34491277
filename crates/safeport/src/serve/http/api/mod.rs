//! `/api/v1/`: settings, their history, ports, attempts to connect, certificates, devices and their
//! firmware for programs that hold a token.
//!
//! Every request carries its token, also on a server that lets MQTT clients in without a login: a
//! header that no page of another origin can send, so there is nothing to forge. What changes
//! settings stages a revision as the command line does, and waits for what the server makes of it.
//! The command line itself asks here while a server runs.

mod admission;
mod agents;
mod answer;
mod attempts;
mod backups;
mod certificates;
mod change;
mod desk;
mod devices;
mod doctor;
mod endpoint;
mod enrolment;
mod images;
mod local;
mod look;
mod offers;
mod openapi;
mod programs;
mod table;
mod talks;
mod tools;

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::{Bytes, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::MethodRouter;
use axum::{Extension, Router};
use safeport_store::Registry;
use tokio::sync::OwnedSemaphorePermit;

use self::admission::Bearer;
pub use self::admission::WHO;
use self::answer::{Answer, Refusal};
pub use self::desk::Api;
use self::desk::Desk;
pub use self::devices::Devices;
use self::endpoint::{Endpoint, Given, Work};
pub use self::local::LocalAccess;
use self::table::ENDPOINTS;
use super::caller::Caller;
use super::page::texts;
use super::site::Site;
use crate::limits::{API_BODY_PATIENCE, API_TURN_PATIENCE};
use crate::say;
use crate::serve::access::unix_now;
use crate::text::{Language, Texts};

/// Everything under `/api/v1`.
pub(super) fn router() -> Router<Arc<Site>> {
    let mut places: Vec<(&str, MethodRouter<Arc<Site>>)> = Vec::new();
    for endpoint in ENDPOINTS {
        let at = match places.iter().position(|(path, _)| *path == endpoint.path) {
            Some(at) => at,
            None => {
                places.push((endpoint.path, MethodRouter::new()));
                places.len() - 1
            }
        };
        let methods = std::mem::take(&mut places[at].1);
        places[at].1 = methods.on(
            endpoint.verb.method(),
            move |State(site): State<Arc<Site>>,
                  Extension(caller): Extension<Caller>,
                  path: Result<Path<HashMap<String, String>>, PathRejection>,
                  RawQuery(query): RawQuery,
                  request: Request| async move {
                let call = Call {
                    site: &site,
                    caller: &caller,
                    language: texts(request.headers()).language(),
                };
                match call.serve(endpoint, path, query, request).await {
                    Ok(answer) => answer.response(call.language),
                    Err(refusal) => refusal.response(call.language),
                }
            },
        );
    }
    let mut router = Router::new();
    for (path, methods) in places {
        router = router.route(path, methods);
    }
    router
        .fallback(async |site, caller, request| {
            refuse(site, caller, request, Refusal::nothing_here).await
        })
        .method_not_allowed_fallback(async |site, caller, request| {
            refuse(site, caller, request, Refusal::wrong_method).await
        })
}

/// One request, before it is known whether it may be answered.
struct Call<'a> {
    site: &'a Arc<Site>,
    caller: &'a Caller,
    language: Language,
}

/// A request that may be answered.
struct Admitted {
    bearer: Bearer,
    /// Its place among those that are worked on.
    place: OwnedSemaphorePermit,
}

/// Answers what has no endpoint, to whoever may know.
async fn refuse(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    request: Request,
    why: fn(&Texts) -> Refusal,
) -> Response {
    let call = Call {
        site: &site,
        caller: &caller,
        language: texts(request.headers()).language(),
    };
    let refusal = match call.admit(request.headers()).await {
        Ok(_) => why(&Texts::new(call.language)),
        Err(refusal) => refusal,
    };
    refusal.response(call.language)
}

impl Call<'_> {
    /// Answers one request: who asks, what with, and what comes of it.
    async fn serve(
        &self,
        endpoint: &'static Endpoint,
        path: Result<Path<HashMap<String, String>>, PathRejection>,
        query: Option<String>,
        request: Request,
    ) -> Result<Answer, Refusal> {
        let texts = || Texts::new(self.language);
        let (head, body) = request.into_parts();
        let admitted = self.admit(&head.headers).await?;
        // Strangers are not read from any further than their headers.
        admitted.bearer.must_have(endpoint.needs, &texts())?;
        let given = Given {
            path: match path {
                Ok(Path(path)) => path,
                Err(PathRejection::MissingPathParams(_)) => HashMap::new(),
                Err(error) => {
                    let what = say!(texts(), "api-path-bad", error = error.body_text());
                    return Err(Refusal::bad_request(what, &texts()));
                }
            },
            query: look::query(query.as_deref(), &endpoint.query_names(), &texts())?,
        };
        let who = admitted.bearer.who(&head.headers);
        let everything = admitted.bearer.may_do_everything();
        match endpoint.work {
            Work::Desk(work) => {
                let limit = endpoint.takes.limit();
                let body = tokio::time::timeout(API_BODY_PATIENCE, to_bytes(body, limit))
                    .await
                    .map_err(|_| Refusal::slow_body(self.language))?
                    .map_err(|error| Refusal::bad_body(&error, limit, self.language))?;
                let work = move |desk: &mut Desk<'_>| {
                    desk.everything = everything;
                    work(desk)
                };
                self.at_desk(given, who, body, admitted.place, work).await
            }
            Work::Upload => {
                // A file takes its time, and has a place of its own.
                drop(admitted.place);
                self.upload(given, &head.headers, body, who).await
            }
        }
    }

    /// Lets in who has a token, and finds a place to work.
    async fn admit(&self, headers: &HeaderMap) -> Result<Admitted, Refusal> {
        let peer = self.caller.peer.ip();
        let language = self.language;
        let api = &self.site.api;
        let texts = Texts::new(language);
        let known = api
            .admission
            .judge_now(headers, self.caller, api.local.as_ref(), &texts)?;
        let busy = || Refusal::busy(&Texts::new(language));
        let places = self.site.api.places.clone();
        let place = tokio::time::timeout(API_TURN_PATIENCE, places.acquire_owned())
            .await
            .map_err(|_| busy())?
            .map_err(|_| busy())?;
        let known = match known.at_once(unix_now()) {
            Ok(bearer) => return Ok(Admitted { bearer, place }),
            Err(known) => known,
        };
        let site = self.site.clone();
        let settled = tokio::task::spawn_blocking(move || {
            let texts = Texts::new(language);
            let api = &site.api;
            api.with_registry(
                |registry| known.settle(&api.admission, registry, peer, &texts),
                &texts,
            )
        });
        let bearer = settled.await.map_err(|_| Refusal::broken(language))??;
        Ok(Admitted { bearer, place })
    }

    /// Does `work` on a thread that may wait for the disk.
    async fn at_desk(
        &self,
        given: Given,
        who: String,
        body: Bytes,
        place: OwnedSemaphorePermit,
        work: impl FnOnce(&mut Desk<'_>) -> Result<Answer, Refusal> + Send + 'static,
    ) -> Result<Answer, Refusal> {
        let language = self.language;
        let site = self.site.clone();
        // Dropped with this future, when the client closes its connection.
        let (_waits, gone) = tokio::sync::oneshot::channel();
        let worked = tokio::task::spawn_blocking(move || {
            let _place = place;
            let texts = Texts::new(language);
            let api = &site.api;
            let work = |registry: &mut Registry| {
                work(&mut Desk {
                    api,
                    registry,
                    texts: &texts,
                    who,
                    everything: false,
                    given,
                    body,
                    gone,
                })
            };
            api.with_registry(work, &texts)
        });
        worked.await.map_err(|_| Refusal::broken(language))?
    }
}
