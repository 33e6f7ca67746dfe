//! One scoring request, step by step.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CONTENT_LENGTH, EXPECT};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use ipnet::IpNet;

use super::cors::Sharing;
use super::headers::{About, DEPLOYMENT, client_request_id, towards_instance, upgrade};
use super::jobs::{self, JobAnswer, JobCall, Jobs};
use super::mirror::{self, Due, Mirroring};
use super::receive::{client_address, drained, receive, refused};
use super::relay::{Answer, Relay};
use super::respond::Manner;
use super::tunnel::Tunnel;
use super::websocket::Handshake;
use super::{aim, dispatch, grpc, respond, worker};
use crate::gate::Gate;
use crate::gate::admit::Pass;
use crate::gate::fault::{Fault, Reason};
use crate::gate::matching;
use crate::identity::endpoint_key::KeySlot;
use crate::model::backend::HttpVersion;
use crate::net::conn::{Conn, Note};
use crate::net::framing::{HeadLimits, Violation};
use crate::net::serve::Service;
use crate::net::switch;
use crate::routing::SnapshotCell;
use crate::settings::ModelErrors;
use crate::telemetry::record::{Record, Sink};
use crate::upstream::RequestBody;

/// What the data plane goes by, besides snapshot and gate.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Bounds of a head.
    pub head: HeadLimits,
    /// Time without a byte of it.
    pub body_progress: Duration,
    /// Bytes of a body that are kept for sending it once more.
    pub replay: usize,
    /// Time for a whole request, until its deployment is known.
    pub request_total: Duration,
    /// How an instance's own errors are passed on.
    pub model_errors: ModelErrors,
    /// Bounds of what a batch endpoint is sent.
    pub jobs: jobs::Bounds,
    /// Proxies in front whose word about the client's address is taken.
    pub trusted_proxies: Vec<IpNet>,
}

/// The data plane's answer to every request.
#[derive(Debug)]
pub struct Pipeline {
    /// The resources in force.
    pub snapshot: Arc<SnapshotCell>,
    /// Decides.
    pub gate: Gate,
    /// Where records go.
    pub sink: Arc<Sink>,
    /// Copies requests for shadow deployments.
    pub mirroring: Arc<Mirroring>,
    /// Makes jobs of what batch endpoints are asked for.
    pub jobs: Arc<dyn Jobs>,
    /// What else it goes by.
    pub rules: Rules,
}

/// What a request comes to.
enum Outcome {
    /// An instance's answer.
    Answered(http::response::Parts, Relay),
    /// The gateway's own word that is no refusal.
    Settled(http::response::Parts),
    /// What became of a job that was asked for.
    Told(JobAnswer),
    /// Both ends leave HTTP; the fields of the answer.
    Switched(HeaderMap, Switched),
}

/// A request as it came.
struct Begun<'a> {
    conn: &'a Arc<Conn>,
    note: &'a Note,
    /// What stands in its place.
    violation: Option<Violation>,
    head: Parts,
    /// Taken once it is sent on.
    body: &'a mut Option<Incoming>,
}

/// An admitted request, before it is sent.
struct Order<'a> {
    conn: &'a Arc<Conn>,
    note: &'a Note,
    head: Parts,
    body: Incoming,
    authority: HeaderValue,
    target: PathAndQuery,
    /// Bytes of its body.
    most: u64,
    handshake: Option<Handshake>,
    /// A copy is due.
    due: Option<Due>,
}

/// Two ends that leave HTTP.
struct Switched {
    client: OnUpgrade,
    instance: OnUpgrade,
    pass: Pass,
    deadline: Instant,
}

impl Service for Pipeline {
    type Body = Either<Answer, Empty<Bytes>>;

