//! Which lanes and peers of each device are on which shard, and which tasks a command becomes.

use std::{collections::BTreeMap, net::SocketAddr, os::fd::OwnedFd, sync::Arc, time::Instant};

use anyhow::{Context as _, Result, ensure};
use ipnet::IpNet;
use mesh_common::ids::ConnectionId;
use mesh_core::{
    plan::{DeviceName, Peer, PublicKey, slots::Slots},
    tunnel::{AllowedIps, Lane, MAX_LANES, StaticSecret, lane},
};

use super::{
    Admission, Command, Queue, Routing, Spread,
    board::Board,
    handover::{Door, Inbox},
    statistics::{LaneStatistics, PeerCounters, PeerStatistics},
};
use crate::kernel::{steering::Steering, udp::UdpSockets};

/// A lane among all of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LaneName {
    pub(super) device: DeviceName,
    pub(super) lane: Lane,
}

/// What one shard is told to do.
pub(super) enum Task {
    Add(Box<NewLane>),
    Remove(LaneName),
    Change(LaneName, Box<Change>),
    SetTables(Arc<Slots>),
    Barrier,
}

pub(super) struct NewLane {
    pub(super) name: LaneName,
    pub(super) mtu: u16,
    pub(super) secret: Option<StaticSecret>,
    pub(super) queue: Queue,
    pub(super) routing: Routing,
    pub(super) board: Arc<Board>,
    /// `None`: every lane has every peer.
    pub(super) inbox: Option<Inbox>,
    /// There are other lanes, which could do its work.
    pub(super) has_sisters: bool,
}

/// What becomes different for one lane.
pub(super) enum Change {
    Mtu(u16),
    Secret(Option<StaticSecret>),
    AllowedIps(Arc<AllowedIps>, Admission),
    Mark(u32),
    Sockets(UdpSockets),
    AddPeer(PublicKey, Peer, Arc<PeerCounters>),
    UpdatePeer(PublicKey, Peer),
    Endpoints(PublicKey, Vec<SocketAddr>),
    MovePeer(PublicKey, SocketAddr),
    RemovePeer(PublicKey),
}

/// What the control thread knows of the shards' work; no shard reads it.
#[derive(Debug)]
pub(super) struct Roster {
    /// What each shard waits for.
    wakes: Vec<Arc<OwnedFd>>,
    epoch: Instant,
    devices: BTreeMap<DeviceName, Seats>,
}

#[derive(Debug)]
struct Seats {
    spread: Spread,
    board: Arc<Board>,
    lanes: Vec<Seat>,
    peers: BTreeMap<PublicKey, Vec<PeerSeat>>,
    /// Where each peer has one lane: which, by connection.
    homes: BTreeMap<ConnectionId, Lane>,
    /// The prefixes of these peers, as the steering has them.
    owned: BTreeMap<IpNet, Lane>,
}

#[derive(Clone, Copy, Debug)]
struct Seat {
    shard: usize,
    port: u16,
    peers: usize,
}

/// A peer on one lane.
#[derive(Debug)]
struct PeerSeat {
    lane: Lane,
    counters: Arc<PeerCounters>,
}

/// A task and the shard that it is for.
pub(super) type Assignment = (usize, Task);

impl Roster {
    pub(super) fn new(wakes: Vec<Arc<OwnedFd>>) -> Self {
        Roster { wakes, epoch: Instant::now(), devices: BTreeMap::new() }
    }

    /// Notes what the command changes; the tasks do it.
    pub(super) fn assign(&mut self, command: Command) -> Result<Vec<Assignment>> {
        match command {
            Command::AddTunnel { device, mtu, secret, spread, queues, routing } => {
                let has_sisters = spread == Spread::Lanes && queues.len() > 1;
                self.add_tunnel(&device, spread, queues, |name, queue, board, inbox| {
                    let (secret, routing) = (secret.clone(), routing.clone());
                    NewLane { name, mtu, secret, queue, routing, board, inbox, has_sisters }
                })
            }
            Command::SetMtu(device, mtu) => self.on_lanes(&device, || Change::Mtu(mtu)),
            Command::SetSecret(device, secret) => self.on_lanes(&device, || Change::Secret(secret.clone())),
            Command::SetAllowedIps(device, allowed, admission) => {
                let seats = self.devices.get_mut(&device).with_context(|| unknown(&device))?;
                seats.steer_peers(&allowed)?;
                self.on_lanes(&device, || Change::AllowedIps(Arc::clone(&allowed), admission.clone()))
            }
            Command::SetMark(device, mark) => self.on_lanes(&device, || Change::Mark(mark)),
            Command::SetSockets(device, sockets) => self.set_sockets(&device, sockets),
            Command::RemoveTunnel(device) => Ok(self.remove_tunnel(&device)),
            Command::AddPeer(device, key, peer) => self.add_peer(&device, key, &peer),
            Command::UpdatePeer(device, key, peer) => {
                self.on_peer(&device, &key, |lane| Change::UpdatePeer(key, peer.on_lane(lane)))
            }
            Command::SetEndpoints(device, key, lane, endpoints) => {
                let mut tasks = self.on_peer(&device, &key, |_| Change::Endpoints(key, endpoints.clone()))?;
                tasks.retain(|(_, task)| matches!(task, Task::Change(name, _) if name.lane == lane));
                Ok(tasks)
            }
            Command::MovePeer(device, key, to) => self.on_peer(&device, &key, |_| Change::MovePeer(key, to)),
            Command::RemovePeer(device, key) => Ok(self.remove_peer(&device, &key)),
            Command::SetTables(tables) => Ok(self.everywhere(|| Task::SetTables(Arc::clone(&tables)))),
            Command::Barrier => Ok(self.everywhere(|| Task::Barrier)),
        }
    }

