//! What single characters are, and which words end with a dot.

/// How much of the length of a sentence it takes: one of Chinese says as much as three letters.
pub(super) fn weight(c: char) -> usize {
    match is_wide(c) {
        true => 3,
        false => 1,
    }
}

/// Whether it is of a script that is written without spaces, or its punctuation.
pub(super) fn is_wide(c: char) -> bool {
    matches!(
        u32::from(c),
        0x1100..=0x115f
            | 0x2e80..=0xa4cf
            | 0xac00..=0xd7a3
            | 0xf900..=0xfaff
            | 0xfe30..=0xfe4f
            | 0xff00..=0xff60
            | 0xffe0..=0xffe6
            | 0x20000..=0x3fffd
    )
}

/// Whether it is a picture, or part of one: shown and not spoken.
pub(super) fn is_emoji(c: char) -> bool {
    matches!(
        u32::from(c),
        0x1f000..=0x1faff
            | 0x2600..=0x27bf
            | 0x2300..=0x23ff
            | 0x2b00..=0x2bff
            | 0xe0020..=0xe007f
            | 0x303d
            | 0xfe0e
            | 0xfe0f
            | 0x200d
            | 0x20e3
    )
}

/// Whether it belongs to the character before it.
pub(super) fn is_extending(c: char) -> bool {
    matches!(
        u32::from(c),
        0x300..=0x36f | 0x200d | 0x20e3 | 0xfe00..=0xfe0f | 0x1f3fb..=0x1f3ff | 0xe0020..=0xe007f
    )
}

/// Whether it ends a sentence whatever follows.
pub(super) fn is_strong_stop(c: char) -> bool {
    matches!(c, '。' | '！' | '？' | '；' | '｡')
}

/// Whether it closes a quote or bracket of the text before it.
pub(super) fn closes(c: char, before: &[char]) -> bool {
    match c {
        '”' | '’' | '」' | '』' | '】' | '）' | '〉' | '》' | '〕' | '»' | ')' | ']' | '}'
        | '\'' => true,
        '"' => before.iter().filter(|c| **c == '"').count() % 2 == 1,
        _ => false,
    }
}

/// Whether a dot behind this text is part of its last word: an abbreviation, initials, the number of an item.
pub(super) fn stands_for_a_word(before: &[char], next: Option<&char>) -> bool {
    if next.is_none_or(|next| *next == '\n') {
        return false;
    }
    let is_part = |c: &&char| c.is_alphanumeric() || **c == '.';
    let length = before.iter().rev().take_while(is_part).count();
    let word: String = before[before.len() - length..].iter().collect();
    if word.is_empty() {
        return false;
    }
    if word.chars().all(|c| c.is_ascii_digit()) {
        return word.len() <= 2;
    }
    let mut parts = word.split('.');
    if parts.all(|part| part.chars().count() == 1) {
        return word != "I" && word.chars().all(|c| !is_wide(c));
    }
    let word = word.to_lowercase();
    ABBREVIATIONS.contains(&word.as_str())
}

/// With a dot at their end, which ends no sentence. Words that are sentences by themselves (“No.”) are not among them.
const ABBREVIATIONS: &[&str] = &[
    "mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "approx", "dept", "fig", "gov", "inc",
    "ltd", "mt", "sgt", "capt", "vol", "ca", "bzw", "evtl", "ggf", "inkl", "nr", "sog", "tel",
    "usw", "vgl", "zzgl", "mme", "mlle", "sra", "srta",
];
