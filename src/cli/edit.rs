//! Changes to a document before it is read: flags, `--set`, `--add`, `--remove`, and a file over what is there.

use serde_json::Value;

use super::failure::Failure;
use crate::forms::{Kind, Mistakes, Node, parse_all, parse_json};

/// Where nothing of a file stands: what came from the command line.
const NOWHERE: (usize, usize) = (0, 0);

/// A part of a path: a key, or a place in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    At(usize),
}

/// Edits of the command line, as `az`'s generic update has them.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Edits {
    /// Set a field: request_settings.request_timeout_ms=9000
    #[arg(long = "set", value_name = "PATH=VALUE", num_args = 1.., action = clap::ArgAction::Append)]
    set: Vec<String>,
    /// Add to a list: backend.urls http://10.0.0.7:5001
    #[arg(long, value_names = ["PATH", "VALUE"], num_args = 2.., action = clap::ArgAction::Set)]
    add: Vec<String>,
    /// Remove a field, or an item of a list: tags.team, backend.urls 0
    #[arg(long, value_name = "PATH [INDEX]", num_args = 1..=2, action = clap::ArgAction::Set)]
    remove: Vec<String>,
    /// Take every value of --set as text
    #[arg(long)]
    force_string: bool,
}

impl Edits {
    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    /// Makes them.
    pub fn apply(&self, node: &mut Node) -> Result<(), Failure> {
        for text in &self.set {
            let (path, value) = text.split_once('=').ok_or_else(|| {
                Failure::usage(format!("--set {text}: write PATH=VALUE, such as tags.team=vision"))
            })?;
            let value = if self.force_string { scalar(value, false) } else { self::value(value)? };
            set(node, &steps(path)?, value).map_err(|why| Failure::usage(format!("--set {path}: {why}")))?;
        }
        let mut add = self.add.iter();
        if let Some(path) = add.next() {
            for text in add {
                let wrong = |why| Failure::usage(format!("--add {path}: {why}"));
                push(node, &steps(path)?, value(text)?).map_err(wrong)?;
            }
        }
        if let Some(path) = self.remove.first() {
            let mut steps = steps(path)?;
            if let Some(index) = self.remove.get(1) {
                let index = index
                    .parse()
                    .map_err(|_| Failure::usage(format!("--remove {path} {index}: no index")))?;
                steps.push(Step::At(index));
            }
            remove(node, &steps).map_err(|why| Failure::usage(format!("--remove {path}: {why}")))?;
        }
        Ok(())
    }
}

/// A JSON value as a document.
pub fn node(value: &Value) -> Result<Node, Failure> {
    parse_json(value.to_string().as_bytes()).map_err(|error| Failure::failed(error.to_string()))
}

/// A mapping without anything in it.
pub fn empty() -> Node {
    Node { at: NOWHERE, kind: Kind::Map(Vec::new()) }
}

fn scalar(text: &str, plain: bool) -> Node {
    Node { at: NOWHERE, kind: Kind::Scalar { text: text.to_owned(), plain } }
}

/// A value as it is written on the command line: a list or a mapping in brackets, or a word.
fn value(text: &str) -> Result<Node, Failure> {
    if !text.starts_with(['{', '[']) {
        return Ok(scalar(text, true));
    }
    let mut parsed = parse_all("command line", text).map_err(|error| Failure::usage(error.to_string()))?;
    let mut found = parsed.pop().unwrap_or_else(empty);
    forget_places(&mut found);
    Ok(found)
}

fn forget_places(node: &mut Node) {
    node.at = NOWHERE;
    match &mut node.kind {
        Kind::Scalar { .. } => {}
        Kind::List(items) => items.iter_mut().for_each(forget_places),
        Kind::Map(entries) => {
            for (_, at, value) in entries {
                *at = NOWHERE;
                forget_places(value);
            }
        }
    }
}

/// `a.b[0].c` in parts.
fn steps(path: &str) -> Result<Vec<Step>, Failure> {
    let wrong =
        || Failure::usage(format!("`{path}` is no path; write one like tags.team or backend.urls[0]"));
    let mut steps = Vec::new();
    for part in path.split('.') {
        let (key, rest) = part.split_once('[').map_or((part, None), |(key, rest)| (key, Some(rest)));
        if key.is_empty() {
            return Err(wrong());
        }
        steps.push(Step::Key(key.to_owned()));
        if let Some(rest) = rest {
            for index in rest.strip_suffix(']').ok_or_else(wrong)?.split("][") {
                steps.push(Step::At(index.parse().map_err(|_| wrong())?));
            }
        }
    }
    Ok(steps)
}

