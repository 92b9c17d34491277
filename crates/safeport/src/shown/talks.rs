//! What a device and its agent said to each other, as `device talks`, `device show` and the API show it.

use safeport_store::{Recording, TalkRow, Track};
use serde_json::{Value, json};

use crate::say;
use crate::text::Texts;
use crate::time::stamp;

/// One turn.
pub fn row_json(row: &TalkRow) -> Value {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    json!({
        "id": row.id,
        "at": row.at,
        "until": row.until,
        "conversation": row.conversation,
        "agent": row.agent,
        "heard": row.heard,
        "said": row.said,
        "failure": some(&row.failure),
        "interrupted": row.interrupted,
        "transcript_ms": row.transcript_ms,
        "first_token_ms": row.token_ms,
        "first_audio_ms": row.audio_ms,
        "sound": row.sound.as_ref().map(sound_json),
    })
}

fn sound_json(sound: &Recording) -> Value {
    let track =
        |track: Option<Track>| track.map(|track| json!({"bytes": track.bytes, "ms": track.ms}));
    json!({"until": sound.until, "heard": track(sound.heard), "said": track(sound.said)})
}

/// Turns as a person reads them, the oldest first.
pub fn text(newest_first: &[Value], texts: &Texts) -> String {
    let mut lines = Vec::new();
    for talk in newest_first.iter().rev() {
        let word = |name: &str| talk[name].as_str().unwrap_or_default().to_owned();
        let at = stamp(talk["at"].as_u64().unwrap_or_default());
        lines.push(format!("{at}  {}", word("agent")));
        for (mark, name) in [("<", "heard"), (">", "said"), ("!", "failure")] {
            for line in word(name).lines() {
                lines.push(format!("  {mark} {line}"));
            }
        }
        if let Some(stages) = stages(talk, texts) {
            lines.push(format!("  {stages}"));
        }
        if let Some(sound) = sound(talk, texts) {
            lines.push(format!("  {sound}"));
        }
    }
    lines.join("\n")
}

/// Which sound is kept of a turn, and how long; `None` where there is none.
fn sound(talk: &Value, texts: &Texts) -> Option<String> {
    let seconds = |side: &str| {
        let ms = talk["sound"][side]["ms"].as_u64()?;
        Some(format!("{}.{}", ms / 1000, ms % 1000 / 100))
    };
    let heard = seconds("heard").map(|seconds| say!(texts, "talk-sound-heard", seconds = seconds));
    let said = seconds("said").map(|seconds| say!(texts, "talk-sound-said", seconds = seconds));
    let sides: Vec<String> = heard.into_iter().chain(said).collect();
    if sides.is_empty() {
        return None;
    }
    let (sides, number) = (sides.join(", "), talk["id"].as_u64().unwrap_or_default());
    Some(say!(texts, "talk-sound", number = number, sides = sides))
}

/// How long each stage took; `None` where nothing was timed.
pub fn stages(talk: &Value, texts: &Texts) -> Option<String> {
    let stages: Vec<String> = [
        ("transcript_ms", "talk-transcript"),
        ("first_token_ms", "talk-token"),
        ("first_audio_ms", "talk-audio"),
    ]
    .into_iter()
    .filter_map(|(name, text)| {
        let ms = talk[name].as_u64()?;
        Some(match text {
            "talk-transcript" => say!(texts, "talk-transcript", ms = ms),
            "talk-token" => say!(texts, "talk-token", ms = ms),
            _ => say!(texts, "talk-audio", ms = ms),
        })
    })
    .collect();
    (!stages.is_empty()).then(|| stages.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Language;

    #[test]
    fn talks_are_read_from_the_oldest_on_with_how_long_each_stage_took() {
        let texts = Texts::new(Language::English);
        let row = |id: u64, heard: &str| {
            row_json(&TalkRow {
                id,
                at: id,
                agent: "kitchen".to_owned(),
                heard: heard.to_owned(),
                said: "A.\nB.".to_owned(),
                transcript_ms: Some(120),
                audio_ms: Some(800),
                ..TalkRow::default()
            })
        };
        let with_sound = |mut row: Value| {
            row["sound"] = json!({"heard": {"ms": 2_340}, "said": null});
            row
        };
        let shown = text(&[row(2, "second"), with_sound(row(1, "first"))], &texts);
        assert!(shown.find("first") < shown.find("second"), "{shown}");
        assert!(shown.contains("  > A.\n  > B.\n"), "{shown}");
        assert!(shown.contains("120") && shown.contains("800"), "{shown}");
        assert_eq!(stages(&json!({}), &texts), None);
        assert_eq!(shown.matches("sound of turn").count(), 1, "{shown}");
        assert!(shown.contains("2.3 s heard"), "{shown}");
    }
}
