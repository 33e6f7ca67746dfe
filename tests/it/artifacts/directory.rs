//! A directory as a data store: links, pipes and whoever swaps them lead nowhere.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use scoregate::artifacts::{ArtifactError, Packing};
use scoregate::model::batch::RequestFormat;
use scoregate::model::datastore::{Datastore, Place};
use scoregate::model::job::DataKind;
use scoregate::store::jobs::FileRef;

use super::Desk;

/// A store in a directory, and beside it what is nobody's business.
struct Site {
    root: tempfile::TempDir,
    desk: Desk,
    store: Datastore,
}

impl Site {
    fn new() -> Site {
        let root = tempfile::tempdir().unwrap();
        for directory in ["store/data", "secret", "store2"] {
            std::fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        std::fs::write(root.path().join("secret/key.csv"), "secret").unwrap();
        std::fs::write(root.path().join("store2/key.csv"), "secret").unwrap();
        std::fs::write(root.path().join("store/data/a.csv"), "good").unwrap();
        let desk = Desk::new("", "", None);
        let store = desk.store("d", Place::Directory { path: root.path().join("store") }, None);
        Site { root, desk, store }
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.root.path().join(path)
    }

    async fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let uri = format!("azureml://datastores/d/paths/{path}");
        let input = self.desk.input(&uri, Some(&self.store)).map_err(|error| error.to_string())?;
        let file = FileRef { path: path.to_owned(), name: path.to_owned(), size: 0 };
        let how = Packing { format: RequestFormat::Raw, rows_per_request: 1, most: 1000 };
        let request = input.requests(&file, how).next().await.unwrap();
        request.map(|packed| packed.body.to_vec()).map_err(|error| format!("{}: {error}", error.code()))
    }

