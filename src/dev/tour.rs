//! The tour: what the gateway decides, tried on real requests and told as a table.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::world::{SAMPLE, World};
use crate::identity::fetch::client_config;

/// Requests in a count of the split.
const COUNT: u32 = 200;

struct Tour<'a> {
    world: &'a World,
    client: Client,
    held: Vec<bool>,
}

/// Runs the tour; an error if a line did not hold.
pub(super) async fn run(world: &World) -> anyhow::Result<()> {
    let started = Instant::now();
    let tls = client_config(&world.ca_file)?;
    let client = Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .timeout(Duration::from_secs(10))
        .build()?;
    let mut tour = Tour { world, client, held: Vec::new() };
    line("", "what is tried", "expected", "seen");
    tour.who_may().await?;
    tour.where_it_goes().await?;
    tour.what_changes().await?;
    let failed = tour.held.iter().filter(|held| !**held).count();
    let seconds = started.elapsed().as_secs_f64();
    say(&format!("{} of {} lines held, in {seconds:.1} s", tour.held.len() - failed, tour.held.len()));
    if failed > 0 {
        anyhow::bail!("{failed} lines of the tour did not hold")
    }
    Ok(())
}

impl Tour<'_> {
    async fn who_may(&mut self) -> anyhow::Result<()> {
        let (scientist, outsider) = (self.token("scientist").await?, self.token("outsider").await?);
        self.expect("no token", "my-endp1", None, 401).await?;
        self.expect("a token of nobody's", "my-endp1", Some("e30.e30.e30"), 401).await?;
        self.expect("outsider, who has no role", "my-endp1", Some(&outsider), 403).await?;
        self.expect("scientist, by a role on the resource group", "my-endp1", Some(&scientist), 200).await?;
        self.expect("the same token on another endpoint", "my-endp3", Some(&scientist), 200).await?;
        self.expect("the same token where a key is asked for", "my-endp2", Some(&scientist), 401).await?;
        let key = self.world.key("my-endp2").await?;
        self.expect("the key of that endpoint", "my-endp2", Some(&key), 200).await?;
        self.expect("that key where a token is asked for", "my-endp1", Some(&key), 401).await?;
        self.expect("an endpoint that does not exist", "nowhere", Some(&scientist), 404).await
    }

    async fn where_it_goes(&mut self) -> anyhow::Result<()> {
        let token = self.token("scientist").await?;
        let split = self.split(&token).await?;
        self.check("200 requests at 90/10", "blue 180, green 20; ±1 a worker", &split, near(&split, 180));
        let mut risks = Vec::new();
        for name in ["blue", "green"] {
            let request = self.client.post(self.world.scoring_url("my-endp1")).bearer_auth(&token);
            let answer = request.header("azureml-model-deployment", name).body(SAMPLE).send().await?;
            let body: Value = answer.json().await?;
            let risk = body
                .pointer("/predictions/0/probability")
                .and_then(Value::as_f64)
                .context("no prediction")?;
            let by = body.get("deployment").and_then(Value::as_str).unwrap_or_default();
            risks.push((by == name, risk));
        }
        let seen = risks.iter().map(|(_, risk)| format!("{risk:.3}")).collect::<Vec<_>>().join(" and ");
        let differ = matches!(risks.as_slice(), [(true, blue), (true, green)] if (blue - green).abs() > 1e-6);
        self.check("one patient, blue and green by header", "two answers", &seen, differ);
        Ok(())
    }

    async fn what_changes(&mut self) -> anyhow::Result<()> {
        let token = self.token("scientist").await?;
        let rewrite = |resources: &Path| {
            let file = resources.join("my-endp1.yaml");
            let text = std::fs::read_to_string(&file)?.replace("blue: 90, green: 10", "blue: 50, green: 50");
            std::fs::write(file, text)
        };
        self.world.change(rewrite).await?;
        let split = self.split(&token).await?;
        self.check("my-endp1.yaml edited to 50/50", "blue 100, green 100", &split, near(&split, 100));
        self.world.change(|resources| std::fs::remove_file(resources.join("scientist.yaml"))).await?;
        self.expect("scientist, whose role was taken away", "my-endp1", Some(&token), 403).await
    }

    async fn token(&self, name: &str) -> anyhow::Result<String> {
        #[derive(Deserialize)]
        struct Answer {
            access_token: String,
        }
        let principal = self.world.principal(name)?;
        let form = [
            ("client_id", principal.client_id.to_string()),
            ("client_secret", principal.client_secret.clone()),
            ("grant_type", "client_credentials".to_owned()),
            ("scope", "https://ml.azure.com/.default".to_owned()),
        ];
        let answer =
            self.client.post(self.world.token_endpoint()).form(&form).send().await?.error_for_status()?;
        Ok(answer.json::<Answer>().await?.access_token)
    }

    async fn expect(
        &mut self,
        what: &str,
        endpoint: &str,
        token: Option<&str>,
        status: u16,
    ) -> anyhow::Result<()> {
        let mut request = self.client.post(self.world.scoring_url(endpoint)).body(SAMPLE);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await?;
        let seen = answer.status();
        let body: Value = answer.json().await.unwrap_or_default();
        let code = body.pointer("/error/code").and_then(Value::as_str).unwrap_or_default();
        self.check(what, &status.to_string(), &format!("{} {code}", seen.as_u16()), seen.as_u16() == status);
        Ok(())
    }

    /// Counts which deployments answer.
    async fn split(&self, token: &str) -> anyhow::Result<String> {
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..COUNT {
            let request =
                self.client.post(self.world.scoring_url("my-endp1")).bearer_auth(token).body(SAMPLE);
            let answer = request.send().await?;
            anyhow::ensure!(answer.status() == StatusCode::OK, "a request was answered {}", answer.status());
            let name = answer.headers().get("azureml-model-deployment").and_then(|name| name.to_str().ok());
            *counts.entry(name.unwrap_or("nobody").to_owned()).or_default() += 1;
        }
        Ok(counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", "))
    }

    fn check(&mut self, what: &str, expected: &str, seen: &str, held: bool) {
        self.held.push(held);
        line(if held { "ok" } else { "FAILED" }, what, expected, seen);
    }
}

fn line(held: &str, what: &str, expected: &str, seen: &str) {
    say(&format!("{held:<7} {what:<44} {expected:<21} {seen}"));
}

fn say(text: &str) {
    // A closed pipe is no reason to fail.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Whether blue's count is this one, to within one for each worker.
fn near(split: &str, blue: u32) -> bool {
    let workers = std::thread::available_parallelism()
        .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX));
    let seen = split.strip_prefix("blue ").and_then(|rest| rest.split(',').next()?.parse::<u32>().ok());
    seen.is_some_and(|seen| seen.abs_diff(blue) <= workers)
}
