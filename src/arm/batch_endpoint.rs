//! Batch endpoints.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::endpoint::mode;
use super::extension;
use super::resource::{About, Tracked, bag, no_properties, retag, tags};
use crate::forms::Form;
use crate::model::batch::BatchEndpoint;
use crate::model::endpoint::AuthMode;
use crate::model::names::{DeploymentName, EndpointName};
use crate::model::scope::WorkspaceRef;

/// The type of batch endpoints.
pub const TYPE: &str = "Microsoft.MachineLearningServices/workspaces/batchEndpoints";

/// Reads the body of a PUT.
pub fn read(
    form: &Form<'_>,
    name: &EndpointName,
    workspace: &WorkspaceRef,
    before: Option<&BatchEndpoint>,
) -> Option<BatchEndpoint> {
    form.carried("location");
    form.carried("identity");
    let tags = tags(form);
    form.section("properties", "", |f| {
        let modes = [(mode(AuthMode::AadToken), ())];
        f.one_of("authMode", "How callers prove who they are: AADToken.", &modes)
            .required("AADToken, which is all that a batch endpoint takes");
        let default_deployment = f.section("defaults", "", |d| {
            d.value::<DeploymentName>("deploymentName", "The deployment of jobs that name none.").optional()
        });
        let properties = bag(f, before.map(|before| &before.properties));
        let kept = |entry: &str| before.is_some_and(|before| before.properties.contains_key(entry));
        for entry in properties.keys().filter(|entry| entry.starts_with(extension::PREFIX) && !kept(entry)) {
            f.wrong("properties", format!("`{entry}`: batch endpoints have no such field"), None);
        }
        Some(BatchEndpoint {
            name: name.clone(),
            workspace: workspace.clone(),
            default_deployment,
            description: f.value("description", "What it is for.").or_else(String::new),
            tags,
            properties,
        })
    })
}

/// What a PATCH may change: tags as a whole.
pub fn patch(form: &Form<'_>, before: &BatchEndpoint) -> BatchEndpoint {
    let mut endpoint = before.clone();
    form.carried("identity");
    retag(form, &mut endpoint.tags);
    no_properties(form, "send the whole endpoint by PUT");
    endpoint
}

/// The body of a PUT that makes an endpoint as described.
pub fn body(endpoint: &BatchEndpoint, location: &str) -> Value {
    json!({
        "location": location,
        "tags": endpoint.tags,
        "properties": {
            "authMode": mode(AuthMode::AadToken),
            "description": endpoint.description,
            "defaults": defaults(endpoint),
            "properties": endpoint.properties,
        },
    })
}

/// A batch endpoint as ARM shows it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchEndpointView {
    #[serde(flatten)]
    resource: Tracked,
    properties: BatchEndpointProperties,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct BatchEndpointProperties {
    auth_mode: String,
    description: String,
    /// Always null: a batch endpoint has no keys.
    keys: Option<Map<String, Value>>,
    defaults: Defaults,
    scoring_uri: String,
    swagger_uri: String,
    provisioning_state: String,
    properties: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Defaults {
    deployment_name: Option<String>,
}

fn defaults(endpoint: &BatchEndpoint) -> Defaults {
    Defaults { deployment_name: endpoint.default_deployment.as_ref().map(ToString::to_string) }
}

/// An endpoint as ARM shows it. `data_url` is what clients call the data plane by; `operation` is where the status
/// of the operation can be asked that made the endpoint so, for scripts that look for it in the body.
pub fn view(
    endpoint: &BatchEndpoint,
    about: About<'_>,
    data_url: &str,
    operation: Option<String>,
) -> BatchEndpointView {
    let base = format!("{data_url}/endpoints/{}", endpoint.name);
    let mut properties = endpoint.properties.clone();
    properties.extend(operation.map(|uri| ("AzureAsyncOperationUri".to_owned(), uri)));
    BatchEndpointView {
        resource: about.tracked(TYPE, &endpoint.name, &endpoint.tags),
        properties: BatchEndpointProperties {
            auth_mode: mode(AuthMode::AadToken).to_owned(),
            description: endpoint.description.clone(),
            keys: None,
            defaults: defaults(endpoint),
            scoring_uri: format!("{base}/jobs"),
            swagger_uri: format!("{base}/swagger.json"),
            provisioning_state: "Succeeded".to_owned(),
            properties,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arm::testing::{self, workspace};
    use crate::model::audit::{Actor, System};

    fn read_body(body: &Value) -> Result<BatchEndpoint, String> {
        testing::read_body(body, |form| read(form, &"heart".parse().unwrap(), &workspace(), None))
    }

    #[test]
    fn what_the_sdk_sends_is_read_and_its_body_reads_the_same() {
        let sent = json!({"location": "l", "tags": {"a": "b"}, "properties": {"authMode": "aadToken", "description": "d",
            "properties": {"mine": "1"}, "defaults": {"deploymentName": "Blue"}}});
        let endpoint = read_body(&sent).unwrap();
        assert_eq!(endpoint.default_deployment, Some("blue".parse().unwrap()));
        assert_eq!(read_body(&body(&endpoint, "l")).as_ref(), Ok(&endpoint));
        let bare = read_body(&json!({"properties": {"authMode": "AADTOKEN", "defaults": null}})).unwrap();
        assert_eq!(bare.default_deployment, None);
        for wrong in [
            json!({"properties": {}}),
            json!({"properties": {"authMode": "Key"}}),
            json!({"properties": {"authMode": "AMLToken"}}),
            json!({"properties": {"authMode": "AADToken", "defaults": {"deploymentName": "a b"}}}),
            json!({"properties": {"authMode": "AADToken", "properties": {"scoregate.max_request_bytes": "1"}}}),
        ] {
            assert!(read_body(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_view_has_what_clients_fall_over_without() {
        let endpoint = read_body(&json!({"properties": {"authMode": "AADToken"}})).unwrap();
        let id = endpoint.scope().unwrap();
        let actor = Actor::gateway("test");
        let time = "2026-01-01T00:00:00Z".to_owned();
        let system = System {
            created_by: actor.clone(),
            created_at: time.clone(),
            modified_by: actor,
            modified_at: time,
        };
        let about = About { id: &id, location: "l", system: &system };
        let shown = json!(view(&endpoint, about, "http://h", None));
        assert_eq!(shown["properties"]["scoringUri"], "http://h/endpoints/heart/jobs");
        assert_eq!(shown["properties"]["swaggerUri"], "http://h/endpoints/heart/swagger.json");
        assert_eq!(shown["properties"]["properties"], json!({}));
        assert_eq!(shown["properties"]["authMode"], "AADToken");
        assert_eq!(shown["type"], TYPE);
        assert!(shown["systemData"]["createdAt"].is_string());
    }
}
