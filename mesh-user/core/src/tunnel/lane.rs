//! The lanes of a tunnel: each a UDP port at both ends with a session of its own. Which of them carry traffic, and to which
//! of several gateway nodes of the remote?
//!
//! Only the sender chooses a lane, so each end watches its own direction: while packets leave by a lane, a [`Probe`] goes
//! out every [`PERIOD`] and has to be answered through the same lane. What merely arrives proves nothing, since the way
//! here may work when the way there does not. A lane whose probes are lost is dead until one is answered.

use std::time::{Duration, Instant};

use mesh_common::spread::{FLOW_SLOTS, MAX_QUEUES};

use crate::plan::PublicKey;

/// A connection has at most so many lanes: as many as Liqo's list of ports may hold.
pub const MAX_LANES: usize = MAX_QUEUES as usize;
/// Bytes of a probe, which is sent as the content of a data message. The first is no version of IP.
pub const PROBE_LEN: usize = 16;

/// From one probe to the next, and from the first packet to the first probe.
const PERIOD: Duration = Duration::from_millis(200);
/// So many probes in a row without answer mean that the lane is dead.
const LOST: u64 = 3;
/// From one probe of a dead lane to the next.
const REVIVAL_PERIOD: Duration = Duration::from_millis(500);
/// Where round trips take longer than this, a probe is given that much time.
const SHORT_ROUND_TRIP: Duration = Duration::from_millis(150);
/// Times of the latest probes that are kept, to know the round trip by.
const KEPT: usize = 16;

/// Number of a lane of a device, from 0: its place in the list of ports and its TUN queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(pub u8);

impl Lane {
    /// The place of this lane in lists that have one entry for each.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What one end asks the other through a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    Ask(u64),
    /// To the question of that number.
    Answer(u64),
}

impl Probe {
    const ASK: u8 = 1;
    const ANSWER: u8 = 2;

    /// One byte says which, seven are zero, and eight are the number, in network order.
    pub fn bytes(self) -> [u8; PROBE_LEN] {
        let (kind, number) = match self {
            Probe::Ask(number) => (Probe::ASK, number),
            Probe::Answer(number) => (Probe::ANSWER, number),
        };
        let mut bytes = [0; PROBE_LEN];
        bytes[0] = kind;
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        bytes
    }

    /// `None`: these bytes are no probe.
    pub fn parse(bytes: &[u8]) -> Option<Probe> {
        let ([kind, 0, 0, 0, 0, 0, 0, 0], number) = bytes.get(..PROBE_LEN)?.split_first_chunk()? else { return None };
        let number = u64::from_be_bytes(*number.first_chunk()?);
        match *kind {
            Probe::ASK => Some(Probe::Ask(number)),
            Probe::ANSWER => Some(Probe::Answer(number)),
            _ => None,
        }
    }
}

/// Whether a lane can carry traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nobody has a session through it.
    Idle,
    Live,
    /// What was sent did not arrive.
    Dead,
}

/// Watches one lane to one peer, where another lane or peer could do its work.
#[derive(Debug)]
pub struct Watch {
    condition: Condition,
    /// Packets left by the lane since the last probe.
    is_loaded: bool,
    next: Option<Instant>,
    /// Number of the next probe.
    number: u64,
    /// Probes before this one count no more.
    proved: u64,
    sent: [Option<Instant>; KEPT],
    round_trip: Duration,
}

impl Watch {
    pub fn new() -> Watch {
        Watch {
            condition: Condition::Idle,
            is_loaded: false,
            next: None,
            number: 0,
            proved: 0,
            sent: [None; KEPT],
            round_trip: Duration::ZERO,
        }
    }

    pub fn condition(&self) -> Condition {
        self.condition
    }

    /// There is a session, or there is none any more. The first proves both ways; one that is renewed says nothing new.
    pub fn session(&mut self, is_there: bool) {
        self.condition = match (self.condition, is_there) {
            (Condition::Idle, true) => Condition::Live,
            (Condition::Live | Condition::Dead, true) => return,
            (_, false) => Condition::Idle,
        };
        self.proved = self.number;
        self.next = None;
    }

