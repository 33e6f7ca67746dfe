//! From a location to an input or an output: the data store, its credential, the rules. No I/O yet.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::AmazonS3Builder;
use object_store::azure::{AzureConfigKey, AzureCredential, MicrosoftAzureBuilder};
use object_store::client::CredentialProvider;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};
use reqwest::Url;
use zeroize::Zeroizing;

use super::client::{Client, Lookup, SystemLookup};
use super::directory::Directory;
use super::error::ArtifactError;
use super::form::OutputForm;
use super::input::Input;
use super::location::{Address, Location};
use super::output::{Output, Target};
use super::source::Source;
use crate::identity::fetch::FetchError;
use crate::identity::store_credential;
use crate::identity::vault::Vault;
use crate::model::datastore::{Credential, DEFAULT_STORE, Datastore, Place};
use crate::model::job::JobName;
use crate::model::scope::WorkspaceRef;
use crate::settings::{Limits, Settings};
use crate::telemetry::metrics::Metrics;

/// Gives tokens for Azure Storage (`https://storage.azure.com`) in the name of a job's owner.
#[async_trait]
pub trait StorageTokens: Send + Sync + fmt::Debug {
    /// A token that is good for now. Errors hold no credential.
    async fn token(&self) -> Result<Zeroizing<String>, ArtifactError>;
}

/// Opens inputs and outputs by the rules of the settings.
#[derive(Debug, Clone)]
pub struct Opener {
    client: Client,
    vault: Arc<Vault>,
    limits: Arc<Limits>,
    default_stores: Option<PathBuf>,
}

impl Opener {
    /// An opener by these settings. Below the directory `default_stores` each workspace has its default store, unless it
    /// has a resource of that name: `{default_stores}/{subscription}/{resource group}/{workspace}`.
    pub fn new(
        settings: &Settings,
        default_stores: Option<&Path>,
        vault: Arc<Vault>,
        metrics: &Metrics,
    ) -> Result<Opener, FetchError> {
        Opener::with_lookup(settings, default_stores, vault, metrics, Arc::new(SystemLookup))
    }

    /// An opener that finds addresses in its own way.
    pub fn with_lookup(
        settings: &Settings,
        default_stores: Option<&Path>,
        vault: Arc<Vault>,
        metrics: &Metrics,
        lookup: Arc<dyn Lookup>,
    ) -> Result<Opener, FetchError> {
        let denied = metrics.egress_denied.clone();
        let client = Client::new(&settings.batch, &settings.limits, denied, lookup)?;
        let default_stores = default_stores.map(Path::to_owned);
        Ok(Opener { client, vault, limits: Arc::new(settings.limits.clone()), default_stores })
    }

    /// The input at a location. `store` is the data store that the location names, if there is a resource of that name;
    /// `as_owner` is for a store without a credential; what is named by its address is read as nobody.
    pub fn input(
        &self,
        at: &Location,
        store: Option<&Datastore>,
        as_owner: Option<Arc<dyn StorageTokens>>,
    ) -> Result<Input, ArtifactError> {
        let (source, path) = match at {
            Location::Https(address) => (self.file(address)?, address.to_string()),
            Location::Store { workspace, name, path } => match store {
                Some(store) if &store.name != name => {
                    return Err(ArtifactError::UnknownStore(name.to_string()));
                }
                Some(Datastore { place: Place::Https { base }, .. }) => {
                    (self.below(&name.to_string(), base)?, path.clone())
                }
                Some(store) => (Source::Objects(self.objects(store, as_owner)?.0), path.clone()),
                None => {
                    let directory = self.default_store(workspace, &name.to_string())?;
                    (Source::Objects(Arc::new(directory)), path.clone())
                }
            },
        };
        Ok(Input::new(source, path, at.clone(), self.limits.clone()))
    }

