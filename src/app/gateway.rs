//! A running gateway.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use super::admin::Admin;
use super::control_plane;
use super::serving::{Ended, Serving};
use super::tasks::Tasks;
use crate::clock::{Clock, SystemClock};
use crate::control::Addresses;
use crate::gate::failures::Failures;
use crate::gate::matching;
use crate::gate::{Counts, Gate};
use crate::identity::directory::Directory as GroupDirectory;
use crate::identity::fetch::HttpFetch;
use crate::identity::issuer::{Issuer, Plane, Transport};
use crate::identity::keys::{KeySource, KeyTimes, Refresher};
use crate::identity::token::{TokenTimes, TokenVerifier};
use crate::identity::vault::Vault;
use crate::model::role::{PrincipalType, RoleAssignment};
use crate::model::scope::Scope;
use crate::net::conn::ConnTimes;
use crate::net::framing::HeadLimits;
use crate::net::listener::{self, Admission};
use crate::net::serve::Protocol;
use crate::net::tls::Certificates;
use crate::proxy::{Pipeline, Rules};
use crate::publish::Publisher;
use crate::rbac::builtin;
use crate::resources::Directory;
use crate::routing::Compiler;
use crate::settings::{Limits, Settings, StoreUrl, TlsFiles};
use crate::store::chain::Chain;
use crate::store::{SqliteStore, Store};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::health::{Health, State};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::recent::Recent;
use crate::telemetry::record::Sink;

/// How long a start waits for the keys of issuers that answer.
const FIRST_KEYS: Duration = Duration::from_secs(2);
/// How often certificates are looked at, and spare connections closed.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Why a gateway did not start: what could not be done, and why.
pub type StartError = anyhow::Error;

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
    publisher: Arc<Publisher>,
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    health: Health,
    tasks: Tasks,
    drain: CancellationToken,
    ended: Vec<Ended>,
}

impl Gateway {
    /// Starts a gateway: store, first snapshot, issuers, and only then the listeners.
    pub async fn start(settings: Settings) -> Result<Gateway, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (health, metrics) = (Health::default(), Metrics::new()?);
        metrics.build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let tasks = Tasks::default();
        let (admin_address, admin_socket) = bind("admin", settings.admin, 1)?;

        let vault = Arc::new(open_vault(&settings)?);
        let store = open_store(&settings.store, &vault).await?;
        let fingerprint = vault.fingerprint();
        if store.remember("master-key", &fingerprint).await? != fingerprint {
            anyhow::bail!(
                "the master key does not belong to {}; restore the one that does, or start with a new store",
                settings.store
            );
        }
        let compiler = compiler(&settings, metrics.clone());
        let publisher = Publisher::start(
            store.clone(),
            compiler,
            health.clone(),
            metrics.clone(),
            clock.clone(),
            settings.limits.snapshot_max_age,
        );
        let publisher = Arc::new(publisher.await.context("the stored resources cannot be put in force")?);
        tasks.spawn("publish", publisher.clone().run());
        if let Some(path) = &settings.resources {
            let directory = Directory::new(path.clone(), settings.workspaces.clone());
            // What is wrong with it is told by the task that follows it; a gateway starts with what it has.
            let _ = publisher.converge(&directory, &vault).await;
            tasks.spawn("resources", publisher.clone().follow(directory, vault.clone()));
        }

        let (control, control_sockets) = bind("control plane", settings.control_plane.listen, 1)?;
        let mut identity = settings.identity.clone();
        let control_url = control_plane::public_url(&settings, control);
        identity.control_audiences.push(control_url.clone());
        let issuers = Issuer::all(&identity);
        refresh_keys(&issuers, &settings, &clock, &tasks)?;
        first_keys(&issuers, &clock).await;

        let sink = Arc::new(Sink {
            metrics: metrics.clone(),
            log: access_log(&settings, &metrics)?,
            clock: clock.clone(),
            recent: Arc::new(Recent::new(settings.limits.explained_requests)),
        });
        let directory = group_directory(&settings)?;
        let gate = gate(&settings, &issuers, &clock, &vault, &metrics, directory.clone());
        let scoring = gate.tokens.clone();
        let recent = sink.recent.clone();
        let snapshot = publisher.cell().clone();
        let pipeline = Arc::new(Pipeline { snapshot: snapshot.clone(), gate, sink, rules: rules(&settings) });

