//! How a shard watches its lane of a tunnel: probes out, probes in, and the news on the board.
//!
//! When a lane is dead is decided in `mesh_core::tunnel::lane`.

use std::{sync::Arc, time::Instant};

use mesh_core::tunnel::{
    Lane, PeerSlot,
    lane::{Condition, Probe, Watch},
};

use super::{
    board::Board,
    tunnel::{Bench, Tunnel},
};

/// What a lane needs to know of itself and its sisters.
pub(super) struct Bond {
    lane: Lane,
    pub(super) board: Arc<Board>,
    /// `None`: there is no other lane that could do its work.
    watch: Option<Watch>,
    /// Packets left in this turn.
    pub(super) is_loaded: bool,
    /// A message could not leave in this turn.
    pub(super) has_failed: bool,
    /// As it stands on the board.
    noted: Condition,
}

impl Bond {
    pub(super) fn new(lane: Lane, board: Arc<Board>, is_watched: bool) -> Bond {
        let watch = is_watched.then(Watch::new);
        Bond { lane, board, watch, is_loaded: false, has_failed: false, noted: Condition::Idle }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.watch.as_ref()?.poll_timeout()
    }

    /// A session of the lane's peer began or ended.
    pub(super) fn session(&mut self, is_there: bool) {
        match &mut self.watch {
            Some(watch) => watch.session(is_there),
            None => self.board.mark(self.lane, if is_there { Condition::Live } else { Condition::Idle }),
        }
    }

    /// Tells the watch what happened in this turn; the number of the probe that it wants sent.
    fn turn(&mut self, now: Instant) -> Option<u64> {
        let watch = self.watch.as_mut()?;
        if std::mem::take(&mut self.has_failed) {
            watch.failed(now);
        }
        if std::mem::take(&mut self.is_loaded) {
            watch.loaded(now);
        }
        watch.poll_probe(now)
    }

    /// What is new about the lane goes on the board.
    fn note(&mut self) -> Option<Condition> {
        let condition = self.watch.as_ref()?.condition();
        if condition == self.noted {
            return None;
        }
        self.board.note(self.lane, condition);
        Some(std::mem::replace(&mut self.noted, condition))
    }
}

impl Tunnel {
    /// At the end of a turn.
    pub(super) fn watch_lane(&mut self, bench: &mut Bench) {
        if let Some(number) = self.bond.turn(bench.now) {
            let peer = self.device.peers().next().map(|(_, peer)| peer);
            peer.into_iter().for_each(|peer| self.send_probe(bench, peer, Probe::Ask(number)));
        }
        if let Some(before) = self.bond.note() {
            let name = &self.name;
            tracing::info!("{} lane {}: {:?}, was {before:?}", name.device, name.lane.0, self.bond.noted);
        }
    }

    /// A question is answered at once and through the same lane.
    pub(super) fn take_probe(&mut self, bench: &mut Bench, peer: PeerSlot, probe: Option<Probe>) {
        match probe {
            Some(Probe::Ask(number)) => self.send_probe(bench, peer, Probe::Answer(number)),
            Some(Probe::Answer(number)) => {
                if let Some(watch) = &mut self.bond.watch {
                    watch.answered(bench.now, number);
                }
            }
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
