//! Takes jobs in, shows them and stops them.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use tokio::sync::Notify;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::authority;
use super::places::{PlaceError, Places};
use super::secrets::Secrets;
use super::tokens::{OwnerTokens, Refused};
use crate::arm::envelope::{ErrorBody, ErrorDetail};
use crate::arm::invocation::{self, Invocation};
use crate::arm::job;
use crate::artifacts::{ArtifactError, Opener};
use crate::clock::{Clock, rfc3339};
use crate::forms::{Reading, parse_json};
use crate::gate::failures::Failures;
use crate::gate::jobs::{JobGate, Lacking};
use crate::identity::on_behalf_of::{ObtainError, OnBehalfOf};
use crate::identity::vault::{Vault, VaultError};
use crate::model::audit::{Deed, Outcome};
use crate::model::batch::BatchSettings;
use crate::model::datastore::DEFAULT_STORE;
use crate::model::job::{Data, DataKind, Grounds, JobName, JobSpec, JobState};
use crate::model::names::{DeploymentName, EndpointName};
use crate::model::role::PrincipalId;
use crate::model::scope::Scope;
use crate::proxy::jobs::{Ask, JobAnswer, JobCall, Jobs};
use crate::rbac::job::{Group, Right};
use crate::routing::{BatchRoute, EndpointRoute, Payer};
use crate::settings::Limits;
use crate::store::jobs::{JobStore, KeptJob, Submitted};
use crate::store::{Batch, Store, StoreError};

const SUBMIT: &str = "Microsoft.MachineLearningServices/workspaces/batchEndpoints/jobs/write";
const READ: &str = "Microsoft.MachineLearningServices/workspaces/batchEndpoints/jobs/read";
const CANCEL: &str = "Microsoft.MachineLearningServices/workspaces/jobs/cancel/action";

/// Where callers of batch endpoints come to.
#[derive(Debug)]
pub struct Desk {
    /// Where jobs are kept.
    pub jobs: Arc<dyn JobStore>,
    /// Where deeds are recorded.
    pub audit: Arc<dyn Store>,
    /// Judges callers.
    pub gate: JobGate,
    /// Knows what data may be read.
    pub opener: Arc<Opener>,
    /// Gets tokens for storage as the caller, if that is set up.
    pub on_behalf: Option<Arc<OnBehalfOf>>,
    /// Seals them.
    pub vault: Arc<Vault>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// How much there may be.
    pub limits: Limits,
    /// Refusals by principal, so that nobody fills the audit with them.
    pub refusals: Arc<Failures<PrincipalId>>,
    /// Tells the runner that there is something to do.
    pub wake: Arc<Notify>,
}

/// Why a call is refused: a status, what is said, and the word for metrics and records.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    detail: Box<ErrorDetail>,
    reason: &'static str,
    retry_after: Option<u32>,
    challenge: Option<String>,
}

impl Refusal {
    fn new(status: StatusCode, code: &str, message: impl Into<String>, reason: &'static str) -> Refusal {
        let detail = Box::new(ErrorDetail::new(code, message));
        Refusal { status, detail, reason, retry_after: None, challenge: None }
    }

    fn bad(code: &str, field: &str, message: impl Into<String>) -> Refusal {
        let mut refusal = Refusal::new(StatusCode::BAD_REQUEST, code, message, "malformed_job");
        refusal.detail.target = Some(field.to_owned()).filter(|field| !field.is_empty());
        refusal
    }

    fn not_found(code: &str, message: String) -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, code, message, "job_not_found")
    }

    fn too_many(message: &str, seconds: u32) -> Refusal {
        let status = StatusCode::TOO_MANY_REQUESTS;
        let refusal = Refusal::new(status, "TooManyRequests", message, "too_many_jobs");
        Refusal { retry_after: Some(seconds), ..refusal }
    }

    fn unavailable(code: &str, message: &str) -> Refusal {
        let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, code, message, "job_unavailable");
        Refusal { retry_after: Some(5), ..refusal }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        tracing::warn!(%error, "a job was refused because the store does not answer");
        Refusal::unavailable("StoreUnavailable", "the store does not answer; nothing was made; try again")
    }
}

