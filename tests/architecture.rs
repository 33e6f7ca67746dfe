//! The house rules that the compiler does not hold: who may use whom, what is pure, how large a file may be.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Modules by rank; each uses lower ranks only.
const RANKS: &[&[&str]] = &[
    &["model", "clock"],
    &["rbac", "forms"],
    &["settings"],
    &["identity", "store"],
    &["telemetry", "arm"],
    &["mirror"],
    &["net", "upstream", "resources", "artifacts"],
    &["routing"],
    &["gate", "publish", "instances"],
    &["proxy", "operations"],
    &["batch"],
    &["control"],
    &["app"],
    &["dev"],
    &["cli"],
];

/// Modules that decide and therefore wait for nothing, read no clock and open no socket.
const PURE: &[&str] = &["model", "rbac", "forms"];

/// Lines of code that fit in the head; tests are not counted.
const LONGEST: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every source file that is not a test, with its top module and its text up to its tests.
fn files() -> Vec<(PathBuf, String, String)> {
    let mut paths = Vec::new();
    sources(&root(), &mut paths);
    paths.sort();
    let is_test =
        |path: &Path| ["tests.rs", "reference.rs", "conformance.rs"].iter().any(|name| path.ends_with(name));
    paths
        .into_iter()
        .filter(|path| !is_test(path))
        .map(|path| {
            let first = path.strip_prefix(root()).unwrap().components().next().unwrap();
            let module = first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap().to_owned();
            (path, module, code)
        })
        .filter(|(_, module, _)| module != "lib" && module != "main")
        .collect()
}

fn rank(module: &str) -> usize {
    RANKS
        .iter()
        .position(|row| row.contains(&module))
        .unwrap_or_else(|| panic!("`{module}` has no rank in tests/architecture.rs"))
}

/// Top modules named after `crate::` anywhere in the code.
fn used(code: &str) -> BTreeSet<String> {
    let code_only =
        code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let uses = code_only.split("crate::").skip(1);
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    uses.map(word).filter(|module| !module.is_empty()).collect()
}

#[test]
fn modules_use_lower_ranks_only() {
    let mut wrong = Vec::new();
    for (path, module, code) in files() {
        for other in used(&code).iter().filter(|other| **other != module) {
            if rank(other) >= rank(&module) {
                wrong.push(format!("{} uses {other}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "dependencies point one way:\n{}", wrong.join("\n"));
}

#[test]
fn what_decides_is_pure() {
    let mut wrong = Vec::new();
    for (path, module, code) in files().into_iter().filter(|(_, module, _)| PURE.contains(&module.as_str())) {
        for impure in ["async fn", "tokio::", "Instant::now", "std::fs", "std::net::Tcp", "std::env"] {
            if code.contains(impure) {
                wrong.push(format!("{} ({module}) has `{impure}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_fit_in_the_head() {
    let lines = |code: &str| code.lines().filter(|line| !line.trim().is_empty()).count();
    let long: Vec<String> = files()
        .into_iter()
        .map(|(path, _, code)| (lines(&code), path))
        .filter(|(count, _)| *count > LONGEST)
        .map(|(count, path)| format!("{} has {count} lines of code", path.display()))
        .collect();
    assert!(long.is_empty(), "is each still one idea?\n{}", long.join("\n"));
}

#[test]
fn every_module_opens_with_a_word_to_the_newcomer() {
    let silent: Vec<_> =
        files().into_iter().filter(|(_, _, code)| !code.starts_with("//!")).map(|(path, ..)| path).collect();
    assert!(silent.is_empty(), "{silent:?}");
}
