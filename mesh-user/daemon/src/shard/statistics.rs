//! What a shard counts, readable by any thread at any time without a lock on the data path.
//!
//! Each counter has one writer, its shard, so that relaxed loads and stores are enough.

use std::{
    net::SocketAddr,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use mesh_common::{datapath::DropReason, ids::RemapId};
use mesh_core::{
    plan::{DeviceName, PublicKey},
    tunnel::{Lane, lane::Condition},
};

/// One reading of everything that the shards count.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    pub peers: Vec<PeerStatistics>,
    /// Dropped packets since the start, by reason; reasons without a drop are left out.
    pub drops: Vec<(DropReason, u64)>,
    /// Inner packets that a remap carried, both ways; remaps without one are left out.
    pub remaps: Vec<(RemapId, Traffic)>,
    pub sends: SendStatistics,
    /// Datagrams that came to another shard than that of their session, and went on through a queue.
    pub handed_over: u64,
}

impl Statistics {
    /// What makes carrying dearer here than it could be; what did not happen is not said.
    pub fn notices(&self) -> impl Iterator<Item = String> + use<> {
        let counts = [
            (
                self.sends.unsegmented,
                "batches of datagrams had to be sent one by one: the underlay interface does not segment UDP, or its \
                 MTU is less than the tunnel's plus 60 bytes",
            ),
            (
                self.sends.tails,
                "batches of datagrams were sent with one of a single byte behind them: this kernel corrupts batches of \
                 equal ones",
            ),
            (
                self.handed_over,
                "datagrams came to another shard than that of their session and were handed over, mostly because the \
                 kernel joined those of several sessions",
            ),
        ];
        counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"))
    }
}

/// One peer, over all lanes that it has.
#[derive(Clone, Debug)]
pub struct PeerStatistics {
    pub device: DeviceName,
    pub peer: PublicKey,
    /// Of the first lane that has one.
    pub endpoint: Option<SocketAddr>,
    /// Of the youngest session. `None`: no session is in force.
    pub handshake_age: Option<Duration>,
    /// When the youngest session was made, also if it has ended since.
    pub last_handshake: Option<Instant>,
    /// Of the last handshake, on the lane that is the quickest.
    pub round_trip: Option<Duration>,
    /// Datagrams on the wire, without IP and UDP headers.
    pub received: Traffic,
    pub sent: Traffic,
    /// In the order of their numbers.
    pub lanes: Vec<LaneStatistics>,
}

/// One peer on one lane.
#[derive(Clone, Debug)]
pub struct LaneStatistics {
    pub lane: Lane,
    pub shard: usize,
    /// Our UDP port.
    pub port: u16,
    /// Where nothing else could do its work: whether it has a session.
    pub condition: Condition,
    /// Where the last authentic datagram came from, else the candidate in use.
    pub endpoint: Option<SocketAddr>,
    pub handshake_age: Option<Duration>,
    /// Stays when the session ends.
    pub last_handshake: Option<Instant>,
    /// Of the handshake that made the session in force.
    pub round_trip: Option<Duration>,
    pub received: Traffic,
    pub sent: Traffic,
}

