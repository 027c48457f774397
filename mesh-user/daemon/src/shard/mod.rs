//! The hot threads that carry tunnelled packets, and the way to command and read them.
//!
//! A shard owns its TUN queues, sockets and sessions alone: no lock and no allocation for a packet. The control thread
//! reaches it through [`Shards::apply`] only. `roster` knows what is where, `worker` is the thread itself, `outbound` and
//! `inbound` are what it does.

mod batch;
mod board;
mod command;
mod driver_counters;
mod handover;
mod inbound;
mod lane;
mod outbound;
mod roster;
mod statistics;
mod tunnel;
mod worker;

use std::{
    num::NonZeroUsize,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        mpsc::{self, Receiver, SyncSender},
    },
    thread::JoinHandle,
    time::Instant,
};

use anyhow::{Context, Result, bail};
pub use command::{Admission, Command, Event, Queue, Routing, Spread};
pub use driver_counters::DriverCounters;
use mesh_core::tunnel::MAX_LANES;
use roster::{Assignment, Roster, Task};
use rustix::event::{EventfdFlags, eventfd};
use statistics::ShardCounters;
pub use statistics::{LaneStatistics, PeerStatistics, SendStatistics, Statistics, Traffic};
use worker::{Mailbox, Order, Worker};

/// Orders under way to one shard at once; more wait.
const MAILBOX: usize = 64;
/// Events that wait for the control thread; more are dropped, and the statistics still tell the state.
const EVENTS: usize = 256;

/// The running shards. Dropping it stops them; the persistent devices stay.
#[derive(Debug)]
pub struct Shards {
    shards: Vec<Shard>,
    roster: Mutex<Roster>,
    /// Of those tunnels that programs carry.
    drivers: Mutex<Vec<Weak<DriverCounters>>>,
}

/// The control thread's end of one shard.
#[derive(Debug)]
struct Shard {
    orders: SyncSender<Order>,
    wake: Arc<OwnedFd>,
    counters: Arc<ShardCounters>,
    thread: Option<JoinHandle<()>>,
}

impl Shards {
    /// Starts so many shards, at most [`MAX_LANES`]; they hold nothing yet. Events come to the receiver.
    pub fn start(count: NonZeroUsize) -> Result<(Shards, Receiver<Event>)> {
        let (event_sender, events) = mpsc::sync_channel(EVENTS);
        let count = count.get().min(MAX_LANES);
        let shards: Vec<Shard> =
            (0..count).map(|number| Shard::start(number, event_sender.clone())).collect::<Result<_>>()?;
        let wakes = shards.iter().map(|shard| Arc::clone(&shard.wake)).collect();
        Ok((Shards { shards, roster: Mutex::new(Roster::new(wakes)), drivers: Mutex::default() }, events))
    }

    /// How many there are.
    pub fn count(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.shards.len()).unwrap_or(NonZeroUsize::MIN)
    }

    /// As many shards as a node with so many cores has use for.
    pub fn default_count() -> NonZeroUsize {
        std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
    }

    /// Blocks until the shards have done it, normally well below a millisecond.
    pub fn apply(&self, command: Command) -> Result<()> {
        let new = match &command {
            Command::AddTunnel { device, .. } => Some(device.clone()),
            _ => None,
        };
        let done = self.give(command)?;
        let results: Vec<Result<()>> = done.into_iter().map(await_shard).collect();
        let result = results.into_iter().collect();
        if let (Err(_), Some(device)) = (&result, new) {
            // Half a device is none.
            let _ = self.apply(Command::RemoveTunnel(device));
        }
        result
    }

    /// Does one after the other, without waiting for each before the next is given. All are done, whatever becomes of one;
    /// the first error is told.
    pub fn apply_all(&self, commands: impl IntoIterator<Item = Command>) -> Result<()> {
        let given: Vec<_> = commands.into_iter().map(|command| self.give(command)).collect();
        let results: Vec<Result<()>> =
            given.into_iter().map(|given| given?.into_iter().try_for_each(await_shard)).collect();
        results.into_iter().collect()
    }

    pub fn statistics(&self) -> Statistics {
        let mut statistics = Statistics::default();
        for shard in &self.shards {
            shard.counters.add_to(&mut statistics);
        }
        statistics.peers = self.roster().statistics(Instant::now());
        for driver in self.drivers.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade) {
            driver.add_to(&mut statistics);
        }
        statistics
    }

    /// What a driver counts is part of the statistics as long as it lives.
    pub fn note_driver(&self, counters: &Arc<DriverCounters>) {
        let mut drivers = self.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        drivers.retain(|known| known.strong_count() > 0);
        drivers.push(Arc::downgrade(counters));
    }

    /// Hands out the tasks while nobody else does, so that all shards see all commands in one order.
    fn give(&self, command: Command) -> Result<Vec<Receiver<Result<()>>>> {
        let mut roster = self.roster();
        let tasks = roster.assign(command)?;
        tasks.into_iter().map(|(shard, task): Assignment| self.shards[shard].give(task)).collect()
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn await_shard(done: Receiver<Result<()>>) -> Result<()> {
    done.recv().context("a shard stopped while it was commanded; restart meshd")?
}

impl Shard {
    fn start(number: usize, events: SyncSender<Event>) -> Result<Shard> {
        let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).context("make an eventfd")?);
        let (orders, mailbox) = mpsc::sync_channel(MAILBOX);
        let counters = Arc::new(ShardCounters::new());
        let mailbox = Mailbox { orders: mailbox, wake: Arc::clone(&wake) };
        let worker = Worker::new(mailbox, events, Arc::clone(&counters)).context("prepare a shard")?;
        let thread = std::thread::Builder::new()
            .name(format!("shard-{number}"))
            .spawn(move || worker.run())
            .context("start the thread of a shard")?;
        Ok(Shard { orders, wake, counters, thread: Some(thread) })
    }

    fn give(&self, task: Task) -> Result<Receiver<Result<()>>> {
        let (done, result) = mpsc::sync_channel(1);
        if self.orders.send(Order::Do(task, done)).is_err() {
            bail!("a shard has stopped; restart meshd");
        }
        self.wake();
        Ok(result)
    }

    fn wake(&self) {
        // The only failure of a valid eventfd is a full counter, and then the shard is awake anyway.
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        let stopped = self.orders.send(Order::Stop).is_err();
        self.wake();
        if let Some(thread) = self.thread.take()
            && !stopped
            && thread.join().is_err()
        {
            tracing::error!("a shard had panicked");
        }
    }
}
