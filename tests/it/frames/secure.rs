//! HTTP/2 over TLS, and HTTP/1.1 that asks for it.

use super::Got::{self, Leave, Reset, Status};
use super::World;
use crate::support::frames::*;
use crate::support::{Instance, Plan, Raw, Stand};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_the_same_is_so() {
    let directory = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["gateway".to_owned()]).unwrap();
    let (certificate, private) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&private, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&private, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let blue = Instance::named("blue").await;
    let plan =
        Plan::endpoint("key", &[&blue.url]).set("limits", "{ http2_control_frames: 50, header_time: 2s }");
    let tls =
        format!("tls: {{ certificate: {}, private_key: {} }}", certificate.display(), private.display());
    let stand = Stand::start(plan.data_plane(&tls)).await;
    let key = stand.keys("my-ep").await.0;
    let world = World { stand, blue, key };
    let hello = [PREFACE, &settings(USUAL)].concat();
    let with = |name: &str, value: &str| {
        let mut fields = world.score();
        fields.set(":scheme", "https").add(name, value);
        fields
    };
    let good = with("x-a", "a").with(1, "{}");
    let other = with("x-a", "a").set(":authority", "elsewhere").alone(1);
    let cases: Vec<(&str, Vec<u8>, Option<Got>)> = vec![
        ("good", good.clone(), Some(Status(200))),
        ("transfer-encoding", with("transfer-encoding", "chunked").alone(1), Some(Reset(PROTOCOL_ERROR))),
        ("CR LF in a value", with("x-b", "a\r\nx: b").alone(1), Some(Leave(PROTOCOL_ERROR))),
        ("another host than the certificate's", other, Some(Status(421))),
        ("pings", frame(PING, 0, 0, [0; 8]).repeat(60), Some(Leave(ENHANCE_YOUR_CALM))),
        ("a block without its end", good[..40].to_vec(), None),
    ];
    for (case, said, expected) in cases {
        let before = world.blue.count();
        let mut wire = Wire::tls(world.stand.gateway.data, &certificate).await;
        wire.polite = expected.is_some();
        wire.say([&hello[..], &said].concat()).await;
        match expected {
            Some(expected) => assert_eq!(world.got(&mut wire, 1).await, expected, "{case}"),
            None => drop(wire.leave().await),
        }
        assert_eq!(world.blue.count() - before, usize::from(case == "good"), "{case}");
    }
    // Who agreed on HTTP/2 has to speak it, and soon.
    for (case, said) in [("nothing", &b""[..]), ("HTTP/1.1", b"GET / HTTP/1.1\r\nhost: gateway\r\n\r\n")] {
        let mut wire = Wire::tls(world.stand.gateway.data, &certificate).await;
        wire.polite = false;
        wire.say(said).await;
        wire.leave().await;
        assert!(wire.streams.is_empty(), "{case}");
    }
    assert!(world.counted("slow_client", "header").await >= 2.0);
    assert!(world.counted("h2_abuse", "control").await > 0.5);
    world.stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_upgraded_to_http2() {
    let world = World::start("{}", "").await;
    let head = format!(
        "POST /endpoints/my-ep/score HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {}\r\n",
        world.key
    );
    let hello = [PREFACE, &settings(USUAL), &world.score().alone(3)].concat();
    for (number, (fields, label)) in [
        (
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            "h2c",
        ),
        ("Connection: Upgrade\r\nUpgrade: h2c\r\n", "h2c"),
        ("HTTP2-Settings: AAMAAABkAAQAAP__\r\n", "h2c"),
        ("Connection: Upgrade\r\nUpgrade: websocket, H2C\r\n", "h2c"),
        ("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n", "websocket"),
        ("Connection: Upgrade\r\nUpgrade: TLS/1.3\r\n", "other"),
    ]
    .into_iter()
    .enumerate()
    {
        let before = world.counted("upgrade_refused", label).await;
        let mut raw = Raw::connect(world.stand.gateway.data).await;
        raw.say(format!("{head}{fields}Content-Length: 2\r\n\r\n{{}}")).await;
        // What a client that trusts in it would say at once.
        raw.say(&hello).await;
        let answer = raw.hear().await.unwrap();
        assert_eq!(answer.status, 200, "{fields}: {}", answer.head);
        assert!(answer.head.starts_with("HTTP/1.1 ") && answer.field("upgrade").is_none(), "{}", answer.head);
        assert_eq!(raw.hear().await.unwrap().status, 400, "{fields}: the preface is no request");
        assert!(raw.closes().await, "{fields}");
        assert_eq!(world.blue.count(), number + 1, "{fields}");
        let seen = world.blue.seen().pop().unwrap();
        let head = seen.head.to_ascii_lowercase();
        assert!(!head.contains("upgrade") && !head.contains("http2-settings"), "{head}");
        assert!((world.counted("upgrade_refused", label).await - before - 1.0).abs() < 0.5, "{fields}");
    }
    world.stand.stop().await;
}
