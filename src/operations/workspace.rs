//! Workspaces: those that the settings make, and those that callers make.

use std::sync::Arc;

use super::{Granted, Operations, Precondition, Put, Refusal, Written};
use crate::model::resource::Resource;
use crate::model::scope::{Scope, WorkspaceRef};
use crate::model::workspace::Workspace;
use crate::store::{Manager, Stored};

/// A workspace, and what the store knows of it if it is there.
#[derive(Debug, Clone)]
pub struct Found {
    /// The workspace.
    pub workspace: Workspace,
    /// Its row in the store; the settings' workspaces have none.
    pub stored: Option<Arc<Stored>>,
}

impl Operations {
    /// A workspace by its id.
    pub fn workspace(&self, id: &Scope) -> Option<Found> {
        let stored = self.publisher.contents().get(id).cloned();
        if let Some(Stored { resource: Resource::Workspace(workspace), .. }) = stored.as_deref() {
            return Some(Found { workspace: workspace.clone(), stored });
        }
        let made =
            self.workspaces.iter().find(|workspace| workspace.place.scope().is_ok_and(|own| own == *id));
        made.map(|workspace| Found { workspace: workspace.clone(), stored: None })
    }

    /// Every workspace in a subscription or resource group, or everywhere, in the order of their ids.
    pub fn workspaces_in(&self, scope: &Scope) -> Vec<Found> {
        let contents = self.publisher.contents();
        let mut found: Vec<(Scope, Found)> = contents
            .below(scope)
            .filter_map(|(_, stored)| match &stored.resource {
                Resource::Workspace(workspace) => {
                    let found = Found { workspace: workspace.clone(), stored: Some(stored.clone()) };
                    Some((workspace.place.scope().ok()?, found))
                }
                _ => None,
            })
            .collect();
        for workspace in &self.workspaces {
            let Ok(id) = workspace.place.scope() else { continue };
            if scope.contains(&id) && !found.iter().any(|(known, _)| *known == id) {
                found.push((id, Found { workspace: workspace.clone(), stored: None }));
            }
        }
        found.sort_by(|(a, _), (b, _)| a.key().cmp(b.key()));
        found.into_iter().map(|(_, found)| found).collect()
    }

    /// The workspace of a granted operation; it has to be there.
    pub fn workspace_of(&self, place: &WorkspaceRef) -> Result<Workspace, Refusal> {
        let id = place.scope().map_err(|error| Refusal::invalid("workspace", error.to_string()))?;
        self.workspace(&id).map(|found| found.workspace).ok_or(Refusal::ParentNotFound(id))
    }

    /// Makes a workspace or describes it anew.
    pub async fn put_workspace(
        &self,
        granted: &Granted,
        workspace: Workspace,
        precondition: &Precondition,
    ) -> Result<Written, Refusal> {
        let before = self.stored(&granted.scope).await?;
        let expect = precondition.judge(before.as_deref())?;
        if before.is_none() && self.workspace(&granted.scope).is_some() {
            let message = "the workspace comes from the configuration file; change it there".to_owned();
            return Err(Refusal::Exists("ManagedByFiles", message));
        }
        let most = self.limits.workspaces;
        if before.is_none() && self.workspaces_in(&Scope::root()).len() >= most {
            return Err(Refusal::Limit(format!(
                "there are {most} workspaces, as many as `limits.workspaces` allows"
            )));
        }
        let put = Put { resource: Resource::Workspace(workspace), manager: Manager::Caller, expect };
        self.put(granted, put, precondition, Vec::new()).await
    }
}
