//! Where batch jobs are kept: what was asked for, how far it is, and their mini-batches as items that any gateway of
//! the store takes up under a lease.
//!
//! Nothing is done twice into an output, because every hold on a job or an item has a number that goes up each time it
//! is taken: what an earlier holder still says is not taken down. Times are Unix milliseconds and come from the caller.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::model::job::{Counts, JobName, JobSpec, JobState};
use crate::model::scope::Scope;

/// A job as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptJob {
    /// What was asked for.
    pub spec: JobSpec,
    /// How far it is.
    pub state: JobState,
    /// Somebody who may asked for it to be stopped.
    pub cancel: bool,
    /// What is sealed for it while it runs, such as what reads its data as its owner.
    pub sealed: Option<String>,
}

/// What came of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// It is kept.
    New(KeptJob),
    /// The same request made this job before.
    Known(KeptJob),
    /// Another job of the workspace has the name.
    NameTaken,
}

/// Which jobs are listed, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFilter {
    /// Jobs of this workspace.
    pub workspace: Scope,
    /// Only of this endpoint (its name in lower case), and of this deployment.
    pub endpoint: Option<(String, Option<String>)>,
}

/// The lead of a job: whoever has it lists its files, follows its items and puts its output together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lead {
    /// The job.
    pub job: KeptJob,
    /// Goes up each time that the lead is taken.
    pub fence: i64,
}

/// A file of a mini-batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    /// Its path in the store, or its address.
    pub path: String,
    /// What the output calls it: its path below the input.
    pub name: String,
    /// Bytes; 0 if they are not known.
    pub size: u64,
}

/// A mini-batch that somebody works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its job.
    pub job: Scope,
    /// Its place in the input, from 0.
    pub index: u64,
    /// Which try this is, from 1; goes up each time that the item is taken.
    pub attempt: u32,
    /// Tries that failed by themselves, besides those that were lost with their holder.
    pub failed: u32,
    /// Its files.
    pub files: Vec<FileRef>,
}

/// What became of a mini-batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The object that holds its predictions, or none if there are none to keep.
    pub object: Option<String>,
    /// Predictions.
    pub rows: u64,
    /// Files or rows that could not be scored.
    pub failures: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes of the object.
    pub bytes_written: u64,
    /// The first failures, each with its file.
    pub told: Vec<crate::model::job::Failure>,
}

/// What a holder says of its item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, for good.
    Done(Part),
    /// It failed for good; what of it could be scored is in the part.
    Failed(Part),
    /// This try failed, and it waits until then for another.
    Again {
        /// From when on it can be taken.
        not_before: i64,
    },
    /// It was given up without having failed, and waits for another holder.
    GivenUp,
}

/// A mini-batch that is done with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its place in the input.
    pub index: u64,
    /// Whether it succeeded.
    pub done: bool,
    /// What became of it.
    pub part: Part,
}

/// A store of batch jobs.
///
/// Every method may be cancelled: what it was to change is then changed whole or not at all.
#[async_trait]
pub trait JobStore: Send + Sync + std::fmt::Debug {
    /// Keeps a job. `request` is the caller's id for the request, under which it makes one job, however often it comes.
    async fn submit(&self, job: &KeptJob, request: Option<&str>) -> Result<Submitted, StoreError>;
    /// A job by its resource id (`{workspace}/jobs/{name}`).
    async fn job(&self, id: &Scope) -> Result<Option<KeptJob>, StoreError>;
    /// Jobs, newest first and those of one moment by name, those that come after the one named `after`, at most `most`;
    /// none if there is no such job.
    async fn jobs(
        &self,
        of: &JobFilter,
        after: Option<&JobName>,
        most: u32,
    ) -> Result<Vec<KeptJob>, StoreError>;
    /// Asks for a job to be stopped, unless it has ended; gives the job as it is then.
    async fn cancel(&self, id: &Scope) -> Result<Option<KeptJob>, StoreError>;
    /// Jobs that have not ended, of everybody.
    async fn unfinished(&self) -> Result<u64, StoreError>;

    /// Takes the lead of the oldest job that has not ended and that nobody leads at `now`, until `until`; at that moment
    /// it is over, and anybody may take it.
    async fn lead(&self, now: i64, until: i64) -> Result<Option<Lead>, StoreError>;
    /// Keeps a lead until then. Gives the job as it is now, or none if the lead was lost: taken by somebody, not merely
    /// over.
    async fn keep_lead(&self, lead: &Lead, until: i64) -> Result<Option<KeptJob>, StoreError>;
    /// Takes down how far a job is, and what is sealed for it from then on, if anything. `false` if the lead was lost.
    /// With a final state the lead ends and nothing stays sealed.
    async fn note(&self, lead: &Lead, state: &JobState, sealed: Option<&str>) -> Result<bool, StoreError>;
    /// Adds items from this index on; those that are there already stay as they are. `false` if the lead was lost.
    async fn plan(&self, lead: &Lead, first: u64, items: &[Vec<FileRef>]) -> Result<bool, StoreError>;
    /// What a job's items come to.
    async fn counts(&self, id: &Scope) -> Result<Counts, StoreError>;
    /// Items that are done with, from this index on, in their order, at most `most`.
    async fn ended(&self, id: &Scope, from: u64, most: u32) -> Result<Vec<Ended>, StoreError>;

    /// Takes up to `most` items that can be taken at `now`, in their order, until `until`, as long as no more than
    /// `in_all` are held by everybody together. None of a job that does not run or that somebody asked to be stopped.
    ///
    /// `times` are `now` and `until`. Whatever is held beyond its time by then is lost to its holder, even if it is not
    /// among what is taken.
    async fn claim(
        &self,
        id: &Scope,
        times: (i64, i64),
        most: u32,
        in_all: u32,
    ) -> Result<Vec<Claim>, StoreError>;
    /// Keeps claims until then, and gives those that are lost: somebody else has the item, or its job is not running
    /// any more.
    async fn keep_claims(&self, claims: &[Claim], until: i64) -> Result<Vec<Claim>, StoreError>;
    /// Takes down what became of an item. `false` if it was lost meanwhile, or the job is not running any more. Said twice by the same
    /// holder, because the answer did not come, an end is still `true`.
    async fn settle(&self, claim: &Claim, outcome: &Outcome) -> Result<bool, StoreError>;
    /// Removes some items of jobs that have ended: what became of them is in their states. `false` if there are none.
    async fn sweep(&self) -> Result<bool, StoreError>;
    /// Running jobs that nobody asked to be stopped, oldest first: any gateway may take up their items.
    async fn running(&self, most: u32) -> Result<Vec<KeptJob>, StoreError>;
    /// Says that a holder carries out jobs at the first of these times and until the second, and gives how many do.
    async fn present(&self, holder: &str, times: (i64, i64)) -> Result<u64, StoreError>;
}
