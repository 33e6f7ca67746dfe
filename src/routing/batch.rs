//! What a batch endpoint's route has besides its instances: whom jobs go to, and by which rules.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::batch::{BatchDeployment, BatchEndpoint, BatchSettings};
use crate::model::scope::WorkspaceRef;

/// Whom jobs go to, and by which rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRoute {
    /// The deployment of jobs that name none, in lower case.
    pub default: Option<String>,
    /// The rules of each deployment's jobs, by its name in lower case.
    pub deployments: HashMap<String, Arc<BatchSettings>>,
    /// The workspace, in which its data stores are.
    pub workspace: WorkspaceRef,
}

impl BatchRoute {
    /// The route of an endpoint with these deployments.
    pub(super) fn of(endpoint: &BatchEndpoint, deployments: &[&BatchDeployment]) -> BatchRoute {
        let each = deployments.iter().map(|deployment| {
            (deployment.serving.name.key().to_owned(), Arc::new(deployment.settings.clone()))
        });
        BatchRoute {
            default: endpoint.default_deployment.as_ref().map(|name| name.key().to_owned()),
            deployments: each.collect(),
            workspace: endpoint.workspace.clone(),
        }
    }
}
