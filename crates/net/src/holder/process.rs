//! What the files of one process in `/proc` say about it.
#![cfg_attr(not(target_os = "linux"), allow(dead_code))]

use super::Holder;
use crate::cgroup::{container_in_cgroup, unit_in_cgroup, visible};
use crate::limits::COMMAND_LINE;

/// Contents of files in `/proc/PID`; empty where one could not be read.
pub(super) struct Facts<'a> {
    pub(super) comm: &'a str,
    pub(super) cmdline: &'a [u8],
    pub(super) cgroup: &'a str,
}

pub(super) fn holder(pid: u32, user: String, facts: Facts<'_>) -> Holder {
    let arguments: Vec<String> = facts
        .cmdline
        .split(|byte| *byte == 0)
        .map(|argument| visible(&String::from_utf8_lossy(argument)))
        .collect();
    let program = visible(facts.comm.trim());
    let container = container_in_cgroup(facts.cgroup);
    Holder {
        pid,
        forwards_to: forwarded(&program, &arguments),
        program: Some(program).filter(|name| !name.is_empty()),
        command_line: command_line(&arguments),
        user,
        unit: unit_in_cgroup(facts.cgroup).filter(|_| container.is_none()),
        container,
    }
}

/// The name that `/etc/passwd` (`users`) gives to an id, or `user id 1234`.
pub(super) fn user_name(id: u32, users: &str) -> String {
    users
        .lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            let (name, wanted) = (fields.next()?, fields.nth(1)?);
            (wanted.parse() == Ok(id)).then(|| name.to_owned())
        })
        .unwrap_or_else(|| format!("user id {id}"))
}

/// The container address that Docker's proxy was started for: `docker-proxy -proto tcp -host-ip
/// 0.0.0.0 -host-port 1883 -container-ip 172.17.0.2 -container-port 1883`.
fn forwarded(program: &str, arguments: &[String]) -> Option<String> {
    if program != "docker-proxy" {
        return None;
    }
    let after = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)
    };
    let (ip, port) = (after("-container-ip")?, after("-container-port")?);
    Some(if ip.contains(':') {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    })
}

/// The arguments in one line, secrets masked, cut to [`COMMAND_LINE`] characters.
fn command_line(arguments: &[String]) -> Option<String> {
    let mut line = String::new();
    let mut hide_next = false;
    for argument in arguments {
        if argument.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        if std::mem::take(&mut hide_next) {
            line.push_str(MASK);
            continue;
        }
        // Programs that write their own title put all of it in one argument.
        for (place, word) in argument.split(' ').enumerate() {
            if place > 0 {
                line.push(' ');
            }
            if std::mem::take(&mut hide_next) {
                line.push_str(MASK);
            } else {
                hide_next = push_masked(&mut line, word);
            }
        }
    }
    if line.is_empty() {
        return None;
    }
    if let Some((cut, _)) = line.char_indices().nth(COMMAND_LINE) {
        line.truncate(cut);
        line.push('…');
    }
    Some(line)
}

const MASK: &str = "***";

/// Appends `word` without what looks like a secret in it; whether the next word is one.
fn push_masked(line: &mut String, word: &str) -> bool {
    // `mosquitto_sub -P secret` and `-Psecret`.
    if let Some(glued) = word.strip_prefix("-P") {
        line.push_str("-P");
        if !glued.is_empty() {
            line.push_str(MASK);
        }
        return glued.is_empty();
    }
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    };
    let lower = name.to_ascii_lowercase();
    let is_secret = [
        "password",
        "passwd",
        "passphrase",
        "token",
        "secret",
        "credential",
    ]
    .iter()
    .any(|part| lower.contains(part))
        || lower.replace(['-', '_'], "").ends_with("apikey");
    match value {
        Some(_) if is_secret => {
            line.push_str(name);
            line.push('=');
            line.push_str(MASK);
            false
        }
        None if is_secret && name.starts_with('-') => {
            line.push_str(name);
            true
        }
        _ => {
            match user_information(word) {
                Some((before, after)) => {
                    line.push_str(before);
                    line.push_str(MASK);
                    line.push_str(after);
                }
                None => line.push_str(word),
            }
            false
        }
    }
}

