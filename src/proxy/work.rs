//! A request that the gateway makes itself, for a mini-batch of a job: on the same way to an instance as a client's,
//! under the same limits, with the same metrics and a record of its own.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout_at;

use super::dispatch;
use super::headers::{About, towards_instance};
use super::pipeline::Pipeline;
use crate::gate::admit::Pass;
use crate::gate::authorize::Permit;
use crate::gate::fault::{Fault, Reason};
use crate::routing::DeploymentRoute;
use crate::telemetry::record::Record;
use crate::upstream::{BodyFlow, RequestBody};

/// A request of the gateway's own.
#[derive(Debug)]
pub struct Work {
    /// The right of whoever it is made for.
    pub permit: Permit,
    /// Where it goes.
    pub deployment: Arc<DeploymentRoute>,
    /// The media type of its body.
    pub content_type: HeaderValue,
    /// Its body.
    pub body: Bytes,
    /// What it is called in records and towards the instance.
    pub name: HeaderValue,
    /// What records show as its path.
    pub uri: Uri,
    /// Bytes of the answer.
    pub most: usize,
}

/// An instance's answer, whole.
#[derive(Debug)]
pub struct Worked {
    /// Its status.
    pub status: StatusCode,
    /// The media type of its body.
    pub content_type: Option<HeaderValue>,
    /// Its body.
    pub body: Bytes,
}

impl Pipeline {
    /// Sends a request of the gateway's own and reads the answer to its end.
    ///
    /// Dropping the future cancels the request at the instance.
    pub async fn work(&self, work: Work) -> Result<Worked, Fault> {
        let Work { permit, deployment, content_type, body, name, uri, most } = work;
        let (mut head, ()) = Request::new(()).into_parts();
        (head.method, head.uri) = (Method::POST, uri);
        head.headers.insert(CONTENT_TYPE, content_type);
        head.headers.insert(ACCEPT, HeaderValue::from_static("application/json, */*"));
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut record = Record::begin(self.sink.clone(), here, &head);
        record.client_request_id = Some(name);
        record.caller = permit.caller().cloned();
        record.endpoint = Some(permit.endpoint().facts.clone());
        record.deployment = Some(deployment.name.clone());
        record.metrics = Some(deployment.metrics.clone());
        record.request_bytes = body.len() as u64;
        let sent = self.sent(permit, deployment, head, body, &mut record).await;
        let answer = match sent {
            Ok((answer, pass, latest)) => read(answer, pass, latest, most, &mut record).await,
            Err(fault) => Err(fault),
        };
        match &answer {
            Ok(answer) => record.status = Some(answer.status),
            Err(fault) => {
                (record.status, record.reason) = (Some(fault.status()), Some(fault.reason.label()));
            }
        }
        answer
    }

    async fn sent(
        &self,
        permit: Permit,
        deployment: Arc<DeploymentRoute>,
        mut head: http::request::Parts,
        body: Bytes,
        record: &mut Record,
    ) -> Result<(http::Response<Incoming>, Pass, Instant), Fault> {
        let target = deployment.scoring_path.clone();
        let pass = self.gate.admit(permit, deployment).await?;
        let clocks = pass.deployment().clocks;
        let latest = Instant::now() + clocks.total;
        let time = clocks.first_byte.min(clocks.total);
        let deadline =
            self.sink.clock.unix_millis() + i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 2);
        let about = About {
            pass: &pass,
            request_id: &record.request_id,
            client_request_id: record.client_request_id.as_ref(),
            client: record.peer,
            peer: record.peer,
            tls: false,
            authority: HeaderValue::from_static("scoregate"),
            deadline,
        };
        towards_instance(&mut head.headers, &about, &self.sink.metrics.header_stripped);
        let flow = BodyFlow::of_gateway();
        let replay = self.rules.replay;
        let first_byte = clocks.first_byte;
        let bounds = dispatch::Bounds { first_byte, hurried: false, flow: &flow, latest, replay };
        let sent = dispatch::dispatch(pass, head, RequestBody::kept(body), &target, &bounds, record).await;
        let (response, pass) = sent?;
        record.response_begun = Some(Instant::now());
        record.model_status = Some(response.status());
        Ok((response, pass, latest))
    }
}

/// Reads an answer whole, under the deployment's clocks.
async fn read(
    response: http::Response<Incoming>,
    pass: Pass,
    latest: Instant,
    most: usize,
    record: &mut Record,
) -> Result<Worked, Fault> {
    let (head, mut body) = response.into_parts();
    let (fleet, idle) = (&pass.deployment().fleet, pass.deployment().clocks.idle);
    let mut bytes = BytesMut::new();
    loop {
        let due = latest.min(Instant::now() + idle);
        let frame = match timeout_at(due.into(), body.frame()).await {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) => {
                fleet.failed(pass.instance());
                record.response_broken();
                return Err(Reason::ConnectionBroken.into());
            }
            Err(_) => return Err(Reason::RequestTooLong.into()),
        };
        let Some(data) = frame.data_ref() else { continue };
        record.response_bytes += data.len() as u64;
        if bytes.len() + data.len() > most {
            return Err(Fault::new(Reason::InstanceProtocol).detail("answer_too_large"));
        }
        bytes.extend_from_slice(data);
    }
    fleet.finished(pass.instance());
    let content_type = head.headers.get(CONTENT_TYPE).cloned();
    Ok(Worked { status: head.status, content_type, body: bytes.freeze() })
}
