//! JSON values as YAML: block style, quotes only where a reader could take a text for something else.

use std::fmt::Write;

use serde_json::{Map, Value};

/// Words that some reader of YAML (1.1 or 1.2) takes for something other than text.
const WORDS: [&str; 11] = ["null", "~", "true", "false", "yes", "no", "on", "off", "y", "n", ".nan"];

/// A value as YAML, with a line feed at its end.
pub fn to_yaml(value: &Value) -> String {
    let mut text = String::new();
    block(&mut text, value, 0, false);
    text
}

/// A mapping as YAML, its fields in this order and then the others in their own.
pub fn document(fields: &Map<String, Value>, order: &[&str]) -> String {
    let mut text = String::new();
    let place = |key: &String| order.iter().position(|known| known == key).unwrap_or(order.len());
    let mut sorted: Vec<(&String, &Value)> = fields.iter().collect();
    sorted.sort_by_key(|(key, _)| place(key));
    entries(&mut text, &sorted, 0, false);
    text
}

/// Writes a value that begins a line, or, with `inline`, one that follows a dash.
fn block(text: &mut String, value: &Value, depth: usize, inline: bool) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            entries(text, &fields.iter().collect::<Vec<_>>(), depth, inline);
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                indent(text, if inline && index == 0 { 0 } else { depth });
                text.push_str("- ");
                block(text, item, depth + 1, true);
            }
        }
        single => {
            scalar(text, single, depth);
            text.push('\n');
        }
    }
}

fn entries(text: &mut String, fields: &[(&String, &Value)], depth: usize, inline: bool) {
    for (index, (key, value)) in fields.iter().enumerate() {
        indent(text, if inline && index == 0 { 0 } else { depth });
        string(text, key);
        text.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                text.push('\n');
                block(text, value, depth + 1, false);
            }
            Value::Array(inner) if !inner.is_empty() => {
                text.push('\n');
                block(text, value, depth, false);
            }
            single => {
                text.push(' ');
                scalar(text, single, depth + 1);
                text.push('\n');
            }
        }
    }
}

fn indent(text: &mut String, depth: usize) {
    for _ in 0..depth {
        text.push_str("  ");
    }
}

fn scalar(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::String(found) if is_block(found) => literal(text, found, depth.max(1)),
        Value::String(found) => string(text, found),
        // Numbers, true, false, null, and the empty {} and [] are the same in both languages.
        other => text.push_str(&other.to_string()),
    }
}

/// Whether a text reads better as lines, and can be written so: a block knows no escapes, and its first line tells its indent.
fn is_block(found: &str) -> bool {
    let lines = found.trim_end_matches('\n');
    lines.contains('\n')
        && !found.starts_with([' ', '\n', '\t'])
        && found.chars().all(|c| c == '\n' || c == '\t' || is_printable(c))
}

fn literal(text: &mut String, found: &str, depth: usize) {
    let chomp = match found.len() - found.trim_end_matches('\n').len() {
        0 => "-",
        1 => "",
        _ => "+",
    };
    text.push('|');
    text.push_str(chomp);
    for line in found.strip_suffix('\n').unwrap_or(found).split('\n') {
        text.push('\n');
        if !line.is_empty() {
            indent(text, depth);
            text.push_str(line);
        }
    }
}

fn string(text: &mut String, found: &str) {
    if is_plain(found) {
        text.push_str(found);
        return;
    }
    text.push('"');
    for c in found.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            c if is_printable(c) => text.push(c),
            c => {
                let _ = write!(text, "\\U{:08X}", u32::from(c));
            }
        }
    }
    text.push('"');
}

/// Characters that YAML takes as they are, without those that end a line somewhere.
fn is_printable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Whether a text may stand without quotes: nothing that YAML reads as a sign, a number, a date or another type.
fn is_plain(found: &str) -> bool {
    let start = |c: char| c.is_alphabetic() || c == '/' || c == '_';
    let rest = |c: char| c.is_alphanumeric() || " /_-.,()+@$=;~^".contains(c);
    // A colon is a sign only before a space or at the end.
    let colons = !found.contains(": ") && !found.ends_with(':');
    let word = found.strip_prefix('.').unwrap_or(found).to_ascii_lowercase();
    found.starts_with(start)
        && found.chars().all(|c| rest(c) || c == ':')
        && colons
        && !found.ends_with(' ')
        && !WORDS.contains(&word.as_str())
        && !matches!(word.as_str(), "inf" | "nan")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forms::parse_all;
    use proptest::prelude::*;
    use serde_json::json;

    fn back(value: &Value) -> Value {
        let text = to_yaml(value);
        let nodes = parse_all("f.yaml", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        nodes.first().map_or(Value::Null, crate::forms::Node::to_json)
    }

    #[test]
    fn what_looks_like_something_else_is_quoted() {
        for text in [
            "",
            " ",
            "null",
            "~",
            "True",
            "yes",
            "NO",
            "on",
            "1",
            "-1.5",
            "0x1f",
            "1e3",
            ".5",
            ".inf",
            "2026-01-01",
            "12:30",
            "a: b",
            "a:",
            "- a",
            "-",
            "?",
            "#a",
            "a #b",
            "&a",
            "*a",
            "!a",
            "|",
            ">",
            "%a",
            "@a",
            "`a",
            "'a'",
            "\"a\"",
            "[a]",
            "{a}",
            "a\tb",
            "a\rb",
            "\u{0}",
            "\u{feff}a",
            "a ",
            " a",
            "---",
            "...",
            "=",
            "<<",
            "a\\b",
            "y",
        ] {
            let value = json!({"k": text, "l": [text, [text]]});
            assert_eq!(back(&value), value, "{}", to_yaml(&value));
        }
        for text in ["null", "yes", "1", "2026-01-01", "a: b", "#a", "0123", "n"] {
            assert!(to_yaml(&json!(text)).starts_with('"'), "{text}");
        }
        for text in
            ["blue", "AzureML Data Scientist", "/subscriptions/x", "http://10.0.0.5:5001", "azureml:m:1"]
        {
            assert_eq!(to_yaml(&json!(text)), format!("{text}\n"));
        }
    }

    #[test]
    fn lines_are_written_as_lines() {
        let value =
            json!({"a": "one\ntwo\n", "b": ["x\n\n  y", "z\n\n\n"], "c": {"d": [{"e": 1, "f": []}, {}]}});
        assert_eq!(
            to_yaml(&value),
            "a: |\n  one\n  two\nb:\n- |-\n  x\n\n    y\n- \"z\\n\\n\\n\"\nc:\n  d:\n  - e: 1\n    f: []\n  - {}\n"
        );
        assert_eq!(back(&value), value);
    }

    #[test]
    fn a_document_begins_with_what_matters() {
        let value = json!({"a": 1, "name": "x", "endpoint_name": "ep"});
        let text = document(value.as_object().unwrap(), &["name", "endpoint_name"]);
        assert_eq!(text, "name: x\nendpoint_name: ep\na: 1\n");
    }

    fn values() -> impl Strategy<Value = Value> {
        let texts =
            prop_oneof!["\\PC*", "[ a:#\\n\\t'\"|>-]{0,8}", "[-+.0-9eExon]{0,5}", "([a ]{0,3}\\n{0,3}){0,4}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            texts.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(texts.clone(), inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_comes_back_as_it_was(value in values()) {
            prop_assert_eq!(back(&value), value);
        }
    }
}
