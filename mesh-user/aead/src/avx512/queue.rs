//! Which blocks of which pieces are made together?

use std::ops::Range;

use super::{
    PIECES,
    bytes::VECTOR,
    chacha::{BLOCKS, Counters},
};
use crate::Piece;

/// The blocks of text that have not been given out.
#[derive(Debug)]
pub(super) struct Queue<'a> {
    pieces: &'a [Piece],
    place: Place,
}

/// All text before it has been given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The number of pieces that are given out as a whole.
    pub(super) piece: usize,
    /// Bytes of the piece after them: a multiple of the block, and not all.
    pub(super) bytes: usize,
}

/// Blocks that are made together.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) counters: Counters,
    runs: [Run; BLOCKS],
    count: usize,
}

/// Blocks of one piece that follow each other.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) piece: usize,
    /// The byte of the text that the first block begins at.
    pub(super) from: usize,
    pub(super) lanes: Range<usize>,
}

impl<'a> Queue<'a> {
    pub(super) fn new(pieces: &'a [Piece]) -> Self {
        let mut queue = Self { pieces, place: Place { piece: 0, bytes: 0 } };
        queue.pass_finished();
        queue
    }

    pub(super) fn is_empty(&self) -> bool {
        self.place.piece == self.pieces.len()
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Block 0 of each piece, in the lane that has the piece's number, then text.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn first(&mut self, group: &mut Group) {
        debug_assert!(self.pieces.len() <= PIECES);
        for (lane, piece) in self.pieces.iter().enumerate() {
            group.counters.set(lane, 0, piece.counter);
        }
        self.fill(group, self.pieces.len());
    }

    /// The next blocks of text.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn next(&mut self, group: &mut Group) {
        self.fill(group, 0);
    }

    /// The next blocks of text, in the lanes from this one on.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn fill(&mut self, group: &mut Group, mut lane: usize) {
        group.count = 0;
        while lane < BLOCKS && !self.is_empty() {
            let Place { piece, bytes } = self.place;
            let blocks = (self.pieces[piece].len - bytes).div_ceil(VECTOR).min(BLOCKS - lane);
            // Block 0 is that of the one-time key.
            let block = (bytes / VECTOR + 1) as u32;
            group.counters.set(lane, block, self.pieces[piece].counter);
            group.runs[group.count] = Run { piece, from: bytes, lanes: lane..lane + blocks };
            group.count += 1;
            lane += blocks;
            self.place.bytes += blocks * VECTOR;
            self.pass_finished();
        }
    }

    fn pass_finished(&mut self) {
        while self.pieces.get(self.place.piece).is_some_and(|piece| piece.len <= self.place.bytes) {
            self.place = Place { piece: self.place.piece + 1, bytes: 0 };
        }
    }
}

impl Group {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn empty() -> Self {
        let runs = [const { Run { piece: 0, from: 0, lanes: 0..0 } }; BLOCKS];
        Self { counters: Counters::zero(), runs, count: 0 }
    }

    pub(super) fn runs(&self) -> &[Run] {
        &self.runs[..self.count]
    }
}
