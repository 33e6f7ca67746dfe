//! Which deployment a request goes to, and under which path.

use std::sync::Arc;

use http::HeaderMap;
use http::uri::{PathAndQuery, Uri};

use super::headers::DEPLOYMENT;
use crate::gate::fault::{Fault, Reason};
use crate::routing::{DeploymentRoute, EndpointRoute};

/// The deployment that the client names, else the one whose turn it is.
pub(super) fn aim(
    endpoint: &EndpointRoute,
    headers: &HeaderMap,
    worker: usize,
) -> Result<Arc<DeploymentRoute>, Fault> {
    let mut named = headers.get_all(DEPLOYMENT).iter();
    if let Some(name) = named.next() {
        let name = name.to_str().ok().filter(|_| named.next().is_none());
        let found = name.and_then(|name| endpoint.deployment(name));
        return found.cloned().ok_or_else(|| Reason::DeploymentNotFound.into());
    }
    let next = endpoint.split.next(&endpoint.turns, worker);
    next.and_then(|index| endpoint.deployments.get(index)).cloned().ok_or_else(|| Reason::NoTraffic.into())
}

/// The target on the instance: `/score` leads to the deployment's own scoring path, every other path stays as it is.
pub(super) fn target(deployment: &DeploymentRoute, path: &str, uri: &Uri) -> Result<PathAndQuery, Fault> {
    if let Some(allowed) = &deployment.allowed_paths
        && !allowed.iter().any(|entry| entry.covers(path))
    {
        return Err(Reason::PathNotAllowed.into());
    }
    let scoring = path == "/score";
    match (uri.query(), scoring) {
        (None, true) => Ok(deployment.scoring_path.clone()),
        (None, false) if path.len() == uri.path().len() => {
            uri.path_and_query().cloned().ok_or_else(|| Reason::Malformed.into())
        }
        (query, _) => {
            let path = if scoring { deployment.scoring_path.path() } else { path };
            let text = match query {
                Some(query) => format!("{path}?{query}"),
                None => path.to_owned(),
            };
            PathAndQuery::try_from(text).map_err(|_| Reason::Malformed.into())
        }
    }
}
