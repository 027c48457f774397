//! One peer of a device: its session, where it is, and when it has to be looked at.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use mesh_common::ids::ConnectionId;

use super::session::{Gate, Session, Tick};
use crate::plan::{self, PublicKey};

/// Unanswered initiations to one endpoint before the next candidate is tried.
const ATTEMPTS_PER_ENDPOINT: u32 = 2;

/// The way to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    pub to: SocketAddr,
    /// The address of ours that the peer last hit.
    pub from: Option<IpAddr>,
}

pub(super) struct Peer {
    pub(super) key: PublicKey,
    pub(super) connection: ConnectionId,
    pub(super) session: Session,
    pub(super) path: Option<Path>,
    candidates: Vec<SocketAddr>,
    /// The candidate in use, modulo their number.
    candidate: usize,
    /// Initiations since the peer was last heard.
    attempts: u32,
    keepalive: Option<Duration>,
    /// When an authentic message last went either way.
    last_traffic: Instant,
    /// The session has timers to run.
    awake: bool,
    /// A session was in force at the last look.
    live: bool,
    /// New endpoints are to be tried at once, so that a restarted node does not wait for its peer.
    greet: bool,
}

impl Peer {
    pub(super) fn new(gate: &Gate, key: PublicKey, config: &plan::Peer, index: u32, now: Instant) -> Peer {
        let mut peer = Peer {
            key,
            connection: config.connection,
            session: Session::new(gate, &key, index),
            path: None,
            candidates: Vec::new(),
            candidate: 0,
            attempts: 0,
            keepalive: None,
            last_traffic: now,
            awake: false,
            live: false,
            greet: false,
        };
        peer.update(config);
        peer
    }

    pub(super) fn update(&mut self, config: &plan::Peer) {
        self.connection = config.connection;
        self.keepalive = config.keepalive_seconds.filter(|s| *s > 0).map(|s| Duration::from_secs(s.into()));
        self.set_endpoints(&config.endpoints);
    }

    /// A live session stays where it is; it was proved to work. Another list is tried when it fails.
    pub(super) fn set_endpoints(&mut self, endpoints: &[SocketAddr]) {
        if self.candidates == endpoints {
            return;
        }
        self.candidates = endpoints.to_vec();
        self.candidate = 0;
        if !self.session.is_live() {
            self.use_candidate();
            self.greet = !endpoints.is_empty();
        }
    }

    pub(super) fn is_awake(&self) -> bool {
        self.awake || self.greet || self.keepalive.is_some()
    }

    /// Brings the clock of a session that slept up to date.
    pub(super) fn wake(&mut self, out: &mut [u8]) {
        if !self.awake {
            self.awake = true;
            // A message is not expected of a session that had nothing to do; if there is one, the next tick makes it again.
            let _ = self.session.tick(out);
        }
    }

    pub(super) fn heard(&mut self, now: Instant, path: Path) {
        self.last_traffic = now;
        self.attempts = 0;
        if self.path != Some(path) {
            self.path = Some(path);
        }
    }

    pub(super) fn sent(&mut self, now: Instant) {
        self.last_traffic = now;
    }

    /// Runs the timers; gives the length of a message to send.
    pub(super) fn tick(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        self.wake(out);
        match self.session.tick(out) {
            Tick::Keepalive(len) => {
                self.sent(now);
                return Some(len);
            }
            Tick::Initiation(len) => {
                self.count_attempt();
                return Some(len);
            }
            Tick::Expired => self.awake = false,
            Tick::Nothing => {}
        }
        let live = self.session.is_live();
        let is_due = match self.keepalive {
            Some(period) => !live || now.saturating_duration_since(self.last_traffic) >= period,
            None => !live && self.greet,
        };
        self.greet = false;
        if !is_due || self.candidates.is_empty() && self.path.is_none() {
            return None;
        }
        self.awake = true;
        if live {
            self.sent(now);
            return self.session.keepalive(out);
        }
        let len = self.session.initiate(out)?;
        self.count_attempt();
        Some(len)
    }

    /// Whether the session began or ended since the last look.
    pub(super) fn take_change(&mut self) -> bool {
        let live = self.session.is_live();
        std::mem::replace(&mut self.live, live) != live
    }

    fn count_attempt(&mut self) {
        if self.attempts >= ATTEMPTS_PER_ENDPOINT && !self.candidates.is_empty() {
            self.attempts = 0;
            self.candidate += 1;
            self.use_candidate();
        }
        self.attempts += 1;
    }

    fn use_candidate(&mut self) {
        if let Some(to) = self.candidates.get(self.candidate % self.candidates.len().max(1)) {
            self.path = Some(Path { to: *to, from: None });
        }
    }
}
