//! The data plane's part of the composition: its gate, its pipeline, its listener.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::certificate;
use super::issuers::{Issuers, token_times};
use super::serving::{Ended, Serving};
use super::state::State;
use super::{Base, StartError, bind};
use crate::gate::failures::Failures;
use crate::gate::matching;
use crate::gate::{Counts, Gate};
use crate::identity::issuer::Plane;
use crate::identity::token::TokenVerifier;
use crate::net::conn::ConnTimes;
use crate::net::frames::FrameLimits;
use crate::net::framing::HeadLimits;
use crate::net::guard::FrameCounts;
use crate::net::listener::Admission;
use crate::net::serve::Protocol;
use crate::net::tls::Certificates;
use crate::proxy::{Pipeline, Rules};
use crate::settings::{Limits, Settings, TlsFiles};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::health::State as Part;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::recent::Recent;
use crate::telemetry::record::Sink;

/// How often spare connections are closed.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// The data plane at work.
pub(super) struct DataPlane {
    pub(super) address: SocketAddr,
    /// How its connections are served; the control plane's are served alike.
    pub(super) protocol: Arc<Protocol>,
    /// Judges tokens for scoring.
    pub(super) tokens: Arc<TokenVerifier>,
    /// Requests that can still be explained.
    pub(super) recent: Arc<Recent>,
    /// Its threads.
    pub(super) ended: Vec<Ended>,
}

impl DataPlane {
    /// Starts serving.
    pub(super) fn start(base: &Base, state: &State, issuers: &Issuers) -> Result<DataPlane, StartError> {
        let (settings, metrics) = (&base.settings, &base.metrics);
        let limits = &settings.limits;
        let recent = Arc::new(Recent::new(limits.explained_requests));
        let sink = Arc::new(Sink {
            metrics: metrics.clone(),
            log: access_log(settings, metrics)?,
            clock: base.clock.clone(),
            recent: recent.clone(),
        });
        let gate = gate(base, state, issuers);
        let tokens = gate.tokens.clone();
        let snapshot = state.publisher.cell().clone();
        let service = Arc::new(Pipeline { snapshot: snapshot.clone(), gate, sink, rules: rules(settings) });
        let certificates = load_certificates(settings)?;
        let protocol = Arc::new(protocol(settings, certificates.as_ref(), metrics)?);
        let (address, sockets) = bind("data plane", settings.data_plane.listen, settings.data_plane.workers)?;
        let gauge = metrics.connections.with_label_values(&["data"]);
        let serving = Serving {
            protocol: protocol.clone(),
            service,
            admission: Admission::new(limits.connections, limits.connections_per_address, gauge),
            drain: base.drain.clone(),
            grace: limits.drain,
        };
        let ended = serving.start(settings.data_plane.layout, sockets)?;
        base.tasks.spawn("housekeeping", housekeeping(snapshot));
        if let Some((certificates, files)) = certificates {
            let (health, metrics) = (base.health.clone(), metrics.clone());
            base.tasks.spawn(
                "certificate",
                certificate::follow("certificate", certificates, files, health, metrics),
            );
        }
        base.health.set("data plane", Part::Good(format!("listening on {address}")));
        Ok(DataPlane { address, protocol, tokens, recent, ended })
    }
}

fn access_log(settings: &Settings, metrics: &Metrics) -> Result<AccessLog, StartError> {
    let dropped = metrics.log_dropped.clone();
    Ok(if settings.logs.access {
        AccessLog::start(Box::new(std::io::stdout()), dropped)?
    } else {
        AccessLog::off(dropped)
    })
}

