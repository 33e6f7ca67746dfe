//! Online endpoints.

use std::sync::Arc;

use uuid::Uuid;

use super::{Granted, Operations, Precondition, Put, Refusal, Written, not_from_files};
use crate::arm::endpoint::GivenKeys;
use crate::identity::endpoint_key;
use crate::identity::vault::VaultError;
use crate::model::endpoint::{Endpoint, EndpointKeys, EndpointSpec};
use crate::model::names::DeploymentName;
use crate::model::resource::Resource;
use crate::model::scope::Scope;
use crate::store::{Change, Contents, Expect, Manager, Stored};

impl From<VaultError> for Refusal {
    fn from(error: VaultError) -> Refusal {
        tracing::error!(%error, "the vault failed");
        Refusal::Defect
    }
}

/// Deployments of an endpoint of either kind, in the order of their names.
pub fn deployments_of<'a>(
    contents: &'a Contents,
    endpoint: &Scope,
) -> impl Iterator<Item = &'a Arc<Stored>> + use<'a> {
    let below: Vec<_> = contents.below(endpoint).map(|(_, stored)| stored).collect();
    let is_one = |stored: &&Arc<Stored>| {
        matches!(stored.resource, Resource::Deployment(_) | Resource::BatchDeployment(_))
    };
    below.into_iter().filter(is_one)
}

impl Operations {
    /// An endpoint from the store itself.
    pub async fn endpoint(&self, id: &Scope) -> Result<Option<Arc<Stored>>, Refusal> {
        Ok(self.stored(id).await?.filter(|stored| stored.resource.endpoint().is_some()))
    }

    /// Makes an endpoint or describes it anew. Traffic may go only to deployments that are there.
    pub async fn put_endpoint(
        &self,
        granted: &Granted,
        before: Option<Arc<Stored>>,
        (spec, given): (EndpointSpec, GivenKeys),
        precondition: &Precondition,
    ) -> Result<Written, Refusal> {
        let expect = precondition.judge(before.as_deref())?;
        self.workspace_of(&spec.workspace)?;
        let id = &granted.scope;
        let named = spec.traffic.shares().filter(|(_, share)| *share > 0).map(|(name, _)| name);
        let named: Vec<(&'static str, DeploymentName)> = named
            .map(|name| ("properties.traffic", name.clone()))
            .chain(spec.mirror.iter().map(|mirror| ("properties.mirrorTraffic", mirror.deployment.clone())))
            .collect();
        let mut require = Vec::new();
        for (field, name) in named {
            let deployment = id.deployment(&name);
            if self.stored(&deployment).await?.is_none() {
                let problem = format!("there is no deployment `{name}`; make it before it gets traffic");
                return Err(Refusal::invalid(field, problem));
            }
            require.push(Change::Require(deployment, Expect::Present));
        }
        let known = before.as_deref().and_then(|stored| Some((stored, stored.resource.endpoint()?)));
        let (endpoint, manager) = if let Some((stored, known)) = known {
            not_from_files(stored)?;
            (known.described(spec, Uuid::new_v4()), stored.manager)
        } else {
            self.room_for_endpoint()?;
            let keys = self.keys(id, given)?;
            (Endpoint { spec, keys, token_epoch: Uuid::new_v4() }, Manager::Caller)
        };
        let put = Put { resource: Resource::Endpoint(Box::new(endpoint)), manager, expect };
        self.put(granted, put, precondition, require).await
    }

    /// Changes labels and identity, and nothing that needs checking.
    pub async fn patch_endpoint(
        &self,
        granted: &Granted,
        before: &Stored,
        spec: EndpointSpec,
        precondition: &Precondition,
    ) -> Result<Written, Refusal> {
        let expect = precondition.judge(Some(before))?;
        not_from_files(before)?;
        let known = before.resource.endpoint().ok_or_else(|| Refusal::NotFound(granted.scope.clone()))?;
        let resource = Resource::Endpoint(Box::new(known.described(spec, Uuid::new_v4())));
        self.put(granted, Put { resource, manager: before.manager, expect }, precondition, Vec::new()).await
    }

    /// Removes an endpoint with its deployments and the grants at them. `false` if there was none.
    pub async fn delete_endpoint(
        &self,
        granted: &Granted,
        precondition: &Precondition,
    ) -> Result<bool, Refusal> {
        let before = self.endpoint(&granted.scope).await?;
        self.remove(granted, before.as_deref(), precondition, Vec::new()).await
    }

    /// Refuses one more endpoint, of either kind, than there may be.
    pub(super) fn room_for_endpoint(&self) -> Result<(), Refusal> {
        let (most, there) = (self.limits.endpoints, self.snapshot()?.endpoints.len());
        if there < most {
            return Ok(());
        }
        Err(Refusal::Limit(format!("there are {there} endpoints and `limits.endpoints` is {most}")))
    }

    fn keys(&self, id: &Scope, given: GivenKeys) -> Result<EndpointKeys, Refusal> {
        let mut keys = endpoint_key::generate_pair(&self.vault, id)?;
        if let Some(key) = given.primary {
            keys.primary = endpoint_key::store(&self.vault, id, "primary", &key)?;
        }
        if let Some(key) = given.secondary {
            keys.secondary = endpoint_key::store(&self.vault, id, "secondary", &key)?;
        }
        Ok(keys)
    }
}
