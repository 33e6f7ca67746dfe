//! Following a job to its end: a line that moves on a terminal, a line for each change elsewhere, and what it came to.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::future::Future;
use std::io::Write as _;
use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::shown;
use crate::cli::client::RestError;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::http::HttpError;
use crate::cli::{complain, say};

/// Pauses between looks at a job.
pub const PAUSES: Pauses = Pauses { first: Duration::from_secs(1), most: Duration::from_secs(5) };
/// Looks in a row that may fail before the following ends; some five minutes.
const MOST_MISSES: u32 = 60;
/// Looks over which the speed is taken.
const SAMPLES: usize = 12;
/// Characters of the bar.
const BAR: u64 = 16;
/// Failures that the summary tells.
const TOLD: usize = 10;
/// What a shell takes for a command that was ended by Ctrl-C (128 + SIGINT).
const INTERRUPTED: u8 = 130;

/// Pauses between looks, which grow from the first to the longest.
#[derive(Debug, Clone, Copy)]
pub struct Pauses {
    first: Duration,
    most: Duration,
}

impl Pauses {
    fn after(self, pause: Duration) -> Duration {
        (pause * 3 / 2).min(self.most)
    }
}

/// Ctrl-C.
pub async fn interrupted() {
    // Where it cannot be heard of it ends the command anyway.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Follows a job, whose path is given, until it ends or until `interrupted`, which leaves it running.
pub async fn follow(
    context: &Context,
    path: &str,
    pauses: Pauses,
    interrupted: impl Future<Output = ()>,
) -> Result<ExitCode, Failure> {
    let mut interrupted = pin!(interrupted);
    let mut view = shown::job(&context.client.get(path).await?)?;
    let mut telling = Telling::new(context);
    let mut pause = pauses.first;
    loop {
        telling.tell(&view);
        if is_final(&view) {
            break;
        }
        let next = async {
            tokio::time::sleep(pause).await;
            look(context, path, pauses).await
        };
        view = tokio::select! {
            next = next => shown::job(&next?)?,
            () = &mut interrupted => {
                telling.end();
                let name = text(&view, "/name");
                // Those who want errors only want to know too that what they started has not ended.
                complain(&format!(
                    "job {name} goes on; `scoregate job stream -n {name}` follows it again, `scoregate job cancel -n {name}` stops it"
                ));
                return Ok(ExitCode::from(INTERRUPTED));
            }
        };
        pause = pauses.after(pause);
    }
    telling.end();
    if context.printer.in_words() {
        say(&summary(&view));
    } else {
        context.printer.print(&view, &[])?;
    }
    Ok(if text(&view, "/status") == "Completed" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Looks at the job, again and again while the server cannot be asked.
async fn look(context: &Context, path: &str, pauses: Pauses) -> Result<Value, Failure> {
    let (mut misses, mut pause) = (0, pauses.first);
    loop {
        let error = match context.client.get(path).await {
            Ok(view) => return Ok(view),
            Err(error) => error,
        };
        misses += 1;
        if !passes(&error) || misses >= MOST_MISSES {
            return Err(error.into());
        }
        if misses == 1 {
            context.note(&format!("the job cannot be looked at just now: {error}\ntrying again"));
        }
        tokio::time::sleep(pause).await;
        pause = pauses.after(pause);
    }
}

/// Whether another try may do better.
fn passes(error: &RestError) -> bool {
    match error {
        RestError::Http(HttpError::Unreachable { .. }) => true,
        _ => error.status().is_some_and(|status| status == 429 || status >= 500),
    }
}

fn text<'a>(view: &'a Value, pointer: &str) -> &'a str {
    view.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn count(view: &Value, name: &str) -> u64 {
    view.get("counts").and_then(|counts| counts.get(name)?.as_u64()).unwrap_or(0)
}

fn is_final(view: &Value) -> bool {
    matches!(text(view, "/status"), "Completed" | "Failed" | "Canceled")
}

/// Tells how far the job is.
struct Telling<'a> {
    context: &'a Context,
    live: bool,
    told: String,
    speed: Speed,
    since: Instant,
}

impl Telling<'_> {
    fn new(context: &Context) -> Telling<'_> {
        Telling {
            context,
            live: context.is_watched(),
            told: String::new(),
            speed: Speed::default(),
            since: Instant::now(),
        }
    }

    fn tell(&mut self, view: &Value) {
        let rows = self.speed.seen(self.since.elapsed().as_secs_f64(), count(view, "rows"));
        if self.live {
            let speed = rows.filter(|_| !is_final(view)).map(|rows| format!(", {rows:.1} rows/s"));
            let line = format!("{} {}{}", bar(view), progress(view, "/", ""), speed.unwrap_or_default());
            // The rest of a longer line before is wiped out. A closed terminal is no reason to stop.
            let mut out = std::io::stderr();
            let _ = write!(out, "\r{line}\u{1b}[K").and_then(|()| out.flush());
            self.told = line;
            return;
        }
        let line = progress(view, " of ", " mini-batches");
        if line != self.told {
            self.context.note(&line);
            self.told = line;
        }
    }

    /// Leaves the line that moves.
    fn end(&self) {
        if self.live {
            complain("");
        }
    }
}

