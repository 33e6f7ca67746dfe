//! Role definitions, role assignments, deny assignments and permissions (`Microsoft.Authorization`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::forms::Form;
use crate::model::audit::{Actor, System};
use crate::model::role::{
    DenyAssignment, Permission, PrincipalId, PrincipalType, RoleAssignment, RoleDefinition,
};
use crate::model::scope::Scope;
use crate::rbac::{ActionPattern, builtin};

/// Longest name, description and condition, in characters (Azure RBAC limits).
const NAME: usize = 512;
const DESCRIPTION: usize = 2 * 1024;
const CONDITION: usize = 8 * 1024;
/// The most permissions of a role, and patterns in each list of one.
const PERMISSIONS: usize = 20;
const PATTERNS: usize = 1_000;
/// The most scopes a role can be assignable at (Azure RBAC limits).
const SCOPES: usize = 2_000;

fn bounded(form: &Form<'_>, key: &'static str, most: usize) -> Option<String> {
    let text = form.value::<String>(key, "").optional()?;
    if text.chars().count() > most {
        form.wrong(key, format!("is longer than {most} characters"), None);
    }
    Some(text)
}

/// The GUID at the end of a role definition's id, which is what counts of it.
pub fn role_guid(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text.trim_end_matches('/').rsplit('/').next()?).ok()
}

/// Reads the body of a role assignment's PUT.
pub fn read_assignment(form: &Form<'_>, id: Uuid, scope: &Scope) -> Option<RoleAssignment> {
    form.section("properties", "", |f| {
        let role = f
            .value::<String>("roleDefinitionId", "Id of a role definition; its last GUID counts.")
            .required("/providers/Microsoft.Authorization/roleDefinitions/{guid}");
        let role = role.and_then(|text| {
            let guid = role_guid(&text);
            if guid.is_none() {
                f.wrong("roleDefinitionId", "does not end in a role's GUID", None);
            }
            guid
        });
        let principal = f
            .value::<Uuid>("principalId", "Object id of a user, group or service principal.")
            .required("give an object id, not an application id");
        if principal.is_some_and(|id| id.is_nil()) {
            f.wrong("principalId", "is the nil GUID, which nobody has", None);
        }
        let principal_type = f.one_of("principalType", "What the principal is.", &PrincipalType::ALL);
        f.one_of("conditionVersion", "2.0.", &[("2.0", ())]).or(());
        let principal_type = principal_type.or(PrincipalType::User);
        let condition = bounded(f, "condition", CONDITION).filter(|text| !text.trim().is_empty());
        let description = bounded(f, "description", DESCRIPTION).unwrap_or_default();
        let (role, principal) = (role?, PrincipalId(principal?));
        Some(RoleAssignment {
            id,
            scope: scope.clone(),
            role,
            principal,
            principal_type,
            condition,
            description,
        })
    })
}

/// The body of a PUT that makes a grant.
pub fn assignment_body(grant: &RoleAssignment) -> Value {
    json!({"properties": {
        "roleDefinitionId": definition_id(grant.role),
        "principalId": grant.principal,
        "principalType": grant.principal_type.as_str(),
        "description": grant.description,
        "condition": grant.condition,
    }})
}

fn permission(form: &Form<'_>) -> Permission {
    let list = |key| {
        let patterns = form.values::<String>(key, "Patterns such as */read.").unwrap_or_default();
        if patterns.len() > PATTERNS {
            form.wrong(key, format!("names {} patterns; at most {PATTERNS} are kept", patterns.len()), None);
        }
        for pattern in &patterns {
            if let Err(error) = ActionPattern::parse(pattern) {
                form.wrong(key, error.to_string(), None);
            }
        }
        patterns
    };
    let permission = Permission {
        actions: list("actions"),
        not_actions: list("notActions"),
        data_actions: list("dataActions"),
        not_data_actions: list("notDataActions"),
    };
    if permission.actions.is_empty() && permission.data_actions.is_empty() {
        form.wrong("actions", "names no action", Some("give at least one action or data action"));
    }
    permission
}

