//! The issuers whose tokens are accepted, as the settings name them.

use std::path::PathBuf;
use std::sync::Arc;

use uuid::Uuid;

use super::keys::{KeyCell, KeySource};
use crate::settings::{Entra, Identity, OidcIssuer};

/// The two forms of Entra's access tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenVersion {
    /// `ver` 1.0, issued by `https://sts.windows.net/{tenant}/`.
    V1,
    /// `ver` 2.0, issued by `{authority}/{tenant}/v2.0`.
    V2,
}

impl TokenVersion {
    /// The value of the `ver` claim.
    pub fn claim(self) -> &'static str {
        match self {
            TokenVersion::V1 => "1.0",
            TokenVersion::V2 => "2.0",
        }
    }
}

/// Which rules an issuer's tokens follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssuerKind {
    /// One tenant of Entra, in one version.
    Entra {
        /// The tenant.
        tenant: Uuid,
        /// The version.
        version: TokenVersion,
    },
    /// Any other OpenID issuer.
    Oidc {
        /// The claim that names the caller.
        principal_claim: String,
        /// The claim that lists its groups.
        groups_claim: Option<String>,
    },
}

/// How an issuer is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transport {
    /// Roots to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Clear text is allowed, on loopback.
    pub allow_http: bool,
}

/// An issuer and the keys it is known by.
#[derive(Debug)]
pub struct Issuer {
    /// The exact `iss` of its tokens.
    pub name: String,
    /// Which rules they follow.
    pub kind: IssuerKind,
    /// Where its keys come from.
    pub source: KeySource,
    /// Its keys.
    pub keys: KeyCell,
    audiences: Audiences,
}

/// What a token is for: each plane has its own audiences, so that a token for scoring manages nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plane {
    /// Scoring.
    Data,
    /// Managing resources.
    Control,
}

#[derive(Debug, Clone)]
struct Audiences {
    data: Vec<String>,
    control: Vec<String>,
}

impl Issuer {
    /// Whether a token for this audience may be used on that plane; a slash at its end does not matter.
    pub fn accepts_audience(&self, plane: Plane, audience: &str) -> bool {
        let bare = audience.strip_suffix('/').unwrap_or(audience);
        let known = match plane {
            Plane::Data => &self.audiences.data,
            Plane::Control => &self.audiences.control,
        };
        known.iter().any(|known| known == audience || known == bare)
    }

    /// The tenant that stands for `{tenantid}` in its documents.
    pub fn tenant(&self) -> String {
        match &self.kind {
            IssuerKind::Entra { tenant, .. } => tenant.to_string(),
            IssuerKind::Oidc { .. } => String::new(),
        }
    }

    /// Every issuer that the settings name: two for each tenant of Entra, one for each other.
    pub fn all(identity: &Identity) -> Vec<Arc<Issuer>> {
        let audiences =
            Audiences { data: identity.data_audiences.clone(), control: identity.control_audiences.clone() };
        let entra = identity.entra.iter().flat_map(|entra| of_entra(entra, &audiences));
        let others = identity.issuers.iter().map(|issuer| of_oidc(issuer, &audiences));
        entra.chain(others).map(Arc::new).collect()
    }
}

fn of_entra(entra: &Entra, audiences: &Audiences) -> Vec<Issuer> {
    let transport = Transport { ca_file: entra.ca_file.clone(), allow_http: entra.allow_http };
    let issuer = |name: String, base: String, tenant: Uuid, version| Issuer {
        source: KeySource::discovery(&base, &name, &[], &transport),
        name,
        kind: IssuerKind::Entra { tenant, version },
        keys: KeyCell::default(),
        audiences: audiences.clone(),
    };
    let mut issuers = Vec::new();
    for &tenant in &entra.tenants {
        let base = format!("{}/{tenant}", entra.authority);
        let v2 = format!("{base}/v2.0");
        issuers.push(issuer(v2.clone(), v2, tenant, TokenVersion::V2));
        if let Some(template) = &entra.v1_issuer {
            issuers.push(issuer(
                template.replace("{tenant}", &tenant.to_string()),
                base,
                tenant,
                TokenVersion::V1,
            ));
        }
    }
    issuers
}

fn of_oidc(issuer: &OidcIssuer, audiences: &Audiences) -> Issuer {
    let transport = Transport { ca_file: issuer.ca_file.clone(), allow_http: issuer.allow_http };
    let source = match &issuer.jwks_file {
        Some(file) => KeySource::File(file.clone()),
        None => KeySource::discovery(&issuer.issuer, &issuer.issuer, &issuer.jwks_hosts, &transport),
    };
    // Such an issuer may let its clients choose the audience; managing is for those that the settings name.
    let mut audiences = Audiences { data: audiences.data.clone(), control: issuer.control_audiences.clone() };
    if !issuer.audiences.is_empty() {
        audiences.data.clone_from(&issuer.audiences);
    }
    Issuer {
        name: issuer.issuer.clone(),
        kind: IssuerKind::Oidc {
            principal_claim: issuer.principal_claim.clone(),
            groups_claim: issuer.groups_claim.clone(),
        },
        source,
        keys: KeyCell::default(),
        audiences,
    }
}
