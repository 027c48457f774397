//! The Internet checksum: whole sums for hosts, and what it becomes when a field changes (RFC 1624).
//!
//! Sums are of 16-bit words in the machine's own order: a one's-complement sum only swaps its bytes with the order
//! (RFC 1071 section 2), so nothing has to be swapped as long as what is stored is stored in that order too.

/// The sum of `bytes`, not folded; an odd last byte is padded with zero. Add several and [`fold`] the total, where
/// every part but the last has an even length.
pub fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut total = 0_u64;
    for word in words {
        total += u64::from(u32::from_ne_bytes(*word));
    }
    let mut last = [0_u8; 4];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    total + u64::from(u32::from_ne_bytes(last))
}

/// Folds a sum to the 16 bits that it stands for.
#[inline(always)]
pub const fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

/// The checksum field of a header or message whose other words have this sum.
#[inline(always)]
pub const fn finish(sum: u64) -> [u8; 2] {
    (!fold(sum)).to_ne_bytes()
}

/// The sum of the pseudo-header that TCP, UDP and ICMPv6 cover. `len` is that of the transport header and payload.
#[inline(always)]
pub fn pseudo_header<const N: usize>(src: [u8; N], dst: [u8; N], protocol: u8, len: u32) -> u64 {
    words(src) + words(dst) + u64::from(u32::from_ne_bytes([0, 0, 0, protocol])) + u64::from(len.to_be())
}

/// A complete checksum after `old` became `new` (RFC 1624 equation 3). Both start at an even offset of what is summed.
#[inline(always)]
pub fn replace<const N: usize>(checksum: [u8; 2], old: [u8; N], new: [u8; N]) -> [u8; 2] {
    (!changed(!u16::from_ne_bytes(checksum), old, new)).to_ne_bytes()
}

/// The same for UDP, where 0 says that there is no checksum, and a computed 0 is sent as 0xffff (RFC 768).
#[inline(always)]
pub fn replace_optional<const N: usize>(checksum: [u8; 2], old: [u8; N], new: [u8; N]) -> [u8; 2] {
    if checksum == [0, 0] {
        return checksum;
    }
    match replace(checksum, old, new) {
        [0, 0] => [0xff, 0xff],
        other => other,
    }
}

/// An uninverted sum after `old` became `new`: what a partial checksum holds of the pseudo-header.
#[inline(always)]
pub fn replace_partial<const N: usize>(sum: [u8; 2], old: [u8; N], new: [u8; N]) -> [u8; 2] {
    changed(u16::from_ne_bytes(sum), old, new).to_ne_bytes()
}

/// What an unfolded sum gains when `old` becomes `new`, as the kernel's `csum_diff` says it.
#[inline(always)]
pub fn difference<const N: usize>(old: [u8; N], new: [u8; N]) -> u32 {
    let sum = complement(old) + words(new);
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    ((sum >> 32) + (sum & 0xffff_ffff)) as u32
}

/// The sum of the complement of every word.
#[inline(always)]
fn complement<const N: usize>(bytes: [u8; N]) -> u64 {
    0xffff_ffff * (N as u64 / 4) + 0xffff * (N as u64 % 4 / 2) - words(bytes)
}

#[inline(always)]
fn changed<const N: usize>(sum: u16, old: [u8; N], new: [u8; N]) -> u16 {
    // The complement of every word of `old` is the complement of its sum, up to a multiple of 0xffff.
    fold(u64::from(sum) + complement(old) + words(new))
}

/// The sum of a field of even length; the loops have constant bounds and unroll.
#[inline(always)]
pub fn words<const N: usize>(bytes: [u8; N]) -> u64 {
    const { assert!(N.is_multiple_of(2), "a checksum changes by whole words") };
    let (quads, rest) = bytes.as_chunks::<4>();
    let mut total = 0_u64;
    for quad in quads {
        total += u64::from(u32::from_ne_bytes(*quad));
    }
    let (pairs, _) = rest.as_chunks::<2>();
    for pair in pairs {
        total += u64::from(u16::from_ne_bytes(*pair));
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071 section 3: the words 0001 f203 f4f5 f6f7 sum to ddf2.
    #[test]
    fn a_difference_added_to_a_sum_is_the_change() {
        let (old, new) = ([0x12, 0x34, 0xff, 0xff, 0, 0, 0, 1], [0xab, 0xcd, 0, 0, 0xff, 0xfe, 7, 8]);
        let rest = 0x0001_8765_u64;
        let changed = fold(rest + words(old) + u64::from(difference(old, new)));
        assert_eq!(changed % 0xffff, fold(rest + words(new)) % 0xffff);
        assert_eq!(difference([1, 2], [1, 2]) % 0xffff, 0);
    }

    #[test]
    fn sums_the_example_of_the_rfc() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&bytes)).to_ne_bytes(), [0xdd, 0xf2]);
    }

    #[test]
    fn pads_an_odd_byte_with_zero() {
        assert_eq!(fold(sum(&[1, 2, 3])).to_ne_bytes(), [4, 2]);
        assert_eq!(fold(sum(&[1, 2, 3, 4, 5])).to_ne_bytes(), [9, 6]);
        assert_eq!(fold(sum(&[])), 0);
    }

    /// RFC 1624 section 4: dd2f with 5555 -> 3285 gives 0000, where the equation of RFC 1141 gave ffff.
    #[test]
    fn replaces_as_in_the_example_of_the_rfc() {
        assert_eq!(replace([0xdd, 0x2f], [0x55, 0x55], [0x32, 0x85]), [0, 0]);
    }

    #[test]
    fn replacing_equals_summing_again() {
        let mut bytes = [0_u8; 32];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = (i * 37 + 11) as u8;
        }
        let before = finish(sum(&bytes));
        let old: [u8; 16] = bytes[8..24].try_into().unwrap();
        let new = [0xab; 16];
        bytes[8..24].copy_from_slice(&new);
        assert_eq!(replace(before, old, new), finish(sum(&bytes)));

        let before = finish(sum(&bytes));
        bytes[4..6].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(replace(before, [159, 196], [0xff, 0xff]), finish(sum(&bytes)));
    }

    #[test]
    fn partial_sums_are_not_inverted() {
        let (old, new, dst) = ([10, 0, 0, 1], [172, 16, 9, 1], [10, 9, 8, 7]);
        let before = fold(pseudo_header(old, dst, 6, 40)).to_ne_bytes();
        assert_eq!(replace_partial(before, old, new), fold(pseudo_header(new, dst, 6, 40)).to_ne_bytes());
    }

    #[test]
    fn pseudo_header_is_that_of_rfc_793() {
        let (src, dst) = ([192, 0, 2, 1], [198, 51, 100, 2]);
        let spelled = [192, 0, 2, 1, 198, 51, 100, 2, 0, 17, 0, 9];
        assert_eq!(fold(pseudo_header(src, dst, 17, 9)), fold(sum(&spelled)));
    }
}
