//! Online deployments: one version behind an endpoint, and where its instances are.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::backend::Backend;
use super::names::{DeploymentName, EndpointName};
use super::paths::AllowedPath;
use super::scope::{Scope, ScopeError, WorkspaceRef};

/// How many requests instances take, and how long they may need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestSettings {
    /// From the request's being sent until the response begins.
    pub request_timeout: Duration,
    /// Requests that one instance works on at once.
    pub max_concurrent_requests_per_instance: u32,
    /// How long a request waits for a free place.
    pub max_queue_wait: Duration,
}

/// Clocks of a request that Azure does not have; what is not set is as the gateway's limits say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timeouts {
    /// For a connection to an instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<Duration>,
    /// Between two pieces of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Duration>,
    /// For the whole request, streams included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<Duration>,
}

/// Where an instance answers a question about itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Route {
    /// The path.
    pub path: String,
    /// The port, if it is not the one that requests go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

impl Default for RequestSettings {
    /// Azure's defaults: 5 s, one at a time, 0.5 s.
    fn default() -> Self {
        RequestSettings {
            request_timeout: Duration::from_secs(5),
            max_concurrent_requests_per_instance: 1,
            max_queue_wait: Duration::from_millis(500),
        }
    }
}

/// Why a text is no route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no route: write a path such as /health, or one at a port of its own such as :5101/health")]
pub struct RouteError(String);

impl TryFrom<String> for Route {
    type Error = RouteError;

    fn try_from(text: String) -> Result<Route, RouteError> {
        let wrong = || RouteError(text.chars().take(120).collect());
        let (port, path) = match text.strip_prefix(':') {
            None => (None, text.as_str()),
            Some(rest) => {
                let (port, path) =
                    rest.split_at_checked(rest.find('/').ok_or_else(wrong)?).ok_or_else(wrong)?;
                (Some(port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?), path)
            }
        };
        if !path.starts_with('/') || path.parse::<http::uri::PathAndQuery>().is_err() {
            return Err(wrong());
        }
        Ok(Route { path: path.to_owned(), port })
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(&self.path)
    }
}

/// How an instance's health is asked for ("Managed online deployment YAML schema").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Before the first question.
    pub initial_delay: Duration,
    /// Between questions.
    pub period: Duration,
    /// For an answer.
    pub timeout: Duration,
    /// Good answers in a row that make an instance healthy.
    pub success_threshold: u32,
    /// Bad answers in a row that make it unhealthy.
    pub failure_threshold: u32,
}

impl Default for Probe {
    /// Azure's defaults: after 10 s, every 10 s, 2 s for an answer, 1 good, 30 bad.
    fn default() -> Self {
        Probe {
            initial_delay: Duration::from_secs(10),
            period: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            success_threshold: 1,
            failure_threshold: 30,
        }
    }
}

/// Fields of `az ml` that say what runs on the instances. The gateway keeps and shows them as they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Workload {
    /// A reference to a model, or one described in place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<serde_json::Value>,
    /// Where the model is mounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_mount_path: Option<String>,
    /// A reference to an environment, or one described in place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<serde_json::Value>,
    /// Where the code is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The script that scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scoring_script: Option<String>,
    /// Variables of its environment.
    pub environment_variables: BTreeMap<String, String>,
    /// The kind of machine; free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// How many instances there should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_count: Option<u32>,
    /// Whether Application Insights is asked for.
    pub app_insights_enabled: bool,
    /// Whether instances may call out, Azure's legacy switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress_public_network_access: Option<bool>,
    /// Whether an instance lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness_probe: Option<Probe>,
    /// Whether an instance is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<Probe>,
    /// What of requests and answers is collected, as ARM writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_collector: Option<serde_json::Value>,
}

/// One version behind an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Unique in its endpoint.
    pub name: DeploymentName,
    /// The endpoint it stands behind.
    pub endpoint: EndpointName,
    /// The endpoint's workspace.
    pub workspace: WorkspaceRef,
    /// Where its instances are.
    pub backend: Backend,
    /// Concurrency and time.
    #[serde(default)]
    pub request_settings: RequestSettings,
    /// Where `/score` leads on an instance.
    #[serde(default = "default_scoring_path")]
    pub scoring_path: String,
    /// Where it is asked whether an instance lives; without it a connection is answer enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness_route: Option<Route>,
    /// Where it is asked whether an instance is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness_route: Option<Route>,
    /// Paths that may be called; `None` for every path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_paths: Option<Vec<AllowedPath>>,
    /// The clocks that Azure does not have.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// The gateway finds out by itself how many requests an instance can work on at once.
    #[serde(default)]
    pub adaptive_concurrency: bool,
    /// The caller's credential goes on to the instance.
    #[serde(default)]
    pub forward_authorization: bool,
    /// The caller's cookies go on to the instance.
    #[serde(default)]
    pub forward_cookies: bool,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// The user's labels.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The user's property bag.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
    /// What runs on the instances.
    #[serde(default)]
    pub workload: Workload,
}

impl Deployment {
    /// Its resource id.
    pub fn scope(&self) -> Result<Scope, ScopeError> {
        Ok(self.workspace.scope()?.online_endpoint(&self.endpoint).deployment(&self.name))
    }

    /// How many instances it has: as it says, or as many as it names.
    pub fn capacity(&self) -> u32 {
        let named = u32::try_from(self.backend.urls().len()).unwrap_or(u32::MAX).max(1);
        self.workload.instance_count.unwrap_or(named)
    }
}

/// `/score`, the path of Azure's own inference server.
pub fn default_scoring_path() -> String {
    "/score".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_paths_that_may_have_a_port() {
        for text in ["/", "/v2/health/ready", ":5101/", ":80/health?deep=1"] {
            assert_eq!(Route::try_from(text.to_owned()).unwrap().to_string(), text);
        }
        for wrong in ["", "health", ":5101", ":x/", ":0/", ":99999/", "http://a/", "/a b"] {
            assert!(Route::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
