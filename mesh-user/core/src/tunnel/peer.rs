//! One peer of a device: who it is, where it is, and what is kept of it for ever. Its [`Session`] comes and goes.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use mesh_common::ids::ConnectionId;

use super::{
    gate::Gate,
    index::SessionIndex,
    load::Source,
    noise::{Timestamp, primitives::Key},
    session::Session,
    timers::Due,
};
use crate::plan::{self, PresharedKey, PublicKey};

/// Unanswered initiations to one endpoint before the next candidate is tried.
const ATTEMPTS_PER_ENDPOINT: u32 = 2;

/// The way to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    pub to: SocketAddr,
    /// The address of ours that the peer last hit.
    pub from: Option<IpAddr>,
}

/// The place of a peer in its device, and the sessions that were counted there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) shard: u8,
    pub(super) slot: u32,
    pub(super) generation: u8,
}

pub(super) struct Peer {
    pub(super) key: PublicKey,
    pub(super) connection: ConnectionId,
    pub(super) path: Option<Path>,
    pub(super) session: Option<Box<Session>>,
    pub(super) preshared: Option<PresharedKey>,
    pub(super) place: Place,
    /// What the two static keys agree on, once it was needed.
    shared: Option<Shared>,
    /// The greatest of the initiations that were answered, and when that was.
    pub(super) greatest: Timestamp,
    pub(super) answered: Option<Instant>,
    /// Of our last initiation.
    pub(super) stamped: Timestamp,
    pub(super) last_handshake: Option<Instant>,
    /// Of its messages; `None` also where one of them was lost.
    pub(super) round_trip: Option<Duration>,
    candidates: Box<[SocketAddr]>,
    /// The candidate in use, modulo their number.
    candidate: u32,
    /// Initiations since the peer was last heard.
    attempts: u32,
    pub(super) keepalive: Option<Duration>,
    /// The last that was told of the session: it is in force.
    pub(super) was_live: bool,
    /// It is already among those that something is to be told of.
    pub(super) is_told: bool,
    /// Where the limit of sources knows it.
    known_at: Option<Source>,
}

/// The agreement of two static keys.
enum Shared {
    Key(Key),
    /// Everybody knows what this peer's key agrees on: it is of low order.
    Public,
}

impl Peer {
    pub(super) fn new(key: PublicKey, place: Place, config: &plan::Peer) -> Peer {
        Peer {
            key,
            connection: config.connection,
            path: None,
            session: None,
            preshared: config.preshared_key.clone(),
            place,
            shared: None,
            greatest: Timestamp::default(),
            answered: None,
            stamped: Timestamp::default(),
            last_handshake: None,
            round_trip: None,
            candidates: Box::default(),
            candidate: 0,
            attempts: 0,
            keepalive: None,
            was_live: false,
            is_told: false,
            known_at: None,
        }
    }

    pub(super) fn update(&mut self, now: Instant, gate: &Gate, config: &plan::Peer) {
        self.connection = config.connection;
        self.keepalive = config.keepalive_seconds.filter(|s| *s > 0).map(|s| Duration::from_secs(s.into()));
        self.set_endpoints(now, gate, &config.endpoints);
        if self.preshared != config.preshared_key {
            self.preshared.clone_from(&config.preshared_key);
            self.renew(now);
        }
        if self.keepalive.is_some() && !self.is_live(now, gate) {
            self.seek(now, gate);
        }
    }

    /// A live session stays where it is; it was proved to work. Another list is tried when it fails. Gives whether the
    /// list is another.
    pub(super) fn set_endpoints(&mut self, now: Instant, gate: &Gate, endpoints: &[SocketAddr]) -> bool {
        if *self.candidates == *endpoints {
            return false;
        }
        self.candidates = endpoints.into();
        self.candidate = 0;
        self.attempts = 0;
        if !self.is_live(now, gate) {
            self.use_candidate();
        }
        true
    }

    /// Asks for a session, if it is known where.
    pub(super) fn seek(&mut self, now: Instant, gate: &Gate) {
        if self.path.is_some() {
            self.session(now).timers.ask(now, &gate.limits);
        }
    }

    /// What is agreed from now on is another key: the handshake under way would fail.
    fn renew(&mut self, now: Instant) {
        if let Some(session) = &mut self.session {
            session.initiation = None;
            if self.path.is_some() {
                session.timers.force(now);
            }
        }
    }

    /// Another private key of the device: nothing that was agreed holds.
    pub(super) fn start_over(&mut self, now: Instant, gate: &mut Gate) {
        self.shared = None;
        self.session = None;
        self.greatest = Timestamp::default();
        self.settle(now, gate);
        if self.keepalive.is_some() {
            self.seek(now, gate);
        }
    }

    /// What is kept while there is a session; made if there is none.
    pub(super) fn session(&mut self, now: Instant) -> &mut Session {
        self.session.get_or_insert_with(|| Box::new(Session::new(now)))
    }

    pub(super) fn is_live(&self, now: Instant, gate: &Gate) -> bool {
        self.session.as_ref().is_some_and(|session| session.keys.is_live(now, &gate.limits))
    }