/// Reads the body of a custom role's PUT.
pub fn read_definition(form: &Form<'_>, id: Uuid) -> Option<RoleDefinition> {
    for key in ["name", "id"] {
        // Clients write the id under a scope of theirs, so its GUID is what counts.
        if form.value::<String>(key, "Its GUID.").optional().is_some_and(|text| role_guid(&text) != Some(id))
        {
            form.wrong(key, "is not the GUID in the path", None);
        }
    }
    form.section("properties", "", |f| {
        let given =
            f.value::<String>("roleName", "The name shown to people.").required("give the role a name");
        if given.as_ref().is_some_and(|name| name.trim().is_empty() || name.chars().count() > NAME) {
            f.wrong("roleName", format!("has no letter, or more than {NAME}"), None);
        }
        let kinds = [("CustomRole", ()), ("BuiltInRole", ())];
        f.one_of("type", "CustomRole.", &kinds).or(());
        f.needs("permissions");
        f.needs("assignableScopes");
        let permissions = f.list("permissions", "What the role grants.", permission);
        if permissions.len() > PERMISSIONS {
            f.wrong("permissions", format!("has more than {PERMISSIONS} entries"), None);
        }
        if permissions.is_empty() {
            f.wrong("permissions", "is missing", Some(r#"[{"actions": ["*/read"]}]"#));
        }
        let scopes = f.values::<Scope>("assignableScopes", "Where it may be assigned.").unwrap_or_default();
        if scopes.is_empty() || scopes.len() > SCOPES {
            f.wrong("assignableScopes", format!("names {} scopes, not 1 to {SCOPES}", scopes.len()), None);
        }
        let description = bounded(f, "description", DESCRIPTION).unwrap_or_default();
        let role_name = given?;
        if builtin::by_name(&role_name).is_some() {
            f.wrong("roleName", format!("`{role_name}` is the name of a built-in role"), None);
        }
        Some(RoleDefinition { id, role_name, description, permissions, assignable_scopes: scopes })
    })
}

/// The body of a PUT that makes a custom role.
pub fn definition_body(role: &RoleDefinition) -> Value {
    json!({"properties": {
        "roleName": role.role_name,
        "description": role.description,
        "type": "CustomRole",
        "permissions": role.permissions,
        "assignableScopes": role.assignable_scopes,
    }})
}

fn definition_id(role: Uuid) -> String {
    format!("/providers/Microsoft.Authorization/roleDefinitions/{role}")
}

fn who(actor: &Actor) -> String {
    actor.object_id.map_or_else(|| actor.kind.clone(), |principal| principal.to_string())
}

/// A role assignment as ARM shows it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AssignmentView {
    pub id: String,
    pub name: String,
    #[serde(rename = "type")]
    kind_of: String,
    pub properties: AssignmentProperties,
}

/// Its properties.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssignmentProperties {
    pub role_definition_id: String,
    pub principal_id: String,
    pub principal_type: String,
    pub scope: String,
    pub description: Option<String>,
    pub condition: Option<String>,
    condition_version: Option<String>,
    pub created_on: Option<String>,
    updated_on: Option<String>,
    created_by: Option<String>,
    updated_by: Option<String>,
    delegated_managed_identity_resource_id: Option<String>,
}

/// A grant as ARM shows it; one that the settings make has nobody who made it.
pub fn assignment_view(grant: &RoleAssignment, system: Option<&System>) -> AssignmentView {
    AssignmentView {
        id: grant.own_scope().to_string(),
        name: grant.id.to_string(),
        kind_of: "Microsoft.Authorization/roleAssignments".to_owned(),
        properties: AssignmentProperties {
            role_definition_id: definition_id(grant.role),
            principal_id: grant.principal.to_string(),
            principal_type: grant.principal_type.as_str().to_owned(),
            scope: grant.scope.to_string(),
            description: (!grant.description.is_empty()).then(|| grant.description.clone()),
            condition_version: grant.condition.is_some().then(|| "2.0".to_owned()),
            condition: grant.condition.clone(),
            created_on: system.map(|system| system.created_at.clone()),
            updated_on: system.map(|system| system.modified_at.clone()),
            created_by: system.map(|system| who(&system.created_by)),
            updated_by: system.map(|system| who(&system.modified_by)),
            delegated_managed_identity_resource_id: None,
        },
    }
}

