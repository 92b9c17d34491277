//! Users and their rights, from mosquitto's password and ACL files, as logins to add.

use std::sync::Arc;

use safeport_fleet::Grant;

use super::{Beside, Place, said};
use crate::import::{ImportError, Imported, ImportedLogin, Input};

/// A rule for every user, as a `pattern` line has it.
struct Pattern {
    place: Place,
    access: Access,
    filter: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
    Both,
}

/// Reads both files. `ruled` says whether the settings file names an ACL file: users have no
/// rights then but those in it, otherwise every one.
pub(super) fn read(beside: Beside<'_>, ruled: bool, out: &mut Imported) -> Result<(), ImportError> {
    let mut logins: Vec<ImportedLogin> = Vec::new();
    if let Some(passwords) = beside.passwords {
        names(passwords, &mut logins, out)?;
    }
    let mut patterns = Vec::new();
    if let Some(acl) = beside.acl {
        rules(acl, &mut logins, &mut patterns, out)?;
    }
    for pattern in patterns {
        spread(&pattern, &mut logins, out);
    }
    for mut login in logins {
        if login.publish.is_empty() && login.subscribe.is_empty() && (ruled || beside.acl.is_some())
        {
            let why = if beside.acl.is_some() {
                said!(
                    "this user has no rights in the ACL file; `user add` without rights would give it every topic",
                    "该用户在 ACL 文件中没有任何权限；不带权限的 `user add` 会给它所有主题"
                )
            } else {
                said!(
                    "its rights are in the ACL file; hand that over with --acl",
                    "它的权限在 ACL 文件中；请用 --acl 提供该文件"
                )
            };
            out.leave(&login.from[0], "user", Some(&login.name), why);
            continue;
        }
        login.publish.dedup();
        login.subscribe.dedup();
        out.logins.push(login);
    }
    Ok(())
}

/// The names in a password file. Lines are `name:hash`; the hash is looked at by nobody.
fn names(
    input: Input<'_>,
    logins: &mut Vec<ImportedLogin>,
    out: &mut Imported,
) -> Result<(), ImportError> {
    for (place, line) in lines(input)? {
        match line.split_once(':') {
            Some((name, _)) if !name.is_empty() => {
                login(name, &place, logins);
            }
            _ => {
                let why = said!("no NAME:HASH", "不是 NAME:HASH 的形式");
                out.leave(&place, "password_file", None, why);
            }
        }
    }
    Ok(())
}

fn rules(
    input: Input<'_>,
    logins: &mut Vec<ImportedLogin>,
    patterns: &mut Vec<Pattern>,
    out: &mut Imported,
) -> Result<(), ImportError> {
    let mut current: Option<usize> = None;
    for (place, line) in lines(input)? {
        let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let rest = rest.trim();
        if word == "user" && !rest.is_empty() {
            current = Some(login(rest, &place, logins));
            continue;
        }
        let (access, filter) = match rest.split_once([' ', '\t']) {
            Some(("read", filter)) => (Some(Access::Read), filter.trim()),
            Some(("write", filter)) => (Some(Access::Write), filter.trim()),
            Some(("readwrite", filter)) => (Some(Access::Both), filter.trim()),
            Some(("deny", filter)) => (None, filter.trim()),
            _ => (Some(Access::Both), rest),
        };
        if !["topic", "pattern"].contains(&word) || filter.is_empty() {
            let why = said!(
                "no `user NAME`, `topic [read|write|readwrite|deny] FILTER` or `pattern …`",
                "不是 `user NAME`、`topic [read|write|readwrite|deny] FILTER` 或 `pattern …`"
            );
            out.leave(&place, word, Some(rest), why);
            continue;
        }
        match (word, access, current) {
            (_, None, index) => {
                if let (Some(index), "topic") = (index, word) {
                    widen(&mut logins[index], &place);
                }
                let why = said!(
                    "rights of a login only allow; name the topics that remain instead",
                    "登录的权限只能允许；请改为列出其余的主题"
                );
                out.leave(&place, word, Some(rest), why);
            }
            ("pattern", Some(access), _) => patterns.push(Pattern {
                place,
                access,
                filter: filter.to_owned(),
            }),
            (_, Some(_), None) => {
                let why = said!(
                    "it is for clients without a login; give them one with `user add` and these rights",
                    "它针对没有登录的客户端；请用 `user add` 给它们一个具有这些权限的登录"
                );
                out.leave(&place, word, Some(rest), why);
            }
            (_, Some(access), Some(index)) => {
                grant(&mut logins[index], access, filter, &place, word, out);
            }
        }
    }
    Ok(())
}

