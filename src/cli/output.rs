//! What a client command prints: JSON, YAML, a table or tab-separated values, of the whole answer or of a part of it.

mod table;
mod yaml;

use std::io::IsTerminal;

use serde_json::Value;

pub use table::{Columns, lay_out};
pub use yaml::{document, to_yaml};

use super::failure::Failure;
use super::{Env, say};

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Json,
    Jsonc,
    Yaml,
    Table,
    Tsv,
    None,
}

/// Prints answers.
#[derive(Debug)]
pub struct Printer {
    format: Option<Format>,
    query: Option<jmespath::Expression<'static>>,
    colour: bool,
}

impl Printer {
    /// A printer for these options.
    pub fn new(format: Option<Format>, query: Option<&str>, env: &Env) -> Result<Printer, Failure> {
        let compiled = query.map(jmespath::compile).transpose();
        let query =
            compiled.map_err(|error| Failure::usage(format!("--query: {}", error.to_string().trim_end())))?;
        let colour = std::io::stdout().is_terminal() && env.get("NO_COLOR").is_none();
        Ok(Printer { format, query, colour })
    }

    /// Whether neither a format nor a part was asked for, so that a person is told in words.
    pub fn in_words(&self) -> bool {
        self.format.is_none() && self.query.is_none()
    }

    /// Whether a table was asked for.
    pub fn is_table(&self) -> bool {
        self.format == Some(Format::Table) && self.query.is_none()
    }

    /// Prints an answer, as JSON unless something else was asked for.
    pub fn print(&self, value: &Value, columns: Columns) -> Result<(), Failure> {
        self.print_as(value, columns, Format::Json)
    }

    /// Prints an answer, in this format unless something else was asked for.
    pub fn print_as(&self, value: &Value, columns: Columns, usual: Format) -> Result<(), Failure> {
        let part = self.query.as_ref().map(|query| {
            let found = query.search(value).map_err(|error| error.to_string());
            found.and_then(|found| serde_json::to_value(&*found).map_err(|error| error.to_string()))
        });
        let part =
            part.transpose().map_err(|error| Failure::failed(format!("--query: {}", error.trim_end())))?;
        // The command's own columns are those of its whole answer.
        let columns = if part.is_some() { &[] } else { columns };
        let text = self.render(part.as_ref().unwrap_or(value), columns, self.format.unwrap_or(usual));
        if let Some(text) = text {
            say(&text);
        }
        Ok(())
    }

    fn render(&self, value: &Value, columns: Columns, format: Format) -> Option<String> {
        let text = match format {
            Format::None => return None,
            Format::Jsonc if self.colour => coloured(value, 0),
            Format::Json | Format::Jsonc => format!("{value:#}"),
            Format::Yaml => to_yaml(value),
            Format::Table => table::table(value, columns),
            Format::Tsv => table::tsv(value),
        };
        let text = text.trim_end_matches('\n').to_owned();
        // Tables of nothing are no lines, not an empty one.
        let silent = text.is_empty() && matches!(format, Format::Table | Format::Tsv);
        (!silent).then_some(text)
    }
}

/// JSON with keys, strings and other values in colours of their own.
fn coloured(value: &Value, depth: usize) -> String {
    let pad = "  ".repeat(depth + 1);
    let end = "  ".repeat(depth);
    let paint = |code: &str, text: &str| format!("\u{1b}[{code}m{text}\u{1b}[0m");
    match value {
        Value::Array(items) if !items.is_empty() => {
            let lines: Vec<String> =
                items.iter().map(|item| format!("{pad}{}", coloured(item, depth + 1))).collect();
            format!("[\n{}\n{end}]", lines.join(",\n"))
        }
        Value::Object(fields) if !fields.is_empty() => {
            let line = |(key, item): (&String, &Value)| {
                let key = paint("94", &Value::from(key.as_str()).to_string());
                format!("{pad}{key}: {}", coloured(item, depth + 1))
            };
            let lines: Vec<String> = fields.iter().map(line).collect();
            format!("{{\n{}\n{end}}}", lines.join(",\n"))
        }
        Value::String(_) => paint("32", &value.to_string()),
        Value::Array(_) | Value::Object(_) => value.to_string(),
        other => paint("36", &other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NAMES: Columns = &[("Name", "name"), ("Mode", "auth_mode")];

    fn rendered(value: &Value, format: Format, query: Option<&str>) -> Option<String> {
        let printer = Printer::new(Some(format), query, &Env::default()).unwrap();
        let part =
            printer.query.as_ref().map(|query| serde_json::to_value(&*query.search(value).unwrap()).unwrap());
        let columns = if part.is_some() { &[] } else { NAMES };
        printer.render(part.as_ref().unwrap_or(value), columns, format)
    }

    #[test]
    fn one_answer_has_every_form() {
        let value = json!([{"name": "my-endp1", "auth_mode": "key", "traffic": {"blue": 90}}]);
        let text = |format| rendered(&value, format, None).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text(Format::Json)).unwrap(), value);
        assert_eq!(text(Format::Table), "Name      Mode\n--------  ------\nmy-endp1  key");
        assert_eq!(text(Format::Tsv), "key\tmy-endp1\t");
        assert_eq!(text(Format::Yaml), "- auth_mode: key\n  name: my-endp1\n  traffic:\n    blue: 90");
        assert_eq!(rendered(&value, Format::None, None), None);
        assert_eq!(rendered(&json!([]), Format::Table, None), None);
    }

    #[test]
    fn a_query_takes_a_part_and_names_the_columns() {
        let value = json!([{"name": "a", "n": 1.5, "x": null}, {"name": "b", "n": 2, "x": true}]);
        let text = |query, format| rendered(&value, format, Some(query)).unwrap();
        assert_eq!(text("[?n > `1.7`].name", Format::Json), "[\n  \"b\"\n]");
        assert_eq!(text("[].name | [0]", Format::Tsv), "a");
        assert_eq!(text("[].{who: name, n: n}", Format::Table), "N    Who\n---  -----\n1.5  a\n2    b");
        assert_eq!(text("[].[name, x]", Format::Tsv), "a\t\nb\ttrue");
        assert_eq!(text("length(@)", Format::Json), "2");
        let wrong = Printer::new(None, Some("[?"), &Env::default()).unwrap_err();
        assert!(matches!(&wrong, Failure::Usage(text) if text.starts_with("--query: ")), "{wrong}");
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let value = json!({"a": [1, "x\"y", null, {}], "b": {"c": true}});
        let text = coloured(&value, 0);
        let plain = text.split('\u{1b}').map(|part| {
            part.split_once('m').filter(|(c, _)| c.starts_with('[')).map_or(part, |(_, rest)| rest)
        });
        assert_eq!(plain.collect::<String>(), format!("{value:#}"));
    }
}
