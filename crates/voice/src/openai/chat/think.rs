//! Leaves out what a model thinks aloud.

/// Takes text in pieces and gives on what is not between `<think>` and `</think>`, without the white space behind it.
#[derive(Debug)]
pub(super) struct ThinkFilter {
    inside: bool,
    /// Nothing was said since the beginning, or since the last mark.
    fresh: bool,
    /// What may be the beginning of a mark.
    held: String,
}

impl ThinkFilter {
    pub(super) fn new() -> ThinkFilter {
        ThinkFilter {
            inside: false,
            fresh: true,
            held: String::new(),
        }
    }

    /// Appends what is to be said.
    pub(super) fn feed(&mut self, text: &str, said: &mut String) {
        let mut whole = std::mem::take(&mut self.held);
        whole.push_str(text);
        let mut rest = whole.as_str();
        while let Some((at, mark)) = self.next_mark(rest) {
            self.say(&rest[..at], said);
            self.inside = mark == OPEN;
            self.fresh = true;
            rest = &rest[at + mark.len()..];
        }
        let held = begun(rest);
        self.say(&rest[..rest.len() - held], said);
        self.held = rest[rest.len() - held..].to_string();
    }

    /// Appends what was held back: it has become no mark.
    pub(super) fn finish(&mut self, said: &mut String) {
        let held = std::mem::take(&mut self.held);
        self.say(&held, said);
    }

    /// Whoever thinks may write of the mark that opens. One that closes without another is left out, too: templates
    /// open for the model.
    fn next_mark(&self, text: &str) -> Option<(usize, &'static str)> {
        let close = text.find(CLOSE).map(|at| (at, CLOSE));
        let open = text.find(OPEN).map(|at| (at, OPEN));
        match self.inside {
            true => close,
            false => open.into_iter().chain(close).min(),
        }
    }

    fn say(&mut self, text: &str, said: &mut String) {
        if self.inside {
            return;
        }
        let text = match self.fresh {
            true => text.trim_start(),
            false => text,
        };
        self.fresh &= text.is_empty();
        said.push_str(text);
    }
}

/// How many bytes at the end of a text may be the beginning of a mark.
fn begun(text: &str) -> usize {
    let longest = OPEN.len().max(CLOSE.len()) - 1;
    (1..=longest.min(text.len()))
        .rev()
        .filter(|length| text.is_char_boundary(text.len() - length))
        .find(|length| {
            let end = &text[text.len() - length..];
            [OPEN, CLOSE].iter().any(|mark| mark.starts_with(end))
        })
        .unwrap_or(0)
}

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

#[cfg(test)]
mod tests;