    async fn list(&self, path: &str) -> Result<Vec<String>, ArtifactError> {
        let uri = format!("azureml://datastores/d/paths/{path}");
        let files = self.desk.input(&uri, Some(&self.store))?.list(DataKind::UriFolder).await?;
        Ok(files.into_iter().map(|file| file.name).collect())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_lead_to_files_of_the_store_and_to_no_others() {
    let site = Site::new();
    symlink("a.csv", site.path("store/data/inside.csv")).unwrap();
    symlink(site.path("store/data"), site.path("store/again")).unwrap();
    assert_eq!(site.read("data/inside.csv").await.unwrap(), b"good");
    assert_eq!(
        site.list("").await.unwrap(),
        ["again/a.csv", "again/inside.csv", "data/a.csv", "data/inside.csv"]
    );
    for (link, target) in [
        ("out.csv", site.path("secret/key.csv")),
        ("up.csv", Path::new("../../secret/key.csv").to_owned()),
        ("neighbour.csv", site.path("store2/key.csv")),
        ("out", site.path("secret")),
        ("everything", Path::new("/").to_owned()),
    ] {
        let at = site.path("store/data").join(link);
        symlink(target, &at).unwrap();
        let error = site.list("data").await.unwrap_err();
        assert!(error.code() == "Outside" && error.to_string().contains(link), "{error}");
        let path = if link.contains('.') { format!("data/{link}") } else { format!("data/{link}/key.csv") };
        let read = site.read(&path).await.unwrap_err();
        assert!(read.starts_with("Outside") || read.starts_with("NotFound"), "{path}: {read}");
        if !link.contains('.') {
            let error = site.list(&format!("data/{link}")).await.unwrap_err();
            assert_eq!(error.code(), "Outside", "{error}");
            let output = site.desk.output(
                &format!("azureml://datastores/d/paths/data/{link}"),
                Some(&site.store),
                "p.csv",
                "j",
            );
            let output = output.unwrap();
            assert_eq!(output.put("x.json", "{}".into()).await.unwrap_err().code(), "Outside");
            assert!(output.clear().await.is_err());
            let part = output.part(0, 1).unwrap().finish().await;
            assert_eq!(part.unwrap_err().code(), "Outside");
        }
        std::fs::remove_file(at).unwrap();
    }
    // Written over, a link is replaced, and what it led to is not.
    symlink(site.path("secret/key.csv"), site.path("store/data/x.json")).unwrap();
    let output =
        site.desk.output("azureml://datastores/d/paths/data", Some(&site.store), "p.csv", "j").unwrap();
    output.put("x.json", "{}".into()).await.unwrap();
    assert_eq!(std::fs::read(site.path("secret/key.csv")).unwrap(), b"secret");
    assert_eq!(std::fs::read(site.path("store/data/x.json")).unwrap(), b"{}");
    assert_eq!(std::fs::read_dir(site.path("secret")).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_never_ends_is_not_begun() {
    let site = Site::new();
    symlink(".", site.path("store/data/loop")).unwrap();
    let error = site.list("").await.unwrap_err();
    assert!(error.code() == "Outside" && error.to_string().contains("loop"), "{error}");
    std::fs::remove_file(site.path("store/data/loop")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(site.path("store/data/pipe.csv")).status().unwrap();
    assert!(made.success());
    assert_eq!(site.list("data").await.unwrap(), ["a.csv"]);
    let error = site.read("data/pipe.csv").await.unwrap_err();
    assert!(error.contains("no ordinary file"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_swapped_while_it_is_opened_gives_nothing_away() {
    let site = Site::new();
    let (here, there) = (site.path("store/data/a.csv"), site.path("secret/key.csv"));
    let (link, spare) = (site.path("store/data/swap.csv"), site.path("store/spare"));
    symlink(&here, &link).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let swapping = std::thread::spawn({
        let stop = stop.clone();
        move || {
            while !stop.load(Ordering::Relaxed) {
                for target in [&there, &here] {
                    symlink(target, &spare).unwrap();
                    std::fs::rename(&spare, &link).unwrap();
                }
            }
        }
    });
    let (mut good, mut refused) = (0, 0);
    while (good < 50 || refused < 50) && good + refused < 20_000 {
        match site.read("data/swap.csv").await {
            Ok(bytes) => {
                assert_eq!(bytes, b"good");
                good += 1;
            }
            Err(error) => {
                assert!(error.starts_with("Outside"), "{error}");
                refused += 1;
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    swapping.join().unwrap();
    assert!(good > 0 && refused > 0, "{good} {refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_is_there_or_it_is_said() {
    let site = Site::new();
    let gone = site.desk.store("d", Place::Directory { path: site.path("nowhere") }, None);
    let input = site.desk.input("azureml://datastores/d/paths/a.csv", Some(&gone)).unwrap();
    assert_eq!(input.list(DataKind::UriFile).await.unwrap_err().code(), "NotFound");
    let output = site.desk.output("azureml://datastores/d/paths/out", Some(&gone), "p.csv", "j").unwrap();
    assert!(output.put("m.json", "{}".into()).await.is_err());
    assert!(!site.path("nowhere").exists(), "only the default store is made");
    let relative = site.desk.store("d", Place::Directory { path: "data".into() }, None);
    assert_eq!(
        site.desk.input("azureml://datastores/d/paths/a", Some(&relative)).unwrap_err().code(),
        "BadStore"
    );
    // No default store without a directory, and none of another name.
    let error = site.desk.input("azureml://datastores/workspaceblobstore/paths/a", None).unwrap_err();
    assert_eq!(error.code(), "UnknownStore");
    let desk = Desk::new("", "", Some(site.root.path()));
    assert_eq!(desk.input("azureml://datastores/other/paths/a", None).unwrap_err().code(), "UnknownStore");
    for file in ["p.txt", "p", "../p.csv", "a/p.csv", ".p.csv", "_p.csv", ""] {
        let error =
            desk.output("azureml://datastores/workspaceblobstore/paths/o", None, file, "j").unwrap_err();
        assert_eq!(error.code(), "UnknownOutputForm", "{file}");
    }
    let read_only = desk.output("https://data.example.com/out", None, "p.csv", "j").unwrap_err();
    assert_eq!(read_only.code(), "ReadOnly");
}
