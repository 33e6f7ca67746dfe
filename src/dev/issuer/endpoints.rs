//! The routes of the development issuer, and how each is answered.
//!
//! Like the rest of the issuer they cannot be enabled in `serve`.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::wire::{FormBody, Map, Params, Refusal, basic, missing, unknown_client};
use super::{
    DEVICE_CODE_GRANT, DevPrincipal, Issuer, IssuerError, ON_BEHALF_OF_GRANT, TokenVersion, Via, managed,
    same,
};
use crate::dev::device_flow::{Decision, Grant, LIFETIME_SECONDS, Wanted, page};

/// Largest request body.
const BODY_LIMIT: usize = 64 * 1024;
/// Lets the device page do nothing but post its own form.
const PAGE_POLICY: &str = "default-src 'none'; form-action 'self'; frame-ancestors 'none'";

/// The routes of the issuer.
pub(super) fn router(issuer: Arc<Issuer>) -> Router {
    Router::new()
        .route(
            "/",
            get(|| async {
                "This is the development issuer of `scoregate dev`. Nothing else should trust it.\n"
            }),
        )
        .route("/{tenant}/v2.0/.well-known/openid-configuration", get(metadata_v2))
        .route("/{tenant}/.well-known/openid-configuration", get(metadata_v1))
        .route("/{tenant}/discovery/v2.0/keys", get(keys_v2))
        .route("/{tenant}/discovery/keys", get(keys_v1))
        .route("/{tenant}/oauth2/v2.0/token", post(token_v2))
        .route("/{tenant}/oauth2/token", post(token_v1))
        .route("/{tenant}/oauth2/v2.0/devicecode", post(device_code))
        .route(managed::PATH, get(managed::token))
        .route("/{tenant}/device", get(device_page).post(device_decision))
        .fallback(|| async { (StatusCode::NOT_FOUND, "The development issuer has nothing here.\n") })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(axum::middleware::map_response(mark))
        .with_state(issuer)
}

impl Issuer {
    /// Answers the token endpoint of either version.
    fn token_request(
        &self,
        tenant: &str,
        endpoint: TokenVersion,
        headers: &HeaderMap,
        form: &Params,
    ) -> Result<Value, Refusal> {
        self.check_tenant(tenant)?;
        let version = form.version()?;
        match form.need("grant_type")? {
            "client_credentials" => {
                let principal = self.authenticate(headers, form)?;
                let audience = form.audience(endpoint, false)?;
                let version = version.unwrap_or_else(|| TokenVersion::for_audience(&audience));
                let token = self.access_token(principal, &audience, version, Via::Secret)?;
                Ok(self.token_answer(&audience, &token))
            }
            DEVICE_CODE_GRANT => {
                let code =
                    form.opt("device_code").or(form.opt("code")).ok_or_else(|| missing("device_code"))?;
                let grant = self.devices.poll(code, form.public_client()?, (self.now)())?;
                let refresh_token = self.devices.remember(grant.clone())?;
                self.user_answer(&grant, Some(&refresh_token), version)
            }
            ON_BEHALF_OF_GRANT => {
                let client = self.authenticate(headers, form)?;
                let grant = self.on_behalf_of(client, endpoint, form)?;
                let refresh_token = form.wants("offline_access");
                let refresh_token =
                    refresh_token.then(|| self.devices.remember(grant.clone())).transpose()?;
                self.user_answer(&grant, refresh_token.as_deref(), version)
            }
            "refresh_token" => {
                let refresh_token = form.need("refresh_token")?;
                let mut grant = self.devices.redeem(refresh_token, form.public_client()?)?;
                if grant.proven && self.authenticate(headers, form)?.client_id != grant.wanted.client_id {
                    return Err(Refusal::bad(
                        "invalid_grant",
                        70000,
                        "The refresh token belongs to another client.",
                    ));
                }
                if form.opt("scope").or(form.opt("resource")).is_some() {
                    grant.wanted.audience = form.audience(endpoint, true)?;
                }
                self.user_answer(&grant, Some(refresh_token), version)
            }
            _ => Err(Refusal::bad(
                "unsupported_grant_type",
                70003,
                "This development issuer knows client_credentials, device_code, refresh_token and jwt-bearer.",
            )),
        }
    }

