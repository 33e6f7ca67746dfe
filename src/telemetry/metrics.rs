//! Metric families, with labels from closed sets only.

use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

/// Seconds, from a cached answer of a small model to a long generation.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
    600.0,
];
/// Seconds that the gateway itself takes.
const OVERHEAD: &[f64] =
    &[0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0];

macro_rules! families {
    ($($(#[$doc:meta])* $field:ident: $type:ident = $name:literal, $help:literal $(, [$($label:literal),*])? $(=> $buckets:expr)?;)*) => {
        /// Every family; clones share them.
        #[derive(Debug, Clone)]
        pub struct Metrics { registry: Registry, $($(#[$doc])* #[doc = $help] pub $field: $type,)* }

        impl Metrics {
            /// New families in a registry of their own.
            pub fn new() -> Result<Metrics, prometheus::Error> {
                let registry = Registry::new();
                $(let $field = families!(@make $type, $name, $help $(, [$($label),*])? $(, $buckets)?)?;
                registry.register(Box::new($field.clone()))?;)*
                Ok(Metrics { registry, $($field,)* })
            }
        }
    };
    (@make HistogramVec, $name:literal, $help:literal, [$($label:literal),*], $buckets:expr) => {
        HistogramVec::new(HistogramOpts::new($name, $help).buckets($buckets.to_vec()), &[$($label),*])
    };
    (@make Histogram, $name:literal, $help:literal, $buckets:expr) => {
        Histogram::with_opts(HistogramOpts::new($name, $help).buckets($buckets.to_vec()))
    };
    (@make $type:ident, $name:literal, $help:literal, [$($label:literal),*]) => {
        $type::new(Opts::new($name, $help), &[$($label),*])
    };
    (@make $type:ident, $name:literal, $help:literal) => { $type::new($name, $help) };
}

families! {
    requests: IntCounterVec = "scoregate_requests_total", "Requests answered, by status class.", ["endpoint", "deployment", "auth_mode", "status_class"];
    duration: HistogramVec = "scoregate_request_duration_seconds", "From the request's head to the last byte of its answer.", ["endpoint", "deployment"] => SECONDS;
    instance_time: HistogramVec = "scoregate_instance_response_seconds", "From sending a request to an instance until its response began.", ["endpoint", "deployment"] => SECONDS;
    overhead: Histogram = "scoregate_gateway_overhead_seconds", "What the gateway adds before a request is sent to an instance." => OVERHEAD;
    in_flight: IntGaugeVec = "scoregate_requests_in_flight", "Requests being worked on.", ["endpoint", "deployment"];
    queued: IntGaugeVec = "scoregate_queue_depth", "Requests waiting for a free place at an instance.", ["endpoint", "deployment"];
    retries: IntCounterVec = "scoregate_retries_total", "Requests sent once more because nothing of them had been processed.", ["endpoint", "deployment"];
    ejections: IntCounterVec = "scoregate_ejections_total", "Instances that got no more requests because they failed.", ["endpoint", "deployment", "reason"];
    instances: IntGaugeVec = "scoregate_instances", "Instances by how they are doing.", ["endpoint", "deployment", "state"];
    mirror: IntCounterVec = "scoregate_mirror_total", "Copies of requests for a shadow deployment, by what became of them; no other family counts them.", ["endpoint", "deployment", "outcome"];
    mirror_compared: IntCounterVec = "scoregate_mirror_compared_total", "Copies that were answered, by how the answer compares with the live one.", ["endpoint", "deployment", "result"];
    mirror_time: HistogramVec = "scoregate_mirror_response_seconds", "From a whole request's being sent until its response began, live and shadow, for the same requests.", ["endpoint", "deployment", "side"] => SECONDS;
    refusals: IntCounterVec = "scoregate_refusals_total", "Requests that the gateway answered itself.", ["reason"];
    decisions: IntCounterVec = "scoregate_authorization_decisions_total", "Decisions about the right to score, or to have a job go on.", ["decision"];
    jwks_age: IntGaugeVec = "scoregate_jwks_age_seconds", "Time since an issuer's keys were last fetched; -1 if never.", ["issuer"];
    jwks_suppressed: IntGaugeVec = "scoregate_security_jwks_refresh_suppressed", "Refreshes for unknown key ids that were not made.", ["issuer", "reason"];
    snapshot_revision: IntGauge = "scoregate_snapshot_revision", "Revision of the resources in force.";
    snapshot_age: IntGauge = "scoregate_snapshot_age_seconds", "Time since the resources in force were last found to be the store's.";
    in_force: Histogram = "scoregate_change_in_force_seconds", "From a change's being stored until it was in force here." => SECONDS;
    snapshot_failures: IntCounter = "scoregate_snapshot_failures_total", "Compilations that failed and left the last good snapshot in force.";
    broken_resources: IntGauge = "scoregate_broken_resources", "Endpoints and deployments of which something cannot be used.";
    inert_assignments: IntGauge = "scoregate_inert_role_assignments", "Role assignments that grant nothing because something about them is not understood.";
    store_up: IntGauge = "scoregate_store_up", "1 while the store answers.";
    batch_jobs: IntCounterVec = "scoregate_batch_jobs_total", "Batch jobs that ended here, by how.", ["status"];
    batch_mini_batches: IntCounterVec = "scoregate_batch_mini_batches_total", "Tries of mini-batches, by how they ended.", ["outcome"];
    batch_active: IntGauge = "scoregate_batch_mini_batches_active", "Mini-batches being worked on here.";
    batch_rows: IntCounter = "scoregate_batch_rows_total", "Predictions that were kept.";
    batch_failures: IntCounter = "scoregate_batch_failures_total", "Files or rows that could not be scored.";
    resources_ok: IntGauge = "scoregate_resources_ok", "1 if the resources directory is in force as it is, 0 if an earlier state of it is.";
    resources_failures: IntCounter = "scoregate_resources_failures_total", "Readings of the resources directory that failed.";
    reload_failures: IntCounterVec = "scoregate_reload_failures_total", "Reloads that failed and left the last good state in force.", ["what"];
    configuration_ok: IntGauge = "scoregate_configuration_ok", "1 if the configuration file is in force as it is, 0 if an earlier state of it is.";
    connections: IntGaugeVec = "scoregate_connections", "Open client connections.", ["listener"];
    operations: IntCounterVec = "scoregate_control_operations_total", "Operations of the control plane, by status class.", ["operation", "status_class"];
    operation_duration: HistogramVec = "scoregate_control_operation_duration_seconds", "From an operation's head to its answer.", ["operation"] => SECONDS;
    audit_failures: IntCounter = "scoregate_audit_failures_total", "Deeds refused or unrecorded because the audit could not be written.";
    build: IntGaugeVec = "scoregate_build_info", "1, labelled with the version.", ["version"];
    log_dropped: IntCounter = "scoregate_access_records_dropped_total", "Access records dropped because the log was too slow.";
    panics: IntCounter = "scoregate_panics_total", "Requests ended by a defect of the gateway.";
    bad_request: IntCounterVec = "scoregate_security_bad_request", "Messages that were malformed.", ["reason"];
    token_rejected: IntCounterVec = "scoregate_security_token_rejected", "Tokens that were refused.", ["reason"];
    credential_shape: IntCounterVec = "scoregate_security_credential_shape", "Requests whose credential was missing, repeated or malformed.", ["reason"];
    credential_wrong_endpoint: IntCounterVec = "scoregate_security_credential_wrong_endpoint", "Keys and issued tokens of another endpoint than the one that was called.", ["reason"];
    auth_failures: IntCounterVec = "scoregate_security_auth_failures", "Failed authentications.", ["reason"];
    header_stripped: IntCounterVec = "scoregate_security_header_stripped", "Header fields of clients that were not passed on because they could deceive an instance.", ["reason"];
    limit: IntCounterVec = "scoregate_security_limit", "Requests beyond a limit.", ["reason"];
    slow_client: IntCounterVec = "scoregate_security_slow_client", "Clients that were too slow.", ["reason"];
    proxy_refused: IntCounterVec = "scoregate_security_proxy_refused", "Connections of trusted proxies that did not introduce their client soundly.", ["reason"];
    h2_abuse: IntCounterVec = "scoregate_security_h2_abuse", "HTTP/2 clients that went beyond what a connection may do.", ["reason"];
    upgrade_refused: IntCounterVec = "scoregate_security_upgrade_refused", "Changes of protocol that clients asked for and did not get.", ["reason"];
    egress_denied: IntCounterVec = "scoregate_security_egress_denied", "Connections of batch jobs that were not made, because they would have gone where none may go.", ["reason"];
    upstream_protocol: IntCounterVec = "scoregate_security_upstream_protocol", "Answers of instances that were not sound HTTP.", ["reason"];
}

/// The classes of status that are counted.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The metrics of one deployment, looked up once.
#[derive(Debug)]
pub struct DeploymentMetrics {
    by_class: [IntCounter; 5],
    /// From the request's head to the last byte of its answer.
    pub duration: Histogram,
    /// From sending a request to an instance until its response began.
    pub instance_time: Histogram,
    /// Requests being worked on.
    pub in_flight: IntGauge,
    /// Requests waiting.
    pub queued: IntGauge,
    /// Requests sent once more.
    pub retries: IntCounter,
    ejections: IntCounterVec,
    names: [String; 2],
}

impl DeploymentMetrics {
    /// Counts an instance that gets no more requests because it failed.
    pub fn ejected(&self, reason: &'static str) {
        let [endpoint, deployment] = &self.names;
        self.ejections.with_label_values(&[endpoint.as_str(), deployment, reason]).inc();
    }

    /// Counts an answer.
    pub fn answered(&self, status: http::StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        if let Some(counter) = self.by_class.get(class) {
            counter.inc();
        }
    }
}

impl Metrics {
    /// The handles of a deployment.
    pub fn deployment(&self, endpoint: &str, deployment: &str, auth_mode: &str) -> Arc<DeploymentMetrics> {
        let pair = [endpoint, deployment];
        Arc::new(DeploymentMetrics {
            by_class: CLASSES
                .map(|class| self.requests.with_label_values(&[endpoint, deployment, auth_mode, class])),
            duration: self.duration.with_label_values(&pair),
            instance_time: self.instance_time.with_label_values(&pair),
            in_flight: self.in_flight.with_label_values(&pair),
            queued: self.queued.with_label_values(&pair),
            retries: self.retries.with_label_values(&pair),
            ejections: self.ejections.clone(),
            names: pair.map(str::to_owned),
        })
    }

    /// Prometheus text format 0.0.4.
    pub fn text(&self) -> String {
        let mut out = Vec::new();
        let mut families = self.registry.gather();
        #[cfg(target_os = "linux")]
        families.extend(prometheus::process_collector::ProcessCollector::for_self().collect());
        // A family that cannot be written is left out; the others still tell.
        let _ = TextEncoder::new().encode(&families, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }
}
