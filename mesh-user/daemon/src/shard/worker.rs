//! The thread of one shard: waits for packets, time and orders, and runs each to completion.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TryRecvError, TrySendError},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use mesh_core::tunnel::{Birth, Lane};
use rustix::event::{Timespec, epoll};

use super::{
    Event,
    outbound::Turn,
    roster::{Change, LaneName, NewLane, Task},
    statistics::ShardCounters,
    tunnel::{Bench, Tunnel},
};
use crate::{
    kernel::udp::{Family, UdpSockets},
    keys,
};

/// Descriptors looked at in one turn.
const EVENTS_PER_TURN: usize = 64;
/// How soon a loss is told again to a control thread that had no room for it.
const RETELL: Duration = Duration::from_millis(100);

pub(super) enum Order {
    /// The result goes to the sender.
    Do(Task, SyncSender<anyhow::Result<()>>),
    Stop,
}

pub(super) struct Mailbox {
    pub(super) orders: Receiver<Order>,
    pub(super) wake: Arc<OwnedFd>,
}

pub(super) struct Worker {
    mailbox: Mailbox,
    events: SyncSender<Event>,
    epoll: OwnedFd,
    /// The place of a lane is part of its poll tokens.
    tunnels: Vec<Option<Tunnel>>,
    bench: Bench,
}

/// Which descriptor is ready, as the poll carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ready {
    Mailbox,
    Tun(usize),
    Socket(usize, Family),
}

impl Ready {
    fn token(self) -> u64 {
        match self {
            Ready::Mailbox => 0,
            Ready::Tun(at) => at as u64 * 4 + 1,
            Ready::Socket(at, Family::V4) => at as u64 * 4 + 2,
            Ready::Socket(at, Family::V6) => at as u64 * 4 + 3,
        }
    }

    fn of(token: u64) -> Ready {
        let at = (token / 4) as usize;
        match token % 4 {
            1 => Ready::Tun(at),
            2 => Ready::Socket(at, Family::V4),
            3 => Ready::Socket(at, Family::V6),
            _ => Ready::Mailbox,
        }
    }
}

/// Whether the thread goes on.
enum Next {
    Turn,
    Stop,
}

