//! A job that is worked on here: its data opened, as whoever it belongs to.

use std::sync::Arc;

use tokio::sync::OnceCell;

use super::authority;
use super::places::{PlaceError, Places};
use super::secrets::Secrets;
use super::services::Services;
use super::tokens::OwnerTokens;
use crate::artifacts::{ArtifactError, Input, Output};
use crate::identity::caller::Caller;
use crate::identity::vault::VaultError;
use crate::model::job::Failure;
use crate::model::scope::Scope;
use crate::rbac::job::Right;
use crate::store::jobs::KeptJob;

/// A job that is worked on here, opened once.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) job: KeptJob,
    pub(super) id: Scope,
    opened: OnceCell<Opened>,
}

/// What of a job is open.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) input: Input,
    pub(super) output: Output,
    pub(super) caller: Arc<Caller>,
    pub(super) rights: Vec<Right>,
    /// Those of them that are needed to write the output.
    pub(super) output_rights: Vec<Right>,
}

/// Why a job cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// Its places make no sense.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Its data cannot be opened.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// What is sealed to it does not open.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A store it uses opens to its owner alone, and nothing is sealed to it any more.
    #[error("data store `{0}` has lost its credential since the job was accepted")]
    NoToken(String),
}

impl OpenError {
    pub(super) fn failure(&self) -> Failure {
        let code = match self {
            OpenError::Artifact(error) => error.code(),
            OpenError::NoToken(_) => "DatastoreWithoutCredential",
            OpenError::Place(_) | OpenError::Vault(_) => "InternalServerError",
        };
        Failure { code: code.to_owned(), message: self.to_string() }
    }
}

impl Context {
    pub(super) fn new(job: KeptJob, id: Scope) -> Context {
        Context { job, id, opened: OnceCell::new() }
    }

    /// Opens the job's data, once.
    pub(super) async fn open(&self, services: &Services) -> Result<&Opened, OpenError> {
        self.opened.get_or_try_init(|| async { self.opened_now(services) }).await
    }

    fn opened_now(&self, services: &Services) -> Result<Opened, OpenError> {
        let (spec, tools) = (&self.job.spec, services.tools());
        let Secrets { query, refresh } =
            Secrets::open(&services.vault, &self.id, self.job.sealed.as_deref())?;
        let places = Places::of_job(spec, query.as_ref().map(|query| query.as_str()))?;
        let stores = places.stores(&services.snapshot.load());
        let tokens = match (stores.needs_owner(), &tools.on_behalf, refresh) {
            (None, ..) => None,
            (Some(_), Some(on_behalf), Some(refresh)) => {
                Some(Arc::new(OwnerTokens::new(on_behalf.clone(), services.clock.clone(), refresh)))
            }
            (Some(store), ..) => return Err(OpenError::NoToken(store.to_string())),
        };
        let input = stores.input(&tools.opener, &places, tokens.as_ref())?;
        let output = stores.output(&tools.opener, &places, spec, tokens.as_ref())?;
        let caller = authority::caller(&spec.owner);
        let (rights, output_rights) = (places.rights(), places.output_rights());
        Ok(Opened { input, output, caller, rights, output_rights })
    }
}
