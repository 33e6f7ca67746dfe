//! Data stores, and the one that every workspace has by itself.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Granted, Operations, Precondition, Put, Refusal, Written, not_from_files};
use crate::arm::datastore::{Described, Given, credentials_type};
use crate::identity::store_credential;
use crate::model::datastore::{Credential, DEFAULT_STORE, Datastore, Place};
use crate::model::resource::Resource;
use crate::model::scope::{Scope, WorkspaceRef};
use crate::store::{Change, Manager, Stored};

/// A data store, and what the store of resources knows of it if somebody made it.
#[derive(Debug, Clone)]
pub struct FoundStore {
    /// The data store.
    pub store: Datastore,
    /// Its row; a workspace's own store has none.
    pub stored: Option<Arc<Stored>>,
}

impl FoundStore {
    fn of(stored: Arc<Stored>) -> Option<FoundStore> {
        let store = stored.resource.datastore()?.clone();
        Some(FoundStore { store, stored: Some(stored) })
    }
}

/// The store that a workspace has without anybody making it. Where it is concerns the gateway alone.
fn own(workspace: WorkspaceRef) -> Option<Datastore> {
    let (credential, tags, properties) = Default::default();
    Some(Datastore {
        name: DEFAULT_STORE.parse().ok()?,
        workspace,
        place: Place::Directory { path: PathBuf::new() },
        credential,
        description: "a directory beside the gateway's own store".to_owned(),
        tags,
        properties,
    })
}

impl Operations {
    /// A data store by its id, from the store itself, or a workspace's own.
    pub async fn datastore(&self, id: &Scope) -> Result<Option<FoundStore>, Refusal> {
        let stored = self.stored(id).await?.and_then(FoundStore::of);
        Ok(stored.or_else(|| Some(FoundStore { store: self.own_datastore(id)?, stored: None })))
    }

    /// The store of that id that a workspace has by itself, unless it is no such id.
    pub(super) fn own_datastore(&self, id: &Scope) -> Option<Datastore> {
        let (workspace, name) = id.key().rsplit_once("/datastores/")?;
        let workspace = self.workspace(&workspace.parse().ok()?).filter(|_| name == DEFAULT_STORE)?;
        own(workspace.workspace.place)
    }

    /// The data stores of a workspace by their keys, its own among them.
    pub fn datastores_of(&self, workspace: &Scope) -> Vec<(String, FoundStore)> {
        let contents = self.publisher.contents();
        let made = contents
            .below(workspace)
            .filter_map(|(key, stored)| Some((key.to_owned(), FoundStore::of(stored.clone())?)));
        let mut found: Vec<_> = made.collect();
        let id = workspace.child("datastores", DEFAULT_STORE);
        if let (false, Some(store)) = (found.iter().any(|(key, _)| key == id.key()), self.own_datastore(&id))
        {
            found.push((id.key().to_owned(), FoundStore { store, stored: None }));
        }
        found
    }

    /// ARM's word for the kind of a store's credential.
    pub fn credential_kind(&self, id: &Scope, store: &Datastore) -> Result<Option<&'static str>, Refusal> {
        let Some(sealed) = &store.credential else { return Ok(None) };
        Ok(Some(credentials_type(&store_credential::open(&self.vault, id, sealed)?)))
    }

    /// Makes a data store or describes it anew.
    pub async fn put_datastore(
        &self,
        granted: &Granted,
        before: Option<Arc<Stored>>,
        Described { mut store, credential }: Described,
        precondition: &Precondition,
    ) -> Result<Written, Refusal> {
        let expect = precondition.judge(before.as_deref())?;
        self.workspace_of(&store.workspace)?;
        match &before {
            Some(before) => not_from_files(before)?,
            None => self.room_for_datastore()?,
        }
        self.may_be_at(&store.place)?;
        let known = before.as_deref().and_then(|stored| stored.resource.datastore());
        store.credential = match credential {
            Given::Nothing => None,
            Given::New(credential) => Some(store_credential::seal(&self.vault, &granted.scope, &credential)?),
            Given::Kept(kind) => {
                let kept = known.map(|known| self.credential_kind(&granted.scope, known)).transpose()?;
                if kind.is_some() && kept.flatten() != kind {
                    let problem = "the store has no such credential that could be kept; give its `secrets`";
                    return Err(Refusal::invalid("properties.credentials", problem));
                }
                known.and_then(|known| known.credential.clone())
            }
        };
        let manager = before.as_ref().map_or(Manager::Caller, |stored| stored.manager);
        let put = Put { resource: Resource::Datastore(Box::new(store)), manager, expect };
        self.put(granted, put, precondition, Vec::new()).await
    }

    /// Removes a data store and the grants at it. `false` if there was none.
    pub async fn delete_datastore(
        &self,
        granted: &Granted,
        precondition: &Precondition,
    ) -> Result<bool, Refusal> {
        let before = self.datastore(&granted.scope).await?;
        if before.as_ref().is_some_and(|found| found.stored.is_none()) {
            let message =
                "every workspace has this store; make one of its name to have it elsewhere".to_owned();
            return Err(Refusal::Rule("DatastoreIsDefault", message));
        }
        let before = before.and_then(|found| found.stored);
        self.remove(granted, before.as_deref(), precondition, Vec::<Change>::new()).await
    }

    /// What opens a data store. The reading leaves a record before it is answered.
    pub async fn datastore_secrets(&self, granted: &Granted) -> Result<Credential, Refusal> {
        let found = self.datastore(&granted.scope).await?;
        let found = found.ok_or_else(|| Refusal::NotFound(granted.scope.clone()))?;
        let sealed = found.store.credential.ok_or_else(|| {
            let message =
                "the store has no credential; it is reached without one, or as whoever asks".to_owned();
            Refusal::Rule("DatastoreHasNoCredential", message)
        })?;
        let credential = store_credential::open(&self.vault, &granted.scope, &sealed)?;
        self.commit(granted, Vec::new()).await?;
        Ok(credential)
    }

    fn room_for_datastore(&self) -> Result<(), Refusal> {
        let (most, there) = (self.limits.datastores, self.snapshot()?.datastores.len());
        if there < most {
            return Ok(());
        }
        Err(Refusal::Limit(format!("there are {there} data stores and `limits.datastores` is {most}")))
    }

    /// Whether callers of the API may have a store there: in no directory of this machine but those that the operator
    /// lists. What may be called over the network is judged when it is called.
    fn may_be_at(&self, place: &Place) -> Result<(), Refusal> {
        let Place::Directory { path } = place else { return Ok(()) };
        if self.storage.allows_directory(path) {
            return Ok(());
        }
        let problem = "`scoregate.place`: the directory is in none that is listed under `batch.directories` in the configuration";
        Err(Refusal::invalid("properties.properties", problem))
    }
}
