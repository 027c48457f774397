//! How a shard watches its lane of a tunnel: probes out, probes in, and the news on the board; and, where the remote has
//! several gateway nodes, which of them a packet goes to.
//!
//! When a lane is dead, and how flows are shared, is decided in `mesh_core::tunnel::lane`.

use std::{net::IpAddr, sync::Arc, time::Instant};

use mesh_common::{
    ids::ConnectionId,
    spread::{self, FLOW_SLOTS},
};
use mesh_core::{
    plan::{Peer, PublicKey},
    tunnel::{
        Lane, PeerSlot, flow,
        lane::{self, Condition, Probe, Watch},
    },
};

use super::{
    board::Board,
    tunnel::{Bench, Tunnel},
};

/// What a lane needs to know of itself, its sisters and the gateway nodes that it leads to.
pub(super) struct Bond {
    lane: Lane,
    pub(super) board: Arc<Board>,
    /// There are other lanes, which could do its work.
    has_sisters: bool,
    /// The gateway nodes of the remote, in the order of their keys. Empty where packets find their peer by allowed IPs.
    branches: Vec<Branch>,
    /// Which of several branches each slot of flows takes.
    choice: Box<[u8; FLOW_SLOTS as usize]>,
    /// As it stands on the board.
    noted: Condition,
}

/// One peer of the lane.
struct Branch {
    key: PublicKey,
    peer: PeerSlot,
    connection: ConnectionId,
    /// Packets to these addresses go to this peer only.
    reserved: Vec<IpAddr>,
    /// `None`: nothing else could do its work.
    watch: Option<Watch>,
    /// Packets left in this turn.
    is_loaded: bool,
    /// A message could not leave in this turn.
    has_failed: bool,
    noted: Condition,
}

impl Bond {
    pub(super) fn new(lane: Lane, board: Arc<Board>, has_sisters: bool) -> Bond {
        let choice = Box::new([0; FLOW_SLOTS as usize]);
        Bond { lane, board, has_sisters, branches: Vec::new(), choice, noted: Condition::Idle }
    }

    /// The lane leads to this peer, from now on or still.
    pub(super) fn join(&mut self, key: PublicKey, slot: PeerSlot, peer: &Peer, is_live: bool) {
        let at = self.branches.partition_point(|branch| branch.key < key);
        if self.branches.get(at).is_none_or(|branch| branch.key != key) {
            let noted = Condition::Idle;
            let (connection, reserved) = (peer.connection, Vec::new());
            let branch = Branch {
                key,
                peer: slot,
                connection,
                reserved,
                watch: None,
                is_loaded: false,
                has_failed: false,
                noted,
            };
            self.branches.insert(at, branch);
        }
        let branch = &mut self.branches[at];
        (branch.peer, branch.connection) = (slot, peer.connection);
        branch.reserved.clone_from(&peer.reserved);
        if let Some(watch) = &mut branch.watch {
            watch.session(is_live);
        }
        self.regroup(|other| if other == slot { Some(is_live) } else { None });
    }

    pub(super) fn leave(&mut self, key: &PublicKey) {
        self.branches.retain(|branch| branch.key != *key);
        self.regroup(|_| None);
    }

    /// Any of the peers that the lane leads to.
    pub(super) fn any_peer(&self) -> Option<PeerSlot> {
        self.branches.first().map(|branch| branch.peer)
    }

    /// There is a choice between peers.
    #[inline]
    pub(super) fn is_forked(&self) -> bool {
        self.branches.len() > 1
    }

    /// The peer that a packet of this connection goes to, of several.
    pub(super) fn pick(&self, connection: ConnectionId, packet: &[u8]) -> Option<PeerSlot> {
        let to = flow::destination(packet);
        let is_own =
            |branch: &&Branch| to.is_some_and(|to| branch.reserved.contains(&to)) && branch.noted != Condition::Dead;
        let own = self.branches.iter().find(is_own);
        let chosen = own.or_else(|| self.branches.get(usize::from(self.choice[spread::slot(&packet) as usize])));
        chosen.filter(|branch| branch.connection == connection).map(|branch| branch.peer)
    }

    /// Packets left for the peer.
    #[inline]
    pub(super) fn loaded(&mut self, peer: PeerSlot) {
        self.branches.iter_mut().filter(|branch| branch.peer == peer).for_each(|branch| branch.is_loaded = true);
    }

    /// A message to the peer could not leave.
    pub(super) fn failed(&mut self, peer: PeerSlot) {
        self.branches.iter_mut().filter(|branch| branch.peer == peer).for_each(|branch| branch.has_failed = true);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.branches.iter().filter_map(|branch| branch.watch.as_ref()?.poll_timeout()).min()
    }

