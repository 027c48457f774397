//! How the shards learn of WireGuard peers, and what each may send.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use mesh_core::plan::{DeviceName, Peer, PublicKey};

use super::World;
use crate::shard::Command;

impl World {
    /// Adds a peer; one that is there keeps its session and is updated.
    pub(super) fn add_peer(&mut self, device: &DeviceName, key: PublicKey, peer: &Peer) -> Result<()> {
        if self.tunnel(device)?.peers.contains_key(&key) {
            return self.update_peer(device, key, peer);
        }
        self.announce(peer)?;
        self.tell_shards(device, || Command::AddPeer(device.clone(), key, peer.clone()))?;
        if peer.endpoints.is_empty() {
            // The client's sessions ended with the process that made them, and the client takes 15 s to find out.
            let lanes = self.tunnel(device)?.lanes();
            for (lane, endpoint) in
                self.record.endpoints(device, &key).into_iter().filter(|(lane, _)| lane.index() < lanes)
            {
                self.shards.apply(Command::SetEndpoints(device.clone(), key, lane, vec![endpoint]))?;
            }
        }
        self.tunnel(device)?.peers.insert(key, peer.clone());
        self.brief_driver(device)
    }

    pub(super) fn update_peer(&mut self, device: &DeviceName, key: PublicKey, peer: &Peer) -> Result<()> {
        self.announce(peer)?;
        self.tell_shards(device, || Command::UpdatePeer(device.clone(), key, peer.clone()))?;
        let old = self.tunnel(device)?.peers.insert(key, peer.clone());
        if let Some(old) = old.filter(|old| old.connection != peer.connection) {
            self.retract(device, &old)?;
        }
        self.brief_driver(device)
    }

    pub(super) fn set_endpoints(
        &mut self,
        device: &DeviceName,
        key: PublicKey,
        endpoints: &[SocketAddr],
    ) -> Result<()> {
        let known = self.tunnel(device)?.peers.get(&key);
        let mut peer = known.with_context(|| format!("{device}: there is no peer {key:?}"))?.clone();
        peer.endpoints = endpoints.to_vec();
        self.tell_shards(device, || Command::UpdatePeer(device.clone(), key, peer.clone()))?;
        self.tunnel(device)?.peers.insert(key, peer);
        self.brief_driver(device)
    }

    pub(super) fn remove_peer(&mut self, device: &DeviceName, key: PublicKey) -> Result<()> {
        self.tell_shards(device, || Command::RemovePeer(device.clone(), key))?;
        self.record.forget_endpoint(device, &key);
        if let Some(peer) = self.tunnel(device)?.peers.remove(&key) {
            self.retract(device, &peer)?;
        }
        self.brief_driver(device)
    }

    /// Notes where a client is that has just made a session, on each of its lanes.
    pub fn remember_endpoint(&mut self, device: &DeviceName, key: &PublicKey) -> Result<()> {
        let peers = self.shards.statistics().peers;
        let lanes =
            peers.iter().filter(|peer| peer.device == *device && peer.peer == *key).flat_map(|peer| &peer.lanes);
        let endpoints: Vec<_> = lanes.filter_map(|lane| Some((lane.lane, lane.endpoint?))).collect();
        let is_client = self.tunnel(device)?.peers.get(key).is_some_and(|peer| peer.endpoints.is_empty());
        if !is_client || endpoints.is_empty() || self.record.endpoints(device, key) == endpoints {
            return Ok(());
        }
        self.record.set_endpoints(device, key, &endpoints);
        self.state.save_record(&self.record)
    }

    /// Of a tunnel that a program carries the shards know nothing.
    fn tell_shards(&mut self, device: &DeviceName, command: impl FnOnce() -> Command) -> Result<()> {
        if self.tunnel(device)?.exec.is_some() { Ok(()) } else { self.shards.apply(command()) }
    }

    /// What the peer might send; another gateway node of its remote may still.
    fn retract(&mut self, device: &DeviceName, gone: &Peer) -> Result<()> {
        if !self.tunnel(device)?.peers.values().any(|peer| peer.connection == gone.connection) {
            self.tables.slots.remove_announced(gone.connection);
            self.tables.stale = true;
        }
        Ok(())
    }

    /// What the remote may use as source is in the shards' tables before its first packet.
    fn announce(&mut self, peer: &Peer) -> Result<()> {
        self.tables.slots.set_announced(peer.connection, &peer.announced)?;
        self.tables.stale = true;
        self.publish_tables()
    }
}