    pub(super) fn statistics(&self, now: Instant) -> Vec<PeerStatistics> {
        let peers = self.devices.iter().flat_map(|(device, seats)| {
            seats.peers.iter().map(move |(key, on)| {
                let lanes = on.iter().map(|seat| seat.load(seats, now)).collect();
                PeerStatistics::new(device.clone(), *key, lanes)
            })
        });
        peers.collect()
    }

    /// Lane *i* is *i* shards behind lane 0, which is where the fewest lanes are.
    fn add_tunnel(
        &mut self,
        device: &DeviceName,
        spread: Spread,
        queues: Vec<Queue>,
        lane: impl Fn(LaneName, Queue, Arc<Board>, Option<Inbox>) -> NewLane,
    ) -> Result<Vec<Assignment>> {
        ensure!((1..=MAX_LANES).contains(&queues.len()), "{device}: a device has 1 to {MAX_LANES} queues");
        let mut tasks = self.remove_tunnel(device);
        let lanes_on =
            |shard| self.devices.values().flat_map(|seats| &seats.lanes).filter(|s| s.shard == shard).count();
        let first = (0..self.wakes.len()).min_by_key(|shard| lanes_on(*shard)).unwrap_or_default();
        let mut lanes = Vec::with_capacity(queues.len());
        let shard = |at: usize| (first + at) % self.wakes.len();
        let passes_on = spread == Spread::Peers && queues.len() > 1;
        let doors = (0..queues.len()).filter(|_| passes_on).map(|at| Door::new(Arc::clone(&self.wakes[shard(at)])));
        let (doors, inboxes): (Vec<_>, Vec<_>) = doors.unzip();
        let mut inboxes = inboxes.into_iter();
        let board = Arc::new(Board::new(queues.len(), steering(spread, &queues)?, doors));
        for (at, queue) in (0..).zip(queues) {
            let shard = shard(usize::from(at));
            let seat = Seat { shard, port: queue.sockets.port(), peers: 0 };
            let name = LaneName { device: device.clone(), lane: Lane(at) };
            tasks.push((seat.shard, Task::Add(Box::new(lane(name, queue, Arc::clone(&board), inboxes.next())))));
            lanes.push(seat);
        }
        let (peers, homes, owned) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        self.devices.insert(device.clone(), Seats { spread, board, lanes, peers, homes, owned });
        Ok(tasks)
    }

    fn remove_tunnel(&mut self, device: &DeviceName) -> Vec<Assignment> {
        let lanes = self.devices.remove(device).map(|seats| seats.lanes).unwrap_or_default();
        let remove = |(lane, seat): (u8, &Seat)| {
            (seat.shard, Task::Remove(LaneName { device: device.clone(), lane: Lane(lane) }))
        };
        (0..).zip(&lanes).map(remove).collect()
    }

    fn set_sockets(&mut self, device: &DeviceName, sockets: Vec<UdpSockets>) -> Result<Vec<Assignment>> {
        let seats = self.devices.get_mut(device).with_context(|| unknown(device))?;
        ensure!(seats.lanes.len() == sockets.len(), "{device}: has {} queues", seats.lanes.len());
        if let (Spread::Peers, Some(steering)) = (seats.spread, &mut *seats.board.steering()) {
            steering.attach_sockets(&sockets.iter().collect::<Vec<_>>())?;
        }
        let mut tasks = Vec::with_capacity(sockets.len());
        for ((lane, seat), sockets) in (0..).zip(&mut seats.lanes).zip(sockets) {
            seat.port = sockets.port();
            let name = LaneName { device: device.clone(), lane: Lane(lane) };
            tasks.push((seat.shard, Task::Change(name, Box::new(Change::Sockets(sockets)))));
        }
        Ok(tasks)
    }