impl From<PlaceError> for Refusal {
    fn from(error: PlaceError) -> Refusal {
        match error {
            PlaceError::Uri { field, error } => {
                Refusal::bad("BadArgument", &format!("properties.{field}"), error.to_string())
            }
            PlaceError::Name(error) => Refusal::bad("BadArgument", "", error.to_string()),
        }
    }
}

impl From<VaultError> for Refusal {
    fn from(error: VaultError) -> Refusal {
        tracing::error!(%error, "a job was refused because nothing can be sealed to it");
        Refusal::unavailable("InternalServerError", "the job could not be kept; try again")
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Refusal {
        match refused {
            Refused::Obtain(error) if error.is_transient() => {
                let message = "the authority does not answer; nothing was made; try again";
                Refusal::unavailable("IdentityUnavailable", message)
            }
            Refused::Obtain(ObtainError::Interaction { challenge, .. }) => {
                let message = "the authority wants the caller to sign in once more before it lets the gateway read his data";
                let status = StatusCode::UNAUTHORIZED;
                let refusal = Refusal::new(status, "InteractionRequired", message, "interaction_required");
                Refusal { challenge, ..refusal }
            }
            refused => {
                let message = format!("the input or output cannot be reached as the caller: {refused}");
                Refusal::new(StatusCode::FORBIDDEN, "DataAccessDenied", message, "data_access")
            }
        }
    }
}

/// A job as its endpoint shows it.
fn shown(status: StatusCode, kept: &KeptJob) -> Result<JobAnswer, Refusal> {
    let view = job::of_endpoint(&kept.spec, &kept.state).map_err(PlaceError::from)?;
    let body = Bytes::from(view.to_string());
    Ok(JobAnswer { status, body, reason: None, retry_after: None, challenge: None })
}

#[async_trait]
impl Jobs for Desk {
    async fn call(&self, call: JobCall) -> JobAnswer {
        let JobCall { ask, .. } = &call;
        let result = match ask {
            Ask::Submit { body, deployment, repeated } => {
                self.submit(&call, body, deployment.as_deref(), repeated.as_deref()).await
            }
            Ask::Show(name) => self.show(&call, name).await,
            Ask::Cancel(name) => self.stop(&call, name).await,
        };
        result.unwrap_or_else(|refusal| {
            let body = serde_json::to_string(&ErrorBody { error: *refusal.detail }).unwrap_or_default();
            JobAnswer {
                status: refusal.status,
                body: body.into(),
                reason: Some(refusal.reason),
                retry_after: refusal.retry_after,
                challenge: refusal.challenge,
            }
        })
    }
}

fn no_deployment(name: &str) -> Refusal {
    let message = format!("the endpoint has no deployment `{}`", name.chars().take(64).collect::<String>());
    Refusal::not_found("DeploymentNotFound", message)
}

/// The deployment that a job is for, which need not be there.
fn wanted(batch: &BatchRoute, named: Option<&str>) -> Result<DeploymentName, Refusal> {
    let Some(name) = named.or(batch.default.as_deref()) else {
        let message =
            "the endpoint has no default deployment; name one in the azureml-model-deployment header";
        return Err(Refusal::not_found("NoDefaultDeployment", message.to_owned()));
    };
    name.parse().map_err(|_| no_deployment(name))
}

/// The rules of a deployment's jobs, and its name as it is written, if it is there.
fn found(
    route: &EndpointRoute,
    batch: &BatchRoute,
    name: &DeploymentName,
) -> Option<(DeploymentName, Arc<BatchSettings>)> {
    let settings = batch.deployments.get(name.key())?;
    let written = route.deployment(name.key())?.name.to_str().ok()?.parse().ok()?;
    Some((written, settings.clone()))
}

fn parse(body: &[u8]) -> Result<Invocation, Refusal> {
    let wrong = |message: String| Refusal::bad("InvalidRequestContent", "", message);
    let node = parse_json(body).map_err(|error| wrong(error.to_string()))?;
    let reading = Reading::of_body();
    let form = reading.form(Some(&node));
    let read = invocation::read(&form);
    form.close();
    let mistakes = reading.finish();
    if let (Some(read), true) = (read, mistakes.is_empty()) {
        return Ok(read);
    }
    let detail = Box::new(ErrorDetail::of_mistakes("BadArgument", &mistakes));
    Err(Refusal { detail, ..Refusal::bad("BadArgument", "", "") })
}

impl Desk {
    async fn submit(
        &self,
        call: &JobCall,
        body: &[u8],
        deployment: Option<&str>,
        repeated: Option<&str>,
    ) -> Result<JobAnswer, Refusal> {
        let route = &call.endpoint;
        let batch = route.batch.as_ref().ok_or_else(|| Refusal::not_found("NotBatch", String::new()))?;
        let deployment = wanted(batch, deployment)?;
        let asked = parse(body)?;
        let name = asked.name.clone().unwrap_or_else(JobName::random);
        let output = asked.output.clone().unwrap_or_else(|| Data {
            name: "score".to_owned(),
            kind: DataKind::UriFolder,
            uri: format!("azureml://datastores/{DEFAULT_STORE}/paths/azureml/{name}/score/"),
        });
        let workspace = &batch.workspace;
        let endpoint: EndpointName =
            route.facts.name.parse().map_err(|_| {
                Refusal::not_found("EndpointNotFound", "there is no such endpoint".to_owned())
            })?;
        let places = Places::of(workspace, &endpoint, &deployment, (&asked.input.uri, &output.uri))?;
        let judged = self.gate.authorize(&call.snapshot, route, &call.caller, &places.rights()).await;
        let grounds = match judged {
            Ok((_, grounds)) => grounds,
            Err(Lacking::Unavailable) => {
                let message = "the caller's groups cannot be looked up at present; try again";
                return Err(Refusal::unavailable("IdentityUnavailable", message));
            }
            Err(Lacking::Rights(missing)) => {
                if self.refusals.one_too_many(call.caller.object_id) {
                    return Err(Refusal::too_many(
                        "too many jobs of yours were refused; wait ten seconds",
                        10,
                    ));
                }
                let detail = Box::new(authority::refusal(&call.caller, &missing));
                let refusal = Refusal::new(StatusCode::FORBIDDEN, "", "", "not_authorized");
                self.record(
                    call,
                    SUBMIT,
                    &route.scope,
                    (Outcome::Refused { code: detail.code.clone() }, None),
                )
                .await?;
                return Err(Refusal { detail, ..refusal });
            }
        };
        if route.rates.admit(Payer::Principal(call.caller.object_id)).is_err() {
            return Err(Refusal::too_many(
                "the endpoint gets more jobs in a second than it takes; slow down",
                1,
            ));
        }
        // Whoever may not know is told of the right that he lacks, not of what is there.
        let (deployment, settings) =
            found(route, batch, &deployment).ok_or_else(|| no_deployment(deployment.key()))?;
        let settings = asked.overrides.clone().on(&settings);
        let ((input, query), (output, _)) = (asked.input.part_query(), output.part_query());
        let spec = JobSpec {
            name,
            workspace: workspace.clone(),
            endpoint,
            deployment,
            experiment: asked.experiment.unwrap_or_else(|| route.facts.name.clone()),
            description: asked.description,
            tags: asked.tags,
            properties: asked.properties,
            input,
            output,
            settings,
            owner: authority::owner(&call.caller),
            grounds,
            revision: call.snapshot.revision,
            request_id: call.request_id.clone(),
            created: self.clock.unix_millis(),
        };
        self.keep(call, spec, (&places, query), repeated).await
    }

