//! What a change of the store can have changed of a snapshot, so that the rest of it is taken over as it is.

use std::collections::HashSet;

use crate::model::resource::Resource;
use crate::store::Delta;

/// What may have changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// Roles, grants or refusals.
    pub rights: bool,
    /// Endpoints by name in lower case, for themselves or for their deployments.
    pub endpoints: HashSet<String>,
}

impl Changed {
    /// What a delta may have changed.
    pub fn of(delta: &Delta) -> Changed {
        let mut changed = Changed::default();
        for (_, stored) in &delta.put {
            match &stored.resource {
                Resource::Endpoint(endpoint) => {
                    changed.endpoints.insert(endpoint.spec.name.key().to_owned());
                }
                Resource::Deployment(deployment) => {
                    changed.endpoints.insert(deployment.endpoint.key().to_owned());
                }
                Resource::BatchEndpoint(endpoint) => {
                    changed.endpoints.insert(endpoint.name.key().to_owned());
                }
                Resource::BatchDeployment(deployment) => {
                    changed.endpoints.insert(deployment.serving.endpoint.key().to_owned());
                }
                Resource::RoleDefinition(_) | Resource::RoleAssignment(_) | Resource::DenyAssignment(_) => {
                    changed.rights = true;
                }
                Resource::Workspace(_)
                | Resource::Asset(_)
                | Resource::Datastore(_)
                | Resource::TokenKey(_) => {}
            }
        }
        for id in &delta.gone {
            changed.rights |= id.contains("/providers/microsoft.authorization/");
            let kinds = ["/onlineendpoints/", "/batchendpoints/"];
            if let Some((_, below)) = kinds.iter().find_map(|kind| id.split_once(kind)) {
                changed.endpoints.insert(below.split('/').next().unwrap_or_default().to_owned());
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_tells_by_its_id_whose_it_was() {
        let workspace =
            "/subscriptions/s/resourcegroups/g/providers/microsoft.machinelearningservices/workspaces/w";
        let gone = |id: &str| Changed::of(&Delta { gone: vec![id.to_owned()], ..Delta::default() });
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<HashSet<_>>();
        let deployment = gone(&format!("{workspace}/onlineendpoints/e/deployments/blue"));
        assert_eq!(deployment, Changed { rights: false, endpoints: names(&["e"]) });
        let grant = gone(&format!(
            "{workspace}/onlineendpoints/e/providers/microsoft.authorization/roleassignments/g"
        ));
        assert_eq!(grant, Changed { rights: true, endpoints: names(&["e"]) });
        let deployment = gone(&format!("{workspace}/batchendpoints/e/deployments/blue"));
        assert_eq!(deployment, Changed { rights: false, endpoints: names(&["e"]) });
        assert_eq!(gone(&format!("{workspace}/datastores/e")), Changed::default());
        assert_eq!(gone(workspace), Changed::default());
    }
}
