//! An HTTP/2 instance that says of a request that it did not process it: the request is sent once more, whole.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::support::frames::*;
use crate::support::played::{Link, play};
use crate::support::raw::{Answer, Raw};
use crate::support::{Plan, Stand, until};

/// What the instance does with one request.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Answer,
    /// RST_STREAM with this code as soon as the head is there.
    ResetHead(u32),
    /// The same once the body is there.
    Reset(u32),
    /// GOAWAY that names the stream before this one as the last, and nothing more.
    LeaveWithout,
    /// GOAWAY that names this stream as the last, and the end of the connection.
    LeaveWith,
}
use Deed::{Answer as Answers, LeaveWith, LeaveWithout, Reset, ResetHead};

/// What the instance saw of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Saw {
    body: Vec<u8>,
    ended: bool,
}

/// An instance with its deeds, one for each request, and answers after those; and what it saw.
struct Fickle {
    url: String,
    saw: Arc<Mutex<Vec<Saw>>>,
}

impl Fickle {
    async fn new(deeds: &'static [Deed]) -> Fickle {
        let saw = Arc::<Mutex<Vec<Saw>>>::default();
        let told = saw.clone();
        let url = play(move |link| serve(link, deeds, told.clone())).await;
        Fickle { url, saw }
    }

    /// The bodies that it saw, as text; one that did not come to its end has an ellipsis.
    fn bodies(&self) -> Vec<String> {
        let text = |saw: &Saw| {
            let body = String::from_utf8_lossy(&saw.body).into_owned();
            if saw.ended { body } else { body + "…" }
        };
        self.saw.lock().iter().map(text).collect()
    }
}

async fn serve(mut link: Link, deeds: &'static [Deed], saw: Arc<Mutex<Vec<Saw>>>) {
    link.bytes(PREFACE.len()).await.unwrap();
    link.write(settings(&[])).await;
    // Streams that are under way, and which of all requests each is.
    let mut open = std::collections::BTreeMap::<u32, usize>::new();
    while let Some(head) = link.bytes(9).await {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        let payload = link.bytes(usize::try_from(length).unwrap()).await.unwrap();
        let ended = flags & END_STREAM != 0;
        match kind {
            SETTINGS if flags & ACK == 0 => {
                link.write(frame(SETTINGS, ACK, 0, [])).await;
            }
            PING if flags & ACK == 0 => {
                link.write(frame(PING, ACK, 0, payload)).await;
            }
            HEADERS => {
                let at = {
                    let mut saw = saw.lock();
                    saw.push(Saw { body: Vec::new(), ended });
                    saw.len() - 1
                };
                if let Some(ResetHead(code)) = deeds.get(at) {
                    link.write(reset(stream, *code)).await;
                } else {
                    open.insert(stream, at);
                }
            }
            DATA => {
                if let Some(at) = open.get(&stream) {
                    let mut saw = saw.lock();
                    saw[*at].body.extend(&payload);
                    saw[*at].ended = ended;
                }
            }
            _ => {}
        }
        let Some(at) = open.get(&stream).copied().filter(|_| ended) else { continue };
        let leave = |last: u32| frame(GOAWAY, 0, 0, [last.to_be_bytes(), NO_ERROR.to_be_bytes()].concat());
        match deeds.get(at).unwrap_or(&Answers) {
            Answers => {
                // `:status: 200` of the static table.
                link.write(frame(HEADERS, END_HEADERS, stream, [0x88])).await;
                link.write(frame(DATA, END_STREAM, stream, "fine")).await;
            }
            Reset(code) | ResetHead(code) => {
                link.write(reset(stream, *code)).await;
            }
            LeaveWithout => {
                link.write(leave(stream.saturating_sub(2))).await;
            }
            LeaveWith => {
                link.write(leave(stream)).await;
                return;
            }
        }
    }
}

async fn stand(instance: &Fickle) -> Stand {
    Stand::start(Plan::http2(&instance.url, "").set("limits", "{ replay_body: 16 }")).await
}

fn head(stand: &Stand, method: &str, more: &str) -> String {
    let token = stand.token("scientist");
    format!(
        "{method} /endpoints/my-ep/score HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{more}\r\n\r\n"
    )
}

