//! What the invocation of a batch endpoint asks for. Samples write Pascal case and the SDK camel case, older clients a
//! `dataset`; one reader takes them all ("Create jobs and input data for batch endpoints").

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::resource::tags;
use crate::forms::{Form, IsoDuration, Scalar};
use crate::model::batch::{BatchSettings, LoggingLevel, OutputAction};
use crate::model::job::{Data, DataKind, JobName};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The name that the caller chose.
    pub name: Option<JobName>,
    /// What it is for.
    pub description: String,
    /// The caller's labels.
    pub tags: BTreeMap<String, String>,
    /// The caller's property bag.
    pub properties: BTreeMap<String, String>,
    /// Azure's label for runs that belong together.
    pub experiment: Option<String>,
    /// What is scored.
    pub input: Data,
    /// Where the output goes.
    pub output: Option<Data>,
    /// What differs from the deployment's rules.
    pub overrides: Overrides,
}

/// Rules of a deployment that a job may have otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    instance_count: Option<u32>,
    max_concurrency_per_instance: Option<u32>,
    mini_batch_size: Option<u32>,
    error_threshold: Option<i64>,
    max_retries: Option<u32>,
    timeout: Option<Duration>,
    logging_level: Option<LoggingLevel>,
    output_action: Option<OutputAction>,
    output_file_name: Option<String>,
}

impl Overrides {
    /// A deployment's rules with these in their place.
    pub fn on(self, settings: &BatchSettings) -> BatchSettings {
        let settings = settings.clone();
        BatchSettings {
            instance_count: self.instance_count.unwrap_or(settings.instance_count),
            max_concurrency_per_instance: self
                .max_concurrency_per_instance
                .unwrap_or(settings.max_concurrency_per_instance),
            mini_batch_size: self.mini_batch_size.map_or(settings.mini_batch_size, u64::from),
            error_threshold: self.error_threshold.unwrap_or(settings.error_threshold),
            max_retries: self.max_retries.unwrap_or(settings.max_retries),
            timeout: self.timeout.unwrap_or(settings.timeout),
            logging_level: self.logging_level.unwrap_or(settings.logging_level),
            output_action: self.output_action.unwrap_or(settings.output_action),
            output_file_name: self.output_file_name.unwrap_or(settings.output_file_name),
            ..settings
        }
    }
}

/// −1 for any number of failures, or how many there may be.
struct Threshold(i64);

impl Scalar for Threshold {
    fn read(text: &str) -> Result<Self, String> {
        let number = text.parse::<i64>().ok().filter(|number| (-1..=i64::from(i32::MAX)).contains(number));
        number.map(Threshold).ok_or_else(|| format!("`{text}` is not a whole number from -1 to 2147483647"))
    }

    fn schema() -> Value {
        serde_json::json!({"type": "integer", "minimum": -1, "maximum": i32::MAX})
    }
}

/// Reads the body of an invocation.
pub fn read(form: &Form<'_>) -> Option<Invocation> {
    form.needs("properties");
    form.section("properties", "What the job is to be.", |f| {
        let name = f.value::<String>("name", "The job's name; a GUID if there is none.").optional();
        let name = name.filter(|name| !name.is_empty()).and_then(|name| {
            name.parse::<JobName>().map_err(|error| f.wrong("name", error.to_string(), None)).ok()
        });
        let mut properties: BTreeMap<String, String> = f
            .pairs("properties", "The caller's property bag; experimentName is read from it.")
            .into_iter()
            .collect();
        let experiment = properties.remove("experimentName");
        if experiment.as_ref().is_some_and(|name| name.is_empty() || name.len() > 255) {
            f.wrong("properties", "`experimentName` has 1 to 255 characters", None);
        }
        // What else is wrong is told in the same pass.
        let (data, overrides) = (data(f), overrides(f));
        let (input, output) = data?;
        Some(Invocation {
            name,
            description: f.value("description", "What it is for.").or_else(String::new),
            tags: tags(f),
            properties,
            experiment,
            input,
            output,
            overrides,
        })
    })
}

