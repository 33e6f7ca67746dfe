//! Answers that pages of other origins may read (Fetch Standard, "HTTP CORS protocol"). The gateway alone says who may.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CONTENT_TYPE, HeaderName, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::headers::{CLIENT_REQUEST_ID, DEPLOYMENT, ERROR_REASON, ERROR_STATUS, MS_REQUEST_ID};
use crate::model::endpoint::Cors;

/// Every method that can be passed on; which of them makes sense the instance knows.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
/// Fields that clients need to call an endpoint.
const REQUEST_FIELDS: [HeaderName; 4] = [AUTHORIZATION, CONTENT_TYPE, DEPLOYMENT, CLIENT_REQUEST_ID];
/// Fields that tell what became of a request.
const ANSWER_FIELDS: [HeaderName; 4] = [MS_REQUEST_ID, DEPLOYMENT, ERROR_STATUS, ERROR_REASON];
/// What an instance may not say for the gateway.
const OWN: [HeaderName; 6] = [
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
];

/// Who may read the answer to one request.
#[derive(Debug)]
pub(super) struct Sharing {
    /// The origin that may, or a star; `None` if the request's origin may not.
    origin: Option<HeaderValue>,
    /// What of the answer's head it may read.
    exposed: HeaderValue,
    /// The same request from another origin has another answer.
    varies: bool,
}

impl Sharing {
    /// What an endpoint's rules say about a request.
    pub(super) fn of(cors: &Cors, headers: &HeaderMap) -> Sharing {
        let any = cors.allowed_origins.iter().any(|allowed| allowed == "*");
        let origin = only(headers, &ORIGIN).and_then(|origin| {
            if any {
                return Some(HeaderValue::from_static("*"));
            }
            let is = |allowed: &String| allowed.as_bytes().eq_ignore_ascii_case(origin.as_bytes());
            cors.allowed_origins.iter().any(is).then(|| origin.clone())
        });
        Sharing { origin, exposed: list(&ANSWER_FIELDS, &cors.exposed_headers), varies: !any }
    }

    /// Says it in an answer, whatever the instance said.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        for name in OWN {
            headers.remove(name);
        }
        if self.varies {
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
        if let Some(origin) = &self.origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, self.exposed.clone());
        }
    }

    /// The answer to a browser that asks beforehand; `None` if this is no such question, or one that gets no answer.
    pub(super) fn preflight(&self, cors: &Cors, head: &Parts) -> Option<http::response::Parts> {
        let asks =
            head.method == Method::OPTIONS && only(&head.headers, &ACCESS_CONTROL_REQUEST_METHOD).is_some();
        let origin = self.origin.as_ref().filter(|_| asks)?;
        let (mut answer, ()) = Response::new(()).into_parts();
        answer.status = StatusCode::NO_CONTENT;
        let headers = &mut answer.headers;
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, list(&REQUEST_FIELDS, &cors.allowed_headers));
        if let Some(time) = cors.max_age {
            headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(time.as_secs()));
        }
        if self.varies {
            headers.insert(VARY, HeaderValue::from_static("origin"));
        }
        Some(answer)
    }
}

/// The value of a field that stands once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Names of fields as one list; those that are configured were checked when they were read.
fn list(always: &[HeaderName], configured: &[String]) -> HeaderValue {
    let always = always.iter().map(|name| name.as_str().to_owned());
    let names = always.chain(configured.iter().map(|name| name.to_ascii_lowercase())).collect::<Vec<_>>();
    HeaderValue::try_from(names.join(", ")).unwrap_or(HeaderValue::from_static("authorization"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const APP: &str = "https://app.example.com";

    fn cors(origins: &[&str]) -> Cors {
        Cors {
            allowed_origins: origins.iter().map(|&origin| origin.to_owned()).collect(),
            allowed_headers: vec!["X-Tenant".to_owned()],
            exposed_headers: vec!["X-Cost".to_owned()],
            max_age: Some(Duration::from_mins(10)),
        }
    }

    fn head(method: &str, fields: &[(&str, &str)]) -> Parts {
        let request = http::Request::builder().method(method);
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn an_origin_is_the_whole_of_it() {
        for (origins, origin, expected) in [
            (&[APP][..], APP, Some(APP)),
            (&["https://other", APP], APP, Some(APP)),
            (&[APP], "https://app.example.com:8443", None),
            (&[APP], "https://app.example.com.evil.org", None),
            (&[APP], "http://app.example.com", None),
            (&[APP], "https://evil.org/https://app.example.com", None),
            (&[APP], "null", None),
            (&["*"], "https://anywhere", Some("*")),
        ] {
            let head = head("POST", &[("origin", origin)]);
            let mut answer = HeaderMap::new();
            Sharing::of(&cors(origins), &head.headers).tell(&mut answer);
            let told = answer.get(ACCESS_CONTROL_ALLOW_ORIGIN).and_then(|value| value.to_str().ok());
            assert_eq!(told, expected, "{origin}");
            assert_eq!(answer.contains_key(VARY), origins != ["*"], "caches have to know: {origin}");
            assert_eq!(answer.contains_key(ACCESS_CONTROL_EXPOSE_HEADERS), expected.is_some(), "{origin}");
        }
    }

    #[test]
    fn two_origins_or_none_are_nobody_who_may_read() {
        for fields in [&[][..], &[("origin", APP), ("origin", APP)]] {
            let head = head("OPTIONS", &[fields, &[("access-control-request-method", "POST")]].concat());
            let sharing = Sharing::of(&cors(&["*"]), &head.headers);
            let mut answer = HeaderMap::new();
            sharing.tell(&mut answer);
            assert!(!answer.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), "{fields:?}");
            assert!(sharing.preflight(&cors(&["*"]), &head).is_none(), "{fields:?}");
        }
    }

    #[test]
    fn what_an_instance_says_is_replaced() {
        let mut answer = HeaderMap::new();
        for name in OWN {
            answer.append(name, HeaderValue::from_static("true"));
        }
        answer.append(VARY, HeaderValue::from_static("accept"));
        Sharing::of(&cors(&[APP]), &head("GET", &[("origin", "https://evil.org")]).headers).tell(&mut answer);
        let left: Vec<_> =
            answer.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(left, [("vary", "accept"), ("vary", "origin")]);
    }

    #[test]
    fn only_a_question_is_answered_as_one() {
        let asks = [("origin", APP), ("access-control-request-method", "POST")];
        let rules = cors(&[APP]);
        let answered = |method: &str, fields: &[(&str, &str)]| {
            let head = head(method, fields);
            Sharing::of(&rules, &head.headers).preflight(&rules, &head)
        };
        let answer = answered("OPTIONS", &asks).unwrap();
        assert_eq!(answer.status, 204);
        let field = |name: HeaderName| answer.headers[name].to_str().unwrap().to_owned();
        assert_eq!(
            field(ACCESS_CONTROL_ALLOW_HEADERS),
            "authorization, content-type, azureml-model-deployment, x-ms-client-request-id, x-tenant"
        );
        assert_eq!(
            (field(ACCESS_CONTROL_ALLOW_ORIGIN).as_str(), field(ACCESS_CONTROL_MAX_AGE).as_str()),
            (APP, "600")
        );
        assert!(answered("POST", &asks).is_none());
        assert!(answered("OPTIONS", &asks[..1]).is_none());
        assert!(answered("OPTIONS", &[("origin", "https://evil.org"), asks[1]]).is_none());
    }
}
