//! From what is written to what is stored: one batch that makes the store agree with the documents, or none.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::datastore::DatastoreDocument;
use super::document::{AssignmentDocument, Document};
use crate::forms::{Mistake, Mistakes};
use crate::identity::endpoint_key;
use crate::identity::store_credential;
use crate::identity::vault::{Vault, VaultError};
use crate::model::datastore::SealedCredential;
use crate::model::endpoint::{Endpoint, EndpointSpec};
use crate::model::names::{DeploymentName, EndpointName};
use crate::model::resource::Resource;
use crate::model::role::{PrincipalId, RoleAssignment};
use crate::model::scope::Scope;
use crate::rbac::builtin;
use crate::store::{Change, Contents, Expect, Manager, Stored};

/// What the store has to change, and how it looks afterwards.
#[derive(Debug)]
pub struct Converged {
    /// The batch; empty if nothing differs.
    pub changes: Vec<Change>,
    /// Every resource as it will then be.
    pub resources: Vec<Resource>,
}

/// Why documents cannot be converged.
#[derive(Debug, thiserror::Error)]
pub enum ConvergeError {
    /// They contradict each other or the store.
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
    /// Keys for a new endpoint cannot be made.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// Compares documents with the store. What the directory put there and no longer has is removed;
/// what somebody else put there is left alone and cannot be taken over.
pub fn converge(
    documents: Vec<(String, Document)>,
    store: &Contents,
    vault: &Vault,
) -> Result<Converged, ConvergeError> {
    let known: HashMap<String, &Stored> = store
        .iter()
        .filter_map(|stored| Some((stored.resource.id().ok()?.key().to_owned(), &**stored)))
        .collect();
    let roles = role_names(&documents, store);
    let by_callers = given_by_callers(store);
    let mut mistakes = Vec::new();
    let mut wanted: HashMap<String, (String, Resource)> = HashMap::new();
    for (place, document) in documents {
        let mut wrong = |problem: String| {
            mistakes.push(Mistake {
                source: place.clone(),
                at: None,
                field: String::new(),
                problem,
                hint: None,
            });
        };
        let resource = match document {
            Document::Endpoint(endpoint) => endpoint_resource(*endpoint, &known, vault)?,
            Document::Deployment(deployment) => Resource::Deployment(deployment),
            Document::BatchEndpoint(endpoint) => Resource::BatchEndpoint(endpoint),
            Document::BatchDeployment(deployment) => Resource::BatchDeployment(deployment),
            Document::Datastore(document) => datastore_resource(*document, &known, vault)?,
            Document::Role(role) => Resource::RoleDefinition(role),
            Document::Denial(denial) => Resource::DenyAssignment(denial),
            Document::Assignment(assignment) => {
                if let Some(role) = role_of(&assignment.role, &roles) {
                    let grant = grant(assignment, role);
                    // What somebody granted by the API already need not be granted again.
                    if by_callers.contains(&given(&grant)) {
                        continue;
                    }
                    Resource::RoleAssignment(grant)
                } else {
                    wrong(format!("there is no role `{}`", assignment.role));
                    continue;
                }
            }
        };
        let Ok(id) = resource.id() else {
            wrong("its id cannot be made of its names".to_owned());
            continue;
        };
        if known.get(id.key()).is_some_and(|stored| stored.manager == Manager::Caller) {
            wrong(format!("`{id}` was made through the API and is not taken over; delete it there first"));
        }
        if let Some((first, _)) = wanted.get(id.key()) {
            wrong(format!("`{id}` is described a second time; the first is in {first}"));
        }
        wanted.insert(id.key().to_owned(), (place, resource));
    }
    orphans(&wanted, &known, &mut mistakes);
    Mistakes::check(mistakes)?;
    Ok(difference(wanted, store))
}

/// What makes two grants the same: where, what, to whom.
type Given = (String, Uuid, PrincipalId);

fn given(grant: &RoleAssignment) -> Given {
    (grant.scope.key().to_owned(), grant.role, grant.principal)
}

/// The grants that callers of the API made.
fn given_by_callers(store: &Contents) -> HashSet<Given> {
    let made = store.iter().filter(|stored| stored.manager == Manager::Caller);
    let grants = made.filter_map(|stored| match &stored.resource {
        Resource::RoleAssignment(grant) => Some(given(grant)),
        _ => None,
    });
    grants.collect()
}

/// A deployment needs its endpoint, in the documents or made by somebody else.
fn orphans(
    wanted: &HashMap<String, (String, Resource)>,
    known: &HashMap<String, &Stored>,
    mistakes: &mut Vec<Mistake>,
) {
    let there = |id: &Scope| {
        let made = known.get(id.key()).is_some_and(|stored| stored.manager == Manager::Caller);
        wanted.contains_key(id.key()) || made
    };
    for (place, resource) in wanted.values() {
        let mut wrong = |field: &str, problem: String, hint: &str| {
            let (source, field, hint) = (place.clone(), field.to_owned(), Some(hint.to_owned()));
            mistakes.push(Mistake { source, at: None, field, problem, hint });
        };
        if let Resource::BatchEndpoint(endpoint) = resource
            && let (Some(name), Ok(id)) = (&endpoint.default_deployment, endpoint.scope())
            && !there(&id.deployment(name))
        {
            let problem = format!("there is no deployment `{name}` of endpoint `{}`", endpoint.name);
            wrong("defaults.deployment_name", problem, "describe the deployment in a file of its own");
        }
        let Some((id, endpoint, name)) = deployment_of(resource) else { continue };
        if !there(&id) {
            let problem = format!("there is no endpoint `{endpoint}` for deployment `{name}`");
            wrong("endpoint_name", problem, "describe the endpoint in a file of its own");
        }
    }
    mistakes.sort_by(|a, b| a.source.cmp(&b.source));
}

/// Whose deployment a resource is, if it is one: the endpoint's id, its name, the deployment's.
fn deployment_of(resource: &Resource) -> Option<(Scope, &EndpointName, &DeploymentName)> {
    let (deployment, batch) = match resource {
        Resource::Deployment(deployment) => (&**deployment, false),
        Resource::BatchDeployment(deployment) => (&deployment.serving, true),
        _ => return None,
    };
    let (workspace, endpoint) = (deployment.workspace.scope().ok()?, &deployment.endpoint);
    let id = if batch { workspace.batch_endpoint(endpoint) } else { workspace.online_endpoint(endpoint) };
    Some((id, endpoint, &deployment.name))
}

fn difference(wanted: HashMap<String, (String, Resource)>, store: &Contents) -> Converged {
    let (mut changes, mut resources) = (Vec::new(), Vec::new());
    let mut same = HashSet::new();
    for stored in store.iter() {
        let Ok(id) = stored.resource.id() else { continue };
        match wanted.get(id.key()) {
            Some((_, resource)) if *resource == stored.resource => {
                same.insert(id.key().to_owned());
            }
            None if stored.manager == Manager::Directory => {
                changes.extend(endpoint_of(&stored.resource, store));
                changes.push(Change::Delete(id, Expect::At(stored.revision)));
            }
            Some(_) => {}
            None => resources.push(stored.resource.clone()),
        }
    }
    let revisions: HashMap<String, u64> = store
        .iter()
        .filter_map(|stored| Some((stored.resource.id().ok()?.key().to_owned(), stored.revision)))
        .collect();
    for (id, (_, resource)) in wanted {
        if !same.contains(&id) {
            let expect = revisions.get(&id).map_or(Expect::Absent, |revision| Expect::At(*revision));
            changes.push(Change::Put(Box::new(resource.clone()), Manager::Directory, expect));
        }
        resources.push(resource);
    }
    Converged { changes, resources }
}

/// A deployment goes only if its endpoint, made by somebody else, sends it nothing in the same moment.
fn endpoint_of(resource: &Resource, store: &Contents) -> Option<Change> {
    let (endpoint, ..) = deployment_of(resource)?;
    let known = store.get(&endpoint).filter(|known| known.manager == Manager::Caller)?;
    Some(Change::Require(endpoint, Expect::At(known.revision)))
}

fn endpoint_resource(
    endpoint: EndpointSpec,
    known: &HashMap<String, &Stored>,
    vault: &Vault,
) -> Result<Resource, ConvergeError> {
    let scope = endpoint.scope().map_err(|error| Mistakes::of_file("resources", error.to_string()))?;
    let described = match known.get(scope.key()).map(|stored| &stored.resource) {
        Some(Resource::Endpoint(stored)) => stored.described(endpoint, Uuid::new_v4()),
        _ => Endpoint {
            keys: endpoint_key::generate_pair(vault, &scope)?,
            token_epoch: Uuid::new_v4(),
            spec: endpoint,
        },
    };
    Ok(Resource::Endpoint(Box::new(described)))
}

/// A store whose credential stays sealed as it is, if it is the same.
fn datastore_resource(
    DatastoreDocument { mut store, credential }: DatastoreDocument,
    known: &HashMap<String, &Stored>,
    vault: &Vault,
) -> Result<Resource, ConvergeError> {
    let scope = store.scope().map_err(|error| Mistakes::of_file("resources", error.to_string()))?;
    let kept = known.get(scope.key()).and_then(|stored| stored.resource.datastore()?.credential.clone());
    let same = |sealed: &SealedCredential| store_credential::open(vault, &scope, sealed).ok() == credential;
    store.credential = match (&credential, kept.filter(same)) {
        (None, _) => None,
        (Some(_), Some(kept)) => Some(kept),
        (Some(credential), None) => Some(store_credential::seal(vault, &scope, credential)?),
    };
    Ok(Resource::Datastore(Box::new(store)))
}

/// Custom roles by name, in lower case.
fn role_names(documents: &[(String, Document)], store: &Contents) -> HashMap<String, Uuid> {
    let stored = store.iter().filter_map(|stored| match &stored.resource {
        Resource::RoleDefinition(role) => Some(role),
        _ => None,
    });
    let written = documents.iter().filter_map(|(_, document)| match document {
        Document::Role(role) => Some(role),
        _ => None,
    });
    stored.chain(written).map(|role| (role.role_name.to_lowercase(), role.id)).collect()
}

/// A role by name, by GUID, or by an id that ends in its GUID.
fn role_of(text: &str, custom: &HashMap<String, Uuid>) -> Option<Uuid> {
    let last = text.rsplit('/').next().unwrap_or(text);
    builtin::by_name(text)
        .or_else(|| custom.get(&text.to_lowercase()).copied())
        .or_else(|| Uuid::try_parse(last).ok())
}

fn grant(assignment: AssignmentDocument, role: Uuid) -> RoleAssignment {
    let derived = format!("grant:{}#{role}#{}", assignment.scope.key(), assignment.principal);
    RoleAssignment {
        id: assignment.id.unwrap_or_else(|| Uuid::new_v5(&Uuid::NAMESPACE_URL, derived.as_bytes())),
        scope: assignment.scope,
        role,
        principal: assignment.principal,
        principal_type: assignment.principal_type,
        condition: assignment.condition,
        description: assignment.description,
    }
}

#[cfg(test)]
mod tests;
