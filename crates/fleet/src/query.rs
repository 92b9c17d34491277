//! The one small language in which people, programs and the command line say which devices they
//! mean: `family==tasmota;version=lt=15.0;tag=in=(kitchen,hall)`.
//!
//! `;` or ` and ` joins what must hold together, `,` or ` or ` what may hold instead, and binds
//! less; parentheses group. A comparison is FIELD OPERATOR VALUE with the operators of RSQL:
//! `==` `!=` `=lt=` `=le=` `=gt=` `=ge=` `=in=(…)` `=out=(…)`, and `<` `<=` `>` `>=` for those who
//! like them better. With `==` and `!=`, `*` stands for any text. Values with blanks or signs go
//! into quotes. Case does not matter, except inside tags and names, which have none.
//!
//! What is not known of a device equals nothing and is neither smaller nor larger: only `!=` and
//! `=out=` hold for it.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;

use crate::limits::{MAX_QUERY, MAX_QUERY_DEPTH, MAX_QUERY_TERMS};

/// What can be asked of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// `name`: its enrolled name.
    Name,
    /// `id`: `dev_…`.
    Id,
    /// `family`: tasmota, espeasy, esphome, xiaozhi, plain.
    Family,
    /// `chip`: esp32, esp32c3, esp8266 and so on.
    Chip,
    /// `board`: what it calls its hardware.
    Board,
    /// `version`: of its main image.
    Version,
    /// `safeboot`: version of its safeboot image.
    Safeboot,
    /// `layout`: dual, safeboot, single.
    Layout,
    /// `topic`.
    Topic,
    /// `mac`, in any spelling.
    Mac,
    /// `online`: true or false.
    Online,
    /// `enrolled`: whether it has a login here.
    Enrolled,
    /// `tag`: any of its tags, or `tag.room`: what follows `room=` in one of them.
    Tag(Option<String>),
    /// `seen`: seconds since it was last seen.
    Seen,
}

/// The words of fields, as they are written.
const FIELDS: [(&str, Field); 14] = [
    ("name", Field::Name),
    ("id", Field::Id),
    ("family", Field::Family),
    ("chip", Field::Chip),
    ("board", Field::Board),
    ("version", Field::Version),
    ("safeboot", Field::Safeboot),
    ("layout", Field::Layout),
    ("topic", Field::Topic),
    ("mac", Field::Mac),
    ("online", Field::Online),
    ("enrolled", Field::Enrolled),
    ("tag", Field::Tag(None)),
    ("seen", Field::Seen),
];

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `==` and `=in=`: one of the values is one of the device's.
    Is,
    /// `!=` and `=out=`: none is.
    IsNot,
    /// `=lt=`, `<`.
    Less,
    /// `=le=`, `<=`.
    AtMost,
    /// `=gt=`, `>`.
    More,
    /// `=ge=`, `>=`.
    AtLeast,
}

/// A question that a device meets or does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Where(Term);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    All(Vec<Term>),
    Any(Vec<Term>),
    Compare {
        field: Field,
        operator: Operator,
        values: Vec<String>,
    },
}

/// What is asked; whoever knows devices implements it.
pub trait Subject {
    /// Hands out every value that the device has in `field`, none if nothing is known. Truths are
    /// `true` and `false`, numbers decimal.
    fn values(&self, field: &Field, each: &mut dyn FnMut(&str));

    /// Compares two versions as this device's firmware means them; `None` if they cannot be.
    fn compare_versions(&self, one: &str, other: &str) -> Option<Ordering> {
        Some(natural(one, other))
    }
}

/// Where and why a question could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryError {
    /// Characters before the place, from 0.
    pub at: usize,
    /// What is wrong there.
    pub wrong: Wrong,
}

/// What is wrong with a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// Longer than [`MAX_QUERY`].
    TooLong,
    /// More comparisons than [`MAX_QUERY_TERMS`], or parentheses deeper than [`MAX_QUERY_DEPTH`].
    TooMuch,
    /// Nothing stands where a comparison should.
    NothingHere,
    /// A word that is no field.
    NoField(String),
    /// No operator behind a field.
    NoOperator(String),
    /// No value behind an operator.
    NoValue,
    /// A quote or a parenthesis that is not closed.
    NotClosed(char),
    /// Something behind the end.
    Rest(String),
    /// A field that has no order, compared by it.
    NoOrder(&'static str),
    /// A field of yes or no with another value.
    NoTruth(String),
}

