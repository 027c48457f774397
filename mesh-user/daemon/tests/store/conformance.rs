//! What every driver must do. A driver's tests name the suite once: `conformance!(open)`, where `open(history)` makes an
//! empty store whose history keeps about so many changes.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use futures_util::{Stream, StreamExt as _};
use mesh_core::registry::Revision;
use meshd::store::{Committed, LeaseId, Outcome, Put, Store, StoreCondition, StoreError, Transaction};
use tokio::time::{sleep, timeout};

/// For what must come.
const SOON: Duration = Duration::from_secs(20);
/// Much more than any test writes.
pub(crate) const PLENTY: u64 = 1_000_000;

macro_rules! conformance {
    ($open:path: $($name:ident($history:expr)),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                let (store, _kept) = $open($history);
                $crate::conformance::$name(store).await;
            }
        )+
    };
    ($open:path) => {
        $crate::conformance::conformance!($open:
            a_listing_is_of_one_revision($crate::conformance::PLENTY),
            keys_are_listed_in_the_order_of_their_bytes($crate::conformance::PLENTY),
            a_transaction_is_taken_whole_or_not_at_all($crate::conformance::PLENTY),
            what_has_no_effect_has_no_revision($crate::conformance::PLENTY),
            a_key_changes_once_in_a_transaction($crate::conformance::PLENTY),
            of_two_writers_with_one_condition_one_wins($crate::conformance::PLENTY),
            counters_of_many_writers_lose_nothing($crate::conformance::PLENTY),
            a_watch_has_no_gap_while_others_write($crate::conformance::PLENTY),
            a_watch_sees_its_prefix_alone_in_whole_commits($crate::conformance::PLENTY),
            what_was_compacted_is_told(50),
            a_slow_reader_is_told_or_gets_everything(50),
            a_revision_to_come_is_refused($crate::conformance::PLENTY),
            a_lease_ends_with_what_is_put_with_it($crate::conformance::PLENTY),
            a_lease_that_is_kept_alive_stays($crate::conformance::PLENTY),
            a_revoked_lease_is_gone($crate::conformance::PLENTY),
            a_key_is_of_the_lease_of_its_last_put($crate::conformance::PLENTY),
        );
    };
}
pub(crate) use conformance;

pub(crate) fn put(key: &str, value: impl AsRef<[u8]>) -> Transaction {
    Transaction { puts: vec![a_put(key, value, None)], ..Transaction::default() }
}

pub(crate) fn delete(key: &str) -> Transaction {
    Transaction { deletes: vec![key.to_owned()], ..Transaction::default() }
}

fn a_put(key: &str, value: impl AsRef<[u8]>, lease: Option<LeaseId>) -> Put {
    Put { key: key.to_owned(), value: value.as_ref().to_vec(), lease }
}

fn provided(key: &str, modified: Option<Revision>, transaction: Transaction) -> Transaction {
    Transaction { conditions: vec![StoreCondition { key: key.to_owned(), modified }], ..transaction }
}

pub(crate) async fn committed<S: Store>(store: &S, transaction: Transaction) -> Revision {
    match store.commit(transaction).await.unwrap() {
        Outcome::Committed(revision) => revision,
        Outcome::Changed => panic!("a condition did not hold"),
    }
}

/// Key and value of everything below `prefix`.
pub(crate) async fn all<S: Store>(store: &S, prefix: &str) -> BTreeMap<String, Vec<u8>> {
    store.list(prefix).await.unwrap().entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
}

async fn next(
    watch: &mut (impl Stream<Item = Result<Committed, StoreError>> + Unpin),
) -> Result<Committed, StoreError> {
    timeout(SOON, watch.next()).await.expect("the watch is silent").expect("the watch ended")
}

async fn until_absent<S: Store>(store: &S, key: &str) {
    let gone = async {
        while all(store, key).await.contains_key(key) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, gone).await.unwrap_or_else(|_| panic!("{key} stays"));
}