        let certificates = load_certificates(&settings)?;
        let protocol = Arc::new(protocol(&settings, certificates.as_ref(), &metrics)?);
        let (data, sockets) = bind("data plane", settings.data_plane.listen, settings.data_plane.workers)?;
        let limits = &settings.limits;
        let gauge = metrics.connections.with_label_values(&["data"]);
        let drain = CancellationToken::new();
        let serving = Serving {
            protocol,
            service: pipeline,
            admission: Admission::new(limits.connections, limits.connections_per_address, gauge),
            drain: drain.clone(),
            grace: limits.drain,
        };
        let protocol = serving.protocol.clone();
        let ended = serving.start(settings.data_plane.layout, sockets)?;
        let addresses = control_plane::addresses(&settings, control_url, data);
        let parts = control_plane::Parts {
            publisher: publisher.clone(),
            store: store.clone(),
            vault: vault.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            directory,
            scoring,
            recent,
            owners: owners(&settings),
            addresses: addresses.clone(),
        };
        let control_ca =
            parts.start(&settings, &issuers, &protocol, (control, control_sockets), &drain, &tasks)?;
        tasks.spawn(
            "housekeeping",
            housekeeping(snapshot.clone(), certificates, health.clone(), metrics.clone()),
        );
        health.set("data plane", State::Good(format!("listening on {data}")));

        let admin = Admin { health: health.clone(), metrics, issuers, snapshot, clock };
        serve_admin(admin, admin_socket, &tasks)?;
        info!(%data, %control, admin = %admin_address, "scoregate is ready");
        let admin = admin_address;
        Ok(Gateway {
            data,
            control,
            addresses,
            control_ca,
            admin,
            publisher,
            store,
            vault,
            health,
            tasks,
            drain,
            ended,
        })
    }

    /// The store, for those who change resources.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Opens and seals endpoint keys.
    pub fn vault(&self) -> &Arc<Vault> {
        &self.vault
    }

    /// Puts changes of the store in force.
    pub fn publisher(&self) -> &Arc<Publisher> {
        &self.publisher
    }

    /// Stops: not ready any more, nothing new accepted, what is in flight finished within the drain time.
    pub async fn stop(self) {
        self.health.set("data plane", State::Failing("draining".to_owned()));
        self.drain.cancel();
        for ended in self.ended {
            // An error means that the thread is gone, which is what is waited for.
            let _ = ended.await;
        }
        self.tasks.stop().await;
    }
}

fn bind(
    what: &str,
    address: SocketAddr,
    sockets: usize,
) -> Result<(SocketAddr, Vec<std::net::TcpListener>), StartError> {
    listener::bind(address, sockets)
        .with_context(|| format!("the {what} cannot listen on {address}; free the port or choose another"))
}

/// Opens the store that the settings name.
pub async fn open_store(url: &StoreUrl, vault: &Vault) -> Result<Arc<dyn Store>, StartError> {
    let chain = Chain::new(vault.audit_key());
    Ok(match url {
        StoreUrl::Sqlite(file) => Arc::new(SqliteStore::open(file, chain).await?),
        StoreUrl::Memory => Arc::new(SqliteStore::memory(chain).await?),
    })
}

/// Opens the master key that the settings name, or the one beside the store.
pub fn open_vault(settings: &Settings) -> Result<Vault, StartError> {
    let beside = settings.store.directory().map(|directory| directory.join("master.key"));
    Ok(match (&settings.master_key, beside) {
        (Some(file), _) => Vault::open(file, false)?,
        (None, Some(file)) => Vault::open(&file, true)?,
        (None, None) => Vault::ephemeral()?,
    })
}

/// The grants that the settings make.
fn owners(settings: &Settings) -> Vec<RoleAssignment> {
    let owner = |principal: &crate::model::role::PrincipalId| RoleAssignment {
        id: Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("owner:{principal}").as_bytes()),
        scope: Scope::root(),
        role: builtin::OWNER,
        principal: *principal,
        principal_type: PrincipalType::User,
        condition: None,
        description: "named under `owners` in the configuration".to_owned(),
    };
    settings.owners.iter().map(owner).collect()
}

fn compiler(settings: &Settings, metrics: Metrics) -> Compiler {
    let limits = &settings.limits;
    Compiler {
        owners: owners(settings),
        groups: settings.management_groups.clone(),
        metrics,
        workers: settings.data_plane.workers,
        connect: limits.connect,
        bounds: crate::upstream::Bounds {
            idle_most: limits.idle_instance_connections,
            idle_time: limits.idle_instance_time,
            header_bytes: limits.response_header_bytes,
            header_count: limits.response_header_count,
        },
        requests_per_endpoint: limits.requests_per_endpoint,
        request_timeout_max: limits.request_timeout_max,
    }
}

