//! How do bytes of a buffer get into vectors and back? The only place that touches memory by pointer.

use std::arch::x86_64::*;

/// Bytes of a vector, and of a block of ChaCha20.
pub(super) const VECTOR: usize = 64;
/// Bytes that one step of Poly1305 takes: eight blocks of 16.
pub(super) const WINDOW: usize = 2 * VECTOR;

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load(bytes: &[u8; VECTOR]) -> __m512i {
    // SAFETY: the 64 bytes are there, and the load takes any alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(bytes: &mut [u8; VECTOR], vector: __m512i) {
    // SAFETY: the 64 bytes are there, and the store takes any alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), vector) }
}

/// The vector as eight words.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn words(vector: __m512i) -> [u64; 8] {
    // SAFETY: both are 64 bytes of which any value is valid.
    unsafe { std::mem::transmute(vector) }
}

/// `bytes ^= stream`, for 64 bytes or fewer.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn xor(bytes: &mut [u8], stream: __m512i) {
    if let Ok(block) = <&mut [u8; VECTOR]>::try_from(&mut *bytes) {
        let mixed = _mm512_xor_si512(load(block), stream);
        store(block, mixed);
        return;
    }
    assert!(bytes.len() < VECTOR, "a block has 64 bytes");
    let mask = (1_u64 << bytes.len()) - 1;
    // SAFETY: the mask selects no byte outside the slice, and bytes that are not selected are not accessed.
    unsafe {
        let mixed = _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, bytes.as_ptr().cast()), stream);
        _mm512_mask_storeu_epi8(bytes.as_mut_ptr().cast(), mask, mixed);
    }
}

/// The 128 bytes of `text` from `start` on, which may be negative; bytes before and behind the text are zero.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn window(text: &[u8], start: isize) -> [__m512i; 2] {
    let from = start.cast_unsigned();
    if from < text.len() && text.len() - from >= WINDOW {
        let window = text.as_ptr().wrapping_add(from);
        // SAFETY: the 128 bytes are inside the text, and the loads take any alignment.
        return unsafe { [_mm512_loadu_si512(window.cast()), _mm512_loadu_si512(window.add(VECTOR).cast())] };
    }
    [part(text, start), part(text, start + VECTOR as isize)]
}

/// The 64 bytes of `text` from `start` on, with zeroes before and behind it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn part(text: &[u8], start: isize) -> __m512i {
    let before = start.min(0).unsigned_abs();
    let until = usize::try_from(text.len().cast_signed() - start).unwrap_or(0);
    let mask = ones(until) & !ones(before);
    // SAFETY: byte i of the vector is selected only if `start + i` is inside the text, and bytes that are not selected are
    // not accessed.
    unsafe { _mm512_maskz_loadu_epi8(mask, text.as_ptr().wrapping_offset(start).cast()) }
}

/// So many ones, from the lowest bit on.
#[inline]
fn ones(count: usize) -> u64 {
    if count >= VECTOR { u64::MAX } else { (1 << count) - 1 }
}
