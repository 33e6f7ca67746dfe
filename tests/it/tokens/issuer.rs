//! Issuers that are away, slow, hostile or broken: whoever has a good token of a known key notices nothing of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use scoregate::identity::claims::derived_principal;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{TENANT, base64url, score};
use crate::support::mint::{self, KID, Mint, now};
use crate::support::provider::{Document, Manner, Provider};
use crate::support::raw::{Answer, ask};
use crate::support::site::Site;
use crate::support::stand::{AUDIENCE, deployment};
use crate::support::{Instance, Plan, Raw, Stand, until};

use Document::{Keys, Metadata};

/// Between two requests of a good client.
const PACE: Duration = Duration::from_millis(40);
/// Bytes of a document that is far too long.
const LONG: u64 = 60 << 20;
/// What two sockets on loopback may hold of it, with room to spare.
const BUFFERED: u64 = 16 << 20;

/// The claims of a good token of an issuer; no two are the same token.
fn claims(issuer: &str) -> Value {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    json!({ "iss": issuer, "aud": AUDIENCE, "sub": "good", "iat": now(), "exp": now() + 600, "jti": number.to_string() })
}

fn token(mint: &Mint, issuer: &str) -> String {
    mint.sign(&super::good_head(), &claims(issuer))
}

/// A stand with the endpoints `aad-ep` and `key-ep` that trusts these providers; the principal `good` of each may score.
async fn stand(blue: &Instance, providers: &[&Provider], limits: &str) -> Stand {
    let mut plan = Plan::default();
    for (name, mode) in [("aad-ep", "aad_token"), ("key-ep", "key")] {
        plan.add(
            &format!("{name}.yaml"),
            format!("name: {name}\nauth_mode: {mode}\ntraffic: {{ blue: 100 }}\n"),
        );
        plan.add(&format!("{name}-blue.yaml"), deployment(name, "blue", &[&blue.url], ""));
    }
    let mut grants = String::new();
    for provider in providers {
        let good = derived_principal(&provider.issuer, "good");
        grants.push_str(&format!("---\nrole: AzureML Data Scientist\nprincipal_id: {good}\nscope: /\n"));
    }
    plan.add("grants.yaml", grants);
    let entries: Vec<String> = providers.iter().map(|provider| provider.setting(AUDIENCE)).collect();
    let plan =
        plan.set("identity", &format!("{{ issuers: [ {} ] }}", entries.join(", "))).set("limits", limits);
    Stand::start(plan).await
}

/// A client with good credentials at a fixed rate on one connection. It comes with each of its credentials twice: once
/// to be judged, once to be remembered.
struct Good {
    stop: Arc<AtomicBool>,
    done: JoinHandle<(usize, Vec<String>)>,
}

impl Good {
    fn start(
        stand: &Stand,
        endpoint: &'static str,
        credential: impl Fn() -> String + Send + 'static,
    ) -> Good {
        let (stop, address) = (Arc::new(AtomicBool::new(false)), stand.gateway.data);
        let stopped = stop.clone();
        let done = tokio::spawn(async move {
            let (mut raw, mut count, mut failed) = (Raw::connect(address).await, 0, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                let message = score(endpoint, &credential());
                for _ in 0..2 {
                    count += 1;
                    raw.say(&message).await;
                    match raw.hear().await {
                        Some(answer) if answer.status == 200 => {}
                        Some(answer) => failed.push(format!("{} {}", answer.status, answer.code())),
                        None => {
                            failed.push("no answer".to_owned());
                            raw = Raw::connect(address).await;
                        }
                    }
                    tokio::time::sleep(PACE).await;
                }
            }
            (count, failed)
        });
        Good { stop, done }
    }

    /// How many requests it made, and what those got that failed.
    async fn ends(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.done.await.unwrap()
    }
}

