use serde_json::json;

use super::*;
use crate::openai::stub::{KEY, Step, Stub, chunk, end, endpoint, head, json, response};
use crate::openai::{ApiKey, Timeouts};
use crate::provider::{Failure, FailureKind, ToolCall};

const YES: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Yes.\"}}]}\n\n";
const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn stream(body: &str) -> Vec<Step> {
    vec![head("text/event-stream"), chunk(body), end()]
}

fn yes() -> Vec<Step> {
    stream(&[YES, STOP, DONE].concat())
}

fn chat(stub: &Stub) -> OpenAiChat {
    OpenAiChat::new(stub.endpoint()).expect("a url")
}

async fn ask(chat: &OpenAiChat) -> (Vec<Part>, Result<(), Failure>) {
    let messages = [ChatMessage::User("Is it?".into())];
    let question = Question {
        messages: &messages,
        tools: &[],
    };
    let (parts, mut came) = mpsc::channel(1);
    let take = async {
        let mut all = Vec::new();
        while let Some(part) = came.recv().await {
            all.push(part);
        }
        all
    };
    let (answered, all) = futures_util::future::join(chat.answer(question, parts), take).await;
    (all, answered)
}

/// The failure of an answer of which nothing comes.
async fn failure(stub: &Stub) -> Failure {
    let (parts, answered) = ask(&chat(stub)).await;
    assert_eq!(parts, []);
    let failure = answered.expect_err("no answer");
    assert_eq!(failure.stage, Stage::Model);
    assert_eq!(&*failure.provider, "cloud");
    let shown = format!("{failure} {failure:?}");
    assert!(!shown.contains(KEY), "{shown}");
    failure
}

fn said(text: &str) -> (Vec<Part>, Result<(), Failure>) {
    (vec![Part::Text(text.into())], Ok(()))
}

#[tokio::test]
async fn a_question_goes_out_with_everything_that_was_said_and_can_be_called() {
    let stub = Stub::new([yes()]).await;
    let mut endpoint = stub.endpoint();
    endpoint
        .extra
        .insert("enable_thinking".into(), false.into());
    let messages = [
        ChatMessage::System("Be short.".into()),
        ChatMessage::User("Light!".into()),
        ChatMessage::Assistant {
            text: String::new(),
            calls: vec![ToolCall {
                id: "a".into(),
                name: "lamp".into(),
                arguments: "{\"on\":true}".into(),
            }],
        },
        ChatMessage::Tool {
            call: "a".into(),
            text: "done".into(),
        },
        ChatMessage::Assistant {
            text: "It is on.".into(),
            calls: vec![],
        },
        ChatMessage::User("Is it?".into()),
    ];
    let tools = [ToolSpec {
        name: "lamp".into(),
        description: "Switches it".into(),
        parameters: json!({ "type": "object" }),
    }];
    let question = Question {
        messages: &messages,
        tools: &tools,
    };
    let chat = OpenAiChat::new(endpoint).expect("a url");
    let (parts, mut came) = mpsc::channel(8);
    chat.answer(question, parts).await.expect("an answer");
    assert_eq!(came.recv().await, Some(Part::Text("Yes.".into())));
    let asked = &stub.asked()[0];
    assert!(
        asked
            .head
            .starts_with("post /v1/chat/completions http/1.1\r\n")
    );
    let key = KEY.to_ascii_lowercase();
    assert!(
        asked
            .head
            .contains(&format!("authorization: bearer {key}\r\n"))
    );
    assert_eq!(
        asked.json(),
        json!({
            "model": "small",
            "stream": true,
            "enable_thinking": false,
            "messages": [
                { "role": "system", "content": "Be short." },
                { "role": "user", "content": "Light!" },
                { "role": "assistant", "content": "", "tool_calls": [
                    { "id": "a", "type": "function", "function": { "name": "lamp", "arguments": "{\"on\":true}" } },
                ] },
                { "role": "tool", "tool_call_id": "a", "content": "done" },
                { "role": "assistant", "content": "It is on." },
                { "role": "user", "content": "Is it?" },
            ],
            "tools": [{ "type": "function", "function": {
                "name": "lamp", "description": "Switches it", "parameters": { "type": "object" },
            } }],
        })
    );
}

#[tokio::test]
async fn without_a_key_none_is_sent() {
    let stub = Stub::new([yes()]).await;
    let mut endpoint = stub.endpoint();
    endpoint.key = None;
    let chat = OpenAiChat::new(endpoint).expect("a url");
    assert_eq!(ask(&chat).await, said("Yes."));
    assert!(!stub.asked()[0].head.contains("authorization"));
}

