//! Why a port cannot be had, in the reader's language. The facts are the fields
//! of `safeport-net`'s values; its own `Display` is the English of them.

use safeport_net::BindError;
use safeport_net::holder::Holding;

pub(crate) use crate::holding::holding_text;
use crate::say;
use crate::text::{Language, Texts};

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
