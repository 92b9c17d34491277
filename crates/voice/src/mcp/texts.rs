//! A way for messages that somebody else carries, one text each.

use std::io;

use rmcp::service::{RoleClient, RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::sync::mpsc;

pub(super) struct Lines {
    incoming: mpsc::Receiver<String>,
    outgoing: mpsc::Sender<String>,
}

impl Lines {
    pub(super) fn new(incoming: mpsc::Receiver<String>, outgoing: mpsc::Sender<String>) -> Lines {
        Lines { incoming, outgoing }
    }
}

impl Transport<RoleClient> for Lines {
    type Error = io::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), io::Error>> + Send + 'static {
        let outgoing = self.outgoing.clone();
        async move {
            let text = serde_json::to_string(&message).map_err(io::Error::other)?;
            let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
            outgoing.send(text).await.map_err(gone)
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            let text = self.incoming.recv().await?;
            match serde_json::from_str(&text) {
                Ok(message) => return Some(message),
                Err(error) => tracing::debug!(
                    target: "safeport::voice",
                    "passed over what is no message of the Model Context Protocol: {error}"
                ),
            }
        }
    }

    async fn close(&mut self) -> Result<(), io::Error> {
        self.incoming.close();
        Ok(())
    }
}
