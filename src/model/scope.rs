//! Scopes of Azure's resource tree: root, management group, subscription, resource group, resource.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::datastore::DatastoreName;
use super::names::{DeploymentName, EndpointName};

/// The longest id that is read, in bytes.
const MAX_LENGTH: usize = 2048;

/// A place in the resource tree at which rights are granted, and the id of whatever lives there.
///
/// Shown as it was written, compared in lower case and whole segments (Azure RBAC, "Understand scope").
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scope {
    shown: Arc<str>,
    key: Arc<str>,
}

/// Why a text is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a scope: {problem}")]
pub struct ScopeError {
    text: String,
    problem: &'static str,
}

/// A workspace's place: the three names above every endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WorkspaceRef {
    /// Subscription id.
    pub subscription: String,
    /// Resource group.
    pub resource_group: String,
    /// Workspace name.
    pub name: String,
}

impl WorkspaceRef {
    /// The workspace's resource id.
    pub fn scope(&self) -> Result<Scope, ScopeError> {
        format!(
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.MachineLearningServices/workspaces/{}",
            self.subscription, self.resource_group, self.name
        )
        .parse()
    }
}

impl Scope {
    /// The root, `/`.
    pub fn root() -> Scope {
        Scope { shown: "/".into(), key: "/".into() }
    }

    /// The scope in lower case, by which it is compared.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The online endpoint of that name under this workspace.
    #[must_use]
    pub fn online_endpoint(&self, name: &EndpointName) -> Scope {
        self.child("onlineEndpoints", &name.to_string())
    }

    /// The batch endpoint of that name under this workspace.
    #[must_use]
    pub fn batch_endpoint(&self, name: &EndpointName) -> Scope {
        self.child("batchEndpoints", &name.to_string())
    }

    /// The data store of that name under this workspace.
    #[must_use]
    pub fn datastore(&self, name: &DatastoreName) -> Scope {
        self.child("datastores", &name.to_string())
    }

    /// The deployment of that name under this endpoint.
    #[must_use]
    pub fn deployment(&self, name: &DeploymentName) -> Scope {
        self.child("deployments", &name.to_string())
    }

    /// The extension resource `/providers/Microsoft.Authorization/{kind}/{name}` at this scope.
    #[must_use]
    pub fn authorization(&self, kind: &str, name: &str) -> Scope {
        let base = if &*self.shown == "/" { "" } else { &*self.shown };
        Scope::of(format!("{base}/providers/Microsoft.Authorization/{kind}/{name}"))
    }

    /// The extension resource of the gateway's own provider at this scope.
    #[must_use]
    pub fn gateway(&self, kind: &str, name: &str) -> Scope {
        let base = if &*self.shown == "/" { "" } else { &*self.shown };
        Scope::of(format!("{base}/providers/Scoregate.Gateway/{kind}/{name}"))
    }

    /// Something of a kind and a name under this scope.
    #[must_use]
    pub fn child(&self, kind: &str, name: &str) -> Scope {
        Scope::of(format!("{}/{kind}/{name}", self.shown))
    }

    /// Whether this is a workspace, or an endpoint, a deployment or a data store in one.
    pub fn is_in_a_workspace(&self) -> bool {
        let Some((_, rest)) = self.key.split_once("/providers/microsoft.machinelearningservices/workspaces/")
        else {
            return false;
        };
        let mut kinds = rest.split('/').skip(1).step_by(2);
        kinds.next().is_none_or(|kind| ["onlineendpoints", "batchendpoints", "datastores"].contains(&kind))
    }