/// Rows a second over the last looks.
#[derive(Debug, Default)]
struct Speed(VecDeque<(f64, u64)>);

impl Speed {
    /// The speed after a look at this second, which saw so many rows.
    fn seen(&mut self, second: f64, rows: u64) -> Option<f64> {
        if self.0.len() >= SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back((second, rows));
        let (first, before) = self.0.front()?;
        let (time, more) = (second - first, rows.saturating_sub(*before));
        let more = f64::from(u32::try_from(more).unwrap_or(u32::MAX));
        (time > 0.0).then(|| more / time)
    }
}

fn bar(view: &Value) -> String {
    let (done, all) = (count(view, "done"), count(view, "mini_batches").max(1));
    let full = (done.min(all) * BAR).checked_div(all).unwrap_or(0);
    (0..BAR).fold(String::new(), |bar, at| bar + if at < full { "█" } else { "░" })
}

/// How far a job is, in one line; a short one does not say what is counted.
fn progress(view: &Value, of: &str, what: &str) -> String {
    let mut line = text(view, "/status").to_owned();
    let all = count(view, "mini_batches");
    if all > 0 {
        let _ = write!(line, ": {}{of}{all}{what}", count(view, "done"));
        for (name, word) in [("rows", "rows"), ("failures", "failures")] {
            let number = count(view, name);
            if number > 0 || name == "rows" {
                let _ = write!(line, ", {number} {word}");
            }
        }
    }
    line
}

/// What a job came to.
fn summary(view: &Value) -> String {
    let mut lines = vec![format!("job {} {}{}", text(view, "/name"), text(view, "/status"), duration(view))];
    let counts = ["files", "rows", "failures", "retries"];
    let counts: Vec<String> = counts.iter().map(|name| format!("{} {name}", count(view, name))).collect();
    lines.push(format!(
        "  {} of {} mini-batches, {}",
        count(view, "done"),
        count(view, "mini_batches"),
        counts.join(", ")
    ));
    for (name, output) in view.get("outputs").and_then(Value::as_object).into_iter().flatten() {
        if text(view, "/status") == "Completed" {
            lines.push(format!("  {name}: {}", text(output, "/path")));
        }
    }
    let manifest = text(view, "/summary/manifest");
    if !manifest.is_empty() {
        lines.push(format!("  manifest: {manifest}"));
    }
    // A message may quote what stands in the data.
    let plain = |text: &str| text.replace(char::is_control, " ");
    let told =
        |failure: &Value| plain(&format!("({}) {}", text(failure, "/code"), text(failure, "/message")));
    if let Some(failure) = view.get("failure").filter(|failure| failure.is_object()) {
        lines.push(format!("  why: {}", told(failure)));
    }
    let failures = view.get("failures").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    lines.extend(failures.iter().take(TOLD).map(|failure| format!("  - {}", told(failure))));
    if failures.len() > TOLD {
        let name = text(view, "/name");
        lines.push(format!(
            "  - {} more: scoregate job show -n {name} --query failures",
            failures.len() - TOLD
        ));
    }
    lines.join("\n")
}

