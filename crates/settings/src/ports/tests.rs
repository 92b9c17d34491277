use super::*;
use crate::{FileSource, Language, Sources};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec;
use core::net::{Ipv4Addr, Ipv6Addr};
use proptest::prelude::*;

fn sources<'a>(text: &'a str, names: Names<'a>) -> Sources<'a> {
    Sources {
        files: vec![FileSource {
            path: "safeport.toml",
            text,
            drop_in: false,
        }],
        names,
        ..Sources::default()
    }
}

fn settings(text: &str) -> Settings {
    Settings::parse(&sources(text, Names::new())).unwrap_or_else(|problems| {
        let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{text}\n{}", all.join("\n"))
    })
}

fn problems_with(text: &str, names: Names<'_>) -> Vec<Problem> {
    Settings::parse(&sources(text, names)).expect_err(text)
}

fn problems(text: &str) -> Vec<Problem> {
    problems_with(text, Names::new())
}

/// The one problem of a file.
fn problem(text: &str) -> Problem {
    let mut all = problems(text);
    let shown: Vec<String> = all.iter().map(ToString::to_string).collect();
    assert_eq!(all.len(), 1, "{text}\n{}", shown.join("\n"));
    all.remove(0)
}

fn places(plan: &PortPlan) -> Vec<String> {
    plan.binds()
        .iter()
        .map(|bind| format!("{} {}", bind.listener, bind.address))
        .collect()
}

fn told(plan: &PortPlan) -> Vec<String> {
    plan.advertised()
        .iter()
        .map(|told| format!("{} > {} by {}", told.address, told.to, told.via))
        .collect()
}

#[test]
fn the_defaults_plan_five_listeners_and_tell_nothing_by_name() {
    let settings = settings("");
    assert_eq!(
        places(&settings.plan),
        [
            "mqtt [::]:1883",
            "mqtts [::]:8883",
            "http [::]:8002",
            "https [::]:8443",
            "voice [::]:8884"
        ]
    );
    assert!(settings.plan.advertised().is_empty());
    assert_eq!(settings.plan.notes(), []);
    assert_eq!(settings.plan.binds()[0].key, "mqtt.bind");
    assert_eq!(settings.plan.binds()[0].source, Source::Default);
}

#[test]
fn a_named_host_is_told_for_every_listener_that_others_reach() {
    let settings = settings(
        "mqtt.bind = '127.0.0.1:1883'\nadvertise.host = 'hub.lan'\nhttps.enabled = false\n",
    );
    assert_eq!(
        told(&settings.plan),
        [
            "mqtts://hub.lan:8883 > mqtts by mqtts",
            "http://hub.lan:8002 > http by http",
            "ws://hub.lan:8002 > http by http",
        ]
    );
}

#[test]
fn a_proxy_is_told_with_its_port_and_leads_to_its_listener() {
    let settings = settings(
        "[proxy.front]\nurl = 'https://hub.example.com'\n[proxy.plugs]\nurl = 'mqtts://hub.example.com'\nto = 'mqtt'\n",
    );
    assert_eq!(
        told(&settings.plan),
        [
            "https://hub.example.com:443 > http by proxy.front",
            "mqtts://hub.example.com:8883 > mqtt by proxy.plugs",
        ]
    );
    assert_eq!(
        settings.plan.advertised()[0].source.to_string(),
        "safeport.toml:2:7"
    );
}

