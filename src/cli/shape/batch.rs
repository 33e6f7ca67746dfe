//! Batch endpoints, batch deployments and data stores as nouns.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Noun, filled, name, object, place, place_of_deployment, read, text};
use crate::arm;
use crate::arm::datastore::Given;
use crate::cli::failure::Failure;
use crate::cli::job::shown::snake;
use crate::model::asset::Routes;
use crate::model::batch::{BatchDeployment, BatchEndpoint};
use crate::model::scope::{Scope, ScopeError};
use crate::resources::{DatastoreDocument, Document, DocumentKind, written};

impl Noun for BatchEndpoint {
    const KIND: DocumentKind = DocumentKind::BatchEndpoint;

    fn seen(view: &Value) -> Result<BatchEndpoint, Failure> {
        let (name, place) = (name(view)?, place(view)?);
        read(view, |form| arm::batch_endpoint::read(form, &name, &place, None))
    }

    fn shown(view: &Value) -> Result<Value, Failure> {
        let mut document = object(BatchEndpoint::seen(view)?.written());
        document.remove("$schema");
        let more = json!({
            "auth_mode": "aad_token", "defaults": {"deployment_name": null},
            "scoring_uri": view.pointer("/properties/scoringUri"), "openapi_uri": view.pointer("/properties/swaggerUri"),
        });
        Ok(filled(document.into(), view, &more))
    }

    fn written(&self) -> Value {
        written::batch_endpoint(self)
    }

    fn id(&self) -> Result<Scope, ScopeError> {
        self.scope()
    }

    fn bag(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.properties
    }

    fn described(document: Document) -> Option<BatchEndpoint> {
        if let Document::BatchEndpoint(found) = document { Some(*found) } else { None }
    }

    fn body(&self, location: &str) -> Value {
        arm::batch_endpoint::body(self, location)
    }

    fn quiet(&self) -> BatchEndpoint {
        BatchEndpoint { default_deployment: None, ..self.clone() }
    }
}

impl Noun for BatchDeployment {
    const KIND: DocumentKind = DocumentKind::BatchDeployment;

    fn seen(view: &Value) -> Result<BatchDeployment, Failure> {
        let place = place_of_deployment(view)?;
        read(view, |form| arm::batch_deployment::read(form, place, None, |_| Routes::default()))
    }

    /// Its rules stand under `settings`.
    fn shown(view: &Value) -> Result<Value, Failure> {
        let more = json!({
            "type": "model", "model": null, "environment": null, "compute": null, "resources": {"instance_count": 1},
            "settings": {
                "request_format": "raw", "rows_per_request": 1000, "mini_batch_size": 10, "max_concurrency_per_instance": 1,
                "error_threshold": -1, "retry_settings": {"max_retries": 3, "timeout": 30}, "output_action": "append_row",
                "output_file_name": "predictions.csv", "logging_level": "info",
            },
        });
        Ok(filled(BatchDeployment::seen(view)?.written(), view, &more))
    }

    fn written(&self) -> Value {
        written::batch_deployment(self)
    }

    fn id(&self) -> Result<Scope, ScopeError> {
        self.scope()
    }

    fn bag(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.serving.properties
    }

    fn described(document: Document) -> Option<BatchDeployment> {
        if let Document::BatchDeployment(found) = document { Some(*found) } else { None }
    }

    fn body(&self, location: &str) -> Value {
        arm::batch_deployment::body(self, location)
    }
}

impl Noun for DatastoreDocument {
    const KIND: DocumentKind = DocumentKind::Datastore;

    /// Without the credential, which nobody is shown.
    fn seen(view: &Value) -> Result<DatastoreDocument, Failure> {
        let (name, place) = (name(view)?, place(view)?);
        let store = read(view, |form| Some(arm::datastore::read(form, &name, &place, None)?.store))?;
        Ok(DatastoreDocument { store, credential: None })
    }

    /// What opens it is told by its kind alone. The workspace's own store has no place that a document could name, so that a
    /// view is not read as one.
    fn shown(view: &Value) -> Result<Value, Failure> {
        let at = |name: &str| view.pointer(&format!("/properties/{name}")).cloned().unwrap_or_default();
        let mut properties = object(at("properties"));
        // What is none of Azure's stands in the property bag.
        let given = properties.remove("scoregate.place");
        let given = given.and_then(|given| serde_json::from_str::<Value>(given.as_str()?).ok());
        let mut document = match given.map(object) {
            Some(mut given) => {
                let kind = given.remove("kind").unwrap_or_default();
                given.insert("type".to_owned(), kind);
                given
            }
            None => object(json!({
                "type": "azure_blob", "account_name": at("accountName"), "container_name": at("containerName"),
                "endpoint": at("endpoint"), "protocol": at("protocol"),
            })),
        };
        let kind = text(view, "/properties/credentials/credentialsType");
        let credentials =
            if matches!(kind, "" | "None") { json!({}) } else { json!({ "type": snake(kind) }) };
        let more = json!({
            "id": view.get("id"), "name": view.get("name"), "resourceGroup": place(view)?.resource_group,
            "description": at("description"), "tags": object(at("tags")), "properties": properties,
            "is_default": at("isDefault"), "credentials": credentials,
        });
        document.extend(object(more));
        Ok(Value::Object(document))
    }

    fn described(document: Document) -> Option<DatastoreDocument> {
        if let Document::Datastore(found) = document { Some(*found) } else { None }
    }

