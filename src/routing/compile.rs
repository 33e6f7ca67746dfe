//! From resources to a snapshot. What carries state from one to the next — turns, places, connections — is handed on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;
use tokio::sync::Semaphore;

use super::batch::BatchRoute;
use super::changed::Changed;
use super::copies::Copies;
use super::rate::EndpointRates;
use super::snapshot::{AuthRoute, Clocks, DeploymentRoute, EndpointKeys, EndpointRoute, Snapshot};
use super::split::{Split, Turns};
use super::upkeep::Upkeep;
use crate::identity::aml_token::TokenKeys;
use crate::identity::endpoint_key::KeyDigests;
use crate::mirror::Tally;
use crate::model::backend::Origin;
use crate::model::batch::{BatchDeployment, BatchEndpoint};
use crate::model::datastore::Datastore;
use crate::model::deployment::Deployment;
use crate::model::endpoint::{AuthMode, Endpoint};
use crate::model::names::EndpointName;
use crate::model::resource::Resource;
use crate::model::role::RoleAssignment;
use crate::rbac::{Action, ManagementGroups, PatternError, Policy, PolicyInput, SCORE};
use crate::settings::Limits;
use crate::telemetry::metrics::{DeploymentMetrics, Metrics};
use crate::telemetry::record::EndpointFacts;
use crate::upstream::{Bounds, Fleet, FleetRules, Reach};

