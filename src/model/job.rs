//! Batch jobs: what was asked for, by whom, by which rights, and how far it is.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::batch::BatchSettings;
use super::names::{DeploymentName, EndpointName};
use super::role::PrincipalId;
use super::scope::{Scope, ScopeError, WorkspaceRef};

/// A job's name, unique in its workspace: letters, digits, `_` and `-`, compared as written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobName(String);

/// Why a text is no job's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a job's name: 1 to 255 letters, digits, `_` and `-`, beginning with a letter or digit")]
pub struct JobNameError(String);

impl JobName {
    /// A name for a job that was given none.
    pub fn random() -> JobName {
        JobName(Uuid::new_v4().to_string())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for JobName {
    type Error = JobNameError;

    fn try_from(text: String) -> Result<JobName, JobNameError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let sound = (1..=255).contains(&text.len())
            && text.chars().all(plain)
            && text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if sound { Ok(JobName(text)) } else { Err(JobNameError(text.chars().take(80).collect())) }
    }
}

impl std::str::FromStr for JobName {
    type Err = JobNameError;
    fn from_str(text: &str) -> Result<JobName, JobNameError> {
        text.to_owned().try_into()
    }
}

impl From<JobName> for String {
    fn from(name: JobName) -> String {
        name.0
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Azure's states of a job that can come up here ("Job - Get", `JobStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JobStatus {
    /// Kept; nothing was done for it yet.
    NotStarted,
    /// Its files are being listed.
    Preparing,
    /// Its mini-batches are scored.
    Running,
    /// Its output is being put together.
    Finalizing,
    /// Done.
    Completed,
    /// Ended without success.
    Failed,
    /// Stopped by somebody who might.
    Canceled,
}

impl JobStatus {
    /// The word of Azure's API.
    pub fn as_str(self) -> &'static str {
        match self {
            JobStatus::NotStarted => "NotStarted",
            JobStatus::Preparing => "Preparing",
            JobStatus::Running => "Running",
            JobStatus::Finalizing => "Finalizing",
            JobStatus::Completed => "Completed",
            JobStatus::Failed => "Failed",
            JobStatus::Canceled => "Canceled",
        }
    }

    /// Whether nothing comes after it.
    pub fn is_final(self) -> bool {
        matches!(self, JobStatus::Completed | JobStatus::Failed | JobStatus::Canceled)
    }
}

/// One file, or all below a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataKind {
    /// A file.
    UriFile,
    /// Every file below it.
    UriFolder,
}

/// An input or output of a job: its name among them, its kind, and where it is, as the caller wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// The caller's name for it; it means nothing.
    pub name: String,
    /// A file or a folder.
    pub kind: DataKind,
    /// `https://…`, `azureml://datastores/{name}/paths/{path}`, or a store's resource id with `/paths/{path}`; of a job
    /// that is kept without its query.
    pub uri: String,
}

impl Data {
    /// Parts it from its query: what signs an address is sealed, and never kept or shown beside it.
    #[must_use]
    pub fn part_query(mut self) -> (Data, Option<String>) {
        let query = self.uri.split_once('?').map(|(_, query)| query.to_owned());
        if let Some(query) = &query {
            self.uri.truncate(self.uri.len() - query.len() - 1);
        }
        (self, query)
    }
}

/// The identity that a job belongs to and is judged by: what its token said, never the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The principal that role assignments name.
    pub object_id: PrincipalId,
    /// Its tenant.
    pub tenant: Option<Uuid>,
    /// `User` or `ServicePrincipal`.
    pub kind: String,
    /// The application it came through.
    pub app_id: Option<String>,
    /// Its groups as its token listed them; `None` if they did not fit and the directory is asked.
    pub groups: Option<Vec<PrincipalId>>,
}

/// One right that a job was accepted by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grounds {
    /// The action.
    pub action: String,
    /// Where it was judged.
    pub scope: Scope,
    /// The role assignment that gives it.
    pub decided_by: String,
}

/// What was asked for. Never changes once it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Its name.
    pub name: JobName,
    /// Its workspace.
    pub workspace: WorkspaceRef,
    /// The endpoint that was invoked.
    pub endpoint: EndpointName,
    /// The deployment that scores it.
    pub deployment: DeploymentName,
    /// Azure's label for runs that belong together.
    pub experiment: String,
    /// What it is for.
    pub description: String,
    /// The caller's labels.
    pub tags: BTreeMap<String, String>,
    /// The caller's property bag.
    pub properties: BTreeMap<String, String>,
    /// What is scored.
    pub input: Data,
    /// Where the output goes.
    pub output: Data,
    /// The deployment's rules with the caller's overrides.
    pub settings: BatchSettings,
    /// Whose it is.
    pub owner: Owner,
    /// What it was accepted by.
    pub grounds: Vec<Grounds>,
    /// The revision of the resources that this was judged by.
    pub revision: u64,
    /// The request that made it.
    pub request_id: String,
    /// When it was accepted, Unix milliseconds.
    pub created: i64,
}

impl JobSpec {
    /// Its resource id: a job of the workspace.
    pub fn scope(&self) -> Result<Scope, ScopeError> {
        Ok(self.workspace.scope()?.child("jobs", self.name.as_str()))
    }

    /// Its endpoint's resource id.
    pub fn endpoint_scope(&self) -> Result<Scope, ScopeError> {
        Ok(self.workspace.scope()?.child("batchEndpoints", &self.endpoint.to_string()))
    }
}

/// Why a job, or a part of it, failed: a code, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The code that programs branch on.
    pub code: String,
    /// What happened, to which file, and what to do.
    pub message: String,
}

/// What a job has come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Counts {
    /// Mini-batches in all.
    pub mini_batches: u64,
    /// Mini-batches that are committed.
    pub done: u64,
    /// Mini-batches that failed for good.
    pub failed: u64,
    /// Files in all.
    pub files: u64,
    /// Files, or rows of tables, that could not be scored.
    pub failures: u64,
    /// Predictions.
    pub rows: u64,
    /// Tries that failed and were made again; those that were lost with a gateway are not among them.
    pub retries: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
}

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobState {
    /// Azure's word for it.
    pub status: JobStatus,
    /// When its first mini-batch could be scored, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<i64>,
    /// When it ended, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<i64>,
    /// Why it failed or was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What it came to; while it runs, as of the last look.
    #[serde(default)]
    pub counts: Counts,
    /// The first failures of files, each in a line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
    /// The output, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The signed manifest beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
}

impl JobState {
    /// A job that was just accepted.
    pub fn accepted() -> JobState {
        JobState {
            status: JobStatus::NotStarted,
            started: None,
            ended: None,
            failure: None,
            counts: Counts::default(),
            failures: Vec::new(),
            output: None,
            manifest: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_signs_a_url_is_parted_from_where_it_is() {
        let part = |uri: &str| {
            let data = Data { name: String::new(), kind: DataKind::UriFile, uri: uri.to_owned() };
            let (data, query) = data.part_query();
            (data.uri, query)
        };
        let signed = part("https://a.example/c/f.csv?sv=1&sig=s?");
        assert_eq!(signed, ("https://a.example/c/f.csv".to_owned(), Some("sv=1&sig=s?".to_owned())));
        let plain = "azureml://datastores/d/paths/x";
        assert_eq!(part(plain), (plain.to_owned(), None));
    }
}
