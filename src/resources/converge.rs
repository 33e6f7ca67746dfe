//! From what is written to what is stored: one batch that makes the store agree with the documents, or none.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::document::{AssignmentDocument, Document};
use crate::forms::{Mistake, Mistakes};
use crate::identity::endpoint_key;
use crate::identity::vault::{Vault, VaultError};
use crate::model::endpoint::{Endpoint, EndpointSpec};
use crate::model::resource::Resource;
use crate::model::role::{PrincipalId, RoleAssignment};
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
    for (place, resource) in wanted.values() {
        let Resource::Deployment(deployment) = resource else { continue };
        let parent = deployment.workspace.scope().map(|scope| scope.online_endpoint(&deployment.endpoint));
        let there = parent.is_ok_and(|parent| {
            wanted.contains_key(parent.key())
                || known.get(parent.key()).is_some_and(|stored| stored.manager == Manager::Caller)
        });
        if !there {
            let problem = format!(
                "there is no endpoint `{}` for deployment `{}`",
                deployment.endpoint, deployment.name
            );
            mistakes.push(Mistake {
                source: place.clone(),
                at: None,
                field: "endpoint_name".to_owned(),
                problem,
                hint: Some("describe the endpoint in a file of its own".to_owned()),
            });
        }
    }
    mistakes.sort_by(|a, b| a.source.cmp(&b.source));
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

/// A deployment goes only if its endpoint, made by somebody else, sends it no traffic in the same moment.
fn endpoint_of(resource: &Resource, store: &Contents) -> Option<Change> {
    let Resource::Deployment(deployment) = resource else { return None };
    let endpoint = deployment.workspace.scope().ok()?.online_endpoint(&deployment.endpoint);
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