/// A status, and the gateway's reason for it.
type Told = (u16, Option<&'static str>);
/// What happens, what the instance does, the body, what the client is told, what the instance sees.
type Case = (&'static str, &'static [Deed], &'static str, Told, &'static [&'static str]);

fn told(answer: &Answer) -> (u16, Option<&str>) {
    (answer.status, answer.reason())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_was_not_processed_is_sent_once_more() {
    const BROKEN: Told = (502, Some("connection_broken"));
    const GOOD: Told = (200, None);
    const LONG: &str = "a body of more than sixteen bytes";
    const CASES: &[Case] = &[
        ("nothing is refused", &[], "{}", GOOD, &["{}"]),
        ("refused by its head", &[ResetHead(REFUSED_STREAM)], "{}", GOOD, &["…", "{}"]),
        ("refused with its body", &[Reset(REFUSED_STREAM)], "{\"a\":1}", GOOD, &["{\"a\":1}", "{\"a\":1}"]),
        ("refused without a body", &[Reset(REFUSED_STREAM)], "", GOOD, &["", ""]),
        ("refused twice", &[Reset(REFUSED_STREAM), Reset(REFUSED_STREAM)], "{}", GOOD, &["{}", "{}", "{}"]),
        ("refused three times", &[Reset(REFUSED_STREAM); 3], "{}", BROKEN, &["{}", "{}", "{}"]),
        ("more than is kept, with its body", &[Reset(REFUSED_STREAM)], LONG, BROKEN, &[LONG]),
        ("left without it", &[LeaveWithout], "{}", GOOD, &["{}", "{}"]),
        ("left and refused", &[LeaveWithout, Reset(REFUSED_STREAM)], "{}", GOOD, &["{}", "{}", "{}"]),
        // Anything else may have been processed.
        ("left with it", &[LeaveWith], "{}", BROKEN, &["{}"]),
        ("left with it, without a body", &[LeaveWith], "", BROKEN, &[""]),
        ("cancelled", &[Reset(CANCEL)], "{}", BROKEN, &["{}"]),
        ("an error of its own", &[Reset(2)], "{}", BROKEN, &["{}"]),
        ("calmed", &[Reset(ENHANCE_YOUR_CALM)], "", BROKEN, &[""]),
    ];
    for (case, deeds, body, expected, seen) in CASES {
        let instance = Fickle::new(deeds).await;
        let stand = stand(&instance).await;
        let mut raw = Raw::connect(stand.gateway.data).await;
        let length = format!("Content-Length: {}", body.len());
        raw.say(format!("{}{body}", head(&stand, "POST", &length))).await;
        let answer = raw.hear().await.expect(case);
        assert_eq!(told(&answer), *expected, "{case}");
        assert_eq!(instance.bodies(), *seen, "{case}");
        if *expected == GOOD {
            assert_eq!(answer.body, b"fine", "{case}");
        }
        let retries = stand.counted("scoregate_retries_total").await;
        assert_eq!(retries, u64::try_from(seen.len() - 1).unwrap(), "{case}");
        stand.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_still_coming_goes_on_elsewhere() {
    let instance = Fickle::new(&[ResetHead(REFUSED_STREAM)]).await;
    let stand = stand(&instance).await;
    let mut raw = Raw::connect(stand.gateway.data).await;
    raw.say(format!("{}5\r\nfirst\r\n", head(&stand, "POST", "Transfer-Encoding: chunked"))).await;
    until("it was refused and sent once more", async || instance.bodies() == ["…", "first…"]).await;
    // What passes now is more than is kept, which matters no more.
    raw.say("1c\r\n, and then twenty-eight more\r\n0\r\n\r\n").await;
    let answer = raw.hear().await.unwrap();
    assert_eq!((told(&answer), &answer.body[..]), ((200, None), &b"fine"[..]));
    assert_eq!(instance.bodies(), ["…", "first, and then twenty-eight more"]);
    // A client that breaks off in the middle is not made whole by a refusal.
    raw.say(format!("{}5\r\nfirst\r\n", head(&stand, "POST", "Transfer-Encoding: chunked"))).await;
    until("it is on its way", async || instance.bodies().last().is_some_and(|body| body == "first…")).await;
    drop(raw);
    until("the gateway is idle", async || stand.metric("scoregate_requests_in_flight").await < 0.5).await;
    assert_eq!(instance.bodies().len(), 3);
    assert_eq!(instance.bodies()[2], "first…");
    stand.stop().await;
}
