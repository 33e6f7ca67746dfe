//! The fields of a batch deployment that are the gateway's own: those of every deployment, and how requests are made.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::{Fields, deployment};
use crate::arm::resource::word;
use crate::forms::Form;
use crate::model::batch::{BatchDeployment, BatchSettings, RequestFormat};

/// The words for ways of making requests.
pub const FORMATS: [(&str, RequestFormat); 5] = [
    ("raw", RequestFormat::Raw),
    ("dataframe_split", RequestFormat::DataframeSplit),
    ("input_data", RequestFormat::InputData),
    ("instances", RequestFormat::Instances),
    ("jsonl", RequestFormat::Jsonl),
];

/// What a document or a property bag says of how requests are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requests {
    /// Their form.
    pub format: RequestFormat,
    /// Rows of a table in one.
    pub rows: u32,
}

/// Reads the fields of how requests are made.
pub fn read(form: &Form<'_>, defaults: &BatchSettings) -> Requests {
    let rows =
        form.value("rows_per_request", "Rows of a table in one request.").or(defaults.rows_per_request);
    if rows == 0 {
        form.wrong("rows_per_request", "is 0; no row could ever be scored", None);
    }
    let format =
        form.one_of("request_format", "How requests are made.", &FORMATS).or(defaults.request_format);
    Requests { format, rows }
}

/// Takes the fields out of a property bag. What is not there stays as it was before.
pub fn take(
    form: &Form<'_>,
    bag: &mut BTreeMap<String, String>,
    before: Option<&BatchDeployment>,
) -> (deployment::Own, Requests) {
    let before = before.map(all).unwrap_or_default();
    super::take(form, bag, &before, |f| {
        (deployment::read(f, Path::new("/")), read(f, &BatchSettings::default()))
    })
}

/// Puts the fields into a property bag; `whole` puts in those that say nothing, too.
pub fn put(bag: &mut BTreeMap<String, String>, shown: &BatchDeployment, whole: bool) {
    super::put(bag, all(shown), whole);
}

fn all(shown: &BatchDeployment) -> Fields {
    let mut fields = deployment::write(&shown.serving);
    fields.extend(write(&shown.settings));
    fields
}

/// How requests are made, as it is written.
pub fn write(settings: &BatchSettings) -> Fields {
    let format = word(&FORMATS, &settings.request_format);
    let fields = [("request_format", json!(format)), ("rows_per_request", json!(settings.rows_per_request))];
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
