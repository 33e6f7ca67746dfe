//! What can go wrong with inputs and outputs. A text here names the file and what to do, and never quotes what a server
//! said: that may hold a signature.

use std::error::Error;
use std::io;

use object_store::client::{HttpError, HttpErrorKind};

use super::directory::Outside;
use super::egress::Denied;

/// Why an input or an output cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    /// No data store of that name.
    #[error(
        "there is no data store `{0}` in this workspace: create it, or name one that `az ml datastore list` shows"
    )]
    UnknownStore(String),
    /// A store's definition that cannot be used.
    #[error("the data store `{store}` cannot be used: {why}")]
    BadStore {
        /// The store.
        store: String,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// The rules refuse it.
    #[error(transparent)]
    EgressDenied(#[from] Denied),
    /// Nobody there, or not able to answer just now.
    #[error("`{place}` cannot be reached: {why}; try again later, or see whether it is up")]
    StoreUnreachable {
        /// The file or the place.
        place: String,
        /// What happened.
        why: String,
    },
    /// It answers, and refuses.
    #[error("`{place}` may not be used: {why}")]
    Unauthorized {
        /// The file or the place.
        place: String,
        /// What to do.
        why: String,
    },
    /// A file that is not there.
    #[error("`{0}` is not there; see whether the path is right{hint}", hint = .1.unwrap_or_default())]
    NotFound(String, Option<&'static str>),
    /// A folder without a file.
    #[error(
        "there is no file below `{0}` (names that begin with `.` or `_` do not count); see whether the path is right{hint}",
        hint = .1.unwrap_or_default()
    )]
    EmptyInput(String, Option<&'static str>),
    /// More files than a job may have.
    #[error("there are more than {0} files below the input (limits.batch_files); split it into several jobs")]
    TooManyFiles(usize),
    /// More bytes than a job may have.
    #[error("the input has more than {0} bytes (limits.batch_bytes); split it into several jobs")]
    TooManyBytes(usize),
    /// A place that has no list of files.
    #[error(
        "`{0}` is read by https, which has no list of files: name one file as a uri_file, or use a data store"
    )]
    NotListable(String),
    /// A place that is only read.
    #[error("`{0}` is read by https and cannot be written to: name a path in a data store")]
    ReadOnly(String),
    /// A link that leads out of a store, or a name that is no name.
    #[error("`{place}` {why}")]
    Outside {
        /// The file.
        place: String,
        /// What is wrong with it, and what to do.
        why: &'static str,
    },
    /// A name that says no form of output.
    #[error(
        "`{0}` is no name for an output: it is one name without `/` that ends in .csv, .jsonl or .parquet"
    )]
    UnknownOutputForm(String),
    /// No space left.
    #[error(
        "`{0}` cannot be written: there is no space left, or a quota is used up; make space and start the job again"
    )]
    OutputFull(String),
    /// A part of an output that is not what it was when it was written.
    #[error("the part `{place}` cannot be used: {why}")]
    BrokenPart {
        /// The object.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// An answer that nobody expected.
    #[error("`{place}` cannot be used: {why}")]
    Failed {
        /// The file or the place.
        place: String,
        /// What happened.
        why: String,
    },
}

