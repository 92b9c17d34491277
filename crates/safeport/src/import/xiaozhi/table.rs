//! The settings of xiaozhi-esp32-server's `config.yaml` (releases up to 0.8), and why most of them
//! have no counterpart.

use safeport_settings::Said;

/// What becomes of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It becomes a setting of ours, or is listed with a reason that depends on its value.
    Mapped,
    /// Listed; its value may be shown.
    Left(Reason),
    /// Listed without its value: it is, or contains, a secret.
    Secret(Reason),
}

/// Why a setting has no counterpart, in both languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reason {
    en: &'static str,
    zh: &'static str,
}

impl Reason {
    pub(super) fn said(self) -> Said {
        Said::new(self.en, self.zh)
    }
}

const fn reason(en: &'static str, zh: &'static str) -> Reason {
    Reason { en, zh }
}

/// What becomes of the setting at `path`, such as `server.port`.
pub(super) fn fate(path: &str) -> Option<Fate> {
    SETTINGS
        .iter()
        .find(|(known, _)| *known == path)
        .map(|(_, fate)| *fate)
}

/// Maps whose entries are looked at one by one; of others only the name is listed.
pub(super) const OPENED: &[&str] = &["server", "server.auth", "log", "manager-api"];

pub(super) const UNKNOWN: Reason = reason(
    "Safeport knows no setting of this name in xiaozhi-esp32-server, so its value is not shown",
    "Safeport 不认识 xiaozhi-esp32-server 的这个设置，因此不显示它的值",
);
pub(super) const FROM_MANAGER: Reason = reason(
    "with manager-api.url set, that server takes this from its manager and not from the file; look there for the value that held",
    "设置了 manager-api.url 时，该服务器从智控台而不是文件读取此项；请到智控台查看实际生效的值",
);
pub(super) const EXAMPLE: Reason = reason(
    "still the example text of the file, not an address",
    "仍是文件中的示例文字，而不是地址",
);

const VOICE: Reason = reason(
    "part of voice, which comes later; keep the file until then",
    "属于语音功能，将在以后提供；请保留该文件",
);
const MODELS: Reason = reason(
    "speech and language models come later with voice; keep the file with its keys until then",
    "语音和语言模型将随语音功能在以后提供；请保留该文件及其中的密钥",
);
const TIME: Reason = reason(
    "it belongs to the answer of the OTA check, which comes later",
    "它属于 OTA 检查的应答，将在以后提供",
);
const DEVICE_AUTH: Reason = reason(
    "who may speak will be decided per device, each with a login of its own; tokens are not taken along",
    "是否允许通话将由每个设备决定，各有自己的登录；令牌不会沿用",
);
const GATEWAY: Reason = reason(
    "Safeport is the MQTT server itself and needs no gateway: [mqtt], [mqtts], and `advertise.xiaozhi = \"mqtt\"` or \"mqtts\" to tell devices of it",
    "Safeport 本身就是 MQTT 服务器，不需要网关：使用 [mqtt]、[mqtts]，并用 `advertise.xiaozhi = \"mqtt\"` 或 \"mqtts\" 告知设备",
);
const UDP: Reason = reason("voice over UDP comes later", "UDP 语音将在以后提供");
const SIGNATURES: Reason = reason(
    "Safeport gives each device a password of its own in place of one key for all",
    "Safeport 为每个设备设置各自的密码，而不是共用一个密钥",
);
pub(super) const MANAGER: Reason = reason(
    "Safeport has no separate manager. If devices have its address as their OTA address, add its port to http.bind",
    "Safeport 没有单独的智控台。如果设备的 OTA 地址指向智控台，请把它的端口加入 http.bind",
);
const MANAGER_SECRET: Reason = reason(
    "Safeport has no separate manager that would need it",
    "Safeport 没有需要它的单独智控台",
);
const LOG: Reason = reason(
    "Safeport writes its log to stderr, as text or JSON (`log.format`); systemd's journal or the container keeps it",
    "Safeport 把日志写到 stderr，格式为文本或 JSON（`log.format`），由 systemd 日志或容器保存",
);
const DATA: Reason = reason(
    "Safeport has a data folder of its own (server.data); what that server kept is not read",
    "Safeport 有自己的数据目录（server.data）；不读取该服务器保存的数据",
);
const MCP: Reason = reason(
    "tools of others come with voice; its address may contain a token",
    "第三方工具将随语音功能提供；其地址可能包含令牌",
);

