//! What is known of an endpoint's copies, for whoever may read the endpoint. No value of any answer.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

/// An endpoint's copies since its gateway started.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MirrorReportView {
    /// The endpoint.
    pub endpoint: String,
    /// The shadow deployment; none if nothing is mirrored.
    pub deployment: Option<String>,
    /// How many of a hundred requests are copied.
    pub percent: u8,
    /// Copies by what became of them.
    pub copies: BTreeMap<String, u64>,
    /// Copies that were answered, by how the answer compares with the live one.
    pub compared: BTreeMap<String, u64>,
    /// The share of answered copies with the live status, 0 to 1; none if there was nothing to compare.
    pub equal_statuses: Option<f64>,
    /// The share of compared answers that were the same, 0 to 1; none if there was nothing to compare.
    pub equal_answers: Option<f64>,
    /// How long the live instances took for the last copied requests.
    pub live_latency: Option<LatencyView>,
    /// How long the shadow's took for the same requests.
    pub shadow_latency: Option<LatencyView>,
    /// The last differences, the latest first.
    pub differences: Vec<DifferenceView>,
}

/// Milliseconds until an answer began.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct LatencyView {
    /// Half were this quick.
    pub p50: f64,
    /// 95 of a hundred were.
    pub p95: f64,
}

/// A copy that was answered otherwise than the live request.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DifferenceView {
    /// When.
    pub time: String,
    /// The request's id.
    pub request_id: String,
    /// The live instance's status.
    pub live_status: u16,
    /// The shadow's.
    pub shadow_status: u16,
    /// `status`, `number`, `value`, `type`, `length`, `missing` or `added`.
    pub kind: String,
    /// Where the answers differ first, as a JSON pointer.
    pub pointer: Option<String>,
    /// The shadow's number, or length, less the live one's.
    pub by: Option<f64>,
}
