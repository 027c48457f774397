//! What one device was told over UAPI so far, and which steps lead from there to what it is told next.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use ipnet::IpNet;
use mesh_common::ids::ConnectionId;

use super::{AllowedIpChange, Change, Device, Errno, Existence, Peer, PeerChange, PrivateKey, Refusal};
use crate::{
    plan::{PresharedKey, PublicKey},
    tunnel::{AllowedIps, StaticSecret},
};

/// Each peer has a [`ConnectionId`] of its own, and one value of that is nobody.
pub const MAX_PEERS: usize = u16::MAX as usize - 1;

#[derive(Debug, Default)]
pub struct Configuration {
    private_key: Option<PrivateKey>,
    public_key: Option<PublicKey>,
    listen_port: u16,
    fwmark: u32,
    peers: BTreeMap<PublicKey, Configured>,
    owners: BTreeMap<IpNet, PublicKey>,
    connections: Connections,
}

/// A peer as it was configured.
#[derive(Debug)]
struct Configured {
    connection: ConnectionId,
    preshared_key: Option<PresharedKey>,
    endpoint: Option<SocketAddr>,
    keepalive: u16,
    /// In the order in which they came.
    allowed_ips: Vec<IpNet>,
}

/// What the engine has to do, in this order. Between two steps a packet meets its old peer, its new peer or none. Listen
/// port and mark are no steps: what may fail is done before anything is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ends all sessions. `None`: nobody can have one.
    SetSecret(Option<PrivateKey>),
    AddPeer(PublicKey, Session),
    /// The session in force stays.
    UpdatePeer(PublicKey, Session),
    /// Counts at once, whatever the peer was heard from.
    MovePeer(PublicKey, SocketAddr),
    RemovePeer(PublicKey),
    SetAllowedIps(AllowedIps),
}

/// What the engine needs to know of a peer, besides where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub connection: ConnectionId,
    pub preshared_key: Option<PresharedKey>,
    /// Seconds; 0: none.
    pub keepalive: u16,
}

/// What the engine knows of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    pub endpoint: Option<SocketAddr>,
    /// Since the Unix epoch.
    pub last_handshake: Option<Duration>,
    pub sent: u64,
    pub received: u64,
}

/// Which numbers are free.
#[derive(Debug, Default)]
struct Connections {
    /// From here on none was ever given.
    next: u16,
    free: Vec<ConnectionId>,
    /// Allowed IPs in force may still lead there.
    retired: Vec<ConnectionId>,
}

impl Configuration {
    pub fn private_key(&self) -> Option<&PrivateKey> {
        self.private_key.as_ref()
    }

    /// The port that was asked for; 0: any.
    pub fn listen_port(&self) -> u16 {
        self.listen_port
    }

    pub fn fwmark(&self) -> u32 {
        self.fwmark
    }

    /// Whether [`Configuration::apply`] can do it. Only the number of peers can be in the way.
    pub fn check(&self, change: &Change) -> Result<(), Refusal> {
        let before = if change.replace_peers { 0 } else { self.peers.len() };
        if before + change.peers.len() <= MAX_PEERS {
            return Ok(());
        }
        let made = change.peers.iter().filter(|peer| peer.existence == Existence::Ensure).map(|peer| peer.key);
        let made: BTreeSet<_> = made.filter(|key| change.replace_peers || !self.peers.contains_key(key)).collect();
        if before + made.len() <= MAX_PEERS {
            return Ok(());
        }
        Err(Refusal::new(Errno::Invalid, format!("a device holds at most {MAX_PEERS} peers")))
    }

    /// Takes over a change that [`Configuration::check`] let pass.
    pub fn apply(&mut self, change: Change) -> Vec<Step> {
        let mut steps = Vec::new();
        if let Some(key) = change.private_key {
            self.set_private_key(key, &mut steps);
        }
        self.fwmark = change.fwmark.unwrap_or(self.fwmark);
        self.listen_port = change.listen_port.unwrap_or(self.listen_port);
        if change.replace_peers {
            self.remove_all(&mut steps);
        }
        let mut owned_anew = false;
        for peer in change.peers {
            owned_anew |= self.change_peer(peer, &mut steps);
        }
        if owned_anew {
            steps.push(Step::SetAllowedIps(self.allowed_ips()));
        }
        self.connections.reuse_retired();
        steps
    }

    /// The reply to a `get`.
    pub fn device(&self, listen_port: u16, live: impl Fn(&PublicKey) -> Live) -> Device {
        let peer = |(key, peer): (&PublicKey, &Configured)| {
            let Live { endpoint, last_handshake, sent, received } = live(key);
            Peer {
                key: *key,
                preshared_key: peer.preshared_key.clone(),
                endpoint: endpoint.or(peer.endpoint),
                last_handshake,
                sent,
                received,
                keepalive: peer.keepalive,
                allowed_ips: peer.allowed_ips.clone(),
            }
        };
        let peers = self.peers.iter().map(peer).collect();
        Device { private_key: self.private_key.clone(), listen_port, fwmark: self.fwmark, peers }
    }

    fn allowed_ips(&self) -> AllowedIps {
        let of_peer = |peer: &Configured| {
            let connection = peer.connection;
            peer.allowed_ips.clone().into_iter().map(move |prefix| (prefix, connection))
        };
        AllowedIps::new(self.peers.values().flat_map(of_peer))
    }

