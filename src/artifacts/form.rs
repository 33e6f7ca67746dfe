//! The forms of an output file, told by its name, and what a prediction looks like in each.

use serde_json::value::RawValue;

use super::predictions::Prediction;

/// The form of an output file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputForm {
    /// RFC 4180 without a header: the file, then the prediction; a cell for each member of an array.
    Csv,
    /// `{"file": …, "prediction": …}` a line.
    Jsonl,
    /// Columns `file` and `prediction`; the prediction is JSON.
    Parquet,
}

impl OutputForm {
    /// The form that a file's name says.
    pub fn of(name: &str) -> Option<OutputForm> {
        let (stem, extension) = name.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            _ if stem.is_empty() => None,
            "csv" => Some(OutputForm::Csv),
            "jsonl" => Some(OutputForm::Jsonl),
            "parquet" => Some(OutputForm::Parquet),
            _ => None,
        }
    }

    /// Writes predictions as a part keeps them. A part of Parquet is JSON lines: files of it cannot be joined.
    pub(super) fn write(self, file: &str, predictions: &[Prediction], out: &mut Vec<u8>) {
        match self {
            OutputForm::Csv => {
                let terminator = csv::Terminator::CRLF;
                let mut writer =
                    csv::WriterBuilder::new().flexible(true).terminator(terminator).from_writer(&mut *out);
                for prediction in predictions {
                    let row = std::iter::once(file.to_owned()).chain(cells(prediction.json()));
                    // Memory takes everything.
                    let _ = writer.write_record(row);
                }
            }
            OutputForm::Jsonl | OutputForm::Parquet => {
                for prediction in predictions {
                    out.extend_from_slice(b"{\"file\":");
                    let _ = serde_json::to_writer(&mut *out, file);
                    out.extend_from_slice(b",\"prediction\":");
                    out.extend_from_slice(prediction.json().as_bytes());
                    out.extend_from_slice(b"}\n");
                }
            }
        }
    }
}

/// A prediction's cells: a scalar is one, an array has one for each member, an object is one of JSON.
fn cells(json: &str) -> Vec<String> {
    if json.starts_with('[') {
        let members: Vec<&RawValue> = serde_json::from_str(json).unwrap_or_default();
        return members.into_iter().map(|member| cell(member.get())).collect();
    }
    vec![cell(json)]
}

fn cell(json: &str) -> String {
    match json.as_bytes().first() {
        Some(b'"') => serde_json::from_str(json).unwrap_or_default(),
        Some(b'n') => String::new(),
        _ => json.to_owned(),
    }
}

/// Counts the rows of what is written, byte by byte as it goes by.
#[derive(Debug, Default)]
pub(super) struct RowCounter {
    quoted: bool,
    rows: u64,
}

impl RowCounter {
    /// Takes what is written next.
    pub fn take(&mut self, form: OutputForm, bytes: &[u8]) {
        if form != OutputForm::Csv {
            self.rows += memchr::memchr_iter(b'\n', bytes).count() as u64;
            return;
        }
        // A doubled quote inside of a cell ends it and begins it again.
        for at in memchr::memchr2_iter(b'"', b'\n', bytes) {
            if bytes.get(at) == Some(&b'"') {
                self.quoted = !self.quoted;
            } else if !self.quoted {
                self.rows += 1;
            }
        }
    }

    /// The rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::predictions::predictions;
    use crate::model::batch::RequestFormat;

    fn written(form: OutputForm, file: &str, json: &str) -> String {
        let found = predictions(RequestFormat::Raw, None, Some("application/json"), json.as_bytes()).unwrap();
        let mut out = Vec::new();
        form.write(file, &found, &mut out);
        let mut counter = RowCounter::default();
        out.chunks(3).for_each(|chunk| counter.take(form, chunk));
        assert_eq!(counter.rows(), found.len() as u64, "{json}");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn csv_is_that_of_rfc_4180() {
        let json = r#"[1.50, "a,b", "say \"hi\"", "two\nlines", [1, "x", [2, 3], {"k": 1}], {"b":1, "a":[1]}, null, true, ""]"#;
        let expected = [
            "f.csv,1.50",
            "f.csv,\"a,b\"",
            "f.csv,\"say \"\"hi\"\"\"",
            "f.csv,\"two\nlines\"",
            "f.csv,1,x,\"[2,3]\",\"{\"\"k\"\":1}\"",
            "f.csv,\"{\"\"b\"\":1,\"\"a\"\":[1]}\"",
            "f.csv,",
            "f.csv,true",
            "f.csv,",
            "",
        ];
        assert_eq!(written(OutputForm::Csv, "f.csv", json), expected.join("\r\n"));
        assert_eq!(written(OutputForm::Csv, "a,\"b\".csv", "1"), "\"a,\"\"b\"\".csv\",1\r\n");
    }

    #[test]
    fn digits_stay_as_they_came() {
        for number in ["1.10", "1e400", "123456789012345678901234567890", "-0.0", "0.30000000000000004"] {
            assert_eq!(written(OutputForm::Csv, "f", &format!("[{number}]")), format!("f,{number}\r\n"));
            let line = format!("{{\"file\":\"f\",\"prediction\":{number}}}\n");
            assert_eq!(written(OutputForm::Jsonl, "f", &format!("[{number}]")), line);
        }
    }

    #[test]
    fn a_line_stays_a_line() {
        let pretty = "[{\n  \"a\": 1,\r\n  \"b c\": \"x \\n y\"\n}]";
        let line = "{\"file\":\"a\\nb\",\"prediction\":{\"a\":1,\"b c\":\"x \\n y\"}}\n";
        assert_eq!(written(OutputForm::Jsonl, "a\nb", pretty), line);
    }

    #[test]
    fn a_name_says_the_form() {
        assert_eq!(OutputForm::of("predictions.CSV"), Some(OutputForm::Csv));
        assert_eq!(OutputForm::of("p.jsonl"), Some(OutputForm::Jsonl));
        assert_eq!(OutputForm::of("a.b.parquet"), Some(OutputForm::Parquet));
        for none in ["", "csv", ".csv", "p.txt", "p.json", "score"] {
            assert_eq!(OutputForm::of(none), None, "{none}");
        }
    }
}