#[tokio::test]
async fn a_stream_in_single_bytes_is_an_answer() {
    let body = [YES, STOP, DONE].concat();
    let mut plan = vec![head("text/event-stream")];
    for byte in body.as_bytes() {
        let Step::Send(bytes) = chunk([*byte]) else {
            unreachable!()
        };
        plan.push(Step::Drip(bytes));
    }
    plan.push(end());
    let stub = Stub::new([plan]).await;
    assert_eq!(ask(&chat(&stub)).await, said("Yes."));
}

#[tokio::test]
async fn an_answer_in_one_piece_is_taken() {
    let body = r#"{"choices":[{"message":{"content":"Yes."},"finish_reason":"stop"}]}"#;
    let stub = Stub::new([vec![json("200 OK", body)]]).await;
    assert_eq!(ask(&chat(&stub)).await, said("Yes."));
}

#[tokio::test]
async fn text_is_handed_on_before_the_rest_is_here_and_a_dropped_answer_closes_the_connection() {
    let plan = vec![head("text/event-stream"), chunk(YES), Step::UntilGone];
    let mut stub = Stub::new([plan]).await;
    let chat = chat(&stub);
    let (parts, mut came) = mpsc::channel(1);
    let answering = tokio::spawn(async move {
        let messages = [ChatMessage::User("Is it?".into())];
        let tools = [];
        let question = Question {
            messages: &messages,
            tools: &tools,
        };
        chat.answer(question, parts).await
    });
    assert_eq!(came.recv().await, Some(Part::Text("Yes.".into())));
    answering.abort();
    stub.gone().await;
}

#[tokio::test]
async fn an_answer_that_has_not_begun_closes_its_connection_when_it_is_dropped() {
    let mut stub = Stub::new([vec![Step::UntilGone]]).await;
    let chat = chat(&stub);
    let answering = tokio::spawn(async move { ask(&chat).await });
    while stub.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    answering.abort();
    stub.gone().await;
}

#[tokio::test]
async fn who_no_longer_listens_ends_the_answer() {
    let plan = vec![head("text/event-stream"), chunk(YES), Step::UntilGone];
    let mut stub = Stub::new([plan]).await;
    let chat = chat(&stub);
    let (parts, came) = mpsc::channel(1);
    drop(came);
    let messages = [];
    let question = Question {
        messages: &messages,
        tools: &[],
    };
    assert_eq!(chat.answer(question, parts).await, Ok(()));
    stub.gone().await;
}

#[tokio::test]
async fn the_next_question_goes_over_the_same_connection() {
    let stub = Stub::new([yes(), yes(), yes()]).await;
    let chat = chat(&stub);
    for _ in 0..3 {
        assert_eq!(ask(&chat).await, said("Yes."));
    }
    let connections: Vec<usize> = stub.asked().iter().map(|asked| asked.connection).collect();
    assert_eq!(connections, [0, 0, 0]);
}

#[tokio::test]
async fn a_service_that_never_says_that_this_is_all_is_not_waited_for() {
    let body = [YES, STOP].concat();
    let plan = vec![head("text/event-stream"), chunk(body), Step::UntilGone];
    let stub = Stub::new([plan]).await;
    assert_eq!(ask(&chat(&stub)).await, said("Yes."));
}

/// With little time for what is named.
fn hurried(stub: &Stub, first: u64, between: u64, whole: u64) -> OpenAiChat {
    let mut endpoint = stub.endpoint();
    let ms = Duration::from_millis;
    endpoint.timeouts = Timeouts {
        first: ms(first),
        between: ms(between),
        whole: ms(whole),
    };
    OpenAiChat::new(endpoint).expect("a url")
}

const LONG: u64 = 60_000;

#[tokio::test]
async fn a_first_byte_that_does_not_come_is_not_waited_for_nor_asked_for_again() {
    for plan in [
        vec![Step::UntilGone],
        vec![head("text/event-stream"), Step::UntilGone],
    ] {
        let mut stub = Stub::new([plan, yes()]).await;
        let (parts, answered) = ask(&hurried(&stub, 150, LONG, LONG)).await;
        let failure = answered.expect_err("too late");
        assert_eq!((parts, failure.kind), (vec![], FailureKind::TimedOut));
        assert!(
            failure.detail.contains("did not begin within 150ms"),
            "{failure}"
        );
        stub.gone().await;
        assert_eq!(stub.asked().len(), 1);
    }
}

