//! What is kept of a peer while there is a session with it, or one is wanted: keys, the handshake under way, packets
//! that wait, timers. It is allocated when needed and gone 9 minutes after the last use.

use std::{
    ops::Range,
    slice,
    time::{Duration, Instant},
};

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
    noise::{Agreed, Initiation},
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

/// What data messages that came changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
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
        let len = packet.len() + DATA_OVERHEAD;
        out[HEADER..HEADER + packet.len()].copy_from_slice(packet);
        let (sealed, timer) = self.seal_batch(now, limits, random, out, slice::from_ref(&(0..len)));
        (sealed > 0).then_some((len, timer))
    }

    /// Encrypts messages in place with the session in force. Says how many, and a timer that was not set before.
    pub(super) fn seal_batch(
        &mut self,
        now: Instant,
        limits: &Limits,
        random: &mut Random,
        buffer: &mut [u8],
        messages: &[Range<usize>],
    ) -> (usize, Option<Instant>) {
        let Some(pair) = self.keys.sending(now, limits) else { return (0, None) };
        let sealed = pair.seal(limits, buffer, messages);
        let is_stale = pair.is_stale(now, limits);
        let has_content = messages[..sealed].iter().any(|message| message.len() > DATA_OVERHEAD);
        let mut timer = self.timers.sent(now, has_content, limits, random);
        if is_stale {
            self.timers.ask(now, limits);
            timer = self.timers.next(None);
        }
        (sealed, timer)
    }

    /// Decrypts data messages in place that all name one session; says of each whether it counts.
    pub(super) fn open_batch(
        &mut self,
        now: Instant,
        limits: &Limits,
        buffer: &mut [u8],
        messages: &[Range<usize>],
        fresh: &mut [Result<Fresh, DropReason>],
    ) -> Arrival {
        let mut arrival = Arrival { confirms: false, timer: None };
        let named = messages.first().and_then(|first| buffer[first.clone()].first_chunk()).map(receiver);
        let Some((pair, is_offered)) = named.and_then(|index| self.keys.named(index)) else { return arrival };
        pair.open(now, limits, buffer, messages, fresh);
        for message in messages.iter().zip(&*fresh).filter(|(_, fresh)| fresh.is_ok()).map(|(message, _)| message) {
            if is_offered && !arrival.confirms {
                self.keys.confirm();
                self.timers.completed();
                arrival.confirms = true;
            }
            arrival.timer = self.timers.received(now, message.len() > DATA_OVERHEAD, limits).or(arrival.timer);
        }
        let is_old = |pair: &KeyPair| {
            pair.role == Role::Initiator && now.saturating_duration_since(pair.born) >= limits.rekey_on_receive()
        };
        if fresh.iter().any(Result::is_ok) && self.keys.current().is_some_and(is_old) {
            self.timers.ask(now, limits);
            arrival.timer = self.timers.next(None);
        }
        arrival
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
