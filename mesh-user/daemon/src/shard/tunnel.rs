//! One lane of a tunnel, on one shard: a TUN queue, its sockets and sessions, and what goes between them.
//!
//! `outbound` and `inbound` are the two directions; here is what both share.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use mesh_common::{datapath::DropReason, ids::RemapId};
use mesh_core::{
    plan::{Peer, PublicKey, slots::Slots},
    tunnel::{Birth, Device, MESSAGE_ROOM, PeerSlot, Sealed, StaticSecret, coalesce::Run, segment},
};

use super::{
    Event, Routing,
    batch::{Batch, Departure, Heading, Outlet, Train},
    handover::Inbox,
    lane::Bond,
    roster::{Change, LaneName, NewLane},
    statistics::{PeerCounters, ShardCounters},
};
use crate::kernel::{tun::Tun, udp::UdpSockets};

/// Room in front of a packet for the headers of an ICMP error that quotes it.
pub(super) const HEADROOM: usize = 128;
/// Longest packet of IP, and longest datagram of UDP.
pub(super) const MAX_PACKET: usize = 65_535;

/// ICMP errors are limited per such a time.
const ICMP_PERIOD: Duration = Duration::from_secs(1);

pub(super) struct Tunnel {
    pub(super) name: LaneName,
    pub(super) bond: Bond,
    /// `None`: every lane has every peer.
    pub(super) inbox: Option<Inbox>,
    /// `None`: lost, and not yet replaced.
    pub(super) tun: Option<Tun>,
    pub(super) outlet: Outlet,
    pub(super) mtu: usize,
    pub(super) routing: Routing,
    /// Of what leaves, for sockets that are yet to come.
    mark: u32,
    pub(super) device: Device,
    /// By peer slot.
    peers: Vec<Option<Readable>>,
    /// Failed receives since the last one that worked.
    pub(super) failures: u32,
    /// Its device or socket is lost, and the control thread does not know it yet.
    pub(super) untold: Option<Event>,
}

/// What the readers of the statistics see of a peer.
struct Readable {
    counters: Arc<PeerCounters>,
    endpoint: Option<SocketAddr>,
}

/// What a shard has once, for all its tunnels.
pub(super) struct Bench {
    /// Read from a TUN; the packet starts at [`HEADROOM`].
    pub(super) packet: Box<[u8]>,
    /// Received from a socket, and decrypted; starts at [`HEADROOM`].
    pub(super) wire: Box<[u8]>,
    /// What a message that is no data is answered with.
    pub(super) reply: Box<[u8]>,
    pub(super) batch: Batch,
    pub(super) run: Run,
    pub(super) tables: Arc<Slots>,
    pub(super) counters: Arc<ShardCounters>,
    /// Read once a turn, and around handshakes.
    pub(super) now: Instant,
    /// When ICMP errors last got their tokens.
    refilled: Instant,
}

impl Bench {
    pub(super) fn new(counters: Arc<ShardCounters>, now: Instant) -> Self {
        let buffer = |len| vec![0; len].into_boxed_slice();
        Bench {
            packet: buffer(HEADROOM + MAX_PACKET + segment::SLACK),
            wire: buffer(HEADROOM + MAX_PACKET),
            reply: buffer(MAX_PACKET + MESSAGE_ROOM),
            batch: Batch::new(),
            run: Run::default(),
            tables: Arc::new(Slots::default()),
            counters,
            now,
            refilled: now,
        }
    }

    pub(super) fn count_remap(&self, remap: Option<RemapId>, bytes: u64) {
        if let Some(remap) = remap {
            self.counters.remap(remap, 1, bytes);
        }
    }

    pub(super) fn read_clock(&mut self) {
        self.now = Instant::now();
    }

    /// Reads the clock, which the tables do not have.
    pub(super) fn begin_turn(&mut self) {
        self.read_clock();
        if self.now.saturating_duration_since(self.refilled) >= ICMP_PERIOD {
            self.refilled = self.now;
            self.tables.refill_icmp();
        }
    }
}

impl Tunnel {
    pub(super) fn new(lane: NewLane, birth: &Birth) -> Self {
        Tunnel {
            bond: Bond::new(lane.name.lane, lane.board, lane.has_sisters),
            inbox: lane.inbox,
            name: lane.name,
            tun: Some(lane.queue.tun),
            outlet: Outlet::new(lane.queue.sockets),
            mtu: usize::from(lane.mtu),
            routing: lane.routing,
            mark: 0,
            device: Device::new(lane.secret, birth),
            peers: Vec::new(),
            failures: 0,
            untold: None,
        }
    }

