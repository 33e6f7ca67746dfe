//! `identity:` — whose tokens are accepted.

use std::path::{Path, PathBuf};
use std::time::Duration;

use uuid::Uuid;

use super::on_behalf_of::OnBehalfOf;
use crate::forms::Form;

/// Whose tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Entra tenants by authority, one entry for each cloud.
    pub entra: Vec<Entra>,
    /// Other OpenID issuers.
    pub issuers: Vec<OidcIssuer>,
    /// Audiences of scoring tokens; each also matches with a slash at its end.
    pub data_audiences: Vec<String>,
    /// Audiences of tokens that manage resources; each also matches with a slash at its end.
    pub control_audiences: Vec<String>,
    /// Leeway for `exp` and `nbf`, 0 to 300 s.
    pub clock_skew: Duration,
    /// The longest life of a token. Entra's live up to 28 h under continuous access evaluation.
    pub max_token_lifetime: Duration,
    /// Where groups are looked up that do not fit into a token: the base address of a Microsoft Graph.
    pub directory: Option<Directory>,
    /// How a token of a caller's becomes one for storage; `None` if nothing is done in anybody's name.
    pub on_behalf_of: Option<OnBehalfOf>,
}

/// Entra tenants of one authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entra {
    /// Such as `https://login.microsoftonline.com`, without a slash at the end.
    pub authority: String,
    /// Tenants whose tokens are accepted.
    pub tenants: Vec<Uuid>,
    /// The issuer of version 1 tokens, with `{tenant}`; `None` to refuse them.
    pub v1_issuer: Option<String>,
    /// Roots to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Speak clear text to an authority on loopback.
    pub allow_http: bool,
}

/// Any other OpenID issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcIssuer {
    /// The `iss` of its tokens; discovery is below it.
    pub issuer: String,
    /// Accepted audiences; the data plane's if empty.
    pub audiences: Vec<String>,
    /// Audiences of its tokens that manage resources; none, unless they are named.
    pub control_audiences: Vec<String>,
    /// The claim that names the caller.
    pub principal_claim: String,
    /// The claim that lists the caller's groups.
    pub groups_claim: Option<String>,
    /// A file with the issuer's keys, instead of discovery.
    pub jwks_file: Option<PathBuf>,
    /// Hosts its keys may be fetched from, besides its own.
    pub jwks_hosts: Vec<String>,
    /// Roots to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Speak clear text to an issuer on loopback.
    pub allow_http: bool,
}

/// A directory that knows the groups of a principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Such as `https://graph.microsoft.com/v1.0`.
    pub url: String,
    /// A file with the bearer token to present, read again for each call; mode 0600.
    pub token_file: Option<PathBuf>,
    /// Roots to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Speak clear text to a directory on loopback.
    pub allow_http: bool,
}

/// Azure Machine Learning's data plane, by name and by first-party application id.
const AZURE_ML: [&str; 2] = ["https://ml.azure.com", "18a66f5f-dbdf-4c17-9dd7-1634712a9cbe"];

/// Azure Resource Manager, by its names.
const AZURE_RM: [&str; 2] = ["https://management.azure.com", "https://management.core.windows.net"];

impl Identity {
    pub(super) fn read(form: &Form<'_>, base: &Path) -> Identity {
        let entra = form
            .list("entra", "Entra tenants by authority, one entry for each cloud.", |f| Entra::read(f, base));
        let issuers = form.list("issuers", "Other OpenID issuers.", |f| OidcIssuer::read(f, base));
        let mut data_audiences = form
            .values::<String>(
                "data_audiences",
                "Audiences of scoring tokens; each also matches with a slash at its end.",
            )
            .unwrap_or_else(|| vec!["https://ml.azure.com".to_owned()]);
        if data_audiences.iter().any(|audience| audience == "https://ml.azure.com") {
            data_audiences.extend(AZURE_ML.map(str::to_owned));
        }
        let control_audiences = form
            .values::<String>(
                "control_audiences",
                "Audiences of tokens that manage resources; control_plane.public_url is always one.",
            )
            .unwrap_or_else(|| AZURE_RM.map(str::to_owned).to_vec());
        let clock_skew =
            form.value("clock_skew", "Leeway for exp and nbf, at most 300s.").or(Duration::from_mins(1));
        if clock_skew > Duration::from_mins(5) {
            form.wrong("clock_skew", "is longer than 300s", None);
        }
        let day = Duration::from_hours(24);
        let max_token_lifetime =
            form.value("max_token_lifetime", "The longest life of a token, at most 744h.").or(day);
        if max_token_lifetime > 31 * day {
            form.wrong("max_token_lifetime", "is longer than 744h", None);
        }
        let directory = form.optional_section(
            "directory",
            "Where groups are looked up that do not fit into a token.",
            |f| {
                let url = f
                    .value::<String>("url", "Base address of a Microsoft Graph.")
                    .required("https://graph.microsoft.com/v1.0");
                let token_file = f
                    .value::<PathBuf>(
                        "token_file",
                        "A file with the bearer token to present, which nobody else may read.",
                    )
                    .optional();
                let (ca_file, allow_http) = transport(f, base);
                let url = checked_url(f, "url", &url?, allow_http);
                Some(Directory {
                    url,
                    token_file: token_file.map(|file| base.join(file)),
                    ca_file,
                    allow_http,
                })
            },
        );
        let on_behalf_of = OnBehalfOf::read(form, base, &entra);
        Identity {
            entra,
            issuers: issuers.into_iter().flatten().collect(),
            data_audiences,
            control_audiences,
            clock_skew,
            max_token_lifetime,
            directory: directory.flatten(),
            on_behalf_of,
        }
    }
}

