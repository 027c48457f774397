//! Messages that are laid out one after the other, sealed with one call, and leave with one system call for each train.

use std::{io, net::SocketAddr, ops::Range, time::Duration};

use mesh_common::{datapath::DropReason, wire::wireguard::DATA_OVERHEAD};
use mesh_core::tunnel::{DATA_HEADER, MESSAGE_ROOM, Path, PeerSlot};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::statistics::ShardCounters;
use crate::kernel::{
    gso,
    udp::{MAX_BATCH, MAX_SEGMENTS, Transmit, UdpSocket, UdpSockets},
};

/// How long a full socket buffer may hold up a shard before what it carries is dropped. 1 ms empties it at 64 Gbit/s.
const SEND_PATIENCE: Duration = Duration::from_millis(4);
/// A way out that refused to segment is asked again after so many batches.
const RETRY_SEGMENTS_AFTER: u32 = 4_096;

/// Messages of a batch: those of several small super-packets, or of many small packets.
const MAX_MESSAGES: usize = 2 * MAX_SEGMENTS;
/// Bytes of the messages of a batch: what the second-level cache has room for, several times.
const MAX_BYTES: usize = 2 * MAX_BATCH;

/// Where datagrams go. Those that differ in any of it never leave together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heading {
    pub(super) peer: PeerSlot,
    pub(super) path: Path,
    pub(super) tos: u8,
}

/// The send buffer of a shard. Messages of one peer are laid out in it, and sealed where they are.
pub(super) struct Batch {
    buffer: Box<[u8]>,
    messages: Vec<Range<usize>>,
    trains: Vec<Train>,
}

/// Datagrams of equal length, but for a shorter last one, that leave with one system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Train {
    heading: Heading,
    at: usize,
    len: usize,
    /// Bytes of each datagram but the last.
    segment: usize,
    count: usize,
}

/// The way out of one tunnel.
pub(super) struct Outlet {
    pub(super) sockets: UdpSockets,
    /// Batches that are still sent one by one, since the way out refused a whole one.
    unsegmented: u32,
}

/// What became of a batch.
pub(super) enum Departure {
    Gone,
    /// The kernel refused it.
    Failed,
    /// It left, but not from the address that the peer knows, which is no longer ours.
    WithoutSource(PeerSlot),
}

impl Batch {
    pub(super) fn new() -> Self {
        let buffer = vec![0; MAX_BYTES + DATA_OVERHEAD + MESSAGE_ROOM + usize::from(u16::MAX)].into_boxed_slice();
        Batch { buffer, messages: Vec::with_capacity(MAX_MESSAGES), trains: Vec::with_capacity(MAX_MESSAGES) }
    }

    /// Whether `count` more messages of this heading, `len` bytes in all, had better start a new batch.
    pub(super) fn is_better_sent(&self, heading: &Heading, count: usize, len: usize) -> bool {
        self.trains.first().is_some_and(|first| first.heading.peer != heading.peer)
            || !self.messages.is_empty()
                && (self.messages.len() + count > MAX_MESSAGES || self.end() + len + count * DATA_OVERHEAD > MAX_BYTES)
    }

    /// Whether one more message would be too much.
    pub(super) fn is_full(&self) -> bool {
        self.messages.len() >= MAX_MESSAGES || self.end() >= MAX_BYTES
    }

    /// Takes a packet, which becomes a message when all are sealed. The batch is not full, and it is the same peer's.
    #[inline]
    pub(super) fn lay_out(&mut self, heading: &Heading, packet: &[u8]) {
        let at = self.end();
        let len = packet.len() + DATA_OVERHEAD;
        self.buffer[at + DATA_HEADER..][..packet.len()].copy_from_slice(packet);
        self.messages.push(at..at + len);
        match self.trains.last_mut() {
            Some(train) if train.takes(heading, len) => {
                train.len += len;
                train.count += 1;
            }
            _ => self.trains.push(Train { heading: *heading, at, len, segment: len, count: 1 }),
        }
    }

    /// The peer of the messages; `None`: there are none.
    pub(super) fn peer(&self) -> Option<PeerSlot> {
        self.trains.first().map(|train| train.heading.peer)
    }

    /// What is to be sealed, all of it before any train leaves.
    pub(super) fn messages(&mut self) -> (&mut [u8], &[Range<usize>]) {
        (&mut self.buffer, &self.messages)
    }

