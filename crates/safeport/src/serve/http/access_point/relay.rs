//! Tools of the access point for voice servers of others: here we are the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::limits::ACCESS_POINT_CALLS;
use crate::serve::voice::tools::Toolroom;

static OPEN: AtomicUsize = AtomicUsize::new(0);

/// How many are connected.
pub(super) fn open() -> usize {
    OPEN.load(Ordering::Relaxed)
}

/// Counts as long as it lives.
struct Counted;

impl Drop for Counted {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers what is heard until nothing more comes.
pub(super) async fn run(
    room: Arc<Toolroom>,
    agent: String,
    mut hears: mpsc::Receiver<String>,
    says: mpsc::Sender<String>,
) {
    OPEN.fetch_add(1, Ordering::Relaxed);
    let _counted = Counted;
    let agent: Arc<str> = agent.into();
    let mut answers = JoinSet::new();
    loop {
        tokio::select! {
            text = hears.recv(), if answers.len() < ACCESS_POINT_CALLS => match text {
                Some(text) => {
                    let (room, agent) = (room.clone(), agent.clone());
                    answers.spawn(async move { answer(&room, &agent, &text).await });
                }
                None => return,
            },
            Some(answer) = answers.join_next() => {
                if let Ok(Some(answer)) = answer
                    && says.send(answer.to_string()).await.is_err()
                {
                    return;
                }
            }
        }
    }
}

/// The answer to one message; notices have none.
async fn answer(room: &Toolroom, agent: &str, text: &str) -> Option<Value> {
    let Ok(message) = serde_json::from_str::<Value>(text) else {
        return Some(failed(Value::Null, -32700, "this is no JSON"));
    };
    let method = message["method"].as_str()?;
    let id = message.get("id")?.clone();
    let params = &message["params"];
    let result = match method {
        "initialize" => json!({
            "protocolVersion": params["protocolVersion"].as_str().unwrap_or("2024-11-05"),
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "Safeport", "version": env!("CARGO_PKG_VERSION")},
        }),
        "ping" => json!({}),
        "tools/list" => {
            let servers = room.guests(Some(agent));
            let tools: Vec<Value> = servers.iter().flat_map(|one| one.described()).collect();
            json!({"tools": tools})
        }
        "tools/call" => return Some(call(room, agent, id, params).await),
        _ => return Some(failed(id, -32601, "this server has no such method")),
    };
    Some(json!({"jsonrpc": "2.0", "id": id, "result": result}))
}

async fn call(room: &Toolroom, agent: &str, id: Value, params: &Value) -> Value {
    let name = params["name"].as_str().unwrap_or_default();
    let has_it = |described: Vec<Value>| described.iter().any(|tool| tool["name"] == name);
    let servers = room.guests(Some(agent));
    let Some(server) = servers.iter().find(|one| has_it(one.described())) else {
        return failed(id, -32602, "no program at this access point has this tool");
    };
    let arguments = match &params["arguments"] {
        Value::Object(arguments) => arguments.clone(),
        _ => Map::new(),
    };
    match server.call_by_own_name(name, arguments).await {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(failure) => failed(id, -32000, &failure.to_string()),
    }
}

fn failed(id: Value, code: i32, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}
