use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use std::string::ToString;

use proptest::prelude::*;

use super::*;
use crate::limits::{MAX_RESULT_PARTS, MAX_RESULT_TEXT, MAX_TOOL};

const NOW: Time = Time(5_000);

fn hello() -> McpHello {
    McpHello {
        name: "safeport".into(),
        version: "0.1.0".into(),
        vision: Some(Vision {
            url: "http://hub:8002/mcp/vision/explain".into(),
            token: "secret".into(),
        }),
    }
}

/// What is to be sent, and what else there is to do.
fn drain(tools: &mut DeviceTools) -> (Vec<Value>, Vec<McpEffect>) {
    let (mut sent, mut others) = (Vec::new(), Vec::new());
    while let Some(effect) = tools.poll_effect() {
        match effect {
            McpEffect::Send(payload) => {
                sent.push(serde_json::from_str(payload.as_str()).expect("JSON"));
            }
            other => others.push(other),
        }
    }
    (sent, others)
}

/// The one request that waits to be sent.
fn asked(tools: &mut DeviceTools) -> Value {
    let (mut sent, others) = drain(tools);
    assert!(others.is_empty(), "{others:?}");
    let request = sent.pop().expect("something is asked");
    assert_eq!(request["jsonrpc"], "2.0");
    request
}

fn answer(tools: &mut DeviceTools, request: &Value, result: &Value, now: Time) {
    let answer = json!({"jsonrpc": "2.0", "id": request["id"], "result": result});
    tools.handle(&answer.to_string(), now);
}

fn tool(name: &str) -> Value {
    json!({"name": name, "description": "does it", "inputSchema": {"type": "object",
        "properties": {"volume": {"type": "integer", "minimum": 0, "maximum": 100},
                       "on": {"type": "boolean"}, "text": {"type": "string"}},
        "required": ["volume"]}})
}

/// A device that was asked who it is, and waits for the question for its first page.
fn introduced() -> (DeviceTools, Value) {
    let mut tools = DeviceTools::new(hello(), 7);
    tools.start(NOW);
    let request = asked(&mut tools);
    assert_eq!(request["method"], "initialize");
    let result = json!({"protocolVersion": PROTOCOL, "capabilities": {"tools": {}},
        "serverInfo": {"name": "bread-compact-wifi", "version": "2.4.2"}});
    answer(&mut tools, &request, &result, NOW);
    let page = asked(&mut tools);
    (tools, page)
}

fn listed(all: &[Value]) -> DeviceTools {
    let (mut tools, page) = introduced();
    answer(&mut tools, &page, &json!({"tools": all}), NOW);
    assert_eq!(drain(&mut tools).1, [McpEffect::Listed]);
    tools
}

fn outcome(tools: &mut DeviceTools) -> Result<ToolResult, ToolError> {
    let (sent, mut others) = drain(tools);
    assert!(sent.is_empty());
    match others.pop() {
        Some(McpEffect::Done { outcome, .. }) => outcome,
        other => panic!("no call came to its end: {other:?}"),
    }
}

#[test]
fn a_device_is_asked_who_it_is_and_told_where_its_pictures_go() {
    let mut tools = DeviceTools::new(hello(), 7);
    tools.start(NOW);
    let request = asked(&mut tools);
    assert_eq!(
        (&request["id"], &request["method"]),
        (&json!(7), &json!("initialize"))
    );
    assert_eq!(
        request["params"],
        json!({"protocolVersion": "2024-11-05",
            "capabilities": {"vision": {"url": "http://hub:8002/mcp/vision/explain", "token": "secret"}},
            "clientInfo": {"name": "safeport", "version": "0.1.0"}})
    );
    answer(&mut tools, &request, &json!({}), NOW);
    let (sent, _) = drain(&mut tools);
    assert_eq!(
        sent[0],
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"})
    );
    assert_eq!(
        sent[1]["params"],
        json!({"cursor": "", "withUserTools": true})
    );

    let blind = McpHello {
        vision: None,
        ..hello()
    };
    let mut tools = DeviceTools::new(blind, 7);
    tools.start(NOW);
    assert_eq!(asked(&mut tools)["params"]["capabilities"], json!({}));
}

