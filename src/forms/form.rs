//! A form: one mapping, its fields asked for by name.
//!
//! The same calls that read a field also name it for the schema and say which environment variable overrides it,
//! so that documentation, schema and behaviour cannot drift apart. Whatever was not asked for is a mistake.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::mistake::Mistake;
use super::node::{Kind, Node};
use super::scalar::Scalar;

/// The most mistakes that are told of one document.
const MOST_MISTAKES: usize = 100;

/// One pass over a document: where it comes from, what was found wrong, what was asked for.
#[derive(Debug)]
pub struct Reading {
    file: String,
    env_prefix: Option<&'static str>,
    env: BTreeMap<String, String>,
    used_env: RefCell<Vec<String>>,
    mistakes: RefCell<Vec<Mistake>>,
    describing: bool,
    lenient: bool,
}

impl Reading {
    /// A reading of a file that the environment does not touch.
    pub fn of(file: &str) -> Reading {
        Reading {
            file: file.to_owned(),
            env_prefix: None,
            env: BTreeMap::new(),
            used_env: RefCell::default(),
            mistakes: RefCell::default(),
            describing: false,
            lenient: false,
        }
    }

    /// A reading of a request body: names in any case, and names that nobody asks for are let stand.
    pub fn of_body() -> Reading {
        Reading { lenient: true, ..Reading::of("body") }
    }

    /// A reading in which a variable `{prefix}__SECTION__FIELD` overrides `section.field`.
    pub fn with_env(
        file: &str,
        prefix: &'static str,
        env: impl Iterator<Item = (String, String)>,
    ) -> Reading {
        let ours = env.filter(|(name, _)| name.starts_with(prefix) && name.contains("__")).collect();
        Reading { env_prefix: Some(prefix), env: ours, ..Reading::of(file) }
    }

    /// A pass that only notes what is asked for.
    pub fn describe() -> Reading {
        Reading { describing: true, ..Reading::of("") }
    }

    /// A pass that only notes what is asked for of a request body.
    pub fn describe_body() -> Reading {
        Reading { describing: true, ..Reading::of_body() }
    }

    /// The form of a whole document.
    pub fn form<'a>(&'a self, node: Option<&'a Node>) -> Form<'a> {
        Form::new(self, String::new(), node)
    }

    /// Everything that was found wrong, in the order of the file; variables that name no field among it.
    pub fn finish(self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.into_inner();
        let used = self.used_env.into_inner();
        for name in self.env.keys().filter(|name| !used.contains(name)) {
            mistakes.push(Mistake {
                source: format!("environment variable {name}"),
                at: None,
                field: String::new(),
                problem: "no field has this name".to_owned(),
                hint: Some(
                    "`scoregate config schema` lists the fields; levels are parted by two underscores"
                        .to_owned(),
                ),
            });
        }
        mistakes.sort_by_key(|mistake| mistake.at.unwrap_or((usize::MAX, 0)));
        mistakes
    }
}

/// One mapping that is being read.
#[derive(Debug)]
pub struct Form<'a> {
    reading: &'a Reading,
    path: String,
    at: Option<(usize, usize)>,
    fields: &'a [(String, (usize, usize), Node)],
    asked: RefCell<Vec<(&'static str, Value)>>,
    required: RefCell<Vec<&'static str>>,
    closed: bool,
}

/// A field's value, or its absence.
#[derive(Debug)]
pub struct Entry<'f, T> {
    form: &'f Form<'f>,
    key: &'static str,
    found: Option<T>,
    wrong: bool,
}

impl<T> Entry<'_, T> {
    /// The value, or this one.
    pub fn or(self, default: T) -> T {
        self.found.unwrap_or(default)
    }

    /// The value, or what this makes.
    pub fn or_else(self, default: impl FnOnce() -> T) -> T {
        self.found.unwrap_or_else(default)
    }

    /// The value, if there is one.
    pub fn optional(self) -> Option<T> {
        self.found
    }

    /// The value; its absence is a mistake.
    pub fn required(self, hint: &str) -> Option<T> {
        self.form.required.borrow_mut().push(self.key);
        if self.found.is_none() && !self.wrong {
            self.form.missing(self.key, hint);
        }
        self.found
    }
}