    fn written(&self) -> Value {
        written::datastore(&self.store)
    }

    fn body(&self, _location: &str) -> Value {
        arm::datastore::body(&self.store, &self.credential.clone().map_or(Given::Nothing, Given::New))
    }

    fn id(&self) -> Result<Scope, ScopeError> {
        self.store.scope()
    }

    fn bag(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.store.properties
    }
}

/// Puts what opens a store into its document, in the form in which a file has it.
pub fn put_secrets(store: &mut Value, secrets: &Value) {
    let names = [
        ("key", "account_key"),
        ("sasToken", "sas_token"),
        ("accessKeyId", "access_key_id"),
        ("secretAccessKey", "secret_access_key"),
    ];
    let shown = names.iter().filter_map(|(from, to)| Some(((*to).to_owned(), secrets.get(*from)?.clone())));
    if let Value::Object(fields) = store {
        fields.insert("credentials".to_owned(), Value::Object(shown.collect::<Map<_, _>>()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKSPACE: &str =
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w";

    #[test]
    fn an_endpoint_is_shown_as_az_ml_does() {
        let id = format!("{WORKSPACE}/batchEndpoints/heart");
        let view = json!({"id": id, "name": "heart", "location": "local", "kind": "Managed", "tags": {"a": "b"}, "properties": {
            "authMode": "AADToken", "keys": null, "description": "d", "defaults": {"deploymentName": "blue"},
            "scoringUri": "http://h/endpoints/heart/jobs", "swaggerUri": null, "provisioningState": "Succeeded", "properties": {}}});
        assert_eq!(
            BatchEndpoint::shown(&view).unwrap(),
            json!({"id": id, "name": "heart", "auth_mode": "aad_token", "description": "d", "tags": {"a": "b"}, "properties": {},
                "defaults": {"deployment_name": "blue"}, "kind": "Managed", "location": "local", "resourceGroup": "g",
                "provisioning_state": "Succeeded", "scoring_uri": "http://h/endpoints/heart/jobs", "openapi_uri": null})
        );
    }

    #[test]
    fn a_deployment_is_shown_with_its_rules_and_its_backend() {
        let view = json!({"id": format!("{WORKSPACE}/batchEndpoints/heart/deployments/blue"), "name": "blue", "properties": {
            "miniBatchSize": 20, "resources": {"instanceCount": 2}, "retrySettings": {"maxRetries": 3, "timeout": "PT1M"},
            "properties": {"scoregate.backend": "{\"urls\":[\"http://127.0.0.1:5001\"]}",
                "scoregate.request_format": "\"instances\"", "scoregate.instances": "[{\"state\":\"healthy\"}]"}}});
        let shown = BatchDeployment::shown(&view).unwrap();
        assert_eq!((&shown["name"], &shown["endpoint_name"]), (&json!("blue"), &json!("heart")));
        assert_eq!(shown["backend"], json!({"urls": ["http://127.0.0.1:5001"]}));
        assert_eq!(shown["instances"], json!([{"state": "healthy"}]));
        let settings = &shown["settings"];
        assert_eq!(
            (&settings["mini_batch_size"], &settings["request_format"]),
            (&json!(20), &json!("instances"))
        );
        assert_eq!(settings["retry_settings"], json!({"max_retries": 3, "timeout": 60}));
        assert_eq!((&settings["error_threshold"], &settings["rows_per_request"]), (&json!(-1), &json!(1000)));
        assert!(BatchDeployment::shown(&json!({"id": WORKSPACE, "name": "x"})).is_err());
    }

    #[test]
    fn a_store_is_shown_without_what_opens_it_unless_that_is_asked_for() {
        let view = json!({"id": format!("{WORKSPACE}/datastores/heart"), "name": "heart", "systemData": {"createdBy": "o"},
            "properties": {"datastoreType": "AzureBlob", "accountName": "heart", "containerName": "data", "endpoint": "core.windows.net",
            "protocol": "https", "credentials": {"credentialsType": "AccountKey"}, "isDefault": false, "properties": {}}});
        let mut shown = DatastoreDocument::shown(&view).unwrap();
        assert_eq!(
            [&shown["type"], &shown["account_name"], &shown["container_name"]],
            ["azure_blob", "heart", "data"]
        );
        assert_eq!(
            (&shown["credentials"], &shown["is_default"]),
            (&json!({"type": "account_key"}), &json!(false))
        );
        let own = json!({"id": format!("{WORKSPACE}/datastores/workspaceblobstore"), "name": "workspaceblobstore", "properties": {
            "datastoreType": "AzureBlob", "accountName": "scoregate.local_directory", "credentials": {"credentialsType": "None"},
            "isDefault": true, "properties": {"scoregate.place": "{\"kind\":\"local_directory\"}", "a": "b"}}});
        let own = DatastoreDocument::shown(&own).unwrap();
        assert_eq!((&own["type"], &own["is_default"]), (&json!("local_directory"), &json!(true)));
        assert_eq!((&own["properties"], &own["credentials"]), (&json!({"a": "b"}), &json!({})));
        assert!(own.get("account_name").is_none());
        put_secrets(&mut shown, &json!({"secretsType": "AccountKey", "key": "c2Vj"}));
        assert_eq!(shown["credentials"], json!({"account_key": "c2Vj"}));
    }
}