impl Where {
    /// Reads a question.
    ///
    /// # Errors
    /// The first place that cannot be read, by its character.
    pub fn parse(text: &str) -> Result<Where, QueryError> {
        let characters: Vec<char> = text.chars().collect();
        if characters.len() > MAX_QUERY {
            return Err(QueryError {
                at: MAX_QUERY,
                wrong: Wrong::TooLong,
            });
        }
        let mut reader = Reader {
            text: &characters,
            at: 0,
            terms: 0,
            depth: 0,
        };
        let term = reader.any()?;
        reader.blanks();
        match reader.at == characters.len() {
            true => Ok(Where(term)),
            false => {
                let rest = characters[reader.at..].iter().take(20).collect();
                Err(reader.wrong(reader.at, Wrong::Rest(rest)))
            }
        }
    }

    /// Whether a device meets it.
    pub fn matches(&self, subject: &dyn Subject) -> bool {
        self.0.matches(subject)
    }

    /// What can be said of it from those fields of a device alone that `knows` names; `None` if that
    /// depends on others.
    pub fn foretell(&self, subject: &dyn Subject, knows: &dyn Fn(&Field) -> bool) -> Option<bool> {
        self.0.foretell(subject, knows)
    }

    /// What every device that meets it must have, as far as that is one value of one field: for
    /// whoever has an index. In a value, `*` stands for any text. The question is to be asked all
    /// the same.
    pub fn must_be(&self) -> impl Iterator<Item = (&Field, &str)> + Clone {
        let terms = match &self.0 {
            Term::All(terms) => terms.as_slice(),
            one => core::slice::from_ref(one),
        };
        terms.iter().filter_map(|term| match term {
            Term::Compare {
                field,
                operator: Operator::Is,
                values,
            } => match values.as_slice() {
                [value] => Some((field, value.as_str())),
                _ => None,
            },
            _ => None,
        })
    }

    /// Between which numbers, these included, the value of `field` lies for every device that meets
    /// it, as far as it compares that with whole numbers: for whoever has an index. The first is
    /// greater where nobody can meet it.
    pub fn must_be_within(&self, field: &Field) -> (u64, u64) {
        let terms = match &self.0 {
            Term::All(terms) => terms.as_slice(),
            one => core::slice::from_ref(one),
        };
        let mut within = (0, u64::MAX);
        for term in terms {
            let Term::Compare {
                field: of,
                operator,
                values,
            } = term
            else {
                continue;
            };
            let [value] = values.as_slice() else { continue };
            let is_plain = value.bytes().all(|byte| byte.is_ascii_digit());
            let (true, true, Ok(number)) = (of == field, is_plain, value.parse::<u64>()) else {
                continue;
            };
            let (least, most) = match operator {
                Operator::Is => (number, number),
                Operator::IsNot => continue,
                Operator::Less if number == 0 => (u64::MAX, 0),
                Operator::Less => (0, number - 1),
                Operator::AtMost => (0, number),
                Operator::More => (number.saturating_add(1), u64::MAX),
                Operator::AtLeast => (number, u64::MAX),
            };
            within = (within.0.max(least), within.1.min(most));
        }
        within
    }
}

impl Term {
    fn foretell(&self, subject: &dyn Subject, knows: &dyn Fn(&Field) -> bool) -> Option<bool> {
        // One of them that is so decides, else all of them that are not.
        let decided_by = |terms: &[Term], so: bool| {
            let mut all = Some(!so);
            for term in terms {
                match term.foretell(subject, knows) {
                    Some(told) if told == so => return Some(so),
                    Some(_) => {}
                    None => all = None,
                }
            }
            all
        };
        match self {
            Term::All(terms) => decided_by(terms, false),
            Term::Any(terms) => decided_by(terms, true),
            Term::Compare { field, .. } => knows(field).then(|| self.matches(subject)),
        }
    }

    fn matches(&self, subject: &dyn Subject) -> bool {
        match self {
            Term::All(terms) => terms.iter().all(|term| term.matches(subject)),
            Term::Any(terms) => terms.iter().any(|term| term.matches(subject)),
            Term::Compare {
                field,
                operator,
                values,
            } => {
                let mut found = false;
                subject.values(field, &mut |theirs| {
                    found = found || holds(subject, field, *operator, values, theirs);
                });
                found != (*operator == Operator::IsNot)
            }
        }
    }
}

