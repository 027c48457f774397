//! From the wire to a TUN queue: receive a batch, decrypt it where it is, judge and join the packets, write super-packets.

use std::{
    io::{self, IoSlice},
    ops::Range,
};

use mesh_common::{
    datapath::{DropReason, Ingress, Verdict, remap::remap},
    frame::SliceFrame,
    ids::{ConnectionId, RemapId},
};
use mesh_core::tunnel::{BATCH, DATA_HEADER, Opened, PeerSlot, coalesce::MAX_PARTS, ecn, flow, lane::Probe};

use super::{
    Routing,
    outbound::Turn,
    tunnel::{Bench, HEADROOM, Tunnel},
};
use crate::kernel::udp::{Family, Received};

/// Receives from one socket before others have their turn.
const BUDGET: usize = 16;
/// Failed receives in a row after which a socket is of no use.
const MAX_FAILURES: u32 = 64;

/// The run of packets that are being joined, and what they were accepted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    peer: PeerSlot,
    /// `None`: nothing was rewritten.
    remap: Option<RemapId>,
}

impl Tunnel {
    pub(super) fn read_socket(&mut self, family: Family, bench: &mut Bench) -> Turn {
        for _ in 0..BUDGET {
            let Some(socket) = self.outlet.sockets.of(family) else { return Turn::Done };
            match socket.receive(&mut bench.wire[HEADROOM..]) {
                Ok(received) => {
                    self.failures = 0;
                    self.open_batch(bench, &received);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Turn::Done,
                Err(error) => {
                    self.failures += 1;
                    if self.failures >= MAX_FAILURES {
                        tracing::warn!("{}: the UDP socket is of no use any more: {error}", self.name.device);
                        return Turn::Lost;
                    }
                }
            }
        }
        Turn::Done
    }

    /// Opens the datagrams of one receive, all data messages that follow each other at once.
    pub(super) fn open_batch(&mut self, bench: &mut Bench, received: &Received) {
        let mut accepted = None;
        let mut waiting = None;
        let segment = received.segment.max(1);
        let (mut start, end) = (HEADROOM, HEADROOM + received.len);
        while start < end {
            if let Some(next) = self.pass_on(bench, received, start..end) {
                start = next;
                continue;
            }
            let mut datagrams = [const { 0..0 }; BATCH];
            let mut count = 0;
            for (datagram, at) in datagrams.iter_mut().zip((start..end).step_by(segment)) {
                *datagram = at..(at + segment).min(end);
                count += 1;
            }
            let mut opened = [Opened::Refused(DropReason::NotWireguard); BATCH];
            let Received { from, to, .. } = *received;
            let (now, wire) = (bench.now, &mut *bench.wire);
            let mut done = self.device.open_batch(now, from, to, wire, &datagrams[..count], &mut opened);
            if done == 0 {
                done = 1;
                // A handshake measures a round trip and takes long itself.
                bench.read_clock();
                let alone = self.open_alone(bench, received, datagrams[0].clone());
                bench.read_clock();
                let Some(alone) = alone else {
                    start = datagrams[0].end;
                    continue;
                };
                opened[0] = alone;
            }
            let peer = self.take(bench, received, &mut accepted, &opened[..done], &datagrams[..done]);
            waiting = peer.or(waiting);
            start = datagrams[done - 1].end;
        }
        self.write_run(bench);
        if let Some(peer) = waiting {
            self.flush_waiting(peer, bench);
        }
    }

    /// What became of datagrams of one peer, or of one that is not of a session. Gives a peer that may have a new session.
    pub(super) fn take(
        &mut self,
        bench: &mut Bench,
        received: &Received,
        accepted: &mut Option<Accepted>,
        opened: &[Opened],
        datagrams: &[Range<usize>],
    ) -> Option<PeerSlot> {
        let (mut from, mut packets, mut bytes) = (None, 0, 0);
        for (opened, datagram) in opened.iter().zip(datagrams) {
            let peer = match *opened {
                Opened::Packet { peer, len } => {
                    let at = datagram.start + DATA_HEADER;
                    self.deliver(bench, accepted, peer, at..at + len, received.tos);
                    peer
                }
                Opened::Probe { peer, len } => {
                    let at = datagram.start + DATA_HEADER;
                    let probe = Probe::parse(&bench.wire[at..at + len]);
                    self.take_probe(bench, peer, probe);
                    peer
                }
                Opened::Empty { peer } => peer,
                Opened::Reply { peer, len } => {
                    self.outlet.send_to(received.from, received.to, &bench.reply[..len], &bench.counters);
                    if let Some(counters) = self.counters(peer) {
                        counters.sent.add(1, len as u64);
                    }
                    peer
                }
                Opened::Cookie { len } => {
                    self.outlet.send_to(received.from, received.to, &bench.reply[..len], &bench.counters);
                    continue;
                }
                Opened::Refused(reason) => {
                    bench.counters.count_drop(reason, 1);
                    continue;
                }
            };
            from = Some(peer);
            packets += 1;
            bytes += datagram.len() as u64;
        }
        self.count_received(from, packets, bytes);
        from
    }

    fn count_received(&self, peer: Option<PeerSlot>, packets: u64, bytes: u64) {
        if let Some(counters) = peer.and_then(|peer| self.counters(peer)) {
            counters.received.add(packets, bytes);
        }
    }

    /// Joins an authentic packet to the run, or judges it and starts a new run with it. What was judged of the first packet
    /// of a run holds for the others: their addresses, protocol and ports are the same.
    fn deliver(
        &mut self,
        bench: &mut Bench,
        accepted: &mut Option<Accepted>,
        peer: PeerSlot,
        at: Range<usize>,
        outer_tos: u8,
    ) {
        if !ecn::decapsulate(&mut bench.wire[at.clone()], outer_tos) {
            bench.counters.count_drop(DropReason::Congested, 1);
            return;
        }
        let len = at.len() as u64;
        if let Some(run) = accepted.filter(|run| run.peer == peer)
            && bench.run.extend(&bench.wire, at.clone())
        {
            bench.count_remap(run.remap, len);
            return;
        }
        self.write_run(bench);
        *accepted = None;
        let Some(connection) = self.device.connection(peer) else { return };
        match self.judge(bench, connection, at) {
            Ok(remap) => {
                bench.count_remap(remap, len);
                *accepted = Some(Accepted { peer, remap });
            }
            Err(reason) => {
                bench.run.clear();
                bench.counters.count_drop(reason, 1);
            }
        }
    }

    /// Begins a run with the packet as it came, then rewrites it.
    fn judge(
        &mut self,
        bench: &mut Bench,
        connection: ConnectionId,
        at: Range<usize>,
    ) -> Result<Option<RemapId>, DropReason> {
        let Bench { wire, run, tables, .. } = bench;
        let joins_udp = self.tun.as_ref().is_some_and(|tun| tun.carries_udp_segments());
        run.begin(wire, at.clone(), joins_udp);
        if let Routing::AllowedIps(allowed, admission) = &self.routing {
            let packet = &mut wire[at];
            let from = flow::source(packet).ok_or(DropReason::Truncated)?;
            if allowed.lookup(from) != Some(connection) {
                return Err(DropReason::SpoofedSource);
            }
            if admission.own.is_some_and(|own| flow::destination(packet) != Some(own)) {
                return Err(DropReason::NotOurDestination);
            }
            // Nothing is rewritten, and so there is no remap that could count it.
            return admission.policy.as_ref().map_or(Ok(None), |policy| policy.judge(packet).map(|()| None));
        }
        let mut frame = SliceFrame::with_headroom(&mut wire[..at.end], at.start);
        match remap(&mut frame, 0, Ingress::Tunnel(connection), &**tables) {
            Verdict::Accept { remap, .. } => Ok(Some(remap)),
            Verdict::Drop(reason) => Err(reason),
            Verdict::Pass => Err(DropReason::NotOurDestination),
        }
    }

    /// Writes the run to the TUN.
    fn write_run(&mut self, bench: &mut Bench) {
        let Bench { wire, run, counters, .. } = bench;
        if run.is_empty() {
            return;
        }
        let header = run.finish(wire).bytes();
        let mut parts = [IoSlice::new(&[]); MAX_PARTS + 1];
        parts[0] = IoSlice::new(&header);
        for (to, part) in parts[1..].iter_mut().zip(run.parts()) {
            *to = IoSlice::new(&wire[part.clone()]);
        }
        let count = 1 + run.parts().len();
        let written = self.tun.as_ref().map(|tun| tun.write(&parts[..count]));
        if !matches!(written, Some(Ok(_))) {
            counters.tun_failed.add(count as u64 - 1);
        }
        run.clear();
    }
}
