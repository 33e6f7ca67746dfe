//! `scoregate online-endpoint mirror-report`: how a shadow deployment does beside the live ones.

use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::output::lay_out;
use super::say;

/// Words under the command's help.
pub const EXAMPLES: &str = "Examples:
  scoregate online-endpoint mirror-report -n my-endp1 -o table
  scoregate online-endpoint mirror-report -n my-endp1 --query equalAnswers -o tsv

Counts are of one gateway since it started, times in milliseconds. Answers are never shown: a difference is a request id,
the JSON pointer where the answers differ first, and by how much if both have a number there.";

/// Prints the report of an endpoint.
pub async fn report(context: &Context, endpoint: &str) -> Result<(), Failure> {
    let found = context.client.get(&format!("{endpoint}/mirrorReport")).await?;
    if context.printer.is_table() {
        say(&tables(&found));
        return Ok(());
    }
    context.printer.print(&found, &[])
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn percent(share: &Value) -> String {
    share.as_f64().map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

/// The report for people: what became of copies, how both did, what to look into.
fn tables(report: &Value) -> String {
    let at = |pointer: &str| report.pointer(pointer).unwrap_or(&Value::Null);
    let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<String>>();
    if at("/deployment").is_null() {
        return format!("nothing of {} is mirrored", text(at("/endpoint")));
    }
    let mut counts = vec![row(&["Copies", "Count"])];
    for group in ["/copies", "/compared"] {
        let fields = at(group).as_object().into_iter().flatten();
        // What happened always stands there, what went wrong if it did.
        let shown =
            fields.filter(|(name, count)| **name == "sent" || **name == "same" || **count != json!(0));
        counts.extend(shown.map(|(name, count)| row(&[&name.replace('_', " "), &text(count)])));
    }
    let both = |what: &str, of: &str| {
        row(&[what, &text(at(&format!("/liveLatency/{of}"))), &text(at(&format!("/shadowLatency/{of}")))])
    };
    let times = vec![row(&["Latency ms", "Live", "Shadow"]), both("p50", "p50"), both("p95", "p95")];
    let mut differences = vec![row(&["Time", "Request", "Live", "Shadow", "Differs", "By", "Pointer"])];
    for each in at("/differences").as_array().into_iter().flatten() {
        let fields = ["time", "requestId", "liveStatus", "shadowStatus", "kind", "by", "pointer"];
        differences.push(fields.iter().map(|name| text(each.get(*name).unwrap_or(&Value::Null))).collect());
    }
    let mut parts = vec![
        format!(
            "{} % of {} is mirrored to {}",
            text(at("/percent")),
            text(at("/endpoint")),
            text(at("/deployment"))
        ),
        lay_out(&counts),
        format!(
            "statuses equal {}, answers equal {}",
            percent(at("/equalStatuses")),
            percent(at("/equalAnswers"))
        ),
        lay_out(&times),
    ];
    if differences.len() > 1 {
        parts.push(lay_out(&differences));
    }
    parts.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_well() {
        let report = json!({
            "endpoint": "my-ep", "deployment": "green", "percent": 10,
            "copies": {"sent": 20, "failed": 0, "dropped_body": 2}, "compared": {"same": 18, "answer": 2, "status": 0},
            "equalStatuses": 1.0, "equalAnswers": 0.9,
            "liveLatency": {"p50": 1.5, "p95": 9.0}, "shadowLatency": {"p50": 2.25, "p95": 12.0},
            "differences": [{"time": "2026-01-01T00:00:00Z", "requestId": "r", "liveStatus": 200, "shadowStatus": 200,
                "kind": "number", "pointer": "/p/0", "by": 0.25}],
        });
        let expected = "\
10 % of my-ep is mirrored to green

Copies        Count
------------  -------
dropped body  2
sent          20
answer        2
same          18

statuses equal 100.0 %, answers equal 90.0 %

Latency ms    Live    Shadow
------------  ------  --------
p50           1.5     2.25
p95           9.0     12.0

Time                  Request    Live    Shadow    Differs    By    Pointer
--------------------  ---------  ------  --------  ---------  ----  ---------
2026-01-01T00:00:00Z  r          200     200       number     0.25  /p/0";
        assert_eq!(tables(&report), expected);
    }

    #[test]
    fn a_report_of_nothing_says_so() {
        assert_eq!(tables(&json!({"endpoint": "my-ep", "deployment": null})), "nothing of my-ep is mirrored");
        let quiet = json!({"endpoint": "e", "deployment": "green", "percent": 1, "copies": {"sent": 0}, "differences": []});
        assert!(tables(&quiet).contains("statuses equal -, answers equal -"));
    }
}