    async fn answer(self: &Arc<Self>, conn: &Arc<Conn>, request: Request<Incoming>) -> Response<Self::Body> {
        let violation = conn.begin();
        let (head, body) = request.into_parts();
        let client = client_address(&head, conn, &self.rules.trusted_proxies);
        let mut record = Box::new(Record::begin(self.sink.clone(), client, &head));
        // If the request never gets an answer, the note ends here.
        let note = conn.limit(self.rules.request_total);
        let mut manner = Manner::of(&head.headers);
        let (unasked, multiplexed) = (!head.headers.contains_key(EXPECT), head.version == Version::HTTP_2);
        let mut body = Some(body);
        let begun = Begun { conn, note: &note, violation, head, body: &mut body };
        let steps = self.steps(begun, &mut manner, &mut record);
        let steps = AssertUnwindSafe(steps).catch_unwind();
        let result = steps.await.unwrap_or_else(|_| {
            self.sink.metrics.panics.inc();
            Err(Fault::new(Reason::Defect).close())
        });
        let answered = |head, answer| Response::from_parts(head, Either::Left(answer));
        match result {
            Ok(Outcome::Answered(head, relay)) => answered(head, Answer::of_instance(relay, record, note)),
            Ok(Outcome::Settled(head)) => {
                let head = respond::preflight(head, &mut record);
                answered(head, Answer::of_gateway(Bytes::new(), record, note))
            }
            Ok(Outcome::Told(told)) => {
                let (head, body) = respond::told(&told, &mut record);
                answered(head, Answer::of_gateway(body, record, note))
            }
            Ok(Outcome::Switched(fields, Switched { client, instance, pass, deadline })) => {
                let head = respond::switched(fields, &mut record);
                let idle = pass.deployment().clocks.idle;
                let pipeline = self.clone();
                let tunnel = Tunnel { client, instance, pipeline, pass, record, note, idle, deadline };
                let mut response = Response::from_parts(head, Either::Right(Empty::new()));
                response.extensions_mut().insert(switch::Tunnel::new(tunnel.run()));
                response
            }
            Err(mut fault) => {
                self.count(&fault);
                if let (Some(body), false, false) = (body, fault.close, multiplexed)
                    && !(unasked && drained(body).await)
                {
                    fault = fault.close();
                }
                let (head, body) = respond::refusal(&fault, &manner, &mut record);
                answered(head, Answer::of_gateway(body, record, note))
            }
        }
    }
}

impl Pipeline {
    /// Counts refusals that speak of an attack.
    fn count(&self, fault: &Fault) {
        let metrics = &self.sink.metrics;
        match fault.reason {
            Reason::Malformed => {
                metrics.bad_request.with_label_values(&[fault.detail.unwrap_or("other")]).inc();
            }
            Reason::UriTooLong | Reason::HeadersTooLarge | Reason::BodyTooLarge => {
                metrics.limit.with_label_values(&[fault.reason.label()]).inc();
            }
            Reason::BodyStalled => metrics.slow_client.with_label_values(&["body"]).inc(),
            _ => {}
        }
    }

    /// Counts a change of protocol that was asked for in vain.
    fn not_upgraded(&self, protocol: Option<&'static str>) {
        if let Some(protocol) = protocol {
            self.sink.metrics.upgrade_refused.with_label_values(&[protocol]).inc();
        }
    }

    async fn steps(
        &self,
        begun: Begun<'_>,
        manner: &mut Manner,
        record: &mut Record,
    ) -> Result<Outcome, Fault> {
        let Begun { conn, note, violation, head, body } = begun;
        if let Some(violation) = violation {
            return Err(refused(violation));
        }
        record.client_request_id = client_request_id(&head.headers);
        let asked = upgrade(&head.headers);
        let mut handshake = Handshake::of(&head);
        self.not_upgraded(asked.filter(|_| handshake.is_none()));

        // receive: a head with one reading
        let received = receive(&head, conn, &self.rules.head)?;

        // match: one snapshot, read once and kept to the end
        let snapshot = self.snapshot.fresh().ok_or(Fault::new(Reason::SnapshotTooOld))?;
        let matched = matching::find(&self.gate.addresses, &snapshot, &received.host, received.path)?;
        let endpoint = matched.endpoint;
        if !endpoint.websocket && handshake.take().is_some() {
            self.not_upgraded(asked);
        }
        record.endpoint = Some(endpoint.facts.clone());
        if let Some(cors) = &endpoint.cors {
            let sharing = manner.sharing.insert(Sharing::of(cors, &head.headers));
            if let Some(answer) = sharing.preflight(cors, &head) {
                return Ok(Outcome::Settled(answer));
            }
        }

        // authenticate, authorize: who calls, and may they score it
        let who = self.gate.authenticate(&snapshot, endpoint, &head.headers, record.peer).await?;
        record.caller = who.caller().cloned();
        if endpoint.batch.is_some() {
            let ask = jobs::ask(&head, matched.path, body, self.rules.jobs).await?;
            let caller = who.caller().cloned().ok_or(Reason::Defect)?;
            let (endpoint, token) = (endpoint.clone(), jobs::token(&head));
            let request_id = record.request_id.to_str().unwrap_or_default().to_owned();
            let client = record.peer;
            let call =
                JobCall { ask, endpoint, snapshot: snapshot.clone(), caller, token, request_id, client };
            return Ok(Outcome::Told(self.jobs.call(call).await));
        }
        let permit = self.gate.authorize(&snapshot, who).await?;
        record.key = permit.key().map(KeySlot::as_str);

        // aim: the deployment and the path on it
        let by_name = head.headers.contains_key(DEPLOYMENT);
        let deployment = aim::aim(endpoint, &head.headers, worker::index())?;
        record.deployment = Some(deployment.name.clone());
        record.metrics = Some(deployment.metrics.clone());
        let target = aim::target(&deployment, matched.path, &head.uri)?;

        // admit: a place at the deployment
        let length =
            head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let most = endpoint.request_body;
        if length.is_some_and(|length| length > most) {
            return Err(Fault::new(Reason::BodyTooLarge).close());
        }
        if deployment.http_version != HttpVersion::Http1 && handshake.take().is_some() {
            self.not_upgraded(asked);
        }
        let pass = self.gate.admit(permit, deployment).await?;

        // mirror: a copy for the shadow, if it is its turn
        let by_traffic = !by_name && asked.is_none();
        let due = by_traffic.then(|| mirror::due(endpoint, matched.path, &head)).flatten();

        let authority =
            HeaderValue::from_str(received.authority).map_err(|_| Fault::new(Reason::Malformed))?;

        let body = body.take().ok_or(Reason::Defect)?;
        let order = Order { conn, note, head, body, authority, target, most, handshake, due };
        self.forward(order, pass, manner, record).await
    }

