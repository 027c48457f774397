//! Several registrars over one store, as several nodes have over one etcd, and many tasks on each.

use std::time::Duration;

use mesh_core::registry::{Author, Command, RefusalCode};
use meshd::{
    registrar::{Registrar, Rejection},
    store::{Outcome, Put, RedbStore, Store as _, Transaction},
};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::{assert_sound, create_group, create_peer, member, registrar};

const SOON: Duration = Duration::from_secs(30);

fn store() -> (RedbStore, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (RedbStore::open(&directory.path().join("store.redb")).unwrap(), directory)
}

async fn several(store: &RedbStore) -> [Registrar; 4] {
    [registrar(store).await, registrar(store).await, registrar(store).await, registrar(store).await]
}

/// NG-04: of those who create the same label at once, exactly one succeeds; the others are told that it is there.
#[tokio::test]
async fn of_many_creates_of_one_label_exactly_one_wins() {
    let (store, _kept) = store();
    let registrars = several(&store).await;
    for round in 0..30 {
        let label = format!("round-{round}");
        let tasks: Vec<_> = (0..16)
            .map(|task| {
                let (registrar, command) = (registrars[task % 4].clone(), create_group(&label));
                tokio::spawn(async move { registrar.execute(Author::Api, command).await })
            })
            .collect();
        let mut won = 0;
        for task in tasks {
            match timeout(SOON, task).await.expect("a create hangs").unwrap() {
                Ok(registry) => {
                    won += 1;
                    assert!(registry.groups.values().any(|group| group.group.label.as_str() == label));
                }
                Err(Rejection::Refused(refusal)) => assert_eq!(refusal.code, RefusalCode::Conflict, "{refusal}"),
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(won, 1, "{label}");
    }
    let registry = registrars[0].registry().borrow().clone();
    assert_eq!(registry.groups.len(), 30);
    assert_sound(&store, &registry).await;
}

/// NG-23, NG-38: peers that are made at once have addresses of their own, and the group counts each of them.
#[tokio::test]
async fn peers_that_are_made_at_once_have_addresses_of_their_own() {
    let (store, _kept) = store();
    let registrars = several(&store).await;
    let registry = registrars[0].execute(Author::Api, create_group("crowd")).await.unwrap();
    let group = registry.groups.keys().next().unwrap().clone();
    for registrar in &registrars {
        let known = registrar.registry().wait_for(|registry| !registry.groups.is_empty()).await.map(drop);
        known.unwrap();
    }
    let tasks: Vec<_> = (0..64_u8)
        .map(|number| {
            let registrar = registrars[usize::from(number) % 4].clone();
            let command = create_peer(&group, &format!("peer-{number}"), [number + 1; 32]);
            tokio::spawn(async move { registrar.execute(Author::Api, command).await })
        })
        .collect();
    for task in tasks {
        timeout(SOON, task).await.expect("a create hangs").unwrap().unwrap();
    }
    let mut registries = registrars[3].registry();
    let all = timeout(SOON, registries.wait_for(|registry| registry.groups[&group].peers.len() == 64)).await;
    let registry = all.expect("not all of them came in").unwrap().clone();
    assert_eq!(registry.groups[&group].group.version, 1 + 64);
    assert_sound(&store, &registry).await;
}

/// A command whose caller went away before it was committed stops nobody.
#[tokio::test]
async fn a_caller_that_goes_away_stops_nobody() {
    let (store, _kept) = store();
    let registrar = registrar(&store).await;
    for round in 0..20 {
        let abandoned = registrar.execute(Author::Api, create_group(&format!("gone-{round}")));
        let _ = timeout(Duration::ZERO, abandoned).await;
        let next = registrar.execute(Author::Api, create_group(&format!("stays-{round}")));
        timeout(SOON, next).await.expect("it hangs").unwrap();
    }
    let registry = registrar.registry().borrow().clone();
    assert!(registry.groups.len() >= 20);
    assert_sound(&store, &registry).await;
}

#[tokio::test]
async fn each_of_many_commands_at_once_is_a_commit_of_its_own() {
    let (store, _kept) = store();
    let registrar = registrar(&store).await;
    let mut tasks = Vec::new();
    for number in 0..200 {
        let (registrar, command) = (registrar.clone(), create_group(&format!("group-{number}")));
        tasks.push(tokio::spawn(async move { registrar.execute(Author::Api, command).await }));
    }
    let mut registries = registrar.registry();
    let all = timeout(SOON, registries.wait_for(|registry| registry.groups.len() == 200)).await;
    all.expect("not all of them came in").map(drop).unwrap();
    for task in tasks {
        timeout(SOON, task).await.expect("a create hangs").unwrap().unwrap();
    }
    let registry = registrar.registry().borrow().clone();
    assert_eq!(registry.revision.0, 200, "each is a commit of its own");
    assert_sound(&store, &registry).await;
}

#[tokio::test]
async fn what_others_change_comes_in() {
    let (store, _kept) = store();
    let (one, other) = (registrar(&store).await, registrar(&store).await);
    let registry = one.execute(Author::Api, create_group("a")).await.unwrap();
    let group = registry.groups.keys().next().unwrap().clone();
    let mut followed = other.registry();
    timeout(SOON, followed.wait_for(|registry| registry.groups.contains_key(&group))).await.unwrap().unwrap();
    other.execute(Author::Api, Command::Link { group: group.clone(), member: member("app_x") }).await.unwrap();
    let registry =
        one.execute(Author::Api, Command::Link { group: group.clone(), member: member("app_y") }).await.unwrap();
    assert_eq!((registry.groups[&group].members.len(), registry.groups[&group].group.version), (3, 3));
    let deleted = other.execute(Author::Api, Command::DeleteGroup { group: group.clone() }).await.unwrap();
    assert!(deleted.groups.is_empty());
    let refused = one.execute(Author::Api, Command::DeleteGroup { group }).await.unwrap_err();
    assert!(matches!(refused, Rejection::Refused(refusal) if refusal.code == RefusalCode::NotFound));
}

/// An entry of a newer meshd ends the start with its key, and stays.
#[tokio::test]
async fn what_this_version_does_not_know_is_named_and_left_alone() {
    let (store, _kept) = store();
    registrar(&store).await.execute(Author::Api, create_group("a")).await.unwrap();
    let strange = [
        ("interconnections/default", "{}"),
        ("groups/ng_x", "{}"),
        ("prefixes/extra", "1"),
        ("groups/ng_00000000-0000-4000-8000-000000000001", "{\"id\":\"ng_00000000-0000-4000-8000-000000000001\"}"),
    ];
    for (key, value) in strange {
        let put = Put { key: key.to_owned(), value: value.as_bytes().to_vec(), lease: None };
        let transaction = Transaction { puts: vec![put], ..Transaction::default() };
        assert!(matches!(store.commit(transaction).await.unwrap(), Outcome::Committed(_)));
        let before = store.list("").await.unwrap();
        let told = Registrar::start(store.clone(), crate::rules()).await.unwrap_err().to_string();
        assert!(told.contains(&format!("{key:?}")) && told.contains("run the meshd that wrote it"), "{told}");
        assert_eq!(store.list("").await.unwrap(), before);
        store.commit(Transaction { deletes: vec![key.to_owned()], ..Transaction::default() }).await.unwrap();
    }
    registrar(&store).await;
}

/// One that comes later leaves what is known in force, and what comes after it is known again.
#[tokio::test]
async fn a_strange_entry_that_goes_again_is_survived() {
    let (store, _kept) = store();
    let registrar = registrar(&store).await;
    let put = Put { key: "strange".to_owned(), value: b"1".to_vec(), lease: None };
    store.commit(Transaction { puts: vec![put], ..Transaction::default() }).await.unwrap();
    store.commit(Transaction { deletes: vec!["strange".to_owned()], ..Transaction::default() }).await.unwrap();
    timeout(SOON, registrar.execute(Author::Api, create_group("a"))).await.expect("it hangs").unwrap();
}
