//! Datagrams of equal length for one peer that leave with one system call.

use std::{io, net::SocketAddr, time::Duration};

use mesh_common::datapath::DropReason;
use mesh_core::tunnel::{MESSAGE_ROOM, Path, PeerSlot};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::statistics::{PeerCounters, ShardCounters};
use crate::kernel::udp::{MAX_BATCH, MAX_SEGMENTS, Transmit, UdpSocket, UdpSockets};

/// How long a full socket buffer may hold up a shard before what it carries is dropped. 1 ms empties it at 64 Gbit/s.
const SEND_PATIENCE: Duration = Duration::from_millis(4);
/// A way out that refused to segment is asked again after so many batches.
const RETRY_SEGMENTS_AFTER: u32 = 4_096;

/// Where a batch goes. Datagrams that differ in any of it are never in one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heading {
    pub(super) peer: PeerSlot,
    pub(super) path: Path,
    pub(super) tos: u8,
}

/// The send buffer of a shard. Messages are sealed right into it.
pub(super) struct Batch {
    buffer: Box<[u8]>,
    heading: Option<Heading>,
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
        let buffer = vec![0; MAX_BATCH + 2 * MESSAGE_ROOM + usize::from(u16::MAX)].into_boxed_slice();
        Batch { buffer, heading: None, len: 0, segment: 0, count: 0 }
    }

    /// Whether `count` more datagrams of this heading had better start a new batch.
    pub(super) fn is_better_sent(&self, heading: &Heading, count: usize) -> bool {
        self.count > 0 && (self.heading.as_ref() != Some(heading) || self.count + count > MAX_SEGMENTS)
    }

    /// Where the next message is written: room for 65,535 bytes at least.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[self.len..]
    }

    /// Whether a message of `len` bytes, just written to [`Batch::room`], can be part of this batch.
    pub(super) fn fits(&self, heading: &Heading, len: usize) -> bool {
        self.count == 0
            || self.heading.as_ref() == Some(heading)
                && self.count < MAX_SEGMENTS
                && len <= self.segment
                && self.len == self.segment * self.count
                && self.len + len <= MAX_BATCH
    }

    /// Takes the message that was written to [`Batch::room`]; it fits.
    pub(super) fn push(&mut self, heading: &Heading, len: usize) {
        if self.count == 0 {
            self.heading = Some(*heading);
            self.segment = len;
        }
        self.len += len;
        self.count += 1;
    }

    /// Starts anew after a send with the message that did not fit.
    pub(super) fn restart(&mut self, heading: &Heading, sent: usize, len: usize) {
        self.buffer.copy_within(sent..sent + len, 0);
        self.push(heading, len);
    }

    /// Where the batch goes; `None`: it is empty.
    pub(super) fn heading(&self) -> Option<&Heading> {
        self.heading.as_ref()
    }

    /// Bytes in the batch.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Sends what there is and is empty then.
    pub(super) fn send(
        &mut self,
        outlet: &mut Outlet,
        counters: &ShardCounters,
        peer: Option<&PeerCounters>,
    ) -> Departure {
        let (len, segment, count) = (self.len, self.segment, self.count);
        (self.len, self.segment, self.count) = (0, 0, 0);
        let Some(heading) = self.heading.take().filter(|_| count > 0) else { return Departure::Gone };
        let departure = outlet.send(&heading, &self.buffer[..len], segment, counters);
        if let Some(peer) = peer {
            peer.sent.add(count as u64, len as u64);
        }
        departure
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

    fn send(&mut self, heading: &Heading, payload: &[u8], segment: usize, counters: &ShardCounters) -> Departure {
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
            Ok(()) => {}
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