pub(crate) async fn a_listing_is_of_one_revision<S: Store>(store: S) {
    assert_eq!(store.list("").await.unwrap().entries, []);
    let first = committed(&store, put("a/1", "x")).await;
    let second = committed(&store, put("a/2", "y")).await;
    let third = committed(&store, put("b", "z")).await;
    assert!(first < second && second < third);
    let listing = store.list("a/").await.unwrap();
    assert_eq!(listing.revision, third);
    let entries: Vec<_> = listing.entries.iter().map(|entry| (entry.key.as_str(), entry.modified)).collect();
    assert_eq!(entries, [("a/1", first), ("a/2", second)]);
    let again = committed(&store, put("a/1", "w")).await;
    let listing = store.list("a/1").await.unwrap();
    assert_eq!((listing.entries[0].value.as_slice(), listing.entries[0].modified), (b"w".as_slice(), again));
    committed(&store, delete("a/1")).await;
    assert_eq!(all(&store, "a/").await.into_keys().collect::<Vec<_>>(), ["a/2"]);
}

pub(crate) async fn keys_are_listed_in_the_order_of_their_bytes<S: Store>(store: S) {
    let mut keys = ["b", "a/b", "a", "a-", "a/", "ä", "a/\u{1}", "B", "%", "a0"];
    for key in keys {
        committed(&store, put(key, key)).await;
    }
    keys.sort_unstable();
    let listing = store.list("").await.unwrap();
    assert_eq!(listing.entries.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), keys);
}

pub(crate) async fn a_transaction_is_taken_whole_or_not_at_all<S: Store>(store: S) {
    let first = committed(&store, put("a", "1")).await;
    let both = |modified| Transaction {
        conditions: vec![
            StoreCondition { key: "b".to_owned(), modified: None },
            StoreCondition { key: "a".to_owned(), modified },
        ],
        puts: vec![a_put("b", "2", None), a_put("c", "3", None)],
        deletes: vec!["a".to_owned()],
    };
    for wrong in [None, Some(Revision(first.0 + 1))] {
        assert_eq!(store.commit(both(wrong)).await.unwrap(), Outcome::Changed);
        assert_eq!(all(&store, "").await.into_keys().collect::<Vec<_>>(), ["a"]);
    }
    assert_eq!(store.list("").await.unwrap().revision, first, "a transaction that was not taken has no revision");
    let second = committed(&store, both(Some(first))).await;
    let listing = store.list("").await.unwrap();
    let entries: Vec<_> = listing.entries.iter().map(|entry| (entry.key.as_str(), entry.modified)).collect();
    assert_eq!(entries, [("b", second), ("c", second)]);
    assert_eq!(store.commit(both(Some(first))).await.unwrap(), Outcome::Changed, "a deleted key is absent");
}

pub(crate) async fn what_has_no_effect_has_no_revision<S: Store>(store: S) {
    let first = committed(&store, put("a", "1")).await;
    assert_eq!(committed(&store, delete("b")).await, first);
    assert_eq!(committed(&store, provided("a", Some(first), Transaction::default())).await, first);
    let again = committed(&store, put("a", "1")).await;
    assert!(again > first, "a put of the same value is a put");
}

pub(crate) async fn a_key_changes_once_in_a_transaction<S: Store>(store: S) {
    let twice = Transaction { puts: vec![a_put("a", "1", None), a_put("a", "2", None)], ..Transaction::default() };
    let both = Transaction { deletes: vec!["a".to_owned()], ..put("a", "1") };
    for refused in [twice, both] {
        assert!(matches!(store.commit(refused).await, Err(StoreError::Twice(key)) if key == "a"));
    }
    assert_eq!(all(&store, "").await, BTreeMap::new());
}

pub(crate) async fn of_two_writers_with_one_condition_one_wins<S: Store>(store: S) {
    for round in 0..50 {
        let key = format!("k{round}");
        let writers: Vec<_> = (0..16)
            .map(|writer: u32| {
                let (store, key) = (store.clone(), key.clone());
                tokio::spawn(async move { store.commit(provided(&key, None, put(&key, writer.to_string()))).await })
            })
            .collect();
        let mut winners = Vec::new();
        for (writer, task) in writers.into_iter().enumerate() {
            if let Outcome::Committed(_) = task.await.unwrap().unwrap() {
                winners.push(writer.to_string().into_bytes());
            }
        }
        assert_eq!(winners, [all(&store, &key).await[&key].clone()]);
    }
}

