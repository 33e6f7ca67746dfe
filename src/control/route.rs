//! From a path to an operation. Literal segments match in any case, empty ones do not count, and `{scope}` at the
//! beginning stands for any scope, the root too.

use http::Method;
use percent_encoding::percent_decode_str;

use super::table::{Operation, operations};
use crate::model::scope::Scope;

/// A path taken apart: its segments as the caller wrote them, percent-decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path(Vec<String>);

/// Why a path means no operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lost {
    /// It has no single reading.
    Malformed,
    /// Nothing is there.
    Nothing,
    /// Something is there, for these methods.
    OtherMethod(Vec<Method>),
}

/// The operation that a request means, and what its path names.
#[derive(Debug)]
pub(super) struct Matched {
    pub(super) operation: &'static Operation,
    pub(super) params: Params,
}

/// What a path names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Params {
    named: Vec<(&'static str, String)>,
    /// The scope that `{scope}` stands for.
    pub(super) scope: Option<Scope>,
}

impl Params {
    /// What stands in the place of a name of the template.
    pub(super) fn get(&self, name: &str) -> &str {
        self.named.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }
}

impl Path {
    /// Takes a path apart.
    pub(super) fn parse(path: &str) -> Result<Path, Lost> {
        let decode = |segment: &str| {
            let text = percent_decode_str(segment).decode_utf8().map_err(|_| Lost::Malformed)?;
            let sound = text != "."
                && text != ".."
                && !text.contains(['/', '\\'])
                && !text.contains(char::is_control);
            if sound { Ok(text.into_owned()) } else { Err(Lost::Malformed) }
        };
        path.split('/').filter(|segment| !segment.is_empty()).map(decode).collect::<Result<_, _>>().map(Path)
    }

    /// The scope that the path is the id of, without its first and its last segments.
    pub(super) fn scope(&self, before: usize, after: usize) -> Option<Scope> {
        let kept = self.0.get(before..self.0.len().checked_sub(after)?)?;
        format!("/{}", kept.join("/")).parse().ok()
    }

    fn matches(&self, template: &'static str) -> Option<Params> {
        let mut params = Params::default();
        let mut segments = self.0.as_slice();
        let mut wanted: Vec<&'static str> = template.split('/').filter(|part| !part.is_empty()).collect();
        if wanted.first() == Some(&"{scope}") {
            wanted.remove(0);
            let (above, below) = segments.split_at_checked(segments.len().checked_sub(wanted.len())?)?;
            params.scope = Some(format!("/{}", above.join("/")).parse().ok()?);
            segments = below;
        }
        if segments.len() != wanted.len() {
            return None;
        }
        for (segment, part) in segments.iter().zip(wanted) {
            match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                Some(name) => params.named.push((name, segment.clone())),
                None if segment.eq_ignore_ascii_case(part) => {}
                None => return None,
            }
        }
        Some(params)
    }
}

/// Finds the operation that a method and a path mean.
pub(super) fn find(method: &Method, path: &Path) -> Result<Matched, Lost> {
    let mut others = Vec::new();
    for operation in operations() {
        let Some(params) = path.matches(operation.template) else { continue };
        if operation.method == *method {
            return Ok(Matched { operation, params });
        }
        others.push(operation.method.clone());
    }
    Err(if others.is_empty() { Lost::Nothing } else { Lost::OtherMethod(others) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WS: &str =
        "/subscriptions/S/resourceGroups/RG/providers/Microsoft.MachineLearningServices/workspaces/ws";

    fn id(method: &str, path: &str) -> Result<(&'static str, Option<String>), Lost> {
        let found = find(&method.parse().unwrap(), &Path::parse(path)?)?;
        Ok((found.operation.id, found.params.scope.map(|scope| scope.to_string())))
    }

    #[test]
    fn paths_mean_the_same_in_any_case_and_with_slashes_to_spare() {
        let endpoint = format!("{WS}/onlineEndpoints/ep");
        for path in
            [endpoint.clone(), endpoint.to_uppercase(), endpoint.replace("workspaces", "/workspaces/")]
        {
            assert_eq!(id("GET", &path), Ok(("OnlineEndpoints_Get", None)), "{path}");
        }
        assert_eq!(id("POST", &format!("{endpoint}/LISTKEYS")).unwrap().0, "OnlineEndpoints_ListKeys");
        assert_eq!(
            id("POST", &endpoint),
            Err(Lost::OtherMethod(vec![Method::GET, Method::PUT, Method::PATCH, Method::DELETE]))
        );
        assert_eq!(id("GET", "/nothing/here"), Err(Lost::Nothing));
        for bad in
            ["/subscriptions/%2e%2e", "/subscriptions/a%2fb", "/subscriptions/a%00", "/subscriptions/%ff"]
        {
            assert_eq!(id("GET", bad), Err(Lost::Malformed), "{bad}");
        }
    }

    #[test]
    fn extensions_are_found_at_every_scope() {
        let grants = "/providers/Microsoft.Authorization/roleAssignments";
        for scope in ["", "/subscriptions/S", WS, "/providers/Microsoft.Management/managementGroups/m"] {
            let shown = if scope.is_empty() { "/" } else { scope };
            let expected = Ok(("RoleAssignments_List", Some(shown.to_owned())));
            assert_eq!(id("GET", &format!("{scope}{grants}")), expected, "{scope}");
        }
        assert_eq!(id("GET", &format!("/nowhere{grants}")), Err(Lost::Nothing));
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_and_can_be_reached() {
        let mut names = std::collections::HashSet::new();
        for operation in operations() {
            assert!(names.insert(operation.id), "{} stands twice", operation.id);
            let path = operation.template.replace("{scope}", WS).replace(['{', '}'], "");
            let found = find(&operation.method, &Path::parse(&path).unwrap()).unwrap();
            assert_eq!(found.operation.id, operation.id, "{path}");
        }
    }
}
