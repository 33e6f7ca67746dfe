//! A job as it is shown: the workspace's shape and the endpoint's shape of the same job, both in the form of `az ml`.

use serde_json::{Map, Value, json};

use crate::cli::failure::Failure;
use crate::cli::scope::workspace_of;

/// A name of ARM's as one of `az ml`: `miniBatches` is `mini_batches`.
pub fn snake(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

/// The names of a value's fields, and of those below, as `az ml` writes them.
fn renamed(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (snake(key), renamed(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(renamed).collect(),
        single => single.clone(),
    }
}

/// How data is brought to a job, in the words of `az ml`.
fn words(mode: &str) -> String {
    match mode {
        "ReadOnlyMount" => "ro_mount".to_owned(),
        "ReadWriteMount" => "rw_mount".to_owned(),
        other => snake(other),
    }
}

/// Inputs or outputs: a kind, and where it is.
fn data(given: Option<&Value>, kind: &str) -> Value {
    let each = given.and_then(Value::as_object).into_iter().flatten();
    let one = |(name, given): (&String, &Value)| {
        let word = given.get(kind).and_then(Value::as_str).map(snake);
        let mut shown = json!({"type": word, "path": given.get("uri")});
        if let (Value::Object(fields), Some(mode)) = (&mut shown, given.get("mode").and_then(Value::as_str)) {
            fields.insert("mode".to_owned(), json!(words(mode)));
        }
        (name.clone(), shown)
    };
    each.map(one).collect::<Map<_, _>>().into()
}

/// A job of a workspace (`properties.inputs`), or the same of an endpoint (`properties.inputData`).
pub fn job(view: &Value) -> Result<Value, Failure> {
    let name = view.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Failure::failed("the server answered what is no job: it has no name"))?;
    let property = |name: &str| view.get("properties")?.get(name).filter(|value| !value.is_null());
    let status = property("status").and_then(Value::as_str);
    let status =
        status.ok_or_else(|| Failure::failed("the server answered what is no job: it has no status"))?;
    let empty = || json!({});
    let mut shown = json!({
        "id": view.get("id"),
        "name": name,
        "type": "batch",
        "resourceGroup": workspace_of(view).map(|place| place.resource_group),
        "status": status,
        "display_name": property("displayName"),
        "experiment_name": property("experimentName"),
        "description": property("description"),
        "tags": property("tags").cloned().unwrap_or_else(empty),
        "properties": property("properties").cloned().unwrap_or_else(empty),
        "inputs": data(property("inputs").or_else(|| property("inputData")), "jobInputType"),
        "outputs": data(property("outputs").or_else(|| property("outputData")), "jobOutputType"),
        "services": property("services").or_else(|| property("interactionEndpoints")).map(renamed),
        "creation_context": view.get("systemData").map(renamed),
    });
    let ours = property("scoregate").map(renamed);
    if let (Value::Object(fields), Some(Value::Object(ours))) = (&mut shown, ours) {
        fields.extend(ours);
    }
    Ok(shown)
}

/// What a table has room for.
pub fn row(job: &Value) -> Value {
    let text = |name: &str| job.get(name).cloned().unwrap_or_default();
    let count = |name: &str| job.pointer(&format!("/counts/{name}")).and_then(Value::as_u64);
    let done = count("done").zip(count("mini_batches")).map(|(done, all)| format!("{done}/{all}"));
    let created = job.get("created").or_else(|| job.pointer("/creation_context/created_at"));
    let created =
        created.and_then(Value::as_str).and_then(|time| time.get(..16)).map(|t| t.replace('T', " "));
    json!({
        "name": text("name"), "status": text("status"), "endpoint": text("endpoint"), "deployment": text("deployment"),
        "done": done, "rows": count("rows"), "failures": count("failures"), "created": created,
    })
}

/// A job as tests have it, in the workspace's shape.
#[cfg(test)]
pub fn example(status: &str, done: u64) -> Value {
    json!({
        "id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w/jobs/j1",
        "name": "j1", "type": "Microsoft.MachineLearningServices/workspaces/jobs",
        "systemData": {"createdBy": "o", "createdByType": "User", "createdAt": "2026-01-01T10:00:00Z"},
        "properties": {
            "jobType": "Pipeline", "status": status, "displayName": "j1", "experimentName": "nightly",
            "tags": {"aB": "c"}, "properties": {"myOwn": "x"},
            "inputs": {"heart": {"jobInputType": "uri_folder", "uri": "azureml://datastores/d/paths/in", "mode": "ReadOnlyMount"}},
            "outputs": {"score": {"jobOutputType": "uri_file", "uri": "azureml://datastores/d/paths/out/p.csv"}},
            "services": {},
            "scoregate": {
                "endpoint": "heart", "deployment": "blue", "revision": 7,
                "owner": {"objectId": "o", "kind": "User", "tenantId": "t", "appId": null},
                "grounds": [{"action": "a/read", "scope": "/", "decidedBy": "/ra"}],
                "created": "2026-01-01T10:00:00Z", "started": "2026-01-01T10:00:01Z", "ended": null,
                "counts": {"miniBatches": 40, "done": done, "failed": 0, "files": 400, "failures": 3, "rows": done * 100,
                    "retries": 2, "bytesRead": 5, "bytesWritten": 6},
                "failure": null, "failures": [{"code": "NotThatFormat", "message": "a.csv line 3: ragged"}], "summary": null,
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_shown_as_az_ml_does_with_what_the_gateway_knows() {
        let shown = job(&example("Running", 12)).unwrap();
        let heart =
            json!({"type": "uri_folder", "path": "azureml://datastores/d/paths/in", "mode": "ro_mount"});
        assert_eq!(shown["inputs"], json!({ "heart": heart }));
        assert_eq!(shown["outputs"]["score"]["path"], "azureml://datastores/d/paths/out/p.csv");
        assert_eq!((&shown["tags"], &shown["properties"]), (&json!({"aB": "c"}), &json!({"myOwn": "x"})));
        assert_eq!(
            (&shown["counts"]["mini_batches"], &shown["owner"]["object_id"]),
            (&json!(40), &json!("o"))
        );
        assert_eq!(shown["grounds"], json!([{"action": "a/read", "scope": "/", "decided_by": "/ra"}]));
        assert_eq!([&shown["resourceGroup"], &shown["creation_context"]["created_by"]], ["g", "o"]);
        let row = row(&shown);
        assert_eq!([&row["done"], &row["created"], &row["endpoint"]], ["12/40", "2026-01-01 10:00", "heart"]);
        assert_eq!((&row["rows"], &row["failures"]), (&json!(1200), &json!(3)));
    }

    #[test]
    fn the_shape_of_endpoints_is_shown_the_same() {
        let view = json!({"id": "/x", "name": "j", "properties": {"status": "NotStarted",
            "inputData": {"a": {"jobInputType": "UriFile", "uri": "https://h/a.csv"}},
            "outputData": {"score": {"jobOutputType": "UriFile", "uri": "u"}}}});
        let shown = job(&view).unwrap();
        assert_eq!(shown["inputs"], json!({"a": {"type": "uri_file", "path": "https://h/a.csv"}}));
        assert_eq!((&shown["status"], &shown["tags"]), (&json!("NotStarted"), &json!({})));
        assert_eq!(row(&shown)["done"], Value::Null);
        for wrong in [json!({}), json!({"name": "j"}), json!({"name": "", "properties": {"status": "x"}})] {
            assert!(job(&wrong).is_err(), "{wrong}");
        }
    }
}
