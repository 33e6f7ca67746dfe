//! One mini-batch: its owner judged again, its files read, cut into requests, scored by the data plane, and its
//! predictions kept as a part of the output.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use http::{HeaderValue, StatusCode, Uri};
use tracing::{debug, info};

use super::context::{Context, Opened};
use super::services::Services;
use crate::artifacts::{ArtifactError, Packed, Packing, PartWriter, predictions};
use crate::gate::authorize::Permit;
use crate::gate::fault::{Fault, Reason};
use crate::gate::jobs::Lacking;
use crate::model::batch::{LoggingLevel, OutputAction};
use crate::model::job::Failure;
use crate::proxy::Work;
use crate::routing::DeploymentRoute;
use crate::store::jobs::{Claim, FileRef, Outcome, Part};

/// Pauses while there is no instance or no room at one.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MOST: Duration = Duration::from_secs(5);
/// Failures of one mini-batch that are told.
const TOLD: usize = 20;

/// A mini-batch in hand.
pub(super) struct MiniBatch {
    pub(super) services: Arc<Services>,
    pub(super) context: Arc<Context>,
    pub(super) claim: Claim,
}

/// Why a try came to no end of its own.
#[derive(Debug)]
enum Stop {
    /// The model or the data failed, which counts as a try.
    Failed(Failure),
    /// Nobody can take it at present, which is not the mini-batch's fault.
    Wait,
    /// It is not to go on: the owner lost a right, or what scores is gone. Whoever leads the job sees to that.
    Halt,
}

/// Scores a mini-batch and takes down what became of it.
///
/// Dropping the future gives it up; what it has written then counts for nothing.
pub(super) async fn score(mini_batch: MiniBatch) {
    let outcome = mini_batch.outcome().await;
    let MiniBatch { services, context, claim } = &mini_batch;
    let word = match &outcome {
        Outcome::Done(_) => "done",
        Outcome::Failed(_) => "failed",
        Outcome::Again { .. } => "again",
        Outcome::GivenUp => "given_up",
    };
    let settled = services.jobs.settle(claim, &outcome).await;
    match settled {
        Ok(true) => {
            services.metrics.batch_mini_batches.with_label_values(&[word]).inc();
            if let Outcome::Done(part) | Outcome::Failed(part) = &outcome {
                services.metrics.batch_rows.inc_by(part.rows);
                services.metrics.batch_failures.inc_by(part.failures);
            }
            if context.job.spec.settings.logging_level == LoggingLevel::Debug {
                info!(job = %context.job.spec.name, index = claim.index, attempt = claim.attempt, outcome = word, "a mini-batch ended");
            }
        }
        Ok(false) => {
            debug!(job = %context.job.spec.name, index = claim.index, "a mini-batch was ended by somebody else");
        }
        Err(error) => {
            tracing::warn!(%error, job = %context.job.spec.name, index = claim.index, "a mini-batch could not be settled; it is done again");
        }
    }
    if matches!(outcome, Outcome::GivenUp) {
        // Not taken up again at once, to be given up again.
        tokio::time::sleep(PAUSE_MOST / 5).await;
    }
}

