use super::*;
use safeport_settings::{FileSource, Sources};
use safeport_voice::{Begin, Scene, Told, Turn};

fn settings(text: &str) -> Settings {
    let sources = Sources {
        files: vec![FileSource {
            path: "safeport.toml",
            text,
            drop_in: false,
        }],
        ..Sources::default()
    };
    Settings::parse(&sources).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn row(scope: Scope, value: &str) -> ManagedRow {
    ManagedRow {
        scope,
        key: "xiaozhi.agent".to_owned(),
        value: value.to_owned(),
        secret: false,
        revision: 1,
        who: "test".to_owned(),
        at: 0,
    }
}

const NO_TAGS: [&str; 0] = [];

const TWO: &str = r#"
tags.order = ["home", "attic"]
[provider.model]
kind = "openai-chat"
url = "http://127.0.0.1:9/v1"
model = "small"
[provider.bird]
kind = "parrot"
[agent.kitchen]
model = "model"
prompt = "You are short."
history = "1h"
memory = "summary"
[agent.bath]
model = "bird"
"#;

#[test]
fn a_device_goes_before_its_tags_a_later_tag_before_an_earlier_one_and_all_before_everyone() {
    let agents = Agents::new(Language::English);
    assert_eq!(&*agents.for_device("box", &NO_TAGS).name, "echo");
    let managed = [
        row(Scope::Device("box".to_owned()), "\"kitchen\""),
        row(Scope::Tag("home".to_owned()), "\"bath\""),
        row(Scope::Tag("attic".to_owned()), "\"kitchen\""),
    ];
    agents.set_settings(&settings(TWO), &managed);
    let of = |device: &str, tags: &[&str]| agents.for_device(device, tags).name.to_string();
    assert_eq!(of("box", &["home"]), "kitchen");
    assert_eq!(of("lamp", &["home"]), "bath");
    assert_eq!(of("lamp", &["home", "attic"]), "kitchen");
    // Two agents, and none of them is called `default`.
    assert_eq!(of("lamp", &[]), "echo");
    agents.set_settings(&settings(&TWO.replace("agent.bath", "agent.default")), &[]);
    assert_eq!(of("lamp", &["home"]), "default");
    agents.set_settings(&settings("[agent.only]\nmodel = \"\"\n"), &[]);
    assert_eq!(of("box", &[]), "only");
}

#[test]
fn an_agent_is_made_as_its_section_says() {
    let agents = Agents::new(Language::English);
    agents.set_settings(&settings(TWO), &[]);
    let kitchen = agents.named("kitchen").expect("an agent");
    assert_eq!(kitchen.history, Duration::from_secs(3600));
    assert_eq!(kitchen.memory, Memory::RollingSummary);
    assert_eq!(kitchen.tools, [ToolSource::All]);
    let agent = kitchen.agent.expect("who answers");
    assert_eq!(agent.prompt, "You are short.");
    assert_eq!(&*agent.model.name, "model");
    assert!(agent.recognizer.is_none() && agent.synthesizer.is_none());
    // It waits longer than its provider does for itself.
    assert!(agent.waits.first_part > Duration::from_secs(20));
    assert!(agents.named("attic").is_none());
    assert!(agents.named("echo").expect("the echo").agent.is_none());
    assert_eq!(agents.names(), ["bath", "kitchen", "echo"]);
}

#[test]
fn an_agent_keeps_sound_only_where_its_section_says_so_and_ends_at_once() {
    let agents = Agents::new(Language::English);
    agents.set_settings(&settings(TWO), &[]);
    assert!(agents.recording().is_empty());
    assert_eq!(agents.keeps_sound_of("kitchen"), None);
    let kept = TWO.replace("\"1h\"", "\"1h\"\nrecordings = \"10m\"");
    agents.set_settings(&settings(&kept), &[]);
    let ten = Duration::from_secs(600);
    assert_eq!(agents.keeps_sound_of("kitchen"), Some(ten));
    assert_eq!(agents.keeps_sound_of("bath"), None);
    assert_eq!(agents.keeps_sound_of("echo"), None);
    agents.set_settings(&settings(TWO), &[]);
    assert_eq!(agents.keeps_sound_of("kitchen"), None);
}

#[test]
fn providers_stay_when_a_change_does_not_touch_them() {
    let agents = Agents::new(Language::English);
    agents.set_settings(&settings(TWO), &[]);
    let model = |name: &str| {
        let agent = agents.named(name).expect("an agent").agent;
        agent.expect("who answers").model.provider.clone()
    };
    let before = model("kitchen");
    agents.set_settings(
        &settings(&TWO.replace("You are short.", "You are long.")),
        &[],
    );
    assert!(Arc::ptr_eq(&before, &model("kitchen")));
    agents.set_settings(&settings(&TWO.replace("\"small\"", "\"big\"")), &[]);
    assert!(!Arc::ptr_eq(&before, &model("kitchen")));
}

#[test]
fn a_key_of_a_file_is_read_again_and_a_missing_file_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key");
    let text = TWO.replace("model = \"small\"", &format!("key_file = {file:?}"));
    let agents = Agents::new(Language::English);
    agents.set_settings(&settings(&text), &[]);
    let broken = agents.broken();
    assert_eq!(broken[0].0, "model");
    assert_eq!(broken[0].1.kind, FailureKind::Missing);
    assert!(broken[0].1.detail.contains("key_file"), "{:?}", broken[0].1);
    std::fs::write(&file, "sk-1\n").expect("a key");
    agents.set_settings(&settings(&text), &[]);
    assert_eq!(agents.broken(), []);
    std::fs::write(&file, "\n").expect("no key");
    agents.set_settings(&settings(&text), &[]);
    assert!(agents.broken()[0].1.detail.contains("first line"));
}