#[test]
fn a_list_of_several_pages_is_read_to_its_end() {
    let (mut tools, page) = introduced();
    assert_eq!(
        tools.call(Caller::User, "self.a", "", NOW),
        Err(CallError::NotListed)
    );
    let first = json!({"tools": [tool("self.a"), tool("self.b")], "nextCursor": "self.c"});
    answer(&mut tools, &page, &first, NOW);
    let page = asked(&mut tools);
    assert_eq!(page["params"]["cursor"], "self.c");
    answer(&mut tools, &page, &json!({"tools": [tool("self.c")]}), NOW);
    assert_eq!(drain(&mut tools), (vec![], vec![McpEffect::Listed]));
    let names: Vec<&str> = tools.tools().iter().map(|tool| &*tool.name).collect();
    assert_eq!(names, ["self.a", "self.b", "self.c"]);
    assert!(tools.is_complete());
    assert_eq!(tools.poll_timeout(), None);
}

#[test]
fn a_list_without_an_end_ends_at_its_limits() {
    // Every page points to itself.
    let (mut tools, page) = introduced();
    let circle = json!({"tools": [tool("self.a")], "nextCursor": "self.a"});
    answer(&mut tools, &page, &circle, NOW);
    let page = asked(&mut tools);
    answer(&mut tools, &page, &circle, NOW);
    assert_eq!(drain(&mut tools).1, [McpEffect::Listed]);
    assert_eq!((tools.tools().len(), tools.is_complete()), (1, false));

    // Every page brings another tool.
    let (mut tools, mut page) = introduced();
    let mut pages = 1;
    loop {
        let (name, next) = (format!("self.{pages}"), format!("self.{}", pages + 1));
        let result = json!({"tools": [tool(&name)], "nextCursor": next});
        answer(&mut tools, &page, &result, NOW);
        let (mut sent, others) = drain(&mut tools);
        let Some(request) = sent.pop() else {
            assert_eq!(others, [McpEffect::Listed]);
            break;
        };
        page = request;
        pages += 1;
    }
    assert_eq!(
        (pages, tools.tools().len()),
        (MAX_TOOL_PAGES, MAX_TOOL_PAGES)
    );
    assert!(!tools.is_complete());

    // One page brings more than there may be.
    let many: Vec<Value> = (0..MAX_TOOLS + 1)
        .map(|n| json!({"name": format!("t{n}")}))
        .collect();
    let tools = listed(&many);
    assert_eq!(
        (tools.tools().len(), tools.is_complete()),
        (MAX_TOOLS, false)
    );
    let wordy = |n| json!({"name": format!("t{n}"), "description": "x".repeat(9_000)});
    let wordy: Vec<Value> = (0..7).map(wordy).collect();
    let tools = listed(&wordy);
    assert_eq!((tools.tools().len(), tools.is_complete()), (7, true));
}

#[test]
fn what_is_no_tool_is_left_out_and_the_others_stand() {
    let all = [
        json!(7),
        json!({"name": ""}),
        json!({"description": "no name"}),
        json!({"name": "n".repeat(MAX_TOOL_NAME + 1)}),
        json!({"name": "huge", "description": "x".repeat(MAX_TOOL)}),
        json!({"name": "bare"}),
        json!({"name": "bare", "description": "again"}),
        json!({"name": "odd", "inputSchema": "text", "description": 5}),
    ];
    let tools = listed(&all);
    let names: Vec<&str> = tools.tools().iter().map(|tool| &*tool.name).collect();
    assert_eq!(names, ["bare", "odd"]);
    let schema = r#"{"properties":{},"type":"object"}"#;
    assert!(tools.tools().iter().all(|tool| &*tool.schema == schema));
    assert!(!tools.is_complete());
}

