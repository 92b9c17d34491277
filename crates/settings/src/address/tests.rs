use super::*;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use proptest::prelude::*;

fn error(text: &str) -> AddressError {
    AdvertisedAddress::parse(text).expect_err(text)
}

#[test]
fn an_address_shows_itself_with_its_port_in_small_letters() {
    for (text, shown) in [
        ("ws://192.168.1.20:8002", "ws://192.168.1.20:8002"),
        ("HTTP://Hub.Example.COM", "http://hub.example.com:80"),
        ("https://hub.example.com/", "https://hub.example.com:443"),
        ("wss://hub.example.com", "wss://hub.example.com:443"),
        ("mqtt://hub", "mqtt://hub:1883"),
        ("mqtts://my_hub.lan", "mqtts://my_hub.lan:8883"),
        ("http://[FD00::0:20]:8002", "http://[fd00::20]:8002"),
        ("http://[::ffff:192.0.2.1]:80", "http://192.0.2.1:80"),
        ("mqtt://127.0.0.1:1", "mqtt://127.0.0.1:1"),
        ("http://xn--fiq228c.cn:080", "http://xn--fiq228c.cn:80"),
        ("http://1password.com", "http://1password.com:80"),
    ] {
        let address = AdvertisedAddress::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(address.to_string(), shown);
    }
}