#[test]
fn every_clash_names_both_places_and_a_way_out_in_both_languages() {
    for (text, en, zh) in [
        (
            "http.bind = '0.0.0.0:1883'\n",
            "safeport.toml:1:13: http.bind: 0.0.0.0:1883 and mqtt.bind ([::]:1883) want addresses that overlap on port 1883\n  with: mqtt.bind (default)\n  help: give one of them another port, for example http.bind = \"0.0.0.0:1884\", or set mqtt.enabled = false",
            "重叠",
        ),
        (
            "mqtt.bind = ['192.168.1.2:1883', '192.168.1.2:1883']\n",
            "safeport.toml:1:13: mqtt.bind: 192.168.1.2:1883 and mqtt.bind (192.168.1.2:1883) want the same address and port\n  with: mqtt.bind (safeport.toml:1:13)\n  help: take one of them away: 192.168.1.2:1883 covers what both are for",
            "同一个地址和端口",
        ),
        (
            "mqtt.bind = ['0.0.0.0:1883', '[::]:1883']\n",
            "safeport.toml:1:13: mqtt.bind: [::]:1883 and mqtt.bind (0.0.0.0:1883) want addresses that overlap on port 1883\n  with: mqtt.bind (safeport.toml:1:13)\n  help: take one of them away: [::]:1883 covers what both are for",
            "重叠",
        ),
        (
            "mqtt.enabled = false\nmqtts.enabled = false\nhttp.enabled = false\nhttps.enabled = false\n",
            "safeport.toml:1:16: mqtt.enabled: no listener is enabled, so nobody could connect\n  help: set mqtt.enabled, mqtts.enabled, http.enabled or https.enabled to true",
            "没有启用任何监听器",
        ),
        (
            "http.enabled = false\n[proxy.front]\nurl = 'https://hub.example.com'\n",
            "safeport.toml:3:7: proxy.front.url: devices would be told https://hub.example.com:443, and the listener http behind it is switched off\n  help: set http.enabled = true, or proxy.front.to = \"https\"",
            "已关闭",
        ),
        (
            "http.enabled = false\nhttps.enabled = false\n[proxy.front]\nurl = 'https://hub.example.com'\n",
            "safeport.toml:4:7: proxy.front.url: devices would be told https://hub.example.com:443, and the listener http behind it is switched off\n  help: set http.enabled = true, or take [proxy.front] away",
            "已关闭",
        ),
        (
            "[proxy.front]\nurl = 'https://hub.example.com'\nto = 'mqtt'\n",
            "safeport.toml:2:7: proxy.front.url: https:// cannot lead to the listener mqtt, which speaks another protocol\n  with: proxy.front.to (safeport.toml:3:6)\n  help: set proxy.front.to = \"http\", or write the address of what forwards to mqtt",
            "协议不同",
        ),
        (
            "[proxy.front]\nurl = 'mqtts://hub.example.com'\n",
            "safeport.toml:2:7: proxy.front.url: mqtts:// cannot lead to the listener http, which speaks another protocol\n  with: proxy.front.to (default)\n  help: set proxy.front.to = \"mqtt\", or write the address of what forwards to http",
            "协议不同",
        ),
        (
            "[proxy.a]\nurl = 'https://hub.example.com'\n[proxy.b]\nurl = 'wss://hub.example.com:443'\nto = 'https'\n",
            "safeport.toml:4:7: proxy.b.url: wss://hub.example.com:443 and proxy.a.url (https://hub.example.com:443) would be told at the same host and port\n  with: proxy.a.url (safeport.toml:2:7)\n  help: only one of them can answer at hub.example.com:443: give the other another port",
            "同一个主机和端口",
        ),
        (
            "[advertise]\nhost = 'hub.lan'\n[proxy.a]\nurl = 'https://hub.lan:8002'\n",
            "safeport.toml:4:7: proxy.a.url: https://hub.lan:8002 and advertise.host (http://hub.lan:8002) would be told at the same host and port\n  with: advertise.host (safeport.toml:2:8)\n  help: only one of them can answer at hub.lan:8002: give the other another port",
            "同一个主机和端口",
        ),
        (
            "advertise.xiaozhi = 'mqtts'\nmqtts.bind = '[::]:8884'\n",
            "safeport.toml:1:21: advertise.xiaozhi: MQTT over TLS is told at port 8884, and xiaozhi firmware speaks TLS at port 8883 only\n  with: mqtts.bind (safeport.toml:2:14)\n  help: set mqtts.bind = \"[::]:8883\", declare a [proxy.NAME] with url = \"mqtts://HOST:8883\" and to = \"mqtts\", or set advertise.xiaozhi = \"websocket\"",
            "只在端口 8883",
        ),
        (
            "advertise.xiaozhi = 'mqtt'\nmqtt.bind = '[::]:8883'\nmqtts.bind = '[::]:8884'\n",
            "safeport.toml:1:21: advertise.xiaozhi: MQTT without TLS is told at port 8883, where xiaozhi firmware always speaks TLS\n  with: mqtt.bind (safeport.toml:2:13)\n  help: give MQTT without TLS another port, for example mqtt.bind = \"[::]:1883\"",
            "总是使用 TLS",
        ),
        (
            "advertise.xiaozhi = 'mqtts'\nmqtts.enabled = false\n",
            "safeport.toml:1:21: advertise.xiaozhi: xiaozhi devices are to connect by mqtts, and no address for that can be told\n  help: set mqtts.enabled = true and mqtts.bind to an address that devices reach, or set advertise.xiaozhi = \"auto\"",
            "没有可告知的地址",
        ),
        (
            "advertise.xiaozhi = 'mqtt'\nmqtt.bind = '127.0.0.1:1883'\n",
            "safeport.toml:1:21: advertise.xiaozhi: xiaozhi devices are to connect by mqtt, and no address for that can be told\n  with: mqtt.bind (safeport.toml:2:13)\n  help: set mqtt.enabled = true and mqtt.bind to an address that devices reach, or set advertise.xiaozhi = \"auto\"",
            "没有可告知的地址",
        ),
        (
            "advertise.xiaozhi = 'websocket'\nhttp.enabled = false\nhttps.enabled = false\n",
            "safeport.toml:1:21: advertise.xiaozhi: xiaozhi devices are to connect by WebSocket, and no address for that can be told\n  help: set http.enabled = true and http.bind to an address that devices reach, or set advertise.xiaozhi = \"auto\"",
            "没有可告知的地址",
        ),
    ] {
        let problem = problem(text);
        assert_eq!(problem.to_string(), en, "{text}");
        let chinese = problem.text(Language::ZhCn);
        assert!(chinese.contains(zh), "{text}: {chinese}");
        assert!(!problem.help.zh.is_ascii(), "{text}: {chinese}");
    }
}

