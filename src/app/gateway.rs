//! A running gateway.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::admin::Admin;
use super::control_plane;
use super::data_plane::DataPlane;
use super::issuers::Issuers;
use super::serving::Ended;
use super::state::State;
use super::tasks::Tasks;
use super::{Base, StartError, bind};
use crate::clock::SystemClock;
use crate::control::Addresses;
use crate::identity::vault::Vault;
use crate::publish::Publisher;
use crate::settings::Settings;
use crate::store::Store;
use crate::telemetry::health::{Health, State as Part};
use crate::telemetry::metrics::Metrics;

/// A running gateway. It serves until [`Gateway::stop`].
#[derive(Debug)]
pub struct Gateway {
    /// Where clients call.
    pub data: SocketAddr,
    /// Where resources are managed.
    pub control: SocketAddr,
    /// How clients reach both, and where they get tokens.
    pub addresses: Addresses,
    /// The certificate that clients of the control plane have to trust, if the gateway made its own.
    pub control_ca: Option<String>,
    /// Where operators look.
    pub admin: SocketAddr,
    state: State,
    base: Base,
    ended: Vec<Ended>,
}

impl Gateway {
    /// Starts a gateway: store, first snapshot, issuers, and only then the listeners.
    pub async fn start(settings: Settings) -> Result<Gateway, StartError> {
        let base = Base {
            settings: Arc::new(settings),
            clock: Arc::new(SystemClock),
            health: Health::default(),
            metrics: Metrics::new()?,
            tasks: Tasks::default(),
            drain: CancellationToken::new(),
        };
        base.metrics.build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let (admin, admin_sockets) = bind("admin", base.settings.admin, 1)?;
        let state = State::open(&base).await?;
        let (control, sockets) = bind("control plane", base.settings.control_plane.listen, 1)?;
        let control_url = control_plane::public_url(&base.settings, control);
        let issuers = Issuers::start(&base, &control_url).await?;
        let data = DataPlane::start(&base, &state, &issuers)?;
        let addresses = control_plane::addresses(&base.settings, control_url, data.address);
        let listener = control_plane::Listener { address: control, sockets };
        let control_ca = control_plane::start(&base, &state, &issuers, &data, addresses.clone(), listener)?;
        let looked_at = Admin {
            health: base.health.clone(),
            metrics: base.metrics.clone(),
            issuers: issuers.all,
            snapshot: state.publisher.cell().clone(),
            clock: base.clock.clone(),
        };
        serve_admin(looked_at, admin_sockets, &base.tasks)?;
        info!(data = %data.address, %control, %admin, "scoregate is ready");
        Ok(Gateway {
            data: data.address,
            control,
            addresses,
            control_ca,
            admin,
            state,
            base,
            ended: data.ended,
        })
    }

    /// The store, for those who change resources.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.state.store
    }

    /// Opens and seals endpoint keys.
    pub fn vault(&self) -> &Arc<Vault> {
        &self.state.vault
    }

    /// Puts changes of the store in force.
    pub fn publisher(&self) -> &Arc<Publisher> {
        &self.state.publisher
    }

    /// Stops: not ready any more, nothing new accepted, what is in flight finished within the drain time.
    pub async fn stop(self) {
        self.base.health.set("data plane", Part::Failing("draining".to_owned()));
        self.base.drain.cancel();
        for ended in self.ended {
            // An error means that the thread is gone, which is what is waited for.
            let _ = ended.await;
        }
        self.state.keeper.stop().await;
        self.base.tasks.stop().await;
    }
}

fn serve_admin(admin: Admin, sockets: Vec<std::net::TcpListener>, tasks: &Tasks) -> Result<(), StartError> {
    let socket = sockets.into_iter().next().context("the admin listener has no socket")?;
    let (listener, router) = (tokio::net::TcpListener::from_std(socket)?, admin.router());
    tasks.spawn("admin", async move {
        if let Err(error) = axum::serve(listener, router).await {
            warn!(%error, "the admin listener ended");
        }
    });
    Ok(())
}