#[test]
fn tools_for_people_are_withheld_from_the_model_and_people_can_call_them() {
    let marked = json!({"name": "self.special", "annotations": {"audience": ["user"]}});
    let both = json!({"name": "self.both", "annotations": {"audience": ["user", "assistant"]}});
    // Listed without the mark, as by a build that does not know it.
    let unmarked = json!({"name": "self.upgrade_firmware"});
    let mut tools = listed(&[marked, both, unmarked, tool("self.audio.set")]);
    let of_model: Vec<&str> = tools.model_tools().map(|(name, _)| name).collect();
    assert_eq!(of_model, ["self_both", "self_audio_set"]);
    for own in ["self.special", "self.upgrade_firmware"] {
        let name = own.replace('.', "_");
        assert_eq!(
            tools.call(Caller::Model, &name, "", NOW),
            Err(CallError::ForPeople { tool: own.into() })
        );
        assert!(tools.call(Caller::User, own, "", NOW).is_ok());
    }
    // A model has its own names only, and people the device's.
    for (caller, name) in [
        (Caller::Model, "self.audio.set"),
        (Caller::User, "self_audio_set"),
    ] {
        let error = tools.call(caller, name, "", NOW);
        assert_eq!(error, Err(CallError::NoSuchTool { tool: name.into() }));
    }
}

#[test]
fn a_call_has_the_device_s_name_and_gives_what_the_device_answers() {
    let mut tools = listed(&[tool("self.audio.set")]);
    let call = tools.call(Caller::Model, "self_audio_set", r#"{"volume":50}"#, NOW);
    let call = call.expect("a tool");
    let request = asked(&mut tools);
    assert_eq!(request["method"], "tools/call");
    assert_eq!(
        request["params"],
        json!({"name": "self.audio.set", "arguments": {"volume": 50}})
    );
    assert!(request["id"].is_u64());
    let result = json!({"content": [{"type": "text", "text": "true"}], "isError": false});
    answer(&mut tools, &request, &result, NOW);
    let expected = ToolResult {
        content: vec![Content::Text("true".into())],
        is_error: false,
        cut: false,
    };
    let done = McpEffect::Done {
        call,
        outcome: Ok(expected),
    };
    assert_eq!(drain(&mut tools).1, [done]);
    // The same answer again is for nobody.
    answer(&mut tools, &request, &result, NOW);
    assert_eq!(drain(&mut tools), (vec![], vec![]));
}

#[test]
fn arguments_become_what_the_schema_wants_or_are_refused() {
    let mut tools = listed(&[tool("t")]);
    for (text, expected) in [
        ("", json!({})),
        (" {} ", json!({})),
        (
            r#"{"volume":"50","on":"true","text":7}"#,
            json!({"volume": 50, "on": true, "text": "7"}),
        ),
        (
            r#"{"volume":"loud","on":1,"text":"7","other":"5"}"#,
            json!({"volume": "loud", "on": 1, "text": "7", "other": "5"}),
        ),
    ] {
        let call = tools.call(Caller::Model, "t", text, NOW).expect("a call");
        assert_eq!(asked(&mut tools)["params"]["arguments"], expected);
        tools.cancel(call);
    }
    for text in ["[]", "5", "{", "null", "\"x\""] {
        let error = CallError::NoArguments { tool: "t".into() };
        assert_eq!(tools.call(Caller::Model, "t", text, NOW), Err(error));
    }
    let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(MAX_ARGUMENTS));
    assert_eq!(
        tools.call(Caller::Model, "t", &long, NOW),
        Err(CallError::ArgumentsTooLong)
    );
    assert_eq!(drain(&mut tools), (vec![], vec![]));
}

