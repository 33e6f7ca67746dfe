//! A job's document, in the form of `az ml`, as the body of an invocation.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::cli::edit::told;
use crate::cli::failure::Failure;
use crate::forms::{Form, IsoDuration, Kind, Mistakes, Node, Reading, Seconds};

/// Reads a document, strictly, and gives the body; the file is named in what is told.
pub fn read(file: Option<&Path>, node: &Node) -> Result<Value, Failure> {
    let reading =
        Reading::of(&file.map_or_else(|| "command line".to_owned(), |file| file.display().to_string()));
    let form = reading.form(Some(node));
    let body = job(&reading, &form, node);
    form.close();
    Mistakes::check(reading.finish()).map_err(told)?;
    Ok(json!({ "properties": body }))
}

/// A body that leaves out what was not said.
struct Said(Map<String, Value>);

impl Said {
    fn put(&mut self, key: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.0.insert(key.to_owned(), value);
        }
    }
}

fn job(reading: &Reading, form: &Form<'_>, node: &Node) -> Value {
    let mut said = Said(Map::new());
    for shown in ["$schema", "id", "type", "status"] {
        form.carried(shown);
    }
    let text = |key| form.value::<String>(key, "").optional().map(Value::from);
    let number = |key| form.value::<u32>(key, "").optional().map(Value::from);
    said.put("name", text("name"));
    said.put("description", text("description"));
    let tags: Map<String, Value> =
        form.pairs::<String>("tags", "").into_iter().map(|(key, value)| (key, Value::from(value))).collect();
    said.put("tags", (!tags.is_empty()).then_some(Value::Object(tags)));
    let experiment = form.value::<String>("experiment_name", "").optional();
    said.put("properties", experiment.map(|name| json!({ "experimentName": name })));
    if !form.has("inputs") {
        let hint = "inputs: { data: { type: uri_folder, path: azureml://datastores/NAME/paths/PATH } }";
        form.wrong("inputs", "are missing", Some(hint));
    }
    said.put("inputData", data(reading, form, node, "inputs", "jobInputType"));
    said.put("outputData", data(reading, form, node, "outputs", "jobOutputType"));
    said.put("miniBatchSize", number("mini_batch_size"));
    said.put("maxConcurrencyPerInstance", number("max_concurrency_per_instance"));
    said.put("errorThreshold", threshold(form));
    let levels = [("warning", "Warning"), ("info", "Info"), ("debug", "Debug")];
    said.put("loggingLevel", form.one_of("logging_level", "", &levels).optional().map(Value::from));
    let actions = [("append_row", "AppendRow"), ("summary_only", "SummaryOnly")];
    said.put("outputAction", form.one_of("output_action", "", &actions).optional().map(Value::from));
    said.put("outputFileName", text("output_file_name"));
    let retries = form.optional_section("retry_settings", "", |f| {
        let mut said = Said(Map::new());
        said.put("maxRetries", f.value::<u32>("max_retries", "").optional().map(Value::from));
        said.put("timeout", f.value::<Seconds>("timeout", "").optional().map(|time| iso(time.0)));
        Value::Object(said.0)
    });
    said.put("retrySettings", retries);
    let compute = form.optional_section("compute", "", |f| {
        let mut said = Said(Map::new());
        said.put("instanceCount", f.value::<u32>("instance_count", "").optional().map(Value::from));
        Value::Object(said.0)
    });
    said.put("compute", compute);
    Value::Object(said.0)
}

fn iso(time: Duration) -> Value {
    Value::from(IsoDuration(time).to_string())
}

/// −1 for any number of failures, or how many there may be.
fn threshold(form: &Form<'_>) -> Option<Value> {
    let text = form.value::<String>("error_threshold", "").optional()?;
    let number = text.parse::<i32>().ok().filter(|number| *number >= -1);
    if number.is_none() {
        form.wrong("error_threshold", format!("`{text}` is not a whole number from -1 on"), None);
    }
    number.map(Value::from)
}

