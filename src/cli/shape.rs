//! Nouns between the views that the server answers, their documents, and the form in which `az ml` shows them.

pub mod batch;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::scope::workspace_of;
use crate::arm;
use crate::forms::{Form, Mistakes, Reading, parse_json};
use crate::model::asset::Routes;
use crate::model::deployment::Deployment;
use crate::model::endpoint::EndpointSpec;
use crate::model::scope::{Scope, ScopeError, WorkspaceRef};
use crate::model::traffic::Traffic;
use crate::resources::{Document, DocumentKind, written};

/// The first keys of a document, in the order in which people write them.
pub const ORDER: &[&str] =
    &["name", "endpoint_name", "auth_mode", "description", "traffic", "mirror_traffic", "tags", "backend"];

/// A resource of a workspace that documents describe.
pub trait Noun: Clone + PartialEq {
    /// What its documents are.
    const KIND: DocumentKind;
    /// A view as its owner describes it.
    fn seen(view: &Value) -> Result<Self, Failure>;
    /// A view as `az ml` shows it.
    fn shown(view: &Value) -> Result<Value, Failure>;
    /// What a document describes, if that is one of these.
    fn described(document: Document) -> Option<Self>;
    /// Its document.
    fn written(&self) -> Value;
    /// What is sent of it.
    fn body(&self, location: &str) -> Value;
    /// Its resource id.
    fn id(&self) -> Result<Scope, ScopeError>;
    /// The user's property bag.
    fn bag(&mut self) -> &mut BTreeMap<String, String>;
    /// The same without what only deployments that are there can take.
    #[must_use]
    fn quiet(&self) -> Self {
        self.clone()
    }
}

impl Noun for EndpointSpec {
    const KIND: DocumentKind = DocumentKind::Endpoint;

    fn seen(view: &Value) -> Result<EndpointSpec, Failure> {
        let (name, place) = (name(view)?, place(view)?);
        read(view, |form| Some(arm::endpoint::read(form, &name, &place, None)?.0))
    }

    fn shown(view: &Value) -> Result<Value, Failure> {
        let more = json!({
            "traffic": {}, "mirror_traffic": {}, "public_network_access": "enabled",
            "identity": {"type": "system_assigned"},
            "scoring_uri": view.pointer("/properties/scoringUri"), "openapi_uri": view.pointer("/properties/swaggerUri"),
        });
        Ok(filled(EndpointSpec::seen(view)?.written(), view, &more))
    }

    fn written(&self) -> Value {
        written::endpoint(self)
    }

    fn id(&self) -> Result<Scope, ScopeError> {
        self.scope()
    }

    fn bag(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.properties
    }

    fn described(document: Document) -> Option<EndpointSpec> {
        if let Document::Endpoint(found) = document { Some(*found) } else { None }
    }

    fn body(&self, location: &str) -> Value {
        arm::endpoint::body(self, location)
    }

    fn quiet(&self) -> EndpointSpec {
        EndpointSpec { traffic: Traffic::default(), mirror: None, ..self.clone() }
    }
}

impl Noun for Deployment {
    const KIND: DocumentKind = DocumentKind::Deployment;

    fn seen(view: &Value) -> Result<Deployment, Failure> {
        let place = place_of_deployment(view)?;
        read(view, |form| arm::deployment::read(form, place, None, |_| Routes::default()))
    }

    fn shown(view: &Value) -> Result<Value, Failure> {
        let more = json!({
            "type": "managed", "instance_type": null, "model": null, "environment": null, "environment_variables": {},
            "app_insights_enabled": false, "egress_public_network_access": "enabled", "scale_settings": {"type": "default"},
            "request_settings": {"request_timeout_ms": 5000, "max_concurrent_requests_per_instance": 1, "max_queue_wait_ms": 500},
        });
        Ok(filled(Deployment::seen(view)?.written(), view, &more))
    }

    fn written(&self) -> Value {
        written::deployment(self)
    }

    fn id(&self) -> Result<Scope, ScopeError> {
        self.scope()
    }

    fn bag(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.properties
    }

    fn described(document: Document) -> Option<Deployment> {
        if let Document::Deployment(found) = document { Some(*found) } else { None }
    }

    fn body(&self, location: &str) -> Value {
        arm::deployment::body(self, location)
    }
}

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

/// A name as the server wrote it.
fn named<T: FromStr<Err: Display>>(text: &str) -> Result<T, Failure> {
    text.parse().map_err(|error: T::Err| Failure::failed(error.to_string()))
}

/// The name of a view.
fn name<T: FromStr<Err: Display>>(view: &Value) -> Result<T, Failure> {
    named(text(view, "/name"))
}

/// The workspace that a view is of.
fn place(view: &Value) -> Result<WorkspaceRef, Failure> {
    workspace_of(view).ok_or_else(|| Failure::failed("the server answered a resource without an id"))
}

/// Where a deployment is; its endpoint is the one that its id names.
fn place_of_deployment(view: &Value) -> Result<arm::deployment::Place, Failure> {
    let endpoint = text(view, "/id").split('/').rev().nth(2).unwrap_or_default();
    Ok(arm::deployment::Place { workspace: place(view)?, endpoint: named(endpoint)?, name: name(view)? })
}

/// Whether somebody made what a view is of: a workspace's own data store has nobody who did.
pub fn is_made(view: &Value) -> bool {
    let default = view.pointer("/properties/isDefault").and_then(Value::as_bool) == Some(true);
    !default || view.get("systemData").is_some()
}

/// A document with what documents leave out and `az ml` shows: what every kind shows, what this one shows besides, and
/// how a deployment's instances are. What is described is shown as it is.
fn filled(document: Value, view: &Value, more: &Value) -> Value {
    let mut document = object(document);
    let common = json!({
        "id": view.get("id"), "kind": view.get("kind"), "location": view.get("location"),
        "resourceGroup": workspace_of(view).map(|place| place.resource_group),
        "provisioning_state": view.pointer("/properties/provisioningState"),
        "description": null, "tags": {}, "properties": {},
    });
    fill(&mut document, &common);
    fill(&mut document, more);
    let instances = text(view, "/properties/properties/scoregate.instances");
    if let Ok(instances) = serde_json::from_str::<Value>(instances) {
        document.insert("instances".to_owned(), instances);
    }
    Value::Object(document)
}

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
            EndpointSpec::shown(&view).unwrap(),
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
        let shown = Deployment::shown(&view).unwrap();
        assert_eq!(shown["backend"], json!({"urls": ["http://127.0.0.1:5001"]}));
        assert_eq!(shown["instances"], json!([{"state": "healthy"}]));
        assert_eq!((&shown["endpoint_name"], &shown["instance_count"]), (&json!("my-ep"), &json!(2)));
        let settings = json!({"request_timeout_ms": 9000, "max_concurrent_requests_per_instance": 1, "max_queue_wait_ms": 500});
        assert_eq!(shown["request_settings"], settings);
        assert!(Deployment::seen(&json!({"id": ID, "name": "x"})).is_err());
    }
}