    /// Takes the messages after the first `sealed` out again: they are still packets, and must not leave.
    pub(super) fn cut(&mut self, sealed: usize) {
        let Some(end) = self.messages.get(sealed).map(|message| message.start) else { return };
        self.messages.truncate(sealed);
        self.trains.retain(|train| train.at < end);
        if let Some(last) = self.trains.last_mut() {
            last.len = last.len.min(end - last.at);
            last.count = last.len.div_ceil(last.segment);
        }
    }

    pub(super) fn trains(&self) -> impl Iterator<Item = (&Train, &[u8])> {
        self.trains.iter().map(|train| (train, &self.buffer[train.at..train.at + train.len]))
    }

    pub(super) fn clear(&mut self) {
        self.messages.clear();
        self.trains.clear();
    }

    /// Room for a message that leaves by itself; the batch is empty.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    fn end(&self) -> usize {
        self.messages.last().map_or(0, |message| message.end)
    }
}

impl Train {
    pub(super) fn alone(heading: &Heading, len: usize) -> Self {
        Train { heading: *heading, at: 0, len, segment: len, count: 1 }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn peer(&self) -> PeerSlot {
        self.heading.peer
    }

    fn takes(&self, heading: &Heading, len: usize) -> bool {
        self.heading == *heading
            && self.count < MAX_SEGMENTS
            && len <= self.segment
            && self.len == self.segment * self.count
            && self.len + len <= MAX_BATCH
    }
}

impl Outlet {
    pub(super) fn new(sockets: UdpSockets) -> Self {
        Outlet { sockets, unsegmented: 0 }
    }

    /// Sends one datagram to somebody who is not yet known as a peer.
    pub(super) fn send_to(
        &self,
        to: SocketAddr,
        from: Option<std::net::IpAddr>,
        message: &[u8],
        counters: &ShardCounters,
    ) {
        let transmit = Transmit { to, from, tos: 0, segment: None, payload: message };
        match self.sockets.towards(&to).map(|socket| send_patiently(socket, &transmit)) {
            Some(Ok(())) => {}
            Some(Err(_)) | None => counters.send_failed.add(1),
        }
    }

    /// Sends a train with one system call, or its datagrams one by one where that is refused.
    pub(super) fn send(&mut self, train: &Train, payload: &[u8], counters: &ShardCounters) -> Departure {
        let Train { heading, segment, .. } = *train;
        let Some(socket) = self.sockets.towards(&heading.path.to) else {
            counters.send_failed.add(1);
            return Departure::Failed;
        };
        let transmit = |from| Transmit {
            to: heading.path.to,
            from,
            tos: heading.tos,
            segment: (payload.len() > segment).then_some(segment as u16),
            payload,
        };
        let mut departure = Departure::Gone;
        let mut whole = transmit(heading.path.from);
        let is_split = whole.segment.is_some() && self.unsegmented > 0;
        let mut result = if is_split { Err(Errno::IO.into()) } else { send_patiently(socket, &whole) };
        if !is_split
            && result.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock)
            && whole.from.is_some()
        {
            whole = transmit(None);
            result = send_patiently(socket, &whole);
            if result.is_ok() {
                departure = Departure::WithoutSource(heading.peer);
            }
        }
        match result {
            Ok(()) => counters.tails.add(gso::tail(payload.len(), whole.segment).len() as u64),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                counters.count_drop(DropReason::Congested, payload.len().div_ceil(segment) as u64);
            }
            Err(error) if whole.segment.is_some() && is_segmentation(&error) => {
                self.unsegmented = if is_split { self.unsegmented - 1 } else { RETRY_SEGMENTS_AFTER };
                counters.unsegmented.add(1);
                departure = send_split(socket, &transmit(heading.path.from), segment, counters);
            }
            Err(_) => {
                counters.send_failed.add(payload.len().div_ceil(segment) as u64);
                departure = Departure::Failed;
            }
        }
        departure
    }
}

/// The way out has no checksum offload, or a datagram is longer than its MTU and has to be fragmented.
fn is_segmentation(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::IO | Errno::INVAL | Errno::MSGSIZE))
}