/// A role definition as ARM shows it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DefinitionView {
    pub id: String,
    pub name: String,
    #[serde(rename = "type")]
    kind_of: String,
    pub properties: DefinitionProperties,
}

/// Its properties.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DefinitionProperties {
    pub role_name: String,
    pub description: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub permissions: Vec<PermissionView>,
    pub assignable_scopes: Vec<String>,
    created_on: Option<String>,
    updated_on: Option<String>,
    created_by: Option<String>,
    updated_by: Option<String>,
}

/// Actions that are granted, less those that are not.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PermissionView {
    pub actions: Vec<String>,
    pub not_actions: Vec<String>,
    pub data_actions: Vec<String>,
    pub not_data_actions: Vec<String>,
}

/// A permission as ARM shows it.
pub fn permission_view(permission: &Permission) -> PermissionView {
    PermissionView {
        actions: permission.actions.clone(),
        not_actions: permission.not_actions.clone(),
        data_actions: permission.data_actions.clone(),
        not_data_actions: permission.not_data_actions.clone(),
    }
}

/// A role as ARM shows it; a built-in one has nobody who made it.
pub fn definition_view(role: &RoleDefinition, system: Option<&System>) -> DefinitionView {
    let kind = if builtin::is_builtin(role.id) { "BuiltInRole" } else { "CustomRole" };
    DefinitionView {
        id: definition_id(role.id),
        name: role.id.to_string(),
        kind_of: "Microsoft.Authorization/roleDefinitions".to_owned(),
        properties: DefinitionProperties {
            role_name: role.role_name.clone(),
            description: role.description.clone(),
            kind: kind.to_owned(),
            permissions: role.permissions.iter().map(permission_view).collect(),
            assignable_scopes: role.assignable_scopes.iter().map(ToString::to_string).collect(),
            created_on: system.map(|system| system.created_at.clone()),
            updated_on: system.map(|system| system.modified_at.clone()),
            created_by: system.map(|system| who(&system.created_by)),
            updated_by: system.map(|system| who(&system.modified_by)),
        },
    }
}

/// A deny assignment as ARM shows it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DenialView {
    id: String,
    name: String,
    #[serde(rename = "type")]
    kind_of: String,
    properties: DenialProperties,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct DenialProperties {
    deny_assignment_name: String,
    permissions: Vec<PermissionView>,
    scope: String,
    do_not_apply_to_child_scopes: bool,
    principals: Vec<DeniedPrincipal>,
    exclude_principals: Vec<DeniedPrincipal>,
    is_system_protected: bool,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct DeniedPrincipal {
    id: String,
    #[serde(rename = "type")]
    kind: String,
}

/// A refusal as ARM shows it.
pub fn denial_view(denial: &DenyAssignment) -> DenialView {
    let each = |principals: &[PrincipalId]| {
        let one = |principal: &PrincipalId| DeniedPrincipal {
            id: principal.to_string(),
            kind: if *principal == PrincipalId::EVERYONE { "SystemDefined" } else { "User" }.to_owned(),
        };
        principals.iter().map(one).collect()
    };
    DenialView {
        id: denial.scope.authorization("denyAssignments", &denial.id.to_string()).to_string(),
        name: denial.id.to_string(),
        kind_of: "Microsoft.Authorization/denyAssignments".to_owned(),
        properties: DenialProperties {
            deny_assignment_name: denial.name.clone(),
            permissions: denial.permissions.iter().map(permission_view).collect(),
            scope: denial.scope.to_string(),
            do_not_apply_to_child_scopes: denial.do_not_apply_to_child_scopes,
            principals: each(&denial.principals),
            exclude_principals: each(&denial.exclude_principals),
            is_system_protected: false,
        },
    }
}
