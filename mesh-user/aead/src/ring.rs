//! How does `ring` seal and open pieces, and how is its key erased?

use std::mem::{MaybeUninit, needs_drop};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{KEY_LEN, Piece, TAG_LEN};

/// `ring` does not erase its keys, so this does. In a box, since each move would leave a copy behind.
///
/// Always initialised until it is dropped.
pub(crate) struct Key(Box<MaybeUninit<LessSafeKey>>);

impl Key {
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has the length of the algorithm");
        Self(Box::new(MaybeUninit::new(LessSafeKey::new(key))))
    }

    pub(crate) fn seal(&self, buffer: &mut [u8], pieces: &[Piece]) {
        for piece in pieces {
            let sealed =
                self.key().seal_in_place_separate_tag(nonce(piece.counter), Aad::empty(), &mut buffer[piece.text()]);
            let tag = sealed.expect("a piece is shorter than the limit of the algorithm");
            buffer[piece.tag()].copy_from_slice(tag.as_ref());
        }
    }

    pub(crate) fn open(&self, buffer: &mut [u8], pieces: &[Piece], verdicts: &mut [bool]) {
        for (piece, verdict) in pieces.iter().zip(verdicts) {
            let message = &mut buffer[piece.at..piece.at + piece.len + TAG_LEN];
            *verdict = self.key().open_in_place(nonce(piece.counter), Aad::empty(), message).is_ok();
            if !*verdict {
                buffer[piece.text()].fill(0);
            }
        }
    }

    fn key(&self) -> &LessSafeKey {
        // SAFETY: `new` initialised it, and only `drop` takes that back.
        unsafe { self.0.assume_init_ref() }
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // Nothing else is to be dropped, so that erasing is all that has to be done.
        const { assert!(!needs_drop::<LessSafeKey>()) };
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for Key {}

/// WireGuard's: four zero bytes, then the counter.
fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}
