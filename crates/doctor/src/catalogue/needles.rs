//! Literals that a line must contain for a pattern to match.
//!
//! Compiling a few hundred patterns takes longer than reading a log. With these, a pattern is
//! compiled and run only for lines that hold all of its words.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};

/// What a line must contain: of each clause at least one literal. All in lower case.
pub(super) struct Needles {
    clauses: Vec<Vec<String>>,
    /// The clause with the longest literals, which finds the fewest lines.
    anchor: usize,
}

impl Needles {
    /// The literals of a pattern, or nothing when it has none that are long enough to look for.
    pub(super) fn of(pattern: &str) -> Option<Needles> {
        let hir = ParserBuilder::new()
            .unicode(false)
            .utf8(false)
            .build()
            .parse(pattern)
            .ok()?;
        let clauses = clauses(&hir);
        let anchor = (0..clauses.len()).max_by_key(|&index| shortest(&clauses[index]))?;
        (shortest(&clauses[anchor]) >= SHORTEST).then_some(Needles { clauses, anchor })
    }

    /// The literals to look for first.
    pub(super) fn anchor(&self) -> &[String] {
        &self.clauses[self.anchor]
    }

    /// Whether a line in lower case has something of every clause.
    pub(super) fn all_in(&self, lowered: &str) -> bool {
        self.clauses
            .iter()
            .all(|clause| clause.iter().any(|literal| lowered.contains(&literal[..])))
    }
}

/// One character occurs in every line.
const SHORTEST: usize = 2;

fn shortest(clause: &[String]) -> usize {
    clause.iter().map(String::len).min().unwrap_or(0)
}

fn clauses(hir: &Hir) -> Vec<Vec<String>> {
    match hir.kind() {
        HirKind::Literal(_) | HirKind::Class(_) => {
            run_of(hir).map(|text| vec![vec![text]]).unwrap_or_default()
        }
        HirKind::Capture(capture) => clauses(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => clauses(&repetition.sub),
        HirKind::Repetition(_) | HirKind::Look(_) | HirKind::Empty => Vec::new(),
        HirKind::Concat(parts) => of_concat(parts),
        HirKind::Alternation(branches) => of_alternation(branches),
    }
}

/// Neighbouring letters make one literal, also where upper and lower case make them classes.
fn of_concat(parts: &[Hir]) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    let mut run = String::new();
    for part in parts {
        match (run_of(part), part.kind()) {
            (Some(text), _) => run.push_str(&text),
            (None, HirKind::Look(_)) => {}
            (None, _) => {
                if !run.is_empty() {
                    all.push(vec![core::mem::take(&mut run)]);
                }
                all.extend(clauses(part));
            }
        }
    }
    if !run.is_empty() {
        all.push(vec![run]);
    }
    all
}

/// One clause that holds whichever branch matches: the best of each.
fn of_alternation(branches: &[Hir]) -> Vec<Vec<String>> {
    let mut union = Vec::new();
    for branch in branches {
        let best = clauses(branch)
            .into_iter()
            .max_by_key(|clause| shortest(clause));
        match best {
            Some(clause) => union.extend(clause),
            None => return Vec::new(),
        }
    }
    vec![union]
}

/// The text that this part stands for, in lower case, if it stands for one.
fn run_of(hir: &Hir) -> Option<String> {
    match hir.kind() {
        HirKind::Literal(literal) => {
            let text = core::str::from_utf8(&literal.0).ok()?;
            Some(text.to_ascii_lowercase())
        }
        HirKind::Class(Class::Bytes(class)) => {
            // A letter in either case.
            let mut letter = None;
            for range in class.ranges() {
                let lowered = range.start().to_ascii_lowercase();
                if range.start() != range.end() || letter.is_some_and(|other| other != lowered) {
                    return None;
                }
                letter = Some(lowered);
            }
            letter
                .filter(u8::is_ascii)
                .map(|letter| String::from(letter as char))
        }
        _ => None,
    }
}
