//! gRPC: a real client and a real server with the gateway between them, and the same on the wire.

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Plan, Stand, until};

fn script(name: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/protocols/run.py")).arg(name);
    command
}

/// A gRPC server in a process of its own; it ends with its input.
struct Server(Child, u16);

impl Server {
    fn start() -> Server {
        let mut child =
            script("grpc_server.py").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Server(child, line.trim().parse().expect("the server says its port"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Endpoint `my-ep` for `scientist` with a deployment that speaks HTTP/2 at this port.
fn plan(port: u16, more: &str) -> Plan {
    Plan::http2(&format!("http://127.0.0.1:{port}"), more)
}

/// What a real client says came of its calls.
async fn calls(stand: &Stand, authority: &str) -> Value {
    let mut client = script("grpc_client.py");
    client.args([
        &stand.gateway.data.to_string(),
        authority,
        &stand.token("scientist"),
        &stand.token("outsider"),
    ]);
    let output = tokio::task::spawn_blocking(move || client.output().unwrap()).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

fn has(pairs: &Value, name: &str, value: &str) -> bool {
    pairs.as_array().unwrap().contains(&json!([name, value]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_client_calls_a_real_server() {
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    // No client puts a prefix before a method's path, so that endpoints are told by host or there is but one.
    for (addressing, authority) in
        [("base_domain: models.test", "my-ep.models.test"), ("single_endpoint: my-ep", "anything:443")]
    {
        let stand = Stand::start(plan(server.1, "").data_plane(addressing)).await;
        let found = calls(&stand, authority).await;
        let say = &found["say"];
        assert_eq!(
            (&say["echo"], &say["trailer"], &say["binary"]),
            (&json!("hello"), &json!("after"), &json!(true)),
            "{found}"
        );
        assert!(has(&say["head"], "azureml-model-deployment", "blue"), "{say}");
        let scientist = crate::support::stand::object_id("scientist").to_string();
        assert!(has(&say["seen"], "x-ms-client-principal-id", &scientist), "{say}");
        assert!(!say["seen"].to_string().contains("authorization"), "{say}");
        assert_eq!(found["count"]["items"].as_array().unwrap().len(), 200);
        assert_eq!(found["count"]["trailer"], "after");
        assert_eq!((&found["add"], &found["chat"]), (&json!("42"), &json!(["A", "B"])));
        assert_eq!(found["health"], 1, "SERVING");
        for (call, code) in [
            ("unhealthy", "NOT_FOUND"),
            ("fail", "FAILED_PRECONDITION"),
            ("nobody", "UNAUTHENTICATED"),
            ("outsider", "PERMISSION_DENIED"),
            ("elsewhere", "UNIMPLEMENTED"),
            ("late", "DEADLINE_EXCEEDED"),
        ] {
            assert_eq!(found[call]["code"], code, "{call}: {found}");
        }
        assert_eq!(found["fail"]["details"], "not größe yet");
        assert!(found["outsider"]["details"].as_str().unwrap().contains("does not have authorization"));
        for (call, reason) in [("nobody", "credential_missing"), ("outsider", "not_authorized")] {
            let metadata = &found[call]["metadata"];
            assert!(has(metadata, "ms-azureml-model-error-reason", reason), "{metadata}");
            assert!(metadata.to_string().contains("x-ms-request-id"), "{metadata}");
        }
        assert_eq!(found["given_up"], "yes", "who waits no more is not worked for");
        stand.stop().await;
    }
}

/// Fields of an answer that are the gateway's.
const FORGED: [&str; 6] = [
    "x-request-id",
    "x-ms-request-id",
    "x-ms-client-request-id",
    "azureml-model-deployment",
    "ms-azureml-model-error-reason",
    "content-length",
];

/// What reached the instance, head and trailers.
type Seen = Arc<Mutex<Vec<(HeaderMap, Option<HeaderMap>)>>>;

/// An instance over HTTP/2 that answers `/x.Y/Hang` never and all else with trailers.
async fn instance() -> (u16, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Seen::default();
    let kept = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let kept = kept.clone();
            let answer = service_fn(move |request: Request<Incoming>| {
                let kept = kept.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let hangs = head.uri.path().ends_with("/Hang");
                    let trailers = body.collect().await.unwrap().trailers().cloned();
                    kept.lock().push((head.headers, trailers));
                    if hangs {
                        std::future::pending::<()>().await;
                    }
                    let said = [("grpc-status", "0"), ("x-own", "kept")].into_iter();
                    // What the gateway alone may say, it may not say in trailers either.
                    let forged = FORGED.map(|name| (name, "forged"));
                    let trailers = said.chain(forged).map(|(name, value)| {
                        (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
                    });
                    let trailers: HeaderMap = trailers.collect();
                    let frames = [Frame::data(Bytes::from_static(b"\0\0\0\0\0")), Frame::trailers(trailers)];
                    let body = StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>)));
                    Ok::<_, Infallible>(
                        Response::builder().header("content-type", "application/grpc").body(body).unwrap(),
                    )
                }
            });
            let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(serving.serve_connection(TokioIo::new(stream), answer));
        }
    });
    (port, seen)
}

/// One call with these fields, with trailers of the client's own: the answer's head, body and trailers.
async fn call(
    stand: &Stand,
    path: &str,
    fields: &[(&str, &str)],
) -> (http::response::Parts, usize, Option<HeaderMap>) {
    let stream = TcpStream::connect(stand.gateway.data).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let driving = tokio::spawn(connection);
    let request = Request::post(format!("http://gateway{path}")).header("te", "trailers");
    let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let trailers = HeaderMap::from_iter([("x-client-trailer".parse().unwrap(), "forged".parse().unwrap())]);
    let frames = [Frame::data(Bytes::from_static(b"\0\0\0\0\0")), Frame::trailers(trailers)];
    let body = StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>)));
    let (head, body) = client.send_request(request.body(body).unwrap()).await.unwrap().into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned();
    driving.abort();
    (head, body.to_bytes().len(), trailers)
}

