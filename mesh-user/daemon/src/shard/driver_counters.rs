//! What is counted of a tunnel whose packets a program carries; it is read together with what the shards count.

use std::sync::{Mutex, MutexGuard, PoisonError};

use mesh_common::{datapath::DropReason, ids::RemapId};
use mesh_core::plan::{DeviceName, PublicKey};

use super::statistics::{PeerStatistics, ShardCounters, Statistics, TrafficCount};

/// Written by the one thread that passes the packets on.
#[derive(Debug)]
pub struct DriverCounters {
    device: DeviceName,
    /// Of the remote; the program alone knows which of them sent what.
    peers: Mutex<Vec<PublicKey>>,
    counters: ShardCounters,
    received: TrafficCount,
    sent: TrafficCount,
}

impl DriverCounters {
    pub fn new(device: DeviceName) -> Self {
        let (received, sent) = Default::default();
        DriverCounters { device, peers: Mutex::default(), counters: ShardCounters::new(), received, sent }
    }

    pub fn set_peers(&self, peers: Vec<PublicKey>) {
        *self.peers() = peers;
    }

    pub fn count_drop(&self, reason: DropReason) {
        self.counters.count_drop(reason, 1);
    }

    pub fn count_received(&self, remap: RemapId, bytes: usize) {
        self.counters.remap(remap, 1, bytes as u64);
        self.received.add(1, bytes as u64);
    }

    pub fn count_sent(&self, remap: RemapId, bytes: usize) {
        self.counters.remap(remap, 1, bytes as u64);
        self.sent.add(1, bytes as u64);
    }

    pub fn count_unsent(&self) {
        self.counters.send_failed.add(1);
    }

    pub fn count_undelivered(&self) {
        self.counters.tun_failed.add(1);
    }

    /// All traffic is shown with the first peer.
    pub(super) fn add_to(&self, statistics: &mut Statistics) {
        self.counters.add_to(statistics);
        let peers = self.peers();
        statistics.peers.extend(peers.iter().enumerate().map(|(at, key)| {
            let mut peer = PeerStatistics::new(self.device.clone(), *key, Vec::new());
            if at == 0 {
                (peer.received, peer.sent) = (self.received.load(), self.sent.load());
            }
            peer
        }));
    }

    fn peers(&self) -> MutexGuard<'_, Vec<PublicKey>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
