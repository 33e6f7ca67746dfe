//! Why an operation was not done, in one table.

use http::StatusCode;

use super::Precondition;
use crate::arm::envelope::ErrorDetail;
use crate::forms::{Mistake, Mistakes};
use crate::model::scope::Scope;

/// Why an operation was not done. Nothing was changed, except under [`Refusal::NotInForce`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The caller has not the right; what is said about it.
    NotAuthorized(String),
    /// A deny assignment forbids it.
    Denied(String),
    /// Whether the caller has the right cannot be said at present.
    IdentityUnavailable,
    /// There is no such thing, or the caller may not know of it.
    NotFound(Scope),
    /// What it would belong to does not exist.
    ParentNotFound(Scope),
    /// The body is wrong.
    Invalid(Vec<Mistake>),
    /// It stands against Azure's rules: a code and what to do.
    Rule(&'static str, String),
    /// It exists already: a code and what to do.
    Exists(&'static str, String),
    /// Another resource has what would have to be unique; which one is nobody's business who may not see it.
    Taken,
    /// The principal was refused too often in a short time.
    TooManyRefusals,
    /// Somebody else changed it at the same time.
    Conflict,
    /// It is not what the caller expects.
    PreconditionFailed,
    /// It comes from the resources directory.
    ManagedByFiles,
    /// There are as many as there may be.
    Limit(String),
    /// The store does not answer.
    Unavailable(String),
    /// It is stored but did not come into force in time.
    NotInForce,
    /// The gateway's own failure.
    Defect,
}

impl Refusal {
    /// One field of the body is wrong.
    pub fn invalid(field: &str, problem: impl Into<String>) -> Refusal {
        Refusal::Invalid(vec![Mistake {
            source: "body".to_owned(),
            at: None,
            field: field.to_owned(),
            problem: problem.into(),
            hint: None,
        }])
    }

    /// The status and the code.
    fn row(&self) -> (u16, &'static str) {
        match self {
            Refusal::NotAuthorized(_) => (403, "AuthorizationFailed"),
            Refusal::Denied(_) => (403, "DenyAssignmentAuthorizationFailed"),
            Refusal::IdentityUnavailable => (503, "IdentityUnavailable"),
            Refusal::NotFound(_) => (404, "ResourceNotFound"),
            Refusal::ParentNotFound(_) => (404, "ParentResourceNotFound"),
            Refusal::Invalid(_) => (400, "BadArgument"),
            Refusal::Rule(code, _) => (400, code),
            Refusal::Exists(code, _) => (409, code),
            Refusal::Taken => (409, "NameNotAvailable"),
            Refusal::TooManyRefusals => (429, "TooManyRequests"),
            Refusal::Conflict => (409, "Conflict"),
            Refusal::PreconditionFailed => (412, "PreconditionFailed"),
            Refusal::ManagedByFiles => (409, "ManagedByFiles"),
            Refusal::Limit(_) => (400, "QuotaExceeded"),
            Refusal::Unavailable(_) => (503, "StoreUnavailable"),
            Refusal::NotInForce => (503, "NotInForce"),
            Refusal::Defect => (500, "InternalServerError"),
        }
    }

    /// The status it is answered with.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.row().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The code that programs branch on.
    pub fn code(&self) -> &'static str {
        self.row().1
    }

    /// What the caller is told.
    pub fn detail(&self) -> ErrorDetail {
        let code = self.code();
        let target = |scope: &Scope, message: String| ErrorDetail {
            target: Some(scope.to_string()),
            ..ErrorDetail::new(code, message)
        };
        match self {
            Refusal::Invalid(mistakes) => ErrorDetail::of_mistakes(code, mistakes),
            Refusal::NotFound(scope) => target(scope, format!("there is no `{scope}`")),
            Refusal::ParentNotFound(scope) => {
                target(scope, format!("there is no `{scope}`, to which it would belong; make that first"))
            }
            Refusal::NotAuthorized(message)
            | Refusal::Denied(message)
            | Refusal::Rule(_, message)
            | Refusal::Exists(_, message)
            | Refusal::Limit(message) => ErrorDetail::new(code, message),
            Refusal::Taken => {
                ErrorDetail::new(code, "the name is taken, perhaps where you may not look; choose another")
            }
            Refusal::TooManyRefusals => {
                ErrorDetail::new(code, "too many operations of yours were refused; wait ten seconds")
            }
            Refusal::IdentityUnavailable => {
                ErrorDetail::new(code, "the caller's groups cannot be looked up at present; try again")
            }
            Refusal::Conflict => ErrorDetail::new(
                code,
                "somebody else changed it, or what it relies on, at the same time; read it again and repeat the change",
            ),
            Refusal::PreconditionFailed => ErrorDetail::new(
                code,
                "the resource is not as If-Match or If-None-Match expects; read it again and repeat the change",
            ),
            Refusal::ManagedByFiles => ErrorDetail::new(
                code,
                "the resource comes from a file of the resources directory; change it there",
            ),
            // What is wrong with the store is for its operator, in the log.
            Refusal::Unavailable(_) => {
                ErrorDetail::new(code, "the store does not answer; nothing was changed; try again")
            }
            Refusal::NotInForce => ErrorDetail::new(
                code,
                "the change is stored but not in force yet; read the resource to see whether it came into force",
            ),
            Refusal::Defect => ErrorDetail::new(code, "the gateway failed"),
        }
    }

    /// The same under a precondition: what changed in the meantime is then no longer what was expected.
    #[must_use]
    pub(super) fn under(self, precondition: &Precondition) -> Refusal {
        match self {
            Refusal::Conflict if precondition.is_set() => Refusal::PreconditionFailed,
            other => other,
        }
    }
}

impl From<Mistakes> for Refusal {
    fn from(mistakes: Mistakes) -> Refusal {
        Refusal::Invalid(mistakes.into_vec())
    }
}
