//! Which instances get requests: those that are ready, that do not fail, that are free, that are fast.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::instance::{Holding, Seen, ok};
use crate::support::pki::{Pki, write_secret};
use crate::support::raw::{Answer, ask};
use crate::support::stand::deployment;
use crate::support::{Instance, Plan, Stand, until};

/// An answer, and whether the connection then ends.
type Said = Option<(Vec<u8>, bool)>;

/// An instance with a switch, and what it does when that is thrown.
struct Switched {
    instance: Instance,
    bad: Arc<AtomicBool>,
}

impl Switched {
    async fn new(name: &'static str, broken: fn(&Seen) -> Said) -> Switched {
        let bad = Arc::new(AtomicBool::new(false));
        let told = bad.clone();
        let script = move |seen: &Seen| {
            let answer = told.load(Ordering::SeqCst).then(|| broken(seen)).flatten();
            answer.unwrap_or_else(|| (ok(&format!("\"{name}\"")), false))
        };
        Switched { instance: Instance::scripted(Arc::new(script)).await, bad }
    }

    fn set(&self, bad: bool) {
        self.bad.store(bad, Ordering::SeqCst);
    }

    /// Requests that reached it, questions about its health left out.
    fn scored(&self) -> usize {
        self.instance.seen().iter().filter(|seen| seen.field("user-agent") != Some("scoregate-probe")).count()
    }
}

fn unavailable() -> (Vec<u8>, bool) {
    (b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_vec(), false)
}

/// Endpoint `my-ep` with deployment `blue` at these instances.
async fn stand(urls: &[&str], more: &str, limits: &str) -> Stand {
    let plan =
        Plan::endpoint("aad_token", urls).set("limits", limits).blue(deployment("my-ep", "blue", urls, more));
    Stand::start(plan).await
}