#[test]
fn every_pair_that_clashes_is_reported_even_with_one_that_was_refused() {
    let text = "mqtt.bind = '127.0.0.1:1'\nmqtts.bind = '[::]:1'\nhttp.bind = '192.168.1.2:1'\n";
    let pairs: Vec<(String, String)> = problems(text)
        .into_iter()
        .map(|problem| (problem.key.unwrap(), problem.related.unwrap().0))
        .collect();
    assert_eq!(
        pairs,
        [
            ("mqtts.bind".to_string(), "mqtt.bind".to_string()),
            ("http.bind".to_string(), "mqtts.bind".to_string()),
        ]
    );
}

#[test]
fn names_are_planned_by_what_they_resolve_to() {
    let text = "mqtt.bind = 'server.lan:1883'\nhttp.bind = '192.168.1.2:1883'\n";
    // Not looked up yet: nothing is concluded.
    let unresolved = settings(text);
    assert_eq!(unresolved.names(), ["server.lan"]);
    assert_eq!(unresolved.plan.binds_of(Listener::Mqtt).count(), 0);

    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let both = vec![(
        "server.lan",
        vec![ip("192.168.1.3"), ip("fd00::3"), ip("::ffff:192.168.1.3")],
    )];
    let resolved = Settings::parse(&sources(text, both)).unwrap();
    assert_eq!(
        places(&resolved.plan)[..2],
        ["mqtt 192.168.1.3:1883", "mqtt [fd00::3]:1883"]
    );

    let same = vec![("server.lan", vec![ip("192.168.1.2")])];
    let clash = problems_with(text, same).remove(0);
    assert_eq!(
        clash.what.en,
        "192.168.1.2:1883 and mqtt.bind (server.lan:1883 = 192.168.1.2:1883) want the same address and port"
    );

    let nowhere = problems_with(text, vec![("server.lan", Vec::new())]).remove(0);
    assert_eq!(
        nowhere.to_string(),
        "safeport.toml:1:13: mqtt.bind: the name server.lan leads to no address\n  help: correct the name, or write an address, for example \"[::]:1883\" for every network"
    );
    assert!(nowhere.what.zh.contains("解析不到"));
}

