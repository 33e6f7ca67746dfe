//! Which deployment a request goes to, and under which path.

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderMap;
use http::uri::{PathAndQuery, Uri};

use super::headers::DEPLOYMENT;
use crate::gate::fault::{Fault, Reason};
use crate::model::paths::AllowedPath;
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

/// The target on the instance, judged as it gets there.
pub(super) fn target(deployment: &DeploymentRoute, path: &str, uri: &Uri) -> Result<PathAndQuery, Fault> {
    let allowed = deployment.allowed_paths.as_deref();
    let reached = reached(allowed, deployment.scoring_path.path(), path);
    if allowed.is_some_and(|allowed| !allowed.iter().any(|entry| entry.covers(&reached))) {
        return Err(Reason::PathNotAllowed.into());
    }
    match uri.query() {
        None if path == SCORE => Ok(deployment.scoring_path.clone()),
        // What nothing was taken from is sent as it came.
        _ if reached == uri.path() => uri.path_and_query().cloned().ok_or_else(|| Reason::Malformed.into()),
        query => {
            let text = match query {
                Some(query) => format!("{reached}?{query}"),
                None => reached.into_owned(),
            };
            PathAndQuery::try_from(text).map_err(|_| Reason::Malformed.into())
        }
    }
}

/// The path that leads to a deployment's own scoring path.
const SCORE: &str = "/score";
/// What Azure OpenAI puts before `{deployment}/{path}`.
const AZURE_OPENAI: &str = "/openai/deployments/";

/// Where a path leads: `/score` to the deployment's own scoring path, Azure OpenAI's paths to OpenAI's where these are
/// spoken, every other path to itself.
fn reached<'a>(allowed: Option<&[AllowedPath]>, scoring: &'a str, path: &'a str) -> Cow<'a, str> {
    if path == SCORE {
        return Cow::Borrowed(scoring);
    }
    let openai = |entry: &AllowedPath| matches!(entry, AllowedPath::Profile(profile) if profile.is_openai());
    let azure = path.strip_prefix(AZURE_OPENAI).and_then(|rest| rest.split_once('/'));
    match azure {
        // The gateway's own deployment is chosen as ever, so that the name there means nothing.
        Some((_, rest)) if allowed.is_some_and(|allowed| allowed.iter().any(openai)) => {
            Cow::Owned(format!("/v1/{rest}"))
        }
        _ => Cow::Borrowed(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn azures_paths_lead_to_openais_where_these_are_spoken() {
        for (allowed, path, leads) in [
            ("vllm", "/openai/deployments/any/chat/completions", "/v1/chat/completions"),
            ("/a /x/* openai", "/openai/deployments/m.1/embeddings", "/v1/embeddings"),
            ("openai", "/openai/deployments/m", "/openai/deployments/m"),
            ("openai", "/openai/models", "/openai/models"),
            ("openai", "/v1/chat/completions", "/v1/chat/completions"),
            ("openai", "/score", "/predict"),
            ("mlflow", "/openai/deployments/m/x", "/openai/deployments/m/x"),
            ("/openai/*", "/openai/deployments/m/x", "/openai/deployments/m/x"),
        ] {
            let allowed: Vec<AllowedPath> = allowed.split(' ').map(|entry| entry.parse().unwrap()).collect();
            assert_eq!(reached(Some(&allowed), "/predict", path), leads, "{path}");
        }
        assert_eq!(reached(None, "/predict", "/openai/deployments/m/x"), "/openai/deployments/m/x");
        assert_eq!(reached(None, "/predict", "/score"), "/predict");
    }
}
