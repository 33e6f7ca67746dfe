//! `scoregate role definition`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{DEFINITIONS, definition_of, flat, guid_of, last, text};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::http::escape;
use crate::cli::output::Columns;
use crate::cli::scope::path;
use crate::model::scope::Scope;

const COLUMNS: Columns =
    &[("Name", "roleName"), ("Type", "roleType"), ("Id", "name"), ("Description", "description")];

const FORM: &str = "The definition is JSON, in a file or on the command line:
  { \"Name\": \"Endpoint Scorer\", \"Description\": \"Scores one endpoint.\",
    \"Actions\": [\"Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/action\"],
    \"NotActions\": [], \"DataActions\": [], \"NotDataActions\": [],
    \"AssignableScopes\": [\"/subscriptions/SUB/resourceGroups/default\"] }
`role definition list` prints the same fields in camelCase, with permissions; that form is taken too.
Scoring is an action, not a data action.

Examples:
  scoregate role definition create --role-definition @scorer.json
  scoregate role definition update --role-definition scorer.json";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a custom role
    #[command(after_help = FORM)]
    Create(Write),
    /// Change a custom role, which its Name or its Id tells
    #[command(after_help = FORM)]
    Update(Write),
    /// List roles
    #[command(after_help = "Examples:
  scoregate role definition list -o table
  scoregate role definition list --name \"AzureML Data Scientist\" --query '[0].permissions[0].actions'
  scoregate role definition list --custom-role-only -g default")]
    List(List),
    /// Show one role
    #[command(after_help = "Examples:
  scoregate role definition show --name Owner
  scoregate role definition show --name f6c7c914-8db3-469d-8ca1-694a8f32e121 -o yaml")]
    Show(Which),
    /// Delete a custom role; nobody may hold it any more
    #[command(after_help = "Examples:
  scoregate role definition delete --name \"Endpoint Scorer\"")]
    Delete(Which),
}

#[derive(Debug, Args)]
pub(super) struct Write {
    /// JSON, or the path of a file that holds it (with or without @)
    #[arg(long, value_name = "JSON|FILE")]
    role_definition: String,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only the role of this name or GUID
    #[arg(short, long)]
    name: Option<String>,
    /// No built-in roles
    #[arg(long)]
    custom_role_only: bool,
    /// Roles that can be assigned here; else the resource group that -g names, or the subscription
    #[arg(long)]
    scope: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// The role's name, GUID or id
    #[arg(short, long, visible_alias = "id")]
    name: String,
    /// A scope at which it can be assigned
    #[arg(long)]
    scope: Option<String>,
    #[arg(long, hide = true)]
    custom_role_only: bool,
}

impl Command {
    pub(super) async fn run(&self, context: &Context) -> Result<(), Failure> {
        match self {
            Command::Create(options) => write(context, options, false).await,
            Command::Update(options) => write(context, options, true).await,
            Command::List(options) => list(context, options).await,
            Command::Show(options) => {
                let scope = context.place.scope(&context.client, options.scope.as_deref()).await?;
                let found = definition_of(&context.client, &scope, &options.name).await?;
                context.printer.print(&shown(&found), COLUMNS)
            }
            Command::Delete(options) => delete(context, options).await,
        }
    }
}

/// A definition as a person writes it.
#[derive(Debug, PartialEq)]
struct Given {
    id: Option<Uuid>,
    name: String,
    scopes: Vec<Scope>,
    properties: Value,
}

/// Reads JSON from the command line or from the file that it names.
fn read(given: &str) -> Result<Value, Failure> {
    let (source, text) = if given.trim_start().starts_with('{') {
        ("--role-definition", given.to_owned())
    } else {
        let file = given.strip_prefix('@').unwrap_or(given);
        let text = std::fs::read_to_string(file);
        (file, text.map_err(|error| Failure::usage(format!("--role-definition: {file}: {error}")))?)
    };
    serde_json::from_str(&text).map_err(|error| Failure::usage(format!("{source}: {error}")))
}

