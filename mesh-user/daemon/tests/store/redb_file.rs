//! The store in a file: what survives, and which files are refused and how.

use std::{
    fs,
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::Path,
    time::{Duration, Instant},
};

use meshd::store::{Put, RedbStore, Store as _, StoreError, Transaction};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::conformance::{PLENTY, all, committed, conformance, put};

conformance!(empty);

fn empty(history: u64) -> (RedbStore, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let store = RedbStore::open_with_history(&directory.path().join("store.redb"), history).unwrap();
    (store, directory)
}

fn refused(path: &Path) -> String {
    let before = fs::read(path).unwrap();
    let error = RedbStore::open(path).expect_err("it opened").to_string();
    assert!(fs::read(path).unwrap() == before, "the file was changed: {error}");
    assert!(error.contains(&path.display().to_string()), "{error}");
    error
}

/// A file with a few hundred entries, closed.
async fn filled(directory: &Path) -> std::path::PathBuf {
    let path = directory.join("store.redb");
    let store = RedbStore::open(&path).unwrap();
    for round in 0..10 {
        let key = |number: u32| format!("groups/{number:04}");
        let puts = (0..60).map(|number| Put { key: key(number * 10 + round), value: vec![7; 300], lease: None });
        committed(&store, Transaction { puts: puts.collect(), ..Transaction::default() }).await;
    }
    path
}

#[tokio::test]
async fn what_was_committed_is_there_after_it_was_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = RedbStore::open(&path).unwrap();
    let revision = committed(&store, put("a", "1")).await;
    drop(store);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing beside it");

    let store = RedbStore::open(&path).unwrap();
    let listing = store.list("").await.unwrap();
    assert_eq!((listing.revision, listing.entries[0].modified), (revision, revision));
    assert!(committed(&store, put("a", "2")).await > revision);
}

#[tokio::test]
async fn leases_begin_anew_when_the_store_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = RedbStore::open(&path).unwrap();
    let ttl = Duration::from_millis(600);
    let lease = store.grant(ttl).await.unwrap();
    let puts = vec![Put { key: "a".to_owned(), value: Vec::new(), lease: Some(lease) }];
    committed(&store, Transaction { puts, ..Transaction::default() }).await;
    drop(store);
    sleep(ttl).await;

    let opened = Instant::now();
    let store = RedbStore::open(&path).unwrap();
    assert!(all(&store, "").await.contains_key("a"));
    while all(&store, "").await.contains_key("a") {
        assert!(opened.elapsed() < ttl * 20, "the lease does not end");
        sleep(Duration::from_millis(20)).await;
    }
    assert!(opened.elapsed() >= ttl);
}

#[tokio::test]
async fn two_do_not_open_the_same_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = RedbStore::open(&path).unwrap();
    let error = RedbStore::open(&path).unwrap_err().to_string();
    assert!(error.contains("another process has it open"), "{error}");
    committed(&store, put("a", "1")).await;
}

#[tokio::test]
async fn a_file_that_was_only_begun_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    fs::write(directory.path().join("store.redb.new"), "half").unwrap();
    let store = RedbStore::open(&path).unwrap();
    committed(&store, put("a", "1")).await;
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_newer_file_is_named_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = filled(directory.path()).await;
    let database = redb::Database::create(&path).unwrap();
    let writing = database.begin_write().unwrap();
    let numbers = redb::TableDefinition::<&str, u64>::new("numbers");
    writing.open_table(numbers).unwrap().insert("schema", 2).unwrap();
    writing.commit().unwrap();
    drop(database);
    let error = refused(&path);
    assert!(error.contains("has version 2, this meshd knows 1: run the meshd that wrote it"), "{error}");
}

