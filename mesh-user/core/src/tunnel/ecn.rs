//! The ECN bits of inner and outer header, as RFC 6040 combines them.

/// Bits of the TOS or traffic class that are ECN.
pub const MASK: u8 = 0b11;
const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;
const CE: u8 = 0b11;

/// The ECN bits of an IP packet.
pub fn of(packet: &[u8]) -> u8 {
    match packet {
        [first, second, ..] if first >> 4 == 6 => (second >> 4) & MASK,
        [_, second, ..] => second & MASK,
        _ => NOT_ECT,
    }
}

/// What the inner bits become when the outer header came with those (RFC 6040 section 4.2, figure 4). `None`: drop,
/// since the network signalled congestion to a flow that cannot hear it.
pub fn decapsulated(inner: u8, outer: u8) -> Option<u8> {
    match (inner & MASK, outer & MASK) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) => Some(NOT_ECT),
        (_, CE) => Some(CE),
        (CE, _) => Some(CE),
        (_, ECT_1) => Some(ECT_1),
        (inner, _) => Some(inner),
    }
}

/// Gives a packet the bits that its outer header asks for. `false`: drop it.
pub fn decapsulate(packet: &mut [u8], outer: u8) -> bool {
    if outer & MASK == NOT_ECT {
        return true;
    }
    let inner = of(packet);
    match decapsulated(inner, outer) {
        Some(bits) => {
            if bits != inner {
                set(packet, bits);
            }
            true
        }
        None => false,
    }
}

fn set(packet: &mut [u8], bits: u8) {
    match packet {
        [first, second, ..] if *first >> 4 == 6 => *second = (*second & !(MASK << 4)) | (bits << 4),
        [first, second, _, _, _, _, _, _, _, _, sum_a, sum_b, ..] => {
            let old = [*first, *second];
            *second = (*second & !MASK) | bits;
            [*sum_a, *sum_b] = mesh_common::checksum::replace([*sum_a, *sum_b], old, [*first, *second]);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use mesh_common::checksum;

    use super::*;

    /// RFC 6040 figure 4; rows are the inner bits, columns the outer: Not-ECT, ECT(0), ECT(1), CE.
    #[test]
    fn decapsulation_is_the_table_of_the_rfc() {
        let (not, ect0, ect1, ce) = (Some(0), Some(2), Some(1), Some(3));
        let table = [
            (0, [not, not, not, None]),
            (2, [ect0, ect0, ect1, ce]),
            (1, [ect1, ect1, ect1, ce]),
            (3, [ce, ce, ce, ce]),
        ];
        for (inner, row) in table {
            for (outer, expected) in [0, 2, 1, 3].into_iter().zip(row) {
                assert_eq!(decapsulated(inner, outer), expected, "inner {inner} outer {outer}");
            }
        }
    }

    #[test]
    fn marks_keep_the_header_checksum_right() {
        let mut v4 = [0x45, 0x02, 0, 20, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let sum = checksum::finish(checksum::sum(&v4));
        v4[10..12].copy_from_slice(&sum);
        assert!(decapsulate(&mut v4, 3));
        assert_eq!((of(&v4), checksum::fold(checksum::sum(&v4))), (3, 0xffff));

        let mut v6 = [0x60, 0x2f, 0xff, 0xff];
        assert!(decapsulate(&mut v6, 3));
        assert_eq!(v6, [0x60, 0x3f, 0xff, 0xff]);
    }
}
