//! The UAPI sockets of a plan's tunnels: `wg show` tells the truth about each, and `wg set` is refused, since the plan owns
//! them.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::ready,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Result;
use mesh_core::{
    plan::{self, DeviceName, GroupPeer, PublicKey},
    uapi::{self, Errno, Live, Outcome, PrivateKey, print, print_errno},
};
use tokio::{sync::watch, task::JoinHandle, time::sleep};

use super::{
    clock::Clock,
    conversation::{self, Reply},
    engine::live,
    place::{self, Watch},
    socket::{self, Socket},
};
use crate::{
    api::Snapshot,
    shard::{PeerStatistics, Shards},
    state::StateDirectory,
};

/// Between two attempts while something is in the way.
const RETRY: Duration = Duration::from_secs(1);

/// One socket for each tunnel of the plan in force.
#[derive(Debug)]
pub struct Tunnels {
    directory: PathBuf,
    known: Arc<Known>,
    served: BTreeMap<DeviceName, Served>,
    watch: Option<Watch>,
    /// Whose names somebody else has. Told once.
    in_use: BTreeSet<DeviceName>,
}

/// What replies are made of.
#[derive(Debug)]
struct Known {
    secret: PrivateKey,
    /// Has the keys of the peers of network groups.
    state: StateDirectory,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    shards: Arc<Shards>,
}

#[derive(Debug)]
struct Served {
    socket: Arc<Socket>,
    clients: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.clients.abort();
    }
}

impl Tunnels {
    /// `secret`: of this cluster, for every tunnel but those of network groups, whose keys are in the state directory.
    pub fn new(
        directory: &Path,
        secret: PrivateKey,
        state: StateDirectory,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        shards: Arc<Shards>,
    ) -> Tunnels {
        Tunnels {
            directory: directory.to_owned(),
            known: Arc::new(Known { secret, state, snapshots, shards }),
            served: BTreeMap::new(),
            watch: None,
            in_use: BTreeSet::new(),
        }
    }

    /// Follows the plan, and makes anew what others remove. Dropped, it takes its sockets away.
    pub async fn run(mut self) {
        let mut snapshots = self.known.snapshots.clone();
        loop {
            self.catch_up();
            let is_complete = self.watch.is_some() || self.served.is_empty();
            tokio::select! {
                published = snapshots.changed() => {
                    if published.is_err() {
                        return;
                    }
                }
                () = place::changed(&mut self.watch) => {}
                () = sleep(RETRY), if !is_complete => {}
            }
        }
    }

    fn catch_up(&mut self) {
        let snapshot = Arc::clone(&self.known.snapshots.borrow());
        self.served.retain(|device, served| snapshot.listen_ports.contains_key(device) && served.socket.is_in_place());
        for device in snapshot.listen_ports.keys() {
            if self.served.contains_key(device) {
                continue;
            }
            match Socket::bind(&self.directory, device) {
                Ok(socket) => self.serve(device, socket),
                Err(error) if self.in_use.insert(device.clone()) => {
                    tracing::warn!("`wg show {device}` will not tell of this tunnel: {error:#}");
                }
                Err(_) => {}
            }
        }
        if self.watch.is_none() && !self.served.is_empty() {
            self.watch = place::watch(&self.directory).ok();
        }
    }

    fn serve(&mut self, device: &DeviceName, socket: Socket) {
        self.in_use.remove(device);
        let socket = Arc::new(socket);
        let clients = tokio::spawn(accept(device.clone(), Arc::clone(&socket), Arc::clone(&self.known)));
        self.served.insert(device.clone(), Served { socket, clients });
    }
}

