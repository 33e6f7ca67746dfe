//! Sending a request to an instance, once more elsewhere if nothing of it was processed.

use std::time::Instant;

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Request, Response, Version};
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

/// Sends a request and gives the head of the answer with the place at the instance that it came from.
///
/// Dropping the future cancels the request at the instance.
pub(super) async fn dispatch(
    pass: &Pass,
    head: Parts,
    body: RequestBody,
    target: &PathAndQuery,
    record: &mut Record,
) -> Result<(Response<Incoming>, Lease), Fault> {
    let deployment = pass.deployment();
    // A request without a body whose method promises to change nothing may be sent again even if it was seen.
    let again = (head.method.is_safe() && http_body::Body::is_end_stream(&body)).then(|| head.clone());
    let mut request = Request::from_parts(head, body);
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
        let result = tokio::time::timeout(deployment.request_timeout, sending).await;
        let error = match result {
            Ok(Ok(response)) => return Ok((response, lease)),
            Ok(Err(error)) => error,
            Err(_) => return Err(Reason::InstanceTooSlow.into()),
        };
        let more = attempt < TRIES && deployment.retries.spend();
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
        match back.filter(|_| more) {
            Some(back) => request = back,
            None => return Err(reason.into()),
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