fn send_split(socket: &UdpSocket, whole: &Transmit<'_>, segment: usize, counters: &ShardCounters) -> Departure {
    let mut departure = Departure::Gone;
    for payload in whole.payload.chunks(segment) {
        let one = Transmit { segment: None, payload, ..*whole };
        let result = send_patiently(socket, &one).or_else(|_| send_patiently(socket, &Transmit { from: None, ..one }));
        if result.is_err() {
            counters.send_failed.add(1);
            departure = Departure::Failed;
        }
    }
    departure
}

/// Waits a little where the socket's buffer is full.
fn send_patiently(socket: &UdpSocket, transmit: &Transmit<'_>) -> io::Result<()> {
    match socket.send(transmit) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let timeout = Timespec { tv_sec: 0, tv_nsec: SEND_PATIENCE.subsec_nanos().into() };
            poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&timeout))?;
            socket.send(transmit)
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        net::SocketAddr,
        time::{Duration, Instant},
    };

    use mesh_common::ids::ConnectionId;
    use mesh_core::{
        plan::{Peer, PublicKey},
        tunnel::{Birth, Device},
    };

    use super::*;

    /// A heading for each of two peers, without ECN and with it.
    fn headings() -> [[Heading; 2]; 2] {
        let now = Instant::now();
        let mut device = Device::new(None, &Birth { shard: 0, now, since_epoch: Duration::ZERO, seed: [0; 32] });
        let path = Path { to: SocketAddr::from(([192, 0, 2, 1], 1)), from: None };
        [1, 2].map(|number| {
            let config = Peer {
                connection: ConnectionId(number),
                endpoints: Vec::new(),
                lane_ports: Vec::new(),
                keepalive_seconds: None,
                preshared_key: None,
                reserved: Vec::new(),
                announced: BTreeMap::new(),
            };
            let peer = device.add_peer(now, PublicKey([number as u8; 32]), &config).unwrap();
            [0, 2].map(|tos| Heading { peer, path, tos })
        })
    }

    /// Datagrams and bytes of the trains.
    fn trains(batch: &Batch) -> Vec<(usize, usize)> {
        batch.trains().map(|(train, payload)| (train.count, payload.len())).collect()
    }

    #[test]
    fn a_train_has_equal_datagrams_and_a_shorter_last_one() {
        let ([[plain, marked], _], mut batch) = (headings(), Batch::new());
        for len in [100, 100, 40, 40, 40, 60] {
            batch.lay_out(&plain, &vec![7; len]);
        }
        batch.lay_out(&marked, &[7; 60]);
        assert_eq!(trains(&batch), [(3, 2 * 132 + 72), (2, 2 * 72), (1, 92), (1, 92)]);
        assert_eq!(batch.messages().1.len(), 7);
        batch.clear();
        assert_eq!((trains(&batch), batch.peer()), (Vec::new(), None));
    }

    #[test]
    fn what_is_not_sealed_does_not_leave() {
        for sealed in 0..6 {
            let ([[plain, _], _], mut batch) = (headings(), Batch::new());
            for len in [100, 100, 100, 60, 60] {
                batch.lay_out(&plain, &vec![7; len]);
            }
            batch.cut(sealed);
            let expected: &[(usize, usize)] = match sealed {
                0 => &[],
                1 => &[(1, 132)],
                2 => &[(2, 264)],
                3 => &[(3, 396)],
                4 => &[(4, 396 + 92)],
                _ => &[(4, 396 + 92), (1, 92)],
            };
            assert_eq!(trains(&batch), expected, "{sealed} sealed");
        }
    }

    #[test]
    fn a_batch_has_one_peer_and_bounds() {
        let ([[first, _], [second, _]], mut batch) = (headings(), Batch::new());
        assert!(!batch.is_better_sent(&first, 64, 65_535));
        batch.lay_out(&first, &[7; 20]);
        assert!(batch.is_better_sent(&second, 1, 20) && !batch.is_better_sent(&first, 64, 60_000));
        assert!(batch.is_better_sent(&first, MAX_MESSAGES, 2_000));
        while !batch.is_full() {
            batch.lay_out(&first, &[7; 9_000]);
        }
        assert!(batch.messages().1.len() < MAX_MESSAGES);
        assert!(trains(&batch).iter().all(|(_, len)| *len <= MAX_BATCH));
    }
}
