//! Which manifests are there, and when did they change.
//!
//! What they mean is for `mesh_core::model` to say.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use inotify::{Inotify, WatchMask};
use mesh_core::model::Manifest;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};

/// Changes are taken up when none came for so long ...
const QUIET: Duration = Duration::from_millis(150);
/// ... and at the latest after this.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a directory that went away is looked for.
const ABSENT_RETRY: Duration = Duration::from_secs(1);
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// The manifests of a directory in the order of their names. Hidden files and what editors leave are no manifests.
pub fn read(directory: &Path) -> Result<Vec<Manifest>> {
    let listed = fs::read_dir(directory).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let entries = listed.with_context(|| {
        format!("cannot list the manifest directory {0}: make it with `mkdir -p {0}`", directory.display())
    })?;
    let mut paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).filter(|path| is_manifest(path)).collect();
    paths.sort();
    paths.iter().map(|path| read_one(path)).collect()
}

/// When the file was written, in seconds since the epoch; 0 where that cannot be told.
pub fn modified(directory: &Path, file: &str) -> u64 {
    let modified = fs::metadata(directory.join(file)).and_then(|metadata| metadata.modified());
    modified.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default().as_secs()
}

/// A wake-up after each burst of changes in the directory, also when the directory itself is replaced.
pub fn watch(directory: &Path) -> Result<mpsc::Receiver<()>> {
    let mut inotify = subscribe(directory)?;
    let directory = directory.to_owned();
    let (wake, woken) = mpsc::channel(1);
    tokio::spawn(async move {
        while follow(inotify, &wake).await.is_some() {
            inotify = loop {
                sleep(ABSENT_RETRY).await;
                match subscribe(&directory) {
                    Ok(inotify) => break inotify,
                    Err(error) => tracing::debug!("{error:#}"),
                }
            };
            if wake.send(()).await.is_err() {
                return;
            }
        }
    });
    Ok(woken)
}

fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().and_then(OsStr::to_str).is_none_or(|name| name.starts_with('.'));
    let known = path.extension().and_then(OsStr::to_str).is_some_and(|extension| EXTENSIONS.contains(&extension));
    !hidden && known && !path.is_dir()
}

fn read_one(path: &Path) -> Result<Manifest> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read the manifest {} as text", path.display()))?;
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Manifest { file, text })
}

fn subscribe(directory: &Path) -> Result<Inotify> {
    let inotify = Inotify::init().context("cannot open inotify: is fs.inotify.max_user_instances used up?")?;
    let mask = WatchMask::CLOSE_WRITE
        | WatchMask::CREATE
        | WatchMask::DELETE
        | WatchMask::MOVED_FROM
        | WatchMask::MOVED_TO
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF
        | WatchMask::ONLYDIR;
    inotify
        .watches()
        .add(directory, mask)
        .with_context(|| format!("cannot watch {0}: make it with `mkdir -p {0}`", directory.display()))?;
    Ok(inotify)
}

/// Passes bursts on until the directory itself is gone; `None`: nobody listens any more.
async fn follow(inotify: Inotify, wake: &mpsc::Sender<()>) -> Option<()> {
    let mut buffer = [0; 4096];
    let Ok(mut events) = inotify.into_event_stream(&mut buffer) else {
        return Some(());
    };
    loop {
        let mut gone = ends_watch(events.next().await);
        let latest = Instant::now() + PATIENCE;
        while !gone {
            let quiet = (Instant::now() + QUIET).min(latest);
            match timeout_at(quiet, events.next()).await {
                Ok(event) => gone = ends_watch(event),
                Err(_) => break,
            }
        }
        wake.send(()).await.ok()?;
        if gone {
            return Some(());
        }
    }
}

fn ends_watch<E>(event: Option<Result<inotify::Event<E>, std::io::Error>>) -> bool {
    use inotify::EventMask;
    let ends = EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::IGNORED;
    match event {
        Some(Ok(event)) => event.mask.intersects(ends),
        Some(Err(_)) | None => true,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    fn files(directory: &Path) -> Vec<String> {
        read(directory).unwrap().into_iter().map(|manifest| manifest.file).collect()
    }

    #[test]
    fn only_manifests_are_read_in_the_order_of_their_names() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.json", "c.yml", ".b.yaml.swp", ".hidden.yaml", "b.yaml~", "4913", "readme.md"] {
            fs::write(directory.path().join(name), "x").unwrap();
        }
        fs::create_dir(directory.path().join("d.yaml")).unwrap();
        assert_eq!(files(directory.path()), ["a.json", "b.yaml", "c.yml"]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.yaml"), [0xff, 0xfe]).unwrap();
        assert!(read(directory.path()).unwrap_err().to_string().contains("a.yaml"));
        assert!(read(Path::new("/nonexistent")).unwrap_err().to_string().contains("mkdir -p /nonexistent"));
    }

    #[tokio::test]
    async fn writes_renames_and_deletions_wake_once_a_burst() {
        let directory = tempfile::tempdir().unwrap();
        let mut changes = watch(directory.path()).unwrap();
        let path = directory.path().join("a.yaml");
        for number in 0..20 {
            fs::write(&path, number.to_string()).unwrap();
        }
        timeout(SOON, changes.recv()).await.unwrap().unwrap();
        assert!(timeout(QUIET * 3, changes.recv()).await.is_err(), "one wake-up for the burst");

        fs::write(directory.path().join("new"), "x").unwrap();
        fs::rename(directory.path().join("new"), &path).unwrap();
        timeout(SOON, changes.recv()).await.unwrap().unwrap();
        fs::remove_file(&path).unwrap();
        timeout(SOON, changes.recv()).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_directory_that_is_made_again_is_followed_again() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("manifests");
        fs::create_dir(&directory).unwrap();
        let mut changes = watch(&directory).unwrap();
        fs::remove_dir(&directory).unwrap();
        timeout(SOON, changes.recv()).await.unwrap().unwrap();
        fs::create_dir(&directory).unwrap();
        timeout(SOON, changes.recv()).await.unwrap().unwrap();
        fs::write(directory.join("a.yaml"), "x").unwrap();
        timeout(SOON, changes.recv()).await.unwrap().unwrap();
        assert_eq!(files(&directory), ["a.yaml"]);
    }
}