async fn score(stand: &Stand, method: &str) -> Answer {
    let token = stand.token("scientist");
    let message = format!(
        "{method} /endpoints/my-ep/score HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    ask(stand.gateway.data, message).await.expect("an answer")
}

/// How many of a metric's instances are in this state.
async fn count(stand: &Stand, state: &str) -> f64 {
    let name = "scoregate_instances{deployment=\"blue\",endpoint=\"my-ep\",state=";
    stand.metric(&format!("{name}\"{state}\"}}")).await
}

const PROBE: &str = "{ initial_delay: 0, period: 0, timeout: 1, failure_threshold: 2, success_threshold: 2 }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_says_it_is_not_ready_gets_no_requests_until_it_says_it_is() {
    let not_ready = |seen: &Seen| seen.line().starts_with("GET /ready").then(unavailable);
    let (one, two) = (Switched::new("one", not_ready).await, Switched::new("two", not_ready).await);
    let more = format!("readiness_probe: {PROBE}\nreadiness_route: /ready\n");
    let stand = stand(&[&one.instance.url, &two.instance.url], &more, "{}").await;
    one.set(true);
    until("one is out", async || count(&stand, "unready").await > 0.5).await;
    let before = (one.scored(), two.scored());
    for _ in 0..10 {
        assert_eq!(score(&stand, "POST").await.body, b"\"two\"");
    }
    assert_eq!((one.scored() - before.0, two.scored() - before.1), (0, 10));
    two.set(true);
    until("both are out", async || count(&stand, "unready").await > 1.5).await;
    let answer = score(&stand, "POST").await;
    assert_eq!((answer.status, answer.reason()), (503, Some("no_instance")));
    assert_eq!(answer.field("retry-after"), Some("1"));
    one.set(false);
    until("one is back", async || score(&stand, "POST").await.status == 200).await;
    let seen = one.instance.seen();
    let question = seen.iter().find(|seen| seen.line().starts_with("GET /ready")).unwrap();
    assert_eq!(question.line(), "GET /ready HTTP/1.1");
    assert!(question.all("authorization").is_empty() && question.field("host").is_some());
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_may_have_a_port_of_its_own_and_comes_from_the_environment_too() {
    let health = Switched::new("health", |_| Some(unavailable())).await;
    let blue = Instance::named("blue").await;
    let port = health.instance.url.rsplit(':').next().unwrap();
    let more = format!(
        "liveness_probe: {PROBE}\nenvironment: {{ image: x, inference_config: {{ liveness_route: {{ path: /alive, port: {port} }}, \
         scoring_route: {{ path: /predict, port: 1 }} }} }}\n"
    );
    let stand = stand(&[&blue.url], &more, "{}").await;
    assert_eq!(score(&stand, "POST").await.status, 200);
    assert_eq!(blue.seen().last().unwrap().line(), "POST /predict HTTP/1.1");
    health.set(true);
    until("it is dead", async || score(&stand, "POST").await.status == 503).await;
    assert!(health.instance.seen().iter().all(|seen| seen.line() == "GET /alive HTTP/1.1"));
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_breaks_off_is_left_alone_and_comes_back_when_it_can_be_reached() {
    let one = Switched::new("one", |_| Some((Vec::new(), true))).await;
    let two = Switched::new("two", |_| Some((Vec::new(), true))).await;
    let limits = "{ eject_failures: 3, eject_time: 2s, warm_up: 10ms }";
    let stand = stand(&[&one.instance.url, &two.instance.url], "", limits).await;
    one.set(true);
    let mut failed = 0;
    for _ in 0..20 {
        failed += usize::from(score(&stand, "POST").await.status != 200);
    }
    assert_eq!(failed, 3, "as many as it takes, and no more");
    let ejected =
        "scoregate_ejections_total{deployment=\"blue\",endpoint=\"my-ep\",reason=\"consecutive_failures\"}";
    assert!((stand.metric(ejected).await - 1.0).abs() < 0.1);
    one.set(false);
    let before = one.scored();
    until("it is back", async || {
        assert_eq!(score(&stand, "POST").await.status, 200);
        one.scored() > before
    })
    .await;
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_instance_is_never_left_alone() {
    let one = Switched::new("one", |_| Some((Vec::new(), true))).await;
    let two = Switched::new("two", |_| Some((Vec::new(), true))).await;
    let stand =
        stand(&[&one.instance.url, &two.instance.url], "", "{ eject_failures: 2, eject_time: 1h }").await;
    one.set(true);
    two.set(true);
    for _ in 0..12 {
        let answer = score(&stand, "POST").await;
        assert_eq!((answer.status, answer.reason()), (502, Some("connection_broken")), "tried, not refused");
    }
    one.set(false);
    two.set(false);
    assert_eq!(score(&stand, "POST").await.status, 200, "the one that is left is well at once");
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_answers_errors_is_compared_with_the_others() {
    let failing = |_: &Seen| Some((b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n".to_vec(), false));
    let (one, two) = (Switched::new("one", failing).await, Switched::new("two", failing).await);
    let limits = "{ eject_time: 1h, eject_window: 1s }";
    let stand = stand(&[&one.instance.url, &two.instance.url], "", limits).await;
    // Both alike: the requests or the model are to blame, and nobody is ejected.
    one.set(true);
    two.set(true);
    for _ in 0..80 {
        assert_eq!(score(&stand, "POST").await.status, 500);
    }
    let ejections = "scoregate_ejections_total{";
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(stand.metric(ejections).await < 0.5);
    two.set(false);
    until("one stands out", async || {
        score(&stand, "POST").await;
        stand.metric(ejections).await > 0.5
    })
    .await;
    let before = one.scored();
    for _ in 0..20 {
        assert_eq!(score(&stand, "POST").await.status, 200);
    }
    assert_eq!(one.scored(), before);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_instance_works_on_no_more_than_it_may() {
    let (one, two) = (Holding::named("\"one\"").await, Holding::named("\"two\"").await);
    let plan = Plan::endpoint("aad_token", &[]).blue(format!(
        "name: blue\nendpoint_name: my-ep\nbackend: {{ urls: [ \"{}\", \"{}\" ] }}\nrequest_settings: \
         {{ max_concurrent_requests_per_instance: 2, max_queue_wait_ms: 20000, request_timeout_ms: 20000 }}\n",
        one.url, two.url
    ));
    let stand = Arc::new(Stand::start(plan).await);
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let stand = stand.clone();
            tokio::spawn(async move { score(&stand, "POST").await.status })
        })
        .collect();
    until("both are full", async || one.sent() == 2 && two.sent() == 2).await;
    let waiting = "scoregate_queue_depth{deployment=\"blue\",endpoint=\"my-ep\"}";
    until("four wait", async || stand.metric(waiting).await > 3.5).await;
    let answer = score(&stand, "POST").await;
    assert_eq!((answer.status, one.sent(), two.sent()), (429, 2, 2), "as many wait as are worked on");
    one.go.send(true).unwrap();
    two.go.send(true).unwrap();
    for asked in asking {
        assert_eq!(asked.await.unwrap(), 200);
    }
    assert_eq!(one.sent() + two.sent(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adaptive_deployment_begins_with_one_request_at_each_instance() {
    let (one, two) = (Holding::named("\"one\"").await, Holding::named("\"two\"").await);
    for (urls, most) in [(vec![one.url.as_str()], 1), (vec![&one.url, &two.url], 2)] {
        one.go.send(false).unwrap();
        two.go.send(false).unwrap();
        let before = one.sent() + two.sent();
        let more = "adaptive_concurrency: true\n";
        let plan = Plan::endpoint("aad_token", &urls);
        let waits = "512, max_queue_wait_ms: 20000, request_timeout_ms: 20000";
        let plan = plan.blue(deployment("my-ep", "blue", &urls, more).replace("512", waits));
        let stand = Arc::new(Stand::start(plan).await);
        let asking: Vec<_> = (0..4)
            .map(|_| {
                let stand = stand.clone();
                tokio::spawn(async move { score(&stand, "POST").await.status })
            })
            .collect();
        let waiting = "scoregate_queue_depth{deployment=\"blue\",endpoint=\"my-ep\"}";
        until("the others wait", async || stand.counted(waiting).await == 4 - most).await;
        assert_eq!((one.sent() + two.sent() - before) as u64, most, "nothing is known of them yet");
        one.go.send(true).unwrap();
        two.go.send(true).unwrap();
        for asked in asking {
            assert_eq!(asked.await.unwrap(), 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_instance_gets_fewer_requests() {
    let counts = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
    let mut urls = Vec::new();
    for (count, millis) in counts.iter().zip([2_u64, 60]) {
        let count = count.clone();
        urls.push(
            crate::support::played::play(move |mut link: crate::support::played::Link| {
                let count = count.clone();
                async move {
                    while link.request().await.is_some() {
                        count.fetch_add(1, Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_millis(millis)).await;
                        link.write(ok("{}")).await;
                    }
                }
            })
            .await,
        );
    }
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let stand = Arc::new(stand(&urls, "", "{}").await);
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let stand = stand.clone();
            tokio::spawn(async move {
                for _ in 0..40 {
                    assert_eq!(score(&stand, "POST").await.status, 200);
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    let [fast, slow] = counts.map(|count| count.load(Ordering::SeqCst));
    assert!(slow * 3 < fast, "fast {fast}, slow {slow}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_address_of_a_name_is_an_instance() {
    let blue = Instance::named("blue").await;
    let port = blue.url.rsplit(':').next().unwrap().to_owned();
    let named = |name: &str| {
        Plan::endpoint("aad_token", &[])
            .set("limits", "{ dns_refresh: 20ms, eject_failures: 1 }")
            .blue(format!("name: blue\nendpoint_name: my-ep\nbackend: {{ dns: \"{name}:{port}\" }}\n"))
    };
    let stand = Stand::start(named("localhost")).await;
    until("it is found", async || score(&stand, "POST").await.status == 200).await;
    assert_eq!(blue.seen().last().unwrap().field("host"), Some(format!("localhost:{port}").as_str()));
    // A name that is not there any more leaves what was found, a new one is looked up.
    stand.write("blue.yaml", &named("no-such-name.invalid").resources.last().unwrap().1).await;
    assert_eq!(score(&stand, "POST").await.status, 200);
    stand.stop().await;
    let stand = Stand::start(named("no-such-name.invalid")).await;
    let answer = score(&stand, "POST").await;
    assert_eq!((answer.status, answer.reason()), (503, Some("no_instance")));
    stand.stop().await;
    // A name that leads to a cloud's metadata service leads nowhere.
    let stand = Stand::start(named("169.254.169.254")).await;
    assert_eq!(score(&stand, "POST").await.status, 503);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_other_things_leaves_connections_and_ejections_alone() {
    let one = Switched::new("one", |_| Some((Vec::new(), true))).await;
    let two = Switched::new("two", |_| None).await;
    let urls = [one.instance.url.as_str(), two.instance.url.as_str()];
    let stand = stand(&urls, "", "{ eject_failures: 1, eject_time: 1h }").await;
    one.set(true);
    until("one is ejected", async || {
        score(&stand, "POST").await;
        count(&stand, "ejected").await > 0.5
    })
    .await;
    stand.write("blue.yaml", &deployment("my-ep", "blue", &urls, "description: another\n")).await;
    let before = one.scored();
    for _ in 0..10 {
        assert_eq!(score(&stand, "POST").await.body, b"\"two\"");
    }
    assert_eq!(one.scored(), before);
    stand.stop().await;
}

/// An instance that speaks TLS and asks for a certificate of this authority.
async fn guarded(pki: &Pki, own: &crate::support::pki::Pair) -> String {
    use tokio::io::AsyncWriteExt;
    let acceptor = pki.acceptor(own);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut raw = [0; 4096];
                let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut raw).await;
                let _ = stream.write_all(&ok("\"guarded\"")).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    format!("https://localhost:{port}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_may_ask_for_a_certificate_and_has_to_show_the_right_one() {
    let (pki, other) = (Pki::new(), Pki::new());
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = home.path().join(name);
        write_secret(&path, text);
        path.display().to_string()
    };
    let (own, foreign) = (pki.client(), other.client());
    let (roots, others) = (file("ca.pem", &pki.pem), file("other.pem", &other.pem));
    let pair = |name: &str, pair: &crate::support::pki::Pair| {
        let (certificate, key) =
            (file(&format!("{name}.pem"), &pair.certificate), file(&format!("{name}.key"), &pair.key));
        format!(", client_certificate: {{ certificate: \"{certificate}\", private_key: \"{key}\" }}")
    };
    let (good, bad) = (pair("own", &own), pair("foreign", &foreign));
    let named = guarded(&pki, &pki.server(&["localhost"], 2)).await;
    let misnamed = guarded(&pki, &pki.server(&["elsewhere"], 3)).await;
    for (case, url, roots, own, status) in [
        ("all as it should be", &named, &roots, good.as_str(), 200),
        ("no certificate", &named, &roots, "", 502),
        ("a certificate of somebody else's", &named, &roots, &bad, 502),
        ("an instance that is not trusted", &named, &others, &good, 502),
        ("an instance with another name", &misnamed, &roots, &good, 502),
    ] {
        let plan = Plan::endpoint("aad_token", &[]).blue(format!(
            "name: blue\nendpoint_name: my-ep\n\
             backend: {{ urls: [ \"{url}\" ], ca_file: \"{roots}\"{own} }}\n"
        ));
        let stand = Stand::start(plan).await;
        let answer = score(&stand, "POST").await;
        assert_eq!(answer.status, status, "{case}: {}", answer.head);
        stand.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_in_a_hurry_leaves_the_instances_where_they_are() {
    let (one, two) = (Holding::named("\"one\"").await, Holding::named("\"two\"").await);
    let limits = "{ eject_failures: 2, eject_time: 1h }";
    let stand = stand(&[&one.url, &two.url], "", limits).await;
    let token = stand.token("scientist");
    for _ in 0..8 {
        // Fifty milliseconds, for a model that needs longer.
        let answer = ask(
            stand.gateway.data,
            format!(
                "POST /endpoints/my-ep/x.Y/Z HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {token}\r\n\
                 Content-Type: application/grpc\r\ngrpc-timeout: 50m\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            ),
        )
        .await
        .expect("an answer");
        assert_eq!(answer.field("grpc-status"), Some("4"), "DEADLINE_EXCEEDED: {}", answer.head);
    }
    assert!(one.sent() > 1 && two.sent() > 1, "{} {}", one.sent(), two.sent());
    assert_eq!(stand.counted("scoregate_ejections_total{").await, 0);
    stand.stop().await;
}
