//! How often an endpoint may be called, how much may be sent to it, and how long a request may take: each with its own
//! limit, its own word, and what the client should do.

use std::time::Duration;

use scoregate::clock::{Clock, SystemClock};

use crate::support::instance::ok;
use crate::support::played::{Link, play};
use crate::support::raw::{Answer, ask};
use crate::support::stand::deployment;
use crate::support::{Instance, Plan, Raw, Stand};

fn endpoint(more: &str) -> String {
    format!("name: my-ep\nauth_mode: aad_token\ntraffic: {{ blue: 100 }}\n{more}")
}

async fn score(stand: &Stand, who: &str, body: &str) -> Answer {
    let token = stand.token(who);
    let message = format!(
        "POST /endpoints/my-ep/score HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    ask(stand.gateway.data, message).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_beyond_a_rate_are_429_and_say_which() {
    let blue = Instance::named("blue").await;
    let mut plan = Plan::endpoint("aad_token", &[&blue.url]);
    plan.resources.retain(|(name, _)| name != "ep.yaml");
    let slow = "rate_limit: { requests_per_second: 1000, requests_per_second_per_principal: 2 }\n";
    plan.add("ep.yaml", endpoint(slow));
    let root = "/subscriptions/00000000-0000-0000-0000-00000000005b/resourceGroups/default";
    plan.grant("reader", "AzureML Data Scientist", root);
    let stand = Stand::start(plan).await;
    // A second's worth at once, and not much more; the machine may take its time between two of them.
    let mut refused = None;
    for _ in 0..50 {
        let answer = score(&stand, "scientist", "").await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.status, 200);
    }
    let refused = refused.expect("a refusal");
    assert_eq!((refused.reason(), refused.field("retry-after")), (Some("principal_rate"), Some("1")));
    let told = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(told.contains("2 requests in a second from one caller") && told.contains("slow down"), "{told}");
    assert_eq!(score(&stand, "reader", "").await.status, 200, "another caller has its own");
    assert_eq!(score(&stand, "outsider", "").await.status, 403, "who may not call at all uses up nothing");
    assert!(stand.metric("scoregate_security_limit{reason=\"principal_rate\"}").await > 0.5);

    stand.write("ep.yaml", &endpoint("rate_limit: { requests_per_second: 1 }\n")).await;
    let mut refused = None;
    for turn in 0..50 {
        let answer = score(&stand, ["scientist", "reader"][turn % 2], "").await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a refusal");
    assert_eq!((refused.reason(), refused.code().as_str()), (Some("endpoint_rate"), "TooManyRequests"));
    stand.write("ep.yaml", &endpoint("")).await;
    for _ in 0..20 {
        assert_eq!(score(&stand, "scientist", "").await.status, 200, "without a rate of its own");
    }
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_may_take_less_or_more_than_others() {
    let blue = Instance::named("blue").await;
    let mut plan = Plan::endpoint("aad_token", &[&blue.url])
        .set("limits", "{ request_body: 100, request_body_max: 1000 }");
    plan.resources.retain(|(name, _)| name != "ep.yaml");
    plan.add("ep.yaml", endpoint(""));
    let stand = Stand::start(plan).await;
    for (more, most) in [
        ("", 100),
        ("max_request_bytes: 10\n", 10),
        ("max_request_bytes: 900\n", 900),
        ("max_request_bytes: 5000\n", 1000),
    ] {
        stand.write("ep.yaml", &endpoint(&format!("description: {most}\n{more}"))).await;
        assert_eq!(score(&stand, "scientist", &"x".repeat(most)).await.status, 200, "{more}");
        let answer = score(&stand, "scientist", &"x".repeat(most + 1)).await;
        assert_eq!((answer.status, answer.reason()), (413, Some("body_too_large")), "{more}");
    }
    stand.stop().await;
}

/// An instance that answers its head after so long, and then a byte each time after so long.
async fn dripping(head: u64, gap: u64, bytes: usize) -> String {
    play(move |mut link: Link| async move {
        while link.request().await.is_some() {
            tokio::time::sleep(Duration::from_millis(head)).await;
            link.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n").into_bytes()).await;
            for _ in 0..bytes {
                tokio::time::sleep(Duration::from_millis(gap)).await;
                link.write(b"x".to_vec()).await;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_has_clocks_of_its_own_each_with_its_word() {
    const HOUR: u64 = 3_600_000;
    for (case, head, gap, clocks, status, word) in [
        ("the first byte", HOUR, 0, "request_timeout_ms: 100", 408, "instance_timeout"),
        ("the whole, before an answer", HOUR, 0, "total_ms: 100", 408, "total_timeout"),
        ("a gap", 0, HOUR, "idle_ms: 100", 0, "idle_timeout"),
        ("the whole, in an answer", 0, 20, "total_ms: 200", 0, "total_timeout"),
    ] {
        let url = dripping(head, gap, 1_000).await;
        let own = clocks.starts_with("request");
        let (settings, timeouts) = if own { (clocks, "") } else { ("request_timeout_ms: 60000", clocks) };
        let plan = Plan::endpoint("aad_token", &[]).set("logs", "{ access: false }").blue(format!(
            "name: blue\nendpoint_name: my-ep\nbackend: {{ urls: [ \"{url}\" ] }}\n\
             request_settings: {{ {settings} }}\ntimeouts: {{ {timeouts} }}\n"
        ));
        let stand = Stand::start(plan).await;
        let token = stand.token("scientist");
        let mut raw = Raw::connect(stand.gateway.data).await;
        raw.say(format!(
            "GET /endpoints/my-ep/score HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {token}\r\n\r\n"
        ))
        .await;
        let answer = raw.hear().await;
        // An answer that has begun is cut, never completed.
        assert_eq!(answer.as_ref().map_or(0, |answer| answer.status), status, "{case}");
        if let Some(answer) = answer {
            assert_eq!(answer.reason(), Some(word), "{case}");
        }
        let counted = format!("scoregate_refusals_total{{reason=\"{word}\"}}");
        crate::support::until(case, async || stand.metric(&counted).await > 0.5).await;
        stand.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_s_own_time_may_be_longer_than_the_usual() {
    let url = dripping(0, 30, 20).await;
    let plan = Plan::endpoint("aad_token", &[])
        .set("limits", "{ request_total: 100ms, request_total_max: 1h }")
        .blue(deployment("my-ep", "blue", &[&url], "timeouts: { total_ms: 60000 }\n"));
    let stand = Stand::start(plan).await;
    let answer = score(&stand, "scientist", "").await;
    assert_eq!((answer.status, answer.body.len()), (200, 20));
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_is_told_by_when_its_answer_has_to_begin() {
    let blue = Instance::scripted(std::sync::Arc::new(|seen| {
        (ok(&format!("\"{}\"", seen.field("x-ms-request-deadline").unwrap_or("-"))), false)
    }))
    .await;
    let stand = Stand::start(Plan::endpoint("aad_token", &[&blue.url])).await;
    let now = || SystemClock.unix_millis();
    let before = now();
    let told = score(&stand, "scientist", "").await.json().as_str().unwrap().parse::<i64>().unwrap();
    assert!((before + 4_900..=now() + 5_100).contains(&told), "{told} of {before}");
    let token = stand.token("scientist");
    let forged = format!(
        "GET /endpoints/my-ep/score HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {token}\r\nX-Ms-Request-Deadline: 1\r\nConnection: close\r\n\r\n"
    );
    let answer = ask(stand.gateway.data, forged).await.unwrap();
    assert_ne!(answer.json(), "1");
    stand.stop().await;
}
