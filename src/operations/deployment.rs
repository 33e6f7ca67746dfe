//! Online deployments.

use std::sync::Arc;

use super::endpoint::deployments_of;
use super::{Granted, Operations, Precondition, Put, Refusal, Written, not_from_files};
use crate::model::deployment::Deployment;
use crate::model::resource::Resource;
use crate::model::scope::Scope;
use crate::store::{Change, Expect, Manager, Stored};

impl Operations {
    /// A deployment from the store itself.
    pub async fn deployment(&self, id: &Scope) -> Result<Option<Arc<Stored>>, Refusal> {
        Ok(self.stored(id).await?.filter(|stored| stored.resource.deployment().is_some()))
    }

    /// Makes a deployment or describes it anew.
    pub async fn put_deployment(
        &self,
        granted: &Granted,
        before: Option<Arc<Stored>>,
        deployment: Deployment,
        precondition: &Precondition,
    ) -> Result<Written, Refusal> {
        let expect = precondition.judge(before.as_deref())?;
        let wrong = |error: crate::model::scope::ScopeError| Refusal::invalid("name", error.to_string());
        let endpoint = deployment.workspace.scope().map_err(wrong)?.online_endpoint(&deployment.endpoint);
        let parent =
            self.endpoint(&endpoint).await?.ok_or_else(|| Refusal::ParentNotFound(endpoint.clone()))?;
        not_from_files(&parent)?;
        if let Some(before) = &before {
            not_from_files(before)?;
        }
        self.may_reach(&deployment)?;
        self.within_limits(&endpoint, before.is_none(), &deployment)?;
        let usable = self.publisher.check(&deployment);
        usable.map_err(|error| Refusal::invalid("properties.properties", error.to_string()))?;
        let manager = before.as_ref().map_or(Manager::Caller, |stored| stored.manager);
        let put = Put { resource: Resource::Deployment(Box::new(deployment)), manager, expect };
        self.put(granted, put, precondition, vec![Change::Require(endpoint, Expect::Present)]).await
    }

    /// Removes a deployment that has no traffic. `false` if there was none.
    pub async fn delete_deployment(
        &self,
        granted: &Granted,
        precondition: &Precondition,
    ) -> Result<bool, Refusal> {
        let before = self.deployment(&granted.scope).await?;
        let expect = precondition.judge(before.as_deref())?;
        let Some(before) = before else { return Ok(false) };
        not_from_files(&before)?;
        let Some(deployment) = before.resource.deployment() else { return Ok(false) };
        let endpoint = deployment.workspace.scope().map(|scope| scope.online_endpoint(&deployment.endpoint));
        let endpoint = endpoint.map_err(|error| Refusal::invalid("name", error.to_string()))?;
        let mut changes = vec![Change::DeleteTree(granted.scope.clone(), expect)];
        if let Some(parent) = self.endpoint(&endpoint).await? {
            let share = parent
                .resource
                .endpoint()
                .map_or(0, |endpoint| endpoint.spec.traffic.share(&deployment.name));
            let shadow = parent.resource.endpoint().and_then(|endpoint| endpoint.spec.mirror.as_ref());
            if share > 0 {
                return Err(Refusal::Rule(
                    "DeploymentHasTraffic",
                    format!(
                        "deployment `{}` has {share} % of the traffic; give that to others first",
                        deployment.name
                    ),
                ));
            }
            if shadow.is_some_and(|mirror| mirror.deployment == deployment.name) {
                return Err(Refusal::Rule(
                    "DeploymentHasTraffic",
                    format!("deployment `{}` gets mirrored traffic; end that first", deployment.name),
                ));
            }
            changes.push(Change::Require(endpoint, Expect::At(parent.revision)));
        }
        self.commit(granted, changes).await.map_err(|refusal| refusal.under(precondition))?;
        Ok(true)
    }

    /// Whether callers of the API may have requests sent there: files of roots only from the operator's list, and no
    /// address at which a cloud gives its secrets to whoever asks.
    fn may_reach(&self, deployment: &Deployment) -> Result<(), Refusal> {
        const FIELD: &str = "properties.properties";
        let backend = &deployment.backend;
        if backend.ca_file.as_ref().is_some_and(|file| !self.instance_roots.contains(file)) {
            let problem = "`ca_file` is not listed under `instance_roots` in the configuration";
            return Err(Refusal::invalid(FIELD, problem));
        }
        match backend.urls.iter().find(|url| url.is_off_limits()) {
            Some(url) => {
                let problem =
                    format!("`{}` is a link-local, metadata or multicast address", String::from(url.clone()));
                Err(Refusal::invalid(FIELD, problem))
            }
            None => Ok(()),
        }
    }

    fn within_limits(&self, endpoint: &Scope, new: bool, deployment: &Deployment) -> Result<(), Refusal> {
        let limits = &self.limits;
        let there = deployments_of(&self.publisher.contents(), endpoint).count();
        if new && there >= limits.deployments_per_endpoint {
            let most = limits.deployments_per_endpoint;
            let message = format!(
                "the endpoint has {there} deployments and `limits.deployments_per_endpoint` is {most}"
            );
            return Err(Refusal::Limit(message));
        }
        let (instances, most) = (deployment.backend.urls.len(), limits.instances_per_deployment);
        let wanted = deployment.workload.instance_count.map_or(instances, |count| count as usize);
        if instances.max(wanted) > most {
            let named = instances.max(wanted);
            return Err(Refusal::Limit(format!(
                "{named} instances are more than `limits.instances_per_deployment`, which is {most}"
            )));
        }
        let (asked, most) = (deployment.request_settings.request_timeout, limits.request_timeout_max);
        if asked > most {
            let problem =
                format!("is longer than {most:?}, the most that `limits.request_timeout_max` allows");
            return Err(Refusal::invalid("properties.requestSettings.requestTimeout", problem));
        }
        Ok(())
    }
}
