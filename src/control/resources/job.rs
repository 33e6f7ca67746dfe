//! Batch jobs: those of a workspace, those of an endpoint where Azure's client looks for them, and how a run stands.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::Value;

use super::Outcome;
use crate::arm::envelope::Page;
use crate::arm::job;
use crate::control::Control;
use crate::control::answer::{ApiError, Reply};
use crate::control::call::Call;
use crate::control::paging::{SKIP, size};
use crate::control::serve::Failed;
use crate::model::job::JobName;
use crate::model::scope::Scope;
use crate::operations::{Granted, Refusal};
use crate::store::jobs::{JobFilter, KeptJob};

type Show = fn(&Control, &KeptJob) -> Result<Value, Refusal>;

fn for_workspace(control: &Control, kept: &KeptJob) -> Result<Value, Refusal> {
    job::of_workspace(&kept.spec, &kept.state, &control.addresses.control).map_err(|_| Refusal::Defect)
}

fn for_endpoint(_: &Control, kept: &KeptJob) -> Result<Value, Refusal> {
    job::of_endpoint(&kept.spec, &kept.state).map_err(|_| Refusal::Defect)
}

impl Control {
    /// A page of jobs, newest first.
    async fn jobs_page(&self, call: &Call, filter: &JobFilter, show: Show) -> Result<Page<Value>, Failed> {
        let size = size(call, &["count", "$top"], 50)?;
        let after = match SKIP.iter().find_map(|name| call.query(name)).filter(|token| !token.is_empty()) {
            None => None,
            Some(token) => {
                let name = URL_SAFE_NO_PAD.decode(token).ok().and_then(|name| String::from_utf8(name).ok());
                let name = name.and_then(|name| name.parse::<JobName>().ok());
                let wrong = || {
                    ApiError::bad("InvalidSkipToken", "$skip is not one that a nextLink gave", Some("$skip"))
                };
                Some(name.ok_or_else(wrong)?)
            }
        };
        let most = u32::try_from(size).unwrap_or(u32::MAX - 1);
        let mut found = self.desk.jobs.jobs(filter, after.as_ref(), most + 1).await.map_err(Refusal::from)?;
        let more = found.len() > size;
        found.truncate(size);
        let last = found.last().filter(|_| more).map(|kept| URL_SAFE_NO_PAD.encode(kept.spec.name.as_str()));
        let next_link = last.map(|token| self.next_link(call, &token));
        let value = found.iter().map(|kept| show(self, kept)).collect::<Result<_, _>>()?;
        Ok(Page { value, next_link })
    }

    async fn job(&self, id: &Scope) -> Result<KeptJob, Refusal> {
        let found = self.desk.jobs.job(id).await?;
        found.ok_or_else(|| Refusal::NotFound(id.clone()))
    }

    /// The workspace of what somebody was granted something in.
    fn job_workspace(&self, call: &Call) -> Result<Scope, Refusal> {
        let place = self.operations.workspace_of(&call.workspace())?.place;
        place.scope().map_err(|_| Refusal::Defect)
    }
}

pub(in crate::control) async fn list(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let found = control.operations.workspace(&granted.scope);
    found.ok_or_else(|| Refusal::NotFound(granted.scope.clone()))?;
    let filter = JobFilter { workspace: granted.scope.clone(), endpoint: None };
    Ok(Reply::ok(control.jobs_page(call, &filter, for_workspace).await?)?)
}

pub(in crate::control) async fn get(control: &Control, _call: &Call, granted: Granted) -> Outcome {
    let kept = control.job(&granted.scope).await?;
    Ok(Reply::ok(for_workspace(control, &kept)?)?)
}

pub(in crate::control) async fn cancel(control: &Control, _call: &Call, granted: Granted) -> Outcome {
    control.job(&granted.scope).await?;
    control.operations.record_done(&granted).await?;
    control.desk.cancel(&granted.scope).await.map_err(Refusal::from)?;
    Ok(Reply::empty(StatusCode::OK))
}

/// The jobs of an endpoint, or of one of its deployments.
pub(in crate::control) async fn of_endpoint(control: &Control, call: &Call, _granted: Granted) -> Outcome {
    let name =
        |param: &str| Some(call.params.get(param).to_ascii_lowercase()).filter(|name| !name.is_empty());
    let endpoint = name("endpoint").ok_or(Refusal::Defect)?;
    let named = call.query("deployment").map(str::to_ascii_lowercase).filter(|name| !name.is_empty());
    let deployment = name("deployment").or(named);
    let workspace = control.job_workspace(call)?;
    let id = workspace.child("batchEndpoints", &endpoint);
    control.operations.batch_endpoint(&id).await?.ok_or_else(|| Refusal::NotFound(id.clone()))?;
    let filter = JobFilter { workspace, endpoint: Some((endpoint, deployment)) };
    Ok(Reply::ok(control.jobs_page(call, &filter, for_endpoint).await?)?)
}

pub(in crate::control) async fn one_of_endpoint(
    control: &Control,
    call: &Call,
    _granted: Granted,
) -> Outcome {
    let id = control.job_workspace(call)?.child("jobs", call.params.get("job"));
    let kept = control.job(&id).await?;
    // Another endpoint's job is told of as one that is not there: whose rights are at this one learn no other's names.
    if kept.spec.endpoint.key() != call.params.get("endpoint").to_ascii_lowercase() {
        return Err(Refusal::NotFound(id).into());
    }
    Ok(Reply::ok(for_endpoint(control, &kept)?)?)
}

/// How a run stands; `azure-ai-ml` asks for it again and again while it streams a job.
pub(in crate::control) async fn details(control: &Control, call: &Call, _granted: Granted) -> Outcome {
    let id = control.job_workspace(call)?.child("jobs", call.params.get("job"));
    let kept = control.job(&id).await?;
    Ok(Reply::ok(job::details(&kept.spec, &kept.state))?)
}
