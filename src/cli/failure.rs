//! Why a command of the client failed, and the exit code that says so.

use std::process::ExitCode;

use super::USAGE;
use super::client::RestError;
use super::http::HttpError;
use crate::model::scope::ScopeError;

/// What was asked for is not there.
const NOT_FOUND: u8 = 3;

/// Why a command failed, told to a person.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What was asked cannot be meant.
    #[error("{0}")]
    Usage(String),
    /// What was asked for is not there.
    #[error("{0}")]
    NotFound(String),
    /// It was tried, and failed.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    /// The exit code.
    pub fn code(&self) -> ExitCode {
        match self {
            Failure::Usage(_) => ExitCode::from(USAGE),
            Failure::NotFound(_) => ExitCode::from(NOT_FOUND),
            Failure::Failed(_) => ExitCode::FAILURE,
        }
    }

    pub fn usage(text: impl Into<String>) -> Failure {
        Failure::Usage(text.into())
    }

    pub fn failed(text: impl Into<String>) -> Failure {
        Failure::Failed(text.into())
    }
}

impl From<RestError> for Failure {
    fn from(error: RestError) -> Failure {
        let text = error.to_string();
        if error.status() == Some(404) { Failure::NotFound(text) } else { Failure::Failed(text) }
    }
}

impl From<ScopeError> for Failure {
    fn from(error: ScopeError) -> Failure {
        Failure::Usage(error.to_string())
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Failure {
        Failure::Failed(error.to_string())
    }
}
