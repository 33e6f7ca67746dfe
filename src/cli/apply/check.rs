//! What goes beyond single documents: what no document has, and what documents contradict.

use std::collections::BTreeSet;

use serde_json::Value;

use super::change::{Action, Change, Kind};
use super::plan::Planner;
use crate::model::names::DeploymentName;
use crate::model::scope::Scope;
use crate::resources::Document;

/// Where documents send requests: endpoint, the document, deployment.
pub type Sent = (Scope, String, DeploymentName);

pub fn traffics(documents: &[(String, Document)]) -> Vec<Sent> {
    let mut sent = Vec::new();
    for (source, document) in documents {
        let Document::Endpoint(spec) = document else { continue };
        let Ok(scope) = spec.scope() else { continue };
        let live = spec.traffic.shares().filter(|(_, share)| *share > 0).map(|(name, _)| name);
        for name in live.chain(spec.mirror.iter().map(|mirror| &mirror.deployment)) {
            sent.push((scope.clone(), source.clone(), name.clone()));
        }
    }
    sent
}

impl Planner<'_> {
    /// Deletes what of the first workspace no document has.
    pub fn prune(&mut self) {
        let kept: BTreeSet<String> = self.seen.keys().cloned().collect();
        let of_workspace = self.changes.iter().any(|c| matches!(c.kind, Kind::Endpoint | Kind::Deployment));
        let Some(place) = self.workspaces.first().and_then(|workspace| workspace.place.scope().ok()) else {
            return;
        };
        if !of_workspace {
            let problem = "--prune would delete every endpoint: the files have none. Delete them one by one if that is meant";
            self.mistakes.push(problem.to_owned());
            return;
        }
        let inside = |id: &str| id.strip_prefix(place.key()).is_some_and(|rest| rest.starts_with('/'));
        // An endpoint that only deployments of the files speak of is theirs as well.
        let spoken_of =
            |id: &str| kept.iter().any(|known| known == id || known.starts_with(&format!("{id}/")));
        let mut gone = Vec::new();
        for (id, (spec, _)) in self.current.endpoints.iter().filter(|(id, _)| inside(id) && !spoken_of(id)) {
            gone.push((id.clone(), Kind::Endpoint, spec.name.to_string(), spec.scope()));
        }
        for (id, (found, _)) in
            self.current.deployments.iter().filter(|(id, _)| inside(id) && !kept.contains(*id))
        {
            // A deployment goes with its endpoint.
            if !gone.iter().any(|(endpoint, ..)| id.starts_with(&format!("{endpoint}/"))) {
                let name = format!("{}/{}", found.endpoint, found.name);
                gone.push((id.clone(), Kind::Deployment, name, found.scope()));
            }
        }
        for (_, kind, name, scope) in gone {
            let Ok(id) = scope else { continue };
            self.push(Change {
                action: Action::Delete,
                kind,
                name,
                scopes: vec![id.clone()],
                id,
                source: None,
                fields: Vec::new(),
                body: None,
                first: None,
                before: None,
            });
        }
    }

    /// What no server could do: traffic to nobody, deployments of nobody, deployments deleted under traffic.
    pub fn contradictions(&mut self, traffic: &[Sent]) {
        let is = |change: &Change, id: &str| change.id.key() == id;
        let after = |id: &str, there: bool| match self.changes.iter().find(|change| is(change, id)) {
            Some(change) => change.action != Action::Delete,
            None => there,
        };
        let mut mistakes = Vec::new();
        for (endpoint, source, name) in traffic {
            let id = endpoint.deployment(name);
            if !after(id.key(), self.current.deployments.contains_key(id.key())) {
                mistakes.push(format!("{source}: traffic: there is no deployment `{name}`, neither in the files nor on the server"));
            }
        }
        for change in self.changes.iter().filter(|change| change.kind == Kind::Deployment) {
            let key = change.id.key();
            let endpoint = key.rsplitn(3, '/').nth(2).unwrap_or_default();
            let there = self.current.endpoints.get(endpoint);
            let source = change.source.as_deref().unwrap_or("--prune");
            if change.action != Action::Delete && !after(endpoint, there.is_some()) {
                mistakes.push(format!("{source}: endpoint_name: there is no such endpoint, neither in the files nor on the server"));
            }
            if change.action == Action::Create && there.is_some_and(|(_, view)| from_files(view)) {
                mistakes.push(format!("{source}: the endpoint of {} {ELSEWHERE}", change.name));
            }
            let described = self.seen.contains_key(endpoint);
            let (name, spec) = (key.rsplit('/').next().unwrap_or_default(), there.map(|(spec, _)| spec));
            let live =
                spec.is_some_and(|spec| spec.traffic.shares().any(|(n, share)| n.key() == name && share > 0));
            if change.action == Action::Delete && live && !described {
                mistakes.push(format!(
                    "{source}: deployment {} still has traffic; describe its endpoint, too",
                    change.name
                ));
            }
        }
        for change in self.changes.iter().filter(|change| change.action == Action::Update) {
            let endpoint = self.current.endpoints.get(change.id.key()).map(|(_, view)| view);
            let view = endpoint.or(self.current.deployments.get(change.id.key()).map(|(_, view)| view));
            if view.is_some_and(from_files) {
                let source = change.source.as_deref().unwrap_or_default();
                mistakes.push(format!("{source}: {} {ELSEWHERE}", change.name));
            }
        }
        self.mistakes.extend(mistakes);
    }
}

/// What is said of a resource that the API cannot change.
const ELSEWHERE: &str = "comes from a file of the gateway's resources directory; change it there";

/// Whether a resource comes from the gateway's resources directory, which alone may change it.
fn from_files(view: &Value) -> bool {
    view.pointer("/systemData/createdBy").and_then(Value::as_str) == Some("resources directory")
}