/// Inputs or outputs by the user's names for them.
fn data(
    reading: &Reading,
    form: &Form<'_>,
    node: &Node,
    key: &'static str,
    kind: &'static str,
) -> Option<Value> {
    form.carried(key)?;
    let Kind::Map(fields) = &node.kind else { return None };
    let (.., value) = fields.iter().find(|(name, ..)| name == key)?;
    let Kind::Map(entries) = &value.kind else {
        form.wrong(key, "names and what they stand for were expected here", None);
        return None;
    };
    let types = [("uri_folder", "UriFolder"), ("uri_file", "UriFile")];
    let one = |(name, _, value): &(String, (usize, usize), Node)| {
        let f = reading.form(Some(value));
        f.carried("mode");
        let word = f.one_of("type", "", &types).or("UriFolder");
        let path =
            f.value::<String>("path", "").required("say where it is: azureml://datastores/NAME/paths/PATH");
        if let Some(path) = path.as_deref().filter(|path| is_local(path)) {
            let problem = format!("`{path}` is on this machine, and nothing is uploaded");
            let hint = "put it where a data store finds it, and write azureml://datastores/NAME/paths/PATH";
            f.wrong("path", problem, Some(hint));
        }
        f.close();
        Some((name.clone(), json!({kind: word, "uri": path?})))
    };
    Some(entries.iter().filter_map(one).collect::<Map<_, _>>().into())
}

/// Whether a text names a file here instead of an address or a resource.
fn is_local(text: &str) -> bool {
    let elsewhere =
        text.contains("://") || text.starts_with("azureml:") || text.starts_with("/subscriptions/");
    !elsewhere || text.starts_with("file://")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forms::parse_all;

    fn of(text: &str) -> Result<Value, String> {
        let node = parse_all("job.yml", text).unwrap().remove(0);
        read(Some(Path::new("job.yml")), &node).map_err(|error| error.to_string())
    }

    #[test]
    fn a_job_s_file_becomes_a_body() {
        let text = "\
$schema: x
name: j1
experiment_name: e
description: d
tags: { k: v, n: 1 }
inputs:
  heart: { path: azureml:heart:1, mode: ro_mount }
outputs:
  score: { type: uri_file, path: /subscriptions/s/datastores/d/paths/p.csv }
mini_batch_size: 20
max_concurrency_per_instance: 2
error_threshold: 10
logging_level: debug
output_action: summary_only
output_file_name: p.csv
retry_settings: { max_retries: 1, timeout: 90 }
compute: { instance_count: 4 }
";
        let expected = json!({"properties": {
            "name": "j1", "properties": {"experimentName": "e"}, "description": "d", "tags": {"k": "v", "n": "1"},
            "inputData": {"heart": {"jobInputType": "UriFolder", "uri": "azureml:heart:1"}},
            "outputData": {"score": {"jobOutputType": "UriFile", "uri": "/subscriptions/s/datastores/d/paths/p.csv"}},
            "miniBatchSize": 20, "maxConcurrencyPerInstance": 2, "errorThreshold": 10, "loggingLevel": "Debug",
            "outputAction": "SummaryOnly", "outputFileName": "p.csv",
            "retrySettings": {"maxRetries": 1, "timeout": "PT90S"}, "compute": {"instanceCount": 4}}});
        assert_eq!(of(text).unwrap(), expected);
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let text = "\
inputs:
  a: { type: mltable, path: https://h/a }
  b: { path: ./here }
  c: { pth: https://h/a }
error_threshold: -2
retry_settings: { timeout: PT30S }
minibatch_size: 5
";
        let mistakes = of(text).unwrap_err();
        for expected in [
            "job.yml:2:14: type: `mltable` is not one of uri_folder, uri_file",
            "job.yml:3:14: path: `./here` is on this machine",
            "job.yml:4:8: pth: no field has this name",
            "job.yml:5:18: error_threshold: `-2` is not",
            "job.yml:6:28: retry_settings.timeout",
            "did you mean `mini_batch_size`?",
        ] {
            assert!(mistakes.contains(expected), "{expected} is not in\n{mistakes}");
        }
        assert!(of("name: x\n").unwrap_err().contains("inputs: are missing"));
        assert!(of("inputs: [a]\n").unwrap_err().contains("names and what they stand for"));
        for local in ["x", "/data/x", "file:///data/x"] {
            assert!(
                of(&format!("inputs: {{ a: {{ path: {local} }} }}"))
                    .unwrap_err()
                    .contains("is on this machine")
            );
        }
    }
}
