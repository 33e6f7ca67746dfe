//! Records of the access log and of the audit: one line of JSON each, which says what it was given.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use http::{HeaderValue, Method, Request, StatusCode};
use scoregate::clock::ManualClock;
use scoregate::model::audit::{self, Actor, Deed, Touched};
use scoregate::model::scope::WorkspaceRef;
use scoregate::telemetry::access_log::AccessLog;
use scoregate::telemetry::metrics::Metrics;
use scoregate::telemetry::recent::Recent;
use scoregate::telemetry::record::{EndpointFacts, Record, Sink};
use serde_json::Value;
use uuid::Uuid;

use super::input::Input;

static SINK: LazyLock<Arc<Sink>> = LazyLock::new(|| {
    let metrics = Metrics::new().unwrap();
    let log = AccessLog::off(metrics.log_dropped.clone());
    let (clock, recent) = (Arc::new(ManualClock::at(1_900_000_000)), Arc::new(Recent::new(4)));
    Arc::new(Sink { metrics, log, clock, recent })
});

pub fn check(input: &[u8]) {
    let mut input = Input(input);
    if input.flag() { of_access(&mut input) } else { of_a_deed(&mut input) }
}

/// A line is one line, and JSON.
fn read(line: &str) -> Value {
    assert!(!line.bytes().any(|byte| byte < 0x20), "a control character: {}", line.escape_debug());
    serde_json::from_str(line).unwrap()
}

fn of_access(input: &mut Input<'_>) {
    let value = |input: &mut Input<'_>| HeaderValue::from_bytes(input.bytes()).ok();
    let method = Method::from_bytes(input.bytes()).unwrap_or(Method::POST);
    let (path, agent) = (input.text(), value(input));
    let Ok(request) = Request::builder().method(method.clone()).uri(&path).body(()) else { return };
    let (mut head, ()) = request.into_parts();
    head.headers.extend(agent.clone().map(|agent| (http::header::USER_AGENT, agent)));
    let id = value(input).unwrap_or(HeaderValue::from_static("-"));
    let mut record = Record::begin(SINK.clone(), [127, 0, 0, 1].into(), &head);
    record.request_id = id;
    record.client_request_id = value(input);
    record.deployment = value(input);
    record.status = StatusCode::from_u16(u16::from(input.byte()) * 4).ok();
    let [subscription, resource_group, name, endpoint] = [(); 4].map(|()| input.text());
    let workspace = WorkspaceRef { subscription, resource_group, name };
    record.endpoint = Some(Arc::new(EndpointFacts { workspace, name: endpoint.clone(), auth_mode: "key" }));
    let line = serde_json::to_string(&record.line(Instant::now())).unwrap();
    let said = read(&line);
    assert_eq!(said["Method"], method.as_str());
    assert_eq!(said["EndpointName"], endpoint);
    assert!(head.uri.path().starts_with(said["Path"].as_str().unwrap()), "{line}");
    let agent = agent.map(|agent| String::from_utf8_lossy(agent.as_bytes()).into_owned());
    let shown = said["UserAgent"].as_str();
    assert!(agent.as_deref().unwrap_or_default().starts_with(shown.unwrap_or_default()), "{line}");
    assert!(line.len() < 64 * 1024, "{}", line.len());
}

fn of_a_deed(input: &mut Input<'_>) {
    let outcome = if input.flag() {
        audit::Outcome::Done
    } else {
        audit::Outcome::Refused { code: input.text() }
    };
    let record = audit::Record {
        sequence: input.byte().into(),
        revision: input.byte().into(),
        deed: Deed {
            operation: Uuid::from_u128(input.byte().into()),
            time: input.text(),
            request_id: input.text(),
            actor: Actor { object_id: None, kind: input.text(), tenant: None, app_id: Some(input.text()) },
            action: input.text(),
            scope: input.text().parse().unwrap_or(scoregate::model::scope::Scope::root()),
            decided_by: input.flag().then(|| input.text()),
            client_address: input.flag().then_some([10, 0, 0, 1].into()),
            outcome,
        },
        changes: vec![Touched { id: input.text(), before: None, after: Some(input.text()) }],
    };
    let line = serde_json::to_string(&record).unwrap();
    read(&line);
    assert_eq!(serde_json::from_str::<audit::Record>(&line).unwrap(), record, "{line}");
}
