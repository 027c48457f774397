//! How the shards learn of WireGuard peers, and what each may send.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use mesh_core::{
    plan::{DeviceName, Peer, PublicKey},
    tunnel::Lane,
};

use super::World;
use crate::shard::Command;

impl World {
    /// Adds a peer; one that is there keeps its session and is updated.
    pub(super) fn add_peer(&mut self, device: &DeviceName, key: PublicKey, peer: &Peer) -> Result<()> {
        if self.tunnel(device)?.peers.contains_key(&key) {
            return self.update_peer(device, key, peer);
        }
        self.announce(peer)?;
        self.shards.apply(Command::AddPeer(device.clone(), key, peer.clone()))?;
        if peer.endpoints.is_empty()
            && let Some(endpoint) = self.record.endpoint(device, &key)
        {
            // The client's session ended with the process that made it, and the client takes 15 s to find out.
            self.shards.apply(Command::SetEndpoints(device.clone(), key, Lane(0), vec![endpoint]))?;
        }
        self.tunnel(device)?.peers.insert(key, peer.clone());
        Ok(())
    }

    pub(super) fn update_peer(&mut self, device: &DeviceName, key: PublicKey, peer: &Peer) -> Result<()> {
        self.announce(peer)?;
        self.shards.apply(Command::UpdatePeer(device.clone(), key, peer.clone()))?;
        let old = self.tunnel(device)?.peers.insert(key, peer.clone());
        if let Some(old) = old.filter(|old| old.connection != peer.connection) {
            self.tables.slots.remove_announced(old.connection);
            self.tables.stale = true;
        }
        Ok(())
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
        self.shards.apply(Command::UpdatePeer(device.clone(), key, peer.clone()))?;
        self.tunnel(device)?.peers.insert(key, peer);
        Ok(())
    }

    pub(super) fn remove_peer(&mut self, device: &DeviceName, key: PublicKey) -> Result<()> {
        self.shards.apply(Command::RemovePeer(device.clone(), key))?;
        self.record.forget_endpoint(device, &key);
        if let Some(peer) = self.tunnel(device)?.peers.remove(&key) {
            self.tables.slots.remove_announced(peer.connection);
            self.tables.stale = true;
        }
        Ok(())
    }

    /// Notes where a client is that has just made a session.
    pub fn remember_endpoint(&mut self, device: &DeviceName, key: &PublicKey) -> Result<()> {
        let peers = self.shards.statistics().peers;
        let endpoint =
            peers.iter().find(|peer| peer.device == *device && peer.peer == *key).and_then(|peer| peer.endpoint);
        let is_client = self.tunnel(device)?.peers.get(key).is_some_and(|peer| peer.endpoints.is_empty());
        match endpoint.filter(|endpoint| is_client && self.record.endpoint(device, key) != Some(*endpoint)) {
            Some(endpoint) => {
                self.record.set_endpoint(device, key, endpoint);
                self.state.save_record(&self.record)
            }
            None => Ok(()),
        }
    }

    /// What the remote may use as source is in the shards' tables before its first packet.
    fn announce(&mut self, peer: &Peer) -> Result<()> {
        self.tables.slots.set_announced(peer.connection, &peer.announced)?;
        self.tables.stale = true;
        self.publish_tables()
    }
}
