//! YAML as a tree whose nodes know their line.
//!
//! The parser gives events; the tree made of them is bounded in depth and size. An alias is the
//! node it refers to, never a copy, so that no file grows in memory beyond what was written.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use super::{ImportError, Input, Place, said};

/// Deepest nesting that is read. Settings of xiaozhi-esp32-server have 5 levels.
const MAX_DEPTH: usize = 64;
/// Most nodes in one file.
const MAX_NODES: usize = 100_000;

/// A document. Node 0 does not have to be its root; see [`Tree::root`].
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    root: Option<Id>,
}

/// A node of a [`Tree`].
pub(super) type Id = usize;

#[derive(Debug)]
struct Node {
    line: usize,
    kind: Kind,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Kind {
    /// A text, a number, true, false or nothing, as written. `plain` if it stands without quotes.
    Scalar {
        /// Its text.
        text: String,
        /// Whether it stands without quotes.
        plain: bool,
    },
    /// A list.
    List(Vec<Id>),
    /// Keys and values, in the order of the file.
    Map(Vec<(Id, Id)>),
}

impl Tree {
    /// Reads one document; an empty file is one without a root.
    pub(super) fn read(input: Input<'_>) -> Result<Tree, ImportError> {
        input.check_length()?;
        let mut building = Building {
            input,
            tree: Tree::default(),
            open: Vec::new(),
            anchors: HashMap::new(),
            line: 1,
        };
        for event in Parser::new_from_str(input.text) {
            match event {
                Ok((event, span)) => {
                    building.line = span.start.line();
                    if building.event(event)? {
                        break;
                    }
                }
                Err(error) => return Err(building.no_yaml(&error)),
            }
        }
        Ok(building.tree)
    }

    pub(super) fn root(&self) -> Option<Id> {
        self.root
    }

    pub(super) fn kind(&self, id: Id) -> &Kind {
        &self.nodes[id].kind
    }

    /// The line that a node begins on.
    pub(super) fn line(&self, id: Id) -> usize {
        self.nodes[id].line
    }

    /// The text of a scalar; `None` for lists, maps, and for nothing (`null`, `~` or no value).
    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.kind(id) {
            Kind::Scalar { text, plain } => {
                let nothing = *plain && ["", "~", "null", "Null", "NULL"].contains(&text.as_str());
                (!nothing).then_some(text)
            }
            Kind::List(_) | Kind::Map(_) => None,
        }
    }
}

/// A collection that is not at its end yet.
struct Open {
    node: Id,
    anchor: usize,
    /// Of a map: the key that waits for its value.
    key: Option<Id>,
}

struct Building<'a> {
    input: Input<'a>,
    tree: Tree,
    open: Vec<Open>,
    anchors: HashMap<usize, Id>,
    line: usize,
}

