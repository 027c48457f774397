//! From a TUN queue to the wire: read super-packets, judge each once, cut it into messages, seal all messages of a turn
//! together and send them.

use std::io;

use mesh_common::{
    datapath::{DropReason, Ingress, Verdict, remap::remap},
    frame::{Checksum, SliceFrame},
};
use mesh_core::tunnel::{
    ecn, flow,
    segment::Segments,
    vnet::{self, Header},
};

use super::{
    Routing,
    tunnel::{Bench, HEADROOM, MAX_PACKET, Tunnel},
};

/// Reads of one TUN before others have their turn.
const BUDGET: usize = 16;

/// What a turn at a descriptor ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing more to do for now, or others' turn; the poll tells.
    Done,
    /// The descriptor is of no use any more.
    Lost,
}

impl Tunnel {
    pub(super) fn read_tun(&mut self, bench: &mut Bench) -> Turn {
        let mut turn = Turn::Done;
        for _ in 0..BUDGET {
            let Some(tun) = &self.tun else { break };
            let from = HEADROOM - vnet::LEN;
            match tun.read(&mut bench.packet[from..HEADROOM + MAX_PACKET]) {
                Ok(read) => {
                    if let Err(reason) = self.carry(bench, read.saturating_sub(vnet::LEN)) {
                        bench.counters.count_drop(reason, 1);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!("{}: the TUN device is gone: {error}", self.name.device);
                    turn = Turn::Lost;
                    break;
                }
            }
        }
        self.send(bench.now, &mut bench.batch, &bench.counters);
        turn
    }

    /// Carries the packet of `len` bytes that was read.
    fn carry(&mut self, bench: &mut Bench, len: usize) -> Result<(), DropReason> {
        let Bench { packet, batch, counters, tables, now, .. } = bench;
        let header = packet[HEADROOM - vnet::LEN..].first_chunk().ok_or(DropReason::Truncated)?;
        let header = Header::parse(*header)?;
        let connection = match &self.routing {
            Routing::Plan => match remap(&mut frame(packet, &header, len), 0, Ingress::Tun, &**tables) {
                Verdict::Accept { remap, connection } => {
                    counters.remap(remap, 1, len as u64);
                    connection
                }
                Verdict::Drop(reason) => return Err(reason),
                Verdict::Pass => return Err(DropReason::NotOurDestination),
            },
            Routing::AllowedIps(allowed, admission) => {
                let packet = &mut packet[HEADROOM..HEADROOM + len];
                let to = flow::destination(packet).ok_or(DropReason::Truncated)?;
                let connection = allowed.lookup(to).ok_or(DropReason::NotOurDestination)?;
                if let Some(policy) = &admission.policy {
                    policy.judge(packet)?;
                }
                connection
            }
        };
        let peer = if self.bond.is_forked() {
            self.bond.pick(connection, &packet[HEADROOM..HEADROOM + len])
        } else {
            self.device.peer_of(connection)
        };
        let peer = peer.ok_or(DropReason::NoSession)?;
        let heading = self.heading(peer, ecn::of(&packet[HEADROOM..]))?;
        let mut segments = Segments::new(&header, &mut packet[HEADROOM..], len)?;
        let is_live = self.device.can_seal(*now, peer);
        if !is_live || batch.is_better_sent(&heading, segments.count(), len) {
            self.send(*now, batch, counters);
        }
        self.bond.loaded(peer);
        while let Some(segment) = segments.next(self.mtu) {
            if !is_live {
                self.seal_alone(*now, &heading, segment, batch, counters);
                continue;
            }
            if batch.is_full() {
                self.send(*now, batch, counters);
            }
            batch.lay_out(&heading, segment);
        }
        Ok(())
    }
}

fn frame<'a>(packet: &'a mut [u8], header: &Header, len: usize) -> SliceFrame<'a> {
    let mut frame = SliceFrame::with_headroom(&mut packet[..HEADROOM + len], HEADROOM);
    if let Some(partial) = header.partial {
        frame = frame.checksum(Checksum::Partial { at: usize::from(partial.start) + usize::from(partial.offset) });
    }
    match header.gso {
        Some((_, size)) => frame.super_packet(size),
        None => frame,
    }
}
