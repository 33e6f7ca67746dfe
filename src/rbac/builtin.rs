//! Azure's built-in roles that matter here, with Azure's ids ("Azure built-in roles").

use uuid::{Uuid, uuid};

use crate::model::role::{Permission, RoleDefinition};
use crate::model::scope::Scope;

/// A built-in role as a row of a table.
struct Row {
    id: Uuid,
    name: &'static str,
    description: &'static str,
    actions: &'static [&'static str],
    not_actions: &'static [&'static str],
    data_actions: &'static [&'static str],
}

/// Owner.
pub const OWNER: Uuid = uuid!("8e3af657-a8ff-443c-a75c-2fe8c4bcb635");
/// AzureML Data Scientist.
pub const DATA_SCIENTIST: Uuid = uuid!("f6c7c914-8db3-469d-8ca1-694a8f32e121");

const TABLE: &[Row] = &[
    Row {
        id: OWNER,
        name: "Owner",
        description: "Full access to all resources, including the right to assign roles.",
        actions: &["*"],
        not_actions: &[],
        data_actions: &[],
    },
    Row {
        id: uuid!("b24988ac-6180-42a0-ab88-20f7382dd24c"),
        name: "Contributor",
        description: "Full access to all resources, without the right to assign roles.",
        actions: &["*"],
        not_actions: &[
            "Microsoft.Authorization/*/Delete",
            "Microsoft.Authorization/*/Write",
            "Microsoft.Authorization/elevateAccess/Action",
            "Microsoft.Blueprint/blueprintAssignments/write",
            "Microsoft.Blueprint/blueprintAssignments/delete",
            "Microsoft.Compute/galleries/share/action",
            "Microsoft.Purview/consents/write",
            "Microsoft.Purview/consents/delete",
            "Microsoft.Resources/deploymentStacks/manageDenySetting/action",
            "Microsoft.Subscription/cancel/action",
            "Microsoft.Subscription/enable/action",
        ],
        data_actions: &[],
    },
    Row {
        id: uuid!("acdd72a7-3385-48ef-bd42-f606fba81ae7"),
        name: "Reader",
        description: "Sees all resources and changes none.",
        actions: &["*/read"],
        not_actions: &[],
        data_actions: &[],
    },
    Row {
        id: uuid!("18d7d88d-d35e-4fb5-a5c3-7773c20a72d9"),
        name: "User Access Administrator",
        description: "Manages access to resources.",
        actions: &["*/read", "Microsoft.Authorization/*", "Microsoft.Support/*"],
        not_actions: &[],
        data_actions: &[],
    },
    Row {
        id: uuid!("f58310d9-a9f6-439a-9e8d-f62e7b41a168"),
        name: "Role Based Access Control Administrator",
        description: "Assigns and removes roles.",
        actions: &[
            "Microsoft.Authorization/roleAssignments/write",
            "Microsoft.Authorization/roleAssignments/delete",
            "*/read",
            "Microsoft.Support/*",
        ],
        not_actions: &[],
        data_actions: &[],
    },
    Row {
        id: DATA_SCIENTIST,
        name: "AzureML Data Scientist",
        description: "Does everything in a workspace except create or delete it, its computes and its hubs.",
        actions: &[
            "Microsoft.MachineLearningServices/workspaces/*/read",
            "Microsoft.MachineLearningServices/workspaces/*/action",
            "Microsoft.MachineLearningServices/workspaces/*/delete",
            "Microsoft.MachineLearningServices/workspaces/*/write",
        ],
        not_actions: &[
            "Microsoft.MachineLearningServices/workspaces/delete",
            "Microsoft.MachineLearningServices/workspaces/write",
            "Microsoft.MachineLearningServices/workspaces/computes/*/write",
            "Microsoft.MachineLearningServices/workspaces/computes/*/delete",
            "Microsoft.MachineLearningServices/workspaces/computes/listKeys/action",
            "Microsoft.MachineLearningServices/workspaces/listKeys/action",
            "Microsoft.MachineLearningServices/workspaces/hubs/write",
            "Microsoft.MachineLearningServices/workspaces/hubs/delete",
            "Microsoft.MachineLearningServices/workspaces/featurestores/write",
            "Microsoft.MachineLearningServices/workspaces/featurestores/delete",
        ],
        data_actions: &[],
    },
    Row {
        id: uuid!("e503ece1-11d0-4e8e-8e2c-7a6c3bf38815"),
        name: "AzureML Compute Operator",
        description: "Manages computes and notebook machines.",
        actions: &[
            "Microsoft.MachineLearningServices/workspaces/computes/*",
            "Microsoft.MachineLearningServices/workspaces/notebooks/vm/*",
        ],
        not_actions: &[],
        data_actions: &[],
    },
    Row {
        id: uuid!("64702f94-c441-49e6-a78b-ef80e0188fee"),
        name: "Azure AI Developer",
        description: "Does everything in an AI resource except manage the resource itself.",
        actions: &[
            "Microsoft.MachineLearningServices/workspaces/*/read",
            "Microsoft.MachineLearningServices/workspaces/*/action",
            "Microsoft.MachineLearningServices/workspaces/*/delete",
            "Microsoft.MachineLearningServices/workspaces/*/write",
            "Microsoft.MachineLearningServices/locations/*/read",
            "Microsoft.Authorization/*/read",
            "Microsoft.Resources/deployments/*",
        ],
        not_actions: &[
            "Microsoft.MachineLearningServices/workspaces/delete",
            "Microsoft.MachineLearningServices/workspaces/write",
            "Microsoft.MachineLearningServices/workspaces/listKeys/action",
            "Microsoft.MachineLearningServices/workspaces/hubs/write",
            "Microsoft.MachineLearningServices/workspaces/hubs/delete",
            "Microsoft.MachineLearningServices/workspaces/featurestores/write",
            "Microsoft.MachineLearningServices/workspaces/featurestores/delete",
            "Microsoft.MachineLearningServices/workspaces/evaluations/results/labels/read",
            "Microsoft.MachineLearningServices/workspaces/evaluations/results/reasonings/read",
            "Microsoft.MachineLearningServices/workspaces/simulations/results/images/read",
        ],
        data_actions: &[
            "Microsoft.CognitiveServices/accounts/OpenAI/*",
            "Microsoft.CognitiveServices/accounts/SpeechServices/*",
            "Microsoft.CognitiveServices/accounts/ContentSafety/*",
            "Microsoft.CognitiveServices/accounts/MaaS/*",
        ],
    },
    Row {
        id: uuid!("ea01e6af-a1c1-4350-9563-ad00f8c72ec5"),
        name: "Azure Machine Learning Workspace Connection Secrets Reader",
        description: "Reads the secrets of workspace connections.",
        actions: &[
            "Microsoft.MachineLearningServices/workspaces/connections/listsecrets/action",
            "Microsoft.MachineLearningServices/workspaces/metadata/secrets/read",
        ],
        not_actions: &[],
        data_actions: &[],
    },
    Row {
        id: uuid!("1823dd4f-9b8c-4ab6-ab4e-7397a3684615"),
        name: "AzureML Registry User",
        description: "Uses the assets of a registry.",
        actions: &[
            "Microsoft.MachineLearningServices/registries/read",
            "Microsoft.MachineLearningServices/registries/assets/*",
        ],
        not_actions: &[],
        data_actions: &[],
    },
];

/// The built-in roles.
pub fn roles() -> Vec<RoleDefinition> {
    let owned = |patterns: &[&str]| patterns.iter().map(ToString::to_string).collect();
    TABLE
        .iter()
        .map(|row| RoleDefinition {
            id: row.id,
            role_name: row.name.to_owned(),
            description: row.description.to_owned(),
            permissions: vec![Permission {
                actions: owned(row.actions),
                not_actions: owned(row.not_actions),
                data_actions: owned(row.data_actions),
                not_data_actions: Vec::new(),
            }],
            assignable_scopes: vec![Scope::root()],
        })
        .collect()
}

/// Whether a role of this GUID is built in.
pub fn is_builtin(id: Uuid) -> bool {
    TABLE.iter().any(|row| row.id == id)
}

/// The built-in role of that name, in any case.
pub fn by_name(name: &str) -> Option<Uuid> {
    TABLE.iter().find(|row| row.name.eq_ignore_ascii_case(name)).map(|row| row.id)
}
