//! What the reader of TOML says about a mistake of form, in both languages.

use alloc::string::{String, ToString};
use toml_edit::TomlError;

use crate::Said;

/// The words of an error in one line. The reader speaks English; what it says
/// rarely stays as it is in Chinese, too.
pub(crate) fn said(error: &TomlError) -> Said {
    let en = error.message().trim().replace('\n', ", ");
    let (reason, expected) = match en.split_once(", expected ") {
        Some((reason, expected)) => (reason, Some(expected)),
        None => (en.as_str(), None),
    };
    let zh = match REASONS.iter().find(|(known, _)| *known == reason) {
        None => en.clone(),
        Some((_, reason)) => match expected {
            None => (*reason).to_string(),
            Some(expected) => alloc::format!("{reason}，此处应为 {}", in_chinese(expected)),
        },
    };
    Said { en, zh }
}

/// What was expected: signs stay, words are said in Chinese.
fn in_chinese(expected: &str) -> String {
    let mut text = String::new();
    for (index, word) in expected.split(", ").enumerate() {
        if index > 0 {
            text.push('、');
        }
        let known = EXPECTED.iter().find(|(known, _)| *known == word);
        text.push_str(known.map_or(word, |(_, chinese)| chinese));
    }
    text
}

const REASONS: &[(&str, &str)] = &[
    ("duplicate key", "键重复"),
    ("unclosed table", "节的标题没有结束"),
    ("unclosed array table", "节的标题没有结束"),
    ("unclosed array", "列表没有结束"),
    ("unclosed inline table", "花括号没有结束"),
    ("string values must be quoted", "文字必须加引号"),
    ("key with no value", "键没有值"),
    ("missing value", "缺少值"),
    ("missing value for key", "键没有值"),
    (
        "missing assignment between key-value pairs",
        "键和值之间缺少等号",
    ),
    (
        "missing comma between array elements",
        "列表各项之间缺少逗号",
    ),
    ("missing comma between key-value pairs", "各项之间缺少逗号"),
    ("missing opening quote", "缺少开头的引号"),
    ("missing escaped value", "反斜杠后面缺少字符"),
    ("missing table open", "节的标题缺少开头的方括号"),
    ("invalid unquoted key", "键名含有不加引号就不能用的字符"),
    ("unquoted keys cannot be empty", "键名不能为空"),
    ("invalid value", "值的写法不对"),
    ("invalid key-value pair", "键和值的写法不对"),
    ("invalid basic string", "文字的写法不对"),
    ("invalid literal string", "文字的写法不对"),
    ("invalid comment character", "注释里有不允许的字符"),
    ("unexpected content", "此处不应有内容"),
    (
        "unexpected content between comment and newline",
        "注释之后不应有内容",
    ),
    ("unexpected key or value", "此处不应有键或值"),
    ("unexpected leading zero", "数字不能以零开头"),
    ("unexpected `=` in array", "列表里不应有等号"),
    ("extra comma in array", "列表里多了逗号"),
    ("extra comma in inline table", "花括号里多了逗号"),
    ("extra `=`", "多了等号"),
    ("extra assignment between key-value pairs", "多了等号"),
    ("`_` may only go between digits", "下划线只能在数字之间"),
    ("integer number overflowed", "数字太大"),
    (
        "carriage return must be followed by newline",
        "回车之后必须有换行",
    ),
    ("recursion limit", "嵌套太深"),
    (
        "cannot recurse further; max recursion depth met",
        "嵌套太深",
    ),
];

const EXPECTED: &[(&str, &str)] = &[
    ("key", "键"),
    ("value", "值"),
    ("newline", "换行"),
    ("comment", "注释"),
    ("nothing", "无内容"),
    ("literal string", "带引号的文字"),
    ("whitespace", "空格"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use toml_edit::Document;

    #[test]
    fn the_commonest_mistakes_of_form_are_said_in_chinese() {
        for (text, expected) in [
            ("[mqtt\n", "节的标题没有结束，此处应为 `]`"),
            ("a = 1\na = 2\n", "键重复"),
            ("a = b\n", "文字必须加引号"),
            ("a\n", "键没有值，此处应为 `=`"),
            ("a = \n", "文字必须加引号"),
            ("a = [1, 2\n", "列表没有结束，此处应为 `]`"),
            ("a = {b = 1\n", "花括号没有结束"),
            ("a = \"x\n", "文字的写法不对"),
            ("a = 01\n", "数字不能以零开头"),
        ] {
            let error = Document::parse(text.to_string()).unwrap_err();
            let said = said(&error);
            assert!(said.zh.starts_with(expected), "{text:?}: {said:?}");
        }
    }
}
