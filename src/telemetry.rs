//! What the gateway says about itself: metrics, one record for each request, the log.
//!
//! Nothing secret gets here: no body, no credential, no header but those named in [`record::Record`].

pub mod access_log;
pub mod health;
pub mod logging;
pub mod metrics;
pub mod recent;
pub mod record;
