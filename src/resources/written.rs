//! Nouns as documents again: the form of `az ml`, in which everything that is as by default is left out.

use serde_json::{Map, Value, json};

use crate::arm::extension::{self, says_something};
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
    let mut code = Written::default();
    code.put("code", json!(workload.code));
    code.put("scoring_script", json!(workload.scoring_script));
    written.put("code_configuration", Value::Object(code.0));
    written.put("environment", json!(workload.environment));
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
    let millis =
        |duration: std::time::Duration| json!(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
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

fn probe(probe: Option<&Probe>) -> Value {
    let Some(probe) = probe else { return Value::Null };
    json!({
        "initial_delay": probe.initial_delay.as_secs(),
        "period": probe.period.as_secs(),
        "timeout": probe.timeout.as_secs(),
        "success_threshold": probe.success_threshold,
        "failure_threshold": probe.failure_threshold,
    })
}
