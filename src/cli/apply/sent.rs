//! Where documents send requests or jobs.

use crate::model::names::DeploymentName;
use crate::model::scope::Scope;
use crate::resources::Document;

/// An endpoint, the document and its field, a deployment.
pub type Sent = (Scope, (String, &'static str), DeploymentName);

/// All of them.
pub fn traffics(documents: &[(String, Document)]) -> Vec<Sent> {
    let mut sent = Vec::new();
    for (source, document) in documents {
        let (scope, field, names) = match document {
            Document::Endpoint(spec) => {
                let live = spec.traffic.shares().filter(|(_, share)| *share > 0).map(|(name, _)| name);
                let all = live.chain(spec.mirror.iter().map(|mirror| &mirror.deployment));
                (spec.scope(), "traffic", all.collect::<Vec<_>>())
            }
            Document::BatchEndpoint(endpoint) => {
                (endpoint.scope(), "defaults", endpoint.default_deployment.iter().collect())
            }
            _ => continue,
        };
        let Ok(scope) = scope else { continue };
        let each = names.into_iter().map(|name| (scope.clone(), (source.clone(), field), name.clone()));
        sent.extend(each);
    }
    sent
}