impl ArtifactError {
    /// The code that programs branch on.
    pub fn code(&self) -> &'static str {
        match self {
            ArtifactError::UnknownStore(_) => "UnknownStore",
            ArtifactError::BadStore { .. } => "BadStore",
            ArtifactError::EgressDenied(_) => "EgressDenied",
            ArtifactError::StoreUnreachable { .. } => "StoreUnreachable",
            ArtifactError::Unauthorized { .. } => "Unauthorized",
            ArtifactError::NotFound(..) => "NotFound",
            ArtifactError::EmptyInput(..) => "EmptyInput",
            ArtifactError::TooManyFiles(_) => "TooManyFiles",
            ArtifactError::TooManyBytes(_) => "TooManyBytes",
            ArtifactError::NotListable(_) => "NotListable",
            ArtifactError::ReadOnly(_) => "ReadOnly",
            ArtifactError::Outside { .. } => "Outside",
            ArtifactError::UnknownOutputForm(_) => "UnknownOutputForm",
            ArtifactError::OutputFull(_) => "OutputFull",
            ArtifactError::BrokenPart { .. } => "BrokenPart",
            ArtifactError::Failed { .. } => "StoreFailed",
        }
    }

    /// Whether the same may succeed a little later, without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, ArtifactError::StoreUnreachable { .. })
    }

    /// What a data store's client says, about a file or folder.
    pub(super) fn of_store(place: &str, error: &object_store::Error) -> ArtifactError {
        let place = || place.chars().take(1024).collect::<String>();
        if let Some(known) = known(error, &place()) {
            return known;
        }
        match error {
            object_store::Error::NotFound { .. } => return ArtifactError::NotFound(place(), None),
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                return ArtifactError::refused(place());
            }
            object_store::Error::InvalidPath { .. } => {
                let why = "is a name that cannot be used: rename it, without empty segments, `.`, `..` and control characters";
                return ArtifactError::Outside { place: place(), why };
            }
            object_store::Error::Precondition { .. } => {
                return ArtifactError::Failed {
                    place: place(),
                    why: "it was changed while it was read".to_owned(),
                };
            }
            _ => {}
        }
        let status = chain(error).find_map(|cause| {
            let text = cause.to_string();
            let digits = text.strip_prefix("Server returned non-2xx status code: ")?.get(..3)?.parse::<u16>();
            digits.ok()
        });
        match status {
            Some(status) => ArtifactError::of_status(place(), status),
            None => ArtifactError::Failed { place: place(), why: "its answer is not understood".to_owned() },
        }
    }

    /// What an https client says.
    pub(super) fn of_client(place: &str, error: &reqwest::Error) -> ArtifactError {
        known(error, place).unwrap_or_else(|| {
            // The innermost cause is the one that says what to do; none of them has the URL.
            let why = chain(error).skip(1).last().map_or_else(|| "no answer".to_owned(), ToString::to_string);
            ArtifactError::StoreUnreachable { place: place.to_owned(), why }
        })
    }

    /// What a status says.
    pub(super) fn of_status(place: String, status: u16) -> ArtifactError {
        match status {
            401 | 403 => ArtifactError::refused(place),
            404 | 410 => ArtifactError::NotFound(place, None),
            507 => ArtifactError::OutputFull(place),
            408 | 425 | 429 | 500.. => {
                ArtifactError::StoreUnreachable { place, why: format!("it answered with status {status}") }
            }
            _ => ArtifactError::Failed { place, why: format!("it answered with status {status}") },
        }
    }

    fn refused(place: String) -> ArtifactError {
        let why = "its store refuses the credential; see whether the data store's credential is right and not expired, \
                   or whether the job's owner may use it";
        ArtifactError::Unauthorized { place, why: why.to_owned() }
    }

    /// What the file system says.
    pub(super) fn of_io(place: &str, error: &io::Error) -> ArtifactError {
        let place = place.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ArtifactError::NotFound(place, None),
            io::ErrorKind::IsADirectory => {
                ArtifactError::Failed { place, why: "it is a directory and not a file".to_owned() }
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                let why = "the gateway's user has not the right to it in its directory".to_owned();
                ArtifactError::Unauthorized { place, why }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                ArtifactError::OutputFull(place)
            }
            // What others made an error of may quote an answer.
            kind if error.get_ref().is_some() => {
                ArtifactError::StoreUnreachable { place, why: kind.to_string() }
            }
            _ => ArtifactError::StoreUnreachable { place, why: error.to_string() },
        }
    }
}

/// The causes of an error, itself first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause| (*cause).source())
}