impl MiniBatch {
    async fn outcome(&self) -> Outcome {
        let settings = &self.context.job.spec.settings;
        let last = self.claim.failed >= settings.max_retries;
        let mut pause = PAUSE;
        let failure = loop {
            let tried = tokio::time::timeout(settings.timeout, self.attempt(last)).await;
            match tried {
                Ok(Ok(part)) => return Outcome::Done(part),
                Ok(Err(Stop::Halt)) => return Outcome::GivenUp,
                Ok(Err(Stop::Failed(failure))) => break failure,
                Ok(Err(Stop::Wait)) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MOST);
                }
                Err(_) => {
                    let message = format!(
                        "mini-batch {} took longer than its time of {:?}; give the deployment a longer retry_settings.timeout \
                         or smaller mini-batches",
                        self.claim.index, settings.timeout
                    );
                    break Failure { code: "MiniBatchTimeout".to_owned(), message };
                }
            }
        };
        if last {
            let failures = self.claim.files.len() as u64;
            return Outcome::Failed(Part {
                object: None,
                rows: 0,
                failures,
                bytes_read: 0,
                bytes_written: 0,
                told: vec![failure],
            });
        }
        let wait = 200_i64 << self.claim.failed.min(6);
        Outcome::Again { not_before: self.services.clock.unix_millis() + wait }
    }

    /// One try. On the last one a request that fails takes only itself out of the output.
    async fn attempt(&self, last: bool) -> Result<Part, Stop> {
        let spec = &self.context.job.spec;
        let opened = match self.context.open(&self.services).await {
            Ok(opened) => opened,
            Err(error) => return Err(Stop::Failed(error.failure())),
        };
        let keeps = spec.settings.output_action == OutputAction::AppendRow;
        let writer = keeps.then(|| opened.output.part(self.claim.index, self.claim.attempt));
        let writer = writer.transpose().map_err(|error| failed(&error))?;
        let mut made = Made { writer, part: Part::default(), last };
        for file in &self.claim.files {
            self.file(opened, file, &mut made).await?;
        }
        let Made { writer, mut part, .. } = made;
        if let Some(writer) = writer {
            let (object, bytes) = writer.finish().await.map_err(|error| failed(&error))?;
            (part.object, part.bytes_written) = (Some(object), bytes);
        }
        Ok(part)
    }

    async fn file(&self, opened: &Opened, file: &FileRef, made: &mut Made) -> Result<(), Stop> {
        let settings = &self.context.job.spec.settings;
        let limits = &self.services.tools().limits;
        let packing = Packing {
            format: settings.request_format,
            rows_per_request: settings.rows_per_request,
            most: limits.batch_request_bytes as u64,
        };
        let mut requests = std::pin::pin!(opened.input.requests(file, packing));
        while let Some(packed) = requests.next().await {
            let packed = match packed {
                Ok(packed) => packed,
                Err(error) if error.is_transient() && !made.last => {
                    let failure = Failure { code: error.code().to_owned(), message: error.to_string() };
                    return Err(Stop::Failed(failure));
                }
                Err(error) => {
                    made.fail(1, Failure { code: error.code().to_owned(), message: error.to_string() });
                    // What stands behind what cannot be read cannot be found.
                    return Ok(());
                }
            };
            made.part.bytes_read += packed.read;
            self.request(opened, file, packed, made).await?;
        }
        Ok(())
    }

    async fn request(
        &self,
        opened: &Opened,
        file: &FileRef,
        packed: Packed,
        made: &mut Made,
    ) -> Result<(), Stop> {
        let settings = &self.context.job.spec.settings;
        let (permit, deployment) = self.permit(opened).await?;
        let rows = packed.rows;
        let work = Work {
            permit,
            deployment,
            content_type: HeaderValue::from_static(packed.content_type),
            body: packed.body,
            name: HeaderValue::try_from(self.context.job.spec.name.as_str())
                .unwrap_or(HeaderValue::from_static("job")),
            uri: self.uri(),
            most: self.services.tools().limits.batch_answer_bytes,
        };
        let lost = u64::from(rows.unwrap_or(1));
        let pipeline = self.services.tools().pipeline.clone();
        let problem = match pipeline.work(work).await {
            Ok(answer) if answer.status == StatusCode::OK => {
                let kind = answer.content_type.as_ref().and_then(|kind| kind.to_str().ok());
                match predictions(settings.request_format, rows, kind, &answer.body) {
                    Ok(found) => {
                        made.part.rows += found.len() as u64;
                        if let Some(writer) = &mut made.writer {
                            writer.add(&file.name, &found).await.map_err(|error| failed(&error))?;
                        }
                        return Ok(());
                    }
                    Err(error) => {
                        Problem { again: true, failure: told(file, error.code(), &error.to_string()) }
                    }
                }
            }
            Ok(answer) => {
                let status = answer.status;
                let again = status.is_server_error()
                    || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
                let message = format!("the model answered {status}; look at its logs");
                Problem { again, failure: told(file, "ModelError", &message) }
            }
            Err(fault) if is_waiting(&fault) => return Err(Stop::Wait),
            Err(fault) => {
                let message = format!("{} ({})", fault.message, fault.reason.label());
                Problem { again: true, failure: told(file, fault.reason.code(), &message) }
            }
        };
        if problem.again && !made.last {
            return Err(Stop::Failed(problem.failure));
        }
        made.fail(lost, problem.failure);
        Ok(())
    }

    /// The right to go on, judged now, and what scores.
    async fn permit(&self, opened: &Opened) -> Result<(Permit, Arc<DeploymentRoute>), Stop> {
        let spec = &self.context.job.spec;
        let snapshot = self.services.snapshot.fresh().ok_or(Stop::Wait)?;
        let endpoint = snapshot.endpoints.get(spec.endpoint.key()).ok_or(Stop::Halt)?;
        let deployment = endpoint.deployment(spec.deployment.key()).ok_or(Stop::Halt)?.clone();
        let judged =
            self.services.tools().gate.authorize(&snapshot, endpoint, &opened.caller, &opened.rights).await;
        match judged {
            Ok((permit, _)) => Ok((permit, deployment)),
            Err(Lacking::Rights(_)) => Err(Stop::Halt),
            Err(Lacking::Unavailable) => Err(Stop::Wait),
        }
    }

    fn uri(&self) -> Uri {
        let spec = &self.context.job.spec;
        let path = format!("/endpoints/{}/jobs/{}/{}", spec.endpoint, spec.name, self.claim.index);
        path.parse().unwrap_or_default()
    }
}

/// What of a mini-batch is made so far.
struct Made {
    writer: Option<PartWriter>,
    part: Part,
    last: bool,
}

impl Made {
    fn fail(&mut self, count: u64, failure: Failure) {
        self.part.failures += count;
        if self.part.told.len() < TOLD {
            self.part.told.push(failure);
        }
    }
}

/// A request that failed.
struct Problem {
    again: bool,
    failure: Failure,
}

fn told(file: &FileRef, code: &str, message: &str) -> Failure {
    Failure { code: code.to_owned(), message: format!("{}: {message}", file.name) }
}

fn failed(error: &ArtifactError) -> Stop {
    Stop::Failed(Failure { code: error.code().to_owned(), message: error.to_string() })
}

/// Whether nobody could take a request: it was not judged by a model.
fn is_waiting(fault: &Fault) -> bool {
    matches!(
        fault.reason,
        Reason::NoInstance
            | Reason::ConnectFailed
            | Reason::ConnectTimedOut
            | Reason::ConnectionBroken
            | Reason::TooManyPending
            | Reason::EndpointBusy
            | Reason::EndpointRate
            | Reason::PrincipalRate
            | Reason::IdentityUnavailable
            | Reason::SnapshotTooOld
    )
}
