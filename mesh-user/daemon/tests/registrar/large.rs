//! What a group of 10,000 peers costs: memory of the registrar, and the time of one more peer.

use std::{fs, net::Ipv4Addr, process::Command as Process, time::Duration};

use mesh_core::{
    model::group::{ClientEndpoint, Endpoint, GroupId, Member, MemberId, Peer, PeerId},
    plan::PublicKey,
    registry::{Author, Key, Object, Rules},
};
use meshd::{
    registrar::Registrar,
    store::{Put, RedbStore, Store as _, Transaction},
};
use tokio::time::Instant;
use uuid::Uuid;

use crate::create_peer;

const PEERS: u32 = 10_000;
/// The whole process, of the 200 MB that a daemon may take.
const MEMORY_KB: u64 = 100_000;
/// In a debug build on a busy machine; a release build takes a tenth.
const ONE_MORE: Duration = Duration::from_secs(2);

/// Set for the process that is measured.
const MEASURED: &str = "MESH_TEST_MEASURED";

/// In a process of its own, so that nothing else is measured.
#[test]
fn ten_thousand_peers_take_little_memory() {
    if std::env::var_os(MEASURED).is_some() {
        return be_measured();
    }
    let arguments = ["--exact", "large::ten_thousand_peers_take_little_memory", "--nocapture", "--quiet"];
    let mut process = Process::new(std::env::current_exe().unwrap());
    let measured = process.args(arguments).env(MEASURED, "1").output().unwrap();
    let told = String::from_utf8_lossy(&measured.stdout);
    assert!(measured.status.success(), "{told}\n{}", String::from_utf8_lossy(&measured.stderr));
    println!("{told}");
}

/// This same test, as that process.
fn be_measured() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let group = fill(&RedbStore::open(&path).unwrap()).await;
        // The first registrar ends when it sees that nobody reads it.
        let store = loop {
            match RedbStore::open(&path) {
                Ok(store) => break store,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let registrar = Registrar::start(store.clone(), Rules::default()).await.unwrap();
        let filled = resident_kb();
        assert_eq!(registrar.registry().borrow().groups[&group].peers.len(), PEERS as usize);
        let mut slowest = Duration::ZERO;
        for number in 0..10_u8 {
            let one_more = create_peer(&group, &format!("one-more-{number}"), [200 + number; 32]);
            let asked = Instant::now();
            registrar.execute(Author::Api, one_more).await.unwrap();
            slowest = slowest.max(asked.elapsed());
        }
        let ended = resident_kb();
        assert_eq!(store.list("").await.unwrap().entries.len(), 4 + 2 * (PEERS as usize + 10));
        let size = fs::metadata(&path).unwrap().len() / 1_024;
        println!(
            "{PEERS} peers: {filled} KB at the start, {ended} KB after ten more; one more at most {slowest:?}; file {size} KB"
        );
        assert!(ended < MEMORY_KB, "{ended} KB");
        assert!(slowest < ONE_MORE, "{slowest:?}");
    });
}

/// A group as one peer that is made leaves it, and that peer with its member 10,000 times.
async fn fill(store: &RedbStore) -> GroupId {
    let registrar = Registrar::start(store.clone(), Rules::default()).await.unwrap();
    let registry = registrar.execute(Author::Api, crate::create_group("crowd")).await.unwrap();
    let id = registry.groups.keys().next().unwrap().clone();
    let registry = registrar.execute(Author::Api, create_peer(&id, "first", [1; 32])).await.unwrap();
    let group = &registry.groups[&id];
    let first = group.peers.values().next().unwrap();
    let numbers: Vec<u32> = (1..PEERS).collect();
    for numbers in numbers.chunks(1_000) {
        let puts = numbers.iter().flat_map(|number| {
            let member = MemberId::external(Uuid::from_u128((*number).into()));
            let mut key = [2; 32];
            key[..4].copy_from_slice(&number.to_be_bytes());
            let address = Ipv4Addr::from_bits(0x0aff_0005 + number).into();
            let peer = Peer {
                id: PeerId::new(Uuid::from_u128((*number).into())),
                public_key: PublicKey(key),
                parent_member: member.clone(),
                endpoint: Endpoint::ClientEndpoint(ClientEndpoint { ng_ip: address }),
                ..Peer::clone(&first.object)
            };
            let like = &group.members[&first.parent_member];
            let object = Object::Member(Member { id: member.clone(), ..Member::clone(&like.object) });
            let member = (Key::Member(id.clone(), member), object);
            [member, (Key::Peer(id.clone(), peer.id.clone()), Object::Peer(peer))]
        });
        let put = |(key, object): (Key, Object)| Put { key: key.to_string(), value: object.to_json(), lease: None };
        let transaction = Transaction { puts: puts.map(put).collect(), ..Transaction::default() };
        store.commit(transaction).await.unwrap();
    }
    id
}

fn resident_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
