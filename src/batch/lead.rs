//! The lead of a job: lists its files, cuts them into mini-batches, watches over them, puts the output together.
//!
//! Every step can be done again by whoever takes the lead next: plans are added to, outputs written anew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::authority;
use super::context::{Context, Opened};
use super::manifest;
use super::services::Services;
use crate::artifacts::{ArtifactError, Assembled, Written};
use crate::clock::rfc3339;
use crate::gate::jobs::Lacking;
use crate::model::audit::{Deed, Outcome};
use crate::model::batch::{LoggingLevel, OutputAction};
use crate::model::job::{Counts, Failure, JobSpec, JobState, JobStatus};
use crate::store::jobs::{Ended, KeptJob, Lead};
use crate::store::{Batch, StoreError};

/// Items that are planned in one go, and read in one go at the end.
const CHUNK: usize = 500;
/// How often a running job is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Times that listing or putting together is tried, and the first pause in between.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);
/// Failures of files that a job tells.
const TOLD: usize = 20;

/// Why a job is led no further here.
#[derive(Debug)]
enum Leave {
    /// Somebody else leads it, or nobody for now.
    Lost,
    /// The job ends so.
    End(JobStatus, Option<Failure>),
    /// The store does not answer; whoever takes the lead next goes on.
    Store(StoreError),
}

impl From<StoreError> for Leave {
    fn from(error: StoreError) -> Leave {
        Leave::Store(error)
    }
}

fn ends(code: &str, message: impl Into<String>) -> Leave {
    let failure = Failure { code: code.to_owned(), message: message.into() };
    Leave::End(JobStatus::Failed, Some(failure))
}

/// Leads a job to its end, or until the lead is lost or the runner stops.
pub(super) async fn drive(services: Arc<Services>, lead: Lead, stop: CancellationToken) {
    let Ok(id) = lead.job.spec.scope() else { return };
    let context = Context::new(lead.job.clone(), id);
    let leading = Leading { services: &services, state: lead.job.state.clone(), lead, context, stop: &stop };
    let name = leading.lead.job.spec.name.clone();
    match leading.run().await {
        Ok(()) | Err(Leave::Lost | Leave::End(..)) => {}
        Err(Leave::Store(error)) => warn!(job = %name, %error, "the lead of a job is given up for now"),
    }
    services.wake.notify_one();
}

struct Leading<'a> {
    services: &'a Services,
    lead: Lead,
    state: JobState,
    context: Context,
    stop: &'a CancellationToken,
}

