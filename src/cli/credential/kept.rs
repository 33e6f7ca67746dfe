//! Logins that `scoregate login` keeps: a file that only its owner reads, with a refresh token for each authority and tenant.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{AccessToken, Credentials, Miss, OAuthError, token_request};
use crate::cli::Env;

/// A token with less time than this, in seconds, is renewed.
const MARGIN: i64 = 300;

/// The logins on this machine, by `{authority}/{tenant}`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    logins: BTreeMap<String, Login>,
}

/// One login.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Login {
    /// The application that logged in for the person.
    client_id: String,
    /// Who it is, to be shown.
    account: String,
    /// What new access tokens are asked for with.
    refresh_token: String,
    /// Access tokens by what they are for.
    access: BTreeMap<String, Access>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("account", &self.account).finish_non_exhaustive()
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct Access {
    token: String,
    expires: i64,
}

impl Login {
    /// A login that has just been made.
    pub fn new(client_id: String, account: String, refresh_token: String) -> Login {
        Login { client_id, account, refresh_token, access: BTreeMap::new() }
    }

    /// Remembers an access token.
    pub fn keep(&mut self, resource: &str, token: &AccessToken) {
        if let Some(expires) = token.expires {
            let access = Access { token: token.secret.to_string(), expires };
            self.access.insert(resource.to_owned(), access);
        }
    }
}

impl Kept {
    /// The file of this environment's user.
    pub fn file(env: &Env) -> Option<PathBuf> {
        let directory = env.get("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let directory = directory.or_else(|| Some(Path::new(env.get("HOME")?).join(".config")))?;
        Some(directory.join("scoregate").join("login.json"))
    }

    /// Reads the file; one that is not there holds nothing.
    pub fn read(file: &Path) -> Result<Kept, String> {
        let meta = match std::fs::metadata(file) {
            Ok(meta) => meta,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Kept::default()),
            Err(error) => return Err(format!("{}: {error}", file.display())),
        };
        if meta.mode() & 0o077 != 0 {
            return Err(format!("others may read {0}; chmod 600 {0}", file.display()));
        }
        let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let bytes = Zeroizing::new(bytes);
        serde_json::from_slice(&bytes).map_err(|_| {
            format!("{} is damaged; `scoregate logout` and `scoregate login` again", file.display())
        })
    }

    /// Writes the file, whole or not at all.
    pub fn write(&self, file: &Path) -> Result<(), String> {
        let written = || -> std::io::Result<()> {
            let directory = file.parent().unwrap_or(Path::new("."));
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            let mut new = tempfile::Builder::new();
            let mut new = new.permissions(std::fs::Permissions::from_mode(0o600)).tempfile_in(directory)?;
            new.write_all(serde_json::to_string_pretty(self)?.as_bytes())?;
            new.as_file().sync_all()?;
            new.persist(file).map(drop).map_err(|error| error.error)
        };
        written().map_err(|error| format!("cannot write {}: {error}", file.display()))
    }

    /// Takes a login in, in the place of an earlier one.
    pub fn insert(&mut self, authority: &str, tenant: &str, login: Login) {
        self.logins.insert(key(authority, tenant), login);
    }
}

fn key(authority: &str, tenant: &str) -> String {
    format!("{}/{}", authority.to_ascii_lowercase(), tenant.to_ascii_lowercase())
}

pub(super) async fn token(with: &Credentials, resource: &str) -> Result<AccessToken, Miss> {
    let Some(file) = Kept::file(&with.env) else {
        return Err(Miss::Unset("neither XDG_CONFIG_HOME nor HOME is set".to_owned()));
    };
    let mut kept = Kept::read(&file).map_err(Miss::Failed)?;
    if kept.logins.is_empty() {
        return Err(Miss::Unset("nobody is logged in".to_owned()));
    }
    let (authority, tenant) = with.authority().await?;
    let Some(login) = kept.logins.get_mut(&key(&authority, &tenant)) else {
        return Err(Miss::Unset(format!("nobody is logged in at {authority}/{tenant}")));
    };
    if let Some(access) = login.access.get(resource).filter(|access| access.expires > with.now() + MARGIN) {
        return Ok(AccessToken {
            secret: Zeroizing::new(access.token.clone()),
            expires: Some(access.expires),
        });
    }
    let url = format!("{authority}/{tenant}/oauth2/v2.0/token");
    let scope = format!("{resource}/.default offline_access openid profile");
    let refresh = Zeroizing::new(login.refresh_token.clone());
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", &login.client_id),
        ("refresh_token", &refresh),
        ("scope", &scope),
    ];
    let granted = token_request(&with.http, &url, &form, with.now()).await.map_err(|error| match error {
        OAuthError::Refused { description, .. } => {
            Miss::Failed(format!("the login has ended ({description}); `scoregate login` again"))
        }
        error @ OAuthError::Unreachable(_) => Miss::Failed(error.to_string()),
    })?;
    if let Some(next) = granted.rest.get("refresh_token").and_then(Value::as_str) {
        next.clone_into(&mut login.refresh_token);
    }
    login.keep(resource, &granted.access);
    // The token serves even where it cannot be kept.
    let _ = kept.write(&file);
    Ok(granted.access)
}
