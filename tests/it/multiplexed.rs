//! HTTP/2 instances: requests share one connection, and none of them holds up another or gets more than it may.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use crate::support::raw::{Answer, Raw, ask};
use crate::support::{Plan, Stand, until};

/// Clients that take nothing of their answers.
const SLOW: usize = 24;
/// An answer is more than the sockets on its way hold: pieces of this size, so many of them.
const PIECE: usize = 64 * 1024;
const PIECES: usize = 512;

/// What was asked of the instance, and what went out of it.
#[derive(Default)]
struct Count {
    large: AtomicUsize,
    pieces: AtomicUsize,
}

/// An instance that answers `/large` at length, `/fields/N` with N fields of its own, and all else with a few bytes.
async fn instance(count: Arc<Count>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let piece = Bytes::from(vec![b'a'; PIECE]);
        while let Ok((stream, _)) = listener.accept().await {
            let (count, piece) = (count.clone(), piece.clone());
            let answer = service_fn(move |request: Request<Incoming>| {
                let (count, piece) = (count.clone(), piece.clone());
                async move {
                    let (mut response, path) = (Response::builder(), request.uri().path());
                    let (mut pieces, mut body) = (1, Bytes::from_static(b"{}"));
                    if path == "/large" {
                        count.large.fetch_add(1, Ordering::SeqCst);
                        (pieces, body) = (PIECES, piece);
                    }
                    let fields = path.strip_prefix("/fields/").map_or(0, |number| number.parse().unwrap());
                    for number in 0..fields {
                        response = response.header(format!("x-{number}"), "a");
                    }
                    let frames = (0..pieces).map(move |_| {
                        count.pieces.fetch_add(1, Ordering::SeqCst);
                        Ok::<_, Infallible>(Frame::data(body.clone()))
                    });
                    Ok::<_, Infallible>(response.body(StreamBody::new(stream::iter(frames))).unwrap())
                }
            });
            let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(serving.serve_connection(TokioIo::new(stream), answer));
        }
    });
    url
}

async fn stand(url: &str, limits: &str) -> Stand {
    Stand::start(Plan::http2(url, "").set("limits", limits)).await
}

fn head(stand: &Stand, path: &str) -> String {
    let token = stand.token("scientist");
    format!("GET /endpoints/my-ep{path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n")
}

async fn score(stand: &Stand, path: &str) -> Answer {
    ask(stand.gateway.data, head(stand, path)).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_take_nothing_do_not_hold_up_others() {
    let count = Arc::new(Count::default());
    let url = instance(count.clone()).await;
    let stand = stand(&url, "{}").await;
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut raw = Raw::connect(stand.gateway.data).await;
        raw.say(head(&stand, "/large")).await;
        slow.push(raw);
    }
    until("the instance has all of them", async || count.large.load(Ordering::SeqCst) == SLOW).await;
    // Every one of these answers passes, on whichever connection it comes, until nothing goes out of the instance any more.
    let mut before = 0;
    until("the slow ones' answers stand still", async || {
        for _ in 0..8 {
            let answer = score(&stand, "/small").await;
            assert_eq!((answer.status, &answer.body[..]), (200, &b"{}"[..]));
        }
        let out = count.pieces.load(Ordering::SeqCst) - before;
        before += out;
        out == 8
    })
    .await;
    assert!(before < SLOW * PIECES, "the answers were taken");
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fields_of_an_answer_are_bounded() {
    let url = instance(Arc::default()).await;
    let stand = stand(&url, "{ response_header_count: 50, response_header_bytes: 65536 }").await;
    for (fields, expected) in [
        // It says the date as well.
        (49, (200, None)),
        (50, (502, Some("instance_protocol"))),
        (3_000, (502, Some("instance_protocol"))),
        (0, (200, None)),
    ] {
        let answer = score(&stand, &format!("/fields/{fields}")).await;
        assert_eq!((answer.status, answer.reason()), expected, "{fields}");
    }
    stand.stop().await;
}
