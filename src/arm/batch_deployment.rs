//! Batch deployments.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::deployment::{
    CodeView, InstanceView, Place, backend_is_needed, code_and_environment, iso, reference, routes_of,
    show_instances,
};
use super::extension::batch as extension;
use super::extension::deployment::Azures;
use super::resource::{About, Tracked, bag, retag, tags, word};
use crate::forms::{Form, IsoDuration};
use crate::model::asset::Routes;
use crate::model::batch::{BatchDeployment, BatchSettings, LoggingLevel, OutputAction, is_file_name};
use crate::model::deployment::Workload;

/// The type of batch deployments.
pub const TYPE: &str = "Microsoft.MachineLearningServices/workspaces/batchEndpoints/deployments";

/// ARM's words for what becomes of predictions.
pub const ACTIONS: [(&str, OutputAction); 2] =
    [("AppendRow", OutputAction::AppendRow), ("SummaryOnly", OutputAction::SummaryOnly)];

/// ARM's words for how much is told.
pub const LEVELS: [(&str, LoggingLevel); 3] =
    [("Info", LoggingLevel::Info), ("Warning", LoggingLevel::Warning), ("Debug", LoggingLevel::Debug)];

/// Failures that a threshold can name, as Azure's int32.
const THRESHOLDS: std::ops::RangeInclusive<i64> = -1..=i32::MAX as i64;

/// Reads the body of a PUT. `routes` finds those of an environment by its id.
pub fn read(
    form: &Form<'_>,
    place: Place,
    before: Option<&BatchDeployment>,
    routes: impl Fn(&str) -> Routes,
) -> Option<BatchDeployment> {
    form.carried("location");
    form.carried("identity");
    form.carried("sku");
    let tags = tags(form);
    form.section("properties", "", |f| {
        configuration(f);
        let mut properties = bag(f, before.map(|before| &before.serving.properties));
        let (own, requests) = extension::take(f, &mut properties, before);
        backend_is_needed(f, &own);
        let mut workload = Workload { model: model(f), ..code_and_environment(f) };
        f.section("resources", "What works for a job.", |r| {
            r.carried("properties");
            workload.instance_type = r.value("instanceType", "Free text; kept and shown.").optional();
            workload.instance_count = r.value("instanceCount", "How many instances.").optional();
        });
        let settings = BatchSettings {
            request_format: requests.format,
            rows_per_request: requests.rows,
            ..settings(f, &BatchSettings::default())
        };
        let compute = f.value::<String>("compute", "Free text; kept and shown.").optional();
        let compute = compute.filter(|text| !text.is_empty());
        let serving = own.with(Azures {
            place,
            request_settings: settings.request_settings(),
            routes: routes_of(&workload, routes),
            description: f.value("description", "What it is for.").or_else(String::new),
            tags,
            properties,
            workload,
        })?;
        let instance_count = serving.capacity();
        if instance_count == 0 {
            f.wrong("resources", "`instanceCount` is 0; no job could ever be done", None);
        }
        Some(BatchDeployment { serving, settings: BatchSettings { instance_count, ..settings }, compute })
    })
}

/// Refuses deployments of what is no model.
fn configuration(form: &Form<'_>) {
    form.section("deploymentConfiguration", "Model, if it is there.", |f| {
        f.carried("componentId");
        let kind = f.value::<String>("deploymentConfigurationType", "Model.").optional();
        if kind.is_some_and(|kind| !kind.eq_ignore_ascii_case("Model")) {
            let hint = "deploy a model: leave `deploymentConfiguration` out and say in `scoregate.backend` where its servers are";
            f.wrong("deploymentConfigurationType", "pipeline components are not served", Some(hint));
        }
    });
}

/// A reference to a model: by its id as a text, otherwise as ARM writes it.
fn model(form: &Form<'_>) -> Option<Value> {
    const KINDS: [(&str, &[&str]); 3] =
        [("Id", &["assetId"]), ("DataPath", &["datastoreId", "path"]), ("OutputPath", &["jobId", "path"])];
    let words = KINDS.map(|kind| (kind.0, kind));
    let found = form.optional_section("model", "A reference to a model; kept and shown.", |f| {
        let (word, names) = f.one_of("referenceType", "", &words).or(KINDS[0]);
        let text = |name| f.value::<String>(name, "").optional();
        let given = [
            ("assetId", text("assetId")),
            ("datastoreId", text("datastoreId")),
            ("jobId", text("jobId")),
            ("path", text("path")),
        ];
        let mut fields: Map<String, Value> = given
            .into_iter()
            .filter(|(name, _)| names.contains(name))
            .filter_map(|(name, value)| Some((name.to_owned(), json!(value?))))
            .collect();
        match fields.remove("assetId") {
            Some(id) => Some(id),
            None if fields.is_empty() => None,
            None => {
                fields.insert("referenceType".to_owned(), json!(word));
                Some(Value::Object(fields))
            }
        }
    });
    found.flatten()
}

