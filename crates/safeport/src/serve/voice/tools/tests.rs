use std::collections::VecDeque;

use safeport_voice::{FailureKind, ToolCall, Toolbox};
use safeport_xiaozhi::{Caller, Time};
use serde_json::{Value, json};

use super::*;

/// A device that answers what it is asked as firmware does.
fn answer(message: &str) -> Option<String> {
    let message: Value = serde_json::from_str(message).expect("JSON");
    assert_eq!(message["type"], "mcp");
    let payload = &message["payload"];
    let id = payload.get("id")?;
    let tool = |name: &str, more: Value| {
        let mut tool = json!({"name": name, "description": "d", "inputSchema": {"type": "object"}});
        if let (Value::Object(tool), Value::Object(more)) = (&mut tool, more) {
            tool.extend(more);
        }
        tool
    };
    let result = match payload["method"].as_str()? {
        "initialize" => json!({"protocolVersion": "2024-11-05"}),
        "tools/list" => json!({"tools": [
            tool("self.lamp.on", json!({})),
            tool("end_conversation", json!({})),
            tool("self.reboot", json!({"annotations": {"audience": ["user"]}})),
        ]}),
        _ => match payload["params"]["name"].as_str()? {
            "end_conversation" => return None,
            name => json!({"content": [{"type": "text", "text": name}], "isError": false}),
        },
    };
    Some(json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string())
}

/// Carries everything that there is to be carried, at `now`.
fn carry(driver: &mut DeviceDriver, now: Time) {
    let mut payloads = VecDeque::new();
    loop {
        while let Some(message) = driver.poll(now) {
            payloads.extend(answer(&message));
        }
        match payloads.pop_front() {
            Some(payload) => driver.hear(&payload, now),
            None => return,
        }
    }
}

fn listed() -> DeviceDriver {
    let mut driver = DeviceDriver::new("lamp", Some("s1"), None);
    driver.start(Time(0));
    carry(&mut driver, Time(0));
    driver
}

fn call(name: &str) -> ToolCall {
    ToolCall {
        id: "c".to_owned(),
        name: name.to_owned(),
        arguments: "{}".to_owned(),
    }
}

/// Lets a call come to the driver.
async fn take(driver: &mut DeviceDriver, now: Time) -> Option<Say> {
    let request = driver.next_request().await;
    driver.take(request, now)
}

fn names(tools: &dyn Toolbox) -> Vec<String> {
    tools.tools().into_iter().map(|tool| tool.name).collect()
}

#[tokio::test]
async fn a_model_calls_a_tool_of_the_device_by_its_name_for_it_and_never_one_for_people() {
    let mut driver = listed();
    let handle = driver.handle();
    assert_eq!(names(&handle), ["self_lamp_on", "end_conversation"]);
    let asks = tokio::spawn({
        let handle = handle.clone();
        async move { handle.call(&call("self_lamp_on")).await }
    });
    assert!(take(&mut driver, Time(1)).await.is_none());
    carry(&mut driver, Time(2));
    assert_eq!(asks.await.expect("done").as_deref(), Ok("self.lamp.on"));
    for name in ["self_reboot", "self.reboot"] {
        let handle = handle.clone();
        let asks = tokio::spawn(async move { handle.call(&call(name)).await });
        take(&mut driver, Time(3)).await;
        let failure = asks.await.expect("done").expect_err("for people");
        assert_eq!(failure.kind, FailureKind::Refused);
    }
    let person = handle.clone();
    let asks = tokio::spawn(async move { person.call_tool(Caller::User, "self.reboot", "").await });
    take(&mut driver, Time(4)).await;
    carry(&mut driver, Time(4));
    assert!(asks.await.expect("done").is_ok());
    let tools = handle.tools_for_people().await.expect("listed");
    assert_eq!(tools.len(), 3);
}

#[tokio::test]
async fn a_call_that_is_not_answered_fails_in_time_and_one_that_nobody_waits_for_makes_room() {
    let mut driver = listed();
    let handle = driver.handle();
    // More than a device takes at once, one after the other, each given up.
    for at in 0..20 {
        let asker = handle.clone();
        let asks = tokio::spawn(async move { asker.call(&call("end_conversation")).await });
        take(&mut driver, Time(at)).await;
        carry(&mut driver, Time(at));
        asks.abort();
        assert!(asks.await.is_err());
    }
    let asks = tokio::spawn({
        let handle = handle.clone();
        async move { handle.call(&call("end_conversation")).await }
    });
    take(&mut driver, Time(100)).await;
    let deadline = driver.next_wake().expect("waits");
    assert_eq!(deadline, Time(30_100));
    carry(&mut driver, deadline);
    let failure = asks.await.expect("done").expect_err("silent");
    assert_eq!(failure.kind, FailureKind::TimedOut, "{failure}");
    assert_eq!(driver.next_wake(), None);
}

