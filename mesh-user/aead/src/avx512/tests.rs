//! The parts against RFC 8439, Wycheproof and arithmetic of another kind; whole messages are compared in `tests/`.
//!
//! WireGuard has neither associated data nor the first four bytes of a nonce, and the vectors have, so that the tests put the
//! parts together for themselves.

use std::arch::x86_64::*;

use proptest::prelude::*;
use wycheproof::aead::{TestName, TestSet};

use super::{
    bytes::{self, VECTOR, WINDOW},
    chacha::{self, BLOCKS, Counters},
    is_available,
    poly::{self, Blocks, Factor, OneTimeKeys},
};

/// Whether the rest of the test can run on this CPU.
fn can() -> bool {
    if !is_available() {
        eprintln!("SKIPPED: this CPU lacks AVX-512 with IFMA");
    }
    is_available()
}

/// Sixteen blocks from this one on.
#[target_feature(enable = "avx512f,avx512bw")]
fn sixteen_blocks(key: &[u8; 32], nonce: &[u8; 12], block: u32) -> [u8; BLOCKS * VECTOR] {
    let word = |at: usize| _mm512_set1_epi32(i32::from_le_bytes(nonce[at..at + 4].try_into().unwrap()));
    let mut counters = Counters::zero();
    counters.set(0, block, 0);
    counters.nonce = [word(0), word(4), word(8)];
    let mut stream = [_mm512_setzero_si512(); BLOCKS];
    chacha::blocks(key, &counters, &mut stream, || {});
    let mut all = [0; BLOCKS * VECTOR];
    for (block, stream) in all.chunks_mut(VECTOR).zip(stream) {
        bytes::xor(block, stream);
    }
    all
}

/// The tag of whole blocks, the last of which is `ending`.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn mac(key: &[u8; 32], blocks: &[u8], ending: [u64; 2]) -> [u8; 16] {
    assert!(blocks.len().is_multiple_of(16));
    let mut block = [0; VECTOR];
    block[..32].copy_from_slice(key);
    let zero = _mm512_setzero_si512();
    // In a lane that is not the first, and others beside it.
    let lanes = [zero, _mm512_set1_epi64(-1), zero, bytes::load(&block), zero, zero, zero, _mm512_set1_epi64(77)];
    let keys = OneTimeKeys::new(&lanes);
    let mut factors = [Factor::new([zero; 3]); 8];
    keys.factors(&mut factors);

    let total = blocks.len() + 16;
    let mut left = total.div_ceil(WINDOW);
    let mut start = total.cast_signed() - (left * WINDOW).cast_signed();
    let mut sum = [zero; 3];
    while left > 0 {
        let empty = start.min(0).unsigned_abs() / 16;
        let window = Blocks::new(bytes::window(blocks, start), empty);
        let (window, factor) =
            if left == 1 { (window.ending(ending), factors[3]) } else { (window, factors[3].first()) };
        sum = factor.times(poly::add(sum, window));
        start += WINDOW.cast_signed();
        left -= 1;
    }
    let mut sums = [[_mm512_set1_epi64(5); 3]; 8];
    sums[3] = sum;
    let [low, high] = keys.tags(&sums).map(|half| bytes::words(half));
    let mut tag = [0; 16];
    tag[..8].copy_from_slice(&low[3].to_le_bytes());
    tag[8..].copy_from_slice(&high[3].to_le_bytes());
    tag
}

fn tag_of(key: &[u8; 32], message: &[u8]) -> [u8; 16] {
    let (blocks, last) = message.split_at(message.len() - 16);
    let half = |at: usize| u64::from_le_bytes(last[at..at + 8].try_into().unwrap());
    // SAFETY: callers checked `can()`.
    unsafe { mac(key, blocks, [half(0), half(8)]) }
}

/// Text is encrypted in place; the tag is returned.
fn seal(key: &[u8; 32], nonce: &[u8; 12], associated: &[u8], text: &mut [u8]) -> [u8; 16] {
    // SAFETY: callers checked `can()`.
    let blocks = |block| unsafe { sixteen_blocks(key, nonce, block) };
    for (i, part) in text.chunks_mut(BLOCKS * VECTOR).enumerate() {
        let stream = blocks((1 + i * BLOCKS) as u32);
        part.iter_mut().zip(stream).for_each(|(byte, stream)| *byte ^= stream);
    }
    let mut padded = Vec::new();
    for part in [associated, text] {
        padded.extend_from_slice(part);
        padded.resize(padded.len().next_multiple_of(16), 0);
    }
    let one_time: [u8; 32] = blocks(0)[..32].try_into().unwrap();
    // SAFETY: callers checked `can()`.
    unsafe { mac(&one_time, &padded, [associated.len() as u64, text.len() as u64]) }
}

