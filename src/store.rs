//! Where resources are kept: durable before acknowledged, changed in whole batches, followed by a feed.

#[cfg(test)]
mod conformance;
mod sqlite;

use std::path::PathBuf;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::model::resource::Resource;
use crate::model::scope::Scope;

pub use sqlite::SqliteStore;

/// The number of a state of the store; goes up with every batch.
pub type Revision = u64;

/// Who keeps a resource up to date, so that one hand does not undo the other's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// The resources directory.
    Directory,
    /// Somebody who called the API.
    Caller,
}

impl Manager {
    fn as_str(self) -> &'static str {
        match self {
            Manager::Directory => "directory",
            Manager::Caller => "caller",
        }
    }
}

/// A resource in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The resource.
    pub resource: Resource,
    /// The revision that changed it last; its etag.
    pub revision: Revision,
    /// Who keeps it.
    pub manager: Manager,
}

/// What a change expects to find; anything else is a conflict, and nothing of the batch is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Whatever is there.
    Anything,
    /// Nothing.
    Absent,
    /// The resource as of this revision.
    At(Revision),
}

/// One change of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Writes a resource.
    Put(Box<Resource>, Manager, Expect),
    /// Removes one.
    Delete(Scope, Expect),
}

/// Everything in the store, as of one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// That revision.
    pub revision: Revision,
    /// Every resource, in the order of their ids.
    pub resources: Vec<Stored>,
}

/// Why the store did not do it. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A change expected something else.
    #[error("`{id}` was changed by somebody else; read it again and repeat the change")]
    Conflict {
        /// What was to be changed.
        id: Scope,
    },
    /// The store cannot be reached or does not answer.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// What it holds cannot be understood.
    #[error("row `{id}` of table `{table}` cannot be read: {why}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The row.
        id: String,
        /// What is wrong with it.
        why: String,
    },
    /// It cannot be opened.
    #[error("store {}: {why}", file.display())]
    Open {
        /// The file.
        file: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
}

/// A store of resources.
///
/// Every method may be cancelled: a batch is then either done whole or not at all.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Makes all of these changes or none, durably, and gives the new revision.
    async fn commit(&self, changes: Vec<Change>) -> Result<Revision, StoreError>;
    /// One resource.
    async fn get(&self, id: &Scope) -> Result<Option<Stored>, StoreError>;
    /// Everything, as of one revision.
    async fn contents(&self) -> Result<Contents, StoreError>;
    /// The present revision; also tells whether the store answers.
    async fn revision(&self) -> Result<Revision, StoreError>;
    /// Tells of new revisions, of this process's own at once.
    fn feed(&self) -> watch::Receiver<Revision>;
    /// Remembers a value under a name unless there is one already, and gives the one that is remembered.
    async fn remember(&self, name: &str, value: &str) -> Result<String, StoreError>;
}
