//! HTTP/2 frame by frame: what a client may say, what it is told otherwise, and what an instance gets to see of it.

mod bounds;
mod clocks;
mod connection;
mod floods;
mod requests;
mod secure;

use crate::support::frames::{Fields, Wire};
use crate::support::stand::deployment;
use crate::support::{Instance, Plan, Stand};

/// What a client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Got {
    /// An answer.
    Status(u16),
    /// RST_STREAM with this code.
    Reset(u32),
    /// GOAWAY with this code, and the end.
    Leave(u32),
}

/// A stand with an endpoint that takes a key, so that nothing but HTTP/2 is tried.
struct World {
    stand: Stand,
    blue: Instance,
    key: String,
}

impl World {
    async fn start(limits: &str, more: &str) -> World {
        let blue = Instance::named("blue").await;
        let (stand, key) = start(&blue.url, limits, more).await;
        World { stand, blue, key }
    }

    fn score(&self) -> Fields {
        Fields::score(&self.key)
    }

    async fn wire(&self) -> Wire {
        Wire::connect(self.stand.gateway.data).await
    }

    /// What a client gets for a stream.
    async fn got(&self, wire: &mut Wire, stream: u32) -> Got {
        let outcome = wire.hear(stream).await;
        match (outcome.status, outcome.reset) {
            (Some(status), _) => Got::Status(status),
            (None, Some(code)) => Got::Reset(code),
            (None, None) => Got::Leave(*wire.goaway.last().expect("it ended without a word")),
        }
    }

    async fn counted(&self, family: &str, reason: &str) -> f64 {
        self.stand.metric(&format!("scoregate_security_{family}{{reason=\"{reason}\"}}")).await
    }
}

/// Endpoint `my-ep` in key mode with deployment `blue` at this instance, and its key.
async fn start(url: &str, limits: &str, more: &str) -> (Stand, String) {
    let plan = Plan::endpoint("key", &[url]).set("limits", limits);
    let text = deployment("my-ep", "blue", &[url], more);
    let stand = Stand::start(plan.blue(text.replace("512 }", "512, request_timeout_ms: 60000 }"))).await;
    let key = stand.keys("my-ep").await.0;
    (stand, key)
}
