//! One WireGuard device: which peer a packet goes to, which peer a datagram came from, and what time wants.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use mesh_common::{
    datapath::DropReason,
    ids::ConnectionId,
    wire::wireguard::{COOKIE_REPLY, DATA, INITIATION, RESPONSE, is_message},
};
use thiserror::Error;

use super::{
    peer::{Path, Peer},
    session::{Gate, Refusal, Sealed, Session, StaticSecret, Unsealed},
};
use crate::plan::{self, PublicKey};

/// How often sessions that are awake are looked at; WireGuard's own timers count in seconds.
const TICK: Duration = Duration::from_millis(250);

/// Where a peer of a device is kept. Names the same peer until that is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerSlot(u16);

impl PeerSlot {
    /// Small numbers, so that what is kept beside a peer can be an array.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Peers and sessions of one TUN device.
pub struct Device {
    gate: Gate,
    own: PublicKey,
    slots: Vec<Slot>,
    by_key: BTreeMap<PublicKey, PeerSlot>,
    by_connection: BTreeMap<ConnectionId, PeerSlot>,
    next_tick: Option<Instant>,
    /// Slots from here on have not been looked at in this tick.
    cursor: usize,
    events: VecDeque<PublicKey>,
}

/// A place for a peer. The generation goes into session indices, so that a message for a peer that was removed never
/// meets its successor.
struct Slot {
    generation: u8,
    peer: Option<Peer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DeviceError {
    #[error("a peer may not have this node's own public key")]
    OwnKey,
    #[error("a device holds at most 65,536 peers")]
    Full,
    #[error("the device has no such peer")]
    NoSuchPeer,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device").field("own", &self.own).field("peers", &self.by_key).finish_non_exhaustive()
    }
}

/// What came out of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// An authentic IP packet; its source is not yet checked.
    Packet {
        peer: PeerSlot,
        len: usize,
    },
    /// An authentic message that carries nothing.
    Empty {
        peer: PeerSlot,
    },
    /// Send the output to the peer.
    Reply {
        peer: PeerSlot,
        len: usize,
    },
    /// Send the output to where the datagram came from: we are under load.
    Cookie {
        len: usize,
    },
    Refused(DropReason),
}

/// A message that time asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    pub peer: PeerSlot,
    pub len: usize,
}

/// Why the device wants to be called at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// Sessions are awake: retries, rekeys, keepalives, expiry.
    Sessions,
    /// A tick is under way; [`Device::poll_transmit`] has not yet returned `None`.
    Transmit,
}

impl Device {
    pub fn new(secret: StaticSecret) -> Device {
        Device {
            own: secret.public_key(),
            gate: Gate::new(secret),
            slots: Vec::new(),
            by_key: BTreeMap::new(),
            by_connection: BTreeMap::new(),
            next_tick: None,
            cursor: 0,
            events: VecDeque::new(),
        }
    }

    /// Another private key: all sessions end, and peers that are sought are called again.
    pub fn set_secret(&mut self, now: Instant, secret: StaticSecret) {
        self.own = secret.public_key();
        self.gate = Gate::new(secret);
        for (at, place) in self.slots.iter_mut().enumerate() {
            if let Some(peer) = &mut place.peer {
                place.generation = place.generation.wrapping_add(1);
                let index = u32::from(place.generation) << 16 | at as u32;
                peer.session = Session::new(&self.gate, &peer.key, index);
            }
        }
        self.look_soon(now);
    }

    /// Adds a peer, or updates the one with this key.
    pub fn add_peer(&mut self, now: Instant, key: PublicKey, config: &plan::Peer) -> Result<PeerSlot, DeviceError> {
        if key == self.own {
            return Err(DeviceError::OwnKey);
        }
        if self.by_key.contains_key(&key) {
            return self.update_peer(now, &key, config);
        }
        let at = match self.slots.iter().position(|slot| slot.peer.is_none()) {
            Some(at) => at,
            None => {
                self.slots.push(Slot { generation: 0, peer: None });
                self.slots.len() - 1
            }
        };
        let slot = PeerSlot(u16::try_from(at).map_err(|_| DeviceError::Full)?);
        let place = &mut self.slots[at];
        place.generation = place.generation.wrapping_add(1);
        let index = u32::from(place.generation) << 16 | u32::from(slot.0);
        place.peer = Some(Peer::new(&self.gate, key, config, index, now));
        self.by_key.insert(key, slot);
        self.by_connection.insert(config.connection, slot);
        self.look_soon(now);
        Ok(slot)
    }

