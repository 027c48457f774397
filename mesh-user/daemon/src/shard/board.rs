//! Which lanes of a device carry traffic: noted by the shards of its lanes, read by everybody, obeyed by the kernel.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
};

use mesh_core::tunnel::{
    Lane, MAX_LANES,
    lane::{self, Condition},
};

use crate::kernel::steering::Steering;

/// One for each device, shared by its lanes.
#[derive(Debug)]
pub(super) struct Board {
    lanes: usize,
    conditions: [AtomicU8; MAX_LANES],
    /// The loss of the device or a socket was noticed by one of the lanes.
    is_lost: AtomicBool,
    /// Locked when a lane comes or goes, never for a packet.
    steering: Mutex<Option<Steering>>,
}

impl Board {
    /// `steering`: where there is more than one queue to choose.
    pub(super) fn new(lanes: usize, steering: Option<Steering>) -> Board {
        Board {
            lanes,
            conditions: [const { AtomicU8::new(Condition::Idle as u8) }; MAX_LANES],
            is_lost: AtomicBool::new(false),
            steering: Mutex::new(steering),
        }
    }

    pub(super) fn condition(&self, lane: Lane) -> Condition {
        let is = |condition: &Condition| self.conditions[lane.index()].load(Relaxed) == *condition as u8;
        [Condition::Live, Condition::Dead].into_iter().find(is).unwrap_or(Condition::Idle)
    }

    /// Notes how a lane is, and moves flows away from it or back.
    pub(super) fn note(&self, lane: Lane, condition: Condition) {
        let mut steering = self.steering.lock().unwrap_or_else(PoisonError::into_inner);
        self.conditions[lane.index()].store(condition as u8, Relaxed);
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
