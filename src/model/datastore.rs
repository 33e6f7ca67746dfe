//! Data stores: where the inputs and outputs of batch jobs are.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::scope::{Scope, ScopeError, WorkspaceRef};

/// The name of the store that a workspace has without anybody making it: a directory beside the gateway's own store.
pub const DEFAULT_STORE: &str = "workspaceblobstore";

/// A store's name: letters, digits, `_` and `-`, compared without regard to case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DatastoreName(String);

/// Why a text is no store's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a data store's name: 1 to 64 lower-case letters, digits, `_` and `-`, beginning with a letter or digit"
)]
pub struct DatastoreNameError(String);

impl TryFrom<String> for DatastoreName {
    type Error = DatastoreNameError;

    fn try_from(text: String) -> Result<DatastoreName, DatastoreNameError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let sound = (1..=64).contains(&text.len())
            && text.chars().all(plain)
            && text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !sound {
            return Err(DatastoreNameError(text.chars().take(80).collect()));
        }
        Ok(DatastoreName(text.to_ascii_lowercase()))
    }
}

impl std::str::FromStr for DatastoreName {
    type Err = DatastoreNameError;
    fn from_str(text: &str) -> Result<DatastoreName, DatastoreNameError> {
        text.to_owned().try_into()
    }
}

impl From<DatastoreName> for String {
    fn from(name: DatastoreName) -> String {
        name.0
    }
}

impl fmt::Display for DatastoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a store is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Place {
    /// A directory on the gateway's machine, or one that every gateway has mounted.
    Directory {
        /// Where it is.
        path: PathBuf,
    },
    /// A container of an Azure Blob account.
    Blob {
        /// Such as `https://account.blob.core.windows.net`, without a slash at its end.
        service: String,
        /// The account's name.
        account: String,
        /// The container.
        container: String,
    },
    /// A bucket that speaks S3.
    S3 {
        /// Such as `https://s3.eu-central-1.amazonaws.com`; Amazon's own of the region, if it is not set.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        endpoint: Option<String>,
        /// The region.
        region: String,
        /// The bucket.
        bucket: String,
    },
    /// Files below an address, which can be read by name and not listed.
    Https {
        /// Such as `https://data.example.com/heart`, without a slash at its end.
        base: String,
    },
}

impl Place {
    /// The name in YAML, in ARM and in logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Place::Directory { .. } => "local_directory",
            Place::Blob { .. } => "azure_blob",
            Place::S3 { .. } => "s3",
            Place::Https { .. } => "https",
        }
    }
}

/// What opens a store, sealed under the master key; `None` is reached as the job's caller.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedCredential(pub String);

impl fmt::Debug for SealedCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedCredential(…)")
    }
}

/// What opens a store. Sealed as JSON of this form.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    /// The key of an Azure Blob account, base64.
    AccountKey(String),
    /// A shared access signature, without `?`.
    Sas(String),
    /// An access key of S3 and its secret.
    AccessKey {
        /// The key's id.
        id: String,
        /// Its secret.
        secret: String,
    },
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(…)")
    }
}

/// A data store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datastore {
    /// Unique in its workspace.
    pub name: DatastoreName,
    /// Its workspace.
    pub workspace: WorkspaceRef,
    /// What it is.
    pub place: Place,
    /// What opens it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<SealedCredential>,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// The user's labels.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The user's property bag.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

impl Datastore {
    /// Its resource id.
    pub fn scope(&self) -> Result<Scope, ScopeError> {
        Ok(self.workspace.scope()?.datastore(&self.name))
    }
}
