//! What a scoring request costs, step by step and as a whole: `cargo bench`. Quote ratios, not times.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a bench may fail"
)]

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use scoregate::app::Gateway;
use scoregate::clock::{Clock, SystemClock};
use scoregate::dev::issuer::{DevPrincipal, Issuer as DevIssuer, IssuerConfig, TokenVersion};
use scoregate::identity::endpoint_key::{self, KeyDigests};
use scoregate::identity::issuer::{Issuer, Plane};
use scoregate::identity::jwks::{self, Wanted};
use scoregate::identity::token::{TokenTimes, TokenVerifier};
use scoregate::identity::vault::Vault;
use scoregate::model::role::{PrincipalId, PrincipalType, RoleAssignment};
use scoregate::model::scope::Scope;
use scoregate::rbac::{Action, Policy, PolicyInput, Principals, SCORE, builtin};
use scoregate::routing::{Split, Turns};
use scoregate::settings::Settings;
use uuid::Uuid;

const DAY: Duration = Duration::from_hours(24);

fn endpoint(number: u32) -> Scope {
    format!("/subscriptions/s/resourceGroups/rg{}/providers/Microsoft.MachineLearningServices/workspaces/ws/onlineEndpoints/ep{number}", number % 100)
        .parse()
        .unwrap()
}

/// The decision with 1, 1 000 and 100 000 assignments on as many endpoints (at most 10 000).
fn decision(c: &mut Criterion) {
    let mut group = c.benchmark_group("decision");
    for count in [1_u32, 1_000, 100_000] {
        let assignments: Vec<RoleAssignment> = (0..count)
            .map(|n| RoleAssignment {
                id: Uuid::from_u128(n.into()),
                scope: endpoint(n % 10_000),
                role: builtin::DATA_SCIENTIST,
                principal: PrincipalId(Uuid::from_u128(u128::from(n % 50_000) + 1)),
                principal_type: PrincipalType::ServicePrincipal,
                condition: None,
                description: String::new(),
            })
            .collect();
        let policy = Policy::compile(&PolicyInput {
            assignments: assignments.iter().collect(),
            ..PolicyInput::default()
        })
        .unwrap();
        let (place, action) = (policy.place(&endpoint(0)), policy.prepare(Action::control(SCORE)));
        let who = Principals { id: PrincipalId(Uuid::from_u128(1)), groups: &[] };
        let nobody = Principals { id: PrincipalId(Uuid::max()), groups: &[] };
        group.bench_function(BenchmarkId::new("allowed", count), |b| {
            b.iter(|| policy.decide(black_box(who), &action, &place).is_allowed());
        });
        group.bench_function(BenchmarkId::new("refused", count), |b| {
            b.iter(|| policy.decide(black_box(nobody), &action, &place).is_allowed());
        });
    }
}

fn dev_issuer() -> DevIssuer {
    let caller = DevPrincipal {
        name: "caller".into(),
        client_id: Uuid::from_u128(1),
        object_id: Uuid::from_u128(2),
        client_secret: "x".into(),
        groups: (0..3).map(Uuid::from_u128).collect(),
    };
    let config = IssuerConfig {
        tenant: Uuid::from_u128(7),
        base_url: "https://127.0.0.1:1".into(),
        principals: vec![caller],
        applications: Vec::new(),
        managed: None,
        lifetime: Duration::from_hours(1),
    };
    DevIssuer::new(config, || SystemClock.unix()).unwrap()
}

fn settings(text: &str) -> Settings {
    Settings::parse("bench.yaml", text, Path::new("/"), std::iter::empty()).unwrap()
}

