//! Which web pages may open a WebSocket on a server without passwords.

use std::net::IpAddr;

/// Whether a page of this origin is one of the owner's: served by a host of the home network, not
/// by a name that anybody can own. A browser on the owner's own machine would otherwise carry any
/// web site's requests to a server without passwords; comparing with the `Host` header would not
/// help, since a stranger's name may resolve to an address of ours.
pub(super) fn is_home(origin: &str, host_name: &str) -> bool {
    let Some((_, authority)) = origin.split_once("://") else {
        return false;
    };
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            address.is_loopback() || address.is_private() || address.is_link_local()
        }
        Ok(IpAddr::V6(address)) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
        Err(_) => {
            host == host_name
                || host == "localhost"
                || [".local", ".lan", ".home.arpa", ".internal"]
                    .iter()
                    .any(|suffix| host.ends_with(suffix))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_the_home_network_reach_a_server_without_passwords() {
        for origin in [
            "http://localhost:3000",
            "http://127.0.0.1:8002",
            "https://192.168.1.20",
            "http://[::1]:8002",
            "http://[fd00::7]",
            "http://hub:1880",
            "http://hub.local:8123",
        ] {
            assert!(is_home(origin, "hub"), "{origin}");
        }
        for origin in [
            "https://evil.example",
            "http://localhost.evil.example",
            "http://8.8.8.8",
            "http://[2001:db8::1]",
            "null",
            "",
        ] {
            assert!(!is_home(origin, "hub"), "{origin}");
        }
    }
}
