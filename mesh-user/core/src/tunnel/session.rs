//! What is kept of a peer while there is a session with it, or one is wanted: keys, the handshake under way, packets
//! that wait, timers. It is allocated when needed and gone 9 minutes after the last use.

use std::time::{Duration, Instant};

use mesh_common::{
    datapath::DropReason,
    wire::wireguard::{COOKIE_REPLY_LEN, DATA_OVERHEAD},
};

use super::{
    cookie::Labels,
    index::SessionIndex,
    keypair::{HEADER, KeyPair, Role, receiver},
    keys::Keys,
    limits::{COOKIE_LIFE, Limits},
    noise::{Agreed, Initiation, primitives::TAG},
    random::Random,
    replay::Fresh,
    timers::Timers,
    waiting::Waiting,
};

/// Room that any message but data may need in an output buffer; data needs its packet and 32 bytes.
pub const MESSAGE_ROOM: usize = 256;

pub(super) struct Session {
    pub(super) keys: Keys,
    pub(super) initiation: Option<Initiation>,
    pub(super) waiting: Waiting,
    pub(super) timers: Timers,
    /// The first MAC of our last handshake message: a cookie reply answers it.
    signed: Option<[u8; 16]>,
    cookie: Option<(Instant, [u8; 16])>,
}

/// An authentic data message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) fresh: Fresh,
    /// The first message of a new session.
    pub(super) confirms: bool,
    /// A timer that was not set before.
    pub(super) timer: Option<Instant>,
}

impl Session {
    pub(super) fn new(now: Instant) -> Session {
        Session {
            keys: Keys::default(),
            initiation: None,
            waiting: Waiting::default(),
            timers: Timers::new(now),
            signed: None,
            cookie: None,
        }
    }

    /// Encrypts a packet with the session in force. `None`: there is none. Else the length of the message, and a timer
    /// that was not set before.
    #[inline]
    pub(super) fn seal(
        &mut self,
        now: Instant,
        limits: &Limits,
        random: &mut Random,
        packet: &[u8],
        out: &mut [u8],
    ) -> Option<(usize, Option<Instant>)> {
        let pair = self.keys.sending(now, limits)?;
        let len = packet.len() + DATA_OVERHEAD;
        let message = &mut out[..len];
        message[HEADER..HEADER + packet.len()].copy_from_slice(packet);
        pair.seal(message);
        let is_stale = pair.is_stale(now, limits);
        let mut timer = self.timers.sent(now, !packet.is_empty(), limits, random);
        if is_stale {
            self.timers.ask(now, limits);
            timer = self.timers.next(None);
        }
        Some((len, timer))
    }

    /// Decrypts the body of a data message in place.
    #[inline]
    pub(super) fn open(
        &mut self,
        now: Instant,
        limits: &Limits,
        header: &[u8; HEADER],
        sealed: &mut [u8],
    ) -> Result<Arrival, DropReason> {
        let (pair, is_offered) = self.keys.named(receiver(header)).ok_or(DropReason::NoSession)?;
        let fresh = pair.open(now, limits, header, sealed)?;
        if is_offered {
            self.keys.confirm();
            self.timers.completed();
        }
        let mut timer = self.timers.received(now, sealed.len() > TAG, limits);
        let is_old = |pair: &KeyPair| {
            pair.role == Role::Initiator && now.saturating_duration_since(pair.born) >= limits.rekey_on_receive()
        };
        if self.keys.current().is_some_and(is_old) {
            self.timers.ask(now, limits);
            timer = self.timers.next(None);
        }
        Ok(Arrival { fresh, confirms: is_offered, timer })
    }

    /// Takes the keys of a handshake.
    pub(super) fn derive(&mut self, agreed: &Agreed, role: Role, now: Instant, limits: &Limits) {
        let pair = KeyPair::new(agreed, role, now);
        self.timers.derived(now, limits);
        match role {
            Role::Initiator => {
                self.initiation = None;
                self.timers.completed();
                self.keys.begin(pair);
            }
            Role::Responder => self.keys.offer(pair),
        }
    }

    /// Writes the MACs of a handshake message of ours.
    pub(super) fn sign(&mut self, now: Instant, labels: &Labels, message: &mut [u8]) {
        let cookie = self.cookie.filter(|(since, _)| now.saturating_duration_since(*since) < COOKIE_LIFE);
        self.signed = Some(labels.sign(message, cookie.as_ref().map(|(_, cookie)| cookie)));
    }

    /// Takes a cookie for later handshake messages. `None`: it answers nothing that we sent.
    pub(super) fn take_cookie(
        &mut self,
        now: Instant,
        labels: &Labels,
        index: u32,
        reply: &[u8; COOKIE_REPLY_LEN],
    ) -> Option<()> {
        let is_ours = self.initiation.as_ref().is_some_and(|sent| sent.index().0 == index) || self.keys.offers(index);
        let signed = self.signed.filter(|_| is_ours)?;
        self.cookie = Some((now, labels.read_reply(reply, &signed)?));
        Some(())
    }

    pub(super) fn names(&self, index: SessionIndex) -> bool {
        self.keys.names(index) || self.initiation.as_ref().is_some_and(|sent| sent.index() == index)
    }

    /// Erases all keys.
    pub(super) fn erase(&mut self) {
        self.keys = Keys::default();
        self.initiation = None;
    }

    /// Nothing is kept here that anybody will ask for.
    pub(super) fn is_over(&self, persistent: Option<Duration>) -> bool {
        self.keys.is_empty() && self.waiting.is_empty() && self.timers.next(persistent).is_none()
    }
}