impl Building<'_> {
    /// Takes an event; `true` at the end of the document.
    fn event(&mut self, event: Event<'_>) -> Result<bool, ImportError> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let kind = Kind::Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain,
                };
                let id = self.node(kind)?;
                self.name(anchor, id);
                self.place(id);
            }
            Event::SequenceStart(anchor, _) => self.begin(Kind::List(Vec::new()), anchor)?,
            Event::MappingStart(anchor, _) => self.begin(Kind::Map(Vec::new()), anchor)?,
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    // Only now: what refers to itself would have no end.
                    self.name(open.anchor, open.node);
                    self.place(open.node);
                }
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(id) => self.place(*id),
                None => {
                    return Err(self.error(
                        said!(
                            "an alias (*NAME) refers to what it is itself a part of",
                            "别名（*NAME）引用了它自己所在的内容"
                        ),
                        said!("write the value itself here", "请在这里直接写出该值"),
                    ));
                }
            },
            Event::DocumentStart(_) if self.tree.root.is_some() => {
                return Err(self.error(
                    said!(
                        "a second document begins here (---)",
                        "这里开始了第二个文档（---）"
                    ),
                    said!(
                        "leave one document in the file; xiaozhi-esp32-server refuses two as well",
                        "文件中只保留一个文档；xiaozhi-esp32-server 同样不接受两个"
                    ),
                ));
            }
            Event::StreamEnd => return Ok(true),
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
        }
        Ok(false)
    }

    fn node(&mut self, kind: Kind) -> Result<Id, ImportError> {
        if self.tree.nodes.len() == MAX_NODES {
            return Err(self.error(
                said!(
                    "the file has more than {MAX_NODES} values",
                    "文件中的值超过 {MAX_NODES} 个"
                ),
                said!(
                    "name the settings file of xiaozhi-esp32-server: config.yaml or data/.config.yaml",
                    "请指定 xiaozhi-esp32-server 的配置文件：config.yaml 或 data/.config.yaml"
                ),
            ));
        }
        let line = self.line;
        self.tree.nodes.push(Node { line, kind });
        Ok(self.tree.nodes.len() - 1)
    }

    fn begin(&mut self, kind: Kind, anchor: usize) -> Result<(), ImportError> {
        if self.open.len() == MAX_DEPTH {
            return Err(self.too_deep());
        }
        let node = self.node(kind)?;
        self.open.push(Open {
            node,
            anchor,
            key: None,
        });
        Ok(())
    }

    fn name(&mut self, anchor: usize, id: Id) {
        // Anchors count from 1; 0 is none.
        if anchor > 0 {
            self.anchors.insert(anchor, id);
        }
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, id: Id) {
        let Some(open) = self.open.last_mut() else {
            self.tree.root = Some(id);
            return;
        };
        match &mut self.tree.nodes[open.node].kind {
            Kind::List(entries) => entries.push(id),
            Kind::Map(entries) => match open.key.take() {
                Some(key) => entries.push((key, id)),
                None => open.key = Some(id),
            },
            Kind::Scalar { .. } => {}
        }
    }

    fn error(&self, what: safeport_settings::Said, help: safeport_settings::Said) -> ImportError {
        ImportError {
            place: Place {
                file: self.input.file(),
                line: self.line,
            },
            what,
            help,
        }
    }

    fn too_deep(&self) -> ImportError {
        self.error(
            said!(
                "values are nested more than {MAX_DEPTH} deep",
                "值的嵌套超过 {MAX_DEPTH} 层"
            ),
            said!(
                "look for brackets that are never closed, or dashes in a row",
                "请检查是否有未闭合的括号或连续的短横线"
            ),
        )
    }

    fn no_yaml(&mut self, error: &ScanError) -> ImportError {
        // A file that ends too early is blamed on the line after its last.
        let last = self.input.text.lines().count().max(1);
        self.line = error.marker().line().clamp(1, last);
        let line = self.input.text.lines().nth(self.line - 1).unwrap_or("");
        let indent: String = line.chars().take_while(|c| c.is_whitespace()).collect();
        // The parser looks ahead within brackets, and has a limit of its own for them.
        if error.info().contains("recursion limit") {
            return self.too_deep();
        }
        let what = said!(
            "this is no YAML: {why} (column {column})",
            "这不是有效的 YAML：{why}（第 {column} 列）",
            why = error.info(),
            column = error.marker().col() + 1
        );
        let help = if indent.contains('\t') {
            said!(
                "YAML is indented with spaces, never with tabs; replace the tab on this line",
                "YAML 只能用空格缩进，不能用制表符；请替换本行的制表符"
            )
        } else {
            said!(
                "look at this line and the one above: indentation, quotes, a colon without a space after it",
                "请检查本行和上一行：缩进、引号、冒号后是否缺少空格"
            )
        };
        self.error(what, help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Tree, ImportError> {
        Tree::read(Input {
            path: "x.yaml",
            text,
        })
    }

    fn refused(text: &str) -> ImportError {
        read(text).expect_err("no good YAML")
    }

    #[test]
    fn nodes_know_their_lines_and_quoted_null_is_a_text() {
        let tree = read("a:\n  b: null\n  c: \"null\"\n").expect("YAML");
        let Kind::Map(top) = tree.kind(tree.root().expect("a root")) else {
            panic!("no map");
        };
        let Kind::Map(inner) = tree.kind(top[0].1) else {
            panic!("no inner map");
        };
        assert_eq!(tree.line(inner[0].0), 2);
        assert_eq!(tree.text(inner[0].1), None);
        assert_eq!(tree.text(inner[1].1), Some("null"));
        assert_eq!(read("# nothing\n").expect("YAML").root(), None);
    }

    #[test]
    fn an_alias_is_the_node_it_names_so_a_bomb_stays_small() {
        let mut text = String::from("a0: &a0 [x, x]\n");
        for n in 1..40 {
            text.push_str(&format!("a{n}: &a{n} [*a{m}, *a{m}]\n", m = n - 1));
        }
        let tree = read(&text).expect("40 doublings are 40 lines");
        assert!(tree.nodes.len() < 200, "{}", tree.nodes.len());
    }

    #[test]
    fn what_refers_to_itself_is_refused_on_its_line() {
        let error = refused("a: 1\nb: &b [1, *b]\n");
        assert_eq!(error.place.line, 2);
        assert!(error.what.en.contains("itself"), "{error}");
    }

    #[test]
    fn deep_nesting_and_floods_of_values_are_refused_with_their_line() {
        let deep = format!("a: 1\nb: {}\n", "[".repeat(5_000));
        let error = refused(&deep);
        assert_eq!(error.place.line, 2);
        assert!(error.what.en.contains("deep"), "{error}");
        let deep: String = (0..5_000).map(|n| " ".repeat(n) + "a:\n").collect();
        assert_eq!(refused(&deep[..200_000]).place.line, MAX_DEPTH + 1);
        let flood = "- 1\n".repeat(MAX_NODES + 10);
        assert_eq!(refused(&flood).place.line, MAX_NODES);
        let long = "# long\n".repeat(2_000_000);
        assert!(refused(&long).what.en.contains("MiB"));
    }

    #[test]
    fn a_tab_is_named_as_the_mistake() {
        let error = refused("server:\n\tport: 8000\n");
        assert_eq!(error.place.line, 2);
        assert!(error.help.en.contains("tab"), "{error}");
    }

    #[test]
    fn mistakes_are_found_on_their_line() {
        for (text, line) in [
            ("a: 1\nb: \"open\nc: 2\n", 2..=4),
            ("a: [1, 2\nb: 3\n", 1..=3),
            ("a: 1\n  b: 2\n", 2..=2),
            ("a: 1\n---\nb: 2\n", 2..=3),
            ("a: *nobody\n", 1..=1),
        ] {
            let error = refused(text);
            assert!(line.contains(&error.place.line), "{text:?}: {error}");
        }
    }
}
