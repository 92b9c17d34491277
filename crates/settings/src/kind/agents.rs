//! What `[provider.NAME]` and `[agent.NAME]` are made of.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::words::slip;
use super::{Kind, Misfit, Raw, quote};
use crate::kind::lists::Element;
use crate::place::fits_entry;
use crate::said::said;

/// Which agent a device talks with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AgentChoice {
    /// The only agent there is, or the one named `default`; the echo where there is neither.
    /// Written `auto`.
    Auto,
    /// This one; `echo` is always there.
    Named(String),
}

impl AgentChoice {
    /// The agent that needs no settings: it says back what it heard, and the time.
    pub const ECHO: &'static str = "echo";
    /// The agent that `auto` takes of several.
    pub const DEFAULT: &'static str = "default";

    /// Reads a value as TOML, as managed values are kept. `None` for what is none.
    pub fn parse_toml(toml: &str) -> Option<AgentChoice> {
        let value = toml.parse::<toml_edit::Value>().ok()?;
        AgentChoice::read(Raw::Toml(&value)).ok()
    }
}

impl Kind for AgentChoice {
    fn read(raw: Raw<'_>) -> Result<AgentChoice, Misfit> {
        match raw.text("\"kitchen\"")?.trim() {
            "auto" => Ok(AgentChoice::Auto),
            name if fits_entry(name) => Ok(AgentChoice::Named(name.to_string())),
            _ => Err(raw.misfit(
                said!("cannot be the name of an agent", "不能用作智能体的名字"),
                said!(
                    "write the name of an [agent.NAME], \"echo\" or \"auto\"",
                    "请写某个 [agent.名字] 的名字，或 \"echo\"、\"auto\""
                ),
            )),
        }
    }

    fn show(&self) -> String {
        match self {
            AgentChoice::Auto => quote("auto"),
            AgentChoice::Named(name) => quote(name),
        }
    }
}

/// What a provider does for an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProviderRole {
    /// Speech to text.
    Recognizer,
    /// The answer.
    Model,
    /// Text to speech.
    Voice,
    /// Pictures to text.
    Vision,
    /// Tools that a model may call.
    Tools,
}

/// How a provider is reached, once a provider needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProviderNeed {
    /// `url`, beginning with `http://` or `https://`.
    Http,
    /// `url`, beginning with `ws://` or `wss://`.
    WebSocket,
    /// `key` or `key_file`; `url`, where it is set, as of [`ProviderNeed::WebSocket`].
    Key,
    /// `command`.
    Command,
    /// `folder`.
    Folder,
    /// `url` over HTTP, or `command`.
    HttpOrCommand,
    /// Nothing.
    Nothing,
}