#[test]
fn pictures_come_as_firmware_packs_them_and_as_the_standard_does() {
    let packed = json!({"type": "image", "mimeType": "image/jpeg", "data": "AAEC"});
    let parts = json!([
        {"type": "image", "image": packed.to_string()},
        packed,
        {"type": "image", "image": "no JSON"},
        {"type": "sound", "x": 1},
        5,
    ]);
    let result = ToolResult::read(&json!({"content": parts, "isError": true}).to_string());
    let picture = Content::Image {
        mime: "image/jpeg".into(),
        base64: "AAEC".into(),
    };
    assert_eq!(result.content[..2], [picture.clone(), picture]);
    assert_eq!(
        result.content[3],
        Content::Other {
            kind: "sound".into()
        }
    );
    assert!(result.is_error && !result.cut);
    assert_eq!(
        result.text(),
        "[image/jpeg]\n[image/jpeg]\n[]\n[sound]\n[no type]"
    );
}

#[test]
fn an_answer_that_is_too_long_is_cut_or_refused_and_the_call_ends_at_once() {
    let mut tools = listed(&[tool("t")]);
    let text = "灯".repeat(MAX_RESULT_TEXT / 3 + 10);
    tools.call(Caller::Model, "t", "", NOW).expect("a call");
    let request = asked(&mut tools);
    let part = json!({"type": "text", "text": text});
    answer(&mut tools, &request, &json!({"content": [part]}), NOW);
    let result = outcome(&mut tools).expect("a result");
    assert!(result.cut);
    let Content::Text(kept) = &result.content[0] else {
        panic!("a text");
    };
    assert_eq!(kept.len(), MAX_RESULT_TEXT - MAX_RESULT_TEXT % 3);

    let parts = vec![json!({"type": "text", "text": "x"}); 40];
    let result = ToolResult::read(&json!({"content": parts}).to_string());
    assert_eq!((result.content.len(), result.cut), (MAX_RESULT_PARTS, true));

    tools.call(Caller::Model, "t", "", NOW).expect("a call");
    let request = asked(&mut tools);
    let part = json!({"type": "text", "text": "x".repeat(10_000_000)});
    answer(&mut tools, &request, &json!({"content": [part]}), NOW);
    let error = outcome(&mut tools).expect_err("10 MB");
    assert!(matches!(error, ToolError::TooLong { bytes } if bytes > 10_000_000));
    assert_eq!(tools.calls(), 0);
}

#[test]
fn a_result_that_is_not_made_as_it_should_be_is_taken_for_a_text() {
    for (result, text) in [
        ("\"done\"", "done"),
        ("{\"battery\":80}", "{\"battery\":80}"),
        ("{\"content\":5}", "{\"content\":5}"),
    ] {
        assert_eq!(ToolResult::read(result).text(), text);
    }
}

#[test]
fn errors_of_the_device_reach_the_caller_in_its_words() {
    let mut tools = listed(&[tool("t")]);
    let long = "x".repeat(2_000);
    for (error, message) in [
        (json!({"message": "Unknown tool: t"}), "Unknown tool: t"),
        (
            json!({"code": -32602, "message": "out of range"}),
            "out of range",
        ),
        (json!("plain"), "plain"),
        (json!({"x": 1}), "{\"x\":1}"),
        (json!({"message": long}), &long[..MAX_ERROR_TEXT]),
    ] {
        tools.call(Caller::Model, "t", "", NOW).expect("a call");
        let id = asked(&mut tools)["id"].clone();
        tools.handle(
            &json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string(),
            NOW,
        );
        let refused = ToolError::Refused {
            message: message.into(),
        };
        assert_eq!(outcome(&mut tools), Err(refused));
    }
    tools.call(Caller::Model, "t", "", NOW).expect("a call");
    let id = asked(&mut tools)["id"].clone();
    tools.handle(&json!({"id": id}).to_string(), NOW);
    assert_eq!(outcome(&mut tools), Err(ToolError::Unreadable));
}

