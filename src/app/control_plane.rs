//! The control plane's part of the composition: its certificate, its operations, its listener.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::info;

use super::gateway::{StartError, token_times};
use super::serving::Serving;
use super::tasks::Tasks;
use crate::clock::Clock;
use crate::control::{Addresses, Bounds, Control};
use crate::gate::failures::Failures;
use crate::identity::directory::Directory;
use crate::identity::issuer::{Issuer, Plane};
use crate::identity::token::TokenVerifier;
use crate::identity::vault::Vault;
use crate::model::role::RoleAssignment;
use crate::net::listener::Admission;
use crate::net::own_ca::{OwnCa, names};
use crate::net::serve::Protocol;
use crate::net::tls::Certificates;
use crate::operations::Operations;
use crate::publish::Publisher;
use crate::settings::Settings;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::recent::Recent;

/// Memory for validated tokens of those who manage; they are few.
const TOKEN_BYTES: usize = 4 << 20;

/// What the rest of the gateway lends to the control plane.
pub(super) struct Parts {
    pub(super) publisher: Arc<Publisher>,
    pub(super) store: Arc<dyn Store>,
    pub(super) vault: Arc<Vault>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    pub(super) directory: Option<Arc<Directory>>,
    pub(super) scoring: Arc<TokenVerifier>,
    pub(super) recent: Arc<Recent>,
    pub(super) owners: Vec<RoleAssignment>,
    pub(super) addresses: Addresses,
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

impl Parts {
    /// Starts serving. Gives the certificate that clients have to trust, if the gateway made it.
    pub(super) fn start(
        self,
        settings: &Settings,
        issuers: &[Arc<Issuer>],
        data_plane: &Protocol,
        (address, sockets): (SocketAddr, Vec<TcpListener>),
        drain: &CancellationToken,
        tasks: &Tasks,
    ) -> Result<Option<String>, StartError> {
        let limits = &settings.limits;
        let (certificates, ca) = certificates(settings, &self.addresses.control, address, self.clock.unix())?;
        let protocol = Protocol { tls: Some(certificates.server_config()?), ..data_plane.clone() };
        let gauge = self.metrics.connections.with_label_values(&["control"]);
        let admission = Admission::new(limits.connections, limits.connections_per_address, gauge);
        let times = token_times(settings);
        let tokens = TokenVerifier::new(issuers, Plane::Control, self.clock.clone(), times, TOKEN_BYTES);
        let operations = Arc::new(Operations {
            publisher: self.publisher,
            store: self.store,
            vault: self.vault,
            clock: self.clock,
            directory: self.directory,
            scoring: self.scoring,
            recent: self.recent,
            workspaces: settings.workspaces.clone(),
            owners: self.owners,
            limits: limits.clone(),
            metrics: self.metrics.clone(),
        });
        tasks.spawn("token keys", operations.clone().rotate_token_keys());
        let control = Control {
            operations,
            tokens,
            failures: Failures::new(limits.failed_authentications),
            addresses: self.addresses,
            metrics: self.metrics,
            bounds: Bounds {
                body: limits.control_body,
                time: limits.body_progress,
                total: limits.control_time,
            },
        };
        let serving = Serving {
            protocol: Arc::new(protocol),
            service: Arc::new(control),
            admission,
            drain: drain.clone(),
            grace: limits.drain,
        };
        for socket in sockets {
            tasks.serve(serving.clone().serve(socket));
        }
        Ok(ca)
    }
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
