//! Changes of batch endpoints, batch deployments and data stores.

use serde_json::{Value, json};

use super::change::{Change, Kind};
use super::diff::differences;
use super::plan::{Planner, action, as_view, compared};
use crate::arm;
use crate::arm::datastore::{Given, credentials_type};
use crate::cli::shape;
use crate::model::batch::{BatchDeployment, BatchEndpoint};
use crate::resources::{DatastoreDocument, written};

/// What is needed of a change besides its kind.
struct Proposed<'a> {
    id: crate::model::scope::Scope,
    name: String,
    source: &'a str,
    /// What the server showed, and what there is and shall be, as documents.
    before: Option<Value>,
    old: Value,
    new: Value,
    body: Value,
    first: Option<Value>,
}

impl Planner<'_> {
    fn propose(&mut self, kind: Kind, proposed: Proposed<'_>) {
        let Proposed { id, name, source, before, old, new, body, first } = proposed;
        let fields = differences(&old, &new);
        self.push(Change {
            action: action(before.is_some(), &fields),
            kind,
            name,
            scopes: vec![id.clone()],
            id,
            source: Some(source.to_owned()),
            fields,
            body: Some(body),
            first,
            before,
        });
    }

    pub fn batch_endpoint(&mut self, source: &str, endpoint: &BatchEndpoint) -> Result<(), String> {
        let id = endpoint.scope().map_err(|error| error.to_string())?;
        self.once(&id, source)?;
        let location = self.location(&endpoint.workspace);
        let before = self.current.batch_endpoints.get(id.key());
        let view = as_view(arm::batch_endpoint::body(endpoint, &location), &id, &endpoint.name.to_string());
        let mut wanted = shape::batch_endpoint(&view).map_err(|error| error.to_string())?;
        let bag = before.map(|(before, _)| before.properties.clone()).unwrap_or_default();
        wanted.properties = bag.into_iter().chain(std::mem::take(&mut wanted.properties)).collect();
        // A new endpoint has no deployments yet that could be its default.
        let quiet = BatchEndpoint { default_deployment: None, ..wanted.clone() };
        let waits = before.is_none() && quiet != wanted;
        let old = before.map_or(Value::Null, |(before, _)| compared(written::batch_endpoint(before)));
        self.propose(
            Kind::BatchEndpoint,
            Proposed {
                name: endpoint.name.to_string(),
                source,
                before: before.map(|(_, view)| view.clone()),
                old,
                new: compared(written::batch_endpoint(&wanted)),
                body: arm::batch_endpoint::body(&wanted, &location),
                first: waits.then(|| arm::batch_endpoint::body(&quiet, &location)),
                id,
            },
        );
        Ok(())
    }

    pub fn batch_deployment(&mut self, source: &str, deployment: &BatchDeployment) -> Result<(), String> {
        let id = deployment.scope().map_err(|error| error.to_string())?;
        self.once(&id, source)?;
        let serving = &deployment.serving;
        let location = self.location(&serving.workspace);
        let before = self.current.batch_deployments.get(id.key());
        let body = arm::batch_deployment::body(deployment, &location);
        let view = as_view(body, &id, &serving.name.to_string());
        let mut wanted = shape::batch_deployment(&view).map_err(|error| error.to_string())?;
        let bag = before.map(|(before, _)| before.serving.properties.clone()).unwrap_or_default();
        let own = std::mem::take(&mut wanted.serving.properties);
        wanted.serving.properties = bag.into_iter().chain(own).collect();
        let old = before.map_or(Value::Null, |(before, _)| compared(written::batch_deployment(before)));
        self.propose(
            Kind::BatchDeployment,
            Proposed {
                name: format!("{}/{}", serving.endpoint, serving.name),
                source,
                before: before.map(|(_, view)| view.clone()),
                old,
                new: compared(written::batch_deployment(&wanted)),
                body: arm::batch_deployment::body(&wanted, &location),
                first: None,
                id,
            },
        );
        Ok(())
    }

    /// A store's credential cannot be compared, because nobody is shown it; only its kind can.
    pub fn datastore(&mut self, source: &str, document: DatastoreDocument) -> Result<(), String> {
        let DatastoreDocument { store: mut wanted, credential } = document;
        let id = wanted.scope().map_err(|error| error.to_string())?;
        self.once(&id, source)?;
        let before = self.current.datastores.get(id.key());
        let bag = before.map(|(before, _)| before.properties.clone()).unwrap_or_default();
        wanted.properties = bag.into_iter().chain(std::mem::take(&mut wanted.properties)).collect();
        let kept = before.and_then(|(_, view)| kind_of_credential(view));
        let given = match (credential, kept) {
            (Some(credential), _) => Given::New(credential),
            (None, Some(kept)) => Given::Kept(Some(kept)),
            (None, None) => Given::Nothing,
        };
        let shall = match &given {
            Given::New(credential) => Some(credentials_type(credential)),
            Given::Kept(kind) => *kind,
            Given::Nothing => None,
        };
        let with_kind = |mut document: Value, kind: Option<&str>| {
            if let Value::Object(fields) = &mut document {
                fields.insert("credentials".to_owned(), json!(kind));
            }
            document
        };
        let old =
            before.map_or(Value::Null, |(before, _)| with_kind(compared(written::datastore(before)), kept));
        self.propose(
            Kind::Datastore,
            Proposed {
                name: wanted.name.to_string(),
                source,
                before: before.map(|(_, view)| view.clone()),
                old,
                new: with_kind(compared(written::datastore(&wanted)), shall),
                body: arm::datastore::body(&wanted, &given),
                first: None,
                id,
            },
        );
        Ok(())
    }
}

/// ARM's word for the kind of credential that a view shows; none if there is none.
fn kind_of_credential(view: &Value) -> Option<&'static str> {
    let shown = view.pointer("/properties/credentials/credentialsType")?.as_str()?;
    ["AccountKey", "Sas", "AccessKey"].into_iter().find(|kind| *kind == shown)
}
