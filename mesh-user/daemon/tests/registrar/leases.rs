//! Nodes that keep a lease alive, and what becomes of their peers when they do not.

use std::{path::Path, sync::Arc, time::Duration};

use mesh_core::{
    model::group::{GroupId, NodeId, PeerKind},
    registry::{Author, Command, PeerSpec, Registry, Rules},
};
use meshd::{registrar::Registrar, store::RedbStore};
use tokio::time::{sleep, timeout};

use crate::{assert_sound, create_group, create_peer};

const SECONDS: u32 = 2;
const LEASE: Duration = Duration::from_secs(SECONDS as u64);

/// A registrar that ends peers.
async fn registrar(store: &RedbStore) -> Registrar {
    let rules = Rules { prefix_length: 24, lease_seconds: SECONDS, ..Rules::default() };
    Registrar::start(store.clone(), rules).await.unwrap()
}

fn open(directory: &Path) -> RedbStore {
    RedbStore::open(&directory.join("store.redb")).unwrap()
}

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

async fn add_peer(registrar: &Registrar, group: &GroupId, name: &str, key: u8) {
    let Command::CreatePeer { group, peer } = create_peer(group, "x", [key; 32]) else { unreachable!() };
    let parent_member = "app_first".parse().ok();
    let peer = PeerSpec { kind: PeerKind::CleverPeer, label: None, parent_member, hv: Some(node(name)), ..peer };
    registrar.execute(Author::Api, Command::CreatePeer { group, peer }).await.unwrap();
}

async fn add_group(registrar: &Registrar) -> GroupId {
    let registry = registrar.execute(Author::Api, create_group("one")).await.unwrap();
    registry.groups.keys().next().unwrap().clone()
}

/// Whose peers are left.
fn running(registry: &Registry, group: &GroupId) -> Vec<String> {
    registry.groups[group].peers.values().filter_map(|peer| Some(peer.hv.as_ref()?.to_string())).collect()
}

async fn until(registrar: &Registrar, group: &GroupId, expected: &[&str]) -> Arc<Registry> {
    let mut registries = registrar.registry();
    let reached = registries.wait_for(|registry| running(registry, group) == expected);
    let reached = timeout(LEASE * 3, reached).await;
    Arc::clone(&reached.unwrap_or_else(|_| panic!("not {expected:?}")).unwrap())
}

async fn live(registrar: Registrar, name: &'static str) {
    loop {
        registrar.keep_alive(&node(name)).await.unwrap();
        sleep(LEASE / 4).await;
    }
}

/// NG-16: with each group in one change; and two who watch over one store do it once.
#[tokio::test]
async fn peers_end_with_the_lease_of_their_node() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let (one, other) = (registrar(&store).await, registrar(&store).await);
    let group = add_group(&one).await;
    let first = one.keep_alive(&node("a")).await.unwrap();
    for (name, key) in [("a", 1), ("a", 2), ("b", 3)] {
        add_peer(&one, &group, name, key).await;
    }
    one.execute(Author::Api, create_peer(&group, "plain", [4; 32])).await.unwrap();
    let living = tokio::spawn(live(other.clone(), "b"));
    let ending =
        [one.clone(), other].map(|registrar| tokio::spawn(async move { registrar.end_peers_with_leases().await }));
    let version = one.registry().borrow().groups[&group].group.version;
    let registry = until(&one, &group, &["b"]).await;
    assert_eq!(registry.groups[&group].group.version, version + 1);
    assert_eq!(registry.groups[&group].peers.len(), 2, "another WireGuard has no lease");
    // It comes back, as another one.
    let again = one.keep_alive(&node("a")).await.unwrap();
    assert_ne!(again.lease.lease, first.lease.lease);
    assert!(again.lease.modified > first.lease.modified && again.revision >= again.lease.modified);
    add_peer(&one, &group, "a", 1).await;
    sleep(LEASE / 2).await;
    assert_eq!(running(&one.registry().borrow(), &group).len(), 2);
    living.abort();
    ending.iter().for_each(tokio::task::JoinHandle::abort);
}

/// A hub that was away longer than any lease: everybody has the whole time to be heard again.
#[tokio::test]
async fn leases_begin_anew_with_the_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let group = {
        let store = open(directory.path());
        let registrar = registrar(&store).await;
        let group = add_group(&registrar).await;
        registrar.keep_alive(&node("a")).await.unwrap();
        for (name, key) in [("a", 1), ("never-heard", 2)] {
            add_peer(&registrar, &group, name, key).await;
        }
        group
    };
    // What follows the store ends with its last reader.
    sleep(LEASE + Duration::from_millis(500)).await;
    let store = open(directory.path());
    let registrar = registrar(&store).await;
    let ending = registrar.clone();
    let ending = tokio::spawn(async move { ending.end_peers_with_leases().await });
    sleep(LEASE * 3 / 4).await;
    assert_eq!(running(&registrar.registry().borrow(), &group).len(), 2, "the time of a lease is not over");
    registrar.keep_alive(&node("a")).await.unwrap();
    sleep(LEASE * 3 / 4).await;
    until(&registrar, &group, &["a"]).await;
    until(&registrar, &group, &[]).await;
    ending.abort();
    let _ = ending.await;
    let registry = registrar.registry().borrow().clone();
    assert!(registry.nodes.is_empty());
    assert_sound(&store, &registry).await;
}

/// Many tasks that say at once that a node lives: it has one lease.
#[tokio::test]
async fn who_says_it_twice_lives_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let registrars = [registrar(&store).await, registrar(&store).await];
    let tasks = (0..16).map(|task| {
        let registrar = registrars[task % 2].clone();
        tokio::spawn(async move { registrar.keep_alive(&node("a")).await.unwrap().lease.lease })
    });
    let leases: Vec<u64> = futures_util::future::join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    assert!(leases.iter().all(|lease| *lease == leases[0]), "{leases:?}");
}
