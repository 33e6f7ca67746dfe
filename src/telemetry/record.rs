//! The record of one request: begun with its head, written when its last byte is gone, on every way out.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, Method, StatusCode, Uri, Version};
use uuid::Builder;

use super::access_log::{AccessLog, Line};
use super::metrics::{DeploymentMetrics, Metrics};
use super::recent::{Outcome, Recent};
use crate::clock::{Clock, millis};
use crate::identity::caller::Caller;
use crate::identity::claimed::Claimed;
use crate::model::scope::WorkspaceRef;

/// Where records go.
#[derive(Debug, Clone)]
pub struct Sink {
    /// Metrics.
    pub metrics: Metrics,
    /// The access log.
    pub log: AccessLog,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The last requests, to be explained.
    pub recent: Arc<Recent>,
}

/// Names under which a request is recorded once its endpoint is known.
#[derive(Debug)]
pub struct EndpointFacts {
    /// Its workspace.
    pub workspace: WorkspaceRef,
    /// Its name.
    pub name: String,
    /// `key`, `aml_token` or `aad_token`.
    pub auth_mode: &'static str,
}

/// One request. Dropping it writes it.
#[derive(Debug)]
pub struct Record {
    sink: Arc<Sink>,
    /// When its head was complete.
    pub started: Instant,
    /// Method as sent.
    pub method: Method,
    /// Target as sent; the query is not written.
    pub target: Uri,
    /// HTTP version.
    pub version: Version,
    /// Who is connected.
    pub peer: IpAddr,
    /// The gateway's id for it.
    pub request_id: HeaderValue,
    /// The client's id for it, made safe.
    pub client_request_id: Option<HeaderValue>,
    /// The client's program.
    pub user_agent: Option<HeaderValue>,
    /// Its endpoint.
    pub endpoint: Option<Arc<EndpointFacts>>,
    /// Its deployment's name.
    pub deployment: Option<HeaderValue>,
    /// Its deployment's metrics, once it is aimed.
    pub metrics: Option<Arc<DeploymentMetrics>>,
    /// Who called.
    pub caller: Option<Arc<Caller>>,
    /// Which of the endpoint's keys was used.
    pub key: Option<&'static str>,
    /// The status that was sent; none if the client was gone before.
    pub status: Option<StatusCode>,
    /// Why the gateway answered itself, or why the answer broke off.
    pub reason: Option<&'static str>,
    /// A more exact word for the log alone.
    pub detail: Option<&'static str>,
    /// What a refused token claims to be.
    pub claimed: Option<Box<Claimed>>,
    /// The instance's own status.
    pub model_status: Option<StatusCode>,
    /// Bytes of the request body passed on.
    pub request_bytes: u64,
    /// Bytes of the response body passed on.
    pub response_bytes: u64,
    /// When the request was sent to an instance.
    pub sent: Option<Instant>,
    /// When the last byte of the request was passed on.
    pub request_done: Option<Instant>,
    /// When the instance's response began.
    pub response_begun: Option<Instant>,
}

impl Record {
    /// The instance's answer did not come to its end.
    pub fn response_broken(&mut self) {
        self.reason = Some("response_broken");
        self.sink.metrics.upstream_protocol.with_label_values(&["body"]).inc();
    }

    /// Begins a record, and gives the request its id.
    pub fn begin(sink: Arc<Sink>, peer: IpAddr, head: &http::request::Parts) -> Record {
        // Unique, not secret.
        let request_id = Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid().to_string();
        let request_id = HeaderValue::try_from(request_id).unwrap_or(HeaderValue::from_static("-"));
        Record {
            sink,
            started: Instant::now(),
            method: head.method.clone(),
            target: head.uri.clone(),
            version: head.version,
            peer,
            request_id,
            client_request_id: None,
            user_agent: head.headers.get(http::header::USER_AGENT).cloned(),
            endpoint: None,
            deployment: None,
            metrics: None,
            caller: None,
            key: None,
            status: None,
            reason: None,
            detail: None,
            claimed: None,
            model_status: None,
            request_bytes: 0,
            response_bytes: 0,
            sent: None,
            request_done: None,
            response_begun: None,
        }
    }

