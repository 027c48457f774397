//! What was said so far in a handshake: the hash of it, and the chaining key that all keys come from.

use zeroize::Zeroizing;

use super::primitives::{Key, hash, kdf, open, seal};
use crate::plan::{PresharedKey, PublicKey};

const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

/// How every handshake with one responder begins.
#[derive(Clone, Copy)]
pub(in super::super) struct Prologue {
    chain: [u8; 32],
    hash: [u8; 32],
}

impl Prologue {
    pub(in super::super) fn of(responder: &PublicKey) -> Prologue {
        let chain = hash(&[CONSTRUCTION]);
        let named = hash(&[&chain, IDENTIFIER]);
        Prologue { chain, hash: hash(&[&named, &responder.0]) }
    }

    pub(super) fn begin(&self) -> Transcript {
        Transcript { chain: Zeroizing::new(self.chain), hash: self.hash }
    }
}

#[derive(Clone)]
pub(super) struct Transcript {
    chain: Key,
    hash: [u8; 32],
}

impl Transcript {
    fn note(&mut self, said: &[u8]) {
        self.hash = hash(&[&self.hash, said]);
    }

    /// An ephemeral key goes over the wire in clear.
    pub(super) fn note_ephemeral(&mut self, public: &PublicKey) {
        let [chain] = kdf(&self.chain, &public.0);
        self.chain = chain;
        self.note(&public.0);
    }

    /// A shared secret, after which nothing is encrypted at once.
    pub(super) fn mix(&mut self, shared: &Key) {
        let [chain] = kdf(&self.chain, &**shared);
        self.chain = chain;
    }

    /// A shared secret, and the key of what is encrypted next.
    pub(super) fn mix_key(&mut self, shared: &Key) -> Key {
        let [chain, key] = kdf(&self.chain, &**shared);
        self.chain = chain;
        key
    }

    /// The preshared key, or zeros, and the key of what is encrypted next.
    pub(super) fn mix_preshared(&mut self, preshared: Option<&PresharedKey>) -> Key {
        let none = PresharedKey([0; 32]);
        let [chain, said, key] = kdf(&self.chain, &preshared.unwrap_or(&none).0);
        self.chain = chain;
        self.note(&*said);
        key
    }

    pub(super) fn seal(&mut self, key: &Key, text: &[u8], out: &mut [u8]) {
        seal(key, &self.hash, text, out);
        self.note(out);
    }

    #[must_use]
    pub(super) fn open(&mut self, key: &Key, sealed: &[u8], text: &mut [u8]) -> Option<()> {
        open(key, &self.hash, sealed, text)?;
        self.note(sealed);
        Some(())
    }

    /// Keys of the session: what the initiator sends with, and the responder.
    pub(super) fn split(self) -> [Key; 2] {
        kdf(&self.chain, &[])
    }
}
