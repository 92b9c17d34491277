//! mosquitto's settings file, as of mosquitto 2.0.
//!
//! A line is an option and its value. Options after a `listener` line are about that listener,
//! options after a `connection` line about that bridge; the rest holds for all. A listener becomes
//! an address of one of ours: `mqtt`, `mqtts` with a certificate, `http` and `https` for
//! WebSockets.

mod acl;
mod listeners;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use safeport_settings::Said;

use self::table::{BRIDGE, Fate, UNKNOWN};
use super::{ImportError, Imported, Input, Place, SECRET, said};

/// The files of a folder that `include_dir` names, sorted by name: path and text of each.
pub type Include<'a> = &'a dyn Fn(&str) -> Result<Vec<(String, String)>, String>;

/// What is handed in beside the settings file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'a> {
    /// The file that `acl_file` names.
    pub acl: Option<Input<'a>>,
    /// The file that `password_file` names. Only names are taken from it: its hashes are of
    /// another kind than ours.
    pub passwords: Option<Input<'a>>,
}

/// Reads a mosquitto.conf.
///
/// # Errors
/// If a file is too long to be one of mosquitto's; every mistake within one is listed instead.
pub fn read(
    main: Input<'_>,
    include: Include<'_>,
    beside: Beside<'_>,
) -> Result<Imported, ImportError> {
    let mut reader = Reader::default();
    let mut lines = Vec::new();
    collect(main, Some(include), &mut lines, &mut reader.out)?;
    for line in &lines {
        reader.line(line, beside);
    }
    reader.finish();
    acl::read(beside, reader.ruled, &mut reader.out)?;
    Ok(reader.out.settle())
}

/// One line of a settings file.
struct Line {
    place: Place,
    name: String,
    value: String,
}

/// All lines of a file and of those that it includes, in the order in which they hold.
fn collect(
    input: Input<'_>,
    include: Option<Include<'_>>,
    lines: &mut Vec<Line>,
    out: &mut Imported,
) -> Result<(), ImportError> {
    input.check_length()?;
    let file = input.file();
    let text = input.text.strip_prefix('\u{feff}').unwrap_or(input.text);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let line = Line {
            place: Place {
                file: Arc::clone(&file),
                line: index + 1,
            },
            name: name.to_owned(),
            value: value.trim().to_owned(),
        };
        if line.name != "include_dir" {
            lines.push(line);
            continue;
        }
        let Some(folder) = include else {
            // mosquitto itself follows include_dir in the main file only.
            let why = said!(
                "mosquitto follows include_dir in its main file only",
                "mosquitto 只处理主文件中的 include_dir"
            );
            out.leave(&line.place, &line.name, Some(&line.value), why);
            continue;
        };
        match folder(&line.value) {
            Ok(files) => {
                let why = said!(
                    "its files ({count}) were read too",
                    "其中的文件（{count} 个）也已读取",
                    count = files.len()
                );
                let left = out.leave(&line.place, &line.name, Some(&line.value), why);
                left.already_so = true;
                for (path, text) in &files {
                    collect(Input { path, text }, None, lines, out)?;
                }
            }
            Err(error) => {
                let why = said!(
                    "this folder cannot be read ({error}); run the import where its files are",
                    "无法读取该目录（{error}）；请在这些文件所在的机器上导入"
                );
                out.leave(&line.place, &line.name, Some(&line.value), why);
            }
        }
    }
    Ok(())
}

/// Goes through the lines once and gathers what they mean together.
#[derive(Default)]
struct Reader {
    out: Imported,
    listeners: listeners::Listeners,
    /// `allow_anonymous true`, and where.
    anonymous: Vec<(Place, bool)>,
    /// Whether rights and logins are set per listener.
    per_listener: bool,
    /// Whether an `acl_file` narrows what clients may do.
    ruled: bool,
    log_types: Vec<(Place, String)>,
    log_dests: Vec<(Place, String)>,
    max_packet: Option<(Place, u64)>,
    topic_aliases: Vec<(Place, u64)>,
}

