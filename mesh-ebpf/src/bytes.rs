//! Loads and stores of packet bytes at any alignment.
//!
//! Packet pointers may be read unaligned, the stack may not. The compiler knows of no such difference and would take each
//! byte on its own, so these are instructions by hand.

use core::arch::asm;

macro_rules! load {
    ($type:ty, $width:literal, $at:expr) => {{
        let value: u64;
        asm!(concat!("{0} = *(", $width, " *)({1} + 0)"), out(reg) value, in(reg) $at, options(readonly, nostack));
        (value as $type).to_ne_bytes()
    }};
}

macro_rules! store {
    ($type:ty, $width:literal, $at:expr, $bytes:expr) => {{
        let mut part = [0; size_of::<$type>()];
        part.copy_from_slice($bytes);
        let value = u64::from(<$type>::from_ne_bytes(part));
        asm!(concat!("*(", $width, " *)({0} + 0) = {1}"), in(reg) $at, in(reg) value, options(nostack));
    }};
}

/// # Safety
///
/// All `N` bytes at `from` have been proved to lie in the packet.
pub(crate) unsafe fn load<const N: usize>(from: usize) -> [u8; N] {
    let (mut bytes, words) = ([0; N], N & !7);
    // SAFETY: the caller's; the offsets are those of the N bytes.
    unsafe {
        for at in (0..words).step_by(8) {
            bytes[at..at + 8].copy_from_slice(&load!(u64, "u64", from + at));
        }
        if N & 4 != 0 {
            bytes[words..words + 4].copy_from_slice(&load!(u32, "u32", from + words));
        }
        if N & 2 != 0 {
            bytes[N & !3..(N & !3) + 2].copy_from_slice(&load!(u16, "u16", from + (N & !3)));
        }
        if N & 1 != 0 {
            bytes[N - 1..].copy_from_slice(&load!(u8, "u8", from + N - 1));
        }
    }
    bytes
}

/// # Safety
///
/// As for [`load`].
pub(crate) unsafe fn store<const N: usize>(to: usize, bytes: [u8; N]) {
    let words = N & !7;
    // SAFETY: as in `load`.
    unsafe {
        for at in (0..words).step_by(8) {
            store!(u64, "u64", to + at, &bytes[at..at + 8]);
        }
        if N & 4 != 0 {
            store!(u32, "u32", to + words, &bytes[words..words + 4]);
        }
        if N & 2 != 0 {
            store!(u16, "u16", to + (N & !3), &bytes[N & !3..(N & !3) + 2]);
        }
        if N & 1 != 0 {
            store!(u8, "u8", to + N - 1, &bytes[N - 1..]);
        }
    }
}

/// `number`, of which the verifier knows nothing any more: it follows no sum with `unknown` back.
pub(crate) fn forget(mut number: usize, unknown: usize) -> usize {
    // SAFETY: arithmetic on registers only.
    unsafe { asm!("{0} += {1}", "{0} -= {1}", inout(reg) number, in(reg) unknown, options(pure, nomem, nostack)) };
    number
}
