//! A table of devices as spreadsheets write it: CSV with a line of titles.
//!
//! Titles are `family`, `name`, `mac`, `topic` and `tags`, in any order; the first two must be
//! there. Fields may stand in quotes, tags are apart by blanks or `;`, and the separator is a comma
//! or, as some languages' spreadsheets have it, a semicolon or a tab.

use super::Wanted;

/// What is wrong with a table as such; lines are numbered from 1.
#[derive(Debug, PartialEq, Eq)]
pub enum BadTable {
    /// There is no line of titles, or nothing below it.
    Empty,
    /// A title that means nothing.
    Title(String),
    /// Titles that must be there.
    Missing(&'static str),
    /// A line has more fields than there are titles.
    TooWide {
        /// Which line.
        line: u64,
    },
    /// A quote that is not closed.
    Open {
        /// Where it begins.
        line: u64,
    },
}

const TITLES: [&str; 5] = ["family", "name", "mac", "topic", "tags"];

/// The devices of a table, each with its line.
///
/// # Errors
/// Everything that is wrong with the table as such. What is wrong with a device is found later.
pub fn read_table(text: &str) -> Result<Vec<Wanted>, Vec<BadTable>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let separator = separator(text);
    let rows = rows(text, separator).map_err(|bad| vec![bad])?;
    let mut rows = rows.into_iter().filter(|(_, fields)| {
        let is_comment = fields.first().is_some_and(|first| first.starts_with('#'));
        !is_comment && fields.iter().any(|field| !field.is_empty())
    });
    let Some((_, titles)) = rows.next() else {
        return Err(vec![BadTable::Empty]);
    };
    let titles: Vec<String> = titles.iter().map(|title| title.to_lowercase()).collect();
    let mut bad: Vec<BadTable> = titles
        .iter()
        .filter(|title| !TITLES.contains(&title.as_str()))
        .map(|title| BadTable::Title(title.clone()))
        .collect();
    for needed in ["family", "name"] {
        if !titles.iter().any(|title| title == needed) {
            bad.push(BadTable::Missing(needed));
        }
    }
    let mut devices = Vec::new();
    for (line, fields) in rows {
        if fields.len() > titles.len() {
            bad.push(BadTable::TooWide { line });
            continue;
        }
        let field = |title: &str| {
            let at = titles.iter().position(|known| known == title);
            at.and_then(|at| fields.get(at)).cloned()
        };
        let given = |title: &str| field(title).filter(|field| !field.is_empty());
        devices.push(Wanted {
            family: field("family").unwrap_or_default(),
            name: field("name").unwrap_or_default(),
            mac: given("mac"),
            topic: given("topic"),
            tags: given("tags")
                .unwrap_or_default()
                .split([' ', ';', ','])
                .filter(|tag| !tag.is_empty())
                .map(str::to_owned)
                .collect(),
            line: Some(line),
            ..Wanted::default()
        });
    }
    if bad.is_empty() && devices.is_empty() {
        bad.push(BadTable::Empty);
    }
    match bad.is_empty() {
        true => Ok(devices),
        false => Err(bad),
    }
}

/// What stands between the titles.
fn separator(text: &str) -> char {
    let titles = text
        .lines()
        .find(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .unwrap_or_default();
    [',', ';', '\t']
        .into_iter()
        .max_by_key(|separator| (titles.matches(*separator).count(), *separator == ','))
        .unwrap_or(',')
}

/// Fields by line.
fn rows(text: &str, separator: char) -> Result<Vec<(u64, Vec<String>)>, BadTable> {
    let mut rows = Vec::new();
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut quoted: Option<u64> = None;
    let (mut line, mut begin) = (1, 1);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match (c, quoted) {
            ('"', Some(_)) if characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            ('"', Some(_)) => quoted = None,
            ('"', None) if field.trim().is_empty() => {
                field.clear();
                quoted = Some(line);
            }
            ('\n', None) => {
                fields.push(field.trim().to_owned());
                rows.push((begin, std::mem::take(&mut fields)));
                field.clear();
                line += 1;
                begin = line;
            }
            (c, None) if c == separator => {
                fields.push(field.trim().to_owned());
                field.clear();
            }
            (c, _) => {
                line += u64::from(c == '\n');
                field.push(c);
            }
        }
    }
    if let Some(line) = quoted {
        return Err(BadTable::Open { line });
    }
    if !field.trim().is_empty() || !fields.is_empty() {
        fields.push(field.trim().to_owned());
        rows.push((begin, fields));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<(u64, String, Vec<String>)> {
        let devices = read_table(text).expect(text);
        devices
            .into_iter()
            .map(|device| (device.line.expect("a line"), device.name, device.tags))
            .collect()
    }

    #[test]
    fn tables_of_any_spreadsheet_are_read_with_the_lines_of_their_devices() {
        let one = |line, tags: &[&str]| {
            let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
            vec![(line, "plug-1".to_owned(), tags)]
        };
        for text in [
            "family,name,tags\ntasmota,plug-1,kitchen hall\n",
            "\u{feff}family;name;tags\r\ntasmota;plug-1;kitchen hall\r\n",
            "Family\tName\tTags\ntasmota\tplug-1\tkitchen hall",
            "tags,name,family\n\"kitchen,hall\",\"plug-1\",tasmota",
        ] {
            assert_eq!(names(text), one(2, &["kitchen", "hall"]), "{text}");
        }
        let commented = "# plugs\n\nfamily,name,mac\n\ntasmota,plug-1,\n";
        assert_eq!(names(commented), one(5, &[]));
    }

    #[test]
    fn a_table_without_its_titles_or_with_strange_ones_is_refused_with_all_that_is_wrong() {
        for (text, bad) in [
            ("", vec![BadTable::Empty]),
            ("family,name\n", vec![BadTable::Empty]),
            (
                "family,nane\ntasmota,plug-1\n",
                vec![BadTable::Title("nane".into()), BadTable::Missing("name")],
            ),
            (
                "family,name\ntasmota,a,b\nplain,c,d\n",
                vec![BadTable::TooWide { line: 2 }, BadTable::TooWide { line: 3 }],
            ),
            ("family,name\nplain,\"a\n", vec![BadTable::Open { line: 2 }]),
        ] {
            assert_eq!(read_table(text).unwrap_err(), bad, "{text}");
        }
    }
}
