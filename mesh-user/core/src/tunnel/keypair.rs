//! The two keys of one session: counters, ages, and what may still be sent or taken with them.

use std::{ops::Range, time::Instant};

use mesh_aead::Piece;
use mesh_common::{
    datapath::DropReason,
    wire::wireguard::{DATA, DATA_OVERHEAD},
};

use super::{
    device::BATCH,
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

    /// Encrypts the next messages in place: header, packet and 16 bytes for the tag are the whole of each. Says how many: all,
    /// unless the session has no more messages to give.
    pub(super) fn seal(&mut self, limits: &Limits, buffer: &mut [u8], messages: &[Range<usize>]) -> usize {
        let left = usize::try_from(limits.reject_after_messages.saturating_sub(self.counter)).unwrap_or(usize::MAX);
        let messages = &messages[..messages.len().min(left)];
        for messages in messages.chunks(BATCH) {
            let mut pieces = [NOTHING; BATCH];
            for (message, piece) in messages.iter().zip(&mut pieces) {
                let header = &mut buffer[message.start..message.start + HEADER];
                header[..4].copy_from_slice(&[DATA, 0, 0, 0]);
                header[4..8].copy_from_slice(&self.remote.to_le_bytes());
                header[8..].copy_from_slice(&self.counter.to_le_bytes());
                *piece = body(message, self.counter);
                self.counter += 1;
            }
            self.sending.seal(buffer, &pieces[..messages.len()]);
        }
        messages.len()
    }

    /// Decrypts the bodies of messages in place, and takes the counters of those that are authentic. There are at most
    /// [`BATCH`].
    pub(super) fn open(
        &mut self,
        now: Instant,
        limits: &Limits,
        buffer: &mut [u8],
        messages: &[Range<usize>],
        fresh: &mut [Result<Fresh, DropReason>],
    ) {
        if !self.is_good(now, limits) {
            return fresh.fill(Err(DropReason::NoSession));
        }
        let (mut pieces, mut verdicts) = ([NOTHING; BATCH], [false; BATCH]);
        let (pieces, verdicts) = (&mut pieces[..messages.len()], &mut verdicts[..messages.len()]);
        for (message, piece) in messages.iter().zip(&mut *pieces) {
            *piece = body(message, counter(&buffer[message.clone()]));
        }
        self.receiving.open(buffer, pieces, verdicts);
        for ((fresh, piece), is_authentic) in fresh.iter_mut().zip(pieces).zip(verdicts) {
            let counts = *is_authentic && piece.counter < limits.reject_after_messages;
            let taken = if counts { self.window.accept(piece.counter) } else { None };
            *fresh = taken.ok_or(DropReason::Unauthenticated);
        }
    }
}

/// A piece of no message.
const NOTHING: Piece = Piece { counter: 0, at: 0, len: 0 };

/// What is encrypted of a message that is as long as a header and a tag at least.
fn body(message: &Range<usize>, counter: u64) -> Piece {
    Piece { counter, at: message.start + HEADER, len: message.len() - DATA_OVERHEAD }
}

fn counter(message: &[u8]) -> u64 {
    message[8..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The session that a data message names.
pub(super) fn receiver(header: &[u8; HEADER]) -> u32 {
    header[4..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