/// The input, and the output if there is one; nothing if something is wrong, which has been told.
fn data(form: &Form<'_>) -> Option<(Data, Option<Data>)> {
    let (inputs, outputs) = (form.carried("inputData"), form.carried("outputData"));
    let (dataset, output_dataset) = (form.carried("dataset"), form.carried("outputDataset"));
    let input = match (inputs, dataset) {
        (Some(Value::Object(inputs)), None) => only(form, "inputData", inputs, read_input),
        (None, Some(dataset)) => read_dataset(form, &dataset),
        (Some(_), None) => {
            form.wrong("inputData", "keys and values were expected here", Some(INPUT));
            None
        }
        (None, None) => {
            form.wrong("inputData", "is missing", Some(INPUT));
            None
        }
        (Some(_), Some(_)) => {
            form.wrong("dataset", "stands beside inputData", Some("keep inputData"));
            None
        }
    };
    let output = match (outputs, output_dataset) {
        (Some(Value::Object(outputs)), _) if !outputs.is_empty() => {
            Some(only(form, "outputData", outputs, read_output)?)
        }
        (Some(Value::Object(_)) | None, None) => None,
        (Some(_), _) => {
            form.wrong("outputData", "keys and values were expected here", None);
            None
        }
        (None, Some(_)) => {
            form.wrong("outputDataset", "is not served any more", Some("write outputData"));
            None
        }
    };
    Some((input?, output))
}

const INPUT: &str = r#"inputData: {"data": {"jobInputType": "UriFolder", "uri": "azureml://datastores/workspaceblobstore/paths/in"}}"#;

/// The one entry of a map: the model of a batch deployment has one input and one output.
fn only(
    form: &Form<'_>,
    key: &'static str,
    mut entries: Map<String, Value>,
    read: fn(&Form<'_>, &str, &str, &Value) -> Option<Data>,
) -> Option<Data> {
    let names: Vec<String> = entries.keys().take(4).cloned().collect();
    let [name] = names.as_slice() else {
        let names = names.join(", ");
        let problem = if names.is_empty() {
            "is empty; a job has one".to_owned()
        } else {
            format!("has more than one entry ({names}); a model has one input and one output")
        };
        form.wrong(key, problem, None);
        return None;
    };
    let fields = entries.remove(name)?;
    read(form, key, name, &fields)
}

/// A member of an entry, its name in any case.
fn member<'a>(fields: &'a Value, name: &str) -> Option<&'a Value> {
    fields.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn uri(form: &Form<'_>, key: &'static str, name: &str, fields: &Value, member_name: &str) -> Option<String> {
    match member(fields, member_name).and_then(Value::as_str) {
        Some(uri) if !uri.trim().is_empty() => Some(uri.trim().to_owned()),
        Some(_) => {
            form.wrong(key, format!("`{name}.{member_name}` is empty"), None);
            None
        }
        None => {
            form.wrong(key, format!("`{name}.{member_name}` is missing or not a text"), None);
            None
        }
    }
}

/// `UriFile` and `uri_file` alike.
fn kind(word: &str) -> Option<DataKind> {
    match word.replace('_', "").to_ascii_lowercase().as_str() {
        "urifile" => Some(DataKind::UriFile),
        "urifolder" => Some(DataKind::UriFolder),
        _ => None,
    }
}

fn read_input(form: &Form<'_>, key: &str, name: &str, fields: &Value) -> Option<Data> {
    let key = if key == "inputData" { "inputData" } else { "dataset" };
    let word = member(fields, "jobInputType").and_then(Value::as_str).unwrap_or_default();
    let Some(kind) = kind(word) else {
        let problem = match word.to_ascii_lowercase().as_str() {
            "literal" => {
                format!("`{name}` is a Literal; the model of a batch deployment takes files, not values")
            }
            "mltable" => format!("`{name}` is an MLTable, which is not served"),
            "" => format!("`{name}.jobInputType` is missing"),
            _ => format!("`{name}.jobInputType` is `{}`", word.chars().take(64).collect::<String>()),
        };
        form.wrong(key, problem, Some("write UriFile or UriFolder"));
        return None;
    };
    Some(Data { name: name.to_owned(), kind, uri: uri(form, key, name, fields, "uri")? })
}