impl Entra {
    fn read(form: &Form<'_>, base: &Path) -> Entra {
        let authority = form.value::<String>("authority", "Such as https://login.microsoftonline.com.");
        let authority = authority.or_else(|| "https://login.microsoftonline.com".to_owned());
        let tenants =
            form.values::<Uuid>("tenants", "Tenant ids whose tokens are accepted.").unwrap_or_default();
        if !form.has("tenants") {
            form.wrong("tenants", "names no tenant", Some("list the tenant ids whose tokens are accepted"));
        }
        let v1_issuer = form
            .value::<String>("v1_issuer", "Issuer of version 1 tokens, with {tenant}; `none` refuses them.");
        let v1_issuer = v1_issuer.or_else(|| "https://sts.windows.net/{tenant}/".to_owned());
        let v1_issuer = (v1_issuer != "none").then_some(v1_issuer);
        if v1_issuer.as_ref().is_some_and(|issuer| !issuer.contains("{tenant}")) {
            form.wrong("v1_issuer", "does not contain {tenant}", Some("https://sts.windows.net/{tenant}/"));
        }
        let (ca_file, allow_http) = transport(form, base);
        let authority = checked_url(form, "authority", &authority, allow_http);
        Entra { authority, tenants, v1_issuer, ca_file, allow_http }
    }
}

impl OidcIssuer {
    fn read(form: &Form<'_>, base: &Path) -> Option<OidcIssuer> {
        let issuer =
            form.value::<String>("issuer", "The iss of its tokens.").required("give the issuer's URL");
        let audiences =
            form.values("audiences", "Accepted audiences; the data plane's if empty.").unwrap_or_default();
        let doc = "Audiences of its tokens that manage resources; none if empty.";
        let control_audiences = form.values("control_audiences", doc).unwrap_or_default();
        let principal_claim =
            form.value("principal_claim", "The claim that names the caller.").or_else(|| "sub".to_owned());
        let groups_claim = form.value("groups_claim", "The claim that lists the caller's groups.").optional();
        let jwks_file =
            form.value::<PathBuf>("jwks_file", "A file with its keys, instead of discovery.").optional();
        let jwks_hosts = form
            .values("jwks_hosts", "Hosts its keys may be fetched from, besides its own.")
            .unwrap_or_default();
        let (ca_file, allow_http) = transport(form, base);
        let mut issuer = issuer?;
        if jwks_file.is_none() {
            // A slash at the end is part of an issuer's name, so only the transport is judged.
            checked_url(form, "issuer", &issuer, allow_http);
        } else if issuer.is_empty() {
            form.wrong("issuer", "is empty", None);
            issuer = String::new();
        }
        let jwks_file = jwks_file.map(|file| base.join(file));
        Some(OidcIssuer {
            issuer,
            audiences,
            control_audiences,
            principal_claim,
            groups_claim,
            jwks_file,
            jwks_hosts,
            ca_file,
            allow_http,
        })
    }
}

fn transport(form: &Form<'_>, base: &Path) -> (Option<PathBuf>, bool) {
    let ca_file = form.value::<PathBuf>("ca_file", "PEM roots to trust instead of the system's.").optional();
    let allow_http = form.value("allow_http", "Speak clear text to it, on loopback only.").or(false);
    (ca_file.map(|file| base.join(file)), allow_http)
}

/// An https URL without a slash at its end; http on loopback if that is allowed.
fn checked_url(form: &Form<'_>, key: &str, url: &str, allow_http: bool) -> String {
    let url = url.trim_end_matches('/').to_owned();
    let parsed = url.parse::<http::Uri>().ok();
    let host = parsed.as_ref().and_then(|uri| uri.host()).unwrap_or_default();
    let loopback = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match parsed.as_ref().and_then(|uri| uri.scheme_str()) {
        Some("https") if !host.is_empty() => {}
        Some("http") if allow_http && loopback => {}
        Some("http") => {
            form.wrong(
                key,
                format!("`{url}` is not https"),
                Some("http is for an issuer on loopback, with `allow_http: true`"),
            );
        }
        _ => form.wrong(key, format!("`{url}` is not an https URL"), None),
    }
    url
}
