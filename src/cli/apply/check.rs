//! What goes beyond single documents: what no document has, and what documents contradict.

use std::collections::BTreeSet;

use serde_json::Value;

use super::change::{Action, Change, is_deployment, is_endpoint};
use super::plan::Planner;
use super::sent::Sent;

impl Planner<'_> {
    /// Deletes what of the first workspace no document has.
    pub fn prune(&mut self) {
        let kept: BTreeSet<String> = self.seen.keys().cloned().collect();
        let of_workspace = self.changes.iter().any(|c| is_endpoint(c.kind) || is_deployment(c.kind));
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
        let mut gone = Vec::<Change>::new();
        for (key, kind, id) in self.current.all() {
            // A deployment goes with its endpoint.
            let with = |endpoint: &Change| key.starts_with(&format!("{}/", endpoint.id.key()));
            if let Ok(id) = id
                && inside(key)
                && !spoken_of(key)
                && !gone.iter().any(with)
            {
                gone.push(Change::deletion(kind, id));
            }
        }
        self.changes.extend(gone);
    }

    /// What no server could do: traffic to nobody, deployments of nobody, deployments deleted under traffic.
    pub fn contradictions(&mut self, traffic: &[Sent]) {
        let is = |change: &Change, id: &str| change.id.key() == id;
        let after = |id: &str, there: bool| match self.changes.iter().find(|change| is(change, id)) {
            Some(change) => change.action != Action::Delete,
            None => there,
        };
        let mut mistakes = Vec::new();
        for (endpoint, (source, field), name) in traffic {
            let id = endpoint.deployment(name);
            if !after(id.key(), self.current.view(id.key()).is_some()) {
                mistakes.push(format!("{source}: {field}: there is no deployment `{name}`, neither in the files nor on the server"));
            }
        }
        for change in self.changes.iter().filter(|change| is_deployment(change.kind)) {
            let key = change.id.key();
            let endpoint = key.rsplitn(3, '/').nth(2).unwrap_or_default();
            let there = self.current.view(endpoint);
            let source = change.source.as_deref().unwrap_or("--prune");
            if change.action != Action::Delete && !after(endpoint, there.is_some()) {
                mistakes.push(format!("{source}: endpoint_name: there is no such endpoint, neither in the files nor on the server"));
            }
            if change.action == Action::Create && there.is_some_and(from_files) {
                mistakes.push(format!("{source}: the endpoint of {} {ELSEWHERE}", change.name));
            }
            let described = self.seen.contains_key(endpoint);
            let name = key.rsplit('/').next().unwrap_or_default();
            let online = self.current.endpoints.get(endpoint).is_some_and(|(spec, _)| {
                spec.traffic.shares().any(|(known, share)| known.key() == name && share > 0)
            });
            let batch = self.current.batch_endpoints.get(endpoint).is_some_and(|(found, _)| {
                found.default_deployment.as_ref().is_some_and(|default| default.key() == name)
            });
            let live = online || batch;
            if change.action == Action::Delete && live && !described {
                let what = if batch { "is still the default" } else { "still has traffic" };
                mistakes
                    .push(format!("{source}: deployment {} {what}; describe its endpoint, too", change.name));
            }
        }
        for change in self.changes.iter().filter(|change| change.action == Action::Update) {
            if self.current.view(change.id.key()).is_some_and(from_files) {
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
