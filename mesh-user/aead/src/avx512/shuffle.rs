//! How are rows and columns of vectors swapped?

use std::arch::x86_64::*;

/// From one word of sixteen blocks per vector to one block per vector.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn blocks(words: &[__m512i; 16], blocks: &mut [__m512i; 16]) {
    // quads[q][j]: words 4q to 4q+3 of the blocks j, 4+j, 8+j and 12+j.
    let mut quads = [[words[0]; 4]; 4];
    for (quad, word) in quads.iter_mut().zip(words.as_chunks::<4>().0) {
        let low = [_mm512_unpacklo_epi32(word[0], word[1]), _mm512_unpacklo_epi32(word[2], word[3])];
        let high = [_mm512_unpackhi_epi32(word[0], word[1]), _mm512_unpackhi_epi32(word[2], word[3])];
        *quad = [
            _mm512_unpacklo_epi64(low[0], low[1]),
            _mm512_unpackhi_epi64(low[0], low[1]),
            _mm512_unpacklo_epi64(high[0], high[1]),
            _mm512_unpackhi_epi64(high[0], high[1]),
        ];
    }
    for j in 0..4 {
        let four = quarters([quads[0][j], quads[1][j], quads[2][j], quads[3][j]]);
        for (i, block) in four.into_iter().enumerate() {
            blocks[4 * i + j] = block;
        }
    }
}

/// Row i, column j becomes row j, column i, of 64-bit words.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn transpose(rows: [__m512i; 8]) -> [__m512i; 8] {
    let low = |i: usize| _mm512_unpacklo_epi64(rows[i], rows[i + 1]);
    let high = |i: usize| _mm512_unpackhi_epi64(rows[i], rows[i + 1]);
    let even = quarters([low(0), low(2), low(4), low(6)]);
    let odd = quarters([high(0), high(2), high(4), high(6)]);
    [even[0], odd[0], even[1], odd[1], even[2], odd[2], even[3], odd[3]]
}

/// Row i, column j becomes row j, column i, of quarters of a vector.
#[inline]
#[target_feature(enable = "avx512f")]
fn quarters([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let [ab, cd] = [_mm512_shuffle_i64x2::<0x44>(a, b), _mm512_shuffle_i64x2::<0x44>(c, d)];
    let [ab_high, cd_high] = [_mm512_shuffle_i64x2::<0xee>(a, b), _mm512_shuffle_i64x2::<0xee>(c, d)];
    [
        _mm512_shuffle_i64x2::<0x88>(ab, cd),
        _mm512_shuffle_i64x2::<0xdd>(ab, cd),
        _mm512_shuffle_i64x2::<0x88>(ab_high, cd_high),
        _mm512_shuffle_i64x2::<0xdd>(ab_high, cd_high),
    ]
}
