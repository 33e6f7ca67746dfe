//! What is kept: the store, the key that it is sealed with, and what of it is in force.

use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::Notify;
use uuid::Uuid;

use super::tasks::Group;
use super::{Base, StartError};
use crate::identity::vault::Vault;
use crate::instances::Keeper;
use crate::model::role::{PrincipalId, PrincipalType, RoleAssignment};
use crate::model::scope::Scope;
use crate::publish::Publisher;
use crate::rbac::builtin;
use crate::resources::Directory;
use crate::routing::Compiler;
use crate::settings::{Limits, Settings, StoreUrl};
use crate::store::chain::Chain;
use crate::store::jobs::JobStore;
use crate::store::{Bounds, SqlStore, Store};
use crate::telemetry::metrics::Metrics;

/// What is kept.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) store: Arc<dyn Store>,
    /// The same store, as one of batch jobs.
    pub(super) jobs: Arc<dyn JobStore>,
    pub(super) vault: Arc<Vault>,
    pub(super) publisher: Arc<Publisher>,
    pub(super) keeper: Arc<Keeper>,
    /// Tells the runner of new jobs.
    pub(super) wake: Arc<Notify>,
}

impl State {
    /// Opens the store, puts what it and the resources directory hold in force, and follows the store from then on.
    pub(super) async fn open(base: &Base) -> Result<State, StartError> {
        let settings = &base.settings;
        make_directory(settings)?;
        let vault = Arc::new(open_vault(settings)?);
        let store = open_store(settings, &vault).await?;
        let jobs: Arc<dyn JobStore> = store.clone();
        let store: Arc<dyn Store> = store;
        let fingerprint = vault.fingerprint();
        if store.remember("master-key", &fingerprint).await? != fingerprint {
            anyhow::bail!(
                "the master key does not belong to {}; restore the one that does, or start with a new store",
                settings.store
            );
        }
        let publisher = Publisher::start(
            store.clone(),
            compiler(settings, base.metrics.clone()),
            base.health.clone(),
            base.metrics.clone(),
            base.clock.clone(),
            settings.limits.snapshot_max_age,
        );
        let publisher = Arc::new(publisher.await.context("the stored resources cannot be put in force")?);
        base.tasks.spawn("publish", publisher.clone().run());
        if let Some(directory) = directory(settings) {
            // What is wrong with it is told by the task that follows it; a gateway starts with what it has.
            let _ = publisher.converge(&directory, &vault).await;
        }
        let (cell, metrics) = (publisher.cell().clone(), base.metrics.clone());
        let (limits, helper) = (settings.limits.clone(), settings.instances.helper.clone());
        let keeper = Arc::new(Keeper::new(cell, metrics, limits, helper)?);
        base.tasks.spawn("instances", keeper.clone().run(publisher.in_force()));
        Ok(State { store, jobs, vault, publisher, keeper, wake: Arc::default() })
    }

    /// Follows the resources directory that the settings name, until the group is dropped.
    pub(super) fn follow(&self, base: &Base) -> Group {
        let following = base.tasks.group();
        match directory(&base.settings) {
            Some(directory) => {
                let follow = self.publisher.clone().follow(directory, self.vault.clone());
                following.spawn("resources", follow);
            }
            None => base.health.remove("resources"),
        }
        following
    }
}

fn directory(settings: &Settings) -> Option<Directory> {
    settings.resources.as_ref().map(|path| Directory::new(path.clone(), settings.workspaces.clone()))
}

/// Opens the store that the settings name.
pub async fn open_store(settings: &Settings, vault: &Vault) -> Result<Arc<SqlStore>, StartError> {
    let chain = Chain::new(vault.audit_key());
    Ok(Arc::new(match &settings.store {
        StoreUrl::Sqlite(file) => SqlStore::open(file, chain).await?,
        StoreUrl::Postgres(url) => {
            let Limits { store_connections, store_time, .. } = settings.limits;
            let bounds = Bounds { connections: store_connections, patience: store_time };
            SqlStore::connect(url, bounds, chain).await?
        }
        StoreUrl::Memory => SqlStore::memory(chain).await?,
    }))
}

/// Opens the master key that the settings name, or the one beside the store.
pub fn open_vault(settings: &Settings) -> Result<Vault, StartError> {
    if let StoreUrl::Sqlite(file) = &settings.store {
        SqlStore::check_place(file)?;
    }
    let beside = settings.directory().map(|directory| directory.join("master.key"));
    Ok(match (&settings.master_key, beside) {
        (Some(file), _) => Vault::open(file, false)?,
        (None, Some(file)) => Vault::open(&file, true)?,
        (None, None) => Vault::ephemeral()?,
    })
}

/// Makes the directory for what is this gateway's own, where nothing else says that there is one.
fn make_directory(settings: &Settings) -> Result<(), StartError> {
    if let (StoreUrl::Postgres(_), Some(directory)) = (&settings.store, settings.directory()) {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.with_context(|| format!("`data_directory` {} cannot be made", directory.display()))?;
    }
    Ok(())
}

/// The grants that the settings make.
pub(super) fn owners(settings: &Settings) -> Vec<RoleAssignment> {
    let owner = |principal: &PrincipalId| RoleAssignment {
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

pub(super) fn compiler(settings: &Settings, metrics: Metrics) -> Compiler {
    Compiler {
        owners: owners(settings),
        groups: settings.management_groups.clone(),
        metrics,
        workers: settings.data_plane.workers,
        limits: settings.limits.clone(),
    }
}
