//! Where a command acts: the subscription, resource group and workspace that were given, or the only ones there are.

use serde_json::Value;

use super::Env;
use super::client::Client;
use super::credential::{Purpose, claims};
use super::failure::Failure;
use super::http::escape;
use super::output::lay_out;
use crate::model::scope::{Scope, WorkspaceRef};
use crate::model::workspace::Workspace;

/// The three names as far as they were given, by flag or by environment.
#[derive(Debug, Clone, Default)]
pub struct Place {
    pub subscription: Option<String>,
    pub group: Option<String>,
    pub workspace: Option<String>,
}

impl Place {
    /// Flags go before the environment.
    pub fn new(flags: [Option<&str>; 3], env: &Env) -> Place {
        let names = ["SCOREGATE_SUBSCRIPTION", "SCOREGATE_RESOURCE_GROUP", "SCOREGATE_WORKSPACE"];
        let [subscription, group, workspace] = [0, 1, 2].map(|index: usize| {
            let flag = flags.get(index).copied().flatten().filter(|text| !text.is_empty());
            flag.or_else(|| env.get(names.get(index)?)).map(str::to_owned)
        });
        Place { subscription, group, workspace }
    }

    /// The workspace: as given, and what was not given if only one choice is left.
    pub async fn workspace(&self, client: &Client) -> Result<WorkspaceRef, Failure> {
        if let (Some(subscription), Some(resource_group), Some(name)) =
            (&self.subscription, &self.group, &self.workspace)
        {
            return Ok(WorkspaceRef {
                subscription: subscription.clone(),
                resource_group: resource_group.clone(),
                name: name.clone(),
            });
        }
        let subscriptions = match &self.subscription {
            Some(given) => vec![given.clone()],
            None => subscriptions(client).await?,
        };
        let mut found = Vec::new();
        for subscription in subscriptions {
            let path = format!(
                "/subscriptions/{}/providers/Microsoft.MachineLearningServices/workspaces",
                escape(&subscription)
            );
            let listed = client.list(&path).await?;
            found.extend(listed.iter().filter_map(workspace_of).filter(|workspace| self.fits(workspace)));
        }
        match found.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(Failure::failed(self.nothing_to_see(client).await)),
            several => {
                let mut lines = vec![["--subscription", "-g", "-w"].map(str::to_owned).to_vec()];
                lines.extend(several.iter().map(|workspace| {
                    vec![
                        workspace.subscription.clone(),
                        workspace.resource_group.clone(),
                        workspace.name.clone(),
                    ]
                }));
                Err(Failure::usage(format!(
                    "which workspace? name it with --subscription, -g and -w:\n\n{}",
                    lay_out(&lines)
                )))
            }
        }
    }

    /// Why there is no workspace, for somebody who may not know that nobody granted them anything.
    async fn nothing_to_see(&self, client: &Client) -> String {
        let token = client.credentials().token(Purpose::Control).await;
        let claims = token.map(|token| claims(&token.secret)).unwrap_or_default();
        let who = claims.get("oid").and_then(Value::as_str).unwrap_or("you");
        format!(
            "{who} may see no such workspace\n  what to do: name one that there is with --subscription, -g and -w \
             (SCOREGATE_SUBSCRIPTION, SCOREGATE_RESOURCE_GROUP,\n    SCOREGATE_WORKSPACE), or have a role granted: \
             scoregate role assignment create --assignee {who} --role \"AzureML Data Scientist\" -g GROUP"
        )
    }

    fn fits(&self, workspace: &WorkspaceRef) -> bool {
        let same = |given: &Option<String>, has: &str| {
            given.as_ref().is_none_or(|given| given.eq_ignore_ascii_case(has))
        };
        same(&self.group, &workspace.resource_group) && same(&self.workspace, &workspace.name)
    }

    /// The subscription: as given, or the only one.
    pub async fn subscription(&self, client: &Client) -> Result<String, Failure> {
        if let Some(given) = &self.subscription {
            return Ok(given.clone());
        }
        let found = subscriptions(client).await?;
        match found.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(Failure::usage("you may see no subscription; name one with --subscription")),
            several => {
                Err(Failure::usage(format!("which one? name it with --subscription: {}", several.join(", "))))
            }
        }
    }

    /// The scope of a role command: `given`, or the resource group if there is one, or the subscription.
    pub async fn scope(&self, client: &Client, given: Option<&str>) -> Result<Scope, Failure> {
        if let Some(given) = given {
            return Ok(given.parse()?);
        }
        let subscription = self.subscription(client).await?;
        let text = match &self.group {
            Some(group) => format!("/subscriptions/{subscription}/resourceGroups/{group}"),
            None => format!("/subscriptions/{subscription}"),
        };
        Ok(text.parse()?)
    }
}