/// Why resources do not make a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// A deny assignment that cannot be read would open what it should close.
    #[error("a deny assignment cannot be read: {0}")]
    Denial(#[from] PatternError),
    /// The gateway's own failure.
    #[error("the compilation failed")]
    Defect,
    /// Something about an endpoint or deployment cannot be used.
    #[error("{what} `{name}`: {why}")]
    Resource {
        /// `endpoint` or `deployment`.
        what: &'static str,
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
}

/// What compilation needs besides resources.
#[derive(Debug, Clone)]
pub struct Compiler {
    /// Grants that the settings make.
    pub owners: Vec<RoleAssignment>,
    /// The tree above subscriptions.
    pub groups: ManagementGroups,
    /// Where deployments are counted.
    pub metrics: Metrics,
    /// Worker threads.
    pub workers: usize,
    /// Bounds on everything.
    pub limits: Limits,
}

/// An endpoint of either kind.
enum Described<'a> {
    Online(&'a Endpoint),
    Batch(&'a BatchEndpoint),
}

impl<'a> Described<'a> {
    fn key(&self) -> &'a str {
        match self {
            Described::Online(endpoint) => endpoint.spec.name.key(),
            Described::Batch(endpoint) => endpoint.name.key(),
        }
    }
}

impl Compiler {
    /// Compiles resources; `previous` hands on what lives longer than a snapshot. What of an endpoint or a deployment
    /// cannot be used is left out and told, because the others, and every change of rights, must not wait for it.
    /// If it is known what changed since, the rest is taken over from `previous`.
    pub fn compile<'a>(
        &self,
        revision: u64,
        resources: impl Iterator<Item = &'a Resource>,
        previous: Option<&Snapshot>,
        changed: Option<&Changed>,
    ) -> Result<Snapshot, CompileError> {
        let mut input = PolicyInput { groups: self.groups.clone(), ..PolicyInput::default() };
        input.assignments.extend(&self.owners);
        let (mut endpoints, mut token_keys) = (Vec::<Described<'_>>::new(), Vec::new());
        let mut deployments: HashMap<&str, Vec<&Deployment>> = HashMap::new();
        let mut batch_deployments: HashMap<&str, Vec<&BatchDeployment>> = HashMap::new();
        let mut datastores = HashMap::new();
        for resource in resources {
            match resource {
                Resource::Endpoint(endpoint) => endpoints.push(Described::Online(endpoint)),
                Resource::BatchEndpoint(endpoint) => endpoints.push(Described::Batch(endpoint)),
                Resource::Deployment(deployment) => {
                    deployments.entry(deployment.endpoint.key()).or_default().push(deployment);
                }
                Resource::BatchDeployment(deployment) => {
                    let endpoint = deployment.serving.endpoint.key();
                    batch_deployments.entry(endpoint).or_default().push(deployment);
                }
                Resource::Datastore(store) => datastores.extend(kept(store, previous)),
                Resource::Workspace(_) | Resource::Asset(_) => {}
                Resource::TokenKey(key) => token_keys.push(key),
                Resource::RoleDefinition(role) => input.roles.push(role),
                Resource::RoleAssignment(grant) => input.assignments.push(grant),
                Resource::DenyAssignment(denial) => input.denials.push(denial),
            }
        }
        // An endpoint's route knows its place in the policy, so they are taken over together or not at all.
        let same = previous.zip(changed).filter(|(previous, changed)| {
            !changed.rights && previous.revision > 0 && previous.problems.is_empty()
        });
        let policy = match same {
            Some((previous, _)) => previous.policy.clone(),
            None => Arc::new(Policy::compile(&input)?),
        };
        let (mut routes, mut problems) = (HashMap::with_capacity(endpoints.len()), Vec::new());
        for endpoint in endpoints {
            let key = endpoint.key();
            if let Some((previous, changed)) = same
                && !changed.endpoints.contains(key)
                && let Some(route) = previous.endpoints.get(key)
            {
                routes.insert(key.to_owned(), route.clone());
                continue;
            }
            let before = previous.and_then(|snapshot| snapshot.endpoints.get(key));
            let compiled = match endpoint {
                Described::Online(endpoint) => {
                    let own = deployments.remove(key).unwrap_or_default();
                    self.endpoint(endpoint, own, &policy, before, &mut problems)
                }
                Described::Batch(endpoint) => {
                    let own = batch_deployments.remove(key).unwrap_or_default();
                    self.batch_endpoint(endpoint, &own, &policy, before, &mut problems)
                }
            };
            match compiled {
                Ok(route) => {
                    if routes.insert(key.to_owned(), Arc::new(route)).is_some() {
                        let why = "two workspaces have one of this name; a name is unique in a gateway";
                        let (name, why) = (key.to_owned(), why.to_owned());
                        problems.push(CompileError::Resource { what: "endpoint", name, why });
                    }
                }
                Err(problem) => problems.push(problem),
            }
        }
        let score = policy.prepare(Action::control(SCORE));
        let token_keys = TokenKeys::of(token_keys);
        let endpoint_keys = EndpointKeys::default();
        let endpoints = routes;
        Ok(Snapshot { revision, policy, score, endpoints, datastores, token_keys, endpoint_keys, problems })
    }

    /// Whether a deployment could be compiled, by itself.
    pub fn check(&self, deployment: &Deployment) -> Result<(), CompileError> {
        let metrics = self.metrics.deployment(deployment.endpoint.key(), deployment.name.key(), "");
        let (_, problems) = self.fleet(deployment, metrics, None);
        problems.into_iter().next().map_or(Ok(()), |why| Err(wrong_deployment(deployment, why)))
    }

    fn endpoint(
        &self,
        endpoint: &Endpoint,
        mut deployments: Vec<&Deployment>,
        policy: &Policy,
        before: Option<&Arc<EndpointRoute>>,
        problems: &mut Vec<CompileError>,
    ) -> Result<EndpointRoute, CompileError> {
        let wrong = |why: String| wrong_endpoint(&endpoint.spec.name, why);
        let scope = endpoint.scope().map_err(|error| wrong(error.to_string()))?;
        let spec = &endpoint.spec;
        let auth = match spec.auth_mode {
            AuthMode::Key => AuthRoute::Key(KeyDigests::of(&endpoint.keys)),
            AuthMode::AmlToken => AuthRoute::AmlToken(endpoint.token_epoch),
            AuthMode::AadToken => AuthRoute::AadToken(policy.place(&scope)),
        };
        deployments.sort_by(|a, b| a.name.cmp(&b.name));
        let shares: HashMap<&str, u8> =
            spec.traffic.shares().map(|(name, share)| (name.key(), share)).collect();
        for (name, share) in spec.traffic.shares() {
            if share > 0 && !deployments.iter().any(|deployment| deployment.name == *name) {
                problems.push(wrong(format!("traffic goes to `{name}`, and there is no such deployment")));
            }
        }
        let percentages: Vec<u8> = deployments
            .iter()
            .map(|deployment| shares.get(deployment.name.key()).copied().unwrap_or(0))
            .collect();
        let mode = spec.auth_mode.as_str();
        let routes = deployments
            .iter()
            .map(|deployment| {
                let before = before.and_then(|route| route.deployment(deployment.name.key()));
                let first_byte = deployment.request_settings.request_timeout;
                let clocks =
                    self.clocks(deployment, first_byte.min(self.limits.request_timeout_max), Duration::ZERO);
                self.deployment(deployment, mode, clocks, before, problems).map(Arc::new)
            })
            .collect::<Result<Vec<Arc<DeploymentRoute>>, _>>()?;
        let copies = spec.mirror.as_ref().and_then(|mirror| {
            let Some(shadow) = routes.iter().find(|route| route.key == mirror.deployment.key()) else {
                let name = &mirror.deployment;
                problems.push(wrong(format!("copies go to `{name}`, and there is no such deployment")));
                return None;
            };
            let before = before.and_then(|before| before.copies.as_ref());
            let tally = || Tally::new(&self.metrics, spec.name.key(), &shadow.key);
            Some(Copies::new(shadow.clone(), mirror.percent, self.workers, before, tally))
        });
        let (limits, rate) = (&self.limits, spec.rate_limit);
        let all = rate.requests_per_second.unwrap_or(limits.requests_per_second);
        let each = rate.requests_per_second_per_principal.unwrap_or(limits.requests_per_second_per_principal);
        Ok(EndpointRoute {
            rates: EndpointRates::new(all, each, before.map(|before| &before.rates)),
            request_body: spec
                .request_body
                .unwrap_or(limits.request_body as u64)
                .min(limits.request_body_max as u64),
            cors: spec.cors.clone(),
            websocket: spec.websocket,
            facts: Arc::new(EndpointFacts {
                workspace: spec.workspace.clone(),
                name: spec.name.to_string(),
                auth_mode: mode,
            }),
            scope,
            auth,
            deployments: routes,
            copies,
            split: Split::new(&percentages),
            turns: self.turns(before),
            in_flight: self.in_flight(before),
            batch: None,
        })
    }

    fn batch_endpoint(
        &self,
        endpoint: &BatchEndpoint,
        deployments: &[&BatchDeployment],
        policy: &Policy,
        before: Option<&Arc<EndpointRoute>>,
        problems: &mut Vec<CompileError>,
    ) -> Result<EndpointRoute, CompileError> {
        let wrong = |why: String| wrong_endpoint(&endpoint.name, why);
        let scope = endpoint.scope().map_err(|error| wrong(error.to_string()))?;
        let batch = BatchRoute::of(endpoint, deployments);
        if let Some(name) = batch.default.as_ref().filter(|name| !batch.deployments.contains_key(*name)) {
            problems.push(wrong(format!("its default is `{name}`, and there is no such deployment")));
        }
        let mode = AuthMode::AadToken.as_str();
        let mut routes = deployments
            .iter()
            .map(|BatchDeployment { serving, settings, .. }| {
                let before = before.and_then(|route| route.deployment(serving.name.key()));
                let serving = Deployment { request_settings: settings.request_settings(), ..serving.clone() };
                let first_byte = settings.timeout.min(self.limits.batch_timeout_max);
                let clocks = self.clocks(&serving, first_byte, first_byte);
                self.deployment(&serving, mode, clocks, before, problems).map(Arc::new)
            })
            .collect::<Result<Vec<Arc<DeploymentRoute>>, _>>()?;
        routes.sort_by(|a, b| a.key.cmp(&b.key));
        let (all, each) = (self.limits.requests_per_second, self.limits.requests_per_second_per_principal);
        Ok(EndpointRoute {
            rates: EndpointRates::new(all, each, before.map(|before| &before.rates)),
            request_body: (self.limits.request_body as u64).min(self.limits.request_body_max as u64),
            cors: None,
            websocket: false,
            facts: Arc::new(EndpointFacts {
                workspace: endpoint.workspace.clone(),
                name: endpoint.name.to_string(),
                auth_mode: mode,
            }),
            auth: AuthRoute::AadToken(policy.place(&scope)),
            scope,
            split: Split::new(&[]),
            deployments: routes,
            copies: None,
            turns: self.turns(before),
            in_flight: self.in_flight(before),
            batch: Some(batch),
        })
    }

    fn turns(&self, before: Option<&Arc<EndpointRoute>>) -> Arc<Turns> {
        before.map_or_else(|| Arc::new(Turns::new(self.workers)), |before| before.turns.clone())
    }

    fn in_flight(&self, before: Option<&Arc<EndpointRoute>>) -> Arc<Semaphore> {
        let fresh = || Arc::new(Semaphore::new(self.limits.requests_per_endpoint));
        before.map_or_else(fresh, |before| before.in_flight.clone())
    }

    /// The clocks of a deployment whose answers begin in that time; a whole request has `least` unless the deployment
    /// says otherwise.
    fn clocks(&self, deployment: &Deployment, first_byte: Duration, least: Duration) -> Clocks {
        let (times, limits) = (&deployment.timeouts, &self.limits);
        let total = times.total.unwrap_or(limits.request_total.max(least));
        let total = total.min(limits.request_total_max.max(least));
        Clocks { first_byte, idle: times.idle.unwrap_or(limits.response_idle).min(total), total }
    }

    fn deployment(
        &self,
        deployment: &Deployment,
        mode: &'static str,
        clocks: Clocks,
        before: Option<&Arc<DeploymentRoute>>,
        problems: &mut Vec<CompileError>,
    ) -> Result<DeploymentRoute, CompileError> {
        let wrong = |why: String| wrong_deployment(deployment, why);
        let metrics = match before {
            Some(before) if before.auth_mode == mode => before.metrics.clone(),
            _ => self.metrics.deployment(deployment.endpoint.key(), deployment.name.key(), mode),
        };
        let (fleet, unusable) = self.fleet(deployment, metrics.clone(), before.map(|before| &before.fleet));
        problems.extend(unusable.into_iter().map(wrong));
        let scoring_path: PathAndQuery = deployment
            .scoring_path
            .parse()
            .map_err(|_| wrong(format!("scoring path `{}` is no path", deployment.scoring_path)))?;
        let name = deployment.name.to_string();
        Ok(DeploymentRoute {
            key: deployment.name.key().to_owned(),
            name: HeaderValue::try_from(&name).map_err(|error| wrong(error.to_string()))?,
            scoring_path,
            allowed_paths: deployment.allowed_paths.clone(),
            clocks,
            forward_authorization: deployment.forward_authorization,
            forward_cookies: deployment.forward_cookies,
            http_version: deployment.backend.http_version,
            fleet,
            upkeep: Upkeep::of(deployment),
            retries: before.map_or_else(Arc::default, |before| before.retries.clone()),
            metrics,
            auth_mode: mode,
        })
    }

    /// The instances of a deployment, and what about them cannot be used. Those that are listed are there at once;
    /// others come and go by themselves.
    fn fleet(
        &self,
        deployment: &Deployment,
        metrics: Arc<DeploymentMetrics>,
        before: Option<&Fleet>,
    ) -> (Fleet, Vec<String>) {
        let (settings, limits) = (&deployment.request_settings, &self.limits);
        let connect = deployment.timeouts.connect.unwrap_or(limits.connect);
        let bounds = Bounds {
            idle_most: limits.idle_instance_connections,
            idle_time: limits.idle_instance_time,
            header_bytes: limits.response_header_bytes,
            header_count: limits.response_header_count,
        };
        let rules = FleetRules {
            each: settings.max_concurrent_requests_per_instance.clamp(1, limits.instance_requests),
            adaptive: deployment.adaptive_concurrency,
            wait: settings.max_queue_wait.min(limits.queue_wait_max),
            warm_up: limits.warm_up,
            eject_failures: limits.eject_failures,
            eject_time: limits.eject_time,
            eject_time_max: limits.eject_time_max,
        };
        let reach = Reach::new(&deployment.backend, connect, bounds, self.workers);
        let fleet = Fleet::new(reach, rules, metrics, before);
        match &deployment.backend.origin {
            Origin::Urls(urls) => fleet.with(urls, before),
            Origin::Dns(name) => {
                let problem = fleet.member(name, None, None).err();
                (fleet.sharing(before), problem.into_iter().collect())
            }
            Origin::Command(_) => (fleet.sharing(before), Vec::new()),
        }
    }
}

fn wrong_deployment(deployment: &Deployment, why: String) -> CompileError {
    CompileError::Resource { what: "deployment", name: deployment.name.to_string(), why }
}

fn wrong_endpoint(name: &EndpointName, why: String) -> CompileError {
    CompileError::Resource { what: "endpoint", name: name.to_string(), why }
}

/// A data store under its id; one that has not changed is taken over.
fn kept(store: &Datastore, previous: Option<&Snapshot>) -> Option<(String, Arc<Datastore>)> {
    let key = store.scope().ok()?.key().to_owned();
    let before = previous.and_then(|previous| previous.datastores.get(&key));
    let before = before.filter(|before| ***before == *store).cloned();
    Some((key, before.unwrap_or_else(|| Arc::new(store.clone()))))
}