#[tokio::test]
async fn the_end_of_a_conversation_fails_what_is_asked_and_what_waits_to_be_taken_up() {
    let mut driver = listed();
    let handle = driver.handle();
    let ask = || {
        let handle = handle.clone();
        tokio::spawn(async move { handle.call(&call("end_conversation")).await })
    };
    let taken = ask();
    take(&mut driver, Time(1)).await;
    let waits = ask();
    let says = tokio::spawn({
        let handle = handle.clone();
        async move { handle.say("hello").await }
    });
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    drop(driver);
    for asked in [taken, waits, ask()] {
        let failure = asked.await.expect("done").expect_err("gone");
        assert_eq!(failure.kind, FailureKind::Unreachable, "{failure}");
    }
    assert_eq!(says.await.expect("done"), Err(NotSaid::Gone));
}

#[tokio::test]
async fn words_for_the_device_are_given_to_the_conversation() {
    let mut driver = listed();
    let handle = driver.handle();
    let says = tokio::spawn(async move { handle.say("dinner").await });
    let say = take(&mut driver, Time(1)).await.expect("words");
    assert_eq!(say.text, "dinner");
    say.done(Ok(Said::Spoken));
    assert_eq!(says.await.expect("done"), Ok(Said::Spoken));
}

#[tokio::test]
async fn a_device_without_tools_says_so_at_once() {
    let mut driver = DeviceDriver::new("old", Some("s1"), None);
    let handle = driver.handle();
    assert!(names(&handle).is_empty());
    let asks = tokio::spawn(async move { handle.call(&call("self_lamp_on")).await });
    take(&mut driver, Time(1)).await;
    assert!(asks.await.expect("done").is_err());
}

#[tokio::test]
async fn a_model_is_told_our_tool_the_devices_and_those_of_servers_under_names_of_their_own() {
    let room = Toolroom::new();
    let mut driver = listed();
    let tools = room.tools_for("kitchen", Some(driver.handle()), Which::All);
    let expected = [
        "end_conversation",
        "self_lamp_on",
        "device_end_conversation",
    ];
    assert_eq!(names(&*tools), expected);
    let asks = tokio::spawn({
        let tools = tools.clone();
        async move { tools.call(&call("self_lamp_on")).await }
    });
    take(&mut driver, Time(1)).await;
    carry(&mut driver, Time(1));
    assert_eq!(asks.await.expect("done").as_deref(), Ok("self.lamp.on"));
    assert!(!tools.wants_to_end());
    assert!(tools.call(&call("end_conversation")).await.is_ok());
    assert!(tools.wants_to_end());
    let failure = tools.call(&call("nothing")).await.expect_err("unknown");
    assert_eq!(failure.kind, FailureKind::Missing);

    let none = Which::These {
        device: false,
        servers: Vec::new(),
    };
    let none = room.tools_for("kitchen", Some(driver.handle()), none);
    assert!(names(&*none).is_empty());
    let servers = Which::These {
        device: false,
        servers: vec!["search".to_owned()],
    };
    let servers = room.tools_for("kitchen", Some(driver.handle()), servers);
    assert_eq!(names(&*servers), ["end_conversation"]);
}

struct OneAgent;

impl AgentDesk for OneAgent {
    fn exists(&self, agent: &str) -> bool {
        agent == "kit.chen"
    }
}

fn program(agent: &str, name: &str, token: &str) -> Program {
    Program {
        agent: agent.to_owned(),
        name: name.to_owned(),
        hash: crate::token::hash(token),
        created: 1,
        last_seen: None,
    }
}

#[test]
fn a_token_of_the_access_point_is_that_of_one_program_of_an_agent_that_is_there() {
    let room = Toolroom::new();
    let (shed, gone) = (
        program("kit.chen", "shed", "one"),
        program("bath", "shed", "two"),
    );
    room.set_programs(vec![shed.clone(), gone]);
    assert_eq!(
        room.program_of_token("one"),
        None,
        "there is no such agent yet"
    );
    room.set_agents(Arc::new(OneAgent));
    assert_eq!(room.program_of_token("one"), Some(shed));
    for wrong in ["two", "three", "", "one "] {
        assert_eq!(room.program_of_token(wrong), None, "{wrong}");
    }
}

