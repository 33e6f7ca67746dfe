//! What is known of an endpoint's copies.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Granted, Operations, Refusal};
use crate::arm::mirror::{DifferenceView, LatencyView, MirrorReportView};
use crate::clock::rfc3339;
use crate::mirror::{Noted, Quantiles, Report};
use crate::model::endpoint::EndpointSpec;

/// A share, if there is something to have one of.
#[expect(clippy::cast_precision_loss, reason = "nobody counts that far")]
fn share(part: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| part as f64 / all as f64)
}

fn latency(Quantiles { p50, p95 }: Quantiles) -> LatencyView {
    let millis = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
    LatencyView { p50: millis(p50), p95: millis(p95) }
}

fn difference(noted: Noted) -> DifferenceView {
    let (live_status, shadow_status) = noted.statuses;
    DifferenceView {
        time: rfc3339(noted.time),
        request_id: noted.request_id,
        live_status,
        shadow_status,
        kind: noted.difference.as_ref().map_or("status", |found| found.kind.label()).to_owned(),
        by: noted.difference.as_ref().and_then(|found| found.kind.by()),
        pointer: noted.difference.map(|found| found.pointer),
    }
}

fn named(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn view(endpoint: String, deployment: String, percent: u8, report: Report) -> MirrorReportView {
    let of = |result| Report::count(&report.compared, result);
    let (same, answer, other) = (of("same"), of("answer"), of("not_compared"));
    let equal = same + answer + other;
    let (live, shadow) = report.times.unzip();
    MirrorReportView {
        endpoint,
        deployment: Some(deployment),
        percent,
        copies: named(&report.outcomes),
        compared: named(&report.compared),
        equal_statuses: share(equal, equal + of("status")),
        equal_answers: share(same, same + answer),
        live_latency: live.map(latency),
        shadow_latency: shadow.map(latency),
        differences: report.noted.into_iter().map(difference).collect(),
    }
}

impl Operations {
    /// What is known of the copies of an endpoint's requests, by this gateway since it started.
    pub fn mirror_report(&self, granted: &Granted, spec: &EndpointSpec) -> Result<MirrorReportView, Refusal> {
        let snapshot = self.snapshot()?;
        let endpoint = spec.name.to_string();
        let route = snapshot.endpoints.get(spec.name.key()).filter(|route| route.scope == granted.scope);
        Ok(match route.and_then(|route| route.copies.as_ref()) {
            Some(copies) => {
                let shadow = copies.shadow.name.to_str().unwrap_or(&copies.shadow.key).to_owned();
                view(endpoint, shadow, copies.percent, copies.tally.report())
            }
            None => MirrorReportView { endpoint, ..MirrorReportView::default() },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_what_was_compared() {
        let report = |compared: &[(&'static str, u64)]| {
            let compared = compared.to_vec();
            let report = Report { outcomes: vec![("sent", 9)], compared, times: None, noted: Vec::new() };
            let view = view("ep".to_owned(), "green".to_owned(), 10, report);
            (view.equal_statuses, view.equal_answers)
        };
        assert_eq!(report(&[]), (None, None));
        let all = [("same", 6), ("answer", 2), ("status", 2), ("not_compared", 10), ("no_live", 100)];
        assert_eq!(report(&all), (Some(0.9), Some(0.75)));
        assert_eq!(report(&[("no_live", 3)]), (None, None));
        assert_eq!(report(&[("status", 3)]), (Some(0.0), None));
    }
}