    pub(super) fn set_sockets(&mut self, sockets: UdpSockets) -> anyhow::Result<()> {
        if self.mark != 0 {
            sockets.set_mark(self.mark)?;
        }
        self.outlet = Outlet::new(sockets);
        self.failures = 0;
        self.bond.board.find();
        Ok(())
    }

    fn set_mark(&mut self, mark: u32) -> anyhow::Result<()> {
        self.outlet.sockets.set_mark(mark)?;
        self.mark = mark;
        Ok(())
    }

    /// One change, but for the sockets, which the poll has to know too.
    pub(super) fn change(&mut self, now: Instant, change: Change) -> anyhow::Result<()> {
        match change {
            Change::Mtu(mtu) => self.mtu = usize::from(mtu),
            Change::Secret(secret) => self.set_secret(now, secret),
            Change::AllowedIps(allowed, admission) => self.routing = Routing::AllowedIps(allowed, admission),
            Change::Mark(mark) => self.set_mark(mark)?,
            Change::Sockets(sockets) => self.set_sockets(sockets)?,
            Change::AddPeer(key, peer, counters) => self.add_peer(now, key, &peer, counters)?,
            Change::UpdatePeer(key, peer) => {
                let slot = self.device.update_peer(now, &key, &peer)?;
                self.join(key, slot, &peer);
            }
            Change::Endpoints(key, endpoints) => self.device.set_endpoints(now, &key, &endpoints)?,
            Change::MovePeer(key, to) => self.move_peer(now, &key, to)?,
            Change::RemovePeer(key) => self.remove_peer(&key),
        }
        Ok(())
    }

    /// A peer that is this node itself now is gone.
    fn set_secret(&mut self, now: Instant, secret: Option<StaticSecret>) {
        let own = secret.as_ref().map(StaticSecret::public_key);
        if let Some((own, Ok(slot))) = own.map(|own| (own, self.device.slot(&own))) {
            self.peers[slot.index()] = None;
            self.bond.leave(&own);
        }
        self.device.set_secret(now, secret);
    }

    fn add_peer(
        &mut self,
        now: Instant,
        key: PublicKey,
        peer: &Peer,
        counters: Arc<PeerCounters>,
    ) -> anyhow::Result<()> {
        let slot = self.device.add_peer(now, key, peer)?;
        if self.peers.len() <= slot.index() {
            self.peers.resize_with(slot.index() + 1, || None);
        }
        self.peers[slot.index()] = Some(Readable { counters, endpoint: None });
        self.join(key, slot, peer);
        Ok(())
    }

    /// Where the plan leads packets to a remote, all peers of the device are gateway nodes of that one.
    fn join(&mut self, key: PublicKey, slot: PeerSlot, peer: &Peer) {
        if matches!(self.routing, Routing::Plan) {
            let is_live = self.device.is_live(slot);
            self.bond.join(key, slot, peer, is_live);
        }
    }

    fn move_peer(&mut self, now: Instant, key: &PublicKey, to: SocketAddr) -> anyhow::Result<()> {
        self.device.move_peer(now, key, to)?;
        let slot = self.device.slot(key)?;
        if let Some(Some(peer)) = self.peers.get_mut(slot.index()) {
            peer.endpoint = Some(to);
            peer.counters.set_endpoint(Some(to));
        }
        Ok(())
    }

    fn remove_peer(&mut self, key: &PublicKey) {
        if let Ok(slot) = self.device.slot(key) {
            self.peers[slot.index()] = None;
        }
        self.device.remove_peer(key);
        self.bond.leave(key);
        if let Some(left) = self.bond.any_peer() {
            self.device.prefer(left);
        }
    }

    pub(super) fn counters(&self, slot: PeerSlot) -> Option<&PeerCounters> {
        Some(&self.peers.get(slot.index())?.as_ref()?.counters)
    }

