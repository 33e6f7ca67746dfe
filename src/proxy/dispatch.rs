//! Sending a request to an instance, once more elsewhere if nothing of it was processed.

use std::time::{Duration, Instant};

use http::header::TRANSFER_ENCODING;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;

use super::worker;
use crate::gate::admit::Pass;
use crate::gate::fault::{Fault, Reason};
use crate::model::deployment::HttpVersion;
use crate::routing::least_loaded;
use crate::telemetry::record::Record;
use crate::upstream::{BodyError, BodyFlow, ConnectError, ExchangeError, Lease, RequestBody, SendError};

/// The most times that a request is sent in all.
const TRIES: u32 = 3;

/// What bounds the wait for an answer, besides the deployment's `request_timeout_ms`.
pub(super) struct Bounds<'a> {
    /// The request's body: the instance's time runs while it is not the client who is waited for.
    pub(super) flow: &'a BodyFlow,
    /// The end of the whole request.
    pub(super) latest: Instant,
}

impl Bounds<'_> {
    /// What is waited for, if it comes in time; a client that is slow to send does not use up the instance's time.
    async fn keep<T>(&self, time: Duration, sending: impl Future<Output = T>) -> Option<T> {
        let mut sending = std::pin::pin!(sending);
        let begun = Instant::now();
        let mut due = (begun + time).min(self.latest);
        loop {
            if let Ok(result) = tokio::time::timeout_at(due.into(), sending.as_mut()).await {
                return Some(result);
            }
            let now = Instant::now();
            due = (self.flow.instance_since().unwrap_or(now).max(begun) + time).min(self.latest);
            if due <= now {
                return None;
            }
        }
    }
}

/// Sends a request and gives the head of the answer with the place at the instance that it came from.
///
/// Dropping the future cancels the request at the instance.
pub(super) async fn dispatch(
    pass: &Pass,
    head: Parts,
    body: RequestBody,
    target: &PathAndQuery,
    bounds: &Bounds<'_>,
    record: &mut Record,
) -> Result<(Response<Incoming>, Lease), Fault> {
    let deployment = pass.deployment();
    // A request without a body whose method promises to change nothing may be sent again even if it was seen.
    let again = (head.method.is_safe() && body.is_end_stream()).then(|| head.clone());
    let streamed = !body.is_end_stream() && body.size_hint().exact().is_none();
    let mut request = Request::from_parts(head, body);
    if streamed && deployment.http_version() == HttpVersion::Http1 {
        // Else a body of unknown length would be left out where a method seldom has one.
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    deployment.retries.earn();
    let mut last = None;
    for attempt in 1..=TRIES {
        let instance = least_loaded(&deployment.instances, &deployment.turn, last.as_ref());
        let instance = instance.ok_or(Fault::new(Reason::NoInstance))?.clone();
        let lease = instance.lease();
        *request.uri_mut() = instance.target(target.clone());
        *request.version_mut() = match instance.version {
            HttpVersion::Http1 => Version::HTTP_11,
            HttpVersion::Http2 => Version::HTTP_2,
        };
        request.headers_mut().insert(http::header::HOST, instance.host.clone());
        if instance.version == HttpVersion::Http2 {
            request.headers_mut().remove(http::header::HOST);
        }
        record.sent = Some(Instant::now());
        let sending = instance.send(worker::index(), request);
        let error = match bounds.keep(deployment.request_timeout, sending).await {
            Some(Ok(response)) => return Ok((response, lease)),
            Some(Err(error)) => error,
            None => return Err(Reason::InstanceTooSlow.into()),
        };
        let (reason, back) = match error {
            ExchangeError::Connect(ConnectError::Failed, back) => (Reason::ConnectFailed, Some(*back)),
            ExchangeError::Connect(ConnectError::TimedOut, back) => (Reason::ConnectTimedOut, Some(*back)),
            ExchangeError::Send(SendError::NotSent(back)) => (Reason::ConnectionBroken, Some(*back)),
            ExchangeError::Send(SendError::Broken) => {
                let fresh = again.clone().map(|head| Request::from_parts(head, RequestBody::empty()));
                (Reason::ConnectionBroken, fresh)
            }
            ExchangeError::Send(SendError::Protocol) => (Reason::InstanceProtocol, None),
            ExchangeError::Send(SendError::RequestBody) => (Reason::BodyBroken, None),
        };
        match back {
            Some(back) if attempt < TRIES && deployment.retries.spend() => request = back,
            _ => return Err(reason.into()),
        }
        deployment.metrics.retries.inc();
        last = Some(instance);
    }
    Err(Reason::ConnectionBroken.into())
}

/// What the client's own body has to say about a failure, which then was not the instance's.
pub(super) fn blame(fault: Fault, flow: &BodyFlow) -> Fault {
    match flow.error() {
        Some(BodyError::TooLarge) => Fault::new(Reason::BodyTooLarge).close(),
        Some(BodyError::Stalled) => Fault::new(Reason::BodyStalled).close(),
        Some(BodyError::Broken) => Fault::new(Reason::BodyBroken).close(),
        None => fault,
    }
}
