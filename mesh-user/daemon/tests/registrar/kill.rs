//! A process that changes a store from four sides is killed (SIGKILL) at 200 random moments. Each time the store opens,
//! what was acknowledged is there, and nothing is half-applied.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Lines, Write as _},
    path::Path,
    process::{Child, ChildStderr, Command as Process, Stdio},
    time::{Duration, Instant},
};

use mesh_core::{
    model::group::{GroupId, PeerId},
    registry::{Author, Command, Registry},
};
use meshd::{registrar::Registrar, store::RedbStore};

use crate::{assert_sound, create_group, create_peer, registrar};

const KILLS: u64 = 200;
/// One of so many is killed while it starts.
const STARTS: u64 = 5;
/// The longest that a process lives, after its store is open or, for those, after it was started.
const LIFE: Duration = Duration::from_millis(80);
const SIDES: u64 = 4;
const OPENED: &str = "opened";
const STORE: &str = "MESH_TEST_KILLED_STORE";
const SEED: &str = "MESH_TEST_KILLED_SEED";

/// What a side is doing, as lines of the killed process say it: `SIDE begin NOUN NAME`, then `SIDE done`. A noun is
/// `group`, `peer`, or one of them with `-` before it, which deletes.
#[derive(Default)]
struct Told {
    /// By noun and name: whether it must be there.
    acknowledged: BTreeMap<(String, String), bool>,
    /// May be in force or not.
    begun: BTreeMap<u64, (String, String)>,
    mutations: usize,
}

impl Told {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let side: u64 = words[0].parse().unwrap();
        match words[1..] {
            ["begin", noun, name] => drop(self.begun.insert(side, (noun.to_owned(), name.to_owned()))),
            ["done"] => {
                let (noun, name) = self.begun.remove(&side).unwrap();
                let there = !noun.starts_with('-');
                self.acknowledged.insert((noun.trim_start_matches('-').to_owned(), name), there);
                self.mutations += 1;
            }
            _ => panic!("{line}"),
        }
    }

    /// What was begun is from now on as it is found; the rest must be as it was acknowledged.
    fn assert_holds(&mut self, registry: &Registry) {
        let groups = registry.groups.values().map(|group| ("group".to_owned(), group.group.label.to_string()));
        let peers = registry.groups.values().flat_map(|group| group.peers.values());
        let labels = peers.map(|peer| ("peer".to_owned(), peer.label.as_ref().unwrap().to_string()));
        let there: BTreeSet<_> = groups.chain(labels).collect();
        for (noun, name) in std::mem::take(&mut self.begun).into_values() {
            let key = (noun.trim_start_matches('-').to_owned(), name);
            let found = there.contains(&key);
            self.acknowledged.insert(key, found);
        }
        for (key, wanted) in &self.acknowledged {
            assert_eq!(there.contains(key), *wanted, "{key:?}");
        }
        for key in &there {
            assert!(self.acknowledged.contains_key(key), "{key:?} was never begun");
        }
        self.acknowledged.retain(|_, there| *there);
    }
}

/// The numbers of Knuth's MMIX generator: which moment, and which command.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn a_store_survives_two_hundred_kills() {
    if let Some(path) = std::env::var_os(STORE) {
        return be_killed(Path::new(&path));
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let mut random = Random(42);
    let mut told = Told::default();
    let mut inside = 0;
    for kill in 0..KILLS {
        let mutations = told.mutations;
        let mut process = start(&path, kill);
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        if kill % STARTS != 0 {
            let opened = lines.by_ref().any(|line| line.unwrap() == OPENED);
            assert!(opened, "kill {kill}: the process ended before its store was open");
        }
        std::thread::sleep(Duration::from_micros(random.below(LIFE.as_micros() as u64)));
        process.kill().unwrap();
        hear_all(lines, &mut told);
        process.wait().unwrap();
        inside += usize::from(told.mutations > mutations && !told.begun.is_empty());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = RedbStore::open(&path).unwrap_or_else(|error| panic!("kill {kill}: {error}"));
            let registrar = registrar(&store).await;
            let registry = registrar.registry().borrow().clone();
            told.assert_holds(&registry);
            assert_sound(&store, &registry).await;
        });
    }
    assert!(inside > 80, "only {inside} kills fell between mutations");
    assert!(told.mutations > 500, "only {} mutations", told.mutations);
}

fn start(path: &Path, seed: u64) -> Child {
    Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::a_store_survives_two_hundred_kills", "--nocapture", "--quiet"])
        .env(STORE, path)
        .env(SEED, seed.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn hear_all(lines: Lines<BufReader<ChildStderr>>, told: &mut Told) {
    for line in lines {
        match line.unwrap().strip_prefix("told ") {
            // The last line may be cut.
            Some(line) if line.ends_with('.') => told.hear(line.trim_end_matches('.')),
            _ => {}
        }
    }
}

fn tell(line: &str) {
    std::io::stderr().write_all(format!("told {line}.\n").as_bytes()).unwrap();
}

/// This same test, as the process that is killed.
fn be_killed(path: &Path) {
    let seed: u64 = std::env::var(SEED).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let registrar = registrar(&RedbStore::open(path).unwrap()).await;
        eprintln!("{OPENED}");
        let sides: Vec<_> =
            (0..SIDES).map(|side| tokio::spawn(change_for_ever(registrar.clone(), side, seed))).collect();
        for side in sides {
            side.await.unwrap();
        }
    });
}

/// Each side has a group of its own names, and makes and deletes peers in it, or it anew.
async fn change_for_ever(registrar: Registrar, side: u64, seed: u64) {
    let mut random = Random(seed * SIDES + side);
    let begin = Instant::now();
    let mut number: u64 = 0;
    while begin.elapsed() < LIFE * 200 {
        number += 1;
        let registry = registrar.registry().borrow().clone();
        let label = format!("side-{side}");
        let group = registry.groups.values().find(|group| group.group.label.as_str() == label);
        let Some(group) = group else {
            run(&registrar, side, ("group", &label), create_group(&label)).await;
            continue;
        };
        let id: GroupId = group.id().clone();
        let oldest: Option<(PeerId, String)> =
            group.peers.values().next().map(|peer| (peer.id.clone(), peer.label.as_ref().unwrap().to_string()));
        match (random.below(10), oldest) {
            (0..3, Some((peer, label))) => {
                run(&registrar, side, ("-peer", &label), Command::DeletePeer { group: id, peer }).await;
            }
            (3, None) => run(&registrar, side, ("-group", &label), Command::DeleteGroup { group: id }).await,
            _ if group.peers.len() < 100 => {
                let mut key = [7; 32];
                key[..8].copy_from_slice(&number.to_le_bytes());
                key[8..16].copy_from_slice(&seed.to_le_bytes());
                key[16] = side as u8;
                let name = format!("{label}-{seed}-{number}");
                run(&registrar, side, ("peer", &name), create_peer(&id, &name, key)).await;
            }
            _ => {}
        }
    }
}

async fn run(registrar: &Registrar, side: u64, (noun, name): (&str, &str), command: Command) {
    tell(&format!("{side} begin {noun} {name}"));
    registrar.execute(Author::Api, command).await.unwrap();
    tell(&format!("{side} done"));
}
