//! How is Poly1305 computed with vectors (RFC 8439, section 2.5)?
//!
//! A number below 2^130 is three limbs of 44, 44 and 42 bits, a little more while it is not carried; a vector holds the same
//! limb of eight numbers. The CPU multiplies 52 bits by 52 and adds the lower or the upper half of the product (IFMA).
//!
//! The eight lanes take every eighth block of one message: `h = (h + blocks) * r^8`, and in the last step lane i, which has
//! block i of the last eight, is multiplied by r^(8-i) instead. So the sum of the lanes is what RFC 8439 computes block by
//! block. A message whose blocks are no multiple of eight has empty lanes in its *first* step.

use std::arch::x86_64::*;

use super::shuffle;

/// Limbs of eight numbers.
pub(super) type Limbs = [__m512i; 3];

const MASK_44: i64 = (1 << 44) - 1;
const MASK_42: i64 = (1 << 42) - 1;
/// Each block is a number with a bit above its 128.
const BLOCK_BIT: i64 = 1 << (128 - 88);
/// Which block of the eight a lane has, as unpacking two vectors deals them out.
const BLOCK_OF_LANE: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];
/// The lane that has the last of the eight.
const LAST_LANE: __mmask8 = 1 << 7;
/// The lanes whose blocks are in use when the first so many are not.
const LANES_WITHOUT: [__mmask8; 8] = lanes_without();

/// What eight numbers are multiplied by. 2^132 is 20 modulo 2^130 - 5, hence the limbs times 20.
#[derive(Debug, Clone, Copy)]
pub(super) struct Factor {
    r: Limbs,
    r1_20: __m512i,
    r2_20: __m512i,
}

/// Eight blocks of one message, on their way to the sum.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blocks {
    /// The lower and the upper halves of the blocks.
    low: __m512i,
    high: __m512i,
    lanes: __mmask8,
}

impl Blocks {
    /// 128 bytes, the first `empty` blocks of which do not count.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn new([first, second]: [__m512i; 2], empty: usize) -> Self {
        let low = _mm512_unpacklo_epi64(first, second);
        let high = _mm512_unpackhi_epi64(first, second);
        Self { low, high, lanes: LANES_WITHOUT[empty] }
    }

    /// With these lengths of associated data and text as the last block.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn ending(self, [associated, text]: [u64; 2]) -> Self {
        Self {
            low: _mm512_mask_set1_epi64(self.low, LAST_LANE, associated.cast_signed()),
            high: _mm512_mask_set1_epi64(self.high, LAST_LANE, text.cast_signed()),
            lanes: self.lanes,
        }
    }
}

/// `sum + blocks`, not carried.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn add(sum: Limbs, blocks: Blocks) -> Limbs {
    let [a, b, c] = split(blocks.low, blocks.high);
    let c = _mm512_mask_or_epi64(c, blocks.lanes, c, _mm512_set1_epi64(BLOCK_BIT));
    [_mm512_add_epi64(sum[0], a), _mm512_add_epi64(sum[1], b), _mm512_add_epi64(sum[2], c)]
}

impl Factor {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn new(r: Limbs) -> Self {
        let times_20 = |limb| _mm512_add_epi64(_mm512_slli_epi64::<4>(limb), _mm512_slli_epi64::<2>(limb));
        Self { r, r1_20: times_20(r[1]), r2_20: times_20(r[2]) }
    }

    /// The number of the first lane in all lanes.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn first(&self) -> Self {
        let all = |limb| _mm512_broadcastq_epi64(_mm512_castsi512_si128(limb));
        Self { r: [all(self.r[0]), all(self.r[1]), all(self.r[2])], r1_20: all(self.r1_20), r2_20: all(self.r2_20) }
    }

    /// `a * self` modulo 2^130 - 5. The limbs of `a` are below 2^46; those of the product below 2^44 + 2^7, 2^44 + 2^7, 2^42.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn times(&self, a: Limbs) -> Limbs {
        let rows = [
            [self.r[0], self.r2_20, self.r1_20],
            [self.r[1], self.r[0], self.r2_20],
            [self.r[2], self.r[1], self.r[0]],
        ];
        let zero = _mm512_setzero_si512();
        let (mut low, mut high) = ([zero; 3], [zero; 3]);
        for i in 0..3 {
            for (limb, row) in rows.iter().enumerate() {
                low[limb] = _mm512_madd52lo_epu64(low[limb], a[i], row[i]);
                high[limb] = _mm512_madd52hi_epu64(high[limb], a[i], row[i]);
            }
        }
        carry(low, high)
    }
}

/// The limbs of sums of products, whose upper halves count 2^52.
#[inline]
#[target_feature(enable = "avx512f")]
fn carry(low: Limbs, high: Limbs) -> Limbs {
    let (mask_44, mask_42) = (_mm512_set1_epi64(MASK_44), _mm512_set1_epi64(MASK_42));
    let b = _mm512_add_epi64(low[1], _mm512_slli_epi64::<8>(high[0]));
    let c = _mm512_add_epi64(low[2], _mm512_slli_epi64::<8>(high[1]));
    let b = _mm512_add_epi64(b, _mm512_srli_epi64::<44>(low[0]));
    let c = _mm512_add_epi64(c, _mm512_srli_epi64::<44>(b));
    // What lies above 2^130 comes back five times.
    let over = _mm512_add_epi64(_mm512_srli_epi64::<42>(c), _mm512_slli_epi64::<10>(high[2]));
    let over = _mm512_add_epi64(over, _mm512_slli_epi64::<2>(over));
    let a = _mm512_add_epi64(_mm512_and_si512(low[0], mask_44), over);
    let b = _mm512_add_epi64(_mm512_and_si512(b, mask_44), _mm512_srli_epi64::<44>(a));
    [_mm512_and_si512(a, mask_44), b, _mm512_and_si512(c, mask_42)]
}

