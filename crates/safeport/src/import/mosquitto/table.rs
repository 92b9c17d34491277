//! Every option that mosquitto 2.0 documents (mosquitto.conf(5) of 2.0.11 to 2.0.20), with a few
//! older spellings that it still takes, and what becomes of each.

use safeport_settings::Said;

/// What becomes of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It becomes a setting, or is listed with a reason that depends on its value.
    Mapped,
    /// Listed: there is no such setting.
    Left(Reason),
    /// Listed: Safeport does this anyway, if the option has the value given here.
    Already(&'static str, Reason),
    /// Part of a bridge.
    Bridge,
    /// Part of a bridge, and secret.
    BridgeSecret,
    /// Listed with a reason, and secret.
    Secret(Reason),
}

/// Why an option is not a setting, in both languages.
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

/// What becomes of the option `name`; `None` if mosquitto has none of that name.
pub(super) fn fate(name: &str) -> Option<Fate> {
    if let Some((_, fate)) = OPTIONS.iter().find(|(known, _)| *known == name) {
        return Some(*fate);
    }
    ["auth_opt_", "plugin_opt_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        .then_some(Fate::Secret(PLUGIN))
}

/// For an option that is in no list.
pub(super) const UNKNOWN: Reason = reason(
    "mosquitto 2.0 documents no option of this name, so its value is not shown",
    "mosquitto 2.0 的文档中没有这个选项，因此不显示它的值",
);
/// For bridges.
pub(super) const BRIDGE: Reason = reason(
    "part of a bridge; Safeport has no bridges. Keep mosquitto running for the bridge, as a client of Safeport: an address of Safeport there, and a login from `user add`",
    "属于桥接；Safeport 没有桥接功能。可以保留 mosquitto 专做桥接，让它作为客户端连接 Safeport：填写 Safeport 的地址，并用 `user add` 创建登录",
);

const PLUGIN: Reason = reason(
    "Safeport loads no plugins; logins and rights are made with `user add` and `device add`",
    "Safeport 不加载插件；登录和权限用 `user add` 与 `device add` 创建",
);
const OWN_CERTIFICATES: Reason = reason(
    "Safeport makes a private CA and its certificates by itself; name your own in tls.chain_files and tls.key_files. `cert export` prints what devices need to trust the private CA",
    "Safeport 自行创建私有 CA 和证书；自己的证书请在 tls.chain_files 和 tls.key_files 中指定。`cert export` 会打印设备信任私有 CA 所需的内容",
);
const TLS_CHOICE: Reason = reason(
    "Safeport picks TLS 1.2 and 1.3 with ciphers that small devices know; there is nothing to choose",
    "Safeport 使用 TLS 1.2 和 1.3 以及小型设备支持的加密套件，无需选择",
);
const CLIENT_CERTIFICATES: Reason = reason(
    "Safeport knows clients by user name and password, not by certificates; give each one a login with `user add` or `device add`",
    "Safeport 通过用户名和密码识别客户端，而不是证书；请用 `user add` 或 `device add` 为每个客户端创建登录",
);
const PSK: Reason = reason(
    "Safeport has no TLS with pre-shared keys; its TLS listener uses certificates, and clients log in with a password",
    "Safeport 不支持预共享密钥的 TLS；它的 TLS 监听使用证书，客户端用密码登录",
);
const DUPLICATES: Reason = reason(
    "Safeport sends a message once to a client, however many of its subscriptions match",
    "无论客户端有多少个订阅匹配，Safeport 都只发送一次消息",
);
const EMPTY_IDS: Reason = reason(
    "Safeport gives an identifier to every client that comes without one",
    "Safeport 会给没有标识符的客户端分配一个",
);
const NODELAY: Reason = reason(
    "Safeport always sends at once (TCP_NODELAY)",
    "Safeport 总是立即发送（TCP_NODELAY）",
);
const NO_COUNTERPART: Reason = reason("Safeport has no such switch", "Safeport 没有对应的开关");
const OWN_STORE: Reason = reason(
    "Safeport keeps what it acknowledged in a log in its data folder (server.data) as it happens; mosquitto's database is not read, so devices subscribe and publish retained messages anew",
    "Safeport 会把已确认的内容随时写入数据目录（server.data）中的日志；不读取 mosquitto 的数据库，设备会重新订阅并重新发布保留消息",
);
const LOG: Reason = reason(
    "Safeport writes its log to stderr with the time of each line; systemd's journal or the container keeps it (`log.format = \"json\"` for programs)",
    "Safeport 把带时间的日志写到 stderr，由 systemd 日志或容器保存（供程序读取可用 `log.format = \"json\"`）",
);
const SERVICE: Reason = reason(
    "a matter of what starts Safeport: set it in the systemd unit or the container",
    "由启动 Safeport 的一方决定：请在 systemd 单元或容器中设置",
);
const CLIENT_IDS: Reason = reason(
    "Safeport does not judge client identifiers; give each client a login of its own with `user add` or `device add`",
    "Safeport 不按客户端标识符判断；请用 `user add` 或 `device add` 为每个客户端创建自己的登录",
);
const PLAIN_QOS: Reason = reason(
    "Safeport delivers as MQTT says: no QoS is raised or capped",
    "Safeport 按 MQTT 规范投递：不提升也不限制 QoS",
);
const MEMORY: Reason = reason(
    "Safeport has limits with answers on the wire in place of one for memory: limits.max_stored_bytes, limits.max_retained_bytes, max_connections of each listener",
    "Safeport 没有总内存限制，而是有各项会在协议中答复的限制：limits.max_stored_bytes、limits.max_retained_bytes 以及各监听的 max_connections",
);
const HTTP_FILES: Reason = reason(
    "Safeport serves no files of yours; its HTTP listener has its own pages",
    "Safeport 不提供您的文件；它的 HTTP 监听只有自己的页面",
);
const PREFIX: Reason = reason(
    "Safeport puts no prefix before topics; rights of each login (`--publish`, `--subscribe`) keep groups apart",
    "Safeport 不会给主题加前缀；用每个登录的权限（`--publish`、`--subscribe`）来隔离各组",
);
const QUEUE_QOS0: Reason = reason(
    "Safeport queues QoS 0 only for clients that are connected; use QoS 1 for what must wait",
    "Safeport 只为已连接的客户端排队 QoS 0 消息；需要等待的消息请用 QoS 1",
);
const INFLIGHT_BYTES: Reason = reason(
    "Safeport counts messages in flight, not their bytes: limits.max_inflight",
    "Safeport 按消息条数而不是字节数限制传输中的消息：limits.max_inflight",
);
const RETAIN: Reason = reason(
    "Safeport always keeps retained messages, up to limits.max_retained_messages",
    "Safeport 总是保存保留消息，上限为 limits.max_retained_messages",
);
const SYS: Reason = reason(
    "Safeport publishes $SYS at its own pace, for logins added with `--admin`; /metrics has more",
    "Safeport 按自己的频率发布 $SYS，供用 `--admin` 添加的登录读取；/metrics 的内容更多",
);
const RETAIN_SOURCE: Reason = reason(
    "Safeport asks for rights when a message is published, not again when it is handed out",
    "Safeport 在发布消息时检查权限，转发时不再检查",
);
const PAYLOAD: Reason = reason(
    "Safeport limits the whole packet, not the payload: mqtt.max_packet and its kin; give it some hundred bytes more than the longest payload",
    "Safeport 限制整个报文而不是负载：mqtt.max_packet 等；请比最长的负载多留几百字节",
);
const WEBSOCKETS_LOG: Reason = reason(
    "set `log.level`, which also takes parts: `info,safeport::serve=debug`",
    "请设置 `log.level`，它也可按部分设置：`info,safeport::serve=debug`",
);
const HEADERS: Reason = reason(
    "the limit of HTTP headers is fixed",
    "HTTP 头的大小限制是固定的",
);
const OBSOLETE: Reason = reason(
    "mosquitto itself ignores it since long",
    "mosquitto 自己早已忽略它",
);

/// Every option, in the order of the manual page.
pub(super) const OPTIONS: &[(&str, Fate)] = &[
    ("acl_file", Fate::Mapped),
    ("allow_anonymous", Fate::Mapped),
    (
        "allow_duplicate_messages",
        Fate::Already("false", DUPLICATES),
    ),
    (
        "allow_zero_length_clientid",
        Fate::Already("true", EMPTY_IDS),
    ),
    ("auth_plugin", Fate::Left(PLUGIN)),
    ("auth_plugin_deny_special_chars", Fate::Left(PLUGIN)),
    ("auto_id_prefix", Fate::Left(CLIENT_IDS)),
    ("autosave_interval", Fate::Left(OWN_STORE)),
    ("autosave_on_changes", Fate::Left(OWN_STORE)),
    ("check_retain_source", Fate::Already("false", RETAIN_SOURCE)),
    ("clientid_prefixes", Fate::Left(CLIENT_IDS)),
    ("connection_messages", Fate::Left(NO_COUNTERPART)),
    ("include_dir", Fate::Mapped),
    ("log_dest", Fate::Mapped),
    ("log_facility", Fate::Left(LOG)),
    ("log_timestamp", Fate::Already("true", LOG)),
    ("log_timestamp_format", Fate::Left(LOG)),
    ("log_type", Fate::Mapped),
    ("max_inflight_bytes", Fate::Already("0", INFLIGHT_BYTES)),
    ("max_inflight_messages", Fate::Mapped),
    ("max_keepalive", Fate::Mapped),
    ("max_packet_size", Fate::Mapped),
    ("max_queued_bytes", Fate::Mapped),
    ("max_queued_messages", Fate::Mapped),
    ("memory_limit", Fate::Already("0", MEMORY)),
    ("message_size_limit", Fate::Already("0", PAYLOAD)),
    ("password_file", Fate::Mapped),
    ("per_listener_settings", Fate::Mapped),
    ("persistence", Fate::Mapped),
    ("persistence_file", Fate::Left(OWN_STORE)),
    ("persistence_location", Fate::Left(OWN_STORE)),
    ("persistent_client_expiration", Fate::Mapped),
    ("pid_file", Fate::Left(SERVICE)),
    ("psk_file", Fate::Left(PSK)),
    ("queue_qos0_messages", Fate::Already("false", QUEUE_QOS0)),
    ("retain_available", Fate::Already("true", RETAIN)),
    ("set_tcp_nodelay", Fate::Already("true", NODELAY)),
    ("sys_interval", Fate::Left(SYS)),
    ("upgrade_outgoing_qos", Fate::Already("false", PLAIN_QOS)),
    ("user", Fate::Left(SERVICE)),
    ("bind_address", Fate::Mapped),
    ("bind_interface", Fate::Mapped),
    ("http_dir", Fate::Left(HTTP_FILES)),
    ("listener", Fate::Mapped),
    ("max_connections", Fate::Mapped),
    ("max_qos", Fate::Already("2", PLAIN_QOS)),
    ("max_topic_alias", Fate::Mapped),
    ("mount_point", Fate::Left(PREFIX)),
    ("port", Fate::Mapped),
    ("protocol", Fate::Mapped),
    ("socket_domain", Fate::Mapped),
    (
        "use_username_as_clientid",
        Fate::Already("false", CLIENT_IDS),
    ),
    ("websockets_log_level", Fate::Left(WEBSOCKETS_LOG)),
    ("websockets_headers_size", Fate::Left(HEADERS)),
    ("cafile", Fate::Left(OWN_CERTIFICATES)),
    ("capath", Fate::Left(OWN_CERTIFICATES)),
    ("certfile", Fate::Mapped),
    ("ciphers", Fate::Left(TLS_CHOICE)),
    ("ciphers_tls1.3", Fate::Left(TLS_CHOICE)),
    ("crlfile", Fate::Left(CLIENT_CERTIFICATES)),
    ("dhparamfile", Fate::Left(TLS_CHOICE)),
    ("keyfile", Fate::Left(OWN_CERTIFICATES)),
    (
        "require_certificate",
        Fate::Already("false", CLIENT_CERTIFICATES),
    ),
    ("tls_engine", Fate::Left(OWN_CERTIFICATES)),
    ("tls_engine_kpass_sha1", Fate::Secret(OWN_CERTIFICATES)),
    ("tls_keyform", Fate::Left(OWN_CERTIFICATES)),
    ("tls_version", Fate::Left(TLS_CHOICE)),
    (
        "use_identity_as_username",
        Fate::Already("false", CLIENT_CERTIFICATES),
    ),
    (
        "use_subject_as_username",
        Fate::Already("false", CLIENT_CERTIFICATES),
    ),
    ("psk_hint", Fate::Mapped),
    ("address", Fate::Bridge),
    ("addresses", Fate::Bridge),
    ("bridge_attempt_unsubscribe", Fate::Bridge),
    ("bridge_bind_address", Fate::Bridge),
    ("bridge_max_packet_size", Fate::Bridge),
    ("bridge_outgoing_retain", Fate::Bridge),
    ("bridge_protocol_version", Fate::Bridge),
    ("cleansession", Fate::Bridge),
    ("local_cleansession", Fate::Bridge),
    ("connection", Fate::Bridge),
    ("keepalive_interval", Fate::Bridge),
    ("idle_timeout", Fate::Bridge),
    ("local_clientid", Fate::Bridge),
    ("local_password", Fate::BridgeSecret),
    ("local_username", Fate::Bridge),
    ("notifications", Fate::Bridge),
    ("notifications_local_only", Fate::Bridge),
    ("notification_topic", Fate::Bridge),
    ("remote_clientid", Fate::Bridge),
    ("remote_password", Fate::BridgeSecret),
    ("remote_username", Fate::Bridge),
    ("restart_timeout", Fate::Bridge),
    ("round_robin", Fate::Bridge),
    ("start_type", Fate::Bridge),
    ("threshold", Fate::Bridge),
    ("topic", Fate::Bridge),
    ("try_private", Fate::Bridge),
    ("bridge_alpn", Fate::Bridge),
    ("bridge_cafile", Fate::Bridge),
    ("bridge_capath", Fate::Bridge),
    ("bridge_certfile", Fate::Bridge),
    ("bridge_identity", Fate::Bridge),
    ("bridge_insecure", Fate::Bridge),
    ("bridge_keyfile", Fate::Bridge),
    ("bridge_psk", Fate::BridgeSecret),
    ("bridge_require_ocsp", Fate::Bridge),
    ("bridge_tls_version", Fate::Bridge),
    // Not in the manual page: spellings of later releases and of old files.
    ("bridge_reload_type", Fate::Bridge),
    ("bridge_tcp_keepalive", Fate::Bridge),
    ("bridge_tcp_user_timeout", Fate::Bridge),
    ("clientid", Fate::Bridge),
    ("username", Fate::Bridge),
    ("password", Fate::BridgeSecret),
    ("plugin", Fate::Left(PLUGIN)),
    ("retry_interval", Fate::Left(OBSOLETE)),
    ("store_clean_interval", Fate::Left(OBSOLETE)),
];
