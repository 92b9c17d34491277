//! Who holds a port, and why it cannot be had, in the reader's language. The facts are the fields
//! of `safeport-net`'s values; its own `Display` is the English of them.

use safeport_net::BindError;
use safeport_net::holder::{Holder, Holding};

use crate::say;
use crate::text::{Language, Texts};

/// Who holds a port, as a noun phrase.
pub(crate) fn holding_text(texts: &Texts, holding: &Holding) -> String {
    if texts.language() == Language::English {
        return holding.to_string();
    }
    match holding {
        Holding::ThisProcess => say!(texts, "holding-this-process"),
        Holding::Program(holder) => holder_text(texts, holder),
        Holding::OtherUser { user } => say!(texts, "holding-other-user", user = user),
        Holding::OutsideOurProcesses { user } => say!(texts, "holding-outside", user = user),
        Holding::Connection { remote, holder, .. } => match holder {
            Some(holder) => say!(
                texts,
                "holding-connection-of",
                remote = remote,
                holder = holder_text(texts, holder)
            ),
            None => say!(texts, "holding-connection", remote = remote),
        },
        Holding::OutOfSight { in_container: true } => say!(texts, "holding-out-of-container"),
        Holding::OutOfSight {
            in_container: false,
        } => say!(texts, "holding-out-of-sight"),
    }
}

fn holder_text(texts: &Texts, holder: &Holder) -> String {
    let program = holder.program.as_deref().unwrap_or("?");
    let mut parts = vec![say!(
        texts,
        "holder-process",
        pid = holder.pid,
        user = holder.user
    )];
    parts.extend(holder.unit.clone());
    if let Some(container) = &holder.container {
        parts.push(say!(
            texts,
            "holder-container",
            runtime = container.runtime,
            id = container.id
        ));
    }
    if let Some(target) = &holder.forwards_to {
        parts.push(say!(texts, "holder-forwards", target = target));
    }
    format!("{program}（{}）", parts.join("，"))
}

/// Why an address could not be bound, and the way out.
pub(super) fn bind_error(texts: &Texts, error: &BindError) -> String {
    let command = match error {
        BindError::Taken {
            holding: Holding::Program(holder),
            ..
        } => holder.command_line.as_deref(),
        _ => None,
    };
    let mut text = if texts.language() == Language::English {
        error.to_string()
    } else {
        in_chinese(texts, error)
    };
    if let Some(command) = command {
        text.push('\n');
        text.push_str(&say!(texts, "holder-command", command = command));
    }
    text
}

fn in_chinese(texts: &Texts, error: &BindError) -> String {
    match error {
        BindError::Taken {
            key,
            address,
            holding,
            free,
        } => {
            let mut text = say!(
                texts,
                "bind-taken",
                port = address.port(),
                key = key,
                address = address,
                holder = holding_text(texts, holding)
            );
            if let Holding::Program(holder) = holding
                && let Some(command) = holder.command_to_stop(address.port())
            {
                text.push_str(&say!(texts, "bind-taken-stop", command = command));
            }
            if let Some(free) = free {
                text.push_str(&say!(texts, "bind-taken-free", free = free));
            }
            text
        }
        BindError::RangeTaken {
            key,
            ip,
            first,
            last,
            tried,
        } => {
            let tried: Vec<String> = tried
                .iter()
                .map(|(port, holding)| match holding {
                    Some(holding) => format!("{port}：{}", holding_text(texts, holding)),
                    None => format!("{port}：{}", say!(texts, "bind-not-allowed")),
                })
                .collect();
            say!(
                texts,
                "bind-range-taken",
                key = key,
                ip = ip,
                first = first,
                last = last,
                tried = tried.join("；")
            )
        }
        BindError::Privileged { key, address } => {
            say!(texts, "bind-privileged", key = key, port = address.port())
        }
        BindError::NotAvailable { key, address, .. } => say!(
            texts,
            "bind-not-available",
            key = key,
            ip = address.ip(),
            port = address.port()
        ),
        BindError::Other {
            key,
            address,
            source,
        } => say!(
            texts,
            "bind-other",
            key = key,
            address = address,
            error = source
        ),
    }
}
