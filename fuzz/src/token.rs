//! Text of a token: what is accepted is what was signed, written in the one way there is.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use scoregate::clock::ManualClock;
use scoregate::identity::issuer::{Issuer, Plane};
use scoregate::identity::jwks::{self, Wanted};
use scoregate::identity::token::{TokenTimes, TokenVerifier};
use scoregate::settings::{Entra, Identity, OidcIssuer};
use serde_json::{Value, json};
use uuid::{Uuid, uuid};

const NOW: i64 = 1_900_000_000;
const SKEW: i64 = 60;
const TENANT: Uuid = uuid!("aa020000-1111-4222-8333-444455556666");
const OTHER: &str = "https://ci.example";
const AUDIENCES: [&str; 2] = ["https://ml.azure.com", "scoregate"];
/// The public half of the key that tokens of the corpus are signed with. Nobody has the other half.
const MODULUS: &str = include_str!("token_modulus.txt");

/// Signs what is made of an input.
static MADE: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).unwrap());

/// Text that begins with a brace is a payload, which is signed here; else it is a token.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if text.starts_with('{') {
        judge(&signed(text));
    } else {
        judge(text);
    }
}

fn judge(token: &str) {
    let verifier = verifier();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let judged = runtime.block_on(verifier.caller(token));
    // The second time from memory, if it is a good one.
    assert_eq!(runtime.block_on(verifier.caller(token)).ok(), judged.clone().ok());
    let Ok(caller) = judged else { return };
    assert!(caller.not_before <= NOW && NOW < caller.expires, "{caller:?}");
    let parts: Vec<Vec<u8>> = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
    let again: Vec<String> = parts.iter().map(|part| URL_SAFE_NO_PAD.encode(part)).collect();
    assert_eq!((again.len(), again.join(".")), (3, token.to_owned()));
    let header: Value = serde_json::from_slice(&parts[0]).unwrap();
    assert_eq!(header["alg"], "RS256");
    let claims: Value = serde_json::from_slice(&parts[1]).unwrap();
    let issuer = claims["iss"].as_str().unwrap();
    assert!(verifier.issuers().any(|known| known.name == issuer), "{claims}");
    let audiences = claims["aud"].as_array().cloned().unwrap_or_else(|| vec![claims["aud"].clone()]);
    let ours = |audience: &Value| {
        audience.as_str().is_some_and(|text| AUDIENCES.contains(&text.strip_suffix('/').unwrap_or(text)))
    };
    assert!(audiences.iter().any(ours), "{claims}");
    assert!(claims["exp"].as_f64().is_some_and(|end| end > f64::from(u32::try_from(NOW - SKEW).unwrap())), "{claims}");
}

fn signed(payload: &str) -> String {
    let header = json!({"typ": "JWT", "alg": "RS256", "kid": "made"}).to_string();
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let mut signature = vec![0; MADE.public_modulus_len()];
    MADE.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn verifier() -> TokenVerifier {
    let public = PublicKeyComponents::<Vec<u8>>::from(MADE.public_key());
    let key = |kid: &str, n: &str, e: &str| json!({"kty": "RSA", "use": "sig", "kid": kid, "n": n, "e": e});
    let made = [&public.n, &public.e].map(|number| URL_SAFE_NO_PAD.encode(number));
    let keys = json!({"keys": [key("fixed", MODULUS.trim(), "AQAB"), key("made", &made[0], &made[1])]}).to_string();
    let issuers = Issuer::all(&identity());
    for issuer in &issuers {
        let wanted = Wanted { issuer: &issuer.name, tenant: &issuer.tenant(), cloud: None };
        let set = jwks::parse(keys.as_bytes(), wanted).unwrap();
        issuer.keys.install(set, NOW, Duration::from_secs(3600));
    }
    let times = TokenTimes {
        clock_skew: Duration::from_secs(60),
        max_lifetime: Duration::from_secs(24 * 3600),
        cool_down: Duration::from_secs(3600),
    };
    TokenVerifier::new(&issuers, Plane::Data, Arc::new(ManualClock::at(NOW)), times, 1 << 16)
}

/// One tenant of Entra in both versions, and another issuer.
pub fn identity() -> Identity {
    Identity {
        entra: vec![Entra {
            authority: "https://login.microsoftonline.com".to_owned(),
            tenants: vec![TENANT],
            v1_issuer: Some("https://sts.windows.net/{tenant}/".to_owned()),
            ca_file: None,
            allow_http: false,
        }],
        issuers: vec![OidcIssuer {
            issuer: OTHER.to_owned(),
            audiences: vec!["scoregate".to_owned()],
            control_audiences: Vec::new(),
            principal_claim: "sub".to_owned(),
            groups_claim: Some("groups".to_owned()),
            jwks_file: None,
            jwks_hosts: vec!["keys.example:8443".to_owned()],
            ca_file: None,
            allow_http: false,
        }],
        data_audiences: vec!["https://ml.azure.com".to_owned()],
        control_audiences: Vec::new(),
        clock_skew: Duration::from_secs(60),
        max_token_lifetime: Duration::from_secs(24 * 3600),
        directory: None,
        on_behalf_of: None,
    }
}
