//! Which lanes of a device carry traffic: noted by the shards of its lanes, read by everybody, obeyed by the kernel.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
    },
};

use mesh_core::{
    plan::PublicKey,
    tunnel::{
        Lane, MAX_LANES,
        lane::{self, Condition},
    },
};

use super::handover::Door;
use crate::kernel::steering::Steering;

/// One for each device, shared by its lanes.
#[derive(Debug)]
pub(super) struct Board {
    lanes: usize,
    conditions: [AtomicU8; MAX_LANES],
    /// The loss of the device or a socket was noticed by one of the lanes.
    is_lost: AtomicBool,
    /// None where every lane has every peer.
    doors: Vec<Door>,
    /// Whose peer is whose, where each has one lane. Locked for a handshake, never for data.
    owners: Mutex<BTreeMap<PublicKey, Lane>>,
    /// Locked when a lane comes or goes, never for a packet.
    steering: Mutex<Option<Steering>>,
}

impl Board {
    /// `steering`: where there is more than one queue to choose.
    pub(super) fn new(lanes: usize, steering: Option<Steering>, doors: Vec<Door>) -> Board {
        Board {
            lanes,
            conditions: [const { AtomicU8::new(Condition::Idle as u8) }; MAX_LANES],
            is_lost: AtomicBool::new(false),
            doors,
            owners: Mutex::new(BTreeMap::new()),
            steering: Mutex::new(steering),
        }
    }

    pub(super) fn condition(&self, lane: Lane) -> Condition {
        let is = |condition: &Condition| self.conditions[lane.index()].load(Relaxed) == *condition as u8;
        [Condition::Live, Condition::Dead].into_iter().find(is).unwrap_or(Condition::Idle)
    }

    pub(super) fn door(&self, lane: Lane) -> Option<&Door> {
        self.doors.get(lane.index())
    }

    /// The only lane that has this peer.
    pub(super) fn owner(&self, peer: &PublicKey) -> Option<Lane> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).get(peer).copied()
    }

    /// `None`: the peer is removed.
    pub(super) fn set_owner(&self, peer: &PublicKey, lane: Option<Lane>) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        match lane {
            Some(lane) => drop(owners.insert(*peer, lane)),
            None => drop(owners.remove(peer)),
        }
    }

    /// What chooses queues and sockets, where there is more than one.
    pub(super) fn steering(&self) -> MutexGuard<'_, Option<Steering>> {
        self.steering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how a lane is that no other could stand in for.
    pub(super) fn mark(&self, lane: Lane, condition: Condition) {
        self.conditions[lane.index()].store(condition as u8, Relaxed);
    }

    /// Notes how a lane is, and moves flows away from it or back.
    pub(super) fn note(&self, lane: Lane, condition: Condition) {
        let mut steering = self.steering();
        self.mark(lane, condition);
        let slots = lane::slots(self.lanes, |lane| self.condition(lane) == Condition::Live);
        if let Some(Err(error)) = steering.as_mut().map(|steering| steering.set_queues(&slots)) {
            tracing::error!("flows stay on their lanes: {error:#}");
        }
    }

    /// Whether this is the first loss that is noticed: the device is then made anew as a whole.
    pub(super) fn lose(&self) -> bool {
        !self.is_lost.swap(true, Relaxed)
    }

    /// New sockets came: their loss is news.
    pub(super) fn find(&self) {
        self.is_lost.store(false, Relaxed);
    }
}
