//! Where resources are kept: durable before acknowledged, changed in whole batches, followed by a feed. Every batch
//! leaves a record of who did it, chained to the one before, in the same transaction.

pub mod chain;
#[cfg(test)]
mod conformance;
mod contents;
pub mod jobs;
mod sql;

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;
use uuid::Uuid;

use crate::model::audit::{Deed, Record, System};
use crate::model::resource::Resource;
use crate::model::scope::Scope;

pub use contents::{Contents, Delta};
pub use sql::{Bounds, SqlStore};

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
    /// Who made and changed it.
    pub system: System,
}

/// What a change expects to find; anything else is a conflict, and nothing of the batch is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Whatever is there.
    Anything,
    /// Nothing.
    Absent,
    /// Something.
    Present,
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
    /// Removes one and everything whose id begins with its: an endpoint's deployments, and the grants at them. If
    /// anything of that comes from the resources directory, nothing is done.
    DeleteTree(Scope, Expect),
    /// Changes nothing, but is a conflict unless this is so: what a change relies on elsewhere.
    Require(Scope, Expect),
    /// Changes nothing, but is refused if any resource claims something that begins so.
    RequireUnclaimed(String),
}

/// Changes that are made together, and who makes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The changes; none for a deed that changes nothing, such as the reading of a key.
    pub changes: Vec<Change>,
    /// Who makes them, for the audit.
    pub deed: Deed,
}

/// A batch that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The revision it led to.
    pub revision: Revision,
    /// What it wrote, in its order, as it is kept.
    pub written: Vec<Arc<Stored>>,
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
    /// Another resource has what is unique.
    #[error("`{holder}` already has what `{id}` would have to be alone in having")]
    Taken {
        /// What was to be written.
        id: Scope,
        /// Who has it.
        holder: String,
    },
    /// What would be removed with it comes from the resources directory.
    #[error("`{id}` comes from the resources directory and cannot be removed with what it belongs to")]
    Kept {
        /// What would be removed.
        id: String,
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
    #[error("store {place}: {why}")]
    Open {
        /// The file, or the address without what opens it.
        place: String,
        /// What is wrong, and what to do.
        why: String,
    },
}

impl StoreError {
    /// The same of a store that is being opened.
    fn at(self, place: String) -> StoreError {
        match self {
            StoreError::Unavailable(why) => StoreError::Open { place, why },
            other => other,
        }
    }
}

/// An audit record as it is kept: its text and the hash that chains it to the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Its number.
    pub sequence: u64,
    /// The record as JSON, byte for byte what was hashed.
    pub text: String,
    /// Its hash.
    pub hash: [u8; 32],
}

/// A store of resources.
///
/// Every method may be cancelled: a batch is then either done whole or not at all.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Makes all of these changes or none, with their record, durably, and gives what came of it.
    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError>;
    /// One resource.
    async fn get(&self, id: &Scope) -> Result<Option<Arc<Stored>>, StoreError>;
    /// Everything, as of one revision.
    async fn contents(&self) -> Result<Contents, StoreError>;
    /// What changed after a revision; `None` if that is too long ago to be known, or was never.
    async fn since(&self, revision: Revision) -> Result<Option<Delta>, StoreError>;
    /// The present revision; also tells whether the store answers.
    async fn revision(&self) -> Result<Revision, StoreError>;
    /// Tells of new revisions, of this process's own at once.
    fn feed(&self) -> watch::Receiver<Revision>;
    /// Remembers a value under a name unless there is one already, and gives the one that is remembered.
    async fn remember(&self, name: &str, value: &str) -> Result<String, StoreError>;
    /// Audit records after this number, oldest first, at most `most`.
    async fn audit(&self, after: u64, most: u32) -> Result<Vec<AuditRow>, StoreError>;
    /// Number of the last audit record that the store remembers writing, and its seal; `None` if there is none.
    async fn audit_head(&self) -> Result<Option<(u64, [u8; 32])>, StoreError>;
    /// The record of one operation.
    async fn operation(&self, id: Uuid) -> Result<Option<Record>, StoreError>;
}
