//! `scoregate role assignment`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{DEFINITIONS, definition_of, flat, guid_of, last, text};
use crate::cli::client::Client;
use crate::cli::context::{Context, confirm};
use crate::cli::failure::Failure;
use crate::cli::http::escape;
use crate::cli::output::Columns;
use crate::cli::scope::path;
use crate::model::scope::Scope;

const ASSIGNMENTS: &str = "/providers/Microsoft.Authorization/roleAssignments";
const COLUMNS: Columns = &[
    ("Principal", "principalId"),
    ("Type", "principalType"),
    ("Role", "roleDefinitionName"),
    ("Scope", "scope"),
];

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Grant a role to a principal at a scope and everything below it
    #[command(after_help = "Examples:
  # let a service principal use every endpoint of a resource group
  scoregate role assignment create --assignee-object-id 11111111-2222-3333-4444-555555555555 \\
    --assignee-principal-type ServicePrincipal --role \"AzureML Data Scientist\" -g default

  # let it score one endpoint and nothing else (see `role definition create` for the role)
  scoregate role assignment create --assignee 11111111-2222-3333-4444-555555555555 --role \"Endpoint Scorer\" \\
    --scope /subscriptions/SUB/resourceGroups/default/providers/Microsoft.MachineLearningServices/workspaces/default/onlineEndpoints/my-endp1")]
    Create(Create),
    /// List grants
    #[command(after_help = "Examples:
  scoregate role assignment list --all -o table
  scoregate role assignment list -g default --include-inherited -o table
  scoregate role assignment list --all --assignee 11111111-2222-3333-4444-555555555555 --query '[].roleDefinitionName'

Without --all and --scope: those at the resource group (-g), or else at the subscription.")]
    List(List),
    /// Take grants away
    #[command(after_help = "Examples:
  scoregate role assignment delete --assignee 11111111-2222-3333-4444-555555555555 --role Reader -g default
  scoregate role assignment delete --ids /subscriptions/SUB/providers/Microsoft.Authorization/roleAssignments/GUID")]
    Delete(Delete),
}

/// What a principal is.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum PrincipalType {
    User,
    Group,
    ServicePrincipal,
    ForeignGroup,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// The principal's object id (never an application id)
    #[arg(
        long,
        value_name = "OBJECT_ID",
        conflicts_with = "assignee_object_id",
        required_unless_present = "assignee_object_id"
    )]
    assignee: Option<String>,
    /// The same; the flag that `az` wants where it may ask no directory
    #[arg(long, value_name = "OBJECT_ID")]
    assignee_object_id: Option<String>,
    /// What the principal is
    #[arg(long, value_enum, value_name = "TYPE")]
    assignee_principal_type: Option<PrincipalType>,
    /// The role's name, GUID or id
    #[arg(long)]
    role: String,
    /// Where it holds; else the resource group that -g names
    #[arg(long)]
    scope: Option<String>,
    /// The assignment's name, a GUID; a random one if not given
    #[arg(short, long, value_name = "GUID")]
    name: Option<Uuid>,
    /// Why it was granted
    #[arg(long)]
    description: Option<String>,
    /// A condition; this gateway understands none yet, and a grant with one grants nothing
    #[arg(long)]
    condition: Option<String>,
    /// The version of the condition's language
    #[arg(long, requires = "condition")]
    condition_version: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Everything in the subscription, and what is inherited
    #[arg(long, conflicts_with = "scope")]
    all: bool,
    /// Grants at the scopes above too
    #[arg(long)]
    include_inherited: bool,
    /// Grants to the principal's groups too
    #[arg(long, requires = "assignee")]
    include_groups: bool,
    /// Only this principal's
    #[arg(long, visible_alias = "assignee-object-id", value_name = "OBJECT_ID")]
    assignee: Option<String>,
    /// Only of this role
    #[arg(long)]
    role: Option<String>,
    /// Where
    #[arg(long)]
    scope: Option<String>,
    #[arg(long, hide = true, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    fill_principal_name: Option<bool>,
    #[arg(long, hide = true, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    fill_role_definition_name: Option<bool>,
}

