//! Models and environments, kept to be referred to.

use std::sync::Arc;

use super::{Granted, Operations, Precondition, Put, Refusal, Written};
use crate::model::asset::{Asset, Routes};
use crate::model::resource::Resource;
use crate::model::scope::{Scope, WorkspaceRef};
use crate::store::{Manager, Stored};

impl Operations {
    /// Keeps a version of a model or an environment.
    pub async fn put_asset(
        &self,
        granted: &Granted,
        workspace: &WorkspaceRef,
        asset: Asset,
        precondition: &Precondition,
    ) -> Result<Written, Refusal> {
        self.workspace_of(workspace)?;
        let before = self.stored(&granted.scope).await?;
        let expect = precondition.judge(before.as_deref())?;
        let most = self.limits.assets;
        if before.is_none() && self.assets_below(&Scope::root()).len() >= most {
            return Err(Refusal::Limit(format!(
                "there are {most} versions, as many as `limits.assets` allows"
            )));
        }
        let put = Put { resource: Resource::Asset(asset), manager: Manager::Caller, expect };
        self.put(granted, put, precondition, Vec::new()).await
    }

    /// Versions of models or environments below a scope.
    pub fn assets_below(&self, scope: &Scope) -> Vec<(String, Arc<Stored>)> {
        let contents = self.publisher.contents();
        let each = contents.below(scope).filter(|(_, stored)| stored.resource.asset().is_some());
        each.map(|(key, stored)| (key.to_owned(), stored.clone())).collect()
    }

    /// The routes of an environment by its id; none if it is not known.
    pub fn routes_of_environment(&self, id: &str) -> Routes {
        let contents = self.publisher.contents();
        let asset = id.parse().ok().and_then(|id: Scope| contents.get(&id)?.resource.asset());
        asset.map(Asset::routes).unwrap_or_default()
    }
}
