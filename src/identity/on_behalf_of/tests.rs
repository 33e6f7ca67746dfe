//! The exchange against an authority that says what it is told to.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;

use axum::Router;
use axum::extract::Form;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use parking_lot::Mutex;
use serde_json::json;
use tempfile::TempDir;
use uuid::uuid;

use super::*;
use crate::clock::ManualClock;

const NOW: i64 = 1_900_000_000;
const CLIENT: Uuid = uuid!("cc020000-1111-4222-8333-444455556666");
const TENANT: Uuid = uuid!("aa020000-1111-4222-8333-444455556666");
const STORAGE: &str = "https://storage.azure.com/.default";

type Asked = Arc<Mutex<Vec<HashMap<String, String>>>>;

/// An authority on loopback, what it was asked, and the gateway's application there.
struct Played {
    directory: TempDir,
    authority: String,
    asked: Asked,
}

impl Played {
    /// Answers each request with this status, type and body.
    async fn new(status: u16, kind: &'static str, body: impl Into<String>) -> Played {
        let (directory, asked) = (tempfile::tempdir().unwrap(), Asked::default());
        let (body, seen) = (body.into(), asked.clone());
        let answer = move |Form(form): Form<HashMap<String, String>>| async move {
            seen.lock().push(form);
            let status = StatusCode::from_u16(status).unwrap();
            let headers = [(header::CONTENT_TYPE, kind), (header::LOCATION, "/elsewhere")];
            (status, headers, body).into_response()
        };
        let path = format!("/{TENANT}/oauth2/v2.0/token");
        let router = Router::new().route(&path, axum::routing::post(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let played = Played { directory, authority, asked };
        played.write("s+cr&t\n", 0o600);
        played
    }

    async fn saying(status: u16, body: Value) -> Played {
        Played::new(status, "application/json; charset=utf-8", body.to_string()).await
    }

    fn write(&self, secret: &str, mode: u32) {
        let file = self.directory.path().join("secret");
        std::fs::write(&file, secret).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
    }

    fn settings(&self) -> settings::OnBehalfOf {
        settings::OnBehalfOf {
            client_id: CLIENT,
            client_secret_file: self.directory.path().join("secret"),
            authority: self.authority.clone(),
            tenant: TENANT,
            scope: STORAGE.to_owned(),
            ca_file: None,
            allow_http: true,
        }
    }

    fn application(&self) -> OnBehalfOf {
        OnBehalfOf::new(self.settings(), Arc::new(ManualClock::at(NOW))).unwrap()
    }

    async fn refusal(&self) -> ObtainError {
        self.application().exchange(&user()).await.unwrap_err()
    }
}

fn token(claims: &Value) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn user() -> String {
    token(&json!({"aud": CLIENT, "scp": "user_impersonation", "oid": "x"}))
}

#[tokio::test]
async fn a_persons_token_becomes_one_for_storage_and_a_refresh_token_the_next() {
    let body = json!({"token_type": "Bearer", "expires_in": 3599, "access_token": "an-access-token", "refresh_token": "a-refresh-token"});
    let played = Played::saying(200, body).await;
    let application = played.application();
    let tokens = application.exchange(&user()).await.unwrap();
    assert_eq!((tokens.access.as_str(), tokens.expires), ("an-access-token", NOW + 3599));
    assert_eq!(tokens.refresh.as_ref().map(|token| token.as_str()), Some("a-refresh-token"));
    played.write("another", 0o600);
    application.refresh("a-refresh-token").await.unwrap();
    let asked = played.asked.lock().clone();
    let client = CLIENT.to_string();
    let scope = format!("{STORAGE} offline_access");
    let expected = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("requested_token_use", "on_behalf_of"),
        ("assertion", &user()),
        ("client_id", &client),
        ("client_secret", "s+cr&t"),
        ("scope", &scope),
    ];
    let form = |fields: &[(&str, &str)]| {
        fields
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect::<HashMap<String, String>>()
    };
    assert_eq!(asked[0], form(&expected));
    let again = [
        ("grant_type", "refresh_token"),
        ("refresh_token", "a-refresh-token"),
        ("client_id", &client),
        ("client_secret", "another"),
        ("scope", &scope),
    ];
    assert_eq!(asked[1], form(&again), "the secret is read at each use");
    let shown = format!("{tokens:?} {application:?}");
    for secret in ["an-access-token", "a-refresh-token", "s+cr&t", "another"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[tokio::test]
async fn who_cannot_be_acted_for_is_told_without_asking() {
    let played = Played::saying(200, json!({"access_token": "an-access-token"})).await;
    let application = played.application();
    for claims in [
        json!({"idtyp": "app", "scp": "x"}),
        json!({"aud": CLIENT}),
        json!({"scp": ""}),
        json!({"scp": 1}),
        json!([]),
    ] {
        let error = application.exchange(&token(&claims)).await.unwrap_err();
        assert_eq!((error.code(), error.is_transient()), ("OnBehalfOfNeedsUser", false), "{claims}");
    }
    assert_eq!(application.exchange("x").await.unwrap_err(), ObtainError::Application);
    assert!(played.asked.lock().is_empty());
    let tokens = application.exchange(&user()).await.unwrap();
    assert_eq!((tokens.expires, tokens.refresh.is_none()), (NOW + UNKNOWN_LIFE, true));
}

#[tokio::test]
async fn a_demand_for_the_caller_becomes_a_challenge_for_it() {
    let claims = r#"{"access_token":{"polids":{"essential":true,"values":["9ab0"]}}}"#;
    let body =
        json!({"error": "interaction_required", "error_description": "AADSTS50079: MFA.", "claims": claims});
    let played = Played::saying(400, body).await;
    let ObtainError::Interaction { challenge, description } = played.refusal().await else { panic!() };
    let at = format!("Bearer authorization_uri=\"{}/{TENANT}\", ", played.authority);
    let expected = format!("{at}error=\"insufficient_claims\", claims=\"{}\"", STANDARD.encode(claims));
    assert_eq!((challenge, description.as_str()), (Some(expected), "AADSTS50079: MFA."));

    let played = Played::saying(400, json!({"error": "invalid_grant", "claims": "{}"})).await;
    assert_eq!(played.refusal().await.code(), "InteractionRequired");
    let long = "x".repeat(MAX_CLAIMS + 1);
    let played = Played::saying(400, json!({"error": "interaction_required", "claims": long})).await;
    let ObtainError::Interaction { challenge: None, .. } = played.refusal().await else { panic!() };
}

#[tokio::test]
async fn refusals_are_told_apart_by_what_helps() {
    let no = |error: &str, code: u64| {
        let description = format!("AADSTS{code}: No. Trace ID: t Correlation ID: c\r\nTimestamp: 1");
        json!({"error": error, "error_codes": [code], "error_description": description})
    };
    for (status, body, code, told) in [
        (400, no("invalid_grant", 7_000_114), "OnBehalfOfNeedsUser", "application"),
        (
            400,
            no("invalid_grant", 500_131),
            "OnBehalfOfAudience",
            "cc020000-1111-4222-8333-444455556666/.default",
        ),
        (400, no("invalid_grant", 65_001), "OnBehalfOfRefused", "the authority refused: AADSTS65001: No."),
        (401, no("invalid_client", 7_000_215), "OnBehalfOfRefused", "AADSTS7000215: No."),
        (503, no("server_error", 1), "OnBehalfOfUnavailable", "status 503"),
        (429, no("invalid_grant", 1), "OnBehalfOfUnavailable", "status 429"),
        (400, no("temporarily_unavailable", 90_033), "OnBehalfOfUnavailable", "AADSTS90033"),
        (400, json!({"no": "error"}), "OnBehalfOfUnavailable", "status 400"),
        (200, json!({"token_type": "Bearer"}), "OnBehalfOfUnavailable", "without an access token"),
        (200, json!({"access_token": ""}), "OnBehalfOfUnavailable", "without an access token"),
    ] {
        let error = Played::saying(status, body).await.refusal().await;
        let text = error.to_string();
        assert_eq!(error.code(), code, "{text}");
        assert!(text.contains(told) && !text.contains("Trace ID"), "{text}");
        assert_eq!(error.is_transient(), code == "OnBehalfOfUnavailable");
    }
}

#[tokio::test]
async fn an_authority_that_does_not_answer_as_it_should_is_unavailable() {
    let big = json!({ "access_token": "x".repeat(MAX_ANSWER) }).to_string();
    for (status, kind, body, told) in [
        (200, "text/html", "<html>".to_owned(), "something that is not JSON"),
        (302, "application/json", "{}".to_owned(), "status 302"),
        (200, "application/json", big, "more than 65536 bytes"),
    ] {
        let played = Played::new(status, kind, body).await;
        let error = played.refusal().await;
        assert_eq!(error.code(), "OnBehalfOfUnavailable");
        assert!(error.to_string().contains(told), "{error}");
        assert_eq!(played.asked.lock().len(), 1, "no redirect is followed");
    }
    let played = Played::saying(200, json!({"access_token": "an-access-token"})).await;
    let plain = settings::OnBehalfOf { allow_http: false, ..played.settings() };
    let plain = OnBehalfOf::new(plain, Arc::new(ManualClock::at(NOW))).unwrap();
    let error = plain.exchange(&user()).await.unwrap_err();
    assert!(error.to_string().contains("not https") && played.asked.lock().is_empty(), "{error}");
}

#[tokio::test]
async fn a_secret_that_others_may_read_is_not_used() {
    let played = Played::saying(200, json!({"access_token": "an-access-token"})).await;
    let error = async |told: &str| {
        let error = played.refusal().await;
        assert_eq!(error.code(), "OnBehalfOfSecret");
        assert!(error.to_string().contains(told), "{error}");
    };
    played.write("s", 0o644);
    error("chmod 600").await;
    played.write(" \n", 0o600);
    error("is empty").await;
    played.write(&"x".repeat(70_000), 0o600);
    error("64 KiB").await;
    std::fs::remove_file(played.directory.path().join("secret")).unwrap();
    error("No such file").await;
    assert!(played.asked.lock().is_empty());
}
