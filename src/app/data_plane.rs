//! The data plane's part of the composition: its pipeline, how its connections are served, its listener.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use super::certificate::Followed;
use super::issuers::{Issuers, token_times};
use super::serving::{Current, Ended, Serving};
use super::state::State;
use super::{Base, StartError, batch};
use crate::gate::failures::Failures;
use crate::gate::matching;
use crate::gate::{Counts, Gate};
use crate::identity::issuer::Plane;
use crate::identity::token::TokenVerifier;
use crate::mirror::Budget;
use crate::net::conn::ConnTimes;
use crate::net::frames::FrameLimits;
use crate::net::framing::HeadLimits;
use crate::net::guard::FrameCounts;
use crate::net::listener::Admission;
use crate::net::serve::Protocol;
use crate::proxy::{Mirroring, Pipeline, Rules, jobs};
use crate::settings::{Limits, Settings};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::health::State as Part;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::recent::Recent;
use crate::telemetry::record::Sink;

/// Answers that are compared at a time.
const COMPARISONS: usize = 2;

/// The data plane at work.
#[derive(Debug)]
pub(super) struct DataPlane {
    serving: Serving<Pipeline>,
}

/// The data plane as one configuration makes it.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) protocol: Arc<Protocol>,
    pub(super) certificates: Option<Arc<Followed>>,
}

impl Made {
    /// Makes it; what does not change is taken over from what was made `before`.
    pub(super) fn of(
        base: &Base,
        state: &State,
        issuers: &Issuers,
        batch: &batch::Made,
        before: Option<&Made>,
    ) -> Result<Made, StartError> {
        let settings = &base.settings;
        let known = before.map(|made| &made.pipeline.sink);
        let log = match known.map(|sink| &sink.log) {
            Some(log) if log.is_on() == settings.logs.access => log.clone(),
            _ => access_log(settings, &base.metrics)?,
        };
        let recent = known.map_or_else(
            || Arc::new(Recent::new(settings.limits.explained_requests)),
            |sink| sink.recent.clone(),
        );
        let sink = Sink { metrics: base.metrics.clone(), log, clock: base.clock.clone(), recent };
        let pipeline = Pipeline {
            snapshot: state.publisher.cell().clone(),
            gate: gate(base, state, issuers),
            sink: Arc::new(sink),
            mirroring: Arc::new(mirroring(base, before)),
            jobs: batch.desk.clone(),
            rules: rules(settings),
        };
        let known = before.and_then(|made| made.certificates.as_ref());
        let certificates = match (&settings.data_plane.tls, known) {
            (None, _) => None,
            (Some(files), Some(known)) if known.files() == files => Some(known.clone()),
            (Some(files), _) => Some(Arc::new(Followed::load("certificate", files, base)?)),
        };
        let protocol = Arc::new(protocol(settings, certificates.as_deref(), &base.metrics));
        Ok(Made { pipeline: Arc::new(pipeline), protocol, certificates })
    }
}

impl DataPlane {
    /// Starts serving. Gives its threads.
    pub(super) fn start(
        base: &Base,
        made: &Made,
        (address, sockets): (SocketAddr, Vec<TcpListener>),
    ) -> Result<(DataPlane, Vec<Ended>), StartError> {
        let (settings, metrics) = (&base.settings, &base.metrics);
        let limits = &settings.limits;
        let gauge = metrics.connections.with_label_values(&["data"]);
        let serving = Serving {
            protocol: Arc::new(ArcSwap::new(made.protocol.clone())),
            service: Current::new(made.pipeline.clone()),
            admission: Admission::new(limits.connections, limits.connections_per_address, gauge),
            end: base.end.clone(),
        };
        let ended = serving.start(settings.data_plane.layout, sockets)?;
        base.health.set("data plane", Part::Good(format!("listening on {address}")));
        Ok((DataPlane { serving }, ended))
    }

    /// Serves as another configuration has it: requests that begin now, and connections.
    pub(super) fn take_up(&self, made: &Made, base: &Base) {
        let limits = &base.settings.limits;
        self.serving.service.replace(made.pipeline.clone());
        self.serving.protocol.store(made.protocol.clone());
        self.serving.admission.bound(limits.connections, limits.connections_per_address);
        if made.certificates.is_none() {
            base.health.remove("certificate");
        }
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

/// What copies use now counts under whatever bounds they have next.
fn mirroring(base: &Base, before: Option<&Made>) -> Mirroring {
    let limits = &base.settings.limits;
    let known = before.map(|made| &made.pipeline.mirroring.budget);
    Mirroring {
        budget: Budget::new(limits.mirror_bytes, limits.mirror_requests, known),
        body: limits.mirror_body,
        compared: limits.mirror_compare,
        answer: limits.mirror_answer,
        clock: base.clock.clone(),
        end: base.end.drain.clone(),
        comparing: Semaphore::new(COMPARISONS),
    }
}

fn rules(settings: &Settings) -> Rules {
    let limits: &Limits = &settings.limits;
    Rules {
        head: head_limits(limits),
        body_progress: limits.body_progress,
        replay: limits.replay_body,
        request_total: limits.request_total,
        model_errors: settings.data_plane.model_errors,
        jobs: jobs::Bounds { body: limits.control_body, time: limits.body_progress },
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

fn protocol(settings: &Settings, certificates: Option<&Followed>, metrics: &Metrics) -> Protocol {
    let (limits, data_plane) = (&settings.limits, &settings.data_plane);
    Protocol {
        tls: certificates.map(|followed| followed.certificates().clone()),
        proxies: if data_plane.proxy_protocol { data_plane.trusted_proxies.clone() } else { Vec::new() },
        handshake: limits.tls_handshake,
        head: head_limits(limits),
        small_chunks: limits.small_chunks,
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
        frame_counts: FrameCounts {
            abuse: metrics.h2_abuse.clone(),
            malformed: metrics.bad_request.clone(),
            limit: metrics.limit.clone(),
        },
        slow_client: metrics.slow_client.clone(),
        proxy_refused: metrics.proxy_refused.clone(),
    }
}
