//! When a session wants something: the timers of the WireGuard paper (section 6), as instants that are compared.
//!
//! A packet costs a few stores here. Only the timer that goes off first has to be known outside, and one that was moved
//! to a later time is found out when the earlier comes.

use std::time::{Duration, Instant};

use super::limits::{JITTER, Limits};
use crate::tunnel::random::Random;

pub(super) struct Timers {
    /// When the next initiation is sent. `None`: no handshake is under way or wanted.
    handshake: Option<Instant>,
    /// Since when it is tried.
    began: Instant,
    last_initiation: Option<Instant>,
    /// When data that was received is acknowledged, unless something is sent before.
    keepalive: Option<Instant>,
    /// More data came since `keepalive` was set.
    another: bool,
    /// When data of ours counts as unanswered.
    answer: Option<Instant>,
    /// When all keys are erased.
    erase: Option<Instant>,
    /// When an authentic message last went either way.
    traversed: Instant,
}

/// What time asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Erase,
    /// An initiation.
    Handshake,
    /// Initiations were sent for long enough.
    GiveUp,
    /// Data of ours was not answered: the peer has lost the session, or moved.
    Unanswered,
    /// An empty message. `again`: more data came since it was wanted, and another is due after the next silence.
    Keepalive {
        again: bool,
    },
    /// An empty message, because there was silence.
    Persistent,
}

impl Timers {
    pub(super) fn new(now: Instant) -> Timers {
        Timers {
            handshake: None,
            began: now,
            last_initiation: None,
            keepalive: None,
            another: false,
            answer: None,
            erase: None,
            traversed: now,
        }
    }

    /// An authentic message was sent, or an initiation. `data`: it had content. Gives a time that is new.
    #[inline]
    pub(super) fn sent(&mut self, now: Instant, data: bool, limits: &Limits, random: &mut Random) -> Option<Instant> {
        self.keepalive = None;
        self.another = false;
        self.traversed = now;
        if !data || self.answer.is_some() {
            return None;
        }
        self.answer = Some(now + limits.answer_timeout() + random.jitter(JITTER));
        self.answer
    }

    /// An authentic message was received. `data`: it had content. Gives a time that is new.
    #[inline]
    pub(super) fn received(&mut self, now: Instant, data: bool, limits: &Limits) -> Option<Instant> {
        self.answer = None;
        self.traversed = now;
        if !data {
            return None;
        }
        if self.keepalive.is_some() {
            self.another = true;
            return None;
        }
        self.keepalive = Some(now + limits.keepalive_timeout);
        self.keepalive
    }

    /// Data that was received is acknowledged after a silence.
    pub(super) fn acknowledge(&mut self, now: Instant, limits: &Limits) {
        self.keepalive = Some(now + limits.keepalive_timeout);
    }

    /// A handshake is wanted, as soon as the last initiation is old enough.
    pub(super) fn ask(&mut self, now: Instant, limits: &Limits) {
        if self.handshake.is_none() {
            self.began = now;
            self.handshake = Some(self.last_initiation.map_or(now, |last| now.max(last + limits.rekey_timeout)));
        }
    }

    /// Somebody still wants to send: it is tried for the whole time from now on.
    pub(super) fn insist(&mut self, now: Instant) {
        self.began = now;
    }

    /// A handshake is wanted at once, whatever was sent before.
    pub(super) fn force(&mut self, now: Instant) {
        self.began = now;
        self.handshake = Some(now);
    }

    pub(super) fn is_handshake_due(&self, now: Instant) -> bool {
        self.handshake.is_some_and(|at| at <= now)
    }

    pub(super) fn initiated(&mut self, now: Instant, limits: &Limits, random: &mut Random) {
        self.last_initiation = Some(now);
        self.handshake = Some(now + limits.rekey_timeout + random.jitter(JITTER));
        self.sent(now, false, limits, random);
    }

    /// How long ago the last initiation was sent.
    pub(super) fn since_initiation(&self, now: Instant) -> Option<Duration> {
        self.last_initiation.map(|at| now.saturating_duration_since(at))
    }

    /// Nothing can be asked of this peer.
    pub(super) fn stop_handshake(&mut self) {
        self.handshake = None;
    }

    /// Both ends have a new pair of keys, or will have it with the next message.
    pub(super) fn derived(&mut self, now: Instant, limits: &Limits) {
        self.erase = Some(now + limits.erase_after());
    }

    /// A session is in force.
    pub(super) fn completed(&mut self) {
        self.handshake = None;
    }

    pub(super) fn next(&self, persistent: Option<Duration>) -> Option<Instant> {
        let persistent = persistent.map(|period| self.traversed + period);
        [self.handshake, self.keepalive, self.answer, self.erase, persistent].into_iter().flatten().min()
    }

    /// One thing that is due; asking again gives the next.
    pub(super) fn take(&mut self, now: Instant, persistent: Option<Duration>, limits: &Limits) -> Option<Due> {
        if take(&mut self.erase, now) {
            return Some(Due::Erase);
        }
        if take(&mut self.answer, now) {
            return Some(Due::Unanswered);
        }
        if self.is_handshake_due(now) {
            if now.saturating_duration_since(self.began) < limits.rekey_attempt_time {
                return Some(Due::Handshake);
            }
            self.give_up(now, limits);
            return Some(Due::GiveUp);
        }
        if take(&mut self.keepalive, now) {
            return Some(Due::Keepalive { again: std::mem::take(&mut self.another) });
        }
        let period = persistent?;
        if self.traversed + period > now {
            return None;
        }
        self.traversed = now;
        Some(Due::Persistent)
    }

    fn give_up(&mut self, now: Instant, limits: &Limits) {
        self.handshake = None;
        self.keepalive = None;
        self.another = false;
        self.erase = self.erase.or(Some(now + limits.erase_after()));
    }
}

fn take(timer: &mut Option<Instant>, now: Instant) -> bool {
    timer.take_if(|at| *at <= now).is_some()
}