/// Whether one value of a device is meant. `IsNot` is asked as `Is`: none may be.
fn holds(
    subject: &dyn Subject,
    field: &Field,
    operator: Operator,
    values: &[String],
    theirs: &str,
) -> bool {
    let order = |value: &String| match field {
        Field::Version | Field::Safeboot => subject.compare_versions(theirs, value),
        _ => Some(natural(theirs, value)),
    };
    let ordered = |wanted: &[Ordering]| {
        values
            .first()
            .and_then(order)
            .is_some_and(|order| wanted.contains(&order))
    };
    match operator {
        Operator::Is | Operator::IsNot => values.iter().any(|value| is(field, theirs, value)),
        Operator::Less => ordered(&[Ordering::Less]),
        Operator::AtMost => ordered(&[Ordering::Less, Ordering::Equal]),
        Operator::More => ordered(&[Ordering::Greater]),
        Operator::AtLeast => ordered(&[Ordering::Greater, Ordering::Equal]),
    }
}

fn is(field: &Field, theirs: &str, value: &str) -> bool {
    match field {
        // A0:B1:…, a0b1…, a0-b1-…
        Field::Mac => like(&hex_digits(theirs), &hex_digits(value)),
        Field::Chip => like(&letters(theirs), &letters(value)),
        _ => like(theirs, value),
    }
}

fn hex_digits(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_ascii_hexdigit() || *c == '*')
        .collect()
}

fn letters(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '*')
        .collect()
}

/// Compares without case; `*` in `pattern` stands for any text. Asked of every device of a list, so
/// it takes no memory.
fn like(text: &str, pattern: &str) -> bool {
    let (mut text, mut pattern) = (text.chars(), pattern.chars());
    // The usual walk with one place to come back to: the last star.
    let mut star = None;
    loop {
        let (mut rest, mut wanted) = (text.clone(), pattern.clone());
        match (rest.next(), wanted.next()) {
            (_, Some('*')) => {
                star = Some((text.clone(), wanted.clone()));
                pattern = wanted;
            }
            (None, end) => return end.is_none(),
            (Some(c), Some(like)) if fold(c) == fold(like) => (text, pattern) = (rest, wanted),
            (Some(_), _) => {
                let Some((from, behind)) = &mut star else {
                    return false;
                };
                from.next();
                (text, pattern) = (from.clone(), behind.clone());
            }
        }
    }
}

/// A letter without its case. What is not ASCII never becomes ASCII, as the sign of the kelvin would,
/// so that whoever looks for ASCII need not look at more than bytes.
pub(crate) fn fold(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) if !one.is_ascii() => one,
        _ => c,
    }
}

/// Whether two texts differ in nothing but case.
pub(crate) fn same(one: &str, other: &str) -> bool {
    one.chars().map(fold).eq(other.chars().map(fold))
}

/// Compares runs of digits as numbers and the rest as text, without case: 9.5 < 15.0 < 15.0.1.
pub fn natural(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    loop {
        match (one.first(), other.first()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) if a.is_ascii_digit() && b.is_ascii_digit() => {
                let (mine, theirs) = (digits(&mut one), digits(&mut other));
                let order = mine.len().cmp(&theirs.len()).then(mine.cmp(theirs));
                if order != Ordering::Equal {
                    return order;
                }
            }
            (Some(a), Some(b)) => {
                let order = a.to_ascii_lowercase().cmp(&b.to_ascii_lowercase());
                if order != Ordering::Equal {
                    return order;
                }
                one = &one[1..];
                other = &other[1..];
            }
        }
    }
}

/// Takes a run of digits off, without leading zeroes.
fn digits<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    let (run, rest) = text.split_at(end);
    *text = rest;
    let zeroes = run.iter().take_while(|byte| **byte == b'0').count();
    &run[zeroes..]
}

struct Reader<'a> {
    text: &'a [char],
    at: usize,
    terms: usize,
    depth: usize,
}

