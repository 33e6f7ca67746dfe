//! What a token says, judged against what its issuer may say.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use uuid::Uuid;

use super::caller::{Caller, CallerHeaders, CallerKind, Groups};
use super::issuer::{Issuer, IssuerKind, Plane, TokenVersion};
use super::jws::UniqueObject;
use crate::model::role::PrincipalId;

/// Why the claims are not accepted. Told to the log, never to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadClaim {
    /// Missing, repeated or of another JSON type.
    Type,
    /// For somebody else.
    Audience,
    /// Past its end.
    Expired,
    /// Before its beginning.
    NotYetValid,
    /// Made to live longer than tokens may.
    Lifetime,
    /// Another tenant than the issuer's.
    Tenant,
    /// Of the other version than its issuer's.
    Version,
    /// An id token, which says who signed in and opens nothing.
    NotAnAccessToken,
    /// Nobody is named.
    Principal,
}

/// Claims that every token has (RFC 7519 section 4.1). A name that stands twice is a refusal, and so is `null`.
#[derive(Debug, Deserialize)]
struct Registered {
    aud: Audience,
    exp: f64,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<f64>,
    #[serde(default, deserialize_with = "present")]
    iat: Option<f64>,
}

/// Claims of Entra's that are used, as strictly.
#[derive(Debug, Deserialize)]
struct EntraClaims {
    #[serde(default, deserialize_with = "present")]
    tid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    oid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    ver: Option<String>,
    #[serde(default, deserialize_with = "present")]
    idtyp: Option<String>,
    #[serde(default, deserialize_with = "present")]
    scp: Option<String>,
    #[serde(default, deserialize_with = "present")]
    sub: Option<String>,
    #[serde(default, deserialize_with = "present")]
    appid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    azp: Option<String>,
    #[serde(default, deserialize_with = "present")]
    uti: Option<String>,
    #[serde(default, deserialize_with = "present")]
    groups: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    hasgroups: Option<bool>,
    #[serde(default, rename = "_claim_names", deserialize_with = "present")]
    claim_names: Option<serde_json::Map<String, Value>>,
    #[serde(default, deserialize_with = "present")]
    nonce: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    roles: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The issuer that a payload names. Not to be believed before the signature is.
pub fn claimed_issuer(payload: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        iss: String,
    }
    serde_json::from_slice::<Named>(payload).ok().map(|named| named.iss)
}

/// Times by which claims are judged.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Now, Unix seconds.
    pub now: i64,
    /// Leeway, seconds.
    pub skew: i64,
    /// The longest life of a token, seconds.
    pub max_lifetime: i64,
}

/// Judges a payload for a plane by the rules of its issuer and gives the caller that it names.
pub fn judge(payload: &[u8], issuer: &Issuer, plane: Plane, rules: Rules) -> Result<Caller, BadClaim> {
    let claims: Registered = serde_json::from_slice(payload).map_err(|_| BadClaim::Type)?;
    let audiences: &[String] = match &claims.aud {
        Audience::One(one) => std::slice::from_ref(one),
        Audience::Many(many) => many,
    };
    if !audiences.iter().any(|audience| issuer.accepts_audience(plane, audience)) {
        return Err(BadClaim::Audience);
    }
    let holds = times(&claims, rules)?;
    match &issuer.kind {
        IssuerKind::Entra { tenant, version } => entra(payload, audiences, *tenant, *version, holds),
        IssuerKind::Oidc { principal_claim, groups_claim } => {
            oidc(payload, &issuer.name, principal_claim, groups_claim.as_deref(), holds)
        }
    }
}

/// Claims that go to the log are cut to a length that a log can bear.
fn shortened(text: String) -> String {
    if text.len() <= 128 { text } else { text.chars().take(128).collect() }
}

fn times(claims: &Registered, rules: Rules) -> Result<(i64, i64), BadClaim> {
    let whole = |seconds: f64| -> Result<i64, BadClaim> {
        let limit = 1e15;
        #[expect(clippy::cast_possible_truncation, reason = "bounded just before")]
        if seconds.is_finite() && seconds.abs() < limit {
            Ok(seconds.floor() as i64)
        } else {
            Err(BadClaim::Type)
        }
    };
    let exp = whole(claims.exp)?;
    let nbf = claims.nbf.map(whole).transpose()?;
    let iat = claims.iat.map(whole).transpose()?;
    if rules.now >= exp + rules.skew {
        return Err(BadClaim::Expired);
    }
    let begin = nbf.max(iat);
    if begin.is_some_and(|begin| begin > rules.now + rules.skew) {
        return Err(BadClaim::NotYetValid);
    }
    if exp - iat.or(nbf).unwrap_or(rules.now) > rules.max_lifetime {
        return Err(BadClaim::Lifetime);
    }
    Ok((exp + rules.skew, begin.map_or(i64::MIN, |begin| begin - rules.skew)))
}

