//! From an instance's answer to predictions. Each keeps the JSON that it came as, so that no digit changes.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::model::batch::RequestFormat;

/// One prediction: JSON on one line, its values as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prediction(Box<str>);

impl Prediction {
    /// Its JSON, without white space between values.
    pub fn json(&self) -> &str {
        &self.0
    }

    fn of(raw: &RawValue) -> Prediction {
        Prediction(compact(raw.get()).into_boxed_str())
    }
}

/// Why an answer holds no predictions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PredictionError {
    /// Too few or too many.
    #[error("the model gave {found} predictions for {expected} rows; it has to give one for each")]
    Count {
        /// Rows that were sent.
        expected: u32,
        /// Predictions that came.
        found: usize,
    },
    /// Not JSON, and not lines of it.
    #[error("the model's answer is not JSON; it has to be an array with one prediction for each row")]
    NotJson,
    /// JSON in which the predictions are not found.
    #[error(
        "the model's answer holds no array of predictions: it is an array, or an object with `predictions`, `outputs` or just one array"
    )]
    NoArray,
    /// Neither JSON nor text.
    #[error("the model's answer is neither JSON nor text in UTF-8")]
    NotText,
}

impl PredictionError {
    /// The code that programs branch on.
    pub fn code(&self) -> &'static str {
        match self {
            PredictionError::Count { .. } => "PredictionCount",
            PredictionError::NotJson | PredictionError::NoArray | PredictionError::NotText => {
                "NotPredictions"
            }
        }
    }
}

/// The predictions in an answer to a request of this format with so many rows.
pub fn predictions(
    format: RequestFormat,
    expected: Option<u32>,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Vec<Prediction>, PredictionError> {
    let media = content_type.unwrap_or_default().to_ascii_lowercase();
    let lines_said = ["ndjson", "jsonl", "json-lines", "json-seq"].iter().any(|word| media.contains(word));
    let text = std::str::from_utf8(body);
    let found = if format == RequestFormat::Raw {
        let text = text.map_err(|_| PredictionError::NotText)?;
        match (whole(text), lines_said.then(|| lines(text)).flatten()) {
            (_, Some(found)) => found,
            (Some(raw), None) => members(raw).unwrap_or_else(|| vec![Prediction::of(raw)]),
            (None, None) => {
                let text = serde_json::to_string(text).map_err(|_| PredictionError::NotText)?;
                vec![Prediction(text.into_boxed_str())]
            }
        }
    } else {
        let text = text.map_err(|_| PredictionError::NotJson)?;
        let named = whole(text).and_then(|raw| members(raw).or_else(|| named(raw)));
        let by_lines = || lines(text).ok_or(PredictionError::NotJson);
        match (whole(text), named) {
            _ if lines_said => by_lines()?,
            (_, Some(found)) => found,
            // One row and one line: the object is the prediction itself.
            (Some(_), None) if format == RequestFormat::Jsonl => by_lines()?,
            (Some(raw), None) => only_array(raw).ok_or(PredictionError::NoArray)?,
            (None, None) => by_lines()?,
        }
    };
    match expected {
        Some(expected) if usize::try_from(expected) != Ok(found.len()) => {
            Err(PredictionError::Count { expected, found: found.len() })
        }
        _ => Ok(found),
    }
}

fn whole(text: &str) -> Option<&RawValue> {
    serde_json::from_str(text).ok()
}

/// An array's members.
fn members(raw: &RawValue) -> Option<Vec<Prediction>> {
    if !raw.get().starts_with('[') {
        return None;
    }
    let members: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
    Some(members.into_iter().map(Prediction::of).collect())
}

/// The array under a name that servers use.
fn named(raw: &RawValue) -> Option<Vec<Prediction>> {
    let fields = fields(raw)?;
    let array = |name: &str| fields.iter().find(|(key, _)| key == name).and_then(|(_, value)| members(value));
    array("predictions").or_else(|| array("outputs"))
}

/// The only array in an object.
fn only_array(raw: &RawValue) -> Option<Vec<Prediction>> {
    let mut arrays = fields(raw)?.into_iter().filter(|(_, value)| value.get().starts_with('['));
    match (arrays.next(), arrays.next()) {
        (Some((_, only)), None) => members(only),
        _ => None,
    }
}

/// One value a line; blank lines do not count.
fn lines(text: &str) -> Option<Vec<Prediction>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let found: Option<Vec<Prediction>> = lines.map(|line| whole(line).map(Prediction::of)).collect();
    found.filter(|found| !found.is_empty())
}

/// An object's members in their order.
pub(super) fn fields(raw: &RawValue) -> Option<Vec<(String, &RawValue)>> {
    struct Fields<'a>(Vec<(String, &'a RawValue)>);
    struct InOrder;
    impl<'de> Visitor<'de> for InOrder {
        type Value = Fields<'de>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
            let mut fields = Vec::new();
            while let Some(field) = map.next_entry()? {
                fields.push(field);
            }
            Ok(Fields(fields))
        }
    }
    impl<'de> Deserialize<'de> for Fields<'de> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(InOrder)
        }
    }
    serde_json::from_str::<Fields<'_>>(raw.get()).ok().map(|fields| fields.0)
}

