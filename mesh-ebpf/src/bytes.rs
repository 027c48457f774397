//! Loads and stores of packet bytes at any alignment.
//!
//! Packet pointers may be read unaligned, the stack may not. The compiler knows of no such difference and would take each
//! byte on its own, so these are instructions by hand, of 8, 4, 2 and 1 bytes.

use core::arch::asm;

macro_rules! load {
    ($type:ty, $width:literal, $from:expr, $bytes:expr, $done:expr) => {{
        let value: u64;
        // SAFETY: the caller of `load` proved the bytes to lie in the packet.
        unsafe {
            asm!(concat!("{0} = *(", $width, " *)({1} + 0)"), out(reg) value, in(reg) $from + $done, options(readonly, nostack));
        }
        $bytes[$done..$done + size_of::<$type>()].copy_from_slice(&(value as $type).to_ne_bytes());
        $done += size_of::<$type>();
    }};
}

macro_rules! store {
    ($type:ty, $width:literal, $to:expr, $bytes:expr, $done:expr) => {{
        let mut part = [0; size_of::<$type>()];
        part.copy_from_slice(&$bytes[$done..$done + size_of::<$type>()]);
        let value = u64::from(<$type>::from_ne_bytes(part));
        // SAFETY: the caller of `store` proved the bytes to lie in the packet.
        unsafe { asm!(concat!("*(", $width, " *)({0} + 0) = {1}"), in(reg) $to + $done, in(reg) value, options(nostack)) };
        $done += size_of::<$type>();
    }};
}

/// # Safety
///
/// All `N` bytes at `from` have been proved to lie in the packet.
#[inline(always)]
pub(crate) unsafe fn load<const N: usize>(from: usize) -> [u8; N] {
    let (mut bytes, mut done) = ([0; N], 0);
    while N - done >= 8 {
        load!(u64, "u64", from, bytes, done);
    }
    if N - done >= 4 {
        load!(u32, "u32", from, bytes, done);
    }
    if N - done >= 2 {
        load!(u16, "u16", from, bytes, done);
    }
    if N - done == 1 {
        load!(u8, "u8", from, bytes, done);
    }
    debug_assert!(done == N);
    bytes
}

/// # Safety
///
/// As for [`load`].
#[inline(always)]
pub(crate) unsafe fn store<const N: usize>(to: usize, bytes: [u8; N]) {
    let mut done = 0;
    while N - done >= 8 {
        store!(u64, "u64", to, bytes, done);
    }
    if N - done >= 4 {
        store!(u32, "u32", to, bytes, done);
    }
    if N - done >= 2 {
        store!(u16, "u16", to, bytes, done);
    }
    if N - done == 1 {
        store!(u8, "u8", to, bytes, done);
    }
    debug_assert!(done == N);
}

/// `number`, of which the verifier knows nothing any more: it follows no sum with `unknown` back.
#[inline(always)]
pub(crate) fn forget(mut number: usize, unknown: usize) -> usize {
    // SAFETY: arithmetic on registers only.
    unsafe {
        asm!("{0} += {1}", "{0} -= {1}", inout(reg) number, in(reg) unknown, options(pure, nomem, nostack));
    }
    number
}