    /// Packets left by the lane.
    pub fn loaded(&mut self, now: Instant) {
        self.is_loaded = true;
        if self.next.is_none() && self.condition != Condition::Idle {
            self.next = Some(now + PERIOD);
        }
    }

    /// The way out refused a packet.
    pub fn failed(&mut self, now: Instant) {
        if self.condition == Condition::Live {
            self.condition = Condition::Dead;
            self.next = Some(now + REVIVAL_PERIOD);
        }
    }

    /// The probe of this number was answered.
    pub fn answered(&mut self, now: Instant, number: u64) {
        if !(self.proved..self.number).contains(&number) || self.condition == Condition::Idle {
            return;
        }
        if let Some(sent) = self.sent[number as usize % KEPT].filter(|_| self.number - number <= KEPT as u64) {
            self.round_trip = now.saturating_duration_since(sent);
        }
        self.proved = number + 1;
        self.condition = Condition::Live;
    }

    /// When [`Watch::poll_probe`] wants to be called. `None`: the lane is not used.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// What time asks for: the number of a probe to send now.
    pub fn poll_probe(&mut self, now: Instant) -> Option<u64> {
        self.next.filter(|next| *next <= now)?;
        if self.condition == Condition::Live && self.number - self.proved >= LOST {
            self.condition = Condition::Dead;
        }
        let is_unproved = self.number > self.proved;
        if self.condition == Condition::Live && !self.is_loaded && !is_unproved {
            self.next = None;
            return None;
        }
        self.is_loaded = false;
        self.next = Some(now + self.period());
        self.sent[self.number as usize % KEPT] = Some(now);
        self.number += 1;
        Some(self.number - 1)
    }

    /// Time for a round trip, so that a long way is no loss.
    fn period(&self) -> Duration {
        match self.condition {
            Condition::Live if self.round_trip > SHORT_ROUND_TRIP => self.round_trip,
            Condition::Live => PERIOD,
            Condition::Idle | Condition::Dead => REVIVAL_PERIOD,
        }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Watch::new()
    }
}

/// The lane of each slot of flows. Every lane has its share of the slots; those of a lane that is not usable are shared
/// by the others, so that no other flow moves. If none is usable, all are used.
pub fn slots(lanes: usize, is_usable: impl Fn(Lane) -> bool) -> [u8; FLOW_SLOTS as usize] {
    let lanes = lanes.clamp(1, MAX_LANES);
    let mut usable: Vec<u8> = (0..lanes as u8).filter(|lane| is_usable(Lane(*lane))).collect();
    if usable.is_empty() {
        usable.extend(0..lanes as u8);
    }
    let mut slots = [0; FLOW_SLOTS as usize];
    for (at, slot) in slots.iter_mut().enumerate() {
        let home = (at * lanes / FLOW_SLOTS as usize) as u8;
        *slot = if usable.contains(&home) { home } else { usable[at % usable.len()] };
    }
    slots
}

/// The peer of each slot of flows, by its place in `peers`, where several lead to one remote. Of those that are usable the one
/// with the greatest weight gets the slot, so that no flow of another moves when one comes or goes. If none is usable, all
/// are used.
pub fn rendezvous(peers: &[PublicKey], is_usable: impl Fn(usize) -> bool) -> [u8; FLOW_SLOTS as usize] {
    let mut usable: Vec<usize> = (0..peers.len()).filter(|at| is_usable(*at)).collect();
    if usable.is_empty() {
        usable.extend(0..peers.len());
    }
    let mut slots = [0; FLOW_SLOTS as usize];
    for (number, slot) in (0..).zip(&mut slots) {
        let best = usable.iter().max_by_key(|at| (weight(&peers[**at], number), **at));
        *slot = best.and_then(|at| u8::try_from(*at).ok()).unwrap_or_default();
    }
    slots
}

/// A number that each pair of peer and slot has by chance, the same at every time.
fn weight(peer: &PublicKey, slot: u64) -> u64 {
    let key = peer.0.first_chunk().copied().map_or(0, u64::from_le_bytes);
    // Two rounds of multiplication by an odd number and a shift carry every bit everywhere.
    let round = |word: u64| (word ^ word >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    round(round(key ^ (slot + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

#[cfg(test)]
mod tests;