/// Reads the rules of jobs; what is not there is as in `defaults`. How many instances there are and how requests are
/// made stand elsewhere.
pub fn settings(form: &Form<'_>, defaults: &BatchSettings) -> BatchSettings {
    let retries = form.section("retrySettings", "Tries of a mini-batch.", |f| {
        let timeout = f.value("timeout", "For one try, ISO 8601.").or(IsoDuration(defaults.timeout)).0;
        if timeout.is_zero() {
            f.wrong("timeout", "is 0; no mini-batch could ever be scored", None);
        }
        (f.value("maxRetries", "Tries beyond the first.").or(defaults.max_retries), timeout)
    });
    let settings = BatchSettings {
        max_concurrency_per_instance: form
            .value("maxConcurrencyPerInstance", "Mini-batches at once for an instance.")
            .or(defaults.max_concurrency_per_instance),
        mini_batch_size: form.value("miniBatchSize", "Files in a mini-batch.").or(defaults.mini_batch_size),
        error_threshold: form
            .value("errorThreshold", "Files that may fail before the job does; -1 for any number.")
            .or(defaults.error_threshold),
        max_retries: retries.0,
        timeout: retries.1,
        output_action: form
            .one_of("outputAction", "What becomes of predictions.", &ACTIONS)
            .or(defaults.output_action),
        output_file_name: form
            .value("outputFileName", "A plain name; .csv, .jsonl or .parquet says its form, others are CSV.")
            .or_else(|| defaults.output_file_name.clone()),
        logging_level: form.one_of("loggingLevel", "How much is told.", &LEVELS).or(defaults.logging_level),
        ..defaults.clone()
    };
    sound(
        form,
        &settings,
        ["maxConcurrencyPerInstance", "miniBatchSize", "errorThreshold", "outputFileName"],
    );
    settings
}