fn read_output(form: &Form<'_>, _: &str, name: &str, fields: &Value) -> Option<Data> {
    let word = member(fields, "jobOutputType").and_then(Value::as_str).unwrap_or("UriFile");
    let Some(kind) = kind(word) else {
        let shown: String = word.chars().take(64).collect();
        form.wrong("outputData", format!("`{name}.jobOutputType` is `{shown}`"), Some("write UriFile"));
        return None;
    };
    Some(Data { name: name.to_owned(), kind, uri: uri(form, "outputData", name, fields, "uri")? })
}

/// The form of 2022-05-01 and before.
fn read_dataset(form: &Form<'_>, fields: &Value) -> Option<Data> {
    let word = member(fields, "dataInputType").and_then(Value::as_str).unwrap_or_default();
    if !word.eq_ignore_ascii_case("DataUrl") {
        let problem = "only a dataset of type DataUrl is served";
        form.wrong("dataset", problem, Some("write inputData with the data's URI"));
        return None;
    }
    let uri = uri(form, "dataset", "dataset", fields, "path")?;
    let kind = if uri.ends_with('/') { DataKind::UriFolder } else { DataKind::UriFile };
    Some(Data { name: "dataset".to_owned(), kind, uri })
}

fn overrides(form: &Form<'_>) -> Overrides {
    let at_least_one = |key: &'static str, doc: &str| {
        let number = form.value::<u32>(key, doc).optional();
        if number == Some(0) {
            form.wrong(key, "is 0; nothing would ever be done", None);
        }
        number
    };
    let (max_retries, timeout) = form.section("retrySettings", "What is done about failures.", |f| {
        let retries = f.value("maxRetries", "Times that a mini-batch is tried again.").optional();
        let timeout = f.value::<IsoDuration>("timeout", "Time for one try, ISO 8601.").optional();
        if timeout.is_some_and(|timeout| timeout.0.is_zero()) {
            f.wrong("timeout", "is 0; nothing would ever be done", None);
        }
        (retries, timeout.map(|timeout| timeout.0))
    });
    let instance_count = form
        .section("compute", "How much works for it.", |f| f.value("instanceCount", "Instances.").optional());
    let file_name = form.value::<String>("outputFileName", "The output's name.").optional();
    let plain = |name: &String| {
        (1..=255).contains(&name.len()) && !name.starts_with('.') && !name.contains(['/', '\\', '\0', '%'])
    };
    if file_name.as_ref().is_some_and(|name| !plain(name)) {
        form.wrong("outputFileName", "is no file name: 1 to 255 characters, no slash, no dot in front", None);
    }
    form.carried("partitionKeys");
    let levels =
        [("Info", LoggingLevel::Info), ("Warning", LoggingLevel::Warning), ("Debug", LoggingLevel::Debug)];
    let actions = [("AppendRow", OutputAction::AppendRow), ("SummaryOnly", OutputAction::SummaryOnly)];
    Overrides {
        instance_count,
        max_concurrency_per_instance: at_least_one(
            "maxConcurrencyPerInstance",
            "Mini-batches at once for an instance.",
        ),
        mini_batch_size: at_least_one("miniBatchSize", "Files in a mini-batch."),
        error_threshold: form
            .value::<Threshold>("errorThreshold", "Failures that are borne; -1 for any number.")
            .optional()
            .map(|threshold| threshold.0),
        max_retries,
        timeout,
        logging_level: form.one_of("loggingLevel", "How much is told.", &levels).optional(),
        output_action: form.one_of("outputAction", "What becomes of predictions.", &actions).optional(),
        output_file_name: file_name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forms::{Reading, parse_json};

    fn parse(body: &str) -> Result<Invocation, Vec<String>> {
        let node = parse_json(body.as_bytes()).unwrap();
        let reading = Reading::of_body();
        let form = reading.form(Some(&node));
        let read = read(&form);
        form.close();
        let mistakes = reading.finish();
        if mistakes.is_empty() {
            return Ok(read.expect("what is not read is told"));
        }
        Err(mistakes.iter().map(|mistake| format!("{}: {}", mistake.field, mistake.problem)).collect())
    }

    #[test]
    fn both_casings_and_loose_numbers_are_read_alike() {
        let pascal = r#"{"properties": {
            "InputData": {"heart": {"JobInputType": "UriFolder", "Uri": "https://store.example/data/heart"}},
            "OutputData": {"score": {"JobOutputType": "UriFile", "Uri": "azureml://datastores/a/paths/x.csv"}},
            "properties": {"experimentName": "nightly"}, "MiniBatchSize": "20", "errorThreshold": "10",
            "retrySettings": {"maxRetries": 3, "timeout": "PT5M"}, "compute": {"instanceCount": 4},
            "name": "my-job", "tags": {"k": "v"},}}"#;
        let camel = r#"{"properties": {
            "inputData": {"heart": {"jobInputType": "uri_folder", "uri": "https://store.example/data/heart"}},
            "outputData": {"score": {"jobOutputType": "UriFile", "uri": "azureml://datastores/a/paths/x.csv"}},
            "properties": {"experimentName": "nightly"}, "miniBatchSize": 20, "errorThreshold": 10,
            "retrySettings": {"maxRetries": "3", "timeout": "PT300S"}, "compute": {"instanceCount": 4},
            "name": "my-job", "tags": {"k": "v"}}}"#;
        let read = parse(pascal).unwrap();
        assert_eq!(read, parse(camel).unwrap());
        assert_eq!(read.experiment.as_deref(), Some("nightly"));
        let settings = read.overrides.on(&BatchSettings::default());
        assert_eq!((settings.mini_batch_size, settings.error_threshold, settings.max_retries), (20, 10, 3));
        assert_eq!((settings.timeout, settings.instance_count), (Duration::from_mins(5), 4));
        assert_eq!(settings.rows_per_request, BatchSettings::default().rows_per_request);
    }

    #[test]
    fn the_older_dataset_is_an_input() {
        let body = r#"{"properties": {"dataset": {"dataInputType": "DataUrl", "Path": "https://h/in/"}}}"#;
        let read = parse(body).unwrap();
        assert_eq!((read.input.kind, read.input.uri.as_str()), (DataKind::UriFolder, "https://h/in/"));
        assert_eq!(read.output, None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let file = r#"{"jobInputType": "UriFile", "uri": "https://h/f"}"#;
        for (body, named) in [
            ("{}".to_owned(), "properties.inputData: is missing"),
            (r#"{"properties": {"inputData": []}}"#.to_owned(), "properties.inputData: keys and values"),
            (r#"{"properties": {"inputData": {}}}"#.to_owned(), "properties.inputData: is empty"),
            (
                format!(r#"{{"properties": {{"inputData": {{"a": {file}, "b": {file}}}}}}}"#),
                "more than one entry (a, b)",
            ),
            (
                r#"{"properties": {"inputData": {"n": {"jobInputType": "Literal", "value": 3}}}}"#.to_owned(),
                "`n` is a Literal",
            ),
            (
                r#"{"properties": {"inputData": {"n": {"jobInputType": "MLTable", "uri": "x"}}}}"#.to_owned(),
                "`n` is an MLTable",
            ),
            (
                r#"{"properties": {"inputData": {"n": {"jobInputType": "Stream", "uri": "x"}}}}"#.to_owned(),
                "`n.jobInputType` is `Stream`",
            ),
            (
                r#"{"properties": {"inputData": {"n": {"jobInputType": "UriFile"}}}}"#.to_owned(),
                "`n.uri` is missing",
            ),
            (
                format!(r#"{{"properties": {{"inputData": {{"a": {file}}}, "miniBatchSize": 0}}}}"#),
                "miniBatchSize: is 0",
            ),
            (
                format!(r#"{{"properties": {{"inputData": {{"a": {file}}}, "errorThreshold": -2}}}}"#),
                "errorThreshold: ",
            ),
            (
                format!(r#"{{"properties": {{"inputData": {{"a": {file}}}, "name": "../x"}}}}"#),
                "properties.name: ",
            ),
            (
                format!(r#"{{"properties": {{"inputData": {{"a": {file}}}, "outputFileName": "../x"}}}}"#),
                "properties.outputFileName: ",
            ),
        ] {
            let mistakes = parse(&body).unwrap_err();
            assert!(mistakes.iter().any(|mistake| mistake.contains(named)), "{body}: {mistakes:?}");
        }
    }
}