impl Given {
    /// Reads `az`'s flattened form, the camelCase form that lists print, and ARM's own.
    fn of(value: &Value) -> Result<Given, Failure> {
        let wrong = |what: &str| Failure::usage(format!("--role-definition: {what}"));
        let Value::Object(_) = value else {
            return Err(wrong("an object was expected"));
        };
        let fields: Map<String, Value> =
            flat(value).into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        let known = [
            "name",
            "id",
            "iscustom",
            "description",
            "actions",
            "notactions",
            "dataactions",
            "notdataactions",
            "assignablescopes",
            "rolename",
            "roletype",
            "permissions",
            "type",
            "createdby",
            "createdon",
            "updatedby",
            "updatedon",
        ];
        if let Some(strange) = fields.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(wrong(&format!("no field is called `{strange}`")));
        }
        let field = |name: &str| fields.get(name).filter(|value| !value.is_null());
        let word = |name: &str| field(name).and_then(Value::as_str);
        // In the form that lists print, `name` is the GUID.
        let name = word("rolename").or_else(|| word("name")).ok_or_else(|| wrong("it needs a Name"))?;
        let id = word("id").or_else(|| word("rolename").and(word("name"))).map(last);
        let lists = ["actions", "notActions", "dataActions", "notDataActions"];
        let permissions = match field("permissions") {
            Some(found @ Value::Array(_)) => found.clone(),
            Some(_) => return Err(wrong("permissions is a list")),
            None => {
                let list = |name: &str| {
                    let list = field(&name.to_ascii_lowercase()).cloned().unwrap_or_else(|| json!([]));
                    (name.to_owned(), list)
                };
                json!([lists.into_iter().map(list).collect::<Map<String, Value>>()])
            }
        };
        for permission in permissions.as_array().into_iter().flatten() {
            for list in lists.iter().filter_map(|name| permission.get(name)).filter(|list| !list.is_null()) {
                let texts = list.as_array().is_some_and(|items| items.iter().all(Value::is_string));
                if !texts {
                    return Err(wrong(
                        "Actions, NotActions, DataActions and NotDataActions are lists of texts",
                    ));
                }
            }
        }
        let scopes = field("assignablescopes").and_then(Value::as_array).cloned().unwrap_or_default();
        let scopes: Result<Vec<Scope>, Failure> = scopes
            .iter()
            .map(|scope| {
                scope.as_str().unwrap_or_default().parse::<Scope>().map_err(|e| wrong(&e.to_string()))
            })
            .collect();
        let scopes = scopes?;
        if scopes.is_empty() {
            return Err(wrong(
                "it needs AssignableScopes, such as [\"/subscriptions/SUB/resourceGroups/default\"]",
            ));
        }
        let properties = json!({
            "roleName": name, "description": word("description").unwrap_or_default(), "type": "CustomRole",
            "permissions": permissions, "assignableScopes": scopes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        });
        let id = id.and_then(|id| id.parse().ok());
        Ok(Given { id, name: name.to_owned(), scopes, properties })
    }
}

async fn write(context: &Context, options: &Write, update: bool) -> Result<(), Failure> {
    let given = Given::of(&read(&options.role_definition)?)?;
    let Some(scope) = given.scopes.first() else {
        return Err(Failure::usage("--role-definition: it needs AssignableScopes"));
    };
    let client = &context.client;
    let id = if update {
        let by = given.id.map_or_else(|| given.name.clone(), |id| id.to_string());
        guid_of(client, scope, &by).await?
    } else {
        let filter = escape(&format!("roleName eq '{}'", given.name.replace('\'', "''")));
        let same = client.list(&format!("{}{DEFINITIONS}?$filter={filter}", path(scope))).await?;
        if !same.is_empty() {
            return Err(Failure::failed(format!(
                "there is a role `{}` already; `scoregate role definition update` changes it",
                given.name
            )));
        }
        Uuid::new_v4().to_string()
    };
    let body = json!({ "properties": given.properties });
    let written = client.put(&format!("{}{DEFINITIONS}/{id}", path(scope)), &body).await?;
    context.printer.print(&shown(&written), COLUMNS)
}

