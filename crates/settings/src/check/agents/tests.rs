use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use crate::{
    Audience, FileSource, ManagedValue, Problem, ProviderKind, Scope, Settings, Source, Sources,
};

fn sources(text: &str) -> Sources<'_> {
    Sources {
        files: vec![FileSource {
            path: "safeport.toml",
            text,
            drop_in: false,
        }],
        ..Sources::default()
    }
}

fn problems(text: &str) -> Vec<Problem> {
    Settings::parse(&sources(text)).expect_err("these settings have a mistake")
}

fn notes(text: &str) -> Vec<Problem> {
    Settings::parse(&sources(text)).expect("settings").notes
}

fn only(text: &str) -> (String, String, String) {
    let found = problems(text);
    let [only] = found.as_slice() else {
        panic!("one problem: {found:?}");
    };
    (
        only.key.clone().unwrap_or_default(),
        only.what.en.clone(),
        only.help.en.clone(),
    )
}

const WHOLE: &str = r#"
[provider.cloud]
kind = "openai-chat"
url = "https://api.example.com/v1"
key = "sk-1"
extra = '{"temperature": 0.3}'
[provider.ears]
kind = "funasr"
url = "ws://127.0.0.1:10095"
[provider.mouth]
kind = "command-speech"
command = ["espeak-ng", "--stdout"]
timeout = "5s"
[provider.weather]
kind = "mcp"
url = "http://127.0.0.1:9000/mcp"
[agent.kitchen]
prompt = "You are short."
recognizer = "ears"
model = "cloud"
voice = "mouth"
tools = ["device", "weather"]
[xiaozhi]
agent = "kitchen"
"#;

#[test]
fn a_whole_agent_is_read_and_nothing_is_wrong_with_it() {
    let settings = Settings::parse(&sources(WHOLE)).expect("settings");
    assert_eq!(settings.notes, []);
    let names: Vec<&str> = settings
        .provider
        .iter()
        .map(|provider| provider.name.as_str())
        .collect();
    assert_eq!(names, ["cloud", "ears", "mouth", "weather"]);
    assert_eq!(settings.provider[1].kind, ProviderKind::Funasr);
    assert_eq!(settings.provider[2].command[1].as_str(), "--stdout");
    assert_eq!(settings.provider[0].key.reveal(), "sk-1");
    assert_eq!(settings.agent[0].model, "cloud");
    // The key is nowhere to be seen.
    let shown = alloc::format!("{settings:?}");
    assert!(!shown.contains("sk-1"), "{shown}");
}

#[test]
fn a_provider_that_is_not_there_is_told_with_the_nearest_that_could_be_meant() {
    let text = WHOLE.replace("model = \"cloud\"", "model = \"clod\"");
    let (key, what, help) = only(&text);
    assert_eq!(key, "agent.kitchen.model");
    assert_eq!(what, "there is no [provider.clod]");
    assert_eq!(help, "did you mean cloud?");
    let text = WHOLE.replace("tools = [\"device\", \"weather\"]", "tools = \"device\"");
    assert!(only(&text).1.contains("not a list"));
    let text = WHOLE.replace("\"weather\"]", "\"news\"]");
    let (key, _, help) = only(&text);
    assert_eq!(key, "agent.kitchen.tools");
    assert!(help.contains("kind = \"mcp\""), "{help}");
}

#[test]
fn a_provider_of_another_kind_is_refused_with_the_place_of_its_kind() {
    let found = problems(&WHOLE.replace("voice = \"mouth\"", "voice = \"ears\""));
    let problem = &found[0];
    assert_eq!(problem.key.as_deref(), Some("agent.kitchen.voice"));
    assert!(problem.what.en.contains("kind funasr"));
    assert!(problem.help.en.contains("for example \"mouth\""));
    let (key, source) = problem.related.as_ref().expect("the kind");
    assert_eq!(key, "provider.ears.kind");
    assert!(matches!(source, Source::File { .. }));
}

#[test]
fn an_agent_that_keeps_sound_is_told_as_a_note_and_none_does_by_itself() {
    let settings = Settings::parse(&sources(WHOLE)).expect("settings");
    assert!(settings.agent[0].recordings.is_zero());
    let text = WHOLE.replace(
        "voice = \"mouth\"",
        "voice = \"mouth\"\nrecordings = \"7d\"",
    );
    let found = notes(&text);
    let [only] = found.as_slice() else {
        panic!("one note: {found:?}");
    };
    assert_eq!(only.key.as_deref(), Some("agent.kitchen.recordings"));
    assert!(only.what.en.contains("keeps the sound"), "{}", only.what.en);
    assert!(only.what.en.contains("7d"), "{}", only.what.en);
}

#[test]
fn sound_is_not_kept_for_longer_than_the_turn_that_it_is_of() {
    let with = |keys: &str| {
        WHOLE.replace(
            "voice = \"mouth\"",
            &alloc::format!("voice = \"mouth\"\n{keys}"),
        )
    };
    for keys in [
        "recordings = \"8d\"",
        "recordings = \"1s\"\nhistory = \"0s\"",
    ] {
        let (key, what, help) = only(&with(keys));
        assert_eq!(key, "agent.kitchen.recordings");
        assert!(what.contains("at the latest"), "{what}");
        assert!(help.contains("agent.kitchen.history"), "{help}");
    }
    assert_eq!(
        notes(&with("recordings = \"8d\"\nhistory = \"8d\"")).len(),
        1
    );
}

