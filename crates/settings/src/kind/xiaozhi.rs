//! What `[xiaozhi]` is made of.

use alloc::format;
use alloc::string::String;

use super::words::slip;
use super::{Kind, Misfit, Raw, quote};
use crate::said::said;
use crate::{AdvertisedAddress, HostName, Scheme};

/// How a xiaozhi device that nobody knows yet is taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XiaozhiActivation {
    /// It shows a code, and somebody enters it here. Written `code`.
    Code,
    /// It is taken in at its first check. Written `open`.
    Open,
}

impl Kind for XiaozhiActivation {
    fn read(raw: Raw<'_>) -> Result<XiaozhiActivation, Misfit> {
        match raw.text("\"code\"")? {
            "code" => Ok(XiaozhiActivation::Code),
            "open" => Ok(XiaozhiActivation::Open),
            other => Err(raw.misfit(
                said!("is not one of the known words", "不是已知的词"),
                slip(other, &["code", "open"]),
            )),
        }
    }

    fn show(&self) -> String {
        quote(match self {
            XiaozhiActivation::Code => "code",
            XiaozhiActivation::Open => "open",
        })
    }
}

/// How far the clocks of devices are ahead of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UtcOffset {
    /// As far as this machine's clock, or that of the time zone that is set.
    /// Written `auto`.
    Auto,
    /// So many minutes. Written `+08:00`.
    Minutes(i16),
}

/// No place on earth is further away from UTC.
const MOST_MINUTES: i16 = 14 * 60;

impl Kind for UtcOffset {
    fn read(raw: Raw<'_>) -> Result<UtcOffset, Misfit> {
        let text = raw.text("\"+08:00\"")?.trim();
        if text == "auto" {
            return Ok(UtcOffset::Auto);
        }
        read_offset(text).map(UtcOffset::Minutes).ok_or_else(|| {
            raw.misfit(
                said!("is no distance from UTC", "不是与 UTC 的时差"),
                said!(
                    "write hours and minutes with a sign, from \"-14:00\" to \"+14:00\", for example \
                     \"+08:00\", or \"auto\"",
                    "请写带符号的小时和分钟，从 \"-14:00\" 到 \"+14:00\"，例如 \"+08:00\"，或写 \"auto\""
                ),
            )
        })
    }

    fn show(&self) -> String {
        match self {
            UtcOffset::Auto => quote("auto"),
            UtcOffset::Minutes(minutes) => {
                let sign = if *minutes < 0 { '-' } else { '+' };
                let far = minutes.unsigned_abs();
                quote(&format!("{sign}{:02}:{:02}", far / 60, far % 60))
            }
        }
    }
}

fn read_offset(text: &str) -> Option<i16> {
    if matches!(text, "Z" | "UTC") {
        return Some(0);
    }
    let (sign, rest) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "00"));
    let number = |text: &str| {
        let fits = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<i16>().ok().filter(|_| fits)
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let far = hours * 60 + minutes;
    (minutes < 60 && far <= MOST_MINUTES).then_some(sign * far)
}

/// A check of `xiaozhi.websocket_url`: what the firmware's own reading of an
/// address survives.
pub(crate) fn check_websocket_url(url: &String) -> Result<(), Misfit> {
    if url.is_empty() {
        return Ok(());
    }
    let host_at = url.find("://").map_or(0, |at| at + 3);
    let end = url[host_at..]
        .find(['/', '?', '#'])
        .map_or(url.len(), |end| host_at + end);
    let (front, path) = url.split_at(end);
    let address = AdvertisedAddress::parse(front).and_then(|address| {
        address.host().check_for_devices()?;
        Ok(address)
    });
    let address = address.map_err(|error| Misfit {
        what: error.what(),
        help: error.help(),
    })?;
    let example = "ws://192.168.1.20:8000/xiaozhi/v1/";
    let refuse = |en: &str, zh: &str| {
        Err(Misfit {
            what: crate::Said::new(format!("\"{url}\" {en}"), format!("\"{url}\" {zh}")),
            help: said!("write for example {example}", "例如写 {example}"),
        })
    };
    if !matches!(address.scheme(), Scheme::Ws | Scheme::Wss) || !front.starts_with("ws") {
        return refuse(
            "is no address of a WebSocket: it begins with ws:// or wss://",
            "不是 WebSocket 地址：应以 ws:// 或 wss:// 开头",
        );
    }
    if matches!(address.host(), HostName::Ip(core::net::IpAddr::V6(_))) || path.contains(':') {
        return refuse(
            "has more colons than xiaozhi firmware can read: an IPv6 address, or one in the path",
            "含有 xiaozhi 固件无法处理的冒号：IPv6 地址，或路径中的冒号",
        );
    }
    let fits = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'#');
    if !(path.is_empty() || path.starts_with('/')) || !path.bytes().all(fits) || url.len() > 512 {
        return refuse(
            "has a path that xiaozhi firmware cannot read: printable ASCII, 512 characters at most",
            "的路径 xiaozhi 固件无法读取：只能是可打印的 ASCII，最多 512 个字符",
        );
    }
    Ok(())
}

/// A check of `xiaozhi.timezone`. Whether there is such a zone is for the
/// program to know.
pub(crate) fn check_timezone(name: &String) -> Result<(), Misfit> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-' | b'+');
    if name.is_empty() || (name.len() <= 64 && name.bytes().all(fits) && !name.starts_with('/')) {
        return Ok(());
    }
    Err(Misfit {
        what: said!("{name:?} is no time zone", "{name:?} 不是时区"),
        help: said!(
            "write a name of the IANA database, for example \"Asia/Shanghai\" or \
             \"Europe/Berlin\"; \"\" for that of this machine",
            "请写 IANA 时区名，例如 \"Asia/Shanghai\" 或 \"Europe/Berlin\"；\"\" 表示本机时区"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_distance_from_utc_is_written_with_its_sign() {
        for (text, minutes) in [
            ("+08:00", 480),
            ("+8", 480),
            ("-03:30", -210),
            ("+14:00", 840),
            ("-00:00", 0),
            ("UTC", 0),
        ] {
            let read = UtcOffset::read(Raw::Text(text)).expect(text);
            assert_eq!(read, UtcOffset::Minutes(minutes), "{text}");
        }
        assert_eq!(UtcOffset::Minutes(-210).show(), "\"-03:30\"");
        for text in [
            "8", "+15:00", "+08:60", "+", "+8:0:0", "+08:000", "CST", "+-8",
        ] {
            assert!(UtcOffset::read(Raw::Text(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_that_devices_cannot_read_is_refused_before_they_are_told() {
        for url in [
            "",
            "ws://192.168.1.20:8000/xiaozhi/v1/",
            "wss://voice.example.com/x?from=safeport",
            "ws://hub.local",
        ] {
            assert!(check_websocket_url(&url.to_string()).is_ok(), "{url}");
        }
        for url in [
            "192.168.1.20:8000",
            "http://192.168.1.20:8000/",
            "ws://192.168.1.20/",
            "ws://[fd00::1]:8000/",
            "ws://hub/a:b",
            "ws://hub/a b",
            "ws://hub?x",
            "ws://0.0.0.0:8000/",
            "WS://hub/",
        ] {
            assert!(check_websocket_url(&url.to_string()).is_err(), "{url}");
        }
        assert!(check_timezone(&"Asia/Shanghai".to_string()).is_ok());
        assert!(check_timezone(&"../etc/passwd".to_string()).is_err());
    }
}