/// Starts a task for each issuer that keeps its keys fresh.
fn refresh_keys(
    issuers: &[Arc<Issuer>],
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    tasks: &Tasks,
) -> Result<(), StartError> {
    let limits = &settings.limits;
    let times = KeyTimes {
        refresh: limits.jwks_refresh,
        cool_down: limits.jwks_cool_down,
        max_stale: limits.jwks_max_stale,
    };
    let directory: Option<PathBuf> = settings.store.directory().map(|directory| directory.join("issuers"));
    for issuer in issuers {
        let transport = match &issuer.source {
            KeySource::Discovery { transport, .. } => transport.clone(),
            KeySource::File(_) => Transport { ca_file: None, allow_http: false },
        };
        let fetch = Arc::new(HttpFetch::new(&transport)?);
        let (issuer, clock, directory) = (issuer.clone(), clock.clone(), directory.clone());
        tasks.spawn("issuer keys", Refresher { issuer, fetch, clock, times, directory }.run());
    }
    Ok(())
}

/// Gives issuers that answer the time to do so; those that do not have their tokens answered 503.
async fn first_keys(issuers: &[Arc<Issuer>], clock: &Arc<dyn Clock>) {
    let all = async {
        while !issuers.iter().all(|issuer| issuer.keys.is_usable(clock.unix())) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let _ = tokio::time::timeout(FIRST_KEYS, all).await;
}

fn access_log(settings: &Settings, metrics: &Metrics) -> Result<AccessLog, StartError> {
    let dropped = metrics.log_dropped.clone();
    Ok(if settings.logs.access {
        AccessLog::start(Box::new(std::io::stdout()), dropped)?
    } else {
        AccessLog::off(dropped)
    })
}

/// The directory that knows groups which do not fit into a token.
fn group_directory(settings: &Settings) -> Result<Option<Arc<GroupDirectory>>, StartError> {
    let Some(directory) = &settings.identity.directory else { return Ok(None) };
    let transport = Transport { ca_file: directory.ca_file.clone(), allow_http: directory.allow_http };
    let fetch = Arc::new(HttpFetch::new(&transport)?);
    let (url, token_file) = (directory.url.clone(), directory.token_file.clone());
    Ok(Some(Arc::new(GroupDirectory::new(url, token_file, fetch, settings.limits.group_cache))))
}

/// By which times tokens are judged.
pub(super) fn token_times(settings: &Settings) -> TokenTimes {
    TokenTimes {
        clock_skew: settings.identity.clock_skew,
        max_lifetime: settings.identity.max_token_lifetime,
        cool_down: settings.limits.jwks_cool_down,
    }
}

fn gate(
    settings: &Settings,
    issuers: &[Arc<Issuer>],
    clock: &Arc<dyn Clock>,
    vault: &Arc<Vault>,
    metrics: &Metrics,
    directory: Option<Arc<GroupDirectory>>,
) -> Gate {
    let (limits, times) = (&settings.limits, token_times(settings));
    let tokens = TokenVerifier::new(issuers, Plane::Data, clock.clone(), times, limits.token_cache_bytes);
    let data_plane = &settings.data_plane;
    Gate {
        tokens: Arc::new(tokens),
        vault: vault.clone(),
        directory,
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
        slow_client: metrics.slow_client.clone(),
    })
}

/// Closes connections that nobody needs, and takes up certificates that were replaced.
async fn housekeeping(
    snapshot: Arc<crate::routing::SnapshotCell>,
    tls: Option<Tls>,
    health: Health,
    metrics: Metrics,
) {
    let stamp = |files: &TlsFiles| {
        let of = |file: &PathBuf| std::fs::metadata(file).and_then(|meta| meta.modified()).ok();
        (of(&files.certificate), of(&files.private_key))
    };
    let mut seen = tls.as_ref().map(|(_, files)| stamp(files));
    loop {
        tokio::time::sleep(HOUSEKEEPING).await;
        for endpoint in snapshot.load().endpoints.values() {
            for instance in endpoint.deployments.iter().flat_map(|deployment| &deployment.instances) {
                instance.sweep();
            }
        }
        let Some((certificates, files)) = &tls else { continue };
        let now = Some(stamp(files));
        if now != seen {
            seen = now;
            match certificates.reload(&files.certificate, &files.private_key) {
                Ok(()) => {
                    info!("the certificate was replaced");
                    health.set("certificate", State::Good("replaced".to_owned()));
                }
                Err(error) => {
                    warn!(%error, "the new certificate cannot be used; the old one stays");
                    metrics.reload_failures.with_label_values(&["certificate"]).inc();
                    health.set("certificate", State::Degraded(error.to_string()));
                }
            }
        }
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