/// Every setting, in the order of that server's file.
pub(super) const SETTINGS: &[(&str, Fate)] = &[
    ("server.ip", Fate::Mapped),
    ("server.port", Fate::Mapped),
    ("server.http_port", Fate::Mapped),
    ("server.websocket", Fate::Mapped),
    ("server.vision_explain", Fate::Mapped),
    ("server.ota", Fate::Mapped),
    ("server.timezone_offset", Fate::Left(TIME)),
    ("server.auth", Fate::Secret(DEVICE_AUTH)),
    ("server.auth.enabled", Fate::Left(DEVICE_AUTH)),
    ("server.auth.tokens", Fate::Secret(DEVICE_AUTH)),
    ("server.auth.allowed_devices", Fate::Left(DEVICE_AUTH)),
    ("server.auth.expire_seconds", Fate::Left(DEVICE_AUTH)),
    ("server.auth_key", Fate::Secret(DEVICE_AUTH)),
    ("server.secret", Fate::Secret(MANAGER_SECRET)),
    ("server.token", Fate::Secret(MANAGER_SECRET)),
    ("server.mqtt_gateway", Fate::Left(GATEWAY)),
    ("server.mqtt_signature_key", Fate::Secret(SIGNATURES)),
    ("server.mqtt_manager_api", Fate::Left(GATEWAY)),
    ("server.udp_gateway", Fate::Left(UDP)),
    ("server.mcp_endpoint", Fate::Secret(MCP)),
    ("log.log_level", Fate::Mapped),
    ("log.log_format", Fate::Left(LOG)),
    ("log.log_format_file", Fate::Left(LOG)),
    ("log.log_dir", Fate::Left(LOG)),
    ("log.log_file", Fate::Left(LOG)),
    ("log.data_dir", Fate::Left(DATA)),
    ("manager-api.url", Fate::Mapped),
    ("manager-api.secret", Fate::Secret(MANAGER_SECRET)),
    ("manager-api.timeout", Fate::Left(MANAGER)),
    ("manager-api.max_retries", Fate::Left(MANAGER)),
    ("manager-api.retry_delay", Fate::Left(MANAGER)),
    ("read_config_from_api", Fate::Left(MANAGER)),
    ("delete_audio", Fate::Left(VOICE)),
    ("close_connection_no_voice_time", Fate::Left(VOICE)),
    ("tts_timeout", Fate::Left(VOICE)),
    ("tts_audio_send_delay", Fate::Left(VOICE)),
    ("tool_call_timeout", Fate::Left(VOICE)),
    ("enable_wakeup_words_response_cache", Fate::Left(VOICE)),
    ("enable_greeting", Fate::Left(VOICE)),
    ("enable_stop_tts_notify", Fate::Left(VOICE)),
    ("stop_tts_notify_voice", Fate::Left(VOICE)),
    ("enable_websocket_ping", Fate::Left(VOICE)),
    ("exit_commands", Fate::Left(VOICE)),
    ("xiaozhi", Fate::Left(VOICE)),
    ("module_test", Fate::Left(VOICE)),
    ("wakeup_words", Fate::Left(VOICE)),
    ("mcp_endpoint", Fate::Secret(MCP)),
    ("context_providers", Fate::Secret(VOICE)),
    ("plugins", Fate::Secret(VOICE)),
    ("voiceprint", Fate::Secret(VOICE)),
    ("prompt", Fate::Secret(VOICE)),
    ("prompt_template", Fate::Left(VOICE)),
    ("end_prompt", Fate::Secret(VOICE)),
    ("summaryMemory", Fate::Secret(VOICE)),
    ("selected_module", Fate::Left(MODELS)),
    ("Intent", Fate::Secret(MODELS)),
    ("Memory", Fate::Secret(MODELS)),
    ("ASR", Fate::Secret(MODELS)),
    ("VAD", Fate::Secret(MODELS)),
    ("LLM", Fate::Secret(MODELS)),
    ("VLLM", Fate::Secret(MODELS)),
    ("TTS", Fate::Secret(MODELS)),
];
