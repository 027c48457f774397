//! How do the tags of several pieces advance, eight blocks of one piece after the other?

use std::arch::x86_64::*;

use super::{
    PIECES,
    bytes::{self, WINDOW},
    chacha::BLOCKS,
    poly::{self, Blocks, Factor, Limbs, OneTimeKeys},
    queue::Place,
};
use crate::{Piece, TAG_LEN};

/// Bytes of a block of Poly1305.
const BLOCK: usize = 16;
/// One vector of one-time keys has so many.
pub(super) const LANES: usize = 8;

const IN_ROUNDS: usize = 0;
const ALONE: usize = 1;

/// What eight pieces need and leave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Eight {
    keys: OneTimeKeys,
    factors: [Factor; LANES],
    /// Of the pieces that are finished, one sum per lane.
    sums: [Limbs; LANES],
}

impl Eight {
    /// What is overwritten before it counts, or counts as nothing.
    pub(super) fn zero<const EIGHTS: usize>() -> [Self; EIGHTS] {
        // SAFETY: it is made of vectors, for which zero bytes are a valid value.
        unsafe { std::mem::zeroed() }
    }
}

/// Tags on their way. A step takes one window of a piece; all steps have an order, and `done` is the number of the next.
#[derive(Debug)]
pub(super) struct Macs<'a, const EIGHTS: usize> {
    pieces: &'a [Piece],
    /// In the caller's memory, since moving it would cost more than filling it.
    eights: &'a mut [Eight; EIGHTS],
    /// The steps before those of each piece.
    before: [usize; PIECES + 1],
    piece: usize,
    /// Where the next window of the piece begins: before its text if the first window is not full.
    start: isize,
    sum: Limbs,
    done: usize,
    allowed: usize,
}

impl<'a, const EIGHTS: usize> Macs<'a, EIGHTS> {
    /// From the first blocks: those of each piece's one-time key.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn new(pieces: &'a [Piece], eights: &'a mut [Eight; EIGHTS], stream: &[__m512i; BLOCKS]) -> Self {
        for (eight, blocks) in eights.iter_mut().zip(stream.as_chunks().0) {
            eight.keys = OneTimeKeys::new(blocks);
            eight.keys.factors(&mut eight.factors);
        }
        let mut before = [0; PIECES + 1];
        for (i, piece) in pieces.iter().enumerate() {
            before[i + 1] = before[i] + steps(piece);
        }
        let start = pieces.first().map_or(0, start);
        Self { pieces, eights, before, piece: 0, start, sum: [_mm512_setzero_si512(); 3], done: 0, allowed: 0 }
    }

    /// From now on [`Self::step`] may take what lies before the place.
    pub(super) fn allow(&mut self, place: Place) {
        self.allowed = self.before[place.piece] + self.windows(place, usize::div_euclid);
    }

    /// From now on [`Self::step`] may take everything.
    pub(super) fn allow_all(&mut self) {
        self.allowed = self.before[self.pieces.len()];
    }

    /// Takes everything that lies before the place.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
    pub(super) fn reach(&mut self, buffer: &[u8], place: Place) {
        self.catch_up(buffer, self.before[place.piece] + self.windows(place, usize::div_ceil));
    }

    /// One step, if there is one that may be taken.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
    pub(super) fn step(&mut self, buffer: &[u8]) {
        if self.done < self.allowed {
            self.take::<IN_ROUNDS>(buffer);
        }
    }

    /// All steps that are left, and the tags.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
    pub(super) fn finish(mut self, buffer: &[u8]) -> [[u8; TAG_LEN]; PIECES] {
        self.catch_up(buffer, self.before[self.pieces.len()]);
        let mut tags = [[0; TAG_LEN]; PIECES];
        for (tags, eight) in tags.chunks_mut(LANES).zip(self.eights) {
            let [low, high] = eight.keys.tags(&eight.sums).map(|half| bytes::words(half));
            for (tag, (low, high)) in tags.iter_mut().zip(low.into_iter().zip(high)) {
                tag[..8].copy_from_slice(&low.to_le_bytes());
                tag[8..].copy_from_slice(&high.to_le_bytes());
            }
        }
        tags
    }

    /// How many windows of the place's piece begin or end before the place, as `divide` rounds.
    fn windows(&self, place: Place, divide: fn(usize, usize) -> usize) -> usize {
        let Some(piece) = self.pieces.get(place.piece) else { return 0 };
        divide(place.bytes + start(piece).unsigned_abs(), WINDOW)
    }

    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
    fn catch_up(&mut self, buffer: &[u8], until: usize) {
        while self.done < until {
            self.take::<ALONE>(buffer);
        }
    }

    /// `CALLER` has no meaning but that each place has a copy of its own, which the compiler then puts in line: a call would
    /// drop all vectors of the rounds to memory.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
    fn take<const CALLER: usize>(&mut self, buffer: &[u8]) {
        let piece = &self.pieces[self.piece];
        let text = &buffer[piece.text()];
        let empty = self.start.min(0).unsigned_abs() / BLOCK;
        let blocks = Blocks::new(bytes::window(text, self.start), empty);
        let eight = &mut self.eights[self.piece / LANES];
        let factor = &eight.factors[self.piece % LANES];
        self.done += 1;
        if self.done == self.before[self.piece + 1] {
            let blocks = blocks.ending([0, piece.len as u64]);
            eight.sums[self.piece % LANES] = factor.times(poly::add(self.sum, blocks));
            self.sum = [_mm512_setzero_si512(); 3];
            self.piece += 1;
            self.start = self.pieces.get(self.piece).map_or(0, start);
        } else {
            self.sum = factor.first().times(poly::add(self.sum, blocks));
            self.start += WINDOW as isize;
        }
    }
}

/// Windows of a piece: its text in blocks, and one block with the lengths.
fn steps(piece: &Piece) -> usize {
    (piece.len.div_ceil(BLOCK) + 1).div_ceil(WINDOW / BLOCK)
}

/// Where the first window begins, so that the last one ends with the block of the lengths.
fn start(piece: &Piece) -> isize {
    let blocks = piece.len.div_ceil(BLOCK) + 1;
    -((steps(piece) * WINDOW - blocks * BLOCK) as isize)
}
