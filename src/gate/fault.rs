//! Every way in which the gateway answers a request itself, in one table.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;

use crate::identity::claimed::Claimed;

/// Why the gateway answers itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    Malformed,
    MethodNotAllowed,
    UriTooLong,
    HeadersTooLarge,
    Misdirected,
    ExpectationFailed,
    EndpointNotFound,
    PathNotAllowed,
    CredentialMissing,
    CredentialMalformed,
    CredentialRejected,
    TooManyFailures,
    IdentityUnavailable,
    NotAuthorized,
    NotForScoring,
    DeploymentNotFound,
    NoTraffic,
    TooManyPending,
    EndpointBusy,
    EndpointRate,
    PrincipalRate,
    BodyTooLarge,
    BodyStalled,
    BodyBroken,
    NoInstance,
    ConnectFailed,
    ConnectTimedOut,
    ConnectionBroken,
    InstanceProtocol,
    InstanceTooSlow,
    RequestTooLong,
    SnapshotTooOld,
    Defect,
}

impl Reason {
    /// Every reason, for the table's own tests and for documentation.
    pub const ALL: &'static [Reason] = &[
        Reason::Malformed,
        Reason::MethodNotAllowed,
        Reason::UriTooLong,
        Reason::HeadersTooLarge,
        Reason::Misdirected,
        Reason::ExpectationFailed,
        Reason::EndpointNotFound,
        Reason::PathNotAllowed,
        Reason::CredentialMissing,
        Reason::CredentialMalformed,
        Reason::CredentialRejected,
        Reason::TooManyFailures,
        Reason::IdentityUnavailable,
        Reason::NotAuthorized,
        Reason::NotForScoring,
        Reason::DeploymentNotFound,
        Reason::NoTraffic,
        Reason::TooManyPending,
        Reason::EndpointBusy,
        Reason::EndpointRate,
        Reason::PrincipalRate,
        Reason::BodyTooLarge,
        Reason::BodyStalled,
        Reason::BodyBroken,
        Reason::NoInstance,
        Reason::ConnectFailed,
        Reason::ConnectTimedOut,
        Reason::ConnectionBroken,
        Reason::InstanceProtocol,
        Reason::InstanceTooSlow,
        Reason::RequestTooLong,
        Reason::SnapshotTooOld,
        Reason::Defect,
    ];

    /// The table: status, code in the body, label in metrics and logs, message.
    #[expect(clippy::too_many_lines, reason = "a table, a line for each reason")]
    fn row(self) -> (u16, &'static str, &'static str, &'static str) {
        match self {
            Reason::Malformed => (400, "BadRequest", "malformed", "the request is malformed"),
            Reason::MethodNotAllowed => {
                (405, "MethodNotAllowed", "method_not_allowed", "CONNECT and TRACE are not served")
            }
            Reason::UriTooLong => (414, "UriTooLong", "uri_too_long", "the request line is too long"),
            Reason::HeadersTooLarge => (
                431,
                "RequestHeaderFieldsTooLarge",
                "headers_too_large",
                "the request's header fields are too large or too many",
            ),
            Reason::Misdirected => (
                421,
                "MisdirectedRequest",
                "misdirected",
                "the certificate and the host name different endpoints",
            ),
            Reason::ExpectationFailed => {
                (417, "ExpectationFailed", "expectation_failed", "only `100-continue` can be expected")
            }
            Reason::EndpointNotFound => (
                404,
                "EndpointNotFound",
                "endpoint_not_found",
                "there is no such endpoint; address one as /endpoints/{name}/score",
            ),
            Reason::PathNotAllowed => {
                (404, "PathNotFound", "path_not_allowed", "the deployment does not serve this path")
            }
            Reason::CredentialMissing => (
                401,
                "AuthenticationFailed",
                "credential_missing",
                "send `Authorization: Bearer` with a token or key",
            ),
            Reason::CredentialMalformed => (
                401,
                "AuthenticationFailed",
                "credential_malformed",
                "send one `Authorization: Bearer` field with one token or key",
            ),
            Reason::CredentialRejected => (
                401,
                "InvalidAuthenticationToken",
                "credential_rejected",
                "the token or key is not valid for this endpoint",
            ),
            Reason::TooManyFailures => (
                429,
                "TooManyFailedAuthentications",
                "too_many_failures",
                "too many failed authentications from this address; wait and use a valid credential",
            ),
            Reason::IdentityUnavailable => (
                503,
                "IdentityUnavailable",
                "identity_unavailable",
                "the caller's identity cannot be established at present; try again",
            ),
            Reason::NotAuthorized => {
                (403, "AuthorizationFailed", "not_authorized", "the caller may not score this endpoint")
            }
            Reason::NotForScoring => (
                404,
                "PathNotFound",
                "not_for_scoring",
                "a batch endpoint takes jobs: POST /endpoints/{name}/jobs",
            ),
            Reason::DeploymentNotFound => (
                404,
                "DeploymentNotFound",
                "deployment_not_found",
                "the endpoint has no such deployment; see the azureml-model-deployment header",
            ),
            Reason::NoTraffic => (
                404,
                "NoTraffic",
                "no_traffic",
                "no deployment of the endpoint has traffic; name one in the azureml-model-deployment header",
            ),
            Reason::TooManyPending => (
                429,
                "TooManyRequests",
                "too_many_pending_request",
                "the deployment works on as many requests as it can and no more may wait; try again later",
            ),
            Reason::EndpointBusy => (
                429,
                "TooManyRequests",
                "endpoint_busy",
                "the endpoint has as many requests in flight as it may; try again later",
            ),
            Reason::EndpointRate => (
                429,
                "TooManyRequests",
                "endpoint_rate",
                "the endpoint gets more requests in a second than it takes; slow down",
            ),
            Reason::PrincipalRate => (
                429,
                "TooManyRequests",
                "principal_rate",
                "the caller sends more requests in a second than the endpoint takes from one; slow down",
            ),
            Reason::BodyTooLarge => (
                413,
                "RequestBodyTooLarge",
                "body_too_large",
                "the request body is larger than this endpoint takes",
            ),
            Reason::BodyStalled => (408, "RequestTimeout", "body_stalled", "the request body stopped coming"),
            Reason::BodyBroken => {
                (400, "BadRequest", "body_broken", "the request body broke off or is not sound")
            }
            Reason::NoInstance => (
                503,
                "NoHealthyInstance",
                "no_instance",
                "the deployment has no instance to send the request to",
            ),
            Reason::ConnectFailed => {
                (502, "InstanceUnreachable", "connect_failed", "the instance cannot be reached")
            }
            Reason::ConnectTimedOut => {
                (504, "InstanceConnectTimeout", "connect_timeout", "connecting to the instance took too long")
            }
            Reason::ConnectionBroken => (
                502,
                "InstanceConnectionBroken",
                "connection_broken",
                "the instance closed the connection before it answered",
            ),
            Reason::InstanceProtocol => {
                (502, "InstanceProtocolError", "instance_protocol", "the instance's answer is not sound HTTP")
            }
            Reason::InstanceTooSlow => (
                408,
                "RequestTimeout",
                "instance_timeout",
                "the instance did not begin to answer within the deployment's request_timeout_ms",
            ),
            Reason::RequestTooLong => (
                408,
                "RequestTimeout",
                "total_timeout",
                "the whole request took longer than the deployment's total_ms",
            ),
            Reason::SnapshotTooOld => (
                503,
                "ConfigurationUnavailable",
                "snapshot_too_old",
                "the gateway's view of its resources is too old to be used; try again",
            ),
            Reason::Defect => (500, "InternalError", "defect", "the gateway failed"),
        }
    }

    /// The status it is answered with.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The code in the body.
    pub fn code(self) -> &'static str {
        self.row().1
    }

    /// The word in metrics, logs and `ms-azureml-model-error-reason`.
    pub fn label(self) -> &'static str {
        self.row().2
    }

    /// Seconds after which trying again makes sense.
    pub fn retry_after(self) -> Option<u32> {
        match self {
            Reason::TooManyPending
            | Reason::EndpointBusy
            | Reason::EndpointRate
            | Reason::PrincipalRate
            | Reason::NoInstance => Some(1),
            Reason::IdentityUnavailable | Reason::SnapshotTooOld => Some(5),
            Reason::TooManyFailures => Some(10),
            _ => None,
        }
    }
}

