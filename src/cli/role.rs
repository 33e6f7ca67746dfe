//! `scoregate role`: role assignments and role definitions, with `az role`'s flags and in its form.

mod assignment;
mod definition;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::client::Client;
use super::context::Context;
use super::failure::Failure;
use super::http::escape;
use super::scope::path;
use crate::model::scope::Scope;

/// Who may do what.
#[derive(Debug, Args)]
pub struct Role {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Who holds which role, and where
    #[command(subcommand)]
    Assignment(assignment::Command),
    /// What a role allows
    #[command(subcommand)]
    Definition(definition::Command),
}

impl Role {
    /// Runs the command.
    pub async fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        match &self.command {
            Command::Assignment(command) => command.run(context).await?,
            Command::Definition(command) => command.run(context).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

const DEFINITIONS: &str = "/providers/Microsoft.Authorization/roleDefinitions";

/// A role definition by its name, GUID or id, as the server has it.
async fn definition_of(client: &Client, scope: &Scope, role: &str) -> Result<Value, Failure> {
    let guid = role.rsplit('/').next().and_then(|last| last.parse::<Uuid>().ok());
    if let Some(guid) = guid {
        let found = client.find(&format!("{}{DEFINITIONS}/{guid}", path(scope))).await?;
        return found.ok_or_else(|| Failure::NotFound(format!("there is no role {guid}")));
    }
    let quoted = role.replace('\'', "''");
    let filter = escape(&format!("roleName eq '{quoted}'"));
    let found = client.list(&format!("{}{DEFINITIONS}?$filter={filter}", path(scope))).await?;
    let mut same = found.into_iter().filter(|found| {
        text(found, "/properties/roleName").is_some_and(|name| name.eq_ignore_ascii_case(role))
    });
    match (same.next(), same.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => {
            Err(Failure::usage(format!("several roles are called `{role}`; give the GUID")))
        }
        (None, _) => Err(Failure::NotFound(format!(
            "there is no role `{role}`; `scoregate role definition list -o table` shows those there are"
        ))),
    }
}

/// A role's GUID, by its name, GUID or id.
async fn guid_of(client: &Client, scope: &Scope, role: &str) -> Result<String, Failure> {
    Ok(last(text(&definition_of(client, scope, role).await?, "/id").unwrap_or_default()))
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str()
}

/// The last segment of an id, in lower case.
pub fn last(id: &str) -> String {
    id.rsplit('/').next().unwrap_or_default().to_ascii_lowercase()
}

/// A resource as `az` prints it: its properties beside its id, name and type.
fn flat(resource: &Value) -> Map<String, Value> {
    let mut fields = resource.as_object().cloned().unwrap_or_default();
    if let Some(Value::Object(properties)) = fields.remove("properties") {
        for (name, value) in properties {
            // A definition's own type would hide the resource's.
            let name =
                if fields.contains_key(&name) && name == "type" { "roleType".to_owned() } else { name };
            fields.insert(name, value);
        }
    }
    fields
}
