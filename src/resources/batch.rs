//! Documents of batch endpoints and batch deployments.

use std::path::Path;

use super::deployment::{code_and_environment, own, routes};
use super::document::{SHOWN_ONLY, notes, workspace};
use crate::arm::batch_deployment::sound;
use crate::arm::deployment::Place;
use crate::arm::extension;
use crate::arm::extension::deployment::Azures;
use crate::forms::{Form, Seconds};
use crate::model::batch::{BatchDeployment, BatchEndpoint, BatchSettings, LoggingLevel, OutputAction};
use crate::model::deployment::Workload;
use crate::model::names::{DeploymentName, EndpointName};
use crate::model::workspace::Workspace;

/// The words for what becomes of predictions.
pub(super) const ACTIONS: [(&str, OutputAction); 2] =
    [("append_row", OutputAction::AppendRow), ("summary_only", OutputAction::SummaryOnly)];

/// The words for how much is told.
pub(super) const LEVELS: [(&str, LoggingLevel); 3] =
    [("info", LoggingLevel::Info), ("warning", LoggingLevel::Warning), ("debug", LoggingLevel::Debug)];

/// The rules of jobs, which stand under `settings`, or in `az ml`'s older form at the root.
pub const RULES: &[&str] = &[
    "max_concurrency_per_instance",
    "mini_batch_size",
    "error_threshold",
    "retry_settings",
    "output_action",
    "output_file_name",
    "logging_level",
    "request_format",
    "rows_per_request",
    "environment_variables",
];

/// The names of what is looked at together.
const NAMES: [&str; 4] =
    ["max_concurrency_per_instance", "mini_batch_size", "error_threshold", "output_file_name"];

pub(super) fn endpoint(form: &Form<'_>, workspaces: &[Workspace]) -> Option<BatchEndpoint> {
    for key in SHOWN_ONLY.iter().chain(&["type"]) {
        form.carried(key);
    }
    let name = form.value::<EndpointName>("name", "").required("an endpoint needs a name");
    form.one_of("auth_mode", "", &[("aad_token", ())]).or(());
    let default_deployment =
        form.section("defaults", "", |f| f.value::<DeploymentName>("deployment_name", "").optional());
    let workspace = workspace(form, workspaces);
    let (description, tags, properties) = notes(form);
    let (name, workspace) = (name?, workspace?);
    Some(BatchEndpoint { name, workspace, default_deployment, description, tags, properties })
}

pub(super) fn deployment(form: &Form<'_>, base: &Path, workspaces: &[Workspace]) -> Option<BatchDeployment> {
    for key in SHOWN_ONLY.iter().filter(|key| **key != "compute") {
        form.carried(key);
    }
    let kind = form.value::<String>("type", "").optional();
    if kind.is_some_and(|kind| kind != "model") || form.carried("component").is_some() {
        let hint = "write `type: model`, and where the model's servers are under `backend`";
        form.wrong("type", "deployments of pipeline components are not served", Some(hint));
    }
    let name = form.value::<DeploymentName>("name", "").required("a deployment needs a name");
    let endpoint =
        form.value::<EndpointName>("endpoint_name", "").required("name the endpoint it stands behind");
    let own = own(form, base);
    let mut workload = code_and_environment(form);
    let at_root = rules(form, &BatchSettings::default(), &mut workload);
    let settings = form.section("settings", "", |f| {
        for key in RULES.iter().filter(|key| f.has(key) && form.has(key)) {
            f.wrong(key, "stands under `settings` and at the root", Some("keep the one under `settings`"));
        }
        let settings = rules(f, &at_root, &mut workload);
        if form.has("settings") {
            sound(f, &settings, NAMES);
        }
        settings
    });
    if !form.has("settings") {
        sound(form, &settings, NAMES);
    }
    form.section("resources", "", |f| {
        f.carried("properties");
        workload.instance_type = f.value("instance_type", "").optional();
        workload.instance_count = f.value("instance_count", "").optional();
    });
    let routes = routes(form, workload.environment.as_ref());
    let workspace = workspace(form, workspaces);
    let compute = form.value::<String>("compute", "").optional().filter(|text| !text.is_empty());
    let (description, tags, properties) = notes(form);
    let request_settings = settings.request_settings();
    let place = Place { workspace: workspace?, endpoint: endpoint?, name: name? };
    let serving =
        own.with(Azures { place, request_settings, routes, description, tags, properties, workload })?;
    let instance_count = serving.capacity();
    if instance_count == 0 {
        form.wrong("resources", "`instance_count` is 0; no job could ever be done", None);
    }
    Some(BatchDeployment { serving, settings: BatchSettings { instance_count, ..settings }, compute })
}

/// Reads the rules of jobs; what is not there is as in `defaults`.
fn rules(form: &Form<'_>, defaults: &BatchSettings, workload: &mut Workload) -> BatchSettings {
    let variables = form.pairs("environment_variables", "");
    workload.environment_variables.extend(variables);
    let (max_retries, timeout) = form.section("retry_settings", "", |f| {
        let Seconds(timeout) = f.value("timeout", "").or(Seconds(defaults.timeout));
        if timeout.is_zero() {
            f.wrong("timeout", "is 0; no mini-batch could ever be scored", None);
        }
        (f.value("max_retries", "").or(defaults.max_retries), timeout)
    });
    let requests = extension::batch::read(form, defaults);
    BatchSettings {
        max_concurrency_per_instance: form
            .value("max_concurrency_per_instance", "")
            .or(defaults.max_concurrency_per_instance),
        mini_batch_size: form.value("mini_batch_size", "").or(defaults.mini_batch_size),
        error_threshold: form.value("error_threshold", "").or(defaults.error_threshold),
        max_retries,
        timeout,
        output_action: form.one_of("output_action", "", &ACTIONS).or(defaults.output_action),
        output_file_name: form.value("output_file_name", "").or_else(|| defaults.output_file_name.clone()),
        logging_level: form.one_of("logging_level", "", &LEVELS).or(defaults.logging_level),
        request_format: requests.format,
        rows_per_request: requests.rows,
        ..defaults.clone()
    }
}