    /// Whether the other scope is this one or lies below it.
    pub fn contains(&self, other: &Scope) -> bool {
        let (own, other) = (self.key(), other.key());
        own == "/" || other.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn of(shown: String) -> Scope {
        Scope { key: shown.to_ascii_lowercase().into(), shown: shown.into() }
    }

    /// This scope and every scope above it that its id names, nearest first, root last, in lower case.
    ///
    /// Management groups are not in an id; the policy knows which ones stand above a subscription.
    pub fn lineage(&self) -> Vec<&str> {
        let key = self.key();
        let mut levels = vec![key];
        let ends: Vec<usize> = key.match_indices('/').map(|(at, _)| at).skip(1).chain([key.len()]).collect();
        let segments: Vec<&str> = key.split('/').skip(1).collect();
        // Ends of the levels: subscription = 2 segments, group = 4, resource = 8 and then every 2 more.
        let is_level = |count: usize| match segments.first() {
            Some(&"subscriptions") => matches!(count, 2 | 4) || (count >= 8 && count.is_multiple_of(2)),
            _ => false,
        };
        for count in (1..segments.len()).rev() {
            if is_level(count)
                && let Some(level) = ends.get(count - 1).and_then(|&end| key.get(..end))
            {
                levels.push(level);
            }
        }
        if key != "/" {
            levels.push("/");
        }
        levels
    }

    /// The subscription's id in lower case, if the scope lies in one.
    pub fn subscription(&self) -> Option<&str> {
        let mut segments = self.key.split('/').skip(1);
        (segments.next() == Some("subscriptions")).then(|| segments.next()).flatten()
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Scope, ScopeError> {
        let wrong = |problem| ScopeError { text: text.chars().take(120).collect(), problem };
        if text.len() > MAX_LENGTH {
            return Err(wrong("it is longer than 2048 characters"));
        }
        if text == "/" {
            return Ok(Scope::root());
        }
        let rest = text.strip_prefix('/').ok_or_else(|| wrong("it starts with `/`"))?;
        let segments: Vec<&str> = rest.strip_suffix('/').unwrap_or(rest).split('/').collect();
        let plain =
            |s: &&str| !s.is_empty() && s.chars().all(|c| !c.is_control() && !"<>%&\\?*#".contains(c));
        if !segments.iter().all(plain) {
            return Err(wrong("a segment is empty or holds a character that ids do not have"));
        }
        let is = |at: usize, word: &str| segments.get(at).is_some_and(|s| s.eq_ignore_ascii_case(word));
        let count = segments.len();
        let well_formed = if is(0, "subscriptions") {
            count == 2
                || (count == 4 && is(2, "resourceGroups"))
                || (count >= 8 && count.is_multiple_of(2) && is(2, "resourceGroups") && is(4, "providers"))
        } else {
            is(0, "providers") && is(1, "Microsoft.Management") && is(2, "managementGroups") && count == 4
        };
        if !well_formed {
            return Err(wrong(
                "it is `/`, a management group, a subscription, a resource group or a resource in one, \
                 such as /subscriptions/{id}/resourceGroups/{name}",
            ));
        }
        Ok(Scope::of(format!("/{}", segments.join("/"))))
    }
}

impl TryFrom<String> for Scope {
    type Error = ScopeError;
    fn try_from(text: String) -> Result<Scope, ScopeError> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> String {
        scope.shown.to_string()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({})", self.shown)
    }
}

impl PartialEq for Scope {
    fn eq(&self, other: &Scope) -> bool {
        self.key == other.key
    }
}

impl Eq for Scope {}

impl Hash for Scope {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: &str = "/subscriptions/S/resourceGroups/RG/providers/Microsoft.MachineLearningServices/workspaces/ws/onlineEndpoints/ep";

    #[test]
    fn lineage_names_every_level_once_nearest_first() {
        let scope: Scope = ENDPOINT.parse().unwrap();
        let workspace =
            "/subscriptions/s/resourcegroups/rg/providers/microsoft.machinelearningservices/workspaces/ws";
        let expected = [
            &ENDPOINT.to_ascii_lowercase(),
            workspace,
            "/subscriptions/s/resourcegroups/rg",
            "/subscriptions/s",
            "/",
        ];
        assert_eq!(scope.lineage(), expected);
        assert_eq!(Scope::root().lineage(), ["/"]);
        let group: Scope = "/providers/Microsoft.Management/managementGroups/M".parse().unwrap();
        assert_eq!(group.lineage(), ["/providers/microsoft.management/managementgroups/m", "/"]);
    }

    #[test]
    fn case_and_a_trailing_slash_do_not_matter_segments_do() {
        let scope = |text: &str| text.parse::<Scope>().unwrap();
        assert_eq!(scope("/subscriptions/A/"), scope("/SUBSCRIPTIONS/a"));
        assert_ne!(scope("/subscriptions/a"), scope("/subscriptions/ab"));
        assert_eq!(scope("/subscriptions/Ab").to_string(), "/subscriptions/Ab");
        assert_eq!(scope(ENDPOINT).subscription(), Some("s"));
    }

    #[test]
    fn what_is_no_scope_is_refused() {
        for bad in [
            "",
            "subscriptions/a",
            "//",
            "/subscriptions",
            "/subscriptions//x",
            "/foo/bar",
            "/subscriptions/a/b/c",
            "/subscriptions/a/resourceGroups/b/providers/x/y",
            "/subscriptions/a%2f",
            "/subscriptions/a\u{0}",
        ] {
            assert!(bad.parse::<Scope>().is_err(), "{bad:?}");
        }
    }
}
