//! One connection to a server: who it is, what it has, until it ends.

use std::sync::Arc;
use std::time::Duration;

use rmcp::handler::client::ClientHandler;
use rmcp::model::{
    ClientCapabilities, ClientConfig, ClientRequest, Implementation, PaginatedRequestParams,
    ProtocolVersion, Tool as Described,
};
use rmcp::serve_client;
use rmcp::service::{NotificationContext, Peer, RoleClient, ServiceError};
use rmcp::transport::IntoTransport;
use tokio::sync::Notify;

use super::over::Over;
use super::shared::{Line, Shared};
use crate::limits::{
    MCP_CONNECT, MCP_LIST, MCP_PAGES, MCP_PING_PAUSE, MCP_PING_WAIT, MCP_RELIST_PAUSE, MCP_TOOLS,
};
use crate::provider::FailureKind;

/// What a server is told of us; hears of changes of its list.
#[derive(Debug, Clone, Default)]
struct Client {
    changed: Arc<Notify>,
}

impl ClientHandler for Client {
    fn get_info(&self) -> ClientConfig {
        let us = Implementation::new("safeport", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), us)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.changed.notify_one();
    }
}

/// A connection that is open.
pub(super) struct Session;

impl Session {
    /// Talks over `transport` until it ends; returns why it did.
    pub(super) async fn run<T, E, A>(shared: &Shared, transport: T) -> Over
    where
        T: IntoTransport<RoleClient, E, A>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let client = Client::default();
        let changed = client.changed.clone();
        let opened = tokio::time::timeout(MCP_CONNECT, serve_client(client, transport)).await;
        let service = match opened {
            Ok(Ok(service)) => service,
            Ok(Err(error)) => return Over::of_beginning(&error),
            Err(_) => return late("did not say who it is", MCP_CONNECT),
        };
        let line = Line {
            peer: service.peer().clone(),
            lost: Arc::default(),
        };
        match list(&line.peer).await {
            Ok((tools, complete)) => {
                tracing::info!(
                    target: "safeport::voice",
                    server = shared.name(), tools = tools.len(), "MCP server connected"
                );
                shared.ready(line.clone(), tools, complete);
            }
            Err(over) => return over,
        }
        let over = service.waiting();
        tokio::pin!(over);
        loop {
            tokio::select! {
                ended = &mut over => return broken(match ended {
                    Ok(_) => "the connection ended".to_owned(),
                    Err(error) => format!("the connection ended: {error}"),
                }),
                () = line.lost.notified() => return broken("the connection broke during a call"),
                () = tokio::time::sleep(MCP_PING_PAUSE) => {
                    // One that does a single thing at a time answers when it has done it.
                    if !shared.is_called() && let Err(over) = answers(&line.peer).await {
                        return over;
                    }
                    continue;
                }
                () = changed.notified() => {}
            }
            // The list before stands if the new one does not come.
            match list(&line.peer).await {
                Ok((tools, complete)) => shared.ready(line.clone(), tools, complete),
                Err(over) => tracing::warn!(
                    target: "safeport::voice",
                    server = shared.name(), "the new list of tools did not come: {}", over.why
                ),
            }
            tokio::time::sleep(MCP_RELIST_PAUSE).await;
        }
    }
}

/// All tools, page by page, and whether there are no others.
async fn list(peer: &Peer<RoleClient>) -> Result<(Vec<Described>, bool), Over> {
    let pages = async {
        let mut tools = Vec::new();
        let mut cursor = None;
        for _ in 0..MCP_PAGES {
            let params = PaginatedRequestParams::default().with_cursor(cursor.clone());
            let page = peer.list_tools(Some(params)).await;
            let page = page.map_err(|error| {
                let why = format!("it does not tell its tools: {error}");
                Over::new(FailureKind::Misunderstood, why)
            })?;
            let grew = !page.tools.is_empty();
            tools.extend(page.tools);
            match page.next_cursor {
                None => return Ok((tools, true)),
                Some(next) if grew && tools.len() <= MCP_TOOLS && cursor != Some(next.clone()) => {
                    cursor = Some(next);
                }
                Some(_) => break,
            }
        }
        Ok((tools, false))
    };
    match tokio::time::timeout(MCP_LIST, pages).await {
        Ok(listed) => listed,
        Err(_) => Err(late("did not tell its tools", MCP_LIST)),
    }
}

/// Whether it is still there: any answer will do, also that it does not know the question.
async fn answers(peer: &Peer<RoleClient>) -> Result<(), Over> {
    let asked = peer.send_request(ClientRequest::PingRequest(Default::default()));
    match tokio::time::timeout(MCP_PING_WAIT, asked).await {
        Ok(Err(ServiceError::TransportSend(error))) => Err(Over::of_way(&error)),
        Ok(Err(ServiceError::TransportClosed)) => Err(broken("the connection has ended")),
        Ok(_) => Ok(()),
        Err(_) => Err(late("did not answer whether it is there", MCP_PING_WAIT)),
    }
}

fn broken(why: impl Into<String>) -> Over {
    Over::new(FailureKind::Broken, why)
}

fn late(what: &str, wait: Duration) -> Over {
    let why = format!("it {what} within {} s", wait.as_secs());
    Over::new(FailureKind::TimedOut, why)
}