    /// Sends one packet by itself, or keeps it for the session that is not there yet and asks the peer for one. The batch
    /// is empty.
    pub(super) fn seal_alone(
        &mut self,
        now: Instant,
        heading: &Heading,
        packet: &[u8],
        batch: &mut Batch,
        counters: &ShardCounters,
    ) {
        match self.device.seal(now, heading.peer, packet, batch.room()) {
            Ok(Sealed::Data(len) | Sealed::Handshake(len)) => self.send_alone(heading, len, batch, counters),
            Ok(Sealed::Waiting) => {}
            Err(reason) => counters.count_drop(reason, 1),
        }
    }

    /// Seals the messages of the batch and sends them.
    pub(super) fn send(&mut self, now: Instant, batch: &mut Batch, counters: &ShardCounters) {
        let Some(peer) = batch.peer() else { return };
        let (buffer, messages) = batch.messages();
        let sealed = self.device.seal_batch(now, peer, buffer, messages);
        if sealed < messages.len() {
            // The session has no more messages to give, and the packets will be sent again by who sent them.
            counters.count_drop(DropReason::NoSession, (messages.len() - sealed) as u64);
            batch.cut(sealed);
        }
        for (train, payload) in batch.trains() {
            self.send_train(train, payload, counters);
        }
        batch.clear();
    }

    /// Sends the message that was written to the room of the batch.
    fn send_alone(&mut self, heading: &Heading, len: usize, batch: &mut Batch, counters: &ShardCounters) {
        self.send_train(&Train::alone(heading, len), &batch.room()[..len], counters);
    }

    fn send_train(&mut self, train: &Train, payload: &[u8], counters: &ShardCounters) {
        match self.outlet.send(train, payload, counters) {
            Departure::Gone => {}
            Departure::Failed => self.bond.failed(train.peer()),
            Departure::WithoutSource(peer) => self.device.forget_source(peer),
        }
        if let Some(peer) = self.counters(train.peer()) {
            peer.sent.add(train.count() as u64, payload.len() as u64);
        }
    }

    /// The heading of messages to a peer, if it is known where the peer is.
    pub(super) fn heading(&self, peer: PeerSlot, tos: u8) -> Result<Heading, DropReason> {
        let path = self.device.path(peer).ok_or(DropReason::NoSession)?;
        Ok(Heading { peer, path, tos })
    }

    /// Sends what timers ask for.
    pub(super) fn run_timers(&mut self, bench: &mut Bench) {
        bench.read_clock();
        let Bench { batch, counters, now, .. } = bench;
        while let Some(transmit) = self.device.poll_transmit(*now, batch.room()) {
            if let Ok(heading) = self.heading(transmit.peer, 0) {
                self.send_alone(&heading, transmit.len, batch, counters);
            }
        }
        counters.count_drop(DropReason::NoSession, self.device.take_abandoned());
    }

    /// Sends packets of a peer that waited for the session that is there now.
    pub(super) fn flush_waiting(&mut self, peer: PeerSlot, bench: &mut Bench) {
        let Bench { batch, counters, now, .. } = bench;
        if !self.device.can_flush(peer) {
            return;
        }
        let Ok(heading) = self.heading(peer, 0) else { return };
        while let Some(len) = self.device.flush(*now, peer, batch.room()) {
            self.send_alone(&heading, len, batch, counters);
        }
    }

    /// A session of the peer began or ended.
    pub(super) fn note_session(&mut self, key: &PublicKey) {
        let Ok(slot) = self.device.slot(key) else { return };
        let is_live = self.device.is_live(slot);
        self.bond.session(slot, is_live);
        if let Some(counters) = self.counters(slot) {
            counters.set_session(is_live);
        }
    }

    /// Tells the readers of the statistics where the peer is and how old its session.
    pub(super) fn publish(&mut self, key: &PublicKey) {
        let Tunnel { device, peers, .. } = self;
        let Ok(slot) = device.slot(key) else { return };
        let Some(Some(peer)) = peers.get_mut(slot.index()) else { return };
        let live = device.is_live(slot);
        let round_trip = device.round_trip(slot).filter(|_| live);
        peer.counters.set_handshake(device.last_handshake(slot).filter(|_| live), round_trip);
        let endpoint = device.path(slot).map(|path| path.to);
        if peer.endpoint != endpoint {
            tracing::info!("peer {key:?} is at {}", endpoint.map_or("no address".to_owned(), |to| to.to_string()));
            peer.endpoint = endpoint;
            peer.counters.set_endpoint(endpoint);
        }
    }
}