impl Reader {
    fn line(&mut self, line: &Line, beside: Beside<'_>) {
        let Line { place, name, value } = line;
        let Some(fate) = table::fate(name) else {
            self.out.leave(place, name, None, UNKNOWN.said());
            return;
        };
        match fate {
            Fate::Mapped => self.mapped(line, beside),
            Fate::Left(why) => {
                self.out.leave(place, name, Some(value), why.said());
            }
            Fate::Already(same, why) => {
                let left = self.out.leave(place, name, Some(value), why.said());
                left.already_so = value == same;
            }
            Fate::Bridge => {
                self.out.leave(place, name, Some(value), BRIDGE.said());
            }
            Fate::BridgeSecret => {
                self.out.leave(place, name, Some(SECRET), BRIDGE.said());
            }
            Fate::Secret(why) => {
                self.out.leave(place, name, Some(SECRET), why.said());
            }
        }
    }

    fn mapped(&mut self, line: &Line, beside: Beside<'_>) {
        let Line { place, name, value } = line;
        match name.as_str() {
            "listener" | "port" | "bind_address" | "bind_interface" | "protocol"
            | "socket_domain" | "certfile" | "psk_hint" | "max_connections" => {
                self.listeners.line(line, &mut self.out);
            }
            "allow_anonymous" => self.flag(line, |reader, allowed| {
                reader.anonymous.push((place.clone(), allowed));
            }),
            "per_listener_settings" => self.flag(line, |reader, per_listener| {
                reader.per_listener = per_listener;
                let left = reader.out.leave(
                    place,
                    name,
                    Some(value),
                    said!(
                        "logins and rights hold on all listeners of Safeport",
                        "在 Safeport 中，登录和权限对所有监听都有效"
                    ),
                );
                left.already_so = !per_listener;
            }),
            "acl_file" => {
                self.ruled = true;
                self.beside(line, beside.acl.is_some(), "--acl");
            }
            "password_file" => self.beside(line, beside.passwords.is_some(), "--passwords"),
            "persistence" => self.flag(line, |reader, kept| {
                let durability = if kept { "\"os\"" } else { "\"none\"" };
                let from = vec![place.clone()];
                reader.once("storage.durability", durability, from);
            }),
            "max_inflight_messages" => self.number(line, 1..=65_535, "limits.max_inflight"),
            "max_queued_messages" => {
                self.number(line, 1..=10_000_000, "limits.max_queued_messages");
            }
            "max_queued_bytes" => {
                self.number(line, 1024..=64 << 30, "limits.max_queued_bytes");
            }
            "max_topic_alias" => {
                if let Some(count) = self.whole(line, 0..=65_535) {
                    self.topic_aliases.push((place.clone(), count));
                }
            }
            "max_packet_size" => {
                if let Some(bytes) = self.whole(line, 1024..=256 << 20)
                    && let Some((earlier, bytes)) = self.max_packet.replace((place.clone(), bytes))
                {
                    let bytes = bytes.to_string();
                    self.out.leave(&earlier, name, Some(&bytes), later(place));
                }
            }
            "max_keepalive" => {
                if let Some(seconds) = self.whole(line, 0..=65_535) {
                    let value = format!("\"{seconds}s\"");
                    self.once("limits.max_keep_alive", &value, vec![place.clone()]);
                }
            }
            "persistent_client_expiration" => self.expiration(line),
            "log_type" => self.log_types.push((place.clone(), value.clone())),
            "log_dest" => self.log_dests.push((place.clone(), value.clone())),
            other => unreachable!("{other} is in the table as mapped"),
        }
    }

    /// A file that may have been handed in beside this one.
    fn beside(&mut self, line: &Line, given: bool, flag: &str) {
        let why = match (line.name.as_str(), given) {
            ("password_file", true) => said!(
                "its hashes cannot be taken along; the commands below give each user a new password",
                "其中的密码哈希无法沿用；下面的命令会给每个用户设置新密码"
            ),
            ("password_file", false) => said!(
                "its hashes cannot be taken along: every user needs a new password from `user add NAME`; hand the file over with {flag} to get the commands",
                "其中的密码哈希无法沿用：每个用户都要用 `user add NAME` 设置新密码；用 {flag} 提供该文件即可得到相应命令"
            ),
            (_, true) => said!(
                "rights belong to logins; the commands below set them",
                "权限属于各个登录；下面的命令会设置它们"
            ),
            (_, false) => said!(
                "rights belong to logins; hand the file over with {flag} to get the commands that set them",
                "权限属于各个登录；用 {flag} 提供该文件即可得到设置它们的命令"
            ),
        };
        self.out
            .leave(&line.place, &line.name, Some(&line.value), why);
    }

