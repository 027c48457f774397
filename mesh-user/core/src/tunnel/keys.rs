//! The key pairs that a peer has at one time, and which of them is used (WireGuard paper, section 6.3).

use std::time::Instant;

use super::{index::SessionIndex, keypair::KeyPair, limits::Limits};

/// A pair is allocated by a handshake, never by a packet.
#[derive(Default)]
pub(super) struct Keys {
    /// For messages that were under way when `current` took over, the latest first. Three of them: after handshakes that
    /// crossed, each end sends with the pair that it began, and both may renew theirs at once.
    previous: [Option<Box<KeyPair>>; 3],
    /// What we send with.
    current: Option<Box<KeyPair>>,
    /// The peer asked for it and has not yet used it; so we may not.
    next: Option<Box<KeyPair>>,
}

impl Keys {
    /// Takes the pair of a handshake that we began: the response proves that the peer has it, too. If the peer began one at
    /// the same time, it will send with the pair of that, and we with ours, so that there is an initiator to renew each.
    pub(super) fn begin(&mut self, pair: KeyPair) {
        let crossed = self.next.take();
        self.advance(Box::new(pair));
        crossed.into_iter().for_each(|pair| self.retire(pair));
    }

    /// Takes the pair of a handshake that the peer began.
    pub(super) fn offer(&mut self, pair: KeyPair) {
        self.next = Some(Box::new(pair));
    }

    /// The peer used the pair that was offered: so do we from now on.
    pub(super) fn confirm(&mut self) {
        if let Some(next) = self.next.take() {
            self.advance(next);
        }
    }

    fn advance(&mut self, pair: Box<KeyPair>) {
        let former = self.current.replace(pair);
        former.into_iter().for_each(|pair| self.retire(pair));
    }

    fn retire(&mut self, pair: Box<KeyPair>) {
        self.previous.rotate_right(1);
        self.previous[0] = Some(pair);
    }

    /// The pair that a message names, and whether it is one that was offered.
    #[inline]
    pub(super) fn named(&mut self, index: u32) -> Option<(&mut KeyPair, bool)> {
        let is_named = |pair: &&mut Box<KeyPair>| pair.local.0 == index;
        if let Some(pair) = self.current.as_mut().filter(is_named) {
            return Some((pair, false));
        }
        if let Some(pair) = self.next.as_mut().filter(is_named) {
            return Some((pair, true));
        }
        self.previous.iter_mut().flatten().find(is_named).map(|pair| (&mut **pair, false))
    }

    pub(super) fn current(&self) -> Option<&KeyPair> {
        self.current.as_deref()
    }

    /// The pair to send with.
    #[inline]
    pub(super) fn sending(&mut self, now: Instant, limits: &Limits) -> Option<&mut KeyPair> {
        self.current.as_deref_mut().filter(|pair| pair.can_send(now, limits))
    }

    /// A session is in force.
    pub(super) fn is_live(&self, now: Instant, limits: &Limits) -> bool {
        self.current.as_ref().is_some_and(|pair| pair.can_send(now, limits))
    }

    pub(super) fn names(&self, index: SessionIndex) -> bool {
        self.previous.iter().chain([&self.current, &self.next]).flatten().any(|pair| pair.local == index)
    }

    /// The pair that was offered last has this index.
    pub(super) fn offers(&self, index: u32) -> bool {
        self.next.as_ref().is_some_and(|pair| pair.local.0 == index)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.previous.iter().chain([&self.current, &self.next]).all(Option::is_none)
    }
}
