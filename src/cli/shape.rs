//! Endpoints and deployments between ARM's views, the nouns, and the form in which `az ml` shows them.

pub mod batch;

use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::scope::workspace_of;
use crate::arm;
use crate::forms::{Form, Mistakes, Reading, parse_json};
use crate::model::asset::Routes;
use crate::model::batch::{BatchDeployment, BatchEndpoint};
use crate::model::datastore::{Datastore, DatastoreNameError};
use crate::model::deployment::Deployment;
use crate::model::endpoint::EndpointSpec;
use crate::model::scope::WorkspaceRef;
use crate::resources::written;

/// The first keys of a document, in the order in which people write them.
pub const ORDER: &[&str] =
    &["name", "endpoint_name", "auth_mode", "description", "traffic", "mirror_traffic", "tags", "backend"];

/// Reads a view of the server's.
fn read<T>(view: &Value, what: impl FnOnce(&Form<'_>) -> Option<T>) -> Result<T, Failure> {
    let strange = |why: String| Failure::failed(format!("the server answered what is no resource: {why}"));
    let node = parse_json(view.to_string().as_bytes()).map_err(|error| strange(error.to_string()))?;
    let reading = Reading::of_body();
    let found = what(&reading.form(Some(&node)));
    Mistakes::check(reading.finish()).map_err(|mistakes| strange(mistakes.to_string()))?;
    found.ok_or_else(|| strange("something is missing".to_owned()))
}

fn text<'a>(view: &'a Value, pointer: &str) -> &'a str {
    view.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The workspace that a view is of.
fn place(view: &Value) -> Result<WorkspaceRef, Failure> {
    workspace_of(view).ok_or_else(|| Failure::failed("the server answered a resource without an id"))
}

/// An endpoint as its owner describes it.
pub fn endpoint(view: &Value) -> Result<EndpointSpec, Failure> {
    let place = place(view)?;
    let name = text(view, "/name").parse();
    let name = name.map_err(|error| Failure::failed(crate::model::names::NameError::to_string(&error)))?;
    read(view, |form| Some(arm::endpoint::read(form, &name, &place, None)?.0))
}

/// A deployment; its endpoint is the one that its id names.
pub fn deployment(view: &Value) -> Result<Deployment, Failure> {
    let place = place_of_deployment(view)?;
    read(view, |form| arm::deployment::read(form, place, None, |_| Routes::default()))
}

fn place_of_deployment(view: &Value) -> Result<arm::deployment::Place, Failure> {
    let wrong = |error: crate::model::names::NameError| Failure::failed(error.to_string());
    let endpoint = text(view, "/id").split('/').rev().nth(2).unwrap_or_default();
    Ok(arm::deployment::Place {
        workspace: place(view)?,
        endpoint: endpoint.parse().map_err(wrong)?,
        name: text(view, "/name").parse().map_err(wrong)?,
    })
}

/// A batch endpoint as its owner describes it.
pub fn batch_endpoint(view: &Value) -> Result<BatchEndpoint, Failure> {
    let place = place(view)?;
    let name = text(view, "/name").parse();
    let name = name.map_err(|error| Failure::failed(crate::model::names::NameError::to_string(&error)))?;
    read(view, |form| arm::batch_endpoint::read(form, &name, &place, None))
}

/// A batch deployment; its endpoint is the one that its id names.
pub fn batch_deployment(view: &Value) -> Result<BatchDeployment, Failure> {
    let place = place_of_deployment(view)?;
    read(view, |form| arm::batch_deployment::read(form, place, None, |_| Routes::default()))
}

/// A data store, without the credential that nobody is shown.
pub fn datastore(view: &Value) -> Result<Datastore, Failure> {
    let place = place(view)?;
    let name = text(view, "/name").parse();
    let name = name.map_err(|error: DatastoreNameError| Failure::failed(error.to_string()))?;
    read(view, |form| Some(arm::datastore::read(form, &name, &place, None)?.store))
}

/// Whether somebody made a data store: a workspace's own has nobody who did.
pub fn is_made(view: &Value) -> bool {
    let default = view.pointer("/properties/isDefault").and_then(Value::as_bool) == Some(true);
    !default || view.get("systemData").is_some()
}

/// Fills in what documents leave out and `az ml` shows.
fn fill(document: &mut Map<String, Value>, defaults: &Value) {
    for (key, value) in defaults.as_object().into_iter().flatten() {
        match (document.get_mut(key), value) {
            (None, _) => {
                document.insert(key.clone(), value.clone());
            }
            (Some(Value::Object(inner)), Value::Object(_)) => fill(inner, value),
            (Some(_), _) => {}
        }
    }
}