impl<'a> Form<'a> {
    fn new(reading: &'a Reading, path: String, node: Option<&'a Node>) -> Form<'a> {
        let mut fields: &[_] = &[];
        match node {
            Some(Node { kind: Kind::Map(entries), .. }) => fields = entries,
            Some(node) if !node.is_null() => {
                reading.mistakes.borrow_mut().push(Mistake {
                    source: reading.file.clone(),
                    at: Some(node.at),
                    field: path.clone(),
                    problem: "keys and values were expected here".to_owned(),
                    hint: None,
                });
            }
            _ => {}
        }
        let (asked, required) = Default::default();
        let (at, closed) = (node.map(|node| node.at), !reading.lenient);
        Form { reading, path, at, fields, asked, required, closed }
    }

    fn child_path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn find(&self, key: &'static str, schema: Value) -> Option<&'a Node> {
        self.asked.borrow_mut().push((key, schema));
        if self.reading.lenient && self.fields.iter().filter(|(name, ..)| self.is(name, key)).count() > 1 {
            self.wrong(key, "stands there twice, in different letters", Some("keep one of them"));
        }
        self.fields
            .iter()
            .find(|(name, ..)| self.is(name, key))
            .map(|(.., node)| node)
            .filter(|node| !node.is_null())
    }

    fn is(&self, name: &str, key: &str) -> bool {
        name == key || (self.reading.lenient && name.eq_ignore_ascii_case(key))
    }

    /// Whether the field is written down.
    pub fn has(&self, key: &str) -> bool {
        self.fields.iter().any(|(name, _, node)| self.is(name, key) && !node.is_null())
    }

    /// The text of a field that is not asked for by that, to tell what kind of mapping this is.
    pub fn peek(&self, key: &str) -> Option<&'a str> {
        let (.., node) = self.fields.iter().find(|(name, ..)| self.is(name, key))?;
        match &node.kind {
            Kind::Scalar { text, .. } if !node.is_null() => Some(text),
            _ => None,
        }
    }

    /// Notes a mistake about a field (or, with an empty key, about the whole mapping).
    pub fn wrong(&self, key: &str, problem: impl Into<String>, hint: Option<&str>) {
        if self.reading.mistakes.borrow().len() >= MOST_MISTAKES {
            return;
        }
        let at =
            self.fields.iter().find(|(name, ..)| self.is(name, key)).map(|(.., node)| node.at).or(self.at);
        let field = if key.is_empty() { self.path.clone() } else { self.child_path(key) };
        let (problem, hint) = (problem.into(), hint.map(str::to_owned));
        let source = self.reading.file.clone();
        self.reading.mistakes.borrow_mut().push(Mistake { source, at, field, problem, hint });
    }

    fn missing(&self, key: &'static str, hint: &str) {
        if !self.reading.describing {
            self.wrong(key, "is missing", Some(hint));
        }
    }

    fn env(&self, key: &str) -> Option<(String, &'a str)> {
        let prefix = self.reading.env_prefix?;
        let name = format!("{prefix}__{}", self.child_path(key).replace('.', "__").to_ascii_uppercase());
        let value = self.reading.env.get(&name)?;
        self.reading.used_env.borrow_mut().push(name.clone());
        Some((name, value))
    }

    fn wrong_variable(&self, key: &str, name: &str, problem: String) {
        let (source, field) = (format!("environment variable {name}"), self.child_path(key));
        let mistake = Mistake { source, at: None, field, problem, hint: None };
        self.reading.mistakes.borrow_mut().push(mistake);
    }

    /// A single value.
    pub fn value<T: Scalar>(&'a self, key: &'static str, doc: &str) -> Entry<'a, T> {
        let node = self.find(key, described(T::schema(), doc));
        if let Some((source, text)) = self.env(key) {
            let found = T::read(text);
            let wrong = found.is_err();
            let found = found.map_err(|problem| self.wrong_variable(key, &source, problem)).ok();
            return Entry { form: self, key, found, wrong };
        }
        let found = node.and_then(|node| self.text_or_other(key, node));
        Entry { form: self, key, wrong: node.is_some() && found.is_none(), found }
    }

    /// A single value; where a text is asked for, JSON has to have one.
    fn text_or_other<T: Scalar>(&self, key: &str, node: &Node) -> Option<T> {
        if self.reading.lenient && T::TEXT && matches!(node.kind, Kind::Scalar { plain: true, .. }) {
            self.place(key, node, "is not a text".to_owned());
            return None;
        }
        self.scalar(key, node)
    }

    fn scalar<T: Scalar>(&self, key: &str, node: &Node) -> Option<T> {
        let read = match &node.kind {
            Kind::Scalar { text, .. } => T::read(text),
            _ => Err("a single value was expected here".to_owned()),
        };
        read.map_err(|problem| self.place(key, node, problem)).ok()
    }

    fn place(&self, key: &str, node: &Node, problem: String) {
        if self.reading.mistakes.borrow().len() >= MOST_MISTAKES {
            return;
        }
        let (source, field) = (self.reading.file.clone(), self.child_path(key));
        self.reading.mistakes.borrow_mut().push(Mistake {
            source,
            at: Some(node.at),
            field,
            problem,
            hint: None,
        });
    }

    /// A value of a fixed set of words.
    pub fn one_of<T: Copy>(&'a self, key: &'static str, doc: &str, words: &[(&str, T)]) -> Entry<'a, T> {
        let list: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let word = self.value::<String>(key, doc);
        if let Some((_, schema)) = self.asked.borrow_mut().last_mut() {
            *schema = described(json!({"enum": list}), doc);
        }
        let Some(text) = word.found else {
            return Entry { form: self, key, found: None, wrong: word.wrong };
        };
        let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text)).map(|(_, value)| *value);
        if found.is_none() {
            self.wrong(key, format!("`{text}` is not one of {}", list.join(", ")), None);
        }
        Entry { form: self, key, wrong: found.is_none(), found }
    }

    /// A list of single values; in a variable they are parted by commas. `None` if it is not there.
    pub fn values<T: Scalar>(&self, key: &'static str, doc: &str) -> Option<Vec<T>> {
        let node = self.find(key, described(json!({"type": "array", "items": T::schema()}), doc));
        if let Some((source, text)) = self.env(key) {
            let each = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            let read = each.map(T::read).collect::<Result<Vec<T>, _>>();
            return read.map_err(|problem| self.wrong_variable(key, &source, problem)).ok();
        }
        if let Kind::List(items) = &node?.kind {
            Some(items.iter().filter_map(|item| self.text_or_other(key, item)).collect())
        } else {
            self.wrong(key, "a list was expected here", Some("write [one, two]"));
            None
        }
    }

    /// Keys of the user's choice with single values.
    pub fn pairs<T: Scalar>(&self, key: &'static str, doc: &str) -> Vec<(String, T)> {
        // Clients send the numbers and truth values of YAML as they are.
        let any = self.reading.lenient && T::TEXT;
        let value = if any { json!({"type": ["string", "number", "boolean"]}) } else { T::schema() };
        let schema = json!({"type": "object", "additionalProperties": value});
        let Some(node) = self.find(key, described(schema, doc)) else {
            return Vec::new();
        };
        let Kind::Map(entries) = &node.kind else {
            self.wrong(key, "keys and values were expected here", None);
            return Vec::new();
        };
        let path = self.child_path(key);
        let inner =
            Form { path, asked: RefCell::default(), ..Form::new(self.reading, String::new(), Some(node)) };
        entries
            .iter()
            .filter(|(_, _, value)| !(self.reading.lenient && value.is_null()))
            .filter_map(|(name, _, value)| Some((name.clone(), inner.scalar(name, value)?)))
            .collect()
    }

    /// A mapping; if it is not there, an empty one is read.
    pub fn section<R>(&self, key: &'static str, doc: &str, read: impl FnOnce(&Form<'_>) -> R) -> R {
        let node = self.find(key, Value::Null);
        let form = Form::new(self.reading, self.child_path(key), node);
        let result = read(&form);
        let schema = form.close();
        // An absent mapping is read as an empty one, which lacks what is required in it.
        if schema.get("required").is_some() {
            self.required.borrow_mut().push(key);
        }
        self.describe_last(schema, doc);
        result
    }

    /// A mapping that may be absent.
    pub fn optional_section<R>(
        &self,
        key: &'static str,
        doc: &str,
        read: impl FnOnce(&Form<'_>) -> R,
    ) -> Option<R> {
        let present = self.has(key) || self.reading.describing || self.env_below(key);
        if !present {
            self.find(key, Value::Null);
            return None;
        }
        let result = self.section(key, doc, read);
        self.required.borrow_mut().retain(|required| *required != key);
        (!self.reading.describing).then_some(result)
    }

    fn env_below(&self, key: &str) -> bool {
        let Some(prefix) = self.reading.env_prefix else {
            return false;
        };
        let start = format!("{prefix}__{}__", self.child_path(key).replace('.', "__").to_ascii_uppercase());
        self.reading.env.keys().any(|name| name.starts_with(&start))
    }

    /// A list of mappings.
    pub fn list<R>(&self, key: &'static str, doc: &str, read: impl Fn(&Form<'_>) -> R) -> Vec<R> {
        let node = self.find(key, Value::Null);
        let path = self.child_path(key);
        if self.reading.describing {
            let form = Form::new(self.reading, path, None);
            read(&form);
            self.describe_last(json!({"type": "array", "items": form.close()}), doc);
            return Vec::new();
        }
        match node.map(|node| &node.kind) {
            None => Vec::new(),
            Some(Kind::List(items)) => {
                let each = items.iter().enumerate().map(|(index, item)| {
                    let form = Form::new(self.reading, format!("{path}[{index}]"), Some(item));
                    let result = read(&form);
                    form.close();
                    result
                });
                each.collect()
            }
            Some(_) => {
                self.wrong(key, "a list was expected here", Some("begin each item with a dash"));
                Vec::new()
            }
        }
    }

    /// Says in the schema that a field has to be there; whoever reads it says so otherwise.
    pub fn needs(&self, key: &'static str) {
        self.required.borrow_mut().push(key);
    }

    /// A field that is kept as it is, without being understood.
    pub fn carried(&self, key: &'static str) -> Option<Value> {
        self.find(key, json!({})).map(Node::to_json)
    }

    fn describe_last(&self, schema: Value, doc: &str) {
        if let Some((_, last)) = self.asked.borrow_mut().last_mut() {
            *last = described(schema, doc);
        }
    }

    /// Ends the reading of this mapping: what nobody asked for is a mistake. Gives the mapping's JSON Schema.
    pub fn close(self) -> Value {
        let asked = self.asked.borrow();
        for (name, at, _) in self.fields.iter().filter(|_| self.closed) {
            if asked.iter().any(|(key, _)| key == name) {
                continue;
            }
            let near = asked.iter().map(|(key, _)| (distance(name, key), *key)).min();
            let hint = match near {
                Some((distance, key)) if distance <= 2 || key.contains(name.as_str()) => {
                    format!("did you mean `{key}`?")
                }
                _ => format!(
                    "known here: {}",
                    asked.iter().map(|(key, _)| *key).collect::<Vec<_>>().join(", ")
                ),
            };
            self.reading.mistakes.borrow_mut().push(Mistake {
                source: self.reading.file.clone(),
                at: Some(*at),
                field: self.child_path(name),
                problem: "no field has this name".to_owned(),
                hint: Some(hint),
            });
        }
        let fields: Map<String, Value> =
            asked.iter().map(|(key, schema)| ((*key).to_owned(), schema.clone())).collect();
        let mut schema =
            json!({"type": "object", "additionalProperties": !self.closed, "properties": fields});
        let required = self.required.borrow();
        if let (false, Value::Object(parts)) = (required.is_empty(), &mut schema) {
            parts.insert("required".to_owned(), json!(*required));
        }
        schema
    }
}