/// JSON without white space between its values.
fn compact(json: &str) -> String {
    let (mut quoted, mut escaped) = (false, false);
    json.chars()
        .filter(|c| {
            let keep = quoted || !c.is_ascii_whitespace();
            match c {
                '"' if !escaped => quoted = !quoted,
                _ => {}
            }
            escaped = quoted && *c == '\\' && !escaped;
            keep
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(format: RequestFormat, rows: u32, body: &str) -> Result<Vec<String>, PredictionError> {
        let found = predictions(format, Some(rows), Some("application/json"), body.as_bytes())?;
        Ok(found.iter().map(|prediction| prediction.json().to_owned()).collect())
    }

    #[test]
    fn every_server_has_its_way_to_say_it() {
        let two = ["1.0", "{\"a\":[1,2]}"].map(str::to_owned);
        for body in [
            "[1.0, {\"a\": [1, 2]}]",
            "{\"predictions\": [1.0, {\"a\": [1, 2]}]}",
            "{\"model\": \"m\", \"outputs\": [1.0, {\"a\": [1, 2]}], \"x\": [1]}",
            "{\"model\": \"m\", \"scores\": [1.0, {\"a\": [1, 2]}]}",
            "1.0\n{\"a\": [1, 2]}\n",
            "1.0\r\n\r\n{\"a\": [1, 2]}",
        ] {
            assert_eq!(found(RequestFormat::InputData, 2, body).unwrap(), two, "{body}");
        }
        assert_eq!(found(RequestFormat::Jsonl, 1, "{\"label\": 3}\n").unwrap(), ["{\"label\":3}"]);
        assert_eq!(found(RequestFormat::Jsonl, 1, "{\"scores\": [1, 2]}").unwrap(), ["{\"scores\":[1,2]}"]);
        assert_eq!(found(RequestFormat::Jsonl, 2, "{\"predictions\": [1, 2]}").unwrap(), ["1", "2"]);
        let lines =
            predictions(RequestFormat::Jsonl, Some(1), Some("application/x-ndjson"), b"[1, 2]\n").unwrap();
        assert_eq!(lines.first().unwrap().json(), "[1,2]");
    }

    #[test]
    fn too_few_and_too_many_are_told_with_both_numbers() {
        let error = found(RequestFormat::Instances, 3, "[1, 2]").unwrap_err();
        assert_eq!(error, PredictionError::Count { expected: 3, found: 2 });
        assert!(error.to_string().contains("2 predictions for 3 rows"), "{error}");
        assert!(found(RequestFormat::Instances, 1, "[1, 2]").is_err());
        assert!(found(RequestFormat::Instances, 1, "[]").is_err());
    }

    #[test]
    fn what_holds_no_predictions_is_an_error() {
        for (body, error) in [
            ("", PredictionError::NotJson),
            ("oops", PredictionError::NotJson),
            ("[1, 2", PredictionError::NotJson),
            ("{\"a\": 1}", PredictionError::NoArray),
            ("{\"a\": [1], \"b\": [2]}", PredictionError::NoArray),
            ("1", PredictionError::NoArray),
            ("\"text\"", PredictionError::NoArray),
        ] {
            assert_eq!(found(RequestFormat::DataframeSplit, 1, body), Err(error), "{body}");
        }
        let binary = predictions(RequestFormat::Raw, None, None, &[0xff, 0xfe]);
        assert_eq!(binary, Err(PredictionError::NotText));
    }

    #[test]
    fn a_raw_answer_is_one_prediction_or_an_array_of_them() {
        let raw = |body: &str| -> Vec<String> {
            let found = predictions(RequestFormat::Raw, None, None, body.as_bytes()).unwrap();
            found.iter().map(|prediction| prediction.json().to_owned()).collect()
        };
        assert_eq!(raw("[1, \"a\"]"), ["1", "\"a\""]);
        assert_eq!(raw("{\"predictions\": [1]}"), ["{\"predictions\":[1]}"]);
        assert_eq!(raw("a \"cat\"\n"), ["\"a \\\"cat\\\"\\n\""]);
        assert_eq!((raw("3.10"), raw("")), (vec!["3.10".to_owned()], vec!["\"\"".to_owned()]));
        assert_eq!(raw("[]"), [""; 0]);
    }

    #[test]
    fn white_space_goes_only_between_values() {
        let json = "{ \"a b\" : \" \\\" c\\\\\" ,\n\t\"d\" : [ 1.0 , 2 ] }";
        assert_eq!(compact(json), "{\"a b\":\" \\\" c\\\\\",\"d\":[1.0,2]}");
    }

    #[test]
    fn a_deep_answer_ends_nothing() {
        let deep = format!("[{}{}]", "[".repeat(100_000), "]".repeat(100_000));
        let _ = predictions(RequestFormat::Instances, Some(1), None, deep.as_bytes());
    }
}