/// Notes what of the rules no job could go by. `names` are those of concurrency, size, threshold and output in the form.
pub fn sound(
    form: &Form<'_>,
    settings: &BatchSettings,
    [concurrency, size, threshold, output]: [&'static str; 4],
) {
    if settings.max_concurrency_per_instance == 0 {
        form.wrong(concurrency, "is 0; no mini-batch could ever be scored", None);
    }
    if settings.mini_batch_size == 0 {
        form.wrong(size, "is 0; a mini-batch has at least one file", None);
    }
    if !THRESHOLDS.contains(&settings.error_threshold) {
        form.wrong(threshold, "is not between -1 and 2147483647", None);
    }
    if !is_file_name(&settings.output_file_name) {
        let shown: String = settings.output_file_name.chars().take(80).collect();
        form.wrong(output, format!("`{shown}` is no plain file name"), Some("such as predictions.csv"));
    }
}

/// What a PATCH may change: tags as a whole, and the description.
pub fn patch(form: &Form<'_>, before: &BatchDeployment) -> BatchDeployment {
    let mut deployment = before.clone();
    retag(form, &mut deployment.serving.tags);
    let given = form.carried("properties");
    let more = given.as_ref().and_then(Value::as_object).into_iter().flatten();
    if more.into_iter().any(|(name, _)| !name.eq_ignore_ascii_case("description")) {
        let hint = "send the whole deployment by PUT";
        form.wrong("properties", "only `description` can be changed by PATCH", Some(hint));
    }
    form.section("properties", "", |f| {
        if let Some(description) = f.value("description", "").optional() {
            deployment.serving.description = description;
        }
    });
    deployment
}

/// A batch deployment as ARM shows it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchDeploymentView {
    #[serde(flatten)]
    resource: Tracked,
    properties: BatchDeploymentProperties,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct BatchDeploymentProperties {
    description: String,
    compute: Option<String>,
    model: Option<Value>,
    environment_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code_configuration: Option<CodeView>,
    environment_variables: BTreeMap<String, String>,
    resources: Resources,
    max_concurrency_per_instance: u32,
    mini_batch_size: u64,
    error_threshold: i64,
    retry_settings: RetrySettings,
    output_action: String,
    output_file_name: String,
    logging_level: String,
    provisioning_state: String,
    properties: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Resources {
    instance_count: u32,
    instance_type: Option<String>,
    properties: Map<String, Value>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct RetrySettings {
    max_retries: u32,
    timeout: String,
}

/// A reference as ARM writes it.
fn shown_model(model: &Value) -> Option<Value> {
    if model.get("referenceType").is_some() {
        return Some(model.clone());
    }
    let id = reference(model, &["path", "name"])?;
    Some(json!({"referenceType": "Id", "assetId": id}))
}

fn properties(deployment: &BatchDeployment, whole: bool) -> BatchDeploymentProperties {
    let (serving, settings) = (&deployment.serving, &deployment.settings);
    let workload = &serving.workload;
    let mut properties = serving.properties.clone();
    extension::put(&mut properties, deployment, whole);
    BatchDeploymentProperties {
        description: serving.description.clone(),
        compute: deployment.compute.clone(),
        model: workload.model.as_ref().and_then(shown_model),
        environment_id: workload.environment.as_ref().and_then(|env| reference(env, &["image", "name"])),
        code_configuration: CodeView::of(workload),
        environment_variables: workload.environment_variables.clone(),
        resources: Resources {
            instance_count: settings.instance_count,
            instance_type: workload.instance_type.clone(),
            properties: Map::new(),
        },
        max_concurrency_per_instance: settings.max_concurrency_per_instance,
        mini_batch_size: settings.mini_batch_size,
        error_threshold: settings.error_threshold,
        retry_settings: RetrySettings { max_retries: settings.max_retries, timeout: iso(settings.timeout) },
        output_action: word(&ACTIONS, &settings.output_action).to_owned(),
        output_file_name: settings.output_file_name.clone(),
        logging_level: word(&LEVELS, &settings.logging_level).to_owned(),
        provisioning_state: "Succeeded".to_owned(),
        properties,
    }
}

/// The body of a PUT that makes a deployment as described.
pub fn body(deployment: &BatchDeployment, location: &str) -> Value {
    json!({
        "location": location,
        "tags": deployment.serving.tags,
        "properties": properties(deployment, true),
    })
}

/// A deployment as ARM shows it.
pub fn view(
    deployment: &BatchDeployment,
    about: About<'_>,
    instances: &[InstanceView],
) -> BatchDeploymentView {
    let mut properties = properties(deployment, false);
    show_instances(&mut properties.properties, instances).clone_into(&mut properties.provisioning_state);
    BatchDeploymentView {
        resource: about.tracked(TYPE, &deployment.serving.name, &deployment.serving.tags),
        properties,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::arm::testing::{self, workspace};
    use crate::model::batch::RequestFormat;

    const BACKEND: &str = r#"{"urls":["http://127.0.0.1:5001","http://127.0.0.1:5002"]}"#;

    fn read_over(body: &Value, before: Option<&BatchDeployment>) -> Result<BatchDeployment, String> {
        let (endpoint, name) = ("heart".parse().unwrap(), "blue".parse().unwrap());
        let place = Place { workspace: workspace(), endpoint, name };
        testing::read_body(body, |form| read(form, place, before, |_| Routes::default()))
    }

    fn read_body(body: &Value) -> Result<BatchDeployment, String> {
        read_over(body, None)
    }

    fn sent() -> Value {
        json!({"location": "l", "tags": {}, "properties": {
            "model": {"referenceType": "Id", "assetId": "/x/models/m/versions/1"}, "environmentId": "/x/environments/e/versions/1",
            "compute": "/x/computes/cpu", "resources": {"instanceCount": 1, "properties": {}}, "miniBatchSize": "20",
            "maxConcurrencyPerInstance": "2", "errorThreshold": "10", "outputAction": "summaryOnly", "outputFileName": "p.jsonl",
            "retrySettings": {"maxRetries": "4", "timeout": "PT5M"}, "loggingLevel": "info", "environmentVariables": {"A": 1},
            "properties": {"scoregate.backend": BACKEND, "scoregate.request_format": "dataframe_split",
                "scoregate.rows_per_request": "500", "scoregate.scoring_route": "/invocations", "mine": "x"}}})
    }

    #[test]
    fn what_the_sdk_sends_is_read_and_its_body_reads_the_same() {
        let deployment = read_body(&sent()).unwrap();
        let settings = BatchSettings {
            instance_count: 1,
            max_concurrency_per_instance: 2,
            mini_batch_size: 20,
            error_threshold: 10,
            max_retries: 4,
            timeout: Duration::from_mins(5),
            output_action: OutputAction::SummaryOnly,
            output_file_name: "p.jsonl".to_owned(),
            logging_level: LoggingLevel::Info,
            request_format: RequestFormat::DataframeSplit,
            rows_per_request: 500,
        };
        assert_eq!(deployment.settings, settings);
        let serving = &deployment.serving;
        assert_eq!(serving.request_settings.max_concurrent_requests_per_instance, 2);
        assert_eq!(serving.request_settings.request_timeout, Duration::from_mins(5));
        assert_eq!(serving.scoring_path, "/invocations");
        assert_eq!(serving.workload.environment_variables["A"], "1");
        assert_eq!(serving.workload.model, Some(json!("/x/models/m/versions/1")));
        assert_eq!(serving.properties.keys().collect::<Vec<_>>(), ["mine"]);
        assert_eq!(read_body(&body(&deployment, "l")).as_ref(), Ok(&deployment));
        let without = json!({"properties": {"description": "d"}});
        let kept = read_over(&without, Some(&deployment)).unwrap();
        assert_eq!(kept.serving.backend, serving.backend, "what is not there stays as it was");
        assert_eq!(kept.settings.request_format, RequestFormat::DataframeSplit);
        assert_eq!((kept.settings.instance_count, kept.settings.mini_batch_size), (2, 10));
    }

    #[test]
    fn a_model_is_a_reference_of_any_kind() {
        for (given, kept) in [
            (json!({"assetId": "a"}), json!("a")),
            (
                json!({"referenceType": "dataPath", "datastoreId": "d", "path": "p"}),
                json!({"referenceType": "DataPath", "datastoreId": "d", "path": "p"}),
            ),
            (
                json!({"referenceType": "OutputPath", "jobId": "j", "path": "p"}),
                json!({"referenceType": "OutputPath", "jobId": "j", "path": "p"}),
            ),
        ] {
            let body = json!({"properties": {"model": given, "resources": {"instanceCount": 2},
                "properties": {"scoregate.backend": BACKEND}}});
            let found = read_body(&body).unwrap();
            assert_eq!(found.serving.workload.model.as_ref(), Some(&kept));
            // Written out, the number of instances is one that somebody asked for.
            let again = read_body(&super::body(&found, "l")).unwrap();
            assert_eq!((&again.settings, again.serving.workload.model), (&found.settings, Some(kept)));
        }
    }

    #[test]
    fn what_no_job_could_go_by_is_refused() {
        for (field, value, told) in [
            ("maxConcurrencyPerInstance", json!(0), "is 0"),
            ("miniBatchSize", json!(0), "is 0"),
            ("miniBatchSize", json!("many"), "whole number"),
            ("errorThreshold", json!(-2), "-1 and 2147483647"),
            ("errorThreshold", json!(2_147_483_648_i64), "-1 and 2147483647"),
            ("outputFileName", json!("../p.csv"), "no plain file name"),
            ("outputFileName", json!(".p"), "no plain file name"),
            ("outputAction", json!("Append"), "AppendRow, SummaryOnly"),
            ("loggingLevel", json!("loud"), "Info, Warning, Debug"),
            ("retrySettings", json!({"timeout": "PT0S"}), "is 0"),
            ("retrySettings", json!({"timeout": "30"}), "not a duration"),
            ("resources", json!({"instanceCount": 0}), "is 0"),
            (
                "deploymentConfiguration",
                json!({"deploymentConfigurationType": "PipelineComponent"}),
                "pipeline components are not served",
            ),
            ("properties", json!({"scoregate.backend": BACKEND, "scoregate.request_format": "xml"}), "raw"),
            ("properties", json!({"scoregate.backend": BACKEND, "scoregate.rows_per_request": "0"}), "is 0"),
            ("properties", json!({}), "scoregate.backend"),
        ] {
            let mut body = json!({"properties": {"properties": {"scoregate.backend": BACKEND}}});
            body["properties"][field] = value.clone();
            let refused = read_body(&body).unwrap_err();
            assert!(refused.contains(told), "{field} {value}: {refused}");
        }
    }
}
