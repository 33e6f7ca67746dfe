//! Online deployments.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::extension::deployment::{self as extension, Azures, Own};
use super::resource::{About, Sku, Tracked, bag, no_properties, retag, tags};
use crate::forms::{Form, IsoDuration};
use crate::model::asset::Routes;
use crate::model::deployment::{Deployment, Probe, RequestSettings, Workload};
use crate::model::names::{DeploymentName, EndpointName};
use crate::model::scope::WorkspaceRef;

/// The type of online deployments.
pub const TYPE: &str = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments";

/// Which deployment a body describes.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its workspace.
    pub workspace: WorkspaceRef,
    /// Its endpoint.
    pub endpoint: EndpointName,
    /// Its name.
    pub name: DeploymentName,
}

/// Reads the body of a PUT. `routes` finds those of an environment by its id.
pub fn read(
    form: &Form<'_>,
    place: Place,
    before: Option<&Deployment>,
    routes: impl Fn(&str) -> Routes,
) -> Option<Deployment> {
    form.carried("location");
    let tags = tags(form);
    let capacity = form
        .optional_section("sku", "How large it is.", |f| {
            f.carried("name");
            capacity(f)
        })
        .flatten();
    form.section("properties", "", |f| {
        f.one_of("endpointComputeType", "Where it runs; Managed.", &[("Managed", ())]).or(());
        f.section("scaleSettings", "Default: instances are where the backend says.", |s| {
            s.one_of("scaleType", "Default.", &[("Default", ())]).or(());
        });
        let mut properties = bag(f, before.map(|before| &before.properties));
        let own = extension::take(f, &mut properties, before);
        backend_is_needed(f, &own);
        let workload = Workload { instance_count: capacity, ..workload(f) };
        own.with(Azures {
            place,
            request_settings: f.section("requestSettings", "Concurrency and time.", request_settings),
            routes: routes_of(&workload, routes),
            description: f.value("description", "What it is for.").or_else(String::new),
            tags,
            properties,
            workload,
        })
    })
}

/// Notes that a body does not say where the instances are.
pub(super) fn backend_is_needed(form: &Form<'_>, own: &Own) {
    if own.backend.is_none() && !form.has("properties") {
        let hint = r#"properties.properties["scoregate.backend"] = "{\"urls\":[\"http://127.0.0.1:5001\"]}""#;
        form.wrong("properties", "does not say where the instances are", Some(hint));
    } else if own.backend.is_none() {
        form.wrong("properties", "`scoregate.backend` has to say where the instances are", None);
    }
}

/// The routes of the environment that a workload refers to.
pub(super) fn routes_of(workload: &Workload, routes: impl Fn(&str) -> Routes) -> Routes {
    workload.environment.as_ref().and_then(Value::as_str).map(routes).unwrap_or_default()
}

fn capacity(form: &Form<'_>) -> Option<u32> {
    let capacity = form.value::<u32>("capacity", "How many instances.").optional();
    if capacity == Some(0) {
        form.wrong("capacity", "is 0; a deployment has at least one instance", None);
    }
    capacity
}

fn request_settings(form: &Form<'_>) -> RequestSettings {
    let defaults = RequestSettings::default();
    let concurrent =
        form.value("maxConcurrentRequestsPerInstance", "Requests at once for an instance.").or(1);
    if concurrent == 0 {
        form.wrong("maxConcurrentRequestsPerInstance", "is 0; no request could ever be served", None);
    }
    let time = |key, default| form.value::<IsoDuration>(key, "ISO 8601.").or(IsoDuration(default)).0;
    RequestSettings {
        request_timeout: time("requestTimeout", defaults.request_timeout),
        max_concurrent_requests_per_instance: concurrent,
        max_queue_wait: time("maxQueueWait", defaults.max_queue_wait),
    }
}

