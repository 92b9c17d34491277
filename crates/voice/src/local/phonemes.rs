//! Text to what Piper's voices read: IPA as espeak-ng writes it, and punctuation.
//!
//! espeak-ng is under the GPL and runs as a program of its own; it is not linked. It writes a line for each clause and
//! leaves out what ends it, which the voices want to see: it makes the melody.

/// The clauses of a text, one a line, and the mark that ends each.
pub(super) fn clauses(text: &str) -> Vec<(String, char)> {
    let mut clauses = Vec::new();
    let mut clause = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let ends = match mark(character) {
            // Not in 10.5, 12:30 and 1,000.
            Some(mark) if character.is_ascii() => match characters.peek() {
                Some(next) if !next.is_whitespace() => None,
                _ => Some(mark),
            },
            mark => mark,
        };
        match ends {
            None => clause.push(if character.is_whitespace() {
                ' '
            } else {
                character
            }),
            Some(mark) => take(&mut clauses, &mut clause, mark),
        }
    }
    take(&mut clauses, &mut clause, '.');
    clauses
}

fn take(clauses: &mut Vec<(String, char)>, clause: &mut String, mark: char) {
    let words = std::mem::take(clause);
    if words.chars().any(char::is_alphanumeric) {
        clauses.push((words.trim().to_owned(), mark));
    }
}

fn mark(character: char) -> Option<char> {
    match character {
        '.' | '。' | '…' => Some('.'),
        ',' | '，' | '、' => Some(','),
        '!' | '！' => Some('!'),
        '?' | '？' => Some('?'),
        ';' | '；' => Some(';'),
        ':' | '：' => Some(':'),
        _ => None,
    }
}

/// What a voice reads, one sentence, from the lines that espeak-ng made of the clauses.
pub(super) fn codepoints(clauses: &[(String, char)], ipa: &str) -> Vec<i32> {
    let lines: Vec<String> = ipa
        .lines()
        .map(without_flags)
        .filter(|line| !line.is_empty())
        .collect();
    let mut read = String::new();
    if lines.len() == clauses.len() {
        for (line, (_, mark)) in lines.iter().zip(clauses) {
            if !read.is_empty() {
                read.push(' ');
            }
            read.push_str(line);
            read.push(*mark);
        }
    } else {
        // It saw other clauses than we did: the last mark is certain.
        read = lines.join(" ");
        read.extend(clauses.last().map(|(_, mark)| *mark));
    }
    let mut codepoints = Vec::new();
    for character in read.chars() {
        match taken_apart(character) {
            Some((letter, above)) => codepoints.extend([letter as i32, above as i32]),
            None => codepoints.push(character as i32),
        }
    }
    codepoints
}

/// A word of another language stands between `(en)` and `(de)`.
fn without_flags(line: &str) -> String {
    let mut kept = String::new();
    let mut rest = line;
    while let Some((before, behind)) = rest.split_once('(') {
        kept.push_str(before);
        rest = behind.split_once(')').map_or("", |(_, behind)| behind);
    }
    kept.push_str(rest);
    kept.trim().to_owned()
}

/// Voices know letters and what stands above or below them as two.
fn taken_apart(character: char) -> Option<(char, char)> {
    Some(match character {
        'ç' => ('c', '\u{327}'),
        'ã' => ('a', '\u{303}'),
        'ẽ' => ('e', '\u{303}'),
        'ĩ' => ('i', '\u{303}'),
        'õ' => ('o', '\u{303}'),
        'ũ' => ('u', '\u{303}'),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