fn gate(base: &Base, state: &State, issuers: &Issuers) -> Gate {
    let (settings, metrics) = (&base.settings, &base.metrics);
    let (limits, times) = (&settings.limits, token_times(settings));
    let (clock, bytes) = (base.clock.clone(), limits.token_cache_bytes);
    let tokens = TokenVerifier::new(&issuers.all, Plane::Data, clock, times, bytes);
    let data_plane = &settings.data_plane;
    Gate {
        tokens: Arc::new(tokens),
        vault: state.vault.clone(),
        directory: issuers.directory.clone(),
        failures: Failures::new(limits.failed_authentications),
        counts: Counts { allowed: metrics.decisions.with_label_values(&["allowed"]) },
        metrics: metrics.clone(),
        addresses: matching::Addresses {
            single: data_plane.single_endpoint.as_ref().map(|name| name.key().to_owned()),
            suffix: data_plane.base_domain.as_ref().map(|domain| format!(".{domain}")),
        },
        unauthorized: data_plane.unauthorized,
        challenge: challenge(settings),
    }
}

/// Tells a client without a token where to get one, in the form that Azure's own clients read.
fn challenge(settings: &Settings) -> String {
    let resource = settings.identity.data_audiences.first().map_or("", String::as_str);
    let entra =
        settings.identity.entra.first().and_then(|entra| Some((&entra.authority, entra.tenants.first()?)));
    match entra {
        Some((authority, tenant)) => format!(
            "Bearer authorization_uri=\"{authority}/{tenant}\", error=\"invalid_token\", resource=\"{resource}\""
        ),
        None => format!("Bearer error=\"invalid_token\", resource=\"{resource}\""),
    }
}

fn rules(settings: &Settings) -> Rules {
    let limits: &Limits = &settings.limits;
    Rules {
        head: head_limits(limits),
        request_body: limits.request_body as u64,
        body_progress: limits.body_progress,
        response_idle: limits.response_idle,
        request_total: limits.request_total,
        model_errors: settings.data_plane.model_errors,
        trusted_proxies: settings.data_plane.trusted_proxies.clone(),
    }
}

fn head_limits(limits: &Limits) -> HeadLimits {
    HeadLimits {
        line: limits.request_line,
        field: limits.header_field,
        fields: limits.header_bytes,
        count: limits.header_count,
    }
}

type Tls = (Arc<Certificates>, TlsFiles);

fn load_certificates(settings: &Settings) -> Result<Option<Tls>, StartError> {
    let Some(files) = &settings.data_plane.tls else { return Ok(None) };
    let certificates = Certificates::load(&files.certificate, &files.private_key)?;
    Ok(Some((certificates, files.clone())))
}

fn protocol(settings: &Settings, tls: Option<&Tls>, metrics: &Metrics) -> Result<Protocol, StartError> {
    let limits = &settings.limits;
    Ok(Protocol {
        tls: tls.map(|(certificates, _)| certificates.server_config()).transpose()?,
        handshake: limits.tls_handshake,
        head: head_limits(limits),
        times: ConnTimes {
            header: limits.header_time,
            idle: limits.idle_connection,
            stall: limits.write_stall,
        },
        streams: limits.http2_streams,
        stream_window: limits.http2_stream_window,
        connection_window: limits.http2_connection_window,
        pending_resets: limits.http2_pending_resets,
        client_errors: limits.http2_client_errors,
        frames: FrameLimits {
            resets: limits.http2_resets,
            errors: u32::try_from(limits.http2_client_errors).unwrap_or(u32::MAX),
            control: limits.http2_control_frames,
            continuations: limits.http2_continuations,
        },
        frame_counts: FrameCounts { abuse: metrics.h2_abuse.clone(), malformed: metrics.bad_request.clone() },
        slow_client: metrics.slow_client.clone(),
    })
}

/// Closes connections that nobody needs.
async fn housekeeping(snapshot: Arc<crate::routing::SnapshotCell>) {
    loop {
        tokio::time::sleep(HOUSEKEEPING).await;
        for endpoint in snapshot.load().endpoints.values() {
            for instance in endpoint.deployments.iter().flat_map(|deployment| &deployment.instances) {
                instance.sweep();
            }
        }
    }
}