fn entra(
    payload: &[u8],
    audiences: &[String],
    tenant: Uuid,
    version: TokenVersion,
    (expires, not_before): (i64, i64),
) -> Result<Caller, BadClaim> {
    let claims: EntraClaims = serde_json::from_slice(payload).map_err(|_| BadClaim::Type)?;
    let guid = |text: &Option<String>| text.as_deref().and_then(|text| Uuid::try_parse(text).ok());
    if guid(&claims.tid) != Some(tenant) {
        return Err(BadClaim::Tenant);
    }
    if claims.ver.as_deref() != Some(version.claim()) {
        return Err(BadClaim::Version);
    }
    let for_itself = [&claims.azp, &claims.appid].into_iter().flatten().any(|own| audiences.contains(own));
    let signs_in =
        claims.nonce.is_some() && claims.scp.is_none() && claims.roles.is_none() && claims.idtyp.is_none();
    if signs_in || for_itself {
        return Err(BadClaim::NotAnAccessToken);
    }
    let object_id =
        guid(&claims.oid).filter(|oid| !oid.is_nil()).map(PrincipalId).ok_or(BadClaim::Principal)?;
    let kind = match claims.idtyp.as_deref() {
        Some("app") => CallerKind::ServicePrincipal,
        // Without idtyp: an application's own token has no scope, and its subject is itself.
        None if claims.scp.is_none() && claims.sub.is_some() && claims.sub == claims.oid => {
            CallerKind::ServicePrincipal
        }
        _ => CallerKind::User,
    };
    let elsewhere = claims.claim_names.as_ref().is_some_and(|names| names.contains_key("groups"));
    let groups = if claims.groups.is_none() && (elsewhere || claims.hasgroups == Some(true)) {
        Groups::Overage
    } else {
        // Groups synchronised from elsewhere may come by name; role assignments know object ids only.
        let ids = claims.groups.iter().flatten();
        Groups::Known(ids.filter_map(|text| Uuid::try_parse(text).ok().map(PrincipalId)).collect())
    };
    Ok(Caller {
        object_id,
        tenant: Some(tenant),
        kind,
        groups,
        app_id: claims.appid.or(claims.azp).map(shortened),
        token_id: claims.uti.map(shortened),
        expires,
        not_before,
        headers: CallerHeaders::of(object_id, kind, Some(tenant)),
    })
}

/// A caller of another issuer. Of its claims only those are looked at that the settings name: issuers
/// give the others types of their own.
fn oidc(
    payload: &[u8],
    issuer: &str,
    principal_claim: &str,
    groups_claim: Option<&str>,
    (expires, not_before): (i64, i64),
) -> Result<Caller, BadClaim> {
    let UniqueObject(fields) = serde_json::from_slice(payload).map_err(|_| BadClaim::Type)?;
    let find = |claim: &str| fields.iter().find(|(name, _)| name == claim).map(|(_, value)| value);
    let text = |claim: &str| find(claim).and_then(Value::as_str);
    let name = text(principal_claim).filter(|name| !name.is_empty() && name.len() <= 512);
    let object_id = derived_principal(issuer, name.ok_or(BadClaim::Principal)?);
    let groups = match groups_claim.and_then(find) {
        None => Vec::new(),
        Some(Value::Array(items)) => {
            let names = items.iter().map(|item| item.as_str().ok_or(BadClaim::Type));
            names.map(|name| name.map(|name| derived_group(issuer, name))).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(BadClaim::Type),
    };
    let kind = CallerKind::User;
    Ok(Caller {
        object_id,
        tenant: None,
        kind,
        groups: Groups::Known(groups.into()),
        app_id: text("azp").or(text("client_id")).map(|id| shortened(id.to_owned())),
        token_id: text("jti").map(|id| shortened(id.to_owned())),
        expires,
        not_before,
        headers: CallerHeaders::of(object_id, kind, None),
    })
}

/// The principal of an issuer that is not Entra: a GUID made from issuer and name, so that
/// no such issuer can name a principal of Entra's or of another issuer's.
pub fn derived_principal(issuer: &str, name: &str) -> PrincipalId {
    PrincipalId(Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{issuer}#{name}").as_bytes()))
}

/// A group of such an issuer. It is made below a namespace of the issuer's own, so that nobody becomes a group
/// by choosing its name for himself.
pub fn derived_group(issuer: &str, name: &str) -> PrincipalId {
    let PrincipalId(groups) = derived_principal(issuer, "");
    PrincipalId(Uuid::new_v5(&groups, name.as_bytes()))
}
