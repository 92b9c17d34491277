use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::*;
use crate::provider::{FailureKind, Stage};

const LONG: Duration = Duration::from_secs(20);

fn call(name: &str, arguments: &str) -> ToolCall {
    ToolCall {
        id: "1".to_owned(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
    }
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(LONG, waiting).await;
    waited.unwrap_or_else(|_| panic!("{what}"));
}

fn is_ready(server: &McpServer) -> bool {
    matches!(server.state(), McpState::Ready { .. })
}

fn tool(name: &str) -> Value {
    json!({"name": name, "description": format!("does {name}"), "inputSchema": {"type": "object"}})
}

/// Answers the messages of a client as a server does that has these pages of tools.
fn answer(message: &Value, pages: &[Vec<Value>]) -> Option<Value> {
    let id = message.get("id")?;
    let params = &message["params"];
    let result = match message["method"].as_str()? {
        "initialize" => json!({
            "protocolVersion": params["protocolVersion"], "capabilities": {"tools": {"listChanged": true}},
            "serverInfo": {"name": "test", "version": "1"},
        }),
        "tools/list" => {
            let page: usize = params["cursor"]
                .as_str()
                .map_or(0, |at| at.parse().expect("ours"));
            let mut result = json!({"tools": pages[page]});
            if page + 1 < pages.len() {
                result["nextCursor"] = json!(format!("{}", page + 1));
            }
            result
        }
        "tools/call" => match params["name"].as_str()? {
            "silent" => return None,
            "fails" => json!({"content": [{"type": "text", "text": "no milk"}], "isError": true}),
            "long" => json!({"content": [{"type": "text", "text": "x".repeat(100_000)}]}),
            "refuses" => {
                let error = json!({"code": -32602, "message": "not that"});
                return Some(json!({"jsonrpc": "2.0", "id": id, "error": error}));
            }
            name => {
                let said = format!("{name} {}", params["arguments"]);
                json!({"content": [{"type": "text", "text": said},
                    {"type": "image", "data": "AA==", "mimeType": "image/png"}]})
            }
        },
        _ => return None,
    };
    Some(json!({"jsonrpc": "2.0", "id": id, "result": result}))
}

/// A server that has come to us.
struct Guest {
    server: McpServer,
    pages: Arc<Mutex<Vec<Vec<Value>>>>,
    to_us: mpsc::Sender<String>,
    /// What it was told, but for its questions.
    notices: Arc<Mutex<Vec<Value>>>,
}

fn guest(pages: Vec<Vec<Value>>) -> Guest {
    let (to_us, incoming) = mpsc::channel(McpServer::TEXTS);
    let (outgoing, mut heard) = mpsc::channel::<String>(McpServer::TEXTS);
    let server = McpServer::attach("kitchen", Duration::from_millis(300), incoming, outgoing);
    let pages = Arc::new(Mutex::new(pages));
    let notices: Arc<Mutex<Vec<Value>>> = Arc::default();
    let (answers, kept, noted) = (to_us.clone(), pages.clone(), notices.clone());
    tokio::spawn(async move {
        while let Some(text) = heard.recv().await {
            let message: Value = serde_json::from_str(&text).expect("JSON");
            if message.get("id").is_none() {
                noted.lock().expect("whole").push(message);
                continue;
            }
            let pages = kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(answer) = answer(&message, &pages)
                && answers.send(answer.to_string()).await.is_err()
            {
                return;
            }
        }
    });
    Guest {
        server,
        pages,
        to_us,
        notices,
    }
}

#[tokio::test]
async fn tools_of_all_pages_are_told_with_names_that_models_take_and_called_by_their_own() {
    let pages = vec![
        vec![tool("lamp.on"), tool("lamp/on")],
        vec![tool("lamp.on"), tool(&"x".repeat(70))],
    ];
    let guest = guest(pages);
    let server = &guest.server;
    assert_eq!(server.state(), McpState::Connecting);
    assert!(server.tools().is_empty(), "nothing waits for it");
    eventually("it is ready", || is_ready(server)).await;
    let tools = server.tools();
    let names: Vec<&str> = tools.iter().map(|tool| &*tool.name).collect();
    assert_eq!(names, ["lamp_on", "lamp_on_2", &"x".repeat(64)]);
    assert_eq!(tools[0].description, "does lamp.on");
    assert_eq!(
        tools[0].parameters,
        json!({"type": "object", "properties": {}})
    );
    // One name came twice.
    let state = server.state();
    let McpState::Ready {
        tools: 3,
        complete: false,
        since,
    } = state
    else {
        panic!("{state:?}");
    };
    assert!(since <= std::time::SystemTime::now());
    let said = server.call(&call("lamp_on_2", r#"{"room":"bath"}"#)).await;
    assert_eq!(
        said.as_deref(),
        Ok("lamp/on {\"room\":\"bath\"}\n[image/png]")
    );
    let said = server.call(&call("lamp_on", " ")).await;
    assert_eq!(said.as_deref(), Ok("lamp.on {}\n[image/png]"));
}

#[tokio::test]
async fn what_goes_wrong_with_a_call_is_told_and_the_next_one_works() {
    let names = ["fails", "refuses", "silent", "long", "works"];
    let guest = guest(vec![names.map(tool).to_vec()]);
    let server = &guest.server;
    eventually("it is ready", || is_ready(server)).await;
    for (name, arguments, kind, says) in [
        ("fails", "{}", FailureKind::Failed, "no milk"),
        ("refuses", "{}", FailureKind::Refused, "not that"),
        ("silent", "{}", FailureKind::TimedOut, "no answer came"),
        ("works", "[]", FailureKind::Refused, "no JSON object"),
        ("nothing", "{}", FailureKind::Missing, "no tool nothing"),
    ] {
        let failure = server.call(&call(name, arguments)).await.expect_err(name);
        assert_eq!(
            (failure.kind, &*failure.provider),
            (kind, "kitchen"),
            "{failure}"
        );
        assert!(failure.detail.contains(says), "{failure}");
    }
    let long = server.call(&call("long", "{}")).await.expect("an answer");
    assert!(long.len() < 40_000 && long.ends_with("[the rest was cut off]"));
    assert!(server.call(&call("works", "{}")).await.is_ok());
    // Who gives up says so.
    let told = || guest.notices.lock().expect("whole").clone();
    let is_cancel = |notice: &Value| notice["method"] == "notifications/cancelled";
    eventually("it is cancelled", || told().iter().any(is_cancel)).await;
}

#[tokio::test]
async fn no_more_is_kept_than_there_is_room_for() {
    let mut large = tool("large");
    large["description"] = json!("x".repeat(MCP_TOOL));
    let many: Vec<Value> = (0..200).map(|number| tool(&format!("t{number}"))).collect();
    let guest = guest(vec![vec![large], many]);
    let server = &guest.server;
    eventually("it is ready", || is_ready(server)).await;
    let tools = server.tools();
    assert_eq!(tools.len(), crate::limits::MCP_TOOLS);
    assert!(tools.iter().all(|tool| tool.name != "large"));
    assert!(matches!(
        server.state(),
        McpState::Ready {
            complete: false,
            ..
        }
    ));
}

const MCP_TOOL: usize = crate::limits::MCP_TOOL_BYTES;

#[tokio::test]
async fn a_list_that_leads_to_itself_ends() {
    let guest = guest(vec![vec![tool("a")], vec![]]);
    // The second page is empty and names a third.
    guest.pages.lock().expect("whole").push(vec![tool("never")]);
    let server = &guest.server;
    eventually("it is ready", || is_ready(server)).await;
    assert_eq!(server.tools().len(), 1);
}

#[tokio::test]
async fn a_server_that_says_that_its_list_has_changed_is_asked_again_and_nonsense_is_passed_over() {
    let guest = guest(vec![vec![tool("before")]]);
    let server = &guest.server;
    eventually("it is ready", || is_ready(server)).await;
    *guest.pages.lock().expect("whole") = vec![vec![tool("after"), tool("more")]];
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    for text in [
        "}{",
        "[]",
        "\"\"",
        "{\"jsonrpc\":\"2.0\",\"id\":99,\"result\":{}}",
        &changed.to_string(),
    ] {
        guest.to_us.send(text.to_owned()).await.expect("read");
    }
    eventually("the new list", || server.tools().len() == 2).await;
    assert_eq!(server.described()[0]["name"], "after");
    let answer = server
        .call_by_own_name("after", Map::new())
        .await
        .expect("an answer");
    assert_eq!(answer["content"][0]["text"], "after {}");
}

#[tokio::test]
async fn a_guest_that_goes_in_the_middle_of_a_call_fails_it_and_its_tools_are_gone() {
    let (to_us, incoming) = mpsc::channel(McpServer::TEXTS);
    let (outgoing, mut heard) = mpsc::channel::<String>(McpServer::TEXTS);
    let mut server = McpServer::attach("kitchen", LONG, incoming, outgoing);
    let goes = tokio::spawn(async move {
        while let Some(text) = heard.recv().await {
            let message: Value = serde_json::from_str(&text).expect("JSON");
            if message["method"] == "tools/call" {
                return;
            }
            if let Some(answer) = answer(&message, &[vec![tool("lamp")]]) {
                to_us.send(answer.to_string()).await.expect("read");
            }
        }
    });
    eventually("it is ready", || is_ready(&server)).await;
    let failure = server.call(&call("lamp", "{}")).await.expect_err("gone");
    assert_eq!(failure.kind, FailureKind::Broken, "{failure}");
    goes.await.expect("gone");
    tokio::time::timeout(LONG, server.ended())
        .await
        .expect("over");
    assert!(server.tools().is_empty());
    assert!(matches!(server.state(), McpState::Broken { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_any_more_is_noticed_while_nobody_calls_it() {
    let guest = guest(vec![vec![tool("lamp")]]);
    let server = &guest.server;
    eventually("it is ready", || is_ready(server)).await;
    // It does not answer when it is asked whether it is there, half a minute later.
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert!(is_ready(server));
    tokio::time::sleep(Duration::from_secs(25)).await;
    let McpState::Broken { failure, .. } = server.state() else {
        panic!("it is still taken for alive");
    };
    assert_eq!(failure.kind, FailureKind::TimedOut, "{failure}");
}

/// A program that is a server: its tools tell the numbers of its processes, and end it.
const PROGRAM: &str = r#"
sleep 600 &
child=$!
echo started >&2
while read -r line; do
  id=$(printf %s "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
  say() { printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$1"; }
  case "$line" in
    *'"initialize"'*) say '{"protocolVersion":"2024-11-05","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"1"}}' ;;
    *'"tools/list"'*) say '{"tools":[{"name":"pids","inputSchema":{"type":"object"}},{"name":"die","inputSchema":{"type":"object"}}]}' ;;
    *'"die"'*) echo 'the milk is sour' >&2; exit 7 ;;
    *'"pids"'*) say "{\"content\":[{\"type\":\"text\",\"text\":\"$$ $child $WORD ${SECRET_OF_SAFEPORT-none}\"}]}" ;;
  esac
done
"#;

fn dial() -> Dial {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Dial::new(tls).expect("a client")
}

fn program(command: &[&str]) -> McpServer {
    let settings = McpSettings {
        name: "sh".to_owned(),
        way: McpWay::Command {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            env: vec![("WORD".to_owned(), "hello".to_owned())],
        },
        timeout: LONG,
    };
    McpServer::start(settings, &dial())
}

#[tokio::test]
async fn a_program_that_ends_is_started_again_and_everything_that_it_started_ends_with_it() {
    let server = program(&["sh", "-c", PROGRAM]);
    eventually("it is ready", || is_ready(&server)).await;
    let pids = server.call(&call("pids", "{}")).await.expect("an answer");
    assert!(pids.ends_with(" hello none"), "{pids}");
    assert!(server.call(&call("die", "{}")).await.is_err());
    eventually("it is broken", || {
        matches!(server.state(), McpState::Broken { .. })
    })
    .await;
    let McpState::Broken { failure, since } = server.state() else {
        panic!("it was started again at once");
    };
    let why = &failure.detail;
    assert!(
        why.contains("exit status: 7") && why.contains("the milk is sour"),
        "{why}"
    );
    assert_eq!((failure.stage, &*failure.provider), (Stage::Tool, "sh"));
    assert!(since <= std::time::SystemTime::now());
    eventually("it is ready again", || is_ready(&server)).await;
    let again = server.call(&call("pids", "{}")).await.expect("an answer");
    assert_ne!(again, pids);
    drop(server);
    for pid in pids
        .split(' ')
        .chain(again.split(' '))
        .filter(|pid| pid.parse::<u32>().is_ok())
    {
        let place = format!("/proc/{pid}/stat");
        let is_gone = || match std::fs::read_to_string(Path::new(&place)) {
            Ok(stat) => stat.contains(") Z "),
            Err(_) => true,
        };
        eventually(&format!("process {pid} is gone"), is_gone).await;
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told_and_has_no_tools() {
    for command in [&["/nonexistent/program"][..], &[], &["false"]] {
        let server = program(command);
        eventually("it is broken", || {
            matches!(server.state(), McpState::Broken { .. })
        })
        .await;
        assert!(server.tools().is_empty());
        let failure = server.call(&call("pids", "{}")).await.expect_err("nobody");
        assert_eq!(failure.kind, FailureKind::Missing);
    }
}

/// Serves MCP by streamable HTTP to who has the key; returns its address.
async fn http_server(key: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/mcp", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut socket = BufReader::new(socket);
                loop {
                    let (mut head, mut line) = (String::new(), String::new());
                    while socket.read_line(&mut line).await.is_ok_and(|read| read > 2) {
                        head += &line.to_ascii_lowercase();
                        line.clear();
                    }
                    if head.is_empty() {
                        return;
                    }
                    let length = head
                        .lines()
                        .find_map(|line| line.strip_prefix("content-length: "));
                    let mut body =
                        vec![0; length.map_or(0, |length| length.parse().expect("a number"))];
                    socket.read_exact(&mut body).await.expect("whole");
                    let allowed = head.contains(&format!("authorization: bearer {key}"));
                    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
                    let answer = answer(&message, &[vec![tool("over http")]]);
                    let (status, body) = match (allowed, head.starts_with("post"), answer) {
                        (false, _, _) => ("401 Unauthorized", String::new()),
                        (_, false, _) => ("405 Method Not Allowed", String::new()),
                        (_, _, None) => ("202 Accepted", String::new()),
                        (_, _, Some(answer)) => ("200 OK", answer.to_string()),
                    };
                    let answer = format!(
                        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    if socket.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn a_server_by_http_is_used_with_the_key_and_says_why_without() {
    let url = http_server("sesame").await;
    let start = |key: &str| {
        let settings = McpSettings {
            name: "web".to_owned(),
            way: McpWay::Http {
                url: url.clone(),
                key: Some(key.to_owned()),
            },
            timeout: LONG,
        };
        assert!(!format!("{settings:?}").contains(key));
        McpServer::start(settings, &dial())
    };
    let server = start("sesame");
    eventually("it is ready", || is_ready(&server)).await;
    let said = server.call(&call("over_http", r#"{"a":1}"#)).await;
    assert_eq!(said.as_deref(), Ok("over http {\"a\":1}\n[image/png]"));
    let other = start("wrong-key");
    eventually("it is broken", || {
        matches!(other.state(), McpState::Broken { .. })
    })
    .await;
    let McpState::Broken { failure, since } = other.state() else {
        panic!("it was let in");
    };
    assert_eq!(failure.kind, FailureKind::NotAllowed);
    let why = &failure.detail;
    assert!(why.contains("401") && !why.contains("wrong-key"), "{why}");
    // The next try does not make it a new trouble.
    let again = Over::new(FailureKind::Unreachable, "still");
    other.shared.broke(again);
    let McpState::Broken { since: then, .. } = other.state() else {
        panic!("it was let in");
    };
    assert_eq!(then, since);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_without_the_secrets_of_its_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let place = listener.local_addr().expect("bound");
    drop(listener);
    let settings = McpSettings {
        name: "web".to_owned(),
        way: McpWay::Http {
            url: format!("http://{place}/mcp?api_key=sesame"),
            key: None,
        },
        timeout: LONG,
    };
    let server = McpServer::start(settings, &dial());
    eventually("it is broken", || {
        matches!(server.state(), McpState::Broken { .. })
    })
    .await;
    let McpState::Broken { failure, .. } = server.state() else {
        panic!("somebody answered");
    };
    assert_eq!(failure.kind, FailureKind::Unreachable, "{failure}");
    assert!(failure.detail.contains("refused"), "{failure}");
    assert!(!failure.detail.contains("sesame"), "{failure}");
}
