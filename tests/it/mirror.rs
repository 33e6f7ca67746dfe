//! Copies of requests for a shadow deployment: which, with what, at whose cost, and what is said of the answers.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::frames::{DATA, END_STREAM, Fields, Wire, frame};
use crate::support::instance::{Holding, Seen, ok};
use crate::support::raw::Answer;
use crate::support::rest::endpoint;
use crate::support::stand::{deployment, object_id};
use crate::support::{Instance, PATIENCE, Plan, Raw, Stand, until};

/// Endpoint `my-ep`: all traffic to `blue`, this share of copies to `green`.
fn plan(percent: u8, blue: &str, green: &str, limits: &str) -> Plan {
    let mut plan =
        Plan::endpoint("aad_token", &[]).owned().set("limits", limits).data_plane("layout: per_core");
    plan.resources.retain(|(name, _)| name != "blue.yaml" && name != "ep.yaml");
    let traffic = format!("traffic: {{ blue: 100 }}\nmirror_traffic: {{ green: {percent} }}\n");
    plan.add("ep.yaml", format!("name: my-ep\nauth_mode: aad_token\n{traffic}"));
    plan.add("blue.yaml", blue.to_owned());
    plan.add("green.yaml", green.to_owned());
    plan
}

/// The same with one instance each.
async fn stand(percent: u8, blue: &str, green: &str, limits: &str) -> Stand {
    let (blue, green) =
        (deployment("my-ep", "blue", &[blue], ""), deployment("my-ep", "green", &[green], ""));
    Stand::start(plan(percent, &blue, &green, limits)).await
}

/// A client with one connection, so that one worker counts its turns.
struct Client {
    raw: Raw,
    token: String,
}

impl Client {
    async fn of(stand: &Stand) -> Client {
        Client { raw: Raw::connect(stand.gateway.data).await, token: stand.token("scientist") }
    }

    async fn say(&mut self, fields: &str, body: &[u8]) {
        let head = format!(
            "POST /endpoints/my-ep/score HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {}\r\n{fields}\
             Content-Length: {}\r\n\r\n",
            self.token,
            body.len()
        );
        self.raw.say([head.as_bytes(), body].concat()).await;
    }

    async fn ask(&mut self, fields: &str, body: &[u8]) -> Answer {
        self.say(fields, body).await;
        self.raw.hear().await.expect("an answer")
    }
}

async fn outcome(stand: &Stand, outcome: &str) -> u64 {
    let name =
        format!("scoregate_mirror_total{{deployment=\"green\",endpoint=\"my-ep\",outcome=\"{outcome}\"}}");
    stand.counted(&name).await
}