#[test]
fn what_is_no_store_is_named_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    for content in [Vec::new(), b"x".to_vec(), vec![0; 4_096], vec![0xff; 100_000], b"{\"version\":1}\n".repeat(5_000)]
    {
        fs::write(&path, &content).unwrap();
        let error = refused(&path);
        assert!(error.contains("is damaged") && error.contains("restore a backup"), "{error}");
    }
    // Another program's database: whole, but not ours.
    fs::remove_file(&path).unwrap();
    let database = redb::Database::create(&path).unwrap();
    let writing = database.begin_write().unwrap();
    writing.open_table(redb::TableDefinition::<u64, u64>::new("other")).unwrap().insert(1, 2).unwrap();
    writing.commit().unwrap();
    drop(database);
    assert!(refused(&path).contains("is damaged"));
}

/// Whatever byte is wrong: either the file is refused and stays as it is, or everything in it is as it was.
#[tokio::test]
async fn damage_is_found_or_harmless() {
    let directory = tempfile::tempdir().unwrap();
    let path = filled(directory.path()).await;
    let store = RedbStore::open(&path).unwrap();
    let whole = store.list("").await.unwrap();
    drop(store);
    let content = fs::read(&path).unwrap();
    let (mut found, mut harmless) = (0, 0);
    // Every place of the header, then places all over the file.
    let places = (0..320).step_by(8).chain((320..content.len()).step_by(content.len() / 150));
    for place in places {
        fs::write(&path, &content).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&content[place..].iter().take(16).map(|byte| !byte).collect::<Vec<_>>(), place as u64)
            .unwrap();
        let damaged = fs::read(&path).unwrap();
        match RedbStore::open(&path) {
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains("store.redb"), "{error}");
                assert!(fs::read(&path).unwrap() == damaged, "byte {place}: changed though refused: {error}");
                found += 1;
            }
            Ok(store) => {
                assert_eq!(store.list("").await.unwrap(), whole, "byte {place}");
                harmless += 1;
            }
        }
    }
    for length in [1, 100, content.len() / 3, content.len() - 1] {
        fs::write(&path, &content[..length]).unwrap();
        refused(&path);
    }
    assert!(found > 20, "{found} found, {harmless} harmless");
}

/// A commit that the disk refuses is told, and the store is usable again when the disk is.
#[tokio::test]
async fn a_full_disk_is_told_and_survived() {
    let Some(disk) = SmallDisk::mount() else { panic!("mount a tmpfs: run the tests as root") };
    let path = disk.0.path().join("store.redb");
    let store = RedbStore::open(&path).unwrap();
    committed(&store, put("a", "1")).await;
    let ballast = disk.0.path().join("ballast");
    let mut refused = None;
    fs::write(&ballast, vec![0; 1 << 20]).unwrap();
    for number in 0..200 {
        match store.commit(put(&format!("b/{number}"), vec![1; 100_000])).await {
            Ok(_) => {}
            Err(error) => {
                refused = Some((number, error));
                break;
            }
        }
    }
    let (number, error) = refused.expect("the disk is never full");
    assert!(matches!(&error, StoreError::Unusable(reason) if reason.contains("store.redb")), "{error}");
    fs::remove_file(&ballast).unwrap();
    let kept = all(&store, "").await;
    assert_eq!(kept.len(), number + 1, "what was acknowledged, and nothing else");
    committed(&store, put("c", "1")).await;
    assert_eq!(all(&store, "").await["a"], b"1");
}

/// A tmpfs of a few MB.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let directory = tempfile::Builder::new().prefix("mesh-store-").tempdir().ok()?;
        let mount = ["-t", "tmpfs", "-o", "size=6m", "mesh-store"];
        let mounted = std::process::Command::new("mount").args(mount).arg(directory.path()).status().ok()?;
        mounted.success().then_some(SmallDisk(directory))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_large_store_opens_fast() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = RedbStore::open_with_history(&path, PLENTY).unwrap();
    for round in 0..10 {
        let puts =
            (0..1_000).map(|number| Put { key: format!("k/{round}/{number}"), value: vec![7; 600], lease: None });
        committed(&store, Transaction { puts: puts.collect(), ..Transaction::default() }).await;
    }
    drop(store);
    let begin = Instant::now();
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.list("").await.unwrap().entries.len(), 10_000);
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}