/// Makes the kinds of providers from one listing.
macro_rules! provider_kinds {
    ($($(#[doc = $doc:literal])* $kind:ident = $word:literal, $role:ident, $need:ident;)*) => {
        /// What a provider is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ProviderKind {
            $($(#[doc = $doc])* #[doc = concat!("Written `", $word, "`.")] $kind,)*
        }

        impl ProviderKind {
            /// Every kind.
            pub const ALL: &[ProviderKind] = &[$(ProviderKind::$kind),*];

            /// As it is written.
            pub const fn word(self) -> &'static str {
                match self { $(ProviderKind::$kind => $word,)* }
            }

            /// What it does for an agent.
            pub const fn role(self) -> ProviderRole {
                match self { $(ProviderKind::$kind => ProviderRole::$role,)* }
            }

            /// What it cannot do without.
            pub const fn needs(self) -> ProviderNeed {
                match self { $(ProviderKind::$kind => ProviderNeed::$need,)* }
            }
        }
    };
}

provider_kinds! {
    /// A chat model behind an OpenAI-compatible interface (`/chat/completions`).
    OpenaiChat = "openai-chat", Model, Http;
    /// A recogniser behind one (`/audio/transcriptions`).
    OpenaiTranscription = "openai-transcription", Recognizer, Http;
    /// A voice behind one (`/audio/speech`).
    OpenaiSpeech = "openai-speech", Voice, Http;
    /// A chat model that sees pictures.
    OpenaiVision = "openai-vision", Vision, Http;
    /// FunASR's WebSocket server.
    Funasr = "funasr", Recognizer, WebSocket;
    /// The speech of DashScope over WebSocket.
    DashscopeSpeech = "dashscope-speech", Voice, Key;
    /// A program that writes down what it hears.
    CommandRecognizer = "command-recognizer", Recognizer, Command;
    /// A program that speaks.
    CommandSpeech = "command-speech", Voice, Command;
    /// A recogniser on this machine.
    LocalRecognizer = "local-recognizer", Recognizer, Folder;
    /// A voice on this machine.
    LocalSpeech = "local-speech", Voice, Folder;
    /// Says back what was understood, and the time.
    Parrot = "parrot", Model, Nothing;
    /// A server of tools (MCP), over HTTP or as a program.
    Mcp = "mcp", Tools, HttpOrCommand;
}

impl Kind for ProviderKind {
    fn read(raw: Raw<'_>) -> Result<ProviderKind, Misfit> {
        let word = raw.text("\"openai-chat\"")?;
        let known = ProviderKind::ALL.iter().find(|kind| kind.word() == word);
        known.copied().ok_or_else(|| {
            let words: Vec<&str> = ProviderKind::ALL.iter().map(|kind| kind.word()).collect();
            raw.misfit(
                said!("is not one of the known words", "不是已知的词"),
                slip(word, &words),
            )
        })
    }

    fn show(&self) -> String {
        quote(self.word())
    }
}

/// What an agent remembers beyond what its model is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Memory {
    /// Nothing. Written `none`.
    None,
    /// A summary of what was said, made by its model. Written `summary`.
    Summary,
}

impl Kind for Memory {
    fn read(raw: Raw<'_>) -> Result<Memory, Misfit> {
        match raw.text("\"none\"")? {
            "none" => Ok(Memory::None),
            "summary" => Ok(Memory::Summary),
            other => Err(raw.misfit(
                said!("is not one of the known words", "不是已知的词"),
                slip(other, &["none", "summary"]),
            )),
        }
    }

    fn show(&self) -> String {
        quote(match self {
            Memory::None => "none",
            Memory::Summary => "summary",
        })
    }
}

/// Where an agent has tools from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ToolSource {
    /// Everything there is. Written `all`.
    All,
    /// The device itself. Written `device`.
    Device,
    /// A provider of the kind `mcp`.
    Provider(String),
}

impl fmt::Display for ToolSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ToolSource::All => "all",
            ToolSource::Device => "device",
            ToolSource::Provider(name) => name,
        })
    }
}

impl Element for ToolSource {
    const EXAMPLE: &'static str = "\"device\"";

    fn parse(text: &str) -> Result<ToolSource, Misfit> {
        match text {
            "all" => Ok(ToolSource::All),
            "device" => Ok(ToolSource::Device),
            name if fits_entry(name) => Ok(ToolSource::Provider(name.to_string())),
            _ => Err(Misfit {
                what: said!(
                    "{text:?} says nowhere that tools come from",
                    "{text:?} 不是工具的来源"
                ),
                help: said!(
                    "write \"all\", \"device\", or the name of a provider of the kind mcp",
                    "请写 \"all\"、\"device\"，或种类为 mcp 的服务的名字"
                ),
            }),
        }
    }
}

/// A program, or one of its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Argument(String);

