//! How are up to sixteen pieces sealed or opened at once with AVX-512?
//!
//! Blocks of ChaCha20 are made sixteen at a time ([`chacha`]), whichever pieces they belong to: first block 0 of each piece,
//! from which its one-time key comes, then all blocks of text in order ([`queue`]). While one group of blocks is made, tags
//! follow over the text that is encrypted already, or go ahead over what is still to be decrypted ([`macs`]): the two keep
//! different units of the CPU busy, and the text is in the first-level cache for both.

mod bytes;
mod chacha;
mod macs;
mod poly;
mod queue;
mod shuffle;
#[cfg(test)]
mod tests;

use std::arch::x86_64::{__m512i, _mm512_setzero_si512};

use subtle::ConstantTimeEq;

use crate::{KEY_LEN, Piece, TAG_LEN};
use macs::{Eight, Macs};
use queue::{Group, Queue};

/// The most pieces at once: as many as have their block 0 in the first group.
pub(crate) const PIECES: usize = chacha::BLOCKS;

/// Bytes from which on a single piece is sealed and opened faster than by `ring`, by measurement.
const ALONE: usize = 704;

/// What the text of the pieces is before the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    Plain,
    Cipher,
}

/// Whether this CPU has all that is used here.
pub(crate) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512ifma")
}

/// Whether these pieces cost less here than one after the other with `ring`.
pub(crate) fn pays(pieces: &[Piece]) -> bool {
    // One alone has to carry what is the same for sixteen.
    match pieces {
        [] => false,
        [alone] => alone.len >= ALONE,
        _ => true,
    }
}

/// Encrypts the pieces, at most [`PIECES`], and writes their tags.
pub(crate) fn seal(key: &[u8; KEY_LEN], buffer: &mut [u8], pieces: &[Piece]) {
    let tags = both(key, buffer, pieces, Text::Plain);
    for (piece, tag) in pieces.iter().zip(tags) {
        buffer[piece.tag()].copy_from_slice(&tag);
    }
}

/// Decrypts the pieces, at most [`PIECES`], and says which are authentic; of those that are not, the text is zeroed.
pub(crate) fn open(key: &[u8; KEY_LEN], buffer: &mut [u8], pieces: &[Piece], verdicts: &mut [bool]) {
    let tags = both(key, buffer, pieces, Text::Cipher);
    for ((piece, tag), verdict) in pieces.iter().zip(tags).zip(verdicts) {
        let sent = buffer[piece.tag()].try_into().expect("a tag has 16 bytes");
        *verdict = u128::from_ne_bytes(sent).ct_eq(&u128::from_ne_bytes(tag)).into();
        if !*verdict {
            buffer[piece.text()].fill(0);
        }
    }
}

/// Applies the key stream to the text of the pieces; the tags are those of the ciphertext.
fn both(key: &[u8; KEY_LEN], buffer: &mut [u8], pieces: &[Piece], text: Text) -> [[u8; TAG_LEN]; PIECES] {
    assert!(pieces.len() <= PIECES && is_available(), "few enough pieces, on a CPU that can");
    if pieces.len() <= macs::LANES {
        // SAFETY: the CPU has the features.
        unsafe { crypt::<1>(key, buffer, pieces, text) }
    } else {
        // SAFETY: the CPU has the features.
        unsafe { crypt::<2>(key, buffer, pieces, text) }
    }
}

/// For `EIGHTS` times eight pieces or fewer.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn crypt<const EIGHTS: usize>(
    key: &[u8; KEY_LEN],
    buffer: &mut [u8],
    pieces: &[Piece],
    text: Text,
) -> [[u8; TAG_LEN]; PIECES] {
    let mut eights = Eight::zero::<EIGHTS>();
    let mut stream = [_mm512_setzero_si512(); chacha::BLOCKS];
    let mut queue = Queue::new(pieces);
    let mut group = Group::empty();
    queue.first(&mut group);
    chacha::blocks(key, &group.counters, &mut stream, || {});
    let mut macs = Macs::new(pieces, &mut eights, &stream);
    loop {
        if text == Text::Cipher {
            macs.reach(buffer, queue.place());
        }
        apply(buffer, pieces, &group, &stream);
        if queue.is_empty() {
            return macs.finish(buffer);
        }
        match text {
            Text::Plain => macs.allow(queue.place()),
            Text::Cipher => macs.allow_all(),
        }
        queue.next(&mut group);
        chacha::blocks(key, &group.counters, &mut stream, || macs.step(buffer));
    }
}

/// `text ^= stream` for the pieces of text that the group has blocks of.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn apply(buffer: &mut [u8], pieces: &[Piece], group: &Group, stream: &[__m512i; chacha::BLOCKS]) {
    for run in group.runs() {
        let text = &mut buffer[pieces[run.piece].text()][run.from..];
        for (block, stream) in text.chunks_mut(bytes::VECTOR).zip(&stream[run.lanes.clone()]) {
            bytes::xor(block, *stream);
        }
    }
}
