//! Models and environments: kept so that deployments can refer to them, never run by the gateway.

use serde::{Deserialize, Serialize};

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

impl Asset {
    /// Where `/score` leads, if this is an environment that says so.
    pub fn scoring_path(&self) -> Option<&str> {
        self.properties.get("inferenceConfig")?.pointer("/scoringRoute/path")?.as_str()
    }
}