impl Argument {
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Element for Argument {
    const EXAMPLE: &'static str = "\"/usr/bin/espeak-ng\"";

    fn parse(text: &str) -> Result<Argument, Misfit> {
        if !text.contains('\0') && text.len() <= MAX_ARGUMENT {
            return Ok(Argument(text.to_string()));
        }
        Err(Misfit {
            what: said!(
                "an argument is too long, or has a zero byte",
                "某个参数太长，或含有零字节"
            ),
            help: said!(
                "write the program and each argument as a text of its own, for example \
                 [\"espeak-ng\", \"--stdout\"]",
                "请把程序和每个参数分别写成文字，例如 [\"espeak-ng\", \"--stdout\"]"
            ),
        })
    }
}

/// A check of the keys that name a provider: `""` for none.
pub(crate) fn check_provider_name(name: &String) -> Result<(), Misfit> {
    if name.is_empty() || fits_entry(name) {
        return Ok(());
    }
    Err(Misfit {
        what: said!(
            "{name:?} cannot be the name of a provider",
            "{name:?} 不能用作服务的名字"
        ),
        help: said!(
            "write the name of a [provider.NAME]: 1 to 32 of the signs a-z, 0-9 and -",
            "请写某个 [provider.名字] 的名字：1 到 32 个 a-z、0-9 和 - 组成的字符"
        ),
    })
}

/// A check of `agent.NAME.language`: a tag of RFC 5646 as far as its form goes.
pub(crate) fn check_language(language: &String) -> Result<(), Misfit> {
    let fits = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if language.is_empty() || (language.len() <= 35 && language.split('-').all(fits)) {
        return Ok(());
    }
    Err(Misfit {
        what: said!("{language:?} is no language", "{language:?} 不是语言代码"),
        help: said!(
            "write for example \"zh\", \"en\" or \"zh-CN\"; \"\" for any",
            "例如写 \"zh\"、\"en\" 或 \"zh-CN\"；\"\" 表示不限"
        ),
    })
}

/// A check of `provider.NAME.url`: what it leads to is for its kind to say.
#[expect(clippy::ptr_arg, reason = "a `Check` sees the type of the key")]
pub(crate) fn check_provider_url(url: &String) -> Result<(), Misfit> {
    let known = ["http://", "https://", "ws://", "wss://"];
    let rest = known.iter().find_map(|scheme| url.strip_prefix(scheme));
    let host = rest.map(|rest| rest.split(['/', '?']).next().unwrap_or(""));
    let fits = host.is_some_and(|host| !host.is_empty() && !host.contains('@'))
        && url.len() <= MAX_URL
        && url
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if url.is_empty() || fits {
        return Ok(());
    }
    // A key that somebody wrote into the address would be repeated here.
    Err(Misfit {
        what: said!(
            "the address of a provider begins with http://, https://, ws:// or wss://, has a host, \
             and neither a user, a space nor a #",
            "服务的地址应以 http://、https://、ws:// 或 wss:// 开头，含主机，不含用户名、空格和 #"
        ),
        help: said!(
            "write for example \"https://api.example.com/v1\", and a key as `key`",
            "例如写 \"https://api.example.com/v1\"，密钥写在 `key` 里"
        ),
    })
}

/// A check of `provider.NAME.extra`: one object of JSON, or nothing.
#[expect(clippy::ptr_arg, reason = "a `Check` sees the type of the key")]
pub(crate) fn check_extra(extra: &String) -> Result<(), Misfit> {
    let why = if extra.is_empty() {
        return Ok(());
    } else if extra.len() > MAX_EXTRA {
        said!("it has {} bytes", "它有 {} 字节", extra.len())
    } else {
        match serde_json::from_str::<serde_json::Value>(extra) {
            Ok(serde_json::Value::Object(_)) => return Ok(()),
            Ok(_) => said!("it is something else in JSON", "它是别种 JSON 值"),
            Err(error) => crate::Said::same(error.to_string()),
        }
    };
    Err(Misfit {
        what: said!(
            "`extra` is no object of JSON: {}",
            "`extra` 不是 JSON 对象：{}",
            why
        ),
        help: said!(
            "write for example extra = '{{\"temperature\": 0.3}}', at most {MAX_EXTRA} bytes",
            "例如写 extra = '{{\"temperature\": 0.3}}'，最多 {MAX_EXTRA} 字节"
        ),
    })
}

/// A check of `agent.NAME.prompt`.
#[expect(clippy::ptr_arg, reason = "a `Check` sees the type of the key")]
pub(crate) fn check_prompt(prompt: &String) -> Result<(), Misfit> {
    if prompt.len() <= MAX_PROMPT {
        return Ok(());
    }
    Err(Misfit {
        what: said!("the prompt has {} bytes", "提示词有 {} 字节", prompt.len()),
        help: said!("write at most {MAX_PROMPT}", "最多写 {MAX_PROMPT} 字节"),
    })
}

/// Longest argument of a program, in bytes.
const MAX_ARGUMENT: usize = 4096;
/// Longest address of a provider, in bytes.
const MAX_URL: usize = 512;
/// Longest `extra`, in bytes.
const MAX_EXTRA: usize = 16 * 1024;
/// Longest prompt, in bytes.
const MAX_PROMPT: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_provider_is_read_as_it_is_written() {
        for kind in ProviderKind::ALL {
            let read = ProviderKind::read(Raw::Text(kind.word())).expect("a kind's own word");
            assert_eq!(read, *kind);
        }
        let misfit = ProviderKind::read(Raw::Text("openai_chat")).unwrap_err();
        assert!(
            misfit.help.en.starts_with("did you mean \"openai-chat\"?"),
            "{}",
            misfit.help.en
        );
    }