#[test]
fn every_slip_has_words_of_its_own_in_both_languages() {
    let long = "a".repeat(254);
    for (text, en, zh) in [
        (
            "",
            "there is no address: write scheme, host and port, for example ws://192.168.1.20:8002",
            "没有写地址",
        ),
        (
            "192.168.1.20:8002",
            "\"192.168.1.20:8002\" has no scheme: write one of http://, https://, ws://, wss://, mqtt://, mqtts:// in front, for example \"http://192.168.1.20:8002\"",
            "没有协议",
        ),
        (
            "ws：//192.168.1.20：8002",
            "it has full-width characters, which no device understands: write \"ws://192.168.1.20:8002\"",
            "全角",
        ),
        (
            "htpp://hub",
            "\"htpp\" is no scheme that Safeport serves: did you mean http://?",
            "不提供",
        ),
        (
            "tcp://hub:1883",
            "\"tcp\" is no scheme that Safeport serves: did you mean mqtt://?",
            "不提供",
        ),
        (
            "ssl://hub:8883",
            "\"ssl\" is no scheme that Safeport serves: did you mean mqtts://?",
            "不提供",
        ),
        (
            "gopher://hub",
            "\"gopher\" is no scheme that Safeport serves: use http, https, ws, wss, mqtt or mqtts",
            "不提供",
        ),
        (
            "ws://ws://hub:1",
            "there is a second scheme in \"ws://hub:1\": keep one of the two",
            "又写了一个协议",
        ),
        (
            "ws://anna:geheim@hub:1",
            "it carries a user name or password (the part before @): leave it away: devices get their login apart from the address",
            "用户名或密码",
        ),
        (
            "ws://:8002",
            "it names no host: write scheme, host and port, for example ws://192.168.1.20:8002",
            "没有写主机",
        ),
        (
            "ws://hub:8002/xiaozhi/v1/",
            "it ends with \"/xiaozhi/v1/\", and an address has no path: write ws://hub:8002; Safeport adds the paths itself",
            "路径",
        ),
        (
            "ws://hub:8002?a=1",
            "it ends with \"?a=1\", and an address has no path: write ws://hub:8002; Safeport adds the paths itself",
            "路径",
        ),
        (
            "ws://[fd00::20:8002",
            "\"[fd00::20:8002\" has an opening bracket without a closing one: put ] behind the address, for example [fd00::20]:8002",
            "右方括号",
        ),
        (
            "ws://hub:80:81",
            "\"80:81\" is not a port: write a port from 1 to 65535, for example :8002",
            "不是端口",
        ),
        (
            "ws://fd00::20",
            "\"fd00::20\" is an IPv6 address without brackets, so nobody can tell where its port begins: write ws://[fd00::20]:80",
            "没有方括号",
        ),
        (
            "ws://1:2:3:4:5:6:7:8:8002",
            "\"1:2:3:4:5:6:7:8:8002\" is an IPv6 address without brackets, so nobody can tell where its port begins: write ws://[1:2:3:4:5:6:7:8]:8002",
            "没有方括号",
        ),
        (
            "ws://[fd00::2x]:1",
            "\"[fd00::2x]\" is not an IPv6 address: write eight groups of up to four hexadecimal digits, :: for a row of zeros, for example [fd00::20]",
            "不是 IPv6",
        ),
        (
            "ws://[fe80::1%eth0]:1",
            "\"[fe80::1%eth0]\" is an IPv6 address that holds on one interface only; to another machine its interface name means nothing: use an IPv6 address that does not begin with fe80, an IPv4 address, or a name",
            "网卡",
        ),
        (
            "ws://192.168.1:4",
            "\"192.168.1\" has 3 of the four numbers of an IPv4 address: if the colon before 4 was meant as a dot, write ws://192.168.1.4 and then : and the port",
            "四段",
        ),
        (
            "ws://192.168.1:8002",
            "\"192.168.1\" has 3 of the four numbers of an IPv4 address: write four numbers from 0 to 255, for example 192.168.1.20",
            "四段",
        ),
        (
            "ws://192.168.1.2.3:1",
            "\"192.168.1.2.3\" has 5 of the four numbers of an IPv4 address: write four numbers from 0 to 255, for example 192.168.1.20",
            "四段",
        ),
        (
            "ws://192.168.1.300:1",
            "300 in \"192.168.1.300\" is more than 255: write four numbers from 0 to 255, for example 192.168.1.20",
            "大于 255",
        ),
        (
            "ws://192.168.01.3:1",
            "01 in \"192.168.01.3\" begins with a zero, which some devices read as an octal number: leave the leading zeros away",
            "八进制",
        ),
        (
            "ws://192.168.x.3:1",
            "\"192.168.x.3\" is neither an IP address nor a name: use an IP address such as 192.168.1.20, or a name of letters, digits, hyphens and dots such as hub.example.com",
            "既不是",
        ),
        (
            "ws://家.cn:1",
            "\"家.cn\" has letters that a device cannot look up: write the name in its ASCII form, which begins with xn--, or use the IP address",
            "无法解析",
        ),
        (
            &alloc::format!("ws://{long}:1"),
            "the name has 254 characters, and names end at 253: use a shorter name",
            "最多 253",
        ),
        (
            "ws://hub.example.com.:1",
            "\"hub.example.com.\" ends with a dot, and certificates and devices know the name without it: write \"hub.example.com\"",
            "点号",
        ),
        (
            "ws://hub example:1",
            "\"hub example\" is neither an IP address nor a name: use an IP address such as 192.168.1.20, or a name of letters, digits, hyphens and dots such as hub.example.com",
            "既不是",
        ),
        (
            "ws://hub-.lan:1",
            "\"hub-.lan\" is neither an IP address nor a name: use an IP address such as 192.168.1.20, or a name of letters, digits, hyphens and dots such as hub.example.com",
            "既不是",
        ),
        (
            "ws://hub:",
            "there is a colon and no port behind it: write a port from 1 to 65535, for example :8002",
            "没有端口",
        ),
        (
            "ws://hub:http",
            "\"http\" is not a port: write a port from 1 to 65535, for example :8002",
            "不是端口",
        ),
        (
            "ws://hub:+80",
            "\"+80\" is not a port: write a port from 1 to 65535, for example :8002",
            "不是端口",
        ),
        (
            "ws://hub:0",
            "nobody can connect to port 0: write a port from 1 to 65535, for example :8002",
            "端口 0",
        ),
        (
            "ws://hub:70000",
            "port 70000 does not exist: ports end at 65535: write a port from 1 to 65535, for example :8002",
            "端口 70000",
        ),
        (
            "ws://192.168.1.20",
            "ws://192.168.1.20 has no port, so devices would connect to port 80: write the port of the listener behind the address, for example ws://192.168.1.20:8002, or ws://192.168.1.20:80 if 80 is meant",
            "没有写端口",
        ),
        (
            "mqtt://0.0.0.0:1883",
            "0.0.0.0 means every address of a machine and leads nowhere: use an address that devices can reach, for example 192.168.1.20",
            "所有地址",
        ),
        (
            "mqtt://[::]:1883",
            ":: means every address of a machine and leads nowhere: use an address that devices can reach, for example 192.168.1.20",
            "所有地址",
        ),
        (
            "mqtt://224.0.0.1:1883",
            "224.0.0.1 means many machines at once: use the address of one machine, for example 192.168.1.20",
            "许多台",
        ),
    ] {
        let error = error(text);
        assert_eq!(error.to_string(), en, "{text}");
        assert!(error.what().zh.contains(zh), "{text}: {}", error.what().zh);
        assert!(!error.help().zh.is_ascii(), "{text}: {}", error.help().zh);
    }
}