/// A `pattern` for all users whose names are known. `%c`, the client identifier, is nothing that a
/// right of ours depends on.
fn spread(pattern: &Pattern, logins: &mut [ImportedLogin], out: &mut Imported) {
    if pattern.filter.contains("%c") {
        let why = said!(
            "rights belong to logins, not to client identifiers (%c); give each device a login with `device add`",
            "权限属于登录，而不是客户端标识符（%c）；请用 `device add` 给每个设备一个登录"
        );
        out.leave(&pattern.place, "pattern", Some(&pattern.filter), why);
        return;
    }
    if logins.is_empty() {
        let why = said!(
            "it holds for every user, but no user is known; hand the password file over with --passwords",
            "它对所有用户有效，但还不知道有哪些用户；请用 --passwords 提供密码文件"
        );
        out.leave(&pattern.place, "pattern", Some(&pattern.filter), why);
        return;
    }
    for login in logins {
        // mosquitto, too, refuses such names here: they would reach into others' topics.
        if pattern.filter.contains("%u") && login.name.contains(['+', '#', '/']) {
            let why = said!(
                "the name of user {name} would change the filter",
                "用户 {name} 的名称会改变该过滤器",
                name = login.name
            );
            out.leave(&pattern.place, "pattern", Some(&pattern.filter), why);
            continue;
        }
        let filter = pattern.filter.replace("%u", &login.name);
        let access = pattern.access;
        grant(login, access, &filter, &pattern.place, "pattern", out);
    }
}

fn grant(
    login: &mut ImportedLogin,
    access: Access,
    filter: &str,
    place: &Place,
    word: &str,
    out: &mut Imported,
) {
    let asked = Grant {
        publish: vec![filter.to_owned()],
        subscribe: vec![filter.to_owned()],
    };
    if let Err(error) = asked.check() {
        let why = said!("no topic filter: {error}", "不是主题过滤器：{error}");
        out.leave(place, word, Some(filter), why);
        return;
    }
    if access != Access::Read {
        login.publish.push(filter.to_owned());
    }
    if access != Access::Write {
        login.subscribe.push(filter.to_owned());
    }
    if !login.from.contains(place) {
        login.from.push(place.clone());
    }
}

fn widen(login: &mut ImportedLogin, place: &Place) {
    login.remark = Some(said!(
        "more than it had: {place} denied some of it",
        "比原来多：{place} 拒绝了其中一部分"
    ));
}

fn login(name: &str, place: &Place, logins: &mut Vec<ImportedLogin>) -> usize {
    if let Some(index) = logins.iter().position(|login| login.name == name) {
        return index;
    }
    logins.push(ImportedLogin {
        name: name.to_owned(),
        publish: Vec::new(),
        subscribe: Vec::new(),
        from: vec![place.clone()],
        remark: None,
    });
    logins.len() - 1
}

/// The lines that say something, each with its place.
fn lines(input: Input<'_>) -> Result<Vec<(Place, &str)>, ImportError> {
    input.check_length()?;
    let file = input.file();
    let text = input.text.strip_prefix('\u{feff}').unwrap_or(input.text);
    let place = |index: usize| Place {
        file: Arc::clone(&file),
        line: index + 1,
    };
    Ok(text
        .lines()
        .enumerate()
        .map(|(index, line)| (place(index), line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .collect())
}
