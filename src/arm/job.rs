//! Batch jobs, in the three shapes in which Azure's clients ask for them: a job of an endpoint, a job of the workspace,
//! and the details of a run.

use serde_json::{Map, Value, json};

use super::PROVIDER;
use crate::clock::rfc3339;
use crate::forms::IsoDuration;
use crate::model::batch::{LoggingLevel, OutputAction};
use crate::model::job::{Data, DataKind, Failure, JobSpec, JobState, JobStatus};
use crate::model::scope::ScopeError;

/// The name under which a job's only output is shown if its caller gave it the one that clients cannot stand:
/// `azure-ai-ml` looks for the logs of an output called `default` in blob storage.
const OUTPUT: &str = "score";

fn time(millis: i64) -> String {
    rfc3339(millis.div_euclid(1000))
}

fn system_data(spec: &JobSpec) -> Value {
    let kind = if spec.owner.kind == "User" { "User" } else { "Application" };
    let (who, at) = (spec.owner.object_id.to_string(), time(spec.created));
    json!({
        "createdBy": who, "createdByType": kind, "createdAt": at,
        "lastModifiedBy": who, "lastModifiedByType": kind, "lastModifiedAt": at,
    })
}

fn one(name: &str, fields: Value) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), fields)]))
}

/// The one kind of output that Azure names, whatever samples send.
const OUTPUT_TYPE: &str = "UriFile";

fn kind(data: &Data) -> &'static str {
    match data.kind {
        DataKind::UriFile => "UriFile",
        DataKind::UriFolder => "UriFolder",
    }
}

fn output_name(data: &Data) -> &str {
    if data.name.is_empty() || data.name.eq_ignore_ascii_case("default") { OUTPUT } else { &data.name }
}

/// A job as its endpoint shows it (`BatchJobResource`, 2020-09-01-dataplanepreview).
pub fn of_endpoint(spec: &JobSpec, state: &JobState) -> Result<Value, ScopeError> {
    let id = spec.endpoint_scope()?.child("jobs", spec.name.as_str());
    let provisioning = match state.status {
        JobStatus::Completed => "Succeeded",
        JobStatus::Failed => "Failed",
        JobStatus::Canceled => "Canceled",
        _ => "InProgress",
    };
    let settings = &spec.settings;
    let level = match settings.logging_level {
        LoggingLevel::Warning => "Warning",
        LoggingLevel::Info => "Info",
        LoggingLevel::Debug => "Debug",
    };
    let action = match settings.output_action {
        OutputAction::AppendRow => "AppendRow",
        OutputAction::SummaryOnly => "SummaryOnly",
    };
    Ok(json!({
        "id": id.to_string(),
        "name": spec.name,
        "type": format!("{PROVIDER}/workspaces/batchEndpoints/jobs"),
        "properties": {
            "name": spec.name,
            "description": spec.description,
            "status": state.status.as_str(),
            "provisioningState": provisioning,
            "inputData": one(&spec.input.name, json!({"jobInputType": kind(&spec.input), "uri": spec.input.uri})),
            "outputData": one(output_name(&spec.output), json!({"jobOutputType": OUTPUT_TYPE, "uri": spec.output.uri})),
            "outputFileName": settings.output_file_name,
            "outputAction": action,
            "compute": {"instanceCount": settings.instance_count},
            "miniBatchSize": settings.mini_batch_size,
            "maxConcurrencyPerInstance": settings.max_concurrency_per_instance,
            "errorThreshold": settings.error_threshold,
            "loggingLevel": level,
            "retrySettings": {
                "maxRetries": settings.max_retries,
                "timeout": IsoDuration(settings.timeout).to_string(),
            },
            "interactionEndpoints": {},
            "output": state.output,
            "properties": spec.properties,
            "tags": spec.tags,
            "scoregate": ours(spec, state),
        },
        "systemData": system_data(spec),
    }))
}

/// A job as its workspace shows it. `azure-ai-ml` reads the kind `Pipeline` alone.
pub fn of_workspace(spec: &JobSpec, state: &JobState, control: &str) -> Result<Value, ScopeError> {
    let id = spec.scope()?;
    let uri = state.output.as_deref().unwrap_or(&spec.output.uri);
    let (input, output) = (&spec.input, output_name(&spec.output));
    let words = |data: &Data| if data.kind == DataKind::UriFile { "uri_file" } else { "uri_folder" };
    Ok(json!({
        "id": id.to_string(),
        "name": spec.name,
        "type": format!("{PROVIDER}/workspaces/jobs"),
        "properties": {
            "jobType": "Pipeline",
            "status": state.status.as_str(),
            "displayName": spec.name,
            "experimentName": spec.experiment,
            "description": spec.description,
            "isArchived": false,
            "tags": spec.tags,
            "properties": spec.properties,
            "inputs": one(&input.name, json!({"jobInputType": words(input), "uri": input.uri, "mode": "ReadOnlyMount"})),
            "outputs": one(output, json!({"jobOutputType": "uri_file", "uri": uri, "mode": "ReadWriteMount"})),
            "jobs": {},
            "settings": null,
            "services": {"Studio": {"jobServiceType": "Studio", "endpoint": format!("{control}{id}")}},
            "scoregate": ours(spec, state),
        },
        "systemData": system_data(spec),
    }))
}

/// How a run stands, as run history tells it.
pub fn details(spec: &JobSpec, state: &JobState) -> Value {
    let error = state
        .failure
        .as_ref()
        .map(|Failure { code, message }| json!({"error": {"code": code, "message": message}}));
    json!({
        "runId": spec.name,
        "status": state.status.as_str(),
        "startTimeUtc": state.started.map(time),
        "endTimeUtc": state.ended.map(time),
        "error": error,
        "warnings": state.failures.iter().map(|failure| json!({"message": failure.message})).collect::<Vec<_>>(),
        "logFiles": {},
        "properties": {},
    })
}

/// What Azure's shapes have no room for.
fn ours(spec: &JobSpec, state: &JobState) -> Value {
    let counts = &state.counts;
    let summary = state.ended.map(|ended| {
        json!({
            "files": counts.files, "rows": counts.rows, "failures": counts.failures, "retries": counts.retries,
            "durationSeconds": seconds(ended - state.started.unwrap_or(ended)),
            "bytesRead": counts.bytes_read, "bytesWritten": counts.bytes_written,
            "output": state.output, "manifest": state.manifest,
        })
    });
    json!({
        "endpoint": spec.endpoint,
        "deployment": spec.deployment,
        "owner": {
            "objectId": spec.owner.object_id, "kind": spec.owner.kind,
            "tenantId": spec.owner.tenant, "appId": spec.owner.app_id,
        },
        "grounds": spec.grounds,
        "revision": spec.revision,
        "requestId": spec.request_id,
        "created": time(spec.created),
        "started": state.started.map(time),
        "ended": state.ended.map(time),
        "counts": counts,
        "failure": state.failure,
        "failures": state.failures,
        "summary": summary,
    })
}

fn seconds(millis: i64) -> f64 {
    // A job that takes longer than f64 is exact for would outlive everybody.
    f64::from(i32::try_from(millis).unwrap_or(i32::MAX)) / 1000.0
}
