//! Text of the configuration and of resource files: every mistake has its place, and what is read and written again
//! reads the same.

use std::path::Path;

use scoregate::forms::{Mistake, Reading, parse_all};
use scoregate::model::scope::WorkspaceRef;
use scoregate::model::workspace::Workspace;
use scoregate::resources::Document;
use scoregate::resources::written;
use scoregate::settings::Settings;

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Err(mistakes) = Settings::parse("file", text, Path::new("/base"), std::iter::empty()) {
        are_in_their_place(mistakes.into_vec(), text);
    }
    let Some(documents) = read(text) else { return };
    for mut document in documents {
        let again = match &mut document {
            Document::Endpoint(endpoint) => written::endpoint(endpoint),
            Document::Deployment(deployment) => written::deployment(deployment),
            Document::BatchEndpoint(endpoint) => written::batch_endpoint(endpoint),
            Document::BatchDeployment(deployment) => written::batch_deployment(deployment),
            Document::Datastore(found) => {
                // Never written.
                found.credential = None;
                written::datastore(&found.store)
            }
            Document::Role(_) | Document::Assignment(_) | Document::Denial(_) => continue,
        };
        let again = again.to_string();
        assert_eq!(read(&again).as_deref(), Some(&[document][..]), "{again}");
    }
}

/// What is in a file with nothing wrong in it.
fn read(text: &str) -> Option<Vec<Document>> {
    let nodes = match parse_all("file", text) {
        Ok(nodes) => nodes,
        Err(mistakes) => {
            are_in_their_place(mistakes.into_vec(), text);
            return None;
        }
    };
    let reading = Reading::of("file");
    let workspaces = [workspace()];
    let found = nodes.iter().filter(|node| !node.is_null());
    let documents: Vec<_> =
        found.map(|node| Document::read(&reading, node, Path::new("/base"), &workspaces)).collect();
    let mistakes = reading.finish();
    let sound = mistakes.is_empty();
    are_in_their_place(mistakes, text);
    assert!(!sound || documents.iter().all(Option::is_some), "nothing is read, and nothing is said to be wrong");
    sound.then(|| documents.into_iter().flatten().collect())
}

fn are_in_their_place(mistakes: Vec<Mistake>, text: &str) {
    let lines = text.split(['\n', '\r']).count();
    for mistake in mistakes {
        assert!(mistake.at.is_none_or(|(line, _)| line <= lines + 1), "{mistake:?} of {lines} lines");
        assert!(!mistake.problem.is_empty());
    }
}

fn workspace() -> Workspace {
    let subscription = "00000000-0000-0000-0000-000000000001".to_owned();
    Workspace {
        place: WorkspaceRef { subscription, resource_group: "rg".to_owned(), name: "ws".to_owned() },
        location: "local".to_owned(),
        friendly_name: String::new(),
        description: String::new(),
        tags: [].into(),
    }
}
