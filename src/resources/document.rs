//! One document of a resource file, in the form that `az ml` takes.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use uuid::Uuid;

use super::datastore::DatastoreDocument;
use super::kind::DocumentKind;
use super::{batch, datastore, deployment};
use crate::arm;
use crate::arm::extension::PREFIX;
use crate::forms::{Form, Node, Reading};
use crate::model::batch::{BatchDeployment, BatchEndpoint};
use crate::model::deployment::Deployment;
use crate::model::endpoint::{AuthMode, EndpointSpec};
use crate::model::names::EndpointName;
use crate::model::role::{DenyAssignment, Permission, PrincipalId, PrincipalType, RoleDefinition};
use crate::model::scope::{Scope, WorkspaceRef};
use crate::model::workspace::Workspace;

/// What a document describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// An endpoint; its keys are the store's affair.
    Endpoint(Box<EndpointSpec>),
    /// A deployment.
    Deployment(Box<Deployment>),
    /// A batch endpoint.
    BatchEndpoint(Box<BatchEndpoint>),
    /// A batch deployment.
    BatchDeployment(Box<BatchDeployment>),
    /// A data store and what opens it.
    Datastore(Box<DatastoreDocument>),
    /// A custom role.
    Role(RoleDefinition),
    /// A grant, whose role may still be a name.
    Assignment(AssignmentDocument),
    /// A refusal.
    Denial(DenyAssignment),
}

/// A grant as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignmentDocument {
    /// The role's name, GUID or id.
    pub role: String,
    pub id: Option<Uuid>,
    pub scope: Scope,
    pub principal: PrincipalId,
    pub principal_type: PrincipalType,
    pub condition: Option<String>,
    pub description: String,
}

impl Document {
    /// Reads a document; what is wrong with it is noted in the reading. `workspaces` are those there are, the default first.
    pub fn read(reading: &Reading, node: &Node, base: &Path, workspaces: &[Workspace]) -> Option<Document> {
        Document::read_as(None, reading, node, base, workspaces)
    }

    /// Reads a document of which it may be known what it describes.
    pub fn read_as(
        kind: Option<DocumentKind>,
        reading: &Reading,
        node: &Node,
        base: &Path,
        workspaces: &[Workspace],
    ) -> Option<Document> {
        let form = reading.form(Some(node));
        let document = match kind.unwrap_or_else(|| DocumentKind::of(&form)) {
            DocumentKind::Endpoint => endpoint(&form, workspaces).map(Box::new).map(Document::Endpoint),
            DocumentKind::Deployment => {
                deployment::read(&form, base, workspaces).map(Box::new).map(Document::Deployment)
            }
            DocumentKind::BatchEndpoint => {
                batch::endpoint(&form, workspaces).map(Box::new).map(Document::BatchEndpoint)
            }
            DocumentKind::BatchDeployment => {
                batch::deployment(&form, base, workspaces).map(Box::new).map(Document::BatchDeployment)
            }
            DocumentKind::Datastore => {
                datastore::read(&form, base, workspaces).map(Box::new).map(Document::Datastore)
            }
            DocumentKind::Role => role(&form).map(Document::Role),
            DocumentKind::Assignment => assignment(&form).map(Document::Assignment),
            DocumentKind::Denial => denial(&form).map(Document::Denial),
        };
        form.close();
        document
    }
}

pub(super) fn workspace(form: &Form<'_>, workspaces: &[Workspace]) -> Option<WorkspaceRef> {
    let name =
        form.value::<String>("workspace", "Name of a configured workspace; the first if not set.").optional();
    let found = match &name {
        None => workspaces.first(),
        Some(name) => workspaces.iter().find(|workspace| workspace.place.name.eq_ignore_ascii_case(name)),
    };
    if found.is_none() {
        form.wrong(
            "workspace",
            "there is no such workspace",
            Some("list it under `workspaces` in the configuration"),
        );
    }
    found.map(|workspace| workspace.place.clone())
}

/// What its owner writes to a resource and the gateway keeps: what it is for, labels, and a property bag.
pub(super) fn notes(form: &Form<'_>) -> (String, BTreeMap<String, String>, BTreeMap<String, String>) {
    let description = form.value("description", "").or_else(String::new);
    let pairs = |key| form.pairs::<String>(key, "").into_iter().collect::<BTreeMap<_, _>>();
    let (tags, properties) = (pairs("tags"), pairs("properties"));
    for entry in properties.keys().filter(|entry| entry.starts_with(PREFIX)) {
        form.wrong(
            "properties",
            format!("`{entry}` is no property"),
            Some("fields stand beside `properties`"),
        );
    }
    (description, tags, properties)
}

/// The identity as ARM writes it.
fn identity(form: &Form<'_>) -> Option<Value> {
    let kinds = [("system_assigned", "SystemAssigned"), ("user_assigned", "UserAssigned"), ("none", "None")];
    form.optional_section("identity", "", |f| {
        let kind = f.one_of("type", "", &kinds).or("SystemAssigned");
        let given = f.carried("user_assigned_identities");
        let each = given.as_ref().and_then(Value::as_array).into_iter().flatten();
        let id = |one: &Value| one.as_str().or_else(|| one.get("resource_id")?.as_str()).map(str::to_owned);
        let named: serde_json::Map<String, Value> =
            each.filter_map(|one| Some((id(one)?, json!({})))).collect();
        if named.is_empty() {
            json!({"type": kind})
        } else {
            json!({"type": kind, "userAssignedIdentities": named})
        }
    })
}