    fn set_private_key(&mut self, key: Option<PrivateKey>, steps: &mut Vec<Step>) {
        if key == self.private_key {
            return;
        }
        self.public_key = key.as_ref().map(|key| StaticSecret::from_bytes(*key.bytes()).public_key());
        self.private_key = key.clone();
        // Nobody is a peer of itself.
        if let Some(own) = self.public_key
            && self.remove(&own, steps)
        {
            steps.push(Step::SetAllowedIps(self.allowed_ips()));
        }
        steps.push(Step::SetSecret(key));
    }

    /// Whether the owner of an address changed.
    fn change_peer(&mut self, change: PeerChange, steps: &mut Vec<Step>) -> bool {
        let is_new = !self.peers.contains_key(&change.key);
        match change.existence {
            Existence::Remove => return self.remove(&change.key, steps),
            Existence::UpdateOnly if is_new => return false,
            Existence::UpdateOnly | Existence::Ensure => {}
        }
        if Some(change.key) == self.public_key {
            return false;
        }
        let connections = &mut self.connections;
        let peer = self.peers.entry(change.key).or_insert_with(|| Configured::new(connections.take()));
        if peer.update(&change) || is_new {
            let make = if is_new { Step::AddPeer } else { Step::UpdatePeer };
            steps.push(make(change.key, peer.session()));
        }
        if let Some(endpoint) = change.endpoint {
            peer.endpoint = Some(endpoint);
            steps.push(Step::MovePeer(change.key, endpoint));
        }
        self.change_allowed_ips(&change)
    }

    /// The same list once more is no change, except where a peer has lost something meanwhile.
    fn change_allowed_ips(&mut self, change: &PeerChange) -> bool {
        let Some(peer) = self.peers.get_mut(&change.key) else { return false };
        let before = peer.allowed_ips.clone();
        if change.replace_allowed_ips {
            peer.allowed_ips.clear();
            for prefix in &before {
                self.owners.remove(prefix);
            }
        }
        let mut lost_by_others = false;
        for allowed_ip in &change.allowed_ips {
            match allowed_ip {
                AllowedIpChange::Add(prefix) => lost_by_others |= self.give(*prefix, change.key),
                AllowedIpChange::Remove(prefix) => self.take(prefix, &change.key),
            }
        }
        let Some(peer) = self.peers.get_mut(&change.key) else { return lost_by_others };
        peer.allowed_ips.shrink_to_fit();
        lost_by_others || peer.allowed_ips != before
    }

    /// Whether another peer has lost it.
    fn give(&mut self, prefix: IpNet, key: PublicKey) -> bool {
        let former = self.owners.insert(prefix, key);
        if former == Some(key) {
            return false;
        }
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.allowed_ips.push(prefix);
        }
        let former = former.and_then(|key| self.peers.get_mut(&key));
        former.is_some_and(|peer| {
            peer.allowed_ips.retain(|other| *other != prefix);
            true
        })
    }

    fn take(&mut self, prefix: &IpNet, key: &PublicKey) {
        if self.owners.get(prefix) != Some(key) {
            return;
        }
        self.owners.remove(prefix);
        if let Some(peer) = self.peers.get_mut(key) {
            peer.allowed_ips.retain(|other| other != prefix);
        }
    }

    /// Whether an address has lost its owner.
    fn remove(&mut self, key: &PublicKey, steps: &mut Vec<Step>) -> bool {
        let Some(peer) = self.peers.remove(key) else { return false };
        for prefix in &peer.allowed_ips {
            self.owners.remove(prefix);
        }
        self.connections.retired.push(peer.connection);
        steps.push(Step::RemovePeer(*key));
        !peer.allowed_ips.is_empty()
    }

    /// Nothing leads to the peers any more when they go, so their numbers are free at once.
    fn remove_all(&mut self, steps: &mut Vec<Step>) {
        if self.peers.is_empty() {
            return;
        }
        self.owners.clear();
        steps.push(Step::SetAllowedIps(AllowedIps::default()));
        let peers = std::mem::take(&mut self.peers);
        steps.extend(peers.into_keys().map(Step::RemovePeer));
        self.connections = Connections::default();
    }
}

impl Configured {
    fn new(connection: ConnectionId) -> Configured {
        Configured { connection, preshared_key: None, endpoint: None, keepalive: 0, allowed_ips: Vec::new() }
    }

    /// Whether the engine has to know.
    fn update(&mut self, change: &PeerChange) -> bool {
        let before = self.session();
        if let Some(key) = &change.preshared_key {
            self.preshared_key = key.clone();
        }
        self.keepalive = change.keepalive.unwrap_or(self.keepalive);
        self.session() != before
    }

    fn session(&self) -> Session {
        Session { connection: self.connection, preshared_key: self.preshared_key.clone(), keepalive: self.keepalive }
    }
}

impl Connections {
    fn take(&mut self) -> ConnectionId {
        self.free.pop().unwrap_or_else(|| {
            let connection = ConnectionId(self.next);
            self.next = self.next.saturating_add(1);
            connection
        })
    }

    /// New allowed IPs are in force: nothing leads to those that went.
    fn reuse_retired(&mut self) {
        self.free.append(&mut self.retired);
    }
}
