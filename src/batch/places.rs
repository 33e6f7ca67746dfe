//! The resources that a job touches: where its input and output are, and the rights that follow from them.

use std::sync::Arc;

use super::tokens::OwnerTokens;
use crate::artifacts::{ArtifactError, Input, Location, LocationError, Opener, Output, StorageTokens};
use crate::model::datastore::{Datastore, DatastoreName, Place};
use crate::model::job::JobSpec;
use crate::model::names::{DeploymentName, EndpointName};
use crate::model::scope::{Scope, ScopeError, WorkspaceRef};
use crate::rbac::job::{Right, Touches, rights};
use crate::routing::Snapshot;

/// Where a job works.
#[derive(Debug)]
pub(super) struct Places {
    workspace: Scope,
    endpoint: Scope,
    deployment: Scope,
    pub(super) input: Location,
    pub(super) output: Location,
}

/// Why a job has no places.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    /// A URI means nothing.
    #[error("{field}: {error}")]
    Uri {
        /// `inputData` or `outputData`.
        field: &'static str,
        /// What is wrong with it.
        error: LocationError,
    },
    /// A name makes no id.
    #[error(transparent)]
    Name(#[from] ScopeError),
}

impl Places {
    /// The places of a job of an endpoint's deployment.
    pub(super) fn of(
        workspace: &WorkspaceRef,
        endpoint: &EndpointName,
        deployment: &DeploymentName,
        (input, output): (&str, &str),
    ) -> Result<Places, PlaceError> {
        let parse = |field: &'static str, uri: &str| {
            Location::parse(uri, workspace).map_err(|error| PlaceError::Uri { field, error })
        };
        let (input, output) = (parse("inputData", input)?, parse("outputData", output)?);
        let workspace = workspace.scope()?;
        let endpoint = workspace.batch_endpoint(endpoint);
        let deployment = endpoint.deployment(deployment);
        Ok(Places { workspace, endpoint, deployment, input, output })
    }

    /// Those of a job that is kept, and the query of its input's address.
    pub(super) fn of_job(spec: &JobSpec, query: Option<&str>) -> Result<Places, PlaceError> {
        let input = &spec.input.uri;
        let input = query.map_or_else(|| input.clone(), |query| format!("{input}?{query}"));
        Places::of(&spec.workspace, &spec.endpoint, &spec.deployment, (&input, &spec.output.uri))
    }

    fn store(&self, location: &Location) -> Option<Scope> {
        match location {
            Location::Store { name, .. } => Some(self.workspace.datastore(name)),
            Location::Https(_) => None,
        }
    }

    /// Every right that the job needs. An output by address, which is refused later, is judged at the workspace.
    pub(super) fn rights(&self) -> Vec<Right> {
        let (input, output) = (self.store(&self.input), self.store(&self.output));
        rights(Touches {
            workspace: &self.workspace,
            endpoint: &self.endpoint,
            deployment: &self.deployment,
            input: input.as_ref(),
            output: output.as_ref().unwrap_or(&self.workspace),
        })
    }

    /// The rights at the output's store.
    pub(super) fn output_rights(&self) -> Vec<Right> {
        let at = self.store(&self.output);
        let mut rights = self.rights();
        rights.retain(|right| Some(&right.scope) == at.as_ref());
        rights
    }

    /// The stores of input and output, as they are now.
    pub(super) fn stores(&self, snapshot: &Snapshot) -> Stores {
        let find = |location| {
            let id = self.store(location)?;
            snapshot.datastores.get(id.key()).cloned()
        };
        Stores { input: find(&self.input), output: find(&self.output) }
    }
}

fn tokens(owner: Option<&Arc<OwnerTokens>>) -> Option<Arc<dyn StorageTokens>> {
    owner.map(|tokens| tokens.clone() as Arc<dyn StorageTokens>)
}

/// The data stores of a job; none for an address, and for the store that every workspace has without anybody making it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stores {
    pub(super) input: Option<Arc<Datastore>>,
    pub(super) output: Option<Arc<Datastore>>,
}

impl Stores {
    /// A store that opens only to the job's owner.
    pub(super) fn needs_owner(&self) -> Option<&DatastoreName> {
        let both = [&self.input, &self.output];
        let opens =
            |store: &&Arc<Datastore>| store.credential.is_none() && matches!(store.place, Place::Blob { .. });
        both.into_iter().flatten().find(opens).map(|store| &store.name)
    }

    /// Opens the input.
    pub(super) fn input(
        &self,
        opener: &Opener,
        places: &Places,
        owner: Option<&Arc<OwnerTokens>>,
    ) -> Result<Input, ArtifactError> {
        opener.input(&places.input, self.input.as_deref(), tokens(owner))
    }

    /// Opens the output.
    pub(super) fn output(
        &self,
        opener: &Opener,
        places: &Places,
        spec: &JobSpec,
        owner: Option<&Arc<OwnerTokens>>,
    ) -> Result<Output, ArtifactError> {
        let (store, name) = (self.output.as_deref(), &spec.settings.output_file_name);
        opener.output(&places.output, store, name, &spec.name, tokens(owner))
    }
}
