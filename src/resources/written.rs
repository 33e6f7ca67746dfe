//! Nouns as documents again: the form of `az ml`, in which everything that is as by default is left out.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::batch::{ACTIONS, LEVELS};
use crate::arm::extension::{self, says_something};
use crate::arm::resource::word;
use crate::model::batch::{BatchDeployment, BatchEndpoint, BatchSettings};
use crate::model::datastore::Datastore;
use crate::model::deployment::{Deployment, Probe, RequestSettings, Workload};
use crate::model::endpoint::EndpointSpec;

/// A mapping that leaves out what says nothing.
#[derive(Debug, Default)]
struct Written(Map<String, Value>);

impl Written {
    fn put(&mut self, key: &str, value: Value) {
        if says_something(&value) {
            self.0.insert(key.to_owned(), value);
        }
    }
}

/// An endpoint's document.
pub fn endpoint(spec: &EndpointSpec) -> Value {
    let mut written = Written::default();
    written.put("name", json!(spec.name.to_string()));
    written.put("auth_mode", json!(spec.auth_mode.as_str()));
    written.put("description", json!(spec.description));
    written.put("tags", json!(spec.tags));
    written.put("identity", identity(spec.identity.as_ref()));
    let shares = spec.traffic.shares().filter(|(_, share)| *share > 0);
    let shares: Map<String, Value> = shares.map(|(name, share)| (name.to_string(), json!(share))).collect();
    written.put("traffic", Value::Object(shares));
    let mirror = spec.mirror.as_ref().map(|mirror| json!({mirror.deployment.to_string(): mirror.percent}));
    written.put("mirror_traffic", mirror.unwrap_or_default());
    if !spec.public_network_access {
        written.put("public_network_access", json!("disabled"));
    }
    written.put("properties", json!(spec.properties));
    for (key, value) in extension::endpoint::write(spec) {
        written.put(&key, value);
    }
    Value::Object(written.0)
}

/// The identity; a system-assigned one, which every endpoint has, says nothing.
fn identity(identity: Option<&Value>) -> Value {
    let kind = identity.and_then(|identity| identity.get("type")?.as_str()).unwrap_or("SystemAssigned");
    let named = identity.and_then(|identity| identity.get("userAssignedIdentities")?.as_object());
    let named: Vec<Value> =
        named.into_iter().flat_map(Map::keys).map(|id| json!({"resource_id": id})).collect();
    let kind = match kind.to_ascii_lowercase().as_str() {
        "systemassigned" => return Value::Null,
        "none" => "none",
        _ => "user_assigned",
    };
    json!({"type": kind, "user_assigned_identities": named})
}

/// A deployment's document.
pub fn deployment(deployment: &Deployment) -> Value {
    let mut written = Written::default();
    let workload = &deployment.workload;
    written.put("name", json!(deployment.name.to_string()));
    written.put("endpoint_name", json!(deployment.endpoint.to_string()));
    written.put("description", json!(deployment.description));
    written.put("tags", json!(deployment.tags));
    written.put("model", json!(workload.model));
    written.put("model_mount_path", json!(workload.model_mount_path));
    code_and_environment(&mut written, workload);
    written.put("environment_variables", json!(workload.environment_variables));
    written.put("instance_type", json!(workload.instance_type));
    written.put("instance_count", json!(workload.instance_count));
    written.put("request_settings", request_settings(&deployment.request_settings));
    switches(&mut written, workload);
    written.put("data_collector", json!(workload.data_collector));
    written.put("properties", json!(deployment.properties));
    for (key, value) in extension::deployment::write(deployment) {
        written.put(&key, value);
    }
    Value::Object(written.0)
}

/// A batch endpoint's document. It names its schema, without which it could be an online one.
pub fn batch_endpoint(endpoint: &BatchEndpoint) -> Value {
    let mut written = Written::default();
    written.put("$schema", json!("https://azuremlschemas.azureedge.net/latest/batchEndpoint.schema.json"));
    written.put("name", json!(endpoint.name.to_string()));
    written.put("auth_mode", json!("aad_token"));
    written.put("description", json!(endpoint.description));
    written.put("tags", json!(endpoint.tags));
    let default = endpoint.default_deployment.as_ref();
    let default = default.map(|name| json!({"deployment_name": name.to_string()}));
    written.put("defaults", default.unwrap_or_default());
    written.put("properties", json!(endpoint.properties));
    Value::Object(written.0)
}

/// A batch deployment's document.
pub fn batch_deployment(deployment: &BatchDeployment) -> Value {
    let mut written = Written::default();
    let (serving, workload) = (&deployment.serving, &deployment.serving.workload);
    written.put("name", json!(serving.name.to_string()));
    written.put("endpoint_name", json!(serving.endpoint.to_string()));
    written.put("type", json!("model"));
    written.put("description", json!(serving.description));
    written.put("tags", json!(serving.tags));
    written.put("model", json!(workload.model));
    code_and_environment(&mut written, workload);
    written.put("compute", json!(deployment.compute));
    let mut resources = Written::default();
    resources.put("instance_count", json!(workload.instance_count));
    resources.put("instance_type", json!(workload.instance_type));
    written.put("resources", Value::Object(resources.0));
    written.put("settings", batch_settings(&deployment.settings, workload));
    written.put("properties", json!(serving.properties));
    for (key, value) in extension::deployment::write(serving) {
        written.put(&key, value);
    }
    Value::Object(written.0)
}