/// A token judged for the first time, and one that passed before.
fn token(c: &mut Criterion) {
    let issuer = dev_issuer();
    let identity = settings("data_plane: { listen: '127.0.0.1:0' }\nidentity: { entra: [ { authority: 'https://127.0.0.1:1', tenants: [ 00000000-0000-0000-0000-000000000007 ] } ] }").identity;
    let issuers = Issuer::all(&identity);
    for known in &issuers {
        let wanted = Wanted { issuer: &known.name, tenant: &known.tenant(), cloud: None };
        let mut document = issuer.jwks();
        document["keys"][0].as_object_mut().unwrap().remove("issuer");
        known.keys.install(
            jwks::parse(document.to_string().as_bytes(), wanted).unwrap(),
            SystemClock.unix(),
            DAY,
        );
    }
    let times = TokenTimes { clock_skew: Duration::from_mins(1), max_lifetime: DAY, cool_down: DAY };
    let verifier = |memory| TokenVerifier::new(&issuers, Plane::Data, Arc::new(SystemClock), times, memory);
    let token = issuer.token("caller", "https://ml.azure.com", TokenVersion::V1).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let warm = verifier(32 << 20);
    let mut group = c.benchmark_group("token");
    group.bench_function("cached", |b| b.iter(|| runtime.block_on(warm.caller(black_box(&token))).unwrap()));
    group.bench_function("cold", |b| {
        b.iter_batched(
            || verifier(64 << 10),
            |cold| runtime.block_on(cold.caller(black_box(&token))).unwrap(),
            criterion::BatchSize::SmallInput,
        );
    });
}

fn key(c: &mut Criterion) {
    let vault = Vault::ephemeral().unwrap();
    let scope = endpoint(1);
    let keys = endpoint_key::generate_pair(&vault, &scope).unwrap();
    let secondary = endpoint_key::reveal(&vault, &scope, "secondary", &keys.secondary).unwrap();
    let digests = KeyDigests::of(&keys);
    c.bench_function("key check", |b| b.iter(|| digests.check(&vault, black_box(&secondary)).unwrap()));
}

fn split(c: &mut Criterion) {
    let (split, turns) = (Split::new(&[90, 10]), Turns::new(2));
    c.bench_function("split", |b| b.iter(|| split.next(&turns, black_box(1)).unwrap()));
}

/// An instance that answers 200 with 1 KiB to whatever ends in one read.
fn instance() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                stream.set_nodelay(true).unwrap();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1024\r\n\r\n{}", "x".repeat(1024));
                let mut buffer = [0; 16 * 1024];
                while stream.read(&mut buffer).is_ok_and(|count| count > 0) {
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// A whole request over a kept connection: client, gateway with a key, RBAC-free endpoint, instance, and back;
/// beside it the same to the instance itself.
fn request(c: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let (resources, target) = (directory.path().join("resources"), instance());
    std::fs::create_dir(&resources).unwrap();
    let both = format!(
        "name: bench\nauth_mode: key\ntraffic: {{ blue: 100 }}\n---\nname: blue\nendpoint_name: bench\n\
         request_settings: {{ max_concurrent_requests_per_instance: 64 }}\nbackend: {{ urls: [ 'http://{target}' ] }}\n"
    );
    std::fs::write(resources.join("bench.yaml"), both).unwrap();
    let text = "data_plane: { listen: '127.0.0.1:0', single_endpoint: bench, workers: 1 }\ncontrol_plane: { listen: '127.0.0.1:0' }\nadmin: { listen: '127.0.0.1:0' }\n\
                store: memory\nresources: resources\nlogs: { access: false }\n";
    let settings = Settings::parse("bench.yaml", text, directory.path(), std::iter::empty()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let gateway = runtime.block_on(Gateway::start(settings)).unwrap();
    let key = runtime.block_on(async {
        let contents = gateway.store().contents().await.unwrap();
        contents.iter().find_map(|stored| match &stored.resource {
            scoregate::model::resource::Resource::Endpoint(e) => Some(
                endpoint_key::reveal(gateway.vault(), &e.scope().unwrap(), "primary", &e.keys.primary)
                    .unwrap(),
            ),
            _ => None,
        })
    });
    let message = format!(
        "POST /score HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {}\r\nContent-Length: 64\r\n\r\n{}",
        *key.unwrap(),
        "y".repeat(64)
    );
    let mut group = c.benchmark_group("request");
    for (name, address) in [("direct", target), ("gateway", gateway.data)] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        group.bench_function(name, |b| b.iter(|| exchange(&mut stream, message.as_bytes())));
    }
    group.finish();
    runtime.block_on(gateway.stop());
}

fn exchange(stream: &mut TcpStream, message: &[u8]) {
    stream.write_all(message).unwrap();
    let (mut seen, mut buffer) = (Vec::with_capacity(2048), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the connection ended");
        seen.extend_from_slice(&buffer[..count]);
        if seen
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .is_some_and(|end| seen.len() >= end + 4 + 1024)
        {
            assert!(seen.starts_with(b"HTTP/1.1 200"));
            return;
        }
    }
}

criterion_group!(benches, decision, token, key, split, request);
criterion_main!(benches);