pub(crate) async fn counters_of_many_writers_lose_nothing<S: Store>(store: S) {
    const WRITERS: u64 = 8;
    const EACH: u64 = 25;
    let tasks: Vec<_> = (0..WRITERS)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut done = 0;
                while done < EACH {
                    let listing = store.list("counter").await.unwrap();
                    let (modified, count) = match listing.entries.first() {
                        Some(entry) => (Some(entry.modified), String::from_utf8_lossy(&entry.value).parse().unwrap()),
                        None => (None, 0_u64),
                    };
                    let next = provided("counter", modified, put("counter", (count + 1).to_string()));
                    if let Outcome::Committed(_) = store.commit(next).await.unwrap() {
                        done += 1;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        timeout(SOON * 3, task).await.expect("writers keep each other from writing").unwrap();
    }
    assert_eq!(all(&store, "counter").await["counter"], (WRITERS * EACH).to_string().into_bytes());
}

pub(crate) async fn a_watch_has_no_gap_while_others_write<S: Store>(store: S) {
    const WRITES: usize = 200;
    const WRITERS: usize = 4;
    committed(&store, put("w/0/before", "")).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in 0..WRITES {
                    committed(&store, put(&format!("w/{writer}/{}", number % 7), number.to_string())).await;
                }
            })
        })
        .collect();
    // Watches begin at different moments of the writing, each behind its own listing.
    let mut watchers = Vec::new();
    for _ in 0..6 {
        let store = store.clone();
        watchers.push(tokio::spawn(async move {
            let listing = store.list("w/").await.unwrap();
            let mut seen: BTreeMap<_, _> =
                listing.entries.into_iter().map(|entry| (entry.key, (entry.modified, entry.value))).collect();
            let mut watch = pin!(store.watch("w/", listing.revision));
            let mut last = listing.revision;
            while !seen.contains_key("w/end") {
                let committed = next(&mut watch).await.unwrap();
                assert!(committed.revision > last, "{:?} after {last:?}", committed.revision);
                last = committed.revision;
                for (key, value) in committed.changes {
                    seen.insert(key, (last, value.unwrap()));
                }
            }
            seen
        }));
        sleep(Duration::from_millis(30)).await;
    }
    for writer in writers {
        timeout(SOON * 3, writer).await.expect("writing hangs").unwrap();
    }
    committed(&store, put("w/end", "")).await;
    let listing = store.list("w/").await.unwrap();
    let expected: BTreeMap<_, _> =
        listing.entries.into_iter().map(|entry| (entry.key, (entry.modified, entry.value))).collect();
    for watcher in watchers {
        assert_eq!(timeout(SOON, watcher).await.expect("a watch lacks the end").unwrap(), expected);
    }
    // And whoever comes later is told each step of the way.
    let mut watch = pin!(store.watch("w/", Revision(0)));
    let mut steps = 0;
    while next(&mut watch).await.unwrap().revision < listing.revision {
        steps += 1;
    }
    assert_eq!(steps, WRITES * WRITERS + 1);
}

pub(crate) async fn a_watch_sees_its_prefix_alone_in_whole_commits<S: Store>(store: S) {
    let begin = committed(&store, put("a/1", "1")).await;
    let mut watch = pin!(store.watch("a/", begin));
    committed(&store, put("b", "no")).await;
    let mixed = Transaction {
        puts: vec![a_put("a/2", "2", None), a_put("b", "no", None), a_put("a/3", "3", None)],
        deletes: vec!["a/1".to_owned(), "a/absent".to_owned()],
        conditions: Vec::new(),
    };
    let revision = committed(&store, mixed).await;
    let mut seen = next(&mut watch).await.unwrap();
    seen.changes.sort();
    let value = |text: &str| Some(text.as_bytes().to_vec());
    let changes = vec![("a/1".to_owned(), None), ("a/2".to_owned(), value("2")), ("a/3".to_owned(), value("3"))];
    assert_eq!(seen, Committed { revision, changes });
    let silent = timeout(Duration::from_millis(200), watch.next()).await;
    assert!(silent.is_err(), "{silent:?}");
}

pub(crate) async fn what_was_compacted_is_told<S: Store>(store: S) {
    let first = committed(&store, put("a", "0")).await;
    let mut last = first;
    for number in 1..300 {
        last = committed(&store, put("a", number.to_string())).await;
    }
    let mut watch = pin!(store.watch("", first));
    let told = next(&mut watch).await.unwrap_err();
    let StoreError::Compacted(kept) = told else { panic!("{told}") };
    assert!(first < kept && kept < last, "the history begins after {kept:?} of {last:?}");
    assert!(watch.next().await.is_none(), "a watch ends after an error");
    let mut watch = pin!(store.watch("", kept));
    assert_eq!(next(&mut watch).await.unwrap().revision.0, kept.0 + 1);
    assert_eq!(all(&store, "").await["a"], b"299", "what is there now is not history");
}