#[test]
fn a_call_fails_after_30_s_and_a_late_answer_is_for_nobody() {
    let mut tools = listed(&[tool("t")]);
    tools.call(Caller::Model, "t", "", NOW).expect("a call");
    let request = asked(&mut tools);
    let due = NOW + 30_000;
    assert_eq!(tools.poll_timeout(), Some(due));
    tools.handle_timeout(Time(due.0 - 1));
    assert_eq!(tools.poll_effect(), None);
    tools.handle_timeout(due);
    assert_eq!(outcome(&mut tools), Err(ToolError::Silent));
    answer(&mut tools, &request, &json!({"content": []}), due);
    assert_eq!((tools.poll_effect(), tools.poll_timeout()), (None, None));
}

#[test]
fn a_device_that_is_silent_is_asked_twice_and_then_has_no_tools() {
    let mut tools = DeviceTools::new(hello(), u32::MAX);
    tools.start(NOW);
    let first = asked(&mut tools);
    tools.handle_timeout(NOW + TOOL_LIST_DEADLINE);
    let second = asked(&mut tools);
    assert_eq!(second["method"], "initialize");
    assert!(first["id"] != second["id"] && second["id"].as_u64() < Some(1 << 31));
    tools.handle_timeout(NOW + 2 * TOOL_LIST_DEADLINE);
    let expected = McpEffect::Unavailable(McpError::Silent);
    assert_eq!(drain(&mut tools), (vec![], vec![expected]));
    assert_eq!(tools.poll_timeout(), None);
    assert_eq!(
        tools.call(Caller::User, "t", "", NOW),
        Err(CallError::NoTools)
    );
}

#[test]
fn a_list_that_breaks_off_is_used_as_far_as_it_came() {
    let (mut tools, page) = introduced();
    let first = json!({"tools": [tool("self.a")], "nextCursor": "self.b"});
    answer(&mut tools, &page, &first, NOW);
    let id = asked(&mut tools)["id"].clone();
    let error = json!({"id": id, "error": {"message": "payload size"}});
    tools.handle(&error.to_string(), NOW);
    assert_eq!(drain(&mut tools).1, [McpEffect::Listed]);
    assert_eq!((tools.tools().len(), tools.is_complete()), (1, false));

    let (mut tools, page) = introduced();
    let error = json!({"id": page["id"], "error": {"message": "no"}});
    tools.handle(&error.to_string(), NOW);
    let refused = McpError::Refused {
        message: "no".into(),
    };
    assert_eq!(drain(&mut tools).1, [McpEffect::Unavailable(refused)]);

    let (mut tools, page) = introduced();
    let huge = json!({"tools": [], "x": "x".repeat(MAX_MESSAGE)});
    answer(&mut tools, &page, &huge, NOW);
    let unreadable = McpEffect::Unavailable(McpError::Unreadable);
    assert_eq!(drain(&mut tools).1, [unreadable]);
}

#[test]
fn a_changed_list_is_asked_for_again_but_not_all_the_time() {
    let mut tools = listed(&[tool("self.a")]);
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    tools.handle(changed, NOW);
    assert_eq!(tools.poll_effect(), None);
    let due = NOW + TOOL_LIST_PAUSE;
    assert_eq!(tools.poll_timeout(), Some(due));
    tools.handle_timeout(due);
    let page = asked(&mut tools);
    // It breaks off: the tools from before stand.
    let error = json!({"id": page["id"], "error": {"message": "busy"}});
    tools.handle(&error.to_string(), due);
    assert_eq!((drain(&mut tools).1, tools.tools().len()), (vec![], 1));

    let later = due + TOOL_LIST_PAUSE;
    tools.handle(changed, later);
    let page = asked(&mut tools);
    answer(
        &mut tools,
        &page,
        &json!({"tools": [tool("b"), tool("c")]}),
        later,
    );
    assert_eq!(drain(&mut tools).1, [McpEffect::Listed]);
    assert_eq!(tools.tools().len(), 2);
    tools.refresh(later);
    assert_eq!(asked(&mut tools)["method"], "tools/list");
    for other in [
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#,
        r#"{"jsonrpc":"2.0","method":"unknown"}"#,
    ] {
        tools.handle(other, later);
    }
    assert_eq!(tools.poll_effect(), None);
}

