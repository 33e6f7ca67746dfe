//! Batch endpoints and the deployments behind them: an invocation is a job over files.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::deployment::{Deployment, RequestSettings};
use super::names::{DeploymentName, EndpointName};
use super::scope::{Scope, ScopeError, WorkspaceRef};

/// A batch endpoint. Its callers present Entra tokens; it has no other mode ("Authorization on batch endpoints").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchEndpoint {
    /// Unique in a gateway, among online endpoints too.
    pub name: EndpointName,
    /// The workspace it belongs to.
    pub workspace: WorkspaceRef,
    /// The deployment of jobs that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_deployment: Option<DeploymentName>,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// The user's labels.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The user's property bag.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

impl BatchEndpoint {
    /// Its resource id.
    pub fn scope(&self) -> Result<Scope, ScopeError> {
        Ok(self.workspace.scope()?.batch_endpoint(&self.name))
    }
}

/// How the rows or files of a mini-batch become a request, and its answer predictions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestFormat {
    /// A file is a request, its media type that of its extension.
    #[default]
    Raw,
    /// `{"dataframe_split": {"columns": […], "data": [[…]]}}`, as MLflow reads.
    DataframeSplit,
    /// `{"input_data": {"columns": […], "index": […], "data": [[…]]}}`, as Azure's own server reads.
    InputData,
    /// `{"instances": [{…}]}`, as TensorFlow Serving and KServe v1 read.
    Instances,
    /// A JSON object a line.
    Jsonl,
}

/// What becomes of predictions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputAction {
    /// Each is a row of the output file.
    #[default]
    AppendRow,
    /// They are counted; the model keeps them itself.
    SummaryOnly,
}

/// How much a job tells in its log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoggingLevel {
    /// Failures.
    Warning,
    /// Stages and failures.
    #[default]
    Info,
    /// Every mini-batch.
    Debug,
}

/// The rules of a job that its deployment gives and its caller may override ("CLI (v2) batch deployment YAML schema").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchSettings {
    /// Instances that work for one job.
    pub instance_count: u32,
    /// Mini-batches that an instance works on at once.
    pub max_concurrency_per_instance: u32,
    /// Files in a mini-batch.
    pub mini_batch_size: u64,
    /// Files, or with rows of tables rows, that may fail before the job does; −1 for any number.
    pub error_threshold: i64,
    /// Times that a mini-batch is tried again.
    pub max_retries: u32,
    /// Time for one try.
    pub timeout: Duration,
    /// What becomes of predictions.
    pub output_action: OutputAction,
    /// The output's name; `.csv`, `.jsonl` or `.parquet` says its form.
    pub output_file_name: String,
    /// How much is told.
    pub logging_level: LoggingLevel,
    /// How requests are made.
    pub request_format: RequestFormat,
    /// Rows of a table in one request.
    pub rows_per_request: u32,
}

impl Default for BatchSettings {
    /// Azure's defaults, and a thousand rows a request.
    fn default() -> Self {
        BatchSettings {
            instance_count: 1,
            max_concurrency_per_instance: 1,
            mini_batch_size: 10,
            error_threshold: -1,
            max_retries: 3,
            timeout: Duration::from_secs(30),
            output_action: OutputAction::AppendRow,
            output_file_name: "predictions.csv".to_owned(),
            logging_level: LoggingLevel::Info,
            request_format: RequestFormat::Raw,
            rows_per_request: 1000,
        }
    }
}

impl BatchSettings {
    /// What requests of a job go by. Nobody waits at their other end, so they wait for a place as long as they may take.
    pub fn request_settings(&self) -> RequestSettings {
        RequestSettings {
            request_timeout: self.timeout,
            max_concurrent_requests_per_instance: self.max_concurrency_per_instance,
            max_queue_wait: self.timeout,
        }
    }
}

/// Whether a text can name an output file: one segment of a path that is not hidden and has one spelling in an address.
pub fn is_file_name(text: &str) -> bool {
    let plain = |c: char| !c.is_control() && !"/\\%?#".contains(c);
    (1..=255).contains(&text.len()) && text.chars().all(plain) && !text.starts_with('.')
}

/// One version of a model behind a batch endpoint: instances like an online deployment's, and the rules of its jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchDeployment {
    /// Name, endpoint, backend, clocks, labels and workload, with the same meaning as of an online deployment. Of its
    /// request settings the concurrency and the time of a request follow from `settings`.
    pub serving: Deployment,
    /// The rules of its jobs.
    pub settings: BatchSettings,
    /// The compute target; free text, kept and shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute: Option<String>,
}

impl BatchDeployment {
    /// Its resource id.
    pub fn scope(&self) -> Result<Scope, ScopeError> {
        let endpoint = self.serving.workspace.scope()?.batch_endpoint(&self.serving.endpoint);
        Ok(endpoint.deployment(&self.serving.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_a_plain_file() {
        for good in ["predictions.csv", "p", "a b.jsonl", "ä.parquet", &"x".repeat(255)] {
            assert!(is_file_name(good), "{good}");
        }
        for bad in ["", ".", "..", ".parts", "a/b.csv", "a\\b", "a\n", "a\0", "a%2fb", &"x".repeat(256)] {
            assert!(!is_file_name(bad), "{bad}");
        }
    }
}