async fn compared(stand: &Stand, result: &str) -> u64 {
    let name = format!(
        "scoregate_mirror_compared_total{{deployment=\"green\",endpoint=\"my-ep\",result=\"{result}\"}}"
    );
    stand.counted(&name).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenth_is_copied_to_the_request_byte_for_byte_and_without_a_credential() {
    let (blue, green) = (Instance::named("blue").await, Instance::named("green").await);
    let more = "forward_authorization: true\nforward_cookies: true\n";
    let resource = |name: &str, url: &str| deployment("my-ep", name, &[url], more);
    let plan = plan(10, &resource("blue", &blue.url), &resource("green", &green.url), "{}");
    let stand = Stand::start(plan).await;
    let mut client = Client::of(&stand).await;
    let fields = "Cookie: a=b\r\nX-Api-Key: secret\r\nApi-Key: secret\r\nX-Custom: mine\r\nX-Ms-Mirrored: true\r\n\
                  x-ms-client-request-id: order-42\r\nContent-Type: application/json\r\n";
    for number in 0..200 {
        let answer = client.ask(fields, format!("{{\"number\": {number}}}").as_bytes()).await;
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"{\"instance\":\"blue\"}"[..]));
    }
    until("all copies were answered", async || outcome(&stand, "sent").await >= 20).await;
    assert_eq!((blue.count(), green.count(), outcome(&stand, "sent").await), (200, 20, 20));
    for copy in green.seen() {
        let id = copy.field("x-ms-request-id").unwrap();
        let live = blue.seen().into_iter().find(|seen| seen.field("x-ms-request-id") == Some(id)).unwrap();
        assert_eq!((copy.line(), &copy.body), (live.line(), &live.body));
        assert_eq!(copy.field("x-ms-client-principal-id"), Some(object_id("scientist").to_string().as_str()));
        assert_eq!((copy.field("x-ms-mirrored"), live.field("x-ms-mirrored")), (Some("true"), None));
        assert_eq!(copy.field("azureml-model-deployment"), Some("green"));
        assert!(
            live.field("authorization").is_some() && live.field("cookie").is_some(),
            "the live one has them"
        );
        let told = copy.head.to_ascii_lowercase();
        for secret in ["authorization", "bearer", "cookie", "secret", "api-key"] {
            assert!(!told.contains(secret), "{secret}: {}", copy.head);
        }
        // All else is the same.
        let own = ["host", "authorization", "cookie", "x-api-key", "api-key", "x-ms-mirrored"];
        let own = [&own[..], &["azureml-model-deployment", "x-ms-request-deadline"]].concat();
        let rest = |seen: &Seen| {
            let lines = seen.head.lines().skip(1).filter_map(|line| line.split_once(':'));
            let mut rest: Vec<(String, String)> = lines
                .filter(|(name, _)| !own.iter().any(|own| own.eq_ignore_ascii_case(name)))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect();
            rest.sort();
            rest
        };
        assert_eq!(rest(&copy), rest(&live));
        assert!(rest(&copy).iter().any(|(name, value)| name == "x-custom" && value == "mine"));
    }
    let requests = "scoregate_requests_total{auth_mode=\"aad_token\",deployment=\"green\",endpoint=\"my-ep\",status_class=\"2xx\"}";
    assert!(stand.metric(requests).await < 0.5, "a copy is nobody's request");
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_names_its_deployment_or_is_a_stream_is_not_copied() {
    let (blue, green) = (Instance::named("blue").await, Instance::named("green").await);
    let stand = stand(50, &blue.url, &green.url, "{}").await;
    let mut client = Client::of(&stand).await;
    for fields in [
        "azureml-model-deployment: blue\r\n",
        "Content-Type: application/grpc\r\n",
        "Upgrade: websocket\r\nConnection: Upgrade\r\n",
    ] {
        for _ in 0..4 {
            assert_eq!(client.ask(fields, b"{}").await.status, 200, "{fields}");
        }
    }
    assert_eq!(client.ask("azureml-model-deployment: green\r\n", b"by name").await.status, 200);
    for _ in 0..4 {
        assert_eq!(client.ask("", b"by traffic").await.status, 200);
    }
    until("the copies are there", async || outcome(&stand, "sent").await >= 2).await;
    let bodies: Vec<Vec<u8>> = green.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, [&b"by name"[..], b"by traffic", b"by traffic"]);
    assert_eq!(green.seen()[0].field("x-ms-mirrored"), None, "a request by name is no copy");
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunked_body_and_none_at_all_are_copied_as_well() {
    let (blue, green) = (Instance::named("blue").await, Instance::named("green").await);
    let stand = stand(50, &blue.url, &green.url, "{}").await;
    let mut client = Client::of(&stand).await;
    let head = format!(
        "/endpoints/my-ep/score?a=b HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\n",
        client.token
    );
    for _ in 0..2 {
        client.raw.say(format!("GET {head}\r\n")).await;
        assert_eq!(client.raw.hear().await.unwrap().status, 200);
    }
    for _ in 0..2 {
        client.raw.say(format!("PUT {head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")).await;
        client.raw.say("4\r\ndefg\r\n0\r\n\r\n").await;
        assert_eq!(client.raw.hear().await.unwrap().status, 200);
    }
    until("the copies are there", async || outcome(&stand, "sent").await >= 2).await;
    let seen: Vec<(String, Vec<u8>)> =
        green.seen().into_iter().map(|seen| (seen.line().to_owned(), seen.body)).collect();
    let expected = [("GET /score?a=b HTTP/1.1", &b""[..]), ("PUT /score?a=b HTTP/1.1", b"abcdefg")];
    assert_eq!(seen, expected.map(|(line, body)| (line.to_owned(), body.to_vec())));
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_over_http2_is_copied_once_its_stream_has_ended() {
    let (blue, green) = (Instance::named("blue").await, Instance::named("green").await);
    let stand = stand(50, &blue.url, &green.url, "{}").await;
    let score = Fields::score(&stand.token("scientist")).add("cookie", "a=b").add("te", "trailers").clone();
    let mut wire = Wire::connect(stand.gateway.data).await;
    for stream in [1, 3, 5, 7] {
        let (one, two) = (frame(DATA, 0, stream, "abc"), frame(DATA, 0, stream, "def"));
        wire.say([score.open(stream), one, two].concat()).await;
        assert!(wire.settle().await);
        // An end by itself, without a byte.
        wire.say(frame(DATA, END_STREAM, stream, "")).await;
        assert_eq!(wire.hear(stream).await.status, Some(200));
    }
    until("two copies are there", async || outcome(&stand, "sent").await == 2).await;
    for copy in green.seen() {
        assert_eq!((copy.line(), copy.body.as_slice()), ("POST /score HTTP/1.1", &b"abcdef"[..]));
        for name in ["cookie", "authorization", "te"] {
            assert!(copy.all(name).is_empty(), "{name}");
        }
    }
    stand.stop().await;
}

/// An instance that writes this and closes.
async fn saying(bytes: &'static [u8]) -> String {
    Instance::scripted(Arc::new(move |_| (bytes.to_vec(), true))).await.url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_shadow_however_bad_changes_an_answer() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let lengthy: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n[1,2,3,4,5,6,7,8";
    let failing = "HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n".as_bytes();
    for (what, url, expected) in [
        ("down", gone, "failed"),
        ("resets", saying(b"").await, "failed"),
        ("garbage", saying(b"what?\r\n\r\n").await, "failed"),
        (
            "two lengths",
            saying(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\na").await,
            "failed",
        ),
        ("cut", saying(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await, "failed"),
        ("longer than it may be", saying(lengthy).await, "sent"),
        ("errors", saying(failing).await, "sent"),
    ] {
        let blue = Instance::named("blue").await;
        let limits = "{ eject_failures: 1, mirror_answer: 10 }";
        let stand = stand(50, &blue.url, &url, limits).await;
        let mut client = Client::of(&stand).await;
        for _ in 0..10 {
            let answer = client.ask("", b"{}").await;
            assert_eq!(
                (answer.status, answer.body.as_slice()),
                (200, &b"{\"instance\":\"blue\"}"[..]),
                "{what}"
            );
        }
        until(what, async || outcome(&stand, expected).await == 5).await;
        assert_eq!(blue.count(), 10, "{what}");
        stand.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_that_hangs_holds_up_nothing_and_no_more_than_it_may() {
    let patient = "max_concurrent_requests_per_instance: 512, request_timeout_ms: 60000";
    let single =
        "max_concurrent_requests_per_instance: 1, request_timeout_ms: 60000, max_queue_wait_ms: 60000";
    for (settings, at_work, dropped) in [(patient, 3, "dropped_busy"), (single, 1, "dropped_no_place")] {
        let (blue, green) = (Instance::named("blue").await, Holding::named("green").await);
        let shadow = deployment("my-ep", "green", &[&green.url], "")
            .replace("max_concurrent_requests_per_instance: 512", settings);
        let blue = deployment("my-ep", "blue", &[&blue.url], "");
        let stand = Stand::start(plan(50, &blue, &shadow, "{ mirror_requests: 3 }")).await;
        let mut client = Client::of(&stand).await;
        // Each answer comes long before the shadow's time is over.
        for _ in 0..20 {
            assert_eq!(client.ask("", b"{}").await.status, 200);
        }
        until("the rest was dropped", async || outcome(&stand, dropped).await == 10 - at_work).await;
        until("the others are at work", async || green.sent() as u64 == at_work).await;
        // Nor does it hold up the gateway's end.
        tokio::time::timeout(Duration::from_secs(10), stand.stop())
            .await
            .expect("an end before the shadow's");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_that_is_too_slow_has_failed_by_its_own_clock() {
    let (blue, green) = (Instance::named("blue").await, Holding::named("green").await);
    let quick = "max_concurrent_requests_per_instance: 512, request_timeout_ms: 50";
    let shadow = deployment("my-ep", "green", &[&green.url], "")
        .replace("max_concurrent_requests_per_instance: 512", quick);
    let stand = Stand::start(plan(50, &deployment("my-ep", "blue", &[&blue.url], ""), &shadow, "{}")).await;
    let mut client = Client::of(&stand).await;
    for _ in 0..4 {
        assert_eq!(client.ask("", b"{}").await.status, 200);
    }
    until("it has failed", async || outcome(&stand, "failed").await == 2).await;
    assert_eq!(green.sent(), 2, "no copy is sent twice");
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_without_instances_or_without_the_path_gets_nothing() {
    let blue = Instance::named("blue").await;
    let live = deployment("my-ep", "blue", &[&blue.url], "");
    let empty = "name: green\nendpoint_name: my-ep\nbackend: { dns: \"no-such-name.invalid:1\" }\n";
    let green = Instance::named("green").await;
    let closed = deployment("my-ep", "green", &[&green.url], "allowed_paths: [ /other ]\n");
    for (shadow, dropped) in [(empty.to_owned(), "dropped_no_instance"), (closed, "dropped_path")] {
        let stand = Stand::start(plan(50, &live, &shadow, "{}")).await;
        let mut client = Client::of(&stand).await;
        for _ in 0..4 {
            assert_eq!(client.ask("", b"{}").await.status, 200);
        }
        until(dropped, async || outcome(&stand, dropped).await == 2).await;
        stand.stop().await;
    }
    assert_eq!(green.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_takes_no_copy_with_it() {
    let (blue, green) = (Holding::named("blue").await, Instance::named("green").await);
    let stand = stand(50, &blue.url, &green.url, "{}").await;
    // Whole requests of clients that do not wait. Of two in a row one is copied.
    let mut left = 0;
    while left < 2 || green.count() == 0 {
        let mut client = Client::of(&stand).await;
        client.say("", b"{}").await;
        left += 1;
        until("it is at the live instance", async || blue.sent() == left).await;
        assert!(left < 9, "one of them has to be copied");
    }
    until("the live ones are not answered", async || {
        compared(&stand, "no_live").await == outcome(&stand, "sent").await
    })
    .await;
    // A request that does not come to its end is none.
    let before = green.count();
    let body = "Content-Length: 100\r\n\r\nhalf of it";
    let cut = async || {
        let mut client = Client::of(&stand).await;
        let head = format!(
            "POST /endpoints/my-ep/score HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\n",
            client.token
        );
        client.raw.say(format!("{head}{body}")).await;
        left += 1;
        let sent = left;
        until("it has begun", async || blue.sent() == sent).await;
    };
    let mut cut = cut;
    for _ in 0..8 {
        cut().await;
    }
    until("they are dropped", async || outcome(&stand, "dropped_unfinished").await >= 2).await;
    assert_eq!(green.count(), before);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_beyond_a_bound_are_not_copied_and_reach_their_own_instance_whole() {
    let (blue, green) = (Instance::named("same").await, Instance::named("same").await);
    let limits = "{ mirror_body: 20000, mirror_bytes: 16384 }";
    let stand = stand(50, &blue.url, &green.url, limits).await;
    let mut client = Client::of(&stand).await;
    let (mut asked, mut sent) = (0, 0);
    // Whatever was used is free again afterwards.
    for _ in 0..5 {
        // Memory is taken step by step: 8 KiB for such a body, 4 KiB for each answer.
        for (length, expected) in
            [(20_001, "dropped_body"), (8_192, "sent"), (20_000, "dropped_memory"), (0, "sent")]
        {
            let before = outcome(&stand, expected).await;
            let body = vec![b'x'; length];
            for _ in 0..2 {
                assert_eq!(client.ask("", &body).await.status, 200);
                asked += 1;
                assert_eq!((blue.count(), &blue.seen()[asked - 1].body), (asked, &body));
            }
            until(expected, async || outcome(&stand, expected).await == before + 1).await;
            if expected == "sent" {
                sent += 1;
                until("they are compared", async || compared(&stand, "same").await == sent).await;
                assert_eq!(green.seen().last().unwrap().body, body);
            }
        }
    }
    assert_eq!(green.count() as u64, sent);
    stand.stop().await;
}

/// An instance that answers what the request's body has under its name: status, type, text.
async fn told(name: &'static str) -> Instance {
    let script = move |seen: &Seen| {
        let order: Value = serde_json::from_slice(&seen.body).unwrap();
        let [status, kind, text] = [0, 1, 2].map(|at| order[name][at].as_str().unwrap());
        let head =
            format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", text.len());
        ([head.as_bytes(), text.as_bytes()].concat(), false)
    };
    Instance::scripted(Arc::new(script)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_compared_and_the_report_shows_no_word_of_them() {
    let (blue, green) = (told("blue").await, told("green").await);
    let mut plan = plan(
        50,
        &deployment("my-ep", "blue", &[&blue.url], ""),
        &deployment("my-ep", "green", &[&green.url], ""),
        "{ mirror_compare: 100 }",
    );
    plan.grant("reader", "Reader", &crate::support::rest::group());
    let stand = Stand::start(plan).await;
    let mut client = Client::of(&stand).await;
    let long = format!("\"{}\"", "x".repeat(100));
    let text = "{\"name\": \"Ada Lovelace\"}";
    let report = format!("{}/mirrorReport", endpoint("my-ep"));
    let quiet = stand.as_("reader").get(&report).await.is(200);
    assert_eq!((quiet.at("/copies/sent"), quiet.at("/equalAnswers")), (&json!(0), &Value::Null));
    let is_json = "application/json";
    for (result, live, shadow) in [
        (
            "same",
            ["200", is_json, "{\"a\":1,\"b\":[1000.5]}"],
            ["200", is_json, "{\"b\": [1000.5001], \"a\": 1}"],
        ),
        ("same", ["404", is_json, "{}"], ["404", is_json, "{}"]),
        ("status", ["200", is_json, "{}"], ["500", is_json, "{}"]),
        ("answer", ["200", is_json, "{\"p\":[0.25,0.5]}"], ["200", is_json, "{\"p\":[0.25,0.75]}"]),
        ("answer", ["200", is_json, text], ["200", is_json, "{\"name\": \"Grace Hopper\"}"]),
        ("not_compared", ["200", "text/plain", "a"], ["200", "text/plain", "b"]),
        ("not_compared", ["200", is_json, "{}"], ["200", is_json, "{"]),
        ("not_compared", ["200", is_json, &long], ["200", is_json, "1"]),
        ("not_compared", ["200", is_json, "1"], ["200", is_json, &long]),
    ] {
        let before = compared(&stand, result).await;
        let order = json!({"blue": live, "green": shadow}).to_string();
        for _ in 0..2 {
            let answer = client.ask("", order.as_bytes()).await;
            assert_eq!(
                (answer.status.to_string().as_str(), answer.body.as_slice()),
                (live[0], live[2].as_bytes())
            );
        }
        until(&order, async || compared(&stand, result).await == before + 1).await;
    }
    let owner = stand.as_("owner").get(&report).await.is(200);
    assert_eq!((owner.at("/deployment"), owner.at("/percent")), (&json!("green"), &json!(50)));
    assert_eq!((owner.at("/copies/sent"), owner.at("/copies/failed")), (&json!(9), &json!(0)));
    let expected = json!({"same": 2, "status": 1, "answer": 2, "not_compared": 4, "no_live": 0});
    assert_eq!(owner.at("/compared"), &expected);
    assert_eq!((owner.at("/equalStatuses"), owner.at("/equalAnswers")), (&json!(8.0 / 9.0), &json!(0.5)));
    for time in ["/liveLatency/p50", "/liveLatency/p95", "/shadowLatency/p50", "/shadowLatency/p95"] {
        let millis = owner.at(time).as_f64().unwrap();
        assert!(millis > 0.0 && millis < PATIENCE.as_secs_f64() * 1e3, "{time}: {millis}");
    }
    let differences = owner.at("/differences").as_array().unwrap();
    let told: Vec<Value> = differences
        .iter()
        .map(|each| {
            json!([each["kind"], each["pointer"], each["by"], each["liveStatus"], each["shadowStatus"]])
        })
        .collect();
    let expected = [
        json!(["value", "/name", null, 200, 200]),
        json!(["number", "/p/1", 0.25, 200, 200]),
        json!(["status", null, null, 200, 500]),
    ];
    assert_eq!(told, expected);
    let id = differences[0]["requestId"].as_str().unwrap();
    assert!(green.seen().iter().any(|seen| seen.field("x-ms-request-id") == Some(id)));
    let whole = owner.json.to_string();
    assert!(!whole.contains("Ada") && !whole.contains("Hopper"), "{whole}");
    for side in ["live", "shadow"] {
        let count = format!(
            "scoregate_mirror_response_seconds_count{{deployment=\"green\",endpoint=\"my-ep\",side=\"{side}\"}}"
        );
        assert!((stand.metric(&count).await - 9.0).abs() < 0.1, "{side}");
    }
    stand.as_("outsider").get(&report).await.is(404);
    stand.as_("owner").get(&format!("{}/mirrorReport", endpoint("nowhere"))).await.is(404);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_share_holds_from_the_next_request_on_and_none_ends_it() {
    let (blue, green) = (Instance::named("blue").await, Instance::named("green").await);
    let stand = stand(50, &blue.url, &green.url, "{ mirror_requests: 1000 }").await;
    let mut client = Client::of(&stand).await;
    let mut sent = 0;
    for (percent, copies) in [(50, 50), (25, 25), (1, 1), (0, 0), (10, 10)] {
        let traffic = format!("traffic: {{ blue: 100 }}\nmirror_traffic: {{ green: {percent} }}\n");
        if percent != 50 {
            stand.write("ep.yaml", &format!("name: my-ep\nauth_mode: aad_token\n{traffic}")).await;
        }
        for _ in 0..100 {
            assert_eq!(client.ask("", b"{}").await.status, 200);
        }
        sent += copies;
        until("the copies are sent", async || outcome(&stand, "sent").await >= sent).await;
        assert_eq!((outcome(&stand, "sent").await, green.count() as u64), (sent, sent), "{percent} %");
    }
    stand.stop().await;
}

/// A live answer that goes on for long is not held up, and does not hold up its copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_stream_passes_piece_by_piece() {
    let (go, going) = tokio::sync::watch::channel(false);
    let blue = crate::support::played::play(move |mut link| {
        let mut going = going.clone();
        async move {
            if link.request().await.is_some() {
                link.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n").await;
                let _ = going.wait_for(|go| *go).await;
            }
        }
    })
    .await;
    let green = Instance::scripted(Arc::new(|_| (ok("{}"), false))).await;
    let stand = stand(50, &blue, &green.url, "{}").await;
    let mut clients = Vec::new();
    while green.count() == 0 {
        let mut client = Client::of(&stand).await;
        client.say("", b"{}").await;
        assert!(client.raw.head().await.unwrap().contains("200"));
        clients.push(client);
        assert!(clients.len() < 9, "one of them has to be copied");
    }
    until("it is judged by its head", async || {
        compared(&stand, "not_compared").await == outcome(&stand, "sent").await
    })
    .await;
    go.send_replace(true);
    stand.stop().await;
}
