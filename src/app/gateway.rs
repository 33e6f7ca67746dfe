//! A running gateway.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tracing::{info, warn};

use super::admin::Admin;
use super::batch::BatchPlane;
use super::control_plane::{self, ControlPlane};
use super::data_plane::DataPlane;
use super::generation::{Generation, Listening};
use super::issuers::Issuers;
use super::serving::{End, Ended};
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

/// Time for the last records to be written.
const FLUSH: Duration = Duration::from_secs(2);

/// A running gateway. It serves until [`Gateway::stop`].
#[derive(Debug)]
pub struct Gateway {
    /// Where clients call.
    pub data: SocketAddr,
    /// Where resources are managed.
    pub control: SocketAddr,
    /// How clients reached both, and where they got tokens, when it started.
    pub addresses: Addresses,
    /// The certificate that clients of the control plane have to trust, if the gateway made its own.
    pub control_ca: Option<String>,
    /// Where operators look.
    pub admin: SocketAddr,
    pub(super) state: State,
    pub(super) base: Base,
    pub(super) listening: Listening,
    pub(super) issuers: Arc<ArcSwap<Issuers>>,
    pub(super) data_plane: DataPlane,
    pub(super) control_plane: ControlPlane,
    pub(super) batch_plane: BatchPlane,
    pub(super) in_force: Mutex<Generation>,
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
            end: End::default(),
        };
        let settings = base.settings.clone();
        base.metrics.build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        base.metrics.configuration_ok.set(1);
        let (admin, admin_sockets) = bind("admin", settings.admin, 1)?;
        let state = State::open(&base).await?;
        let (control, sockets) = bind("control plane", settings.control_plane.listen, 1)?;
        let control_url = control_plane::public_url(&settings, control);
        let issuers = Issuers::start(&base, &control_url).await?;
        let bound = bind("data plane", settings.data_plane.listen, settings.data_plane.workers)?;
        let listening = Listening { data: bound.0, control_url };
        let mut first = Generation::of(&base, &state, issuers.clone(), &listening, None)?;
        let (data_plane, ended) = DataPlane::start(&base, &first.data, bound)?;
        let listener = control_plane::Listener { address: control, sockets };
        let control_plane = ControlPlane::start(&base, &first.control, &first.data.protocol, listener)?;
        let batch_plane = BatchPlane::start(&base, &state, &first.batch, &first.data.pipeline)?;
        first.begin(&base, &state);
        let issuers = Arc::new(ArcSwap::new(issuers));
        let looked_at = Admin {
            health: base.health.clone(),
            metrics: base.metrics.clone(),
            issuers: issuers.clone(),
            snapshot: state.publisher.cell().clone(),
            clock: base.clock.clone(),
        };
        serve_admin(looked_at, admin_sockets, &base.tasks)?;
        base.health.set("configuration", Part::Good("as at the start".to_owned()));
        let data = listening.data;
        info!(%data, %control, %admin, "scoregate is ready");
        Ok(Gateway {
            data,
            control,
            addresses: first.control.addresses.clone(),
            control_ca: control_plane.ca.clone(),
            admin,
            state,
            base,
            listening,
            issuers,
            data_plane,
            control_plane,
            batch_plane,
            in_force: Mutex::new(first),
            ended,
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

    /// Announces its end: not ready any more, and serving as before for as long as balancers need to notice.
    pub async fn give_notice(&self) {
        self.base.health.set("data plane", Part::Failing("draining".to_owned()));
        let notice = self.in_force.lock().await.settings.limits.drain_notice;
        tokio::time::sleep(notice).await;
    }

    /// Stops: nothing new accepted, what is in flight finished within the drain time.
    pub async fn stop(self) {
        self.base.health.set("data plane", Part::Failing("draining".to_owned()));
        let End { drain, cut } = &self.base.end;
        drain.cancel();
        let serving = async {
            for ended in self.ended {
                // An error means that the thread is gone, which is what is waited for.
                let _ = ended.await;
            }
        };
        let ended = async {
            tokio::join!(self.batch_plane.stop(), serving);
            self.base.tasks.stop().await;
        };
        let mut ended = std::pin::pin!(ended);
        let grace = self.in_force.lock().await.settings.limits.drain;
        if tokio::time::timeout(grace, ended.as_mut()).await.is_err() {
            cut.cancel();
            ended.await;
        }
        self.state.keeper.stop().await;
        let log = &self.in_force.lock().await.data.pipeline.sink.log;
        // A reader that has stopped reading must not hold up the end.
        let _ = tokio::time::timeout(FLUSH, log.flush()).await;
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
