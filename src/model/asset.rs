//! Models and environments: kept so that deployments can refer to them, never run by the gateway.

use serde::{Deserialize, Serialize};

use super::deployment::Route;
use super::scope::Scope;

/// Models or environments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssetKind {
    /// A model.
    Model,
    /// An environment.
    Environment,
}

impl AssetKind {
    /// The collection's name in a resource id.
    pub fn collection(self) -> &'static str {
        match self {
            AssetKind::Model => "models",
            AssetKind::Environment => "environments",
        }
    }
}

/// One version of a model or an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asset {
    /// `{workspace}/models/{name}/versions/{version}`, or the same of environments.
    pub id: Scope,
    /// Which of the two.
    pub kind: AssetKind,
    /// Its properties as they were given.
    pub properties: serde_json::Map<String, serde_json::Value>,
}

/// Where an inference server answers ("Deploy a custom container to an online endpoint").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// Requests.
    pub scoring: Option<Route>,
    /// Whether it lives.
    pub liveness: Option<Route>,
    /// Whether it is ready.
    pub readiness: Option<Route>,
}

impl Routes {
    /// The routes of an inference configuration, in which they have these names. What is no route is left out.
    pub fn of(config: &serde_json::Value, [scoring, liveness, readiness]: [&str; 3]) -> Routes {
        let route = |key: &str| {
            let given = config.get(key)?;
            let path = Route::try_from(given.get("path")?.as_str()?.to_owned()).ok()?;
            let port = given
                .get("port")
                .and_then(serde_json::Value::as_u64)
                .and_then(|port| u16::try_from(port).ok());
            Some(Route { port: port.filter(|port| *port > 0), ..path })
        };
        Routes { scoring: route(scoring), liveness: route(liveness), readiness: route(readiness) }
    }
}

impl Asset {
    /// The routes of an environment.
    pub fn routes(&self) -> Routes {
        let config = self.properties.get("inferenceConfig").unwrap_or(&serde_json::Value::Null);
        Routes::of(config, ["scoringRoute", "livenessRoute", "readinessRoute"])
    }
}