    fn device_request(&self, tenant: &str, form: &Params) -> Result<Value, Refusal> {
        self.check_tenant(tenant)?;
        let client_id = form.public_client()?;
        let audience = form.audience(TokenVersion::V2, true)?;
        let wanted = Wanted { client_id, audience, version: form.version()? };
        let (device_code, user_code) = self.devices.start(wanted, (self.now)())?;
        let uri = format!("{}/{}/device", self.config.base_url, self.config.tenant);
        let message = format!(
            "To sign in, use a web browser to open the page {uri} and enter the code {user_code} to authenticate."
        );
        Ok(json!({
            "device_code": device_code, "user_code": user_code, "verification_uri": uri,
            "expires_in": LIFETIME_SECONDS, "interval": 1, "message": message,
        }))
    }

    /// The principal whose client id and secret came in the form or in HTTP basic.
    fn authenticate(&self, headers: &HeaderMap, form: &Params) -> Result<&DevPrincipal, Refusal> {
        if form.opt("client_assertion").or(form.opt("client_assertion_type")).is_some() {
            return Err(Refusal::bad(
                "invalid_client",
                700_027,
                "This development issuer accepts no client assertions: use the client secret.",
            ));
        }
        let basic = basic(headers);
        let (id, secrets) = match &basic {
            Some((id, secrets)) => (id.as_str(), secrets.clone()),
            None => {
                (form.need("client_id")?, form.opt("client_secret").map(str::to_owned).into_iter().collect())
            }
        };
        let client_id = Uuid::try_parse(id).ok();
        let mut known = self.config.principals.iter().chain(&self.config.applications);
        let principal = known.find(|p| Some(p.client_id) == client_id).ok_or_else(|| unknown_client(id))?;
        let refuse = |code, text| Err(Refusal::new(StatusCode::UNAUTHORIZED, "invalid_client", code, text));
        if secrets.is_empty() {
            return refuse(7_000_218, "The request must contain the parameter 'client_secret'.");
        }
        if !secrets.iter().fold(false, |found, s| found | same(s, &principal.client_secret)) {
            return refuse(
                7_000_215,
                "Invalid client secret provided. Ensure the secret sent is the one that `scoregate dev` printed.",
            );
        }
        Ok(principal)
    }

    fn user_answer(
        &self,
        grant: &Grant,
        refresh_token: Option<&str>,
        version: Option<TokenVersion>,
    ) -> Result<Value, Refusal> {
        let Wanted { client_id, audience, .. } = &grant.wanted;
        let principal = self.config.principals.iter().find(|p| p.object_id == grant.principal);
        let principal =
            principal.ok_or_else(|| IssuerError::UnknownPrincipal(grant.principal.to_string()))?;
        let version =
            version.or(grant.wanted.version).unwrap_or_else(|| TokenVersion::for_audience(audience));
        let token = self.access_token(principal, audience, version, Via::Client(*client_id, grant.proven))?;
        let info = json!({"uid": principal.object_id, "utid": self.config.tenant});
        let mut answer = self.token_answer(audience, &token);
        if let Some(members) = answer.as_object_mut() {
            let mut add = |name: &str, value: String| members.insert(name.to_owned(), Value::String(value));
            add("scope", format!("{audience}/user_impersonation {audience}/.default"));
            if let Some(refresh_token) = refresh_token {
                add("refresh_token", refresh_token.to_owned());
            }
            add("id_token", self.id_token(principal, *client_id)?);
            add("client_info", URL_SAFE_NO_PAD.encode(info.to_string()));
        }
        Ok(answer)
    }

    fn token_answer(&self, audience: &str, token: &str) -> Value {
        let seconds = self.lifetime();
        json!({
            "token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds,
            "expires_on": (self.now)().saturating_add(seconds), "resource": audience, "access_token": token,
        })
    }