fn duration(view: &Value) -> String {
    let time = |name: &str| text(view, name).parse::<jiff::Timestamp>().ok();
    let (Some(started), Some(ended)) = (time("/started"), time("/ended")) else { return String::new() };
    format!(" in {} s", ended.duration_since(started).as_secs())
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::super::shown::example;
    use super::*;
    use crate::cli::fake::{Fake, Got, said};

    const QUICK: Pauses = Pauses { first: Duration::from_millis(1), most: Duration::from_millis(2) };

    /// A server that gives these answers one after the other, and the last for ever.
    fn answers(answers: Vec<(u16, Value)>) -> Fake {
        let next = Arc::new(AtomicUsize::new(0));
        Fake::new(move |_: &Got| {
            let at = next.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
            said(answers[at].0, answers[at].1.clone())
        })
    }

    fn code(code: ExitCode) -> String {
        format!("{code:?}")
    }

    #[tokio::test]
    async fn a_job_is_followed_to_its_end_which_decides_the_exit_code() {
        for (end, expected) in
            [("Completed", ExitCode::SUCCESS), ("Failed", ExitCode::FAILURE), ("Canceled", ExitCode::FAILURE)]
        {
            let fake = answers(vec![
                (200, example("NotStarted", 0)),
                (200, example("Running", 12)),
                (503, json!({"error": {"code": "StoreUnavailable", "message": "m"}})),
                (429, json!({"error": {"code": "TooManyRequests", "message": "m"}})),
                (200, example("Finalizing", 40)),
                (200, example(end, 40)),
            ]);
            let done = follow(&fake.context(), "/x/jobs/j1", QUICK, pending()).await.unwrap();
            assert_eq!(code(done), code(expected), "{end}");
            let got = fake.got();
            assert_eq!(got.len(), 6);
            assert!(got.iter().all(|got| got.method == "GET" && got.path.starts_with("/x/jobs/j1?")));
        }
    }

    #[tokio::test]
    async fn an_interruption_leaves_the_job_running() {
        let fake = answers(vec![(200, example("Running", 1))]);
        let done = follow(&fake.context(), "/x/jobs/j1", PAUSES, ready(())).await.unwrap();
        assert_eq!(code(done), code(ExitCode::from(130)));
        assert!(fake.got().iter().all(|got| got.method == "GET"), "nothing is stopped");
    }

    #[tokio::test]
    async fn what_does_not_pass_ends_the_following() {
        let gone = (404, json!({"error": {"code": "ResourceNotFound", "message": "no"}}));
        let fake = answers(vec![gone.clone()]);
        let error = follow(&fake.context(), "/x", QUICK, pending()).await.unwrap_err();
        assert!(matches!(error, Failure::NotFound(_)), "{error}");
        let fake = answers(vec![(200, example("Running", 1)), gone]);
        let error = follow(&fake.context(), "/x", QUICK, pending()).await.unwrap_err();
        assert!(matches!(error, Failure::NotFound(_)), "{error}");
        let down = (503, json!({"error": {"code": "StoreUnavailable", "message": "down"}}));
        let fake = answers(vec![(200, example("Running", 1)), down]);
        let error = follow(&fake.context(), "/x", QUICK, pending()).await.unwrap_err();
        assert!(error.to_string().contains("StoreUnavailable"), "{error}");
        assert_eq!(fake.got().len(), 1 + MOST_MISSES as usize);
    }

    #[test]
    fn pauses_grow_to_the_longest() {
        let seconds = std::iter::successors(Some(PAUSES.first), |pause| Some(PAUSES.after(*pause)));
        let seconds: Vec<f64> = seconds.take(7).map(|pause| pause.as_secs_f64()).collect();
        assert_eq!(seconds, [1.0, 1.5, 2.25, 3.375, 5.0, 5.0, 5.0]);
    }

    #[test]
    fn how_far_a_job_is_stands_in_a_line() {
        let view = shown::job(&example("Running", 12)).unwrap();
        let long = progress(&view, " of ", " mini-batches");
        assert_eq!(long, "Running: 12 of 40 mini-batches, 1200 rows, 3 failures");
        assert_eq!(progress(&view, "/", ""), "Running: 12/40, 1200 rows, 3 failures");
        assert_eq!(bar(&view), "████░░░░░░░░░░░░");
        let early = json!({"status": "Preparing", "counts": {}});
        assert_eq!((progress(&early, "/", ""), bar(&early)), ("Preparing".to_owned(), "░".repeat(16)));
        let mut speed = Speed::default();
        assert_eq!(speed.seen(0.0, 0), None);
        assert_eq!(speed.seen(2.0, 100), Some(50.0));
        for second in 3..=30_u32 {
            speed.seen(f64::from(second), 100);
        }
        assert_eq!(speed.seen(31.0, 210), Some(10.0), "what was long ago does not count");
    }

    #[test]
    fn what_a_job_came_to_is_told_whole() {
        let mut view = example("Failed", 12);
        view["properties"]["scoregate"]["ended"] = json!("2026-01-01T10:01:11Z");
        view["properties"]["scoregate"]["failure"] = json!({"code": "TooManyFailures", "message": "3 of 2"});
        let expected = "\
job j1 Failed in 70 s
  12 of 40 mini-batches, 400 files, 1200 rows, 3 failures, 2 retries
  why: (TooManyFailures) 3 of 2
  - (NotThatFormat) a.csv line 3: ragged";
        assert_eq!(summary(&shown::job(&view).unwrap()), expected);
        let mut view = example("Completed", 40);
        view["properties"]["scoregate"]["summary"] = json!({"manifest": "azureml://m"});
        let failures: Vec<Value> = (0..12).map(|_| json!({"code": "C", "message": "m"})).collect();
        view["properties"]["scoregate"]["failures"] = json!(failures);
        let told = summary(&shown::job(&view).unwrap());
        for words in [
            "  score: azureml://datastores/d/paths/out/p.csv\n",
            "manifest: azureml://m",
            "- 2 more: scoregate job show",
        ] {
            assert!(told.contains(words), "{words} is not in {told}");
        }
    }
}