    /// What the static keys agree on, computed once. `None`: the device has no key, or the peer's is of no use.
    pub(super) fn shared(&mut self, gate: &mut Gate) -> Option<&Key> {
        let Gate { identity, exchanges, .. } = gate;
        let secret = &identity.as_ref()?.secret;
        let key = &self.key;
        match self.shared.get_or_insert_with(|| exchanges.agree(secret, key).map_or(Shared::Public, Shared::Key)) {
            Shared::Key(key) => Some(key),
            Shared::Public => None,
        }
    }

    /// A session index that no session of this place has.
    pub(super) fn next_index(&mut self) -> SessionIndex {
        loop {
            // At most five of the 256 are in use.
            self.place.generation = self.place.generation.wrapping_add(1);
            let index = SessionIndex::new(self.place.shard, self.place.slot, self.place.generation);
            if !self.session.as_ref().is_some_and(|session| session.names(index)) {
                return index;
            }
        }
    }

    /// The peer was heard: its endpoint works.
    pub(super) fn heard(&mut self) {
        self.attempts = 0;
    }

    /// A handshake is complete, so long after the message of ours that its last one answers. A longer time than an
    /// initiation waits says that a message was lost, and not how far the peer is.
    pub(super) fn complete(&mut self, now: Instant, gate: &Gate, round_trip: Option<Duration>) {
        self.last_handshake = Some(now);
        self.round_trip = round_trip.filter(|time| *time <= gate.limits.rekey_timeout);
    }

    /// The peer proved to be there. Gives whether it was elsewhere before.
    pub(super) fn follow(&mut self, path: Path) -> bool {
        self.heard();
        let moved = self.path.map(|before| before.to) != Some(path.to);
        self.path = Some(path);
        moved
    }

    /// Before an initiation is sent: another candidate, if this one did not answer.
    pub(super) fn count_attempt(&mut self) {
        if self.attempts >= ATTEMPTS_PER_ENDPOINT && !self.candidates.is_empty() {
            self.attempts = 0;
            self.candidate = self.candidate.wrapping_add(1);
            self.use_candidate();
        }
        self.attempts += 1;
    }

    fn use_candidate(&mut self) {
        let count = self.candidates.len().max(1);
        if let Some(to) = self.candidates.get(self.candidate as usize % count) {
            self.path = Some(Path { to: *to, from: None });
        }
    }

    /// After the session began or ended, or the path moved: what others know of it follows. Gives whether it began or
    /// ended.
    pub(super) fn settle(&mut self, now: Instant, gate: &mut Gate) -> bool {
        let live = self.is_live(now, gate);
        let source = self.path.filter(|_| live).map(|path| Source::of(path.to.ip()));
        if source != self.known_at {
            source.into_iter().for_each(|source| gate.load.learn(source));
            self.known_at.take().into_iter().for_each(|source| gate.load.forget(source));
            self.known_at = source;
        }
        std::mem::replace(&mut self.was_live, live) != live
    }

    /// The peer is removed.
    pub(super) fn leave(&mut self, gate: &mut Gate) {
        self.known_at.take().into_iter().for_each(|source| gate.load.forget(source));
    }

    /// Does what is due at this time, up to one message. Gives its length; more may be due then.
    pub(super) fn run_timers(&mut self, now: Instant, gate: &mut Gate, out: &mut [u8]) -> Option<usize> {
        let persistent = self.persistent();
        let len = loop {
            let session = self.session.as_mut()?;
            let Some(due) = session.timers.take(now, persistent, &gate.limits) else { break None };
            match due {
                Due::Erase => session.erase(),
                Due::GiveUp => {
                    gate.abandoned += session.waiting.clear() as u64;
                    if persistent.is_some() {
                        session.timers.ask(now, &gate.limits);
                    }
                }
                Due::Unanswered => {
                    session.timers.ask(now, &gate.limits);
                    self.path.iter_mut().for_each(|path| path.from = None);
                }
                Due::Handshake => {
                    if let Some(len) = self.initiate(now, gate, out) {
                        break Some(len);
                    }
                }
                Due::Keepalive { again } => {
                    let sealed = session.seal(now, &gate.limits, &mut gate.random, &[], out);
                    if again {
                        session.timers.acknowledge(now, &gate.limits);
                    }
                    if let Some((len, _)) = sealed {
                        break Some(len);
                    }
                }
                Due::Persistent => match session.seal(now, &gate.limits, &mut gate.random, &[], out) {
                    Some((len, _)) => break Some(len),
                    None => session.timers.ask(now, &gate.limits),
                },
            }
        };
        if self.session.as_ref().is_some_and(|session| session.is_over(persistent)) {
            self.session = None;
        }
        len.filter(|_| self.path.is_some())
    }

    /// When the peer has to be looked at again.
    pub(super) fn next(&self, gate: &Gate) -> Option<Instant> {
        let session = self.session.as_ref()?;
        let end =
            session.keys.current().filter(|_| self.was_live).map(|pair| pair.born + gate.limits.reject_after_time);
        [session.timers.next(self.persistent()), end].into_iter().flatten().min()
    }

    /// The silence that has to be broken, of a peer that can be reached.
    pub(super) fn persistent(&self) -> Option<Duration> {
        self.keepalive.filter(|_| self.path.is_some())
    }
}