#[test]
fn a_password_in_an_address_is_never_repeated() {
    for text in ["ws://anna:geheim@hub:1", "ws：//anna:geheim@hub：1"] {
        assert_eq!(error(text), AddressError::UserInfo);
    }
    let error = HostName::parse("ws://anna:geheim@hub:1").unwrap_err();
    assert!(!error.to_string().contains("geheim"), "{error}");
    assert_eq!(
        HostName::parse("anna:geheim@hub"),
        Err(AddressError::UserInfo)
    );
}

#[test]
fn a_host_alone_takes_no_scheme_port_or_path() {
    for (text, expected) in [
        ("192.168.1.20", "192.168.1.20"),
        ("fd00::20", "[fd00::20]"),
        ("[fd00::20]", "[fd00::20]"),
        ("Hub.LAN", "hub.lan"),
    ] {
        assert_eq!(HostName::parse(text).unwrap().to_string(), expected);
    }
    for (text, en, zh) in [
        (
            "",
            "it names no host: write scheme, host and port, for example ws://192.168.1.20:8002",
            "没有写主机",
        ),
        (
            "http://192.168.1.20:8002/x",
            "it begins with \"http://\", and only the host belongs here: write \"192.168.1.20\"",
            "只写主机",
        ),
        (
            "192.168.1.20:8002",
            "it ends with the port \"8002\", and only the host belongs here: write \"192.168.1.20\"",
            "端口",
        ),
        (
            "[fd00::20]:8002",
            "it ends with the port \"8002\", and only the host belongs here: write \"[fd00::20]\"",
            "端口",
        ),
        (
            "hub.lan/xiaozhi",
            "it ends with the path \"/xiaozhi\", and only the host belongs here: write \"hub.lan\"",
            "路径",
        ),
        (
            "0.0.0.0",
            "0.0.0.0 means every address of a machine and leads nowhere: use an address that devices can reach, for example 192.168.1.20",
            "所有地址",
        ),
    ] {
        let error = HostName::parse(text).expect_err(text);
        assert_eq!(error.to_string(), en, "{text}");
        assert!(error.what().zh.contains(zh), "{text}: {}", error.what().zh);
    }
}

#[test]
fn hosts_that_mean_another_machine_to_a_device_are_not_for_devices() {
    for (text, en, zh) in [
        (
            "127.0.0.1",
            "\"127.0.0.1\" is, to every device, the device itself: use this machine's address on the network of the devices, or auto",
            "设备自己",
        ),
        (
            "::1",
            "\"[::1]\" is, to every device, the device itself: use this machine's address on the network of the devices, or auto",
            "设备自己",
        ),
        (
            "localhost",
            "\"localhost\" is, to every device, the device itself: use this machine's address on the network of the devices, or auto",
            "设备自己",
        ),
        (
            "172.17.0.2",
            "\"172.17.0.2\" lies in the network inside Docker, which no device reaches: use the address of the machine that runs the container, and publish the port there (-p)",
            "Docker",
        ),
        (
            "host.docker.internal",
            "\"host.docker.internal\" lies in the network inside Docker, which no device reaches: use the address of the machine that runs the container, and publish the port there (-p)",
            "Docker",
        ),
        (
            "fe80::1",
            "\"[fe80::1]\" is an IPv6 address that holds on one interface only; to another machine its interface name means nothing: use an IPv6 address that does not begin with fe80, an IPv4 address, or a name",
            "网卡",
        ),
    ] {
        let error = HostName::parse(text)
            .unwrap()
            .check_for_devices()
            .expect_err(text);
        assert_eq!(error.to_string(), en, "{text}");
        assert!(error.what().zh.contains(zh), "{text}: {}", error.what().zh);
    }
    for text in [
        "192.168.1.20",
        "172.18.0.2",
        "169.254.1.2",
        "8.8.8.8",
        "hub.local",
    ] {
        assert_eq!(HostName::parse(text).unwrap().check_for_devices(), Ok(()));
    }
}

#[test]
fn the_reach_of_a_host_is_told_from_its_text() {
    for (text, reach) in [
        ("127.9.9.9", Reach::Loopback),
        ("a.localhost", Reach::Loopback),
        ("169.254.1.1", Reach::LinkLocal),
        ("fe80::1", Reach::LinkLocal),
        ("172.17.255.255", Reach::Container),
        ("172.16.255.255", Reach::Private),
        ("172.18.0.0", Reach::Private),
        ("100.63.255.255", Reach::Public),
        ("100.64.0.0", Reach::Cgnat),
        ("100.127.255.255", Reach::Cgnat),
        ("100.128.0.0", Reach::Public),
        ("10.0.0.1", Reach::Private),
        ("fd12::1", Reach::Private),
        ("2001:db8::1", Reach::Public),
        ("hub.local", Reach::Mdns),
        ("local.hub", Reach::Name),
    ] {
        assert_eq!(HostName::parse(text).unwrap().reach(), reach, "{text}");
    }
}