async fn accept(device: DeviceName, socket: Arc<Socket>, known: Arc<Known>) {
    loop {
        let client = match socket.accept().await {
            Ok(client) => client,
            Err(error) => {
                tracing::warn!("{device}: cannot take a connection: {error}");
                sleep(RETRY).await;
                continue;
            }
        };
        let (device, known) = (device.clone(), Arc::clone(&known));
        tokio::spawn(async move {
            let held = conversation::hold(client, |asked| ready(known.answer(&device, asked))).await;
            if let Err(error) = held {
                tracing::debug!("{device}: a client of the socket was lost: {error:#}");
            }
        });
    }
}

impl Known {
    fn answer(&self, device: &DeviceName, asked: Outcome) -> Result<Reply> {
        let mut reply = Reply::default();
        let refused = match asked {
            Outcome::Get => {
                print(&self.device(device), &mut *reply)?;
                None
            }
            Outcome::Set(_) => {
                tracing::warn!(
                    "{device}: a change over UAPI was refused: the plan owns this tunnel, change its manifests"
                );
                Some(Errno::NotPermitted)
            }
            Outcome::Refused(refusal) | Outcome::Lost(refusal) => Some(refusal.errno),
        };
        print_errno(refused, &mut *reply)?;
        Ok(reply)
    }

    fn device(&self, device: &DeviceName) -> uapi::Device {
        let snapshot = Arc::clone(&self.snapshots.borrow());
        let statistics = self.shards.statistics().peers;
        let counted: BTreeMap<&PublicKey, &PeerStatistics> =
            statistics.iter().filter(|peer| peer.device == *device).map(|peer| (&peer.peer, peer)).collect();
        let clock = Clock::new();
        let live = |key: &PublicKey| counted.get(key).map(|counted| live(counted, &clock)).unwrap_or_default();
        let (private_key, peers) = match (snapshot.plan.groups.get(device), snapshot.plan.tunnels.get(device)) {
            (Some(tunnel), _) => {
                let key = self.state.peer_key(&tunnel.peer).ok().and_then(|key| PrivateKey::new(&key));
                (key, tunnel.peers.iter().map(|(key, peer)| of_group(*key, peer, live(key))).collect())
            }
            (None, Some(tunnel)) => {
                let peers = tunnel.peers.iter().map(|(key, peer)| of_connection(*key, peer, live(key)));
                (Some(self.secret.clone()), peers.collect())
            }
            (None, None) => (Some(self.secret.clone()), Vec::new()),
        };
        let listen_port = snapshot.listen_ports.get(device).and_then(|ports| ports.first()).copied().unwrap_or(0);
        uapi::Device { private_key, listen_port, fwmark: 0, peers }
    }
}

/// Allowed are the real prefixes that the remote may use as source; that is what is seen inside the tunnel.
fn of_connection(key: PublicKey, peer: &plan::Peer, live: Live) -> uapi::Peer {
    let Live { endpoint, last_handshake, sent, received } = live;
    uapi::Peer {
        key,
        preshared_key: peer.preshared_key.clone(),
        endpoint: endpoint.or(peer.endpoints.first().copied()),
        last_handshake,
        sent,
        received,
        keepalive: peer.keepalive_seconds.unwrap_or(0),
        allowed_ips: peer.announced.keys().copied().collect(),
    }
}

fn of_group(key: PublicKey, peer: &GroupPeer, live: Live) -> uapi::Peer {
    let Live { endpoint, last_handshake, sent, received } = live;
    uapi::Peer {
        key,
        preshared_key: None,
        endpoint: endpoint.or(peer.endpoint),
        last_handshake,
        sent,
        received,
        keepalive: peer.keepalive_seconds.unwrap_or(0),
        allowed_ips: vec![peer.address.into()],
    }
}

/// After a daemon that was killed: removes the sockets that nobody answers, and says how many those were.
pub fn remove_sockets<'a>(directory: &Path, devices: impl IntoIterator<Item = &'a DeviceName>) -> Result<usize> {
    let mut removed = 0;
    for device in devices {
        removed += usize::from(socket::remove_stale(directory, device)?);
    }
    Ok(removed)
}