fn endpoint(form: &Form<'_>, workspaces: &[Workspace]) -> Option<EndpointSpec> {
    for key in SHOWN_ONLY {
        form.carried(key);
    }
    let name = form.value::<EndpointName>("name", "").required("an endpoint needs a name");
    let modes = AuthMode::ALL.map(|mode| (mode.as_str(), mode));
    let auth_mode = form.one_of("auth_mode", "", &modes).or(AuthMode::Key);
    let traffic = arm::endpoint::traffic(form, "traffic", "mirror_traffic");
    let workspace = workspace(form, workspaces);
    let access = [("enabled", true), ("disabled", false)];
    let public_network_access = form.one_of("public_network_access", "", &access).or(true);
    let identity = identity(form);
    let (description, tags, properties) = notes(form);
    let own = arm::extension::endpoint::read(form);
    let (traffic, mirror) = traffic?;
    Some(EndpointSpec {
        name: name?,
        workspace: workspace?,
        auth_mode,
        traffic,
        mirror,
        description,
        tags,
        properties,
        identity,
        public_network_access,
        rate_limit: own.rate_limit,
        request_body: own.request_body,
        websocket: own.websocket,
        cors: own.cors,
    })
}

/// What `az ml` shows and does not read; a file that was exported may hold it.
pub(super) const SHOWN_ONLY: &[&str] = &[
    "$schema",
    "id",
    "kind",
    "location",
    "compute",
    "scoring_uri",
    "openapi_uri",
    "provisioning_state",
    "resource_group",
    "resourceGroup",
    "creation_context",
    "instances",
];

fn permission(form: &Form<'_>) -> Permission {
    let list = |key| form.values::<String>(key, "").unwrap_or_default();
    let permission = Permission {
        actions: list("actions"),
        not_actions: list("not_actions"),
        data_actions: list("data_actions"),
        not_data_actions: list("not_data_actions"),
    };
    let all = [
        ("actions", &permission.actions),
        ("not_actions", &permission.not_actions),
        ("data_actions", &permission.data_actions),
        ("not_data_actions", &permission.not_data_actions),
    ];
    for (key, patterns) in all {
        for pattern in patterns {
            if let Err(error) = crate::rbac::ActionPattern::parse(pattern) {
                form.wrong(key, error.to_string(), None);
            }
        }
    }
    if permission.actions.is_empty() && permission.data_actions.is_empty() {
        form.wrong("actions", "names no action", None);
    }
    permission
}

fn role(form: &Form<'_>) -> Option<RoleDefinition> {
    let role_name = form.value::<String>("role_name", "").required("a role needs a name");
    let id = form.value::<Uuid>("id", "").optional();
    let permission = permission(form);
    let assignable_scopes = form.values("assignable_scopes", "").unwrap_or_else(|| vec![Scope::root()]);
    let description = form.value("description", "").or_else(String::new);
    let role_name = role_name?;
    if crate::rbac::builtin::by_name(&role_name).is_some() {
        form.wrong(
            "role_name",
            format!("`{role_name}` is the name of a built-in role"),
            Some("choose another name"),
        );
    }
    let id = id.unwrap_or_else(|| Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("role:{role_name}").as_bytes()));
    Some(RoleDefinition { id, role_name, description, permissions: vec![permission], assignable_scopes })
}

fn assignment(form: &Form<'_>) -> Option<AssignmentDocument> {
    let role = form.value::<String>("role", "").required("name a role, such as AzureML Data Scientist");
    let scope = form.value::<Scope>("scope", "").required("give the scope it holds at");
    let principal =
        form.value::<Uuid>("principal_id", "").required("give an object id, not an application id");
    let principal_type = form.one_of("principal_type", "", &PrincipalType::ALL).or(PrincipalType::User);
    let id = form.value::<Uuid>("name", "").optional();
    let condition = form.value("condition", "").optional();
    form.carried("condition_version");
    let description = form.value("description", "").or_else(String::new);
    Some(AssignmentDocument {
        role: role?,
        id,
        scope: scope?,
        principal: PrincipalId(principal?),
        principal_type,
        condition,
        description,
    })
}

fn denial(form: &Form<'_>) -> Option<DenyAssignment> {
    let name = form.value::<String>("deny_assignment_name", "").required("a deny assignment needs a name");
    let scope = form.value::<Scope>("scope", "").required("give the scope it holds at");
    let ids = |key| form.values::<Uuid>(key, "").unwrap_or_default().into_iter().map(PrincipalId).collect();
    let (principals, exclude_principals) = (ids("principals"), ids("exclude_principals"));
    let id = form.value::<Uuid>("id", "").optional();
    let permissions = vec![permission(form)];
    let do_not_apply_to_child_scopes = form.value("do_not_apply_to_child_scopes", "").or(false);
    let (name, scope) = (name?, scope?);
    let id =
        id.unwrap_or_else(|| Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("deny:{scope}#{name}").as_bytes()));
    Some(DenyAssignment {
        id,
        name,
        scope,
        permissions,
        principals,
        exclude_principals,
        do_not_apply_to_child_scopes,
    })
}