#[tokio::test]
async fn a_program_that_is_removed_is_told_and_one_of_the_same_name_with_another_token_is_not_it() {
    let room = Toolroom::new();
    room.set_agents(Arc::new(OneAgent));
    let (shed, barn) = (
        program("kit.chen", "shed", "one"),
        program("kit.chen", "barn", "two"),
    );
    room.set_programs(vec![shed.clone(), barn.clone()]);
    let own = room.clone();
    let left = shed.clone();
    let removed = tokio::spawn(async move { own.removed(&left).await });
    tokio::task::yield_now().await;
    room.set_programs(vec![shed.clone()]);
    tokio::task::yield_now().await;
    assert!(!removed.is_finished(), "another one was removed");
    room.set_programs(vec![program("kit.chen", "shed", "new"), barn]);
    let waited = tokio::time::timeout(std::time::Duration::from_secs(20), removed).await;
    waited.expect("it is told").expect("no panic");
    assert_eq!(room.program_of_token("one"), None);
}

/// Devices on MQTT that answer at once.
struct Desk {
    reach: Mutex<Option<Arc<Reach>>>,
    shown: Mutex<Vec<Value>>,
}

impl Post for Desk {
    fn is_connected(&self, device: &str) -> bool {
        device != "away"
    }

    fn send(&self, device: &str, message: String) -> Result<(), Unsent> {
        let value: Value = serde_json::from_str(&message).expect("JSON");
        if value["type"] != "mcp" {
            self.shown.lock().expect("whole").push(value);
            return Ok(());
        }
        if device == "breaks" {
            return Err(Unsent);
        }
        if let Some(payload) = answer(&message) {
            let reach = self.reach.lock().expect("whole").clone().expect("set");
            let device = device.to_owned();
            tokio::spawn(async move { reach.hear(&device, &payload) });
        }
        Ok(())
    }

    fn herald(&self, _: &str) -> Result<Herald, WhyShown> {
        Err(WhyShown::Firmware(Some("2.4.2".to_owned())))
    }
}

#[tokio::test]
async fn an_idle_device_is_asked_over_mqtt_and_shows_what_it_is_to_say() {
    let room = Toolroom::new();
    let reach = room.reach();
    assert_eq!(reach.find("lamp").unwrap_err(), NotThere("lamp".to_owned()));
    let desk = Arc::new(Desk {
        reach: Mutex::new(Some(reach.clone())),
        shown: Mutex::default(),
    });
    reach.set_post(desk.clone());
    assert!(reach.find("away").is_err());
    let lamp = reach.find("lamp").expect("connected");
    assert_eq!(lamp.tools_for_people().await.expect("listed").len(), 3);
    let answer = lamp.call_tool(Caller::User, "self.reboot", "").await;
    assert_eq!(answer.expect("an answer").text(), "self.reboot");
    let old = WhyShown::Firmware(Some("2.4.2".to_owned()));
    assert_eq!(lamp.say("dinner").await, Ok(Said::Shown(old)));
    let shown = desk.shown.lock().expect("whole").clone();
    assert_eq!(
        (&shown[0]["type"], &shown[0]["message"]),
        (&json!("alert"), &json!("dinner"))
    );
    let breaks = reach.find("breaks").expect("connected");
    assert_eq!(breaks.tools_for_people().await, Err(NoAnswer::Gone));

    // It is the conversation that is asked while there is one.
    let driver = listed();
    let presence = reach.enter("lamp", driver.handle());
    let in_talk = reach.find("lamp").expect("talks");
    drop(driver);
    assert_eq!(in_talk.say("x").await, Err(NotSaid::Gone));
    drop(presence);
    assert!(
        reach
            .find("lamp")
            .expect("idle again")
            .say("x")
            .await
            .is_ok()
    );
}

#[test]
fn a_conversation_that_was_replaced_leaves_the_new_one_reachable() {
    let room = Toolroom::new();
    let (first, second) = (listed(), listed());
    let before = room.reach().enter("lamp", first.handle());
    let after = room.reach().enter("lamp", second.handle());
    drop(before);
    assert!(room.reach().find("lamp").is_ok());
    drop(after);
    assert!(room.reach().find("lamp").is_err());
}