/// The rules of jobs that are not as by default.
fn batch_settings(settings: &BatchSettings, workload: &Workload) -> Value {
    let defaults = BatchSettings::default();
    let mut written = Written::default();
    let mut differ = |key: &str, value: Value, default: Value| {
        if value != default {
            written.put(key, value);
        }
    };
    let numbers = |settings: &BatchSettings| {
        [
            ("max_concurrency_per_instance", json!(settings.max_concurrency_per_instance)),
            ("mini_batch_size", json!(settings.mini_batch_size)),
            ("error_threshold", json!(settings.error_threshold)),
            ("output_file_name", json!(settings.output_file_name)),
            ("output_action", json!(word(&ACTIONS, &settings.output_action))),
            ("logging_level", json!(word(&LEVELS, &settings.logging_level))),
        ]
    };
    for ((key, value), (_, default)) in numbers(settings).into_iter().zip(numbers(&defaults)) {
        differ(key, value, default);
    }
    let by_default = extension::batch::write(&defaults);
    for (key, value) in extension::batch::write(settings) {
        let default = by_default.get(&key).cloned().unwrap_or_default();
        differ(&key, value, default);
    }
    let mut retries = Written::default();
    if settings.max_retries != defaults.max_retries {
        retries.put("max_retries", json!(settings.max_retries));
    }
    if settings.timeout != defaults.timeout {
        retries.put("timeout", json!(whole_seconds(settings.timeout)));
    }
    written.put("retry_settings", Value::Object(retries.0));
    written.put("environment_variables", json!(workload.environment_variables));
    Value::Object(written.0)
}

/// A data store's document, without what opens it.
pub fn datastore(store: &Datastore) -> Value {
    let mut written = Written::default();
    written.put("name", json!(store.name.to_string()));
    for (key, value) in extension::place::write(&store.place, "type") {
        written.put(&key, value);
    }
    written.put("description", json!(store.description));
    written.put("tags", json!(store.tags));
    written.put("properties", json!(store.properties));
    Value::Object(written.0)
}

/// What deployments of every kind say of what runs on their instances.
fn code_and_environment(written: &mut Written, workload: &Workload) {
    let mut code = Written::default();
    code.put("code", json!(workload.code));
    code.put("scoring_script", json!(workload.scoring_script));
    written.put("code_configuration", Value::Object(code.0));
    written.put("environment", json!(workload.environment));
}

fn switches(written: &mut Written, workload: &Workload) {
    if workload.app_insights_enabled {
        written.put("app_insights_enabled", json!(true));
    }
    if workload.egress_public_network_access == Some(false) {
        written.put("egress_public_network_access", json!("disabled"));
    }
    written.put("liveness_probe", probe(workload.liveness_probe.as_ref()));
    written.put("readiness_probe", probe(workload.readiness_probe.as_ref()));
}

fn request_settings(settings: &RequestSettings) -> Value {
    let (defaults, mut written) = (RequestSettings::default(), Written::default());
    let millis = |duration: Duration| json!(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    if settings.request_timeout != defaults.request_timeout {
        written.put("request_timeout_ms", millis(settings.request_timeout));
    }
    let concurrent = settings.max_concurrent_requests_per_instance;
    if concurrent != defaults.max_concurrent_requests_per_instance {
        written.put("max_concurrent_requests_per_instance", json!(concurrent));
    }
    if settings.max_queue_wait != defaults.max_queue_wait {
        written.put("max_queue_wait_ms", millis(settings.max_queue_wait));
    }
    Value::Object(written.0)
}

/// Documents know whole seconds only; a part of one counts as one, so that no clock ends before its time or is 0.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

fn probe(probe: Option<&Probe>) -> Value {
    let Some(probe) = probe else { return Value::Null };
    json!({
        "initial_delay": whole_seconds(probe.initial_delay),
        "period": whole_seconds(probe.period),
        "timeout": whole_seconds(probe.timeout),
        "success_threshold": probe.success_threshold,
        "failure_threshold": probe.failure_threshold,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_second_is_not_lost() {
        for (millis, seconds) in [(0, 0), (1, 1), (500, 1), (1_000, 1), (1_500, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds, "{millis}");
        }
        let settings = BatchSettings { timeout: Duration::from_millis(500), ..BatchSettings::default() };
        let written = batch_settings(&settings, &Workload::default());
        assert_eq!(written, json!({"retry_settings": {"timeout": 1}}));
    }
}