    /// Keys and session stay.
    pub fn update_peer(&mut self, now: Instant, key: &PublicKey, config: &plan::Peer) -> Result<PeerSlot, DeviceError> {
        let slot = self.slot(key)?;
        let peer = self.peer_mut(slot).ok_or(DeviceError::NoSuchPeer)?;
        let before = std::mem::replace(&mut peer.connection, config.connection);
        peer.update(config);
        if self.by_connection.get(&before) == Some(&slot) {
            self.by_connection.remove(&before);
        }
        self.by_connection.insert(config.connection, slot);
        self.look_soon(now);
        Ok(slot)
    }

    pub fn set_endpoints(
        &mut self,
        now: Instant,
        key: &PublicKey,
        endpoints: &[SocketAddr],
    ) -> Result<(), DeviceError> {
        let slot = self.slot(key)?;
        self.peer_mut(slot).ok_or(DeviceError::NoSuchPeer)?.set_endpoints(endpoints);
        self.look_soon(now);
        Ok(())
    }

    /// The peer is there from now on, also if a live session heard it elsewhere. Sends nothing by itself.
    pub fn move_peer(&mut self, key: &PublicKey, to: SocketAddr) -> Result<(), DeviceError> {
        let slot = self.slot(key)?;
        self.peer_mut(slot).ok_or(DeviceError::NoSuchPeer)?.path = Some(Path { to, from: None });
        Ok(())
    }

    /// Forgets the peer and its keys. Removing one that is not there is harmless.
    pub fn remove_peer(&mut self, key: &PublicKey) {
        let Some(slot) = self.by_key.remove(key) else { return };
        if let Some(peer) = self.slots.get_mut(slot.index()).and_then(|place| place.peer.take())
            && self.by_connection.get(&peer.connection) == Some(&slot)
        {
            self.by_connection.remove(&peer.connection);
        }
    }

    pub fn slot(&self, key: &PublicKey) -> Result<PeerSlot, DeviceError> {
        self.by_key.get(key).copied().ok_or(DeviceError::NoSuchPeer)
    }

