//! A peer shakes hands: the messages of [`super::noise`] with what a peer remembers, in either role.

use std::time::Instant;

use mesh_common::{
    datapath::DropReason,
    wire::wireguard::{COOKIE_REPLY_LEN, INITIATION_LEN, RESPONSE_LEN},
};

use super::{
    cookie::Labels,
    gate::Gate,
    keypair::Role,
    limits::INITIATION_INTERVAL,
    noise::{Acquaintance, Initiation, Introduced, curve::StaticSecret, respond},
    peer::Peer,
};

impl Peer {
    /// Writes an initiation. `None`: none can be made with these keys, and none is tried again.
    pub(super) fn initiate(&mut self, now: Instant, gate: &mut Gate, out: &mut [u8]) -> Option<usize> {
        self.count_attempt();
        let index = self.next_index();
        let ephemeral = StaticSecret::from_bytes(*gate.random.bytes());
        let timestamp = gate.timestamp(now).after(self.stamped);
        let message: &mut [u8; INITIATION_LEN] = out.first_chunk_mut()?;
        let key = self.key;
        let shared = self.shared(gate).cloned();
        let begun = gate.identity.as_ref().zip(shared).and_then(|(identity, shared)| {
            let ends = Acquaintance { own: &identity.public, peer: &key, shared: &shared };
            Initiation::begin(&ends, ephemeral, index, timestamp, &mut gate.exchanges, message)
        });
        let session = self.session(now);
        let Some(initiation) = begun else {
            session.timers.stop_handshake();
            return None;
        };
        session.initiation = Some(initiation);
        session.sign(now, &Labels::of(&key), message);
        session.timers.initiated(now, &gate.limits, &mut gate.random);
        self.stamped = timestamp;
        Some(INITIATION_LEN)
    }

    /// Answers an initiation that names this peer.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        gate: &mut Gate,
        mut initiation: Introduced,
        out: &mut [u8],
    ) -> Result<usize, DropReason> {
        let shared = self.shared(gate).ok_or(DropReason::Unauthenticated)?;
        let timestamp = initiation.timestamp(shared).ok_or(DropReason::Unauthenticated)?;
        if timestamp <= self.greatest {
            return Err(DropReason::Unauthenticated);
        }
        if self.answered.is_some_and(|at| now.saturating_duration_since(at) < INITIATION_INTERVAL) {
            return Err(DropReason::Congested);
        }
        self.greatest = timestamp;
        self.answered = Some(now);
        let index = self.next_index();
        let ephemeral = StaticSecret::from_bytes(*gate.random.bytes());
        let message: &mut [u8; RESPONSE_LEN] = out.first_chunk_mut().ok_or(DropReason::NotWireguard)?;
        let preshared = self.preshared.as_ref();
        let agreed = respond(initiation, &ephemeral, index, preshared, &mut gate.exchanges, message)
            .ok_or(DropReason::Unauthenticated)?;
        let labels = Labels::of(&self.key);
        let session = self.session(now);
        session.derive(&agreed, Role::Responder, now, &gate.limits);
        session.sign(now, &labels, message);
        session.timers.received(now, false, &gate.limits);
        session.timers.sent(now, false, &gate.limits, &mut gate.random);
        Ok(RESPONSE_LEN)
    }

    /// The response is to the initiation that was sent last: worth two exchanges.
    pub(super) fn awaits(&self, receiver: u32) -> bool {
        let sent = self.session.as_ref().and_then(|session| session.initiation.as_ref());
        sent.is_some_and(|initiation| initiation.index().0 == receiver)
    }

    /// Reads a response to our initiation: the session is in force from now on.
    pub(super) fn finish(
        &mut self,
        now: Instant,
        gate: &mut Gate,
        message: &[u8; RESPONSE_LEN],
    ) -> Result<(), DropReason> {
        let Gate { identity: Some(identity), exchanges, limits, .. } = gate else {
            return Err(DropReason::NoSession);
        };
        let session = self.session.as_mut().ok_or(DropReason::NoSession)?;
        let initiation = session.initiation.as_ref().ok_or(DropReason::NoSession)?;
        let agreed = initiation
            .finish(&identity.secret, self.preshared.as_ref(), exchanges, message)
            .ok_or(DropReason::Unauthenticated)?;
        session.derive(&agreed, Role::Initiator, now, limits);
        session.timers.received(now, false, limits);
        let round_trip = session.timers.since_initiation(now);
        self.complete(now, gate, round_trip);
        Ok(())
    }

    /// Takes a cookie for later handshake messages; it proves nothing else.
    pub(super) fn take_cookie(
        &mut self,
        now: Instant,
        receiver: u32,
        reply: &[u8; COOKIE_REPLY_LEN],
    ) -> Result<(), DropReason> {
        let labels = Labels::of(&self.key);
        let session = self.session.as_mut().ok_or(DropReason::NoSession)?;
        session.take_cookie(now, &labels, receiver, reply).ok_or(DropReason::Unauthenticated)
    }
}