    /// Keeps a job that may be.
    async fn keep(
        &self,
        call: &JobCall,
        spec: JobSpec,
        (places, query): (&Places, Option<String>),
        repeated: Option<&str>,
    ) -> Result<JobAnswer, Refusal> {
        let stores = places.stores(&call.snapshot);
        let id = spec.scope().map_err(PlaceError::from)?;
        if stores.needs_owner().is_none() {
            // What can be refused without a look at the data is refused now.
            let wrong = |field: &str, error: &ArtifactError| {
                Refusal::bad(error.code(), &format!("properties.{field}"), error.to_string())
            };
            stores.input(&self.opener, places, None).map_err(|error| wrong("inputData", &error))?;
            stores.output(&self.opener, places, &spec, None).map_err(|error| wrong("outputData", &error))?;
        }
        if self.jobs.unfinished().await? >= self.limits.batch_jobs as u64 {
            let message = "as many jobs as there may be have not ended yet; try again later";
            return Err(Refusal::too_many(message, 30));
        }
        let refresh = match (stores.needs_owner(), &self.on_behalf) {
            (None, _) => None,
            (Some(_), Some(on_behalf)) => Some(OwnerTokens::obtain(on_behalf, &call.token).await?),
            (Some(store), None) => {
                let message = format!(
                    "data store `{store}` has no credential and the gateway no `identity.on_behalf_of` to reach it as the caller; \
                     give the store a credential"
                );
                return Err(Refusal::bad("DatastoreWithoutCredential", "properties.inputData", message));
            }
        };
        let secrets = Secrets { query: query.map(Zeroizing::new), refresh };
        let sealed = secrets.seal(&self.vault, &id)?;
        let job = KeptJob { spec, state: JobState::accepted(), cancel: false, sealed };
        match self.jobs.submit(&job, repeated).await? {
            Submitted::New(kept) => {
                let grounds = Some(kept.spec.grounds.as_slice());
                self.record(call, SUBMIT, &id, (Outcome::Done, grounds)).await?;
                self.wake.notify_one();
                shown(StatusCode::CREATED, &kept)
            }
            Submitted::Known(kept) => shown(StatusCode::OK, &kept),
            Submitted::NameTaken => {
                let message =
                    format!("the workspace has a job `{}` already; choose another name", job.spec.name);
                Err(Refusal::new(StatusCode::CONFLICT, "JobExists", message, "job_exists"))
            }
        }
    }