    #[test]
    fn addresses_that_lead_nowhere_are_refused_and_never_repeated() {
        for url in [
            "",
            "https://api.example.com/v1",
            "ws://127.0.0.1:10095",
            "http://[::1]:8080/v1?x=1",
        ] {
            assert!(check_provider_url(&url.to_string()).is_ok(), "{url}");
        }
        for url in [
            "api.example.com",
            "ftp://a/",
            "https://",
            "https:///v1",
            "https://user:hunter2@host/",
            "https://host/a b",
            "https://host/#x",
        ] {
            let misfit = check_provider_url(&url.to_string()).unwrap_err();
            assert!(!misfit.what.en.contains("hunter2"), "{url}");
        }
    }

    #[test]
    fn what_is_merged_into_requests_is_one_object_of_json() {
        for extra in ["", "{}", r#"{"temperature": 0.3, "stop": ["。"]}"#] {
            assert!(check_extra(&extra.to_string()).is_ok(), "{extra}");
        }
        for extra in ["[]", "1", "{", "temperature = 0.3", "{} {}"] {
            assert!(check_extra(&extra.to_string()).is_err(), "{extra}");
        }
        let long = alloc::format!("{{\"a\": \"{}\"}}", "x".repeat(MAX_EXTRA));
        assert!(check_extra(&long).is_err());
    }

    #[test]
    fn agents_are_chosen_by_a_name_that_an_agent_can_have() {
        let read = |text| AgentChoice::read(Raw::Text(text));
        assert_eq!(read("auto").unwrap(), AgentChoice::Auto);
        assert_eq!(
            read("kitchen").unwrap(),
            AgentChoice::Named("kitchen".to_string())
        );
        assert!(read("").is_err() && read("Küche").is_err());
        assert_eq!(
            AgentChoice::parse_toml("\"echo\""),
            Some(AgentChoice::Named(AgentChoice::ECHO.to_string()))
        );
        assert!(check_language(&"zh-Hans-CN".to_string()).is_ok());
        assert!(check_language(&"中文".to_string()).is_err());
        assert!(check_prompt(&"a".repeat(MAX_PROMPT + 1)).is_err());
        assert_eq!(
            <Vec<ToolSource>>::read(Raw::Text("device,weather")).unwrap(),
            [
                ToolSource::Device,
                ToolSource::Provider("weather".to_string())
            ]
        );
    }
}