#[test]
fn standard_ports_are_planned_beside_and_give_way_with_a_note() {
    let settings = settings(
        "http.standard_ports = true\nhttps.bind = '[::]:443'\nhttps.standard_ports = true\n",
    );
    let standard: Vec<String> = settings
        .plan
        .binds()
        .iter()
        .filter(|bind| bind.standard)
        .map(|bind| format!("{} {} {}", bind.listener, bind.address, bind.key))
        .collect();
    assert_eq!(standard, ["http [::]:80 http.standard_ports"]);
    assert_eq!(settings.plan.notes(), []);

    let taken = self::settings("http.standard_ports = true\nmqtt.bind = '[::]:80'\n");
    assert!(taken.plan.binds().iter().all(|bind| !bind.standard));
    let note = &taken.plan.notes()[0];
    assert_eq!(
        note.to_string(),
        "safeport.toml:1:23: http.standard_ports: port 80 is mqtt.bind's, so http is not served there\n  with: mqtt.bind (safeport.toml:2:13)\n  help: set http.standard_ports = false, or give mqtt.bind another port"
    );
    assert!(note.what.zh.contains("端口 80"));
}

#[test]
fn what_is_no_mistake_is_a_note_with_a_way_out() {
    for (text, en, zh) in [
        (
            "mqtts.bind = '[::]:8884'\n",
            "safeport.toml:1:14: mqtts.bind: MQTT over TLS is at port 8884: xiaozhi firmware speaks TLS at port 8883 only, so it will not be told of it\n  help: nothing, if there is no such device; otherwise use port 8883, or WebSocket",
            "8883",
        ),
        (
            "advertise.host = 'hub.lan'\nhttp.bind = '127.0.0.1:8002'\n",
            "safeport.toml:2:13: http.bind: http listens at 127.0.0.1:8002, which only programs on this machine reach: no address of it is told\n  help: nothing, if that is meant; if a proxy forwards to it, declare it: [proxy.NAME] with url and to = \"http\"",
            "只有本机",
        ),
        (
            "advertise.xiaozhi = 'mqtt'\nvoice.enabled = false\n",
            "safeport.toml:1:21: advertise.xiaozhi: xiaozhi devices are to talk over MQTT, and voice.enabled is false, so nothing takes their sound: they are told goodbye when they begin\n  help: set voice.enabled = true, or advertise.xiaozhi = \"websocket\"",
            "没有地方接收",
        ),
    ] {
        let settings = settings(text);
        assert_eq!(settings.notes.len(), 1, "{:?}", settings.notes);
        assert_eq!(settings.notes[0].to_string(), en);
        assert!(settings.notes[0].text(Language::ZhCn).contains(zh));
    }
    let forwarded = "advertise.host = 'hub.lan'\nhttp.bind = '127.0.0.1:8002'\nproxy.front.url = 'https://hub.lan'\n";
    assert_eq!(settings(forwarded).notes, []);
}