#[derive(Debug, Args)]
pub(super) struct Delete {
    /// These assignments, by id
    #[arg(long, num_args = 1.., value_name = "ID", conflicts_with_all = ["assignee", "role", "scope"])]
    ids: Vec<String>,
    /// Only this principal's
    #[arg(long, value_name = "OBJECT_ID")]
    assignee: Option<String>,
    /// Only of this role
    #[arg(long)]
    role: Option<String>,
    /// Only at this scope; else the resource group that -g names
    #[arg(long)]
    scope: Option<String>,
    /// Grants at the scopes above too
    #[arg(long)]
    include_inherited: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Command {
    pub(super) async fn run(&self, context: &Context) -> Result<(), Failure> {
        match self {
            Command::Create(options) => create(context, options).await,
            Command::List(options) => list(context, options).await,
            Command::Delete(options) => delete(context, options).await,
        }
    }
}

/// An object id; names are the directory's, which this command does not ask.
fn object_id(given: &str) -> Result<Uuid, Failure> {
    given.parse().map_err(|_| {
        Failure::usage(format!(
            "`{given}` is no object id. `az ad user show --id NAME --query id` and `az ad sp show --id APP_ID --query id` tell it"
        ))
    })
}

async fn create(context: &Context, options: &Create) -> Result<(), Failure> {
    if options.scope.is_none() && context.place.group.is_none() {
        return Err(Failure::usage("say where the role is to hold: --scope, or -g for a resource group"));
    }
    let principal = options.assignee_object_id.as_deref().or(options.assignee.as_deref()).unwrap_or_default();
    let principal = object_id(principal)?;
    let client = &context.client;
    let scope = context.place.scope(client, options.scope.as_deref()).await?;
    let definition = definition_of(client, &scope, &options.role).await?;
    let mut properties = json!({
        "roleDefinitionId": definition.get("id"), "principalId": principal,
    });
    let more = [
        ("principalType", options.assignee_principal_type.map(|kind| format!("{kind:?}"))),
        ("description", options.description.clone()),
        ("condition", options.condition.clone()),
        (
            "conditionVersion",
            options.condition_version.clone().or(options.condition.as_ref().map(|_| "2.0".to_owned())),
        ),
    ];
    if let Value::Object(fields) = &mut properties {
        fields.extend(
            more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?)))),
        );
    }
    let name = options.name.unwrap_or_else(Uuid::new_v4);
    let body = json!({ "properties": properties });
    let created = match client.put(&format!("{}{ASSIGNMENTS}/{name}", path(&scope)), &body).await {
        // Granting what is granted changes nothing, as with `az`.
        Err(error) if error.code() == Some("RoleAssignmentExists") && options.name.is_none() => {
            let role = last(text(&definition, "/id").unwrap_or_default());
            let found = at(client, &scope, Some(principal), Some(&role), false).await?;
            context.note("this role is granted there already");
            found.into_iter().next().ok_or(error)?
        }
        created => created?,
    };
    let names = BTreeMap::from([name_of(&definition)]);
    context.printer.print(&shown(&created, &names), COLUMNS)
}

async fn list(context: &Context, options: &List) -> Result<(), Failure> {
    let client = &context.client;
    let principal = options.assignee.as_deref().map(object_id).transpose()?;
    let mut scope = context.place.scope(client, options.scope.as_deref()).await?;
    if options.all {
        let subscription = context.place.subscription(client).await?;
        scope = context.place.scope(client, Some(&format!("/subscriptions/{subscription}"))).await?;
    }
    let role = match &options.role {
        Some(role) => Some(guid_of(client, &scope, role).await?),
        None => None,
    };
    let found = if options.all || options.include_groups {
        let filter = match principal {
            Some(id) if options.include_groups => format!("assignedTo('{id}')"),
            Some(id) => format!("principalId eq '{id}'"),
            None => String::new(),
        };
        let mut found = filtered(client, &scope, &filter).await?;
        found.retain(|item| role.as_ref().is_none_or(|role| is_of(item, role)));
        if !options.all && !options.include_inherited {
            found.retain(|item| is_at(item, &scope));
        }
        found
    } else {
        at(client, &scope, principal, role.as_deref(), options.include_inherited).await?
    };
    let names = names(client, &scope, &found).await?;
    let shown: Value = found.iter().map(|item| shown(item, &names)).collect();
    context.printer.print(&shown, COLUMNS)
}