#[tokio::test]
async fn trailers_reach_the_client_and_none_of_its_own_the_instance() {
    let (port, seen) = instance().await;
    let stand = Stand::start(plan(port, "")).await;
    let bearer = format!("Bearer {}", stand.token("scientist"));
    let fields = [("content-type", "application/grpc+proto"), ("authorization", bearer.as_str())];
    let (head, length, trailers) = call(&stand, "/endpoints/my-ep/x.Y/Z", &fields).await;
    assert_eq!((head.status.as_u16(), length), (200, 5));
    let trailers = trailers.unwrap();
    assert_eq!(
        (&trailers["grpc-status"], &trailers["x-own"]),
        (&"0".parse().unwrap(), &"kept".parse().unwrap())
    );
    assert_eq!(trailers.len(), 2, "{trailers:?}");
    let (reached, own) = seen.lock().remove(0);
    assert_eq!(
        (&reached["te"], &reached["content-type"]),
        (&"trailers".parse().unwrap(), &"application/grpc+proto".parse().unwrap())
    );
    assert!(own.is_none(), "{own:?}");
    stand.stop().await;
}

#[tokio::test]
async fn a_refusal_is_a_status_of_grpcs_and_is_recorded_as_the_table_has_it() {
    let (port, seen) = instance().await;
    let mut plan = plan(port, "allowed_paths: [ /x.Y/* ]\n");
    plan = plan.set("limits", "{ request_body: 4 }");
    let stand = Stand::start(plan).await;
    let (may, not) = ("scientist", "outsider");
    for (path, who, status, http, reason) in [
        ("/endpoints/my-ep/x.Y/Z", None, "16", 401, "credential_missing"),
        ("/endpoints/my-ep/x.Y/Z", Some(not), "7", 403, "not_authorized"),
        ("/endpoints/nowhere/x.Y/Z", Some(may), "5", 404, "endpoint_not_found"),
        ("/endpoints/my-ep/a.B/C", Some(may), "12", 404, "path_not_allowed"),
        ("/endpoints/my-ep/x.Y//Z", Some(may), "13", 400, "malformed"),
        ("/endpoints/my-ep/x.Y/Z", Some(may), "8", 413, "body_too_large"),
    ] {
        let bearer = who.map(|who| format!("Bearer {}", stand.token(who)));
        let mut fields = vec![("content-type", "application/grpc")];
        fields.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        let (head, length, _) = call(&stand, path, &fields).await;
        assert_eq!((head.status.as_u16(), length), (200, 0), "{reason}: {head:?}");
        assert_eq!(head.headers["content-type"], "application/grpc");
        assert_eq!(
            (&head.headers["grpc-status"], &head.headers["ms-azureml-model-error-reason"]),
            (&status.parse().unwrap(), &reason.parse().unwrap())
        );
        assert!(!head.headers["grpc-message"].is_empty() && head.headers.contains_key("x-ms-request-id"));
        // Whoever does not speak gRPC gets the same as JSON.
        let json = call(&stand, path, &fields[1..]).await.0;
        assert_eq!(
            (json.status.as_u16(), &json.headers["content-type"]),
            (http, &"application/json".parse().unwrap())
        );
    }
    assert!(seen.lock().is_empty(), "nothing of this is an instance's business");
    let counted = async |class: &str| {
        let start = format!(
            "scoregate_requests_total{{auth_mode=\"aad_token\",deployment=\"blue\",endpoint=\"my-ep\",status_class=\"{class}\"}}"
        );
        stand.metric(&start).await
    };
    until("refusals are counted as the table has them", async || counted("4xx").await > 3.5).await;
    assert!(counted("2xx").await < 0.5);
    stand.stop().await;
}

#[tokio::test]
async fn the_clients_own_deadline_bounds_the_wait() {
    let (port, seen) = instance().await;
    let stand = Stand::start(plan(port, "")).await;
    let bearer = format!("Bearer {}", stand.token("scientist"));
    let fields =
        [("content-type", "application/grpc"), ("authorization", bearer.as_str()), ("grpc-timeout", "50m")];
    // The deployment's own clock would let it wait for a minute, which no test does.
    let (head, ..) = call(&stand, "/endpoints/my-ep/x.Y/Hang", &fields).await;
    assert_eq!(
        (&head.headers["grpc-status"], &head.headers["ms-azureml-model-error-reason"]),
        (&"4".parse().unwrap(), &"instance_timeout".parse().unwrap())
    );
    assert_eq!(seen.lock()[0].0["grpc-timeout"], "50m");
    stand.stop().await;
}
