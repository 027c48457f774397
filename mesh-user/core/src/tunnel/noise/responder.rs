//! The end that answers: reads an initiation in two steps, and makes the response.

use mesh_common::wire::wireguard::{INITIATION_LEN, RESPONSE, RESPONSE_LEN};

use super::{
    Agreed, Timestamp,
    curve::{Exchanges, StaticSecret},
    initiation, key_at, number,
    primitives::Key,
    response,
    transcript::{Prologue, Transcript},
};
use crate::{
    plan::{PresharedKey, PublicKey},
    tunnel::index::SessionIndex,
};

/// An initiation of which is known who claims to have sent it; [`Introduced::timestamp`] proves it.
pub(in super::super) struct Introduced {
    transcript: Transcript,
    /// Whose public key it carries.
    pub(in super::super) peer: PublicKey,
    ephemeral: PublicKey,
    remote: u32,
    sealed_timestamp: [u8; initiation::MAC1 - initiation::TIMESTAMP],
}

impl Introduced {
    /// Finds out who initiates, at the price of one exchange. `None`: it is not meant for this key.
    pub(in super::super) fn read(
        prologue: &Prologue,
        secret: &StaticSecret,
        exchanges: &mut Exchanges,
        message: &[u8; INITIATION_LEN],
    ) -> Option<Introduced> {
        let mut transcript = prologue.begin();
        let ephemeral = PublicKey(key_at(message, initiation::EPHEMERAL));
        transcript.note_ephemeral(&ephemeral);
        let key = transcript.mix_key(&exchanges.agree(secret, &ephemeral)?);
        let mut peer = PublicKey([0; 32]);
        transcript.open(&key, &message[initiation::STATIC..initiation::TIMESTAMP], &mut peer.0)?;
        let sealed_timestamp = *message[initiation::TIMESTAMP..].first_chunk()?;
        Some(Introduced { transcript, peer, ephemeral, remote: number(message, initiation::SENDER), sealed_timestamp })
    }

    /// When it was made, if the peer made it. `shared` is what the two static keys agree on.
    pub(in super::super) fn timestamp(&mut self, shared: &Key) -> Option<Timestamp> {
        let key = self.transcript.mix_key(shared);
        let mut timestamp = Timestamp::default();
        self.transcript.open(&key, &self.sealed_timestamp, &mut timestamp.0)?;
        Some(timestamp)
    }
}

/// Writes the response to an initiation whose timestamp was read, but for its MACs. `None`: the initiator's ephemeral
/// key is of no use.
pub(in super::super) fn respond(
    initiation: Introduced,
    ephemeral: &StaticSecret,
    index: SessionIndex,
    preshared: Option<&PresharedKey>,
    exchanges: &mut Exchanges,
    out: &mut [u8; RESPONSE_LEN],
) -> Option<Agreed> {
    let Introduced { mut transcript, peer, ephemeral: their_ephemeral, remote, .. } = initiation;
    let public = exchanges.publish(ephemeral);
    out[..response::SENDER].copy_from_slice(&[RESPONSE, 0, 0, 0]);
    out[response::SENDER..response::RECEIVER].copy_from_slice(&index.0.to_le_bytes());
    out[response::RECEIVER..response::EPHEMERAL].copy_from_slice(&remote.to_le_bytes());
    out[response::EPHEMERAL..response::EMPTY].copy_from_slice(&public.0);
    transcript.note_ephemeral(&public);
    transcript.mix(&exchanges.agree(ephemeral, &their_ephemeral)?);
    transcript.mix(&exchanges.agree(ephemeral, &peer)?);
    let key = transcript.mix_preshared(preshared);
    transcript.seal(&key, &[], &mut out[response::EMPTY..response::MAC1]);
    let [receiving, sending] = transcript.split();
    Some(Agreed { sending, receiving, local: index, remote })
}
