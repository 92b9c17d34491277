//! Who holds a port, in the reader's language. The facts are the fields of `safeport-net`'s
//! values; its own `Display` is the English of them.

use safeport_net::holder::{Holder, Holding};

use crate::say;
use crate::text::{Language, Texts};

/// Who holds a port, as a noun phrase.
pub fn holding_text(texts: &Texts, holding: &Holding) -> String {
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