    /// Sends an admitted request to its instance and begins the answer.
    async fn forward(
        &self,
        order: Order<'_>,
        pass: Pass,
        manner: &Manner,
        record: &mut Record,
    ) -> Result<Outcome, Fault> {
        let Order { conn, note, mut head, body, authority, target, most, handshake, due } = order;
        // dispatch: a new request from what was validated
        let clocks = pass.deployment().clocks;
        let latest = record.started + clocks.total;
        note.extend(clocks.total);
        let patience = manner.grpc.as_ref().and_then(|_| grpc::timeout(&head.headers));
        let first_byte = patience.map_or(clocks.first_byte, |time| time.min(clocks.first_byte));
        let time = first_byte.min(latest.saturating_duration_since(Instant::now()));
        let deadline =
            self.sink.clock.unix_millis() + i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 2);
        let about = About {
            pass: &pass,
            request_id: &record.request_id,
            client_request_id: record.client_request_id.as_ref(),
            client: record.peer,
            peer: conn.peer.ip(),
            tls: conn.tls,
            authority,
            deadline,
        };
        towards_instance(&mut head.headers, &about, &self.sink.metrics.header_stripped);
        let client = head.extensions.remove::<OnUpgrade>();
        if let Some(handshake) = &handshake {
            handshake.towards_instance(&mut head.headers);
        }
        let (body, flow) = RequestBody::new(body, most, self.rules.body_progress);
        let (body, watch) = match due {
            Some(due) => {
                let (body, watch) = self.mirroring.copy(due, &head, &record.request_id, body);
                (body, Some(watch))
            }
            None => (body, None),
        };
        let hurried = first_byte < clocks.first_byte;
        let bounds = dispatch::Bounds { first_byte, hurried, flow: &flow, latest, replay: self.rules.replay };
        let sent = dispatch::dispatch(pass, head, body, &target, &bounds, record).await;
        let (mut response, pass) = sent.map_err(|fault| {
            record.request_bytes = flow.bytes();
            if fault.reason == Reason::InstanceProtocol {
                self.sink.metrics.upstream_protocol.with_label_values(&["head"]).inc();
            }
            match conn.broken() {
                Some(violation) => refused(violation),
                None => dispatch::blame(fault, &flow),
            }
        })?;
        let begun = Instant::now();
        record.response_begun = Some(begun);

        // or a tunnel: bytes as they come, once the instance's own word has been checked
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let instance = hyper::upgrade::on(&mut response);
            let fields = handshake.and_then(|handshake| handshake.answered(response.into_parts().0.headers));
            let (Some(fields), Some(client)) = (fields, client) else {
                self.sink.metrics.upstream_protocol.with_label_values(&["head"]).inc();
                return Err(Reason::InstanceProtocol.into());
            };
            return Ok(Outcome::Switched(fields, Switched { client, instance, pass, deadline: latest }));
        }

        // relay: the instance's answer, as it comes
        let whole = flow.ended().max(record.sent).unwrap_or(begun);
        let watch = watch.and_then(|watch| watch.answered(&response, begun.saturating_duration_since(whole)));
        let (head, body) = respond::answer(response, self.rules.model_errors, manner, record);
        let relay = Relay {
            body,
            pass,
            flow,
            idle: clocks.idle,
            deadline: latest,
            timer: None,
            last: begun,
            waits: false,
            ended: false,
            broken: false,
            watch,
        };
        Ok(Outcome::Answered(head, relay))
    }
}