#[test]
fn what_cannot_be_set_up_says_so_in_every_turn_in_the_language_of_the_agent() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let text = r#"
[provider.model]
kind = "openai-chat"
[provider.mouth]
kind = "command-speech"
command = ["/no/such/program"]
[agent.kitchen]
language = "zh"
model = "model"
voice = "mouth"
"#;
    let agents = Agents::new(Language::English);
    agents.set_settings(&settings(text), &[]);
    assert_eq!(agents.broken().len(), 2);
    let agent = agents.named("kitchen").and_then(|chosen| chosen.agent);
    let told = runtime.block_on(async {
        let begin = Begin::Asked("hello".to_owned());
        let mut turn = Turn::start(agent.expect("who answers"), Scene::default(), begin);
        let mut told = Vec::new();
        while let Some(one) = turn.next().await {
            told.push(one);
        }
        told
    });
    let failed = told.iter().find_map(|told| match told {
        Told::Failed(failure) => Some(failure),
        _ => None,
    });
    let failed = failed.expect("a failure");
    assert_eq!(
        (failed.kind, failed.stage),
        (FailureKind::Missing, Stage::Model)
    );
    assert!(failed.detail.contains("provider.model.url"), "{failed}");
    let shown = told
        .iter()
        .any(|told| matches!(told, Told::Sentence { shown } if shown.contains("抱歉")));
    assert!(shown, "{told:?}");
}

#[test]
fn settings_of_the_other_kinds_are_held_against_what_they_know() {
    let agents = Agents::new(Language::English);
    let text = r#"
[provider.ears]
kind = "funasr"
url = "ws://127.0.0.1:1"
extra = '{"mode": "offline", "hotwords": {"Safeport": 30}, "itn": false}'
[provider.mouth]
kind = "dashscope-speech"
key = "sk-1"
format = "pcm@16000"
extra = '{"speed": 1.2, "volume": 70}'
[provider.tools]
kind = "mcp"
command = ["tool-server", "--quiet"]
extra = '{"env": {"TOKEN": "t"}}'
"#;
    agents.set_settings(&settings(text), &[]);
    assert_eq!(agents.broken(), []);
    assert_eq!(agents.servers().len(), 1);
    for (good, bad) in [
        ("\"offline\"", "\"sometimes\""),
        ("\"speed\"", "\"haste\""),
        ("pcm@16000", "mp3"),
        ("{\"env\": {\"TOKEN\": \"t\"}}", "{\"env\": 1}"),
    ] {
        agents.set_settings(&settings(&text.replace(good, bad)), &[]);
        assert_eq!(agents.broken().len(), 1, "{bad}");
    }
}
