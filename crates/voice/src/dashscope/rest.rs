//! Where connections rest between sentences.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::limits::{DASHSCOPE_REST_SECONDS, DASHSCOPE_RESTING};
use crate::websocket::WebSocket;

/// Connections that have spoken a sentence and may speak another one. A service closes them when they rest too long
/// (DashScope after 60 s); they are closed here before that.
#[derive(Default)]
pub(super) struct Rest(Arc<Mutex<Resting>>);

#[derive(Default)]
struct Resting {
    /// The one that has rested longest is first.
    sockets: Vec<(Instant, WebSocket)>,
    /// Whether somebody closes those that have rested too long.
    watched: bool,
}

impl Rest {
    /// One that is still open, as far as can be seen: the one that has rested shortest.
    pub(super) fn take(&self) -> Option<WebSocket> {
        let mut resting = lock(&self.0);
        while let Some((since, mut socket)) = resting.sockets.pop() {
            if since.elapsed() < REST && socket.is_quiet() {
                return Some(socket);
            }
        }
        None
    }

    /// Keeps one for the next sentence. Where there are enough, the one that has rested longest is closed.
    pub(super) fn keep(&self, socket: WebSocket) {
        let mut resting = lock(&self.0);
        if resting.sockets.len() >= DASHSCOPE_RESTING {
            resting.sockets.remove(0);
        }
        resting.sockets.push((Instant::now(), socket));
        if !std::mem::replace(&mut resting.watched, true) {
            tokio::spawn(watch(Arc::downgrade(&self.0)));
        }
    }
}

/// Closes what has rested too long, until nothing rests or the provider is gone.
async fn watch(rest: Weak<Mutex<Resting>>) {
    loop {
        sleep(REST).await;
        let Some(rest) = rest.upgrade() else { return };
        let mut resting = lock(&rest);
        resting.sockets.retain(|(since, _)| since.elapsed() < REST);
        if resting.sockets.is_empty() {
            resting.watched = false;
            return;
        }
    }
}

fn lock(rest: &Mutex<Resting>) -> MutexGuard<'_, Resting> {
    rest.lock().unwrap_or_else(PoisonError::into_inner)
}

const REST: Duration = Duration::from_secs(DASHSCOPE_REST_SECONDS);
