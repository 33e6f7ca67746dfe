//! `store`: where resources and jobs are kept.

use std::fmt;
use std::path::{Path, PathBuf};

use reqwest::Url;

use crate::forms::Form;

/// Where a gateway keeps what is its own if nothing else is said and the store is no file.
pub(super) const DIRECTORY: &str = "/var/lib/scoregate";

/// What may stand behind `?` in a PostgreSQL address, as `libpq` and the driver know it.
const PARAMETERS: &[&str] = &[
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];
const SSL_MODES: &[&str] = &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// Where resources and jobs are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL database, which several gateways may share.
    Postgres(PostgresUrl),
    /// Nowhere: everything is gone at exit.
    Memory,
}

/// The address of a PostgreSQL database. It is shown without what opens it.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(Url);

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({self})")
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        shown.set_query(None);
        // It fails only where there can be none.
        let _ = shown.set_password(None);
        f.write_str(shown.as_str())
    }
}

impl std::str::FromStr for PostgresUrl {
    type Err = String;

    /// What is wrong is told without the text: any part of it can be a part of the password.
    fn from_str(text: &str) -> Result<PostgresUrl, String> {
        let url = Url::parse(text).map_err(|error| {
            format!("the address cannot be read: {error}; in a password, write `@:/?#%` and the like as %40, %3A, …")
        })?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err("the address does not begin with postgres://".to_owned());
        }
        if url.fragment().is_some() {
            return Err("the address holds a `#`; write it as %23".to_owned());
        }
        for (name, value) in url.query_pairs() {
            if !PARAMETERS.contains(&&*name) {
                let known = PARAMETERS.join(", ");
                return Err(format!("the address has a parameter that is none of {known}"));
            }
            if name == "sslmode" && !SSL_MODES.contains(&&*value) {
                return Err(format!("`sslmode` is none of {}", SSL_MODES.join(", ")));
            }
        }
        Ok(PostgresUrl(url))
    }
}

impl PostgresUrl {
    /// The address with what opens it, and with these parameters where it does not say otherwise.
    pub fn with_defaults(&self, defaults: &[(&str, &str)]) -> String {
        let mut whole = self.0.clone();
        let given: Vec<(String, String)> =
            self.0.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        // The driver takes the last of those that exclude each other.
        whole.query_pairs_mut().clear().extend_pairs(defaults).extend_pairs(given);
        whole.into()
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreUrl::Sqlite(file) => write!(f, "the store {}", file.display()),
            StoreUrl::Postgres(url) => write!(f, "the store {url}"),
            StoreUrl::Memory => f.write_str("the store in memory"),
        }
    }
}

impl StoreUrl {
    pub(super) fn read(form: &Form<'_>, base: &Path) -> StoreUrl {
        let doc = "Where resources and jobs are kept: sqlite:///path/to/file.db (a relative path has two slashes), \
                   postgres://user:password@host:port/database?sslmode=verify-full&sslrootcert=/path/to/ca.pem, or \
                   memory. Needs a restart.";
        let text =
            form.value::<String>("store", doc).or_else(|| format!("sqlite://{DIRECTORY}/scoregate.db"));
        match StoreUrl::parse(&text) {
            Ok(StoreUrl::Sqlite(file)) => StoreUrl::Sqlite(base.join(file)),
            Ok(other) => other,
            Err(problem) => {
                form.wrong("store", problem, None);
                StoreUrl::Memory
            }
        }
    }

    fn parse(text: &str) -> Result<StoreUrl, String> {
        if text == "memory" {
            return Ok(StoreUrl::Memory);
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return text.parse().map(StoreUrl::Postgres);
        }
        match text.strip_prefix("sqlite://") {
            Some(path) if !path.is_empty() && !path.ends_with('/') => Ok(StoreUrl::Sqlite(path.into())),
            _ => {
                // What has an `@` may have a password before it.
                let shown = if text.contains('@') { "this" } else { &format!("`{text}`") };
                Err(format!(
                    "{shown} is not a store; use sqlite:///path/to/file.db, postgres://user:password@host/database \
                     or memory"
                ))
            }
        }
    }

    /// All that tells one store from another, what opens it included: only for comparing.
    pub(super) fn whole(&self) -> String {
        match self {
            StoreUrl::Postgres(url) => url.0.to_string(),
            other => format!("{other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn postgres(text: &str) -> Result<PostgresUrl, String> {
        text.parse()
    }

    #[test]
    fn the_password_is_not_shown() {
        let text = "postgres://me:sesame@db.example:5433/gate?password=sesame&sslmode=verify-full";
        let Ok(store) = StoreUrl::parse(text) else { panic!() };
        let shown = format!("{store} {store:?} {store:#?}");
        assert!(shown.contains("postgres://me@db.example:5433/gate"), "{shown}");
        assert!(!shown.contains("sesame"), "{shown}");
        assert!(store.whole().contains("sesame"), "another password is another store");
    }

    #[test]
    fn a_mistake_in_an_address_does_not_show_the_password_either() {
        for wrong in [
            "postgres://me:sesame@db:notaport/gate",
            "postgres://me:ses/ame@db/gate",
            "postgres://me:12?sesame@db/gate",
            "postgres://me:12#sesame@db/gate",
            "postgres://me:x@db/gate?sesame=1",
            "postgres://me:x@db/gate?sslmode=sesame",
            "postgress://me:sesame@db/gate",
            "mysql://me:sesame@db/gate",
        ] {
            let problem = StoreUrl::parse(wrong).unwrap_err();
            assert!(!problem.contains("sesame"), "{wrong}: {problem}");
        }
        assert!(postgres("postgres://me:x@db/gate?sslmode=no").unwrap_err().contains("verify-full"));
    }

    #[test]
    fn what_the_address_says_comes_last() {
        let url = postgres("postgresql://me:p%40ss@db/gate?options=-c%20search_path%3Da").unwrap();
        let whole = url.with_defaults(&[("application_name", "scoregate"), ("options", "-c x=1")]);
        assert!(whole.starts_with("postgresql://me:p%40ss@db/gate?application_name=scoregate&"), "{whole}");
        let at = |text: &str| whole.find(text).unwrap_or_else(|| panic!("{text} is not in {whole}"));
        assert!(at("x%3D1") < at("search_path%3Da"));
    }
}
