//! How are sixteen blocks of ChaCha20 made at once (RFC 8439, section 2.3)?
//!
//! A vector holds one word of the state of all sixteen blocks, so that the rounds need no shuffles; the blocks are put
//! together at the end.

use std::arch::x86_64::*;

use super::shuffle;

/// Blocks that are made at once.
pub(super) const BLOCKS: usize = 16;
const DOUBLE_ROUNDS: usize = 10;
/// "expand 32-byte k".
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// What differs between the blocks: for each its counter, and the nonce of its message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counters {
    pub(super) block: __m512i,
    pub(super) nonce: [__m512i; 3],
}

impl Counters {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn zero() -> Self {
        let zero = _mm512_setzero_si512();
        Self { block: zero, nonce: [zero; 3] }
    }

    /// Blocks `block`, `block + 1`, ... of the message with this counter go to the lanes from `lane` on.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn set(&mut self, lane: usize, block: u32, counter: u64) {
        let lanes = u16::MAX << lane;
        let ramp = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        let first = _mm512_set1_epi32(block.wrapping_sub(lane as u32).cast_signed());
        self.block = _mm512_mask_add_epi32(self.block, lanes, ramp, first);
        let [low, high] = [counter as u32, (counter >> 32) as u32].map(u32::cast_signed);
        self.nonce[1] = _mm512_mask_set1_epi32(self.nonce[1], lanes, low);
        self.nonce[2] = _mm512_mask_set1_epi32(self.nonce[2], lanes, high);
    }
}

/// Makes the sixteen blocks. `beside` is called once in each of the ten double rounds: work that shares nothing with them,
/// which the CPU then does in the units that the rounds leave idle.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn blocks(key: &[u8; 32], counters: &Counters, stream: &mut [__m512i; BLOCKS], mut beside: impl FnMut()) {
    let start = start(key, counters);
    let mut x = start;
    for _ in 0..DOUBLE_ROUNDS {
        for column in 0..4 {
            quarter(&mut x, [column, 4 + column, 8 + column, 12 + column]);
        }
        beside();
        for diagonal in 0..4 {
            let [b, c, d] = [1, 2, 3].map(|shift| (diagonal + shift) % 4);
            quarter(&mut x, [diagonal, 4 + b, 8 + c, 12 + d]);
        }
    }
    for (x, start) in x.iter_mut().zip(start) {
        *x = _mm512_add_epi32(*x, start);
    }
    shuffle::blocks(&x, stream);
}

#[inline]
#[target_feature(enable = "avx512f")]
fn start(key: &[u8; 32], counters: &Counters) -> [__m512i; 16] {
    let mut x = [counters.block; 16];
    for (x, constant) in x.iter_mut().zip(CONSTANTS) {
        *x = _mm512_set1_epi32(constant.cast_signed());
    }
    for (x, word) in x[4..].iter_mut().zip(key.as_chunks::<4>().0) {
        *x = _mm512_set1_epi32(i32::from_le_bytes(*word));
    }
    x[12] = counters.block;
    x[13..].copy_from_slice(&counters.nonce);
    x
}

#[inline]
#[target_feature(enable = "avx512f")]
fn quarter(x: &mut [__m512i; 16], [a, b, c, d]: [usize; 4]) {
    x[a] = _mm512_add_epi32(x[a], x[b]);
    x[d] = _mm512_rol_epi32::<16>(_mm512_xor_si512(x[d], x[a]));
    x[c] = _mm512_add_epi32(x[c], x[d]);
    x[b] = _mm512_rol_epi32::<12>(_mm512_xor_si512(x[b], x[c]));
    x[a] = _mm512_add_epi32(x[a], x[b]);
    x[d] = _mm512_rol_epi32::<8>(_mm512_xor_si512(x[d], x[a]));
    x[c] = _mm512_add_epi32(x[c], x[d]);
    x[b] = _mm512_rol_epi32::<7>(_mm512_xor_si512(x[b], x[c]));
}