/// What both kinds show besides what their owner describes.
fn common(view: &Value) -> Value {
    json!({
        "id": view.get("id"), "kind": view.get("kind"), "location": view.get("location"),
        "resourceGroup": workspace_of(view).map(|place| place.resource_group),
        "provisioning_state": view.pointer("/properties/provisioningState"),
        "description": null, "tags": {}, "properties": {},
    })
}

/// An endpoint as `az ml` shows it.
pub fn shown_endpoint(view: &Value) -> Result<Value, Failure> {
    let mut document = object(written::endpoint(&endpoint(view)?));
    fill(&mut document, &common(view));
    let more = json!({
        "traffic": {}, "mirror_traffic": {}, "public_network_access": "enabled",
        "identity": {"type": "system_assigned"},
        "scoring_uri": view.pointer("/properties/scoringUri"), "openapi_uri": view.pointer("/properties/swaggerUri"),
    });
    fill(&mut document, &more);
    Ok(Value::Object(document))
}

/// A deployment as `az ml` shows it.
pub fn shown_deployment(view: &Value) -> Result<Value, Failure> {
    let mut document = object(written::deployment(&deployment(view)?));
    fill(&mut document, &common(view));
    let more = json!({
        "type": "managed", "instance_type": null, "model": null, "environment": null, "environment_variables": {},
        "app_insights_enabled": false, "egress_public_network_access": "enabled", "scale_settings": {"type": "default"},
        "request_settings": {"request_timeout_ms": 5000, "max_concurrent_requests_per_instance": 1, "max_queue_wait_ms": 500},
    });
    // A described environment or model is shown as it is.
    fill(&mut document, &more);
    let instances = text(view, "/properties/properties/scoregate.instances");
    if let Ok(instances) = serde_json::from_str::<Value>(instances) {
        document.insert("instances".to_owned(), instances);
    }
    Ok(Value::Object(document))
}

/// The fields of a mapping.
pub fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w/onlineEndpoints/my-ep";

    #[test]
    fn a_view_is_shown_as_az_ml_does() {
        let view = json!({"id": ID, "name": "my-ep", "location": "local", "kind": "Managed", "tags": {"a": "b"},
            "identity": {"type": "SystemAssigned"}, "properties": {"authMode": "AADToken", "keys": null,
            "traffic": {"blue": 100}, "mirrorTraffic": {}, "publicNetworkAccess": "Enabled", "provisioningState": "Succeeded",
            "scoringUri": "http://h/endpoints/my-ep/score", "swaggerUri": "http://h/endpoints/my-ep/swagger.json",
            "properties": {"azureml.onlineendpointid": "x", "mine": "1"}}});
        assert_eq!(
            shown_endpoint(&view).unwrap(),
            json!({"id": ID, "name": "my-ep", "auth_mode": "aad_token",
            "traffic": {"blue": 100}, "mirror_traffic": {}, "tags": {"a": "b"}, "properties": {"mine": "1"},
            "description": null, "kind": "Managed", "location": "local", "resourceGroup": "g",
            "provisioning_state": "Succeeded", "public_network_access": "enabled", "identity": {"type": "system_assigned"},
            "scoring_uri": "http://h/endpoints/my-ep/score", "openapi_uri": "http://h/endpoints/my-ep/swagger.json"})
        );
    }

    #[test]
    fn a_deployment_is_shown_with_its_backend() {
        let view = json!({"id": format!("{ID}/deployments/blue"), "name": "blue", "sku": {"capacity": 2}, "properties": {
            "endpointComputeType": "Managed", "requestSettings": {"requestTimeout": "PT9S"},
            "properties": {"scoregate.backend": "{\"urls\":[\"http://127.0.0.1:5001\"]}",
                "scoregate.instances": "[{\"state\":\"healthy\"}]"}}});
        let shown = shown_deployment(&view).unwrap();
        assert_eq!(shown["backend"], json!({"urls": ["http://127.0.0.1:5001"]}));
        assert_eq!(shown["instances"], json!([{"state": "healthy"}]));
        assert_eq!((&shown["endpoint_name"], &shown["instance_count"]), (&json!("my-ep"), &json!(2)));
        let settings = json!({"request_timeout_ms": 9000, "max_concurrent_requests_per_instance": 1, "max_queue_wait_ms": 500});
        assert_eq!(shown["request_settings"], settings);
        assert!(deployment(&json!({"id": ID, "name": "x"})).is_err());
    }
}