    /// A session of one of the lane's peers began or ended.
    pub(super) fn session(&mut self, peer: PeerSlot, is_there: bool) {
        let Some(branch) = self.branches.iter_mut().find(|branch| branch.peer == peer) else {
            return self.board.mark(self.lane, if is_there { Condition::Live } else { Condition::Idle });
        };
        match &mut branch.watch {
            Some(watch) => watch.session(is_there),
            None => branch.noted = if is_there { Condition::Live } else { Condition::Idle },
        }
        if !self.has_sisters && !self.is_forked() {
            self.board.mark(self.lane, if is_there { Condition::Live } else { Condition::Idle });
        }
    }

    fn answered(&mut self, now: Instant, peer: PeerSlot, number: u64) {
        let branch = self.branches.iter_mut().find(|branch| branch.peer == peer);
        if let Some(watch) = branch.and_then(|branch| branch.watch.as_mut()) {
            watch.answered(now, number);
        }
    }

    /// Peers are watched where there is a choice. `is_live` knows of a session that nobody was told of.
    fn regroup(&mut self, is_live: impl Fn(PeerSlot) -> Option<bool>) {
        let is_watched = self.has_sisters || self.is_forked();
        for branch in &mut self.branches {
            if is_watched && branch.watch.is_none() {
                let mut watch = Watch::new();
                watch.session(is_live(branch.peer).unwrap_or(branch.noted != Condition::Idle));
                branch.watch = Some(watch);
            } else if !is_watched {
                branch.watch = None;
            }
        }
        self.choose();
    }

    fn choose(&mut self) {
        if !self.is_forked() {
            return;
        }
        let keys: Vec<PublicKey> = self.branches.iter().map(|branch| branch.key).collect();
        *self.choice = lane::rendezvous(&keys, |at| self.branches[at].noted == Condition::Live);
    }

    /// Tells the watches what happened in this turn; the number of the probe that the branch wants sent.
    fn turn(&mut self, at: usize, now: Instant) -> Option<(PeerSlot, u64)> {
        let branch = self.branches.get_mut(at)?;
        let (has_failed, is_loaded) = (std::mem::take(&mut branch.has_failed), std::mem::take(&mut branch.is_loaded));
        let watch = branch.watch.as_mut()?;
        if has_failed {
            watch.failed(now);
        }
        if is_loaded {
            watch.loaded(now);
        }
        Some((branch.peer, watch.poll_probe(now)?))
    }

    /// What is new about the branch, with what was known before. The lane is as good as the best of them.
    fn note(&mut self, at: usize) -> Option<(PeerSlot, Condition, Condition)> {
        let branch = self.branches.get_mut(at)?;
        let condition = branch.watch.as_ref()?.condition();
        if condition == branch.noted {
            return None;
        }
        let news = (branch.peer, condition, std::mem::replace(&mut branch.noted, condition));
        self.choose();
        let has = |wanted| self.branches.iter().any(|branch| branch.noted == wanted);
        let best = [Condition::Live, Condition::Dead].into_iter().find(|wanted| has(*wanted));
        let best = best.unwrap_or(Condition::Idle);
        if best != self.noted {
            self.noted = best;
            self.board.note(self.lane, best);
        }
        Some(news)
    }
}

impl Tunnel {
    /// At the end of a turn.
    pub(super) fn watch_lane(&mut self, bench: &mut Bench) {
        for at in 0..self.bond.branches.len() {
            if let Some((peer, number)) = self.bond.turn(at, bench.now) {
                self.send_probe(bench, peer, Probe::Ask(number));
            }
            if let Some((peer, condition, before)) = self.bond.note(at) {
                let (name, key) = (&self.name, self.bond.branches[at].key);
                tracing::info!("{} lane {} to {key}: {condition:?}, was {before:?}", name.device, name.lane.0);
                if let Some(counters) = self.counters(peer) {
                    counters.set_condition(condition);
                }
            }
        }
    }

    /// A question is answered at once and through the same lane.
    pub(super) fn take_probe(&mut self, bench: &mut Bench, peer: PeerSlot, probe: Option<Probe>) {
        match probe {
            Some(Probe::Ask(number)) => self.send_probe(bench, peer, Probe::Answer(number)),
            Some(Probe::Answer(number)) => self.bond.answered(bench.now, peer, number),
            None => {}
        }
    }

    fn send_probe(&mut self, bench: &mut Bench, peer: PeerSlot, probe: Probe) {
        let Bench { batch, counters, now, .. } = bench;
        // Without a session the probe would wait for one.
        if !self.device.is_live(peer) {
            return;
        }
        if let Ok(heading) = self.heading(peer, 0) {
            self.seal_alone(*now, &heading, &probe.bytes(), batch, counters);
        }
    }
}