    /// The peer that packets of this connection go to.
    pub fn peer_of(&self, connection: ConnectionId) -> Option<PeerSlot> {
        self.by_connection.get(&connection).copied()
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

    /// When the session in force was made.
    pub fn handshake_age(&self, slot: PeerSlot) -> Option<Duration> {
        self.peer(slot)?.session.handshake_age()
    }

    /// Encrypts a packet into `out`, which holds [`super::MESSAGE_ROOM`] and 32 bytes more than the packet.
    #[inline]
    pub fn seal(&mut self, now: Instant, slot: PeerSlot, packet: &[u8], out: &mut [u8]) -> Result<Sealed, DropReason> {
        let Some(Slot { peer: Some(peer), .. }) = self.slots.get_mut(slot.index()) else {
            return Err(DropReason::NoSession);
        };
        if peer.path.is_none() {
            return Err(DropReason::NoSession);
        }
        peer.wake(out);
        peer.sent(now);
        let sealed = peer.session.seal(packet, out);
        if self.next_tick.is_none() {
            self.next_tick = Some(now + TICK);
        }
        Ok(sealed)
    }

    /// Decrypts a datagram into `out`, which is as long as the datagram and [`super::MESSAGE_ROOM`].
    pub fn open(
        &mut self,
        now: Instant,
        from: SocketAddr,
        hit: Option<IpAddr>,
        datagram: &[u8],
        out: &mut [u8],
    ) -> Opened {
        let slot = match self.addressee(from, datagram, out) {
            Ok(slot) => slot,
            Err(opened) => return opened,
        };
        let Some(Slot { peer: Some(peer), .. }) = self.slots.get_mut(slot.index()) else {
            return Opened::Refused(DropReason::NoSession);
        };
        peer.wake(out);
        let unsealed = peer.session.open(from.ip(), datagram, out);
        if matches!(unsealed, Unsealed::Packet(_) | Unsealed::Empty | Unsealed::Reply(_)) && datagram[0] != COOKIE_REPLY
        {
            peer.heard(now, Path { to: from, from: hit });
            if datagram[0] != DATA && peer.take_change() {
                self.events.push_back(peer.key);
            }
        }
        if self.next_tick.is_none() {
            self.next_tick = Some(now + TICK);
        }
        match unsealed {
            Unsealed::Packet(len) => Opened::Packet { peer: slot, len },
            Unsealed::Empty => Opened::Empty { peer: slot },
            Unsealed::Reply(len) => Opened::Reply { peer: slot, len },
            Unsealed::Cookie(len) => Opened::Cookie { len },
            Unsealed::Refused(reason) => Opened::Refused(reason),
        }
    }

    /// Packets wait that [`Device::flush`] can now seal.
    pub fn can_flush(&self, slot: PeerSlot) -> bool {
        self.peer(slot).is_some_and(|peer| peer.session.can_flush())
    }

    /// Seals one packet that waited for a session. `None`: that was the last.
    pub fn flush(&mut self, slot: PeerSlot, out: &mut [u8]) -> Option<usize> {
        let peer = self.peer_mut(slot)?;
        let from = peer.path?.to.ip();
        peer.session.flush(from, out)
    }

    /// Starts a look at all sessions; [`Device::poll_transmit`] does it.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next_tick.is_some_and(|at| at <= now) {
            self.gate.refresh();
            self.cursor = 0;
            self.next_tick = None;
        }
    }

    /// The next message that time asks for. `None`: all sessions were looked at.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Transmit> {
        while let Some(place) = self.slots.get_mut(self.cursor) {
            let slot = PeerSlot(self.cursor as u16);
            self.cursor += 1;
            let Some(peer) = place.peer.as_mut().filter(|peer| peer.is_awake()) else { continue };
            let message = peer.tick(now, out);
            if peer.take_change() {
                self.events.push_back(peer.key);
            }
            if peer.is_awake() {
                self.next_tick = Some(now + TICK);
            }
            if let Some(len) = message.filter(|_| peer.path.is_some()) {
                return Some(Transmit { peer: slot, len });
            }
        }
        None
    }

    /// When [`Device::handle_timeout`] has to be called, and why. `None`: all sessions sleep.
    pub fn poll_timeout(&self, now: Instant) -> Option<(Instant, Timeout)> {
        if self.cursor < self.slots.len() {
            return Some((now, Timeout::Transmit));
        }
        self.next_tick.map(|at| (at, Timeout::Sessions))
    }

    /// A peer whose session began or ended.
    pub fn poll_event(&mut self) -> Option<PublicKey> {
        self.events.pop_front()
    }

    /// Whose message this is. Only an initiation does not say; finding out costs a Diffie-Hellman, except where there is
    /// just one peer, whose session then finds out itself.
    fn addressee(&self, from: SocketAddr, datagram: &[u8], out: &mut [u8]) -> Result<PeerSlot, Opened> {
        let Some((head, rest)) =
            datagram.split_first_chunk::<4>().filter(|(head, _)| is_message(**head, datagram.len()))
        else {
            return Err(Opened::Refused(DropReason::NotWireguard));
        };
        let index_at = match head[0] {
            INITIATION => return self.initiator(from, datagram, out),
            RESPONSE => 4,
            _ => 0,
        };
        let Some(index) = rest.get(index_at..).and_then(|rest| rest.first_chunk::<4>()) else {
            return Err(Opened::Refused(DropReason::NotWireguard));
        };
        let index = u32::from_le_bytes(*index);
        let slot = PeerSlot((index >> 8) as u16);
        match self.slots.get(slot.index()) {
            Some(place) if place.generation == (index >> 24) as u8 && place.peer.is_some() => Ok(slot),
            _ => Err(Opened::Refused(DropReason::NoSession)),
        }
    }

    fn initiator(&self, from: SocketAddr, datagram: &[u8], out: &mut [u8]) -> Result<PeerSlot, Opened> {
        if self.next_tick.is_none() {
            self.gate.refresh();
        }
        if self.by_key.len() == 1
            && let Some(slot) = self.by_key.values().next()
        {
            return Ok(*slot);
        }
        match self.gate.initiator(from.ip(), datagram, out) {
            Ok(key) => self.slot(&key).map_err(|_| Opened::Refused(DropReason::Unauthenticated)),
            Err(Refusal::Cookie(len)) => Err(Opened::Cookie { len }),
            Err(Refusal::Drop(reason)) => Err(Opened::Refused(reason)),
        }
    }

    fn look_soon(&mut self, now: Instant) {
        self.next_tick = Some(now);
    }

    fn peer(&self, slot: PeerSlot) -> Option<&Peer> {
        self.slots.get(slot.index())?.peer.as_ref()
    }

    fn peer_mut(&mut self, slot: PeerSlot) -> Option<&mut Peer> {
        self.slots.get_mut(slot.index())?.peer.as_mut()
    }
}