/// What the server knows of a workspace; its names alone where it may not be read.
pub async fn described(client: &Client, place: WorkspaceRef) -> Result<Workspace, Failure> {
    let found = match client.get(&path(&place.scope()?)).await {
        Err(error) if error.status() == Some(403) => Value::Null,
        found => found?,
    };
    Ok(located(place, &found))
}

/// A workspace of which no more is known than what it is called and where a view says it is.
pub fn located(place: WorkspaceRef, view: &Value) -> Workspace {
    let location = view.get("location").and_then(Value::as_str).unwrap_or("local").to_owned();
    let (friendly_name, description, tags) = Default::default();
    Workspace { place, location, friendly_name, description, tags }
}

/// A scope as the beginning of a path; the root has none.
pub fn path(scope: &Scope) -> String {
    let text = scope.to_string();
    let escaped: Vec<String> = text.split('/').map(escape).collect();
    escaped.join("/").trim_end_matches('/').to_owned()
}

async fn subscriptions(client: &Client) -> Result<Vec<String>, Failure> {
    let listed = client.list("/subscriptions").await?;
    let id = |item: &Value| Some(item.get("subscriptionId")?.as_str()?.to_owned());
    Ok(listed.iter().filter_map(id).collect())
}

/// A workspace by its resource id.
pub fn workspace_of(item: &Value) -> Option<WorkspaceRef> {
    let id = item.get("id")?.as_str()?;
    let segments: Vec<&str> = id.split('/').collect();
    let after = |word: &str| {
        let at = segments.iter().position(|segment| segment.eq_ignore_ascii_case(word))?;
        segments.get(at + 1).map(|segment| (*segment).to_owned())
    };
    Some(WorkspaceRef {
        subscription: after("subscriptions")?,
        resource_group: after("resourceGroups")?,
        name: after("workspaces")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn flags_go_before_the_environment() {
        let env = Env::of(&[("SCOREGATE_SUBSCRIPTION", "s"), ("SCOREGATE_RESOURCE_GROUP", "g")]);
        let place = Place::new([None, Some("flag"), None], &env);
        assert_eq!(
            (place.subscription.as_deref(), place.group.as_deref(), place.workspace),
            (Some("s"), Some("flag"), None)
        );
    }

    #[test]
    fn paths_are_escaped_and_the_root_is_none() {
        assert_eq!(path(&Scope::root()), "");
        assert_eq!(path(&"/subscriptions/a b".parse().unwrap()), "/subscriptions/a%20b");
    }

    #[test]
    fn a_workspace_is_known_by_its_id() {
        let id = "/subscriptions/S/resourcegroups/G/providers/Microsoft.MachineLearningServices/workspaces/W";
        let found = workspace_of(&json!({ "id": id })).unwrap();
        assert_eq!(
            (found.subscription.as_str(), found.resource_group.as_str(), found.name.as_str()),
            ("S", "G", "W")
        );
        assert_eq!(workspace_of(&json!({"id": "/subscriptions/S"})), None);
    }
}