async fn delete(context: &Context, options: &Delete) -> Result<(), Failure> {
    let client = &context.client;
    let ids = if options.ids.is_empty() {
        if options.assignee.is_none() && options.role.is_none() && options.scope.is_none() {
            return Err(Failure::usage("say which: --ids, or --assignee, --role and --scope"));
        }
        let principal = options.assignee.as_deref().map(object_id).transpose()?;
        let scope = context.place.scope(client, options.scope.as_deref()).await?;
        let role = match &options.role {
            Some(role) => Some(guid_of(client, &scope, role).await?),
            None => None,
        };
        let found = at(client, &scope, principal, role.as_deref(), options.include_inherited).await?;
        if found.len() > 1 {
            confirm(options.yes, &format!("Deleting {} role assignments", found.len()))?;
        }
        found.iter().filter_map(|item| Some(item.get("id")?.as_str()?.to_owned())).collect()
    } else if let Some(wrong) = options.ids.iter().find(|id| !id.starts_with('/')) {
        return Err(Failure::usage(format!("--ids {wrong}: an id begins with /subscriptions or /providers")));
    } else {
        options.ids.clone()
    };
    let mut deleted = 0_usize;
    for id in &ids {
        let segments: Vec<String> = id.split('/').map(escape).collect();
        let there = client.delete(&segments.join("/")).await?;
        deleted += usize::from(there.is_some());
    }
    if deleted == 0 {
        return Err(Failure::NotFound("there is no such role assignment".to_owned()));
    }
    Ok(())
}

async fn filtered(client: &Client, scope: &Scope, filter: &str) -> Result<Vec<Value>, Failure> {
    let query = if filter.is_empty() { String::new() } else { format!("?$filter={}", escape(filter)) };
    Ok(client.list(&format!("{}{ASSIGNMENTS}{query}", path(scope))).await?)
}

/// The assignments at a scope, and above it if asked for, of this principal and this role.
async fn at(
    client: &Client,
    scope: &Scope,
    principal: Option<Uuid>,
    role: Option<&str>,
    inherited: bool,
) -> Result<Vec<Value>, Failure> {
    let mut found = filtered(client, scope, "atScope()").await?;
    let principal = principal.map(|id| id.to_string());
    found.retain(|item| {
        let id = text(item, "/properties/principalId").unwrap_or_default();
        (inherited || is_at(item, scope))
            && principal.as_ref().is_none_or(|wanted| id.eq_ignore_ascii_case(wanted))
            && role.is_none_or(|role| is_of(item, role))
    });
    Ok(found)
}

fn is_at(item: &Value, scope: &Scope) -> bool {
    text(item, "/properties/scope").and_then(|found| found.parse::<Scope>().ok()).as_ref() == Some(scope)
}

fn is_of(item: &Value, role: &str) -> bool {
    last(text(item, "/properties/roleDefinitionId").unwrap_or_default()) == role
}

/// A role's GUID and its name.
fn name_of(definition: &Value) -> (String, String) {
    let name = text(definition, "/properties/roleName").unwrap_or_default();
    (last(text(definition, "/id").unwrap_or_default()), name.to_owned())
}

/// The names of roles by GUID, if any are needed.
async fn names(client: &Client, scope: &Scope, found: &[Value]) -> Result<BTreeMap<String, String>, Failure> {
    if found.is_empty() {
        return Ok(BTreeMap::new());
    }
    match client.list(&format!("{}{DEFINITIONS}", path(scope))).await {
        Ok(listed) => Ok(listed.iter().map(name_of).collect()),
        // Who may see grants need not be allowed to see what the roles are called.
        Err(error) if error.status() == Some(403) => Ok(BTreeMap::new()),
        Err(error) => Err(error.into()),
    }
}

fn shown(item: &Value, names: &BTreeMap<String, String>) -> Value {
    let mut fields = flat(item);
    let role = last(text(item, "/properties/roleDefinitionId").unwrap_or_default());
    let name = names.get(&role).map_or(Value::Null, |name| Value::from(name.as_str()));
    fields.insert("roleDefinitionName".to_owned(), name);
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_shown_flat_with_its_roles_name() {
        let item = json!({"id": "/x/roleAssignments/a", "name": "a", "type": "T", "properties": {
            "roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/ABC", "principalId": "p", "scope": "/"}});
        let names = BTreeMap::from([("abc".to_owned(), "Owner".to_owned())]);
        let expected = json!({"id": "/x/roleAssignments/a", "name": "a", "type": "T", "principalId": "p", "scope": "/",
            "roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/ABC", "roleDefinitionName": "Owner"});
        assert_eq!(shown(&item, &names), expected);
    }

    #[test]
    fn scopes_are_compared_without_regard_to_case() {
        let item = json!({"properties": {"scope": "/subscriptions/A"}});
        assert!(is_at(&item, &"/SUBSCRIPTIONS/a".parse().unwrap()));
        assert!(!is_at(&item, &"/subscriptions/ab".parse().unwrap()));
    }
}