impl Reader<'_> {
    fn any(&mut self) -> Result<Term, QueryError> {
        let mut terms = alloc::vec![self.all()?];
        while self.joins(',', "or") {
            terms.push(self.all()?);
        }
        Ok(one_or(terms, Term::Any))
    }

    fn all(&mut self) -> Result<Term, QueryError> {
        let mut terms = alloc::vec![self.term()?];
        while self.joins(';', "and") {
            terms.push(self.term()?);
        }
        Ok(one_or(terms, Term::All))
    }

    fn term(&mut self) -> Result<Term, QueryError> {
        self.blanks();
        let begin = self.at;
        if !self.takes('(') {
            return self.comparison();
        }
        self.depth += 1;
        if self.depth > MAX_QUERY_DEPTH {
            return Err(self.wrong(begin, Wrong::TooMuch));
        }
        let term = self.any()?;
        self.blanks();
        if !self.takes(')') {
            return Err(self.wrong(begin, Wrong::NotClosed('(')));
        }
        self.depth -= 1;
        Ok(term)
    }

    fn comparison(&mut self) -> Result<Term, QueryError> {
        let begin = self.at;
        self.terms += 1;
        if self.terms > MAX_QUERY_TERMS {
            return Err(self.wrong(begin, Wrong::TooMuch));
        }
        let word = self.word(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
        if word.is_empty() {
            return Err(self.wrong(begin, Wrong::NothingHere));
        }
        let lower = word.to_lowercase();
        let field = match lower.strip_prefix("tag.") {
            Some(key) if !key.is_empty() => Some(Field::Tag(Some(key.to_owned()))),
            _ => FIELDS
                .iter()
                .find(|(known, _)| *known == lower)
                .map(|(_, field)| field.clone()),
        };
        let Some(field) = field else {
            return Err(self.wrong(begin, Wrong::NoField(word)));
        };
        self.blanks();
        let place = self.at;
        let Some((operator, many)) = self.operator() else {
            return Err(self.wrong(place, Wrong::NoOperator(word)));
        };
        let is_order = !matches!(operator, Operator::Is | Operator::IsNot);
        if is_order && !matches!(field, Field::Version | Field::Safeboot | Field::Seen) {
            let known = FIELDS.iter().find(|(_, known)| match (known, &field) {
                (Field::Tag(_), Field::Tag(_)) => true,
                (known, field) => *known == *field,
            });
            let word = known.map_or("tag", |(word, _)| *word);
            return Err(self.wrong(place, Wrong::NoOrder(word)));
        }
        self.blanks();
        let place = self.at;
        let values = match many {
            true => self.values()?,
            false => alloc::vec![self.value()?],
        };
        if matches!(field, Field::Online | Field::Enrolled)
            && let Some(other) = values
                .iter()
                .find(|value| !matches!(value.as_str(), "true" | "false"))
        {
            return Err(self.wrong(place, Wrong::NoTruth(other.clone())));
        }
        Ok(Term::Compare {
            field,
            operator,
            values,
        })
    }

    /// The operator, and whether a list follows it.
    fn operator(&mut self) -> Option<(Operator, bool)> {
        // Longer ones first.
        const KNOWN: [(&str, Operator, bool); 12] = [
            ("=out=", Operator::IsNot, true),
            ("=in=", Operator::Is, true),
            ("=lt=", Operator::Less, false),
            ("=le=", Operator::AtMost, false),
            ("=gt=", Operator::More, false),
            ("=ge=", Operator::AtLeast, false),
            ("==", Operator::Is, false),
            ("!=", Operator::IsNot, false),
            ("<=", Operator::AtMost, false),
            (">=", Operator::AtLeast, false),
            ("<", Operator::Less, false),
            (">", Operator::More, false),
        ];
        KNOWN.into_iter().find_map(|(word, operator, many)| {
            let length = word.len();
            let here = self.text.get(self.at..self.at + length)?;
            let same = here
                .iter()
                .zip(word.chars())
                .all(|(here, c)| here.to_ascii_lowercase() == c);
            same.then(|| {
                self.at += length;
                (operator, many)
            })
        })
    }

    fn values(&mut self) -> Result<Vec<String>, QueryError> {
        let begin = self.at;
        if !self.takes('(') {
            return Ok(alloc::vec![self.value()?]);
        }
        let mut values = Vec::new();
        loop {
            self.blanks();
            values.push(self.value()?);
            if values.len() > MAX_QUERY_TERMS {
                return Err(self.wrong(begin, Wrong::TooMuch));
            }
            self.blanks();
            if self.takes(')') {
                return Ok(values);
            }
            if !self.takes(',') {
                return Err(self.wrong(begin, Wrong::NotClosed('(')));
            }
        }
    }

    fn value(&mut self) -> Result<String, QueryError> {
        let begin = self.at;
        for quote in ['"', '\''] {
            if self.takes(quote) {
                let value = self.word(|c| c != quote);
                return match self.takes(quote) {
                    true => Ok(value),
                    false => Err(self.wrong(begin, Wrong::NotClosed(quote))),
                };
            }
        }
        let value = self.word(|c| !c.is_whitespace() && !"();,\"'=<>!".contains(c));
        match value.is_empty() {
            true => Err(self.wrong(begin, Wrong::NoValue)),
            false => Ok(value),
        }
    }

    fn word(&mut self, fits: impl Fn(char) -> bool) -> String {
        let begin = self.at;
        while self.text.get(self.at).is_some_and(|c| fits(*c)) {
            self.at += 1;
        }
        self.text[begin..self.at].iter().collect()
    }

    /// Takes the sign or, with a blank on each side, the word that joins two terms.
    fn joins(&mut self, sign: char, word: &str) -> bool {
        let before = self.at;
        self.blanks();
        if self.takes(sign) {
            return true;
        }
        if self.at > before {
            let found = self.word(char::is_alphanumeric);
            if found.eq_ignore_ascii_case(word) {
                return true;
            }
        }
        self.at = before;
        false
    }

    fn blanks(&mut self) {
        while self.text.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
    }

    fn takes(&mut self, sign: char) -> bool {
        let here = self.text.get(self.at) == Some(&sign);
        self.at += usize::from(here);
        here
    }

    fn wrong(&self, at: usize, wrong: Wrong) -> QueryError {
        QueryError { at, wrong }
    }
}