    /// The output at a location: a file if the location's last segment has an output's extension, else the file
    /// `file_name` in it. Parts are kept beside it under the job's name, so that jobs may share a folder.
    pub fn output(
        &self,
        at: &Location,
        store: Option<&Datastore>,
        file_name: &str,
        job: &JobName,
        as_owner: Option<Arc<dyn StorageTokens>>,
    ) -> Result<Output, ArtifactError> {
        let Location::Store { workspace, name, path } = at else {
            return Err(ArtifactError::ReadOnly(at.to_string()));
        };
        let (objects, directory): (Arc<dyn ObjectStore>, _) = match store {
            Some(store) if &store.name != name => return Err(ArtifactError::UnknownStore(name.to_string())),
            Some(Datastore { place: Place::Https { .. }, .. }) => {
                return Err(ArtifactError::ReadOnly(at.to_string()));
            }
            Some(store) => self.objects(store, as_owner)?,
            None => {
                let directory = self.default_store(workspace, &name.to_string())?;
                (Arc::new(directory.clone()), Some(directory))
            }
        };
        let (above, last) = path.rsplit_once('/').unwrap_or(("", path));
        let (folder, file) = match OutputForm::of(last) {
            Some(_) => (above, last),
            None => (path.as_str(), file_name),
        };
        let unknown = || ArtifactError::UnknownOutputForm(file.chars().take(255).collect());
        let plain = !file.starts_with(['.', '_']) && !file.contains('/') && file.len() <= 255;
        let form = OutputForm::of(file).filter(|_| plain && !file.chars().any(char::is_control));
        let target = Target {
            objects,
            directory,
            store: name.clone(),
            workspace: workspace.clone(),
            folder: folder.to_owned(),
            file: file.to_owned(),
            form: form.ok_or_else(unknown)?,
            job: job.clone(),
        };
        Ok(Output::new(target, self.limits.batch_fetches))
    }

    /// One file behind an address.
    fn file(&self, address: &Address) -> Result<Source, ArtifactError> {
        self.client.judge(address.url(), None)?;
        Ok(Source::File { client: self.client.clone(), address: address.clone() })
    }

    fn below(&self, store: &str, base: &str) -> Result<Source, ArtifactError> {
        let address = Address::parse(base)
            .map_err(|error| ArtifactError::BadStore { store: store.to_owned(), why: error.to_string() })?;
        let base = address.url().clone();
        self.client.judge(&base, base.host_str())?;
        Ok(Source::Below { client: self.client.clone(), base })
    }

    /// The directory of a workspace's default store.
    fn default_store(&self, workspace: &WorkspaceRef, name: &str) -> Result<Directory, ArtifactError> {
        let names = [&workspace.subscription, &workspace.resource_group, &workspace.name];
        let names = names.map(|name| name.to_ascii_lowercase());
        let plain = |name: &String| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
        let root = self.default_stores.as_ref().filter(|_| name == DEFAULT_STORE && names.iter().all(plain));
        let root = root.ok_or_else(|| ArtifactError::UnknownStore(name.to_owned()))?;
        Ok(Directory::new(&names.iter().fold(root.clone(), |path, name| path.join(name)), true))
    }