impl Worker {
    pub(super) fn new(
        mailbox: Mailbox,
        events: SyncSender<Event>,
        counters: Arc<ShardCounters>,
    ) -> anyhow::Result<Worker> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("make an epoll instance")?;
        let bench = Bench::new(counters, Instant::now());
        let worker = Worker { mailbox, events, epoll, tunnels: Vec::new(), bench };
        worker.watch(&*worker.mailbox.wake, Ready::Mailbox)?;
        Ok(worker)
    }

    pub(super) fn run(mut self) {
        let mut ready = Vec::with_capacity(EVENTS_PER_TURN);
        loop {
            ready.clear();
            let timeout = self.patience();
            let waited = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut ready), timeout.as_ref());
            if let Err(error) = waited
                && error != rustix::io::Errno::INTR
            {
                tracing::error!("the shard cannot wait for packets and stops: {error}");
                return;
            }
            self.bench.begin_turn();
            for event in &ready {
                match Ready::of(event.data.u64()) {
                    Ready::Mailbox => {
                        if let Next::Stop = self.read_mailbox() {
                            return;
                        }
                        self.tunnels.iter_mut().flatten().for_each(|tunnel| tunnel.read_inbox(&mut self.bench));
                    }
                    Ready::Tun(at) => self.turn_tun(at),
                    Ready::Socket(at, family) => self.turn_socket(at, family),
                }
            }
            self.run_timers();
        }
    }

    /// How long nothing has to be done, for all that the shard knows.
    fn patience(&self) -> Option<Timespec> {
        let now = Instant::now();
        let timers = self.tunnels.iter().flatten().flat_map(|tunnel| {
            let timeout = tunnel.device.poll_timeout();
            let retell = tunnel.untold.is_some().then(|| now + RETELL);
            [timeout, retell, tunnel.bond.poll_timeout()].into_iter().flatten()
        });
        let next = timers.min()?;
        let wait = next.saturating_duration_since(now);
        Some(Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() })
    }

    fn run_timers(&mut self) {
        for tunnel in self.tunnels.iter_mut().flatten() {
            tell(&self.events, &mut tunnel.untold);
            if tunnel.device.poll_timeout().is_some_and(|at| at <= self.bench.now) {
                tunnel.run_timers(&mut self.bench);
            }
            while let Some(key) = tunnel.device.poll_event() {
                tunnel.publish(&key);
                tunnel.note_session(&key);
                // A control thread that is behind reads the state from the statistics.
                let _ = self.events.try_send(Event::SessionChanged(tunnel.name.device.clone(), key));
            }
            tunnel.watch_lane(&mut self.bench);
        }
    }

    fn turn_tun(&mut self, at: usize) {
        let Some(Some(tunnel)) = self.tunnels.get_mut(at) else { return };
        if tunnel.read_tun(&mut self.bench) == Turn::Lost {
            if let Some(tun) = tunnel.tun.take() {
                let _ = epoll::delete(&self.epoll, &tun);
            }
            if tunnel.bond.board.lose() {
                tunnel.untold = Some(Event::TunLost(tunnel.name.device.clone()));
            }
        }
    }

    fn turn_socket(&mut self, at: usize, family: Family) {
        let Some(Some(tunnel)) = self.tunnels.get_mut(at) else { return };
        if tunnel.read_socket(family, &mut self.bench) == Turn::Lost {
            if let Some(socket) = tunnel.outlet.sockets.of(family) {
                let _ = epoll::delete(&self.epoll, socket);
            }
            if tunnel.bond.board.lose() {
                tunnel.untold = Some(Event::SocketLost(tunnel.name.device.clone()));
            }
        }
    }

    fn read_mailbox(&mut self) -> Next {
        let mut count = [0; 8];
        // Only its being readable matters.
        let _ = rustix::io::read(&*self.mailbox.wake, &mut count);
        loop {
            match self.mailbox.orders.try_recv() {
                Ok(Order::Do(task, done)) => {
                    let result = self.apply(task);
                    // The commander may have given up waiting.
                    let _ = done.send(result);
                }
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => return Next::Stop,
                Err(TryRecvError::Empty) => return Next::Turn,
            }
        }
    }

    fn apply(&mut self, task: Task) -> anyhow::Result<()> {
        match task {
            Task::Add(lane) => self.add_lane(*lane),
            Task::Remove(name) => {
                if let Ok((at, _)) = self.lane(&name) {
                    self.tunnels[at] = None;
                }
                Ok(())
            }
            Task::Change(name, change) => match *change {
                Change::Sockets(sockets) => self.set_sockets(&name, sockets),
                change => {
                    let now = self.bench.now;
                    self.lane(&name)?.1.change(now, change)
                }
            },
            Task::SetTables(tables) => {
                self.bench.tables = tables;
                Ok(())
            }
            Task::Barrier => Ok(()),
        }
    }

    fn add_lane(&mut self, lane: NewLane) -> anyhow::Result<()> {
        let at = self.tunnels.iter().position(Option::is_none).unwrap_or(self.tunnels.len());
        self.watch(&lane.queue.tun, Ready::Tun(at))?;
        self.watch_sockets(&lane.queue.sockets, at)?;
        let birth = self.birth(lane.name.lane)?;
        let tunnel = Tunnel::new(lane, &birth);
        match self.tunnels.get_mut(at) {
            Some(place) => *place = Some(tunnel),
            None => self.tunnels.push(Some(tunnel)),
        }
        Ok(())
    }

    /// What a new device has to be told.
    fn birth(&self, lane: Lane) -> anyhow::Result<Birth> {
        // A clock before 1970 is wrong, and 1970 is as near to the truth as anything else.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Birth { shard: lane.0, now: self.bench.now, since_epoch, seed: keys::random()? })
    }

    fn set_sockets(&mut self, name: &LaneName, sockets: UdpSockets) -> anyhow::Result<()> {
        let (at, _) = self.lane(name)?;
        self.watch_sockets(&sockets, at)?;
        // Closing the old ones takes them out of the poll.
        self.lane(name)?.1.set_sockets(sockets)
    }

    fn lane(&mut self, name: &LaneName) -> anyhow::Result<(usize, &mut Tunnel)> {
        let places = self.tunnels.iter_mut().enumerate();
        let mut lanes = places.filter_map(|(at, place)| Some((at, place.as_mut()?)));
        match lanes.find(|(_, lane)| lane.name == *name) {
            Some(found) => Ok(found),
            None => bail!("{}: the shard has no such lane", name.device),
        }
    }

    fn watch_sockets(&self, sockets: &UdpSockets, at: usize) -> anyhow::Result<()> {
        for family in [Family::V4, Family::V6] {
            if let Some(socket) = sockets.of(family) {
                self.watch(socket, Ready::Socket(at, family))?;
            }
        }
        Ok(())
    }

    fn watch(&self, what: impl AsFd, ready: Ready) -> anyhow::Result<()> {
        let token = epoll::EventData::new_u64(ready.token());
        epoll::add(&self.epoll, what, token, epoll::EventFlags::IN).context("watch a descriptor")
    }
}

/// A loss that nobody hears of would leave the tunnel dead for ever: it is kept until there is room for it.
fn tell(events: &SyncSender<Event>, untold: &mut Option<Event>) {
    if let Some(event) = untold.take()
        && let Err(TrySendError::Full(event)) = events.try_send(event)
    {
        *untold = Some(event);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use mesh_core::plan::DeviceName;

    use super::*;

    #[test]
    fn a_loss_is_told_until_it_is_taken() {
        let (sender, receiver) = sync_channel(1);
        let device = |name: &str| DeviceName(name.to_owned());
        sender.send(Event::TunLost(device("mesh-a"))).unwrap();
        let mut untold = Some(Event::SocketLost(device("mesh-b")));
        tell(&sender, &mut untold);
        assert_eq!(untold, Some(Event::SocketLost(device("mesh-b"))), "there was no room");
        receiver.recv().unwrap();
        tell(&sender, &mut untold);
        assert_eq!(untold, None);
        assert_eq!(receiver.recv(), Ok(Event::SocketLost(device("mesh-b"))));
    }

    #[test]
    fn tokens_say_which_descriptor() {
        for at in [0, 1, 4_000] {
            for ready in [Ready::Tun(at), Ready::Socket(at, Family::V4), Ready::Socket(at, Family::V6)] {
                assert_eq!(Ready::of(ready.token()), ready);
            }
        }
        assert_eq!(Ready::of(Ready::Mailbox.token()), Ready::Mailbox);
    }
}
