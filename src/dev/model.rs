//! The two demo models of `scoregate dev`: a logistic regression (blue) and boosted trees (green) that
//! estimate heart disease from 13 columns. `models/train.py` writes their JSON, which says how columns become
//! numbers; this module follows it and does no I/O. `models/DATA.md` tells where the data come from.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most rows that one request may hold.
pub const MAX_ROWS: usize = 1000;

/// A trained model: how to turn a row into features, and features into a probability.
#[derive(Debug, Deserialize)]
pub struct Model {
    /// What the model is called; both demo models are versions of one.
    pub name: String,
    /// Which version this is.
    pub version: String,
    /// The input columns; `encoders` has one for each.
    pub columns: Vec<String>,
    encoders: Vec<Encoder>,
    intercept: f64,
    kind: Kind,
}

/// How a column becomes features: the number itself, or for each category 1 if the cell names it, else 0.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Encoder {
    Number,
    OneHot(Vec<String>),
}

/// What is added to the intercept to make the log-odds of disease.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Features by position, each with its mean, scale and weight.
    Logistic(Vec<(usize, f64, f64, f64)>),
    Trees(Vec<Node>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Node {
    Leaf(f64),
    /// A feature by position, the most it may be to take the first branch, and both branches.
    Split(usize, f64, Box<Node>, Box<Node>),
}

/// The answer for one row.
#[derive(Debug, Serialize)]
pub struct Prediction {
    /// The probability of disease, 0 to 1.
    pub probability: f64,
    /// Whether disease is the likelier answer.
    pub disease: bool,
}

/// Why a body was not scored, told to its sender. It may quote a value of the body: keep it out of logs.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The model's own JSON is wrong, which no request can mend.
    #[error("the built-in model is broken ({0}): run models/train.py again")]
    Broken(String),
    /// Not JSON, or not of an accepted form.
    #[error(r#"send {{"input_data": {{"columns": [..], "data": [[..]]}}}} or {{"input_data": [[..]]}}: {0}"#)]
    Body(String),
    /// More than [`MAX_ROWS`] rows.
    #[error("{0} rows are too many: send at most {MAX_ROWS} in one request")]
    TooManyRows(usize),
    /// A column that the model needs is not in `columns`.
    #[error("missing column `{0}`: name it in `columns`")]
    MissingColumn(String),
    /// A row, counted from 0, that does not fit the columns.
    #[error("row {0} {1}")]
    Row(usize, String),
}

impl Model {
    /// The first version: a logistic regression.
    /// # Errors
    /// [`ModelError::Broken`] if the built-in JSON is not a model.
    pub fn blue() -> Result<Self, ModelError> {
        Self::from_json(include_str!("models/blue.json"))
    }

    /// The second version: boosted trees.
    /// # Errors
    /// [`ModelError::Broken`] if the built-in JSON is not a model.
    pub fn green() -> Result<Self, ModelError> {
        Self::from_json(include_str!("models/green.json"))
    }

    fn from_json(json: &str) -> Result<Self, ModelError> {
        serde_json::from_str(json).map_err(|error| ModelError::Broken(error.to_string()))
    }

    /// Scores a body of the Azure ML tabular form, one prediction a row. Its size is for the caller to bound.
    ///
    /// `columns` may be in any order, or left out for the model's own; numbers may be text, as CSV has them.
    /// # Errors
    /// The first thing that is wrong with the body, and where.
    pub fn score(&self, body: &[u8]) -> Result<Vec<Prediction>, ModelError> {
        let table = self.table(body).map_err(|error| error.to_string());
        let (columns, rows) = table.map_err(|error| ModelError::Body(error.chars().take(99).collect()))?;
        if rows.len() > MAX_ROWS {
            return Err(ModelError::TooManyRows(rows.len()));
        }
        let mut inputs = Vec::new();
        for (name, encoder) in self.columns.iter().zip(&self.encoders) {
            let position = columns.iter().position(|column| column == name);
            let position = position.ok_or_else(|| ModelError::MissingColumn(name.clone()))?;
            inputs.push((name, encoder, position));
        }
        let score = |(row, cells): (usize, &Vec<Value>)| {
            let wrong = |problem| ModelError::Row(row, problem);
            let (found, expected) = (cells.len(), columns.len());
            if found != expected {
                return Err(wrong(format!("has {found} values: send {expected}")));
            }
            let mut features = Vec::new();
            for (name, encoder, position) in &inputs {
                let cell = text(cells.get(*position).unwrap_or(&Value::Null));
                // What is quoted is cut short, here and above: it may be as long as the body.
                let wrong = |known| wrong(format!("column `{name}`: `{cell:.40}` is not {known}"));
                features.extend(encoder.encode(&cell).map_err(wrong)?);
            }
            let broken = || ModelError::Broken("a feature is missing".to_owned());
            let log_odds = self.intercept + self.kind.sum(&features).ok_or_else(broken)?;
            let probability = 1.0 / (1.0 + (-log_odds).exp());
            let disease = probability > 0.5;
            Ok(Prediction { probability, disease })
        };
        rows.iter().enumerate().map(score).collect()
    }

    /// The columns and rows of a body of either form.
    fn table(&self, body: &[u8]) -> Result<(Vec<String>, Vec<Vec<Value>>), serde_json::Error> {
        let mut body: Value = serde_json::from_slice(body)?;
        let mut take = |pointer| body.pointer_mut(pointer).map(Value::take);
        let columns = take("/input_data/columns").map(serde_json::from_value);
        let columns = columns.transpose()?.unwrap_or_else(|| self.columns.clone());
        let rows = take("/input_data/data").or_else(|| take("/input_data"));
        Ok((columns, serde_json::from_value(rows.unwrap_or_default())?))
    }
}

