//! Who gets in: what a device does with a handshake message before it knows the peer, cheapest check first.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use mesh_common::{
    datapath::DropReason,
    wire::wireguard::{INITIATION, INITIATION_LEN},
};

use super::{
    cookie::{Baker, Labels},
    limits::Limits,
    load::{Load, Source},
    noise::{
        Introduced, Prologue, Timestamp,
        curve::{Exchanges, StaticSecret},
    },
    random::Random,
};
use crate::plan::PublicKey;

/// What a device has once, for all its peers.
pub(super) struct Gate {
    pub(super) identity: Option<Identity>,
    pub(super) limits: Limits,
    pub(super) random: Random,
    pub(super) exchanges: Exchanges,
    pub(super) load: Load,
    /// Packets that waited for a session in vain.
    pub(super) abandoned: u64,
    baker: Baker,
    /// The wall clock when the device was made, and when that was. Never read again, so that it cannot go back.
    since_epoch: Duration,
    start: Instant,
}

/// The private key of a device, and what follows from it.
pub(super) struct Identity {
    pub(super) secret: StaticSecret,
    pub(super) public: PublicKey,
    prologue: Prologue,
    labels: Labels,
}

/// Why a handshake message gets no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// We are under load: the first bytes of the output are a cookie reply.
    Cookie(usize),
    Drop(DropReason),
}

impl Identity {
    pub(super) fn new(secret: StaticSecret) -> Identity {
        let public = secret.public_key();
        Identity { prologue: Prologue::of(&public), labels: Labels::of(&public), secret, public }
    }
}

impl Gate {
    pub(super) fn new(secret: Option<StaticSecret>, now: Instant, since_epoch: Duration, seed: [u8; 32]) -> Gate {
        Gate {
            identity: secret.map(Identity::new),
            limits: Limits::WIREGUARD,
            random: Random::new(seed),
            exchanges: Exchanges::default(),
            load: Load::new(now),
            abandoned: 0,
            baker: Baker::new(),
            since_epoch,
            start: now,
        }
    }

    /// The time for an initiation.
    pub(super) fn timestamp(&self, now: Instant) -> Timestamp {
        Timestamp::of(self.since_epoch + now.saturating_duration_since(self.start))
    }

    /// Whether a handshake message deserves that anything be computed on the curve for it.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &[u8],
        out: &mut [u8],
    ) -> Result<(), Refusal> {
        let identity = self.identity.as_ref().ok_or(Refusal::Drop(DropReason::NoSession))?;
        if !identity.labels.is_signed(message) {
            return Err(Refusal::Drop(DropReason::Unauthenticated));
        }
        if !self.load.count(now) {
            return Ok(());
        }
        if !self.baker.is_proved(now, from, message, &mut self.random) {
            let reply = self.baker.reply(now, from, message, &identity.labels, &mut self.random, out);
            return Err(reply.map_or(Refusal::Drop(DropReason::NotWireguard), Refusal::Cookie));
        }
        match self.load.admits(now, Source::of(from.ip()), &mut self.random) {
            true => Ok(()),
            false => Err(Refusal::Drop(DropReason::Congested)),
        }
    }

    /// Finds out who sent an initiation, at the price of one exchange.
    pub(super) fn introduce(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &[u8],
        out: &mut [u8],
    ) -> Result<Introduced, Refusal> {
        let Some(message @ [INITIATION, 0, 0, 0, ..]) =
            message.first_chunk::<INITIATION_LEN>().filter(|all| all.len() == message.len())
        else {
            return Err(Refusal::Drop(DropReason::NotWireguard));
        };
        self.admit(now, from, message, out)?;
        let identity = self.identity.as_ref().ok_or(Refusal::Drop(DropReason::NoSession))?;
        Introduced::read(&identity.prologue, &identity.secret, &mut self.exchanges, message)
            .ok_or(Refusal::Drop(DropReason::Unauthenticated))
    }
}
