//! `scoregate export`: what the workspace has, in the form that `apply` reads.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value, json};

use super::context::Context;
use super::failure::Failure;
use super::output::document;
use super::role::last;
use super::say;
use super::scope::path;
use super::shape::{self, Noun};
use crate::model::batch::{BatchDeployment, BatchEndpoint};
use crate::model::deployment::Deployment;
use crate::model::endpoint::EndpointSpec;
use crate::model::scope::Scope;
use crate::resources::DatastoreDocument;

/// What the workspace has, as files.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scoregate export > resources.yaml
  scoregate export --roles > resources.yaml && scoregate apply -f resources.yaml --dry-run
  scoregate export -o json --query '[].name'

Keys of endpoints and credentials of data stores are not exported. Roles are the custom ones that can be assigned in the workspace; role assignments
those at the workspace and below it, not those that it inherits.")]
pub struct Export {
    /// Custom roles and role assignments, too
    #[arg(long)]
    roles: bool,
}

impl Export {
    /// Runs the command.
    pub async fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let workspace = context.place.workspace(&context.client).await?;
        let scope = workspace.scope()?;
        let mut documents = resources(context, &scope).await?;
        if self.roles {
            documents.extend(roles(context, &scope).await?);
        }
        if !context.printer.in_words() {
            context.printer.print(&Value::from(documents), &[])?;
            return Ok(ExitCode::SUCCESS);
        }
        let texts: Vec<String> =
            documents.into_iter().map(|found| document(&shape::object(found), shape::ORDER)).collect();
        say(texts.join("---\n").trim_end());
        Ok(ExitCode::SUCCESS)
    }
}

/// Endpoints of both kinds, each with its deployments behind it, and data stores that somebody made.
pub async fn resources(context: &Context, workspace: &Scope) -> Result<Vec<Value>, Failure> {
    let base = path(workspace);
    let mut documents =
        endpoints::<EndpointSpec, Deployment>(context, &format!("{base}/onlineEndpoints")).await?;
    documents.extend(
        endpoints::<BatchEndpoint, BatchDeployment>(context, &format!("{base}/batchEndpoints")).await?,
    );
    let stores = context.client.list(&format!("{base}/datastores")).await?;
    for view in stores.iter().filter(|view| shape::is_made(view)) {
        documents.push(DatastoreDocument::seen(view)?.written());
    }
    Ok(documents)
}

async fn endpoints<E: Noun, D: Noun>(context: &Context, list: &str) -> Result<Vec<Value>, Failure> {
    let mut documents = Vec::new();
    for view in context.client.list(list).await? {
        let endpoint = E::seen(&view)?;
        documents.push(endpoint.written());
        for view in context.client.list(&format!("{}/deployments", path(&endpoint.id()?))).await? {
            documents.push(D::seen(&view)?.written());
        }
    }
    Ok(documents)
}

async fn roles(context: &Context, workspace: &Scope) -> Result<Vec<Value>, Failure> {
    let text =
        |view: &Value, name: &str| view.pointer(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let base = format!("{}/providers/Microsoft.Authorization", path(workspace));
    let definitions = context.client.list(&format!("{base}/roleDefinitions")).await?;
    let mut grants = Vec::new();
    for view in context.client.list(&format!("{base}/roleAssignments")).await? {
        let scope = text(&view, "/properties/scope");
        let inside = scope.parse::<Scope>().is_ok_and(|scope| scope.lineage().contains(&workspace.key()));
        if !inside {
            continue;
        }
        let role = last(&text(&view, "/properties/roleDefinitionId"));
        let name = definitions.iter().find(|found| last(&text(found, "/id")) == role);
        let name = name.map_or(role, |found| text(found, "/properties/roleName"));
        grants.push(compact(json!({
            "role": name, "name": text(&view, "/name"), "scope": scope, "principal_id": text(&view, "/properties/principalId"),
            "principal_type": text(&view, "/properties/principalType"), "description": text(&view, "/properties/description"),
            "condition": view.pointer("/properties/condition"),
        })));
    }
    let mut documents = Vec::new();
    for view in &definitions {
        let id = last(&text(view, "/id"));
        let empty = Vec::new();
        let list = |name: &str| view.pointer(name).and_then(Value::as_array).unwrap_or(&empty).clone();
        if text(view, "/properties/type") != "CustomRole" {
            continue;
        }
        let permissions = list("/properties/permissions");
        let [permission] = permissions.as_slice() else {
            context.note(&format!(
                "warning: role {} has several permissions, which a file cannot say; left out",
                text(view, "/properties/roleName")
            ));
            continue;
        };
        documents.push(compact(json!({
            "role_name": text(view, "/properties/roleName"), "id": id, "description": text(view, "/properties/description"),
            "actions": permission.get("actions"), "not_actions": permission.get("notActions"),
            "data_actions": permission.get("dataActions"), "not_data_actions": permission.get("notDataActions"),
            "assignable_scopes": list("/properties/assignableScopes"),
        })));
    }
    documents.extend(grants);
    Ok(documents)
}

/// A mapping without what says nothing.
fn compact(value: Value) -> Value {
    let says = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    };
    Value::Object(
        shape::object(value).into_iter().filter(|(_, value)| says(value)).collect::<Map<String, Value>>(),
    )
}