fn one_or(mut terms: Vec<Term>, join: fn(Vec<Term>) -> Term) -> Term {
    match (terms.len(), terms.pop()) {
        (1, Some(term)) => term,
        (_, last) => {
            terms.extend(last);
            join(terms)
        }
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at + 1;
        match &self.wrong {
            Wrong::TooLong => write!(f, "it is longer than {MAX_QUERY} characters"),
            Wrong::TooMuch => write!(
                f,
                "at character {at}: it has more than {MAX_QUERY_TERMS} comparisons or values, or more than {MAX_QUERY_DEPTH} parentheses inside one another"
            ),
            Wrong::NothingHere => write!(
                f,
                "at character {at}: a comparison is missing, such as family==tasmota"
            ),
            Wrong::NoField(word) => {
                let known: Vec<&str> = FIELDS.iter().map(|(word, _)| *word).collect();
                write!(
                    f,
                    "at character {at}: {word:?} is nothing that devices have; there are {} and tag.KEY",
                    known.join(", ")
                )
            }
            Wrong::NoOperator(word) => write!(
                f,
                "at character {at}: behind {word} one of == != =lt= =le= =gt= =ge= =in= =out= is missing"
            ),
            Wrong::NoValue => write!(f, "at character {at}: a value is missing"),
            Wrong::NotClosed(sign) => write!(f, "at character {at}: {sign} is not closed"),
            Wrong::Rest(rest) => write!(
                f,
                "at character {at}: {rest:?} follows where ; (and), , (or) or the end should be; values with blanks go into quotes"
            ),
            Wrong::NoOrder(word) => write!(
                f,
                "at character {at}: {word} has no order; compare it with == != =in= or =out="
            ),
            Wrong::NoTruth(value) => {
                write!(f, "at character {at}: {value:?} is neither true nor false")
            }
        }
    }
}

impl core::error::Error for QueryError {}

/// A question joined with others that all have to hold.
impl FromIterator<Where> for Where {
    fn from_iter<I: IntoIterator<Item = Where>>(parts: I) -> Where {
        Where(Term::All(parts.into_iter().map(|part| part.0).collect()))
    }
}

/// What a shown value is, for [`Subject`]s that have it at hand as something else.
pub fn shown(value: &dyn fmt::Display, each: &mut dyn FnMut(&str)) {
    each(&format!("{value}"));
}

#[cfg(test)]
mod tests;
