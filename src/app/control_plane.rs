//! The control plane's part of the composition: its certificate, its operations, its listener.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing::info;

use super::certificate::Followed;
use super::data_plane::Made;
use super::issuers::{Issuers, token_times};
use super::serving::{Current, Serving};
use super::state::{State, owners};
use super::{Base, StartError, batch};
use crate::control::{Addresses, Bounds, Control, Places};
use crate::gate::failures::Failures;
use crate::identity::issuer::Plane;
use crate::identity::token::TokenVerifier;
use crate::net::listener::Admission;
use crate::net::own_ca::{OwnCa, names};
use crate::net::serve::Protocol;
use crate::net::tls::Certificates;
use crate::operations::Operations;
use crate::settings::{Limits, Settings};
use crate::telemetry::health::State as Part;

/// Memory for validated tokens of those who manage; they are few.
const TOKEN_BYTES: usize = 4 << 20;

/// The control plane's sockets.
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    pub(super) sockets: Vec<TcpListener>,
}

/// An address that this machine can call: one that listens everywhere is called by loopback.
fn callable(address: SocketAddr) -> SocketAddr {
    let ip = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
    SocketAddr::new(ip, address.port())
}

/// What clients call the control plane by.
pub(super) fn public_url(settings: &Settings, control: SocketAddr) -> String {
    settings.control_plane.public_url.clone().unwrap_or_else(|| format!("https://{}", callable(control)))
}

/// How clients reach the gateway and where they get tokens.
pub(super) fn addresses(settings: &Settings, control: String, data: SocketAddr) -> Addresses {
    let scheme = if settings.data_plane.tls.is_some() { "https" } else { "http" };
    let known = settings.data_plane.public_url.clone();
    let entra = settings.identity.entra.first();
    let audience = settings.identity.control_audiences.first().cloned();
    Addresses {
        data: known.unwrap_or_else(|| format!("{scheme}://{}", callable(data))),
        authority: entra
            .and_then(|entra| Some((entra.authority.clone(), entra.tenants.first()?.to_string()))),
        audience: audience.unwrap_or_else(|| control.clone()),
        control,
    }
}

/// The control plane at work.
#[derive(Debug)]
pub(super) struct ControlPlane {
    serving: Serving<Control>,
    certificates: Arc<Certificates>,
    followed: Option<Followed>,
    /// The certificate that clients have to trust, if the gateway made it.
    pub(super) ca: Option<String>,
}

/// The control plane as one configuration makes it; what is under way goes on with what was made `before`.
pub(super) fn make(
    base: &Base,
    state: &State,
    issuers: &Issuers,
    (batch, data): (&batch::Made, &Made),
    addresses: Addresses,
    before: Option<&Control>,
) -> Arc<Control> {
    let (settings, metrics, clock) = (&base.settings, &base.metrics, &base.clock);
    let limits = &settings.limits;
    let operations = Arc::new(Operations {
        publisher: state.publisher.clone(),
        store: state.store.clone(),
        jobs: state.jobs.clone(),
        vault: state.vault.clone(),
        clock: clock.clone(),
        directory: issuers.directory.clone(),
        scoring: data.pipeline.gate.tokens.clone(),
        recent: data.pipeline.sink.recent.clone(),
        workspaces: settings.workspaces.clone(),
        rotating: before.map(|control| control.operations.rotating.clone()).unwrap_or_default(),
        instances: settings.instances.clone(),
        storage: settings.batch.clone(),
        roster: state.keeper.roster().clone(),
        refusals: Failures::new(limits.refusals),
        owners: owners(settings),
        limits: limits.clone(),
        metrics: metrics.clone(),
    });
    let (plane, times) = (Plane::Control, token_times(settings));
    Arc::new(Control {
        operations,
        desk: batch.desk.clone(),
        tokens: TokenVerifier::new(&issuers.all, plane, clock.clone(), times, TOKEN_BYTES),
        failures: Failures::new(limits.failed_authentications),
        addresses,
        metrics: metrics.clone(),
        places: Places::new(limits.control_operations),
        bounds: Bounds { body: limits.control_body, time: limits.body_progress, total: limits.control_time },
    })
}

impl ControlPlane {
    /// Starts serving.
    pub(super) fn start(
        base: &Base,
        control: &Arc<Control>,
        data: &Protocol,
        listener: Listener,
    ) -> Result<ControlPlane, StartError> {
        let (settings, metrics) = (&base.settings, &base.metrics);
        let limits = &settings.limits;
        let (certificates, followed, ca) = if let Some(files) = &settings.control_plane.tls {
            let followed = Followed::load("control certificate", files, base)?;
            (followed.certificates().clone(), Some(followed), None)
        } else {
            let url = &control.addresses.control;
            let (certificates, ca) = own_certificates(settings, url, listener.address, base.clock.unix())?;
            (certificates, None, Some(ca))
        };
        let gauge = metrics.connections.with_label_values(&["control"]);
        let serving = Serving {
            protocol: Arc::new(ArcSwap::from_pointee(protocol(data, &certificates))),
            service: Current::new(control.clone()),
            admission: Admission::new(limits.connections, limits.connections_per_address, gauge),
            end: base.end.clone(),
        };
        for socket in listener.sockets {
            base.tasks.serve(serving.clone().serve(socket));
        }
        base.health.set("control plane", Part::Good(format!("listening on {}", listener.address)));
        Ok(ControlPlane { serving, certificates, followed, ca })
    }

    /// Serves as another configuration has it.
    pub(super) fn take_up(&self, control: &Arc<Control>, data: &Protocol, limits: &Limits) {
        self.serving.service.replace(control.clone());
        self.serving.protocol.store(Arc::new(protocol(data, &self.certificates)));
        self.serving.admission.bound(limits.connections, limits.connections_per_address);
    }

    /// Reads its certificate's files now.
    pub(super) fn read_certificate(&self) {
        if let Some(followed) = &self.followed {
            followed.read();
        }
    }
}

/// As the data plane's, but always encrypted and without proxies.
fn protocol(data: &Protocol, certificates: &Arc<Certificates>) -> Protocol {
    Protocol { tls: Some(certificates.clone()), proxies: Vec::new(), ..data.clone() }
}

/// A certificate of the gateway's own authority, and that authority's.
fn own_certificates(
    settings: &Settings,
    public_url: &str,
    address: SocketAddr,
    now: i64,
) -> Result<(Arc<Certificates>, String), StartError> {
    let ca = match settings.directory() {
        Some(directory) => {
            let ca = OwnCa::open(directory, "control-ca", now)?;
            info!(ca = %directory.join("control-ca.pem").display(), "the control plane uses its own authority; clients have to trust its certificate");
            ca
        }
        None => OwnCa::ephemeral(now)?,
    };
    let leaf = ca.leaf(&names(public_url, address.ip()), now)?;
    Ok((Certificates::of(leaf.certified()?)?, ca.pem().to_owned()))
}
