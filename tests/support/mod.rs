//! What black-box tests share: a gateway in this process on free ports, an issuer beside it, instances that keep
//! what reached them, and sockets that say exactly what they are told to say.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod batch;
pub mod frames;
pub mod instance;
pub mod mint;
pub mod pki;
pub mod played;
pub mod postgres;
pub mod provider;
pub mod raw;
pub mod rest;
pub mod site;
pub mod stand;
pub mod steady;
pub mod weak;

pub use instance::Instance;
pub use raw::Raw;
pub use stand::{Plan, Stand};

use std::time::Duration;

/// The longest that a test waits for something that should happen at once.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something to become true.
pub async fn until(what: &str, check: impl AsyncFnMut() -> bool) {
    until_within(PATIENCE, what, check).await;
}

/// The same of what may take its time.
pub async fn until_within(patience: Duration, what: &str, mut check: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(patience, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// The SHA-256 of these bytes, in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