fn described(mut schema: Value, doc: &str) -> Value {
    if let Value::Object(fields) = &mut schema
        && !doc.is_empty()
    {
        fields.insert("description".to_owned(), doc.into());
    }
    schema
}

/// Edits between two words, for the hint about a misspelt one.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(64).enumerate() {
        let mut diagonal = std::mem::replace(row.first_mut().unwrap_or(&mut 0), i + 1);
        let mut left = i + 1;
        for (to, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let here = (diagonal + usize::from(from != *to)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, here);
            left = here;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forms::{parse_all, parse_json};

    fn read(text: &str, env: &[(&str, &str)]) -> (Option<u16>, Vec<String>) {
        let nodes = parse_all("f.yaml", text).unwrap();
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let reading = Reading::with_env("f.yaml", "SG", env);
        let form = reading.form(nodes.first());
        let port = form.section("server", "", |server| {
            let port = server.value("port", "Where").required("write a number");
            server.value::<bool>("fast", "").or(true);
            port
        });
        form.close();
        (port, reading.finish().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let (_, mistakes) = read("server:\n  prt: 1\n  fast: yes\nother: 2\n", &[]);
        assert_eq!(mistakes.len(), 4, "{mistakes:#?}");
        assert!(
            mistakes[0].starts_with("f.yaml:2:3: server.port: is missing")
                || mistakes[1].contains("port: is missing")
        );
        let all = mistakes.join("\n");
        for part in [
            "f.yaml:2:3: server.prt: no field",
            "did you mean `port`?",
            "f.yaml:3:9: server.fast: `yes` is neither",
            "f.yaml:4:1: other: no field",
        ] {
            assert!(all.contains(part), "{part} in {all}");
        }
    }

    #[test]
    fn the_environment_overrides_and_is_checked() {
        assert_eq!(read("server: {port: 1}", &[("SG__SERVER__PORT", "7")]), (Some(7), vec![]));
        let (port, mistakes) = read("", &[("SG__SERVER__PORT", "x"), ("SG__SERVER__PRT", "7")]);
        assert_eq!((port, mistakes.len()), (None, 2));
        assert!(
            mistakes[0].contains("SG__SERVER__PORT: server.port: `x` is not a whole number"),
            "{mistakes:?}"
        );
        assert!(mistakes[1].contains("SG__SERVER__PRT"), "{mistakes:?}");
    }

    #[test]
    fn misspellings_are_near() {
        assert_eq!((distance("prt", "port"), distance("port", "port"), distance("", "abc")), (1, 0, 3));
    }

    #[test]
    fn labels_in_a_body_are_single_values_and_null_is_none() {
        let read = |text: &str| {
            let (reading, node) = (Reading::of_body(), parse_json(text.as_bytes()).unwrap());
            let pairs = reading.form(Some(&node)).pairs::<String>("tags", "");
            (pairs, reading.finish().len())
        };
        let tag = |value: &str| vec![("a".to_owned(), value.to_owned())];
        assert_eq!(read(r#"{"tags": {"a": false, "gone": null}}"#), (tag("false"), 0));
        assert_eq!(read(r#"{"tags": {"a": "b", "list": []}}"#), (tag("b"), 1));
    }
}
