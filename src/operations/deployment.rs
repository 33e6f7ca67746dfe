//! Online deployments.

use std::sync::Arc;
use std::time::Duration;

use super::endpoint::deployments_of;
use super::{Granted, Operations, Precondition, Put, Refusal, Written, not_from_files};
use crate::arm::deployment::InstanceView;
use crate::model::backend::Origin;
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
        let (field, most) = (
            "properties.requestSettings.requestTimeout",
            ("request_timeout_max", self.limits.request_timeout_max),
        );
        within(field, deployment.request_settings.request_timeout, most)?;
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
        precondition.judge(before.as_deref())?;
        let known = before.as_deref().and_then(|stored| Some((stored, stored.resource.deployment()?)));
        let Some((stored, deployment)) = known else { return Ok(false) };
        not_from_files(stored)?;
        let endpoint = deployment.workspace.scope().map(|scope| scope.online_endpoint(&deployment.endpoint));
        let endpoint = endpoint.map_err(|error| Refusal::invalid("name", error.to_string()))?;
        let mut require = Vec::new();
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
            require.push(Change::Require(endpoint, Expect::At(parent.revision)));
        }
        self.remove(granted, before.as_deref(), precondition, require).await
    }

    /// How the instances of a deployment are doing.
    pub fn instances_of(&self, deployment: &Deployment) -> Vec<InstanceView> {
        let snapshot = self.publisher.cell().load();
        let route = snapshot.endpoints.get(deployment.endpoint.key());
        let route = route.and_then(|endpoint| endpoint.deployment(deployment.name.key()));
        let instances = route.map(|route| route.fleet.instances()).unwrap_or_default();
        let found = instances.iter().map(|instance| (instance.shown(), instance.standing.word()));
        let (endpoint, name) = (deployment.endpoint.key(), deployment.name.key());
        let mut processes: Vec<InstanceView> = Vec::new();
        for (_, process) in self.roster.states(endpoint, name) {
            let standing = found.clone().find(|(address, _)| Some(address) == process.address.as_ref());
            let state = match standing {
                Some((_, word)) if process.state == "running" => word,
                _ => process.state,
            };
            let (address, restarts) = (process.address, Some(process.restarts));
            processes.push(InstanceView { address, state, restarts, last_end: process.last_end });
        }
        if !processes.is_empty() {
            return processes;
        }
        let plain =
            |(address, state)| InstanceView { address: Some(address), state, restarts: None, last_end: None };
        found.map(plain).collect()
    }

    /// What the processes of a deployment wrote of late; `None` if the gateway does not run it.
    pub fn output_of(&self, deployment: &Deployment, lines: usize) -> Option<String> {
        self.roster.output(deployment.endpoint.key(), deployment.name.key(), lines)
    }

    /// Whether callers of the API may have instances there: nothing of this machine but what the operator lists, and no
    /// address at which a cloud gives its secrets to whoever asks.
    pub(super) fn may_reach(&self, deployment: &Deployment) -> Result<(), Refusal> {
        const FIELD: &str = "properties.properties";
        let (backend, allowed) = (&deployment.backend, &self.instances);
        let own = backend.client_certificate.iter();
        let mut files =
            backend.ca_file.iter().chain(own.flat_map(|own| [&own.certificate, &own.private_key]));
        if files.any(|file| !allowed.files.contains(file)) {
            let problem = "names a file that is not listed under `instances.files` in the configuration";
            return Err(Refusal::invalid(FIELD, problem));
        }
        let urls = match &backend.origin {
            Origin::Urls(urls) => urls.as_slice(),
            Origin::Dns(name) => std::slice::from_ref(name),
            Origin::Command(program) => {
                let name = program.arguments.first().map_or("", String::as_str);
                let known = allowed.programs.iter().any(|program| program == "*" || program == name);
                let problem =
                    format!("`{name}` is not listed under `instances.programs` in the configuration");
                return if known { Ok(()) } else { Err(Refusal::invalid(FIELD, problem)) };
            }
        };
        match urls.iter().find(|url| url.is_off_limits()) {
            Some(url) => {
                let problem =
                    format!("`{}` is a link-local, metadata or multicast address", String::from(url.clone()));
                Err(Refusal::invalid(FIELD, problem))
            }
            None => Ok(()),
        }
    }

    /// Whether there may be such a deployment, and one more of the endpoint if it is new.
    pub(super) fn within_limits(
        &self,
        endpoint: &Scope,
        new: bool,
        deployment: &Deployment,
    ) -> Result<(), Refusal> {
        let limits = &self.limits;
        let there = deployments_of(&self.publisher.contents(), endpoint).count();
        if new && there >= limits.deployments_per_endpoint {
            let most = limits.deployments_per_endpoint;
            let message = format!(
                "the endpoint has {there} deployments and `limits.deployments_per_endpoint` is {most}"
            );
            return Err(Refusal::Limit(message));
        }
        let (instances, most) = (deployment.backend.urls().len(), limits.instances_per_deployment);
        let wanted = deployment.workload.instance_count.map_or(instances, |count| count as usize);
        if instances.max(wanted) > most {
            let named = instances.max(wanted);
            return Err(Refusal::Limit(format!(
                "{named} instances are more than `limits.instances_per_deployment`, which is {most}"
            )));
        }
        let (total, most) = (deployment.timeouts.total.unwrap_or_default(), limits.request_total_max);
        if total > most {
            let problem =
                format!("`timeouts.total_ms` is more than {most:?}, as `limits.request_total_max` allows");
            return Err(Refusal::invalid("properties.properties", problem));
        }
        Ok(())
    }
}

/// Refuses a time that is longer than a limit allows.
pub(super) fn within(field: &str, asked: Duration, (limit, most): (&str, Duration)) -> Result<(), Refusal> {
    if asked <= most {
        return Ok(());
    }
    let problem = format!("is longer than {most:?}, the most that `limits.{limit}` allows");
    Err(Refusal::invalid(field, problem))
}
