//! What can be done to resources: each operation checks Azure's rules, commits one batch with its audit record, and
//! is acknowledged once it is durable and in force here.
//!
//! Everything that changes a resource or tells a secret takes a [`Granted`], and only [`Operations::authorize`] makes one.

mod access;
mod asset;
mod authorize;
mod batch_deployment;
mod batch_endpoint;
mod datastore;
mod deployment;
mod endpoint;
mod explain;
mod keys;
mod mirror;
mod refusal;
mod roles;
mod workspace;

use std::sync::Arc;

use crate::clock::{Clock, rfc3339};
use crate::gate::failures::Failures;
use crate::identity::directory::Directory;
use crate::identity::token::TokenVerifier;
use crate::identity::vault::Vault;
use crate::instances::Roster;
use crate::model::audit::{Deed, Outcome};
use crate::model::role::{PrincipalId, RoleAssignment};
use crate::model::scope::Scope;
use crate::model::workspace::Workspace;
use crate::publish::{PublishError, Publisher};
use crate::settings::{Batch as Storage, Instances, Limits};
use crate::store::jobs::JobStore;
use crate::store::{Batch, Change, Committed, Expect, Manager, Revision, Store, StoreError, Stored};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::recent::Recent;

pub use access::Question;
pub use authorize::{Asker, Granted};
pub use refusal::Refusal;
pub use roles::AssignmentFilter;

/// Operations on the resources of one gateway.
#[derive(Debug)]
pub struct Operations {
    /// Puts changes in force; knows what is.
    pub publisher: Arc<Publisher>,
    /// Where resources are kept.
    pub store: Arc<dyn Store>,
    /// Where batch jobs are kept.
    pub jobs: Arc<dyn JobStore>,
    /// Opens and seals keys.
    pub vault: Arc<Vault>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Knows groups that do not fit into a token.
    pub directory: Option<Arc<Directory>>,
    /// Judges tokens for scoring, to explain them.
    pub scoring: Arc<TokenVerifier>,
    /// Scoring requests that can still be explained.
    pub recent: Arc<Recent>,
    /// Workspaces that the settings make; the first is the default.
    pub workspaces: Vec<Workspace>,
    /// Held while signing keys are made.
    pub rotating: Arc<tokio::sync::Mutex<()>>,
    /// What deployments made by callers may use of this machine.
    pub instances: Instances,
    /// Directories of this machine that data stores made by callers may be in.
    pub storage: Storage,
    /// Knows the processes of deployments.
    pub roster: Roster,
    /// Refusals by principal, so that nobody fills the audit with them.
    pub refusals: Failures<PrincipalId>,
    /// Grants that the settings make.
    pub owners: Vec<RoleAssignment>,
    /// How much there may be.
    pub limits: Limits,
    /// Where failures of the audit are counted.
    pub metrics: Metrics,
}

/// What a write found and whether it made something new.
#[derive(Debug, Clone)]
pub struct Written {
    /// What is there now.
    pub stored: Arc<Stored>,
    /// There was nothing before.
    pub created: bool,
    /// Under which it can be asked how the operation ended.
    pub operation: uuid::Uuid,
}

/// What a caller expects to change (RFC 9110 section 13.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Precondition {
    /// `If-Match`: one of these revisions, or with an empty list any (`*`).
    pub if_match: Option<Vec<Revision>>,
    /// `If-None-Match: *`: nothing is there yet.
    pub if_absent: bool,
}

impl Precondition {
    /// What the store has to find, if what is there is as the caller expects.
    pub fn judge(&self, before: Option<&Stored>) -> Result<Expect, Refusal> {
        let met = match (&self.if_match, before) {
            (Some(_), None) => false,
            (Some(revisions), Some(stored)) => {
                !self.if_absent && (revisions.is_empty() || revisions.contains(&stored.revision))
            }
            (None, Some(_)) => !self.if_absent,
            (None, None) => true,
        };
        if met {
            Ok(before.map_or(Expect::Absent, |stored| Expect::At(stored.revision)))
        } else {
            Err(Refusal::PreconditionFailed)
        }
    }

    fn is_set(&self) -> bool {
        self.if_match.is_some() || self.if_absent
    }
}

impl Operations {
    /// What is stored under an id now, from the store itself.
    pub async fn stored(&self, id: &Scope) -> Result<Option<Arc<Stored>>, Refusal> {
        Ok(self.store.get(id).await?)
    }

    /// Commits the changes of a granted operation with its audit record, and waits until they are in force.
    async fn commit(&self, granted: &Granted, changes: Vec<Change>) -> Result<Committed, Refusal> {
        let deed = self.deed(granted, Outcome::Done);
        Ok(self.publisher.commit(Batch { changes, deed }).await?)
    }

