//! Bytes of a key set: keys are taken from it only if it says of them what it has to.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use scoregate::identity::jwks::{Wanted, parse};
use serde_json::Value;

pub fn check(input: &[u8]) {
    let wanted = Wanted {
        issuer: "https://login.microsoftonline.com/t/v2.0",
        tenant: "t",
        cloud: Some("microsoftonline.com"),
    };
    let Ok(set) = parse(input, wanted) else { return };
    assert!((1..=100).contains(&set.len()) && !set.is_empty());
    assert!(set.same_as(&parse(input, wanted).unwrap()));
    // A member that nobody reads may hold what is no text.
    let Ok(document) = serde_json::from_slice::<Value>(input) else { return };
    let keys = document["keys"].as_array().unwrap();
    let usable = keys.iter().filter(|key| is_usable(key)).filter_map(|key| key["kid"].as_str());
    let mut ids: Vec<&str> = usable.collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), set.len(), "{document}");
    assert!(ids.iter().all(|id| set.get(id).is_some()), "{document}");
}

/// What RFC 7517 and 7518 and Entra's own members ask of a key for RS256.
fn is_usable(key: &Value) -> bool {
    let absent_or = |name: &str, accepted: &dyn Fn(&str) -> bool| {
        key[name].is_null() || key[name].as_str().is_some_and(accepted)
    };
    let number = |name: &str| {
        let bytes = key[name].as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).unwrap_or_default();
        bytes.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>()
    };
    let (modulus, exponent) = (number("n"), number("e"));
    let bits = modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
    let large = exponent.len() > 3 || exponent == [1, 0, 1] || (exponent.len() == 3 && exponent[0] > 0);
    let operations = key["key_ops"].is_null()
        || key["key_ops"].as_array().is_some_and(|all| {
            all.iter().all(Value::is_string) && all.iter().any(|one| one == "verify")
        });
    let issuer = |issuer: &str| {
        issuer == "https://login.microsoftonline.com/t/v2.0"
            || issuer.to_ascii_lowercase().find("{tenantid}").is_some_and(|at| {
                let (before, rest) = issuer.split_at(at);
                let after = rest.split_at("{tenantid}".len()).1;
                format!("{before}t{after}") == "https://login.microsoftonline.com/t/v2.0"
            })
    };
    key["kty"] == "RSA"
        && key["kid"].as_str().is_some_and(|id| (1..=256).contains(&id.len()))
        && absent_or("use", &|usage| usage == "sig")
        && absent_or("alg", &|alg| alg == "RS256")
        && absent_or("issuer", &issuer)
        && absent_or("cloud_instance_name", &|cloud| cloud == "microsoftonline.com")
        && operations
        && (2048..=8192).contains(&bits)
        && exponent.len() <= 8
        && large
        && exponent.last().is_some_and(|last| last % 2 == 1)
}