/// What can be recognised anywhere among the causes.
fn known(error: &(dyn Error + 'static), place: &str) -> Option<ArtifactError> {
    for cause in chain(error) {
        if let Some(denied) = cause.downcast_ref::<Denied>() {
            return Some(ArtifactError::EgressDenied(denied.clone()));
        }
        if let Some(Outside { place, why }) = cause.downcast_ref::<Outside>() {
            return Some(ArtifactError::Outside { place: place.clone(), why });
        }
        if let Some(own) = cause.downcast_ref::<ArtifactError>() {
            return Some(own.clone());
        }
    }
    let unreachable = |why: String| Some(ArtifactError::StoreUnreachable { place: place.to_owned(), why });
    // The innermost is the nearest to what happened.
    let io = chain(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).last();
    let http = chain(error).find_map(|cause| cause.downcast_ref::<HttpError>()).map(HttpError::kind);
    match (io.map(io::Error::kind), http) {
        (Some(io::ErrorKind::Other | io::ErrorKind::InvalidData) | None, Some(HttpErrorKind::Timeout)) => {
            unreachable("it did not answer in time".to_owned())
        }
        (None, Some(HttpErrorKind::Connect)) => unreachable("no connection could be made".to_owned()),
        (None, Some(HttpErrorKind::Request | HttpErrorKind::Interrupted)) => {
            unreachable("it closed the connection".to_owned())
        }
        (Some(_), _) => io.map(|error| ArtifactError::of_io(place, error)),
        (None, _) => None,
    }
}

/// Why a file cannot be scored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ArtifactError),
    /// It is not what its name says.
    #[error("`{file}`{at}: {what}", at = place(*.line, *.row))]
    NotThatFormat {
        /// The file, as the output calls it.
        file: String,
        /// The line, from 1.
        line: Option<u64>,
        /// The row, from 1, where there are no lines.
        row: Option<u64>,
        /// What is wrong, and what to do.
        what: String,
    },
    /// No table, and rows were asked for.
    #[error(
        "`{0}` is no table: rows are read from .csv, .tsv, .jsonl, .ndjson and .parquet; use `request_format: raw` for other files"
    )]
    NotATable(String),
    /// Larger than one request may be.
    #[error("`{file}` has more than {most} bytes ({limit}): {remedy}")]
    TooLarge {
        /// The file.
        file: String,
        /// The most bytes.
        most: u64,
        /// The limit's name.
        limit: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A row that is larger than one may be.
    #[error("`{file}`{at}: the row has more than {most} bytes ({limit})", at = place(*.line, *.row))]
    RowTooLarge {
        /// The file.
        file: String,
        /// The line, from 1.
        line: Option<u64>,
        /// The row, from 1, where there are no lines.
        row: Option<u64>,
        /// The most bytes.
        most: u64,
        /// The limit's name.
        limit: &'static str,
    },
}

fn place(line: Option<u64>, row: Option<u64>) -> String {
    match (line, row) {
        (Some(line), _) => format!(" line {line}"),
        (None, Some(row)) => format!(" row {row}"),
        (None, None) => String::new(),
    }
}

impl FileError {
    /// The code that programs branch on.
    pub fn code(&self) -> &'static str {
        match self {
            FileError::Read(error) => error.code(),
            FileError::NotThatFormat { .. } => "NotThatFormat",
            FileError::NotATable(_) => "NotATable",
            FileError::TooLarge { .. } => "FileTooLarge",
            FileError::RowTooLarge { .. } => "RowTooLarge",
        }
    }

    /// Whether the same may succeed a little later, without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, FileError::Read(error) if error.is_transient())
    }
}

#[cfg(test)]
mod tests {
    use super::super::egress::Reason;
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("Server returned non-2xx status code: 503 Service Unavailable: sig=SECRET")]
    struct Answer;

    fn of(error: impl Error + Send + Sync + 'static) -> ArtifactError {
        ArtifactError::of_store(
            "a/b.csv",
            &object_store::Error::Generic { store: "x", source: Box::new(error) },
        )
    }

    #[test]
    fn a_full_disk_and_a_full_quota_are_the_same_to_a_job() {
        // ENOSPC, EDQUOT, EFBIG.
        for number in [28, 122, 27] {
            let error = of(io::Error::from_raw_os_error(number));
            assert_eq!((error.code(), error.is_transient()), ("OutputFull", false), "{error}");
            assert!(error.to_string().contains("a/b.csv"), "{error}");
        }
        assert_eq!(ArtifactError::of_status("p".to_owned(), 507).code(), "OutputFull");
    }

    #[test]
    fn what_is_below_is_recognised_and_not_quoted() {
        let denied = Denied { reason: Reason::Address, host: "h".to_owned() };
        let nested = HttpError::new(HttpErrorKind::Connect, denied.clone());
        assert_eq!(of(nested), ArtifactError::EgressDenied(denied));
        let refused =
            HttpError::new(HttpErrorKind::Connect, io::Error::from(io::ErrorKind::ConnectionRefused));
        assert!(of(refused).is_transient());
        let timeout = HttpError::new(HttpErrorKind::Timeout, io::Error::other("https://h/?sig=SECRET"));
        assert_eq!(
            of(timeout).to_string(),
            "`a/b.csv` cannot be reached: it did not answer in time; try again later, or see whether it is up"
        );
        for hidden in [
            of(io::Error::other("?sig=SECRET")),
            of(io::Error::new(io::ErrorKind::BrokenPipe, "?sig=SECRET")),
        ] {
            assert!(!format!("{hidden} {hidden:?}").contains("SECRET"), "{hidden:?}");
        }
        let answered = of(Answer);
        assert!(answered.is_transient() && answered.to_string().contains("503"), "{answered}");
        assert!(!format!("{answered:?}").contains("SECRET"));
    }
}