/// Finds a place, making the mappings on the way if asked to.
fn find<'a>(node: &'a mut Node, steps: &[Step], make: bool) -> Result<&'a mut Node, String> {
    let mut here = node;
    for step in steps {
        if make && here.is_null() {
            *here = empty();
        }
        here = match (step, &mut here.kind) {
            (Step::Key(key), Kind::Map(entries)) => {
                let at = entries.iter().position(|(name, ..)| name == key);
                let at = match at {
                    Some(at) => at,
                    None if make => {
                        entries.push((key.clone(), NOWHERE, scalar("", true)));
                        entries.len() - 1
                    }
                    None => return Err(format!("there is no `{key}`")),
                };
                entries.get_mut(at).map(|(.., value)| value).ok_or("it is not there")?
            }
            (Step::At(index), Kind::List(items)) => {
                let count = items.len();
                items.get_mut(*index).ok_or_else(|| format!("there is no item {index}; there are {count}"))?
            }
            (Step::Key(key), _) => return Err(format!("there is no `{key}` in what has no fields")),
            (Step::At(_), _) => return Err("it is no list".to_owned()),
        };
    }
    Ok(here)
}

fn set(node: &mut Node, steps: &[Step], value: Node) -> Result<(), String> {
    *find(node, steps, true)? = value;
    Ok(())
}

fn push(node: &mut Node, steps: &[Step], value: Node) -> Result<(), String> {
    let here = find(node, steps, true)?;
    if here.is_null() {
        here.kind = Kind::List(Vec::new());
    }
    let Kind::List(items) = &mut here.kind else { return Err("it is no list".to_owned()) };
    items.push(value);
    Ok(())
}

fn remove(node: &mut Node, steps: &[Step]) -> Result<(), String> {
    let (last, parents) = steps.split_last().ok_or("it is not there")?;
    match (last, &mut find(node, parents, false)?.kind) {
        (Step::Key(key), Kind::Map(entries)) => {
            let before = entries.len();
            entries.retain(|(name, ..)| name != key);
            if entries.len() == before { Err(format!("there is no `{key}`")) } else { Ok(()) }
        }
        (Step::At(index), Kind::List(items)) if *index < items.len() => {
            items.remove(*index);
            Ok(())
        }
        _ => Err("it is not there".to_owned()),
    }
}

/// Sets a field at the top.
pub fn put(node: &mut Node, key: &str, value: &Value) -> Result<(), Failure> {
    let value = self::node(value)?;
    set(node, &[Step::Key(key.to_owned())], value).map_err(Failure::Usage)
}

/// Moves these fields from the top into a mapping there, in the place of what it says of them.
pub fn move_into(node: &mut Node, keys: &[&str], section: &str) -> Result<(), Failure> {
    let Kind::Map(entries) = &mut node.kind else { return Ok(()) };
    let moved: Vec<(String, Node)> = entries
        .extract_if(.., |(name, ..)| keys.contains(&name.as_str()))
        .map(|(name, _, value)| (name, value))
        .collect();
    for (name, value) in moved {
        set(node, &[Step::Key(section.to_owned()), Step::Key(name)], value).map_err(Failure::Usage)?;
    }
    Ok(())
}

/// Takes a field away from the top, if it is there.
pub fn drop_field(node: &mut Node, key: &str) {
    if let Kind::Map(entries) = &mut node.kind {
        entries.retain(|(name, ..)| name != key);
    }
}

/// A field at the top, as text.
pub fn field<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    let Kind::Map(entries) = &node.kind else { return None };
    let (.., value) = entries.iter().find(|(name, ..)| name == key)?;
    match &value.kind {
        Kind::Scalar { text, .. } if !value.is_null() => Some(text),
        _ => None,
    }
}

/// Lays a file, if there is one, over what is there: its fields replace, its tags and properties are added.
pub fn overlay(under: &mut Node, over: Option<Node>) -> Result<(), Failure> {
    over.map_or(Ok(()), |over| merge(under, over))
}

