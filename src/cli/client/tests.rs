//! The client against a control plane that says what is hard to take.

use serde_json::json;

use super::*;
use crate::cli::fake::{Fake, Got, said};

fn client(fake: &Fake) -> Client {
    Client::new(fake.url.clone(), fake.credentials(&[], Some("secret-token")), true)
}

const ENDPOINT: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w/onlineEndpoints/e";

#[tokio::test]
async fn requests_carry_what_arm_wants() {
    let fake = Fake::new(|_| said(200, json!({"name": "e"})));
    let client = client(&fake);
    client.get(ENDPOINT).await.unwrap();
    client.put_over(ENDPOINT, &json!({"a": 1}), Some("\"7\"")).await.unwrap();
    client.post(&format!("{ENDPOINT}/listKeys"), &Value::Null).await.unwrap();
    client.get("/providers/Microsoft.Authorization/roleDefinitions/x?$filter=y").await.unwrap();
    let got = fake.got();
    let header = |index: usize, name: &str| got[index].headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(got[0].path, format!("{ENDPOINT}?api-version=2024-10-01"));
    assert_eq!(header(0, "authorization"), Some("Bearer secret-token"));
    assert!(header(0, "x-ms-client-request-id").unwrap().parse::<Uuid>().is_ok());
    assert_eq!((header(1, "if-match"), got[1].json()), (Some("\"7\""), json!({"a": 1})));
    assert_eq!(
        (got[2].method.as_str(), header(2, "content-length"), got[2].body.as_str()),
        ("POST", Some("0"), "")
    );
    assert!(got[3].path.ends_with("x?$filter=y&api-version=2022-04-01"), "{}", got[3].path);
}

#[tokio::test]
async fn lists_are_followed_to_their_end_and_to_no_other_server() {
    let fake = Fake::new(|got: &Got| {
        let host = got.headers["host"].to_str().unwrap();
        if got.path.starts_with("/away") {
            return said(200, json!({"value": [], "nextLink": format!("https://{host}.example.com/x")}));
        }
        let next = if got.path.contains("page=2") {
            Value::Null
        } else {
            json!(format!("https://{host}/list?page=2"))
        };
        said(200, json!({"value": [got.path.contains("page=2")], "nextLink": next}))
    });
    let client = client(&fake);
    assert_eq!(client.list("/list").await.unwrap(), [json!(false), json!(true)]);
    let error = client.list("/away").await.unwrap_err().to_string();
    assert!(error.contains("another server") && error.contains("control_plane.public_url"), "{error}");
}

#[tokio::test]
async fn refusals_are_told_whole_and_secrets_are_not() {
    let fake = Fake::new(|got: &Got| {
        if got.path.starts_with("/text") {
            return said(502, json!("bad\ngateway"));
        }
        let error = json!({"code": "BadArgument", "message": "no", "target": "properties.traffic",
            "details": [{"code": "A", "message": "first"}, {"code": "B", "message": "second"}]});
        (400, vec![("x-ms-request-id", "r-1".to_owned())], json!({ "error": error }))
    });
    let client = client(&fake);
    let error = client.get("/x").await.unwrap_err();
    assert_eq!((error.status(), error.code()), (Some(400), Some("BadArgument")));
    let expected = "(BadArgument) no\n  - (A) first\n  - (B) second\n  target: properties.traffic\n  status: 400\n  request id: r-1";
    assert_eq!(error.to_string(), expected);
    let error = client.get("/text").await.unwrap_err().to_string();
    assert!(error.starts_with("(status 502)"), "{error}");
    assert!(!format!("{client:?}").contains("secret-token"));
}

#[tokio::test]
async fn what_is_not_there_is_no_error_for_those_who_look() {
    let fake = Fake::new(|got: &Got| match got.path.as_str() {
        path if path.starts_with("/gone") => said(204, Value::Null),
        _ => said(404, json!({"error": {"code": "ResourceNotFound", "message": "no"}})),
    });
    let client = client(&fake);
    assert_eq!(client.find("/x").await.unwrap(), None);
    assert_eq!(client.delete("/x").await.unwrap(), None);
    assert_eq!(client.delete("/gone").await.unwrap(), None);
    assert_eq!(client.get("/x").await.unwrap_err().status(), Some(404));
}

#[tokio::test]
async fn operations_are_polled_until_they_are_done() {
    let fake = Fake::new(|got: &Got| {
        let asked = |status: &str| {
            said(200, json!({"status": status, "error": {"code": "Broken", "message": "why"}}))
        };
        match (got.method.as_str(), got.path.as_str()) {
            ("PUT", path) => {
                let last = path.split(['/', '?']).nth(1).unwrap_or_default().to_owned();
                let status = format!("{{own}}/status/{last}?api-version=2024-10-01");
                (201, vec![("azure-asyncoperation", status), ("retry-after-ms", "1".to_owned())], json!({}))
            }
            ("DELETE", _) => (
                202,
                vec![("location", "{own}/result/x".to_owned()), ("retry-after-ms", "1".to_owned())],
                json!(null),
            ),
            (_, path) if path.starts_with("/status/good") => asked("Succeeded"),
            (_, path) if path.starts_with("/status/bad") => asked("Failed"),
            (_, path) if path.starts_with("/result") => said(200, json!({"was": true})),
            _ => said(200, json!({"name": "good"})),
        }
    });
    let client = client(&fake);
    assert_eq!(client.put("/good", &json!({})).await.unwrap()["name"], "good");
    let error = client.put("/bad", &json!({})).await.unwrap_err();
    assert_eq!((error.code(), error.to_string().contains("why")), (Some("Broken"), true));
    assert_eq!(client.delete("/x").await.unwrap(), Some(json!({"was": true})));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_with_what_to_do() {
    let fake = Fake::new(|_| said(200, json!({})));
    let (address, socket) = crate::dev::server::bind(0).unwrap();
    drop(socket);
    let client = Client::new(format!("https://{address}"), fake.credentials(&[], Some("t")), true);
    let error = client.get("/x").await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot reach https://{address}/x?")), "{error}");
    assert!(error.contains("refused") && error.contains("--server"), "{error}");

    let strangers = Http::new(None, false).unwrap();
    let credentials = Credentials::new(crate::cli::Env::default(), strangers, &fake.url, Some("t"), || 0);
    let error = Client::new(fake.url.clone(), credentials, true).get("/x").await.unwrap_err().to_string();
    assert!(error.contains("--ca-file"), "{error}");
}
