//! What SQLite and PostgreSQL say differently. Every statement is written once; what differs stands in its gaps.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use sqlx::AssertSqlSafe;

use crate::settings::PostgresUrl;

/// What a database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// Begins a transaction that writes.
    ///
    /// SQLite takes its lock at once: one that is upgraded later could fail without waiting. PostgreSQL's writers lock
    /// the row that orders them first, and then have to see what those before them did.
    pub(super) fn write(self) -> &'static str {
        match self {
            Dialect::Sqlite => "BEGIN IMMEDIATE",
            Dialect::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED",
        }
    }

    /// Begins a transaction that reads one state.
    pub(super) fn read(self) -> &'static str {
        match self {
            Dialect::Sqlite => "BEGIN",
            Dialect::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        }
    }

    /// Fills the gaps of a statement: `{lock}` waits for the rows that it reads and locks them, `{share}` keeps them as
    /// they are while others read them, too, `{skip}` leaves those out that are locked. SQLite's writer is alone, and has locked everything.
    pub(super) fn fill(self, statement: &'static str) -> AssertSqlSafe<String> {
        let (lock, share, skip) = match self {
            Dialect::Sqlite => ("", "", ""),
            Dialect::Postgres => ("FOR UPDATE", "FOR SHARE", "FOR UPDATE SKIP LOCKED"),
        };
        AssertSqlSafe(statement.replace("{lock}", lock).replace("{share}", share).replace("{skip}", skip))
    }

    /// Fills the gaps of statements that make tables: types, what numbers rows, and what follows a table with a key
    /// of its own and one with numbered rows.
    ///
    /// Text is compared byte by byte everywhere, because ranges of ids rely on it.
    pub(super) fn define(self, tables: &'static str) -> AssertSqlSafe<String> {
        let (text, int, bytes, number, keyed, numbered) = match self {
            Dialect::Sqlite => {
                ("TEXT", "INTEGER", "BLOB", "INTEGER PRIMARY KEY", "STRICT, WITHOUT ROWID", "STRICT")
            }
            Dialect::Postgres => (
                "TEXT COLLATE \"C\"",
                "BIGINT",
                "BYTEA",
                "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
                "",
                "",
            ),
        };
        let gaps = [
            ("{text}", text),
            ("{int}", int),
            ("{bytes}", bytes),
            ("{number}", number),
            ("{keyed}", keyed),
            ("{numbered}", numbered),
        ];
        AssertSqlSafe(gaps.iter().fold(tables.to_owned(), |tables, (gap, what)| tables.replace(gap, what)))
    }

    /// Has whoever else makes or changes tables at this moment wait.
    pub(super) fn lock_tables(self) -> Option<&'static str> {
        match self {
            Dialect::Sqlite => None,
            // Any number will do that others are unlikely to use: this one reads `scoregat`.
            Dialect::Postgres => Some("SELECT pg_advisory_xact_lock(8314039339853570420)"),
        }
    }

    /// How many tables of the name `state` there are where tables are made.
    pub(super) fn has_tables(self) -> &'static str {
        match self {
            Dialect::Sqlite => "SELECT count(*) FROM sqlite_schema WHERE name = 'state'",
            Dialect::Postgres => {
                "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'state'"
            }
        }
    }

    /// Tells other processes, on a channel, of a revision once the transaction is committed.
    pub(super) fn notify(self) -> Option<&'static str> {
        match self {
            Dialect::Sqlite => None,
            Dialect::Postgres => Some("SELECT pg_notify($1, $2 || ' ' || CAST(current_schema() AS TEXT))"),
        }
    }
}

/// The address of a SQLite file for the driver. Every byte that could mean something in a URL is escaped, the path's
/// own slashes and dots among them, so that it names the very file.
pub(super) fn address_of_file(file: &Path) -> String {
    format!("sqlite:{}?mode=rwc", percent_encode(file.as_os_str().as_bytes(), NON_ALPHANUMERIC))
}

/// The address of a PostgreSQL database with what a session of ours begins with, unless the address says otherwise: no
/// statement runs for ever, and a gateway that stops in the middle of a transaction does not stop the others.
pub(super) fn address_of_server(url: &PostgresUrl, patience: Duration) -> String {
    let ms = patience.as_millis();
    let session = format!(
        "-c statement_timeout={ms} -c lock_timeout={ms} -c idle_in_transaction_session_timeout={ms} \
         -c default_transaction_isolation=read\\ committed"
    );
    url.with_defaults(&[("application_name", "scoregate"), ("options", &session)])
}
