//! One connection to a server: who it is, what it has, until it ends.

use std::sync::Arc;
use std::time::Duration;

use rmcp::handler::client::ClientHandler;
use rmcp::model::{
    ClientCapabilities, ClientConfig, Implementation, PaginatedRequestParams, ProtocolVersion,
    Tool as Described,
};
use rmcp::serve_client;
use rmcp::service::{NotificationContext, Peer, RoleClient};
use rmcp::transport::IntoTransport;
use tokio::sync::Notify;

use super::shared::{Line, Shared};
use crate::limits::{MCP_CONNECT, MCP_LIST, MCP_PAGES, MCP_RELIST_PAUSE, MCP_TOOLS};

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
    pub(super) async fn run<T, E, A>(shared: &Shared, transport: T) -> String
    where
        T: IntoTransport<RoleClient, E, A>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let client = Client::default();
        let changed = client.changed.clone();
        let opened = tokio::time::timeout(MCP_CONNECT, serve_client(client, transport)).await;
        let service = match opened {
            Ok(Ok(service)) => service,
            Ok(Err(error)) => return error.to_string(),
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
            Err(why) => return why,
        }
        let over = service.waiting();
        tokio::pin!(over);
        loop {
            tokio::select! {
                ended = &mut over => return match ended {
                    Ok(_) => "the connection ended".to_owned(),
                    Err(error) => format!("the connection ended: {error}"),
                },
                () = line.lost.notified() => return "the connection broke during a call".to_owned(),
                () = changed.notified() => {}
            }
            // The list before stands if the new one does not come.
            match list(&line.peer).await {
                Ok((tools, complete)) => shared.ready(line.clone(), tools, complete),
                Err(why) => tracing::warn!(
                    target: "safeport::voice",
                    server = shared.name(), "the new list of tools did not come: {why}"
                ),
            }
            tokio::time::sleep(MCP_RELIST_PAUSE).await;
        }
    }
}

/// All tools, page by page, and whether there are no others.
async fn list(peer: &Peer<RoleClient>) -> Result<(Vec<Described>, bool), String> {
    let pages = async {
        let mut tools = Vec::new();
        let mut cursor = None;
        for _ in 0..MCP_PAGES {
            let params = PaginatedRequestParams::default().with_cursor(cursor.clone());
            let page = peer.list_tools(Some(params)).await;
            let page = page.map_err(|error| format!("it does not tell its tools: {error}"))?;
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

fn late(what: &str, wait: Duration) -> String {
    format!("it {what} within {} s", wait.as_secs())
}
