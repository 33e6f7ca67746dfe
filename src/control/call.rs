//! One call of an operation, with everything of it parsed.

use http::Method;

use super::answer::ApiError;
use super::etag::precondition;
use super::route::{Params, Path};
use crate::arm::API_VERSIONS;
use crate::forms::{Form, JsonError, Mistakes, Node, Reading, parse_json};
use crate::model::scope::{Scope, WorkspaceRef};
use crate::operations::{Precondition, Refusal};

/// One call.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: Path,
    /// The path as it came, for links.
    pub(super) raw_path: String,
    pub(super) params: Params,
    query: Vec<(String, String)>,
    pub(super) precondition: Precondition,
    body: Option<Node>,
}

impl Call {
    /// Parses what surrounds a body.
    pub(super) fn parse(head: &http::request::Parts, path: Path, params: Params) -> Result<Call, ApiError> {
        let query = head.uri.query().unwrap_or_default();
        let query: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Ok(Call {
            method: head.method.clone(),
            path,
            raw_path: head.uri.path().to_owned(),
            params,
            query,
            // A reading has no condition; one that has the present state is told it again.
            precondition: match head.method {
                Method::GET => Precondition::default(),
                _ => precondition(&head.headers)?,
            },
            body: None,
        })
    }

    /// Parses the body, and keeps it.
    pub(super) fn set_body(&mut self, bytes: &[u8]) -> Result<(), ApiError> {
        self.body = json(bytes)?;
        Ok(())
    }

    /// A query parameter, its name in any case.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The query parameters but these.
    pub(super) fn query_without(&self, names: &[&str]) -> Vec<(&str, &str)> {
        let left =
            self.query.iter().filter(|(key, _)| !names.iter().any(|name| key.eq_ignore_ascii_case(name)));
        left.map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }

    /// Whether the version that is asked for is served.
    pub(super) fn check_version(&self) -> Result<(), ApiError> {
        let served = || format!("write one of {}", API_VERSIONS.join(", "));
        match self.query("api-version") {
            None => Err(ApiError::bad(
                "MissingApiVersionParameter",
                format!("the query has no api-version; {}", served()),
                Some("api-version"),
            )),
            Some(version) if API_VERSIONS.contains(&version) || version == "v1.0" => Ok(()),
            Some(version) => {
                let shown: String = version.chars().take(64).collect();
                Err(ApiError::bad(
                    "InvalidApiVersionParameter",
                    format!("api-version `{shown}` is not served; {}", served()),
                    Some("api-version"),
                ))
            }
        }
    }

    /// The workspace in the path.
    pub(super) fn workspace(&self) -> WorkspaceRef {
        WorkspaceRef {
            subscription: self.params.get("subscription").to_owned(),
            resource_group: self.params.get("resourceGroup").to_owned(),
            name: self.params.get("workspace").to_owned(),
        }
    }

    /// The scope that the path is the id of.
    pub(super) fn target(&self) -> Result<Scope, Refusal> {
        self.path.scope(0, 0).ok_or_else(|| Refusal::invalid("id", "the path is no resource id"))
    }

    /// A name in the path, of a type that checks it.
    pub(super) fn name<T: std::str::FromStr<Err: std::fmt::Display>>(
        &self,
        param: &str,
    ) -> Result<T, Refusal> {
        let text = self.params.get(param);
        text.parse().map_err(|error: T::Err| Refusal::invalid("name", error.to_string()))
    }

    /// Whether there is a body.
    pub(super) fn has_body(&self) -> bool {
        self.body.is_some()
    }

    /// Reads the body by a form. Everything that is wrong with it is told at once.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Form<'_>) -> Option<T>) -> Result<T, Refusal> {
        let Some(body) = &self.body else {
            return Err(Refusal::invalid("", "is missing; send a JSON object"));
        };
        let reading = Reading::of_body();
        let form = reading.form(Some(body));
        let result = read(&form);
        form.close();
        Mistakes::check(reading.finish())?;
        // A reader that gives nothing has noted why.
        result.ok_or(Refusal::Defect)
    }
}

fn json(body: &[u8]) -> Result<Option<Node>, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    parse_json(body).map(Some).map_err(|error| match error {
        JsonError::TooDeep => ApiError::bad("RequestContentTooDeep", error.to_string(), None),
        JsonError::TooMany => ApiError::bad("RequestContentTooLarge", error.to_string(), None),
        JsonError::Syntax(_) => ApiError::bad("InvalidRequestContent", error.to_string(), None),
    })
}
