//! A YAML tree with places. Keys are unique, depth and size are bounded, anchors are copied within the bound.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError};

use super::mistake::{Mistake, Mistakes};

/// The deepest nesting that is read.
const MAX_DEPTH: usize = 32;
/// The most nodes in one file, copies of anchors included.
const MAX_NODES: usize = 200_000;
/// The largest file, in bytes.
const MAX_BYTES: usize = 8 << 20;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Line and column, from 1.
    pub at: (usize, usize),
    /// The value.
    pub kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A single value as it is written; `plain` if it has no quotes.
    Scalar {
        /// The text.
        text: String,
        /// Written without quotes, so `null` is nothing and `true` a boolean.
        plain: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// Keys (with the place of each) and values.
    Map(Vec<(String, (usize, usize), Node)>),
}

impl Node {
    /// Whether the value is absent: written as nothing, `~` or `null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The value as JSON, for fields that are carried without being understood (YAML 1.2 core schema).
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match &self.kind {
            _ if self.is_null() => Value::Null,
            Kind::Scalar { text, plain } => match text.as_str() {
                "true" | "True" | "TRUE" if *plain => Value::Bool(true),
                "false" | "False" | "FALSE" if *plain => Value::Bool(false),
                number if *plain => number
                    .parse::<i64>()
                    .map(Value::from)
                    .or_else(|_| number.parse::<f64>().map(Value::from))
                    .unwrap_or_else(|_| Value::from(number)),
                text => Value::from(text),
            },
            Kind::List(items) => items.iter().map(Node::to_json).collect(),
            Kind::Map(entries) => entries
                .iter()
                .map(|(key, _, value)| (key.clone(), value.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }
}

/// Reads every document of a file.
pub fn parse_all(file: &str, text: &str) -> Result<Vec<Node>, Mistakes> {
    let wrong = |at: Option<(usize, usize)>, problem: String, hint: Option<&str>| {
        let mistake = Mistake {
            source: file.to_owned(),
            at,
            field: String::new(),
            problem,
            hint: hint.map(str::to_owned),
        };
        Mistakes::check(vec![mistake])
            .map_or_else(|mistakes| mistakes, |()| Mistakes::of_file(file, String::new()))
    };
    if text.len() > MAX_BYTES {
        return Err(wrong(None, "the file is larger than 8 MiB".to_owned(), None));
    }
    let mut builder = Builder { parser: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0 };
    builder.documents().map_err(|problem| match problem {
        Problem::Scan(error) => {
            let marker = error.marker();
            wrong(Some((marker.line(), marker.col() + 1)), format!("not YAML: {}", error.info()), None)
        }
        Problem::Shape(at, text, hint) => wrong(Some(at), text, hint),
    })
}

enum Problem {
    Scan(Box<ScanError>),
    Shape((usize, usize), String, Option<&'static str>),
}

struct Builder<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

type Found<'a> = (Event<'a>, (usize, usize));

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<Found<'a>, Problem> {
        let next = self.parser.next().unwrap_or(Ok((Event::StreamEnd, granit_parser::Span::default())));
        let (event, span) = next.map_err(|error| Problem::Scan(Box::new(error)))?;
        Ok((event, (span.start.line(), span.start.col() + 1)))
    }

    fn documents(&mut self) -> Result<Vec<Node>, Problem> {
        let mut documents = Vec::new();
        loop {
            let (event, at) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(documents),
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                event => documents.push(self.node((event, at), 0)?),
            }
        }
    }

    fn count(&mut self, at: (usize, usize)) -> Result<(), Problem> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Problem::Shape(at, format!("more than {MAX_NODES} values in one file"), None));
        }
        Ok(())
    }

    fn node(&mut self, (event, at): Found<'a>, depth: usize) -> Result<Node, Problem> {
        self.count(at)?;
        if depth > MAX_DEPTH {
            return Err(Problem::Shape(at, format!("nested deeper than {MAX_DEPTH} levels"), None));
        }
        let (kind, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => {
                (Kind::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => (self.list(depth)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.map(depth)?, anchor),
            Event::Alias(id) => return self.copy(id, at),
            _ => return Err(Problem::Shape(at, "a value was expected here".to_owned(), None)),
        };
        let node = Node { at, kind };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn copy(&mut self, id: usize, at: (usize, usize)) -> Result<Node, Problem> {
        let node = self.anchors.get(&id).cloned();
        let node = node.ok_or_else(|| Problem::Shape(at, "an alias of nothing".to_owned(), None))?;
        self.nodes += size(&node);
        self.count(at)?;
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Kind, Problem> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Kind::List(items)),
                found => items.push(self.node(found, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Kind, Problem> {
        let mut entries: Vec<(String, (usize, usize), Node)> = Vec::new();
        loop {
            let found = self.next()?;
            if matches!(found.0, Event::MappingEnd) {
                return Ok(Kind::Map(entries));
            }
            let key = self.node(found, depth + 1)?;
            let Kind::Scalar { text, .. } = key.kind else {
                return Err(Problem::Shape(key.at, "a key is a single word".to_owned(), None));
            };
            if let Some((_, first, _)) = entries.iter().find(|(known, ..)| *known == text) {
                let problem =
                    format!("`{text}` stands here for the second time; the first is in line {}", first.0);
                return Err(Problem::Shape(key.at, problem, Some("keep one of them")));
            }
            let found = self.next()?;
            let value = self.node(found, depth + 1)?;
            entries.push((text, key.at, value));
        }
    }
}

fn size(node: &Node) -> usize {
    1 + match &node.kind {
        Kind::Scalar { .. } => 0,
        Kind::List(items) => items.iter().map(size).sum(),
        Kind::Map(entries) => entries.iter().map(|(.., value)| size(value)).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(text: &str) -> String {
        parse_all("f.yaml", text).unwrap_err().to_string()
    }

    #[test]
    fn values_know_their_place() {
        let documents = parse_all("f.yaml", "a: 1\nb:\n  - x # why\n  - 'null'\n---\nc: ~\n").unwrap();
        assert_eq!(documents.len(), 2);
        let Kind::Map(entries) = &documents[0].kind else { panic!() };
        assert_eq!((entries[1].0.as_str(), entries[1].1), ("b", (2, 1)));
        assert_eq!(documents[0].to_json(), serde_json::json!({"a": 1, "b": ["x", "null"]}));
        assert_eq!(documents[1].to_json(), serde_json::json!({"c": null}));
    }

    #[test]
    fn keys_are_unique_and_bombs_are_refused() {
        assert!(mistake("a: 1\nb: 2\na: 3\n").starts_with("f.yaml:3:1: `a` stands here for the second time"));
        assert!(mistake("a: [1").starts_with("f.yaml:"), "{}", mistake("a: [1"));
        assert!(mistake(&format!("{}1{}", "[".repeat(40), "]".repeat(40))).contains("deeper than 32"));
        let mut bomb = String::from("a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n");
        for level in 1..9 {
            let copies = vec![format!("*a{}", level - 1); 10].join(",");
            bomb.push_str(&format!("a{level}: &a{level} [{copies}]\n"));
        }
        assert!(mistake(&bomb).contains("more than 200000 values"));
    }
}