pub(crate) async fn a_slow_reader_is_told_or_gets_everything<S: Store>(store: S) {
    let first = committed(&store, put("a", "0")).await;
    let mut watch = pin!(store.watch("", first));
    committed(&store, put("a", "1")).await;
    let mut expected = next(&mut watch).await.unwrap().revision.0 + 1;
    let mut last = Revision(expected);
    for number in 2..300 {
        last = committed(&store, put("a", number.to_string())).await;
    }
    while expected <= last.0 {
        match next(&mut watch).await {
            Ok(committed) => assert_eq!(committed.revision, Revision(expected), "a gap"),
            Err(StoreError::Compacted(_)) => return,
            Err(other) => panic!("{other}"),
        }
        expected += 1;
    }
}

pub(crate) async fn a_revision_to_come_is_refused<S: Store>(store: S) {
    let first = committed(&store, put("a", "0")).await;
    let mut watch = pin!(store.watch("", Revision(first.0 + 1)));
    assert!(matches!(next(&mut watch).await, Err(StoreError::Compacted(_))));
}

pub(crate) async fn a_lease_ends_with_what_is_put_with_it<S: Store>(store: S) {
    let lease = store.grant(Duration::from_millis(300)).await.unwrap();
    let puts = vec![a_put("a", "1", Some(lease)), a_put("b", "1", Some(lease)), a_put("c", "1", None)];
    let begin = committed(&store, Transaction { puts, ..Transaction::default() }).await;
    let mut watch = pin!(store.watch("", begin));
    assert_eq!(all(&store, "").await.len(), 3);
    let mut ended = next(&mut watch).await.unwrap();
    ended.changes.sort();
    assert_eq!(ended.changes, [("a".to_owned(), None), ("b".to_owned(), None)], "both in one commit");
    assert_eq!(all(&store, "").await.into_keys().collect::<Vec<_>>(), ["c"]);
    assert!(matches!(store.keep_alive(lease).await, Err(StoreError::NoLease(gone)) if gone == lease));
    let late = Transaction { puts: vec![a_put("d", "1", Some(lease))], ..Transaction::default() };
    assert!(matches!(store.commit(late).await, Err(StoreError::NoLease(_))));
    assert!(!all(&store, "").await.contains_key("d"));
}

pub(crate) async fn a_lease_that_is_kept_alive_stays<S: Store>(store: S) {
    let lease = store.grant(Duration::from_secs(1)).await.unwrap();
    committed(&store, Transaction { puts: vec![a_put("a", "1", Some(lease))], ..Transaction::default() }).await;
    for _ in 0..15 {
        sleep(Duration::from_millis(100)).await;
        store.keep_alive(lease).await.unwrap();
    }
    assert!(all(&store, "").await.contains_key("a"), "it lasted 1.5 s and was kept alive");
    until_absent(&store, "a").await;
}

pub(crate) async fn a_revoked_lease_is_gone<S: Store>(store: S) {
    let (one, other) = (store.grant(SOON * 10).await.unwrap(), store.grant(SOON * 10).await.unwrap());
    assert_ne!(one, other);
    let puts = vec![a_put("a", "1", Some(one)), a_put("b", "1", Some(other))];
    committed(&store, Transaction { puts, ..Transaction::default() }).await;
    store.revoke(one).await.unwrap();
    assert_eq!(all(&store, "").await.into_keys().collect::<Vec<_>>(), ["b"]);
    assert!(matches!(store.revoke(one).await, Err(StoreError::NoLease(_))));
    assert!(matches!(store.keep_alive(one).await, Err(StoreError::NoLease(_))));
    store.keep_alive(other).await.unwrap();
}

pub(crate) async fn a_key_is_of_the_lease_of_its_last_put<S: Store>(store: S) {
    let lease = store.grant(SOON * 10).await.unwrap();
    let puts = vec![a_put("a", "1", Some(lease)), a_put("b", "1", Some(lease)), a_put("c", "1", Some(lease))];
    committed(&store, Transaction { puts, ..Transaction::default() }).await;
    committed(&store, put("a", "2")).await;
    committed(&store, delete("b")).await;
    committed(&store, put("b", "2")).await;
    store.revoke(lease).await.unwrap();
    assert_eq!(all(&store, "").await.into_keys().collect::<Vec<_>>(), ["a", "b"]);
}