fn workload(form: &Form<'_>) -> Workload {
    let access = [("Enabled", true), ("Disabled", false)];
    Workload {
        model: form.value::<String>("model", "Id of a model; kept and shown.").optional().map(Value::from),
        model_mount_path: form.value("modelMountPath", "").optional(),
        instance_type: form.value("instanceType", "Free text; kept and shown.").optional(),
        instance_count: None,
        app_insights_enabled: form.value("appInsightsEnabled", "").or(false),
        egress_public_network_access: form.one_of("egressPublicNetworkAccess", "", &access).optional(),
        liveness_probe: form.optional_section("livenessProbe", "", probe),
        readiness_probe: form.optional_section("readinessProbe", "", probe),
        data_collector: form.carried("dataCollector").filter(Value::is_object),
        ..code_and_environment(form)
    }
}

/// What deployments of every kind say of what runs on their instances.
pub(super) fn code_and_environment(form: &Form<'_>) -> Workload {
    let (code, scoring_script) = form.section("codeConfiguration", "The code; kept and shown.", |f| {
        (f.value("codeId", "").optional(), f.value("scoringScript", "").optional())
    });
    let environment =
        form.value::<String>("environmentId", "Id of an environment; its scoring route is used.");
    let environment_variables =
        form.pairs("environmentVariables", "Given to instances that the gateway runs.").into_iter().collect();
    let environment = environment.optional().map(Value::from);
    Workload { environment, code, scoring_script, environment_variables, ..Workload::default() }
}

fn probe(form: &Form<'_>) -> Probe {
    let defaults = Probe::default();
    let time = |key, default| form.value::<IsoDuration>(key, "ISO 8601.").or(IsoDuration(default)).0;
    Probe {
        initial_delay: time("initialDelay", defaults.initial_delay),
        period: time("period", defaults.period),
        timeout: time("timeout", defaults.timeout),
        success_threshold: form.value("successThreshold", "").or(defaults.success_threshold),
        failure_threshold: form.value("failureThreshold", "").or(defaults.failure_threshold),
    }
}