/// An answer of the gateway's own.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Why.
    pub reason: Reason,
    /// What the caller is told; never what only a forger or an operator would want to know.
    pub message: Cow<'static, str>,
    /// A more exact word for the log and for the security counters.
    pub detail: Option<&'static str>,
    /// What the refused token claims to be, for the log.
    pub claimed: Option<Box<Claimed>>,
    /// The status, if it is not the table's.
    pub status: Option<StatusCode>,
    /// The challenge of a 401.
    pub challenge: Option<String>,
    /// The connection is of no further use.
    pub close: bool,
    /// Seconds after which trying again makes sense, if the table's are not enough.
    pub retry_after: Option<u32>,
}

impl Fault {
    /// The table's answer.
    pub fn new(reason: Reason) -> Fault {
        let message = Cow::Borrowed(reason.row().3);
        Fault {
            reason,
            message,
            detail: None,
            claimed: None,
            status: None,
            challenge: None,
            close: false,
            retry_after: None,
        }
    }

    /// With a more exact word for the log.
    #[must_use]
    pub fn detail(self, detail: &'static str) -> Fault {
        Fault { detail: Some(detail), ..self }
    }

    /// With a message of its own.
    #[must_use]
    pub fn message(self, message: String) -> Fault {
        Fault { message: Cow::Owned(message), ..self }
    }

    /// With the time after which trying again makes sense.
    #[must_use]
    pub fn after(self, wait: Duration) -> Fault {
        let seconds = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        Fault { retry_after: Some(seconds.max(1)), ..self }
    }

    /// And the connection ends.
    #[must_use]
    pub fn close(self) -> Fault {
        Fault { close: true, ..self }
    }

    /// Seconds after which trying again makes sense.
    pub fn retry_after(&self) -> Option<u32> {
        self.retry_after.or_else(|| self.reason.retry_after())
    }

    /// The status it is answered with.
    pub fn status(&self) -> StatusCode {
        self.status.unwrap_or_else(|| self.reason.status())
    }
}

impl From<Reason> for Fault {
    fn from(reason: Reason) -> Fault {
        Fault::new(reason)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_table_is_whole_and_its_labels_are_unique() {
        let labels: HashSet<&str> = Reason::ALL.iter().map(|reason| reason.label()).collect();
        assert_eq!(labels.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            let status = reason.status();
            assert!(status.is_client_error() || status.is_server_error());
            let busy = status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE;
            assert_eq!(reason.retry_after().is_some(), busy, "{reason:?}: 429 and 503 say when to come back");
        }
    }
}
