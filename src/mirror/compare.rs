//! Whether two answers say the same. Pure.

use serde_json::{Map, Number, Value};

/// How far apart two numbers may be that count as one: by either of the two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// As a part of the larger one.
    pub relative: f64,
    /// By itself, for what is next to zero.
    pub absolute: f64,
}

impl Default for Tolerance {
    fn default() -> Tolerance {
        Tolerance { relative: 1e-6, absolute: 1e-9 }
    }
}

/// The first place at which two answers differ. It holds no text of theirs but names of members.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Where, as a JSON pointer (RFC 6901).
    pub pointer: String,
    /// In what.
    pub kind: Kind,
}

/// In what two answers differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Two numbers: the shadow's less the live one's.
    Number(f64),
    /// Two texts or two truth values.
    Value,
    /// Values of two types.
    Type,
    /// Two arrays: the shadow's length less the live one's.
    Length(i64),
    /// A member that only the live answer has.
    Missing,
    /// A member that only the shadow's answer has.
    Added,
}

impl Kind {
    /// Its name in reports.
    pub fn label(self) -> &'static str {
        match self {
            Kind::Number(_) => "number",
            Kind::Value => "value",
            Kind::Type => "type",
            Kind::Length(_) => "length",
            Kind::Missing => "missing",
            Kind::Added => "added",
        }
    }

    /// By how much, where that can be said.
    #[expect(clippy::cast_precision_loss, reason = "a length that loses precision does not fit in memory")]
    pub fn by(self) -> Option<f64> {
        match self {
            Kind::Number(by) => Some(by),
            Kind::Length(by) => Some(by as f64),
            Kind::Value | Kind::Type | Kind::Missing | Kind::Added => None,
        }
    }
}

/// What was compared is not JSON on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not JSON")]
pub struct NotJson;

/// The first difference between two texts of JSON, the live answer's and the shadow's.
pub fn texts(live: &[u8], shadow: &[u8], tolerance: &Tolerance) -> Result<Option<Difference>, NotJson> {
    let read = |text| serde_json::from_slice::<Value>(text).map_err(|_| NotJson);
    Ok(values(&read(live)?, &read(shadow)?, tolerance))
}

/// The first difference between two values. The order of members does not matter, that of elements does.
pub fn values(live: &Value, shadow: &Value, tolerance: &Tolerance) -> Option<Difference> {
    let mut path = Vec::new();
    let kind = differ(live, shadow, tolerance, &mut path)?;
    let step = |step: &String| ["/", &step.replace('~', "~0").replace('/', "~1")].concat();
    let pointer = path.iter().map(step).collect();
    Some(Difference { pointer, kind })
}

fn differ(live: &Value, shadow: &Value, tolerance: &Tolerance, path: &mut Vec<String>) -> Option<Kind> {
    match (live, shadow) {
        (Value::Object(live), Value::Object(shadow)) => members(live, shadow, tolerance, path),
        (Value::Array(live), Value::Array(shadow)) => {
            for (index, (live, shadow)) in live.iter().zip(shadow).enumerate() {
                path.push(index.to_string());
                let found = differ(live, shadow, tolerance, path);
                if found.is_some() {
                    return found;
                }
                path.pop();
            }
            let length = |items: &Vec<Value>| i64::try_from(items.len()).unwrap_or(i64::MAX);
            (live.len() != shadow.len()).then(|| Kind::Length(length(shadow) - length(live)))
        }
        (Value::Number(live), Value::Number(shadow)) => numbers(live, shadow, tolerance).map(Kind::Number),
        (Value::String(live), Value::String(shadow)) => (live != shadow).then_some(Kind::Value),
        (Value::Bool(live), Value::Bool(shadow)) => (live != shadow).then_some(Kind::Value),
        (Value::Null, Value::Null) => None,
        _ => Some(Kind::Type),
    }
}

fn members(
    live: &Map<String, Value>,
    shadow: &Map<String, Value>,
    tolerance: &Tolerance,
    path: &mut Vec<String>,
) -> Option<Kind> {
    for (name, value) in live {
        path.push(name.clone());
        let found = match shadow.get(name) {
            Some(other) => differ(value, other, tolerance, path),
            None => Some(Kind::Missing),
        };
        if found.is_some() {
            return found;
        }
        path.pop();
    }
    let added = shadow.keys().find(|name| !live.contains_key(*name))?;
    path.push(added.clone());
    Some(Kind::Added)
}

/// By how much two numbers differ, if they do. Whole numbers are labels, counts and ids as often as measures, so two
/// of them are the same or not.
fn numbers(live: &Number, shadow: &Number, tolerance: &Tolerance) -> Option<f64> {
    if live == shadow {
        return None;
    }
    let (a, b) = (live.as_f64()?, shadow.as_f64()?);
    let whole = !live.is_f64() && !shadow.is_f64();
    let apart = (a - b).abs();
    let near = apart <= tolerance.absolute || apart <= tolerance.relative * a.abs().max(b.abs());
    (whole || !near).then_some(b - a)
}

#[cfg(test)]
mod tests;