    /// Records a granted operation that changes no resource.
    pub async fn record_done(&self, granted: &Granted) -> Result<(), Refusal> {
        self.commit(granted, Vec::new()).await.map(|_| ())
    }

    /// Writes one resource as its owner by the API, or leaves it with the files that it came from.
    async fn put(
        &self,
        granted: &Granted,
        put: Put,
        precondition: &Precondition,
        mut with: Vec<Change>,
    ) -> Result<Written, Refusal> {
        let created = matches!(put.expect, Expect::Absent);
        with.push(Change::Put(Box::new(put.resource), put.manager, put.expect));
        let mut committed =
            self.commit(granted, with).await.map_err(|refusal| refusal.under(precondition))?;
        // What this operation wrote, whatever others have made of it since.
        let stored = committed.written.pop().ok_or(Refusal::Defect)?;
        Ok(Written { stored, created, operation: granted.operation })
    }

    /// Removes a resource with everything below it and the grants at it. `false` if there was none.
    async fn remove(
        &self,
        granted: &Granted,
        before: Option<&Stored>,
        precondition: &Precondition,
        mut with: Vec<Change>,
    ) -> Result<bool, Refusal> {
        let expect = precondition.judge(before)?;
        let Some(before) = before else { return Ok(false) };
        not_from_files(before)?;
        with.push(Change::DeleteTree(granted.scope.clone(), expect));
        self.commit(granted, with).await.map_err(|refusal| refusal.under(precondition))?;
        Ok(true)
    }

    fn deed(&self, granted: &Granted, outcome: Outcome) -> Deed {
        Deed {
            operation: granted.operation,
            time: rfc3339(self.clock.unix()),
            request_id: granted.asker.request_id.clone(),
            actor: granted.asker.actor(),
            action: granted.action.to_string(),
            scope: granted.scope.clone(),
            decided_by: Some(granted.decided_by.clone()),
            client_address: Some(granted.asker.client),
            outcome,
        }
    }

    /// Records that somebody was refused a write or a secret, or failed at it.
    pub async fn record_refusal(
        &self,
        asker: &Asker,
        action: &str,
        scope: &Scope,
        (refusal, granted): (&Refusal, bool),
    ) -> Result<(), Refusal> {
        if matches!(refusal, Refusal::NotInForce | Refusal::TooManyRefusals) {
            // What is stored has its record already.
            return Ok(());
        }
        // Whoever has the right may fail as often as he likes: he could as well succeed.
        if !granted && self.refusals.one_too_many(asker.caller.object_id) {
            return Err(Refusal::TooManyRefusals);
        }
        let deed = Deed {
            operation: uuid::Uuid::new_v4(),
            time: rfc3339(self.clock.unix()),
            request_id: asker.request_id.clone(),
            actor: asker.actor(),
            action: action.to_owned(),
            scope: scope.clone(),
            decided_by: None,
            client_address: Some(asker.client),
            outcome: Outcome::Refused { code: refusal.code().to_owned() },
        };
        self.store.commit(Batch { changes: Vec::new(), deed }).await.map_err(|error| {
            self.metrics.audit_failures.inc();
            Refusal::from(error)
        })?;
        Ok(())
    }
}

/// One resource to be written.
struct Put {
    resource: crate::model::resource::Resource,
    manager: Manager,
    expect: Expect,
}

/// Refuses a change of what files keep: the files would undo it.
fn not_from_files(stored: &Stored) -> Result<(), Refusal> {
    match stored.manager {
        Manager::Caller => Ok(()),
        Manager::Directory => Err(Refusal::ManagedByFiles),
    }
}

impl From<PublishError> for Refusal {
    fn from(error: PublishError) -> Refusal {
        match error {
            PublishError::Store(error) => error.into(),
            PublishError::Late(_) => Refusal::NotInForce,
            PublishError::Compile(error) => Refusal::Unavailable(error.to_string()),
            PublishError::Converge(error) => Refusal::Unavailable(error.to_string()),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        match error {
            StoreError::Conflict { .. } => Refusal::Conflict,
            StoreError::Taken { .. } => Refusal::Taken,
            StoreError::Kept { .. } => Refusal::ManagedByFiles,
            StoreError::Unavailable(why) => Refusal::Unavailable(why),
            error @ (StoreError::Corrupt { .. } | StoreError::Open { .. }) => {
                Refusal::Unavailable(error.to_string())
            }
        }
    }
}