/// One-time keys of eight messages, one per lane (RFC 8439, section 2.5: r is clamped).
#[derive(Debug, Clone, Copy)]
pub(super) struct OneTimeKeys {
    r: Limbs,
    s: [__m512i; 2],
}

impl OneTimeKeys {
    /// From the first 32 bytes of a block of each message.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn new(blocks: &[__m512i; 8]) -> Self {
        let [r_low, r_high, s_low, s_high, ..] = shuffle::transpose(*blocks);
        let r_low = _mm512_and_si512(r_low, _mm512_set1_epi64(0x0fff_fffc_0fff_ffff));
        let r_high = _mm512_and_si512(r_high, _mm512_set1_epi64(0x0fff_fffc_0fff_fffc));
        Self { r: split(r_low, r_high), s: [s_low, s_high] }
    }

    /// For each message its r to the power of what is left for each lane in the last step.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn factors(&self, factors: &mut [Factor; 8]) {
        let one = self.r;
        let by_one = Factor::new(one);
        let two = by_one.times(one);
        let by_two = Factor::new(two);
        let (three, four) = (by_one.times(two), by_two.times(two));
        let by_four = Factor::new(four);
        let (five, six, seven, eight) =
            (by_four.times(one), by_four.times(two), by_four.times(three), by_four.times(four));
        let powers = [eight, seven, six, five, four, three, two, one];

        let limb = |limb: usize| shuffle::transpose(BLOCK_OF_LANE.map(|block| powers[block][limb]));
        let (a, b, c) = (limb(0), limb(1), limb(2));
        for (i, factor) in factors.iter_mut().enumerate() {
            *factor = Factor::new([a[i], b[i], c[i]]);
        }
    }

    /// The tags of the eight messages: lower and upper halves.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn tags(&self, sums: &[Limbs; 8]) -> [__m512i; 2] {
        let total = |limb: usize| {
            let [first, rest @ ..] = shuffle::transpose(sums.map(|sum| sum[limb]));
            rest.into_iter().fold(first, |total, lane| _mm512_add_epi64(total, lane))
        };
        let [low, high] = reduce([total(0), total(1), total(2)]);
        let sum = _mm512_add_epi64(low, self.s[0]);
        let carried = _mm512_cmplt_epu64_mask(sum, low);
        let high = _mm512_add_epi64(high, self.s[1]);
        [sum, _mm512_mask_add_epi64(high, carried, high, _mm512_set1_epi64(1))]
    }
}

/// The one number below 2^130 - 5 that equals these limbs, its lower 128 bits.
#[inline]
#[target_feature(enable = "avx512f")]
fn reduce(limbs: Limbs) -> [__m512i; 2] {
    let zero = _mm512_setzero_si512();
    let (mask_44, mask_42) = (_mm512_set1_epi64(MASK_44), _mm512_set1_epi64(MASK_42));
    // Twice: the first may leave the second limb with a bit too many, which may ripple through the top to the first.
    let [a, b, c] = carry(carry(limbs, [zero; 3]), [zero; 3]);
    // What adding 5 would make of it: if that reaches 2^130, the number was 2^130 - 5 or more.
    let a5 = _mm512_add_epi64(a, _mm512_set1_epi64(5));
    let b5 = _mm512_add_epi64(b, _mm512_srli_epi64::<44>(a5));
    let c5 = _mm512_add_epi64(c, _mm512_srli_epi64::<44>(b5));
    let over = _mm512_cmpgt_epu64_mask(c5, mask_42);
    let a = _mm512_mask_and_epi64(a, over, a5, mask_44);
    let b = _mm512_mask_and_epi64(b, over, b5, mask_44);
    let c = _mm512_mask_and_epi64(c, over, c5, mask_42);
    let low = _mm512_or_si512(a, _mm512_slli_epi64::<44>(b));
    [low, _mm512_or_si512(_mm512_srli_epi64::<20>(b), _mm512_slli_epi64::<24>(c))]
}

/// The limbs of numbers of 128 bits.
#[inline]
#[target_feature(enable = "avx512f")]
fn split(low: __m512i, high: __m512i) -> Limbs {
    let mask = _mm512_set1_epi64(MASK_44);
    let middle = _mm512_or_si512(_mm512_srli_epi64::<44>(low), _mm512_slli_epi64::<20>(high));
    [_mm512_and_si512(low, mask), _mm512_and_si512(middle, mask), _mm512_srli_epi64::<24>(high)]
}

const fn lanes_without() -> [__mmask8; 8] {
    let mut lanes = [0; 8];
    let mut empty = 0;
    while empty < 8 {
        let mut lane = 0;
        while lane < 8 {
            if BLOCK_OF_LANE[lane] >= empty {
                lanes[empty] |= 1 << lane;
            }
            lane += 1;
        }
        empty += 1;
    }
    lanes
}