fn merge(under: &mut Node, over: Node) -> Result<(), Failure> {
    let (Kind::Map(there), Kind::Map(fields)) = (&mut under.kind, over.kind) else {
        return Err(Failure::usage("the file holds no fields"));
    };
    for (key, at, value) in fields {
        let merged = matches!(key.as_str(), "tags" | "properties");
        match there.iter_mut().find(|(name, ..)| *name == key) {
            Some((.., old)) if merged && matches!((&old.kind, &value.kind), (Kind::Map(_), Kind::Map(_))) => {
                merge(old, value)?;
            }
            Some((_, place, old)) => (*place, *old) = (at, value),
            None => there.push((key, at, value)),
        }
    }
    Ok(())
}

/// Mistakes as a failure; what came from the command line has no line.
pub fn told(mistakes: Mistakes) -> Failure {
    let mut mistakes = mistakes.into_vec();
    for mistake in mistakes.iter_mut().filter(|mistake| mistake.at == Some(NOWHERE)) {
        mistake.at = None;
        "command line".clone_into(&mut mistake.source);
    }
    let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    Failure::Usage(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn edited(before: &Value, edits: &Edits) -> Result<Value, String> {
        let mut node = node(before).unwrap();
        edits.apply(&mut node).map_err(|error| error.to_string())?;
        Ok(node.to_json())
    }

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn fields_are_set_added_and_removed() {
        let before = json!({"tags": {"a": "b"}, "backend": {"urls": ["x"]}});
        let edits = Edits {
            set: texts(&[
                "tags.c=1",
                "request_settings.request_timeout_ms=9000",
                "traffic={blue: 90, green: 10}",
                "backend.urls[0]=y",
            ]),
            add: texts(&["backend.urls", "z"]),
            remove: texts(&["tags.a"]),
            force_string: false,
        };
        let after = json!({"tags": {"c": 1}, "backend": {"urls": ["y", "z"]}, "traffic": {"blue": 90, "green": 10},
            "request_settings": {"request_timeout_ms": 9000}});
        assert_eq!(edited(&before, &edits).unwrap(), after);
        let edits = Edits { set: texts(&["a=1"]), force_string: true, ..Edits::default() };
        assert_eq!(edited(&json!({}), &edits).unwrap(), json!({"a": "1"}));
        let edits = Edits { remove: texts(&["backend.urls", "0"]), ..Edits::default() };
        assert_eq!(edited(&before, &edits).unwrap()["backend"]["urls"], json!([]));
    }

    #[test]
    fn what_cannot_be_edited_is_told() {
        let before = json!({"name": "x", "backend": {"urls": ["x"]}});
        let set = |text: &str| Edits { set: texts(&[text]), ..Edits::default() };
        let remove = |list: &[&str]| Edits { remove: texts(list), ..Edits::default() };
        for (edits, told) in [
            (set("tags"), "write PATH=VALUE"),
            (set("backend.urls[3]=x"), "there is no item 3; there are 1"),
            (set("name.x=1"), "has no fields"),
            (set("a..b=1"), "is no path"),
            (set("a={b"), "command line"),
            (remove(&["tags.a"]), "there is no `tags`"),
            (remove(&["backend.urls", "5"]), "it is not there"),
            (Edits { add: texts(&["name", "y"]), ..Edits::default() }, "it is no list"),
        ] {
            let error = edited(&before, &edits).unwrap_err();
            assert!(error.contains(told), "{told} is not in {error}");
        }
    }

    #[test]
    fn fields_of_the_top_go_before_those_of_a_section() {
        let mut moved = node(&json!({"a": 1, "b": 2, "settings": {"b": 3, "c": 4}})).unwrap();
        move_into(&mut moved, &["a", "b", "x"], "settings").unwrap();
        assert_eq!(moved.to_json(), json!({"settings": {"a": 1, "b": 2, "c": 4}}));
        let mut none = node(&json!({"name": "x"})).unwrap();
        move_into(&mut none, &["a"], "settings").unwrap();
        assert_eq!(none.to_json(), json!({"name": "x"}));
    }

    #[test]
    fn a_file_lies_over_what_is_there() {
        let mut under = node(&json!({"name": "x", "description": "old", "tags": {"a": "1", "b": "2"}, "traffic": {"blue": 100}})).unwrap();
        let over = parse_all("f.yaml", "description: new\ntags: {b: \"3\"}\ntraffic: {green: 100}\n")
            .unwrap()
            .remove(0);
        overlay(&mut under, Some(over)).unwrap();
        let after = json!({"name": "x", "description": "new", "tags": {"a": "1", "b": "3"}, "traffic": {"green": 100}});
        assert_eq!(under.to_json(), after);
    }
}