    /// What a data store's library makes of it.
    fn objects(
        &self,
        store: &Datastore,
        as_owner: Option<Arc<dyn StorageTokens>>,
    ) -> Result<(Arc<dyn ObjectStore>, Option<Directory>), ArtifactError> {
        let bad = |why: &str| ArtifactError::BadStore { store: store.name.to_string(), why: why.to_owned() };
        let unusable =
            |_| bad("its library does not take its definition; see its account, bucket and credential");
        match &store.place {
            Place::Directory { path } if !path.is_absolute() => Err(bad("its directory is no absolute path")),
            Place::Directory { path } => {
                let directory = Directory::new(path, false);
                Ok((Arc::new(directory.clone()), Some(directory)))
            }
            Place::Blob { service, account, container } => {
                let (url, host) = self.service(&bad, service)?;
                if !is_plain(container) {
                    return Err(bad("its container is no container's name"));
                }
                let builder = MicrosoftAzureBuilder::new()
                    .with_endpoint(service.clone())
                    .with_account(account)
                    .with_container_name(container)
                    .with_retry(patience())
                    .with_http_connector(self.client.connector(&host));
                let builder = match self.credential(store)? {
                    Some(Credential::AccountKey(key)) => builder.with_access_key(key),
                    Some(Credential::Sas(sas)) => {
                        builder.with_config(AzureConfigKey::SasKey, sas.trim_start_matches('?'))
                    }
                    Some(Credential::AccessKey { .. }) => {
                        return Err(bad("an Azure store has no access key"));
                    }
                    None => {
                        let tokens = as_owner.ok_or_else(|| no_credential(store))?;
                        if !self.client.rules().may_have_token(&url) {
                            return Err(bad(
                                "it has no credential, and its host is not one that a caller's token is sent to \
                                 (batch.token_hosts); give it a credential",
                            ));
                        }
                        builder.with_credentials(Arc::new(AsOwner(tokens)))
                    }
                };
                Ok((Arc::new(builder.build().map_err(unusable)?), None))
            }
            Place::S3 { endpoint, region, bucket } => {
                if !is_plain(region) || !is_plain(bucket) {
                    return Err(bad("its region or bucket is no such name"));
                }
                let endpoint =
                    endpoint.clone().unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
                let (_, host) = self.service(&bad, &endpoint)?;
                let builder = AmazonS3Builder::new()
                    .with_endpoint(endpoint)
                    .with_virtual_hosted_style_request(false)
                    .with_region(region)
                    .with_bucket_name(bucket)
                    .with_retry(patience())
                    .with_http_connector(self.client.connector(&host));
                let builder = match self.credential(store)? {
                    Some(Credential::AccessKey { id, secret }) => {
                        builder.with_access_key_id(id).with_secret_access_key(secret)
                    }
                    Some(_) => return Err(bad("an S3 store has an access key or no credential")),
                    // As anybody; never as the gateway's machine, for which the library would ask.
                    None => builder
                        .with_access_key_id("anonymous")
                        .with_secret_access_key("anonymous")
                        .with_skip_signature(true),
                };
                Ok((Arc::new(builder.build().map_err(unusable)?), None))
            }
            Place::Https { .. } => Err(ArtifactError::NotListable(store.name.to_string())),
        }
    }

    /// A store's address, if the rules let it be reached.
    fn service(
        &self,
        bad: &impl Fn(&str) -> ArtifactError,
        address: &str,
    ) -> Result<(Url, String), ArtifactError> {
        let parsed = Address::parse(address).map_err(|error| bad(&error.to_string()))?;
        let url = parsed.url().clone();
        if url.query().is_some() {
            return Err(bad("its address has a query; give it a credential instead"));
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        self.client.judge(&url, Some(&host))?;
        Ok((url, host))
    }

    fn credential(&self, store: &Datastore) -> Result<Option<Credential>, ArtifactError> {
        let Some(sealed) = &store.credential else { return Ok(None) };
        let bad = |why: String| ArtifactError::BadStore { store: store.name.to_string(), why };
        let place = store.scope().map_err(|error| bad(error.to_string()))?;
        let credential = store_credential::open(&self.vault, &place, sealed);
        credential.map(Some).map_err(|error| bad(error.to_string()))
    }
}

fn no_credential(store: &Datastore) -> ArtifactError {
    let why = "its data store has no credential, and the job's owner gave nothing to reach it by; give it a credential";
    ArtifactError::Unauthorized { place: store.name.to_string(), why: why.to_owned() }
}

/// Whether a name stands for itself in a URL.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._$".contains(&byte);
    (1..=63).contains(&name.len())
        && name.bytes().all(plain)
        && !name.contains("..")
        && !name.starts_with('.')
}

/// A dead store is known in seconds; whoever runs a job tries again later.
fn patience() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(1),
            base: 2.0,
        },
        max_retries: 2,
        retry_timeout: Duration::from_secs(8),
    }
}

/// An owner's tokens, as the stores' library asks for them.
#[derive(Debug)]
struct AsOwner(Arc<dyn StorageTokens>);

#[async_trait]
impl CredentialProvider for AsOwner {
    type Credential = AzureCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AzureCredential>> {
        let generic = |error| object_store::Error::Generic { store: "owner", source: Box::new(error) };
        let token = self.0.token().await.map_err(generic)?;
        Ok(Arc::new(AzureCredential::BearerToken(token.as_str().to_owned())))
    }
}
