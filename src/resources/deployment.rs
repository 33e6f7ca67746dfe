//! A deployment's document.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::document::{SHOWN_ONLY, notes, workspace};
use crate::arm::deployment::Place;
use crate::arm::extension::deployment::{self as extension, Azures, Own};
use crate::forms::{Form, Millis, Seconds};
use crate::model::asset::Routes;
use crate::model::deployment::{Deployment, Probe, RequestSettings, Workload};
use crate::model::names::{DeploymentName, EndpointName};
use crate::model::workspace::Workspace;

pub(super) fn read(form: &Form<'_>, base: &Path, workspaces: &[Workspace]) -> Option<Deployment> {
    for key in SHOWN_ONLY.iter().chain(&["type", "resources", "scale_settings"]) {
        form.carried(key);
    }
    let name = form.value::<DeploymentName>("name", "").required("a deployment needs a name");
    let endpoint =
        form.value::<EndpointName>("endpoint_name", "").required("name the endpoint it stands behind");
    let request_settings = form.section("request_settings", "", request_settings);
    let own = own(form, base);
    let workload = workload(form);
    let routes = routes(form, workload.environment.as_ref());
    let workspace = workspace(form, workspaces);
    let (description, tags, properties) = notes(form);
    let place = Place { workspace: workspace?, endpoint: endpoint?, name: name? };
    own.with(Azures { place, request_settings, routes, description, tags, properties, workload })
}

/// The gateway's own fields, which have to say where the instances are.
pub(super) fn own(form: &Form<'_>, base: &Path) -> Own {
    let own = extension::read(form, base);
    if own.backend.is_none() && !form.has("backend") {
        let hint = "backend: { urls: [\"http://127.0.0.1:5001\"] } says where the instances are";
        form.wrong("backend", "is missing", Some(hint));
    }
    own
}

/// The routes of the environment's inference configuration.
pub(super) fn routes(form: &Form<'_>, environment: Option<&Value>) -> Routes {
    const NAMES: [&str; 3] = ["scoring_route", "liveness_route", "readiness_route"];
    let Some(config) = environment.and_then(|environment| environment.get("inference_config")) else {
        return Routes::default();
    };
    let routes = Routes::of(config, NAMES);
    let found = [&routes.scoring, &routes.liveness, &routes.readiness];
    for (name, route) in NAMES.iter().zip(found) {
        if route.is_none() && config.get(name).is_some_and(|given| !given.is_null()) {
            form.wrong("environment", format!("`inference_config.{name}.path` is no path"), None);
        }
    }
    routes
}

fn request_settings(form: &Form<'_>) -> RequestSettings {
    let defaults = RequestSettings::default();
    let concurrent = form.value("max_concurrent_requests_per_instance", "").or(1);
    if concurrent == 0 {
        form.wrong("max_concurrent_requests_per_instance", "is 0; no request could ever be served", None);
    }
    RequestSettings {
        request_timeout: form.value("request_timeout_ms", "").or(Millis(defaults.request_timeout)).0,
        max_concurrent_requests_per_instance: concurrent,
        max_queue_wait: form.value("max_queue_wait_ms", "").or(Millis(defaults.max_queue_wait)).0,
    }
}

fn workload(form: &Form<'_>) -> Workload {
    let access = [("enabled", true), ("disabled", false)];
    Workload {
        model_mount_path: form.value("model_mount_path", "").optional(),
        environment_variables: form.pairs("environment_variables", "").into_iter().collect(),
        instance_type: form.value("instance_type", "").optional(),
        instance_count: form.value("instance_count", "").optional(),
        app_insights_enabled: form.value("app_insights_enabled", "").or(false),
        egress_public_network_access: form.one_of("egress_public_network_access", "", &access).optional(),
        liveness_probe: form.optional_section("liveness_probe", "", probe),
        readiness_probe: form.optional_section("readiness_probe", "", probe),
        data_collector: form.carried("data_collector").map(|value| in_camel_case(&value)),
        ..code_and_environment(form)
    }
}

/// What deployments of every kind say of what runs on their instances.
pub(super) fn code_and_environment(form: &Form<'_>) -> Workload {
    let (code, scoring_script) = form.section("code_configuration", "", |f| {
        (f.value("code", "").optional(), f.value("scoring_script", "").optional())
    });
    let (model, environment) = (form.carried("model"), form.carried("environment"));
    Workload { model, environment, code, scoring_script, ..Workload::default() }
}

fn probe(form: &Form<'_>) -> Probe {
    let defaults = Probe::default();
    let time = |key, default| form.value(key, "").or(Seconds(default)).0;
    Probe {
        initial_delay: time("initial_delay", defaults.initial_delay),
        period: time("period", defaults.period),
        timeout: time("timeout", defaults.timeout),
        success_threshold: form.value("success_threshold", "").or(defaults.success_threshold),
        failure_threshold: form.value("failure_threshold", "").or(defaults.failure_threshold),
    }
}

/// `data_collector` as ARM writes it: names in camel case, `enabled` as a mode.
fn in_camel_case(value: &Value) -> Value {
    let Value::Object(fields) = value else { return value.clone() };
    let mut renamed = Map::new();
    for (key, value) in fields {
        if key == "enabled" {
            let on = value.as_bool().unwrap_or_else(|| value.as_str() == Some("True"));
            renamed.insert("dataCollectionMode".to_owned(), json!(if on { "Enabled" } else { "Disabled" }));
            continue;
        }
        let mut words = key.split('_');
        let first = words.next().unwrap_or_default().to_owned();
        let name = words.fold(first, |name, word| {
            let mut letters = word.chars();
            let head = letters.next().map(|c| c.to_ascii_uppercase());
            name + &head.into_iter().chain(letters).collect::<String>()
        });
        renamed.insert(name, in_camel_case(value));
    }
    Value::Object(renamed)
}