#[test]
fn an_address_of_another_protocol_is_refused() {
    let text = WHOLE.replace("ws://127.0.0.1:10095", "http://127.0.0.1:10095");
    let (key, what, _) = only(&text);
    assert_eq!(key, "provider.ears.url");
    assert!(what.contains("ws:// or wss://"), "{what}");
}

#[test]
fn what_is_set_key_by_key_is_told_as_a_note_until_it_is_whole() {
    let found = notes("[provider.cloud]\nkind = \"openai-chat\"\n");
    assert_eq!(found[0].key.as_deref(), Some("provider.cloud.url"));
    assert!(
        found[0].help.en.contains("https://"),
        "{}",
        found[0].help.en
    );
    let (key, what, help) = only("[provider.cloud]\nurl = \"https://a.example\"\n");
    assert_eq!(key, "provider.cloud.kind");
    assert_eq!(what, "[provider.cloud] has no kind");
    assert!(help.contains("kind = \"openai-chat\""), "{help}");
    let found = notes("[agent.kitchen]\nprompt = \"x\"\n");
    assert!(found[0].what.en.contains("no recognizer"));
    // Who names a provider that is begun is not told that there is none.
    let text = "[provider.a]\nurl = \"https://a.example\"\n[agent.b]\nmodel = \"a\"\n";
    assert_eq!(problems(text).len(), 1);
}

#[test]
fn a_key_that_goes_to_another_machine_in_the_clear_is_warned_of() {
    let found = notes(&WHOLE.replace("https://api.example.com", "http://api.example.com"));
    assert_eq!(found[0].key.as_deref(), Some("provider.cloud.url"));
    assert!(found[0].what.en.contains("without TLS"));
    for here in [
        "http://localhost:8080",
        "http://127.0.0.2",
        "http://[::1]:1",
    ] {
        let text = WHOLE.replace("https://api.example.com", here);
        assert_eq!(notes(&text), [], "{here}");
    }
    let found = notes(&WHOLE.replace("key = \"sk-1\"", "key = \"a\"\nkey_file = \"/k\""));
    assert!(found[0].what.en.contains("both key and key_file"));
}

#[test]
fn an_agent_that_is_chosen_is_there() {
    let (key, what, help) = only(&WHOLE.replace("agent = \"kitchen\"", "agent = \"kitchn\""));
    assert_eq!(
        (key.as_str(), what.as_str()),
        ("xiaozhi.agent", "there is no agent kitchn")
    );
    assert_eq!(help, "did you mean kitchen?");
    assert!(Settings::parse(&sources("xiaozhi.agent = \"echo\"")).is_ok());
    assert!(
        only("[agent.echo]\nrecognizer = \"\"\n")
            .1
            .contains("no agent can be called echo")
    );
}

#[test]
fn a_device_has_an_agent_of_its_own_and_the_whole_server_knows_of_a_wrong_one() {
    let given = |value| ManagedValue {
        scope: Scope::Device(String::from("box")),
        key: "xiaozhi.agent",
        value,
        revision: 3,
        who: "cli:anna",
        at: 0,
    };
    let text = WHOLE.replace("agent = \"kitchen\"", "agent = \"echo\"");
    let mut sources = sources(&text);
    sources.managed = vec![given("\"kitchen\"")];
    let whole = Settings::parse(&sources).expect("settings");
    assert_eq!(whole.explain("xiaozhi.agent").unwrap().value, "\"echo\"");
    sources.audience = Some(Audience {
        device: "box",
        tags: Vec::new(),
    });
    let of_box = Settings::parse(&sources).expect("settings");
    let explained = of_box.explain("xiaozhi.agent").unwrap();
    assert_eq!(explained.value, "\"kitchen\"");
    assert_eq!(
        of_box.source("xiaozhi.agent").unwrap().to_string(),
        "device box, revision 3 by cli:anna"
    );
    sources.audience = None;
    sources.managed = vec![given("\"kitchn\"")];
    let found = Settings::parse(&sources).expect_err("no such agent");
    assert_eq!(
        found[0].source.to_string(),
        "device box, revision 3 by cli:anna"
    );
}

#[test]
fn each_section_of_entries_has_a_limit_of_its_own() {
    let mut text = String::new();
    for index in 0..32 {
        text.push_str(&alloc::format!("[provider.p{index}]\nkind = \"parrot\"\n"));
        text.push_str(&alloc::format!("[agent.a{index}]\nmodel = \"p{index}\"\n"));
    }
    let settings = Settings::parse(&sources(&text)).expect("settings");
    assert_eq!((settings.provider.len(), settings.agent.len()), (32, 32));
    text.push_str("[agent.zz]\n");
    assert!(only(&text).1.contains("more than 32 sections [agent.NAME]"));
}