#[test]
fn tcp_and_udp_have_ports_of_their_own_and_udp_alone_lets_nobody_connect() {
    let udp = "[ntp]\nenabled = true\n";
    let both = settings(&format!("http.bind = \"[::]:123\"\n{udp}"));
    let ntp: Vec<&PlannedBind> = both.plan.binds_of(Listener::Ntp).collect();
    assert_eq!(ntp.len(), 1);
    assert_eq!(ntp[0].protocol, Protocol::Udp);
    assert_eq!(ntp[0].address.to_string(), "[::]:123");
    assert!(both.plan.binds_of(Listener::Http).count() == 1);

    let twice = format!("{udp}bind = [\"[::]:123\", \"127.0.0.1:123\"]");
    assert!(problem(&twice).what.en.contains("overlap on port 123"));

    let alone: String = Listener::CONNECTED
        .iter()
        .map(|listener| format!("{listener}.enabled = false\n"))
        .collect();
    let what = problem(&format!("{alone}{udp}")).what.en;
    assert!(what.contains("nobody could connect"), "{what}");
}

#[test]
fn the_time_is_told_at_no_address_and_nothing_is_forwarded_to_it() {
    let text = "advertise.host = \"hub.lan\"\nntp.enabled = true";
    let told: Vec<String> = told(&settings(text).plan);
    assert!(
        !told.is_empty() && told.iter().all(|told| !told.contains("ntp")),
        "{told:?}"
    );
    let problem = problem("[proxy.front]\nurl = \"https://hub.example.com\"\nto = \"ntp\"");
    assert_eq!(problem.key.as_deref(), Some("proxy.front.to"));
    assert!(problem.help.en.contains("https"), "{}", problem.help.en);
    // The time stands by no listener of MQTT that an address could lead to instead.
    let off = "mqtt.enabled = false\nmqtts.enabled = false\nhttp.enabled = false\nntp.enabled = true\n\
               [proxy.front]\nurl = \"mqtt://hub.example.com\"\nto = \"mqtt\"";
    for problem in problems(off) {
        assert!(!problem.help.en.contains("ntp"), "{}", problem.help.en);
    }
}

#[test]
fn a_listener_that_moves_takes_its_addresses_along() {
    let plan = settings("advertise.host = 'hub.lan'\n").plan;
    let moved = plan.moved(Listener::Http, 8002, 18002).unwrap();
    assert!(places(&moved).contains(&"http [::]:18002".to_string()));
    assert!(told(&moved).contains(&"ws://hub.lan:18002 > http by http".to_string()));
    assert!(!told(&moved).iter().any(|told| told.contains(":8002")));
    // Notes follow.
    assert_eq!(plan.notes(), []);
    assert_eq!(
        plan.moved(Listener::Mqtts, 8883, 18883)
            .unwrap()
            .notes()
            .len(),
        1
    );

    let clash = plan.moved(Listener::Http, 8002, 1883).unwrap_err();
    assert!(
        clash[0].what.en.contains("want the same address and port"),
        "{}",
        clash[0]
    );
    let plan = settings("advertise.xiaozhi = 'mqtts'\n").plan;
    let refused = plan.moved(Listener::Mqtts, 8883, 18883).unwrap_err();
    assert_eq!(refused[0].key.as_deref(), Some("advertise.xiaozhi"));
}

/// Addresses few enough to meet often.
const HOSTS: [&str; 9] = [
    "0.0.0.0",
    "127.0.0.1",
    "192.168.1.2",
    "192.168.1.3",
    "::",
    "::1",
    "fd00::2",
    "::ffff:192.168.1.2",
    "::ffff:0.0.0.0",
];

/// What a bind takes on a machine that has these addresses, one by one.
fn sockets(claim: PortClaim) -> BTreeSet<(Protocol, IpAddr, u16)> {
    let machine: [IpAddr; 5] = [
        Ipv4Addr::LOCALHOST.into(),
        Ipv4Addr::new(192, 168, 1, 2).into(),
        Ipv4Addr::new(192, 168, 1, 3).into(),
        Ipv6Addr::LOCALHOST.into(),
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2).into(),
    ];
    let taken: Vec<IpAddr> = match claim.address.ip().to_string().as_str() {
        "::" => machine.to_vec(),
        "0.0.0.0" | "::ffff:0.0.0.0" => machine[..3].to_vec(),
        "::ffff:192.168.1.2" => vec![machine[1]],
        other => vec![other.parse().unwrap()],
    };
    taken
        .into_iter()
        .map(|ip| (claim.protocol, ip, claim.address.port()))
        .collect()
}