    /// Sets a key of which mosquitto, too, takes the last line only.
    fn once(&mut self, key: &str, value: &str, from: Vec<Place>) {
        if let Some(index) = self.out.settings.iter().position(|m| m.key == key) {
            let earlier = self.out.settings.remove(index);
            for place in earlier.from {
                let why = later(&from[0]);
                self.out.leave(&place, key, Some(&earlier.value), why);
            }
        }
        self.out.map(key, value, from);
    }

    fn flag(&mut self, line: &Line, then: impl FnOnce(&mut Reader, bool)) {
        match line.value.as_str() {
            "true" => then(self, true),
            "false" => then(self, false),
            _ => {
                self.out.leave(
                    &line.place,
                    &line.name,
                    Some(&line.value),
                    said!(
                        "neither true nor false, which mosquitto refuses too",
                        "既不是 true 也不是 false，mosquitto 同样会拒绝"
                    ),
                );
            }
        }
    }

    /// A whole number within what Safeport takes, or `None` and an entry in the list.
    fn whole(&mut self, line: &Line, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let why = match line.value.parse::<u64>() {
            Ok(number) if range.contains(&number) => return Some(number),
            Ok(0) => said!(
                "0 means no limit to mosquitto; Safeport always has one, its default or one from {least} to {most}",
                "对 mosquitto 来说 0 表示不限制；Safeport 总有限制：默认值，或 {least} 到 {most} 之间的值",
                least = range.start(),
                most = range.end()
            ),
            Ok(_) => said!(
                "out of the range that Safeport takes, {least} to {most}",
                "超出 Safeport 接受的范围：{least} 到 {most}",
                least = range.start(),
                most = range.end()
            ),
            Err(_) => not_whole(),
        };
        self.out
            .leave(&line.place, &line.name, Some(&line.value), why);
        None
    }

    fn number(&mut self, line: &Line, range: std::ops::RangeInclusive<u64>, key: &str) {
        if let Some(number) = self.whole(line, range) {
            self.once(key, &number.to_string(), vec![line.place.clone()]);
        }
    }

    /// `2m` is two months of 30 days, `1y` a year of 365 (mosquitto's own reckoning).
    fn expiration(&mut self, line: &Line) {
        let days = |count: u64, days: u64| count.checked_mul(days).map(|days| format!("{days}d"));
        let mut chars = line.value.chars();
        let unit = chars.next_back();
        let count = chars.as_str().trim().parse::<u64>().ok();
        let duration = match (count, unit) {
            (Some(count), Some('h')) => Some(format!("{count}h")),
            (Some(count), Some('d')) => days(count, 1),
            (Some(count), Some('w')) => days(count, 7),
            (Some(count), Some('m')) => days(count, 30),
            (Some(count), Some('y')) => days(count, 365),
            _ => None,
        };
        match duration {
            Some(duration) => {
                let value = format!("\"{duration}\"");
                let from = vec![line.place.clone()];
                self.once("limits.session_expiry_max", &value, from);
            }
            None => {
                let why = said!(
                    "no number followed by h, d, w, m (months) or y",
                    "不是数字加 h、d、w、m（月）或 y 的形式"
                );
                let (place, name) = (&line.place, &line.name);
                self.out.leave(place, name, Some(&line.value), why);
            }
        }
    }

    /// What only all lines together say.
    fn finish(&mut self) {
        self.settle_anonymous();
        self.settle_log();
        self.settle_topic_aliases();
        let kinds = std::mem::take(&mut self.listeners).finish(&mut self.out);
        if let Some((place, bytes)) = self.max_packet.take() {
            if kinds.is_empty() {
                let why = said!(
                    "no listener is left that it would be for",
                    "没有剩下可以应用它的监听"
                );
                let bytes = bytes.to_string();
                self.out.leave(&place, "max_packet_size", Some(&bytes), why);
            }
            for kind in kinds {
                let key = format!("{kind}.max_packet");
                self.out.map(&key, bytes.to_string(), vec![place.clone()]);
            }
        }
    }

