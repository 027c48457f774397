//! The hot threads that carry tunnelled packets, and the way to command and read them.
//!
//! A shard owns its TUN queues, sockets and sessions alone: no lock and no allocation for a packet. The control thread
//! reaches it through [`Shards::apply`] only. `worker` is the thread itself, `outbound` and `inbound` are what it does.

mod batch;
mod command;
mod inbound;
mod outbound;
mod statistics;
mod tunnel;
mod worker;

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, SyncSender},
    },
    thread::JoinHandle,
    time::Instant,
};

use anyhow::{Context, bail};
pub use command::{Command, Event};
use mesh_core::{
    plan::{DeviceName, PublicKey},
    tunnel::StaticSecret,
};
use rustix::event::{EventfdFlags, eventfd};
use statistics::{PeerCounters, ShardCounters};
pub use statistics::{PeerStatistics, SendStatistics, Statistics, Traffic};
use worker::{Mailbox, Order, Worker};

/// Commands under way at once; more wait.
const MAILBOX: usize = 64;
/// Events that wait for the control thread; more are dropped, and the statistics still tell the state.
const EVENTS: usize = 256;

/// The running shards. Dropping it stops them; the persistent devices stay.
#[derive(Debug)]
pub struct Shards {
    orders: SyncSender<Order>,
    wake: Arc<OwnedFd>,
    counters: Arc<ShardCounters>,
    /// For the readers only; the shard has its own reference to each counter.
    peers: Mutex<BTreeMap<(DeviceName, PublicKey), Arc<PeerCounters>>>,
    epoch: Instant,
    thread: Option<JoinHandle<()>>,
}

impl Shards {
    /// Starts the shards of a node with this private key. Events come to the receiver.
    pub fn start(secret: StaticSecret) -> anyhow::Result<(Shards, Receiver<Event>)> {
        let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).context("make an eventfd")?);
        let (orders, mailbox) = mpsc::sync_channel(MAILBOX);
        let (event_sender, events) = mpsc::sync_channel(EVENTS);
        let counters = Arc::new(ShardCounters::new());
        let mailbox = Mailbox { orders: mailbox, wake: Arc::clone(&wake) };
        let worker = Worker::new(secret, mailbox, event_sender, Arc::clone(&counters)).context("prepare a shard")?;
        let thread = std::thread::Builder::new()
            .name("shard-0".to_owned())
            .spawn(move || worker.run())
            .context("start the thread of a shard")?;
        let shards = Shards {
            orders,
            wake,
            counters,
            peers: Mutex::new(BTreeMap::new()),
            epoch: Instant::now(),
            thread: Some(thread),
        };
        Ok((shards, events))
    }

    /// Blocks until the shards have done it, normally well below a millisecond.
    pub fn apply(&self, command: Command) -> anyhow::Result<()> {
        let counters = self.note(&command);
        let (done, result) = mpsc::sync_channel(1);
        let order = Order::Apply { command, counters, done };
        if self.orders.send(order).is_err() {
            bail!("the shard has stopped; restart meshd");
        }
        self.wake();
        result.recv().context("the shard stopped while it was commanded; restart meshd")?
    }

    pub fn statistics(&self) -> Statistics {
        let now = Instant::now();
        let mut statistics = Statistics::default();
        self.counters.load_into(&mut statistics);
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        statistics.peers = peers.iter().map(|((device, key), counters)| counters.load(device, key, now)).collect();
        statistics
    }

    /// Keeps the readers' list of peers in step; returns the counters that a new peer gets.
    fn note(&self, command: &Command) -> Option<Arc<PeerCounters>> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        match command {
            Command::AddPeer(device, key, _) => {
                let counters =
                    peers.entry((device.clone(), *key)).or_insert_with(|| Arc::new(PeerCounters::new(self.epoch)));
                Some(Arc::clone(counters))
            }
            Command::RemovePeer(device, key) => {
                peers.remove(&(device.clone(), *key));
                None
            }
            Command::AddTunnel { device, .. } | Command::RemoveTunnel(device) => {
                peers.retain(|(of, _), _| of != device);
                None
            }
            Command::SetMtu(..)
            | Command::SetSockets(..)
            | Command::UpdatePeer(..)
            | Command::SetEndpoints(..)
            | Command::SetTables(_)
            | Command::Barrier => None,
        }
    }

    fn wake(&self) {
        // The only failure of a valid eventfd is a full counter, and then the shard is awake anyway.
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        let stopped = self.orders.send(Order::Stop).is_err();
        self.wake();
        if let Some(thread) = self.thread.take()
            && !stopped
            && thread.join().is_err()
        {
            tracing::error!("the shard had panicked");
        }
    }
}
