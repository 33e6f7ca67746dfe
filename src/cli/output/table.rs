//! Columns for people and tab-separated values for scripts.

use serde_json::{Map, Value};

/// A command's columns: a heading, and where its value is, as keys parted by dots.
pub type Columns = &'static [(&'static str, &'static str)];

/// Fields that a table without columns of its own leaves out, as `az` does.
const LONG: [&str; 3] = ["id", "type", "etag"];

/// The longest rule under the last heading.
const LAST: usize = 60;

/// A table: of these columns, or of every simple field if there are none.
pub fn table(value: &Value, columns: Columns) -> String {
    let items = match value {
        Value::Array(items) => items.as_slice(),
        Value::Null => &[],
        other => std::slice::from_ref(other),
    };
    let rows: Vec<Vec<(String, String)>> = items.iter().map(|item| row(item, columns)).collect();
    let mut headings: Vec<&str> = Vec::new();
    for (heading, _) in rows.iter().flatten() {
        if !headings.contains(&heading.as_str()) {
            headings.push(heading);
        }
    }
    let cell = |row: &[(String, String)], heading: &str| {
        row.iter().find(|(name, _)| name == heading).map_or_else(String::new, |(_, text)| text.clone())
    };
    let mut lines: Vec<Vec<String>> = vec![headings.iter().map(|heading| (*heading).to_owned()).collect()];
    lines.extend(rows.iter().map(|row| headings.iter().map(|heading| cell(row, heading)).collect()));
    lay_out(&lines)
}

/// Lines of cells under their headings, which stand in the first line.
pub fn lay_out(lines: &[Vec<String>]) -> String {
    let Some(headings) = lines.first().filter(|headings| !headings.is_empty()) else {
        return String::new();
    };
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    // A dash more than the heading, as tabulate lays a simple table out.
    let widths: Vec<usize> = headings
        .iter()
        .enumerate()
        .map(|(column, heading)| width(column).max(heading.chars().count() + 2))
        .collect();
    let mut rule = widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>();
    // Nothing stands behind the last column that a longer rule would part from it.
    if let Some(last) = rule.last_mut() {
        last.truncate(LAST);
    }
    let line = |cells: &[String]| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut text = vec![line(headings), line(&rule)];
    text.extend(lines.iter().skip(1).map(|cells| line(cells)));
    text.join("\n")
}

fn row(item: &Value, columns: Columns) -> Vec<(String, String)> {
    match item {
        Value::Object(fields) if columns.is_empty() => simple(fields),
        Value::Array(values) => {
            let numbered = values.iter().enumerate();
            numbered.map(|(index, value)| (format!("Column{}", index + 1), cell(value))).collect()
        }
        Value::Object(_) => columns
            .iter()
            .map(|(heading, path)| ((*heading).to_owned(), at(item, path).map_or_else(String::new, cell)))
            .collect(),
        single => vec![("Result".to_owned(), cell(single))],
    }
}

fn simple(fields: &Map<String, Value>) -> Vec<(String, String)> {
    let kept = fields.iter().filter(|(name, value)| {
        !LONG.contains(&name.as_str()) && !value.is_object() && !value.is_array() && !value.is_null()
    });
    kept.map(|(name, value)| (capitalized(name), cell(value))).collect()
}

fn at<'a>(item: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(item, |value, key| value.get(key))
}

fn capitalized(name: &str) -> String {
    let mut characters = name.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

/// A value in one line. Maps and lists of single values are told as `az`'s flags would take them.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        // What moves a terminal's cursor has no place in a line.
        Value::String(text) => text.replace(char::is_control, " "),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| format!("{key}={}", cell(value))).collect::<Vec<_>>().join(" ")
        }
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Values parted by tabs, a line for each item; what has parts of its own is left empty, as `az` does.
pub fn tsv(value: &Value) -> String {
    let line = |item: &Value| match item {
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join("\t"),
        Value::Object(fields) => fields.values().map(plain).collect::<Vec<_>>().join("\t"),
        single => plain(single),
    };
    match value {
        Value::Array(items) => items.iter().map(line).collect::<Vec<_>>().join("\n"),
        single => line(single),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Array(items) => items.len().to_string(),
        Value::Object(_) => String::new(),
        single => cell(single),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_line_up_whatever_is_in_them() {
        let value = json!([
            {"name": "ä", "traffic": {"blue": 90, "green": 10}, "deep": {"er": [1, 2]}},
            {"name": "longer-name", "traffic": {}, "deep": null},
        ]);
        let columns: Columns = &[("Name", "name"), ("Traffic", "traffic"), ("Deep", "deep.er")];
        assert_eq!(
            table(&value, columns),
            "Name         Traffic           Deep\n\
             -----------  ----------------  ------\n\
             ä            blue=90 green=10  1, 2\n\
             longer-name"
        );
        assert_eq!(
            table(&json!({"id": "/x", "b": 1, "a": "x\n\u{1b}y", "l": []}), &[]),
            "A     B\n----  ---\nx  y  1"
        );
        assert_eq!(table(&json!(["a", "b"]), &[]), "Result\n--------\na\nb");
        assert_eq!((table(&json!([]), &[]), table(&Value::Null, &[])), (String::new(), String::new()));
    }
}