    /// A job of the endpoint that the caller may know of.
    async fn found(
        &self,
        call: &JobCall,
        name: &str,
        action: &'static str,
    ) -> Result<(Scope, KeptJob), Refusal> {
        let unknown = || Refusal::not_found("JobNotFound", "the endpoint has no such job".to_owned());
        let batch = call.endpoint.batch.as_ref().ok_or_else(unknown)?;
        let name: JobName = name.parse().map_err(|_| unknown())?;
        let workspace = batch.workspace.scope().map_err(PlaceError::from)?;
        let id = workspace.child("jobs", name.as_str());
        let kept = self.jobs.job(&id).await?.ok_or_else(unknown)?;
        if kept.spec.endpoint.key() != call.endpoint.facts.name.to_ascii_lowercase() {
            return Err(unknown());
        }
        // One's own job is one's own affair; others' are for who may.
        let mine = kept.spec.owner.object_id == call.caller.object_id;
        let right = Right { group: Group::Jobs, action, scope: call.endpoint.scope.clone() };
        if mine || self.gate.judge(&call.snapshot.policy, &call.caller, &[right]).await.is_ok() {
            return Ok((id, kept));
        }
        Err(unknown())
    }

    async fn show(&self, call: &JobCall, name: &str) -> Result<JobAnswer, Refusal> {
        let (_, kept) = self.found(call, name, READ).await?;
        shown(StatusCode::OK, &kept)
    }

    async fn stop(&self, call: &JobCall, name: &str) -> Result<JobAnswer, Refusal> {
        let (id, _) = self.found(call, name, CANCEL).await?;
        self.record(call, CANCEL, &id, (Outcome::Done, None)).await?;
        let kept = self.cancel(&id).await?;
        kept.map_or_else(
            || Err(Refusal::not_found("JobNotFound", "the endpoint has no such job".to_owned())),
            |kept| shown(StatusCode::OK, &kept),
        )
    }

    /// Asks for a job to be stopped.
    pub async fn cancel(&self, id: &Scope) -> Result<Option<KeptJob>, StoreError> {
        let kept = self.jobs.cancel(id).await?;
        self.wake.notify_one();
        Ok(kept)
    }

    /// Records what was done, and by which of its rights.
    async fn record(
        &self,
        call: &JobCall,
        action: &str,
        scope: &Scope,
        (outcome, grounds): (Outcome, Option<&[Grounds]>),
    ) -> Result<(), StoreError> {
        let first = grounds.and_then(|grounds| grounds.iter().find(|grounds| grounds.action == action));
        let deed = Deed {
            operation: Uuid::new_v4(),
            time: rfc3339(self.clock.unix()),
            request_id: call.request_id.clone(),
            actor: call.caller.actor(),
            action: action.to_owned(),
            scope: scope.clone(),
            decided_by: first.map(|grounds| grounds.decided_by.clone()),
            client_address: Some(call.client),
            outcome,
        };
        self.audit.commit(Batch { changes: Vec::new(), deed }).await.map(|_| ())
    }
}
