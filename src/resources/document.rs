//! One document of a resource file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::model::deployment::{
    Backend, Deployment, HttpVersion, InstanceUrl, RequestSettings, default_scoring_path,
};
use crate::model::endpoint::AuthMode;
use crate::model::names::{DeploymentName, EndpointName};
use crate::model::role::{DenyAssignment, Permission, PrincipalId, PrincipalType, RoleDefinition};
use crate::model::scope::{Scope, WorkspaceRef};
use crate::model::traffic::Traffic;
use crate::settings::Workspace;
use crate::forms::{Form, Millis, Node, Reading};

/// What a document describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// An endpoint; its keys are the store's affair.
    Endpoint(EndpointDocument),
    /// A deployment.
    Deployment(Box<Deployment>),
    /// A custom role.
    Role(RoleDefinition),
    /// A grant, whose role may still be a name.
    Assignment(AssignmentDocument),
    /// A refusal.
    Denial(DenyAssignment),
}

/// An endpoint as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointDocument {
    pub name: EndpointName,
    pub workspace: WorkspaceRef,
    pub auth_mode: AuthMode,
    pub traffic: Traffic,
    pub description: String,
    pub tags: BTreeMap<String, String>,
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
}

impl Document {
    /// Reads a document; what is wrong with it is noted in the reading. `workspaces` are those there are, the default first.
    pub fn read(reading: &Reading, node: &Node, base: &Path, workspaces: &[Workspace]) -> Option<Document> {
        let form = reading.form(Some(node));
        let document = if form.has("endpoint_name") {
            deployment(&form, base, workspaces).map(Box::new).map(Document::Deployment)
        } else if form.has("principal_id") {
            assignment(&form).map(Document::Assignment)
        } else if form.has("principals") {
            denial(&form).map(Document::Denial)
        } else if form.has("role_name") {
            role(&form).map(Document::Role)
        } else {
            endpoint(&form, workspaces).map(Document::Endpoint)
        };
        form.close();
        document
    }
}