    fn settle_anonymous(&mut self) {
        let lines = std::mem::take(&mut self.anonymous);
        let Some((_, allowed)) = lines.last().cloned() else {
            return;
        };
        let differ = lines.iter().any(|(_, other)| *other != allowed);
        if allowed && self.ruled || differ && self.per_listener {
            for (place, allowed) in &lines {
                let why = if differ && self.per_listener {
                    said!(
                        "it differs between listeners, which Safeport cannot do; clients without a login stay out until access.anonymous is true",
                        "各监听的设置不同，Safeport 无法做到；在 access.anonymous 设为 true 之前，没有登录的客户端不能进入"
                    )
                } else {
                    said!(
                        "with an acl_file, clients without a login have few rights; access.anonymous would give them all. Give them a login with `user add` and the rights they need",
                        "有 acl_file 时，没有登录的客户端只有少量权限；access.anonymous 会给它们全部权限。请用 `user add` 给它们一个具有所需权限的登录"
                    )
                };
                let value = allowed.to_string();
                self.out.leave(place, "allow_anonymous", Some(&value), why);
            }
            return;
        }
        for (place, allowed) in lines {
            self.once("access.anonymous", &allowed.to_string(), vec![place]);
        }
    }

    /// The most talkative of the types that are on.
    fn settle_log(&mut self) {
        let types = std::mem::take(&mut self.log_types);
        let dests = std::mem::take(&mut self.log_dests);
        let quiet = dests.iter().any(|(_, dest)| dest == "none");
        let mut level: Option<usize> = None;
        let mut from = Vec::new();
        for (place, types) in types {
            let mut known = false;
            for word in types.split_whitespace() {
                let rank = match word {
                    "none" => 0,
                    "error" => 1,
                    "warning" => 2,
                    "notice" | "information" => 3,
                    "debug" | "all" => 4,
                    _ => continue,
                };
                known = true;
                level = level.max(Some(rank));
            }
            if known && !quiet {
                from.push(place);
                continue;
            }
            let why = if quiet {
                said!(
                    "log_dest none switches the log off",
                    "log_dest none 关闭了日志"
                )
            } else {
                said!(
                    "Safeport logs by level; `log.level` also takes parts: `info,safeport::engine=debug`",
                    "Safeport 按级别记录日志；`log.level` 也可按部分设置：`info,safeport::engine=debug`"
                )
            };
            self.out.leave(&place, "log_type", Some(&types), why);
        }
        for (place, dest) in dests {
            if dest == "none" {
                level = Some(0);
                from.push(place);
                continue;
            }
            let why = said!(
                "Safeport writes its log to stderr only; systemd's journal or the container keeps it",
                "Safeport 只把日志写到 stderr，由 systemd 日志或容器保存"
            );
            let left = self.out.leave(&place, "log_dest", Some(&dest), why);
            left.already_so = dest == "stderr";
        }
        if let Some(level) = level {
            let name = ["off", "error", "warn", "info", "debug"][level];
            self.out.map("log.level", format!("\"{name}\""), from);
        }
    }

    fn settle_topic_aliases(&mut self) {
        let lines = std::mem::take(&mut self.topic_aliases);
        let Some(&(_, count)) = lines.first() else {
            return;
        };
        if lines.iter().all(|(_, other)| *other == count) {
            let from = lines.into_iter().map(|(place, _)| place).collect();
            self.out
                .map("limits.topic_alias_maximum", count.to_string(), from);
            return;
        }
        for (place, count) in &lines {
            let why = said!(
                "it differs between listeners; Safeport has one for all: limits.topic_alias_maximum",
                "各监听的值不同；Safeport 对所有监听只有一个：limits.topic_alias_maximum"
            );
            let count = count.to_string();
            self.out.leave(place, "max_topic_alias", Some(&count), why);
        }
    }
}

fn later(place: &Place) -> Said {
    said!(
        "a later line ({place}) says it anew, and mosquitto takes the last",
        "后面的行（{place}）重新设置了它，mosquitto 以最后一次为准"
    )
}

fn not_whole() -> Said {
    said!(
        "not a whole number, which mosquitto refuses too",
        "不是整数，mosquitto 同样会拒绝"
    )
}
