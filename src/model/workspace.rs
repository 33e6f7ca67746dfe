//! Workspaces: the scope above endpoints.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::scope::WorkspaceRef;

/// A workspace. On one's own machines it is little more than a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workspace {
    /// Its three names.
    pub place: WorkspaceRef,
    /// Azure's region; free text here.
    pub location: String,
    /// The name shown to people.
    #[serde(default)]
    pub friendly_name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// The user's labels.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}
