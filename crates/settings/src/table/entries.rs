//! The sections of named entries: `[proxy.NAME]`, `[provider.NAME]`, `[agent.NAME]`.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::kind::{
    check_extra, check_language, check_prompt, check_provider_name, check_provider_url,
};
use crate::ladder::Resolved;
use crate::spec::{KeySpec, SectionSpec, judge, read_back};
use crate::{
    AdvertisedAddress, Argument, Listener, Memory, Policy, ProviderKind, Secret, ToolSource,
};

/// Makes the type of an entry, its section and its reading from one listing. A key without a
/// default has to be set. `example` is what the example file says where the default is of no use.
macro_rules! entries {
    ($(
        $(#[doc = $section_doc:literal])*
        $SPEC:ident: $section:literal as $Entry:ident, example $name:literal {
            $(
                $(#[doc = $doc:literal])*
                $key:ident: $type:ty $(= $default:literal)?
                    $(, $least:literal to $most:literal)?
                    $(, check $check:path)?
                    $(, example $example:literal)?
                    $(, is $($word:ident)+)?;
            )*
        }
    )*) => {$(
        $(#[doc = $section_doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $Entry {
            /// Its name: 1 to 32 of `a`–`z`, `0`–`9` and `-`.
            pub name: String,
            $(
                $(#[doc = $doc])*
                $(
                    #[doc = ""]
                    #[doc = concat!("Default `", $default, "`.")]
                )?
                $(#[doc = concat!("From `", $least, "` to `", $most, "`.")])?
                pub $key: $type,
            )*
        }

        pub(super) const $SPEC: SectionSpec = SectionSpec {
            name: $section,
            doc: &[$($section_doc),*],
            named: true,
            example: $name,
            keys: &[
                $(KeySpec {
                    section: $section,
                    name: stringify!($key),
                    doc: &[$($doc),*],
                    default: optional!($($default)?),
                    example: optional!($($example)?),
                    range: optional!($(($least, $most))?),
                    policy: policy!($($($word)+)?),
                    judge: |spec, raw, lasting| {
                        judge::<$type>(spec, raw, lasting, optional!($($check)?))
                    },
                },)*
            ],
        };

        impl $Entry {
            /// Of all resolved keys those of this section, an entry after the other. One that lacks
            /// what it cannot do without is left out; it has a problem.
            pub(super) fn read(resolved: &[Resolved]) -> Vec<$Entry> {
                let own: Vec<&Resolved> = resolved
                    .iter()
                    .filter(|resolved| resolved.spec.section == $section)
                    .collect();
                own.chunks_exact($SPEC.keys.len())
                    .filter(|keys| keys.iter().all(|resolved| !resolved.value.is_empty()))
                    .map(|keys| {
                        let mut values = keys.iter();
                        let mut next = || values.next().map_or("", |resolved| &resolved.value);
                        $Entry {
                            name: keys[0].entry.clone().unwrap_or_default(),
                            $($key: read_back::<$type>(next()),)*
                        }
                    })
                    .collect()
            }
        }
    )*};
}

entries! {
    /// A reverse proxy, router or container mapping in front of this server: devices are
    /// told `url`, and what arrives there is forwarded to one of our listeners. One section
    /// for each, up to 32, under a name of your choice (`a`-`z`, `0`-`9`, `-`).
    PROXY: "proxy" as Proxy, example "front" {
        /// The address that devices are told. The port may be left away where the scheme
        /// has one of its own and the host is a name.
        url: AdvertisedAddress, example "https://hub.example.com";
        /// The listener that it forwards to: `http`, `https`, `mqtt` or `mqtts`.
        to: Listener = "http";
    }

    /// Who recognises, answers or speaks for an agent, or has tools for it: an engine on this
    /// machine, a program, or a service. One section for each, up to 32, under a name of your
    /// choice (`a`-`z`, `0`-`9`, `-`). See `docs/agents.md`.
    PROVIDER: "provider" as Provider, example "cloud" {
        /// What it is. Recognisers: `openai-transcription`, `funasr`, `command-recognizer`,
        /// `local-recognizer`. Models: `openai-chat`, `parrot`. Voices: `openai-speech`,
        /// `dashscope-speech`, `command-speech`, `local-speech`. Pictures: `openai-vision`.
        /// Tools: `mcp`.
        kind: ProviderKind, example "openai-chat";
        /// Its address. Of `openai-…` what stands before `/chat/completions`, usually ending in
        /// `/v1`; of `funasr` and `dashscope-speech` one of a WebSocket; of `mcp` that of a server
        /// over HTTP.
        url: String = "", check check_provider_url, example "https://api.example.com/v1";
        /// The key with which it lets this server in; empty where it wants none.
        key: Secret = "", is secret;
        /// File whose first line is that key, in place of `key`.
        key_file: String = "", is local;
        /// Which of its models; empty for the one that it takes by itself.
        model: String = "";
        /// Which of its voices; empty for the one that it takes by itself.
        voice: String = "";
        /// The form of its sound: `pcm` (24,000 samples a second), `pcm@16000`, `wav` or `opus`; empty
        /// for what suits it best.
        format: String = "";
        /// Program and arguments, of the kinds `command-…`, and of `mcp` where it has no `url`.
        command: Vec<Argument> = "", is local;
        /// Folder with the files of an engine on this machine.
        folder: String = "", is local;
        /// How long it is waited for, from one sign of life to the next.
        timeout: Duration = "20s", "1s" to "10m";
        /// An object of JSON with what else it can be told: of `openai-…` it is merged into what it is
        /// asked, such as `{"temperature": 0.3}`; of others see `docs/agents.md`.
        extra: String = "", check check_extra;
    }

    /// What a device talks with: which providers hear, answer and speak, and what the model is told.
    /// Devices get the only agent there is, or the one named `default`; `xiaozhi.agent` says
    /// otherwise. One section for each, up to 32, under a name of your choice (`a`-`z`, `0`-`9`, `-`).
    AGENT: "agent" as Agent, example "kitchen" {
        /// What the model is told before anything else: who it is and how it is to answer.
        prompt: String = "", check check_prompt;
        /// The language that is spoken, such as `zh` or `en`; empty for any.
        language: String = "", check check_language;
        /// The provider that recognises. Without one an agent answers what is typed only.
        recognizer: String = "", check check_provider_name;
        /// The provider that answers. Without one it says back what it understood, and the time.
        model: String = "", check check_provider_name;
        /// The provider that speaks. Without one answers are shown only.
        voice: String = "", check check_provider_name;
        /// The provider that looks at pictures which a device takes.
        vision: String = "", check check_provider_name;
        /// What it remembers of earlier conversations: `none`, or a `summary` that its model makes.
        memory: Memory = "none";
        /// What its model may call: `all`, or some of `device` and the names of providers of the
        /// kind `mcp`. Empty for nothing.
        tools: Vec<ToolSource> = "all";
        /// How long what was said is kept, as text. 0 keeps nothing.
        history: Duration = "7d", "0s" to "3650d";
        /// How long the sound of it is kept, in files of the data folder: what was said to the
        /// device, and what it answered. 0 keeps none. No longer than `history`. Tell those who talk.
        recordings: Duration = "0s", "0s" to "3650d";
    }
}
