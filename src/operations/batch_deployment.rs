//! Batch deployments.

use std::sync::Arc;

use super::deployment::within;
use super::{Granted, Operations, Precondition, Put, Refusal, Written, not_from_files};
use crate::model::batch::BatchDeployment;
use crate::model::resource::Resource;
use crate::model::scope::Scope;
use crate::store::{Change, Expect, Manager, Stored};

/// The id of the endpoint that a deployment stands behind.
fn endpoint_of(deployment: &BatchDeployment) -> Result<Scope, Refusal> {
    let serving = &deployment.serving;
    let workspace = serving.workspace.scope();
    let workspace = workspace.map_err(|error| Refusal::invalid("name", error.to_string()))?;
    Ok(workspace.batch_endpoint(&serving.endpoint))
}

impl Operations {
    /// A batch deployment from the store itself.
    pub async fn batch_deployment(&self, id: &Scope) -> Result<Option<Arc<Stored>>, Refusal> {
        Ok(self.stored(id).await?.filter(|stored| stored.resource.batch_deployment().is_some()))
    }

    /// Makes a batch deployment or describes it anew.
    pub async fn put_batch_deployment(
        &self,
        granted: &Granted,
        before: Option<Arc<Stored>>,
        deployment: BatchDeployment,
        precondition: &Precondition,
    ) -> Result<Written, Refusal> {
        let expect = precondition.judge(before.as_deref())?;
        let serving = &deployment.serving;
        let endpoint = endpoint_of(&deployment)?;
        let parent =
            self.batch_endpoint(&endpoint).await?.ok_or_else(|| Refusal::ParentNotFound(endpoint.clone()))?;
        not_from_files(&parent)?;
        if let Some(before) = &before {
            not_from_files(before)?;
        }
        self.may_reach(serving)?;
        let most = ("batch_timeout_max", self.limits.batch_timeout_max);
        within("properties.retrySettings.timeout", deployment.settings.timeout, most)?;
        self.within_limits(&endpoint, before.is_none(), serving)?;
        let usable = self.publisher.check(serving);
        usable.map_err(|error| Refusal::invalid("properties.properties", error.to_string()))?;
        let manager = before.as_ref().map_or(Manager::Caller, |stored| stored.manager);
        let put = Put { resource: Resource::BatchDeployment(Box::new(deployment)), manager, expect };
        self.put(granted, put, precondition, vec![Change::Require(endpoint, Expect::Present)]).await
    }

    /// Removes a batch deployment that is not its endpoint's default. `false` if there was none.
    pub async fn delete_batch_deployment(
        &self,
        granted: &Granted,
        precondition: &Precondition,
    ) -> Result<bool, Refusal> {
        let before = self.batch_deployment(&granted.scope).await?;
        precondition.judge(before.as_deref())?;
        let known = before.as_deref().and_then(|stored| Some((stored, stored.resource.batch_deployment()?)));
        let Some((stored, deployment)) = known else { return Ok(false) };
        not_from_files(stored)?;
        let endpoint = endpoint_of(deployment)?;
        let name = &deployment.serving.name;
        let mut require = Vec::new();
        if let Some(parent) = self.batch_endpoint(&endpoint).await? {
            let described = parent.resource.batch_endpoint();
            let default = described.and_then(|endpoint| endpoint.default_deployment.as_ref());
            if default == Some(name) {
                let message = format!(
                    "deployment `{name}` is the endpoint's default; make another the default first, or none"
                );
                return Err(Refusal::Rule("DeploymentIsDefault", message));
            }
            require.push(Change::Require(endpoint, Expect::At(parent.revision)));
        }
        self.remove(granted, before.as_deref(), precondition, require).await
    }
}