/// An online deployment as ARM shows it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentView {
    #[serde(flatten)]
    resource: Tracked,
    sku: Sku,
    properties: DeploymentProperties,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct DeploymentProperties {
    endpoint_compute_type: String,
    description: String,
    model: Option<String>,
    model_mount_path: Option<String>,
    environment_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code_configuration: Option<CodeView>,
    environment_variables: BTreeMap<String, String>,
    instance_type: Option<String>,
    app_insights_enabled: bool,
    egress_public_network_access: String,
    request_settings: RequestSettingsView,
    #[serde(skip_serializing_if = "Option::is_none")]
    liveness_probe: Option<ProbeView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    readiness_probe: Option<ProbeView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_collector: Option<Value>,
    scale_settings: Map<String, Value>,
    provisioning_state: String,
    properties: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CodeView {
    code_id: Option<String>,
    scoring_script: Option<String>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct RequestSettingsView {
    request_timeout: String,
    max_concurrent_requests_per_instance: u32,
    max_queue_wait: String,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ProbeView {
    initial_delay: String,
    period: String,
    timeout: String,
    success_threshold: u32,
    failure_threshold: u32,
}

impl CodeView {
    pub(super) fn of(workload: &Workload) -> Option<CodeView> {
        let (code_id, scoring_script) = (workload.code.clone(), workload.scoring_script.clone());
        (code_id.is_some() || scoring_script.is_some()).then_some(CodeView { code_id, scoring_script })
    }
}

pub(super) fn iso(duration: std::time::Duration) -> String {
    IsoDuration(duration).to_string()
}

fn probe_view(probe: &Probe) -> ProbeView {
    ProbeView {
        initial_delay: iso(probe.initial_delay),
        period: iso(probe.period),
        timeout: iso(probe.timeout),
        success_threshold: probe.success_threshold,
        failure_threshold: probe.failure_threshold,
    }
}

/// A reference, or what of an asset described in place comes nearest to one.
pub(super) fn reference(value: &Value, inside: &[&str]) -> Option<String> {
    let found = inside.iter().find_map(|key| value.get(key)?.as_str());
    value.as_str().or(found).map(str::to_owned)
}

fn properties(deployment: &Deployment, whole: bool) -> DeploymentProperties {
    let (workload, settings) = (&deployment.workload, &deployment.request_settings);
    let mut properties = deployment.properties.clone();
    extension::put(&mut properties, deployment, whole);
    let mut scale_settings = Map::new();
    scale_settings.insert("scaleType".to_owned(), json!("Default"));
    DeploymentProperties {
        endpoint_compute_type: "Managed".to_owned(),
        description: deployment.description.clone(),
        model: workload.model.as_ref().and_then(|model| reference(model, &["path", "name"])),
        model_mount_path: workload.model_mount_path.clone(),
        environment_id: workload.environment.as_ref().and_then(|env| reference(env, &["image", "name"])),
        code_configuration: CodeView::of(workload),
        environment_variables: workload.environment_variables.clone(),
        instance_type: workload.instance_type.clone(),
        app_insights_enabled: workload.app_insights_enabled,
        egress_public_network_access: match workload.egress_public_network_access {
            Some(false) => "Disabled",
            _ => "Enabled",
        }
        .to_owned(),
        request_settings: RequestSettingsView {
            request_timeout: iso(settings.request_timeout),
            max_concurrent_requests_per_instance: settings.max_concurrent_requests_per_instance,
            max_queue_wait: iso(settings.max_queue_wait),
        },
        liveness_probe: workload.liveness_probe.as_ref().map(probe_view),
        readiness_probe: workload.readiness_probe.as_ref().map(probe_view),
        data_collector: workload.data_collector.clone(),
        scale_settings,
        provisioning_state: "Succeeded".to_owned(),
        properties,
    }
}

/// The body of a PUT that makes a deployment as described.
pub fn body(deployment: &Deployment, location: &str) -> Value {
    json!({
        "location": location,
        "tags": deployment.tags,
        "sku": {"name": "Default", "capacity": deployment.capacity()},
        "properties": properties(deployment, true),
    })
}

/// How one instance is doing, in the entry `scoregate.instances` of the property bag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceView {
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// `healthy`, `starting`, `unready`, `dead`, `ejected`, `stopping` or `crash_looping`.
    pub state: &'static str,
    /// How often a process was started again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u32>,
    /// How it ended last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_end: Option<String>,
}

/// Puts instances into a property bag, and gives the deployment's state by theirs.
pub(super) fn show_instances(bag: &mut BTreeMap<String, String>, instances: &[InstanceView]) -> &'static str {
    let shown = serde_json::to_string(instances).unwrap_or_default();
    bag.insert("scoregate.instances".to_owned(), shown);
    let looping = |instance: &InstanceView| instance.state == "crash_looping";
    if !instances.is_empty() && instances.iter().all(looping) { "Failed" } else { "Succeeded" }
}

/// A deployment as ARM shows it.
pub fn view(deployment: &Deployment, about: About<'_>, instances: &[InstanceView]) -> DeploymentView {
    let mut properties = properties(deployment, false);
    show_instances(&mut properties.properties, instances).clone_into(&mut properties.provisioning_state);
    DeploymentView {
        resource: about.tracked(TYPE, &deployment.name, &deployment.tags),
        sku: Sku { name: "Default".to_owned(), capacity: deployment.capacity() },
        properties,
    }
}

/// What a PATCH may change: tags as a whole, and the number of instances.
pub fn patch(form: &Form<'_>, before: &Deployment) -> Deployment {
    let mut deployment = before.clone();
    retag(form, &mut deployment.tags);
    if let Some(Some(count)) = form.optional_section("sku", "", |f| {
        f.carried("name");
        capacity(f)
    }) {
        deployment.workload.instance_count = Some(count);
    }
    no_properties(form, "send the whole deployment by PUT");
    deployment
}