fn hex<const N: usize>(text: &str) -> [u8; N] {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let bytes = digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
    bytes.collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn rfc_8439_section_2_3_2_block() {
    if !can() {
        return;
    }
    let key = std::array::from_fn(|i| i as u8);
    // SAFETY: the CPU can.
    let blocks = unsafe { sixteen_blocks(&key, &hex("000000090000004a00000000"), 1) };
    let expected: [u8; 64] = hex("10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e
         d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e");
    assert_eq!(blocks[..64], expected);
}

#[test]
fn rfc_8439_section_2_8_2_message() {
    if !can() {
        return;
    }
    let key = std::array::from_fn(|i| 0x80 + i as u8);
    let mut text = *b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
    let tag = seal(&key, &hex("070000004041424344454647"), &hex::<12>("50515253c0c1c2c3c4c5c6c7"), &mut text);
    assert_eq!(text[..16], hex::<16>("d31a8d34648e60db7b86afbc53ef7ec2"));
    assert_eq!(tag, hex::<16>("1ae10b594f09e26a7e902ecbd0600691"));
}

/// Appendix A.3, vectors 1 and 5 to 11: the sum wraps at 2^130 - 5 or the tag at 2^128, or almost does.
#[test]
fn rfc_8439_appendix_a_3_edges() {
    if !can() {
        return;
    }
    let wide = "01000000000000000400000000000000";
    let vectors = [
        ("00", "00", "00 00 00 00", "00"),
        ("02", "00", "ff*16", "03"),
        ("02", "ff*16", "02", "03"),
        ("01", "00", "ff*16 f0ffffffffffffffffffffffffffffff 11", "05"),
        ("01", "00", "ff*16 fbfefefefefefefefefefefefefefefe 01*16", "00"),
        ("02", "00", "fdffffffffffffffffffffffffffffff", "faffffffffffffffffffffffffffffff"),
        (wide, "00", "e33594d7505e43b9 3394d7505e4379cd01 00 01", "14000000000000005500000000000000"),
        (wide, "00", "e33594d7505e43b9 3394d7505e4379cd01 00", "13"),
    ];
    for (r, s, message, tag) in vectors {
        let key: Vec<u8> = [spelt(r), spelt(s)].concat();
        assert_eq!(tag_of(&key.try_into().unwrap(), &spelt(message))[..], spelt(tag), "{message}");
    }
}

/// Blocks of 16 bytes: each the bytes that are written, then zeroes; or one byte sixteen times.
fn spelt(text: &str) -> Vec<u8> {
    let byte = |digits: &str| u8::from_str_radix(digits, 16).unwrap();
    let block = |word: &str| match word.strip_suffix("*16") {
        Some(digits) => [byte(digits); 16],
        None => std::array::from_fn(|i| word.get(2 * i..2 * i + 2).map_or(0, byte)),
    };
    text.split_whitespace().flat_map(block).collect()
}

#[test]
fn wycheproof_chacha20_poly1305() {
    if !can() {
        return;
    }
    let set = TestSet::load(TestName::ChaCha20Poly1305).unwrap();
    let mut judged = 0;
    for group in set.test_groups {
        for test in group.tests {
            let (Ok(key), Ok(nonce)) = (test.key[..].try_into(), test.nonce[..].try_into()) else {
                assert!(test.result.must_fail(), "vector {}: only wrong sizes are no keys and nonces", test.tc_id);
                continue;
            };
            let mut text = test.pt.to_vec();
            let tag = seal(key, nonce, &test.aad, &mut text);
            let same = text[..] == test.ct[..] && tag[..] == test.tag[..];
            assert_eq!(same, !test.result.must_fail(), "vector {}: {}", test.tc_id, test.comment);
            judged += 1;
        }
    }
    assert!(judged > 300, "{judged} vectors");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Blocks and keys all of whose limbs are about to overflow, or empty.
    #[test]
    fn tags_are_those_of_long_division(
        r in edge(),
        s in edge(),
        message in prop::collection::vec(edge(), 1..=40),
    ) {
        if can() {
            let key = [r.to_le_bytes(), s.to_le_bytes()].concat();
            let bytes: Vec<u8> = message.iter().flat_map(|block| block.to_le_bytes()).collect();
            let tag = tag_of(&key.try_into().unwrap(), &bytes);
            prop_assert_eq!(u128::from_le_bytes(tag), plain::tag(r, s, &message));
        }
    }
}

/// 128 bits near the ends of limbs and of the modulus.
fn edge() -> impl Strategy<Value = u128> {
    let near = |bit: u32| (0_u128..8).prop_map(move |off| (1_u128 << bit).wrapping_sub(4).wrapping_add(off));
    prop_oneof![
        any::<u128>(),
        (0_u128..8).prop_map(|off| u128::MAX - off),
        0_u128..8,
        near(44),
        near(88),
        (0_u32..=128).prop_map(|bits| u128::MAX.checked_shl(bits).unwrap_or(0)),
    ]
}

/// Poly1305 by doubling and adding, 130 bits as an upper and a lower part.
mod plain {
    /// A number below 2^130 - 5: its bits above 128, and those below.
    type Number = (u8, u128);

    const MODULUS: Number = (3, u128::MAX - 4);

    pub(super) fn tag(r: u128, s: u128, message: &[u128]) -> u128 {
        let r = r & 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;
        let sum = message.iter().fold((0, 0), |sum, block| times(plus(sum, (1, *block)), r));
        sum.1.wrapping_add(s)
    }

    fn times(number: Number, factor: u128) -> Number {
        (0..128).rev().fold((0, 0), |product, bit| {
            let twice = plus(product, product);
            if factor >> bit & 1 == 1 { plus(twice, number) } else { twice }
        })
    }

    fn plus(a: Number, b: Number) -> Number {
        let (low, carry) = a.1.overflowing_add(b.1);
        let sum = (a.0 + b.0 + u8::from(carry), low);
        if sum < MODULUS {
            return sum;
        }
        let (low, borrow) = sum.1.overflowing_sub(MODULUS.1);
        (sum.0 - MODULUS.0 - u8::from(borrow), low)
    }
}