#[test]
fn a_device_that_asks_is_answered_as_the_protocol_wants_but_not_without_end() {
    let mut tools = listed(&[tool("t")]);
    for (request, expected) in [
        (
            r#"{"jsonrpc":"2.0","id":5,"method":"ping"}"#,
            Some(json!({"jsonrpc": "2.0", "id": 5, "result": {}})),
        ),
        (
            r#"{"jsonrpc":"2.0","id":"x","method":"sampling/createMessage","params":{}}"#,
            Some(json!({"jsonrpc": "2.0", "id": "x",
                "error": {"code": -32601, "message": "this server has no such method"}})),
        ),
        (r#"{"jsonrpc":"2.0","id":{"a":1},"method":"ping"}"#, None),
        (r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#, None),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, None),
    ] {
        tools.handle(request, NOW);
        assert_eq!(drain(&mut tools).0, Vec::from_iter(expected), "{request}");
    }
    let long = format!(r#"{{"id":"{}","method":"ping"}}"#, "x".repeat(MAX_ID));
    tools.handle(&long, NOW);
    assert_eq!(tools.poll_effect(), None);
    for _ in 0..1_000 {
        tools.handle(r#"{"id":5,"method":"ping"}"#, NOW);
    }
    assert_eq!(drain(&mut tools).0.len(), MAX_MCP_EFFECTS);
}

#[test]
fn only_so_many_calls_wait_and_all_fail_when_the_device_goes() {
    let mut tools = listed(&[tool("t")]);
    for _ in 0..MAX_CALLS {
        tools.call(Caller::User, "t", "", NOW).expect("room");
    }
    assert_eq!(
        tools.call(Caller::User, "t", "", NOW),
        Err(CallError::TooMany)
    );
    drain(&mut tools);
    tools.close();
    let (sent, done) = drain(&mut tools);
    assert_eq!((sent.len(), done.len(), tools.calls()), (0, MAX_CALLS, 0));
    tools.start(NOW);
    tools.handle(r#"{"id":5,"method":"ping"}"#, NOW);
    assert_eq!((tools.poll_effect(), tools.poll_timeout()), (None, None));
    for error in [CallError::TooMany, CallError::NoTools, CallError::NotListed] {
        assert!(error.to_string().contains(' '));
    }
}

proptest! {
    /// Answers come in any order, twice, late or never: each call ends once, with its own answer.
    #[test]
    fn every_call_ends_once_with_its_own_answer(
        steps in proptest::collection::vec((0u8..4, any::<usize>(), 0u64..9_000), 1..80)
    ) {
        let mut tools = listed(&[tool("t")]);
        let mut now = NOW;
        let mut sent: Vec<(CallId, Value)> = Vec::new();
        let mut ended = std::collections::HashSet::new();
        for (what, which, passed) in steps {
            now = now + passed;
            match what {
                0 | 1 => if let Ok(call) = tools.call(Caller::User, "t", "", now) {
                    let mut requests = drain(&mut tools).0;
                    sent.push((call, requests.pop().expect("a request")));
                },
                2 => if let Some((call, request)) = sent.get(which % sent.len().max(1)) {
                    answer(&mut tools, request, &json!(format!("{call:?}")), now);
                },
                _ => tools.handle_timeout(now),
            }
            for effect in drain(&mut tools).1 {
                let McpEffect::Done { call, outcome } = effect else {
                    panic!("only calls end");
                };
                prop_assert!(ended.insert(call));
                if let Ok(result) = outcome {
                    prop_assert_eq!(result.text(), format!("{call:?}"));
                }
            }
            prop_assert!(tools.calls() <= MAX_CALLS);
        }
        tools.handle_timeout(now + TOOL_CALL_DEADLINE);
        let rest = drain(&mut tools).1.len();
        prop_assert_eq!(ended.len() + rest, sent.len());
    }
}
