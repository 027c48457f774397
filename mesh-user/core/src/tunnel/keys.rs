//! The key pairs that a peer has at one time, and which of them is used (WireGuard paper, section 6.3).

use std::time::Instant;

use super::{index::SessionIndex, keypair::KeyPair, limits::Limits};

/// A pair is allocated by a handshake, never by a packet.
#[derive(Default)]
pub(super) struct Keys {
    /// Messages that were under way when `current` took over.
    previous: Option<Box<KeyPair>>,
    /// What we send with.
    current: Option<Box<KeyPair>>,
    /// The peer asked for it and has not yet used it; so we may not.
    next: Option<Box<KeyPair>>,
}

impl Keys {
    /// Takes the pair of a handshake that we began: the response proves that the peer has it, too. A pair that waits for
    /// the peer's first message goes on to wait, since the peer may have begun a handshake at the same time.
    pub(super) fn begin(&mut self, pair: KeyPair) {
        self.previous = self.current.replace(Box::new(pair));
    }

    /// Takes the pair of a handshake that the peer began.
    pub(super) fn offer(&mut self, pair: KeyPair) {
        self.next = Some(Box::new(pair));
    }

    /// The peer used the pair that was offered: so do we from now on.
    pub(super) fn confirm(&mut self) {
        if let Some(next) = self.next.take() {
            self.previous = self.current.replace(next);
        }
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
        self.previous.as_mut().filter(is_named).map(|pair| (&mut **pair, false))
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
        [&self.previous, &self.current, &self.next].into_iter().flatten().any(|pair| pair.local == index)
    }

    /// The pair that was offered last has this index.
    pub(super) fn offers(&self, index: u32) -> bool {
        self.next.as_ref().is_some_and(|pair| pair.local.0 == index)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.previous.is_none() && self.current.is_none() && self.next.is_none()
    }
}