impl PeerStatistics {
    pub(super) fn new(device: DeviceName, peer: PublicKey, lanes: Vec<LaneStatistics>) -> Self {
        PeerStatistics {
            device,
            peer,
            endpoint: lanes.iter().find_map(|lane| lane.endpoint),
            handshake_age: lanes.iter().filter_map(|lane| lane.handshake_age).min(),
            last_handshake: lanes.iter().filter_map(|lane| lane.last_handshake).max(),
            round_trip: lanes.iter().filter_map(|lane| lane.round_trip).min(),
            received: lanes.iter().map(|lane| lane.received).sum(),
            sent: lanes.iter().map(|lane| lane.sent).sum(),
            lanes,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub packets: u64,
    pub bytes: u64,
}

impl std::ops::Add for Traffic {
    type Output = Traffic;

    fn add(self, other: Traffic) -> Traffic {
        Traffic { packets: self.packets + other.packets, bytes: self.bytes + other.bytes }
    }
}

impl std::iter::Sum for Traffic {
    fn sum<I: Iterator<Item = Traffic>>(traffic: I) -> Traffic {
        traffic.fold(Traffic::default(), std::ops::Add::add)
    }
}

/// How the datagrams left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendStatistics {
    /// The kernel refused a datagram: no route, interface down, firewall.
    pub failed: u64,
    /// Batches that an egress without UDP segmentation refused and that were sent one by one.
    pub unsegmented: u64,
    /// Batches with a datagram of one byte at the end, for a kernel that corrupts equal ones ([`crate::kernel::gso`]).
    pub tails: u64,
    /// Writes to a TUN that failed, mostly because it is down.
    pub tun_failed: u64,
}

/// A counter with one writer.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, by: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(by), Relaxed);
    }

    pub(super) fn load(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[derive(Debug, Default)]
pub(super) struct TrafficCount {
    packets: Count,
    bytes: Count,
}

impl TrafficCount {
    pub(super) fn add(&self, packets: u64, bytes: u64) {
        self.packets.add(packets);
        self.bytes.add(bytes);
    }

    pub(super) fn load(&self) -> Traffic {
        Traffic { packets: self.packets.load(), bytes: self.bytes.load() }
    }
}

/// Remaps are counted in pages, so that 65,536 possible ones cost memory only where they are in use.
const REMAPS_PER_PAGE: usize = 256;

#[derive(Debug)]
pub(super) struct ShardCounters {
    drops: [Count; DropReason::ALL.len()],
    remaps: Vec<OnceLock<Box<[TrafficCount]>>>,
    pub(super) send_failed: Count,
    pub(super) unsegmented: Count,
    pub(super) tails: Count,
    pub(super) tun_failed: Count,
    pub(super) handed_over: Count,
}

impl ShardCounters {
    pub(super) fn new() -> Self {
        ShardCounters {
            drops: Default::default(),
            remaps: (0..=usize::from(u16::MAX) / REMAPS_PER_PAGE).map(|_| OnceLock::new()).collect(),
            send_failed: Count::default(),
            unsegmented: Count::default(),
            tails: Count::default(),
            tun_failed: Count::default(),
            handed_over: Count::default(),
        }
    }

    pub(super) fn count_drop(&self, reason: DropReason, packets: u64) {
        self.drops[reason as usize].add(packets);
    }

    /// Allocates the page of a remap on its first packet.
    pub(super) fn remap(&self, id: RemapId, packets: u64, bytes: u64) {
        let id = usize::from(id.0);
        let page = self.remaps[id / REMAPS_PER_PAGE]
            .get_or_init(|| (0..REMAPS_PER_PAGE).map(|_| TrafficCount::default()).collect());
        page[id % REMAPS_PER_PAGE].add(packets, bytes);
    }

    /// Adds what this shard counted to what others did.
    pub(super) fn add_to(&self, statistics: &mut Statistics) {
        let drops = DropReason::ALL.iter().zip(&self.drops).map(|(reason, count)| (*reason, count.load()));
        add_each(&mut statistics.drops, drops.filter(|(_, packets)| *packets > 0));
        let pages = self.remaps.iter().enumerate().filter_map(|(at, page)| Some((at, page.get()?)));
        let counts = pages.flat_map(|(at, page)| {
            let ids = at * REMAPS_PER_PAGE..;
            ids.zip(page.iter()).map(|(id, count)| (RemapId(id as u16), count.load()))
        });
        add_each(&mut statistics.remaps, counts.filter(|(_, traffic)| traffic.packets > 0));
        statistics.sends.failed += self.send_failed.load();
        statistics.sends.unsegmented += self.unsegmented.load();
        statistics.sends.tails += self.tails.load();
        statistics.sends.tun_failed += self.tun_failed.load();
        statistics.handed_over += self.handed_over.load();
    }
}

/// Both are in the order of their keys.
fn add_each<K: Copy + Ord, V: Copy + std::ops::Add<Output = V>>(
    sums: &mut Vec<(K, V)>,
    more: impl Iterator<Item = (K, V)>,
) {
    for (key, value) in more {
        match sums.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(at) => sums[at].1 = sums[at].1 + value,
            Err(at) => sums.insert(at, (key, value)),
        }
    }
}

