//! The control plane's part of the composition: its certificate, its operations, its listener.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use tracing::info;

use super::certificate;
use super::data_plane::DataPlane;
use super::issuers::{Issuers, token_times};
use super::serving::Serving;
use super::state::{State, owners};
use super::{Base, StartError};
use crate::control::{Addresses, Bounds, Control, Places};
use crate::gate::failures::Failures;
use crate::identity::issuer::Plane;
use crate::identity::token::TokenVerifier;
use crate::net::listener::Admission;
use crate::net::own_ca::{OwnCa, names};
use crate::net::serve::Protocol;
use crate::net::tls::Certificates;
use crate::operations::Operations;
use crate::settings::Settings;
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

/// Starts serving. Gives the certificate that clients have to trust, if the gateway made it.
pub(super) fn start(
    base: &Base,
    state: &State,
    issuers: &Issuers,
    data: &DataPlane,
    addresses: Addresses,
    listener: Listener,
) -> Result<Option<String>, StartError> {
    let (settings, metrics, clock) = (&base.settings, &base.metrics, &base.clock);
    let limits = &settings.limits;
    let (certificates, ca) = certificates(settings, &addresses.control, listener.address, clock.unix())?;
    if let Some(files) = settings.control_plane.tls.clone() {
        let (health, metrics) = (base.health.clone(), metrics.clone());
        let following =
            certificate::follow("control certificate", certificates.clone(), files, health, metrics);
        base.tasks.spawn("control certificate", following);
    }
    let protocol = Protocol { tls: Some(certificates.server_config()?), ..(*data.protocol).clone() };
    let gauge = metrics.connections.with_label_values(&["control"]);
    let operations = Arc::new(Operations {
        publisher: state.publisher.clone(),
        store: state.store.clone(),
        vault: state.vault.clone(),
        clock: clock.clone(),
        directory: issuers.directory.clone(),
        scoring: data.tokens.clone(),
        recent: data.recent.clone(),
        workspaces: settings.workspaces.clone(),
        rotating: tokio::sync::Mutex::default(),
        instances: settings.instances.clone(),
        roster: state.keeper.roster().clone(),
        refusals: Failures::new(limits.refusals),
        owners: owners(settings),
        limits: limits.clone(),
        metrics: metrics.clone(),
    });
    base.tasks.spawn("token keys", operations.clone().rotate_token_keys());
    let (plane, times) = (Plane::Control, token_times(settings));
    let control = Control {
        operations,
        tokens: TokenVerifier::new(&issuers.all, plane, clock.clone(), times, TOKEN_BYTES),
        failures: Failures::new(limits.failed_authentications),
        addresses,
        metrics: metrics.clone(),
        places: Places::new(limits.control_operations),
        bounds: Bounds { body: limits.control_body, time: limits.body_progress, total: limits.control_time },
    };
    let serving = Serving {
        protocol: Arc::new(protocol),
        service: Arc::new(control),
        admission: Admission::new(limits.connections, limits.connections_per_address, gauge),
        drain: base.drain.clone(),
        grace: limits.drain,
    };
    for socket in listener.sockets {
        base.tasks.serve(serving.clone().serve(socket));
    }
    base.health.set("control plane", Part::Good(format!("listening on {}", listener.address)));
    Ok(ca)
}

fn certificates(
    settings: &Settings,
    public_url: &str,
    address: SocketAddr,
    now: i64,
) -> Result<(Arc<Certificates>, Option<String>), StartError> {
    if let Some(files) = &settings.control_plane.tls {
        return Ok((Certificates::load(&files.certificate, &files.private_key)?, None));
    }
    let ca = match settings.store.directory() {
        Some(directory) => {
            let ca = OwnCa::open(directory, "control-ca", now)?;
            info!(ca = %directory.join("control-ca.pem").display(), "the control plane uses its own authority; clients have to trust its certificate");
            ca
        }
        None => OwnCa::ephemeral(now)?,
    };
    let leaf = ca.leaf(&names(public_url, address.ip()), now)?;
    Ok((Certificates::of(leaf.certified()?), Some(ca.pem().to_owned())))
}