/// What may be wrong with an issuer, and its documents that are so.
fn manners(mint: &Mint, trap: &str) -> Vec<(&'static str, Document, Manner)> {
    let own = mint.jwk(KID);
    let set =
        |count: usize| json!({ "keys": (0..count).map(|n| mint.jwk(&format!("k{n}"))).collect::<Vec<_>>() });
    let json = "application/json";
    let html = b"<!doctype html><title>Sign in</title>".to_vec();
    let good = json!({ "keys": [own] }).to_string().into_bytes();
    let mut wrong_use = own.clone();
    wrong_use["use"] = json!("enc");
    vec![
        ("silent", Keys, Manner::Silent),
        ("silent from the beginning", Metadata, Manner::Silent),
        ("a byte in a second", Keys, Manner::Drips),
        ("redirected", Keys, Manner::Redirects(format!("{trap}/keys"))),
        ("redirected from the beginning", Metadata, Manner::Redirects(format!("{trap}/metadata"))),
        (
            "keys elsewhere",
            Metadata,
            Manner::Gives(json!({ "issuer": "{issuer}", "jwks_uri": format!("{trap}/keys") })),
        ),
        (
            "of another issuer",
            Metadata,
            Manner::Gives(json!({ "issuer": "{issuer}/", "jwks_uri": "{issuer}/keys" })),
        ),
        (
            "garbage",
            Keys,
            Manner::Says(
                json,
                (0..4096_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect(),
            ),
        ),
        ("garbage from the beginning", Metadata, Manner::Says(json, b"\0\x01\x02".to_vec())),
        ("nothing", Keys, Manner::Says(json, Vec::new())),
        ("half a document", Keys, Manner::Says(json, good[..good.len() / 2].to_vec())),
        ("HTML", Keys, Manner::Says("text/html", html.clone())),
        ("HTML that is called JSON", Keys, Manner::Says(json, html)),
        ("a good set that is called text", Keys, Manner::Says("text/plain", good)),
        ("a set of nothing", Keys, Manner::Gives(json!({ "keys": [] }))),
        ("no set", Keys, Manner::Gives(json!({ "error": "temporarily_unavailable" }))),
        ("null", Keys, Manner::Gives(Value::Null)),
        ("a set without a usable key", Keys, Manner::Gives(json!({ "keys": [wrong_use] }))),
        ("200 keys", Keys, Manner::Gives(set(200))),
        ("60 MB with their length", Keys, Manner::Endless(LONG, true)),
        ("60 MB without it", Keys, Manner::Endless(LONG, false)),
        ("60 MB from the beginning", Metadata, Manner::Endless(LONG, false)),
        ("500", Keys, Manner::Status(500)),
        ("503", Metadata, Manner::Status(503)),
        ("404", Keys, Manner::Status(404)),
        ("204", Keys, Manner::Status(204)),
        ("cut off", Keys, Manner::Breaks),
        ("cut off from the beginning", Metadata, Manner::Breaks),
        ("closing", Keys, Manner::Closes),
    ]
}

/// A manner that says its own issuer's name where it has to.
fn of(provider: &Provider, manner: Manner) -> Manner {
    match manner {
        Manner::Gives(value) => Manner::Gives(
            serde_json::from_str(&value.to_string().replace("{issuer}", &provider.issuer)).unwrap(),
        ),
        other => other,
    }
}

fn undecided(answer: &Answer) -> bool {
    (answer.status, answer.code().as_str()) == (503, "IdentityUnavailable")
        && answer.field("retry-after").is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_known_key_opens_whatever_its_issuer_does_and_no_key_never_does() {
    let (blue, mint) = (Instance::named("blue").await, Arc::new(Mint::new(TENANT)));
    let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let manners = manners(&mint, &format!("http://{}", trap.local_addr().unwrap()));
    // Each manner twice: of an issuer that was good before, and of one that never was.
    let (mut had, mut never) = (Vec::new(), Vec::new());
    for (_, document, manner) in &manners {
        had.push(Provider::start(vec![mint.jwk(KID)]).await);
        let provider = Provider::start(vec![mint.jwk(KID)]).await;
        provider.behaves(Some((*document, of(&provider, manner.clone()))));
        never.push(provider);
    }
    let gone = Provider::start(vec![mint.jwk(KID)]).await;
    let never_there = Provider::start(vec![mint.jwk(KID)]).await;
    never_there.goes();
    let all: Vec<&Provider> = had.iter().chain(&never).chain([&gone, &never_there]).collect();
    let limits = "{ jwks_refresh: 1s, jwks_cool_down: 1s, failed_authentications: 1000000 }";
    let stand = stand(&blue, &all, limits).await;
    let opens = async |provider: &Provider| {
        ask(stand.gateway.data, score("aad-ep", &token(&mint, &provider.issuer))).await.unwrap()
    };
    for provider in had.iter().chain([&gone]) {
        assert_eq!(opens(provider).await.status, 200);
    }

    let mut clients = Vec::new();
    let issuers = had.iter().chain([&gone]).map(|provider| provider.issuer.clone());
    for issuer in issuers.clone() {
        let mint = mint.clone();
        clients.push(Good::start(&stand, "aad-ep", move || token(&mint, &issuer)));
    }
    let (key, _) = stand.keys("key-ep").await;
    let with_key = Good::start(&stand, "key-ep", move || key.clone());
    for (provider, (_, document, manner)) in had.iter().zip(&manners) {
        provider.behaves(Some((*document, of(provider, manner.clone()))));
    }
    gone.goes();
    let before: Vec<usize> =
        had.iter().zip(&manners).map(|(p, (_, document, _))| p.asked(*document)).collect();
    // Long enough for the slow ones to be given up.
    until("every issuer's keys are old", async || {
        for issuer in issuers.clone() {
            if stand.metric(&format!("scoregate_jwks_age_seconds{{issuer=\"{issuer}\"}}")).await < 6.5 {
                return false;
            }
        }
        true
    })
    .await;
    for (provider, (what, ..)) in
        never.iter().zip(&manners).chain([(&never_there, &("gone", Keys, Manner::Closes))])
    {
        let answer = opens(provider).await;
        assert!(undecided(&answer), "{what}, never good: {}", answer.head);
    }
    let stranger =
        ask(stand.gateway.data, score("aad-ep", &token(&mint, "http://127.0.0.1:9"))).await.unwrap();
    assert_eq!(stranger.status, 401, "of no issuer at all");

    let (mut requests, mut failures) = (0, Vec::new());
    let names = manners.iter().map(|(what, ..)| *what).chain(["gone"]);
    for (client, what) in clients.into_iter().zip(names) {
        let (count, failed) = client.ends().await;
        requests += count;
        failures.extend(failed.iter().map(|status| format!("{what}: {status}")));
        println!("issuer {what}: {count} requests of a good client, {} failed", failed.len());
    }
    let (count, failed) = with_key.ends().await;
    println!("a key all the while: {count} requests, {} failed", failed.len());
    assert!(failures.is_empty() && failed.is_empty(), "of {requests}: {failures:?} {failed:?}");
    for ((provider, (what, document, manner)), before) in had.iter().zip(&manners).zip(before) {
        assert!(provider.asked(*document) > before, "{what} was not asked");
        if matches!(manner, Manner::Endless(..)) {
            assert!(provider.taken() < BUFFERED, "{what}: {} bytes", provider.taken());
        }
    }
    tokio::select! {
        biased;
        came = trap.accept() => panic!("somebody followed: {came:?}"),
        () = std::future::ready(()) => {}
    }
    // They come to themselves, and so does the gateway.
    for provider in &never {
        provider.behaves(None);
    }
    for provider in &never {
        until("an issuer that has become good is believed", async || opens(provider).await.status == 200)
            .await;
    }
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_withdrawn_opens_nothing_from_the_next_set_on() {
    let (blue, old, new) = (Instance::named("blue").await, Mint::new(TENANT), Mint::new(TENANT));
    let provider = Provider::start(vec![old.jwk(KID)]).await;
    let stand = stand(&blue, &[&provider], "{ jwks_refresh: 1s }").await;
    let head = json!({ "typ": "JWT", "alg": "RS256", "kid": "next" });
    let (kept, mut open) = (token(&old, &provider.issuer), Raw::connect(stand.gateway.data).await);
    let mut says = async |credential: &str| {
        open.say(score("aad-ep", credential)).await;
        open.hear().await.unwrap().status
    };
    assert_eq!((says(&kept).await, says(&kept).await), (200, 200));
    for set in [
        json!({ "keys": [new.jwk("next")] }),
        // Another key under the old one's id.
        json!({ "keys": [new.jwk("next"), new.jwk(KID)] }),
    ] {
        provider.behaves(Some((Keys, Manner::Gives(set.clone()))));
        until("the set is in use", async || {
            let next = new.sign(&head, &claims(&provider.issuer));
            says(&next).await == 200 && says(&kept).await == 401
        })
        .await;
        for credential in [kept.clone(), token(&old, &provider.issuer)] {
            assert_eq!(says(&credential).await, 401, "{set}");
        }
    }
    // A set from which a bad answer follows is still the set.
    provider.behaves(Some((Keys, Manner::Gives(json!({ "keys": [] })))));
    let asked = provider.asked(Keys);
    until("it was asked again", async || provider.asked(Keys) > asked + 1).await;
    let next = new.sign(&head, &claims(&provider.issuer));
    assert_eq!((says(&next).await, says(&kept).await), (200, 401));
    stand.stop().await;
}

/// What an issuer sends is not kept: measured on a gateway that has a process to itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_without_end_costs_no_memory() {
    let mint = Mint::new(TENANT);
    let provider = Provider::start(vec![mint.jwk(KID)]).await;
    let identity = format!("identity: {{ issuers: [ {} ] }}\n", provider.setting(AUDIENCE));
    let resource = "name: my-ep\nauth_mode: aad_token\n".to_owned();
    let site = Site::new(&[("ep.yaml", resource)], &format!("limits: {{ jwks_refresh: 1s }}\n{identity}"));
    let gateway = site.serve();
    let peak = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    // Its caller is known, and may not.
    let is_known = async || {
        let answer = ask(gateway.data, score("my-ep", &token(&mint, &provider.issuer))).await.unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (403, "AuthorizationFailed"));
    };
    is_known().await;
    let before = peak();
    for sized in [true, false] {
        provider.behaves(Some((Keys, Manner::Endless(LONG, sized))));
        let asked = provider.asked(Keys);
        until("it was asked", async || provider.asked(Keys) >= asked + 3).await;
    }
    let grown = peak() - before;
    println!("{before} KiB at most, {grown} KiB more with six documents of {} MB", LONG >> 20);
    assert!(grown < 8 * 1024, "{grown} KiB");
    assert!(provider.taken() < BUFFERED, "{} bytes", provider.taken());
    is_known().await;
}

/// A token of a key that nobody has.
fn of_unknown_key(issuer: &str, kid: &str) -> String {
    let head = json!({ "typ": "JWT", "alg": "RS256", "kid": kid });
    format!("{}.{}", mint::message(&head, &claims(issuer)), base64url([0x5a; 256]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_unknown_keys_costs_one_fetch_and_no_good_client() {
    let (blue, mint) = (Instance::named("blue").await, Arc::new(Mint::new(TENANT)));
    let provider = Provider::start(vec![mint.jwk(KID)]).await;
    let cool_down = Duration::from_secs(4);
    let stand = stand(&blue, &[&provider], "{ jwks_cool_down: 4s }").await;
    // First of an issuer that answers, then of one that does not.
    for (what, manner) in [("answering", None), ("silent", Some((Keys, Manner::Silent)))] {
        provider.behaves(manner);
        let (issuer, signing) = (provider.issuer.clone(), mint.clone());
        let good = Good::start(&stand, "aad-ep", move || token(&signing, &issuer));
        let (asked, begun) = (provider.asked(Keys), Instant::now());
        let floods: Vec<JoinHandle<(usize, usize)>> = (0..8)
            .map(|flood| {
                let (issuer, address) = (provider.issuer.clone(), stand.gateway.data);
                tokio::spawn(async move {
                    let (mut raw, mut refused, mut count) = (Raw::connect(address).await, 0, 0);
                    while count < 2_000 && begun.elapsed() < Duration::from_secs(3) {
                        raw.say(score("aad-ep", &of_unknown_key(&issuer, &format!("{flood}-{count}")))).await;
                        count += 1;
                        // Beyond a hundred failures an address is told so.
                        let status = raw.hear().await.unwrap().status;
                        refused += usize::from(status == 401 || status == 429);
                    }
                    (count, refused)
                })
            })
            .collect();
        let mut flooded = 0;
        for flood in floods {
            let (count, refused) = flood.await.unwrap();
            assert_eq!(count, refused, "{what}: something else than a refusal");
            flooded += count;
        }
        let (count, failed) = good.ends().await;
        let fetches = provider.asked(Keys) - asked;
        println!(
            "{what} issuer: {flooded} unknown keys, {fetches} fetch, {count} good requests, {} failed",
            failed.len()
        );
        assert!(fetches <= 1, "{what}: {fetches} fetches");
        assert!(failed.len() * 100 <= count, "{what}: {failed:?} of {count}");
        let rest = cool_down.saturating_sub(begun.elapsed());
        tokio::time::sleep(rest).await;
    }
    let suppressed = format!(
        "scoregate_security_jwks_refresh_suppressed{{issuer=\"{}\",reason=\"cool_down\"}}",
        provider.issuer
    );
    assert!(stand.metric(&suppressed).await > 0.0);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_an_unknown_key_waits_two_seconds_for_a_slow_issuer() {
    let (blue, mint) = (Instance::named("blue").await, Mint::new(TENANT));
    let provider = Provider::start(vec![mint.jwk(KID)]).await;
    let stand = stand(&blue, &[&provider], "{ failed_authentications: 1000000 }").await;
    provider.behaves(Some((Keys, Manner::Silent)));
    let begun = Instant::now();
    let asked: Vec<JoinHandle<Answer>> = (0..20)
        .map(|n| {
            let message = score("aad-ep", &of_unknown_key(&provider.issuer, &format!("{}", n % 4)));
            let address = stand.gateway.data;
            tokio::spawn(async move { ask(address, message).await.unwrap() })
        })
        .collect();
    for asked in asked {
        assert_eq!(asked.await.unwrap().status, 401);
    }
    let waited = begun.elapsed();
    // Together, not one after the other.
    assert!(waited >= Duration::from_millis(1900) && waited < Duration::from_secs(4), "{waited:?}");
    assert_eq!(blue.count(), 0);
    stand.stop().await;
}
