//! The access point: programs that have tools come here by WebSocket, and the agent of their token has these tools.
//!
//! Tools come to `/mcp_endpoint/mcp/` and are the servers of the Model Context Protocol, of which we are the client; its
//! messages are text frames. Voice servers of others may ask for the same tools at `/mcp_endpoint/call/`, where we are
//! the server. The paths are those of the ecosystem's own relay.

mod carry;
mod relay;

use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Extension, Router};
use safeport_store::Program;
use safeport_voice::McpServer;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use self::carry::carry;
use super::Site;
use super::caller::Caller;
use super::websocket::{self, Socket, answer};
use crate::limits::ACCESS_POINT_CALL;
use crate::serve::voice::tools::Toolroom;

/// Where tools come to.
pub(super) const TOOL_PATH: &str = "/mcp_endpoint/mcp/";

/// The paths of the access point.
pub(super) fn routes() -> Router<Arc<Site>> {
    let tools = any(async |site, caller, asked, request| {
        open(site, caller, asked, request, Side::Tools).await
    });
    let call = any(async |site, caller, asked, request| {
        open(site, caller, asked, request, Side::Call).await
    });
    Router::new()
        .route("/mcp_endpoint/mcp", tools.clone())
        .route(TOOL_PATH, tools)
        .route("/mcp_endpoint/call", call.clone())
        .route("/mcp_endpoint/call/", call)
        .route("/mcp_endpoint/health", get(health))
}

/// What stands behind `?`.
#[derive(Debug, Default, Deserialize)]
struct Asked {
    token: Option<String>,
    /// What the ecosystem's relay calls it at `/health`.
    key: Option<String>,
}

impl Asked {
    fn program(&self, room: &Toolroom) -> Option<Program> {
        let token = self.token.as_deref().or(self.key.as_deref())?;
        room.program_of_token(token)
    }
}

/// Who comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// A program that has tools.
    Tools,
    /// Somebody who wants them.
    Call,
}

/// Answers a request for a WebSocket. Whoever has no token is told so before the upgrade.
async fn open(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Asked>,
    mut request: Request,
    side: Side,
) -> Response {
    let Some(voice) = &site.voice else {
        let text = "nobody talks with devices here: xiaozhi.enabled is false\n";
        return (StatusCode::NOT_FOUND, text).into_response();
    };
    let room = voice.toolroom().clone();
    let Some(program) = asked.program(&room) else {
        let text = "the token behind ?token= is not known; `safeport agent program add AGENT NAME` \
                    prints an address with one\n";
        return (StatusCode::UNAUTHORIZED, text).into_response();
    };
    if side == Side::Tools && !room.has_place(&program.agent) {
        let text = "too many programs give their tools to this agent; end one of them\n";
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    }
    let response = match answer(&site, &request, &[]) {
        Ok(response) => response,
        Err(refusal) => return *refusal,
    };
    let seen = Seen {
        site: site.clone(),
        program: program.clone(),
    };
    websocket::carry(&mut request, caller, async move |socket, early| {
        seen.note();
        serve(socket, early, room, program, side).await;
        seen.note();
    });
    response
}

/// Has it written down when a program comes and goes.
struct Seen {
    site: Arc<Site>,
    program: Program,
}

impl Seen {
    fn note(&self) {
        let (site, program) = (self.site.clone(), self.program.clone());
        tokio::task::spawn_blocking(move || site.api.note_program(&program));
    }
}

async fn serve(
    socket: Box<dyn Socket>,
    early: Vec<u8>,
    room: Arc<Toolroom>,
    program: Program,
    side: Side,
) {
    let agent = &*program.agent;
    let (heard, hears) = mpsc::channel(McpServer::TEXTS);
    let (says, said) = mpsc::channel(McpServer::TEXTS);
    if side == Side::Call {
        let relay = relay::run(room.clone(), agent.to_owned(), hears, says);
        let relay = tokio::spawn(relay);
        carry(socket, early, heard, said, room.removed(&program)).await;
        // It ends when nothing more is heard.
        let _ = relay.await;
        return;
    }
    // It stands before the name of a tool that another one has, too, where models take no dots.
    let source = program.name.replace('.', "_");
    let server = Arc::new(McpServer::attach(&source, ACCESS_POINT_CALL, hears, says));
    if !room.join(&program, &server) {
        return;
    }
    let name = &*program.name;
    tracing::info!(target: "safeport::voice", agent, name, "a program came to the access point");
    let why = carry(socket, early, heard, said, room.removed(&program)).await;
    room.leave(&server);
    tracing::info!(target: "safeport::voice", agent, name, "a program left the access point: {why}");
}

/// Whether it works; who has a token is told more.
async fn health(State(site): State<Arc<Site>>, Query(asked): Query<Asked>) -> Response {
    let Some(voice) = &site.voice else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let room = voice.toolroom();
    let mut result = json!({"status": "success"});
    if asked.program(room).is_some() {
        let (tools, callers) = (room.guests(None).len(), relay::open());
        result["connections"] = json!({
            "tool_connections": tools,
            "robot_connections": callers,
            "total_connections": tools + callers,
        });
    }
    let body = json!({"jsonrpc": "2.0", "id": null, "result": result});
    (
        [(header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response()
}