#[test]
fn a_url_carries_the_port_and_a_path_that_survives_the_wire() {
    let address = AdvertisedAddress::parse("https://hub.example.com").unwrap();
    for (path, url) in [
        ("/mqtt", "https://hub.example.com:443/mqtt"),
        ("", "https://hub.example.com:443/"),
        ("a b", "https://hub.example.com:443/a%20b"),
        (
            "/家?x=1&y=%20",
            "https://hub.example.com:443/%E5%AE%B6?x=1&y=%20",
        ),
        ("/a#b\r\n", "https://hub.example.com:443/a%23b%0D%0A"),
    ] {
        assert_eq!(address.url(path), url);
    }
    let wss = address.with_scheme(Scheme::Wss);
    assert_eq!(wss.to_string(), "wss://hub.example.com:443");
}

#[test]
fn parts_that_make_no_address_are_refused() {
    let unspecified = HostName::Ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    assert!(AdvertisedAddress::new(Scheme::Ws, unspecified, 1).is_err());
    let host = HostName::parse("hub").unwrap();
    assert_eq!(
        AdvertisedAddress::new(Scheme::Ws, host, 0),
        Err(AddressError::PortZero)
    );
}

fn any_host() -> impl Strategy<Value = HostName> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|o| IpAddr::V4(Ipv4Addr::from(o))),
        any::<[u16; 8]>().prop_map(|s| IpAddr::V6(Ipv6Addr::from(s))),
        any::<[u8; 4]>().prop_map(|o| IpAddr::V6(Ipv4Addr::from(o).to_ipv6_mapped())),
    ]
    .prop_filter_map("not one machine", |ip| HostName::try_from(ip).ok())
    .boxed()
    .prop_union(
        "[a-zA-Z0-9]([a-zA-Z0-9_-]{0,8}[a-z])?(\\.[a-z]([a-z0-9-]{0,5}[a-z0-9])?){0,3}"
            .prop_filter_map("a number", |text| HostName::parse(&text).ok())
            .boxed(),
    )
}

/// Texts near to addresses: parts of them in any order.
fn nearly() -> impl Strategy<Value = String> {
    const PARTS: [&str; 30] = [
        "http", "ws", "mqtts", "://", ":", "/", ".", "[", "]", "@", "?", "192", "168", "1", "20",
        "300", "0", "80", "70000", "fd00", "::", "%", "hub", "local", "host", "-", "：", "家", " ",
        "ffff",
    ];
    proptest::collection::vec(proptest::sample::select(PARTS.as_slice()), 0..12)
        .prop_map(|parts: Vec<&str>| parts.concat())
}

proptest! {
    #[test]
    fn every_address_made_of_parts_reads_back_as_itself(
        scheme in proptest::sample::select(Scheme::ALL.as_slice()),
        host in any_host(),
        port in 1u16..,
    ) {
        let address = AdvertisedAddress::new(scheme, host, port).unwrap();
        prop_assert_eq!(AdvertisedAddress::parse(&address.to_string()), Ok(address.clone()));
        let end = alloc::format!(":{port}");
        prop_assert!(address.to_string().ends_with(&end));
        prop_assert_eq!(HostName::parse(&address.host().to_string()), Ok(address.host().clone()));
    }

    #[test]
    fn whatever_parses_shows_its_port_and_parses_again_to_the_same(
        text in prop_oneof![nearly().prop_map(|t| alloc::format!("http://{t}")), nearly(), any::<String>()]
    ) {
        match AdvertisedAddress::parse(&text) {
            Ok(address) => {
                let shown = address.to_string();
                let port = shown.rsplit(':').next().unwrap().parse::<u16>();
                prop_assert_eq!(port, Ok(address.port()));
                prop_assert_eq!(AdvertisedAddress::parse(&shown), Ok(address));
            }
            Err(error) => {
                for said in [error.what(), error.help()] {
                    prop_assert!(!said.en.is_empty() && !said.zh.is_empty());
                    prop_assert!(said.en.chars().count() < 400);
                }
            }
        }
        let _ = HostName::parse(&text);
    }

    #[test]
    fn a_url_is_one_line_of_printable_ascii(path: String) {
        let address = AdvertisedAddress::parse("http://hub:8002").unwrap();
        let url = address.url(&path);
        prop_assert!(url.bytes().all(|byte| (0x21..0x7F).contains(&byte)));
        prop_assert!(url.starts_with("http://hub:8002/"));
    }
}
