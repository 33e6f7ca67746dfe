//! OpenAI's client, unmodified, in its own manner and in Azure's; and which paths lead where.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::played::{Link, play};
use crate::support::raw::ask;
use crate::support::stand::deployment;
use crate::support::{Instance, Plan, Stand};

/// An instance that streams two words to whoever asks for a chat.
async fn chat() -> String {
    play(|mut link: Link| async move {
        while let Some(seen) = link.request().await {
            assert!(seen.line().starts_with("POST /v1/chat/completions"), "{}", seen.head);
            assert!(
                seen.field("authorization").is_none() && seen.field("api-key").is_none(),
                "{}",
                seen.head
            );
            link.write(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
            )
            .await;
            for word in ["Hello", " you"] {
                let chunk = json!({
                    "id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                    "choices": [{ "index": 0, "delta": { "content": word }, "finish_reason": null }],
                });
                let event = format!("data: {chunk}\n\n");
                link.write(format!("{:x}\r\n{event}\r\n", event.len())).await;
            }
            link.write("e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n").await;
        }
    })
    .await
}

fn plan(url: &str, allowed: &str, more: &str) -> Plan {
    Plan::endpoint("aad_token", &[url]).blue(deployment(
        "my-ep",
        "blue",
        &[url],
        &format!("allowed_paths: [ {allowed} ]\n{more}"),
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openais_client_streams_a_chat_in_either_manner() {
    let stand = Stand::start(plan(&chat().await, "openai", "")).await;
    let mut client = Command::new("python3");
    client.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/protocols/run.py")).arg("openai_client.py");
    client.arg(format!("http://{}/endpoints/my-ep", stand.gateway.data)).arg(stand.token("scientist"));
    let output = tokio::task::spawn_blocking(move || client.output().unwrap()).await.unwrap();
    let found: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    for manner in ["openai", "azure"] {
        assert_eq!(found[manner], json!(["Hello", " you"]), "{manner}");
        assert_eq!(found[format!("{manner} files")], "path_not_allowed", "{manner}");
    }
    stand.stop().await;
}

#[tokio::test]
async fn a_path_is_judged_as_it_reaches_the_instance() {
    for (allowed, route, path, reached) in [
        (
            "openai",
            "",
            "/openai/deployments/gpt/embeddings?api-version=1",
            Some("/v1/embeddings?api-version=1"),
        ),
        ("vllm", "", "/openai/deployments/any/chat/completions", Some("/v1/chat/completions")),
        ("openai", "", "/v1/embeddings", Some("/v1/embeddings")),
        ("openai", "", "/openai/deployments/gpt/files", None),
        ("openai", "", "/openai/deployments/embeddings", None),
        ("mlflow", "", "/openai/deployments/gpt/embeddings", None),
        ("/openai/*", "", "/openai/deployments/gpt/embeddings", Some("/openai/deployments/gpt/embeddings")),
        ("mlflow", "/invocations", "/score?a=b", Some("/invocations?a=b")),
        ("mlflow", "", "/score", None),
        ("/score", "", "/score", Some("/score")),
    ] {
        let blue = Instance::named("blue").await;
        let route = match route {
            "" => String::new(),
            route => format!(
                "environment: {{ image: x, inference_config: {{ scoring_route: {{ path: {route}, port: 1 }} }} }}\n"
            ),
        };
        let stand = Stand::start(plan(&blue.url, allowed, &route)).await;
        let head = format!(
            "POST /endpoints/my-ep{path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Length: 0\r\n\r\n",
            stand.token("scientist")
        );
        let answer = ask(stand.gateway.data, head).await.unwrap();
        let expected = if reached.is_some() { (200, None) } else { (404, Some("path_not_allowed")) };
        assert_eq!((answer.status, answer.reason()), expected, "{allowed} {path}");
        let line = reached.map(|path| format!("POST {path} HTTP/1.1"));
        assert_eq!(blue.seen().first().map(|seen| seen.line().to_owned()), line, "{allowed} {path}");
        stand.stop().await;
    }
}
