//! Everything in a store as of one revision, in memory, ordered by id.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Revision, Stored};
use crate::model::scope::Scope;

/// Everything in the store, as of one revision. A copy shares the resources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// That revision.
    pub revision: Revision,
    resources: BTreeMap<Arc<str>, Arc<Stored>>,
}

/// What changed between two revisions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// The later of the two.
    pub revision: Revision,
    /// What was written, by id in lower case.
    pub put: Vec<(String, Arc<Stored>)>,
    /// What was removed, by id in lower case.
    pub gone: Vec<String>,
}

impl Contents {
    /// Contents of these resources, by id in lower case.
    pub fn new(revision: Revision, resources: impl IntoIterator<Item = (String, Arc<Stored>)>) -> Contents {
        Contents { revision, resources: resources.into_iter().map(|(id, one)| (id.into(), one)).collect() }
    }

    /// One resource.
    pub fn get(&self, id: &Scope) -> Option<&Arc<Stored>> {
        self.resources.get(id.key())
    }

    /// Everything, in the order of ids.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Stored>> {
        self.resources.values()
    }

    /// What lies below an id, with ids in lower case, in their order; not the id itself.
    pub fn below(&self, id: &Scope) -> impl Iterator<Item = (&str, &Arc<Stored>)> {
        let from: Arc<str> = if id.key() == "/" { "/".into() } else { format!("{}/", id.key()).into() };
        self.resources
            .range(from.clone()..)
            .take_while(move |(key, _)| key.starts_with(&*from))
            .map(|(key, stored)| (&**key, stored))
    }

    /// How many resources there are.
    pub fn len(&self) -> usize {
        self.resources.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    /// The contents after a change.
    #[must_use]
    pub fn after(&self, delta: Delta) -> Contents {
        let mut next = self.clone();
        next.revision = delta.revision;
        for id in delta.gone {
            next.resources.remove(&*id);
        }
        next.resources.extend(delta.put.into_iter().map(|(id, stored)| (Arc::from(id), stored)));
        next
    }
}
