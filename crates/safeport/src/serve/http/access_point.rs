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
use hyper_util::rt::TokioIo;
use safeport_net::attempt::Ending;
use safeport_voice::McpServer;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use self::carry::carry;
use super::caller::Caller;
use super::tls_socket::TlsSocket;
use super::websocket::{answer, upgraded};
use super::{Site, Transport};
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
    fn agent(&self, room: &Toolroom) -> Option<String> {
        let token = self.token.as_deref().or(self.key.as_deref())?;
        room.agent_of_token(token)
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
    let Some(agent) = asked.agent(&room) else {
        let text = "the token behind ?token= is not that of an agent; take the address from \
                    `safeport agent list` or /api/v1/agents/NAME/access-point\n";
        return (StatusCode::UNAUTHORIZED, text).into_response();
    };
    if side == Side::Tools && !room.has_place(&agent) {
        let text = "too many programs give their tools to this agent; end one of them\n";
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    }
    let response = match answer(&site, &request, &[]) {
        Ok(response) => response,
        Err(refusal) => return *refusal,
    };
    let untold = caller.visit.take();
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let tell = |ending| {
            if let Some(untold) = untold {
                untold.tell(ending);
            }
        };
        let upgraded = match upgraded(upgrade).await {
            Ok(upgraded) => upgraded,
            Err(ending) => return tell(ending),
        };
        tell(Ending::Connected);
        // Our own accept loop wrapped it, so its type is known.
        match caller.transport {
            Transport::Plain => {
                if let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() {
                    let early = parts.read_buf.to_vec();
                    serve(parts.io.into_inner(), early, room, &agent, side).await;
                }
            }
            Transport::Tls => {
                if let Ok(parts) = upgraded.downcast::<TokioIo<Box<TlsSocket<TcpStream>>>>() {
                    let early = parts.read_buf.to_vec();
                    serve(parts.io.into_inner(), early, room, &agent, side).await;
                }
            }
        }
        // Held as long as it was open.
        drop(caller.place);
    });
    response
}

async fn serve<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    socket: S,
    early: Vec<u8>,
    room: Arc<Toolroom>,
    agent: &str,
    side: Side,
) {
    let (heard, hears) = mpsc::channel(McpServer::TEXTS);
    let (says, said) = mpsc::channel(McpServer::TEXTS);
    if side == Side::Call {
        let relay = tokio::spawn(relay::run(room, agent.to_owned(), hears, says));
        carry(socket, early, heard, said).await;
        // It ends when nothing more is heard.
        let _ = relay.await;
        return;
    }
    let server = McpServer::attach("access-point", ACCESS_POINT_CALL, hears, says);
    let server = Arc::new(server);
    if !room.join(agent, &server) {
        return;
    }
    tracing::info!(target: "safeport::voice", agent, "a program came to the access point");
    let why = carry(socket, early, heard, said).await;
    room.leave(&server);
    tracing::info!(target: "safeport::voice", agent, "a program left the access point: {why}");
}

/// Whether it works; who has a token is told more.
async fn health(State(site): State<Arc<Site>>, Query(asked): Query<Asked>) -> Response {
    let Some(voice) = &site.voice else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let room = voice.toolroom();
    let mut result = json!({"status": "success"});
    if asked.agent(room).is_some() {
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