/// What is known of one peer; shared between its shard and the readers.
#[derive(Debug)]
pub(super) struct PeerCounters {
    /// Milliseconds are counted from here.
    epoch: Instant,
    pub(super) received: TrafficCount,
    pub(super) sent: TrafficCount,
    /// 0: no session; else milliseconds since `epoch`, plus one.
    handshake: AtomicU64,
    /// The same, but never back to 0.
    last_handshake: AtomicU64,
    /// 0: not known; else microseconds plus one.
    round_trip: AtomicU64,
    condition: AtomicU8,
    /// Written when the remote moves only, so the lock is never taken for a packet.
    endpoint: Mutex<Option<SocketAddr>>,
}

impl PeerCounters {
    pub(super) fn new(epoch: Instant) -> Self {
        PeerCounters {
            epoch,
            received: TrafficCount::default(),
            sent: TrafficCount::default(),
            handshake: AtomicU64::new(0),
            last_handshake: AtomicU64::new(0),
            round_trip: AtomicU64::new(0),
            condition: AtomicU8::new(Condition::Idle as u8),
            endpoint: Mutex::new(None),
        }
    }

    /// `at`: the handshake that made the session in force.
    pub(super) fn set_handshake(&self, at: Option<Instant>, round_trip: Option<Duration>) {
        self.round_trip.store(round_trip.map_or(0, |time| time.as_micros() as u64 + 1), Relaxed);
        let millis = at.map_or(0, |at| at.saturating_duration_since(self.epoch).as_millis() as u64 + 1);
        self.handshake.store(millis, Relaxed);
        if millis != 0 {
            self.last_handshake.store(millis, Relaxed);
        }
    }

    pub(super) fn condition(&self) -> Condition {
        let is = |condition: &Condition| self.condition.load(Relaxed) == *condition as u8;
        [Condition::Live, Condition::Dead].into_iter().find(is).unwrap_or(Condition::Idle)
    }

    pub(super) fn set_condition(&self, condition: Condition) {
        self.condition.store(condition as u8, Relaxed);
    }

    /// A session that comes back does not bring a dead lane to life: that its watch will say.
    pub(super) fn set_session(&self, is_there: bool) {
        if !is_there {
            self.set_condition(Condition::Idle);
        } else if self.condition() == Condition::Idle {
            self.set_condition(Condition::Live);
        }
    }

    pub(super) fn set_endpoint(&self, endpoint: Option<SocketAddr>) {
        *self.endpoint.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = endpoint;
    }

    pub(super) fn load(
        &self,
        lane: Lane,
        shard: usize,
        port: u16,
        condition: Condition,
        now: Instant,
    ) -> LaneStatistics {
        let at = |handshake: &AtomicU64| {
            let millis = handshake.load(Relaxed).checked_sub(1)?;
            Some(self.epoch + Duration::from_millis(millis))
        };
        LaneStatistics {
            lane,
            shard,
            port,
            condition,
            endpoint: *self.endpoint.lock().unwrap_or_else(std::sync::PoisonError::into_inner),
            handshake_age: at(&self.handshake).map(|at| now.saturating_duration_since(at)),
            last_handshake: at(&self.last_handshake),
            round_trip: self.round_trip.load(Relaxed).checked_sub(1).map(Duration::from_micros),
            received: self.received.load(),
            sent: self.sent.load(),
        }
    }
}

#[cfg(test)]
mod tests;