fn any_bind() -> impl Strategy<Value = PlannedBind> {
    (
        proptest::sample::select(HOSTS.as_slice()),
        1..3u16,
        any::<bool>(),
        proptest::sample::select(Listener::ALL.as_slice()),
    )
        .prop_map(|(host, port, udp, listener)| {
            let ip: IpAddr = host.parse().unwrap();
            PlannedBind {
                listener,
                protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
                address: SocketAddr::new(ip, port),
                written: Bind {
                    host: HostName::Ip(ip),
                    port,
                },
                key: listener.bind_key().to_string(),
                source: Source::Default,
                standard: false,
            }
        })
}

fn assert_disjoint(plan: &PortPlan) {
    for (index, one) in plan.binds().iter().enumerate() {
        for other in &plan.binds()[..index] {
            let both = sockets(one.claim());
            assert!(
                both.is_disjoint(&sockets(other.claim())),
                "{} and {} are both planned",
                one.address,
                other.address
            );
        }
    }
}

proptest! {
    #[test]
    fn two_binds_overlap_exactly_when_they_take_one_socket_together(
        one in any_bind(), other in any_bind()
    ) {
        let (one, other) = (one.claim(), other.claim());
        let together = !sockets(one).is_disjoint(&sockets(other));
        prop_assert_eq!(one.overlaps(other), together);
        prop_assert_eq!(other.overlaps(one), together);
    }

    #[test]
    fn a_plan_never_accepts_two_overlapping_binds_and_refuses_no_others(
        binds in proptest::collection::vec(any_bind(), 1..12),
        moves in proptest::collection::vec(
            (proptest::sample::select(Listener::ALL.as_slice()), 1..3u16, 1..4u16), 0..6),
    ) {
        let mut plan = PortPlan::default();
        for bind in binds {
            let free = plan
                .binds()
                .iter()
                .all(|other| sockets(bind.claim()).is_disjoint(&sockets(other.claim())));
            prop_assert_eq!(plan.add(bind).is_ok(), free);
        }
        assert_disjoint(&plan);
        for (listener, from, to) in moves {
            match plan.moved(listener, from, to) {
                Ok(moved) => {
                    assert_disjoint(&moved);
                    prop_assert_eq!(moved.binds().len(), plan.binds().len());
                    plan = moved;
                }
                Err(problems) => prop_assert!(!problems.is_empty()),
            }
        }
    }

    #[test]
    fn settings_that_are_accepted_have_a_plan_without_overlaps(
        hosts in proptest::collection::vec(proptest::sample::select(HOSTS.as_slice()), 4),
        ports in proptest::collection::vec(1..4u16, 4),
    ) {
        let text: String = Listener::CONNECTED
            .into_iter()
            .zip(hosts.iter().zip(&ports))
            .map(|(listener, (host, port))| {
                let bind = SocketAddr::new(host.parse().unwrap(), *port);
                format!("{listener}.bind = '{bind}'\n")
            })
            .collect();
        let claims: Vec<PortClaim> = hosts.iter().zip(&ports).map(|(host, port)| PortClaim {
            protocol: Protocol::Tcp,
            address: SocketAddr::new(host.parse().unwrap(), *port),
        }).collect();
        let clashes = (0..4).any(|one| (0..one)
            .any(|other| !sockets(claims[one]).is_disjoint(&sockets(claims[other]))));
        match Settings::parse(&sources(&text, Names::new())) {
            Ok(settings) => {
                prop_assert!(!clashes);
                assert_disjoint(&settings.plan);
            }
            Err(problems) => {
                prop_assert!(clashes, "{}", problems[0]);
            }
        }
    }
}