impl Encoder {
    /// The features of one cell, or what the cell should have been.
    fn encode(&self, cell: &str) -> Result<Vec<f64>, String> {
        const MAX: f64 = 1e6; // Beyond any patient, and too small for a sum to overflow.
        match self {
            Self::Number => match cell.trim().parse::<f64>() {
                Ok(number) if number.abs() <= MAX => Ok(vec![number]),
                _ => Err(format!("a number from -{MAX} to {MAX}")),
            },
            Self::OneHot(known) if known.iter().all(|category| category != cell) => {
                Err(format!("one of `{}`", known.join("`, `")))
            }
            Self::OneHot(known) => Ok(known.iter().map(|category| f64::from(category == cell)).collect()),
        }
    }
}

impl Kind {
    /// `None` if the model asks for a feature that is not there.
    fn sum(&self, features: &[f64]) -> Option<f64> {
        match self {
            Self::Logistic(terms) => terms
                .iter()
                .map(|(feature, mean, scale, weight)| Some((features.get(*feature)? - mean) / scale * weight))
                .sum(),
            Self::Trees(trees) => trees.iter().map(|tree| tree.leaf(features)).sum(),
        }
    }
}

impl Node {
    fn leaf(&self, features: &[f64]) -> Option<f64> {
        match self {
            Self::Leaf(value) => Some(*value),
            Self::Split(feature, at_most, yes, _) if features.get(*feature)? <= at_most => yes.leaf(features),
            Self::Split(_, _, _, no) => no.leaf(features),
        }
    }
}

/// A cell in the spelling of the categories: text without its quotes, and 1.0, as pandas has it, as `1`.
fn text(cell: &Value) -> String {
    let number = cell.as_f64().map(|number| number.to_string());
    let text = cell.as_str().map(str::to_owned);
    text.or(number).unwrap_or_else(|| cell.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    /// Rows that neither model saw, and scikit-learn's answers. It is a scoring request as it stands.
    fn held_out() -> Value {
        serde_json::from_str(include_str!("models/heldout.json")).unwrap()
    }

    fn score(model: Result<Model, ModelError>, body: &Value) -> Result<Vec<f64>, ModelError> {
        let score = |row: Prediction| (row.disease == (row.probability > 0.5)).then_some(row.probability);
        let rows = model?.score(body.to_string().as_bytes())?;
        Ok(rows.into_iter().map(score).collect::<Option<_>>().unwrap())
    }

    #[test]
    fn models_agree_with_scikit_learn_but_not_with_each_other() {
        let [blue, green] = [Model::blue(), Model::green()].map(|model| score(model, &held_out()).unwrap());
        for (name, found) in [("blue", &blue), ("green", &green)] {
            let expected: Vec<f64> = from_value(held_out()[name].clone()).unwrap();
            assert_eq!(found.len(), expected.len());
            let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-9;
            assert!(found.iter().zip(&expected).all(close), "{name}");
        }
        assert!(blue.iter().zip(&green).any(|(a, b)| (*a > 0.5) != (*b > 0.5)));
    }

    #[test]
    fn column_order_bare_rows_and_text_change_nothing() {
        let mut body = held_out();
        let expected = score(Model::green(), &body).unwrap();
        let bare = json!({"input_data": body["input_data"]["data"]});
        assert_eq!(score(Model::green(), &bare).unwrap(), expected);
        body["input_data"]["columns"].as_array_mut().unwrap().reverse();
        for row in body["input_data"]["data"].as_array_mut().unwrap() {
            *row = row.as_array().unwrap().iter().rev().map(text).collect();
        }
        assert_eq!(score(Model::green(), &body).unwrap(), expected);
    }

    #[test]
    fn errors_say_what_to_change() {
        const CASES: &str = r#"
            /data       | "x"    | send {"input_data": {"columns": [..], "data": [[..]]}} or {"input_data":
            /columns/12 | "x"    | missing column `thal`: name it in `columns`
            /data/3     | [1, 2] | row 3 has 2 values: send 13
            /data/3/0   | "NaN"  | row 3 column `age`: `NaN` is not a number from -1000000 to 1000000
            /data/3/11  | null   | row 3 column `ca`: `null` is not a number from -1000000 to 1000000
            /data/3/12  | "foo"  | row 3 column `thal`: `foo` is not one of `normal`, `fixed defect`,"#;
        for case in CASES.trim().lines() {
            let parts: Vec<_> = case.split('|').map(str::trim).collect();
            let mut body = held_out();
            *body["input_data"].pointer_mut(parts[0]).unwrap() = serde_json::from_str(parts[1]).unwrap();
            let error = score(Model::blue(), &body).unwrap_err().to_string();
            assert!(error.starts_with(parts[2]), "{error}");
        }
        let error = score(Model::blue(), &json!({"input_data": vec![[0]; 1001]})).unwrap_err();
        assert!(matches!(error, ModelError::TooManyRows(1001)));
        let (empty, mut short) = (Model::from_json("{}"), Model::blue().unwrap());
        short.encoders.pop();
        for model in [empty, Ok(short)] {
            assert!(matches!(score(model, &held_out()), Err(ModelError::Broken(_))));
        }
    }
}