async fn list(context: &Context, options: &List) -> Result<(), Failure> {
    let scope = context.place.scope(&context.client, options.scope.as_deref()).await?;
    let filter = if options.custom_role_only { escape("type eq 'CustomRole'") } else { String::new() };
    let query = if filter.is_empty() { String::new() } else { format!("?$filter={filter}") };
    let found = context.client.list(&format!("{}{DEFINITIONS}{query}", path(&scope))).await?;
    let wanted = |item: &&Value| {
        let custom =
            text(item, "/properties/type").is_some_and(|kind| kind.eq_ignore_ascii_case("CustomRole"));
        let named = options.name.as_ref().is_none_or(|name| {
            let has = text(item, "/properties/roleName").unwrap_or_default();
            has.eq_ignore_ascii_case(name)
                || text(item, "/name").is_some_and(|id| id.eq_ignore_ascii_case(name))
        });
        named && (custom || !options.custom_role_only)
    };
    let mut found: Vec<Value> = found.iter().filter(wanted).map(shown).collect();
    found.sort_by_key(|item| text(item, "/roleName").unwrap_or_default().to_ascii_lowercase());
    context.printer.print(&Value::from(found), COLUMNS)
}

async fn delete(context: &Context, options: &Which) -> Result<(), Failure> {
    let client = &context.client;
    let scope = context.place.scope(client, options.scope.as_deref()).await?;
    let id = guid_of(client, &scope, &options.name).await?;
    match client.delete(&format!("{}{DEFINITIONS}/{}", path(&scope), escape(&id))).await? {
        Some(_) => Ok(()),
        None => Err(Failure::NotFound(format!("there is no role `{}`", options.name))),
    }
}

fn shown(item: &Value) -> Value {
    Value::Object(flat(item))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "11111111-2222-3333-4444-555555555555";

    fn given(value: &Value) -> Result<Given, String> {
        Given::of(value).map_err(|error| error.to_string())
    }

    #[test]
    fn three_forms_say_the_same() {
        let flattened = json!({"Name": "Scorer", "IsCustom": true, "Description": "d", "Id": ID, "Actions": ["a/b/action"],
            "NotActions": [], "DataActions": [], "NotDataActions": [], "AssignableScopes": ["/subscriptions/s"]});
        let permissions =
            json!([{"actions": ["a/b/action"], "notActions": [], "dataActions": [], "notDataActions": []}]);
        let printed = json!({"roleName": "Scorer", "roleType": "CustomRole", "description": "d", "name": ID,
            "id": format!("/providers/Microsoft.Authorization/roleDefinitions/{ID}"), "permissions": permissions,
            "type": "Microsoft.Authorization/roleDefinitions", "assignableScopes": ["/subscriptions/s"]});
        let arm = json!({"name": ID, "properties": {"roleName": "Scorer", "type": "CustomRole", "description": "d",
            "permissions": permissions, "assignableScopes": ["/subscriptions/s"]}});
        let first = given(&flattened).unwrap();
        assert_eq!((first.id, first.name.as_str()), (Some(ID.parse().unwrap()), "Scorer"));
        assert_eq!(first.properties["permissions"], permissions);
        assert_eq!(given(&printed).unwrap(), first);
        assert_eq!(given(&arm).unwrap(), first);
        assert_eq!(
            shown(&arm)["roleType"],
            Value::Null,
            "without a type of its own, `type` is the definition's"
        );
    }

    #[test]
    fn what_is_wrong_is_told() {
        let scopes = json!(["/subscriptions/s"]);
        for (value, told) in [
            (json!([]), "an object"),
            (json!({"AssignableScopes": scopes}), "needs a Name"),
            (json!({"Name": "a", "Actions": []}), "needs AssignableScopes"),
            (json!({"Name": "a", "AssignableScopes": ["s"]}), "is not a scope"),
            (json!({"Name": "a", "AssignableScopes": scopes, "Action": []}), "no field is called `action`"),
            (json!({"Name": "a", "AssignableScopes": scopes, "Actions": "x"}), "lists of texts"),
            (json!({"Name": "a", "AssignableScopes": scopes, "Actions": [1]}), "lists of texts"),
        ] {
            let error = given(&value).unwrap_err();
            assert!(error.contains(told), "{told} is not in {error}");
        }
        assert!(read("@/nonexistent.json").unwrap_err().to_string().contains("/nonexistent.json"));
        assert!(read("{").unwrap_err().to_string().contains("line 1"));
    }
}
