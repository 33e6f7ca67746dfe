//! The door of batch endpoints: `/jobs` takes a job, `/jobs/{name}` shows it, `/jobs/{name}/cancel` stops it.
//!
//! The pipeline has authenticated the caller; who makes jobs is somebody else's matter, behind [`Jobs`].

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use zeroize::Zeroizing;

use super::headers::DEPLOYMENT;
use crate::gate::fault::{Fault, Reason};
use crate::identity::caller::Caller;
use crate::identity::credential::bearer;
use crate::routing::{EndpointRoute, Snapshot};

/// What a caller wants of a batch endpoint.
#[derive(Clone, PartialEq, Eq)]
pub enum Ask {
    /// A job.
    Submit {
        /// What it is to be, as JSON.
        body: Bytes,
        /// The deployment that the caller names.
        deployment: Option<String>,
        /// The caller's id for the request (`repeatability-request-id`): it makes one job however often it comes.
        repeated: Option<String>,
    },
    /// How a job stands.
    Show(String),
    /// A job's end.
    Cancel(String),
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // An address in the body may be signed.
            Ask::Submit { body, .. } => write!(f, "Submit({} bytes)", body.len()),
            Ask::Show(name) => write!(f, "Show({name})"),
            Ask::Cancel(name) => write!(f, "Cancel({name})"),
        }
    }
}

/// A call of a batch endpoint, by somebody who is known.
pub struct JobCall {
    /// What is wanted.
    pub ask: Ask,
    /// The endpoint.
    pub endpoint: Arc<EndpointRoute>,
    /// The resources that it is judged by.
    pub snapshot: Arc<Snapshot>,
    /// Who calls.
    pub caller: Arc<Caller>,
    /// What the caller presented: for the exchange of tokens on his behalf, never kept.
    pub token: Zeroizing<String>,
    /// The request's id.
    pub request_id: String,
    /// Where it came from.
    pub client: IpAddr,
}

impl std::fmt::Debug for JobCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobCall")
            .field("ask", &self.ask)
            .field("caller", &self.caller.object_id)
            .finish_non_exhaustive()
    }
}

/// What a call is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobAnswer {
    /// The status.
    pub status: StatusCode,
    /// JSON.
    pub body: Bytes,
    /// Why it was refused, for metrics and records.
    pub reason: Option<&'static str>,
    /// When it makes sense to come again, seconds.
    pub retry_after: Option<u32>,
    /// Where to get another credential.
    pub challenge: Option<String>,
}

/// Makes, shows and stops jobs.
#[async_trait]
pub trait Jobs: Send + Sync + std::fmt::Debug {
    /// Answers a call. Dropping the future gives the call up; a job is then made or not.
    async fn call(&self, call: JobCall) -> JobAnswer;
}

/// Bounds of what a caller sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of a body.
    pub body: usize,
    /// Time for it.
    pub time: Duration,
}

/// The caller's id for a request (Microsoft's REST guidelines), in both spellings that Azure's clients use.
const REPEATED: [&str; 2] = ["repeatability-request-id", "repeatability_request-id"];

/// What a request to a batch endpoint asks for.
pub(super) async fn ask(
    head: &Parts,
    path: &str,
    body: &mut Option<Incoming>,
    bounds: Bounds,
) -> Result<Ask, Fault> {
    let not_there = || Fault::new(Reason::NotForScoring);
    let rest = path.strip_prefix("/jobs").ok_or_else(not_there)?.trim_matches('/');
    match (&head.method, rest.split_once('/')) {
        (&Method::POST, None) if rest.is_empty() => {
            let named = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
            let repeated = REPEATED.iter().find_map(|name| named(name)).map(str::to_owned);
            if repeated.as_ref().is_some_and(|id| id.is_empty() || id.len() > 128) {
                return Err(Fault::new(Reason::Malformed).detail("repeatability"));
            }
            let deployment = named(DEPLOYMENT.as_str()).map(str::to_owned);
            let body = body.take().ok_or(Reason::Defect)?;
            Ok(Ask::Submit { body: whole(body, bounds).await?, deployment, repeated })
        }
        (&Method::GET, None) if !rest.is_empty() => Ok(Ask::Show(rest.to_owned())),
        (&Method::POST, Some((name, "cancel"))) => Ok(Ask::Cancel(name.to_owned())),
        _ => Err(not_there()),
    }
}

async fn whole(body: Incoming, bounds: Bounds) -> Result<Bytes, Fault> {
    match tokio::time::timeout(bounds.time, Limited::new(body, bounds.body).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Fault::new(Reason::BodyTooLarge).close()),
        Ok(Err(_)) => Err(Fault::new(Reason::BodyBroken).close()),
        Err(_) => Err(Fault::new(Reason::BodyStalled).close()),
    }
}

/// The token that authenticated a request.
pub(super) fn token(head: &Parts) -> Zeroizing<String> {
    Zeroizing::new(bearer(&head.headers).unwrap_or_default().to_owned())
}

/// An answer's head and body.
pub(super) fn answered(answer: &JobAnswer) -> (http::response::Parts, Bytes) {
    let (mut head, ()) = Response::new(()).into_parts();
    head.status = answer.status;
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = answer.retry_after {
        head.headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(challenge) = answer.challenge.as_ref().and_then(|text| HeaderValue::try_from(text).ok()) {
        head.headers.insert(WWW_AUTHENTICATE, challenge);
    }
    (head, answer.body.clone())
}