    fn outcome(&self) -> Outcome {
        let endpoint = self.endpoint.as_ref();
        Outcome {
            time: self.sink.clock.unix(),
            endpoint: endpoint.map(|endpoint| endpoint.name.to_ascii_lowercase()),
            auth_mode: endpoint.map(|endpoint| endpoint.auth_mode),
            deployment: self.deployment.as_ref().and_then(|name| name.to_str().ok()).map(str::to_owned),
            principal: self.caller.as_ref().map(|caller| caller.object_id),
            key: self.key,
            status: self.status.map(|status| status.as_u16()),
            reason: self.reason,
            detail: self.detail,
        }
    }

    /// What the access log says of it, if it ended then.
    pub fn line(&self, ended: Instant) -> Line {
        let text = |value: &HeaderValue, most: usize| {
            String::from_utf8_lossy(value.as_bytes()).chars().take(most).collect::<String>()
        };
        let since = |at: Option<Instant>| at.map(|at| millis(self.started, at));
        let endpoint = self.endpoint.as_ref();
        let workspace = endpoint.map(|endpoint| endpoint.workspace.clone());
        let caller = self.caller.as_ref();
        Line {
            time: jiff::Timestamp::from_second(self.sink.clock.unix())
                .map(|t| t.to_string())
                .unwrap_or_default(),
            log: "access",
            method: self.method.to_string(),
            path: self.target.path().chars().take(1024).collect(),
            subscription_id: workspace.as_ref().map(|w| w.subscription.clone()),
            workspace_name: workspace.map(|w| w.name),
            endpoint_name: endpoint.map(|e| e.name.clone()),
            deployment_name: self.deployment.as_ref().map(|name| text(name, 64)),
            protocol: format!("{:?}", self.version),
            // 499 says, as nginx does, that the client was gone before there was an answer.
            response_code: self.status.map_or(499, |status| status.as_u16()),
            response_code_reason: self.reason.or(if self.status.is_none() {
                Some("client_gone")
            } else {
                None
            }),
            detail: self.detail,
            model_status_code: self.model_status.map(|status| status.as_u16()),
            request_payload_size: self.request_bytes,
            response_payload_size: self.response_bytes,
            user_agent: self.user_agent.as_ref().map(|value| text(value, 70)),
            x_request_id: text(&self.request_id, 64),
            client_request_id: self.client_request_id.as_ref().map(|value| text(value, 64)),
            total_duration_ms: millis(self.started, ended),
            request_duration_ms: since(self.request_done),
            response_duration_ms: since(self.response_begun),
            auth_mode: endpoint.map(|e| e.auth_mode),
            key_slot: self.key,
            principal_id: caller.map(|c| c.object_id.to_string()),
            tenant_id: caller.and_then(|c| c.tenant).map(|tenant| tenant.to_string()),
            app_id: caller.and_then(|c| c.app_id.clone()),
            token_id: caller.and_then(|c| c.token_id.clone()),
            claimed_issuer_hash: self.claimed.as_ref().and_then(|claimed| claimed.issuer.clone()),
            claimed_key_hash: self.claimed.as_ref().and_then(|claimed| claimed.key.clone()),
            client_address: self.peer,
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let ended = Instant::now();
        if let Some(metrics) = &self.metrics {
            metrics.answered(self.status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
            metrics.duration.observe(millis(self.started, ended) / 1000.0);
            if let (Some(sent), Some(begun)) = (self.sent, self.response_begun) {
                metrics.instance_time.observe(millis(sent, begun) / 1000.0);
            }
        }
        if let Some(sent) = self.sent {
            self.sink.metrics.overhead.observe(millis(self.started, sent) / 1000.0);
        }
        if let Some(reason) = self.reason {
            self.sink.metrics.refusals.with_label_values(&[reason]).inc();
        }
        self.sink.recent.keep(&self.request_id, self.outcome());
        if self.sink.log.is_on() {
            self.sink.log.send(self.line(ended));
        }
    }
}