    fn html(&self, tenant: &str, status: StatusCode, notice: Option<&str>, user_code: &str) -> Response {
        if let Err(refusal) = self.check_tenant(tenant) {
            return self.answer(Err(refusal));
        }
        let headers = [(header::CONTENT_SECURITY_POLICY, PAGE_POLICY), (header::CACHE_CONTROL, "no-store")];
        let html = page(notice, user_code, &self.config.principals);
        (status, headers, Html(html)).into_response()
    }

    /// Turns a result into a response; a refusal gets Entra's error body.
    pub(super) fn answer(&self, result: Result<Value, Refusal>) -> Response {
        let (status, body) = match result {
            Ok(body) => (StatusCode::OK, body),
            Err(refusal) => (refusal.status, refusal.body((self.now)())),
        };
        (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
    }
}

async fn mark(mut response: Response) -> Response {
    response.headers_mut().insert("x-scoregate-development-issuer", HeaderValue::from_static("true"));
    response
}

type Me = State<Arc<Issuer>>;

async fn metadata_v2(State(me): Me, Path(tenant): Path<String>) -> Response {
    me.answer(me.metadata(&tenant, TokenVersion::V2))
}

async fn metadata_v1(State(me): Me, Path(tenant): Path<String>) -> Response {
    me.answer(me.metadata(&tenant, TokenVersion::V1))
}

async fn keys_v2(State(me): Me, Path(tenant): Path<String>) -> Response {
    me.answer(me.check_tenant(&tenant).map(|()| me.keys(TokenVersion::V2)))
}

async fn keys_v1(State(me): Me, Path(tenant): Path<String>) -> Response {
    me.answer(me.check_tenant(&tenant).map(|()| me.keys(TokenVersion::V1)))
}

async fn token_v2(
    State(me): Me,
    Path(tenant): Path<String>,
    Query(query): Query<Map>,
    headers: HeaderMap,
    body: FormBody,
) -> Response {
    me.answer(
        Params::read(body, query)
            .and_then(|form| me.token_request(&tenant, TokenVersion::V2, &headers, &form)),
    )
}

async fn token_v1(
    State(me): Me,
    Path(tenant): Path<String>,
    Query(query): Query<Map>,
    headers: HeaderMap,
    body: FormBody,
) -> Response {
    me.answer(
        Params::read(body, query)
            .and_then(|form| me.token_request(&tenant, TokenVersion::V1, &headers, &form)),
    )
}

async fn device_code(
    State(me): Me,
    Path(tenant): Path<String>,
    Query(query): Query<Map>,
    body: FormBody,
) -> Response {
    me.answer(Params::read(body, query).and_then(|form| me.device_request(&tenant, &form)))
}

async fn device_page(State(me): Me, Path(tenant): Path<String>, Query(query): Query<Map>) -> Response {
    let user_code = query.get("user_code").map_or("", String::as_str);
    me.html(&tenant, StatusCode::OK, None, user_code)
}

async fn device_decision(State(me): Me, Path(tenant): Path<String>, body: FormBody) -> Response {
    let form = match me.check_tenant(&tenant).and_then(|()| Params::read(body, Map::new())) {
        Ok(form) => form,
        Err(refusal) => return me.answer(Err(refusal)),
    };
    let code = form.opt("user_code").unwrap_or_default();
    let chosen = form.opt("principal").unwrap_or_default();
    let principal = me.config.principals.iter().find(|p| p.name == chosen);
    let (decision, done) = match (form.opt("action"), principal) {
        (Some("decline"), _) => (Decision::Declined, "Declined. You can close this page."),
        (_, Some(p)) => (Decision::Approved(p.object_id), "Approved. You can close this page."),
        (_, None) => {
            return me.html(&tenant, StatusCode::BAD_REQUEST, Some("Choose a principal."), code);
        }
    };
    if me.devices.decide(code, decision, (me.now)()) {
        me.html(&tenant, StatusCode::OK, Some(done), "")
    } else {
        me.html(&tenant, StatusCode::BAD_REQUEST, Some("No open sign-in has this code."), code)
    }
}
