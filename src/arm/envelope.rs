//! The error envelope and the page of ARM (common types v3).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::forms::Mistake;

/// What every refusal of the control plane looks like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// What is wrong.
    pub error: ErrorDetail,
}

/// What is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorDetail {
    /// A word for programs.
    pub code: String,
    /// A sentence for people, with what to do.
    pub message: String,
    /// The field or thing that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Each of several mistakes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<ErrorDetail>,
}

impl ErrorDetail {
    /// An error without a target.
    pub fn new(code: &str, message: impl Into<String>) -> ErrorDetail {
        ErrorDetail { code: code.to_owned(), message: message.into(), ..ErrorDetail::default() }
    }

    /// Mistakes in a body: the first is the error, and if there are several they are its details.
    pub fn of_mistakes(code: &str, mistakes: &[Mistake]) -> ErrorDetail {
        let one = |mistake: &Mistake| {
            let hint = mistake.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            let what = if mistake.field.is_empty() { "the body" } else { &mistake.field };
            ErrorDetail {
                code: code.to_owned(),
                message: format!("{what}: {}{hint}", mistake.problem),
                target: (!mistake.field.is_empty()).then(|| mistake.field.clone()),
                details: Vec::new(),
            }
        };
        let mut details: Vec<ErrorDetail> = mistakes.iter().map(one).collect();
        match details.len() {
            0 | 1 => details.pop().unwrap_or_default(),
            _ => ErrorDetail { details: details.clone(), ..details.swap_remove(0) },
        }
    }
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// What is on it.
    pub value: Vec<T>,
    /// Where the next one is; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_link: Option<String>,
}