    /// A peer is on every lane; or on the one that has the fewest, where each belongs to one.
    fn add_peer(&mut self, device: &DeviceName, key: PublicKey, peer: &Peer) -> Result<Vec<Assignment>> {
        let epoch = self.epoch;
        let seats = self.devices.get_mut(device).with_context(|| unknown(device))?;
        if !seats.peers.contains_key(&key) {
            let lanes = match seats.spread {
                Spread::Lanes => 0..seats.lanes.len(),
                Spread::Peers => {
                    let least = seats.lanes.iter().enumerate().min_by_key(|(_, seat)| seat.peers);
                    least.map_or(0..0, |(at, _)| at..at + 1)
                }
            };
            seats.lanes[lanes.clone()].iter_mut().for_each(|seat| seat.peers += 1);
            let seat = |at| PeerSeat { lane: Lane(at as u8), counters: Arc::new(PeerCounters::new(epoch)) };
            seats.peers.insert(key, lanes.map(seat).collect());
        }
        if let (Spread::Peers, [home]) = (seats.spread, seats.peers[&key].as_slice()) {
            seats.homes.insert(peer.connection, home.lane);
            seats.board.set_owner(&key, Some(home.lane));
        }
        let tasks = seats.peers[&key].iter().map(|seat| {
            let change = Change::AddPeer(key, peer.on_lane(seat.lane), Arc::clone(&seat.counters));
            (
                seats.lanes[seat.lane.index()].shard,
                Task::Change(LaneName { device: device.clone(), lane: seat.lane }, Box::new(change)),
            )
        });
        Ok(tasks.collect())
    }

    fn remove_peer(&mut self, device: &DeviceName, key: &PublicKey) -> Vec<Assignment> {
        let tasks = self.on_peer(device, key, |_| Change::RemovePeer(*key)).unwrap_or_default();
        if let Some(seats) = self.devices.get_mut(device) {
            seats.board.set_owner(key, None);
            for seat in seats.peers.remove(key).iter().flatten() {
                seats.lanes[seat.lane.index()].peers -= 1;
            }
        }
        tasks
    }

    fn on_lanes(&self, device: &DeviceName, change: impl Fn() -> Change) -> Result<Vec<Assignment>> {
        let seats = self.devices.get(device).with_context(|| unknown(device))?;
        let task = |(lane, seat): (u8, &Seat)| {
            (seat.shard, Task::Change(LaneName { device: device.clone(), lane: Lane(lane) }, Box::new(change())))
        };
        Ok((0..).zip(&seats.lanes).map(task).collect())
    }

    fn on_peer(
        &self,
        device: &DeviceName,
        key: &PublicKey,
        change: impl Fn(Lane) -> Change,
    ) -> Result<Vec<Assignment>> {
        let seats = self.devices.get(device).with_context(|| unknown(device))?;
        let on = seats.peers.get(key).with_context(|| format!("{device}: has no peer {key:?}"))?;
        let task = |seat: &PeerSeat| {
            let name = LaneName { device: device.clone(), lane: seat.lane };
            (seats.lanes[seat.lane.index()].shard, Task::Change(name, Box::new(change(seat.lane))))
        };
        Ok(on.iter().map(task).collect())
    }

    fn everywhere(&self, task: impl Fn() -> Task) -> Vec<Assignment> {
        (0..self.wakes.len()).map(|shard| (shard, task())).collect()
    }
}

/// One queue leaves nothing to choose.
fn steering(spread: Spread, queues: &[Queue]) -> Result<Option<Steering>> {
    let [first, _, ..] = queues else { return Ok(None) };
    let mut steering = Steering::load()?;
    steering.set_queues(&lane::slots(queues.len(), |_| true))?;
    steering.attach_tun(&first.tun)?;
    if spread == Spread::Peers {
        let sockets: Vec<_> = queues.iter().map(|queue| &queue.sockets).collect();
        steering.attach_sockets(&sockets)?;
    }
    Ok(Some(steering))
}

impl Seats {
    /// Writes what has changed of the queues that prefixes belong to. Peers come before their prefixes.
    fn steer_peers(&mut self, allowed: &AllowedIps) -> Result<()> {
        let mut steering = self.board.steering();
        let Some(steering) = steering.as_mut().filter(|_| self.spread == Spread::Peers) else { return Ok(()) };
        let homes = allowed.iter().filter_map(|(prefix, peer)| Some((prefix, *self.homes.get(&peer)?)));
        let owned: BTreeMap<IpNet, Lane> = homes.collect();
        for prefix in self.owned.keys().filter(|prefix| !owned.contains_key(prefix)) {
            steering.remove_owner(*prefix)?;
        }
        for (prefix, lane) in owned.iter().filter(|(prefix, lane)| self.owned.get(prefix) != Some(lane)) {
            steering.set_owner(*prefix, lane.0)?;
        }
        self.owned = owned;
        Ok(())
    }
}

fn unknown(device: &DeviceName) -> String {
    format!("{device}: the shards have no such tunnel")
}

impl PeerSeat {
    fn load(&self, seats: &Seats, now: Instant) -> LaneStatistics {
        let Seat { shard, port, .. } = seats.lanes[self.lane.index()];
        let condition = match seats.spread {
            Spread::Lanes => self.counters.condition(),
            Spread::Peers => seats.board.condition(self.lane),
        };
        self.counters.load(self.lane, shard, port, condition, now)
    }
}
