//! Loads and stores of packet bytes at any alignment, in words of up to 8 bytes: packet pointers may be unaligned, the stack
//! may not, and the compiler, which knows of no such difference, would take each byte on its own.

use core::arch::asm;

macro_rules! load {
    ($from:expr, $bytes:expr, $at:expr, $($type:ty: $width:literal),*) => {{$(
        while $bytes.len() - $at >= size_of::<$type>() {
            let value: u64;
            asm!(concat!("{0} = *(", $width, " *)({1} + 0)"), out(reg) value, in(reg) $from + $at, options(readonly));
            $bytes[$at..$at + size_of::<$type>()].copy_from_slice(&(value as $type).to_ne_bytes());
            $at += size_of::<$type>();
        }
    )*}};
}

macro_rules! store {
    ($to:expr, $bytes:expr, $at:expr, $($type:ty: $width:literal),*) => {{$(
        while let Some(part) = $bytes[$at..].first_chunk() {
            let value = u64::from(<$type>::from_ne_bytes(*part));
            asm!(concat!("*(", $width, " *)({0} + 0) = {1}"), in(reg) $to + $at, in(reg) value);
            $at += size_of::<$type>();
        }
    )*}};
}

/// All `N` bytes at `from` have been proved to lie in the packet.
pub(crate) unsafe fn load<const N: usize>(from: usize) -> [u8; N] {
    let (mut bytes, mut at) = ([0; N], 0);
    // SAFETY: the caller's; only the offsets of the N bytes are read.
    unsafe { load!(from, bytes, at, u64: "u64", u32: "u32", u16: "u16", u8: "u8") };
    bytes
}

/// As for [`load`].
pub(crate) unsafe fn store<const N: usize>(to: usize, bytes: [u8; N]) {
    let mut at = 0;
    // SAFETY: the caller's; only the offsets of the N bytes are written.
    unsafe { store!(to, bytes, at, u64: "u64", u32: "u32", u16: "u16", u8: "u8") };
}

/// `number`, of which the verifier knows nothing any more: it follows no sum with `unknown` back.
pub(crate) fn forget(mut number: usize, unknown: usize) -> usize {
    // SAFETY: arithmetic on registers only.
    unsafe { asm!("{0} += {1}", "{0} -= {1}", inout(reg) number, in(reg) unknown, options(pure, nomem, nostack)) };
    number
}