fn workspace(form: &Form<'_>, workspaces: &[Workspace]) -> Option<WorkspaceRef> {
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

fn endpoint(form: &Form<'_>, workspaces: &[Workspace]) -> Option<EndpointDocument> {
    for key in ["$schema", "identity", "public_network_access", "compute", "properties"] {
        form.carried(key);
    }
    let name = form.value::<EndpointName>("name", "").required("an endpoint needs a name");
    let modes = AuthMode::ALL.map(|mode| (mode.as_str(), mode));
    let auth_mode = form.one_of("auth_mode", "", &modes).or(AuthMode::Key);
    let shares = form.pairs::<u8>("traffic", "");
    let named = shares.into_iter().filter_map(|(name, share)| {
        let name =
            name.parse::<DeploymentName>().map_err(|error| form.wrong("traffic", error.to_string(), None));
        Some((name.ok()?, share))
    });
    let traffic = Traffic::try_from(named.collect::<Vec<_>>());
    let traffic = traffic.map_err(|error| form.wrong("traffic", error.to_string(), None)).ok();
    if form.pairs::<u8>("mirror_traffic", "").iter().any(|(_, share)| *share > 0) {
        form.wrong("mirror_traffic", "is not supported by this version", Some("remove it"));
    }
    let workspace = workspace(form, workspaces);
    Some(EndpointDocument {
        description: form.value("description", "").or_else(String::new),
        tags: form.pairs("tags", "").into_iter().collect(),
        name: name?,
        workspace: workspace?,
        auth_mode,
        traffic: traffic?,
    })
}

/// Fields of `az ml` that are kept and shown as given.
const CARRIED: &[&str] = &[
    "model",
    "model_mount_path",
    "code_configuration",
    "environment",
    "environment_variables",
    "instance_type",
    "instance_count",
    "app_insights_enabled",
    "scale_settings",
    "liveness_probe",
    "readiness_probe",
    "egress_public_network_access",
    "data_collector",
    "description",
    "tags",
    "type",
    "properties",
    "resources",
];

fn deployment(form: &Form<'_>, base: &Path, workspaces: &[Workspace]) -> Option<Deployment> {
    form.carried("$schema");
    let name = form.value::<DeploymentName>("name", "").required("a deployment needs a name");
    let endpoint =
        form.value::<EndpointName>("endpoint_name", "").required("name the endpoint it stands behind");
    let carried: BTreeMap<String, serde_json::Value> =
        CARRIED.iter().filter_map(|key| Some(((*key).to_owned(), form.carried(key)?))).collect();
    let request_settings = form.section("request_settings", "", |f| {
        let defaults = RequestSettings::default();
        let concurrent = f.value("max_concurrent_requests_per_instance", "").or(1);
        if concurrent == 0 {
            f.wrong("max_concurrent_requests_per_instance", "is 0; no request could ever be served", None);
        }
        RequestSettings {
            request_timeout: f.value("request_timeout_ms", "").or(Millis(defaults.request_timeout)).0,
            max_concurrent_requests_per_instance: concurrent,
            max_queue_wait: f.value("max_queue_wait_ms", "").or(Millis(defaults.max_queue_wait)).0,
        }
    });
    let backend = form.optional_section("backend", "", |f| backend(f, base)).flatten();
    if backend.is_none() && !form.has("backend") {
        form.wrong(
            "backend",
            "is missing",
            Some("backend: { urls: [\"http://127.0.0.1:5001\"] } says where the instances are"),
        );
    }
    let route =
        carried.get("environment").and_then(|e| e.pointer("/inference_config/scoring_route/path")?.as_str());
    let scoring_path = route.map_or_else(default_scoring_path, str::to_owned);
    if !scoring_path.starts_with('/') || scoring_path.parse::<http::uri::PathAndQuery>().is_err() {
        form.wrong("environment", format!("scoring route `{scoring_path}` is no path"), None);
    }
    let allowed_paths = form.values::<String>("allowed_paths", "");
    for path in allowed_paths.iter().flatten().filter(|path| !path.starts_with('/')) {
        form.wrong("allowed_paths", format!("`{path}` does not start with a slash"), None);
    }
    let workspace = workspace(form, workspaces);
    Some(Deployment {
        forward_authorization: form.value("forward_authorization", "").or(false),
        forward_cookies: form.value("forward_cookies", "").or(false),
        name: name?,
        endpoint: endpoint?,
        workspace: workspace?,
        backend: backend?,
        request_settings,
        scoring_path,
        allowed_paths,
        carried,
    })
}

fn backend(form: &Form<'_>, base: &Path) -> Option<Backend> {
    for key in ["dns", "kubernetes", "command"] {
        if form.carried(key).is_some() {
            form.wrong(key, "is not supported by this version", Some("list the instances under `urls`"));
        }
    }
    let urls = form.values::<InstanceUrl>("urls", "").unwrap_or_default();
    if urls.is_empty() {
        form.wrong("urls", "names no instance", Some("urls: [\"http://127.0.0.1:5001\"]"));
    }
    let versions = [("1.1", HttpVersion::Http1), ("2", HttpVersion::Http2)];
    let http_version = form.one_of("http_version", "", &versions).or(HttpVersion::Http1);
    let ca_file = form.value::<PathBuf>("ca_file", "").optional().map(|file| base.join(file));
    (!urls.is_empty()).then_some(Backend { urls, http_version, ca_file })
}

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
    let kinds = [
        ("User", PrincipalType::User),
        ("Group", PrincipalType::Group),
        ("ServicePrincipal", PrincipalType::ServicePrincipal),
        ("ForeignGroup", PrincipalType::ForeignGroup),
    ];
    let principal_type = form.one_of("principal_type", "", &kinds).or(PrincipalType::User);
    let id = form.value::<Uuid>("name", "").optional();
    let condition = form.value("condition", "").optional();
    for key in ["description", "condition_version"] {
        form.carried(key);
    }
    Some(AssignmentDocument {
        role: role?,
        id,
        scope: scope?,
        principal: PrincipalId(principal?),
        principal_type,
        condition,
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