/// What stands before and after the password of `scheme://user:password@host`.
fn user_information(word: &str) -> Option<(&str, &str)> {
    let start = word.find("://")? + 3;
    let authority = &word[start..];
    let end = authority.find('/').unwrap_or(authority.len());
    let at = authority[..end].rfind('@')?;
    let colon = authority[..at].find(':')?;
    Some((&word[..=start + colon], &word[start + at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(comm: &str, cmdline: &[u8], cgroup: &str) -> Holder {
        holder(
            812,
            "mosquitto".to_owned(),
            Facts {
                comm,
                cmdline,
                cgroup,
            },
        )
    }

    fn line(arguments: &[&str]) -> String {
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        command_line(&arguments).unwrap()
    }

    #[test]
    fn a_service_is_named_with_its_unit_and_the_command_that_stops_it() {
        let holder = described(
            "mosquitto\n",
            b"/usr/sbin/mosquitto\0-c\0/etc/mosquitto/mosquitto.conf\0",
            "0::/system.slice/mosquitto.service\n",
        );
        assert_eq!(
            holder.to_string(),
            "mosquitto (pid 812, user mosquitto, mosquitto.service)"
        );
        assert_eq!(
            holder.command_line.as_deref(),
            Some("/usr/sbin/mosquitto -c /etc/mosquitto/mosquitto.conf")
        );
        assert_eq!(
            holder.command_to_stop(1883).as_deref(),
            Some("sudo systemctl stop mosquitto.service")
        );
    }

    #[test]
    fn the_innermost_service_of_a_user_is_the_unit() {
        let cgroup = "1:name=systemd:/\n0::/user.slice/user-1000.slice/user@1000.service/app.slice/\
                      broker.service\n";
        assert_eq!(unit_in_cgroup(cgroup).as_deref(), Some("broker.service"));
        assert_eq!(
            unit_in_cgroup("0::/user.slice/user-1000.slice/session-3.scope"),
            None
        );
    }

    #[test]
    fn dockers_proxy_is_told_with_the_address_in_the_container() {
        let holder = described(
            "docker-proxy",
            b"/usr/bin/docker-proxy\0-proto\0tcp\0-host-ip\x000.0.0.0\0-host-port\x001883\0\
              -container-ip\x00172.17.0.2\0-container-port\x001884\0",
            "0::/system.slice/docker.service",
        );
        assert_eq!(holder.forwards_to.as_deref(), Some("172.17.0.2:1884"));
        assert_eq!(
            holder.command_to_stop(1883).as_deref(),
            Some("docker ps --filter publish=1883")
        );
    }

    #[test]
    fn secrets_in_a_command_line_are_masked() {
        for (arguments, shown) in [
            (
                &["x", "--password", "hush me", "-v"][..],
                "x --password *** -v",
            ),
            (&["x", "-P", "hush", "-Phush"], "x -P *** -P***"),
            (&["x", "--api-token=hush"], "x --api-token=***"),
            (
                &["MQTT_PASSWORD=hush", "token=hush"],
                "MQTT_PASSWORD=*** token=***",
            ),
            (&["x", "--apikey", "hush"], "x --apikey ***"),
            (
                &["title: x --secret hush more"],
                "title: x --secret *** more",
            ),
            (&["x", "mqtt://u:hush@h:1883/t"], "x mqtt://u:***@h:1883/t"),
            (&["x", "-p", "1883"], "x -p 1883"),
        ] {
            assert_eq!(line(arguments), shown);
        }
    }

    #[test]
    fn a_long_or_hostile_command_line_is_cut_and_made_visible() {
        let long = line(&["x", &"é".repeat(500)]);
        assert_eq!(long.chars().count(), COMMAND_LINE + 1);
        assert!(long.ends_with('…'));
        let holder = described("a\x1b[2Jb", b"a\x1b[2J\0\xff\0", "");
        assert_eq!(holder.program.as_deref(), Some("a [2Jb"));
        assert_eq!(holder.command_line.as_deref(), Some("a [2J \u{fffd}"));
    }

    #[test]
    fn a_process_that_ended_meanwhile_is_told_by_its_number() {
        let holder = described("", b"", "");
        assert_eq!(holder.to_string(), "the process 812 (user mosquitto)");
        assert_eq!(holder.command_line, None);
    }

    #[test]
    fn a_strange_user_id_stays_a_number() {
        let users = "root:x:0:0:root:/root:/bin/bash\nbroken\n";
        assert_eq!(user_name(0, users), "root");
        assert_eq!(user_name(4_000_000_001, users), "user id 4000000001");
    }
}
