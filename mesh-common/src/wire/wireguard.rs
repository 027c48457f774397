//! WireGuard messages from outside: a type, three zero bytes, and a length that the type fixes.

pub const INITIATION: u8 = 1;
pub const RESPONSE: u8 = 2;
pub const COOKIE_REPLY: u8 = 3;
pub const DATA: u8 = 4;

pub const INITIATION_LEN: usize = 148;
pub const RESPONSE_LEN: usize = 92;
pub const COOKIE_REPLY_LEN: usize = 64;
/// Header and tag of a data message. The encrypted packet between is padded to 16 bytes, but not beyond the tunnel's
/// MTU (the Linux module and wireguard-go both stop there), so its length tells nothing.
pub const DATA_OVERHEAD: usize = 32;

/// A UDP payload of `len` bytes that starts with `head` can be a message.
#[inline(always)]
pub const fn is_message(head: [u8; 4], len: usize) -> bool {
    match head {
        [INITIATION, 0, 0, 0] => len == INITIATION_LEN,
        [RESPONSE, 0, 0, 0] => len == RESPONSE_LEN,
        [COOKIE_REPLY, 0, 0, 0] => len == COOKIE_REPLY_LEN,
        [DATA, 0, 0, 0] => len >= DATA_OVERHEAD,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_its_length() {
        for (kind, len) in [(1, 148), (2, 92), (3, 64)] {
            assert!(is_message([kind, 0, 0, 0], len), "type {kind} of {len} bytes");
            assert!(!is_message([kind, 0, 0, 0], len + 1), "type {kind} of {} bytes", len + 1);
            assert!(!is_message([kind, 0, 1, 0], len), "reserved bytes are zero");
        }
        // A packet of the whole MTU of 1,340 is not padded.
        for len in [32, 48, 1_372, 1_456] {
            assert!(is_message([4, 0, 0, 0], len), "data of {len} bytes");
        }
        assert!(!is_message([4, 0, 0, 0], 31));
        assert!(!is_message([0, 0, 0, 0], 32));
        assert!(!is_message([5, 0, 0, 0], 32));
    }
}
