//! The two keys of one session: counters, ages, and what may still be sent or taken with them.

use std::time::Instant;

use mesh_aead::{Piece, TAG_LEN};
use mesh_common::{datapath::DropReason, wire::wireguard::DATA};

use super::{
    index::SessionIndex,
    limits::Limits,
    noise::Agreed,
    replay::{Fresh, Window},
};

/// Type, receiver and counter of a data message.
pub(super) const HEADER: usize = 16;

/// Who began the handshake that gave the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Initiator,
    Responder,
}

pub(super) struct KeyPair {
    sending: mesh_aead::Key,
    receiving: mesh_aead::Key,
    pub(super) local: SessionIndex,
    remote: u32,
    pub(super) role: Role,
    pub(super) born: Instant,
    /// The next message's.
    counter: u64,
    window: Window,
}

impl KeyPair {
    pub(super) fn new(agreed: &Agreed, role: Role, born: Instant) -> KeyPair {
        KeyPair {
            sending: mesh_aead::Key::new(&agreed.sending),
            receiving: mesh_aead::Key::new(&agreed.receiving),
            local: agreed.local,
            remote: agreed.remote,
            role,
            born,
            counter: 0,
            window: Window::new(),
        }
    }

    /// Young enough to be of use.
    pub(super) fn is_good(&self, now: Instant, limits: &Limits) -> bool {
        now.saturating_duration_since(self.born) < limits.reject_after_time
    }

    pub(super) fn can_send(&self, now: Instant, limits: &Limits) -> bool {
        self.is_good(now, limits) && self.counter < limits.reject_after_messages
    }

    /// A new session is due before this one ends. Both ends count messages; only the initiator counts time, so that not
    /// both begin at once.
    pub(super) fn is_stale(&self, now: Instant, limits: &Limits) -> bool {
        self.counter >= limits.rekey_after_messages
            || self.role == Role::Initiator && now.saturating_duration_since(self.born) >= limits.rekey_after_time
    }

    /// Encrypts the next message in place: header, packet and 16 bytes for the tag are the whole of `message`.
    /// [`KeyPair::can_send`] was asked.
    pub(super) fn seal(&mut self, message: &mut [u8]) {
        let (header, _) = message.split_at_mut(HEADER);
        header[..4].copy_from_slice(&[DATA, 0, 0, 0]);
        header[4..8].copy_from_slice(&self.remote.to_le_bytes());
        header[8..].copy_from_slice(&self.counter.to_le_bytes());
        let piece = Piece { counter: self.counter, at: HEADER, len: message.len() - HEADER - TAG_LEN };
        self.sending.seal(message, &[piece]);
        self.counter += 1;
    }

    /// Decrypts the body of a message in place, and takes its counter.
    pub(super) fn open(
        &mut self,
        now: Instant,
        limits: &Limits,
        header: &[u8; HEADER],
        sealed: &mut [u8],
    ) -> Result<Fresh, DropReason> {
        if !self.is_good(now, limits) {
            return Err(DropReason::NoSession);
        }
        let counter = counter(header);
        if counter >= limits.reject_after_messages {
            return Err(DropReason::Unauthenticated);
        }
        let len = sealed.len().checked_sub(TAG_LEN).ok_or(DropReason::NotWireguard)?;
        let mut verdict = [false];
        self.receiving.open(sealed, &[Piece { counter, at: 0, len }], &mut verdict);
        if verdict != [true] {
            return Err(DropReason::Unauthenticated);
        }
        self.window.accept(counter).ok_or(DropReason::Unauthenticated)
    }
}

fn counter(header: &[u8; HEADER]) -> u64 {
    header.last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The session that a data message names.
pub(super) fn receiver(header: &[u8; HEADER]) -> u32 {
    header[4..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
