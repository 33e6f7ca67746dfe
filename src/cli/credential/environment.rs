//! A service principal of the environment: with a secret, a certificate, or a federated token.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use uuid::Uuid;

use super::{AccessToken, Credentials, Miss, token_request};

const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How long an assertion is good for, in seconds.
const LIFETIME: i64 = 600;

pub(super) async fn token(with: &Credentials, resource: &str) -> Result<AccessToken, Miss> {
    let Some(client) = with.env.get("AZURE_CLIENT_ID") else {
        return Err(Miss::Unset("AZURE_CLIENT_ID is not set".to_owned()));
    };
    let secret = with.env.get("AZURE_CLIENT_SECRET");
    let certificate = with.env.get("AZURE_CLIENT_CERTIFICATE_PATH");
    let federated = with.env.get("AZURE_FEDERATED_TOKEN_FILE");
    if secret.is_none() && certificate.is_none() && federated.is_none() {
        return Err(Miss::Unset(
            "AZURE_CLIENT_ID is set, but none of AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH and \
             AZURE_FEDERATED_TOKEN_FILE"
                .to_owned(),
        ));
    }
    let (authority, tenant) = with.authority().await?;
    let url = format!("{authority}/{tenant}/oauth2/v2.0/token");
    let scope = format!("{resource}/.default");
    let mut form = vec![("grant_type", "client_credentials"), ("client_id", client), ("scope", &scope)];
    let assertion = match (secret, certificate, federated) {
        (Some(_), ..) => None,
        (None, Some(file), _) => Some(signed(file, client, &url, with.now()).map_err(Miss::Failed)?),
        (None, None, file) => {
            let file = file.unwrap_or_default();
            let read = std::fs::read_to_string(file);
            let read = read.map_err(|e| Miss::Failed(format!("AZURE_FEDERATED_TOKEN_FILE {file}: {e}")))?;
            Some(read.trim().to_owned())
        }
    };
    match &assertion {
        None => form.push(("client_secret", secret.unwrap_or_default())),
        Some(assertion) => {
            form.extend([("client_assertion_type", ASSERTION), ("client_assertion", assertion)]);
        }
    }
    let granted = token_request(&with.http, &url, &form, with.now()).await;
    granted.map(|granted| granted.access).map_err(|error| Miss::Failed(error.to_string()))
}

/// A client's statement about itself, signed with its certificate's key.
fn signed(file: &str, client: &str, audience: &str, now: i64) -> Result<String, String> {
    let wrong = |what: &str| format!("AZURE_CLIENT_CERTIFICATE_PATH {file}: {what}");
    let pem = std::fs::read(file).map_err(|error| wrong(&error.to_string()))?;
    let certificate = CertificateDer::from_pem_slice(&pem).map_err(|_| {
        wrong("holds no PEM certificate; from PKCS#12: openssl pkcs12 -in FILE -out FILE.pem -nodes")
    })?;
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| wrong("holds no private key in clear; append it to the certificate"))?;
    let key = match &key {
        PrivateKeyDer::Pkcs8(key) => KeyPair::from_pkcs8(key.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(key) => KeyPair::from_der(key.secret_pkcs1_der()),
        _ => return Err(wrong("the private key is not RSA")),
    };
    let key = key.map_err(|_| wrong("the private key is not RSA"))?;
    let thumbprint = digest(&SHA1_FOR_LEGACY_USE_ONLY, &certificate);
    let head = json!({"typ": "JWT", "alg": "RS256", "x5t": URL_SAFE_NO_PAD.encode(thumbprint)});
    let body = json!({
        "iss": client, "sub": client, "aud": audience, "jti": Uuid::new_v4(),
        "iat": now, "nbf": now, "exp": now.saturating_add(LIFETIME),
    });
    let [head, body] = [head, body].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let message = format!("{head}.{body}");
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
        .map_err(|_| wrong("the private key cannot sign"))?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
