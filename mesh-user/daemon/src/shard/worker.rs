//! The thread of one shard: waits for packets, time and orders, and runs each to completion.

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender},
    },
};

use anyhow::Context;
use mesh_common::datapath::Tables;
use mesh_core::{
    plan::{DeviceName, Peer, PublicKey},
    tunnel::StaticSecret,
};

use super::{
    Command, Event,
    statistics::{PeerCounters, ShardCounters},
};
use crate::kernel::{tun::Tun, udp::UdpSockets};

pub(super) enum Order {
    Apply { command: Command, counters: Option<Arc<PeerCounters>>, done: SyncSender<anyhow::Result<()>> },
    Stop,
}

pub(super) struct Mailbox {
    pub(super) orders: Receiver<Order>,
    pub(super) wake: Arc<OwnedFd>,
}

pub(super) struct Worker {
    secret: StaticSecret,
    mailbox: Mailbox,
    events: SyncSender<Event>,
    counters: Arc<ShardCounters>,
    tables: Option<Arc<dyn Tables + Send + Sync>>,
    tunnels: BTreeMap<DeviceName, Tunnel>,
}

struct Tunnel {
    tun: Tun,
    sockets: UdpSockets,
    mtu: u16,
    peers: BTreeMap<PublicKey, (Peer, Arc<PeerCounters>)>,
}

impl Worker {
    pub(super) fn new(
        secret: StaticSecret,
        mailbox: Mailbox,
        events: SyncSender<Event>,
        counters: Arc<ShardCounters>,
    ) -> anyhow::Result<Worker> {
        Ok(Worker { secret, mailbox, events, counters, tables: None, tunnels: BTreeMap::new() })
    }

    pub(super) fn run(mut self) {
        while let Ok(order) = self.mailbox.orders.recv() {
            match order {
                Order::Stop => return,
                Order::Apply { command, counters, done } => {
                    let result = self.apply(command, counters);
                    // The commander may have given up waiting.
                    let _ = done.send(result);
                }
            }
        }
    }

    fn apply(&mut self, command: Command, counters: Option<Arc<PeerCounters>>) -> anyhow::Result<()> {
        match command {
            Command::AddTunnel { device, mtu, tun, sockets } => {
                self.tunnels.insert(device, Tunnel { tun, sockets, mtu, peers: BTreeMap::new() });
            }
            Command::SetMtu(device, mtu) => self.tunnel(&device)?.mtu = mtu,
            Command::SetSockets(device, sockets) => self.tunnel(&device)?.sockets = sockets,
            Command::RemoveTunnel(device) => drop(self.tunnels.remove(&device)),
            Command::AddPeer(device, key, peer) => {
                let counters = counters.context("a new peer comes with its counters")?;
                self.tunnel(&device)?.peers.insert(key, (peer, counters));
            }
            Command::UpdatePeer(device, key, peer) => self.peer(&device, &key)?.0 = peer,
            Command::SetEndpoints(device, key, endpoints) => self.peer(&device, &key)?.0.endpoints = endpoints,
            Command::RemovePeer(device, key) => drop(self.tunnel(&device)?.peers.remove(&key)),
            Command::SetTables(tables) => self.tables = Some(tables),
            Command::Barrier => {}
        }
        Ok(())
    }

    fn tunnel(&mut self, device: &DeviceName) -> anyhow::Result<&mut Tunnel> {
        self.tunnels.get_mut(device).with_context(|| format!("{}: the shard has no such tunnel", device.0))
    }

    fn peer(&mut self, device: &DeviceName, key: &PublicKey) -> anyhow::Result<&mut (Peer, Arc<PeerCounters>)> {
        let peers = &mut self.tunnel(device)?.peers;
        peers.get_mut(key).with_context(|| format!("{}: the shard has no peer {key:?}", device.0))
    }
}
