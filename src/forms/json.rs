//! JSON as clients really send it, read into the same tree as YAML.
//!
//! Microsoft's own scripts send a comma before a closing brace, so one is let pass; a name that stands twice is not,
//! because two readers could then see two documents.

use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

use super::node::{Kind, Node};

/// The deepest nesting that is read.
const MAX_DEPTH: usize = 32;

/// The most values in one document: a tree of them takes many times the room of its text.
const MAX_NODES: usize = 20_000;

/// Why a text is no acceptable JSON document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Nested too deep.
    #[error("the JSON is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// More values than any resource has.
    #[error("the JSON holds more than {MAX_NODES} values")]
    TooMany,
    /// Not JSON.
    #[error("the body is not JSON: {0}")]
    Syntax(String),
}

/// Reads one JSON document.
pub fn parse_json(bytes: &[u8]) -> Result<Node, JsonError> {
    let text = without_trailing_commas(bytes)?;
    let mut reader = serde_json::Deserializer::from_slice(&text);
    let syntax = |error: serde_json::Error| JsonError::Syntax(error.to_string());
    let node = Tree.deserialize(&mut reader).map_err(syntax)?;
    reader.end().map_err(syntax)?;
    Ok(node)
}

/// Blanks commas that stand before a closing bracket, and looks at the depth on the way.
fn without_trailing_commas(bytes: &[u8]) -> Result<Vec<u8>, JsonError> {
    let mut text = bytes.to_vec();
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    // A comma that only white space has followed so far.
    let mut comma = None;
    let mut values = 0_usize;
    let (mut blank, mut last) = (Vec::new(), b'[');
    for (at, byte) in bytes.iter().enumerate() {
        if in_string {
            in_string = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(JsonError::TooDeep);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                blank.extend(comma);
            }
            b',' => {
                values += 1;
                if values > MAX_NODES {
                    return Err(JsonError::TooMany);
                }
            }
            _ => {}
        }
        // One comma, after a value: what else is there is for the parser to refuse.
        comma = (*byte == b',' && !b"[{,:".contains(&last)).then_some(at);
        last = *byte;
    }
    for at in blank {
        if let Some(byte) = text.get_mut(at) {
            *byte = b' ';
        }
    }
    Ok(text)
}

/// Builds nodes; a place is not known, so every one is 0:0.
struct Tree;

impl Tree {
    fn scalar(text: &dyn ToString, plain: bool) -> Node {
        Node { at: (0, 0), kind: Kind::Scalar { text: text.to_string(), plain } }
    }
}

impl<'de> DeserializeSeed<'de> for Tree {
    type Value = Node;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Tree::scalar(&"", true))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Tree::scalar(&value, true))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Tree::scalar(&value, true))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Tree::scalar(&value, true))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Tree::scalar(&value, true))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Tree::scalar(&value, false))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Tree)? {
            list.push(item);
        }
        Ok(Node { at: (0, 0), kind: Kind::List(list) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Node, A::Error> {
        let mut entries: Vec<(String, (usize, usize), Node)> = Vec::new();
        let mut names = std::collections::HashSet::new();
        while let Some(name) = fields.next_key::<String>()? {
            if !names.insert(name.clone()) {
                let shown: String = name.chars().take(64).collect();
                return Err(serde::de::Error::custom(format_args!("`{shown}` stands there twice")));
            }
            entries.push((name, (0, 0), fields.next_value_seed(Tree)?));
        }
        Ok(Node { at: (0, 0), kind: Kind::Map(entries) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_microsofts_scripts_send_is_read() {
        let node =
            parse_json(b"{\"a\": [1, 2.5, \"x,}\", null, true,], \"b\": {\"c\": \"\\\"],\",\n },}").unwrap();
        assert_eq!(node.to_json(), json!({"a": [1, 2.5, "x,}", null, true], "b": {"c": "\"],"}}));
        assert_eq!(parse_json(br#"{"n": "2"}"#).unwrap().to_json(), json!({"n": "2"}));
    }

    #[test]
    fn what_has_two_readings_or_none_is_refused() {
        let syntax = |text: &str| matches!(parse_json(text.as_bytes()), Err(JsonError::Syntax(_)));
        for bad in
            ["", "{", "{\"a\":1,,}", "[,]", "{\"a\":1} x", "{'a':1}", "{\"a\":1,\"a\":2}", "\u{feff}{}"]
        {
            assert!(syntax(bad), "{bad}");
        }
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse_json(deep(32).as_bytes()).is_ok());
        assert_eq!(parse_json(deep(33).as_bytes()), Err(JsonError::TooDeep));
        assert_eq!(parse_json(deep(200_000).as_bytes()), Err(JsonError::TooDeep));
    }
}
