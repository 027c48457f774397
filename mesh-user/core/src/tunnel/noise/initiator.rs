//! The end that begins: makes the initiation and reads the response.

use mesh_common::wire::wireguard::{INITIATION, INITIATION_LEN, RESPONSE_LEN};

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

/// An initiation that was sent, while its answer is awaited.
pub(in super::super) struct Initiation {
    transcript: Transcript,
    ephemeral: StaticSecret,
    index: SessionIndex,
}

/// Both ends as the initiator knows them before it says a word.
pub(in super::super) struct Acquaintance<'a> {
    pub(in super::super) own: &'a PublicKey,
    pub(in super::super) peer: &'a PublicKey,
    /// What the two static keys agree on.
    pub(in super::super) shared: &'a Key,
}

impl Initiation {
    /// Writes the initiation, but for its MACs. `None`: the peer's public key is of no use.
    pub(in super::super) fn begin(
        ends: &Acquaintance<'_>,
        ephemeral: StaticSecret,
        index: SessionIndex,
        now: Timestamp,
        exchanges: &mut Exchanges,
        out: &mut [u8; INITIATION_LEN],
    ) -> Option<Initiation> {
        let mut transcript = Prologue::of(ends.peer).begin();
        let public = exchanges.publish(&ephemeral);
        out[..initiation::SENDER].copy_from_slice(&[INITIATION, 0, 0, 0]);
        out[initiation::SENDER..initiation::EPHEMERAL].copy_from_slice(&index.0.to_le_bytes());
        out[initiation::EPHEMERAL..initiation::STATIC].copy_from_slice(&public.0);
        transcript.note_ephemeral(&public);
        let key = transcript.mix_key(&exchanges.agree(&ephemeral, ends.peer)?);
        transcript.seal(&key, &ends.own.0, &mut out[initiation::STATIC..initiation::TIMESTAMP]);
        let key = transcript.mix_key(ends.shared);
        transcript.seal(&key, &now.0, &mut out[initiation::TIMESTAMP..initiation::MAC1]);
        Some(Initiation { transcript, ephemeral, index })
    }

    pub(in super::super) fn index(&self) -> SessionIndex {
        self.index
    }

    /// Reads the response to it, at the price of two exchanges. `None`: it is no answer of this peer.
    pub(in super::super) fn finish(
        &self,
        secret: &StaticSecret,
        preshared: Option<&PresharedKey>,
        exchanges: &mut Exchanges,
        message: &[u8; RESPONSE_LEN],
    ) -> Option<Agreed> {
        let ephemeral = PublicKey(key_at(message, response::EPHEMERAL));
        let mut transcript = self.transcript.clone();
        transcript.note_ephemeral(&ephemeral);
        transcript.mix(&exchanges.agree(&self.ephemeral, &ephemeral)?);
        transcript.mix(&exchanges.agree(secret, &ephemeral)?);
        let key = transcript.mix_preshared(preshared);
        transcript.open(&key, &message[response::EMPTY..response::MAC1], &mut [])?;
        let [sending, receiving] = transcript.split();
        Some(Agreed { sending, receiving, local: self.index, remote: number(message, response::SENDER) })
    }
}
