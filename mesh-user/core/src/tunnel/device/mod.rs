//! One WireGuard device: its peers by key, by connection and by place.
//!
//! `traffic` is what goes through it: packets, datagrams and time; `batch` is the same for many data messages at once.

mod batch;
mod outcome;
mod traffic;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use mesh_common::ids::ConnectionId;
use thiserror::Error;

pub use batch::{BATCH, DATA_HEADER};
pub use outcome::{Caller, Identified, Opened, Sealed, Transmit};

use super::{
    gate::{Gate, Identity},
    index::{MAX_SLOTS, SessionIndex},
    limits::Limits,
    noise::curve::StaticSecret,
    peer::{Path, Peer, Place},
    wheel::Wheel,
};
use crate::plan::{self, PublicKey};

/// Where a peer of a device is kept. Names the same peer until that is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerSlot(u32);

impl PeerSlot {
    /// Small numbers, so that what is kept beside a peer can be an array.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a device cannot find out by itself, since it does no I/O.
#[derive(Clone, Debug)]
pub struct Birth {
    /// Which shard it is on: the top 6 bits of its session indices.
    pub shard: u8,
    pub now: Instant,
    /// The wall clock of `now`, since 1970. Not read again: what the wall clock does later does not move handshakes.
    pub since_epoch: Duration,
    /// From the kernel's generator of random numbers, and for this device only.
    pub seed: [u8; 32],
}

/// Peers and sessions of one TUN device.
pub struct Device {
    shard: u8,
    gate: Gate,
    slots: Vec<Slot>,
    /// Places without a peer.
    free: Vec<PeerSlot>,
    by_key: BTreeMap<PublicKey, PeerSlot>,
    /// By number of the connection.
    by_connection: Vec<Option<PeerSlot>>,
    wheel: Wheel,
    events: VecDeque<PublicKey>,
}

/// A place for a peer. The generation goes into session indices, so that a message for a peer that was removed never
/// meets its successor.
struct Slot {
    generation: u8,
    peer: Option<Box<Peer>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DeviceError {
    #[error("a peer may not have this node's own public key")]
    OwnKey,
    #[error("a device holds at most 262,144 peers")]
    Full,
    #[error("the device has no such peer")]
    NoSuchPeer,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let own = self.gate.identity.as_ref().map(|identity| identity.public);
        f.debug_struct("Device").field("own", &own).field("peers", &self.by_key).finish_non_exhaustive()
    }
}

impl Device {
    /// Without a key the device holds peers and speaks to nobody.
    pub fn new(secret: Option<StaticSecret>, birth: &Birth) -> Device {
        Device {
            shard: birth.shard,
            gate: Gate::new(secret, birth.now, birth.since_epoch, birth.seed),
            slots: Vec::new(),
            free: Vec::new(),
            by_key: BTreeMap::new(),
            by_connection: Vec::new(),
            wheel: Wheel::new(birth.now),
            events: VecDeque::new(),
        }
    }

    /// For tests: sessions that are renewed after a few messages, or sooner.
    pub fn set_limits(&mut self, limits: Limits) {
        self.gate.limits = limits;
    }

    /// Another private key: all sessions end, and peers with a keepalive are sought anew. A peer that has the public key
    /// of this node now is removed, and named.
    pub fn set_secret(&mut self, now: Instant, secret: Option<StaticSecret>) -> Option<PublicKey> {
        self.gate.identity = secret.map(Identity::new);
        let own = self.own().filter(|own| self.by_key.contains_key(own));
        if let Some(own) = &own {
            self.remove_peer(own);
        }
        for at in 0..self.slots.len() {
            if let Some(peer) = &mut self.slots[at].peer {
                peer.start_over(now, &mut self.gate);
                self.look_at(PeerSlot(at as u32));
            }
        }
        own
    }

    /// The public key of this node.
    pub fn own(&self) -> Option<PublicKey> {
        Some(self.gate.identity.as_ref()?.public)
    }