impl Leading<'_> {
    fn spec(&self) -> &JobSpec {
        &self.lead.job.spec
    }

    async fn run(mut self) -> Result<(), Leave> {
        let how = match self.state.status {
            JobStatus::NotStarted | JobStatus::Preparing => match self.prepare().await {
                Ok(()) => self.watch().await,
                Err(leave) => Err(leave),
            },
            JobStatus::Finalizing => {
                let status = match &self.state.failure {
                    None => JobStatus::Completed,
                    Some(failure) if failure.code == CANCELED => JobStatus::Canceled,
                    Some(_) => JobStatus::Failed,
                };
                Err(Leave::End(status, self.state.failure.clone()))
            }
            _ => self.watch().await,
        };
        match how {
            Err(Leave::End(status, failure)) => self.end(status, failure).await,
            other => other,
        }
    }

    /// Takes down where the job stands; the lead is lost if somebody else has it.
    async fn note(&mut self) -> Result<(), Leave> {
        let sealed = self.lead.job.sealed.clone();
        let noted = self.services.jobs.note(&self.lead, &self.state, sealed.as_deref()).await?;
        if noted { Ok(()) } else { Err(Leave::Lost) }
    }

    /// Keeps the lead, and sees whether the job is to be stopped.
    async fn keep(&mut self) -> Result<(), Leave> {
        if self.stop.is_cancelled() {
            return Err(Leave::Lost);
        }
        let KeptJob { cancel, .. } = self.keep_lead().await?;
        if cancel {
            let message = "somebody who may asked for it".to_owned();
            return Err(Leave::End(
                JobStatus::Canceled,
                Some(Failure { code: CANCELED.to_owned(), message }),
            ));
        }
        Ok(())
    }

    /// Whether the owner may still have the job go on, and there is still what it is to be scored by.
    async fn judge(&self, opened: &Opened) -> Result<(), Leave> {
        let Some(snapshot) = self.services.snapshot.fresh() else { return Ok(()) };
        let spec = self.spec();
        let endpoint = snapshot.endpoints.get(spec.endpoint.key());
        let there = endpoint.filter(|endpoint| endpoint.deployment(spec.deployment.key()).is_some());
        let Some(endpoint) = there else {
            let message = format!("deployment `{}` of endpoint `{}` is gone", spec.deployment, spec.endpoint);
            return Err(ends("DeploymentGone", message));
        };
        let judged =
            self.services.tools().gate.authorize(&snapshot, endpoint, &opened.caller, &opened.rights).await;
        match judged {
            // What cannot be looked up now is asked again; meanwhile no mini-batch goes on either.
            Ok(_) | Err(Lacking::Unavailable) => Ok(()),
            Err(Lacking::Rights(lost)) => {
                Err(Leave::End(JobStatus::Failed, Some(authority::revoked(&spec.owner, &lost))))
            }
        }
    }

    async fn opened(&self) -> Result<&Opened, Leave> {
        self.context.open(self.services).await.map_err(|error| {
            let failure = error.failure();
            Leave::End(JobStatus::Failed, Some(failure))
        })
    }

    /// Lists the files and cuts them into mini-batches.
    async fn prepare(&mut self) -> Result<(), Leave> {
        self.keep().await?;
        self.state.status = JobStatus::Preparing;
        self.note().await?;
        let kind = self.spec().input.kind;
        let files = {
            let opened = self.opened().await?;
            self.judge(opened).await?;
            let listed = self.kept_while(retried(|| opened.input.list(kind))).await?;
            listed.map_err(|error| ends(error.code(), error.to_string()))?
        };
        let size = usize::try_from(self.spec().settings.mini_batch_size).unwrap_or(usize::MAX).max(1);
        let mini_batches = files.len().div_ceil(size);
        for (at, group) in files.chunks(size.saturating_mul(CHUNK)).enumerate() {
            self.keep().await?;
            let items: Vec<_> = group.chunks(size).map(<[_]>::to_vec).collect();
            if !self.services.jobs.plan(&self.lead, (at * CHUNK) as u64, &items).await? {
                return Err(Leave::Lost);
            }
        }
        self.state.counts =
            Counts { files: files.len() as u64, mini_batches: mini_batches as u64, ..Counts::default() };
        self.state.started = Some(self.services.clock.unix_millis());
        self.state.status = JobStatus::Running;
        self.note().await?;
        if self.spec().settings.logging_level != LoggingLevel::Warning {
            let (job, files) = (&self.spec().name, files.len());
            info!(%job, files, mini_batches, "a job is running");
        }
        self.services.wake.notify_one();
        Ok(())
    }

    /// Watches over the mini-batches until there is none left, or the job has to end.
    async fn watch(&mut self) -> Result<(), Leave> {
        let (mut beat, mut progress) = (Instant::now(), Instant::now());
        loop {
            {
                let opened = self.opened().await?;
                self.judge(opened).await?;
            }
            let found = self.services.jobs.counts(&self.context.id).await?;
            let (threshold, files) = (self.spec().settings.error_threshold, self.state.counts.files);
            let planned = self.state.counts.mini_batches;
            let moved = (found.done, found.failed, found.retries)
                != (self.state.counts.done, self.state.counts.failed, self.state.counts.retries);
            self.state.counts = Counts { files, mini_batches: planned, ..found };
            let counts = &self.state.counts;
            if u64::try_from(threshold).is_ok_and(|most| counts.failures > most) {
                let message = format!(
                    "{} files or rows could not be scored and error_threshold is {threshold}; see the job's failures",
                    counts.failures
                );
                return Err(ends("ErrorThresholdExceeded", message));
            }
            if counts.done + counts.failed >= planned {
                return Err(Leave::End(JobStatus::Completed, None));
            }
            if moved {
                progress = Instant::now();
            }
            let patience = self.services.tools().limits.batch_patience + self.spec().settings.timeout;
            if progress.elapsed() > patience {
                let message = format!(
                    "no mini-batch ended in {patience:?}; see whether the deployment's instances are there and answer"
                );
                return Err(ends("NoProgress", message));
            }
            if beat.elapsed() >= self.services.beat() {
                beat = Instant::now();
                self.keep().await?;
                self.note().await?;
            }
            tokio::select! {
                () = self.stop.cancelled() => return Err(Leave::Lost),
                () = tokio::time::sleep(LOOK) => {}
            }
            // A request to stop is seen at the next look, whoever took it down.
            if self.services.jobs.job(&self.context.id).await?.is_some_and(|job| job.cancel) {
                self.keep().await?;
            }
        }
    }

    /// Puts together what is committed, and ends the job.
    async fn end(&mut self, status: JobStatus, failure: Option<Failure>) -> Result<(), Leave> {
        self.state.status = JobStatus::Finalizing;
        self.state.failure.clone_from(&failure);
        self.note().await?;
        let mut status = status;
        if self.state.started.is_some()
            && let Err(problem) = self.put_together(status).await?
        {
            (status, self.state.failure) = (JobStatus::Failed, Some(problem));
        }
        self.state.status = status;
        self.state.ended = Some(self.services.clock.unix_millis());
        if !self.services.jobs.note(&self.lead, &self.state, None).await? {
            return Err(Leave::Lost);
        }
        self.services.metrics.batch_jobs.with_label_values(&[status.as_str()]).inc();
        self.record(status).await;
        if self.spec().settings.logging_level != LoggingLevel::Warning || status == JobStatus::Failed {
            let (job, counts) = (&self.spec().name, &self.state.counts);
            let code = self.state.failure.as_ref().map(|failure| failure.code.as_str());
            info!(%job, status = status.as_str(), code, rows = counts.rows, failures = counts.failures, "a job ended");
        }
        if let Ok(opened) = self.context.open(self.services).await
            && let Err(error) = opened.output.clear().await
        {
            warn!(job = %self.spec().name, %error, "parts of a job's output are left over");
        }
        Ok(())
    }

    /// Writes the output and its manifest. The inner error is the job's, the outer one the lead's.
    async fn put_together(&mut self, status: JobStatus) -> Result<Result<(), Failure>, Leave> {
        let id = self.context.id.clone();
        let found = self.services.jobs.counts(&id).await?;
        let (files, mini_batches) = (self.state.counts.files, self.state.counts.mini_batches);
        self.state.counts = Counts { mini_batches, files, ..found };
        let opened = match self.context.open(self.services).await {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error.failure())),
        };
        let (mut parts, mut failures) = (Vec::new(), Vec::new());
        let mut from = 0;
        loop {
            let ended = self.services.jobs.ended(&id, from, u32::try_from(CHUNK).unwrap_or(u32::MAX)).await?;
            let Some(last) = ended.last() else { break };
            from = last.index + 1;
            for Ended { index, part, .. } in ended {
                let bytes = part.bytes_written;
                parts.extend(part.object.map(|object| Written { index, object, bytes }));
                if failures.len() < TOLD {
                    failures.extend(part.told);
                    failures.truncate(TOLD);
                }
            }
        }
        self.state.failures = failures;
        if self.spec().settings.output_action == OutputAction::SummaryOnly {
            return Ok(Ok(()));
        }
        // Of a job that another has ended meanwhile there may be no items any more: the output would be empty.
        self.keep_lead().await?;
        // Whoever lost the right to the output's store has nothing written there.
        let snapshot = self.services.snapshot.fresh().ok_or(Leave::Lost)?;
        let gate = &self.services.tools().gate;
        match gate.judge(&snapshot.policy, &opened.caller, &opened.output_rights).await {
            Ok(_) => {}
            Err(Lacking::Rights(lost)) => return Ok(Err(authority::revoked(&self.spec().owner, &lost))),
            // Asked again by whoever leads next.
            Err(Lacking::Unavailable) => return Err(Leave::Lost),
        }
        let assembling = retried(|| opened.output.assemble(&parts));
        let assembled = match self.kept_while(assembling).await? {
            Ok(assembled) => assembled,
            Err(error) => {
                return Ok(Err(Failure { code: error.code().to_owned(), message: error.to_string() }));
            }
        };
        let Assembled { uri, bytes, .. } = &assembled;
        (self.state.output, self.state.counts.bytes_written) = (Some(uri.clone()), *bytes);
        let text = manifest::signed(self.spec(), &self.state, status, &assembled, &self.services.vault);
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                let message = error.to_string();
                return Ok(Err(Failure { code: "InternalServerError".to_owned(), message }));
            }
        };
        let name = manifest::name(&assembled);
        let put = retried(|| opened.output.put(&name, text.clone().into()));
        match self.kept_while(put).await? {
            Ok(uri) => self.state.manifest = Some(uri),
            Err(error) => {
                return Ok(Err(Failure { code: error.code().to_owned(), message: error.to_string() }));
            }
        }
        Ok(Ok(()))
    }

    /// Keeps the lead, whatever was asked of the job.
    async fn keep_lead(&self) -> Result<KeptJob, Leave> {
        let kept = self.services.jobs.keep_lead(&self.lead, self.services.until()).await?;
        kept.ok_or(Leave::Lost)
    }

    /// Does something that may take longer than a lead lasts.
    async fn kept_while<T>(&self, doing: impl Future<Output = T>) -> Result<T, Leave> {
        let mut doing = std::pin::pin!(doing);
        loop {
            tokio::select! {
                done = &mut doing => {
                    // Nothing is done next by who was away for so long that another leads.
                    self.keep_lead().await?;
                    return Ok(done);
                }
                () = self.stop.cancelled() => return Err(Leave::Lost),
                () = tokio::time::sleep(self.services.beat()) => {
                    self.keep_lead().await?;
                }
            }
        }
    }

    /// Records the job's end.
    async fn record(&self, status: JobStatus) {
        let outcome = match (&self.state.failure, status) {
            (_, JobStatus::Completed) | (None, _) => Outcome::Done,
            (Some(failure), _) => Outcome::Refused { code: failure.code.clone() },
        };
        let (request, time) = (&self.spec().request_id, rfc3339(self.services.clock.unix()));
        let deed = Deed::of_gateway("batch", "Scoregate.Gateway/jobs/end", request, time);
        let deed = Deed { scope: self.context.id.clone(), outcome, ..deed };
        if let Err(error) = self.services.audit.commit(Batch { changes: Vec::new(), deed }).await {
            self.services.metrics.audit_failures.inc();
            warn!(job = %self.spec().name, %error, "a job's end could not be recorded");
        }
    }
}

/// The code of a job that was stopped.
const CANCELED: &str = "JobCanceled";

/// Does something again if that may help.
async fn retried<T, F: Future<Output = Result<T, ArtifactError>>>(
    mut what: impl FnMut() -> F,
) -> Result<T, ArtifactError> {
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match what().await {
            Err(error) if error.is_transient() => tokio::time::sleep(pause).await,
            decided => return decided,
        }
        pause *= 2;
    }
    what().await
}