#[tokio::test]
async fn an_answer_that_stalls_is_given_up_with_what_there_is() {
    let plan = vec![head("text/event-stream"), chunk(YES), Step::UntilGone];
    let stub = Stub::new([plan, yes()]).await;
    let (parts, answered) = ask(&hurried(&stub, LONG, 150, LONG)).await;
    assert_eq!(parts, [Part::Text("Yes.".into())]);
    let failure = answered.expect_err("stalled");
    assert_eq!(failure.kind, FailureKind::TimedOut);
    assert!(
        failure.detail.contains("did not go on within 150ms"),
        "{failure}"
    );
    assert_eq!(stub.asked().len(), 1);
}

#[tokio::test]
async fn everything_together_has_a_time_and_only_the_service_uses_it_up() {
    let mut plan = vec![head("text/event-stream")];
    plan.push(chunk(YES));
    plan.push(Step::UntilGone);
    let stub = Stub::new([plan]).await;
    let (_, answered) = ask(&hurried(&stub, LONG, LONG, 400)).await;
    let failure = answered.expect_err("too long");
    assert_eq!(failure.kind, FailureKind::TimedOut);
    assert!(
        failure.detail.contains("not done within 400ms in all"),
        "{failure}"
    );

    let plan = vec![
        head("text/event-stream"),
        chunk([YES, YES].concat()),
        chunk([YES, STOP, DONE].concat()),
        end(),
    ];
    let stub = Stub::new([plan]).await;
    let chat = hurried(&stub, LONG, LONG, 2_000);
    let (parts, mut came) = mpsc::channel(1);
    let slow = async {
        // Longer than the service may take.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        let mut all = String::new();
        while let Some(Part::Text(text)) = came.recv().await {
            all.push_str(&text);
        }
        all
    };
    let messages = [];
    let question = Question {
        messages: &messages,
        tools: &[],
    };
    let (answered, all) = futures_util::future::join(chat.answer(question, parts), slow).await;
    assert_eq!((answered, all.as_str()), (Ok(()), "Yes.Yes.Yes."));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_asked_for_again_if_nobody_has_heard_of_it() {
    for broken in [
        vec![Step::Close],
        vec![head("text/event-stream"), Step::Close],
        vec![head("text/event-stream"), chunk(": hello\n\n"), end()],
        stream("data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n"),
        stream("data: {\"error\":{\"message\":\"overloaded\"}}\n\n"),
        vec![json("502 Bad Gateway", "")],
    ] {
        let stub = Stub::new([broken, yes()]).await;
        assert_eq!(ask(&chat(&stub)).await, said("Yes."));
        assert_eq!(stub.asked().len(), 2);
    }
}

#[tokio::test]
async fn a_half_answer_is_a_failure_and_not_said_twice() {
    for cut in [
        vec![head("text/event-stream"), chunk(YES), Step::Close],
        stream(YES),
        stream(&format!("{YES}data: {{\"choi")),
        stream(&format!("{YES}data: {{\"error\":{{\"code\":500}}}}\n\n")),
    ] {
        let stub = Stub::new([cut, yes()]).await;
        let (parts, answered) = ask(&chat(&stub)).await;
        assert_eq!(parts, [Part::Text("Yes.".into())]);
        let failure = answered.expect_err("half an answer");
        assert!(failure.kind.is_passing(), "{failure}");
        assert_eq!(stub.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_service_that_keeps_failing_is_asked_twice() {
    let fail = || {
        vec![json(
            "500 Internal Server Error",
            r#"{"error":"out of memory"}"#,
        )]
    };
    let stub = Stub::new([fail(), fail(), yes()]).await;
    let failure = failure(&stub).await;
    assert_eq!(failure.kind, FailureKind::Failed);
    assert!(
        failure
            .detail
            .contains("500 Internal Server Error: out of memory; "),
        "{failure}"
    );
    assert_eq!(stub.asked().len(), 2);
}

#[tokio::test]
async fn what_a_status_means_is_told_with_the_next_step() {
    use FailureKind::*;
    let message = |status: &str| json(status, r#"{"error":{"message":"it is so"}}"#);
    for (answer, kind, step) in [
        (
            message("401 Unauthorized"),
            NotAllowed,
            "check this provider's key",
        ),
        (
            message("402 Payment Required"),
            Exhausted,
            "nothing left to spend",
        ),
        (
            message("404 Not Found"),
            Refused,
            "it usually ends in /v1; and does the service have the model `small`",
        ),
        (
            message("400 Bad Request"),
            Refused,
            "check the model `small`",
        ),
        (message("429 Too Many Requests"), Exhausted, "wait a little"),
        (
            response(
                "308 Permanent Redirect",
                "location: https://me:pw@other/v2?token=1\r\n",
                "",
            ),
            Refused,
            "it leads to https://other/v2; write the address",
        ),
        (
            response(
                "200 OK",
                "content-type: text/html\r\n",
                "<!DOCTYPE html><p>Welcome",
            ),
            Misunderstood,
            "a web page; is the base URL right?",
        ),
    ] {
        let stub = Stub::new([vec![answer]]).await;
        let failure = failure(&stub).await;
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.detail.contains(step), "{failure}");
        assert!(
            failure.detail.contains("/v1/chat/completions: "),
            "{failure}"
        );
        assert!(!failure.detail.contains("token"), "{failure}");
        assert_eq!(stub.asked().len(), 1);
    }
}

#[tokio::test]
async fn no_key_at_all_is_told_as_such() {
    let stub = Stub::new([vec![json("401 Unauthorized", "{}")]]).await;
    let mut endpoint = stub.endpoint();
    endpoint.key = None;
    let chat = OpenAiChat::new(endpoint).expect("a url");
    let failure = ask(&chat).await.1.expect_err("no key");
    assert!(
        failure.detail.contains("this provider has no key"),
        "{failure}"
    );
}

#[tokio::test]
async fn too_many_requests_are_asked_again_only_if_that_is_soon() {
    let wait = |value: &str| {
        let header = format!("retry-after: {value}\r\n");
        vec![response("429 Too Many Requests", &header, "")]
    };
    let stub = Stub::new([wait("0"), yes()]).await;
    assert_eq!(ask(&chat(&stub)).await, said("Yes."));
    for long in ["3", "Wed, 21 Oct 2026 07:28:00 GMT", "-1", "NaN", "1e99"] {
        let stub = Stub::new([wait(long), yes()]).await;
        assert_eq!(failure(&stub).await.kind, FailureKind::Exhausted);
        assert_eq!(stub.asked().len(), 1, "{long}");
    }
}

#[tokio::test]
async fn an_error_message_that_does_not_end_is_shown_as_far_as_it_came() {
    let long = "A long story. ".repeat(5_000);
    let stub = Stub::new([vec![json("400 Bad Request", long)]]).await;
    let detail = failure(&stub).await.detail;
    assert!(
        detail.contains("A long story.") && detail.chars().count() < 500,
        "{detail}"
    );
    let head = "HTTP/1.1 403 Forbidden\r\ncontent-length: 100\r\n\r\nNot from here";
    let stub = Stub::new([vec![Step::Send(head.into()), Step::UntilGone]]).await;
    let failure = failure(&stub).await;
    assert_eq!(failure.kind, FailureKind::NotAllowed);
    assert!(failure.detail.contains("Not from here"), "{failure}");
}

#[tokio::test]
async fn a_huge_answer_is_broken_off() {
    let text = YES.replace("Yes.", &"a".repeat(60_000));
    let mut plan = vec![head("text/event-stream")];
    plan.extend(std::iter::repeat_n(chunk(text), 20));
    plan.push(Step::UntilGone);
    let mut stub = Stub::new([plan]).await;
    let (_, answered) = ask(&chat(&stub)).await;
    let failure = answered.expect_err("too long");
    assert_eq!(failure.kind, FailureKind::Misunderstood);
    assert!(failure.detail.contains("too long"), "{failure}");
    stub.gone().await;
}

#[tokio::test]
async fn nobody_there_is_told_with_the_address_and_without_what_is_secret_in_it() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let port = free
        .expect("a port")
        .local_addr()
        .expect("an address")
        .port();
    let mut endpoint = endpoint(&format!(
        "http://me:hidden@127.0.0.1:{port}/v1?token=hidden"
    ));
    endpoint.key = None;
    let chat = OpenAiChat::new(endpoint).expect("a url");
    let failure = ask(&chat).await.1.expect_err("nobody there");
    assert_eq!(failure.kind, FailureKind::Unreachable);
    let place = format!("http://127.0.0.1:{port}/v1/chat/completions: no connection: ");
    assert!(failure.detail.starts_with(&place), "{failure}");
    assert!(!failure.detail.contains("hidden"), "{failure}");
}

#[tokio::test]
async fn a_key_that_no_request_can_carry_is_told() {
    let stub = Stub::new([]).await;
    let mut endpoint = stub.endpoint();
    endpoint.key = Some(ApiKey::new("abc\ndefghi"));
    let chat = OpenAiChat::new(endpoint).expect("a url");
    let failure = ask(&chat).await.1.expect_err("no request");
    assert_eq!(failure.kind, FailureKind::Refused);
    assert!(!failure.detail.contains("defghi"), "{failure}");
}
