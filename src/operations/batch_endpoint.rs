//! Batch endpoints.

use std::sync::Arc;

use super::{Granted, Operations, Precondition, Put, Refusal, Written, not_from_files};
use crate::model::batch::BatchEndpoint;
use crate::model::resource::Resource;
use crate::model::scope::Scope;
use crate::store::{Change, Expect, Manager, Stored};

impl Operations {
    /// A batch endpoint from the store itself.
    pub async fn batch_endpoint(&self, id: &Scope) -> Result<Option<Arc<Stored>>, Refusal> {
        Ok(self.stored(id).await?.filter(|stored| stored.resource.batch_endpoint().is_some()))
    }

    /// Makes a batch endpoint or describes it anew. Its default has to be a deployment that is there.
    pub async fn put_batch_endpoint(
        &self,
        granted: &Granted,
        before: Option<Arc<Stored>>,
        endpoint: BatchEndpoint,
        precondition: &Precondition,
    ) -> Result<Written, Refusal> {
        let expect = precondition.judge(before.as_deref())?;
        self.workspace_of(&endpoint.workspace)?;
        let mut require = Vec::new();
        if let Some(name) = &endpoint.default_deployment {
            let deployment = granted.scope.deployment(name);
            if self.stored(&deployment).await?.is_none() {
                let problem = format!("there is no deployment `{name}`; make it before it is the default");
                return Err(Refusal::invalid("properties.defaults.deploymentName", problem));
            }
            require.push(Change::Require(deployment, Expect::Present));
        }
        match &before {
            Some(before) => not_from_files(before)?,
            None => self.room_for_endpoint()?,
        }
        let manager = before.as_ref().map_or(Manager::Caller, |stored| stored.manager);
        let put = Put { resource: Resource::BatchEndpoint(Box::new(endpoint)), manager, expect };
        self.put(granted, put, precondition, require).await
    }

    /// Removes a batch endpoint with its deployments and the grants at them. `false` if there was none.
    pub async fn delete_batch_endpoint(
        &self,
        granted: &Granted,
        precondition: &Precondition,
    ) -> Result<bool, Refusal> {
        let before = self.batch_endpoint(&granted.scope).await?;
        self.remove(granted, before.as_deref(), precondition, Vec::new()).await
    }

    /// Why a batch endpoint's keys cannot be told.
    pub async fn batch_keys(&self, granted: &Granted) -> Result<Refusal, Refusal> {
        let known = self.batch_endpoint(&granted.scope).await?;
        known.ok_or_else(|| Refusal::NotFound(granted.scope.clone()))?;
        let message = "a batch endpoint has no keys: its callers present Entra tokens (aad_token)".to_owned();
        Ok(Refusal::Rule("EndpointAuthModeMismatch", message))
    }
}
