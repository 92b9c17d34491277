//! What a TCP conversation shows before anybody says anything, and what gets lost in it.

use alloc::format;
use core::time::Duration;

use super::conversation::{Conversation, Ending, Side};
use super::seen::Seen;
use super::stream::Sent;
use crate::{Cause, Layer, Strength};

/// Whether the connection came about. If not, why.
pub(super) fn opening(it: &Conversation, seen: &mut Seen<'_>) -> bool {
    let Some(asked) = it.asked else {
        // The capture began later.
        return true;
    };
    let times = it.asked_times;
    let Some(accepted) = it.accepted else {
        if let Some(reset) = it.down.rst {
            let en = "SYN, answered with a reset: nothing listens there";
            seen.clue(
                Cause::NothingListens,
                Strength::Proof,
                reset,
                en.into(),
                "SYN，对方回应 RST：该端口没有程序监听".into(),
            );
            return false;
        }
        let waited = match it.up.ended() {
            Some(end) => end.after(asked),
            None => seen.until.saturating_sub(asked.at),
        };
        if times > 1 || waited >= ANSWER {
            let waited = waited.as_millis();
            seen.clue(
                Cause::TcpTimeout,
                Strength::Proof,
                asked,
                format!("SYN, sent {times} ×, never answered in {waited} ms"),
                format!("SYN 发送了 {times} 次，{waited} 毫秒内没有任何应答"),
            );
        }
        return false;
    };
    let answered = accepted.after(asked);
    seen.fact("rtt_ms", format!("{}", answered.as_millis()));
    let gave_up = it
        .up
        .rst
        .filter(|rst| !it.confirmed && it.up.stream.is_empty() && rst.after(accepted) < ANSWER);
    if let Some(gave_up) = gave_up {
        let (rtt, waited) = (answered.as_millis(), gave_up.after(asked).as_millis());
        seen.fact("timeout_ms", format!("{waited}"));
        seen.clue(
            Cause::TimeoutTooShort,
            Strength::Proof,
            gave_up,
            format!(
                "SYN, answered after {rtt} ms, and the device had given up by then: it resets the connection"
            ),
            format!("SYN 在 {rtt} 毫秒后得到应答，但设备此时已经放弃，回应了 RST"),
        );
        return false;
    }
    let rtt = answered.as_millis();
    seen.passed(
        Layer::Tcp,
        accepted,
        format!("the connection is accepted after {rtt} ms"),
        format!("连接在 {rtt} 毫秒后被接受"),
    );
    true
}

/// The server resets or stays silent before it has said a byte. True: that is all there is to say.
pub(super) fn before_a_word(it: &Conversation, seen: &mut Seen<'_>) -> bool {
    if !it.down.stream.is_empty() || it.accepted.is_none() {
        return false;
    }
    if let Ending::Reset(reset) = it.ending(seen.until) {
        // What the server had acknowledged it has read, or could have.
        if it.down.acknowledged == 0 {
            seen.clue(
                Cause::ResetOnAccept,
                Strength::Proof,
                reset,
                "accepted, and reset at once before a byte was read".into(),
                "连接刚被接受就被重置，一个字节都没有读".into(),
            );
            return true;
        }
    }
    false
}

/// Large segments that never arrive while small ones do.
pub(super) fn lost_on_the_way(it: &Conversation, seen: &mut Seen<'_>) {
    let settled = match it.ending(seen.until) {
        Ending::Open(quiet) => quiet >= ANSWER,
        _ => true,
    };
    if it.accepted.is_none() {
        return;
    }
    for (sender, receiver, whose, whose_zh) in [
        (&it.down, &it.up, "of the server", "服务器"),
        (&it.up, &it.down, "of the device", "设备"),
    ] {
        if let Some((lost, times)) = black_hole(sender, receiver) {
            let length = lost.length;
            seen.clue(
                Cause::MtuBlackHole,
                Strength::Proof,
                lost.last,
                format!(
                    "a segment {whose} with {length} bytes is sent {times} × and never acknowledged, while shorter ones are"
                ),
                format!("{whose_zh}的一个 {length} 字节的段发送了 {times} 次都没有被确认，而较短的段有确认"),
            );
            return;
        }
        let missing = sender.stream.gap().filter(|_| settled && !seen.cut);
        let missing = missing
            .filter(|(from, to)| (to - from) as usize >= LARGE && receiver.acknowledged <= *from);
        if let (Some((from, to)), Some(last)) = (missing, sender.stream.last) {
            seen.clue(
                Cause::MtuBlackHole,
                Strength::Specific,
                last,
                format!(
                    "bytes {from} to {to} {whose} never come, while a shorter segment behind them does"
                ),
                format!("{whose_zh}的第 {from} 到 {to} 字节一直没有到达，而其后较短的段到达了"),
            );
            return;
        }
    }
}

/// The first large segment that was sent again and again and never acknowledged. None when the other
/// end does not acknowledge small ones either.
fn black_hole(sender: &Side, receiver: &Side) -> Option<(Sent, u32)> {
    let (at, lost) = sender.stream.sent().find(|(at, sent)| {
        at + sent.length > receiver.acknowledged && sent.length as usize >= LARGE
    })?;
    // Retransmissions may be cut in another way: what overlaps counts.
    let again = sender.stream.sent().filter(|(other, sent)| {
        *other >= at && *other < at + lost.length && sent.length as usize >= LARGE
    });
    let times: u32 = again.map(|(_, sent)| sent.times).sum();
    let lives = receiver.acknowledged >= at && (at > 0 || !receiver.stream.is_empty());
    (times >= 3 && lives).then_some((lost, times))
}

/// A server that has not answered by then does not.
pub(super) const ANSWER: Duration = Duration::from_secs(3);

/// From this length on a segment is one that small links and tunnels do not carry.
const LARGE: usize = 500;
