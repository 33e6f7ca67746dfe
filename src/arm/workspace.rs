//! Workspaces, and the subscriptions and resource groups above them, which are just names here.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::resource::{SystemData, tags};
use crate::forms::Form;
use crate::model::audit::System;
use crate::model::scope::{Scope, WorkspaceRef};
use crate::model::workspace::Workspace;

/// The type of workspaces.
pub const TYPE: &str = "Microsoft.MachineLearningServices/workspaces";

/// Reads the body of a PUT.
pub fn read(form: &Form<'_>, place: &WorkspaceRef) -> Workspace {
    let tags = tags(form);
    for key in ["identity", "sku", "kind"] {
        form.carried(key);
    }
    for (what, name) in [("resource group", &place.resource_group), ("workspace", &place.name)] {
        if !is_name(name) {
            let problem =
                format!("`{name}` is no name of a {what}: write letters, digits and . _ - ( ), at most 90");
            form.wrong("name", problem, None);
        }
    }
    if uuid::Uuid::try_parse(&place.subscription).is_err() {
        form.wrong("id", format!("`{}` is no subscription's GUID", place.subscription), None);
    }
    let location = form.value::<String>("location", "Region; free text.").required("such as local");
    form.section("properties", "", |f| Workspace {
        place: place.clone(),
        location: location.unwrap_or_default(),
        friendly_name: f.value("friendlyName", "The name shown to people.").or_else(String::new),
        description: f.value("description", "What it is for.").or_else(String::new),
        tags,
    })
}

/// Whether a text can name a resource group or a workspace (Azure: "Naming rules and restrictions").
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-()".contains(c);
    (1..=90).contains(&text.len()) && text.chars().all(plain) && !text.ends_with('.')
}

/// A workspace as ARM shows it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceView {
    id: String,
    name: String,
    #[serde(rename = "type")]
    kind_of: String,
    location: String,
    tags: BTreeMap<String, String>,
    kind: String,
    sku: WorkspaceSku,
    properties: WorkspaceProperties,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_data: Option<SystemData>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct WorkspaceSku {
    name: String,
    tier: String,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct WorkspaceProperties {
    workspace_id: String,
    friendly_name: String,
    description: String,
    discovery_url: String,
    provisioning_state: String,
    public_network_access: String,
}

/// A workspace as ARM shows it; one that the settings make has nobody who made it.
pub fn view(
    workspace: &Workspace,
    id: &Scope,
    system: Option<&System>,
    discovery_url: String,
) -> WorkspaceView {
    let guid = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, id.key().as_bytes());
    let name = &workspace.place.name;
    let friendly = if workspace.friendly_name.is_empty() { name } else { &workspace.friendly_name };
    WorkspaceView {
        id: id.to_string(),
        name: name.clone(),
        kind_of: TYPE.to_owned(),
        location: workspace.location.clone(),
        tags: workspace.tags.clone(),
        kind: "Default".to_owned(),
        sku: WorkspaceSku { name: "Basic".to_owned(), tier: "Basic".to_owned() },
        properties: WorkspaceProperties {
            workspace_id: guid.to_string(),
            friendly_name: friendly.clone(),
            description: workspace.description.clone(),
            discovery_url,
            provisioning_state: "Succeeded".to_owned(),
            public_network_access: "Enabled".to_owned(),
        },
        system_data: system.map(SystemData::of),
    }
}

/// A subscription as ARM shows it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionView {
    id: String,
    subscription_id: String,
    tenant_id: String,
    display_name: String,
    state: String,
}

/// A subscription of this tenant.
pub fn subscription(id: &str, tenant: &str) -> SubscriptionView {
    SubscriptionView {
        id: format!("/subscriptions/{id}"),
        subscription_id: id.to_owned(),
        tenant_id: tenant.to_owned(),
        display_name: format!("scoregate {id}"),
        state: "Enabled".to_owned(),
    }
}

/// A resource group as ARM shows it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct GroupView {
    id: String,
    name: String,
    #[serde(rename = "type")]
    kind_of: String,
    location: String,
    tags: BTreeMap<String, String>,
    properties: GroupProperties,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct GroupProperties {
    provisioning_state: String,
}

/// A resource group.
pub fn group(id: &str, name: &str, location: &str) -> GroupView {
    GroupView {
        id: id.to_owned(),
        name: name.to_owned(),
        kind_of: "Microsoft.Resources/resourceGroups".to_owned(),
        location: location.to_owned(),
        tags: BTreeMap::new(),
        properties: GroupProperties { provisioning_state: "Succeeded".to_owned() },
    }
}
