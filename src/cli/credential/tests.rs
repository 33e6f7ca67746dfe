//! Every credential against an authority of its own, over TLS with a private CA.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::json;

use super::*;
use crate::cli::fake::{CONTROL, Fake, Got, NOW, Said, TENANT, said};

fn token(claims: &Value) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn granted(_: &Got) -> Said {
    said(
        200,
        json!({"token_type": "Bearer", "expires_in": "3599", "access_token": "granted", "refresh_token": "next"}),
    )
}

fn refused(_: &Got) -> Said {
    let description = "AADSTS7000215: Invalid client secret provided. Trace ID: x Correlation ID: y";
    said(401, json!({"error": "invalid_client", "error_description": description}))
}

#[tokio::test]
async fn the_given_token_goes_before_everything_and_asks_nobody() {
    let world = Fake::new(refused);
    let secret =
        [("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "s"), ("SCOREGATE_TOKEN", "from-environment")];
    let with = world.credentials(&secret, Some("Bearer from-flag\n"));
    assert_eq!(with.token(Purpose::Control).await.unwrap().secret.as_str(), "from-flag");
    let with = world.credentials(&secret, None);
    assert_eq!(with.token(Purpose::Control).await.unwrap().secret.as_str(), "from-environment");
    assert!(world.got().is_empty());
}

#[tokio::test]
async fn a_token_for_the_control_plane_is_not_shown_to_models() {
    let world = Fake::new(granted);
    let secret = [("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "s")];
    for (audience, own) in [(CONTROL, false), ("https://ml.azure.com/", true), ("api://mine", true)] {
        let given = token(&json!({"aud": audience}));
        let found = world.credentials(&secret, Some(&given)).token(Purpose::Scoring).await.unwrap();
        assert_eq!(found.secret.as_str(), if own { given.as_str() } else { "granted" }, "{audience}");
    }
    assert_eq!(world.got()[0].form("scope"), "https://ml.azure.com/.default");
}

#[tokio::test]
async fn a_secret_of_the_environment_serves_at_the_servers_authority() {
    let world = Fake::new(granted);
    let with = world.credentials(&[("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "s+&")], None);
    let found = with.token(Purpose::Control).await.unwrap();
    assert_eq!((found.secret.as_str(), found.expires), ("granted", Some(NOW + 3599)));
    let got = world.got();
    assert_eq!(got[0].path, format!("/{TENANT}/oauth2/v2.0/token"));
    let form = |name: &str| got[0].form(name);
    assert_eq!(form("client_secret"), "s+&");
    assert_eq!(form("scope"), "https://management.azure.com/.default");
    assert!(!format!("{found:?}").contains("granted"));
}

#[tokio::test]
async fn a_secret_that_is_refused_ends_the_search() {
    let world = Fake::new(refused);
    let variables = [
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_CLIENT_SECRET", "s"),
        ("IDENTITY_ENDPOINT", "https://127.0.0.1:1/"),
        ("IDENTITY_HEADER", "x"),
    ];
    let error = world.credentials(&variables, None).token(Purpose::Control).await.unwrap_err().to_string();
    assert!(error.contains("environment: AADSTS7000215: Invalid client secret provided."), "{error}");
    assert!(!error.contains("managed identity") && !error.contains("Trace ID"), "{error}");
}

#[tokio::test]
async fn a_certificate_signs_what_the_authority_can_check() {
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    let world = Fake::new(granted);
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let certificate = rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap();
    let file = world.path("client.pem");
    std::fs::write(&file, format!("{}{}", key.serialize_pem(), certificate.pem())).unwrap();
    let variables = [("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_CERTIFICATE_PATH", file.as_str())];
    world.credentials(&variables, None).token(Purpose::Control).await.unwrap();
    let assertion = world.got()[0].form("client_assertion");
    let (message, signature) = assertion.rsplit_once('.').unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, rcgen::PublicKeyData::der_bytes(&key));
    public.verify(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    let said = claims(&assertion);
    assert_eq!((&said["iss"], &said["sub"], &said["exp"]), (&json!("c"), &json!("c"), &json!(NOW + 600)));
    assert_eq!(said["aud"], format!("{}/{TENANT}/oauth2/v2.0/token", world.url));
    let head = URL_SAFE_NO_PAD.decode(message.split('.').next().unwrap()).unwrap();
    let head: Value = serde_json::from_slice(&head).unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, certificate.der());
    assert_eq!((&head["alg"], &head["x5t"]), (&json!("RS256"), &json!(URL_SAFE_NO_PAD.encode(digest))));

    std::fs::write(&file, "nothing").unwrap();
    let error = world.credentials(&variables, None).token(Purpose::Control).await.unwrap_err().to_string();
    assert!(error.contains("client.pem: holds no PEM certificate"), "{error}");
}

#[tokio::test]
async fn a_federated_token_is_read_from_its_file_each_time() {
    let world = Fake::new(granted);
    let file = world.path("federated");
    let with = world.credentials(&[("AZURE_CLIENT_ID", "c"), ("AZURE_FEDERATED_TOKEN_FILE", &file)], None);
    for text in ["one", "two"] {
        std::fs::write(&file, format!("{text}\n")).unwrap();
        with.token(Purpose::Control).await.unwrap();
        assert_eq!(world.got().last().unwrap().form("client_assertion"), text);
    }
}

#[tokio::test]
async fn managed_identities_are_asked_for_the_resource() {
    let world = Fake::new(granted);
    let identity = format!("{}/msi/token", world.url);
    let pod = world.url.clone();
    for (variables, path, header) in [
        (
            vec![
                ("IDENTITY_ENDPOINT", identity.as_str()),
                ("IDENTITY_HEADER", "h"),
                ("AZURE_CLIENT_ID", "a b"),
            ],
            "/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fml.azure.com&client_id=a%20b",
            Some("h"),
        ),
        (
            vec![("AZURE_POD_IDENTITY_AUTHORITY_HOST", pod.as_str())],
            "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fml.azure.com",
            None,
        ),
    ] {
        let found = world.credentials(&variables, None).token(Purpose::Scoring).await.unwrap();
        assert_eq!(found.secret.as_str(), "granted");
        let got = world.got().pop().unwrap();
        assert_eq!(got.path, path);
        assert_eq!(got.headers["metadata"], "true");
        assert_eq!(got.headers.get("x-identity-header").map(|value| value.to_str().unwrap()), header);
    }
}

#[tokio::test]
async fn the_azure_cli_serves_if_it_is_in_the_servers_tenant() {
    let world = Fake::new(granted);
    let az = world.path("az");
    for (tenant, serves) in [(TENANT, true), ("00000000-0000-0000-0000-000000000001", false)] {
        let secret = token(&json!({"tid": tenant, "exp": 7}));
        let script =
            format!("#!/bin/sh\n[ \"$6\" = {CONTROL} ] && echo '{{\"accessToken\": \"{secret}\"}}'\n");
        std::fs::write(&az, script).unwrap();
        std::fs::set_permissions(&az, PermissionsExt::from_mode(0o755)).unwrap();
        let directory = world.path("");
        let found = world.credentials(&[("PATH", &directory)], None).token(Purpose::Control).await;
        match found {
            Ok(found) => assert!(serves && found.secret.as_str() == secret && found.expires == Some(7)),
            Err(error) => {
                let told = error.to_string();
                assert!(
                    !serves
                        && told.contains("Azure CLI: `az` is logged in to tenant")
                        && told.contains(tenant)
                );
            }
        }
    }
}

#[tokio::test]
async fn a_login_is_kept_for_its_owner_alone_and_renewed() {
    let world = Fake::new(granted);
    let with = world.credentials(&[], None);
    let file = Kept::file(&with.env).unwrap();
    let mut kept = Kept::default();
    let mut login = Login::new("app".to_owned(), "me".to_owned(), "first".to_owned());
    login.keep(CONTROL, &AccessToken { secret: Zeroizing::new("old".to_owned()), expires: Some(NOW + 200) });
    login.keep(SCORING, &AccessToken { secret: Zeroizing::new("good".to_owned()), expires: Some(NOW + 400) });
    kept.insert(&world.url, TENANT, login);
    kept.write(&file).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(file.parent().unwrap()).unwrap().mode() & 0o077, 0);

    assert_eq!(with.token(Purpose::Scoring).await.unwrap().secret.as_str(), "good");
    assert!(world.got().is_empty());
    for _ in 0..2 {
        assert_eq!(with.token(Purpose::Control).await.unwrap().secret.as_str(), "granted");
    }
    let got = world.got();
    assert_eq!(got.len(), 1, "what was renewed is kept");
    assert_eq!((got[0].form("refresh_token").as_str(), got[0].form("client_id").as_str()), ("first", "app"));
    assert!(std::fs::read_to_string(&file).unwrap().contains("\"refresh_token\": \"next\""));

    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    let error = with.token(Purpose::Control).await.unwrap_err().to_string();
    assert!(error.contains("chmod 600"), "{error}");
}

#[tokio::test]
async fn without_a_credential_each_is_named_with_what_it_lacks() {
    let world = Fake::new(granted);
    let error = world.credentials(&[], None).token(Purpose::Control).await.unwrap_err().to_string();
    let expected = [
        "no credential gave a token for https://management.azure.com; tried, in order:",
        "  - --token, SCOREGATE_TOKEN: not set",
        "  - environment: AZURE_CLIENT_ID is not set",
        "  - managed identity: neither IDENTITY_ENDPOINT",
        "  - Azure CLI: `az` is not installed",
        "  - scoregate login: nobody is logged in",
        "  what to do: `scoregate login`",
    ];
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{error}");
    for (line, start) in lines.iter().zip(expected) {
        assert!(line.starts_with(start), "{line}");
    }
}

#[tokio::test]
async fn secrets_go_to_https_authorities_of_a_plain_tenant_only() {
    let world = Fake::new(granted);
    let secret = [("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "s")];
    for other in [("AZURE_AUTHORITY_HOST", "http://127.0.0.1:1"), ("AZURE_TENANT_ID", "../x?")] {
        let variables = [secret[0], secret[1], other];
        let error =
            world.credentials(&variables, None).token(Purpose::Control).await.unwrap_err().to_string();
        assert!(error.contains("https authorities only") || error.contains("AZURE_TENANT_ID"), "{error}");
    }
    assert!(world.got().is_empty());
}