    /// Multiplications on the curve so far; what handshakes have cost.
    pub fn exchanges(&self) -> u64 {
        self.gate.exchanges.count()
    }

    /// Adds a peer, or updates the one with this key.
    pub fn add_peer(&mut self, now: Instant, key: PublicKey, config: &plan::Peer) -> Result<PeerSlot, DeviceError> {
        if Some(key) == self.own() {
            return Err(DeviceError::OwnKey);
        }
        if self.by_key.contains_key(&key) {
            return self.update_peer(now, &key, config);
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < MAX_SLOTS => {
                self.slots.push(Slot { generation: 0, peer: None });
                PeerSlot(self.slots.len() as u32 - 1)
            }
            None => return Err(DeviceError::Full),
        };
        let place = Place { shard: self.shard, slot: slot.0, generation: self.slots[slot.index()].generation };
        self.slots[slot.index()].peer = Some(Box::new(Peer::new(key, place, config)));
        self.by_key.insert(key, slot);
        self.update_peer(now, &key, config)
    }

    /// Keys and session stay. Another preshared key counts from the next handshake on, which is made at once.
    pub fn update_peer(&mut self, now: Instant, key: &PublicKey, config: &plan::Peer) -> Result<PeerSlot, DeviceError> {
        let slot = self.slot(key)?;
        let peer = self.slots[slot.index()].peer.as_mut().ok_or(DeviceError::NoSuchPeer)?;
        let (before, path) = (peer.connection, peer.path);
        peer.update(now, &self.gate, config);
        if peer.path != path {
            self.tell(slot);
        }
        self.disconnect(before, slot);
        let at = usize::from(config.connection.0);
        if self.by_connection.len() <= at {
            self.by_connection.resize(at + 1, None);
        }
        self.by_connection[at] = Some(slot);
        self.look_at(slot);
        Ok(slot)
    }

    /// Replaces the endpoints, and tries new ones at once where there is no session, so that a restarted node does not
    /// wait for its peer.
    pub fn set_endpoints(
        &mut self,
        now: Instant,
        key: &PublicKey,
        endpoints: &[SocketAddr],
    ) -> Result<(), DeviceError> {
        let slot = self.slot(key)?;
        let peer = self.slots[slot.index()].peer.as_mut().ok_or(DeviceError::NoSuchPeer)?;
        if peer.set_endpoints(now, &self.gate, endpoints) && !endpoints.is_empty() && !peer.is_live(now, &self.gate) {
            peer.seek(now, &self.gate);
            self.tell(slot);
        }
        self.look_at(slot);
        Ok(())
    }

    /// The peer is there from now on, also if a live session heard it elsewhere. Only one with a keepalive that has no
    /// session is called at once.
    pub fn move_peer(&mut self, now: Instant, key: &PublicKey, to: SocketAddr) -> Result<(), DeviceError> {
        let slot = self.slot(key)?;
        let peer = self.slots[slot.index()].peer.as_mut().ok_or(DeviceError::NoSuchPeer)?;
        peer.path = Some(Path { to, from: None });
        if peer.keepalive.is_some() && !peer.is_live(now, &self.gate) {
            peer.seek(now, &self.gate);
        }
        self.tell(slot);
        self.look_at(slot);
        Ok(())
    }

    /// Forgets the peer and its keys. Removing one that is not there is harmless.
    pub fn remove_peer(&mut self, key: &PublicKey) {
        let Some(slot) = self.by_key.remove(key) else { return };
        let place = &mut self.slots[slot.index()];
        let Some(mut peer) = place.peer.take() else { return };
        place.generation = peer.place.generation;
        peer.leave(&mut self.gate);
        self.wheel.clear(slot.0);
        self.disconnect(peer.connection, slot);
        self.free.push(slot);
    }

    pub fn slot(&self, key: &PublicKey) -> Result<PeerSlot, DeviceError> {
        self.by_key.get(key).copied().ok_or(DeviceError::NoSuchPeer)
    }

