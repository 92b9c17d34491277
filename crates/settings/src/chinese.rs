//! What sections and keys mean, in Chinese: the twin of the doc comments in the
//! table. A test holds that none is missing and none is left over.

/// What a section is for; empty for an unknown one.
pub(crate) fn section(name: &str) -> &'static str {
    find(SECTIONS, name)
}

/// What a key means; empty for an unknown one. Keys of named entries go without
/// the entry's name: `proxy.url`.
pub(crate) fn key(name: &str) -> &'static str {
    if let Some((section @ ("mqtts" | "http" | "https"), key)) = name.split_once('.') {
        let own = find(KEYS, name);
        if !own.is_empty() {
            return own;
        }
        // What these listeners share with `mqtts` is said once.
        let own = match section {
            "mqtts" => "",
            _ => find(WEB, key),
        };
        return match own {
            "" => find(LISTENERS, key),
            own => own,
        };
    }
    find(KEYS, name)
}

fn find(list: &[(&str, &'static str)], name: &str) -> &'static str {
    list.iter()
        .find(|(known, _)| *known == name)
        .map_or("", |(_, text)| text)
}

const SECTIONS: &[(&str, &str)] = &[
    ("server", "这台服务器的名称，以及数据存放的位置。"),
    ("mqtt", "不加密的 MQTT，供不支持 TLS 的设备和应急使用。"),
    ("mqtts", "通过 TLS 的 MQTT。"),
    (
        "http",
        "HTTP：WebSocket 上的 MQTT（`/mqtt`）、`/metrics`、`/healthz`。",
    ),
    ("https", "HTTPS：内容与 `[http]` 相同，通过 TLS。"),
    ("tls", "来自文件的证书，以及同时可以进行多少 TLS 握手。"),
    (
        "acme",
        "来自通过 ACME 发放证书的机构（例如 Let's Encrypt）的证书：为本服务器原有的密钥申请并及时续期，\
         因此设备上已填的指纹一直有效。",
    ),
    (
        "ntp",
        "向设备提供本机的时间（SNTP）：TLS 需要时钟，而并非每个家庭都让设备访问互联网。",
    ),
    (
        "voice",
        "通过 MQTT 对话的 xiaozhi 设备的声音：在 MQTT 之外以 UDP 数据报收发。通过 WebSocket 对话的设备不用它。",
    ),
    (
        "xiaozhi",
        "xiaozhi 语音设备：它们每次启动都在 `/xiaozhi/ota/` 询问，这里决定告诉它们什么。走哪种连接由 `advertise.xiaozhi` 决定。",
    ),
    ("devices", "已知的设备：已登记的，以及只是出现过的。"),
    ("firmware", "设备固件：保存的映像，以及如何分发。"),
    (
        "limits",
        "单个客户端以及所有客户端合计可以占用多少。每个上限在协议上都有相应的答复，不会默默丢弃。",
    ),
    ("access", "允许谁连接。"),
    ("engine", "承载 MQTT 的事件循环。"),
    ("storage", "会话、待送消息和保留消息如何保存。"),
    ("log", "写到标准错误的内容。"),
    ("advertise", "告诉设备怎样连到这里。"),
    ("tags", "设备带有的标签。"),
    ("config", "设置本身如何更改。"),
    (
        "proxy",
        "位于本服务器前面的反向代理、路由器或容器端口映射：设备被告知 `url`，到达那里的连接转发到我们的某个监听器。\
         每个一节，最多 32 节，名字自选（`a`-`z`、`0`-`9`、`-`）。",
    ),
    (
        "provider",
        "为智能体识别语音、回答、发声或提供工具的服务：本机的引擎、程序或网络服务。每个一节，最多 32 节，\
         名字自选（`a`-`z`、`0`-`9`、`-`）。见 `docs/agents.md`。",
    ),
    (
        "agent",
        "智能体，即设备的对话对象：由哪些服务来听、回答和说，以及告诉模型什么。设备使用唯一的一个，或名为 `default` 的；\
         `xiaozhi.agent` 可另作指定。每个一节，最多 32 节，名字自选（`a`-`z`、`0`-`9`、`-`）。",
    ),
];

/// Keys that several listeners have alike.
const LISTENERS: &[(&str, &str)] = &[
    ("enabled", "是否打开此监听器。"),
    ("bind", "地址和端口，写法同 `[mqtt]`。"),
    (
        "on_conflict",
        "端口被别的程序占用时怎么办，写法同 `[mqtt]`。",
    ),
    (
        "certificate",
        "出示哪个证书：`private` 是本服务器自有机构的，`files` 是 `tls.chain_files` 的，`acme` 是 `[acme]` 的。\
         `auto` 按客户端要求的名称和它能验证的内容，逐个连接选择。",
    ),
    (
        "record_size",
        "一条 TLS 记录最多装多少。内存小的设备收不下长记录：`auto` 发 1 KiB，对确定收得下的客户端发 16 KiB。\
         客户端要求更短时照办。",
    ),
    (
        "client_ca_file",
        "证书文件（PEM）：设置后，客户端必须出示由其中之一签发的证书。",
    ),
    ("max_connections", "同时打开的连接数。再多的会立即关闭。"),
    (
        "max_packet",
        "接受客户端的最长 MQTT 报文。更长的会结束连接。",
    ),
];

/// Keys that `http` and `https` have alike.
const WEB: &[(&str, &str)] = &[
    (
        "max_connections",
        "同时打开的连接数，包括 WebSocket。再多的会立即关闭。",
    ),
    (
        "max_packet",
        "通过 WebSocket 接受的最长 MQTT 报文。更长的会结束连接。",
    ),
];

const KEYS: &[(&str, &str)] = &[
    (
        "server.data",
        "重启后仍须保留的一切所在的文件夹：登记、密钥、证书、日志。`auto` 依次选用 `$STATE_DIRECTORY`（systemd）、\
         root 的 `/var/lib/safeport`、用户数据文件夹下的 `safeport`。",
    ),
    (
        "server.name",
        "人们对这台服务器的称呼；显示在问候语和页面上。",
    ),
    (
        "server.language",
        "给人看的消息用什么语言：`auto` 跟随系统，`en`，`zh-CN`。",
    ),
    ("mqtt.enabled", "是否打开此监听器。"),
    (
        "mqtt.bind",
        "地址和端口，或最多 8 个的列表。`[::]` 是本机所有 IPv6 和 IPv4 网络，`0.0.0.0` 是所有 IPv4 网络，\
         `127.0.0.1` 仅本机。名称会先解析。",
    ),
    (
        "mqtt.on_conflict",
        "端口被别的程序占用时怎么办：`fail` 不启动；写范围（例如 `18883-18892`）则用其中第一个空闲的。",
    ),
    (
        "mqtt.accept",
        "`own`：只接受不带 TLS 的 MQTT。`both`：同一端口也接受带 TLS 的 MQTT，证书和大小取 `[mqtts]` 的默认值。",
    ),
    (
        "mqtts.accept",
        "`own`：只接受带 TLS 的 MQTT。`both`：同一端口也接受不带 TLS 的 MQTT。",
    ),
    (
        "http.accept",
        "`own`：只接受不带 TLS 的 HTTP。`both`：同一端口也接受 HTTPS，证书和大小取 `[https]` 的默认值。",
    ),
    (
        "https.accept",
        "`own`：只接受 HTTPS。`both`：同一端口也接受不带 TLS 的 HTTP。",
    ),
    (
        "tls.chain_files",
        "证书文件（PEM），每个文件里先是服务器自己的证书，后面是为它担保的证书，即证书机构给出的样子\
         （`fullchain.pem`）。文件变化后会重新读取。",
    ),
    (
        "tls.key_files",
        "`chain_files` 的私钥文件（PEM），顺序相同。",
    ),
    (
        "tls.ca_file",
        "根证书文件（PEM）：除公共的根证书外，`chain_files` 还可以以它们为终点，即您自己机构的根证书。",
    ),
    ("tls.handshake_timeout", "一次 TLS 握手可以用多久。"),
    (
        "tls.max_handshakes",
        "所有监听器上同时进行的握手数。再多一个时，沉默最久的被挤掉，否则新的被关闭。",
    ),
    (
        "tls.max_handshakes_per_address",
        "来自同一地址、同时进行的握手数。再多的会立即关闭。",
    ),
    (
        "acme.names",
        "要申请证书的名称，例如 `[\"hub.example.com\"]`；`*.example.com` 需要 `challenge = \"dns-01\"`。\
         空表示不用。",
    ),
    (
        "acme.directory",
        "证书机构的目录地址。只用 `https://`，除非它在本机上。",
    ),
    ("acme.contact", "证书机构可以写信到的邮箱；可以为空。"),
    (
        "acme.accept_terms",
        "您已阅读并接受证书机构的服务条款。否则它什么也不发放。",
    ),
    (
        "acme.challenge",
        "证书机构怎样确认名称属于您：`http-01` 从端口 80 取一个文件，`tls-alpn-01` 查看端口 443，\
         `dns-01` 查看由 `dns_hook` 设置的 DNS 记录。端口指互联网到达本服务器时所用的。",
    ),
    ("acme.dns_hook", "设置和删除 `dns-01` 记录的程序。"),
    (
        "acme.keys",
        "为哪些密钥申请证书：`rsa`，每个设备都能验证；`p256`。",
    ),
    (
        "acme.ca_file",
        "除系统的证书外，访问 `directory` 时还信任的证书文件（PEM）：用于家里的证书机构。",
    ),
    (
        "acme.eab_key_id",
        "证书机构据以认识您的密钥的名称（外部账户绑定）；它不要求时为空。",
    ),
    ("acme.eab_key", "该密钥，照证书机构给出的 base64url 写。"),
    ("ntp.enabled", "是否提供时间。"),
    (
        "ntp.bind",
        "地址和 UDP 端口，写法同 `[mqtt]`。设备只问端口 123，而打开它需要 root 或 CAP_NET_BIND_SERVICE。",
    ),
    (
        "voice.enabled",
        "设备能否通过 MQTT 对话。关闭时，设备开始对话就会得到告知。",
    ),
    (
        "voice.bind",
        "地址和 UDP 端口，写法同 `[mqtt]`。告诉设备的是它连 MQTT 所用的主机和这个端口；防火墙和路由器须放行（UDP）。",
    ),
    (
        "voice.on_conflict",
        "端口被别的程序占用时怎么办，写法同 `[mqtt]`。默认改用另一个端口：设备每次开始对话时都会被告知端口。",
    ),
    ("xiaozhi.enabled", "是否答复这些设备。"),
    (
        "xiaozhi.websocket_url",
        "告诉设备的语音服务器地址，例如 `ws://192.168.1.20:8000/xiaozhi/v1/`。能打开 WebSocket 时才会告知。留空表示没有。",
    ),
    (
        "xiaozhi.auth_key",
        "设备向语音服务器出示的令牌所用的密钥，须与那边的 `server.auth_key` 相同。留空则使用本服务器自己的密钥。",
    ),
    (
        "xiaozhi.mqtt_key",
        "设备通过 MQTT 登录的密码所用的密钥，须与设备原来的网关的 `MQTT_SIGNATURE_KEY` 相同。留空则使用本服务器自己的密钥。",
    ),
    (
        "xiaozhi.activation",
        "未知设备如何处理：`code` 让它显示六位数字，用 `device activate` 接纳；`open` 立即接纳。`open` 仅供试用：能连到本服务器的都会得到登录。",
    ),
    (
        "xiaozhi.utc_offset",
        "设备时钟比 UTC 快多少，例如 `+08:00`：设备显示的就是这里告知的时间。`auto` 取 `timezone`，否则取本机的。",
    ),
    (
        "xiaozhi.timezone",
        "设备所在时区，例如 `Asia/Shanghai`，含夏令时。留空则取本机时区。",
    ),
    (
        "xiaozhi.agent",
        "设备与哪个智能体对话：某个 `[agent.名字]` 的名字，或 `echo`（把听到的说回去）。`auto` 取唯一的一个；有多个时取名为 \
         `default` 的，否则取 echo。",
    ),
    (
        "devices.max_seen",
        "只是出现过、未登记的设备最多记住多少台；再多时，最久未出现的先被忘记。",
    ),
    (
        "devices.forget_unseen",
        "只是出现过的设备多久未再出现就被忘记。已登记的设备不会被忘记。",
    ),
    (
        "firmware.max_image",
        "接受的最大映像。整片闪存的工厂文件与闪存一样大。",
    ),
    (
        "firmware.bandwidth",
        "所有下载合计每秒最多的字节数。0 表示不设上限。",
    ),
    (
        "firmware.device_floor",
        "`bandwidth` 设有上限时，每个下载每秒至少的字节数：同时进行的下载不会多到达不到它。",
    ),
    (
        "firmware.max_downloads",
        "同时进行的下载数；再多的先稍候，然后请它稍后再来。",
    ),
    (
        "firmware.token_lifetime",
        "为一次升级提供的下载地址有效多久。",
    ),
    (
        "firmware.safeboot",
        "向 Tasmota 提供主映像时，如何处理它的第二个映像 safeboot：`ensure` 先把它升到同一版本，`off` 不动它，\
         `auto` 只对通过 TLS 连接的设备这样做，因为旧的 safeboot 不一定能用 TLS。",
    ),
    (
        "firmware.backup_before",
        "在设备上做任何改动之前，是否先备份它的设置。",
    ),
    (
        "firmware.soak",
        "升级之后，设备要保持连接且不崩溃多久才算完成。",
    ),
    (
        "firmware.patience",
        "向设备下达命令之后等它多久再说一次。升级中的其他等待都是它的倍数：见升级的各个状态。",
    ),
    (
        "firmware.keep_backups",
        "每台设备保留的备份数；最旧的先删除。",
    ),
    (
        "mqtt.max_connections",
        "同时打开的连接数。再多的会立即关闭。",
    ),
    (
        "mqtt.max_packet",
        "接受客户端的最长 MQTT 报文。更长的会结束连接。",
    ),
    (
        "http.standard_ports",
        "在端口 80 空闲且允许打开时，也在那里提供同样的内容。",
    ),
    (
        "http.metrics_token",
        "设置后，`/metrics` 要求 `Authorization: Bearer` 加上此值。16 到 128 个可打印的 ASCII 字符；空表示不要求。",
    ),
    (
        "https.standard_ports",
        "在端口 443 空闲且允许打开时，也在那里提供同样的内容。",
    ),
    (
        "limits.connect_timeout",
        "新连接在发送 CONNECT 之前可以沉默多久。",
    ),
    (
        "limits.max_keep_alive",
        "最长的保活时间。要求更长或不要求的 MQTT 5 客户端会被告知此值；旧客户端用自己的。0 表示都用自己的。",
    ),
    (
        "limits.session_expiry_max",
        "连接结束后会话最多保留多久。要求更长的 MQTT 5 客户端会被告知此值；3.1.1 的持久会话即用此值。",
    ),
    (
        "limits.receive_maximum",
        "一个客户端可以同时向我们发送、尚未完成的 QoS 2 消息数；QoS 1 立即确认。",
    ),
    (
        "limits.max_inflight",
        "发往一个客户端、尚未确认的 QoS 1 和 2 消息数。MQTT 5 客户端可以要求更少。",
    ),
    (
        "limits.topic_alias_maximum",
        "一个 MQTT 5 客户端可以定义的主题别名数。0 表示不用。",
    ),
    (
        "limits.max_queued_messages",
        "为一个缓慢或离线的客户端排队的消息数。满了之后，QoS 1 和 2 的发布者会被暂缓（`patience`）或拒绝；\
         QoS 0 会丢弃并计数。",
    ),
    (
        "limits.max_queued_bytes",
        "为一个缓慢或离线的客户端排队的字节数。",
    ),
    (
        "limits.max_stored_bytes",
        "为所有客户端排队的字节总数，每条消息另加 160 字节的内存占用。多个客户端等待同一条消息时分别计算。",
    ),
    (
        "limits.patience",
        "在线订阅者的队列已满时，发布者最多被暂缓（不再读取）多久，之后其消息被拒绝。0 表示立即拒绝。",
    ),
    ("limits.max_retained_messages", "本服务器上的保留消息数。"),
    ("limits.max_retained_bytes", "本服务器上保留消息的字节数。"),
    (
        "limits.max_subscriptions_per_client",
        "一个会话可以持有的订阅数。",
    ),
    (
        "limits.max_topic_levels",
        "主题或过滤器可以有的层数：`a/b/c` 有 3 层。",
    ),
    (
        "limits.failed_logins_per_minute",
        "同一地址每分钟登录失败多少次之后，不再核对密码就答复。0 表示不限。",
    ),
    (
        "access.anonymous",
        "让客户端不用用户名和密码就能连接，并拥有全部权限。仅供试用。",
    ),
    (
        "engine.loops",
        "事件循环的个数，每个一个线程。一个足够一户使用；当一个线程一直很忙时，多几个才有用。",
    ),
    (
        "storage.durability",
        "已确认的消息能经受什么。`os`：进程结束，包括 `kill -9`；断电可能丢失最后一秒。`disk`：断电也不丢，\
         代价是等待磁盘。`none`：都不能；用于不应写入的磁盘。",
    ),
    (
        "storage.skip_damaged",
        "即使消息日志已损坏也启动，略去读不出的部分。没有备份时用一次。",
    ),
    (
        "log.level",
        "`off`、`error`、`warn`、`info`、`debug`、`trace`，或列表，例如 `info,safeport::engine=debug`。",
    ),
    ("log.format", "`text` 给人看，`json` 给程序用。"),
    (
        "advertise.host",
        "告诉设备的主机：设备能连到的名称或 IP 地址。`auto` 取本机最合适的地址。",
    ),
    (
        "advertise.tls",
        "对支持 TLS 的设备，告知 TLS 监听器的地址。",
    ),
    (
        "advertise.xiaozhi",
        "小智设备如何连接：`websocket`、`mqtt`，或 `mqtts`（其固件只在端口 8883 上使用）。`auto` 取本服务器提供的方式。",
    ),
    (
        "advertise.avoid",
        "这些网段里的地址不告诉任何人，例如 `[\"10.8.0.0/16\"]`。",
    ),
    ("advertise.verify_every", "多久重新验证一次对外公布的地址。"),
    (
        "advertise.ca_file",
        "验证对外公布的地址时，除本服务器和系统的证书外还信任的证书文件（PEM）：用于带自有证书机构的反向代理。",
    ),
    (
        "tags.order",
        "设备的两个标签说法不同时，此列表中靠后的优先。",
    ),
    (
        "config.pin",
        "只能由文件、环境变量和命令行参数设置的键，例如 `[\"limits.max_inflight\", \"advertise.*\"]`。\
         服务器运行时设置的值不生效。",
    ),
    (
        "config.confirm",
        "可能切断操作者自身连接的更改，等待“没有切断”的确认多久，之后撤回。",
    ),
    (
        "proxy.url",
        "告诉设备的地址。协议有自己的端口且主机是名称时，可以省略端口。",
    ),
    (
        "proxy.to",
        "它转发到的监听器：`http`、`https`、`mqtt` 或 `mqtts`。",
    ),
    (
        "provider.kind",
        "它是什么。识别：`openai-transcription`、`funasr`、`command-recognizer`、`local-recognizer`。\
         模型：`openai-chat`、`parrot`。语音：`openai-speech`、`dashscope-speech`、`command-speech`、`local-speech`。\
         图片：`openai-vision`。工具：`mcp`。",
    ),
    (
        "provider.url",
        "它的地址。`openai-…` 写 `/chat/completions` 之前的部分，通常以 `/v1` 结尾；`funasr` 和 `dashscope-speech` 写 WebSocket 地址；\
         `mcp` 写 HTTP 服务的地址。",
    ),
    ("provider.key", "让本服务器使用它的密钥；不需要时为空。"),
    ("provider.key_file", "首行是该密钥的文件，用来代替 `key`。"),
    ("provider.model", "用它的哪个模型；空表示由它自己决定。"),
    ("provider.voice", "用它的哪种嗓音；空表示由它自己决定。"),
    (
        "provider.format",
        "它的声音格式：`pcm`（每秒 24,000 个采样）、`pcm@16000`、`wav` 或 `opus`；空表示用最合适的。",
    ),
    (
        "provider.command",
        "程序和参数，用于种类 `command-…`，以及没有 `url` 的 `mcp`。",
    ),
    ("provider.folder", "存放本机引擎文件的文件夹。"),
    ("provider.timeout", "最多等它多久，从它上一次有动静算起。"),
    (
        "provider.extra",
        "一个 JSON 对象，写还能告诉它什么：`openai-…` 会合并到请求里，例如 `{\"temperature\": 0.3}`；其他种类见 `docs/agents.md`。",
    ),
    ("agent.prompt", "最先告诉模型的话：它是谁，应当怎样回答。"),
    (
        "agent.language",
        "说的语言，例如 `zh` 或 `en`；空表示不限。",
    ),
    (
        "agent.recognizer",
        "负责识别的服务。没有它，智能体只回答打字。",
    ),
    (
        "agent.model",
        "负责回答的服务。没有它，就把听到的话和时间说回去。",
    ),
    ("agent.voice", "负责说话的服务。没有它，回答只显示出来。"),
    ("agent.vision", "查看设备所拍图片的服务。"),
    (
        "agent.memory",
        "记住以前对话的什么：`none` 什么也不记，`summary` 记模型做的摘要。",
    ),
    (
        "agent.tools",
        "模型可以调用什么：`all` 表示全部，或写 `device` 和种类为 `mcp` 的服务的名字。空表示都不可以。",
    ),
    ("agent.history", "说过的话（文字）保留多久。0 表示不保留。"),
    (
        "agent.recordings",
        "声音（对设备说的话和设备的回答）作为文件在数据文件夹中保留多久。0 表示不保留。不能长于 `history`。请告知说话的人。",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_and_key_is_explained_in_chinese_too() {
        let mut known = alloc::vec::Vec::new();
        for spec in crate::table::SECTIONS {
            assert!(!section(spec.name).is_empty(), "[{}]", spec.name);
            for key_spec in spec.keys {
                let name = key_spec.full_name(None);
                assert!(!key(&name).is_empty(), "{name}");
                known.push(name);
            }
        }
        for (name, _) in KEYS {
            assert!(known.iter().any(|known| known == name), "{name}");
        }
        assert_eq!(SECTIONS.len(), crate::table::SECTIONS.len());
        assert_eq!(key("mqtt.nothing"), "");
    }
}