    /// From now on packets of its connection go to this peer, where several are of one connection.
    pub fn prefer(&mut self, slot: PeerSlot) {
        let Some(connection) = self.connection(slot) else { return };
        if let Some(place) = self.by_connection.get_mut(usize::from(connection.0)) {
            *place = Some(slot);
        }
    }

    /// The peer that packets of this connection go to: the one that was added, updated or preferred last.
    #[inline]
    pub fn peer_of(&self, connection: ConnectionId) -> Option<PeerSlot> {
        *self.by_connection.get(usize::from(connection.0))?
    }

    pub fn peers(&self) -> impl Iterator<Item = (&PublicKey, PeerSlot)> {
        self.by_key.iter().map(|(key, slot)| (key, *slot))
    }

    pub fn connection(&self, slot: PeerSlot) -> Option<ConnectionId> {
        self.peer(slot).map(|peer| peer.connection)
    }

    pub fn path(&self, slot: PeerSlot) -> Option<Path> {
        self.peer(slot)?.path
    }

    /// Leaves our address to the routing table again, after it turned out to be gone.
    pub fn forget_source(&mut self, slot: PeerSlot) {
        if let Some(path) = self.peer_mut(slot).and_then(|peer| peer.path.as_mut()) {
            path.from = None;
        }
    }

    /// When the last handshake was completed, be its session over or not. `None`: there was none.
    pub fn last_handshake(&self, slot: PeerSlot) -> Option<Instant> {
        self.peer(slot)?.last_handshake
    }

    /// From a message of the last handshake to the answer of the peer, with the arithmetic of both ends (a fraction of a
    /// millisecond): initiation to response, or response to the first message of the new session.
    pub fn round_trip(&self, slot: PeerSlot) -> Option<Duration> {
        self.peer(slot)?.round_trip
    }

    /// A session is in force, as far as was told by [`Device::poll_event`].
    pub fn is_live(&self, slot: PeerSlot) -> bool {
        self.peer(slot).is_some_and(|peer| peer.was_live)
    }

    /// Something secret of a session is still in memory, be it in force or not.
    #[cfg(test)]
    pub(super) fn has_keys(&self, slot: PeerSlot) -> bool {
        let session = self.peer(slot).and_then(|peer| peer.session.as_ref());
        session.is_some_and(|session| !session.keys.is_empty() || session.initiation.is_some())
    }

    /// A peer whose session began, was renewed or ended, or that is elsewhere now.
    pub fn poll_event(&mut self) -> Option<PublicKey> {
        while let Some(key) = self.events.pop_front() {
            let slot = self.by_key.get(&key).copied();
            if let Some(peer) = slot.and_then(|slot| self.peer_mut(slot)).filter(|peer| peer.is_told) {
                peer.is_told = false;
                return Some(key);
            }
        }
        None
    }

    /// The wheel learns when the peer has to be looked at.
    fn look_at(&mut self, slot: PeerSlot) {
        if let Some(at) = self.peer(slot).and_then(|peer| peer.next(&self.gate)) {
            self.wheel.set(slot.0, at);
        }
    }

    fn disconnect(&mut self, connection: ConnectionId, slot: PeerSlot) {
        if let Some(place) = self.by_connection.get_mut(usize::from(connection.0)).filter(|at| **at == Some(slot)) {
            *place = None;
        }
    }

    fn named(&self, index: SessionIndex) -> Option<PeerSlot> {
        let slot = PeerSlot(index.slot());
        (index.shard() == self.shard && self.peer(slot).is_some()).then_some(slot)
    }

    fn peer(&self, slot: PeerSlot) -> Option<&Peer> {
        self.slots.get(slot.index())?.peer.as_deref()
    }

    fn peer_mut(&mut self, slot: PeerSlot) -> Option<&mut Peer> {
        self.slots.get_mut(slot.index())?.peer.as_deref_mut()
    }
}
